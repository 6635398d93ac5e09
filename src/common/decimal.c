/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two digits for each division, and the lower eight apart from the others, so
 * that the processor has two chains of divisions to work on at a time.
 */
#include "common/decimal.h"

#include <string.h>

#define EIGHT_DIGITS 100000000u

static const char pairs[] =
    "00010203040506070809101112131415161718192021222324"
    "25262728293031323334353637383940414243444546474849"
    "50515253545556575859606162636465666768697071727374"
    "75767778798081828384858687888990919293949596979899";

static void put_pair(char *at, uint32_t value)
{
	memcpy(at, pairs + 2 * value, 2);
}

static void put_eight(char *at, uint32_t value)
{
	uint32_t high = value / 10000, low = value % 10000;

	put_pair(at, high / 100);
	put_pair(at + 2, high % 100);
	put_pair(at + 4, low / 100);
	put_pair(at + 6, low % 100);
}

static unsigned digits_of(uint32_t value)
{
	unsigned n = 1;

	for (; value >= 100; value /= 100)
		n += 2;
	return n + (value >= 10);
}

/* VALUE below EIGHT_DIGITS, without leading zeros.  From the last one on, as
 * digits that are copied at once would still be on their way to memory. */
static size_t put_head(char *at, uint32_t value)
{
	size_t n = digits_of(value);
	char *end = at + n;

	for (; value >= 100; value /= 100)
		put_pair(end -= 2, value % 100);
	if (value >= 10)
		put_pair(at, value);
	else
		*at = (char)('0' + value);
	return n;
}

size_t decimal_write(uint64_t value, char ret_text[DECIMAL_BYTES])
{
	uint64_t high = value / EIGHT_DIGITS;
	size_t n;

	if (high == 0)
		return put_head(ret_text, (uint32_t)value);
	if (high < EIGHT_DIGITS)
		n = put_head(ret_text, (uint32_t)high);
	else
		n = decimal_write(high, ret_text);
	put_eight(ret_text + n, (uint32_t)(value % EIGHT_DIGITS));
	return n + 8;
}
