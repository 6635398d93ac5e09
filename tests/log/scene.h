/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Disks with logs on the simulator, and a guest that writes to them.
 *
 * Every disk begins with zeros, so its log, applied to zeros, must give what
 * the image holds.  Each sector that the guest writes has bytes of its own, so
 * order shows.  What the guest wrote from changes as soon as the log has it.
 *
 *   S1  scene_check(): log applied to zeros is the image, bit for bit, by the
 *       sidecar's records, whose data and order are checked
 *   S2  scene_close(): the same of the closed log by hrl/reader.h
 *   S3  what an io is writing stays as it was until it is done
 *   S4  with nothing under way no slot of the table is taken
 *   S6  a kill is mended as a kill, once no power cut is left to mend
 *   S5  a flush record that is durable is honoured: nothing up to its sequence
 *       is to be mended again
 */
#ifndef TESTS_LOG_SCENE_H
#define TESTS_LOG_SCENE_H

#include "log/stream.h"
#include "sim/sim.h"

#define SCENE_DISKS    3
#define SCENE_REQUESTS 12
#define SCENE_BYTES    KIB(256)
#define SCENE_WATCHED  128

struct scene;

/* A write of the guest's. */
struct scene_write {
	struct log_piece piece;
	struct io io;
	struct scene *scene;
	unsigned disk;
	bool busy;
	struct log_piece mend;
	uint8_t *source; /* what the guest hands out */
	uint8_t *truth;  /* what it said then */
};

struct scene_flush {
	struct log_flush flush;
	struct io io;
	struct scene *scene;
	unsigned disk;
	unsigned wait; /* for log, for image */
	bool busy;
	bool failed;
	uint64_t serial;  /* of what was submitted before */
	uint64_t promise; /* sequence of a flush record before */
};

struct scene_disk {
	struct log_stream *stream;
	struct file *image;
	struct guid point;
	char name[16];
	struct scene_flush flush;
	/* Of each block: when it was last submitted, and what a sync of the
	 * log covers. */
	uint64_t submitted[SCENE_BYTES / BLOCK_BYTES];
	uint64_t covered;
	uint64_t recorded; /* sequence of the newest flush record */
	uint64_t promised; /* likewise, that is durable */
	bool mending;
	bool unsettled; /* a power cut is not mended yet */
	bool dropped;
	bool lost; /* it was, in an earlier life */
	bool closed;
	int close_result;
};

/* What an io of a stream's or the image's was to write. */
struct scene_watch {
	struct io *io;
	void (*done)(struct io *io, int result);
	uint8_t *copy;
};

struct scene {
	struct sim *sim;
	struct fs *store;
	struct fs *memory;
	struct ioq *ioq;
	struct ioq watched; /* hands on to ioq */
	struct scene_watch watches[SCENE_WATCHED];
	struct log_clock clock;
	struct log_budget budget;
	struct guid id;
	struct scene_disk disks[SCENE_DISKS];
	struct scene_write writes[SCENE_REQUESTS];
	uint64_t serial;
	int64_t ticks_ms;
	bool large; /* writes of up to 64 KiB, else 16 */
	bool small; /* of a sector */
	bool stale; /* files held something else */
	bool ending;
	uint64_t mends; /* of failed writes */
};

struct scene *scene_new(uint64_t seed);
struct scene *scene_free(struct scene *s);

/* New logs, in files that hold an older log's bytes if STALE. */
int scene_create(struct scene *s, bool stale, struct err *err);
/* Something random; nothing in a dead world. */
void scene_step(struct scene *s);
bool scene_write(struct scene *s, unsigned disk, uint64_t offset,
		 uint64_t length, bool zeros);
void scene_flush(struct scene *s, unsigned disk);
/* Until nothing is under way. */
void scene_settle(struct scene *s);
/* Ends the program: clean, or dead. */
void scene_stop(struct scene *s);
/* After sim_reboot(): takes all logs up and mends them; false: died again. */
bool scene_recover(struct scene *s, enum log_ended ended);
void scene_check(struct scene *s);
bool scene_close(struct scene *s);
void scene_turn(struct scene *s);

#endif
