/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tombstone's file.  All that a tombstone says lies in its first 512 bytes,
 * and the rest is zero before and after: by D1 a power cut leaves the old one
 * or the new one, never a mixture.
 */
#include <string.h>

#include "store/files.h"
#include "store/preallocated.h"

int tombstone_create(struct fs *fs, struct err *err)
{
	return preallocated_create(fs, "tombstone", TOMBSTONE_BYTES, false,
				   err);
}

static int put(struct file *file, const uint8_t buf[TOMBSTONE_BYTES],
	       struct err *err)
{
	int r = file_write(file, buf, TOMBSTONE_BYTES, 0, err);

	return r < 0 ? r : file_sync(file, err);
}

int tombstone_write(struct file *file, const struct tombstone *tombstone,
		    struct err *err)
{
	uint8_t buf[TOMBSTONE_BYTES];

	tombstone_encode(tombstone, buf);
	return put(file, buf, err);
}

int tombstone_read(struct file *file, const struct guid *store,
		   const struct guid *live, struct tombstone *ret_tombstone,
		   struct err *err)
{
	uint8_t buf[TOMBSTONE_BYTES];
	struct tombstone tombstone;
	int r = file_read_all(file, buf, TOMBSTONE_BYTES, 0, err);

	if (r == 0)
		r = tombstone_decode(buf, &tombstone, err);
	if (r < 0)
		return r;
	if (!guid_equal(&tombstone.store, store) ||
	    !guid_equal(&tombstone.live, live))
		return -ENODATA;
	*ret_tombstone = tombstone;
	return 0;
}

int tombstone_clear(struct file *file, struct err *err)
{
	static const uint8_t zeros[TOMBSTONE_BYTES];

	return put(file, zeros, err);
}
