/* SPDX-License-Identifier: Apache-2.0 */
/* Each error of the MOF compiler, with its place and what it expected. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "schema/test-mof-scene.h"

struct error_case {
	const char *text;
	const char *error; /* after "t.mof:" */
};

#define CLASS(body)   "class A {\n" body "\n};\n"
#define BASE          "class B { [Key] string K; uint8 N; };\n"
#define DERIVED(body) BASE "class A : B {\n" body "\n};\n"
#define LINK(body)    BASE "[Association] class L {\n" body "\n};\n"
#define DIGITS_66                                                              \
	"123456789012345678901234567890123456789012345678901234567890123456"
#define LETTERS_64                                                             \
	"abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijkl"
static const struct error_case words[] = {
    {"/* no end", "1:1: expected '*/' to end this comment"},
    {"class A\n  \"no end\n", "2:3: expected '\"' to end this string"},
    {CLASS("string S = \"a\\q\";"),
     "2:15: expected one of b t n f r \" ' \\ x after '\\'"},
    {CLASS("string S = \"\\xg\";"),
     "2:15: expected the hexadecimal number of a character"},
    {CLASS("string S = \"\\x0\";"),
     "2:15: expected the hexadecimal number of a character"},
    {CLASS("string S = \"\\xd800\";"),
     "2:15: expected the hexadecimal number of a character"},
    {CLASS("char16 C = '';"), "2:12: expected one ASCII character or escape"},
    {CLASS("char16 C = 'ab';"), "2:14: expected ' to end this character"},
    {CLASS("uint8 N = 08;"), "2:11: expected a number of base 8"},
    {CLASS("uint8 N = 12b;"), "2:11: expected a number of base 2"},
    {CLASS("uint8 N = 0xg;"), "2:11: expected a number of base 16"},
    {CLASS("uint8 N = 1x;"), "2:11: expected a number of base 10"},
    {CLASS("uint8 N = -;"), "2:11: expected a number"},
    {CLASS("uint64 N = 18446744073709551616;"),
     "2:12: expected a number of 64 bits"},
    {CLASS("uint64 N = " DIGITS_66 ";"), "2:12: expected a number"},
    {CLASS("real32 R = 1.e;"), "2:12: expected a real number like 1.0e3"},
    {CLASS("real32 R = 1.0e;"), "2:12: expected a real number like 1.0e3"},
    {CLASS("string S = %;"), "2:12: no word of MOF begins with byte 0x25"},
    {"#prag", "1:1: expected \"#pragma\""},
    {"\n\xc3(", "2:1: expected UTF-8"},
    {"\xff", "1:1: expected UTF-8"},
    {"class " LETTERS_64 LETTERS_64 " {};",
     "1:7: expected a name of less than 128 characters"},

};

