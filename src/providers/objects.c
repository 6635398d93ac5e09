/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/objects.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#include "cim/status.h"
#include "providers/holders.h"

/* ---- what is wanted ------------------------------------------------------ */

struct wanted wanted_by_identity(const struct identity *identity)
{
	struct wanted wanted = {.host = identity->kind == IDENTITY_HOST,
				.indexed = identity->kind == IDENTITY_DISK ||
					   identity->kind == IDENTITY_SERVICE,
				.index = identity->index};

	if (identity->kind == IDENTITY_SETTINGS ||
	    identity->kind == IDENTITY_DISK)
		memcpy(wanted.holder, identity->uuid, sizeof(wanted.holder));
	else
		memcpy(wanted.uuid, identity->uuid, sizeof(wanted.uuid));
	if (identity->kind == IDENTITY_POINT)
		memcpy(wanted.id, identity->id, sizeof(wanted.id));
	return wanted;
}

/* As the class says what its InstanceID is. */
static struct wanted by_instance_id(const struct object_class *class,
				    const char *id)
{
	struct wanted wanted = {0};
	struct identity own;

	if (class->kind == IDENTITY_POINT)
		wanted.none = !identity_guid(id, wanted.id);
	else if (identity_of_setting(id, &own) && own.kind == class->kind)
		wanted = wanted_by_identity(&own);
	else
		wanted.none = true;
	return wanted;
}

/* Narrows by a property that is the UUID of the system. */
static void by_uuid(struct wanted *wanted, const char *text)
{
	char uuid[GUID_TEXT_BYTES];

	if (!text)
		return;
	if (!identity_guid(text, uuid) ||
	    (*wanted->uuid && strcmp(wanted->uuid, uuid) != 0))
		wanted->none = true;
	else
		memcpy(wanted->uuid, uuid, sizeof(uuid));
}

struct wanted wanted_by_query(const struct object_class *class,
			      const struct wql_query *query,
			      const char *host_name)
{
	struct wanted wanted = {0};
	const char *text;

	if (!query)
		return wanted;
	if (class->kind == IDENTITY_SYSTEM) {
		text = wql_pinned(query, "Name");
		wanted.host = text && strcasecmp(text, host_name) == 0;
		if (!wanted.host)
			by_uuid(&wanted, text);
		return wanted;
	}
	text = wql_pinned(query, "InstanceID");
	if (text)
		wanted = by_instance_id(class, text);
	by_uuid(&wanted, wql_pinned(query, "VirtualSystemIdentifier"));
	return wanted;
}

/* ---- telling ------------------------------------------------------------- */

struct counted {
	cim_instance_fn *fn;
	void *arg;
	unsigned told;
};

static int count(void *arg, const struct cim_instance *instance,
		 struct err *err)
{
	struct counted *c = arg;

	c->told++;
	return c->fn(c->arg, instance, err);
}

static int tell_system(void *arg, const struct system_view *system,
		       struct err *err)
{
	struct telling *t = arg;
	struct arena_mark mark = arena_mark(t->request->arena);
	int r = t->class->tell(t, system);

	arena_rewind(t->request->arena, mark);
	return r;
}

/* Whom we are told within may know; of points it may know some, and of
 * snapshots none. */
static int ask(struct telling *t, const struct counted *c, struct err *err)
{
	const struct wanted *w = &t->wanted;
	const char *uuid = *w->uuid ? w->uuid : NULL;
	const struct system_view *now = NULL;
	unsigned with = t->class->with;
	int r = 0;

	if (*w->holder && !uuid)
		return holder_tell(t->providers, t->request, w->holder,
				   tell_system, t, err);
	if (uuid && (with == 0 || *w->id))
		now = systems_current(t->providers, uuid);
	if (now)
		r = tell_system(t, now, err);
	if (r < 0 || c->told > 0 || (now && with == 0))
		return r;
	return systems_each(t->providers, t->request, uuid, with, tell_system,
			    t, err);
}

static void prepare(struct telling *t, struct err *err)
{
	t->b = build_new(t->request, t->class->name, err);
	for (size_t i = 0; t->class->slots[i]; i++)
		t->slots[i] = build_slot(&t->b, t->class->slots[i]);
	if (t->class->prepare)
		t->class->prepare(t);
}

int objects_tell(const struct object_class *class,
		 const struct providers *providers,
		 const struct cim_request *request, const struct wanted *wanted,
		 cim_instance_fn *fn, void *fn_arg, struct err *err)
{
	struct counted counted = {.fn = fn, .arg = fn_arg};
	struct telling t = {.providers = providers,
			    .request = request,
			    .class = class,
			    .wanted = *wanted,
			    .fn = count,
			    .fn_arg = &counted};
	int r;

	if (wanted->none || wanted->host)
		return 0;
	prepare(&t, err);
	r = t.b.r == 0 ? ask(&t, &counted, err) : t.b.r;
	arena_rewind(request->arena, t.b.mark);
	return r;
}

int objects_enumerate(const struct object_class *class,
		      const struct providers *providers,
		      const struct cim_request *request,
		      const struct wql_query *query, cim_instance_fn *fn,
		      void *fn_arg, struct err *err)
{
	struct wanted wanted =
	    wanted_by_query(class, query, providers->host.name);

	return objects_tell(class, providers, request, &wanted, fn, fn_arg,
			    err);
}

/* ---- one of them --------------------------------------------------------- */

struct first {
	struct arena *arena;
	const struct cim_instance *found;
};

static int keep(void *arg, const struct cim_instance *instance, struct err *err)
{
	struct first *f = arg;
	int r = cim_instance_copy(f->arena, instance, &f->found, err);

	return r < 0 ? r : -ECANCELED;
}

int objects_first(const struct cim_request *request,
		  int (*tell)(void *arg, const struct cim_request *request,
			      cim_instance_fn *fn, void *fn_arg,
			      struct err *err),
		  void *arg, const struct cim_instance **ret_instance,
		  struct err *err)
{
	struct first first = {.arena = request->arena};
	struct cim_request own = *request;
	int r;

	own.arena = arena_new(arena_left(request->arena));
	if (!own.arena)
		return arena_full(request->arena, err);
	r = tell(arg, &own, keep, &first, err);
	arena_free(own.arena);
	if (first.found) {
		*ret_instance = first.found;
		return 0;
	}
	return r < 0 ? r
		     : err_set(err, -CIM_ENOTFOUND, "there is no such object");
}

struct getting {
	const struct object_class *class;
	const struct providers *providers;
	struct wanted wanted;
};

static int tell_wanted(void *arg, const struct cim_request *request,
		       cim_instance_fn *fn, void *fn_arg, struct err *err)
{
	const struct getting *g = arg;

	return objects_tell(g->class, g->providers, request, &g->wanted, fn,
			    fn_arg, err);
}

int objects_get(const struct object_class *class,
		const struct providers *providers,
		const struct cim_request *request, const struct cim_path *path,
		const struct cim_instance **ret_instance, struct err *err)
{
	struct getting getting = {.class = class, .providers = providers};
	struct identity own;

	if (!identity_of_path(path, providers->host.name, &own) ||
	    own.kind != class->kind)
		return err_set(err, -CIM_ENOTFOUND, "there is no such %s",
			       class->name);
	getting.wanted = wanted_by_identity(&own);
	return objects_first(request, tell_wanted, &getting, ret_instance, err);
}
