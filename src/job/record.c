/* SPDX-License-Identifier: Apache-2.0 */
#include "job/record.h"

#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/paths.h"
#include "job/record-file.h"
#include "rpc/message.h"

#define NAME_BYTES (GUID_TEXT_BYTES + 16)

struct records {
	int dir;
	char boot[GUID_TEXT_BYTES];
	struct record_time (*now)(void);
	struct record *first; /* newest first */
	unsigned n;
};

static struct record_time kernel_time(void)
{
	struct timespec boot, real;

	(void)clock_gettime(CLOCK_BOOTTIME, &boot);
	(void)clock_gettime(CLOCK_REALTIME, &real);
	return (struct record_time){.ms = (uint64_t)boot.tv_sec * 1000 +
					  (uint64_t)boot.tv_nsec / 1000000,
				    .ns = (int64_t)real.tv_sec * 1000000000 +
					  real.tv_nsec};
}

/* ---- Files -----------------------------------------------------------------
 */

static void file_name(const struct record *record, const char *suffix,
		      char name[NAME_BYTES])
{
	char id[GUID_TEXT_BYTES];

	guid_format(&record->id, id);
	(void)snprintf(name, NAME_BYTES, "%s%s", id, suffix);
}

/* Nothing depends on it but what a later refpointd will remember. */
static void save(struct records *records, const struct record *record)
{
	_cleanup_free_ char *text = record_format(record, records->boot);
	char name[NAME_BYTES], temp[NAME_BYTES];
	ssize_t n = text ? (ssize_t)strlen(text) : -1;
	int fd;

	file_name(record, ".json", name);
	file_name(record, ".new", temp);
	fd = openat(records->dir, temp,
		    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (n < 0 || fd < 0 || write(fd, text, (size_t)n) != n ||
	    renameat(records->dir, temp, records->dir, name) < 0)
		log_warning("job '%s' cannot be kept: %s", name,
			    strerror(errno));
	if (fd >= 0)
		(void)close(fd);
}

static void unlink_file(struct records *records, const struct record *record)
{
	char name[NAME_BYTES];

	file_name(record, ".json", name);
	(void)unlinkat(records->dir, name, 0);
}

/* ---- The list --------------------------------------------------------------
 */

static void forget(struct records *records, struct record **at)
{
	struct record *record = *at;

	*at = record->next;
	if (record->told)
		unlink_file(records, record);
	free(record);
	records->n--;
}

static void expire(struct records *records)
{
	uint64_t now = records->now().ms;
	struct record **at = &records->first;

	while (*at)
		if ((*at)->state != RECORD_RUNNING &&
		    now - (*at)->changed.ms > JOB_KEEP_MS)
			forget(records, at);
		else
			at = &(*at)->next;
}

static struct record *find(struct records *records, const struct guid *id)
{
	struct record *record = records->first;

	while (record && !guid_equal(&record->id, id))
		record = record->next;
	return record;
}

/* In its place by age. */
static void insert(struct records *records, struct record *record)
{
	struct record **at = &records->first;

	while (*at && (*at)->begun.ns > record->begun.ns)
		at = &(*at)->next;
	record->next = *at;
	*at = record;
	records->n++;
}

int record_begin(struct records *records, const char *method, const char *vm,
		 const struct guid *uuid, const char *owner,
		 struct record **ret_record, struct err *err)
{
	struct record *record;

	expire(records);
	if (records->n >= JOB_RECORDS_MAX)
		return err_set(err, -RP_ELIMIT,
			       "%d jobs are remembered already, each for %d "
			       "minutes after its end",
			       JOB_RECORDS_MAX, JOB_KEEP_MS / 60000);
	record = calloc(1, sizeof(*record));
	if (!record)
		return err_set(err, -ENOMEM, "%s '%s'", method, vm);
	record->id = guid_random();
	record->vm_uuid = *uuid;
	(void)snprintf(record->method, sizeof(record->method), "%s", method);
	(void)snprintf(record->vm, sizeof(record->vm), "%s", vm);
	(void)snprintf(record->owner, sizeof(record->owner), "%s", owner);
	record->begun = record->changed = records->now();
	record->next = records->first; /* whatever the time of day is */
	records->first = record;
	records->n++;
	*ret_record = record;
	return 0;
}

void record_tell(struct records *records, struct record *record)
{
	if (record->told)
		return;
	record->told = true;
	save(records, record);
}

void record_end(struct records *records, struct record *record,
		enum record_state state, const struct err *why)
{
	record->state = state;
	record->changed = records->now();
	record->told = true;
	if (why) {
		record->code = why->code;
		(void)strcpy(record->message, why->text);
		message_clean_text(record->message);
	}
	save(records, record);
}

void record_drop(struct records *records, struct record *record)
{
	struct record **at = &records->first;

	while (*at != record)
		at = &(*at)->next;
	forget(records, at);
}

struct record *records_find(struct records *records, const struct guid *id)
{
	struct record *record;

	expire(records);
	record = find(records, id);
	return record && record->told ? record : NULL;
}

int records_each(struct records *records,
		 int (*fn)(void *arg, const struct record *record), void *arg)
{
	int r = 0;

	expire(records);
	for (const struct record *record = records->first; record && r == 0;
	     record = record->next)
		if (record->told)
			r = fn(arg, record);
	return r;
}

uint64_t record_elapsed_ms(const struct records *records,
			   const struct record *record)
{
	uint64_t end = record->state == RECORD_RUNNING ? records->now().ms
						       : record->changed.ms;

	return end > record->begun.ms ? end - record->begun.ms : 0;
}

/* ---- At start --------------------------------------------------------------
 */

/* What another refpointd left (4, 5). */
static void take_over(struct records *records, struct record *record,
		      const char *boot)
{
	struct record_time now = records->now();
	uint64_t took = record->changed.ms - record->begun.ms;
	bool same_boot = strcmp(boot, records->boot) == 0 &&
			 record->changed.ms <= now.ms &&
			 record->begun.ms <= record->changed.ms;
	struct err why = {0};

	if (!same_boot) {
		record->begun.ms = now.ms;
		record->changed.ms = now.ms;
		if (record->state != RECORD_RUNNING && took <= now.ms)
			record->begun.ms -= took;
	}
	record->told = true;
	insert(records, record);
	if (record->state == RECORD_RUNNING) {
		err_set(&why, -RP_EFAILED,
			"refpointd was started anew before the outcome was "
			"known; what was asked for may have been done");
		record_end(records, record, RECORD_FAILED, &why);
	} else if (!same_boot) {
		save(records, record);
	}
}

static int load(struct records *records, const char *name, struct err *err)
{
	_cleanup_close_ int fd =
	    openat(records->dir, name,
		   O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	char text[RECORD_FILE_BYTES], boot[GUID_TEXT_BYTES], own[NAME_BYTES];
	struct record *record;
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text));
	int r;

	if (n < 0)
		return err_set(err, -errno, "read '%s'", name);
	record = calloc(1, sizeof(*record));
	if (!record)
		return err_set(err, -ENOMEM, "read '%s'", name);
	r = record_parse(text, (size_t)n, record, boot, err);
	if (r == 0)
		file_name(record, ".json", own);
	if (r == 0 && strcmp(own, name) != 0)
		r = err_set(err, -RP_ECORRUPT, "it has another one's name");
	if (r == 0 && records->n >= JOB_RECORDS_MAX)
		r = err_set(err, -RP_ELIMIT, "there are too many");
	/* a directory that is written to may tell a file twice */
	if (r < 0 || find(records, &record->id))
		free(record);
	else
		take_over(records, record, boot);
	return r;
}

