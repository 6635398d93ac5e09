#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Exports of raw files, judged by qemu-img.

usage: test-exporter.py EXPORT-FILE
"""
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import unittest

EXPORT = None
SEED = int(os.environ.get('SEED', '0')) or random.SystemRandom().randrange(
    1, 1 << 31)
SOAK = bool(os.environ.get('REFPOINT_SOAK'))
BLOCK = 4096


def run(*args, **kwargs):
    return subprocess.run(args, check=True, text=True, timeout=120,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          **kwargs).stdout


class Exporter(unittest.TestCase):

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix='refpoint-exporter-')
        self.addCleanup(shutil.rmtree, self.directory)
        self.raw = os.path.join(self.directory, 'raw')

    def path(self, name):
        return os.path.join(self.directory, name)

    def make(self, rng, size):
        """A sparse file with data, zeros and holes."""
        with open(self.raw, 'wb') as f:
            f.truncate(size)
            at = 0
            while at < size:
                length = min(rng.choice([512, BLOCK, 3 * BLOCK, 128 << 10,
                                         rng.randrange(1, 3 << 20)]),
                             size - at)
                kind = rng.randrange(3)
                if kind:
                    f.seek(at)
                    f.write(rng.randbytes(length) if kind == 1
                            else bytes(length))
                at += length

    def change(self, rng, size):
        """Writes some blocks; returns runs that cover them, and more."""
        blocks, runs, at = -(-size // BLOCK), [], 0
        with open(self.raw, 'r+b') as f:
            while True:
                first = at + rng.choice([1, 2, 3, 6, 40,
                                         rng.randrange(1, 400)])
                end = min(first + rng.choice([1, 1, 2, 300,
                                              rng.randrange(1, 100)]), blocks)
                if first >= blocks:
                    return runs
                length = min(end * BLOCK, size) - first * BLOCK
                kind = rng.randrange(4)
                f.seek(first * BLOCK)
                if kind < 2:
                    f.write(rng.randbytes(length))
                elif kind == 2:
                    f.write(bytes(length))
                runs.append((first, end))
                at = end

    def export(self, name, backing=None, runs=(), **environment):
        args = [EXPORT, self.raw, self.path(name)]
        if backing:
            args.append(backing)
        return run(*args, input=''.join(f'{a} {b}\n' for a, b in runs),
                   env={**os.environ, **environment})

    def fails(self, name, **environment):
        done = subprocess.run([EXPORT, self.raw, self.path(name)],
                              capture_output=True, text=True, timeout=60,
                              env={**os.environ, **environment})
        self.assertEqual(done.returncode, 1)
        check = subprocess.run(['qemu-img', 'check', '-f', 'qcow2',
                                self.path(name)], capture_output=True,
                               timeout=60)
        self.assertNotEqual(check.returncode, 0, 'it looks complete')
        return done.stderr

    def judge(self, name):
        run('qemu-img', 'check', '-q', '-f', 'qcow2', self.path(name))
        run('qemu-img', 'compare', '-q', '-f', 'raw', '-F', 'qcow2', self.raw,
            self.path(name))

    def test_chains_read_as_the_disk_did(self):
        rng = random.Random(SEED)
        for i in range(30 if SOAK else 6):
            size = rng.choice([512, BLOCK + 512, (40 << 20) + 512,
                               rng.randrange(1, 60000) * 512])
            self.make(rng, size)
            self.export(f'{i}-0')
            self.judge(f'{i}-0')
            for k in range(1, 3):
                runs = self.change(rng, size)
                self.export(f'{i}-{k}', f'{i}-{k - 1}', runs)
                self.judge(f'{i}-{k}')

    def test_past_the_page_cache_it_is_the_same(self):
        rng = random.Random(SEED)
        self.make(rng, 24 << 20)
        try:
            fd = os.open(self.raw, os.O_RDONLY | os.O_DIRECT)
        except OSError as e:
            self.skipTest(f'no O_DIRECT here: {e}')
        os.close(fd)
        self.export('direct', EXPORT_FILE_DIRECT='1')
        self.judge('direct')

    def test_no_changes_make_an_empty_image(self):
        self.make(random.Random(SEED), 8 << 20)
        self.export('base')
        data, _ = self.export('top', 'base').split()
        self.assertEqual(int(data), 0)
        self.judge('top')

    def test_only_changed_blocks_are_stored(self):
        with open(self.raw, 'wb') as f:
            f.write(b'x' * (32 << 20))
        self.export('base')
        # as near to each other as are read together
        runs = [(i * 3, i * 3 + 1) for i in range(2000)]
        data, _ = self.export('top', 'base', runs).split()
        self.assertEqual(int(data), len(runs) * BLOCK)
        extents = [e for e in json.loads(run(
            'qemu-img', 'map', '--output=json', self.path('top')))
            if e['data'] and e['depth'] == 0]
        self.assertEqual([(e['start'], e['length']) for e in extents],
                         [(a * BLOCK, BLOCK) for a, _ in runs])

    def test_a_read_that_fails_ends_it(self):
        self.make(random.Random(SEED), 16 << 20)
        with open(self.raw, 'r+b') as f:
            f.seek(9 << 20)
            f.write(b'x' * BLOCK)
        error = self.fails('bad', EXPORT_FILE_FAIL=str(9 << 20))
        self.assertIn('IoError', error)
        self.assertIn("disk 'root'", error)

    def test_one_that_is_stopped_is_cancelled(self):
        with open(self.raw, 'wb') as f:
            f.write(b'x' * (64 << 20))
        error = self.fails('half', EXPORT_FILE_CANCEL='0')
        self.assertIn('Cancelled', error)
        self.assertIn('enough', error)


    def test_only_empty_regular_files_are_filled(self):
        self.make(random.Random(SEED), 1 << 20)
        with open(self.path('taken'), 'w', encoding='utf-8') as f:
            f.write('x')
        os.mkfifo(self.path('fifo'))
        for name, flags in (('taken', ''), ('fifo', ''), ('new', 'append')):
            done = subprocess.run(
                [EXPORT, self.raw, self.path(name)], capture_output=True,
                text=True, timeout=60,
                env={**os.environ, 'EXPORT_FILE_KEEP': '1',
                     **({'EXPORT_FILE_APPEND': '1'} if flags else {})})
            self.assertEqual(done.returncode, 1, name)
            self.assertIn('InvalidParameter', done.stderr)
        with open(self.path('taken'), encoding='utf-8') as f:
            self.assertEqual(f.read(), 'x')


if __name__ == '__main__':
    if not shutil.which('qemu-img'):
        print('SKIP: qemu-img is not installed')
        sys.exit(77)
    EXPORT = os.path.abspath(sys.argv.pop(1))
    print(f'SEED={SEED}')
    unittest.main(verbosity=2)
