/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file, in clusters: the header; data and L2 tables as they come, a table
 * behind the data that it names; the L1 table, the refcount table (one cluster,
 * which is enough for 128 TiB), the refcount blocks.
 */
#include "backup/qcow2-writer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "backup/target.h"
#include "backup/window.h"
#include "common/bytes.h"
#include "common/limits.h"

#define CLUSTER_BITS     17
#define SUBCLUSTERS      (QCOW2_CLUSTER_BYTES / QCOW2_SUBCLUSTER_BYTES)
#define TABLE_ENTRIES    (QCOW2_CLUSTER_BYTES / sizeof(struct l2_entry))
#define TABLE_COVERS     ((uint64_t)TABLE_ENTRIES * QCOW2_CLUSTER_BYTES)
#define REFCOUNT_ORDER   4                         /* 16 bits */
#define REFCOUNTS        (QCOW2_CLUSTER_BYTES / 2) /* in a block */
#define COPIED           (UINT64_C(1) << 63)
#define EXTENDED_L2      (UINT64_C(1) << 4)
#define EXTENSION_FORMAT 0xe2792acau
#define ZERO_SHIFT       32 /* of a subcluster's bits */
#define PAGE             4096u

struct header {
	be32 magic;
	be32 version;
	be64 backing_offset;
	be32 backing_bytes;
	be32 cluster_bits;
	be64 size;
	be32 crypt;
	be32 l1_entries;
	be64 l1_offset;
	be64 refcounts_offset;
	be32 refcounts_clusters;
	be32 snapshots;
	be64 snapshots_offset;
	be64 incompatible;
	be64 compatible;
	be64 autoclear;
	be32 refcount_order;
	be32 header_bytes;
};
_Static_assert(sizeof(struct header) == 104, "as published");

struct extension {
	be32 type;
	be32 bytes;
};

/* Where a cluster is, and which of its subclusters are: bit I there, bit 32 + I
 * zero. */
struct l2_entry {
	be64 where;
	be64 subclusters;
};

struct qcow2_writer {
	struct qcow2_target target;
	uint64_t at;     /* of the disk: told up to here */
	uint64_t next;   /* cluster of the file */
	uint64_t data;   /* bytes of subclusters written */
	uint64_t length; /* of the file, once finished */

	uint32_t l1_entries;
	be64 *l1;
	uint32_t table;    /* the L1 entry that `l2` is for */
	uint32_t from, to; /* of its entries that are used; none if equal */
	struct l2_entry *l2;

	/* data that goes to one place, not written yet; the caller's */
	const uint8_t *run;
	uint64_t run_at, run_bytes;

	struct window window; /* (5) */
};

/* ---- The file --------------------------------------------------------------
 */

static int put(struct qcow2_writer *w, uint64_t at, const void *data,
	       uint64_t bytes, struct err *err)
{
	return target_put(w->target.target, w->target.file, at, data, bytes,
			  err);
}

static int flush_run(struct qcow2_writer *w, struct err *err)
{
	uint64_t end = w->run_at + w->run_bytes, bytes = w->run_bytes;
	int r;

	if (bytes == 0)
		return 0;
	w->run_bytes = 0;
	r = target_write(w->target.target, w->target.file, w->run_at, w->run,
			 bytes, err);
	return r < 0 ? r : window_slide(&w->window, bytes, end, err);
}

/* What is zero at both ends stays a hole. */
static int put_table(struct qcow2_writer *w, uint64_t at, const void *table,
		     uint64_t from, uint64_t to, struct err *err)
{
	from -= from % PAGE;
	to = round_up(to, PAGE);
	return put(w, at + from, (const uint8_t *)table + from, to - from, err);
}

/* ---- Tables ---------------------------------------------------------------
 */

static int end_table(struct qcow2_writer *w, struct err *err)
{
	uint64_t at = w->next * QCOW2_CLUSTER_BYTES;
	int r;

	if (w->from == w->to)
		return 0;
	r = put_table(w, at, w->l2, w->from * sizeof(*w->l2),
		      w->to * sizeof(*w->l2), err);
	if (r < 0)
		return r;
	w->next++;
	w->l1[w->table] = be64_make(at | COPIED);
	memset(w->l2 + w->from, 0, (w->to - w->from) * sizeof(*w->l2));
	w->from = w->to = 0;
	return 0;
}

/* The entry of the cluster that OFFSET is in. */
static int entry_of(struct qcow2_writer *w, uint64_t offset,
		    struct l2_entry **ret_entry, struct err *err)
{
	uint32_t table = (uint32_t)(offset / TABLE_COVERS);
	uint32_t i = (uint32_t)(offset % TABLE_COVERS / QCOW2_CLUSTER_BYTES);
	int r;

	if (table != w->table) {
		r = flush_run(w, err);
		if (r == 0)
			r = end_table(w, err);
		if (r < 0)
			return r;
		w->table = table;
	}
	if (w->from == w->to)
		w->from = i;
	w->to = i + 1;
	*ret_entry = &w->l2[i];
	return 0;
}

