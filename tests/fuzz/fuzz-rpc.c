/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The JSON front without sockets.  The first byte chooses the caller's role
 * and in what pieces the rest arrives; the rest is a stream of messages.  Each
 * goes to the dispatcher as a call and to the client's parser as a reply.
 *
 * Checked besides memory: each call ends in exactly one answer, which the
 * client's parser reads, and no method is reached by a role it does not have;
 * what one parser takes the others take.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/limits.h"
#include "fuzz.h"
#include "rpc/call.h"
#include "rpc/pull.h"

struct answer {
	unsigned finals, finished;
};

static void answer_send(void *arg, const char *text, size_t bytes,
			const int *fds, unsigned n_fds)
{
	struct answer *answer = arg;
	struct message_reply reply;

	CHECK(message_parse_reply(text, bytes, &reply, NULL) == 0);
	answer->finals += !reply.continues;
	json_decref(reply.root);
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

static const struct call_sink sink = {
    .send = answer_send,
    .finished = answer_finished,
    .backlog = answer_backlog,
    .want_drained = answer_want_drained,
};

struct define {
	const char *vm, *uuid, *owner;
	json_t *disks;
	bool force_raw;
	uint64_t hot_regions, max_points;
};

/* As Define reads its parameters: the widest of the real ones. */
static void do_define(struct rpc_call *call, json_t *parameters, void *arg)
{
	struct define d = {0};
	const struct rpc_field fields[] = {
	    {"vm", RPC_STRING, true, VM_NAME_BYTES, &d.vm, NULL},
	    {"uuid", RPC_STRING, false, 37, &d.uuid, NULL},
	    {"disks", RPC_ARRAY, true, DISKS_PER_VM_MAX, &d.disks, NULL},
	    {"force_raw", RPC_BOOL, false, 0, &d.force_raw, NULL},
	    {"owner", RPC_STRING, false, 32, &d.owner, NULL},
	    {"hot_regions", RPC_UINT, false, 0, &d.hot_regions, NULL},
	    {"max_points", RPC_UINT, false, 0, &d.max_points, NULL},
	    {0}};
	struct err err = {0};

	CHECK(rpc_call_role(call) == RPC_ROLE_ADMIN);
	CHECK(rpc_call_take_fd(call, 0) == -1);
	if (rpc_read_fields(parameters, fields, &err) < 0) {
		CHECK(d.vm == NULL && d.disks == NULL);
		rpc_fail(call, &err);
		return;
	}
	CHECK(json_array_size(d.disks) <= DISKS_PER_VM_MAX);
	rpc_reply(call, json_pack("{s:s, s:s?}", "vm", d.vm, "uuid", d.uuid));
}

static void do_changes(struct rpc_call *call, json_t *parameters, void *arg)
{
	const char *vm = NULL;
	const struct rpc_field fields[] = {
	    {"vm", RPC_STRING, true, VM_NAME_BYTES, &vm, NULL}, {0}};
	struct err err = {0};

	if (rpc_read_fields(parameters, fields, &err) < 0) {
		rpc_fail(call, &err);
		return;
	}
	rpc_reply_continues(call, json_pack("{s:s}", "since", vm));
	rpc_reply(call, NULL);
}

static const struct rpc_method methods[] = {
    {"org.refpoint.Define", RPC_ROLE_ADMIN, do_define},
    {"org.refpoint.Changes", RPC_ROLE_ADMIN | RPC_ROLE_OPERATOR, do_changes},
    {0}};

static unsigned depth_of(json_t *tree)
{
	unsigned deepest = 0;
	const char *key;
	json_t *item;
	size_t i;

	json_array_foreach(tree, i, item) deepest =
	    MAX(deepest, depth_of(item));
	json_object_foreach(tree, key, item) deepest =
	    MAX(deepest, depth_of(item));
	return deepest + (json_is_array(tree) || json_is_object(tree));
}

static bool is_pulled(const struct wire_in *in)
{
	char *copy = malloc(in->length + 1);
	struct pull p;
	bool done;

	CHECK(copy);
	memcpy(copy, in->bytes, in->length);
	copy[in->length] = '\0';
	p = pull_begin(copy, in->length);
	pull_skip(&p);
	done = pull_done(&p);
	free(copy);
	return done;
}

/* What the parser takes, skimming and pulling read alike. */
static void take_reply(const struct wire_in *in)
{
	struct message_reply parsed, skimmed;
	bool pulled = is_pulled(in);

	if (message_parse_reply(in->bytes, in->length, &parsed, NULL) < 0) {
		if (message_skim_reply(in->bytes, in->length, &skimmed, NULL) ==
		    0)
			json_decref(skimmed.root);
		return;
	}
	CHECK(message_skim_reply(in->bytes, in->length, &skimmed, NULL) == 0);
	CHECK(pulled || depth_of(parsed.root) > PULL_DEPTH_MAX);
	CHECK(parsed.continues == skimmed.continues);
	CHECK(parsed.error.code == skimmed.error.code);
	json_decref(parsed.root);
	json_decref(skimmed.root);
}

static void take_message(const struct wire_in *in, enum rpc_role role)
{
	struct answer answer = {0};
	struct wire_fds fds = {0};
	struct rpc_call *call = call_new(&sink, &answer, role, &fds);

	CHECK(call);
	(void)call_dispatch(call, methods, NULL, in->bytes, in->length);
	CHECK(answer.finals == 1 && answer.finished == 1);
	take_reply(in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct wire_in in = {0};
	enum rpc_role role;
	size_t piece;
	int r = 0;

	if (size == 0)
		return 0;
	role = 1u << (data[0] & 3);
	piece = (data[0] >> 2) + 1;
	data++;
	size--;
	while (size > 0 && r >= 0) {
		size_t n = piece < size ? piece : size, used;

		r = wire_in_add(&in, (const char *)data, n, &used, NULL);
		CHECK(r < 0 || used > 0);
		data += used;
		size -= used;
		if (r > 0) {
			take_message(&in, role);
			wire_in_reset(&in);
		}
	}
	wire_in_done(&in);
	return 0;
}
