#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Application-consistent points and snapshots: refpointd, refpoint-agent and a
guest's agent; and that no guest stays frozen, whoever dies."""
import os
import signal
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from rig import RigCase, wait_until  # noqa: E402
from harness.agent import Agent  # noqa: E402
from harness.process import pids_naming  # noqa: E402
from harness.refpoint import gone, kill_now  # noqa: E402

APPLICATION = {'vm': 'v', 'consistency': 'application'}
FROZEN_MAX = 10


class Case(RigCase):
    def setUp(self):
        super().setUp()
        self.agent = Agent(f'{self.rig.top}/ga.sock')
        self.addCleanup(self.agent.close)
        self.addCleanup(self.end_helpers)
        self.rig.define('v', agent=self.agent.path)
        self.rig.call('Serve', vm='v')

    def end_helpers(self):
        for pid in self.helpers():
            kill_now(pid)

    def helpers(self):
        return [pid for pid in pids_naming(self.agent.path) if not gone(pid)
                and self.is_helper(pid)]

    @staticmethod
    def is_helper(pid):
        try:
            with open(f'/proc/{pid}/cmdline', 'rb') as f:
                return b'refpoint-agent' in f.read().split(b'\0')[0]
        except OSError:
            return False

    def marks(self):
        return os.listdir(f'{self.rig.root}/run/frozen')

    def levels(self):
        return [p['consistency'] for p in self.rig.system('v')['points']]

    def all_is_well(self, timeout=20):
        """The guest is thawed, and nothing is left."""
        wait_until('the guest to be thawed', lambda: not self.agent.frozen,
                   timeout)
        wait_until('the mark to go', lambda: not self.marks(), timeout)
        wait_until('the helpers to end', lambda: not self.helpers(), timeout)

    def fails(self, name, text, **more):
        message = self.error(name, 'Create', **APPLICATION, **more)
        self.assertIn(text, message)
        self.assertEqual(self.rig.points('v'), [])
        self.assertFalse([e for e in self.rig.events('v', 'Destroy')])

    def begin(self, method='Create', **more):
        """A call that does not end before release()."""
        self.rig.behave('v', gate={method: 'go'})
        client = self.rig.client()
        client.send(f'org.refpoint.{method}', dict(APPLICATION, **more))
        wait_until('the worker to be asked', lambda:
                   self.rig.events('v', method))
        self.assertTrue(self.agent.frozen)
        self.addCleanup(client.close)
        return client

    def release(self):
        with open(f'{self.rig.root}/fake/go', 'w'):
            pass


class Points(Case):
    def test_a_point_is_made_while_the_guest_is_frozen(self):
        client = self.begin()
        self.assertEqual(self.marks(), ['v'])
        self.assertEqual(self.levels(), [])
        self.release()
        point = client.answer()['parameters']['point']
        self.assertEqual(point['consistency'], 'application')
        self.assertEqual(self.agent.asked,
                         ['sync', 'status', 'freeze', 'thaw', 'status'])
        self.assertEqual(self.levels(), ['application'])
        self.assertEqual(self.rig.call('Points', vm='v')['points'], [point])
        self.all_is_well()
        self.rig.behave('v')
        self.assertEqual(self.rig.call('Create', vm='v')['point'][
            'consistency'], 'crash')
        self.assertEqual(self.agent.asked.count('freeze'), 1)

    def test_as_a_job_and_as_a_snapshot(self):
        reply = self.rig.call('CreateJob', **APPLICATION)
        self.assertEqual(reply['job']['state'], 'completed')
        self.assertEqual(reply['point']['consistency'], 'application')
        snapshot = self.rig.call('Snapshot', **APPLICATION)['snapshot']
        self.assertEqual(snapshot['consistency'], 'application')
        self.assertEqual(self.rig.system('v')['snapshots'][0]['consistency'],
                         'application')
        reply = self.rig.call('SnapshotJob', **APPLICATION)
        self.assertEqual(reply['snapshot']['consistency'], 'application')
        self.assertEqual(self.agent.asked.count('thaw'), 3)

    def test_a_cancelled_job_is_undone(self):
        self.rig.behave('v', gate={'Create': 'go'})
        job = self.rig.call('CreateJob', wait_ms=1, **APPLICATION)['job']
        wait_until('the freeze', lambda: self.rig.events('v', 'Create'))
        self.rig.call('CancelJob', id=job['id'])
        self.release()
        wait_until('the end', lambda: self.rig.call('Jobs', id=job['id'])[
            'jobs'][0]['state'] == 'cancelled')
        self.assertEqual(self.rig.points('v'), [])
        self.all_is_well()

    def test_the_worker_has_less_time_than_the_guest_is_frozen(self):
        for given, want in ((None, 9500), (60000, 9500), (1000, 1000)):
            self.rig.call('Create', timeout_ms=given, **APPLICATION)
            ms = self.rig.events('v', 'Create')[-1]['timeout_ms']
            self.assertLessEqual(ms, want)
            self.assertGreater(ms, want - 2000)

    def test_without_an_agent_there_is_none(self):
        self.rig.call('SetAgent', vm='v', agent='')
        self.fails('NotSupported', 'set-agent')
        self.error('NotSupported', 'Snapshot', **APPLICATION)
        self.error('NotSupported', 'SnapshotJob', **APPLICATION)
        self.assertEqual(self.rig.call('Jobs')['jobs'], [])

    def test_without_a_guest_there_is_none(self):
        self.rig.call('Unserve', vm='v')
        self.fails('InvalidState', 'is not served')
        self.assertEqual(self.agent.asked, [])


