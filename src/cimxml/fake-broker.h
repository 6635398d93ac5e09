/* SPDX-License-Identifier: Apache-2.0 */
/*
 * For tests: a broker in front of four objects, two systems, a service and a
 * job, linked instead of the real one.  Every object is associated with the
 * job, by an Msvm_AffectedJobElement.
 */
#ifndef CIMXML_FAKE_BROKER_H
#define CIMXML_FAKE_BROKER_H

#include "cim/broker.h"

/* More systems "extra0", "extra1" ..., this many. */
extern unsigned fake_extra;
/* What every operation on instances fails with; 0: none. */
extern int fake_error;
/* The arguments of the last call, one "NAME=VALUE;" after the other. */
extern char fake_called[4096];

#endif
