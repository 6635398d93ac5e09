/* SPDX-License-Identifier: Apache-2.0 */
#include "cim/test-cim.h"

#include "cim/codec.h"

#define SETTING "Msvm_VirtualSystemReferencePointSettingData"
#define EXPORT  "Msvm_VirtualSystemReferencePointExportSettingData"
#define POINT   "Msvm_VirtualSystemReferencePoint"

static const struct codec_select everything = {0};

static const struct schema_class *class_of(const char *name)
{
	const struct schema_class *class = schema_find_class(NULL, name);

	assert_non_null(class);
	return class;
}

static const struct xml_node *tree(const char *text)
{
	const struct xml_node *root = NULL;
	const struct xml_options options = {0};
	struct err err = {0};

	if (xml_parse(arena, text, strlen(text), &options, &root, &err) < 0)
		fail_msg("%s in %s", err.text, text);
	return root;
}

/* What was written, in the arena. */
static const char *finished(struct xml_out *out)
{
	char *bytes = NULL;
	size_t length;
	const char *copy;

	assert_int_equal(xml_finish(out, &bytes, &length, NULL), 0);
	copy = arena_copy(arena, bytes, length);
	free(bytes);
	return copy;
}

static struct xml_out fragment(void)
{
	struct xml_out out;

	xml_init(&out, MIB(16), true);
	return out;
}

/* ---- embedded instances ------------------------------------------------- */

static int read_as(const char *text, const char *base,
		   struct cim_instance **ret_instance)
{
	struct err err = {0};
	int r = codec_read_instance(arena, schema_find_namespace(V2), text,
				    strlen(text), class_of(base), ret_instance,
				    &err);

	assert_int_equal(r, err.code);
	return r;
}

static void every_encoding_of_an_instance_is_read(void **state)
{
	static const char *const samples[] = {
	    /* By hand. */
	    "<INSTANCE CLASSNAME=\"" SETTING "\"><PROPERTY "
	    "NAME=\"ConsistencyLevel\" TYPE=\"uint8\"><VALUE>1</VALUE>"
	    "</PROPERTY></INSTANCE>",
	    /* With a BOM, white space, a declaration of a string's encoding. */
	    "\xef\xbb\xbf<?xml version=\"1.0\" encoding=\"utf-16\"?>\r\n"
	    "<INSTANCE CLASSNAME='" SETTING "'><PROPERTY "
	    "NAME='ConsistencyLevel'><VALUE> 1 </VALUE></PROPERTY></INSTANCE>",
	    "\n  <INSTANCE CLASSNAME='" SETTING "'><PROPERTY "
	    "NAME='ConsistencyLevel'><VALUE><![CDATA[1]]></VALUE></PROPERTY>"
	    "</INSTANCE>\n",
	    /* CIM DTD 2.0 text, wrapped, with a DOCTYPE. */
	    "<!DOCTYPE CIM SYSTEM \"http://www.dmtf.org/cim-v2.0.dtd\">\n"
	    "<CIM CIMVERSION=\"2.0\" DTDVERSION=\"2.0\"><DECLARATION>"
	    "<DECLGROUP.WITHPATH><VALUE.OBJECTWITHPATH><INSTANCEPATH/>"
	    "<INSTANCE CLASSNAME=\"" SETTING "\">"
	    "<QUALIFIER NAME=\"dynamic\" TYPE=\"boolean\"><VALUE>TRUE</VALUE>"
	    "</QUALIFIER><PROPERTY NAME=\"ConsistencyLevel\" TYPE=\"uint8\" "
	    "CLASSORIGIN=\"" SETTING "\" PROPAGATED=\"false\">"
	    "<QUALIFIER NAME=\"write\" TYPE=\"boolean\"><VALUE>TRUE</VALUE>"
	    "</QUALIFIER><VALUE>1</VALUE></PROPERTY></INSTANCE>"
	    "</VALUE.OBJECTWITHPATH></DECLGROUP.WITHPATH></DECLARATION></CIM>",
	    /* WMI DTD 2.0 text, with system properties and NULLs. */
	    "<INSTANCE CLASSNAME=\"msvm_VIRTUALSYSTEMreferencepointSettingData"
	    "\"><PROPERTY NAME=\"__PATH\" CLASSORIGIN=\"___SYSTEM\" "
	    "TYPE=\"string\"><VALUE>x</VALUE></PROPERTY>"
	    "<PROPERTY.ARRAY NAME=\"__DERIVATION\" TYPE=\"string\"><VALUE.ARRAY"
	    "><VALUE>CIM_SettingData</VALUE></VALUE.ARRAY></PROPERTY.ARRAY>"
	    "<PROPERTY NAME=\"Caption\" TYPE=\"string\"></PROPERTY>"
	    "<PROPERTY NAME=\"consistencylevel\" TYPE=\"string\" X=\"y\">"
	    "<VALUE>1</VALUE></PROPERTY>"
	    "<PROPERTY.OBJECT NAME=\"Unknown\"><VALUE.OBJECT/></PROPERTY.OBJECT>"
	    "</INSTANCE>",
	};

	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		struct cim_instance *instance = NULL;

		assert_int_equal(read_as(samples[i], SETTING, &instance), 0);
		assert_string_equal(instance->class->name, SETTING);
		assert_int_equal(
		    cim_number(cim_instance_get(instance, "ConsistencyLevel"),
			       99),
		    1);
		assert_true(cim_instance_get(instance, "Caption")->is_null);
	}
}

