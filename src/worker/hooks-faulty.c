/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/hooks.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "common/bytes.h"
#include "disk/faulty.h"
#include "track/vm.h"

/* They live as long as the process. */
static struct faults *store, *memory, *io;

int hooks_init(struct err *err)
{
	static const struct {
		const char *variable;
		struct faults **faults;
	} all[] = {
	    {"REFPOINT_FAULTS_STORE", &store},
	    {"REFPOINT_FAULTS_MEMORY", &memory},
	    {"REFPOINT_FAULTS_IO", &io},
	};

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		const char *rules = getenv(all[i].variable);

		if (rules && *rules &&
		    faults_new(rules, all[i].faults, err) < 0)
			return err_wrap(err, "%s", all[i].variable);
	}
	return 0;
}

static bool is_off(const char *variable)
{
	const char *value = getenv(variable);

	return value && strcmp(value, "off") == 0;
}

unsigned hooks_attach_flags(void)
{
	return is_off("REFPOINT_TRACKING") ? VM_ATTACH_UNTRACKED : 0;
}

bool hooks_sealed(void)
{
	return !is_off("REFPOINT_SANDBOX");
}

int hooks_image_fd(int fd, struct err *err)
{
	const char *cache = getenv("REFPOINT_CACHE");
	int flags = fcntl(fd, F_GETFL);

	if (!cache || strcmp(cache, "writeback") != 0)
		return 0;
	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_DIRECT) < 0)
		return err_set(err, -errno, "REFPOINT_CACHE");
	return 0;
}

int hooks_store(struct fs **fs, struct err *err)
{
	return store ? faulty_fs_new(store, *fs, fs, err) : 0;
}

int hooks_memory(struct fs **fs, struct err *err)
{
	return memory ? faulty_fs_new(memory, *fs, fs, err) : 0;
}

int hooks_image(struct file **file, struct err *err)
{
	return io ? faulty_file_new(io, *file, file, err) : 0;
}

int hooks_ioq(struct ring *ring, struct ioq **ioq, struct err *err)
{
	/* files of the store go through it as well: a snapshot's scratch */
	return io || store ? faulty_ioq_new(io, ring, *ioq, ioq, err) : 0;
}
