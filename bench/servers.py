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

    def __init__(self, directory, image, cache='writeback'):
        super().__init__(directory, image)

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
    """Exports disk0, disk1, ... with bitmaps of 4 KiB granularity, which
    clients can read, or which new_point() can clear: not both at once."""
    name = 'qemu-storage-daemon'
    export = 'disk0'
    cache = 'direct'

    def __init__(self, directory, *images, readable=True):
        super().__init__(directory, images[0])
        self.readable = readable
        self.nodes = {f'disk{i}': path for i, path in enumerate(images)}
        self.qmp = None

    @property
    def uris(self):
        return [f'nbd+unix:///{node}?socket={self.socket}'
                for node in self.nodes]

    def arguments(self):
        argv = ['qemu-storage-daemon', '--chardev',
                f'socket,id=qmp,path={self.socket}.qmp,server=on,wait=off',
                '--monitor', 'chardev=qmp',
                '--nbd-server', f'addr.type=unix,addr.path={self.socket}']
        for node, path in self.nodes.items():
            argv += ['--blockdev', json.dumps(
                {'driver': 'file', 'node-name': node, 'filename': path,
                 'aio': 'io_uring',
                 'cache': {'direct': self.cache == 'direct'}})]
        return argv

    def start(self):
        super().start()
        self.qmp = Qmp(self.socket + '.qmp')
        for node in self.nodes:
            self.qmp.command('block-dirty-bitmap-add', node=node,
                             name='since', granularity=4096)
            self.qmp.command('block-export-add', type='nbd', id=node,
                             writable=True, name=node,
                             bitmaps=['since'] if self.readable else [],
                             **{'node-name': node})

    def counters(self):
        return {}

    def new_point(self):
        """What comes nearest to a point: all bitmaps cleared at once."""
        self.qmp.command('transaction', actions=[
            {'type': 'block-dirty-bitmap-clear',
             'data': {'node': node, 'name': 'since'}} for node in self.nodes])

    def stop(self):
        if self.qmp:
            self.qmp.close()
        super().stop()


class LogWrites(Program):
    """qemu-storage-daemon, whose filter blklogwrites logs every write; the log
    goes through the page cache, as ours does."""
    name = 'qemu blklogwrites'
    export = 'disk'

    def __init__(self, directory, image, cache='direct'):
        super().__init__(directory, image)
        self.cache = cache
        self.writes = image + '.writes'

    def arguments(self):
        nodes = [
            {'driver': 'file', 'node-name': 'image', 'filename': self.image,
             'aio': 'io_uring', 'cache': {'direct': self.cache == 'direct'}},
            {'driver': 'file', 'node-name': 'writes', 'aio': 'io_uring',
             'filename': self.writes},
            {'driver': 'blklogwrites', 'node-name': 'disk', 'file': 'image',
             'log': 'writes'}]
        argv = ['qemu-storage-daemon', '--nbd-server',
                f'addr.type=unix,addr.path={self.socket}']
        for node in nodes:
            argv += ['--blockdev', json.dumps(node)]
        return argv + ['--export', 'type=nbd,id=disk,node-name=disk,name=disk,'
                       'writable=on']

    def start(self):
        with open(self.writes, 'wb'):
            pass
        super().start()

    def stop(self):
        super().stop()
        os.unlink(self.writes)


class Refpoint:
    """refpointd with one virtual machine of one disk or more.

    It runs the worker as it is shipped, or, with faulty=True or anything that
    only that one does, the same program with the tests' hooks: tracking off,
    the page cache instead of O_DIRECT, and `sync`, a time ("2ms") that each
    sync of the store takes longer.  With tracking off `status` must say that
    the disk is not tracked, so that tracking is never measured against itself.

    With log=True its points are log-based, and when it stops its log must
    still be written: one that was given up would cost nothing.
    """
    name = 'refpoint'
    vm = 'bench'
    log_limit = 1 << 40

    def __init__(self, directory, *images, tracking=True, cache='direct',
                 sync=None, faulty=False, log=False):
        self.images = images
        self.tracking = tracking
        self.log = log
        if not tracking:
            self.name = 'refpoint, tracking off'
        if log:
            self.name = 'refpoint, logging on'
        name = f'{"on" if tracking else "off"}.{cache}.{sync}.{faulty}.{log}'
        root = os.path.join(directory, name)
        os.mkdir(root, 0o755)
        environment = {'REFPOINT_DEBUG': 'changes'}
        if not tracking:
            environment['REFPOINT_TRACKING'] = 'off'
        if cache != 'direct':
            environment['REFPOINT_CACHE'] = cache
        if sync:
            environment['REFPOINT_FAULTS_STORE'] = f'sync:delay={sync}'
        if len(environment) > 1 or faulty:
            environment['REFPOINT_WORKER'] = os.path.join(
                process.BUILD, 'src', 'worker', 'refpoint-worker-faulty')
        self.wanted_cache = cache
        self.daemon = Refpointd(root, environment)
        self.defined = False
        self.point = None
        self.cache = cache
        self.uri = self.uris = self.pid = None

    def start(self):
        self.daemon.start()
        if not self.defined:
            disks = [x for i, image in enumerate(self.images)
                     for x in ('--disk', f'disk{i}={image}')]
            self.daemon.cli('define', self.vm, *disks, '--log-limit',
                            str(self.log_limit))
            self.defined = True
        self.daemon.cli('serve', self.vm)
        status = self.daemon.wait_serving(self.vm)
        disk = status['disks'][0]
        if not self.tracking and disk['accuracy'] != 'invalid':
            self.stop()
            raise process.Failure(
                'the worker tracks in spite of REFPOINT_TRACKING=off')
        self.uri, self.pid = disk['nbd_uri'], status['worker_pid']
        self.uris = [d['nbd_uri'] for d in status['disks']]
        self.socket, _ = parse_uri(self.uri)
        self.cache = disk['cache']
        if self.wanted_cache != 'direct' and self.cache != self.wanted_cache:
            self.stop()
            raise process.Failure(
                'the worker uses O_DIRECT in spite of REFPOINT_CACHE')
        if self.tracking:
            self.new_point()

    def new_point(self):
        """A fresh point, as a peer that wrote to the file made the tracking
        invalid; without the one before, so that they do not pile up."""
        before = self.point
        self.point = self.daemon.call(
            'Create', vm=self.vm,
            type='log' if self.log else 'rct')['point']['id']
        if before:
            self.daemon.call('Destroy', vm=self.vm, point=before)

    def counters(self):
        """What `status` says of the whole virtual machine."""
        return self.daemon.status(self.vm)

    def log_lost(self):
        """Why the newest point's log is none any more; None: it is one."""
        for entry in self.counters()['logs']:
            if entry['point'] == self.point:
                log = entry['log']
                return None if log['state'] == 'open' else log['reason']
        return 'there is none'

    def stop(self):
        lost = self.log_lost() if self.log else None
        self.daemon.cli('unserve', self.vm)
        self.daemon.close()
        if lost is not None:
            raise process.Failure(f'the log was not written: {lost}')
