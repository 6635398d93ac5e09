/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is remembered of changes that somebody wants to ask about later: one
 * small file each in LIB/jobs, besides what is in memory.
 *
 * Invariants:
 *  1. A record is nobody's until it was told: it counts against JOB_RECORDS_MAX
 *     but is neither found nor on disk, and may be dropped without a trace.
 *  2. A told one is kept until JOB_KEEP_MS after its end, whatever happens but
 *     a power cut: beyond JOB_RECORDS_MAX new ones are refused, old ones never
 *     dropped.
 *  3. A file is replaced whole, before who told it goes on, and never synced:
 *     nothing here waits for a disk.  A kill loses nothing; after a power cut a
 *     record may be missing, or say that it runs although it has ended.
 *  4. One that ran when refpointd ended has failed when the next one reads it.
 *  5. Time is counted on CLOCK_BOOTTIME, which never goes back; the time of day
 *     is only shown.  For a record of another boot JOB_KEEP_MS begin anew when
 *     it is read first.
 */
#ifndef JOB_RECORD_H
#define JOB_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/guid.h"
#include "common/limits.h"

#define JOB_KEEP_MS      300000 /* after its end */
#define JOB_RECORDS_MAX  1024
#define JOB_METHOD_BYTES 16

enum record_state {
	RECORD_RUNNING,
	RECORD_COMPLETED,
	RECORD_FAILED,
	RECORD_CANCELLED,
};

struct record_time {
	uint64_t ms; /* CLOCK_BOOTTIME */
	int64_t ns;  /* CLOCK_REALTIME */
};

struct record {
	struct record *next;
	struct guid id;
	char method[JOB_METHOD_BYTES]; /* "Create" */
	char vm[VM_NAME_BYTES];
	struct guid vm_uuid;
	bool has_point, has_snapshot;
	struct guid point, snapshot;
	char owner[CALLER_NAME_BYTES];
	enum record_state state;
	bool told;
	bool cancelling; /* it is to be undone once it is done */
	/* In memory only, while it runs: how far it is, and how it is cancelled
	 * at once, which may end it (NULL: it cannot be). */
	unsigned percent;
	void (*cancel)(void *arg);
	void *cancel_arg;
	struct record_time begun, changed;
	int code; /* of the failure; 0: none */
	char message[ERR_TEXT_BYTES];
};

struct records;

/* Reads LIB/jobs, which is made if it is not there; what is no record there is
 * removed.  BOOT: this boot's id (NULL: asks the kernel); NOW: the time (NULL:
 * asks the kernel). */
int records_open(const char *lib, const char *boot,
		 struct record_time (*now)(void), struct records **ret_records,
		 struct err *err);
struct records *records_close(struct records *records);

/* A new one, which runs and was not told.  -RP_ELIMIT.  It is the registry's,
 * good until it is dropped or, once it has ended, until the loop is back. */
int record_begin(struct records *records, const char *method, const char *vm,
		 const struct guid *uuid, const char *owner,
		 struct record **ret_record, struct err *err);
/* From now on it is there, running. */
void record_tell(struct records *records, struct record *record);
/* From now on it is there, and over.  WHY: its code and text are kept, NULL:
 * none; a text may stand with code 0. */
void record_end(struct records *records, struct record *record,
		enum record_state state, const struct err *why);
/* One that was not told is forgotten. */
void record_drop(struct records *records, struct record *record);

/* Told ones only; NULL: there is none. */
struct record *records_find(struct records *records, const struct guid *id);
/* Newest first, until FN says non-zero. */
int records_each(struct records *records,
		 int (*fn)(void *arg, const struct record *record), void *arg);
/* How long it took, or takes until now. */
uint64_t record_elapsed_ms(const struct records *records,
			   const struct record *record);
const char *record_state_name(enum record_state state);

#endif
