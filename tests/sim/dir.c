/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/world.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

struct sim_fs {
	struct fs fs;
	struct sim *sim;
	struct dir *dir;
	unsigned life;
	bool durable; /* shows what is guaranteed */
};

/* ---- names ---- */

static struct name *names_find(const struct names *names, const char *text)
{
	for (unsigned i = 0; i < names->count; i++)
		if (strcmp(names->v[i].text, text) == 0)
			return &names->v[i];
	return NULL;
}

static void names_drop(struct sim *sim, struct dir *dir, int which,
		       struct name *name)
{
	struct names *names = &dir->names[which];
	struct node *node = name->node;

	*name = names->v[--names->count];
	if (which == CURRENT)
		node->named--;
	node_put(sim, node);
}

static void names_add(struct dir *dir, int which, const char *text,
		      struct node *node)
{
	struct names *names = &dir->names[which];
	struct name *name;

	if (names->count == names->room) {
		names->room = MAX(names->room * 2, 8u);
		names->v = realloc(names->v, names->room * sizeof(*names->v));
		assert(names->v);
	}
	name = &names->v[names->count++];
	(void)snprintf(name->text, sizeof(name->text), "%s", text);
	name->node = node_get(node);
	if (which == CURRENT)
		node->named++;
}

/* NODE is called TO from now on and nothing else, or ("") nothing at all. */
static void names_change(struct sim *sim, struct dir *dir, int which,
			 struct node *node, const char *to)
{
	struct names *names = &dir->names[which];
	struct name *name;

	node_get(node);
	for (unsigned i = names->count; i-- > 0;)
		if (names->v[i].node == node)
			names_drop(sim, dir, which, &names->v[i]);
	if (to[0]) {
		name = names_find(names, to);
		if (name)
			names_drop(sim, dir, which, name);
		names_add(dir, which, to, node);
	}
	node_put(sim, node);
}

struct node *dir_lookup(const struct dir *dir, int which, const char *name)
{
	struct name *found = names_find(&dir->names[which], name);

	return found ? found->node : NULL;
}

/* Changes what is seen, and keeps the change until sync_dir. */
static void change(struct sim *sim, struct dir *dir, struct node *node,
		   const char *to)
{
	const struct node *old = to[0] ? dir_lookup(dir, CURRENT, to) : NULL;
	struct name_op **end = &dir->ops;
	struct name_op *op;

	if (!dir->memory) {
		op = sim_alloc(sizeof(*op));
		op->number = sim->next_number++;
		op->node = node_get(node);
		op->replaced = old ? old->id : 0;
		(void)snprintf(op->to, sizeof(op->to), "%s", to);
		while (*end)
			end = &(*end)->next;
		*end = op;
	}
	names_change(sim, dir, CURRENT, node, to);
}

static void ops_forget(struct sim *sim, struct dir *dir)
{
	while (dir->ops) {
		struct name_op *op = dir->ops;

		dir->ops = op->next;
		node_put(sim, op->node);
		free(op);
	}
}

static void dir_sync(struct sim *sim, struct dir *dir, uint64_t number)
{
	while (dir->ops && dir->ops->number <= number) {
		struct name_op *op = dir->ops;

		dir->ops = op->next;
		names_change(sim, dir, DURABLE, op->node, op->to);
		node_put(sim, op->node);
		free(op);
	}
}

/* OP survives; and so does what happened earlier to the file whose name it
 * takes: that file has its old name or its new one, but is not gone. */
static void op_survive(struct sim *sim, struct dir *dir, struct name_op *op)
{
	const struct node *holder;

	op->done = true;
	holder = op->to[0] ? dir_lookup(dir, DURABLE, op->to) : NULL;
	if (holder && holder != op->node && holder->id != op->replaced)
		for (struct name_op *o = dir->ops; o != op; o = o->next)
			if (o->node == holder && !o->done)
				op_survive(sim, dir, o);
	names_change(sim, dir, DURABLE, op->node, op->to);
}

