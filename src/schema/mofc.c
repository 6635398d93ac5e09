/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mofc FILE TABLES MANUAL: compiles the schema at build time.
 *
 * FILE is the first MOF file; what it includes is looked for beside it.
 */
#include "schema/mof.h"

#include <string.h>

struct directory {
	struct mof *mof; /* whose memory the texts are in */
	const char *path;
	int length; /* of the path up to the last slash, with it */
};

static int read_stream(struct mof *mof, FILE *in, const char *path,
		       const char **ret_text, size_t *ret_bytes,
		       struct err *err)
{
	char *text = mof_alloc(mof, MOF_FILE_BYTES_MAX + 1);

	*ret_bytes = fread(text, 1, MOF_FILE_BYTES_MAX + 1, in);
	*ret_text = text;
	return ferror(in) ? err_set(err, -EIO, "read '%s'", path) : 0;
}

static int read_beside(void *ctx, const char *name, const char **ret_text,
		       size_t *ret_bytes, struct err *err)
{
	const struct directory *dir = ctx;
	char path[4096];
	FILE *in;
	int rc;

	snprintf(path, sizeof(path), "%.*s%s", dir->length, dir->path, name);
	in = fopen(path, "re");
	if (!in)
		return err_set(err, -errno, "open '%s'", path);
	rc = read_stream(dir->mof, in, path, ret_text, ret_bytes, err);
	fclose(in);
	return rc;
}

static int write_file(const struct mof *mof, const char *path,
		      int (*write)(const struct mof *, FILE *), struct err *err)
{
	FILE *out = fopen(path, "we");
	int rc;

	if (!out)
		return err_set(err, -errno, "open '%s'", path);
	rc = write(mof, out);
	if (fclose(out) != 0)
		rc = -EIO;
	return rc < 0 ? err_set(err, rc, "write '%s'", path) : 0;
}

int main(int argc, char **argv)
{
	static struct mof mof;
	struct directory dir;
	struct mof_reader reader = {read_beside, &dir};
	struct err err = {0};
	const char *slash;
	int rc;

	if (argc != 4) {
		fputs("usage: mofc FILE TABLES MANUAL\n", stderr);
		return EXIT_USAGE;
	}
	slash = strrchr(argv[1], '/');
	dir.mof = &mof;
	dir.path = argv[1];
	dir.length = slash ? (int)(slash + 1 - argv[1]) : 0;
	mof_init(&mof);
	rc = mof_read(&mof, &reader, argv[1] + dir.length, &err);
	if (rc == 0)
		rc = mof_check(&mof, &err);
	if (rc == 0)
		rc = write_file(&mof, argv[2], mof_tables, &err);
	if (rc == 0)
		rc = write_file(&mof, argv[3], mof_manual, &err);
	if (rc < 0)
		fprintf(stderr, "mofc: %s\n", err.text);
	mof_free(&mof);
	return rc < 0 ? EXIT_FAILED : EXIT_OK;
}
