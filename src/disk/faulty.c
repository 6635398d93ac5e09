/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rules of faulty.h: parsed once, then only read, but for one counter in
 * each that threads share.
 */
#include "disk/faulty-rules.h"

#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/bytes.h"

#define RULES_MAX       32
#define HANG_POLL_US    2000
#define MICROSECONDS    1000000
#define DELAY_MAX_US    (3600ull * MICROSECONDS)
#define NANOSECONDS_PER 1000

struct rule {
	enum fault_op op;
	const char *name; /* pattern, or NULL */
	uint64_t nth;     /* 0: every call */
	bool sticky;
	bool after;
	struct fault_side side;
	_Atomic uint64_t hits;
};

struct faults {
	char *text; /* cut into the words that the rules point to */
	unsigned count;
	struct rule rules[RULES_MAX];
};

static const char *const op_names[] = {
    "any",  "read",  "write", "sync",    "truncate", "allocate",
    "size", "map",   "open",  "rename",  "unlink",   "sync_dir",
    "list", "space", "zero",  "discard",
};

static bool parse_op(const char *word, enum fault_op *ret_op)
{
	for (size_t i = 0; i < ARRAY_SIZE(op_names); i++)
		if (strcmp(word, op_names[i]) == 0) {
			*ret_op = (enum fault_op)i;
			return true;
		}
	return false;
}

static bool parse_number(const char *text, uint64_t *ret_number,
			 const char **ret_rest)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	*ret_number = strtoull(text, &end, 10);
	*ret_rest = end;
	return errno == 0;
}

static bool parse_nth(const char *text, uint64_t *ret_nth)
{
	const char *rest;

	return parse_number(text, ret_nth, &rest) && !*rest && *ret_nth > 0;
}

static bool parse_delay(const char *text, uint64_t *ret_us)
{
	static const struct {
		const char *unit;
		uint64_t us;
	} units[] = {{"us", 1}, {"ms", 1000}, {"s", MICROSECONDS}};
	uint64_t number;
	const char *rest;

	if (!parse_number(text, &number, &rest) || number > DELAY_MAX_US)
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(units); i++)
		if (strcmp(rest, units[i].unit) == 0) {
			*ret_us = number * units[i].us;
			return *ret_us <= DELAY_MAX_US;
		}
	return false;
}

static bool parse_errno(const char *text, int *ret_error)
{
	static const struct {
		const char *name;
		int number;
	} known[] = {
	    {"EIO", EIO},       {"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT},
	    {"EROFS", EROFS},   {"ENOMEM", ENOMEM}, {"EOPNOTSUPP", EOPNOTSUPP},
	    {"ENOENT", ENOENT}, {"EAGAIN", EAGAIN}, {"EINTR", EINTR},
	};
	uint64_t number;
	const char *rest;

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (strcmp(text, known[i].name) == 0) {
			*ret_error = -known[i].number;
			return true;
		}
	if (!parse_number(text, &number, &rest) || *rest || number == 0 ||
	    number > 4095)
		return false;
	*ret_error = -(int)number;
	return true;
}

static bool parse_option(struct rule *rule, const char *key, const char *value)
{
	if (strcmp(key, "sticky") == 0 && !value)
		return rule->sticky = true;
	if (strcmp(key, "after") == 0 && !value)
		return rule->after = true;
	if (strcmp(key, "hang") == 0) {
		rule->side.hang = value ? value : "";
		return true;
	}
	if (!value)
		return false;
	if (strcmp(key, "name") == 0) {
		rule->name = value;
		return true;
	}
	if (strcmp(key, "nth") == 0)
		return parse_nth(value, &rule->nth);
	if (strcmp(key, "delay") == 0)
		return parse_delay(value, &rule->side.delay_us);
	if (strcmp(key, "errno") == 0)
		return parse_errno(value, &rule->side.error);
	return false;
}

/* Returns the word that is not understood, or NULL. */
static const char *parse_rule(struct rule *rule, char *text)
{
	char *saved = NULL;
	char *word = strtok_r(text, ":", &saved);

	if (!word || !parse_op(word, &rule->op))
		return word ? word : "";
	while ((word = strtok_r(NULL, ":", &saved)) != NULL) {
		char *value = strchr(word, '=');

		if (value)
			*value++ = '\0';
		if (!parse_option(rule, word, value))
			return word;
	}
	return rule->sticky && !rule->nth ? "sticky" : NULL;
}

int faults_new(const char *rules, struct faults **ret_faults, struct err *err)
{
	struct faults *faults = calloc(1, sizeof(*faults));
	char *saved = NULL, *text;
	const char *bad = NULL;

	if (faults)
		faults->text = strdup(rules);
	if (!faults || !faults->text) {
		free(faults);
		return err_set(err, -ENOMEM, "faults");
	}
	text = strtok_r(faults->text, ";", &saved);
	for (; text && !bad; text = strtok_r(NULL, ";", &saved)) {
		if (faults->count == RULES_MAX)
			bad = text;
		else
			bad = parse_rule(&faults->rules[faults->count++], text);
	}
	if (bad) {
		(void)err_set(err, -RP_EPARAM,
			      "fault rule %u: '%s' is not understood",
			      faults->count, bad);
		faults_free(faults);
		return -RP_EPARAM;
	}
	*ret_faults = faults;
	return 0;
}

struct faults *faults_free(struct faults *faults)
{
	if (faults)
		free(faults->text);
	free(faults);
	return NULL;
}

uint64_t faults_hits(const struct faults *faults, unsigned index)
{
	return index < faults->count ? atomic_load(&faults->rules[index].hits)
				     : 0;
}

static bool matches(const struct rule *rule, enum fault_op op, const char *name,
		    const char *other)
{
	if (rule->op != FAULT_ANY && rule->op != op)
		return false;
	return !rule->name || fnmatch(rule->name, name, 0) == 0 ||
	       (other && fnmatch(rule->name, other, 0) == 0);
}

static void add(struct fault_side *to, const struct fault_side *side)
{
	to->delay_us += side->delay_us;
	if (!to->hang)
		to->hang = side->hang;
	if (!to->error)
		to->error = side->error;
}

struct fault faults_consult(struct faults *faults, enum fault_op op,
			    const char *name, const char *other)
{
	struct fault fault = {{0}};

	for (unsigned i = 0; i < faults->count; i++) {
		struct rule *rule = &faults->rules[i];
		uint64_t hit;

		if (!matches(rule, op, name, other))
			continue;
		hit = atomic_fetch_add(&rule->hits, 1) + 1;
		if (!rule->nth || hit == rule->nth ||
		    (rule->sticky && hit > rule->nth))
			add(rule->after ? &fault.after : &fault.before,
			    &rule->side);
	}
	return fault;
}

static void sleep_us(uint64_t us)
{
	struct timespec left = {
	    .tv_sec = (time_t)(us / MICROSECONDS),
	    .tv_nsec = (long)(us % MICROSECONDS * NANOSECONDS_PER),
	};

	while (us && nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

bool fault_hangs(const struct fault_side *side)
{
	/* not access(2), which a worker's sandbox forbids */
	return side->hang &&
	       (!*side->hang || faccessat(AT_FDCWD, side->hang, F_OK, 0) == 0);
}

int fault_suffer(const struct fault_side *side)
{
	sleep_us(side->delay_us);
	while (fault_hangs(side))
		sleep_us(HANG_POLL_US);
	return side->error;
}
