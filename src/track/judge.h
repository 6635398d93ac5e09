/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACK_JUDGE_H
#define TRACK_JUDGE_H

#include "store/catalogue.h"

enum judge_end {
	JUDGE_CLEAN,
	JUDGE_KILLED,
	JUDGE_CUT
};

struct judge_facts {
	enum judge_end end;         /* how the last time ended */
	bool owned;                 /* --owner refpoint */
	int64_t last_submission_ns; /* JUDGE_KILLED: from the live files */
	int64_t boot_time_ns;       /* JUDGE_CUT: of this boot */
};

/* Worsens INTO if the image, whose stamp is NOW, may have been written by
 * others since ROW was stored. */
void judge_image(const struct disk_row *row, const struct image_stamp *now,
		 const struct judge_facts *facts, struct accuracy_row *into);

#endif
