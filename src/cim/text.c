/* SPDX-License-Identifier: Apache-2.0 */
/* Values as text. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cim/path.h"
#include "cim/status.h"
#include "cim/utf8.h"
#include "cim/value.h"
#include "common/decimal.h"

#define WORD_BYTES 64 /* longest text of what is no string, with NUL */

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static int mismatch(enum cim_type base, const char *text, struct err *err)
{
	return err_set(err, -CIM_ETYPEMISMATCH, "'%.60s' is no %s", text,
		       cim_type_name(base));
}

/* Copies TEXT without the white space around it; false if it is too long. */
static bool trim(const char *text, char word[WORD_BYTES])
{
	size_t length;

	while (is_space(*text))
		text++;
	length = strlen(text);
	while (length > 0 && is_space(text[length - 1]))
		length--;
	if (length >= WORD_BYTES)
		return false;
	memcpy(word, text, length);
	word[length] = '\0';
	return true;
}

/* Digits, decimal or 0x hex; no sign. */
static bool parse_magnitude(const char *text, uint64_t *ret_number)
{
	bool hex = text[0] == '0' && (text[1] | 0x20) == 'x';
	const char *digits = hex ? text + 2 : text;
	size_t length = strlen(digits);

	if (length == 0 || strspn(digits, hex ? "0123456789abcdefABCDEF"
					      : "0123456789") != length)
		return false;
	errno = 0;
	*ret_number = strtoull(digits, NULL, hex ? 16 : 10);
	return errno == 0;
}

static bool parse_unsigned(enum cim_type base, const char *word,
			   uint64_t *ret_number)
{
	unsigned bits = cim_type_bits(base);
	uint64_t n;

	if (*word == '+')
		word++;
	if (!parse_magnitude(word, &n))
		return false;
	if (bits < 64 && n >> bits != 0)
		return false;
	*ret_number = n;
	return true;
}

static bool parse_signed(enum cim_type base, const char *word,
			 int64_t *ret_number)
{
	bool minus = *word == '-';
	uint64_t most = (UINT64_C(1) << (cim_type_bits(base) - 1)) - !minus, n;

	if (*word == '-' || *word == '+')
		word++;
	if (!parse_magnitude(word, &n) || n > most)
		return false;
	*ret_number = (int64_t)(minus ? 0 - n : n);
	return true;
}

static bool parse_real(enum cim_type base, const char *word, double *ret_real)
{
	const char *p = *word == '-' || *word == '+' ? word + 1 : word;
	char *end;
	double real;

	if (strcmp(p, "INF") != 0 && strcmp(word, "NaN") != 0 &&
	    !(is_digit(*p) || (*p == '.' && is_digit(p[1]))))
		return false;
	if (p[0] == '0' && (p[1] | 0x20) == 'x')
		return false;
	real = strtod(word, &end);
	if (*end != '\0' || (isinf(real) && is_digit(*p)))
		return false;
	*ret_real = base == CIM_REAL32 ? (double)(float)real : real;
	return !(isinf(*ret_real) && (is_digit(*p) || *p == '.'));
}

static bool parse_boolean(const char *word, bool *ret_boolean)
{
	if (strcasecmp(word, "true") == 0 || strcmp(word, "1") == 0)
		*ret_boolean = true;
	else if (strcasecmp(word, "false") == 0 || strcmp(word, "0") == 0)
		*ret_boolean = false;
	else
		return false;
	return true;
}

static bool parse_char16(const char *text, uint64_t *ret_number)
{
	size_t length = strlen(text);
	uint32_t c = 0;

	if (length == 0 || cim_utf8_read(text, length, &c) != length ||
	    c > 0xffff)
		return false;
	*ret_number = c;
	return true;
}

/* What is neither text nor a reference. */
static bool parse_word(enum cim_type base, const char *word,
		       union cim_scalar *scalar)
{
	switch (base) {
	case CIM_BOOLEAN:
		return parse_boolean(word, &scalar->boolean);
	case CIM_REAL32:
	case CIM_REAL64:
		return parse_real(base, word, &scalar->real);
	default:
		return cim_type_is_signed(base)
			   ? parse_signed(base, word, &scalar->sint)
			   : parse_unsigned(base, word, &scalar->uint);
	}
}

static int parse_string(struct arena *arena, const char *text,
			union cim_scalar *ret_scalar, struct err *err)
{
	const char *copy = arena_strdup(arena, text);

	if (!copy)
		return arena_full(arena, err);
	ret_scalar->text = copy;
	return 0;
}

int cim_scalar_parse(struct arena *arena, enum cim_type base, const char *text,
		     union cim_scalar *ret_scalar, struct err *err)
{
	union cim_scalar scalar = {0};
	struct cim_instant instant;
	char word[WORD_BYTES];
	int r;

	if (base == CIM_STRING)
		return parse_string(arena, text, ret_scalar, err);
	if (base == CIM_REFERENCE)
		return cim_path_parse(arena, text, &ret_scalar->ref, err);
	if (base == CIM_CHAR16) {
		if (!parse_char16(text, &scalar.uint))
			return mismatch(base, text, err);
		*ret_scalar = scalar;
		return 0;
	}
	if (!trim(text, word))
		return mismatch(base, text, err);
	if (base == CIM_DATETIME) {
		r = cim_datetime_parse(word, &instant, err);
		return r < 0 ? r : parse_string(arena, word, ret_scalar, err);
	}
	if (!parse_word(base, word, &scalar))
		return mismatch(base, text, err);
	*ret_scalar = scalar;
	return 0;
}

static const char *real_text(double real, int digits,
			     char buf[CIM_SCALAR_BYTES])
{
	if (isnan(real))
		return "NaN";
	if (isinf(real))
		return real > 0 ? "INF" : "-INF";
	(void)snprintf(buf, CIM_SCALAR_BYTES, "%.*E", digits, real);
	return buf;
}

const char *cim_scalar_text(enum cim_type base, const union cim_scalar *scalar,
			    char buf[CIM_SCALAR_BYTES], size_t *ret_length)
{
	const char *text = buf;

	switch (base) {
	case CIM_BOOLEAN:
		text = scalar->boolean ? "TRUE" : "FALSE";
		break;
	case CIM_REAL32:
	case CIM_REAL64:
		text =
		    real_text(scalar->real, base == CIM_REAL32 ? 8 : 16, buf);
		break;
	case CIM_CHAR16:
		cim_utf8_write((uint32_t)scalar->uint, buf);
		break;
	case CIM_STRING:
	case CIM_DATETIME:
		text = scalar->text;
		break;
	case CIM_SINT8:
	case CIM_SINT16:
	case CIM_SINT32:
	case CIM_SINT64:
		(void)snprintf(buf, CIM_SCALAR_BYTES, "%" PRId64, scalar->sint);
		break;
	default:
		buf[decimal_write(scalar->uint, buf)] = '\0';
	}
	if (ret_length)
		*ret_length = strlen(text);
	return text;
}
