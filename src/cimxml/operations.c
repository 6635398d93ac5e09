/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Intrinsic methods: which there are, what they take, and what was given.
 */
#include <string.h>
#include <strings.h>

#include "cimxml/internal.h"
#include "common/limits.h"

enum kind {
	KIND_BOOLEAN,
	KIND_NUMBER,
	KIND_STRING,
	KIND_STRINGS,
	KIND_CLASS,
	KIND_PATH,
};

static const struct {
	const char *name;
	enum kind kind;
} parameters[P_COUNT] = {
    [P_ASSOC_CLASS] = {"AssocClass", KIND_CLASS},
    [P_CLASS_NAME] = {"ClassName", KIND_CLASS},
    [P_CONTINUE_ON_ERROR] = {"ContinueOnError", KIND_BOOLEAN},
    [P_DEEP_INHERITANCE] = {"DeepInheritance", KIND_BOOLEAN},
    [P_ENUMERATION_CONTEXT] = {"EnumerationContext", KIND_STRING},
    [P_FILTER_QUERY] = {"FilterQuery", KIND_STRING},
    [P_FILTER_QUERY_LANGUAGE] = {"FilterQueryLanguage", KIND_STRING},
    [P_INCLUDE_CLASS_ORIGIN] = {"IncludeClassOrigin", KIND_BOOLEAN},
    [P_INCLUDE_QUALIFIERS] = {"IncludeQualifiers", KIND_BOOLEAN},
    [P_INSTANCE_NAME] = {"InstanceName", KIND_PATH},
    [P_LOCAL_ONLY] = {"LocalOnly", KIND_BOOLEAN},
    [P_MAX_OBJECT_COUNT] = {"MaxObjectCount", KIND_NUMBER},
    [P_OBJECT_NAME] = {"ObjectName", KIND_PATH},
    [P_OPERATION_TIMEOUT] = {"OperationTimeout", KIND_NUMBER},
    [P_PROPERTY_LIST] = {"PropertyList", KIND_STRINGS},
    [P_PROPERTY_NAME] = {"PropertyName", KIND_STRING},
    [P_QUALIFIER_NAME] = {"QualifierName", KIND_STRING},
    [P_QUERY] = {"Query", KIND_STRING},
    [P_QUERY_LANGUAGE] = {"QueryLanguage", KIND_STRING},
    [P_RESULT_CLASS] = {"ResultClass", KIND_CLASS},
    [P_RESULT_ROLE] = {"ResultRole", KIND_STRING},
    [P_RETURN_QUERY_RESULT_CLASS] = {"ReturnQueryResultClass", KIND_BOOLEAN},
    [P_ROLE] = {"Role", KIND_STRING},
};

#define BIT(p) (1u << P_##p)

/* Of whole objects; of walks; of what is pulled. */
#define WHOLE                                                                  \
	(BIT(LOCAL_ONLY) | BIT(INCLUDE_QUALIFIERS) |                           \
	 BIT(INCLUDE_CLASS_ORIGIN) | BIT(PROPERTY_LIST))
#define TO_OTHERS                                                              \
	(BIT(ASSOC_CLASS) | BIT(RESULT_CLASS) | BIT(ROLE) | BIT(RESULT_ROLE))
#define TO_ASSOCIATIONS (BIT(RESULT_CLASS) | BIT(ROLE))
#define OPENED                                                                 \
	(BIT(FILTER_QUERY_LANGUAGE) | BIT(FILTER_QUERY) |                      \
	 BIT(OPERATION_TIMEOUT) | BIT(CONTINUE_ON_ERROR) |                     \
	 BIT(MAX_OBJECT_COUNT))
#define OPENED_WHOLE (OPENED | BIT(INCLUDE_CLASS_ORIGIN) | BIT(PROPERTY_LIST))
#define PULLED       (BIT(ENUMERATION_CONTEXT) | BIT(MAX_OBJECT_COUNT))
#define QUERIED      (BIT(FILTER_QUERY_LANGUAGE) | BIT(FILTER_QUERY))

