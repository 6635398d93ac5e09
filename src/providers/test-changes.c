/* SPDX-License-Identifier: Apache-2.0 */
/* GetVirtualDiskChanges: what is asked, what is told, and how much of it. */
#include "providers/test-scene.h"

#define SERVICE                                                                \
	"Msvm_ImageManagementService.CreationClassName="                       \
	"\"Msvm_ImageManagementService\",Name=\"imgsvc\","                     \
	"SystemCreationClassName=\"Msvm_ComputerSystem\",SystemName=\"hv\""
#define PATH "/images/a \u00e9.raw"
#define SIZE GIB(8)

static struct cim_arguments out;

static uint64_t ask(const char *path, const char *limit, uint64_t offset,
		    uint64_t length)
{
	return CALL(SERVICE, "GetVirtualDiskChanges", &out,
		    {"Path", .text = path}, {"LimitId", .text = limit},
		    {"ByteOffset", .number = offset},
		    {"ByteLength", .number = length});
}

static void changed(uint64_t count, uint64_t stride, uint64_t length)
{
	scene->work.count = count;
	scene->work.stride = stride;
	scene->work.length = length;
}

static uint64_t processed(void)
{
	return cim_number(out_value(&out, "ProcessedByteLength"), UINT64_MAX);
}

static uint32_t ranges(void)
{
	const struct cim_value *offsets = out_value(&out, "ChangedByteOffsets");
	const struct cim_value *lengths = out_value(&out, "ChangedByteLengths");

	assert_false(offsets->is_null);
	assert_int_equal(offsets->count, lengths->count);
	return offsets->count;
}

static void assert_range(uint32_t i, uint64_t offset, uint64_t length)
{
	assert_true(i < ranges());
	assert_int_equal(out_value(&out, "ChangedByteOffsets")->items[i].uint,
			 offset);
	assert_int_equal(out_value(&out, "ChangedByteLengths")->items[i].uint,
			 length);
}

static void nothing_came_out(void)
{
	assert_true(out_value(&out, "ProcessedByteLength")->is_null);
	assert_true(out_value(&out, "ChangedByteOffsets")->is_null);
}

/* ---- C10 ------------------------------------------------------------------
 */

static void C10_the_whole_disk_is_told_in_one_call(void **state)
{
	changed(10000, KIB(64), KIB(4));
	assert_int_equal(ask(PATH, "rctX:1a", 0, SIZE), 0);
	assert_int_equal(processed(), SIZE);
	assert_int_equal(ranges(), 10000);
	assert_range(0, 0, KIB(4));
	assert_range(9999, 9999 * KIB(64), KIB(4));
	assert_true(out_value(&out, "Job")->is_null);
	assert_string_equal(out_path(&out, "Job"), "");
	assert_non_null(strstr(scene->work.asked, "\"vm\": \"alpha\""));
	assert_non_null(strstr(scene->work.asked, "\"disk\": \"vda\""));
	assert_non_null(
	    strstr(scene->work.asked, "\"since\": \"" POINT(01) "\""));
}

static void C10_no_target_and_an_empty_one_are_alike(void **state)
{
	changed(1, KIB(64), KIB(4));
	assert_int_equal(
	    CALL(SERVICE, "GetVirtualDiskChanges", &out, {"Path", .text = PATH},
		 {"LimitId", .text = "rctX:1a"},
		 {"TargetSnapshotId", .text = ""}, {"ByteOffset", .number = 0},
		 {"ByteLength", .number = SIZE}),
	    0);
	assert_int_equal(ranges(), 1);
	assert_int_equal(
	    CALL(SERVICE, "GetVirtualDiskChanges", &out, {"Path", .text = PATH},
		 {"LimitId", .text = "rctX:1a"},
		 {"TargetSnapshotId", .text = "rctX:3a"},
		 {"ByteOffset", .number = 0}, {"ByteLength", .number = SIZE}),
	    32773);
	nothing_came_out();
}

static void nothing_changed_is_two_empty_lists(void **state)
{
	assert_int_equal(ask(PATH, "RCTx:1A", 0, SIZE), 0);
	assert_int_equal(ranges(), 0);
	assert_int_equal(processed(), SIZE);
}

/* ---- the question -----------------------------------------------------------
 */

