/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "backup/metadata.h"

static struct guid guid_of(unsigned n)
{
	struct guid guid = {{0}};

	guid.b[0] = (uint8_t)(n >> 8);
	guid.b[1] = (uint8_t)n;
	guid.b[15] = 1;
	return guid;
}

static void add_log(struct metadata_disk *disk, unsigned n)
{
	struct metadata_log *log;

	disk->logs =
	    reallocarray(disk->logs, disk->n_logs + 1, sizeof(*disk->logs));
	assert_non_null(disk->logs);
	log = &disk->logs[disk->n_logs++];
	*log = (struct metadata_log){.id = guid_of(n),
				     .previous = guid_of(n - 1),
				     .bytes = 4096 * n};
	(void)snprintf(log->file, sizeof(log->file), "%s-%04u.hrl", disk->id,
		       n);
	(void)snprintf(log->sidecar, sizeof(log->sidecar), "%s-%04u.side",
		       disk->id, n);
}

/* N_POINTS of N_DISKS; all but the first disk exported and hashed. */
static struct metadata *make(unsigned n_disks, unsigned n_points)
{
	struct metadata *m = calloc(1, sizeof(*m));

	assert_non_null(m);
	(void)strcpy(m->vm, "web-1");
	m->uuid = guid_of(1000);
	m->base = guid_of(1);
	m->n_disks = n_disks;
	for (unsigned i = 0; i < n_disks; i++) {
		struct metadata_disk *disk = &m->disks[i];

		(void)snprintf(disk->id, sizeof(disk->id), "vd%u", i);
		disk->bytes = GIB(1) + 512 * i;
		disk->exported = disk->hashed = i > 0;
		memset(disk->hash, (int)i, sizeof(disk->hash));
		for (unsigned k = 0; i > 0 && k < 2; k++)
			add_log(disk, 10 * i + k);
	}
	m->n_points = n_points;
	m->points = calloc(n_points, sizeof(*m->points));
	assert_non_null(m->points);
	for (unsigned i = 0; i < n_points; i++) {
		struct point_row *row = &m->points[i];

		row->id = guid_of(i + 1);
		row->type = i == 0 || i + 1 == n_points ? POINT_LOG : POINT_RCT;
		row->consistency =
		    i ? CONSISTENCY_CRASH : CONSISTENCY_APPLICATION;
		(void)strcpy(row->label, "a \"b\" \xc3\xbc");
		row->created_ns = 1700000000000000001 + i;
		row->disks = n_disks;
		for (unsigned d = 0; d < n_disks; d++) {
			(void)snprintf(row->tracking_id[d], TRACKING_ID_BYTES,
				       "rctX:%u:%u", i, d);
			row->bytes[d] = m->disks[d].bytes;
		}
	}
	return m;
}

static char *with_last_line(char *text)
{
	char *whole = NULL;

	assert_int_not_equal(asprintf(&whole, "%s%s%064d%s", text,
				      METADATA_MAC_HEAD, 0, METADATA_MAC_TAIL),
			     -1);
	free(text);
	return whole;
}

static void write_both(const struct metadata *m, char **ret_config,
		       char **ret_state)
{
	assert_int_equal(metadata_write(m, ret_config, ret_state, NULL), 0);
	*ret_config = with_last_line(*ret_config);
	*ret_state = with_last_line(*ret_state);
}

static void what_is_written_is_read_again(void **state)
{
	struct metadata *a = make(3, 4), *b = NULL;
	char *config, *runtime;
	struct err err = {0};

	write_both(a, &config, &runtime);
	assert_int_equal(metadata_read(config, runtime, &b, &err), 0);
	assert_string_equal(b->vm, "web-1");
	assert_true(guid_equal(&a->uuid, &b->uuid));
	assert_true(guid_equal(&a->base, &b->base));
	assert_int_equal(b->n_disks, 3);
	for (unsigned i = 0; i < 3; i++) {
		const struct metadata_disk *x = &a->disks[i];
		const struct metadata_disk *y = &b->disks[i];

		assert_string_equal(x->id, y->id);
		assert_int_equal(x->bytes, y->bytes);
		assert_int_equal(x->exported, y->exported);
		assert_int_equal(x->hashed, y->hashed);
		if (x->hashed)
			assert_memory_equal(x->hash, y->hash, sizeof(x->hash));
		assert_int_equal(x->n_logs, y->n_logs);
		for (unsigned k = 0; k < x->n_logs; k++)
			assert_memory_equal(&x->logs[k], &y->logs[k],
					    sizeof(x->logs[k]));
	}
	assert_int_equal(b->n_points, 4);
	for (unsigned i = 0; i < 4; i++)
		assert_memory_equal(&a->points[i], &b->points[i],
				    sizeof(a->points[i]));
	free(config);
	free(runtime);
	metadata_free(a);
	metadata_free(b);
}

