/* SPDX-License-Identifier: Apache-2.0 */
/*
 * attach: the arguments that connect a guest's disks.
 *
 * A guest must not see that a worker died: QEMU's NBD client reconnects for
 * RECONNECT_S and holds the guest's requests meanwhile; what fails even then
 * stops the guest (werror, rerror) and is not told to it.
 */
#include "cli/attach.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/text.h"
#include "common/cleanup.h"

enum {
	OPT_QEMU,
	OPT_LIBVIRT
};

#define RECONNECT_S "3600"
#define URI_START   "nbd+unix:///"
#define URI_SOCKET  "?socket="

void node_name(size_t index, char ret_name[NODE_NAME_BYTES])
{
	(void)snprintf(ret_name, NODE_NAME_BYTES, "refpoint%zu", index);
}

/* ---- Where a disk is ------------------------------------------------------
 */

static int hex_digit(char c)
{
	const char *digits = "0123456789abcdef";
	const char *at = c ? strchr(digits, c | 0x20) : NULL;

	return at ? (int)(at - digits) : -1;
}

/* Undoes %xx, in place; false if there is a bad one. */
static bool decode_percent(char *text)
{
	char *to = text;

	for (; *text; text++, to++) {
		int high, low;

		*to = *text;
		if (*text != '%')
			continue;
		high = hex_digit(text[1]);
		low = high < 0 ? -1 : hex_digit(text[2]);
		if (low < 0 || high + low == 0)
			return false;
		*to = (char)(high * 16 + low);
		text += 2;
	}
	*to = '\0';
	return true;
}

struct place {
	char *uri;                   /* owns the others */
	const char *export, *socket; /* borrowed */
};

/* nbd+unix:///EXPORT?socket=PATH */
static int find_place(const json_t *disk, struct place *ret, struct err *err)
{
	const char *text = json_text(disk, "nbd_uri");
	char *uri = strdup(text), *socket;

	socket = uri ? strstr(uri, URI_SOCKET) : NULL;
	if (!socket || strncmp(uri, URI_START, strlen(URI_START)) != 0)
		goto bad;
	*socket = '\0';
	socket += strlen(URI_SOCKET);
	ret->uri = uri;
	ret->export = uri + strlen(URI_START);
	ret->socket = socket;
	if (decode_percent(uri + strlen(URI_START)) && decode_percent(socket))
		return 0;
bad:
	free(uri);
	return err_set(err, -RP_EWIRE, "'%s' is not where a disk can be", text);
}

/* ---- QEMU's arguments -----------------------------------------------------
 */

/* QEMU's option syntax: a comma in a value is doubled. */
static void double_commas(const char *text, char *ret_text, size_t bytes)
{
	size_t n = 0;

	for (; *text && n + 2 < bytes; text++) {
		ret_text[n++] = *text;
		if (*text == ',')
			ret_text[n++] = ',';
	}
	ret_text[n] = '\0';
}

/* Four arguments for a disk: two options with their values. */
static void add_arguments(json_t *list, size_t index, const char *id,
			  const struct place *place)
{
	char socket[2 * PATH_BYTES], export[2 * PATH_BYTES];
	char node[NODE_NAME_BYTES];

	node_name(index, node);
	double_commas(place->socket, socket, sizeof(socket));
	double_commas(place->export, export, sizeof(export));
	json_array_append_new(list, json_string("-blockdev"));
	json_array_append_new(
	    list, json_sprintf("driver=nbd,node-name=%s,server.type=unix,"
			       "server.path=%s,export=%s,"
			       "reconnect-delay=" RECONNECT_S
			       ",discard=unmap,cache.direct=on,"
			       "cache.no-flush=off",
			       node, socket, export));
	json_array_append_new(list, json_string("-device"));
	/* QEMU makes devices in JSON last, when those that libvirt put at
	 * addresses of its choice have theirs, and cuts a virtio serial at 20
	 * bytes itself; names and ids need no escapes. */
	json_array_append_new(
	    list,
	    json_sprintf("{\"driver\":\"virtio-blk-pci\",\"drive\":\"%s\","
			 "\"id\":\"%s-device\",\"serial\":\"%.20s\","
			 "\"write-cache\":\"on\",\"werror\":\"stop\","
			 "\"rerror\":\"stop\"}",
			 node, node, id));
}

