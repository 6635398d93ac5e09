/* SPDX-License-Identifier: Apache-2.0 */
/* For tests, which cannot wait for as long as a client may. */
#ifndef NBD_TUNING_H
#define NBD_TUNING_H

#include "nbd/server.h"

/* Instead of NBD_NEGOTIATION_MS, NBD_STALL_MS and NBD_GOODBYE_MS. */
struct nbd_times {
	uint64_t negotiation_ms;
	uint64_t stall_ms;
	uint64_t goodbye_ms;
	uint64_t tick_ms; /* how often these are looked at */
};

/* Before the first nbd_server_listen(). */
void nbd_server_set_times(struct nbd_server *server,
			  const struct nbd_times *times);

#endif
