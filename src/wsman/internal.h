/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this layer share. */
#ifndef WSMAN_INTERNAL_H
#define WSMAN_INTERNAL_H

#include "cim/codec.h"
#include "cim/status.h"
#include "wsman/duplicates.h"
#include "wsman/wsman.h"

#define NS_SOAP        "http://www.w3.org/2003/05/soap-envelope"
#define NS_ADDRESSING  "http://schemas.xmlsoap.org/ws/2004/08/addressing"
#define NS_ENUMERATION "http://schemas.xmlsoap.org/ws/2004/09/enumeration"
#define NS_TRANSFER    "http://schemas.xmlsoap.org/ws/2004/09/transfer"
#define NS_EVENTING    "http://schemas.xmlsoap.org/ws/2004/08/eventing"
#define NS_WSMAN       "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
#define NS_BINDING     "http://schemas.dmtf.org/wbem/wsman/1/cimbinding.xsd"
#define NS_MICROSOFT   "http://schemas.microsoft.com/wbem/wsman/1/wsman.xsd"
#define NS_WSMANFAULT  "http://schemas.microsoft.com/wbem/wsman/1/wsmanfault"
#define NS_XSI         "http://www.w3.org/2001/XMLSchema-instance"
#define NS_XML         "http://www.w3.org/XML/1998/namespace"
#define NS_CIM         "http://schemas.dmtf.org/wbem/wscim/1/common"
#define NS_IDENTITY                                                            \
	"http://schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd"
#define URI_ANONYMOUS NS_ADDRESSING "/role/anonymous"

#define DEFAULT_NAMESPACE "root/virtualization/v2"

struct wsman {
	struct broker *broker;
	struct contexts *contexts;
	const char *version;
	uint64_t (*now)(void);
	struct duplicates *duplicates;
};

/* ---- what a URI and selectors name (resource.c) ----------------------- */

enum uri_family {
	URI_DMTF,
	URI_MICROSOFT,
};

struct resource {
	enum uri_family family;
	bool schema;            /* the class itself is asked for */
	bool intrinsic;         /* openwsman's way to do that */
	const char *ns;         /* as the schema spells it, if it has it */
	const char *class_name; /* "*": whichever */
};

/* SELECTORS is a SelectorSet or NULL.  -CIM_ENAMESPACE if URI is of neither
 * family, -CIM_ESELECTORVALUE if both name a namespace and not the same. */
int resource_read(struct arena *arena, const char *uri,
		  const struct xml_node *selectors,
		  struct resource *ret_resource, struct err *err);
/* The path that it and the selectors name; keys are untyped. */
int resource_path(struct arena *arena, const struct resource *resource,
		  const struct xml_node *selectors,
		  const struct cim_path **ret_path, struct err *err);
/* The URI of a class; NULL if the arena is full. */
const char *resource_uri(struct arena *arena, enum uri_family family,
			 const char *ns, const char *class_name);
/* A path from an endpoint reference: NODE holds ReferenceParameters, or an
 * EndpointReference that does. */
int epr_read(struct arena *arena, const struct xml_node *node, unsigned depth,
	     const struct cim_path **ret_path, struct err *err);
/* Whether NODE looks like one. */
bool epr_is(const struct xml_node *node);

/* ---- an envelope (message.c) ------------------------------------------ */

struct message {
	struct wsman *wsman;
	const struct wsman_request *request;
	struct arena *arena;
	struct cim_request cim;
	bool utf16;                     /* the reply is, too */
	const struct xml_node *root;    /* NULL: was not even XML */
	const struct xml_node *header;  /* or NULL */
	const struct xml_node *payload; /* the body's element, or NULL */
	const char *message_id;         /* as it came; NULL: none */
	const char *action;             /* "" if none */
	const char *uri;                /* ResourceURI, or NULL */
	const struct xml_node *selectors;
	struct resource resource; /* class_name NULL if there is no URI */
	size_t limit;             /* bytes of the reply, in UTF-8 */
	const struct xml_node *not_understood; /* of that fault */
};

/* Fills MESSAGE as far as it gets, also on failure. */
int message_read(struct message *message, struct err *err);
bool message_is_identify(const struct message *message);
/* What an Option says; OTHERWISE if it is not there. */
bool message_option(const struct message *message, const char *name,
		    bool otherwise);
bool wsman_true(const char *text);

/* ---- values as WS-CIM writes them (put.c, get.c) ---------------------- */

/* Where references lead and what new names are kept in. */
struct put_style {
	struct arena *arena;
	enum uri_family family;
	const char *ns;
	/* Each part of a reference declares its prefix: wsl pastes them into
	 * requests that have others. */
	bool declare;
};

void put_value(struct xml_out *out, const struct put_style *style,
	       const char *name, const struct cim_value *value);
/* Address and ReferenceParameters. */
void put_reference(struct xml_out *out, const struct put_style *style,
		   const struct cim_path *path);
/* Properties of which a view shows only some. */
struct put_view {
	const struct schema_class *class; /* under whose name; NULL: its own */
	bool only_class;               /* only the properties that CLASS has */
	const char *const *properties; /* without case */
	uint32_t property_count;       /* 0: all */
};
void put_instance(struct xml_out *out, const struct put_style *style,
		  const struct cim_instance *instance,
		  const struct put_view *view);

/* Arguments from the elements in INPUT (NULL: none), by the method's types. */
int get_arguments(struct arena *arena, const struct schema_namespace *ns,
		  const struct xml_node *input, struct cim_arguments *arguments,
		  struct err *err);
/* xs:dateTime or xs:duration to CIM's text; NULL if it is neither. */
const char *get_iso_time(struct arena *arena, const char *text);

/* ---- replies (reply.c) ------------------------------------------------ */

/* Opens Envelope and Body; P is what the prefix p stands for, or NULL. */
void reply_begin(struct xml_out *out, const struct message *message,
		 const char *action, const char *p);
/* Closes them and stores the response. */
int reply_end(struct xml_out *out, const struct message *message,
	      struct wsman_response *ret_response, struct err *err);
/* Never fails; with no memory left it is a status without a body. */
void reply_fault(const struct message *message, int code, const char *text,
		 struct wsman_response *ret_response);

/* ---- operations: each stores the whole reply -------------------------- */

typedef int operation_fn(struct message *message,
			 struct wsman_response *ret_response, struct err *err);
/* openwsman's actions on a namespace's classes (intrinsic.c), or NULL. */
operation_fn *intrinsic_operation(const struct message *message);

operation_fn operate_identify, operate_get, operate_get_class, operate_delete,
    operate_invoke, operate_enumerate, operate_pull, operate_release;

/* The path of the request, bound to an only instance if selectors are left
 * out (see wsman.h). */
int message_path(struct message *message, const struct cim_path **ret_path,
		 struct err *err);

#endif
