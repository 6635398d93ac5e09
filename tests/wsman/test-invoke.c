/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <time.h>

#include "scene.h"

#define SELECTORS                                                              \
	"<w:Selector Name='creationclassname'>" SERVICE "</w:Selector>"        \
	"<w:Selector Name='Name'>vmms</w:Selector>"                            \
	"<w:Selector Name='SystemCreationClassName'>" SYSTEM "</w:Selector>"   \
	"<w:Selector Name='SystemName'>HOST</w:Selector>"
#define KEYS                                                                   \
	"<w:Selector Name='CreationClassName'>" SYSTEM "</w:Selector>"         \
	"<w:Selector Name='Name'>" VM "</w:Selector>"
#define PARAMETERS                                                             \
	"<a:ReferenceParameters><w:ResourceURI>" MICROSOFT SYSTEM              \
	"</w:ResourceURI><w:SelectorSet>" KEYS "</w:SelectorSet>"              \
	"</a:ReferenceParameters>"

/* What the last call was given, as text. */
static char seen_system[256], seen_level[256], seen_type[64];
static bool seen_result;

static void look(const struct cim_request *request, const struct cim_path *path,
		 const struct cim_arguments *in)
{
	const struct cim_value *v = in->values;
	const char *text = NULL;

	snprintf(seen_system, sizeof(seen_system), "%s",
		 v[0].is_null ? "NULL" : cim_path_text(v[0].one.ref, "Name"));
	if (v[1].is_null)
		text = "NULL";
	else if (!v[1].embedded)
		text = v[1].one.text;
	if (text)
		snprintf(seen_level, sizeof(seen_level), "%s", text);
	else
		snprintf(
		    seen_level, sizeof(seen_level), "level %u",
		    (unsigned)cim_number(cim_instance_get(v[1].one.instance,
							  "ConsistencyLevel"),
					 99));
	snprintf(seen_type, sizeof(seen_type), "%u",
		 (unsigned)cim_number(&v[2], 99));
	seen_result = !v[3].is_null;
}

static struct ask create(const char *input)
{
	scene_broker.look = look;
	return (struct ask){
	    .action = MICROSOFT SERVICE "/CreateReferencePoint",
	    .uri = MICROSOFT SERVICE,
	    .selectors = SELECTORS,
	    .body = arena_printf(
		arena,
		"<p:CreateReferencePoint_INPUT xmlns:p='" MICROSOFT SERVICE
		"'>%s"
		"</p:CreateReferencePoint_INPUT>",
		input)};
}

static struct answer call(const char *input)
{
	struct ask ask = create(input);
	struct answer answer = scene_ask(&ask);

	assert_int_equal(answer.status, 200);
	return answer;
}

static void references_in_every_form(void **state)
{
	static const char *const forms[] = {
	    "<p:AffectedSystem><a:Address/>" PARAMETERS "</p:AffectedSystem>",
	    "<p:affectedsystem>" PARAMETERS "</p:affectedsystem>",
	    "<p:AffectedSystem><a:EndpointReference><a:Address/>" PARAMETERS
	    "</a:EndpointReference></p:AffectedSystem>",
	    "<p:AffectedSystem xsi:type='q:Msvm_ComputerSystem_Type'>"
	    "<q:CreationClassName>Msvm_ComputerSystem</q:CreationClassName>"
	    "<q:Name>" VM "</q:Name></p:AffectedSystem>",
	    "<p:AffectedSystem>\\\\HOST\\root\\virtualization\\v2:"
	    "Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\","
	    "Name=\"" VM "\"</p:AffectedSystem>",
	};

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		char *input = arena_strdup(arena, forms[i]), *q;

		/* The prefix of the inline instance's elements. */
		while ((q = strstr(input, "<q:")) ||
		       (q = strstr(input, "</q:")))
			q[q[1] == '/' ? 2 : 1] = 'p';
		call(input);
		assert_string_equal(seen_system, VM);
	}
	call("<p:AffectedSystem xsi:nil='true'/>");
	assert_string_equal(seen_system, "NULL");
	call("<p:AffectedSystem/>");
	assert_string_equal(seen_system, "NULL");
	call("");
	assert_string_equal(seen_system, "NULL");
}

