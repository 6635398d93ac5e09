/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Copying before a write: N1, N2, N3, N8.
 *
 * A piece that would change blocks which some snapshots lack waits for a
 * `struct copy`: run by run it reads what the blocks hold, once, writes that to
 * the scratch of each snapshot that lacks it, and sets their bits; then the
 * piece goes on.  A run ends where another set of snapshots lacks the next
 * block: what a snapshot has already must not be written again.
 *
 * Each disk has copies of its own, used by its queue's thread alone; if all are
 * busy the piece waits for one.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "format/frame.h"
#include "snapshot/internal.h"

struct copy;

struct copy_write {
	struct io io;
	struct copy *copy;
	struct snapshot *target;
	bool wanted; /* lacks the run */
	bool busy;
};

struct copy {
	struct snapshots *snapshots; /* NULL: serving ended before it (N8) */
	struct copying *home;
	struct copy *next;
	struct volume *volume;
	struct volume_request *request; /* NULL: it went on without us */
	uint64_t first;                 /* blocks to look at: [first, end) */
	uint64_t end;
	uint64_t run;      /* blocks in work, from `first` */
	uint64_t since_ns; /* the run's writes were submitted; 0: none */
	unsigned pending;  /* ios in flight */
	unsigned targets;
	struct copy_write writes[SNAPSHOTS_PER_VM_MAX];
	struct io read;
	uint8_t *buf;
};

static void step(struct copy *copy);

/* ---- who lacks what ------------------------------------------------------ */

static bool lacks(const struct snapshot *s, uint32_t disk, uint64_t block)
{
	return snapshot_is_valid(s) && block < s->disks[disk].blocks &&
	       !kept_has(&s->disks[disk], block);
}

static bool lacks_any(const struct snapshot *s, uint32_t disk, uint64_t first,
		      uint64_t end)
{
	end = MIN(end, s->disks[disk].blocks);
	return first < end && (!kept_has(&s->disks[disk], first) ||
			       kept_run(&s->disks[disk], first, end) < end);
}

/* The snapshots for which the piece has to be copied, with a reference each. */
static unsigned collect(struct snapshots *snapshots,
			const struct volume_request *request,
			struct snapshot *targets[SNAPSHOTS_PER_VM_MAX])
{
	uint32_t disk = volume_ordinal(request->volume);
	uint64_t first = request->position >> BLOCK_SHIFT;
	uint64_t end =
	    div_round_up(request->position + request->piece, BLOCK_BYTES);
	unsigned n = 0;

	snapshots_lock(snapshots);
	for (struct snapshot *s = snapshots->list;
	     s && n < SNAPSHOTS_PER_VM_MAX; s = s->next) {
		if (request->epoch < s->first_epoch || !snapshot_is_valid(s) ||
		    atomic_load(&s->cloned) || !lacks_any(s, disk, first, end))
			continue;
		snapshot_ref(s);
		targets[n++] = s;
	}
	snapshots_unlock(snapshots);
	return n;
}

static void release(struct snapshot **targets, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		snapshot_unref(targets[i]);
}

/* ---- copies -------------------------------------------------------------- */

static struct copy *copy_new(struct snapshots *snapshots, struct copying *home)
{
	struct copy *copy = calloc(1, sizeof(*copy));

	if (!copy)
		return NULL;
	copy->buf = aligned_alloc(BLOCK_BYTES, SNAPSHOT_COPY_BYTES);
	if (!copy->buf) {
		free(copy);
		return NULL;
	}
	copy->snapshots = snapshots;
	copy->home = home;
	for (unsigned i = 0; i < SNAPSHOTS_PER_VM_MAX; i++)
		copy->writes[i].copy = copy;
	home->copies++;
	return copy;
}

/* NULL: all are busy, or there is no memory. */
static struct copy *copy_take(struct snapshots *snapshots, struct copying *home)
{
	struct copy *copy = home->idle;

	if (copy)
		home->idle = copy->next;
	else if (home->copies < snapshots->copies_max)
		copy = copy_new(snapshots, home);
	if (!copy)
		return NULL;
	copy->next = home->active;
	home->active = copy;
	return copy;
}

static void copy_give(struct copy *copy)
{
	struct copying *home = copy->home;
	struct copy **at = &home->active;

	for (unsigned i = 0; i < copy->targets; i++)
		snapshot_unref(copy->writes[i].target);
	copy->targets = 0;
	while (*at != copy)
		at = &(*at)->next;
	*at = copy->next;
	copy->next = home->idle;
	home->idle = copy;
}

