#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""CreateJob, DestroyJob, Jobs, CancelJob: changes that are remembered."""
import os
import shutil
import sys
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from rig import Error, JobsCase, RigCase, wait_until, worker_uid  # noqa: E402
from harness.refpoint import kill_now  # noqa: E402
from varlink import point_id  # noqa: E402

NOBODY = '01234567-89ab-4def-8123-456789abcdef'


class Case(JobsCase):
    def audit(self):
        return [x.split('audit ')[1] for x in self.rig.log_text().splitlines()
                if 'audit method' in x and 'Define' not in x]


class Ends(Case):
    def test_a_job_that_is_done_at_once_is_answered_done(self):
        rig = self.rig
        uuid = rig.define('v')['uuid']
        caller = {'name': 'WORLD\\jane', 'role': 'operator'}
        reply = rig.call('CreateJob', vm='v', type='rct', label='x',
                         role='gateway', caller=caller)
        point, job = reply['point'], reply['job']
        self.assertEqual(point, rig.call('Points', vm='v')['points'][0])
        self.assertEqual(point['label'], 'x')
        for name, value in {
                'method': 'Create', 'vm': 'v', 'uuid': uuid,
                'point': point['id'], 'owner': 'WORLD\\jane',
                'state': 'completed', 'percent': 100, 'cancellable': False,
                'error': '', 'message': ''}.items():
            self.assertEqual(job[name], value, name)
        self.assertLessEqual(job['begun'], job['changed'])
        self.assertRegex(job['begun'], r'^20..-..-..T..:..:..[.]\d{9}Z$')
        self.assertLess(job['elapsed_ms'], 60000)
        self.assertEqual(self.jobs(), [job])
        self.assertEqual(self.jobs(id=job['id'].upper()), [job])
        self.assertEqual(self.jobs(id=NOBODY), [])
        reply = rig.call('DestroyJob', vm='v', point=point['id'],
                         role='operator')
        self.assertNotIn('point', reply)
        self.assertEqual(reply['job']['point'], point['id'])
        self.assertEqual(reply['job']['owner'], f'uid {os.geteuid()}')
        self.assertEqual(self.jobs(), [reply['job'], job])
        self.assertEqual(rig.points('v'), [])
        lines = self.audit()
        self.assertIn('method=CreateJob vm=v role=gateway', lines[0])
        self.assertIn('caller="WORLD\\jane" caller_role=operator result=0',
                      lines[0])
        self.assertIn('method=DestroyJob vm=v role=operator', lines[1])

    def test_what_is_not_called_as_a_job_leaves_none(self):
        self.rig.define('v')
        self.rig.call('Create', vm='v')
        self.rig.call('Destroy', vm='v', point=point_id(0))
        self.assertEqual(self.jobs(), [])

    def test_a_job_that_takes_longer_is_answered_running(self):
        rig = self.rig
        rig.define('v')
        job = self.held('Create')
        self.assertIsNone(job['point'])
        self.assertTrue(job['cancellable'])
        self.assertEqual(self.job(job)['state'], 'running')
        self.assertEqual(rig.error('Create', vm='v').name, 'InvalidState')
        self.release()
        done = self.ended(job)
        self.assertEqual(done['state'], 'completed')
        self.assertEqual(done['point'], point_id(0))
        self.assertEqual(rig.points('v'), [point_id(0)])
        self.assertGreater(done['changed'], job['changed'])
        os.unlink(f'{rig.root}/fake/now')
        job = self.held('Destroy', point=point_id(0))
        self.assertFalse(job['cancellable'])
        self.assertEqual(job['point'], point_id(0))
        self.release()
        self.assertEqual(self.ended(job)['state'], 'completed')
        self.assertEqual(rig.points('v'), [])

    def test_refusals_leave_no_job(self):
        rig = self.rig
        rig.define('v')
        for method, name, parameters in (
                ('CreateJob', 'NoSuchSystem', {'vm': 'nix'}),
                ('CreateJob', 'InvalidParameter', {'vm': '../v'}),
                ('CreateJob', 'InvalidParameter', {}),
                ('CreateJob', 'InvalidParameter', {'vm': 'v', 'wait_ms': -1}),
                ('CreateJob', 'InvalidParameter', {'vm': 'v', 'wait_ms': '1'}),
                ('CreateJob', 'InvalidParameter',
                 {'vm': 'v', 'wait_ms': 60001}),
                ('CreateJob', 'InvalidParameter',
                 {'vm': 'v', 'request_id': NOBODY}),
                ('DestroyJob', 'NoSuchPoint', {'vm': 'v', 'point': NOBODY})):
            with self.subTest(method=method, **parameters):
                self.assertEqual(rig.error(method, **parameters).name, name)
        rig.behave('v', gate={'Create': 'now'})
        client = rig.client()
        client.send('org.refpoint.Create', {'vm': 'v'})
        wait_until('Create', lambda: rig.events('v', 'Create'))
        self.assertEqual(rig.error('CreateJob', vm='v').name, 'InvalidState')
        self.release()
        client.answer()
        client.close()
        self.assertEqual(self.jobs(), [])
        self.assertEqual(os.listdir(f'{rig.root}/lib/jobs'), [])
        self.assertIn('method=CreateJob vm=nix role=admin', self.audit()[0])
        self.assertIn('result=4', self.audit()[0])

    def test_failures_are_jobs_that_failed(self):
        rig = self.rig
        rig.define('v')
        rig.behave('v', fail=['Create', 'Destroy'])
        for method, more in (('Create', {}), ('Destroy', {'point': NOBODY})):
            job = rig.call(f'{method}Job', vm='v', **more)['job']
            self.assertEqual(job['state'], 'failed')
            self.assertEqual(job['error'], 'IoError')
            self.assertEqual(job['message'], 'as told')
            self.assertEqual(job['percent'], 0)
            self.assertEqual(self.job(job), job)
        self.assertIn('result=2 (as told)', self.audit()[0])

    def test_a_refusal_behind_the_answer_is_a_failure(self):
        rig = self.rig
        rig.define('v')
        job = self.held('Destroy', point=NOBODY)
        self.release()
        job = self.ended(job)
        self.assertEqual((job['state'], job['error'], job['message']),
                         ('failed', 'NoSuchPoint', 'no'))

    def test_a_worker_that_dies_fails_the_job_and_what_it_did_is_told(self):
        rig = self.rig
        rig.define('v')
        rig.behave('v', die_after='Create')
        job = rig.call('CreateJob', vm='v')['job']
        rig.behave('v')
        self.assertEqual((job['state'], job['error']),
                         ('failed', 'ServiceUnavailable'))
        self.assertTrue(job['message'])
        self.assertEqual(rig.points('v'), [point_id(0)])

    def test_a_caller_that_hangs_up_changes_nothing(self):
        rig = self.rig
        rig.define('v')
        rig.behave('v', gate={'Create': 'now'})
        client = rig.client()
        client.send('org.refpoint.CreateJob', {'vm': 'v', 'wait_ms': 60000})
        wait_until('Create', lambda: rig.events('v', 'Create'))
        self.assertEqual(self.jobs(), [])  # it was not told
        client.close()
        wait_until('the job', self.jobs)
        self.release()
        job = self.ended(self.jobs()[0])
        self.assertEqual(job['state'], 'completed')
        self.assertEqual(job['point'], point_id(0))

    def test_the_job_of_an_undefined_system_is_remembered(self):
        rig = self.rig
        rig.define('v')
        job = rig.call('CreateJob', vm='v')['job']
        rig.call('Undefine', vm='v')
        self.assertEqual(self.jobs(), [job])

    def test_many_at_once(self):
        rig = self.rig
        names = [f'v{i}' for i in range(4)]
        for vm in names:
            rig.define(vm)
        ended = []

        def work(vm):
            for _ in range(5):
                try:
                    ended.append(rig.call('CreateJob', vm=vm)['job'])
                except Error as e:
                    self.assertEqual(e.name, 'InvalidState')

        threads = [threading.Thread(target=work, args=(vm,))
                   for vm in names * 2]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual({j['state'] for j in ended}, {'completed'})
        self.assertEqual(len({j['id'] for j in ended}), len(ended))
        self.assertEqual({j['point'] for j in self.jobs()},
                         {j['point'] for j in ended})
        self.assertEqual(sum(len(rig.points(vm)) for vm in names), len(ended))