void dir_cut(struct sim *sim, struct dir *dir, const struct verdict *v)
{
	struct names *now = &dir->names[CURRENT];
	const struct names *kept = &dir->names[DURABLE];

	for (struct name_op *op = dir->ops; op; op = op->next)
		if (!op->done && verdict_survives(sim, v, op->number))
			op_survive(sim, dir, op);
	ops_forget(sim, dir);
	while (now->count)
		names_drop(sim, dir, CURRENT, &now->v[0]);
	for (unsigned i = 0; i < kept->count; i++)
		names_add(dir, CURRENT, kept->v[i].text, kept->v[i].node);
}

/* ---- directories ---- */

struct dir *dir_new(struct sim *sim, const char *name, bool memory)
{
	struct dir *dir = sim_alloc(sizeof(*dir));

	assert(strlen(name) < sizeof(dir->name));
	(void)snprintf(dir->name, sizeof(dir->name), "%s", name);
	dir->memory = memory;
	dir->limit = UINT64_MAX;
	dir->next = sim->dirs;
	sim->dirs = dir;
	return dir;
}

struct dir *dir_find(const struct sim *sim, const char *name)
{
	struct dir *dir = sim->dirs;

	while (dir && strcmp(dir->name, name) != 0)
		dir = dir->next;
	return dir;
}

void dir_free(struct sim *sim, struct dir *dir)
{
	for (int which = CURRENT; which <= DURABLE; which++) {
		struct names *names = &dir->names[which];

		while (names->count)
			names_drop(sim, dir, which, &names->v[0]);
		free(names->v);
	}
	ops_forget(sim, dir);
	free(dir);
}

struct dir *dir_copy(struct sim *to, const struct dir *dir)
{
	struct dir *copy = dir->copy;
	struct name_op **end = &copy->ops;

	copy->limit = dir->limit;
	for (int which = CURRENT; which <= DURABLE; which++)
		for (unsigned i = 0; i < dir->names[which].count; i++)
			names_add(copy, which, dir->names[which].v[i].text,
				  dir->names[which].v[i].node->copy);
	for (const struct name_op *op = dir->ops; op; op = op->next) {
		*end = sim_alloc(sizeof(**end));
		**end = *op;
		(*end)->node = node_get(op->node->copy);
		(*end)->next = NULL;
		end = &(*end)->next;
	}
	return copy;
}

void dir_add_image(struct sim *sim, const char *name, struct node *node)
{
	names_add(sim->images, CURRENT, name, node);
	names_add(sim->images, DURABLE, name, node);
}

uint64_t dir_room(const struct sim *sim, const struct dir *dir)
{
	uint64_t limit = dir->limit / SIM_PAGE;
	uint64_t used = 0;

	if (dir->limit == UINT64_MAX)
		return UINT64_MAX / SIM_PAGE;
	for (const struct node *n = sim->nodes; n; n = n->next)
		if (n->dir == dir && (n->named || n->handles))
			used += n->current.used;
	return used < limit ? limit - used : 0;
}

/* ---- the seam ---- */

static struct sim_fs *sim_fs_of(struct fs *fs)
{
	return container_of(fs, struct sim_fs, fs);
}

static struct gate fs_gate(struct sim_fs *fs, enum sim_op op, const char *name)
{
	return (struct gate){
	    .sim = fs->sim,
	    .event = {.op = op, .fs = fs->dir->name, .name = name},
	    .match = op == SIM_SYNC_DIR ? fs->dir->name : name,
	    .life = fs->life,
	    .blocking = true,
	};
}

static bool name_ok(const char *name)
{
	return name[0] && strlen(name) < sizeof(((struct name *)0)->text) &&
	       !strchr(name, '/') && strcmp(name, ".") != 0 &&
	       strcmp(name, "..") != 0;
}

static int open_there(struct sim_fs *fs, const char *name, unsigned flags,
		      struct file **ret_file, const struct gate *gate,
		      struct err *err)
{
	struct node *node = dir_lookup(fs->dir, CURRENT, name);

