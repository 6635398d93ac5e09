/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes an image as it is told, for test-qcow2.py to judge by qemu-img.
 *
 *   write-qcow2 FILE BYTES [BACKING FORMAT]
 *
 * Standard input: "w OFFSET LENGTH BYTE", "z OFFSET LENGTH", one a line;
 * without a last line "end" the image is left unfinished.  Prints the bytes of
 * data and the file's length.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/qcow2-writer.h"
#include "backup/target.h"
#include "serve.h"

/* A piece at a time, as an export does. */
static int write_bytes(struct target *target, struct qcow2_writer *w,
		       uint64_t offset, uint64_t length, unsigned byte,
		       struct err *err)
{
	int r = 0;

	while (r == 0 && length > 0) {
		uint64_t n = MIN(length, TARGET_DATA_BYTES);

		memset(target_data(target), (int)byte, n);
		r = qcow2_write(w, offset, target_data(target), n, err);
		if (r == 0)
			r = target_drain(target, err);
		offset += n;
		length -= n;
	}
	return r;
}

static int apply(struct target *target, struct qcow2_writer *w,
		 const char *line, struct err *err)
{
	uint64_t offset, length;
	unsigned byte;

	if (sscanf(line, "z %" SCNu64 " %" SCNu64, &offset, &length) == 2)
		return qcow2_zero(w, offset, length, err);
	if (sscanf(line, "w %" SCNu64 " %" SCNu64 " %u", &offset, &length,
		   &byte) != 3)
		return err_set(err, -RP_EPARAM, "what is '%s'?", line);
	return write_bytes(target, w, offset, length, byte, err);
}

static int write_all(struct target *target, struct qcow2_writer *w,
		     struct err *err)
{
	char line[128];
	int r = 0;

	while (r == 0 && fgets(line, sizeof(line), stdin)) {
		if (strcmp(line, "end\n") != 0) {
			r = apply(target, w, line, err);
			continue;
		}
		r = qcow2_finish(w, err);
		if (r == 0)
			r = target_end(target, err);
		if (r == 0)
			(void)printf("%" PRIu64 " %" PRIu64 "\n",
				     qcow2_data_bytes(w), qcow2_file_bytes(w));
		return r;
	}
	return r;
}

int main(int argc, char **argv)
{
	struct qcow2_target target = {.file = 0};
	struct qcow2_writer *w = NULL;
	const char *name = argv[1];
	struct err err = {0};
	int fds[TARGET_FDS], file, r;
	struct serving *serving;

	if (argc != 3 && argc != 5)
		return 2;
	file = open(argv[1], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	target.name = argv[1];
	target.bytes = strtoull(argv[2], NULL, 10);
	if (argc == 5) {
		target.backing = argv[3];
		target.backing_format = argv[4];
	}
	if (file < 0)
		return 2;
	serving = serve_files(&file, 1, fds);
	r = target_new(fds, &name, 1, &target.target, &err);
	if (r == 0)
		r = qcow2_writer_new(&target, &w, &err);
	if (r == 0)
		r = write_all(target.target, w, &err);
	qcow2_writer_free(w);
	if (target.target)
		target_close(target.target);
	target_free(target.target);
	if (serve_end(serving, NULL) < 0)
		return 2;
	if (r == 0)
		return 0;
	(void)fprintf(stderr, "%s: %s\n", err_name(r), err.text);
	return 1;
}
