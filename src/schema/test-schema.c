/* SPDX-License-Identifier: Apache-2.0 */
/* Looking things up in the tables of the schema that is served. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <cmocka.h>

#include "schema/schema.h"

static const struct schema_class *class_of(const char *name)
{
	const struct schema_class *class = schema_find_class(NULL, name);

	if (!class)
		fail_msg("no class %s", name);
	return class;
}

static void test_namespaces_are_found_by_any_spelling(void **state)
{
	const struct schema_namespace *ns =
	    schema_find_namespace("root/virtualization/v2");

	assert_non_null(ns);
	assert_ptr_equal(schema_find_namespace("ROOT\\Virtualization\\V2"), ns);
	assert_ptr_equal(schema_find_namespace("\\root/virtualization/v2/"),
			 ns);
	assert_null(schema_find_namespace("root/virtualization"));
	assert_null(schema_find_namespace("root/virtualization/v2/x"));
	assert_null(schema_find_namespace("rootxvirtualization/v2"));
	assert_null(schema_find_namespace(""));
	assert_null(schema_find_namespace("/"));
	assert_non_null(schema_find_namespace("root/interop"));
	assert_non_null(schema_find_namespace("root/cimv2"));
}

static void test_each_class_is_found_where_it_lives(void **state)
{
	const struct schema_namespace *v2 =
	    schema_find_namespace("root/virtualization/v2");
	const struct schema_namespace *interop =
	    schema_find_namespace("root/interop");

	for (uint32_t i = 0; i < schema_class_count; i++) {
		const struct schema_class *c = &schema_classes[i];

		assert_int_equal(c->index, i);
		assert_ptr_equal(schema_find_class(NULL, c->name), c);
		for (uint32_t n = 0; n < schema_namespace_count; n++)
			assert_ptr_equal(
			    schema_find_class(&schema_namespaces[n], c->name),
			    schema_lives_in(c, &schema_namespaces[n]) ? c
								      : NULL);
	}
	assert_non_null(schema_find_class(v2, "cim_managedelement"));
	assert_non_null(schema_find_class(interop, "CIM_MANAGEDELEMENT"));
	assert_null(schema_find_class(interop, "Msvm_ComputerSystem"));
	assert_null(schema_find_class(NULL, "Msvm_"));
	assert_null(schema_find_class(NULL, ""));
}

static void test_inheritance_is_a_range_of_indices(void **state)
{
	for (uint32_t i = 0; i < schema_class_count; i++) {
		for (uint32_t k = 0; k < schema_class_count; k++) {
			const struct schema_class *c = &schema_classes[i];

			while (c && c != &schema_classes[k])
				c = c->superclass;
			assert_int_equal(schema_is_a(&schema_classes[i],
						     &schema_classes[k]),
					 c != NULL);
		}
	}
}

static bool is_subclass(const struct schema_class *class,
			const struct schema_class *base, bool deep)
{
	if (!deep)
		return class->superclass == base;
	return !base || (class != base && schema_is_a(class, base));
}

/* What the iterator gives is what the definition says, in order. */
static void check_subclasses(const struct schema_namespace *ns,
			     const struct schema_class *base, bool deep)
{
	const struct schema_class *c = NULL;

	for (uint32_t i = 0; i < schema_class_count; i++) {
		if (!schema_lives_in(&schema_classes[i], ns) ||
		    !is_subclass(&schema_classes[i], base, deep))
			continue;
		c = schema_next_subclass(ns, base, deep, c);
		assert_ptr_equal(c, &schema_classes[i]);
	}
	assert_null(schema_next_subclass(ns, base, deep, c));
}

static void test_subclasses_are_iterated_deep_and_direct(void **state)
{
	for (uint32_t n = 0; n < schema_namespace_count; n++) {
		const struct schema_namespace *ns = &schema_namespaces[n];

		check_subclasses(ns, NULL, true);
		check_subclasses(ns, NULL, false);
		for (uint32_t i = 0; i < schema_class_count; i++) {
			if (!schema_lives_in(&schema_classes[i], ns))
				continue;
			check_subclasses(ns, &schema_classes[i], true);
			check_subclasses(ns, &schema_classes[i], false);
		}
		assert_ptr_equal(schema_next_class(ns, NULL),
				 schema_next_subclass(ns, NULL, true, NULL));
	}
}

static void test_members_are_found_without_case(void **state)
{
	const struct schema_class *point =
	    class_of("Msvm_VirtualSystemReferencePoint");
	const struct schema_class *service =
	    class_of("Msvm_VirtualSystemReferencePointService");
	const struct schema_property *p =
	    schema_find_property(point, "instanceid");
	const struct schema_method *m =
	    schema_find_method(service, "createreferencepoint");

	assert_string_equal(p->name, "InstanceID");
	assert_int_equal(schema_property_index(point, p), 0);
	assert_ptr_equal(p->origin, class_of("CIM_ManagedElement"));
	assert_ptr_equal(p->declarer, point);
	assert_int_equal(point->key_count, 2);
	assert_null(schema_find_property(point, "EnabledState"));
	assert_string_equal(schema_find_parameter(m, "JOB")->name, "Job");
	assert_null(schema_find_parameter(m, "Jobs"));
	assert_ptr_equal(
	    schema_find_parameter(m, "ReferencePointSettings")->type.embedded,
	    class_of("Msvm_VirtualSystemReferencePointSettingData"));
	assert_null(schema_find_method(service, "Create"));
	assert_non_null(schema_find_qualifier_type("valuemap"));
	assert_null(schema_find_qualifier_type("value"));
}

