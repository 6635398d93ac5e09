/* SPDX-License-Identifier: Apache-2.0 */
/*
 * expat's events, made into a tree.
 *
 * Text is gathered in one buffer for the element that is open innermost.  When
 * a child begins, what was gathered is put aside as a fragment of the parent,
 * or dropped if it is only white space; at the end the fragments are joined.
 */
#include "cim/xml.h"

#include <expat.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cim/status.h"
#include "common/limits.h"

#define SEPARATOR '|' /* between a namespace and a name; in no URI */

struct fragment {
	struct fragment *next;
	size_t length;
	char *text;
};

/* An element that is open. */
struct frame {
	struct xml_node *node, *last_child;
	struct fragment *first, **tail;
};

struct reader {
	struct arena *arena;
	XML_Parser parser;
	const struct xml_options *options;
	struct err *err;
	int error; /* negative once something stopped the parser */
	unsigned depth;
	uint32_t elements;
	struct frame frames[CIM_XML_DEPTH_MAX];
	struct xml_node *root;
	const struct xml_binding *pending; /* for the next start tag */
	bool has_pending;
	char *text; /* gathered */
	size_t text_length, text_size;
};

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool all_space(const char *text, size_t length)
{
	while (length > 0 && is_space(text[length - 1]))
		length--;
	return length == 0;
}

static void stop(struct reader *r, int code, const char *what)
{
	if (r->error)
		return;
	r->error =
	    err_set(r->err, code, "line %lu: %s",
		    (unsigned long)XML_GetCurrentLineNumber(r->parser), what);
	(void)XML_StopParser(r->parser, XML_FALSE);
}

static void stop_full(struct reader *r)
{
	if (r->error)
		return;
	r->error = arena_full(r->arena, r->err);
	(void)XML_StopParser(r->parser, XML_FALSE);
}

/* Splits "uri|name" into copies. */
static bool copy_name(struct reader *r, const char *name, const char **ret_ns,
		      const char **ret_name)
{
	const char *bar =
	    r->options->namespaces ? strrchr(name, SEPARATOR) : NULL;

	if (strlen(name) > CIM_XML_NAME_MAX) {
		stop(r, -CIM_EXMLNAME, "a name is too long");
		return false;
	}
	*ret_ns = bar ? arena_copy(r->arena, name, (size_t)(bar - name)) : "";
	*ret_name = arena_strdup(r->arena, bar ? bar + 1 : name);
	if (!*ret_ns || !*ret_name) {
		stop_full(r);
		return false;
	}
	return true;
}

static bool copy_attributes(struct reader *r, struct xml_node *node,
			    const char **list)
{
	/* Those that a DTD adds are not counted. */
	unsigned n = (unsigned)XML_GetSpecifiedAttributeCount(r->parser) / 2;
	struct xml_attribute *attributes;

	if (n > CIM_XML_ATTRIBUTES_MAX) {
		stop(r, -CIM_EXMLATTRIBUTES, "too many attributes");
		return false;
	}
	if (n == 0)
		return true;
	attributes = arena_array(r->arena, n, sizeof(*attributes));
	if (!attributes) {
		stop_full(r);
		return false;
	}
	for (unsigned i = 0; i < n; i++) {
		const char *value = list[2 * i + 1];

		if (strlen(value) > CIM_XML_TEXT_MAX) {
			stop(r, -CIM_EXMLTEXT, "an attribute is too long");
			return false;
		}
		if (!copy_name(r, list[2 * i], &attributes[i].ns,
			       &attributes[i].name))
			return false;
		attributes[i].value = arena_strdup(r->arena, value);
		if (!attributes[i].value) {
			stop_full(r);
			return false;
		}
	}
	node->attributes = attributes;
	node->attribute_count = n;
	return true;
}

/* Puts aside what was gathered for the innermost element. */
static bool put_aside(struct reader *r)
{
	struct frame *frame = &r->frames[r->depth - 1];
	struct fragment *f;

	if (all_space(r->text, r->text_length)) {
		r->text_length = 0;
		return true;
	}
	f = arena_alloc(r->arena, sizeof(*f));
	if (f)
		f->text = arena_copy(r->arena, r->text, r->text_length);
	if (!f || !f->text) {
		stop_full(r);
		return false;
	}
	f->length = r->text_length;
	*frame->tail = f;
	frame->tail = &f->next;
	r->text_length = 0;
	return true;
}

/* Makes NODE the last child of the innermost element and the innermost. */
static void enter(struct reader *r, struct xml_node *node)
{
	struct frame *parent = r->depth ? &r->frames[r->depth - 1] : NULL;
	struct frame *frame = &r->frames[r->depth++];

	*frame = (struct frame){.node = node};
	frame->tail = &frame->first;
	if (!parent) {
		r->root = node;
		return;
	}
	node->parent = parent->node;
	if (parent->last_child)
		parent->last_child->next = node;
	else
		parent->node->first = node;
	parent->last_child = node;
	parent->node->child_count++;
}

