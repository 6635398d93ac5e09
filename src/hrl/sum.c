/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sum of all bytes.  Every byte that a guest writes goes through here on
 * its way to a log, so it is done 8 or 16 bytes at a time.
 */
#include "hrl/hrl.h"

#include <string.h>

#include "common/bytes.h"

static uint32_t sum_plain(const uint8_t *p, uint64_t bytes)
{
	uint32_t sum = 0;

	while (bytes--)
		sum += *p++;
	return sum;
}

#if defined(__SSE2__)
#include <emmintrin.h>

/* Four sums side by side, as one would wait for itself. */
static uint64_t sum_wide(const uint8_t *p, uint64_t chunks)
{
	__m128i zero = _mm_setzero_si128(), sum[4] = {zero, zero, zero, zero};
	uint64_t lane[2];

	for (; chunks > 0; chunks--, p += 64)
		for (unsigned i = 0; i < 4; i++) {
			const void *at = p + 16 * i;
			__m128i bytes = _mm_loadu_si128(at);

			sum[i] =
			    _mm_add_epi64(sum[i], _mm_sad_epu8(bytes, zero));
		}
	sum[0] = _mm_add_epi64(sum[0], sum[1]);
	sum[2] = _mm_add_epi64(sum[2], sum[3]);
	sum[0] = _mm_add_epi64(sum[0], sum[2]);
	_mm_storeu_si128((void *)lane, sum[0]);
	return lane[0] + lane[1];
}
#else
#define EVEN 0x00ff00ff00ff00ffULL

/* Four sums of 16 bits in a word: 64 bytes add at most 16 times 255 to each. */
static uint64_t sum_wide(const uint8_t *p, uint64_t chunks)
{
	uint64_t sum = 0;

	for (; chunks > 0; chunks--) {
		uint64_t word, lanes = 0;

		for (unsigned i = 0; i < 8; i++, p += 8) {
			memcpy(&word, p, sizeof(word));
			lanes += (word & EVEN) + (word >> 8 & EVEN);
		}
		sum += (lanes & 0xffff) + (lanes >> 16 & 0xffff) +
		       (lanes >> 32 & 0xffff) + (lanes >> 48);
	}
	return sum;
}
#endif

uint32_t hrl_sum(uint32_t sum, const void *data, uint64_t bytes)
{
	const uint8_t *p = data;
	uint64_t chunks = bytes / 64;

	sum += (uint32_t)sum_wide(p, chunks);
	return sum + sum_plain(p + 64 * chunks, bytes % 64);
}
