# SPDX-License-Identifier: Apache-2.0
"""Sets of 4 KiB blocks of a disk, from images, logs and reports."""
import errno
import mmap
import os

BLOCK = 4096
CHUNK = 1 << 20


class Blocks:
    """A set of blocks of a disk of a given size: one byte for each."""

    def __init__(self, size):
        self.size = size
        self.count = (size + BLOCK - 1) // BLOCK
        self.map = bytearray(self.count)

    def add(self, offset, length):
        """Adds every block that [offset, offset + length) touches."""
        if length <= 0:
            return
        first = min(offset // BLOCK, self.count)
        end = min((offset + length + BLOCK - 1) // BLOCK, self.count)
        if end > first:
            self.map[first:end] = b'\1' * (end - first)

    def remove(self, offset, length):
        """Removes the blocks that lie in [offset, offset + length) whole."""
        first = (offset + BLOCK - 1) // BLOCK
        end = min((offset + length) // BLOCK, self.count)
        if end > first:
            self.map[first:end] = bytes(end - first)

    def __len__(self):
        return self.map.count(1)

    def __contains__(self, block):
        return bool(self.map[block])

    def _combine(self, other, operation):
        if self.count != other.count:
            raise ValueError('sets of disks of different size')
        result = Blocks(self.size)
        value = operation(int.from_bytes(self.map, 'little'),
                          int.from_bytes(other.map, 'little'))
        result.map = bytearray(value.to_bytes(self.count, 'little'))
        return result

    def __sub__(self, other):
        return self._combine(other, lambda a, b: a & ~b)

    def __or__(self, other):
        return self._combine(other, lambda a, b: a | b)

    def __and__(self, other):
        return self._combine(other, lambda a, b: a & b)

    def addresses(self, limit=8):
        """The first few members, as byte addresses."""
        found, at = [], self.map.find(1)
        while at >= 0 and len(found) < limit:
            found.append(at * BLOCK)
            at = self.map.find(1, at + 1)
        return found

    def extents(self):
        """The members as (offset, length) of whole blocks."""
        at = self.map.find(1)
        while at >= 0:
            end = self.map.find(0, at)
            end = self.count if end < 0 else end
            yield at * BLOCK, (end - at) * BLOCK
            at = self.map.find(1, end)


def from_entries(size, entries):
    """The blocks that entries of a write log touched."""
    result = Blocks(size)
    for e in entries:
        result.add(e.offset, e.length)
    return result


def from_extents(size, extents):
    """The blocks of extents as `refpoint changes --json` gives them."""
    result = Blocks(size)
    for e in extents:
        result.add(e['offset'], e['length'])
    return result


def data_ranges(fd, size):
    """Where a sparse file may hold anything but zeros."""
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as e:
            if e.errno == errno.ENXIO:
                return
            raise
        at = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        yield start, at


def _compare(result, a, b, start, end):
    """Adds the blocks of [start, end) that differ between two maps."""
    for chunk in range(start, end, CHUNK):
        chunk_end = min(chunk + CHUNK, end)
        if a[chunk:chunk_end] == b[chunk:chunk_end]:
            continue
        for at in range(chunk, chunk_end, BLOCK):
            to = min(at + BLOCK, chunk_end)
            if a[at:to] != b[at:to]:
                result.add(at, to - at)


def differing(path_a, path_b):
    """The blocks that differ between two images of one size."""
    with open(path_a, 'rb') as fa, open(path_b, 'rb') as fb:
        size = os.fstat(fa.fileno()).st_size
        if os.fstat(fb.fileno()).st_size != size:
            raise ValueError(f'{path_a} and {path_b} differ in size')
        result, looked = Blocks(size), Blocks(size)
        if size == 0:
            return result
        for f in (fa, fb):
            for start, end in data_ranges(f.fileno(), size):
                looked.add(start, end - start)
        with mmap.mmap(fa.fileno(), 0, prot=mmap.PROT_READ) as a, \
             mmap.mmap(fb.fileno(), 0, prot=mmap.PROT_READ) as b:
            for start, length in looked.extents():
                _compare(result, a, b, start, min(start + length, size))
    return result


def draw(blocks, width=64, lines=2):
    """The set as a map: each cell is as full as its part of the disk."""
    shades = ' ░▒▓█'
    cells = width * lines
    text = ''
    for cell in range(cells):
        start = cell * blocks.count // cells
        end = max(start + 1, (cell + 1) * blocks.count // cells)
        part = blocks.map[start:end]
        full = part.count(1)
        # Any change shows: only an untouched cell is blank.
        level = (full * (len(shades) - 1) + len(part) - 1) // len(part)
        text += shades[level]
    return [text[i:i + width] for i in range(0, cells, width)]
