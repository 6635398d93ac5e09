/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading queries, by recursive descent: a condition is alternatives of
 * conjunctions of factors; each level of parentheses or NOT counts as depth.
 */
#include <string.h>
#include <strings.h>

#include "cim/status.h"
#include "cim/utf8.h"
#include "cim/wql-term.h"
#include "common/limits.h"

enum token {
	T_END,
	T_WORD,
	T_TEXT,
	T_NUMBER,
	T_OTHER, /* an operator or a mark */
};

struct parser {
	struct arena *arena;
	const char *text, *next; /* what follows the token */
	enum token token;
	const char *from; /* where the token begins */
	size_t length;
	const char *value; /* of T_TEXT, unescaped */
	unsigned depth, terms;
	struct err *err;
};

static int fail(struct parser *p, const char *what)
{
	return err_set(p->err, -CIM_EQUERY,
		       "the query has no %s at character %zu", what,
		       (size_t)(p->from - p->text) + 1);
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
	       (unsigned char)c >= 0x80;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* ---- tokens ------------------------------------------------------------- */

static bool is_escaped(char c)
{
	return c == '\\' || c == '\'' || c == '"';
}

/* In quotes of either kind; a backslash stands before a quote or a backslash,
 * and is one itself before anything else; a quote twice is one. */
static int next_text(struct parser *p)
{
	char quote = *p->next;
	const char *at = p->next + 1;
	char *copy = arena_strdup(p->arena, at), *to = copy;

	if (!copy)
		return arena_full(p->arena, p->err);
	for (;;) {
		if (*at == '\0')
			return fail(p, "closing quote");
		if (*at == quote && at[1] != quote)
			break;
		if (*at == quote || (*at == '\\' && is_escaped(at[1])))
			at++;
		*to++ = *at++;
	}
	*to = '\0';
	p->token = T_TEXT;
	p->value = copy;
	p->next = at + 1;
	return 0;
}

static void next_number(struct parser *p)
{
	const char *at = p->next + 1;

	while (is_digit(*at) || is_letter(*at) || *at == '.' ||
	       ((*at == '-' || *at == '+') && (at[-1] | 0x20) == 'e'))
		at++;
	p->token = T_NUMBER;
	p->next = at;
}

static void next_other(struct parser *p)
{
	static const char *const pairs[] = {"<=", ">=", "<>", "!="};

	p->token = T_OTHER;
	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		if (strncmp(p->next, pairs[i], 2) == 0) {
			p->next += 2;
			return;
		}
	}
	p->next++;
}

static int next(struct parser *p)
{
	int r = 0;
	char c;

	p->next += strspn(p->next, " \t\r\n");
	p->from = p->next;
	c = *p->next;
	if (c == '\0') {
		p->token = T_END;
	} else if (c == '"' || c == '\'') {
		r = next_text(p);
	} else if (is_letter(c)) {
		while (is_letter(*p->next) || is_digit(*p->next) ||
		       *p->next == '.')
			p->next++;
		p->token = T_WORD;
	} else if (is_digit(c) ||
		   ((c == '-' || c == '+') && is_digit(p->next[1]))) {
		next_number(p);
	} else {
		next_other(p);
	}
	p->length = (size_t)(p->next - p->from);
	return r;
}

static bool is(const struct parser *p, const char *word)
{
	return (p->token == T_WORD || p->token == T_OTHER) &&
	       p->length == strlen(word) &&
	       strncasecmp(p->from, word, p->length) == 0;
}

/* 1 and past it if the token is WORD, else 0. */
static int accept(struct parser *p, const char *word)
{
	int r;

	if (!is(p, word))
		return 0;
	r = next(p);
	return r < 0 ? r : 1;
}

static int expect(struct parser *p, const char *word)
{
	return is(p, word) ? next(p) : fail(p, word);
}

static int copy_token(struct parser *p, const char **ret_text)
{
	const char *copy = arena_copy(p->arena, p->from, p->length);

	if (!copy)
		return arena_full(p->arena, p->err);
	*ret_text = copy;
	return next(p);
}

static int take_word(struct parser *p, const char *what, const char **ret_word)
{
	if (p->token != T_WORD)
		return fail(p, what);
	return copy_token(p, ret_word);
}

/* ---- conditions --------------------------------------------------------- */

