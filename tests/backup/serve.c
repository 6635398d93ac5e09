/* SPDX-License-Identifier: Apache-2.0 */
#include "serve.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "target/serve.h"

struct serving {
	pthread_t thread;
	int channel, result;
	struct err err;
};

static void *serve(void *arg)
{
	struct serving *s = arg;

	s->result = target_serve(s->channel, &s->err);
	(void)close(s->channel);
	return NULL;
}

struct serving *serve_files(const int *files, unsigned n,
			    int ret_fds[TARGET_FDS])
{
	struct serving *s = calloc(1, sizeof(*s));
	int fds[TARGET_FILES_FROM + EXPORT_FILES_MAX], pair[2];

	if (!s || n > EXPORT_FILES_MAX ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		abort();
	fds[0] = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	fds[1] = dup(fds[0]); /* what is held */
	if (ftruncate(fds[0], TARGET_MEMORY_BYTES) < 0 ||
	    fcntl(fds[0], F_ADD_SEALS, F_SEAL_SHRINK) < 0)
		abort();
	memcpy(fds + TARGET_FILES_FROM, files, n * sizeof(*files));
	if (target_give(pair[0], fds, TARGET_FILES_FROM + n, NULL) < 0)
		abort();
	for (unsigned i = 1; i < TARGET_FILES_FROM + n; i++)
		(void)close(fds[i]);
	s->channel = pair[1];
	ret_fds[0] = pair[0];
	ret_fds[1] = fds[0];
	if (pthread_create(&s->thread, NULL, serve, s) != 0)
		abort();
	return s;
}

int serve_end(struct serving *s, struct err *err)
{
	int r;

	(void)pthread_join(s->thread, NULL);
	r = s->result;
	if (r < 0 && err)
		*err = s->err;
	free(s);
	return r;
}
