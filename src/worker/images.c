/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/images.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "disk/posix.h"
#include "worker/hooks.h"

static int read_one(json_t *json, struct images *images, struct err *err)
{
	const char *id = NULL, *path = NULL;
	json_t *stamp = NULL; /* refpointd's reading; ours counts */
	const struct rpc_field fields[] = {
	    {"id", RPC_STRING, true, DISK_ID_BYTES, &id, NULL},
	    {"path", RPC_STRING, true, PATH_BYTES, &path, NULL},
	    {"stamp", RPC_OBJECT, false, 0, &stamp, NULL},
	    {0}};
	uint32_t i = images->n;
	int r = rpc_read_fields(json, fields, err);

	if (r < 0)
		return r;
	(void)strcpy(images->ids[i], id);
	images->paths[i] = strdup(path);
	if (!images->paths[i])
		return err_set(err, -ENOMEM, "images");
	images->fds[i] = -1;
	images->n++;
	return 0;
}

int images_read(json_t *list, int *fds, unsigned n, struct images **ret_images,
		struct err *err)
{
	size_t count = json_array_size(list);
	struct images *images;
	int r = 0;

	if (count == 0 || count > DISKS_PER_VM_MAX || count > n)
		return err_set(err, -RP_EPARAM,
			       "'images': there are %zu, with %u descriptors",
			       count, n);
	images = calloc(1, sizeof(*images));
	if (!images)
		return err_set(err, -ENOMEM, "images");
	for (size_t i = 0; r == 0 && i < count; i++)
		r = read_one(json_array_get(list, i), images, err);
	for (size_t i = 0; r == 0 && i < count; i++)
		if (fds[i] < 0)
			r = err_set(err, -RP_EPARAM,
				    "'images': no descriptor of '%s' came",
				    images->paths[i]);
	if (r < 0) {
		images_free(images);
		return r;
	}
	for (size_t i = 0; i < count; i++) {
		images->fds[i] = fds[i];
		fds[i] = -1;
	}
	*ret_images = images;
	return 0;
}

struct images *images_free(struct images *images)
{
	if (!images)
		return NULL;
	for (uint32_t i = 0; i < images->n; i++) {
		if (images->locked[i])
			image_unlock(images->fds[i]);
		if (images->files[i])
			file_close(images->files[i]);
		else if (images->fds[i] >= 0)
			(void)close(images->fds[i]);
		free(images->paths[i]);
	}
	free(images);
	return NULL;
}

int images_match(const struct images *images, struct vm *vm, struct err *err)
{
	uint32_t count = vm_disk_count(vm);

	if (images->n != count)
		return err_set(err, -RP_EPARAM, "%u images came for %u disks",
			       images->n, count);
	for (uint32_t i = 0; i < count; i++)
		if (strcmp(images->ids[i], vm_disk(vm, i)->id) != 0)
			return err_set(err, -RP_EPARAM,
				       "the image of disk '%s' came where that "
				       "of '%s' belongs",
				       images->ids[i], vm_disk(vm, i)->id);
	return 0;
}

int images_probe(struct images *images, uint32_t disk, struct err *err)
{
	return image_probe(images->fds[disk], images->paths[disk],
			   &images->geometry[disk], err);
}

static int lock_one(struct images *images, uint32_t i, struct err *err)
{
	struct file *file = NULL;
	int fd = images->fds[i];
	int r = hooks_image_fd(fd, err);

	if (r == 0)
		r = images_probe(images, i, err);
	if (r == 0)
		r = image_lock(fd, images->paths[i], IMAGE_LOCK_MS, err);
	if (r < 0)
		return r;
	images->locked[i] = true;
	/* which closes the descriptor, and with it the lock, if it fails */
	r = posix_file_new(fd, images->ids[i], &file, err);
	if (r < 0) {
		images->locked[i] = false;
		images->fds[i] = -1;
		return r;
	}
	images->files[i] = file;
	return hooks_image(&images->files[i], err);
}

int images_lock(struct images *images, struct err *err)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < images->n; i++)
		r = lock_one(images, i, err);
	return r;
}
