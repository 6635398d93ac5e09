/* SPDX-License-Identifier: Apache-2.0 */
#include "backup/exporter.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/plan.h"
#include "backup/sink.h"
#include "backup/target.h"
#include "common/target.h"

/* ended_read() finds its batch by the request. */
struct one_read {
	struct volume_request request;
	struct batch *batch;
};

struct batch {
	struct ring_task task;
	struct exporter *exporter;
	struct export_source *source;
	uint8_t *buffer;
	struct plan plan;
	uint32_t mark; /* the target's, once it was told to write it */
	/* the source's thread's: */
	struct one_read reads[PLAN_READS];
	unsigned pending;
	int result; /* 0, or the first failure ... */
	uint64_t failed_at;
	/* under the exporter's lock: */
	bool done;
};

struct one_disk {
	char id[EXPORT_ID_BYTES];
	bool plain;
	bool hash;
	uint8_t digest[METADATA_HASH_BYTES];
	char backing[QCOW2_BACKING_MAX + 1]; /* "" if none */
	struct export_source *source;
	struct blockset *changed;
	uint64_t bytes;
	struct export_result result;
};

struct exporter {
	pthread_t thread;
	void (*ended)(void *arg);
	void *arg;
	struct target *target;
	uint64_t total;
	_Atomic uint64_t done;
	struct err err; /* the thread's until it has ended */

	/* the thread's */
	struct batch batches[EXPORT_BATCHES];
	unsigned first;            /* of the batches in use: ... */
	unsigned writing, reading; /* ... so many are written, then these read
				    */
	uint64_t done_before;      /* of the disks before */

	pthread_mutex_t lock;
	pthread_cond_t changed; /* of users, and of a batch's done */
	unsigned users;         /* batches and questions under way */
	_Atomic bool cancelled; /* set under the lock */
	char reason[REASON_BYTES];

	unsigned n, n_files;                 /* the rest is hashed */
	const char *names[EXPORT_FILES_MAX]; /* of those */
	struct one_disk disks[];
};
_Static_assert((uint64_t)EXPORT_BATCHES *PLAN_BYTES <= TARGET_DATA_BYTES,
	       "the buffers lie in the target's memory");

/* ---- The sources: invariant 1 ----------------------------------------------
 */

static int say_cancelled(struct exporter *e, struct err *err)
{
	return err_set(err, -RP_ECANCELLED, "the export was given up%s%s",
		       *e->reason ? ": " : "", e->reason);
}

static int enter(struct exporter *e, struct err *err)
{
	int r = 0;

	(void)pthread_mutex_lock(&e->lock);
	if (atomic_load(&e->cancelled))
		r = say_cancelled(e, err);
	else
		e->users++;
	(void)pthread_mutex_unlock(&e->lock);
	return r;
}

static void leave(struct exporter *e, struct batch *done)
{
	(void)pthread_mutex_lock(&e->lock);
	if (done) {
		done->done = true;
		target_wake(e->target);
	}
	e->users--;
	(void)pthread_cond_broadcast(&e->changed);
	(void)pthread_mutex_unlock(&e->lock);
}

/* A target's failure; that it was cancelled is told with the reason. */
static int explain(struct exporter *e, int r, struct err *err)
{
	if (r == -RP_ECANCELLED) {
		(void)pthread_mutex_lock(&e->lock);
		(void)say_cancelled(e, err);
		(void)pthread_mutex_unlock(&e->lock);
	}
	return r;
}

static int check_cancelled(struct exporter *e, struct err *err)
{
	int r = enter(e, err);

	if (r == 0)
		leave(e, NULL);
	return r;
}

/* ---- Reading --------------------------------------------------------------
 */

static void ended_read(struct volume_request *request, int result)
{
	struct one_read *read = container_of(request, struct one_read, request);
	struct batch *batch = read->batch;

	if (result < 0 && batch->result == 0) {
		batch->result = result;
		batch->failed_at = request->offset;
	}
	if (--batch->pending == 0)
		leave(batch->exporter, batch);
}

