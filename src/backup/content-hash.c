/* SPDX-License-Identifier: Apache-2.0 */
#include "backup/content-hash.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stdlib.h>

struct content_hash {
	gnutls_hash_hd_t all, piece;
	uint64_t at; /* in the piece; 0: none is begun */
	bool zero_known;
	uint8_t zero[METADATA_HASH_BYTES]; /* of a whole piece of zeros */
};

static int fail(struct err *err)
{
	return err_set(err, -ENOMEM, "hash");
}

int content_hash_new(struct content_hash **ret_hash, struct err *err)
{
	struct content_hash *hash = calloc(1, sizeof(*hash));

	if (!hash)
		return fail(err);
	if (gnutls_hash_init(&hash->all, GNUTLS_DIG_SHA256) < 0) {
		free(hash);
		return fail(err);
	}
	if (gnutls_hash_init(&hash->piece, GNUTLS_DIG_SHA256) < 0) {
		gnutls_hash_deinit(hash->all, NULL);
		free(hash);
		return fail(err);
	}
	*ret_hash = hash;
	return 0;
}

struct content_hash *content_hash_free(struct content_hash *hash)
{
	if (!hash)
		return NULL;
	gnutls_hash_deinit(hash->all, NULL);
	gnutls_hash_deinit(hash->piece, NULL);
	free(hash);
	return NULL;
}

static bool end_piece(struct content_hash *hash)
{
	uint8_t digest[METADATA_HASH_BYTES];

	gnutls_hash_output(hash->piece, digest); /* and begins anew */
	hash->at = 0;
	return gnutls_hash(hash->all, digest, sizeof(digest)) >= 0;
}

/* Within one piece. */
static bool add(struct content_hash *hash, const uint8_t *data, uint64_t bytes)
{
	static const uint8_t zeros[65536];

	hash->at += bytes;
	for (uint64_t n; bytes > 0; bytes -= n) {
		n = data ? bytes : MIN(bytes, sizeof(zeros));
		if (gnutls_hash(hash->piece, data ? data : zeros, n) < 0)
			return false;
	}
	return hash->at < METADATA_PIECE_BYTES || end_piece(hash);
}

static bool add_zero_piece(struct content_hash *hash)
{
	if (!hash->zero_known) {
		if (!add(hash, NULL, METADATA_PIECE_BYTES - 1))
			return false;
		hash->at = 0;
		if (gnutls_hash(hash->piece, "", 1) < 0)
			return false;
		gnutls_hash_output(hash->piece, hash->zero);
		hash->zero_known = true;
	}
	return gnutls_hash(hash->all, hash->zero, sizeof(hash->zero)) >= 0;
}

int content_hash_add(struct content_hash *hash, const void *data,
		     uint64_t bytes, struct err *err)
{
	const uint8_t *from = data;
	bool good = true;

	for (uint64_t n; good && bytes > 0; bytes -= n) {
		n = MIN(bytes, METADATA_PIECE_BYTES - hash->at);
		good = !from && n == METADATA_PIECE_BYTES ? add_zero_piece(hash)
							  : add(hash, from, n);
		if (from)
			from += n;
	}
	return good ? 0 : fail(err);
}

int content_hash_end(struct content_hash *hash,
		     uint8_t ret_hash[METADATA_HASH_BYTES], struct err *err)
{
	if (hash->at > 0 && !end_piece(hash))
		return fail(err);
	gnutls_hash_output(hash->all, ret_hash);
	return 0;
}
