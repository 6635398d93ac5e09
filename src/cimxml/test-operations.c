/* SPDX-License-Identifier: Apache-2.0 */
/* Every operation, and what each fails with. */
#include "cimxml/test-cimxml.h"

#define OBJECT   PARAM("ObjectName", SYSTEM_NAME)
#define INSTANCE PARAM("InstanceName", SYSTEM_NAME)
#define JOB_NAME                                                               \
	"<INSTANCENAME CLASSNAME='Msvm_ConcreteJob'><KEYBINDING "              \
	"NAME='InstanceID'><KEYVALUE>job-1</KEYVALUE></KEYBINDING>"            \
	"</INSTANCENAME>"
#define NO      "<VALUE>FALSE</VALUE>"
#define YES     "<VALUE>TRUE</VALUE>"
#define SETTING "Msvm_VirtualSystemReferencePointSettingData"
#define SERVICE "Msvm_VirtualSystemReferencePointService"

static void classes(void **state)
{
	(void)ask("GetClass", PARAM("ClassName", CLASSNAME("cim_job")));
	assert_int_equal(code(), 0);
	assert_true(has("<CLASS NAME=\"CIM_Job\" SUPERCLASS=\"CIM_LogicalEl"));
	assert_true(has("<QUALIFIER NAME=\"Description\""));
	assert_false(has("NAME=\"ElementName\""));
	(void)ask("GetClass",
		  PARAM("ClassName", CLASSNAME("CIM_Job"))
		      PARAM("LocalOnly", NO) PARAM("IncludeQualifiers", NO));
	assert_true(has("NAME=\"ElementName\""));
	assert_false(has("<QUALIFIER"));
	(void)ask(
	    "GetClass",
	    PARAM("ClassName", CLASSNAME("CIM_Job")) PARAM("LocalOnly", NO)
		PARAM("PropertyList",
		      "<VALUE.ARRAY><VALUE>elementname</VALUE></VALUE.ARRAY>"));
	assert_int_equal(times("<PROPERTY "), 1);
	(void)ask("GetClass", PARAM("ClassName", CLASSNAME("CIM_Nothing")));
	assert_int_equal(code(), 5);
}

static void enumerations_of_classes(void **state)
{
	(void)ask("EnumerateClassNames", "");
	assert_true(has("<CLASSNAME NAME=\"CIM_ManagedElement\"/>"));
	assert_false(has("Msvm_ComputerSystem"));
	(void)ask("EnumerateClassNames", PARAM("DeepInheritance", YES));
	assert_true(has("<CLASSNAME NAME=\"Msvm_ComputerSystem\"/>"));
	(void)ask("EnumerateClassNames",
		  PARAM("ClassName", CLASSNAME("CIM_Job")));
	assert_int_equal(times("<CLASSNAME "), 1);
	(void)ask("EnumerateClasses", PARAM("ClassName", CLASSNAME("CIM_Job")));
	assert_int_equal(times("<CLASS "), 1);
	(void)ask("EnumerateClasses", PARAM("ClassName", CLASSNAME("None")));
	assert_int_equal(code(), 5);
	(void)ask("EnumerateClasses",
		  PARAM("DeepInheritance", YES) PARAM("LocalOnly", NO)
		      PARAM("IncludeClassOrigin", YES));
	assert_true(times("<CLASS ") > 50);
	(void)ask("EnumerateClassNames", PARAM("ClassName", ""));
	assert_int_equal(code(), 0);
}

static void qualifiers(void **state)
{
	(void)ask("GetQualifier", PARAM("QualifierName", VALUE("key")));
	assert_true(
	    has("<QUALIFIER.DECLARATION NAME=\"Key\" TYPE=\"boolean\""));
	(void)ask("GetQualifier", PARAM("QualifierName", VALUE("nothing")));
	assert_int_equal(code(), 6);
	(void)ask("EnumerateQualifiers", "");
	assert_int_equal(times("<QUALIFIER.DECLARATION "),
			 schema_qualifier_type_count);
}

