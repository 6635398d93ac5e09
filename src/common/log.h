/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines for the journal, on stderr, one write(2) each.  Only the top of a call
 * chain logs above debug; libraries return errors.  Lower-case, no full stop,
 * not split across lines, values as key=value after the sentence.  errno is
 * preserved.  Under systemd each line begins with its <priority>.
 *
 * Threads that may wait for nothing log, too: a line that stderr would not take
 * at once, since nobody reads the pipe or the socket, is left out and counted,
 * and the next one that gets through says how many were.
 */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include <stdbool.h>

enum log_level {
	LOG_ERROR = 3,
	LOG_WARNING = 4,
	LOG_INFO = 6,
	LOG_DEBUG = 7
};

/* NAME prefixes every line ("refpointd", "refpoint-worker[vm1]"); copied. */
void log_open(const char *name);

/* SPEC is a comma separated list of module names ("store,nbd" or "all") whose
 * debug lines are wanted; NULL or "" for none.  From -D or REFPOINT_DEBUG. */
void log_enable_debug(const char *spec);
bool log_debug_wanted(const char *module);

void log_line(enum log_level level, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* As log_info(); if it is left out, the count of those names it apart. */
void log_audit(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#define log_error(...)   log_line(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_info(...)    log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(module, ...)                                                 \
	do {                                                                   \
		if (__builtin_expect(log_debug_wanted(module), 0))             \
			log_line(LOG_DEBUG, module ": " __VA_ARGS__);          \
	} while (0)

#endif
