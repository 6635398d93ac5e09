/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/all.h"

#include "common/bytes.h"

#define PROVIDERS_MAX 128

/* A new table of providers is added here. */
static const struct {
	const struct cim_provider *table;
	size_t n;
} groups[] = {
    {interop_providers, INTEROP_PROVIDERS},
    {win32_providers, WIN32_PROVIDERS},
    {virtual_providers, VIRTUAL_PROVIDERS},
    {job_providers, JOB_PROVIDERS},
};

int providers_all(struct providers *providers, struct broker **ret_broker,
		  struct err *err)
{
	const struct cim_provider *list[PROVIDERS_MAX];
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_SIZE(groups); i++)
		for (size_t j = 0; j < groups[i].n && n < PROVIDERS_MAX; j++)
			list[n++] = &groups[i].table[j];
	return broker_new(list, n, providers, ret_broker, err);
}
