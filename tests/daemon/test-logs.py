#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Log-based points: what refpointd makes of Create, Destroy and DropLog, as
jobs too, and what Systems tells of logs, which change by themselves."""
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from rig import JobsCase, wait_until, worker_uid  # noqa: E402

NOBODY = '01234567-89ab-4def-8123-456789abcdef'


class Told(JobsCase):
    def served(self):
        self.rig.define('v')
        self.rig.call('Serve', vm='v')
        return self.rig

    def made(self, **more):
        return self.rig.call('Create', vm='v', **more)['point']

    def logs(self):
        """Of each point, as Systems tells it: state and parts, or None."""
        return [p['log'] and (p['log']['state'], p['log']['parts'])
                for p in self.rig.system('v')['points']]

    def test_a_log_based_points_life(self):
        rig = self.served()
        one = self.made(type='log')
        self.assertEqual(one['log'], {'state': 'open', 'reason': '',
                                      'bytes': 4096, 'parts': 1})
        self.assertEqual(rig.system('v')['points'], [one])
        rct, two = self.made(), self.made(type='log')
        self.assertIsNone(rct['log'])
        self.assertEqual(self.logs(), [('closed', 1), None, ('open', 1)])
        rig.call('Destroy', vm='v', point=two['id'])
        self.assertEqual(self.logs(), [('open', 2), None])
        rig.call('DropLog', vm='v', point=one['id'])
        self.assertEqual(self.logs(), [('gone', 0), None])
        self.assertEqual(rig.system('v')['points'][0]['log']['reason'],
                         'removed by request')

    def test_what_is_refused(self):
        rig = self.served()
        rct, log = self.made(), self.made(type='log')
        self.error('InvalidState', 'DropLog', vm='v', point=rct['id'])
        self.error('NoSuchPoint', 'DropLog', vm='v', point=NOBODY)
        self.error('PermissionDenied', 'SetLogLimit', role='operator', vm='v',
                   bytes=1 << 30)
        rig.call('DropLog', role='operator', vm='v', point=log['id'])
        self.error('InvalidState', 'DropLog', vm='v', point=log['id'])
        self.assertEqual(self.logs(), [None, ('gone', 0)])
        self.assertEqual(self.jobs(), [])

    def test_a_log_that_goes_by_itself_is_told_of(self):
        """No commit and no change of ours: Status alone says it."""
        rig = self.served()
        self.made(type='log')
        self.assertEqual(self.logs(), [('open', 1)])
        rig.behave('v', lost='the limit of 5 bytes is reached')
        self.assertEqual(self.logs(), [('gone', 1)])
        asked = rig.events('v', 'Points')
        self.assertEqual(rig.system('v')['points'][0]['log']['reason'],
                         'the limit of 5 bytes is reached')
        self.assertEqual(rig.events('v', 'Points'), asked)

    def test_the_next_refpointd_knows_them(self):
        rig = self.served()
        self.made(type='log', label='"}],{')
        self.made(type='log')
        rig.call('Unserve', vm='v')
        told = rig.system('v')['points']
        rig.stop()
        rig.start()
        self.assertEqual(rig.system('v')['points'], told)

    def test_a_worker_that_dies_once_the_log_was_dropped(self):
        rig = self.served()
        point = self.made(type='log')
        rig.behave('v', die_after='DropLog')
        rig.error('DropLog', vm='v', point=point['id'])
        rig.behave('v')
        wait_until('the log to be gone',
                   lambda: self.logs() == [('gone', 0)])

    def test_a_log_is_dropped_as_a_job(self):
        rig = self.served()
        point = self.made(type='log')
        job = rig.call('DropLogJob', role='operator', vm='v',
                       point=point['id'])['job']
        self.assertEqual((job['method'], job['state'], job['point'],
                          job['cancellable']),
                         ('DropLog', 'completed', point['id'], False))
        self.assertEqual(self.logs(), [('gone', 0)])
        self.error('InvalidState', 'DropLogJob', vm='v', point=point['id'])
        self.assertEqual([j['id'] for j in self.jobs()], [job['id']])
        rig.stop()
        rig.start()
        self.assertEqual([(j['id'], j['method'], j['point'])
                          for j in self.jobs()],
                         [(job['id'], 'DropLog', point['id'])])
        made = rig.call('CreateJob', vm='v', type='log')
        self.assertEqual(made['point']['log']['state'], 'open')
        self.assertEqual(made['job']['point'], made['point']['id'])

    def test_the_limit_of_logs(self):
        rig = self.rig
        rig.define('v', log_limit=123456789)
        rig.define('w')

        def limit(vm):
            return rig.call('Status', vm=vm)['status']['log_limit']
        self.assertEqual((limit('v'), limit('w')), (123456789, 1 << 19))
        rig.call('SetLogLimit', vm='v', bytes=0)
        rig.call('SetLogLimit', vm='w', bytes=1 << 40)
        self.assertEqual((limit('v'), limit('w')), (1 << 19, 1 << 40))

    def test_logs_made_up_are_not_told(self):
        rig = self.served()
        point = self.made(type='log')
        good = dict(point['log'])
        for bad in (dict(good, state='ajar'), dict(good, bytes=-1),
                    dict(good, reason='\x1b'), dict(good, more=1), None, 7):
            rig.behave('v', reply={'Status': {'status': {
                'vm': 'v', 'disks': [],
                'logs': [{'point': point['id'], 'log': bad}, 7, {}]}}})
            self.assertEqual(rig.system('v')['points'], [point], bad)


def main():
    if worker_uid() is None:
        print('skipped: there is no user refpoint-worker')
        sys.exit(77)
    unittest.main(verbosity=2)


if __name__ == '__main__':
    main()
