/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/sealing.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/fd.h"
#include "common/hex.h"
#include "common/limits.h"
#include "common/log.h"

#define OWN_NAME    "import-key"
#define SHARED_NAME "import-keys"
#define KEY_SUFFIX  ".key"

/* ---- The MAC --------------------------------------------------------------
 */

static const char domain[24] = "refpoint log export 2\n";

struct parts {
	const char *config, *state;
	size_t config_bytes, state_bytes; /* without the last lines */
};

static bool compute(const struct sealing_key *key, const struct parts *parts,
		    uint8_t ret_mac[METADATA_MAC_BYTES])
{
	gnutls_hmac_hd_t hmac;
	uint8_t length[8];
	bool good;

	for (unsigned i = 0; i < sizeof(length); i++)
		length[i] = (uint8_t)((uint64_t)parts->config_bytes >> (8 * i));
	if (gnutls_hmac_init(&hmac, GNUTLS_MAC_SHA256, key->bytes,
			     sizeof(key->bytes)) < 0)
		return false;
	good = gnutls_hmac(hmac, domain, sizeof(domain)) == 0 &&
	       gnutls_hmac(hmac, length, sizeof(length)) == 0 &&
	       gnutls_hmac(hmac, parts->config, parts->config_bytes) == 0 &&
	       gnutls_hmac(hmac, parts->state, parts->state_bytes) == 0;
	gnutls_hmac_deinit(hmac, ret_mac);
	return good;
}

static char *with_mac(const char *text, const char *mac)
{
	char *whole = NULL;

	if (asprintf(&whole, "%s%s%s%s", text, METADATA_MAC_HEAD, mac,
		     METADATA_MAC_TAIL) < 0)
		return NULL;
	return whole;
}

int sealing_seal(const struct sealing_key *key, const char *config,
		 const char *state, char **ret_config, char **ret_state,
		 struct err *err)
{
	const struct parts parts = {config, state, strlen(config),
				    strlen(state)};
	uint8_t mac[METADATA_MAC_BYTES];
	char text[2 * METADATA_MAC_BYTES + 1], *a, *b;

	if (!compute(key, &parts, mac))
		return err_set(err, -RP_EFAILED, "the MAC cannot be computed");
	hex_format(mac, sizeof(mac), text);
	a = with_mac(config, text);
	b = with_mac(state, text);
	if (!a || !b) {
		free(a);
		free(b);
		return err_set(err, -ENOMEM, "metadata");
	}
	*ret_config = a;
	*ret_state = b;
	return 0;
}

/* How many bytes stand before the last line, which has MAC. */
static bool take_mac(const char *text, size_t *ret_bytes,
		     uint8_t ret_mac[METADATA_MAC_BYTES])
{
	const size_t head = sizeof(METADATA_MAC_HEAD) - 1;
	size_t n = strlen(text);
	const char *last = text + n - METADATA_LAST_BYTES;

	if (n < METADATA_LAST_BYTES || n > METADATA_BYTES_MAX ||
	    memcmp(last, METADATA_MAC_HEAD, head) != 0 ||
	    !hex_parse(last + head, METADATA_MAC_BYTES, ret_mac) ||
	    strcmp(last + head + 2 * (size_t)METADATA_MAC_BYTES,
		   METADATA_MAC_TAIL) != 0)
		return false;
	*ret_bytes = n - METADATA_LAST_BYTES;
	return true;
}

static bool is_of(const struct sealing_key *key, const struct parts *parts,
		  const uint8_t mac[METADATA_MAC_BYTES])
{
	uint8_t own[METADATA_MAC_BYTES];

	return compute(key, parts, own) &&
	       gnutls_memcmp(own, mac, sizeof(own)) == 0;
}

/* ---- Keys -----------------------------------------------------------------
 */

int sealing_key_parse(const char *text, struct sealing_key *ret_key,
		      struct err *err)
{
	char digits[2 * SEALING_KEY_BYTES + 1];
	size_t n = strcspn(text, "\n");
	bool is = false;

	if (n == 2 * (size_t)SEALING_KEY_BYTES &&
	    (!text[n] || strcmp(text + n, "\n") == 0)) {
		for (size_t i = 0; i < n; i++)
			digits[i] = (char)tolower((unsigned char)text[i]);
		digits[n] = '\0';
		is = hex_parse(digits, SEALING_KEY_BYTES, ret_key->bytes);
		explicit_bzero(digits, sizeof(digits));
	}
	return is ? 0
		  : err_set(err, -RP_EPARAM, "a key has 64 hexadecimal digits");
}

/* V2.  -ENOENT: there is no such file. */
static int read_private(int dirfd, const char *name, char *text, size_t room,
			struct err *err)
{
	_cleanup_close_ int fd =
	    openat(dirfd, name,
		   O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	struct stat st;
	ssize_t n;

	if (fd < 0 && errno != EACCES)
		return err_set(err, -errno, "key '%s'", name);
	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) ||
	    st.st_uid != geteuid() || (st.st_mode & 077))
		return err_set(err, -RP_EFAILED,
			       "key '%s' is not a file of ours alone: give it "
			       "to refpointd's user, mode 0600",
			       name);
	n = read(fd, text, room - 1);
	if (n < 0)
		return err_set(err, -errno, "key '%s'", name);
	text[n] = '\0';
	return 0;
}

static int read_own(int dirfd, struct sealing_key *ret_key, struct err *err)
{
	char text[SEALING_KEY_BYTES * 2 + 3];
	int r = read_private(dirfd, OWN_NAME, text, sizeof(text), err);

	if (r == 0 && sealing_key_parse(text, ret_key, NULL) < 0)
		r = err_set(err, -RP_ECORRUPT,
			    "'%s' is damaged: what was exported with it is of "
			    "use only with it; else remove it",
			    OWN_NAME);
	explicit_bzero(text, sizeof(text));
	return r;
}

