/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of this layer share. */
#ifndef CIM_TEST_CIM_H
#define CIM_TEST_CIM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cim/arena.h"
#include "cim/status.h"
#include "common/bytes.h"
#include "common/limits.h"

#define V2 "root/virtualization/v2"

static struct arena *arena;

static inline int make_arena(void **state)
{
	arena = arena_new(CIM_REQUEST_MEMORY);
	return arena ? 0 : -1;
}

static inline int drop_arena(void **state)
{
	arena_free(arena);
	return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, make_arena, drop_arena)

#endif
