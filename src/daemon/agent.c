/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SetAgent: another agent, or none, for a virtual system that is defined.
 *
 * The store says which it is, and may not name one that nobody asked for
 * (refresh.c).  So the inventory says first, durably, what is about to be; who
 * dies in between finds a store that says the one or the other.
 */
#include <string.h>

#include "common/agent.h"
#include "daemon/freeze.h"
#include "daemon/methods.h"
#include "daemon/request.h"

#define SET_AGENT_MS 60000

/* Did the worker refuse, so that nothing has changed? */
static bool is_refused(const struct err *err)
{
	int result = err_result(err->code);

	return result != 2 && result != 3;
}

static void on_set(void *arg, const struct err *err, json_t *parameters,
		   bool continues, const char *text, size_t bytes, int *fds,
		   unsigned n_fds)
{
	struct request *request = arg;
	struct inventory_entry *entry = &request->vm->entry;

	request->link = NULL;
	if (err->code) {
		entry->agent_changes = !is_refused(err);
		(void)vm_save(request->vm, NULL);
		request_fail(request, err);
		return;
	}
	memcpy(entry->agent, entry->agent_next, sizeof(entry->agent));
	entry->agent_changes = false;
	entry->agent_next[0] = '\0';
	(void)vm_save(request->vm, NULL);
	freeze_forget(request->vm);
	request_reply(request, NULL);
}

static void on_ready(void *arg, const struct err *why)
{
	struct request *request = arg;
	struct vm *vm = request->vm;
	const char *agent =
	    json_string_value(json_object_get(request->parameters, "agent"));
	struct err err = *why;

	if (!err.code) {
		vm->entry.agent_changes = true;
		(void)strcpy(vm->entry.agent_next, agent);
		(void)vm_save(vm, &err);
	}
	if (!err.code)
		(void)link_call(vm->daemon, vm->name, "SetAgent",
				json_pack("{s:s}", "agent", agent), false, NULL,
				0, SET_AGENT_MS, on_set, request,
				&request->link, &err);
	if (err.code)
		request_fail(request, &err);
}

void set_agent_method(struct rpc_call *call, json_t *parameters, void *arg)
{
	struct request *request = request_new(arg, call, parameters, true);
	const char *agent = NULL;
	const struct rpc_field fields[] = {
	    {"agent", RPC_STRING, true, AGENT_BYTES, &agent, NULL}, {0}};
	struct err err = {0};

	if (!request || !request_find_vm(request))
		return;
	if (rpc_read_fields(request->parameters, fields, &err) < 0 ||
	    agent_check(agent, &err) < 0) {
		request_fail(request, &err);
		return;
	}
	vm_when_ready(request->vm, on_ready, request);
}
