/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Single cases of what a death may leave, which random lives hardly meet.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>

#include <cmocka.h>

#include "hrl/writer.h"
#include "scene.h"
#include "store/files.h"

static struct scene *begin(void)
{
	struct scene *s = scene_new(1);
	struct err err = {0};

	assert_int_equal(scene_create(s, false, &err), 0);
	return s;
}

/* A write of one sector each, to the first COUNT sectors of disk 0. */
static void write_sectors(struct scene *s, unsigned first, unsigned count)
{
	for (unsigned i = first; i < first + count; i++) {
		assert_true(
		    scene_write(s, 0, i * 4096 % SCENE_BYTES, 512, false));
		if (i % 4 == 3)
			scene_settle(s);
	}
}

static void flush_all(struct scene *s)
{
	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 0; i < SCENE_DISKS; i++)
			scene_flush(s, i);
		scene_settle(s);
	}
}

static void cut(struct scene *s, enum sim_cut how)
{
	sim_power_cut(s->sim, how);
	scene_stop(s);
	sim_reboot(s->sim);
}

/* BYTES of disk 0's log or sidecar are lost. */
static void lose(struct scene *s, enum log_part part, uint64_t at,
		 uint64_t bytes)
{
	char name[LOG_NAME_BYTES];
	uint8_t zeros[4096] = {0};
	struct file *file;

	log_name(part, &s->disks[0].point, 0, name);
	assert_int_equal(fs_open(s->store, name, FILE_WRITE, &file, NULL), 0);
	assert_int_equal(file_write(file, zeros, bytes, at, NULL), 0);
	file_close(file);
}

static void finish(struct scene *s, enum log_ended ended)
{
	assert_true(scene_recover(s, ended));
	scene_check(s);
	assert_true(scene_close(s));
	scene_stop(s);
	scene_free(s);
}

static void a_lost_block_is_made_again(void **state)
{
	struct scene *s = begin();

	(void)state;
	write_sectors(s, 0, HRL_ENTRIES + 5);
	scene_settle(s);
	lose(s, LOG_DATA, HRL_FIRST_BYTES + HRL_ENTRIES * 512,
	     HRL_METADATA_BYTES);
	cut(s, SIM_CUT_KEEP);
	finish(s, LOG_ENDED_CUT);
}

/* The block was placed while the syncs of a flush of all before it ran. */
static void so_is_one_just_behind_a_flush(void **state)
{
	struct scene *s = begin();

	(void)state;
	write_sectors(s, 0, HRL_ENTRIES);
	scene_settle(s);
	scene_flush(s, 0);
	write_sectors(s, HRL_ENTRIES, 5);
	scene_settle(s);
	lose(s, LOG_DATA, HRL_FIRST_BYTES + HRL_ENTRIES * 512,
	     HRL_METADATA_BYTES);
	cut(s, SIM_CUT_KEEP);
	finish(s, LOG_ENDED_CUT);
}

static int repair(struct scene *s, enum log_ended ended, struct blockset *set,
		  struct log_stream **ret_stream, struct err *err)
{
	struct log_service service = {
	    .ioq = s->ioq,
	    .store = s->store,
	    .memory = s->memory,
	    .boot = sim_boot_id(s->sim),
	    .clock = &s->clock,
	    .budget = &s->budget,
	};
	struct log_repair repair;

	return stream_repair(&service, &s->id, &s->disks[0].point, 0, ended,
			     set, &repair, ret_stream, err);
}

static void open_again(struct scene *s)
{
	s->store = sim_fs(s->sim, "store", false);
	s->memory = sim_fs(s->sim, "memory", true);
	s->ioq = sim_ioq_new(s->sim);
}

static void close_again(struct scene *s)
{
	s->store->ops->free(s->store);
	s->memory->ops->free(s->memory);
}

static void what_a_flush_promised_must_be_there(void **state)
{
	struct blockset *set = blockset_new(SCENE_BYTES);
	struct log_stream *stream = NULL;
	struct scene *s = begin();
	struct err err = {0};

	(void)state;
	write_sectors(s, 0, 10);
	scene_settle(s);
	flush_all(s);
	lose(s, LOG_DATA, HRL_FIRST_BYTES + 3 * 512, 512);
	cut(s, SIM_CUT_KEEP);
	open_again(s);
	assert_int_equal(repair(s, LOG_ENDED_CUT, set, &stream, &err),
			 -RP_ECORRUPT);
	assert_non_null(strstr(err.text, "record 3"));
	assert_null(stream);
	blockset_free(set);
	close_again(s);
	scene_free(s);
}

