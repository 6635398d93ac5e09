/* SPDX-License-Identifier: Apache-2.0 */
#include "scene.h"

struct arena *arena;
struct broker scene_broker;
struct contexts *scene_contexts;
struct wsman *scene_wsman;
uint64_t scene_now;

static char *texts[1024]; /* to be freed */
static unsigned text_count, message_count;

static uint64_t now(void)
{
	return scene_now;
}

int scene_up(void **state)
{
	struct wsman_options options = {.broker = &scene_broker,
					.version = "1.0",
					.now = now};

	memset(&scene_broker, 0, sizeof(scene_broker));
	arena = arena_new(MIB(256));
	if (!arena || contexts_new(now, &scene_contexts, NULL) < 0)
		return -1;
	options.contexts = scene_contexts;
	return wsman_new(&options, &scene_wsman, NULL);
}

int scene_down(void **state)
{
	scene_wsman = wsman_free(scene_wsman);
	scene_contexts = contexts_free(scene_contexts);
	while (text_count > 0)
		free(texts[--text_count]);
	arena_free(arena);
	return 0;
}

static const char *or_empty(const char *text)
{
	return text ? text : "";
}

static char *header(const char *name, const char *text)
{
	return text ? arena_printf(arena, "<%s s:mustUnderstand='1'>%s</%s>",
				   name, text, name)
		    : arena_strdup(arena, "");
}

char *scene_envelope(const struct ask *ask)
{
	const char *id = ask->message_id;

	if (!id)
		id = arena_printf(arena, "uuid:00000000-0000-4000-8000-%012u",
				  ++message_count);
	return arena_printf(
	    arena,
	    "<s:Envelope xmlns:s='" SOAP "' xmlns:a='" ADDRESSING
	    "' xmlns:w='" WSMAN "' xmlns:n='" ENUMERATION
	    "' xmlns:xsi='http://www.w3.org/2001/XMLSchema-instance'>"
	    "<s:Header><a:MessageID>%s</a:MessageID>%s%s%s%s"
	    "<w:SelectorSet>%s</w:SelectorSet></s:Header>"
	    "<s:Body>%s</s:Body></s:Envelope>",
	    id, header("a:Action", ask->action),
	    header("w:ResourceURI", ask->uri),
	    header("w:MaxEnvelopeSize",
		   ask->max_bytes ? arena_printf(arena, "%lu", ask->max_bytes)
				  : NULL),
	    or_empty(ask->headers), or_empty(ask->selectors),
	    or_empty(ask->body));
}

struct answer scene_send(const struct ask *ask, const char *type,
			 const void *body, size_t bytes)
{
	struct wsman_request request = {
	    .content_type = type,
	    .body = body,
	    .body_bytes = bytes,
	    .caller = ask->caller ? ask->caller : "anna",
	    .role = ask->role ? ask->role : CIM_ROLE_OPERATOR,
	    .host = "host"};
	const struct xml_options options = {.namespaces = true,
					    .max_bytes = MIB(128)};
	struct wsman_response response;
	struct answer answer = {0};

	wsman_answer(scene_wsman, &request, &response);
	answer.status = response.status;
	answer.text = response.body;
	answer.bytes = response.body_bytes;
	if (!response.body)
		return answer;
	assert_true(text_count < ARRAY_SIZE(texts));
	texts[text_count++] = response.body;
	if (response.body_bytes < MIB(3))
		assert_int_equal(xml_parse(arena, response.body,
					   response.body_bytes, &options,
					   &answer.root, NULL),
				 0);
	if (answer.root)
		answer.payload = xml_child(answer.root, SOAP, "Body")->first;
	return answer;
}

struct answer scene_ask(const struct ask *ask)
{
	const char *text = scene_envelope(ask);

	return scene_send(ask, "application/soap+xml;charset=UTF-8", text,
			  strlen(text));
}

static const struct xml_node *next(const struct xml_node *n)
{
	if (n->first)
		return n->first;
	while (n && !n->next)
		n = n->parent;
	return n ? n->next : NULL;
}

const struct xml_node *scene_find(const struct answer *answer, const char *name)
{
	const struct xml_node *n = answer->root;

	while (n && strcmp(n->name, name) != 0)
		n = next(n);
	return n;
}

size_t scene_count(const struct answer *answer, const char *name)
{
	size_t count = 0;

	for (const struct xml_node *n = answer->root; n; n = next(n))
		count += strcmp(n->name, name) == 0;
	return count;
}

void scene_assert_fault(const struct answer *answer, const char *subcode,
			const char *detail)
{
	const struct xml_node *n = scene_find(answer, "Subcode");

	assert_non_null(n);
	assert_string_equal(n->first->text, subcode);
	n = scene_find(answer, "FaultDetail");
	assert_int_equal(!n, !detail);
	if (detail)
		assert_string_equal(strrchr(n->text, '/') + 1, detail);
}
