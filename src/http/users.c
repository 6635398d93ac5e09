/* SPDX-License-Identifier: Apache-2.0 */
#include "http/users.h"

#include <crypt.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "common/paths.h"
#include "http/private-file.h"

#define FILE_BYTES_MAX MIB(2)
#define HASH_BYTES     CRYPT_OUTPUT_SIZE

struct user {
	const char *name; /* in users->text */
	const char *hash; /* "*": none */
	enum role role;
};

struct users {
	pthread_mutex_t lock;
	char *path;
	bool any_owner;
	struct stat seen; /* what was read, good or not */
	char *text;
	struct user *list;
	size_t n;
	char decoy[HASH_BYTES]; /* for names that are not there */
};

static const struct {
	const char *name;
	enum role role;
} role_names[] = {
    {"denied", ROLE_DENIED},
    {"read-only", ROLE_READ_ONLY},
    {"operator", ROLE_OPERATOR},
};

int role_from_name(const char *name, enum role *ret_role)
{
	for (size_t i = 0; i < ARRAY_SIZE(role_names); i++)
		if (strcmp(role_names[i].name, name) == 0) {
			*ret_role = role_names[i].role;
			return 0;
		}
	return -RP_EPARAM;
}

const char *role_name(enum role role)
{
	for (size_t i = 0; i < ARRAY_SIZE(role_names); i++)
		if (role_names[i].role == role)
			return role_names[i].name;
	return "denied";
}

bool user_name_is_valid(const char *name)
{
	size_t n = strlen(name);

	return n && n < AUTH_NAME_BYTES && name[0] != '#' &&
	       !strchr(name, ':') && !text_has_controls(name);
}

/* ---------------------------------------------------------------- the file */

static int parse_line(char *line, struct user *ret)
{
	char *hash = strchr(line, ':');
	char *role = hash ? strchr(hash + 1, ':') : NULL;

	if (!role)
		return -RP_EPARAM;
	*hash++ = '\0';
	*role++ = '\0';
	if (!user_name_is_valid(line) || !*hash || strlen(hash) >= HASH_BYTES)
		return -RP_EPARAM;
	ret->name = line;
	ret->hash = hash;
	return role_from_name(role, &ret->role);
}

/* TEXT is cut up.  *RET_LIST has N entries. */
static int parse(const char *path, char *text, struct user **ret_list,
		 size_t *ret_n, struct err *err)
{
	struct user *list = calloc(AUTH_USERS_MAX, sizeof(*list));
	size_t n = 0, number = 0;
	char *line;
	int r = 0;

	if (!list)
		return err_set(err, -ENOMEM, "'%s'", path);
	while (r == 0 && (line = strsep(&text, "\n"))) {
		number++;
		if (!*line || *line == '#')
			continue;
		if (n == AUTH_USERS_MAX)
			r = err_set(err, -RP_ELIMIT,
				    "'%s' has more than %d names", path,
				    AUTH_USERS_MAX);
		else if (parse_line(line, &list[n]) < 0)
			r = err_set(err, -RP_EPARAM,
				    "'%s' line %zu is not NAME:HASH:ROLE", path,
				    number);
		else
			n++;
	}
	if (r < 0) {
		free(list);
		return r;
	}
	*ret_list = list;
	*ret_n = n;
	return 0;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino &&
	       a->st_size == b->st_size && a->st_mode == b->st_mode &&
	       a->st_uid == b->st_uid &&
	       memcmp(&a->st_mtim, &b->st_mtim, sizeof(a->st_mtim)) == 0 &&
	       memcmp(&a->st_ctim, &b->st_ctim, sizeof(a->st_ctim)) == 0;
}

static void forget(struct users *u)
{
	if (u->text)
		explicit_bzero(u->text, strlen(u->text));
	free(u->text);
	free(u->list);
	u->text = NULL;
	u->list = NULL;
	u->n = 0;
}

