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

static char lib[64];
static struct inventory *inventory;

static struct inventory_entry example(void)
{
	struct inventory_entry e = {.vm = "web-1",
				    .uuid = guid_random(),
				    .force_raw = true,
				    .hot_regions = 256,
				    .max_points = 9,
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
	    cmocka_unit_test(a_damaged_entry_is_refused_not_trusted),
	    cmocka_unit_test(a_definition_is_pending_until_it_is_committed),
	    cmocka_unit_test(a_tombstone_is_preallocated_and_kept),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