static const struct error_case grammar[] = {
    {"instance of A {};",
     "1:1: expected a pragma, a qualifier declaration or a class, not "
     "\"instance\""},
    {"[Abstract] qualifier", "1:12: expected \"class\", not \"qualifier\""},
    {"class {", "1:7: expected a class's name, not '{'"},
    {"class A : {", "1:11: expected a superclass, not '{'"},
    {"class A B", "1:9: expected '{', not \"B\""},
    {"class A {", "1:10: expected a type, not the end of the file"},
    {"class A {}", "1:11: expected ';', not the end of the file"},
    {CLASS("integer N;"), "2:1: expected a type, not \"integer\""},
    {CLASS("B N;"), "2:1: expected a type, not \"B\""},
    {CLASS("B = 1;"), "2:3: expected \"REF\", not '='"},
    {CLASS("string;"), "2:7: expected a name, not ';'"},
    {CLASS("string S"), "3:1: expected ';', not '}'"},
    {CLASS("string S[;"), "2:10: expected ']', not ';'"},
    {CLASS("string S[0];"), "2:10: expected a number of elements"},
    {CLASS("string S = ;"), "2:12: expected a value, not ';'"},
    {CLASS("string S = maybe;"), "2:12: expected a value, not \"maybe\""},
    {CLASS("string S[] = {\"a\" \"b\", 1 2};"),
     "2:26: expected ',' or '}', not a number"},
    {CLASS("string S[] = {\"a\",};"), "2:19: expected a value, not '}'"},
    {CLASS("uint8 M("), "3:1: expected a type, not '}'"},
    {CLASS("uint8 M(string);"), "2:15: expected a parameter's name, not ')'"},
    {CLASS("uint8 M(string A string B);"),
     "2:18: expected ',' or ')', not \"string\""},
    {CLASS("uint8 M(string A,);"), "2:18: expected a type, not ')'"},
    {CLASS("A REF M();"), "2:7: a method cannot return a reference"},
    {"[] class A {};", "1:2: expected a qualifier, not ']'"},
    {"[Abstract class A {};", "1:11: expected ',' or ']', not \"class\""},
    {"[Abstract(true] class A {};", "1:15: expected ')', not ']'"},
    {"[Abstract : Sticky] class A {};",
     "1:13: expected a flavor, not \"Sticky\""},
    {"[Abstract : ] class A {};", "1:13: expected a flavor, not ']'"},
    {"[Abstract, abstract] class A {};",
     "1:12: qualifier abstract is here twice"},
    {"Qualifier : string;", "1:11: expected a qualifier's name, not ':'"},
    {"Qualifier Q string;", "1:13: expected ':', not \"string\""},
    {"Qualifier Q : text;", "1:15: expected a type, not \"text\""},
    {"Qualifier Q : string;", "1:21: expected ',', not ';'"},
    {"Qualifier Q : string, Flavor(Restricted);",
     "1:23: expected \"Scope\", not \"Flavor\""},
    {"Qualifier Q : string, Scope any;", "1:29: expected '(', not \"any\""},
    {"Qualifier Q : string, Scope(schema);",
     "1:29: expected a scope, not \"schema\""},
    {"Qualifier Q : string, Scope(any), any;",
     "1:35: expected \"Flavor\", not \"any\""},
    {"Qualifier Q : string, Scope(any), Flavor Restricted;",
     "1:42: expected '(', not \"Restricted\""},
    {"Qualifier Q : string, Scope(any), Flavor();",
     "1:42: expected a flavor, not ')'"},
    {"Qualifier Key : boolean, Scope(any);",
     "1:11: qualifier Key is declared twice"},
    {"#pragma (\"a\")", "1:9: expected a pragma's name, not '('"},
    {"#pragma include \"a\"", "1:17: expected '(', not a string"},
    {"#pragma include (a)", "1:18: expected a string, not \"a\""},
    {"#pragma source (\"a\")",
     "1:9: expected the pragma namespace, include or locale"},
    {"#pragma namespace (\"root/b\")",
     "1:20: expected no namespace in an included file"},
    {"\n#pragma include (\"t.mof\")", "2:18: \"t.mof\" includes itself"},
    {"#pragma include (\"main.mof\")", "1:18: \"main.mof\" includes itself"},
};

