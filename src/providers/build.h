/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Making instances one property after the other: the first failure stays, and
 * build_tell() returns it.
 */
#ifndef PROVIDERS_BUILD_H
#define PROVIDERS_BUILD_H

#include "cim/broker.h"

struct build {
	const struct cim_request *request;
	struct cim_instance *instance;
	struct arena_mark mark; /* before it */
	int r;
	struct err *err;
};

/* Begins an instance of the class, which is in the schema, with its defaults.
 */
struct build build_new(const struct cim_request *request,
		       const char *class_name, struct err *err);
/* "" and NULL: leaves it NULL.  A datetime alike.  Not copied. */
void build_text(struct build *b, const char *name, const char *text);
/* Of an integer property of any type, which the number is within. */
void build_number(struct build *b, const char *name, int64_t number);
/* An array of one number. */
void build_list(struct build *b, const char *name, uint64_t number);
/* A datetime from the JSON interface's form, 2026-01-02T03:04:05.678901234Z;
 * leaves it NULL if TIME has another. */
void build_time(struct build *b, const char *name, const char *time);
void build_true(struct build *b, const char *name, bool boolean);
/* To the object that OTHER would be; takes OTHER's failure over. */
void build_ref(struct build *b, const char *name, struct build *other);
/* An array of strings. */
void build_texts(struct build *b, const char *name, const char *const *texts,
		 uint32_t count);
/* Tells it and gives its memory back. */
int build_tell(struct build *b, cim_instance_fn *fn, void *fn_arg);

/*
 * For many instances of one class: what differs is looked up once, set anew for
 * each, and the rest stays.
 */

/* Where the property is, for build_at(). */
uint32_t build_slot(struct build *b, const char *name);
/* The type is the caller's business. */
void build_at(struct build *b, uint32_t slot, struct cim_value value);
/* Tells it as it is now, and keeps it. */
int build_tell_again(struct build *b, cim_instance_fn *fn, void *fn_arg);

#endif
