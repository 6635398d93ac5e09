/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_PULL_H
#define CLI_PULL_H

#include "cli/cli.h"

struct pull_place {
	char address[64];
	uint64_t port;
};

/* ADDRESS:PORT, [ADDRESS]:PORT. */
int pull_read(const char *text, struct pull_place *ret_place, struct err *err);

/* Has SNAPSHOT, of type Snapshot, read over the network, and adds what that
 * needs as its member `pull`; on failure the snapshot is dropped, unless KEEPS:
 * it may be of an earlier call then, and be read. */
int pull_listen(struct cli *cli, const char *vm, json_t *snapshot,
		const struct pull_place *place, bool keeps, struct err *err);
/* The key's line for a file, and then a line for each disk. */
void pull_print(const json_t *snapshot);

#endif
