#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a gateway that has told much keeps of it: nothing.

Ten thousand points, told several times by both protocols, from the inventory
that bench/cim.py makes.
"""
import os
import sys
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, 'bench'))
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import cim  # noqa: E402
from rig import Rig  # noqa: E402
from harness.process import wait_until  # noqa: E402

IDLE_KIB = 16 << 10
PEAK_KIB = 64 << 10


class Memory(unittest.TestCase):
    def test_large_answers_leave_nothing_behind(self):
        rig = Rig(daemon=True)
        self.addCleanup(rig.close)
        cim.define(rig, 'vm')
        rig.daemon.close()
        cim.multiply(rig.root, 'vm', cim.SYSTEMS - 1)
        rig.daemon.start()
        rig.start()
        rss = 0
        for _ in range(3):
            for name, way in cim.WAYS:
                cim.timed(rig, way)
                print(name, rig.status('VmRSS'), 'KiB')
            rss = wait_until('memory to be given back',
                             lambda: rig.status('VmRSS') < IDLE_KIB and
                             rig.status('VmRSS'), timeout=15)
        print(f'idle: {rss} KiB, peak: {rig.status("VmHWM")} KiB')
        self.assertLess(rig.status('VmHWM'), PEAK_KIB)


if __name__ == '__main__':
    unittest.main(verbosity=2)
