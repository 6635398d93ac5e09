/* SPDX-License-Identifier: Apache-2.0 */
/* All snapshots of a virtual system: taken up, listed, attached. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "snapshot/internal.h"

const char *snapshot_state_name(enum snapshot_state state)
{
	return state == SNAPSHOT_VALID ? "valid" : "invalid";
}

void snapshots_lock(struct snapshots *snapshots)
{
	(void)pthread_mutex_lock(&snapshots->lock);
}

void snapshots_unlock(struct snapshots *snapshots)
{
	(void)pthread_mutex_unlock(&snapshots->lock);
}

/* ---- the list ------------------------------------------------------------ */

struct snapshot *snapshots_find(struct snapshots *snapshots,
				const struct guid *id)
{
	struct snapshot *s = snapshots->list;

	while (s && !guid_equal(&s->row.id, id))
		s = s->next;
	return s;
}

static void append(struct snapshots *snapshots, struct snapshot *s)
{
	struct snapshot **at = &snapshots->list;

	while (*at)
		at = &(*at)->next;
	*at = s;
}

void snapshots_remove(struct snapshots *snapshots, struct snapshot *s)
{
	struct snapshot **at = &snapshots->list;

	while (*at && *at != s)
		at = &(*at)->next;
	if (*at)
		*at = s->next;
	s->next = NULL;
}

void snapshot_invalidate(struct snapshot *s, const char *fmt, ...)
{
	struct snapshots *snapshots = s->owner;
	char reason[REASON_BYTES], id[GUID_TEXT_BYTES];
	bool first;
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(reason, sizeof(reason), fmt, ap);
	va_end(ap);
	snapshots_lock(snapshots);
	first = !atomic_load(&s->invalid);
	for (uint32_t i = 0; first && i < s->count; i++) {
		struct snapshot_file_state *state = s->disks[i].map.state;

		if (!state || atomic_load(&state->invalid))
			continue;
		memcpy(state->reason, reason, sizeof(reason));
		atomic_store(&state->invalid, 1);
	}
	if (first) {
		memcpy(s->reason, reason, sizeof(reason));
		atomic_store(&s->invalid, true);
	}
	snapshots_unlock(snapshots);
	guid_format(&s->row.id, id);
	if (first)
		log_warning("snapshot %s is invalid: %s", id, reason);
}

/* ---- room ---------------------------------------------------------------- */

int snapshots_room(struct snapshots *snapshots, int64_t *ret_room,
		   struct err *err)
{
	const struct vm_env *env = vm_environment(snapshots->vm);
	uint64_t space, reserve = SNAPSHOT_RESERVE_BYTES;
	int r = env->store->ops->space(env->store, &space, err);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < vm_disk_count(snapshots->vm); i++)
		reserve +=
		    2 * vm_disk(snapshots->vm, i)->bytes / (BLOCK_BYTES * 8);
	*ret_room = (int64_t)(MIN(space, (uint64_t)INT64_MAX)) -
		    (int64_t)reserve - atomic_load(&snapshots->inflight);
	return 0;
}

/* ---- taking up ----------------------------------------------------------- */

static void drop_ended(struct snapshots *snapshots, struct snapshot *s)
{
	char id[GUID_TEXT_BYTES];
	struct err err = {0};

	guid_format(&s->row.id, id);
	if (vm_snapshot_drop(snapshots->vm, &s->row.id, &err) < 0) {
		snapshot_invalidate(s, "it ended with the power");
		log_warning("snapshot %s ended, but its row stays: %s", id,
			    err.text);
		append(snapshots, s);
		return;
	}
	log_info("snapshot %s is gone: it ended with the power", id);
	files_unlink(s);
	snapshot_unref(s);
}

/* That it is invalid could be written nowhere: without its file it has ended
 * for whoever opens the store next (N5, N7). */
static void end_it(struct snapshots *snapshots, struct snapshot *s)
{
	const struct vm_env *env = vm_environment(snapshots->vm);

	snapshot_unlink(env->store, env->memory, &s->row.id, 0);
}