static int load_all(struct records *records, struct err *err)
{
	int fd = openat(records->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (!dir) {
		if (fd >= 0)
			(void)close(fd);
		return err_set(err, -errno, "read the jobs");
	}
	while ((entry = readdir(dir))) {
		struct err why = {0};

		if (entry->d_name[0] == '.')
			continue;
		if (load(records, entry->d_name, &why) == 0)
			continue;
		log_warning("removing 'jobs/%s', which is no job: %s",
			    entry->d_name, why.text);
		(void)unlinkat(records->dir, entry->d_name, 0);
	}
	(void)closedir(dir);
	expire(records);
	return 0;
}

static int read_boot(char boot[GUID_TEXT_BYTES], struct err *err)
{
	static const char path[] = "/proc/sys/kernel/random/boot_id";
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 ||
	    read(fd, boot, GUID_TEXT_BYTES - 1) != GUID_TEXT_BYTES - 1)
		return err_set(err, -errno, "read '%s'", path);
	boot[GUID_TEXT_BYTES - 1] = '\0';
	return 0;
}

int records_open(const char *lib, const char *boot,
		 struct record_time (*now)(void), struct records **ret_records,
		 struct err *err)
{
	struct records *records = calloc(1, sizeof(*records));
	char path[PATH_BYTES];
	int r = 0;

	if (!records)
		return err_set(err, -ENOMEM, "jobs");
	records->now = now ? now : kernel_time;
	(void)snprintf(path, sizeof(path), "%s/jobs", lib);
	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		r = err_set(err, -errno, "make '%s'", path);
	records->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (r == 0 && records->dir < 0)
		r = err_set(err, -errno, "open '%s'", path);
	if (r == 0 && boot)
		(void)snprintf(records->boot, sizeof(records->boot), "%s",
			       boot);
	else if (r == 0)
		r = read_boot(records->boot, err);
	if (r == 0)
		r = load_all(records, err);
	if (r < 0)
		records_close(records);
	else
		*ret_records = records;
	return r;
}

struct records *records_close(struct records *records)
{
	struct record *record, *next;

	for (record = records ? records->first : NULL; record; record = next) {
		next = record->next;
		free(record);
	}
	if (records && records->dir >= 0)
		(void)close(records->dir);
	free(records);
	return NULL;
}
