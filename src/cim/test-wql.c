/* SPDX-License-Identifier: Apache-2.0 */
#include "cim/test-cim.h"

#include "cim/wql.h"

static struct wql_query *parsed(const char *text)
{
	struct wql_query *query = NULL;
	struct err err = {0};

	if (wql_parse(arena, text, &query, &err) < 0)
		fail_msg("%s in %s", err.text, text);
	return query;
}

static const struct schema_class *class_of(const char *name)
{
	const struct schema_class *class = schema_find_class(NULL, name);

	assert_non_null(class);
	return class;
}

static void a_select_names_class_and_properties(void **state)
{
	struct wql_query *q = parsed("SELECT * FROM Msvm_ConcreteJob");

	assert_int_equal(q->kind, WQL_SELECT);
	assert_string_equal(q->class_name, "Msvm_ConcreteJob");
	assert_int_equal(q->property_count, 0);
	assert_null(q->where);
	q = parsed(" select Name ,\n c.JobState,__PATH from X_1 wHeRe A=1 ");
	assert_string_equal(q->class_name, "X_1");
	assert_int_equal(q->property_count, 3);
	assert_string_equal(q->properties[1], "JobState");
	assert_non_null(q->where);
}

static void associators_and_references_name_an_object(void **state)
{
	/* As libvirt's driver asks. */
	struct wql_query *q =
	    parsed("ASSOCIATORS OF {Msvm_ComputerSystem.CreationClassName="
		   "'Msvm_ComputerSystem',Name='a}b'} WHERE AssocClass = "
		   "Msvm_SettingsDefineState ResultClass = "
		   "Msvm_VirtualSystemSettingData");

	assert_int_equal(q->kind, WQL_ASSOCIATORS);
	assert_string_equal(cim_path_text(q->object, "name"), "a}b");
	assert_string_equal(q->assoc_class, "Msvm_SettingsDefineState");
	assert_string_equal(q->result_class, "Msvm_VirtualSystemSettingData");
	assert_null(q->role);
	assert_false(q->class_defs_only);
	q = parsed("associators of {\\\\H\\root\\v2:A.K=\"v\"} where "
		   "ResultRole=Dependent Role='Antecedent' ClassDefsOnly");
	assert_string_equal(q->object->host, "H");
	assert_string_equal(q->result_role, "Dependent");
	assert_string_equal(q->role, "Antecedent");
	assert_true(q->class_defs_only);
	q = parsed("REFERENCES OF { A = '1' } WHERE ResultClass=B Role=C");
	assert_int_equal(q->kind, WQL_REFERENCES);
	assert_string_equal(q->result_class, "B");
	q = parsed("REFERENCES OF {A}");
	assert_true(q->object->is_class);
}

static void what_is_no_query_is_refused(void **state)
{
	static const char *const samples[] = {
	    "",
	    "SELECT",
	    "SELECT *",
	    "SELECT * FROM",
	    "SELECT * FROM A B",
	    "SELECT * FROM A WHERE",
	    "SELECT *, a FROM A",
	    "SELECT a, FROM A",
	    "SELECT FROM A",
	    "SELECT * FROM 'A'",
	    "SELECT * FROM A WHERE a",
	    "SELECT * FROM A WHERE a =",
	    "SELECT * FROM A WHERE a = b",
	    "SELECT * FROM A WHERE a = 'b",
	    "SELECT * FROM A WHERE a = 'b\\'",
	    "SELECT * FROM A WHERE (a = 1",
	    "SELECT * FROM A WHERE a = 1)",
	    "SELECT * FROM A WHERE a = 1 AND",
	    "SELECT * FROM A WHERE a = 1 b = 2",
	    "SELECT * FROM A WHERE NOT",
	    "SELECT * FROM A WHERE a IS 1",
	    "SELECT * FROM A WHERE a < NULL",
	    "SELECT * FROM A WHERE a NOT = 1",
	    "SELECT * FROM A WHERE 1 = 1",
	    "SELECT * FROM A WHERE 'x' LIKE a",
	    "SELECT * FROM A WHERE a == 1",
	    "SELECT * FROM A; DROP",
	    "DELETE FROM A",
	    "ASSOCIATORS {A=1}",
	    "ASSOCIATORS OF A=1",
	    "ASSOCIATORS OF {A=1",
	    "ASSOCIATORS OF {}",
	    "ASSOCIATORS OF {A=1} WHERE",
	    "ASSOCIATORS OF {A=1} WHERE AssocClass",
	    "ASSOCIATORS OF {A=1} WHERE AssocClass=",
	    "ASSOCIATORS OF {A=1} WHERE AssocClass=B AND Role=C",
	    "REFERENCES OF {A=1} WHERE AssocClass=B",
	    "SELECT * FROM A WHERE a = '\xff'",
	};
	struct wql_query *q = NULL;
	struct err err = {0};

	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		if (wql_parse(arena, samples[i], &q, &err) != -CIM_EQUERY)
			fail_msg("taken: %s", samples[i]);
		assert_int_equal(err.code, -CIM_EQUERY);
	}
	assert_null(q);
}