/* On the source's thread. */
static void read_batch(struct ring_task *task)
{
	struct batch *batch = container_of(task, struct batch, task);
	unsigned n = batch->plan.n_reads;

	batch->pending = n;
	batch->result = 0;
	for (unsigned i = 0; i < n; i++) {
		const struct plan_read *read = &batch->plan.reads[i];

		batch->reads[i] = (struct one_read){
		    .batch = batch,
		    .request = {.op = VOLUME_READ,
				.offset = read->offset,
				.length = read->length,
				.data = batch->buffer + read->at,
				.done = ended_read}};
		batch->source->ops->read(batch->source,
					 &batch->reads[i].request);
	}
}

/* Has the batch's plan read. */
static int begin_batch(struct exporter *e, struct batch *batch,
		       struct export_source *source, struct err *err)
{
	int r;

	batch->done = batch->plan.n_reads == 0;
	batch->result = 0;
	if (batch->done)
		return 0;
	r = enter(e, err);
	if (r < 0)
		return r;
	batch->source = source;
	batch->task.run = read_batch;
	source->ops->post(source, &batch->task);
	return 0;
}

static bool is_read(struct exporter *e, const struct batch *batch)
{
	bool done;

	(void)pthread_mutex_lock(&e->lock);
	done = batch->done;
	(void)pthread_mutex_unlock(&e->lock);
	return done;
}

static void await_batch(struct exporter *e, struct batch *batch)
{
	(void)pthread_mutex_lock(&e->lock);
	while (!batch->done)
		(void)pthread_cond_wait(&e->changed, &e->lock);
	(void)pthread_mutex_unlock(&e->lock);
}

/* ---- Writing --------------------------------------------------------------
 */

static bool is_zero(const uint8_t *data, uint64_t bytes)
{
	uint64_t head = 0;

	memcpy(&head, data, MIN(bytes, sizeof(head)));
	return head == 0 &&
	       (bytes <= sizeof(head) ||
		memcmp(data, data + sizeof(head), bytes - sizeof(head)) == 0);
}

/* The bytes at DATA that are, or are not, zero like the first block. */
static uint64_t alike(const uint8_t *data, uint64_t length, bool *ret_zero)
{
	uint64_t n = MIN(length, BLOCK_BYTES);

	*ret_zero = is_zero(data, n);
	while (n < length) {
		uint64_t m = MIN(length - n, BLOCK_BYTES);

		if (is_zero(data + n, m) != *ret_zero)
			break;
		n += m;
	}
	return n;
}

static int write_item(struct sink *sink, const uint8_t *buffer,
		      const struct plan_item *item, struct err *err)
{
	uint64_t offset = item->offset, length = item->length, n;
	const uint8_t *data = buffer + item->at;
	bool zero;
	int r = 0;

	if (item->at == PLAN_ZERO)
		return sink_zero(sink, offset, length, err);
	for (; r == 0 && length > 0; offset += n, data += n, length -= n) {
		n = alike(data, length, &zero);
		r = zero ? sink_zero(sink, offset, n, err)
			 : sink_write(sink, offset, data, n, err);
	}
	return r;
}

static int write_batch(struct exporter *e, struct one_disk *disk,
		       struct batch *batch, struct sink *sink, struct err *err)
{
	int r = check_cancelled(e, err);

	if (r == 0 && batch->result < 0)
		r = err_set(err, batch->result, "read %s'%s' at %llu",
			    disk->plain ? "" : "disk ", disk->id,
			    (unsigned long long)batch->failed_at);
	for (unsigned i = 0; r == 0 && i < batch->plan.n_items; i++)
		r = write_item(sink, batch->buffer, &batch->plan.items[i], err);
	return r < 0 ? r : target_send(e->target, &batch->mark, err);
}

/* ---- One disk -------------------------------------------------------------
 */

struct looking {
	struct exporter *exporter;
	struct export_source *source;
};

static int look(void *arg, uint64_t offset, uint64_t end, uint64_t *ret_to,
		bool *ret_hole, struct err *err)
{
	struct looking *looking = arg;
	struct export_source *source = looking->source;
	int r = enter(looking->exporter, err);

	if (r < 0)
		return r;
	r = source->ops->extent(source, offset, end, ret_to, ret_hole, err);
	leave(looking->exporter, NULL);
	return r;
}

static struct batch *batch_at(struct exporter *e, unsigned i)
{
	return &e->batches[(e->first + i) % EXPORT_BATCHES];
}