static const char *instance_with_names(unsigned count)
{
	char *names = arena_alloc(arena, count * strlen(VALUE("x")) + 1);
	char *to = names;

	while (count-- > 0)
		to = stpcpy(to, VALUE("x"));
	return arena_printf(arena,
			    INSTANCE PARAM("PropertyList",
					   "<VALUE.ARRAY>%s</VALUE.ARRAY>"),
			    names);
}

static void instances(void **state)
{
	(void)ask("EnumerateInstances",
		  PARAM("ClassName", CLASSNAME("CIM_ManagedElement")));
	assert_int_equal(code(), 0);
	assert_int_equal(times("<VALUE.NAMEDINSTANCE>"), 4);
	assert_true(has("<PROPERTY NAME=\"JobState\""));
	(void)ask("EnumerateInstances",
		  PARAM("ClassName", CLASSNAME("CIM_ManagedElement"))
		      PARAM("DeepInheritance", NO));
	assert_int_equal(times("<VALUE.NAMEDINSTANCE>"), 4);
	assert_false(has("<PROPERTY NAME=\"JobState\""));
	(void)ask("EnumerateInstanceNames", THE_CLASS);
	assert_int_equal(times("<INSTANCENAME "), 2);
	(void)ask(
	    "GetInstance",
	    INSTANCE PARAM("PropertyList",
			   "<VALUE.ARRAY><VALUE>NAME</VALUE></VALUE.ARRAY>"));
	assert_int_equal(times("<PROPERTY"), 1);
	(void)ask("GetInstance", instance_with_names(CIM_PROPERTY_LIST_MAX));
	assert_int_equal(code(), 0);
	(void)ask("GetInstance",
		  instance_with_names(CIM_PROPERTY_LIST_MAX + 1));
	assert_int_equal(code(), 4);
	(void)ask("GetInstance",
		  INSTANCE PARAM("PropertyList", "<VALUE.ARRAY/>"));
	assert_int_equal(code(), 0);
	assert_int_equal(times("<PROPERTY"), 0);
	(void)ask(
	    "GetInstance",
	    PARAM("InstanceName",
		  "<INSTANCENAME CLASSNAME='Msvm_ConcreteJob'><KEYVALUE>job-2"
		  "</KEYVALUE></INSTANCENAME>"));
	assert_int_equal(code(), 6);
	(void)ask("GetInstance",
		  PARAM("InstanceName",
			"<INSTANCENAME CLASSNAME='Msvm_ComputerSystem'/>"));
	assert_int_equal(code(), 4);
}

static void properties(void **state)
{
	(void)ask("GetProperty", INSTANCE PARAM("PropertyName", VALUE("name")));
	assert_true(has("<IRETURNVALUE><VALUE>abc</VALUE></IRETURNVALUE>"));
	(void)ask("GetProperty",
		  INSTANCE PARAM("PropertyName", VALUE("ElementName")));
	assert_true(has("<IRETURNVALUE></IRETURNVALUE>"));
	(void)ask("GetProperty", INSTANCE PARAM("PropertyName", VALUE("Nam")));
	assert_int_equal(code(), 12);
}

static void deleting(void **state)
{
	(void)ask("DeleteInstance", PARAM("InstanceName", JOB_NAME));
	assert_int_equal(code(), 0);
	assert_true(has("<IMETHODRESPONSE NAME=\"DeleteInstance\">"
			"</IMETHODRESPONSE>"));
	(void)ask("DeleteInstance", INSTANCE);
	assert_int_equal(code(), 7);
}

static void walks(void **state)
{
	(void)ask("Associators", OBJECT);
	assert_int_equal(times("<VALUE.OBJECTWITHPATH><INSTANCEPATH>"), 1);
	assert_true(has("<HOST>me</HOST>"));
	assert_true(has("<INSTANCE CLASSNAME=\"Msvm_ConcreteJob\">"));
	(void)ask("AssociatorNames", OBJECT PARAM("Role", VALUE("Wrong")));
	assert_int_equal(code(), 0);
	assert_int_equal(times("<OBJECTPATH>"), 0);
	(void)ask("AssociatorNames",
		  OBJECT PARAM("AssocClass",
			       CLASSNAME("CIM_AffectedJobElement")));
	assert_int_equal(times("<OBJECTPATH><INSTANCEPATH>"), 1);
	(void)ask("References", OBJECT);
	assert_true(has("<INSTANCE CLASSNAME=\"Msvm_AffectedJobElement\">"));
	(void)ask("ReferenceNames", OBJECT);
	assert_int_equal(times("<OBJECTPATH><INSTANCEPATH>"), 1);
	(void)ask("ReferenceNames",
		  OBJECT PARAM("AssocClass",
			       CLASSNAME("CIM_AffectedJobElement")));
	assert_int_equal(code(), 4);
}

