/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/systems.h"

#include <string.h>

#include "cim/status.h"
#include "common/bytes.h"
#include "common/limits.h"
#include "providers/holders.h"
#include "providers/identity.h"
#include "rpc/pull.h"

/* Each of VMS_MAX systems may come once more for each of its points. */
#define REPLIES_MAX (VMS_MAX * (POINTS_PER_VM_MAX + 1u))

struct walk {
	const struct providers *providers;
	const struct system_view *now; /* is being told */
	struct walk *outer;            /* whose callback we are in */
	struct arena *arena;
	struct point_view *points; /* room for POINTS_PER_VM_MAX */
	system_fn *fn;
	void *arg;
	unsigned replies;
	char only[GUID_TEXT_BYTES]; /* who was asked for, or "" */
	char last[GUID_TEXT_BYTES]; /* who came before */
	int r;                      /* what ended it */
	struct err *err;
};

static _Thread_local struct walk *innermost;

int systems_failed(int r, struct err *err)
{
	if (err && err->code == 0)
		(void)err_set(err, r, "no answer");
	switch (r) {
	case -RP_ETIMEOUT:
		r = -CIM_ETIMEDOUT;
		break;
	case -RP_ELIMIT:
	case -ENOMEM:
		r = -CIM_ELIMITS;
		break;
	default:
		r = -CIM_EFAILED;
		break;
	}
	(void)err_wrap(err, "refpointd");
	if (err)
		err->code = r;
	return r;
}

static int senseless(struct err *err, const char *what)
{
	return err_set(err, -CIM_EFAILED,
		       "refpointd's answer makes no sense: %s", what);
}

/* ---- reading -------------------------------------------------------------
 * A reader leaves what makes no sense to pull_fail(), which ends all of them.
 */

static bool is(const char *key, const char *name)
{
	return strcmp(key, name) == 0;
}

static void read_guid(struct pull *p, char ret_upper[GUID_TEXT_BYTES])
{
	if (!identity_guid(pull_string(p), ret_upper))
		pull_fail(p);
}

static struct disk_view read_disk(struct pull *p)
{
	struct disk_view disk = {0};
	int64_t size = -1;
	const char *key;

	pull_object(p);
	while ((key = pull_key(p))) {
		if (is(key, "id"))
			disk.id = pull_string(p);
		else if (is(key, "path"))
			disk.path = pull_string(p);
		else if (is(key, "size"))
			size = pull_integer(p);
		else
			pull_skip(p);
	}
	if (!disk.id || !disk.path || size < 0)
		pull_fail(p);
	disk.size = (uint64_t)size;
	return disk;
}

/* A copy of N things in the arena; NULL with the failure in W. */
static const void *keep(struct walk *w, const void *list, uint32_t n,
			size_t bytes)
{
	void *copy = arena_array(w->arena, n, bytes);

	if (copy)
		memcpy(copy, list, n * bytes);
	else if (w->r == 0)
		w->r = arena_full(w->arena, w->err);
	return copy;
}

static void read_disks(struct walk *w, struct pull *p,
		       struct system_view *system)
{
	struct disk_view disks[DISKS_PER_VM_MAX];
	uint32_t n = 0;

	pull_array(p);
	while (pull_item(p)) {
		if (n == ARRAY_SIZE(disks))
			pull_fail(p);
		else
			disks[n++] = read_disk(p);
	}
	system->disks = keep(w, disks, n, sizeof(*disks));
	system->disk_count = n;
}

static struct point_disk_view read_point_disk(struct pull *p)
{
	struct point_disk_view disk = {0};
	int64_t size = 0;
	const char *key;

	pull_object(p);
	while ((key = pull_key(p))) {
		if (is(key, "id"))
			disk.id = pull_string(p);
		else if (is(key, "tracking_id"))
			disk.tracking_id = pull_string(p);
		else if (is(key, "nbd_uri"))
			disk.uri = pull_null(p) ? NULL : pull_string(p);
		else if (is(key, "size"))
			size = pull_integer(p);
		else
			pull_skip(p);
	}
	if (!disk.id || !disk.tracking_id || size < 0)
		pull_fail(p);
	disk.size = (uint64_t)size;
	return disk;
}

static void read_point_disks(struct walk *w, struct pull *p,
			     struct point_view *point)
{
	struct point_disk_view disks[DISKS_PER_VM_MAX];
	uint32_t n = 0;

	pull_array(p);
	while (pull_item(p)) {
		if (n == ARRAY_SIZE(disks))
			pull_fail(p);
		else
			disks[n++] = read_point_disk(p);
	}
	point->disks = keep(w, disks, n, sizeof(*disks));
	point->disk_count = n;
}

struct point_words {
	const char *type, *consistency;
	const char *log; /* its state; NULL: there is none */
};

/* A PointLog, or null. */
static void read_log(struct pull *p, struct point_view *point,
		     struct point_words *words)
{
	const char *key;

	if (pull_null(p))
		return;
	pull_object(p);
	while ((key = pull_key(p))) {
		if (is(key, "state"))
			words->log = pull_string(p);
		else if (is(key, "reason"))
			point->log_reason = pull_string(p);
		else
			pull_skip(p);
	}
}

