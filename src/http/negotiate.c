/* SPDX-License-Identifier: Apache-2.0 */
#include "http/negotiate.h"

#include <gssapi/gssapi.h>
#include <gssapi/gssapi_ext.h>
#include <gssapi/gssapi_krb5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/log.h"
#include "common/paths.h"
#include "http/base64.h"
#include "http/certificate.h"

#define NTLM_MARK       "NTLMSSP" /* and its NUL: a raw NTLM message */
#define BINDING_KIND    "tls-server-end-point:"
#define NTLM_SIGNATURE  16
#define SIGNATURE_BYTES 256 /* at most, of a sealed message */

static gss_OID_desc ntlm_oid = {
    10, (void *)(uintptr_t) "\x2b\x06\x01\x04\x01\x82\x37\x02\x02\x0a"};

static gss_OID_desc spnego_oid = {
    6, (void *)(uintptr_t) "\x2b\x06\x01\x05\x05\x02"};

struct negotiate {
	gss_cred_id_t credentials;
	bool kerberos, ntlm;
};

struct auth_connection {
	gss_ctx_id_t context;
	unsigned legs;
	bool pending, done, is_ntlm, can_seal;
	time_t expires; /* CLOCK_BOOTTIME; 0: never */
	struct principal principal;
};

static time_t boot_seconds(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_BOOTTIME, &ts);
	return ts.tv_sec;
}

/* What GSSAPI says of a failure, the mechanism's own words last. */
static void explain(OM_uint32 major, OM_uint32 minor, gss_OID mech, char *ret,
		    size_t bytes)
{
	gss_buffer_desc text = GSS_C_EMPTY_BUFFER;
	OM_uint32 more = 0, ignored;
	const struct {
		OM_uint32 code;
		int type;
	} what[2] = {{major, GSS_C_GSS_CODE}, {minor, GSS_C_MECH_CODE}};
	size_t n = 0;

	ret[0] = '\0';
	for (unsigned i = 0; i < 2 && n < bytes; i++) {
		if (gss_display_status(&ignored, what[i].code, what[i].type,
				       mech, &more, &text) != GSS_S_COMPLETE)
			continue;
		n += (size_t)snprintf(ret + n, bytes - n, "%s%.*s",
				      i ? ": " : "", (int)MIN(text.length, 120),
				      (const char *)text.value);
		(void)gss_release_buffer(&ignored, &text);
	}
}

/* ------------------------------------------------------------- credentials */

/* Which of Kerberos and NTLM, and after them SPNEGO, which wraps them. */
static OM_uint32 list_mechs(bool kerberos, bool ntlm, bool spnego,
			    gss_OID_set *ret_set)
{
	OM_uint32 minor, major = gss_create_empty_oid_set(&minor, ret_set);

	if (!GSS_ERROR(major) && kerberos)
		major = gss_add_oid_set_member(
		    &minor, (gss_OID)(uintptr_t)gss_mech_krb5, ret_set);
	if (!GSS_ERROR(major) && ntlm)
		major = gss_add_oid_set_member(&minor, &ntlm_oid, ret_set);
	if (!GSS_ERROR(major) && spnego)
		major = gss_add_oid_set_member(&minor, &spnego_oid, ret_set);
	return major;
}

/* All of them or an error: GSSAPI is content if it gets one. */
static int check_mechs(const struct negotiate *n, gss_OID_set got,
		       struct err *err)
{
	OM_uint32 minor;
	int kerberos = 0, ntlm = 0;

	(void)gss_test_oid_set_member(&minor, (gss_OID)(uintptr_t)gss_mech_krb5,
				      got, &kerberos);
	(void)gss_test_oid_set_member(&minor, &ntlm_oid, got, &ntlm);
	if (n->kerberos && !kerberos)
		return err_set(err, -RP_EPARAM,
			       "Kerberos: no keytab, or no key in it");
	if (n->ntlm && !ntlm)
		return err_set(err, -RP_EPARAM,
			       "NTLM: gss-ntlmssp is not installed, or cannot "
			       "use the credentials file");
	return 0;
}

