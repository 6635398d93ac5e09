/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/bytes.h"
#include "common/crc32c.h"
#include "common/decimal.h"
#include "common/err.h"
#include "common/guid.h"
#include "common/log.h"
#include "common/rfc3339.h"

/* Bit by bit, as it is defined. */
static uint32_t plain_crc32c(const uint8_t *p, size_t n)
{
	uint32_t c = UINT32_MAX;

	for (size_t i = 0; i < 8 * n; i++) {
		uint32_t bit = (c ^ p[i / 8] >> i % 8) & 1;

		c = c >> 1 ^ (bit ? 0x82f63b78U : 0);
	}
	return ~c;
}

/* Whatever is summed up at once, and from wherever on. */
static void crc32c_of_any_length(void **state)
{
	static uint8_t buf[3 * 4096];
	uint32_t noise = 1;

	(void)state;
	for (size_t i = 0; i < sizeof(buf); i++) {
		noise = noise * 1664525 + 1013904223;
		buf[i] = (uint8_t)(noise >> 24);
	}
	for (size_t n = 4070; n < 4100; n++)
		assert_int_equal(crc32c(0, buf + n % 8, n),
				 plain_crc32c(buf + n % 8, n));
	for (size_t n = 1; n < sizeof(buf); n += 611)
		assert_int_equal(crc32c(crc32c(0, buf, n), buf + n,
					sizeof(buf) - n),
				 plain_crc32c(buf, sizeof(buf)));
}

static void crc32c_matches_rfc3720(void **state)
{
	uint8_t buf[32];

	assert_int_equal(crc32c(0, "123456789", 9), 0xe3069283);
	memset(buf, 0, sizeof(buf));
	assert_int_equal(crc32c(0, buf, sizeof(buf)), 0x8a9136aa);
	memset(buf, 0xff, sizeof(buf));
	assert_int_equal(crc32c(0, buf, sizeof(buf)), 0x62a8ab43);
	for (unsigned i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)i;
	assert_int_equal(crc32c(0, buf, sizeof(buf)), 0x46dd794e);
	assert_int_equal(crc32c(crc32c(0, buf, 13), buf + 13, 19), 0x46dd794e);
}

static void guid_text_round_trips_and_bad_text_is_refused(void **state)
{
	struct guid a = guid_random(), b;
	char text[GUID_TEXT_BYTES + 1];

	guid_format(&a, text);
	assert_int_equal(strlen(text), 36);
	assert_int_equal(text[14], '4');
	assert_true(guid_parse(text, &b));
	assert_true(guid_equal(&a, &b));
	text[36] = '0';
	text[37] = '\0';
	assert_false(guid_parse(text, &b));
	assert_false(guid_parse("", &b));
	assert_false(guid_parse("01234567-89ab-cdef-0123-456789abcde", &b));
	assert_false(guid_parse("01234567-89ab-cdef-0123-456789abcdeg", &b));
	assert_false(guid_parse("0123456789abcdef0123456789abcdef0123", &b));
}

static void errors_carry_one_code_and_one_sentence(void **state)
{
	struct err err = {0};

	assert_int_equal(err_set(&err, -ENOSPC, "write '%s'", "pages"),
			 -ENOSPC);
	assert_string_equal(err.text, "write 'pages': No space left on device");
	assert_int_equal(err_wrap(&err, "seal"), -ENOSPC);
	assert_string_equal(err.text,
			    "seal: write 'pages': No space left on device");
	assert_int_equal(err_result(-ENOSPC), 2);
	assert_int_equal(err_result(-RP_ESTATE), 5);
	assert_int_equal(err_from_name("NoSuchPoint"), -RP_ENOPOINT);
	assert_int_equal(err_from_name("nonsense"), -RP_EFAILED);
	assert_string_equal(err_name(-EIO), "IoError");
	assert_int_equal(err_errno(-RP_EWIRE), EPROTO);
	assert_int_equal(err_set(NULL, -EIO, "nobody listens"), -EIO);
}

static void an_over_long_message_is_cut_not_overrun(void **state)
{
	struct err err = {0};
	char big[2 * ERR_TEXT_BYTES];

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	err_set(&err, -RP_EPARAM, "%s", big);
	assert_int_equal(strlen(err.text), ERR_TEXT_BYTES - 1);
	err_wrap(&err, "%s", big);
	assert_int_equal(strlen(err.text), ERR_TEXT_BYTES - 1);
}

