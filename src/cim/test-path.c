/* SPDX-License-Identifier: Apache-2.0 */
#include "cim/test-cim.h"

#include "cim/path.h"

static const struct cim_path *parsed(const char *text)
{
	const struct cim_path *path = NULL;
	struct err err = {0};

	if (cim_path_parse(arena, text, &path, &err) < 0)
		fail_msg("%s: %s", text, err.text);
	return path;
}

static const char *written(const struct cim_path *path)
{
	const char *text;

	assert_int_equal(cim_path_format(arena, path, &text, NULL), 0);
	return text;
}

static void text_is_read_and_written(void **state)
{
	static const struct {
		const char *text, *as;
	} samples[] = {
	    {"\\\\HOST\\root\\virtualization\\v2:A.K=\"v\"",
	     "\\\\HOST\\root\\virtualization\\v2:A.K=\"v\""},
	    {"//h.example/root/virtualization/v2:A.K='v'",
	     "\\\\h.example\\root\\virtualization\\v2:A.K=\"v\""},
	    {"//[::1]:5986/root/x:A", "\\\\[::1]:5986\\root\\x:A"},
	    {"root/virtualization/v2:A.K=7", "root\\virtualization\\v2:A.K=7"},
	    {"/root/cimv2:A.K=-7", "root\\cimv2:A.K=-7"},
	    {"A.K=\"v\",L=TRUE,M=0x1F", "A.K=\"v\",L=TRUE,M=0x1F"},
	    {" A . K = \"v\" , L = false ", "A.K=\"v\",L=FALSE"},
	    {"A=\"v\"", "A=\"v\""},
	    {"A=@", "A=@"},
	    {"A", "A"},
	    {"A.K=\"a\\\\b\\\"c\\'d\"", "A.K=\"a\\\\b\\\"c'd\""},
	    {"A.K=\"a\\b\"", "A.K=\"a\\\\b\""},
	    {"A.K='a\"b'", "A.K=\"a\\\"b\""},
	    {"A.K=\"a,b=c:d.e/f\"", "A.K=\"a,b=c:d.e/f\""},
	    {"A.K=\"\"", "A.K=\"\""},
	    {"A.K=\"\xc3\xa4\"", "A.K=\"\xc3\xa4\""},
	};

	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		const char *text = written(parsed(samples[i].text));

		assert_string_equal(text, samples[i].as);
		assert_string_equal(written(parsed(text)), samples[i].as);
	}
}

static void what_is_no_path_is_refused(void **state)
{
	static const char *const samples[] = {
	    "",
	    ".K=\"v\"",
	    "A.",
	    "7",
	    "A.7=1",
	    "A.K",
	    "A.K=",
	    "A.K=\"v",
	    "A.K=\"v\\\"",
	    "A.K=\"v\"x",
	    "A.K=\"v\",",
	    "A.K=word",
	    "A.K=1x",
	    "A.K=--1",
	    "A.K=truely",
	    "A.=\"v\"",
	    "\\\\",
	    "\\\\HOST",
	    "\\\\HOST\\A.K=1",
	    "\\\\\\root:A",
	    "root/x:",
	    "/ root/x:A",
	    "root/x y:A",
	    ":A",
	    "/A",
	    "A B",
	    "A.K=\"\xff\"",
	};
	const struct cim_path *path = NULL;
	char *many = arena_alloc(arena, CIM_PATH_BYTES_MAX + 2);

	for (size_t i = 0; i < ARRAY_SIZE(samples); i++)
		if (cim_path_parse(arena, samples[i], &path, NULL) !=
		    -CIM_EPARAMETER)
			fail_msg("taken: %s", samples[i]);
	strcpy(many, "A.K=1");
	for (unsigned i = 0; i < CIM_KEYS_MAX; i++)
		strcat(many, ",K=1");
	assert_int_equal(cim_path_parse(arena, many, &path, NULL),
			 -CIM_EPARAMETER);
	memset(many, 'a', CIM_PATH_BYTES_MAX + 1);
	assert_int_equal(cim_path_parse(arena, many, &path, NULL),
			 -CIM_EPARAMETER);
	assert_null(path);
}

