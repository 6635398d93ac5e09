/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the declarations of qualifiers and classes. */
#include "schema/parse.h"

#include <string.h>
#include <strings.h>

/* One scope of a qualifier declaration. */
static int parse_scope(struct parser *p, unsigned *scope)
{
	static const struct {
		const char *name;
		unsigned bits;
	} scopes[] = {
	    {"class", SCHEMA_SCOPE_CLASS},
	    {"association", SCHEMA_SCOPE_ASSOCIATION},
	    {"indication", SCHEMA_SCOPE_INDICATION},
	    {"property", SCHEMA_SCOPE_PROPERTY},
	    {"reference", SCHEMA_SCOPE_REFERENCE},
	    {"method", SCHEMA_SCOPE_METHOD},
	    {"parameter", SCHEMA_SCOPE_PARAMETER},
	    {"any", SCHEMA_SCOPE_ANY},
	};

	for (size_t i = 0; i < sizeof(scopes) / sizeof(scopes[0]); i++) {
		if (parse_at_name(p, scopes[i].name)) {
			*scope |= scopes[i].bits;
			return parse_advance(p);
		}
	}
	return parse_expected(p, "a scope");
}

static int parse_scopes(struct parser *p, struct mof_qualifier_type *type)
{
	int rc;

	if (!parse_at_name(p, "scope"))
		return parse_expected(p, "\"Scope\"");
	rc = parse_advance(p);
	if (rc == 0 && !parse_at(p, '('))
		return parse_expected(p, "'('");
	while (rc == 0 && (type->scope == 0 || parse_at(p, ','))) {
		rc = parse_advance(p);
		if (rc == 0)
			rc = parse_scope(p, &type->scope);
	}
	return rc < 0 ? rc : parse_sign(p, ')');
}

/* `, Flavor(A, B)`, which may be missing. */
static int parse_type_flavors(struct parser *p, struct mof_qualifier_type *type)
{
	unsigned on = SCHEMA_OVERRIDABLE | SCHEMA_TOSUBCLASS;
	unsigned off = 0;
	int rc;

	type->flavor = on;
	if (!parse_at(p, ','))
		return 0;
	rc = parse_advance(p);
	if (rc == 0 && !parse_at_name(p, "flavor"))
		return parse_expected(p, "\"Flavor\"");
	if (rc == 0)
		rc = parse_advance(p);
	if (rc == 0 && !parse_at(p, '('))
		return parse_expected(p, "'('");
	do {
		if (rc == 0)
			rc = parse_advance(p);
		if (rc == 0 && p->token.kind != TOKEN_NAME)
			return parse_expected(p, "a flavor");
		if (rc == 0)
			rc = parse_flavors(p, &on, &off);
	} while (rc == 0 && parse_at(p, ','));
	type->flavor = on;
	return rc < 0 ? rc : parse_sign(p, ')');
}

static int parse_base(struct parser *p, enum cim_type *ret_base)
{
	if (p->token.kind != TOKEN_NAME ||
	    cim_type_from_name(p->token.text, ret_base) < 0 ||
	    *ret_base == CIM_REFERENCE)
		return parse_expected(p, "a type");
	return parse_advance(p);
}

static int add_qualifier_type(struct parser *p, struct mof_qualifier_type *type)
{
	struct mof *mof = p->mof;

	if (mof_find_qualifier_type(mof, type->name))
		return mof_error(p->err, &type->pos,
				 "qualifier %s is declared twice", type->name);
	type->index = mof->qualifier_type_count++;
	*mof->qualifier_types_end = type;
	mof->qualifier_types_end = &type->next;
	return 0;
}

/* After "Qualifier". */
int parse_qualifier_type(struct parser *p)
{
	struct mof_qualifier_type *type = mof_alloc(p->mof, sizeof(*type));
	uint32_t max = 0;
	int rc;

	type->pos = p->token.pos;
	rc = parse_name(p, "a qualifier's name", &type->name);
	if (rc == 0)
		rc = parse_sign(p, ':');
	if (rc == 0)
		rc = parse_base(p, &type->base);
	if (rc == 0)
		rc = parse_array(p, &type->array, &max);
	if (rc == 0 && parse_at(p, '=')) {
		rc = parse_advance(p);
		if (rc == 0)
			rc = parse_value(p, &type->value);
	}
	if (rc == 0)
		rc = parse_sign(p, ',');
	if (rc == 0)
		rc = parse_scopes(p, type);
	if (rc == 0)
		rc = parse_type_flavors(p, type);
	if (rc == 0)
		rc = parse_sign(p, ';');
	return rc < 0 ? rc : add_qualifier_type(p, type);
}

/* `TYPE` or `CLASS REF`; ret_ref is NULL for the former. */
static int parse_type(struct parser *p, enum cim_type *ret_base,
		      const char **ret_ref)
{
	const char *name;
	struct token first = p->token;
	int rc = parse_name(p, "a type", &name);

	if (rc < 0)
		return rc;
	*ret_ref = NULL;
	if (parse_at_name(p, "ref")) {
		*ret_base = CIM_REFERENCE;
		*ret_ref = name;
		return parse_advance(p);
	}
	if (cim_type_from_name(name, ret_base) == 0 &&
	    *ret_base != CIM_REFERENCE)
		return 0;
	if (p->token.kind == TOKEN_NAME) {
		p->token = first;
		return parse_expected(p, "a type");
	}
	return parse_expected(p, "\"REF\"");
}

