/* SPDX-License-Identifier: Apache-2.0 */
/* The role table, written down a second time from the interface's text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <string.h>

#include "daemon/methods.h"

#define A RPC_ROLE_ADMIN
#define O RPC_ROLE_OPERATOR
#define G RPC_ROLE_GATEWAY
#define W RPC_ROLE_WORKER

static const struct {
	const char *method;
	unsigned roles;
} expected[] = {
    {"org.refpoint.GetInfo", A | O | G},
    {"org.refpoint.Define", A},
    {"org.refpoint.Undefine", A},
    {"org.refpoint.SetAgent", A},
    {"org.refpoint.SetLogLimit", A},
    {"org.refpoint.Serve", A},
    {"org.refpoint.Unserve", A},
    {"org.refpoint.List", A | O | G},
    {"org.refpoint.Status", A | O | G},
    {"org.refpoint.Create", A | O | G},
    {"org.refpoint.Points", A | O | G},
    {"org.refpoint.Changes", A | O | G},
    {"org.refpoint.Destroy", A | O | G},
    {"org.refpoint.Check", A | O | G},
    {"org.refpoint.Resize", A},
    {"org.refpoint.daemon.Start", W},
    {"org.refpoint.daemon.Mark", W},
    {"org.refpoint.daemon.SnapshotListener", W},
    {"org.refpoint.Systems", A | O | G},
    {"org.refpoint.Jobs", A | O | G},
    {"org.refpoint.CreateJob", A | O | G},
    {"org.refpoint.DestroyJob", A | O | G},
    {"org.refpoint.CancelJob", A | O | G},
    {"org.refpoint.Snapshot", A | O | G},
    {"org.refpoint.Snapshots", A | O | G},
    {"org.refpoint.Convert", A | O | G},
    {"org.refpoint.Drop", A | O | G},
    {"org.refpoint.Rename", A | O | G},
    {"org.refpoint.Listen", A | O},
    {"org.refpoint.Unlisten", A | O},
    {"org.refpoint.Export", A | O | G},
    {"org.refpoint.ExportJob", A | O | G},
    {"org.refpoint.ExportDone", A | O | G},
    {"org.refpoint.SnapshotJob", A | O | G},
    {"org.refpoint.ConvertJob", A | O | G},
    {"org.refpoint.DropJob", A | O | G},
    {"org.refpoint.DropLog", A | O | G},
    {"org.refpoint.Import", A | G},
    {"org.refpoint.ImportJob", A | G},
    {"org.refpoint.DropLogJob", A | O | G},
};

#define COUNT (sizeof(expected) / sizeof(expected[0]))

static void each_method_is_open_to_its_roles_alone(void **state)
{
	size_t n = 0;

	for (const struct rpc_method *m = methods_table; m->name; m++, n++) {
		size_t i = 0;

		while (i < COUNT && strcmp(expected[i].method, m->name) != 0)
			i++;
		if (i == COUNT)
			fail_msg("%s is not expected", m->name);
		for (unsigned bit = 0; bit < 32; bit++)
			if ((m->roles ^ expected[i].roles) & (1u << bit))
				fail_msg("%s: role %u", m->name, bit);
		assert_non_null(m->handle);
		for (const struct rpc_method *o = methods_table; o < m; o++)
			assert_string_not_equal(o->name, m->name);
	}
	assert_int_equal(n, COUNT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(each_method_is_open_to_its_roles_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
