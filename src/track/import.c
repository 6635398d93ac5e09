/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Points of another host: docs/format/log-export.md says which of them mean
 * anything here, and why.
 *
 *  I1  A point is valid only as the point of a cut that is made here, at an
 *      instant at which the disks are as they were at it: it is the last one,
 *      and its row is the seal's (seal.c).  What changed since it is what was
 *      written after that cut, P1.
 *  I2  Every other one says why it is invalid, in its own row, and is never
 *      asked for generations: nothing of what they are keeps those, and
 *      nothing of others' answers gets worse.
 *  I3  All of them come in one commit, or none.  A log-based one has no data.
 *  I4  So none comes while a log is open: that is the newest log-based point's,
 *      and would be nobody's behind one without data.
 *  I5  What is there already is never changed: a second import of successive
 *      exports brings only what is new.
 */
#include <string.h>

#include "track/internal.h"

static const char lost_reason[] = "it was imported";

/* ---- what a seal does for it ------------------------------------------ */

/* Room first, so that nothing can fail after the commit. */
int import_reserve(struct vm *vm, const struct import *import, struct err *err)
{
	uint32_t points = vm->point_count, lost = vm->log_lost_count;
	int r = 0;

	(void)pthread_mutex_lock(&vm->model);
	for (uint32_t i = 0; r == 0 && i < import->n; i++) {
		r = model_grow((void **)&vm->points, points + i,
			       &vm->point_room, sizeof(*vm->points));
		if (r == 0)
			r = model_grow((void **)&vm->log_lost, lost + i,
				       &vm->log_lost_room,
				       sizeof(*vm->log_lost));
	}
	(void)pthread_mutex_unlock(&vm->model);
	return r ? err_set(err, r, "import points") : 0;
}

void import_plan(const struct import *import, uint64_t generation,
		 struct system_row *system, struct point_row *ret_point)
{
	for (uint32_t i = 0; i < import->n; i++) {
		import->rows[i].generation = generation;
		import->rows[i].order = system->next_point++;
	}
	*ret_point = import->rows[import->n - 1];
}

int import_put(struct vm *vm, const struct import *import, struct err *err)
{
	struct log_lost_row lost;
	int r = 0;

	(void)strcpy(lost.reason, lost_reason);
	for (uint32_t i = 0; r == 0 && i < import->n; i++) {
		const struct point_row *row = &import->rows[i];

		if (i + 1 < import->n || !import->sealed)
			r = catalogue_put_point(vm->catalogue, row, err);
		lost.point = row->id;
		if (r == 0 && row->type == POINT_LOG)
			r = catalogue_put_log_lost(vm->catalogue, &lost, err);
	}
	return r;
}

void import_publish(struct vm *vm, const struct import *import)
{
	struct log_lost_row lost;

	(void)strcpy(lost.reason, lost_reason);
	for (uint32_t i = 0; i < import->n; i++) {
		(void)model_add_point(vm, &import->rows[i]);
		lost.point = import->rows[i].id;
		if (import->rows[i].type == POINT_LOG)
			vm->log_lost[vm->log_lost_count++] = lost;
	}
}

/* ---- without a seal --------------------------------------------------- */

struct importing {
	const struct import *import;
	struct system_row system;
};

static int put_all(struct vm *vm, void *arg, struct err *err)
{
	struct importing *importing = arg;
	int r = import_put(vm, importing->import, err);

	return r ? r
		 : catalogue_put_system(vm->catalogue, &importing->system, err);
}

static int commit_invalid(struct vm *vm, const struct import *import,
			  struct err *err)
{
	struct importing importing = {import, vm->system};
	struct point_row last;
	int r = vm_usable(vm, err);

	if (r == 0)
		r = import_reserve(vm, import, err);
	if (r < 0)
		return r;
	import_plan(import, vm->system.open_generation - 1, &importing.system,
		    &last);
	r = vm_commit(vm, put_all, &importing, NULL, err);
	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&vm->model);
	vm->system.next_point = importing.system.next_point;
	import_publish(vm, import);
	vm->serial++;
	(void)pthread_mutex_unlock(&vm->model);
	return 0;
}

/* ---- the contract ----------------------------------------------------- */

static int check_disks(const struct vm *vm, const struct point_row *row,
		       bool last, struct err *err)
{
	if (row->disks != vm->disk_count)
		return err_set(err, -RP_EPARAM,
			       "the points are of more or fewer disks than "
			       "there are");
	for (uint32_t i = 0; last && i < row->disks; i++)
		if (row->bytes[i] != vm->disks[i].bytes)
			return err_set(
			    err, -RP_EPARAM,
			    "disk '%s' had another size at the point",
			    vm->disks[i].id);
	return 0;
}