static int acquire(struct negotiate *n, const char *keytab, struct err *err)
{
	gss_key_value_element_desc element = {"keytab", keytab};
	gss_key_value_set_desc store = {1, &element};
	gss_OID_set want = NULL, inner = NULL, got = NULL;
	OM_uint32 major, minor = 0, ignored;
	char text[256];
	int r;

	major = list_mechs(n->kerberos, n->ntlm, true, &want);
	if (!GSS_ERROR(major))
		major = list_mechs(n->kerberos, n->ntlm, false, &inner);
	if (!GSS_ERROR(major))
		major =
		    gss_acquire_cred_from(&minor, GSS_C_NO_NAME,
					  GSS_C_INDEFINITE, want, GSS_C_ACCEPT,
					  keytab ? &store : GSS_C_NO_CRED_STORE,
					  &n->credentials, &got, NULL);
	/* within SPNEGO, too, nothing that was not asked for */
	if (!GSS_ERROR(major))
		major = gss_set_neg_mechs(&minor, n->credentials, inner);
	if (GSS_ERROR(major)) {
		explain(major, minor, GSS_C_NO_OID, text, sizeof(text));
		r = err_set(err, -RP_EPARAM, "Negotiate: %s", text);
	} else {
		r = check_mechs(n, got, err);
	}
	(void)gss_release_oid_set(&ignored, &want);
	(void)gss_release_oid_set(&ignored, &inner);
	(void)gss_release_oid_set(&ignored, &got);
	return r;
}

int negotiate_open(bool kerberos, const char *keytab, const char *ntlm,
		   struct negotiate **ret_negotiate, struct err *err)
{
	struct negotiate *n = calloc(1, sizeof(*n));
	int r = 0;

	if (!n)
		return err_set(err, -ENOMEM, "negotiate");
	if (ntlm)
		r = setenv("NTLM_USER_FILE", ntlm, 1);
	else
		r = unsetenv("NTLM_USER_FILE");
	if (r < 0)
		r = err_set(err, -ENOMEM, "environment");
	n->kerberos = kerberos;
	n->ntlm = ntlm;
	if (r == 0)
		r = acquire(n, keytab, err);
	if (r < 0) {
		negotiate_close(n);
		return r;
	}
	*ret_negotiate = n;
	return 0;
}

void negotiate_close(struct negotiate *negotiate)
{
	OM_uint32 minor;

	if (!negotiate)
		return;
	(void)gss_release_cred(&minor, &negotiate->credentials);
	free(negotiate);
}

/* ------------------------------------------------------------- connections */

struct auth_connection *auth_connection_new(void)
{
	return calloc(1, sizeof(struct auth_connection));
}

void auth_connection_free(struct auth_connection *connection)
{
	OM_uint32 minor;

	if (!connection)
		return;
	(void)gss_delete_sec_context(&minor, &connection->context,
				     GSS_C_NO_BUFFER);
	free(connection);
}

const struct principal *
auth_connection_principal(struct auth_connection *connection)
{
	static const struct principal nobody = {0};

	if (!connection->done ||
	    (connection->expires && boot_seconds() >= connection->expires))
		return &nobody;
	return &connection->principal;
}

void auth_connection_set_principal(struct auth_connection *connection,
				   const struct principal *principal)
{
	connection->principal = *principal;
}

bool auth_connection_pending(const struct auth_connection *connection)
{
	return connection && connection->pending;
}

/* A name as bytes of ours: no controls, not too long, and no NUL but one at
 * the end, which gss-ntlmssp counts. */
static bool copy_name(const gss_buffer_desc *from, char ret[AUTH_NAME_BYTES])
{
	const char *text = from->value;
	size_t n = from->length;

	if (n && !text[n - 1])
		n--;
	if (!n || n >= AUTH_NAME_BYTES || memchr(text, 0, n))
		return false;
	(void)memcpy(ret, text, n);
	ret[n] = '\0';
	return !text_has_controls(ret);
}

