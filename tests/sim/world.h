/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The simulator's inside.
 *
 *   W1  A node's `current` is what reads see; `durable` is what is guaranteed;
 *       `records`, in the order of their numbers, lead from the one to the
 *       other but for sectors that a failed sync lost.
 *   W2  A directory's `names[DURABLE]` and `names_ops` likewise lead to
 *       `names[CURRENT]`.
 *   W3  Nodes in memory have no records; their names are never durable.
 *   W4  A node lives while a name, a name's change, a handle or a request
 *       refers to it.
 */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#include "common/bytes.h"
#include "sim/content.h"
#include "sim/sim.h"

#define SIM_SECTOR 512u

/* Bytes shared between records, requests and worlds. */
struct blob {
	unsigned refs;
	uint8_t b[];
};

struct blob *blob_new(const void *data, uint64_t bytes);
struct blob *blob_get(struct blob *blob); /* accepts NULL */
void blob_put(struct blob *blob);         /* accepts NULL */

enum record_kind {
	RECORD_WRITE,
	RECORD_RESIZE, /* to `bytes` */
	RECORD_ALLOCATE,
};

/* One unsynced change of a file. */
struct record {
	struct record *next;
	uint64_t number; /* in the world's one order */
	enum record_kind kind;
	uint64_t offset;
	uint64_t bytes;
	struct blob *data; /* NULL: zeros */
	/* One byte per sector touched (a change of size: one), non-zero where
	 * it is lost for ever.  NULL: none is. */
	uint8_t *lost;
};

/* Mapped memory of a file; the node's while alive, the handles' after. */
struct sim_map {
	unsigned refs;
	uint8_t *addr;
	uint64_t bytes;
};

struct node {
	struct node *next;
	uint64_t id;
	unsigned refs;
	unsigned named;   /* in names[CURRENT] */
	unsigned handles; /* open ones */
	bool image;
	struct dir *dir;
	struct content current;
	struct content durable;
	struct record *records;
	struct sim_map *map; /* NULL: not mapped */
	bool stale;          /* reads may show what a failed sync lost */
	int64_t mtime;
	int64_t mtime_synced;
	int64_t ctime;
	struct guid nonce;
	struct node *copy; /* while a world is copied */
};

struct name {
	char text[96];
	struct node *node;
};

enum {
	CURRENT,
	DURABLE
};

struct names {
	struct name *v;
	unsigned count;
	unsigned room;
};

/* One unsynced change of names: NODE is now called TO, or has no name. */
struct name_op {
	struct name_op *next;
	uint64_t number;
	struct node *node;
	char to[96];       /* "": unlinked */
	uint64_t replaced; /* id of the node that it replaced on purpose; 0 */
	bool done;         /* while a cut is resolved */
};

struct dir {
	struct dir *next;
	char name[96];
	bool memory;
	uint64_t limit;
	struct names names[2];
	struct name_op *ops;
	struct dir *copy; /* while a world is copied */
};

/* A request in a queue, or (io NULL) what is left of it after its program. */
struct flight {
	struct flight *next;
	struct io *io;
	enum io_op op;
	struct node *node;
	uint64_t offset;
	uint64_t bytes;
	struct blob *data;
	uint64_t number; /* IO_SYNC covers the records up to this */
	int error;       /* injected: positive errno */
	bool dead;
	bool over; /* only its completion is left to tell */
};

struct failure {
	struct failure *next;
	unsigned ops;
	unsigned nth;
	int error;
	bool sticky;
	bool any;
	char glob[96];
};

struct sim_ioq {
	struct ioq ioq;
	struct sim *sim;
	unsigned life;
	struct sim_ioq *next;
};

struct sim {
	uint64_t random;
	int64_t now;
	int64_t boot_time;
	struct guid boot_id;
	uint64_t next_number; /* of records and name_ops */
	uint64_t next_id;     /* of nodes */
	struct node *nodes;
	struct dir *dirs;
	struct dir *images;
	struct flight *flights; /* oldest first */
	struct flight *ghosts;
	struct sim_ioq *queues;

	unsigned life; /* handles of an earlier one are dead */
	bool dead;
	enum sim_death death; /* the last one */
	int64_t death_time;
	uint64_t ops;
	uint64_t die_at;
	enum sim_death die_how;
	enum sim_cut die_cut;

	struct failure *failures;
	uint64_t failed;
	bool in_hook;
	void (*on_op)(void *arg, const struct sim_event *event);
	void *on_op_arg;
	void (*on_image_write)(void *arg, const struct io *io);
	void *on_image_write_arg;
};

/* ---- node.c: content, durable and not ---- */

