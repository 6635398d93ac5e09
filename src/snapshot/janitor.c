/* SPDX-License-Identifier: Apache-2.0 */
/* The janitor: N9.  He lives while the disks are attached. */
#include <errno.h>
#include <time.h>

#include "snapshot/internal.h"

/* The next one that is invalid and holds space yet, with a reference. */
static struct snapshot *next_to_release(struct snapshots *snapshots)
{
	struct snapshot *s;

	snapshots_lock(snapshots);
	for (s = snapshots->list; s; s = s->next)
		if (s->ready && atomic_load(&s->invalid) && !s->released)
			break;
	if (s) {
		s->released = true;
		snapshot_ref(s);
	}
	snapshots_unlock(snapshots);
	return s;
}

static void look_at_room(struct snapshots *snapshots)
{
	bool any = false;
	int64_t room;

	snapshots_lock(snapshots);
	for (struct snapshot *s = snapshots->list; s; s = s->next)
		any |= snapshot_is_valid(s);
	snapshots_unlock(snapshots);
	if (any && snapshots_room(snapshots, &room, NULL) == 0)
		atomic_store(&snapshots->room, room);
}

static void bury(struct snapshots *snapshots)
{
	struct snapshot *s;

	do {
		snapshots_lock(snapshots);
		s = snapshots->doomed;
		if (s)
			snapshots->doomed = s->next;
		snapshots_unlock(snapshots);
		if (s)
			snapshot_destroy(s);
	} while (s);
}

void janitor_work(struct snapshots *snapshots)
{
	struct snapshot *s;

	bury(snapshots);
	while ((s = next_to_release(snapshots))) {
		files_release(s);
		snapshot_unref(s);
	}
	look_at_room(snapshots);
}

static void *janitor_run(void *arg)
{
	struct snapshots *snapshots = arg;
	struct timespec until;

	(void)pthread_setname_np(pthread_self(), "janitor");
	snapshots_lock(snapshots);
	while (!snapshots->stopping) {
		snapshots_unlock(snapshots);
		janitor_work(snapshots);
		(void)clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += VM_TICK_MS * 1000000;
		if (until.tv_nsec >= 1000000000) {
			until.tv_nsec -= 1000000000;
			until.tv_sec++;
		}
		snapshots_lock(snapshots);
		if (!snapshots->stopping && !snapshots->doomed)
			(void)pthread_cond_timedwait(&snapshots->wake,
						     &snapshots->lock, &until);
	}
	snapshots_unlock(snapshots);
	return NULL;
}

int janitor_start(struct snapshots *snapshots, struct err *err)
{
	int r;

	if (!vm_environment(snapshots->vm)->threads)
		return 0;
	snapshots->stopping = false;
	r = pthread_create(&snapshots->janitor, NULL, janitor_run, snapshots);
	if (r)
		return err_set(err, -r, "start a thread");
	snapshots->janitor_runs = true;
	return 0;
}

void janitor_stop(struct snapshots *snapshots)
{
	if (snapshots->janitor_runs) {
		snapshots_lock(snapshots);
		snapshots->stopping = true;
		(void)pthread_cond_signal(&snapshots->wake);
		snapshots_unlock(snapshots);
		(void)pthread_join(snapshots->janitor, NULL);
		snapshots_lock(snapshots);
		snapshots->janitor_runs = false;
		snapshots_unlock(snapshots);
	}
	bury(snapshots);
}

bool janitor_take(struct snapshots *snapshots, struct snapshot *s)
{
	bool runs;

	snapshots_lock(snapshots);
	runs = snapshots->janitor_runs;
	if (runs) {
		s->next = snapshots->doomed;
		snapshots->doomed = s;
		(void)pthread_cond_signal(&snapshots->wake);
	}
	snapshots_unlock(snapshots);
	return runs;
}
