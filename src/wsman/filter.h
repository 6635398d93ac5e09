/* SPDX-License-Identifier: Apache-2.0 */
/* What an Enumerate leaves out. */
#ifndef WSMAN_FILTER_H
#define WSMAN_FILTER_H

#include "wsman/internal.h"

struct filter {
	struct wql_query *query;       /* or NULL */
	const struct cim_path *object; /* or NULL: of a walk */
	struct cim_walk walk;
	const struct cim_path *selectors; /* or NULL: properties to have */
};

/* From the Filter in the body, and the SelectorSet of the header.
 * -CIM_EQUERYLANGUAGE, -CIM_EQUERY. */
int filter_read(struct message *message, struct filter *ret_filter,
		struct err *err);
/* Whether the instance has what the selectors ask for. */
bool filter_passes(const struct filter *filter, struct arena *arena,
		   const struct cim_instance *instance);

#endif
