#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Export, ExportJob and ExportDone: what refpointd makes of them."""
import hashlib
import hmac
import os
import stat
import struct
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from rig import Error, RigCase, wait_until, worker_uid  # noqa: E402

SOURCE = '01234567-89ab-4def-8123-456789abcdef'
HALF = {'done_bytes': 30, 'total_bytes': 60}


class Case(RigCase):
    def setUp(self):
        super().setUp()
        self.rig.define('v')
        self.rig.call('Serve', vm='v')
        self.path = os.path.join(self.rig.root, 'target')
        self.target = self.open(self.path)

    def open(self, path):
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self.addCleanup(os.close, fd)
        return fd

    def begin(self, method, role='admin', target=None, **more):
        """The connection of a call that is under way, and its first reply
        that says more than that there is a job."""
        client = self.rig.client(role)
        self.addCleanup(client.close)
        client.send(f'org.refpoint.{method}',
                    {'vm': 'v', 'source': SOURCE, 'disks': ['d0'], **more},
                    [target or self.target], more=True)
        first = client.answer()['parameters']
        if list(first) == ['job'] and first['job']['state'] == 'running':
            first = client.answer()['parameters']
        return client, first

    def release(self):
        with open(f'{self.rig.root}/fake/now', 'w', encoding='utf-8'):
            pass

    def wait_event(self, what):
        wait_until(what, lambda: self.rig.events('v', what))

    def jobs(self, **parameters):
        return self.rig.call('Jobs', **parameters)['jobs']

    def wait_job(self, job, state):
        wait_until(f'a job {state}',
                   lambda: self.jobs(id=job['id'])[0]['state'] == state)
        return self.jobs(id=job['id'])[0]

    def exported(self, client):
        """What came with the end of the writing."""
        self.release()
        while True:
            got = client.answer()
            if 'exported' in got['parameters']:
                return got


class Streams(Case):
    def test_an_export_fills_what_the_caller_opened(self):
        client, first = self.begin('Export', role='operator')
        self.assertEqual(first, {'progress': HALF})
        got = self.exported(client)
        self.assertNotIn('continues', got)
        self.assertEqual(got['parameters']['exported'],
                         {'id': SOURCE, 'disks': [{'id': 'd0'}]})
        with open(self.path, encoding='utf-8') as f:
            self.assertEqual(f.read(), 'filled')
        self.assertEqual(self.jobs(), [])
        self.assertIn('audit method=Export vm=v role=operator',
                      self.rig.log_text())

    def test_who_hangs_up_ends_it(self):
        client, _ = self.begin('Export')
        client.close()
        self.wait_event('gone')

    def test_several_run_at_once_and_points_are_made_meanwhile(self):
        a, _ = self.begin('Export')
        b, _ = self.begin('Export', target=self.open(self.path + '-b'))
        self.rig.call('Create', vm='v')
        self.exported(a)
        self.exported(b)

    def test_a_worker_that_dies_is_named(self):
        client, _ = self.begin('Export')
        self.rig.kill_worker('v')
        with self.assertRaises(Error) as caught:
            while True:
                client.answer()
        self.assertEqual(caught.exception.name, 'ServiceUnavailable')
        self.assertIn("the worker of 'v': ", str(caught.exception))

    def test_what_is_not_served_is_not_exported(self):
        self.rig.call('Unserve', vm='v')
        for method in ('Export', 'ExportJob'):
            with self.assertRaises(Error) as caught:
                self.begin(method)
            self.assertEqual(caught.exception.name, 'InvalidState')
        self.assertEqual(self.jobs(), [])

    def test_what_the_worker_refuses_is_refused(self):
        self.rig.behave('v', fail=['Export'])
        with self.assertRaises(Error) as caught:
            self.begin('Export')
        self.assertEqual(caught.exception.name, 'IoError')
        _, last = self.begin('ExportJob')
        self.assertEqual((last['job']['state'], last['job']['error']),
                         ('failed', 'IoError'))