/* Those that waited for a copy look again, oldest first. */
static void resume_waiting(struct snapshots *snapshots, struct copying *home)
{
	struct volume_request *request = home->waiting;
	uint64_t now = snapshot_now_ns();

	home->waiting = NULL;
	home->waiting_end = &home->waiting;
	while (request) {
		struct volume_request *next = request->waiting;

		request->waiting = NULL;
		request->guarded_ns += now - request->held_since_ns;
		if (copy_before(&snapshots->guard, request))
			volume_go_on(request);
		request = next;
	}
}

static void finish(struct copy *copy)
{
	struct volume_request *request = copy->request;
	struct snapshots *snapshots = copy->snapshots;
	struct copying *home = copy->home;

	copy->request = NULL;
	copy_give(copy);
	volume_go_on(request);
	if (home->waiting)
		resume_waiting(snapshots, home);
}

/* ---- one run ------------------------------------------------------------- */

static uint64_t run_bytes(const struct copy *copy)
{
	return MIN(copy->run << BLOCK_SHIFT,
		   volume_bytes(copy->volume) - (copy->first << BLOCK_SHIFT));
}

/* The next blocks that the same targets lack; false if there are none. */
static bool next_run(struct copy *copy)
{
	uint32_t disk = volume_ordinal(copy->volume);
	bool any = false;

	for (; !any && copy->first < copy->end; copy->first += !any)
		for (unsigned i = 0; i < copy->targets; i++)
			any |= copy->writes[i].wanted =
			    lacks(copy->writes[i].target, disk, copy->first);
	if (!any)
		return false;
	for (copy->run = 1; copy->run < SNAPSHOT_COPY_BYTES / BLOCK_BYTES &&
			    copy->first + copy->run < copy->end;
	     copy->run++)
		for (unsigned i = 0; i < copy->targets; i++)
			if (lacks(copy->writes[i].target, disk,
				  copy->first + copy->run) !=
			    copy->writes[i].wanted)
				return true;
	return true;
}

/* N2 */
static void set_bits(struct copy *copy, struct copy_write *write)
{
	struct kept *kept = &write->target->disks[volume_ordinal(copy->volume)];

	for (uint64_t b = copy->first; b < copy->first + copy->run; b++)
		atomic_fetch_or_explicit(&kept->map.bits[b / 64],
					 UINT64_C(1) << b % 64,
					 memory_order_release);
}

static void run_done(struct copy *copy)
{
	if (copy->since_ns)
		copy->request->guarded_ns += snapshot_now_ns() - copy->since_ns;
	copy->since_ns = 0;
	for (unsigned i = 0; i < copy->targets; i++)
		if (copy->writes[i].wanted &&
		    snapshot_is_valid(copy->writes[i].target))
			set_bits(copy, &copy->writes[i]);
	copy->first += copy->run;
	step(copy);
}

static void copy_free(struct copy *copy)
{
	free(copy->buf);
	free(copy);
}

/* ---- late ones: N8 -------------------------------------------------------
 *
 * A copy without a request was given up on.  Serving may end meanwhile, on
 * another thread: whoever of the two comes first has `late`.  One with a
 * request is the queue's thread's alone, as serving does not end before its
 * request.
 */

static pthread_mutex_t late = PTHREAD_MUTEX_INITIALIZER;

/* Its last io is over.  Serving had ended before. */
static void bury(struct copy *copy)
{
	for (unsigned i = 0; i < copy->targets; i++)
		snapshot_unref_late(copy->writes[i].target);
	copy_free(copy);
}

/* Its last io is over while it is served yet: what it holds is good for those
 * that are valid, as a discard was left out instead.  True: somebody waits for
 * a copy. */
static bool come_home(struct copy *copy)
{
	struct copying *home = copy->home;

	for (unsigned i = 0; i < copy->targets; i++)
		if (copy->writes[i].wanted &&
		    snapshot_is_valid(copy->writes[i].target))
			set_bits(copy, &copy->writes[i]);
	copy_give(copy);
	return home->waiting;
}

static void note_written(struct copy *copy, struct copy_write *write,
			 int result)
{
	write->busy = false;
	atomic_fetch_sub(&copy->snapshots->inflight, (int64_t)write->io.length);
	if (result < 0)
		snapshot_invalidate(write->target,
				    "writing to its scratch file failed: %s",
				    strerror(err_errno(result)));
}

/* False: it is not late.  WRITE NULL: what is over is its read. */
static bool is_late(struct copy *copy, struct copy_write *write, int result)
{
	struct snapshots *snapshots;
	struct copying *home;
	bool waited = false, is;

	(void)pthread_mutex_lock(&late);
	snapshots = copy->snapshots;
	home = copy->home;
	is = !snapshots || !copy->request;
	if (is && snapshots && write)
		note_written(copy, write, result);
	if (is && --copy->pending == 0) {
		if (snapshots)
			waited = come_home(copy);
		else
			bury(copy);
	}
	(void)pthread_mutex_unlock(&late);
	if (waited) /* and so serving goes on */
		resume_waiting(snapshots, home);
	return is;
}

