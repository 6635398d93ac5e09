# SPDX-License-Identifier: Apache-2.0
"""[MS-HRL] version 2 once more, by its published text alone, sharing nothing
with src/hrl."""
import struct
import uuid


class Bad(Exception):
    """What the text does not allow."""


def checksum(data, own):
    """One's complement of the sum of all bytes but the four at OWN."""
    return ~(sum(data[:own]) + sum(data[own + 4:])) & 0xffffffff


def sealed(data, own):
    return data[:own] + struct.pack('<I', checksum(data, own)) + data[own + 4:]


class Header:
    FORMAT = '<8sII4sIQQIQiI16s16sIQIH16s'

    def __init__(self, data):
        assert len(data) == 4096
        (self.cookie, self.version, self.time, self.creator,
         self.creator_version, self.original, self.current, self.checksum,
         self.end, self.error, self.metadata_size, unique, previous,
         self.modified, self.entries, self.file_type, self.flags,
         data_write) = struct.unpack_from(self.FORMAT, data)
        self.unique = uuid.UUID(bytes_le=unique)
        self.previous = uuid.UUID(bytes_le=previous)
        self.data_write = uuid.UUID(bytes_le=data_write)
        if self.cookie[:7] != b'msctlog' or self.version != 0x20000:
            raise Bad('no log of version 2')
        if self.checksum != checksum(data, 40):
            raise Bad('header checksum')
        if self.end == 0:
            raise Bad('not closed')
        if any(data[126:]):
            raise Bad('reserved')


def entry(data):
    offset, check, length, time = struct.unpack_from('<QIII', data)
    operation, data_check, _ = struct.unpack_from('<BIB', data, 20)
    if check != checksum(data, 8):
        raise Bad('entry checksum')
    if operation != 1:
        raise Bad('operation')
    return offset, length, time, data_check


def read(data):
    """The header and the writes in order: (offset, data, time)."""
    header = Header(data[:4096])
    places, at = [], header.end - header.metadata_size
    while True:
        places.append(at)
        back, _, check = struct.unpack_from('<QII', data, at)
        if check != checksum(data[at:at + 32], 12):
            raise Bad('block checksum')
        if back == 0:
            break
        at -= back
    writes, begin = [], 4096
    for at in reversed(places):
        valid, = struct.unpack_from('<I', data, at + 8)
        for i in range(valid):
            place = at + 32 + 32 * i
            offset, length, time, check = entry(data[place:place + 32])
            piece = data[begin:begin + length]
            if ~sum(piece) & 0xffffffff != check:
                raise Bad('data checksum')
            writes.append((offset, piece, time))
            begin += length
        if begin != at:
            raise Bad('data is not what lies before its block')
        begin = at + header.metadata_size
    if len(writes) != header.entries:
        raise Bad('number of entries')
    return header, writes


def write(writes, metadata_size, per_block, newest_first=False,
          modified=2):
    """A log of WRITES, (offset, data, time), PER_BLOCK in each block."""
    body, last, entries = b'', 0, 0
    slots = (metadata_size - 32) // 32
    groups = [writes[i:i + per_block]
              for i in range(0, len(writes), per_block)] or [[]]
    for group in groups:
        body += b''.join(data for _, data, _ in group)
        at = 4096 + len(body)
        rows = [sealed(struct.pack('<QIIIBIB6x', offset, 0, len(data), time, 1,
                                   ~sum(data) & 0xffffffff, 0), 8)
                for offset, data, time in group]
        empty = [bytes(32)] * (slots - len(rows))
        rows = empty + rows[::-1] if newest_first else rows + empty
        head = sealed(struct.pack('<QII16x', at - last if last else 0,
                                  len(group), 0), 12)
        body += (head + b''.join(rows)).ljust(metadata_size, b'\0')
        last, entries = at, entries + len(group)
    header = struct.pack(
        Header.FORMAT, b'msctlog ', 0x20000, 1, b'ct  ', 7, 0, 4096 + len(body),
        0, 4096 + len(body), 0, metadata_size, uuid.uuid4().bytes_le,
        bytes(16), modified, entries, 0, 0, uuid.uuid4().bytes_le)
    return sealed(header.ljust(4096, b'\0'), 40) + body