static void walks_of_classes(void **state)
{
#define OF PARAM("ObjectName", CLASSNAME("Msvm_ComputerSystem"))
	(void)ask("Associators", OF);
	assert_true(has("<VALUE.OBJECTWITHPATH><CLASSPATH>"));
	assert_true(has("<CLASS NAME=\"Msvm_ConcreteJob\""));
	assert_false(has("<QUALIFIER"));
	(void)ask("References", OF PARAM("IncludeQualifiers", YES));
	assert_true(has("<CLASS NAME=\"Msvm_AffectedJobElement\""));
	assert_true(has("<QUALIFIER"));
	(void)ask("AssociatorNames", OF);
	assert_true(has("<OBJECTPATH><CLASSPATH>"));
	assert_true(has("<CLASSNAME NAME=\"Msvm_ConcreteJob\"/>"));
	(void)ask("ReferenceNames", OF);
	assert_true(has("<CLASSNAME NAME=\"Msvm_AffectedJobElement\"/>"));
}

static void queries(void **state)
{
#define QUERY(language, text)                                                  \
	PARAM("QueryLanguage", VALUE(language)) PARAM("Query", VALUE(text))
	(void)ask("ExecQuery",
		  QUERY("wql", "SELECT Name FROM CIM_System WHERE Name='abc'"));
	assert_int_equal(times("<VALUE.OBJECT><INSTANCE "), 1);
	assert_int_equal(times("<PROPERTY"), 1);
	(void)ask("ExecQuery",
		  QUERY("DMTF:CQL", "SELECT * FROM Msvm_ComputerSystem"));
	assert_int_equal(times("<VALUE.OBJECT><INSTANCE "), 2);
	(void)ask("ExecQuery",
		  QUERY("WQL", "ASSOCIATORS OF {Msvm_ConcreteJob='job-1'}"));
	assert_int_equal(times("<VALUE.OBJECT><INSTANCE "), 1);
	(void)ask("ExecQuery",
		  QUERY("WQL", "ASSOCIATORS OF {Msvm_ConcreteJob='job-1'} "
			       "WHERE ClassDefsOnly"));
	assert_int_equal(times("<VALUE.OBJECT><CLASS "), 1);
	(void)ask("ExecQuery", QUERY("XPath", "/"));
	assert_int_equal(code(), 14);
	(void)ask("ExecQuery", QUERY("WQL", "SELECT"));
	assert_int_equal(code(), 15);
}

static void what_is_not_supported_says_so(void **state)
{
	static const char *const methods[] = {
	    "CreateInstance", "ModifyInstance", "SetProperty",  "CreateClass",
	    "ModifyClass",    "DeleteClass",    "SetQualifier", "Unheard"};

	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		(void)ask(methods[i],
			  "<IPARAMVALUE NAME='X'><Y/></IPARAMVALUE>");
		assert_int_equal(code(), 7);
	}
}

static void wrong_parameters_are_refused(void **state)
{
	static const char *const wrong[] = {
	    "",
	    PARAM("ClassName", ""),
	    PARAM("ClassName", VALUE("CIM_Job")),
	    THE_CLASS THE_CLASS,
	    THE_CLASS PARAM("Query", VALUE("x")),
	    THE_CLASS PARAM("LocalOnly", VALUE("perhaps")),
	    THE_CLASS PARAM("LocalOnly", "<VALUE><A/></VALUE>"),
	    THE_CLASS PARAM("PropertyList", VALUE("Name")),
	    THE_CLASS "<IPARAMVALUE/>",
	};

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		(void)ask("EnumerateInstances", wrong[i]);
		assert_int_equal(code(), 4);
	}
}