class Broken(Case):
    def test_an_agent_that_is_not_there(self):
        self.agent.close()
        self.fails('InvalidState', 'nobody answers on')
        self.all_is_well()

    def test_an_agent_that_does_not_answer(self):
        self.agent.silent = {'sync'}
        self.fails('InvalidState', 'does not answer')
        self.assertEqual(self.rig.call('Jobs')['jobs'], [])
        self.all_is_well()

    def test_a_guest_that_cannot_be_frozen(self):
        self.agent.errors = {'freeze': 1}
        self.fails('InvalidState', 'cannot be frozen: freeze ?[31mfails')
        self.all_is_well()

    def test_who_is_frozen_already_stays_so(self):
        self.agent.frozen = True
        self.fails('InvalidState', 'by somebody else')
        self.assertTrue(self.agent.frozen)
        self.assertEqual(self.marks(), [])

    def test_a_worker_that_refuses_thaws_the_guest(self):
        self.rig.behave('v', fail=['Create'])
        message = self.rig.error('Create', **APPLICATION)
        self.assertNotIn('frozen', message.message)
        self.assertIn('thaw', self.agent.asked)
        self.all_is_well()

    def test_a_guest_that_was_thawed_meanwhile_leaves_no_point(self):
        self.agent.thawed_early = True
        message = self.error('Failed', 'Create', **APPLICATION)
        self.assertIn('did not stay frozen', message)
        self.assertEqual(self.rig.points('v'), [])
        self.assertEqual(len(self.rig.events('v', 'Destroy')), 1)
        self.assertFalse(self.rig.events('v', 'Vouch'))
        reply = self.rig.call('SnapshotJob', **APPLICATION)
        self.assertEqual(reply['job']['state'], 'failed')
        self.assertEqual(self.rig.system('v')['snapshots'], [])
        self.all_is_well()

    def test_a_worker_that_is_too_slow_keeps_no_guest_frozen(self):
        client = self.begin()
        wait_until('the guest to be thawed', lambda: not self.agent.frozen,
                   FROZEN_MAX + 2)
        self.assertLess(self.agent.frozen_for, FROZEN_MAX + 1)
        self.release()
        with self.assertRaises(Exception) as caught:
            client.answer()
        self.assertEqual(caught.exception.name, 'Timeout')
        self.assertEqual(self.rig.points('v'), [])
        self.all_is_well()

    def test_a_point_that_cannot_be_vouched_for_is_undone(self):
        self.rig.behave('v', fail=['Vouch'])
        self.rig.error('Create', **APPLICATION)
        self.assertEqual(self.rig.points('v'), [])
        self.all_is_well()

    def test_a_point_that_cannot_be_undone_is_told_and_crash_consistent(self):
        self.agent.thawed_early = True
        self.rig.behave('v', fail=['Destroy'])
        message = self.error('Failed', 'Create', **APPLICATION)
        self.assertIn('which is crash-consistent, could not be undone',
                      message)
        self.assertEqual(self.levels(), ['crash'])

    def test_an_agent_that_does_not_thaw_is_asked_until_it_does(self):
        hang = self.agent.hang['thaw'] = threading.Event()
        message = self.error('Failed', 'Create', **APPLICATION)
        self.assertIn('may still be frozen', message)
        self.assertEqual(self.rig.points('v'), [])
        message = self.error('InvalidState', 'Create', **APPLICATION)
        self.assertIn(f"still being thawed, through '{self.agent.path}'",
                      message)
        self.assertIn('set-agent', message)
        self.assertEqual(self.rig.call('Create', vm='v')['point'][
            'consistency'], 'crash')
        self.agent.hang = {}
        hang.set()
        self.all_is_well(40)