static int parse_or(struct parser *p, struct wql_term **ret_term);

static int new_term(struct parser *p, enum wql_op op,
		    struct wql_term **ret_term)
{
	struct wql_term *term;

	if (p->terms++ == CIM_WQL_TERMS_MAX)
		return err_set(p->err, -CIM_EQUERY,
			       "the query has more than %d terms",
			       CIM_WQL_TERMS_MAX);
	term = arena_alloc(p->arena, sizeof(*term));
	if (!term)
		return arena_full(p->arena, p->err);
	term->op = op;
	*ret_term = term;
	return 0;
}

/* One level deeper; the caller comes back up. */
static int descend(struct parser *p)
{
	if (p->depth++ < CIM_WQL_DEPTH_MAX)
		return 0;
	return err_set(p->err, -CIM_EQUERY,
		       "the query is nested more than %d deep",
		       CIM_WQL_DEPTH_MAX);
}

/* "Class.Property" (CQL) is the property. */
static void set_subject(struct wql_term *term, const char *name)
{
	const char *dot = strrchr(name, '.');

	term->property = dot ? dot + 1 : name;
	if (strcasecmp(term->property, "__class") == 0)
		term->subject = WQL_CLASS;
	else if (strcasecmp(term->property, "__this") == 0)
		term->subject = WQL_THIS;
}

static bool is_literal(const struct parser *p)
{
	return p->token == T_TEXT || p->token == T_NUMBER || is(p, "true") ||
	       is(p, "false");
}

static int take_literal(struct parser *p, struct wql_term *term)
{
	if (!is_literal(p))
		return fail(p, "literal");
	if (p->token == T_TEXT) {
		term->literal = WQL_TEXT;
		term->text = p->value;
		return next(p);
	}
	term->literal = p->token == T_NUMBER ? WQL_NUMBER : WQL_BOOLEAN;
	return copy_token(p, &term->text);
}

static bool comparison(const struct parser *p, enum wql_op *ret_op)
{
	static const struct {
		const char *text;
		enum wql_op op;
	} ops[] = {
	    {"=", WQL_EQ},  {"<>", WQL_NE},     {"!=", WQL_NE},
	    {"<", WQL_LT},  {"<=", WQL_LE},     {">", WQL_GT},
	    {">=", WQL_GE}, {"like", WQL_LIKE}, {"isa", WQL_ISA},
	};

	for (size_t i = 0; i < ARRAY_SIZE(ops); i++) {
		if (is(p, ops[i].text)) {
			*ret_op = ops[i].op;
			return true;
		}
	}
	return false;
}

/* The same comparison with its sides exchanged. */
static int mirror(struct parser *p, enum wql_op *op)
{
	switch (*op) {
	case WQL_LT:
		*op = WQL_GT;
		return 0;
	case WQL_LE:
		*op = WQL_GE;
		return 0;
	case WQL_GT:
		*op = WQL_LT;
		return 0;
	case WQL_GE:
		*op = WQL_LE;
		return 0;
	case WQL_LIKE:
	case WQL_ISA:
		return fail(p, "property before it");
	default:
		return 0;
	}
}

/* Puts a NOT around *term. */
static int negate(struct parser *p, struct wql_term **term)
{
	struct wql_term *negation = NULL;
	int r = new_term(p, WQL_NOT, &negation);

	if (r < 0)
		return r;
	negation->left = *term;
	*term = negation;
	return 0;
}

/* "'x' = property". */
static int parse_mirrored(struct parser *p, struct wql_term *term)
{
	const char *name;
	int r = take_literal(p, term);

	if (r < 0)
		return r;
	if (!comparison(p, &term->op))
		return fail(p, "comparison");
	r = mirror(p, &term->op);
	if (r == 0)
		r = next(p);
	if (r == 0)
		r = take_word(p, "property", &name);
	if (r == 0)
		set_subject(term, name);
	return r;
}

/* After "property IS": [NOT] NULL. */
static int parse_is(struct parser *p, struct wql_term **term)
{
	int negated = accept(p, "not"), r;

	(*term)->op = WQL_IS_NULL;
	r = negated < 0 ? negated : expect(p, "null");
	if (r == 0 && negated)
		r = negate(p, term);
	return r;
}

