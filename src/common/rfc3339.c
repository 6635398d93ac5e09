/* SPDX-License-Identifier: Apache-2.0 */
#include "common/rfc3339.h"

#include <stdio.h>
#include <time.h>

void time_format(int64_t ns, char text[TIME_TEXT_BYTES])
{
	time_t seconds = (time_t)(ns / 1000000000);
	struct tm tm;
	size_t n;

	(void)gmtime_r(&seconds, &tm);
	n = strftime(text, TIME_TEXT_BYTES, "%Y-%m-%dT%H:%M:%S", &tm);
	(void)snprintf(text + n, TIME_TEXT_BYTES - n, ".%09dZ",
		       (int)(ns % 1000000000));
}
