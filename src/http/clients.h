/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The map from client certificates to names: lines "NAME sha256:HEX" and
 * "NAME subject:DN", where a fingerprint stands for itself and a subject
 * counts only in a certificate that the configured authorities verify.  DN
 * is RFC 4514's, as openssl x509 -subject -nameopt RFC2253 prints it.  The same
 * rules of ownership as for the users file.
 */
#ifndef HTTP_CLIENTS_H
#define HTTP_CLIENTS_H

#include "http/auth.h"

struct clients;

int clients_open(const char *path, bool any_owner, struct clients **ret_clients,
		 struct err *err);
void clients_close(struct clients *clients);
/* The name, or NULL; valid until clients_close. */
const char *clients_find(const struct clients *clients,
			 const struct client_certificate *certificate);

#endif