/* After "property =" or "<>": NULL is asked for like IS NULL. */
static int parse_null(struct parser *p, struct wql_term **term)
{
	bool negated = (*term)->op == WQL_NE;
	int r;

	if ((*term)->op != WQL_EQ && !negated)
		return fail(p, "literal");
	(*term)->op = WQL_IS_NULL;
	r = next(p);
	if (r == 0 && negated)
		r = negate(p, term);
	return r;
}

static int parse_operator(struct parser *p, struct wql_term **term)
{
	int r = accept(p, "is"), negated;

	if (r != 0)
		return r < 0 ? r : parse_is(p, term);
	negated = accept(p, "not");
	if (negated < 0)
		return negated;
	if (!comparison(p, &(*term)->op) ||
	    (negated && (*term)->op != WQL_LIKE))
		return fail(p, negated ? "LIKE" : "comparison");
	r = next(p);
	if (r < 0)
		return r;
	if (is(p, "null"))
		return parse_null(p, term);
	if ((*term)->op == WQL_ISA && p->token == T_WORD)
		r = copy_token(p, &(*term)->text);
	else
		r = take_literal(p, *term);
	if (r == 0 && negated)
		r = negate(p, term);
	return r;
}

static int parse_comparison(struct parser *p, struct wql_term **ret_term)
{
	const char *name;
	int r = new_term(p, WQL_EQ, ret_term);

	if (r < 0)
		return r;
	if (is_literal(p))
		return parse_mirrored(p, *ret_term);
	r = take_word(p, "property", &name);
	if (r < 0)
		return r;
	set_subject(*ret_term, name);
	return parse_operator(p, ret_term);
}

static int parse_factor(struct parser *p, struct wql_term **ret_term)
{
	int r = descend(p), negated = r < 0 ? r : accept(p, "not"), paren;

	if (negated < 0)
		return negated;
	if (negated) {
		r = parse_factor(p, ret_term);
		p->depth--;
		return r < 0 ? r : negate(p, ret_term);
	}
	paren = accept(p, "(");
	if (paren < 0)
		return paren;
	r = paren ? parse_or(p, ret_term) : parse_comparison(p, ret_term);
	if (r == 0 && paren)
		r = expect(p, ")");
	p->depth--;
	return r;
}

static int join(struct parser *p, enum wql_op op, struct wql_term **left,
		struct wql_term *right)
{
	struct wql_term *term = NULL;
	int r = new_term(p, op, &term);

	if (r < 0)
		return r;
	term->left = *left;
	term->right = right;
	*left = term;
	return 0;
}

static int parse_and(struct parser *p, struct wql_term **ret_term)
{
	struct wql_term *right;
	int r = parse_factor(p, ret_term), more = 0;

	while (r == 0 && (more = accept(p, "and")) > 0) {
		r = parse_factor(p, &right);
		if (r == 0)
			r = join(p, WQL_AND, ret_term, right);
	}
	return r < 0 ? r : more;
}

static int parse_or(struct parser *p, struct wql_term **ret_term)
{
	struct wql_term *right;
	int r = parse_and(p, ret_term), more = 0;

	while (r == 0 && (more = accept(p, "or")) > 0) {
		r = parse_and(p, &right);
		if (r == 0)
			r = join(p, WQL_OR, ret_term, right);
	}
	return r < 0 ? r : more;
}

/* ---- queries ------------------------------------------------------------ */

static int parse_list(struct parser *p, struct wql_query *query)
{
	const char *names[CIM_WQL_PROPERTIES_MAX], *dot;
	uint32_t n = 0;
	const char **copy;
	int r;

	do {
		if (n == CIM_WQL_PROPERTIES_MAX)
			return fail(p, "end of so long a list");
		r = take_word(p, "property", &names[n]);
		if (r < 0)
			return r;
		dot = strrchr(names[n], '.');
		if (dot)
			names[n] = dot + 1;
		n++;
	} while ((r = accept(p, ",")) > 0);
	copy = arena_array(p->arena, n, sizeof(*copy));
	if (!copy)
		return arena_full(p->arena, p->err);
	memcpy(copy, names, n * sizeof(*copy));
	query->properties = copy;
	query->property_count = n;
	return r;
}