static void text_that_holds_no_such_instance_is_refused(void **state)
{
	static const struct {
		const char *text;
		int error;
	} samples[] = {
	    {"", -CIM_EUNREADABLE},
	    {"  \n", -CIM_EUNREADABLE},
	    {"instance of " SETTING " {\n ConsistencyLevel = 1;\n};",
	     -CIM_EUNREADABLE},
	    {"<INSTANCE", -CIM_EUNREADABLE},
	    {"<CIM><DECLARATION/></CIM>", -CIM_EUNREADABLE},
	    {"<CLASS NAME='x'/>", -CIM_EUNREADABLE},
	    {"<INSTANCE/>", -CIM_EUNREADABLE},
	    {"<INSTANCE CLASSNAME='Nothing'/>", -CIM_ECLASS},
	    {"<INSTANCE CLASSNAME='Win32_Processor'/>", -CIM_ECLASS},
	    {"<INSTANCE CLASSNAME='" EXPORT "'/>", -CIM_ECLASS},
	    {"<!DOCTYPE x [<!ENTITY e 'x'>]><INSTANCE CLASSNAME='" SETTING
	     "'/>",
	     -CIM_EUNREADABLE},
	    {"<INSTANCE CLASSNAME='" SETTING "'><PROPERTY "
	     "NAME='ConsistencyLevel'><VALUE>256</VALUE></PROPERTY></INSTANCE>",
	     -CIM_ETYPEMISMATCH},
	    {"<INSTANCE CLASSNAME='" SETTING "'><PROPERTY "
	     "NAME='ConsistencyLevel'><VALUE>one</VALUE></PROPERTY></INSTANCE>",
	     -CIM_ETYPEMISMATCH},
	    {"<INSTANCE CLASSNAME='" SETTING "'><PROPERTY.ARRAY "
	     "NAME='ConsistencyLevel'><VALUE.ARRAY><VALUE>1</VALUE>"
	     "</VALUE.ARRAY></PROPERTY.ARRAY></INSTANCE>",
	     -CIM_ETYPEMISMATCH},
	};
	struct cim_instance *instance = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(samples); i++)
		if (read_as(samples[i].text, SETTING, &instance) !=
		    samples[i].error)
			fail_msg("%s", samples[i].text);
	assert_null(instance);
}

