/* SPDX-License-Identifier: Apache-2.0 */
/* A virtual system's store: defining, opening, and its rows in memory. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/log.h"
#include "track/internal.h"

uint64_t track_monotonic_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* ---- the model --------------------------------------------------------------
 */

struct generation_row *model_open_generation(struct vm *vm)
{
	return &vm->generations[vm->generation_count - 1];
}

int model_grow(void **rows, uint32_t count, uint32_t *room, size_t size)
{
	uint32_t more = *room ? *room * 2 : 8;
	void *bigger;

	if (count < *room)
		return 0;
	bigger = realloc(*rows, more * size);
	if (!bigger)
		return -ENOMEM;
	*rows = bigger;
	*room = more;
	return 0;
}

int model_add_generation(struct vm *vm, const struct generation_row *row)
{
	int r = model_grow((void **)&vm->generations, vm->generation_count,
			   &vm->generation_room, sizeof(*row));

	if (r == 0)
		vm->generations[vm->generation_count++] = *row;
	return r;
}

int model_add_point(struct vm *vm, const struct point_row *row)
{
	int r = model_grow((void **)&vm->points, vm->point_count,
			   &vm->point_room, sizeof(*row));

	if (r == 0)
		vm->points[vm->point_count++] = *row;
	return r;
}

void model_drop_generation(struct vm *vm, uint64_t generation)
{
	for (uint32_t i = 0; i < vm->generation_count; i++) {
		if (vm->generations[i].generation != generation)
			continue;
		vm->generation_count--;
		memmove(&vm->generations[i], &vm->generations[i + 1],
			(vm->generation_count - i) * sizeof(*vm->generations));
		return;
	}
}

static void read_system(void *arg, const struct system_row *row)
{
	((struct vm *)arg)->system = *row;
}

static int read_disk(void *arg, const struct disk_row *row)
{
	struct vm *vm = arg;

	vm->disks[vm->disk_count++] = *row;
	return 0;
}

static int read_generation(void *arg, const struct generation_row *row)
{
	return model_add_generation(arg, row);
}

static int read_point(void *arg, const struct point_row *row)
{
	return model_add_point(arg, row);
}

/* What the rows must say together. */
static int model_verify(const struct vm *vm, struct err *err)
{
	const struct generation_row *open;

	if (vm->disk_count == 0 || vm->generation_count == 0)
		return err_set(err, -RP_ECORRUPT,
			       "the catalogue names no disk or no generation");
	open = &vm->generations[vm->generation_count - 1];
	if (open->sealed || open->generation != vm->system.open_generation ||
	    open->generation >= vm->system.next_generation)
		return err_set(err, -RP_ECORRUPT,
			       "the catalogue's open generation is not its "
			       "newest");
	for (uint32_t i = 0; i < vm->generation_count; i++)
		if (vm->generations[i].disks != vm->disk_count ||
		    (i + 1 < vm->generation_count &&
		     !vm->generations[i].sealed))
			return err_set(
			    err, -RP_ECORRUPT,
			    "generation %llu of the catalogue is not "
			    "as it should be",
			    (unsigned long long)vm->generations[i].generation);
	for (uint32_t i = 0; i < vm->point_count; i++)
		if (vm->points[i].disks != vm->disk_count ||
		    vm->points[i].generation >= open->generation)
			return err_set(err, -RP_ECORRUPT,
				       "a point of the catalogue has no "
				       "generation before it");
	return log_rows_verify(vm, err);
}

/* ---- define ----------------------------------------------------------- */

static int definition_check(const struct vm_definition *d, struct err *err)
{
	if (d->count == 0 || d->count > DISKS_PER_VM_MAX)
		return err_set(err, -RP_EPARAM,
			       "a virtual system has 1 to %u disks, not %u",
			       DISKS_PER_VM_MAX, d->count);
	if (d->hot_regions && (d->hot_regions < HOT_REGIONS_MIN ||
			       d->hot_regions > HOT_REGIONS_MAX))
		return err_set(err, -RP_EPARAM,
			       "hot regions are %u to %u for each disk, not %u",
			       HOT_REGIONS_MIN, HOT_REGIONS_MAX,
			       d->hot_regions);
	for (uint32_t i = 0; i < d->count; i++)
		if (d->disks[i].bytes == 0 ||
		    d->disks[i].bytes > DISK_BYTES_MAX ||
		    d->disks[i].bytes % SECTOR_BYTES)
			return err_set(err, -RP_EPARAM,
				       "disk '%s' has %llu bytes: a size is a "
				       "multiple of 512 up to 64 TiB",
				       d->disks[i].id,
				       (unsigned long long)d->disks[i].bytes);
	return 0;
}