class Logs(Case):
    """Two files for each log, and documents that refpointd vouches for."""

    KEY = '5a' * 32

    def setUp(self):
        super().setUp()
        self.release()
        self.uuid = self.rig.call('Status', vm='v')['status']['uuid']

    def documents(self, vm='v', uuid=None):
        return {'config': f'{{"version":2,\n"vm":"{vm}",\n'
                          f'"uuid":"{uuid or self.uuid}",\n',
                'state': '{"version":2,\n'}

    def export(self, documents, targets=(), **more):
        self.rig.behave('v', exported={'documents': documents})
        return self.rig.call('Export', list(targets), vm='v', source=SOURCE,
                             disks=['d0'], content='logs', **more)['exported']

    def mac(self, key, said):
        """By docs/format/log-export.md."""
        config, state = (said[k].encode() for k in ('config', 'state'))
        lines = [t.rpartition(b'"mac":"') for t in (config, state)]
        self.assertEqual(lines[0][2], lines[1][2])
        self.assertRegex(lines[0][2].decode(), r'^[0-9a-f]{64}"}\n$')
        bodies = [line[0] for line in lines]
        self.assertEqual([b.decode() for b in bodies],
                         list(self.documents().values()))
        text = (b'refpoint log export 2\n\0\0' +
                struct.pack('<Q', len(bodies[0])) + b''.join(bodies))
        self.assertEqual(
            lines[0][2][:64].decode(),
            hmac.new(key, text, hashlib.sha256).hexdigest())

    def test_the_hosts_key_vouches_for_what_a_worker_says(self):
        said = self.export(self.documents())['documents']
        path = os.path.join(self.rig.root, 'lib', 'import-key')
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        with open(path, encoding='ascii') as f:
            key = bytes.fromhex(f.read())
        self.mac(key, said)
        self.mac(key, self.export(self.documents())['documents'])

    def test_a_key_that_hosts_share_stays_with_refpointd(self):
        said = self.export(self.documents(), key=self.KEY)['documents']
        self.mac(bytes.fromhex(self.KEY), said)
        self.assertNotIn(self.KEY, str(self.rig.events('v')))
        self.assertNotIn(self.KEY, self.rig.log_text())
        for bad in '', 'x' * 64, self.KEY[1:], 7:
            with self.assertRaises(Error) as caught:
                self.export(self.documents(), key=bad)
            self.assertEqual(caught.exception.name, 'InvalidParameter')

    def test_a_host_without_a_fit_key_writes_nothing(self):
        path = os.path.join(self.rig.root, 'lib', 'import-key')
        self.rig.behave('v', exported={'documents': self.documents()})
        for text, mode, name in ((self.KEY, 0o640, 'Failed'),
                                 (self.KEY, 0o604, 'Failed'),
                                 ('5a\n', 0o600, 'Damaged')):
            with open(path, 'w', encoding='ascii') as f:
                os.fchmod(f.fileno(), mode)
                f.write(text)
            targets = [self.target, self.open(self.path + '-side')]
            for method in 'Export', 'ExportJob':
                client = self.rig.client('admin')
                self.addCleanup(client.close)
                with self.assertRaises(Error) as caught:
                    client.send(f'org.refpoint.{method}', {
                        'vm': 'v', 'source': SOURCE, 'disks': ['d0'],
                        'content': 'logs', 'logs': [SOURCE]}, targets,
                                more=True)
                    while client.answer().get('continues'):
                        pass
                self.assertEqual(caught.exception.name, name)
                self.assertIn(f"'{os.path.dirname(path)}'",
                              str(caught.exception))
                self.assertIn("'import-key'", str(caught.exception))
            os.unlink(path)
        self.assertEqual(self.rig.events('v', 'exported'), [])
        self.assertEqual(os.stat(self.path).st_size, 0)
        self.assertEqual(self.jobs(), [])
        # who brings a key needs none of the host's
        os.mkdir(path)
        self.export(self.documents(), key=self.KEY)

    def test_a_key_is_of_no_use_for_disks(self):
        with self.assertRaises(Error) as caught:
            self.rig.call('Export', [self.target], vm='v', source=SOURCE,
                          disks=['d0'], content='disks', key=self.KEY)
        self.assertEqual(caught.exception.name, 'InvalidParameter')
        self.assertEqual(self.rig.events('v', 'exported'), [])

    def test_a_worker_speaks_for_its_own_system_alone(self):
        for bad in (self.documents(vm='w'), self.documents(uuid=SOURCE),
                    {'config': '{"version":2,\n', 'state': '{'},
                    {'config': 'x', 'state': 'x'},
                    {'config': '{"version":2,\n'}, {'config': 1, 'state': 2}):
            with self.assertRaises(Error) as caught:
                self.export(bad)
            self.assertEqual(caught.exception.name, 'ProtocolError', bad)

    def test_two_files_come_for_each_log(self):
        targets = [self.open(f'{self.path}-{n}') for n in range(4)]
        self.export(self.documents(), targets, logs=[SOURCE, self.uuid])
        for n in range(4):
            with open(f'{self.path}-{n}', encoding='utf-8') as f:
                self.assertEqual(f.read(), 'filled')
        for n, logs in ((1, [SOURCE]), (3, [SOURCE]), (1, [])):
            with self.assertRaises(Error) as caught:
                self.export(self.documents(), targets[:n], logs=logs)
            self.assertEqual(caught.exception.name, 'InvalidParameter')

    def test_as_many_files_come_as_a_message_carries(self):
        targets = [self.open(f'{self.path}-{n}') for n in range(248)]
        self.export(self.documents(), targets, logs=[SOURCE] * 124)
        with open(f'{self.path}-247', encoding='utf-8') as f:
            self.assertEqual(f.read(), 'filled')

    def test_they_are_exported_of_what_is_not_served(self):
        self.rig.call('Unserve', vm='v')
        self.rig.behave('v', reply={'Export': {'exported': {'disks': []}}})
        client = self.rig.client('admin')
        self.addCleanup(client.close)
        client.send('org.refpoint.ExportJob',
                    {'vm': 'v', 'source': SOURCE, 'disks': [],
                     'content': 'logs'}, more=True)
        while 'exported' not in (got := client.answer())['parameters']:
            pass
        self.rig.call('ExportDone', job=got['parameters']['job']['id'])


