#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What src/hrl writes is read by a reader of the published text's own, and the
other way round."""
import os
import random
import subprocess
import sys
import tempfile
import unittest
import uuid

import hrl_text

TOOL = os.environ['HRL_TOOL']


def some_writes(rng, count):
    return [(rng.randrange(1 << 20) * 512, rng.choice([1, 2, 8, 8, 64]) * 512,
             rng.choice([0, rng.randrange(1, 256)]), rng.randrange(1 << 32))
            for _ in range(count)]


class Both(unittest.TestCase):

    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.path = os.path.join(self.dir.name, 'log.hrl')
        self.rng = random.Random(int(os.environ.get('SEED', '1')))

    def tearDown(self):
        self.dir.cleanup()

    def tool(self, how, text=''):
        return subprocess.run([TOOL, how, self.path], input=text, text=True,
                              capture_output=True, timeout=60, check=False)

    def test_ours_is_read_by_the_text(self):
        for count in (0, 1, 126, 127, 128, 255, 700):
            writes = some_writes(self.rng, count)
            lines = [' '.join(map(str, w)) for w in writes]
            for _ in range(count // 100):
                lines.insert(self.rng.randrange(len(lines)), 'block')
            done = self.tool('write', ''.join(f'{x}\n' for x in lines))
            self.assertEqual(done.returncode, 0, done.stderr)
            with open(self.path, 'rb') as f:
                header, got = hrl_text.read(f.read())
            self.assertEqual(got, [(o, bytes([b]) * n, t)
                                   for o, n, b, t in writes])
            self.assertEqual(header.unique, uuid.UUID(
                '01020304-0506-0708-0000-000000000000'))
            self.assertEqual(header.metadata_size, 4096)
            self.assertEqual((header.time, header.modified), (5, 77))

    def test_the_texts_is_read_by_ours(self):
        for size in (512, 1024, 4096, 65536):
            slots = (size - 32) // 32
            for count in (0, 1, slots, slots + 1, 3 * slots + 2):
                for newest_first in (False, True):
                    self.read_back(size, slots, min(count, 2500),
                                   newest_first)

    def read_back(self, size, slots, count, newest_first):
        writes = some_writes(self.rng, count)
        with open(self.path, 'wb') as f:
            f.write(hrl_text.write([(o, bytes([b]) * n, t)
                                    for o, n, b, t in writes], size, slots,
                                   newest_first))
        done = self.tool('read')
        if newest_first and count and count % slots == 0:
            # all blocks are full: nothing tells which order it is, and the
            # data's checksums refuse the wrong one
            self.assertNotEqual(done.returncode, 0)
            return
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout, ''.join(f'{o} {n} {b} {t}\n'
                                              for o, n, b, t in writes))

    def test_what_is_damaged_is_refused(self):
        good = hrl_text.write([(0, b'x' * 512, 1)] * 20, 4096, 9)
        for _ in range(300):
            at = self.rng.randrange(len(good))
            bad = bytearray(good)
            bad[at] ^= 1 << self.rng.randrange(8)
            with open(self.path, 'wb') as f:
                f.write(bad)
            try:
                hrl_text.read(bytes(bad))
                allowed = True
            except (hrl_text.Bad, IndexError, OverflowError):
                allowed = False
            self.assertLessEqual(self.tool('read').returncode == 0, allowed,
                                 f'byte {at}')


if __name__ == '__main__':
    sys.exit(unittest.main())
