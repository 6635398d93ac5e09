/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "inventory/inventory.h"
#include "rpc/rpc.h"

static char lib[64];
static struct inventory *inventory;

static struct inventory_entry example(void)
{
	struct inventory_entry e = {.vm = "web-1",
				    .uuid = guid_random(),
				    .force_raw = true,
				    .hot_regions = 256,
				    .max_points = 9,
				    .agent = "/run/qemu/web-1.agent",
				    .agent_changes = true,
				    .agent_next = "libvirt:web-1",
				    .serve = true,
				    .points = 3,
				    .catalogue = {1, 2, 3, 4}};

	assert_int_equal(inventory_add_disk(&e, "root", "/d/root", 4096), 0);
	assert_int_equal(inventory_add_disk(&e, "data", "/d/data", 8192), 0);
	e.disks[1].device = 7;
	e.disks[1].inode = 8;
	return e;
}

static void an_entry_survives_the_file(void **state)
{
	struct inventory_entry a = example(), b;
	struct err err = {0};

	assert_int_equal(inventory_save(inventory, &a, false, &err), 0);
	assert_int_equal(inventory_load(inventory, "web-1", &b, &err), 0);
	assert_string_equal(b.vm, "web-1");
	assert_true(guid_equal(&a.uuid, &b.uuid));
	assert_int_equal(b.n_disks, 2);
	assert_string_equal(b.disks[1].id, "data");
	assert_string_equal(b.disks[1].path, "/d/data");
	assert_int_equal(b.disks[1].bytes, 8192);
	assert_int_equal(b.disks[1].device, 7);
	assert_int_equal(b.disks[1].inode, 8);
	assert_true(b.force_raw && b.serve && !b.owner_refpoint);
	assert_int_equal(b.hot_regions, 256);
	assert_int_equal(b.max_points, 9);
	assert_string_equal(b.agent, a.agent);
	assert_true(b.agent_changes);
	assert_string_equal(b.agent_next, a.agent_next);
	assert_int_equal(b.points, 3);
	assert_int_equal(b.catalogue.mtime_ns, 4);
	inventory_entry_done(&b);
	assert_int_equal(inventory_entry_copy(&a, &b), 0);
	assert_int_equal(b.disks[1].inode, 8);
	assert_ptr_not_equal(a.disks[0].path, b.disks[0].path);
	inventory_entry_done(&a);
	inventory_entry_done(&b);
	assert_int_equal(inventory_remove(inventory, "web-1", false, &err), 0);
	assert_int_equal(inventory_load(inventory, "web-1", &b, &err), -ENOENT);
}

static void put(const char *name, const char *text)
{
	char path[128];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/inventory/%s", lib, name);
	f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}

static char *get(const char *name)
{
	static char text[8192];
	char path[128];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/inventory/%s", lib, name);
	f = fopen(path, "r");
	assert_non_null(f);
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	(void)fclose(f);
	return text;
}

static void drop(const char *name)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/inventory/%s", lib, name);
	assert_int_equal(unlink(path), 0);
}

static json_t *make_point(unsigned i, const char *label)
{
	char id[GUID_TEXT_BYTES];

	(void)snprintf(id, sizeof(id), "%08x-0000-4000-8000-000000000000", i);
	return json_pack("{s:s, s:s, s:s, s:s, s:s, s:[{s:s, s:s}]}", "id", id,
			 "type", "rct", "consistency", "crash", "label", label,
			 "created", "2026-01-01T00:00:00.000000000Z", "disks",
			 "id", "root", "tracking_id", "rctX:1");
}

static json_t *make_log(const char *state, const char *reason, int bytes)
{
	return json_pack("{s:s, s:s, s:i, s:i}", "state", state, "reason",
			 reason, "bytes", bytes, "parts", 1);
}

static void add_point(struct inventory_points *points, unsigned i,
		      const char *label, int want)
{
	json_t *point = make_point(i, label);

	assert_non_null(point);
	assert_int_equal(inventory_points_add(points, point, NULL), want);
	json_decref(point);
}

