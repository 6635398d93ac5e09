/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What jobs affect, and whose they are.
 *
 * L1  A job that makes a point or a snapshot affects that alone, once it is
 *     there, and for as long as the job is told; one that turns a snapshot into
 *     a point, the point; one that exports a point or drops its log, that.
 *     One that removes either affects the virtual system: what it removed is
 *     gone, and the association with it would be; and so does one that exports
 *     a snapshot, or makes points known.
 * L2  The published Msvm_ associations lead to Msvm_ConcreteJob alone, which an
 *     export of a point is not (J3): its links are of their superclasses.
 */
#include <string.h>

#include "cim/status.h"
#include "common/bytes.h"
#include "providers/identity.h"
#include "providers/jobs.h"

/* Of identity_services. */
enum {
	POINT_SERVICE,
	SNAPSHOT_SERVICE,
	MANAGEMENT_SERVICE,
};

enum {
	EFFECT_OTHER = 1,
	EFFECT_CREATE = 5,
};

struct linking {
	const struct providers *providers;
	const struct cim_request *request;
	const struct identity *only; /* a link to this is asked for; or NULL */
	bool of_points;              /* of exports of points, or all others */
	struct build (*build)(const struct linking *linking,
			      const struct job_view *view, struct err *err);
	struct identity (*other)(const struct job_view *view);
	bool (*there)(const struct job_view *view); /* NULL: always */
	cim_instance_fn *fn;
	void *arg;
};

static struct identity job_identity(const struct job_view *view)
{
	struct identity identity = {.kind = job_is_of_points_class(view)
						? IDENTITY_POINT_JOB
						: IDENTITY_JOB};

	memcpy(identity.id, view->id, sizeof(identity.id));
	return identity;
}

static bool makes(const struct job_view *view)
{
	return view->work == JOB_CREATES || view->work == JOB_CONVERTS ||
	       view->work == JOB_SNAPSHOTS;
}

/* The job is about a point that was there before. */
static bool is_of_point(const struct job_view *view)
{
	return view->work == JOB_EXPORTS_POINT || view->work == JOB_DROPS_LOG;
}

static struct identity affected(const struct job_view *view)
{
	struct identity identity = {.kind = IDENTITY_SYSTEM};

	memcpy(identity.uuid, view->uuid, sizeof(identity.uuid));
	if (view->work == JOB_SNAPSHOTS) {
		identity.kind = IDENTITY_SETTINGS;
		memcpy(identity.uuid, view->snapshot, sizeof(identity.uuid));
	} else if (makes(view) || is_of_point(view)) {
		identity.kind = IDENTITY_POINT;
		memcpy(identity.id, view->point, sizeof(identity.id));
	}
	return identity;
}

/* A point keeps the id of the snapshot that it was: the id may be known before
 * there is a point. */
static bool affects(const struct job_view *view)
{
	switch (view->work) {
	case JOB_CREATES:
	case JOB_EXPORTS_POINT:
	case JOB_DROPS_LOG:
		return *view->point != '\0';
	case JOB_CONVERTS:
		return *view->point && view->progress == JOB_IS_COMPLETED;
	case JOB_SNAPSHOTS:
		return *view->snapshot && view->progress == JOB_IS_COMPLETED;
	default:
		return true;
	}
}

static struct identity owner(const struct job_view *view)
{
	struct identity identity = {.kind = IDENTITY_SERVICE};

	if (view->work == JOB_CREATES || view->work == JOB_DESTROYS ||
	    view->work == JOB_IMPORTS || is_of_point(view))
		identity.index = POINT_SERVICE;
	else if (view->work == JOB_EXPORTS_SYSTEM)
		identity.index = MANAGEMENT_SERVICE;
	else
		identity.index = SNAPSHOT_SERVICE;
	return identity;
}

static bool is_same(const struct identity *a, const struct identity *b)
{
	return a->kind == b->kind && a->index == b->index &&
	       strcmp(a->uuid, b->uuid) == 0 && strcmp(a->id, b->id) == 0;
}

static void put_end(struct build *b, const struct linking *l, const char *name,
		    struct identity end)
{
	const struct cim_path *path;

	if (b->r == 0)
		b->r = identity_path(b->request->arena, &end,
				     l->providers->host.name, b->request->host,
				     b->request->ns, &path, b->err);
	if (b->r == 0)
		b->r = cim_instance_set(b->instance, name, cim_reference(path),
					b->err);
}

static struct build build_affected(const struct linking *l,
				   const struct job_view *v, struct err *err)
{
	static const char *const others[] = {
	    [JOB_DESTROYS] = "One of its reference points is removed",
	    [JOB_DROPS] = "One of its snapshots is removed",
	    [JOB_DROPS_LOG] = "Its log is removed",
	    [JOB_IMPORTS] = "Reference points are made known to it",
	    [JOB_EXPORTS_SYSTEM] = "One of its snapshots is exported",
	    [JOB_EXPORTS_POINT] = "It is exported"};
	struct build b =
	    build_new(l->request, l->of_points ? CIM_AFFECTED : MSVM_AFFECTED,
		      err);

	put_end(&b, l, "AffectedElement", affected(v));
	put_end(&b, l, "AffectingElement", job_identity(v));
	build_list(&b, "ElementEffects",
		   makes(v) ? EFFECT_CREATE : EFFECT_OTHER);
	if (!makes(v))
		build_texts(&b, "OtherElementEffectsDescriptions",
			    &others[v->work], 1);
	return b;
}