struct node *node_new(struct sim *sim, struct dir *dir);
struct node *node_get(struct node *node);
void node_put(struct sim *sim, struct node *node);
struct node *node_copy(struct sim *to, const struct node *node);

void node_read(const struct node *node, void *buf, uint64_t bytes,
	       uint64_t offset);
uint64_t node_bytes(const struct node *node);
/* LOST: as in struct record, taken over; those sectors are not written. */
void node_write(struct sim *sim, struct node *node, struct blob *data,
		uint64_t bytes, uint64_t offset, uint8_t *lost);
/* The program dies, or the write fails with CODE: what of it takes effect?  A
 * killed write(2) stops between two pages, so does one that finds no room; a
 * device's error may spare any sector. */
void node_write_part(struct sim *sim, struct node *node, struct blob *data,
		     uint64_t bytes, uint64_t offset, int code);
void node_resize(struct sim *sim, struct node *node, uint64_t bytes);
void node_allocate(struct sim *sim, struct node *node, uint64_t offset,
		   uint64_t bytes);
/* Of the records numbered up to NUMBER. */
void node_sync(struct node *node, uint64_t number);
void node_sync_failed(struct sim *sim, struct node *node, uint64_t number);
/* Reads show no longer what was lost. */
void node_evict(struct node *node);
/* Sectors that [offset, offset + bytes) touches; at least 1. */
uint64_t sectors(uint64_t offset, uint64_t bytes);

int node_map(struct sim *sim, struct node *node, struct sim_map **ret_map);
void node_unmap(struct node *node); /* back into `current` */
void map_put(struct sim_map *map);

/* What a cut decided: does sector I of what has this number survive? */
struct verdict {
	enum sim_cut cut;
	uint64_t number; /* the one where REORDER and TORN turn */
	uint64_t odds;   /* of 8, for RANDOM */
};
bool verdict_survives(struct sim *sim, const struct verdict *verdict,
		      uint64_t number);
void node_cut(struct sim *sim, struct node *node, const struct verdict *v);

/* ---- dir.c: names, files, directories ---- */

struct dir *dir_new(struct sim *sim, const char *name, bool memory);
struct dir *dir_find(const struct sim *sim, const char *name);
void dir_free(struct sim *sim, struct dir *dir);
struct dir *dir_copy(struct sim *to, const struct dir *dir);
void dir_cut(struct sim *sim, struct dir *dir, const struct verdict *v);
struct node *dir_lookup(const struct dir *dir, int which, const char *name);
void dir_add_image(struct sim *sim, const char *name, struct node *node);
/* Pages that may still be taken. */
uint64_t dir_room(const struct sim *sim, const struct dir *dir);

/* ---- file.c ---- */

struct sim_file {
	struct file file;
	struct sim *sim;
	struct node *node;
	unsigned life;
	bool writable;
	bool durable; /* shows what is guaranteed */
	struct sim_map *map;
};

struct file *sim_file_new(struct sim *sim, struct node *node, const char *name,
			  bool writable, bool durable);
/* How many of BYTES at OFFSET may be written: all, or what space is left for.*/
uint64_t node_fits(const struct sim *sim, const struct node *node,
		   uint64_t bytes, uint64_t offset);

/* ---- queue.c ---- */

/* The program is gone: what it had in flight may land. */
void flights_die(struct sim *sim);
/* Requests of the dead are forgotten. */
void flights_forget(struct sim *sim);
void flight_free(struct sim *sim, struct flight *flight);
/* A ghost in TO of what F has in flight. */
void flight_haunt(struct sim *to, const struct flight *f, struct node *node);
/* All ghosts become records, in random order: whole, or at random. */
void ghosts_land(struct sim *sim, bool whole);

/* ---- sim.c: the way into each operation, and out ---- */

enum effect {
	EFFECT_NONE,
	EFFECT_PART,
	EFFECT_ALL
};

struct gate {
	struct sim *sim;
	struct sim_event event;
	const char *match; /* what globs are matched with */
	unsigned life;
	uint64_t number; /* of the last record when it began */
	bool blocking;
	/* set by gate_enter(): */
	enum effect effect;
	int code;
	bool dies;
};

/* 0: have EFFECT (unless NONE), then return gate_leave(); else the code. */
int gate_enter(struct gate *gate, struct err *err);
int gate_leave(struct gate *gate, struct err *err);
/* There was no room, which counts unless it failed already. */
void gate_no_room(struct gate *gate);
int gate_error(const struct gate *gate, int code, struct err *err);
const char *op_name(enum sim_op op);
/* 0, or the positive errno that is to be injected. */
int failure_due(struct sim *sim, enum sim_op op, const char *name);

#endif