static void errors_of_the_broker_come_through(void **state)
{
	static const struct {
		int error;
		unsigned code;
	} errors[] = {{-CIM_EACCESS, 2},    {-CIM_EFAILED, 1},
		      {-CIM_ELIMITS, 27},   {-EIO, 1},
		      {-CIM_ESHUTDOWN, 28}, {-RP_EUNREACHABLE, 1}};

	for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
		fake_error = errors[i].error;
		(void)ask("EnumerateInstances", THE_CLASS);
		assert_int_equal(code(), errors[i].code);
		assert_false(has("IRETURNVALUE"));
	}
}

static void nobody_may_do_nothing(void **state)
{
	request.role = CIM_ROLE_NONE;
	(void)ask("EnumerateQualifiers", "");
	assert_int_equal(code(), 2);
	(void)ask("EnumerateClassNames", "");
	assert_int_equal(code(), 2);
}

static void a_reply_beyond_the_limit_is_an_error(void **state)
{
	fake_extra = 100;
	service.reply_bytes_max = CIMXML_REPLY_BYTES_MIN;
	(void)ask("EnumerateInstances", THE_CLASS);
	assert_int_equal(code(), 27);
	assert_true(response.body_bytes <= CIMXML_REPLY_BYTES_MIN);
	(void)ask("GetClass", THE_CLASS PARAM("LocalOnly", NO));
	assert_int_equal(code(), 27);
}

static void an_unknown_namespace_is_an_error(void **state)
{
	usual_headers("EnumerateClassNames", "root/none");
	(void)send_body(message(
	    "<IMETHODCALL NAME='EnumerateClassNames'><LOCALNAMESPACEPATH>"
	    "<NAMESPACE NAME='root'/><NAMESPACE NAME='none'/>"
	    "</LOCALNAMESPACEPATH></IMETHODCALL>"));
	assert_int_equal(code(), 3);
}

/* ---- methods ------------------------------------------------------------- */

#define KEY(name, value)                                                       \
	"<KEYBINDING NAME='" name "'><KEYVALUE VALUETYPE='string'>" value      \
	"</KEYVALUE></KEYBINDING>"
#define SERVICE_KEYS                                                           \
	KEY("SystemCreationClassName", "Msvm_ComputerSystem")                  \
	KEY("SystemName", "host")                                              \
	KEY("CreationClassName", SERVICE) KEY("Name", "vmms")
#define SERVICE_TEXT                                                           \
	V2 ":" SERVICE ".CreationClassName=\"" SERVICE "\",Name=\"vmms\","     \
	   "SystemCreationClassName=\"Msvm_ComputerSystem\","                  \
	   "SystemName=\"host\""

static const char *call_at(const char *object, const char *path,
			   const char *method, const char *parameters)
{
	usual_headers(method, object);
	fake_called[0] = '\0';
	return send_body(message(
	    arena_printf(arena, "<METHODCALL NAME='%s'>%s%s</METHODCALL>",
			 method, path, parameters)));
}

static const char *call(const char *method, const char *parameters)
{
	return call_at(SERVICE_TEXT,
		       "<LOCALINSTANCEPATH>" SPACE
		       "<INSTANCENAME CLASSNAME='" SERVICE "'>" SERVICE_KEYS
		       "</INSTANCENAME></LOCALINSTANCEPATH>",
		       method, parameters);
}

#define CREATE "CreateReferencePoint"
#define ARGUMENT(name, value)                                                  \
	"<PARAMVALUE NAME='" name "'>" value "</PARAMVALUE>"

static void a_method_is_called(void **state)
{
	(void)call(CREATE, ARGUMENT("referencepointtype", VALUE("1")));
	assert_int_equal(code(), 0);
	assert_string_equal(fake_called,
			    "AffectedSystem=NULL;ReferencePointSettings=NULL;"
			    "ReferencePointType=1;ResultingReferencePoint=NULL;"
			    "Job=NULL;");
	assert_true(has("<METHODRESPONSE NAME=\"" CREATE "\"><RETURNVALUE "
			"PARAMTYPE=\"uint32\"><VALUE>4096</VALUE></RETURNVALUE>"
			"<PARAMVALUE NAME=\"Job\" PARAMTYPE=\"reference\">"
			"<VALUE.REFERENCE><LOCALINSTANCEPATH>"));
	assert_int_equal(times("<PARAMVALUE "), 1);
}

