/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Small changes of what is there: one commit each, true or not at all.
 *
 * What control calls change, other threads read under the model's lock.
 */
#include <stdio.h>
#include <stdlib.h>

#include "track/internal.h"

void vm_agent(struct vm *vm, char ret_agent[AGENT_BYTES])
{
	(void)pthread_mutex_lock(&vm->model);
	(void)snprintf(ret_agent, AGENT_BYTES, "%s", vm->system.agent);
	(void)pthread_mutex_unlock(&vm->model);
}

static int put_system(struct vm *vm, void *arg, struct err *err)
{
	return catalogue_put_system(vm->catalogue, arg, err);
}

static int set_agent_locked(struct vm *vm, const char *agent, struct err *err)
{
	struct system_row row = vm->system;
	int r = vm_usable(vm, err);

	(void)snprintf(row.agent, sizeof(row.agent), "%s", agent);
	if (r == 0)
		r = vm_commit(vm, put_system, &row, NULL, err);
	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&vm->model);
	memcpy(vm->system.agent, row.agent, sizeof(row.agent));
	(void)pthread_mutex_unlock(&vm->model);
	return 0;
}

int vm_set_agent(struct vm *vm, const char *agent, struct err *err)
{
	int r;

	(void)pthread_mutex_lock(&vm->control);
	r = set_agent_locked(vm, agent, err);
	(void)pthread_mutex_unlock(&vm->control);
	return r;
}

/* ---- vouching ------------------------------------------------------------ */

/* The model's row, with control; nobody else changes it. */
static struct point_row *find(struct vm *vm, const struct guid *id)
{
	for (uint32_t i = 0; i < vm->point_count; i++)
		if (guid_equal(&vm->points[i].id, id))
			return &vm->points[i];
	return NULL;
}

static int put_vouched(struct vm *vm, void *arg, struct err *err)
{
	const struct point_row *old = arg;
	struct point_row *row = malloc(sizeof(*row));
	int r;

	if (!row)
		return err_set(err, -ENOMEM, "vouch for a point");
	*row = *old;
	row->consistency = CONSISTENCY_APPLICATION;
	r = catalogue_put_point(vm->catalogue, row, err);
	free(row);
	return r;
}

static int vouch_locked(struct vm *vm, const struct guid *id, struct err *err)
{
	struct point_row *row = find(vm, id);
	char text[GUID_TEXT_BYTES];
	int r = vm_usable(vm, err);

	guid_format(id, text);
	if (r == 0 && !row)
		r = err_set(err, -RP_ENOPOINT, "there is no point %s", text);
	if (r == 0)
		r = vm_commit(vm, put_vouched, row, NULL, err);
	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&vm->model);
	row->consistency = CONSISTENCY_APPLICATION;
	(void)pthread_mutex_unlock(&vm->model);
	return 0;
}

int vm_point_vouch(struct vm *vm, const struct guid *id, struct err *err)
{
	int r;

	(void)pthread_mutex_lock(&vm->control);
	r = vouch_locked(vm, id, err);
	(void)pthread_mutex_unlock(&vm->control);
	return r;
}
