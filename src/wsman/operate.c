/* SPDX-License-Identifier: Apache-2.0 */
/* Identify, Get, Delete, class Get and calls. */
#include <string.h>
#include <strings.h>

#include "common/limits.h"
#include "wsman/internal.h"

int operate_identify(struct message *m, struct wsman_response *ret_response,
		     struct err *err)
{
	struct xml_out out;

	reply_begin(&out, m, NULL, NULL);
	xml_open(&out, "wsmid:IdentifyResponse");
	xml_put_attribute(&out, "xmlns:wsmid", NS_IDENTITY);
	xml_element(&out, "wsmid:ProtocolVersion", NS_WSMAN);
	xml_element(&out, "wsmid:ProductVendor", "refpoint");
	if (m->cim.role != CIM_ROLE_NONE)
		xml_element(&out, "wsmid:ProductVersion", m->wsman->version);
	xml_open(&out, "wsmid:SecurityProfiles");
	xml_element(&out, "wsmid:SecurityProfileName",
		    "http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/"
		    "https/basic");
	xml_close(&out);
	xml_close(&out);
	return reply_end(&out, m, ret_response, err);
}

/* ---- which object ------------------------------------------------------- */

struct only {
	struct message *message;
	const struct cim_path *given;
	const struct cim_path *path;
	unsigned count;
};

static bool meets(const struct cim_instance *instance,
		  const struct cim_path *given)
{
	for (uint32_t i = 0; i < given->key_count; i++) {
		const struct cim_key *key = &given->keys[i];
		const struct cim_key *its =
		    instance->path ? cim_path_key(instance->path, key->name)
				   : NULL;

		if (!its || !cim_key_equal(its, key))
			return false;
	}
	return true;
}

static int copy_path(struct arena *arena, const struct cim_path *path,
		     const struct cim_path **ret_path, struct err *err)
{
	const char *text;
	int r = cim_path_format(arena, path, &text, err);

	return r < 0 ? r : cim_path_parse(arena, text, ret_path, err);
}

static int count_one(void *arg, const struct cim_instance *instance,
		     struct err *err)
{
	struct only *only = arg;

	if (++only->count > 1 || !instance->path ||
	    !meets(instance, only->given))
		return 0;
	return copy_path(only->message->arena, instance->path, &only->path,
			 err);
}

/* The path of the class's only instance; -CIM_ESELECTORFEW if there is none
 * such. */
static int find_only(struct message *m, const struct cim_path *given,
		     const struct cim_path **ret_path, struct err *err)
{
	struct only only = {.message = m, .given = given};
	int r = broker_enumerate(m->wsman->broker, &m->cim, given->class_name,
				 count_one, &only, err);

	if (r < 0)
		return r;
	if (only.count != 1 || !only.path)
		return err_set(err, -CIM_ESELECTORFEW,
			       "the selectors do not name one %s",
			       given->class_name);
	*ret_path = only.path;
	return 0;
}

static int given_path(struct message *m, const struct cim_path **ret_path,
		      struct err *err)
{
	if (!m->uri)
		return err_set(err, -CIM_EHEADERMISSING,
			       "the header ResourceURI is missing");
	if (strcmp(m->resource.class_name, "*") == 0)
		return err_set(err, -CIM_ECLASS,
			       "* is no class with an instance");
	return resource_path(m->arena, &m->resource, m->selectors, ret_path,
			     err);
}

int message_path(struct message *m, const struct cim_path **ret_path,
		 struct err *err)
{
	const struct schema_class *class;
	const struct cim_path *given, *bound;
	int r = given_path(m, &given, err);

	if (r == 0)
		r = broker_class(&m->cim, given->class_name, &class, err);
	if (r < 0)
		return r;
	r = cim_path_bind(m->arena, given, class, &bound, err);
	if (r == -CIM_ESELECTORFEW)
		return find_only(m, given, ret_path, err);
	if (r == 0)
		*ret_path = given;
	return r;
}

/* ---- transfer ----------------------------------------------------------- */

static struct put_style style_of(const struct message *m)
{
	return (struct put_style){.arena = m->arena,
				  .family = m->resource.family,
				  .ns = m->resource.ns};
}

static int class_uri(const struct message *m, const char *name,
		     const char **ret_uri, struct err *err)
{
	*ret_uri =
	    resource_uri(m->arena, m->resource.family, m->resource.ns, name);
	return *ret_uri ? 0 : arena_full(m->arena, err);
}

int operate_get(struct message *m, struct wsman_response *ret_response,
		struct err *err)
{
	const struct put_style style = style_of(m);
	const struct cim_instance *instance;
	const struct cim_path *path;
	const char *uri;
	struct xml_out out;
	int r = message_path(m, &path, err);

	if (r == 0)
		r = broker_get(m->wsman->broker, &m->cim, path, &instance, err);
	if (r == 0)
		r = class_uri(m, instance->class->name, &uri, err);
	if (r < 0)
		return r;
	reply_begin(&out, m, NS_TRANSFER "/GetResponse", uri);
	put_instance(&out, &style, instance, &(struct put_view){0});
	return reply_end(&out, m, ret_response, err);
}

int operate_delete(struct message *m, struct wsman_response *ret_response,
		   struct err *err)
{
	const struct cim_path *path;
	struct xml_out out;
	int r = given_path(m, &path, err);

