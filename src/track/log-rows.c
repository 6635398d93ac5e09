/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the catalogue says of logs: which parts are whose data, which points
 * have lost theirs, and what all logs may take.  Their files are others'.
 *
 *  W1  A log-based point has parts, or it has given up its data and has none.
 *  W2  The parts are in order of position, and so are their points: whatever a
 *      part of an older point holds was written before.
 *  W3  A position is taken from system.next_point, which only grows, as points'
 *      order is: no two of all these are equal, and none comes again when its
 *      row is gone.  The part that begins at a point has the point's own.
 *  W4  Each change is one commit, with that of the points where it is one of
 *      theirs as well; the model follows a commit that succeeded.  After one
 *      whose outcome is not known nobody is answered (vm_usable()).
 *
 *  W5  A point has its data only if they reach to the next log-based point, or
 *      to now: when a point goes whose data are lost, the one before it has
 *      lost its own.
 *
 * The files of a part are made before the commit that names it, and go after
 * the one that forgets it: a death in between leaves files that no row names.
 *
 * Rows are changed under `control` and `model`, and read under either.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "track/internal.h"

/* ---- the rules -------------------------------------------------------- */

static bool is_log_based(const struct point_row *row)
{
	return row->type == POINT_LOG && !row->snapshot;
}

static const struct point_row *log_point(const struct vm *vm,
					 const struct guid *id)
{
	for (uint32_t i = 0; i < vm->point_count; i++)
		if (is_log_based(&vm->points[i]) &&
		    guid_equal(&vm->points[i].id, id))
			return &vm->points[i];
	return NULL;
}

/* Why POINT has no data any more; NULL: it has not given it up. */
static const struct log_lost_row *given_up(const struct vm *vm,
					   const struct guid *point)
{
	for (uint32_t i = 0; i < vm->log_lost_count; i++)
		if (guid_equal(&vm->log_lost[i].point, point))
			return &vm->log_lost[i];
	return NULL;
}

static uint32_t count_parts(const struct vm *vm, const struct guid *point)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < vm->log_part_count; i++)
		n += guid_equal(&vm->log_parts[i].point, point);
	return n;
}

/* Whose POINT's parts are when it is destroyed: the log-based point's before
 * it, unless that one has given up its data; NULL: nobody's. */
static const struct guid *heir(const struct vm *vm, const struct guid *point)
{
	const struct guid *older = NULL;

	for (uint32_t i = 0; i < vm->point_count; i++) {
		if (guid_equal(&vm->points[i].id, point))
			break;
		if (is_log_based(&vm->points[i]))
			older = &vm->points[i].id;
	}
	return older && !given_up(vm, older) ? older : NULL;
}

const struct guid *log_rows_open(const struct vm *vm)
{
	for (uint32_t i = vm->point_count; i-- > 0;) {
		const struct guid *id = &vm->points[i].id;

		if (is_log_based(&vm->points[i]))
			return given_up(vm, id) ? NULL : id;
	}
	return NULL;
}

static int contradiction(const struct guid *id, const char *what,
			 struct err *err)
{
	char text[GUID_TEXT_BYTES];

	guid_format(id, text);
	return err_set(err, -RP_ECORRUPT, "the catalogue's logs: %s %s", what,
		       text);
}

static int verify_parts(const struct vm *vm, struct err *err)
{
	uint64_t order = 0;

	for (uint32_t i = 0; i < vm->log_part_count; i++) {
		const struct log_part_row *part = &vm->log_parts[i];
		const struct point_row *point = log_point(vm, &part->point);

		if (!point)
			return contradiction(&part->origin,
					     "no log-based point has part",
					     err);
		if (part->position >= vm->system.next_point)
			return contradiction(
			    &part->origin,
			    "no position was given out yet for part", err);
		if (point->order < order)
			return contradiction(
			    &part->origin,
			    "a newer point's part comes before part", err);
		order = point->order;
	}
	return 0;
}

int log_rows_verify(const struct vm *vm, struct err *err)
{
	int r = verify_parts(vm, err);

	if (r < 0)
		return r;
	for (uint32_t i = 0; i < vm->log_lost_count; i++)
		if (!log_point(vm, &vm->log_lost[i].point))
			return contradiction(&vm->log_lost[i].point,
					     "what lost its data is no "
					     "log-based point:",
					     err);
	for (uint32_t i = 0; i < vm->point_count; i++) {
		const struct guid *id = &vm->points[i].id;

		if (vm->points[i].type != POINT_LOG)
			continue;
		if (vm->points[i].snapshot)
			return contradiction(id, "log-based is snapshot", err);
		if (!given_up(vm, id) == !count_parts(vm, id)) /* W1 */
			return contradiction(id,
					     given_up(vm, id)
						 ? "they are there and lost, "
						   "of point"
						 : "they are neither there nor "
						   "lost, of point",
					     err);
	}
	return 0;
}

