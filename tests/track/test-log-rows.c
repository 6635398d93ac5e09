/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The rows of logs: each change of them is there or is not, in the catalogue
 * and in memory alike, whenever the program or the power ends; and a catalogue
 * that contradicts itself is refused.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sim/sim.h"
#include "track/internal.h"

static const struct guid A = {{0xaa}}, B = {{0xbb}}, R = {{0x22}}, C = {{0xcc}},
			 D = {{0xdd}}, E = {{0xee}};
static const struct guid a0 = {{0xa0}}, c0 = {{0xc0}}, c1 = {{0xc1}},
			 d0 = {{0xd0}}, d1 = {{0xd1}};

static struct sim *sim;
static struct fs *store, *memory;
static struct vm *vm;
static struct err err;

static void ok(int r)
{
	if (r < 0)
		fail_msg("%s", err.text);
}

static struct vm_env environment(void)
{
	return (struct vm_env){
	    .store = store,
	    .memory = memory,
	    .boot = sim_boot_id(sim),
	    .machine = {{7}},
	};
}

static int open_store(void)
{
	struct vm_env env;

	store = sim_fs(sim, "store", false);
	memory = sim_fs(sim, "live", true);
	env = environment();
	return vm_open(&env, &vm, &err);
}

static void close_store(void)
{
	vm = vm_close(vm);
	store->ops->free(store);
	memory->ops->free(memory);
}

static void reopen(void)
{
	close_store();
	ok(open_store());
}

/* ---- what the rows say ------------------------------------------------ */

struct told {
	char text[512];
	const struct guid *point;
};

__attribute__((format(printf, 2, 3))) static void tell(struct told *told,
						       const char *fmt, ...)
{
	size_t at = strlen(told->text);
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(told->text + at, sizeof(told->text) - at, fmt, ap);
	va_end(ap);
}

static int tell_part(void *arg, const struct log_part_row *row)
{
	struct told *told = arg;

	if (guid_equal(&row->point, told->point))
		tell(told, " %02x@%llu", row->origin.b[0],
		     (unsigned long long)row->position);
	return 0;
}

static int tell_point(void *arg, const struct point_row *row)
{
	struct told *told = arg;
	char reason[REASON_BYTES];

	told->point = &row->id;
	tell(told, "%s%02X", told->text[0] ? ", " : "", row->id.b[0]);
	if (vm_log_lost(vm, &row->id, reason))
		tell(told, " %s", reason);
	return vm_log_parts(vm, tell_part, told, NULL);
}

static struct told tell_all(void)
{
	struct told told = {0};

	ok(vm_points(vm, tell_point, &told, &err));
	if (vm_log_limit(vm))
		tell(&told, "; %llu", (unsigned long long)vm_log_limit(vm));
	return told;
}

static void rows_are(const char *text)
{
	struct told told = tell_all();

	assert_string_equal(told.text, text);
}

/* ---- the rows to begin with ------------------------------------------- */

static int put_point(const struct guid *id, enum point_type type,
		     uint64_t order)
{
	struct point_row row = {.id = *id,
				.order = order,
				.type = type,
				.consistency = CONSISTENCY_CRASH,
				.disks = 1};

	return catalogue_put_point(vm->catalogue, &row, &err);
}

static int put_part(const struct guid *origin, const struct guid *point,
		    uint64_t position)
{
	struct log_part_row row = {*origin, *point, position};

	return catalogue_put_log_part(vm->catalogue, &row, &err);
}

static int put_lost(const struct guid *point, const char *reason)
{
	struct log_lost_row row = {.point = *point};

	(void)snprintf(row.reason, sizeof(row.reason), "%s", reason);
	return catalogue_put_log_lost(vm->catalogue, &row, &err);
}

static int put_first(struct vm *unused, void *arg, struct err *unused_err)
{
	struct system_row system = vm->system;

	system.next_point = 7;
	ok(put_point(&A, POINT_LOG, 1));
	ok(put_part(&a0, &A, 1));
	ok(put_point(&B, POINT_LOG, 2));
	ok(put_lost(&B, "full"));
	ok(put_point(&R, POINT_RCT, 3));
	ok(put_point(&C, POINT_LOG, 4));
	ok(put_part(&c0, &C, 4));
	ok(put_part(&c1, &C, 5));
	ok(put_point(&D, POINT_LOG, 6));
	ok(put_part(&d0, &D, 6));
	ok(catalogue_put_system(vm->catalogue, &system, &err));
	return 0;
}

