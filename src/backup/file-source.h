/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of the store that are exported as they are: nobody writes to them any
 * more.  A thread of their own reads them, as reading may wait: ahead, while
 * others are written (backup/exporter.h).
 *
 *   1  All files are open before the first is read: who unlinks them meanwhile
 *      takes nothing away.
 *   2  One that is shorter than it was fails to be read.
 *   3  Of a read that hangs nobody waits but the export, until that is over.
 */
#ifndef BACKUP_FILE_SOURCE_H
#define BACKUP_FILE_SOURCE_H

#include "backup/exporter.h"
#include "disk/disk.h"

struct file_sources;

/* N FILES, taken over if it succeeds.  Starts the thread. */
int file_sources_new(struct file *const *files, unsigned n,
		     struct file_sources **ret_sources, struct err *err);
/* Nothing is read any more.  Waits for the thread, closes the files.  Accepts
 * NULL. */
struct file_sources *file_sources_free(struct file_sources *sources);

struct export_source *file_source(struct file_sources *sources, unsigned i);

#endif
