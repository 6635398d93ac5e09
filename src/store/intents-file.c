/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file of intent records.
 *
 *   I1  Record S stands in slot S % INTENT_SLOTS.
 *   I2  The next record has the number after the newest durable one, until it
 *       is committed: what was written and never committed is overwritten, so
 *       that at most one slot is not durable, and it is never the slot of the
 *       record in force.
 *   I3  What intents_open() calls in force is durable.  A process killed before
 *       its sync leaves a record that only the page cache has; a sync at the
 *       beginning makes it durable.  If that process's sync failed, the kernel
 *       may hold such a record for clean, and a sync says nothing (D4); so it
 *       is written anew, into the next slot.
 *
 * With more than two slots a record that just ceased to be in force stays
 * readable for some time, which nothing depends on, but helps a person who
 * looks for what went wrong.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "store/files.h"
#include "store/preallocated.h"

#define NAME       "intents"
#define FILE_BYTES (INTENT_SLOTS * (uint64_t)INTENT_SLOT_BYTES)

struct record {
	uint64_t sequence; /* 0: there is none */
	uint32_t count;
	struct intent *intents; /* INTENT_ENTRIES_MAX; made when needed */
};

struct intents_file {
	struct file *file;
	struct guid store;
	struct guid live;
	uint64_t
	    newest; /* sequence of the newest durable record, of any live */
	struct record in_force;
	struct record written; /* and not committed */
	uint8_t buf[INTENT_SLOT_BYTES];
};

int intents_create(struct fs *fs, struct err *err)
{
	return preallocated_create(fs, NAME, FILE_BYTES, false, err);
}

struct intents_file *intents_close(struct intents_file *file)
{
	if (!file)
		return NULL;
	file_close(file->file);
	free(file->in_force.intents);
	free(file->written.intents);
	free(file);
	return NULL;
}

static void swap_records(struct intents_file *file)
{
	struct record record = file->in_force;

	file->in_force = file->written;
	file->written = record;
	file->written.sequence = 0;
}

static int record_room(struct record *record, struct err *err)
{
	if (!record->intents)
		record->intents =
		    malloc(INTENT_ENTRIES_MAX * sizeof(record->intents[0]));
	return record->intents ? 0 : err_set(err, -ENOMEM, NAME);
}

/* ---- opening ---------------------------------------------------------- */

struct scan {
	unsigned torn; /* slots */
	unsigned torn_slot;
};

/* Takes the valid record HEAD, whose entries are in file->written. */
static int take_record(struct intents_file *file, unsigned slot,
		       const struct intent_head *head, struct err *err)
{
	if (!guid_equal(&head->store, &file->store))
		return err_set(err, -RP_ECORRUPT,
			       NAME ": slot %u is of another store", slot);
	if (head->sequence % INTENT_SLOTS != slot)
		return err_set(err, -RP_ECORRUPT,
			       NAME ": record %" PRIu64 " is in slot %u",
			       head->sequence, slot);
	file->newest = MAX(file->newest, head->sequence);
	if (!guid_equal(&head->live, &file->live) ||
	    head->sequence < file->in_force.sequence)
		return 0;
	file->written.sequence = head->sequence;
	file->written.count = head->entries;
	swap_records(file);
	return 0;
}

static int read_slot(struct intents_file *file, unsigned slot,
		     struct scan *scan, struct err *err)
{
	struct intent_head head;
	int r = record_room(&file->written, err);

	if (r == 0)
		r = file_read_all(file->file, file->buf, INTENT_SLOT_BYTES,
				  slot * (uint64_t)INTENT_SLOT_BYTES, err);
	if (r < 0)
		return r;
	r = intents_decode(file->buf, INTENT_SLOT_BYTES, &head,
			   file->written.intents, err);
	if (r == -ENODATA)
		return 0;
	if (r == -RP_ECORRUPT) {
		scan->torn++;
		scan->torn_slot = slot;
		return 0;
	}
	return r < 0 ? r : take_record(file, slot, &head, err);
}

