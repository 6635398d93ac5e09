/* SPDX-License-Identifier: Apache-2.0 */
#include "common/crc32c.h"

#include <stdbool.h>
#include <string.h>

static uint32_t table[256];

static uint32_t crc_plain(uint32_t c, const uint8_t *p, size_t n)
{
	while (n--)
		c = table[(c ^ *p++) & 0xff] ^ c >> 8;
	return c;
}

#if defined(__x86_64__)
#include <nmmintrin.h>

/* The instruction takes three cycles, and one can begin in each: so three lanes
 * side by side.  Three of them and 16 bytes are a block. */
#define LANE_BYTES 1360

/* What LANE_BYTES of zeros make of each byte of a state; which is linear. */
static uint32_t past_lane[4][256];

static uint32_t skip_lane(uint32_t c)
{
	return past_lane[0][c & 0xff] ^ past_lane[1][c >> 8 & 0xff] ^
	       past_lane[2][c >> 16 & 0xff] ^ past_lane[3][c >> 24];
}

static void fill_past_lane(void)
{
	for (int bit = 0; bit < 32; bit++) {
		uint32_t c = UINT32_C(1) << bit;
		uint32_t *of = past_lane[bit / 8];

		for (int i = 0; i < LANE_BYTES; i++)
			c = table[c & 0xff] ^ c >> 8;
		for (uint32_t byte = 0; byte < 256; byte++)
			if (byte >> bit % 8 & 1)
				of[byte] ^= c;
	}
}

__attribute__((target("sse4.2"))) static uint32_t crc_lanes(uint32_t c,
							    const uint8_t *p)
{
	uint64_t a = c, b = 0, d = 0;

	for (int i = 0; i < LANE_BYTES; i += 8) {
		uint64_t words[3];

		memcpy(&words[0], p + i, 8);
		memcpy(&words[1], p + i + LANE_BYTES, 8);
		memcpy(&words[2], p + i + 2 * LANE_BYTES, 8);
		a = _mm_crc32_u64(a, words[0]);
		b = _mm_crc32_u64(b, words[1]);
		d = _mm_crc32_u64(d, words[2]);
	}
	return skip_lane(skip_lane((uint32_t)a) ^ (uint32_t)b) ^ (uint32_t)d;
}

__attribute__((target("sse4.2"))) static uint32_t
crc_sse42(uint32_t c, const uint8_t *p, size_t n)
{
	uint64_t wide;

	for (; n >= 3 * LANE_BYTES; n -= 3 * LANE_BYTES, p += 3 * LANE_BYTES)
		c = crc_lanes(c, p);
	wide = c;
	for (; n >= 8; n -= 8, p += 8) {
		uint64_t word;

		memcpy(&word, p, 8);
		wide = _mm_crc32_u64(wide, word);
	}
	c = (uint32_t)wide;
	while (n--)
		c = _mm_crc32_u8(c, *p++);
	return c;
}
#endif

__attribute__((constructor)) static void fill_tables(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t c = i;

		for (int k = 0; k < 8; k++)
			c = c & 1 ? c >> 1 ^ 0x82f63b78U : c >> 1;
		table[i] = c;
	}
#if defined(__x86_64__)
	fill_past_lane();
#endif
}

uint32_t crc32c(uint32_t seed, const void *data, size_t bytes)
{
	uint32_t c = ~seed;

#if defined(__x86_64__)
	if (__builtin_cpu_supports("sse4.2"))
		return ~crc_sse42(c, data, bytes);
#endif
	return ~crc_plain(c, data, bytes);
}