static int define_files(struct fs *fs, const struct vm_definition *d,
			struct err *err)
{
	int r = intents_create(fs, err);

	if (r == 0)
		r = tombstone_create(fs, err);
	for (uint32_t i = 0; r == 0 && i < d->count; i++)
		r = pages_create(fs, i, d->disks[i].bytes, err);
	return r ? r : fs->ops->sync_dir(fs, err);
}

static int define_rows(struct catalogue *c, const struct vm_env *env,
		       const struct vm_definition *d, struct err *err)
{
	struct system_row system = {
	    .store = guid_random(),
	    .uuid = d->uuid,
	    .machine = env->machine,
	    .force_raw = d->force_raw,
	    .owned = d->owned,
	    .hot_regions =
		d->hot_regions ? d->hot_regions : HOT_REGIONS_DEFAULT,
	    .points_max = d->points_max ? d->points_max : POINTS_PER_VM_MAX,
	    .open_generation = 1,
	    .next_generation = 2,
	    .next_point = 1,
	};
	struct generation_row *generation = calloc(1, sizeof(*generation));
	bool unknown;
	int r;

	if (!generation)
		return err_set(err, -ENOMEM, "define");
	(void)snprintf(system.agent, sizeof(system.agent), "%s",
		       d->agent ? d->agent : "");
	system.hot_regions =
	    MIN(system.hot_regions, INTENT_ENTRIES_MAX / d->count);
	generation->generation = 1;
	generation->disks = d->count;
	r = catalogue_begin(c, err);
	if (r == 0)
		r = catalogue_put_system(c, &system, err);
	if (r == 0)
		r = catalogue_put_generation(c, generation, err);
	for (uint32_t i = 0; r == 0 && i < d->count; i++) {
		struct disk_row row = {.ordinal = i,
				       .bytes = d->disks[i].bytes};

		memcpy(row.id, d->disks[i].id, sizeof(row.id));
		memcpy(row.path, d->disks[i].path, sizeof(row.path));
		r = catalogue_put_disk(c, &row, err);
	}
	if (r == 0)
		r = catalogue_commit(c, &unknown, err);
	free(generation);
	return r;
}

/* A creation that was cut short left files but no definition. */
static int define_clear(struct fs *fs, struct err *err)
{
	static const char *const names[] = {CATALOGUE_NAME,
					    CATALOGUE_NAME "-wal"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		int r = fs->ops->unlink(fs, names[i], err);

		if (r < 0 && r != -ENOENT)
			return r;
	}
	return fs->ops->sync_dir(fs, err);
}

int vm_define(const struct vm_env *env, const struct vm_definition *definition,
	      struct err *err)
{
	struct catalogue *c;
	struct vm *vm;
	int r = definition_check(definition, err);

	if (r < 0)
		return r;
	r = vm_open(env, &vm, err);
	if (r == 0) {
		vm_close(vm);
		return err_set(err, -RP_EALREADY,
			       "the store holds a definition already");
	}
	if (r != -ENOENT)
		return r;
	r = define_clear(env->store, err);
	if (r == 0)
		r = define_files(env->store, definition, err);
	if (r == 0)
		r = catalogue_create(env->store, &c, err);
	if (r < 0)
		return r;
	r = define_rows(c, env, definition, err);
	catalogue_close(c);
	return r;
}

/* ---- open and close --------------------------------------------------- */

static int vm_load(struct vm *vm, struct err *err)
{
	static const struct catalogue_reader reader = {
	    .system = read_system,
	    .disk = read_disk,
	    .generation = read_generation,
	    .point = read_point,
	    .log_part = log_rows_read_part,
	    .log_lost = log_rows_read_lost,
	    .log_limit = log_rows_read_limit,
	};
	int r = catalogue_open(vm->env.store, &vm->catalogue, err);

	if (r == 0)
		r = catalogue_read(vm->catalogue, &reader, vm, err);
	if (r == 0)
		r = model_verify(vm, err);
	if (r == 0 && !guid_equal(&vm->system.machine, &vm->env.machine))
		r = err_set(err, -RP_EFOREIGN,
			    "the store was made on another host; undefine it "
			    "there, or define the virtual system anew here");
	return r;
}