class Cancelled(Case):
    def test_a_cancelled_create_leaves_no_point(self):
        rig = self.rig
        rig.define('v')
        rig.call('Create', vm='v')
        job = self.held('Create')
        for _ in range(2):  # twice is once
            told = rig.call('CancelJob', id=job['id'])['job']
            self.assertEqual(told['state'], 'running')
            self.assertFalse(told['cancellable'])
        self.release()
        job = self.ended(job)
        self.assertEqual(job['state'], 'cancelled')
        self.assertIsNone(job['point'])
        self.assertEqual(rig.points('v'), [point_id(0)])
        self.assertEqual(len(rig.call('Points', vm='v')['points']), 1)
        self.assertEqual(rig.call('List')['vms'][0]['points'], 1)
        self.assertEqual(len(rig.events('v', 'Destroy')), 1)
        self.assertIn('method=CancelJob vm=v role=admin', self.audit()[1])
        self.assertIn("is over (cancelled)", self.error(
            'InvalidState', 'CancelJob', id=job['id']))

    def test_what_cannot_be_cancelled(self):
        rig = self.rig
        rig.define('v')
        self.error('InvalidParameter', 'CancelJob', id=NOBODY)
        self.error('InvalidParameter', 'CancelJob', id='x')
        self.error('InvalidParameter', 'CancelJob')
        job = rig.call('CreateJob', vm='v')['job']
        self.assertIn('is over', self.error('InvalidState', 'CancelJob',
                                            id=job['id']))
        job = self.held('Destroy', point=point_id(0))
        self.error('InvalidState', 'CancelJob', id=job['id'])
        self.release()
        self.assertEqual(self.ended(job)['state'], 'completed')

    def test_a_point_that_cannot_be_destroyed_again_is_there(self):
        rig = self.rig
        rig.define('v')
        job = self.held('Create')
        rig.call('CancelJob', id=job['id'])
        rig.behave('v', fail=['Destroy'])
        self.release()
        job = self.ended(job)
        self.assertEqual(job['state'], 'completed')
        self.assertEqual(job['point'], point_id(0))
        self.assertIn('the point is there: as told', job['message'])
        self.assertEqual(rig.points('v'), [point_id(0)])

    def test_a_point_whose_destruction_failed_and_happened(self):
        """The point is not there then, whatever was answered."""
        rig = self.rig
        rig.define('v')
        kept = rig.call('Create', vm='v')['point']
        job = self.held('Create')
        rig.call('CancelJob', id=job['id'])
        rig.behave('v', fail=['Destroy'], reply={'Points': {'points': [kept]}})
        self.release()
        job = self.ended(job)
        self.assertEqual(job['state'], 'cancelled')
        self.assertIsNone(job['point'])
        self.assertEqual(rig.points('v'), [kept['id']])

    def test_a_point_of_which_nobody_knows_whether_it_was_destroyed(self):
        rig = self.rig
        rig.define('v')
        job = self.held('Create')
        rig.call('CancelJob', id=job['id'])
        rig.behave('v', fail=['Destroy', 'Points'])
        self.release()
        job = self.ended(job)
        self.assertEqual((job['state'], job['error']), ('failed', 'Failed'))
        self.assertIn('could not be cancelled (as told), and it is not known',
                      job['message'])
        self.assertEqual(rig.points('v'), [])
        rig.behave('v')
        rig.call('Create', vm='v')
        self.assertEqual(rig.points('v'), [point_id(0), point_id(1)])

    def test_a_worker_that_says_nothing_after_a_failed_destruction(self):
        rig = self.rig
        rig.define('v')
        job = self.held('Create')
        rig.call('CancelJob', id=job['id'])
        rig.behave('v', fail=['Destroy'], hang=['Points'])
        self.release()
        job = self.ended(job)
        self.assertEqual(job['state'], 'failed')
        self.assertIn('it is not known whether the point is there',
                      job['message'])

    def test_a_worker_that_dies_while_it_undoes(self):
        rig = self.rig
        rig.define('v')
        job = self.held('Create')
        rig.call('CancelJob', id=job['id'])
        rig.behave('v', die_after='Destroy')
        self.release()
        self.assertEqual(self.ended(job)['state'], 'cancelled')
        rig.behave('v')
        self.assertEqual(rig.points('v'), [])

    def test_a_cancelled_create_that_fails_has_failed(self):
        rig = self.rig
        rig.define('v')
        job = self.held('Create')
        rig.call('CancelJob', id=job['id'])
        rig.behave('v')
        rig.kill_worker('v')
        job = self.ended(job)
        self.assertEqual((job['state'], job['error']),
                         ('failed', 'ServiceUnavailable'))