/* ---- the model -------------------------------------------------------- */

static void add_part(struct vm *vm, const struct log_part_row *row)
{
	assert(vm->log_part_count < LOG_PARTS_MAX);
	vm->log_parts[vm->log_part_count++] = *row;
}

static void drop_part(struct vm *vm, uint32_t i)
{
	vm->log_part_count--;
	memmove(&vm->log_parts[i], &vm->log_parts[i + 1],
		(vm->log_part_count - i) * sizeof(*vm->log_parts));
}

static void drop_parts(struct vm *vm, const struct guid *point)
{
	for (uint32_t i = vm->log_part_count; i-- > 0;)
		if (guid_equal(&vm->log_parts[i].point, point))
			drop_part(vm, i);
}

static struct log_part_row *find_part(const struct vm *vm,
				      const struct guid *origin)
{
	for (uint32_t i = 0; i < vm->log_part_count; i++)
		if (guid_equal(&vm->log_parts[i].origin, origin))
			return &vm->log_parts[i];
	return NULL;
}

/* Room first, so that nothing can fail after the commit. */
static int reserve_lost(struct vm *vm, struct err *err)
{
	int r;

	(void)pthread_mutex_lock(&vm->model);
	r = model_grow((void **)&vm->log_lost, vm->log_lost_count,
		       &vm->log_lost_room, sizeof(*vm->log_lost));
	(void)pthread_mutex_unlock(&vm->model);
	return r ? err_set(err, r, "give up a log") : 0;
}

int log_rows_read_part(void *arg, const struct log_part_row *row)
{
	add_part(arg, row); /* the catalogue has counted them */
	return 0;
}

int log_rows_read_lost(void *arg, const struct log_lost_row *row)
{
	struct vm *vm = arg;
	int r = model_grow((void **)&vm->log_lost, vm->log_lost_count,
			   &vm->log_lost_room, sizeof(*row));

	if (r == 0)
		vm->log_lost[vm->log_lost_count++] = *row;
	return r;
}

void log_rows_read_limit(void *arg, uint64_t bytes)
{
	((struct vm *)arg)->log_limit = bytes;
}

/* ---- with a point's own changes --------------------------------------- */

static int put_lose(struct vm *vm, void *arg, struct err *err)
{
	const struct log_lost_row *lost = arg;
	int r = catalogue_put_log_lost(vm->catalogue, lost, err);

	for (uint32_t i = 0; r == 0 && i < vm->log_part_count; i++)
		if (guid_equal(&vm->log_parts[i].point, &lost->point))
			r = catalogue_drop_log_part(vm->catalogue,
						    &vm->log_parts[i].origin,
						    err);
	return r;
}

/* W5: what HEIR is left with when a point after it goes that was LOST. */
static struct log_lost_row inherited(const struct guid *heir,
				     const struct log_lost_row *lost)
{
	struct log_lost_row row = *lost;

	row.point = *heir;
	return row;
}

int log_rows_put_destroy(struct vm *vm, const struct guid *point,
			 struct err *err)
{
	const struct guid *to = heir(vm, point);
	const struct log_lost_row *lost = given_up(vm, point);
	int r = catalogue_drop_log_lost(vm->catalogue, point, err);

	if (r == 0 && lost && to) {
		struct log_lost_row row = inherited(to, lost);

		r = put_lose(vm, &row, err);
	}
	for (uint32_t i = 0; r == 0 && i < vm->log_part_count; i++) {
		struct log_part_row row = vm->log_parts[i];

		if (!guid_equal(&row.point, point))
			continue;
		if (to) {
			row.point = *to;
			r = catalogue_put_log_part(vm->catalogue, &row, err);
		} else {
			r = catalogue_drop_log_part(vm->catalogue, &row.origin,
						    err);
		}
	}
	return r;
}

void log_rows_destroyed(struct vm *vm, const struct guid *point)
{
	const struct guid *to = heir(vm, point);

	for (uint32_t i = 0; to && i < vm->log_part_count; i++)
		if (guid_equal(&vm->log_parts[i].point, point))
			vm->log_parts[i].point = *to;
	drop_parts(vm, point);
	for (uint32_t i = 0; i < vm->log_lost_count; i++) {
		if (!guid_equal(&vm->log_lost[i].point, point))
			continue;
		if (to) {
			drop_parts(vm, to);
			vm->log_lost[i] = inherited(to, &vm->log_lost[i]);
		} else {
			vm->log_lost[i] = vm->log_lost[--vm->log_lost_count];
		}
		break;
	}
}

