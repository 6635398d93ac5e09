/* SPDX-License-Identifier: Apache-2.0 */
/* Times as the JSON sockets show them. */
#ifndef COMMON_RFC3339_H
#define COMMON_RFC3339_H

#include <stdbool.h>
#include <stdint.h>

#define TIME_TEXT_BYTES 40

/* RFC 3339 in UTC with nanoseconds, of NS since 1970. */
void time_format(int64_t ns, char text[TIME_TEXT_BYTES]);
/* The way back, of any RFC 3339 time since 1970 with at most 9 digits behind
 * the second; false: it is none. */
bool time_parse(const char *text, int64_t *ret_ns);

#endif
