/* SPDX-License-Identifier: Apache-2.0 */
#include "replay/replay.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/crc32c.h"
#include "common/fd.h"
#include "common/rfc3339.h"
#include "hrl/reader.h"
#include "replay/sidecar.h"

#define PIECE_BYTES MIB(1)
#define LARGE_BYTES KIB(256)
#define SECOND_NS   1000000000

struct one_log {
	struct replay_input input;
	struct hrl_source source;
	struct hrl_reader *reader;
	struct sidecar *sidecar; /* NULL: none */
};

struct replay {
	uint64_t bytes;   /* of the image; once checked */
	int64_t until_ns; /* likewise; negative: all */
	struct replay_extent extent;
	uint8_t *buffer;
	unsigned n;
	struct one_log *logs[]; /* stay where they are: readers point there */
};

/* What is done with each write, in order. */
struct pass {
	struct replay *replay;
	int image_fd; /* -1: only checked */
	bool (*progress)(void *arg, uint64_t done);
	void *arg;
	uint64_t done;
};

static int of_log(const struct one_log *log, int r, struct err *err)
{
	if (r < 0)
		(void)err_wrap(err, "'%s'", log->input.name);
	return r;
}

/* ---- The chain --------------------------------------------------------- */

static int open_log(struct one_log *log, const struct replay_input *input,
		    struct err *err)
{
	struct stat st;
	int r;

	log->input = *input;
	log->source = hrl_source_fd(input->fd);
	if (fstat(input->fd, &st) < 0)
		return err_set(err, -errno, "stat '%s'", input->name);
	if (!S_ISREG(st.st_mode))
		return err_set(err, -RP_EPARAM, "'%s' is no regular file",
			       input->name);
	r = hrl_reader_open(&log->source, (uint64_t)st.st_size, 0, 0,
			    &log->reader, err);
	if (r == 0 && input->sidecar_fd >= 0)
		r = sidecar_open(input->sidecar_fd,
				 &hrl_reader_header(log->reader)->id,
				 &log->sidecar, err);
	return of_log(log, r, err);
}

static const struct guid *id_of(const struct one_log *log)
{
	return &hrl_reader_header(log->reader)->id;
}

static const struct guid *previous_of(const struct one_log *log)
{
	return &hrl_reader_header(log->reader)->previous;
}

static bool follows_one_of(const struct replay *replay,
			   const struct one_log *log)
{
	for (unsigned i = 0; i < replay->n; i++)
		if (replay->logs[i] != log &&
		    guid_equal(previous_of(log), id_of(replay->logs[i])))
			return true;
	return false;
}

static void swap(struct one_log **a, struct one_log **b)
{
	struct one_log *c = *a;

	*a = *b;
	*b = c;
}

static int no_chain(const struct one_log *a, const char *how,
		    const struct one_log *b, struct err *err)
{
	return err_set(err, -RP_EPARAM, "'%s' %s '%s'", a->input.name, how,
		       b->input.name);
}

/* The one that follows none of the others first, then who follows it ... */
static int sort_chain(struct replay *replay, struct err *err)
{
	struct one_log **logs = replay->logs, **first = NULL;

	for (unsigned i = 0; i < replay->n; i++) {
		for (unsigned k = 0; k < i; k++)
			if (guid_equal(id_of(logs[i]), id_of(logs[k])))
				return no_chain(logs[i], "is the same log as",
						logs[k], err);
		if (follows_one_of(replay, logs[i]))
			continue;
		if (first)
			return no_chain(logs[i],
					"is of no chain with what begins at",
					*first, err);
		first = &logs[i];
	}
	if (!first)
		return err_set(err, -RP_ECORRUPT,
			       "the logs follow each other in a circle");
	swap(&logs[0], first);
	for (unsigned i = 1; i < replay->n; i++) {
		unsigned k = i;

		while (k < replay->n &&
		       !guid_equal(previous_of(logs[k]), id_of(logs[i - 1])))
			k++;
		if (k == replay->n)
			return no_chain(logs[i], "does not follow", logs[i - 1],
					err);
		swap(&logs[i], &logs[k]);
	}
	return 0;
}

