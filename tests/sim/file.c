/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/world.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

static struct sim_file *sim_file_of(struct file *file)
{
	return container_of(file, struct sim_file, file);
}

static struct gate file_gate(const struct sim_file *file, enum sim_op op,
			     uint64_t offset, uint64_t bytes)
{
	return (struct gate){
	    .sim = file->sim,
	    .event = {.op = op,
		      .fs = file->node->image ? "" : file->node->dir->name,
		      .name = file->file.name,
		      .offset = offset,
		      .bytes = bytes},
	    .match = file->file.name,
	    .life = file->life,
	    .blocking = true,
	};
}

static int64_t read_durable(const struct sim_file *file, void *buf,
			    uint64_t bytes, uint64_t offset)
{
	const struct content *content = &file->node->durable;

	if (offset >= content->bytes)
		return 0;
	bytes = MIN(bytes, content->bytes - offset);
	content_read(content, buf, bytes, offset);
	return (int64_t)bytes;
}

static int64_t file_do_read(struct file *base, void *buf, uint64_t bytes,
			    uint64_t offset, struct err *err)
{
	struct sim_file *file = sim_file_of(base);
	struct gate gate = file_gate(file, SIM_READ, offset, bytes);
	int r;

	if (file->durable)
		return read_durable(file, buf, bytes, offset);
	r = gate_enter(&gate, err);
	if (r == 0)
		r = gate_leave(&gate, err);
	if (r < 0)
		return r;
	if (offset >= node_bytes(file->node))
		return 0;
	bytes = MIN(bytes, node_bytes(file->node) - offset);
	node_read(file->node, buf, bytes, offset);
	return (int64_t)bytes;
}

uint64_t node_fits(const struct sim *sim, const struct node *node,
		   uint64_t bytes, uint64_t offset)
{
	uint64_t room, end = offset + bytes;

	if (node->image)
		return offset >= node_bytes(node)
			   ? 0
			   : MIN(bytes, node_bytes(node) - offset);
	if (node->map || node->dir->limit == UINT64_MAX)
		return bytes;
	room = dir_room(sim, node->dir);
	for (uint64_t i = offset / SIM_PAGE; i * SIM_PAGE < end; i++) {
		if (content_has(&node->current, i))
			continue;
		if (!room--)
			return i * SIM_PAGE > offset ? i * SIM_PAGE - offset
						     : 0;
	}
	return bytes;
}

static void tell_image_write(struct sim_file *file, const void *buf,
			     uint64_t bytes, uint64_t offset)
{
	struct sim *sim = file->sim;
	struct io io = {
	    .op = IO_WRITE,
	    .file = &file->file,
	    .offset = offset,
	    .length = bytes,
	    .buf = (void *)(uintptr_t)buf,
	};

	if (!file->node->image)
		return;
	if (sim->on_image_write)
		sim->on_image_write(sim->on_image_write_arg, &io);
	file->node->mtime = file->node->ctime = sim->now;
}

static int write_now(struct sim_file *file, struct gate *gate,
		     struct blob *data, struct err *err)
{
	uint64_t offset = gate->event.offset;
	uint64_t bytes = gate->event.bytes;
	uint64_t fits = node_fits(file->sim, file->node, bytes, offset);

	if (gate->effect == EFFECT_PART && fits == bytes)
		node_write_part(file->sim, file->node, data, bytes, offset,
				gate->code);
	else if (gate->effect != EFFECT_NONE && fits)
		node_write(file->sim, file->node, data, fits, offset, NULL);
	if (fits < bytes)
		gate_no_room(gate);
	return gate_leave(gate, err);
}

