# SPDX-License-Identifier: Apache-2.0
"""The worker's snapshots, as refpointd asks for them; also on a store that
fails, by refpoint-worker-faulty."""
import fcntl
import glob
import os
import socket
import subprocess
import tempfile
import unittest
import uuid

import nbd

from workertest import (BLOCK, FAULTY, MIB, CallError, Case, World,
                        bind_for_readers, blocks, wait_until)

# of fcntl.h, which Python does not have
F_ADD_SEALS, F_SEAL_SHRINK = 1033, 2


class Snapshots(Case):
    def take(self, w, **parameters):
        one = str(uuid.uuid4())
        with bind_for_readers(w.run_dir, one) as sock:
            return w.call('Snapshot', [sock.fileno()], id=one,
                          **parameters)['snapshot']

    def listed(self, w):
        """Both ways of asking say the same."""
        told = w.call('Snapshots')['snapshots']
        self.assertEqual(w.status()['snapshots'], told)
        return told

    def scratch(self, w):
        return glob.glob(f'{w.store}/scratch-*') + [
            p for d in w.live_dirs()
            for p in glob.glob(f'{d}/**/snapshot-*', recursive=True)]

    def reader(self, snapshot):
        h = nbd.NBD()
        h.connect_uri(snapshot['disks'][0]['nbd_uri'])
        return h

    def test_what_is_told_of_a_snapshot(self):
        w = self.served()
        self.assertEqual(self.listed(w), [])
        one = self.take(w, label='x', limit_bytes=1 << 30)
        for name, value in {'vm': 'vm1', 'consistency': 'crash', 'label': 'x',
                            'state': 'valid', 'reason': '',
                            'limit_bytes': 1 << 30}.items():
            self.assertEqual(one[name], value)
        self.assertEqual([(d['id'], d['size'], d['scratch_bytes'])
                          for d in one['disks']], [('root', 64 * MIB, 0)])
        self.assertEqual(self.reader(one).get_size(), 64 * MIB)
        self.assertEqual(self.listed(w), [one])
        self.assertEqual(w.call('Points')['points'], [])
        self.assertEqual(w.status()['points'], 0)
        guest = w.guest('root')
        guest.pwrite(b'x' * BLOCK, 0)
        guest.pwrite(b'y' * BLOCK, 0)
        guest.pwrite(b'z' * BLOCK, 9 * BLOCK)
        self.assertEqual(self.reader(one).pread(BLOCK, 0), bytes(BLOCK))
        two = self.take(w)
        guest.pwrite(b'1' * BLOCK, 0)
        told = self.listed(w)
        self.assertEqual([s['id'] for s in told], [one['id'], two['id']])
        # zeros take no room
        self.assertEqual(told[1]['disks'][0]['scratch_bytes'], BLOCK)
        self.assertEqual(blocks(w.changes(one['id'], two['id'])['root']),
                         {0, 9})
        point = w.call('Convert', snapshot=one['id'])['point']
        self.assertEqual(
            (point['id'], point['type'], point['label'], point['created']),
            (one['id'], 'rct', 'x', one['created']))
        self.assertEqual(point['disks'][0]['tracking_id'],
                         one['disks'][0]['tracking_id'])
        self.assertEqual(w.call('Points')['points'], [point])
        self.assertEqual([s['id'] for s in self.listed(w)], [two['id']])
        w.call('Drop', snapshot=two['id'])
        self.assertEqual(self.scratch(w), [])
        self.assertTrue(w.call('Check')['ok'])

    def test_who_reads_is_cut_off_when_it_goes(self):
        w = self.served()
        for method in ('Drop', 'Convert'):
            one = self.take(w)
            reader = self.reader(one)
            self.assertEqual(reader.pread(BLOCK, 0), bytes(BLOCK))
            w.call(method, snapshot=one['id'])
            with self.assertRaises(nbd.Error):
                reader.pread(BLOCK, 0)
            with self.assertRaises(nbd.Error):
                self.reader(one)

    def test_bad_requests_are_named(self):
        w = self.served()
        one = self.take(w)
        other = str(uuid.uuid4())
        sock = bind_for_readers(w.run_dir, other)
        self.addCleanup(sock.close)
        fd = sock.fileno()
        for name, method, fds, parameters in (
                ('InvalidParameter', 'Snapshot', [fd], {}),
                ('InvalidParameter', 'Snapshot', [fd], {'id': 'x'}),
                ('InvalidParameter', 'Snapshot', [], {'id': other}),
                ('InvalidParameter', 'Snapshot', [fd],
                 {'id': other, 'label': '\n'}),
                ('InvalidParameter', 'Snapshot', [fd],
                 {'id': other, 'consistency': 'odd'}),
                ('InvalidParameter', 'Snapshot', [fd],
                 {'id': other, 'timeout_ms': 86400001}),
                ('InvalidParameter', 'Snapshot', [fd],
                 {'id': other, 'request_id': 'x'}),
                ('InvalidParameter', 'Snapshot', [fd],
                 {'id': other, 'limit_bytes': -1}),
                ('InvalidParameter', 'Snapshots', [], {'vm': 'x'}),
                ('NoSuchPoint', 'Convert', [], {'snapshot': other}),
                ('NoSuchPoint', 'Convert', [], {'snapshot': 'x'}),
                ('NoSuchPoint', 'Drop', [], {'snapshot': other}),
                ('NoSuchPoint', 'Rename', [],
                 {'snapshot': other, 'label': ''}),
                ('InvalidParameter', 'Rename', [],
                 {'snapshot': one['id'], 'label': '\x1b'}),
                ('InvalidParameter', 'Drop', [], {}),
                ('NoSuchPoint', 'Destroy', [], {'point': one['id']})):
            with self.subTest(method=method, **parameters):
                self.refuses(name, w.call, method, fds, **parameters)
        self.assertEqual([s['id'] for s in self.listed(w)], [one['id']])
        w.call('Unserve')
        self.assertIn('serve it first', self.refuses(
            'InvalidState', w.call, 'Snapshot', [fd], id=other))

    def test_a_request_that_is_repeated(self):
        w = self.served()
        request = str(uuid.uuid4())
        one = self.take(w, request_id=request)
        self.assertEqual(self.take(w, request_id=request), one)
        self.refuses('AlreadyExists', self.take, w, request_id=request,
                     consistency='application')
        self.assertEqual(self.listed(w), [one])
        self.reader(one)

    def test_it_is_application_consistent_once_vouched_for(self):
        w = self.served()
        request = str(uuid.uuid4())
        asked = {'request_id': request, 'consistency': 'application'}
        one = self.take(w, **asked)
        self.assertEqual(one['consistency'], 'crash')
        w.call('Vouch', point=one['id'])
        self.assertEqual([s['consistency'] for s in self.listed(w)],
                         ['application'])
        self.assertEqual(self.take(w, **asked)['id'], one['id'])
        w.kill()
        w.start()
        self.assertEqual([s['consistency'] for s in self.listed(w)],
                         ['application'])
        point = w.call('Convert', snapshot=one['id'])['point']
        self.assertEqual(point['consistency'], 'application')

    # ---- a store that fails

    def faulty(self, rules):
        w = self.defined()
        with open(w.disks['root'], 'r+b') as f:
            f.write(b'a' * 64 * BLOCK)  # zeros would not be copied
        w.kill()
        w.start(FAULTY, REFPOINT_FAULTS_STORE=rules)
        w.serve()
        return w

    def test_without_room_it_is_invalid_and_the_guest_goes_on(self):
        w = self.faulty('write:name=scratch-*:nth=3:errno=ENOSPC')
        one, other = self.take(w), None
        guest = w.guest('root')
        for i in range(6):
            guest.pwrite(b'x' * BLOCK, i * BLOCK)
        told = self.listed(w)[0]
        self.assertEqual(told['state'], 'invalid')
        self.assertIn('No space left', told['reason'])
        with self.assertRaises(nbd.Error):
            self.reader(one).pread(BLOCK, 0)
        self.assertIn(told['reason'], self.refuses(
            'InvalidState', w.call, 'Convert', snapshot=one['id']))
        other = self.take(w)  # and the next one just works
        guest.pwrite(b'y' * BLOCK, 0)
        self.assertEqual(self.reader(other).pread(BLOCK, 0), b'x' * BLOCK)
        w.kill()
        w.start()
        self.assertEqual([s['state'] for s in self.listed(w)],
                         ['invalid', 'valid'])
        for snapshot in (one, other):
            w.call('Drop', snapshot=snapshot['id'])
        self.assertEqual(self.scratch(w), [])

    def unknown_outcome(self, method):
        """METHOD's commit cannot be synced; what it may have done and not."""
        for nth in range(1, 24):
            w = self.defined()
            w.serve()
            one = self.take(w)['id']
            w.kill()
            w.start(FAULTY, REFPOINT_FAULTS_STORE=(
                f'sync:name=catalogue.sqlite-wal:nth={nth}:errno=EIO'))
            try:
                w.serve()
                if method == 'Snapshot':
                    self.take(w)
                else:
                    w.call(method, snapshot=one)
            except CallError as e:
                if 'commit to' in str(e) and w.status()['state'] == 'serving':
                    return w, one
        raise AssertionError('no sync was of this commit')

    def export(self, w, point):
        """By a refpoint-target that we start, as refpointd does."""
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        memory = os.memfd_create('export', os.MFD_CLOEXEC |
                                 os.MFD_ALLOW_SEALING)
        os.ftruncate(memory, 9 << 20)
        fcntl.fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK)
        with tempfile.TemporaryFile() as f, ours, its, os.fdopen(memory):
            target = subprocess.Popen(
                [os.environ['REFPOINT_TARGET'], '--channel',
                 str(its.fileno()), '--vm', 'vm1'], pass_fds=[its.fileno()])
            its.close()
            try:
                socket.send_fds(ours, [b'\0'],
                                [memory, memory, f.fileno()])
                w.call('Export', [ours.fileno(), memory], source=point,
                       disks=[next(iter(w.disks))])
            finally:
                ours.close()
                target.wait()

    def undropped(self):
        """A worker whose export could not drop its snapshot; the point."""
        for nth in range(1, 48):
            w = self.defined()
            w.serve()
            point = w.create()
            w.kill()
            w.start(FAULTY, REFPOINT_FAULTS_STORE=(
                f'write:name=catalogue.sqlite-wal:nth={nth}:errno=ENOSPC'))
            try:
                w.serve()
                self.export(w, point)
            except CallError:
                continue
            if 'stays for now' in w.log():
                return w, point
        raise AssertionError('no write was of the drop')

    def test_an_export_drops_what_an_earlier_one_could_not(self):
        w, point = self.undropped()
        self.assertNotEqual(self.scratch(w), [])
        self.assertEqual(self.listed(w), [])
        self.export(w, point)
        self.assertEqual(self.scratch(w), [])

    def test_a_commit_whose_outcome_is_not_known(self):
        for method in ('Snapshot', 'Convert', 'Drop'):
            with self.subTest(method):
                w, one = self.unknown_outcome(method)
                self.refuses('TrackingStopped', w.call, 'Snapshots')
                self.assertEqual(w.status()['snapshots'], [])
                w.kill()
                w.start()
                w.serve()
                there = [s['id'] for s in self.listed(w)]
                points = [p['id'] for p in w.call('Points')['points']]
                if method != 'Drop':  # here or there
                    self.assertIn(one, there + points)
                self.assertEqual(set(there) & set(points), set())
                for s in self.listed(w):
                    w.call('Drop', snapshot=s['id'])
                self.assertEqual(self.scratch(w), [])

    def test_a_store_that_hangs_costs_the_snapshot_not_the_guest(self):
        flag = os.path.join(os.environ.get('TMPDIR', '/var/tmp'),
                            f'refpoint-stuck-{uuid.uuid4()}')
        w = self.faulty(f'write:name=scratch-*:hang={flag}')
        one = self.take(w)
        guest = w.guest('root')
        with open(flag, 'wb'):
            pass
        try:
            guest.pwrite(b'x' * BLOCK, 0)  # P4: within 5 s
            self.assertEqual(wait_until('the end of the snapshot', lambda: [
                s for s in self.listed(w) if s['state'] == 'invalid'])[0]['id'],
                one['id'])
            self.assertEqual(guest.pread(BLOCK, 0), b'x' * BLOCK)
        finally:
            os.unlink(flag)
        w.call('Drop', snapshot=one['id'])


if __name__ == '__main__':
    assert World
    unittest.main(verbosity=2)
