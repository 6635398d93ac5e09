/* SPDX-License-Identifier: Apache-2.0 */
/* Each construct of MOF that the compiler takes, and what becomes of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "schema/test-mof-scene.h"

static void compile(struct scene *scene, const char *text)
{
	if (scene_compile(scene, text) < 0)
		fail_msg("%s", scene->err.text);
}

static struct mof_class *class_of(struct scene *scene, const char *name)
{
	struct mof_class *class = mof_find_class(&scene->mof, name);

	assert_non_null(class);
	return class;
}

/* The items of the default of property NAME of class A. */
static const struct mof_literal *items(struct scene *scene, const char *name)
{
	struct mof_member *m = mof_find_property(class_of(scene, "A"), name);

	assert_non_null(m);
	assert_true(m->value.given);
	return m->value.items;
}

static void test_numbers_are_read_in_every_base(void **state)
{
	static const char text[] =
	    "class A {\n"
	    "uint8 Dec = 255; uint8 Hex = 0xfF; uint8 Bin = 101b;\n"
	    "uint8 Oct = 017; uint8 Zero = 0; uint8 Plus = +7;\n"
	    "sint8 Neg = -128; uint64 Big = 18446744073709551615;\n"
	    "sint64 Low = -9223372036854775808; uint8 MinusZero = -0;\n"
	    "real64 R = -1.5e+2; real32 F = .5; };";
	struct scene scene;

	compile(&scene, text);
	assert_int_equal(items(&scene, "Dec")->magnitude, 255);
	assert_int_equal(items(&scene, "Hex")->magnitude, 255);
	assert_int_equal(items(&scene, "Bin")->magnitude, 5);
	assert_int_equal(items(&scene, "Oct")->magnitude, 15);
	assert_int_equal(items(&scene, "Zero")->magnitude, 0);
	assert_int_equal(items(&scene, "Plus")->magnitude, 7);
	assert_int_equal(items(&scene, "Neg")->magnitude, 128);
	assert_true(items(&scene, "Neg")->negative);
	assert_true(items(&scene, "Big")->magnitude == UINT64_MAX);
	assert_true(items(&scene, "R")->real == -150.0);
	assert_true(items(&scene, "F")->real == 0.5);
	scene_end(&scene);
}

static void test_strings_are_unescaped_and_concatenated(void **state)
{
	static const char text[] =
	    "class A {\n"
	    "string S = \"a\\\"b\\\\\" /* and */ \"\\tc\" // so on\n \"\";\n"
	    "string U = \"\\x41\\xe9\\x20AC.\\b\\n\\f\\r\\'\";\n"
	    "string Raw = \"\xc3\xa9\"; char16 C = '\\x263a'; char16 D = 'd';\n"
	    "datetime T = \"00000000000500.000000:000\";\n"
	    "datetime W = \"20200102******.******+000\"; };";
	struct scene scene;

	compile(&scene, text);
	assert_string_equal(items(&scene, "S")->text, "a\"b\\\tc");
	assert_string_equal(items(&scene, "U")->text,
			    "A\xc3\xa9\xe2\x82\xac.\b\n\f\r'");
	assert_string_equal(items(&scene, "Raw")->text, "\xc3\xa9");
	assert_int_equal(items(&scene, "C")->magnitude, 0x263a);
	assert_int_equal(items(&scene, "D")->magnitude, 'd');
	scene_end(&scene);
}

static void test_arrays_and_null_are_values(void **state)
{
	static const char text[] =
	    "class A { uint8 List[] = {1, 2}; string Empty[] = {};\n"
	    "boolean Yes = TRUE; boolean No = False; string None = NULL;\n"
	    "uint16 Three[3]; string NoArray[] = null; };";
	struct scene scene;
	struct mof_member *m;

	compile(&scene, text);
	assert_int_equal(items(&scene, "List")->next->magnitude, 2);
	assert_null(items(&scene, "List")->next->next);
	assert_null(items(&scene, "Empty"));
	assert_true(items(&scene, "Yes")->boolean);
	assert_false(items(&scene, "No")->boolean);
	assert_int_equal(items(&scene, "None")->kind, MOF_NULL);
	assert_int_equal(items(&scene, "NoArray")->kind, MOF_NULL);
	m = mof_find_property(class_of(&scene, "A"), "three");
	assert_true(m->array);
	assert_int_equal(m->array_max, 3);
	scene_end(&scene);
}