static bool take_names(gss_name_t peer, bool is_ntlm, char ret_name[],
		       char ret_local[])
{
	gss_buffer_desc text = GSS_C_EMPTY_BUFFER;
	OM_uint32 minor;
	bool ok;

	if (gss_display_name(&minor, peer, &text, NULL) != GSS_S_COMPLETE)
		return false;
	ok = copy_name(&text, ret_name);
	(void)gss_release_buffer(&minor, &text);
	ret_local[0] = '\0';
	if (!ok || is_ntlm ||
	    gss_localname(&minor, peer, gss_mech_krb5, &text) != GSS_S_COMPLETE)
		return ok;
	if (!copy_name(&text, ret_local))
		ret_local[0] = '\0';
	(void)gss_release_buffer(&minor, &text);
	return ok;
}

/* The exchange is over: is it one that we want? */
static bool finish(const struct negotiate *n, struct auth_connection *c,
		   gss_name_t peer, gss_OID mech, OM_uint32 flags,
		   OM_uint32 seconds, char ret_name[], char ret_local[])
{
	bool is_krb5 = mech && gss_oid_equal(mech, gss_mech_krb5);
	bool is_ntlm = mech && gss_oid_equal(mech, &ntlm_oid);

	if ((flags & GSS_C_ANON_FLAG) || !peer ||
	    !((is_krb5 && n->kerberos) || (is_ntlm && n->ntlm)))
		return false;
	if (!take_names(peer, is_ntlm, ret_name, ret_local))
		return false;
	c->is_ntlm = is_ntlm;
	c->can_seal = flags & GSS_C_CONF_FLAG;
	c->expires =
	    seconds == GSS_C_INDEFINITE ? 0 : boot_seconds() + (time_t)seconds;
	c->done = true;
	return true;
}

static enum negotiate_step step(struct negotiate *n, struct auth_connection *c,
				gss_channel_bindings_t bindings,
				gss_buffer_t in, gss_buffer_t out,
				char ret_name[], char ret_local[])
{
	gss_name_t peer = GSS_C_NO_NAME;
	OM_uint32 major, minor, ignored, flags = 0, seconds = 0;
	gss_OID mech = GSS_C_NO_OID;
	enum negotiate_step result = STEP_FAILED;
	char text[256];

	major = gss_accept_sec_context(&minor, &c->context, n->credentials, in,
				       bindings, &peer, &mech, out, &flags,
				       &seconds, NULL);
	if (GSS_ERROR(major)) {
		explain(major, minor, mech, text, sizeof(text));
		log_debug("http", "negotiate: %s", text);
	} else if (major & GSS_S_CONTINUE_NEEDED) {
		result = STEP_CONTINUE;
	} else if (finish(n, c, peer, mech, flags, seconds, ret_name,
			  ret_local)) {
		result = STEP_DONE;
	}
	(void)gss_release_name(&ignored, &peer);
	return result;
}

/* NULL without TLS. */
static gss_channel_bindings_t
bind_to(const struct auth_input *input,
	struct gss_channel_bindings_struct *bindings,
	char room[sizeof(BINDING_KIND) + END_POINT_BYTES])
{
	const size_t n = sizeof(BINDING_KIND) - 1;

	if (!input->binding_bytes || input->binding_bytes > END_POINT_BYTES)
		return GSS_C_NO_CHANNEL_BINDINGS;
	(void)memcpy(room, BINDING_KIND, n);
	(void)memcpy(room + n, input->binding, input->binding_bytes);
	bindings->application_data.value = room;
	bindings->application_data.length = n + input->binding_bytes;
	return bindings;
}