/* One disk, one store, one order. */
static int check_heads(const struct replay *replay, struct err *err)
{
	const struct sidecar_head *before = NULL, *head;

	for (unsigned i = 0; i < replay->n; i++) {
		const struct one_log *log = replay->logs[i];

		if (!log->sidecar)
			continue;
		head = sidecar_head(log->sidecar);
		if (!guid_equal(&head->previous, previous_of(log)))
			return err_set(err, -RP_ECORRUPT,
				       "'%s': the sidecar names another log "
				       "before it",
				       log->input.name);
		if (before && (!guid_equal(&before->store, &head->store) ||
			       before->disk != head->disk ||
			       before->first_sequence > head->first_sequence ||
			       before->first_time_ns > head->first_time_ns))
			return err_set(err, -RP_ECORRUPT,
				       "'%s': the sidecar is of another disk, "
				       "or older than the one before",
				       log->input.name);
		before = head;
	}
	return 0;
}

int replay_new(const struct replay_input *inputs, unsigned n,
	       struct replay **ret_replay, struct err *err)
{
	struct replay *replay;
	int r = 0;

	if (n == 0 || n > REPLAY_LOGS_MAX)
		return err_set(err, -RP_ELIMIT, "from 1 to %u logs, not %u",
			       REPLAY_LOGS_MAX, n);
	replay = calloc(1, sizeof(*replay) + n * sizeof(*replay->logs));
	if (!replay)
		return err_set(err, -ENOMEM, "replay");
	replay->n = n;
	replay->buffer = malloc(PIECE_BYTES);
	if (!replay->buffer)
		r = err_set(err, -ENOMEM, "replay");
	for (unsigned i = 0; r == 0 && i < n; i++) {
		replay->logs[i] = calloc(1, sizeof(*replay->logs[i]));
		if (!replay->logs[i])
			r = err_set(err, -ENOMEM, "replay");
		else
			r = open_log(replay->logs[i], &inputs[i], err);
	}
	if (r == 0)
		r = sort_chain(replay, err);
	if (r == 0)
		r = check_heads(replay, err);
	if (r < 0)
		replay_free(replay);
	else
		*ret_replay = replay;
	return r;
}

struct replay *replay_free(struct replay *replay)
{
	if (!replay)
		return NULL;
	for (unsigned i = 0; i < replay->n; i++) {
		if (!replay->logs[i])
			continue;
		hrl_reader_free(replay->logs[i]->reader);
		sidecar_free(replay->logs[i]->sidecar);
		free(replay->logs[i]);
	}
	free(replay->buffer);
	free(replay);
	return NULL;
}

/* ---- One write --------------------------------------------------------- */

/* The disk is busy with large ones while the next are read; if it fails, the
 * sync at the end says so. */
static int put(int fd, const uint8_t *data, uint64_t bytes, uint64_t at,
	       struct err *err)
{
	int r = fd_write(fd, data, bytes, at);

	if (r < 0)
		return err_set(err, r, "write the image at %" PRIu64, at);
	if (bytes >= LARGE_BYTES)
		(void)sync_file_range(fd, (off_t)at, (off_t)bytes,
				      SYNC_FILE_RANGE_WRITE);
	return 0;
}

static int put_zeros(const struct pass *pass, const struct hrl_write *write,
		     struct err *err)
{
	static const int ways[] = {FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
				   FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE};
	int r = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(ways); i++)
		if (fallocate(pass->image_fd, ways[i], (off_t)write->offset,
			      write->length) == 0)
			return 0;
	memset(pass->replay->buffer, 0, PIECE_BYTES);
	for (uint64_t done = 0; r == 0 && done < write->length;
	     done += PIECE_BYTES)
		r = put(pass->image_fd, pass->replay->buffer,
			MIN(PIECE_BYTES, write->length - done),
			write->offset + done, err);
	return r;
}

static int wrong_data(const struct hrl_write *write, const char *which,
		      struct err *err)
{
	return err_set(err, -RP_ECORRUPT,
		       "the data of write %" PRIu64 " at %" PRIu64
		       " does not have its %s",
		       write->index, write->at, which);
}

/* CRC: the sidecar's; NULL: there is none. */
static int copy_data(const struct pass *pass, const struct one_log *log,
		     const struct hrl_write *write, const uint32_t *crc,
		     struct err *err)
{
	uint8_t *buffer = pass->replay->buffer;
	uint32_t sum = 0, seen = 0;
	uint64_t bytes;
	int r = 0;

