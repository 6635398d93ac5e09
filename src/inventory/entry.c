/* SPDX-License-Identifier: Apache-2.0 */
#include "inventory/entry.h"

#include <stdlib.h>
#include <string.h>

#include "common/agent.h"
#include "common/paths.h"

void inventory_entry_done(struct inventory_entry *entry)
{
	for (unsigned i = 0; i < entry->n_disks; i++)
		free(entry->disks[i].path);
	free(entry->disks);
	entry->disks = NULL;
	entry->n_disks = 0;
	inventory_points_done(&entry->point);
	inventory_points_done(&entry->snapshot);
}

int inventory_add_disk(struct inventory_entry *entry, const char *id,
		       const char *path, uint64_t bytes)
{
	struct inventory_disk *disks =
	    realloc(entry->disks, (entry->n_disks + 1) * sizeof(*disks));
	struct inventory_disk *disk;

	if (!disks)
		return -ENOMEM;
	entry->disks = disks;
	disk = &disks[entry->n_disks];
	*disk = (struct inventory_disk){.bytes = bytes};
	disk->path = strdup(path);
	if (!disk->path)
		return -ENOMEM;
	strncpy(disk->id, id, sizeof(disk->id) - 1);
	entry->n_disks++;
	return 0;
}

int inventory_entry_copy(const struct inventory_entry *from,
			 struct inventory_entry *ret_entry)
{
	struct inventory_entry copy = *from;

	copy.disks = NULL;
	copy.n_disks = 0;
	copy.point = copy.snapshot = (struct inventory_points){0};
	for (unsigned i = 0; i < from->n_disks; i++) {
		const struct inventory_disk *disk = &from->disks[i];

		if (inventory_add_disk(&copy, disk->id, disk->path,
				       disk->bytes) < 0) {
			inventory_entry_done(&copy);
			return -ENOMEM;
		}
		copy.disks[i].device = disk->device;
		copy.disks[i].inode = disk->inode;
	}
	*ret_entry = copy;
	return 0;
}

static json_t *disk_to_json(const struct inventory_disk *disk)
{
	return json_pack("{s:s, s:s, s:I, s:I, s:I}", "id", disk->id, "path",
			 disk->path, "bytes", (json_int_t)disk->bytes, "device",
			 (json_int_t)disk->device, "inode",
			 (json_int_t)disk->inode);
}

static json_t *catalogue_to_json(const struct inventory_catalogue *c)
{
	return json_pack("{s:I, s:I, s:I, s:I}", "device",
			 (json_int_t)c->device, "inode", (json_int_t)c->inode,
			 "bytes", (json_int_t)c->bytes, "mtime_ns",
			 (json_int_t)c->mtime_ns);
}

/* With the boot whose they are; most virtual systems have none. */
static void put_snapshots(json_t *json, const struct inventory_entry *entry)
{
	const struct inventory_points *snapshots = &entry->snapshot;
	json_t *list;
	char boot[GUID_TEXT_BYTES];

	if (!json || !entry->point.known || snapshots->n == 0)
		return;
	list = json_array();
	for (unsigned i = 0; i < snapshots->n; i++)
		(void)json_array_append_new(
		    list, json_loadb(snapshots->list[i].text,
				     snapshots->list[i].bytes, 0, NULL));
	guid_format(&entry->boot, boot);
	(void)json_object_set_new(json, "boot", json_string(boot));
	(void)json_object_set_new(json, "snapshots", list);
}

/* All but the points. */
static json_t *entry_to_json(const struct inventory_entry *entry)
{
	json_t *disks = json_array(), *json;
	char uuid[GUID_TEXT_BYTES];

	guid_format(&entry->uuid, uuid);
	for (unsigned i = 0; i < entry->n_disks; i++)
		if (json_array_append_new(disks,
					  disk_to_json(&entry->disks[i])) < 0) {
			json_decref(disks);
			return NULL;
		}
	json = json_pack(
	    "{s:i, s:s, s:s, s:o, s:b, s:s, s:i, s:i, s:s, s:s*, s:b, s:i, "
	    "s:o}",
	    "version", ENTRY_VERSION, "vm", entry->vm, "uuid", uuid, "disks",
	    disks, "force_raw", entry->force_raw, "owner",
	    entry->owner_refpoint ? "refpoint" : "", "hot_regions",
	    (int)entry->hot_regions, "max_points", (int)entry->max_points,
	    "agent", entry->agent, "agent_next",
	    entry->agent_changes ? entry->agent_next : NULL, "serve",
	    entry->serve, "points", (int)entry->points, "catalogue",
	    catalogue_to_json(&entry->catalogue));
	put_snapshots(json, entry);
	return json;
}

