/* SPDX-License-Identifier: Apache-2.0 */
/* An entry as the JSON that stands in its file. */
#ifndef INVENTORY_ENTRY_H
#define INVENTORY_ENTRY_H

#include "inventory/inventory.h"
#include "rpc/rpc.h"

#define ENTRY_VERSION 1

/* NULL: no memory. */
json_t *entry_to_json(const struct inventory_entry *entry);
/* Everything is checked; JSON stays the caller's. */
int entry_from_json(json_t *json, struct inventory_entry *ret_entry,
		    struct err *err);

#endif
