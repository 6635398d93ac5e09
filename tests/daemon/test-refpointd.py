#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""refpointd with fake workers: definitions, workers' lives, calls, roles."""
import fcntl
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from rig import (Client, Error, Rig, RigCase, second_daemon,  # noqa: E402
                 wait_until, worker_uid)
from harness.refpoint import kill_now  # noqa: E402
from varlink import point_id  # noqa: E402

METHODS = {
    'GetInfo': 'aog', 'Define': 'a', 'Undefine': 'a', 'Serve': 'a',
    'Unserve': 'a', 'SetAgent': 'a', 'List': 'aog', 'Status': 'aog', 'Create': 'aog',
    'Points': 'aog', 'Changes': 'aog', 'Destroy': 'aog', 'Check': 'aog',
    'Systems': 'aog', 'CreateJob': 'aog', 'DestroyJob': 'aog',
    'Jobs': 'aog', 'CancelJob': 'aog', 'Resize': 'a', 'daemon.Start': 'w', 'daemon.Mark': 'w',
}
ROLES = {'a': 'admin', 'o': 'operator', 'g': 'gateway', 'w': 'worker'}


class Case(RigCase):
    def credentials(self, pid):
        """(the four uids, the groups) of a process."""
        with open(f'/proc/{pid}/status', encoding='ascii') as f:
            lines = dict(line.rstrip('\n').split(':\t', 1) for line in f
                         if ':\t' in line)
        return ([int(x) for x in lines['Uid'].split()],
                [int(x) for x in lines['Groups'].split()])

    def nothing_left_of(self, vm):
        root = self.rig.root
        wait_until(f'nothing to be left of {vm}', lambda: not [
            path for path in (
                f'{root}/lib/vms/{vm}', f'{root}/run/vm/{vm}',
                f'{root}/run/pids/{vm}', f'{root}/lib/tombstones/{vm}',
                f'{root}/lib/inventory/{vm}.json',
                f'{root}/lib/inventory/{vm}.defining')
            if os.path.lexists(path)])
        for live in self.rig.live_dirs:
            self.assertNotIn(vm, os.listdir(live))


class Definitions(Case):
    def test_a_vm_is_defined_listed_and_undefined(self):
        rig = self.rig
        paths = [rig.disk('a'), rig.disk('b', 8 << 20)]
        uuid = '01234567-89ab-4def-8123-456789abcdef'
        reply = rig.define('vm-1', paths, uuid=uuid, owner='refpoint')
        self.assertEqual(reply, {'vm': 'vm-1', 'uuid': uuid})
        self.assertEqual(rig.call('List')['vms'],
                         [{'vm': 'vm-1', 'uuid': uuid, 'state': 'defined',
                           'disks': 2, 'points': 0, 'agent': ''}])
        init = rig.events('vm-1', 'Initialize')
        self.assertEqual(len(init), 1)
        self.assertEqual(init[0]['files'],
                         [[os.stat(p).st_dev, os.stat(p).st_ino]
                          for p in paths])
        store = os.stat(f'{rig.root}/lib/vms/vm-1')
        self.assertEqual(stat.S_IMODE(store.st_mode), 0o700)
        self.assertEqual(store.st_uid, worker_uid())
        self.assertEqual(os.stat(f'{rig.root}/lib/tombstones/vm-1').st_size,
                         4096)
        rig.call('Undefine', vm='vm-1')
        self.assertEqual(rig.call('List')['vms'], [])
        self.nothing_left_of('vm-1')
        self.assertEqual(rig.live_dirs, [])
        rig.define('vm-1', paths)

    def test_bad_definitions_are_refused_and_leave_nothing(self):
        rig = self.rig
        a, b = rig.disk('a'), rig.disk('b')
        odd, empty = rig.disk('odd', 1000), rig.disk('empty', 0)
        bad = [
            ('InvalidParameter', '-x', [a], {}),
            ('InvalidParameter', 'x/y', [a], {}),
            ('InvalidParameter', 'x' * 64, [a], {}),
            ('InvalidParameter', 'v', [], {}),
            ('InvalidParameter', 'v', [a], {'uuid': 'no'}),
            ('InvalidParameter', 'v', [a], {'uuid': '\nrefpointd: audit x'}),
            ('InvalidParameter', 'v', [rig.disk('new\nline')], {}),
            ('InvalidParameter', 'v', [a], {'owner': 'me'}),
            ('InvalidParameter', 'v', [a], {'hot_regions': 1 << 20}),
            ('InvalidParameter', 'v', [a], {'hot_regions': 1025}),
            ('InvalidParameter', 'v', [a], {'max_points': 257}),
            ('InvalidParameter', 'v', [a], {'agent': 'ga.sock'}),
            ('InvalidParameter', 'v', [a], {'agent': 'libvirt:'}),
            ('InvalidParameter', 'v', [a], {'agent': '/a\nb'}),
            ('InvalidParameter', 'v', [a], {'agent': '/' + 'x' * 108}),
            ('InvalidParameter', 'v', [a], {'nonsense': 1}),
            ('InvalidParameter', 'v', [a] * 65, {}),
            ('InUse', 'v', [a, b, a], {}),
        ]
        for name, vm, paths, more in bad:
            e = rig.define_error(vm, paths, **more)
            self.assertEqual(e.name, name, e.message)
            self.nothing_left_of('v')
        self.assertNotIn('\nrefpointd: audit x', rig.log_text())
        self.assertIn('?refpointd: audit x', rig.log_text())
        for path in (odd, empty):
            self.assertIn(path, rig.define_error('v', [path]).message)
            self.nothing_left_of('v')
        self.assertEqual(rig.call('List')['vms'], [])

    def test_the_descriptor_must_be_the_named_file_open_for_writing(self):
        rig = self.rig
        a, b = rig.disk('a'), rig.disk('b')
        disks = [{'id': 'd', 'path': a}]
        for path, flags, name in ((b, os.O_RDWR, 'InvalidParameter'),
                                  (a, os.O_RDONLY, 'PermissionDenied'),
                                  (a, os.O_WRONLY, 'PermissionDenied')):
            fd = os.open(path, flags)
            self.error(name, 'Define', [fd], vm='v', disks=disks)
            os.close(fd)
        self.error('PermissionDenied', 'Define', vm='v', disks=disks)
        fd = os.open(a, os.O_RDWR)
        self.error('InvalidParameter', 'Define', [fd], vm='v',
                   disks=[{'id': 'd', 'path': 'relative'}])
        self.error('InvalidParameter', 'Define', [fd, fd], vm='v',
                   disks=[{'id': 'd', 'path': a}, {'id': 'd', 'path': b}])
        os.close(fd)
        self.nothing_left_of('v')

    def test_no_disk_and_no_name_is_used_twice(self):
        rig = self.rig
        a, b = rig.disk('a'), rig.disk('b')
        uuid = rig.define('one', [a])['uuid']
        self.assertEqual(rig.define_error('one', [b]).name, 'AlreadyExists')
        self.assertEqual(rig.define_error('two', [b], uuid=uuid).name,
                         'AlreadyExists')
        link, hard = f'{rig.top}/d/link', f'{rig.top}/d/hard'
        os.symlink(a, link)
        os.link(a, hard)
        for path in (a, link, hard):
            e = rig.define_error('two', [b, path])
            self.assertEqual(e.name, 'InUse', e.message)
            self.assertIn("'one'", e.message)
            self.nothing_left_of('two')
        rig.define('two', [b])

    def test_a_failed_initialization_leaves_nothing(self):
        rig = self.rig
        path = rig.disk('a')
        for behaviour in ({'fail': ['Initialize']}, {'die': True},
                          {'fail': ['Initialize'], 'hang': ['Stop']}):
            rig.behave('v', **behaviour)
            rig.define_error('v', [path])
            self.nothing_left_of('v')
            self.assertEqual(rig.call('List')['vms'], [])
        rig.behave('v')
        rig.define('v', [path])

    @unittest.skipUnless(os.geteuid() == 0, 'needs root')
    def test_a_root_that_workers_cannot_reach_is_named(self):
        rig = self.rig
        path = rig.disk('a')
        os.chmod(rig.top, 0o700)
        e = rig.define_error('v', [path])
        self.assertEqual(e.name, 'PermissionDenied')
        self.assertIn(f'{rig.root}/lib/vms/v', e.message)
        self.nothing_left_of('v')

    def test_a_definition_cut_short_is_removed_at_the_next_start(self):
        rig = self.rig
        path = rig.disk('a')
        rig.behave('v', hang=['Initialize'])
        parameters, fds = rig.define_call('v', [path])
        client = rig.client()
        client.send('org.refpoint.Define', parameters, fds)
        wait_until('Initialize', lambda: rig.events('v', 'Initialize'))
        self.assertEqual(rig.state('v'), None)
        self.error('NoSuchSystem', 'Status', vm='v')
        self.error('InvalidState', 'Undefine', vm='v')
        pid = rig.worker_pid('v')
        rig.kill()
        client.close()
        os.close(fds[0])
        rig.start()
        self.nothing_left_of('v')
        self.assertFalse(os.path.exists(f'/proc/{pid}/cwd/x') or
                         rig.worker_pid('v'))
        rig.behave('v')
        rig.define('v', [path])

    def test_a_served_vm_is_not_undefined(self):
        self.rig.define('v')
        self.rig.call('Serve', vm='v')
        self.error('InvalidState', 'Undefine', vm='v')
        self.rig.call('Unserve', vm='v')
        self.rig.call('Undefine', vm='v')
        self.nothing_left_of('v')
        self.error('NoSuchSystem', 'Undefine', vm='v')


