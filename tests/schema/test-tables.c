/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What mofc made of every-type.mof: each type and each kind of value, also
 * those that the schema which is served does not have.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "schema/schema.h"

static const struct schema_class *class_of(const char *name)
{
	const struct schema_class *class = schema_find_class(NULL, name);

	assert_non_null(class);
	return class;
}

static const struct schema_property *top(const char *name)
{
	const struct schema_property *p =
	    schema_find_property(class_of("Top"), name);

	assert_non_null(p);
	return p;
}

/* The only item of a property's default. */
static const union schema_scalar *item(const char *name, enum cim_type base)
{
	const struct schema_property *p = top(name);

	assert_int_equal(p->type.base, base);
	assert_int_equal(p->value.base, base);
	assert_false(p->value.array || p->value.is_null);
	assert_int_equal(p->value.count, 1);
	return p->value.items;
}

static void test_each_type_holds_its_extremes(void **state)
{
	assert_true(item("Yes", CIM_BOOLEAN)->boolean);
	assert_true(item("U8", CIM_UINT8)->uint == UINT8_MAX);
	assert_true(item("U16", CIM_UINT16)->uint == UINT16_MAX);
	assert_true(item("U32", CIM_UINT32)->uint == UINT32_MAX);
	assert_true(item("U64", CIM_UINT64)->uint == UINT64_MAX);
	assert_true(item("S8", CIM_SINT8)->sint == INT8_MIN);
	assert_true(item("S16", CIM_SINT16)->sint == INT16_MIN);
	assert_true(item("S32", CIM_SINT32)->sint == INT32_MIN);
	assert_true(item("S64", CIM_SINT64)->sint == INT64_MIN);
	assert_true(item("Positive", CIM_SINT64)->sint == INT64_MAX);
	assert_true(item("R32", CIM_REAL32)->real == -0.5);
	assert_true(item("R64", CIM_REAL64)->real == 1.0e300);
	assert_true(item("C", CIM_CHAR16)->uint == 0x263a);
	assert_string_equal(item("Text", CIM_STRING)->text,
			    "?\?/ \"\\\xe2\x82\xac\n1");
	assert_string_equal(item("When", CIM_DATETIME)->text,
			    "20200102030405.000006+060");
}

static void test_arrays_null_and_flags(void **state)
{
	const struct schema_property *list = top("List");

	assert_true(list->type.array && list->value.array);
	assert_int_equal(list->type.array_max, 3);
	assert_int_equal(list->value.count, 2);
	assert_int_equal(list->value.items[0].sint, 1);
	assert_int_equal(list->value.items[1].sint, -2);
	assert_true(top("Empty")->value.array);
	assert_false(top("Empty")->value.is_null);
	assert_int_equal(top("Empty")->value.count, 0);
	assert_true(top("None")->value.is_null);
	assert_true(top("None")->write && !top("None")->read);
	assert_true(top("Id")->key && top("Id")->read && !top("Id")->write);
	assert_int_equal(top("Id")->type.max_len, 12);
	assert_ptr_equal(top("Inside")->type.embedded, class_of("Leaf"));
	assert_true(top("Any")->type.embedded_object);
	assert_false(top("Inside")->type.embedded_object);
}

static const char *mapped(int64_t number)
{
	return schema_value_text(&top("Mapped")->qualifiers, number);
}

static void test_the_closest_entry_of_a_map_is_meant(void **state)
{
	assert_string_equal(mapped(-2), "a");
	assert_string_equal(mapped(-5), "b");
	assert_string_equal(mapped(-2147483648LL), "b");
	assert_string_equal(mapped(0), "c");
	assert_string_equal(mapped(3), "c");
	assert_string_equal(mapped(2), "d");
	assert_string_equal(mapped(9), "e");
	assert_string_equal(mapped(INT64_MAX), "e");
	assert_string_equal(mapped(8), "f");
	assert_string_equal(mapped(-4), "f");
	assert_null(schema_value_text(&top("U8")->qualifiers, 0));
}

