/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's path.  A mutating request is worked off in pieces that never
 * cross a region's border:
 *
 *   serialise  wait for every overlapping piece in flight (there is at most
 *              one piece of a block in flight, so the order on disk is the
 *              order of completion)
 *   mark       T1, T2; may wait for the keeper
 *   log        the guard's turn, then the logger's
 *   submit     stamp the time, then hand it to the disk
 *   complete   the logger's turn; leave the epoch; wake what waited for this
 * piece; next piece, or FUA's sync, or done, which may be held by E2
 *
 * Rejected: marking a whole request at once.  A discard of 4 GiB would need
 * 256 hot regions and hold the thread while it marks; in pieces it needs one.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "disk/faulty.h"
#include "disk/posix.h"
#include "track/internal.h"

#define AHEAD 16 /* regions that a waiting request asks for at once */

enum request_state {
	REQUEST_IDLE,
	REQUEST_SERIALISED, /* on another one's held list */
	REQUEST_WAITING,    /* for its region */
	REQUEST_SUBMITTED,
	REQUEST_SYNCING, /* FUA, or a flush */
	REQUEST_HELD,    /* by E2 */
};

const char *volume_id(const struct volume *volume)
{
	return volume->vm->disks[volume->ordinal].id;
}

uint64_t volume_bytes(const struct volume *volume)
{
	return volume->bytes;
}

bool volume_can_discard(const struct volume *volume)
{
	return volume->geometry.can_discard;
}

uint32_t volume_ordinal(const struct volume *volume)
{
	return volume->ordinal;
}

struct file *volume_image(const struct volume *volume)
{
	return volume->image;
}

struct ioq *volume_ioq(const struct volume *volume)
{
	return volume->queue->ioq;
}

void volume_post(const struct volume *volume, struct ring_task *task)
{
	volume->queue->post(volume->queue->arg, task);
}

int volume_fd(const struct volume *volume)
{
	struct file *file = faulty_file_inner(volume->image);

	return posix_is_file(file) ? posix_file_fd(file) : -1;
}

static bool mutates(enum volume_op op)
{
	return op == VOLUME_WRITE || op == VOLUME_ZERO || op == VOLUME_DISCARD;
}

static void piece_begin(struct volume_request *request);

/* ---- pieces in flight -------------------------------------------------------
 */

/* By whole blocks: what is copied before a write (struct volume_guard) must
 * not meet another write of the same block. */
static struct volume_request *overlapping(struct volume *volume,
					  const struct volume_request *request)
{
	uint64_t start = round_down(request->position, BLOCK_BYTES);
	uint64_t end =
	    round_up(request->position + request->piece, BLOCK_BYTES);

	for (struct volume_request *r = volume->inflight; r; r = r->next)
		if (round_down(r->position, BLOCK_BYTES) < end &&
		    start < r->position + r->piece)
			return r;
	return NULL;
}

static void inflight_add(struct volume *volume, struct volume_request *request)
{
	request->prev = NULL;
	request->next = volume->inflight;
	if (request->next)
		request->next->prev = request;
	volume->inflight = request;
}

static void inflight_remove(struct volume *volume,
			    struct volume_request *request)
{
	if (request->prev)
		request->prev->next = request->next;
	else
		volume->inflight = request->next;
	if (request->next)
		request->next->prev = request->prev;
	request->next = request->prev = NULL;
}

/* Those that waited for this piece try again, oldest first. */
static void held_resume(struct volume_request *held)
{
	while (held) {
		struct volume_request *next = held->next;

		held->next = NULL;
		piece_begin(held);
		held = next;
	}
}

/* ---- completion ------------------------------------------------------- */

static void request_finish(struct volume_request *request)
{
	struct track_queue *queue = request->volume->queue;

	if (mutates(request->op) &&
	    !epoch_may_complete(&queue->epoch, request->epoch)) {
		request->state = REQUEST_HELD;
		request->next = NULL;
		*queue->held_end = request;
		queue->held_end = &request->next;
		return;
	}
	request->state = REQUEST_IDLE;
	queue->requests--;
	request->done(request, request->result);
}