class Workers(Case):
    def serve(self, vm='v', **more):
        self.rig.define(vm, **more)
        self.rig.call('Serve', vm=vm)
        self.assertEqual(self.rig.state(vm), 'serving')
        return self.rig.worker_pid(vm)

    def test_serving_gets_images_listener_and_tombstone(self):
        rig = self.rig
        path = rig.disk('v.img')
        self.serve()
        event = rig.events('v', 'Serve')[0]
        st = os.stat(path)
        tomb = os.stat(f'{rig.root}/lib/tombstones/v')
        self.assertEqual(len(event['files']), 3)
        self.assertEqual(event['files'][0], [st.st_dev, st.st_ino])
        self.assertEqual(event['files'][2], [tomb.st_dev, tomb.st_ino])
        with rig.guest('v') as guest:
            self.assertEqual(rig.greeted_by(guest), rig.worker_pid('v'))
        self.assertEqual(rig.call('Unserve', vm='v')['status']['state'],
                         'defined')
        with self.assertRaises(OSError):
            rig.guest('v')

    def test_a_failed_start_of_serving_leaves_no_listener(self):
        rig = self.rig
        rig.define('v')
        rig.behave('v', fail=['Serve'])
        self.error('IoError', 'Serve', vm='v')
        self.assertEqual(rig.state('v'), 'defined')
        with self.assertRaises(OSError):
            rig.guest('v')
        rig.behave('v')
        rig.call('Serve', vm='v')

    def test_a_dead_worker_is_replaced_and_guests_wait_meanwhile(self):
        rig = self.rig
        rig.behave('v')
        old = self.serve()
        with rig.guest('v') as guest:
            self.assertEqual(rig.greeted_by(guest), old)
        rig.behave('v', fail=['Start'])  # comes up, and serves only later
        os.kill(old, signal.SIGKILL)
        wait_until('a new worker', lambda: rig.worker_pid('v') not in (
            None, old))
        with rig.guest('v') as guest:  # no worker serves: the backlog holds
            rig.behave('v')
            self.assertNotEqual(rig.greeted_by(guest), old)
        rig.wait_state('v', 'serving')
        start = [e for e in rig.events('v', 'Start') if e['serve']][0]
        self.assertEqual(len(start['files']), 3)
        self.assertEqual(start['images'][0]['stamp']['bytes'], 1 << 20)

    def test_only_workers_that_keep_dying_wait(self):
        rig = self.rig
        self.serve()
        rig.behave('v', die=True)
        begin = time.monotonic()
        rig.kill_worker('v')
        wait_until('the third pause', lambda: 'pause_ms=4000' in
                   rig.log_text())
        took = time.monotonic() - begin
        text = rig.log_text()
        self.assertEqual(text.count('starting another pause_ms=0'), 2)
        self.assertEqual(text.count('starting another pause_ms=1000'), 1)
        self.assertEqual(text.count('starting another pause_ms=2000'), 1)
        self.assertGreaterEqual(took, 3)
        self.assertEqual(rig.state('v'), 'failed')
        status = rig.call('Status', vm='v')['status']
        self.assertEqual(status['state'], 'failed')
        self.assertIn('end at once', status['reason'])
        self.error('ServiceUnavailable', 'Points', vm='v')
        rig.behave('v')
        rig.wait_state('v', 'serving')

    def test_workers_with_guests_at_work_are_replaced_at_once(self):
        rig = self.rig
        pid = self.serve()
        for _ in range(5):
            with rig.guest('v') as guest:
                pid = rig.greeted_by(guest)
                wait_until('it to settle', lambda:
                           f'settled vm=v pid={pid}\n' in rig.log_text())
                self.assertEqual(rig.kill_worker('v'), pid)
        rig.wait_state('v', 'serving')
        self.assertEqual(rig.log_text().count('pause_ms='),
                         rig.log_text().count('pause_ms=0'))

    def test_a_new_refpointd_finds_its_workers(self):
        for end in (self.rig.kill, self.rig.stop):
            rig = self.rig
            vm = f'v-{end.__name__}'
            pid = self.serve(vm)
            with rig.guest(vm) as guest:
                self.assertEqual(rig.greeted_by(guest), pid)
                end()
                rig.start()
                rig.wait_state(vm, 'serving')
                self.assertEqual(rig.worker_pid(vm), pid)
                self.assertEqual(rig.call('Status', vm=vm)['status'][
                    'worker_pid'], pid)
            # and has the listener back: it outlives the worker
            wait_until('the listener', lambda: rig.events(vm, 'Listener'))
            inode = os.stat(f'{rig.root}/run/vm/{vm}/nbd.sock').st_ino
            rig.kill_worker(vm)
            with rig.guest(vm) as guest:
                self.assertNotEqual(rig.greeted_by(guest), pid)
            self.assertEqual(inode, os.stat(
                f'{rig.root}/run/vm/{vm}/nbd.sock').st_ino)

    def test_both_may_die(self):
        rig = self.rig
        pid = self.serve()
        rig.kill()
        os.kill(pid, signal.SIGKILL)
        rig.start()
        rig.wait_state('v', 'serving')
        self.assertNotEqual(rig.worker_pid('v'), pid)
        with rig.guest('v') as guest:
            self.assertEqual(rig.greeted_by(guest), rig.worker_pid('v'))

    def test_a_hung_worker_costs_its_own_vm_only(self):
        rig = self.rig
        pid = self.serve('hung')
        self.serve('well')
        os.kill(pid, signal.SIGSTOP)
        client = rig.client()
        client.send('org.refpoint.Create', {'vm': 'hung', 'timeout_ms': 1})
        begin = time.monotonic()
        self.assertEqual(rig.call('Points', vm='well')['points'], [])
        rig.call('Create', vm='well')
        self.assertEqual(rig.state('hung'), 'serving')
        self.assertLess(time.monotonic() - begin, 5)
        self.assertIn('Create is in progress',
                      self.error('InvalidState', 'Create', vm='hung'))
        # a new refpointd neither hangs nor starts a second worker
        rig.kill()
        client.close()
        rig.start()
        rig.call('Create', vm='well')
        self.assertEqual(rig.worker_pid('hung'), pid)
        os.kill(pid, signal.SIGCONT)
        rig.wait_state('hung', 'serving')
        self.assertEqual(rig.worker_pid('hung'), pid)

    def test_a_callers_patience_ends_but_not_the_job(self):
        rig = self.rig
        self.serve()
        rig.behave('v', hang=['Create'])
        message = self.error('Timeout', 'Create', vm='v', timeout_ms=1) \
            if os.environ.get('REFPOINT_SLOW') else None
        client = rig.client()
        if message is None:
            client.send('org.refpoint.Create', {'vm': 'v'})
            wait_until('Create', lambda: rig.events('v', 'Create'))
            client.close()  # hangs up: the job goes on all the same
        self.error('InvalidState', 'Destroy', vm='v', point='p')
        self.error('InvalidState', 'Unserve', vm='v')
        rig.behave('v')
        rig.kill_worker('v')  # now its outcome is known
        rig.wait_state('v', 'serving')
        self.assertEqual(rig.call('Create', vm='v')['point']['id'],
                         point_id(0))

    def test_an_image_that_is_not_there_fails_serving_until_it_is(self):
        rig = self.rig
        path = rig.disk('v.img')
        self.serve()
        os.rename(path, path + '.away')
        rig.kill_worker('v')
        rig.wait_state('v', 'failed')
        self.assertIn(path, rig.call('Status', vm='v')['status']['reason'])
        os.rename(path + '.away', path)
        rig.call('Serve', vm='v')
        self.assertEqual(rig.state('v'), 'serving')
        # a wish that cannot be granted may be withdrawn
        os.rename(path, path + '.away')
        rig.kill_worker('v')
        rig.wait_state('v', 'failed')
        rig.call('Unserve', vm='v')
        self.assertEqual(rig.state('v'), 'defined')
        os.rename(path + '.away', path)

    def test_another_vms_disk_behind_the_path_is_refused(self):
        rig = self.rig
        a, b = rig.disk('a'), rig.disk('b')
        rig.define('one', [a])
        rig.define('two', [b])
        os.unlink(b)
        os.symlink(a, b)
        self.assertIn("'one'", self.error('InUse', 'Serve', vm='two'))
        self.assertEqual(rig.state('two'), 'defined')

    def test_a_restored_image_is_served_and_a_planted_one_is_not(self):
        rig = self.rig
        path = rig.disk('v.img')
        rig.define('v', [path])
        os.rename(rig.disk('restored'), path)
        rig.call('Serve', vm='v')
        self.assertIn('is another file', rig.log_text())
        rig.call('Unserve', vm='v')
        os.chmod(os.path.dirname(path), 0o777)  # others may replace it
        rig.call('Serve', vm='v')               # but nobody did
        rig.call('Unserve', vm='v')
        os.rename(rig.disk('planted'), path)
        self.assertIn(path, self.error('PermissionDenied', 'Serve', vm='v'))
        self.assertEqual(rig.state('v'), 'defined')

    def test_a_worker_gets_nothing_of_another_vm(self):
        rig = self.rig
        rig.define('one')
        self.error('PermissionDenied', 'daemon.Start', role='worker',
                   vm='one', pid=os.getpid())
        self.error('PermissionDenied', 'daemon.Mark', role='worker',
                   vm='one', disk='d0',
                   nonce='01234567-89ab-4def-8123-456789abcdef')

    def test_mark_sets_the_nonce_of_the_images_file(self):
        rig = self.rig
        nonce = '01234567-89ab-4def-8123-456789abcdef'
        rig.define('v')
        rig.call('Undefine', vm='v')
        rig.behave('v', mark=[])
        rig.define('v')
        rig.behave('v', mark=[{'vm': 'v', 'disk': 'd0', 'nonce': nonce}])
        rig.kill_worker('v')
        rig.call('Points', vm='v')
        stamp = rig.events('v', 'Mark')[0]['stamp']
        st = os.stat(f'{rig.top}/d/v.img')
        if 'error' in stamp:  # the file system has no such attributes
            self.assertEqual(stamp['error'], 'NotSupported')
            return
        self.assertEqual(stamp['kind'], 'file')
        self.assertEqual(stamp['inode'], st.st_ino)
        self.assertEqual(stamp['ctime_ns'], st.st_ctime_ns)
        self.assertEqual(stamp['nonce'], nonce)


    def test_a_worker_runs_apart_as_its_own_user(self):
        rig = self.rig
        pid = self.serve()
        uids, groups = self.credentials(pid)
        self.assertEqual(uids, [worker_uid()] * 4)
        if os.geteuid() == 0:
            self.assertEqual(groups, [])
        self.assertEqual(os.getsid(pid), pid)
        with open(f'/proc/{pid}/stat', encoding='ascii') as f:
            parent = int(f.read().rsplit(')', 1)[1].split()[1])
        self.assertNotEqual(parent, rig.process.pid)
        with open(f'/proc/{pid}/limits', encoding='ascii') as f:
            files = [line for line in f if 'Max open files' in line][0]
        self.assertEqual(files.split()[3], '4096')


