/* SPDX-License-Identifier: Apache-2.0 */
/* The certificate and key that the server shows, and TLS's settings. */
#ifndef HTTP_CERTIFICATE_H
#define HTTP_CERTIFICATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

/* TLS 1.2 and 1.3, ciphers with authentication only, the server's order. */
#define TLS_PRIORITIES                                                         \
	"SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-RSA:-CIPHER-ALL:"      \
	"+AES-256-GCM:+AES-128-GCM:+CHACHA20-POLY1305:-SHA1:-MD5:+AEAD:"       \
	"%SERVER_PRECEDENCE"

#define END_POINT_BYTES   64
#define FINGERPRINT_BYTES 96 /* "AB:CD:...", 32 bytes, NUL */

struct certificate {
	char *pem;                           /* the chain */
	char *key;                           /* PEM; cleared when closed */
	char fingerprint[FINGERPRINT_BYTES]; /* SHA-256 of the first */
	uint8_t end_point[END_POINT_BYTES];  /* RFC 5929's hash of it */
	size_t end_point_bytes;
};

/* Reads a pair and checks that the key fits; -RP_EPARAM where it does not,
 * -RP_EDENIED where others may read the key. */
int certificate_load(const char *cert_path, const char *key_path,
		     struct certificate *ret_certificate, struct err *err);

/*
 * DIRECTORY/tls-cert.pem and tls-key.pem (0600), made first if there is
 * no certificate: ECDSA P-256, self-signed for CERTIFICATE_DAYS, with this
 * host's names and loopback addresses.  *RET_MADE says whether.
 */
int certificate_load_or_make(const char *directory,
			     struct certificate *ret_certificate,
			     bool *ret_made, struct err *err);
void certificate_clear(struct certificate *certificate);

#endif
