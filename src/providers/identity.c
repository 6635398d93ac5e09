/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/identity.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "cim/status.h"
#include "common/bytes.h"

#define PREFIX      "Microsoft:"
#define EXPORT_TAIL "\\Export"
#define DISK_MIDDLE "\\" DISK_CONTROLLER "\\0\\"
#define DISK_TAIL   "\\L"

const struct identity_service identity_services[IDENTITY_SERVICES] = {
    {"Msvm_VirtualSystemReferencePointService", "rpsvc"},
    {"Msvm_VirtualSystemSnapshotService", "vssnapsvc"},
    {"Msvm_VirtualSystemManagementService", "vmms"},
    {"Msvm_ImageManagementService", "imgsvc"},
};

bool identity_guid(const char *text, char ret_upper[GUID_TEXT_BYTES])
{
	struct guid guid;

	if (!text || !guid_parse(text, &guid))
		return false;
	for (size_t i = 0; i < GUID_TEXT_BYTES; i++)
		ret_upper[i] = text[i] >= 'a' && text[i] <= 'f'
				   ? (char)(text[i] - 'a' + 'A')
				   : text[i];
	return true;
}

const char *identity_instance_id(struct arena *arena,
				 const struct identity *identity)
{
	switch (identity->kind) {
	case IDENTITY_SETTINGS:
		return arena_printf(arena, PREFIX "%s", identity->uuid);
	case IDENTITY_EXPORT:
		return arena_printf(arena, PREFIX "%s" EXPORT_TAIL,
				    identity->uuid);
	case IDENTITY_DISK:
		return arena_printf(arena,
				    PREFIX "%s" DISK_MIDDLE "%u" DISK_TAIL,
				    identity->uuid, identity->index);
	default:
		return arena_strdup(arena, identity->id);
	}
}

/* Steps over WORD, whatever its case.  A backslash may be doubled: what a
 * client shows of a path, or makes one of, often has them so. */
static bool skip(const char **at, const char *word)
{
	const char *p = *at;

	for (; *word; word++, p++) {
		if (strncasecmp(p, word, 1) != 0)
			return false;
		if (*p == '\\' && p[1] == '\\')
			p++;
	}
	*at = p;
	return true;
}

/* A number as we write it: no sign, no zeros before it. */
static bool take_index(const char **at, unsigned *ret_index)
{
	unsigned long n = 0;
	const char *p = *at;

	while (*p >= '0' && *p <= '9' && p - *at < 4)
		n = n * 10 + (unsigned long)(*p++ - '0');
	if (p == *at || (p - *at > 1 && **at == '0'))
		return false;
	*at = p;
	*ret_index = (unsigned)n;
	return true;
}

bool identity_of_setting(const char *instance_id, struct identity *ret_identity)
{
	struct identity own = {.kind = IDENTITY_SETTINGS};
	char uuid[GUID_TEXT_BYTES];
	const char *at = instance_id;

	if (!at || !skip(&at, PREFIX) || strlen(at) < sizeof(uuid) - 1)
		return false;
	memcpy(uuid, at, sizeof(uuid) - 1);
	uuid[sizeof(uuid) - 1] = '\0';
	at += sizeof(uuid) - 1;
	if (!identity_guid(uuid, own.uuid))
		return false;
	if (skip(&at, EXPORT_TAIL))
		own.kind = IDENTITY_EXPORT;
	else if (skip(&at, DISK_MIDDLE) && take_index(&at, &own.index) &&
		 skip(&at, DISK_TAIL))
		own.kind = IDENTITY_DISK;
	if (*at)
		return false;
	*ret_identity = own;
	return true;
}

/* ---- paths -------------------------------------------------------------- */

static const char *class_of(const struct identity *identity)
{
	switch (identity->kind) {
	case IDENTITY_HOST:
	case IDENTITY_SYSTEM:
		return SYSTEM_CLASS;
	case IDENTITY_SERVICE:
		return identity_services[identity->index].class_name;
	case IDENTITY_SETTINGS:
		return SETTINGS_CLASS;
	case IDENTITY_EXPORT:
		return EXPORT_SETTINGS_CLASS;
	case IDENTITY_DISK:
		return DISK_CLASS;
	case IDENTITY_POINT:
		return POINT_CLASS;
	case IDENTITY_POINT_JOB:
		return POINT_JOB_CLASS;
	case IDENTITY_JOB:
		break;
	}
	return JOB_CLASS;
}

#define KEYS_MAX 4

/* The keys in the order of their class; returns how many.  Texts of IDENTITY
 * itself are not copied. */
