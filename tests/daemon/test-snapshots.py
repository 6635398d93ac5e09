#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Snapshots: what refpointd makes of Snapshot, Convert, Drop and Rename, as
jobs too, and what Systems tells."""
import json
import os
import socket
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from rig import JobsCase, RigCase, wait_until, worker_uid  # noqa: E402
from harness.refpoint import kill_now  # noqa: E402

NOBODY = '01234567-89ab-4def-8123-456789abcdef'
GUID = r'^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$'


class Case(JobsCase):
    def served(self, vm='v'):
        self.rig.define(vm)
        self.rig.call('Serve', vm=vm)
        return self.rig

    def made(self, vm='v', **more):
        return self.rig.call('Snapshot', vm=vm, **more)['snapshot']

    def snapshots(self, vm='v'):
        """Their ids, as Systems tells them; the worker says the same."""
        ids = [s['id'] for s in self.rig.system(vm)['snapshots']]
        told = self.rig.call('Snapshots', vm=vm)['snapshots']
        self.assertEqual([s['id'] for s in told], ids)
        return ids

    def entry(self, vm='v'):
        with open(f'{self.rig.root}/lib/inventory/{vm}.json') as f:
            return json.load(f)


class Readers(Case):
    def path(self, snapshot, vm='v'):
        return f'{self.rig.root}/run/vm/{vm}/{snapshot["id"][:18]}.sock'

    def names(self, vm='v'):
        return sorted(n for n in os.listdir(f'{self.rig.root}/run/vm/{vm}')
                      if n not in ('control.sock', 'nbd.sock'))

    def read(self, snapshot):
        """What the worker tells a reader: the snapshot's id."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20)
            s.connect(self.path(snapshot))
            return s.recv(100).decode()

    def test_each_snapshot_has_a_socket_for_as_long_as_it_is_there(self):
        rig = self.served()
        one, two, three = self.made(), self.made(), self.made()
        for s in (one, two, three):
            self.assertEqual(self.read(s), s['id'])
            mode = os.stat(self.path(s)).st_mode
            self.assertEqual(mode & 0o777, 0o660)
        rig.call('Drop', vm='v', snapshot=one['id'])
        rig.call('Convert', vm='v', snapshot=two['id'])
        self.assertEqual(self.names(), [os.path.basename(self.path(three))])
        self.assertEqual(self.read(three), three['id'])
        rig.call('Unserve', vm='v')
        self.assertEqual(self.names(), [])

    def test_no_socket_is_left_of_a_snapshot_that_did_not_come_to_be(self):
        rig = self.served()
        for _ in range(4):
            self.made()
        self.assertEqual(rig.error('Snapshot', vm='v').name, 'LimitReached')
        self.assertEqual(len(self.names()), 4)

    def test_a_repeat_leaves_no_socket_of_its_own(self):
        self.served()
        one = self.made(request_id=NOBODY)
        self.assertEqual(self.made(request_id=NOBODY), one)
        self.assertEqual(self.names(), [os.path.basename(self.path(one))])
        self.assertEqual(self.read(one), one['id'])

    def test_a_cancelled_job_leaves_no_socket(self):
        rig = self.served()
        job = self.held('Snapshot')
        rig.call('CancelJob', id=job['id'])
        self.release()
        self.assertEqual(self.ended(job)['state'], 'cancelled')
        self.assertEqual(self.names(), [])

    def test_the_next_worker_gets_a_socket_at_the_same_place(self):
        rig = self.served()
        one, two = self.made(), self.made()
        kill_now(rig.worker_pid('v'))
        wait_until('readers to be heard again', lambda: self.heard(two))
        self.assertEqual(self.read(one), one['id'])
        self.assertEqual(len(self.names()), 2)

    def closed(self, place):
        try:
            socket.create_connection((place['address'], place['port']),
                                     20).close()
            return False
        except ConnectionRefusedError:
            return True

    def test_a_port_closes_with_a_snapshot_that_went_unheard(self):
        """The worker dies of a Drop once it was done; the next one tells."""
        rig = self.served()
        kept, lost = (rig.call('Listen', vm='v', snapshot=self.made()['id'],
                               address='127.0.0.1', port=0) for _ in range(2))
        self.assertFalse(self.closed(kept) or self.closed(lost))
        rig.behave('v', die_after='Drop')
        rig.error('Drop', vm='v', snapshot=rig.events('v', 'id')[1]['id'])
        rig.behave('v')
        wait_until('the end of the port', lambda: self.closed(lost))
        self.assertFalse(self.closed(kept))

    def test_a_settled_worker_that_fails_to_say_when_one_ends_is_asked_again(
            self):
        rig = self.served()
        with rig.guest('v') as guest:
            rig.greeted_by(guest)
            wait_until('it to settle', lambda: 'settled vm=v' in
                       rig.log_text())
        rig.behave('v', fail=['AwaitEnd'])
        place = rig.call('Listen', vm='v', snapshot=self.made()['id'],
                         address='127.0.0.1', port=0)
        wait_until('the second question', lambda:
                   len(rig.events('v', 'AwaitEnd')) == 2)
        self.assertFalse(self.closed(place))
        rig.behave('v', reply={'AwaitEnd': {'snapshot': {
            'state': 'invalid', 'reason': 'so it was told'}}})
        wait_until('the end of the port', lambda: self.closed(place))
        text = rig.log_text()
        self.assertEqual(text.count('is asked again every 5 s: as told'), 1)
        self.assertIn('any more: it is invalid: so it was told', text)

    def heard(self, snapshot):
        try:
            return self.read(snapshot)
        except (FileNotFoundError, ConnectionRefusedError):
            return None