void queue_released(void *arg)
{
	struct track_queue *queue = arg;
	struct volume_request *request = queue->held;

	queue->held = NULL;
	queue->held_end = &queue->held;
	while (request) {
		struct volume_request *next = request->next;

		request_finish(request);
		request = next;
	}
}

static void sync_add(struct track_queue *queue, struct volume_request *request)
{
	request->sync = atomic_load(&queue->syncs_begun) + 1;
	request->next = NULL;
	*queue->syncs_end = request;
	queue->syncs_end = &request->next;
	/* Before the kernel may begin it: see check_syncs() in seal.c. */
	atomic_store(&queue->syncs_begun, request->sync);
}

static void sync_remove(struct track_queue *queue,
			struct volume_request *request)
{
	struct volume_request **at = &queue->syncs;

	while (*at != request)
		at = &(*at)->next;
	*at = request->next;
	if (!*at)
		queue->syncs_end = at;
	atomic_store(&queue->syncs_over,
		     queue->syncs ? queue->syncs->sync - 1
				  : atomic_load(&queue->syncs_begun));
	epoch_changed(&queue->vm->epoch);
}

uint64_t volume_syncs(const struct volume *volume)
{
	return volume->queue ? atomic_load(&volume->queue->syncs_begun) : 0;
}

bool volume_sync_counts(const struct volume *volume, uint64_t syncs)
{
	const struct track_queue *queue = volume->queue;

	return (!queue || atomic_load(&queue->syncs_over) >= syncs) &&
	       atomic_load(&volume->vm->syncing) == 0 &&
	       !atomic_load(&volume->vm->sync_failed);
}

void volume_sync_failed(struct volume *volume, int result)
{
	atomic_store(&volume->owed, result);
	atomic_store(&volume->vm->sync_failed, true);
}

/* The image's sync, or the log's. */
static void sync_over(struct volume_request *request)
{
	struct volume_logger *logger = request->volume->vm->logger;

	if (--request->syncing > 0)
		return;
	if (request->logged)
		logger->synced(logger, request, request->result);
	request->logged = NULL;
	request_finish(request);
}

void volume_synced(struct volume_request *request)
{
	sync_over(request);
}

static void sync_done(struct io *io, int result)
{
	struct volume_request *request =
	    container_of(io, struct volume_request, io);

	if (result < 0)
		atomic_store(&request->volume->vm->sync_failed, true);
	else if (request->op == VOLUME_FLUSH || request->flags & VOLUME_FUA)
		result = atomic_exchange(&request->volume->owed, 0);
	sync_remove(request->volume->queue, request);
	if (request->result == 0)
		request->result = result;
	sync_over(request);
}

static void request_sync(struct volume_request *request)
{
	struct volume_logger *logger = request->volume->vm->logger;
	struct io *io = &request->io;

	request->state = REQUEST_SYNCING;
	request->syncing = 1;
	request->logged = NULL;
	if (logger && !logger->sync(logger, request))
		request->syncing++;
	sync_add(request->volume->queue, request);
	io->op = IO_SYNC;
	io->flags = 0;
	io->file = request->volume->image;
	io->offset = io->length = 0;
	io->buf = NULL;
	io->done = sync_done;
	ioq_submit(request->volume->queue->ioq, io);
}

/* T11. */
static void region_leave(struct volume *volume, struct volume_request *request)
{
	struct region *region =
	    &volume->regions[request->position >> REGION_SHIFT];

	if (!request->inside)
		return;
	request->inside = false;
	(void)pthread_mutex_lock(&volume->lock);
	region->inside--;
	region->over = ++volume->over;
	(void)pthread_mutex_unlock(&volume->lock);
}

uint64_t volume_pieces_over(struct volume *volume)
{
	uint64_t over;

	(void)pthread_mutex_lock(&volume->lock);
	over = volume->over;
	(void)pthread_mutex_unlock(&volume->lock);
	return over;
}

void volume_settled(struct volume *volume, uint64_t over)
{
	(void)pthread_mutex_lock(&volume->lock);
	volume->settled = MAX(volume->settled, over);
	(void)pthread_mutex_unlock(&volume->lock);
	if (atomic_exchange(&volume->vm->settling, false))
		retire_wake(volume->vm);
}