/* One of its members. */
static void read_of_point(struct walk *w, struct pull *p, const char *key,
			  struct point_view *point, struct point_words *words)
{
	if (is(key, "id"))
		read_guid(p, point->id);
	else if (is(key, "type"))
		words->type = pull_string(p);
	else if (is(key, "consistency"))
		words->consistency = pull_string(p);
	else if (is(key, "label"))
		point->label = pull_string(p);
	else if (is(key, "created"))
		point->created = pull_string(p);
	else if (is(key, "log"))
		read_log(p, point, words);
	else if (is(key, "invalid"))
		point->invalid = pull_null(p) ? NULL : pull_string(p);
	else if (is(key, "disks"))
		read_point_disks(w, p, point);
	else
		pull_skip(p);
}

static bool read_log_state(const char *state, bool *ret_has_data)
{
	*ret_has_data = is(state, "open") || is(state, "closed");
	return *ret_has_data || is(state, "gone");
}

/* Once all of them were read. */
static void end_point(struct pull *p, struct point_view *point,
		      const struct point_words *words)
{
	if (!*point->id || !words->type || !words->consistency ||
	    !point->label || !point->created || !point->disks) {
		pull_fail(p);
		return;
	}
	point->log = is(words->type, "log");
	if (point->log != (words->log != NULL) ||
	    (point->log && !read_log_state(words->log, &point->has_data)))
		pull_fail(p);
	if (!point->log || point->has_data)
		point->log_reason = NULL;
	point->application = is(words->consistency, "application");
}

static struct point_view read_point(struct walk *w, struct pull *p)
{
	struct point_view point = {0};
	struct point_words words = {0};
	const char *key;

	pull_object(p);
	while ((key = pull_key(p)))
		read_of_point(w, p, key, &point, &words);
	end_point(p, &point, &words);
	return point;
}

static void read_points(struct walk *w, struct pull *p,
			struct system_view *system)
{
	uint32_t n = 0;

	pull_array(p);
	while (pull_item(p)) {
		if (n == POINTS_PER_VM_MAX)
			pull_fail(p);
		else
			w->points[n++] = read_point(w, p);
	}
	system->points = w->points;
	system->point_count = n;
}

/* A Snapshot: as a Point but for its type, which it will have, and its state.
 */
static struct snapshot_view read_snapshot(struct walk *w, struct pull *p)
{
	struct point_words words = {.type = "rct"};
	const char *key, *state = NULL, *reason = "";
	struct snapshot_view snapshot = {0};

	pull_object(p);
	while ((key = pull_key(p))) {
		if (is(key, "state"))
			state = pull_string(p);
		else if (is(key, "reason"))
			reason = pull_string(p);
		else
			read_of_point(w, p, key, &snapshot.as, &words);
	}
	end_point(p, &snapshot.as, &words);
	if (!state)
		pull_fail(p);
	else if (!is(state, "valid"))
		snapshot.invalid = reason;
	return snapshot;
}

static void read_snapshots(struct walk *w, struct pull *p,
			   struct system_view *system)
{
	struct snapshot_view snapshots[SNAPSHOTS_PER_VM_MAX];
	uint32_t n = 0;

	pull_array(p);
	while (pull_item(p)) {
		if (n == ARRAY_SIZE(snapshots))
			pull_fail(p);
		else
			snapshots[n++] = read_snapshot(w, p);
	}
	system->snapshots = keep(w, snapshots, n, sizeof(*snapshots));
	system->snapshot_count = n;
}

static void read_pid(struct pull *p, struct system_view *system)
{
	int64_t pid = pull_null(p) ? 0 : pull_integer(p);

	if (pid < 0 || pid > UINT32_MAX)
		pull_fail(p);
	system->worker_pid = (uint32_t)pid;
}

/* One of its members. */
static void read_of_system(struct walk *w, struct pull *p, const char *key,
			   struct system_view *system)
{
	if (is(key, "vm"))
		system->vm = pull_string(p);
	else if (is(key, "uuid"))
		read_guid(p, system->uuid);
	else if (is(key, "state"))
		system->state = pull_string(p);
	else if (is(key, "connected"))
		system->connected = pull_boolean(p);
	else if (is(key, "worker_pid"))
		read_pid(p, system);
	else if (is(key, "disks"))
		read_disks(w, p, system);
	else if (is(key, "points"))
		read_points(w, p, system);
	else if (is(key, "snapshots"))
		read_snapshots(w, p, system);
	else
		pull_skip(p);
}

static struct system_view read_system(struct walk *w, struct pull *p)
{
	struct system_view system = {0};
	const char *key;

	pull_object(p);
	while ((key = pull_key(p)))
		read_of_system(w, p, key, &system);
	if (!system.vm || !*system.uuid || !system.state || !system.disks ||
	    !system.points)
		pull_fail(p);
	return system;
}

