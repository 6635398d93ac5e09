/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signatures of image formats.  To serve such a file as a raw disk would hand
 * the guest the container's bytes, and a guest that may write them could later
 * have another program open files of the host by them (a qcow2 header names
 * its backing file); so the owner has to say that it is raw.
 */
#include "disk/image-format.h"

#include <stddef.h>
#include <string.h>

#include "common/bytes.h"

#define TEXT(s) s, sizeof(s) - 1

static const struct signature {
	const char *format;
	size_t offset;
	const char *bytes;
	size_t count;
} signatures[] = {
    {"qcow2", 0, TEXT("QFI\xfb")},
    {"qed", 0, TEXT("QED\0")},
    {"VHDX", 0, TEXT("vhdxfile")},
    {"VHD", 0, TEXT("conectix")},
    {"VMDK", 0, TEXT("KDMV")},
    {"VMDK", 0, TEXT("COWD")},
    {"VMDK", 0, TEXT("# Disk Descript")},
    {"VDI", 64, TEXT("\x7f\x10\xda\xbe")},
    {"Parallels", 0, TEXT("WithoutFreeSpace")},
    {"Parallels", 0, TEXT("WithouFreSpacExt")},
    {"LUKS", 0, TEXT("LUKS\xba\xbe")},
};

const char *image_format_find(const uint8_t *head, const uint8_t *tail)
{
	for (size_t i = 0; i < ARRAY_SIZE(signatures); i++) {
		const struct signature *s = &signatures[i];

		if (memcmp(head + s->offset, s->bytes, s->count) == 0)
			return s->format;
	}
	/* A fixed VHD is a raw disk with a footer. */
	if (memcmp(tail, "conectix", 8) == 0)
		return "VHD";
	return NULL;
}
