/* SPDX-License-Identifier: Apache-2.0 */
/* JSON without a tree: what is read, what is refused, and that it is the same
 * that another parser takes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include <jansson.h>

#include "common/bytes.h"
#include "rpc/pull.h"

/* ---- as a tree, to be compared --------------------------------------------
 */

static json_t *read_value(struct pull *p);

static json_t *read_object(struct pull *p)
{
	json_t *object = json_object();
	const char *key;

	pull_object(p);
	while ((key = pull_key(p))) {
		char *name = strdup(key);

		(void)json_object_set_new(object, name, read_value(p));
		free(name);
	}
	return object;
}

static json_t *read_array(struct pull *p)
{
	json_t *array = json_array();

	pull_array(p);
	while (pull_item(p))
		(void)json_array_append_new(array, read_value(p));
	return array;
}

/* Reals are stepped over, and are null here. */
static json_t *read_number(struct pull *p)
{
	struct pull other = *p;
	json_int_t n = pull_integer(&other);

	if (!other.failed) {
		*p = other;
		return json_integer(n);
	}
	pull_skip(p);
	return json_null();
}

static json_t *read_value(struct pull *p)
{
	static const char spaces[] = " \t\r\n";

	switch (p->at[strspn(p->at, spaces)]) {
	case '{':
		return read_object(p);
	case '[':
		return read_array(p);
	case '"':
		return json_string(pull_string(p));
	case 't':
	case 'f':
		return json_boolean(pull_boolean(p));
	case 'n':
		if (!pull_null(p))
			pull_fail(p);
		return json_null();
	default:
		return read_number(p);
	}
}

/* The whole text as a tree; NULL if it is refused. */
static json_t *as_tree(const char *text)
{
	size_t n = strlen(text);
	char *copy = malloc(n + 1);
	struct pull p;
	json_t *tree;

	assert_non_null(copy);
	memcpy(copy, text, n + 1);
	p = pull_begin(copy, n);
	tree = read_value(&p);
	if (!pull_done(&p)) {
		json_decref(tree);
		tree = NULL;
	}
	free(copy);
	return tree;
}

static bool is_skipped(const char *text)
{
	size_t n = strlen(text);
	char *copy = malloc(n + 1);
	struct pull p;
	bool done;

	assert_non_null(copy);
	memcpy(copy, text, n + 1);
	p = pull_begin(copy, n);
	pull_skip(&p);
	done = pull_done(&p);
	free(copy);
	return done;
}

static json_t *without_reals(json_t *tree)
{
	json_t *item;
	const char *key;
	size_t i;
	void *next;

	if (json_is_real(tree)) {
		json_decref(tree);
		return json_null();
	}
	json_array_foreach(tree, i, item)(void)
	    json_array_set_new(tree, i, without_reals(json_incref(item)));
	json_object_foreach_safe(tree, next, key, item)(void)
	    json_object_set_new(tree, key, without_reals(json_incref(item)));
	return tree;
}

static void assert_same(const char *text)
{
	json_error_t why = {0};
	json_t *theirs = json_loads(text, JSON_DECODE_ANY, &why);
	json_t *ours = as_tree(text);

	/* What is stepped over may be of any size. */
	if (strstr(why.text, "too big") || strstr(why.text, "too small") ||
	    strstr(why.text, "overflow")) {
		json_decref(ours);
		return;
	}
	if (!theirs != !ours)
		fail_msg("%s is %s", text, ours ? "taken" : "refused");
	if (theirs)
		theirs = without_reals(theirs);
	if (theirs && !json_equal(ours, theirs))
		fail_msg("%s is read otherwise", text);
	if (is_skipped(text) != !!ours)
		fail_msg("%s is stepped over otherwise", text);
	json_decref(theirs);
	json_decref(ours);
}

/* ---- tests ------------------------------------------------------------------
 */

static const char *const texts[] = {
    "{}",
    "[]",
    " { \"a\" : 1 , \"b\" : [ true , false , null ] }\n",
    "[[],{},[[{}]],\"\",0]",
    "{\"parameters\":{\"systems\":[{\"vm\":\"a\",\"size\":123}]}}",
    "[0,-0,-1,9223372036854775807,-9223372036854775808]",
    "[1.5,-0.25e10,1E+2,2e-3,0.0]",
    "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"",
    "\"\\u0041\\u00e9\\u20ac\\ud83d\\ude00x\"",
    "\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 \x7f\"",
    "\"a\xc3\xa9\\nb\\u00e9c\"",
};