/* No string has a line's end in it, so this is found nowhere else. */
static const char member[] = ",\n  \"point_list\": [";

/* HEAD, an object, with the points as its last member, which are text already.
 */
static char *with_points(const char *head,
			 const struct inventory_points *points)
{
	size_t n = strlen(head) - 2, room = n + sizeof(member) + 8;
	char *text, *at;

	for (unsigned i = 0; i < points->n; i++)
		room += points->list[i].bytes + 2;
	text = malloc(room);
	if (!text)
		return NULL;
	at = mempcpy(mempcpy(text, head, n), member, sizeof(member) - 1);
	for (unsigned i = 0; i < points->n; i++) {
		at = mempcpy(at, i ? ",\n" : "\n", i ? 2 : 1);
		at = mempcpy(at, points->list[i].text, points->list[i].bytes);
	}
	(void)strcpy(at, "]\n}");
	return text;
}

char *entry_format(const struct inventory_entry *entry)
{
	json_t *json = entry_to_json(entry);
	char *head = json ? json_dumps(json, JSON_INDENT(2)) : NULL;
	char *text = head;

	json_decref(json);
	if (head && entry->point.known) {
		text = with_points(head, &entry->point);
		free(head);
	}
	return text;
}

static int disk_from_json(struct inventory_entry *entry, json_t *json,
			  struct err *err)
{
	const char *id = NULL, *path = NULL;
	uint64_t bytes = 0, device = 0, inode = 0;
	const struct rpc_field fields[] = {
	    {"id", RPC_STRING, true, DISK_ID_BYTES, &id, NULL},
	    {"path", RPC_STRING, true, PATH_BYTES, &path, NULL},
	    {"bytes", RPC_UINT, true, 0, &bytes, NULL},
	    {"device", RPC_UINT, true, 0, &device, NULL},
	    {"inode", RPC_UINT, true, 0, &inode, NULL},
	    {0}};
	int r = rpc_read_fields(json, fields, err);

	if (r < 0)
		return r;
	if (!name_is_valid(id, DISK_ID_BYTES) || path[0] != '/')
		return err_set(err, -RP_EPARAM, "disk '%s'", id);
	r = inventory_add_disk(entry, id, path, bytes);
	if (r < 0)
		return err_set(err, r, "disk '%s'", id);
	entry->disks[entry->n_disks - 1].device = device;
	entry->disks[entry->n_disks - 1].inode = inode;
	return 0;
}

static int catalogue_from_json(struct inventory_catalogue *c, json_t *json,
			       struct err *err)
{
	uint64_t mtime = 0;
	const struct rpc_field fields[] = {
	    {"device", RPC_UINT, true, 0, &c->device, NULL},
	    {"inode", RPC_UINT, true, 0, &c->inode, NULL},
	    {"bytes", RPC_UINT, true, 0, &c->bytes, NULL},
	    {"mtime_ns", RPC_UINT, true, 0, &mtime, NULL},
	    {0}};
	int r = rpc_read_fields(json, fields, err);

	c->mtime_ns = (int64_t)mtime;
	return r;
}

static int points_from_json(struct inventory_points *points, json_t *list,
			    struct err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < json_array_size(list); i++)
		r = inventory_points_add(points, json_array_get(list, i), err);
	points->known = r == 0 && list;
	return r;
}

static int snapshots_from_json(struct inventory_entry *entry, json_t *list,
			       const char *boot, struct err *err)
{
	int r = 0;

	if (list && !guid_parse(boot, &entry->boot))
		return err_set(err, -RP_EPARAM, "boot '%s'", boot);
	for (size_t i = 0; r == 0 && i < json_array_size(list); i++)
		r = inventory_snapshots_add(&entry->snapshot,
					    json_array_get(list, i), err);
	return r;
}

