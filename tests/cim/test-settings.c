/* SPDX-License-Identifier: Apache-2.0 */
/*
 * CreateReferencePoint through both protocols: settings and references in every
 * form in which clients are known to send them.
 */
#include "front.h"

#define SERVICE "Msvm_VirtualSystemReferencePointService"
#define CLASS   "Msvm_VirtualSystemReferencePointSettingData"

/* ---- settings ---------------------------------------------------------------
 */

#define LEVEL                                                                  \
	"<PROPERTY NAME=\"ConsistencyLevel\" TYPE=\"uint8\">"                  \
	"<VALUE>1</VALUE></PROPERTY>"
#define INSTANCE "<INSTANCE CLASSNAME=\"" CLASS "\">" LEVEL "</INSTANCE>"

/* What a .NET client's GetText() makes of a template that it fetched. */
#define WMI_DTD                                                                \
	"<INSTANCE CLASSNAME=\"" CLASS "\">"                                   \
	"<QUALIFIER NAME=\"dynamic\" PROPAGATED=\"true\" TYPE=\"boolean\" "    \
	"TOSUBCLASS=\"false\" TOINSTANCE=\"true\"><VALUE>TRUE</VALUE>"         \
	"</QUALIFIER>"                                                         \
	"<PROPERTY NAME=\"__PATH\" CLASSORIGIN=\"___SYSTEM\" TYPE=\"string\">" \
	"<VALUE>\\\\HOST\\root\\virtualization\\v2:x</VALUE></PROPERTY>"       \
	"<PROPERTY NAME=\"__GENUS\" CLASSORIGIN=\"___SYSTEM\" "                \
	"TYPE=\"sint32\"><VALUE>2</VALUE></PROPERTY>"                          \
	"<PROPERTY NAME=\"Caption\" CLASSORIGIN=\"CIM_ManagedElement\" "       \
	"PROPAGATED=\"true\" TYPE=\"string\"></PROPERTY>"                      \
	"<PROPERTY NAME=\"ConsistencyLevel\" CLASSORIGIN=\"" CLASS             \
	"\" TYPE=\"uint8\">\r\n<VALUE>1</VALUE>\r\n</PROPERTY>"                \
	"<PROPERTY NAME=\"InstanceID\" PROPAGATED=\"true\" TYPE=\"string\"/>"  \
	"</INSTANCE>"
#define DOCTYPE                                                                \
	"<!DOCTYPE CIM SYSTEM \"http://www.dmtf.org/cim/mapping/xml/v2.0\">"
#define CIM_DTD                                                                \
	"<CIM CIMVERSION=\"2.0\" DTDVERSION=\"2.0\"><DECLARATION>"             \
	"<DECLGROUP.WITHPATH><VALUE.OBJECTWITHPATH><INSTANCEPATH/>" INSTANCE   \
	"</VALUE.OBJECTWITHPATH></DECLGROUP.WITHPATH></DECLARATION></CIM>"

static const struct {
	const char *what, *text;
} forms[] = {
    {"minimal", INSTANCE},
    {"WMI's DTD 2.0", WMI_DTD},
    {"with a declaration", "<?xml version=\"1.0\"?>\r\n" INSTANCE},
    {"with the encoding that it had",
     "<?xml version=\"1.0\" encoding=\"utf-16\"?>" WMI_DTD},
    {"with a byte order mark", "\xef\xbb\xbf<?xml version=\"1.0\" "
			       "encoding=\"utf-8\"?>" INSTANCE},
    {"with a byte order mark alone", "\xef\xbb\xbf" INSTANCE},
    {"with white space around", "\r\n\t " INSTANCE " \r\n"},
    {"with a document type", "<?xml version=\"1.0\"?>" DOCTYPE CIM_DTD},
    {"CIM's DTD 2.0", CIM_DTD},
    {"DECLGROUP", "<CIM><DECLARATION><DECLGROUP><VALUE.OBJECT>" INSTANCE
		  "</VALUE.OBJECT></DECLGROUP></DECLARATION></CIM>"},
    {"VALUE.OBJECT", "<VALUE.OBJECT>" INSTANCE "</VALUE.OBJECT>"},
    {"VALUE.NAMEDINSTANCE",
     "<VALUE.NAMEDINSTANCE><INSTANCENAME CLASSNAME=\"" CLASS "\"/>" INSTANCE
     "</VALUE.NAMEDINSTANCE>"},
    {"names in another case",
     "<INSTANCE CLASSNAME=\"msvm_virtualsystemreferencepointsettingdata\">"
     "<PROPERTY NAME=\"consistencylevel\" TYPE=\"UINT8\"><VALUE>1</VALUE>"
     "</PROPERTY></INSTANCE>"},
    {"white space around the number",
     "<INSTANCE CLASSNAME=\"" CLASS "\"><PROPERTY NAME=\"ConsistencyLevel\" "
     "TYPE=\"uint8\"><VALUE> 1 </VALUE></PROPERTY></INSTANCE>"},
    {"without a type",
     "<INSTANCE CLASSNAME=\"" CLASS "\"><PROPERTY NAME=\"ConsistencyLevel\">"
     "<VALUE>1</VALUE></PROPERTY></INSTANCE>"},
    {"a number in CDATA",
     "<INSTANCE CLASSNAME=\"" CLASS "\"><PROPERTY NAME=\"ConsistencyLevel\" "
     "TYPE=\"uint8\"><VALUE><![CDATA[1]]></VALUE></PROPERTY></INSTANCE>"},
};

