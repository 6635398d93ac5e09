/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The catalogue: what a virtual system is, its disks, points and generations,
 * in one SQLite file, catalogue.sqlite, reached through the disk seam.
 *
 * Rows are plain structs; the catalogue keeps no copy of them.  Every row
 * carries a CRC-32C of its own values, so that a damaged catalogue is refused
 * and never believed.  Changes are made inside a transaction; its commit is
 * the one instant at which they become true.
 *
 * One thread at a time.  docs/format/catalogue.md is normative.
 */
#ifndef STORE_CATALOGUE_H
#define STORE_CATALOGUE_H

#include "common/guid.h"
#include "common/limits.h"
#include "disk/disk.h"
#include "disk/image.h"

#define CATALOGUE_NAME    "catalogue.sqlite"
#define CATALOGUE_VERSION 3

/* How much an interval's answer is worth; ordered, so that joining two is
 * taking the greater. */
enum accuracy {
	ACCURACY_EXACT,   /* no block beyond those written in the interval */
	ACCURACY_WIDENED, /* and at most widened_bytes more, after a power cut
			   */
	ACCURACY_ASSUMED, /* the owner vouched for a case nobody can detect */
	ACCURACY_INVALID, /* no claim: take everything */
};
const char *accuracy_name(enum accuracy accuracy); /* "exact" ... */