static void paths_compare_as_names_do(void **state)
{
	static const struct {
		const char *a, *b;
		bool same;
	} samples[] = {
	    {"\\\\HOST\\root\\V:A.K=\"v\",L=1", "//host/ROOT/v:a.l=1,k='v'",
	     true},
	    {"//h/root:A.K=1", "A.K=1", true},
	    {"//h/root:A.K=1", "//./root:A.K=1", true},
	    {"//h/root:A.K=1", "//LocalHost/root:A.K=1", true},
	    {"//h/root:A.K=1", "//i/root:A.K=1", false},
	    {"root/a:A.K=1", "root/b:A.K=1", false},
	    {"A.K=1", "B.K=1", false},
	    {"A.K=1", "A.K=01", true},
	    {"A.K=1", "A.K=0x1", true},
	    {"A.K=1", "A.K=\"1\"", true},
	    {"A.K=1", "A.K=-1", false},
	    {"A.K=-0", "A.K=0", true},
	    {"A.K=\"v\"", "A.K=\"V\"", false},
	    {"A.K=\"v\"", "A.L=\"v\"", false},
	    {"A.K=\"v\"", "A=\"v\"", true},
	    {"A.K=1", "A.K=1,L=2", false},
	    {"A.K=TRUE", "A.K=true", true},
	    {"A", "A=@", false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		const struct cim_path *a = parsed(samples[i].a);
		const struct cim_path *b = parsed(samples[i].b);

		if (cim_path_equal(a, b) != samples[i].same ||
		    cim_path_equal(b, a) != samples[i].same)
			fail_msg("%s and %s", samples[i].a, samples[i].b);
	}
	assert_true(cim_namespace_equal("root\\V", "/ROOT/v/"));
	assert_false(cim_namespace_equal("root/v", "rootxv"));
}

static const struct schema_class *class_of(const char *name)
{
	const struct schema_class *class = schema_find_class(NULL, name);

	assert_non_null(class);
	return class;
}

static void keys_are_held_against_the_class(void **state)
{
	static const struct {
		const char *text;
		int error;
	} samples[] = {
	    {"x.virtualsystemidentifier='v',INSTANCEID='i'", 0},
	    {"x.InstanceID='i'", -CIM_ESELECTORFEW},
	    {"x", -CIM_ESELECTORFEW},
	    {"x='i'", -CIM_ESELECTORUNKNOWN},
	    {"x.InstanceID='i',VirtualSystemIdentifier='v',Other=1",
	     -CIM_ESELECTORUNKNOWN},
	    {"x.InstanceID='i',VirtualSystemIdentifier='v',Caption='c'",
	     -CIM_ESELECTORUNKNOWN},
	    {"x.InstanceID='i',instanceid='i'", -CIM_ESELECTORTWICE},
	};
	const struct schema_class *class =
	    class_of("Msvm_VirtualSystemReferencePoint");
	const struct cim_path *bound = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(samples); i++)
		assert_int_equal(cim_path_bind(arena, parsed(samples[i].text),
					       class, &bound, NULL),
				 samples[i].error);
	assert_int_equal(cim_path_bind(arena, parsed(samples[0].text), class,
				       &bound, NULL),
			 0);
	assert_string_equal(written(bound),
			    "Msvm_VirtualSystemReferencePoint.InstanceID=\"i\","
			    "VirtualSystemIdentifier=\"v\"");
	assert_string_equal(cim_path_text(bound, "instanceid"), "i");
	assert_null(cim_path_text(bound, "Caption"));
	assert_int_equal(cim_path_bind(arena, parsed("Msvm_Error"),
				       class_of("Msvm_Error"), &bound, NULL),
			 -CIM_ESELECTORFEW);
	assert_int_equal(cim_path_bind(arena, parsed("Msvm_Error=@"),
				       class_of("Msvm_Error"), &bound, NULL),
			 0);
	/* One key needs no name. */
	assert_int_equal(cim_path_bind(arena, parsed("j='7'"),
				       class_of("Msvm_ConcreteJob"), &bound,
				       NULL),
			 0);
	assert_string_equal(written(bound),
			    "Msvm_ConcreteJob.InstanceID=\"7\"");
}

