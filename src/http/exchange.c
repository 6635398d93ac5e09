/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request and its reply.
 *
 *   NEW ── who calls? ──► CHECKING (suspended) ──► BODY ──► HANDLING
 *                 └──────────────────────────────────┘      (suspended)
 *   anything ──► READY: the reply is there, and goes out at the end of the body
 *
 * libmicrohttpd calls exchange_access once when the headers are there, again
 * for each piece of the body and once at its end; and, after each of our two
 * suspensions, again for what it had called it for before.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/log.h"
#include "http/encrypted.h"
#include "http/internal.h"

enum state {
	STATE_NEW,
	STATE_CHECKING,
	STATE_BODY,
	STATE_HANDLING
};

struct exchange {
	struct exchange *next; /* of those that wait */
	struct connection *connection;
	struct MHD_Connection *mhd;
	enum state state;
	bool done;    /* STATE_CHECKING, STATE_HANDLING: the task has ended */
	bool refused; /* response is the answer, the body is thrown away */
	bool expect;  /* 100-continue */
	struct http_header headers[HTTP_HEADERS_MAX];
	struct http_request request;
	struct http_response response;
	struct auth_input input;
	struct auth_verdict verdict;
	uint64_t discarded;
	uint8_t *body;
	size_t body_room; /* taken from the server's budget */
};

static struct http_server *server_of(const struct exchange *x)
{
	return x->connection->listener->server;
}

static void refuse(struct exchange *x, unsigned status, const char *text)
{
	http_response_text(&x->response, status, text);
	x->refused = true;
}

/* ------------------------------------------------------------ the body */

/* Takes NEED bytes of room, at least doubling; false if there are none. */
static bool reserve(struct exchange *x, size_t need)
{
	struct http_server *server = server_of(x);
	size_t room = MAX(need, MIN(x->body_room * 2, HTTP_BODY_BYTES_MAX));
	uint64_t grow = room - x->body_room;
	uint8_t *body;

	if (need <= x->body_room)
		return true;
	if (atomic_fetch_add(&server->body_bytes, grow) + grow >
	    HTTP_BODIES_BYTES_MAX) {
		(void)atomic_fetch_sub(&server->body_bytes, grow);
		return false;
	}
	body = realloc(x->body, room + 1);
	if (!body) {
		(void)atomic_fetch_sub(&server->body_bytes, grow);
		return false;
	}
	x->body = body;
	x->body_room = room;
	return true;
}

static void drop_body(struct exchange *x)
{
	(void)atomic_fetch_sub(&server_of(x)->body_bytes, x->body_room);
	free(x->body);
	x->body = NULL;
	x->body_room = 0;
	x->request.body_bytes = 0;
}

/* MHD_NO: too much was thrown away; disconnect. */
static enum MHD_Result take_piece(struct exchange *x, const char *data,
				  size_t bytes)
{
	size_t have = x->request.body_bytes;
	size_t most = x->request.principal.name[0] ? HTTP_BODY_BYTES_MAX
						   : HTTP_ANONYMOUS_BYTES_MAX;

	if (!x->refused && bytes > most - have)
		refuse(x, MHD_HTTP_CONTENT_TOO_LARGE,
		       "the request is too large");
	else if (!x->refused && !reserve(x, have + bytes))
		refuse(x, MHD_HTTP_SERVICE_UNAVAILABLE,
		       "too many requests at once");
	if (x->refused) {
		drop_body(x);
		x->discarded += bytes;
		return x->discarded <= HTTP_DISCARD_BYTES_MAX ? MHD_YES
							      : MHD_NO;
	}
	(void)memcpy(x->body + have, data, bytes);
	x->request.body_bytes = have + bytes;
	return MHD_YES;
}

/* -------------------------------------------------------------- replies */

static void add_challenges(struct exchange *x, struct MHD_Response *r)
{
	const struct http_request *q = &x->request;
	const char *value;
	char *token;

	if (x->verdict.token) {
		if (asprintf(&token, "Negotiate %s", x->verdict.token) < 0)
			return;
		(void)MHD_add_response_header(r, "WWW-Authenticate", token);
		free(token);
		return;
	}
	for (unsigned i = 0;
	     (value = auth_challenge(server_of(x)->auth, q->tls, q->peer, i));
	     i++)
		(void)MHD_add_response_header(r, "WWW-Authenticate", value);
}

static struct MHD_Response *make_reply(struct exchange *x)
{
	struct http_response *a = &x->response;
	struct MHD_Response *r;

