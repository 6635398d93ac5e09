/* SPDX-License-Identifier: Apache-2.0 */
/*
 * XML in: bounded, into a tree in an arena.
 *
 * X1  Nothing outside the bytes given is ever read.  A DOCTYPE is refused, or
 *     skipped where the caller says so; entities other than the five of XML
 *     itself are refused everywhere, so is one that the document declares.
 * X2  Bytes, depth, elements, attributes of an element, the text of an element
 *     and the length of a name are bounded (common/limits.h), each by an error
 *     of its own; so is memory, by the arena.
 * X3  Text is UTF-8, whatever the document's encoding was (UTF-8, UTF-16,
 *     US-ASCII or ISO-8859-1; by BOM, declaration or the caller's word).
 */
#ifndef CIM_XML_H
#define CIM_XML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cim/arena.h"

/* xmlns:prefix="uri"; the prefix of the default namespace is "". */
struct xml_binding {
	const char *prefix, *uri;
	const struct xml_binding *next; /* one in scope besides */
};

struct xml_attribute {
	const char *ns; /* "" if none, or without namespaces */
	const char *name;
	const char *value;
};

struct xml_node {
	const char *ns; /* "" if none, or without namespaces */
	const char *name;
	/* All text that is directly in it, CDATA included; white space between
	 * elements is left out.  Never NULL. */
	const char *text;
	size_t text_length;
	uint32_t attribute_count, child_count;
	const struct xml_attribute *attributes;
	const struct xml_node *parent, *first, *next;
	const struct xml_binding *bindings; /* in scope, innermost first */
};

struct xml_options {
	bool namespaces;   /* names are resolved; xml_resolve() works */
	bool skip_doctype; /* else it is -CIM_EXMLDOCTYPE */
	/* So are processing instructions, which SOAP forbids; else they are
	 * passed over.  An XML declaration is none. */
	bool no_instructions;
	/* Overrides the document's own word: "UTF-8", "UTF-16"; or NULL. */
	const char *encoding;
	size_t max_bytes; /* 0: CIM_XML_BYTES_MAX */
};

/* 0, one of -CIM_EXML*, or -CIM_ELIMITS.  The tree copies what it needs. */
int xml_parse(struct arena *arena, const void *bytes, size_t length,
	      const struct xml_options *options,
	      const struct xml_node **ret_root, struct err *err);

/* Whether NODE is that element; NS NULL: of whatever namespace. */
bool xml_is(const struct xml_node *node, const char *ns, const char *name);
/* The first child that is; the next sibling after NODE that is; or NULL. */
const struct xml_node *xml_child(const struct xml_node *node, const char *ns,
				 const char *name);
const struct xml_node *xml_sibling(const struct xml_node *node, const char *ns,
				   const char *name);
/* The attribute's value, or NULL; NS as above, "" for those without. */
const char *xml_attribute(const struct xml_node *node, const char *ns,
			  const char *name);
/* Likewise, whatever the case of its name. */
const char *xml_attribute_nocase(const struct xml_node *node, const char *name);
/* The text without white space around it, as a copy if there was any; NULL if
 * the arena is full. */
const char *xml_trimmed(struct arena *arena, const struct xml_node *node);

/* A QName in content, by what is in scope at NODE; its local part points into
 * QNAME.  false if the prefix is not bound. */
bool xml_resolve(const struct xml_node *node, const char *qname,
		 const char **ret_ns, const char **ret_name);

#endif