static void test_names_keep_their_case_and_compare_without(void **state)
{
	struct scene scene;

	compile(&scene, "CLASS Aa { STRING sS; };\nclass bB : aA {};");
	assert_string_equal(class_of(&scene, "AA")->name, "Aa");
	assert_ptr_equal(class_of(&scene, "bb")->superclass,
			 class_of(&scene, "aa"));
	assert_string_equal(
	    mof_find_property(class_of(&scene, "BB"), "SS")->name, "sS");
	scene_end(&scene);
}

static void test_members_are_inherited_and_overridden_in_place(void **state)
{
	static const char text[] =
	    "class A { [Key, MaxLen(9)] string K; uint8 N = 4; uint8 O; };\n"
	    "class B : A { uint16 P; [Override(\"n\"), Write] uint8 N; };\n"
	    "class C : B { [Override(\"N\")] uint8 N = 5; };";
	struct scene scene;
	struct mof_class *a, *c;

	compile(&scene, text);
	a = class_of(&scene, "A");
	c = class_of(&scene, "C");
	assert_int_equal(c->property_count, 4);
	assert_string_equal(c->properties[0]->name, "K");
	assert_string_equal(c->properties[1]->name, "N");
	assert_string_equal(c->properties[2]->name, "O");
	assert_string_equal(c->properties[3]->name, "P");
	assert_ptr_equal(c->properties[0], a->properties[0]);
	assert_true(c->properties[0]->key);
	assert_int_equal(c->properties[0]->max_len, 9);
	assert_ptr_equal(c->properties[1]->origin, a);
	assert_ptr_equal(c->properties[1]->declarer, c);
	assert_int_equal(c->properties[1]->value.items->magnitude, 5);
	assert_true(c->properties[1]->write);
	assert_int_equal(
	    class_of(&scene, "B")->properties[1]->value.items->magnitude, 4);
	scene_end(&scene);
}

static void test_qualifiers_travel_as_their_flavor_says(void **state)
{
	static const char text[] =
	    "[Abstract, Description(\"a\"), Revision] class A {\n"
	    "  [Required, Description(\"p\") : Restricted] uint8 P; };\n"
	    "class B : A { [Override(\"P\")] uint8 P; };";
	struct scene scene;
	struct mof_class *b;
	struct mof_qualifier *q;

	compile(&scene, text);
	b = class_of(&scene, "B");
	assert_true(class_of(&scene, "A")->abstract);
	assert_false(b->abstract);
	assert_null(mof_find_qualifier(b->qualifiers, "Abstract"));
	q = mof_find_qualifier(b->qualifiers, "description");
	assert_non_null(q);
	assert_true(q->propagated);
	q = mof_find_qualifier(b->qualifiers, "Revision");
	assert_string_equal(q->value.items->text, "1");
	q = b->properties[0]->qualifiers;
	assert_true(mof_find_qualifier(q, "Required")->propagated);
	assert_false(mof_find_qualifier(q, "Override")->propagated);
	assert_null(mof_find_qualifier(q, "Description"));
	scene_end(&scene);
}

static void test_methods_have_parameters_in_order(void **state)
{
	static const char text[] =
	    "class A {\n"
	    "uint32 M([In, EmbeddedInstance(\"A\")] string S,\n"
	    "  [In(false), Out] A REF R[], [Out] uint8 B[2], uint16 T);\n"
	    "boolean None(); };\n"
	    "class B : A { [Override(\"M\")] uint32 M(string S,\n"
	    "  A REF R[], uint8 B[], uint16 T); };";
	struct scene scene;
	struct mof_method *m;
	struct mof_member *p;

	compile(&scene, text);
	m = mof_find_method(class_of(&scene, "B"), "m");
	assert_ptr_equal(m->origin, class_of(&scene, "A"));
	assert_ptr_equal(m->declarer, class_of(&scene, "B"));
	p = m->parameters;
	assert_ptr_equal(p->embedded, class_of(&scene, "A"));
	assert_true(p->in && !p->out);
	p = p->next;
	assert_ptr_equal(p->ref, class_of(&scene, "A"));
	assert_true(p->array && !p->in && p->out);
	p = p->next;
	assert_true(p->in && p->out);
	p = p->next;
	assert_string_equal(p->name, "T");
	assert_null(p->next);
	m = mof_find_method(class_of(&scene, "B"), "None");
	assert_int_equal(m->result, CIM_BOOLEAN);
	assert_null(m->parameters);
	scene_end(&scene);
}

