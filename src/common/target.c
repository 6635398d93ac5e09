/* SPDX-License-Identifier: Apache-2.0 */
#include "common/target.h"

#include <fcntl.h>
#include <sys/mman.h>
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
