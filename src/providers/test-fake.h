/* SPDX-License-Identifier: Apache-2.0 */
/* A refpointd of the tests' own: a thread that answers at a gateway.sock. */
#ifndef PROVIDERS_TEST_FAKE_H
#define PROVIDERS_TEST_FAKE_H

#include "providers/backend.h"
#include "rpc/rpc.h"

struct fake;

/* METHODS, for RPC_ROLE_GATEWAY, ends with a NULL name; they are called with
 * ARG on the fake's thread.  *BACKEND leads there.  Fails the test if that
 * cannot be had. */
struct fake *fake_new(const struct rpc_method *methods, void *arg,
		      struct backend *backend);
/* NULL is allowed, and returned. */
struct fake *fake_free(struct fake *fake);

#endif