static void points_survive_the_file(void **state)
{
	struct inventory_entry a = example(), b;
	struct err err = {0};

	a.point.known = true;
	for (unsigned n = 0; n < 3; n++) {
		assert_int_equal(inventory_save(inventory, &a, false, &err), 0);
		assert_int_equal(inventory_load(inventory, "web-1", &b, &err),
				 0);
		assert_true(b.point.known && b.serve);
		assert_int_equal(b.point.n, n);
		for (unsigned i = 0; i < n; i++)
			assert_string_equal(b.point.list[i].text,
					    a.point.list[i].text);
		inventory_entry_done(&b);
		add_point(&a.point, n, "a \"b\" \\ \xc3\xbc", 0);
	}
	assert_int_equal(inventory_entry_copy(&a, &b), 0);
	assert_false(b.point.known);
	assert_int_equal(b.point.n, 0);
	inventory_entry_done(&b);
	inventory_entry_done(&a);
	assert_int_equal(inventory_remove(inventory, "web-1", false, &err), 0);
}

static void an_entry_without_points_is_whole_but_for_them(void **state)
{
	struct inventory_entry a = example(), b;
	struct err err = {0};

	assert_int_equal(inventory_save(inventory, &a, false, &err), 0);
	assert_int_equal(inventory_load(inventory, "web-1", &b, &err), 0);
	assert_false(b.point.known);
	assert_true(b.serve);
	assert_int_equal(b.points, 3);
	inventory_entry_done(&a);
	inventory_entry_done(&b);
	assert_int_equal(inventory_remove(inventory, "web-1", false, &err), 0);
}

static void points_are_added_once_and_removed(void **state)
{
	struct inventory_points points = {.known = true};
	struct guid id;

	for (unsigned i = 0; i < POINTS_PER_VM_MAX; i++)
		add_point(&points, i, "", 0);
	add_point(&points, 7, "another", 0);
	assert_int_equal(points.n, POINTS_PER_VM_MAX);
	assert_null(strstr(points.list[7].text, "another"));
	add_point(&points, 4711, "", -RP_ELIMIT);
	assert_true(guid_parse("00000007-0000-4000-8000-000000000000", &id));
	inventory_points_remove(&points, &id);
	inventory_points_remove(&points, &id);
	assert_int_equal(points.n, POINTS_PER_VM_MAX - 1);
	assert_non_null(strstr(points.list[7].text, "00000008-"));
	assert_true(points.known);
	inventory_points_done(&points);
	assert_false(points.known);
}

static void what_is_no_point_is_refused(void **state)
{
	static const struct {
		const char *member, *value;
	} wrong[] = {
	    {"id", "\"p0\""},
	    {"id", "7"},
	    {"type", "\"recovery\""},
	    {"consistency", "\"\""},
	    {"label", "\"a\\nb\""},
	    {"label", "null"},
	    {"created", "\"1234567890123456789012345678901234567890\""},
	    {"disks", "[{\"id\":\"../x\",\"tracking_id\":\"t\"}]"},
	    {"disks", "[{\"id\":\"x\"}]"},
	    {"disks", "{}"},
	    {"more", "1"},
	};
	struct inventory_points points = {.known = true};
	struct err err = {0};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		json_t *point = make_point(1, "");

		assert_int_equal(json_object_set_new(point, wrong[i].member,
						     json_loads(wrong[i].value,
								JSON_DECODE_ANY,
								NULL)),
				 0);
		assert_int_equal(inventory_points_add(&points, point, &err),
				 -RP_EWIRE);
		assert_int_equal(err.code, -RP_EWIRE);
		json_decref(point);
	}
	assert_int_equal(points.n, 0);
}

/* Both ways of reading take the same and refuse the same. */
static json_t *make_snapshot(unsigned i, const char *state)
{
	char id[GUID_TEXT_BYTES];

	(void)snprintf(id, sizeof(id), "%08x-0000-4000-8000-000000000000", i);
	return json_pack(
	    "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:i, s:[{s:s, s:I, s:s, s:n, "
	    "s:i}]}",
	    "id", id, "vm", "web-1", "consistency", "crash", "label",
	    "a \"b\" \\ \xc3\xbc", "created", "2026-01-01T00:00:00.000000000Z",
	    "state", state, "reason", "", "limit_bytes", 0, "disks", "id",
	    "root", "size", (json_int_t)4096, "tracking_id", "rctX:1",
	    "nbd_uri", "scratch_bytes", 0);
}