static void piece_over(struct volume_request *request, int result)
{
	struct volume *volume = request->volume;
	struct volume_request *held = request->held;

	inflight_remove(volume, request);
	region_leave(volume, request);
	volume->queue->writes--;
	epoch_leave(&volume->queue->epoch, request->epoch);
	request->held = NULL;
	request->logged = NULL;
	request->position += request->piece;
	request->result = result;
	if (result == 0 &&
	    request->position < request->offset + request->length)
		piece_begin(request);
	else if (result == 0 && request->flags & VOLUME_FUA)
		request_sync(request);
	else
		request_finish(request);
	held_resume(held);
}

void volume_over(struct volume_request *request)
{
	piece_over(request, request->result);
}

static void piece_done(struct io *io, int result)
{
	struct volume_request *request =
	    container_of(io, struct volume_request, io);
	struct volume_logger *logger = request->volume->vm->logger;

	/* A file that cannot discard keeps its content: no harm done. */
	if (io->op == IO_DISCARD && result == -EOPNOTSUPP)
		result = 0;
	request->result = result;
	if (!request->logged || logger->written(logger, request, result))
		piece_over(request, result);
}

/* ---- submission ------------------------------------------------------- */

static void piece_submit(struct volume_request *request)
{
	static const enum io_op ops[] = {
	    [VOLUME_WRITE] = IO_WRITE,
	    [VOLUME_ZERO] = IO_ZERO,
	    [VOLUME_DISCARD] = IO_DISCARD,
	};
	struct volume *volume = request->volume;
	struct vm *vm = volume->vm;
	struct io *io = &request->io;

	request->state = REQUEST_SUBMITTED;
	volume->queue->writes++;
	volume->wrote = true;
	atomic_store_explicit(
	    &volume->live[request->epoch & 1].state->last_submission_ns,
	    (uint64_t)vm->env.now_ns(vm->env.arg), memory_order_release);
	io->op = ops[request->op];
	if (request->logged && request->op == VOLUME_DISCARD)
		io->op = IO_ZERO; /* as the log says */
	io->flags = request->flags & VOLUME_NO_HOLE ? IO_NO_HOLE : 0;
	io->file = volume->image;
	io->offset = request->position;
	io->length = request->piece;
	io->buf = (void *)request->bytes;
	io->done = piece_done;
	ioq_submit(volume->queue->ioq, io);
}

/* Are all bits of [first, end) set?  Acquire: whoever set them did so after
 * their region's intent was durable (T3). */
static bool bits_all_set(_Atomic uint64_t *bits, uint64_t first, uint64_t end)
{
	while (first < end) {
		uint64_t n = MIN(end - first, 64 - first % 64);
		uint64_t mask = (n == 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1)
				<< first % 64;

		if ((atomic_load_explicit(&bits[first / 64],
					  memory_order_acquire) &
		     mask) != mask)
			return false;
		first += n;
	}
	return true;
}

static void bits_set(_Atomic uint64_t *bits, uint64_t first, uint64_t end)
{
	while (first < end) {
		uint64_t n = MIN(end - first, 64 - first % 64);
		uint64_t mask = (n == 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1)
				<< first % 64;

		atomic_fetch_or_explicit(&bits[first / 64], mask,
					 memory_order_release);
		first += n;
	}
}

/* With the volume's lock held. */
static void region_want(struct volume *volume, uint32_t index)
{
	if (volume->regions[index].state != REGION_COLD ||
	    volume->wanted_count >= volume->vm->system.hot_regions)
		return;
	volume->regions[index].state = REGION_WANTED;
	volume->wanted[volume->wanted_count++] = index;
}

/* With the volume's lock held. */
static void wait_for_region(struct volume *volume,
			    struct volume_request *request, uint32_t index)
{
	struct vm *vm = volume->vm;
	uint32_t last =
	    (uint32_t)((request->offset + request->length - 1) >> REGION_SHIFT);

	request->state = REQUEST_WAITING;
	request->waiting = NULL;
	atomic_fetch_add(&vm->waiting, 1);
	*volume->waiters_end = request;
	volume->waiters_end = &request->waiting;
	if (!request->waiting_since_ns)
		request->waiting_since_ns = track_monotonic_ns();
	/* A long request will want its next regions too: they may as well
	 * share the sync. */
	for (uint32_t i = index; i <= last && i < index + AHEAD; i++)
		region_want(volume, i);
}