#define INSTANCE                                                               \
	"INSTANCE CLASSNAME=\"msvm_virtualsystemreferencepointsettingdata\""
#define LEVEL "PROPERTY NAME=\"consistencylevel\" TYPE=\"uint8\""

static void embedded_instances_in_every_form(void **state)
{
	static const char *const forms[] = {
	    "<![CDATA[<" INSTANCE "><" LEVEL "><VALUE>1</VALUE></PROPERTY>"
	    "</INSTANCE>]]>",
	    "&lt;" INSTANCE "&gt;&lt;" LEVEL "&gt;&lt;VALUE&gt;1&lt;/VALUE&gt;"
	    "&lt;/PROPERTY&gt;&lt;/INSTANCE&gt;",
	    "<" INSTANCE "><" LEVEL "><VALUE>1</VALUE></PROPERTY></INSTANCE>",
	    "<p:Msvm_VirtualSystemReferencePointSettingData>"
	    "<p:ConsistencyLevel>1</p:ConsistencyLevel>"
	    "</p:Msvm_VirtualSystemReferencePointSettingData>",
	};

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		call(arena_printf(arena,
				  "<p:ReferencePointSettings>%s"
				  "</p:ReferencePointSettings>",
				  forms[i]));
		assert_string_equal(seen_level, "level 1");
	}
	call("<p:ReferencePointSettings xsi:type="
	     "'p:Msvm_VirtualSystemReferencePointSettingData_Type'>"
	     "<p:ConsistencyLevel>2</p:ConsistencyLevel>"
	     "</p:ReferencePointSettings>");
	assert_string_equal(seen_level, "level 2");
	call("<p:ReferencePointSettings/>");
	assert_string_equal(seen_level, "NULL");
}

static void unreadable_instances_reach_the_method(void **state)
{
	call("<p:ReferencePointSettings>instance of X {}"
	     "</p:ReferencePointSettings>");
	assert_string_equal(seen_level, "instance of X {}");
	call("<p:ReferencePointSettings>"
	     "&lt;INSTANCE CLASSNAME='Msvm_Error'/&gt;"
	     "</p:ReferencePointSettings>");
	assert_string_equal(seen_level, "<INSTANCE CLASSNAME='Msvm_Error'/>");
}

static void what_comes_out_may_come_in(void **state)
{
	call("<p:ResultingReferencePoint>=?</p:ResultingReferencePoint>"
	     "<p:Job>x</p:Job><p:ReferencePointType>1</p:ReferencePointType>");
	assert_false(seen_result);
	assert_string_equal(seen_type, "1");
}

static void libvirt_reads_the_job(void **state)
{
	struct answer a = call("");
	const struct xml_node *n = a.payload, *selector;

	assert_string_equal(n->name, "CreateReferencePoint_OUTPUT");
	assert_string_equal(n->ns, MICROSOFT SERVICE);
	assert_string_equal(xml_child(n, n->ns, "ReturnValue")->text, "4096");
	n = xml_child(n, n->ns, "Job");
	n = xml_child(n, ADDRESSING, "ReferenceParameters");
	selector =
	    xml_child(xml_child(n, WSMAN, "SelectorSet"), WSMAN, "Selector");
	assert_string_equal(xml_attribute(selector, "", "Name"), "InstanceID");
	assert_string_equal(selector->text, "job-1");
	assert_non_null(strstr(a.text, "<p:Job><a:Address>"));
	assert_non_null(strstr(a.text, "<w:Selector Name=\"InstanceID\">"));
}

