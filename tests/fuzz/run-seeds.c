/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Feeds every file of the directories on the command line to a fuzzer's entry,
 * so that the seeds are a test under any compiler.  Fails without any seed.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>

#include "fuzz.h"

#define SEED_BYTES_MAX (4u << 20)

static int run_file(const char *dir, const char *name)
{
	static uint8_t buf[SEED_BYTES_MAX];
	char path[4096];
	uint8_t *exact;
	size_t n;
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "rb");
	if (!f) {
		perror(path);
		return -1;
	}
	n = fread(buf, 1, sizeof(buf), f);
	(void)fclose(f);
	/* A block of just that size lets a sanitizer see an overrun. */
	exact = malloc(n ? n : 1);
	if (!exact)
		return -1;
	for (size_t i = 0; i < n; i++)
		exact[i] = buf[i];
	(void)printf("%s: %zu bytes\n", path, n);
	(void)fflush(stdout);
	(void)LLVMFuzzerTestOneInput(exact, n);
	free(exact);
	return 0;
}

static int run_dir(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int count = 0;

	if (!d) {
		perror(dir);
		return -1;
	}
	while (count >= 0 && (e = readdir(d)))
		if (e->d_name[0] != '.')
			count = run_file(dir, e->d_name) < 0 ? -1 : count + 1;
	(void)closedir(d);
	return count;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (run_dir(argv[i]) <= 0) {
			(void)fprintf(stderr, "%s: no seeds were run\n",
				      argv[i]);
			return 1;
		}
	return argc > 1 ? 0 : 2;
}