static char *repeated(const char *head, unsigned n, const char *body,
		      const char *tail)
{
	char *text = arena_alloc(arena, strlen(head) + n * strlen(body) +
					    strlen(tail) + 1);
	char *p = stpcpy(text, head);

	while (n-- > 0)
		p = stpcpy(p, body);
	(void)stpcpy(p, tail);
	return text;
}

static void queries_are_bounded(void **state)
{
	struct wql_query *q = NULL;
	const char *head = "SELECT * FROM A WHERE ";
	unsigned terms = CIM_WQL_TERMS_MAX / 2;

	/* Each OR is a term, too. */
	(void)parsed(repeated(head, terms - 1, "a=1 OR ", "a=1"));
	assert_int_equal(
	    wql_parse(arena, repeated(head, terms, "a=1 OR ", "a=1"), &q, NULL),
	    -CIM_EQUERY);
	(void)parsed(repeated(repeated(head, CIM_WQL_DEPTH_MAX - 1, "(", ""), 1,
			      "a=1",
			      repeated("", CIM_WQL_DEPTH_MAX - 1, ")", "")));
	assert_int_equal(wql_parse(arena, repeated(head, 10000, "(", "a=1"), &q,
				   NULL),
			 -CIM_EQUERY);
	assert_int_equal(wql_parse(arena, repeated(head, 3000, "NOT ", "a=1"),
				   &q, NULL),
			 -CIM_EQUERY);
	assert_int_equal(wql_parse(arena,
				   repeated("SELECT a", CIM_WQL_PROPERTIES_MAX,
					    ",a", " FROM A"),
				   &q, NULL),
			 -CIM_EQUERY);
	assert_int_equal(
	    wql_parse(arena, repeated(head, CIM_WQL_BYTES_MAX, " ", "a=1"), &q,
		      NULL),
	    -CIM_EQUERY);
	assert_null(q);
}

static struct cim_instance *new_job(void)
{
	struct cim_instance *job;
	static const union cim_scalar status = {.uint = 2};

	assert_int_equal(cim_instance_new(arena, class_of("Msvm_ConcreteJob"),
					  false, &job, NULL),
			 0);
	(void)cim_instance_set(job, "InstanceID", cim_string("Ab\\c"), NULL);
	(void)cim_instance_set(job, "JobState", cim_uint(CIM_UINT16, 7), NULL);
	(void)cim_instance_set(job, "PercentComplete",
			       cim_uint(CIM_UINT16, 100), NULL);
	(void)cim_instance_set(job, "DeleteOnCompletion", cim_boolean(true),
			       NULL);
	(void)cim_instance_set(job, "ElementName", cim_string("it's 50%"),
			       NULL);
	(void)cim_instance_set(job, "StartTime",
			       cim_datetime("20240229120000.000000+060"), NULL);
	(void)cim_instance_set(job, "OperationalStatus",
			       cim_array(CIM_UINT16, &status, 1), NULL);
	return job;
}

static bool holds(const struct cim_instance *instance, const char *base,
		  const char *condition)
{
	struct wql_query *q =
	    parsed(arena_printf(arena, "SELECT * FROM X WHERE %s", condition));
	struct err err = {0};

	if (wql_bind(arena, q, class_of(base), &err) < 0)
		fail_msg("%s in %s", err.text, condition);
	return wql_match(q, instance);
}