static void selectors_of_an_only_instance_may_be_left_out(void **state)
{
	struct ask ask = create("");
	struct answer a;

	ask.selectors =
	    "<w:Selector Name='CreationClassName'>" SERVICE "</w:Selector>";
	a = scene_ask(&ask);
	assert_int_equal(a.status, 200);
	ask.selectors = "<w:Selector Name='Name'>other</w:Selector>";
	a = scene_ask(&ask);
	scene_assert_fault(&a, "w:InvalidSelectors", "InsufficientSelectors");
	/* Never to delete. */
	ask = (struct ask){.action = TRANSFER "/Delete",
			   .uri = MICROSOFT "Msvm_VirtualSystemReferencePoint"};
	a = scene_ask(&ask);
	scene_assert_fault(&a, "w:InvalidSelectors", "InsufficientSelectors");
	assert_int_equal(scene_broker.deletes, 0);
}

static void a_repeat_is_answered_and_not_done(void **state)
{
	struct ask ask = create("");
	struct answer first, again;

	ask.message_id = "B0383140-b035-46a4-9f6f-6fe9017072a8";
	first = scene_ask(&ask);
	again = scene_ask(&ask);
	assert_int_equal(scene_broker.calls, 1);
	assert_string_equal(first.text, again.text);
	/* Another caller, another body, another minute: another request. */
	ask.caller = "bert";
	scene_ask(&ask);
	assert_int_equal(scene_broker.calls, 2);
	ask.caller = NULL;
	ask.headers = "<w:Locale/>";
	scene_ask(&ask);
	assert_int_equal(scene_broker.calls, 3);
	ask.headers = NULL;
	scene_now += WSMAN_DUPLICATE_MS - 1;
	scene_ask(&ask);
	assert_int_equal(scene_broker.calls, 3);
	scene_now += 1;
	scene_ask(&ask);
	assert_int_equal(scene_broker.calls, 4);
	ask.message_id = "4711";
	scene_ask(&ask);
	scene_ask(&ask);
	assert_int_equal(scene_broker.calls, 6);
}

static void any_message_id_is_told_back(void **state)
{
	static const char *const ids[] = {"", "0", "urn:x &amp; y"};
	static const char *const told[] = {"", "0", "urn:x & y"};

	for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
		struct ask ask = create("");
		struct answer a;

		ask.message_id = ids[i];
		a = scene_ask(&ask);
		assert_int_equal(a.status, 200);
		assert_string_equal(scene_find(&a, "RelatesTo")->text, told[i]);
	}
}

static void *answer_one(void *arg)
{
	const char *body = arg;
	struct wsman_request request = {.body = body,
					.body_bytes = strlen(body),
					.caller = "anna",
					.role = CIM_ROLE_OPERATOR};
	struct wsman_response response;

	wsman_answer(scene_wsman, &request, &response);
	return response.body;
}

static void repeats_at_the_same_time_get_one_answer(void **state)
{
	struct ask ask = create("");
	pthread_t threads[8];
	void *bodies[8];
	char *body;

	ask.message_id = "b0383140-b035-46a4-9f6f-6fe9017072a8";
	body = scene_envelope(&ask);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(
		    pthread_create(&threads[i], NULL, answer_one, body), 0);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		assert_int_equal(pthread_join(threads[i], &bodies[i]), 0);
	assert_int_equal(scene_broker.calls, 1);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		assert_string_equal(bodies[i], bodies[0]);
	for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
		free(bodies[i]);
}

static void a_fault_repeats_too(void **state)
{
	struct ask ask = create("");
	struct answer first, again;

	ask.role = CIM_ROLE_READER;
	ask.message_id = "uuid:b0383140-b035-46a4-9f6f-6fe9017072a8";
	first = scene_ask(&ask);
	again = scene_ask(&ask);
	scene_assert_fault(&first, "w:AccessDenied", NULL);
	assert_string_equal(first.text, again.text);
}

static void what_a_reader_may_not_call_is_not_read(void **state)
{
	struct ask ask = create("<p:Nonsense/>");
	struct answer a;

	a = scene_ask(&ask);
	scene_assert_fault(&a, "w:InvalidParameter", NULL);
	ask.role = CIM_ROLE_READER;
	a = scene_ask(&ask);
	scene_assert_fault(&a, "w:AccessDenied", NULL);
}

