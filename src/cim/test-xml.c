/* SPDX-License-Identifier: Apache-2.0 */
#include "cim/test-cim.h"

#include <time.h>

#include "cim/writer.h"
#include "cim/xml.h"

static const struct xml_options plain = {0};
static const struct xml_options soap = {.namespaces = true};
static const struct xml_options with_doctype = {.skip_doctype = true};

static int parse_bytes(const void *bytes, size_t length,
		       const struct xml_options *options,
		       const struct xml_node **ret_root)
{
	struct err err = {0};
	int r = xml_parse(arena, bytes, length, options, ret_root, &err);

	assert_int_equal(r, err.code);
	assert_int_equal(r < 0, err.text[0] != '\0');
	return r;
}

static int parse(const char *text, const struct xml_options *options,
		 const struct xml_node **ret_root)
{
	return parse_bytes(text, strlen(text), options, ret_root);
}

static void a_document_becomes_a_tree(void **state)
{
	const struct xml_node *root, *b;

	assert_int_equal(
	    parse("<?xml version=\"1.0\"?>\n<a x='1' y='&lt;&#65;'>\n <b>t<!-- "
		  "c -->u<![CDATA[<&>]]></b>\n <c/><b>  </b></a>",
		  &plain, &root),
	    0);
	assert_string_equal(root->name, "a");
	assert_string_equal(root->text, "");
	assert_int_equal(root->child_count, 3);
	assert_string_equal(xml_attribute(root, NULL, "y"), "<A");
	assert_string_equal(xml_attribute_nocase(root, "X"), "1");
	assert_null(xml_attribute(root, NULL, "X"));
	b = xml_child(root, NULL, "b");
	assert_string_equal(b->text, "tu<&>");
	assert_int_equal(b->text_length, 5);
	assert_ptr_equal(b->parent, root);
	b = xml_sibling(b, NULL, "b");
	assert_string_equal(b->text, "  ");
	assert_string_equal(xml_trimmed(arena, b), "");
	assert_null(xml_sibling(b, NULL, "b"));
}

static void text_beside_elements_is_kept(void **state)
{
	const struct xml_node *root;

	assert_int_equal(parse("<a>one<b>in</b> <b/>two \n</a>", &plain, &root),
			 0);
	assert_string_equal(root->text, "onetwo \n");
	assert_string_equal(root->first->text, "in");
}

static void names_are_resolved_where_asked(void **state)
{
	const char *text = "<s:E xmlns:s='urn:s' xmlns='urn:d' s:m='1' m='2'>"
			   "<x xmlns:q='urn:q' xmlns:s='urn:t' t='q:T'/>"
			   "<y xmlns=''/></s:E>";
	const struct xml_node *root, *x, *y;
	const char *ns, *name;

	assert_int_equal(parse(text, &soap, &root), 0);
	assert_true(xml_is(root, "urn:s", "E"));
	assert_string_equal(xml_attribute(root, "urn:s", "m"), "1");
	assert_string_equal(xml_attribute(root, "", "m"), "2");
	x = xml_child(root, "urn:d", "x");
	assert_non_null(x);
	assert_true(xml_resolve(x, "q:T", &ns, &name));
	assert_string_equal(ns, "urn:q");
	assert_string_equal(name, "T");
	assert_true(xml_resolve(x, "s:T", &ns, &name));
	assert_string_equal(ns, "urn:t");
	assert_true(xml_resolve(root, "s:T", &ns, &name));
	assert_string_equal(ns, "urn:s");
	assert_true(xml_resolve(x, "T", &ns, &name));
	assert_string_equal(ns, "urn:d");
	y = x->next;
	assert_true(xml_is(y, "", "y"));
	assert_true(xml_resolve(y, "T", &ns, &name));
	assert_string_equal(ns, "");
	assert_false(xml_resolve(y, "q:T", &ns, &name));
	assert_int_equal(parse("<s:a/>", &soap, &root), -CIM_EXML);
	assert_int_equal(parse("<s:a/>", &plain, &root), 0);
	assert_string_equal(root->name, "s:a");
}

