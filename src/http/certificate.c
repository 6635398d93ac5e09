/* SPDX-License-Identifier: Apache-2.0 */
#include "http/certificate.h"

#include <arpa/inet.h>
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/limits.h"
#include "http/private-file.h"

#define PEM_BYTES_MAX (256u << 10)
#define CHAIN_MAX     16

static int tls_error(struct err *err, int r, const char *what)
{
	return err_set(err, -RP_EPARAM, "%s: %s", what, gnutls_strerror(r));
}

/* The certificate is for everybody's eyes, so that its mode is not looked at.
 */
static int read_public(const char *path, char **ret_text, struct err *err)
{
	FILE *f = fopen(path, "re");
	char *text = malloc(PEM_BYTES_MAX);
	size_t n;

	if (!f || !text) {
		free(text);
		if (f)
			(void)fclose(f);
		return err_set(err, f ? -ENOMEM : -errno, "'%s'", path);
	}
	n = fread(text, 1, PEM_BYTES_MAX - 1, f);
	text[n] = '\0';
	(void)fclose(f);
	*ret_text = text;
	return 0;
}

static int fingerprint(gnutls_x509_crt_t crt, char ret[FINGERPRINT_BYTES])
{
	uint8_t digest[32];
	size_t bytes = sizeof(digest);
	int r = gnutls_x509_crt_get_fingerprint(crt, GNUTLS_DIG_SHA256, digest,
						&bytes);

	for (size_t i = 0; r == 0 && i < bytes; i++)
		(void)snprintf(ret + 3 * i, FINGERPRINT_BYTES - 3 * i, "%02X%s",
			       digest[i], i + 1 < bytes ? ":" : "");
	return r;
}

/* With the signature's own hash, but none weaker than SHA-256. */
static int end_point(gnutls_x509_crt_t crt, struct certificate *c)
{
	gnutls_digest_algorithm_t hash = GNUTLS_DIG_SHA256;
	int algorithm = gnutls_x509_crt_get_signature_algorithm(crt);

	if (algorithm > 0)
		hash = gnutls_sign_get_hash_algorithm(
		    (gnutls_sign_algorithm_t)algorithm);
	if (hash != GNUTLS_DIG_SHA384 && hash != GNUTLS_DIG_SHA512)
		hash = GNUTLS_DIG_SHA256;
	c->end_point_bytes = sizeof(c->end_point);
	return gnutls_x509_crt_get_fingerprint(crt, hash, c->end_point,
					       &c->end_point_bytes);
}

/* That the key is the first certificate's, and that one's fingerprint. */
static int check_pair(struct certificate *c)
{
	gnutls_datum_t pem = {(unsigned char *)c->pem,
			      (unsigned)strlen(c->pem)};
	gnutls_datum_t key = {(unsigned char *)c->key,
			      (unsigned)strlen(c->key)};
	gnutls_certificate_credentials_t both = NULL;
	gnutls_x509_crt_t list[CHAIN_MAX];
	unsigned n = CHAIN_MAX;
	int r;

	r = gnutls_certificate_allocate_credentials(&both);
	if (r == 0)
		r = gnutls_certificate_set_x509_key_mem(both, &pem, &key,
							GNUTLS_X509_FMT_PEM);
	if (both)
		gnutls_certificate_free_credentials(both);
	if (r < 0)
		return r;
	r = gnutls_x509_crt_list_import(
	    list, &n, &pem, GNUTLS_X509_FMT_PEM,
	    GNUTLS_X509_CRT_LIST_IMPORT_FAIL_IF_EXCEED);
	if (r < 0)
		return r;
	r = n ? fingerprint(list[0], c->fingerprint)
	      : GNUTLS_E_NO_CERTIFICATE_FOUND;
	if (r == 0)
		r = end_point(list[0], c);
	for (unsigned i = 0; i < n; i++)
		gnutls_x509_crt_deinit(list[i]);
	return r;
}

int certificate_load(const char *cert_path, const char *key_path,
		     struct certificate *ret_certificate, struct err *err)
{
	struct certificate c = {0};
	struct stat st;
	int r;

	r = read_public(cert_path, &c.pem, err);
	if (r == 0)
		r = private_file_read(key_path, false, PEM_BYTES_MAX, &c.key,
				      &st, err);
	if (r == 0) {
		r = check_pair(&c);
		if (r < 0)
			r = err_set(err, -RP_EPARAM, "'%s' and '%s': %s",
				    cert_path, key_path, gnutls_strerror(r));
	}
	if (r < 0) {
		certificate_clear(&c);
		return r;
	}
	*ret_certificate = c;
	return 0;
}

void certificate_clear(struct certificate *certificate)
{
	if (certificate->key)
		explicit_bzero(certificate->key, strlen(certificate->key));
	free(certificate->key);
	free(certificate->pem);
	*certificate = (struct certificate){0};
}

/* ------------------------------------------------------------ our own pair */