static int file_do_write(struct file *base, const void *buf, uint64_t bytes,
			 uint64_t offset, struct err *err)
{
	struct sim_file *file = sim_file_of(base);
	struct gate gate = file_gate(file, SIM_WRITE, offset, bytes);
	bool early = sim_random(file->sim, 2);
	struct blob *data = NULL;
	int r;

	if (!file->writable || file->durable)
		return gate_error(&gate, -EBADF, err);
	if (bytes > INT64_MAX || offset > INT64_MAX - bytes)
		return gate_error(&gate, -EFBIG, err);
	if (file->node->map && offset + bytes > node_bytes(file->node))
		return gate_error(&gate, -EBUSY, err);
	if (early)
		data = blob_new(buf, bytes);
	r = gate_enter(&gate, err);
	if (r == 0) {
		if (!early)
			data = blob_new(buf, bytes);
		tell_image_write(file, buf, bytes, offset);
		r = bytes ? write_now(file, &gate, data, err)
			  : gate_leave(&gate, err);
	}
	blob_put(data);
	return r;
}

static int file_do_sync(struct file *base, struct err *err)
{
	struct sim_file *file = sim_file_of(base);
	struct gate gate = file_gate(file, SIM_SYNC, 0, 0);
	int r = gate_enter(&gate, err);

	if (r < 0)
		return r;
	if (gate.effect == EFFECT_ALL)
		node_sync(file->node, gate.number);
	else if (!gate.dies)
		node_sync_failed(file->sim, file->node, gate.number);
	return gate_leave(&gate, err);
}

static int file_do_truncate(struct file *base, uint64_t bytes, struct err *err)
{
	struct sim_file *file = sim_file_of(base);
	struct gate gate = file_gate(file, SIM_TRUNCATE, 0, bytes);
	int r;

	if (!file->writable || file->node->image)
		return gate_error(&gate, -EINVAL, err);
	if (file->node->map && bytes != node_bytes(file->node))
		return gate_error(&gate, -EBUSY, err);
	r = gate_enter(&gate, err);
	if (r < 0)
		return r;
	if (gate.effect == EFFECT_ALL && !file->node->map)
		node_resize(file->sim, file->node, bytes);
	return gate_leave(&gate, err);
}

static int file_do_allocate(struct file *base, uint64_t offset, uint64_t bytes,
			    struct err *err)
{
	struct sim_file *file = sim_file_of(base);
	struct gate gate = file_gate(file, SIM_ALLOCATE, offset, bytes);
	struct node *node = file->node;
	int r;

	if (!file->writable || node->image || bytes == 0 || bytes > INT64_MAX ||
	    offset > INT64_MAX - bytes)
		return gate_error(&gate, -EINVAL, err);
	if (node->map && offset + bytes > node_bytes(node))
		return gate_error(&gate, -EBUSY, err);
	r = gate_enter(&gate, err);
	if (r < 0)
		return r;
	if (gate.effect == EFFECT_ALL && !node->map) {
		if (node_fits(file->sim, node, bytes, offset) < bytes)
			gate_no_room(&gate);
		else
			node_allocate(file->sim, node, offset, bytes);
	}
	return gate_leave(&gate, err);
}

static int file_do_size(struct file *base, uint64_t *ret_bytes, struct err *err)
{
	struct sim_file *file = sim_file_of(base);

	if (file->durable) {
		*ret_bytes = file->node->durable.bytes;
		return 0;
	}
	if (file->sim->dead || file->life != file->sim->life)
		return err_set(err, -RP_EDEAD, "size of '%s'", base->name);
	*ret_bytes = node_bytes(file->node);
	return 0;
}

static int file_do_map(struct file *base, void **ret_addr, uint64_t *ret_bytes,
		       struct err *err)
{
	struct sim_file *file = sim_file_of(base);
	struct gate gate = file_gate(file, SIM_MAP, 0, 0);
	int r;

	if (!file->node->dir->memory || !file->writable)
		return gate_error(&gate, -ENODEV, err);
	r = gate_enter(&gate, err);
	if (r == 0)
		r = gate_leave(&gate, err);
	if (r < 0)
		return r;
	if (!file->map) {
		r = node_map(file->sim, file->node, &file->map);
		if (r < 0)
			return gate_error(&gate, r, err);
	}
	*ret_addr = file->map->addr;
	*ret_bytes = file->map->bytes;
	return 0;
}

