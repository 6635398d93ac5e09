/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The images of a virtual system as refpointd hands them over: opened by it,
 * locked here, on the very descriptor that I/O is done on.
 */
#ifndef WORKER_IMAGES_H
#define WORKER_IMAGES_H

#include "disk/disk.h"
#include "disk/image.h"
#include "rpc/rpc.h"
#include "track/vm.h"

#define IMAGE_LOCK_MS 5000 /* for a dead worker's I/O to land */

struct images {
	uint32_t n;
	char ids[DISKS_PER_VM_MAX][DISK_ID_BYTES];
	char *paths[DISKS_PER_VM_MAX];
	int fds[DISKS_PER_VM_MAX];
	bool locked[DISKS_PER_VM_MAX];
	/* By images_lock(): */
	struct file *files[DISKS_PER_VM_MAX];
	struct image_geometry geometry[DISKS_PER_VM_MAX];
};

/* Reads LIST, of type []Image, whose descriptors are the first of FDS (N); on
 * success those are set to -1.  *RET_IMAGES is freed by images_free(). */
int images_read(json_t *list, int *fds, unsigned n, struct images **ret_images,
		struct err *err);
/* Unlocks and closes; accepts NULL, returns NULL. */
struct images *images_free(struct images *images);

/* Are they the disks of VM, in order, all of them?  -RP_EPARAM. */
int images_match(const struct images *images, struct vm *vm, struct err *err);

/* Checks each and takes its locks; -RP_EINUSE names the path.  What was locked
 * before a failure stays so until images_free(). */
int images_lock(struct images *images, struct err *err);

/* Reads the geometry again, after growth. */
int images_probe(struct images *images, uint32_t disk, struct err *err);

#endif
