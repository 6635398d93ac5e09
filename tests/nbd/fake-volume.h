/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the NBD server stands on, made up: disks in memory (or plain files by
 * the ring's queue) and a host with points whose answers are known beforehand.
 *
 * Requests wait in one queue until fake_complete() carries them out, so a test
 * decides when they finish and whether they fail.
 */
#ifndef TESTS_NBD_FAKE_VOLUME_H
#define TESTS_NBD_FAKE_VOLUME_H

#include <pthread.h>

#include "common/limits.h"
#include "nbd/server.h"

#define FAKE_DISKS_MAX   64
#define FAKE_DIRTY_BYTES KIB(64)

/* The points of each disk:
 *   thirds  of all units of FAKE_DIRTY_BYTES each third one, from the first,
 *           is dirty
 *   none    nothing is dirty
 *   gone    holds until fake_host.gone
 *   broken  cannot be opened */
struct fake_disk {
	struct nbd_disk disk;
	char id[DISK_ID_BYTES];
	uint8_t *memory; /* NULL: FILE */
	struct file *file;
	int fd;
	struct fake_host *host;
};

struct fake_host {
	struct nbd_host host;
	struct fake_disk disks[FAKE_DISKS_MAX];
	unsigned count;
	_Atomic bool gone;
	/* How often view_open and view_extents were called; while `stuck`, they
	 * wait. */
	_Atomic unsigned asked;
	pthread_mutex_t lock;
	pthread_cond_t let_go;
	bool stuck;
	int attached;
	_Atomic int views;

	struct ioq *ioq; /* for disks with a file */
	struct volume_request *first;
	struct volume_request **last;
	unsigned queued;
	unsigned in_ioq;
	bool held; /* fake_complete() does nothing */
	/* Requests that touch [fail_start, fail_end) end with fail_with. */
	uint64_t fail_start;
	uint64_t fail_end;
	int fail_with;
	/* Something was queued; NULL: nobody cares. */
	void (*wake)(struct fake_host *host);
	/* Each request as it is submitted and as it completes; may be NULL. */
	void (*trace)(struct fake_host *host, const char *what,
		      const struct volume_request *request);
};

void fake_host_init(struct fake_host *host);
void fake_host_done(struct fake_host *host);

/* A disk in memory, reading as zeros; BYTES may be large, only what is written
 * takes memory. */
struct fake_disk *fake_add(struct fake_host *host, const char *id,
			   uint64_t bytes);

/* Any thread. */
void fake_stick(struct fake_host *host, bool stuck);

/* Completes up to MAX requests, in order; returns how many. */
unsigned fake_complete(struct fake_host *host, unsigned max);

#endif
