/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/guarded.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/limits.h"

#define LINKS_MAX 40 /* as the kernel has it */

struct walk {
	char at[PATH_BYTES];   /* where we are: no link in it; "" is the root */
	char rest[PATH_BYTES]; /* still to walk */
	unsigned links;
	bool sticky; /* the directory we are in */
};

static bool is_ours(const struct stat *st)
{
	return st->st_uid == 0 || st->st_uid == geteuid();
}

static int refuse(const struct walk *w, struct err *err)
{
	return err_set(err, -RP_EDENIED,
		       "others may replace '%s': close it to them, or define "
		       "the VM anew",
		       w->at[0] ? w->at : "/");
}

/* Moves the next component of the rest to NAME; false: there is none. */
static bool next(struct walk *w, char name[NAME_MAX + 1])
{
	char *p = w->rest + strspn(w->rest, "/");
	size_t n = strcspn(p, "/");

	if (n == 0 || n > NAME_MAX)
		return false;
	memcpy(name, p, n);
	name[n] = '\0';
	memmove(w->rest, p + n, strlen(p + n) + 1);
	return true;
}

static int follow(struct walk *w, struct err *err)
{
	char target[PATH_BYTES], rest[PATH_BYTES];
	ssize_t n = readlink(w->at, target, sizeof(target) - 1);

	if (n < 0 || ++w->links > LINKS_MAX)
		return err_set(err, n < 0 ? -errno : -ELOOP, "'%s'", w->at);
	target[n] = '\0';
	if (snprintf(rest, sizeof(rest), "%s/%s", target, w->rest) >=
	    (int)sizeof(rest))
		return err_set(err, -ENAMETOOLONG, "'%s'", w->at);
	(void)strcpy(w->rest, rest);
	if (target[0] == '/') { /* the root was looked at first of all */
		w->at[0] = '\0';
		w->sticky = false;
	} else {
		*strrchr(w->at, '/') = '\0';
	}
	return 0;
}

/* Takes in what stands at w->at. */
static int enter(struct walk *w, struct err *err)
{
	struct stat st;

	if (lstat(w->at[0] ? w->at : "/", &st) < 0)
		return err_set(err, -errno, "'%s'", w->at);
	/* whoever owns an entry of a sticky directory may replace it */
	if (w->sticky && !is_ours(&st))
		return refuse(w, err);
	if (S_ISLNK(st.st_mode))
		return follow(w, err);
	w->sticky = false;
	if (!S_ISDIR(st.st_mode))
		return 0;
	w->sticky = st.st_mode & S_ISVTX;
	if (!is_ours(&st) || (!w->sticky && (st.st_mode & 022)))
		return refuse(w, err);
	return 0;
}

static int step(struct walk *w, const char *name, struct err *err)
{
	size_t n = strlen(w->at);

	if (strcmp(name, ".") == 0)
		return 0;
	if (strcmp(name, "..") == 0) {
		if (w->at[0])
			*strrchr(w->at, '/') = '\0';
		w->sticky = false;
		return enter(w, err);
	}
	if (snprintf(w->at + n, sizeof(w->at) - n, "/%s", name) >=
	    (int)(sizeof(w->at) - n))
		return err_set(err, -ENAMETOOLONG, "'%s'", w->at);
	return enter(w, err);
}

int guarded_path(const char *path, struct err *err)
{
	struct walk w = {.at = ""};
	char name[NAME_MAX + 1];
	int r;

	if (snprintf(w.rest, sizeof(w.rest), "%s", path) >= (int)sizeof(w.rest))
		return err_set(err, -ENAMETOOLONG, "'%s'", path);
	r = enter(&w, err);
	while (r == 0 && next(&w, name))
		r = step(&w, name, err);
	return r;
}
