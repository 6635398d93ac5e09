/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>

#include "scene.h"

#define WQL "Dialect='http://schemas.microsoft.com/wbem/wsman/1/WQL'"

static struct answer enumerate(const char *uri, const char *body)
{
	struct ask ask = {
	    .action = ENUMERATION "/Enumerate",
	    .uri = uri,
	    .body = arena_printf(arena, "<n:Enumerate>%s</n:Enumerate>", body)};

	return scene_ask(&ask);
}

static const char *context_of(const struct answer *answer)
{
	const struct xml_node *n = scene_find(answer, "EnumerationContext");

	return n ? n->text : "";
}

static struct answer pull(const char *uri, const char *context,
			  const char *more, unsigned long max_bytes)
{
	struct ask ask = {.action = ENUMERATION "/Pull",
			  .uri = uri,
			  .max_bytes = max_bytes,
			  .body =
			      arena_printf(arena,
					   "<n:Pull><n:EnumerationContext>%s"
					   "</n:EnumerationContext>%s</n:Pull>",
					   context, more)};

	return scene_ask(&ask);
}

static size_t item_count(const struct answer *answer)
{
	const struct xml_node *n = scene_find(answer, "Items");

	return n ? n->child_count : 0;
}

static void one_item_for_each_pull_that_says_nothing(void **state)
{
	struct answer a = enumerate(MICROSOFT SYSTEM, "");
	const char *context = context_of(&a);

	assert_int_equal(item_count(&a), 0);
	for (unsigned i = 0; i < 3; i++) {
		a = pull(MICROSOFT SYSTEM, context, "", 0);
		assert_int_equal(a.status, 200);
		assert_int_equal(item_count(&a), 1);
		assert_string_equal(scene_find(&a, "Items")->ns, ENUMERATION);
		assert_int_equal(scene_count(&a, "EndOfSequence"), i == 2);
		assert_int_equal(scene_count(&a, "EnumerationContext"), i < 2);
	}
	a = pull(MICROSOFT SYSTEM, context, "", 0);
	scene_assert_fault(&a, "n:InvalidEnumerationContext", NULL);
}

static void libvirt_pulls_a_query_under_the_class(void **state)
{
	struct answer a =
	    enumerate(MICROSOFT "*",
		      "<w:Filter " WQL ">select * from CIM_ComputerSystem"
		      "</w:Filter>");
	const char *context = context_of(&a);
	const struct xml_node *item;
	unsigned count = 0;

	while (*context) {
		a = pull(MICROSOFT "CIM_ComputerSystem", context, "", 0);
		item = scene_find(&a, "Items")->first;
		assert_string_equal(item->name, "CIM_ComputerSystem");
		assert_string_equal(item->ns, MICROSOFT "CIM_ComputerSystem");
		/* It reads what the subclass has, too. */
		assert_non_null(xml_child(item, NULL, "EnabledState"));
		context = context_of(&a);
		count++;
	}
	assert_int_equal(count, 3);
}

static void nothing_found_ends_at_once(void **state)
{
	static const char query[] =
	    "<w:Filter " WQL ">select * from Msvm_ComputerSystem where "
	    "Name='none'</w:Filter>";
	struct answer a = enumerate(MICROSOFT "*", query);

	a = pull(MICROSOFT "*", context_of(&a), "", 0);
	assert_int_equal(a.status, 200);
	assert_int_equal(item_count(&a), 0);
	assert_int_equal(scene_count(&a, "EndOfSequence"), 1);
	a = enumerate(MICROSOFT "*",
		      arena_printf(arena, "<w:OptimizeEnumeration/>%s", query));
	assert_string_equal(context_of(&a), "");
	assert_int_equal(scene_count(&a, "EndOfSequence"), 1);
}

static void optimized_tells_as_many_as_asked(void **state)
{
	struct answer a =
	    enumerate(DMTF SYSTEM, "<w:OptimizeEnumeration/>"
				   "<w:MaxElements>2</w:MaxElements>");

	assert_int_equal(item_count(&a), 2);
	assert_string_equal(scene_find(&a, "Items")->ns, WSMAN);
	assert_int_equal(scene_count(&a, "EndOfSequence"), 0);
	a = pull(DMTF SYSTEM, context_of(&a),
		 "<n:MaxElements>20</n:MaxElements>", 0);
	assert_int_equal(item_count(&a), 1);
	assert_int_equal(scene_count(&a, "EndOfSequence"), 1);
	a = enumerate(DMTF SYSTEM, "<w:OptimizeEnumeration/>");
	assert_int_equal(item_count(&a), 1);
	a = enumerate(DMTF SYSTEM, "<w:OptimizeEnumeration/>"
				   "<w:MaxElements>0</w:MaxElements>");
	scene_assert_fault(&a, "w:InvalidParameter", NULL);
}