static void a_range_lies_within_the_disk(void **state)
{
	static const struct {
		uint64_t offset, length;
		unsigned result;
	} cases[] = {{0, SIZE, 0},
		     {SIZE - 1, 1, 0},
		     {0, 1, 0},
		     {1, SIZE, 32773},
		     {SIZE, 1, 32773},
		     {0, 0, 32773},
		     {SIZE, 0, 32773},
		     {UINT64_MAX, 1, 32773},
		     {1, UINT64_MAX, 32773},
		     {0, UINT64_MAX, 32773}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(ask(PATH, "rctX:1a", cases[i].offset,
				     cases[i].length),
				 cases[i].result);
	/* a size that is not known yet bounds nothing */
	assert_int_equal(ask("/images/b.raw", "rctX:1b", 0, SIZE), 0);
	assert_int_equal(ask("/images/b.raw", "rctX:1b", 0, UINT64_MAX / 2 + 2),
			 32773);
}

static void every_part_of_the_question_is_needed(void **state)
{
	assert_int_equal(CALL(SERVICE, "GetVirtualDiskChanges", &out,
			      {"LimitId", .text = "rctX:1a"},
			      {"ByteOffset", .number = 0},
			      {"ByteLength", .number = 1}),
			 32773);
	assert_int_equal(
	    CALL(SERVICE, "GetVirtualDiskChanges", &out, {"Path", .text = PATH},
		 {"ByteOffset", .number = 0}, {"ByteLength", .number = 1}),
	    32773);
	assert_int_equal(
	    CALL(SERVICE, "GetVirtualDiskChanges", &out, {"Path", .text = PATH},
		 {"LimitId", .text = "rctX:1a"}, {"ByteLength", .number = 1}),
	    32773);
	assert_int_equal(
	    CALL(SERVICE, "GetVirtualDiskChanges", &out, {"Path", .text = PATH},
		 {"LimitId", .text = "rctX:1a"}, {"ByteOffset", .number = 0}),
	    32773);
	assert_int_equal(ask("", "rctX:1a", 0, 1), 32773);
	assert_string_equal(scene->work.asked, "");
}

static void a_disk_is_looked_for_where_it_was(void **state)
{
	assert_int_equal(ask(PATH, "rctX:1a", 0, SIZE), 0);
	scene->asked = 0;
	assert_int_equal(ask(PATH, "rctX:1a", 0, SIZE), 0);
	assert_int_equal(scene->asked, 2); /* it alone, and for its points */
	/* it has gone to another system since */
	(void)json_object_set_new(
	    json_array_get(
		json_object_get(json_array_get(scene->systems, 0), "disks"), 0),
	    "path", json_string("/elsewhere"));
	(void)json_object_set_new(
	    json_array_get(
		json_object_get(json_array_get(scene->systems, 2), "disks"), 0),
	    "path", json_string(PATH));
	assert_int_equal(ask(PATH, "rctX:1a", 0, 512), 32773);
	assert_int_equal(ask(PATH, "rctX:c", 0, 512), 0);
	assert_non_null(strstr(scene->work.asked, "\"vm\": \"gamma\""));
}

static void a_path_is_only_compared(void **state)
{
	static const char *const paths[] = {
	    "/etc/shadow",   "/images/../images/a \u00e9.raw",
	    "/IMAGES/A.RAW", "//images/b.raw",
	    "/images",       "relative"};

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		assert_int_equal(ask(paths[i], "rctX:1a", 0, 1), 32779);
		nothing_came_out();
	}
	assert_string_equal(scene->work.asked, "");
}

static void C11_a_limit_that_is_not_of_this_disk_is_invalid(void **state)
{
	static const char *const limits[] = {"rctX:1b", "rctX:2b",  "rctX:c",
					     "rctX:1",  "nonsense", POINT(01),
					     ALPHA,     "rctX:1a "};

	for (size_t i = 0; i < ARRAY_SIZE(limits); i++)
		assert_int_equal(ask(PATH, limits[i], 0, SIZE), 32773);
	assert_string_equal(scene->work.asked, "");
	/* a point that no longer has the disk in its place */
	assert_int_equal(ask("/images/b.raw", "rctX:2b", 0, 1), 0);
	assert_int_equal(ask("/images/b.raw", "rctX:2z", 0, 1), 32773);
	/* one that is told in the last of several replies */
	assert_int_equal(ask("/images/c.raw", "rctX:c", 0, 512), 0);
}