static void conditions_hold_by_the_schemas_types(void **state)
{
	static const struct {
		const char *text;
		bool holds;
	} samples[] = {
	    {"InstanceID = 'ab\\\\C'", true},
	    {"InstanceID = \"ab\\c\"", true},
	    {"instanceid <> 'x'", true},
	    {"InstanceID = 'ab'", false},
	    {"'ab\\\\c' = InstanceID", true},
	    {"JobState = 7", true},
	    {"X.JobState = '7'", true},
	    {"JobState = 0x7", true},
	    {"JobState > 10", false},
	    {"JobState >= 7 AND JobState <= 7", true},
	    {"10 > JobState", true},
	    {"7 < JobState", false},
	    {"JobState != 7 OR PercentComplete=100", true},
	    {"NOT JobState = 7", false},
	    {"NOT NOT JobState = 7", true},
	    {"NOT (JobState = 7 AND PercentComplete = 99)", true},
	    /* AND binds closer than OR. */
	    {"JobState = 7 OR JobState = 8 AND PercentComplete = 1", true},
	    {"(JobState = 7 OR JobState = 8) AND PercentComplete = 1", false},
	    {"DeleteOnCompletion = TRUE", true},
	    {"DeleteOnCompletion = 'false'", false},
	    {"DeleteOnCompletion = 1", true},
	    {"ElementName = 'it''s 50%'", true},
	    {"ElementName = 'it\\'s 50%'", true},
	    {"ElementName LIKE 'IT%'", true},
	    {"ElementName NOT LIKE '%x%'", true},
	    {"NOT ElementName LIKE 'it_s 50[%]'", false},
	    {"StartTime = '20240229110000.000000+000'", true},
	    {"StartTime < '20240229110000.000001+000'", true},
	    {"StartTime > '20240229120000.000000+000'", false},
	    {"StartTime = '00000001000000.000000:000'", false},
	    {"Caption IS NULL", true},
	    {"Caption IS NOT NULL", false},
	    {"Caption = NULL", true},
	    {"JobState <> NULL", true},
	    {"OperationalStatus IS NOT NULL", true},
	    /* Neither true nor false. */
	    {"Caption = 'x'", false},
	    {"Caption <> 'x'", false},
	    {"NOT Caption = 'x'", false},
	    {"Caption LIKE '%'", false},
	    {"Caption = 'x' OR JobState = 7", true},
	    {"NOT (Caption = 'x' AND JobState = 8)", true},
	    {"NOT (Caption = 'x' OR JobState = 8)", false},
	    {"__CLASS = 'msvm_concretejob'", true},
	    {"__CLASS <> 'Msvm_ConcreteJob'", false},
	    {"__CLASS LIKE 'Msvm[_]%'", true},
	    {"__THIS ISA 'CIM_Job'", true},
	    {"__THIS ISA Msvm_ConcreteJob", true},
	    {"__THIS ISA 'CIM_Service'", false},
	    {"__THIS ISA 'Nothing'", false},
	    {"NOT __THIS ISA 'Nothing'", true},
	};
	struct cim_instance *job = new_job();

	for (size_t i = 0; i < ARRAY_SIZE(samples); i++)
		if (holds(job, "Msvm_ConcreteJob", samples[i].text) !=
		    samples[i].holds)
			fail_msg("%s", samples[i].text);
}

static void a_superclass_can_be_asked_about(void **state)
{
	struct cim_instance *job = new_job();

	assert_true(
	    holds(job, "CIM_ConcreteJob",
		  "InstanceID='ab\\\\c' AND __CLASS='Msvm_ConcreteJob'"));
	assert_true(
	    holds(job, "CIM_ManagedElement", "ElementName LIKE '%50%'"));
}

static void references_compare_as_paths(void **state)
{
	struct cim_instance *i;
	const struct cim_path *path;

	assert_int_equal(cim_instance_new(arena,
					  class_of("Msvm_AffectedJobElement"),
					  false, &i, NULL),
			 0);
	assert_int_equal(
	    cim_path_parse(arena, "//h/root/x:Msvm_ConcreteJob.InstanceID='1'",
			   &path, NULL),
	    0);
	(void)cim_instance_set(i, "AffectingElement", cim_reference(path),
			       NULL);
	assert_true(holds(i, "Msvm_AffectedJobElement",
			  "AffectingElement=\"\\\\\\\\H\\\\root\\\\x:"
			  "msvm_concretejob.InstanceID=\\\"1\\\"\""));
	assert_false(holds(i, "Msvm_AffectedJobElement",
			   "AffectingElement='Msvm_ConcreteJob=\"2\"'"));
}

