/* SPDX-License-Identifier: Apache-2.0 */
/* Every bound that a user, a peer or a guest can run into, in one place. */
#ifndef COMMON_LIMITS_H
#define COMMON_LIMITS_H

#include "common/bytes.h"

#define BLOCK_BYTES          4096u /* what one bit of tracking stands for */
#define BLOCK_SHIFT          12
#define REGION_BYTES         MIB(16) /* what one intent stands for */
#define REGION_BLOCKS        4096u   /* blocks in a region */
#define REGION_SHIFT         24
#define SECTOR_BYTES         512u /* a disk's size is a multiple */
#define DISK_BYTES_MAX       TIB(64)
#define DISKS_PER_VM_MAX     64
#define VMS_MAX              4096
#define POINTS_PER_VM_MAX    256 /* default; documented */
#define EXPORTS_PER_VM_MAX   4   /* at once */
#define EXPORT_LOGS_MAX      (EXPORT_FILES_MAX / 2)
#define EXPORT_FILES_MAX     248 /* SCM_MAX_FD, less what goes along */
#define TARGETS_PER_VM_MAX   8   /* refpoint-targets, of hung ones too */
#define SNAPSHOTS_PER_VM_MAX 4
#define HOT_REGIONS_DEFAULT  256 /* per disk */
#define HOT_REGIONS_MAX      1024
#define HOT_REGIONS_MIN      1

#define VM_NAME_BYTES     64  /* with NUL; [A-Za-z0-9][A-Za-z0-9._-]* */
#define DISK_ID_BYTES     32  /* likewise */
#define LABEL_BYTES       256 /* with NUL; UTF-8 without controls */
#define REQUEST_ID_BYTES  GUID_TEXT_BYTES
#define TRACKING_ID_BYTES 64  /* rctX:<guid>:<8 hex digits>, NUL */
#define REASON_BYTES      160 /* why an answer is not exact */
#define PATH_BYTES        4096
#define AGENT_BYTES       256 /* how a guest's agent is reached */
#define CALLER_NAME_BYTES 128 /* whom a gateway speaks for; UTF-8 */
#define CALLER_ROLE_BYTES 32  /* as names are */

#define NBD_REQUEST_BYTES_MAX MIB(32)
#define INFLIGHT_BYTES_MAX    MIB(96)  /* of a VM's guests and live readers */
#define NBD_CONNECTIONS_MAX   64       /* likewise */
#define SNAPSHOT_BYTES_MAX    MIB(40)  /* of each snapshot's readers */
#define SNAPSHOT_READERS_MAX  16       /* connections, likewise */
#define NBD_REQUESTS_MAX      256      /* in flight or unsent, per connection */
#define NBD_FLOOR_BYTES       KIB(512) /* of the cap, each connection's own */
#define NBD_RECEIVE_BYTES     KIB(256) /* buffer of a connection */
#define NBD_OPTION_BYTES_MAX  KIB(64)  /* of one option's data */
#define NBD_OPTION_SKIP_MAX   MIB(1)   /* a longer one ends the connection */
#define NBD_OPTIONS_MAX       128      /* per connection */
#define NBD_CONTEXTS_MAX      8        /* meta contexts, per connection */
#define NBD_STATUS_BYTES      KIB(128) /* of one block status reply */
#define NBD_EXTENTS_MAX       256      /* questions for one such reply */
#define NBD_NEGOTIATION_MS    30000    /* from accept to transmission */
#define NBD_STALL_MS          3000     /* holding memory others wait for */
#define NBD_STALL_BYTES       KIB(256) /* progress that excuses */
#define NBD_GOODBYE_MS        2000     /* to take the last replies */
#define RPC_MESSAGE_BYTES_MAX MIB(1)
#define RPC_CONNECTIONS_MAX   64      /* per listening socket */
#define RPC_BACKLOG_BYTES_MAX MIB(64) /* that a peer leaves unread */
#define LINK_PROGRESS_BYTES   KIB(64) /* of an answer, that buy it more time */

