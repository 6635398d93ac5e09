/* SPDX-License-Identifier: Apache-2.0 */
#include "common/log.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/bytes.h"

static char log_name[64] = "refpoint";
static char debug_spec[128]; /* ",store,nbd," or "" */
static bool priorities;
static atomic_uint lost;
static atomic_uint lost_audits; /* of them */

void log_open(const char *name)
{
	(void)snprintf(log_name, sizeof(log_name), "%s", name);
	priorities = getenv("JOURNAL_STREAM") != NULL;
}

void log_enable_debug(const char *spec)
{
	if (!spec || !*spec)
		debug_spec[0] = '\0';
	else
		(void)snprintf(debug_spec, sizeof(debug_spec), ",%s,", spec);
}

bool log_debug_wanted(const char *module)
{
	char key[40];

	if (!debug_spec[0])
		return false;
	if (strstr(debug_spec, ",all,"))
		return true;
	(void)snprintf(key, sizeof(key), ",%s,", module);
	return strstr(debug_spec, key) != NULL;
}

/* A pipe that is writable takes PIPE_BUF bytes at once, a socket a line. */
static bool put(const char *line, size_t n)
{
	struct pollfd fd = {.fd = STDERR_FILENO, .events = POLLOUT};

	return poll(&fd, 1, 0) > 0 &&
	       write(STDERR_FILENO, line, n) == (ssize_t)n;
}

/* False, and what was lost before is still to be told. */
static bool tell_lost(unsigned lines, unsigned audits)
{
	char text[160];
	int n = snprintf(text, sizeof(text),
			 "%s%s: warning: lines lost, which nobody read in "
			 "time: %u, of them audit: %u\n",
			 priorities ? "<4>" : "", log_name, lines, audits);

	return n > 0 && put(text, MIN((size_t)n, sizeof(text) - 1));
}

static void put_or_count(const char *line, size_t n, bool audit)
{
	unsigned lines = atomic_exchange(&lost, 0);
	unsigned audits = atomic_exchange(&lost_audits, 0);

	if (lines && !tell_lost(lines, audits)) {
		atomic_fetch_add(&lost, lines);
		atomic_fetch_add(&lost_audits, audits);
	} else if (put(line, n)) {
		return;
	}
	atomic_fetch_add(&lost, 1);
	atomic_fetch_add(&lost_audits, audit);
}

__attribute__((format(printf, 3, 0))) static void
log_va(enum log_level level, bool audit, const char *fmt, va_list ap)
{
	int saved = errno;
	char buf[1024];
	size_t room = sizeof(buf) - 1;
	int n = 0, m;

	if (priorities)
		n = snprintf(buf, room, "<%d>", (int)level);
	n += snprintf(buf + n, room - (size_t)n, "%s: %s", log_name,
		      level == LOG_ERROR     ? "error: "
		      : level == LOG_WARNING ? "warning: "
					     : "");
	m = vsnprintf(buf + n, room - (size_t)n, fmt, ap);
	if (m > 0)
		m = (size_t)m < room - (size_t)n ? m : (int)room - n - 1;
	/* what others said must not look like a line of ours */
	for (; m > 0; m--, n++)
		if ((unsigned char)buf[n] < ' ' || buf[n] == 0x7f)
			buf[n] = '?';
	buf[n++] = '\n';
	put_or_count(buf, (size_t)n, audit);
	errno = saved;
}

void log_line(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_va(level, false, fmt, ap);
	va_end(ap);
}

void log_audit(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_va(LOG_INFO, true, fmt, ap);
	va_end(ap);
}