static int parse_select(struct parser *p, struct wql_query *query)
{
	int r = accept(p, "*");

	if (r == 0)
		r = parse_list(p, query);
	if (r >= 0)
		r = expect(p, "from");
	if (r == 0)
		r = take_word(p, "class", &query->class_name);
	if (r == 0)
		r = accept(p, "where");
	return r > 0 ? parse_or(p, &query->where) : r;
}

/* The end of "{...}", which may hold quoted braces. */
static const char *closing_brace(const char *at)
{
	char quote = '\0';

	for (; *at; at++) {
		if (quote && *at == '\\' && at[1])
			at++;
		else if (quote && *at == quote)
			quote = '\0';
		else if (!quote && (*at == '"' || *at == '\''))
			quote = *at;
		else if (!quote && *at == '}')
			return at;
	}
	return NULL;
}

static int parse_object(struct parser *p, struct wql_query *query)
{
	const char *end, *path;
	int r;

	if (!is(p, "{"))
		return fail(p, "{");
	end = closing_brace(p->next);
	if (!end)
		return fail(p, "}");
	path = arena_copy(p->arena, p->next, (size_t)(end - p->next));
	if (!path)
		return arena_full(p->arena, p->err);
	r = cim_path_parse(p->arena, path, &query->object, p->err);
	if (r < 0 && r != -CIM_ELIMITS) {
		if (p->err)
			p->err->code = -CIM_EQUERY;
		return -CIM_EQUERY;
	}
	p->next = end + 1;
	return r < 0 ? r : next(p);
}

/* "name = value", where NAME is past. */
static int take_assigned(struct parser *p, const char **ret_value)
{
	int r = expect(p, "=");

	if (r < 0)
		return r;
	if (p->token != T_TEXT)
		return take_word(p, "name", ret_value);
	*ret_value = p->value;
	return next(p);
}

/* One term of the WHERE of ASSOCIATORS OF and REFERENCES OF. */
static int parse_restriction(struct parser *p, struct wql_query *query)
{
	const struct {
		const char *name;
		const char **value;
		bool associators_only;
	} names[] = {
	    {"AssocClass", &query->assoc_class, true},
	    {"ResultClass", &query->result_class, false},
	    {"Role", &query->role, false},
	    {"ResultRole", &query->result_role, true},
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		int r;

		if (names[i].associators_only && query->kind != WQL_ASSOCIATORS)
			continue;
		r = accept(p, names[i].name);
		if (r != 0)
			return r < 0 ? r : take_assigned(p, names[i].value);
	}
	if (is(p, "ClassDefsOnly")) {
		query->class_defs_only = true;
		return next(p);
	}
	return fail(p, "AssocClass, ResultClass, Role or ResultRole");
}

static int parse_of(struct parser *p, struct wql_query *query)
{
	int r = expect(p, "of");

	if (r == 0)
		r = parse_object(p, query);
	if (r == 0)
		r = accept(p, "where");
	if (r <= 0)
		return r;
	do {
		r = parse_restriction(p, query);
	} while (r == 0 && p->token != T_END);
	return r;
}

static int parse_query(struct parser *p, struct wql_query *query)
{
	int r = next(p);

	if (r == 0)
		r = accept(p, "select");
	if (r != 0)
		return r < 0 ? r : parse_select(p, query);
	query->kind = WQL_ASSOCIATORS;
	r = accept(p, "associators");
	if (r == 0) {
		query->kind = WQL_REFERENCES;
		r = accept(p, "references");
	}
	if (r == 0)
		return fail(p, "SELECT, ASSOCIATORS or REFERENCES");
	return r < 0 ? r : parse_of(p, query);
}

int wql_parse(struct arena *arena, const char *text,
	      struct wql_query **ret_query, struct err *err)
{
	struct parser p = {
	    .arena = arena, .text = text, .next = text, .err = err};
	struct wql_query *query;
	size_t length = strlen(text);
	int r;

	if (length > CIM_WQL_BYTES_MAX || !cim_utf8_valid(text, length))
		return err_set(err, -CIM_EQUERY,
			       "the query has more than %u bytes, or is no "
			       "UTF-8",
			       (unsigned)CIM_WQL_BYTES_MAX);
	query = arena_alloc(arena, sizeof(*query));
	if (!query)
		return arena_full(arena, err);
	r = parse_query(&p, query);
	if (r == 0 && p.token != T_END)
		r = fail(&p, "end");
	if (r == 0)
		*ret_query = query;
	return r;
}
