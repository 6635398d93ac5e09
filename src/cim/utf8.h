/* SPDX-License-Identifier: Apache-2.0 */
/* UTF-8 as XML 1.0 may hold it. */
#ifndef CIM_UTF8_H
#define CIM_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CIM_UTF8_REPLACEMENT "\xef\xbf\xbd"

/* Reads one character at TEXT, which has LENGTH > 0 bytes.  Returns its bytes,
 * or 0 if it is broken: cut short, overlong, a surrogate, beyond U+10FFFF. */
size_t cim_utf8_read(const char *text, size_t length, uint32_t *ret_character);
/* Likewise, 0 also for what XML cannot hold (controls, U+FFFE, U+FFFF). */
size_t cim_utf8_length(const char *text, size_t length);
/* Whether all of it is such. */
bool cim_utf8_valid(const char *text, size_t length);
/* Writes a character of the basic plane with a NUL; U+FFFD for what XML cannot
 * hold. */
void cim_utf8_write(uint32_t character, char ret_text[4]);

#endif
