/* SPDX-License-Identifier: Apache-2.0 */
/*
 * refpoint-dump: what a log of writes, or a log's sidecar, says, line by line,
 * and behind a '!' what is wrong with it.  It reads only, believes nothing, and
 * goes on as far as anything can be made out: also of a file that replay would
 * refuse.
 *
 * A log is shown from its end back, as its links lead.
 */
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/err.h"
#include "common/fd.h"
#include "common/rfc3339.h"
#include "format/format.h"
#include "hrl/reader.h"

struct dump {
	int fd;
	const char *name;
	uint64_t bytes; /* the file's */
	uint64_t end;   /* --end; 0: the log's own */
	bool data;      /* --data */
	uint64_t bad;   /* lines with a '!' */
};

/* Ends a line; WHAT (NULL: nothing) is wrong. */
static void end_line(struct dump *dump, const char *what)
{
	if (what) {
		(void)printf("  ! %s\n", what);
		dump->bad++;
	} else {
		(void)printf("\n");
	}
}

static void end_checked(struct dump *dump, int r, const struct err *err)
{
	end_line(dump, r < 0 ? err->text : NULL);
}

/* Up to BYTES; fewer at the file's end, none where it cannot be read. */
static uint64_t get(const struct dump *dump, void *buf, uint64_t bytes,
		    uint64_t at)
{
	int64_t n = fd_read(dump->fd, buf, bytes, at);

	return n < 0 ? 0 : (uint64_t)n;
}

static const char *guid_of(const struct guid *guid, char text[GUID_TEXT_BYTES])
{
	guid_format(guid, text);
	return text;
}

static const char *time_of(uint32_t time, char text[TIME_TEXT_BYTES])
{
	time_format(hrl_time_ns(time), text);
	text[19] = 'Z'; /* whole seconds */
	text[20] = '\0';
	return text;
}

/* ---- Logs ---------------------------------------------------------------- */

static void show_header(const struct hrl_header *h)
{
	char guid[GUID_TEXT_BYTES], time[TIME_TEXT_BYTES];

	(void)printf("LogFormatVersion %u.%u\n", h->version >> 16,
		     h->version & 0xffff);
	(void)printf("TimeStamp %s\n", time_of(h->created, time));
	(void)printf("CreatorApplication '");
	for (unsigned i = 0; i < sizeof(h->creator); i++)
		if (h->creator[i] >= ' ' && h->creator[i] <= '~')
			(void)putchar(h->creator[i]);
	(void)printf("' %" PRIu32 "\n", h->creator_version);
	(void)printf("OriginalSize %" PRIu64 "\nCurrentSize %" PRIu64 "\n",
		     h->original_bytes, h->current_bytes);
	(void)printf("EOLLocation %" PRIu64 "%s\n", h->end,
		     h->end ? "" : " (not closed)");
	(void)printf("ErrorCode %" PRId32 "\nMetadataSize %" PRIu32 "\n",
		     h->error, h->metadata_bytes);
	(void)printf("UniqueId %s\n", guid_of(&h->id, guid));
	(void)printf("PreviousUniqueId %s\n", guid_of(&h->previous, guid));
	(void)printf("LastModifiedTimeStamp %s\n", time_of(h->modified, time));
	(void)printf("TotalMetadataEntries %" PRIu64 "\n", h->entries);
	(void)printf("FileType %" PRIu32 "\nFlags 0x%x\n", h->file_type,
		     h->flags);
	(void)printf("Vhd2DataWriteGuid %s\n", guid_of(&h->data_write, guid));
}

static void show_entry(struct dump *dump, const uint8_t *buf, uint32_t slot,
		       uint64_t at)
{
	struct hrl_source source = hrl_source_fd(dump->fd);
	struct hrl_write write = {.index = slot, .at = at};
	struct hrl_entry entry;
	char time[TIME_TEXT_BYTES];
	struct err err = {0};
	int r;

	hrl_entry_peek(buf, &entry);
	(void)printf("  slot %" PRIu32 ": ByteOffset %" PRIu64
		     " DataLength %" PRIu32
		     " TimeStamp %s DataChecksum %" PRIu32 " data at %" PRIu64,
		     slot, entry.offset, entry.length,
		     time_of(entry.time, time), entry.data_checksum, at);
	r = hrl_entry_decode(buf, 0, &entry, &err);
	if (r == 0 && dump->data) {
		write.length = entry.length;
		write.data_checksum = entry.data_checksum;
		r = hrl_check_data(&source, &write, &err);
	}
	end_checked(dump, r, &err);
}