static void what_the_class_does_not_have_is_refused(void **state)
{
	static const char *const samples[] = {
	    "SELECT Nothing FROM X",
	    "SELECT * FROM X WHERE Nothing = 1",
	    "SELECT * FROM X WHERE JobState = 'seven'",
	    "SELECT * FROM X WHERE JobState = 65536",
	    "SELECT * FROM X WHERE JobState = 1.5",
	    "SELECT * FROM X WHERE JobState LIKE '7'",
	    "SELECT * FROM X WHERE DeleteOnCompletion > FALSE",
	    "SELECT * FROM X WHERE OperationalStatus = 2",
	    "SELECT * FROM X WHERE StartTime > 'now'",
	    "SELECT * FROM X WHERE ElementName ISA 'CIM_Job'",
	    "SELECT * FROM X WHERE __CLASS > 'a'",
	    "SELECT * FROM X WHERE __THIS = 'a'",
	    "SELECT * FROM X WHERE JobState = 1 OR (JobState=2 AND Nothing=1)",
	    "SELECT * FROM X WHERE NOT Nothing IS NULL",
	};

	for (size_t i = 0; i < ARRAY_SIZE(samples); i++)
		if (wql_bind(arena, parsed(samples[i]),
			     class_of("Msvm_ConcreteJob"), NULL) != -CIM_EQUERY)
			fail_msg("taken: %s", samples[i]);
	assert_int_equal(wql_bind(arena,
				  parsed("SELECT __PATH,jobstate FROM X"),
				  class_of("Msvm_ConcreteJob"), NULL),
			 0);
}

static void a_condition_pins_a_key_or_not(void **state)
{
	static const struct {
		const char *text, *pinned;
	} samples[] = {
	    {"Select * from X WHERE InstanceID='i'", "i"},
	    {"Select * from X WHERE 'i' = instanceID", "i"},
	    {"Select * from X WHERE JobState=7 AND (InstanceID='i')", "i"},
	    {"Select * from X WHERE InstanceID='i' AND JobState=7 AND "
	     "PercentComplete=1",
	     "i"},
	    {"Select * from X WHERE InstanceID='i' OR JobState=7", NULL},
	    {"Select * from X WHERE NOT InstanceID='i'", NULL},
	    {"Select * from X WHERE InstanceID<>'i'", NULL},
	    {"Select * from X WHERE InstanceID LIKE 'i'", NULL},
	    {"Select * from X WHERE InstanceID IS NULL", NULL},
	    {"Select * from X WHERE ElementName='i'", NULL},
	    {"Select * from X", NULL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		struct wql_query *q = parsed(samples[i].text);
		const char *text;

		assert_int_equal(
		    wql_bind(arena, q, class_of("Msvm_ConcreteJob"), NULL), 0);
		text = wql_pinned(q, "InstanceId");
		if (samples[i].pinned)
			assert_string_equal(text, samples[i].pinned);
		else
			assert_null(text);
	}
}

static void like_is_sqls(void **state)
{
	static const struct {
		const char *text, *pattern;
		bool like;
	} samples[] = {
	    {"", "", true},
	    {"", "%", true},
	    {"", "_", false},
	    {"a", "", false},
	    {"abc", "abc", true},
	    {"ABC", "abc", true},
	    {"abc", "ab", false},
	    {"abc", "a%", true},
	    {"abc", "%c", true},
	    {"abc", "%b%", true},
	    {"abc", "%d%", false},
	    {"abc", "a_c", true},
	    {"abc", "a__c", false},
	    {"a\xc3\xa4"
	     "c",
	     "a_c", true},
	    {"abcabc", "%abc", true},
	    {"abab", "a%b%ab", true},
	    {"abc", "[a-b]b[xc]", true},
	    {"abc", "[^a]bc", false},
	    {"xbc", "[^a]bc", true},
	    {"B", "[a-c]", true},
	    {"-", "[a-]", true},
	    {"%", "[%]", true},
	    {"x", "[%]", false},
	    {"_", "[_]", true},
	    {"[", "[", true},
	    {"a", "[", false},
	    {"a", "[]", false},
	    {"aaa", "%%%", true},
	};
	char *text = repeated("", 20000, "a", "");
	char *pattern = repeated("", 2000, "%a", "b");

	for (size_t i = 0; i < ARRAY_SIZE(samples); i++)
		if (wql_like(samples[i].text, samples[i].pattern) !=
		    samples[i].like)
			fail_msg("%s like %s", samples[i].text,
				 samples[i].pattern);
	/* Ends soon, whatever the pattern. */
	assert_false(wql_like(text, pattern));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_select_names_class_and_properties),
	    TEST(associators_and_references_name_an_object),
	    TEST(what_is_no_query_is_refused),
	    TEST(queries_are_bounded),
	    TEST(conditions_hold_by_the_schemas_types),
	    TEST(a_superclass_can_be_asked_about),
	    TEST(references_compare_as_paths),
	    TEST(what_the_class_does_not_have_is_refused),
	    TEST(a_condition_pins_a_key_or_not),
	    TEST(like_is_sqls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
