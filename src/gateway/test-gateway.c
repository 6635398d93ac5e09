/* SPDX-License-Identifier: Apache-2.0 */
/* The command line, the doors, and what is left after the rights were given
 * up, in a child for each case. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/bytes.h"
#include "gateway/confine.h"

/* ------------------------------------------------------------ command line */

#define READ(...)                                                              \
	read_line(&options, (const char *[]){"refpoint-cim", __VA_ARGS__, NULL})

static int read_line(struct gateway_options *options, const char *const *given)
{
	char *argv[16] = {NULL}; /* getopt may change their order */
	int argc = 0;

	while (given[argc]) {
		argv[argc] = (char *)(uintptr_t)given[argc];
		argc++;
	}
	*options = (struct gateway_options){0};
	optind = 0;
	return options_read(argc, argv, options);
}

static void defaults_are_tls_on_all_addresses(void **state)
{
	struct gateway_options options;

	assert_int_equal(READ("--users", "u"), 0);
	assert_int_equal(options.n_doors, 4);
	assert_string_equal(options.doors[0].address, "0.0.0.0:5986");
	assert_string_equal(options.doors[1].address, "[::]:5986");
	assert_true(options.doors[1].optional);
	assert_int_equal(options.doors[2].protocol, DOOR_CIMXML);
	assert_string_equal(options.doors[2].address, "0.0.0.0:5989");
	assert_false(options.plain);
	assert_false(options.pam);
	assert_null(options.export_root);
	assert_string_equal(options.operator_group, "refpoint");
	assert_string_equal(options.reader_group, "refpoint-reader");
}

static void plain_http_has_loopback_for_default(void **state)
{
	struct gateway_options options;

	assert_int_equal(READ("--users", "u", "--insecure-http"), 0);
	assert_int_equal(options.n_doors, 2);
	assert_string_equal(options.doors[0].address, "127.0.0.1:5985");
	assert_string_equal(options.doors[1].address, "127.0.0.1:5988");
}

static void passwords_of_the_system_are_the_default(void **state)
{
	struct gateway_options options;

	assert_int_equal(READ("--cimxml", "127.0.0.1:0"), 0);
	assert_true(options.pam);
	assert_int_equal(READ("--keytab", "k"), 0);
	assert_false(options.pam);
}

static void what_is_said_takes_the_place_of_a_default(void **state)
{
	struct gateway_options options;

	assert_int_equal(
	    READ("--pam", "--wsman", "[::1]:1", "--wsman", "127.0.0.1:2"), 0);
	assert_int_equal(options.n_doors, 4);
	assert_string_equal(options.doors[0].address, "[::1]:1");
	assert_string_equal(options.doors[1].address, "127.0.0.1:2");
	assert_false(options.doors[0].optional);
	assert_string_equal(options.doors[2].address, "0.0.0.0:5989");
	assert_int_equal(READ("--pam", "--wsman", "a", "--wsman", "b",
			      "--wsman", "c", "--wsman", "d", "--wsman", "e"),
			 1 + EXIT_USAGE);
}

/* ------------------------------------------------------------------- doors */

static bool is_open(const char *method, const char *path, const char *said)
{
	const struct http_header header = {"wsmanidentify", said};
	const struct http_request request = {.method = method,
					     .path = path,
					     .headers = &header,
					     .n_headers = said != NULL};

	return dispatch_anonymous(&request);
}

static void nobody_gets_in_but_where_identify_is(void **state)
{
	assert_true(is_open("POST", "/wsman-anon/identify", NULL));
	assert_true(is_open("POST", "/wsman", "unauthenticated"));
	assert_true(is_open("POST", "/wsman/", "Unauthenticated"));
	assert_false(is_open("POST", "/wsman", NULL));
	assert_false(is_open("POST", "/wsman", "yes"));
	assert_false(is_open("POST", "/", "unauthenticated"));
	assert_false(is_open("GET", "/wsman-anon/identify", NULL));
	assert_false(is_open("POST", "/wsman-anon/identify/x", NULL));
}