	for (uint64_t done = 0; r == 0 && done < write->length; done += bytes) {
		bytes = MIN(PIECE_BYTES, write->length - done);
		r = hrl_read_all(&log->source, buffer, bytes, write->at + done,
				 err);
		if (r < 0)
			break;
		sum = hrl_sum(sum, buffer, bytes);
		if (crc)
			seen = crc32c(seen, buffer, bytes);
		if (pass->image_fd >= 0)
			r = put(pass->image_fd, buffer, bytes,
				write->offset + done, err);
	}
	if (r == 0 && ~sum != write->data_checksum)
		r = wrong_data(write, "DataChecksum", err);
	if (r == 0 && crc && seen != *crc)
		r = wrong_data(write, "checksum in the sidecar", err);
	return r;
}

static int check_bounds(const struct pass *pass, const struct hrl_write *write,
			struct err *err)
{
	uint64_t bytes = pass->replay->bytes;

	if (write->offset <= bytes && write->length <= bytes - write->offset)
		return 0;
	return err_set(err, -RP_EPARAM,
		       "write %" PRIu64 ", of %" PRIu32 " bytes at %" PRIu64
		       ", ends beyond the image of %" PRIu64 " bytes",
		       write->index, write->length, write->offset, bytes);
}

static int do_write(struct pass *pass, const struct one_log *log,
		    const struct hrl_write *write,
		    const struct sidecar_record *record, int64_t time_ns,
		    struct err *err)
{
	struct replay *replay = pass->replay;
	int r = check_bounds(pass, write, err);

	if (r < 0)
		return r;
	if (!hrl_is_zeros(write->length, write->data_checksum))
		r = copy_data(pass, log, write,
			      record ? &record->data_checksum : NULL, err);
	else if (pass->image_fd >= 0)
		r = put_zeros(pass, write, err);
	pass->done += write->length;
	if (r == 0 && pass->image_fd < 0) {
		replay->extent.writes++;
		replay->extent.bytes += write->length;
		replay->extent.last_ns = time_ns;
	}
	if (r == 0 && pass->progress && !pass->progress(pass->arg, pass->done))
		r = err_set(err, -RP_ECANCELLED, "replay was interrupted");
	return r;
}

/* ---- The logs, from the first to the last ------------------------------- */

/* The write's record, and that the two say the same. */
static int find_record(const struct one_log *log, const struct hrl_write *write,
		       struct sidecar_record *ret_record, struct err *err)
{
	int r = sidecar_next_write(log->sidecar, ret_record, err);

	if (r < 0)
		return r;
	if (r == 0 || ret_record->offset != write->offset ||
	    ret_record->length != write->length ||
	    ret_record->at != write->at ||
	    (ret_record->kind == SIDECAR_ZEROS &&
	     !hrl_is_zeros(write->length, write->data_checksum)))
		return err_set(err, -RP_ECORRUPT,
			       "the sidecar does not have write %" PRIu64
			       " of the log",
			       write->index);
	return 0;
}

/* 1: it is wanted; 0: it came later, as will all others. */
static int do_one(struct pass *pass, const struct one_log *log,
		  const struct hrl_write *write, struct err *err)
{
	int64_t until = pass->replay->until_ns, time_ns;
	struct sidecar_record record;
	int r = 0;

	if (log->sidecar)
		r = find_record(log, write, &record, err);
	if (r < 0)
		return r;
	time_ns = log->sidecar ? record.time_ns : hrl_time_ns(write->time);
	if (until >= 0 && time_ns > until)
		return 0;
	r = do_write(pass, log, write, log->sidecar ? &record : NULL, time_ns,
		     err);
	return r < 0 ? r : 1;
}

static int do_log(struct pass *pass, const struct one_log *log, bool *stop,
		  struct err *err)
{
	struct sidecar_record record;
	struct hrl_write write;
	int r = 0, wanted = 1;

	hrl_reader_rewind(log->reader);
	if (log->sidecar)
		sidecar_rewind(log->sidecar);
	while (wanted == 1 &&
	       (r = hrl_reader_next(log->reader, &write, err)) > 0)
		wanted = do_one(pass, log, &write, err);
	*stop = wanted == 0;
	if (wanted < 1)
		return wanted;
	if (r == 0 && log->sidecar) {
		r = sidecar_next_write(log->sidecar, &record, err);
		if (r > 0)
			r = err_set(err, -RP_ECORRUPT,
				    "the sidecar has writes that the log does "
				    "not have");
	}
	return r;
}