static const struct error_case meaning[] = {
    {"class A {}; class a {};", "1:19: class a is declared twice"},
    {"class A : B {}; class B {};",
     "1:11: expected a superclass that is declared before, not B"},
    {"class A : A {};",
     "1:11: expected a superclass that is declared before, not A"},
    {CLASS("string S; uint8 s;"), "2:17: s is declared twice"},
    {CLASS("string S; uint8 S();"), "2:17: S is declared twice"},
    {CLASS("uint8 S(); uint8 s();"), "2:18: s is declared twice"},
    {"class B { uint8 M(); }; class A : B { string M; };",
     "1:46: M is declared twice"},
    {CLASS("uint8 M(string P, uint8 p);"), "2:25: p is declared twice"},
    {DERIVED("uint8 N;"),
     "3:7: N is inherited: expected the qualifier Override"},
    {DERIVED("[Override(\"N\")] uint16 N;"),
     "3:24: N overrides another type: expected uint8"},
    {DERIVED("[Override(\"N\")] uint8 N[];"),
     "3:23: N overrides another type: expected uint8"},
    {DERIVED("[Override(\"K\")] uint8 N;"),
     "3:2: Override: expected the name \"N\""},
    {DERIVED("[Override(\"X\")] uint8 X;"),
     "3:2: Override: no superclass has a X"},
    {DERIVED("[Key] string J;"),
     "3:14: key J: the superclass B has its own keys"},
    {DERIVED("[Key, Override(\"N\")] uint8 N;"),
     "3:28: key N: the superclass B has its own keys"},
    {DERIVED("[Key(false), Override(\"K\")] string K;"),
     "3:2: qualifier Key: expected the inherited value, which no subclass may "
     "change"},
    {CLASS("[Key] string K[];"), "2:14: key K: expected a simple type"},
    {CLASS("[Key, EmbeddedObject] string K;"),
     "2:30: key K: expected a simple type"},
    {CLASS("[Sticky] string S;"),
     "2:2: expected a qualifier that is declared, not Sticky"},
    {CLASS("[Abstract] string S;"),
     "2:2: qualifier Abstract: not allowed at a property"},
    {"[Key] class A {};", "1:2: qualifier Key: not allowed at a class"},
    {LINK("[Read] B REF X; B REF Y;"),
     "3:2: qualifier Read: not allowed at a reference"},
    {BASE "[Association, Revision] class L { B REF X; B REF Y; };",
     "2:15: qualifier Revision: not allowed at an association"},
    {CLASS("[Key] uint8 M();"), "2:2: qualifier Key: not allowed at a method"},
    {CLASS("uint8 M([Key] string P);"),
     "2:10: qualifier Key: not allowed at a parameter"},
    {CLASS("[MaxLen(\"a\")] string S;"),
     "2:9: expected a value of type uint32"},
    {CLASS("[MaxLen{1}] string S;"), "2:8: expected one value"},
    {CLASS("[Values(\"a\")] uint8 N;"), "2:9: expected a list in braces"},
    {CLASS("[Values] uint8 N;"), "2:2: qualifier Values: expected a value"},
    {CLASS("[MaxLen(4)] uint8 N;"), "2:2: MaxLen: N is no string"},
    {CLASS("[MaxLen(4294967296)] string S;"),
     "2:9: expected a value of type uint32"},
    {"Qualifier Q : uint8 = 300, Scope(any);",
     "1:23: expected a value of type uint8"},
    {CLASS("uint8 N = 256;"), "2:11: expected a value of type uint8"},
    {CLASS("uint8 N = -1;"), "2:11: expected a value of type uint8"},
    {CLASS("sint8 N = 128;"), "2:11: expected a value of type sint8"},
    {CLASS("sint8 N = -129;"), "2:11: expected a value of type sint8"},
    {CLASS("sint64 N = 9223372036854775808;"),
     "2:12: expected a value of type sint64"},
    {CLASS("boolean B = 1;"), "2:13: expected a value of type boolean"},
    {CLASS("real32 R = 1;"), "2:12: expected a value of type real32"},
    {CLASS("string S = 'a';"), "2:12: expected a value of type string"},
    {CLASS("char16 C = \"a\";"), "2:12: expected a value of type char16"},
    {CLASS("datetime D = \"20200101000000\";"),
     "2:14: expected a value of type datetime"},
    {CLASS("datetime D = \"00000000000500.000000:001\";"),
     "2:14: expected a value of type datetime"},
    {CLASS("uint8 N[] = {1, 256};"), "2:17: expected a value of type uint8"},
    {CLASS("uint8 N[] = {1, null};"), "2:17: expected a value of type uint8"},
    {CLASS("uint8 N[] = 1;"), "2:13: expected a list in braces"},
    {CLASS("[ValueMap{\"1\", \"2\"}, Values{\"a\"}] uint8 N;"),
     "2:22: expected as many Values as the ValueMap has: 2, not 1"},
    {"class B { [ValueMap{\"1\"}, Values{\"a\"}] uint8 N; };\n"
     "class A : B { [Override(\"N\"), ValueMap{\"1\", \"2\"}] uint8 N; };",
     "2:31: expected as many Values as the ValueMap has: 2, not 1"},
    {CLASS("[ValueMap{\"1\", \"1\"}] uint8 N;"), "2:16: \"1\" is mapped twice"},
    {CLASS("[ValueMap{\"256\"}] uint8 N;"),
     "2:11: expected a decimal number or a range of type uint8"},
    {CLASS("[ValueMap{\"0x10\"}] uint8 N;"),
     "2:11: expected a decimal number or a range of type uint8"},
    {CLASS("[ValueMap{\"-1\"}] uint8 N;"),
     "2:11: expected a decimal number or a range of type uint8"},
    {CLASS("[ValueMap{\"-129\"}] sint8 N;"),
     "2:11: expected a decimal number or a range of type sint8"},
    {CLASS("[ValueMap{\"\"}] uint8 N;"),
     "2:11: expected a decimal number or a range of type uint8"},
    {CLASS("[ValueMap{\"1...\"}] uint8 N;"),
     "2:11: expected a decimal number or a range of type uint8"},
    {LINK("B REF X; C REF Y;"), "3:16: reference Y: expected a class, not C"},
    {LINK("B REF X;"), "2:21: association L: expected two references"},
    {CLASS("A REF X; A REF Y;"),
     "2:7: reference X: expected an association to have it, and no array"},
    {LINK("B REF X[]; B REF Y;"),
     "3:7: reference X: expected an association to have it, and no array"},
    {LINK("B REF X; B REF Y;") "class C {};\n[Association] class M : L {\n"
			       "[Override(\"X\")] C REF X;\n};",
     "7:23: reference X: expected B or a subclass"},
    {BASE "[Association] class L : B {};",
     "2:21: association L: expected an association as superclass"},
    {CLASS("uint8 M(C REF P);"), "2:15: reference P: expected a class, not C"},
    {CLASS("[EmbeddedInstance(\"C\")] string S;"),
     "2:19: expected a class to be embedded, not C"},
    {CLASS("[EmbeddedObject] uint8 N;"),
     "2:24: expected a string to embed an object in"},
    {CLASS("[EmbeddedInstance(\"A\")] uint8 N;"),
     "2:31: expected a string to embed an object in"},
    {CLASS("uint8 M([In(false)] string P);"),
     "2:28: parameter P: expected In or Out"},
};

