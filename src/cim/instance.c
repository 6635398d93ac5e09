/* SPDX-License-Identifier: Apache-2.0 */
#include "cim/instance.h"

#include <string.h>
#include <strings.h>

#include "cim/status.h"
#include "common/bytes.h"

static int set_defaults(struct arena *arena, struct cim_instance *instance,
			struct err *err)
{
	const struct schema_class *class = instance->class;

	for (uint32_t i = 0; i < class->property_count; i++) {
		const struct schema_property *p = class->properties[i];
		struct cim_value value;
		int r;

		if (p->value.is_null)
			continue;
		r = cim_value_of_schema(arena, &p->value, &value, err);
		if (r < 0)
			return r;
		cim_instance_set_at(instance, i, value);
	}
	return 0;
}

int cim_instance_new(struct arena *arena, const struct schema_class *class,
		     bool defaults, struct cim_instance **ret_instance,
		     struct err *err)
{
	uint32_t n = class->property_count;
	struct cim_instance *instance = arena_alloc(arena, sizeof(*instance));
	int r;

	if (!instance)
		return arena_full(arena, err);
	instance->class = class;
	instance->values = arena_array(arena, n, sizeof(*instance->values));
	instance->set = arena_array(arena, n / 64 + 1, sizeof(*instance->set));
	if (!instance->values || !instance->set)
		return arena_full(arena, err);
	for (uint32_t i = 0; i < n; i++)
		instance->values[i] =
		    cim_null(class->properties[i]->type.base,
			     class->properties[i]->type.array);
	if (defaults) {
		r = set_defaults(arena, instance, err);
		if (r < 0)
			return r;
	}
	*ret_instance = instance;
	return 0;
}

/* The index of a property, or its class's count of them. */
static uint32_t find(const struct schema_class *class, const char *name)
{
	uint32_t i = 0;

	while (i < class->property_count &&
	       strcasecmp(class->properties[i]->name, name) != 0)
		i++;
	return i;
}

int cim_instance_set(struct cim_instance *instance, const char *name,
		     struct cim_value value, struct err *err)
{
	const struct schema_class *class = instance->class;
	uint32_t i = find(class, name);
	const struct schema_type *type;

	if (i == class->property_count)
		return err_set(err, -CIM_EPROPERTY, "%s has no property %.60s",
			       class->name, name);
	type = &class->properties[i]->type;
	if (!cim_value_fits(&value, type))
		return err_set(
		    err, -CIM_ETYPEMISMATCH, "%s.%s is %s%s, not %s%s",
		    class->name, class->properties[i]->name,
		    cim_type_name(type->base), type->array ? "[]" : "",
		    cim_type_name(value.base), value.array ? "[]" : "");
	if (value.is_null)
		value = cim_null(type->base, type->array);
	cim_instance_set_at(instance, i, value);
	return 0;
}

const struct cim_value *cim_instance_get(const struct cim_instance *instance,
					 const char *name)
{
	static const struct cim_value nothing = {.base = CIM_STRING,
						 .is_null = true};
	uint32_t i = find(instance->class, name);

	return i == instance->class->property_count ? &nothing
						    : &instance->values[i];
}

const char *cim_instance_text(const struct cim_instance *instance,
			      const char *name)
{
	return cim_text(cim_instance_get(instance, name));
}

static enum cim_key_kind kind_of(enum cim_type base)
{
	switch (base) {
	case CIM_REFERENCE:
		return CIM_KEY_REFERENCE;
	case CIM_BOOLEAN:
		return CIM_KEY_BOOLEAN;
	case CIM_STRING:
	case CIM_DATETIME:
	case CIM_CHAR16:
		return CIM_KEY_STRING;
	default:
		return CIM_KEY_NUMBER;
	}
}

/* The key's text points into the value if that is a string. */
static int make_key(struct arena *arena, const struct schema_property *property,
		    const struct cim_value *value, struct cim_key *ret_key,
		    struct err *err)
{
	char buf[CIM_SCALAR_BYTES];
	struct cim_key key = {.name = property->name,
			      .kind = kind_of(property->type.base)};

	if (value->is_null || value->array || value->embedded)
		return err_set(err, -CIM_EFAILED, "the key %s has no value",
			       property->name);
	if (key.kind == CIM_KEY_REFERENCE) {
		key.ref = value->one.ref;
	} else {
		key.text = cim_scalar_text(value->base, &value->one, buf, NULL);
		if (key.text == buf)
			key.text = arena_strdup(arena, buf);
		if (!key.text)
			return arena_full(arena, err);
	}
	*ret_key = key;
	return 0;
}

