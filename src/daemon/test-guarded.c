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

#include "daemon/guarded.h"

#define OTHER 54321

static char top[64];

static const char *in(const char *name)
{
	static char path[4][256];
	static unsigned turn;
	char *p = path[turn++ % 4];

	(void)snprintf(p, sizeof(path[0]), "%s/%s", top, name);
	return p;
}

static void make(const char *name)
{
	int fd = open(in(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);

	assert_true(fd >= 0);
	(void)close(fd);
}

static void what_only_we_can_replace_is_admitted(void **state)
{
	make("own/file");
	assert_int_equal(symlink("../own/./file", in("own/link")), 0);
	assert_int_equal(symlink(in("own/link"), in("own/chain")), 0);
	assert_int_equal(guarded_path(in("own/file"), NULL), 0);
	assert_int_equal(guarded_path(in("own/chain"), NULL), 0);
	assert_int_equal(guarded_path(in("sticky/../own//file"), NULL), 0);
	make("sticky/file");
	assert_int_equal(guarded_path(in("sticky/file"), NULL), 0);
}

static void a_path_that_leads_nowhere_is_no_success(void **state)
{
	assert_int_equal(guarded_path(in("own/nothing"), NULL), -ENOENT);
	assert_int_equal(symlink("loop", in("own/loop")), 0);
	assert_int_equal(guarded_path(in("own/loop"), NULL), -ELOOP);
}

static void a_directory_open_to_others_is_refused(void **state)
{
	struct err err = {0};

	make("open/file");
	assert_int_equal(guarded_path(in("open/file"), &err), -RP_EDENIED);
	assert_non_null(strstr(err.text, in("open")));
	/* on the way of a link, and of a link's link */
	assert_int_equal(symlink("../open/back", in("own/through")), 0);
	assert_int_equal(symlink("../own/file", in("open/back")), 0);
	assert_int_equal(guarded_path(in("own/through"), &err), -RP_EDENIED);
	assert_int_equal(guarded_path(in("open/../own/file"), &err),
			 -RP_EDENIED);
}

static void another_users_place_is_refused(void **state)
{
	struct err err = {0};

	if (geteuid() != 0) {
		print_message("needs root to be somebody else\n");
		skip();
	}
	make("foreign/file");
	assert_int_equal(chown(in("foreign"), OTHER, OTHER), 0);
	assert_int_equal(guarded_path(in("foreign/file"), &err), -RP_EDENIED);
	assert_int_equal(symlink("../own/file", in("sticky/link")), 0);
	assert_int_equal(lchown(in("sticky/link"), OTHER, OTHER), 0);
	assert_int_equal(guarded_path(in("sticky/link"), &err), -RP_EDENIED);
	/* the file itself may be anybody's where nobody can replace it */
	assert_int_equal(chown(in("own/file"), OTHER, OTHER), 0);
	assert_int_equal(guarded_path(in("own/file"), &err), 0);
}

static int setup(void **state)
{
	(void)umask(022);
	(void)strcpy(top, "/tmp/test-guarded-XXXXXX");
	if (!mkdtemp(top))
		return -1;
	if (mkdir(in("own"), 0755) < 0 || mkdir(in("open"), 0755) < 0 ||
	    mkdir(in("sticky"), 0755) < 0 || mkdir(in("foreign"), 0755) < 0 ||
	    chmod(in("open"), 0777) < 0 || chmod(in("sticky"), 01777) < 0)
		return -1;
	return 0;
}

static int teardown(void **state)
{
	static const char *const names[] = {
	    "own/file",     "own/link",    "own/chain",
	    "own/loop",     "own/through", "own",
	    "open/file",    "open/back",   "open",
	    "sticky/file",  "sticky/link", "sticky",
	    "foreign/file", "foreign",     ""};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		(void)remove(in(names[i]));
	return access(top, F_OK) < 0 ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_only_we_can_replace_is_admitted),
	    cmocka_unit_test(a_path_that_leads_nowhere_is_no_success),
	    cmocka_unit_test(a_directory_open_to_others_is_refused),
	    cmocka_unit_test(another_users_place_is_refused),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