	if (a->status < 200 || a->status > 599) {
		a->status = MHD_HTTP_INTERNAL_SERVER_ERROR;
		log_warning("a request to '%s' has no answer", x->request.path);
	}
	r = MHD_create_response_from_buffer(a->body_bytes, a->body,
					    MHD_RESPMEM_MUST_FREE);
	if (!r)
		return NULL;
	a->body = NULL;
	if (a->content_type)
		(void)MHD_add_response_header(r, "Content-Type",
					      a->content_type);
	for (size_t i = 0; i < a->n_headers; i++)
		(void)MHD_add_response_header(r, a->headers[i].name,
					      a->headers[i].value);
	if (a->status == MHD_HTTP_UNAUTHORIZED)
		add_challenges(x, r);
	else if (x->verdict.token)
		add_challenges(x, r); /* proves to the client who we are */
	if (a->status == MHD_HTTP_SERVICE_UNAVAILABLE ||
	    a->status == MHD_HTTP_TOO_MANY_REQUESTS)
		(void)MHD_add_response_header(r, "Retry-After", "5");
	return r;
}

static enum MHD_Result reply(struct exchange *x)
{
	struct MHD_Response *r;
	enum MHD_Result ok;

	drop_body(x);
	r = make_reply(x);
	if (!r)
		return MHD_NO;
	log_debug("http", "%s %s from '%s': %u", x->request.method,
		  x->request.path, x->request.principal.name,
		  x->response.status);
	connection_phase(x->connection, PHASE_SENDING);
	ok = MHD_queue_response(x->mhd, x->response.status, r);
	MHD_destroy_response(r);
	return ok;
}

/* ------------------------------------------------- the pools' two tasks */

struct exchange *exchange_take_due(struct http_server *server, uint64_t now,
				   bool all, uint64_t *ret_next)
{
	struct exchange **link = &server->delayed, *due = NULL, *x;
	uint64_t next = UINT64_MAX;

	while ((x = *link)) {
		if (!all && now < x->verdict.due_ms) {
			next = MIN(next, x->verdict.due_ms);
			link = &x->next;
			continue;
		}
		*link = x->next;
		x->next = due;
		due = x;
	}
	*ret_next = next;
	return due;
}

void exchange_resume(struct exchange *due)
{
	struct exchange *next;

	for (; due; due = next) {
		next = due->next; /* it may be freed from here on */
		MHD_resume_connection(due->mhd);
	}
}

/* Gives the connection back to its thread, at once or when it is time. */
static void hand_back(struct exchange *x)
{
	struct http_server *server = server_of(x);
	bool later;

	x->done = true;
	(void)pthread_mutex_lock(&server->lock);
	later = x->state == STATE_CHECKING && x->verdict.due_ms > now_ms() &&
		!server->warden_stops;
	if (later) {
		x->next = server->delayed;
		server->delayed = x;
		/* keeps no place that others need */
		connection_phase_locked(x->connection, PHASE_REFUSED);
		(void)pthread_cond_signal(&server->changed);
	}
	(void)pthread_mutex_unlock(&server->lock);
	if (!later)
		MHD_resume_connection(x->mhd);
}

static void check_task(void *arg)
{
	struct exchange *x = arg;

	if (atomic_load(&server_of(x)->stopping))
		x->verdict.outcome = AUTH_BUSY;
	else
		auth_check(server_of(x)->auth, &x->connection->auth, &x->input,
			   &x->verdict);
	hand_back(x);
}

/* Decrypts, calls the handler, and encrypts. */
static void handle_encrypted(struct exchange *x)
{
	struct http_server *server = server_of(x);
	struct auth_connection *auth = x->connection->auth;
	uint8_t *plain = NULL, *sealed = NULL;
	char *type = NULL, *sealed_type = NULL;
	struct err err = {0};
	size_t bytes;
	bool kerberos;

	if (encrypted_open(auth, x->request.content_type, x->request.body,
			   x->request.body_bytes, &type, &plain, &bytes,
			   &kerberos, &err) < 0) {
		log_debug("http", "message: %s", err.text);
		http_response_text(&x->response, MHD_HTTP_BAD_REQUEST,
				   "the message cannot be decrypted");
		return;
	}
	x->request.content_type = type;
	x->request.body = plain;
	x->request.body_bytes = bytes;
	server->handler(server->arg, &x->request, &x->response);
	if (x->response.body_bytes &&
	    encrypted_make(auth, kerberos,
			   x->response.content_type ? x->response.content_type
						    : "text/plain",
			   x->response.body, x->response.body_bytes,
			   &sealed_type, &sealed, &bytes, &err) < 0) {
		log_warning("encrypt a reply: %s", err.text);
		http_response_clear(&x->response);
	} else if (sealed) {
		free(x->response.body);
		free(x->response.content_type);
		x->response.body = sealed;
		x->response.body_bytes = bytes;
		x->response.content_type = sealed_type;
	}
	x->request.body = NULL;
	x->request.content_type = NULL;
	free(plain);
	free(type);
}

