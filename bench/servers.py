# SPDX-License-Identifier: Apache-2.0
"""The NBD servers that are measured: refpoint and its peers, one interface.

Each serves one raw file on a Unix socket.  start() returns when it answers;
`uri` is where, `pid` the process that works, `cache` how it reaches the file:
"direct" (O_DIRECT) or "writeback" (the page cache).
"""
import json
import os
import socket
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, 'tests'))
from harness import process  # noqa: E402
from harness.qemu import Qmp  # noqa: E402
from harness.refpoint import Refpointd, parse_uri  # noqa: E402


def answers(path):
    with socket.socket(socket.AF_UNIX) as s:
        try:
            s.connect(path)
        except OSError:
            return False
    return True


class Program:
    """A server that is one program with a socket of its own."""
    cache = 'writeback'
    export = ''

    def __init__(self, directory, image):
        self.image = image
        short = self.name.split()[0]
        self.socket = os.path.join(directory, f'{short}.sock')
        self.log = os.path.join(directory, f'{short}.log')
        self.process = None

    @property
    def uri(self):
        return f'nbd+unix:///{self.export}?socket={self.socket}'

    @property
    def pid(self):
        return self.process.pid

    def start(self):
        if os.path.exists(self.socket):
            os.unlink(self.socket)
        self.process = process.start(self.arguments(), self.log)
        process.wait_until(f'{self.name} to answer',
                           lambda: answers(self.socket))

    def stop(self):
        process.stop(self.process)


class Nbdkit(Program):
    name = 'nbdkit file'

    def arguments(self):
        return ['nbdkit', '-f', '-U', self.socket, 'file', self.image]


class QemuNbd(Program):
    name = 'qemu-nbd'

    def __init__(self, directory, image, cache='direct'):
        super().__init__(directory, image)
        self.cache = cache

    def arguments(self):
        mode = 'none' if self.cache == 'direct' else 'writeback'
        return ['qemu-nbd', '-t', '-f', 'raw', '--aio=io_uring',
                f'--cache={mode}', '-e', '8', '-k', self.socket, self.image]


class QemuStorageDaemon(Program):
    """With a bitmap of 4 KiB granularity, for `changes`."""
    name = 'qemu-storage-daemon'
    export = 'disk'
    cache = 'direct'

    def arguments(self):
        return ['qemu-storage-daemon', '--blockdev', json.dumps(
            {'driver': 'file', 'node-name': 'disk', 'filename': self.image,
             'aio': 'io_uring', 'cache': {'direct': True}}),
                '--chardev', f'socket,id=qmp,path={self.socket}.qmp,'
                'server=on,wait=off', '--monitor', 'chardev=qmp',
                '--nbd-server', f'addr.type=unix,addr.path={self.socket}']

    def start(self):
        super().start()
        qmp = Qmp(self.socket + '.qmp')
        qmp.command('block-dirty-bitmap-add', node='disk', name='since',
                    granularity=4096)
        qmp.command('block-export-add', type='nbd', id='e', writable=True,
                    bitmaps=['since'], name=self.export,
                    **{'node-name': 'disk'})
        qmp.close()


class Refpoint:
    """refpointd with one virtual machine of one disk.

    With tracking off (REFPOINT_TRACKING=off in the worker's environment, for
    this purpose alone) `status` must say that the disk is not tracked, so
    that tracking is never measured against itself.
    """
    name = 'refpoint'
    vm = 'bench'

    def __init__(self, directory, image, tracking=True):
        self.image = image
        self.tracking = tracking
        if not tracking:
            self.name = 'refpoint, tracking off'
        root = os.path.join(directory, 'on' if tracking else 'off')
        os.mkdir(root, 0o755)
        environment = {} if tracking else {'REFPOINT_TRACKING': 'off'}
        self.daemon = Refpointd(root, environment)
        self.defined = False
        self.point = None
        self.cache = ''
        self.uri = self.pid = None

    def start(self):
        self.daemon.start()
        if not self.defined:
            self.daemon.cli('define', self.vm, '--disk', f'disk={self.image}')
            self.defined = True
        self.daemon.cli('serve', self.vm)
        status = self.daemon.wait_serving(self.vm)
        disk = status['disks'][0]
        if not self.tracking and disk['accuracy'] != 'invalid':
            self.stop()
            raise process.Failure(
                'the worker tracks in spite of REFPOINT_TRACKING=off')
        self.uri, self.pid = disk['nbd_uri'], status['worker_pid']
        self.socket, _ = parse_uri(self.uri)
        self.cache = disk['cache']
        if self.tracking:
            self.new_point()

    def new_point(self):
        """A fresh point, as a peer that wrote to the file made the tracking
        invalid; without the one before, so that they do not pile up."""
        before = self.point
        self.point = self.daemon.create(self.vm)['id']
        if before:
            self.daemon.cli('destroy', self.vm, before)

    def stop(self):
        self.daemon.cli('unserve', self.vm)
        self.daemon.close()
