/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cim/status.h"
#include "cim/value.h"

#define LENGTH      (CIM_DATETIME_BYTES - 1)
#define DOT         14
#define SIGN        21
#define DAY_SECONDS 86400
#define US          1000000

/* N digits as a number; all asterisks are LOWEST; -1: neither. */
static int64_t field(const char *text, unsigned n, int64_t lowest)
{
	int64_t number = 0;

	if (strspn(text, "*") >= n)
		return lowest;
	for (unsigned i = 0; i < n; i++) {
		if (text[i] < '0' || text[i] > '9')
			return -1;
		number = number * 10 + (text[i] - '0');
	}
	return number;
}

/* Microseconds, of which the last digits may be asterisks. */
static int64_t micros(const char *text)
{
	int64_t number = 0;
	bool vague = false;

	for (unsigned i = 0; i < 6; i++) {
		vague = vague || text[i] == '*';
		if (vague ? text[i] != '*' : text[i] < '0' || text[i] > '9')
			return -1;
		number = number * 10 + (vague ? 0 : text[i] - '0');
	}
	return number;
}

/* Days since 1970-01-01 of a date in the Gregorian calendar, March first, so
 * that the leap day is the last of its year. */
static int64_t days_from_date(int64_t year, int64_t month, int64_t day)
{
	int64_t y = month > 2 ? year : year - 1;
	int64_t era = (y >= 0 ? y : y - 399) / 400, of_era = y - era * 400;
	int64_t of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 +
	       of_year - 719468;
}

static void date_from_days(int64_t days, int64_t *year, int64_t *month,
			   int64_t *day)
{
	int64_t n = days + 719468, era = (n >= 0 ? n : n - 146096) / 146097;
	int64_t of_era = n - era * 146097;
	int64_t y =
	    (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	int64_t of_year = of_era - (365 * y + y / 4 - y / 100);
	int64_t m = (5 * of_year + 2) / 153;

	*day = of_year - (153 * m + 2) / 5 + 1;
	*month = m < 10 ? m + 3 : m - 9;
	*year = y + era * 400 + (*month <= 2);
}

static int64_t month_days(int64_t year, int64_t month)
{
	int64_t next = month == 12 ? days_from_date(year + 1, 1, 1)
				   : days_from_date(year, month + 1, 1);

	return next - days_from_date(year, month, 1);
}

/* The offset's minutes; false if it is none. */
static bool parse_offset(const char *text, int64_t *ret_minutes)
{
	int64_t minutes = field(text + 1, 3, 0);

	*ret_minutes = text[0] == '-' ? -minutes : minutes;
	return (text[0] == '+' || text[0] == '-') && minutes >= 0;
}

static bool parse_clock(const char *text, int64_t *ret_us)
{
	int64_t hour = field(text, 2, 0), minute = field(text + 2, 2, 0);
	int64_t second = field(text + 4, 2, 0), us = micros(text + 7);

	*ret_us = ((hour * 60 + minute) * 60 + second) * US + us;
	return hour >= 0 && hour < 24 && minute >= 0 && minute < 60 &&
	       second >= 0 && second < 60 && us >= 0;
}

static bool parse_instant(const char *text, int64_t *ret_us)
{
	int64_t year = field(text, 4, 0), month = field(text + 4, 2, 1);
	int64_t day = field(text + 6, 2, 1), us, minutes;

	if (year < 0 || month < 1 || month > 12 || day < 1 ||
	    day > month_days(year, month) || !parse_clock(text + 8, &us) ||
	    !parse_offset(text + SIGN, &minutes))
		return false;
	*ret_us = days_from_date(year, month, day) * DAY_SECONDS * US + us -
		  minutes * 60 * US;
	return true;
}

static bool parse_interval(const char *text, int64_t *ret_us)
{
	int64_t days = field(text, 8, 0), us;

	if (days < 0 || !parse_clock(text + 8, &us) ||
	    strcmp(text + SIGN + 1, "000") != 0)
		return false;
	*ret_us = days * DAY_SECONDS * US + us;
	return true;
}

int cim_datetime_parse(const char *text, struct cim_instant *ret_instant,
		       struct err *err)
{
	bool interval = false, good = false;
	int64_t us = 0;

	if (strlen(text) == LENGTH && text[DOT] == '.') {
		interval = text[SIGN] == ':';
		good = interval ? parse_interval(text, &us)
				: parse_instant(text, &us);
	}
	if (!good)
		return err_set(err, -CIM_ETYPEMISMATCH,
			       "'%.60s' is no datetime", text);
	*ret_instant = (struct cim_instant){.interval = interval, .us = us};
	return 0;
}

static int64_t clamp(int64_t n, int64_t low, int64_t high)
{
	return n < low ? low : n > high ? high : n;
}

const char *cim_datetime_format(struct cim_instant instant,
				char text[CIM_DATETIME_BYTES])
{
	int64_t low = 0, high = INT64_C(100000000) * DAY_SECONDS * US - 1;
	int64_t us, days, year = 0, month = 0, day = 0, s;
	char head[64], whole[160];

	if (!instant.interval) {
		low = days_from_date(0, 1, 1) * DAY_SECONDS * US;
		high = days_from_date(10000, 1, 1) * DAY_SECONDS * US - 1;
	}
	us = clamp(instant.us, low, high);
	/* Counted from LOW, a multiple of days, so that nothing is negative. */
	s = (us - low) / US;
	days = low / US / DAY_SECONDS + s / DAY_SECONDS;
	s %= DAY_SECONDS;
	date_from_days(days, &year, &month, &day);
	if (instant.interval)
		(void)snprintf(head, sizeof(head), "%08d", (int)days);
	else
		(void)snprintf(head, sizeof(head), "%04d%02d%02d", (int)year,
			       (int)month, (int)day);
	(void)snprintf(whole, sizeof(whole), "%s%02d%02d%02d.%06d%s", head,
		       (int)(s / 3600), (int)(s / 60 % 60), (int)(s % 60),
		       (int)((us - low) % US),
		       instant.interval ? ":000" : "+000");
	memcpy(text, whole, LENGTH);
	text[LENGTH] = '\0';
	return text;
}