	if (!node)
		return gate_error(gate, -ENOENT, err);
	if ((flags & FILE_CREATE) && (flags & FILE_EXCLUSIVE))
		return gate_error(gate, -EEXIST, err);
	*ret_file = sim_file_new(fs->sim, node, name,
				 flags & (FILE_WRITE | FILE_CREATE), false);
	return 0;
}

static int fs_do_open(struct fs *base, const char *name, unsigned flags,
		      struct file **ret_file, struct err *err)
{
	struct sim_fs *fs = sim_fs_of(base);
	bool makes =
	    (flags & FILE_CREATE) && !dir_lookup(fs->dir, CURRENT, name);
	struct gate gate = fs_gate(fs, makes ? SIM_CREATE : SIM_OPEN, name);
	int r;

	if (!name_ok(name))
		return gate_error(&gate, -EINVAL, err);
	r = gate_enter(&gate, err);
	if (r < 0)
		return r;
	if (makes && gate.effect == EFFECT_ALL &&
	    !dir_lookup(fs->dir, CURRENT, name)) {
		if (dir_room(fs->sim, fs->dir))
			change(fs->sim, fs->dir, node_new(fs->sim, fs->dir),
			       name);
		else
			gate_no_room(&gate);
		flags &= ~(unsigned)FILE_EXCLUSIVE;
	}
	r = gate_leave(&gate, err);
	if (r < 0)
		return r;
	return open_there(fs, name, flags, ret_file, &gate, err);
}

static int fs_do_rename(struct fs *base, const char *from, const char *to,
			struct err *err)
{
	struct sim_fs *fs = sim_fs_of(base);
	struct gate gate = fs_gate(fs, SIM_RENAME, from);
	struct node *node;
	int r;

	if (!name_ok(from) || !name_ok(to))
		return gate_error(&gate, -EINVAL, err);
	r = gate_enter(&gate, err);
	if (r < 0)
		return r;
	node = dir_lookup(fs->dir, CURRENT, from);
	if (node && gate.effect == EFFECT_ALL && strcmp(from, to) != 0)
		change(fs->sim, fs->dir, node, to);
	r = gate_leave(&gate, err);
	if (r == 0 && !node)
		return gate_error(&gate, -ENOENT, err);
	return r;
}

static int fs_do_unlink(struct fs *base, const char *name, struct err *err)
{
	struct sim_fs *fs = sim_fs_of(base);
	struct gate gate = fs_gate(fs, SIM_UNLINK, name);
	struct node *node;
	int r = gate_enter(&gate, err);

	if (r < 0)
		return r;
	node = dir_lookup(fs->dir, CURRENT, name);
	if (node && gate.effect == EFFECT_ALL)
		change(fs->sim, fs->dir, node, "");
	r = gate_leave(&gate, err);
	if (r == 0 && !node)
		return gate_error(&gate, -ENOENT, err);
	return r;
}

static int fs_do_sync_dir(struct fs *base, struct err *err)
{
	struct sim_fs *fs = sim_fs_of(base);
	struct gate gate = fs_gate(fs, SIM_SYNC_DIR, "");
	int r = gate_enter(&gate, err);

	if (r < 0)
		return r;
	if (gate.effect == EFFECT_ALL)
		dir_sync(fs->sim, fs->dir, gate.number);
	return gate_leave(&gate, err);
}

/* A copy is walked, so that FN may change the directory. */
static int walk(const struct names *names,
		int (*fn)(void *arg, const char *name), void *arg)
{
	unsigned count = names->count;
	struct name *v = sim_alloc(count * sizeof(*v));
	int r = 0;

	if (count)
		memcpy(v, names->v, count * sizeof(*v));
	for (unsigned i = 0; i < count && r == 0; i++)
		r = fn(arg, v[i].text);
	free(v);
	return r;
}

