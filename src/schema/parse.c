/* SPDX-License-Identifier: Apache-2.0 */
/* Reads MOF's words, values and qualifiers; nothing here calls itself. */
#include "schema/parse.h"

#include <string.h>
#include <strings.h>

int parse_advance(struct parser *p)
{
	return lex_next(&p->lex, &p->token, p->err);
}

bool parse_at(const struct parser *p, char sign)
{
	return p->token.kind == TOKEN_SIGN && p->token.sign == sign;
}

bool parse_at_name(const struct parser *p, const char *name)
{
	return p->token.kind == TOKEN_NAME &&
	       strcasecmp(p->token.text, name) == 0;
}

int parse_expected(const struct parser *p, const char *what)
{
	char called[TOKEN_CALLED_BYTES];

	return mof_error(p->err, &p->token.pos, "expected %s, not %s", what,
			 lex_called(&p->token, called));
}

int parse_sign(struct parser *p, char sign)
{
	char what[] = {'\'', sign, '\'', '\0'};

	if (!parse_at(p, sign))
		return parse_expected(p, what);
	return parse_advance(p);
}

int parse_name(struct parser *p, const char *what, const char **ret_name)
{
	if (p->token.kind != TOKEN_NAME)
		return parse_expected(p, what);
	*ret_name = p->token.text;
	return parse_advance(p);
}

int parse_text(struct parser *p, const char **ret_text)
{
	char buf[MOF_TEXT_BYTES_MAX];
	struct mof_pos pos = p->token.pos;
	size_t length = 0;

	if (p->token.kind != TOKEN_TEXT)
		return parse_expected(p, "a string");
	while (p->token.kind == TOKEN_TEXT) {
		size_t more = strlen(p->token.text);
		int rc;

		if (length + more > sizeof(buf))
			return mof_error(p->err, &pos,
					 "expected a string of at most %d "
					 "bytes",
					 MOF_TEXT_BYTES_MAX);
		memcpy(buf + length, p->token.text, more);
		length += more;
		rc = parse_advance(p);
		if (rc < 0)
			return rc;
	}
	*ret_text = mof_text(p->mof, buf, length);
	return 0;
}

static int parse_keyword(struct parser *p, struct mof_literal *literal)
{
	if (parse_at_name(p, "null")) {
		literal->kind = MOF_NULL;
	} else if (parse_at_name(p, "true") || parse_at_name(p, "false")) {
		literal->kind = MOF_BOOLEAN;
		literal->boolean = parse_at_name(p, "true");
	} else {
		return parse_expected(p, "a value");
	}
	return parse_advance(p);
}

static int parse_literal(struct parser *p, struct mof_literal **ret_literal)
{
	struct mof_literal *literal = mof_alloc(p->mof, sizeof(*literal));

	literal->pos = p->token.pos;
	literal->negative = p->token.negative;
	literal->magnitude = p->token.magnitude;
	literal->real = p->token.real;
	*ret_literal = literal;
	switch (p->token.kind) {
	case TOKEN_TEXT:
		literal->kind = MOF_TEXT;
		return parse_text(p, &literal->text);
	case TOKEN_CHAR:
		literal->kind = MOF_CHAR;
		return parse_advance(p);
	case TOKEN_INTEGER:
		literal->kind = MOF_INTEGER;
		return parse_advance(p);
	case TOKEN_REAL:
		literal->kind = MOF_REAL;
		return parse_advance(p);
	case TOKEN_NAME:
		return parse_keyword(p, literal);
	case TOKEN_END:
	case TOKEN_PRAGMA:
	case TOKEN_SIGN:
		break;
	}
	return parse_expected(p, "a value");
}

static int parse_items(struct parser *p, struct mof_value *value)
{
	struct mof_literal **end = &value->items;

	value->array = true;
	while (!parse_at(p, '}')) {
		int rc = 0;

		if (value->count == MOF_ITEMS_MAX)
			return mof_error(p->err, &p->token.pos,
					 "expected at most %d items",
					 MOF_ITEMS_MAX);
		if (value->count > 0)
			rc = parse_sign(p, ',');
		if (rc == 0)
			rc = parse_literal(p, end);
		if (rc < 0)
			return rc;
		end = &(*end)->next;
		value->count++;
		if (!parse_at(p, ',') && !parse_at(p, '}'))
			return parse_expected(p, "',' or '}'");
	}
	return parse_advance(p);
}

