/* SPDX-License-Identifier: Apache-2.0 */
/* From a request to the operation that its action names. */
#include "wsman/wsman.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "common/bytes.h"
#include "common/limits.h"
#include "wsman/internal.h"

static uint64_t steady_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

int wsman_new(const struct wsman_options *options, struct wsman **ret_wsman,
	      struct err *err)
{
	struct wsman *w = calloc(1, sizeof(*w));

	if (!w)
		return err_set(err, -ENOMEM, "no memory for WS-Management");
	w->broker = options->broker;
	w->contexts = options->contexts;
	w->version = options->version;
	w->now = options->now ? options->now : steady_ms;
	w->duplicates = duplicates_new(w->now);
	if (!w->duplicates) {
		free(w);
		return err_set(err, -ENOMEM, "no memory for WS-Management");
	}
	*ret_wsman = w;
	return 0;
}

struct wsman *wsman_free(struct wsman *wsman)
{
	if (wsman)
		duplicates_free(wsman->duplicates);
	free(wsman);
	return NULL;
}

/* ---- dispatch ----------------------------------------------------------- */

static int operate_unsupported(struct message *m,
			       struct wsman_response *ret_response,
			       struct err *err)
{
	return err_set(err, -CIM_ENOTSUPPORTED,
		       "the action %.120s is not supported", m->action);
}

static const struct {
	const char *action;
	operation_fn *operation;
	bool once; /* a repeat must not do it again */
} actions[] = {
    {NS_TRANSFER "/Get", operate_get, false},
    {NS_TRANSFER "/Put", operate_unsupported, false},
    {NS_TRANSFER "/Create", operate_unsupported, false},
    {NS_TRANSFER "/Delete", operate_delete, true},
    {NS_ENUMERATION "/Enumerate", operate_enumerate, false},
    {NS_ENUMERATION "/Pull", operate_pull, false},
    {NS_ENUMERATION "/Release", operate_release, true},
    {NS_ENUMERATION "/Renew", operate_unsupported, false},
    {NS_ENUMERATION "/GetStatus", operate_unsupported, false},
    {NS_EVENTING "/Subscribe", operate_unsupported, false},
    {NS_EVENTING "/Unsubscribe", operate_unsupported, false},
    {NS_EVENTING "/Renew", operate_unsupported, false},
};

static operation_fn *find_operation(const struct message *m, bool *ret_once)
{
	operation_fn *intrinsic = intrinsic_operation(m);

	*ret_once = !intrinsic;
	if (intrinsic)
		return intrinsic;
	for (size_t i = 0; i < ARRAY_SIZE(actions); i++) {
		if (strcmp(actions[i].action, m->action) != 0)
			continue;
		*ret_once = actions[i].once;
		if (actions[i].operation == operate_get && m->resource.schema)
			return operate_get_class;
		return actions[i].operation;
	}
	return operate_invoke;
}

static void run(struct message *m, operation_fn *operation,
		struct wsman_response *ret_response)
{
	struct err err = {0};
	int r = operation(m, ret_response, &err);

	if (r < 0)
		reply_fault(m, r, err.text, ret_response);
}

static void run_once(struct message *m, operation_fn *operation,
		     struct wsman_response *ret_response)
{
	struct duplicates *d = m->wsman->duplicates;
	struct duplicate *mine = NULL;

	switch (
	    duplicates_ask(d, m->request, m->message_id, &mine, ret_response)) {
	case DUPLICATE_ANSWERED:
		return;
	case DUPLICATE_BUSY:
		reply_fault(m, -CIM_EBUSY,
			    "the same request is still being worked on",
			    ret_response);
		return;
	case DUPLICATE_NONE:
		run(m, operation, ret_response);
		return;
	case DUPLICATE_NEW:
		run(m, operation, ret_response);
		duplicates_done(d, mine, ret_response);
		return;
	}
}

static void answer(struct message *m, struct wsman_response *ret_response)
{
	struct err err = {0};
	operation_fn *operation;
	bool once;
	int r = message_read(m, &err);

	if (r == 0 && message_is_identify(m)) {
		run(m, operate_identify, ret_response);
		return;
	}
	/* Who may not ask is not told what is wrong with the question. */
	if (m->cim.role == CIM_ROLE_NONE)
		r = err_set(&err, -CIM_EACCESS, "access is denied");
	if (r < 0) {
		reply_fault(m, r, err.text, ret_response);
		return;
	}
	operation = find_operation(m, &once);
	if (once)
		run_once(m, operation, ret_response);
	else
		run(m, operation, ret_response);
}

static bool is_soap(const char *type)
{
	static const char *const types[] = {"application/soap+xml", "text/xml",
					    "application/xml"};

	if (!type)
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		size_t length = strlen(types[i]);

		if (strncasecmp(type, types[i], length) == 0 &&
		    (!type[length] || strchr("; \t", type[length])))
			return true;
	}
	return false;
}

void wsman_answer(struct wsman *wsman, const struct wsman_request *request,
		  struct wsman_response *ret_response)
{
	struct message m = {
	    .wsman = wsman,
	    .request = request,
	    .arena = arena_new(CIM_REQUEST_MEMORY),
	    .cim = {.caller = request->caller ? request->caller : "",
		    .role = request->caller ? request->role : CIM_ROLE_NONE,
		    .host = request->host,
		    .ns = DEFAULT_NAMESPACE},
	};

	*ret_response = (struct wsman_response){.status = 500};
	m.cim.arena = m.arena;
	if (!m.arena)
		return;
	if (is_soap(request->content_type))
		answer(&m, ret_response);
	else
		ret_response->status = 415;
	arena_free(m.arena);
}