/* 256 points of 64 disks are 1.9 MB. */
static void older_points_that_do_not_fit_are_left_out(void **state)
{
	struct metadata *a = make(DISKS_PER_VM_MAX, POINTS_PER_VM_MAX), *b;
	char *config, *runtime;

	write_both(a, &config, &runtime);
	assert_true(strlen(config) <= METADATA_BYTES_MAX);
	assert_true(strlen(config) > METADATA_BYTES_MAX * 9 / 10);
	assert_int_equal(metadata_read(config, runtime, &b, NULL), 0);
	assert_in_range(b->n_points, 20, 200);
	assert_true(guid_equal(&b->points[0].id, &a->points[0].id));
	for (unsigned i = 1; i < b->n_points; i++)
		assert_true(
		    guid_equal(&b->points[i].id,
			       &a->points[a->n_points - b->n_points + i].id));
	free(config);
	free(runtime);
	metadata_free(b);
	for (unsigned i = 0; i < 2000; i++)
		add_log(&a->disks[1], i + 2);
	assert_int_equal(metadata_write(a, &config, &runtime, NULL),
			 -RP_ELIMIT);
	metadata_free(a);
}

/* ---- Damage ---------------------------------------------------------------
 */

static const char secret[] = "SECRET";

/* FROM in TEXT is TO instead; for free(3). */
static char *edit(const char *text, const char *from, const char *to)
{
	const char *at = strstr(text, from);
	char *edited = NULL;

	if (!at)
		fail_msg("no %s in %s", from, text);
	assert_int_not_equal(asprintf(&edited, "%.*s%s%s", (int)(at - text),
				      text, to, at + strlen(from)),
			     -1);
	return edited;
}

static void refused(const char *config, const char *state, const char *what)
{
	struct metadata *m = NULL;
	struct err err = {0};

	if (metadata_read(config, state, &m, &err) != -RP_EPARAM)
		fail_msg("not refused: %s", what);
	assert_null(m);
	assert_int_equal(err.code, -RP_EPARAM);
	assert_null(strstr(err.text, secret));
	assert_null(strstr(err.text, "web-1"));
	assert_null(strstr(err.text, "vd0"));
}

static const struct {
	const char *from, *to;
} config_edits[] = {
    {"\"version\":2", "\"version\":3"},
    {"\"version\":2", "\"version\":2.0"},
    {"\"version\":2", "\"SECRET\":2"},
    {"\"version\":2", "\"version\":2,\"SECRET\":2"},
    {"\"version\":2", "\"version\":2,\"version\":2"},
    {"\"version\":2", "\"version\":2,\"mac\":\"\""},
    {"\"content\":\"logs\"", "\"content\":\"SECRET\""},
    {"\"vm\":\"web-1\"", "\"vm\":\"../SECRET\""},
    {"\"vm\":\"web-1\"", "\"vm\":7"},
    {"\"uuid\":\"03e8", "\"uuid\":\"SECRET"},
    {"\"id\":\"0004", "\"id\":\"0003"},
    {"\"id\":\"0004", "\"id\":\"9999"},
    {"\"base\":\"0001", "\"base\":\"0004"},
    {"\"base\":\"0001", "\"base\":\"0009"},
    {"\"id\":\"vd0\"", "\"id\":\"vd1\""},
    {"\"id\":\"vd0\"", "\"id\":\"-SECRET\""},
    {"\"size\":1073741824}", "\"size\":1073741825}"},
    {"\"size\":1073741824}", "\"size\":0}"},
    {"\"size\":1073741824}", "\"size\":-512}"},
    {"\"size\":1073741824}", "\"size\":9223372036854775296}"},
    {"\"size\":1073741824}", "\"size\":1073742336}"},
    {"\"disks\":[{\"id\"", "\"disks\":[{}, {\"id\""},
    {"\"points\":[", "\"points\":[7,"},
    {"\"points\":[", "\"points\":[], \"SECRET\":["},
    {"\"type\":\"log\"", "\"type\":\"SECRET\""},
    {"\"type\":\"log\"", "\"type\":\"\""},
    {"\"consistency\":\"crash\"", "\"consistency\":\"none\""},
    {"\"label\":\"a", "\"label\":\"\\u001b"},
    {"\"label\":\"a", "\"label\":\"\\u0000"},
    {"\"label\":\"a", "\"label\":\"\xc3"},
    {"\"created\":\"2023", "\"created\":\"SECRET"},
    {"\"tracking_id\":\"rctX:0:0\"", "\"tracking_id\":\"\""},
    {"\"tracking_id\":\"rctX:0:0\"", "\"tracking_id\":\"\\n\""},
    {"\"tracking_id\":\"rctX:0:0\"",
     "\"tracking_id\":\"0123456789012345678901234567890123456789012345678901234"
     "5678901234\""},
    {",\n\"mac\":\"", "\n,\"mac\":\""},
    {",\n\"mac\":\"", ",\n\"mac\": \""},
    {",\n\"mac\":\"0", ",\n\"mac\":\"G"},
    {",\n\"mac\":\"0", ",\n\"mac\":\""},
    {"0\"}\n", "0\"}"},
    {"0\"}\n", "0\"}\n\n"},
    {"{\n\"version\"", "[\n\"version\""},
};