/* A client decides how long its reply stays in our memory. */
static void count_reply(struct exchange *x)
{
	size_t bytes = x->response.body_bytes;

	if (bytes <= HTTP_REPLY_SMALL_BYTES ||
	    connection_take_reply(x->connection, x->request.principal.name,
				  bytes))
		return;
	log_debug("http",
		  "the replies that '%s' and others have not taken leave no "
		  "room for another of %zu bytes",
		  x->request.principal.name, bytes);
	http_response_clear(&x->response);
	http_response_text(&x->response, MHD_HTTP_SERVICE_UNAVAILABLE,
			   "too many replies are not taken");
}

static void handle_task(void *arg)
{
	struct exchange *x = arg;
	struct http_server *server = server_of(x);

	if (atomic_load(&server->interrupted))
		http_response_text(&x->response, MHD_HTTP_SERVICE_UNAVAILABLE,
				   "stopping");
	else if (encrypted_is(x->request.content_type))
		handle_encrypted(x);
	else
		server->handler(server->arg, &x->request, &x->response);
	count_reply(x);
	hand_back(x);
}

/* Suspends and queues; false, and nothing done, if there is no room. */
static bool submit(struct exchange *x, enum state state, struct pool *pool,
		   void (*run)(void *arg))
{
	x->state = state;
	x->done = false;
	connection_phase(x->connection, PHASE_BUSY);
	MHD_suspend_connection(x->mhd);
	if (!atomic_load(&server_of(x)->stopping) &&
	    pool_submit(pool, run, x) == 0)
		return true;
	refuse(x, MHD_HTTP_SERVICE_UNAVAILABLE, "too many requests at once");
	x->done = true;
	MHD_resume_connection(x->mhd);
	return false;
}

/* ---------------------------------------------------- what the daemon calls */

static enum MHD_Result take_header(void *cls, enum MHD_ValueKind kind,
				   const char *name, const char *value)
{
	struct exchange *x = cls;

	if (x->request.n_headers == HTTP_HEADERS_MAX) {
		refuse(x, MHD_HTTP_REQUEST_HEADER_FIELDS_TOO_LARGE,
		       "too many headers");
		return MHD_NO;
	}
	x->headers[x->request.n_headers++] =
	    (struct http_header){name, value ? value : ""};
	return MHD_YES;
}

/* Refuses what is known to be too large before it comes. */
static void judge_length(struct exchange *x)
{
	const char *length = http_request_header(&x->request, "Content-Length");
	const char *expect = http_request_header(&x->request, "Expect");
	unsigned long long n;
	char *end;

	x->expect = expect && strcasecmp(expect, "100-continue") == 0;
	if (!length)
		return;
	errno = 0;
	n = strtoull(length, &end, 10);
	if (errno || *end || n > HTTP_BODY_BYTES_MAX)
		refuse(x, MHD_HTTP_CONTENT_TOO_LARGE,
		       "the request is too large");
}

/* What who is calling means for the request. */
static void apply_verdict(struct exchange *x)
{
	const struct listener *l = x->connection->listener;

	if (x->refused)
		return;
	x->request.principal = x->verdict.principal;
	switch (x->verdict.outcome) {
	case AUTH_GRANTED:
		if (x->verdict.principal.role != ROLE_DENIED)
			x->connection->trusted = true;
		else
			refuse(x, MHD_HTTP_FORBIDDEN, "no role here");
		break;
	case AUTH_ANONYMOUS:
		if (!l->anonymous || !l->anonymous(&x->request))
			refuse(x, MHD_HTTP_UNAUTHORIZED, "who are you?");
		x->request.principal = (struct principal){0};
		break;
	case AUTH_LIMITED:
		refuse(x, MHD_HTTP_TOO_MANY_REQUESTS, "too many failures");
		break;
	case AUTH_BUSY:
		refuse(x, MHD_HTTP_SERVICE_UNAVAILABLE,
		       "too many requests at once");
		break;
	case AUTH_CONTINUE:
	case AUTH_REFUSED:
	default:
		refuse(x, MHD_HTTP_UNAUTHORIZED, "not let in");
	}
}

/* The body may come, unless it is refused and the client waits to hear. */
static enum MHD_Result begin_body(struct exchange *x)
{
	apply_verdict(x);
	x->state = STATE_BODY;
	if (x->refused && x->expect && x->verdict.outcome != AUTH_CONTINUE)
		return reply(x);
	connection_phase(x->connection, PHASE_BODY);
	return MHD_YES;
}

