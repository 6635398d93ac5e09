/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/log.h"
#include "gateway/gateway.h"
#include "providers/exports.h"

/* Two seconds after the last request the allocator returns what it holds. */
#define TIDY_S 2

static int load_certificate(const struct gateway *g,
			    struct certificate *ret_certificate,
			    struct err *err)
{
	const struct gateway_options *o = &g->options;
	bool made = false;
	int r;

	if (o->plain)
		return 0;
	if (o->cert)
		return certificate_load(o->cert, o->key, ret_certificate, err);
	r = certificate_load_or_make(g->paths.cim, ret_certificate, &made, err);
	if (r == 0 && made)
		log_info("made a certificate of our own in '%s'; clients have "
			 "to be told to trust it",
			 g->paths.cim);
	return r;
}

static int open_auth(const struct gateway *g, struct auth **ret_auth,
		     struct err *err)
{
	const struct gateway_options *o = &g->options;
	const struct auth_options options = {
	    .users = o->users,
	    .pam_fd = g->pam_fd,
	    .pam_socket = g->pam_socket[0] ? g->pam_socket : NULL,
	    .operator_group = o->operator_group,
	    .reader_group = o->reader_group,
	    .kerberos = o->keytab,
	    .keytab = o->keytab,
	    .ntlm = o->ntlm,
	    .certificates = o->client_map,
	};

	return auth_open(&options, ret_auth, err);
}

int serve_open(struct gateway *gateway, struct err *err)
{
	struct providers *p = &gateway->providers;
	int r;

	/* Kerberos remembers what it has seen; not where others may write */
	if (setenv("KRB5RCACHEDIR", gateway->paths.cim, 1) < 0)
		return err_set(err, -ENOMEM, "environment");
	host_facts_read("", &p->host);
	backend_init(&p->backend, &gateway->paths);
	p->paths = gateway->paths;
	if (gateway->options.export_root) {
		r = exports_new(gateway->options.export_root, &p->exports, err);
		if (r < 0)
			return r;
	}
	r = providers_all(p, &gateway->broker, err);
	if (r == 0)
		r = dispatch_init(&gateway->dispatch, gateway->broker, err);
	if (r < 0)
		return r;
	gateway->dispatch.tidy_s = TIDY_S;
	r = load_certificate(gateway, &gateway->certificate, err);
	return r == 0 ? open_auth(gateway, &gateway->auth, err) : r;
}

/* Descriptors of our own stay open, for the next time. */
static int lend_doors(const struct gateway *g,
		      struct http_listener ret_listeners[DOORS_MAX],
		      size_t *ret_n, struct err *err)
{
	size_t n = 0;

	for (size_t i = 0; i < g->options.n_doors; i++) {
		enum door_protocol protocol = g->options.doors[i].protocol;
		int fd;

		if (g->doors[i] < 0)
			continue;
		fd = fcntl(g->doors[i], F_DUPFD_CLOEXEC, 3);
		if (fd < 0) {
			int r = err_set(err, -errno, "listening sockets");

			while (n--)
				(void)close(ret_listeners[n].fd);
			return r;
		}
		ret_listeners[n++] =
		    (struct http_listener){.fd = fd,
					   .tag = protocol,
					   .tls = !g->options.plain,
					   .anonymous = protocol == DOOR_WSMAN
							    ? dispatch_anonymous
							    : NULL};
	}
	*ret_n = n;
	return 0;
}

/* Handlers wait for nobody but refpointd. */
static void interrupt(void *arg)
{
	backend_stop(true);
}

int serve_start(struct gateway *gateway, struct err *err)
{
	const struct gateway_options *o = &gateway->options;
	struct http_listener listeners[DOORS_MAX];
	struct http_server_options options = {
	    .listeners = listeners,
	    .certificate = o->plain ? NULL : &gateway->certificate,
	    .client_ca = o->client_ca,
	    .client_certificates = o->client_map,
	    .auth = gateway->auth,
	    .handler = dispatch_handle,
	    .interrupt = interrupt,
	    .arg = &gateway->dispatch};
	int r = lend_doors(gateway, listeners, &options.n_listeners, err);

	backend_stop(false);
	if (r == 0)
		r = http_server_start(&options, &gateway->server, err);
	return r;
}

void serve_stop(struct gateway *gateway)
{
	if (gateway->server)
		http_server_stop(gateway->server);
	gateway->server = NULL;
}

int serve_reload(struct gateway *gateway, struct err *err)
{
	struct certificate certificate = {0};
	struct err why = {0};
	struct auth *auth;

	if (http_server_check_authorities(gateway->options.client_ca, &why) <
		0 ||
	    load_certificate(gateway, &certificate, &why) < 0) {
		log_error("nothing was read anew: %s", why.text);
		return 0;
	}
	/* without threads: it changes the environment */
	serve_stop(gateway);
	certificate_clear(&gateway->certificate);
	gateway->certificate = certificate;
	if (open_auth(gateway, &auth, &why) < 0) {
		log_error("users and keys stay as they were: %s", why.text);
	} else {
		auth_close(gateway->auth);
		gateway->auth = auth;
		log_info("read certificate, users and keys anew");
	}
	return serve_start(gateway, err);
}

void serve_close(struct gateway *gateway)
{
	serve_stop(gateway);
	auth_close(gateway->auth);
	certificate_clear(&gateway->certificate);
	dispatch_clear(&gateway->dispatch);
	gateway->broker = broker_free(gateway->broker);
	gateway->providers.exports = exports_free(gateway->providers.exports);
}
