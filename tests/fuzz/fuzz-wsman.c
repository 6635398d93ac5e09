/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An envelope from a client who may do everything, in front of the fake broker
 * of tests/wsman; then the same from nobody.
 *
 * Checked besides memory: there is always an answer, it is well-formed, it is
 * no longer than allowed, and nobody gets nothing done.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cim/status.h"
#include "cim/xml.h"
#include "common/bytes.h"
#include "common/limits.h"
#include "fake-broker.h"
#include "fuzz.h"
#include "wsman/wsman.h"

static void check(const struct wsman_response *response)
{
	const struct xml_options options = {.namespaces = true};
	const struct xml_node *root;
	struct arena *arena = arena_new(MIB(64));
	unsigned status = response->status;

	CHECK(arena && response->body);
	CHECK(status == 200 || status == 400 || status == 500);
	CHECK(response->body_bytes <= WSMAN_ENVELOPE_BYTES_MAX);
	CHECK(xml_parse(arena, response->body, response->body_bytes, &options,
			&root, NULL) == 0);
	CHECK(xml_is(root, NULL, "Envelope"));
	arena_free(arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct broker broker = {.array_items = 3};
	struct wsman_options options = {.broker = &broker, .version = "1"};
	struct wsman_request request = {.body = data,
					.body_bytes = size,
					.caller = "anna",
					.role = CIM_ROLE_OPERATOR};
	struct wsman_response response;
	struct wsman *wsman;
	unsigned done;

	CHECK(contexts_new(NULL, &options.contexts, NULL) == 0);
	CHECK(wsman_new(&options, &wsman, NULL) == 0);
	wsman_answer(wsman, &request, &response);
	check(&response);
	free(response.body);
	done = broker.calls + broker.deletes;
	request.caller = NULL;
	wsman_answer(wsman, &request, &response);
	check(&response);
	free(response.body);
	CHECK(broker.calls + broker.deletes == done);
	(void)wsman_free(wsman);
	(void)contexts_free(options.contexts);
	return 0;
}
