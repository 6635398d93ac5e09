/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which object stands for what of refpoint's, and back.
 *
 *	kind		class				keys
 *	HOST		Msvm_ComputerSystem		Name: the host's
 *	SYSTEM		Msvm_ComputerSystem		Name: the UUID
 *	SERVICE		one of identity_services[]	Name: it says
 *	SETTINGS	Msvm_VirtualSystemSettingData	Microsoft:HOLDER
 *	EXPORT		Msvm_VirtualSystemExportSettingData
 *							Microsoft:UUID\Export
 *	DISK		Msvm_StorageAllocationSettingData
 *					Microsoft:HOLDER\CONTROLLER\0\INDEX\L
 *	POINT		Msvm_VirtualSystemReferencePoint
 *					InstanceID: the point's id,
 *					VirtualSystemIdentifier: the UUID
 *	JOB		Msvm_ConcreteJob		InstanceID: the job's id
 *	POINT_JOB	Msvm_VirtualSystemReferencePointExportJob	likewise
 *
 * HOLDER is the UUID of a virtual system, or the id of a snapshot of one: which
 * of them, only who looks can tell (holders.h).
 *
 * I1  UUIDs and ids are told in upper case and read in either; so are the words
 *     around them, and backslashes twice.
 * I2  That an identity could be read does not mean that there is such an
 *     object.
 */
#ifndef PROVIDERS_IDENTITY_H
#define PROVIDERS_IDENTITY_H

#include "cim/path.h"
#include "common/guid.h"

#define SYSTEM_CLASS          "Msvm_ComputerSystem"
#define SETTINGS_CLASS        "Msvm_VirtualSystemSettingData"
#define EXPORT_SETTINGS_CLASS "Msvm_VirtualSystemExportSettingData"
#define DISK_CLASS            "Msvm_StorageAllocationSettingData"
#define POINT_CLASS           "Msvm_VirtualSystemReferencePoint"
#define JOB_CLASS             "Msvm_ConcreteJob"
#define POINT_JOB_CLASS       "Msvm_VirtualSystemReferencePointExportJob"

/* What all disks are attached to. */
#define DISK_CONTROLLER "5A6E1F5C-0D4B-4B7B-9C7E-3C1B0E6D2A41"

enum identity_kind {
	IDENTITY_HOST,
	IDENTITY_SYSTEM,
	IDENTITY_SERVICE,
	IDENTITY_SETTINGS,
	IDENTITY_EXPORT,
	IDENTITY_DISK,
	IDENTITY_POINT,
	IDENTITY_JOB,
	IDENTITY_POINT_JOB,
};

struct identity {
	enum identity_kind kind;
	char uuid[GUID_TEXT_BYTES]; /* upper case; of the virtual system that it
				       is or belongs to, or ""; of SETTINGS or a
				       DISK the HOLDER */
	char id[GUID_TEXT_BYTES];   /* upper case; of a POINT, JOB, POINT_JOB */
	unsigned index;             /* of a SERVICE, or of a DISK, from 0 */
};

/* The services, each of which there is once. */
#define IDENTITY_SERVICES 4
struct identity_service {
	const char *class_name, *name;
};
extern const struct identity_service identity_services[IDENTITY_SERVICES];

/* TEXT, a GUID of either case, in upper case; false if it is none. */
bool identity_guid(const char *text, char ret_upper[GUID_TEXT_BYTES]);

/* The InstanceID of what has one: SETTINGS, EXPORT, DISK, POINT, the JOBs. NULL
 * if the arena is full. */
const char *identity_instance_id(struct arena *arena,
				 const struct identity *identity);
/* And back, of SETTINGS, EXPORT or DISK; false if it is none of theirs. */
bool identity_of_setting(const char *instance_id,
			 struct identity *ret_identity);

/* HOST_NAME is that of our host; HOST and NS go into the path as they are. */
int identity_path(struct arena *arena, const struct identity *identity,
		  const char *host_name, const char *host, const char *ns,
		  const struct cim_path **ret_path, struct err *err);
/* And back, of a path as it came or bound: by its class, which may be a
 * superclass, and its keys.  Its host and namespace are not looked at.  False
 * if it cannot name any of ours. */
bool identity_of_path(const struct cim_path *path, const char *host_name,
		      struct identity *ret_identity);

#endif
