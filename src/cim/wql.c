/* SPDX-License-Identifier: Apache-2.0 */
/* Holding a query against a class, and instances against the query. */
#include <string.h>
#include <strings.h>

#include "cim/status.h"
#include "cim/utf8.h"
#include "cim/wql-term.h"

/* A condition may be neither (Q2). */
enum truth {
	NO,
	YES,
	UNKNOWN,
};

/* ---- binding ------------------------------------------------------------ */

struct binder {
	struct arena *arena;
	const struct schema_class *class;
	struct err *err;
};

static int bind_term(struct binder *b, struct wql_term *term);

static int bind_isa(struct wql_term *term)
{
	term->isa = schema_find_class(NULL, term->text);
	return 0;
}

/* The literal as the property's type. */
static int bind_literal(struct binder *b, struct wql_term *term)
{
	enum cim_type base = term->base;
	int r;

	if (base == CIM_STRING)
		return 0;
	r = cim_scalar_parse(b->arena, base, term->text, &term->value, NULL);
	if (r == 0 && base == CIM_DATETIME)
		r = cim_datetime_parse(term->value.text, &term->instant, NULL);
	if (r == -CIM_ELIMITS)
		return arena_full(b->arena, b->err);
	if (r < 0)
		return err_set(b->err, -CIM_EQUERY, "%s is %s; '%.60s' is none",
			       term->property, cim_type_name(base), term->text);
	return 0;
}

/* Only equality is defined for these. */
static bool has_order(enum cim_type base)
{
	return base != CIM_REFERENCE && base != CIM_BOOLEAN;
}

static int bind_comparison(struct binder *b, struct wql_term *term,
			   const struct schema_property *p)
{
	if (term->op == WQL_IS_NULL)
		return 0;
	if (p->type.array)
		return err_set(b->err, -CIM_EQUERY,
			       "%s is an array, which cannot be compared",
			       p->name);
	if (term->op == WQL_ISA) {
		if (!term->embedded)
			return err_set(b->err, -CIM_EQUERY,
				       "%s holds no instance", p->name);
		return bind_isa(term);
	}
	if (term->op == WQL_LIKE && term->base != CIM_STRING)
		return err_set(b->err, -CIM_EQUERY, "%s is no string", p->name);
	if (term->op > WQL_NE && term->op <= WQL_GE && !has_order(term->base))
		return err_set(b->err, -CIM_EQUERY,
			       "%s cannot be less or more than anything",
			       p->name);
	return bind_literal(b, term);
}

static int bind_property(struct binder *b, struct wql_term *term)
{
	const struct schema_property *p =
	    schema_find_property(b->class, term->property);

	if (!p)
		return err_set(b->err, -CIM_EQUERY, "%s has no property %.60s",
			       b->class->name, term->property);
	term->property = p->name;
	term->index = schema_property_index(b->class, p);
	term->base = p->type.base;
	term->embedded = p->type.embedded || p->type.embedded_object;
	return bind_comparison(b, term, p);
}

static int bind_system(struct binder *b, struct wql_term *term)
{
	bool class_op =
	    term->op == WQL_EQ || term->op == WQL_NE || term->op == WQL_LIKE;

	if (term->op == WQL_ISA && term->subject == WQL_THIS)
		return bind_isa(term);
	if (class_op && term->subject == WQL_CLASS)
		return 0;
	return err_set(b->err, -CIM_EQUERY, "%s cannot be asked about so",
		       term->property);
}

/* AND and OR lean to the left, so that the loop is as long as the query and
 * the recursion as deep as its parentheses. */
static int bind_term(struct binder *b, struct wql_term *term)
{
	int r = 0;

	while (r == 0 && (term->op == WQL_AND || term->op == WQL_OR ||
			  term->op == WQL_NOT)) {
		if (term->right)
			r = bind_term(b, term->right);
		term = term->left;
	}
	if (r < 0)
		return r;
	return term->subject == WQL_PROPERTY ? bind_property(b, term)
					     : bind_system(b, term);
}

int wql_bind(struct arena *arena, struct wql_query *query,
	     const struct schema_class *class, struct err *err)
{
	struct binder b = {.arena = arena, .class = class, .err = err};

	for (uint32_t i = 0; i < query->property_count; i++) {
		const char *name = query->properties[i];

		/* __CLASS, __PATH and so on come with every instance. */
		if (strncmp(name, "__", 2) != 0 &&
		    !schema_find_property(class, name))
			return err_set(err, -CIM_EQUERY,
				       "%s has no property %.60s", class->name,
				       name);
	}
	return query->where ? bind_term(&b, query->where) : 0;
}

/* ---- LIKE --------------------------------------------------------------- */