/* The part that begins at POINT. */
static struct log_part_row own_part(const struct point_row *point)
{
	return (struct log_part_row){point->id, point->id, point->order};
}

int log_rows_admit_seal(const struct vm *vm,
			const struct vm_point_request *request, struct err *err)
{
	const struct log_part_row *part = find_part(vm, &request->id);

	if (request->type != POINT_LOG)
		return 0;
	if (request->snapshot)
		return err_set(err, -RP_EPARAM,
			       "a snapshot cannot become a log-based point");
	if (part && count_parts(vm, &part->point) == 1) /* W1 */
		return err_set(err, -RP_ESTATE,
			       "no point: an older one's data would be gone");
	if (!part && vm->log_part_count == LOG_PARTS_MAX)
		return err_set(err, -RP_ELIMIT,
			       "there are %u logs of each disk already, which "
			       "is the limit; destroy a point first",
			       LOG_PARTS_MAX);
	return 0;
}

int log_rows_put_seal(struct vm *vm, const struct point_row *point,
		      struct err *err)
{
	struct log_part_row row = own_part(point);

	if (point->type != POINT_LOG)
		return 0;
	return catalogue_put_log_part(vm->catalogue, &row, err);
}

void log_rows_sealed(struct vm *vm, const struct point_row *point)
{
	struct log_part_row row = own_part(point);
	struct log_part_row *old = find_part(vm, &row.origin);

	if (point->type != POINT_LOG)
		return;
	if (old)
		drop_part(vm, (uint32_t)(old - vm->log_parts));
	add_part(vm, &row); /* W3: the newest */
}

/* ---- a further part --------------------------------------------------- */

struct adding {
	struct log_part_row row;
	struct system_row system;
};

static int put_add(struct vm *vm, void *arg, struct err *err)
{
	struct adding *adding = arg;
	int r = catalogue_put_log_part(vm->catalogue, &adding->row, err);

	return r ? r
		 : catalogue_put_system(vm->catalogue, &adding->system, err);
}

static int no_point(const struct guid *id, struct err *err)
{
	char text[GUID_TEXT_BYTES];

	guid_format(id, text);
	return err_set(err, -RP_ENOPOINT, "there is no log-based point %s",
		       text);
}

static int admit_add(const struct vm *vm, const struct guid *origin,
		     const struct guid *point, struct err *err)
{
	const struct point_row *row = log_point(vm, point);
	int r = vm_usable(vm, err);

	if (r < 0)
		return r;
	if (!row)
		return no_point(point, err);
	if (given_up(vm, point))
		return err_set(err, -RP_ESTATE, "the point's data is gone");
	for (uint32_t i = 0; i < vm->log_part_count; i++) /* W2 */
		if (log_point(vm, &vm->log_parts[i].point)->order > row->order)
			return err_set(err, -RP_ESTATE,
				       "a newer point has data already");
	if (find_part(vm, origin))
		return err_set(err, -RP_EALREADY, "the log is there already");
	if (vm->log_part_count == LOG_PARTS_MAX)
		return err_set(err, -RP_ELIMIT,
			       "there are %u logs of each disk already, which "
			       "is the limit; destroy a point first",
			       LOG_PARTS_MAX);
	return 0;
}

static int add_locked(struct vm *vm, const struct guid *origin,
		      const struct guid *point, struct err *err)
{
	struct adding adding = {.row = {*origin, *point, 0},
				.system = vm->system};
	int r = admit_add(vm, origin, point, err);

	adding.row.position = adding.system.next_point++;
	if (r == 0)
		r = vm_commit(vm, put_add, &adding, NULL, err);
	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&vm->model);
	vm->system.next_point = adding.system.next_point;
	add_part(vm, &adding.row);
	(void)pthread_mutex_unlock(&vm->model);
	return 0;
}

int vm_log_add(struct vm *vm, const struct guid *origin,
	       const struct guid *point, struct err *err)
{
	int r;

	(void)pthread_mutex_lock(&vm->control);
	r = add_locked(vm, origin, point, err);
	(void)pthread_mutex_unlock(&vm->control);
	return r;
}

/* ---- one part less ---------------------------------------------------- */

static int put_forget(struct vm *vm, void *arg, struct err *err)
{
	return catalogue_drop_log_part(vm->catalogue, arg, err);
}

static int forget_locked(struct vm *vm, const struct guid *origin,
			 struct err *err)
{
	struct guid id = *origin;
	struct log_part_row *part = find_part(vm, origin);
	int r = vm_usable(vm, err);