static int make_keys(struct arena *arena, const struct cim_instance *instance,
		     struct cim_key *keys, struct err *err)
{
	const struct schema_class *class = instance->class;
	uint32_t n = 0;

	for (uint32_t i = 0; i < class->property_count; i++) {
		int r;

		if (!class->properties[i]->key)
			continue;
		r = make_key(arena, class->properties[i], &instance->values[i],
			     &keys[n++], err);
		if (r < 0)
			return r;
	}
	return 0;
}

int cim_instance_make_path(struct arena *arena, struct cim_instance *instance,
			   const char *host, const char *ns, struct err *err)
{
	uint32_t n = instance->class->key_count;
	struct cim_path *path = arena_alloc(arena, sizeof(*path));
	struct cim_key *keys = arena_array(arena, n, sizeof(*keys));
	int r;

	if (!path || !keys)
		return arena_full(arena, err);
	r = make_keys(arena, instance, keys, err);
	if (r < 0)
		return r;
	path->host = host;
	path->ns = ns;
	path->class_name = instance->class->name;
	path->key_count = n;
	path->keys = keys;
	instance->path = path;
	return 0;
}

static bool key_is(const struct cim_key *key, const struct cim_value *value)
{
	char buf[CIM_SCALAR_BYTES];
	struct cim_key own = {.kind = kind_of(value->base)};

	if (value->is_null || value->array || value->embedded)
		return false;
	if (own.kind == CIM_KEY_REFERENCE)
		own.ref = value->one.ref;
	else
		own.text = cim_scalar_text(value->base, &value->one, buf, NULL);
	return cim_key_equal(key, &own);
}

bool cim_instance_is(const struct cim_instance *instance,
		     const struct cim_path *path)
{
	const struct schema_class *class = instance->class;

	if (path->key_count != class->key_count)
		return false;
	for (uint32_t i = 0; i < class->property_count; i++) {
		const struct schema_property *p = class->properties[i];
		const struct cim_key *key;

		if (!p->key)
			continue;
		key = cim_path_key(path, p->name);
		if (!key || !key_is(key, &instance->values[i]))
			return false;
	}
	return true;
}

/* ---- copies ------------------------------------------------------------- */

static int copy_scalar(struct arena *arena, const struct cim_value *of,
		       const union cim_scalar *from,
		       union cim_scalar *ret_scalar, struct err *err)
{
	char *text;

	*ret_scalar = *from;
	if (of->base == CIM_REFERENCE)
		return cim_path_copy(arena, from->ref, &ret_scalar->ref, err);
	if (of->base != CIM_STRING && of->base != CIM_DATETIME)
		return 0;
	if (of->embedded)
		return cim_instance_copy(arena, from->instance,
					 &ret_scalar->instance, err);
	text = arena_strdup(arena, from->text);
	ret_scalar->text = text;
	return text ? 0 : arena_full(arena, err);
}

static int copy_value(struct arena *arena, const struct cim_value *from,
		      struct cim_value *ret_value, struct err *err)
{
	union cim_scalar *items;

	*ret_value = *from;
	if (from->is_null)
		return 0;
	if (!from->array)
		return copy_scalar(arena, from, &from->one, &ret_value->one,
				   err);
	items = arena_array(arena, from->count, sizeof(*items));
	if (!items)
		return arena_full(arena, err);
	ret_value->items = items;
	for (uint32_t i = 0; i < from->count; i++) {
		int r =
		    copy_scalar(arena, from, &from->items[i], &items[i], err);

		if (r < 0)
			return r;
	}
	return 0;
}

int cim_instance_copy(struct arena *arena, const struct cim_instance *instance,
		      const struct cim_instance **ret_instance, struct err *err)
{
	uint32_t n = instance->class->property_count;
	struct cim_instance *copy;
	int r = cim_instance_new(arena, instance->class, false, &copy, err);

	for (uint32_t i = 0; r == 0 && i < n; i++)
		r = copy_value(arena, &instance->values[i], &copy->values[i],
			       err);
	if (r == 0 && instance->path)
		r = cim_path_copy(arena, instance->path, &copy->path, err);
	if (r < 0)
		return r;
	memcpy(copy->set, instance->set, (n / 64 + 1) * sizeof(*copy->set));
	*ret_instance = copy;
	return 0;
}
