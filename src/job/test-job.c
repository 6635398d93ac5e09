/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include <string.h>

#include "job/job.h"

static uint64_t now;

static uint64_t clock_ms(void)
{
	return now;
}

static void one_change_of_a_vm_at_a_time(void **state)
{
	struct jobs *jobs = jobs_new(clock_ms);
	struct job *a, *b = NULL, *q;
	struct err err = {0};

	now = 1000;
	assert_int_equal(job_begin(jobs, "Create", "v", true, &a, &err), 0);
	now = 5000;
	assert_int_equal(job_begin(jobs, "Destroy", "v", true, &b, &err),
			 -RP_ESTATE);
	assert_null(b);
	assert_non_null(strstr(err.text, "Create is in progress"));
	assert_non_null(strstr(err.text, "for 4 s"));
	assert_ptr_equal(jobs_busy(jobs, "v"), a);
	assert_int_equal(job_begin(jobs, "Check", "v", false, &q, &err), 0);
	assert_int_equal(job_begin(jobs, "Create", "w", true, &b, &err), 0);
	job_end(jobs, a);
	assert_null(jobs_busy(jobs, "v"));
	assert_int_equal(job_begin(jobs, "Destroy", "v", true, &b, &err), 0);
	jobs_free(jobs);
}

static void an_ended_job_is_forgotten_and_its_number_too(void **state)
{
	struct jobs *jobs = jobs_new(clock_ms);
	struct job *a, *b, *c;
	uint64_t last;

	assert_int_equal(job_begin(jobs, "Check", "v", false, &a, NULL), 0);
	assert_int_equal(job_begin(jobs, "Create", "v", true, &b, NULL), 0);
	assert_int_equal(job_begin(jobs, "Check", "v", false, &c, NULL), 0);
	last = c->id;
	job_end(jobs, a);
	assert_ptr_equal(jobs_busy(jobs, "v"), b);
	job_end(jobs, c);
	job_end(jobs, b);
	assert_null(jobs_busy(jobs, "v"));
	assert_int_equal(job_begin(jobs, "Create", "v", true, &a, NULL), 0);
	assert_true(a->id > last);
	jobs_free(jobs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(one_change_of_a_vm_at_a_time),
	    cmocka_unit_test(an_ended_job_is_forgotten_and_its_number_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
