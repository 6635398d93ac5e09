/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GetVirtualDiskChanges through both protocols, with more ranges than any reply
 * takes: a client that goes on to the end gets each of them once.
 */
#include <time.h>

#include "front.h"

#define SERVICE "Msvm_ImageManagementService"
#define OFFSETS "ChangedByteOffsets"
#define LENGTHS "ChangedByteLengths"
#define STRIDE  KIB(8)
#define SIZE    GIB(8) /* of the scene's first disk */
#define COUNT   (SIZE / STRIDE)
#define PATH    "/images/a \u00e9.raw"

/* Both lists of a reply, as they are told. */
struct lists {
	uint64_t offset; /* that comes next */
	uint64_t offsets, lengths;
	uint64_t processed;
	bool in_order;
};

static uint64_t number(const struct xml_node *node)
{
	char *end;
	uint64_t n = strtoull(node->text, &end, 10);

	assert_true(end > node->text && !*end);
	return n;
}

static void take_offset(void *arg, const struct xml_node *node)
{
	struct lists *lists = arg;

	lists->in_order &= number(node) == lists->offset;
	lists->offset += STRIDE;
	lists->offsets++;
}

static void take_length(void *arg, const struct xml_node *node)
{
	struct lists *lists = arg;

	lists->in_order &= number(node) == KIB(4);
	lists->lengths++;
}

static void take_processed(void *arg, const struct xml_node *node)
{
	struct lists *lists = arg;

	lists->processed = number(node);
}

/* ---- WS-Management ---------------------------------------------------------
 */

static struct reply ask_wsman(uint64_t at, unsigned long max_bytes)
{
	char parameters[512];

	(void)snprintf(parameters, sizeof(parameters),
		       "<p:Path>" PATH "</p:Path><p:LimitId>rctX:1a</p:LimitId>"
		       "<p:TargetSnapshotId/><p:ByteOffset>%llu</p:ByteOffset>"
		       "<p:ByteLength>%llu</p:ByteLength>",
		       (unsigned long long)at, (unsigned long long)(SIZE - at));
	return front_wsman(SERVICE, "GetVirtualDiskChanges", parameters,
			   max_bytes);
}

static void read_wsman(const struct reply *reply, struct lists *lists)
{
	assert_int_equal(front_result(reply), 0);
	front_each(reply, "ChangedByteOffsets", take_offset, lists);
	front_each(reply, "ChangedByteLengths", take_length, lists);
	front_each(reply, "ProcessedByteLength", take_processed, lists);
}

