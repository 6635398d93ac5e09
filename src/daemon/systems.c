/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Systems: one answer about many virtual systems, in three steps.
 *
 *   settle    what is not known is asked of workers (scan.c, points.c), for
 *             SETTLE_MS at most
 *   look      whether somebody is connected is asked of those that serve,
 *             PROBES_MAX at a time, for LOOK_MS each and in all; who did not
 *             answer is told as last known, and left alone for DEAF_MS
 *   tell      the text is made by hand, one virtual system after the other
 *
 * Invariants:
 *  1. No worker is started for a virtual system of which all is known.
 *  2. A point or snapshot is told only if its worker told it (points.c).  A
 *     virtual system whose points could not be had in time is told without any;
 * one that is asked for alone is an error then, and one whose definition was
 * never heard is left out.
 *  3. Memory is bounded by one virtual system's text and what the caller has
 *     not yet taken of BACKLOG_BYTES.
 */
#include "daemon/systems.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/caller.h"
#include "daemon/scan.h"
#include "daemon/text.h"
#include "daemon/vm.h"

#define SETTLE_MS     5000
#define LOOK_MS       1000
#define DEAF_MS       10000
#define PROBES_MAX    32
#define REPLY_BYTES   (256u << 10) /* of points, before a reply is sent */
#define BACKLOG_BYTES (256u << 10)
#define FRAME_BYTES   256
#define HEAD          "{\"parameters\":{\"systems\":["

struct probe {
	struct systems *systems;
	struct link *link; /* NULL: free */
	struct vm *vm;
	uint64_t begun_ms;
};

struct systems {
	struct systems *next;
	struct daemon *daemon;
	struct rpc_call *call;
	bool points, snapshots; /* are told */
	bool alone;             /* the one of this uuid was asked for */
	struct guid uuid;
	bool settling;
	struct vm **vms; /* held */
	unsigned n;
	unsigned looked; /* how many were, in order */
	unsigned told;
	struct probe probes[PROBES_MAX];
	sd_event_source *timer;
	struct text text; /* the reply that is being made */
	struct text *ready;
	unsigned n_ready;
};

static void systems_free(struct systems *s)
{
	struct systems **at = &s->daemon->asking;

	while (*at && *at != s)
		at = &(*at)->next;
	if (*at)
		*at = s->next;
	for (unsigned i = 0; i < PROBES_MAX; i++)
		link_cancel(s->probes[i].link);
	sd_event_source_disable_unref(s->timer);
	for (unsigned i = 0; i < s->n; i++)
		vm_unref(s->vms[i]);
	for (unsigned i = 0; i < s->n_ready; i++)
		text_done(&s->ready[i]);
	free(s->ready);
	text_done(&s->text);
	free(s->vms);
	free(s);
}

/* Whoever answers has nothing left to be called for. */
static struct rpc_call *leave(struct systems *s)
{
	struct rpc_call *call = s->call;

	rpc_call_on_hangup(call, NULL, NULL);
	rpc_call_on_drained(call, NULL, NULL);
	systems_free(s);
	return call;
}

static void fail(struct systems *s, const struct err *err)
{
	struct err copy = *err;

	rpc_fail(leave(s), &copy);
}

/* ---- The text --------------------------------------------------------------
 */

static void put_disks(struct text *text, const struct inventory_entry *entry)
{
	for (unsigned i = 0; i < entry->n_disks; i++) {
		const struct inventory_disk *d = &entry->disks[i];

		text_put(text, i ? ",{\"id\":" : "{\"id\":");
		text_put_string(text, d->id);
		text_put(text, ",\"path\":");
		text_put_string(text, d->path);
		text_put(text, ",\"size\":");
		text_put_number(text, d->bytes);
		text_put(text, "}");
	}
}

/* Nobody serves it: none of its disks is to be had. */
static void put_unserved(struct text *text, const struct inventory_point *p)
{
	json_t *json = json_loadb(p->text, p->bytes, 0, NULL), *disk;
	char *plain;
	size_t i;

	json_array_foreach(json_object_get(json, "disks"), i, disk)(void)
	    json_object_set_new(disk, "nbd_uri", json_null());
	plain = json ? json_dumps(json, JSON_COMPACT) : NULL;
	if (plain)
		text_put(text, plain);
	else
		text->failed = true;
	free(plain);
	json_decref(json);
}

