/* SPDX-License-Identifier: Apache-2.0 */
/* What needs no socket: framing of bytes, JSON messages, fields, dispatch. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/limits.h"
#include "rpc/call.h"

/* ---- Framing ------------------------------------------------------------ */

static void a_message_fed_byte_by_byte_is_whole_at_its_nul(void **state)
{
	const char text[] = "{\"a\":1}";
	struct wire_in in = {0};
	size_t used;

	for (size_t i = 0; i < sizeof(text); i++) {
		assert_int_equal(wire_in_add(&in, text + i, 1, &used, NULL),
				 i == sizeof(text) - 1);
		assert_int_equal(used, 1);
	}
	assert_string_equal(in.bytes, text);
	assert_int_equal(in.length, sizeof(text) - 1);
	wire_in_done(&in);
}

static void no_byte_behind_the_first_nul_is_used(void **state)
{
	struct wire_in in = {0};
	size_t used;

	assert_int_equal(wire_in_add(&in, "one\0two", 8, &used, NULL), 1);
	assert_int_equal(used, 4);
	assert_string_equal(in.bytes, "one");
	wire_in_reset(&in);
	assert_int_equal(wire_in_add(&in, "\0", 1, &used, NULL), 1);
	assert_int_equal(in.length, 0);
	wire_in_done(&in);
}

static int feed(struct wire_in *in, const char *bytes, size_t n)
{
	while (n > 0) {
		size_t used;
		int r = wire_in_add(in, bytes, n, &used, NULL);

		if (r != 0)
			return r;
		bytes += used;
		n -= used;
	}
	return 0;
}

static void a_message_may_have_the_maximum_and_not_a_byte_more(void **state)
{
	size_t max = RPC_MESSAGE_BYTES_MAX;
	char *big = malloc(max + 2);
	struct wire_in in = {0};

	memset(big, 'x', max + 2);
	assert_int_equal(feed(&in, big, max), 0);
	assert_int_equal(feed(&in, "", 1), 1);
	assert_int_equal(in.length, max);
	wire_in_reset(&in);
	assert_int_equal(feed(&in, big, max + 2), -RP_EWIRE);
	wire_in_done(&in);
	free(big);
}

/* ---- Messages ----------------------------------------------------------- */

static int parse_call(const char *text)
{
	struct message_call call;
	int r = message_parse_call(text, strlen(text), &call, NULL);

	if (r == 0)
		json_decref(call.root);
	return r;
}

static void what_is_no_call_is_refused(void **state)
{
	assert_int_equal(parse_call("{\"method\":\"a.b\"}"), 0);
	assert_int_equal(parse_call(""), -RP_EWIRE);
	assert_int_equal(parse_call("{"), -RP_EWIRE);
	assert_int_equal(parse_call("[]"), -RP_EWIRE);
	assert_int_equal(parse_call("\"method\""), -RP_EWIRE);
	assert_int_equal(parse_call("{\"method\":\"a.b\"} x"), -RP_EWIRE);
	assert_int_equal(parse_call("{\"method\":\"\xff\"}"), -RP_EWIRE);
	assert_int_equal(parse_call("{\"method\":\"a\\u0000b\"}"), -RP_EWIRE);
	assert_int_equal(parse_call("{\"method\":\"a.b\",\"method\":\"a.c\"}"),
			 -RP_EWIRE);
	assert_int_equal(parse_call("{}"), -RP_EPARAM);
	assert_int_equal(parse_call("{\"method\":1}"), -RP_EPARAM);
	assert_int_equal(parse_call("{\"method\":\"a.b\",\"odd\":1}"),
			 -RP_EPARAM);
	assert_int_equal(parse_call("{\"method\":\"a.b\",\"parameters\":[]}"),
			 -RP_EPARAM);
	assert_int_equal(parse_call("{\"method\":\"a.b\",\"more\":\"yes\"}"),
			 -RP_EPARAM);
	assert_int_equal(parse_call("{\"method\":\"a.b\",\"oneway\":true}"),
			 -RP_EUNSUPPORTED);
	assert_int_equal(parse_call("{\"method\":\"a.b\",\"upgrade\":true}"),
			 -RP_EUNSUPPORTED);
}

static void nesting_without_end_is_refused_not_followed(void **state)
{
	size_t n = 100000;
	char *text = malloc(n + 1);
	struct message_call call;

	memset(text, '[', n);
	text[n] = '\0';
	assert_int_equal(message_parse_call(text, n, &call, NULL), -RP_EWIRE);
	free(text);
}

