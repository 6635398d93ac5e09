/* SPDX-License-Identifier: Apache-2.0 */
/* What TLS is spoken, and with which key. */
#include <string.h>

#include "pull/pull.h"

#define PRIORITY                                                               \
	"SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:"                       \
	"-KX-ALL:+ECDHE-PSK:+DHE-PSK"

static int find_key(gnutls_session_t tls, const char *name,
		    gnutls_datum_t *ret_key)
{
	const struct pull *pull = gnutls_session_get_ptr(tls);

	if (strcmp(name, pull->key.identity) != 0)
		return -1;
	ret_key->data = gnutls_malloc(PULL_KEY_BYTES);
	if (!ret_key->data)
		return -1;
	memcpy(ret_key->data, pull->key.key, PULL_KEY_BYTES);
	ret_key->size = PULL_KEY_BYTES;
	return 0;
}

int tls_prepare(struct pull *pull, struct err *err)
{
	int r = gnutls_priority_init(&pull->priority, PRIORITY, NULL);

	if (r == 0)
		r = gnutls_psk_allocate_server_credentials(&pull->credentials);
	if (r < 0)
		return err_set(err, -RP_EFAILED, "TLS: %s", gnutls_strerror(r));
	gnutls_psk_set_server_credentials_function(pull->credentials, find_key);
	return 0;
}
