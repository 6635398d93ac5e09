/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Open, Pull and Close: an enumeration is taken whole when it is opened, as the
 * XML of its items, and handed out in pieces.  What the first reply has room
 * for needs no context.
 */
#include <stdlib.h>
#include <string.h>

#include "cimxml/internal.h"
#include "common/limits.h"

/* Of a reply, kept for what stands behind the items. */
#define TAIL_BYTES 1024

/* What is left of an enumeration; item N ends at ends[N]. */
struct rest {
	char *bytes;
	size_t *ends;
	uint32_t count, next;
};

struct gatherer {
	struct teller teller;
	struct xml_out out;
	size_t *ends;
	uint32_t count, size;
};

static void free_rest(void *data)
{
	struct rest *rest = data;

	free(rest->bytes);
	free(rest->ends);
	free(rest);
}

/* By what they are pulled with. */
static const struct context_kind kinds[] = {
    {free_rest}, /* PullInstancesWithPath */
    {free_rest}, /* PullInstancePaths */
    {free_rest}, /* PullInstances */
};

static const struct context_kind *kind_of(enum form form)
{
	switch (form) {
	case FORM_PULL_WITH_PATH:
		return &kinds[0];
	case FORM_PULL_PATH:
		return &kinds[1];
	default:
		return &kinds[2];
	}
}

static int gather(void *arg, const struct cim_instance *instance,
		  struct err *err)
{
	struct gatherer *g = arg;
	int r = tell_instance(&g->teller, instance, err);
	uint32_t size = g->size ? g->size * 2 : 64;
	size_t *ends;

	if (r < 0)
		return r;
	if (g->count == g->size) {
		ends = realloc(g->ends, size * sizeof(*ends));
		if (!ends)
			return err_set(err, -CIM_ELIMITS, "too many instances");
		g->ends = ends;
		g->size = size;
	}
	g->ends[g->count++] = g->out.length;
	return 0;
}

/* ---- what clients may ask for -------------------------------------------- */

static int check_timeout(struct call *c, uint64_t *ret_ms)
{
	const struct argument *a = &c->arguments[P_OPERATION_TIMEOUT];

	*ret_ms = CIM_CONTEXT_MS;
	if (!a->given)
		return 0;
	*ret_ms = (uint64_t)a->number * 1000;
	if (*ret_ms == 0 || *ret_ms > CIM_CONTEXT_MS_MAX)
		return err_set(c->err, -CIM_EOPTIMEOUT,
			       "OperationTimeout is 1 to %d seconds here",
			       CIM_CONTEXT_MS_MAX / 1000);
	return 0;
}

static int check_open(struct call *c, bool query, uint64_t *ret_ms)
{
	const struct argument *a = c->arguments;

	if (truth_of(c, P_CONTINUE_ON_ERROR, false))
		return err_set(c->err, -CIM_ECONTINUE,
			       "ContinueOnError is not supported");
	if (!query && ((a[P_FILTER_QUERY].given && *a[P_FILTER_QUERY].text) ||
		       (a[P_FILTER_QUERY_LANGUAGE].given &&
			*a[P_FILTER_QUERY_LANGUAGE].text)))
		return err_set(c->err, -CIM_EFILTERED,
			       "filters are not supported; query instead");
	return check_timeout(c, ret_ms);
}

/* ---- handing out --------------------------------------------------------- */

/* At most MOST items, as many as there is room for; but one at least. */
static int put_items(struct call *c, struct rest *rest, uint32_t most)
{
	xml_open(c->out, "IRETURNVALUE");
	for (uint32_t i = 0; i < most && rest->next < rest->count; i++) {
		size_t from = rest->next ? rest->ends[rest->next - 1] : 0;
		size_t bytes = rest->ends[rest->next] - from;
		size_t room = xml_room(c->out);

		if (room < TAIL_BYTES || bytes > room - TAIL_BYTES) {
			if (i == 0)
				return err_set(c->err, -CIM_EREPLYBYTES,
					       "an instance is too large");
			break;
		}
		xml_put_fragment(c->out, rest->bytes + from, bytes);
		rest->next++;
	}
	xml_close(c->out);
	return 0;
}

static void put_parameter(struct call *c, const char *name, const char *type,
			  const char *value)
{
	xml_open(c->out, "PARAMVALUE");
	xml_put_attribute(c->out, "NAME", name);
	xml_put_attribute(c->out, "PARAMTYPE", type);
	xml_element(c->out, "VALUE", value);
	xml_close(c->out);
}

static void put_tail(struct call *c, const char *id)
{
	put_parameter(c, "EnumerationContext", "string", id);
	put_parameter(c, "EndOfSequence", "boolean", *id ? "FALSE" : "TRUE");
}

/* The first reply; takes REST over. */
static int answer_open(struct call *c, struct rest *rest, enum form form,
		       uint64_t life_ms)
{
	char id[CIM_CONTEXT_TEXT_BYTES] = "";
	size_t bytes = sizeof(*rest) + rest->count * sizeof(*rest->ends) +
		       (rest->count ? rest->ends[rest->count - 1] : 0);
	int r = put_items(c, rest, c->arguments[P_MAX_OBJECT_COUNT].number);

	if (r == 0 && rest->next < rest->count)
		r = contexts_add(c->service->contexts, c->cim.caller,
				 kind_of(form), rest, bytes, life_ms, id,
				 c->err);
	if (r < 0 || !*id)
		free_rest(rest);
	if (r == 0)
		put_tail(c, id);
	return r;
}

