/* SPDX-License-Identifier: Apache-2.0 */
#include "cim/test-cim.h"

#include "cim/instance.h"
#include "cim/value.h"

static void an_arena_keeps_to_its_budget(void **state)
{
	struct arena *a = arena_new(100000);
	volatile size_t huge = SIZE_MAX; /* the compiler knows the contract */
	struct err err = {0};
	size_t got = 0;
	char *p;

	while ((p = arena_alloc(a, 1000)) != NULL) {
		for (unsigned i = 0; i < 1000; i++)
			assert_int_equal(p[i], 0);
		assert_int_equal((uintptr_t)p % 16, 0);
		memset(p, 0xff, 1000);
		got += 1000;
	}
	assert_in_range(got, 95000, 100000);
	assert_int_equal(arena_full(a, &err), -CIM_ELIMITS);
	assert_null(arena_array(a, huge / 4, 8));
	assert_null(arena_copy(a, "", huge));
	assert_null(arena_alloc(a, huge - 8));
	arena_free(a);
}

static void an_arena_gives_back_what_came_after_a_mark(void **state)
{
	struct arena_mark empty = arena_mark(arena), mark;
	char *kept = arena_strdup(arena, "kept");
	size_t used;

	mark = arena_mark(arena);
	used = arena_used(arena);
	for (unsigned i = 0; i < 5; i++) {
		assert_non_null(arena_alloc(arena, MIB(20)));
		assert_null(arena_alloc(arena, MIB(20)));
		assert_string_equal(arena_printf(arena, "%d-%s", 7, "x"),
				    "7-x");
		arena_rewind(arena, mark);
		assert_int_equal(arena_used(arena), used);
	}
	assert_string_equal(kept, "kept");
	arena_rewind(arena, empty);
	assert_int_equal(arena_used(arena), 0);
	assert_non_null(arena_alloc(arena, 0));
}

struct sample {
	enum cim_type base;
	const char *text, *as; /* NULL: refused */
};