/* Where the disk is that a point names; the one at the same place mostly is. */
static unsigned find_disk(const struct system_view *system, const char *id,
			  unsigned hint)
{
	if (hint < system->disk_count && is(system->disks[hint].id, id))
		return hint;
	for (unsigned i = 0; i < system->disk_count; i++)
		if (is(system->disks[i].id, id))
			return i;
	return system->disk_count + hint;
}

static void find_disks_of(const struct system_view *system,
			  const struct point_view *point)
{
	/* They are ours, and only now all is known. */
	struct point_disk_view *disks = (struct point_disk_view *)point->disks;

	for (unsigned d = 0; d < point->disk_count; d++)
		disks[d].index = find_disk(system, disks[d].id, d);
}

static void find_disks(const struct system_view *system)
{
	for (uint32_t i = 0; i < system->point_count; i++)
		find_disks_of(system, &system->points[i]);
	for (uint32_t i = 0; i < system->snapshot_count; i++)
		find_disks_of(system, &system->snapshots[i].as);
}

/* ---- telling ---------------------------------------------------------------
 */

/* The next system; what is wrong with it is in P or W. */
static void tell(struct walk *w, struct pull *p)
{
	struct arena_mark mark = arena_mark(w->arena);
	struct system_view system = read_system(w, p);

	if (*w->only && !is(system.uuid, w->only))
		pull_fail(p);
	if (w->r == 0 && !p->failed) {
		find_disks(&system);
		system.again = is(system.uuid, w->last);
		memcpy(w->last, system.uuid, sizeof(w->last));
		w->now = &system;
		w->r = w->fn(w->arg, &system, w->err);
		w->now = NULL;
	}
	arena_rewind(w->arena, mark);
}

static void tell_list(struct walk *w, struct pull *p)
{
	unsigned n = 0;

	pull_array(p);
	while (w->r == 0 && pull_item(p)) {
		if (++n > VMS_MAX)
			pull_fail(p);
		else
			tell(w, p);
	}
}

static void read_parameters(struct walk *w, struct pull *p)
{
	bool found = false;
	const char *key;

	pull_object(p);
	while (w->r == 0 && (key = pull_key(p))) {
		if (is(key, "systems")) {
			found = true;
			tell_list(w, p);
		} else {
			pull_skip(p);
		}
	}
	if (!found)
		pull_fail(p);
}

/* 1 ends the call: what was told may be half of what is there. */
static int take_reply(void *arg, char *text, size_t bytes)
{
	struct pull p = pull_begin(text, bytes);
	struct walk *w = arg;
	const char *key;

	pull_object(&p);
	while (w->r == 0 && (key = pull_key(&p))) {
		if (is(key, "parameters"))
			read_parameters(w, &p);
		else
			pull_skip(&p);
	}
	if (w->r == 0 && (!pull_done(&p) || ++w->replies > REPLIES_MAX))
		w->r = senseless(w->err, "the list of systems");
	return w->r != 0;
}

static json_t *ask_for(const struct guid *guid, unsigned with)
{
	char uuid[GUID_TEXT_BYTES];
	bool points = with & SYSTEMS_POINTS;
	json_t *question;

	if (guid)
		guid_format(guid, uuid);
	question = json_pack("{s:s*, s:b}", "uuid", guid ? uuid : NULL,
			     "points", points);
	if (!points && (with & SYSTEMS_SNAPSHOTS))
		(void)json_object_set_new(question, "snapshots", json_true());
	return question;
}

int systems_each(const struct providers *providers,
		 const struct cim_request *request, const char *uuid,
		 unsigned with, system_fn *fn, void *arg, struct err *err)
{
	struct walk w = {.providers = providers,
			 .outer = innermost,
			 .arena = request->arena,
			 .fn = fn,
			 .arg = arg,
			 .err = err};
	struct arena_mark mark = arena_mark(request->arena);
	struct guid guid;
	int r;

	if (uuid && (!guid_parse(uuid, &guid) || !identity_guid(uuid, w.only)))
		return 0;
	w.points = arena_array(w.arena, POINTS_PER_VM_MAX, sizeof(*w.points));
	if (!w.points)
		return arena_full(w.arena, err);
	innermost = &w;
	r = backend_stream_text(&providers->backend, request, NULL, "Systems",
				ask_for(uuid ? &guid : NULL, with),
				BACKEND_QUICK_MS, take_reply, &w, err);
	innermost = w.outer;
	arena_rewind(w.arena, mark);
	if (w.r != 0)
		return MIN(w.r, 0);
	return r < 0 ? systems_failed(r, err) : 0;
}

const struct system_view *systems_holding(const struct providers *providers,
					  const char *holder)
{
	for (const struct walk *w = innermost; w; w = w->outer)
		if (w->now && w->providers == providers &&
		    holder_is_of(w->now, holder))
			return w->now;
	return NULL;
}

const struct system_view *systems_current(const struct providers *providers,
					  const char *uuid)
{
	for (const struct walk *w = innermost; w; w = w->outer)
		if (w->now && w->providers == providers &&
		    strcmp(w->now->uuid, uuid) == 0)
			return w->now;
	return NULL;
}