static int add_snapshot(struct inventory_points *snapshots, json_t *snapshot)
{
	int r;

	assert_non_null(snapshot);
	r = inventory_snapshots_add(snapshots, snapshot, NULL);
	json_decref(snapshot);
	return r;
}

static void snapshots_survive_the_file_with_their_boot(void **state)
{
	struct inventory_entry a = example(), b;
	struct err err = {0};

	a.boot = guid_random();
	a.point.known = true;
	add_point(&a.point, 7, "p", 0);
	for (unsigned n = 0; n <= SNAPSHOTS_PER_VM_MAX; n++) {
		assert_int_equal(inventory_save(inventory, &a, false, &err), 0);
		assert_int_equal(inventory_load(inventory, "web-1", &b, &err),
				 0);
		assert_int_equal(b.point.n, 1);
		assert_int_equal(b.snapshot.n, n);
		for (unsigned i = 0; i < n; i++)
			assert_string_equal(b.snapshot.list[i].text,
					    a.snapshot.list[i].text);
		if (n > 0)
			assert_true(guid_equal(&a.boot, &b.boot));
		inventory_entry_done(&b);
		assert_int_equal(add_snapshot(&a.snapshot,
					      make_snapshot(n, "valid")),
				 n < SNAPSHOTS_PER_VM_MAX ? 0 : -RP_ELIMIT);
	}
	assert_int_equal(inventory_entry_copy(&a, &b), 0);
	assert_int_equal(b.snapshot.n, 0);
	inventory_entry_done(&b);
	a.point.known = false; /* then they are not, either */
	assert_int_equal(inventory_save(inventory, &a, false, &err), 0);
	assert_int_equal(inventory_load(inventory, "web-1", &b, &err), 0);
	assert_int_equal(b.snapshot.n, 0);
	inventory_entry_done(&b);
	inventory_entry_done(&a);
	assert_int_equal(inventory_remove(inventory, "web-1", false, &err), 0);
}

static void a_snapshot_is_replaced_by_what_is_said_of_it_later(void **state)
{
	struct inventory_points snapshots = {0};
	struct guid id;

	assert_int_equal(add_snapshot(&snapshots, make_snapshot(1, "valid")),
			 0);
	assert_int_equal(add_snapshot(&snapshots, make_snapshot(2, "valid")),
			 0);
	assert_int_equal(add_snapshot(&snapshots, make_snapshot(1, "invalid")),
			 0);
	assert_int_equal(snapshots.n, 2);
	assert_non_null(strstr(snapshots.list[0].text, "\"invalid\""));
	assert_int_equal(strlen(snapshots.list[0].text),
			 snapshots.list[0].bytes);
	id = snapshots.list[1].id;
	assert_ptr_equal(inventory_points_find(&snapshots, &id),
			 &snapshots.list[1]);
	inventory_points_remove(&snapshots, &id);
	assert_null(inventory_points_find(&snapshots, &id));
	inventory_points_done(&snapshots);
}

static void what_is_no_snapshot_is_refused(void **state)
{
	static const struct {
		const char *name, *text;
	} wrong[] = {
	    {"id", "\"x\""},           {"vm", "\"../x\""},
	    {"state", "\"so so\""},    {"consistency", "\"odd\""},
	    {"reason", "\"\\u001b\""}, {"label", "7"},
	    {"limit_bytes", "-1"},     {"disks", "[{}]"},
	    {"disks", "null"},         {"more", "1"},
	    {"created", "\"\\n\""},
	};
	struct inventory_points snapshots = {0};

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		json_t *snapshot = make_snapshot(1, "valid");

		(void)json_object_set_new(snapshot, wrong[i].name,
					  json_loads(wrong[i].text,
						     JSON_DECODE_ANY, NULL));
		assert_int_equal(add_snapshot(&snapshots, snapshot), -RP_EWIRE);
	}
	assert_int_equal(snapshots.n, 0);
	inventory_points_done(&snapshots);
}

