/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table on the tmpfs, stream.c L1, L4, L9.  A slot's length is stored after
 * its offset and cleared before the slot is used again, each with release: a
 * kill between two stores leaves a slot that is free.
 */
#include <assert.h>
#include <stdatomic.h>

#include "log/internal.h"

void table_begin(struct log_stream *stream)
{
	assert(stream->table.head.slots == LOG_SPANS);
	stream->slots_free = 0;
	/* The first ones are taken first: one page stays hot. */
	for (unsigned i = LOG_SPANS; i-- > 0;)
		if (atomic_load(&stream->table.slots[i].length) == 0)
			stream->slots[stream->slots_free++] = (uint16_t)i;
}

bool table_has(const struct log_stream *stream, unsigned reserve)
{
	return stream->slots_free > reserve;
}

uint32_t table_take(struct log_stream *stream, uint64_t offset, uint64_t length)
{
	uint32_t slot = stream->slots[--stream->slots_free];
	struct log_table_slot *s = &stream->table.slots[slot];

	atomic_store_explicit(&s->offset, offset, memory_order_relaxed);
	atomic_store_explicit(&s->length, length, memory_order_release);
	return slot;
}

void table_give_back(struct log_stream *stream, uint32_t slot)
{
	atomic_store_explicit(&stream->table.slots[slot].length, 0,
			      memory_order_release);
	stream->slots[stream->slots_free++] = (uint16_t)slot;
}

void table_set(struct log_stream *stream, enum log_table_state state)
{
	atomic_store(&stream->table.live->state, state);
}

void table_unpin(struct log_stream *stream)
{
	while (stream->pinned_count > 0)
		table_give_back(stream, stream->pinned[--stream->pinned_count]);
}

static bool is_of_disk(uint64_t offset, uint64_t length, uint64_t bytes)
{
	return length <= bytes && offset <= bytes - length &&
	       offset % SECTOR_BYTES == 0 && length % SECTOR_BYTES == 0;
}

int table_adopt(struct log_stream *stream, uint64_t bytes,
		struct blockset *mend, struct err *err)
{
	for (unsigned i = 0; i < LOG_SPANS; i++) {
		struct log_table_slot *s = &stream->table.slots[i];
		uint64_t offset = atomic_load(&s->offset);
		uint64_t length = atomic_load(&s->length);
		uint64_t first = offset >> BLOCK_SHIFT;
		int r;

		if (length == 0)
			continue;
		if (!is_of_disk(offset, length, bytes))
			return err_set(err, -RP_ECORRUPT,
				       "slot %u is not of the disk", i);
		r = blockset_add(mend, first,
				 div_round_up(offset + length, BLOCK_BYTES) -
				     first);
		if (r < 0)
			return err_set(err, r, "what is to be mended");
		stream->pinned[stream->pinned_count++] = (uint16_t)i;
	}
	return 0;
}