static void wide(const char *text, bool big, char *ret_bytes)
{
	for (size_t i = 0; text[i]; i++) {
		ret_bytes[2 * i + big] = text[i];
		ret_bytes[2 * i + !big] = '\0';
	}
}

static void utf16_is_read(void **state)
{
	static const char text[] = "..<a>x</a>";
	const struct xml_options told = {.encoding = "UTF-16"};
	const struct xml_node *root;
	char bytes[2 * sizeof(text)];

	wide(text, false, bytes);
	memcpy(bytes, "..\xff\xfe", 4);
	assert_int_equal(
	    parse_bytes(bytes + 2, 2 * (sizeof(text) - 2), &plain, &root), 0);
	assert_string_equal(root->text, "x");
	assert_int_equal(
	    parse_bytes(bytes + 4, 2 * (sizeof(text) - 3), &told, &root), 0);
	assert_string_equal(root->text, "x");
	wide(text, true, bytes);
	memcpy(bytes, "..\xfe\xff", 4);
	assert_int_equal(
	    parse_bytes(bytes + 2, 2 * (sizeof(text) - 2), &plain, &root), 0);
	assert_string_equal(root->text, "x");
}

static void the_declaration_yields_to_the_caller(void **state)
{
	const struct xml_options utf8 = {.encoding = "UTF-8"};
	const struct xml_node *root;

	assert_int_equal(
	    parse("\xef\xbb\xbf<?xml version='1.0' encoding='utf-16'?><a/>",
		  &utf8, &root),
	    0);
	assert_int_equal(parse("<?xml version='1.0' encoding='utf-16'?><a/>",
			       &plain, &root),
			 -CIM_EXMLENCODING);
	assert_int_equal(parse("<?xml version='1.0' encoding='klingon'?><a/>",
			       &plain, &root),
			 -CIM_EXMLENCODING);
	assert_int_equal(
	    parse("<?xml version='1.0' encoding='iso-8859-1'?><a>\xe4</a>",
		  &plain, &root),
	    0);
	assert_string_equal(root->text, "\xc3\xa4");
	assert_int_equal(parse("<a>\xe4</a>", &plain, &root), -CIM_EXML);
}

static void what_is_not_well_formed_is_refused(void **state)
{
	static const char *const samples[] = {"",
					      "x",
					      "<a>",
					      "<a></b>",
					      "<a/><b/>",
					      "<a x=1/>",
					      "<a>&#0;</a>",
					      "<a>\x01</a>",
					      "<a b='' b=''/>",
					      "<a",
					      "<a><![CDATA[</a>"};
	const struct xml_node *root = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(samples); i++)
		assert_int_equal(parse(samples[i], &plain, &root), -CIM_EXML);
	assert_null(root);
}

static void doctypes_are_refused_or_skipped(void **state)
{
	const char *text = "<!DOCTYPE CIM SYSTEM \"file:///etc/passwd\" "
			   "[<!ATTLIST a x CDATA 'added'>]><a>t</a>";
	const struct xml_node *root;

	assert_int_equal(parse(text, &plain, &root), -CIM_EXMLDOCTYPE);
	assert_int_equal(parse(text, &soap, &root), -CIM_EXMLDOCTYPE);
	assert_int_equal(parse(text, &with_doctype, &root), 0);
	assert_string_equal(root->text, "t");
	assert_int_equal(root->attribute_count, 0);
}

static void instructions_are_refused_or_passed_over(void **state)
{
	static const char *const samples[] = {
	    "<?x?><a>t</a>", "<a>t<?xml-stylesheet href='b'?></a>",
	    "<?xml version='1.0'?><a>t</a><?x?>"};
	const struct xml_options none = {.no_instructions = true};
	const struct xml_node *root;

	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		assert_int_equal(parse(samples[i], &none, &root),
				 -CIM_EXMLDOCTYPE);
		assert_int_equal(parse(samples[i], &plain, &root), 0);
		assert_string_equal(root->text, "t");
	}
	assert_int_equal(parse("<?xml version='1.0'?><a>t</a>", &none, &root),
			 0);
}