static void an_error_keeps_its_code_and_sentence_over_the_wire(void **state)
{
	const int codes[] = {-RP_EPARAM, -RP_ENOMETHOD, -RP_ENOVM, -RP_ELATCHED,
			     -RP_EDENIED};

	for (unsigned i = 0; i < ARRAY_SIZE(codes); i++) {
		struct message_reply reply;
		struct err err = {0};
		char *text;

		err_set(&err, codes[i], "no 'VM' \"1\"");
		text = message_format_error(&err, "org.refpoint.List");
		assert_int_equal(
		    message_parse_reply(text, strlen(text), &reply, NULL), 0);
		assert_int_equal(reply.error.code, codes[i]);
		assert_string_equal(reply.error.text, err.text);
		json_decref(reply.root);
		free(text);
	}
}

static void an_error_with_broken_text_is_still_sent(void **state)
{
	struct err err = {.code = -RP_EPARAM,
			  .text = "a\xe2\x82 b\n\xff c\xc3"};
	struct message_reply reply;
	char *text = message_format_error(&err, NULL);

	assert_non_null(text);
	assert_int_equal(message_parse_reply(text, strlen(text), &reply, NULL),
			 0);
	assert_string_equal(reply.error.text, "a?? b?? c?");
	json_decref(reply.root);
	free(text);
}

static void text_that_is_utf8_is_left_alone(void **state)
{
	char text[] = "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80 ~";
	char copy[sizeof(text)];

	memcpy(copy, text, sizeof(text));
	message_clean_text(text);
	assert_string_equal(text, copy);
}

static void what_is_no_reply_is_refused(void **state)
{
	const char *bad[] = {"",
			     "[]",
			     "{\"odd\":1}",
			     "{\"parameters\":1}",
			     "{\"error\":1}",
			     "{\"error\":\"a.B\",\"continues\":true}"};
	struct message_reply reply;

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(message_parse_reply(bad[i], strlen(bad[i]),
						     &reply, NULL),
				 -RP_EWIRE);
}

static void skimming_reads_as_parsing_does(void **state)
{
	static const struct {
		const char *text;
		int r, code;
		bool continues;
	} table[] = {
	    {"{}", 0, 0, false},
	    {" {\"parameters\":{\"continues\":true},\"continues\":false}\n", 0,
	     0, false},
	    {"{\"c\\u006fntinues\":true}", 0, 0, true},
	    {"{\"continues\" : true,\"parameters\":{\"error\":[1,2]}}", 0, 0,
	     true},
	    {"{\"parameters\":{\"a\":\"\\\"}}\\\\\",\"b\":true}}", 0, 0, false},
	    {"{\"parameters\":{\"a\":[{\"continues\":true}],"
	     "\"error\":\"x\"}}",
	     0, 0, false},
	    {"{\"error\":\"org.refpoint.InUse\"}", 0, -RP_EINUSE, false},
	    {"{\"error\":\"org.refpoint.InUse\",\"continues\":true}", -RP_EWIRE,
	     0, false},
	    {"{\"continues\":true,\"continues\":false}", -RP_EWIRE, 0, false},
	    {"{\"continues\":false,\"continues\":true}", -RP_EWIRE, 0, false},
	    {"", -RP_EWIRE, 0, false},
	    {"[]", -RP_EWIRE, 0, false},
	    {"{", -RP_EWIRE, 0, false},
	    {"{\"a", -RP_EWIRE, 0, false},
	    {"{\"a\\", -RP_EWIRE, 0, false},
	    {"{}{}", -RP_EWIRE, 0, false},
	    {"{}}", -RP_EWIRE, 0, false},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(table); i++) {
		struct message_reply reply = {0};

		assert_int_equal(message_skim_reply(table[i].text,
						    strlen(table[i].text),
						    &reply, NULL),
				 table[i].r);
		assert_int_equal(reply.continues, table[i].continues);
		assert_int_equal(reply.error.code, table[i].code);
		json_decref(reply.root);
	}
}

static void foreign_errors_become_failed_with_their_name(void **state)
{
	const char text[] = "{\"error\":\"com.example.Odd\"}";
	struct message_reply reply;

	assert_int_equal(
	    message_parse_reply(text, sizeof(text) - 1, &reply, NULL), 0);
	assert_int_equal(reply.error.code, -RP_EFAILED);
	assert_string_equal(reply.error.text, "com.example.Odd");
	json_decref(reply.root);
}

/* ---- Fields ------------------------------------------------------------- */

struct sample {
	const char *name;
	uint64_t size;
	bool flag, size_there;
	json_t *list, *object;
};

