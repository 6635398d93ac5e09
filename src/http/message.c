/* SPDX-License-Identifier: Apache-2.0 */
/* Requests and replies as a handler has them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "http/server.h"

const char *http_request_header(const struct http_request *request,
				const char *name)
{
	for (size_t i = 0; i < request->n_headers; i++)
		if (strcasecmp(request->headers[i].name, name) == 0)
			return request->headers[i].value;
	return NULL;
}

bool http_response_add(struct http_response *response, const char *name,
		       const char *value)
{
	char *copy;

	if (response->n_headers == HTTP_REPLY_HEADERS_MAX ||
	    strpbrk(value, "\r\n"))
		return false;
	copy = strdup(value);
	if (!copy)
		return false;
	response->headers[response->n_headers].name = name;
	response->headers[response->n_headers++].value = copy;
	return true;
}

void http_response_clear(struct http_response *response)
{
	for (size_t i = 0; i < response->n_headers; i++)
		free(response->headers[i].value);
	free(response->content_type);
	free(response->body);
	*response = (struct http_response){0};
}

void http_response_text(struct http_response *response, unsigned status,
			const char *text)
{
	char *line = NULL;
	int n;

	http_response_clear(response);
	response->status = status;
	n = asprintf(&line, "%s\n", text);
	if (n < 0)
		return;
	response->body = (uint8_t *)line;
	response->body_bytes = (size_t)n;
	response->content_type = strdup("text/plain; charset=utf-8");
}
