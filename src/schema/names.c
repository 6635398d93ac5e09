/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the types are called and what is known of each; needs no tables, so
 * that the compiler which makes them uses it as well.
 */
#include "schema/schema.h"

#include <string.h>
#include <strings.h>

static const struct {
	const char *name;
	unsigned bits;
} types[] = {
    [CIM_BOOLEAN] = {"boolean", 0},     [CIM_UINT8] = {"uint8", 8},
    [CIM_UINT16] = {"uint16", 16},      [CIM_UINT32] = {"uint32", 32},
    [CIM_UINT64] = {"uint64", 64},      [CIM_SINT8] = {"sint8", 8},
    [CIM_SINT16] = {"sint16", 16},      [CIM_SINT32] = {"sint32", 32},
    [CIM_SINT64] = {"sint64", 64},      [CIM_REAL32] = {"real32", 32},
    [CIM_REAL64] = {"real64", 64},      [CIM_CHAR16] = {"char16", 0},
    [CIM_STRING] = {"string", 0},       [CIM_DATETIME] = {"datetime", 0},
    [CIM_REFERENCE] = {"reference", 0},
};

#define TYPE_COUNT (sizeof(types) / sizeof(types[0]))

const char *cim_type_name(enum cim_type type)
{
	return types[type].name;
}

int cim_type_from_name(const char *name, enum cim_type *ret_type)
{
	for (size_t i = 0; i < TYPE_COUNT; i++) {
		if (strcasecmp(types[i].name, name) == 0) {
			*ret_type = (enum cim_type)i;
			return 0;
		}
	}
	return -1;
}

bool cim_type_is_unsigned(enum cim_type type)
{
	return type >= CIM_UINT8 && type <= CIM_UINT64;
}

bool cim_type_is_signed(enum cim_type type)
{
	return type >= CIM_SINT8 && type <= CIM_SINT64;
}

unsigned cim_type_bits(enum cim_type type)
{
	return types[type].bits;
}