static void write_done(struct io *io, int result)
{
	struct copy_write *write = container_of(io, struct copy_write, io);
	struct copy *copy = write->copy;

	if (is_late(copy, write, result))
		return;
	note_written(copy, write, result);
	if (--copy->pending == 0)
		run_done(copy);
}

/* Room for one snapshot's part of the run; else it is invalid. */
static bool take_room(struct copy *copy, struct snapshot *s, uint64_t bytes)
{
	struct kept *kept = &s->disks[volume_ordinal(copy->volume)];
	uint64_t all = bytes;

	for (uint32_t i = 0; s->limit_bytes && i < s->count; i++)
		all += atomic_load(&s->disks[i].map.state->copied_bytes);
	if (s->limit_bytes && all > s->limit_bytes) {
		snapshot_invalidate(s,
				    "its limit of %" PRIu64
				    " bytes of scratch is used up",
				    s->limit_bytes);
		return false;
	}
	if (atomic_fetch_sub(&copy->snapshots->room, (int64_t)bytes) <
	    (int64_t)bytes) {
		snapshot_invalidate(s, "the store's file system has no room "
				       "but what is kept for tracking");
		return false;
	}
	atomic_fetch_add(&kept->map.state->copied_bytes, bytes);
	return true;
}

static void write_one(struct copy *copy, struct copy_write *write)
{
	struct io *io = &write->io;

	write->busy = true;
	copy->pending++;
	atomic_fetch_add(&copy->snapshots->inflight, (int64_t)run_bytes(copy));
	io->op = IO_WRITE;
	io->flags = 0;
	io->file = write->target->disks[volume_ordinal(copy->volume)].scratch;
	io->offset = copy->first << BLOCK_SHIFT;
	io->length = run_bytes(copy);
	io->buf = copy->buf;
	io->done = write_done;
	ioq_submit(volume_ioq(copy->volume), io);
}

static void write_run(struct copy *copy)
{
	bool zeros = bytes_are_zero(copy->buf, run_bytes(copy));

	for (unsigned i = 0; !zeros && i < copy->targets; i++) {
		struct copy_write *write = &copy->writes[i];

		if (write->wanted && snapshot_is_valid(write->target) &&
		    take_room(copy, write->target, run_bytes(copy)))
			write_one(copy, write);
	}
	if (copy->pending)
		copy->since_ns = snapshot_now_ns();
	else
		run_done(copy);
}

static void read_done(struct io *io, int result)
{
	struct copy *copy = container_of(io, struct copy, read);

	if (is_late(copy, NULL, result))
		return;
	copy->pending--;
	for (unsigned i = 0; result < 0 && i < copy->targets; i++)
		snapshot_invalidate(copy->writes[i].target,
				    "disk '%s' could not be read at %" PRIu64
				    ": %s",
				    volume_id(copy->volume),
				    copy->first << BLOCK_SHIFT,
				    strerror(err_errno(result)));
	write_run(copy);
}

static void step(struct copy *copy)
{
	struct io *io = &copy->read;

	if (!next_run(copy)) {
		finish(copy);
		return;
	}
	copy->pending++;
	io->op = IO_READ;
	io->flags = 0;
	io->file = volume_image(copy->volume);
	io->offset = copy->first << BLOCK_SHIFT;
	io->length = run_bytes(copy);
	io->buf = copy->buf;
	io->done = read_done;
	ioq_submit(volume_ioq(copy->volume), io);
}

/* ---- the guard ----------------------------------------------------------- */

static void wait_for_copy(struct copying *home, struct volume_request *request)
{
	request->waiting = NULL;
	request->held_since_ns = snapshot_now_ns();
	*home->waiting_end = request;
	home->waiting_end = &request->waiting;
}

static void begin(struct copy *copy, struct volume_request *request,
		  struct snapshot **targets, unsigned n)
{
	copy->request = request;
	copy->volume = request->volume;
	copy->first = request->position >> BLOCK_SHIFT;
	copy->end =
	    div_round_up(request->position + request->piece, BLOCK_BYTES);
	copy->run = 0;
	copy->since_ns = 0;
	copy->pending = 0;
	copy->targets = n;
	for (unsigned i = 0; i < n; i++)
		copy->writes[i].target = targets[i];
	step(copy);
}

static void invalidate_all(struct snapshot **targets, unsigned n,
			   const char *reason)
{
	for (unsigned i = 0; i < n; i++)
		snapshot_invalidate(targets[i], "%s", reason);
	release(targets, n);
}