class Told(Case):
    def test_a_snapshots_life(self):
        rig = self.served()
        before = rig.call('Create', vm='v')['point']
        one = self.made(label='one', limit_bytes=1 << 30)
        self.assertRegex(one['id'], GUID)
        self.assertEqual((one['vm'], one['label'], one['limit_bytes']),
                         ('v', 'one', 1 << 30))
        two = self.made()
        self.assertNotEqual(one['id'], two['id'])
        self.assertEqual([e['id'] for e in rig.events('v', 'id')],
                         [one['id'], two['id']])
        told = rig.system('v')
        self.assertEqual(told['snapshots'], [one, two])
        self.assertEqual(told['points'], [before])
        self.assertEqual(rig.call('Status', vm='v')['status']['snapshots'],
                         [one, two])
        self.assertEqual(rig.systems()['v']['snapshots'], [])
        alone = rig.systems(snapshots=True)['v']
        self.assertEqual((alone['snapshots'], alone['points']),
                         (told['snapshots'], []))
        renamed = rig.call('Rename', vm='v', snapshot=two['id'],
                           label='two')['snapshot']
        self.assertEqual(renamed, dict(two, label='two'))
        self.assertEqual(rig.system('v')['snapshots'], [one, renamed])
        point = rig.call('Convert', vm='v', snapshot=one['id'])['point']
        self.assertEqual(point['id'], one['id'])
        self.assertEqual(self.snapshots(), [two['id']])
        self.assertEqual(rig.points('v'), [before['id'], one['id']])
        self.assertEqual(rig.call('List')['vms'][0]['points'], 2)
        self.assertEqual(rig.call('Drop', vm='v', snapshot=two['id']), {})
        self.assertEqual(self.snapshots(), [])
        self.assertEqual(rig.points('v'), [before['id'], one['id']])
        lines = [x.split('audit ')[1] for x in rig.log_text().splitlines()
                 if 'audit method' in x]
        for method in ('Snapshot', 'Rename', 'Convert', 'Drop'):
            self.assertTrue(any(x.startswith(f'method={method} vm=v')
                                for x in lines), method)

    def test_what_is_refused(self):
        rig = self.rig
        rig.define('v')
        for method in ('Snapshot', 'SnapshotJob'):
            e = rig.error(method, vm='v')
            self.assertEqual(e.name, 'InvalidState')
            self.assertIn('serve it first', e.message)
        self.assertEqual(rig.events('v', 'Snapshot'), [])
        rig.call('Serve', vm='v')
        gone = self.made()['id']
        rig.call('Drop', vm='v', snapshot=gone)
        for method, name, parameters in (
                ('Snapshot', 'NoSuchSystem', {'vm': 'nix'}),
                ('Snapshot', 'InvalidParameter', {'id': NOBODY}),
                ('SnapshotJob', 'InvalidParameter', {'id': NOBODY}),
                ('SnapshotJob', 'InvalidParameter', {'request_id': NOBODY}),
                ('Convert', 'NoSuchPoint', {'snapshot': gone}),
                ('ConvertJob', 'NoSuchPoint', {'snapshot': gone}),
                ('Drop', 'NoSuchPoint', {'snapshot': gone}),
                ('DropJob', 'NoSuchPoint', {'snapshot': gone}),
                ('Rename', 'NoSuchPoint', {'snapshot': gone, 'label': 'x'})):
            with self.subTest(method=method, **parameters):
                parameters.setdefault('vm', 'v')
                self.assertEqual(rig.error(method, **parameters).name, name)
        ids = [self.made()['id'] for _ in range(4)]
        self.assertEqual(rig.error('Snapshot', vm='v').name, 'LimitReached')
        self.assertEqual(self.snapshots(), ids)
        self.assertEqual(self.jobs(), [])
        kept = rig.call('Convert', vm='v', snapshot=ids[0])['point']
        self.assertEqual(rig.error('Convert', vm='v', snapshot=ids[0]).name,
                         'NoSuchPoint')
        self.assertEqual(rig.points('v'), [kept['id']])

    def test_they_are_known_without_a_worker_and_by_the_next_refpointd(self):
        rig = self.served()
        one = self.made()
        self.assertIn('d0', one['disks'][0]['nbd_uri'])
        rig.call('Unserve', vm='v')
        told = rig.system('v')['snapshots'][0]
        self.assertIsNone(told['disks'][0]['nbd_uri'])
        one['disks'][0]['nbd_uri'] = None
        self.assertEqual(told, one)
        asked = len(rig.events('v', 'Snapshots'))
        for _ in range(2):
            rig.kill()
            pid = rig.worker_pid('v')
            if pid:
                kill_now(pid)
            rig.start()
            self.assertEqual(rig.system('v')['snapshots'], [one])
            self.assertIsNone(rig.system('v')['worker_pid'])
        self.assertEqual(len(rig.events('v', 'Snapshots')), asked)
        # and converted without being served
        rig.call('Convert', vm='v', snapshot=one['id'])
        self.assertEqual(rig.points('v'), [one['id']])

    def test_those_of_another_boot_are_asked_for(self):
        rig = self.served()
        one, two = self.made(), self.made()
        rig.call('Unserve', vm='v')
        rig.kill()
        kill_now(rig.worker_pid('v'))
        entry = self.entry()
        self.assertEqual([s['id'] for s in entry['snapshots']],
                         [one['id'], two['id']])
        # what a power cut does: without a commit, one is not there any more
        entry['boot'] = NOBODY
        with open(f'{rig.root}/lib/inventory/v.json', 'w') as f:
            json.dump(entry, f)
        rig.behave('v', reply={'Snapshots': {'snapshots': [two]}})
        rig.start()
        self.assertEqual([s['id'] for s in rig.system('v')['snapshots']],
                         [two['id']])

    def test_how_they_are_is_asked_of_those_that_serve(self):
        rig = self.served()
        one = self.made()
        rig.behave('v', invalid='no room for what was overwritten')
        told = rig.system('v')['snapshots']
        self.assertEqual([(s['id'], s['state'], s['reason']) for s in told],
                         [(one['id'], 'invalid',
                           'no room for what was overwritten')])

    def test_a_worker_that_makes_snapshots_up(self):
        rig = self.served()
        one = self.made()
        for wrong in ({'id': 'x'}, {'state': 'odd'}, {'reason': '\x1b[2J'},
                      {'disks': [{}]}, {'limit_bytes': -1}, {'more': 1},
                      {'label': 'l' * 300}):
            with self.subTest(**wrong):
                rig.kill()
                kill_now(rig.worker_pid('v'))
                entry = self.entry()
                entry['boot'] = NOBODY
                with open(f'{rig.root}/lib/inventory/v.json', 'w') as f:
                    json.dump(entry, f)
                rig.behave('v', reply={'Snapshots': {
                    'snapshots': [dict(one, **wrong)]}})
                rig.start()
                self.assertEqual(rig.system('v')['snapshots'], [])
                rig.behave('v')
                rig.call('Create', vm='v')  # now they are asked for again
                wait_until('the snapshot', lambda: [
                    s['id'] for s in rig.system('v')['snapshots']] ==
                    [one['id']])

    def test_a_worker_that_is_older_knows_of_none(self):
        rig = self.rig
        rig.define('v')
        point = rig.call('Create', vm='v')['point']
        rig.behave('v', raw={'Snapshots': json.dumps({
            'error': 'org.varlink.service.MethodNotFound',
            'parameters': {'method': 'org.refpoint.worker.Snapshots'}}) +
            '\0'})
        rig.kill()
        os.unlink(f'{rig.root}/lib/inventory/v.json')
        rig.start()
        self.assertEqual(rig.points('v'), [point['id']])
        self.assertEqual(rig.system('v')['snapshots'], [])