static int fs_do_list(struct fs *base, int (*fn)(void *arg, const char *name),
		      void *arg, struct err *err)
{
	struct sim_fs *fs = sim_fs_of(base);

	if (fs->sim->dead || fs->life != fs->sim->life)
		return err_set(err, -RP_EDEAD, "list '%s'", fs->dir->name);
	return walk(&fs->dir->names[CURRENT], fn, arg);
}

static int fs_do_space(struct fs *base, uint64_t *ret_bytes, struct err *err)
{
	struct sim_fs *fs = sim_fs_of(base);

	if (fs->sim->dead || fs->life != fs->sim->life)
		return err_set(err, -RP_EDEAD, "space of '%s'", fs->dir->name);
	*ret_bytes = dir_room(fs->sim, fs->dir) * SIM_PAGE;
	return 0;
}

static void fs_do_free(struct fs *base)
{
	free(sim_fs_of(base));
}

static const struct fs_ops sim_fs_ops = {
    .open = fs_do_open,
    .rename = fs_do_rename,
    .unlink = fs_do_unlink,
    .sync_dir = fs_do_sync_dir,
    .list = fs_do_list,
    .space = fs_do_space,
    .free = fs_do_free,
};

static struct fs *fs_new(struct sim *sim, struct dir *dir,
			 const struct fs_ops *ops)
{
	struct sim_fs *fs = sim_alloc(sizeof(*fs));

	fs->fs.ops = ops;
	(void)snprintf(fs->fs.name, sizeof(fs->fs.name), "%s", dir->name);
	fs->sim = sim;
	fs->dir = dir;
	fs->life = sim->dead ? 0 : sim->life;
	return &fs->fs;
}

struct fs *sim_fs(struct sim *sim, const char *name, bool memory)
{
	struct dir *dir = dir_find(sim, name);

	if (!dir)
		dir = dir_new(sim, name, memory);
	assert(dir->memory == memory);
	return fs_new(sim, dir, &sim_fs_ops);
}

void sim_limit(struct sim *sim, const char *fs_name, uint64_t bytes)
{
	struct dir *dir = dir_find(sim, fs_name);

	assert(dir);
	dir->limit = bytes;
}

/* ---- the view of what is guaranteed ---- */

static int view_open(struct fs *base, const char *name, unsigned flags,
		     struct file **ret_file, struct err *err)
{
	struct sim_fs *fs = sim_fs_of(base);
	struct node *node = dir_lookup(fs->dir, DURABLE, name);

	if (flags & (FILE_WRITE | FILE_CREATE))
		return err_set(err, -EROFS, "open '%s' in a view", name);
	if (!node)
		return err_set(err, -ENOENT, "open '%s' in a view", name);
	*ret_file = sim_file_new(fs->sim, node, name, false, true);
	return 0;
}

static int view_rename(struct fs *fs, const char *from, const char *to,
		       struct err *err)
{
	return err_set(err, -EROFS, "rename '%s' to '%s' in a view", from, to);
}

static int view_unlink(struct fs *fs, const char *name, struct err *err)
{
	return err_set(err, -EROFS, "unlink '%s' in a view", name);
}

static int view_sync_dir(struct fs *fs, struct err *err)
{
	return err_set(err, -EROFS, "sync '%s' in a view", fs->name);
}

static int view_list(struct fs *base, int (*fn)(void *arg, const char *name),
		     void *arg, struct err *err)
{
	return walk(&sim_fs_of(base)->dir->names[DURABLE], fn, arg);
}

static int view_space(struct fs *fs, uint64_t *ret_bytes, struct err *err)
{
	*ret_bytes = 0;
	return 0;
}

static const struct fs_ops view_ops = {
    .open = view_open,
    .rename = view_rename,
    .unlink = view_unlink,
    .sync_dir = view_sync_dir,
    .list = view_list,
    .space = view_space,
    .free = fs_do_free,
};

struct fs *sim_durable_fs(struct sim *sim, const struct fs *fs)
{
	return fs_new(sim, container_of(fs, const struct sim_fs, fs)->dir,
		      &view_ops);
}