static const char *const unreadable[] = {
    "instance of " CLASS " { ConsistencyLevel = 1; };",
    "<INSTANCE CLASSNAME=\"" CLASS "\">",
    "<INSTANCE>" LEVEL "</INSTANCE>",
    "<INSTANCE CLASSNAME=\"No_Such\"></INSTANCE>",
    "<INSTANCE CLASSNAME=\"Msvm_Error\"></INSTANCE>",
    "<INSTANCE CLASSNAME=\"" CLASS "\"><PROPERTY NAME=\"ConsistencyLevel\" "
    "TYPE=\"uint8\"><VALUE>x</VALUE></PROPERTY></INSTANCE>",
    "<INSTANCE CLASSNAME=\"" CLASS "\"><PROPERTY NAME=\"ConsistencyLevel\" "
    "TYPE=\"uint8\"><VALUE>256</VALUE></PROPERTY></INSTANCE>",
    "<!DOCTYPE x [<!ENTITY e \"1\">]><INSTANCE CLASSNAME=\"" CLASS
    "\"><PROPERTY NAME=\"ConsistencyLevel\" TYPE=\"uint8\"><VALUE>&e;</VALUE>"
    "</PROPERTY></INSTANCE>",
    "<CLASS NAME=\"" CLASS "\"></CLASS>",
    "1",
};

static char *escaped(const char *text)
{
	char *all = calloc(1, 6 * strlen(text) + 1), *to = all;

	assert_non_null(all);
	for (; *text; text++)
		if (*text == '<')
			to = stpcpy(to, "&lt;");
		else if (*text == '>')
			to = stpcpy(to, "&gt;");
		else if (*text == '&')
			to = stpcpy(to, "&amp;");
		else
			*to++ = *text;
	return all;
}

/* There are none in ours. */
static char *in_cdata(const char *text)
{
	char *all = NULL;

	if (strstr(text, "]]>"))
		return NULL;
	assert_true(asprintf(&all, "<![CDATA[%s]]>", text) > 0);
	return all;
}

#define REFERENCE                                                              \
	"<VALUE.REFERENCE><INSTANCENAME CLASSNAME='Msvm_ComputerSystem'>"      \
	"<KEYBINDING NAME='CreationClassName'><KEYVALUE>Msvm_ComputerSystem"   \
	"</KEYVALUE></KEYBINDING><KEYBINDING NAME='Name'><KEYVALUE>" ALPHA     \
	"</KEYVALUE></KEYBINDING></INSTANCENAME></VALUE.REFERENCE>"
#define EPR                                                                    \
	"<a:Address>http://localhost/wsman</a:Address>"                        \
	"<a:ReferenceParameters><w:ResourceURI>http://schemas.microsoft.com/"  \
	"wbem/wsman/1/wmi/" V2 "/Msvm_ComputerSystem</w:ResourceURI>"          \
	"<w:SelectorSet><w:Selector Name='CreationClassName'>"                 \
	"Msvm_ComputerSystem</w:Selector><w:Selector Name='Name'>" ALPHA       \
	"</w:Selector></w:SelectorSet></a:ReferenceParameters>"

static uint64_t by_cimxml(const char *settings)
{
	char *parameters = NULL;
	struct reply reply;

	assert_true(
	    asprintf(&parameters,
		     "<PARAMVALUE NAME='ReferencePointSettings'><VALUE>%s"
		     "</VALUE></PARAMVALUE><PARAMVALUE NAME="
		     "'ReferencePointType'><VALUE>1</VALUE></PARAMVALUE>"
		     "<PARAMVALUE NAME='AffectedSystem'>" REFERENCE
		     "</PARAMVALUE>",
		     settings) > 0);
	reply = front_cimxml(SERVICE, "CreateReferencePoint", parameters);
	free(parameters);
	return front_result(&reply);
}

