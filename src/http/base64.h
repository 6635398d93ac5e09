/* SPDX-License-Identifier: Apache-2.0 */
/* RFC 4648 base64 with padding, nothing else allowed. */
#ifndef HTTP_BASE64_H
#define HTTP_BASE64_H

#include <stddef.h>
#include <stdint.h>

/* *RET_DATA, with a NUL behind it, is the caller's to free.  -RP_EPARAM if it
 * is no base64, -ENOMEM. */
int base64_decode(const char *text, size_t length, uint8_t **ret_data,
		  size_t *ret_bytes);
/* NULL without memory. */
char *base64_encode(const uint8_t *data, size_t bytes);

#endif