static void arrays_and_references_in_strings_are_read(void **state)
{
	static const char text[] =
	    "<INSTANCE CLASSNAME='" EXPORT "'>"
	    "<PROPERTY.REFERENCE NAME='BaseReferencePoint'><VALUE.REFERENCE>"
	    "<INSTANCENAME CLASSNAME='" POINT "'><KEYBINDING NAME='InstanceID'>"
	    "<KEYVALUE>a\\b</KEYVALUE></KEYBINDING></INSTANCENAME>"
	    "</VALUE.REFERENCE></PROPERTY.REFERENCE>"
	    "<PROPERTY.ARRAY NAME='disksToExport' TYPE='string'><VALUE.ARRAY>"
	    "<VALUE>one</VALUE><VALUE></VALUE><VALUE>&lt;3&gt;</VALUE>"
	    "</VALUE.ARRAY></PROPERTY.ARRAY></INSTANCE>";
	struct cim_instance *instance = NULL;
	const struct cim_value *disks;

	assert_int_equal(read_as(text, EXPORT, &instance), 0);
	assert_string_equal(cim_instance_text(instance, "BaseReferencePoint"),
			    POINT ".InstanceID=\"a\\\\b\"");
	disks = cim_instance_get(instance, "DisksToExport");
	assert_int_equal(disks->count, 3);
	assert_string_equal(disks->items[1].text, "");
	assert_string_equal(disks->items[2].text, "<3>");
}

static void one_value_will_do_for_an_array(void **state)
{
	static const char text[] =
	    "<INSTANCE CLASSNAME='" EXPORT "'><PROPERTY NAME='DisksToExport'>"
	    "<VALUE>one</VALUE></PROPERTY></INSTANCE>";
	struct cim_instance *instance = NULL;
	const struct cim_value *disks;

	assert_int_equal(read_as(text, EXPORT, &instance), 0);
	disks = cim_instance_get(instance, "DisksToExport");
	assert_true(disks->array);
	assert_int_equal(disks->count, 1);
}

static const struct schema_parameter *parameter_of(const char *method,
						   const char *name)
{
	const struct schema_method *m = schema_find_method(
	    class_of("Msvm_VirtualSystemReferencePointService"), method);

	assert_non_null(m);
	return schema_find_parameter(m, name);
}

static int parameter(const char *name, const char *text,
		     struct cim_value *ret_value)
{
	struct err err = {0};
	const struct schema_parameter *p =
	    parameter_of("CreateReferencePoint", name);
	int r = codec_get_value(arena, schema_find_namespace(V2), tree(text),
				&p->type, ret_value, &err);

	assert_int_equal(r, err.code);
	return r;
}

static void settings_come_as_text_or_elements_or_not_at_all(void **state)
{
	static const char *const given[] = {
	    "<P><VALUE><INSTANCE CLASSNAME='" SETTING "'></INSTANCE></VALUE>"
	    "</P>",
	    "<P><VALUE>&lt;INSTANCE CLASSNAME='" SETTING "'/&gt;</VALUE></P>",
	    "<P><VALUE><![CDATA[<INSTANCE CLASSNAME='" SETTING
	    "'/>]]></VALUE></P>",
	};
	static const char *const nothing[] = {
	    "<P/>", "<P><VALUE/></P>", "<P><VALUE>  \n</VALUE></P>",
	    "<P><VALUE><![CDATA[]]></VALUE></P>"};
	struct cim_value v;

	for (size_t i = 0; i < ARRAY_SIZE(given); i++) {
		assert_int_equal(
		    parameter("ReferencePointSettings", given[i], &v), 0);
		assert_true(v.embedded && !v.is_null);
		assert_string_equal(v.one.instance->class->name, SETTING);
	}
	for (size_t i = 0; i < ARRAY_SIZE(nothing); i++) {
		assert_int_equal(
		    parameter("ReferencePointSettings", nothing[i], &v), 0);
		assert_true(v.is_null);
	}
	assert_int_equal(parameter("ReferencePointSettings",
				   "<P><VALUE>x</VALUE></P>", &v),
			 -CIM_EUNREADABLE);
	assert_int_equal(parameter("ReferencePointSettings",
				   "<P><VALUE><INSTANCE CLASSNAME='" EXPORT
				   "'/></VALUE></P>",
				   &v),
			 -CIM_ECLASS);
}