/* Whether the first or the last slots are used: O1 of hrl.h. */
static bool is_newest_first(const uint8_t *block, uint32_t slots, uint32_t used)
{
	const uint8_t *entries = block + HRL_HEAD_BYTES;

	return used > 0 && used < slots && !hrl_entry_is_whole(entries) &&
	       hrl_entry_is_whole(entries + (slots - 1) * HRL_ENTRY_BYTES);
}

/* BEGIN: of the data of the block's writes. */
static void show_entries(struct dump *dump, const uint8_t *block,
			 uint32_t slots, uint32_t used, uint64_t begin)
{
	bool newest_first = is_newest_first(block, slots, used);

	for (uint32_t i = 0; i < used; i++) {
		uint32_t slot = newest_first ? slots - 1 - i : i;
		const uint8_t *at =
		    block + HRL_HEAD_BYTES + slot * HRL_ENTRY_BYTES;
		struct hrl_entry entry;

		show_entry(dump, at, slot, begin);
		hrl_entry_peek(at, &entry);
		begin += entry.length;
	}
}

/* The block at AT; where the one before is, 0 if that is not known. */
static uint64_t show_block(struct dump *dump, uint64_t at, uint32_t metadata)
{
	static uint8_t buf[HRL_METADATA_BYTES_MAX];
	uint32_t slots = hrl_slots(metadata);
	struct hrl_block block;
	struct err err = {0};
	uint64_t before;
	int r;

	(void)printf("block at %" PRIu64, at);
	if (get(dump, buf, metadata, at) < metadata) {
		end_line(dump, "the file is cut off");
		return 0;
	}
	hrl_block_peek(buf, &block);
	(void)printf(": PreviousMetadataLocation %" PRIu64
		     " ValidMetadataEntries %" PRIu32,
		     block.back, block.entries);
	r = hrl_block_decode(buf, at, metadata, &block, &err);
	end_checked(dump, r, &err);
	before = r == 0 && block.back ? at - block.back : 0;
	show_entries(dump, buf, slots, MIN(block.entries, slots),
		     before ? before + metadata : HRL_HEADER_BYTES);
	return before;
}

static void show_log(struct dump *dump)
{
	uint8_t buf[HRL_HEADER_BYTES];
	struct hrl_header header;
	struct err err = {0};
	uint64_t at, end;
	int r;

	(void)printf("log of writes");
	if (get(dump, buf, sizeof(buf), 0) < sizeof(buf)) {
		end_line(dump, "the file is cut off");
		return;
	}
	hrl_header_peek(buf, &header);
	r = hrl_header_decode(buf, &header, &err);
	end_checked(dump, r, &err);
	show_header(&header);
	end = dump->end ? dump->end : header.end;
	if (end == 0)
		return;
	if (header.metadata_bytes < HRL_HEAD_BYTES + HRL_ENTRY_BYTES ||
	    header.metadata_bytes > HRL_METADATA_BYTES_MAX ||
	    end > dump->bytes ||
	    end < HRL_HEADER_BYTES + header.metadata_bytes) {
		(void)printf("no block ends at %" PRIu64, end);
		end_line(dump, "the end, or MetadataSize, cannot be");
		return;
	}
	for (at = end - header.metadata_bytes; at > 0;)
		at = show_block(dump, at, header.metadata_bytes);
}

/* ---- Sidecars ------------------------------------------------------------ */

static void show_head(const struct sidecar_head *h)
{
	char guid[GUID_TEXT_BYTES], time[TIME_TEXT_BYTES];

	(void)printf("store %s\n", guid_of(&h->store, guid));
	(void)printf("log %s\n", guid_of(&h->log, guid));
	(void)printf("previous %s\n", guid_of(&h->previous, guid));
	(void)printf("point %s\n", guid_of(&h->point, guid));
	(void)printf("disk %" PRIu32 ", of %" PRIu64 " bytes\n", h->disk,
		     h->bytes);
	time_format(h->first_time_ns, time);
	(void)printf("first sequence %" PRIu64 ", of %s\n", h->first_sequence,
		     time);
}

static void show_record(const struct sidecar_record *record)
{
	char time[TIME_TEXT_BYTES];

	time_format(record->time_ns, time);
	(void)printf("%s sequence %" PRIu64 " time %s at %" PRIu64,
		     sidecar_kind_name(record->kind), record->sequence, time,
		     record->at);
	if (record->length > 0)
		(void)printf(" offset %" PRIu64 " length %" PRIu32
			     " checksum %08" PRIx32 "%s",
			     record->offset, record->length,
			     record->data_checksum,
			     record->mending ? " mending" : "");
}

