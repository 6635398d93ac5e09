/* SPDX-License-Identifier: Apache-2.0 */
#include "common/err.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

static const struct err_row {
	int code;
	const char *name;
	int eno;
	int exit;
	int result;
} rows[] = {
#define X(sym, num, name, eno, exit, result)                                   \
	{RP_##sym, name, eno, exit, result},
    ERR_TABLE(X)
#undef X
};

/* Codes of the system that have a row of ours as their nearest kin. */
static int kin(int code)
{
	switch (code) {
	case ENOSPC:
	case EDQUOT:
		return RP_ENOROOM;
	case EIO:
		return RP_EIOFAIL;
	case EACCES:
	case EPERM:
		return RP_EDENIED;
	case ETIMEDOUT:
		return RP_ETIMEOUT;
	case EINVAL:
		return RP_EPARAM;
	case EPROTO:
		return RP_EWIRE;
	case EBUSY:
	case EAGAIN:
		return RP_EINUSE;
	case EOPNOTSUPP:
		return RP_EUNSUPPORTED;
	default:
		return RP_EFAILED;
	}
}

static const struct err_row *find(int code)
{
	if (code < 0)
		code = -code;
	if (code < ERR_BASE)
		code = kin(code);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].code == code)
			return &rows[i];
	return find(RP_EFAILED);
}

int err_set(struct err *err, int code, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (code > 0)
		code = -code;
	if (!err)
		return code;
	va_start(ap, fmt);
	n = vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	if (n < 0)
		err->text[n = 0] = '\0';
	if (-code < ERR_BASE && (size_t)n < sizeof(err->text)) {
		char buf[64];
		const char *why = strerror_r(-code, buf, sizeof(buf));

		(void)snprintf(err->text + n, sizeof(err->text) - (size_t)n,
			       ": %s", why);
	}
	err->code = code;
	return code;
}

int err_wrap(struct err *err, const char *fmt, ...)
{
	char old[ERR_TEXT_BYTES];
	va_list ap;
	int n;

	if (!err)
		return -RP_EFAILED;
	memcpy(old, err->text, sizeof(old));
	va_start(ap, fmt);
	n = vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(err->text))
		(void)snprintf(err->text + n, sizeof(err->text) - (size_t)n,
			       ": %s", old);
	return err->code;
}

const char *err_name(int code)
{
	return find(code)->name;
}

int err_errno(int code)
{
	if (code < 0)
		code = -code;
	return code < ERR_BASE ? code : find(code)->eno;
}

int err_exit_status(int code)
{
	return find(code)->exit;
}

int err_result(int code)
{
	return code == 0 ? 0 : find(code)->result;
}

int err_from_name(const char *name)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (strcmp(rows[i].name, name) == 0)
			return -rows[i].code;
	return -RP_EFAILED;
}