static void numbers_have_the_schemas_type(void **state)
{
	struct cim_value v;

	assert_int_equal(parameter("ReferencePointType",
				   "<P PARAMTYPE='string'><VALUE>1</VALUE></P>",
				   &v),
			 0);
	assert_int_equal(v.base, CIM_UINT16);
	assert_int_equal(cim_number(&v, 0), 1);
	assert_int_equal(parameter("ReferencePointType",
				   "<P><VALUE>65536</VALUE></P>", &v),
			 -CIM_ETYPEMISMATCH);
	assert_int_equal(parameter("ReferencePointType",
				   "<P><VALUE><x/></VALUE></P>", &v),
			 -CIM_ETYPEMISMATCH);
	assert_int_equal(
	    parameter("ReferencePointType", "<P><VALUE></VALUE></P>", &v), 0);
	assert_true(v.is_null);
}

/* ---- paths -------------------------------------------------------------- */

#define NAME                                                                   \
	"<INSTANCENAME CLASSNAME=\"Msvm_ComputerSystem\">"                     \
	"<KEYBINDING NAME=\"CreationClassName\">"                              \
	"<KEYVALUE VALUETYPE=\"string\">Msvm_ComputerSystem</KEYVALUE>"        \
	"</KEYBINDING><KEYBINDING NAME=\"Name\">"                              \
	"<KEYVALUE VALUETYPE=\"string\">a&amp;b</KEYVALUE></KEYBINDING>"       \
	"</INSTANCENAME>"
#define SPACE                                                                  \
	"<LOCALNAMESPACEPATH><NAMESPACE NAME=\"root\"/>"                       \
	"<NAMESPACE NAME=\"virtualization\"/><NAMESPACE NAME=\"v2\"/>"         \
	"</LOCALNAMESPACEPATH>"
#define LOCAL "<LOCALINSTANCEPATH>" SPACE NAME "</LOCALINSTANCEPATH>"
#define WHOLE                                                                  \
	"<INSTANCEPATH><NAMESPACEPATH><HOST>h</HOST>" SPACE                    \
	"</NAMESPACEPATH>" NAME "</INSTANCEPATH>"

#define UNNAMED                                                                \
	"<INSTANCENAME CLASSNAME=\"A\"><KEYVALUE VALUETYPE=\"string\">x"       \
	"</KEYVALUE></INSTANCENAME>"

static const struct cim_path *path_of(const char *text)
{
	const struct cim_path *path = NULL;
	struct err err = {0};

	if (codec_get_path(arena, tree(text), &path, &err) < 0)
		fail_msg("%s in %s", err.text, text);
	return path;
}

static void all_forms_of_a_path_name_one_object(void **state)
{
	static const char *const samples[] = {
	    NAME,
	    LOCAL,
	    WHOLE,
	    "<VALUE.REFERENCE>\n " WHOLE "\n</VALUE.REFERENCE>",
	    "<VALUE.REFERENCE>" LOCAL "</VALUE.REFERENCE>",
	    "<VALUE.REFERENCE>" NAME "</VALUE.REFERENCE>",
	    "<OBJECTPATH>" WHOLE "</OBJECTPATH>",
	    "<VALUE>//H/root/virtualization/v2:Msvm_ComputerSystem.Name="
	    "'a&amp;b',CreationClassName='Msvm_ComputerSystem'</VALUE>",
	    "<VALUE.REFERENCE>msvm_computersystem.Name='a&amp;b',"
	    "CreationClassName='Msvm_ComputerSystem'</VALUE.REFERENCE>",
	    "<INSTANCEPATH><NAMESPACEPATH><HOST> H </HOST><LOCALNAMESPACEPATH>"
	    "<NAMESPACE NAME='ROOT\\virtualization/V2'></NAMESPACE>"
	    "</LOCALNAMESPACEPATH></NAMESPACEPATH>" NAME "</INSTANCEPATH>",
	};
	const struct cim_path *first = path_of(WHOLE);

	assert_string_equal(first->host, "h");
	assert_string_equal(first->ns, V2);
	assert_string_equal(cim_path_text(first, "name"), "a&b");
	for (size_t i = 0; i < ARRAY_SIZE(samples); i++)
		assert_true(cim_path_equal(path_of(samples[i]), first));
}

