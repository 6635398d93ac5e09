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

#include "daemon/sealing.h"

static const char config[] = "{\n\"a\":1,\n", runtime[] = "{\n\"b\":2,\n";
static char lib[64];

static const char *in(const char *name)
{
	static char path[2][256];
	static unsigned turn;
	char *p = path[turn++ % 2];

	(void)snprintf(p, sizeof(path[0]), "%s/%s", lib, name);
	return p;
}

static void put(const char *name, const char *text, unsigned mode)
{
	int fd = open(in(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	(void)close(fd);
}

static struct sealing_key key_of(const char *text)
{
	struct sealing_key key;

	assert_int_equal(sealing_key_parse(text, &key, NULL), 0);
	return key;
}

static const char counted[] =
    "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F";
static const char other[] =
    "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff\n";

struct sealed {
	char *config, *state;
};

static struct sealed seal(const struct sealing_key *key)
{
	struct sealed s;

	assert_int_equal(
	    sealing_seal(key, config, runtime, &s.config, &s.state, NULL), 0);
	return s;
}

static void done(struct sealed *s)
{
	free(s->config);
	free(s->state);
}

/* Computed by another program from docs/format/log-export.md. */
static void the_mac_is_what_the_format_says(void **state)
{
	static const char mac[] =
	    "db2144d7614dc2d7dcc503646563e7073d15d39d2c2522fc607fbd67a764b583";
	struct sealing_key key = key_of(counted);
	struct sealed s = seal(&key);
	char last[256];

	(void)snprintf(last, sizeof(last), "\"mac\":\"%s\"}\n", mac);
	assert_memory_equal(s.config, config, strlen(config));
	assert_string_equal(s.config + strlen(config), last);
	assert_string_equal(s.state + strlen(runtime), last);
	assert_true(sealing_is_good(lib, &key, s.config, s.state));
	done(&s);
}

/* Any byte of either, and each for the other. */
static void what_was_changed_is_not_good(void **state)
{
	struct sealing_key key = key_of(counted), wrong = key_of(other);
	struct sealed s = seal(&key), t;
	char *texts[] = {s.config, s.state};

	for (unsigned i = 0; i < 2; i++)
		for (size_t k = 0; k < strlen(texts[i]); k++) {
			texts[i][k] ^= 1;
			assert_false(
			    sealing_is_good(lib, &key, s.config, s.state));
			texts[i][k] ^= 1;
		}
	assert_true(sealing_is_good(lib, &key, s.config, s.state));
	assert_false(sealing_is_good(lib, &wrong, s.config, s.state));
	assert_false(sealing_is_good(lib, &key, s.state, s.config));
	assert_false(sealing_is_good(lib, &key, s.config, s.config));
	assert_false(sealing_is_good(lib, &key, "", s.state));
	assert_false(sealing_is_good(lib, &key, s.config, ""));
	t = seal(&wrong);
	assert_false(sealing_is_good(lib, &key, s.config, t.state));
	done(&s);
	done(&t);
}

/* What moves from the end of one to the beginning of the other. */
static void where_one_document_ends_matters(void **state)
{
	struct sealing_key key = key_of(counted);
	struct sealed s = seal(&key);
	char *a, *b;

	assert_int_not_equal(asprintf(&a, "%.*s%s", (int)strlen(config) - 1,
				      config, s.config + strlen(config)),
			     -1);
	assert_int_not_equal(asprintf(&b, "\n%s", s.state), -1);
	assert_false(sealing_is_good(lib, &key, a, b));
	free(a);
	free(b);
	done(&s);
}

static void the_hosts_key_is_made_once_and_ours_alone(void **state)
{
	struct sealing_key a, b;
	struct err err = {0};
	struct sealed s;
	struct stat st;

	assert_int_equal(sealing_key_own(lib, &a, &err), 0);
	assert_int_equal(err.code, 0); /* that there was none is no failure */
	assert_int_equal(sealing_key_own(lib, &b, NULL), 0);
	assert_memory_equal(&a, &b, sizeof(a));
	assert_int_equal(stat(in("import-key"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	s = seal(&a);
	assert_true(sealing_is_good(lib, NULL, s.config, s.state));
	assert_int_equal(chmod(in("import-key"), 0640), 0);
	assert_false(sealing_is_good(lib, NULL, s.config, s.state));
	assert_int_equal(sealing_key_own(lib, &b, &err), -RP_EFAILED);
	assert_non_null(strstr(err.text, lib));
	put("import-key", "0123\n", 0600);
	assert_int_equal(sealing_key_own(lib, &b, NULL), -RP_ECORRUPT);
	assert_false(sealing_is_good(lib, NULL, s.config, s.state));
	assert_int_equal(unlink(in("import-key")), 0);
	assert_int_equal(sealing_key_own(lib, &b, NULL), 0);
	assert_memory_not_equal(&a, &b, sizeof(a));
	done(&s);
}

static void shared_keys_are_tried(void **state)
{
	struct sealing_key key = key_of(counted);
	struct sealed s = seal(&key);

	assert_false(sealing_is_good(lib, NULL, s.config, s.state));
	assert_int_equal(mkdir(in("import-keys"), 0700), 0);
	put("import-keys/a.key", "what\n", 0600);
	put("import-keys/b.key", other, 0600);
	put("import-keys/c.txt", counted, 0600);
	assert_false(sealing_is_good(lib, NULL, s.config, s.state));
	put("import-keys/d.key", counted, 0644);
	assert_false(sealing_is_good(lib, NULL, s.config, s.state));
	put("import-keys/d.key", counted, 0600);
	assert_true(sealing_is_good(lib, NULL, s.config, s.state));
	assert_int_equal(unlink(in("import-keys/d.key")), 0);
	assert_int_equal(
	    symlink(in("import-keys/c.txt"), in("import-keys/e.key")), 0);
	assert_false(sealing_is_good(lib, NULL, s.config, s.state));
	done(&s);
}

static void what_is_no_key_is_refused(void **state)
{
	static const char *const wrong[] = {
	    "",
	    "\n",
	    "00",
	    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1",
	    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f0",
	    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1g",
	    "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n\n",
	    " 00102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"};
	struct sealing_key key;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(sealing_key_parse(wrong[i], &key, NULL),
				 -RP_EPARAM);
}

static int make_lib(void **state)
{
	(void)strcpy(lib, "/tmp/test-sealing-XXXXXX");
	return mkdtemp(lib) ? 0 : -1;
}

static int remove_lib(void **state)
{
	char command[128];

	(void)snprintf(command, sizeof(command), "rm -r %s", lib);
	return system(command);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_lib, remove_lib)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(the_mac_is_what_the_format_says),
	    TEST(what_was_changed_is_not_good),
	    TEST(where_one_document_ends_matters),
	    TEST(the_hosts_key_is_made_once_and_ours_alone),
	    TEST(shared_keys_are_tried),
	    TEST(what_is_no_key_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
