/* SPDX-License-Identifier: Apache-2.0 */
/* Qualifiers: declared, in place, of their type, inherited. */
#include "schema/check.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *scope_name(unsigned scope)
{
	switch (scope) {
	case SCHEMA_SCOPE_CLASS:
		return "a class";
	case SCHEMA_SCOPE_ASSOCIATION:
		return "an association";
	case SCHEMA_SCOPE_PROPERTY:
		return "a property";
	case SCHEMA_SCOPE_REFERENCE:
		return "a reference";
	case SCHEMA_SCOPE_METHOD:
		return "a method";
	default:
		return "a parameter";
	}
}

/* What a qualifier without a value says: TRUE, or its declaration's default. */
static int default_value(struct mof *mof, struct mof_qualifier *q,
			 struct err *err)
{
	struct mof_literal *literal;

	if (q->type->base == CIM_BOOLEAN && !q->type->array) {
		literal = mof_alloc(mof, sizeof(*literal));
		literal->pos = q->pos;
		literal->kind = MOF_BOOLEAN;
		literal->boolean = true;
		q->value = (struct mof_value){true, false, 1, literal, q->pos};
		return 0;
	}
	if (!q->type->value.given)
		return mof_error(err, &q->pos, "qualifier %s: expected a value",
				 q->name);
	q->value = q->type->value;
	return 0;
}

static int resolve(struct mof *mof, struct mof_qualifier *q, unsigned scope,
		   struct err *err)
{
	int rc = 0;

	q->type = mof_find_qualifier_type(mof, q->name);
	if (!q->type)
		return mof_error(err, &q->pos,
				 "expected a qualifier that is declared, "
				 "not %s",
				 q->name);
	if (!(q->type->scope & scope))
		return mof_error(err, &q->pos,
				 "qualifier %s: not allowed at %s", q->name,
				 scope_name(scope));
	if (!q->value.given)
		rc = default_value(mof, q, err);
	q->flavor = (q->type->flavor | q->flavor_on) & ~q->flavor_off;
	return rc < 0
		   ? rc
		   : check_value(&q->value, q->type->base, q->type->array, err);
}

static bool same_literal(const struct mof_literal *a,
			 const struct mof_literal *b)
{
	return a->kind == b->kind && a->negative == b->negative &&
	       a->boolean == b->boolean && a->magnitude == b->magnitude &&
	       !(a->real < b->real || a->real > b->real) &&
	       (a->kind != MOF_TEXT || strcmp(a->text, b->text) == 0);
}

static bool same_value(const struct mof_value *a, const struct mof_value *b)
{
	const struct mof_literal *x = a->items;
	const struct mof_literal *y = b->items;

	if (a->array != b->array || a->count != b->count)
		return false;
	while (x && y && same_literal(x, y)) {
		x = x->next;
		y = y->next;
	}
	return !x && !y;
}

/* Appends a copy of what is inherited; a qualifier that is here as well must
 * be allowed to say something else. */
static int inherit(struct mof *mof, struct mof_qualifier **list,
		   const struct mof_qualifier *from, struct err *err)
{
	struct mof_qualifier **end = list;
	unsigned count = 0;

	for (; *end; end = &(*end)->next)
		count++;
	for (; from; from = from->next) {
		struct mof_qualifier *own =
		    mof_find_qualifier(*list, from->name);

		if (!(from->flavor & SCHEMA_TOSUBCLASS))
			continue;
		if (own && !(from->flavor & SCHEMA_OVERRIDABLE) &&
		    !same_value(&own->value, &from->value))
			return mof_error(err, &own->pos,
					 "qualifier %s: expected the inherited "
					 "value, which no subclass may change",
					 own->name);
		if (own)
			continue;
		if (count++ == MOF_QUALIFIERS_MAX)
			return mof_error(err, &from->pos,
					 "expected at most %d qualifiers, "
					 "inherited ones included",
					 MOF_QUALIFIERS_MAX);
		*end = mof_alloc(mof, sizeof(**end));
		**end = *from;
		(*end)->next = NULL;
		(*end)->propagated = true;
		end = &(*end)->next;
	}
	return 0;
}