static void paths_are_written_as_they_are_read(void **state)
{
	static const char *const samples[] = {
	    NAME,
	    LOCAL,
	    WHOLE,
	    "<CLASSNAME NAME=\"A\"/>",
	    "<LOCALCLASSPATH>" SPACE "<CLASSNAME NAME=\"A\"/></LOCALCLASSPATH>",
	    "<CLASSPATH><NAMESPACEPATH><HOST>h</HOST>" SPACE
	    "</NAMESPACEPATH><CLASSNAME NAME=\"A\"/></CLASSPATH>",
	    "<INSTANCENAME CLASSNAME=\"A\"><KEYBINDING NAME=\"R\">"
	    "<VALUE.REFERENCE>" NAME "</VALUE.REFERENCE></KEYBINDING>"
	    "<KEYBINDING NAME=\"N\"><KEYVALUE VALUETYPE=\"numeric\">7"
	    "</KEYVALUE></KEYBINDING><KEYBINDING NAME=\"B\"><KEYVALUE "
	    "VALUETYPE=\"boolean\">TRUE</KEYVALUE></KEYBINDING>"
	    "</INSTANCENAME>",
	    UNNAMED,
	    "<INSTANCENAME CLASSNAME=\"A\"></INSTANCENAME>",
	};

	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		struct xml_out out = fragment();

		codec_put_path(&out, path_of(samples[i]));
		assert_string_equal(finished(&out), samples[i]);
	}
}

static void what_is_no_path_is_refused(void **state)
{
	static const char *const samples[] = {
	    "<INSTANCENAME/>",
	    "<INSTANCENAME CLASSNAME='A'><KEYBINDING><KEYVALUE/></KEYBINDING>"
	    "</INSTANCENAME>",
	    "<INSTANCENAME CLASSNAME='A'><KEYBINDING NAME='k'/></INSTANCENAME>",
	    "<INSTANCENAME CLASSNAME='A'><x/></INSTANCENAME>",
	    "<INSTANCEPATH>" NAME "</INSTANCEPATH>",
	    "<INSTANCEPATH><NAMESPACEPATH>" SPACE "</NAMESPACEPATH>" NAME
	    "</INSTANCEPATH>",
	    "<LOCALINSTANCEPATH>" SPACE "</LOCALINSTANCEPATH>",
	    "<LOCALINSTANCEPATH><LOCALNAMESPACEPATH/>" NAME
	    "</LOCALINSTANCEPATH>",
	    "<LOCALINSTANCEPATH><LOCALNAMESPACEPATH><NAMESPACE NAME='/'/>"
	    "</LOCALNAMESPACEPATH>" NAME "</LOCALINSTANCEPATH>",
	    "<VALUE.REFERENCE/>",
	    "<VALUE.REFERENCE>a b</VALUE.REFERENCE>",
	    "<x/>",
	    "<CLASSNAME/>",
	};
	const struct cim_path *path = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(samples); i++)
		if (codec_get_path(arena, tree(samples[i]), &path, NULL) !=
		    -CIM_EPARAMETER)
			fail_msg("taken: %s", samples[i]);
	assert_null(path);
}

/* ---- instances and values ----------------------------------------------- */

static struct cim_instance *new_point(void)
{
	static const char *const disks[] = {"a\\b", "<c>"};
	struct cim_instance *i;
	struct cim_value v;

