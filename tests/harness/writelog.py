# SPDX-License-Identifier: Apache-2.0
"""Reads the log of QEMU's blklogwrites driver (the format of dm-log-writes).

    sector 0     le64 magic, version 1, number of entries; le32 sector size
    then         for each entry one sector with a header
                     le64 sector, number of sectors, flags, length of mark
                 and what was written (nothing for a discard), or the mark,
                 which alone has a length of its own, up to a whole sector

The driver lets a write reach the disk first and appends its entry after that,
several at a time, and updates the number of entries only on a flush.  So a
reader of a live log goes by the entries themselves and stops at the first
header that is not there yet (all zeros: no real entry has that).  An entry
that is in the log was completed; one that is not may be in flight.
"""
import os
import struct

MAGIC = 0x6a736677736872
FLUSH, FUA, DISCARD, MARK = 1, 2, 4, 8
KNOWN = FLUSH | FUA | DISCARD | MARK

SUPER = struct.Struct('<QQQI')
HEADER = struct.Struct('<QQQQ')


class BadLog(Exception):
    """The log breaks its own format."""


class Entry:
    """One entry: where it lies in the log, and what it did to the disk."""
    __slots__ = ('position', 'offset', 'length', 'flags', 'data_offset',
                 'data_length')

    def __init__(self, position, offset, length, flags, data_offset,
                 data_length):
        self.position = position
        self.offset = offset
        self.length = length
        self.flags = flags
        self.data_offset = data_offset
        self.data_length = data_length

    @property
    def changes(self):
        """True for a write, zero or discard; false for a flush or a mark."""
        return self.length > 0 and not self.flags & MARK

    def __repr__(self):
        return (f'<entry at {self.position}: [{self.offset}, '
                f'{self.offset + self.length}) flags {self.flags}>')


class WriteLog:
    """A log that may still grow; refresh() reads what has come."""

    def __init__(self, path):
        self.path = path
        self.entries = []
        self.sector_size = None
        self._next = 0          # the offset of the next header, in bytes

    def refresh(self):
        """Reads the new entries; returns their number so far: a position."""
        with open(self.path, 'rb') as f:
            end = os.fstat(f.fileno()).st_size
            if self.sector_size is None and not self._read_super(f):
                return 0
            while self._next + HEADER.size <= end:
                f.seek(self._next)
                if not self._take(f.read(HEADER.size), end):
                    break
        return len(self.entries)

    def _read_super(self, f):
        raw = f.read(SUPER.size)
        if len(raw) < SUPER.size or not any(raw):
            return False
        magic, version, _, size = SUPER.unpack(raw)
        if magic != MAGIC or version != 1:
            raise BadLog(f'{self.path}: no write log of version 1')
        if size < 512 or size & (size - 1) or size > 1 << 20:
            raise BadLog(f'{self.path}: sector size {size}')
        self.sector_size = size
        self._next = size
        return True

    def _take(self, raw, end):
        """Adds the entry with this header; false if it is not whole yet."""
        if not any(raw):
            return False
        sector, count, flags, mark = HEADER.unpack(raw)
        if flags & ~KNOWN:
            raise BadLog(f'{self.path}: entry at byte {self._next} has '
                         f'flags {flags:#x}')
        size = self.sector_size
        data = self._next + size
        length = count * size
        if flags & MARK:
            length = mark
        elif flags & DISCARD:
            length = 0
        if data + length > end:
            return False
        self.entries.append(Entry(len(self.entries), sector * size,
                                  count * size, flags, data, length))
        self._next = data + (length + size - 1) // size * size
        return True

    def between(self, start, end=None):
        """The entries that changed something in positions [start, end)."""
        return [e for e in self.entries[start:end] if e.changes]

    def replay(self, path, start=0, end=None):
        """Does to an image what the entries say; discards become zeros."""
        with open(self.path, 'rb') as log, open(path, 'r+b') as image:
            for e in self.between(start, end):
                image.seek(e.offset)
                if e.flags & DISCARD:
                    image.write(bytes(e.length))
                    continue
                log.seek(e.data_offset)
                image.write(log.read(e.data_length))
