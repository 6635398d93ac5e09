/* SPDX-License-Identifier: Apache-2.0 */
/* Enumerate, Pull and Release. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/limits.h"
#include "wsman/filter.h"
#include "wsman/internal.h"
#include "wsman/items.h"
#include "wsman/pulls.h"

#define CONTEXT_PREFIX "uuid:"
#define ROOM_FOR_REST  512 /* the context and closing tags, at most */

enum mode {
	MODE_OBJECT,
	MODE_EPR,
	MODE_BOTH,
};

struct listing {
	struct message *message;
	struct put_style style;
	struct filter filter;
	enum mode mode;
	const struct schema_class *only; /* instances of exactly this one */
	struct put_view view;
	struct xml_out out; /* of one item */
	struct wsman_items *items;
};

/* What a context holds.  Once all were told it holds what the last pull told,
 * if that may come again. */
struct enumeration {
	struct wsman_items items;
	struct pulls pulls;
	bool over;
};

static size_t bytes_of(const struct enumeration *e)
{
	return sizeof(*e) + e->items.size +
	       e->items.ends_size * sizeof(*e->items.ends);
}

static void free_enumeration(void *data)
{
	struct enumeration *e = data;

	wsman_items_clear(&e->items);
	free(e);
}

static const struct context_kind kind = {free_enumeration};

/* ---- making the items --------------------------------------------------- */

static void put_epr(struct listing *l, const struct cim_instance *instance)
{
	struct put_style style = l->style;

	if (!instance->path) {
		l->out.error = -CIM_EFAILED;
		return;
	}
	style.declare = true;
	xml_open(&l->out, "a:EndpointReference");
	put_reference(&l->out, &style, instance->path);
	xml_close(&l->out);
}

static void put_one(struct listing *l, const struct cim_instance *instance)
{
	if (l->mode == MODE_BOTH)
		xml_open(&l->out, "w:Item");
	if (l->mode != MODE_EPR)
		put_instance(&l->out, &l->style, instance, &l->view);
	if (l->mode != MODE_OBJECT)
		put_epr(l, instance);
	if (l->mode == MODE_BOTH)
		xml_close(&l->out);
}

static int list_instance(void *arg, const struct cim_instance *instance,
			 struct err *err)
{
	struct listing *l = arg;
	struct arena_mark memory = arena_mark(l->style.arena);
	struct xml_mark mark = xml_mark(&l->out);
	int r;

	if (l->only && instance->class != l->only)
		return 0;
	if (!filter_passes(&l->filter, l->style.arena, instance))
		return 0;
	put_one(l, instance);
	if (l->out.error)
		r = err_set(err, l->out.error, "an instance of %s",
			    instance->class->name);
	else
		r = wsman_items_add(l->items, l->out.bytes, l->out.length, err);
	xml_rewind(&l->out, mark);
	arena_rewind(l->style.arena, memory);
	return r;
}

/* The instances that the filter leaves, or the classes. */
static int list_classes(struct listing *l, struct err *err)
{
	const struct codec_select select = {
	    .qualifiers =
		message_option(l->message, "IncludeQualifiers", true)};
	const struct schema_namespace *ns =
	    schema_find_namespace(l->message->cim.ns);
	const struct schema_class *c = NULL;
	struct xml_mark mark = xml_mark(&l->out);
	int r = 0;

	if (!ns)
		return err_set(err, -CIM_ENAMESPACE,
			       "there is no namespace %.80s",
			       l->message->cim.ns);
	while (r == 0 && (c = schema_next_class(ns, c))) {
		codec_put_class(&l->out, c, &select);
		r = l->out.error
			? err_set(err, l->out.error, "the class %s", c->name)
			: wsman_items_add(l->items, l->out.bytes, l->out.length,
					  err);
		xml_rewind(&l->out, mark);
	}
	return r;
}

