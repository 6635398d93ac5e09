/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For the test against a reader and writer of somebody else's.
 *
 *   hrl-tool write FILE <LINES    each one: offset length byte time (byte 0: a
 *                                 hole), or "block" to end a group there
 *   hrl-tool read FILE            prints such a line for each write, having
 *                                 checked its data
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/bytes.h"
#include "hrl/reader.h"
#include "hrl/writer.h"

static int fd;

static void need(bool ok, const char *what)
{
	if (ok)
		return;
	perror(what);
	exit(1);
}

static void put(const void *buf, uint64_t bytes, uint64_t at)
{
	need(pwrite(fd, buf, bytes, (off_t)at) == (ssize_t)bytes, "pwrite");
}

static void put_block(struct hrl_writer *writer)
{
	uint8_t buf[HRL_METADATA_BYTES];
	uint64_t at = hrl_writer_block(writer, buf);

	put(buf, sizeof(buf), at);
}

static void add(struct hrl_writer *writer, uint64_t offset, uint32_t length,
		int byte, uint32_t time)
{
	uint8_t *data = malloc(length);
	uint64_t at;

	need(data != NULL, "malloc");
	memset(data, byte, length);
	if (hrl_writer_is_full(writer))
		put_block(writer);
	at = hrl_writer_add(writer, offset, length, time,
			    hrl_checksum(data, length));
	if (byte != 0)
		put(data, length, at);
	free(data);
}

static int write_log(void)
{
	struct hrl_header header = {.creator = "rp",
				    .creator_version = 1,
				    .created = 5,
				    .id = {{1, 2, 3, 4, 5, 6, 7, 8}},
				    .data_write = {{9, 8, 7, 6, 5, 4, 3, 2}}};
	uint8_t buf[HRL_FIRST_BYTES];
	struct hrl_writer writer;
	char line[128];

	hrl_writer_begin(&writer, &header, buf);
	put(buf, sizeof(buf), 0);
	while (fgets(line, sizeof(line), stdin)) {
		uint64_t offset;
		uint32_t length, time;
		int byte;

		if (strcmp(line, "block\n") == 0)
			put_block(&writer);
		else if (sscanf(line, "%" SCNu64 " %" SCNu32 " %d %" SCNu32,
				&offset, &length, &byte, &time) == 4)
			add(&writer, offset, length, byte, time);
		else
			return 2;
	}
	if (writer.pending > 0)
		put_block(&writer);
	hrl_writer_close(&writer, 77, buf);
	put(buf, HRL_HEADER_BYTES, 0);
	return 0;
}

static int read_log(void)
{
	struct hrl_source source = hrl_source_fd(fd);
	struct hrl_reader *reader;
	struct hrl_write write;
	struct err err = {0};
	struct stat st;
	int r;

	need(fstat(fd, &st) == 0, "fstat");
	r = hrl_reader_open(&source, (uint64_t)st.st_size, 0, 0, &reader, &err);
	while (r >= 0 && (r = hrl_reader_next(reader, &write, &err)) > 0) {
		uint8_t byte = 0;

		r = hrl_check_data(&source, &write, &err);
		need(pread(fd, &byte, 1, (off_t)write.at) == 1, "pread");
		(void)printf("%" PRIu64 " %" PRIu32 " %u %" PRIu32 "\n",
			     write.offset, write.length, byte, write.time);
	}
	if (r == 0) {
		hrl_reader_free(reader);
		return 0;
	}
	(void)fprintf(stderr, "%s\n", err.text);
	return 1;
}

int main(int argc, char **argv)
{
	bool writes = argc == 3 && strcmp(argv[1], "write") == 0;

	if (argc != 3 || (!writes && strcmp(argv[1], "read") != 0))
		return 2;
	fd =
	    open(argv[2], writes ? O_RDWR | O_CREAT | O_TRUNC : O_RDONLY, 0600);
	need(fd >= 0, argv[2]);
	return writes ? write_log() : read_log();
}
