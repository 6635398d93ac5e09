/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/export-plan.h"

#include <string.h>

#include "common/metadata.h"
#include "providers/identity.h"

int export_plan_disks(const char *source, const char *base,
		      const char *const *disks, unsigned n,
		      struct export_plan *ret_plan, struct err *err)
{
	struct guid id;

	if (!guid_parse(source, &id))
		return err_set(err, -RP_EPARAM, "what is to be exported");
	ret_plan->logs = 0;
	memcpy(ret_plan->base, base, sizeof(ret_plan->base));
	for (ret_plan->n = 0; ret_plan->n < n; ret_plan->n++)
		export_file_name(disks[ret_plan->n], &id,
				 ret_plan->names[ret_plan->n]);
	return 0;
}

/* ---- logs -----------------------------------------------------------------
 */

static int nonsense(struct err *err)
{
	return err_set(err, -RP_EWIRE,
		       "refpointd tells no logs that could be exported");
}

/* E1. */
static bool is_name(const char *name)
{
	return name && *name && *name != '.' && !strchr(name, '/') &&
	       strlen(name) < EXPORT_NAME_BYTES &&
	       strcmp(name, METADATA_CONFIG_NAME) != 0 &&
	       strcmp(name, METADATA_STATE_NAME) != 0;
}

static int add_name(struct export_plan *plan, const char *name, struct err *err)
{
	if (!is_name(name))
		return nonsense(err);
	for (unsigned i = 0; i < plan->n; i++)
		if (strcmp(plan->names[i], name) == 0)
			return nonsense(err);
	(void)strcpy(plan->names[plan->n++], name);
	return 0;
}

static const char *text_of(const json_t *log, const char *member)
{
	return json_string_value(json_object_get(log, member));
}

static int add_log(struct export_plan *plan, const json_t *log, struct err *err)
{
	const char *id = text_of(log, "id");
	int r;

	if (plan->n + 2 > EXPORT_FILES_MAX)
		return err_set(err, -RP_ELIMIT,
			       "an export has at most %u files: export fewer "
			       "disks at a time",
			       EXPORT_FILES_MAX);
	if (!id || !identity_guid(id, plan->ids[plan->logs++]))
		return nonsense(err);
	r = add_name(plan, text_of(log, "file"), err);
	return r < 0 ? r : add_name(plan, text_of(log, "sidecar"), err);
}

static const json_t *find_disk(const json_t *exported, const char *id)
{
	const json_t *disks = json_object_get(exported, "disks");

	for (size_t i = 0; i < json_array_size(disks); i++) {
		const json_t *disk = json_array_get(disks, i);
		const char *its =
		    json_string_value(json_object_get(disk, "id"));

		if (its && strcmp(its, id) == 0)
			return disk;
	}
	return NULL;
}

static int add_disk(struct export_plan *plan, const json_t *exported,
		    const char *id, struct err *err)
{
	const json_t *logs = json_object_get(find_disk(exported, id), "logs");
	size_t n = json_array_size(logs);
	int r = n > 0 ? 0 : nonsense(err);

	for (size_t i = 0; r == 0 && i < n; i++)
		r = add_log(plan, json_array_get(logs, i), err);
	return r;
}

int export_plan_logs(const json_t *exported, const char *const *disks,
		     unsigned n, struct export_plan *ret_plan, struct err *err)
{
	const char *base = text_of(exported, "base");
	struct export_plan plan = {0};
	int r = 0;

	if (!base || !identity_guid(base, plan.base))
		return nonsense(err);
	for (unsigned i = 0; r == 0 && i < n; i++)
		r = add_disk(&plan, exported, disks[i], err);
	if (r == 0)
		*ret_plan = plan;
	return r;
}