static int do_all(struct pass *pass, struct err *err)
{
	const struct replay *replay = pass->replay;
	bool stop = false;
	int r = 0;

	for (unsigned i = 0; r == 0 && !stop && i < replay->n; i++)
		r = of_log(replay->logs[i],
			   do_log(pass, replay->logs[i], &stop, err), err);
	return r;
}

/* ---- Moments ------------------------------------------------------------ */

static int check_sizes(const struct replay *replay, struct err *err)
{
	for (unsigned i = 0; i < replay->n; i++) {
		const struct one_log *log = replay->logs[i];

		if (!log->sidecar ||
		    sidecar_head(log->sidecar)->bytes <= replay->bytes)
			continue;
		return err_set(err, -RP_EPARAM,
			       "'%s' is of a disk of %" PRIu64
			       " bytes, the image has %" PRIu64
			       ": make it as large first",
			       log->input.name,
			       sidecar_head(log->sidecar)->bytes,
			       replay->bytes);
	}
	return 0;
}

/* When the chain begins: what was there before no log tells. */
static int64_t begin_of(const struct one_log *log)
{
	return log->sidecar
		   ? sidecar_head(log->sidecar)->first_time_ns
		   : hrl_time_ns(hrl_reader_header(log->reader)->created);
}

/* When the chain ends: what came later no log tells. */
static int64_t end_of(const struct one_log *log)
{
	return log->sidecar
		   ? sidecar_end_ns(log->sidecar)
		   : hrl_time_ns(hrl_reader_header(log->reader)->modified) +
			 SECOND_NS - 1;
}

/* There were logs at that time. */
static int check_range(const struct replay *replay, struct err *err)
{
	const struct one_log *first = replay->logs[0];
	const struct one_log *last = replay->logs[replay->n - 1];
	char text[TIME_TEXT_BYTES], end[TIME_TEXT_BYTES];

	time_format(replay->until_ns, text);
	if (replay->until_ns < begin_of(first))
		return err_set(err, -RP_EPARAM, "%s is before '%s' begins",
			       text, first->input.name);
	if (replay->until_ns <= end_of(last))
		return 0;
	time_format(end_of(last), end);
	return err_set(err, -RP_EPARAM,
		       "%s is after %s, when '%s', the last log, ends", text,
		       end, last->input.name);
}

/* P2, P3. */
static int check_moment(const struct replay *replay, struct err *err)
{
	bool sidecars = replay->logs[0]->sidecar != NULL;
	int r;

	if (replay->until_ns < 0)
		return 0;
	r = check_range(replay, err);
	for (unsigned i = 0; r == 0 && i < replay->n; i++) {
		const struct one_log *log = replay->logs[i];

		if ((log->sidecar != NULL) != sidecars)
			return err_set(err, -RP_EPARAM,
				       "for a moment all logs must have their "
				       "sidecars, or none: '%s' has %s",
				       log->input.name,
				       sidecars ? "none" : "one");
		if (log->sidecar)
			r = sidecar_check_moment(log->sidecar, replay->until_ns,
						 err);
		else if (replay->until_ns % SECOND_NS != 0)
			r = err_set(err, -RP_EPARAM,
				    "without a sidecar there are whole seconds "
				    "only");
		r = of_log(log, r, err);
	}
	return r;
}

int replay_check(struct replay *replay, uint64_t bytes, int64_t until_ns,
		 struct err *err)
{
	struct pass pass = {.replay = replay, .image_fd = -1};
	int r;

	replay->bytes = bytes;
	replay->until_ns = until_ns;
	replay->extent = (struct replay_extent){.last_ns = -1};
	r = check_sizes(replay, err);
	if (r == 0)
		r = check_moment(replay, err);
	if (r == 0)
		r = do_all(&pass, err);
	return r;
}

void replay_extent(const struct replay *replay,
		   struct replay_extent *ret_extent)
{
	*ret_extent = replay->extent;
}

int replay_apply(struct replay *replay, int image_fd,
		 bool (*progress)(void *arg, uint64_t done), void *arg,
		 struct err *err)
{
	struct pass pass = {.replay = replay,
			    .image_fd = image_fd,
			    .progress = progress,
			    .arg = arg};
	int r = do_all(&pass, err);

	if (r == 0 && fsync(image_fd) < 0)
		r = err_set(err, -errno, "sync the image");
	if (r < 0)
		(void)err_wrap(err, "the image is incomplete");
	return r;
}
