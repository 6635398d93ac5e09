/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/options.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/bytes.h"
#include "common/paths.h"

static const char usage[] =
    "usage: refpoint-cim [OPTION]...\n"
    "       refpoint-cim passwd FILE USER [--role operator|read-only]\n"
    "\n"
    "Serves the CIM classes of refpoint by WS-Management and CIM-XML, in the\n"
    "foreground, in front of refpointd.\n"
    "\n"
    "  --root DIR              refpointd's root; this one's files are in\n"
    "                          DIR/lib-cim (default: /var/lib/refpoint-cim)\n"
    "  --wsman ADDRESS:PORT    where WS-Management is spoken (default: port\n"
    "                          5986 of all addresses); up to 4 times\n"
    "  --cimxml ADDRESS:PORT   where CIM-XML is spoken (default: 5989)\n"
    "  --insecure-http         plain HTTP instead of TLS, on loopback only\n"
    "                          (defaults: 127.0.0.1:5985, 127.0.0.1:5988)\n"
    "  --cert FILE, --key FILE the certificate and its key (default: a pair\n"
    "                          of our own, made at the first start)\n"
    "  --users FILE            passwords and roles; see passwd\n"
    "  --pam                   passwords of this system's users (default if\n"
    "                          nothing else would let anybody in)\n"
    "  --keytab FILE           Kerberos, with the keys of HTTP/HOST\n"
    "  --ntlm FILE             NTLM, with these credentials\n"
    "  --client-map FILE       client certificates; --client-ca FILE names\n"
    "                          the authorities whose subjects count\n"
    "  --operator-group GROUP  may manage points (default: refpoint)\n"
    "  --reader-group GROUP    may look at them (default: refpoint-reader)\n"
    "  --export-root DIR       exports may be written, and imports read,\n"
    "                          below DIR (default: nowhere)\n"
    "  -D MODULES              print debug lines of these, comma separated,\n"
    "                          or 'all'\n"
    "  --help, --version\n"
    "\n"
    "SIGHUP reads certificates, users, maps and keys anew.\n";

enum {
	OPT_ROOT = 256,
	OPT_WSMAN,
	OPT_CIMXML,
	OPT_PLAIN,
	OPT_CERT,
	OPT_KEY,
	OPT_USERS,
	OPT_PAM,
	OPT_KEYTAB,
	OPT_NTLM,
	OPT_MAP,
	OPT_CA,
	OPT_OPERATORS,
	OPT_READERS,
	OPT_EXPORT,
	OPT_HELP,
	OPT_VERSION,
};

static const struct option longs[] = {
    {"root", required_argument, NULL, OPT_ROOT},
    {"wsman", required_argument, NULL, OPT_WSMAN},
    {"cimxml", required_argument, NULL, OPT_CIMXML},
    {"insecure-http", no_argument, NULL, OPT_PLAIN},
    {"cert", required_argument, NULL, OPT_CERT},
    {"key", required_argument, NULL, OPT_KEY},
    {"users", required_argument, NULL, OPT_USERS},
    {"pam", no_argument, NULL, OPT_PAM},
    {"keytab", required_argument, NULL, OPT_KEYTAB},
    {"ntlm", required_argument, NULL, OPT_NTLM},
    {"client-map", required_argument, NULL, OPT_MAP},
    {"client-ca", required_argument, NULL, OPT_CA},
    {"operator-group", required_argument, NULL, OPT_OPERATORS},
    {"reader-group", required_argument, NULL, OPT_READERS},
    {"export-root", required_argument, NULL, OPT_EXPORT},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_VERSION},
    {0}};

static int __attribute__((format(printf, 1, 2))) wrong(const char *format, ...)
{
	va_list ap;

	(void)fputs("refpoint-cim: ", stderr);
	va_start(ap, format);
	(void)vfprintf(stderr, format, ap);
	va_end(ap);
	(void)fputs("; see --help\n", stderr);
	return 1 + EXIT_USAGE;
}

