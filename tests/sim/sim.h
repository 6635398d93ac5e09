/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine in memory behind the disk seam: directories, disks, a queue, a
 * clock, deaths of the process and of the power.
 *
 * The world outlives the program under test, the handles do not: whatever was
 * opened before a death (struct fs, struct file, struct ioq) answers
 * -RP_EDEAD from then on, also after sim_reboot(), and must still be closed
 * or freed by its owner; the test then opens anew, by name.
 *
 * The simulator takes away whatever disk/disk.h does not promise (D1-D5):
 *   S1  An unsynced write survives a power cut sector by sector (512 bytes),
 *       each on its own; a write that grew the file may leave zeros instead.
 *   S2  Creating, renaming and unlinking survive, each on its own, unless
 *       sync_dir came after; sync of a file does nothing for its name.  A
 *       file never has two names.
 *   S3  Truncating and allocating survive, each on its own, unless a sync of
 *       the file came after.
 *   S4  A sync covers what had completed when it was called, before the
 *       sim_on_op() hook ran, and no more.
 *   S5  A sync that fails loses an arbitrary subset of the unsynced sectors
 *       for ever.  Reads may go on showing them or not; and if so, may stop
 *       after the process died.  Later syncs succeed all the same.
 *   S6  A write that fails may have taken effect in part.
 *   S7  A submitted write that has not completed may survive a cut; after a
 *       kill it lands later (sim_land), before or after what a successor
 *       does, in whole, in part or not at all.
 *
 * All is decided by the seed: the same calls give the same world.  One thread
 * only.  The library aborts when it runs out of memory.
 *
 * Programs that use it link `sim` and live in tests/, as meson reads src/
 * first.  Enumerating is meant to look like this:
 *
 *	for (n = 1;; n++) {
 *		sim = sim_new(seed);
 *		sim_die_at(sim, n, SIM_CUT, SIM_CUT_RANDOM);
 *		run(sim);            // opens by name, errors out on EDEAD,
 *		                     // closes everything, notes what was acked
 *		died = sim_dead(sim);
 *		if (!died)           // also cut at the very end
 *			sim_power_cut(sim, SIM_CUT_DROP);
 *		sim_reboot(sim);
 *		check(sim);
 *		sim_free(sim);
 *		if (!died)
 *			break;
 *	}
 */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include <stdbool.h>
#include <stdint.h>

#include "common/guid.h"
#include "disk/disk.h"
#include "disk/image.h"

struct sim;

/* What the seam can be asked; bits, for sim_fail(). */
enum sim_op {
	SIM_READ = 1u << 0,
	SIM_WRITE = 1u << 1,
	SIM_SYNC = 1u << 2,
	SIM_TRUNCATE = 1u << 3,
	SIM_ALLOCATE = 1u << 4,
	SIM_CREATE = 1u << 5, /* an open with FILE_CREATE that makes a file */
	SIM_RENAME = 1u << 6,
	SIM_UNLINK = 1u << 7,
	SIM_SYNC_DIR = 1u << 8,
	SIM_MAP = 1u << 9,
	SIM_OPEN = 1u << 10, /* any other open */
	SIM_IO_READ = 1u << 16,
	SIM_IO_WRITE = 1u << 17, /* IO_WRITE and IO_ZERO */
	SIM_IO_DISCARD = 1u << 18,
	SIM_IO_SYNC = 1u << 19,
};
#define SIM_ALL       0xffffffffu
#define SIM_UNCOUNTED (SIM_READ | SIM_MAP | SIM_OPEN | SIM_IO_READ)

enum sim_death {
	SIM_KILL, /* of the process */
	SIM_CUT,  /* of the power */
};

/* What becomes of that which was not durable when the power went. */
enum sim_cut {
	SIM_CUT_DROP,    /* all is lost */
	SIM_CUT_KEEP,    /* all survives */
	SIM_CUT_RANDOM,  /* each sector, name and size by itself */
	SIM_CUT_REORDER, /* the later survives, the earlier is lost */
	SIM_CUT_TORN,    /* the earlier survives, one is torn, the rest lost */
};
#define SIM_CUTS 5

