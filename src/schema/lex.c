/* SPDX-License-Identifier: Apache-2.0 */
/* Cuts MOF into words. */
#include "schema/lex.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define NUMBER_BYTES_MAX 64

static int peek(const struct lexer *lex, size_t ahead)
{
	return (size_t)(lex->end - lex->at) > ahead
		   ? (unsigned char)lex->at[ahead]
		   : -1;
}

static void skip(struct lexer *lex)
{
	if (*lex->at == '\n') {
		lex->pos.line++;
		lex->pos.column = 1;
	} else {
		lex->pos.column++;
	}
	lex->at++;
}

static bool is_name(int c)
{
	return c == '_' || (c > 0 && c < 0x80 && isalnum(c));
}

static bool is_digit(int c)
{
	return c >= '0' && c <= '9';
}

static int skip_comment(struct lexer *lex, struct err *err)
{
	struct mof_pos start = lex->pos;

	if (peek(lex, 1) == '/') {
		while (peek(lex, 0) >= 0 && peek(lex, 0) != '\n')
			skip(lex);
		return 0;
	}
	skip(lex);
	skip(lex);
	while (peek(lex, 0) >= 0) {
		if (peek(lex, 0) == '*' && peek(lex, 1) == '/') {
			skip(lex);
			skip(lex);
			return 0;
		}
		skip(lex);
	}
	return mof_error(err, &start, "expected '*/' to end this comment");
}

static int skip_space(struct lexer *lex, struct err *err)
{
	for (;;) {
		int c = peek(lex, 0);
		int next = peek(lex, 1);
		int rc;

		if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
			skip(lex);
		} else if (c == '/' && (next == '/' || next == '*')) {
			rc = skip_comment(lex, err);
			if (rc < 0)
				return rc;
		} else {
			return 0;
		}
	}
}

static int lex_name(struct lexer *lex, struct token *token, struct err *err)
{
	const char *start = lex->at;

	while (is_name(peek(lex, 0)))
		skip(lex);
	if (lex->at - start >= MOF_NAME_BYTES_MAX)
		return mof_error(err, &token->pos,
				 "expected a name of less than %d characters",
				 MOF_NAME_BYTES_MAX);
	token->kind = TOKEN_NAME;
	token->text = mof_text(lex->mof, start, lex->at - start);
	return 0;
}

static int lex_pragma(struct lexer *lex, struct token *token, struct err *err)
{
	static const char word[] = "#pragma";
	size_t length = strlen(word);

	if ((size_t)(lex->end - lex->at) < length ||
	    strncasecmp(lex->at, word, length) != 0 ||
	    is_name(peek(lex, length)))
		return mof_error(err, &token->pos, "expected \"#pragma\"");
	for (size_t i = 0; i < length; i++)
		skip(lex);
	token->kind = TOKEN_PRAGMA;
	return 0;
}

/* The digits of an integer, and the base that their form says. */
static int digits_base(const char **digits, size_t *length)
{
	const char *d = *digits;

	if (*length > 2 && d[0] == '0' && (d[1] == 'x' || d[1] == 'X')) {
		*digits += 2;
		*length -= 2;
		return 16;
	}
	if (*length > 1 && (d[*length - 1] == 'b' || d[*length - 1] == 'B')) {
		*length -= 1;
		return 2;
	}
	return *length > 1 && d[0] == '0' ? 8 : 10;
}

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return 99;
}

static int lex_integer(struct token *token, const char *digits, size_t length,
		       struct err *err)
{
	int base = digits_base(&digits, &length);
	uint64_t n = 0;

	for (size_t i = 0; i < length; i++) {
		int digit = digit_value(digits[i]);

		if (digit >= base)
			return mof_error(err, &token->pos,
					 "expected a number of base %d", base);
		if (__builtin_mul_overflow(n, (uint64_t)base, &n) ||
		    __builtin_add_overflow(n, (uint64_t)digit, &n))
			return mof_error(err, &token->pos,
					 "expected a number of 64 bits");
	}
	token->kind = TOKEN_INTEGER;
	token->magnitude = n;
	return 0;
}

/* Digits, fraction and exponent, once a '.' was seen. */
static int lex_real(struct token *token, const char *start, size_t length,
		    struct err *err)
{
	char text[NUMBER_BYTES_MAX + 1];
	char *end;

	memcpy(text, start, length);
	text[length] = '\0';
	token->kind = TOKEN_REAL;
	token->real = strtod(text, &end);
	if (end != text + length || !is_digit(text[length - 1]))
		return mof_error(err, &token->pos,
				 "expected a real number like 1.0e3");
	return 0;
}

static int lex_number(struct lexer *lex, struct token *token, struct err *err)
{
	const char *start = lex->at;
	const char *digits;
	bool real = false;
	int before = 0;

	if (peek(lex, 0) == '+' || peek(lex, 0) == '-') {
		token->negative = peek(lex, 0) == '-';
		skip(lex);
	}
	digits = lex->at;
	while (is_name(peek(lex, 0)) || peek(lex, 0) == '.' ||
	       (real && (before == 'e' || before == 'E') &&
		(peek(lex, 0) == '+' || peek(lex, 0) == '-'))) {
		before = peek(lex, 0);
		real |= before == '.';
		skip(lex);
	}
	if (lex->at == digits || lex->at - start > NUMBER_BYTES_MAX)
		return mof_error(err, &token->pos, "expected a number");
	return real ? lex_real(token, start, lex->at - start, err)
		    : lex_integer(token, digits, lex->at - digits, err);
}

