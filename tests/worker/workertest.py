# SPDX-License-Identifier: Apache-2.0
"""A real worker, and a refpointd that is just enough for it."""
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import uuid

import nbd

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))), 'daemon'))
from varlink import Channel  # noqa: E402

WORKER = os.environ['REFPOINT_WORKER']
FAULTY = os.environ.get('REFPOINT_WORKER_FAULTY')
KIB, MIB = 1 << 10, 1 << 20
BLOCK = 4096
DEADLINE = 20
NONCE = 'user.refpoint.nonce'


def wait_until(what, condition, seconds=DEADLINE):
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f'waited {seconds} s for {what}')
        time.sleep(0.01)


class CallError(Exception):
    def __init__(self, name, message):
        super().__init__(f'{name}: {message}')
        self.name = name.rsplit('.', 1)[-1]


def stamp(path):
    st = os.stat(path)
    try:
        nonce = str(uuid.UUID(bytes=os.getxattr(path, NONCE)))
    except OSError:
        nonce = str(uuid.UUID(int=0))
    return {'kind': 'file', 'bytes': st.st_size, 'device': st.st_dev,
            'inode': st.st_ino, 'mtime_ns': st.st_mtime_ns,
            'ctime_ns': st.st_ctime_ns, 'nonce': nonce, 'diskseq': 0,
            'writes': 0, 'discards': 0,
            'boot': str(uuid.UUID(int=0))}


class Daemon(threading.Thread):
    """worker.sock: Start, Mark and SnapshotListener."""

    def __init__(self, root):
        super().__init__(daemon=True)
        self.root = root
        self.path = os.path.join(root, 'run', 'worker.sock')
        self.paths = {}
        self.serve = None  # or a function: images, fds
        self.started = 0
        self.marks = 0
        self.mark_error = None
        self.connections = []
        self.listener = None
        self.listen()
        self.start()

    def listen(self):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(10)

    def vanish(self):
        """As when refpointd is killed."""
        listener, self.listener = self.listener, None
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for c in self.connections:
            try:
                c.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.connections = []
        os.unlink(self.path)

    def run(self):
        listener = self.listener
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            self.connections.append(sock)
            threading.Thread(target=self.talk, args=(sock,),
                             daemon=True).start()

    def talk(self, sock):
        wire = Channel(sock)
        try:
            while True:
                got = wire.receive()
                if got is None:
                    return
                method = got[0]['method'].rsplit('.', 1)[-1]
                getattr(self, 'on_' + method)(wire, got[0]['parameters'])
        except OSError:
            return

    def on_Start(self, wire, _):
        tombstone = os.open(os.path.join(self.root, 'lib', 'tombstone'),
                            os.O_RDWR | os.O_CREAT, 0o600)
        os.posix_fallocate(tombstone, 0, 4096)
        images, fds = self.serve() if self.serve else ([], [])
        self.started += 1
        wire.send({'parameters': {'serve': bool(images), 'images': images}},
                  fds + [tombstone])
        for fd in fds[:len(images)] + [tombstone]:
            os.close(fd)

    def on_Mark(self, wire, parameters):
        self.marks += 1
        if self.mark_error:
            wire.send({'error': 'org.refpoint.' + self.mark_error,
                       'parameters': {'message': 'as the test wants it'}})
            return
        path = self.paths[parameters['disk']]
        os.setxattr(path, NONCE, uuid.UUID(parameters['nonce']).bytes)
        wire.send({'parameters': {'stamp': stamp(path)}})


    def on_SnapshotListener(self, wire, parameters):
        sock = bind_for_readers(os.path.join(
            self.root, 'run', 'vm', parameters['vm']), parameters['snapshot'])
        wire.send({'parameters': {}}, [sock.fileno()])
        sock.close()


def bind_for_readers(run_dir, snapshot):
    """The listener of a snapshot's readers, as refpointd binds it."""
    path = f'{run_dir}/{snapshot[:18]}.sock'
    if os.path.exists(path):
        os.unlink(path)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    sock.listen(5)
    return sock


