/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes as lower-case hexadecimal digits. */
#ifndef COMMON_HEX_H
#define COMMON_HEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* 2 * N digits and a NUL. */
void hex_format(const uint8_t *bytes, size_t n, char *ret_text);
/* Exactly 2 * N lower-case digits at TEXT, whatever follows; false: they are
 * not there, and RET_BYTES is untouched. */
bool hex_parse(const char *text, size_t n, uint8_t *ret_bytes);

#endif
