/* SPDX-License-Identifier: Apache-2.0 */
/* What the simulator's own tests share. */
#ifndef TESTS_SIM_TEST_WORLD_H
#define TESTS_SIM_TEST_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/bytes.h"
#include "sim/sim.h"

#define SEEDS 200

extern uint64_t first_seed;

/* From SEED=, and printed. */
void read_seed(void);

/* A handle in directory "store"; NULL: it is not there. */
struct file *file_of(struct sim *sim, const char *name, unsigned flags);
struct file *create(struct sim *sim, const char *name);
void sync_dir(struct sim *sim);
int rename_file(struct sim *sim, const char *from, const char *to);
int unlink_file(struct sim *sim, const char *name);
bool exists(struct sim *sim, const char *name);
void fill(struct file *file, uint8_t value, uint64_t bytes, uint64_t offset);
void do_sync(struct file *file);
uint64_t size_of(struct file *file);
/* -1: beyond the end. */
int byte_at(struct file *file, uint64_t offset);
/* A world with the file "f", durable by name and content: 4096 times A. */
struct sim *world(uint64_t seed, struct file **ret_file);
/* Closes FILE, cuts, reboots, and opens NAME. */
struct file *cut_and_open(struct sim *sim, struct file *file, enum sim_cut cut,
			  const char *name);
/* The end of a world; FILE may be NULL. */
void done(struct sim *sim, struct file *file);
/* The file "live" in the directory "run", which is in memory. */
struct file *memory_file(struct sim *sim);

#endif
