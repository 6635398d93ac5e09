#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Export, ExportJob and ExportDone: what refpointd makes of them."""
import os
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