class Jobs(Case):
    def test_the_record_tells_how_far_it_is(self):
        client, first = self.begin('ExportJob')
        job = first['job']
        self.assertEqual(first['progress'], HALF)
        for name, value in {'method': 'Export', 'vm': 'v', 'point': SOURCE,
                            'state': 'running', 'percent': 49,
                            'cancellable': True}.items():
            self.assertEqual(job[name], value, name)
        self.assertEqual(self.jobs(id=job['id'])[0]['percent'], 49)
        client.close()

    def test_it_is_there_before_the_worker_says_anything(self):
        self.rig.behave('v', hang=['Export'])
        client = self.rig.client('admin')
        self.addCleanup(client.close)
        client.send('org.refpoint.ExportJob',
                    {'vm': 'v', 'source': SOURCE, 'disks': ['d0']},
                    [self.target], more=True)
        job = client.answer()['parameters']['job']
        self.assertEqual((job['state'], job['percent']), ('running', 0))
        self.assertEqual(self.rig.call('CancelJob', id=job['id'])['job']
                         ['state'], 'cancelled')

    def test_it_is_over_when_its_caller_says_so(self):
        client, first = self.begin('ExportJob')
        job = first['job']
        self.error('InvalidState', 'ExportDone', job=job['id'])
        got = self.exported(client)
        self.assertTrue(got['continues'])
        now = self.jobs(id=job['id'])[0]
        self.assertEqual((now['state'], now['percent'], now['cancellable']),
                         ('running', 99, False))
        self.error('InvalidState', 'CancelJob', id=job['id'])
        self.rig.call('ExportDone', job=job['id'])
        last = client.answer()
        self.assertNotIn('continues', last)
        self.assertEqual(last['parameters']['job']['state'], 'completed')
        self.assertEqual(self.jobs(id=job['id'])[0]['percent'], 100)
        self.error('InvalidParameter', 'ExportDone', job=job['id'])

    def test_what_went_wrong_with_the_files_is_how_it_ends(self):
        client, first = self.begin('ExportJob')
        self.exported(client)
        self.rig.call('ExportDone', job=first['job']['id'], error='NoSpace',
                      message='the disk is full')
        job = client.answer()['parameters']['job']
        self.assertEqual((job['state'], job['error'], job['message']),
                         ('failed', 'NoSpace', 'the disk is full'))

    def test_cancelled_it_ends_at_once(self):
        client, first = self.begin('ExportJob')
        job = self.rig.call('CancelJob', id=first['job']['id'])['job']
        self.assertEqual(job['state'], 'cancelled')
        self.wait_event('gone')
        while 'progress' in (last := client.answer()['parameters']):
            pass
        self.assertEqual(last['job']['state'], 'cancelled')

    def test_a_caller_that_goes_away_fails_it(self):
        client, first = self.begin('ExportJob')
        client.close()
        self.wait_event('gone')
        job = self.wait_job(first['job'], 'failed')
        self.assertEqual(job['error'], 'Cancelled')

    def test_a_caller_that_goes_away_with_the_files_fails_it(self):
        client, first = self.begin('ExportJob')
        self.exported(client)
        client.close()
        self.wait_job(first['job'], 'failed')

    def test_a_worker_that_dies_fails_it(self):
        client, first = self.begin('ExportJob')
        self.rig.kill_worker('v')
        while 'progress' in (last := client.answer()['parameters']):
            pass
        self.assertEqual((last['job']['state'], last['job']['error']),
                         ('failed', 'ServiceUnavailable'))
        self.assertEqual(self.wait_job(first['job'], 'failed'), last['job'])

    def test_one_reply_is_not_enough(self):
        self.error('InvalidParameter', 'ExportJob', [self.target], vm='v',
                   source=SOURCE, disks=['d0'])

    def test_refpointd_that_dies_leaves_it_failed(self):
        client, first = self.begin('ExportJob')
        self.rig.kill()
        self.wait_event('gone')
        self.rig.start()
        self.wait_job(first['job'], 'failed')
        client.close()


if __name__ == '__main__':
    if worker_uid() is None:
        print('SKIP: runs as root, and there is no user refpoint-worker')
        sys.exit(77)
    unittest.main(verbosity=2)