class World:
    """A root with a VM of some disks, and its worker."""

    def __init__(self, sizes, name='vm1'):
        self.root = tempfile.mkdtemp(
            prefix='refpoint-worker-', dir=os.environ.get('TMPDIR', '/var/tmp'))
        self.name = name
        self.lib = os.path.join(self.root, 'lib')
        self.store = os.path.join(self.lib, 'vms', name)
        self.run_dir = os.path.join(self.root, 'run', 'vm', name)
        os.makedirs(self.store, 0o700)
        os.makedirs(self.run_dir, 0o700)
        self.disks = {}
        for i, (disk, size) in enumerate(sizes.items()):
            path = os.path.join(self.root, f'image{i}.raw')
            with open(path, 'wb') as f:
                f.truncate(size)
            self.disks[disk] = path
        self.uuid = str(uuid.uuid4())
        self.daemon = Daemon(self.root)
        self.daemon.paths = self.disks
        self.log_path = os.path.join(self.root, 'worker.log')
        self.process = None
        self.nbd_path = os.path.join(self.run_dir, 'nbd.sock')
        self.listener = None
        self.environment = {'REFPOINT_SANDBOX':
                            os.environ.get('REFPOINT_SANDBOX', 'log')}

    def live_dirs(self):
        st = os.stat(self.lib)
        name = 0xcbf29ce484222325
        for byte in struct.pack('<QQ', st.st_dev, st.st_ino):
            name = (name ^ byte) * 0x100000001b3 % (1 << 64)
        return [p for p in (f'/run/refpoint/{name:016x}',
                            f'/dev/shm/refpoint-{os.geteuid()}-{name:016x}')
                if os.path.isdir(p)]

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for path in self.live_dirs():
            shutil.rmtree(path)
        if self.daemon.listener:
            self.daemon.vanish()
        if self.listener:
            self.listener.close()
        shutil.rmtree(self.root)

    def log(self):
        with open(self.log_path, encoding='utf-8') as f:
            return f.read()

    # ---- the process

    def spawn(self, program=WORKER, **environment):
        with open(self.log_path, 'ab') as log:
            return subprocess.Popen(
                [program, '--root', self.root, '--vm', self.name],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **self.environment, **environment})

    def start(self, program=WORKER, **environment):
        self.process = self.spawn(program, **environment)
        self.wait_ready()

    def answers(self):
        if self.process.poll() is not None:
            raise AssertionError(f'the worker ended: {self.log()}')
        try:
            return self.call('Hello')
        except (ConnectionError, FileNotFoundError):
            return False

    def wait_ready(self):
        return wait_until('the worker to answer', self.answers)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def ends(self, seconds=DEADLINE):
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f'it goes on: {self.log()}') from None

    def stop(self):
        """Ends it; it may be about to end by itself."""
        try:
            self.call('Stop')
        except (ConnectionError, FileNotFoundError):
            pass
        return self.ends()

    # ---- calls

    def connect(self):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(60)
        try:
            sock.connect(os.path.join(self.run_dir, 'control.sock'))
        except OSError:
            sock.close()
            raise
        return Channel(sock)

    def replies(self, method, parameters, fds=(), more=False):
        wire = self.connect()
        try:
            wire.send({'method': 'org.refpoint.worker.' + method,
                       'parameters': parameters, 'more': more}, fds)
            while True:
                got = wire.receive()
                if got is None:
                    raise ConnectionResetError(method)
                message, got_fds = got
                if 'error' in message:
                    raise CallError(message['error'],
                                    message['parameters']['message'])
                yield message.get('parameters', {}), got_fds
                if not message.get('continues'):
                    return
        finally:
            wire.sock.close()

    def call(self, method, fds=(), **parameters):
        return list(self.replies(method, parameters, fds))[0][0]

    def open_images(self, disks=None):
        """The images and their descriptors, as refpointd opens them."""
        images, fds = [], []
        for disk, path in (disks or self.disks).items():
            try:
                fd = os.open(path, os.O_RDWR | os.O_DIRECT)
            except OSError:
                fd = os.open(path, os.O_RDWR)
            fds.append(fd)
            images.append({'id': disk, 'path': path, 'stamp': stamp(path)})
        return images, fds

    def bind(self):
        if not self.listener:
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(self.nbd_path)
            self.listener.listen(20)
        return self.listener.fileno()

    def with_images(self, method, more_fds=(), **parameters):
        images, fds = self.open_images()
        try:
            return self.call(method, fds + list(more_fds), images=images,
                             **parameters)
        finally:
            for fd in fds:
                os.close(fd)

    def initialize(self, **parameters):
        images, fds = self.open_images()
        try:
            return self.call(
                'Initialize', fds, **{
                    'uuid': self.uuid, 'owner': '', 'force_raw': False,
                    'hot_regions': 0, 'max_points': 0,
                    'disks': [{'id': i['id'], 'path': i['path']}
                              for i in images],
                    'sizes': [i['stamp']['bytes'] for i in images],
                    **parameters})
        finally:
            for fd in fds:
                os.close(fd)

    def serve(self):
        return self.with_images('Serve', [self.bind()])['status']

    def serve_at_start(self):
        """What Start shall be answered from now on."""
        def answer():
            images, fds = self.open_images()
            return images, fds + [self.bind()]
        self.daemon.serve = answer

    def status(self):
        return self.call('Status')['status']

    def threads(self):
        """The names of the worker's threads, as `ps -T` shows them."""
        names = []
        tasks = f'/proc/{self.process.pid}/task'
        for task in os.listdir(tasks):
            with open(f'{tasks}/{task}/comm', encoding='utf-8') as f:
                names.append(f.read().strip())
        return names

    def serving(self):
        return wait_until('serving',
                          lambda: self.status()['state'] == 'serving')

    def create(self, **parameters):
        return self.call('Create', **parameters)['point']['id']

    def changes(self, since, until=None, fds=(), **parameters):
        """What Changes says, its replies put together: by disk."""
        found = {}
        if until:
            parameters['until'] = until
        for reply, _ in self.replies('Changes', {'since': since, **parameters},
                                     fds, more=True):
            assert reply['since'] == since and reply['until'] == until
            for disk in reply['disks']:
                entry = found.setdefault(disk['id'], disk)
                if entry is not disk:
                    entry['extents'] += disk['extents']
        return found

    # ---- guests

    def guest(self, disk, contexts=()):
        h = nbd.NBD()
        h.set_export_name(disk)
        for context in contexts:
            h.add_meta_context(context)
        h.connect_unix(self.nbd_path)
        return h


