/* SPDX-License-Identifier: Apache-2.0 */
/* Open, Pull and Close. */
#include "cimxml/test-cimxml.h"

#define MOST(n)  PARAM("MaxObjectCount", VALUE(#n))
#define INSTANCE PARAM("InstanceName", SYSTEM_NAME)

static char id[CIM_CONTEXT_TEXT_BYTES];

/* The context of the reply goes to `id`; false if the sequence ended. */
static bool goes_on(void)
{
	const char *at;
	bool end = has("<PARAMVALUE NAME=\"EndOfSequence\" "
		       "PARAMTYPE=\"boolean\"><VALUE>TRUE</VALUE>");

	assert_int_equal(code(), 0);
	at = strstr(response.body, "<PARAMVALUE NAME=\"EnumerationContext\" "
				   "PARAMTYPE=\"string\"><VALUE>");
	assert_non_null(at);
	at = strstr(at, "<VALUE>") + 7;
	if (end) {
		assert_true(has("<VALUE></VALUE>"));
		return false;
	}
	(void)snprintf(id, sizeof(id), "%.32s", at);
	assert_int_equal(strspn(id, "0123456789abcdef"), 32);
	return true;
}

static void pull(const char *method, unsigned most)
{
	(void)ask(method,
		  arena_printf(arena,
			       PARAM("EnumerationContext", "<VALUE>%s</VALUE>")
				   PARAM("MaxObjectCount", "<VALUE>%u</VALUE>"),
			       id, most));
}

static void an_enumeration_is_pulled_to_its_end(void **state)
{
	fake_extra = 8; /* ten in all */
	(void)ask("OpenEnumerateInstances", THE_CLASS MOST(3));
	assert_true(goes_on());
	assert_int_equal(times("<VALUE.INSTANCEWITHPATH><INSTANCEPATH>"), 3);
	assert_true(has("<VALUE>abc</VALUE>"));
	pull("PullInstancesWithPath", 0);
	assert_true(goes_on());
	assert_int_equal(times("<VALUE.INSTANCEWITHPATH>"), 0);
	pull("PullInstancesWithPath", 6);
	assert_true(goes_on());
	assert_int_equal(times("<VALUE.INSTANCEWITHPATH>"), 6);
	assert_false(has("extra7<"));
	pull("PullInstancesWithPath", 6);
	assert_false(goes_on());
	assert_int_equal(times("<VALUE.INSTANCEWITHPATH>"), 1);
	assert_true(has("extra7<"));
	pull("PullInstancesWithPath", 6);
	assert_int_equal(code(), 21);
}

static void what_fits_needs_no_context(void **state)
{
	(void)ask("OpenEnumerateInstances", THE_CLASS MOST(2));
	assert_false(goes_on());
	assert_int_equal(times("<VALUE.INSTANCEWITHPATH>"), 2);
	(void)ask("OpenEnumerateInstances", THE_CLASS);
	assert_true(goes_on());
	assert_int_equal(times("<VALUE.INSTANCEWITHPATH>"), 0);
	fake_error = 0;
	(void)ask("OpenEnumerateInstancePaths",
		  PARAM("ClassName", CLASSNAME("CIM_Error")));
	assert_false(goes_on());
}

static void every_open_has_its_pull(void **state)
{
	static const struct {
		const char *open, *parameters, *pull, *item;
	} pairs[] = {
	    {"OpenEnumerateInstances", THE_CLASS, "PullInstancesWithPath",
	     "<VALUE.INSTANCEWITHPATH><INSTANCEPATH>"},
	    {"OpenEnumerateInstancePaths", THE_CLASS, "PullInstancePaths",
	     "<INSTANCEPATH>"},
	    {"OpenAssociatorInstances", INSTANCE, "PullInstancesWithPath",
	     "<INSTANCE CLASSNAME=\"Msvm_ConcreteJob\">"},
	    {"OpenAssociatorInstancePaths", INSTANCE, "PullInstancePaths",
	     "<INSTANCENAME CLASSNAME=\"Msvm_ConcreteJob\">"},
	    {"OpenReferenceInstances", INSTANCE, "PullInstancesWithPath",
	     "<INSTANCE CLASSNAME=\"Msvm_AffectedJobElement\">"},
	    {"OpenReferenceInstancePaths", INSTANCE, "PullInstancePaths",
	     "<INSTANCENAME CLASSNAME=\"Msvm_AffectedJobElement\">"},
	    {"OpenQueryInstances",
	     PARAM("FilterQueryLanguage", VALUE("DMTF:CQL")) PARAM(
		 "FilterQuery", VALUE("SELECT Name FROM Msvm_ComputerSystem")),
	     "PullInstances",
	     "<INSTANCE CLASSNAME=\"Msvm_ComputerSystem\"><PROPERTY "
	     "NAME=\"Name\" TYPE=\"string\"><VALUE>abc</VALUE></PROPERTY>"
	     "</INSTANCE>"},
	};
	static const char *const pulls[] = {"PullInstancesWithPath",
					    "PullInstancePaths",
					    "PullInstances"};

	for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
		(void)ask(pairs[i].open, pairs[i].parameters);
		assert_true(goes_on());
		for (size_t j = 0; j < ARRAY_SIZE(pulls); j++) {
			if (strcmp(pulls[j], pairs[i].pull) == 0)
				continue;
			pull(pulls[j], 100);
			assert_int_equal(code(), 21);
		}
		pull(pairs[i].pull, 100);
		assert_false(goes_on());
		assert_true(has(pairs[i].item));
	}
}

