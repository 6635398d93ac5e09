/* SPDX-License-Identifier: Apache-2.0 */
/* The functions of the providers of root/virtualization/v2 that read; the table
 * is virtual.c. */
#ifndef PROVIDERS_VIRTUAL_H
#define PROVIDERS_VIRTUAL_H

#include "providers/objects.h"

#define READS(name)                                                            \
	int name##_enumerate(ENUMERATE_PARAMETERS);                            \
	int name##_get(GET_PARAMETERS)

READS(computers);
READS(settings);
READS(export_settings);
READS(disks);
READS(points);
READS(point_service);
READS(snapshot_service);
READS(management_service);
READS(image_service);
READS(point_of_system);
READS(settings_of_system);
READS(disk_of_settings);
READS(snapshot_of_system);
READS(newest_of_system);
READS(export_of_system);
READS(service_of_host);

/* Destroys the reference point, and returns when it is gone. */
int points_delete(void *arg, const struct cim_request *request,
		  const struct cim_path *path, struct err *err);

#endif
