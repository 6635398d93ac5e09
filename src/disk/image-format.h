/* SPDX-License-Identifier: Apache-2.0 */
/* Does an image begin, or end, like one of the formats that are not raw? */
#ifndef DISK_IMAGE_FORMAT_H
#define DISK_IMAGE_FORMAT_H

#include <stdint.h>

#define IMAGE_HEAD_BYTES 512 /* enough of the start for every signature */
#define IMAGE_TAIL_BYTES 512

/* The format's name, or NULL: HEAD and TAIL are the first and last bytes of
 * the image, IMAGE_HEAD_BYTES and IMAGE_TAIL_BYTES of them. */
const char *image_format_find(const uint8_t *head, const uint8_t *tail);

#endif