static const struct {
	const char *from, *to;
} state_edits[] = {
    {"\"version\":2", "\"version\":1"},
    {"\"version\":2", "\"version\":2,\"SECRET\":null"},
    {"\"id\":\"0004", "\"id\":\"0003"},
    {"\"id\":\"vd1\"", "\"id\":\"SECRET\""},
    {"\"id\":\"vd1\"", "\"id\":\"vd2\""},
    {"\"hash\":\"0101", "\"hash\":\"01"},
    {"\"hash\":\"0101", "\"hash\":\"01010"},
    {"\"hash\":\"0101", "\"hash\":\"0A01"},
    {"\"hash\":\"0101", "\"hashes\":\"0101"},
    {"\"file\":\"vd1-0010.hrl\"", "\"file\":\"../SECRET\""},
    {"\"file\":\"vd1-0010.hrl\"", "\"file\":\"\""},
    {"\"sidecar\":\"vd1-0010.side\"", "\"sidecar\":\"/SECRET\""},
    {"\"previous\":\"0009", "\"previous\":\"SECRET"},
    {"\"bytes\":40960", "\"bytes\":-1"},
    {"\"bytes\":40960", "\"bytes\":\"40960\""},
    {"0\"}\n", "0\"}x"},
};

static void each_member_that_is_damaged_is_refused(void **state)
{
	struct metadata *m = make(3, 4);
	char *config, *runtime;

	write_both(m, &config, &runtime);
	for (size_t i = 0; i < sizeof(config_edits) / sizeof(*config_edits);
	     i++) {
		char *bad =
		    edit(config, config_edits[i].from, config_edits[i].to);

		refused(bad, runtime, config_edits[i].to);
		free(bad);
	}
	for (size_t i = 0; i < sizeof(state_edits) / sizeof(*state_edits);
	     i++) {
		char *bad =
		    edit(runtime, state_edits[i].from, state_edits[i].to);

		refused(config, bad, state_edits[i].to);
		free(bad);
	}
	refused(runtime, config, "one for the other");
	refused(config, config, "the same twice");
	free(config);
	free(runtime);
	metadata_free(m);
}

static void a_document_that_is_cut_anywhere_is_refused(void **state)
{
	struct metadata *m = make(2, 2);
	char *config, *runtime, *cut;

	write_both(m, &config, &runtime);
	for (size_t n = 0; n < strlen(config); n++) {
		cut = strndup(config, n);
		refused(cut, runtime, "cut");
		free(cut);
		/* with a last line of its own */
		cut = with_last_line(strndup(config, n));
		if (n + METADATA_LAST_BYTES < strlen(config))
			refused(cut, runtime, "cut and ended");
		free(cut);
	}
	for (size_t n = 0; n < strlen(runtime); n++) {
		cut = strndup(runtime, n);
		refused(config, cut, "cut");
		free(cut);
	}
	free(config);
	free(runtime);
	metadata_free(m);
}

static void what_is_huge_or_deep_is_refused(void **state)
{
	struct metadata *m = make(2, 2);
	char *huge = malloc(4 * METADATA_BYTES_MAX), *config, *runtime, *bad;

	assert_non_null(huge);
	write_both(m, &config, &runtime);
	memset(huge, ' ', 4 * METADATA_BYTES_MAX);
	huge[4 * METADATA_BYTES_MAX - 1] = '\0';
	bad = edit(config, "\"version\"", huge);
	refused(bad, runtime, "huge");
	free(bad);
	memset(huge, '[', METADATA_BYTES_MAX / 2);
	huge[METADATA_BYTES_MAX / 2] = '\0';
	bad = edit(config, "\"web-1\"", huge);
	refused(bad, runtime, "deep");
	free(bad);
	refused("", runtime, "empty");
	free(huge);
	free(config);
	free(runtime);
	metadata_free(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_is_written_is_read_again),
	    cmocka_unit_test(older_points_that_do_not_fit_are_left_out),
	    cmocka_unit_test(each_member_that_is_damaged_is_refused),
	    cmocka_unit_test(a_document_that_is_cut_anywhere_is_refused),
	    cmocka_unit_test(what_is_huge_or_deep_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