static void entities_are_never_resolved(void **state)
{
	static const char *const samples[] = {
	    "<!DOCTYPE a [<!ENTITY e 'x'>]><a>&e;</a>",
	    "<!DOCTYPE a [<!ENTITY e 'x'>]><a b='&e;'/>",
	    "<!DOCTYPE a [<!ENTITY e SYSTEM '/etc/passwd'>]><a>&e;</a>",
	    "<!DOCTYPE a [<!ENTITY % p SYSTEM 'http://x/'> %p;]><a/>",
	    "<!DOCTYPE a [<!ENTITY a 'aa'><!ENTITY b '&a;&a;'>]><a>&b;</a>",
	    "<!DOCTYPE a SYSTEM 'x'><a>&e;</a>",
	    "<!DOCTYPE a [<!ELEMENT a ANY>]><a>&e;</a>",
	    "<a>&e;</a>",
	};
	const struct xml_node *root = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(samples); i++)
		assert_int_equal(parse(samples[i], &with_doctype, &root),
				 -CIM_EXMLENTITY);
	assert_null(root);
}

/* HEAD, N times BODY, TAIL. */
static char *repeated(const char *head, size_t n, const char *body,
		      const char *tail)
{
	size_t one = strlen(body);
	char *text = malloc(strlen(head) + n * one + strlen(tail) + 1);
	char *p = stpcpy(text, head);

	assert_non_null(text);
	if (one == 1)
		memset(p, body[0], n);
	for (size_t i = 0; one > 1 && i < n; i++)
		memcpy(p + i * one, body, one);
	(void)stpcpy(p + n * one, tail);
	return text;
}

static void expect_of(char *text, const struct xml_options *options, int code)
{
	const struct xml_node *root;

	assert_int_equal(parse(text, options, &root), code);
	free(text);
}

static char *nested(unsigned depth)
{
	char *open = repeated("", depth, "<a>", "");
	char *text = repeated(open, depth, "</a>", "");

	free(open);
	return text;
}

static char *attributes(unsigned n)
{
	char *text = malloc(n * 16 + 16), *p = stpcpy(text, "<a");

	for (unsigned i = 0; i < n; i++)
		p += sprintf(p, " a%u=''", i);
	(void)stpcpy(p, "/>");
	return text;
}

static void each_bound_has_its_own_error(void **state)
{
	const struct xml_options big = {.max_bytes = MIB(200)};
	const struct xml_options small = {.max_bytes = 8};

	expect_of(nested(CIM_XML_DEPTH_MAX), &plain, 0);
	expect_of(nested(CIM_XML_DEPTH_MAX + 1), &plain, -CIM_EXMLDEPTH);
	expect_of(nested(10000), &soap, -CIM_EXMLDEPTH);
	expect_of(attributes(CIM_XML_ATTRIBUTES_MAX), &plain, 0);
	expect_of(attributes(CIM_XML_ATTRIBUTES_MAX + 1), &plain,
		  -CIM_EXMLATTRIBUTES);
	expect_of(repeated("<a>", CIM_XML_ELEMENTS_MAX, "<b/>", "</a>"), &plain,
		  -CIM_EXMLELEMENTS);
	expect_of(repeated("<a>", CIM_XML_TEXT_MAX, "x", "</a>"), &plain, 0);
	expect_of(repeated("<a>", CIM_XML_TEXT_MAX + 1, "x", "</a>"), &plain,
		  -CIM_EXMLTEXT);
	expect_of(repeated("<a b='", CIM_XML_TEXT_MAX + 1, "x", "'/>"), &plain,
		  -CIM_EXMLTEXT);
	expect_of(repeated("<", CIM_XML_NAME_MAX + 1, "x", "/>"), &plain,
		  -CIM_EXMLNAME);
	expect_of(repeated("<a>", 1, "xx", "</a>"), &small, -CIM_EXMLBYTES);
	expect_of(repeated("<a>", 0, "", "</a>"), &small, 0);
	expect_of(repeated("<a>", MIB(100), " ", "</a>"), &plain,
		  -CIM_EXMLBYTES);
	expect_of(repeated("<a>", MIB(100), " ", "</a>"), &big, -CIM_EXMLTEXT);
}

