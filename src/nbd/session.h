/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One client's conversation, without a socket: bytes go in, requests go to the
 * disks, bytes come out.  The server moves them; so does the fuzzer.
 *
 *   S1  What arrives is consumed in order by the row of the table in session.c
 *       for the present state; a row that cannot go on (no memory within the
 *       cap, too many requests, an answer unsent) leaves the bytes where they
 *       are, and no more are read.
 *   S2  Each request that was taken is answered exactly once, unless the
 *       conversation broke off; its memory is held until its answer is sent.
 *   S3  The bytes of an answer do not move while they are being sent: one
 *       batch at a time.
 *   S4  A session may be freed once session_quiet().
 *   S5  The runner's thread begins no question of a session that broke off or
 *       is being drained: only what it is at can keep such a session.
 */
#ifndef NBD_SESSION_H
#define NBD_SESSION_H

#include <sys/uio.h>

#include "nbd/pool.h"
#include "nbd/protocol.h"
#include "nbd/runner.h"
#include "nbd/server.h"

struct session;
struct opening;

#define BATCH_REPLIES    64
#define REPLY_HEAD_BYTES 128 /* headers of one reply, with an error's text */

/* A command of the client, from its header to its answer's last byte. */
struct request {
	struct volume_request volume; /* .data: the buffer, NULL if none */
	struct session *session;
	struct request *next;  /* unused; to be sent; in the batch */
	uint64_t buffer_bytes; /* 0: no buffer */
	uint64_t reply_bytes;  /* of the buffer, to be sent */
	uint32_t error;        /* enum nbd_error */
	uint16_t command;
	uint16_t flags;
	const char *text; /* why, if there is an error */
	uint8_t cookie[8];
	struct errand status; /* a BLOCK_STATUS's */
	int status_result;
};

enum session_state {
	SESSION_HELLO,       /* the client's flags */
	SESSION_OPTION,      /* the header of an option */
	SESSION_OPTION_DATA, /* its data, all at once */
	SESSION_OPTION_SKIP, /* data of an option too large */
	SESSION_OPENING,     /* nothing, until contexts are opened */
	SESSION_REQUEST,     /* the header of a command */
	SESSION_PAYLOAD,     /* what it writes */
	SESSION_SKIP,        /* the same, of a command that was refused */
	SESSION_ENDED,       /* nothing more is read */
};

enum session_end {
	SESSION_GOES_ON,
	SESSION_SAID_GOODBYE, /* close once all is answered */
	SESSION_BROKEN,       /* close now; `why` says why, if not "" */
};

/* One selected meta context. */
struct context {
	struct nbd_view *view; /* NULL: base:allocation */
	uint32_t id;
};

struct session {
	struct nbd_host *host;
	struct pool *pool;
	void (*ready)(struct session *session); /* something is to be sent */
	struct runner *runner; /* NULL: errands are run on the spot */
	/* The runner's thread need not answer any more.  Only ever set, by the
	 * ring's thread. */
	_Atomic bool forgone;
	struct pool_user user;

	enum session_state state;
	enum session_end end;
	char why[160];

	uint8_t *in; /* NBD_RECEIVE_BYTES; [in_start, in_end) is unread */
	uint32_t in_start;
	uint32_t in_end;
	uint8_t *out; /* of the negotiation */
	uint32_t out_bytes;
	uint32_t out_room;

	/* negotiation */
	uint32_t client_flags;
	uint32_t option;
	uint32_t option_bytes; /* of its data, still to come */
	uint32_t options;      /* how many so far */
	bool structured;
	struct context contexts[NBD_CONTEXTS_MAX];
	unsigned context_count;
	struct opening *opening; /* or NULL */
	struct nbd_disk *context_disk;

	/* transmission */
	struct nbd_disk *disk;
	struct request *payload; /* being filled */
	uint64_t payload_left;
	uint64_t skip_left;
	unsigned requests;  /* all of them */
	unsigned submitted; /* in the disk's hands, or the runner's */

