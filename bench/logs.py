# SPDX-License-Identifier: Apache-2.0
"""What logs of log-based points cost: a guest's writes, memory, and
their replay beside writing as many bytes.  exports.py has their export."""
import glob
import os
import sys
import threading

from exports import alternate, sync_all, timed
from load import fio, memory_bytes
from servers import Refpoint, process

MIB = 1 << 20
DEPTH = 8  # of large writes

# At queue depth 1 a ratio of rates is one of latencies, upside down.
SLOWER = 0.667
LOADS = (
    ('4 KiB randwrite', 'randwrite', 0.5, {}),
    ('1 MiB sequential write', 'write', 0.45, {'bs': '1M', 'iodepth': DEPTH}),
    ('4 KiB randwrite at depth 1', 'randwrite', SLOWER, {'iodepth': 1}),
    ('4 KiB randwrite and flush at depth 1', 'randwrite', SLOWER,
     {'iodepth': 1, 'fsync': 1}))


# -- memory ----------------------------------------------------------------

class Peak:
    """The most of its own memory that a process has meanwhile."""

    def __init__(self, pid):
        self.pid = pid
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.bytes = 0

    def look(self):
        self.bytes = max(self.bytes, memory_bytes(self.pid)['RssAnon'])

    def run(self):
        while not self.over.wait(0.05):
            self.look()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        self.look()


def peak(server, seconds, size):
    server.start()
    try:
        with Peak(server.pid) as found:
            for options in ({'rw': 'randwrite'},
                            {'rw': 'write', 'bs': '1M', 'iodepth': 32}):
                fio(server.uri, seconds=seconds, size=size, **options)
    finally:
        server.stop()
    return found.bytes


def memory(on, off, seconds, size):
    """A row: src/log/stream.h says how much there is for each disk."""
    found = peak(on, seconds, size) - peak(off, seconds, size)
    return {'what': "the worker's own memory for the log of one disk under "
                    'load', 'bytes': found, 'target_bytes': 17 * MIB,
            'met': found <= 17 * MIB}


# -- files -----------------------------------------------------------------

class Files:
    """A closed log of a disk of SIZE bytes that was written to once from end
    to end, in writes of 1 MiB."""

    def __init__(self, directory, size):
        self.path = lambda name: os.path.join(directory, name)
        image = self.path('logged.img')
        with open(image, 'wb') as f:
            f.truncate(size)
        root = self.path('files')
        os.mkdir(root, 0o755)
        self.size = size
        self.server = Refpoint(root, image, log=True)
        self.server.start()
        fio(self.server.uri, 'write', size=size, bs='1M', iodepth=DEPTH)
        self.point = self.server.daemon.create(self.server.vm, '--type',
                                               'log')['id']
        self.server.point = self.point

    def close(self):
        self.server.stop()
        for path in glob.glob(self.path('*.img')):
            os.unlink(path)

    # -- replay ------------------------------------------------------------

    def fresh(self, name):
        """An image whose blocks the file system has, as a copy has."""
        path = self.path(name)
        with open(path, 'wb') as f:
            os.posix_fallocate(f.fileno(), 0, self.size)
        return path

    def replay(self, log, cold):
        image = self.fresh('replayed.img')
        sync_all()
        with open(log, 'rb') as f:
            if cold:
                os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            else:
                while f.read(MIB):
                    pass
        took = timed(lambda: self.server.daemon.cli(
            'replay', log, '--onto', image, '--offline', timeout=900))
        os.unlink(image)
        return took

    def write(self):
        """As many bytes, from memory and past the page cache."""
        image = self.fresh('written.img')
        sync_all()
        took = timed(lambda: process.run(
            ['fio', '--name=write', f'--filename={image}', '--rw=write',
             '--bs=1M', f'--size={self.size}', '--direct=1',
             '--ioengine=io_uring', '--iodepth=4', '--end_fsync=1',
             '--output=/dev/null'], timeout=900))
        os.unlink(image)
        return took

    def replayed(self, pairs, cold, progress):
        """Pairs of seconds: ours, writing alone."""
        target = self.path('logs')
        self.server.daemon.cli('export', self.server.vm, self.point, target,
                               timeout=900)
        log, = glob.glob(os.path.join(target, '*.hrl'))
        try:
            return alternate(pairs, lambda: self.replay(log, cold),
                             self.write, 'replay', progress)
        finally:
            process.remove_dir(target)


if __name__ == '__main__':
    sys.exit('a part of bench/bench')