static double cpu_seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* BEFORE, COUNT times, then ELEMENT as often. */
static char *many(const char *before, const char *element, unsigned count)
{
	char *text =
	    arena_alloc(arena, count * (strlen(before) + strlen(element)) + 1);
	char *to = text;

	for (unsigned i = 0; i < count; i++)
		to = stpcpy(to, before);
	for (unsigned i = 0; i < count; i++)
		to = stpcpy(to, element);
	return text;
}

/* Elements of which each would be held against all before it. */
static void many_elements_take_no_time(void **state)
{
	struct ask ask = create(
	    arena_printf(arena,
			 "<p:AffectedSystem xsi:type='p:" SYSTEM "_Type'"
			 ">%s<Name>" VM "</Name><CreationClassName>" SYSTEM
			 "</CreationClassName></p:AffectedSystem>",
			 many("<a/>", "<Roles/>", 31000)));
	struct answer a;
	double begin = cpu_seconds(), took;

	a = scene_ask(&ask);
	took = cpu_seconds() - begin;
	assert_int_equal(a.status, 200);
	assert_string_equal(seen_system, VM);
	print_message("62000 elements: %.2f s\n", took);
	assert_true(took < 1);
}

static void many_answers_are_kept_within_bounds(void **state)
{
	struct ask ask = create("");

	for (unsigned i = 0; i < WSMAN_DUPLICATES_MAX + 10; i++) {
		struct wsman_request request = {.caller = "anna",
						.role = CIM_ROLE_OPERATOR};
		struct wsman_response response;

		request.body = scene_envelope(&ask);
		request.body_bytes = strlen(request.body);
		wsman_answer(scene_wsman, &request, &response);
		assert_int_equal(response.status, 200);
		free(response.body);
	}
	assert_int_equal(scene_broker.calls, WSMAN_DUPLICATES_MAX + 10);
}

static void a_reply_that_does_not_fit_is_a_fault(void **state)
{
	struct ask ask = {
	    .action = DMTF "Msvm_ImageManagementService/GetVirtualDiskChanges",
	    .uri = DMTF "Msvm_ImageManagementService",
	    .max_bytes = 8192,
	};
	struct answer a;

	scene_broker.array_items = 1000;
	a = scene_ask(&ask);
	scene_assert_fault(&a, "w:EncodingLimit", "MaxEnvelopeSizeExceeded");
	assert_true(a.bytes <= 8192);
	ask.max_bytes = 0;
	a = scene_ask(&ask);
	assert_int_equal(a.status, 200);
	assert_int_equal(scene_count(&a, "ChangedByteOffsets"), 1000);
}

static char *wide(const char *text, bool big, size_t *ret_bytes)
{
	size_t n = strlen(text);
	char *bytes = arena_alloc(arena, 2 * n);

	for (size_t i = 0; i < n; i++)
		bytes[2 * i + big] = text[i];
	*ret_bytes = 2 * n;
	return bytes;
}

static void a_provider_knows_what_fits(void **state)
{
	static const unsigned long limits[] = {8192, 153600, 512000};
	struct ask ask = {
	    .action =
		MICROSOFT "Msvm_ImageManagementService/GetVirtualDiskChanges",
	    .uri = MICROSOFT "Msvm_ImageManagementService",
	};
	struct answer a;
	size_t bytes;
	char *body;

	scene_broker.array_items = 1000000;
	scene_broker.fit = true;
	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		ask.max_bytes = limits[i];
		a = scene_ask(&ask);
		assert_int_equal(a.status, 200);
		assert_in_range(a.bytes, limits[i] - 3072, limits[i]);
		body = wide(scene_envelope(&ask), false, &bytes);
		a = scene_send(&ask, NULL, body, bytes);
		assert_int_equal(a.status, 200);
		assert_in_range(a.bytes, limits[i] - 6144, limits[i]);
	}
}