enum negotiate_step negotiate_step(struct negotiate *negotiate,
				   struct auth_connection *connection,
				   const struct auth_input *input,
				   const char *token, char **ret_token,
				   char ret_name[AUTH_NAME_BYTES],
				   char ret_local[AUTH_NAME_BYTES])
{
	struct gss_channel_bindings_struct bindings = {0};
	gss_buffer_desc in, out = GSS_C_EMPTY_BUFFER;
	char binding[sizeof(BINDING_KIND) + END_POINT_BYTES];
	enum negotiate_step result = STEP_FAILED;
	uint8_t *data = NULL;
	OM_uint32 minor;

	*ret_token = NULL;
	connection->pending = false;
	if (connection->done || connection->legs++ >= AUTH_LEGS_MAX ||
	    base64_decode(token, strlen(token), &data, &in.length) < 0)
		return STEP_FAILED;
	in.value = data;
	if (negotiate->ntlm || in.length < sizeof(NTLM_MARK) ||
	    memcmp(data, NTLM_MARK, sizeof(NTLM_MARK)) != 0)
		result = step(negotiate, connection,
			      bind_to(input, &bindings, binding), &in, &out,
			      ret_name, ret_local);
	if (result != STEP_FAILED && out.length)
		*ret_token = base64_encode(out.value, out.length);
	connection->pending = result == STEP_CONTINUE;
	(void)gss_release_buffer(&minor, &out);
	free(data);
	return result;
}

/* ----------------------------------------------------------------- sealing */

static int give(const gss_buffer_desc *from, uint8_t **ret_data,
		size_t *ret_bytes, struct err *err)
{
	uint8_t *copy = malloc(from->length + 1);

	if (!copy)
		return err_set(err, -ENOMEM, "message");
	(void)memcpy(copy, from->value, from->length);
	copy[from->length] = '\0';
	*ret_data = copy;
	*ret_bytes = from->length;
	return 0;
}

static int check_sealing(const struct auth_connection *c, struct err *err)
{
	if (c && c->done && c->can_seal)
		return 0;
	return err_set(err, -RP_EDENIED,
		       "this connection has no key to encrypt with");
}

static int seal_error(struct err *err, const char *what, OM_uint32 major,
		      OM_uint32 minor)
{
	char text[256];

	explain(major, minor, GSS_C_NO_OID, text, sizeof(text));
	return err_set(err, -RP_EWIRE, "%s: %s", what, text);
}

/* Kerberos: the signature is the header of gss_wrap_iov, which is what it adds
 * where no trailer is asked for. */
static int unseal_kerberos(struct auth_connection *c, const uint8_t *data,
			   size_t bytes, size_t signature, uint8_t **ret_data,
			   size_t *ret_bytes, struct err *err)
{
	uint8_t *copy = malloc(bytes + 1);
	gss_iov_buffer_desc iov[2] = {
	    {.type = GSS_IOV_BUFFER_TYPE_HEADER},
	    {.type = GSS_IOV_BUFFER_TYPE_DATA},
	};
	OM_uint32 major, minor;
	int conf = 0, r;

	if (!copy)
		return err_set(err, -ENOMEM, "message");
	(void)memcpy(copy, data, bytes);
	iov[0].buffer.value = copy;
	iov[0].buffer.length = signature;
	iov[1].buffer.value = copy + signature;
	iov[1].buffer.length = bytes - signature;
	major = gss_unwrap_iov(&minor, c->context, &conf, NULL, iov, 2);
	if (GSS_ERROR(major))
		r = seal_error(err, "decrypt", major, minor);
	else if (!conf)
		r = err_set(err, -RP_EWIRE, "not encrypted");
	else
		r = give(&iov[1].buffer, ret_data, ret_bytes, err);
	free(copy);
	return r;
}

static int unseal_ntlm(struct auth_connection *c, const uint8_t *data,
		       size_t bytes, uint8_t **ret_data, size_t *ret_bytes,
		       struct err *err)
{
	gss_buffer_desc in = {bytes, (void *)(uintptr_t)data};
	gss_buffer_desc out = GSS_C_EMPTY_BUFFER;
	OM_uint32 major, minor;
	int conf = 0, r;

