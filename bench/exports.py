# SPDX-License-Identifier: Apache-2.0
"""Exports: a full one beside qemu-img convert, and what changed beside reading
just that.  Each writes to the same file system and ends with its files synced.
"""
import os
import random
import subprocess
import time

import nbd

from servers import Refpoint, process

MIB = 1 << 20
BLOCK = 4096
SCATTERED = 10000
DEPTH = 32


def timed(action):
    begin = time.monotonic()
    action()
    return time.monotonic() - begin


def sync_all():
    """What was written before is nobody's burden."""
    os.sync()


class Exports:
    """One disk of SIZE bytes, all data, served."""

    def __init__(self, directory, size):
        self.directory = directory
        self.size = size
        self.image = os.path.join(directory, 'export.img')
        self.copy = os.path.join(directory, 'copy.img')  # nobody's lock is on
        block = os.urandom(MIB)
        for path in (self.image, self.copy):
            with open(path, 'wb') as f:
                for i in range(size // MIB):
                    f.write(i.to_bytes(8, 'little') + block[8:])
        self.server = Refpoint(directory, self.image)
        self.server.start()
        self.vm = self.server.vm

    def close(self):
        self.server.stop()
        os.unlink(self.image)
        os.unlink(self.copy)

    def cli(self, *arguments):
        return self.server.daemon.cli(*arguments, timeout=900).strip()

    def target(self):
        return os.path.join(self.directory, 'target')

    def export(self, source, *options):
        sync_all()
        took = timed(lambda: self.cli('export', self.vm, source,
                                      self.target(), *options))
        process.remove_dir(self.target())
        return took

    # -- all of it ---------------------------------------------------------

    def convert(self):
        """Read past the page cache, as ours is."""
        sync_all()

        def run():
            process.run(['qemu-img', 'convert', '-f', 'raw', '-T', 'none',
                         '-O', 'qcow2', self.copy, self.target()],
                        timeout=900)
            fd = os.open(self.target(), os.O_RDONLY)
            os.fsync(fd)
            os.close(fd)
        took = timed(run)
        os.unlink(self.target())
        return took

    def full(self, pairs, progress):
        """Pairs of seconds: ours, qemu-img's."""
        snapshot = self.cli('snapshot', self.vm)
        found = []
        for i in range(pairs):
            first, second = self.convert, lambda: self.export(snapshot)
            a, b = (first(), second()) if i % 2 else (second(), first())
            found.append((b, a) if i % 2 else (a, b))
            progress(f'full export: pair {i + 1} of {pairs}')
        self.cli('drop', self.vm, snapshot)
        return found

    # -- what changed ------------------------------------------------------

    def change(self):
        """10,000 blocks in the first half, and half the second in a row;
        returns what was written to."""
        rng = random.Random(1)
        half = self.size // 2
        ranges = [(b * BLOCK, BLOCK) for b in sorted(rng.sample(
            range(half // BLOCK), SCATTERED))]
        ranges += [(half + i * MIB, MIB) for i in range(half // MIB // 2)]
        data = os.urandom(MIB)
        handle = nbd.NBD()
        handle.connect_uri(self.server.uri)
        for offset, length in ranges:
            handle.pwrite(data[:length], offset)
        handle.shutdown()
        return ranges

    def read(self, ranges):
        """What the image has there, by fio."""
        log = os.path.join(self.directory, 'ranges')
        with open(log, 'w', encoding='ascii') as f:
            f.write(f'fio version 2 iolog\n{self.image} add\n'
                    f'{self.image} open\n')
            for offset, length in ranges:
                f.write(f'{self.image} read {offset} {length}\n')
            f.write(f'{self.image} close\n')
        sync_all()
        took = timed(lambda: subprocess.run(
            ['fio', '--name=ranges', f'--read_iolog={log}', '--direct=1',
             '--ioengine=io_uring', f'--iodepth={DEPTH}', '--readonly',
             '--output=/dev/null'], check=True, timeout=900))
        os.unlink(log)
        return took

    def changes(self, pairs, progress):
        """Pairs of seconds: ours, and reading alone; and the bytes."""
        base = self.cli('create', self.vm)
        ranges = self.change()
        snapshot = self.cli('snapshot', self.vm)
        found = []
        for i in range(pairs):
            def ours():
                return self.export(snapshot, '--base', base)

            def reading():
                return self.read(ranges)
            if i % 2:
                alone = reading()
                found.append((ours(), alone))
            else:
                mine = ours()
                found.append((mine, reading()))
            progress(f'export of changes: pair {i + 1} of {pairs}')
        self.cli('drop', self.vm, snapshot)
        return found, sum(n for _, n in ranges)