	assert_int_equal(
	    cim_instance_new(arena, class_of(POINT), false, &i, NULL), 0);
	assert_int_equal(cim_string_array(arena, disks, 2, &v, NULL), 0);
	(void)cim_instance_set(i, "InstanceID", cim_string("id"), NULL);
	(void)cim_instance_set(i, "VirtualSystemIdentifier", cim_string("v"),
			       NULL);
	(void)cim_instance_set(i, "ReferencePointType", cim_uint(CIM_UINT16, 2),
			       NULL);
	(void)cim_instance_set(i, "HasAssociatedData", cim_boolean(false),
			       NULL);
	(void)cim_instance_set(i, "VirtualDiskIdentifiers", v, NULL);
	(void)cim_instance_set(i, "ResilientChangeTrackingIdentifiers",
			       cim_array(CIM_STRING, NULL, 0), NULL);
	(void)cim_instance_set(i, "Caption", cim_string(NULL), NULL);
	assert_int_equal(cim_instance_make_path(arena, i, "h", V2, NULL), 0);
	return i;
}

static void an_instance_survives_both_ways(void **state)
{
	struct cim_instance *point = new_point(), *again = NULL;
	struct xml_out out = fragment();
	const char *text;

	codec_put_instance(&out, point, &everything, false);
	text = finished(&out);
	assert_int_equal(read_as(text, POINT, &again), 0);
	for (uint32_t i = 0; i < point->class->property_count; i++) {
		assert_true(
		    cim_value_equal(&point->values[i], &again->values[i]));
		assert_true(cim_instance_has(again, i));
	}
	assert_int_equal(codec_instance_text(arena, point, &text, NULL), 0);
	assert_int_equal(read_as(text, POINT, &again), 0);
	for (uint32_t i = 0; i < point->class->property_count; i++)
		assert_int_equal(cim_instance_has(again, i),
				 cim_instance_has(point, i));
}

static void only_what_was_asked_for_is_written(void **state)
{
	static const char *const names[] = {"instanceid", "Nothing",
					    "ReferencePointType"};
	const struct codec_select select = {.local_only = true,
					    .list = true,
					    .properties = names,
					    .property_count = 3,
					    .class_origin = true};
	const struct codec_select none = {.list = true};
	struct xml_out out = fragment();

	codec_put_instance(&out, new_point(), &select, false);
	codec_put_named_instance(&out, new_point(), &none);
	assert_string_equal(
	    finished(&out),
	    "<INSTANCE CLASSNAME=\"" POINT "\">"
	    "<PROPERTY NAME=\"InstanceID\" TYPE=\"string\" "
	    "CLASSORIGIN=\"CIM_ManagedElement\"><VALUE>id</VALUE></PROPERTY>"
	    "<PROPERTY NAME=\"ReferencePointType\" TYPE=\"uint16\" "
	    "CLASSORIGIN=\"" POINT "\"><VALUE>2</VALUE></PROPERTY></INSTANCE>"
	    "<VALUE.NAMEDINSTANCE><INSTANCENAME CLASSNAME=\"" POINT "\">"
	    "<KEYBINDING NAME=\"InstanceID\"><KEYVALUE VALUETYPE=\"string\">id"
	    "</KEYVALUE></KEYBINDING><KEYBINDING "
	    "NAME=\"VirtualSystemIdentifier\"><KEYVALUE VALUETYPE=\"string\">v"
	    "</KEYVALUE></KEYBINDING></INSTANCENAME>"
	    "<INSTANCE CLASSNAME=\"" POINT "\"></INSTANCE>"
	    "</VALUE.NAMEDINSTANCE>");
}

static void nothing_that_is_written_confuses_wbemcli(void **state)
{
	static const char *const bad[] = {"<PROPERTY", "<PARAMETER", "<VALUE",
					  "<![CDATA["};
	const struct codec_select all = {.qualifiers = true,
					 .class_origin = true};
	struct xml_out out = fragment();
	const char *text;

	codec_put_instance(&out, new_point(), &all, false);
	codec_put_object_with_path(&out, new_point(), &all);
	codec_put_instance_with_path(&out, new_point(), &all);
	codec_put_object(&out, new_point(), &all);
	codec_put_object_path(&out, new_point()->path);
	for (uint32_t i = 0; i < schema_class_count; i++)
		codec_put_class(&out, &schema_classes[i], &all);
	text = finished(&out);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		for (const char *p = text; (p = strstr(p, bad[i])); p++) {
			assert_int_not_equal(bad[i][1], '!');
			assert_int_not_equal(*(strchr(p, '>') - 1), '/');
		}
	}
}