struct accuracy_row {
	enum accuracy accuracy;
	uint64_t widened_bytes;
	char reason[REASON_BYTES]; /* "" if exact */
};
/* INTO becomes the worth of the two intervals together. */
void accuracy_join(struct accuracy_row *into, const struct accuracy_row *from);
/* INTO becomes at least ACCURACY, for this reason if that is worse. */
void accuracy_worsen(struct accuracy_row *into, enum accuracy accuracy,
		     const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

struct system_row {
	struct guid store;   /* made at definition */
	struct guid uuid;    /* the virtual system's */
	struct guid machine; /* /etc/machine-id of the host */
	bool force_raw;
	bool owned;           /* --owner refpoint */
	uint32_t hot_regions; /* per disk */
	uint32_t points_max;
	bool live; /* a live id is in force: not cleanly ended */
	struct guid live_id;
	struct guid boot;    /* boot id when it went live */
	struct guid widened; /* live id whose hot regions are accounted for in
				the open generation's accuracy */
	uint64_t open_generation;
	uint32_t open_file;       /* which pages file holds it: 0 or 1 */
	uint64_t next_generation; /* numbers below it may have been used */
	uint64_t next_point;      /* order of creation */
	char agent[AGENT_BYTES];  /* as of common/agent.h; "": none */
};

struct disk_row {
	uint32_t ordinal;
	char id[DISK_ID_BYTES];
	char path[PATH_BYTES];
	uint64_t bytes;
	uint64_t growing_to;      /* 0, or the size that a resize is making */
	bool stamped;             /* stamp is that of a clean end */
	struct image_stamp stamp; /* else of when it went live */
	struct guid nonce;        /* set on the image, or about to be */
	struct guid nonce_before; /* the one before it; either is ours */
};

struct generation_row {
	uint64_t generation;
	bool sealed;
	uint32_t serial; /* of its file, if sealed */
	uint32_t disks;
	/* by ordinal; one for each disk of the system */
	struct accuracy_row accuracy[DISKS_PER_VM_MAX];
};

enum point_type {
	POINT_LOG = 0,
	POINT_RCT = 1
};
enum consistency {
	CONSISTENCY_APPLICATION = 1,
	CONSISTENCY_CRASH = 2
};

/* A point, or what will be one when its snapshot is converted. */
struct point_row {
	struct guid id;
	bool snapshot; /* still a snapshot: no point yet */
	uint64_t order;
	uint32_t type;        /* enum point_type */
	uint32_t consistency; /* enum consistency */
	char label[LABEL_BYTES];
	char request_id[REQUEST_ID_BYTES]; /* "" if none */
	int64_t created_ns;                /* CLOCK_REALTIME */
	uint64_t generation;               /* the last one before the point */
	uint32_t disks;
	char tracking_id[DISKS_PER_VM_MAX][TRACKING_ID_BYTES];
	uint64_t bytes[DISKS_PER_VM_MAX]; /* the disk's size at the point */
	/* Of a point that was imported: why every answer that has it as an end
	 * is invalid; "": it is as any other. */
	char invalid[REASON_BYTES];
};

/* The logs that were begun at one cut, one for each disk: a part of the data of
 * a log-based point. */
struct log_part_row {
	struct guid origin; /* the point, made or not, at whose cut */
	struct guid point;  /* the one whose data it is a part of */
	uint64_t position;  /* order of all parts; never used again */
};

/* A log-based point that has no data any more, and why. */
struct log_lost_row {
	struct guid point;
	char reason[REASON_BYTES];
};

struct catalogue;

/* Makes an empty catalogue (-RP_EALREADY if there is one), or opens one that
 * is there (-ENOENT if not; -RP_ECORRUPT, -RP_EVERSION).  One of version 2 is
 * made one of this version by that.  FS must outlive it. */
int catalogue_create(struct fs *fs, struct catalogue **ret_catalogue,
		     struct err *err);
int catalogue_open(struct fs *fs, struct catalogue **ret_catalogue,
		   struct err *err);
struct catalogue *catalogue_close(struct catalogue *catalogue);

/* Reads everything, verifying each row; FNs get rows valid for the call only,
 * disks by ordinal, generations ascending, points in order of creation, parts
 * of logs by position.  Each may be NULL. */
struct catalogue_reader {
	void (*system)(void *arg, const struct system_row *row);
	int (*disk)(void *arg, const struct disk_row *row);
	int (*generation)(void *arg, const struct generation_row *row);
	int (*point)(void *arg, const struct point_row *row);
	int (*log_part)(void *arg, const struct log_part_row *row);
	int (*log_lost)(void *arg, const struct log_lost_row *row);
	void (*log_limit)(void *arg, uint64_t bytes); /* if one is set */
};
int catalogue_read(struct catalogue *catalogue,
		   const struct catalogue_reader *reader, void *arg,
		   struct err *err);

/* A transaction.  To put is to insert or to replace; to drop what is not there
 * is no error.  After an error of any call in between, only cancel. */
int catalogue_begin(struct catalogue *catalogue, struct err *err);
int catalogue_put_system(struct catalogue *catalogue,
			 const struct system_row *row, struct err *err);
int catalogue_put_disk(struct catalogue *catalogue, const struct disk_row *row,
		       struct err *err);
int catalogue_put_generation(struct catalogue *catalogue,
			     const struct generation_row *row, struct err *err);
int catalogue_drop_generation(struct catalogue *catalogue, uint64_t generation,
			      struct err *err);
int catalogue_put_point(struct catalogue *catalogue,
			const struct point_row *row, struct err *err);
int catalogue_drop_point(struct catalogue *catalogue, const struct guid *id,
			 struct err *err);
int catalogue_put_log_part(struct catalogue *catalogue,
			   const struct log_part_row *row, struct err *err);
int catalogue_drop_log_part(struct catalogue *catalogue,
			    const struct guid *origin, struct err *err);
int catalogue_put_log_lost(struct catalogue *catalogue,
			   const struct log_lost_row *row, struct err *err);
int catalogue_drop_log_lost(struct catalogue *catalogue,
			    const struct guid *point, struct err *err);
/* BYTES: 1 to INT64_MAX. */
int catalogue_put_log_limit(struct catalogue *catalogue, uint64_t bytes,
			    struct err *err);
int catalogue_drop_log_limit(struct catalogue *catalogue, struct err *err);
void catalogue_cancel(struct catalogue *catalogue);

/*
 * 0: durable.  On failure *RET_UNKNOWN says whether the change may
 * nevertheless be on disk: false when nothing of it can be (out of space while
 * writing), true after a failed sync.  The caller must then behave so that
 * either is right.
 */
int catalogue_commit(struct catalogue *catalogue, bool *ret_unknown,
		     struct err *err);

/* Structure and checksums of all of it (PRAGMA integrity_check and every
 * row); *RET_BYTES: the file's size. */
int catalogue_verify(struct catalogue *catalogue, uint64_t *ret_bytes,
		     struct err *err);

#endif