static void test_a_default_is_the_declared_one(void **state)
{
	const struct schema_property *p =
	    schema_find_property(class_of("Msvm_ConcreteJob"),
				 "TimeBeforeRemoval");

	assert_int_equal(p->value.count, 1);
	assert_string_equal(p->value.items[0].text,
			    "00000000000500.000000:000");
	p = schema_find_property(class_of("Msvm_ConcreteJob"), "Owner");
	assert_true(p->value.is_null);
	assert_int_equal(p->value.count, 0);
}

static const char *method_text(const char *class, const char *method,
			       int64_t number)
{
	const struct schema_method *m =
	    schema_find_method(class_of(class), method);

	assert_non_null(m);
	return schema_value_text(&m->qualifiers, number);
}

static void test_numbers_have_their_text(void **state)
{
	static const char service[] = "Msvm_VirtualSystemReferencePointService";
	const struct schema_parameter *type = schema_find_parameter(
	    schema_find_method(class_of(service), "CreateReferencePoint"),
	    "ReferencePointType");
	const struct schema_property *day =
	    schema_find_property(class_of("CIM_Job"), "RunDayOfWeek");

	assert_string_equal(method_text(service, "CreateReferencePoint", 6),
			    "Invalid Type");
	assert_string_equal(method_text(service, "CreateReferencePoint", 7),
			    "DMTF Reserved");
	assert_string_equal(method_text(service, "CreateReferencePoint", 4097),
			    "Method Reserved");
	assert_string_equal(method_text(service, "CreateReferencePoint", 65535),
			    "Vendor Specific");
	assert_string_equal(method_text(service, "DestroyReferencePoint",
					32775),
			    "Invalid state for this operation");
	assert_null(method_text(service, "DestroyReferencePoint", 1));
	/* Values without a ValueMap count from 0. */
	assert_string_equal(schema_value_text(&type->qualifiers, 1),
			    "RCT based");
	assert_null(schema_value_text(&type->qualifiers, 2));
	assert_null(schema_value_text(&type->qualifiers, -1));
	assert_string_equal(schema_value_text(&day->qualifiers, -7),
			    "-Saturday");
	assert_null(method_text("CIM_Service", "StartService", 0));
}

static void test_qualifiers_say_their_value(void **state)
{
	const struct schema_class *c =
	    class_of("Msvm_ReferencePointOfVirtualSystem");
	const struct schema_qualifiers *q =
	    &schema_find_property(class_of("Msvm_ComputerSystem"),
				  "OperationalStatus")
		 ->qualifiers;

	assert_true(schema_qualifier_true(&c->qualifiers, "association"));
	assert_false(schema_qualifier_true(&c->qualifiers, "abstract"));
	assert_true(schema_find_qualifier(q, "ArrayType")->propagated);
	assert_false(schema_find_qualifier(q, "Override")->propagated);
	assert_string_equal(schema_qualifier_text(q, "ArrayType"), "Indexed");
	assert_null(schema_qualifier_text(q, "Values"));
	assert_null(schema_qualifier_text(q, "MaxLen"));
}

static void test_types_have_names_and_sizes(void **state)
{
	enum cim_type type;

	for (int i = CIM_BOOLEAN; i <= CIM_REFERENCE; i++) {
		assert_int_equal(
		    cim_type_from_name(cim_type_name((enum cim_type)i), &type),
		    0);
		assert_int_equal(type, i);
	}
	assert_int_equal(cim_type_from_name("UINT64", &type), 0);
	assert_int_equal(type, CIM_UINT64);
	assert_int_equal(cim_type_from_name("uint", &type), -1);
	assert_int_equal(cim_type_bits(CIM_SINT16), 16);
	assert_int_equal(cim_type_bits(CIM_STRING), 0);
	assert_true(cim_type_is_unsigned(CIM_UINT8));
	assert_false(cim_type_is_unsigned(CIM_SINT8));
	assert_true(cim_type_is_signed(CIM_SINT64));
	assert_false(cim_type_is_signed(CIM_REAL32));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_namespaces_are_found_by_any_spelling),
	    cmocka_unit_test(test_each_class_is_found_where_it_lives),
	    cmocka_unit_test(test_inheritance_is_a_range_of_indices),
	    cmocka_unit_test(test_subclasses_are_iterated_deep_and_direct),
	    cmocka_unit_test(test_members_are_found_without_case),
	    cmocka_unit_test(test_a_default_is_the_declared_one),
	    cmocka_unit_test(test_numbers_have_their_text),
	    cmocka_unit_test(test_qualifiers_say_their_value),
	    cmocka_unit_test(test_types_have_names_and_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
