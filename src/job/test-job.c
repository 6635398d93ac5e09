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

static int count(void *arg, const struct job *job)
{
	(*(unsigned *)arg)++;
	return 0;
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
	job_end(jobs, a, NULL);
	assert_null(jobs_busy(jobs, "v"));
	assert_int_equal(job_begin(jobs, "Destroy", "v", true, &b, &err), 0);
	jobs_free(jobs);
}

static void an_ended_job_is_remembered_for_a_while(void **state)
{
	struct jobs *jobs = jobs_new(clock_ms);
	struct job *job;
	const struct job *found;
	struct err err = {0};
	uint64_t id;

	now = 0;
	assert_int_equal(job_begin(jobs, "Create", "v", true, &job, &err), 0);
	id = job->id;
	err_set(&err, -RP_EIOFAIL, "no");
	job_end(jobs, job, &err);
	now = JOB_KEEP_MS;
	found = jobs_find(jobs, id);
	assert_non_null(found);
	assert_int_equal(found->state, JOB_FAILED);
	assert_int_equal(found->result.code, -RP_EIOFAIL);
	now++;
	assert_null(jobs_find(jobs, id));
	assert_int_equal(job_begin(jobs, "Create", "v", true, &job, &err), 0);
	assert_true(job->id > id);
	jobs_free(jobs);
}

static void memory_is_bounded_and_running_jobs_are_kept(void **state)
{
	struct jobs *jobs = jobs_new(clock_ms);
	struct job *running, *job;
	uint64_t first = 0;
	unsigned n = 0;

	now = 0;
	assert_int_equal(job_begin(jobs, "Check", "v", false, &running, NULL),
			 0);
	for (unsigned i = 0; i < JOBS_KEPT_MAX + 5; i++) {
		now++;
		assert_int_equal(
		    job_begin(jobs, "Check", "v", false, &job, NULL), 0);
		if (i == 0)
			first = job->id;
		job_end(jobs, job, NULL);
	}
	assert_int_equal(jobs_each(jobs, count, &n), 0);
	assert_int_equal(n, JOBS_KEPT_MAX + 1);
	assert_null(jobs_find(jobs, first));
	assert_ptr_equal(jobs_find(jobs, running->id), running);
	jobs_free(jobs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(one_change_of_a_vm_at_a_time),
	    cmocka_unit_test(an_ended_job_is_remembered_for_a_while),
	    cmocka_unit_test(memory_is_bounded_and_running_jobs_are_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