/* Of a request to the CIM gateway. */
#define CIM_REQUEST_MEMORY     MIB(32)  /* default budget of its arena */
#define CIM_XML_BYTES_MAX      MIB(1)   /* as it came, before it is parsed */
#define CIM_XML_DEPTH_MAX      64       /* elements within one another */
#define CIM_XML_ELEMENTS_MAX   65536    /* per document */
#define CIM_XML_ATTRIBUTES_MAX 64       /* per element */
#define CIM_XML_TEXT_MAX       KIB(512) /* of one element or attribute */
#define CIM_XML_NAME_MAX       1024     /* bytes of a name, with namespace */
#define CIM_EMBEDDED_DEPTH_MAX 4        /* instances within instances */
#define CIM_PATH_BYTES_MAX     KIB(16)  /* an object path's text */
#define CIM_PATH_DEPTH_MAX     4        /* paths in keys of paths */
#define CIM_KEYS_MAX           16       /* of one path */
#define CIM_WQL_BYTES_MAX      KIB(16)  /* a query's text */
#define CIM_WQL_DEPTH_MAX      32       /* parentheses and NOTs */
#define CIM_WQL_TERMS_MAX      256      /* comparisons and connectives */
#define CIM_WQL_PROPERTIES_MAX 256      /* after SELECT */
#define CIM_PROPERTY_LIST_MAX  1024     /* names in a PropertyList */
#define CIM_REPLY_BYTES_MAX    MIB(64)  /* default limit of a CIM-XML reply */

/* Callers that wait for workers; what they are for: src/providers/waiting.h */
#define CIM_WAITERS_PER_VM 3
#define CIM_WAITERS_MAX    (HTTP_THREADS / 2)
#define CIM_EXPORTS_MAX    4  /* at a time */
#define CIM_EXPORTS_KEPT   64 /* that are remembered */

/* Enumerations that wait for a client to pull more. */
#define CIM_CONTEXTS_MAX        256
#define CIM_CONTEXTS_PER_CALLER 64
#define CIM_CONTEXTS_BYTES_MAX  MIB(128) /* of all together */
#define CIM_CONTEXT_MS          60000    /* default, between two pulls */
#define CIM_CONTEXT_MS_MAX      900000   /* that a client may ask for */

/* WS-Management. */
#define WSMAN_ENVELOPE_BYTES_MIN   8192    /* smallest MaxEnvelopeSize */
#define WSMAN_ENVELOPE_BYTES_MAX   MIB(64) /* of a reply, whoever asks */
#define WSMAN_ITEMS_BYTES_MAX      MIB(48) /* of one enumeration */
#define WSMAN_DUPLICATE_MS         60000   /* a repeat gets the first answer */
#define WSMAN_PULLS_KEPT           4       /* of a context, to be told again */
#define WSMAN_PULL_WAIT_MS         10000   /* for another of the same context */
#define WSMAN_DUPLICATES_MAX       1024    /* answers kept */
#define WSMAN_DUPLICATE_BYTES_MAX  KIB(256) /* of an answer that is kept */
#define WSMAN_DUPLICATES_BYTES_MAX MIB(8)   /* of all, with their requests */