static void file_do_close(struct file *base)
{
	struct sim_file *file = sim_file_of(base);

	if (file->map) {
		/* the node's own and this one: the last mapping ends */
		if (file->map == file->node->map && file->map->refs == 2)
			node_unmap(file->node);
		map_put(file->map);
	}
	if (!file->durable)
		file->node->handles--;
	node_put(file->sim, file->node);
	free(file);
}

static const struct file_ops sim_file_ops = {
    .read = file_do_read,
    .write = file_do_write,
    .sync = file_do_sync,
    .truncate = file_do_truncate,
    .allocate = file_do_allocate,
    .size = file_do_size,
    .map = file_do_map,
    .close = file_do_close,
};

struct file *sim_file_new(struct sim *sim, struct node *node, const char *name,
			  bool writable, bool durable)
{
	struct sim_file *file = sim_alloc(sizeof(*file));

	file->file.ops = &sim_file_ops;
	(void)snprintf(file->file.name, sizeof(file->file.name), "%s", name);
	file->sim = sim;
	file->node = node_get(node);
	if (!durable)
		node->handles++;
	file->life = sim->dead ? 0 : sim->life;
	file->writable = writable;
	file->durable = durable;
	return &file->file;
}

/* ---- disks ---- */

static struct node *image_find(const struct sim *sim, const char *name)
{
	struct node *node = dir_lookup(sim->images, CURRENT, name);

	assert(node);
	return node;
}

void sim_image_new(struct sim *sim, const char *name, uint64_t bytes)
{
	struct node *node = node_new(sim, sim->images);

	assert(!dir_lookup(sim->images, CURRENT, name));
	node->image = true;
	node->current.bytes = node->durable.bytes = bytes;
	dir_add_image(sim, name, node);
}

void sim_image_drop_cache(struct sim *sim, const char *name)
{
	node_evict(image_find(sim, name));
}

struct file *sim_image_open(struct sim *sim, const char *name)
{
	struct node *node = dir_lookup(sim->images, CURRENT, name);

	return node ? sim_file_new(sim, node, name, true, false) : NULL;
}

void sim_image_peek(const struct sim *sim, const char *name, bool durable,
		    void *buf, uint64_t bytes, uint64_t offset)
{
	const struct node *node = image_find(sim, name);

	assert(bytes <= node_bytes(node) && offset <= node_bytes(node) - bytes);
	content_read(durable ? &node->durable : &node->current, buf, bytes,
		     offset);
}

void sim_image_poke(struct sim *sim, const char *name, const void *buf,
		    uint64_t bytes, uint64_t offset)
{
	struct node *node = image_find(sim, name);

	assert(bytes <= node_bytes(node) && offset <= node_bytes(node) - bytes);
	node_sync(node, UINT64_MAX);
	content_write(&node->current, buf, bytes, offset);
	content_write(&node->durable, buf, bytes, offset);
	node->mtime = node->mtime_synced = node->ctime = sim->now;
}

void sim_image_grow(struct sim *sim, const char *name, uint64_t bytes)
{
	struct node *node = image_find(sim, name);

	assert(bytes >= node_bytes(node));
	node_sync(node, UINT64_MAX);
	content_resize(&node->current, bytes);
	content_resize(&node->durable, bytes);
	node->mtime = node->mtime_synced = node->ctime = sim->now;
}

void sim_image_stamp(const struct sim *sim, const char *name,
		     struct image_stamp *ret_stamp)
{
	const struct node *node = image_find(sim, name);

	*ret_stamp = (struct image_stamp){
	    .kind = IMAGE_FILE,
	    .bytes = node_bytes(node),
	    .device = 1,
	    .inode = node->id,
	    .mtime_ns = node->mtime,
	    .ctime_ns = MAX(node->ctime, node->mtime),
	    .nonce = node->nonce,
	    .boot = sim->boot_id,
	};
}

void sim_image_nonce_set(struct sim *sim, const char *name,
			 const struct guid *nonce)
{
	struct node *node = image_find(sim, name);

	node->nonce = *nonce;
	node->ctime = sim->now;
}
