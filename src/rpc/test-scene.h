/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the tests of servers and clients share: a server on this thread's event
 * loop, with methods of its own, and bytes written to it by hand.  Every test
 * ends with as many open descriptors as it began with.
 */
#ifndef RPC_TEST_SCENE_H
#define RPC_TEST_SCENE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/limits.h"
#include "rpc/rpc.h"

#define PIECES 400u /* that t.Stream sends */

struct world {
	sd_event *event;
	struct rpc_server *server;
	char dir[64], path[96];
	int fds_before;
	struct rpc_call *held; /* by Hold */
	unsigned hangups, drains, produced;
	bool done;
};

extern struct world *w;
extern const struct rpc_method methods[];

/* Fixtures: make and end *w. */
int set_up(void **state);
int tear_down(void **state);

int count_fds(void);
/* Runs the loop until *FLAG, at most 20 s. */
void run_until(const bool *flag);
void run_idle(void);

int listen_at(const char *path);
int dial(void);
void put(int fd, const char *bytes, size_t n);
/* A literal with its NUL. */
#define PUT(fd, literal) put(fd, literal, sizeof(literal))
/* What the server sent, up to and without a NUL; "" at the end of it. */
const char *get(int fd);
#define NOTHING_YET(fd)                                                        \
	do {                                                                   \
		char byte;                                                     \
		run_idle();                                                    \
		assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), -1);        \
		assert_int_equal(errno, EAGAIN);                               \
	} while (0)

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

#endif