#define HTTP_THREADS               8       /* handlers that may wait at once */
#define HTTP_AUTH_THREADS          2       /* and checks of who is calling */
#define HTTP_REQUESTS_MAX          256     /* waiting for one of them: 503 */
#define HTTP_CONNECTIONS_MAX       512     /* in all; see src/http/server.h */
#define HTTP_CONNECTIONS_PER_PEER  256     /* of one address */
#define HTTP_HEADER_BYTES_MAX      KIB(64) /* a connection's memory: 431 */
#define HTTP_HEADERS_MAX           100     /* their number: 431 */
#define HTTP_BODY_BYTES_MAX        CIM_XML_BYTES_MAX /* of a request: 413 */
#define HTTP_ANONYMOUS_BYTES_MAX   KIB(16)  /* of one that nobody signed */
#define HTTP_BODIES_BYTES_MAX      MIB(64)  /* of all together: 503 */
#define HTTP_DISCARD_BYTES_MAX     MIB(128) /* unwanted, before a refusal */
#define HTTP_REPLY_HEADERS_MAX     16
#define HTTP_REPLIES_BYTES_MAX     MIB(256) /* not taken yet, of all: 503 */
#define HTTP_REPLY_SMALL_BYTES     KIB(16)  /* what is not counted for it */
#define HTTP_HEADERS_MS            10000 /* from the first byte to the last */
#define HTTP_BODY_MS               30000 /* of the body, likewise */
#define HTTP_SEND_MS               60000 /* for a client to take a reply */
#define HTTP_IDLE_MS               60000 /* between two requests */
#define AUTH_NAME_BYTES            CALLER_NAME_BYTES /* of a principal */
#define AUTH_PASSWORD_BYTES        256               /* with NUL */
#define AUTH_HEADER_BYTES_MAX      KIB(64)
#define AUTH_FAILURE_MS            1000 /* what a refusal takes, whatever for */
#define AUTH_CACHE_MS              60000 /* a password is not asked for again */
#define AUTH_CACHE_ENTRIES         256
#define AUTH_ATTEMPTS_MS           60000 /* the time that these are counted in */
#define AUTH_ATTEMPTS_PER_PAIR     10 /* failures of a name from one address */
#define AUTH_ATTEMPTS_PER_PEER     30 /* of one address: 429 */
#define AUTH_ATTEMPTS_PER_NAME     60 /* of one name */
#define AUTH_ATTEMPTS_ENTRIES      1024
#define AUTH_LEGS_MAX              8     /* of one Negotiate exchange */
#define AUTH_GROUPS_MAX            8     /* that refpoint-pam may ask for */
#define AUTH_PAM_MS                20000 /* one attempt, modules' delays in */
#define AUTH_PAM_CHILDREN          8     /* attempts at once */
#define AUTH_USERS_MAX             4096  /* lines of the users file */
#define AUTH_CERTIFICATES_MAX      4096  /* of the map of certificates */
#define ENCRYPTED_HEADER_BYTES_MAX 1024  /* of a part of multipart/encrypted */
#define CERTIFICATE_DAYS           3652  /* of the pair that we make */

/* Of the kernel's threads for what the ring cannot do at once: more than a
 * virtual system has files that can hang, and some for syncs and discards. */
#define RING_WORKERS_MAX ((SNAPSHOTS_PER_VM_MAX + 4) * DISKS_PER_VM_MAX + 64)

/* Of a log that is read; those that we write have blocks of 4096 bytes. */
#define HRL_METADATA_BYTES_MAX 65536u       /* of a metadata block */
#define HRL_BLOCKS_MAX         (1ULL << 32) /* a log of PiBs of ours */

#define WRITERS_PER_FILE 1 /* threads, of an image in the page cache */

/* Of the store's file system: kept from scratch files, besides twice what the
 * bitmaps of all disks take. */
#define SNAPSHOT_RESERVE_BYTES MIB(16)
#define SNAPSHOT_STALL_MS      1000 /* of one copy's writing; the snapshot is */
#define SNAPSHOT_PAUSE_MS      4000 /* invalid then; of a request's copies */
#define SNAPSHOT_COPY_BYTES    KIB(256) /* copied at once */
#define SNAPSHOT_COPIES_MAX    64       /* under way at once, of all disks */
#define SNAPSHOT_READ_BYTES    KIB(256) /* for readers, at once */
#define SNAPSHOT_READS_MAX     32       /* of those, at a disk's device ... */
#define SNAPSHOT_READS_BYTES   MIB(1)   /* ... while they are less than this; */
#define SNAPSHOT_BESIDE_BYTES  KIB(256) /* if the guest asked for anything */
#define SNAPSHOT_BESIDE_MS     1000     /* within this time, than this */

