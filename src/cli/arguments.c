/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/cli.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/bytes.h"
#include "common/cleanup.h"
#include "common/guid.h"

#define TIMEOUT_S_MAX 86400u
#define GRACE_MS      30000u /* for the answer, beyond the limit */

static int parse_digits(const char *text, uint64_t *ret, const char **ret_end)
{
	char *end;

	if (!isdigit((unsigned char)text[0]))
		return -RP_EPARAM;
	errno = 0;
	*ret = strtoull(text, &end, 10);
	*ret_end = end;
	return errno || *ret > INT64_MAX ? -RP_EPARAM : 0;
}

int parse_size(const char *text, uint64_t *ret_bytes, struct err *err)
{
	static const char suffixes[] = "KMGT";
	const char *end = text, *suffix;
	unsigned shift = 0;
	uint64_t n = 0;
	int r = parse_digits(text, &n, &end);

	if (r == 0 && *end) {
		suffix = strchr(suffixes, toupper((unsigned char)*end));
		if (suffix) {
			shift = 10 * (unsigned)(suffix - suffixes + 1);
			end += strcmp(end + 1, "iB") == 0 ? 3 : 1;
		}
	}
	if (r < 0 || *end || n > (uint64_t)INT64_MAX >> shift)
		return err_set(err, -RP_EPARAM,
			       "'%s' is not a size; write bytes, or a number "
			       "with K, M, G or T",
			       text);
	*ret_bytes = n << shift;
	return 0;
}

int check_request_id(const char *text, struct err *err)
{
	struct guid id;

	if (!text || guid_parse(text, &id))
		return 0;
	return err_set(err, -RP_EPARAM,
		       "--request-id '%s' is not a UUID; 'uuidgen' makes one",
		       text);
}

int parse_timeout(const char *text, uint64_t *ret_ms, unsigned *ret_wait_ms,
		  struct err *err)
{
	uint64_t seconds = 0;
	int r = text ? parse_number("--timeout", text, 1, TIMEOUT_S_MAX,
				    &seconds, err)
		     : 0;

	if (r < 0)
		return r;
	*ret_ms = seconds * 1000;
	*ret_wait_ms =
	    (unsigned)(seconds ? seconds * 1000 : SEAL_TIMEOUT_MS) + GRACE_MS;
	return 0;
}

int parse_number(const char *what, const char *text, uint64_t min, uint64_t max,
		 uint64_t *ret_number, struct err *err)
{
	const char *end;
	uint64_t n;

	if (parse_digits(text, &n, &end) < 0 || *end || n < min || n > max)
		return err_set(err, -RP_EPARAM,
			       "%s is a number from %llu to %llu, not '%s'",
			       what, (unsigned long long)min,
			       (unsigned long long)max, text);
	*ret_number = n;
	return 0;
}

int check_vm_name(const char *vm, struct err *err)
{
	if (name_is_valid(vm, VM_NAME_BYTES))
		return 0;
	return err_set(err, -RP_EPARAM,
		       "'%.80s' is not a name for a VM; it has letters, digits "
		       "and . _ -, begins with a letter or digit, and is "
		       "shorter than %d characters",
		       vm, VM_NAME_BYTES);
}

static bool is_key(const char *text, size_t n)
{
	if (n == KEY_TEXT_BYTES && text[n - 1] == '\n')
		n--;
	return n == KEY_TEXT_BYTES - 1 &&
	       strspn(text, "0123456789abcdefABCDEF") == n;
}

int read_key(const char *path, char ret_key[KEY_TEXT_BYTES], struct err *err)
{
	_cleanup_close_ int fd =
	    open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	char text[KEY_TEXT_BYTES + 2] = "";
	struct stat st;
	ssize_t n;
	int r = 0;

	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set(err, -errno, "the key '%s'", path);
	if (!S_ISREG(st.st_mode) || st.st_mode & 077)
		return err_set(err, -RP_EPARAM,
			       "the key '%s' is no file that its owner alone "
			       "may read and write",
			       path);
	n = read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return err_set(err, -errno, "read the key '%s'", path);
	if (!is_key(text, (size_t)n))
		r = err_set(err, -RP_EPARAM,
			    "'%s' does not hold a key: 64 hexadecimal digits",
			    path);
	else
		(void)snprintf(ret_key, KEY_TEXT_BYTES, "%.64s", text);
	explicit_bzero(text, sizeof(text));
	return r;
}