#define REST                                                                   \
	",\"consistency\":\"crash\",\"label\":\"one\",\"created\":"            \
	"\"2026-01-01T00:00:00.000000000Z\","
#define LOG(state, bytes)                                                      \
	"\"log\":{\"state\":\"" state "\",\"reason\":\"a b\",\"bytes\":" bytes \
	",\"parts\":1},"
#define ONE                  "\"rct\"" REST
#define AS_LOG(state, bytes) "\"log\"" REST LOG(state, bytes)

static void a_log_is_what_was_said_of_it_last(void **state)
{
	struct inventory_points points = {0};
	json_t *log = make_log("open", "", 1), *point = make_point(1, "one");
	struct guid rct, id;
	struct err err = {0};

	add_point(&points, 0, "", 0);
	(void)json_object_set_new(point, "type", json_string("log"));
	assert_int_equal(inventory_points_add(&points, point, NULL), -RP_EWIRE);
	(void)json_object_set(point, "log", log);
	assert_int_equal(inventory_points_add(&points, point, NULL), 0);
	rct = points.list[0].id;
	id = points.list[1].id;
	json_decref(log);
	log = make_log("gone", "no \"room\"", 7);
	assert_int_equal(inventory_points_note_log(&points, &rct, log, NULL),
			 0);
	assert_null(strstr(points.list[0].text, "gone"));
	assert_int_equal(inventory_points_note_log(&points, &id, log, NULL), 0);
	assert_int_equal(strlen(points.list[1].text), points.list[1].bytes);
	assert_non_null(strstr(points.list[1].text, "\"bytes\":7"));
	assert_non_null(strstr(points.list[1].text, "no \\\"room\\\""));
	(void)json_object_set_new(log, "state", json_string("ajar"));
	assert_int_equal(inventory_points_note_log(&points, &id, log, &err),
			 -RP_EWIRE);
	assert_null(strstr(points.list[1].text, "ajar"));
	json_decref(log);
	json_decref(point);
	inventory_points_done(&points);
}

static void a_list_that_was_edited_is_read_all_the_same(void **state)
{
	static const struct {
		const char *from, *to;
		int points; /* -1: refused */
	} edits[] = {
	    {"\"rct\"", "\"rct\"", 3},
	    {"\"rct\"", "\"log\"", -1},
	    {"\"disks\":", "\"log\":null,\"disks\":", 3},
	    {"\"disks\":", LOG("gone", "12") "\"disks\":", -1},
	    {ONE, AS_LOG("gone", "12"), 3},
	    {ONE, AS_LOG("open", "0"), 3},
	    {ONE, AS_LOG("open", "012"), -1},
	    {ONE, AS_LOG("open", "-1"), -1},
	    {ONE, AS_LOG("open", "9223372036854775807"), 3},
	    {ONE, AS_LOG("ajar", "12"), -1},
	    {"\"disks\":", "\"invalid\":null,\"disks\":", 3},
	    {"\"disks\":", "\"invalid\":\"a b\",\"disks\":", 3},
	    {"\"disks\":", "\"invalid\":\"a\\\"b\",\"disks\":", 3},
	    {"\"disks\":", "\"invalid\":\"\\n\",\"disks\":", -1},
	    {"\"disks\":", "\"invalid\":true,\"disks\":", -1},
	    {ONE, AS_LOG("gone", "12") "\"invalid\":\"a b\",", 3},
	    {"{\"id\":", "{ \"id\":", 3},
	    {"\"label\":\"one\"", "\"label\":\"\xc3\xbc\\\\\\\"\"", 3},
	    {"\"label\":\"one\"", "\"label\":\"\xc3\"", -1},
	    {"\"label\":\"one\"", "\"label\":\"\\n\"", -1},
	    {"\"label\":\"one\"", "\"label\":\"\x7f\"", -1},
	    {"\"label\":\"one\",", "", -1},
	    {"00000001-", "00000000-", 2},
	    {"00000001-", "0000000-", -1},
	    {"\"root\"", "\"-root\"", -1},
	    {"\"rctX:1\"", "1", -1},
	    {"}]}", "}]},", -1},
	    {"}]}", "}}]", -1},
	    {"[{", "[", -1},
	    {"\"rct\"", "\"rcx\"", -1},
	    {"\"crash\"", "\"none\"", -1},
	    {"]\n}", "]\n}\n", 3},
	    {"]\n}", "]", -1},
	    {"]\n}", ",1]\n}", -1},
	};
	struct inventory_entry a = example(), b;
	char whole[8192], edited[8192];

	a.point.known = true;
	add_point(&a.point, 0, "", 0);
	add_point(&a.point, 1, "one", 0);
	add_point(&a.point, 2, "", 0);
	assert_int_equal(inventory_save(inventory, &a, false, NULL), 0);
	(void)strcpy(whole, get("web-1.json"));
	for (size_t i = 0; i < sizeof(edits) / sizeof(edits[0]); i++) {
		char *at = strstr(strstr(whole, "point_list"), edits[i].from);
		int r;

		assert_non_null(at);
		(void)snprintf(edited, sizeof(edited), "%.*s%s%s",
			       (int)(at - whole), whole, edits[i].to,
			       at + strlen(edits[i].from));
		put("web-1.json", edited);
		r = inventory_load(inventory, "web-1", &b, NULL);
		if (edits[i].points < 0) {
			assert_int_equal(r, -RP_ECORRUPT);
			continue;
		}
		assert_int_equal(r, 0);
		assert_true(b.point.known);
		assert_int_equal(b.point.n, edits[i].points);
		inventory_entry_done(&b);
	}
	inventory_entry_done(&a);
	assert_int_equal(inventory_remove(inventory, "web-1", false, NULL), 0);
}