static size_t put_utf8(char *out, unsigned c)
{
	if (c < 0x80) {
		out[0] = (char)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (char)(0xc0 | c >> 6);
		out[1] = (char)(0x80 | (c & 0x3f));
		return 2;
	}
	out[0] = (char)(0xe0 | c >> 12);
	out[1] = (char)(0x80 | (c >> 6 & 0x3f));
	out[2] = (char)(0x80 | (c & 0x3f));
	return 3;
}

/* \x and one to four hexadecimal digits, of which the \x was read. */
static int hex_escape(struct lexer *lex, unsigned *ret_c, struct err *err)
{
	struct mof_pos pos = lex->pos;
	unsigned c = 0;
	int n = 0;

	while (n < 4 && peek(lex, 0) >= 0 && digit_value(*lex->at) < 16) {
		c = c * 16 + (unsigned)digit_value(*lex->at);
		skip(lex);
		n++;
	}
	if (n == 0 || c == 0 || (c >= 0xd800 && c < 0xe000))
		return mof_error(err, &pos,
				 "expected the hexadecimal number of a "
				 "character");
	*ret_c = c;
	return 0;
}

/* What follows a backslash. */
static int escape(struct lexer *lex, unsigned *ret_c, struct err *err)
{
	static const char from[] = "btnfr\"'\\";
	static const char to[] = "\b\t\n\f\r\"'\\";
	int c = peek(lex, 0);
	const char *found = c > 0 ? strchr(from, c) : NULL;

	if (c == 'x' || c == 'X') {
		skip(lex);
		return hex_escape(lex, ret_c, err);
	}
	if (!found)
		return mof_error(err, &lex->pos,
				 "expected one of b t n f r \" ' \\ x after "
				 "'\\'");
	*ret_c = (unsigned char)to[found - from];
	skip(lex);
	return 0;
}

static int lex_text(struct lexer *lex, struct token *token, struct err *err)
{
	char buf[MOF_TEXT_BYTES_MAX + 4];
	size_t length = 0;

	skip(lex);
	for (;;) {
		int c = peek(lex, 0);
		unsigned escaped;

		if (c < 0 || c == '\n')
			return mof_error(err, &token->pos,
					 "expected '\"' to end this string");
		if (c == 0)
			return mof_error(err, &lex->pos,
					 "expected no NUL in a string");
		if (c != '"' && length >= MOF_TEXT_BYTES_MAX)
			return mof_error(err, &token->pos,
					 "expected a string of at most %d "
					 "bytes",
					 MOF_TEXT_BYTES_MAX);
		skip(lex);
		if (c == '"')
			break;
		if (c == '\\') {
			int rc = escape(lex, &escaped, err);

			if (rc < 0)
				return rc;
			length += put_utf8(buf + length, escaped);
		} else {
			buf[length++] = (char)c;
		}
	}
	token->kind = TOKEN_TEXT;
	token->text = mof_text(lex->mof, buf, length);
	return 0;
}

static int lex_char(struct lexer *lex, struct token *token, struct err *err)
{
	unsigned c;

	skip(lex);
	if (peek(lex, 0) < ' ' || peek(lex, 0) >= 0x7f || *lex->at == '\'')
		return mof_error(err, &token->pos,
				 "expected one ASCII character or escape");
	c = (unsigned char)*lex->at;
	skip(lex);
	if (c == '\\') {
		int rc = escape(lex, &c, err);

		if (rc < 0)
			return rc;
	}
	if (peek(lex, 0) != '\'')
		return mof_error(err, &lex->pos,
				 "expected ' to end this character");
	skip(lex);
	token->kind = TOKEN_CHAR;
	token->magnitude = c;
	return 0;
}

int lex_next(struct lexer *lex, struct token *ret_token, struct err *err)
{
	struct token *token = ret_token;
	int rc = skip_space(lex, err);
	int c;

	if (rc < 0)
		return rc;
	memset(token, 0, sizeof(*token));
	token->pos = lex->pos;
	c = peek(lex, 0);
	if (c < 0)
		return 0;
	if (c == '"')
		return lex_text(lex, token, err);
	if (c == '\'')
		return lex_char(lex, token, err);
	if (c == '#')
		return lex_pragma(lex, token, err);
	if (is_digit(c) || c == '+' || c == '-' || c == '.')
		return lex_number(lex, token, err);
	if (is_name(c))
		return lex_name(lex, token, err);
	if (c == 0 || !strchr("[](){}:;,=", c))
		return mof_error(err, &token->pos,
				 "no word of MOF begins with byte 0x%02x", c);
	token->kind = TOKEN_SIGN;
	token->sign = (char)c;
	skip(lex);
	return 0;
}

const char *lex_called(const struct token *token,
		       char buf[static TOKEN_CALLED_BYTES])
{
	switch (token->kind) {
	case TOKEN_END:
		return "the end of the file";
	case TOKEN_NAME:
		snprintf(buf, TOKEN_CALLED_BYTES, "\"%.40s\"", token->text);
		return buf;
	case TOKEN_PRAGMA:
		return "\"#pragma\"";
	case TOKEN_TEXT:
		return "a string";
	case TOKEN_CHAR:
		return "a character";
	case TOKEN_INTEGER:
	case TOKEN_REAL:
		return "a number";
	case TOKEN_SIGN:
		break;
	}
	snprintf(buf, TOKEN_CALLED_BYTES, "'%c'", token->sign);
	return buf;
}
