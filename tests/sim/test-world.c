/* SPDX-License-Identifier: Apache-2.0 */
#include "sim/test-world.h"

uint64_t first_seed;

void read_seed(void)
{
	const char *seed = getenv("SEED");

	first_seed = seed ? strtoull(seed, NULL, 0) : 1;
	print_message("SEED=%llu\n", (unsigned long long)first_seed);
}

/* A file handle in directory "store" of a world, kept simple. */
struct file *file_of(struct sim *sim, const char *name, unsigned flags)
{
	struct fs *fs = sim_fs(sim, "store", false);
	struct file *file = NULL;
	struct err err = {0};
	int r = fs_open(fs, name, flags, &file, &err);

	fs->ops->free(fs);
	if (r == -ENOENT)
		return NULL;
	if (r < 0)
		fail_msg("%s", err.text);
	return file;
}

struct file *create(struct sim *sim, const char *name)
{
	return file_of(sim, name, FILE_CREATE | FILE_WRITE);
}

void sync_dir(struct sim *sim)
{
	struct fs *fs = sim_fs(sim, "store", false);

	assert_int_equal(fs->ops->sync_dir(fs, NULL), 0);
	fs->ops->free(fs);
}

int rename_file(struct sim *sim, const char *from, const char *to)
{
	struct fs *fs = sim_fs(sim, "store", false);
	int r = fs->ops->rename(fs, from, to, NULL);

	fs->ops->free(fs);
	return r;
}

int unlink_file(struct sim *sim, const char *name)
{
	struct fs *fs = sim_fs(sim, "store", false);
	int r = fs->ops->unlink(fs, name, NULL);

	fs->ops->free(fs);
	return r;
}

bool exists(struct sim *sim, const char *name)
{
	struct file *file = file_of(sim, name, FILE_READ);

	file_close(file);
	return file != NULL;
}

void fill(struct file *file, uint8_t value, uint64_t bytes, uint64_t offset)
{
	uint8_t *buf = malloc(bytes);

	assert_non_null(buf);
	memset(buf, value, bytes);
	assert_int_equal(file_write(file, buf, bytes, offset, NULL), 0);
	free(buf);
}

void do_sync(struct file *file)
{
	assert_int_equal(file_sync(file, NULL), 0);
}

uint64_t size_of(struct file *file)
{
	uint64_t bytes = 0;

	assert_int_equal(file->ops->size(file, &bytes, NULL), 0);
	return bytes;
}

int byte_at(struct file *file, uint64_t offset)
{
	uint8_t b;
	int64_t n = file_read(file, &b, 1, offset, NULL);

	return n == 1 ? b : -1;
}

/* A world with the file "f", durable by name and content: 4096 times A. */
struct sim *world(uint64_t seed, struct file **ret_file)
{
	struct sim *sim = sim_new(first_seed + seed);

	*ret_file = create(sim, "f");
	fill(*ret_file, 'A', 4096, 0);
	do_sync(*ret_file);
	sync_dir(sim);
	return sim;
}

struct file *cut_and_open(struct sim *sim, struct file *file, enum sim_cut cut,
			  const char *name)
{
	file_close(file);
	sim_power_cut(sim, cut);
	sim_reboot(sim);
	return file_of(sim, name, FILE_WRITE);
}

void done(struct sim *sim, struct file *file)
{
	file_close(file);
	sim_free(sim);
}

struct file *memory_file(struct sim *sim)
{
	struct fs *fs = sim_fs(sim, "run", true);
	struct file *file = NULL;

	assert_int_equal(
	    fs_open(fs, "live", FILE_WRITE | FILE_CREATE, &file, NULL), 0);
	fs->ops->free(fs);
	return file;
}