static int read_sample(const char *text, struct sample *ret, struct err *err)
{
	const struct rpc_field fields[] = {
	    {"name", RPC_STRING, true, 8, &ret->name, NULL},
	    {"size", RPC_UINT, false, 0, &ret->size, &ret->size_there},
	    {"flag", RPC_BOOL, false, 0, &ret->flag, NULL},
	    {"list", RPC_ARRAY, false, 2, &ret->list, NULL},
	    {"object", RPC_OBJECT, false, 0, &ret->object, NULL},
	    {0}};
	json_t *root = json_loads(text, JSON_DECODE_ANY, NULL);
	int r = rpc_read_fields(root, fields, err);

	/* The values are only looked at by tests that own no root. */
	if (r == 0 && ret->name && strcmp(ret->name, "abc") == 0)
		ret->name = "abc";
	json_decref(root);
	return r;
}

static void good_fields_are_read(void **state)
{
	struct sample s = {.size = 7};

	assert_int_equal(read_sample("{\"name\":\"abc\"}", &s, NULL), 0);
	assert_string_equal(s.name, "abc");
	assert_int_equal(s.size, 7);
	assert_false(s.size_there);
	assert_int_equal(
	    read_sample("{\"name\":\"abc\",\"size\":9223372036854775807,"
			"\"flag\":true,\"list\":[1,2],\"object\":null}",
			&s, NULL),
	    0);
	assert_true(s.size == INT64_MAX);
	assert_true(s.flag && s.size_there);
	assert_null(s.object);
}

static void bad_fields_are_refused_by_name_and_nothing_is_read(void **state)
{
	static const struct {
		const char *text, *says;
	} bad[] = {
	    {"[]", "object"},
	    {"{}", "'name'"},
	    {"{\"name\":null}", "'name'"},
	    {"{\"name\":1}", "'name'"},
	    {"{\"name\":\"12345678\"}", "'name'"},
	    {"{\"name\":\"abc\",\"size\":-1}", "'size'"},
	    {"{\"name\":\"abc\",\"size\":1.5}", "'size'"},
	    {"{\"name\":\"abc\",\"size\":\"1\"}", "'size'"},
	    {"{\"name\":\"abc\",\"flag\":0}", "'flag'"},
	    {"{\"name\":\"abc\",\"list\":{}}", "'list'"},
	    {"{\"name\":\"abc\",\"list\":[1,2,3]}", "'list'"},
	    {"{\"name\":\"abc\",\"object\":[]}", "'object'"},
	    {"{\"name\":\"abc\",\"size\":1,\"odd\":1}", "'odd'"},
	};

	for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
		struct sample s = {.size = 7};
		struct err err = {0};

		assert_int_equal(read_sample(bad[i].text, &s, &err),
				 -RP_EPARAM);
		assert_non_null(strstr(err.text, bad[i].says));
		assert_null(s.name);
		assert_int_equal(s.size, 7);
	}
}

/* ---- Dispatch ----------------------------------------------------------- */

struct answer {
	char text[65536];
	unsigned messages, finished;
};

static void answer_send(void *arg, const char *text, size_t bytes,
			const int *fds, unsigned n_fds)
{
	struct answer *answer = arg;

	assert_true(bytes < sizeof(answer->text));
	memcpy(answer->text, text, bytes);
	answer->text[bytes] = '\0';
	answer->messages++;
}

static void answer_finished(void *arg)
{
	((struct answer *)arg)->finished++;
}

static size_t answer_backlog(void *arg)
{
	return 0;
}

static void answer_want_drained(void *arg)
{
}

static const struct call_sink answer_sink = {
    .send = answer_send,
    .finished = answer_finished,
    .backlog = answer_backlog,
    .want_drained = answer_want_drained,
};

static unsigned handled;

static void handle_empty(struct rpc_call *call, json_t *parameters, void *arg)
{
	const struct rpc_field none[] = {{0}};
	struct err err = {0};

	handled++;
	if (rpc_read_fields(parameters, none, &err) < 0)
		rpc_fail(call, &err);
	else
		rpc_reply(call, NULL);
}

static const struct rpc_method methods[] = {
    {"org.refpoint.Admin", RPC_ROLE_ADMIN, handle_empty},
    {"org.refpoint.Both", RPC_ROLE_ADMIN | RPC_ROLE_OPERATOR, handle_empty},
    {"org.refpoint.worker.Hello", RPC_ROLE_DAEMON, handle_empty},
    {0}};

