/* SPDX-License-Identifier: Apache-2.0 */
#include "backup/sink.h"

#include "backup/target.h"

int sink_open(struct sink *sink, const struct qcow2_target *target, bool plain,
	      struct err *err)
{
	*sink = (struct sink){.window = {.target = target->target,
					 .file = target->file},
			      .bytes = target->bytes};
	return plain ? 0 : qcow2_writer_new(target, &sink->qcow2, err);
}

int sink_open_hash(struct sink *sink, uint64_t bytes, struct err *err)
{
	*sink = (struct sink){.bytes = bytes};
	return content_hash_new(&sink->hash, err);
}

/* Up to OFFSET there are zeros. */
static int hash_gap(struct sink *sink, uint64_t offset, struct err *err)
{
	uint64_t gap = offset - sink->hashed;

	sink->hashed = offset;
	return content_hash_add(sink->hash, NULL, gap, err);
}

static int hash_data(struct sink *sink, uint64_t offset, const void *data,
		     uint64_t length, struct err *err)
{
	int r = hash_gap(sink, offset, err);

	sink->hashed += length;
	return r < 0 ? r : content_hash_add(sink->hash, data, length, err);
}

int sink_finish_hash(struct sink *sink, uint8_t ret_hash[METADATA_HASH_BYTES],
		     struct err *err)
{
	int r = hash_gap(sink, sink->bytes, err);

	return r < 0 ? r : content_hash_end(sink->hash, ret_hash, err);
}

void sink_close(struct sink *sink)
{
	sink->hash = content_hash_free(sink->hash);
	sink->qcow2 = qcow2_writer_free(sink->qcow2);
}

int sink_write(struct sink *sink, uint64_t offset, const void *data,
	       uint64_t length, struct err *err)
{
	int r;

	if (sink->hash)
		return hash_data(sink, offset, data, length, err);
	if (sink->qcow2)
		return qcow2_write(sink->qcow2, offset, data, length, err);
	r = target_write(sink->window.target, sink->window.file, offset, data,
			 length, err);
	if (r < 0)
		return r;
	sink->data += length;
	return window_slide(&sink->window, length, offset + length, err);
}

int sink_zero(struct sink *sink, uint64_t offset, uint64_t length,
	      struct err *err)
{
	return sink->qcow2 ? qcow2_zero(sink->qcow2, offset, length, err) : 0;
}

int sink_finish(struct sink *sink, struct err *err)
{
	if (sink->qcow2)
		return qcow2_finish(sink->qcow2, err);
	return target_set_length(sink->window.target, sink->window.file,
				 sink->bytes, err);
}

uint64_t sink_data_bytes(const struct sink *sink)
{
	return sink->qcow2 ? qcow2_data_bytes(sink->qcow2) : sink->data;
}

uint64_t sink_file_bytes(const struct sink *sink)
{
	return sink->qcow2 ? qcow2_file_bytes(sink->qcow2) : sink->bytes;
}