static void nothing(struct log_flush *flush)
{
	(void)flush;
}

static void sync_stream(struct scene *s, struct log_stream *stream,
			struct log_flush *flush)
{
	flush->done = nothing;
	stream_sync(stream, flush);
	do {
		stream_turn(stream);
		sim_ioq_complete_all(s->sim);
		stream_turn(stream);
	} while (sim_ioq_pending(s->sim));
}

/* Two writes are in the log, durably, but not in the image.  One of them is
 * mended, and all is flushed, before the power goes again. */
static void a_flush_while_mending_promises_nothing_new(void **state)
{
	struct blockset *set = blockset_new(SCENE_BYTES);
	struct log_stream *stream = NULL;
	struct scene *s = begin();
	struct log_flush flush;
	struct err err = {0};
	uint8_t data[BLOCK_BYTES] = {0};
	struct log_piece piece = {.length = sizeof(data), .data = data};

	(void)state;
	write_sectors(s, 0, 2);
	scene_settle(s);
	sync_stream(s, s->disks[0].stream, &flush);
	cut(s, SIM_CUT_DROP);
	open_again(s);
	assert_int_equal(repair(s, LOG_ENDED_CUT, set, &stream, &err), 0);
	assert_true(blockset_has(set, 0) && blockset_has(set, 1));
	assert_true(stream_mend(stream, &piece));
	for (unsigned i = 0; i < 2; i++) {
		sync_stream(s, stream, &flush);
		stream_flushed(stream, &flush);
	}
	sim_power_cut(s->sim, SIM_CUT_DROP);
	stream_end(stream);
	close_again(s);
	sim_reboot(s->sim);
	open_again(s);
	blockset_free(set);
	set = blockset_new(SCENE_BYTES);
	assert_int_equal(repair(s, LOG_ENDED_CUT, set, &stream, &err), 0);
	assert_true(blockset_has(set, 1));
	stream_end(stream);
	blockset_free(set);
	close_again(s);
	scene_free(s);
}

/* A last write whose image's write never ends, of a process that dies. */
static void write_and_die(struct scene *s)
{
	unsigned i = 0;

	assert_true(scene_write(s, 0, 0, 512, false));
	scene_turn(s);
	while (i < sim_ioq_pending(s->sim))
		if (strcmp(sim_ioq_peek(s->sim, i)->file->name, "image0") == 0)
			i++;
		else
			sim_ioq_complete_one(s->sim, i);
	assert_int_equal(i, 1);
	sim_kill(s->sim);
	scene_stop(s);
}

/* Of that write's record, the first in its sector, nothing landed: the good
 * part ends with a block.  What follows has that one's time. */
static void a_block_may_come_last(void **state)
{
	struct scene *s = begin();

	(void)state;
	write_sectors(s, 0, HRL_ENTRIES);
	scene_settle(s);
	write_and_die(s);
	sim_reboot(s->sim);
	open_again(s);
	lose(s, LOG_SIDE, sidecar_offset(HRL_ENTRIES + 1), 512);
	close_again(s);
	finish(s, LOG_ENDED_KILLED);
}

/* The process dies again while so much is mended that there is a block. */
static void a_break_stays_in_force_over_a_block(void **state)
{
	struct blockset *set = blockset_new(SCENE_BYTES);
	struct log_stream *stream = NULL;
	struct scene *s = begin();
	struct log_flush flush;
	uint8_t data[512] = {0};
	struct log_piece piece = {.length = sizeof(data), .data = data};

	(void)state;
	write_and_die(s);
	sim_reboot(s->sim);
	open_again(s);
	assert_int_equal(repair(s, LOG_ENDED_KILLED, set, &stream, NULL), 0);
	assert_int_equal(blockset_count(set), 1);
	for (unsigned i = 0; i < HRL_ENTRIES + 10; i++)
		assert_true(stream_mend(stream, &piece));
	sync_stream(s, stream, &flush);
	sim_kill(s->sim);
	stream_end(stream);
	blockset_free(set);
	close_again(s);
	sim_reboot(s->sim);
	finish(s, LOG_ENDED_KILLED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a_lost_block_is_made_again),
	    cmocka_unit_test(so_is_one_just_behind_a_flush),
	    cmocka_unit_test(a_block_may_come_last),
	    cmocka_unit_test(a_break_stays_in_force_over_a_block),
	    cmocka_unit_test(what_a_flush_promised_must_be_there),
	    cmocka_unit_test(a_flush_while_mending_promises_nothing_new),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
