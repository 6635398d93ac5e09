/* SPDX-License-Identifier: Apache-2.0 */
#include "providers/below.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/limits.h"

#define TRIES_MAX 16 /* while directories are renamed under us */

/* ---- by its names ---------------------------------------------------------
 */

/* No empty name, "." or "..": then a name's text is where it leads, but for
 * symbolic links. */
static bool is_plain(const char *path)
{
	const char *p = path;

	if (*p != '/' || strlen(path) >= PATH_BYTES)
		return false;
	while (*p == '/') {
		size_t n = strcspn(++p, "/");

		if (n == 0 && !*p && p > path + 1)
			return true; /* a slash at its end */
		if (n == 0 || (n == 1 && *p == '.') ||
		    (n == 2 && p[0] == '.' && p[1] == '.'))
			return false;
		p += n;
	}
	return true;
}

static bool is_below(const char *path, const char *root)
{
	size_t n = strlen(root);

	return strncmp(path, root, n) == 0 && path[n] == '/' && path[n + 1];
}

/* Absolute PATH with each "." and ".." carried out by its names alone, and no
 * slash at its end.  Never longer than PATH. */
static void fold(const char *path, char ret_folded[PATH_BYTES])
{
	char *end = ret_folded;

	for (const char *p = path; *p;) {
		size_t n;

		p += strspn(p, "/");
		n = strcspn(p, "/");
		if (n == 2 && p[0] == '.' && p[1] == '.') {
			while (end > ret_folded && *--end != '/')
				;
		} else if (n > 0 && !(n == 1 && *p == '.')) {
			*end++ = '/';
			memcpy(end, p, n);
			end += n;
		}
		p += n;
	}
	*end = '\0';
}

/* Where it would lead first: who steps out of the root is told no more of its
 * path than who names what is elsewhere. */
static int check_names(const char *root, const char *path, struct err *err)
{
	char folded[PATH_BYTES];

	if (*path == '/' && strlen(path) < sizeof(folded)) {
		fold(path, folded);
		if (!is_below(folded, root))
			return err_set(err, -RP_EDENIED,
				       "'%.256s' is not below '%s'", path,
				       root);
	}
	if (!is_plain(path))
		return err_set(err, -RP_EPARAM,
			       "'%.256s' is no plain absolute path", path);
	return 0;
}

/* ---- a directory that is to be made ---------------------------------------
 */

/* PATH without its last name, which is not empty. */
static void parent_of(const char *path, char ret_parent[PATH_BYTES])
{
	size_t n = strlen(path);

	while (n > 1 && path[n - 1] == '/')
		n--;
	while (n > 1 && path[n - 1] != '/')
		n--;
	while (n > 1 && path[n - 1] == '/')
		n--;
	memcpy(ret_parent, path, n);
	ret_parent[n] = '\0';
}

static int check_parent(const char *directory, const char *root,
			struct err *err)
{
	char parent[PATH_BYTES];
	char *real_root, *real;
	bool below;

	parent_of(directory, parent);
	real = realpath(parent, NULL);
	if (!real)
		return err_set(err, errno == EACCES ? -RP_EDENIED : -RP_EPARAM,
			       "'%s' cannot be reached", parent);
	real_root = realpath(*root ? root : "/", NULL);
	below = real_root &&
		(strcmp(real, real_root) == 0 || is_below(real, real_root));
	free(real);
	free(real_root);
	return below ? 0
		     : err_set(err, -RP_EDENIED, "'%s' leads out of '%s'",
			       directory, root);
}

int below_check(const char *root, const char *directory, struct err *err)
{
	int r = check_names(root, directory, err);

	return r < 0 ? r : check_parent(directory, root, err);
}

/* ---- a file that is read --------------------------------------------------
 */

static int refused(const char *path, struct err *err)
{
	switch (errno) {
	case EXDEV:
	case ELOOP:
		return err_set(err, -RP_EDENIED,
			       "'%s' leads out of where exports are", path);
	case EACCES:
	case EPERM:
		return err_set(err, -RP_EDENIED, "'%s' may not be read", path);
	case ENOENT:
	case ENOTDIR:
	case ENAMETOOLONG:
	case ENXIO:
		return err_set(err, -RP_EPARAM, "there is no file '%s'", path);
	default:
		return err_set(err, -errno, "open '%s'", path);
	}
}

/* PATH is below ROOT by its names. */
static int open_file(const char *root, const char *path, int *ret_fd,
		     struct err *err)
{
	const struct open_how how = {
	    .flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
	    .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
	_cleanup_close_ int dir =
	    open(*root ? root : "/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	int fd = -1;

	for (int i = 0; dir >= 0 && fd < 0 && i < TRIES_MAX; i++) {
		fd = (int)syscall(SYS_openat2, dir, path + strlen(root) + 1,
				  &how, sizeof(how));
		if (fd < 0 && errno != EAGAIN && errno != EINTR)
			break;
	}
	if (fd < 0)
		return refused(path, err);
	*ret_fd = fd;
	return 0;
}

int below_read(const char *root, const char *path, size_t max, char **ret_text,
	       struct err *err)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *text = NULL;
	struct stat st;
	int64_t n;
	int r = check_names(root, path, err);

	if (r == 0)
		r = open_file(root, path, &fd, err);
	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0)
		return err_set(err, -errno, "'%s'", path);
	if (!S_ISREG(st.st_mode))
		return err_set(err, -RP_EPARAM, "'%s' is no file", path);
	text = malloc(max + 2);
	if (!text)
		return err_set(err, -ENOMEM, "'%s'", path);
	n = fd_read(fd, text, max + 1, 0);
	if (n < 0)
		return err_set(err, (int)n, "read '%s'", path);
	if (n == 0 || (size_t)n > max || memchr(text, '\0', (size_t)n))
		return err_set(err, -RP_EPARAM,
			       "'%s' is empty, longer than %zu bytes, or no "
			       "text",
			       path, max);
	text[n] = '\0';
	*ret_text = text;
	text = NULL;
	return 0;
}
