/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/holders.h"

#include <string.h>

#include "providers/path-hints.h"

const struct snapshot_view *holder_snapshot(const struct system_view *system,
					    const char *id)
{
	for (uint32_t i = 0; i < system->snapshot_count; i++)
		if (strcmp(system->snapshots[i].as.id, id) == 0)
			return &system->snapshots[i];
	return NULL;
}

bool holder_is_of(const struct system_view *system, const char *id)
{
	return strcmp(system->uuid, id) == 0 || holder_snapshot(system, id);
}

struct search {
	const char *holder;
	system_fn *fn;
	void *arg;
	bool found;
};

static int look(void *arg, const struct system_view *system, struct err *err)
{
	struct search *s = arg;
	int r;

	if (!holder_is_of(system, s->holder))
		return 0;
	s->found = true;
	if (strcmp(system->uuid, s->holder) != 0)
		path_hint_set(s->holder, system->uuid);
	r = s->fn(s->arg, system, err);
	return r < 0 ? r : 1; /* once */
}

int holder_tell(const struct providers *providers,
		const struct cim_request *request, const char *holder,
		system_fn *fn, void *arg, struct err *err)
{
	const struct system_view *now = systems_holding(providers, holder);
	struct search s = {.holder = holder, .fn = fn, .arg = arg};
	char uuid[GUID_TEXT_BYTES];
	int r;

	if (now) {
		r = fn(arg, now, err);
		return r < 0 ? r : 0;
	}
	r = systems_each(providers, request, holder, 0, look, &s, err);
	if (r == 0 && !s.found && path_hint_get(holder, uuid))
		r = systems_each(providers, request, uuid, SYSTEMS_SNAPSHOTS,
				 look, &s, err);
	if (r == 0 && !s.found)
		r = systems_each(providers, request, NULL, SYSTEMS_SNAPSHOTS,
				 look, &s, err);
	return r;
}
