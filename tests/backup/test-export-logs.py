#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""refpoint export of logs with real programs: what was written between two
points, put onto what the disks held at the first, is what they held at the
second; and whatever is in the way is named and leaves nothing.
"""
import filecmp
import glob
import json
import os
import shutil
import signal
import stat
import struct
import sys
import time
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, 'tests'))

sys.path.insert(0, os.path.join(TOP, 'tests', 'daemon'))
import varlink  # noqa: E402

from exporting import SEED, Case, Places  # noqa: E402
from harness import process  # noqa: E402
from harness.refpoint import built  # noqa: E402

CYCLES = 12 if os.environ.get('REFPOINT_SOAK') else 3
UNKNOWN = '01234567-89ab-4def-8123-456789abcdef'


class Logs:
    """For a Case: log-based points and what is made of their logs."""

    def setUp(self):
        super().setUp()
        # by default half of the disks
        self.daemon.cli('set-log-limit', 'v', '1G')

    def point(self):
        return self.daemon.json('create', 'v', '--type', 'log')['id']

    def replay(self, directory, disk, image):
        self.daemon.cli('replay', *sorted(glob.glob(
            f'{directory}/{disk}-*.hrl')), '--onto', image, '--offline')

    def empty(self, disk):
        path = os.path.join(self.dir, f'copy-{disk}')
        with open(path, 'wb') as f:
            f.truncate(self.sizes[disk])
        return path

    def same(self, path, model):
        with open(path, 'rb') as f:
            self.assertTrue(f.read() == model, f'{path} is not what was there')

    def stored(self, origin, disk):
        """The log of a disk in the store, and its sidecar."""
        number = sorted(self.sizes).index(disk)
        base = os.path.join(self.daemon.root, 'lib', 'vms', 'v',
                            f'log-{origin}-{number}')
        return base + '.hrl', base + '.side'


class Chains(Logs, Case):
    def test_logs_lead_from_point_to_point_of_a_writing_guest(self):
        first = base = self.point()
        copies = {d: self.empty(d) for d in self.sizes}
        self.begin_writing()
        for i in range(CYCLES):
            self.wait_writes()
            point, models = self.at_an_instant(self.point)
            done = self.export(point, self.target(f'{i}'))
            self.assertEqual(
                (done['content'], done['kind'], done['id'], done['base']),
                ('logs', 'point', point, base))
            self.assertEqual([d['id'] for d in done['disks']],
                             sorted(self.sizes))
            for disk, copy in copies.items():
                self.replay(self.target(f'{i}'), disk, copy)
                self.same(copy, models[disk])
            base = point
        self.stop_writing()
        done = self.export(base, self.target('all'), '--base', first,
                           '--disk', 'vdb')
        self.assertEqual([len(d['logs']) for d in done['disks']], [CYCLES])
        copy = self.empty('vdb')
        self.replay(self.target('all'), 'vdb', copy)
        self.same(copy, models['vdb'])

    def test_they_are_the_stores_own_and_need_no_disk(self):
        a = self.point()
        for disk, size in self.sizes.items():
            self.write(disk, os.urandom(1 << 20), 0)
            self.write(disk, bytes(4 << 20), 2 << 20)
            self.write(disk, os.urandom(512), size - 512)
        b = self.point()
        self.export(b, self.target('served'))
        self.daemon.cli('unserve', 'v')
        done = self.export(b, self.target())
        for disk in done['disks']:
            log, = disk['logs']
            self.assertEqual((log['origin'], log['previous']), (a, None))
            files = self.stored(a, disk['id'])
            names = log['file'], log['sidecar']
            self.assertEqual(names, (f'{disk["id"]}-0001.hrl',
                                     f'{disk["id"]}-0001.side'))
            for there, name in zip(files, names):
                for directory in self.target('served'), self.target():
                    here = os.path.join(directory, name)
                    self.assertTrue(filecmp.cmp(here, there, False), name)
                    self.assertLessEqual(
                        os.stat(here).st_blocks,
                        os.stat(there).st_blocks + 16, 'holes were filled')
            self.assertEqual(disk['file_bytes'],
                             sum(os.path.getsize(f) for f in files))
            self.assertLess(disk['data_bytes'], disk['file_bytes'] - (3 << 20))
        self.assertEqual(
            set(self.left(self.target())),
            {'refpoint.json', 'refpoint-state.json'} | {
                f'{d}-0001.{end}' for d in self.sizes
                for end in ('hrl', 'side')})

    def test_the_documents_say_what_there_is(self):
        a = self.point()
        self.daemon.create('v')
        b = self.point()
        done = self.export(b, self.target(), '--disk', 'vda')
        with open(self.target('x/refpoint.json'), encoding='utf-8') as f:
            config = json.load(f)
        with open(self.target('x/refpoint-state.json'),
                  encoding='utf-8') as f:
            state = json.load(f)
        self.assertEqual((config['vm'], config['id'], config['base']),
                         ('v', b, a))
        self.assertEqual([p['type'] for p in config['points']],
                         ['log', 'rct', 'log'])
        self.assertEqual([d['id'] for d in config['disks']], ['vda', 'vdb'])
        self.assertEqual(config['mac'], state['mac'])
        disk, = state['disks']
        self.assertEqual(
            [[x[k] for k in ('id', 'file', 'sidecar', 'bytes')]
             for x in disk['logs']],
            [[x[k] for k in ('id', 'file', 'sidecar', 'bytes')]
             for x in done['disks'][0]['logs']])
        # nothing is exported into it
        self.assertIn('is an export', self.refused(4, b, self.target('x/y')))

    def test_a_write_has_the_time_at_which_it_was_made(self):
        point = self.point()
        times = [time.time_ns()]
        for i in range(20):
            self.write('vda', bytes([i + 1]) * 4096, i * 4096)
            times.append(time.time_ns())
        self.point()
        with open(self.stored(point, 'vda')[1], 'rb') as f:
            f.seek(4096)
            records = f.read()
        told = [struct.unpack_from('<q', records, at + 32)[0]
                for at in range(0, len(records), 64) if records[at + 8] == 1]
        self.assertEqual(len(told), 20)
        for before, at, after in zip(times, told, times[1:]):
            self.assertTrue(before <= at <= after, (before, at, after))

    def test_disks_can_be_exported_all_the_same(self):
        self.point()
        self.write('vda', os.urandom(8192), 0)
        b = self.point()
        done = self.export(b, self.target(), '--content', 'disks')
        self.assertEqual(done['content'], 'disks')
        self.assertIn(f'vda-{b}.qcow2', self.left(self.target()))
        self.assertEqual(self.daemon.call(
            'Export', vm='v', source=b, disks=[])['exported']['content'],
            'logs')


class Refusals(Logs, Case):
    def test_a_base_that_is_none_is_named(self):
        rct = self.daemon.create('v')['id']
        a, b, c = self.point(), self.point(), self.point()
        for status, source, *options in (
                (2, a), (2, b, '--base', c), (2, b, '--base', b),
                (2, b, '--base', rct), (2, rct, '--content', 'logs'),
                (3, b, '--base', UNKNOWN),
                (3, UNKNOWN, '--content', 'logs')):
            said = self.refused(status, source, self.target(), *options)
            self.assertTrue(source in said or options[-1] in said, said)
        s = self.snapshot()
        self.refused(3, s, self.target(), '--content', 'logs')
        self.assertEqual(self.left(), [])

    def test_a_log_that_was_removed_is_named_with_the_reason(self):
        a, b, c = self.point(), self.point(), self.point()
        self.export(c, self.target('whole'), '--base', a)
        self.daemon.cli('drop-log', 'v', b)
        for options in ([], ['--base', a], ['--base', b]):
            said = self.refused(4, c, self.target(), *options)
            self.assertIn(b, said)
            self.assertIn('removed', said)
        self.assertEqual(self.left(), ['whole'])
        # up to it there are logs; but what it is exported as is disks now
        self.export(b, self.target('logs'), '--content', 'logs')
        self.assertEqual(self.export(b, self.target('disks'))['content'],
                         'disks')

    def test_a_point_that_goes_leaves_its_log_to_the_one_before(self):
        a, b = self.point(), self.point()
        self.write('vda', b'x' * 4096, 0)
        c = self.point()
        self.daemon.cli('destroy', 'v', b)
        done = self.export(c, self.target())
        self.assertEqual((done['base'], [len(d['logs'])
                                         for d in done['disks']]), (a, [2, 2]))
        copy = self.empty('vda')
        self.replay(self.target(), 'vda', copy)
        self.same(copy, b'x' * 4096 + bytes(self.sizes['vda'] - 4096))

    def test_a_place_that_cannot_be_is_refused(self):
        self.point()
        b = self.point()
        os.mkdir(self.target('full'))
        with open(self.target('full/x'), 'w', encoding='utf-8'):
            pass
        for place in 'full', 'full/x':
            self.assertIn('is there already',
                          self.refused(4, b, self.target(place)))
        self.assertIn('full/x', self.refused(1, b, self.target('full/x/y')))
        self.assertEqual(self.left(self.target('full')), ['x'])

    def test_an_empty_directory_is_taken_with_its_rights(self):
        self.point()
        b = self.point()
        os.mkdir(self.target())
        os.chmod(self.target(), 0o2710)
        self.export(b, self.target())
        self.assertEqual(stat.S_IMODE(os.stat(self.target()).st_mode), 0o2710)

    def test_what_changes_meanwhile_ends_up_in_no_file(self):
        a, b = self.point(), self.point()
        said = self.daemon.call('Export', vm='v', source=b, base=a,
                                disks=['vda'], content='logs')['exported']
        log, = said['disks'][0]['logs']
        client = varlink.Client(
            os.path.join(self.daemon.root, 'run', 'admin.sock'))
        self.addCleanup(client.close)
        for logs in ([UNKNOWN], [log['id'], log['id']]):
            files = [os.open(self.out, os.O_TMPFILE | os.O_RDWR)
                     for _ in range(2 * len(logs))]
            with self.assertRaises(varlink.Error) as caught:
                client.call('org.refpoint.Export', {
                    'vm': 'v', 'source': b, 'base': a, 'disks': ['vda'],
                    'content': 'logs', 'logs': logs}, files)
            self.assertEqual(caught.exception.name, 'InvalidState')
            self.assertIn('others', str(caught.exception))
            self.assertEqual([os.fstat(f).st_size for f in files],
                             [0] * len(files))
            for f in files:
                os.close(f)


class Many(Logs, Case):
    sizes = {f'd{i:02}': 1 << 20 for i in range(32)}

    def test_more_files_than_a_message_carries_are_refused(self):
        points = [self.point() for _ in range(5)]
        said = self.refused(4, points[-1], self.target(), '--base', points[0])
        self.assertIn('248', said)
        self.assertIn('--disk', said)
        self.assertEqual(self.left(), [])
        self.export(points[-1], self.target('some'), '--base', points[1])
        self.assertEqual(len(self.left(self.target('some'))), 32 * 3 * 2 + 2)


class Targets(Logs, Places):
    # more than may wait for a target's disk
    sizes = {'vda': 100 << 20, 'vdb': (8 << 20) + 512}

    def setUp(self):
        super().setUp()
        self.first = self.point()
        self.model = os.urandom(self.sizes['vda'])
        self.write('vda', self.model, 0)
        self.last = self.point()

    def test_a_full_target_is_named_and_left_clean(self):
        self.mount('tmpfs', 'tmpfs', 'size=8m')
        self.begin_writing()
        self.assertIn('No space left', self.refused(
            1, self.last, os.path.join(self.mounted, 'x')))
        self.assertEqual(self.left(self.mounted), [])
        self.wait_writes()
        self.stop_writing()
        self.export(self.last, self.target())

    def test_a_read_only_target_is_refused(self):
        self.mount('tmpfs', 'tmpfs', 'size=8m,ro')
        self.assertIn('Read-only', self.refused(
            1, self.last, os.path.join(self.mounted, 'x')))

    def begun(self):
        """An export whose target hangs, and the device that does."""
        device = self.slow_target()
        program = self.started(self.last, os.path.join(self.mounted, 'x'))
        process.wait_until('files', lambda: [
            x for x in self.left(self.mounted) if x.startswith('x.partial')])
        device.send_signal(signal.SIGSTOP)
        self.addCleanup(device.send_signal, signal.SIGCONT)
        return device, program

    @unittest.skipUnless(shutil.which('qemu-storage-daemon') and
                         os.path.exists('/dev/fuse'), 'no slow device here')
    def test_logs_and_disks_may_go_while_one_is_under_way(self):
        device, program = self.begun()
        self.daemon.cli('drop-log', 'v', self.first)
        process.wait_until('the log to go', lambda: not os.path.exists(
            self.stored(self.first, 'vda')[0]))
        self.daemon.cli('unserve', 'v')
        self.daemon.cli('serve', 'v')
        self.assertIsNone(program.poll())
        device.send_signal(signal.SIGCONT)
        self.assertEqual(program.wait(120), 0, program.stderr.read())
        copy = self.empty('vda')
        self.replay(os.path.join(self.mounted, 'x'), 'vda', copy)
        self.same(copy, self.model)

    @unittest.skipUnless(shutil.which('qemu-storage-daemon') and
                         os.path.exists('/dev/fuse'), 'no slow device here')
    def test_one_that_is_interrupted_leaves_nothing(self):
        device, program = self.begun()
        program.send_signal(signal.SIGINT)
        device.send_signal(signal.SIGCONT)
        self.assertEqual(program.wait(120), 1)
        self.assertIn('interrupted', program.stderr.read())
        self.assertEqual([x for x in self.left(self.mounted)
                          if x.startswith('x')], [])
        self.export(self.last, self.target())


if __name__ == '__main__':
    why = built()
    if why:
        print(f'SKIP: {why}')
        sys.exit(77)
    print(f'SEED={SEED}', flush=True)
    unittest.main(verbosity=2)