static void test_references_narrow_to_subclasses(void **state)
{
	static const char text[] =
	    "[Association] class L { [Key] A REF X; [Key] A REF Y; };\n"
	    "class A {}; class B : A {};\n"
	    "[Association] class M : L { [Override(\"X\")] B REF X; };\n"
	    "class N : L {};";
	struct scene scene;

	compile(&scene, text);
	assert_true(class_of(&scene, "M")->association);
	assert_true(class_of(&scene, "N")->association);
	assert_ptr_equal(class_of(&scene, "M")->properties[0]->ref,
			 class_of(&scene, "B"));
	assert_ptr_equal(class_of(&scene, "M")->properties[1]->ref,
			 class_of(&scene, "A"));
	assert_true(class_of(&scene, "M")->properties[0]->key);
	scene_end(&scene);
}

static void test_subclasses_follow_their_superclass(void **state)
{
	static const char text[] =
	    "class Z {}; class Y : Z {}; class M {}; class X : Y {};\n"
	    "class A : Z {};";
	static const char *const order[] = {"M", "Z", "A", "Y", "X"};
	struct scene scene;

	compile(&scene, text);
	for (unsigned i = 0; i < 5; i++) {
		assert_string_equal(scene.mof.by_index[i]->name, order[i]);
		assert_int_equal(scene.mof.by_index[i]->index, i);
	}
	assert_int_equal(class_of(&scene, "Z")->end, 5);
	assert_int_equal(class_of(&scene, "A")->end, 3);
	assert_int_equal(class_of(&scene, "Y")->end, 5);
	scene_end(&scene);
}

static void test_an_included_file_may_be_in_two_namespaces(void **state)
{
	const struct scene_file files[] = {
	    {"main",
	     "#pragma locale (\"en_US\")\n"
	     "#pragma namespace (\"root/x\")\n"
	     "#pragma include (\"lower\")\n"
	     "#pragma namespace (\"root/y\")\n"
	     "#pragma include (\"upper\")\n#pragma include (\"upper\")\n"
	     "#pragma namespace (\"root/z\")\n"
	     "#pragma include (\"lower\")\nclass C {};\n"
	     "#pragma namespace (\"root/x\")\nclass D {};"},
	    {"lower", "class A {};\n#pragma include (\"upper\")\n"
		      "class A2 : B {};"},
	    {"upper", "class B {};"},
	    {NULL, NULL}};
	struct scene scene;

	if (scene_compile_files(&scene, files) < 0)
		fail_msg("%s", scene.err.text);
	assert_int_equal(scene.mof.namespace_count, 3);
	assert_int_equal(class_of(&scene, "A")->namespaces, 5);
	assert_int_equal(class_of(&scene, "A2")->namespaces, 5);
	assert_int_equal(class_of(&scene, "B")->namespaces, 7);
	assert_int_equal(class_of(&scene, "C")->namespaces, 4);
	assert_int_equal(class_of(&scene, "D")->namespaces, 1);
	scene_end(&scene);
}

static void test_value_maps_take_numbers_and_ranges(void **state)
{
	static const char text[] =
	    "class A {\n"
	    "[ValueMap{\"0\", \"1..3\", \"..4\", \"255..\", \"..\"},\n"
	    " Values{\"a\", \"b\", \"c\", \"d\", \"e\"}] uint8 N;\n"
	    "[ValueMap{\"-128..-1\"}] sint8 S; [Values{\"a\"}] uint8 V;\n"
	    "[ValueMap{\"any text\"}] string T; };\n"
	    "class B : A { [Override(\"N\"), ValueMap{\"0\"}, Values{\"a\"}]\n"
	    "uint8 N; };";
	struct scene scene;

	compile(&scene, text);
	scene_end(&scene);
}