#define METHOD_BASE "class B { uint8 M(string P, B REF Q); };\n"
#define METHOD(m)   METHOD_BASE "class A : B {\n[Override(\"M\")] " m "\n};"

static const struct error_case overrides[] = {
    {METHOD_BASE "class A : B {\nuint8 M();\n};",
     "3:7: M is inherited: expected the qualifier Override"},
    {METHOD("uint16 M(string P, B REF Q);"),
     "3:24: M overrides another type: expected uint8"},
    {METHOD("uint8 M(string P);"),
     "3:23: method M: expected the overridden method's parameter Q"},
    {METHOD("uint8 M(string P, B REF Q, string R);"),
     "3:51: parameter R: the overridden method has none like it"},
    {METHOD("uint8 M(B REF Q, string P);"),
     "3:31: parameter Q: expected the overridden method's string P"},
    {METHOD("uint8 M(uint8 P, B REF Q);"),
     "3:31: parameter P: expected the overridden method's string P"},
    {"class C {};\n" METHOD("uint8 M(string P, C REF Q);"),
     "4:41: parameter Q: expected the overridden method's B REF Q"},
};

static void check_cases(const struct error_case *cases, size_t count)
{
	unsigned wrong = 0;

	for (size_t i = 0; i < count; i++) {
		struct scene scene;
		char error[ERR_TEXT_BYTES];

		snprintf(error, sizeof(error), "t.mof:%s", cases[i].error);
		if (scene_compile(&scene, cases[i].text) != -RP_EPARAM ||
		    strcmp(scene.err.text, error) != 0) {
			print_error("in: %s\nexpected: %s\ngot:      %s\n",
				    cases[i].text, error, scene.err.text);
			wrong++;
		}
		scene_end(&scene);
	}
	assert_int_equal(wrong, 0);
}

#define CHECK(cases) check_cases(cases, sizeof(cases) / sizeof(cases[0]))

static void test_words_that_end_badly_are_named(void **state)
{
	CHECK(words);
}

static void test_what_the_grammar_expects_is_said(void **state)
{
	CHECK(grammar);
}

static void test_what_makes_no_sense_is_refused(void **state)
{
	CHECK(meaning);
}

static void test_an_override_has_the_same_signature(void **state)
{
	CHECK(overrides);
}

static void expect_files(const struct scene_file *files, int code,
			 const char *error)
{
	struct scene scene;

	assert_int_equal(scene_compile_files(&scene, files), code);
	assert_string_equal(scene.err.text, error);
	scene_end(&scene);
}

static void test_the_first_file_is_checked_as_well(void **state)
{
	const struct scene_file none[] = {{"a", "class A {};"}, {NULL, NULL}};
	const struct scene_file bad[] = {
	    {"a", "#pragma namespace (\"Root\\\\a\")"}, {NULL, NULL}};
	const struct scene_file wide[] = {
	    {"a", "Qualifier MaxLen : sint64, Scope(property);\n"
		  "#pragma namespace (\"x\")\n"
		  "class A { [MaxLen(-1)] string S; };"},
	    {NULL, NULL}};
	const struct scene_file missing[] = {{"a", "#pragma include (\"b\")"},
					     {NULL, NULL}};

	expect_files(none, -RP_EPARAM,
		     "a:1:1: expected a pragma namespace before a class");
	expect_files(bad, -RP_EPARAM,
		     "a:1:20: expected a namespace of lower-case letters, "
		     "digits, '_' and '/'");
	expect_files(wide, -RP_EPARAM, "a:3:12: MaxLen: expected 32 bits");
	expect_files(missing, -ENOENT, "open 'b': No such file or directory");
}

