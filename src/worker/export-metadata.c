/* SPDX-License-Identifier: Apache-2.0 */
/* The documents of an export of logs: what another host learns of the points
 * from (docs/format/log-export.md). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backup/metadata.h"
#include "worker/export-internal.h"

struct collecting {
	struct metadata *metadata;
	uint64_t from, to; /* order of the base, of the exported point */
	int result;
};

static int add_point(void *arg, const struct point_row *row)
{
	struct collecting *c = arg;
	struct metadata *m = c->metadata;
	struct point_row *points;

	if (row->order < c->from || row->order > c->to)
		return 0;
	points = reallocarray(m->points, m->n_points + 1, sizeof(*points));
	if (!points)
		return c->result = -ENOMEM;
	m->points = points;
	m->points[m->n_points++] = *row;
	return 0;
}

static int add_points(struct export *x, struct metadata *metadata,
		      struct err *err)
{
	struct collecting c = {.metadata = metadata, .to = x->row.order};
	struct point_row base;
	int r = vm_point_find(x->worker->vm, &x->request.base, &base, err);

	if (r < 0)
		return r;
	c.from = base.order;
	r = vm_points(x->worker->vm, add_point, &c, err);
	return c.result < 0 ? err_set(err, c.result, "export") : r;
}

static int add_logs(const struct export *x, unsigned i,
		    struct metadata_disk *disk, struct err *err)
{
	unsigned first = x->logs->first[i], end = x->logs->first[i + 1];

	disk->exported = true;
	disk->logs = calloc(end - first + 1, sizeof(*disk->logs));
	if (!disk->logs)
		return err_set(err, -ENOMEM, "export");
	for (unsigned k = first; k < end; k++) {
		const struct export_log *from = &x->logs->list[k];
		struct metadata_log *to = &disk->logs[disk->n_logs++];

		to->id = from->id;
		to->previous = from->previous;
		to->bytes = from->bytes;
		(void)snprintf(to->file, sizeof(to->file), "%s",
			       x->logs->names[2 * k]);
		(void)snprintf(to->sidecar, sizeof(to->sidecar), "%s",
			       x->logs->names[2 * k + 1]);
	}
	return 0;
}

static void add_disks(const struct export *x, struct metadata *metadata)
{
	struct vm *vm = x->worker->vm;

	metadata->n_disks = x->row.disks;
	for (uint32_t i = 0; i < metadata->n_disks; i++) {
		struct metadata_disk *disk = &metadata->disks[i];

		(void)strcpy(disk->id, vm_disk(vm, i)->id);
		disk->bytes = x->row.bytes[i];
	}
}

static int collect(struct export *x, struct metadata *metadata, struct err *err)
{
	int r;

	(void)strcpy(metadata->vm, x->worker->name);
	metadata->uuid = vm_system(x->worker->vm)->uuid;
	metadata->base = x->request.base;
	add_disks(x, metadata);
	r = add_points(x, metadata, err);
	for (unsigned i = 0; r == 0 && i < x->request.n; i++)
		r = add_logs(x, i, &metadata->disks[x->sources[i].ordinal],
			     err);
	return r;
}

int export_logs_describe(struct export *x, struct err *err)
{
	struct metadata *metadata = calloc(1, sizeof(*metadata));

	x->logs->metadata = metadata;
	return metadata ? collect(x, metadata, err)
			: err_set(err, -ENOMEM, "export");
}

int export_logs_document(struct export *x, struct err *err)
{
	struct metadata *metadata = x->logs->metadata;

	if (!metadata) /* it was only asked what there is */
		return 0;
	for (unsigned i = 0; i < x->request.n; i++) {
		struct metadata_disk *disk =
		    &metadata->disks[x->sources[i].ordinal];
		const uint8_t *hash = export_logs_hash(x, i);

		disk->hashed = hash;
		if (hash)
			memcpy(disk->hash, hash, sizeof(disk->hash));
	}
	return metadata_write(metadata, &x->logs->config, &x->logs->state, err);
}