static int list_all(struct listing *l, struct err *err)
{
	struct broker *broker = l->message->wsman->broker;
	const struct cim_request *cim = &l->message->cim;
	struct filter *f = &l->filter;

	if (l->message->resource.schema)
		return list_classes(l, err);
	if (f->query)
		return broker_query(broker, cim, f->query, list_instance, l,
				    err);
	if (f->object)
		return broker_walk(broker, cim, f->object, &f->walk,
				   list_instance, l, err);
	if (strcmp(l->message->resource.class_name, "*") == 0)
		return err_set(err, -CIM_ECLASS,
			       "* needs a query or an association filter");
	return broker_enumerate(broker, cim, l->message->resource.class_name,
				list_instance, l, err);
}

/* ---- what Enumerate says ------------------------------------------------ */

static const struct xml_node *either(const struct xml_node *node,
				     const char *name)
{
	const struct xml_node *n = xml_child(node, NS_WSMAN, name);

	if (!n)
		n = xml_child(node, NS_ENUMERATION, name);
	return n ? n : xml_child(node, NS_BINDING, name);
}

static int read_count(struct message *m, size_t *ret_count, struct err *err)
{
	const struct xml_node *n = either(m->payload, "MaxElements");
	const char *text = n ? xml_trimmed(m->arena, n) : "1";
	unsigned long count;
	char *end;

	if (!text)
		return arena_full(m->arena, err);
	count = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || count == 0)
		return err_set(err, -CIM_EPARAMETER,
			       "MaxElements is no number above 0");
	*ret_count = count;
	return 0;
}

static int read_mode(struct listing *l, struct err *err)
{
	const struct xml_node *n =
	    either(l->message->payload, "EnumerationMode");
	const char *text = n ? xml_trimmed(l->style.arena, n) : "";

	if (!text)
		return arena_full(l->style.arena, err);
	if (!*text || strcmp(text, "EnumerateObject") == 0)
		l->mode = MODE_OBJECT;
	else if (strcmp(text, "EnumerateEPR") == 0)
		l->mode = MODE_EPR;
	else if (strcmp(text, "EnumerateObjectAndEPR") == 0)
		l->mode = MODE_BOTH;
	else
		return err_set(err, -CIM_EUNSUPPORTEDFEATURE,
			       "there is no EnumerationMode %.60s", text);
	return 0;
}

static int read_polymorphism(struct listing *l, struct err *err)
{
	struct message *m = l->message;
	const struct xml_node *n = either(m->payload, "PolymorphismMode");
	const char *text = n ? xml_trimmed(m->arena, n) : "";
	const struct schema_class *class;
	int r;

	if (!text)
		return arena_full(m->arena, err);
	if (!*text || strcmp(text, "IncludeSubClassProperties") == 0)
		return 0;
	r = broker_class(&m->cim, m->resource.class_name, &class, err);
	if (r < 0)
		return r;
	if (strcmp(text, "None") == 0) {
		l->only = class;
	} else if (strcmp(text, "ExcludeSubClassProperties") == 0) {
		l->view.class = class;
		l->view.only_class = true;
	} else {
		return err_set(err, -CIM_EUNSUPPORTEDFEATURE,
			       "there is no PolymorphismMode %.60s", text);
	}
	return 0;
}

/* Items of a query are told under the name that the query gives. */
static int set_view(struct listing *l, struct err *err)
{
	const struct wql_query *q = l->filter.query;
	const char *name;

	if (!q)
		return 0;
	name = q->kind == WQL_SELECT ? q->class_name : q->result_class;
	if (q->kind == WQL_SELECT) {
		l->view.properties = q->properties;
		l->view.property_count = q->property_count;
	}
	if (!name)
		return 0;
	return broker_class(&l->message->cim, name, &l->view.class, err);
}

static int make_items(struct message *m, struct wsman_items *items,
		      struct err *err)
{
	struct listing l = {.message = m,
			    .style = {.arena = m->arena,
				      .family = m->resource.family,
				      .ns = m->resource.ns},
			    .items = items};
	int r;

	r = filter_read(m, &l.filter, err);
	if (r == 0)
		r = read_mode(&l, err);
	if (r == 0)
		r = read_polymorphism(&l, err);
	if (r == 0)
		r = set_view(&l, err);
	if (r < 0)
		return r;
	xml_init(&l.out, WSMAN_ITEMS_BYTES_MAX, true);
	r = list_all(&l, err);
	xml_release(&l.out);
	return r;
}

/* ---- answering ---------------------------------------------------------- */