class Doubt(Case):
    def test_a_worker_that_dies_once_it_was_done(self):
        rig = self.served()
        rig.behave('v', die_after='Snapshot')
        self.assertEqual(rig.error('Snapshot', vm='v').name,
                         'ServiceUnavailable')
        rig.behave('v')
        one = rig.events('v', 'id')[0]['id']
        self.assertEqual(self.snapshots(), [one])
        rig.behave('v', die_after='Convert')
        job = rig.call('ConvertJob', vm='v', snapshot=one)['job']
        self.assertEqual(job['state'], 'failed')
        rig.behave('v')
        self.assertEqual(self.snapshots(), [])
        self.assertEqual(rig.points('v'), [one])
        rig.wait_state('v', 'serving')
        two = self.made()['id']
        third = rig.worker_pid('v')
        rig.behave('v', die_after='Drop')
        self.assertEqual(rig.error('Drop', vm='v', snapshot=two).name,
                         'ServiceUnavailable')
        rig.behave('v')
        # after the third death there is a pause, and before it is noticed the
        # state is still that of the dead one
        wait_until('the next worker',
                   lambda: rig.worker_pid('v') not in (None, third))
        rig.wait_state('v', 'serving')
        self.assertEqual(self.snapshots(), [])

    def test_refpointd_that_is_killed_in_the_middle(self):
        """The worker goes on; the next refpointd hears what came of it."""
        rig = self.served()
        for method, there in (('Snapshot', 1), ('Convert', 0), ('Drop', 0)):
            with self.subTest(method=method):
                more = {}
                if method != 'Snapshot':
                    more['snapshot'] = self.made()['id']
                job = self.held(method, **more)
                rig.kill()
                rig.start()
                failed = self.job(job)
                self.assertEqual((failed['state'], failed['error']),
                                 ('failed', 'Failed'))
                self.assertEqual(failed['snapshot'], job['snapshot'])
                self.release()
                wait_until('what the worker did', lambda: len(
                    rig.system('v')['snapshots']) == there, timeout=60)
                self.assertEqual(rig.points('v'), [
                    more['snapshot']] if method == 'Convert' else
                    rig.points('v'))
                rig.behave('v')
                os.unlink(f'{rig.root}/fake/now')
                for s in self.snapshots():
                    self.assertEqual(s, job['snapshot'])
                    rig.call('Drop', vm='v', snapshot=s)

    def test_one_change_at_a_time(self):
        rig = self.served()
        one = self.made()['id']
        job = self.held('Convert', snapshot=one)
        for method, more in (('Snapshot', {}), ('Drop', {'snapshot': one}),
                             ('Convert', {'snapshot': one}), ('Create', {}),
                             ('Rename', {'snapshot': one, 'label': 'x'}),
                             ('Destroy', {'point': one})):
            e = rig.error(method, vm='v', **more)
            self.assertEqual(e.name, 'InvalidState')
            self.assertIn('Convert', e.message)
        self.release()
        self.assertEqual(self.ended(job)['state'], 'completed')


