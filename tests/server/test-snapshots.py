#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Snapshots of a served system, with real programs and a guest that writes.

The guest is a thread that writes blocks of two disks one after the other, each
with the number of the write in it.  So what both disks held at any instant is
known by the number of writes done then; a snapshot must be one such state of
both, no older than what was answered before it was asked for, and what changed
until or since it exactly the blocks of the writes in between.
"""
import glob
import os
import random
import struct
import subprocess
import sys
import threading
import time
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, 'tests'))
sys.path.insert(0, os.path.join(TOP, 'tests', 'daemon'))
from harness import process  # noqa: E402
from harness.refpoint import (RUN, Refpointd, built, kill_now,  # noqa: E402
                              parse_uri)
from varlink import Client, Error  # noqa: E402

try:
    import nbd
except ImportError:
    nbd = None

SEED = int(os.environ.get('SEED', time.time_ns() % (1 << 32)))
ROUNDS = int(os.environ.get('ROUNDS', 4))
VM = 'v'
BLOCK = 4096
SIZES = {'a': 16 << 20, 'b': 4 << 20}
NOBODY = '01234567-89ab-4def-8123-456789abcdef'


BEFORE = {'a': 0xfedcba9876543210, 'b': 0}  # zeros are not copied


def block_of(number, disk=None):
    """What write NUMBER puts into its block; 0: what DISK had before."""
    return struct.pack('<Q', number or BEFORE[disk]) * (BLOCK // 8)


class Writer:
    """The guest.  `log[n]` is (disk, block) of write n + 1."""

    def __init__(self, uris, log):
        self.uris = uris
        self.log = log
        self.done = len(log)   # of which the answer came
        self.errors = []
        self.ending = False
        self.rng = random.Random(SEED + len(log))
        self.handles = {}
        self.thread = threading.Thread(target=self.run, daemon=True)

    def connect(self):
        handles = {}
        for disk, uri in self.uris.items():
            handles[disk] = nbd.NBD()
            handles[disk].connect_uri(uri)
        self.handles = handles
        return True

    def again(self):
        """As QEMU does: a server that has gone comes back."""
        def attempt():
            try:
                return self.connect()
            except nbd.Error:
                return False
        process.wait_until('the server to come back', attempt, 30)

    def write(self, number):
        disk, block = self.log[number - 1]
        while True:
            try:
                self.handles[disk].pwrite(block_of(number), block * BLOCK)
                return
            except nbd.Error:
                if self.handles[disk].aio_is_ready():
                    raise
            self.again()

    def one(self):
        disk = self.rng.choice('aaab')
        # the first blocks again and again, the others now and then
        blocks = SIZES[disk] // BLOCK
        block = self.rng.randrange(16 if self.rng.random() < 0.3 else blocks)
        self.log.append((disk, block))
        self.write(len(self.log))
        self.done = len(self.log)

    def run(self):
        try:
            while not self.ending:
                self.one()
        except (nbd.Error, process.Failure) as e:
            self.errors.append(e)

    def __enter__(self):
        self.connect()
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ending = True
        self.thread.join()
        for handle in self.handles.values():
            handle.shutdown()
        if self.errors:
            raise process.Failure(f'the guest got an error: {self.errors}')

    def more(self, count=50):
        """Waits for so many further writes."""
        want = self.done + count
        process.wait_until(f'write {want}', lambda: self.errors or
                           self.done >= want)


class World:
    """A refpointd with one system that is served."""

    def __init__(self, directory):
        self.root = os.path.join(directory, 'root')
        os.mkdir(self.root, 0o755)
        self.daemon = Refpointd(self.root)
        self.socket = os.path.join(self.root, 'run', 'admin.sock')
        self.log = []
        self.paths = {}
        for disk, size in SIZES.items():
            self.paths[disk] = os.path.join(directory, f'{disk}.img')
            with open(self.paths[disk], 'wb') as f:
                if BEFORE[disk]:
                    f.write(block_of(0, disk) * (size // BLOCK))
                f.truncate(size)

    def begin(self):
        self.daemon.start()
        self.daemon.cli('define', VM, *(
            f'--disk={disk}={path}' for disk, path in self.paths.items()))
        self.daemon.cli('serve', VM)

    def cli(self, *arguments):
        return self.daemon.cli(*arguments).strip()

    def fails(self, status, *arguments):
        """What the CLI says when it must end with STATUS."""
        done = subprocess.run([RUN, 'refpoint', '--root', self.root,
                               *arguments], capture_output=True, text=True,
                              timeout=60, check=False)
        if done.returncode != status:
            raise AssertionError(f'{arguments}: {done.returncode}, not '
                                 f'{status}: {done.stdout}{done.stderr}')
        return done.stderr

    def call(self, method, **parameters):
        client = Client(self.socket, 60)
        try:
            return client.call(f'org.refpoint.{method}', parameters)
        finally:
            client.close()

    def systems(self):
        """Points' and snapshots' ids, as Systems tells them."""
        client = Client(self.socket, 60)
        try:
            systems = [s for r in client.stream('org.refpoint.Systems',
                                                {'points': True})
                       for s in r['systems']]
        finally:
            client.close()
        points = [p['id'] for s in systems for p in s['points']]
        return points, [s['id'] for s in systems[0]['snapshots']]

    def snapshots(self):
        return self.daemon.json('snapshots', VM)['snapshots']

    def served(self, snapshot):
        """The snapshot, once it can be read."""
        def found():
            for s in self.snapshots():
                if s['id'] == snapshot and s['disks'][0]['nbd_uri']:
                    return s
            return None
        return process.wait_until('the snapshot to be served', found, 30, 0.1)

    def writer(self):
        status = self.daemon.wait_serving(VM)
        return Writer({d['id']: d['nbd_uri'] for d in status['disks']},
                      self.log)

    def scratch(self):
        """What lies in the store and runs for snapshots."""
        store = os.path.join(self.root, 'lib', 'vms', VM)
        return sorted(os.path.basename(p) for p in
                      glob.glob(f'{store}/scratch-*') +
                      [p for d in self.daemon.live_dirs()
                       for p in glob.glob(f'{d}/**/snapshot-*',
                                          recursive=True)])

    def sockets(self):
        return sorted(os.path.basename(p) for p in glob.glob(
            f'{self.root}/run/vm/{VM}/*.sock'))

    # ---- the judges

    def state(self, number):
        """Which write each block holds after NUMBER writes."""
        held = {disk: [0] * (size // BLOCK) for disk, size in SIZES.items()}
        for i, (disk, block) in enumerate(self.log[:number]):
            held[disk][block] = i + 1
        return held

    def read(self, snapshot):
        """Which write each block of a snapshot holds."""
        held = {}
        for disk in self.served(snapshot)['disks']:
            h = nbd.NBD()
            h.connect_uri(disk['nbd_uri'])
            assert h.is_read_only() and h.get_size() == disk['size']
            data = b''.join(bytes(h.pread(1 << 20, at))
                            for at in range(0, disk['size'], 1 << 20))
            h.shutdown()
            held[disk['id']] = []
            for at in range(0, len(data), BLOCK):
                number = struct.unpack_from('<Q', data, at)[0]
                if number == BEFORE[disk['id']]:
                    number = 0
                assert data[at:at + BLOCK] == block_of(
                    number, disk['id']), f'{disk["id"]}: {at} is torn'
                held[disk['id']].append(number)
        return held

    def instant(self, snapshot, least, most):
        """The number of writes before a snapshot, whose content is right."""
        held = self.read(snapshot)
        number = max(max(numbers) for numbers in held.values())
        assert least <= number <= most, f'{number}: not in {least}..{most}'
        assert held == self.state(number), f'not the state after {number}'
        return number

    def written(self, first, last):
        """Blocks of the writes after FIRST, up to LAST."""
        blocks = {disk: set() for disk in SIZES}
        for disk, block in self.log[first:last]:
            blocks[disk].add(block)
        return blocks

    def changed(self, since, until=None):
        answer = self.daemon.changes(VM, since, until)
        found = {}
        for disk in answer['disks']:
            assert disk['accuracy'] == 'exact', disk['reason']
            found[disk['id']] = {
                block for e in disk['extents'] for block in range(
                    e['offset'] // BLOCK,
                    (e['offset'] + e['length']) // BLOCK)}
        return found


class Case(unittest.TestCase):
    maxDiff = 2000

    def setUp(self):
        self.directory = process.scratch_dir('snap-')
        self.addCleanup(process.remove_dir, self.directory)
        os.chmod(self.directory, 0o755)
        self.w = World(self.directory)
        self.addCleanup(self.w.daemon.close)
        self.w.begin()

    def run(self, result=None):
        before = len(result.failures) + len(result.errors)
        super().run(result)
        if len(result.failures) + len(result.errors) > before:
            print(f'--- {self.id()}: SEED={SEED}\n{self.last_log}',
                  file=sys.stderr)

    def tearDown(self):
        self.last_log = '\n'.join(process.tail(path, 40)
                                  for path in self.w.daemon.logs())

    def taken(self, writer, *arguments):
        """(id, how many writes came before it)"""
        least = writer.done
        one = self.w.cli('snapshot', VM, *arguments)
        most = len(self.w.log)
        writer.more()
        return one, self.w.instant(one, least, most)

    def nothing_is_left(self):
        self.assertEqual(self.w.systems()[1], [])
        self.assertEqual(self.w.snapshots(), [])
        self.assertEqual(self.w.scratch(), [])
        self.assertEqual([s for s in self.w.sockets() if s not in
                          ('control.sock', 'nbd.sock')], [])


class Life(Case):
    def test_a_backups_cycles_under_writes(self):
        """Snapshot, what changed, content, convert; again and again."""
        w = self.w
        with w.writer() as writer:
            writer.more()
        point, at = w.daemon.create(VM)['id'], len(w.log)
        for _ in range(3):
            with w.writer() as writer:
                writer.more()
                one, number = self.taken(writer, '--label', 'nightly')
                self.assertEqual(w.changed(point, one),
                                 w.written(at, number))
                points, snapshots = w.systems()
                self.assertIn(point, points)
                self.assertNotIn(one, points)
                self.assertEqual(snapshots, [one])
                self.assertNotIn(one, [p['id'] for p in w.daemon.json(
                    'points', VM)['points']])
                writer.more()
                self.assertEqual(w.instant(one, number, number), number)
                self.assertEqual(w.cli('convert', VM, one), one)
                writer.more()
            told = w.daemon.json('points', VM)['points'][-1]
            self.assertEqual((told['id'], told['label'], told['type']),
                             (one, 'nightly', 'rct'))
            self.assertEqual(w.changed(point, one), w.written(at, number))
            self.assertEqual(w.changed(one), w.written(number, len(w.log)))
            self.nothing_is_left()
            point, at = one, number
        self.assertTrue(w.daemon.json('check', VM)['ok'])

    def test_what_is_refused(self):
        w = self.w
        gone = w.cli('snapshot', VM)
        self.assertEqual(w.cli('drop', VM, gone), '')
        for command in ('convert', 'drop'):
            text = w.fails(3, command, VM, gone)
            self.assertIn(f'there is no snapshot {gone}', text)
            self.assertIn('refpoint snapshots', text)
            w.fails(3, command, VM, 'x')
        ids = [w.cli('snapshot', VM) for _ in range(4)]
        self.assertIn('drop or convert one', w.fails(4, 'snapshot', VM))
        self.assertEqual([s['id'] for s in w.snapshots()], ids)
        self.assertEqual(w.cli('convert', VM, ids[0]), ids[0])
        w.fails(3, 'convert', VM, ids[0])
        w.fails(3, 'drop', VM, ids[0])      # it is a point now
        w.fails(3, 'destroy', VM, ids[1])   # and this one none yet
        self.assertEqual(w.systems(), ([ids[0]], ids[1:]))
        self.assertIn('snapshot', w.fails(4, 'resize', VM, 'a', '32M'))
        w.cli('rename', VM, ids[1], 'another')
        self.assertEqual(w.snapshots()[0]['label'], 'another')
        w.fails(5, 'snapshot', VM, '--consistency', 'application')
        w.fails(2, 'snapshot', VM, '--consistency', 'odd')
        w.cli('unserve', VM)
        self.assertIn('serve it first', w.fails(4, 'snapshot', VM))
        for one in ids[1:]:
            w.cli('drop', VM, one)
        self.nothing_is_left()

    def test_a_request_that_is_repeated_gives_the_same_snapshot(self):
        w = self.w
        one = w.cli('snapshot', VM, '--request-id', NOBODY)
        self.assertEqual(w.cli('snapshot', VM, '--request-id', NOBODY), one)
        self.assertEqual([s['id'] for s in w.snapshots()], [one])

    def test_while_it_is_not_served(self):
        w = self.w
        with w.writer() as writer:
            point = w.daemon.create(VM)['id']
            writer.more()
            kept, number = self.taken(writer)
            dropped, _ = self.taken(writer)
        w.cli('unserve', VM)
        for s in w.snapshots():
            self.assertEqual([d['nbd_uri'] for d in s['disks']],
                             [None, None])
            self.assertEqual(s['state'], 'valid')
        self.assertEqual(w.systems()[1], [kept, dropped])
        w.cli('drop', VM, dropped)
        self.assertEqual(w.systems()[1], [kept])
        # served again it can be read, and guests may write on
        w.cli('serve', VM)
        with w.writer() as writer:
            writer.more()
            self.assertEqual(w.instant(kept, number, number), number)
        w.cli('unserve', VM)
        self.assertEqual(w.cli('convert', VM, kept), kept)
        self.assertEqual(w.systems(), ([point, kept], []))
        w.cli('serve', VM)
        self.assertEqual(w.changed(kept), w.written(number, len(w.log)))
        self.nothing_is_left()

    def test_what_is_undefined_leaves_nothing(self):
        w = self.w
        w.cli('snapshot', VM)
        self.assertEqual(len(w.scratch()), 4, w.scratch())
        w.cli('unserve', VM)
        w.cli('undefine', VM)
        process.wait_until('all to be removed', lambda: not w.scratch() and
                           not w.sockets())

    def test_a_limit_that_is_reached_ends_the_snapshot_not_the_guest(self):
        w = self.w
        one = w.cli('snapshot', VM, '--limit', '64K')
        other = w.cli('snapshot', VM)
        with w.writer() as writer:
            writer.more(500)
            told = w.snapshots()[0]
            self.assertEqual((told['id'], told['state']), (one, 'invalid'))
            self.assertIn('limit', told['reason'])
            self.assertLessEqual(sum(d['scratch_bytes']
                                     for d in told['disks']), 64 << 10)
            self.assertEqual(told['limit_bytes'], 64 << 10)
            self.assertIn('1 of them invalid', w.cli('status', VM))
            self.assertEqual(
                [s['state'] for s in w.call('Systems', points=True)[
                    'systems'][0]['snapshots']], ['invalid', 'valid'])
            text = w.fails(4, 'convert', VM, one)
            self.assertIn(f'{one} is invalid, drop it: its limit', text)
            for disk in told['disks']:
                if not disk['nbd_uri']:
                    continue
                h = nbd.NBD()
                with self.assertRaises(nbd.Error):
                    h.connect_uri(disk['nbd_uri'])
                    h.pread(BLOCK, 0)
            w.cli('drop', VM, one)
            writer.more()
            self.assertEqual([s['id'] for s in w.snapshots()], [other])
            w.instant(other, 0, 0)
            w.cli('drop', VM, other)
        self.nothing_is_left()


class Kills(Case):
    def test_a_worker_that_is_killed_keeps_the_snapshot(self):
        w = self.w
        with w.writer() as writer:
            writer.more()
        point, at = w.daemon.create(VM)['id'], len(w.log)
        with w.writer() as writer:
            writer.more()
            one, number = self.taken(writer)
            for _ in range(3):
                pid = w.daemon.worker_pid(VM)
                kill_now(pid)
                w.daemon.wait_serving(VM, pid)
                writer.more()
                self.assertEqual(w.instant(one, number, number), number)
            self.assertEqual(w.cli('convert', VM, one), one)
            writer.more()
        self.assertEqual(w.changed(point, one), w.written(at, number))
        self.assertEqual(w.changed(one), w.written(number, len(w.log)))
        self.nothing_is_left()

    def job(self, method, **parameters):
        """A job whose caller may lose refpointd, or the worker."""
        try:
            self.w.call(f'{method}Job', vm=VM, **parameters)
        except (OSError, EOFError, Error):
            pass

    def settle(self):
        """Nothing runs, and all say the same."""
        w = self.w
        w.daemon.wait_serving(VM)

        def agree():
            try:
                jobs = w.call('Jobs')['jobs']
                there = [s['id'] for s in w.snapshots()]
                points = [p['id'] for p in
                          w.daemon.json('points', VM)['points']]
                return (w.systems() == (points, there) and
                        'running' not in [j['state'] for j in jobs])
            except process.Failure:
                return False
        process.wait_until('all to agree', agree, 60)

    def test_who_is_killed_in_the_middle_leaves_nothing(self):
        """refpointd, the worker or both, at random moments of each change."""
        w = self.w
        rng = random.Random(SEED)
        with w.writer() as writer:
            for i in range(ROUNDS * 3):
                method = ('Snapshot', 'Convert', 'Drop')[i % 3]
                who = rng.choice(('worker', 'refpointd', 'both'))
                more = {} if method == 'Snapshot' else {
                    'snapshot': w.cli('snapshot', VM)}
                pid = w.daemon.worker_pid(VM)
                thread = threading.Thread(target=self.job, args=(method,),
                                          kwargs=more)
                thread.start()
                time.sleep(rng.random() * 0.05)  # anywhere in it
                if who != 'worker':
                    w.daemon.kill()
                if who != 'refpointd':
                    kill_now(pid)
                thread.join()
                if who != 'worker':
                    w.daemon.start()
                self.settle()
                there = [s['id'] for s in w.snapshots()]
                points = w.systems()[0]
                if method == 'Convert':  # one of both, never both or none
                    self.assertEqual(
                        (more['snapshot'] in there) +
                        (more['snapshot'] in points), 1, (there, points))
                if method == 'Drop':
                    self.assertNotIn(more['snapshot'], points)
                self.assertLessEqual(len(there), 1)
                for one in there:
                    w.served(one)  # a right one, or it would not be there
                    w.instant(one, 0, len(w.log))
                    w.cli('drop', VM, one)
                self.nothing_is_left()
                writer.more(5)
        self.assertTrue(w.daemon.json('check', VM)['ok'])


def main():
    why = built() or (None if nbd else 'python3-libnbd is not installed')
    if why:
        print(f'SKIP: {why}')
        sys.exit(77)
    print(f'SEED={SEED} ROUNDS={ROUNDS}', flush=True)
    unittest.main(verbosity=2)


if __name__ == '__main__':
    main()