static void commits_in_the_log_change_the_catalogues_stat(void **state)
{
	struct inventory_catalogue a, b;
	char store[128];

	(void)snprintf(store, sizeof(store), "%s/inventory", lib);
	inventory_catalogue_stat(store, &a);
	assert_int_equal(a.inode, 0);
	put("catalogue.sqlite", "x");
	inventory_catalogue_stat(store, &a);
	assert_int_equal(a.bytes, 1);
	put("catalogue.sqlite-wal", "");
	inventory_catalogue_stat(store, &b);
	put("catalogue.sqlite-wal", "commit");
	inventory_catalogue_stat(store, &b);
	assert_int_equal(b.bytes, 7);
	assert_int_equal(b.inode, a.inode);
	assert_true(b.mtime_ns >= a.mtime_ns);
	drop("catalogue.sqlite");
	drop("catalogue.sqlite-wal");
}

static void a_damaged_entry_is_refused_not_trusted(void **state)
{
	static const struct {
		const char *from, *to;
	} damage[] = {
	    {"\"version\": 1", "\"version\": 2"},
	    {"\"vm\": \"web-1\"", "\"vm\": \"web-2\""},
	    {"\"vm\": \"web-1\"", "\"vm\": \"../x\""},
	    {"\"/d/data\"", "\"d/data\""},
	    {"\"bytes\": 8192", "\"bytes\": -1"},
	    {"\"points\": 3", "\"points\": \"3\""},
	    {"\"serve\"", "\"swerve\""},
	    {"}", ""},
	};
	struct inventory_entry a = example(), b;
	struct err err = {0};
	char whole[8192], bad[8192];

	assert_int_equal(inventory_save(inventory, &a, false, &err), 0);
	inventory_entry_done(&a);
	(void)strcpy(whole, get("web-1.json"));
	for (size_t i = 0; i < sizeof(damage) / sizeof(damage[0]); i++) {
		char *at = strstr(whole, damage[i].from);

		assert_non_null(at);
		(void)snprintf(bad, sizeof(bad), "%.*s%s%s", (int)(at - whole),
			       whole, damage[i].to,
			       at + strlen(damage[i].from));
		put("web-1.json", bad);
		assert_int_equal(inventory_load(inventory, "web-1", &b, &err),
				 -RP_ECORRUPT);
		assert_int_equal(err.code, -RP_ECORRUPT);
	}
	assert_int_equal(inventory_remove(inventory, "web-1", false, &err), 0);
}