class GivenUp(Case):
    """A guest that is never thawed, until its agent is named anew."""

    def setUp(self):
        super().setUp()
        self.agent.silent = {'sync'}
        self.leave_mark(self.agent.path)

    def leave_mark(self, agent, **environment):
        """As two deaths at once leave it."""
        self.rig.stop()
        with open(f'{self.rig.root}/run/frozen/v', 'w') as f:
            f.write(agent)
        environment = {**self.rig.environment(), **environment}
        self.rig.environment = lambda: environment
        self.rig.start()
        self.rig.wait_state('v', 'serving')

    def blocked(self):
        message = self.error('InvalidState', 'Create', **APPLICATION)
        self.assertIn('still being thawed', message)
        self.assertEqual(self.marks(), ['v'])

    def test_by_another_agent(self):
        self.blocked()
        self.rig.error('SetAgent', vm='v', agent='nonsense')
        self.blocked()
        other = Agent(f'{self.rig.top}/other.sock')
        self.addCleanup(other.close)
        self.rig.call('SetAgent', vm='v', agent=other.path)
        self.assertEqual(self.marks(), [])
        self.assertEqual(self.rig.call('Create', **APPLICATION)['point'][
            'consistency'], 'application')
        self.assertEqual(other.asked.count('freeze'), 1)

    def test_by_the_same_which_came_back(self):
        self.blocked()
        self.end_helpers()  # one connection at a time
        self.agent.silent = set()
        self.agent.hang_up()
        self.rig.call('SetAgent', vm='v', agent=self.agent.path)
        self.assertEqual(self.rig.call('Create', **APPLICATION)['point'][
            'consistency'], 'application')

    def test_by_none(self):
        self.blocked()
        self.rig.call('SetAgent', vm='v', agent='')
        self.assertEqual(self.marks(), [])
        self.fails('NotSupported', 'set-agent')
        self.rig.stop()
        self.rig.start()
        self.assertEqual(self.marks(), [])

    def test_not_needed_where_the_domain_is_gone(self):
        bin_dir = f'{self.rig.top}/bin'
        os.mkdir(bin_dir)
        with open(f'{bin_dir}/virsh', 'w') as f:
            f.write('#!/bin/sh\necho "error: failed to get domain \'x\'"'
                    '\nexit 1\n')
        os.chmod(f'{bin_dir}/virsh', 0o755)
        self.leave_mark('libvirt:x', PATH=f'{bin_dir}:{os.environ["PATH"]}')
        self.blocked()
        wait_until('the mark to go', lambda: not self.marks(), 30)


class Deaths(Case):
    def kill_helper(self):
        """The keeper, which is the oldest."""
        kill_now(min(self.helpers()))

    def test_the_helper_dies_and_the_point_with_it(self):
        client = self.begin()
        self.kill_helper()
        self.all_is_well()
        self.release()
        with self.assertRaises(Exception) as caught:
            client.answer()
        self.assertIn('refpoint-agent ended', caught.exception.message)
        self.assertEqual(self.rig.points('v'), [])

    def test_all_helpers_die(self):
        self.begin()
        for pid in self.helpers():
            os.kill(pid, signal.SIGKILL)
        self.all_is_well()

    def test_refpointd_dies(self):
        self.begin()
        self.rig.kill()
        wait_until('the guest to be thawed', lambda: not self.agent.frozen, 3)
        self.release()
        self.rig.start()
        self.all_is_well()
        wait_until('the point', lambda: self.levels() == ['crash'])

    def test_refpointd_and_its_helpers_die(self):
        self.begin()
        pids = self.helpers()
        for pid in pids:  # that none sees another's end
            os.kill(pid, signal.SIGSTOP)
        self.rig.kill()
        for pid in pids:
            kill_now(pid)
        self.assertTrue(self.agent.frozen)
        self.release()
        self.rig.start()
        self.all_is_well()

    def test_a_mark_is_enough(self):
        self.rig.stop()
        self.agent.frozen, self.agent.frozen_at = True, time.monotonic()
        with open(f'{self.rig.root}/run/frozen/v', 'w') as f:
            f.write(self.agent.path)
        with open(f'{self.rig.root}/run/frozen/w', 'w') as f:
            f.write('nonsense')
        self.rig.start()
        wait_until('the guest to be thawed', lambda: not self.agent.frozen)
        wait_until('the mark to go', lambda: self.marks() == ['w'])


if __name__ == '__main__':
    unittest.main(verbosity=2)
