#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Images that the qcow2 writer made, judged by qemu-img and qemu-io.

usage: test-qcow2.py WRITE-QCOW2
"""
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import unittest

WRITER = None
SEED = int(os.environ.get('SEED', '0')) or random.SystemRandom().randrange(
    1, 1 << 31)
SOAK = bool(os.environ.get('REFPOINT_SOAK'))

BLOCK = 4096
CLUSTER = 128 << 10
TABLE = 1 << 30          # what one L2 table covers
TIB = 1 << 40


def run(*args, **kwargs):
    return subprocess.run(args, check=True, text=True, timeout=120,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          **kwargs).stdout


def qemu_io(path, *commands):
    """Runs the commands on the image; a pattern that does not match fails."""
    args = ['qemu-io', '-r', '-f', 'qcow2']
    for command in commands:
        args += ['-c', command]
    out = run(*args, path)
    if 'failed' in out:
        raise AssertionError(out)


def commands_of(pieces):
    """One line for each (kind, offset, length, byte)."""
    return ''.join(f'w {o} {n} {b}\n' if kind == 'w' else f'z {o} {n}\n'
                   for kind, o, n, b in pieces)


class Image:
    """What was written, and a raw file of what must be read."""

    def __init__(self, directory, name, size, base=None, raw_base=False):
        self.path = os.path.join(directory, name + '.qcow2')
        self.raw = os.path.join(directory, name + '.raw')
        self.size = size
        self.base = base
        if base:
            shutil.copyfile(base.raw, self.raw)
        with open(self.raw, 'ab') as f:
            f.truncate(size)
        self.backing = []
        if base and raw_base:
            self.backing = [os.path.basename(base.raw), 'raw']
        elif base:
            self.backing = [os.path.basename(base.path), 'qcow2']

    def write(self, pieces):
        out = run(WRITER, self.path, str(self.size), *self.backing,
                  input=commands_of(pieces) + 'end\n')
        with open(self.raw, 'r+b') as f:
            for kind, offset, length, byte in pieces:
                f.seek(offset)
                f.write(bytes([byte if kind == 'w' else 0]) * length)
        self.data, self.length = map(int, out.split())
        return self

    def judge(self, test):
        run('qemu-img', 'check', '-q', '-f', 'qcow2', self.path)
        run('qemu-img', 'compare', '-q', '-f', 'raw', '-F', 'qcow2', self.raw,
            self.path)
        test.assertEqual(os.path.getsize(self.path), self.length)
        info = json.loads(run('qemu-img', 'info', '--output=json', self.path))
        test.assertEqual(info['virtual-size'], self.size)
        test.assertEqual(info['cluster-size'], CLUSTER)
        test.assertTrue(info['format-specific']['data']['extended-l2'])
        if self.backing:
            test.assertEqual(info['backing-filename'], self.backing[0])
            test.assertEqual(info['backing-filename-format'], self.backing[1])


def random_pieces(rng, size, zeros):
    """Ascending pieces of one disk, some of which touch."""
    pieces, at = [], 0
    while True:
        at += BLOCK * rng.choice([0, 0, 1, 2, 31, 32, 33, rng.randrange(600)])
        if at >= size or len(pieces) > 200:
            return pieces
        length = BLOCK * rng.choice([1, 1, 2, 31, 32, 33, 64,
                                     rng.randrange(1, 500)])
        length = min(length, size - at)
        kind = 'z' if zeros and rng.random() < 0.3 else 'w'
        pieces.append((kind, at, length, rng.randrange(1, 256)))
        at += length
        if at % BLOCK:
            return pieces


class Writer(unittest.TestCase):

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix='refpoint-qcow2-')
        self.addCleanup(shutil.rmtree, self.directory)

    def image(self, name, size, base=None, raw_base=False):
        return Image(self.directory, name, size, base, raw_base)

    def test_random_chains_read_as_what_was_written(self):
        rng = random.Random(SEED)
        for i in range(40 if SOAK else 6):
            size = rng.choice([512, BLOCK, 5 * BLOCK + 512, CLUSTER,
                               CLUSTER + 512, (24 << 20) - 1536,
                               rng.randrange(1, 1 << 15) * 512])
            base = self.image(f'{i}-0', size).write(
                random_pieces(rng, size, False))
            base.judge(self)
            for k in range(1, 3):
                size += rng.choice([0, 0, 512, CLUSTER * 3])
                base = self.image(f'{i}-{k}', size, base).write(
                    random_pieces(rng, size, True))
                base.judge(self)

    def test_a_raw_file_is_a_base_too(self):
        base = self.image('base', 1 << 20).write([('w', 0, 1 << 20, 7)])
        top = self.image('top', 1 << 20, base, raw_base=True).write(
            [('z', BLOCK, BLOCK, 0), ('w', CLUSTER, BLOCK, 8)])
        top.judge(self)

    def test_nothing_written_is_an_empty_image(self):
        self.image('empty', 3 << 20).write([]).judge(self)

    def test_a_block_is_all_that_is_stored_of_its_cluster(self):
        image = self.image('small', TABLE * 2).write(
            [('w', i * CLUSTER * 8 + BLOCK * 5, BLOCK, 9)
             for i in range(1000)])
        self.assertEqual(image.data, 1000 * BLOCK)
        self.assertLess(os.stat(image.path).st_blocks * 512,
                        1000 * BLOCK + (2 << 20))
        extents = json.loads(run('qemu-img', 'map', '--output=json',
                                 image.path))
        data = [e for e in extents if e['data']]
        self.assertEqual([(e['start'], e['length']) for e in data],
                         [(i * CLUSTER * 8 + BLOCK * 5, BLOCK)
                          for i in range(1000)])

    def test_zeros_of_a_full_image_take_no_room(self):
        image = self.image('zeros', TABLE).write([('z', 0, TABLE, 0)])
        image.judge(self)
        self.assertEqual(image.data, 0)
        self.assertLess(image.length, 8 * CLUSTER)

    def test_zeros_over_a_base_hide_it_and_take_no_room(self):
        base = self.image('base', 8 << 20).write([('w', 0, 8 << 20, 1)])
        top = self.image('top', 8 << 20, base).write(
            [('z', BLOCK, (4 << 20) + BLOCK, 0)])
        top.judge(self)
        self.assertEqual(top.data, 0)

    def test_a_disk_of_64_TiB_with_few_blocks_is_a_small_file(self):
        size = 64 * TIB
        places = [0, TABLE - BLOCK, TABLE, 17 * TIB + 3 * BLOCK,
                  size - CLUSTER, size - BLOCK]
        path = os.path.join(self.directory, 'large.qcow2')
        run(WRITER, path, str(size), input=commands_of(
            [('w', o, BLOCK, i + 1) for i, o in enumerate(places)]) + 'end\n')
        run('qemu-img', 'check', '-q', path)
        self.assertLess(os.stat(path).st_blocks * 512, 2 << 20)
        qemu_io(path, *[f'read -P {i + 1} {o} {BLOCK}'
                        for i, o in enumerate(places)],
                f'read -P 0 {5 * TIB} 1M', f'read -P 0 {TABLE + BLOCK} 64k')
        extents = [e for e in json.loads(run('qemu-img', 'map',
                                             '--output=json', path))
                   if e['data']]
        self.assertEqual(sum(e['length'] for e in extents),
                         len(places) * BLOCK)

    def test_a_file_of_several_refcount_blocks_does_not_leak(self):
        # one block for each cluster: 65536 of them have a refcount block
        n = 66000
        memory = tempfile.mkdtemp(prefix='refpoint-qcow2-', dir='/dev/shm')
        self.addCleanup(shutil.rmtree, memory)
        path = os.path.join(memory, 'many.qcow2')
        run(WRITER, path, str(n * CLUSTER), input=commands_of(
            [('w', i * CLUSTER, BLOCK, i % 255 + 1) for i in range(n)]) +
            'end\n')
        out = json.loads(run('qemu-img', 'check', '--output=json', path))
        self.assertEqual(out.get('leaks', 0), 0)
        self.assertEqual(out['check-errors'], 0)
        self.assertEqual(out['allocated-clusters'], n)
        qemu_io(path, *[f'read -P {i % 255 + 1} {i * CLUSTER} {BLOCK}'
                        for i in range(0, n, 6001)])

    def test_what_was_not_finished_is_no_qcow2(self):
        path = os.path.join(self.directory, 'half.qcow2')
        run(WRITER, path, str(1 << 30), input='w 0 1048576 1\n')
        done = subprocess.run(['qemu-img', 'check', '-f', 'qcow2', path],
                              capture_output=True, timeout=60)
        self.assertNotEqual(done.returncode, 0)

    def test_what_cannot_be_an_image_is_refused(self):
        path = os.path.join(self.directory, 'bad.qcow2')
        for args in ([str(0)], [str(513)], [str(65 * TIB)],
                     ['512', 'x' * 1024, 'qcow2'], ['512', '', 'qcow2']):
            done = subprocess.run([WRITER, path] + args, input='end\n',
                                  capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 1, args)
            self.assertIn('InvalidParameter', done.stderr)

    def test_a_target_that_takes_no_more_is_told_as_such(self):
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (10 << 20, 10 << 20))
        done = subprocess.run([WRITER, os.path.join(self.directory, 'full'),
                               str(1 << 30)],
                              input=f'w 0 {12 << 20} 1\nend\n',
                              capture_output=True, text=True, timeout=60,
                              preexec_fn=limit, restore_signals=False)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn('File too large', done.stderr)


if __name__ == '__main__':
    if not shutil.which('qemu-img') or not shutil.which('qemu-io'):
        print('SKIP: qemu-img and qemu-io are not installed')
        sys.exit(77)
    WRITER = os.path.abspath(sys.argv.pop(1))
    print(f'SEED={SEED}')
    unittest.main(verbosity=2)