static void utf16_is_answered_in_utf16(void **state)
{
	for (unsigned big = 0; big < 2; big++) {
		struct ask ask = create("");
		size_t bytes;
		char *body = wide(scene_envelope(&ask), big, &bytes);
		struct answer a =
		    scene_send(&ask, "application/soap+xml;charset=UTF-16",
			       body, bytes);

		assert_int_equal(a.status, 200);
		assert_memory_equal(a.text, "\xff\xfe<", 3);
		assert_string_equal(a.payload->name,
				    "CreateReferencePoint_OUTPUT");
	}
	struct ask ask = create("");
	struct answer a =
	    scene_send(&ask, "text/xml; charset=\"utf-16\"", "<a/>", 4);

	assert_int_equal(a.status, 400);
	scene_assert_fault(&a, "w:EncodingLimit", "CharacterSet");
}

static void nobody_may_only_identify(void **state)
{
	static const char identify[] =
	    "<i:Identify xmlns:i='http://schemas.dmtf.org/wbem/wsman/identity/"
	    "1/wsmanidentity.xsd'/>";
	struct wsman_request request = {.host = "host"};
	struct wsman_response response;
	struct ask ask = {.body = identify};

	request.body = scene_envelope(&ask);
	request.body_bytes = strlen(request.body);
	wsman_answer(scene_wsman, &request, &response);
	assert_int_equal(response.status, 200);
	assert_non_null(strstr(response.body, "ProtocolVersion"));
	assert_null(strstr(response.body, "ProductVersion"));
	free(response.body);
	ask = (struct ask){.action = TRANSFER "/Get",
			   .uri = MICROSOFT SERVICE,
			   .selectors = SELECTORS};
	request.body = scene_envelope(&ask);
	request.body_bytes = strlen(request.body);
	wsman_answer(scene_wsman, &request, &response);
	assert_int_equal(response.status, 500);
	assert_non_null(strstr(response.body, "w:AccessDenied"));
	assert_non_null(strstr(response.body, "Code=\"5\""));
	free(response.body);
}

static void failures_have_their_faults(void **state)
{
	static const struct {
		int code;
		const char *subcode, *detail;
	} rows[] = {
	    {-CIM_EFAILED, "w:InternalError", NULL},
	    {-CIM_EACCESS, "w:AccessDenied", NULL},
	    {-CIM_ENOTFOUND, "a:DestinationUnreachable", "InvalidResourceURI"},
	    {-RP_ETIMEOUT, "w:TimedOut", NULL},
	    {-CIM_ELIMITS, "w:QuotaLimit", NULL},
	    {-RP_EUNREACHABLE, "w:InternalError", NULL},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct ask ask = {.action = TRANSFER "/Get",
				  .uri = MICROSOFT SERVICE,
				  .selectors = SELECTORS};
		struct answer a;

		scene_broker.fail = rows[i].code;
		a = scene_ask(&ask);
		assert_int_equal(a.status, 500);
		scene_assert_fault(&a, rows[i].subcode, rows[i].detail);
		assert_non_null(scene_find(&a, "CIMStatusCode"));
	}
}

static void other_content_is_not_read(void **state)
{
	struct ask ask = create("");
	struct answer a = scene_send(&ask, "application/json", "{}", 2);

	assert_int_equal(a.status, 415);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    SCENE(references_in_every_form),
	    SCENE(embedded_instances_in_every_form),
	    SCENE(unreadable_instances_reach_the_method),
	    SCENE(what_comes_out_may_come_in),
	    SCENE(libvirt_reads_the_job),
	    SCENE(selectors_of_an_only_instance_may_be_left_out),
	    SCENE(a_repeat_is_answered_and_not_done),
	    SCENE(any_message_id_is_told_back),
	    SCENE(repeats_at_the_same_time_get_one_answer),
	    SCENE(a_fault_repeats_too),
	    SCENE(what_a_reader_may_not_call_is_not_read),
	    SCENE(many_elements_take_no_time),
	    SCENE(many_answers_are_kept_within_bounds),
	    SCENE(a_reply_that_does_not_fit_is_a_fault),
	    SCENE(a_provider_knows_what_fits),
	    SCENE(utf16_is_answered_in_utf16),
	    SCENE(nobody_may_only_identify),
	    SCENE(failures_have_their_faults),
	    SCENE(other_content_is_not_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
