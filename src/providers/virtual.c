/* SPDX-License-Identifier: Apache-2.0 */
/* Who provides what of root/virtualization/v2. */
#include "providers/methods.h"
#include "providers/virtual.h"

#define READ(name) .enumerate = name##_enumerate, .get = name##_get

const struct cim_provider virtual_providers[VIRTUAL_PROVIDERS] = {
    {.class_name = SYSTEM_CLASS,
     READ(computers),
     .invoke = computer_system_invoke},
    {.class_name = SETTINGS_CLASS, READ(settings)},
    {.class_name = EXPORT_SETTINGS_CLASS, READ(export_settings)},
    {.class_name = DISK_CLASS, READ(disks)},
    {.class_name = POINT_CLASS, READ(points), .delete = points_delete},
    {.class_name = "Msvm_VirtualSystemReferencePointService",
     READ(point_service),
     .invoke = reference_point_service_invoke},
    {.class_name = "Msvm_VirtualSystemSnapshotService",
     READ(snapshot_service),
     .invoke = snapshot_service_invoke},
    {.class_name = "Msvm_VirtualSystemManagementService",
     READ(management_service),
     .invoke = management_service_invoke},
    {.class_name = "Msvm_ImageManagementService",
     READ(image_service),
     .reader_methods = image_service_reader_methods,
     .invoke = image_service_invoke},
    {.class_name = "Msvm_ReferencePointOfVirtualSystem", READ(point_of_system)},
    {.class_name = "Msvm_SettingsDefineState", READ(settings_of_system)},
    {.class_name = "Msvm_VirtualSystemSettingDataComponent",
     READ(disk_of_settings)},
    {.class_name = "Msvm_SnapshotOfVirtualSystem", READ(snapshot_of_system)},
    {.class_name = "Msvm_MostCurrentSnapshotInBranch", READ(newest_of_system)},
    {.class_name = "Msvm_SystemExportSettingData", READ(export_of_system)},
    {.class_name = "Msvm_HostedService", READ(service_of_host)},
};