static bool is_overdue(const struct volume_request *request, uint64_t more_ns)
{
	return request->guarded_ns + more_ns >
	       SNAPSHOT_PAUSE_MS * UINT64_C(1000000);
}

/* N8: true if the piece may be submitted now; else it was skipped. */
static bool let_go(struct volume_request *request, struct snapshot **targets,
		   unsigned n)
{
	if (request->op == VOLUME_DISCARD) {
		release(targets, n);
		volume_skip(request);
		return false;
	}
	invalidate_all(targets, n,
		       "the store took too long for the copies of one write");
	return true;
}

bool copy_before(struct volume_guard *guard, struct volume_request *request)
{
	struct snapshots *snapshots =
	    container_of(guard, struct snapshots, guard);
	struct copying *home =
	    &snapshots->copying[volume_ordinal(request->volume)];
	struct snapshot *targets[SNAPSHOTS_PER_VM_MAX];
	unsigned n = collect(snapshots, request, targets);
	struct copy *copy;

	if (n == 0)
		return true;
	if (is_overdue(request, 0))
		return let_go(request, targets, n);
	copy = copy_take(snapshots, home);
	if (copy) {
		begin(copy, request, targets, n);
		return false;
	}
	if (home->active) {
		release(targets, n);
		wait_for_copy(home, request);
		return false;
	}
	invalidate_all(targets, n, "no memory to copy with");
	return true;
}

/* ---- the tick ------------------------------------------------------------ */

/* N8: of all targets, as some may lack later runs of the piece. */
static void give_up(struct copy *copy)
{
	struct volume_request *request = copy->request;

	request->guarded_ns += snapshot_now_ns() - copy->since_ns;
	copy->request = NULL;
	if (request->op == VOLUME_DISCARD) {
		volume_skip(request);
		return;
	}
	for (unsigned i = 0; i < copy->targets; i++)
		snapshot_invalidate(copy->writes[i].target,
				    "the store did not take a copy in time");
	volume_go_on(request);
}

static bool hangs(const struct copy *copy, uint64_t now)
{
	return copy->request && copy->since_ns &&
	       (now - copy->since_ns > SNAPSHOT_STALL_MS * UINT64_C(1000000) ||
		is_overdue(copy->request, now - copy->since_ns));
}

/* The first that hangs; giving one up changes the list. */
static struct copy *find_hanging(const struct copying *home, uint64_t now)
{
	struct copy *copy = home->active;

	while (copy && !hangs(copy, now))
		copy = copy->next;
	return copy;
}

static bool any_overdue(const struct copying *home, uint64_t now)
{
	const struct volume_request *r = home->waiting;

	while (r && !is_overdue(r, now - r->held_since_ns))
		r = r->waiting;
	return r;
}

void copying_tick(struct snapshots *snapshots)
{
	uint64_t now = snapshot_now_ns();

	for (uint32_t d = 0; d < vm_disk_count(snapshots->vm); d++) {
		struct copying *home = &snapshots->copying[d];
		struct copy *copy;
		bool look = any_overdue(home, now);

		while ((copy = find_hanging(home, now))) {
			give_up(copy);
			look = true;
		}
		if (look)
			resume_waiting(snapshots, home);
	}
}

/* ---- life ---------------------------------------------------------------- */

int copying_init(struct snapshots *snapshots, struct err *err)
{
	uint32_t n = vm_disk_count(snapshots->vm);

	snapshots->copying = calloc(n, sizeof(*snapshots->copying));
	if (!snapshots->copying)
		return err_set(err, -ENOMEM, "snapshots");
	snapshots->copies_max = MAX(SNAPSHOT_COPIES_MAX / n, 4u);
	for (uint32_t i = 0; i < n; i++)
		snapshots->copying[i].waiting_end =
		    &snapshots->copying[i].waiting;
	return 0;
}

/* N8: the guest's write went on without it long ago. */
static void orphan(struct copy *copy)
{
	for (unsigned i = 0; i < copy->targets; i++)
		if (copy->writes[i].busy)
			atomic_fetch_sub(&copy->snapshots->inflight,
					 (int64_t)copy->writes[i].io.length);
	copy->home->active = copy->next;
	copy->home = NULL;
	copy->snapshots = NULL;
}

void copying_done(struct snapshots *snapshots)
{
	(void)pthread_mutex_lock(&late);
	for (uint32_t i = 0; i < vm_disk_count(snapshots->vm); i++) {
		struct copying *home = &snapshots->copying[i];

		while (home->active)
			orphan(home->active);
		while (home->idle) {
			struct copy *copy = home->idle;

			home->idle = copy->next;
			copy_free(copy);
		}
	}
	(void)pthread_mutex_unlock(&late);
	free(snapshots->copying);
	snapshots->copying = NULL;
}
