/* SPDX-License-Identifier: Apache-2.0 */
/* Chains of closed logs, to be read. */
#include <stdlib.h>
#include <string.h>

#include "hrl/hrl.h"
#include "log/logs-internal.h"
#include "store/preallocated.h"

struct span {
	const struct guid *base; /* or NULL */
	const struct guid *point;
	struct guid from;
	struct guid before; /* the log-based point seen last */
	bool any_before, has_base, has_point;
	struct guid *points; /* log-based, from the base up to the point */
	unsigned count;
};

static int note(void *arg, const struct point_row *row)
{
	struct span *s = arg;

	if (row->type != POINT_LOG)
		return 0;
	if (guid_equal(&row->id, s->point)) {
		s->has_point = true;
		return 1;
	}
	if (s->base && guid_equal(&row->id, s->base))
		s->has_base = true;
	if (!s->base)
		s->count = 0; /* the last one before alone */
	if (!s->base || s->has_base)
		s->points[s->count++] = row->id;
	s->any_before = true;
	return 0;
}

static int check_type(struct logs *logs, const struct guid *id,
		      const char *what, struct err *err)
{
	struct point_row *row = malloc(sizeof(*row));
	char text[GUID_TEXT_BYTES];
	int r = row ? vm_point_find(logs->vm, id, row, err)
		    : err_set(err, -ENOMEM, "logs");

	guid_format(id, text);
	if (r == 0 && row->type != POINT_LOG)
		r = err_set(err, -RP_EPARAM, "%s %s is not log-based", what,
			    text);
	free(row);
	return r;
}

/* The log-based points whose data are between. */
static int find_points(struct logs *logs, struct span *s, struct err *err)
{
	char text[GUID_TEXT_BYTES];
	int r = check_type(logs, s->point, "point", err);

	if (r == 0 && s->base)
		r = check_type(logs, s->base, "the base", err);
	if (r == 0)
		r = vm_points(logs->vm, note, s, err);
	if (r < 0)
		return r;
	guid_format(s->point, text);
	if (!s->base && s->count == 0)
		return err_set(err, -RP_EPARAM,
			       "there is no log-based point before %s", text);
	if (s->base && !s->has_base)
		return err_set(err, -RP_EPARAM,
			       "the base is not older than point %s", text);
	for (unsigned i = 0; i < s->count; i++) {
		char reason[REASON_BYTES];

		if (!vm_log_lost(logs->vm, &s->points[i], reason))
			continue;
		guid_format(&s->points[i], text);
		return err_set(err, -RP_ESTATE,
			       "point %s has no log any more: %s", text,
			       reason);
	}
	return 0;
}

struct collect {
	const struct span *span;
	struct logs_file *files;
	unsigned count;
};

static int collect(void *arg, const struct log_part_row *row)
{
	struct collect *c = arg;

	for (unsigned i = 0; i < c->span->count; i++)
		if (guid_equal(&c->span->points[i], &row->point) &&
		    c->count < LOG_PARTS_MAX)
			c->files[c->count++].origin = row->origin;
	return 0;
}

/* Whatever the rows say: who is given one is given a whole one. */
static int check_end(const struct log_files *files, struct err *err)
{
	uint8_t buf[HRL_HEADER_BYTES];
	struct hrl_header header;
	int r = file_read_all(files->data, buf, sizeof(buf), 0, err);

	if (r == 0)
		r = hrl_header_decode(buf, &header, err);
	if (r == 0 && header.end == 0)
		r = err_set(err, -RP_ECORRUPT, "'%s' was not closed",
			    files->data->name);
	return r;
}

/* Opens one, which must follow BEFORE. */
static int open_one(struct logs *logs, uint32_t disk, struct logs_file *file,
		    struct guid *before, struct err *err)
{
	const struct vm_env *env = vm_environment(logs->vm);
	struct log_files files;
	char text[GUID_TEXT_BYTES];
	int r = log_files_open(env->store, &vm_system(logs->vm)->store,
			       &file->origin, disk, &files, err);

	if (r < 0)
		return r;
	if (!guid_is_zero(before) &&
	    !guid_equal(&files.head.previous, before)) {
		log_files_close(&files);
		guid_format(&file->origin, text);
		return err_set(err, -RP_ESTATE,
			       "the log that begins at %s does not follow the "
			       "one before: a log between them is gone",
			       text);
	}
	r = check_end(&files, err);
	if (r < 0) {
		log_files_close(&files);
		return r;
	}
	*before = files.head.log;
	file->log = files.data;
	file->side = files.side;
	return 0;
}

struct again {
	const struct collect *before;
	unsigned count;
	bool same;
};

static int compare(void *arg, const struct log_part_row *row)
{
	struct again *again = arg;
	const struct collect *c = again->before;
	bool ours = false;

	for (unsigned i = 0; i < c->span->count; i++)
		ours |= guid_equal(&c->span->points[i], &row->point);
	if (!ours)
		return 0;
	again->same &= again->count < c->count &&
		       guid_equal(&c->files[again->count].origin, &row->origin);
	again->count++;
	return 0;
}

/* What was removed or destroyed meanwhile would be missing unseen. */
static int check_again(struct logs *logs, struct span *span,
		       const struct collect *before, struct err *err)
{
	struct again again = {.before = before, .same = true};
	int r;

	span->count = 0;
	span->has_base = span->has_point = span->any_before = false;
	r = find_points(logs, span, err);
	if (r == 0)
		r = vm_log_parts(logs->vm, compare, &again, err);
	if (r == 0 && (!again.same || again.count != before->count))
		r = err_set(err, -RP_ESTATE,
			    "logs were removed meanwhile; try again");
	return r;
}

static void close_files(struct logs_file *files, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		file_close(files[i].log);
		file_close(files[i].side);
	}
	free(files);
}

int logs_open_chain(struct logs *logs, uint32_t disk, const struct guid *base,
		    const struct guid *point, struct guid *ret_base,
		    struct logs_file **ret_files, unsigned *ret_count,
		    struct err *err)
{
	struct guid points[POINTS_PER_VM_MAX], before = {0};
	struct span span = {.base = base, .point = point, .points = points};
	struct collect c = {.span = &span};
	int r = find_points(logs, &span, err);

	if (r < 0)
		return r;
	c.files = calloc(LOG_PARTS_MAX, sizeof(*c.files));
	if (!c.files)
		return err_set(err, -ENOMEM, "logs");
	r = vm_log_parts(logs->vm, collect, &c, err);
	for (unsigned i = 0; r == 0 && i < c.count; i++)
		r = open_one(logs, disk, &c.files[i], &before, err);
	if (r == 0)
		r = check_again(logs, &span, &c, err);
	if (r < 0) {
		close_files(c.files, c.count);
		return r;
	}
	*ret_base = span.points[0];
	*ret_files = c.files;
	*ret_count = c.count;
	return 0;
}
