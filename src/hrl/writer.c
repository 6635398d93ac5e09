/* SPDX-License-Identifier: Apache-2.0 */
#include "hrl/writer.h"

#include <assert.h>
#include <string.h>

#include "common/bytes.h"

/* Encodes the block of the pending entries, and begins the next group. */
static void end_group(struct hrl_writer *w, uint64_t back, uint8_t *buf)
{
	struct hrl_block block = {.back = back, .entries = w->pending};

	hrl_block_encode(&block, w->block);
	memcpy(buf, w->block, HRL_METADATA_BYTES);
	memset(w->block, 0, sizeof(w->block));
	w->header.entries += w->pending;
	w->pending = 0;
	w->block_at = w->at;
	w->at += HRL_METADATA_BYTES;
}

void hrl_writer_begin(struct hrl_writer *writer,
		      const struct hrl_header *header,
		      uint8_t buf[HRL_FIRST_BYTES])
{
	memset(writer, 0, sizeof(*writer));
	writer->header = (struct hrl_header){
	    .created = header->created,
	    .modified = header->created,
	    .creator_version = header->creator_version,
	    .metadata_bytes = HRL_METADATA_BYTES,
	    .id = header->id,
	    .previous = header->previous,
	    .data_write = header->data_write,
	};
	memcpy(writer->header.creator, header->creator,
	       sizeof(header->creator));
	hrl_header_encode(&writer->header, buf);
	writer->at = HRL_HEADER_BYTES;
	end_group(writer, 0, buf + HRL_HEADER_BYTES);
}

void hrl_writer_resume(struct hrl_writer *writer,
		       const struct hrl_header *header, uint64_t end,
		       uint64_t entries)
{
	assert(header->metadata_bytes == HRL_METADATA_BYTES);
	assert(end >= HRL_FIRST_BYTES && end % SECTOR_BYTES == 0);
	memset(writer, 0, sizeof(*writer));
	writer->header = *header;
	writer->header.end = 0;
	writer->header.entries = entries;
	writer->block_at = end - HRL_METADATA_BYTES;
	writer->at = end;
}

bool hrl_writer_is_full(const struct hrl_writer *writer)
{
	return writer->pending == HRL_ENTRIES;
}

uint64_t hrl_writer_add(struct hrl_writer *writer, uint64_t offset,
			uint32_t length, uint32_t time, uint32_t data_checksum)
{
	struct hrl_entry entry = {.offset = offset,
				  .length = length,
				  .time = time,
				  .data_checksum = data_checksum};
	uint64_t at = writer->at;

	assert(!hrl_writer_is_full(writer));
	assert(length > 0 && length % SECTOR_BYTES == 0);
	assert(offset % SECTOR_BYTES == 0);
	hrl_entry_encode(&entry, writer->block + HRL_HEAD_BYTES +
				     writer->pending * HRL_ENTRY_BYTES);
	writer->pending++;
	writer->at += length;
	return at;
}

uint64_t hrl_writer_block(struct hrl_writer *writer,
			  uint8_t buf[HRL_METADATA_BYTES])
{
	uint64_t at = writer->at;

	end_group(writer, at - writer->block_at, buf);
	return at;
}

uint64_t hrl_writer_end(const struct hrl_writer *writer)
{
	return writer->block_at + HRL_METADATA_BYTES;
}

void hrl_writer_close(struct hrl_writer *writer, uint32_t time,
		      uint8_t buf[HRL_HEADER_BYTES])
{
	assert(writer->pending == 0);
	writer->header.end = hrl_writer_end(writer);
	writer->header.current_bytes = writer->header.end;
	writer->header.modified = time;
	hrl_header_encode(&writer->header, buf);
}