/* Has as much read as there are buffers for; *MORE: there will be more. */
static int read_ahead(struct exporter *e, struct one_disk *disk,
		      struct planner *planner, bool *more, struct err *err)
{
	while (*more && e->writing + e->reading < EXPORT_BATCHES) {
		struct batch *batch = batch_at(e, e->writing + e->reading);
		int r = planner_next(planner, &batch->plan, err);

		*more = r > 0;
		if (r > 0)
			r = begin_batch(e, batch, disk->source, err);
		if (r < 0)
			return r;
		if (*more)
			e->reading++;
	}
	return 0;
}

/* What is written makes room. */
static void reap(struct exporter *e)
{
	struct batch *batch = batch_at(e, 0);

	while (e->writing > 0 && target_is_done(e->target, batch->mark)) {
		atomic_store(&e->done, e->done_before + batch->plan.done);
		e->first = (e->first + 1) % EXPORT_BATCHES;
		e->writing--;
		batch = batch_at(e, 0);
	}
}

/* Has the next one written, or waits until there is something to do. */
static int go_on(struct exporter *e, struct one_disk *disk, struct sink *sink,
		 struct err *err)
{
	struct batch *batch = batch_at(e, e->writing);

	if (e->reading == 0 || !is_read(e, batch))
		return target_wait(e->target, err);
	e->reading--;
	e->writing++;
	return write_batch(e, disk, batch, sink, err);
}

static int copy_disk(struct exporter *e, struct one_disk *disk,
		     struct sink *sink, struct err *err)
{
	struct looking looking = {e, disk->source};
	struct planner *planner = malloc(sizeof(*planner));
	bool more = true;
	int r = 0;

	if (!planner)
		return err_set(err, -ENOMEM, "export");
	planner_init(planner, disk->bytes, disk->changed, look, &looking);
	do {
		reap(e);
		r = read_ahead(e, disk, planner, &more, err);
		if (r == 0 && e->reading + e->writing > 0)
			r = go_on(e, disk, sink, err);
	} while (r == 0 && (more || e->reading + e->writing > 0));
	for (; e->reading > 0; e->reading--)
		await_batch(e, batch_at(e, e->writing + e->reading - 1));
	e->done_before += planner_total(planner);
	free(planner);
	return r;
}

static int hash_disk(struct exporter *e, struct one_disk *disk, struct err *err)
{
	struct sink sink;
	int r = sink_open_hash(&sink, disk->bytes, err);

	if (r == 0)
		r = copy_disk(e, disk, &sink, err);
	if (r == 0)
		r = check_cancelled(e, err);
	if (r == 0)
		r = sink_finish_hash(&sink, disk->digest, err);
	if (r == 0)
		atomic_store(&e->done, e->done_before);
	sink_close(&sink);
	return r;
}

static int export_disk(struct exporter *e, unsigned i, struct err *err)
{
	struct one_disk *disk = &e->disks[i];
	const struct qcow2_target target = {
	    .target = e->target,
	    .file = i,
	    .name = disk->id,
	    .bytes = disk->bytes,
	    .backing = *disk->backing ? disk->backing : NULL,
	    .backing_format = "qcow2",
	};
	struct sink sink;
	int r = sink_open(&sink, &target, disk->plain, err);

	if (r == 0)
		r = copy_disk(e, disk, &sink, err);
	if (r == 0)
		r = check_cancelled(e, err);
	if (r == 0)
		r = sink_finish(&sink, err);
	if (r == 0)
		r = target_drain(e->target, err);
	if (r == 0) {
		disk->result.data_bytes = sink_data_bytes(&sink);
		disk->result.file_bytes = sink_file_bytes(&sink);
		atomic_store(&e->done, e->done_before);
	}
	sink_close(&sink);
	return r;
}

/* ---- The thread -----------------------------------------------------------
 */

static void *run(void *arg)
{
	struct exporter *e = arg;
	int r = 0;

	(void)pthread_setname_np(pthread_self(), "export");
	for (unsigned i = 0; r == 0 && i < e->n; i++)
		r = e->disks[i].hash ? hash_disk(e, &e->disks[i], &e->err)
				     : export_disk(e, i, &e->err);
	if (r == 0)
		r = target_end(e->target, &e->err);
	r = explain(e, r, &e->err);
	if (r == 0)
		e->err.code = 0;
	target_close(e->target);
	e->ended(e->arg);
	return NULL;
}