#define FIRST "AA a0@1, BB full, 22, CC c0@4 c1@5, DD d0@6"

static int set_up(void **state)
{
	struct vm_disk_definition disk = {.id = "disk0", .bytes = MIB(16)};
	struct vm_definition definition = {.count = 1, .disks = &disk};
	struct vm_env env;

	sim = sim_new(1);
	store = sim_fs(sim, "store", false);
	memory = sim_fs(sim, "live", true);
	env = environment();
	ok(vm_define(&env, &definition, &err));
	ok(vm_open(&env, &vm, &err));
	ok(vm_commit(vm, put_first, NULL, NULL, &err));
	reopen();
	rows_are(FIRST);
	return 0;
}

static int tear_down(void **state)
{
	close_store();
	sim = sim_free(sim);
	return 0;
}

/* ---- the changes ------------------------------------------------------ */

static int add(void)
{
	return vm_log_add(vm, &d1, &D, &err);
}

static int forget(void)
{
	return vm_log_forget(vm, &c0, &err);
}

static int lose(void)
{
	return vm_log_lose(vm, &C, "by request", &err);
}

static int lose_the_newest(void)
{
	return vm_log_lose(vm, &D, "hung", &err);
}

static int destroy_with_heir(void)
{
	return vm_point_destroy(vm, &D, &err);
}

static int destroy_after_lost(void)
{
	return vm_point_destroy(vm, &C, &err);
}

static int destroy_the_oldest(void)
{
	return vm_point_destroy(vm, &A, &err);
}

static int destroy_lost(void)
{
	return vm_point_destroy(vm, &B, &err);
}

static int destroy_rct(void)
{
	return vm_point_destroy(vm, &R, &err);
}

static int set_limit(void)
{
	return vm_set_log_limit(vm, 4096, &err);
}

/* What a seal does to rows, with its point. */
static int put_seal(struct vm *unused, void *arg, struct err *unused_err)
{
	struct point_row *row = arg;
	struct system_row system = vm->system;
	int r;

	system.next_point++;
	r = catalogue_put_point(vm->catalogue, row, &err);
	if (r == 0)
		r = log_rows_put_seal(vm, row, &err);
	return r ? r : catalogue_put_system(vm->catalogue, &system, &err);
}

static int seal_as(const struct guid *id)
{
	struct vm_point_request request = {.type = POINT_LOG, .id = *id};
	struct point_row row = {.id = *id,
				.order = vm->system.next_point,
				.type = POINT_LOG,
				.consistency = CONSISTENCY_CRASH,
				.disks = 1};
	int r = log_rows_admit_seal(vm, &request, &err);

	if (r == 0)
		r = vm_commit(vm, put_seal, &row, NULL, &err);
	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&vm->model);
	ok(model_add_point(vm, &row));
	log_rows_sealed(vm, &row);
	vm->system.next_point++;
	(void)pthread_mutex_unlock(&vm->model);
	return 0;
}

static int seal(void)
{
	return seal_as(&E);
}

static int seal_what_was_begun(void)
{
	int r = vm_log_add(vm, &E, &D, &err);

	return r ? r : seal_as(&E);
}

struct change {
	int (*run)(void);
	const char *after;
	const char *between; /* or NULL */
};

static const struct change changes[] = {
    {add, "AA a0@1, BB full, 22, CC c0@4 c1@5, DD d0@6 d1@7", NULL},
    {forget, "AA a0@1, BB full, 22, CC c1@5, DD d0@6", NULL},
    {lose, "AA a0@1, BB full, 22, CC by request, DD d0@6", NULL},
    {lose_the_newest, "AA a0@1, BB full, 22, CC c0@4 c1@5, DD hung", NULL},
    {destroy_with_heir, "AA a0@1, BB full, 22, CC c0@4 c1@5 d0@6", NULL},
    {destroy_after_lost, "AA a0@1, BB full, 22, DD d0@6", NULL},
    {destroy_the_oldest, "BB full, 22, CC c0@4 c1@5, DD d0@6", NULL},
    {destroy_lost, "AA full, 22, CC c0@4 c1@5, DD d0@6", NULL},
    {destroy_rct, "AA a0@1, BB full, CC c0@4 c1@5, DD d0@6", NULL},
    {set_limit, FIRST "; 4096", NULL},
    {seal, FIRST ", EE ee@7", NULL},
    {seal_what_was_begun, FIRST ", EE ee@8", FIRST " ee@7"},
};