/* Handlers have no use for it. */
static void hide_authorization(struct exchange *x)
{
	size_t kept = 0;

	for (size_t i = 0; i < x->request.n_headers; i++)
		if (strcasecmp(x->headers[i].name, "Authorization") != 0)
			x->headers[kept++] = x->headers[i];
	x->request.n_headers = kept;
}

static struct exchange *begin(struct connection *c, struct MHD_Connection *mhd,
			      const char *url, const char *method)
{
	struct exchange *x = calloc(1, sizeof(*x));

	if (!x)
		return NULL;
	x->connection = c;
	x->mhd = mhd;
	x->request.tag = c->listener->tag;
	x->request.tls = c->listener->tls;
	x->request.peer = (const struct sockaddr *)&c->peer;
	x->request.method = method;
	x->request.path = url;
	x->request.headers = x->headers;
	x->request.certificate = connection_certificate(c, mhd);
	(void)MHD_get_connection_values(mhd, MHD_HEADER_KIND, take_header, x);
	judge_length(x);
	x->input = (struct auth_input){
	    .authorization = http_request_header(&x->request, "Authorization"),
	    .tls = x->request.tls,
	    .peer = x->request.peer,
	    .certificate = x->request.certificate,
	};
	hide_authorization(x);
	if (x->request.tls) {
		const struct certificate *own =
		    c->listener->server->certificate;

		x->input.binding = own->end_point;
		x->input.binding_bytes = own->end_point_bytes;
	}
	return x;
}

static enum MHD_Result end_of_body(struct exchange *x)
{
	if (x->refused)
		return reply(x);
	if (x->body)
		x->body[x->request.body_bytes] = '\0';
	x->request.body = x->body;
	x->request.content_type =
	    http_request_header(&x->request, "Content-Type");
	(void)submit(x, STATE_HANDLING, server_of(x)->handlers, handle_task);
	return MHD_YES;
}

static enum MHD_Result first_call(struct exchange *x)
{
	struct http_server *server = server_of(x);

	if (!x->refused && !auth_quick(server->auth, &x->connection->auth,
				       &x->input, &x->verdict)) {
		(void)submit(x, STATE_CHECKING, server->checks, check_task);
		return MHD_YES;
	}
	if (!x->refused && x->verdict.due_ms > now_ms()) {
		x->state = STATE_CHECKING;
		connection_phase(x->connection, PHASE_BUSY);
		MHD_suspend_connection(x->mhd);
		hand_back(x);
		return MHD_YES;
	}
	return begin_body(x);
}

enum MHD_Result exchange_access(void *cls, struct MHD_Connection *mhd,
				const char *url, const char *method,
				const char *version, const char *data,
				size_t *bytes, void **context)
{
	struct connection *c = connection_of(mhd);
	struct exchange *x = *context;
	enum MHD_Result ok;

	if (!c)
		return MHD_NO;
	if (!x) {
		x = *context = begin(c, mhd, url, method);
		return x ? first_call(x) : MHD_NO;
	}
	switch (x->state) {
	case STATE_CHECKING:
		return x->done ? begin_body(x) : MHD_YES;
	case STATE_BODY:
		if (!*bytes)
			return end_of_body(x);
		ok = take_piece(x, data, *bytes);
		*bytes = 0;
		return ok;
	case STATE_HANDLING:
		return x->done ? reply(x) : MHD_YES;
	case STATE_NEW:
	default:
		return MHD_NO;
	}
}

void exchange_completed(void *cls, struct MHD_Connection *mhd, void **context,
			enum MHD_RequestTerminationCode code)
{
	struct exchange *x = *context;

	if (!x)
		return;
	*context = NULL;
	drop_body(x);
	http_response_clear(&x->response);
	connection_reply_taken(x->connection);
	auth_verdict_clear(&x->verdict);
	/* the connection's memory lives on, with the password in it */
	if (x->input.authorization)
		explicit_bzero((void *)(uintptr_t)x->input.authorization,
			       strlen(x->input.authorization));
	if (code == MHD_REQUEST_TERMINATED_COMPLETED_OK)
		connection_phase(x->connection, PHASE_IDLE);
	free(x);
}

/* The next request of a connection has begun. */
void *exchange_first_line(void *cls, const char *uri,
			  struct MHD_Connection *mhd)
{
	struct connection *c = connection_of(mhd);

	if (c && c->phase != PHASE_HEADERS)
		connection_phase(c, PHASE_HEADERS);
	return NULL;
}
