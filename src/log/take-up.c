/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Attaching: the open point's logs are taken up, whatever the last end left.
 *
 *   U1  What cannot be a whole log any more is given up: the tracking of a disk
 *       is invalid since the point (somebody else wrote, or tracking gave way),
 *       a disk has another size, a file is damaged.
 *   U2  G5: the part that goes on is found; it is reopened where it is closed.
 *   U3  What later parts name is to be mended, and what the part's own repair
 *       says; after a power cut all that is hot as well (T11): these regions
 *       stay hot until all is settled, so a death meanwhile finds as much.
 *   U4  Sequences and times: all logs are repaired before any is mended.
 *   U5  Mended, log and image are synced; only then later parts lose their
 * rows.
 */
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "log/logs-internal.h"

struct taking {
	struct logs *logs;
	struct guid point;
	struct log_part_row *rows;
	unsigned count, current;
	enum log_ended ended;
	struct part *part;
	bool clean[DISKS_PER_VM_MAX];
	struct blockset *mend[DISKS_PER_VM_MAX];
	uint64_t over[DISKS_PER_VM_MAX];
};

/* ---- U1, U2 ----------------------------------------------------------- */

static int check_disks(struct taking *t, struct err *err)
{
	struct vm *vm = t->logs->vm;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < t->logs->disks; i++) {
		struct vm_disk_status status;

		r = vm_disk_status(vm, i, &status, err);
		if (r == 0 && status.accuracy.accuracy >= ACCURACY_ASSUMED)
			r = err_set(err, -RP_ESTATE, "disk '%s': %s",
				    vm_disk(vm, i)->id, status.accuracy.reason);
	}
	return r;
}

/* How many disks' logs of a part are closed. */
static int count_closed(struct taking *t, unsigned which, unsigned *ret_closed,
			struct err *err)
{
	const struct guid *store = &vm_system(t->logs->vm)->store;
	unsigned n = 0;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < t->logs->disks; i++) {
		bool closed = false;

		r = stream_ends(&t->logs->service, store,
				&t->rows[which].origin, i, &closed, err);
		n += closed;
	}
	if (r == 0)
		*ret_closed = n;
	return r;
}

static int reopen(struct taking *t, struct err *err)
{
	const struct guid *store = &vm_system(t->logs->vm)->store;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < t->logs->disks; i++)
		r = stream_reopen(&t->logs->service, store,
				  &t->rows[t->current].origin, i, err);
	return r;
}

static int find_current(struct taking *t, struct err *err)
{
	unsigned closed = 0;
	int r;

	for (t->current = 0;; t->current++) {
		r = count_closed(t, t->current, &closed, err);
		if (r < 0)
			return r;
		if (closed < t->logs->disks || t->current + 1 == t->count)
			break;
	}
	/* A cut may have begun to close it. */
	return closed || t->count > 1 ? reopen(t, err) : 0;
}

/* ---- U3, U4 ----------------------------------------------------------- */

static int repair_one(struct taking *t, unsigned which, uint32_t disk,
		      struct log_stream **ret_stream, struct err *err)
{
	struct logs *logs = t->logs;
	struct vm *vm = logs->vm;
	struct log_repair repair;
	int r = stream_repair(&logs->service, &vm_system(vm)->store,
			      &t->rows[which].origin, disk, t->ended,
			      t->mend[disk], &repair, ret_stream, err);

	if (r < 0)
		return err_wrap(err, "disk '%s'", vm_disk(vm, disk)->id);
	if (repair.head.bytes != vm_disk(vm, disk)->bytes)
		r = err_set(err, -RP_ESTATE,
			    "disk '%s' had %llu bytes when the log began, and "
			    "has another size now",
			    vm_disk(vm, disk)->id,
			    (unsigned long long)repair.head.bytes);
	if (r == 0 && repair.ended == LOG_ENDED_CUT)
		r = vm_hot(vm, disk, t->mend[disk], err);
	if (r == 0 && which == t->current && repair.closed)
		r = err_set(err, -RP_ECORRUPT, "disk '%s': it is closed",
			    vm_disk(vm, disk)->id);
	if (which == t->current)
		t->clean[disk] = repair.ended == LOG_ENDED_CLEAN;
	if (r < 0)
		*ret_stream = stream_end(*ret_stream);
	return r;
}

/* A later part: what it names is all that it is good for. */
static int merge_later(struct taking *t, unsigned which, struct err *err)
{
	struct logs *logs = t->logs;
	const struct guid *store = &vm_system(logs->vm)->store;
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < logs->disks; i++) {
		struct log_stream *stream = NULL;

		r = repair_one(t, which, i, &stream, err);
		if (r < 0)
			return r;
		(void)stream_end(stream);
		r = stream_named(&logs->service, store, &t->rows[which].origin,
				 i, t->mend[i], err);
	}
	return r;
}

static int repair_all(struct taking *t, struct err *err)
{
	struct logs *logs = t->logs;
	int r = 0;

	for (uint32_t i = 0; i < logs->disks; i++) {
		t->mend[i] = blockset_new(vm_disk(logs->vm, i)->bytes);
		if (!t->mend[i])
			return err_set(err, -ENOMEM, "logs");
	}
	for (unsigned which = t->current + 1; r == 0 && which < t->count;
	     which++)
		r = merge_later(t, which, err);
	for (uint32_t i = 0; r == 0 && i < logs->disks; i++)
		r = repair_one(t, t->current, i, &t->part->streams[i], err);
	return r;
}