static void show_sidecar(struct dump *dump)
{
	uint8_t buf[SIDECAR_HEAD_BYTES];
	struct sidecar_head head;
	struct err err = {0};
	bool closed = false;
	uint64_t n;
	int r = 0;

	(void)printf("sidecar of a log");
	if (get(dump, buf, sizeof(buf), 0) < sizeof(buf)) {
		end_line(dump, "the file is cut off");
		return;
	}
	r = sidecar_decode(buf, &head, &err);
	end_checked(dump, r, &err);
	if (r < 0)
		return; /* nothing of it can be made out without its log */
	show_head(&head);
	for (n = 0; get(dump, buf, SIDECAR_RECORD_BYTES, sidecar_offset(n)) ==
		    SIDECAR_RECORD_BYTES;
	     n++) {
		struct sidecar_record record;

		err = (struct err){0};
		r = sidecar_record_decode(buf, &head, n, &record, &err);
		if (r == -ENODATA && closed)
			continue; /* to the end of its sector */
		(void)printf("%" PRIu64 ": ", n);
		if (r == 0)
			show_record(&record);
		closed = r == 0 && record.kind == SIDECAR_CLOSE;
		if (r == -ENODATA)
			end_line(dump, "it is empty");
		else
			end_checked(dump, r, &err);
	}
	if (sidecar_offset(n) < dump->bytes) {
		(void)printf("%" PRIu64 ":", n);
		end_line(dump, "the file is cut off");
	}
}

/* ---- The program --------------------------------------------------------- */

static int usage(FILE *out)
{
	(void)fprintf(
	    out,
	    "Usage: refpoint-dump [--data] [--end BYTES] FILE\n\n"
	    "Shows a log of writes ([MS-HRL]) or its sidecar, and behind a '!'\n"
	    "what is wrong.  The exit status is 0 if nothing is, 8 if anything,\n"
	    "1 if FILE cannot be read, 2 for a usage like this one.\n\n"
	    "  --data       read all data, and compare it with its checksums\n"
	    "  --end BYTES  where the last block of a log ends, if it was not\n"
	    "               closed, or is cut off\n");
	return out == stdout ? 0 : 2;
}

static int parse(struct dump *dump, int argc, char **argv)
{
	static const struct option options[] = {
	    {"data", no_argument, NULL, 'd'},
	    {"end", required_argument, NULL, 'e'},
	    {"help", no_argument, NULL, 'h'},
	    {"version", no_argument, NULL, 'v'},
	    {0}};
	char *rest = NULL;
	int key;

	while ((key = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (key == 'h')
			exit(usage(stdout));
		if (key == 'v') {
			(void)printf("refpoint-dump %s\n", VERSION);
			exit(0);
		}
		if (key == 'd')
			dump->data = true;
		if (key == 'e') {
			dump->end = strtoull(optarg, &rest, 10);
			if (*rest || dump->end == 0)
				return -1;
		}
		if (key == '?')
			return -1;
	}
	if (argc - optind != 1)
		return -1;
	dump->name = argv[optind];
	return 0;
}

int main(int argc, char **argv)
{
	struct dump dump = {0};
	char magic[8] = "";
	struct stat st;

	if (parse(&dump, argc, argv) < 0)
		return usage(stderr);
	dump.fd = open(dump.name, O_RDONLY | O_CLOEXEC);
	if (dump.fd < 0 || fstat(dump.fd, &st) < 0) {
		(void)fprintf(stderr, "refpoint-dump: '%s': %s\n", dump.name,
			      strerror(errno));
		return 1;
	}
	dump.bytes = (uint64_t)st.st_size;
	(void)get(&dump, magic, sizeof(magic), 0);
	if (memcmp(magic, "msctlog", 7) == 0) {
		show_log(&dump);
	} else if (memcmp(magic, "RP-SIDE\n", 8) == 0) {
		show_sidecar(&dump);
	} else {
		(void)fprintf(stderr,
			      "refpoint-dump: '%s' is no log and no sidecar\n",
			      dump.name);
		return 8;
	}
	(void)close(dump.fd);
	if (fflush(stdout) != 0 || ferror(stdout)) {
		(void)fprintf(stderr, "refpoint-dump: standard output: %s\n",
			      strerror(errno));
		return 1;
	}
	return dump.bad ? 8 : 0;
}