static void a_reference_is_read_in_every_form(void **state)
{
#define REF(value)                                                             \
	ARGUMENT("AffectedSystem",                                             \
		 "<VALUE.REFERENCE>" value "</VALUE.REFERENCE>")
	static const char *const forms[] = {
	    REF(SYSTEM_NAME),
	    REF("<LOCALINSTANCEPATH>" SPACE SYSTEM_NAME "</LOCALINSTANCEPATH>"),
	    REF("<INSTANCEPATH><NAMESPACEPATH><HOST>me</HOST>" SPACE
		"</NAMESPACEPATH>" SYSTEM_NAME "</INSTANCEPATH>"),
	    ARGUMENT("AffectedSystem",
		     VALUE("Msvm_ComputerSystem.CreationClassName="
			   "\"Msvm_ComputerSystem\",Name=\"abc\"")),
	};

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		(void)call(CREATE, forms[i]);
		assert_int_equal(code(), 0);
		assert_non_null(strstr(fake_called, "Msvm_ComputerSystem."));
		assert_non_null(strstr(fake_called, "\"abc\""));
	}
}

static void an_embedded_instance_is_read_in_every_form(void **state)
{
#define TEXT(lt, gt, q)                                                        \
	lt "INSTANCE CLASSNAME=" q SETTING q gt lt "PROPERTY NAME=" q          \
	   "ConsistencyLevel" q " TYPE=" q "uint8" q gt lt "VALUE" gt "1" lt   \
	   "/VALUE" gt lt "/PROPERTY" gt lt "/INSTANCE" gt
#define SETTINGS(value) ARGUMENT("ReferencePointSettings", value)
	static const char *const forms[] = {
	    SETTINGS("<VALUE>" TEXT("&lt;", "&gt;", "&quot;") "</VALUE>"),
	    SETTINGS("<VALUE><![CDATA[" TEXT("<", ">", "\"") "]]></VALUE>"),
	    SETTINGS("<VALUE>" TEXT("<", ">", "'") "</VALUE>"),
	    "<PARAMVALUE NAME='ReferencePointSettings' PARAMTYPE='string' "
	    "EmbeddedObject='instance'><VALUE>" TEXT(
		"&lt;", "&gt;", "'") "</VALUE></PARAMVALUE>",
	    "<PARAMVALUE NAME='ReferencePointSettings' "
	    "EMBEDDEDOBJECT='instance'><VALUE>" TEXT(
		"&lt;", "&gt;", "'") "</VALUE></PARAMVALUE>",
	};

	for (size_t i = 0; i < ARRAY_SIZE(forms); i++) {
		(void)call(CREATE, forms[i]);
		assert_int_equal(code(), 0);
		assert_non_null(strstr(fake_called,
				       "NAME=\"ConsistencyLevel\" "
				       "TYPE=\"uint8\"><VALUE>1</VALUE>"));
	}
	(void)call(CREATE, SETTINGS("<VALUE/>"));
	assert_non_null(strstr(fake_called, "ReferencePointSettings=NULL"));
}

static void an_unreadable_instance_is_a_wrong_argument(void **state)
{
	static const char *const texts[] = {
	    "rubbish", "&lt;INSTANCE", "&lt;INSTANCE CLASSNAME='None'/&gt;",
	    "&lt;INSTANCE CLASSNAME='Msvm_ConcreteJob'/&gt;"};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		(void)call(CREATE,
			   arena_printf(arena, SETTINGS("<VALUE>%s</VALUE>"),
					texts[i]));
		assert_int_equal(code(), 0);
		assert_true(has("<RETURNVALUE PARAMTYPE=\"uint32\"><VALUE>4"
				"</VALUE></RETURNVALUE></METHODRESPONSE>"));
		assert_string_equal(fake_called, "");
	}
}