static int load(struct users *u, struct err *err)
{
	struct user *list = NULL;
	char *text = NULL;
	struct stat st;
	size_t n = 0;
	int r;

	forget(u);
	r = private_file_read(u->path, u->any_owner, FILE_BYTES_MAX, &text, &st,
			      err);
	if (r < 0)
		return r;
	r = parse(u->path, text, &list, &n, err);
	if (r < 0) {
		free(text);
		return r;
	}
	u->text = text;
	u->list = list;
	u->n = n;
	u->seen = st;
	return 0;
}

/* With the lock.  A file that went wrong knows nobody, until it is mended. */
static void refresh(struct users *u)
{
	struct stat st = {0};
	struct err err = {0};

	if (stat(u->path, &st) == 0 && same_file(&st, &u->seen))
		return;
	if (load(u, &err) < 0) {
		if (!same_file(&st, &u->seen))
			log_error("%s: nobody is let in by it", err.text);
		u->seen = st;
	}
}

int users_open(const char *path, bool any_owner, struct users **ret_users,
	       struct err *err)
{
	struct users *u = calloc(1, sizeof(*u));
	char *salted;
	int r;

	if (!u)
		return err_set(err, -ENOMEM, "users");
	(void)pthread_mutex_init(&u->lock, NULL);
	u->any_owner = any_owner;
	u->path = strdup(path);
	r = u->path ? load(u, err) : err_set(err, -ENOMEM, "users");
	salted = crypt_gensalt_ra(NULL, 0, NULL, 0);
	if (r == 0 && !salted)
		r = err_set(err, -ENOMEM, "users");
	if (r == 0)
		(void)snprintf(u->decoy, sizeof(u->decoy), "%s", salted);
	free(salted);
	if (r < 0) {
		users_close(u);
		return r;
	}
	*ret_users = u;
	return 0;
}

void users_close(struct users *users)
{
	if (!users)
		return;
	forget(users);
	(void)pthread_mutex_destroy(&users->lock);
	free(users->path);
	free(users);
}

/* --------------------------------------------------------------- questions */

static const struct user *find(const struct users *u, const char *name)
{
	for (size_t i = 0; i < u->n; i++)
		if (strcmp(u->list[i].name, name) == 0)
			return &u->list[i];
	return NULL;
}

bool users_role(struct users *users, const char *name, enum role *ret_role)
{
	const struct user *user;

	(void)pthread_mutex_lock(&users->lock);
	refresh(users);
	user = find(users, name);
	if (user)
		*ret_role = user->role;
	(void)pthread_mutex_unlock(&users->lock);
	return user;
}

bool users_has_password(struct users *users, const char *name)
{
	const struct user *user;
	bool has;

	if (!users)
		return false;
	(void)pthread_mutex_lock(&users->lock);
	refresh(users);
	user = find(users, name);
	has = user && strcmp(user->hash, "*") != 0;
	(void)pthread_mutex_unlock(&users->lock);
	return has;
}

/* The hash to try a password on: for who is not there, somebody's, or one that
 * crypt(3) makes at its default cost. */
static bool hash_for(struct users *u, const char *name, char ret[HASH_BYTES],
		     enum role *ret_role)
{
	const struct user *user;
	bool there;

	(void)pthread_mutex_lock(&u->lock);
	refresh(u);
	user = find(u, name);
	there = user && strcmp(user->hash, "*") != 0;
	*ret_role = there ? user->role : ROLE_DENIED;
	for (size_t i = 0; !there && i < u->n; i++) {
		user = &u->list[i];
		if (strcmp(user->hash, "*") != 0)
			break;
	}
	if (user && strcmp(user->hash, "*") == 0)
		user = NULL;
	(void)snprintf(ret, HASH_BYTES, "%s", user ? user->hash : u->decoy);
	(void)pthread_mutex_unlock(&u->lock);
	return there;
}

bool users_check(struct users *users, const char *name, const char *password,
		 enum role *ret_role)
{
	_cleanup_free_ struct crypt_data *data = calloc(1, sizeof(*data));
	char hash[HASH_BYTES];
	enum role role;
	const char *got;
	bool there, ok;