static void test_a_class_lives_where_what_it_names_does(void **state)
{
	const struct scene_file super[] = {
	    {"a", "#pragma namespace (\"x\")\nclass B {};\n"
		  "#pragma namespace (\"y\")\nclass A : B {};"},
	    {NULL, NULL}};
	const struct scene_file ref[] = {
	    {"a", "#pragma namespace (\"x\")\nclass B {};\n"
		  "#pragma namespace (\"y\")\n"
		  "class A { uint8 M(B REF P); };"},
	    {NULL, NULL}};

	expect_files(super, -RP_EPARAM, "a:4:11: expected B to be in y, too");
	expect_files(ref, -RP_EPARAM, "a:4:25: expected B to be in y, too");
}

/* Repeats PIECE, in which %d is the number, between HEAD and TAIL. */
static char *repeated(const char *head, const char *piece, int count,
		      const char *tail)
{
	char *text = NULL;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);

	assert_non_null(out);
	fputs(head, out);
	for (int i = 0; i < count; i++) {
		for (const char *p = piece; *p; p++) {
			if (*p == '%')
				fprintf(out, "%d", i);
			else
				fputc(*p, out);
		}
	}
	fputs(tail, out);
	assert_int_equal(fclose(out), 0);
	return text;
}

static void expect_limit(const char *head, const char *piece, int count,
			 const char *tail, const char *error)
{
	struct scene scene;
	char *text = repeated(head, piece, count, tail);

	assert_int_equal(scene_compile(&scene, text), 0);
	scene_end(&scene);
	free(text);
	text = repeated(head, piece, count + 1, tail);
	assert_int_equal(scene_compile(&scene, text), -RP_EPARAM);
	assert_non_null(strstr(scene.err.text, error));
	scene_end(&scene);
	free(text);
}

static void test_limits_are_the_stated_ones(void **state)
{
	expect_limit("class A {", "uint8 N%;", MOF_MEMBERS_MAX, "};",
		     "expected at most 512 members");
	expect_limit("class B { uint8 M; };\nclass A : B {", "uint8 N%;",
		     MOF_MEMBERS_MAX - 1, "};",
		     "expected at most 512 members, inherited ones included");
	expect_limit("class B { uint8 N(); };\nclass A : B {", "uint8 M%();",
		     MOF_MEMBERS_MAX - 1, "};",
		     "expected at most 512 methods, inherited ones included");
	expect_limit("class A { uint8 M(uint8 P", ", uint8 P%",
		     MOF_PARAMETERS_MAX - 1, "); };",
		     "expected at most 32 parameters");
	expect_limit("class A { uint8 N[] = { 0", ", 1", MOF_ITEMS_MAX - 1,
		     "}; };", "expected at most 512 items");
	expect_limit("class A { string S = \"", "a", MOF_TEXT_BYTES_MAX,
		     "\"; };", "expected a string of at most 4000 bytes");
	expect_limit("class A { string S = ", "\"0123456789\"",
		     MOF_TEXT_BYTES_MAX / 10, "; };",
		     "expected a string of at most 4000 bytes");
	expect_limit("", "class A% {};", MOF_CLASSES_MAX, "",
		     "expected at most 1024 classes");
}

static void test_an_element_has_few_qualifiers(void **state)
{
	char *own = repeated("", "Qualifier Q% : boolean, Scope(class);\n",
			     MOF_QUALIFIERS_MAX + 2, "[Q32");
	char *both =
	    repeated("", "Qualifier Q% : boolean, Scope(class);\n",
		     MOF_QUALIFIERS_MAX + 2, "[Q32, Q33] class B {}; [Q32");

	expect_limit(own, ", Q%", MOF_QUALIFIERS_MAX - 1, "] class A {};",
		     "expected at most 32 qualifiers");
	expect_limit(both, ", Q%", MOF_QUALIFIERS_MAX - 2, "] class A : B {};",
		     "expected at most 32 qualifiers, inherited ones "
		     "included");
	free(own);
	free(both);
}

