/* SPDX-License-Identifier: Apache-2.0 */
/* A log's bytes: by descriptor, and data against its checksum. */
#include "hrl/reader.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/fd.h"

#define PIECE_BYTES KIB(256)

static int fd_of(void *arg)
{
	return (int)(intptr_t)arg;
}

static int64_t source_read(void *arg, void *buf, uint64_t bytes,
			   uint64_t offset, struct err *err)
{
	int64_t n = fd_read(fd_of(arg), buf, bytes, offset);

	return n < 0 ? err_set(err, (int)n, "read at %" PRIu64, offset) : n;
}

static uint64_t source_skip(void *arg, uint64_t offset)
{
	off_t at = lseek(fd_of(arg), (off_t)offset, SEEK_DATA);

	if (at < 0)
		return errno == ENXIO ? INT64_MAX : offset;
	return (uint64_t)at;
}

int hrl_read_all(const struct hrl_source *source, void *buf, uint64_t bytes,
		 uint64_t offset, struct err *err)
{
	int64_t n = source->read(source->arg, buf, bytes, offset, err);

	if (n < 0)
		return (int)n;
	if ((uint64_t)n < bytes)
		return err_set(err, -RP_ECORRUPT,
			       "the file is cut off at %" PRIu64,
			       offset + (uint64_t)n);
	return 0;
}

struct hrl_source hrl_source_fd(int fd)
{
	return (struct hrl_source){source_read, source_skip,
				   (void *)(intptr_t)fd};
}

/* The sum of the bytes of [at, end), where a hole adds nothing. */
static int sum_range(const struct hrl_source *source, uint8_t *buf, uint64_t at,
		     uint64_t end, uint32_t *ret_sum, struct err *err)
{
	uint32_t sum = 0;

	while (at < end) {
		uint64_t bytes;
		int r;

		if (source->skip)
			at = MIN(end, MAX(at, source->skip(source->arg, at)));
		bytes = MIN(end - at, PIECE_BYTES);
		if (bytes == 0)
			break;
		r = hrl_read_all(source, buf, bytes, at, err);
		if (r < 0)
			return r;
		sum = hrl_sum(sum, buf, bytes);
		at += bytes;
	}
	*ret_sum = sum;
	return 0;
}

int hrl_check_data(const struct hrl_source *source,
		   const struct hrl_write *write, struct err *err)
{
	uint8_t *buf = malloc(PIECE_BYTES);
	uint32_t sum = 0;
	int r;

	if (!buf)
		return err_set(err, -ENOMEM, "room for data");
	r = sum_range(source, buf, write->at, write->at + write->length, &sum,
		      err);
	free(buf);
	if (r == 0 && ~sum != write->data_checksum)
		r = err_set(err, -RP_ECORRUPT,
			    "DataChecksum %" PRIu32
			    ", but the bytes have %" PRIu32,
			    write->data_checksum, ~sum);
	if (r < 0)
		(void)err_wrap(err, "data of write %" PRIu64 " at %" PRIu64,
			       write->index, write->at);
	return r;
}