static struct build build_owning(const struct linking *l,
				 const struct job_view *v, struct err *err)
{
	struct build b =
	    build_new(l->request, l->of_points ? CIM_OWNING : MSVM_OWNING, err);

	put_end(&b, l, "OwningElement", owner(v));
	put_end(&b, l, "OwnedElement", job_identity(v));
	return b;
}

static bool is_there(const struct linking *l, const struct job_view *view)
{
	return job_is_of_points_class(view) == l->of_points &&
	       (!l->there || l->there(view));
}

static int link_one(void *arg, const struct job_view *view, struct err *err)
{
	const struct linking *l = arg;
	struct identity other = l->other(view), own = job_identity(view);
	struct build b;

	if (!is_there(l, view))
		return 0;
	if (l->only && !is_same(l->only, &own) && !is_same(l->only, &other))
		return 0;
	b = l->build(l, view, err);
	return build_tell(&b, l->fn, l->arg);
}

static int link_all(struct linking *l, const struct cim_path *object,
		    struct err *err)
{
	struct identity only;
	const char *id = NULL;

	if (object) {
		if (!identity_of_path(object, l->providers->host.name, &only))
			return 0;
		l->only = &only;
		if (only.kind == IDENTITY_JOB ||
		    only.kind == IDENTITY_POINT_JOB)
			id = only.id;
	}
	return job_views_each(l->providers, l->request, id, link_one, l, err);
}

/* What the associations are, but for whom it is told. */
static struct linking affecting(const struct providers *providers,
				const struct cim_request *request,
				bool of_points)
{
	return (struct linking){.providers = providers,
				.request = request,
				.of_points = of_points,
				.build = build_affected,
				.other = affected,
				.there = affects};
}

static struct linking owning(const struct providers *providers,
			     const struct cim_request *request, bool of_points)
{
	return (struct linking){.providers = providers,
				.request = request,
				.of_points = of_points,
				.build = build_owning,
				.other = owner};
}

/* ---- one of them --------------------------------------------------------- */

struct getting {
	const struct linking *linking;
	const struct identity *far;
	const struct cim_instance *instance;
};

static int keep_link(void *arg, const struct job_view *view, struct err *err)
{
	struct getting *getting = arg;
	struct identity other = getting->linking->other(view);
	struct build b;

	if (!is_same(&other, getting->far) || !is_there(getting->linking, view))
		return 0;
	/* none of its texts is the view's */
	b = getting->linking->build(getting->linking, view, err);
	if (b.r == 0)
		getting->instance = b.instance;
	return b.r;
}

static bool read_end(const struct linking *l, const struct cim_path *path,
		     const char *name, struct identity *ret_end)
{
	const struct cim_key *key = cim_path_key(path, name);

	return key && key->kind == CIM_KEY_REFERENCE &&
	       identity_of_path(key->ref, l->providers->host.name, ret_end);
}

/* FAR and NEAR are the references to what is associated and to the job. */
static int get_link(const struct linking *l, const struct cim_path *path,
		    const char *far, const char *near,
		    const struct cim_instance **ret_instance, struct err *err)
{
	struct identity ends[2];
	struct getting getting = {.linking = l, .far = &ends[0]};
	int r = 0;

	if (read_end(l, path, far, &ends[0]) &&
	    read_end(l, path, near, &ends[1]) &&
	    ends[1].kind == (l->of_points ? IDENTITY_POINT_JOB : IDENTITY_JOB))
		r = job_views_each(l->providers, l->request, ends[1].id,
				   keep_link, &getting, err);
	if (r < 0)
		return r;
	if (!getting.instance)
		return err_set(err, -CIM_ENOTFOUND,
			       "there is no such association of a job");
	*ret_instance = getting.instance;
	return 0;
}

/* ---- the providers ------------------------------------------------------- */

#define PROVIDER(name, linking_of, of_points, far, near)                       \
	int jobs_tell_##name(void *arg, const struct cim_request *request,     \
			     const struct wql_query *query,                    \
			     const struct cim_path *object,                    \
			     cim_instance_fn *fn, void *fn_arg,                \
			     struct err *err)                                  \
	{                                                                      \
		struct linking l = linking_of(arg, request, of_points);        \
                                                                               \
		l.fn = fn;                                                     \
		l.arg = fn_arg;                                                \
		return link_all(&l, object, err);                              \
	}                                                                      \
                                                                               \
	int jobs_get_##name(void *arg, const struct cim_request *request,      \
			    const struct cim_path *path,                       \
			    const struct cim_instance **ret_instance,          \
			    struct err *err)                                   \
	{                                                                      \
		struct linking l = linking_of(arg, request, of_points);        \
                                                                               \
		return get_link(&l, path, far, near, ret_instance, err);       \
	}

PROVIDER(affected, affecting, false, "AffectedElement", "AffectingElement")
PROVIDER(owning, owning, false, "OwningElement", "OwnedElement")
PROVIDER(affected_point, affecting, true, "AffectedElement", "AffectingElement")
PROVIDER(owning_point, owning, true, "OwningElement", "OwnedElement")