/* The rows are taken up before any is dropped: that changes them. */
static int take_row(void *arg, const struct point_row *row)
{
	struct snapshots *snapshots = arg;
	struct snapshot *s = snapshot_new(snapshots, row);

	if (!s)
		return -ENOMEM;
	append(snapshots, s);
	return 0;
}

static void take_up(struct snapshots *snapshots, struct snapshot *s)
{
	struct err err = {0};
	unsigned n = 0;
	int r;

	if (!vm_environment(snapshots->vm)->memory) {
		snapshot_invalidate(s, "there is no directory of live bitmaps");
		append(snapshots, s);
		return;
	}
	r = files_open(s, &err);
	if (r == -ENOENT) {
		drop_ended(snapshots, s);
		return;
	}
	for (const struct snapshot *t = snapshots->list; t; t = t->next)
		n++;
	if (r == 0 && n >= SNAPSHOTS_PER_VM_MAX)
		snapshot_invalidate(s, "there are more than %u of them",
				    SNAPSHOTS_PER_VM_MAX);
	if (r < 0)
		snapshot_invalidate(s, "%.150s", err.text);
	if (r < 0 && !s->disks[0].map.file)
		end_it(snapshots, s);
	append(snapshots, s);
}

int snapshots_new(struct vm *vm, struct snapshots **ret_snapshots,
		  struct err *err)
{
	struct snapshots *snapshots = calloc(1, sizeof(*snapshots));
	struct snapshot *rows;
	int r;

	if (!snapshots)
		return err_set(err, -ENOMEM, "snapshots");
	snapshots->vm = vm;
	snapshots->guard.before = copy_before;
	(void)pthread_mutex_init(&snapshots->lock, NULL);
	(void)pthread_cond_init(&snapshots->wake, NULL);
	r = vm_snapshots(vm, take_row, snapshots, err);
	if (r < 0) {
		snapshots_free(snapshots);
		return r;
	}
	rows = snapshots->list;
	snapshots->list = NULL;
	while (rows) {
		struct snapshot *s = rows;

		rows = s->next;
		s->next = NULL;
		s->ready = true;
		take_up(snapshots, s);
	}
	if (vm_environment(vm)->memory)
		files_sweep(snapshots);
	*ret_snapshots = snapshots;
	return 0;
}

struct snapshots *snapshots_free(struct snapshots *snapshots)
{
	if (!snapshots)
		return NULL;
	while (snapshots->list) {
		struct snapshot *s = snapshots->list;

		snapshots_remove(snapshots, s);
		snapshot_unref(s);
	}
	(void)pthread_cond_destroy(&snapshots->wake);
	(void)pthread_mutex_destroy(&snapshots->lock);
	free(snapshots);
	return NULL;
}

/* ---- attached ------------------------------------------------------------ */

/* Somebody else may have written since the instant: what was not copied is not
 * known any more. */
static void judge(struct snapshots *snapshots, struct snapshot *s)
{
	for (uint32_t i = 0; i < s->count; i++) {
		struct vm_disk_status status;

		if (vm_disk_status(snapshots->vm, i, &status, NULL) < 0)
			continue;
		if (status.accuracy.accuracy == ACCURACY_INVALID)
			snapshot_invalidate(s, "%.*s", REASON_BYTES - 1,
					    status.accuracy.reason);
		if (s->row.bytes[i] != vm_disk(snapshots->vm, i)->bytes)
			snapshot_invalidate(s, "disk '%s' has another size",
					    vm_disk(snapshots->vm, i)->id);
	}
}

static void attach_one(struct snapshots *snapshots, struct snapshot *s)
{
	struct err err = {0};

	judge(snapshots, s);
	if (snapshot_is_valid(s) && files_attach(s, &err) < 0)
		snapshot_invalidate(s, "%.150s", err.text);
	s->first_epoch = 0;
}

int snapshots_attach(struct snapshots *snapshots, struct err *err)
{
	int64_t room;
	int r = copying_init(snapshots, err);

	if (r == 0 && snapshots_room(snapshots, &room, NULL) == 0)
		atomic_store(&snapshots->room, room);
	if (r < 0)
		return r;
	for (struct snapshot *s = snapshots->list; s; s = s->next)
		attach_one(snapshots, s);
	r = janitor_start(snapshots, err);
	if (r < 0) {
		copying_done(snapshots);
		return r;
	}
	snapshots->attached = true;
	vm_guard(snapshots->vm, &snapshots->guard);
	return 0;
}