static const struct xml_binding *bindings_of(struct reader *r)
{
	const struct xml_binding *bindings = r->pending;

	if (!r->has_pending)
		return r->depth ? r->frames[r->depth - 1].node->bindings : NULL;
	r->has_pending = false;
	r->pending = NULL;
	return bindings;
}

static void on_start(void *arg, const char *name, const char **attributes)
{
	struct reader *r = arg;
	struct xml_node *node;

	if (r->error)
		return;
	if (r->depth == CIM_XML_DEPTH_MAX) {
		stop(r, -CIM_EXMLDEPTH, "elements are nested too deeply");
		return;
	}
	if (r->elements++ == CIM_XML_ELEMENTS_MAX) {
		stop(r, -CIM_EXMLELEMENTS, "too many elements");
		return;
	}
	if (r->depth > 0 && !put_aside(r))
		return;
	node = arena_alloc(r->arena, sizeof(*node));
	if (!node) {
		stop_full(r);
		return;
	}
	node->bindings = bindings_of(r);
	if (copy_name(r, name, &node->ns, &node->name) &&
	    copy_attributes(r, node, attributes))
		enter(r, node);
}

static char *join(struct reader *r, const struct frame *frame,
		  size_t *ret_length)
{
	size_t length = 0;
	char *text, *p;

	for (const struct fragment *f = frame->first; f; f = f->next)
		length += f->length;
	p = text = arena_alloc(r->arena, length + 1);
	if (!text)
		return NULL;
	for (const struct fragment *f = frame->first; f; f = f->next)
		p = (char *)memcpy(p, f->text, f->length) + f->length;
	*ret_length = length;
	return text;
}

static void on_end(void *arg, const char *name)
{
	struct reader *r = arg;
	struct frame *frame;
	struct xml_node *node;

	if (r->error)
		return; /* it may be the end of what was never entered */
	frame = &r->frames[r->depth - 1];
	node = frame->node;
	if (node->first) {
		if (!put_aside(r))
			return;
		node->text = join(r, frame, &node->text_length);
	} else if (r->text_length > 0) {
		node->text = arena_copy(r->arena, r->text, r->text_length);
		node->text_length = r->text_length;
	} else {
		node->text = "";
	}
	if (!node->text) {
		stop_full(r);
		return;
	}
	r->text_length = 0;
	r->depth--;
}

/* Room for MORE bytes of text; expat's pieces are small. */
static bool grow_text(struct reader *r, size_t more)
{
	size_t size = r->text_size ? r->text_size : 4096;
	char *text;

	while (size < r->text_length + more)
		size *= 2;
	if (size == r->text_size)
		return true;
	text = realloc(r->text, size);
	if (!text)
		return false;
	r->text = text;
	r->text_size = size;
	return true;
}

static void on_text(void *arg, const char *text, int length)
{
	struct reader *r = arg;

	if (r->error)
		return;
	if (r->text_length + (size_t)length > CIM_XML_TEXT_MAX) {
		stop(r, -CIM_EXMLTEXT, "an element has too much text");
		return;
	}
	if (!grow_text(r, (size_t)length)) {
		stop_full(r);
		return;
	}
	memcpy(r->text + r->text_length, text, (size_t)length);
	r->text_length += (size_t)length;
}

static void on_namespace(void *arg, const char *prefix, const char *uri)
{
	struct reader *r = arg;
	struct xml_binding *b;

	if (r->error)
		return;
	b = arena_alloc(r->arena, sizeof(*b));
	if (b) {
		b->prefix = prefix ? arena_strdup(r->arena, prefix) : "";
		b->uri = uri ? arena_strdup(r->arena, uri) : "";
	}
	if (!b || !b->prefix || !b->uri) {
		stop_full(r);
		return;
	}
	b->next = bindings_of(r);
	r->pending = b;
	r->has_pending = true;
}

static void on_doctype(void *arg, const char *name, const char *system,
		       const char *public, int internal)
{
	struct reader *r = arg;

	if (!r->options->skip_doctype)
		stop(r, -CIM_EXMLDOCTYPE, "a DOCTYPE is not allowed");
}

static void on_instruction(void *arg, const char *target, const char *data)
{
	stop(arg, -CIM_EXMLDOCTYPE, "processing instructions are not allowed");
}

static void on_entity(void *arg, const char *name, int parameter,
		      const char *value, int length, const char *base,
		      const char *system, const char *public,
		      const char *notation)
{
	stop(arg, -CIM_EXMLENTITY, "entities must not be declared");
}

static void on_skipped(void *arg, const char *name, int parameter)
{
	stop(arg, -CIM_EXMLENTITY, "an entity that is not known");
}