static void each_change_is_true_and_stays(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		ok(changes[i].run());
		rows_are(changes[i].after);
		reopen();
		rows_are(changes[i].after);
		tear_down(NULL);
		set_up(NULL);
	}
}

/* False if the change was over before. */
static bool die_at(const struct change *change, uint64_t n, unsigned kind)
{
	struct told told;
	bool done;

	sim_die_at(sim, sim_ops(sim) + n, kind < SIM_CUTS ? SIM_CUT : SIM_KILL,
		   (enum sim_cut)(kind % SIM_CUTS));
	done = change->run() == 0;
	if (!sim_dead(sim)) {
		assert_true(done);
		return false;
	}
	close_store();
	sim_reboot(sim);
	ok(open_store());
	told = tell_all();
	if (strcmp(told.text, change->after) != 0 &&
	    (done ||
	     (strcmp(told.text, FIRST) != 0 &&
	      (!change->between || strcmp(told.text, change->between) != 0))))
		fail_msg("change %zu, operation %llu: %s",
			 (size_t)(change - changes), (unsigned long long)n,
			 told.text);
	return true;
}

static void a_death_leaves_what_was_or_what_is_to_be(void **state)
{
	unsigned deaths = 0;

	for (size_t i = 0; i < ARRAY_SIZE(changes); i++)
		for (unsigned kind = 0; kind <= SIM_CUTS; kind++) {
			uint64_t n = 1;

			while (die_at(&changes[i], n++, kind)) {
				deaths++;
				tear_down(NULL);
				set_up(NULL);
			}
			assert_true(n > 2);
			sim_die_at(sim, 0, SIM_KILL, SIM_CUT_DROP);
			tear_down(NULL);
			set_up(NULL);
		}
	print_message("%u deaths\n", deaths);
}

static void a_change_without_room_changes_nothing(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		sim_fail(sim, SIM_WRITE, 1, ENOSPC, true, "catalogue*");
		assert_int_equal(changes[i].run(), -RP_ENOROOM);
		sim_fail_none(sim);
		rows_are(FIRST);
		ok(changes[i].run());
		reopen();
		rows_are(changes[i].after);
		tear_down(NULL);
		set_up(NULL);
	}
}

static int no_part(void *arg, const struct log_part_row *row)
{
	fail_msg("a part was told of");
	return 0;
}

static void after_an_unknown_outcome_nobody_is_answered(void **state)
{
	sim_fail(sim, SIM_SYNC, 1, EIO, true, "catalogue*");
	assert_int_equal(lose(), -RP_EIOFAIL);
	sim_fail_none(sim);
	assert_int_equal(vm_log_parts(vm, no_part, NULL, &err), -RP_ELATCHED);
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++)
		if (changes[i].run != seal)
			assert_int_equal(changes[i].run(), -RP_ELATCHED);
	ok(vm_reload(vm, &err));
	if (strcmp(tell_all().text, FIRST) != 0)
		rows_are(changes[2].after);
}

/* ---- refusals --------------------------------------------------------- */

static void what_cannot_be_changed_is_refused(void **state)
{
	char reason[REASON_BYTES] = "as it was";

	assert_int_equal(vm_log_add(vm, &E, &E, &err), -RP_ENOPOINT);
	assert_int_equal(vm_log_add(vm, &E, &R, &err), -RP_ENOPOINT);
	assert_int_equal(vm_log_add(vm, &E, &B, &err), -RP_ESTATE);
	assert_int_equal(vm_log_add(vm, &E, &C, &err), -RP_ESTATE);
	assert_int_equal(vm_log_add(vm, &c0, &D, &err), -RP_EALREADY);
	assert_int_equal(vm_log_lose(vm, &R, "", &err), -RP_ENOPOINT);
	assert_int_equal(vm_log_lose(vm, &E, "", &err), -RP_ENOPOINT);
	assert_int_equal(vm_set_log_limit(vm, (uint64_t)INT64_MAX + 1, &err),
			 -RP_EPARAM);
	ok(vm_log_lose(vm, &B, "again", &err));
	ok(vm_log_forget(vm, &E, &err));
	assert_false(vm_log_lost(vm, &A, reason));
	assert_false(vm_log_lost(vm, &R, reason));
	assert_string_equal(reason, "as it was");
	rows_are(FIRST);
	/* The one part of D's cannot become E's. */
	assert_int_equal(seal_as(&d0), -RP_ESTATE);
	ok(set_limit());
	ok(vm_set_log_limit(vm, 0, &err));
	reopen();
	rows_are(FIRST);
}