	/* replies: waiting, and being sent */
	struct request *replies;
	struct request **last_reply;
	struct request *batch;
	struct iovec iov[2 * BATCH_REPLIES + 1];
	int iov_count;
	int iov_next;
	bool sending_out;
	uint8_t heads[BATCH_REPLIES * REPLY_HEAD_BYTES];
};

/* Queues the greeting.  -ENOMEM. */
int session_init(struct session *session, struct nbd_host *host,
		 struct pool *pool, void (*ready)(struct session *session));

/* Releases all; the session must be quiet. */
void session_done(struct session *session);

/* Where the next bytes belong: returns how many of IOV are set (up to 2), 0 if
 * nothing is to be read now.  To be asked again before each read. */
int session_input(struct session *session, struct iovec iov[2]);

/* BYTES came in where session_input() said; 0: the client closed. */
void session_received(struct session *session, size_t bytes);

/* Goes on with bytes that had to wait. */
void session_resume(struct session *session);

/* What to send: returns how many elements, 0 if nothing; they stay until
 * session_sent() was told of all their bytes. */
int session_output(struct session *session, struct iovec **ret_iov);
void session_sent(struct session *session, size_t bytes);

/* What was to be sent will not be: the session broke off, and nobody reads its
 * buffers any more. */
void session_unsent(struct session *session);

/* Nothing more is read: as if the client had said goodbye. */
void session_stop(struct session *session);

/* The same, and what was asked but has not begun to be looked up is answered
 * with an error: the server ends, and does not wait for it. */
void session_drain(struct session *session);

/* The connection is gone: answers are thrown away.  WHY (NULL: none) is
 * recorded unless there is a reason already. */
void session_break(struct session *session, const char *why);

bool session_in_transmission(const struct session *session);

/* The client keeps memory busy: it owes us payload, or takes no replies. */
bool session_obstructs(const struct session *session);

/* All is answered and sent, or the conversation broke off and no request is in
 * flight. */
bool session_quiet(const struct session *session);

/* ---- between the files of this folder ---------------------------------- */

/* All return how many bytes they took, -EAGAIN, or -EPROTO after
 * session_fail(). */
int64_t session_fail(struct session *session, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* negotiate.c */
void negotiate_greet(struct session *session);
int64_t negotiate_hello(struct session *session, const uint8_t *bytes,
			uint64_t available);
int64_t negotiate_option(struct session *session, const uint8_t *bytes,
			 uint64_t available);
int64_t negotiate_data(struct session *session, const uint8_t *bytes,
		       uint64_t available);
int64_t negotiate_skip(struct session *session, const uint8_t *bytes,
		       uint64_t available);
/* Appends to what is sent in negotiation. */
void negotiate_put(struct session *session, const void *bytes, size_t count);
void negotiate_reply(struct session *session, uint32_t type, const void *data,
		     size_t bytes);
/* An error reply (enum nbd_option_reply_type, NBD_ERR_*) with a text. */
void negotiate_refuse(struct session *session, uint32_t type, const char *fmt,
		      ...) __attribute__((format(printf, 3, 4)));
/* The disk of that name; NULL after a refusal if there is none. */
struct nbd_disk *negotiate_export(struct session *session, const uint8_t *name,
				  uint32_t name_bytes);

/* context.c */
void context_option(struct session *session, const uint8_t *data,
		    uint32_t bytes);
void context_clear(struct session *session);
/* Bytes of the buffer that an answer to BLOCK_STATUS needs. */
uint64_t context_status_bytes(const struct session *session, bool one);
/* Fills the buffer with all chunks; a negative code if a view is gone,
 * -ESHUTDOWN if nobody waits for the answer.  May wait for the disk: for the
 * runner's thread, while the request is there. */
int context_status(struct session *session, struct request *request);

/* transmit.c */
uint16_t transmit_flags(const struct session *session, struct nbd_disk *disk);
int64_t transmit_request(struct session *session, const uint8_t *bytes,
			 uint64_t available);
int64_t transmit_skip(struct session *session, const uint8_t *bytes,
		      uint64_t available);
/* BYTES of the payload are in its buffer. */
void transmit_payload(struct session *session, uint64_t bytes);

/* reply.c */
void reply_queue(struct session *session, struct request *request);
void reply_release(struct session *session, struct request *request);

#endif
