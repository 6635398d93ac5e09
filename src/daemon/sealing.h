/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who vouches for the documents of an export of logs: a MAC over both under the
 * host's key, or one that hosts share (docs/format/log-export.md).
 *
 *   V1  The host's key is made once, by the one refpointd that has LIB, has its
 *       name when its content is durable, is used when its name is too, even
 *       where a crash came in between, and never leaves LIB.
 *   V2  A key in a file that others can read or write, or of another form, is
 *       none: it is told in the log, and not used.
 *   V3  Whether a MAC is good is found in the same time whatever it is.
 *   V4  Keys that were read are wiped when they were used; what came by a
 *       message is in its buffers as well.
 */
#ifndef DAEMON_SEALING_H
#define DAEMON_SEALING_H

#include <stdbool.h>
#include <stdint.h>

#include "common/err.h"
#include "common/metadata.h"

#define SEALING_KEY_BYTES 32
#define SEALING_KEYS_MAX  64 /* in LIB/import-keys */

struct sealing_key {
	uint8_t bytes[SEALING_KEY_BYTES];
};

/* TEXT: 64 hexadecimal digits, of either case, and perhaps a newline.
 * -RP_EPARAM, which does not quote it. */
int sealing_key_parse(const char *text, struct sealing_key *ret_key,
		      struct err *err);
/* LIB/import-key, made if it is not there.  -RP_EFAILED: it is not ours alone
 * (V2; not -RP_EDENIED: it is no matter of who asks); -RP_ECORRUPT: no key;
 * -errno. */
int sealing_key_own(const char *lib, struct sealing_key *ret_key,
		    struct err *err);

/* Whole documents, for free(3), of CONFIG and STATE without their last lines.
 */
int sealing_seal(const struct sealing_key *key, const char *config,
		 const char *state, char **ret_config, char **ret_state,
		 struct err *err);

/* Do both carry the MAC of KEY, or, KEY being NULL, of the host's or one in
 * LIB/import-keys? */
bool sealing_is_good(const char *lib, const struct sealing_key *key,
		     const char *config, const char *state);

#endif
