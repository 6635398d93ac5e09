# SPDX-License-Identifier: Apache-2.0
"""An NBD client that keeps a model of the disk and outlives its server.

It submits many requests at once, never two that overlap, and knows of each
block what it must hold.  When the server dies it connects again and submits
anew what was not answered, as QEMU does.  So after drain() the model is what
a reader must see, `written` what was ever submitted, and both are exact.
"""
import random

import nbd

from . import blocks, process

SECTOR = 512
MIXED = (512, 4096, 4096, 4096, 16384, 65536, 1 << 20, 4 << 20)


class Request:
    def __init__(self, kind, offset, length, data=None):
        self.kind = kind
        self.offset = offset
        self.length = length
        self.data = data

    def overlaps(self, other):
        return self.offset < other.offset + other.length and \
            other.offset < self.offset + self.length


class Client:
    """One connection at a time to one export."""

    def __init__(self, socket, export, size, rng=None):
        self.socket = socket
        self.export = export
        self.rng = rng or random.Random()
        self.model = bytearray(size)
        self.unknown = blocks.Blocks(size)   # trimmed: zeros or as before
        self.written = blocks.Blocks(size)   # submitted since forget()
        self.waiting = {}                    # cookie: Request
        self.lost = []                       # unanswered when a server died
        self.deaths = 0
        self.handle = None
        self.connect()

    @property
    def size(self):
        return len(self.model)

    def connect(self, timeout=30):
        def attempt():
            handle = nbd.NBD()
            handle.set_export_name(self.export)
            try:
                handle.connect_unix(self.socket)
            except nbd.Error:
                return None
            return handle
        self.handle = process.wait_until('the NBD server', attempt, timeout)

    def forget(self):
        """Starts a new interval: nothing was submitted in it yet."""
        self.written = blocks.Blocks(self.size)

    def _random_request(self, sizes):
        length = self.rng.choice(sizes)
        offset = self.rng.randrange((self.size - length) // SECTOR + 1)
        offset *= SECTOR
        if length >= 4096 and self.rng.random() < 0.7:
            offset -= offset % 4096
        kind = self.rng.choices(['write', 'zero', 'trim'], [10, 1, 1])[0]
        data = self.rng.randbytes(16) * (length // 16)
        return Request(kind, offset, length, data)

    def submit_random(self, count, sizes=MIXED):
        """Submits requests of random kind, place and size."""
        while count > 0:
            request = self._random_request(sizes)
            busy = list(self.waiting.values()) + self.lost
            if any(request.overlaps(b) for b in busy):
                continue
            self.submit(request)
            count -= 1

    def submit(self, request):
        self.written.add(request.offset, request.length)
        try:
            cookie = self._send(request)
        except nbd.Error:
            self.lost.append(request)
            self._died()
            return
        self.waiting[cookie] = request

    def _send(self, request):
        if request.kind == 'write':
            buffer = nbd.Buffer.from_bytearray(bytearray(request.data))
            return self.handle.aio_pwrite(buffer, request.offset)
        if request.kind == 'zero':
            return self.handle.aio_zero(request.length, request.offset)
        return self.handle.aio_trim(request.length, request.offset)

    def _died(self):
        self.deaths += 1
        self.lost += self.waiting.values()
        self.waiting = {}

    def poll(self, milliseconds=10):
        """Lets the connection work, and takes answers."""
        try:
            self.handle.poll(milliseconds)
            for cookie in list(self.waiting):
                if self.handle.aio_command_completed(cookie):
                    self._done(self.waiting.pop(cookie))
        except nbd.Error as e:
            if not (self.handle.aio_is_dead() or self.handle.aio_is_closed()):
                raise process.Failure(f'the server refuses: {e}') from e
        if self.handle.aio_is_dead() or self.handle.aio_is_closed():
            self._died()

    def _done(self, request):
        end = request.offset + request.length
        if request.kind == 'trim':
            self.unknown.add(request.offset, request.length)
            return
        self.model[request.offset:end] = request.data \
            if request.kind == 'write' else bytes(request.length)
        self.unknown.remove(request.offset, request.length)

    def drain(self, timeout=60):
        """Connects and submits anew until everything is answered."""
        def drained():
            if self.lost:
                lost, self.lost = self.lost, []
                self.connect()
                for request in lost:
                    self.submit(request)
            if self.waiting:
                self.poll()
            return not self.waiting and not self.lost
        process.wait_until('all requests to be answered', drained, timeout, 0)

    def differing(self, other):
        """The blocks that surely differ from an earlier copy of the model."""
        result = blocks.Blocks(self.size)
        step = 1 << 20
        for chunk in range(0, self.size, step):
            if self.model[chunk:chunk + step] == other[chunk:chunk + step]:
                continue
            for at in range(chunk, min(chunk + step, self.size), 4096):
                if self.model[at:at + 4096] != other[at:at + 4096]:
                    result.add(at, 4096)
        return result - self.unknown

    def wrong_blocks(self):
        """The blocks that read back otherwise than the model says."""
        result = blocks.Blocks(self.size)
        for chunk in range(0, self.size, 1 << 20):
            length = min(1 << 20, self.size - chunk)
            data = self.handle.pread(length, chunk)
            if data == self.model[chunk:chunk + length]:
                continue
            for at in range(0, length, 4096):
                if data[at:at + 4096] != \
                        self.model[chunk + at:chunk + at + 4096]:
                    result.add(chunk + at, 4096)
        return result - self.unknown

    def close(self):
        try:
            self.handle.shutdown()
        except nbd.Error:
            pass