static void C11_a_refusal_is_an_error(void **state)
{
	static const struct {
		int error;
		unsigned result;
	} cases[] = {{RP_ENOPOINT, 32773}, {RP_ESTATE, 32775},
		     {RP_EINUSE, 32774},   {RP_ETIMEOUT, 32772},
		     {RP_EIOFAIL, 32768},  {RP_EUNREACHABLE, 32777}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		scene->work.refuse_changes = cases[i].error;
		assert_int_equal(ask(PATH, "rctX:1a", 0, SIZE),
				 cases[i].result);
		nothing_came_out();
	}
}

static void C11_what_is_not_known_is_an_error(void **state)
{
	static const struct {
		const char *accuracy;
		unsigned result;
	} cases[] = {
	    {"exact", 0}, {"widened", 0}, {"assumed", 0}, {"invalid", 32775}};

	changed(1, KIB(64), KIB(4));
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		scene->work.accuracy = cases[i].accuracy;
		assert_int_equal(ask(PATH, "rctX:1a", 0, SIZE),
				 cases[i].result);
		if (cases[i].result)
			nothing_came_out();
	}
}

/* It goes into the log, as the caller gets but a number. */
static void the_reason_of_a_refusal_is_not_lost(void **state)
{
	const struct cim_provider *p = NULL;
	const struct schema_class *class =
	    schema_find_class(NULL, "Msvm_ImageManagementService");
	struct cim_arguments in;
	struct cim_value result;
	struct err err = {0};

	for (size_t i = 0; i < VIRTUAL_PROVIDERS; i++)
		if (strcmp(virtual_providers[i].class_name, class->name) == 0)
			p = &virtual_providers[i];
	scene->work.refuse_changes = RP_ESTATE;
	assert_int_equal(broker_arguments(&scene->request, class,
					  "GetVirtualDiskChanges", &in, NULL),
			 0);
	assert_int_equal(broker_arguments(&scene->request, class,
					  "GetVirtualDiskChanges", &out, NULL),
			 0);
	in.values[0] = cim_string(PATH);
	in.values[1] = cim_string("rctX:1a");
	in.values[3] = cim_uint(CIM_UINT64, 0);
	in.values[4] = cim_uint(CIM_UINT64, SIZE);
	assert_int_equal(p->invoke(&scene->providers, &scene->request,
				   parsed(SERVICE), &in, &out, &result, &err),
			 0);
	assert_int_equal(result.one.uint, 32775);
	assert_string_equal(err.text, "the fake refuses it");
}

static void a_reader_may_ask(void **state)
{
	scene->request.role = CIM_ROLE_READER;
	assert_int_equal(ask(PATH, "rctX:1a", 0, SIZE), 0);
}

/* ---- the answer
 * -------------------------------------------------------------- */

static void ranges_are_cut_to_what_was_asked(void **state)
{
	changed(4, KIB(64), KIB(12));
	assert_int_equal(ask(PATH, "rctX:1a", KIB(4) + 100, KIB(64)), 0);
	assert_int_equal(processed(), KIB(64));
	assert_int_equal(ranges(), 2);
	assert_range(0, KIB(4) + 100, KIB(8) - 100);
	assert_range(1, KIB(64), KIB(4) + 100);
}

/* The ranges that all calls together tell, which must be those there are. */
static unsigned to_the_end(uint64_t count, uint64_t stride)
{
	uint64_t at = 0, n = 0;
	unsigned calls = 0;

	while (at < SIZE) {
		struct arena_mark mark = arena_mark(scene->request.arena);

		assert_int_equal(ask(PATH, "rctX:1a", at, SIZE - at), 0);
		assert_in_range(processed(), 1, SIZE - at);
		for (uint32_t i = 0; i < ranges(); i++, n++)
			assert_range(i, n * stride, KIB(4));
		at += processed();
		calls++;
		arena_rewind(scene->request.arena, mark);
	}
	assert_int_equal(at, SIZE);
	assert_int_equal(n, count);
	return calls;
}

