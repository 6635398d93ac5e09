/* SPDX-License-Identifier: Apache-2.0 */
/* An entry as the JSON that stands in its file. */
#ifndef INVENTORY_ENTRY_H
#define INVENTORY_ENTRY_H

#include "inventory/inventory.h"
#include "rpc/rpc.h"

#define ENTRY_VERSION 1

/* Text for free(3); NULL: no memory. */
char *entry_format(const struct inventory_entry *entry);
/* Everything is checked.  TEXT, with a NUL behind its BYTES, is spoilt. */
int entry_parse(char *text, size_t bytes, struct inventory_entry *ret_entry,
		struct err *err);

#endif