	major = gss_unwrap(&minor, c->context, &in, &out, &conf, NULL);
	if (GSS_ERROR(major))
		return seal_error(err, "decrypt", major, minor);
	r = conf ? give(&out, ret_data, ret_bytes, err)
		 : err_set(err, -RP_EWIRE, "not encrypted");
	(void)gss_release_buffer(&minor, &out);
	return r;
}

int auth_unseal(struct auth_connection *connection, const uint8_t *data,
		size_t bytes, size_t signature_bytes, uint8_t **ret_data,
		size_t *ret_bytes, struct err *err)
{
	int r = check_sealing(connection, err);

	if (r < 0)
		return r;
	if (!signature_bytes || signature_bytes > SIGNATURE_BYTES ||
	    signature_bytes > bytes)
		return err_set(err, -RP_EWIRE, "a signature of %zu bytes",
			       signature_bytes);
	if (connection->is_ntlm)
		return unseal_ntlm(connection, data, bytes, ret_data, ret_bytes,
				   err);
	return unseal_kerberos(connection, data, bytes, signature_bytes,
			       ret_data, ret_bytes, err);
}

static int seal_kerberos(struct auth_connection *c, const uint8_t *data,
			 size_t bytes, uint8_t **ret_data, size_t *ret_bytes,
			 size_t *ret_signature, struct err *err)
{
	gss_iov_buffer_desc iov[3] = {
	    {.type = GSS_IOV_BUFFER_TYPE_HEADER},
	    {.type = GSS_IOV_BUFFER_TYPE_DATA},
	    {.type = GSS_IOV_BUFFER_TYPE_PADDING},
	};
	OM_uint32 major, minor;
	uint8_t *out;
	size_t n;

	iov[1].buffer.length = bytes;
	major = gss_wrap_iov_length(&minor, c->context, 1, GSS_C_QOP_DEFAULT,
				    NULL, iov, 3);
	if (GSS_ERROR(major))
		return seal_error(err, "encrypt", major, minor);
	n = iov[0].buffer.length + bytes + iov[2].buffer.length;
	out = malloc(n + 1);
	if (!out)
		return err_set(err, -ENOMEM, "message");
	iov[0].buffer.value = out;
	iov[1].buffer.value = out + iov[0].buffer.length;
	iov[2].buffer.value = out + iov[0].buffer.length + bytes;
	(void)memcpy(iov[1].buffer.value, data, bytes);
	major = gss_wrap_iov(&minor, c->context, 1, GSS_C_QOP_DEFAULT, NULL,
			     iov, 3);
	if (GSS_ERROR(major)) {
		free(out);
		return seal_error(err, "encrypt", major, minor);
	}
	*ret_data = out;
	*ret_bytes = n;
	*ret_signature = iov[0].buffer.length;
	return 0;
}

int auth_seal(struct auth_connection *connection, const uint8_t *data,
	      size_t bytes, uint8_t **ret_data, size_t *ret_bytes,
	      size_t *ret_signature_bytes, struct err *err)
{
	gss_buffer_desc in = {bytes, (void *)(uintptr_t)data};
	gss_buffer_desc out = GSS_C_EMPTY_BUFFER;
	OM_uint32 major, minor;
	int conf = 0, r;

	r = check_sealing(connection, err);
	if (r < 0)
		return r;
	if (!connection->is_ntlm)
		return seal_kerberos(connection, data, bytes, ret_data,
				     ret_bytes, ret_signature_bytes, err);
	major = gss_wrap(&minor, connection->context, 1, GSS_C_QOP_DEFAULT, &in,
			 &conf, &out);
	if (GSS_ERROR(major))
		return seal_error(err, "encrypt", major, minor);
	if (!conf || out.length != bytes + NTLM_SIGNATURE)
		r = err_set(err, -RP_EFAILED, "NTLM did not encrypt");
	else
		r = give(&out, ret_data, ret_bytes, err);
	(void)gss_release_buffer(&minor, &out);
	if (r == 0)
		*ret_signature_bytes = NTLM_SIGNATURE;
	return r;
}