class Jobs(Case):
    def test_jobs_tell_of_the_snapshot(self):
        rig = self.served()
        reply = rig.call('SnapshotJob', vm='v', label='x', role='gateway',
                         caller={'name': 'jane', 'role': 'operator'})
        job, one = reply['job'], reply['snapshot']
        self.assertEqual(set(reply), {'job', 'snapshot'})
        for name, value in {'method': 'Snapshot', 'point': None,
                            'snapshot': one['id'], 'owner': 'jane',
                            'state': 'completed', 'percent': 100,
                            'cancellable': False, 'error': ''}.items():
            self.assertEqual(job[name], value, name)
        self.assertEqual(rig.system('v')['snapshots'], [one])
        reply = rig.call('ConvertJob', vm='v', snapshot=one['id'])
        self.assertEqual(set(reply), {'job', 'point'})
        self.assertEqual(reply['point']['id'], one['id'])
        self.assertEqual((reply['job']['method'], reply['job']['snapshot'],
                          reply['job']['point']),
                         ('Convert', one['id'], one['id']))
        two = self.made()
        reply = rig.call('DropJob', vm='v', snapshot=two['id'])
        self.assertEqual(set(reply), {'job'})
        self.assertEqual((reply['job']['snapshot'], reply['job']['point']),
                         (two['id'], None))
        kept = self.jobs()
        rig.kill()
        rig.start()
        self.assertEqual(self.jobs(), kept)

    def test_failures_are_jobs_that_failed(self):
        rig = self.served()
        one = self.made()['id']
        rig.behave('v', fail=['Snapshot', 'Convert', 'Drop'])
        for method, more in (('Snapshot', {}), ('Convert', {'snapshot': one}),
                             ('Drop', {'snapshot': one})):
            reply = rig.call(f'{method}Job', vm='v', **more)
            self.assertEqual(list(reply), ['job'])
            self.assertEqual(reply['job']['state'], 'failed')
            self.assertEqual(reply['job']['message'], 'as told')
        self.assertEqual(self.snapshots(), [one])

    def test_a_cancelled_snapshot_is_dropped(self):
        rig = self.served()
        kept = self.made()['id']
        job = self.held('Snapshot')
        self.assertTrue(job['cancellable'])
        self.assertRegex(job['snapshot'], GUID)
        told = rig.call('CancelJob', id=job['id'])['job']
        self.assertFalse(told['cancellable'])
        self.release()
        job = self.ended(job)
        self.assertEqual((job['state'], job['snapshot']), ('cancelled', None))
        self.assertEqual(self.snapshots(), [kept])
        self.assertEqual(len(rig.events('v', 'Drop')), 1)
        self.assertEqual(rig.events('v', 'Destroy'), [])

    def test_a_cancelled_snapshot_that_cannot_be_dropped_is_there(self):
        rig = self.served()
        job = self.held('Snapshot')
        rig.call('CancelJob', id=job['id'])
        rig.behave('v', fail=['Drop'])
        self.release()
        job = self.ended(job)
        self.assertEqual(job['state'], 'completed')
        self.assertIn('the snapshot is there: as told', job['message'])
        self.assertEqual(self.snapshots(), [job['snapshot']])

    def test_a_cancelled_snapshot_whose_drop_failed_and_happened(self):
        rig = self.served()
        job = self.held('Snapshot')
        rig.call('CancelJob', id=job['id'])
        rig.behave('v', fail=['Drop'], reply={'Snapshots': {'snapshots': []}})
        self.release()
        self.assertEqual(self.ended(job)['state'], 'cancelled')

    def test_a_worker_that_dies_while_a_snapshot_is_undone(self):
        rig = self.served()
        job = self.held('Snapshot')
        rig.call('CancelJob', id=job['id'])
        rig.behave('v', die_after='Drop')
        self.release()
        self.assertEqual(self.ended(job)['state'], 'cancelled')
        rig.behave('v')
        self.assertEqual(self.snapshots(), [])

    def test_convert_and_drop_cannot_be_cancelled(self):
        rig = self.served()
        for method in ('Convert', 'Drop'):
            one = self.made()['id']
            job = self.held(method, snapshot=one)
            self.assertFalse(job['cancellable'])
            self.assertEqual(job['snapshot'], one)
            self.assertIn('cannot be cancelled', self.error(
                'InvalidState', 'CancelJob', id=job['id']))
            self.release()
            self.assertEqual(self.ended(job)['state'], 'completed')
            rig.behave('v')
            os.unlink(f'{rig.root}/fake/now')


def main():
    if worker_uid() is None:
        print('SKIP: runs as root, and there is no user refpoint-worker')
        sys.exit(77)
    unittest.main(verbosity=2)


if __name__ == '__main__':
    main()