static void a_tree_that_does_not_fit_is_refused(void **state)
{
	struct arena *a = arena_new(KIB(64));
	char *text = repeated("<a>", 5000, "<b c='d'>e</b>", "</a>");
	const struct xml_node *root = NULL;

	assert_int_equal(xml_parse(a, text, strlen(text), &plain, &root, NULL),
			 -CIM_ELIMITS);
	assert_null(root);
	free(text);
	arena_free(a);
}

/* ---- writing ------------------------------------------------------------ */

static void expect_written(struct xml_out *out, const char *text)
{
	char *bytes = NULL;
	size_t length;

	assert_int_equal(xml_finish(out, &bytes, &length, NULL), 0);
	assert_string_equal(bytes, text);
	assert_int_equal(length, strlen(text));
	free(bytes);
}

static void what_is_written_is_escaped(void **state)
{
	struct xml_out out;

	xml_init(&out, 10000, false);
	xml_open(&out, "A");
	xml_put_attribute(&out, "B", "<&>\"'\n\t\r\x01");
	xml_element(&out, "C", "<&>\"'\n\t\r]]>\x7f");
	xml_put_number(&out, UINT64_MAX);
	xml_open(&out, "E");
	xml_close(&out);
	xml_open(&out, "F");
	xml_close_empty(&out);
	xml_open(&out, "p:G.H-I");
	xml_put_text(&out, "");
	xml_close_empty(&out);
	xml_close(&out);
	expect_written(
	    &out, "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n"
		  "<A B=\"&lt;&amp;&gt;&quot;'&#10;&#9;&#13;\xef\xbf\xbd\">"
		  "<C>&lt;&amp;&gt;&quot;'\n\t&#13;]]&gt;\x7f</C>"
		  "18446744073709551615<E></E><F/>"
		  "<p:G.H-I></p:G.H-I></A>");
}