	if (!data)
		return false;
	there = hash_for(users, name, hash, &role);
	got = crypt_r(password, hash, data);
	ok = got && got[0] != '*' && strlen(got) == strlen(hash) &&
	     gnutls_memcmp(got, hash, strlen(hash)) == 0;
	explicit_bzero(data, sizeof(*data));
	explicit_bzero(hash, sizeof(hash));
	if (!there || !ok)
		return false;
	*ret_role = role;
	return true;
}

/* ----------------------------------------------------------------- writing */

static int make_hash(const char *password, char ret[HASH_BYTES],
		     struct err *err)
{
	_cleanup_free_ struct crypt_data *data = calloc(1, sizeof(*data));
	_cleanup_free_ char *setting = crypt_gensalt_ra(NULL, 0, NULL, 0);
	const char *got;

	if (!data || !setting)
		return err_set(err, -ENOMEM, "hash of a password");
	got = crypt_r(password, setting, data);
	if (!got || got[0] == '*')
		return err_set(err, -RP_EPARAM,
			       "crypt(3) does not take this password");
	(void)snprintf(ret, HASH_BYTES, "%s", got);
	explicit_bzero(data, sizeof(*data));
	return 0;
}

/* OLD with the line of NAME changed, or one more. */
static int rewrite(char *old, const char *name, const char *hash,
		   enum role role, char **ret_text, size_t *ret_bytes)
{
	size_t length = strlen(name);
	bool written = false;
	char *line;
	FILE *f;

	f = open_memstream(ret_text, ret_bytes);
	if (!f)
		return -ENOMEM;
	while (old && (line = strsep(&old, "\n"))) {
		if (strncmp(line, name, length) == 0 && line[length] == ':') {
			if (!written)
				(void)fprintf(f, "%s:%s:%s\n", name, hash,
					      role_name(role));
			written = true;
		} else if (*line || old) {
			(void)fprintf(f, "%s\n", line);
		}
	}
	if (!written)
		(void)fprintf(f, "%s:%s:%s\n", name, hash, role_name(role));
	return fclose(f) == 0 ? 0 : -ENOMEM;
}

int users_lock(const char *path, int *ret_fd, struct err *err)
{
	const char *slash = strrchr(path, '/');
	_cleanup_free_ char *directory =
	    slash == path ? strdup("/")
	    : slash       ? strndup(path, (size_t)(slash - path))
			  : strdup(".");
	int fd;

	if (!directory)
		return err_set(err, -ENOMEM, "'%s'", path);
	/* of the directory: the file is replaced by each writer */
	fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_set(err, -errno, "'%s'", directory);
	while (flock(fd, LOCK_EX) < 0)
		if (errno != EINTR) {
			int r = err_set(err, -errno, "lock '%s'", directory);

			(void)close(fd);
			return r;
		}
	*ret_fd = fd;
	return 0;
}

int users_write(const char *path, const char *name, const char *password,
		enum role role, gid_t group, struct err *err)
{
	_cleanup_free_ char *old = NULL, *text = NULL;
	char hash[HASH_BYTES] = "*";
	struct stat st = {.st_mode = group == (gid_t)-1 ? 0600 : 0640,
			  .st_uid = (uid_t)-1,
			  .st_gid = group};
	size_t bytes;
	int r;

	if (!user_name_is_valid(name))
		return err_set(err, -RP_EPARAM,
			       "'%s' cannot be a name: shorter than %d bytes, "
			       "no ':', no leading '#', no controls",
			       name, AUTH_NAME_BYTES);
	if (password && (!*password || strlen(password) >= AUTH_PASSWORD_BYTES))
		return err_set(err, -RP_EPARAM, "a password has 1 to %d bytes",
			       AUTH_PASSWORD_BYTES - 1);
	if (access(path, F_OK) == 0) {
		r = private_file_read(path, false, FILE_BYTES_MAX, &old, &st,
				      err);
		if (r < 0)
			return r;
	}
	r = password ? make_hash(password, hash, err) : 0;
	if (r < 0)
		return r;
	if (rewrite(old, name, hash, role, &text, &bytes) < 0)
		return err_set(err, -ENOMEM, "'%s'", path);
	return private_file_write(path, st.st_mode & 0640, st.st_uid, st.st_gid,
				  text, bytes, err);
}