static void put_snapshots(struct text *text, const struct vm *vm)
{
	const struct inventory_points *snapshots = &vm->entry.snapshot;

	text_put(text, ",\"snapshots\":[");
	for (unsigned i = 0; i < snapshots->n; i++) {
		const struct inventory_point *p = &snapshots->list[i];

		if (i)
			text_put(text, ",");
		if (vm->serving)
			text_put_bytes(text, p->text, p->bytes);
		else
			put_unserved(text, p);
	}
	text_put(text, "]");
}

/* All of a System up to its points. */
static void put_head(struct text *text, const struct vm *vm, bool snapshots)
{
	char uuid[GUID_TEXT_BYTES];

	guid_format(&vm->entry.uuid, uuid);
	text_put(text, "{\"vm\":\"");
	text_put(text, vm->name);
	text_put(text, "\",\"uuid\":\"");
	text_put(text, uuid);
	text_put(text, "\",\"state\":\"");
	text_put(text, vm_state(vm));
	text_put(text, "\",\"connected\":");
	text_put(text, vm->serving && vm->in_use ? "true" : "false");
	text_put(text, ",\"worker_pid\":");
	if (vm->process.pid > 0)
		text_put_number(text, (uint64_t)vm->process.pid);
	else
		text_put(text, "null");
	text_put(text, ",\"disks\":[");
	put_disks(text, &vm->entry);
	text_put(text, "]");
	if (snapshots)
		put_snapshots(text, vm);
	else
		text_put(text, ",\"snapshots\":[]");
	text_put(text, ",\"points\":[");
}

/* The reply that is being made may go, as soon as it is known whether it is the
 * last one. */
static int turn_over(struct systems *s)
{
	struct text *ready =
	    reallocarray(s->ready, s->n_ready + 1, sizeof(*ready));

	if (!ready)
		return -ENOMEM;
	s->ready = ready;
	ready[s->n_ready++] = s->text;
	s->text = (struct text){0};
	return 0;
}

static void begin_system(struct systems *s, const struct vm *vm)
{
	text_put(&s->text, s->text.bytes ? "," : HEAD);
	put_head(&s->text, vm, s->snapshots);
}

static int put_system(struct systems *s, const struct vm *vm)
{
	const struct inventory_points *points = &vm->entry.point;
	size_t begun = s->text.bytes;
	int r = 0;

	begin_system(s, vm);
	for (unsigned i = 0; s->points && i < points->n && r == 0; i++) {
		const struct inventory_point *p = &points->list[i];
		bool full = s->text.bytes - begun + p->bytes > REPLY_BYTES &&
			    rpc_call_more(s->call);

		if (full) {
			text_put(&s->text, "]}");
			r = turn_over(s);
			begun = 0;
			begin_system(s, vm);
		} else if (i) {
			text_put(&s->text, ",");
		}
		text_put_bytes(&s->text, p->text, p->bytes);
	}
	text_put(&s->text, "]}");
	if (r == 0 && s->text.bytes > REPLY_BYTES && rpc_call_more(s->call))
		r = turn_over(s);
	return s->text.failed ? -ENOMEM : r;
}

/* Sends the first of those that are ready; false: S is gone. */
static bool send(struct systems *s, bool continues)
{
	struct text text = s->ready[0];
	struct rpc_call *call = s->call;

	s->n_ready--;
	memmove(s->ready, s->ready + 1, s->n_ready * sizeof(*s->ready));
	text_put(&text, continues ? "]},\"continues\":true}" : "]}}");
	if (text.failed) {
		struct err err = {0};

		err_set(&err, -ENOMEM, "systems");
		fail(s, &err);
	} else {
		if (!continues)
			(void)leave(s);
		rpc_reply_text(call, text.at, text.bytes, continues);
	}
	continues = continues && !text.failed;
	text_done(&text);
	return continues;
}

static bool is_told(const struct systems *s, const struct vm *vm)
{
	return !vm->gone && !vm->defining && vm->entry.n_disks > 0 &&
	       (!s->alone || guid_equal(&s->uuid, &vm->entry.uuid));
}