/* The bits of the subclusters that [offset, offset + length) touches; it lies
 * in one cluster. */
static uint64_t bits_of(uint64_t offset, uint64_t length)
{
	uint64_t in = offset % QCOW2_CLUSTER_BYTES;
	unsigned from = (unsigned)(in / QCOW2_SUBCLUSTER_BYTES);
	unsigned to =
	    (unsigned)div_round_up(in + length, QCOW2_SUBCLUSTER_BYTES);

	return ((UINT64_C(1) << (to - from)) - 1) << from;
}

static uint64_t piece_at(uint64_t offset, uint64_t length)
{
	return MIN(length, QCOW2_CLUSTER_BYTES - offset % QCOW2_CLUSTER_BYTES);
}

static void check_order(struct qcow2_writer *w, uint64_t offset,
			uint64_t length)
{
	assert(offset % QCOW2_SUBCLUSTER_BYTES == 0 && offset >= w->at);
	assert(offset <= w->target.bytes && length <= w->target.bytes - offset);
	assert(length % QCOW2_SUBCLUSTER_BYTES == 0 ||
	       offset + length == w->target.bytes);
	w->at = offset + length;
}

static int write_piece(struct qcow2_writer *w, uint64_t offset,
		       const uint8_t *data, uint64_t length, struct err *err)
{
	struct l2_entry *entry;
	uint64_t at;
	int r = entry_of(w, offset, &entry, err);

	if (r < 0)
		return r;
	at = be64_get(entry->where) & ~COPIED;
	if (at == 0) {
		at = w->next++ * QCOW2_CLUSTER_BYTES;
		entry->where = be64_make(at | COPIED);
	}
	entry->subclusters =
	    be64_make(be64_get(entry->subclusters) | bits_of(offset, length));
	at += offset % QCOW2_CLUSTER_BYTES;
	w->data += length;
	if (w->run_bytes > 0 && w->run_at + w->run_bytes != at) {
		r = flush_run(w, err);
		if (r < 0)
			return r;
	}
	if (w->run_bytes == 0) {
		w->run = data;
		w->run_at = at;
	}
	w->run_bytes += length;
	return 0;
}

int qcow2_write(struct qcow2_writer *w, uint64_t offset, const void *data,
		uint64_t length, struct err *err)
{
	const uint8_t *from = data;
	int r = 0;

	check_order(w, offset, length);
	while (r == 0 && length > 0) {
		uint64_t n = piece_at(offset, length);

		r = write_piece(w, offset, from, n, err);
		offset += n;
		from += n;
		length -= n;
	}
	return r < 0 ? r : flush_run(w, err);
}

int qcow2_zero(struct qcow2_writer *w, uint64_t offset, uint64_t length,
	       struct err *err)
{
	check_order(w, offset, length);
	if (!w->target.backing)
		return 0;
	while (length > 0) {
		uint64_t n = piece_at(offset, length);
		struct l2_entry *entry;
		int r = entry_of(w, offset, &entry, err);

		if (r < 0)
			return r;
		entry->subclusters =
		    be64_make(be64_get(entry->subclusters) | bits_of(offset, n)
								 << ZERO_SHIFT);
		offset += n;
		length -= n;
	}
	return 0;
}

/* ---- The end --------------------------------------------------------------
 */

/* Where the parts behind the data come to lie, in clusters. */
struct layout {
	uint64_t l1, refcounts, blocks, n_blocks, end;
};

static void lay_out(const struct qcow2_writer *w, struct layout *l)
{
	uint64_t l1_clusters =
	    div_round_up(w->l1_entries * sizeof(be64), QCOW2_CLUSTER_BYTES);

	l->l1 = w->next;
	l->refcounts = l->l1 + l1_clusters;
	l->blocks = l->refcounts + 1;
	/* they count themselves as well */
	l->n_blocks = div_round_up(l->blocks, REFCOUNTS - 1);
	l->end = l->blocks + l->n_blocks;
}

static int put_refcounts(struct qcow2_writer *w, const struct layout *l,
			 struct err *err)
{
	be64 *table = calloc(l->n_blocks, sizeof(*table));
	be16 *block = calloc(REFCOUNTS, sizeof(*block));
	int r = table && block ? 0 : err_set(err, -ENOMEM, "refcounts");

	for (uint64_t i = 0; r == 0 && i < l->n_blocks; i++) {
		uint64_t n = MIN(l->end - i * REFCOUNTS, REFCOUNTS);
		uint64_t at = (l->blocks + i) * QCOW2_CLUSTER_BYTES;

		for (uint64_t k = 0; k < REFCOUNTS; k++)
			block[k] = be16_make(k < n);
		table[i] = be64_make(at);
		r = put_table(w, at, block, 0, n * sizeof(*block), err);
	}
	if (r == 0)
		r = put(w, l->refcounts * QCOW2_CLUSTER_BYTES, table,
			l->n_blocks * sizeof(*table), err);
	free(table);
	free(block);
	return r;
}