/* Positions are never used again, also if their row is gone. */
static void a_position_does_not_come_again(void **state)
{
	ok(add());
	ok(vm_log_forget(vm, &d1, &err));
	reopen();
	ok(add());
	rows_are("AA a0@1, BB full, 22, CC c0@4 c1@5, DD d0@6 d1@8");
}

static int put_many(struct vm *unused, void *arg, struct err *unused_err)
{
	struct system_row system = vm->system;
	struct guid origin = {{1}};

	for (uint32_t i = 4; i < LOG_PARTS_MAX; i++) {
		memcpy(origin.b + 1, &i, sizeof(i));
		ok(put_part(&origin, &D, system.next_point++));
	}
	ok(catalogue_put_system(vm->catalogue, &system, &err));
	return 0;
}

static void there_are_so_many_parts_and_no_more(void **state)
{
	ok(vm_commit(vm, put_many, NULL, NULL, &err));
	reopen();
	assert_int_equal(vm->log_part_count, LOG_PARTS_MAX);
	assert_int_equal(add(), -RP_ELIMIT);
	assert_int_equal(seal(), -RP_ELIMIT);
	ok(destroy_the_oldest());
	ok(add());
	reopen();
	assert_int_equal(add(), -RP_EALREADY);
	assert_int_equal(seal(), -RP_ELIMIT);
	ok(lose_the_newest());
	assert_int_equal(vm->log_part_count, 2);
	ok(seal());
}

/* ---- contradictions --------------------------------------------------- */

static int part_of_rct(void)
{
	return put_part(&E, &R, 3);
}

static int part_of_nobody(void)
{
	return put_part(&E, &E, 3);
}

static int part_of_lost(void)
{
	return put_part(&E, &B, 3);
}

static int part_of_later(void)
{
	return put_part(&E, &D, 7);
}

static int parts_of_one_position(void)
{
	return put_part(&E, &D, 5);
}

static int parts_out_of_order(void)
{
	return put_part(&E, &D, 3);
}

static int lost_rct(void)
{
	return put_lost(&R, "why");
}

static int lost_nobody(void)
{
	return put_lost(&E, "why");
}

static int lost_with_parts(void)
{
	return put_lost(&A, "why");
}

static int neither(void)
{
	return catalogue_drop_log_part(vm->catalogue, &a0, &err);
}

static int log_based_snapshot(void)
{
	struct point_row row = {.id = E,
				.snapshot = true,
				.order = 6,
				.type = POINT_LOG,
				.consistency = CONSISTENCY_CRASH,
				.disks = 1};

	return catalogue_put_point(vm->catalogue, &row, &err);
}

static int contradict(struct vm *unused, void *arg, struct err *unused_err)
{
	return (*(int (**)(void))arg)();
}

static void a_catalogue_that_contradicts_itself_is_damaged(void **state)
{
	static const struct {
		int (*put)(void);
		const char *says;
	} cases[] = {
	    {part_of_rct, "no log-based point has part"},
	    {part_of_nobody, "no log-based point has part"},
	    {part_of_lost, "there and lost, of point"},
	    {part_of_later, "no position was given out yet"},
	    {parts_of_one_position, "have position 5"},
	    {parts_out_of_order, "a newer point's part comes before"},
	    {lost_rct, "is no log-based point"},
	    {lost_nobody, "is no log-based point"},
	    {lost_with_parts, "there and lost, of point"},
	    {neither, "neither there nor lost"},
	    {log_based_snapshot, "log-based is snapshot"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int (*put)(void) = cases[i].put;

		ok(vm_commit(vm, contradict, &put, NULL, &err));
		close_store();
		assert_int_equal(open_store(), -RP_ECORRUPT);
		if (!strstr(err.text, cases[i].says))
			fail_msg("'%s', expected '%s'", err.text,
				 cases[i].says);
		tear_down(NULL);
		set_up(NULL);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(each_change_is_true_and_stays),
	    TEST(a_death_leaves_what_was_or_what_is_to_be),
	    TEST(a_change_without_room_changes_nothing),
	    TEST(after_an_unknown_outcome_nobody_is_answered),
	    TEST(what_cannot_be_changed_is_refused),
	    TEST(a_position_does_not_come_again),
	    TEST(there_are_so_many_parts_and_no_more),
	    TEST(a_catalogue_that_contradicts_itself_is_damaged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
