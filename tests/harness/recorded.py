# SPDX-License-Identifier: Apache-2.0
"""A guest that writes to two disks of refpoint's, with QEMU's recorder in
between, which alone says what each disk holds (writelog)."""
import os

from . import blocks, process, qemu, writelog
from .process import Failure
from .refpoint import Refpointd, parse_uri

MIB = 1 << 20
SECTOR = 512
VM = 'v'


def copy(path, to):
    """A copy of an image, with its holes."""
    process.run(['cp', '--sparse=always', '--reflink=auto', path, to],
                timeout=120)


class Recorded:
    """What one disk holds, by the recorder alone: `model`, as it was at a
    position in the recorder's log."""

    def __init__(self, disk, size, directory):
        self.disk = disk
        self.size = size
        self.log = writelog.WriteLog(os.path.join(directory, disk + '.log'))
        self.at = 0
        self.model = os.path.join(directory, disk + '.model')
        with open(self.model, 'wb') as f:
            f.truncate(size)

    def replay_to(self, position):
        self.log.replay(self.model, self.at, position)
        self.at = position

    def candidates(self, held, at, first, last):
        """What the bytes at AT may be: what was HELD, and then after each
        entry."""
        end = at + len(held)
        found, now = {held}, bytearray(held)
        with open(self.log.path, 'rb') as f:
            for e in self.log.between(first, last):
                a, b = max(at, e.offset), min(end, e.offset + e.length)
                if a >= b:
                    continue
                data = bytes(b - a)
                if not e.flags & writelog.DISCARD:
                    f.seek(e.data_offset + a - e.offset)
                    data = f.read(b - a)
                now[a - at:b - at] = data
                found.add(bytes(now))
        return found

    def may_be(self, found, held, at, first, last, grain):
        """Of one block: each GRAIN of it for itself."""
        return all(found[i:i + grain] == held[i:i + grain] or
                   found[i:i + grain] in self.candidates(
                       held[i:i + grain], at + i, first, last)
                   for i in range(0, len(held), grain))

    def judge(self, path, truth, first, last, grain=blocks.BLOCK):
        """Fails unless the image is the TRUTH, of position FIRST, or for a
        block that was written until LAST what it was before or after each
        such write.  GRAIN: SECTOR if a write may have been torn, as a server
        died that was at it.  How many blocks are not as in the truth."""
        if os.path.getsize(path) != self.size:
            raise Failure(f'{self.disk}: {os.path.getsize(path)} bytes')
        wrong = []
        differing = blocks.differing(path, truth)
        with open(path, 'rb') as c, open(truth, 'rb') as t:
            for start, length in differing.extents():
                for at in range(start, start + length, blocks.BLOCK):
                    held, found = (os.pread(f.fileno(), blocks.BLOCK, at)
                                   for f in (t, c))
                    if not self.may_be(found, held, at, first, last, grain):
                        wrong.append(at)
        if wrong:
            raise Failure(f'{self.disk}: {len(wrong)} blocks are not what they'
                          f' were at the instant, at {wrong[:8]}')
        return len(differing)


class World:
    """refpointd with one virtual system, and its guest."""

    def __init__(self, directory, sizes):
        """SIZES: {disk: bytes}"""
        self.directory = directory
        self.sizes = sizes
        root = self.path('root')
        os.mkdir(root, 0o755)
        self.daemon = Refpointd(root)
        self.guest = None
        self.images = {d: self.path(d + '.img') for d in sizes}
        self.recorded = {}

    def path(self, name):
        return os.path.join(self.directory, name)

    def begin(self):
        for disk, path in self.images.items():
            with open(path, 'wb') as f:
                f.truncate(self.sizes[disk])
        self.daemon.start()
        self.daemon.cli('define', VM, *(
            f'--disk={d}={path}' for d, path in self.images.items()))
        self.daemon.cli('serve', VM)
        disks = []
        for disk in self.daemon.wait_serving(VM)['disks']:
            one = Recorded(disk['id'], disk['size'], self.directory)
            self.recorded[disk['id']] = one
            disks.append(qemu.Disk(disk['id'], *parse_uri(disk['nbd_uri']),
                                   one.log.path))
        self.guest = qemu.Guest(self.directory, disks)
        self.guest.wait_writing()

    def positions(self):
        return {d: r.log.refresh() for d, r in self.recorded.items()}

    def busy(self, requests):
        """The guest goes on, on every disk."""
        for disk, recorded in self.recorded.items():
            goal = recorded.log.refresh() + requests
            process.wait_until(f'the guest to write to {disk}', lambda r=
                               recorded, n=goal: r.log.refresh() >= n, 60)

    def hold(self, position, paths):
        """Leaves at PATHS what the disks held at a position, which must not be
        before that of an earlier call."""
        for disk, recorded in self.recorded.items():
            recorded.replay_to(position[disk])
            copy(recorded.model, paths[disk])

    def truth(self, first, last, paths):
        """hold(), at FIRST; and the images must be as at LAST: the guest is
        paused."""
        self.hold(first, paths)
        for disk, recorded in self.recorded.items():
            recorded.replay_to(last[disk])
            wrong = blocks.differing(recorded.model, self.images[disk])
            if len(wrong):
                raise Failure(f'{disk}: the image is not what the guest '
                              f'wrote, at {wrong.addresses()}')

    def rows(self):
        """The newest row that the guest knows to be in all its databases."""
        return int(self.guest.console.command('rows', 'rows'))

    def recover(self):
        """All that serves is back."""
        if self.daemon.process.poll() is not None:
            self.daemon.start()
        self.daemon.wait_serving(VM)

    def end_guest(self):
        """It saw no error, its file systems are whole, and it is off."""
        if self.guest.errors():
            raise Failure(f'the guest saw errors: {self.guest.errors()}')
        if self.guest.console.command('check', 'check') != '0':
            raise Failure("the guest's file systems are damaged")
        self.guest.quit()

    def end(self):
        self.daemon.cli('unserve', VM)
        self.daemon.cli('check', VM)

    def close(self):
        if self.guest:
            self.guest.close()
        self.daemon.close()

    def logs(self):
        return self.daemon.logs() + [self.path('guest-console.log'),
                                     self.path('guest-qemu.log')]
