/* SPDX-License-Identifier: Apache-2.0 */
#include "http/auth.h"

#include <arpa/inet.h>
#include <grp.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/paths.h"
#include "http/attempts.h"
#include "http/base64.h"
#include "http/clients.h"
#include "http/negotiate.h"
#include "http/pam.h"
#include "http/private-file.h"
#include "http/users.h"

#define NSS_BYTES       16384
#define MEMBERSHIPS_MAX 1024
#define SECRETS_BYTES   MIB(1) /* of a keytab or credentials file */

/* The order of refpoint-pam's --group. */
#define PAM_OPERATOR 1u
#define PAM_READER   2u

struct auth {
	struct users *users;
	struct clients *clients;
	struct negotiate *negotiate;
	struct attempts *attempts;
	int pam_fd;
	char *pam_socket;
	char *operator_group, *reader_group;
};

struct basic {
	char name[AUTH_NAME_BYTES];
	char password[AUTH_PASSWORD_BYTES];
};

static uint64_t now(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ------------------------------------------------------- opening, closing */

static int copy(const char *from, char **ret, struct err *err)
{
	*ret = from ? strdup(from) : NULL;
	return from && !*ret ? err_set(err, -ENOMEM, "authentication") : 0;
}

/* GSSAPI reads these itself, whoever else may. */
static int check_secrets(const char *path, bool any_owner, struct err *err)
{
	_cleanup_free_ char *text = NULL;
	struct stat st;
	int r;

	if (!path)
		return 0;
	r = private_file_read(path, any_owner, SECRETS_BYTES, &text, &st, err);
	if (r == 0)
		explicit_bzero(text, (size_t)st.st_size);
	return r;
}

/* Without a keytab of the system's there is no Kerberos, and that is all. */
static int open_negotiate(struct auth *a, const struct auth_options *o,
			  struct err *err)
{
	struct err why = {0};
	int r;

	if (!o->kerberos && !o->ntlm) {
		(void)unsetenv("NTLM_USER_FILE");
		return 0;
	}
	r = check_secrets(o->keytab, o->users_any_owner, err);
	if (r == 0)
		r = check_secrets(o->ntlm, o->users_any_owner, err);
	if (r < 0)
		return r;
	r = negotiate_open(o->kerberos, o->keytab, o->ntlm, &a->negotiate,
			   &why);
	if (r < 0 && o->kerberos && !o->keytab) {
		log_info("no Kerberos: %s", why.text);
		if (!o->ntlm)
			return 0;
		r = negotiate_open(false, NULL, o->ntlm, &a->negotiate, &why);
	}
	return r < 0 ? err_set(err, r, "%s", why.text) : 0;
}

int auth_open(const struct auth_options *options, struct auth **ret_auth,
	      struct err *err)
{
	struct auth *a = calloc(1, sizeof(*a));
	int r;

	if (!a)
		return err_set(err, -ENOMEM, "authentication");
	a->pam_fd = options->pam_fd;
	r = attempts_open(&a->attempts, err);
	if (r == 0)
		r = copy(options->operator_group, &a->operator_group, err);
	if (r == 0)
		r = copy(options->pam_socket, &a->pam_socket, err);
	if (r == 0)
		r = copy(options->reader_group, &a->reader_group, err);
	if (r == 0 && options->users)
		r = users_open(options->users, options->users_any_owner,
			       &a->users, err);
	if (r == 0 && options->certificates)
		r = clients_open(options->certificates,
				 options->users_any_owner, &a->clients, err);
	if (r == 0)
		r = open_negotiate(a, options, err);
	if (r < 0) {
		auth_close(a);
		return r;
	}
	*ret_auth = a;
	return 0;
}

void auth_close(struct auth *auth)
{
	if (!auth)
		return;
	users_close(auth->users);
	clients_close(auth->clients);
	negotiate_close(auth->negotiate);
	attempts_close(auth->attempts);
	free(auth->pam_socket);
	free(auth->operator_group);
	free(auth->reader_group);
	free(auth);
}

void auth_verdict_clear(struct auth_verdict *verdict)
{
	free(verdict->token);
	*verdict = (struct auth_verdict){0};
}

static bool has_pam(const struct auth *a)
{
	return a->pam_fd >= 0 || a->pam_socket;
}

const char *auth_challenge(const struct auth *auth, bool tls,
			   const struct sockaddr *peer, unsigned n)
{
	bool basic = (auth->users || has_pam(auth)) &&
		     (tls || address_is_loopback(peer));

	if (auth->negotiate && n-- == 0)
		return "Negotiate";
	if (basic && n-- == 0)
		return "Basic realm=\"refpoint\", charset=\"UTF-8\"";
	return NULL;
}

/* ------------------------------------------------------------------- roles */

static void grant(struct auth_verdict *v, const char *name, enum role role)
{
	v->outcome = AUTH_GRANTED;
	v->principal.role = role;
	(void)snprintf(v->principal.name, sizeof(v->principal.name), "%s",
		       name);
}

/* For who watches the journal: at most AUTH_ATTEMPTS_PER_PEER of an address. */
static void tell_refusal(const char *name, const struct sockaddr *peer)
{
	const struct sockaddr_in *four = (const void *)peer;
	const struct sockaddr_in6 *six = (const void *)peer;
	const void *address = peer->sa_family == AF_INET6
				  ? (const void *)&six->sin6_addr
				  : (const void *)&four->sin_addr;
	char text[INET6_ADDRSTRLEN] = "?", plain[AUTH_NAME_BYTES];
	size_t n = 0;

	(void)inet_ntop(peer->sa_family, address, text, sizeof(text));
	for (; name[n] && n < sizeof(plain) - 1; n++)
		plain[n] = name[n] == '"' ? '\'' : name[n];
	plain[n] = '\0';
	log_info("not let in: name=\"%s\" address=%s", plain, text);
}

static void refuse(struct auth *a, struct auth_verdict *v, const char *name,
		   const struct sockaddr *peer, uint64_t began)
{
	tell_refusal(name, peer);
	attempts_failed(a->attempts, name, peer, now());
	v->outcome = AUTH_REFUSED;
	v->principal = (struct principal){0};
	v->due_ms = began + AUTH_FAILURE_MS;
}

static enum role pam_role(uint32_t groups)
{
	if (groups & PAM_OPERATOR)
		return ROLE_OPERATOR;
	return groups & PAM_READER ? ROLE_READ_ONLY : ROLE_DENIED;
}

static bool member(const char *group, const gid_t *list, int n)
{
	char buf[NSS_BYTES];
	struct group gr, *found = NULL;

	if (!group || getgrnam_r(group, &gr, buf, sizeof(buf), &found) != 0 ||
	    !found)
		return false;
	for (int i = 0; i < n; i++)
		if (list[i] == gr.gr_gid)
			return true;
	return false;
}

/* By the system's groups of a local user; root has no role. */
static enum role local_role(const struct auth *a, const char *local)
{
	gid_t list[MEMBERSHIPS_MAX];
	char buf[NSS_BYTES];
	struct passwd pw, *found = NULL;
	int n = MEMBERSHIPS_MAX;

	if (!local[0] ||
	    getpwnam_r(local, &pw, buf, sizeof(buf), &found) != 0 || !found ||
	    pw.pw_uid == 0 || getgrouplist(local, pw.pw_gid, list, &n) < 0)
		return ROLE_DENIED;
	if (member(a->operator_group, list, n))
		return ROLE_OPERATOR;
	return member(a->reader_group, list, n) ? ROLE_READ_ONLY : ROLE_DENIED;
}

static enum role role_of(struct auth *a, const char *name, const char *local)
{
	enum role role;

	if (a->users && users_role(a->users, name, &role))
		return role;
	return local_role(a, local);
}

/* ------------------------------------------------------------------- Basic */

/* What follows "SCHEME ", or NULL. */
static const char *scheme(const char *authorization, const char *name)
{
	size_t n = strlen(name);

	if (strncasecmp(authorization, name, n) != 0 || authorization[n] != ' ')
		return NULL;
	return authorization + n + strspn(authorization + n, " ");
}

static int parse_basic(const char *credentials, struct basic *ret)
{
	size_t bytes, length = strcspn(credentials, " ");
	const char *colon;
	uint8_t *data;
	int r = -RP_EPARAM;

	if (length > AUTH_HEADER_BYTES_MAX || credentials[length] ||
	    base64_decode(credentials, length, &data, &bytes) < 0)
		return -RP_EPARAM;
	colon = memchr(data, ':', bytes);
	if (colon && !memchr(data, 0, bytes) &&
	    (size_t)(colon - (const char *)data) < sizeof(ret->name) &&
	    strlen(colon + 1) < sizeof(ret->password)) {
		length = (size_t)(colon - (const char *)data);
		(void)memcpy(ret->name, data, length);
		ret->name[length] = '\0';
		(void)strcpy(ret->password, colon + 1);
		r = length && !text_has_controls(ret->name) ? 0 : -RP_EPARAM;
	}
	explicit_bzero(data, bytes);
	free(data);
	return r;
}

/* A connection of its own for each attempt, where there is a socket. */
static bool ask_pam(const struct auth *a, const struct basic *b,
		    uint32_t *ret_groups)
{
	_cleanup_close_ int fd = -1;
	struct err err = {0};

	if (a->pam_socket && pam_connect(a->pam_socket, &fd, &err) < 0) {
		log_error("passwords cannot be checked: %s", err.text);
		return false;
	}
	return pam_check(a->pam_socket ? fd : a->pam_fd, b->name, b->password,
			 ret_groups);
}

/* True if the password is right. */
static bool try_password(struct auth *a, const struct basic *b,
			 enum role *ret_role)
{
	enum role role = ROLE_DENIED;
	uint32_t groups = 0;

	if (a->users && users_check(a->users, b->name, b->password, &role)) {
		*ret_role = role;
		return true;
	}
	if (!has_pam(a) || users_has_password(a->users, b->name) ||
	    !ask_pam(a, b, &groups))
		return false;
	if (!a->users || !users_role(a->users, b->name, &role))
		role = pam_role(groups);
	*ret_role = role;
	return true;
}

static void check_basic(struct auth *a, const struct auth_input *input,
			const char *credentials, struct auth_verdict *v)
{
	uint64_t began = now();
	enum role role;
	struct basic b;

	if (parse_basic(credentials, &b) < 0) {
		refuse(a, v, "", input->peer, began);
		return;
	}
	if (!attempts_allowed(a->attempts, b.name, input->peer, began)) {
		v->outcome = AUTH_LIMITED;
	} else if (try_password(a, &b, &role)) {
		grant(v, b.name, role);
		attempts_remember(a->attempts, b.name, b.password,
				  &v->principal, now());
	} else {
		refuse(a, v, b.name, input->peer, began);
	}
	explicit_bzero(&b, sizeof(b));
}

static bool recall_basic(struct auth *a, const char *credentials,
			 struct auth_verdict *v)
{
	struct basic b;
	bool found = false;

	if (parse_basic(credentials, &b) == 0) {
		found = attempts_recall(a->attempts, b.name, b.password, now(),
					&v->principal);
		if (found)
			v->outcome = AUTH_GRANTED;
	}
	explicit_bzero(&b, sizeof(b));
	return found;
}

/* --------------------------------------------------------------- Negotiate */

static void forget(struct auth_connection **connection)
{
	auth_connection_free(*connection);
	*connection = NULL;
}

static void check_negotiate(struct auth *a, struct auth_connection **connection,
			    const struct auth_input *input, const char *token,
			    struct auth_verdict *v)
{
	char name[AUTH_NAME_BYTES] = "", local[AUTH_NAME_BYTES] = "";
	uint64_t began = now();
	enum negotiate_step step = STEP_FAILED;

	if (!auth_connection_pending(*connection))
		forget(connection);
	if (!attempts_allowed(a->attempts, "", input->peer, began)) {
		v->outcome = AUTH_LIMITED;
		return;
	}
	if (!*connection)
		*connection = auth_connection_new();
	if (*connection)
		step = negotiate_step(a->negotiate, *connection, input, token,
				      &v->token, name, local);
	if (step == STEP_CONTINUE) {
		v->outcome = AUTH_CONTINUE;
	} else if (step == STEP_DONE) {
		grant(v, name, role_of(a, name, local));
		auth_connection_set_principal(*connection, &v->principal);
	} else {
		forget(connection);
		refuse(a, v, name, input->peer, began);
	}
}

/* ---------------------------------------------------------------- together */

/* Nothing was shown with this request: what the connection is known to be. */
static void judge_connection(struct auth *a, struct auth_connection *connection,
			     const struct auth_input *input,
			     struct auth_verdict *v)
{
	const struct principal *p =
	    connection ? auth_connection_principal(connection) : NULL;
	const char *name;

	v->outcome = AUTH_ANONYMOUS;
	if (p && p->name[0]) {
		v->outcome = AUTH_GRANTED;
		v->principal = *p;
	} else if (input->tls && input->certificate && a->clients) {
		name = clients_find(a->clients, input->certificate);
		if (name)
			grant(v, name, role_of(a, name, ""));
	}
}

bool auth_quick(struct auth *auth, struct auth_connection **connection,
		const struct auth_input *input,
		struct auth_verdict *ret_verdict)
{
	const char *basic;

	*ret_verdict = (struct auth_verdict){0};
	if (!input->authorization) {
		judge_connection(auth, *connection, input, ret_verdict);
		return true;
	}
	basic = scheme(input->authorization, "Basic");
	if (basic) {
		forget(connection);
		if (!input->tls && !address_is_loopback(input->peer))
			return true;
		return recall_basic(auth, basic, ret_verdict);
	}
	if (auth->negotiate && scheme(input->authorization, "Negotiate"))
		return false;
	forget(connection);
	return true;
}

void auth_check(struct auth *auth, struct auth_connection **connection,
		const struct auth_input *input,
		struct auth_verdict *ret_verdict)
{
	const char *credentials;

	*ret_verdict = (struct auth_verdict){0};
	credentials = scheme(input->authorization, "Basic");
	if (credentials) {
		check_basic(auth, input, credentials, ret_verdict);
		return;
	}
	credentials = scheme(input->authorization, "Negotiate");
	if (credentials && auth->negotiate)
		check_negotiate(auth, connection, input, credentials,
				ret_verdict);
}
