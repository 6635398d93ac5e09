/* SPDX-License-Identifier: Apache-2.0 */
/* Files that clients name: what is below the root is read, and nothing else. */
#include "providers/below.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/bytes.h"

#define LONGEST 16

static char top[64], root[80];

/* NAME in the directory that has the root, "root"; until the next four. */
static const char *at(const char *name)
{
	static char paths[4][256];
	static unsigned n;
	char *path = paths[n++ % 4];

	(void)snprintf(path, sizeof(paths[0]), "%s/%s", top, name);
	return path;
}

static void put(const char *name, const void *bytes, size_t n)
{
	FILE *f = fopen(at(name), "w");

	assert_non_null(f);
	assert_int_equal(fwrite(bytes, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

static int set_up(void **state)
{
	(void)strcpy(top, "/tmp/test-below.XXXXXX");
	assert_non_null(mkdtemp(top));
	(void)snprintf(root, sizeof(root), "%s/root", top);
	assert_int_equal(mkdir(root, 0700), 0);
	assert_int_equal(mkdir(at("root/a"), 0700), 0);
	assert_int_equal(mkdir(at("rooted"), 0700), 0);
	put("root/a/file", "text", 4);
	put("secret", "secret", 6);
	put("rooted/secret", "secret", 6);
	return 0;
}

static int tear_down(void **state)
{
	char command[128];

	(void)snprintf(command, sizeof(command), "rm -rf '%s'", top);
	return system(command);
}

/* What the file holds, until the next time; NULL, and why. */
static const char *read_it(const char *path, int *ret_r)
{
	static char held[LONGEST + 2];
	struct err err = {0};
	char *text = NULL;

	*ret_r = below_read(root, path, LONGEST, &text, &err);
	if (*ret_r < 0) {
		assert_null(text);
		assert_int_equal(err.code, *ret_r);
		assert_null(strstr(err.text, "secret:"));
		return NULL;
	}
	(void)snprintf(held, sizeof(held), "%s", text);
	free(text);
	return held;
}

static void assert_refused(const char *path, int code)
{
	int r;

	if (read_it(path, &r) || r != code)
		fail_msg("'%s': %d", path, r);
}

static void a_file_below_the_root_is_read(void **state)
{
	const char *text;
	int r;

	text = read_it(at("root/a/file"), &r);
	assert_non_null(text);
	assert_string_equal(text, "text");
	put("root/all", "0123456789abcdef", LONGEST);
	text = read_it(at("root/all"), &r);
	assert_non_null(text);
	assert_string_equal(text, "0123456789abcdef");
}

static void what_is_elsewhere_is_denied_whether_it_is_there(void **state)
{
	static const char *const names[] = {"secret", "rooted/secret",
					    "none",   "rooted/none",
					    "root",   "root/"};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		assert_refused(at(names[i]), -RP_EDENIED);
	assert_refused("/etc/passwd", -RP_EDENIED);
}

static void a_path_has_to_be_plain(void **state)
{
	static const char *const names[] = {
	    "root/a/../a/file", "root/./a/file",       "root//a/file",
	    "root/a//",         "root/a/../../root/a", "root/b/../a/file/.",
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		assert_refused(at(names[i]), -RP_EPARAM);
	assert_refused("root/a/file", -RP_EPARAM);
	assert_refused("", -RP_EPARAM);
}

/* By their names alone: no link is followed, whatever is there. */
static void who_steps_out_is_denied_as_who_names_it(void **state)
{
	static const char *const names[] = {
	    "root/../secret",
	    "root/../none",
	    "root/..",
	    "root/a/..",
	    "root/../",
	    "root/../rooted",
	    "root/./../secret",
	    "root//..//secret",
	    "root/a/../../secret",
	    "root/../root/../none",
	    "root/none/../../../../../../etc/passwd",
	    "secret/.",
	    "./secret",
	    "rooted//secret",
	    "root/../root",
	};
	struct err err = {0};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		assert_refused(at(names[i]), -RP_EDENIED);
		assert_int_equal(below_check(root, at(names[i]), &err),
				 -RP_EDENIED);
	}
	assert_refused("/../etc/passwd", -RP_EDENIED);
	assert_refused("root/../secret", -RP_EPARAM);
}

static void a_link_may_not_lead_out(void **state)
{
	const char *text;
	int r;

	assert_int_equal(symlink("../secret", at("root/up")), 0);
	assert_int_equal(symlink(at("secret"), at("root/away")), 0);
	assert_int_equal(symlink("../rooted", at("root/dir")), 0);
	assert_int_equal(symlink("/proc/self/root", at("root/proc")), 0);
	assert_int_equal(symlink("loop", at("root/loop")), 0);
	assert_refused(at("root/up"), -RP_EDENIED);
	assert_refused(at("root/away"), -RP_EDENIED);
	assert_refused(at("root/dir/secret"), -RP_EDENIED);
	assert_refused(at("root/proc/etc/passwd"), -RP_EDENIED);
	assert_refused(at("root/loop"), -RP_EDENIED);
	assert_int_equal(symlink("a/file", at("root/in")), 0);
	text = read_it(at("root/in"), &r);
	assert_non_null(text);
	assert_string_equal(text, "text");
}

static void what_is_no_short_text_is_refused(void **state)
{
	put("root/long", "0123456789abcdefg", LONGEST + 1);
	put("root/empty", "", 0);
	put("root/nul", "a\0b", 3);
	assert_int_equal(mkfifo(at("root/fifo"), 0600), 0);
	assert_refused(at("root/long"), -RP_EPARAM);
	assert_refused(at("root/empty"), -RP_EPARAM);
	assert_refused(at("root/nul"), -RP_EPARAM);
	assert_refused(at("root/fifo"), -RP_EPARAM);
	assert_refused(at("root/a"), -RP_EPARAM);
	assert_refused(at("root/none"), -RP_EPARAM);
	assert_refused(at("root/a/file/x"), -RP_EPARAM);
	assert_refused(at("root/a/file/"), -RP_EPARAM);
}

static void without_a_root_nothing_is_there(void **state)
{
	char *text = NULL;

	assert_int_equal(below_read(at("none"), at("none/x"), LONGEST, &text,
				    NULL),
			 -RP_EPARAM);
	assert_null(text);
}

static void the_root_may_be_all_there_is(void **state)
{
	char *text = NULL;

	assert_int_equal(below_read("", at("secret"), LONGEST, &text, NULL), 0);
	assert_string_equal(text, "secret");
	free(text);
}

#define BELOW(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    BELOW(a_file_below_the_root_is_read),
	    BELOW(what_is_elsewhere_is_denied_whether_it_is_there),
	    BELOW(a_path_has_to_be_plain),
	    BELOW(who_steps_out_is_denied_as_who_names_it),
	    BELOW(a_link_may_not_lead_out),
	    BELOW(what_is_no_short_text_is_refused),
	    BELOW(without_a_root_nothing_is_there),
	    BELOW(the_root_may_be_all_there_is),
	};

	return cmocka_run_group_tests_name("below", tests, NULL, NULL);
}
