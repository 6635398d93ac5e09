/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From an object along its associations, and from a class along what the
 * schema says.
 *
 * K1  An association class is asked only if the schema lets one of its
 *     references name the object, and another what is asked for.
 * K2  An end is told after it was found, and by the class that it is of; the
 *     hash set of those told is of paths as their providers make them.
 */
#include <string.h>
#include <strings.h>

#include "cim/broker-object.h"
#include "cim/status.h"

struct seen {
	const struct cim_path *path;
	uint64_t hash;
};

struct walker {
	struct broker *broker;
	const struct cim_request *request;
	const struct schema_namespace *ns;
	const struct cim_walk *walk;
	const struct schema_class *assoc, *result; /* or NULL: any */
	const struct cim_instance *object;
	const struct cim_path *path;    /* the object's, bound */
	struct arena *scratch;          /* the providers' of associations */
	struct arena *ends;             /* the other ends', one at a time */
	struct arena *keep;             /* what was told */
	struct seen *seen;              /* room for 2^N, at most half full */
	uint32_t seen_count, seen_room; /* room: 0 or a power of two */
	cim_instance_fn *fn;
	void *arg;
};

/* ---- which associations ------------------------------------------------- */

static bool is_role(const struct schema_property *p, const char *role)
{
	return p->type.base == CIM_REFERENCE && !p->type.array &&
	       (!role || strcasecmp(role, p->name) == 0);
}

/* Whether something can be of both classes. */
static bool related(const struct schema_class *a, const struct schema_class *b)
{
	return schema_is_a(a, b) || schema_is_a(b, a);
}

static bool has_other_end(const struct walker *w,
			  const struct schema_class *assoc,
			  const struct schema_property *near)
{
	for (uint32_t i = 0; i < assoc->property_count; i++) {
		const struct schema_property *p = assoc->properties[i];

		if (p != near && is_role(p, w->walk->result_role) &&
		    (!w->result || related(p->type.ref, w->result)))
			return true;
	}
	return false;
}

/* Whether ASSOC's reference P may name a CLASS, and the rest fits. */
static bool leads_on(const struct walker *w, const struct schema_class *assoc,
		     const struct schema_property *p,
		     const struct schema_class *class)
{
	return is_role(p, w->walk->role) && schema_is_a(class, p->type.ref) &&
	       (w->walk->references || has_other_end(w, assoc, p));
}

static bool is_wanted(const struct walker *w, const struct schema_class *assoc,
		      const struct schema_class *class)
{
	const struct schema_class *only =
	    w->walk->references ? w->result : w->assoc;

	if (!assoc->association || !schema_lives_in(assoc, w->ns) ||
	    (only && !schema_is_a(assoc, only)))
		return false;
	for (uint32_t i = 0; i < assoc->property_count; i++)
		if (leads_on(w, assoc, assoc->properties[i], class))
			return true;
	return false;
}

/* Looks up what the walk names. */
static int find_filters(struct walker *w, struct err *err)
{
	const struct cim_walk *walk = w->walk;
	int r = 0;

	if (walk->assoc_class && !walk->references)
		r = broker_find_class(w->ns, walk->assoc_class, -CIM_EPARAMETER,
				      &w->assoc, err);
	if (r == 0 && walk->result_class)
		r = broker_find_class(w->ns, walk->result_class,
				      -CIM_EPARAMETER, &w->result, err);
	return r;
}

/* ---- what was told ------------------------------------------------------ */

static uint64_t hash_text(uint64_t hash, const char *text)
{
	while (*text)
		hash =
		    (hash ^ (unsigned char)*text++) * UINT64_C(1099511628211);
	return hash;
}

/* Equal paths hash alike: numbers and booleans, which have several texts, and
 * names do not count. */
static uint64_t hash_path(const struct schema_class *class,
			  const struct cim_path *path)
{
	uint64_t hash = UINT64_C(14695981039346656037) ^ class->index;

	for (uint32_t i = 0; i < path->key_count; i++)
		if (path->keys[i].kind == CIM_KEY_STRING)
			hash = hash_text(hash, path->keys[i].text);
	return hash ^ hash >> 32;
}

