/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/dispatch.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/limits.h"
#include "gateway/options.h"

#define PATH_IDENTIFY "/wsman-anon/identify"

int dispatch_init(struct dispatch *dispatch, struct broker *broker,
		  struct err *err)
{
	struct wsman_options options = {.broker = broker, .version = VERSION};
	int r;

	*dispatch = (struct dispatch){
	    .cimxml = {.broker = broker,
		       .reply_bytes_max = CIM_REPLY_BYTES_MAX}};
	r = contexts_new(NULL, &dispatch->contexts, err);
	if (r < 0)
		return r;
	dispatch->cimxml.contexts = dispatch->contexts;
	options.contexts = dispatch->contexts;
	r = wsman_new(&options, &dispatch->wsman, err);
	if (r < 0)
		dispatch_clear(dispatch);
	return r;
}

void dispatch_clear(struct dispatch *dispatch)
{
	dispatch->wsman = wsman_free(dispatch->wsman);
	dispatch->contexts = contexts_free(dispatch->contexts);
}

static enum cim_role role_of(const struct principal *principal)
{
	switch (principal->role) {
	case ROLE_OPERATOR:
		return CIM_ROLE_OPERATOR;
	case ROLE_READ_ONLY:
		return CIM_ROLE_READER;
	case ROLE_DENIED:
	default:
		return CIM_ROLE_NONE;
	}
}

/* ------------------------------------------------------------------- doors */

static bool is_one_of(const char *path, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(path, list[i]) == 0)
			return true;
	return false;
}

static bool is_wsman_path(const char *path)
{
	static const char *const paths[] = {"/wsman", "/wsman/", PATH_IDENTIFY};

	return is_one_of(path, paths, ARRAY_SIZE(paths));
}

static bool is_cimxml_path(const char *path)
{
	static const char *const paths[] = {"/cimom", "/cimom/", "/"};

	return is_one_of(path, paths, ARRAY_SIZE(paths));
}

bool dispatch_anonymous(const struct http_request *request)
{
	const char *said = http_request_header(request, "WSMANIDENTIFY");

	if (strcmp(request->method, "POST") != 0 ||
	    !is_wsman_path(request->path))
		return false;
	return strcmp(request->path, PATH_IDENTIFY) == 0 ||
	       (said && strcasecmp(said, "unauthenticated") == 0);
}

/* ----------------------------------------------------------- WS-Management */

static void handle_wsman(struct dispatch *d, const struct http_request *q,
			 struct http_response *a)
{
	const struct wsman_request request = {
	    .content_type = q->content_type,
	    .body = q->body,
	    .body_bytes = q->body_bytes,
	    .caller = q->principal.name,
	    .role = role_of(&q->principal),
	    .host = http_request_header(q, "Host")};
	struct wsman_response response;

	if (!q->body_bytes && request.role != CIM_ROLE_NONE) {
		a->status = 200;
		return;
	}
	wsman_answer(d->wsman, &request, &response);
	if (request.role == CIM_ROLE_NONE && response.status != 200) {
		free(response.body);
		http_response_text(a, 401, "who are you?");
		return;
	}
	a->status = response.status;
	a->body = (uint8_t *)response.body;
	a->body_bytes = response.body_bytes;
	if (response.content_type)
		a->content_type = strdup(response.content_type);
}

/* ----------------------------------------------------------------- CIM-XML */

static void give_cimxml(struct cimxml_response *response,
			struct http_response *a)
{
	a->status = response->status;
	for (size_t i = 0; i < response->n_headers; i++) {
		const struct cimxml_header *h = &response->headers[i];

		if (strcasecmp(h->name, "Content-Type") == 0)
			a->content_type = strdup(h->value);
		else
			(void)http_response_add(a, h->name, h->value);
	}
	a->body = (uint8_t *)response->body;
	a->body_bytes = response->body_bytes;
}

static void handle_cimxml(struct dispatch *d, const struct http_request *q,
			  struct http_response *a)
{
	struct cimxml_header headers[HTTP_HEADERS_MAX];
	struct cimxml_request request = {.method = q->method,
					 .headers = headers,
					 .content_type = q->content_type,
					 .body = q->body,
					 .body_bytes = q->body_bytes,
					 .caller = q->principal.name,
					 .role = role_of(&q->principal),
					 .host =
					     http_request_header(q, "Host")};
	struct cimxml_response response;

	for (; request.n_headers < q->n_headers; request.n_headers++)
		headers[request.n_headers] =
		    (struct cimxml_header){q->headers[request.n_headers].name,
					   q->headers[request.n_headers].value};
	cimxml_handle(&d->cimxml, &request, &response);
	give_cimxml(&response, a);
}

/* ---------------------------------------------------------------- together */

static void refuse_method(struct http_response *a, const char *allowed)
{
	http_response_text(a, 405, "only requests of the protocol");
	(void)http_response_add(a, "Allow", allowed);
}

void dispatch_handle(void *arg, const struct http_request *request,
		     struct http_response *response)
{
	struct dispatch *d = arg;
	bool wsman = request->tag == DOOR_WSMAN;
	bool post = strcmp(request->method, "POST") == 0;

	if (!(wsman ? is_wsman_path : is_cimxml_path)(request->path))
		http_response_text(response, 404, "there is nothing here");
	else if (wsman && !post)
		refuse_method(response, "POST");
	else if (wsman)
		handle_wsman(d, request, response);
	else if (!post && strcmp(request->method, "M-POST") != 0)
		refuse_method(response, "POST, M-POST");
	else if (role_of(&request->principal) == CIM_ROLE_NONE)
		http_response_text(response, 401, "who are you?");
	else
		handle_cimxml(d, request, response);
	if (d->tidy_s)
		(void)alarm(d->tidy_s);
}
