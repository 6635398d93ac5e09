# SPDX-License-Identifier: Apache-2.0
"""Exports: a full one beside qemu-img convert, what changed beside reading just
that and beside virtnbdbackup, and logs beside cp.  Each writes to the same file system and
ends with its files synced.
"""
import glob
import os
import random
import subprocess
import time

import nbd

from servers import Refpoint, process
from virtnbd import VirtNbd

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


def fsync(path):
    fd = os.open(path, os.O_RDONLY)
    os.fsync(fd)
    os.close(fd)


def alternate(pairs, ours, theirs, what, progress):
    """Pairs of seconds, ours first; they take turns at who begins."""
    found = []
    for i in range(pairs):
        if i % 2:
            peer = theirs()
            found.append((ours(), peer))
        else:
            mine = ours()
            found.append((mine, theirs()))
        progress(f'{what}: pair {i + 1} of {pairs}')
    return found


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
        self.base = self.snapshot = self.ranges = self.logs = None

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
            fsync(self.target())
        took = timed(run)
        os.unlink(self.target())
        return took

    def full(self, pairs, progress):
        """Pairs of seconds: ours, qemu-img's."""
        snapshot = self.cli('snapshot', self.vm)
        found = alternate(pairs, lambda: self.export(snapshot), self.convert,
                          'full export', progress)
        self.cli('drop', self.vm, snapshot)
        return found

    # -- what changed ------------------------------------------------------

    def write(self, uri):
        """10,000 blocks in the first half, and half the second in a row;
        returns what was written to."""
        rng = random.Random(1)
        half = self.size // 2
        ranges = [(b * BLOCK, BLOCK) for b in sorted(rng.sample(
            range(half // BLOCK), SCATTERED))]
        ranges += [(half + i * MIB, MIB) for i in range(half // MIB // 2)]
        data = os.urandom(MIB)
        handle = nbd.NBD()
        handle.connect_uri(uri)
        for offset, length in ranges:
            handle.pwrite(data[:length], offset)
        handle.shutdown()
        return ranges

    def change(self):
        """What the next ones export; returns its bytes."""
        self.base = self.cli('create', self.vm)
        self.ranges = self.write(self.server.uri)
        self.snapshot = self.cli('snapshot', self.vm)
        return sum(n for _, n in self.ranges)

    def changes(self):
        return self.export(self.snapshot, '--base', self.base)

    def read(self):
        """What the image has there, by fio."""
        log = os.path.join(self.directory, 'ranges')
        with open(log, 'w', encoding='ascii') as f:
            f.write(f'fio version 2 iolog\n{self.image} add\n'
                    f'{self.image} open\n')
            for offset, length in self.ranges:
                f.write(f'{self.image} read {offset} {length}\n')
            f.write(f'{self.image} close\n')
        sync_all()
        took = timed(lambda: subprocess.run(
            ['fio', '--name=ranges', f'--read_iolog={log}', '--direct=1',
             '--ioengine=io_uring', f'--iodepth={DEPTH}', '--readonly',
             '--output=/dev/null'], check=True, timeout=900))
        os.unlink(log)
        return took

    def against_reading(self, pairs, progress):
        return alternate(pairs, self.changes, self.read,
                         'changes and reading', progress)

    # -- logs --------------------------------------------------------------

    def log(self):
        """What is written between two log-based points; the newer one."""
        self.cli('set-log-limit', self.vm, str(2 * self.size))
        first = self.cli('create', self.vm, '--type', 'log')
        self.write(self.server.uri)
        handle = nbd.NBD()
        handle.connect_uri(self.server.uri)
        handle.zero(self.size // 8, 0)          # of which the log has a hole
        handle.shutdown()
        last = self.cli('create', self.vm, '--type', 'log')
        self.logs = glob.glob(os.path.join(
            self.server.daemon.root, 'lib', 'vms', self.vm, f'log-{first}-*'))
        return last

    def copy_logs(self):
        os.mkdir(self.target())
        sync_all()

        def run():
            process.run(['cp', '--sparse=always', *self.logs, self.target()],
                        timeout=900)
            for name in os.listdir(self.target()):
                fsync(os.path.join(self.target(), name))
        took = timed(run)
        process.remove_dir(self.target())
        return took

    def against_cp(self, pairs, progress):
        last = self.log()
        found = alternate(pairs, lambda: self.export(last), self.copy_logs,
                          'logs and cp', progress)
        self.cli('drop-log', self.vm, last)     # nothing is logged any more
        return found, sum(os.stat(f).st_blocks * 512 for f in self.logs)

    def against_virtnbdbackup(self, pairs, progress):
        """Each of its backups makes the next one's base, so what it is to
        save is written anew before each."""
        peer = VirtNbd(self.directory, self.copy)

        def theirs():
            self.write(peer.start_nbd())
            peer.stop_nbd()
            sync_all()
            begin = time.monotonic()
            path = peer.backup('inc')
            fsync(path)
            took = time.monotonic() - begin
            size, least = os.stat(path).st_size, sum(n for _, n in self.ranges)
            os.unlink(path)
            if size < least:
                raise process.Failure(f'virtnbdbackup saved {size} bytes of '
                                      f'{least}')
            return took
        try:
            peer.start()
            progress('a full virtnbdbackup')
            os.unlink(peer.backup('full'))
            return alternate(pairs, self.changes, theirs,
                             'changes and virtnbdbackup', progress)
        finally:
            peer.close()
