/* SPDX-License-Identifier: Apache-2.0 */
/* How QEMU calls the nodes of a VM's disks, for attach and resize alike. */
#ifndef CLI_ATTACH_H
#define CLI_ATTACH_H

#include <jansson.h>

#define NODE_NAME_BYTES 32 /* QEMU's limit */

/* The INDEXth disk's; ids would not do, QEMU wants a letter first. */
void node_name(size_t index, char ret_name[NODE_NAME_BYTES]);

#endif