/* "host", "host.example.org", "localhost" and loopback's addresses. */
static int add_names(gnutls_x509_crt_t crt)
{
	static const struct in6_addr six = IN6ADDR_LOOPBACK_INIT;
	struct addrinfo hints = {.ai_flags = AI_CANONNAME}, *ai = NULL;
	in_addr_t four = htonl(INADDR_LOOPBACK);
	char host[256] = "localhost";
	const unsigned more = GNUTLS_FSAN_APPEND;
	int r;

	(void)gethostname(host, sizeof(host) - 1);
	r = gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0,
					  host,
					  (unsigned)MIN(strlen(host), 64));
	if (r == 0)
		r = gnutls_x509_crt_set_subject_alt_name(
		    crt, GNUTLS_SAN_DNSNAME, host, (unsigned)strlen(host),
		    GNUTLS_FSAN_SET);
	if (r == 0 && getaddrinfo(host, NULL, &hints, &ai) == 0 &&
	    ai->ai_canonname && strcmp(ai->ai_canonname, host) != 0)
		r = gnutls_x509_crt_set_subject_alt_name(
		    crt, GNUTLS_SAN_DNSNAME, ai->ai_canonname,
		    (unsigned)strlen(ai->ai_canonname), more);
	if (ai)
		freeaddrinfo(ai);
	if (r == 0 && strcmp(host, "localhost") != 0)
		r = gnutls_x509_crt_set_subject_alt_name(crt,
							 GNUTLS_SAN_DNSNAME,
							 "localhost", 9, more);
	if (r == 0)
		r = gnutls_x509_crt_set_subject_alt_name(
		    crt, GNUTLS_SAN_IPADDRESS, &four, sizeof(four), more);
	if (r == 0)
		r = gnutls_x509_crt_set_subject_alt_name(
		    crt, GNUTLS_SAN_IPADDRESS, &six, sizeof(six), more);
	return r;
}

static int fill(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key)
{
	const time_t day = 24 * 60 * 60, now = time(NULL);
	uint8_t serial[16], id[32];
	size_t id_bytes = sizeof(id);
	int r;

	r = gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof(serial));
	serial[0] = (serial[0] & 0x7f) | 0x40; /* positive, never zero */
	if (r == 0)
		r = gnutls_x509_crt_set_version(crt, 3);
	if (r == 0)
		r = gnutls_x509_crt_set_serial(crt, serial, sizeof(serial));
	if (r == 0)
		r = gnutls_x509_crt_set_activation_time(crt, now - day);
	if (r == 0)
		r = gnutls_x509_crt_set_expiration_time(
		    crt, now + CERTIFICATE_DAYS * day);
	if (r == 0)
		r = gnutls_x509_crt_set_key(crt, key);
	if (r == 0)
		r = add_names(crt);
	if (r == 0)
		r = gnutls_x509_crt_set_key_usage(crt,
						  GNUTLS_KEY_DIGITAL_SIGNATURE);
	if (r == 0)
		r = gnutls_x509_crt_set_key_purpose_oid(
		    crt, GNUTLS_KP_TLS_WWW_SERVER, 0);
	if (r == 0)
		r = gnutls_x509_crt_set_basic_constraints(crt, 0, -1);
	if (r == 0)
		r = gnutls_x509_crt_get_key_id(crt, 0, id, &id_bytes);
	if (r == 0)
		r = gnutls_x509_crt_set_subject_key_id(crt, id, id_bytes);
	if (r == 0)
		r = gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0);
	return r;
}

static int make_pem(gnutls_datum_t *ret_cert, gnutls_datum_t *ret_key)
{
	gnutls_x509_privkey_t key = NULL;
	gnutls_x509_crt_t crt = NULL;
	int r;

	r = gnutls_x509_privkey_init(&key);
	if (r == 0)
		r = gnutls_x509_privkey_generate(
		    key, GNUTLS_PK_ECDSA,
		    GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
	if (r == 0)
		r = gnutls_x509_crt_init(&crt);
	if (r == 0)
		r = fill(crt, key);
	if (r == 0)
		r = gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, ret_cert);
	if (r == 0)
		r = gnutls_x509_privkey_export2_pkcs8(key, GNUTLS_X509_FMT_PEM,
						      NULL, GNUTLS_PKCS_PLAIN,
						      ret_key);
	if (crt)
		gnutls_x509_crt_deinit(crt);
	if (key)
		gnutls_x509_privkey_deinit(key);
	return r;
}

/* The key first: a certificate without one is made anew. */
static int make_pair(const char *cert_path, const char *key_path,
		     struct err *err)
{
	gnutls_datum_t cert = {0}, key = {0};
	int r;

	r = make_pem(&cert, &key);
	if (r < 0) {
		r = tls_error(err, r, "make a certificate");
	} else {
		r = private_file_write(key_path, 0600, (uid_t)-1, (gid_t)-1,
				       key.data, key.size, err);
		if (r == 0)
			r = private_file_write(cert_path, 0644, (uid_t)-1,
					       (gid_t)-1, cert.data, cert.size,
					       err);
	}
	if (key.data)
		explicit_bzero(key.data, key.size);
	gnutls_free(key.data);
	gnutls_free(cert.data);
	return r;
}

int certificate_load_or_make(const char *directory,
			     struct certificate *ret_certificate,
			     bool *ret_made, struct err *err)
{
	char cert[PATH_BYTES], key[PATH_BYTES];
	bool made;
	int r;

	if (snprintf(cert, sizeof(cert), "%s/tls-cert.pem", directory) >=
		(int)sizeof(cert) ||
	    snprintf(key, sizeof(key), "%s/tls-key.pem", directory) >=
		(int)sizeof(key))
		return err_set(err, -ENAMETOOLONG, "'%s'", directory);
	made = access(cert, F_OK) < 0 && errno == ENOENT;
	r = made ? make_pair(cert, key, err) : 0;
	if (r == 0)
		r = certificate_load(cert, key, ret_certificate, err);
	if (r < 0)
		return r;
	*ret_made = made;
	return 0;
}
