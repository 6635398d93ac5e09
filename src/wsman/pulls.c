/* SPDX-License-Identifier: Apache-2.0 */
#include "wsman/pulls.h"

#include "common/bytes.h"
#include "common/crc32c.h"

static bool make(const struct message *m, size_t start, struct pull *ret_pull)
{
	const struct wsman_request *q = m->request;

	*ret_pull = (struct pull){
	    .body_bytes = q->body_bytes,
	    .body_crc = crc32c(0, q->body, q->body_bytes),
	    .until_ms = m->wsman->now() + WSMAN_DUPLICATE_MS,
	    .start = start,
	};
	return duplicate_id(m->message_id, &ret_pull->id);
}

static bool same(const struct pull *a, const struct pull *b)
{
	return a->body_bytes == b->body_bytes && a->body_crc == b->body_crc &&
	       guid_equal(&a->id, &b->id);
}

bool pulls_find(const struct pulls *pulls, const struct message *m,
		size_t *ret_start)
{
	uint64_t now = m->wsman->now();
	struct pull pull;

	if (!make(m, 0, &pull))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(pulls->last); i++) {
		const struct pull *one = &pulls->last[i];

		if (same(one, &pull) && now < one->until_ms) {
			*ret_start = one->start;
			return true;
		}
	}
	return false;
}

bool pulls_add(struct pulls *pulls, const struct message *m, size_t start)
{
	struct pull pull;

	if (!make(m, start, &pull))
		return false;
	pulls->last[pulls->next] = pull;
	pulls->next = (pulls->next + 1) % ARRAY_SIZE(pulls->last);
	return true;
}
