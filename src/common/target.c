/* SPDX-License-Identifier: Apache-2.0 */
#include "common/target.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* Touching what is not there any more would be our death. */
static int check_memory(int memory, struct err *err)
{
	int seals = fcntl(memory, F_GET_SEALS);
	struct stat st;

	if (seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(memory, &st) < 0 ||
	    st.st_size != TARGET_MEMORY_BYTES)
		return err_set(err, -RP_EPARAM,
			       "the memory of an export is none");
	return 0;
}

int target_map(int memory, uint8_t **ret_bytes, struct err *err)
{
	int r = check_memory(memory, err);
	void *at;

	if (r < 0)
		return r;
	at = mmap(NULL, TARGET_MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED,
		  memory, 0);
	if (at == MAP_FAILED)
		return err_set(err, -errno, "map the memory of an export");
	*ret_bytes = at;
	return 0;
}

int target_give(int channel, const int *fds, unsigned n, struct err *err)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE((TARGET_FILES_FROM + EXPORT_FILES_MAX) *
				      sizeof(int))];
	} space = {.bytes = {0}};
	char byte = 0;
	struct iovec iov = {&byte, 1};
	struct msghdr msg = {.msg_iov = &iov,
			     .msg_iovlen = 1,
			     .msg_control = &space,
			     .msg_controllen = CMSG_SPACE(n * sizeof(int))};
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(c), fds, n * sizeof(int));
	return sendmsg(channel, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) == 1
		   ? 0
		   : err_set(err, -errno, "give files to refpoint-target");
}