static void a_pull_gives_as_many_as_fit(void **state)
{
	struct answer a;
	const char *context;
	size_t told = 0, pulls = 0;

	scene_broker.extra = 100;
	a = enumerate(MICROSOFT SYSTEM, "");
	context = context_of(&a);
	while (*context) {
		a = pull(MICROSOFT SYSTEM, context,
			 "<n:MaxElements>1000</n:MaxElements>", 20000);
		assert_int_equal(a.status, 200);
		assert_true(a.bytes <= 20000);
		told += item_count(&a);
		context = context_of(&a);
		pulls++;
	}
	assert_int_equal(told, 103);
	assert_true(pulls > 2 && pulls < 50);
}

static void assert_same_items(const struct answer *a, const struct answer *b)
{
	const char *items = strstr(a->text, "<n:PullResponse>");

	assert_int_equal(a->status, 200);
	assert_non_null(items);
	assert_string_equal(items, strstr(b->text, "<n:PullResponse>"));
}

/* Pulls to the end, each time twice; returns how many items there were. */
static size_t pull_twice(const char *context, const char *more)
{
	struct ask ask = {.action = ENUMERATION "/Pull",
			  .uri = MICROSOFT SYSTEM};
	size_t told = 0;

	for (unsigned i = 0; *context; i++) {
		struct answer first, again;

		ask.message_id =
		    arena_printf(arena, "uuid:11111111-0000-4000-8000-%012u",
				 i);
		ask.body = arena_printf(arena,
					"<n:Pull><n:EnumerationContext>%s"
					"</n:EnumerationContext>%s</n:Pull>",
					context, more);
		first = scene_ask(&ask);
		scene_now += WSMAN_DUPLICATE_MS - 1;
		again = scene_ask(&ask);
		assert_same_items(&first, &again);
		told += item_count(&first);
		context = context_of(&first);
	}
	/* That of the end is over then. */
	scene_now += 1;
	scene_assert_fault((struct answer[]){scene_ask(&ask)},
			   "n:InvalidEnumerationContext", NULL);
	return told;
}

static void a_repeated_pull_is_told_the_same_again(void **state)
{
	struct answer a = enumerate(MICROSOFT SYSTEM, "");

	assert_int_equal(pull_twice(context_of(&a), ""), 3);
	/* More than is kept of answers to calls. */
	scene_broker.extra = 1000;
	a = enumerate(MICROSOFT SYSTEM, "");
	assert_int_equal(pull_twice(context_of(&a),
				    "<n:MaxElements>600</n:MaxElements>"),
			 1003);
}

static void another_pull_is_no_repeat(void **state)
{
	struct answer a = enumerate(MICROSOFT SYSTEM, "");
	struct ask ask = {
	    .action = ENUMERATION "/Pull",
	    .uri = MICROSOFT SYSTEM,
	    .message_id = "uuid:11111111-0000-4000-8000-000000000000",
	    .body = arena_printf(arena,
				 "<n:Pull><n:EnumerationContext>%s"
				 "</n:EnumerationContext></n:Pull>",
				 context_of(&a))};
	struct answer first = scene_ask(&ask), second;

	ask.headers = "<w:Locale/>"; /* another body */
	second = scene_ask(&ask);
	assert_string_not_equal(scene_find(&first, "Name")->text,
				scene_find(&second, "Name")->text);
	ask.message_id = "4711"; /* no UUID */
	a = scene_ask(&ask);
	assert_int_equal(scene_count(&a, "EndOfSequence"), 1);
	a = scene_ask(&ask);
	scene_assert_fault(&a, "n:InvalidEnumerationContext", NULL);
}

struct puller {
	pthread_t thread;
	const char *body;
	struct wsman_response response;
};

static void *pull_one(void *arg)
{
	struct puller *p = arg;
	struct wsman_request request = {.body = p->body,
					.body_bytes = strlen(p->body),
					.caller = "anna",
					.role = CIM_ROLE_OPERATOR};

	wsman_answer(scene_wsman, &request, &p->response);
	return NULL;
}

