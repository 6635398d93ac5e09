/* SPDX-License-Identifier: Apache-2.0 */
/* A record as the JSON that stands in its file. */
#ifndef JOB_RECORD_FILE_H
#define JOB_RECORD_FILE_H

#include <stddef.h>

#include "job/record.h"

#define RECORD_FILE_BYTES 8192 /* more than the longest */

/* Text for free(3); NULL: no memory.  BOOT: the boot whose times it has. */
char *record_format(const struct record *record, const char *boot);
/* Everything is checked; -RP_ECORRUPT. */
int record_parse(const char *text, size_t bytes, struct record *ret_record,
		 char ret_boot[GUID_TEXT_BYTES], struct err *err);

#endif