/* What expat itself found. */
static int expat_error(struct reader *r)
{
	enum XML_Error error = XML_GetErrorCode(r->parser);
	int code;

	switch (error) {
	case XML_ERROR_NO_MEMORY:
		return arena_full(r->arena, r->err);
	case XML_ERROR_UNKNOWN_ENCODING:
	case XML_ERROR_INCORRECT_ENCODING:
		code = -CIM_EXMLENCODING;
		break;
	case XML_ERROR_UNDEFINED_ENTITY:
	case XML_ERROR_RECURSIVE_ENTITY_REF:
	case XML_ERROR_AMPLIFICATION_LIMIT_BREACH:
		code = -CIM_EXMLENTITY;
		break;
	default:
		code = -CIM_EXML;
	}
	return err_set(r->err, code, "line %lu, column %lu: %s",
		       (unsigned long)XML_GetCurrentLineNumber(r->parser),
		       (unsigned long)XML_GetCurrentColumnNumber(r->parser) + 1,
		       XML_ErrorString(error));
}

static XML_Parser make_parser(struct reader *r)
{
	const char *encoding = r->options->encoding;
	XML_Parser p = r->options->namespaces
			   ? XML_ParserCreateNS(encoding, SEPARATOR)
			   : XML_ParserCreate(encoding);

	if (!p)
		return NULL;
	XML_SetUserData(p, r);
	XML_SetElementHandler(p, on_start, on_end);
	XML_SetCharacterDataHandler(p, on_text);
	XML_SetStartDoctypeDeclHandler(p, on_doctype);
	if (r->options->no_instructions)
		XML_SetProcessingInstructionHandler(p, on_instruction);
	XML_SetEntityDeclHandler(p, on_entity);
	XML_SetSkippedEntityHandler(p, on_skipped);
	if (r->options->namespaces)
		XML_SetStartNamespaceDeclHandler(p, on_namespace);
	return p;
}

static int run(struct reader *r, const void *bytes, size_t length)
{
	enum XML_Status status;

	r->parser = make_parser(r);
	if (!r->parser)
		return arena_full(r->arena, r->err);
	status = XML_Parse(r->parser, bytes, (int)length, XML_TRUE);
	if (!r->error && status != XML_STATUS_OK)
		r->error = expat_error(r);
	XML_ParserFree(r->parser);
	return r->error;
}

int xml_parse(struct arena *arena, const void *bytes, size_t length,
	      const struct xml_options *options,
	      const struct xml_node **ret_root, struct err *err)
{
	size_t max =
	    options->max_bytes ? options->max_bytes : (size_t)CIM_XML_BYTES_MAX;
	struct reader *r;
	int error;

	if (length > max || length > INT_MAX)
		return err_set(err, -CIM_EXMLBYTES,
			       "the document has %zu bytes, more than %zu",
			       length, max);
	r = calloc(1, sizeof(*r));
	if (!r)
		return arena_full(arena, err);
	r->arena = arena;
	r->options = options;
	r->err = err;
	error = run(r, bytes, length);
	if (!error)
		*ret_root = r->root;
	free(r->text);
	free(r);
	return error;
}

bool xml_is(const struct xml_node *node, const char *ns, const char *name)
{
	return strcmp(node->name, name) == 0 &&
	       (!ns || strcmp(node->ns, ns) == 0);
}

static const struct xml_node *first_from(const struct xml_node *node,
					 const char *ns, const char *name)
{
	while (node && !xml_is(node, ns, name))
		node = node->next;
	return node;
}

const struct xml_node *xml_child(const struct xml_node *node, const char *ns,
				 const char *name)
{
	return first_from(node->first, ns, name);
}

const struct xml_node *xml_sibling(const struct xml_node *node, const char *ns,
				   const char *name)
{
	return first_from(node->next, ns, name);
}

const char *xml_attribute(const struct xml_node *node, const char *ns,
			  const char *name)
{
	for (uint32_t i = 0; i < node->attribute_count; i++) {
		const struct xml_attribute *a = &node->attributes[i];

		if (strcmp(a->name, name) == 0 &&
		    (!ns || strcmp(a->ns, ns) == 0))
			return a->value;
	}
	return NULL;
}

const char *xml_attribute_nocase(const struct xml_node *node, const char *name)
{
	for (uint32_t i = 0; i < node->attribute_count; i++)
		if (strcasecmp(node->attributes[i].name, name) == 0)
			return node->attributes[i].value;
	return NULL;
}

const char *xml_trimmed(struct arena *arena, const struct xml_node *node)
{
	const char *text = node->text;
	size_t length = node->text_length;

	while (length > 0 && is_space(text[length - 1]))
		length--;
	while (length > 0 && is_space(*text)) {
		text++;
		length--;
	}
	if (length == node->text_length)
		return node->text;
	return arena_copy(arena, text, length);
}

bool xml_resolve(const struct xml_node *node, const char *qname,
		 const char **ret_ns, const char **ret_name)
{
	const char *colon = strchr(qname, ':');
	size_t length = colon ? (size_t)(colon - qname) : 0;

	for (const struct xml_binding *b = node->bindings; b; b = b->next) {
		if (strlen(b->prefix) == length &&
		    strncmp(b->prefix, qname, length) == 0) {
			*ret_ns = b->uri;
			*ret_name = colon ? colon + 1 : qname;
			return true;
		}
	}
	if (colon)
		return false;
	*ret_ns = "";
	*ret_name = qname;
	return true;
}
