/* SPDX-License-Identifier: Apache-2.0 */
/* The parser's own: one file being read. */
#ifndef SCHEMA_PARSE_H
#define SCHEMA_PARSE_H

#include "schema/lex.h"

struct parser {
	struct mof *mof;
	const struct mof_reader *reader;
	struct mof_file *file;
	unsigned depth;      /* of includes */
	unsigned *namespace; /* index of the one in force, for all files */
	struct lexer lex;
	struct token token; /* the next one, not yet taken */
	struct err *err;
};

/* Each parses one thing and leaves the first token after it in p->token.
 * 0, or negative. */
int parse_advance(struct parser *p);
int parse_sign(struct parser *p, char sign);
int parse_name(struct parser *p, const char *what, const char **ret_name);
/* A string, concatenated with those that follow it directly. */
int parse_text(struct parser *p, const char **ret_text);
/* A literal, or a list of them in braces. */
int parse_value(struct parser *p, struct mof_value *ret_value);
/* `( value )` or `{ values }` after a qualifier's name. */
int parse_qualifiers(struct parser *p, struct mof_qualifier **ret_list);
int parse_flavors(struct parser *p, unsigned *ret_on, unsigned *ret_off);
int parse_qualifier_type(struct parser *p);
/* `[N]`, if it is there. */
int parse_array(struct parser *p, bool *ret_array, uint32_t *ret_max);
int parse_class(struct parser *p, struct mof_qualifier *qualifiers);
int parse_pragma(struct parser *p);
/* All of the file that p->lex stands at the beginning of. */
int parse_file(struct parser *p);

bool parse_at(const struct parser *p, char sign);
bool parse_at_name(const struct parser *p, const char *name);
/* "expected WHAT, not TOKEN". */
int parse_expected(const struct parser *p, const char *what);

#endif