static double seconds(void)
{
	struct timespec t;

	(void)clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Calls until the end, and returns how many it took. */
static unsigned wsman_to_the_end(unsigned long max_bytes)
{
	struct lists lists = {.in_order = true};
	uint64_t at = 0;
	unsigned calls = 0;
	double begin = seconds();
	size_t least = SIZE_MAX;

	while (at < SIZE) {
		struct reply reply = ask_wsman(at, max_bytes);

		read_wsman(&reply, &lists);
		assert_true(lists.processed > 0);
		at += lists.processed;
		calls++;
		if (at < SIZE && reply.bytes < least)
			least = reply.bytes;
	}
	assert_int_equal(at, SIZE);
	assert_true(lists.in_order);
	assert_int_equal(lists.offsets, scene->work.count);
	assert_int_equal(lists.lengths, scene->work.count);
	print_message("%llu ranges, %lu octets: %u calls, %.2f s\n",
		      (unsigned long long)scene->work.count, max_bytes, calls,
		      seconds() - begin);
	/* what a reply may take is made use of, but for what its rest might */
	if (calls > 2 && least + 4096 < max_bytes * 99 / 100)
		fail_msg("only %zu octets in a reply", least);
	return calls;
}

static void all_changed(uint64_t count)
{
	scene->work.count = count;
	scene->work.stride = STRIDE;
	scene->work.length = KIB(4);
}

static void
a_million_ranges_are_told_in_envelopes_of_153600_octets(void **state)
{
	assert_true(COUNT >= 1000000);
	all_changed(COUNT);
	assert_in_range(wsman_to_the_end(153600), COUNT / 1500, COUNT / 1000);
	/* refpointd found little more than was told */
	assert_in_range(scene->work.told, COUNT, COUNT + COUNT / 5);
}

static void other_limits_do_as_well(void **state)
{
	static const unsigned long limits[] = {8192, 102400, 512000};

	all_changed(20000);
	for (size_t i = 0; i < ARRAY_SIZE(limits); i++)
		assert_true(wsman_to_the_end(limits[i]) > 1);
}

static void what_fits_is_told_at_once(void **state)
{
	all_changed(1000);
	assert_int_equal(wsman_to_the_end(153600), 1);
	all_changed(20000); /* our parser takes 65,536 elements */
	assert_int_equal(wsman_to_the_end(0), 1);
}

/* Items of an array as text, which say FIRST, FIRST + STRIDE ...: a reply of
 * millions of elements is no document that our own parser would take. */
static uint64_t count_elements(const char *text, const char *name,
			       uint64_t first, uint64_t stride)
{
	char open[64];
	uint64_t n = 0;

	(void)snprintf(open, sizeof(open), "<p:%s>", name);
	text = strstr(text, open);
	while (text && strncmp(text, open, strlen(open)) == 0) {
		char *after;

		if (strtoull(text + strlen(open), &after, 10) !=
		    first + n * stride)
			return UINT64_MAX;
		text = strchr(after, '>') + 1;
		n++;
	}
	return n;
}

static uint64_t element_in(const char *text, const char *name)
{
	char open[64];
	const char *at;

	(void)snprintf(open, sizeof(open), "<p:%s>", name);
	at = strstr(text, open);
	assert_non_null(at);
	return strtoull(at + strlen(open), NULL, 10);
}

/* What the client does not bound, the largest reply does. */
static void without_a_limit_a_reply_has_64_mib(void **state)
{
	uint64_t at = 0, n = 0;
	unsigned calls = 0;

	all_changed(COUNT);
	while (at < SIZE) {
		struct reply reply = ask_wsman(at, 0);
		uint64_t told =
		    count_elements(reply.text, OFFSETS, n * STRIDE, STRIDE);

		assert_int_equal(element_in(reply.text, "ReturnValue"), 0);
		assert_int_equal(count_elements(reply.text, LENGTHS, KIB(4), 0),
				 told);
		n += told;
		at += element_in(reply.text, "ProcessedByteLength");
		calls++;
		print_message("%llu ranges in %zu octets\n",
			      (unsigned long long)told, reply.bytes);
		if (at < SIZE)
			assert_in_range(reply.bytes,
					WSMAN_ENVELOPE_BYTES_MAX - 4096,
					WSMAN_ENVELOPE_BYTES_MAX);
	}
	assert_int_equal(n, COUNT);
	assert_int_equal(calls, 2);
}

/* An array without items has no element; the others are there. */
static void nothing_changed_is_no_range(void **state)
{
	struct lists lists = {.in_order = true};
	struct reply reply = ask_wsman(0, 153600);

	read_wsman(&reply, &lists);
	assert_int_equal(lists.offsets, 0);
	assert_int_equal(lists.processed, SIZE);
	assert_null(strstr(reply.text, "ChangedByteOffsets"));
}

/* ---- CIM-XML ---------------------------------------------------------------
 */

struct parameter {
	const char *name;
	struct lists *lists;
	void (*take)(void *arg, const struct xml_node *node);
};

static void take_values(void *arg, const struct xml_node *node)
{
	const struct parameter *p = arg;
	const char *name = xml_attribute(node, NULL, "NAME");
	const struct xml_node *list = node->first;

	if (strcmp(name, p->name) != 0)
		return;
	assert_non_null(list);
	if (xml_is(list, NULL, "VALUE"))
		p->take(p->lists, list);
	for (const struct xml_node *n = list->first; n; n = n->next)
		p->take(p->lists, n);
}

static void read_parameter(const struct reply *reply, const char *name,
			   struct lists *lists,
			   void (*take)(void *arg, const struct xml_node *node))
{
	struct parameter p = {name, lists, take};

	front_each(reply, "PARAMVALUE", take_values, &p);
}

#define PARAM(name, value)                                                     \
	"<PARAMVALUE NAME='" name "'><VALUE>" value "</VALUE></PARAMVALUE>"

static struct reply ask_cimxml(uint64_t at)
{
	char parameters[1024];

	(void)snprintf(parameters, sizeof(parameters),
		       PARAM("Path", PATH) PARAM("LimitId", "rctX:1a")
			   PARAM("ByteOffset", "%llu")
			       PARAM("ByteLength", "%llu"),
		       (unsigned long long)at, (unsigned long long)(SIZE - at));
	return front_cimxml(SERVICE, "GetVirtualDiskChanges", parameters);
}

/* A reply of millions of elements is no document that our own parser would
 * take, so it is read as text. */
static uint64_t count_values(const char *text, const char *name, uint64_t first,
			     uint64_t stride)
{
	static const char open[] = "<VALUE>";
	char start[96];
	const char *at;
	char *after;
	uint64_t n = 0;

	(void)snprintf(start, sizeof(start), "<PARAMVALUE NAME=\"%s\"", name);
	at = strstr(text, start);
	assert_non_null(at);
	at = strchr(strchr(at, '>') + 1, '>') + 1; /* into VALUE.ARRAY */
	while (strncmp(at, open, strlen(open)) == 0) {
		if (strtoull(at + strlen(open), &after, 10) !=
		    first + n * stride)
			return UINT64_MAX;
		at = strchr(after, '>') + 1;
		n++;
	}
	return n;
}

static uint64_t processed_in(const char *text)
{
	const char *at = strstr(text, "\"ProcessedByteLength\"");

	assert_non_null(at);
	return strtoull(strstr(at, "<VALUE>") + strlen("<VALUE>"), NULL, 10);
}

static void a_million_ranges_are_told_by_cim_xml(void **state)
{
	uint64_t at = 0, n = 0;
	unsigned calls = 0;
	double begin = seconds();

	all_changed(COUNT);
	while (at < SIZE) {
		struct reply reply = ask_cimxml(at);
		uint64_t told;

		assert_int_equal(reply.status, 200);
		assert_non_null(strstr(reply.text,
				       "<RETURNVALUE PARAMTYPE=\"uint32\">"
				       "<VALUE>0</VALUE>"));
		told = count_values(reply.text, "ChangedByteOffsets",
				    n * STRIDE, STRIDE);
		assert_int_equal(count_values(reply.text, "ChangedByteLengths",
					      KIB(4), 0),
				 told);
		n += told;
		at += processed_in(reply.text);
		calls++;
	}
	assert_int_equal(n, COUNT);
	assert_int_equal(calls, 2);
	print_message("%llu ranges by CIM-XML: %u calls, %.2f s\n",
		      (unsigned long long)n, calls, seconds() - begin);
}

static void nothing_changed_is_an_empty_list_in_cim_xml(void **state)
{
	struct lists lists = {.in_order = true};
	struct reply reply = ask_cimxml(0);

	assert_int_equal(front_result(&reply), 0);
	read_parameter(&reply, "ChangedByteOffsets", &lists, take_offset);
	read_parameter(&reply, "ProcessedByteLength", &lists, take_processed);
	assert_int_equal(lists.offsets, 0);
	assert_int_equal(lists.processed, SIZE);
	assert_non_null(strstr(reply.text, "\"ChangedByteOffsets\""));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    FRONT(a_million_ranges_are_told_in_envelopes_of_153600_octets),
	    FRONT(other_limits_do_as_well),
	    FRONT(what_fits_is_told_at_once),
	    FRONT(without_a_limit_a_reply_has_64_mib),
	    FRONT(nothing_changed_is_no_range),
	    FRONT(a_million_ranges_are_told_by_cim_xml),
	    FRONT(nothing_changed_is_an_empty_list_in_cim_xml),
	};

	return cmocka_run_group_tests_name("ranges", tests, NULL, NULL);
}
