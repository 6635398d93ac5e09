/* SPDX-License-Identifier: Apache-2.0 */
#include "cim/value.h"

#include <string.h>

#include "cim/instance.h"
#include "cim/path.h"
#include "cim/status.h"

struct cim_value cim_null(enum cim_type base, bool array)
{
	return (
	    struct cim_value){.base = base, .array = array, .is_null = true};
}

static struct cim_value scalar(enum cim_type base, union cim_scalar one)
{
	return (struct cim_value){.base = base, .count = 1, .one = one};
}

struct cim_value cim_boolean(bool boolean)
{
	return scalar(CIM_BOOLEAN, (union cim_scalar){.boolean = boolean});
}

struct cim_value cim_uint(enum cim_type base, uint64_t uint)
{
	return scalar(base, (union cim_scalar){.uint = uint});
}

struct cim_value cim_sint(enum cim_type base, int64_t sint)
{
	return scalar(base, (union cim_scalar){.sint = sint});
}

struct cim_value cim_real(enum cim_type base, double real)
{
	return scalar(base, (union cim_scalar){.real = real});
}

struct cim_value cim_string(const char *text)
{
	if (!text)
		return cim_null(CIM_STRING, false);
	return scalar(CIM_STRING, (union cim_scalar){.text = text});
}

struct cim_value cim_datetime(const char *text)
{
	if (!text)
		return cim_null(CIM_DATETIME, false);
	return scalar(CIM_DATETIME, (union cim_scalar){.text = text});
}

struct cim_value cim_reference(const struct cim_path *path)
{
	if (!path)
		return cim_null(CIM_REFERENCE, false);
	return scalar(CIM_REFERENCE, (union cim_scalar){.ref = path});
}

struct cim_value cim_embedded(const struct cim_instance *instance)
{
	struct cim_value value = cim_null(CIM_STRING, false);

	if (instance)
		value = scalar(CIM_STRING,
			       (union cim_scalar){.instance = instance});
	value.embedded = true;
	return value;
}

struct cim_value cim_array(enum cim_type base, const union cim_scalar *items,
			   uint32_t count)
{
	return (struct cim_value){
	    .base = base, .array = true, .count = count, .items = items};
}

static union cim_scalar *new_items(struct arena *arena, uint32_t count,
				   struct err *err)
{
	union cim_scalar *items = arena_array(arena, count, sizeof(*items));

	if (!items)
		(void)arena_full(arena, err);
	return items;
}

int cim_string_array(struct arena *arena, const char *const *texts,
		     uint32_t count, struct cim_value *ret_value,
		     struct err *err)
{
	union cim_scalar *items = new_items(arena, count, err);

	if (!items)
		return -CIM_ELIMITS;
	for (uint32_t i = 0; i < count; i++)
		items[i].text = texts[i];
	*ret_value = cim_array(CIM_STRING, items, count);
	return 0;
}

int cim_uint_array(struct arena *arena, enum cim_type base,
		   const uint64_t *numbers, uint32_t count,
		   struct cim_value *ret_value, struct err *err)
{
	union cim_scalar *items = new_items(arena, count, err);

	if (!items)
		return -CIM_ELIMITS;
	for (uint32_t i = 0; i < count; i++)
		items[i].uint = numbers[i];
	*ret_value = cim_array(base, items, count);
	return 0;
}

static int scalar_of_schema(struct arena *arena, enum cim_type base,
			    const union schema_scalar *from,
			    union cim_scalar *ret_scalar, struct err *err)
{
	if (base == CIM_REFERENCE)
		return cim_path_parse(arena, from->text, &ret_scalar->ref, err);
	if (base == CIM_STRING || base == CIM_DATETIME)
		ret_scalar->text = from->text;
	else if (base == CIM_BOOLEAN)
		ret_scalar->boolean = from->boolean;
	else if (base == CIM_REAL32 || base == CIM_REAL64)
		ret_scalar->real = from->real;
	else if (cim_type_is_signed(base))
		ret_scalar->sint = from->sint;
	else
		ret_scalar->uint = from->uint;
	return 0;
}

