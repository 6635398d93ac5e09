/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line of refpoint-cim.
 *
 * U1  Strings point into argv, and what is not said is NULL, after the
 *     defaults of doors and groups were filled in.
 */
#ifndef GATEWAY_OPTIONS_H
#define GATEWAY_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "common/err.h"

#define DOORS_MAX 8

enum door_protocol {
	DOOR_WSMAN,
	DOOR_CIMXML,
};

/* Where one of the two protocols is spoken. */
struct door {
	enum door_protocol protocol;
	const char *address; /* "ADDRESS:PORT" */
	bool optional;       /* left out where there is no such family */
};

struct gateway_options {
	const char *root, *debug;
	struct door doors[DOORS_MAX];
	size_t n_doors;
	bool plain; /* --insecure-http */
	const char *users, *cert, *key, *client_ca, *client_map, *keytab, *ntlm,
	    *export_root;
	const char *operator_group, *reader_group;
	bool pam;
};

/* 0: go on; otherwise an exit status, less one, and everything was said. */
int options_read(int argc, char **argv, struct gateway_options *ret_options);

#endif