static void parameters_and_results_are_written(void **state)
{
	struct cim_instance *settings;
	struct cim_value v = cim_uint(CIM_UINT32, 4096);
	struct xml_out out = fragment();

	assert_int_equal(cim_instance_new(arena, class_of(SETTING), false,
					  &settings, NULL),
			 0);
	(void)cim_instance_set(settings, "ConsistencyLevel",
			       cim_uint(CIM_UINT8, 1), NULL);
	codec_put_return(&out, &v);
	v = cim_embedded(settings);
	codec_put_parameter(
	    &out,
	    parameter_of("CreateReferencePoint", "ReferencePointSettings"), &v);
	v = cim_reference(path_of(NAME));
	codec_put_parameter(&out, parameter_of("CreateReferencePoint", "Job"),
			    &v);
	v = cim_reference(NULL);
	codec_put_parameter(&out, parameter_of("CreateReferencePoint", "Job"),
			    &v);
	assert_string_equal(
	    finished(&out),
	    "<RETURNVALUE PARAMTYPE=\"uint32\"><VALUE>4096</VALUE>"
	    "</RETURNVALUE><PARAMVALUE NAME=\"ReferencePointSettings\" "
	    "PARAMTYPE=\"string\" EmbeddedObject=\"instance\"><VALUE>"
	    "&lt;INSTANCE CLASSNAME=&quot;" SETTING "&quot;&gt;"
	    "&lt;PROPERTY NAME=&quot;ConsistencyLevel&quot; "
	    "TYPE=&quot;uint8&quot;&gt;&lt;VALUE&gt;1&lt;/VALUE&gt;"
	    "&lt;/PROPERTY&gt;&lt;/INSTANCE&gt;</VALUE></PARAMVALUE>"
	    "<PARAMVALUE NAME=\"Job\" PARAMTYPE=\"reference\">"
	    "<VALUE.REFERENCE>" NAME "</VALUE.REFERENCE></PARAMVALUE>"
	    "<PARAMVALUE NAME=\"Job\" PARAMTYPE=\"reference\"></PARAMVALUE>");
}

static void an_answer_beyond_its_limit_is_an_error(void **state)
{
	struct cim_instance *settings;
	struct cim_value v;
	struct xml_out out;
	char *bytes;
	size_t length;

	assert_int_equal(cim_instance_new(arena, class_of(SETTING), false,
					  &settings, NULL),
			 0);
	(void)cim_instance_set(settings, "Caption",
			       cim_string("a long caption, longer than room"),
			       NULL);
	v = cim_embedded(settings);
	xml_init(&out, 80, true);
	codec_put_value(&out, &v);
	assert_int_equal(xml_finish(&out, &bytes, &length, NULL),
			 -CIM_EREPLYBYTES);
}

/* ---- classes ------------------------------------------------------------ */

static unsigned count(const char *text, const char *word)
{
	unsigned n = 0;

	for (; (text = strstr(text, word)); text++)
		n++;
	return n;
}

static const char *written_class(const char *name,
				 const struct codec_select *select)
{
	struct xml_out out = fragment();

	codec_put_class(&out, class_of(name), select);
	return finished(&out);
}

