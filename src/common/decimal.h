/* SPDX-License-Identifier: Apache-2.0 */
/* Numbers as text by the hundred thousand: a tenth of what snprintf() takes. */
#ifndef COMMON_DECIMAL_H
#define COMMON_DECIMAL_H

#include <stddef.h>
#include <stdint.h>

#define DECIMAL_BYTES 20 /* of UINT64_MAX, without NUL */

/* Writes VALUE's digits, without a NUL; returns how many. */
size_t decimal_write(uint64_t value, char ret_text[DECIMAL_BYTES]);

#endif