/* T1: false if the request must wait for its region; it is then on the
 * volume's list of waiters. */
static bool piece_mark(struct volume_request *request)
{
	struct volume *volume = request->volume;
	struct vm *vm = volume->vm;
	uint64_t first = request->position >> BLOCK_SHIFT;
	uint64_t end = (request->position + request->piece + BLOCK_BYTES - 1) >>
		       BLOCK_SHIFT;
	uint32_t index = (uint32_t)(request->position >> REGION_SHIFT);
	struct region *region = &volume->regions[index];
	_Atomic uint64_t *bits =
	    volume_bits(volume,
			atomic_load_explicit(&volume->queue->epoch.adopted,
					     memory_order_relaxed));
	bool ready = true, strict;

	atomic_store_explicit(&region->used,
			      atomic_load_explicit(&vm->tick,
						   memory_order_relaxed),
			      memory_order_relaxed);
	strict = atomic_load(&vm->strict);
	if (!strict && bits_all_set(bits, first, end))
		return true;
	(void)pthread_mutex_lock(&volume->lock);
	if (region->state == REGION_HOT) {
		bits_set(bits, first, end);
		region->marks++;
		if (strict) {
			region->inside++;
			request->inside = true;
		}
		if (request->state == REQUEST_WAITING)
			atomic_fetch_add_explicit(&vm->counts.waited_writes, 1,
						  memory_order_relaxed);
	} else if (atomic_load(&vm->latch) == LATCH_ON) {
		bits_set(bits, first, end); /* T10: worth nothing, costs as
					       little */
	} else {
		wait_for_region(volume, request, index);
		ready = false;
	}
	(void)pthread_mutex_unlock(&volume->lock);
	if (!ready)
		keeper_wake(vm);
	return ready;
}

void volume_logged(struct volume_request *request)
{
	piece_submit(request);
}

/* The logger's turn. */
static void piece_log(struct volume_request *request)
{
	struct volume_logger *logger = request->volume->vm->logger;

	request->bytes =
	    request->op == VOLUME_WRITE
		? (char *)request->data + (request->position - request->offset)
		: NULL;
	if (!logger || logger->add(logger, request))
		piece_submit(request);
}

/* Marked or not yet: the epoch is entered only together with the mark (E1). */
static void piece_mark_and_submit(struct volume_request *request)
{
	struct volume_guard *guard = request->volume->vm->guard;

	if (!request->volume->vm->untracked && !piece_mark(request))
		return;
	request->epoch = epoch_enter(&request->volume->queue->epoch);
	if (!guard || guard->before(guard, request))
		piece_log(request);
}

void volume_go_on(struct volume_request *request)
{
	piece_log(request);
}

void volume_skip(struct volume_request *request)
{
	request->volume->queue->writes++;
	piece_over(request, 0);
}

static void piece_begin(struct volume_request *request)
{
	struct volume *volume = request->volume;
	uint64_t border = (request->position | (REGION_BYTES - 1)) + 1;
	struct volume_request *other;

	request->piece =
	    MIN(request->offset + request->length, border) - request->position;
	other = overlapping(volume, request);
	if (other) {
		struct volume_request **end = &other->held;

		while (*end)
			end = &(*end)->next;
		request->state = REQUEST_SERIALISED;
		request->next = NULL;
		*end = request;
		return;
	}
	request->waiting_since_ns = 0;
	inflight_add(volume, request);
	piece_mark_and_submit(request);
}

static void read_done(struct io *io, int result)
{
	struct volume_request *request =
	    container_of(io, struct volume_request, io);

	request->result = result;
	request_finish(request);
}

static void submit_read(struct volume_request *request)
{
	struct io *io = &request->io;

	io->op = IO_READ;
	io->flags = 0;
	io->file = request->volume->image;
	io->offset = request->offset;
	io->length = request->length;
	io->buf = request->data;
	io->done = read_done;
	ioq_submit(request->volume->queue->ioq, io);
}

