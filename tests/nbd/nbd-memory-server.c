/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The NBD server on disks in memory, for tests/nbd/test-*.py.
 *
 *   nbd-memory-server SOCKET DISK...    DISK: ID=BYTES or ID=@FILE; ID:ro=...
 *                                       is read-only
 *
 * Commands come as lines on stdin, each is answered by one line on stdout:
 *   hold | release          requests wait; go on
 *   step N                  while held, let N of them go
 *   fail START END ERRNO    requests that touch [START, END) fail; 0 0 0: none
 *   gone                    the point `gone` is destroyed, and read-only disks
 *                           can be read no more
 *   stick | unstick         questions for what changed wait; go on
 *   asked                   how many such questions there were so far
 *   times NEGOTIATION STALL GOODBYE   in milliseconds
 *   stats                   "inflight=... attached=... views=... queued=...
 *                           fds=..."
 *   trace                   requests since the last `trace`, as "submit:write:
 *                           OFFSET:LENGTH:FLAGS", separated by spaces
 *   drain | break           answered once the server has drained, or broken
 *                           off, with "drained"; then it listens again
 *   quit                    also at the end of stdin
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/log.h"
#include "disk/posix.h"
#include "fake-volume.h"
#include "nbd/tuning.h"

struct program {
	struct fake_host host;
	struct ring *ring;
	struct nbd_server *server;
	int listen_fd;
	struct ring_task complete;
	bool posted;
	struct ring_op input;
	char line[4096];
	size_t line_bytes;
	char *trace;
	size_t trace_bytes;
	FILE *trace_file;
	bool quitting;
};

static void die(const char *what, const struct err *err)
{
	fprintf(stderr, "%s: %s\n", what, err ? err->text : "failed");
	exit(1);
}

/* ---- completing requests ------------------------------------------------ */

static void complete(struct ring_task *task)
{
	struct program *program = container_of(task, struct program, complete);

	program->posted = false;
	(void)fake_complete(&program->host, UINT32_MAX);
}

static void wake(struct fake_host *host)
{
	struct program *program = container_of(host, struct program, host);

	if (program->posted || host->held)
		return;
	program->posted = true;
	ring_post(program->ring, &program->complete);
}

static void record(struct fake_host *host, const char *what,
		   const struct volume_request *request)
{
	static const char *const names[] = {"read", "write", "zero", "discard",
					    "flush"};
	struct program *program = container_of(host, struct program, host);

	if (program->trace_file)
		fprintf(program->trace_file, "%s:%s:%llu:%llu:%u ", what,
			names[request->op], (unsigned long long)request->offset,
			(unsigned long long)request->length, request->flags);
}

/* ---- commands ------------------------------------------------------------ */

static void answer(const char *text)
{
	printf("%s\n", text);
	fflush(stdout);
}

static int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n - 3; /* ".", "..", the directory itself */
}

static void start_trace(struct program *program)
{
	if (program->trace_file)
		fclose(program->trace_file);
	free(program->trace);
	program->trace_file =
	    open_memstream(&program->trace, &program->trace_bytes);
}

static void print_trace(struct program *program)
{
	if (!program->trace_file) {
		start_trace(program);
		answer("");
		return;
	}
	fflush(program->trace_file);
	answer(program->trace);
	start_trace(program);
}

static void print_stats(struct program *program)
{
	char text[200];

	(void)snprintf(text, sizeof(text),
		       "inflight=%llu attached=%d views=%d queued=%u fds=%d",
		       (unsigned long long)nbd_server_inflight(program->server),
		       program->host.attached, program->host.views,
		       program->host.queued, count_fds());
	answer(text);
}

static void print_asked(struct program *program)
{
	char text[16];

	(void)snprintf(text, sizeof(text), "%u", program->host.asked);
	answer(text);
}

static void drained(void *arg)
{
	struct program *program = arg;

	if (program->quitting) {
		ring_stop(program->ring);
		return;
	}
	nbd_server_listen(program->server, program->listen_fd);
	answer("drained");
}

static void step(struct program *program, unsigned n)
{
	program->host.held = false;
	(void)fake_complete(&program->host, n);
	program->host.held = true;
	answer("ok");
}

static void quit(struct program *program)
{
	program->quitting = true;
	program->host.held = false;
	wake(&program->host);
	nbd_server_drain(program->server, drained, program);
}