static void test_classes_stand_in_their_places(void **state)
{
	const struct schema_namespace *one = schema_find_namespace("ONE");
	const struct schema_namespace *two =
	    schema_find_namespace("two\\three");
	const struct schema_class *leaf = class_of("leaf");

	assert_int_equal(schema_class_count, 5);
	assert_int_equal(schema_namespace_count, 2);
	assert_null(schema_find_class(two, "Leaf"));
	assert_string_equal(schema_next_class(two, NULL)->name, "Alone");
	assert_null(schema_next_class(two, class_of("Alone")));
	assert_ptr_equal(schema_next_subclass(one, class_of("Top"), false,
					      NULL),
			 class_of("Bud"));
	assert_ptr_equal(schema_next_subclass(one, class_of("Top"), false,
					      class_of("Bud")),
			 leaf);
	assert_true(class_of("Top")->abstract && !leaf->abstract);
	assert_true(schema_is_a(leaf, class_of("Top")));
	assert_false(schema_is_a(class_of("Top"), leaf));
	assert_int_equal(leaf->key_count, 1);
	assert_int_equal(leaf->properties[2]->value.items[0].uint, 1);
	assert_ptr_equal(leaf->properties[2]->origin, class_of("Top"));
	assert_ptr_equal(leaf->properties[2]->declarer, leaf);
	assert_ptr_equal(leaf->properties[0], class_of("Top")->properties[0]);
}

static void test_methods_and_references(void **state)
{
	const struct schema_method *m =
	    schema_find_method(class_of("Leaf"), "Call");
	const struct schema_class *link = class_of("Link");
	const struct schema_property *to = schema_find_property(link, "To");

	assert_int_equal(m->result, CIM_UINT16);
	assert_int_equal(m->parameter_count, 2);
	assert_true(m->parameters[0].out && !m->parameters[0].in);
	assert_true(m->parameters[0].type.array);
	assert_ptr_equal(m->parameters[0].type.ref, class_of("Top"));
	assert_true(m->parameters[1].in && !m->parameters[1].out);
	assert_int_equal(class_of("Alone")->methods[0]->parameter_count, 0);
	assert_true(link->association);
	assert_int_equal(to->type.base, CIM_REFERENCE);
	assert_string_equal(to->value.items[0].text, "Leaf.Id=\"x\"");
}

static void test_qualifiers_have_type_value_and_flavor(void **state)
{
	const struct schema_qualifier_type *sizes =
	    schema_find_qualifier_type("sizes");
	const struct schema_qualifier *of_link =
	    schema_find_qualifier(&class_of("Link")->qualifiers, "Sizes");
	const struct schema_qualifier *of_call =
	    schema_find_qualifier(&class_of("Leaf")->methods[0]->qualifiers,
				  "Sizes");

	assert_int_equal(sizes->base, CIM_SINT16);
	assert_true(sizes->array);
	assert_int_equal(sizes->scope, SCHEMA_SCOPE_ANY);
	assert_int_equal(sizes->flavor,
			 SCHEMA_OVERRIDABLE | SCHEMA_TRANSLATABLE);
	assert_int_equal(of_link->value.count, 1);
	assert_int_equal(of_link->value.items[0].sint, 7);
	assert_ptr_equal(of_link->type, sizes);
	assert_int_equal(of_call->value.count, 2);
	assert_int_equal(of_call->value.items[0].sint, -1);
	assert_true(schema_find_qualifier_type("MaxLen")->value.is_null);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_each_type_holds_its_extremes),
	    cmocka_unit_test(test_arrays_null_and_flags),
	    cmocka_unit_test(test_the_closest_entry_of_a_map_is_meant),
	    cmocka_unit_test(test_classes_stand_in_their_places),
	    cmocka_unit_test(test_methods_and_references),
	    cmocka_unit_test(test_qualifiers_have_type_value_and_flavor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
