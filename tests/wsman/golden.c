/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers each FILE.request with the fake broker and compares with FILE.reply,
 * where random ids read "uuid:*".  The first line of a reply is the HTTP
 * status.  REWRITE=1 writes the replies instead: look at them before they are
 * committed.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake-broker.h"
#include "wsman/wsman.h"

static char *read_all(const char *path, size_t *ret_bytes)
{
	FILE *f = fopen(path, "rb");
	char *bytes = calloc(1, 1 << 20);

	if (!f || !bytes)
		exit(2);
	*ret_bytes = fread(bytes, 1, (1 << 20) - 1, f);
	(void)fclose(f);
	return bytes;
}

/* Ids of our own are 36 characters after "uuid:" or 32 hex digits. */
static void hide_ids(char *text)
{
	static const char *const before[] = {"<a:MessageID>uuid:",
					     "<n:EnumerationContext>uuid:"};

	for (size_t i = 0; i < 2; i++) {
		char *p = strstr(text, before[i]);
		char *end;

		if (!p)
			continue;
		p += strlen(before[i]);
		end = strchr(p, '<');
		*p++ = '*';
		memmove(p, end, strlen(end) + 1);
	}
}

static char *answer(const char *path)
{
	struct broker broker = {0};
	struct contexts *contexts;
	struct wsman *wsman;
	struct wsman_request request = {
	    .content_type = "application/soap+xml;charset=utf-8",
	    .caller = "anna",
	    .role = CIM_ROLE_OPERATOR,
	    .host = "host"};
	struct wsman_response response;
	size_t bytes;
	char *body = read_all(path, &bytes), *text;

	if (contexts_new(NULL, &contexts, NULL) < 0 ||
	    wsman_new(&(struct wsman_options){.broker = &broker,
					      .contexts = contexts,
					      .version = "1.0"},
		      &wsman, NULL) < 0)
		exit(2);
	request.body = body;
	request.body_bytes = bytes;
	wsman_answer(wsman, &request, &response);
	if (asprintf(&text, "%u\n%s\n", response.status,
		     response.body ? response.body : "") < 0)
		exit(2);
	hide_ids(text);
	free(response.body);
	free(body);
	(void)wsman_free(wsman);
	(void)contexts_free(contexts);
	return text;
}

static int compare(const char *path, const char *text)
{
	size_t bytes;
	char *wanted;
	FILE *f;
	int failed;

	if (getenv("REWRITE")) {
		f = fopen(path, "wb");
		return !f || fputs(text, f) < 0 || fclose(f) != 0;
	}
	wanted = read_all(path, &bytes);
	failed = strcmp(wanted, text) != 0;
	if (failed)
		printf("%s differs: now it is\n%s\n", path, text);
	free(wanted);
	return failed;
}

int main(int argc, char **argv)
{
	int failed = argc < 2;

	for (int i = 1; i < argc; i++) {
		char path[4096];
		char *text = answer(argv[i]);
		size_t length = strlen(argv[i]) - strlen(".request");

		(void)snprintf(path, sizeof(path), "%.*s.reply", (int)length,
			       argv[i]);
		failed |= compare(path, text);
		free(text);
	}
	return failed;
}