static const char *ask(enum rpc_role role, const char *text)
{
	static struct answer answer;
	struct wire_fds fds = {0};
	struct rpc_call *call;

	memset(&answer, 0, sizeof(answer));
	call = call_new(&answer_sink, &answer, role, &fds);
	call_dispatch(call, methods, NULL, text, strlen(text));
	assert_int_equal(answer.messages, 1);
	assert_int_equal(answer.finished, 1);
	return answer.text;
}

static void each_role_reaches_its_methods_and_no_other(void **state)
{
	static const struct {
		const char *method;
		unsigned roles;
	} table[] = {
	    {"org.refpoint.Admin", RPC_ROLE_ADMIN},
	    {"org.refpoint.Both", RPC_ROLE_ADMIN | RPC_ROLE_OPERATOR},
	    {"org.refpoint.worker.Hello", RPC_ROLE_DAEMON},
	    {"org.varlink.service.GetInfo", ~0u},
	};
	char call[128];

	for (unsigned i = 0; i < ARRAY_SIZE(table); i++)
		for (unsigned bit = 0; bit < 5; bit++) {
			const char *text;

			(void)snprintf(call, sizeof(call),
				       "{\"method\":\"%s\"}", table[i].method);
			text = ask(1u << bit, call);
			assert_int_equal(strstr(text, "PermissionDenied") ==
					     NULL,
					 (table[i].roles & 1u << bit) != 0);
		}
}

static void a_role_is_judged_before_the_parameters(void **state)
{
	handled = 0;
	assert_non_null(
	    strstr(ask(RPC_ROLE_OPERATOR, "{\"method\":\"org.refpoint.Admin\","
					  "\"parameters\":{\"odd\":1}}"),
		   "org.refpoint.PermissionDenied"));
	assert_int_equal(handled, 0);
	assert_non_null(
	    strstr(ask(RPC_ROLE_ADMIN, "{\"method\":\"org.refpoint.Admin\","
				       "\"parameters\":{\"odd\":1}}"),
		   "org.varlink.service.InvalidParameter"));
	assert_int_equal(handled, 1);
}

static void an_unknown_method_is_named(void **state)
{
	const char *text =
	    ask(RPC_ROLE_ADMIN, "{\"method\":\"org.refpoint.Admi\"}");

	assert_non_null(strstr(text, "org.varlink.service.MethodNotFound"));
	assert_non_null(strstr(text, "\"method\":\"org.refpoint.Admi\""));
}

static void the_service_tells_its_interfaces(void **state)
{
	const char *text =
	    ask(RPC_ROLE_ADMIN, "{\"method\":\"org.varlink.service.GetInfo\"}");

	assert_non_null(strstr(text, "[\"org.varlink.service\",\"org.refpoint"
				     "\",\"org.refpoint.worker\"]"));
	assert_non_null(strstr(text, "\"version\":\"" VERSION "\""));
	text = ask(RPC_ROLE_ADMIN,
		   "{\"method\":\"org.varlink.service.GetInterfaceDescription"
		   "\",\"parameters\":{\"interface\":\"org.refpoint\"}}");
	assert_non_null(strstr(text, "\\ninterface org.refpoint\\n"));
	text = ask(RPC_ROLE_ADMIN,
		   "{\"method\":\"org.varlink.service.GetInterfaceDescription"
		   "\",\"parameters\":{\"interface\":\"com.example\"}}");
	assert_non_null(strstr(text, "InvalidParameter"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_message_fed_byte_by_byte_is_whole_at_its_nul),
	    cmocka_unit_test(no_byte_behind_the_first_nul_is_used),
	    cmocka_unit_test(
		a_message_may_have_the_maximum_and_not_a_byte_more),
	    cmocka_unit_test(what_is_no_call_is_refused),
	    cmocka_unit_test(nesting_without_end_is_refused_not_followed),
	    cmocka_unit_test(
		an_error_keeps_its_code_and_sentence_over_the_wire),
	    cmocka_unit_test(an_error_with_broken_text_is_still_sent),
	    cmocka_unit_test(text_that_is_utf8_is_left_alone),
	    cmocka_unit_test(what_is_no_reply_is_refused),
	    cmocka_unit_test(skimming_reads_as_parsing_does),
	    cmocka_unit_test(foreign_errors_become_failed_with_their_name),
	    cmocka_unit_test(good_fields_are_read),
	    cmocka_unit_test(
		bad_fields_are_refused_by_name_and_nothing_is_read),
	    cmocka_unit_test(each_role_reaches_its_methods_and_no_other),
	    cmocka_unit_test(a_role_is_judged_before_the_parameters),
	    cmocka_unit_test(an_unknown_method_is_named),
	    cmocka_unit_test(the_service_tells_its_interfaces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
