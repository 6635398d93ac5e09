/* SPDX-License-Identifier: Apache-2.0 */
/* http-passwd FILE NAME PASSWORD|* ROLE: users_write, for the tests. */
#include <stdio.h>
#include <string.h>

#include "http/users.h"

int main(int argc, char **argv)
{
	struct err err = {0};
	enum role role;

	if (argc != 5 || role_from_name(argv[4], &role) < 0)
		return 2;
	if (users_write(argv[1], argv[2],
			strcmp(argv[3], "*") == 0 ? NULL : argv[3], role,
			(gid_t)-1, &err) < 0) {
		(void)fprintf(stderr, "http-passwd: %s\n", err.text);
		return 1;
	}
	return 0;
}