/* The extension that names the backing file's format, the end of extensions,
 * and the name; returns how many bytes in all. */
static size_t add_backing(const struct qcow2_writer *w, struct header *h,
			  uint8_t *to)
{
	const char *format = w->target.backing_format;
	size_t n = strlen(format), name = strlen(w->target.backing);
	struct extension e = {be32_make(EXTENSION_FORMAT),
			      be32_make((uint32_t)n)};
	size_t at = sizeof(*h);

	memcpy(to + at, &e, sizeof(e));
	memcpy(to + at + sizeof(e), format, n);
	at += sizeof(e) + round_up(n, 8) + sizeof(e);
	memcpy(to + at, w->target.backing, name);
	h->backing_offset = be64_make(at);
	h->backing_bytes = be32_make((uint32_t)name);
	return at + name;
}

static int put_header(struct qcow2_writer *w, const struct layout *l,
		      struct err *err)
{
	uint8_t bytes[PAGE] = {0};
	struct header h = {
	    .magic = be32_make(0x514649fb),
	    .version = be32_make(3),
	    .cluster_bits = be32_make(CLUSTER_BITS),
	    .size = be64_make(w->target.bytes),
	    .l1_entries = be32_make(w->l1_entries),
	    .l1_offset = be64_make(l->l1 * QCOW2_CLUSTER_BYTES),
	    .refcounts_offset = be64_make(l->refcounts * QCOW2_CLUSTER_BYTES),
	    .refcounts_clusters = be32_make(1),
	    .incompatible = be64_make(EXTENDED_L2),
	    .refcount_order = be32_make(REFCOUNT_ORDER),
	    .header_bytes = be32_make(sizeof(h)),
	};

	if (w->target.backing)
		(void)add_backing(w, &h, bytes);
	memcpy(bytes, &h, sizeof(h));
	return put(w, 0, bytes, sizeof(bytes), err);
}

int qcow2_finish(struct qcow2_writer *w, struct err *err)
{
	struct layout l;
	int r = end_table(w, err);

	if (r < 0)
		return r;
	lay_out(w, &l);
	r = put(w, l.l1 * QCOW2_CLUSTER_BYTES, w->l1,
		w->l1_entries * sizeof(*w->l1), err);
	if (r == 0)
		r = put_refcounts(w, &l, err);
	w->length = l.end * QCOW2_CLUSTER_BYTES;
	if (r == 0)
		r = target_set_length(w->target.target, w->target.file,
				      w->length, err);
	return r < 0 ? r : put_header(w, &l, err);
}

/* ---- Life ------------------------------------------------------------------
 */

static int check_target(const struct qcow2_target *t, struct err *err)
{
	if (t->bytes == 0 || t->bytes % SECTOR_BYTES ||
	    t->bytes > DISK_BYTES_MAX)
		return err_set(err, -RP_EPARAM, "'%s': no disk has %llu bytes",
			       t->name, (unsigned long long)t->bytes);
	if (t->backing && (!*t->backing || !t->backing_format ||
			   strlen(t->backing) > QCOW2_BACKING_MAX ||
			   strlen(t->backing_format) > 16))
		return err_set(err, -RP_EPARAM,
			       "'%s': the backing file's name or format is "
			       "empty or too long",
			       t->name);
	return 0;
}

int qcow2_writer_new(const struct qcow2_target *target,
		     struct qcow2_writer **ret_writer, struct err *err)
{
	struct qcow2_writer *w;
	int r = check_target(target, err);

	if (r < 0)
		return r;
	w = calloc(1, sizeof(*w));
	if (!w)
		return err_set(err, -ENOMEM, "export");
	w->target = *target;
	w->window =
	    (struct window){.target = target->target, .file = target->file};
	w->next = 1; /* behind the header */
	w->l1_entries = (uint32_t)div_round_up(target->bytes, TABLE_COVERS);
	w->l1 = calloc(w->l1_entries, sizeof(*w->l1));
	w->l2 = calloc(TABLE_ENTRIES, sizeof(*w->l2));
	if (!w->l1 || !w->l2) {
		qcow2_writer_free(w);
		return err_set(err, -ENOMEM, "export");
	}
	*ret_writer = w;
	return 0;
}

struct qcow2_writer *qcow2_writer_free(struct qcow2_writer *writer)
{
	if (!writer)
		return NULL;
	free(writer->l1);
	free(writer->l2);
	free(writer);
	return NULL;
}

uint64_t qcow2_data_bytes(const struct qcow2_writer *writer)
{
	return writer->data;
}

uint64_t qcow2_file_bytes(const struct qcow2_writer *writer)
{
	return writer->length;
}
