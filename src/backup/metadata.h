/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The two documents of an export of logs, from which another host learns of
 * the points: docs/format/log-export.md.
 *
 * What is read is hostile until proved otherwise: each member's presence, type
 * and bounds are checked here, once, and no message quotes any of it.  Whether
 * the MAC is good is not known here (common/metadata.h).
 */
#ifndef BACKUP_METADATA_H
#define BACKUP_METADATA_H

#include "common/metadata.h"
#include "store/catalogue.h"

#define METADATA_NAME_BYTES 96 /* of a file, with NUL */

struct metadata_log {
	char file[METADATA_NAME_BYTES];
	char sidecar[METADATA_NAME_BYTES];
	struct guid id, previous;
	uint64_t bytes;
};

struct metadata_disk {
	char id[DISK_ID_BYTES];
	uint64_t bytes; /* at the exported point */
	bool exported;
	bool hashed;
	uint8_t hash[METADATA_HASH_BYTES];
	unsigned n_logs;
	struct metadata_log *logs; /* oldest first */
};

struct metadata {
	char vm[VM_NAME_BYTES];
	struct guid uuid;
	struct guid base;
	unsigned n_disks;
	struct metadata_disk disks[DISKS_PER_VM_MAX];
	/* Oldest first; the last one is exported.  Of each: id, type,
	 * consistency, label, created_ns, disks, tracking_id, bytes. */
	unsigned n_points;
	struct point_row *points;
};

/* Frees the logs and points as well; accepts NULL. */
struct metadata *metadata_free(struct metadata *metadata);

/* Both documents without their last lines, for free(3).  Older points that do
 * not fit are left out.  -RP_ELIMIT: it is more than a document holds. */
int metadata_write(const struct metadata *metadata, char **ret_config,
		   char **ret_state, struct err *err);
/* Reads whole documents.  -RP_EPARAM: they are none of ours. */
int metadata_read(const char *config, const char *state,
		  struct metadata **ret_metadata, struct err *err);

#endif
