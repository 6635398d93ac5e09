/* SPDX-License-Identifier: Apache-2.0 */
/* The words that one of our programs is started with. */
#ifndef DAEMON_COMMAND_H
#define DAEMON_COMMAND_H

#include "daemon/daemon.h"

#define COMMAND_WORDS   14
#define COMMAND_NUMBERS 4

struct command {
	char *argv[COMMAND_WORDS]; /* ended by a NULL, always */
	unsigned n;
	char numbers[COMMAND_NUMBERS][16];
	unsigned n_numbers;
};

/* TEXT stays the caller's, as long as the command is used. */
void command_word(struct command *command, const char *text);
void command_option(struct command *command, const char *option,
		    unsigned number);
/* That it becomes the worker's user, if refpointd has the right to say so. */
void command_user(struct command *command, const struct daemon *daemon);

#endif