static void run_command(struct program *program, const char *line)
{
	unsigned long long a, b, c;
	struct fake_host *host = &program->host;

	if (strcmp(line, "stats") == 0) {
		print_stats(program);
	} else if (strcmp(line, "trace") == 0) {
		print_trace(program);
	} else if (strcmp(line, "asked") == 0) {
		print_asked(program);
	} else if (strcmp(line, "drain") == 0) {
		nbd_server_drain(program->server, drained, program);
	} else if (strcmp(line, "break") == 0) {
		nbd_server_break(program->server, drained, program);
	} else if (strcmp(line, "quit") == 0) {
		quit(program);
	} else if (sscanf(line, "step %llu", &a) == 1) {
		step(program, (unsigned)a);
	} else {
		if (strcmp(line, "hold") == 0) {
			host->held = true;
		} else if (strcmp(line, "release") == 0) {
			host->held = false;
			wake(host);
		} else if (strcmp(line, "gone") == 0) {
			host->gone = true;
		} else if (strcmp(line, "stick") == 0) {
			fake_stick(host, true);
		} else if (strcmp(line, "unstick") == 0) {
			fake_stick(host, false);
		} else if (sscanf(line, "fail %llu %llu %llu", &a, &b, &c) ==
			   3) {
			host->fail_start = a;
			host->fail_end = b;
			host->fail_with = -(int)c;
		} else if (sscanf(line, "times %llu %llu %llu", &a, &b, &c) ==
			   3) {
			nbd_server_set_times(program->server,
					     &(struct nbd_times){a, b, c, 50});
		} else {
			die(line, NULL);
		}
		answer("ok");
	}
}

static void read_input(struct program *program)
{
	struct io_uring_sqe *sqe = ring_sqe(program->ring, &program->input);

	io_uring_prep_read(
	    sqe, STDIN_FILENO, program->line + program->line_bytes,
	    (unsigned)(sizeof(program->line) - program->line_bytes),
	    (uint64_t)-1);
}

static void input(struct ring_op *op, int result, unsigned cqe_flags)
{
	struct program *program = container_of(op, struct program, input);
	char *end;

	if (result <= 0) {
		if (!program->quitting)
			quit(program);
		return;
	}
	program->line_bytes += (size_t)result;
	while ((end = memchr(program->line, '\n', program->line_bytes))) {
		size_t used = (size_t)(end - program->line) + 1;

		*end = '\0';
		run_command(program, program->line);
		program->line_bytes -= used;
		memmove(program->line, program->line + used,
			program->line_bytes);
	}
	if (!program->quitting)
		read_input(program);
}

/* ---- start ----------------------------------------------------------------
 */

static void add_file(struct program *program, const char *id, const char *path)
{
	struct fake_disk *disk = fake_add(&program->host, id, 4096);
	struct err err = {0};
	struct stat st;

	disk->fd = open(path, O_RDWR | O_CLOEXEC | O_DIRECT);
	if (disk->fd < 0)
		disk->fd = open(path, O_RDWR | O_CLOEXEC);
	if (disk->fd < 0 || fstat(disk->fd, &st) < 0)
		die(path, NULL);
	if (posix_file_new(disk->fd, path, &disk->file, &err) < 0)
		die(path, &err);
	disk->disk.bytes = (uint64_t)st.st_size;
	disk->memory = NULL;
}

static bool strip_suffix(char *text, const char *suffix)
{
	size_t n = strlen(text), m = strlen(suffix);

	if (n < m || strcmp(text + n - m, suffix) != 0)
		return false;
	text[n - m] = '\0';
	return true;
}

static void add_disk(struct program *program, char *spec)
{
	char *equals = strchr(spec, '=');
	bool read_only;

	if (!equals)
		die(spec, NULL);
	*equals = '\0';
	read_only = strip_suffix(spec, ":ro");
	if (equals[1] == '@')
		add_file(program, spec, equals + 2);
	else if (!fake_add(&program->host, spec, strtoull(equals + 1, NULL, 0)))
		die(spec, NULL);
	program->host.disks[program->host.count - 1].disk.read_only = read_only;
}

static int listen_on(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || strlen(path) >= sizeof(address.sun_path))
		die(path, NULL);
	strcpy(address.sun_path, path);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    listen(fd, 100) < 0)
		die(path, NULL);
	return fd;
}

int main(int argc, char **argv)
{
	static struct program program;
	static const struct nbd_setup setup = {
	    .name = "nbd",
	    .connections = NBD_CONNECTIONS_MAX,
	    .bytes = INFLIGHT_BYTES_MAX,
	};
	struct err err = {0};

	if (argc < 2)
		die("usage: nbd-memory-server SOCKET ID=BYTES|ID=@FILE...",
		    NULL);
	log_open("nbd-memory-server");
	log_enable_debug(getenv("REFPOINT_DEBUG"));
	fake_host_init(&program.host);
	program.host.wake = wake;
	program.host.trace = record;
	program.complete.run = complete;
	program.input.done = input;
	if (ring_new(256, &program.ring, &err) < 0 ||
	    nbd_server_new(program.ring, &program.host.host, &setup,
			   &program.server, &err) < 0 ||
	    ring_enable(program.ring, &err) < 0)
		die("start", &err);
	program.host.ioq = ring_ioq(program.ring);
	for (int i = 2; i < argc; i++)
		add_disk(&program, argv[i]);
	program.listen_fd = listen_on(argv[1]);
	nbd_server_listen(program.server, program.listen_fd);
	answer("ready");
	read_input(&program);
	if (ring_run(program.ring, &err) < 0)
		die("run", &err);
	nbd_server_free(program.server);
	fake_host_done(&program.host);
	ring_free(program.ring);
	if (program.trace_file)
		fclose(program.trace_file);
	free(program.trace);
	(void)close(program.listen_fd);
	return 0;
}