static int list_arguments(const json_t *status, json_t *list, struct err *err)
{
	const char *vm = json_text(status, "vm");
	const json_t *disk;
	size_t i;

	json_array_foreach(json_object_get(status, "disks"), i, disk)
	{
		struct place place = {0};
		int r;

		if (!*json_text(disk, "nbd_uri"))
			return err_set(err, -RP_ESTATE,
				       "'%s' is not served; run 'refpoint "
				       "serve %s' first",
				       vm, vm);
		r = find_place(disk, &place, err);
		if (r < 0)
			return r;
		add_arguments(list, i, json_text(disk, "id"), &place);
		free(place.uri);
	}
	return 0;
}

/* ---- Printing -------------------------------------------------------------
 */

/* For a shell: in quotes unless every character is harmless. */
static void print_quoted(const char *text)
{
	static const char harmless[] = "abcdefghijklmnopqrstuvwxyz"
				       "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				       "0123456789-_=.,:/+@%";

	if (*text && strspn(text, harmless) == strlen(text)) {
		(void)fputs(text, stdout);
		return;
	}
	(void)putchar('\'');
	for (; *text; text++)
		if (*text == '\'')
			(void)fputs("'\\''", stdout);
		else
			(void)putchar(*text);
	(void)putchar('\'');
}

/* One line for each option and its value, to paste into a shell. */
static void print_qemu(const json_t *list)
{
	size_t n = json_array_size(list);

	for (size_t i = 0; i + 1 < n; i += 2) {
		print_quoted(json_string_value(json_array_get(list, i)));
		(void)putchar(' ');
		print_quoted(json_string_value(json_array_get(list, i + 1)));
		(void)puts(i + 2 < n ? " \\" : "");
	}
}

static char *xml_escape(const char *text)
{
	char *xml = malloc(6 * strlen(text) + 1), *to = xml;

	for (; xml && *text; text++) {
		const char *as = *text == '&'    ? "&amp;"
				 : *text == '<'  ? "&lt;"
				 : *text == '\'' ? "&apos;"
						 : NULL;

		if (as)
			to = stpcpy(to, as);
		else
			*to++ = *text;
	}
	if (xml)
		*to = '\0';
	return xml;
}

static const char xml_start[] =
    "<!-- libvirt 9.0 has no reconnect delay for NBD and drops what it does\n"
    "     not know: with a <disk> the guest would get an error whenever the\n"
    "     worker restarts.  So these arguments go to QEMU as they are.  The\n"
    "     <domain> that holds them needs\n"
    "     xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'. -->\n"
    "<qemu:commandline>\n";

static int print_libvirt(struct cli *cli, const json_t *list)
{
	size_t i, bytes = 0;
	_cleanup_free_ char *xml = NULL;
	FILE *f = open_memstream(&xml, &bytes);
	const json_t *argument;

	if (!f)
		return -errno;
	(void)fputs(xml_start, f);
	json_array_foreach(list, i, argument)
	{
		_cleanup_free_ char *text =
		    xml_escape(json_string_value(argument));

		(void)fprintf(f, "  <qemu:arg value='%s'/>\n",
			      text ? text : "");
	}
	(void)fputs("</qemu:commandline>\n", f);
	if (fclose(f) != 0)
		return -ENOMEM;
	if (cli->json) {
		json_t *value = json_pack("{s:s}", "xml", xml);

		print_json(value);
		json_decref(value);
	} else {
		(void)fputs(xml, stdout);
	}
	return 0;
}

static int run_attach(struct cli *cli, const struct cli_args *args,
		      struct err *err)
{
	bool qemu = args->option[OPT_QEMU], libvirt = args->option[OPT_LIBVIRT];
	json_t *status = NULL, *list;
	int r;

	if (qemu == libvirt)
		return err_set(err, -RP_EPARAM,
			       "attach: say either --qemu or --libvirt");
	r = cli_status(cli, args->positional[0], &status, err);
	if (r < 0)
		return r;
	list = json_array();
	r = list_arguments(status, list, err);
	json_decref(status);
	if (r == 0 && libvirt) {
		if (print_libvirt(cli, list) < 0)
			r = err_set(err, -ENOMEM, "write XML");
	} else if (r == 0 && cli->json) {
		json_t *value = json_pack("{s:O}", "arguments", list);

		print_json(value);
		json_decref(value);
	} else if (r == 0) {
		print_qemu(list);
	}
	json_decref(list);
	return r;
}

const struct command command_attach = {
    .name = "attach",
    .summary = "print the arguments that connect a guest to its disks",
    .positionals = {"VM"},
    .options = {[OPT_QEMU] = {"qemu", NULL, "for the command line of QEMU",
			      false},
		[OPT_LIBVIRT] = {"libvirt", NULL, "XML for a libvirt domain",
				 false}},
    .run = run_attach,
};