static void what_xml_cannot_hold_is_replaced(void **state)
{
	static const struct {
		const char *text, *as;
	} samples[] = {
	    {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80",
	     "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"},
	    {"\xff", "?"},
	    {"\x80z", "?z"},
	    {"\xc3", "?"},
	    {"\xc3z", "?z"},
	    {"\xe2\x82", "??"},
	    {"\xc0\x80", "??"},
	    {"\xe0\x80\x80", "???"},
	    {"\xed\xa0\x80", "???"},
	    {"\xf4\x90\x80\x80", "????"},
	    {"\xf5\x80\x80\x80", "????"},
	    {"\xef\xbf\xbe", "???"},
	    {"\xef\xbf\xbf", "???"},
	    {"\x1b[31m", "?[31m"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		char expected[64], *p = expected;
		struct xml_out out;

		for (const char *c = samples[i].as; *c; c++)
			p = *c == '?' ? stpcpy(p, "\xef\xbf\xbd")
				      : stpncpy(p, c, 1);
		*p = '\0';
		xml_init(&out, 1000, true);
		xml_put_text(&out, samples[i].text);
		expect_written(&out, expected);
	}
}

static void any_bytes_come_out_as_well_formed(void **state)
{
	const char *given = getenv("SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 0)
			      : (unsigned)(uintptr_t)arena ^ (unsigned)clock();

	print_message("SEED=%u\n", seed);
	for (unsigned round = 0; round < 2000; round++) {
		const struct xml_node *root;
		struct xml_out out;
		char junk[40], *bytes = NULL;
		size_t length;

		for (unsigned i = 0; i < sizeof(junk) - 1; i++)
			junk[i] = (char)(1 + rand_r(&seed) % 255);
		junk[sizeof(junk) - 1] = '\0';
		xml_init(&out, 10000, false);
		xml_open(&out, "A");
		xml_put_attribute(&out, "B", junk);
		xml_put_text(&out, junk);
		xml_close(&out);
		assert_int_equal(xml_finish(&out, &bytes, &length, NULL), 0);
		assert_int_equal(parse_bytes(bytes, length, &plain, &root), 0);
		assert_string_equal(root->text, xml_attribute(root, NULL, "B"));
		free(bytes);
	}
}

static void misuse_is_a_failure_and_no_bad_xml(void **state)
{
	static const char *const names[] = {"",    "a b", "1a",  "a>",
					    "a\"", "-a",  "\xff"};
	struct xml_out out;
	char *bytes = NULL;
	size_t length;

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		xml_init(&out, 1000, false);
		xml_open(&out, names[i]);
		xml_close(&out);
		assert_int_equal(xml_finish(&out, &bytes, &length, NULL),
				 -CIM_EFAILED);
	}
	xml_init(&out, 1000, false);
	xml_open(&out, "a");
	assert_int_equal(xml_finish(&out, &bytes, &length, NULL), -CIM_EFAILED);
	xml_init(&out, 1000, false);
	xml_put_text(&out, "outside");
	assert_int_equal(xml_finish(&out, &bytes, &length, NULL), -CIM_EFAILED);
	xml_init(&out, 1000, false);
	xml_open(&out, "a");
	xml_put_text(&out, "x");
	xml_put_attribute(&out, "late", "x");
	xml_close(&out);
	assert_int_equal(xml_finish(&out, &bytes, &length, NULL), -CIM_EFAILED);
	xml_init(&out, 1000, false);
	xml_close(&out);
	assert_int_equal(xml_finish(&out, &bytes, &length, NULL), -CIM_EFAILED);
	assert_null(bytes);
}

static void the_limit_holds_and_can_be_taken_back(void **state)
{
	struct xml_out out;
	struct xml_mark mark;
	unsigned items = 0;
	char *bytes = NULL;
	size_t length;

	xml_init(&out, 200, true);
	xml_open(&out, "List");
	for (;;) {
		mark = xml_mark(&out);
		xml_element(&out, "Item", "0123456789");
		if (out.error || xml_room(&out) == 0)
			break;
		items++;
	}
	xml_rewind(&out, mark);
	xml_close(&out);
	assert_int_equal(xml_finish(&out, &bytes, &length, NULL), 0);
	assert_int_equal(length, 13 + items * 23);
	assert_in_range(length, 200 - 23, 200);
	free(bytes);
	bytes = NULL;
	xml_init(&out, 12, true);
	xml_element(&out, "List", "");
	assert_int_equal(xml_finish(&out, &bytes, &length, NULL),
			 -CIM_EREPLYBYTES);
	assert_null(bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(a_document_becomes_a_tree),
	    TEST(text_beside_elements_is_kept),
	    TEST(names_are_resolved_where_asked),
	    TEST(utf16_is_read),
	    TEST(the_declaration_yields_to_the_caller),
	    TEST(what_is_not_well_formed_is_refused),
	    TEST(doctypes_are_refused_or_skipped),
	    TEST(instructions_are_refused_or_passed_over),
	    TEST(entities_are_never_resolved),
	    TEST(each_bound_has_its_own_error),
	    TEST(a_tree_that_does_not_fit_is_refused),
	    TEST(what_is_written_is_escaped),
	    TEST(what_xml_cannot_hold_is_replaced),
	    TEST(any_bytes_come_out_as_well_formed),
	    TEST(misuse_is_a_failure_and_no_bad_xml),
	    TEST(the_limit_holds_and_can_be_taken_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