static void a_query_tells_its_class_if_asked(void **state)
{
	(void)ask("OpenQueryInstances",
		  PARAM("FilterQueryLanguage", VALUE("WQL"))
		      PARAM("FilterQuery",
			    VALUE("SELECT Name FROM Msvm_ComputerSystem"))
			  PARAM("ReturnQueryResultClass", VALUE("TRUE"))
			      MOST(9));
	assert_false(goes_on());
	assert_true(has("<PARAMVALUE NAME=\"QueryResultClass\"><CLASS "
			"NAME=\"Msvm_ComputerSystem\""));
	(void)ask("OpenQueryInstances",
		  PARAM("FilterQueryLanguage", VALUE("WQL")) PARAM(
		      "FilterQuery",
		      VALUE("ASSOCIATORS OF {Msvm_ConcreteJob='job-1'}")));
	assert_int_equal(code(), 15);
}

static void an_enumeration_is_closed(void **state)
{
	(void)ask("OpenEnumerateInstancePaths", THE_CLASS);
	assert_true(goes_on());
	(void)ask("CloseEnumeration",
		  arena_printf(arena,
			       PARAM("EnumerationContext", "<VALUE>%s</VALUE>"),
			       id));
	assert_int_equal(code(), 0);
	pull("PullInstancePaths", 1);
	assert_int_equal(code(), 21);
	(void)ask("CloseEnumeration",
		  PARAM("EnumerationContext", VALUE("nothing")));
	assert_int_equal(code(), 21);
}

static void it_belongs_to_its_caller_and_expires(void **state)
{
	(void)ask("OpenEnumerateInstancePaths",
		  THE_CLASS PARAM("OperationTimeout", VALUE("5")));
	assert_true(goes_on());
	request.caller = "bob";
	pull("PullInstancePaths", 1);
	assert_int_equal(code(), 21);
	request.caller = "alice";
	clock_ms += 4999;
	pull("PullInstancePaths", 1);
	assert_true(goes_on());
	clock_ms += 5000;
	pull("PullInstancePaths", 1);
	assert_int_equal(code(), 21);
}

static void what_a_client_may_not_ask_for(void **state)
{
	static const struct {
		const char *parameters;
		unsigned code;
	} samples[] = {
	    {THE_CLASS PARAM("ContinueOnError", VALUE("TRUE")), 26},
	    {THE_CLASS PARAM("FilterQuery", VALUE("x=1")), 25},
	    {THE_CLASS PARAM("FilterQueryLanguage", VALUE("DMTF:FQL")), 25},
	    {THE_CLASS PARAM("OperationTimeout", VALUE("0")), 22},
	    {THE_CLASS PARAM("OperationTimeout", VALUE("901")), 22},
	    {THE_CLASS PARAM("MaxObjectCount", VALUE("-1")), 4},
	    {"", 4},
	};

	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		(void)ask("OpenEnumerateInstances", samples[i].parameters);
		assert_int_equal(code(), samples[i].code);
	}
	(void)ask("EnumerationCount", "");
	assert_int_equal(code(), 7);
}

static void a_reply_takes_what_it_has_room_for(void **state)
{
	unsigned all = 0;

	fake_extra = 98;
	service.reply_bytes_max = CIMXML_REPLY_BYTES_MIN;
	(void)ask("OpenEnumerateInstancePaths", THE_CLASS MOST(1000));
	while (goes_on()) {
		assert_true(response.body_bytes <= CIMXML_REPLY_BYTES_MIN);
		assert_in_range(times("<INSTANCEPATH>"), 1, 99);
		all += times("<INSTANCEPATH>");
		pull("PullInstancePaths", 1000);
	}
	assert_int_equal(all + times("<INSTANCEPATH>"), 100);
}

static void an_open_that_fails_leaves_nothing(void **state)
{
	fake_error = -CIM_EFAILED;
	(void)ask("OpenEnumerateInstances", THE_CLASS);
	assert_int_equal(code(), 1);
	fake_error = 0;
	for (unsigned i = 0; i < CIM_CONTEXTS_PER_CALLER; i++) {
		(void)ask("OpenEnumerateInstancePaths", THE_CLASS);
		assert_true(goes_on());
	}
	(void)ask("OpenEnumerateInstancePaths", THE_CLASS);
	assert_int_equal(code(), 27);
	assert_false(has("IRETURNVALUE"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(an_enumeration_is_pulled_to_its_end),
	    CASE(what_fits_needs_no_context),
	    CASE(every_open_has_its_pull),
	    CASE(a_query_tells_its_class_if_asked),
	    CASE(an_enumeration_is_closed),
	    CASE(it_belongs_to_its_caller_and_expires),
	    CASE(what_a_client_may_not_ask_for),
	    CASE(a_reply_takes_what_it_has_room_for),
	    CASE(an_open_that_fails_leaves_nothing),
	};

	return cmocka_run_group_tests_name("cimxml-pulls", tests, NULL, NULL);
}