static void what_only_comes_out_is_taken_in_any_form(void **state)
{
	(void)call(CREATE,
		   ARGUMENT("Job", VALUE("rubbish"))
		       ARGUMENT("ResultingReferencePoint", VALUE("=,=")));
	assert_int_equal(code(), 0);
	assert_non_null(strstr(fake_called, "ResultingReferencePoint=NULL;"));
	assert_non_null(strstr(fake_called, "Job=NULL;"));
}

static void wrong_calls_are_refused(void **state)
{
	(void)call("Nothing", "");
	assert_int_equal(code(), 17);
	(void)call(CREATE, ARGUMENT("Unknown", VALUE("1")));
	assert_int_equal(code(), 4);
	(void)call(CREATE, "<PARAMVALUE/>");
	assert_int_equal(code(), 4);
	(void)call(CREATE, ARGUMENT("ReferencePointType", VALUE("1"))
			       ARGUMENT("ReferencePointType", VALUE("1")));
	assert_int_equal(code(), 4);
	(void)call(CREATE, ARGUMENT("ReferencePointType", VALUE("70000")));
	assert_int_equal(code(), 13);
	(void)call(CREATE, ARGUMENT("ReferencePointType",
				    "<VALUE.ARRAY><VALUE>1</VALUE>"
				    "</VALUE.ARRAY>"));
	assert_int_equal(code(), 13);
	(void)call_at(V2 ":" SERVICE,
		      "<LOCALCLASSPATH>" SPACE CLASSNAME(
			  SERVICE) "</LOCALCLASSPATH>",
		      CREATE, "");
	assert_int_equal(code(), 4);
	/* What a reader may not call is not looked at. */
	request.role = CIM_ROLE_READER;
	(void)call(CREATE, "");
	assert_int_equal(code(), 2);
	(void)call(CREATE, ARGUMENT("Unknown", VALUE("1")));
	assert_int_equal(code(), 2);
}

static void the_object_of_a_call_is_in_its_header(void **state)
{
#define PATH                                                                   \
	"<LOCALINSTANCEPATH>" SPACE "<INSTANCENAME CLASSNAME='" SERVICE        \
	"'>" SERVICE_KEYS "</INSTANCENAME></LOCALINSTANCEPATH>"
	(void)call_at(V2 ":" SERVICE ".Name=\"vmms\"", PATH, CREATE, "");
	assert_int_equal(response.status, 400);
	assert_string_equal(reply_header("CIMError"), "header-mismatch");
	(void)call_at(V2, PATH, CREATE, "");
	assert_int_equal(response.status, 400);
	(void)call_at("root%2Fvirtualization%2Fv2%3A" SERVICE
		      ".CreationClassName=%22" SERVICE "%22,Name=\"vmms\","
		      "SystemName%3D\"host\","
		      "SystemCreationClassName=\"Msvm_ComputerSystem\"",
		      PATH, CREATE, "");
	assert_int_equal(code(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    CASE(classes),
	    CASE(enumerations_of_classes),
	    CASE(qualifiers),
	    CASE(instances),
	    CASE(properties),
	    CASE(deleting),
	    CASE(walks),
	    CASE(walks_of_classes),
	    CASE(queries),
	    CASE(what_is_not_supported_says_so),
	    CASE(wrong_parameters_are_refused),
	    CASE(errors_of_the_broker_come_through),
	    CASE(nobody_may_do_nothing),
	    CASE(a_reply_beyond_the_limit_is_an_error),
	    CASE(an_unknown_namespace_is_an_error),
	    CASE(a_method_is_called),
	    CASE(a_reference_is_read_in_every_form),
	    CASE(an_embedded_instance_is_read_in_every_form),
	    CASE(an_unreadable_instance_is_a_wrong_argument),
	    CASE(what_only_comes_out_is_taken_in_any_form),
	    CASE(wrong_calls_are_refused),
	    CASE(the_object_of_a_call_is_in_its_header),
	};

	return cmocka_run_group_tests_name("cimxml-operations", tests, NULL,
					   NULL);
}