/* Where PATH is, or would be. */
static struct seen *slot(const struct walker *w, const struct cim_path *path,
			 uint64_t hash)
{
	uint32_t i = (uint32_t)hash & (w->seen_room - 1);

	while (w->seen[i].path && (w->seen[i].hash != hash ||
				   !cim_path_equal(w->seen[i].path, path)))
		i = (i + 1) & (w->seen_room - 1);
	return &w->seen[i];
}

static int make_room(struct walker *w, struct err *err)
{
	struct seen *old = w->seen;
	uint32_t n = w->seen_room, room = n ? n * 2 : 64;

	if (w->seen_count * 2 < n)
		return 0;
	w->seen = arena_array(w->keep, room, sizeof(*w->seen));
	if (!w->seen) {
		w->seen = old;
		return arena_full(w->keep, err);
	}
	w->seen_room = room;
	for (uint32_t i = 0; i < n; i++)
		if (old[i].path)
			*slot(w, old[i].path, old[i].hash) = old[i];
	return 0;
}

/* 1 if PATH was not told before, and is now. */
static int first_time(struct walker *w, const struct schema_class *class,
		      const struct cim_path *path, struct err *err)
{
	uint64_t hash = hash_path(class, path);
	struct seen *at;
	int r = make_room(w, err);

	if (r < 0)
		return r;
	at = slot(w, path, hash);
	if (at->path)
		return 0;
	r = cim_path_copy(w->keep, path, &at->path, err);
	if (r < 0)
		return r;
	at->hash = hash;
	w->seen_count++;
	return 1;
}

/* ---- one association ---------------------------------------------------- */

static bool names_object(const struct walker *w, const struct cim_value *value)
{
	return !value->is_null && cim_path_equal(value->one.ref, w->path);
}

/* The object that VALUE names; 0 and NULL if there is none any more. */
static int follow(struct walker *w, const struct cim_value *value,
		  const struct cim_instance **ret_end, struct err *err)
{
	struct cim_request request = *w->request;
	int r = -CIM_ENOTFOUND;

	*ret_end = NULL;
	request.arena = w->ends;
	if (!value->is_null)
		r = broker_resolve(w->broker, &request, w->ns, value->one.ref,
				   ret_end, err);
	return r == -CIM_ENOTFOUND ? 0 : r;
}

static int tell_end(struct walker *w, const struct cim_value *value,
		    struct err *err)
{
	const struct cim_instance *end;
	int r = follow(w, value, &end, err);

	if (r < 0 || !end)
		return r;
	if (w->result && !schema_is_a(end->class, w->result))
		return 0;
	r = first_time(w, end->class, end->path, err);
	return r <= 0 ? r : w->fn(w->arg, end, err);
}

/* Tells the ends but that at NEAR, which names the object. */
static int tell_ends(struct walker *w, const struct cim_instance *assoc,
		     uint32_t near, struct err *err)
{
	const struct schema_class *class = assoc->class;
	int r = 0;

	for (uint32_t i = 0; r >= 0 && i < class->property_count; i++) {
		struct arena_mark mark = arena_mark(w->ends);

		if (i == near ||
		    !is_role(class->properties[i], w->walk->result_role))
			continue;
		r = tell_end(w, &assoc->values[i], err);
		arena_rewind(w->ends, mark);
	}
	return r;
}

/* 1 if all that ASSOC names is there, 0 if not. */
static int is_whole(struct walker *w, const struct cim_instance *assoc,
		    struct err *err)
{
	const struct schema_class *class = assoc->class;
	const struct cim_instance *end = w->object;
	int r = 0;

	for (uint32_t i = 0; r == 0 && end && i < class->property_count; i++) {
		struct arena_mark mark = arena_mark(w->ends);

		if (!is_role(class->properties[i], NULL) ||
		    names_object(w, &assoc->values[i]))
			continue;
		r = follow(w, &assoc->values[i], &end, err);
		arena_rewind(w->ends, mark);
	}
	return r < 0 ? r : !!end;
}

static int tell_reference(struct walker *w, const struct cim_instance *assoc,
			  struct err *err)
{
	int r = is_whole(w, assoc, err);

	return r <= 0 ? r : w->fn(w->arg, assoc, err);
}