static unsigned status_of(int tag, const char *method, const char *path,
			  enum role role)
{
	struct broker *broker;
	struct dispatch dispatch;
	struct providers none = {.host.name = "host"};
	const struct http_request request = {.tag = tag,
					     .method = method,
					     .path = path,
					     .content_type = "application/xml",
					     .body = (const uint8_t *)"",
					     .principal = {.role = role,
							   .name = "alice"}};
	struct http_response response = {0};
	struct err err = {0};
	unsigned status;

	assert_int_equal(providers_all(&none, &broker, &err), 0);
	assert_int_equal(dispatch_init(&dispatch, broker, &err), 0);
	dispatch_handle(&dispatch, &request, &response);
	status = response.status;
	http_response_clear(&response);
	dispatch_clear(&dispatch);
	assert_null(broker_free(broker));
	return status;
}

static void denied_is_denied_behind_every_door(void **state)
{
	for (int role = ROLE_DENIED; role <= ROLE_OPERATOR + 1; role++) {
		bool known = role == ROLE_READ_ONLY || role == ROLE_OPERATOR;

		assert_int_equal(status_of(DOOR_CIMXML, "POST", "/cimom",
					   (enum role)role),
				 known ? 501 : 401);
		assert_int_equal(status_of(DOOR_WSMAN, "POST", "/wsman",
					   (enum role)role),
				 known ? 200 : 401);
	}
	assert_int_equal(status_of(DOOR_WSMAN, "POST", "/cimom", ROLE_OPERATOR),
			 404);
	assert_int_equal(status_of(DOOR_WSMAN, "GET", "/wsman", ROLE_OPERATOR),
			 405);
}

/* -------------------------------------------------------------- confinement */

static char top[64];
static char users[128], exports[128];
static struct gateway gateway;

#define EXPECT(x)                                                              \
	do {                                                                   \
		if (!(x)) {                                                    \
			dprintf(2, "line %d: %s: %s\n", __LINE__, #x,          \
				strerror(errno));                              \
			_exit(1);                                              \
		}                                                              \
	} while (0)

static const char *in_top(const char *name)
{
	static char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", top, name);
	return path;
}

