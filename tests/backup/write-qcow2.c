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
#include <unistd.h>

#include "backup/qcow2-writer.h"

static int apply(struct qcow2_writer *w, const char *line, struct err *err)
{
	uint64_t offset, length;
	unsigned byte;
	uint8_t *data;
	int r;

	if (sscanf(line, "z %" SCNu64 " %" SCNu64, &offset, &length) == 2)
		return qcow2_zero(w, offset, length, err);
	if (sscanf(line, "w %" SCNu64 " %" SCNu64 " %u", &offset, &length,
		   &byte) != 3)
		return err_set(err, -RP_EPARAM, "what is '%s'?", line);
	data = malloc(length);
	if (!data)
		abort();
	memset(data, (int)byte, length);
	r = qcow2_write(w, offset, data, length, err);
	free(data);
	return r;
}

static int write_all(struct qcow2_writer *w, struct err *err)
{
	char line[128];
	int r = 0;

	while (r == 0 && fgets(line, sizeof(line), stdin)) {
		if (strcmp(line, "end\n") != 0) {
			r = apply(w, line, err);
			continue;
		}
		r = qcow2_finish(w, err);
		if (r == 0)
			(void)printf("%" PRIu64 " %" PRIu64 "\n",
				     qcow2_data_bytes(w), qcow2_file_bytes(w));
		return r;
	}
	return r;
}

int main(int argc, char **argv)
{
	struct qcow2_target target = {.fd = -1};
	struct qcow2_writer *w = NULL;
	struct err err = {0};
	int r;

	if (argc != 3 && argc != 5)
		return 2;
	target.fd = open(argv[1], O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	target.name = argv[1];
	target.bytes = strtoull(argv[2], NULL, 10);
	if (argc == 5) {
		target.backing = argv[3];
		target.backing_format = argv[4];
	}
	if (target.fd < 0)
		return 2;
	r = qcow2_writer_new(&target, &w, &err);
	if (r == 0)
		r = write_all(w, &err);
	qcow2_writer_free(w);
	(void)close(target.fd);
	if (r == 0)
		return 0;
	(void)fprintf(stderr, "%s: %s\n", err_name(r), err.text);
	return 1;
}
