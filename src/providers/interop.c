/* SPDX-License-Identifier: Apache-2.0 */
/* root/interop: how a client finds out what it talks to, and which namespaces
 * there are. */
#include "providers/build.h"
#include "providers/methods.h"
#include "providers/providers.h"

#define MANAGED_SYSTEM "CIM_ComputerSystem"
#define MANAGER        "CIM_ObjectManager"
#define MANAGER_NAME   "refpoint-cim"

#define PARAMETERS                                                             \
	void *arg, const struct cim_request *request,                          \
	    const struct wql_query *query, const struct cim_path *object,      \
	    cim_instance_fn *fn, void *fn_arg, struct err *err

static struct build manager(const struct providers *p,
			    const struct cim_request *request, struct err *err)
{
	struct build b = build_new(request, MANAGER, err);

	build_text(&b, "SystemCreationClassName", MANAGED_SYSTEM);
	build_text(&b, "SystemName", p->host.name);
	build_text(&b, "CreationClassName", MANAGER);
	build_text(&b, "Name", MANAGER_NAME);
	build_text(&b, "ElementName", "refpoint");
	build_text(&b, "Description", "refpoint, version " VERSION);
	build_true(&b, "GatherStatisticalData", false);
	build_true(&b, "Started", true);
	build_number(&b, "EnabledState", 2);
	build_number(&b, "HealthState", 5);
	build_list(&b, "OperationalStatus", 2);
	return b;
}

static int tell_manager(PARAMETERS)
{
	struct build b = manager(arg, request, err);

	return build_tell(&b, fn, fn_arg);
}

static struct build space(const struct providers *p,
			  const struct cim_request *request, const char *name,
			  struct err *err)
{
	struct build b = build_new(request, "CIM_Namespace", err);

	build_text(&b, "SystemCreationClassName", MANAGED_SYSTEM);
	build_text(&b, "SystemName", p->host.name);
	build_text(&b, "ObjectManagerCreationClassName", MANAGER);
	build_text(&b, "ObjectManagerName", MANAGER_NAME);
	build_text(&b, "CreationClassName", "CIM_Namespace");
	build_text(&b, "Name", name);
	build_number(&b, "ClassInfo", 11);
	build_number(&b, "ClassType", 2);
	build_text(&b, "ClassTypeVersion", "2.32");
	return b;
}

static int tell_spaces(PARAMETERS)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < schema_namespace_count; i++) {
		struct build b =
		    space(arg, request, schema_namespaces[i].name, err);

		r = build_tell(&b, fn, fn_arg);
	}
	return r;
}

static int tell_links(PARAMETERS)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < schema_namespace_count; i++) {
		struct build b =
		    build_new(request, "CIM_NamespaceInManager", err);
		struct build own = manager(arg, request, err);
		struct build ns =
		    space(arg, request, schema_namespaces[i].name, err);

		build_ref(&b, "Antecedent", &own);
		build_ref(&b, "Dependent", &ns);
		r = build_tell(&b, fn, fn_arg);
	}
	return r;
}

/* Ours alone: no profile of anybody else is kept to in all its points. */
static int tell_profiles(PARAMETERS)
{
	struct build b = build_new(request, "CIM_RegisteredProfile", err);

	build_text(&b, "InstanceID", "refpoint:ReferencePoints");
	build_number(&b, "RegisteredOrganization", 1);
	build_text(&b, "OtherRegisteredOrganization", "refpoint");
	build_text(&b, "RegisteredName", "Reference Points");
	build_text(&b, "RegisteredVersion", VERSION);
	build_list(&b, "AdvertiseTypes", 2);
	return build_tell(&b, fn, fn_arg);
}

const struct cim_provider interop_providers[INTEROP_PROVIDERS] = {
    {.class_name = MANAGER,
     .enumerate = tell_manager,
     .invoke = unsupported_invoke},
    {.class_name = "CIM_Namespace", .enumerate = tell_spaces},
    {.class_name = "CIM_NamespaceInManager", .enumerate = tell_links},
    {.class_name = "CIM_RegisteredProfile", .enumerate = tell_profiles},
};