class Kept(Case):
    def test_jobs_survive_refpointd(self):
        rig = self.rig
        for vm in ('v', 'w'):
            rig.define(vm)
        done = rig.call('CreateJob', vm='v')['job']
        runs = self.held('Create', 'w')
        for end in (rig.kill, rig.stop):
            end()
            rig.start()
            found = {j['id']: j for j in self.jobs()}
            self.assertEqual(found[done['id']], done)
            failed = found[runs['id']]
            self.assertEqual((failed['state'], failed['error']),
                             ('failed', 'Failed'))
            self.assertIn('started anew', failed['message'])
            self.assertEqual(len(found), 2)
        self.error('InvalidState', 'CancelJob', id=runs['id'])
        self.release()
        wait_until('the point of the other refpointd',
                   lambda: rig.points('w') == [point_id(0)], timeout=60)

    def test_at_the_limit_no_more_are_begun_and_none_is_dropped(self):
        rig = self.rig
        rig.define('v')
        job = rig.call('CreateJob', vm='v')['job']
        rig.kill()
        kill_now(rig.worker_pid('v'))
        jobs = f'{rig.root}/lib/jobs'
        with open(f'{jobs}/{job["id"]}.json') as f:
            text = f.read()
        for i in range(1023):
            other = point_id(i + 1)
            with open(f'{jobs}/{other}.json', 'w') as f:
                f.write(text.replace(job['id'], other)
                        .replace('"owner":"', '"owner":"' + 'o' * 100)
                        .replace('"message":"', '"message":"' + 'm' * 300))
        rig.start()
        client = rig.client()
        replies = list(client.stream('org.refpoint.Jobs'))
        client.close()
        self.assertGreater(len(replies), 4)
        ids = [j['id'] for r in replies for j in r['jobs']]
        self.assertEqual(len(set(ids)), 1024)
        self.assertEqual(len(ids), 1024)
        self.error('LimitReached', 'CreateJob', vm='v')
        self.error('LimitReached', 'DestroyJob', vm='v', point=job['point'])
        self.assertEqual(self.job(job), job)
        self.assertEqual(rig.points('v'), [point_id(0)])
        rig.call('Create', vm='v')  # which needs no record
        rig.kill()
        shutil.rmtree(jobs)
        rig.start()
        self.assertEqual(self.jobs(), [])
        self.assertEqual(rig.call('CreateJob', vm='v')['job']['state'],
                         'completed')

    def test_what_is_no_job_harms_none(self):
        rig = self.rig
        rig.define('v')
        job = rig.call('CreateJob', vm='v')['job']
        rig.kill()
        with open(f'{rig.root}/lib/jobs/{NOBODY}.json', 'w') as f:
            f.write('{}')
        rig.start()
        self.assertEqual(self.jobs(), [job])
        self.assertEqual(os.listdir(f'{rig.root}/lib/jobs'),
                         [f'{job["id"]}.json'])


def main():
    if worker_uid() is None:
        print('SKIP: runs as root, and there is no user refpoint-worker')
        sys.exit(77)
    unittest.main(verbosity=2)


if __name__ == '__main__':
    main()
