/* SPDX-License-Identifier: Apache-2.0 */
#ifndef COMMON_CRC32C_H
#define COMMON_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* CRC-32C (Castagnoli), as iSCSI and ext4 use it (RFC 3720, B.4): start with
 * SEED 0; to continue, pass the previous result.  crc32c(0, "123456789", 9)
 * is 0xe3069283. */
uint32_t crc32c(uint32_t seed, const void *data, size_t bytes);

#endif
