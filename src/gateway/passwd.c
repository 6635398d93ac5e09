/* SPDX-License-Identifier: Apache-2.0 */
/* refpoint-cim passwd: a line of the users file. */
#include <getopt.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/paths.h"
#include "gateway/gateway.h"
#include "http/users.h"

static const char usage[] =
    "usage: refpoint-cim passwd FILE USER [--role operator|read-only]\n"
    "                           [--no-password]\n"
    "\n"
    "Sets the password and role of USER in a users file, which is made if it\n"
    "is not there.  The password is asked for, or is the first line of\n"
    "standard input.  Without --role the role stays; a new one is operator.\n"
    "With --no-password USER comes by Kerberos, NTLM or a certificate only.\n";

struct request {
	const char *file, *user, *role;
	bool no_password;
};

static int complain(const char *text)
{
	(void)fprintf(stderr, "refpoint-cim passwd: %s\n", text);
	return EXIT_USAGE;
}

/* One line without its end; false at the end of the file, or if too long. */
static bool read_line(char ret[AUTH_PASSWORD_BYTES])
{
	size_t n;

	if (!fgets(ret, AUTH_PASSWORD_BYTES, stdin))
		return false;
	n = strcspn(ret, "\n");
	if (!ret[n] && n == AUTH_PASSWORD_BYTES - 1)
		return false;
	ret[n] = '\0';
	return true;
}

static bool ask(const char *prompt, char ret[AUTH_PASSWORD_BYTES])
{
	struct termios old, quiet;
	bool ok;

	if (tcgetattr(STDIN_FILENO, &old) < 0)
		return false;
	quiet = old;
	quiet.c_lflag &= ~(tcflag_t)ECHO;
	(void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet);
	(void)fputs(prompt, stderr);
	ok = read_line(ret);
	(void)fputs("\n", stderr);
	(void)tcsetattr(STDIN_FILENO, TCSAFLUSH, &old);
	return ok;
}

static bool get_password(char ret[AUTH_PASSWORD_BYTES])
{
	char again[AUTH_PASSWORD_BYTES];
	bool same;

	(void)setvbuf(stdin, NULL, _IONBF, 0);
	if (!isatty(STDIN_FILENO))
		return read_line(ret);
	if (!ask("Password: ", ret) || !ask("Once more: ", again))
		return false;
	same = strcmp(ret, again) == 0;
	explicit_bzero(again, sizeof(again));
	if (!same)
		(void)complain("these were two different ones");
	return same;
}

/* That of the line that is there, which the lock keeps as it is. */
static int find_role(const struct request *q, enum role *ret_role,
		     struct err *err)
{
	struct users *users;
	int r;

	if (q->role || access(q->file, F_OK) < 0)
		return 0;
	r = users_open(q->file, false, &users, err);
	if (r == 0) {
		(void)users_role(users, q->user, ret_role);
		users_close(users);
	}
	return r;
}

/* What root makes the gateway must be able to read. */
static gid_t group_of_gateway(void)
{
	const struct passwd *pw =
	    geteuid() == 0 ? getpwnam(GATEWAY_USER) : NULL;

	return pw ? pw->pw_gid : (gid_t)-1;
}

static int write_line(const struct request *q, const char *password,
		      enum role role, struct err *err)
{
	_cleanup_close_ int lock = -1;
	int r = users_lock(q->file, &lock, err);

	if (r == 0)
		r = find_role(q, &role, err);
	if (r == 0)
		r = users_write(q->file, q->user, password, role,
				group_of_gateway(), err);
	return r;
}

static int set_password(const struct request *q, struct err *err)
{
	char password[AUTH_PASSWORD_BYTES];
	enum role role = ROLE_OPERATOR;
	int r;

	if (q->role && role_from_name(q->role, &role) < 0)
		return err_set(err, -RP_EPARAM,
			       "'%s' is no role: operator or read-only",
			       q->role);
	if (!q->no_password && !get_password(password))
		return err_set(err, -RP_EPARAM, "no password was given");
	r = write_line(q, q->no_password ? NULL : password, role, err);
	explicit_bzero(password, sizeof(password));
	return r;
}

int passwd_main(int argc, char **argv)
{
	static const struct option options[] = {
	    {"role", required_argument, NULL, 'r'},
	    {"no-password", no_argument, NULL, 'n'},
	    {"help", no_argument, NULL, 'h'},
	    {0}};
	struct request q = {0};
	struct err err = {0};
	int c, r;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (c) {
		case 'r':
			q.role = optarg;
			break;
		case 'n':
			q.no_password = true;
			break;
		case 'h':
			(void)fputs(usage, stdout);
			return EXIT_OK;
		default:
			(void)fputs(usage, stderr);
			return EXIT_USAGE;
		}
	if (argc - optind != 2) {
		(void)fputs(usage, stderr);
		return EXIT_USAGE;
	}
	q.file = argv[optind];
	q.user = argv[optind + 1];
	r = set_password(&q, &err);
	if (r == 0)
		return EXIT_OK;
	(void)complain(err.text);
	return err_exit_status(r);
}