/* Those without a function are known and not supported. */
static const struct {
	const char *name;
	operation *run;
	uint32_t required, optional;
} operations[] = {
    {"GetClass", get_class, BIT(CLASS_NAME), WHOLE},
    {"EnumerateClasses", enumerate_classes, 0,
     BIT(CLASS_NAME) | BIT(DEEP_INHERITANCE) | WHOLE},
    {"EnumerateClassNames", enumerate_class_names, 0,
     BIT(CLASS_NAME) | BIT(DEEP_INHERITANCE)},
    {"GetQualifier", get_qualifier, BIT(QUALIFIER_NAME), 0},
    {"EnumerateQualifiers", enumerate_qualifiers, 0, 0},
    {"GetInstance", get_instance, BIT(INSTANCE_NAME), WHOLE},
    {"EnumerateInstances", enumerate_instances, BIT(CLASS_NAME),
     BIT(DEEP_INHERITANCE) | WHOLE},
    {"EnumerateInstanceNames", enumerate_instance_names, BIT(CLASS_NAME), 0},
    {"GetProperty", get_property, BIT(INSTANCE_NAME) | BIT(PROPERTY_NAME), 0},
    {"DeleteInstance", delete_instance, BIT(INSTANCE_NAME), 0},
    {"ExecQuery", exec_query, BIT(QUERY_LANGUAGE) | BIT(QUERY), 0},
    {"Associators", associators, BIT(OBJECT_NAME), TO_OTHERS | WHOLE},
    {"AssociatorNames", associator_names, BIT(OBJECT_NAME), TO_OTHERS},
    {"References", references, BIT(OBJECT_NAME), TO_ASSOCIATIONS | WHOLE},
    {"ReferenceNames", reference_names, BIT(OBJECT_NAME), TO_ASSOCIATIONS},
    {"OpenEnumerateInstances", open_instances, BIT(CLASS_NAME),
     BIT(DEEP_INHERITANCE) | BIT(LOCAL_ONLY) | OPENED_WHOLE},
    {"OpenEnumerateInstancePaths", open_paths, BIT(CLASS_NAME), OPENED},
    {"OpenAssociatorInstances", open_associators, BIT(INSTANCE_NAME),
     TO_OTHERS | OPENED_WHOLE},
    {"OpenAssociatorInstancePaths", open_associator_paths, BIT(INSTANCE_NAME),
     TO_OTHERS | OPENED},
    {"OpenReferenceInstances", open_references, BIT(INSTANCE_NAME),
     TO_ASSOCIATIONS | OPENED_WHOLE},
    {"OpenReferenceInstancePaths", open_reference_paths, BIT(INSTANCE_NAME),
     TO_ASSOCIATIONS | OPENED},
    {"OpenQueryInstances", open_query, QUERIED,
     BIT(RETURN_QUERY_RESULT_CLASS) | OPENED},
    {"PullInstancesWithPath", pull_with_path, PULLED, 0},
    {"PullInstancePaths", pull_paths, PULLED, 0},
    {"PullInstances", pull_instances, PULLED, 0},
    {"CloseEnumeration", close_enumeration, BIT(ENUMERATION_CONTEXT), 0},
    {"EnumerationCount", NULL, 0, 0},
    {"CreateClass", NULL, 0, 0},
    {"ModifyClass", NULL, 0, 0},
    {"DeleteClass", NULL, 0, 0},
    {"CreateInstance", NULL, 0, 0},
    {"ModifyInstance", NULL, 0, 0},
    {"SetProperty", NULL, 0, 0},
    {"SetQualifier", NULL, 0, 0},
    {"DeleteQualifier", NULL, 0, 0},
};

/* ---- reading ------------------------------------------------------------- */

static int not_read(struct call *c, enum parameter p)
{
	return err_set(c->err, -CIM_EPARAMETER, "%s cannot be read",
		       parameters[p].name);
}

static int read_scalar(struct call *c, enum parameter p,
		       const struct xml_node *node)
{
	struct argument *a = &c->arguments[p];
	union cim_scalar scalar;
	enum cim_type type =
	    parameters[p].kind == KIND_BOOLEAN ? CIM_BOOLEAN : CIM_UINT32;

	if (!xml_is(node, NULL, "VALUE") || node->first)
		return not_read(c, p);
	if (parameters[p].kind == KIND_STRING) {
		a->text = node->text;
		return 0;
	}
	if (cim_scalar_parse(c->cim.arena, type, node->text, &scalar, NULL) < 0)
		return not_read(c, p);
	if (type == CIM_BOOLEAN)
		a->truth = scalar.boolean;
	else
		a->number = (uint32_t)scalar.uint;
	return 0;
}

