/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The documents of an export of logs: two texts with a NUL between them.
 *
 * Checked besides memory: a refusal says that they are none of ours; what is
 * read is within its bounds, and is read again as the same once it was written.
 */
#include <string.h>

#include "backup/metadata.h"
#include "fuzz.h"

static char *with_last_line(char *text)
{
	char *whole = NULL;

	CHECK(asprintf(&whole, "%s%s%064d%s", text, METADATA_MAC_HEAD, 0,
		       METADATA_MAC_TAIL) > 0);
	free(text);
	return whole;
}

static void check_bounds(const struct metadata *m)
{
	CHECK(m->n_disks > 0 && m->n_disks <= DISKS_PER_VM_MAX);
	CHECK(m->n_points > 1 && m->n_points <= POINTS_PER_VM_MAX);
	CHECK(m->points[m->n_points - 1].type == POINT_LOG);
	for (unsigned i = 0; i < m->n_points; i++) {
		const struct point_row *row = &m->points[i];

		CHECK(row->disks == m->n_disks && row->created_ns >= 0);
		CHECK(row->type == POINT_LOG || row->type == POINT_RCT);
		CHECK(!row->invalid[0] && !row->request_id[0]);
	}
	for (unsigned i = 0; i < m->n_disks; i++)
		for (unsigned k = 0; k < m->disks[i].n_logs; k++) {
			CHECK(!strchr(m->disks[i].logs[k].file, '/'));
			CHECK(!strchr(m->disks[i].logs[k].sidecar, '/'));
		}
}

static void check_again(const struct metadata *a)
{
	char *config, *state;
	struct metadata *b;

	if (metadata_write(a, &config, &state, NULL) < 0)
		return; /* ours has more white space */
	config = with_last_line(config);
	state = with_last_line(state);
	CHECK(metadata_read(config, state, &b, NULL) == 0);
	CHECK(a->n_disks == b->n_disks && strcmp(a->vm, b->vm) == 0);
	if (a->n_points == b->n_points)
		CHECK(memcmp(a->points, b->points,
			     a->n_points * sizeof(*a->points)) == 0);
	for (unsigned i = 0; i < a->n_disks; i++) {
		const struct metadata_disk *x = &a->disks[i];
		const struct metadata_disk *y = &b->disks[i];

		CHECK(x->n_logs == y->n_logs && x->hashed == y->hashed);
		CHECK(!x->n_logs || memcmp(x->logs, y->logs,
					   x->n_logs * sizeof(*x->logs)) == 0);
	}
	metadata_free(b);
	free(config);
	free(state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 2);
	struct metadata *metadata;
	struct err err = {0};

	CHECK(text);
	if (size > 0)
		memcpy(text, data, size);
	text[size] = text[size + 1] = '\0';
	if (metadata_read(text, text + strlen(text) + 1, &metadata, &err) < 0) {
		CHECK(err.code == -RP_EPARAM && err.text[0]);
	} else {
		check_bounds(metadata);
		check_again(metadata);
		metadata_free(metadata);
	}
	free(text);
	return 0;
}