int parse_value(struct parser *p, struct mof_value *ret_value)
{
	struct mof_value value = {.given = true, .pos = p->token.pos};
	int rc;

	if (parse_at(p, '{')) {
		rc = parse_advance(p);
		if (rc == 0)
			rc = parse_items(p, &value);
	} else {
		rc = parse_literal(p, &value.items);
		value.count = 1;
	}
	if (rc == 0)
		*ret_value = value;
	return rc;
}

int parse_flavors(struct parser *p, unsigned *ret_on, unsigned *ret_off)
{
	static const struct {
		const char *name;
		unsigned on, off;
	} flavors[] = {
	    {"EnableOverride", SCHEMA_OVERRIDABLE, 0},
	    {"DisableOverride", 0, SCHEMA_OVERRIDABLE},
	    {"ToSubclass", SCHEMA_TOSUBCLASS, 0},
	    {"Restricted", 0, SCHEMA_TOSUBCLASS},
	    {"Translatable", SCHEMA_TRANSLATABLE, 0},
	};
	size_t i;

	while (p->token.kind == TOKEN_NAME) {
		int rc;

		for (i = 0; i < sizeof(flavors) / sizeof(flavors[0]); i++)
			if (parse_at_name(p, flavors[i].name))
				break;
		if (i == sizeof(flavors) / sizeof(flavors[0]))
			return parse_expected(p, "a flavor");
		*ret_on = (*ret_on & ~flavors[i].off) | flavors[i].on;
		*ret_off = (*ret_off & ~flavors[i].on) | flavors[i].off;
		rc = parse_advance(p);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* `(value)`, `{values}` or nothing. */
static int parse_qualifier_value(struct parser *p, struct mof_value *value)
{
	int rc;

	if (parse_at(p, '{'))
		return parse_value(p, value);
	if (!parse_at(p, '('))
		return 0;
	rc = parse_advance(p);
	if (rc == 0)
		rc = parse_value(p, value);
	return rc < 0 ? rc : parse_sign(p, ')');
}

static int parse_qualifier(struct parser *p, struct mof_qualifier **ret_q)
{
	struct mof_qualifier *q = mof_alloc(p->mof, sizeof(*q));
	int rc;

	q->pos = p->token.pos;
	rc = parse_name(p, "a qualifier", &q->name);
	if (rc == 0)
		rc = parse_qualifier_value(p, &q->value);
	if (rc == 0 && parse_at(p, ':')) {
		rc = parse_advance(p);
		if (rc == 0 && p->token.kind != TOKEN_NAME)
			rc = parse_expected(p, "a flavor");
		if (rc == 0)
			rc = parse_flavors(p, &q->flavor_on, &q->flavor_off);
	}
	*ret_q = q;
	return rc;
}

int parse_qualifiers(struct parser *p, struct mof_qualifier **ret_list)
{
	struct mof_qualifier *list = NULL;
	struct mof_qualifier **end = &list;
	unsigned count = 0;
	int rc;

	if (!parse_at(p, '['))
		return 0;
	do {
		if (count++ == MOF_QUALIFIERS_MAX)
			return mof_error(p->err, &p->token.pos,
					 "expected at most %d qualifiers",
					 MOF_QUALIFIERS_MAX);
		rc = parse_advance(p);
		if (rc == 0)
			rc = parse_qualifier(p, end);
		if (rc < 0)
			return rc;
		if (mof_find_qualifier(list, (*end)->name) != *end)
			return mof_error(p->err, &(*end)->pos,
					 "qualifier %s is here twice",
					 (*end)->name);
		end = &(*end)->next;
	} while (parse_at(p, ','));
	if (!parse_at(p, ']'))
		return parse_expected(p, "',' or ']'");
	*ret_list = list;
	return parse_advance(p);
}

int parse_array(struct parser *p, bool *ret_array, uint32_t *ret_max)
{
	int rc;

	if (!parse_at(p, '['))
		return 0;
	rc = parse_advance(p);
	if (rc == 0 && p->token.kind == TOKEN_INTEGER) {
		if (p->token.negative || p->token.magnitude == 0 ||
		    p->token.magnitude > UINT32_MAX)
			return mof_error(p->err, &p->token.pos,
					 "expected a number of elements");
		*ret_max = (uint32_t)p->token.magnitude;
		rc = parse_advance(p);
	}
	*ret_array = true;
	return rc < 0 ? rc : parse_sign(p, ']');
}
