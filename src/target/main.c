/* SPDX-License-Identifier: Apache-2.0 */
/* refpoint-target: what it gives up before it is told anything. */
#include <fcntl.h>
#include <getopt.h>
#include <seccomp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/confine.h"
#include "common/limits.h"
#include "common/log.h"
#include "target/serve.h"

static const char usage[] =
    "usage: refpoint-target --channel N --vm VM [--uid N --gid N]\n"
    "refpointd starts it; there is nothing to do with it by hand.\n";

struct options {
	int channel;
	const char *vm;
	uid_t uid;
	gid_t gid;
	bool drops;
};

#define SYS(name) SCMP_SYS(name)

static int confine(struct err *err)
{
	static const int plain[] = {SYS(newfstatat), SYS(pwrite64),
				    SYS(ftruncate), SYS(sync_file_range)};
	static const struct confine_rule rules[] = {
	    {SYS(fcntl), 1, UINT32_MAX, F_GETFL},
	    {SYS(fcntl), 1, UINT32_MAX, F_GET_SEALS},
	};
	const struct confine_calls calls = {.plain = plain,
					    .n_plain = ARRAY_SIZE(plain),
					    .rules = rules,
					    .n_rules = ARRAY_SIZE(rules)};
	struct confine_files files;
	int r = confine_files_begin(&files, err);

	if (r == 0)
		r = confine_files_enter(&files, err);
	return r < 0 ? r : confine_calls_enter(&calls, err);
}

static bool read_number(const char *text, unsigned *ret_number)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	*ret_number = (unsigned)n;
	return *text && !*end && n <= INT32_MAX;
}

static bool read_options(int argc, char **argv, struct options *options)
{
	static const struct option longs[] = {
	    {"channel", required_argument, NULL, 'c'},
	    {"vm", required_argument, NULL, 'v'},
	    {"uid", required_argument, NULL, 'u'},
	    {"gid", required_argument, NULL, 'g'},
	    {0}};
	unsigned n = 0;
	int c;

	*options = (struct options){.channel = -1};
	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		if (c == '?' || (c != 'v' && !read_number(optarg, &n)))
			return false;
		if (c == 'c')
			options->channel = (int)n;
		else if (c == 'v')
			options->vm = optarg;
		else if (c == 'u')
			options->uid = n;
		else
			options->gid = n;
		options->drops |= c == 'u';
	}
	return optind == argc && options->channel > STDERR_FILENO &&
	       options->vm;
}

int main(int argc, char **argv)
{
	char name[VM_NAME_BYTES + 24];
	struct options options;
	struct err err = {0};
	int r;

	if (!read_options(argc, argv, &options)) {
		(void)fputs(usage, stderr);
		return EXIT_USAGE;
	}
	(void)snprintf(name, sizeof(name), "refpoint-target[%s]", options.vm);
	log_open(name);
	(void)signal(SIGPIPE, SIG_IGN);
	(void)signal(SIGXFSZ, SIG_IGN); /* a target has its limit */
	r = confine_user(options.drops, options.uid, options.gid, &err);
	if (r == 0)
		r = confine(&err);
	if (r == 0)
		r = target_serve(options.channel, &err);
	if (r == 0)
		return EXIT_OK;
	log_error("%s", err.text);
	return EXIT_FAILED;
}
