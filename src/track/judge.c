/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Did somebody else write to the image while we were not looking?
 *
 *   after          file                                 block device
 *   a clean end    identity, size, nonce, mtime and     size, boot, diskseq,
 *                  ctime as at that end                 write and discard
 * counters a kill         identity, size, nonce; times not     size, diskseq
 *                  after our last submission + 1 s
 *   a power cut    identity, size, nonce; times not     never told
 *                  after this boot's start
 *
 * What cannot be told is invalid, or assumed where the owner vouched for it
 * (block devices only).  The identity of a file is its inode, and within one
 * boot its device; device numbers may be dealt anew at the next.
 */
#include "track/judge.h"

#include <string.h>

#define SLACK_NS INT64_C(1000000000)

static bool file_identity(const struct disk_row *row,
			  const struct image_stamp *now,
			  struct accuracy_row *into)
{
	const struct image_stamp *then = &row->stamp;

	if (now->inode != then->inode || (guid_equal(&now->boot, &then->boot) &&
					  now->device != then->device)) {
		accuracy_worsen(into, ACCURACY_INVALID,
				"the image is another file than before");
		return false;
	}
	if (!guid_equal(&now->nonce, &row->nonce) &&
	    !guid_equal(&now->nonce, &row->nonce_before)) {
		accuracy_worsen(into, ACCURACY_INVALID,
				"the image's nonce is not the one we set: the "
				"store or the image is an older copy");
		return false;
	}
	return true;
}

static void judge_file(const struct disk_row *row,
		       const struct image_stamp *now,
		       const struct judge_facts *facts,
		       struct accuracy_row *into)
{
	const struct image_stamp *then = &row->stamp;
	int64_t newest =
	    now->mtime_ns > now->ctime_ns ? now->mtime_ns : now->ctime_ns;

	if (!file_identity(row, now, into))
		return;
	switch (facts->end) {
	case JUDGE_CLEAN:
		if (now->mtime_ns != then->mtime_ns ||
		    now->ctime_ns != then->ctime_ns)
			accuracy_worsen(into, ACCURACY_INVALID,
					"the image was changed after the last "
					"clean stop");
		break;
	case JUDGE_KILLED:
		if (newest > facts->last_submission_ns + SLACK_NS)
			accuracy_worsen(into, ACCURACY_INVALID,
					"the image was changed after the "
					"worker's last write");
		break;
	case JUDGE_CUT:
		if (newest >= facts->boot_time_ns)
			accuracy_worsen(
			    into, ACCURACY_INVALID,
			    "the image was changed since this boot, "
			    "or the live bitmap was removed");
		break;
	}
}

static void judge_block(const struct disk_row *row,
			const struct image_stamp *now,
			const struct judge_facts *facts,
			struct accuracy_row *into)
{
	const struct image_stamp *then = &row->stamp;
	enum accuracy untold =
	    facts->owned ? ACCURACY_ASSUMED : ACCURACY_INVALID;
	bool same_boot = guid_equal(&now->boot, &then->boot);

	/* Partitions share their disk's sequence number. */
	if (same_boot &&
	    (now->diskseq != then->diskseq || now->device != then->device)) {
		accuracy_worsen(into, ACCURACY_INVALID,
				"the block device is another one than before");
		return;
	}
	switch (facts->end) {
	case JUDGE_CLEAN:
		if (!same_boot)
			accuracy_worsen(into, untold,
					"a block device's writes cannot be "
					"told across a boot");
		else if (now->writes != then->writes ||
			 now->discards != then->discards)
			accuracy_worsen(into, ACCURACY_INVALID,
					"the block device was written after "
					"the last clean stop");
		break;
	case JUDGE_KILLED:
		break;
	case JUDGE_CUT:
		accuracy_worsen(into, untold,
				"a block device's writes cannot be told "
				"across a power cut");
		break;
	}
}

void judge_image(const struct disk_row *row, const struct image_stamp *now,
		 const struct judge_facts *facts, struct accuracy_row *into)
{
	if (!row->stamped && facts->end == JUDGE_CLEAN)
		return; /* never attached before */
	if (now->kind != row->stamp.kind) {
		accuracy_worsen(into, ACCURACY_INVALID,
				"the image is no longer of the same kind");
		return;
	}
	if (now->bytes != row->bytes) {
		accuracy_worsen(into, ACCURACY_INVALID,
				"the image's size changed from %llu to %llu "
				"bytes",
				(unsigned long long)row->bytes,
				(unsigned long long)now->bytes);
		return;
	}
	if (now->kind == IMAGE_FILE)
		judge_file(row, now, facts, into);
	else
		judge_block(row, now, facts, into);
}
