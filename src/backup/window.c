/* SPDX-License-Identifier: Apache-2.0 */
#include "backup/window.h"

#include "backup/target.h"

int window_slide(struct window *w, uint64_t bytes, uint64_t end,
		 struct err *err)
{
	int r;

	w->bytes += bytes;
	if (w->bytes < WINDOW_BYTES)
		return 0;
	r = target_sync_begin(w->target, w->file, w->to, end, err);
	if (r == 0)
		r = target_sync_wait(w->target, w->file, w->from, w->to, err);
	w->from = w->to;
	w->to = end;
	w->bytes = 0;
	return r;
}
