/* SPDX-License-Identifier: Apache-2.0 */
/* What the rules say of one call; for the wrappers of faulty.h alone. */
#ifndef DISK_FAULTY_RULES_H
#define DISK_FAULTY_RULES_H

#include <stdbool.h>
#include <stdint.h>

#include "disk/faulty.h"

/* In the order of their names in faulty.c. */
enum fault_op {
	FAULT_ANY,
	FAULT_READ,
	FAULT_WRITE,
	FAULT_SYNC,
	FAULT_TRUNCATE,
	FAULT_ALLOCATE,
	FAULT_SIZE,
	FAULT_MAP,
	FAULT_OPEN,
	FAULT_RENAME,
	FAULT_UNLINK,
	FAULT_SYNC_DIR,
	FAULT_LIST,
	FAULT_SPACE,
	FAULT_ZERO,
	FAULT_DISCARD,
};

/* One side of a call. */
struct fault_side {
	uint64_t delay_us;
	const char *hang; /* NULL: no; "": for ever; else while this exists */
	int error;        /* 0 or negative */
};

struct fault {
	struct fault_side before;
	struct fault_side after;
};

/* Counts the call for every rule that it matches.  OTHER: a second name, or
 * NULL. */
struct fault faults_consult(struct faults *faults, enum fault_op op,
			    const char *name, const char *other);

/* Those that FILE is wrapped with; NULL: it is not. */
struct faults *faulty_file_faults(struct file *file);

/* Waits as SIDE says, on this thread; returns its error. */
int fault_suffer(const struct fault_side *side);

/* Does what SIDE hangs on still hold? */
bool fault_hangs(const struct fault_side *side);

#endif
