/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a worker and refpoint-target, which alone has the files of an export,
 * say to each other.
 *
 * refpointd makes both of what they share: a SOCK_SEQPACKET pair, and a memory
 * of TARGET_MEMORY_BYTES whose size is sealed.  It sends refpoint-target one
 * message, whose content is of no account, with descriptors: the memory, one
 * that is held until refpoint-target's end, and up to EXPORT_FILES_MAX files.
 * Then the worker gets the other end of the pair, and the memory.
 *
 * The worker's messages are 1 to TARGET_ORDERS_MAX orders each, the first of
 * all a TARGET_BEGIN alone.  They are carried out one after the other; each
 * message is answered once, in order, when that is done.  The first failure is
 * the last answer: by then the files are closed, as they are by TARGET_END.  At
 * most TARGET_MESSAGES_MAX are without an answer.  Who hangs up, or shuts down,
 * ends it: what was not begun then is not done.
 */
#ifndef COMMON_TARGET_H
#define COMMON_TARGET_H

#include <stdint.h>

#include "common/err.h"
#include "common/limits.h"

#define TARGET_DATA_BYTES   MIB(8) /* of the memory: what the disks have ... */
#define TARGET_STAGE_BYTES  MIB(1) /* ... and, behind it, all else */
#define TARGET_MEMORY_BYTES (TARGET_DATA_BYTES + TARGET_STAGE_BYTES)
#define TARGET_ORDERS_MAX   256u
#define TARGET_MESSAGES_MAX 16u
#define TARGET_FDS          2u /* of the worker: the socket, the memory */
#define TARGET_FILES_FROM   2u /* of refpoint-target's descriptors */

enum target_op {
	TARGET_BEGIN = 1, /* `length` files are to be there, fit to be filled */
	TARGET_WRITE,     /* what the memory has, at `offset` */
	TARGET_SYNC_BEGIN, /* of these bytes; as sync_file_range(2) */
	TARGET_SYNC_WAIT,
	TARGET_LENGTH, /* the file's, `offset` */
	TARGET_END,    /* closes all */
};

struct target_order {
	uint16_t op;
	uint16_t file;
	uint32_t memory; /* where in it */
	uint64_t offset;
	uint64_t length;
};
_Static_assert(sizeof(struct target_order) == 24, "no holes");

/* What is no errno. */
enum target_error {
	TARGET_EMODE = 4096, /* not opened for reading and writing alone */
	TARGET_EFILLED,      /* no empty regular file */
	TARGET_ESAME,        /* the same file as `other` */
	TARGET_EORDER,       /* no such order */
};

struct target_answer {
	uint32_t number; /* of the message, the first being 0 */
	uint32_t error;  /* 0, errno, or a target_error */
	uint32_t file;   /* which failed */
	uint32_t other;
};

/* Maps the memory, which stays the caller's; munmap() takes
 * TARGET_MEMORY_BYTES.  -RP_EPARAM: it is none, or could shrink. */
int target_map(int memory, uint8_t **ret_bytes, struct err *err);

/* refpointd's message: N descriptors, the memory first, which stay the
 * caller's. */
int target_give(int channel, const int *fds, unsigned n, struct err *err);

#endif
