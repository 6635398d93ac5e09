/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of this folder share: a service, and asking it. */
#ifndef TESTS_WSMAN_SCENE_H
#define TESTS_WSMAN_SCENE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cim/arena.h"
#include "cim/status.h"
#include "cim/xml.h"
#include "common/bytes.h"
#include "common/limits.h"
#include "fake-broker.h"
#include "wsman/wsman.h"

#define V2          "root/virtualization/v2"
#define ADDRESSING  "http://schemas.xmlsoap.org/ws/2004/08/addressing"
#define ENUMERATION "http://schemas.xmlsoap.org/ws/2004/09/enumeration"
#define TRANSFER    "http://schemas.xmlsoap.org/ws/2004/09/transfer"
#define SOAP        "http://www.w3.org/2003/05/soap-envelope"
#define WSMAN       "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
#define DMTF        "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/"
#define MICROSOFT   "http://schemas.microsoft.com/wbem/wsman/1/wmi/" V2 "/"
#define SYSTEM      "Msvm_ComputerSystem"
#define SERVICE     "Msvm_VirtualSystemReferencePointService"
#define VM          "11111111-1111-1111-1111-111111111111"

/* One request; what is NULL or 0 is left out or usual. */
struct ask {
	const char *action, *uri, *selectors, *headers, *body;
	const char *message_id; /* else a fresh one */
	unsigned long max_bytes;
	const char *caller; /* else "anna" */
	enum cim_role role; /* else an operator */
};

struct answer {
	unsigned status;
	const struct xml_node *root, *payload; /* the Body's element */
	char *text;
	size_t bytes;
};

extern struct arena *arena;
extern struct broker scene_broker;
extern struct contexts *scene_contexts;
extern struct wsman *scene_wsman;
extern uint64_t scene_now;

int scene_up(void **state);
int scene_down(void **state);

char *scene_envelope(const struct ask *ask);
struct answer scene_send(const struct ask *ask, const char *type,
			 const void *body, size_t bytes);
struct answer scene_ask(const struct ask *ask);
/* The element of that name anywhere in the answer; NULL if there is none. */
const struct xml_node *scene_find(const struct answer *answer,
				  const char *name);
size_t scene_count(const struct answer *answer, const char *name);
/* Asserts a fault with that subcode. */
void scene_assert_fault(const struct answer *answer, const char *subcode,
			const char *detail);

#define SCENE(f) cmocka_unit_test_setup_teardown(f, scene_up, scene_down)

#endif
