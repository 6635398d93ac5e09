/* SPDX-License-Identifier: Apache-2.0 */
/* Properties and references of one class, and what parameters share. */
#include "schema/check.h"

#include <string.h>
#include <strings.h>

static int check_max_len(struct mof_member *member, struct err *err)
{
	struct mof_qualifier *q =
	    mof_find_qualifier(member->qualifiers, "MaxLen");

	if (!q || q->value.array || q->value.items->kind != MOF_INTEGER)
		return 0;
	if (member->base != CIM_STRING)
		return mof_error(err, &q->pos, "MaxLen: %s is no string",
				 member->name);
	if (q->value.items->negative || q->value.items->magnitude > UINT32_MAX)
		return mof_error(err, &q->pos, "MaxLen: expected 32 bits");
	member->max_len = (uint32_t)q->value.items->magnitude;
	return 0;
}

static int check_embedded(struct mof *mof, struct mof_member *member,
			  struct err *err)
{
	struct mof_qualifier *q =
	    mof_find_qualifier(member->qualifiers, "EmbeddedInstance");
	const char *name = check_string(member->qualifiers, "EmbeddedInstance");

	member->embedded_object =
	    check_true(member->qualifiers, "EmbeddedObject", false);
	if (member->base != CIM_STRING && (name || member->embedded_object))
		return mof_error(err, &member->pos,
				 "expected a string to embed an object in");
	if (!name)
		return 0;
	member->embedded = mof_find_class(mof, name);
	if (!member->embedded)
		return mof_error(err, &q->value.items->pos,
				 "expected a class to be embedded, not %s",
				 name);
	return 0;
}

int check_type(struct mof *mof, struct mof_member *member, struct err *err)
{
	int rc;

	if (member->base == CIM_REFERENCE) {
		member->ref = mof_find_class(mof, member->ref_name);
		if (!member->ref)
			return mof_error(err, &member->pos,
					 "reference %s: expected a class, not "
					 "%s",
					 member->name, member->ref_name);
	}
	rc = check_embedded(mof, member, err);
	return rc < 0 ? rc : check_max_len(member, err);
}

int check_override(struct mof_qualifier *list, const char *name,
		   const struct mof_pos *pos, bool inherited, struct err *err)
{
	struct mof_qualifier *q = mof_find_qualifier(list, "Override");
	const char *what = check_string(list, "Override");

	if (inherited && !what)
		return mof_error(err, pos,
				 "%s is inherited: expected the qualifier "
				 "Override",
				 name);
	if (what && strcasecmp(what, name) != 0)
		return mof_error(err, &q->pos,
				 "Override: expected the name \"%s\"", name);
	if (what && !inherited)
		return mof_error(err, &q->pos,
				 "Override: no superclass has a %s", name);
	return 0;
}

static int check_same_type(const struct mof_member *member,
			   const struct mof_member *base, struct err *err)
{
	if (member->base != base->base || member->array != base->array)
		return mof_error(err, &member->pos,
				 "%s overrides another type: expected %s%s",
				 member->name, cim_type_name(base->base),
				 base->array ? "[]" : "");
	if (base->ref && !mof_is_a(member->ref, base->ref))
		return mof_error(err, &member->pos,
				 "reference %s: expected %s or a subclass",
				 member->name, base->ref->name);
	return 0;
}

static bool has_keys(const struct mof_class *class)
{
	for (unsigned i = 0; class && i < class->property_count; i++)
		if (class->properties[i]->key)
			return true;
	return false;
}

/* Keys are simple, and all of one class: that of the topmost. */
static int check_key(struct mof_class *class, struct mof_member *member,
		     const struct mof_member *base, struct err *err)
{
	member->key = check_true(member->qualifiers, "Key", false);
	if (!member->key)
		return 0;
	if (member->array || member->embedded || member->embedded_object)
		return mof_error(err, &member->pos,
				 "key %s: expected a simple type",
				 member->name);
	if ((!base || !base->key) && has_keys(class->superclass))
		return mof_error(err, &member->pos,
				 "key %s: the superclass %s has its own keys",
				 member->name, class->superclass->name);
	return 0;
}

static int check_member(struct mof *mof, struct mof_class *class,
			struct mof_member *member,
			const struct mof_member *base, struct err *err)
{
	bool ref = member->base == CIM_REFERENCE;
	unsigned scope = ref ? SCHEMA_SCOPE_REFERENCE : SCHEMA_SCOPE_PROPERTY;
	int rc;

	if (ref && (!class->association || member->array))
		return mof_error(err, &member->pos,
				 "reference %s: expected an association to "
				 "have it, and no array",
				 member->name);
	rc = check_qualifiers(mof, &member->qualifiers,
			      base ? base->qualifiers : NULL, scope,
			      member->base, err);
	if (rc == 0)
		rc = check_override(member->qualifiers, member->name,
				    &member->pos, base, err);
	if (rc == 0)
		rc = check_type(mof, member, err);
	if (rc == 0 && base)
		rc = check_same_type(member, base, err);
	if (rc == 0)
		rc = check_value(&member->value, member->base, member->array,
				 err);
	return rc < 0 ? rc : check_key(class, member, base, err);
}

/* The inherited one that MEMBER overrides, as an index; or the next. */
static unsigned slot_of(const struct mof_class *class, const char *name)
{
	unsigned i = 0;

	while (i < class->property_count &&
	       strcasecmp(class->properties[i]->name, name) != 0)
		i++;
	return i;
}

static int add_member(struct mof *mof, struct mof_class *class,
		      struct mof_member *member, struct err *err)
{
	unsigned slot = slot_of(class, member->name);
	struct mof_member *base = NULL;
	int rc;

	if (slot < class->property_count)
		base = class->properties[slot];
	if ((base && base->declarer == class) ||
	    (class->superclass &&
	     mof_find_method(class->superclass, member->name)))
		return mof_error(err, &member->pos, "%s is declared twice",
				 member->name);
	if (slot == MOF_MEMBERS_MAX)
		return mof_error(err, &member->pos,
				 "expected at most %d members, inherited ones "
				 "included",
				 MOF_MEMBERS_MAX);
	rc = check_member(mof, class, member, base, err);
	if (rc < 0)
		return rc;
	member->declarer = class;
	member->origin = base ? base->origin : class;
	member->read = check_true(member->qualifiers, "Read", true);
	member->write = check_true(member->qualifiers, "Write", false);
	if (base && !member->value.given)
		member->value = base->value;
	class->properties[slot] = member;
	if (!base)
		class->property_count++;
	return 0;
}

int check_members(struct mof *mof, struct mof_class *class, struct err *err)
{
	struct mof_class *super = class->superclass;
	unsigned count = super ? super->property_count : 0;
	struct mof_member *member;
	int rc = 0;

	for (member = class->own_properties; member; member = member->next)
		count++;
	class->properties = mof_alloc(mof, count * sizeof(*class->properties));
	class->property_count = super ? super->property_count : 0;
	for (unsigned i = 0; i < class->property_count; i++)
		class->properties[i] = super->properties[i];
	for (member = class->own_properties; member && rc == 0;
	     member = member->next)
		rc = add_member(mof, class, member, err);
	return rc;
}