@unittest.skipUnless(os.geteuid() == 0, 'needs root to be somebody else')
class Unprivileged(Case):
    owner = 54321
    prefix = ('setpriv', '--reuid=54321', '--regid=54321', '--clear-groups',
              '--no-new-privs')

    def test_refpointd_needs_no_privileges(self):
        rig = self.rig
        rig.define('v')
        rig.call('Serve', vm='v')
        pid = rig.worker_pid('v')
        self.assertEqual(self.credentials(pid)[0], [54321] * 4)
        self.assertEqual(self.credentials(rig.process.pid)[0], [54321] * 4)
        with rig.guest('v') as guest:
            self.assertEqual(rig.greeted_by(guest), pid)
        rig.kill_worker('v')
        rig.wait_state('v', 'serving')
        rig.call('Create', vm='v', role='operator')
        rig.stop()
        rig.start()
        rig.wait_state('v', 'serving')
        rig.call('Unserve', vm='v')
        rig.call('Undefine', vm='v')
        self.nothing_left_of('v')


def in_namespace(script):
    """Runs the daemon where `script` has changed what is mounted."""
    return ('unshare', '--mount', 'sh', '-ec', script + '\nexec "$@"', '-')


def can_mount():
    return os.geteuid() == 0 and subprocess.run(
        ['unshare', '--mount', 'mount', '--bind', '/tmp', '/tmp'],
        stderr=subprocess.DEVNULL, check=False).returncode == 0