static void scalars_are_read_and_written_within_their_type(void **state)
{
	static const struct sample samples[] = {
	    {CIM_BOOLEAN, "TRUE", "TRUE"},
	    {CIM_BOOLEAN, " false\n", "FALSE"},
	    {CIM_BOOLEAN, "1", "TRUE"},
	    {CIM_BOOLEAN, "0", "FALSE"},
	    {CIM_BOOLEAN, "yes", NULL},
	    {CIM_BOOLEAN, "", NULL},
	    {CIM_UINT8, "255", "255"},
	    {CIM_UINT8, "256", NULL},
	    {CIM_UINT8, "-1", NULL},
	    {CIM_UINT8, "0xFf", "255"},
	    {CIM_UINT8, "0x", NULL},
	    {CIM_UINT8, "1 2", NULL},
	    {CIM_UINT8, "", NULL},
	    {CIM_UINT16, "65535", "65535"},
	    {CIM_UINT16, "65536", NULL},
	    {CIM_UINT32, "4294967295", "4294967295"},
	    {CIM_UINT32, "4294967296", NULL},
	    {CIM_UINT64, "18446744073709551615", "18446744073709551615"},
	    {CIM_UINT64, "18446744073709551616", NULL},
	    {CIM_UINT64, "\t7 ", "7"},
	    {CIM_UINT64, "007", "7"},
	    {CIM_UINT64, "7.0", NULL},
	    {CIM_SINT8, "-128", "-128"},
	    {CIM_SINT8, "-129", NULL},
	    {CIM_SINT8, "127", "127"},
	    {CIM_SINT8, "128", NULL},
	    {CIM_SINT16, "-32768", "-32768"},
	    {CIM_SINT32, "+2147483647", "2147483647"},
	    {CIM_SINT32, "2147483648", NULL},
	    {CIM_SINT64, "-9223372036854775808", "-9223372036854775808"},
	    {CIM_SINT64, "9223372036854775807", "9223372036854775807"},
	    {CIM_SINT64, "9223372036854775808", NULL},
	    {CIM_SINT64, "-9223372036854775809", NULL},
	    {CIM_REAL64, "1.5", "1.5000000000000000E+00"},
	    {CIM_REAL64, "-.5e3", "-5.0000000000000000E+02"},
	    {CIM_REAL64, "1e400", NULL},
	    {CIM_REAL64, "INF", "INF"},
	    {CIM_REAL64, "-INF", "-INF"},
	    {CIM_REAL64, "NaN", "NaN"},
	    {CIM_REAL64, "infinity", NULL},
	    {CIM_REAL64, "0x10", NULL},
	    {CIM_REAL64, "1,5", NULL},
	    {CIM_REAL32, "0.1", "1.00000001E-01"},
	    {CIM_REAL32, "1e39", NULL},
	    {CIM_CHAR16, "A", "A"},
	    {CIM_CHAR16, " ", " "},
	    {CIM_CHAR16, "\xe2\x82\xac", "\xe2\x82\xac"},
	    {CIM_CHAR16, "\xf0\x9f\x98\x80", NULL},
	    {CIM_CHAR16, "AB", NULL},
	    {CIM_CHAR16, "", NULL},
	    {CIM_STRING, " as it is ", " as it is "},
	    {CIM_STRING, "", ""},
	    {CIM_DATETIME, " 20240229235959.999999+000 ",
	     "20240229235959.999999+000"},
	    {CIM_DATETIME, "2024", NULL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		const struct sample *s = &samples[i];
		char buf[CIM_SCALAR_BYTES];
		union cim_scalar scalar = {.uint = 77};
		struct err err = {0};
		size_t length;
		int r =
		    cim_scalar_parse(arena, s->base, s->text, &scalar, &err);

		if (!s->as) {
			assert_int_equal(r, -CIM_ETYPEMISMATCH);
			assert_int_equal(scalar.uint, 77);
			assert_non_null(
			    strstr(err.text, cim_type_name(s->base)));
			continue;
		}
		assert_int_equal(r, 0);
		assert_string_equal(
		    cim_scalar_text(s->base, &scalar, buf, &length), s->as);
		assert_int_equal(length, strlen(s->as));
	}
}

static void datetimes_are_instants_or_intervals(void **state)
{
	static const struct {
		const char *text, *as; /* NULL: refused */
		int64_t seconds;
	} samples[] = {
	    {"19700101000000.000000+000", "19700101000000.000000+000", 0},
	    {"20240229120000.000000+060", "20240229110000.000000+000",
	     1709204400},
	    {"20240229000000.000000-720", "20240229120000.000000+000",
	     1709208000},
	    {"16010101000000.000000+000", "16010101000000.000000+000",
	     -11644473600},
	    {"00000101000000.000000+000", "00000101000000.000000+000",
	     -62167219200},
	    {"99991231235959.000000+000", "99991231235959.000000+000",
	     253402300799},
	    {"00000001000100.000000:000", "00000001000100.000000:000", 86460},
	    {"99999999235959.000000:000", "99999999235959.000000:000",
	     INT64_C(8639999999999)},
	    {"20240101******.******+***", "20240101000000.000000+000",
	     1704067200},
	    {"20240101000000.0*****+000", "20240101000000.000000+000",
	     1704067200},
	    {"20230229000000.000000+000", NULL, 0},
	    {"19000229000000.000000+000", NULL, 0},
	    {"20241301000000.000000+000", NULL, 0},
	    {"20240100000000.000000+000", NULL, 0},
	    {"20240101240000.000000+000", NULL, 0},
	    {"20240101006000.000000+000", NULL, 0},
	    {"20240101000060.000000+000", NULL, 0},
	    {"20240101000000.*0000*+000", NULL, 0},
	    {"20240101000000,000000+000", NULL, 0},
	    {"20240101000000.000000*000", NULL, 0},
	    {"00000001000000.000000:060", NULL, 0},
	    {"20240101000000.000000+0000", NULL, 0},
	    {"2*240101000000.000000+000", NULL, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		char text[CIM_DATETIME_BYTES];
		struct cim_instant instant;
		int r = cim_datetime_parse(samples[i].text, &instant, NULL);

		if (!samples[i].as) {
			assert_int_equal(r, -CIM_ETYPEMISMATCH);
			continue;
		}
		assert_int_equal(r, 0);
		assert_int_equal(instant.us / 1000000, samples[i].seconds);
		assert_string_equal(cim_datetime_format(instant, text),
				    samples[i].as);
	}
}

static void datetimes_beyond_their_years_are_the_nearest(void **state)
{
	char text[CIM_DATETIME_BYTES];

	assert_string_equal(
	    cim_datetime_format((struct cim_instant){false, INT64_MAX}, text),
	    "99991231235959.999999+000");
	assert_string_equal(
	    cim_datetime_format((struct cim_instant){false, INT64_MIN}, text),
	    "00000101000000.000000+000");
	assert_string_equal(
	    cim_datetime_format((struct cim_instant){true, INT64_MAX}, text),
	    "99999999235959.999999:000");
	assert_string_equal(cim_datetime_format((struct cim_instant){true, -1},
						text),
			    "00000000000000.000000:000");
}

static void null_is_apart_from_empty(void **state)
{
	struct cim_value null = cim_null(CIM_STRING, true);
	struct cim_value empty = cim_array(CIM_STRING, NULL, 0), one, again;
	const char *const texts[] = {"a", ""};
	struct cim_value none = cim_string(NULL), blank = cim_string("");

	assert_false(cim_value_equal(&null, &empty));
	assert_true(cim_value_equal(&null, &null));
	assert_true(cim_value_equal(&empty, &empty));
	assert_false(cim_value_equal(&none, &blank));
	assert_null(cim_text(&none));
	assert_string_equal(cim_text(&blank), "");
	assert_int_equal(cim_string_array(arena, texts, 2, &one, NULL), 0);
	assert_int_equal(cim_string_array(arena, texts, 1, &again, NULL), 0);
	assert_false(cim_value_equal(&one, &again));
	one.count = 1;
	assert_true(cim_value_equal(&one, &again));
}

static void datetimes_are_equal_by_instant(void **state)
{
	struct cim_value a = cim_datetime("20240229120000.000000+060");
	struct cim_value b = cim_datetime("20240229110000.000000+000");
	struct cim_value c = cim_datetime("20240229110000.000001+000");

	assert_true(cim_value_equal(&a, &b));
	assert_false(cim_value_equal(&a, &c));
}

static struct cim_instance *new_instance(const char *class)
{
	struct cim_instance *instance;

	assert_int_equal(cim_instance_new(arena, schema_find_class(NULL, class),
					  false, &instance, NULL),
			 0);
	return instance;
}

static void an_instance_takes_values_of_its_types_only(void **state)
{
	struct cim_instance *i =
	    new_instance("msvm_virtualsystemreferencepoint");
	struct err err = {0};

	assert_string_equal(i->class->name, "Msvm_VirtualSystemReferencePoint");
	assert_int_equal(
	    cim_instance_set(i, "instanceid", cim_string("x"), &err), 0);
	assert_string_equal(cim_instance_text(i, "INSTANCEID"), "x");
	assert_int_equal(cim_instance_set(i, "InstanceID",
					  cim_uint(CIM_UINT16, 1), &err),
			 -CIM_ETYPEMISMATCH);
	assert_non_null(strstr(err.text, "InstanceID is string, not uint16"));
	assert_int_equal(cim_instance_set(i, "ReferencePointType",
					  cim_uint(CIM_UINT32, 1), &err),
			 -CIM_ETYPEMISMATCH);
	assert_int_equal(cim_instance_set(i, "VirtualDiskIdentifiers",
					  cim_string("x"), &err),
			 -CIM_ETYPEMISMATCH);
	assert_int_equal(cim_instance_set(i, "Nothing", cim_string("x"), &err),
			 -CIM_EPROPERTY);
	assert_true(cim_instance_get(i, "ReferencePointType")->is_null);
	assert_true(cim_instance_get(i, "Nothing")->is_null);
	assert_int_equal(cim_instance_set(i, "VirtualDiskIdentifiers",
					  cim_null(CIM_STRING, false), &err),
			 0);
	assert_true(cim_instance_get(i, "VirtualDiskIdentifiers")->array);
}

static void an_instance_knows_its_path(void **state)
{
	struct cim_instance *i =
	    new_instance("Msvm_VirtualSystemReferencePoint");
	const struct cim_path *path, *bound;
	const char *text;
	struct err err = {0};

	assert_int_equal(cim_instance_make_path(arena, i, NULL, NULL, &err),
			 -CIM_EFAILED);
	(void)cim_instance_set(i, "InstanceID", cim_string("a\\b"), NULL);
	(void)cim_instance_set(i, "VirtualSystemIdentifier", cim_string("v"),
			       NULL);
	assert_int_equal(cim_instance_make_path(arena, i, "H", V2, &err), 0);
	assert_int_equal(cim_path_format(arena, i->path, &text, &err), 0);
	assert_string_equal(
	    text, "\\\\H\\root\\virtualization\\v2:"
		  "Msvm_VirtualSystemReferencePoint.InstanceID=\"a\\\\b\","
		  "VirtualSystemIdentifier=\"v\"");
	assert_int_equal(cim_path_parse(arena, text, &path, &err), 0);
	assert_int_equal(cim_path_bind(arena, path, i->class, &bound, &err), 0);
	assert_true(cim_instance_is(i, bound));
	(void)cim_instance_set(i, "InstanceID", cim_string("c"), NULL);
	assert_false(cim_instance_is(i, bound));
}

static void the_class_gives_defaults_where_asked(void **state)
{
	const struct schema_class *class = NULL;
	struct cim_instance *with, *without;

	for (uint32_t c = 0; c < schema_class_count; c++) {
		class = &schema_classes[c];
		assert_int_equal(
		    cim_instance_new(arena, class, true, &with, NULL), 0);
		assert_int_equal(
		    cim_instance_new(arena, class, false, &without, NULL), 0);
		for (uint32_t i = 0; i < class->property_count; i++) {
			bool has = !class->properties[i]->value.is_null;

			assert_int_equal(cim_instance_has(with, i), has);
			assert_int_equal(with->values[i].is_null, !has);
			assert_false(cim_instance_has(without, i));
			assert_true(without->values[i].is_null);
		}
	}
	assert_int_not_equal(schema_class_count, 0);
}

static void every_failure_has_its_row(void **state)
{
	static const struct {
		int code;
		unsigned cim;
		const char *name;
	} samples[] = {
	    {-CIM_ENOTFOUND, 6, "CIM_ERR_NOT_FOUND"},
	    {CIM_ECLASS, 5, "CIM_ERR_INVALID_CLASS"},
	    {-CIM_EXMLDEPTH, 27, "CIM_ERR_SERVER_LIMITS_EXCEEDED"},
	    {-RP_ENOVM, 6, "CIM_ERR_NOT_FOUND"},
	    {-RP_EPARAM, 4, "CIM_ERR_INVALID_PARAMETER"},
	    {-RP_EDENIED, 2, "CIM_ERR_ACCESS_DENIED"},
	    {-RP_EUNSUPPORTED, 7, "CIM_ERR_NOT_SUPPORTED"},
	    {-RP_ELIMIT, 27, "CIM_ERR_SERVER_LIMITS_EXCEEDED"},
	    {-RP_ECORRUPT, 1, "CIM_ERR_FAILED"},
	    {-EPERM, 2, "CIM_ERR_ACCESS_DENIED"},
	    {-EIO, 1, "CIM_ERR_FAILED"},
	    {0, 1, "CIM_ERR_FAILED"},
	    {CIM_ERR_BASE + 999, 1, "CIM_ERR_FAILED"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		const struct cim_status *s = cim_status(samples[i].code);

		assert_int_equal(s->cim, samples[i].cim);
		assert_string_equal(cim_status_name(s->cim), samples[i].name);
	}
	assert_string_equal(cim_status_name(18), "CIM_ERR_FAILED");
	assert_string_equal(cim_status_name(29), "CIM_ERR_FAILED");
}

static void the_rows_keep_to_both_protocols(void **state)
{
	const struct cim_status *s;
	unsigned statuses = 0;

	for (int code = CIM_ERR_BASE + 1; code < CIM_ERR_BASE + 100; code++) {
		s = cim_status(code);
		if ((int)s->code != code)
			continue;
		if (code <= CIM_ERR_BASE + 28) {
			assert_int_equal(s->cim, code - CIM_ERR_BASE);
			assert_int_equal(s->cimxml_http, 200);
			statuses++;
		}
		assert_int_equal(s->cim_error == NULL, s->cimxml_http == 200);
		assert_true(s->soap_http == 400 || s->soap_http == 500);
		if (!s->subcode) {
			assert_true(s->soap == SOAP_MUST_UNDERSTAND ||
				    s->soap == SOAP_VERSION_MISMATCH);
			assert_null(s->detail);
			continue;
		}
		assert_non_null(strchr("anw", s->subcode[0]));
		assert_int_equal(s->subcode[1], ':');
	}
	assert_int_equal(statuses, 26);
	assert_string_equal(soap_code_name(SOAP_SENDER), "s:Sender");
	assert_string_equal(
	    cim_fault_namespace(cim_status(CIM_ECONTEXT)->subcode),
	    "http://schemas.xmlsoap.org/ws/2004/09/enumeration");
	assert_string_equal(
	    cim_fault_action(cim_status(CIM_ENOTFOUND)->subcode),
	    "http://schemas.xmlsoap.org/ws/2004/08/addressing/fault");
	assert_int_equal(cim_status(CIM_ENOTFOUND)->windows, 2150858752u);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(an_arena_keeps_to_its_budget),
	    TEST(an_arena_gives_back_what_came_after_a_mark),
	    TEST(scalars_are_read_and_written_within_their_type),
	    TEST(datetimes_are_instants_or_intervals),
	    TEST(datetimes_beyond_their_years_are_the_nearest),
	    TEST(null_is_apart_from_empty),
	    TEST(datetimes_are_equal_by_instant),
	    TEST(an_instance_takes_values_of_its_types_only),
	    TEST(an_instance_knows_its_path),
	    TEST(the_class_gives_defaults_where_asked),
	    TEST(every_failure_has_its_row),
	    TEST(the_rows_keep_to_both_protocols),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