/* Of a log that is written, each disk's; src/log/stream.h has the total. */
#define LOG_PIECE_BYTES MIB(1) /* most data in one write that is logged */
#define LOG_BUFFER_BYTES                                                       \
	MIB(16)                 /* data that log or image does not have yet    \
				 */
#define LOG_SPANS       1024    /* writes and blocks there, ... */
#define LOG_SPANS_MEND  64      /* of which these are for mending only */
#define LOG_WRITE_BYTES MIB(1)  /* written to the log at once */
#define LOG_WRITES_MAX  4       /* of these under way */
#define LOG_LAG_BYTES   KIB(64) /* of it, held back while nobody waits */
#define LOG_LAG_RECORDS 64      /* of the sidecar, likewise */
#define LOG_LAG_AFTER   16      /* writes after a flush that are not */
#define LOG_RECORDS     2048    /* of the sidecar, not written yet */
#define LOG_SIDE_BYTES  KIB(16) /* of these, written at once */
#define LOG_SYNC_BYTES  MIB(16) /* written since the last sync: the next */
#define LOG_DIRTY_BYTES MIB(64) /* likewise: no more until it has ended */
#define LOG_STALL_MS    3000    /* of a write or sync; the log is dropped */
#define LOG_PAUSE_MS    4000    /* then; of a guest's write that waits */
#define LOG_PARTS_MAX   1024    /* of a virtual system's logs; catalogue.h */

/* Of all logs of a virtual system. */
#define LOG_UNFLUSHED_BYTES MIB(128) /* of a disk's; then we flush it */
#define LOG_LIMIT_MIN       MIB(2)   /* of their limit, for each disk */
#define LOG_RESERVE_BYTES   MIB(32)  /* of the store's file system */
#define LOG_FASTEST                                                            \
	INT64_C(2147483648) /* bytes a second: as often is                     \
			       room looked at */

/* Of refpoint-pull, which lets one snapshot be read over the network. */
#define PULL_CONNECTIONS_MAX 16    /* that have proved the key */
#define PULL_HANDSHAKES_MAX  8     /* that have not, at once */
#define PULL_HANDSHAKE_MS    10000 /* from accept to the proof */
#define PULL_OPTIONS_MAX     16    /* of NBD, before STARTTLS */
#define PULL_ASK_MS          5000  /* for a connection to the snapshot */
#define PULL_IDLE_S          60    /* without a word, then it is probed */
#define PULL_PROBE_S         15    /* from probe to probe */
#define PULL_PROBES          4     /* unanswered: the client has vanished */
/* Likewise one that acknowledges, or takes, nothing of what it is sent: long
 * enough for a backup's target that stalls. */
#define PULL_VANISHED_MS 600000

#define STORE_STALL_MS  2500  /* then tracking gives way to the guest */
#define SEAL_TIMEOUT_MS 30000 /* default; --timeout */
#define WORKER_IDLE_MS  60000 /* a worker without exports ends */
/* Freezing a guest for an application-consistent point; src/agent/agent.h. */
#define AGENT_REPLY_BYTES_MAX KIB(64)
#define AGENT_ANSWER_MS       5000  /* of the agent, to anything but a freeze */
#define AGENT_FREEZE_MS       7000  /* to a freeze */
#define AGENT_FROZEN_MS_MAX   10000 /* from that until it is told to thaw */
#define AGENT_CUT_MS_MIN      500   /* of these, for the point; else none */
#define AGENT_SLACK_MS        500   /* from the cut's limit to the thaw */
#define AGENT_SYNC_MS         15000 /* for one that does other things first */
#define AGENT_THAW_MS         60000 /* that one helper tries to thaw */
#define AGENT_GONE_MS         10000 /* nobody listens any more: no guest */
#define AGENT_RUNS_MAX        1000  /* of virsh, for one talker */
#define AGENT_RETRY_MS        5000  /* between two helpers that thaw */

#endif