static void what_does_not_fit_the_reply_is_left_for_the_next_call(void **state)
{
	changed(1000, KIB(64), KIB(4));
	scene->request.reply_bytes = 2048;
	assert_in_range(to_the_end(1000, KIB(64)), 50, 80);
	/* refpointd was asked for little more than was told */
	assert_in_range(scene->work.told, 1000, 1300);
	scene->request.reply_bytes = 1;
	assert_int_equal(to_the_end(1000, KIB(64)), 1000);
	scene->request.reply_bytes = MIB(1);
	assert_int_equal(to_the_end(1000, KIB(64)), 1);
}

static void no_more_memory_is_taken_than_the_request_has(void **state)
{
	struct arena *all = scene->request.arena;

	changed(100000, KIB(64), KIB(4));
	scene->request.arena = arena_new(KIB(256));
	assert_int_equal(ask(PATH, "rctX:1a", 0, SIZE), 0);
	assert_in_range(ranges(), 1000, 10000);
	assert_int_equal(processed(), ranges() * KIB(64));
	arena_free(scene->request.arena);
	scene->request.arena = all;
}

static void what_refpointd_says_is_checked(void **state)
{
#define REPLY(extents)                                                         \
	"{\"disks\": [{\"accuracy\": \"exact\", \"extents\": [" extents "]}]}"
	static const char *const replies[] = {
	    "{}",
	    "{\"disks\": []}",
	    "{\"disks\": [{}]}",
	    "{\"disks\": [{\"accuracy\": \"exact\"}]}",
	    REPLY("{\"offset\": 0}"),
	    REPLY("{\"offset\": 0, \"length\": 0}"),
	    REPLY("{\"offset\": -4096, \"length\": 4096}"),
	    REPLY("{\"offset\": 4096, \"length\": 9223372036854775807}"),
	    REPLY("{\"offset\": 8192, \"length\": 4096}, "
		  "{\"offset\": 4096, \"length\": 4096}"),
	    REPLY("{\"offset\": 0, \"length\": 8192}, "
		  "{\"offset\": 4096, \"length\": 4096}")};

	for (size_t i = 0; i < ARRAY_SIZE(replies); i++) {
		scene->work.raw = replies[i];
		assert_int_equal(ask(PATH, "rctX:1a", 0, SIZE), 32768);
		nothing_came_out();
	}
}

/* There would be no end to it. */
static void a_reply_that_only_promises_is_none(void **state)
{
	static const char *const replies[] = {
	    "{}", "{\"disks\": []}",
	    "{\"disks\": [{\"accuracy\": \"exact\", \"extents\": []}]}"};

	scene->work.promise = true;
	for (size_t i = 0; i < ARRAY_SIZE(replies); i++) {
		scene->work.raw = replies[i];
		assert_int_equal(ask(PATH, "rctX:1a", 0, SIZE), 32768);
		nothing_came_out();
	}
}

static void who_is_stopping_asks_nobody(void **state)
{
	backend_stop(true);
	assert_int_not_equal(ask(PATH, "rctX:1a", 0, SIZE), 0);
	assert_int_equal(scene->asked, 0);
	backend_stop(false);
	assert_int_equal(ask(PATH, "rctX:1a", 0, SIZE), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    SCENE(C10_the_whole_disk_is_told_in_one_call),
	    SCENE(C10_no_target_and_an_empty_one_are_alike),
	    SCENE(nothing_changed_is_two_empty_lists),
	    SCENE(a_range_lies_within_the_disk),
	    SCENE(every_part_of_the_question_is_needed),
	    SCENE(a_disk_is_looked_for_where_it_was),
	    SCENE(a_path_is_only_compared),
	    SCENE(C11_a_limit_that_is_not_of_this_disk_is_invalid),
	    SCENE(C11_a_refusal_is_an_error),
	    SCENE(C11_what_is_not_known_is_an_error),
	    SCENE(the_reason_of_a_refusal_is_not_lost),
	    SCENE(a_reader_may_ask),
	    SCENE(ranges_are_cut_to_what_was_asked),
	    SCENE(what_does_not_fit_the_reply_is_left_for_the_next_call),
	    SCENE(no_more_memory_is_taken_than_the_request_has),
	    SCENE(what_refpointd_says_is_checked),
	    SCENE(a_reply_that_only_promises_is_none),
	    SCENE(who_is_stopping_asks_nobody),
	};

	return cmocka_run_group_tests_name("changes", tests, NULL, NULL);
}