/* ---- Life ------------------------------------------------------------------
 */

static void release(struct exporter *e)
{
	target_free(e->target);
	(void)pthread_mutex_destroy(&e->lock);
	(void)pthread_cond_destroy(&e->changed);
	free(e);
}

static void fill_disk(struct one_disk *to, const struct export_disk *from)
{
	*to = (struct one_disk){.plain = from->plain,
				.hash = from->hash,
				.source = from->source,
				.changed = from->changed,
				.bytes = from->bytes};
	(void)snprintf(to->id, sizeof(to->id), "%s", from->id);
	(void)snprintf(to->backing, sizeof(to->backing), "%s",
		       from->backing ? from->backing : "");
}

static void add_total(struct exporter *e, const struct one_disk *disk)
{
	struct planner planner;

	planner_init(&planner, disk->bytes, disk->changed, NULL, NULL);
	e->total += planner_total(&planner);
}

static int prepare(struct exporter *e, const struct export_disk *disks,
		   int *fds, struct err *err)
{
	int r;

	(void)pthread_mutex_init(&e->lock, NULL);
	(void)pthread_cond_init(&e->changed, NULL);
	for (unsigned i = 0; i < e->n; i++) {
		fill_disk(&e->disks[i], &disks[i]);
		add_total(e, &e->disks[i]);
		if (!disks[i].hash)
			e->names[e->n_files++] = e->disks[i].id;
	}
	r = target_new(fds, e->names, e->n_files, &e->target, err);
	for (unsigned i = 0; r == 0 && i < EXPORT_BATCHES; i++) {
		e->batches[i].exporter = e;
		e->batches[i].buffer =
		    target_data(e->target) + (size_t)i * PLAN_BYTES;
	}
	return r;
}

int exporter_start(const struct export_disk *disks, unsigned n, int *fds,
		   void (*ended)(void *arg), void *arg,
		   struct exporter **ret_exporter, struct err *err)
{
	struct exporter *e = calloc(1, sizeof(*e) + n * sizeof(e->disks[0]));
	int r;

	if (!e)
		return err_set(err, -ENOMEM, "export");
	e->ended = ended;
	e->arg = arg;
	e->n = n;
	r = prepare(e, disks, fds, err);
	/* ENDED may ask for it before this returns */
	*ret_exporter = e;
	if (r == 0) {
		r = -pthread_create(&e->thread, NULL, run, e);
		if (r < 0)
			err_set(err, r, "start a thread");
	}
	if (r < 0) {
		*ret_exporter = NULL;
		release(e);
	}
	return r;
}

struct exporter *exporter_free(struct exporter *e)
{
	if (!e)
		return NULL;
	(void)pthread_join(e->thread, NULL);
	for (unsigned i = 0; i < e->n; i++)
		blockset_free(e->disks[i].changed);
	release(e);
	return NULL;
}

static void cancel(struct exporter *e, const char *reason)
{
	if (!atomic_load(&e->cancelled))
		(void)snprintf(e->reason, sizeof(e->reason), "%s", reason);
	atomic_store(&e->cancelled, true);
	target_cancel(e->target);
}

void exporter_cancel(struct exporter *e, const char *reason)
{
	(void)pthread_mutex_lock(&e->lock);
	cancel(e, reason);
	(void)pthread_mutex_unlock(&e->lock);
}

void exporter_stop(struct exporter *e, const char *reason)
{
	(void)pthread_mutex_lock(&e->lock);
	cancel(e, reason);
	while (e->users > 0)
		(void)pthread_cond_wait(&e->changed, &e->lock);
	(void)pthread_mutex_unlock(&e->lock);
}

void exporter_progress(const struct exporter *e, uint64_t *ret_done,
		       uint64_t *ret_total)
{
	*ret_done = atomic_load(&e->done);
	*ret_total = e->total;
}

int exporter_outcome(const struct exporter *e, struct err *err)
{
	if (e->err.code && err)
		*err = e->err;
	return e->err.code;
}

struct export_result exporter_result(const struct exporter *e, unsigned disk)
{
	return e->disks[disk].result;
}

const uint8_t *exporter_hash(const struct exporter *e, unsigned disk)
{
	return e->disks[disk].digest;
}