static bool make_file(const char *name)
{
	int fd = open(in_top(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	return fd >= 0 && close(fd) == 0;
}

static int set_up(void **state)
{
	(void)strcpy(top, "/tmp/test-gateway.XXXXXX");
	assert_non_null(mkdtemp(top));
	assert_int_equal(mkdir(in_top("cim"), 0700), 0);
	assert_int_equal(mkdir(in_top("conf"), 0700), 0);
	assert_int_equal(mkdir(in_top("other"), 0700), 0);
	assert_int_equal(mkdir(in_top("exports"), 0700), 0);
	assert_true(make_file("conf/users") && make_file("other/there"));
	(void)snprintf(users, sizeof(users), "%s/conf/users", top);
	(void)snprintf(gateway.paths.cim, sizeof(gateway.paths.cim), "%s/cim",
		       top);
	gateway.options.users = users;
	(void)snprintf(exports, sizeof(exports), "%s/exports", top);
	gateway.options.export_root = exports;
	return 0;
}

static int tear_down(void **state)
{
	char command[128];

	(void)snprintf(command, sizeof(command), "rm -rf '%s'", top);
	return system(command);
}

static void enter(void)
{
	struct err err = {0};

	if (confine_enter(&gateway, &err) < 0 || confine_seal(&err) < 0) {
		dprintf(2, "%s\n", err.text);
		_exit(1);
	}
}

static void in_child(void (*fn)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		fn();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void *thread(void *arg)
{
	*(const struct passwd **)arg = getpwnam("root");
	return arg;
}

static void use_what_is_left(void)
{
	const struct passwd *pw = NULL;
	pthread_t t;
	char to[128];

	enter();
	EXPECT(access("/etc/passwd", R_OK) == 0);
	EXPECT(getgrnam("root"));
	EXPECT(pthread_create(&t, NULL, thread, &pw) == 0);
	EXPECT(pthread_join(t, NULL) == 0 && pw);
	EXPECT(make_file("cim/new"));
	(void)snprintf(to, sizeof(to), "%s/cim/newer", top);
	EXPECT(rename(in_top("cim/new"), to) == 0);
	EXPECT(open(users, O_RDONLY) >= 0);
	EXPECT(socket(AF_UNIX, SOCK_STREAM, 0) >= 0);
	EXPECT(alarm(0) == 0);
}

/* As the opener of exports does, and who reads what they say. */
static void use_the_export_root(void)
{
	const struct open_how how = {.flags = O_RDONLY,
				     .resolve = RESOLVE_BENEATH};
	char to[128];
	int fd;

	enter();
	fd = open(exports, O_RDONLY | O_DIRECTORY);
	EXPECT(fd >= 0);
	EXPECT(mkdirat(fd, "a.partial", 0700) == 0);
	EXPECT(make_file("exports/a.partial/disk"));
	EXPECT(renameat(fd, "a.partial", fd, "a") == 0);
	EXPECT(fsync(fd) == 0);
	EXPECT(syscall(SYS_openat2, fd, "a/disk", &how, sizeof(how)) >= 0);
	EXPECT(syscall(SYS_openat2, fd, "../conf/users", &how, sizeof(how)) <
		   0 &&
	       errno == EXDEV);
	(void)snprintf(to, sizeof(to), "%s/a/disk", exports);
	EXPECT(truncate(to, 4096) == 0 || errno == EPERM);
	EXPECT(unlink(to) == 0);
	EXPECT(unlinkat(fd, "a", AT_REMOVEDIR) == 0);
}

static void use_the_rest(void)
{
	enter();
	EXPECT(socket(AF_INET, SOCK_STREAM, 0) < 0 && errno == EPERM);
	EXPECT(socket(AF_INET6, SOCK_DGRAM, 0) < 0 && errno == EPERM);
	EXPECT(socket(AF_NETLINK, SOCK_RAW, 0) < 0 && errno == EPERM);
	EXPECT(execl("/bin/true", "true", NULL) < 0);
	EXPECT(fork() < 0 && errno == EPERM);
	EXPECT(kill(getppid(), 0) < 0 && errno == EPERM);
	EXPECT(setuid(0) < 0 && errno == EPERM);
	EXPECT(syscall(SYS_ptrace, 0, 0, NULL, NULL) < 0 && errno == EPERM);
	EXPECT(mmap(NULL, 4096, PROT_WRITE | PROT_EXEC,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED);
}

static void look_elsewhere(void)
{
	enter();
	EXPECT(open(in_top("other/there"), O_RDONLY) < 0 && errno == EACCES);
	EXPECT(unlink(in_top("other/there")) < 0 && errno == EACCES);
	EXPECT(!make_file("other/new") && errno == EACCES);
	EXPECT(!make_file("conf/new") && errno == EACCES);
	EXPECT(mkdirat(AT_FDCWD, in_top("other/dir"), 0700) < 0 &&
	       errno == EACCES);
	EXPECT(mkdirat(AT_FDCWD, in_top("cim/dir"), 0700) < 0 &&
	       errno == EACCES);
	EXPECT(open(users, O_WRONLY) < 0 && errno == EACCES);
	EXPECT(open("/proc/1/environ", O_RDONLY) < 0 && errno == EACCES);
}

static void what_libraries_need_is_left(void **state)
{
	in_child(use_what_is_left);
}

static void exports_have_their_place(void **state)
{
	in_child(use_the_export_root);
}

static void no_network_no_program_no_rights_are_left(void **state)
{
	in_child(use_the_rest);
}

static void other_files_are_out_of_reach(void **state)
{
	if (syscall(444 /* landlock_create_ruleset */, NULL, (size_t)0, 1u) <=
	    0) {
		print_message("the kernel has no Landlock\n");
		skip();
	}
	in_child(look_elsewhere);
}

#define CONFINED(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(defaults_are_tls_on_all_addresses),
	    cmocka_unit_test(plain_http_has_loopback_for_default),
	    cmocka_unit_test(passwords_of_the_system_are_the_default),
	    cmocka_unit_test(what_is_said_takes_the_place_of_a_default),
	    cmocka_unit_test(nobody_gets_in_but_where_identify_is),
	    cmocka_unit_test(denied_is_denied_behind_every_door),
	    CONFINED(what_libraries_need_is_left),
	    CONFINED(exports_have_their_place),
	    CONFINED(no_network_no_program_no_rights_are_left),
	    CONFINED(other_files_are_out_of_reach),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
