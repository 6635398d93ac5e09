#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""refpoint export with real programs: a chain of exports reads as the disks
did at each instant while a guest writes on, and targets that are full,
read-only, slow, hanging or gone cost their export and nothing else.
"""
import collections
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, 'tests'))
import nbd  # noqa: E402

sys.path.insert(0, os.path.join(TOP, 'tests', 'daemon'))
import varlink  # noqa: E402

from exporting import SEED, Case, Places, mount  # noqa: E402
from harness import process  # noqa: E402
from harness.refpoint import Failure, built, gone, kill_now  # noqa: E402

CYCLES = 20 if os.environ.get('REFPOINT_SOAK') else 4
UNKNOWN = '01234567-89ab-4def-8123-456789abcdef'


class Chains(Case):
    def test_each_instant_of_a_writing_guest_can_be_restored(self):
        self.begin_writing()
        chain, base = os.path.join(self.dir, 'chain'), None
        os.mkdir(chain)
        truths = []
        for i in range(CYCLES):
            self.wait_writes()
            s, models = self.at_an_instant(self.snapshot)
            options = ['--base', base] if base else []
            done = self.export(s, self.target(f'{i}'), *options)
            self.assertEqual((done['kind'], done['id'], done['base']),
                             ('snapshot', s, base))
            for disk in done['disks']:
                self.assertEqual(disk['accuracy'], 'exact')
                os.rename(os.path.join(self.target(f'{i}'), disk['file']),
                          os.path.join(chain, disk['file']))
                truths.append((os.path.join(chain, disk['file']),
                               models[disk['id']]))
            base = json.loads(self.daemon.cli(
                'convert', 'v', s, '--json'))['id']
            self.assertEqual(base, s)
        self.stop_writing()
        for path, model in truths:
            self.judge(path, model)

    def test_a_point_is_exported_until_its_blocks_are_written_to(self):
        self.write('vda', b'a' * 8192, 0)
        p = self.daemon.create('v')['id']
        self.write('vda', b'b' * 8192, 8192)
        q = self.daemon.create('v')['id']
        self.write('vda', b'c' * 4096, 1 << 20)    # not in (p, q]
        done = self.export(q, self.target(), '--base', p, '--disk', 'vda')
        self.assertEqual([(d['id'], d['data_bytes']) for d in done['disks']],
                         [('vda', 8192)])
        self.assertEqual(done['kind'], 'point')
        self.assertIn('4096 bytes', self.refused(4, q, self.target('full')))
        self.write('vda', b'd' * 512, 12288 - 512)
        self.assertIn('4096 bytes', self.refused(
            4, q, self.target('late'), '--base', p))
        self.export(q, self.target('b'), '--disk', 'vdb')
        self.assertEqual(self.left(), ['b', 'x'])
        self.assertEqual(self.daemon.json('snapshots', 'v'),
                         {'snapshots': []})

    def test_growth_alone_overwrites_nothing_of_a_point(self):
        """vdb ends within a block, which growth makes one that changed."""
        size = self.sizes['vdb']
        model = os.urandom(size)
        self.write('vdb', model, 0)
        p = self.daemon.create('v')['id']
        self.daemon.cli('resize', 'v', 'vdb', str(size + (1 << 20)))
        changes, = [d for d in self.daemon.changes('v', p)['disks']
                    if d['id'] == 'vdb']
        self.assertEqual(changes['extents'][0]['offset'], size // 4096 * 4096)
        self.export(p, self.target('a'), '--disk', 'vdb')
        self.judge(f'{self.target("a")}/vdb-{p}.qcow2', model)
        self.write('vdb', b'x' * 512, size + 4096)
        self.export(p, self.target('b'), '--disk', 'vdb')
        self.write('vdb', b'x' * 512, size - 512)
        self.assertIn('4096 bytes', self.refused(
            4, p, self.target('c'), '--disk', 'vdb'))

    def test_what_makes_no_sense_is_refused(self):
        p = self.daemon.create('v')['id']
        s = self.snapshot()
        self.assertIn(UNKNOWN, self.refused(3, UNKNOWN, self.target()))
        self.assertIn(UNKNOWN, self.refused(3, s, self.target(), '--base',
                                            UNKNOWN))
        self.refused(2, p, self.target(), '--base', s)
        for x in p, s:       # a file that would back itself
            self.assertIn('based on', self.refused(2, x, self.target(),
                                                   '--base', x))
        self.refused(3, s, self.target(), '--disk', 'vdz')
        self.daemon.cli('unserve', 'v')
        self.assertIn('not served', self.refused(4, s, self.target()))
        self.assertEqual(self.left(), [])

    def test_nothing_is_exported_into_an_export(self):
        s = self.snapshot()
        self.export(s, self.target('a'))
        os.mkdir(self.target('a/deep'))
        os.symlink(self.target('a/deep'), self.target('link'))
        for below in 'a/b', 'a/deep/b', 'link/b', 'a/deep':
            said = self.refused(4, s, self.target(below))
            self.assertIn(f"'{self.target(below)}'", said)
            self.assertIn(f"'{os.path.realpath(self.target('a'))}'", said)
        self.refused(4, s, self.out)
        os.rmdir(self.target('a/deep'))
        self.assertEqual(self.left(self.target('a')),
                         sorted([f'vda-{s}.qcow2', f'vdb-{s}.qcow2',
                                 'refpoint.json']))
        os.remove(self.target('link'))
        # what only has such a file's name says nothing
        with open(self.target('a/refpoint.json'), encoding='ascii') as f:
            good = f.read()
        for name, text in (('b', ''), ('c', '{}'), ('d', '[' * 5000),
                           ('e', good + ' ' * (1 << 20))):
            os.mkdir(self.target(name))
            with open(self.target(name + '/refpoint.json'), 'w',
                      encoding='ascii') as f:
                f.write(text)
            self.export(s, self.target(name + '/x'))
        os.mkdir(self.target('f'))
        os.mkfifo(self.target('f/refpoint.json'))
        self.export(s, self.target('f/x'))
        os.mkdir(self.target('g'))
        with open(self.target('g/refpoint.json'), 'w', encoding='ascii') as f:
            f.write(good)
        self.refused(4, s, self.target('g/x'))
        if os.geteuid() == 0:
            os.chown(self.target('g/refpoint.json'), 65534, 65534)
            self.export(s, self.target('g/x'))

    def test_without_disks_it_says_what_it_is_of(self):
        p, s = self.daemon.create('v')['id'], self.snapshot()
        for source, kind in (p, 'point'), (s, 'snapshot'):
            said = self.daemon.call('Export', vm='v', source=source,
                                    disks=[])['exported']
            self.assertEqual((said['id'], said['kind'], said['disks']),
                             (source, kind, []))
        said = self.daemon.call('Export', vm='v', source=s, base=p, disks=[])
        self.assertEqual(said['exported']['base'], p)
        for source, base in (UNKNOWN, p), (s, UNKNOWN), (s, s), (p, s):
            with self.assertRaises(Failure):
                self.daemon.call('Export', vm='v', source=source, base=base,
                                 disks=[])

    def test_what_is_not_known_is_not_called_an_increment(self):
        p = self.daemon.create('v')['id']
        self.daemon.cli('unserve', 'v')
        with open(self.images['vdb'], 'r+b') as f:
            f.write(b'somebody else')
        self.daemon.cli('serve', 'v')
        s = self.snapshot()
        self.assertIn('full', self.refused(4, s, self.target(), '--base', p))
        self.export(s, self.target('a'), '--base', p, '--disk', 'vda')
        self.export(s, self.target('full'))

    def test_two_at_once_do_not_disturb_each_other(self):
        self.begin_writing()
        self.wait_writes()
        s, models = self.at_an_instant(self.snapshot)
        programs = [self.started(s, self.target(str(i))) for i in range(2)]
        for program in programs:
            self.assertEqual(program.wait(120), 0, program.stderr.read())
        self.stop_writing()
        for i in range(2):
            for disk, model in models.items():
                self.judge(f'{self.target(str(i))}/{disk}-{s}.qcow2', model)

    def test_a_snapshot_that_goes_takes_its_export_along(self):
        self.write('vda', os.urandom(self.sizes['vda']), 0)
        for _ in range(30):          # it may be faster
            s = self.snapshot()
            program = self.started(s, self.target())
            process.wait_until('files', self.left)
            self.daemon.cli('drop', 'v', s)
            if program.wait(60) != 0:
                break
            process.remove_dir(self.target())
        self.assertEqual(program.returncode, 4)
        self.assertIn('dropped', program.stderr.read())
        self.assertEqual(self.left(), [])


class Endings(Case):
    def setUp(self):
        super().setUp()
        self.write('vda', os.urandom(self.sizes['vda']), 0)

    def test_interrupted_at_any_time_it_leaves_nothing_or_all(self):
        s = self.snapshot()
        for i in range(CYCLES * 3):
            program = self.started(s, self.target(f'{i}'))
            if i % 2:
                process.wait_until('files or the end', lambda p=program:
                                   self.left() or p.poll() is not None)
            time.sleep(self.rng.random() * 0.15)
            os.kill(program.pid, self.rng.choice([signal.SIGINT,
                                                  signal.SIGTERM]))
            status = program.wait(60)
            if status == 0:
                self.assertEqual(self.left(), [f'{i}'])
                process.remove_dir(self.target(f'{i}'))
            self.assertIn(status, (0, 1, -signal.SIGINT, -signal.SIGTERM))
            self.assertEqual(self.left(), [])
        self.works()

    def test_what_a_killed_export_left_is_told_and_in_nobodys_way(self):
        s = self.snapshot()
        program = self.started(s, self.target())
        process.wait_until('files', self.left)
        program.kill()
        program.wait()
        for name in self.left():
            if name != 'x':
                done = subprocess.run(self.command(s, self.target()),
                                      capture_output=True, text=True,
                                      timeout=120, check=True)
                self.assertIn(name, done.stderr)
                self.assertEqual(self.left(), ['x', name])
        self.works()

    def test_a_worker_that_dies_is_named_and_the_next_one_exports(self):
        for i, by in enumerate((self.snapshot(), self.daemon.create('v')[
                'id'])):
            pid = self.daemon.worker_pid('v')
            program = self.started(by, self.target())
            process.wait_until('files', self.left)
            os.kill(pid, signal.SIGSTOP)
            kill_now(pid)
            status = program.wait(60)
            if status == 0:      # it was faster
                process.remove_dir(self.target())
            else:
                said = program.stderr.read()
                self.assertEqual(status, 7, said)
                self.assertIn("the worker of 'v'", said)
                self.assertNotIn('start it with', said)
            self.assertEqual(self.left(), [])
            self.daemon.wait_serving('v', not_pid=pid)
            self.export(by, self.target(f'again-{i}'))
            process.remove_dir(self.target(f'again-{i}'))
        # what a dead worker made for itself has gone, too
        self.assertEqual(len(self.daemon.json('snapshots', 'v')['snapshots']),
                         1)
        for _ in range(3):
            self.snapshot()

    def test_refpointd_that_dies_ends_it_and_its_successor_goes_on(self):
        s = self.snapshot()
        program = self.started(s, self.target())
        process.wait_until('files', self.left)
        self.daemon.kill()
        status = program.wait(60)
        if status == 0:
            process.remove_dir(self.target())
        else:
            self.assertEqual(status, 7, program.stderr.read())
        self.assertEqual(self.left(), [])
        self.daemon.start()
        self.works()

    def test_stopping_the_vm_ends_it(self):
        s = self.snapshot()
        program = self.started(s, self.target())
        process.wait_until('files', self.left)
        self.daemon.cli('unserve', 'v')
        if program.wait(60) == 0:
            process.remove_dir(self.target())
        self.assertEqual(self.left(), [])
        self.daemon.cli('serve', 'v')
        self.works()

    def test_a_target_that_vanishes_is_a_failure(self):
        s = self.snapshot()
        program = self.started(s, self.target())
        process.wait_until('files', self.left)
        process.remove_dir(os.path.join(self.out, self.left()[0]))
        if program.wait(60) != 0:
            self.assertEqual(program.returncode, 1)
            self.assertEqual(self.left(), [])
        self.works()


def waits_for_a_disk(pid):
    """A thread of process PID does, and cannot be woken."""
    for path in glob.glob(f'/proc/{pid}/task/*/stat'):
        with open(path, encoding='ascii') as f:
            if f.read().rpartition(')')[2].split()[0] == 'D':
                return True
    return False


def holders(path):
    """Processes but ours that have the file open."""
    wanted, found = os.stat(path), set()
    for fd in glob.glob('/proc/[0-9]*/fd/*'):
        try:
            if os.path.samestat(os.stat(fd), wanted):
                found.add(int(fd.split('/')[2]))
        except OSError:
            pass
    return found - {os.getpid()}


@unittest.skipUnless(os.geteuid() == 0 and shutil.which('fsfreeze'),
                     'only root can freeze a target')
class Hanging(Case):
    """Targets on a file system that is frozen: who writes there waits, and
    cannot even be killed."""
    sizes = {'vda': 8 << 20, 'vdb': 1 << 20}
    frozen = False

    def setUp(self):
        super().setUp()
        self.write('vda', os.urandom(self.sizes['vda']), 0)
        self.mounted = os.path.join(self.dir, 'mounted')
        os.mkdir(self.mounted)
        device = os.path.join(self.dir, 'device')
        with open(device, 'wb') as f:
            f.truncate(64 << 20)
        subprocess.run(['mkfs.ext4', '-q', device], check=True, timeout=60)
        try:
            mount('ext4', device, self.mounted, 'loop')
        except subprocess.CalledProcessError as e:
            self.skipTest(f'no ext4 can be mounted: {e.stderr.decode()}')
        self.addCleanup(subprocess.run, ['umount', '-l', self.mounted],
                        check=False)
        self.addCleanup(self.freeze, False)

    def freeze(self, on=True):
        if self.frozen == on:
            return
        subprocess.run(['fsfreeze', '-f' if on else '-u', self.mounted],
                       check=True, timeout=30)
        self.frozen = on

    def hang(self, n=1):
        """The paths of files that nothing can be written to any more."""
        paths = [os.path.join(self.mounted, str(i)) for i in range(n)]
        for path in paths:
            with open(path, 'wb'):
                pass
        self.freeze()
        return paths

    def begin(self, source, path):
        """An export of vda that hangs: its connection, and the process that
        waits for the target."""
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        client = varlink.Client(
            os.path.join(self.daemon.root, 'run', 'admin.sock'))
        self.addCleanup(client.close)
        client.send('org.refpoint.Export', {
            'vm': 'v', 'source': source, 'disks': ['vda']}, [fd], more=True)
        os.close(fd)
        waiting = process.wait_until(
            'somebody who waits for the target',
            lambda: [p for p in holders(path) if waits_for_a_disk(p)])
        return client, waiting[0]

    def outcome(self, client):
        try:
            while 'progress' in (got := client.answer()['parameters']):
                pass
            return got
        except varlink.Error as e:
            return e.name

    def reconnect(self, seconds):
        """What a guest does whose server is gone; how long that took it."""
        begin = time.monotonic()
        written = threading.Event()

        def run():
            while not written.is_set():
                try:
                    self.write('vda', b'x' * 4096, 0)
                    written.set()
                except nbd.Error:       # of the one that dies
                    time.sleep(0.05)
        threading.Thread(target=run, daemon=True).start()
        self.assertTrue(written.wait(seconds),
                        'the guest waits for the target')
        return time.monotonic() - begin

    def test_a_worker_that_dies_meanwhile_is_replaced_at_once(self):
        path, = self.hang()
        client, waiting = self.begin(self.snapshot(), path)
        pid = self.daemon.worker_pid('v')
        self.assertNotEqual(pid, waiting)
        os.kill(pid, signal.SIGKILL)
        self.assertLess(self.reconnect(20), 5)
        self.assertTrue(gone(pid))
        self.assertEqual(self.outcome(client), 'ServiceUnavailable')
        self.daemon.wait_serving('v', not_pid=pid)
        self.works()
        self.freeze(False)
        process.wait_until('nobody to hold the target',
                           lambda: not holders(path))

    def test_who_waits_has_nothing_that_others_need(self):
        path, = self.hang()
        _, waiting = self.begin(self.snapshot(), path)
        kinds = collections.Counter()
        for fd in os.listdir(f'/proc/{waiting}/fd'):
            if int(fd) > 2:
                at = os.readlink(f'/proc/{waiting}/fd/{fd}')
                kinds[at if at == path else at.split(':')[0]] += 1
        self.assertEqual(kinds, {path: 1, 'pipe': 1, 'socket': 1,
                                 '/memfd': 1})

    def test_one_that_is_given_up_ends_and_lets_go_of_its_source(self):
        p = self.daemon.create('v')['id']
        path, = self.hang()
        client, _ = self.begin(p, path)
        self.assertTrue(self.scratch_files())
        client.close()
        process.wait_until('its end', lambda: not self.scratch_files())
        self.assertTrue(holders(path))
        self.works()

    def test_more_can_be_had_until_too_many_hang(self):
        p = self.daemon.create('v')['id']
        paths = self.hang(8)
        for path in paths:
            client, _ = self.begin(p, path)
            client.close()
            process.wait_until('its end', lambda: not self.scratch_files())
        with self.assertRaisesRegex(Failure, 'targets that hang'):
            self.export(p, self.target('a'))
        self.freeze(False)
        process.wait_until('their end', lambda: not any(
            holders(path) for path in paths))
        self.works()

    def test_without_refpoint_target_the_export_fails_and_nothing_else(self):
        client, waiting = self.begin(self.snapshot(), *self.hang())
        self.begin_writing()
        os.kill(waiting, signal.SIGKILL)    # it dies of it
        self.wait_writes()
        self.freeze(False)
        self.assertEqual(self.outcome(client), 'Failed')
        self.assertIn('refpoint-target', process.tail(self.daemon.log, 10))
        self.wait_writes()
        self.stop_writing()
        self.works()


@unittest.skipUnless(os.geteuid() == 0, 'only root can mount a target')
class Targets(Places):
    # more than may wait for a target's disk
    sizes = {'vda': 100 << 20, 'vdb': (8 << 20) + 512}

    def setUp(self):
        super().setUp()
        self.write('vda', os.urandom(self.sizes['vda']), 0)

    def test_a_full_target_is_named_and_left_clean(self):
        self.mount('tmpfs', 'tmpfs', 'size=8m')
        s = self.snapshot()
        path = os.path.join(self.mounted, 'x')
        self.begin_writing()
        self.assertIn('No space left', self.refused(1, s, path))
        self.assertEqual(self.left(self.mounted), [])
        self.wait_writes()
        self.stop_writing()
        self.works()

    def test_a_read_only_target_is_refused(self):
        self.mount('tmpfs', 'tmpfs', 'size=8m,ro')
        s = self.snapshot()
        self.assertIn('Read-only', self.refused(
            1, s, os.path.join(self.mounted, 'x')))
        self.works()

    @unittest.skipUnless(shutil.which('qemu-storage-daemon') and
                         os.path.exists('/dev/fuse'), 'no slow device here')
    def test_a_target_that_hangs_keeps_nobody_else_waiting(self):
        device = self.slow_target()
        s = self.snapshot()
        self.begin_writing()
        program = self.started(s, os.path.join(self.mounted, 'x'))
        process.wait_until('files', lambda: [
            x for x in self.left(self.mounted) if x.startswith('x.partial')])
        device.send_signal(signal.SIGSTOP)
        try:
            for guest in self.guests.values():
                guest.longest = 0
            self.wait_writes(200)
            self.daemon.create('v')
            other = self.snapshot()
            self.export(other, self.target(), '--disk', 'vdb')
            self.daemon.cli('drop', 'v', other)
            self.daemon.cli('drop', 'v', s)
            self.assertIsNone(program.poll())
            self.wait_writes(200)
            self.assertLess(max(g.longest for g in self.guests.values()), 3)
            self.stop_writing()
            self.daemon.cli('unserve', 'v')
            self.daemon.cli('serve', 'v')
        finally:
            device.send_signal(signal.SIGCONT)
        self.assertIn(program.wait(120), (1, 4))
        self.assertEqual([x for x in self.left(self.mounted)
                          if x.startswith('x')], [])
        self.works()

    @unittest.skipUnless(shutil.which('qemu-storage-daemon') and
                         os.path.exists('/dev/fuse'), 'no slow device here')
    def test_who_gives_up_on_it_leaves_nothing_that_counts(self):
        device = self.slow_target()
        p = self.daemon.create('v')['id']
        program = self.started(p, os.path.join(self.mounted, 'x'))
        process.wait_until('files', lambda: [
            x for x in self.left(self.mounted) if x.startswith('x.partial')])
        process.wait_until('the snapshot of the export', self.scratch_files)
        path, = [os.path.join(self.mounted, x, y)
                 for x in self.left(self.mounted) if x.startswith('x.partial')
                 for y in self.left(os.path.join(self.mounted, x))
                 if y.startswith('vda')]
        device.send_signal(signal.SIGSTOP)
        try:
            process.wait_until('somebody who waits for the target', lambda:
                               [x for x in holders(path)
                                if waits_for_a_disk(x)])
            own = self.scratch_files()
            self.export(p, self.target(), '--disk', 'vdb')
            self.assertEqual(self.scratch_files(), own,
                             'another one swept it away')
            program.kill()
            process.wait_until('its end', lambda: not self.scratch_files())
        finally:
            device.send_signal(signal.SIGCONT)
        self.works()


if __name__ == '__main__':
    why = built() or (None if shutil.which('qemu-img')
                      else 'qemu-img is not installed')
    if why:
        print(f'SKIP: {why}')
        sys.exit(77)
    print(f'SEED={SEED}', flush=True)
    unittest.main(verbosity=2)