static int met(void *arg, const struct cim_instance *assoc, struct err *err)
{
	const struct schema_class *class = assoc->class;
	struct walker *w = arg;

	for (uint32_t i = 0; i < class->property_count; i++) {
		int r;

		if (!is_role(class->properties[i], w->walk->role) ||
		    !names_object(w, &assoc->values[i]))
			continue;
		if (w->walk->references)
			return tell_reference(w, assoc, err);
		r = tell_ends(w, assoc, i, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* ---- all of them -------------------------------------------------------- */

static int walk_all(struct walker *w, struct err *err)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < schema_class_count; i++)
		if (is_wanted(w, &schema_classes[i], w->object->class))
			r = broker_tell(w->broker, w->request, w->ns,
					&schema_classes[i], w->scratch, NULL,
					w->path, met, w, err);
	return r;
}

static int with_arenas(struct walker *w, struct err *err)
{
	int r = broker_scratch(w->request, &w->scratch, err);

	if (r == 0)
		r = broker_scratch(w->request, &w->ends, err);
	if (r == 0)
		r = broker_scratch(w->request, &w->keep, err);
	if (r == 0)
		r = walk_all(w, err);
	arena_free(w->scratch);
	arena_free(w->ends);
	arena_free(w->keep);
	return r;
}

int broker_walk(struct broker *broker, const struct cim_request *request,
		const struct cim_path *path, const struct cim_walk *walk,
		cim_instance_fn *fn, void *arg, struct err *err)
{
	struct walker w = {.broker = broker,
			   .request = request,
			   .walk = walk,
			   .fn = fn,
			   .arg = arg};
	const struct schema_class *class;
	int r = broker_open(request, &w.ns, err);

	if (r == 0)
		r = find_filters(&w, err);
	if (r == 0)
		r = broker_resolve(broker, request, w.ns, path, &w.object, err);
	if (r == 0)
		r = broker_bind(request->arena, w.ns, w.object->path, &class,
				&w.path, err);
	return r < 0 ? r : with_arenas(&w, err);
}

/* ---- classes ------------------------------------------------------------ */

/* The class that is told of an end of class END; NULL: none. */
static const struct schema_class *end_class(const struct walker *w,
					    const struct schema_class *end)
{
	if (!w->result || schema_is_a(end, w->result))
		return end;
	return schema_is_a(w->result, end) ? w->result : NULL;
}

/* Marks what ASSOC leads to from CLASS by its reference P. */
static void mark_classes(const struct walker *w,
			 const struct schema_class *assoc,
			 const struct schema_property *near, bool *marks)
{
	for (uint32_t i = 0; i < assoc->property_count; i++) {
		const struct schema_property *p = assoc->properties[i];
		const struct schema_class *end;

		if (p == near || !is_role(p, w->walk->result_role))
			continue;
		end = end_class(w, p->type.ref);
		if (end)
			marks[end->index] = true;
	}
}

static void mark_association(const struct walker *w,
			     const struct schema_class *assoc,
			     const struct schema_class *class, bool *marks)
{
	if (!is_wanted(w, assoc, class))
		return;
	if (w->walk->references)
		marks[assoc->index] = true;
	for (uint32_t i = 0; !w->walk->references && i < assoc->property_count;
	     i++)
		if (leads_on(w, assoc, assoc->properties[i], class))
			mark_classes(w, assoc, assoc->properties[i], marks);
}

int broker_walk_classes(struct broker *broker,
			const struct cim_request *request,
			const char *class_name, const struct cim_walk *walk,
			int (*fn)(void *arg, const struct schema_class *class,
				  struct err *err),
			void *arg, struct err *err)
{
	struct walker w = {.broker = broker, .request = request, .walk = walk};
	const struct schema_class *class;
	bool *marks;
	int r = broker_open(request, &w.ns, err);

	if (r == 0)
		r = find_filters(&w, err);
	if (r == 0)
		r = broker_find_class(w.ns, class_name, -CIM_ECLASS, &class,
				      err);
	if (r < 0)
		return r;
	marks = arena_array(request->arena, schema_class_count, sizeof(*marks));
	if (!marks)
		return arena_full(request->arena, err);
	for (uint32_t i = 0; i < schema_class_count; i++)
		mark_association(&w, &schema_classes[i], class, marks);
	for (uint32_t i = 0; r == 0 && i < schema_class_count; i++)
		if (marks[i])
			r = fn(arg, &schema_classes[i], err);
	return r < 0 ? r : 0;
}
