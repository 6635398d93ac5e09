/* SPDX-License-Identifier: Apache-2.0 */
#include "backup/content-hash.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdbool.h>
#include <stdlib.h>

struct content_hash {
	gnutls_hash_hd_t outer;
	bool begun; /* `outer` is there */
	bool zero_known;
	uint8_t zero[METADATA_HASH_BYTES]; /* of a whole piece of zeros */
};

int content_hash_new(struct content_hash **ret_hash, struct err *err)
{
	struct content_hash *hash = calloc(1, sizeof(*hash));

	if (!hash || gnutls_hash_init(&hash->outer, GNUTLS_DIG_SHA256) < 0) {
		free(hash);
		return err_set(err, -ENOMEM, "hash");
	}
	hash->begun = true;
	*ret_hash = hash;
	return 0;
}

struct content_hash *content_hash_free(struct content_hash *hash)
{
	if (!hash)
		return NULL;
	if (hash->begun)
		gnutls_hash_deinit(hash->outer, NULL);
	free(hash);
	return NULL;
}

static int hash_zeros(size_t bytes, uint8_t ret_hash[METADATA_HASH_BYTES])
{
	void *zeros = calloc(1, bytes);
	int r =
	    zeros ? gnutls_hash_fast(GNUTLS_DIG_SHA256, zeros, bytes, ret_hash)
		  : -1;

	free(zeros);
	return r;
}

int content_hash_add(struct content_hash *hash, const void *data, size_t bytes,
		     struct err *err)
{
	uint8_t piece[METADATA_HASH_BYTES];
	bool whole = bytes == METADATA_PIECE_BYTES;
	const uint8_t *text = piece;
	int r = 0;

	if (!data && whole) {
		if (!hash->zero_known)
			r = hash_zeros(bytes, hash->zero);
		hash->zero_known = r >= 0;
		text = hash->zero;
	} else if (!data) {
		r = hash_zeros(bytes, piece);
	} else {
		r = gnutls_hash_fast(GNUTLS_DIG_SHA256, data, bytes, piece);
	}
	if (r >= 0)
		r = gnutls_hash(hash->outer, text, METADATA_HASH_BYTES);
	return r < 0 ? err_set(err, -ENOMEM, "hash") : 0;
}

void content_hash_end(struct content_hash *hash,
		      uint8_t ret_hash[METADATA_HASH_BYTES])
{
	gnutls_hash_deinit(hash->outer, ret_hash);
	hash->begun = false;
}
