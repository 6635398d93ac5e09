/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/frozen.h"

#include <string.h>

#include "daemon/freeze.h"
#include "daemon/undo.h"

#define VOUCH_MS 60000

bool frozen_is_wanted(const struct request *request)
{
	const char *level = json_string_value(
	    json_object_get(request->parameters, "consistency"));

	return level && strcmp(level, "application") == 0;
}

/* The worker gives up in time, so that the guest is still frozen if it does
 * not. */
static void limit_worker(struct request *request, uint64_t ms)
{
	json_t *own = json_object_get(request->parameters, "timeout_ms");
	json_int_t limit = json_integer_value(own);

	if (own && !json_is_null(own) && !json_is_integer(own))
		return; /* the worker refuses it */
	if (limit <= 0 || (uint64_t)limit > ms)
		limit = (json_int_t)ms;
	(void)json_object_set_new(request->parameters, "timeout_ms",
				  json_integer(limit));
}

static void on_begun(void *arg, const struct err *err, uint64_t cut_ms)
{
	struct request *request = arg;
	struct err why = *err;

	if (why.code)
		request->freeze = NULL;
	else
		limit_worker(request, cut_ms);
	request->frozen(request, &why);
}

int frozen_begin(struct request *request, frozen_fn *fn, struct err *err)
{
	request->frozen = fn;
	return freeze_begin(request->vm, on_begun, request, &request->freeze,
			    err);
}

/* ---- afterwards ------------------------------------------------------------
 */

static json_t *made(const struct request *request)
{
	json_t *point = json_object_get(request->answer, "point");

	return point ? point : json_object_get(request->answer, "snapshot");
}

/* What was made is not what was asked for. */
static void undo_it(struct request *request, const struct err *why)
{
	if (!undo_because(request, made(request), why))
		request->frozen(request, why);
}

static void on_vouched(void *arg, const struct err *err, json_t *parameters,
		       bool continues, const char *text, size_t bytes, int *fds,
		       unsigned n_fds)
{
	struct request *request = arg;

	request->link = NULL;
	if (err->code) {
		undo_it(request, err);
		return;
	}
	(void)json_object_set_new(made(request), "consistency",
				  json_string("application"));
	request->frozen(request, err);
}

static const char *made_says(const struct request *request, const char *what)
{
	const char *text =
	    json_string_value(json_object_get(made(request), what));

	return text ? text : "";
}

static void vouch(struct request *request)
{
	struct err err = {0};

	if (link_call(request->daemon, request->vm_name, "Vouch",
		      json_pack("{s:s}", "point", made_says(request, "id")),
		      false, NULL, 0, VOUCH_MS, on_vouched, request,
		      &request->link, &err) < 0)
		undo_it(request, &err);
}

static void on_over(void *arg, const struct err *err)
{
	struct request *request = arg;
	struct err why = *err;
	/* by a request id: it was made, and vouched for, long ago */
	bool old =
	    strcmp(made_says(request, "consistency"), "application") == 0;

	request->freeze = NULL;
	if (request->outcome.code || old)
		request->frozen(request, &request->outcome);
	else if (why.code)
		undo_it(request, &why);
	else
		vouch(request);
}

void frozen_end(struct request *request, const struct err *err, json_t *answer,
		frozen_fn *fn)
{
	struct freeze *freeze = request->freeze;

	request->outcome = *err;
	request->answer = json_incref(answer);
	request->frozen = fn;
	request->freeze = NULL;
	freeze_end(freeze, on_over, request);
}