/* Another reply is ready, or all are. */
static int make_ready(struct systems *s)
{
	int r = 0;

	while (r == 0 && s->n_ready < 2 && s->told < s->n) {
		const struct vm *vm = s->vms[s->told++];

		if (is_told(s, vm))
			r = put_system(s, vm);
		if (!rpc_call_more(s->call) &&
		    s->text.bytes > RPC_MESSAGE_BYTES_MAX)
			s->told = s->n; /* it is refused already */
	}
	if (r == 0 && s->told == s->n && (s->text.bytes || !s->n_ready)) {
		if (!s->text.bytes)
			text_put(&s->text, HEAD);
		r = s->text.failed ? -ENOMEM : turn_over(s);
	}
	return r;
}

static void tell(void *arg)
{
	struct systems *s = arg;
	struct err err = {0};

	while (rpc_call_backlog(s->call) <= BACKLOG_BYTES) {
		bool last;

		if (make_ready(s) < 0) {
			err_set(&err, -ENOMEM, "systems");
			fail(s, &err);
			return;
		}
		last = s->n_ready == 1 && s->told == s->n;
		if (last && !rpc_call_more(s->call) &&
		    s->ready[0].bytes + FRAME_BYTES > RPC_MESSAGE_BYTES_MAX) {
			err_set(&err, -RP_ELIMIT,
				"there are too many systems for one reply: "
				"call with \"more\"");
			fail(s, &err);
			return;
		}
		if (!send(s, !last))
			return;
	}
}

/* ---- Who is connected -------------------------------------------------------
 */

static void look(struct systems *s);

/* It had its time, or most of what there was for all. */
static void note_deaf(struct probe *probe)
{
	uint64_t now = daemon_now_ms();

	if (now - probe->begun_ms >= LOOK_MS / 2)
		probe->vm->deaf_until_ms = now + DEAF_MS;
}

static void on_status(void *arg, const struct err *err, json_t *parameters,
		      bool continues, const char *text, size_t bytes, int *fds,
		      unsigned n_fds)
{
	struct probe *probe = arg;

	probe->link = NULL;
	if (err->code == -RP_ETIMEOUT)
		note_deaf(probe);
	if (!err->code && !probe->vm->gone)
		vm_note_status(probe->vm,
			       json_object_get(parameters, "status"));
	look(probe->systems);
}

static void begin_tell(struct systems *s)
{
	s->timer = sd_event_source_disable_unref(s->timer);
	for (unsigned i = 0; i < PROBES_MAX; i++) {
		if (s->probes[i].link)
			note_deaf(&s->probes[i]);
		link_cancel(s->probes[i].link);
		s->probes[i].link = NULL;
	}
	rpc_call_on_drained(s->call, tell, s);
	tell(s);
}

static bool is_looked_at(const struct vm *vm)
{
	return !vm->gone && vm->serving && vm->worker == WORKER_READY &&
	       daemon_now_ms() >= vm->deaf_until_ms;
}

/* Asks on until there is nobody left to ask, or to wait for. */
static void look(struct systems *s)
{
	unsigned busy = 0;

	for (unsigned i = 0; i < PROBES_MAX; i++) {
		struct probe *probe = &s->probes[i];

		while (!probe->link && s->looked < s->n) {
			probe->vm = s->vms[s->looked++];
			probe->systems = s;
			probe->begun_ms = daemon_now_ms();
			if (is_looked_at(probe->vm))
				(void)link_call(s->daemon, probe->vm->name,
						"Status", json_object(), false,
						NULL, 0, LOOK_MS, on_status,
						probe, &probe->link, NULL);
		}
		busy += probe->link != NULL;
	}
	if (busy == 0)
		begin_tell(s);
}

static int on_looked_enough(sd_event_source *source, uint64_t usec, void *arg)
{
	begin_tell(arg);
	return 0;
}

static void begin_look(struct systems *s)
{
	s->settling = false;
	daemon_timer(s->daemon, &s->timer, LOOK_MS, on_looked_enough, s);
	look(s);
}

/* ---- What is not known ------------------------------------------------------
 */

/* May something that is missing still come? */
static bool is_pending(const struct systems *s, const struct vm *vm)
{
	if (vm->gone || vm->defining || vm->worker == WORKER_BACKOFF)
		return false;
	if (!vm->known)
		return !vm->failure.code;
	return s->snapshots && vm_points_wanted(vm);
}

/* The points of the only one are not known. */
static const struct err *why_not(const struct systems *s)
{
	if (!s->alone || !s->snapshots)
		return NULL;
	for (unsigned i = 0; i < s->n; i++) {
		const struct vm *vm = s->vms[i];

		if (is_told(s, vm) && !vm->entry.point.known)
			return vm->known ? &vm->points_failure : &vm->failure;
	}
	return NULL;
}