static void locks_init(struct vm *vm)
{
	pthread_condattr_t attr;

	(void)pthread_mutex_init(&vm->control, NULL);
	(void)pthread_mutex_init(&vm->keeping, NULL);
	(void)pthread_mutex_init(&vm->paging, NULL);
	(void)pthread_rwlock_init(&vm->maps, NULL);
	(void)pthread_mutex_init(&vm->model, NULL);
	(void)pthread_mutex_init(&vm->wake, NULL);
	(void)pthread_condattr_init(&attr);
	(void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	(void)pthread_cond_init(&vm->woken, &attr);
	(void)pthread_cond_init(&vm->keeper_woken, &attr);
	(void)pthread_cond_init(&vm->retire_woken, &attr);
	(void)pthread_condattr_destroy(&attr);
}

int vm_open(const struct vm_env *env, struct vm **ret_vm, struct err *err)
{
	struct vm *vm = calloc(1, sizeof(*vm));
	int r;

	if (!vm)
		return err_set(err, -ENOMEM, "open the store");
	vm->env = *env;
	locks_init(vm);
	vm->disks = calloc(DISKS_PER_VM_MAX, sizeof(*vm->disks));
	vm->log_parts = calloc(LOG_PARTS_MAX, sizeof(*vm->log_parts));
	if (!vm->disks || !vm->log_parts) {
		vm_close(vm);
		return err_set(err, -ENOMEM, "open the store");
	}
	r = vm_load(vm, err);
	if (r == 0)
		r = generations_sweep(vm, err);
	if (r < 0) {
		vm_close(vm);
		return r;
	}
	*ret_vm = vm;
	return 0;
}

struct vm *vm_close(struct vm *vm)
{
	if (!vm)
		return NULL;
	catalogue_close(vm->catalogue);
	free(vm->disks);
	free(vm->generations);
	free(vm->points);
	free(vm->log_parts);
	free(vm->log_lost);
	(void)pthread_cond_destroy(&vm->retire_woken);
	(void)pthread_cond_destroy(&vm->keeper_woken);
	(void)pthread_cond_destroy(&vm->woken);
	(void)pthread_mutex_destroy(&vm->wake);
	(void)pthread_mutex_destroy(&vm->model);
	(void)pthread_rwlock_destroy(&vm->maps);
	(void)pthread_mutex_destroy(&vm->paging);
	(void)pthread_mutex_destroy(&vm->keeping);
	(void)pthread_mutex_destroy(&vm->control);
	free(vm);
	return NULL;
}

/* Reads the catalogue again from the start, after a commit whose outcome is
 * not known. */
int vm_reload(struct vm *vm, struct err *err)
{
	int r;

	vm->catalogue = catalogue_close(vm->catalogue);
	(void)pthread_mutex_lock(&vm->model);
	vm->disk_count = vm->generation_count = vm->point_count = 0;
	vm->log_part_count = vm->log_lost_count = 0;
	vm->log_limit = 0;
	vm->serial++;
	r = vm_load(vm, err);
	(void)pthread_mutex_unlock(&vm->model);
	if (r == 0) {
		vm->broken = false;
		r = generations_sweep(vm, err);
	}
	return r;
}

int vm_usable(const struct vm *vm, struct err *err)
{
	if (vm->broken)
		return err_set(
		    err, -RP_ELATCHED,
		    "the store failed while it was written; stop and "
		    "serve the virtual system again");
	return 0;
}

int vm_commit(struct vm *vm,
	      int (*put)(struct vm *vm, void *arg, struct err *err), void *arg,
	      bool *ret_unknown, struct err *err)
{
	bool unknown = false;
	int r = catalogue_begin(vm->catalogue, err);

	if (r == 0)
		r = put(vm, arg, err);
	if (r == 0) {
		r = catalogue_commit(vm->catalogue, &unknown, err);
	} else {
		catalogue_cancel(vm->catalogue);
	}
	if (unknown) {
		/* Neither answer may be believed before the catalogue has been
		 * read again from the start. */
		vm->broken = true;
		if (vm->attached)
			latch_begin(vm, err->text);
	}
	if (ret_unknown)
		*ret_unknown = unknown;
	return r;
}

/* ---- small questions -------------------------------------------------- */

const struct vm_env *vm_environment(const struct vm *vm)
{
	return &vm->env;
}

const struct system_row *vm_system(const struct vm *vm)
{
	return &vm->system;
}

uint32_t vm_disk_count(const struct vm *vm)
{
	return vm->disk_count;
}

const struct disk_row *vm_disk(const struct vm *vm, uint32_t disk)
{
	return &vm->disks[disk];
}

int vm_disk_find(const struct vm *vm, const char *id, struct err *err)
{
	for (uint32_t i = 0; i < vm->disk_count; i++)
		if (strcmp(vm->disks[i].id, id) == 0)
			return (int)i;
	return err_set(err, -RP_ENODISK, "there is no disk '%s'", id);
}

bool vm_attached(const struct vm *vm)
{
	return vm->attached;
}

/* With the model's lock, or control. */
uint32_t model_count(const struct vm *vm, bool snapshots)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < vm->point_count; i++)
		n += vm->points[i].snapshot == snapshots;
	return n;
}

