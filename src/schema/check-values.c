/* SPDX-License-Identifier: Apache-2.0 */
/* Whether a constant is one of its type. */
#include "schema/check.h"

#include <string.h>

static bool fits_integer(const struct mof_literal *literal, enum cim_type type)
{
	unsigned bits = cim_type_bits(type);
	uint64_t max = bits == 64 ? UINT64_MAX : (UINT64_C(1) << bits) - 1;

	if (cim_type_is_unsigned(type))
		return (!literal->negative || literal->magnitude == 0) &&
		       literal->magnitude <= max;
	return literal->magnitude <= max / 2 + (literal->negative ? 1 : 0);
}

/* yyyymmddhhmmss.mmmmmm+utc, or ddddddddhhmmss.mmmmmm:000; a '*' may stand for
 * a digit. */
static bool is_datetime(const char *text)
{
	if (strlen(text) != 25 || text[14] != '.' || !strchr("+-:", text[21]))
		return false;
	for (int i = 0; i < 25; i++)
		if (i != 14 && i != 21 && text[i] != '*' &&
		    (text[i] < '0' || text[i] > '9'))
			return false;
	return text[21] != ':' || strcmp(text + 22, "000") == 0;
}

static bool fits(const struct mof_literal *literal, enum cim_type type)
{
	switch (type) {
	case CIM_BOOLEAN:
		return literal->kind == MOF_BOOLEAN;
	case CIM_REAL32:
	case CIM_REAL64:
		return literal->kind == MOF_REAL;
	case CIM_CHAR16:
		return literal->kind == MOF_CHAR;
	case CIM_STRING:
	case CIM_REFERENCE:
		return literal->kind == MOF_TEXT;
	case CIM_DATETIME:
		return literal->kind == MOF_TEXT && is_datetime(literal->text);
	default:
		return literal->kind == MOF_INTEGER &&
		       fits_integer(literal, type);
	}
}

int check_value(const struct mof_value *value, enum cim_type base, bool array,
		struct err *err)
{
	const struct mof_literal *l = value->items;

	if (!value->given)
		return 0;
	if (!value->array && l->kind == MOF_NULL)
		return 0;
	if (value->array != array)
		return mof_error(err, &value->pos, "expected %s",
				 array ? "a list in braces" : "one value");
	for (; l; l = l->next)
		if (!fits(l, base))
			return mof_error(err, &l->pos,
					 "expected a value of type %s",
					 cim_type_name(base));
	return 0;
}
