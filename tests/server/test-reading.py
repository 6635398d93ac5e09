#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Readers of snapshots: stock NBD clients, and what they may not do to a guest.

The guest of these tests is one connection that writes without a pause.  What a
snapshot holds is what one reader made of it first, while the guest wrote on;
that this is the state of one instant is tests/server/test-snapshots.py's.
"""
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
from harness import blocks, process  # noqa: E402
from harness.refpoint import Refpointd, built, kill_now  # noqa: E402

try:
    import nbd
except ImportError:
    nbd = None

VM = 'v'
MIB = 1 << 20
SIZES = {'root': 96 * MIB, 'data': 8 * MIB}
SEED = int(os.environ.get('SEED', time.time_ns() % (1 << 32)))
BITMAP = 'qemu:dirty-bitmap:'


def connect(uri, contexts=(), strict=True):
    h = nbd.NBD()
    if not strict:
        h.set_strict_mode(0)
    for context in contexts:
        h.add_meta_context(context)
    h.connect_uri(uri)
    return h


def content(uri, size):
    h = connect(uri)
    data = b''.join(bytes(h.pread(MIB, at)) for at in range(0, size, MIB))
    h.shutdown()
    return data


def extents(uri, context, size):
    """[(offset, length, flags)] of all of the disk."""
    h = connect(uri, [context])
    found = []

    def note(name, at, entries, error):
        for length, flags in zip(entries[::2], entries[1::2]):
            found.append((at, length, flags))
            at += length

    while not found or found[-1][0] + found[-1][1] < size:
        at = found[-1][0] + found[-1][1] if found else 0
        h.block_status(min(size - at, 1 << 30), at, note)
    h.shutdown()
    return found


class Guest:
    """Writes random blocks, one after the other, until it is told to stop."""

    def __init__(self, uri, size):
        self.uri, self.size = uri, size
        self.rng = random.Random(SEED)
        self.done = 0
        self.worst = 0
        self.errors = []
        self.ending = False
        self.thread = threading.Thread(target=self.run, daemon=True)

    def again(self):
        def attempt():
            try:
                return connect(self.uri)
            except nbd.Error:
                return None
        return process.wait_until('the server to come back', attempt, 30)

    def run(self):
        h = self.again()
        try:
            while not self.ending:
                at = self.rng.randrange(self.size // 4096) * 4096
                data = self.rng.randbytes(4096)
                start = time.monotonic()
                try:
                    h.pwrite(data, at)
                except nbd.Error:
                    if h.aio_is_ready():
                        raise
                    h = self.again()
                    h.pwrite(data, at)
                self.worst = max(self.worst, time.monotonic() - start)
                self.done += 1
            h.shutdown()
        except (nbd.Error, process.Failure) as e:
            self.errors.append(e)

    def __enter__(self):
        self.thread.start()
        self.more(20)
        return self

    def __exit__(self, *_):
        self.ending = True
        self.thread.join()
        if self.errors:
            raise process.Failure(f'the guest got an error: {self.errors}')

    def more(self, count):
        want = self.done + count
        process.wait_until(f'write {want}', lambda: self.errors or
                           self.done >= want, 60)


class Case(unittest.TestCase):
    def setUp(self):
        print(f'SEED={SEED}')
        self.directory = process.scratch_dir('read-')
        self.addCleanup(process.remove_dir, self.directory)
        os.chmod(self.directory, 0o755)
        root = os.path.join(self.directory, 'root')
        os.mkdir(root, 0o755)
        self.daemon = Refpointd(root)
        self.addCleanup(self.daemon.close)
        self.daemon.start()
        rng = random.Random(SEED)
        disks = []
        for disk, size in SIZES.items():
            path = os.path.join(self.directory, f'{disk}.img')
            with open(path, 'wb') as f:
                for _ in range(100):  # what is not written is a hole
                    f.seek(rng.randrange(size // 65536) * 65536)
                    f.write(rng.randbytes(65536))
                f.truncate(size)
            disks.append(f'--disk={disk}={path}')
        self.daemon.cli('define', VM, *disks)
        self.daemon.cli('serve', VM)
        status = self.daemon.wait_serving(VM)
        self.live = {d['id']: d['nbd_uri'] for d in status['disks']}
        self.pid = status['worker_pid']

    def guest(self, disk='root'):
        return Guest(self.live[disk], SIZES[disk])

    def snapshot(self):
        """Its id, and the URIs of its disks."""
        s = self.daemon.call('Snapshot', vm=VM)['snapshot']
        self.assertEqual(s['state'], 'valid')
        return s['id'], {d['id']: d['nbd_uri'] for d in s['disks']}

    def snapshots(self):
        return {s['id']: s
                for s in self.daemon.call('Snapshots', vm=VM)['snapshots']}

    def drop(self, snapshot):
        self.daemon.call('Drop', vm=VM, snapshot=snapshot)

    def path(self, name):
        return os.path.join(self.directory, name)


class Tools(Case):
    """nbdinfo, nbdcopy, qemu-img and libnbd see one and the same image."""

    def copies(self, uri, size):
        """What each of them makes of it, in files."""
        a, b, c = (self.path(x) for x in 'abc')
        process.run(['nbdcopy', uri, a])
        process.run(['nbdcopy', '--connections=8', '--requests=64', uri, b])
        process.run(['qemu-img', 'convert', '-f', 'raw', '-O', 'raw', uri, c])
        for path in (a, b, c):
            self.assertEqual(os.path.getsize(path), size)
            with open(path, 'rb') as f:
                yield f.read()

    def test_copies_are_equal_while_the_guest_writes(self):
        with self.guest() as guest:
            snapshot, uris = self.snapshot()
            for disk, size in SIZES.items():
                first = content(uris[disk], size)
                for copy in self.copies(uris[disk], size):
                    self.assertTrue(copy == first, disk)
            guest.more(50)
            live = content(self.live['root'], SIZES['root'])
            self.assertTrue(content(uris['root'], SIZES['root']) != live)
        self.drop(snapshot)

    def test_what_nbdinfo_says(self):
        old = self.daemon.create(VM)['id']
        snapshot, uris = self.snapshot()
        young = self.daemon.create(VM)['id']
        info = json.loads(process.run(
            ['nbdinfo', '--json', '--list', uris['root']]))
        self.assertEqual([e['export-name'] for e in info['exports']],
                         list(SIZES))
        for export in info['exports']:
            self.assertTrue(export['is_read_only'])
            self.assertTrue(export['can_multi_conn'])
            self.assertFalse(export['can_trim'] or export['can_zero'])
            self.assertEqual(export['export-size'],
                             SIZES[export['export-name']])
            self.assertEqual(sorted(export['contexts']),
                             sorted(['base:allocation', BITMAP + old]))
        for other in (young, snapshot):
            h = connect(uris['root'], [BITMAP + other])
            self.assertFalse(h.can_meta_context(BITMAP + other), other)
            h.shutdown()

    def test_allocation_is_that_of_the_instant(self):
        """A hole that the guest fills, and data that it trims, stay so."""
        before = extents(self.live['data'], 'base:allocation', SIZES['data'])
        snapshot, uris = self.snapshot()
        h = connect(self.live['data'])
        for at in range(0, SIZES['data'], MIB):
            h.pwrite(b'x' * MIB, at)
        h.trim(MIB, 0)
        h.shutdown()
        after = extents(uris['data'], 'base:allocation', SIZES['data'])
        covered = blocks.Blocks(SIZES['data'])
        for at, length, flags in after:
            if not flags:
                covered.add(at, length)
        for at, length, flags in before:
            if not flags:
                covered.remove(at, length)
        data = content(uris['data'], SIZES['data'])
        for at, length in covered.extents():
            self.assertEqual(data[at:at + length].count(0), length,
                             'more data than there was, and no zeros')
        for at, length, flags in after:
            if flags:
                self.assertEqual(data[at:at + length].count(0), length)
        mapped = json.loads(process.run(
            ['qemu-img', 'map', '--output=json', '-f', 'raw', uris['data']]))
        self.assertEqual([(e['start'], e['length'], e['zero'])
                          for e in mapped],
                         [(at, n, bool(flags)) for at, n, flags in after])

    def test_what_changed_is_fixed_by_the_instant(self):
        with self.guest() as guest:
            point = self.daemon.create(VM)['id']
            guest.more(100)
            snapshot, uris = self.snapshot()
            answers = []
            for _ in range(2):
                answer = self.daemon.changes(VM, point, snapshot, 'root')
                expected = blocks.from_extents(
                    SIZES['root'], answer['disks'][0]['extents'])
                found = blocks.Blocks(SIZES['root'])
                for at, length, flags in extents(
                        uris['root'], BITMAP + point, SIZES['root']):
                    if flags:
                        found.add(at, length)
                self.assertEqual(len(found - expected), 0)
                self.assertEqual(len(expected - found), 0)
                self.assertGreater(len(found), 50)
                answers.append(list(found.extents()))
                guest.more(100)
            self.assertEqual(answers[0], answers[1])
            h = connect(uris['root'], [BITMAP + point])
            self.daemon.call('Destroy', vm=VM, point=point)
            h.block_status(MIB, 0, lambda *_: 0)  # a fact stays one
            h.shutdown()

    def test_nothing_can_be_changed(self):
        snapshot, uris = self.snapshot()
        first = content(uris['data'], SIZES['data'])
        h = connect(uris['data'], strict=False)
        for change in (lambda: h.pwrite(b'x' * 4096, 0),
                       lambda: h.trim(4096, 0), lambda: h.zero(4096, 0)):
            with self.assertRaises(nbd.Error) as caught:
                change()
            self.assertEqual(caught.exception.errno, 'EPERM')
        h.flush()
        h.shutdown()
        self.assertTrue(content(uris['data'], SIZES['data']) == first)
        self.assertTrue(content(self.live['data'], SIZES['data']) == first)


class Apart(Case):
    """Readers and the guest do not meet."""

    def stalled(self, uri, count=64):
        """Asks for much, and takes nothing."""
        h = connect(uri)
        buffers = [nbd.Buffer(2 * MIB) for _ in range(count)]
        for i, buffer in enumerate(buffers):
            h.aio_pread(buffer, i % 40 * 2 * MIB)
        return h, buffers

    def test_a_reader_that_stalls_keeps_nobody_else_waiting(self):
        with self.guest() as guest:
            one, uris = self.snapshot()
            two, others = self.snapshot()
            readers = [self.stalled(uris['root']) for _ in range(4)]
            guest.worst = 0
            guest.more(3000)
            first = content(others['root'], SIZES['root'])
            self.assertLess(guest.worst, 2)
            status = self.daemon.status(VM)
            self.assertLess(status['inflight_bytes'], MIB,
                            "held of the guest's memory")
            # the same snapshot is read on as well, if not at full speed
            self.assertTrue(content(uris['data'], SIZES['data']))
            self.assertTrue(content(others['root'], SIZES['root']) == first)
            start = time.monotonic()
            self.drop(one)
            self.assertLess(time.monotonic() - start, 5)
            self.assertEqual(list(self.snapshots()), [two])
            for h, _ in readers:
                with self.assertRaises(nbd.Error):
                    while h.aio_in_flight():
                        h.poll(10000)
                    raise AssertionError('all was answered')

    def test_a_reader_that_goes_on_late_gets_what_it_asked_for(self):
        with self.guest() as guest:
            _, uris = self.snapshot()
            first = content(uris['root'], SIZES['root'])
            h, buffers = self.stalled(uris['root'], 30)
            guest.more(3000)
            time_limit = time.monotonic() + 60
            while h.aio_in_flight() and time.monotonic() < time_limit:
                h.poll(1000)
            for i, buffer in enumerate(buffers):
                self.assertTrue(buffer.to_bytearray() ==
                                first[i * 2 * MIB:(i + 1) * 2 * MIB], i)

    def test_no_more_connections_than_are_allowed(self):
        _, uris = self.snapshot()
        _, others = self.snapshot()
        held = [connect(uris['data']) for _ in range(16)]
        with self.assertRaises(nbd.Error):
            connect(uris['data'])
        connect(others['data']).shutdown()
        connect(self.live['data']).shutdown()
        held.pop().shutdown()
        process.wait_until('room', lambda: self.tries(uris['data']))

    @staticmethod
    def tries(uri):
        try:
            connect(uri).shutdown()
            return True
        except nbd.Error:
            return False

    def test_a_drop_cuts_off_a_copy(self):
        with self.guest() as guest:
            kept, others = self.snapshot()
            for _ in range(3):
                one, uris = self.snapshot()
                copy = subprocess.Popen(
                    ['nbdcopy', '--connections=2', uris['root'],
                     self.path('copy')], stderr=subprocess.DEVNULL)
                h = connect(uris['root'])
                h.pread(4096, 0)
                start = time.monotonic()
                self.drop(one)
                self.assertLess(time.monotonic() - start, 5)
                with self.assertRaises(nbd.Error):
                    h.pread(4096, 0)
                copy.wait(20)
                with self.assertRaises(nbd.Error):
                    connect(uris['root'])
            guest.more(50)
            self.assertTrue(content(others['data'], SIZES['data']))
            self.assertEqual(list(self.snapshots()), [kept])


class Ends(Case):
    def test_a_reader_comes_back_after_the_worker_was_killed(self):
        with self.guest() as guest:
            point = self.daemon.create(VM)['id']
            guest.more(50)
            one, uris = self.snapshot()
            first = content(uris['root'], SIZES['root'])
            changed = extents(uris['root'], BITMAP + point, SIZES['root'])
            for _ in range(3):
                h = connect(uris['root'])
                self.assertTrue(h.pread(MIB, 0) == first[:MIB])
                guest.more(50)
                kill_now(self.pid)
                with self.assertRaises(nbd.Error):
                    h.pread(4096, 0)
                self.pid = self.daemon.wait_serving(
                    VM, self.pid)['worker_pid']
                process.wait_until('readers to be heard',
                                   lambda: Apart.tries(uris['root']))
                guest.more(50)
                self.assertTrue(content(uris['root'], SIZES['root']) == first)
            self.assertEqual(
                extents(uris['root'], BITMAP + point, SIZES['root']), changed)
        self.drop(one)

    def test_unserve_cuts_off_readers_and_serve_lets_them_in_again(self):
        one, uris = self.snapshot()
        first = content(uris['data'], SIZES['data'])
        h, _ = connect(uris['data']), self.daemon.cli('unserve', VM)
        with self.assertRaises(nbd.Error):
            h.pread(4096, 0)
        self.assertEqual([d['nbd_uri'] for d in self.snapshots()[one]['disks']],
                         [None, None])
        self.daemon.cli('serve', VM)
        self.daemon.wait_serving(VM)
        self.assertTrue(content(uris['data'], SIZES['data']) == first)

    def test_refpointd_may_be_another_one(self):
        """A worker that has lost its line gets a listener all the same."""
        one, uris = self.snapshot()
        self.daemon.kill()
        self.assertTrue(content(uris['data'], SIZES['data']))
        self.daemon.start()
        self.daemon.wait_serving(VM)
        two, others = self.snapshot()
        self.assertTrue(content(others['data'], SIZES['data']) ==
                        content(uris['data'], SIZES['data']))
        self.drop(one)
        self.drop(two)


if __name__ == '__main__':
    why = built() or (None if nbd else 'there is no Python module nbd '
                      '(python3-libnbd)')
    if why:
        print(f'skipped: {why}')
        sys.exit(77)
    unittest.main()
