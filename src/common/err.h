/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One integer says what went wrong, one sentence says it to a person.
 *
 * Internal functions return 0 (or a count) on success and a negative code on
 * failure: either -errno, or one of the project's own codes below, which lie
 * in a private range so that one int carries both.  Functions that can fail
 * for more than one reason take a last parameter `struct err *err`; it lives
 * in the caller's frame, may be NULL, and is written only on failure.
 *
 * ERR_TABLE is the only mapping from a code to anything else: its name on the
 * JSON sockets, its exit status in the CLI, its NBD error, and the result of
 * the CreateReferencePoint contract (0 completed, 1 not supported, 2 failed,
 * 3 timeout, 4 invalid parameter, 5 invalid state, 6 invalid type).
 */
#ifndef COMMON_ERR_H
#define COMMON_ERR_H

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>

/* Exit statuses of the CLI; documented in refpoint(1). */
enum exit_status {
	EXIT_OK = 0,
	EXIT_FAILED = 1,      /* it was tried and failed */
	EXIT_USAGE = 2,       /* the command line is wrong */
	EXIT_NOT_FOUND = 3,   /* no such VM, disk or point */
	EXIT_STATE = 4,       /* not now: busy, in use, wrong state */
	EXIT_UNSUPPORTED = 5, /* never, as asked for */
	EXIT_TIMEOUT = 6,
	EXIT_UNREACHABLE = 7, /* refpointd does not answer */
	EXIT_DAMAGED = 8,     /* tracking data is damaged (check) */
	EXIT_DENIED = 9,      /* the caller's role does not allow it */
};

/* symbol, number, name on the wire, errno, exit status, contract's result */
#define ERR_TABLE(X)                                                           \
	X(EPARAM, 1, "InvalidParameter", EINVAL, EXIT_USAGE, 4)                \
	X(ENOVM, 2, "NoSuchSystem", ENOENT, EXIT_NOT_FOUND, 4)                 \
	X(ENODISK, 3, "NoSuchDisk", ENOENT, EXIT_NOT_FOUND, 4)                 \
	X(ENOPOINT, 4, "NoSuchPoint", ENOENT, EXIT_NOT_FOUND, 4)               \
	X(EALREADY, 5, "AlreadyExists", EEXIST, EXIT_STATE, 5)                 \
	X(ESTATE, 6, "InvalidState", EBUSY, EXIT_STATE, 5)                     \
	X(ETYPE, 7, "InvalidType", EINVAL, EXIT_USAGE, 6)                      \
	X(EUNSUPPORTED, 8, "NotSupported", EOPNOTSUPP, EXIT_UNSUPPORTED, 1)    \
	X(ETIMEOUT, 9, "Timeout", ETIMEDOUT, EXIT_TIMEOUT, 3)                  \
	X(EIOFAIL, 10, "IoError", EIO, EXIT_FAILED, 2)                         \
	X(ENOROOM, 11, "NoSpace", ENOSPC, EXIT_FAILED, 2)                      \
	X(ECORRUPT, 12, "Damaged", EIO, EXIT_DAMAGED, 2)                       \
	X(EVERSION, 13, "UnsupportedVersion", EPROTONOSUPPORT,                 \
	  EXIT_UNSUPPORTED, 2)                                                 \
	X(EINUSE, 14, "InUse", EBUSY, EXIT_STATE, 5)                           \
	X(ELATCHED, 15, "TrackingStopped", EIO, EXIT_STATE, 5)                 \
	X(EDENIED, 16, "PermissionDenied", EPERM, EXIT_DENIED, 2)              \
	X(EWIRE, 17, "ProtocolError", EPROTO, EXIT_FAILED, 2)                  \
	X(EUNREACHABLE, 18, "ServiceUnavailable", ECONNREFUSED,                \
	  EXIT_UNREACHABLE, 2)                                                 \
	X(ESTALE_STORE, 19, "StoreRolledBack", ESTALE, EXIT_DAMAGED, 2)        \
	X(EFOREIGN, 20, "ForeignStore", EXDEV, EXIT_STATE, 2)                  \
	X(ELIMIT, 21, "LimitReached", ENOSPC, EXIT_STATE, 5)                   \
	X(EFAILED, 22, "Failed", EIO, EXIT_FAILED, 2)                          \
	X(ECANCELLED, 23, "Cancelled", ECANCELED, EXIT_FAILED, 2)              \
	X(ENOMETHOD, 24, "MethodNotFound", ENOSYS, EXIT_UNSUPPORTED, 1)        \
	X(EDEAD, 25, "Dead", EIO, EXIT_FAILED, 2)

/* RP_EPARAM and so on; functions return them negated: `return -RP_EPARAM;`. */
#define ERR_BASE 8192
enum err_code {
#define X(sym, num, name, eno, exit, result) RP_##sym = ERR_BASE + num,
	ERR_TABLE(X)
#undef X
};

#define ERR_TEXT_BYTES 320

struct err {
	int code;                  /* negative; 0: nothing was said */
	char text[ERR_TEXT_BYTES]; /* one line, no full stop, no newline */
};

/*
 * Records CODE (negative) and the sentence, and returns CODE, so that a
 * failing function can `return err_set(err, -EIO, "read '%s'", name)`.
 * For an errno the system's text is appended after ": ".  ERR may be NULL.
 */
int err_set(struct err *err, int code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Prefixes what ERR says with "CONTEXT: "; returns err->code (-RP_EFAILED if
 * ERR is NULL). */
int err_wrap(struct err *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* What a code is called; all accept -errno, a project code, or their positive
 * counterparts, and never fail. */
const char *err_name(int code);      /* "InvalidState"; on the wire */
int err_errno(int code);             /* nearest errno, positive */
int err_exit_status(int code);       /* enum exit_status */
int err_result(int code);            /* contract's result, 0 to 6 */
int err_from_name(const char *name); /* negative code; -RP_EFAILED if
					unknown */

#endif
