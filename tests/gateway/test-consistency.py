#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Application-consistent points and snapshots as CIM's clients ask for them: a
guest's agent freezes and thaws, or there is none; never is one made that is
less than what was asked for, and never does a guest stay frozen."""
import os
import signal
import sys
import threading
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from backup import POINT, POINTS, SETTINGS, SNAPSHOTS, Case  # noqa: E402
from hyperv import settings  # noqa: E402
from harness.agent import Agent  # noqa: E402
from harness.process import wait_until  # noqa: E402

APPLICATION, CRASH = 1, 2
FROZEN_MAX = 10
UNSUPPORTED, STATE = '1', '5'
WAIT = 60
# how a point and how a snapshot are asked for
KINDS = {
    'point': (POINTS, 'CreateReferencePoint', 'ReferencePointSettings',
              'Msvm_VirtualSystemReferencePointSettingData',
              {'ReferencePointType': 1}, POINT),
    'snapshot': (SNAPSHOTS, 'CreateSnapshot', 'SnapshotSettings',
                 'Msvm_VirtualSystemSnapshotSettingData',
                 {'SnapshotType': 32768}, SETTINGS)}


class Agents(Case):
    """`guest`, whose agent is ours."""

    writes = False

    def setUp(self):
        super().setUp()
        self.agent = Agent(self.rig.path('agent.sock'))
        self.addCleanup(self.agent.close)
        self.daemon.cli('set-agent', 'guest', self.agent.path)

    def ask(self, kind, level=APPLICATION):
        """What the method answers."""
        service, method, name, class_name, more, _ = KINDS[kind]
        return self.session.invoke(
            self.service(service), method, AffectedSystem=self.vm,
            **{name: settings(class_name, ConsistencyLevel=level)}, **more)

    def made(self, kind, job):
        """What the job made, which is the only one of its class."""
        self.done(job)
        return self.result(job, KINDS[kind][5])

    def ended(self, job, state):
        """The job, once it is in that state."""
        def over():
            row = self.session.get('Msvm_ConcreteJob', job.keys)
            self.assertIn(row['JobState'], ('4', state), row)
            return row if row['JobState'] == state else None
        return wait_until('the job to end', over, WAIT)

    def level(self, row):
        """Of a point as it is told, of either as the system itself has it."""
        if row.class_name == POINT:
            return row['ConsistencyLevel']
        shown = self.daemon.json('snapshots', 'guest')['snapshots']
        found, = [s['consistency'] for s in shown
                  if s['id'].upper() in row['InstanceID'].upper()]
        return {'application': '1', 'crash': '2'}[found]

    def remove(self, row):
        if row.class_name == POINT:
            self.destroy(row)
        else:
            self.drop(row)

    def nothing_was_made(self):
        self.assertEqual(self.points(), [])
        self.assertEqual(self.snapshots(), [])

    def is_thawed(self):
        wait_until('the guest to be thawed', lambda: not self.agent.frozen,
                   FROZEN_MAX + 2)
        run = os.path.join(self.rig.root, 'run', 'frozen')
        wait_until('the mark to go', lambda: not os.listdir(run), WAIT)

    def is_refused(self, kind, code):
        before = len(self.jobs())
        out = self.ask(kind)
        self.assertEqual(out['ReturnValue'], code, out)
        self.assertIsNone(out.get('Job'), out)
        self.assertEqual(len(self.jobs()), before)
        self.nothing_was_made()

    def jobs(self):
        return self.session.query('SELECT * FROM Msvm_ConcreteJob',
                                  'Msvm_ConcreteJob')


class Consistent(Agents):
    def test_each_is_made_while_the_guest_is_frozen(self):
        for kind in KINDS:
            self.agent.asked.clear()
            out = self.ask(kind)
            self.assertEqual(out['ReturnValue'], '4096', out)
            made = self.made(kind, out['Job'])
            self.assertEqual(self.agent.asked, ['sync', 'status', 'freeze',
                                                'thaw', 'status'], kind)
            self.assertEqual(self.level(made), '1', kind)
            self.is_thawed()
            self.remove(made)

    def test_a_converted_snapshot_stays_what_it_was(self):
        for level, freezes in (APPLICATION, 1), (CRASH, 0):
            self.agent.asked.clear()
            snapshot = self.made('snapshot', self.ask('snapshot',
                                                      level)['Job'])
            point = self.convert(snapshot)
            self.assertEqual(point['ConsistencyLevel'], str(level))
            self.assertEqual(self.agent.asked.count('freeze'), freezes)
            self.destroy(point)
        self.is_thawed()

class Refused(Agents):
    """Before there is a job."""

    def test_without_an_agent(self):
        self.daemon.cli('set-agent', 'guest', 'none')
        for kind in KINDS:
            self.is_refused(kind, UNSUPPORTED)
        self.assertEqual(self.agent.asked, [])
        # and clients that can do with less ask again
        for kind in KINDS:
            made = self.made(kind, self.ask(kind, CRASH)['Job'])
            self.assertEqual(self.level(made), '2')
            self.remove(made)

    def test_by_a_guest_that_cannot_be_frozen(self):
        for kind in KINDS:
            self.agent.asked.clear()
            self.agent.errors = {'freeze': 1}
            self.is_refused(kind, STATE)
            self.assertEqual(self.agent.asked[-1], 'status')
            self.is_thawed()

    def test_by_one_that_is_frozen_and_says_that_it_is_not(self):
        for kind in KINDS:
            self.agent.asked.clear()
            self.agent.raw = {'freeze': b'{"error": {"desc": "no"}}\n'}
            self.is_refused(kind, STATE)
            self.assertIn('thaw', self.agent.asked)
            self.is_thawed()

    def test_by_an_agent_that_is_gone(self):
        self.agent.close()
        for kind in KINDS:
            self.is_refused(kind, STATE)
        self.is_thawed()


class Failing(Agents):
    """What makes nothing but a job, which says why."""

    def is_failed(self, job, code, words):
        row = self.ended(job, '10')
        self.assertEqual(row['ErrorCode'], code, row)
        self.assertRegex(row['ErrorDescription'], words)
        self.assertRegex(row['ErrorSummaryDescription'], words)
        said = self.session.invoke(job, 'GetErrorEx')
        self.assertRegex(said.list('Errors')[0], words)
        for class_name in POINT, SETTINGS:
            self.assertEqual(self.session.associators(job.path(), class_name),
                             [])
        self.nothing_was_made()
        self.is_thawed()


class Failed(Failing):
    """What had begun."""

    def test_a_guest_that_was_thawed_meanwhile(self):
        self.agent.thawed_early = True
        for kind in KINDS:
            out = self.ask(kind)
            self.assertEqual(out['ReturnValue'], '4096', out)
            self.assertIsNone(out.get(
                {'point': 'ResultingReferencePoint',
                 'snapshot': 'ResultingSnapshot'}[kind]), out)
            self.is_failed(out['Job'], '2', 'did not stay frozen')

    def test_a_worker_that_is_too_slow(self):
        """It is stopped while the guest is frozen."""
        worker = self.daemon.worker_pid('guest')
        self.addCleanup(os.kill, worker, signal.SIGCONT)
        for kind in KINDS:
            self.agent.asked.clear()
            self.agent.on_frozen = lambda: os.kill(worker, signal.SIGSTOP)
            out = self.ask(kind)
            self.assertEqual(out['ReturnValue'], '4096', out)
            wait_until('the guest to be thawed', lambda:
                       not self.agent.frozen, FROZEN_MAX + 2)
            self.assertLess(self.agent.frozen_for, FROZEN_MAX + 1)
            os.kill(worker, signal.SIGCONT)
            self.is_failed(out['Job'], '3', 'within|stay frozen')
            self.assertIn('thaw', self.agent.asked)

    def test_a_job_that_is_terminated(self):
        worker = self.daemon.worker_pid('guest')
        self.addCleanup(os.kill, worker, signal.SIGCONT)
        for kind in KINDS:
            self.agent.on_frozen = lambda: os.kill(worker, signal.SIGSTOP)
            job = self.ask(kind)['Job']
            out = self.session.invoke(job, 'RequestStateChange',
                                      RequestedState=4)
            self.assertEqual(out['ReturnValue'], '4096', out)
            os.kill(worker, signal.SIGCONT)
            row = self.ended(job, '8')
            self.assertTrue(row['ErrorDescription'], row)
            self.nothing_was_made()
            self.is_thawed()


class Hangs(Failing):
    """A guest that does not freeze in time."""

    words = 'did not freeze in time'

    def test_and_then_does(self):
        self.agent.silent = {'freeze'}
        out = self.ask('snapshot')
        self.assertEqual(out['ReturnValue'], '4096', out)
        self.is_failed(out['Job'], '3', self.words)
        self.assertIn('thaw', self.agent.asked)

    def test_nor_thaw(self):
        hang = self.agent.hang['freeze'] = threading.Event()
        self.addCleanup(hang.set)
        out = self.ask('point')
        self.assertEqual(out['ReturnValue'], '4096', out)
        self.ended(out['Job'], '10')
        self.is_refused('snapshot', STATE)  # as long as it is not thawed
        self.agent.hang = {}
        hang.set()
        self.is_failed(out['Job'], '3', self.words)
        self.assertIn('thaw', self.agent.asked)
        for kind in KINDS:
            self.remove(self.made(kind, self.ask(kind)['Job']))


if __name__ == '__main__':
    unittest.main()
