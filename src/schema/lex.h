/* SPDX-License-Identifier: Apache-2.0 */
/* The words of MOF. */
#ifndef SCHEMA_LEX_H
#define SCHEMA_LEX_H

#include "schema/mof.h"

enum token_kind {
	TOKEN_END,
	TOKEN_NAME,
	TOKEN_PRAGMA, /* "#pragma" */
	TOKEN_TEXT,   /* one literal; concatenation is the parser's */
	TOKEN_CHAR,
	TOKEN_INTEGER,
	TOKEN_REAL,
	TOKEN_SIGN, /* one of [ ] ( ) { } : ; , = */
};

struct token {
	enum token_kind kind;
	struct mof_pos pos;
	char sign;
	bool negative;
	uint64_t magnitude; /* TOKEN_INTEGER, TOKEN_CHAR */
	double real;
	const char *text; /* TOKEN_NAME, TOKEN_TEXT; belongs to the tree */
};

struct lexer {
	struct mof *mof;
	const char *at;
	const char *end;
	struct mof_pos pos; /* of `at` */
};

/* 0, or negative if no token can begin here or it ends badly. */
int lex_next(struct lexer *lex, struct token *ret_token, struct err *err);

/* What a token is called in an error: "'{'", "end of file"; writes into BUF if
 * it has to, and returns it. */
#define TOKEN_CALLED_BYTES 48
const char *lex_called(const struct token *token,
		       char buf[static TOKEN_CALLED_BYTES]);

#endif