static int read_strings(struct call *c, enum parameter p,
			const struct xml_node *node)
{
	const char **list =
	    arena_array(c->cim.arena, node->child_count, sizeof(*list));
	uint32_t count = 0;

	if (!list)
		return arena_full(c->cim.arena, c->err);
	/* Each property of each instance is held against all of them. */
	if (node->child_count > CIM_PROPERTY_LIST_MAX)
		return err_set(c->err, -CIM_EPARAMETER,
			       "%s has more than %d names", parameters[p].name,
			       CIM_PROPERTY_LIST_MAX);
	if (!xml_is(node, NULL, "VALUE.ARRAY"))
		return not_read(c, p);
	for (const struct xml_node *n = node->first; n; n = n->next) {
		if (!xml_is(n, NULL, "VALUE"))
			return not_read(c, p);
		list[count++] = n->text;
	}
	c->arguments[p].list = list;
	c->arguments[p].list_count = count;
	return 0;
}

static int read_class(struct call *c, enum parameter p,
		      const struct xml_node *node)
{
	c->arguments[p].text = xml_is(node, NULL, "CLASSNAME")
				   ? xml_attribute(node, NULL, "NAME")
				   : NULL;
	return c->arguments[p].text ? 0 : not_read(c, p);
}

static int read_argument(struct call *c, enum parameter p,
			 const struct xml_node *node)
{
	struct argument *a = &c->arguments[p];

	if (!node) /* NULL, as if it were not there */
		return 0;
	a->given = true;
	switch (parameters[p].kind) {
	case KIND_STRINGS:
		return read_strings(c, p, node);
	case KIND_CLASS:
		return read_class(c, p, node);
	case KIND_PATH:
		return codec_get_path(c->cim.arena, node, &a->path, c->err);
	default:
		return read_scalar(c, p, node);
	}
}

static int find_parameter(struct call *c, const char *name, uint32_t allowed,
			  enum parameter *ret_parameter)
{
	for (unsigned p = 0; p < P_COUNT; p++)
		if (allowed & 1u << p &&
		    strcasecmp(parameters[p].name, name) == 0) {
			*ret_parameter = p;
			return 0;
		}
	return err_set(c->err, -CIM_EPARAMETER, "there is no parameter %.60s",
		       name);
}

static int read_arguments(struct call *c, const struct xml_node *call,
			  uint32_t allowed)
{
	const struct xml_node *n = xml_child(call, NULL, "IPARAMVALUE");

	for (; n; n = xml_sibling(n, NULL, "IPARAMVALUE")) {
		const char *name = xml_attribute(n, NULL, "NAME");
		enum parameter p = P_COUNT;
		int r = find_parameter(c, name ? name : "", allowed, &p);

		if (r < 0)
			return r;
		if (c->arguments[p].named)
			return err_set(c->err, -CIM_EPARAMETER, "%s twice",
				       parameters[p].name);
		c->arguments[p].named = true;
		r = read_argument(c, p, n->first);
		if (r < 0)
			return r;
	}
	return 0;
}

static int check_required(struct call *c, uint32_t required)
{
	for (unsigned p = 0; p < P_COUNT; p++)
		if (required & 1u << p && !c->arguments[p].given)
			return err_set(c->err, -CIM_EPARAMETER, "%s is missing",
				       parameters[p].name);
	return 0;
}

int call_operation(struct call *c, const char *name,
		   const struct xml_node *node)
{
	size_t i = 0;
	int r;

	while (i < ARRAY_SIZE(operations) &&
	       strcasecmp(operations[i].name, name) != 0)
		i++;
	if (i == ARRAY_SIZE(operations) || !operations[i].run)
		return err_set(c->err, -CIM_ENOTSUPPORTED,
			       "%.60s is not supported", name);
	r = read_arguments(c, node,
			   operations[i].required | operations[i].optional);
	if (r == 0)
		r = check_required(c, operations[i].required);
	return r < 0 ? r : operations[i].run(c);
}

/* ---- what they ask for --------------------------------------------------- */

struct codec_select select_of(const struct call *c)
{
	const struct argument *list = &c->arguments[P_PROPERTY_LIST];

	return (struct codec_select){
	    .class_origin = truth_of(c, P_INCLUDE_CLASS_ORIGIN, false),
	    .list = list->given,
	    .properties = list->list,
	    .property_count = list->list_count};
}

struct cim_walk walk_of(const struct call *c, bool refs)
{
	return (struct cim_walk){.references = refs,
				 .assoc_class = text_of(c, P_ASSOC_CLASS),
				 .result_class = text_of(c, P_RESULT_CLASS),
				 .role = text_of(c, P_ROLE),
				 .result_role = text_of(c, P_RESULT_ROLE)};
}