static uint64_t by_wsman(const char *settings)
{
	char *parameters = NULL;
	struct reply reply;

	assert_true(asprintf(&parameters,
			     "<p:AffectedSystem>" EPR "</p:AffectedSystem>%s"
			     "<p:ReferencePointType>1</p:ReferencePointType>",
			     settings) > 0);
	reply = front_wsman(SERVICE, "CreateReferencePoint", parameters, 0);
	free(parameters);
	return front_result(&reply);
}

static uint64_t by_wsman_text(const char *text)
{
	char *settings = NULL;
	uint64_t result;

	assert_true(asprintf(&settings,
			     "<p:ReferencePointSettings>%s"
			     "</p:ReferencePointSettings>",
			     text) > 0);
	result = by_wsman(settings);
	free(settings);
	return result;
}

/* Sends TEXT every way there is; the results are all WANTED. */
static void send_all(const char *what, const char *text, uint64_t wanted)
{
	char *ways[] = {escaped(text), in_cdata(text)};

	for (size_t i = 0; i < ARRAY_SIZE(ways); i++) {
		if (ways[i] && by_cimxml(ways[i]) != wanted)
			fail_msg("%s: CIM-XML: %s", what, ways[i]);
		if (ways[i] && by_wsman_text(ways[i]) != wanted)
			fail_msg("%s: WS-Management: %s", what, ways[i]);
		if (ways[i] && wanted == 4096)
			assert_non_null(
			    strstr(scene->work.asked, "\"application\""));
		scene->work.asked[0] = '\0';
		free(ways[i]);
	}
}

static void settings_are_read_in_every_encoding(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(forms); i++)
		send_all(forms[i].what, forms[i].text, 4096);
	assert_true(scene->work.made >= 2 * ARRAY_SIZE(forms));
}

static void what_is_none_of_them_is_an_invalid_parameter(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(unreadable); i++)
		send_all("unreadable", unreadable[i], 4);
	assert_int_equal(scene->work.made, 0);
}

/* As wbemcli, which cannot escape it. */
static void settings_may_be_elements_in_a_value(void **state)
{
	assert_int_equal(by_cimxml(INSTANCE), 4096);
	assert_non_null(strstr(scene->work.asked, "\"application\""));
}

static void settings_may_be_elements_of_a_typed_instance(void **state)
{
	assert_int_equal(
	    by_wsman("<p:ReferencePointSettings xmlns:q='http://schemas."
		     "microsoft.com/wbem/wsman/1/wmi/" V2 "/" CLASS "' "
		     "xsi:type='q:" CLASS "_Type'><q:ConsistencyLevel>1"
		     "</q:ConsistencyLevel><q:InstanceID xsi:nil='true'/>"
		     "</p:ReferencePointSettings>"),
	    4096);
	assert_non_null(strstr(scene->work.asked, "\"application\""));
	assert_int_equal(
	    by_wsman("<p:ReferencePointSettings xmlns:q='http://schemas."
		     "microsoft.com/wbem/wsman/1/wmi/" V2 "/Msvm_Error' "
		     "xsi:type='q:Msvm_Error_Type'><q:Message>1</q:Message>"
		     "</p:ReferencePointSettings>"),
	    4);
	assert_int_equal(
	    by_wsman("<p:ReferencePointSettings xmlns:q='http://schemas."
		     "microsoft.com/wbem/wsman/1/wmi/" V2 "/" CLASS "' "
		     "xsi:type='q:" CLASS "_Type'><q:ConsistencyLevel>3"
		     "</q:ConsistencyLevel></p:ReferencePointSettings>"),
	    4);
}

static void none_at_all_are_crash_consistent(void **state)
{
	static const char *const wsman[] = {
	    "", "<p:ReferencePointSettings/>",
	    "<p:ReferencePointSettings xsi:nil='true'/>",
	    "<p:ReferencePointSettings> </p:ReferencePointSettings>"};

	assert_int_equal(by_cimxml(""), 4096);
	assert_non_null(strstr(scene->work.asked, "\"crash\""));
	for (size_t i = 0; i < ARRAY_SIZE(wsman); i++) {
		assert_int_equal(by_wsman(wsman[i]), 4096);
		assert_non_null(strstr(scene->work.asked, "\"crash\""));
	}
}

/* ---- references -------------------------------------------------------------
 */