/* Is a point of that id there?  A snapshot's row counts, too. */
static bool is_there(const struct vm *vm, const struct guid *id)
{
	for (uint32_t i = 0; i < vm->point_count; i++)
		if (guid_equal(&vm->points[i].id, id))
			return true;
	return false;
}

/* I5: the exported point is new, older ones that are there stay as they are. */
static int leave_out(const struct vm *vm, struct point_row *rows, uint32_t *n,
		     struct err *err)
{
	uint32_t kept = 0;

	if (is_there(vm, &rows[*n - 1].id))
		return err_set(err, -RP_EALREADY,
			       "the exported point is there already");
	for (uint32_t i = 0; i < *n; i++) {
		if (is_there(vm, &rows[i].id))
			continue;
		if (kept != i)
			rows[kept] = rows[i];
		kept++;
	}
	*n = kept;
	return 0;
}

static bool shares_tracking(const struct point_row *a,
			    const struct point_row *b)
{
	for (uint32_t i = 0; i < a->disks && i < b->disks; i++)
		if (strcmp(a->tracking_id[i], b->tracking_id[i]) == 0)
			return true;
	return false;
}

/* A tracking id means one point, of those there and of those that come. */
static int check_tracking(const struct vm *vm, const struct point_row *rows,
			  uint32_t i, struct err *err)
{
	bool shared = false;

	for (uint32_t k = 0; k < vm->point_count && !shared; k++)
		shared = shares_tracking(&vm->points[k], &rows[i]);
	for (uint32_t k = 0; k < i && !shared; k++)
		shared = shares_tracking(&rows[k], &rows[i]);
	return shared ? err_set(err, -RP_EALREADY,
				"a tracking id of a point to be imported is "
				"another point's")
		      : 0;
}

/* I4 */
static int check_logs(const struct vm *vm, struct err *err)
{
	const struct guid *open = log_rows_open(vm);
	char text[GUID_TEXT_BYTES];

	if (!open)
		return 0;
	guid_format(open, text);
	return err_set(err, -RP_ESTATE,
		       "a log is open since point %s: drop it first (refpoint "
		       "drop-log), or import into another VM",
		       text);
}

static int admit(const struct vm *vm, struct point_row *rows, uint32_t *n,
		 struct err *err)
{
	int r = check_logs(vm, err);

	for (uint32_t i = 0; r == 0 && i < *n; i++)
		r = check_disks(vm, &rows[i], i + 1 == *n, err);
	if (r == 0)
		r = leave_out(vm, rows, n, err);
	for (uint32_t i = 0; r == 0 && i < *n; i++)
		r = check_tracking(vm, rows, i, err);
	if (r == 0 && model_count(vm, false) + *n > vm->system.points_max)
		r = err_set(err, -RP_ELIMIT,
			    "there are %u points already, and %u is the limit: "
			    "destroy some first",
			    model_count(vm, false), vm->system.points_max);
	return r;
}

static int import_locked(struct vm *vm, struct point_row *rows, uint32_t *n,
			 struct err *err)
{
	struct import import = {rows, 0, false};
	struct vm_point_request request = {.type = POINT_RCT,
					   .consistency = CONSISTENCY_CRASH,
					   .import = &import};
	struct point_row point;
	int r = admit(vm, rows, n, err);

	for (uint32_t i = 0; r == 0 && i < *n; i++) {
		rows[i].snapshot = false;
		rows[i].request_id[0] = '\0';
		if (!rows[i].invalid[0] && i + 1 < *n)
			r = err_set(err, -RP_EPARAM,
				    "only the last point can be valid");
	}
	if (r < 0)
		return r;
	import.n = *n;
	import.sealed = !rows[*n - 1].invalid[0];
	request.id = rows[*n - 1].id;
	return import.sealed ? seal_create(vm, &request, &point, err)
			     : commit_invalid(vm, &import, err);
}

int vm_import_admit(struct vm *vm, struct point_row *rows, uint32_t *n,
		    struct err *err)
{
	int r;

	(void)pthread_mutex_lock(&vm->control);
	r = admit(vm, rows, n, err);
	(void)pthread_mutex_unlock(&vm->control);
	return r;
}

int vm_import(struct vm *vm, struct point_row *rows, uint32_t *n,
	      struct err *err)
{
	int r;

	(void)pthread_mutex_lock(&vm->control);
	r = import_locked(vm, rows, n, err);
	(void)pthread_mutex_unlock(&vm->control);
	return r;
}