static void repeats_at_the_same_time_get_the_same_items(void **state)
{
	struct ask ask = {.action = ENUMERATION "/Pull",
			  .uri = MICROSOFT SYSTEM};
	struct puller all[8];
	struct answer a;
	const char *body;

	scene_broker.extra = 3000;
	a = enumerate(MICROSOFT SYSTEM, "");
	ask.body = arena_printf(arena,
				"<n:Pull><n:EnumerationContext>%s"
				"</n:EnumerationContext><n:MaxElements>2000"
				"</n:MaxElements></n:Pull>",
				context_of(&a));
	body = scene_envelope(&ask);
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		all[i].body = body;
		assert_int_equal(
		    pthread_create(&all[i].thread, NULL, pull_one, &all[i]), 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		assert_int_equal(pthread_join(all[i].thread, NULL), 0);
		assert_int_equal(all[i].response.status, 200);
		assert_string_equal(
		    strstr(all[i].response.body, "<n:PullResponse>"),
		    strstr(all[0].response.body, "<n:PullResponse>"));
	}
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		free(all[i].response.body);
}

static void a_repeated_release_is_answered_again(void **state)
{
	struct answer a = enumerate(MICROSOFT SYSTEM, "");
	struct ask ask = {
	    .action = ENUMERATION "/Release",
	    .uri = MICROSOFT SYSTEM,
	    .message_id = "uuid:11111111-0000-4000-8000-000000000000",
	    .body = arena_printf(arena,
				 "<n:Release><n:EnumerationContext>%s"
				 "</n:EnumerationContext></n:Release>",
				 context_of(&a))};

	a = scene_ask(&ask);
	assert_int_equal(a.status, 200);
	a = scene_ask(&ask);
	assert_int_equal(a.status, 200);
}

static void an_item_that_never_fits_is_a_fault_and_stays(void **state)
{
	static const char uri[] =
	    "http://schemas.dmtf.org/wbem/cim-xml/2/cim-schema/2/*";
	struct answer a = enumerate(uri, "");
	const char *context = context_of(&a);

	/* The classes are told in the order of the schema; some are long. */
	for (unsigned i = 0; i < 500 && a.status == 200; i++)
		a = pull(uri, context, "", 8192);
	scene_assert_fault(&a, "w:EncodingLimit", "MaxEnvelopeSizeExceeded");
	assert_true(a.bytes <= 8192);
	a = pull(uri, context, "", 0);
	assert_int_equal(a.status, 200);
	assert_int_equal(scene_count(&a, "CLASS"), 1);
}

static void a_context_is_its_openers(void **state)
{
	struct answer a = enumerate(MICROSOFT SYSTEM, "");
	const char *context = context_of(&a);
	struct ask ask = {.action = ENUMERATION "/Pull",
			  .uri = MICROSOFT SYSTEM,
			  .caller = "bert",
			  .body =
			      arena_printf(arena,
					   "<n:Pull><n:EnumerationContext>%s"
					   "</n:EnumerationContext></n:Pull>",
					   context)};

	a = scene_ask(&ask);
	scene_assert_fault(&a, "n:InvalidEnumerationContext", NULL);
	ask.caller = "anna";
	a = scene_ask(&ask);
	assert_int_equal(a.status, 200);
	scene_now += CIM_CONTEXT_MS + 1;
	a = scene_ask(&ask);
	scene_assert_fault(&a, "n:InvalidEnumerationContext", NULL);
}

static void release_ends_it(void **state)
{
	struct answer a = enumerate(MICROSOFT SYSTEM, "");
	struct ask ask = {
	    .action = ENUMERATION "/Release",
	    .uri = MICROSOFT SYSTEM,
	    .body = arena_printf(arena,
				 "<n:Release><n:EnumerationContext>%s"
				 "</n:EnumerationContext></n:Release>",
				 context_of(&a))};

	a = scene_ask(&ask);
	assert_int_equal(a.status, 200);
	assert_null(a.payload);
	a = scene_ask(&ask);
	scene_assert_fault(&a, "n:InvalidEnumerationContext", NULL);
}

static void contexts_are_bounded(void **state)
{
	struct answer a;

	for (unsigned i = 0; i < CIM_CONTEXTS_PER_CALLER; i++) {
		a = enumerate(MICROSOFT SYSTEM, "");
		assert_int_equal(a.status, 200);
	}
	a = enumerate(MICROSOFT SYSTEM, "");
	scene_assert_fault(&a, "w:QuotaLimit", NULL);
}

/* They are not counted. */
static void what_is_over_is_in_nobodys_way(void **state)
{
	for (unsigned i = 0; i < CIM_CONTEXTS_MAX + 10; i++) {
		struct answer a = enumerate(MICROSOFT SYSTEM, "");

		assert_int_equal(a.status, 200);
		a = pull(MICROSOFT SYSTEM, context_of(&a),
			 "<n:MaxElements>9</n:MaxElements>", 0);
		assert_int_equal(item_count(&a), 3);
	}
	contexts_are_bounded(state);
}

