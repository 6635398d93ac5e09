/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A CIM-XML request: the first line is the header CIMMethod, the second
 * CIMObject, the rest the body.  Whatever it is, there is an answer of a known
 * status, and what it holds is XML that we can read.
 */
#include <stdlib.h>
#include <string.h>

#include "cim/xml.h"
#include "cimxml/cimxml.h"
#include "cimxml/fake-broker.h"
#include "common/limits.h"
#include "fuzz.h"

static bool is_known(unsigned status)
{
	static const unsigned known[] = {200, 400, 405, 413, 415, 500, 501};

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (known[i] == status)
			return true;
	return false;
}

static void check(const struct cimxml_response *response)
{
	const struct xml_options options = {.max_bytes = CIM_REPLY_BYTES_MAX};
	const struct xml_node *root;
	struct arena *arena;

	CHECK(is_known(response->status));
	CHECK((response->status == 200) == (response->body != NULL));
	if (!response->body)
		return;
	CHECK(strlen(response->body) == response->body_bytes);
	arena = arena_new(CIM_REPLY_BYTES_MAX);
	CHECK(arena && xml_parse(arena, response->body, response->body_bytes,
				 &options, &root, NULL) == 0);
	CHECK(xml_is(root, NULL, "CIM"));
	arena_free(arena);
}

/* The line that begins at *FROM; a copy.  NULL if there is none. */
static char *take_line(const uint8_t **from, const uint8_t *end)
{
	const uint8_t *newline = memchr(*from, '\n', (size_t)(end - *from));
	char *line;

	if (!newline)
		return NULL;
	line = strndup((const char *)*from, (size_t)(newline - *from));
	CHECK(line);
	*from = newline + 1;
	return line;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = data + size;
	char *method = take_line(&data, end);
	char *object = method ? take_line(&data, end) : NULL;
	const struct cimxml_header headers[] = {{"CIMOperation", "MethodCall"},
						{"CIMMethod", method},
						{"CIMObject", object}};
	struct cimxml_service service = {.reply_bytes_max = KIB(256)};
	const struct cimxml_request request = {
	    .method = "POST",
	    .headers = headers,
	    .n_headers = ARRAY_SIZE(headers),
	    .content_type = "application/xml",
	    .body = data,
	    .body_bytes = (size_t)(end - data),
	    .caller = "alice",
	    .role = CIM_ROLE_OPERATOR};
	struct cimxml_response response;

	if (object) {
		CHECK(contexts_new(NULL, &service.contexts, NULL) == 0);
		cimxml_handle(&service, &request, &response);
		check(&response);
		free(response.body);
		(void)contexts_free(service.contexts);
	}
	free(object);
	free(method);
	return 0;
}