static void test_inheritance_is_not_deep(void **state)
{
	struct scene scene;
	char text[4096] = "class A0 {};\n";
	size_t length = strlen(text);

	for (int i = 1; i <= MOF_INHERITANCE_MAX; i++) {
		int rc = scene_compile(&scene, text);

		assert_int_equal(rc, 0);
		scene_end(&scene);
		length += (size_t)snprintf(text + length, sizeof(text) - length,
					   "class A%d : A%d {};\n", i, i - 1);
	}
	assert_int_equal(scene_compile(&scene, text), -RP_EPARAM);
	assert_string_equal(
	    scene.err.text,
	    "t.mof:17:13: expected at most 16 levels of inheritance");
	scene_end(&scene);
}

/* Compiles "f0", of which file N includes file N + 1, up to COUNT files. */
static int compile_chain(struct scene *scene, unsigned count)
{
	static char names[MOF_INCLUDE_DEPTH + 4][8];
	static char texts[MOF_INCLUDE_DEPTH + 4][40];
	struct scene_file files[MOF_INCLUDE_DEPTH + 4] = {{NULL, NULL}};

	for (unsigned i = 0; i < count; i++) {
		snprintf(names[i], sizeof(names[i]), "f%u", i);
		snprintf(texts[i], sizeof(texts[i]),
			 "#pragma include (\"f%u\")", i + 1);
		files[i] = (struct scene_file){names[i], texts[i]};
	}
	files[count - 1].text = "";
	return scene_compile_files(scene, files);
}

static void test_includes_are_not_deep(void **state)
{
	struct scene scene;

	assert_int_equal(compile_chain(&scene, MOF_INCLUDE_DEPTH + 1), 0);
	scene_end(&scene);
	assert_int_equal(compile_chain(&scene, MOF_INCLUDE_DEPTH + 2),
			 -RP_EPARAM);
	assert_string_equal(scene.err.text,
			    "f4:1:18: expected includes at most 4 deep");
	scene_end(&scene);
}

static void test_files_and_namespaces_are_counted(void **state)
{
	static char names[MOF_FILES_MAX + 1][8];
	struct scene_file files[MOF_FILES_MAX + 2] = {{NULL, NULL}};
	char *text;

	for (unsigned i = 1; i <= MOF_FILES_MAX; i++) {
		snprintf(names[i], sizeof(names[i]), "f%u", i - 1);
		files[i] = (struct scene_file){names[i], ""};
	}
	text = repeated("", "#pragma include (\"f%\")\n", MOF_FILES_MAX, "");
	files[0] = (struct scene_file){"a", text};
	expect_files(files, -RP_EPARAM, "a:64:18: expected at most 64 files");
	free(text);
	text = repeated("", "#pragma namespace (\"n%\")\n",
			MOF_NAMESPACES_MAX + 1, "");
	files[0] = (struct scene_file){"a", text};
	expect_files(files, -RP_EPARAM,
		     "a:33:20: expected at most 32 namespaces");
	free(text);
}

static void test_a_file_over_its_limit_is_refused(void **state)
{
	struct scene scene;
	char *text = repeated("", "\n", MOF_FILE_BYTES_MAX, "");

	assert_int_equal(scene_compile(&scene, text), 0);
	scene_end(&scene);
	free(text);
	text = repeated("", "\n", MOF_FILE_BYTES_MAX + 1, "");
	assert_int_equal(scene_compile(&scene, text), -RP_EPARAM);
	assert_string_equal(scene.err.text,
			    "t.mof:1:1: expected at most 1048576 bytes");
	scene_end(&scene);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_words_that_end_badly_are_named),
	    cmocka_unit_test(test_what_the_grammar_expects_is_said),
	    cmocka_unit_test(test_what_makes_no_sense_is_refused),
	    cmocka_unit_test(test_an_override_has_the_same_signature),
	    cmocka_unit_test(test_the_first_file_is_checked_as_well),
	    cmocka_unit_test(test_a_class_lives_where_what_it_names_does),
	    cmocka_unit_test(test_limits_are_the_stated_ones),
	    cmocka_unit_test(test_an_element_has_few_qualifiers),
	    cmocka_unit_test(test_inheritance_is_not_deep),
	    cmocka_unit_test(test_includes_are_not_deep),
	    cmocka_unit_test(test_files_and_namespaces_are_counted),
	    cmocka_unit_test(test_a_file_over_its_limit_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
