/* SPDX-License-Identifier: Apache-2.0 */
/* The services: each is there once, and always runs. */
#include "cim/status.h"
#include "common/bytes.h"
#include "providers/objects.h"
#include "providers/virtual.h"

/* By the order of identity_services[]. */
static const struct {
	const char *caption, *description;
} texts[IDENTITY_SERVICES] = {
    {"Reference Point Service",
     "Makes and removes reference points of virtual machines"},
    {"Snapshot Service", "Takes snapshots of virtual machines"},
    {"Virtual Machine Management Service", "Changes virtual machines"},
    {"Image Management Service",
     "Tells what changed on the disks of virtual machines"},
};

static struct build make(const struct providers *p,
			 const struct cim_request *request, unsigned index,
			 struct err *err)
{
	static const char *const status[] = {"OK"};
	const struct identity_service *s = &identity_services[index];
	struct build b = build_new(request, s->class_name, err);

	build_text(&b, "SystemCreationClassName", SYSTEM_CLASS);
	build_text(&b, "SystemName", p->host.name);
	build_text(&b, "CreationClassName", s->class_name);
	build_text(&b, "Name", s->name);
	build_text(&b, "ElementName", texts[index].caption);
	build_text(&b, "Caption", texts[index].caption);
	build_text(&b, "Description", texts[index].description);
	build_true(&b, "Started", true);
	build_text(&b, "StartMode", "Automatic");
	build_number(&b, "EnabledState", 2);
	build_number(&b, "EnabledDefault", 2);
	build_number(&b, "RequestedState", 12);
	build_number(&b, "HealthState", 5);
	build_list(&b, "OperationalStatus", 2);
	build_texts(&b, "StatusDescriptions", status, 1);
	build_text(&b, "Status", "OK");
	return b;
}

static int tell(void *arg, const struct cim_request *request, unsigned index,
		cim_instance_fn *fn, void *fn_arg, struct err *err)
{
	struct build b = make(arg, request, index, err);

	return build_tell(&b, fn, fn_arg);
}

static int get(void *arg, const struct cim_request *request, unsigned index,
	       const struct cim_path *path,
	       const struct cim_instance **ret_instance, struct err *err)
{
	const struct providers *p = arg;
	struct identity own;
	struct build b;

	if (!identity_of_path(path, p->host.name, &own) ||
	    own.kind != IDENTITY_SERVICE || own.index != index)
		return err_set(err, -CIM_ENOTFOUND, "there is no such service");
	b = make(p, request, index, err);
	if (b.r == 0)
		*ret_instance = b.instance;
	return b.r;
}

/* INDEX is that of identity_services[]. */
#define SERVICE(index, name)                                                   \
	int name##_enumerate(ENUMERATE_PARAMETERS)                             \
	{                                                                      \
		return tell(arg, request, index, fn, fn_arg, err);             \
	}                                                                      \
	int name##_get(GET_PARAMETERS)                                         \
	{                                                                      \
		return get(arg, request, index, path, ret_instance, err);      \
	}

SERVICE(0, point_service)
SERVICE(1, snapshot_service)
SERVICE(2, management_service)
SERVICE(3, image_service)
