/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For test-image-locks.py: opens and locks the image PATH as a worker does,
 * says "locked" or what is wrong, and holds it until its standard input ends.
 * Exit status: 0 held, 3 refused as in use, 1 anything else.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "disk/image.h"

int main(int argc, char **argv)
{
	struct image_geometry geometry;
	struct err err = {0};
	unsigned wait_ms = argc > 2 ? (unsigned)atoi(argv[2]) : 0;
	char c;
	int fd, rc;

	if (argc < 2)
		return 1;
	rc = image_open(argv[1], true, &fd, &geometry, &err);
	if (rc == 0)
		rc = image_lock(fd, argv[1], wait_ms, &err);
	puts(rc == 0 ? "locked" : err.text);
	(void)fflush(stdout);
	if (rc < 0)
		return rc == -RP_EINUSE ? 3 : 1;
	while (read(STDIN_FILENO, &c, 1) > 0)
		;
	image_unlock(fd);
	(void)close(fd);
	return 0;
}