	if (r == 0)
		r = broker_delete(m->wsman->broker, &m->cim, path, err);
	if (r < 0)
		return r;
	reply_begin(&out, m, NS_TRANSFER "/DeleteResponse", NULL);
	return reply_end(&out, m, ret_response, err);
}

/* The selector ClassName, or the class in the URI. */
static int asked_class(struct message *m, const char **ret_name,
		       struct err *err)
{
	const struct cim_path *path;
	const char *name;
	int r = resource_path(m->arena, &m->resource, m->selectors, &path, err);

	if (r < 0)
		return r;
	name = cim_path_text(path, "ClassName");
	if (!name && strcmp(m->resource.class_name, "*") != 0)
		name = m->resource.class_name;
	if (!name)
		return err_set(err, -CIM_ESELECTORFEW,
			       "the selector ClassName is missing");
	*ret_name = name;
	return 0;
}

int operate_get_class(struct message *m, struct wsman_response *ret_response,
		      struct err *err)
{
	const struct codec_select select = {
	    .local_only = !message_option(m, "IncludeInheritedElements", true),
	    .qualifiers = message_option(m, "IncludeQualifiers", true),
	    .class_origin =
		message_option(m, "IncludeInheritanceHierarchy", true),
	};
	const struct schema_class *class;
	const char *name = NULL;
	struct xml_out out;
	int r = asked_class(m, &name, err);

	if (r == 0)
		r = broker_class(&m->cim, name, &class, err);
	if (r < 0)
		return r;
	reply_begin(&out, m, NS_TRANSFER "/GetResponse", NULL);
	codec_put_class(&out, class, &select);
	return reply_end(&out, m, ret_response, err);
}

/* ---- calls -------------------------------------------------------------- */

static void put_output(struct xml_out *out, const struct message *m,
		       const struct cim_arguments *results,
		       const struct cim_value *result)
{
	const struct schema_method *method = results->method;
	const struct put_style style = style_of(m);

	for (uint32_t i = 0; i < method->parameter_count; i++)
		if (method->parameters[i].out)
			put_value(out, &style, method->parameters[i].name,
				  &results->values[i]);
	put_value(out, &style, "ReturnValue", result);
}

static int answer_call(struct message *m, const struct schema_class *class,
		       const struct cim_arguments *results,
		       const struct cim_value *result,
		       struct wsman_response *ret_response, struct err *err)
{
	const char *uri, *action, *name;
	struct xml_out out;
	int r = class_uri(m, class->name, &uri, err);

	if (r < 0)
		return r;
	action = arena_printf(m->arena, "%sResponse", m->action);
	name = arena_printf(m->arena, "p:%s_OUTPUT", results->method->name);
	if (!action || !name)
		return arena_full(m->arena, err);
	reply_begin(&out, m, action, uri);
	xml_open(&out, name);
	xml_put_attribute(&out, "xmlns:p", uri);
	put_output(&out, m, results, result);
	xml_close(&out);
	return reply_end(&out, m, ret_response, err);
}

/* The method that the action names, which starts with a class's URI. */
static int called_method(const struct message *m, const char **ret_name,
			 struct err *err)
{
	const char *slash = strrchr(m->action, '/');
	char *uri =
	    slash ? arena_copy(m->arena, m->action, (size_t)(slash - m->action))
		  : NULL;
	struct resource resource;

	if (slash && !uri)
		return arena_full(m->arena, err);
	if (!slash || !slash[1] || !m->uri ||
	    resource_read(m->arena, uri, NULL, &resource, NULL) < 0)
		return err_set(err, -CIM_EMETHOD, "there is no action %.120s",
			       m->action);
	*ret_name = slash + 1;
	return 0;
}

/* What an answer has besides the items of arrays, at most; beyond that it is
 * too long whatever the provider does. */
#define CALL_BYTES 3072

static size_t room_for_arrays(const struct message *m)
{
	size_t rest = CALL_BYTES + strlen(m->action) + 3 * strlen(m->uri) +
		      6 * strlen(m->message_id);

	return m->limit > rest ? m->limit - rest : 1;
}

int operate_invoke(struct message *m, struct wsman_response *ret_response,
		   struct err *err)
{
	const struct schema_namespace *ns;
	const struct schema_class *class;
	struct cim_arguments in, results;
	const struct cim_path *path;
	struct cim_value result;
	const char *method = NULL;
	int r = called_method(m, &method, err);

	if (r == 0)
		r = broker_class(&m->cim, m->resource.class_name, &class, err);
	if (r == 0)
		r = broker_arguments(&m->cim, class, method, &in, err);
	if (r == 0)
		r = broker_may_call(m->wsman->broker, &m->cim, class, method,
				    err);
	if (r == 0)
		r = message_path(m, &path, err);
	if (r < 0)
		return r;
	ns = schema_find_namespace(m->cim.ns);
	m->cim.reply_bytes = room_for_arrays(m);
	r = get_arguments(m->arena, ns, m->payload, &in, err);
	if (r == 0)
		r = broker_invoke(m->wsman->broker, &m->cim, path, &in,
				  &results, &result, err);
	if (r < 0)
		return r;
	return answer_call(m, class, &results, &result, ret_response, err);
}
