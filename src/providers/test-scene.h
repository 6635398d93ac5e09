/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three virtual systems behind a refpointd of the tests' own, and the broker in
 * front of them:
 *
 *	alpha	a writer is connected; disks vda (8 GiB), vdb; points POINT(1)
 *		(rct, crash), POINT(2) (rct, application, labelled), POINT(3)
 *		(log)
 *	beta	failed; disk sda; no points
 *	gamma	a worker runs; disk vda; points POINT(11) to POINT(15), told in
 *		several replies
 */
#ifndef PROVIDERS_TEST_SCENE_H
#define PROVIDERS_TEST_SCENE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cim/status.h"
#include "common/bytes.h"
#include "common/limits.h"
#include "providers/providers.h"
#include "providers/test-fake.h"
#include "providers/test-work.h"

#define ALPHA    "0A1B2C3D-0000-4000-8000-00000000000A"
#define BETA     "0A1B2C3D-0000-4000-8000-00000000000B"
#define GAMMA    "0A1B2C3D-0000-4000-8000-00000000000C"
#define POINT(n) "FEDC0000-0000-4000-8000-0000000000" #n
#define DISK(uuid, n)                                                          \
	"Microsoft:" uuid "\\5A6E1F5C-0D4B-4B7B-9C7E-3C1B0E6D2A41\\0\\" #n "\\L"
#define SYSTEM_PATH(uuid)                                                      \
	"Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\","       \
	"Name=\"" uuid "\""
#define POINT_PATH(uuid, n)                                                    \
	"Msvm_VirtualSystemReferencePoint.InstanceID=\"" POINT(                \
	    n) "\",VirtualSystemIdentifier=\"" uuid "\""

struct scene {
	struct fake *fake;
	struct providers providers;
	struct broker *broker;
	struct cim_request request;
	json_t *systems; /* what is there, as of Systems */
	const char *raw; /* or the reply's parameters as they are */
	/* What was asked. */
	unsigned asked;
	char asked_uuid[64];
	bool asked_points, asked_snapshots;
	char destroyed[128]; /* vm point caller */
	struct work work;
};

extern struct scene *scene;

int scene_set_up(void **state);
int scene_tear_down(void **state);
#define SCENE(f)                                                               \
	cmocka_unit_test_setup_teardown(f, scene_set_up, scene_tear_down)

struct told {
	const struct cim_instance *list[64];
	size_t count;
};

/* Fail the test if the operation does. */
struct told enumerated(const char *class_name);
struct told queried(const char *text);
struct told walked(const char *path, const struct cim_walk *walk);
/* What the operation returned. */
int try_enumerate(const char *class_name, struct err *err);
const struct cim_path *parsed(const char *path);
/* NULL: there is none. */
const struct cim_instance *got(const char *path);

const char *text_of(const struct cim_instance *instance, const char *name);
uint64_t number_of(const struct cim_instance *instance, const char *name);
/* Item N of an array of strings. */
const char *item_of(const struct cim_instance *instance, const char *name,
		    uint32_t n);
/* All have values of their properties' types, and each is got by its path, as
 * it was told and in lower case. */
void assert_sound(const struct told *told);

#endif