static void selectors_filter(void **state)
{
	struct answer a = enumerate(
	    MICROSOFT SYSTEM,
	    "<w:OptimizeEnumeration/><w:MaxElements>9</w:MaxElements>"
	    "<w:Filter Dialect='http://schemas.dmtf.org/wbem/wsman/1/wsman/"
	    "SelectorFilter'><w:SelectorSet><w:Selector Name='name'>" VM
	    "</w:Selector><w:Selector Name='EnabledState'>2</w:Selector>"
	    "</w:SelectorSet></w:Filter>");

	assert_int_equal(item_count(&a), 1);
	assert_string_equal(scene_find(&a, "Name")->text, VM);
}

static void polymorphism_as_asked(void **state)
{
	static const char form[] = "<w:OptimizeEnumeration/><w:MaxElements>9"
				   "</w:MaxElements><b:PolymorphismMode "
				   "xmlns:b='http://schemas.dmtf.org/wbem/"
				   "wsman/1/cimbinding.xsd'>%s"
				   "</b:PolymorphismMode>";
	char body[512];
	struct answer a;

	snprintf(body, sizeof(body), form, "None");
	a = enumerate(DMTF "CIM_ComputerSystem", body);
	assert_int_equal(item_count(&a), 0);
	snprintf(body, sizeof(body), form, "ExcludeSubClassProperties");
	a = enumerate(DMTF "CIM_ManagedElement", body);
	assert_true(item_count(&a) > 3);
	assert_int_equal(scene_count(&a, "EnabledState"), 0);
	assert_int_equal(scene_count(&a, "CIM_ManagedElement"), item_count(&a));
	snprintf(body, sizeof(body), form, "IncludeSubClassProperties");
	a = enumerate(DMTF "CIM_ComputerSystem", body);
	assert_int_equal(scene_count(&a, SYSTEM), 3);
}

static struct answer walk(const char *kind)
{
	return enumerate(
	    "http://schemas.dmtf.org/wbem/wscim/1/*",
	    arena_printf(
		arena,
		"<w:OptimizeEnumeration/><w:MaxElements>9</w:MaxElements>"
		"<w:Filter xmlns:b='http://schemas.dmtf.org/wbem/wsman/1/"
		"cimbinding.xsd' Dialect='http://schemas.dmtf.org/wbem/wsman/1/"
		"cimbinding/associationFilter'><b:%s><b:Object><a:Address/>"
		"<a:ReferenceParameters><w:ResourceURI>" DMTF SYSTEM
		"</w:ResourceURI><w:SelectorSet><w:Selector Name='Name'>" VM
		"</w:Selector><w:Selector Name='CreationClassName'>" SYSTEM
		"</w:Selector></w:SelectorSet></a:ReferenceParameters>"
		"</b:Object></b:%s></w:Filter>",
		kind, kind));
}

static void associations_both_ways(void **state)
{
	struct answer a = walk("AssociatedInstances");
	const struct xml_node *n;

	assert_int_equal(item_count(&a), 1);
	assert_non_null(scene_find(&a, "Msvm_VirtualSystemReferencePoint"));
	a = walk("AssociationInstances");
	n = scene_find(&a, "Msvm_ReferencePointOfVirtualSystem");
	assert_non_null(n);
	n = xml_child(n, NULL, "Antecedent");
	assert_non_null(xml_child(n, ADDRESSING, "ReferenceParameters"));
}

static void what_makes_no_sense_is_refused(void **state)
{
	struct answer a = enumerate(MICROSOFT "*", "");

	scene_assert_fault(&a, "a:DestinationUnreachable",
			   "InvalidResourceURI");
	a = enumerate(MICROSOFT SYSTEM,
		      "<w:EnumerationMode>Other</w:EnumerationMode>");
	scene_assert_fault(&a, "w:UnsupportedFeature", NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    SCENE(one_item_for_each_pull_that_says_nothing),
	    SCENE(libvirt_pulls_a_query_under_the_class),
	    SCENE(nothing_found_ends_at_once),
	    SCENE(optimized_tells_as_many_as_asked),
	    SCENE(a_pull_gives_as_many_as_fit),
	    SCENE(a_repeated_pull_is_told_the_same_again),
	    SCENE(another_pull_is_no_repeat),
	    SCENE(what_is_over_is_in_nobodys_way),
	    SCENE(repeats_at_the_same_time_get_the_same_items),
	    SCENE(a_repeated_release_is_answered_again),
	    SCENE(an_item_that_never_fits_is_a_fault_and_stays),
	    SCENE(a_context_is_its_openers),
	    SCENE(release_ends_it),
	    SCENE(contexts_are_bounded),
	    SCENE(selectors_filter),
	    SCENE(polymorphism_as_asked),
	    SCENE(associations_both_ways),
	    SCENE(what_makes_no_sense_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
