/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The users file: one line for each name, "NAME:HASH:ROLE", lines that begin
 * with # and empty ones aside.  HASH is crypt(3)'s, or * for a name that comes
 * by Negotiate or a certificate only; ROLE is "operator", "read-only" or
 * "denied".  The file must be ours or root's and closed to the world and to
 * writers in its group.  It is read anew when it changed.
 */
#ifndef HTTP_USERS_H
#define HTTP_USERS_H

#include "http/auth.h"

struct users;

int users_open(const char *path, bool any_owner, struct users **ret_users,
	       struct err *err);
void users_close(struct users *users);

/* True if the name is there and the password is right.  Takes as long for a
 * name that is not there. */
bool users_check(struct users *users, const char *name, const char *password,
		 enum role *ret_role);
/* USERS may be NULL. */
bool users_has_password(struct users *users, const char *name);
/* True if the name has a line, with or without a password. */
bool users_role(struct users *users, const char *name, enum role *ret_role);

/*
 * Sets the line of NAME, in a new file that takes the place of the old one,
 * with its owner, group and mode.  PASSWORD NULL: *.  The file is made if it is
 * not there, with mode 0640 for GROUP, or 0600 if that is -1.
 */
int users_write(const char *path, const char *name, const char *password,
		enum role role, gid_t group, struct err *err);
/* Keeps other writers out until *RET_FD is closed: whoever reads the file to
 * write it again holds this meanwhile. */
int users_lock(const char *path, int *ret_fd, struct err *err);

/* Whether the name may stand in the file. */
bool user_name_is_valid(const char *name);
int role_from_name(const char *name, enum role *ret_role);
const char *role_name(enum role role);

#endif