/* How many of up to MAX items fit into ROOM bytes. */
static size_t fitting(const struct wsman_items *items, size_t max, size_t room)
{
	struct wsman_items look = *items;
	const char *bytes;
	size_t count = 0, length;

	while (count < max && wsman_items_next(&look, &bytes, &length) &&
	       length <= room) {
		room -= length;
		count++;
		wsman_items_told(&look);
	}
	return count;
}

static void put_context(struct xml_out *out, const char *id)
{
	xml_open(out, "n:EnumerationContext");
	if (id) {
		xml_put_text(out, CONTEXT_PREFIX);
		xml_put_text(out, id);
	}
	xml_close(out);
}

/* The next COUNT items, of which ITEMS stays what it was. */
static void put_items(struct xml_out *out, const char *name,
		      const struct wsman_items *items, size_t count)
{
	struct wsman_items look = *items;
	const char *bytes;
	size_t length;

	xml_open(out, name);
	while (count-- > 0 && wsman_items_next(&look, &bytes, &length)) {
		xml_put_fragment(out, bytes, length);
		wsman_items_told(&look);
	}
	xml_close(out);
}

static size_t room_for_items(const struct xml_out *out)
{
	size_t room = xml_room(out);

	return room > ROOM_FOR_REST ? room - ROOM_FOR_REST : 0;
}

static int too_long(const struct message *m, struct err *err)
{
	return err_set(err, -CIM_EREPLYBYTES,
		       "the next item does not fit into %zu bytes", m->limit);
}

static int keep(struct message *m, struct enumeration *e,
		char ret_id[CIM_CONTEXT_TEXT_BYTES], struct err *err)
{
	return contexts_add(m->wsman->contexts, m->cim.caller, &kind, e,
			    bytes_of(e), CIM_CONTEXT_MS, ret_id, err);
}

/* Takes E over, unless it fails. */
static int answer_enumerate(struct message *m, struct enumeration *e,
			    size_t max, struct wsman_response *ret_response,
			    struct err *err)
{
	struct wsman_items *items = &e->items;
	char id[CIM_CONTEXT_TEXT_BYTES];
	bool optimized = max > 0, all;
	struct xml_out out;
	size_t count, left = wsman_items_left(items);
	int r = 0;

	reply_begin(&out, m, NS_ENUMERATION "/EnumerateResponse", m->uri);
	xml_open(&out, "n:EnumerateResponse");
	count = fitting(items, max, room_for_items(&out));
	all = optimized && count == left;
	if (optimized && count == 0 && left > 0)
		r = too_long(m, err);
	if (r == 0) {
		struct wsman_items first = *items;

		if (!all) {
			items->next += count;
			r = keep(m, e, id, err);
		}
		put_context(&out, all || r < 0 ? NULL : id);
		if (optimized)
			put_items(&out, "w:Items", &first, count);
	}
	if (r < 0) {
		xml_release(&out);
		return r;
	}
	if (all) {
		xml_open(&out, "w:EndOfSequence");
		xml_close_empty(&out);
		free_enumeration(e);
	}
	xml_close(&out);
	r = reply_end(&out, m, ret_response, err);
	if (r < 0)
		reply_fault(m, r, err->text, ret_response);
	return 0;
}

int operate_enumerate(struct message *m, struct wsman_response *ret_response,
		      struct err *err)
{
	struct enumeration *e;
	size_t max = 0;
	int r = 0;

	if (!m->uri)
		return err_set(err, -CIM_EHEADERMISSING,
			       "the header ResourceURI is missing");
	if (!m->payload || !xml_is(m->payload, NS_ENUMERATION, "Enumerate"))
		return err_set(err, -CIM_EINVALID,
			       "there is no Enumerate in the body");
	if (xml_child(m->payload, NS_WSMAN, "OptimizeEnumeration"))
		r = read_count(m, &max, err);
	if (r < 0)
		return r;
	e = calloc(1, sizeof(*e));
	if (!e)
		return err_set(err, -CIM_ELIMITS, "no memory");
	r = make_items(m, &e->items, err);
	if (r == 0)
		r = answer_enumerate(m, e, max, ret_response, err);
	if (r < 0)
		free_enumeration(e);
	return r;
}

