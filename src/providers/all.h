/* SPDX-License-Identifier: Apache-2.0 */
/* Every provider there is, for the broker of refpoint-cim. */
#ifndef PROVIDERS_ALL_H
#define PROVIDERS_ALL_H

#include "providers/providers.h"

/* A broker with all of them in front of PROVIDERS, which outlives it. */
int providers_all(struct providers *providers, struct broker **ret_broker,
		  struct err *err);

#endif