void volume_submit(struct volume *volume, struct volume_request *request)
{
	assert(request->op == VOLUME_FLUSH ||
	       (request->length > 0 && request->length <= volume->bytes &&
		request->offset <= volume->bytes - request->length));
	request->volume = volume;
	request->next = request->prev = request->held = NULL;
	request->position = request->offset;
	request->piece = 0;
	request->epoch = 0;
	request->guarded_ns = request->held_since_ns = 0;
	request->logged = NULL;
	request->inside = false;
	request->result = 0;
	request->state = REQUEST_SUBMITTED;
	volume->queue->requests++;
	volume->queue->begun++;
	switch (request->op) {
	case VOLUME_READ:
		submit_read(request);
		break;
	case VOLUME_FLUSH:
		request_sync(request);
		break;
	case VOLUME_WRITE:
	case VOLUME_ZERO:
	case VOLUME_DISCARD:
		piece_begin(request);
		break;
	}
}

uint64_t volume_requests(const struct volume *volume)
{
	return volume->queue->begun;
}

/* ---- waiters ---------------------------------------------------------- */

static struct volume_request *take_waiters(struct volume *volume)
{
	struct volume_request *waiters;

	(void)pthread_mutex_lock(&volume->lock);
	waiters = volume->waiters;
	volume->waiters = NULL;
	volume->waiters_end = &volume->waiters;
	(void)pthread_mutex_unlock(&volume->lock);
	return waiters;
}

/* On the queue's thread: everybody who waited for a region tries again; those
 * whose region is still not hot wait again, in the same order. */
static void retry_task(struct ring_task *task)
{
	struct track_queue *queue =
	    container_of(task, struct track_queue, retry);
	struct vm *vm = queue->vm;

	atomic_store(&queue->retry_posted, false);
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		struct volume_request *r;

		if (vm->volumes[i].queue != queue)
			continue;
		for (r = take_waiters(&vm->volumes[i]); r;) {
			struct volume_request *next = r->waiting;

			r->waiting = NULL;
			atomic_fetch_sub(&vm->waiting, 1);
			piece_mark_and_submit(r);
			r = next;
		}
	}
	atomic_fetch_sub(&queue->retries, 1); /* the last of it */
}

void queue_retry(struct track_queue *queue)
{
	if (atomic_exchange(&queue->retry_posted, true))
		return;
	atomic_fetch_add(&queue->retries, 1);
	queue->retry.run = retry_task;
	queue->post(queue->arg, &queue->retry);
}

uint64_t vm_queue_inflight(const struct track_queue *queue)
{
	return queue->requests;
}

/* ---- the queue's tick ------------------------------------------------- */

static void stall_check(struct volume *volume)
{
	char reason[REASON_BYTES];
	uint64_t since = 0;

	(void)pthread_mutex_lock(&volume->lock);
	for (const struct volume_request *r = volume->waiters; r;
	     r = r->waiting)
		if (!since || r->waiting_since_ns < since)
			since = r->waiting_since_ns;
	(void)pthread_mutex_unlock(&volume->lock);
	if (!since ||
	    track_monotonic_ns() - since < STORE_STALL_MS * UINT64_C(1000000))
		return;
	(void)snprintf(reason, sizeof(reason),
		       "the store did not answer for %u ms while disk '%s' "
		       "waited to write",
		       STORE_STALL_MS, volume_id(volume));
	latch_begin(volume->vm, reason);
}

void vm_tick(struct track_queue *queue)
{
	struct vm *vm = queue->vm;
	uint64_t now = (uint64_t)vm->env.now_ns(vm->env.arg);
	unsigned parity = atomic_load(&queue->epoch.adopted) & 1;

	atomic_store_explicit(&vm->tick,
			      (uint32_t)(track_monotonic_ns() / 1000000u),
			      memory_order_relaxed);
	for (uint32_t i = 0; i < vm->disk_count; i++) {
		struct volume *volume = &vm->volumes[i];

		if (volume->queue != queue)
			continue;
		/* A slow disk may set the image's times long after we
		 * submitted; while that may be, the stamp keeps up. */
		if (volume->inflight)
			atomic_store_explicit(
			    &volume->live[parity].state->last_submission_ns,
			    now, memory_order_release);
		stall_check(volume);
	}
	latch_tick(vm);
}