/* Until the next time what was copied is in the page cache alone, and nobody
 * would learn that it could not be written back (N6).  One that a copy still
 * writes to (N8) is invalid, and stays open. */
static void lay_down(struct snapshot *s)
{
	struct err err = {0};

	if (atomic_load(&s->refs) > 1)
		return;
	for (uint32_t i = 0; i < s->count; i++) {
		struct file *scratch = s->disks[i].scratch;

		if (scratch && snapshot_is_valid(s) &&
		    (file_sync(scratch, &err) < 0 || file_lost(scratch) < 0))
			snapshot_invalidate(s, "its scratch was lost: %.120s",
					    err.text);
	}
	files_detach(s);
}

void snapshots_detach(struct snapshots *snapshots)
{
	if (!snapshots->attached)
		return;
	vm_guard(snapshots->vm, NULL);
	snapshots->attached = false;
	copying_done(snapshots);
	janitor_stop(snapshots);
	for (struct snapshot *s = snapshots->list; s; s = s->next)
		lay_down(s);
}

void snapshots_tick(struct snapshots *snapshots)
{
	if (!snapshots->attached)
		return;
	copying_tick(snapshots);
	if (!snapshots->janitor_runs)
		janitor_work(snapshots);
}

/* ---- listing ------------------------------------------------------------- */

void snapshot_tell(const struct snapshot *s, struct snapshot_info *info)
{
	memset(info, 0, sizeof(*info));
	info->row = s->row;
	info->state =
	    atomic_load(&s->invalid) ? SNAPSHOT_INVALID : SNAPSHOT_VALID;
	memcpy(info->reason, s->reason, sizeof(info->reason));
	info->limit_bytes = s->limit_bytes;
	for (uint32_t i = 0; i < s->count; i++)
		if (s->disks[i].map.state)
			info->scratch_bytes[i] =
			    atomic_load(&s->disks[i].map.state->copied_bytes);
}

int snapshots_list(struct snapshots *snapshots,
		   int (*fn)(void *arg, const struct snapshot_info *info),
		   void *arg, struct err *err)
{
	struct snapshot_info *infos =
	    calloc(SNAPSHOTS_PER_VM_MAX + 1, sizeof(*infos));
	unsigned n = 0;
	int r = infos ? vm_usable(snapshots->vm, err)
		      : err_set(err, -ENOMEM, "snapshots");

	snapshots_lock(snapshots);
	for (struct snapshot *s = snapshots->list;
	     r == 0 && s && n <= SNAPSHOTS_PER_VM_MAX; s = s->next)
		if (s->ready)
			snapshot_tell(s, &infos[n++]);
	snapshots_unlock(snapshots);
	for (unsigned i = 0; r == 0 && i < n; i++) {
		r = fn(arg, &infos[i]);
		if (r < 0)
			err_set(err, r, "snapshots");
	}
	free(infos);
	return r;
}

struct finding {
	const struct guid *id;
	struct snapshot_info *info;
	bool found;
};

static int match(void *arg, const struct snapshot_info *info)
{
	struct finding *finding = arg;

	if (guid_equal(&info->row.id, finding->id)) {
		*finding->info = *info;
		finding->found = true;
	}
	return 0;
}

int snapshot_find(struct snapshots *snapshots, const struct guid *id,
		  struct snapshot_info *ret_info, struct err *err)
{
	struct finding finding = {.id = id, .info = ret_info};
	char text[GUID_TEXT_BYTES];
	int r = snapshots_list(snapshots, match, &finding, err);

	if (r < 0 || finding.found)
		return r;
	guid_format(id, text);
	return err_set(err, -RP_ENOPOINT, "there is no snapshot %s", text);
}

bool snapshot_is_over(struct snapshots *snapshots, const struct guid *id)
{
	const struct snapshot *s;
	bool over;

	snapshots_lock(snapshots);
	s = snapshots_find(snapshots, id);
	over = !s || atomic_load(&s->invalid);
	snapshots_unlock(snapshots);
	return over;
}