static uint32_t make_keys(struct arena *arena, const struct identity *identity,
			  const char *host_name, struct cim_key keys[KEYS_MAX])
{
	const struct identity_service *s = NULL;

	switch (identity->kind) {
	case IDENTITY_HOST:
	case IDENTITY_SYSTEM:
		keys[0] =
		    (struct cim_key){.name = "Name", .text = identity->uuid};
		if (identity->kind == IDENTITY_HOST)
			keys[0].text = host_name;
		keys[1] = (struct cim_key){.name = "CreationClassName",
					   .text = SYSTEM_CLASS};
		return 2;
	case IDENTITY_SERVICE:
		s = &identity_services[identity->index];
		keys[0] = (struct cim_key){.name = "Name", .text = s->name};
		keys[1] = (struct cim_key){.name = "SystemCreationClassName",
					   .text = SYSTEM_CLASS};
		keys[2] =
		    (struct cim_key){.name = "SystemName", .text = host_name};
		keys[3] = (struct cim_key){.name = "CreationClassName",
					   .text = s->class_name};
		return 4;
	case IDENTITY_POINT:
		keys[1] = (struct cim_key){.name = "VirtualSystemIdentifier",
					   .text = identity->uuid};
		break;
	default:
		break;
	}
	keys[0] =
	    (struct cim_key){.name = "InstanceID",
			     .text = identity_instance_id(arena, identity)};
	return identity->kind == IDENTITY_POINT ? 2 : 1;
}

int identity_path(struct arena *arena, const struct identity *identity,
		  const char *host_name, const char *host, const char *ns,
		  const struct cim_path **ret_path, struct err *err)
{
	struct cim_path *path = arena_alloc(arena, sizeof(*path));
	struct cim_key *keys = arena_array(arena, KEYS_MAX, sizeof(*keys));

	if (!path || !keys)
		return arena_full(arena, err);
	path->host = host;
	path->ns = ns;
	path->class_name = class_of(identity);
	path->key_count = make_keys(arena, identity, host_name, keys);
	path->keys = keys;
	for (uint32_t i = 0; i < path->key_count; i++) {
		if (keys[i].text == identity->uuid)
			keys[i].text = arena_strdup(arena, identity->uuid);
		if (!keys[i].text)
			return arena_full(arena, err);
	}
	*ret_path = path;
	return 0;
}

static bool key_is(const struct cim_path *path, const char *name,
		   const char *text)
{
	const char *value = cim_path_text(path, name);

	return value && strcasecmp(value, text) == 0;
}

static bool of_system(const struct cim_path *path, const char *host_name,
		      struct identity *own)
{
	if (!key_is(path, "CreationClassName", SYSTEM_CLASS))
		return false;
	own->kind = IDENTITY_HOST;
	if (key_is(path, "Name", host_name))
		return true;
	own->kind = IDENTITY_SYSTEM;
	return identity_guid(cim_path_text(path, "Name"), own->uuid);
}

static bool of_service(const struct cim_path *path, const char *host_name,
		       struct identity *own)
{
	if (!key_is(path, "SystemCreationClassName", SYSTEM_CLASS) ||
	    !key_is(path, "SystemName", host_name))
		return false;
	own->kind = IDENTITY_SERVICE;
	for (own->index = 0; own->index < IDENTITY_SERVICES; own->index++) {
		const struct identity_service *s =
		    &identity_services[own->index];

		if (key_is(path, "CreationClassName", s->class_name))
			return key_is(path, "Name", s->name);
	}
	return false;
}

static bool of_point(const struct cim_path *path, struct identity *own)
{
	own->kind = IDENTITY_POINT;
	return identity_guid(cim_path_text(path, "InstanceID"), own->id) &&
	       identity_guid(cim_path_text(path, "VirtualSystemIdentifier"),
			     own->uuid);
}

/* A path with a key that has no name, or with InstanceID. */
static bool of_instance_id(const struct cim_path *path, struct identity *own)
{
	const char *id = cim_path_text(path, "InstanceID");

	if (!id)
		id = cim_path_text(path, "");
	if (!id)
		return false;
	if (identity_of_setting(id, own))
		return true;
	own->kind = strcasecmp(path->class_name, POINT_JOB_CLASS) == 0
			? IDENTITY_POINT_JOB
			: IDENTITY_JOB;
	return identity_guid(id, own->id);
}

bool identity_of_path(const struct cim_path *path, const char *host_name,
		      struct identity *ret_identity)
{
	const struct schema_class *named, *class;
	struct identity own = {0};
	bool ours;

	if (path->is_class)
		return false;
	if (cim_path_key(path, "SystemName"))
		ours =
		    path->key_count == 4 && of_service(path, host_name, &own);
	else if (cim_path_key(path, "CreationClassName"))
		ours = path->key_count == 2 && of_system(path, host_name, &own);
	else if (cim_path_key(path, "VirtualSystemIdentifier"))
		ours = path->key_count == 2 && of_point(path, &own);
	else
		ours = path->key_count == 1 && of_instance_id(path, &own);
	if (!ours)
		return false;
	named = schema_find_class(NULL, path->class_name);
	class = schema_find_class(NULL, class_of(&own));
	if (!named || !class || !schema_is_a(class, named))
		return false;
	*ret_identity = own;
	return true;
}