static char fold(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static size_t character(const char *text)
{
	uint32_t c;
	size_t n = cim_utf8_read(text, strlen(text), &c);

	return n > 0 ? n : 1;
}

/* Whether the set after `[` has the character at TEXT; *ret_end: past `]`. */
static bool set_has(const char *set, const char *text, const char **ret_end)
{
	bool inverse = *set == '^', found = false;
	char c = fold(*text);

	for (set += inverse; *set && *set != ']'; set++) {
		if (set[1] == '-' && set[2] && set[2] != ']') {
			found =
			    found || (fold(set[0]) <= c && c <= fold(set[2]));
			set += 2;
		} else {
			found = found || fold(*set) == c;
		}
	}
	*ret_end = *set ? set + 1 : set;
	return found != inverse;
}

/* Whether one element of the pattern takes the character at TEXT. */
static bool takes(const char *text, const char *pattern, size_t *ret_text,
		  const char **ret_pattern)
{
	const char *end = strchr(pattern, ']');

	*ret_text = 1;
	*ret_pattern = pattern + 1;
	if (*pattern == '_') {
		*ret_text = character(text);
		return true;
	}
	if (*pattern == '[' && end) {
		*ret_text = character(text);
		return set_has(pattern + 1, text, ret_pattern);
	}
	return fold(*text) == fold(*pattern);
}

/* Only the last % is ever tried again: at most length times length steps. */
bool wql_like(const char *text, const char *pattern)
{
	const char *star = NULL, *again = NULL;

	while (*text) {
		const char *rest;
		size_t n;

		if (*pattern == '%') {
			star = ++pattern;
			again = text;
		} else if (*pattern && takes(text, pattern, &n, &rest)) {
			text += n;
			pattern = rest;
		} else if (star) {
			again += character(again);
			text = again;
			pattern = star;
		} else {
			return false;
		}
	}
	return pattern[strspn(pattern, "%")] == '\0';
}

/* ---- matching ----------------------------------------------------------- */

static int sign(bool less, bool more)
{
	return more - less;
}

/* <0, 0, >0; *ret_unknown if they cannot be compared. */
static int compare(const struct wql_term *term, const union cim_scalar *item,
		   bool *ret_unknown)
{
	const union cim_scalar *v = &term->value;
	struct cim_instant instant;

	switch (term->base) {
	case CIM_STRING:
		return strcasecmp(item->text, term->text);
	case CIM_BOOLEAN:
		return item->boolean != v->boolean;
	case CIM_REAL32:
	case CIM_REAL64:
		*ret_unknown = item->real != item->real || v->real != v->real;
		return sign(item->real<v->real, item->real> v->real);
	case CIM_REFERENCE:
		return !cim_path_equal(item->ref, v->ref);
	case CIM_DATETIME:
		*ret_unknown =
		    cim_datetime_parse(item->text, &instant, NULL) < 0 ||
		    instant.interval != term->instant.interval;
		return *ret_unknown
			   ? 0
			   : sign(instant.us<term->instant.us, instant.us> term
				      ->instant.us);
	default:
		if (cim_type_is_signed(term->base))
			return sign(item->sint<v->sint, item->sint> v->sint);
		return sign(item->uint<v->uint, item->uint> v->uint);
	}
}

static enum truth truth_of(enum wql_op op, int order)
{
	switch (op) {
	case WQL_EQ:
		return order == 0 ? YES : NO;
	case WQL_NE:
		return order != 0 ? YES : NO;
	case WQL_LT:
		return order < 0 ? YES : NO;
	case WQL_LE:
		return order <= 0 ? YES : NO;
	case WQL_GT:
		return order > 0 ? YES : NO;
	default:
		return order >= 0 ? YES : NO;
	}
}

static enum truth is_a(const struct schema_class *class,
		       const struct schema_class *base)
{
	return base && schema_is_a(class, base) ? YES : NO;
}

static enum truth match_system(const struct wql_term *term,
			       const struct schema_class *class)
{
	if (term->op == WQL_ISA)
		return is_a(class, term->isa);
	if (term->op == WQL_LIKE)
		return wql_like(class->name, term->text) ? YES : NO;
	return truth_of(term->op, strcasecmp(class->name, term->text));
}

static enum truth match_property(const struct wql_term *term,
				 const struct cim_value *value)
{
	bool unknown = false;
	int order;

	if (term->op == WQL_IS_NULL)
		return value->is_null ? YES : NO;
	if (value->is_null || value->array)
		return UNKNOWN;
	if (term->op == WQL_ISA)
		return value->embedded
			   ? is_a(value->one.instance->class, term->isa)
			   : UNKNOWN;
	if (value->embedded || value->base != term->base)
		return UNKNOWN;
	if (term->op == WQL_LIKE)
		return wql_like(value->one.text, term->text) ? YES : NO;
	order = compare(term, &value->one, &unknown);
	return unknown ? UNKNOWN : truth_of(term->op, order);
}

static enum truth match(const struct wql_term *term,
			const struct cim_instance *instance);

static enum truth match_both(const struct wql_term *term,
			     const struct cim_instance *instance)
{
	enum truth decides = term->op == WQL_AND ? NO : YES;
	enum truth right = match(term->right, instance), left;

	if (right == decides)
		return right;
	left = match(term->left, instance);
	if (left == decides || right == UNKNOWN)
		return left == decides ? left : UNKNOWN;
	return left;
}

static enum truth match(const struct wql_term *term,
			const struct cim_instance *instance)
{
	enum truth inner;

	if (term->op == WQL_AND || term->op == WQL_OR)
		return match_both(term, instance);
	if (term->op == WQL_NOT) {
		inner = match(term->left, instance);
		return inner == UNKNOWN ? UNKNOWN : inner == NO ? YES : NO;
	}
	if (term->subject != WQL_PROPERTY)
		return match_system(term, instance->class);
	return match_property(term, &instance->values[term->index]);
}

bool wql_match(const struct wql_query *query,
	       const struct cim_instance *instance)
{
	return !query->where || match(query->where, instance) == YES;
}

/* Only what must hold for the whole to hold is looked at. */
static const char *pinned(const struct wql_term *term, const char *name)
{
	const char *text = NULL;

	while (term->op == WQL_AND && !text) {
		text = pinned(term->right, name);
		term = term->left;
	}
	if (!text && term->op == WQL_EQ && term->subject == WQL_PROPERTY &&
	    term->base == CIM_STRING && !term->embedded &&
	    strcasecmp(term->property, name) == 0)
		text = term->text;
	return text;
}

const char *wql_pinned(const struct wql_query *query, const char *name)
{
	return query->where ? pinned(query->where, name) : NULL;
}
