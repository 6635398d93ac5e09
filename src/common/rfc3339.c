/* SPDX-License-Identifier: Apache-2.0 */
#include "common/rfc3339.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
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

/* "", or '.' and 1 to 9 digits; returns what follows, NULL if neither. */
static const char *parse_fraction(const char *text, int64_t *ret_ns)
{
	int64_t unit = 100000000;

	*ret_ns = 0;
	if (*text != '.')
		return text;
	if (!isdigit((unsigned char)*++text))
		return NULL;
	for (; isdigit((unsigned char)*text); text++, unit /= 10) {
		if (unit == 0)
			return NULL;
		*ret_ns += (*text - '0') * unit;
	}
	return text;
}

/* "Z" or "+hh:mm": seconds east. */
static bool parse_zone(const char *text, int64_t *ret_s)
{
	int hours, minutes, n = 0;

	*ret_s = 0;
	if (strcmp(text, "Z") == 0 || strcmp(text, "z") == 0)
		return true;
	if ((*text != '+' && *text != '-') || strlen(text) != 6 ||
	    sscanf(text + 1, "%2d:%2d%n", &hours, &minutes, &n) != 2 ||
	    n != 5 || hours > 23 || minutes > 59 || hours < 0 || minutes < 0)
		return false;
	*ret_s = (*text == '-' ? -1 : 1) * (hours * 3600 + minutes * 60);
	return true;
}

static bool has_form(const char *text)
{
	static const char form[] = "dddd-dd-ddTdd:dd:dd";

	for (const char *f = form; *f; f++, text++)
		if (*f == 'd'   ? !isdigit((unsigned char)*text)
		    : *f == 'T' ? !strchr("Tt ", *text) || !*text
				: *text != *f)
			return false;
	return true;
}

bool time_parse(const char *text, int64_t *ret_ns)
{
	struct tm tm = {0}, again;
	int64_t fraction, zone, s;
	time_t t;

	if (!has_form(text) ||
	    sscanf(text, "%4d-%2d-%2d%*c%2d:%2d:%2d", &tm.tm_year, &tm.tm_mon,
		   &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec) != 6)
		return false;
	text = parse_fraction(text + 19, &fraction);
	if (!text || !parse_zone(text, &zone))
		return false;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	again = tm;
	t = timegm(&again);
	/* the 31st of June is another day */
	if (again.tm_mon != tm.tm_mon || again.tm_mday != tm.tm_mday ||
	    again.tm_hour != tm.tm_hour || again.tm_min != tm.tm_min ||
	    again.tm_sec != tm.tm_sec)
		return false;
	s = (int64_t)t - zone;
	if (s < 0 || s > INT64_MAX / 1000000000 - 1)
		return false;
	*ret_ns = s * 1000000000 + fraction;
	return true;
}
