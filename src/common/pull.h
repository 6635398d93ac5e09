/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What refpointd and refpoint-pull say to each other, over a SOCK_SEQPACKET
 * pair: refpointd sends a struct pull_key; then each PULL_CONNECT is answered
 * by PULL_CONNECT with a descriptor, or PULL_REFUSED.  PULL_READY comes once,
 * when clients are accepted.
 */
#ifndef COMMON_PULL_H
#define COMMON_PULL_H

#include <stdint.h>

#define PULL_KEY_BYTES      32
#define PULL_IDENTITY_BYTES 32 /* with NUL */

enum pull_message {
	PULL_READY = 'R',
	PULL_CONNECT = 'C',
	PULL_REFUSED = 'N',
};

struct pull_key {
	char identity[PULL_IDENTITY_BYTES];
	uint8_t key[PULL_KEY_BYTES];
};

#endif
