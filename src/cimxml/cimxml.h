/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CIM-XML: one request in, one reply out (DSP0200, DSP0201, DSP0203).
 *
 * M1  What is wrong with the message itself is an HTTP status and a CIMError
 *     header; what is wrong with the operation is 200 and an <ERROR>.
 *     cim/status.h says which.
 * M2  Headers must say what the body says, as far as they say anything; object
 *     names in them may be percent-encoded or not.
 * M3  A reply is never cut short: what does not fit the limit is an error.
 * M4  The schema decides on types, whatever the request says of them.
 *
 * Knows nothing of connections, nor of who somebody is.
 */
#ifndef CIMXML_CIMXML_H
#define CIMXML_CIMXML_H

#include <stddef.h>
#include <stdint.h>

#include "cim/broker.h"
#include "cim/contexts.h"

struct cimxml_header {
	const char *name; /* without case */
	const char *value;
};

struct cimxml_request {
	const char *method;                  /* "POST" or "M-POST" */
	const struct cimxml_header *headers; /* all, as they came */
	size_t n_headers;
	const char *content_type; /* or NULL */
	const void *body;
	size_t body_bytes;
	const char *caller; /* the principal's name */
	enum cim_role role;
	const char *host; /* by which the client calls us; or NULL */
};

#define CIMXML_HEADERS_MAX 6

struct cimxml_response {
	unsigned status;
	/* Constants all; Content-Type is among them if there is a body. */
	struct cimxml_header headers[CIMXML_HEADERS_MAX];
	size_t n_headers;
	char *body; /* NULL: none; the caller frees it */
	size_t body_bytes;
};

/* What replies are made of; outlives the calls. */
struct cimxml_service {
	struct broker *broker;
	struct contexts *contexts;
	size_t reply_bytes_max; /* at least CIMXML_REPLY_BYTES_MIN */
};

#define CIMXML_REPLY_BYTES_MIN 8192

/* Never fails: what goes wrong is in the response.  Any thread may call. */
void cimxml_handle(const struct cimxml_service *service,
		   const struct cimxml_request *request,
		   struct cimxml_response *ret_response);

#endif