static struct rest *rest_of(struct gatherer *g)
{
	struct rest *rest = calloc(1, sizeof(*rest));
	size_t length;

	if (!rest)
		return NULL;
	if (xml_finish(&g->out, &rest->bytes, &length, NULL) < 0) {
		free(rest);
		return NULL;
	}
	rest->ends = g->ends;
	rest->count = g->count;
	g->ends = NULL;
	return rest;
}

typedef int collect(struct call *c, struct gatherer *g, const void *arg);

static int open_any(struct call *c, enum form form, collect *fn,
		    const void *arg, struct codec_select select)
{
	struct gatherer g = {.teller = {c, &g.out, form, select}};
	struct rest *rest = NULL;
	uint64_t life_ms = CIM_CONTEXT_MS;
	int r = check_open(c, form == FORM_PULL, &life_ms);

	if (r < 0)
		return r;
	xml_init(&g.out, CIM_REPLY_BYTES_MAX, true);
	r = fn(c, &g, arg);
	if (r == 0) {
		rest = rest_of(&g);
		r = rest ? answer_open(c, rest, form, life_ms)
			 : err_set(c->err, -CIM_ELIMITS, "no memory");
	}
	xml_release(&g.out);
	free(g.ends);
	return r;
}

/* ---- operations ---------------------------------------------------------- */

static int collect_class(struct call *c, struct gatherer *g, const void *arg)
{
	return tell_class_instances(c, &g->teller, gather, g);
}

static int collect_walk(struct call *c, struct gatherer *g, const void *arg)
{
	const bool *refs = arg;

	return tell_walk(c, c->arguments[P_INSTANCE_NAME].path, *refs, gather,
			 g);
}

static int collect_query(struct call *c, struct gatherer *g, const void *arg)
{
	struct wql_query *const *query = arg;

	return broker_query(c->service->broker, &c->cim, *query, gather, g,
			    c->err);
}

int open_instances(struct call *c)
{
	return open_any(c, FORM_PULL_WITH_PATH, collect_class, NULL,
			select_of(c));
}

int open_paths(struct call *c)
{
	return open_any(c, FORM_PULL_PATH, collect_class, NULL, select_of(c));
}

static int open_walk(struct call *c, bool refs, enum form form)
{
	return open_any(c, form, collect_walk, &refs, select_of(c));
}

int open_associators(struct call *c)
{
	return open_walk(c, false, FORM_PULL_WITH_PATH);
}

int open_associator_paths(struct call *c)
{
	return open_walk(c, false, FORM_PULL_PATH);
}

int open_references(struct call *c)
{
	return open_walk(c, true, FORM_PULL_WITH_PATH);
}

int open_reference_paths(struct call *c)
{
	return open_walk(c, true, FORM_PULL_PATH);
}

static void put_result_class(struct call *c, const struct schema_class *class,
			     const struct codec_select *select)
{
	xml_open(c->out, "PARAMVALUE");
	xml_put_attribute(c->out, "NAME", "QueryResultClass");
	codec_put_class(c->out, class, select);
	xml_close(c->out);
}

int open_query(struct call *c)
{
	const struct schema_class *class = NULL;
	struct codec_select select = {0};
	struct wql_query *query;
	int r = read_query(c, text_of(c, P_FILTER_QUERY_LANGUAGE),
			   text_of(c, P_FILTER_QUERY), &query);

	if (r < 0)
		return r;
	if (query->kind != WQL_SELECT)
		return err_set(c->err, -CIM_EQUERY, "a SELECT is expected");
	select_query(query, &select);
	if (truth_of(c, P_RETURN_QUERY_RESULT_CLASS, false))
		r = broker_class(&c->cim, query->class_name, &class, c->err);
	if (r == 0)
		r = open_any(c, FORM_PULL, collect_query, &query, select);
	if (r == 0 && class)
		put_result_class(c, class, &select);
	return r;
}

static int pull(struct call *c, enum form form)
{
	struct contexts *contexts = c->service->contexts;
	const char *id = text_of(c, P_ENUMERATION_CONTEXT);
	struct rest *rest;
	bool more;
	void *data;
	int r = contexts_take(contexts, c->cim.caller, kind_of(form), id, &data,
			      c->err);

	if (r < 0)
		return r;
	rest = data;
	r = put_items(c, rest, c->arguments[P_MAX_OBJECT_COUNT].number);
	more = rest->next < rest->count;
	if (more)
		contexts_put(contexts, id, 0);
	else
		contexts_end(contexts, id);
	if (r == 0)
		put_tail(c, more ? id : "");
	return r;
}

int pull_with_path(struct call *c)
{
	return pull(c, FORM_PULL_WITH_PATH);
}

int pull_paths(struct call *c)
{
	return pull(c, FORM_PULL_PATH);
}

int pull_instances(struct call *c)
{
	return pull(c, FORM_PULL);
}

int close_enumeration(struct call *c)
{
	int r = -CIM_ECONTEXT;

	for (size_t i = 0; i < ARRAY_SIZE(kinds) && r == -CIM_ECONTEXT; i++)
		r = contexts_close(c->service->contexts, c->cim.caller,
				   &kinds[i], text_of(c, P_ENUMERATION_CONTEXT),
				   c->err);
	return r;
}
