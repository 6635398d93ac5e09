/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtual system's images: opened anew for each time that a worker needs
 * them, on a task's thread, because a dead disk may hold open(2) for ever.
 */
#ifndef DAEMON_IMAGES_H
#define DAEMON_IMAGES_H

#include <jansson.h>

#include "daemon/daemon.h"
#include "disk/image.h"

struct images {
	unsigned n;
	int fds[DISKS_PER_VM_MAX]; /* -1: not open */
	struct image_stamp stamps[DISKS_PER_VM_MAX];
};

/* IMAGES is lent: FN may move it out with images_move(); descriptors left in
 * it are closed.  ERR code 0: all are open. */
typedef void images_fn(void *arg, struct images *images, const struct err *err);

/* Opens all disks of ENTRY, or only the one called DISK.  Checks that no disk
 * of another system is behind a path (-RP_EINUSE).  A path that leads to
 * another file than last time is refused (-RP_EDENIED) where somebody without
 * our rights could have seen to that, see guarded.h; elsewhere it is logged
 * only, for the worker decides by its catalogue.  FN is called unless this
 * fails. */
int images_open(struct daemon *daemon, const struct inventory_entry *entry,
		const char *disk, images_fn *fn, void *arg, struct err *err);

/* The same for a new definition: the Ith path must lead to the very file that
 * FDS[I], which are taken over, has open for reading and writing. */
int images_prove(struct daemon *daemon, const struct inventory_entry *entry,
		 const int *fds, images_fn *fn, void *arg, struct err *err);

/* Sets the nonce of one image, which must be the one that the entry knows; the
 * result's one stamp was read after that, and its descriptor is closed.  ERR is
 * -RP_EUNSUPPORTED or -EOPNOTSUPP where an image can have none. */
int images_mark(struct daemon *daemon, const struct inventory_entry *entry,
		const char *disk, const struct guid *nonce, images_fn *fn,
		void *arg, struct err *err);

void images_move(struct images *from, struct images *to);
void images_close(struct images *images);

/* Copies what was found into the entry's disks; DISK NULL: all. */
void images_note(const struct images *images, struct inventory_entry *entry,
		 const char *disk);

/* -RP_EINUSE if a disk of ENTRY is one of another system's, or one of its own
 * twice.  Only what is known of each is compared: no system call. */
int images_check_unique(struct daemon *daemon,
			const struct inventory_entry *entry, struct err *err);

/* Of type Stamp, and `images` of type Image; NULL: no memory. */
json_t *images_stamp_json(const struct image_stamp *stamp);
json_t *images_json(const struct images *images,
		    const struct inventory_entry *entry, const char *disk);

/* NULL: there is none of that id. */
struct inventory_disk *images_disk(const struct inventory_entry *entry,
				   const char *id);

#endif
