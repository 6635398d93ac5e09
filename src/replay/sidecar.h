/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A closed log's sidecar, record by record: each one whole, none missing, times
 * and sequences that never step back, an end.
 */
#ifndef REPLAY_SIDECAR_H
#define REPLAY_SIDECAR_H

#include "common/err.h"
#include "common/guid.h"
#include "format/format.h"

struct sidecar;

/* Reads all of it once.  -RP_ECORRUPT: it is damaged, or another log's than
 * LOG's; -RP_ESTATE: it has no end.  FD stays the caller's. */
int sidecar_open(int fd, const struct guid *log, struct sidecar **ret_sidecar,
		 struct err *err);
void sidecar_free(struct sidecar *sidecar); /* accepts NULL */

const struct sidecar_head *sidecar_head(const struct sidecar *sidecar);

/* The time of its end. */
int64_t sidecar_end_ns(const struct sidecar *sidecar);

/* The next record of a write or of zeros: 1; 0 if there is none. */
int sidecar_next_write(struct sidecar *sidecar,
		       struct sidecar_record *ret_record, struct err *err);
void sidecar_rewind(struct sidecar *sidecar);

/* -RP_EPARAM: TIME_NS lies within a span that was mended. */
int sidecar_check_moment(struct sidecar *sidecar, int64_t time_ns,
			 struct err *err);

#endif