def blocks(entry):
    """The block numbers of an entry of `disks`."""
    found = set()
    for e in entry['extents']:
        found.update(range(e['offset'] // BLOCK,
                           -(-(e['offset'] + e['length']) // BLOCK)))
    return found


def dirty_blocks(handle, context, size):
    """The blocks that block status calls dirty."""
    found, at = set(), 0

    while at < size:
        covered = []

        def extents(name, offset, entries, _):
            if name == context:
                position = offset
                for length, flags in zip(entries[::2], entries[1::2]):
                    if flags:
                        found.update(range(position // BLOCK,
                                           -(-(position + length) // BLOCK)))
                    position += length
                covered.append(position)
            return 0
        handle.block_status(min(size - at, 1 << 30), at, extents)
        at = covered[0]
    return found


class Case(unittest.TestCase):
    maxDiff = None

    def world(self, **sizes):
        w = World(sizes or {'root': 64 * MIB})
        self.addCleanup(w.close)
        self.addCleanup(self.show_log, w)
        return w

    def show_log(self, w):
        result = self._outcome.result
        if any(t is self for t, _ in result.failures + result.errors) or \
                (w.process and w.process.poll() not in (None, 0, -9)):
            sys.stderr.write(f'---- {self.id()}\n{w.log()}')

    def defined(self, **sizes):
        w = self.world(**sizes)
        w.start()
        w.initialize()
        return w

    def served(self, **sizes):
        w = self.defined(**sizes)
        w.serve()
        return w

    def refuses(self, name, fn, *args, **kwargs):
        with self.assertRaises(CallError) as caught:
            fn(*args, **kwargs)
        self.assertEqual(caught.exception.name, name, str(caught.exception))
        return str(caught.exception)


def terminate(process):
    process.send_signal(signal.SIGTERM)
