# SPDX-License-Identifier: Apache-2.0
"""A guest that writes, a system to be exported and places to export it to."""
import glob
import json
import os
import random
import subprocess
import sys
import threading
import time
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, 'tests'))
import nbd  # noqa: E402

from harness import process  # noqa: E402
from harness.refpoint import Refpointd  # noqa: E402

SEED = int(os.environ.get('SEED', time.time_ns() % (1 << 32)))


class Guest(threading.Thread):
    """Writes to one disk until stop(); `model` is what the disk holds."""

    def __init__(self, socket, disk, size, rng):
        super().__init__(daemon=True)
        self.rng = rng
        self.size = size
        self.model = bytearray(size)
        self.between = threading.Lock()   # held over each write
        self.ended = threading.Event()
        self.failure = None
        self.writes = 0
        self.longest = 0.0
        self.handle = nbd.NBD()
        self.handle.set_export_name(disk)
        self.handle.connect_unix(socket)

    def write_one(self):
        length = self.rng.choice([512, 4096, 4096, 8192, 200 << 10])
        offset = self.rng.randrange((self.size - length) // 512 + 1) * 512
        data = bytes(length)
        begin = time.monotonic()
        if self.rng.random() < 0.2:
            self.handle.zero(length, offset)
        else:
            data = self.rng.randbytes(16) * (length // 16)
            self.handle.pwrite(data, offset)
        self.longest = max(self.longest, time.monotonic() - begin)
        self.model[offset:offset + length] = data
        self.writes += 1

    def run(self):
        while not self.ended.is_set():
            try:
                with self.between:
                    self.write_one()
            except nbd.Error as e:
                self.failure = e
                return
            time.sleep(0.001)

    def stop(self):
        self.ended.set()
        self.join()
        self.handle.shutdown()
        if self.failure:
            raise self.failure


class Case(unittest.TestCase):
    log = ''
    sizes = {'vda': 48 << 20, 'vdb': (8 << 20) + 512}

    def setUp(self):
        self.rng = random.Random(SEED)
        self.dir = process.scratch_dir('refpoint-exports.')
        self.addCleanup(process.remove_dir, self.dir)
        self.out = os.path.join(self.dir, 'out')
        os.mkdir(self.out)
        root = os.path.join(self.dir, 'root')
        os.mkdir(root, 0o755)
        self.daemon = Refpointd(root)
        self.addCleanup(self.daemon.close)
        self.daemon.start()
        self.images = {}
        for disk, size in self.sizes.items():
            self.images[disk] = os.path.join(self.dir, disk + '.img')
            with open(self.images[disk], 'wb') as f:
                f.truncate(size)
        self.daemon.cli('define', 'v', *[
            x for d, p in self.images.items() for x in ('--disk', f'{d}={p}')])
        self.daemon.cli('serve', 'v')
        self.guests = {}

    def run(self, result=None):
        bad = len(result.failures) + len(result.errors)
        super().run(result)
        if len(result.failures) + len(result.errors) > bad:
            sys.stderr.write(f'--- {self.id()}: log\n{self.log}\n')

    def tearDown(self):
        for guest in self.guests.values():
            guest.ended.set()
        self.log = process.tail(self.daemon.log, 40)

    # ---- the guest

    def begin_writing(self):
        socket = os.path.join(self.daemon.root, 'run', 'vm', 'v', 'nbd.sock')
        for disk, size in self.sizes.items():
            self.guests[disk] = Guest(socket, disk, size,
                                      random.Random(self.rng.random()))
            self.guests[disk].start()

    def wait_writes(self, n=50):
        for guest in self.guests.values():
            goal = guest.writes + n
            process.wait_until('writes of the guest',
                               lambda g=guest, m=goal:
                               g.failure or g.writes >= m, 60)

    def stop_writing(self):
        for guest in self.guests.values():
            guest.stop()
        models = {d: g.model for d, g in self.guests.items()}
        self.guests = {}
        return models

    def at_an_instant(self, make):
        """What MAKE returns, and what the disks hold then."""
        for guest in self.guests.values():
            guest.between.acquire()
        made = make()
        models = {d: bytes(g.model) for d, g in self.guests.items()}
        for guest in self.guests.values():
            guest.between.release()
        return made, models

    def write(self, disk, data, offset):
        handle = nbd.NBD()
        handle.set_export_name(disk)
        handle.connect_unix(os.path.join(self.daemon.root, 'run', 'vm', 'v',
                                         'nbd.sock'))
        for i in range(0, len(data), 1 << 20):
            handle.pwrite(data[i:i + (1 << 20)], offset + i)
        handle.shutdown()

    def snapshot(self):
        return self.daemon.json('snapshot', 'v')['id']

    # ---- the exports

    def target(self, name='x'):
        return os.path.join(self.out, name)

    def command(self, *arguments):
        return [os.path.join(TOP, 'run'), 'refpoint', '--root',
                self.daemon.root, 'export', 'v', *arguments]

    def started(self, *arguments):
        program = subprocess.Popen(
            self.command(*arguments), stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
            preexec_fn=process.die_with_parent)
        self.addCleanup(program.stdout.close)
        self.addCleanup(program.stderr.close)
        self.addCleanup(program.wait)
        self.addCleanup(program.kill)
        return program

    def export(self, *arguments):
        lines = self.daemon.cli('export', 'v', *arguments, '--json')
        return json.loads(lines.splitlines()[-1])['exported']

    def refused(self, status, *arguments):
        done = subprocess.run(self.command(*arguments), capture_output=True,
                              text=True, timeout=120, check=False)
        self.assertEqual(done.returncode, status, done.stderr)
        return done.stderr

    def left(self, directory=None):
        return sorted(os.listdir(directory or self.out))

    def scratch_files(self):
        return glob.glob(os.path.join(self.daemon.root, '**', 'scratch-*'),
                         recursive=True)

    def judge(self, path, model):
        subprocess.run(['qemu-img', 'check', '-q', path], check=True,
                       timeout=120)
        raw = os.path.join(self.dir, 'restored')
        subprocess.run(['qemu-img', 'convert', '-O', 'raw', path, raw],
                       check=True, timeout=120)
        with open(raw, 'rb') as f:
            self.assertTrue(f.read() == model, f'{path} is not what was there')

    def works(self, name='next'):
        """One more export, to prove that nothing is in its way."""
        s = self.snapshot()
        self.export(s, self.target(name))
        self.daemon.cli('drop', 'v', s)


def mount(kind, what, where, options):
    subprocess.run(['mount', '-t', kind, '-o', options, what, where],
                   check=True, timeout=30, capture_output=True)


class Places(Case):
    """File systems that are full, or slow."""

    def setUp(self):
        super().setUp()
        self.mounted = os.path.join(self.dir, 'mounted')
        os.mkdir(self.mounted)

    def mount(self, kind, what, options='defaults'):
        try:
            mount(kind, what, self.mounted, options)
        except subprocess.CalledProcessError as e:
            self.skipTest(f'no {kind} can be mounted: {e.stderr.decode()}')
        self.addCleanup(subprocess.run, ['umount', '-l', self.mounted],
                        check=False)

    def slow_target(self):
        """A file system on a device of 20 MB/s, which can be made to hang."""
        disk = os.path.join(self.dir, 'slow')
        shown = os.path.join(self.dir, 'shown')
        with open(disk, 'wb') as f:
            f.truncate(128 << 20)
        with open(shown, 'wb'):
            pass
        daemon = process.start([
            'qemu-storage-daemon',
            '--blockdev', f'driver=file,filename={disk},node-name=f',
            '--object', 'throttle-group,id=t,x-bps-write=20000000',
            '--blockdev', 'driver=throttle,throttle-group=t,file=f,'
            'node-name=t', '--export', 'type=fuse,id=e,node-name=t,'
            f'mountpoint={shown},writable=on'],
            os.path.join(self.dir, 'slow.log'))
        self.addCleanup(process.stop, daemon)
        process.wait_until('the slow device', lambda: os.path.getsize(shown) or
                           daemon.poll() is not None)
        loop = subprocess.run(['losetup', '-f', '--show', shown], timeout=30,
                              capture_output=True, text=True, check=False)
        if loop.returncode:
            self.skipTest(f'no loop device: {loop.stderr}')
        device = loop.stdout.strip()
        self.addCleanup(subprocess.run, ['losetup', '-d', device],
                        check=False)
        subprocess.run(['mkfs.ext4', '-q', '-O', '^has_journal', device],
                       check=True, timeout=60)
        self.mount('ext4', device)
        return daemon