int cim_value_of_schema(struct arena *arena, const struct schema_value *value,
			struct cim_value *ret_value, struct err *err)
{
	union cim_scalar *items;
	int r;

	if (value->is_null) {
		*ret_value = cim_null(value->base, value->array);
		return 0;
	}
	items = new_items(arena, value->count, err);
	if (!items)
		return -CIM_ELIMITS;
	for (uint32_t i = 0; i < value->count; i++) {
		r = scalar_of_schema(arena, value->base, &value->items[i],
				     &items[i], err);
		if (r < 0)
			return r;
	}
	*ret_value = cim_array(value->base, items, value->count);
	if (!value->array)
		*ret_value = scalar(value->base, items[0]);
	return 0;
}

const char *cim_text(const struct cim_value *value)
{
	if (value->is_null || value->count == 0 || value->embedded ||
	    (value->base != CIM_STRING && value->base != CIM_DATETIME))
		return NULL;
	return cim_items(value)[0].text;
}

uint64_t cim_number(const struct cim_value *value, uint64_t otherwise)
{
	if (value->is_null || value->count == 0 ||
	    !cim_type_is_unsigned(value->base))
		return otherwise;
	return cim_items(value)[0].uint;
}

bool cim_true(const struct cim_value *value)
{
	return !value->is_null && value->count > 0 &&
	       value->base == CIM_BOOLEAN && cim_items(value)[0].boolean;
}

static bool same_datetime(const char *a, const char *b)
{
	struct cim_instant x, y;

	if (cim_datetime_parse(a, &x, NULL) < 0 ||
	    cim_datetime_parse(b, &y, NULL) < 0)
		return strcmp(a, b) == 0;
	return x.interval == y.interval && x.us == y.us;
}

/* Two instances, property by property; depth is bounded by the codec. */
static bool same_instance(const struct cim_instance *a,
			  const struct cim_instance *b)
{
	if (a->class != b->class)
		return false;
	for (uint32_t i = 0; i < a->class->property_count; i++)
		if (!cim_value_equal(&a->values[i], &b->values[i]))
			return false;
	return true;
}

static bool same_scalar(const struct cim_value *type, const union cim_scalar *a,
			const union cim_scalar *b)
{
	switch (type->base) {
	case CIM_BOOLEAN:
		return a->boolean == b->boolean;
	case CIM_REAL32:
	case CIM_REAL64:
		return a->real == b->real;
	case CIM_STRING:
		return type->embedded ? same_instance(a->instance, b->instance)
				      : strcmp(a->text, b->text) == 0;
	case CIM_DATETIME:
		return same_datetime(a->text, b->text);
	case CIM_REFERENCE:
		return cim_path_equal(a->ref, b->ref);
	default:
		return a->uint == b->uint; /* sint alike: the same bits */
	}
}

bool cim_value_equal(const struct cim_value *a, const struct cim_value *b)
{
	if (a->base != b->base || a->array != b->array ||
	    a->is_null != b->is_null)
		return false;
	if (a->is_null)
		return true;
	if (a->embedded != b->embedded || a->count != b->count)
		return false;
	for (uint32_t i = 0; i < a->count; i++)
		if (!same_scalar(a, &cim_items(a)[i], &cim_items(b)[i]))
			return false;
	return true;
}

/* Whether the items of an embedded VALUE are of the class asked for. */
static bool embedded_fits(const struct cim_value *value,
			  const struct schema_type *type)
{
	if (!type->embedded)
		return type->embedded_object;
	for (uint32_t i = 0; i < value->count; i++)
		if (!schema_is_a(cim_items(value)[i].instance->class,
				 type->embedded))
			return false;
	return true;
}

bool cim_value_fits(const struct cim_value *value,
		    const struct schema_type *type)
{
	if (value->is_null)
		return true;
	if (value->base != type->base || value->array != type->array)
		return false;
	if (type->array && type->array_max && value->count > type->array_max)
		return false;
	return !value->embedded || embedded_fits(value, type);
}