static void test_tables_and_manual_hold_what_was_read(void **state)
{
	static const char text[] =
	    "[Description(\"What? \\\"It\\\" <is> A.\")] class A {\n"
	    "[Key] string K; sint64 L = -9223372036854775808;\n"
	    "[ValueMap{\"1\"}, Values{\"one\"}] uint8 N;\n"
	    "[Description(\"Does it.\")] uint32 M([Out] uint8 P); };";
	struct scene scene;

	compile(&scene, text);
	scene_write(&scene);
	assert_non_null(
	    strstr(scene.tables, "\"What\\077 \\042It\\042 <is> A.\""));
	assert_non_null(strstr(scene.tables, "{.sint = INT64_MIN}"));
	assert_non_null(
	    strstr(scene.tables, "const uint32_t schema_class_count = 1;"));
	assert_non_null(strstr(scene.manual, "=head2 A\n"));
	assert_non_null(strstr(scene.manual, "What? \"It\" E<lt>isE<gt> A.\n"));
	assert_non_null(strstr(scene.manual, "Values: 1 = one.\n"));
	assert_non_null(strstr(scene.manual, "=item I<P> uint8, in and out\n"));
	scene_end(&scene);
}

static void test_the_manual_says_what_is_inherited(void **state)
{
	static const char text[] =
	    "[Abstract] class A { uint8 X; uint8 Y; };\n"
	    "class B : A { [EmbeddedObject] string Z; };\n"
	    "class C : B { [EmbeddedInstance(\"A\"), Write] string W[];\n"
	    "uint8 M(A REF P, [In(false), Out] uint8 Q); };\n"
	    "[Association] class L { [Key] A REF F; [Key] B REF T; };\n"
	    "class D { [Values{\"no\", \"yes\"}] uint8 V; };";
	static const char *const pieces[] = {
	    "=head2 abstract A\n\nIn root/a.\n",
	    "=head2 association L\n",
	    "=head2 C : B\n",
	    "=item B<W> string[] (an instance of A), writable\n",
	    "=item B<Z> string (an object)\n",
	    "=item B<F> A REF, key\n",
	    "=item I<P> A REF, in\n",
	    "=item I<Q> uint8, out\n",
	    "From A: X, Y.\n\nFrom B: Z.\n",
	    "Values: 0 = no, 1 = yes.\n",
	};
	struct scene scene;

	compile(&scene, text);
	scene_write(&scene);
	for (size_t i = 0; i < sizeof(pieces) / sizeof(pieces[0]); i++)
		if (!strstr(scene.manual, pieces[i]))
			fail_msg("no %s in:\n%s", pieces[i], scene.manual);
	scene_end(&scene);
}

static void test_an_empty_schema_is_one(void **state)
{
	struct scene scene;

	compile(&scene, "");
	assert_int_equal(scene.mof.class_count, 0);
	scene_end(&scene);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_numbers_are_read_in_every_base),
	    cmocka_unit_test(test_strings_are_unescaped_and_concatenated),
	    cmocka_unit_test(test_arrays_and_null_are_values),
	    cmocka_unit_test(test_names_keep_their_case_and_compare_without),
	    cmocka_unit_test(
		test_members_are_inherited_and_overridden_in_place),
	    cmocka_unit_test(test_qualifiers_travel_as_their_flavor_says),
	    cmocka_unit_test(test_methods_have_parameters_in_order),
	    cmocka_unit_test(test_references_narrow_to_subclasses),
	    cmocka_unit_test(test_subclasses_follow_their_superclass),
	    cmocka_unit_test(test_an_included_file_may_be_in_two_namespaces),
	    cmocka_unit_test(test_value_maps_take_numbers_and_ranges),
	    cmocka_unit_test(test_tables_and_manual_hold_what_was_read),
	    cmocka_unit_test(test_the_manual_says_what_is_inherited),
	    cmocka_unit_test(test_an_empty_schema_is_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
