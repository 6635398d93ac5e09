/* SPDX-License-Identifier: Apache-2.0 */
/* The documents of an export of logs: what is common to who writes them
 * (backup/metadata.h) and who vouches for them (daemon/sealing.h). */
#ifndef COMMON_METADATA_H
#define COMMON_METADATA_H

#include "common/bytes.h"

#define METADATA_CONFIG_NAME "refpoint.json"
#define METADATA_STATE_NAME  "refpoint-state.json"
#define METADATA_VERSION     2
#define METADATA_BYTES_MAX   KIB(256) /* of either, with its last line */
#define METADATA_LOGS_MAX    1024     /* of all disks together */
#define METADATA_HASH_BYTES  32       /* SHA-256 */
#define METADATA_PIECE_BYTES MIB(1)   /* of a disk, hashed alone */

/* The last line is HEAD, 64 digits, TAIL. */
#define METADATA_MAC_BYTES 32
#define METADATA_MAC_HEAD  "\"mac\":\""
#define METADATA_MAC_TAIL  "\"}\n"
#define METADATA_LAST_BYTES                                                    \
	(sizeof(METADATA_MAC_HEAD) - 1 + 2 * METADATA_MAC_BYTES +              \
	 sizeof(METADATA_MAC_TAIL) - 1)

#endif