static int read_entry(struct inventory_entry *entry, json_t *json,
		      struct err *err)
{
	const char *vm = NULL, *uuid = NULL, *owner = NULL, *boot = "";
	const char *agent = "", *next = "";
	uint64_t version = 0, hot = 0, max = 0, points = 0;
	json_t *disks = NULL, *catalogue = NULL, *list = NULL;
	json_t *snapshots = NULL;
	const struct rpc_field fields[] = {
	    {"version", RPC_UINT, true, 0, &version, NULL},
	    {"vm", RPC_STRING, true, VM_NAME_BYTES, &vm, NULL},
	    {"uuid", RPC_STRING, true, GUID_TEXT_BYTES, &uuid, NULL},
	    {"disks", RPC_ARRAY, true, DISKS_PER_VM_MAX, &disks, NULL},
	    {"force_raw", RPC_BOOL, true, 0, &entry->force_raw, NULL},
	    {"owner", RPC_STRING, true, 16, &owner, NULL},
	    {"hot_regions", RPC_UINT, true, 0, &hot, NULL},
	    {"max_points", RPC_UINT, true, 0, &max, NULL},
	    {"agent", RPC_STRING, false, AGENT_BYTES, &agent, NULL},
	    {"agent_next", RPC_STRING, false, AGENT_BYTES, &next,
	     &entry->agent_changes},
	    {"serve", RPC_BOOL, true, 0, &entry->serve, NULL},
	    {"points", RPC_UINT, true, 0, &points, NULL},
	    {"catalogue", RPC_OBJECT, true, 0, &catalogue, NULL},
	    {"point_list", RPC_ARRAY, false, POINTS_PER_VM_MAX, &list, NULL},
	    {"boot", RPC_STRING, false, GUID_TEXT_BYTES, &boot, NULL},
	    {"snapshots", RPC_ARRAY, false, SNAPSHOTS_PER_VM_MAX, &snapshots,
	     NULL},
	    {0}};
	int r = rpc_read_fields(json, fields, err);

	if (r < 0)
		return r;
	if (version != ENTRY_VERSION)
		return err_set(err, -RP_EVERSION, "version %llu",
			       (unsigned long long)version);
	if (!name_is_valid(vm, VM_NAME_BYTES) ||
	    !guid_parse(uuid, &entry->uuid) || agent_check(agent, NULL) < 0 ||
	    agent_check(next, NULL) < 0 || hot > HOT_REGIONS_MAX ||
	    max > INT32_MAX || points > INT32_MAX)
		return err_set(err, -RP_EPARAM, "its values are not ours");
	strncpy(entry->vm, vm, sizeof(entry->vm) - 1);
	(void)strcpy(entry->agent, agent);
	(void)strcpy(entry->agent_next, next);
	entry->owner_refpoint = strcmp(owner, "refpoint") == 0;
	entry->hot_regions = (unsigned)hot;
	entry->max_points = (unsigned)max;
	entry->points = (unsigned)points;
	for (size_t i = 0; r == 0 && i < json_array_size(disks); i++)
		r = disk_from_json(entry, json_array_get(disks, i), err);
	if (r == 0)
		r = points_from_json(&entry->point, list, err);
	if (r == 0)
		r = snapshots_from_json(entry, snapshots, boot, err);
	return r < 0 ? r
		     : catalogue_from_json(&entry->catalogue, catalogue, err);
}

/* The list as with_points() writes it; false: it must be parsed. */
static bool scan_points(const char *text, struct inventory_points *points)
{
	bool first = true;

	while (strcmp(text, "]\n}") != 0) {
		const char *separator = first ? "\n" : ",\n";

		if (strncmp(text, separator, strlen(separator)) != 0)
			return false;
		text += strlen(separator);
		if (!inventory_points_scan(points, &text))
			return false;
		first = false;
	}
	points->known = true;
	return true;
}

/* Takes the points out of TEXT, where most of it are those. */
static size_t split(char *text, size_t bytes, struct inventory_points *points)
{
	char *at = strlen(text) == bytes ? strstr(text, member) : NULL;

	if (!at)
		return bytes;
	if (!scan_points(at + sizeof(member) - 1, points)) {
		inventory_points_done(points);
		return bytes;
	}
	(void)strcpy(at, "\n}");
	return (size_t)(at - text) + 2;
}

int entry_parse(char *text, size_t bytes, struct inventory_entry *ret_entry,
		struct err *err)
{
	struct inventory_entry entry = {.vm = ""};
	struct inventory_points points = {0};
	json_error_t why;
	json_t *json;
	int r;

	bytes = split(text, bytes, &points);
	json = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &why);
	if (!json) {
		inventory_points_done(&points);
		return err_set(err, -RP_ECORRUPT, "%s", why.text);
	}
	r = read_entry(&entry, json, err);
	json_decref(json);
	if (r < 0) {
		inventory_points_done(&points);
		inventory_entry_done(&entry);
		return r;
	}
	if (points.known)
		entry.point = points;
	*ret_entry = entry;
	return 0;
}
