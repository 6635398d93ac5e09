/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes as they stand on disk and on the wire.  le16, le32 and le64 are
 * distinct types, so that a value read from disk cannot be used unconverted;
 * be* likewise for network protocols.  All are byte arrays: alignment 1.
 */
#ifndef COMMON_BYTES_H
#define COMMON_BYTES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)
#define TIB(n) ((uint64_t)(n) << 40)

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)     ((a) < (b) ? (a) : (b))
#define MAX(a, b)     ((a) > (b) ? (a) : (b))
#define container_of(ptr, type, member)                                        \
	((type *)(void *)((char *)(ptr)-offsetof(type, member)))

static inline uint64_t div_round_up(uint64_t n, uint64_t d)
{
	return n / d + (n % d != 0);
}

static inline uint64_t round_down(uint64_t n, uint64_t d)
{
	return n - n % d;
}

static inline uint64_t round_up(uint64_t n, uint64_t d)
{
	return div_round_up(n, d) * d;
}

#define BYTES_TYPE(order, bits, swap)                                          \
	typedef struct {                                                       \
		uint8_t b[(bits) / 8];                                         \
	} order##bits;                                                         \
	static inline uint##bits##_t order##bits##_get(order##bits v)          \
	{                                                                      \
		uint##bits##_t n;                                              \
                                                                               \
		memcpy(&n, v.b, sizeof(n));                                    \
		return swap(n);                                                \
	}                                                                      \
	static inline order##bits order##bits##_make(uint##bits##_t n)         \
	{                                                                      \
		order##bits v;                                                 \
                                                                               \
		n = swap(n);                                                   \
		memcpy(v.b, &n, sizeof(n));                                    \
		return v;                                                      \
	}

#include <endian.h>
BYTES_TYPE(le, 16, htole16)
BYTES_TYPE(le, 32, htole32)
BYTES_TYPE(le, 64, htole64)
BYTES_TYPE(be, 16, htobe16)
BYTES_TYPE(be, 32, htobe32)
BYTES_TYPE(be, 64, htobe64)

#endif