static const char *const refused[] = {
    "",
    "{",
    "[",
    "}",
    "]",
    "[1",
    "[1,]",
    "[,1]",
    "[1 2]",
    "[1]]",
    "{\"a\"}",
    "{\"a\":}",
    "{\"a\":1,}",
    "{\"a\" 1}",
    "{a:1}",
    "{1:1}",
    "{\"a\":1]",
    "[1}",
    "01",
    "-",
    "+1",
    "1.",
    ".5",
    "1e",
    "1e+",
    "0x1",
    "tru",
    "truex",
    "nul",
    "None",
    "\"",
    "\"\\",
    "\"\\x\"",
    "\"\\u12\"",
    "\"\\u12g4\"",
    "\"\\u0000\"",
    "\"\\ud83d\"",
    "\"\\ud83d\\u0041\"",
    "\"\\ude00\"",
    "\"\n\"",
    "\"\x01\"",
    "\"\x80\"",
    "\"\xc3\"",
    "\"\xc0\xaf\"",
    "\"\xe0\x80\x80\"",
    "\"\xed\xa0\x80\"",
    "\"\xf4\x90\x80\x80\"",
    "\"\xf8\x88\x80\x80\x80\"",
    "{} {}",
};

static void what_is_json_is_read(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		json_t *tree = as_tree(texts[i]);

		assert_non_null(tree);
		json_decref(tree);
		assert_same(texts[i]);
	}
}

static void what_is_none_is_refused(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		if (as_tree(refused[i]))
			fail_msg("%s is taken", refused[i]);
		assert_same(refused[i]);
	}
}

static void another_kind_fails_the_whole_reading(void **state)
{
	char text[] = "{\"a\":\"x\",\"b\":7}";
	struct pull p = pull_begin(text, sizeof(text) - 1);

	pull_object(&p);
	assert_string_equal(pull_key(&p), "a");
	assert_int_equal(pull_integer(&p), 0);
	assert_null(pull_key(&p));
	assert_false(pull_item(&p));
	assert_string_equal(pull_string(&p), "");
	assert_false(pull_boolean(&p));
	assert_false(pull_null(&p));
	assert_false(pull_done(&p));
}

static void integers_beyond_64_bits_are_refused(void **state)
{
	static const char *const numbers[] = {"9223372036854775808",
					      "-9223372036854775809",
					      "99999999999999999999999", "1.0",
					      "1e3"};

	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
		char text[64];
		struct pull p;

		(void)snprintf(text, sizeof(text), "%s", numbers[i]);
		p = pull_begin(text, strlen(text));
		assert_int_equal(pull_integer(&p), 0);
		assert_false(pull_done(&p));
	}
}

static void depth_is_bounded(void **state)
{
	char text[2 * PULL_DEPTH_MAX + 3];

	for (size_t depth = PULL_DEPTH_MAX; depth < PULL_DEPTH_MAX + 2;
	     depth++) {
		memset(text, '[', depth);
		memset(text + depth, ']', depth);
		text[2 * depth] = '\0';
		assert_int_equal(is_skipped(text), depth <= PULL_DEPTH_MAX);
	}
}

/* Keys that mutation made alike are not refused here, and the last one counts
 * in both. */
static void damaged_texts_are_taken_and_refused_alike(void **state)
{
	static const char bytes[] =
	    "{}[],:\"\\u0dD8c9eE.+-0123 tfn\xc3\xa9\xf0\x9f\x80\x01";
	const char *seed = getenv("SEED");
	unsigned draw =
	    seed ? (unsigned)strtoul(seed, NULL, 0) : (unsigned)time(NULL);

	print_message("SEED=%u\n", draw);
	srand(draw);
	for (int round = 0; round < 100000; round++) {
		char text[128];
		size_t n;

		(void)snprintf(text, sizeof(text), "%s",
			       texts[(size_t)rand() % ARRAY_SIZE(texts)]);
		n = strlen(text);
		for (int i = rand() % 3; i >= 0; i--)
			text[(size_t)rand() % n] =
			    bytes[(size_t)rand() % (sizeof(bytes) - 1)];
		assert_same(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_is_json_is_read),
	    cmocka_unit_test(what_is_none_is_refused),
	    cmocka_unit_test(another_kind_fails_the_whole_reading),
	    cmocka_unit_test(integers_beyond_64_bits_are_refused),
	    cmocka_unit_test(depth_is_bounded),
	    cmocka_unit_test(damaged_texts_are_taken_and_refused_alike),
	};

	return cmocka_run_group_tests_name("pull", tests, NULL, NULL);
}