unsigned vm_point_count(struct vm *vm)
{
	unsigned n;

	(void)pthread_mutex_lock(&vm->model);
	n = model_count(vm, false);
	(void)pthread_mutex_unlock(&vm->model);
	return n;
}

uint64_t vm_changes_serial(struct vm *vm)
{
	uint64_t n;

	(void)pthread_mutex_lock(&vm->model);
	n = vm->serial;
	(void)pthread_mutex_unlock(&vm->model);
	return n;
}

static int each_row(struct vm *vm, bool snapshots,
		    int (*fn)(void *arg, const struct point_row *row),
		    void *arg, struct err *err)
{
	struct point_row *copy;
	uint32_t n;
	int r;

	(void)pthread_mutex_lock(&vm->model);
	r = vm_usable(vm, err);
	n = vm->point_count;
	copy = r == 0 ? malloc((n + 1) * sizeof(*copy)) : NULL;
	if (copy && n)
		memcpy(copy, vm->points, n * sizeof(*copy));
	(void)pthread_mutex_unlock(&vm->model);
	if (r == 0 && !copy)
		r = err_set(err, -ENOMEM, "points");
	for (uint32_t i = 0; r == 0 && i < n; i++) {
		if (copy[i].snapshot != snapshots)
			continue;
		r = fn(arg, &copy[i]);
		if (r < 0)
			err_set(err, r, "points");
	}
	free(copy);
	return r;
}

int vm_points(struct vm *vm, int (*fn)(void *arg, const struct point_row *row),
	      void *arg, struct err *err)
{
	return each_row(vm, false, fn, arg, err);
}

int vm_snapshots(struct vm *vm,
		 int (*fn)(void *arg, const struct point_row *row), void *arg,
		 struct err *err)
{
	return each_row(vm, true, fn, arg, err);
}

static int find_row(struct vm *vm, bool snapshot, const struct guid *id,
		    struct point_row *ret_row, struct err *err)
{
	char text[GUID_TEXT_BYTES];
	int r = -RP_ENOPOINT;

	(void)pthread_mutex_lock(&vm->model);
	for (uint32_t i = 0; r && i < vm->point_count; i++)
		if (vm->points[i].snapshot == snapshot &&
		    guid_equal(&vm->points[i].id, id)) {
			*ret_row = vm->points[i];
			r = 0;
		}
	(void)pthread_mutex_unlock(&vm->model);
	if (r == 0)
		return 0;
	guid_format(id, text);
	return err_set(err, r, "there is no %s %s",
		       snapshot ? "snapshot" : "point", text);
}

int vm_point_find(struct vm *vm, const struct guid *id,
		  struct point_row *ret_point, struct err *err)
{
	return find_row(vm, false, id, ret_point, err);
}

int vm_snapshot_find(struct vm *vm, const struct guid *id,
		     struct point_row *ret_row, struct err *err)
{
	return find_row(vm, true, id, ret_row, err);
}

void vm_cut_times(struct vm *vm, struct vm_cut_times *ret_times)
{
	(void)pthread_mutex_lock(&vm->model);
	*ret_times = vm->cut_times;
	(void)pthread_mutex_unlock(&vm->model);
}

void vm_counts(struct vm *vm, struct vm_counts *ret_counts)
{
	ret_counts->activations = atomic_load(&vm->counts.activations);
	ret_counts->intent_syncs = atomic_load(&vm->counts.intent_syncs);
	ret_counts->waited_writes = atomic_load(&vm->counts.waited_writes);
}