static void settle(struct systems *s, bool late)
{
	const struct err *why;
	struct err err;

	for (unsigned i = 0; !late && i < s->n; i++)
		if (is_pending(s, s->vms[i]))
			return;
	why = why_not(s);
	if (!why) {
		begin_look(s);
		return;
	}
	err = *why;
	if (!err.code)
		err_set(&err, -RP_ETIMEOUT,
			"its points were not told within %u s",
			SETTLE_MS / 1000);
	fail(s, &err);
}

static int on_settle_over(sd_event_source *source, uint64_t usec, void *arg)
{
	settle(arg, true);
	return 0;
}

static int on_settled(sd_event_source *source, void *arg)
{
	struct daemon *daemon = arg;
	struct systems *next;

	for (struct systems *s = daemon->asking; s; s = next) {
		next = s->next;
		if (s->settling)
			settle(s, false);
	}
	return 0;
}

void systems_settled(struct daemon *daemon)
{
	if (!daemon->asking)
		return;
	if (!daemon->settled &&
	    sd_event_add_defer(daemon->event, &daemon->settled, on_settled,
			       daemon) < 0)
		return; /* they wait out their time */
	(void)sd_event_source_set_enabled(daemon->settled, SD_EVENT_ONESHOT);
}

/* ---- The call ---------------------------------------------------------------
 */

static void on_hangup(void *arg)
{
	struct err err = {0};

	err_set(&err, -RP_ECANCELLED, "the caller went away");
	fail(arg, &err);
}

static bool found_alone(const struct systems *s)
{
	const struct vm *vm = s->daemon->vms;

	while (s->alone && vm && !is_told(s, vm))
		vm = vm->next;
	return s->alone && vm;
}

/* Also those of which nobody knows what they are, unless the one that is asked
 * for is known: a uuid stays. */
static int choose(struct systems *s)
{
	struct vm **vms = calloc(s->daemon->n_vms + 1, sizeof(*vms));
	bool found = found_alone(s);

	if (!vms)
		return -ENOMEM;
	s->vms = vms;
	for (struct vm *vm = s->daemon->vms; vm; vm = vm->next) {
		bool unknown = vm->entry.n_disks == 0 && !found;

		if (!vm->defining && (unknown || is_told(s, vm)))
			vms[s->n++] = vm_ref(vm);
	}
	return 0;
}

static void begin(struct systems *s)
{
	s->settling = true;
	s->next = s->daemon->asking;
	s->daemon->asking = s;
	rpc_call_on_hangup(s->call, on_hangup, s);
	for (unsigned i = 0; i < s->n; i++)
		vm_points_judge(s->vms[i]);
	scan_next(s->daemon);
	daemon_timer(s->daemon, &s->timer, SETTLE_MS, on_settle_over, s);
	settle(s, false);
}

void systems_method(struct rpc_call *call, json_t *parameters, void *arg)
{
	const char *text = NULL;
	bool points = false, snapshots = false;
	const struct rpc_field fields[] = {
	    {"uuid", RPC_STRING, false, GUID_TEXT_BYTES, &text, NULL},
	    {"points", RPC_BOOL, false, 0, &points, NULL},
	    {"snapshots", RPC_BOOL, false, 0, &snapshots, NULL},
	    {0}};
	struct systems *s = NULL;
	struct caller caller;
	struct guid uuid = {{0}};
	struct err err = {0};
	int r = caller_take(parameters, rpc_call_role(call), &caller, &err);

	if (r == 0)
		r = rpc_read_fields(parameters, fields, &err);
	if (r == 0 && text && !guid_parse(text, &uuid))
		r = err_set(&err, -RP_EPARAM, "'uuid' is no UUID");
	if (r == 0)
		s = calloc(1, sizeof(*s));
	if (s) {
		s->daemon = arg;
		s->call = call;
		s->points = points;
		s->snapshots = points || snapshots;
		s->alone = text;
		s->uuid = uuid;
		r = choose(s);
	}
	if (r == 0 && s) {
		begin(s);
		return;
	}
	if (s)
		systems_free(s);
	if (!err.code)
		err_set(&err, -ENOMEM, "systems");
	rpc_fail(call, &err);
}
