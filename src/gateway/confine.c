/* SPDX-License-Identifier: Apache-2.0 */
#include "gateway/confine.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "common/bytes.h"
#include "common/confine.h"

/* Read by libraries, whenever they see fit. */
static const char *const system_places[] = {
    "/etc",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/lib",
    "/lib64",
    "/usr/share/zoneinfo",
    "/var/lib/sss",
    "/run/systemd/userdb",
    "/run/systemd/resolve",
    "/dev/null",
    "/dev/urandom",
    "/proc/sys/kernel/random",
    "/proc/sys/crypto",
    "/proc/meminfo",
    "/sys/devices/system/cpu",
};

/* A file that is replaced is another one: what counts is where it lies. */
static int allow_directory_of(const struct confine_files *files,
			      const char *file, struct err *err)
{
	char path[PATH_BYTES];
	char *slash;

	if (!file)
		return 0;
	(void)snprintf(path, sizeof(path), "%s", file);
	slash = strrchr(path, '/');
	if (slash)
		slash[slash == path] = '\0';
	return confine_files_allow_path(files, slash ? path : ".",
					CONFINE_READ | CONFINE_LIST, err);
}

static int allow(const struct confine_files *files, const struct gateway *g,
		 struct err *err)
{
	const struct gateway_options *o = &g->options;
	const char *const named[] = {o->cert,      o->key,  o->users,
				     o->keytab,    o->ntlm, o->client_ca,
				     o->client_map};
	int r;

	r = confine_files_allow_path(files, g->paths.cim, CONFINE_FILES, err);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(system_places); i++)
		r = confine_files_allow_path(files, system_places[i],
					     CONFINE_READ | CONFINE_LIST, err);
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(named); i++)
		r = allow_directory_of(files, named[i], err);
	if (r == 0 && o->export_root)
		r = confine_files_allow_path(files, o->export_root,
					     CONFINE_TREES, err);
	return r;
}

/* What the C library loads for a first look-up is loaded before. */
static void look_up_somebody(void)
{
	(void)getpwnam("nobody");
	(void)getgrnam("nogroup");
}

int confine_enter(const struct gateway *gateway, struct err *err)
{
	struct confine_files files;
	int r;

	look_up_somebody();
	r = confine_files_begin(&files, err);
	if (r < 0)
		return r;
	/* Names are checked, and then opened: it is Landlock that a link which
	 * changes in between does not get past. */
	if (gateway->options.export_root && files.ruleset < 0)
		return err_set(
		    err, -RP_EUNSUPPORTED,
		    "--export-root needs Landlock, which this kernel "
		    "has not or was started without (lsm=landlock,"
		    "...): leave it out, or enable that");
	r = allow(&files, gateway, err);
	if (r == 0)
		return confine_files_enter(&files, err);
	confine_files_drop(&files);
	return r;
}

/* ---- system calls -------------------------------------------------------- */

#define SYS(name) SCMP_SYS(name)

static const int plain[] = {
    /* files: certificates, users, keys, and Kerberos' replay cache */
    SYS(open), SYS(openat), SYS(stat), SYS(lstat), SYS(newfstatat), SYS(statx),
    SYS(access), SYS(faccessat), SYS(faccessat2), SYS(readlink),
    SYS(readlinkat), SYS(getdents64), SYS(fstatfs), SYS(statfs), SYS(pread64),
    SYS(pwrite64), SYS(fcntl), SYS(flock), SYS(fsync), SYS(fdatasync),
    SYS(ftruncate), SYS(fchmod), SYS(fchown), SYS(rename), SYS(renameat),
    SYS(renameat2), SYS(unlink), SYS(unlinkat), SYS(fadvise64), SYS(dup),
    /* exports, and what is imported of them */
    SYS(mkdirat), SYS(openat2), SYS(fgetxattr), SYS(fsetxattr),
    SYS(fremovexattr),
    /* refpointd, refpoint-pam, nscd and the like */
    SYS(connect), SYS(sendmmsg), SYS(recvmmsg), SYS(select), SYS(pselect6),
    SYS(getppid), SYS(getresuid), SYS(getresgid), SYS(getgroups),
    /* our own clock, and refpoint-pam's end */
    SYS(alarm), SYS(setitimer), SYS(getitimer), SYS(wait4)};

static const struct confine_rule rules[] = {
    {SYS(socket), 0, UINT32_MAX, AF_UNIX},
    {SYS(socketpair), 0, UINT32_MAX, AF_UNIX},
    {SYS(ioctl), 1, UINT32_MAX, FIONREAD},
    {SYS(ioctl), 1, UINT32_MAX, FIONBIO},
    {SYS(ioctl), 1, UINT32_MAX, TCGETS},
};

int confine_seal(struct err *err)
{
	const struct confine_calls calls = {.plain = plain,
					    .n_plain = ARRAY_SIZE(plain),
					    .rules = rules,
					    .n_rules = ARRAY_SIZE(rules),
					    .loads_code = true,
					    .refuses = true};

	return confine_calls_enter(&calls, err);
}
