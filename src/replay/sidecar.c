/* SPDX-License-Identifier: Apache-2.0 */
#include "replay/sidecar.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/fd.h"
#include "common/rfc3339.h"

#define RECORDS 128 /* read at once */

struct sidecar {
	int fd;
	struct sidecar_head head;
	uint64_t next;         /* number of the next record */
	uint64_t first, count; /* of those in BUF */
	bool closed;           /* nothing may follow */
	bool broken;           /* between a break and its end */
	uint64_t sequence;     /* of the record before */
	int64_t time_ns;
	int64_t broken_ns; /* of the last break */
	int64_t end_ns;
	bool wrote; /* there was a write before */
	uint8_t buf[RECORDS * SIDECAR_RECORD_BYTES];
};

static int fill(struct sidecar *s, struct err *err)
{
	int64_t n =
	    fd_read(s->fd, s->buf, sizeof(s->buf), sidecar_offset(s->next));

	if (n < 0)
		return err_set(err, (int)n, "read the sidecar");
	s->first = s->next;
	s->count = (uint64_t)n / SIDECAR_RECORD_BYTES;
	return 0;
}

static int bad(const struct sidecar *s, const char *why, struct err *err)
{
	return err_set(err, -RP_ECORRUPT, "sidecar: record %" PRIu64 ": %s",
		       s->next, why);
}

/* What goes on from the record before. */
static int check_order(struct sidecar *s, const struct sidecar_record *record,
		       struct err *err)
{
	bool data =
	    record->kind == SIDECAR_WRITE || record->kind == SIDECAR_ZEROS;

	if (s->closed)
		return bad(s, "it is behind the end", err);
	if (record->time_ns < s->time_ns)
		return bad(s, "its time is before the last one's", err);
	if (data && record->sequence <= s->sequence && s->wrote)
		return bad(s, "its sequence is not after the last one's", err);
	if (record->mending && !s->broken)
		return bad(s, "mending, but nothing was broken", err);
	if (record->mending && record->time_ns <= s->broken_ns)
		return bad(s, "mending before the break was over", err);
	if (record->kind == SIDECAR_BREAK && s->broken)
		return bad(s, "a break within a break", err);
	if (record->kind == SIDECAR_MENDED && !s->broken)
		return bad(s, "nothing was broken", err);
	if (record->kind == SIDECAR_CLOSE && s->broken)
		return bad(s, "the log ends unmended", err);
	return 0;
}

static void note(struct sidecar *s, const struct sidecar_record *record)
{
	if (record->kind == SIDECAR_WRITE || record->kind == SIDECAR_ZEROS) {
		s->sequence = record->sequence;
		s->wrote = true;
	}
	if (record->kind == SIDECAR_BREAK) {
		s->broken = true;
		s->broken_ns = record->time_ns;
	}
	if (record->kind == SIDECAR_MENDED)
		s->broken = false;
	if (record->kind == SIDECAR_CLOSE)
		s->closed = true;
	s->time_ns = record->time_ns;
	s->next++;
}

/* 1, 0 at the end. */
static int next(struct sidecar *s, struct sidecar_record *ret_record,
		struct err *err)
{
	int r = 0;

	if (s->next >= s->first + s->count)
		r = fill(s, err);
	if (r < 0)
		return r;
	if (s->count == 0 && s->closed)
		return 0;
	if (s->count == 0)
		return err_set(err, -RP_ESTATE,
			       "the sidecar has no end: the log was not "
			       "closed");
	r = sidecar_record_decode(s->buf + (s->next - s->first) *
					       SIDECAR_RECORD_BYTES,
				  &s->head, s->next, ret_record, err);
	if (r == -ENODATA && s->closed)
		return 0; /* the rest of a sector */
	if (r == -ENODATA)
		return bad(s, "it is empty", err);
	if (r == 0)
		r = check_order(s, ret_record, err);
	if (r < 0)
		return r;
	note(s, ret_record);
	return 1;
}

void sidecar_rewind(struct sidecar *sidecar)
{
	sidecar->next = sidecar->first = sidecar->count = 0;
	sidecar->closed = sidecar->broken = sidecar->wrote = false;
	sidecar->sequence = 0;
	sidecar->time_ns = sidecar->head.first_time_ns;
}

static int read_head(struct sidecar *s, const struct guid *log, struct err *err)
{
	uint8_t buf[SIDECAR_HEAD_BYTES];
	int64_t n = fd_read(s->fd, buf, sizeof(buf), 0);
	int r = 0;

	if (n < 0)
		r = err_set(err, (int)n, "read the sidecar");
	else if ((uint64_t)n < sizeof(buf))
		r = err_set(err, -RP_ECORRUPT, "the sidecar is cut off");
	if (r == 0)
		r = sidecar_decode(buf, &s->head, err);
	if (r == 0 && !guid_equal(&s->head.log, log))
		r = err_set(err, -RP_ECORRUPT, "the sidecar is another log's");
	return r;
}

int sidecar_open(int fd, const struct guid *log, struct sidecar **ret_sidecar,
		 struct err *err)
{
	struct sidecar *s = calloc(1, sizeof(*s));
	struct sidecar_record record;
	int r;

	if (!s)
		return err_set(err, -ENOMEM, "open a sidecar");
	s->fd = fd;
	r = read_head(s, log, err);
	if (r == 0) {
		sidecar_rewind(s);
		while ((r = next(s, &record, err)) > 0)
			s->end_ns = record.time_ns;
	}
	if (r < 0) {
		sidecar_free(s);
		return r;
	}
	sidecar_rewind(s);
	*ret_sidecar = s;
	return 0;
}

void sidecar_free(struct sidecar *sidecar)
{
	free(sidecar);
}

const struct sidecar_head *sidecar_head(const struct sidecar *sidecar)
{
	return &sidecar->head;
}

int64_t sidecar_end_ns(const struct sidecar *sidecar)
{
	return sidecar->end_ns;
}

int sidecar_next_write(struct sidecar *sidecar,
		       struct sidecar_record *ret_record, struct err *err)
{
	int r;

	while ((r = next(sidecar, ret_record, err)) > 0)
		if (ret_record->kind == SIDECAR_WRITE ||
		    ret_record->kind == SIDECAR_ZEROS)
			break;
	return r;
}

static int no_moment(int64_t from, int64_t to, struct err *err)
{
	char begin[TIME_TEXT_BYTES], end[TIME_TEXT_BYTES];

	time_format(from, begin);
	time_format(to, end);
	return err_set(err, -RP_EPARAM,
		       "between %s and %s, when serving ended without an end, "
		       "there are no moments: take one of these two",
		       begin, end);
}

int sidecar_check_moment(struct sidecar *sidecar, int64_t time_ns,
			 struct err *err)
{
	struct sidecar_record record;
	int64_t broken = 0;
	int r;

	sidecar_rewind(sidecar);
	while ((r = next(sidecar, &record, err)) > 0) {
		if (record.kind == SIDECAR_BREAK)
			broken = record.time_ns;
		else if (record.kind == SIDECAR_MENDED && time_ns > broken &&
			 time_ns < record.time_ns)
			return no_moment(broken, record.time_ns, err);
	}
	sidecar_rewind(sidecar);
	return r;
}
