/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both protocols in front of the scene's broker (providers/test-scene.h):
 * methods, called as clients call them.
 */
#ifndef TESTS_CIM_FRONT_H
#define TESTS_CIM_FRONT_H

#include "cim/xml.h"
#include "providers/test-scene.h"

#define V2 "root/virtualization/v2"

int front_up(void **state);
int front_down(void **state);
#define FRONT(f) cmocka_unit_test_setup_teardown(f, front_up, front_down)

/* A reply: valid until the next call. */
struct reply {
	unsigned status;
	const char *text;
	size_t bytes;
	const struct xml_node *root;
};

/* METHOD of the only instance of CLASS; PARAMETERS are PARAMVALUE elements. */
struct reply front_cimxml(const char *class, const char *method,
			  const char *parameters);
/* PARAMETERS are elements with the prefix p; MAX_BYTES is MaxEnvelopeSize, or
 * 0 for none. */
struct reply front_wsman(const char *class, const char *method,
			 const char *parameters, unsigned long max_bytes);

/* The number that the method returned.  Fails the test if it was not called. */
uint64_t front_result(const struct reply *reply);
/* Calls FN for each element NAME within the reply. */
void front_each(const struct reply *reply, const char *name,
		void (*fn)(void *arg, const struct xml_node *node), void *arg);

#endif