static void keys_may_be_references_themselves(void **state)
{
	const struct schema_class *class = class_of("Msvm_AffectedJobElement");
	const struct cim_path *path, *bound = NULL, *again = NULL;
	const char *text =
	    "Msvm_AffectedJobElement.AffectedElement="
	    "\"\\\\\\\\H\\\\root\\\\virtualization\\\\v2:"
	    "Msvm_ComputerSystem.CreationClassName="
	    "\\\"Msvm_ComputerSystem\\\",Name=\\\"a\\\\\\\\b\\\"\","
	    "AffectingElement=\"Msvm_ConcreteJob.InstanceID=\\\"1\\\"\"";

	path = parsed(text);
	assert_int_equal(cim_path_bind(arena, path, class, &bound, NULL), 0);
	assert_int_equal(bound->keys[0].kind, CIM_KEY_REFERENCE);
	assert_string_equal(bound->keys[0].ref->host, "H");
	assert_string_equal(bound->keys[0].ref->ns, V2);
	assert_string_equal(cim_path_text(bound->keys[0].ref, "Name"), "a\\b");
	assert_string_equal(written(bound), text);
	/* A path with references is equal to one with their text. */
	assert_true(cim_path_equal(path, bound));
	assert_true(cim_path_equal(bound, path));
	assert_int_equal(cim_path_bind(arena, bound, class, &again, NULL), 0);
	assert_true(cim_path_equal(again, bound));
	assert_int_equal(
	    cim_path_bind(arena,
			  parsed("x.AffectedElement='=',AffectingElement='A'"),
			  class, &bound, NULL),
	    -CIM_ESELECTORVALUE);
	assert_int_equal(
	    cim_path_bind(arena,
			  parsed("x.AffectedElement=7,AffectingElement='A'"),
			  class, &bound, NULL),
	    -CIM_ESELECTORVALUE);
	/* One that names a key twice would not be equal to itself. */
	assert_int_equal(
	    cim_path_bind(
		arena,
		parsed("x.AffectedElement='A.K=1,k=2',AffectingElement='A'"),
		class, &bound, NULL),
	    -CIM_ESELECTORVALUE);
}

static void paths_of_paths_are_bounded(void **state)
{
	const struct cim_path *inner = parsed("A.K=1"), *path;
	const char *text;

	for (unsigned i = 0; i <= CIM_PATH_DEPTH_MAX; i++) {
		struct cim_key *key = arena_alloc(arena, sizeof(*key));
		struct cim_path *outer = arena_alloc(arena, sizeof(*outer));

		assert_int_equal(cim_path_format(arena, inner, &text, NULL), 0);
		assert_int_equal(cim_path_parse(arena, text, &path, NULL), 0);
		assert_true(cim_path_equal(path, inner));
		*key = (struct cim_key){.name = "R",
					.kind = CIM_KEY_REFERENCE,
					.ref = inner};
		*outer = (struct cim_path){.class_name = "A",
					   .key_count = 1,
					   .keys = key};
		inner = outer;
	}
	assert_int_equal(cim_path_format(arena, inner, &text, NULL),
			 -CIM_ELIMITS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(text_is_read_and_written),
	    TEST(what_is_no_path_is_refused),
	    TEST(paths_compare_as_names_do),
	    TEST(keys_are_held_against_the_class),
	    TEST(keys_may_be_references_themselves),
	    TEST(paths_of_paths_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