/* Gets the name when what it holds is durable; sealing_key_own() then sees to
 * the name. */
static int put_own(int dirfd, const char *text, struct err *err)
{
	static const char temporary[] = "." OWN_NAME ".new";
	_cleanup_close_ int fd = -1;
	int r;

	(void)unlinkat(dirfd, temporary, 0);
	fd = openat(dirfd, temporary,
		    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	r = fd < 0 ? -errno : fd_write(fd, text, strlen(text), 0);
	if (r == 0 &&
	    (fsync(fd) < 0 || linkat(dirfd, temporary, dirfd, OWN_NAME, 0) < 0))
		r = -errno;
	(void)unlinkat(dirfd, temporary, 0);
	return r < 0 ? err_set(err, r, "make '%s'", OWN_NAME) : 0;
}

static int make_own(int dirfd, struct err *err)
{
	char text[SEALING_KEY_BYTES * 2 + 2];
	struct sealing_key key;
	int r;

	if (getrandom(key.bytes, sizeof(key.bytes), 0) !=
	    (ssize_t)sizeof(key.bytes))
		return err_set(err, -EIO, "random bytes");
	hex_format(key.bytes, sizeof(key.bytes), text);
	(void)strcat(text, "\n");
	r = put_own(dirfd, text, err);
	explicit_bzero(&key, sizeof(key));
	explicit_bzero(text, sizeof(text));
	return r;
}

static int open_lib(const char *lib, struct err *err)
{
	int fd = open(lib, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? err_set(err, -errno, "'%s'", lib) : fd;
}

int sealing_key_own(const char *lib, struct sealing_key *ret_key,
		    struct err *err)
{
	_cleanup_close_ int dirfd = open_lib(lib, err);
	int r;

	if (dirfd < 0)
		return dirfd;
	r = faccessat(dirfd, OWN_NAME, F_OK, AT_SYMLINK_NOFOLLOW) < 0 &&
		    errno == ENOENT
		? make_own(dirfd, err)
		: 0;
	/* a crash may have come when it had just been made */
	if (r == 0 && fsync(dirfd) < 0)
		r = err_set(err, -errno, "sync it");
	if (r == 0)
		r = read_own(dirfd, ret_key, err);
	if (r < 0)
		(void)err_wrap(err, "in '%s'", lib);
	return r;
}

/* ---- Which of them --------------------------------------------------------
 */

static int is_key(const struct dirent *entry)
{
	size_t n = strlen(entry->d_name), m = strlen(KEY_SUFFIX);

	return entry->d_name[0] != '.' && n > m &&
	       strcmp(entry->d_name + n - m, KEY_SUFFIX) == 0;
}

static bool is_of_named(int dirfd, const char *name, const struct parts *parts,
			const uint8_t mac[METADATA_MAC_BYTES])
{
	char text[SEALING_KEY_BYTES * 2 + 3];
	struct sealing_key key;
	struct err err = {0};
	bool good;
	int r = read_private(dirfd, name, text, sizeof(text), &err);

	if (r == 0)
		r = sealing_key_parse(text, &key, &err);
	if (r < 0)
		log_warning("%s/%s is not used: %s", SHARED_NAME, name,
			    err.text);
	good = r == 0 && is_of(&key, parts, mac);
	explicit_bzero(&key, sizeof(key));
	explicit_bzero(text, sizeof(text));
	return good;
}

static bool is_of_shared(const char *lib, const struct parts *parts,
			 const uint8_t mac[METADATA_MAC_BYTES])
{
	char path[PATH_BYTES];
	struct dirent **entries = NULL;
	_cleanup_close_ int dirfd = -1;
	bool good = false;
	int n;

	(void)snprintf(path, sizeof(path), "%s/" SHARED_NAME, lib);
	dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dirfd < 0)
		return false;
	n = scandir(path, &entries, is_key, alphasort);
	for (int i = 0; i < n; i++) {
		if (i < SEALING_KEYS_MAX && !good)
			good =
			    is_of_named(dirfd, entries[i]->d_name, parts, mac);
		free(entries[i]);
	}
	free(entries);
	if (n > SEALING_KEYS_MAX && !good)
		log_warning("'%s' has more than %d keys: the others are not "
			    "used",
			    path, SEALING_KEYS_MAX);
	return good;
}

static bool is_of_own(const char *lib, const struct parts *parts,
		      const uint8_t mac[METADATA_MAC_BYTES])
{
	_cleanup_close_ int dirfd = open_lib(lib, NULL);
	struct sealing_key key;
	struct err err = {0};
	bool good;
	int r = dirfd < 0 ? dirfd : read_own(dirfd, &key, &err);

	if (r < 0 && r != -ENOENT)
		log_warning("%s", err.text);
	good = r == 0 && is_of(&key, parts, mac);
	explicit_bzero(&key, sizeof(key));
	return good;
}

bool sealing_is_good(const char *lib, const struct sealing_key *key,
		     const char *config, const char *state)
{
	struct parts parts = {.config = config, .state = state};
	uint8_t mac[METADATA_MAC_BYTES], other[METADATA_MAC_BYTES];

	if (!take_mac(config, &parts.config_bytes, mac) ||
	    !take_mac(state, &parts.state_bytes, other) ||
	    gnutls_memcmp(mac, other, sizeof(mac)) != 0)
		return false;
	if (key)
		return is_of(key, &parts, mac);
	return is_of_own(lib, &parts, mac) || is_of_shared(lib, &parts, mac);
}
