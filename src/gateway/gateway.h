/* SPDX-License-Identifier: Apache-2.0 */
/*
 * refpoint-cim: the management gateway, a process without rights of its own.
 *
 *   as root, or as whoever started it     main.c, place.c
 *     bind doors, make the state directory, start refpoint-pam
 *   as refpoint-cim                       serve.c
 *     read certificate, users, keys
 *   confined                              confine.c
 *     serve
 *
 * R1  Started as root it becomes GATEWAY_USER before it reads anything that
 *     others may have written, and never gets back.
 * R2  All of its signals are taken by the main thread, one after the other.
 * R3  Everything that it knows lasting is refpointd's: it may be killed at any
 *     time.
 */
#ifndef GATEWAY_GATEWAY_H
#define GATEWAY_GATEWAY_H

#include "common/paths.h"
#include "gateway/dispatch.h"
#include "gateway/options.h"
#include "http/server.h"
#include "providers/all.h"

struct gateway {
	struct gateway_options options;
	struct paths paths;
	int doors[DOORS_MAX]; /* listening; -1: left out */
	int pam_fd;           /* to a helper of our own; -1: none */
	char pam_socket[PATH_BYTES];
	struct providers providers;
	struct broker *broker;
	struct dispatch dispatch;
	struct certificate certificate;
	struct auth *auth;
	struct http_server *server;
};

/* place.c: with the rights that it was started with */
int place_open_doors(struct gateway *gateway, struct err *err);
/* The state directory, ours alone; as root, given to GATEWAY_USER. */
int place_make_state(struct gateway *gateway, struct err *err);
/* Where --pam asks: systemd's socket, or a refpoint-pam of our own. */
int place_find_pam(struct gateway *gateway, struct err *err);
/* If root: becomes GATEWAY_USER for good. */
int place_drop_root(struct err *err);
/* "listening wsman https://...", one line for each door, on stdout. */
void place_tell_doors(const struct gateway *gateway);

/* serve.c */
/* Certificate, users, keys, and the broker behind them. */
int serve_open(struct gateway *gateway, struct err *err);
int serve_start(struct gateway *gateway, struct err *err);
/* Reads what serve_open read of files, anew; what is wrong stays as it was.
 * An error if nothing is served any more. */
int serve_reload(struct gateway *gateway, struct err *err);
void serve_stop(struct gateway *gateway);
void serve_close(struct gateway *gateway);

/* passwd.c: refpoint-cim passwd; an exit status */
int passwd_main(int argc, char **argv);

#endif
