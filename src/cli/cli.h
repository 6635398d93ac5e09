/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The program refpoint: a table of commands, each of which makes one or a few
 * calls to refpointd and prints what it answers.
 *
 * Invariants:
 *  1. Standard output carries the result only, standard error one line that
 *     begins with "refpoint: " for a failure; the exit status is
 *     err_exit_status() of what failed, and never 0 with half a result.
 *  2. With --json standard output is one JSON value (man: refpoint(1)), of
 *     export one a line.
 *  3. Text of others (labels, paths) never reaches a terminal with control
 *     characters in it.
 */
#ifndef CLI_CLI_H
#define CLI_CLI_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/limits.h"
#include "common/paths.h"
#include "rpc/rpc.h"

#define OPTIONS_MAX     10 /* of one command */
#define POSITIONALS_MAX 3

struct cli {
	bool json;
	const char *root; /* NULL: the system's places */
	struct paths paths;
	struct rpc_client *client; /* NULL until the first call */
};

struct cli_args {
	const char *positional[POSITIONALS_MAX];
	/* As the command's options are numbered; NULL: not given. */
	const char *option[OPTIONS_MAX];
	/* All values of the one option that may be repeated. */
	const char *repeated[DISKS_PER_VM_MAX];
	unsigned n_repeated;
	/* What was given for a last positional that ends with "...". */
	char *const *rest;
	unsigned n_rest;
};

struct cli_option {
	const char *name;     /* without dashes; NULL ends the list */
	const char *argument; /* how help calls it; NULL: takes none */
	const char *help;
	bool repeats;
};

struct command {
	const char *name;
	const char *summary;
	/* "VM"; all required; "LOG...": one or more */
	const char *positionals[POSITIONALS_MAX];
	struct cli_option options[OPTIONS_MAX];
	const char *details; /* more lines for --help; NULL: none */
	int (*run)(struct cli *cli, const struct cli_args *args,
		   struct err *err);
};

extern const struct command command_define, command_undefine, command_serve,
    command_unserve, command_list, command_status, command_create,
    command_points, command_changes, command_destroy, command_check,
    command_attach, command_resize, command_snapshot, command_snapshots,
    command_convert, command_drop, command_rename, command_listen,
    command_unlisten, command_export, command_replay, command_set_agent,
    command_drop_log, command_set_log_limit, command_import;

/* ---- Calls --------------------------------------------------------------- */

/* How long a person waits for an answer, ms; 0: for ever. */
#define WAIT_QUICK 30000u
#define WAIT_WORK  300000u
#define WAIT_EVER  0u

/* One call to "org.refpoint.METHOD".  PARAMETERS are taken over;
 * *RET_PARAMETERS (may be NULL) is the caller's. */
int cli_call(struct cli *cli, const char *method, json_t *parameters,
	     const int *fds, unsigned n_fds, unsigned timeout_ms,
	     json_t **ret_parameters, struct err *err);
/* The same for the object MEMBER of the answer; -RP_EWIRE if it is not there.
 */
int cli_call_for(struct cli *cli, const char *method, json_t *parameters,
		 unsigned timeout_ms, const char *member, json_t **ret_member,
		 struct err *err);
/* The same for what makes a point, which it prints: its id, or all as JSON. */
int cli_make_point(struct cli *cli, const char *method, json_t *parameters,
		   unsigned timeout_ms, struct err *err);
/* As rpc_call_more_cut(). */
int cli_stream(struct cli *cli, const char *method, json_t *parameters,
	       size_t (*cut)(void *arg, char *text, size_t bytes),
	       int (*fn)(void *arg, json_t *parameters, bool continues),
	       void *arg, struct err *err);

/* As rpc_call_more_fds(); REPLY_MS is for each reply anew. */
int cli_stream_fds(struct cli *cli, const char *method, json_t *parameters,
		   const int *fds, unsigned n_fds, unsigned reply_ms,
		   int (*fn)(void *arg, json_t *parameters, bool continues),
		   void *arg, struct err *err);

/* What refpointd knows of VM; *RET_STATUS is the caller's. */
int cli_status(struct cli *cli, const char *vm, json_t **ret_status,
	       struct err *err);

/* ---- Arguments ----------------------------------------------------------- */

/* Bytes, with one of the suffixes K, M, G, T (powers of 1024, "iB" may
 * follow). */
int parse_size(const char *text, uint64_t *ret_bytes, struct err *err);

/* A number from MIN to MAX; WHAT names it in the message. */
int parse_number(const char *what, const char *text, uint64_t min, uint64_t max,
		 uint64_t *ret_number, struct err *err);
int check_vm_name(const char *vm, struct err *err);
/* The key that file PATH holds, 64 hexadecimal digits, which nobody else may
 * read or write; no message quotes it. */
#define KEY_TEXT_BYTES 65
int read_key(const char *path, char ret_key[KEY_TEXT_BYTES], struct err *err);
/* TEXT may be NULL: not given. */
int check_request_id(const char *text, struct err *err);
/* Seconds, NULL for the default: the limit in ms, 0 then, and how long the
 * answer is waited for. */
int parse_timeout(const char *text, uint64_t *ret_ms, unsigned *ret_wait_ms,
		  struct err *err);

#endif