	if (r < 0 || !part)
		return r;
	assert(count_parts(vm, &part->point) > 1); /* W1 */
	r = vm_commit(vm, put_forget, &id, NULL, err);
	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&vm->model);
	drop_part(vm, (uint32_t)(part - vm->log_parts));
	(void)pthread_mutex_unlock(&vm->model);
	return 0;
}

int vm_log_forget(struct vm *vm, const struct guid *origin, struct err *err)
{
	int r;

	(void)pthread_mutex_lock(&vm->control);
	r = forget_locked(vm, origin, err);
	(void)pthread_mutex_unlock(&vm->control);
	return r;
}

/* ---- a point without data ---------------------------------------------- */

static int lose_locked(struct vm *vm, const struct guid *point,
		       const char *reason, struct err *err)
{
	struct log_lost_row row = {.point = *point};
	int r = vm_usable(vm, err);

	if (r < 0)
		return r;
	if (!log_point(vm, point))
		return no_point(point, err);
	if (given_up(vm, point))
		return 0;
	(void)snprintf(row.reason, sizeof(row.reason), "%s", reason);
	r = reserve_lost(vm, err);
	if (r == 0)
		r = vm_commit(vm, put_lose, &row, NULL, err);
	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&vm->model);
	drop_parts(vm, &row.point);
	vm->log_lost[vm->log_lost_count++] = row;
	(void)pthread_mutex_unlock(&vm->model);
	return 0;
}

int vm_log_lose(struct vm *vm, const struct guid *point, const char *reason,
		struct err *err)
{
	int r;

	(void)pthread_mutex_lock(&vm->control);
	r = lose_locked(vm, point, reason, err);
	(void)pthread_mutex_unlock(&vm->control);
	return r;
}

/* ---- the limit -------------------------------------------------------- */

static int put_limit(struct vm *vm, void *arg, struct err *err)
{
	uint64_t bytes = *(const uint64_t *)arg;

	return bytes ? catalogue_put_log_limit(vm->catalogue, bytes, err)
		     : catalogue_drop_log_limit(vm->catalogue, err);
}

static int set_limit_locked(struct vm *vm, uint64_t bytes, struct err *err)
{
	int r = vm_usable(vm, err);

	if (r == 0)
		r = vm_commit(vm, put_limit, &bytes, NULL, err);
	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&vm->model);
	vm->log_limit = bytes;
	(void)pthread_mutex_unlock(&vm->model);
	return 0;
}

int vm_set_log_limit(struct vm *vm, uint64_t bytes, struct err *err)
{
	int r;

	if (bytes > INT64_MAX)
		return err_set(err, -RP_EPARAM,
			       "a limit of %llu bytes is beyond what can be "
			       "recorded",
			       (unsigned long long)bytes);
	(void)pthread_mutex_lock(&vm->control);
	r = set_limit_locked(vm, bytes, err);
	(void)pthread_mutex_unlock(&vm->control);
	return r;
}

/* ---- questions -------------------------------------------------------- */

uint64_t vm_log_limit(struct vm *vm)
{
	uint64_t bytes;

	(void)pthread_mutex_lock(&vm->model);
	bytes = vm->log_limit;
	(void)pthread_mutex_unlock(&vm->model);
	return bytes;
}

bool vm_log_lost(struct vm *vm, const struct guid *point,
		 char ret_reason[REASON_BYTES])
{
	const struct log_lost_row *lost;

	(void)pthread_mutex_lock(&vm->model);
	lost = given_up(vm, point);
	if (lost)
		memcpy(ret_reason, lost->reason, REASON_BYTES);
	(void)pthread_mutex_unlock(&vm->model);
	return lost != NULL;
}

int vm_log_parts(struct vm *vm,
		 int (*fn)(void *arg, const struct log_part_row *row),
		 void *arg, struct err *err)
{
	struct log_part_row *copy = NULL;
	uint32_t n;
	int r;

	(void)pthread_mutex_lock(&vm->model);
	r = vm_usable(vm, err);
	n = vm->log_part_count;
	if (r == 0)
		copy = malloc((n + 1) * sizeof(*copy));
	if (copy)
		memcpy(copy, vm->log_parts, n * sizeof(*copy));
	(void)pthread_mutex_unlock(&vm->model);
	if (r == 0 && !copy)
		r = err_set(err, -ENOMEM, "logs");
	for (uint32_t i = 0; r == 0 && i < n; i++) {
		r = fn(arg, &copy[i]);
		if (r < 0)
			err_set(err, r, "logs");
	}
	free(copy);
	return r;
}