static void a_class_is_written_as_asked(void **state)
{
	const struct schema_class *class = class_of(POINT);
	const struct codec_select local = {.local_only = true};
	const struct codec_select origin = {.class_origin = true};
	const struct codec_select qualified = {.qualifiers = true};
	const char *text = written_class(POINT, &everything);
	unsigned own = 0;

	for (uint32_t i = 0; i < class->property_count; i++)
		own += class->properties[i]->declarer == class;
	assert_int_equal(strncmp(text,
				 "<CLASS NAME=\"" POINT
				 "\" SUPERCLASS=\"CIM_ManagedElement\">",
				 strlen(POINT) + 46),
			 0);
	assert_int_equal(count(text, "</PROPERTY"), class->property_count);
	assert_int_equal(count(text, "QUALIFIER"), 0);
	assert_int_equal(count(text, "CLASSORIGIN"), 0);
	text = written_class(POINT, &local);
	assert_int_equal(count(text, "</PROPERTY"), own);
	assert_in_range(own, 1, class->property_count - 1);
	assert_int_equal(count(text, "PROPAGATED"), 0);
	text = written_class(POINT, &origin);
	assert_int_equal(count(text, "CLASSORIGIN"), class->property_count);
	text = written_class(POINT, &qualified);
	assert_non_null(
	    strstr(text, "<QUALIFIER NAME=\"Key\" TYPE=\"boolean\""));
	assert_non_null(strstr(text, "<QUALIFIER NAME=\"ValueMap\" "));
}

static void a_class_says_what_its_methods_take(void **state)
{
	const char *text = written_class(
	    "Msvm_VirtualSystemReferencePointService",
	    &(struct codec_select){.qualifiers = true, .local_only = true});

	assert_int_equal(count(text, "</METHOD>"), 5);
	assert_non_null(strstr(text, "<METHOD NAME=\"CreateReferencePoint\" "
				     "TYPE=\"uint32\">"));
	assert_non_null(strstr(text, "<PARAMETER.REFERENCE "
				     "NAME=\"AffectedSystem\" REFERENCECLASS="
				     "\"Msvm_ComputerSystem\">"));
	assert_non_null(strstr(text, "<PARAMETER NAME=\"ReferencePointType\" "
				     "TYPE=\"uint16\">"));
}

static void every_class_and_qualifier_is_well_formed(void **state)
{
	const struct codec_select all = {.qualifiers = true,
					 .class_origin = true};
	const struct xml_options options = {0};
	const struct xml_node *root;

	for (uint32_t i = 0; i < schema_class_count; i++) {
		struct arena_mark mark = arena_mark(arena);
		struct xml_out out = fragment();
		const char *text;

		codec_put_class_with_path(&out, "h", V2, &schema_classes[i],
					  &all);
		text = finished(&out);
		assert_int_equal(xml_parse(arena, text, strlen(text), &options,
					   &root, NULL),
				 0);
		arena_rewind(arena, mark);
	}
	for (uint32_t i = 0; i < schema_qualifier_type_count; i++) {
		struct xml_out out = fragment();

		codec_put_qualifier_type(&out, &schema_qualifier_types[i]);
		root = tree(finished(&out));
		assert_string_equal(xml_attribute(root, NULL, "NAME"),
				    schema_qualifier_types[i].name);
		assert_non_null(xml_child(root, NULL, "SCOPE"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(every_encoding_of_an_instance_is_read),
	    TEST(text_that_holds_no_such_instance_is_refused),
	    TEST(arrays_and_references_in_strings_are_read),
	    TEST(one_value_will_do_for_an_array),
	    TEST(settings_come_as_text_or_elements_or_not_at_all),
	    TEST(numbers_have_the_schemas_type),
	    TEST(all_forms_of_a_path_name_one_object),
	    TEST(paths_are_written_as_they_are_read),
	    TEST(what_is_no_path_is_refused),
	    TEST(an_instance_survives_both_ways),
	    TEST(only_what_was_asked_for_is_written),
	    TEST(nothing_that_is_written_confuses_wbemcli),
	    TEST(parameters_and_results_are_written),
	    TEST(an_answer_beyond_its_limit_is_an_error),
	    TEST(a_class_is_written_as_asked),
	    TEST(a_class_says_what_its_methods_take),
	    TEST(every_class_and_qualifier_is_well_formed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