/* The number that the next record gets, see I2; only one that is in force from
 * before a record of another live id can be in the way. */
static uint64_t next_sequence(const struct intents_file *file)
{
	uint64_t next = file->newest + 1;

	if (file->in_force.sequence &&
	    (next - file->in_force.sequence) % INTENT_SLOTS == 0)
		next++;
	return next;
}

static int check_torn(const struct intents_file *file, const struct scan *scan,
		      struct err *err)
{
	if (scan->torn > 1)
		return err_set(err, -RP_ECORRUPT,
			       NAME
			       ": %u slots are damaged, a crash leaves one",
			       scan->torn);
	if (scan->torn == 1 &&
	    scan->torn_slot != (file->newest + 1) % INTENT_SLOTS &&
	    scan->torn_slot != (file->newest + 2) % INTENT_SLOTS)
		return err_set(err, -RP_ECORRUPT,
			       NAME ": slot %u is damaged, but was not the "
				    "next to be written",
			       scan->torn_slot);
	return 0;
}

static int read_all(struct intents_file *file, struct err *err)
{
	struct scan scan = {0};
	int r = file_sync(file->file, err);

	for (unsigned slot = 0; slot < INTENT_SLOTS && r == 0; slot++)
		r = read_slot(file, slot, &scan, err);
	return r < 0 ? r : check_torn(file, &scan, err);
}

/* Writes the record in force anew and durably (I3). */
static int renew(struct intents_file *file, struct err *err)
{
	int r = intents_write(file, file->in_force.intents,
			      file->in_force.count, err);

	if (r == 0)
		r = file_sync(file->file, err);
	if (r == 0)
		intents_commit(file);
	return r;
}

int intents_open(struct fs *fs, const struct guid *store,
		 const struct guid *live, struct intents_file **ret_file,
		 bool *ret_found, struct err *err)
{
	struct intents_file *file = calloc(1, sizeof(*file));
	int r;

	if (!file)
		return err_set(err, -ENOMEM, NAME);
	file->store = *store;
	file->live = *live;
	r = preallocated_open(fs, NAME, FILE_BYTES, &file->file, err);
	if (r == 0)
		r = read_all(file, err);
	if (r == 0 && file->in_force.sequence)
		r = renew(file, err);
	if (r < 0) {
		intents_close(file);
		return r;
	}
	*ret_file = file;
	*ret_found = file->in_force.sequence != 0;
	return 0;
}

/* ---- use -------------------------------------------------------------- */

const struct intent *intents_in_force(const struct intents_file *file,
				      uint32_t *ret_count)
{
	*ret_count = file->in_force.sequence ? file->in_force.count : 0;
	return file->in_force.intents;
}

void intents_rebind(struct intents_file *file, const struct guid *live)
{
	file->live = *live;
	file->written.sequence = 0;
}

int intents_write(struct intents_file *file, const struct intent *intents,
		  uint32_t count, struct err *err)
{
	struct intent_head head = {file->store, file->live, next_sequence(file),
				   count};
	uint64_t slot = head.sequence % INTENT_SLOTS;
	uint32_t bytes;
	int r;

	if (count > INTENT_ENTRIES_MAX)
		return err_set(err, -RP_ELIMIT,
			       NAME ": %" PRIu32
				    " hot regions, %u are possible",
			       count, (unsigned)INTENT_ENTRIES_MAX);
	r = record_room(&file->written, err);
	if (r < 0)
		return r;
	file->written.sequence = 0;
	bytes = intents_encode(&head, intents, file->buf);
	r = file_write(file->file, file->buf, bytes, slot * INTENT_SLOT_BYTES,
		       err);
	if (r < 0)
		return r;
	if (count)
		memcpy(file->written.intents, intents,
		       count * sizeof(intents[0]));
	file->written.count = count;
	file->written.sequence = head.sequence;
	return 0;
}

void intents_commit(struct intents_file *file)
{
	if (!file->written.sequence)
		return;
	file->newest = file->written.sequence;
	swap_records(file);
}

struct file *intents_sync_file(struct intents_file *file)
{
	return file->file;
}
