/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where things are: the one place that knows the names of directories, so that
 * refpointd, its workers and the CLI agree without telling each other.
 *
 *   LIB/lock                 flock of the one refpointd of this root
 *   LIB/inventory/VM.json    refpointd's cache
 *   LIB/tombstones/VM        the fallback tombstone
 *   LIB/jobs/ID.json         what is remembered of a job
 *   LIB/vms/VM/              the store, 0700, the worker's user
 *   RUN/admin.sock ...       refpointd's sockets
 *   RUN/pids/VM              which process is the VM's worker
 *   RUN/vm/VM/control.sock   the worker's
 *   RUN/vm/VM/nbd.sock       the guest's
 *   RUN/vm/VM/SNAPSHOT.sock  a snapshot's readers'
 *   RUN/pam.sock             refpoint-pam's, which systemd listens on
 *   CIM/                     refpoint-cim's own: certificate and key
 *   LIVE/VM/                 live bitmaps, on a tmpfs
 *
 * LIB, RUN and CIM are ROOT/lib, ROOT/run and ROOT/lib-cim, without a root
 * /var/lib/refpoint, /run/refpoint and /var/lib/refpoint-cim.  LIVE is
 * /run/refpoint/ID where that can be had and /run is a tmpfs, else
 * /dev/shm/refpoint-UID-ID; UID is the worker's, and ID names LIB by its device
 * and inode, so that two roots never share live bitmaps and a copied root does
 * not find those of its original.
 */
#ifndef COMMON_PATHS_H
#define COMMON_PATHS_H

#include <stdbool.h>
#include <sys/types.h>

#include "common/err.h"
#include "common/guid.h"
#include "common/limits.h"

/* Users and groups of the system that programs of ours have in common. */
#define GATEWAY_USER   "refpoint-cim"
#define OPERATOR_GROUP "refpoint"
#define READER_GROUP   "refpoint-reader"

#define ROOT_BYTES    1024 /* of --root, with NUL */
#define ROOT_ID_BYTES 17   /* 16 hex digits, NUL */

struct paths {
	bool rooted; /* with --root */
	char lib[ROOT_BYTES + 8];
	char run[ROOT_BYTES + 8];
	char cim[ROOT_BYTES + 8];
};

/* ROOT NULL: the system's places.  A relative root is made absolute (nothing
 * has to exist).  -RP_EPARAM if it is too long. */
int paths_init(struct paths *paths, const char *root, struct err *err);

/* [A-Za-z0-9][A-Za-z0-9._-]*, shorter than BYTES: VM_NAME_BYTES for VMs,
 * DISK_ID_BYTES for disks. */
bool name_is_valid(const char *name, size_t bytes);
/* Whether TEXT, which is UTF-8, has control characters in it. */
bool text_has_controls(const char *text);

/* VM is a valid name. */
void paths_store(const struct paths *paths, const char *vm,
		 char ret_path[PATH_BYTES]);
/* FILE: "control.sock", "nbd.sock" or "" for the directory. */
void paths_vm_run(const struct paths *paths, const char *vm, const char *file,
		  char ret_path[PATH_BYTES]);
/*
 * The socket that a snapshot is read through: RUN/vm/VM/HEX-HEX-HEX.sock, by
 * the first 64 bits of its id, for all of it would leave less room for VM than
 * VM_NAME_BYTES: a socket's path has 107 bytes.
 */
#define SNAPSHOT_SOCKET_BYTES (18 + sizeof(".sock")) /* the name, with NUL */
void paths_snapshot(const struct paths *paths, const char *vm,
		    const struct guid *snapshot, char ret_path[PATH_BYTES]);

/* LIB must exist. */
int paths_root_id(const struct paths *paths, char ret_id[ROOT_ID_BYTES],
		  struct err *err);

/*
 * Opens LIVE/VM, the directory of one VM's live bitmaps, and checks LIVE and
 * it: on a tmpfs, not reached through a symbolic link, owned by UID, closed to
 * everybody else.  With CREATE (refpointd) what is missing is made and given
 * to UID and GID.  -RP_EUNSUPPORTED, with what to do, where there is no tmpfs;
 * -RP_EDENIED where somebody else owns what should be ours.
 */
int paths_live_open(const struct paths *paths, const char *vm, uid_t uid,
		    gid_t gid, bool create, int *ret_dirfd, struct err *err);

#endif