@unittest.skipUnless(can_mount(), 'needs root and mount namespaces')
class Elsewhere(Case):
    def setUp(self):
        # an empty directory that is no tmpfs, in place of those that may be
        self.empty = tempfile.mkdtemp(prefix='refpointd-none-',
                                      dir='/var/tmp')
        self.prefix = in_namespace(f'mount --bind {self.empty} /dev/shm; '
                                   f'mount --bind {self.empty} /run')
        super().setUp()
        self.addCleanup(shutil.rmtree, self.empty)

    def test_without_a_tmpfs_nothing_is_served(self):
        rig = self.rig
        rig.define('v')
        self.assertIn('tmpfs', self.error('NotSupported', 'Serve', vm='v'))
        self.assertEqual(rig.state('v'), 'defined')
        self.assertEqual(rig.call('Points', vm='v')['points'], [])


@unittest.skipUnless(can_mount(), 'needs root and mount namespaces')
class MissingUser(unittest.TestCase):
    def test_without_its_user_no_refpointd(self):
        with tempfile.NamedTemporaryFile('w', dir='/var/tmp') as passwd:
            for uid, want in ((None, 'there is no user'), (65534, '65534')):
                passwd.seek(0)
                passwd.truncate()
                passwd.write('root:x:0:0:root:/root:/bin/sh\n')
                if uid:
                    passwd.write(f'refpoint-worker:x:{uid}:{uid}::/:/x\n')
                passwd.flush()
                rig = Rig(in_namespace(
                    f'mount --bind {passwd.name} /etc/passwd'))
                self.addCleanup(rig.close)
                done = second_daemon(rig)
                self.assertEqual(done.returncode, 1)
                self.assertIn("'refpoint-worker'", done.stderr)
                self.assertIn(want, done.stderr)