/* An optional decimal number at *at. */
static bool map_number(const char **at, enum cim_type base, bool *ret_there)
{
	const char *digits = *at + (**at == '-');
	size_t n = strspn(digits, "0123456789");
	long long number;
	unsigned bits = cim_type_bits(base);

	*ret_there = n > 0;
	if (n == 0)
		return digits == *at;
	number = strtoll(*at, NULL, 10);
	*at = digits + n;
	if (n > 18 || (number < 0 && cim_type_is_unsigned(base)))
		return false;
	if (bits == 64)
		return true;
	if (cim_type_is_signed(base))
		return number < 1LL << (bits - 1) &&
		       number >= -(1LL << (bits - 1));
	return number < 1LL << bits;
}

/* "5", "5..", "..5", "5..7", ".." */
static bool is_map_entry(const char *text, enum cim_type base)
{
	bool low, high;

	if (!map_number(&text, base, &low))
		return false;
	if (*text == '\0')
		return low;
	if (strncmp(text, "..", 2) != 0)
		return false;
	text += 2;
	return map_number(&text, base, &high) && *text == '\0';
}

static int check_map(const struct mof_qualifier *map, enum cim_type base,
		     struct err *err)
{
	bool numbers = cim_type_is_unsigned(base) || cim_type_is_signed(base);

	for (const struct mof_literal *l = map->value.items; l; l = l->next) {
		if (numbers && !is_map_entry(l->text, base))
			return mof_error(err, &l->pos,
					 "expected a decimal number or a range "
					 "of type %s",
					 cim_type_name(base));
		for (const struct mof_literal *o = map->value.items; o != l;
		     o = o->next)
			if (strcmp(o->text, l->text) == 0)
				return mof_error(err, &l->pos,
						 "\"%s\" is mapped twice",
						 l->text);
	}
	return 0;
}

static bool is_list(const struct mof_qualifier *q)
{
	return q && q->type->base == CIM_STRING && q->value.array;
}

/* An element that says one of the two anew must say the other, too. */
static int check_map_and_values(struct mof_qualifier *list, enum cim_type base,
				struct err *err)
{
	struct mof_qualifier *map = mof_find_qualifier(list, "ValueMap");
	struct mof_qualifier *values = mof_find_qualifier(list, "Values");

	if (is_list(map) && is_list(values) &&
	    map->value.count != values->value.count)
		return mof_error(err,
				 values->propagated ? &map->pos : &values->pos,
				 "expected as many Values as the ValueMap has: "
				 "%u, not %u",
				 map->value.count, values->value.count);
	return is_list(map) ? check_map(map, base, err) : 0;
}

int check_qualifiers(struct mof *mof, struct mof_qualifier **list,
		     const struct mof_qualifier *overridden, unsigned scope,
		     enum cim_type base, struct err *err)
{
	int rc = 0;

	for (struct mof_qualifier *q = *list; q && rc == 0; q = q->next)
		rc = resolve(mof, q, scope, err);
	if (rc == 0)
		rc = inherit(mof, list, overridden, err);
	return rc < 0 ? rc : check_map_and_values(*list, base, err);
}

int check_qualifier_types(struct mof *mof, struct err *err)
{
	struct mof_qualifier_type *type = mof->qualifier_types;
	int rc = 0;

	for (; type && rc == 0; type = type->next)
		rc = check_value(&type->value, type->base, type->array, err);
	return rc;
}

bool check_true(struct mof_qualifier *list, const char *name, bool otherwise)
{
	struct mof_qualifier *q = mof_find_qualifier(list, name);

	if (!q || q->type->base != CIM_BOOLEAN || q->value.array)
		return otherwise;
	return q->value.items->kind == MOF_BOOLEAN && q->value.items->boolean;
}

const char *check_string(struct mof_qualifier *list, const char *name)
{
	struct mof_qualifier *q = mof_find_qualifier(list, name);

	if (!q || q->type->base != CIM_STRING || q->value.array ||
	    q->value.items->kind != MOF_TEXT)
		return NULL;
	return q->value.items->text;
}
