/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A broker with a host, two virtual systems, the services, a point of the
 * first system and the association between these two; it remembers what it was
 * called with.
 */
#ifndef TESTS_WSMAN_FAKE_BROKER_H
#define TESTS_WSMAN_FAKE_BROKER_H

#include "cim/broker.h"

struct broker {
	unsigned calls, deletes; /* that were made */
	unsigned extra;          /* more virtual systems */
	int fail;                /* what every operation answers, if not 0 */
	/* Called with the arguments, may be NULL. */
	void (*look)(const struct cim_request *request,
		     const struct cim_path *path,
		     const struct cim_arguments *in);
	unsigned array_items; /* of each array that a method answers */
	bool fit; /* as many of them, up to that, as the reply may have */
};

#endif
