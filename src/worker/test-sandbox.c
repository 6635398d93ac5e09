/* SPDX-License-Identifier: Apache-2.0 */
/* Each case runs in a child of its own, which says by its exit status or by
 * its death what the sandbox did. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "worker/sandbox.h"

static char top[64];
static int store = -1, live = -1, run = -1, outside = -1;

#define EXPECT(x)                                                              \
	do {                                                                   \
		if (!(x)) {                                                    \
			dprintf(2, "line %d: %s: %s\n", __LINE__, #x,          \
				strerror(errno));                              \
			_exit(1);                                              \
		}                                                              \
	} while (0)

/* Runs FN in a child and returns its wait status. */
static int in_child(void (*fn)(void))
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		struct rlimit none = {0, 0};

		(void)setrlimit(RLIMIT_CORE, &none);
		fn();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void enter(void)
{
	struct err err = {0};
	int r = sandbox_enter(store, live, run, &err);

	if (r < 0) {
		dprintf(2, "%s\n", err.text);
		_exit(1);
	}
}

static void seal(void)
{
	struct err err = {0};

	enter();
	if (sandbox_seal(&err) < 0) {
		dprintf(2, "%s\n", err.text);
		_exit(1);
	}
}

static int make_file(int dirfd, const char *name)
{
	return openat(dirfd, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

static void use_own_directories(void)
{
	char buf[4];
	int fd;
	struct sockaddr_un sun = {.sun_family = AF_UNIX};

	enter();
	EXPECT((fd = make_file(store, "a")) >= 0);
	EXPECT(write(fd, "abc", 3) == 3);
	EXPECT(ftruncate(fd, 2) == 0);
	EXPECT(pread(fd, buf, 4, 0) == 2);
	EXPECT(renameat(store, "a", store, "b") == 0);
	EXPECT(unlinkat(store, "b", 0) == 0);
	EXPECT(make_file(live, "c") >= 0);
	EXPECT(unlinkat(live, "c", 0) == 0);
	EXPECT(openat(store, ".", O_RDONLY | O_DIRECTORY) >= 0);
	EXPECT((fd = socket(AF_UNIX, SOCK_STREAM, 0)) >= 0);
	(void)snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/run/s", top);
	EXPECT(bind(fd, (struct sockaddr *)&sun, sizeof(sun)) == 0);
	EXPECT(unlink(sun.sun_path) == 0);
	EXPECT(open("/proc/sys/kernel/random/boot_id", O_RDONLY) >= 0);
}

static void use_others(void)
{
	char path[128];

	enter();
	EXPECT(make_file(outside, "x") < 0 && errno == EACCES);
	EXPECT(openat(outside, "there", O_RDONLY) < 0 && errno == EACCES);
	EXPECT(openat(outside, ".", O_RDONLY | O_DIRECTORY) < 0 &&
	       errno == EACCES);
	EXPECT(openat(store, "../outside/there", O_RDONLY) < 0 &&
	       errno == EACCES);
	EXPECT(unlinkat(outside, "there", 0) < 0 && errno == EACCES);
	EXPECT(mkdirat(store, "dir", 0700) < 0 && errno == EACCES);
	EXPECT(symlinkat("/etc", store, "link") < 0 && errno == EACCES);
	EXPECT(open("/etc/passwd", O_RDONLY) < 0 && errno == EACCES);
	(void)snprintf(path, sizeof(path), "%s/store/new", top);
	EXPECT(renameat(outside, "there", store, "new") < 0);
	EXPECT(execl("/bin/true", "true", NULL) < 0 && errno == EACCES);
}

static bool has_landlock(void)
{
	return syscall(444 /* landlock_create_ruleset */, NULL, (size_t)0, 1u) >
	       0;
}

static void own_directories_stay_usable(void **state)
{
	assert_int_equal(in_child(use_own_directories), 0);
}

static void everything_else_is_out_of_reach(void **state)
{
	if (!has_landlock()) {
		print_message("the kernel has no Landlock\n");
		skip();
	}
	assert_int_equal(in_child(use_others), 0);
}

static void *thread(void *arg)
{
	*(int *)arg = (int)syscall(SYS_gettid);
	return arg;
}

static void do_a_workers_things(void)
{
	struct flock lock = {.l_type = F_WRLCK, .l_len = 1};
	struct timespec ts = {.tv_nsec = 1};
	struct epoll_event ev;
	pthread_t t;
	int fds[2], fd, tid = 0, ep;
	char buf[8];
	struct iovec iov = {buf, 3};
	void *p;

	EXPECT(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0);
	seal();
	EXPECT((fd = make_file(store, "a")) >= 0);
	EXPECT(fallocate(fd, 0, 0, 8192) == 0);
	EXPECT(pwrite(fd, "abc", 3, 0) == 3);
	EXPECT(pwritev2(fd, &iov, 1, 0, 0) == 3);
	EXPECT(fdatasync(fd) == 0);
	EXPECT(fcntl(fd, F_OFD_SETLK, &lock) == 0);
	p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	EXPECT(p != MAP_FAILED);
	EXPECT(munmap(p, 4096) == 0);
	EXPECT(unlinkat(store, "a", 0) == 0);
	EXPECT(send(fds[0], "x", 1, MSG_NOSIGNAL) == 1);
	EXPECT(recv(fds[1], buf, 1, 0) == 1);
	EXPECT((ep = epoll_create1(0)) >= 0);
	EXPECT(epoll_wait(ep, &ev, 1, 0) == 0);
	EXPECT(nanosleep(&ts, NULL) == 0);
	EXPECT(pthread_create(&t, NULL, thread, &tid) == 0);
	EXPECT(pthread_join(t, NULL) == 0 && tid > 0);
	p = malloc(4u << 20);
	EXPECT(p);
	free(p);
}

static void what_a_worker_needs_is_allowed(void **state)
{
	assert_int_equal(in_child(do_a_workers_things), 0);
}

static void do_abort(void)
{
	seal();
	abort();
}

static void an_assertion_still_ends_in_abort(void **state)
{
	int status = in_child(do_abort);

	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void do_exec(void)
{
	seal();
	(void)execl("/bin/true", "true", NULL);
}

static void do_socket(void)
{
	seal();
	(void)socket(AF_UNIX, SOCK_STREAM, 0);
}

static void do_connect(void)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX, .sun_path = "/x"};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	seal();
	(void)connect(fd, (struct sockaddr *)&sun, sizeof(sun));
}

static void do_fork(void)
{
	seal();
	if (fork() == 0)
		_exit(0);
}

static void do_exec_mapping(void)
{
	seal();
	(void)mmap(NULL, 4096, PROT_READ | PROT_EXEC,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

static void do_make_executable(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	seal();
	(void)mprotect(p, 4096, PROT_READ | PROT_EXEC);
}

static void do_kill_parent(void)
{
	pid_t parent = getppid();

	seal();
	(void)syscall(SYS_tgkill, parent, parent, 0);
}

static void do_ptrace(void)
{
	seal();
	(void)syscall(SYS_ptrace, 0, 0, 0, 0);
}

static void do_io_uring_setup(void)
{
	seal();
	(void)syscall(SYS_io_uring_setup, 4, NULL);
}

static void do_fcntl_pipe_size(void)
{
	seal();
	(void)fcntl(0, F_SETPIPE_SZ, 4096);
}

static void do_ioctl_tiocsti(void)
{
	seal();
	(void)syscall(SYS_ioctl, 0, 0x5412 /* TIOCSTI */, "x");
}

static void do_setrlimit(void)
{
	struct rlimit none = {0, 0};

	seal();
	(void)setrlimit(RLIMIT_NOFILE, &none);
}

static void *forbidden_thread(void *arg)
{
	int *pipe_fd = arg;
	char c;

	(void)!read(*pipe_fd, &c, 1);
	(void)socket(AF_UNIX, SOCK_STREAM, 0);
	return NULL;
}

static void do_socket_in_older_thread(void)
{
	pthread_t t;
	int fds[2];

	EXPECT(pipe(fds) == 0);
	EXPECT(pthread_create(&t, NULL, forbidden_thread, &fds[0]) == 0);
	seal();
	EXPECT(write(fds[1], "x", 1) == 1);
	(void)pthread_join(t, NULL);
}

static void whatever_is_not_needed_is_death(void **state)
{
	static const struct {
		const char *what;
		void (*fn)(void);
	} cases[] = {
	    {"execve", do_exec},
	    {"socket", do_socket},
	    {"connect", do_connect},
	    {"fork", do_fork},
	    {"mmap with PROT_EXEC", do_exec_mapping},
	    {"mprotect with PROT_EXEC", do_make_executable},
	    {"tgkill of another process", do_kill_parent},
	    {"ptrace", do_ptrace},
	    {"io_uring_setup", do_io_uring_setup},
	    {"fcntl F_SETPIPE_SZ", do_fcntl_pipe_size},
	    {"ioctl TIOCSTI", do_ioctl_tiocsti},
	    {"setrlimit", do_setrlimit},
	    {"socket in a thread older than the seal",
	     do_socket_in_older_thread},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int status = in_child(cases[i].fn);

		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGSYS)
			fail_msg("%s: status 0x%x", cases[i].what, status);
	}
}

static void do_socket_named(void)
{
	(void)setenv("REFPOINT_SANDBOX", "log", 1);
	(void)dup2(outside, 2);
	do_socket();
}

static void under_debug_the_forbidden_call_is_named(void **state)
{
	char buf[128] = "", path[128];
	int dir = outside, status;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "%s/log", top);
	outside = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	assert_true(outside >= 0);
	status = in_child(do_socket_named);
	n = pread(outside, buf, sizeof(buf) - 1, 0);
	close(outside);
	outside = dir;
	(void)unlink(path);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 128 + SIGSYS);
	assert_true(n > 0);
	assert_non_null(strstr(buf, "forbidden system call: socket"));
}

static int make_dir(const char *name)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/%s", top, name);
	(void)mkdir(path, 0700);
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int setup(void **state)
{
	(void)strcpy(top, "/tmp/test-sandbox-XXXXXX");
	if (!mkdtemp(top))
		return -1;
	store = make_dir("store");
	live = make_dir("live");
	run = make_dir("run");
	outside = make_dir("outside");
	return close(make_file(outside, "there"));
}

static int teardown(void **state)
{
	static const char *const names[] = {"outside/there", "outside", "store",
					    "live",          "run",     ""};
	char path[128];
	int r = 0;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", top, names[i]);
		r |= remove(path);
	}
	return r;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(own_directories_stay_usable),
	    cmocka_unit_test(everything_else_is_out_of_reach),
	    cmocka_unit_test(what_a_worker_needs_is_allowed),
	    cmocka_unit_test(an_assertion_still_ends_in_abort),
	    cmocka_unit_test(whatever_is_not_needed_is_death),
	    cmocka_unit_test(under_debug_the_forbidden_call_is_named),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