/* ---- the world -------------------------------------------------------- */

/* Never fails.  The clock starts at 2024-01-01 and gains up to 1 ms with each
 * operation. */
struct sim *sim_new(uint64_t seed);

/* Handles must have been closed, except in a world made by sim_clone().
 * Accepts NULL; returns NULL. */
struct sim *sim_free(struct sim *sim);

/* The world as it is at this instant, without the program: the copy has no
 * handles, hooks, failures or counted operations and is dead of nothing yet:
 * call sim_kill() or sim_power_cut() and then sim_reboot() on it.  SEED
 * decides what happens in it from now on.  May be called from a hook: the
 * operation at hand has not happened in the copy. */
struct sim *sim_clone(const struct sim *sim, uint64_t seed);

/* The next random number of this world, below BOUND (> 0). */
uint64_t sim_random(struct sim *sim, uint64_t bound);

int64_t sim_now_ns(const struct sim *sim);       /* CLOCK_REALTIME */
int64_t sim_boot_time_ns(const struct sim *sim); /* this boot's start */
struct guid sim_boot_id(const struct sim *sim);  /* fresh after each cut */
void sim_advance(struct sim *sim, int64_t ns);

/* ---- directories ------------------------------------------------------ */

/* A new handle to the directory NAME, which is made if it is not there: of a
 * durable file system, or of one in memory, where map() is allowed, syncs do
 * nothing, and all is lost in a power cut.  The directory itself is always
 * there.  Ends with its ops->free.  Never fails (dead: the handle is, too). */
struct fs *sim_fs(struct sim *sim, const char *name, bool memory);

/* The bytes, in pages of 4096, that the directory's files may take; beyond
 * that create, write and allocate fail with -ENOSPC (a write: its end is
 * missing).  UINT64_MAX, as at first: no limit.  sim_fs() must have made the
 * directory. */
void sim_limit(struct sim *sim, const char *fs_name, uint64_t bytes);

/* A read-only view of what is guaranteed durable in FS at the time of each
 * call to it, as if the power went then and everything unsynced was lost (of a
 * directory in memory: nothing).  Not counted, not hooked, does not fail by
 * injection, works for a dead FS.  Ends with its ops->free. */
struct fs *sim_durable_fs(struct sim *sim, const struct fs *fs);

/* ---- disks ------------------------------------------------------------ */

/* Makes the disk NAME, reading as zeros, durably.  Once for each name. */
void sim_image_new(struct sim *sim, const char *name, uint64_t bytes);

/* A handle, for reading and writing, for both halves of the seam; a disk does
 * not grow: -ENOSPC beyond its end (-EINVAL from the queue).  NULL if there is
 * no such disk. */
/* Reads find what the disk and unsynced writes hold, not what a failed sync
 * lost and the page cache still shows. */
void sim_image_drop_cache(struct sim *sim, const char *name);
struct file *sim_image_open(struct sim *sim, const char *name);

/* What a read would return now, uncounted and also when dead; or, with
 * DURABLE, what is guaranteed.  Asserts the range. */
void sim_image_peek(const struct sim *sim, const char *name, bool durable,
		    void *buf, uint64_t bytes, uint64_t offset);

/* Somebody else's write, at once durable, uncounted. */
void sim_image_poke(struct sim *sim, const char *name, const void *buf,
		    uint64_t bytes, uint64_t offset);

/* Somebody makes the disk larger, at once durable, uncounted; what is new
 * reads as zeros, and the times move.  No handle may be in use. */
void sim_image_grow(struct sim *sim, const char *name, uint64_t bytes);

/* As disk/image.h has them for a file; works when dead.  The times move when a
 * write is submitted and, after a kill, by up to 52 ms when what was in flight
 * lands; after a cut they may be those of the last sync.  The nonce is durable
 * at once, and moves ctime. */
void sim_image_stamp(const struct sim *sim, const char *name,
		     struct image_stamp *ret_stamp);
void sim_image_nonce_set(struct sim *sim, const char *name,
			 const struct guid *nonce);

/* ---- the queue -------------------------------------------------------- */

