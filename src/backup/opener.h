/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The directory that an export becomes, made by whoever has the right to it:
 * the CLI, the gateway.  The worker gets the files' descriptors and nothing
 * else.
 *
 *   DIR.partial-XXXXXX/          0700, while it is being filled
 *       DISK-ID.qcow2            one for each disk; ID: the snapshot's, point's
 *       DISK-NNNN.hrl, .side     or its logs, oldest first, from 0001 on
 *       refpoint.json            what it is, written last
 *       refpoint-state.json      likewise, if there is more to be said
 *   DIR/                         by rename(2), once all of it is durable
 *
 * Invariants:
 *  1. What stands under DIR's own name is complete and durable, or was there
 *     before: an empty directory, which is replaced by one that as few may
 *     look into (owner, group, mode and ACLs are taken over; a group that
 *     cannot be gets no rights); anything else, and where something is
 *     mounted, is refused before there is anything to clean up.  It holds what
 * is said of it and nothing else: no export is made within another one.
 *  2. export_files_free() leaves nothing behind but what export_files_finish()
 *     made true.  Only a SIGKILL or a power cut leaves a DIR.partial-XXXXXX:
 *     nobody's, to be removed by hand (export_files_leftover()).
 *  3. All goes through descriptors of the directories: who renames or removes
 *     them meanwhile makes it fail, and never has it write elsewhere.
 *  4. What came to stand under DIR's name meanwhile is refused by rename(2),
 *     unless it is an empty directory as well.
 *
 * One thread at a time.
 */
#ifndef BACKUP_OPENER_H
#define BACKUP_OPENER_H

#include <jansson.h>
#include <stdbool.h>

#include "common/err.h"
#include "common/guid.h"
#include "common/limits.h"
#include "common/metadata.h"

#define EXPORT_METADATA_NAME METADATA_CONFIG_NAME
#define EXPORT_PARTIAL       ".partial-"
/* "DISK-ID.qcow2" with NUL; a log's is shorter */
#define EXPORT_NAME_BYTES (DISK_ID_BYTES + GUID_TEXT_BYTES + 8)

struct export_files;

/* The name that disk DISK's file has in an export of ID. */
void export_file_name(const char *disk, const struct guid *id,
		      char ret_name[EXPORT_NAME_BYTES]);

/* The name of a log of DISK, the NUMBERth, from 1 on, or of its sidecar. */
void export_log_name(const char *disk, unsigned number, bool sidecar,
		     char ret_name[EXPORT_NAME_BYTES]);

/*
 * Makes DIR.partial-XXXXXX and an empty file for each of N NAMES (copied, as
 * above, all different).  -RP_EALREADY: DIR is there and no empty directory, or
 * a directory that it would be in, as far up as may be searched, is an export
 * (it has a refpoint.json as written here, the caller's or root's);
 * -RP_EPARAM: it cannot be a directory's name, or something is mounted there;
 * -errno.  On failure nothing is left.  -RP_ELIMIT: more than EXPORT_FILES_MAX.
 */
int export_files_new(const char *dir, const char *const *names, unsigned n,
		     struct export_files **ret_files, struct err *err);

/* One for each file, in order, for reading and writing; stay ours. */
const int *export_files_fds(const struct export_files *files);

/* The name of another DIR.partial-XXXXXX that nobody is filling any more;
 * NULL: none was found.  Good until export_files_free(). */
const char *export_files_leftover(const struct export_files *files);

/*
 * Writes refpoint.json, EXPORTED (of type Exported, org.refpoint.varlink) and
 * a version, or what is ready in it (ExportedDocuments: both of its texts as
 * they are), makes all durable and gives it its name.  Waits for the target's
 * disk; if STOP (may be NULL) becomes non-zero meanwhile, no longer than for
 * the file at hand: -RP_ECANCELLED.
 */
int export_files_finish(struct export_files *files, const json_t *exported,
			const volatile int *stop, struct err *err);

/* Removes what was not finished; closes the rest.  Accepts NULL. */
struct export_files *export_files_free(struct export_files *files);

#endif