static int add_door(struct gateway_options *o, enum door_protocol protocol,
		    const char *address, bool optional)
{
	unsigned same = 0;

	for (size_t i = 0; i < o->n_doors; i++)
		same += o->doors[i].protocol == protocol;
	if (same == DOORS_MAX / 2)
		return wrong("more than %d addresses", DOORS_MAX / 2);
	o->doors[o->n_doors++] = (struct door){protocol, address, optional};
	return 0;
}

static const char **text_option(struct gateway_options *o, int c)
{
	switch (c) {
	case 'D':
		return &o->debug;
	case OPT_ROOT:
		return &o->root;
	case OPT_CERT:
		return &o->cert;
	case OPT_KEY:
		return &o->key;
	case OPT_USERS:
		return &o->users;
	case OPT_KEYTAB:
		return &o->keytab;
	case OPT_NTLM:
		return &o->ntlm;
	case OPT_MAP:
		return &o->client_map;
	case OPT_CA:
		return &o->client_ca;
	case OPT_OPERATORS:
		return &o->operator_group;
	case OPT_READERS:
		return &o->reader_group;
	case OPT_EXPORT:
		return &o->export_root;
	default:
		return NULL;
	}
}

static int take(struct gateway_options *o, int c, const char *argument)
{
	const char **text = text_option(o, c);

	if (text) {
		*text = argument;
		return 0;
	}
	switch (c) {
	case OPT_WSMAN:
		return add_door(o, DOOR_WSMAN, argument, false);
	case OPT_CIMXML:
		return add_door(o, DOOR_CIMXML, argument, false);
	case OPT_PLAIN:
		o->plain = true;
		return 0;
	case OPT_PAM:
		o->pam = true;
		return 0;
	case OPT_HELP:
		(void)fputs(usage, stdout);
		return 1 + EXIT_OK;
	case OPT_VERSION:
		(void)puts("refpoint-cim " VERSION);
		return 1 + EXIT_OK;
	default: /* getopt has said what is wrong */
		(void)fputs("see refpoint-cim --help\n", stderr);
		return 1 + EXIT_USAGE;
	}
}

/* A protocol that was given no address has its port on all of them. */
static void default_doors(struct gateway_options *o,
			  enum door_protocol protocol)
{
	static const char *const addresses[][3] = {
	    [DOOR_WSMAN] = {"127.0.0.1:5985", "0.0.0.0:5986", "[::]:5986"},
	    [DOOR_CIMXML] = {"127.0.0.1:5988", "0.0.0.0:5989", "[::]:5989"},
	};

	for (size_t i = 0; i < o->n_doors; i++)
		if (o->doors[i].protocol == protocol)
			return;
	if (o->plain) {
		(void)add_door(o, protocol, addresses[protocol][0], false);
		return;
	}
	(void)add_door(o, protocol, addresses[protocol][1], false);
	(void)add_door(o, protocol, addresses[protocol][2], true);
}

static int check(struct gateway_options *o)
{
	default_doors(o, DOOR_WSMAN);
	default_doors(o, DOOR_CIMXML);
	if (!o->operator_group)
		o->operator_group = OPERATOR_GROUP;
	if (!o->reader_group)
		o->reader_group = READER_GROUP;
	if (!o->cert != !o->key)
		return wrong("--cert and --key belong together");
	if (o->plain && o->cert)
		return wrong("--insecure-http has no use for a certificate");
	if (o->plain && o->client_map)
		return wrong("client certificates are shown under TLS only");
	if (o->client_ca && !o->client_map)
		return wrong("--client-ca without --client-map lets nobody in");
	if (o->export_root && o->export_root[0] != '/')
		return wrong("--export-root must begin with '/'");
	if (!o->users && !o->keytab && !o->ntlm && !o->client_map)
		o->pam = true;
	return 0;
}

int options_read(int argc, char **argv, struct gateway_options *ret_options)
{
	struct gateway_options o = {.debug = ret_options->debug};
	int c, r = 0;

	while (r == 0 && (c = getopt_long(argc, argv, "D:", longs, NULL)) != -1)
		r = take(&o, c, optarg);
	if (r == 0 && optind < argc)
		r = wrong("what is '%s'?", argv[optind]);
	if (r == 0)
		r = check(&o);
	if (r == 0)
		*ret_options = o;
	return r;
}
