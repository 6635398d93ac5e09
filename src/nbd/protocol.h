/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers and layouts of the NBD protocol: fixed newstyle handshake,
 * transmission with simple and structured replies, meta contexts.  Everything
 * on the wire is big-endian.
 */
#ifndef NBD_PROTOCOL_H
#define NBD_PROTOCOL_H

#include "common/bytes.h"

#define NBD_MAGIC              UINT64_C(0x4e42444d41474943) /* "NBDMAGIC" */
#define NBD_OPTION_MAGIC       UINT64_C(0x49484156454f5054) /* "IHAVEOPT" */
#define NBD_OPTION_REPLY_MAGIC UINT64_C(0x0003e889045565a9)
#define NBD_REQUEST_MAGIC      UINT32_C(0x25609513)
#define NBD_SIMPLE_MAGIC       UINT32_C(0x67446698)
#define NBD_CHUNK_MAGIC        UINT32_C(0x668e33ef)

#define NBD_STRING_BYTES_MAX 4096u /* of any name or text */
#define NBD_PADDING_BYTES    124u  /* after the answer to EXPORT_NAME */

enum nbd_handshake_flag { /* of the server, and of the client */
	NBD_FIXED_NEWSTYLE = 1u << 0,
	NBD_NO_ZEROES = 1u << 1,
};

enum nbd_export_flag {
	NBD_HAS_FLAGS = 1u << 0,
	NBD_READ_ONLY = 1u << 1,
	NBD_SEND_FLUSH = 1u << 2,
	NBD_SEND_FUA = 1u << 3,
	NBD_SEND_TRIM = 1u << 5,
	NBD_SEND_WRITE_ZEROES = 1u << 6,
	NBD_SEND_DF = 1u << 7,
	NBD_CAN_MULTI_CONN = 1u << 8,
	NBD_SEND_CACHE = 1u << 10,
};

enum nbd_option {
	NBD_OPT_EXPORT_NAME = 1,
	NBD_OPT_ABORT = 2,
	NBD_OPT_LIST = 3,
	NBD_OPT_STARTTLS = 5,
	NBD_OPT_INFO = 6,
	NBD_OPT_GO = 7,
	NBD_OPT_STRUCTURED_REPLY = 8,
	NBD_OPT_LIST_META_CONTEXT = 9,
	NBD_OPT_SET_META_CONTEXT = 10,
};

#define NBD_REP_ERROR (UINT32_C(1) << 31)
enum nbd_option_reply_type {
	NBD_REP_ACK = 1,
	NBD_REP_SERVER = 2,
	NBD_REP_INFO = 3,
	NBD_REP_META_CONTEXT = 4,
	/* added to NBD_REP_ERROR */
	NBD_ERR_UNSUP = 1,
	NBD_ERR_INVALID = 3,
	NBD_ERR_TLS_REQD = 5,
	NBD_ERR_UNKNOWN = 6,
	NBD_ERR_TOO_BIG = 9,
};

enum nbd_info {
	NBD_INFO_EXPORT = 0,
	NBD_INFO_NAME = 1,
	NBD_INFO_BLOCK_SIZE = 3,
};

enum nbd_command {
	NBD_CMD_READ = 0,
	NBD_CMD_WRITE = 1,
	NBD_CMD_DISC = 2,
	NBD_CMD_FLUSH = 3,
	NBD_CMD_TRIM = 4,
	NBD_CMD_CACHE = 5,
	NBD_CMD_WRITE_ZEROES = 6,
	NBD_CMD_BLOCK_STATUS = 7,
};

enum nbd_command_flag {
	NBD_FUA = 1u << 0,
	NBD_NO_HOLE = 1u << 1,
	NBD_DF = 1u << 2,
	NBD_REQ_ONE = 1u << 3,
};

enum nbd_chunk_flag {
	NBD_CHUNK_DONE = 1u << 0,
};

enum nbd_chunk_type {
	NBD_CHUNK_OFFSET_DATA = 1,
	NBD_CHUNK_BLOCK_STATUS = 5,
	NBD_CHUNK_ERROR = (1u << 15) + 1,
};

enum nbd_state { /* of base:allocation */
	NBD_STATE_HOLE = 1u << 0,
	NBD_STATE_ZERO = 1u << 1,
};

#define NBD_STATE_DIRTY 1u /* of qemu:dirty-bitmap: */

enum nbd_error {
	NBD_OK = 0,
	NBD_EPERM = 1,
	NBD_EIO = 5,
	NBD_ENOMEM = 12,
	NBD_EINVAL = 22,
	NBD_ENOSPC = 28,
	NBD_ENOTSUP = 95,
	NBD_ESHUTDOWN = 108,
};

struct nbd_greeting {
	be64 magic;
	be64 option_magic;
	be16 flags;
};

struct nbd_option_header {
	be64 magic;
	be32 option;
	be32 bytes;
};

struct nbd_option_reply {
	be64 magic;
	be32 option;
	be32 type;
	be32 bytes;
};

struct nbd_info_export {
	be16 type;
	be64 bytes;
	be16 flags;
};

struct nbd_info_block_size {
	be16 type;
	be32 minimum;
	be32 preferred;
	be32 maximum;
};

struct nbd_request_header {
	be32 magic;
	be16 flags;
	be16 type;
	uint8_t cookie[8];
	be64 offset;
	be32 length;
};

struct nbd_simple_header {
	be32 magic;
	be32 error;
	uint8_t cookie[8];
};

struct nbd_chunk_header {
	be32 magic;
	be16 flags;
	be16 type;
	uint8_t cookie[8];
	be32 bytes;
};

struct nbd_chunk_error { /* the text follows */
	be32 error;
	be16 text_bytes;
};

struct nbd_descriptor {
	be32 length;
	be32 flags;
};

_Static_assert(sizeof(struct nbd_greeting) == 18, "as on the wire");
_Static_assert(sizeof(struct nbd_option_header) == 16, "as on the wire");
_Static_assert(sizeof(struct nbd_option_reply) == 20, "as on the wire");
_Static_assert(sizeof(struct nbd_info_export) == 12, "as on the wire");
_Static_assert(sizeof(struct nbd_info_block_size) == 14, "as on the wire");
_Static_assert(sizeof(struct nbd_request_header) == 28, "as on the wire");
_Static_assert(sizeof(struct nbd_simple_header) == 16, "as on the wire");
_Static_assert(sizeof(struct nbd_chunk_header) == 20, "as on the wire");
_Static_assert(sizeof(struct nbd_chunk_error) == 6, "as on the wire");

#endif