struct seen {
	unsigned whole, pending;
};

static int see(void *arg, const char *vm, bool pending)
{
	struct seen *seen = arg;

	assert_string_equal(vm, "web-1");
	if (pending)
		seen->pending++;
	else
		seen->whole++;
	return 0;
}

static void a_definition_is_pending_until_it_is_committed(void **state)
{
	struct inventory_entry a = example(), b;
	struct err err = {0};
	struct seen seen = {0};

	put("-bad.json", "{}");
	put(".web-1.json.new", "{}");
	assert_int_equal(inventory_save(inventory, &a, true, &err), 0);
	assert_int_equal(inventory_load(inventory, "web-1", &b, &err), -ENOENT);
	assert_int_equal(inventory_each(inventory, see, &seen, &err), 0);
	assert_int_equal(seen.pending, 1);
	assert_int_equal(seen.whole, 0);
	assert_int_equal(inventory_commit(inventory, "web-1", &err), 0);
	seen = (struct seen){0};
	assert_int_equal(inventory_each(inventory, see, &seen, &err), 0);
	assert_int_equal(seen.pending, 0);
	assert_int_equal(seen.whole, 1);
	assert_int_equal(inventory_remove(inventory, "web-1", false, &err), 0);
	assert_int_equal(inventory_remove(inventory, "web-1", false, &err), 0);
	inventory_entry_done(&a);
}

static void a_tombstone_is_preallocated_and_kept(void **state)
{
	_cleanup_close_ int a = -1;
	_cleanup_close_ int b = -1;
	struct err err = {0};
	struct stat st;
	char c;

	assert_int_equal(inventory_tombstone_open(inventory, "v", &a, &err), 0);
	assert_int_equal(fstat(a, &st), 0);
	assert_int_equal(st.st_size, TOMBSTONE_BYTES);
	assert_true(st.st_blocks * 512 >= TOMBSTONE_BYTES);
	assert_int_equal(pwrite(a, "x", 1, 0), 1);
	assert_int_equal(inventory_tombstone_open(inventory, "v", &b, &err), 0);
	assert_int_equal(pread(b, &c, 1, 0), 1);
	assert_int_equal(c, 'x');
	assert_int_equal(inventory_tombstone_remove(inventory, "v", &err), 0);
	assert_int_equal(inventory_tombstone_remove(inventory, "v", &err), 0);
}

static int setup(void **state)
{
	(void)strcpy(lib, "/tmp/test-inventory-XXXXXX");
	return mkdtemp(lib) ? inventory_open(lib, &inventory, NULL) : -1;
}

static int teardown(void **state)
{
	static const char *const names[] = {"inventory/-bad.json",
					    "inventory/.web-1.json.new",
					    "inventory", "tombstones", ""};
	char path[128];
	int r = 0;

	inventory_close(inventory);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", lib, names[i]);
		if (remove(path) < 0 && i != 1)
			r = -1;
	}
	return r;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_entry_survives_the_file),
	    cmocka_unit_test(points_survive_the_file),
	    cmocka_unit_test(an_entry_without_points_is_whole_but_for_them),
	    cmocka_unit_test(points_are_added_once_and_removed),
	    cmocka_unit_test(what_is_no_point_is_refused),
	    cmocka_unit_test(a_log_is_what_was_said_of_it_last),
	    cmocka_unit_test(a_list_that_was_edited_is_read_all_the_same),
	    cmocka_unit_test(snapshots_survive_the_file_with_their_boot),
	    cmocka_unit_test(
		a_snapshot_is_replaced_by_what_is_said_of_it_later),
	    cmocka_unit_test(what_is_no_snapshot_is_refused),
	    cmocka_unit_test(commits_in_the_log_change_the_catalogues_stat),
	    cmocka_unit_test(a_damaged_entry_is_refused_not_trusted),
	    cmocka_unit_test(a_definition_is_pending_until_it_is_committed),
	    cmocka_unit_test(a_tombstone_is_preallocated_and_kept),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