static int parse_parameter(struct parser *p, struct mof_member **ret_parameter)
{
	struct mof_member *parameter = mof_alloc(p->mof, sizeof(*parameter));
	int rc = parse_qualifiers(p, &parameter->qualifiers);

	if (rc == 0)
		rc = parse_type(p, &parameter->base, &parameter->ref_name);
	parameter->pos = p->token.pos;
	if (rc == 0)
		rc = parse_name(p, "a parameter's name", &parameter->name);
	if (rc == 0)
		rc = parse_array(p, &parameter->array, &parameter->array_max);
	*ret_parameter = parameter;
	return rc;
}

/* From '(' to ';'. */
static int parse_parameters(struct parser *p, struct mof_method *method)
{
	struct mof_member **end = &method->parameters;
	unsigned count = 0;
	int rc = parse_advance(p);

	while (rc == 0 && !parse_at(p, ')')) {
		if (count++ == MOF_PARAMETERS_MAX)
			return mof_error(p->err, &p->token.pos,
					 "expected at most %d parameters",
					 MOF_PARAMETERS_MAX);
		rc = parse_parameter(p, end);
		if (rc < 0)
			return rc;
		end = &(*end)->next;
		if (parse_at(p, ')'))
			break;
		if (!parse_at(p, ','))
			return parse_expected(p, "',' or ')'");
		rc = parse_advance(p);
		if (rc == 0 && parse_at(p, ')'))
			return parse_expected(p, "a type");
	}
	if (rc == 0)
		rc = parse_sign(p, ')');
	return rc < 0 ? rc : parse_sign(p, ';');
}

/* Where the next members of a class go. */
struct ends {
	struct mof_member **properties;
	struct mof_method **methods;
	unsigned count;
};

static int parse_method(struct parser *p, const struct mof_member *head,
			struct ends *ends)
{
	struct mof_method *method = mof_alloc(p->mof, sizeof(*method));

	if (head->base == CIM_REFERENCE)
		return mof_error(p->err, &head->pos,
				 "a method cannot return a reference");
	method->name = head->name;
	method->pos = head->pos;
	method->result = head->base;
	method->qualifiers = head->qualifiers;
	*ends->methods = method;
	ends->methods = &method->next;
	return parse_parameters(p, method);
}

/* A property, a reference or a method. */
static int parse_feature(struct parser *p, struct ends *ends)
{
	struct mof_member *member = mof_alloc(p->mof, sizeof(*member));
	int rc = parse_qualifiers(p, &member->qualifiers);

	if (rc == 0)
		rc = parse_type(p, &member->base, &member->ref_name);
	member->pos = p->token.pos;
	if (rc == 0)
		rc = parse_name(p, "a name", &member->name);
	if (rc == 0 && parse_at(p, '('))
		return parse_method(p, member, ends);
	if (rc == 0)
		rc = parse_array(p, &member->array, &member->array_max);
	if (rc == 0 && parse_at(p, '=')) {
		rc = parse_advance(p);
		if (rc == 0)
			rc = parse_value(p, &member->value);
	}
	*ends->properties = member;
	ends->properties = &member->next;
	return rc < 0 ? rc : parse_sign(p, ';');
}

/* From '{' to '};'. */
static int parse_body(struct parser *p, struct mof_class *class)
{
	struct ends ends = {&class->own_properties, &class->own_methods, 0};
	int rc = parse_sign(p, '{');

	while (rc == 0 && !parse_at(p, '}')) {
		if (ends.count++ == MOF_MEMBERS_MAX)
			return mof_error(p->err, &p->token.pos,
					 "expected at most %d members",
					 MOF_MEMBERS_MAX);
		rc = parse_feature(p, &ends);
	}
	if (rc == 0)
		rc = parse_sign(p, '}');
	return rc < 0 ? rc : parse_sign(p, ';');
}

static int add_class(struct parser *p, struct mof_class *class)
{
	struct mof *mof = p->mof;

	if (mof_find_class(mof, class->name))
		return mof_error(p->err, &class->pos,
				 "class %s is declared twice", class->name);
	if (mof->class_count == MOF_CLASSES_MAX)
		return mof_error(p->err, &class->pos,
				 "expected at most %d classes",
				 MOF_CLASSES_MAX);
	class->namespaces = 1u << *p->namespace;
	mof->class_count++;
	*mof->classes_end = class;
	mof->classes_end = &class->next;
	if (!p->file->first_class)
		p->file->first_class = class;
	p->file->last_class = class;
	return 0;
}

/* After "class". */
int parse_class(struct parser *p, struct mof_qualifier *qualifiers)
{
	struct mof_class *class = mof_alloc(p->mof, sizeof(*class));
	int rc;

	class->qualifiers = qualifiers;
	class->pos = p->token.pos;
	rc = parse_name(p, "a class's name", &class->name);
	if (rc == 0 && parse_at(p, ':')) {
		rc = parse_advance(p);
		class->super_pos = p->token.pos;
		if (rc == 0)
			rc = parse_name(p, "a superclass", &class->super_name);
	}
	if (rc == 0)
		rc = parse_body(p, class);
	return rc < 0 ? rc : add_class(p, class);
}
