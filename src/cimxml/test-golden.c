/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests of a real client, held to the replies that were read and found
 * right.  DIRECTORY has NAME.request (headers, an empty line, the body) and
 * NAME.reply (status, headers, an empty line, the body).  Without a reply, for
 * what tells the whole schema, there must only be no error.  UPDATE=1 writes
 * the replies anew that there are.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cim/status.h"
#include "cimxml/cimxml.h"
#include "cimxml/fake-broker.h"
#include "common/limits.h"

#define HEADERS_MAX 32

static char *read_whole(const char *directory, const char *name)
{
	char path[512], *text = calloc(1, 1 << 20);
	FILE *file;
	size_t n;

	(void)snprintf(path, sizeof(path), "%s/%s", directory, name);
	file = fopen(path, "r");
	if (!file || !text) {
		free(text);
		return NULL;
	}
	n = fread(text, 1, (1 << 20) - 1, file);
	text[n] = '\0';
	(void)fclose(file);
	return text;
}

/* Splits TEXT in place. */
static void read_request(char *text, struct cimxml_header *headers,
			 struct cimxml_request *request)
{
	char *body = strstr(text, "\n\n");
	char *save = NULL, *line;

	*body = '\0';
	request->body = body + 2;
	request->body_bytes = strlen(body + 2);
	request->headers = headers;
	request->method = strtok_r(text, " ", &save);
	(void)strtok_r(NULL, "\n", &save);
	while ((line = strtok_r(NULL, "\n", &save))) {
		char *value = strchr(line, ':');

		*value++ = '\0';
		value += strspn(value, " ");
		headers[request->n_headers].name = line;
		headers[request->n_headers++].value = value;
		if (strcmp(line, "Content-Type") == 0)
			request->content_type = value;
	}
}

static void print(FILE *to, const struct cimxml_response *response)
{
	(void)fprintf(to, "%u\n", response->status);
	for (size_t i = 0; i < response->n_headers; i++)
		(void)fprintf(to, "%s: %s\n", response->headers[i].name,
			      response->headers[i].value);
	(void)fprintf(to, "\n%s\n", response->body ? response->body : "");
}

static int check(const char *directory, const char *name, const char *answer)
{
	char reply[300], path[600];
	char *wanted;
	FILE *file;
	int r;

	(void)snprintf(reply, sizeof(reply), "%.*s.reply",
		       (int)(strlen(name) - strlen(".request")), name);
	wanted = read_whole(directory, reply);
	if (!wanted)
		return strncmp(answer, "200\n", 4) != 0 ||
		       strstr(answer, "<ERROR");
	if (getenv("UPDATE")) {
		free(wanted);
		(void)snprintf(path, sizeof(path), "%s/%s", directory, reply);
		file = fopen(path, "w");
		if (!file)
			return 1;
		(void)fputs(answer, file);
		return fclose(file);
	}
	r = strcmp(wanted, answer) != 0;
	if (r)
		(void)printf("%s: got\n%s\ninstead of\n%s\n", name, answer,
			     wanted);
	free(wanted);
	return r;
}

static int run(const char *directory, const char *name)
{
	struct cimxml_header headers[HEADERS_MAX];
	struct cimxml_request request = {.caller = "alice",
					 .role = CIM_ROLE_OPERATOR,
					 .host = "localhost:5989"};
	struct cimxml_service service = {.reply_bytes_max =
					     CIM_REPLY_BYTES_MAX};
	struct cimxml_response response;
	char *text = read_whole(directory, name);
	char *answer;
	size_t bytes;
	FILE *to;
	int r;

	if (!text)
		return 1;
	read_request(text, headers, &request);
	cimxml_handle(&service, &request, &response);
	to = open_memstream(&answer, &bytes);
	print(to, &response);
	(void)fclose(to);
	r = check(directory, name, answer);
	free(answer);
	free(response.body);
	free(text);
	return r;
}

int main(int argc, char **argv)
{
	struct dirent **names;
	int n, ran = 0, failed = 0;

	n = argc == 2 ? scandir(argv[1], &names, NULL, alphasort) : -1;
	if (n < 0)
		return 2;
	for (int i = 0; i < n; i++) {
		if (strstr(names[i]->d_name, ".request")) {
			failed += run(argv[1], names[i]->d_name);
			ran++;
		}
		free(names[i]);
	}
	free(names);
	(void)printf("%d requests, %d answered otherwise\n", ran, failed);
	return failed || ran == 0;
}
