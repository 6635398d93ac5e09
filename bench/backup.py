# SPDX-License-Identifier: Apache-2.0
"""What a guest feels of a backup: its 4 KiB random writes while a snapshot is
read into a slow target, as fast as it can be read, and not at all; the same of
QEMU's blockdev-backup into a target of the slow one's speed; and of somebody
who reads another file of the same disk."""
import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time

import nbd
from load import fio
from servers import Program, process
from harness.qemu import Qmp

MIB = 1 << 20
SLOW = 10_000_000  # bytes a second


def p99_us(uri, seconds, size):
    result = fio(uri, 'randwrite', seconds, size=size, iodepth=1)
    return result['clat_ns']['percentile']['99.000000'] / 1000


class SlowReader:
    """Reads the snapshot in order, as fast as the target takes it."""

    def __init__(self, uri):
        self.uri = uri
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.bytes = 0

    def run(self):
        handle = nbd.NBD()
        handle.connect_uri(self.uri)
        size, began = handle.get_size(), time.monotonic()
        while not self.over.is_set() and self.bytes < size:
            handle.pread(MIB, self.bytes)
            self.bytes += MIB
            ahead = self.bytes / SLOW - (time.monotonic() - began)
            self.over.wait(max(0, ahead))
        handle.shutdown()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()


class FastReader:
    """nbdcopy, again and again, to where nothing has to be written."""

    def __init__(self, uri):
        self.uri = uri
        self.over = False
        self.copy = None
        self.thread = threading.Thread(target=self.run)

    def run(self):
        while not self.over:
            self.copy = subprocess.Popen(['nbdcopy', self.uri, 'null:'],
                                         stderr=subprocess.DEVNULL)
            self.copy.wait()

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over = True
        process.wait_until('nbdcopy', lambda: self.copy)
        self.copy.terminate()
        self.thread.join()


class OtherFile:
    """dd, again and again: one read at a time, past the page cache."""

    def __init__(self, path):
        self.path = path
        self.copy = None

    def __enter__(self):
        self.copy = subprocess.Popen(
            ['sh', '-c', 'while dd if="$1" of=/dev/null bs=1M iflag=direct; '
                         'do :; done', 'sh', self.path],
            stderr=subprocess.DEVNULL, start_new_session=True)
        return self

    def __exit__(self, *_):
        os.killpg(self.copy.pid, signal.SIGTERM)
        self.copy.wait()


def during(server, reader, seconds, size):
    """The guest's p99 while READER is at a snapshot that is made for it."""
    snapshot = json.loads(server.daemon.cli('snapshot', server.vm, '--json'))
    try:
        with reader(snapshot['disks'][0]['nbd_uri']):
            return p99_us(server.uri, seconds, size)
    finally:
        server.daemon.cli('drop', server.vm, snapshot['id'])


class QemuBackup(Program):
    """qemu-storage-daemon, whose backup job copies before it lets writes go
    on."""
    name = 'qemu blockdev-backup'
    export = 'disk'

    def __init__(self, directory, image, target):
        super().__init__(directory, image)
        self.target = target
        self.qmp = None

    def arguments(self):
        nodes = [
            {'driver': 'file', 'node-name': 'disk', 'filename': self.image,
             'aio': 'io_uring', 'cache': {'direct': True}},
            {'driver': 'file', 'node-name': 'file', 'filename': self.target},
            {'driver': 'throttle', 'node-name': 'target', 'file': 'file',
             'throttle-group': 'slow'}]
        argv = ['qemu-storage-daemon', '--chardev',
                f'socket,id=qmp,path={self.socket}.qmp,server=on,wait=off',
                '--monitor', 'chardev=qmp',
                '--nbd-server', f'addr.type=unix,addr.path={self.socket}',
                '--object', f'throttle-group,id=slow,x-bps-write={SLOW}']
        for node in nodes:
            argv += ['--blockdev', json.dumps(node)]
        return argv

    def start(self):
        with open(self.target, 'wb') as f:
            f.truncate(os.path.getsize(self.image))
        super().start()
        self.qmp = Qmp(self.socket + '.qmp')
        self.qmp.command('block-export-add', type='nbd', id='disk',
                         writable=True, name='disk', **{'node-name': 'disk'})

    def stop(self):
        self.qmp.close()
        super().stop()
        os.unlink(self.target)


def qemu(directory, image, seconds, size):
    server = QemuBackup(directory, image, image + '.target')
    server.start()
    try:
        quiet = p99_us(server.uri, seconds, size)
        server.qmp.command('blockdev-backup', device='disk', target='target',
                           sync='full', **{'job-id': 'backup'})
        return p99_us(server.uri, seconds, size) / quiet
    finally:
        server.stop()


def measure(server, directory, pairs, seconds, size, progress):
    """Rows of the table."""
    slow, fast, other, ratio, hurry, cut = [], [], [], [], [], 0
    server.start()
    try:
        p99_us(server.uri, seconds, size)
        for i in range(pairs):
            quiet = p99_us(server.uri, seconds, size)
            slow.append(during(server, SlowReader, seconds, size))
            fast.append(during(server, FastReader, seconds, size))
            with OtherFile(server.image):
                other.append(p99_us(server.uri, seconds, size) / quiet)
            ratio.append(slow[-1] / quiet)
            hurry.append(fast[-1] / quiet)
            progress(f'backups, round {i + 1} of {pairs}')
        cut = server.daemon.status(server.vm)['cut_max_ns'] / 1e6
    finally:
        server.stop()
    progress('')
    theirs = qemu(directory, server.image, seconds, size)
    against = [a / b for a, b in zip(slow, fast)]
    return [
        row("a guest's p99 during a backup at 10 MB/s / without one", ratio,
            3.5, f', {theirs:.1f} with QEMU'),
        row("a guest's p99 during a backup at 10 MB/s / during a fast one",
            against, 1.1, ''),
        row("a guest's p99 during a fast backup / beside dd iflag=direct",
            [a / b for a, b in zip(hurry, other)], 1.1,
            f', {statistics.median(hurry):.1f} times that without either'),
        {'what': f'barrier of {2 * pairs} snapshots while a guest writes, in '
                 'ms', 'number': cut, 'target': 1, 'met': cut <= 1}]


def row(what, ratios, target, more):
    number = statistics.median(ratios)
    return {'what': what + more, 'number': number, 'target': target,
            'met': number <= target, 'ratios': ratios}


if __name__ == '__main__':
    sys.exit('a part of bench/bench')
