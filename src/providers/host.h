/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What there is to tell of the host, read once.
 *
 * All texts are printable ASCII; what the system does not say is "".
 */
#ifndef PROVIDERS_HOST_H
#define PROVIDERS_HOST_H

#include <stdint.h>

#include "common/guid.h"

#define HOST_TEXT_BYTES 128

struct host_facts {
	char name[HOST_TEXT_BYTES];
	char uuid[GUID_TEXT_BYTES]; /* made of the machine id, not that one */
	char vendor[HOST_TEXT_BYTES], model[HOST_TEXT_BYTES];
	char os[HOST_TEXT_BYTES];      /* "Debian GNU/Linux 12 (bookworm)" */
	char version[HOST_TEXT_BYTES]; /* of the kernel: always "6.1.0" */
	char machine[HOST_TEXT_BYTES]; /* "x86_64" */
	uint64_t memory;               /* bytes */
	int64_t boot_us;               /* when it was started, since 1970 */
	char cpu[HOST_TEXT_BYTES], cpu_vendor[HOST_TEXT_BYTES];
	uint32_t mhz;
	uint32_t sockets, cores, threads; /* the latter two of one socket;
					     none is 0 */
};

/* ROOT stands before each file's name ("" for the host itself).  What cannot be
 * read is not told. */
void host_facts_read(const char *root, struct host_facts *ret_facts);

/* Bytes of memory that are free now. */
uint64_t host_memory_free(void);

#endif