/* A new queue; lives as long as the world.  Requests of all queues stand in
 * one list, in the order of submission, until the test completes them; they
 * take effect when they complete (S7).  Any may overlap, and complete in any
 * order.  Data is taken at submission.  A discard leaves zeros.  A dead queue
 * takes requests, without effect, and completes them with -EIO when asked to;
 * sim_reboot() forgets them without a call to done(). */
struct ioq *sim_ioq_new(struct sim *sim);

unsigned sim_ioq_pending(const struct sim *sim);
struct io *sim_ioq_peek(const struct sim *sim, unsigned index);

/* The injected failure of the one at INDEX has its effect now; that it failed
 * is told when it completes. */
void sim_ioq_fail_one(struct sim *sim, unsigned index);
/* Completes the one at INDEX (0: the oldest), calling its done(), which may
 * submit and complete more. */
void sim_ioq_complete_one(struct sim *sim, unsigned index);
void sim_ioq_complete_random(struct sim *sim);
/* In random order, until none is left, also of those submitted meanwhile. */
void sim_ioq_complete_all(struct sim *sim);

/* ---- death ------------------------------------------------------------ */

/* Counted operations so far: all but SIM_UNCOUNTED; also those that fail. */
uint64_t sim_ops(const struct sim *sim);

/* Operation N (1: the first one after sim_new, or since the last reboot) is
 * the last: it returns -RP_EDEAD, with all, some or none of its effect.  CUT
 * says how, for SIM_CUT.  N = 0: never. */
void sim_die_at(struct sim *sim, uint64_t n, enum sim_death death,
		enum sim_cut cut);

/* Death now; what in the program is still running gets -RP_EDEAD.  The
 * content of directories in memory, mapped or not, is what it was in this
 * moment.  Does nothing in a dead world. */
void sim_kill(struct sim *sim);
void sim_power_cut(struct sim *sim, enum sim_cut cut);
bool sim_dead(const struct sim *sim);

/* Life after death: operations work again for handles opened from now on.
 * After a cut: a new boot id, directories in memory are empty, the clock has
 * moved on by some seconds.  Counting starts anew; hooks, failures and limits
 * stay, sim_die_at() does not. */
void sim_reboot(struct sim *sim);

/* Lets the writes that were in flight when the process was killed land, at
 * random.  Before or after sim_reboot(). */
void sim_land(struct sim *sim);

/* ---- failures --------------------------------------------------------- */

/* The NTH (1: the next) operation among OPS (bits) on a name that matches
 * GLOB (NULL: any; a file's name, a disk's name, for SIM_SYNC_DIR that of the
 * directory; for SIM_RENAME the old name) fails with ERROR (positive errno);
 * if STICKY, all further ones too.  Several may stand; the first match
 * counts. */
void sim_fail(struct sim *sim, unsigned ops, unsigned nth, int error,
	      bool sticky, const char *glob);
void sim_fail_none(struct sim *sim);

/* Failures delivered so far, those for lack of space included. */
uint64_t sim_failed(const struct sim *sim);

/* ---- hooks ------------------------------------------------------------ */

struct sim_event {
	enum sim_op op;
	const char *fs;   /* the directory's name; "" for a disk */
	const char *name; /* the file's or disk's; "" for SIM_SYNC_DIR */
	uint64_t offset;
	uint64_t bytes;
};

/* FN is called before each blocking operation, counted or not, and may use
 * the seam itself (not hooked again), complete requests, clone, kill and cut
 * the power.  A write's data is taken, at random, before or after it.  NULL
 * ends it. */
void sim_on_op(struct sim *sim,
	       void (*fn)(void *arg, const struct sim_event *event), void *arg);

/* FN is called when an IO_WRITE, IO_ZERO or IO_DISCARD is submitted and for
 * each blocking write to a disk (IO is then made up, its done NULL), before it
 * has any effect.  io->file->name is the disk's.  Also used to inspect:
 * sim_durable_fs() may be read in it. */
void sim_on_image_write(struct sim *sim,
			void (*fn)(void *arg, const struct io *io), void *arg);

#endif
