/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/command.h"

#include <assert.h>
#include <stdio.h>

void command_word(struct command *command, const char *text)
{
	assert(command->n + 1 < COMMAND_WORDS);
	command->argv[command->n++] = (char *)(uintptr_t)text;
	command->argv[command->n] = NULL;
}

void command_option(struct command *command, const char *option,
		    unsigned number)
{
	char *text;

	assert(command->n_numbers < COMMAND_NUMBERS);
	text = command->numbers[command->n_numbers++];
	(void)snprintf(text, sizeof(command->numbers[0]), "%u", number);
	command_word(command, option);
	command_word(command, text);
}

void command_user(struct command *command, const struct daemon *daemon)
{
	if (!daemon->privileged)
		return;
	command_option(command, "--uid", (unsigned)daemon->worker_uid);
	command_option(command, "--gid", (unsigned)daemon->worker_gid);
}