#define NAMESPACES                                                             \
	"<LOCALNAMESPACEPATH><NAMESPACE NAME='root'/><NAMESPACE NAME='"        \
	"virtualization'/><NAMESPACE NAME='v2'/></LOCALNAMESPACEPATH>"
#define NAME                                                                   \
	"<INSTANCENAME CLASSNAME='Msvm_ComputerSystem'><KEYBINDING NAME="      \
	"'CreationClassName'><KEYVALUE VALUETYPE='string'>"                    \
	"Msvm_ComputerSystem</KEYVALUE></KEYBINDING><KEYBINDING NAME='Name'>"  \
	"<KEYVALUE>" ALPHA "</KEYVALUE></KEYBINDING></INSTANCENAME>"
#define TEXT                                                                   \
	"Msvm_ComputerSystem.CreationClassName=\"Msvm_ComputerSystem\","       \
	"Name=\"" ALPHA "\""

static void a_system_is_named_in_every_form_of_cim_xml(void **state)
{
	static const char *const references[] = {
	    "<VALUE.REFERENCE>" NAME "</VALUE.REFERENCE>",
	    "<VALUE.REFERENCE><LOCALINSTANCEPATH>" NAMESPACES NAME
	    "</LOCALINSTANCEPATH></VALUE.REFERENCE>",
	    "<VALUE.REFERENCE><INSTANCEPATH><NAMESPACEPATH><HOST>localhost"
	    "</HOST>" NAMESPACES "</NAMESPACEPATH>" NAME
	    "</INSTANCEPATH></VALUE.REFERENCE>",
	    "<VALUE>" TEXT "</VALUE>",
	    "<VALUE>\\\\HOST\\root\\virtualization\\v2:" TEXT "</VALUE>"};
	char *parameters = NULL;
	struct reply reply;

	for (size_t i = 0; i < ARRAY_SIZE(references); i++) {
		assert_true(asprintf(&parameters,
				     "<PARAMVALUE NAME='AffectedSystem'>%s"
				     "</PARAMVALUE><PARAMVALUE NAME="
				     "'ReferencePointType' PARAMTYPE='uint16'>"
				     "<VALUE>1</VALUE></PARAMVALUE>",
				     references[i]) > 0);
		reply =
		    front_cimxml(SERVICE, "CreateReferencePoint", parameters);
		free(parameters);
		assert_int_equal(front_result(&reply), 4096);
		assert_non_null(strstr(reply.text, "NAME=\"Job\""));
	}
}

static void a_system_is_named_in_every_form_of_ws_management(void **state)
{
	static const char *const references[] = {
	    EPR, "<a:EndpointReference>" EPR "</a:EndpointReference>", TEXT,
	    "\\\\HOST\\root\\virtualization\\v2:" TEXT,
	    "<p:CreationClassName>Msvm_ComputerSystem</p:CreationClassName>"
	    "<p:Name>" ALPHA "</p:Name>"};
	char *parameters = NULL;
	struct reply reply;

	for (size_t i = 0; i < ARRAY_SIZE(references); i++) {
		bool inl = strstr(references[i], "p:Name");

		assert_true(
		    asprintf(&parameters,
			     "<p:AffectedSystem%s>%s</p:AffectedSystem>"
			     "<p:ReferencePointType>1</p:ReferencePointType>"
			     "<p:ResultingReferencePoint/>",
			     inl ? " xmlns:q='http://schemas.microsoft.com/"
				   "wbem/wsman/1/wmi/" V2
				   "/Msvm_ComputerSystem' "
				   "xsi:type='q:Msvm_ComputerSystem_Type'"
				 : "",
			     references[i]) > 0);
		reply =
		    front_wsman(SERVICE, "CreateReferencePoint", parameters, 0);
		free(parameters);
		if (front_result(&reply) != 4096)
			fail_msg("%s: %s", references[i], reply.text);
		assert_non_null(strstr(reply.text, "<p:Job>"));
		assert_non_null(
		    strstr(reply.text, "<p:ResultingReferencePoint>"));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    FRONT(settings_are_read_in_every_encoding),
	    FRONT(what_is_none_of_them_is_an_invalid_parameter),
	    FRONT(settings_may_be_elements_in_a_value),
	    FRONT(settings_may_be_elements_of_a_typed_instance),
	    FRONT(none_at_all_are_crash_consistent),
	    FRONT(a_system_is_named_in_every_form_of_cim_xml),
	    FRONT(a_system_is_named_in_every_form_of_ws_management),
	};

	return cmocka_run_group_tests_name("settings", tests, NULL, NULL);
}