class Inventory(Case):
    def test_the_inventory_is_made_anew_from_the_stores(self):
        rig = self.rig
        paths = [rig.disk('a'), rig.disk('b', 8 << 20)]
        uuid = rig.define('v', paths, agent='libvirt:v')['uuid']
        rig.call('Create', vm='v')
        rig.define('served')
        rig.call('Serve', vm='served')
        for damage in ('remove', 'truncate'):
            rig.stop()
            if damage == 'remove':
                shutil.rmtree(f'{rig.root}/lib/inventory')
            else:
                os.truncate(f'{rig.root}/lib/inventory/v.json', 20)
            rig.start()
            want = {'vm': 'v', 'uuid': uuid, 'state': 'defined', 'disks': 2,
                    'points': 1, 'agent': 'libvirt:v'}
            wait_until('the inventory', lambda: want in
                       rig.call('List')['vms'])
            for vm in ('v', 'served'):
                path = f'{rig.root}/lib/inventory/{vm}.json'
                wait_until('its file', lambda: os.path.exists(path) and
                           os.path.getsize(path) > 20)
            rig.wait_state('served', 'serving')

    def test_an_agent_is_changed_and_no_store_names_another(self):
        rig = self.rig
        rig.define('v', agent='/run/a.sock')
        rig.call('SetAgent', vm='v', agent='libvirt:v')
        self.error('InvalidParameter', 'SetAgent', vm='v', agent='a.sock')
        self.error('NoSuchSystem', 'SetAgent', vm='w', agent='')
        self.assertEqual(rig.call('List')['vms'][0]['agent'], 'libvirt:v')
        # One that refpointd does not live to see: either may be true.
        rig.behave('v', gate={'SetAgent': 'go'})
        client = rig.client()
        client.send('org.refpoint.SetAgent', {'vm': 'v', 'agent': '/b'})
        wait_until('the question', lambda: rig.events('v', 'SetAgent')[1:])
        rig.kill()
        client.close()
        kill_now(rig.worker_pid('v'))
        catalogue = f'{rig.root}/lib/vms/v/catalogue.sqlite'
        with open(catalogue) as f:
            text = f.read()
        for agent in 'libvirt:v', '/b':
            with open(catalogue, 'w') as f:
                f.write(text.replace('libvirt:v', agent))
            rig.start()
            wait_until(agent, lambda: rig.call('List')['vms'][0][
                'agent'] == agent)
            rig.stop()
            kill_now(rig.worker_pid('v'))
        with open(catalogue, 'w') as f:
            f.write(text.replace('libvirt:v', '/other'))
        rig.start()
        rig.wait_state('v', 'failed')

    def test_a_changed_catalogue_is_read_again(self):
        rig = self.rig
        rig.define('v')
        rig.stop()
        kill_now(rig.worker_pid('v'))
        path = f'{rig.root}/lib/vms/v/catalogue.sqlite'
        with open(path) as f:
            text = f.read()
        with open(path, 'w') as f:
            f.write(text.replace('"points": []', '"points": ' + json.dumps(
                [{'id': point_id(0), 'type': 'rct', 'consistency': 'crash',
                  'label': '', 'created': '', 'disks': []}])))
        rig.start()
        wait_until('one point', lambda:
                   rig.call('List')['vms'][0]['points'] == 1)

    def leave_unknown(self, **behaviour):
        """refpointd is started and has to ask for v, which has a point."""
        rig = self.rig
        rig.define('v')
        rig.call('Create', vm='v')
        rig.stop()
        kill_now(rig.worker_pid('v'))
        os.unlink(f'{rig.root}/lib/inventory/v.json')
        rig.behave('v', **behaviour)
        self.starts_before = len(rig.events('v', 'Start'))
        rig.start()

    def starts(self):
        return len(self.rig.events('v', 'Start')) - self.starts_before

    def wait_known(self):
        def is_listed():
            v = self.rig.call('List')['vms'][0]
            return v['disks'] == v['points'] == 1
        wait_until('v to be known', is_listed, timeout=40)
        system = self.rig.system('v')
        self.assertEqual(len(system['points']), 1)
        self.assertEqual(system['disks'][0]['size'], 1 << 20)

    def test_a_worker_that_dies_while_it_is_asked_is_replaced(self):
        rig = self.rig
        for asked in ('Hello', 'Definition', 'Status', 'Points'):
            with self.subTest(asked):
                self.leave_unknown(gate={asked: 'never'})
                wait_until('the question', lambda: rig.events('v', 'Start')[
                    self.starts_before:] and rig.events('v')[-1][
                        'what'] == asked)
                rig.behave('v')
                rig.kill_worker('v')
                self.wait_known()
                self.assertEqual(self.starts(), 2)
                rig.call('Undefine', vm='v')

    def test_workers_that_keep_dying_when_asked_are_not_started_on_and_on(self):
        rig = self.rig
        for asked in ('Hello', 'Definition'):
            with self.subTest(asked):
                self.leave_unknown(die_at=asked)
                rig.wait_state('v', 'failed')
                self.assertEqual(self.starts(), 3)
                rig.behave('v')
                wait_until('v to be asked again', lambda: (
                    rig.call('List')['vms'][0]['points'] == 1),
                           timeout=40, interval=0.2)
                self.assertEqual(self.starts(), 4)
                rig.call('Undefine', vm='v')

    def test_a_served_one_that_dies_when_asked_has_one_worker(self):
        rig = self.rig
        rig.define('v')
        rig.call('Serve', vm='v')
        rig.call('Create', vm='v')
        rig.stop()
        kill_now(rig.worker_pid('v'))
        os.utime(f'{rig.root}/lib/vms/v/catalogue.sqlite', (1, 1))
        self.starts_before = len(rig.events('v', 'Start'))
        rig.behave('v', gate={'Definition': 'never'})
        rig.start()
        wait_until('the question', lambda: rig.events('v', 'Definition'))
        rig.behave('v')
        rig.kill_worker('v')
        rig.wait_state('v', 'serving')
        self.wait_known()
        self.assertEqual(self.starts(), 2)
        self.assertEqual(rig.log_text().count('started the worker of'), 3)

    def test_a_store_names_no_other_files_than_were_defined(self):
        """The store is the worker's, and files are opened for it."""
        rig = self.rig
        path, other = rig.disk('v.img'), rig.disk('other')
        catalogue = f'{rig.root}/lib/vms/v/catalogue.sqlite'
        rig.define('v', [path], uuid='01234567-89ab-4def-8123-456789abcdef')
        with open(catalogue) as f:
            text = f.read()
        for old, new in ((path, other), ('"d0"', '"d1"'),
                         ('01234567-', '01234568-')):
            with self.subTest(new):
                rig.stop()
                kill_now(rig.worker_pid('v'))
                with open(catalogue, 'w') as f:
                    f.write(text.replace(old, new))
                rig.start()
                rig.wait_state('v', 'failed')
                self.error('Damaged', 'Serve', vm='v')
                for event in rig.events('v'):
                    self.assertNotIn([os.stat(other).st_dev,
                                      os.stat(other).st_ino], event['files'])
        rig.stop()
        kill_now(rig.worker_pid('v'))
        os.unlink(f'{rig.root}/lib/inventory/v.json')  # the way out
        rig.start()
        wait_until('the inventory', lambda: rig.call('List')['vms'][0][
            'uuid'].startswith('01234568-'))

    def test_workers_that_do_not_answer_keep_no_other_from_being_asked(self):
        rig = self.rig
        names = [f'bad{i}' for i in range(4)] + ['good']
        for vm in names:
            rig.define(vm)
        rig.stop()
        for vm in names:
            kill_now(rig.worker_pid(vm))
            if vm != 'good':
                rig.behave(vm, raw={'Hello': '{}\0'})
        shutil.rmtree(f'{rig.root}/lib/inventory')
        rig.start()
        wait_until('good to be known', lambda: [
            x for x in rig.call('List')['vms'] if x['vm'] == 'good' and
            x['disks'] == 1], timeout=40, interval=0.2)

    def test_a_store_without_a_definition_fails_and_can_be_undefined(self):
        rig = self.rig
        rig.define('v')
        rig.stop()
        kill_now(rig.worker_pid('v'))
        os.unlink(f'{rig.root}/lib/vms/v/catalogue.sqlite')
        rig.start()
        rig.wait_state('v', 'failed')
        rig.call('Undefine', vm='v')
        self.nothing_left_of('v')

    def test_points_are_counted_without_starting_workers(self):
        rig = self.rig
        rig.define('v')
        rig.call('Create', vm='v')
        rig.call('Create', vm='v')
        rig.call('Destroy', vm='v', point=point_id(0))
        self.assertEqual(rig.call('List')['vms'][0]['points'], 1)
        rig.stop()
        kill_now(rig.worker_pid('v'))
        rig.start()
        self.assertEqual(rig.call('List')['vms'][0]['points'], 1)
        self.assertEqual(rig.worker_pid('v'), None)

    def test_one_refpointd_for_a_root(self):
        done = second_daemon(self.rig)
        self.assertEqual(done.returncode, 4)
        self.assertIn(f'another refpointd (pid {self.rig.process.pid})',
                      done.stderr)
        self.assertTrue(self.rig.call('GetInfo'))

    def test_sockets_are_taken_from_systemd_by_name(self):
        rig = self.rig
        rig.stop()
        roles = ['worker', 'admin', 'operator', 'elsewhere']
        socks = []
        for role in roles:
            sock = socket.socket(socket.AF_UNIX)
            sock.bind(f'{rig.top}/{role}')
            sock.listen()
            socks.append(sock)
        numbers = [s.fileno() for s in socks]

        def pass_on():
            high = [fcntl.fcntl(n, fcntl.F_DUPFD, 100) for n in numbers]
            for i, n in enumerate(high):
                os.dup2(n, 3 + i)

        environment = dict(rig.environment(), LISTEN_FDS=str(len(roles)),
                           LISTEN_FDNAMES=':'.join(roles))
        rig.process = subprocess.Popen(
            ['sh', '-c', 'LISTEN_PID=$$ exec "$@"', '-'] + rig.command(),
            env=environment, preexec_fn=pass_on, close_fds=False,
            stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for sock in socks:
            sock.close()
        for path, answers in ((f'{rig.top}/admin', 'Define'),
                              (f'{rig.top}/operator', 'List'),
                              (f'{rig.root}/run/gateway.sock', 'List')):
            with self.assertRaises(Error) as caught:
                Client(path).call(f'org.refpoint.{answers}', {'nonsense': 1})
            self.assertEqual(caught.exception.name, 'InvalidParameter')
        with self.assertRaises(ConnectionRefusedError):
            rig.client()  # what was passed is not bound a second time

    def test_a_socket_that_somebody_listens_on_is_left_alone(self):
        rig = self.rig
        rig.kill()
        path = f'{rig.root}/run/admin.sock'
        os.unlink(path)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(path)
            sock.listen()
            done = second_daemon(rig)
            self.assertEqual(done.returncode, 4)
            self.assertIn(f"somebody listens on '{path}'", done.stderr)
            self.assertTrue(os.path.exists(path))

    def test_stale_sockets_are_replaced(self):
        self.rig.kill()
        self.rig.start()
        self.assertEqual(self.rig.call('GetInfo')['interface'], 1)


class Calls(Case):
    def test_each_socket_answers_its_own_methods_only(self):
        for method, roles in METHODS.items():
            for letter, role in ROLES.items():
                try:
                    self.rig.call(method, role=role, nonsense=1)
                    name = ''
                except Error as e:
                    name = e.name
                if letter in roles:
                    self.assertEqual(name, 'InvalidParameter',
                                     f'{method} {role}')
                else:
                    self.assertEqual(name, 'PermissionDenied',
                                     f'{method} {role}')

    def test_sockets_are_closed_to_others(self):
        for role, mode in (('admin', 0o600), ('gateway', 0o600),
                           ('worker', 0o600)):
            st = os.stat(f'{self.rig.root}/run/{role}.sock')
            self.assertEqual(stat.S_IMODE(st.st_mode), mode, role)
        st = os.stat(f'{self.rig.root}/run/operator.sock')
        self.assertEqual(st.st_mode & 0o007, 0)
        self.rig.define('v')
        self.rig.call('Serve', vm='v')
        run = f'{self.rig.root}/run/vm/v'
        self.assertEqual(stat.S_IMODE(os.stat(run).st_mode), 0o750)
        self.assertEqual(stat.S_IMODE(os.stat(f'{run}/nbd.sock').st_mode),
                         0o660)

    def test_a_worker_that_only_promises_is_not_waited_for(self):
        self.rig.define('v')
        self.rig.behave('v', drip={'Points': 1})
        client = self.rig.client()
        self.addCleanup(client.close)
        began = time.monotonic()
        with self.assertRaises(Error) as caught:
            for _ in client.stream('org.refpoint.Points', {'vm': 'v'}):
                self.assertLess(time.monotonic() - began, 25)
        self.assertEqual(caught.exception.name, 'Timeout')

    def test_unknown_vms_and_bad_names_are_named(self):
        self.assertIn("'nix'", self.error('NoSuchSystem', 'Points', vm='nix'))
        self.error('InvalidParameter', 'Points', vm='../nix')
        self.error('InvalidParameter', 'Points')
        self.error('InvalidParameter', 'List', vm='x')

    def test_a_vm_that_is_not_served_gets_points(self):
        rig = self.rig
        path = rig.disk('v.img')
        rig.define('v', [path])
        self.assertEqual(rig.call('Create', vm='v')['point']['id'],
                         point_id(0))
        st = os.stat(path)
        self.assertEqual(rig.events('v', 'Create')[0]['files'],
                         [[st.st_dev, st.st_ino]])
        rig.call('Serve', vm='v')
        rig.call('Create', vm='v')
        self.assertEqual(rig.events('v', 'Create')[1]['files'], [])
        self.assertEqual(len(rig.call('Points', vm='v')['points']), 2)

    def test_changes_until_now_look_at_the_images_of_an_idle_vm(self):
        rig = self.rig
        rig.define('v', [rig.disk('a'), rig.disk('b')])
        rig.call('Changes', vm='v', since='1x1')
        rig.call('Changes', vm='v', since='1x1', until='p')
        rig.call('Serve', vm='v')
        rig.call('Changes', vm='v', since='1x1')
        self.assertEqual([len(e['files']) for e in
                          rig.events('v', 'Changes')], [2, 0, 0])

    def test_resize_passes_one_image(self):
        rig = self.rig
        paths = [rig.disk('a'), rig.disk('b')]
        rig.define('v', paths)
        rig.call('Resize', vm='v', disk='d1', size=2 << 20)
        self.assertEqual(os.path.getsize(paths[1]), 2 << 20)
        self.assertEqual(len(rig.events('v', 'Resize')[0]['files']), 1)
        self.error('NoSuchDisk', 'Resize', vm='v', disk='nix', size=4 << 20)
        self.error('InvalidParameter', 'Resize', vm='v', size=4 << 20)
        rig.call('Serve', vm='v')

    def test_a_query_starts_a_worker_again(self):
        rig = self.rig
        rig.define('v')
        for _ in range(3):
            rig.kill_worker('v')
            self.assertEqual(rig.call('Points', vm='v')['points'], [])

    def test_a_stream_is_passed_on_and_a_slow_reader_holds_it_back(self):
        rig = self.rig
        rig.define('v')
        client = rig.client()
        client.send('org.refpoint.Changes',
                    {'vm': 'v', 'since': '200x50000'}, more=True)
        progress = f'{rig.root}/lib/vms/v/progress'

        def stalled():
            try:
                with open(progress) as f:
                    before = f.read()
            except FileNotFoundError:
                return False
            time.sleep(0.3)
            with open(progress) as f:
                return before == f.read() and int(before)

        sent = wait_until('the worker to be held back', stalled)
        self.assertLess(sent, 100)  # of 10 MB less than half is on its way
        for i in range(200):
            reply = client.answer()
            self.assertEqual(reply['parameters']['n'], i)
            self.assertEqual(reply.get('continues', False), i < 199)
        client.close()

    def test_what_a_worker_makes_up_answers_no_other_call(self):
        """One answer for each call, whatever comes: nothing that a worker
        sends may be taken for another virtual system's answer."""
        rig = self.rig
        rig.define('bad')
        rig.define('good')
        second = '{"parameters":{"points":["bad"]}}'
        for raw in (f'{second}\0{second}\0',
                    '{"continues":true,"continues":false}\0' + second + '\0',
                    '{"continues":true}\0' + second + '\0',
                    '{"error":"x","continues":true}\0' + second + '\0',
                    '{"parameters":{}\0', '[]\0', '\0', '{"x":"\0',
                    '"' + 'x' * (1 << 20) + '\0'):
            with self.subTest(raw[:80]):
                rig.behave('bad', raw={'Changes': raw})
                client = rig.client()
                client.send('org.refpoint.Changes',
                            {'vm': 'bad', 'since': '', 'until': ''}, more=True)
                try:
                    while client.answer().get('continues'):
                        pass
                except Error as e:
                    self.assertEqual(e.name, 'ServiceUnavailable')
                answer = client.call('org.refpoint.Points', {'vm': 'good'})
                self.assertEqual(answer, {'points': []})
                client.close()

    def test_a_worker_that_answers_more_than_asked_harms_nobody(self):
        """Who asked for one answer has let go of everything at the first."""
        rig = self.rig
        raw = '{"parameters":{"status":{}},"continues":true}\0' * 50
        rig.define('bad')
        rig.define('good')
        rig.behave('bad', raw={'Points': raw})
        for n in range(5):
            self.assertEqual(rig.call('Create', vm='bad')['point']['id'],
                             point_id(n))
        for method, more in (('Create', {}), ('Points', {}), ('Status', {}),
                             ('Serve', {}), ('Destroy', {'point': point_id(0)})):
            with self.subTest(method):
                rig.behave('bad', raw={method: raw})
                self.error('ServiceUnavailable', method, vm='bad', **more)
                self.assertEqual(rig.call('Points', vm='good'),
                                 {'points': []})
        rig.behave('new', raw={'Initialize': raw})
        parameters, fds = rig.define_call('new', [rig.disk('new')])
        self.error('ServiceUnavailable', 'Define', fds, **parameters)
        for fd in fds:
            os.close(fd)
        self.assertEqual(len(rig.call('List')['vms']), 2)
        rig.behave('bad', raw={'Hello': raw})
        rig.kill_worker('bad')
        client = rig.client()
        before = len(rig.events('bad', 'Hello'))
        client.send('org.refpoint.Points', {'vm': 'bad'})
        wait_until('another Hello', lambda: len(
            rig.events('bad', 'Hello')) > before + 1)
        rig.behave('bad')
        self.assertEqual(len(client.answer()['parameters']['points']), 5)
        client.close()

    def test_a_job_whose_caller_left_passes_nothing_on(self):
        rig = self.rig
        rig.define('v')
        rig.call('Create', vm='v')
        raw = '{"continues":true}\0' * 50 + '{"parameters":{}}\0'
        rig.behave('v', raw={'Destroy': raw}, gate={'Destroy': 'now'})
        client = rig.client()
        client.send('org.refpoint.Destroy', {'vm': 'v', 'point': point_id(0)},
                    more=True)
        wait_until('Destroy', lambda: rig.events('v', 'Destroy'))
        client.close()
        rig.call('GetInfo')  # comes behind the hangup
        with open(f'{rig.root}/fake/now', 'w'):
            pass
        wait_until('the end of the job', lambda: 'audit method=Destroy' in
                   rig.log_text())
        self.assertEqual(len(rig.call('Points', vm='v')['points']), 1)

    def test_descriptors_that_a_worker_attaches_are_closed(self):
        rig = self.rig
        rig.define('v')
        rig.call('Serve', vm='v')

        def count():
            return len(os.listdir(f'/proc/{rig.process.pid}/fd'))

        rig.call('Points', vm='v')
        piece = '{"parameters":{"points":[]},"continues":true}\0'
        before = count()
        rig.behave('v', raw={'Changes': piece * 20 + '{}\0'},
                   attach=dict.fromkeys(('Points', 'Changes', 'Create',
                                         'Status', 'Check', 'Resize'), 30))
        for method, more in (('Points', {}), ('Create', {}), ('Status', {}),
                             ('Check', {}),
                             ('Resize', {'disk': 'd0', 'size': 2 << 20})):
            for _ in range(2):
                rig.call(method, vm='v', **more)
        client = rig.client()
        client.send('org.refpoint.Changes', {'vm': 'v', 'since': ''},
                    more=True)
        while client.answer().get('continues'):
            pass
        client.close()
        wait_until(f'{before} descriptors, not {count()}', lambda:
                   count() <= before)

    def test_a_caller_that_hangs_up_ends_its_query(self):
        rig = self.rig
        rig.define('v')
        rig.behave('v', hang=['Check'])
        client = rig.client()
        client.send('org.refpoint.Check', {'vm': 'v'})
        wait_until('Check', lambda: rig.events('v', 'Check'))
        n = len(rig.events('v', 'hangup'))
        client.close()
        wait_until('the hangup at the worker', lambda: len(
            rig.events('v', 'hangup')) > n)
        self.assertTrue(rig.call('GetInfo'))

    def test_changes_are_audited_and_queries_are_not(self):
        rig = self.rig
        rig.define('v')
        rig.call('Create', vm='v', role='operator')
        rig.error('Destroy', vm='v', point='nix')
        rig.call('Points', vm='v')
        lines = [x for x in rig.log_text().splitlines() if 'audit ' in x]
        self.assertEqual(len(lines), 3, lines)
        who = f'uid={os.geteuid()} pid={os.getpid()}'
        self.assertIn(f'method=Define vm=v role=admin {who} result=0',
                      lines[0])
        self.assertIn(f'method=Create vm=v role=operator {who} result=0',
                      lines[1])
        self.assertIn(f'method=Destroy vm=v role=admin {who} result=4',
                      lines[2])

    def test_the_gateway_says_for_whom(self):
        rig = self.rig
        rig.define('v')
        caller = {'name': 'WORLD\\Jörg X.', 'role': 'backup-operator'}
        rig.call('Create', vm='v', role='gateway', caller=caller)
        rig.error('Destroy', vm='v', point='nix', role='gateway', caller=caller)
        rig.call('Create', vm='v', role='gateway', caller=None)
        rig.call('Create', vm='v', role='gateway')
        for method in ('Status', 'Points', 'Check'):
            rig.call(method, vm='v', role='gateway', caller=caller)
        rig.call('Changes', vm='v', since='1x1', role='gateway', caller=caller)
        for method in ('GetInfo', 'List'):
            rig.call(method, role='gateway', caller=caller)
        lines = [x for x in rig.log_text().splitlines()
                 if 'audit ' in x and 'role=gateway' in x]
        who = f'uid={os.geteuid()} pid={os.getpid()}'
        whom = 'caller="WORLD\\Jörg X." caller_role=backup-operator'
        for line, middle in zip(lines, (f'Create vm=v role=gateway {who} {whom} '
                                        'result=0',
                                        f'Destroy vm=v role=gateway {who} '
                                        f'{whom} result=4',
                                        f'Create vm=v role=gateway {who} '
                                        'result=0',
                                        f'Create vm=v role=gateway {who} '
                                        'result=0')):
            self.assertIn('method=' + middle, line)
        self.assertEqual(len(lines), 4, lines)

    def test_a_caller_is_checked_and_only_a_gateways(self):
        rig = self.rig
        rig.define('v')
        good = {'name': 'n' * 127, 'role': 'r' * 31}
        rig.call('Create', vm='v', role='gateway', caller=good)
        for wrong in ({}, 'me', [], {'name': 'x'}, {'role': 'x'},
                      dict(good, more=1), dict(good, name=''),
                      dict(good, name='n' * 128), dict(good, role='r' * 32),
                      dict(good, name='a" result=0'), dict(good, name='a\nb'),
                      dict(good, name='\x85'), dict(good, name=7),
                      dict(good, role=''), dict(good, role='a b'),
                      dict(good, role='ä'), dict(good, name='a\0b')):
            with self.subTest(wrong):
                for method, more in (('Create', {'vm': 'v'}),
                                     ('Points', {'vm': 'v'}), ('List', {})):
                    e = rig.error(method, role='gateway', caller=wrong, **more)
                    self.assertIn(e.name,
                                  ('InvalidParameter', 'ProtocolError'))
        for role in ('admin', 'operator'):
            for method, more in (('Create', {'vm': 'v'}),
                                 ('Status', {'vm': 'v'}), ('GetInfo', {})):
                e = rig.error(method, role=role, caller=good, **more)
                self.assertEqual(e.name, 'InvalidParameter')
                self.assertIn('caller', e.message)
            rig.call('Status', vm='v', role=role, caller=None)
        self.assertEqual(len(rig.call('Points', vm='v')['points']), 1)
        self.assertEqual(len(rig.events('v', 'Create')), 1)

    def test_many_callers_at_once(self):
        rig = self.rig
        for vm in ('a', 'b', 'c'):
            rig.define(vm)
        results = []

        def work(vm):
            for _ in range(10):
                try:
                    rig.call('Create', vm=vm)
                    results.append('ok')
                except Error as e:
                    results.append(e.name)
                rig.call('Points', vm=vm)

        threads = [threading.Thread(target=work, args=(vm,))
                   for vm in 'aabbcc']
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(len(results), 60)
        self.assertLessEqual(set(results), {'ok', 'InvalidState'})
        self.assertEqual(sum(v['points'] for v in rig.call('List')['vms']),
                         results.count('ok'))


def main():
    if worker_uid() is None:
        print('SKIP: runs as root, and there is no user refpoint-worker')
        sys.exit(77)
    unittest.main(verbosity=2)


if __name__ == '__main__':
    main()
