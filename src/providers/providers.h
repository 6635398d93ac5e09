/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who provides the objects behind the broker.
 *
 * F1  Every provider's `arg` is one struct providers, which does not change
 *     while the broker lives: any thread may read it.
 */
#ifndef PROVIDERS_PROVIDERS_H
#define PROVIDERS_PROVIDERS_H

#include "cim/broker.h"
#include "providers/backend.h"
#include "providers/host.h"

struct providers {
	struct host_facts host;
	struct backend backend;
	struct paths paths;      /* refpointd's */
	struct exports *exports; /* NULL: nothing may be written anywhere */
};

/* root/interop: the server, its namespaces, what it conforms to. */
#define INTEROP_PROVIDERS 4
extern const struct cim_provider interop_providers[INTEROP_PROVIDERS];

/* root/cimv2: the host, as tools that know Windows ask for it. */
#define WIN32_PROVIDERS 5
extern const struct cim_provider win32_providers[WIN32_PROVIDERS];

/* Jobs, what they affect, and whose they are. */
#define JOB_PROVIDERS 6
extern const struct cim_provider job_providers[JOB_PROVIDERS];

/* root/virtualization/v2: the host, the virtual systems, what they have, and
 * the services. */
#define VIRTUAL_PROVIDERS 16
extern const struct cim_provider virtual_providers[VIRTUAL_PROVIDERS];

#endif