/* ---- U5: the queue's thread ------------------------------------------- */

struct disk_taking {
	struct call *call;
	uint32_t disk;
};

static void one_over(struct call *call)
{
	if (--call->waiting > 0)
		return;
	call->logs->mending = false;
	call_done(call, 0, NULL);
}

static void one_settled(void *arg, int result)
{
	struct disk_taking *d = arg;
	struct call *call = d->call;
	struct taking *t = call->arg;
	struct volume *volume = vm_volume_at(t->logs->vm, d->disk);

	if (result == 0 && !t->part->lost)
		volume_settled(volume, t->over[d->disk]);
	free(d);
	one_over(call);
}

static void give_up(struct taking *t, uint32_t disk, int code)
{
	struct err why = {0};

	(void)err_set(&why, code,
		      "what disk '%s' holds since the last end cannot be read",
		      volume_id(vm_volume_at(t->logs->vm, disk)));
	logger_give_up(t->logs, t->part, &why);
}

static void one_mended(void *arg, int result)
{
	struct disk_taking *d = arg;
	struct taking *t = d->call->arg;

	if (result < 0)
		give_up(t, d->disk, result);
	if (!t->clean[d->disk])
		stream_mended(t->part->streams[d->disk], NULL);
	t->over[d->disk] =
	    volume_pieces_over(vm_volume_at(t->logs->vm, d->disk));
	if (settle_begin(t->logs, t->part, d->disk, false, one_settled, d) < 0)
		one_settled(d, -ENOMEM);
}

static void mend_all(struct call *call)
{
	struct taking *t = call->arg;
	struct logs *logs = t->logs;

	logs->mending = true; /* U3: nothing is settled before */
	logger_append(logs, t->part);
	call->waiting = 1;
	for (uint32_t i = 0; i < logs->disks; i++) {
		struct disk_taking *d = malloc(sizeof(*d));
		int r = 0;

		if (!d) {
			give_up(t, i, -ENOMEM);
			continue;
		}
		*d = (struct disk_taking){call, i};
		call->waiting++;
		if (blockset_count(t->mend[i]) == 0)
			one_mended(d, 0);
		else
			r = mend_begin(logs, t->part, i, t->mend[i], 0, 0,
				       one_mended, d);
		if (r < 0)
			one_mended(d, r);
	}
	one_over(call);
}

/* ---- together --------------------------------------------------------- */

static void taking_free(struct taking *t)
{
	for (uint32_t i = 0; i < t->logs->disks; i++)
		blockset_free(t->mend[i]);
	free(t->rows);
	free(t);
}

/* Their files go with the next refresh. */
static int forget_later(struct taking *t, struct err *err)
{
	int r = 0;

	for (unsigned i = t->current + 1; r == 0 && i < t->count; i++)
		r = vm_log_forget(t->logs->vm, &t->rows[i].origin, err);
	return r;
}

static enum log_ended ended(const struct logs *logs)
{
	switch (vm_ended(logs->vm)) {
	case VM_ENDED_CLEAN:
		return LOG_ENDED_CLEAN;
	case VM_ENDED_KILLED:
		return LOG_ENDED_KILLED;
	case VM_ENDED_CUT:
		break;
	}
	return LOG_ENDED_CUT;
}

static int take_up_rows(struct taking *t, struct err *err)
{
	struct logs *logs = t->logs;
	int r = check_disks(t, err);

	t->ended = ended(logs);
	if (r == 0)
		r = find_current(t, err);
	/* Not as a clean end leaves it. */
	if (r == 0 && t->current + 1 < t->count)
		t->ended = LOG_ENDED_CUT;
	if (r == 0) {
		t->part = calloc(1, sizeof(*t->part));
		r = t->part ? 0 : err_set(err, -ENOMEM, "logs");
	}
	if (r == 0) {
		t->part->origin = t->rows[t->current].origin;
		r = repair_all(t, err);
		if (r < 0)
			part_free(t->part);
	}
	return r;
}

static uint64_t usage_of_rows(const struct taking *t)
{
	uint64_t bytes = 0;

	for (unsigned i = 0; i < t->count; i++)
		bytes += logs_usage_of(t->logs, &t->rows[i].origin);
	return bytes;
}

int take_up(struct logs *logs, struct err *err)
{
	struct taking *t = calloc(1, sizeof(*t));
	char id[GUID_TEXT_BYTES];
	struct err why = {0};
	uint64_t used;
	int r;

	if (!t)
		return err_set(err, -ENOMEM, "logs");
	t->logs = logs;
	r = logs_open_rows(logs, &t->point, &t->rows, err);
	if (r <= 0) {
		taking_free(t);
		vm_strict(logs->vm, false);
		return r;
	}
	t->count = (unsigned)r;
	/* What is taken up is counted when it is. */
	logs_usage(logs, &used, &logs->budget.limit);
	logs->budget.used = used - MIN(used, usage_of_rows(t));
	r = take_up_rows(t, &why);
	guid_format(&t->point, id);
	if (r < 0) {
		log_warning("point %s has no log any more: %s", id, why.text);
		r = vm_log_lose(logs->vm, &t->point, why.text, err);
		vm_strict(logs->vm, r < 0);
		taking_free(t);
		return r;
	}
	logs_look_at_room(logs);
	(void)logs_call(logs, mend_all, t, NULL);
	r = t->part->lost ? 0 : forget_later(t, err);
	taking_free(t);
	return r < 0 ? r : 1;
}
