/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a simulated file holds: pages of 4096 bytes in a hash table, shared
 * between copies until written to, so that a copy of a world is cheap.  A page
 * that is in the table takes space; one that is not is a hole.
 */
#ifndef TESTS_SIM_CONTENT_H
#define TESTS_SIM_CONTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIM_PAGE 4096u

struct page;

struct content {
	uint64_t bytes; /* the file's size */
	size_t used;    /* pages in the table */
	size_t slots;   /* a power of two, or 0 */
	struct slot {
		uint64_t index;
		struct page *page; /* NULL: free */
	} * table;
};

/* A zeroed struct is an empty file.  DEST is overwritten, not freed. */
void content_copy(struct content *dest, const struct content *src);
void content_free(struct content *content);

/* Fills BUF; what lies beyond the end reads as zeros. */
void content_read(const struct content *content, void *buf, uint64_t bytes,
		  uint64_t offset);
/* Grows where needed.  DATA may be NULL: zeros. */
void content_write(struct content *content, const void *data, uint64_t bytes,
		   uint64_t offset);
void content_resize(struct content *content, uint64_t bytes);
/* Fills holes with pages of zeros, and grows. */
void content_allocate(struct content *content, uint64_t offset, uint64_t bytes);

/* Is the page with this index in the table? */
bool content_has(const struct content *content, uint64_t index);

/* Memory that cannot be had ends the test. */
void *sim_alloc(size_t bytes);

#endif