/* ---- Pull and Release --------------------------------------------------- */

static int read_context(struct message *m, const char *name,
			const char **ret_id, struct err *err)
{
	const struct xml_node *n;
	const char *text;

	if (!m->payload || !xml_is(m->payload, NS_ENUMERATION, name))
		return err_set(err, -CIM_EINVALID, "there is no %s in the body",
			       name);
	n = xml_child(m->payload, NS_ENUMERATION, "EnumerationContext");
	text = n ? xml_trimmed(m->arena, n) : "";
	if (!text)
		return arena_full(m->arena, err);
	if (strncasecmp(text, CONTEXT_PREFIX, strlen(CONTEXT_PREFIX)) == 0)
		text += strlen(CONTEXT_PREFIX);
	*ret_id = text;
	return 0;
}

/* COUNT of the items are told if it succeeds. */
static int answer_pull(struct message *m, const struct wsman_items *items,
		       size_t max, const char *id, size_t *ret_count,
		       struct wsman_response *ret_response, struct err *err)
{
	struct xml_out out;
	size_t left = wsman_items_left(items), count;
	int r;

	reply_begin(&out, m, NS_ENUMERATION "/PullResponse", m->uri);
	xml_open(&out, "n:PullResponse");
	count = fitting(items, max, room_for_items(&out));
	if (count == 0 && left > 0) {
		xml_release(&out);
		return too_long(m, err);
	}
	if (count < left)
		put_context(&out, id);
	put_items(&out, "n:Items", items, count);
	if (count == left) {
		xml_open(&out, "n:EndOfSequence");
		xml_close_empty(&out);
	}
	xml_close(&out);
	r = reply_end(&out, m, ret_response, err);
	if (r == 0)
		*ret_count = count;
	return r;
}

/* The items that come next, or those of the pull that M repeats; AGAIN says
 * whether it may be repeated. */
static int pull(struct message *m, struct enumeration *e, size_t max,
		const char *id, bool *ret_again,
		struct wsman_response *ret_response, struct err *err)
{
	struct wsman_items from = e->items;
	size_t count = 0;
	int r;

	if (pulls_find(&e->pulls, m, &from.next))
		return answer_pull(m, &from, max, id, &count, ret_response,
				   err);
	if (e->over)
		return err_set(err, -CIM_ECONTEXT, "the enumeration has ended");
	r = answer_pull(m, &from, max, id, &count, ret_response, err);
	if (r < 0)
		return r;
	e->items.next += count;
	e->over = wsman_items_left(&e->items) == 0;
	if (e->over) {
		wsman_items_drop(&e->items, from.next);
		e->pulls = (struct pulls){0};
		from.next = 0;
	}
	*ret_again = pulls_add(&e->pulls, m, from.next);
	return 0;
}

int operate_pull(struct message *m, struct wsman_response *ret_response,
		 struct err *err)
{
	struct contexts *contexts = m->wsman->contexts;
	struct enumeration *e;
	const char *id;
	bool again = true;
	void *data;
	size_t max;
	int r = read_context(m, "Pull", &id, err);

	if (r == 0)
		r = read_count(m, &max, err);
	if (r == 0)
		r = contexts_await(contexts, m->cim.caller, &kind, id,
				   WSMAN_PULL_WAIT_MS, &data, err);
	if (r < 0)
		return r;
	e = data;
	r = pull(m, e, max, id, &again, ret_response, err);
	if (e->over && again)
		contexts_over(contexts, id, bytes_of(e), WSMAN_DUPLICATE_MS);
	else if (e->over)
		contexts_end(contexts, id);
	else
		contexts_put(contexts, id, 0);
	return r;
}

int operate_release(struct message *m, struct wsman_response *ret_response,
		    struct err *err)
{
	struct xml_out out;
	const char *id;
	int r = read_context(m, "Release", &id, err);

	if (r == 0)
		r = contexts_close(m->wsman->contexts, m->cim.caller, &kind, id,
				   err);
	if (r < 0)
		return r;
	reply_begin(&out, m, NS_ENUMERATION "/ReleaseResponse", NULL);
	return reply_end(&out, m, ret_response, err);
}
