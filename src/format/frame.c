/* SPDX-License-Identifier: Apache-2.0 */
#include "format/frame.h"

#include <assert.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "common/crc32c.h"

static_assert(sizeof(struct frame_disk) == 16, "frame");
static_assert(offsetof(struct frame_disk, version) == 8, "frame");
static_assert(offsetof(struct frame_disk, checksum) == 12, "frame");
static_assert(sizeof(struct guid) == 16, "guid");

static uint32_t checksum(const struct frame_disk *frame, uint64_t bytes)
{
	static const uint8_t zeros[4];
	const uint8_t *p = (const uint8_t *)frame;
	uint64_t at = offsetof(struct frame_disk, checksum);
	uint32_t c = crc32c(0, p, at);

	c = crc32c(c, zeros, sizeof(zeros));
	at += sizeof(zeros);
	return crc32c(c, p + at, bytes - at);
}

void frame_begin(struct frame_disk *frame, const char *magic)
{
	assert(strlen(magic) == sizeof(frame->magic));
	memcpy(frame->magic, magic, sizeof(frame->magic));
	frame->version = le32_make(FORMAT_VERSION);
}

void frame_finish(struct frame_disk *frame, uint64_t bytes)
{
	frame->checksum = le32_make(checksum(frame, bytes));
}

int frame_check_magic(const struct frame_disk *frame, const char *magic,
		      const char *what, struct err *err)
{
	if (memcmp(frame->magic, magic, sizeof(frame->magic)) != 0)
		return err_set(err, -RP_ECORRUPT, "%s: wrong magic", what);
	return 0;
}

int frame_check_sum(const struct frame_disk *frame, uint64_t bytes,
		    const char *what, struct err *err)
{
	uint32_t want = le32_get(frame->checksum);
	uint32_t is = checksum(frame, bytes);
	uint32_t version = le32_get(frame->version);

	if (want != is)
		return err_set(err, -RP_ECORRUPT,
			       "%s: checksum %08" PRIx32
			       ", but its bytes have %08" PRIx32,
			       what, want, is);
	if (version != FORMAT_VERSION)
		return err_set(err, -RP_EVERSION,
			       "%s: version %" PRIu32 ", this program knows %u",
			       what, version, FORMAT_VERSION);
	return 0;
}

bool bytes_are_zero(const void *buf, uint64_t bytes)
{
	const uint8_t *p = buf;

	return bytes == 0 || (p[0] == 0 && memcmp(p, p + 1, bytes - 1) == 0);
}

int check_reserved(const void *structure, uint64_t from, uint64_t to,
		   const char *what, struct err *err)
{
	const uint8_t *p = structure;

	if (bytes_are_zero(p + from, to - from))
		return 0;
	while (p[from] == 0)
		from++;
	return err_set(err, -RP_ECORRUPT,
		       "%s: reserved byte %" PRIu64 " is not zero", what, from);
}

static bool is_printable(char c)
{
	return c >= ' ' && c <= '~';
}

void text_put(char *field, uint64_t bytes, const char *text)
{
	uint64_t i = 0;

	for (; i < bytes - 1 && text[i]; i++)
		field[i] = is_printable(text[i]) ? text[i] : '?';
	memset(field + i, 0, bytes - i);
}

bool text_is_valid(const char *field, uint64_t bytes)
{
	uint64_t n = strnlen(field, bytes);

	for (uint64_t i = 0; i < n; i++)
		if (!is_printable(field[i]))
			return false;
	return n < bytes && bytes_are_zero(field + n, bytes - n);
}
