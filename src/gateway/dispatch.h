/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From HTTP's requests to the protocol that is spoken at the door they came to.
 *
 * G1  The door decides on the protocol, the path only whether there is
 *     anything: /wsman for WS-Management, /cimom or / for CIM-XML.
 * G2  Without a role nothing is answered but Identify of WS-Management, where
 *     it says that it comes from nobody: path /wsman-anon/identify, or header
 *     "WSMANIDENTIFY: unauthenticated".
 * G3  An empty request for WS-Management is how a client of WinRM's, which will
 *     encrypt what follows, proves who it is: an empty answer.
 * G4  The protocols learn who calls, and as what, from HTTP alone.
 */
#ifndef GATEWAY_DISPATCH_H
#define GATEWAY_DISPATCH_H

#include "cim/broker.h"
#include "cim/contexts.h"
#include "cimxml/cimxml.h"
#include "http/server.h"
#include "wsman/wsman.h"

struct dispatch {
	struct contexts *contexts;
	struct wsman *wsman;
	struct cimxml_service cimxml;
	unsigned tidy_s; /* after a request's end, SIGALRM in this time */
};

/* BROKER outlives it. */
int dispatch_init(struct dispatch *dispatch, struct broker *broker,
		  struct err *err);
void dispatch_clear(struct dispatch *dispatch);

/* http_handler; ARG is a struct dispatch, the tags are enum door_protocol. */
void dispatch_handle(void *arg, const struct http_request *request,
		     struct http_response *response);

/* Of a listener for WS-Management (G2). */
bool dispatch_anonymous(const struct http_request *request);

#endif