static void check_decimal(uint64_t value)
{
	char expected[DECIMAL_BYTES + 1], found[DECIMAL_BYTES + 2];
	size_t n;

	(void)snprintf(expected, sizeof(expected), "%" PRIu64, value);
	memset(found, '#', sizeof(found));
	n = decimal_write(value, found);
	assert_int_equal(n, strlen(expected));
	assert_memory_equal(found, expected, n);
	assert_int_equal(found[n], '#');
}

static void decimals_are_what_printf_writes(void **state)
{
	uint64_t x = 88172645463325252u; /* xorshift64 */

	for (uint64_t power = 1;; power *= 10) {
		check_decimal(power - 1);
		check_decimal(power);
		check_decimal(power + 1);
		if (power > UINT64_MAX / 10)
			break;
	}
	check_decimal(UINT64_MAX);
	for (unsigned i = 0; i < 100000; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		check_decimal(x >> i % 64);
	}
}

/* What is in the pipe; it is empty then. */
static size_t drain(int fd, char *buf, size_t room)
{
	ssize_t n = read(fd, buf, room - 1);

	assert_true(n > 0);
	buf[n] = '\0';
	return (size_t)n;
}

static void a_line_that_nobody_reads_is_left_out_and_counted(void **state)
{
	static char buf[KIB(64)];
	int saved = dup(STDERR_FILENO), ends[2];
	const char *line;

	assert_true(saved >= 0);
	assert_int_equal(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
	while (write(ends[1], buf, 4096) > 0)
		;
	assert_int_equal(fcntl(ends[1], F_SETFL, 0), 0); /* it waits now */
	assert_true(dup2(ends[1], STDERR_FILENO) >= 0);
	(void)alarm(60);
	log_error("nobody reads this");
	log_audit("nobody reads this");
	log_error("nobody reads this");
	while (read(ends[0], buf, sizeof(buf)) > 0)
		;
	log_error("somebody reads that");
	(void)alarm(0);
	assert_true(dup2(saved, STDERR_FILENO) >= 0);
	(void)drain(ends[0], buf, sizeof(buf));
	assert_null(strstr(buf, "nobody reads this"));
	line = strstr(buf, "which nobody read in time: 3, of them audit: 1\n");
	assert_non_null(line);
	assert_non_null(strstr(line, "error: somebody reads that\n"));
	(void)close(saved);
	(void)close(ends[0]);
	(void)close(ends[1]);
}

static void times_are_read_as_they_are_written(void **state)
{
	static const struct {
		const char *text;
		int64_t ns; /* -1: it is none */
	} cases[] = {
	    {"1970-01-01T00:00:00Z", 0},
	    {"2000-02-29T12:34:56.789Z", 951827696789000000},
	    {"2026-11-23t01:02:03.000000001z", 1795395723000000001},
	    {"2026-11-23 01:02:03+01:30", 1795390323000000000},
	    {"2026-11-23T01:02:03-00:30", 1795397523000000000},
	    {"1970-01-01T00:30:00+01:00", -1},
	    {"2026-02-29T00:00:00Z", -1},
	    {"2026-11-23T24:00:00Z", -1},
	    {"2026-11-23T00:00:60Z", -1},
	    {"2026-11-23T00:00:00", -1},
	    {"2026-11-23T00:00:00.Z", -1},
	    {"2026-11-23T00:00:00.1234567890Z", -1},
	    {"2026-11-23T00:00:00+1:00", -1},
	    {"2026-11-23T00:00:00+25:00", -1},
	    {"2026-11-23T00:00:00Zx", -1},
	    {"2026-1-23T00:00:00Z", -1},
	    {"2026-11-2", -1},
	    {"", -1},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
		char again[TIME_TEXT_BYTES];
		int64_t ns = -1, same;

		assert_int_equal(time_parse(cases[i].text, &ns),
				 cases[i].ns >= 0);
		assert_int_equal(ns, cases[i].ns);
		if (ns < 0)
			continue;
		time_format(ns, again);
		assert_true(time_parse(again, &same));
		assert_int_equal(same, ns);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(crc32c_matches_rfc3720),
	    cmocka_unit_test(crc32c_of_any_length),
	    cmocka_unit_test(guid_text_round_trips_and_bad_text_is_refused),
	    cmocka_unit_test(errors_carry_one_code_and_one_sentence),
	    cmocka_unit_test(an_over_long_message_is_cut_not_overrun),
	    cmocka_unit_test(times_are_read_as_they_are_written),
	    cmocka_unit_test(decimals_are_what_printf_writes),
	    cmocka_unit_test(a_line_that_nobody_reads_is_left_out_and_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
