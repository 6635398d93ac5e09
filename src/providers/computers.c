/* SPDX-License-Identifier: Apache-2.0 */
/* The host and the virtual systems, as computers. */
#include <string.h>

#include "cim/status.h"
#include "providers/objects.h"
#include "providers/virtual.h"

#define STATE_ENABLED  2
#define STATE_DISABLED 3

#define STATUS_OK       2
#define STATUS_DEGRADED 3
#define HEALTH_OK       5
#define HEALTH_DEGRADED 20

/* What neither has. */
static void set_common(struct build *b)
{
	build_text(b, "CreationClassName", SYSTEM_CLASS);
	build_number(b, "EnabledDefault", STATE_ENABLED);
	build_number(b, "RequestedState", 12);
	build_number(b, "ReplicationState", 0);
	build_number(b, "ReplicationHealth", 0);
	build_number(b, "ReplicationMode", 0);
	build_number(b, "FailedOverReplicationType", 0);
	build_number(b, "LastReplicationType", 0);
}

static int tell_host(const struct providers *p,
		     const struct cim_request *request, cim_instance_fn *fn,
		     void *fn_arg, struct err *err)
{
	static const char *const status[] = {"Operating normally"};
	struct build b = build_new(request, SYSTEM_CLASS, err);

	set_common(&b);
	build_text(&b, "Name", p->host.name);
	build_text(&b, "ElementName", p->host.name);
	build_text(&b, "Caption", "Hosting Computer System");
	build_text(&b, "Description", "Microsoft Hosting Computer System");
	build_number(&b, "EnabledState", STATE_ENABLED);
	build_number(&b, "HealthState", HEALTH_OK);
	build_list(&b, "OperationalStatus", STATUS_OK);
	build_texts(&b, "StatusDescriptions", status, 1);
	build_text(&b, "Status", "OK");
	return build_tell(&b, fn, fn_arg);
}

enum {
	NAME,
	ELEMENT_NAME,
	PROCESS_ID,
	ENABLED_STATE,
	HEALTH_STATE,
	STATUS,
	OPERATIONAL_STATUS,
	STATUS_DESCRIPTIONS,
};

static const char *const slots[] = {
    [NAME] = "Name",
    [ELEMENT_NAME] = "ElementName",
    [PROCESS_ID] = "ProcessID",
    [ENABLED_STATE] = "EnabledState",
    [HEALTH_STATE] = "HealthState",
    [STATUS] = "Status",
    [OPERATIONAL_STATUS] = "OperationalStatus",
    [STATUS_DESCRIPTIONS] = "StatusDescriptions",
    NULL,
};

static void prepare(struct telling *t)
{
	set_common(&t->b);
	build_text(&t->b, "Caption", "Virtual Machine");
	build_text(&t->b, "Description", "Microsoft Virtual Machine");
}

/* How it is: by refpointd's word for its state. */
static void set_status(struct telling *t, const struct system_view *system)
{
	static const union cim_scalar codes[] = {{.uint = STATUS_OK},
						 {.uint = STATUS_DEGRADED}};
	static const union cim_scalar texts[] = {
	    {.text = "Operating normally"},
	    {.text = "Its worker failed and is not started again"}};
	bool failed = strcmp(system->state, "failed") == 0;

	build_at(&t->b, t->slots[OPERATIONAL_STATUS],
		 cim_array(CIM_UINT16, &codes[failed], 1));
	build_at(&t->b, t->slots[STATUS_DESCRIPTIONS],
		 cim_array(CIM_STRING, &texts[failed], 1));
	build_at(&t->b, t->slots[HEALTH_STATE],
		 cim_uint(CIM_UINT16, failed ? HEALTH_DEGRADED : HEALTH_OK));
	build_at(&t->b, t->slots[STATUS],
		 cim_string(failed ? "Degraded" : "OK"));
}

static int tell(struct telling *t, const struct system_view *system)
{
	struct cim_value pid = cim_null(CIM_UINT32, false);

	if (system->worker_pid > 0)
		pid = cim_uint(CIM_UINT32, system->worker_pid);
	build_at(&t->b, t->slots[NAME], cim_string(system->uuid));
	build_at(&t->b, t->slots[ELEMENT_NAME], cim_string(system->vm));
	build_at(&t->b, t->slots[PROCESS_ID], pid);
	build_at(&t->b, t->slots[ENABLED_STATE],
		 cim_uint(CIM_UINT16,
			  system->connected ? STATE_ENABLED : STATE_DISABLED));
	set_status(t, system);
	return build_tell_again(&t->b, t->fn, t->fn_arg);
}

static const struct object_class class = {.name = SYSTEM_CLASS,
					  .kind = IDENTITY_SYSTEM,
					  .slots = slots,
					  .prepare = prepare,
					  .tell = tell};

int computers_enumerate(ENUMERATE_PARAMETERS)
{
	const struct providers *p = arg;
	struct wanted wanted = wanted_by_query(&class, query, p->host.name);
	int r = 0;

	if (!wanted.none && !*wanted.uuid)
		r = tell_host(p, request, fn, fn_arg, err);
	return r < 0
		   ? r
		   : objects_tell(&class, p, request, &wanted, fn, fn_arg, err);
}

static int tell_only_host(void *arg, const struct cim_request *request,
			  cim_instance_fn *fn, void *fn_arg, struct err *err)
{
	return tell_host(arg, request, fn, fn_arg, err);
}

int computers_get(GET_PARAMETERS)
{
	const struct providers *p = arg;
	struct identity own;

	if (identity_of_path(path, p->host.name, &own) &&
	    own.kind == IDENTITY_HOST)
		return objects_first(request, tell_only_host, arg, ret_instance,
				     err);
	return objects_get(&class, p, request, path, ret_instance, err);
}
