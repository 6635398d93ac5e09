#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a worker, or a reader, can take from everybody else: nothing for long."""
import concurrent.futures
import importlib.util
import os
import re
import sys
import time
import unittest

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rig as gateway_rig  # noqa: E402
from rig import IDENTIFY, MS_URI, NS, need  # noqa: E402

need('wbemcli', 'curl')
spec = importlib.util.spec_from_file_location(
    'daemon_rig', os.path.join(TESTS, 'daemon', 'rig.py'))
daemon_rig = importlib.util.module_from_spec(spec)
spec.loader.exec_module(daemon_rig)

URI = f'{MS_URI}{NS}/Msvm_ImageManagementService'
BRIEF_S = 5  # BACKEND_BRIEF_MS
STOP_S = 8   # HANDLERS_MS, LAST_WORDS_MS, and a busy machine
IN_USE = 32774
TIMEOUT = 32772


class Stuck(unittest.TestCase):
    """Two virtual systems with a point each; the worker of 'bad' is."""

    def setUp(self):
        self.daemon = daemon_rig.Rig()
        self.addCleanup(self.daemon.close)
        os.chmod(self.daemon.top, 0o755)
        self.daemon.start()
        self.disks = {}
        for vm in 'good', 'bad':
            path = self.daemon.disk(vm + '.img')
            self.daemon.define(vm, [path])
            point = self.daemon.call('Create', vm=vm)['point']
            self.disks[vm] = path, point['disks'][0]['tracking_id']
        # what it says of its changes is not for machines
        self.daemon.behave('good', raw={'Changes': (
            '{"parameters":{"disks":[{"accuracy":"exact","extents":[]}]}}'
            '\0')})
        self.rig = gateway_rig.Rig(root=self.daemon.root)
        self.addCleanup(self.rig.close)
        self.rig.start()
        names = self.rig.wbemcli('ein', f'{NS}:Msvm_ImageManagementService')
        self.keys = dict(re.findall(r'(\w+)="([^"]*)"', names))

    def changes(self, vm, timeout=60):
        """GetVirtualDiskChanges' return value; None: no answer in time."""
        path, limit = self.disks[vm]
        body = ('<p:GetVirtualDiskChanges_INPUT xmlns:p="' + URI + '">'
                f'<p:Path>{path}</p:Path><p:LimitId>{limit}</p:LimitId>'
                '<p:ByteOffset>0</p:ByteOffset>'
                '<p:ByteLength>1048576</p:ByteLength>'
                '</p:GetVirtualDiskChanges_INPUT>')
        reply = self.rig.soap(URI + '/GetVirtualDiskChanges', URI, body,
                              selectors=self.keys, user='bob:secret',
                              timeout=timeout)
        found = re.search(r'ReturnValue>(\d+)<', reply.text)
        return int(found[1]) if found else None

    def timed(self, fn, *args, **kwargs):
        began = time.monotonic()
        result = fn(*args, **kwargs)
        return result, time.monotonic() - began

    def served(self, most):
        """Others are."""
        reply, took = self.timed(self.rig.curl, 'wsman', data=IDENTIFY)
        self.assertEqual(reply.status, 200)
        self.assertLess(took, most)
        return took

    def crowd(self, n=9):
        """Readers that ask for changes of 'bad', under way."""
        pool = concurrent.futures.ThreadPoolExecutor(n)
        self.addCleanup(pool.shutdown)
        asked = [pool.submit(self.changes, 'bad', 120) for _ in range(n)]
        daemon_rig.wait_until(
            'the worker to be asked', lambda: len(self.daemon.events(
                'bad', 'Changes')) >= min(n, 8), 30)
        return asked

    def test_promises_are_no_answer(self):
        self.daemon.behave('bad', drip={'Changes': 1})
        result, took = self.timed(self.changes, 'bad')
        self.assertEqual(result, 32768)
        self.assertLess(took, 10)
        self.served(2)

    def test_a_worker_that_hangs_keeps_few_waiting(self):
        self.daemon.behave('bad', hang=['Changes'])
        asked = self.crowd()
        print(f'served after {self.served(BRIEF_S + 3):.3f} s')
        done, _ = concurrent.futures.wait(asked, BRIEF_S + 10)
        results = sorted(a.result() for a in asked if a.done())
        # whoever had not to wait for a thread was told in time
        self.assertGreaterEqual(results.count(TIMEOUT), 5)
        self.assertEqual(set(results) - {TIMEOUT, IN_USE}, set())
        self.assertLessEqual(len(asked) - len(results), 3)
        result, took = self.timed(self.changes, 'bad')
        self.assertEqual(result, IN_USE)
        self.assertLess(took, 2)
        self.served(2)
        result, took = self.timed(self.changes, 'good')
        self.assertEqual(result, 0)
        self.assertLess(took, 3)
        self.stops()

    def stops(self):
        status, took = self.timed(self.rig.stop)
        self.assertEqual(status, 0)
        self.assertLess(took, STOP_S)
        print(f'stopped after {took:.3f} s')

    def test_a_stop_waits_for_no_worker(self):
        self.daemon.behave('bad', hang=['Changes'])
        self.crowd()
        self.stops()


if __name__ == '__main__':
    unittest.main(verbosity=2)
