#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Tests of the helpers that judge refpoint: the recorder's log, the sets."""
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(TOP, 'tests'), os.path.join(TOP, 'bench')]
import stats  # noqa: E402
from harness import blocks, process, truth, writelog  # noqa: E402

SECTOR = 512
K = 1024


def superblock(entries=0, magic=writelog.MAGIC, version=1, size=SECTOR):
    return struct.pack('<QQQI', magic, version, entries, size).ljust(
        SECTOR, b'\0')


def entry(sector, count, flags=0, data=b''):
    head = struct.pack('<QQQQ', sector, count, flags, 0)
    return head.ljust(SECTOR, b'\0') + data


class InScratch(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix='refpoint-harness.')
        self.addCleanup(shutil.rmtree, self.dir)

    def file(self, name, content=b''):
        path = os.path.join(self.dir, name)
        with open(path, 'wb') as f:
            f.write(content)
        return path


class WriteLog(InScratch):
    def test_entries_are_read_whatever_the_superblock_counts(self):
        path = self.file('log', superblock(entries=0) +
                         entry(8, 2, data=b'x' * 1024) +
                         entry(0, 0, writelog.FLUSH) +
                         entry(64, 128, writelog.DISCARD))
        log = writelog.WriteLog(path)
        self.assertEqual(log.refresh(), 3)
        self.assertEqual([(e.offset, e.length) for e in log.between(0)],
                         [(4096, 1024), (32768, 65536)])

    def test_an_entry_that_is_not_whole_yet_is_read_later(self):
        whole = superblock() + entry(0, 2, data=b'a' * 1024) + \
            entry(2, 1, data=b'b' * 512)
        log = writelog.WriteLog(self.file('log', whole[:-1]))
        self.assertEqual(log.refresh(), 1)
        self.file('log', whole)
        self.assertEqual(log.refresh(), 2)
        self.assertEqual(log.entries[1].offset, 1024)

    def test_reading_stops_at_a_gap_of_zeros(self):
        path = self.file('log', superblock() + entry(0, 1, data=b'a' * 512) +
                         bytes(1024) + entry(9, 1, data=b'b' * 512))
        self.assertEqual(writelog.WriteLog(path).refresh(), 1)

    def test_an_empty_log_has_no_entries(self):
        self.assertEqual(writelog.WriteLog(self.file('log')).refresh(), 0)

    def test_other_files_are_refused(self):
        for bad in (superblock(magic=1), superblock(version=2),
                    superblock(size=100),
                    superblock() + entry(0, 1, flags=16)):
            with self.assertRaises(writelog.BadLog):
                writelog.WriteLog(self.file('log', bad)).refresh()

    def test_the_log_of_a_real_qemu_replays_to_its_image(self):
        if not shutil.which('qemu-io'):
            self.skipTest('no qemu-io')
        size = 4 << 20
        image, path = self.file('image', bytes(size)), self.file('log')
        options = ('driver=blklogwrites,discard=unmap,'
                   'file.driver=raw,file.discard=unmap,'
                   f'file.file.driver=file,file.file.filename={image},'
                   f'log.driver=file,log.filename={path}')
        commands = ['write -P 1 0 64k', 'write -P 2 1M 512', 'write -z 8k 1M',
                    'write -P 3 2M 100k', 'discard 2M 8k', 'write -z -u 3M 4k',
                    'flush', 'write -f -P 4 3M 8k']
        subprocess.run(['qemu-io', '--image-opts', options] +
                       [x for c in commands for x in ('-c', c)], check=True,
                       stdout=subprocess.DEVNULL)
        log = writelog.WriteLog(path)
        self.assertGreaterEqual(log.refresh(), len(commands))
        copy = self.file('copy', bytes(size))
        log.replay(copy)
        self.assertEqual(blocks.differing(image, copy).addresses(), [])
        touched = blocks.from_entries(size, log.between(0))
        self.assertEqual(list(touched.extents()),
                         [(0, (1 << 20) + 8 * K), (2 << 20, 100 * K),
                          (3 << 20, 8 * K)])


class Blocks(InScratch):
    def test_a_byte_touches_its_whole_block(self):
        b = blocks.Blocks(1 << 20)
        b.add(4095, 2)
        self.assertEqual(list(b.extents()), [(0, 8192)])

    def test_what_lies_beyond_the_end_is_dropped(self):
        b = blocks.Blocks(10000)
        b.add(8192, 1 << 20)
        b.add(1 << 30, 5)
        self.assertEqual(b.addresses(), [8192])

    def test_differences_are_those_of_a_naive_comparison(self):
        seed = int(os.environ.get('SEED', random.randrange(1 << 31)))
        print(f'SEED={seed}')
        rng = random.Random(seed)
        size = 3 * blocks.CHUNK + 512
        a = bytearray(size)
        for _ in range(20):
            a[rng.randrange(size)] = 1
        b = bytearray(a)
        for _ in range(20):
            b[rng.randrange(size)] ^= 1
        pa, pb = self.file('a', a), self.file('b')
        with open(pb, 'r+b') as f:
            f.truncate(size)
            for at in range(0, size, 4096):
                if any(b[at:at + 4096]):
                    f.seek(at)
                    f.write(b[at:at + 4096])
        naive = {at for at in range(0, size, 4096)
                 if a[at:at + 4096] != b[at:at + 4096]}
        self.assertEqual(
            set(blocks.differing(pa, pb).addresses(limit=100)), naive)

    def test_only_whole_blocks_are_removed(self):
        b = blocks.Blocks(40960)
        b.add(0, 40960)
        b.remove(100, 12288)
        self.assertEqual(list(b.extents()), [(0, 4096), (12288, 28672)])

    def test_set_algebra(self):
        a, b = blocks.Blocks(40960), blocks.Blocks(40960)
        a.add(0, 8192)
        b.add(4096, 8192)
        self.assertEqual((a - b).addresses(), [0])
        self.assertEqual((a & b).addresses(), [4096])
        self.assertEqual(len(a | b), 3)

    def test_one_changed_block_shows_on_the_map(self):
        b = blocks.Blocks(1 << 30)
        b.add(1 << 29, 1)
        self.assertEqual(sum(c != ' ' for row in blocks.draw(b) for c in row),
                         1)


class Truth(InScratch):
    """A disk of 16 blocks: 1 changed, 2 written with what was there, 3 being
    written while the later point was made."""
    size = 16 * 4096

    def setUp(self):
        super().setUp()
        first, second = bytearray(self.size), bytearray(self.size)
        for block in (1, 3):
            second[block * 4096] = 1
        written = [entry(8 * b, 8, data=bytes(4096)) for b in (1, 2, 3)]
        self.log = writelog.WriteLog(
            self.file('log', superblock() + b''.join(written)))
        self.log.refresh()
        self.a = truth.At(0, 0, self.file('a', first))
        self.b = truth.At(2, 3, self.file('b', second))

    def problems(self, *reported, **changed):
        extents = [{'offset': b * 4096, 'length': 4096} for b in reported]
        answer = {'accuracy': 'exact', 'reason': '', 'extents': extents,
                  'granularity_bytes': 4096,
                  'changed_bytes': 4096 * len(extents), **changed}
        return truth.compare('disk', self.size, self.log, self.a, self.b,
                             answer)[0]

    def test_right_answers_pass(self):
        for right in ((1,), (1, 3), (1, 2), (1, 2, 3)):
            self.assertEqual(self.problems(*right), [])

    def test_a_miss_is_found_with_its_address(self):
        self.assertIn('differs, but is not reported: block at byte 4096',
                      self.problems(2)[0])

    def test_a_block_that_nobody_wrote_is_found_with_its_address(self):
        self.assertIn('nothing was written there: block at byte 20480',
                      self.problems(1, 5)[0])

    def test_an_answer_that_is_not_exact_is_found(self):
        self.assertIn('widened instead of exact: power',
                      self.problems(1, accuracy='widened', reason='power')[0])

    def test_a_malformed_answer_is_found(self):
        for wrong in ({'changed_bytes': 1}, {'granularity_bytes': 65536},
                      {'extents': [{'offset': 4096, 'length': 0}]},
                      {'extents': [{'offset': 4096, 'length': 4096}] * 2},
                      {'extents': [{'offset': 4096, 'length': 100}]},
                      {'extents': [{'offset': 0, 'length': 1 << 40}]}):
            self.assertNotEqual(self.problems(1, **wrong), [], wrong)

    def test_a_judge_who_contradicts_himself_is_found(self):
        changed = bytearray(self.size)
        changed[9 * 4096] = 1
        self.b = truth.At(2, 3, self.file('b', changed))
        self.assertIn('the recorder saw no write',
                      ' '.join(self.problems(1)))


class Process(unittest.TestCase):
    def test_waiting_in_vain_says_for_what(self):
        with self.assertRaisesRegex(process.Timeout, 'for the moon'):
            process.wait_until('the moon', lambda: False, timeout=0.05)

    def test_a_failing_program_is_named_with_its_message(self):
        with self.assertRaisesRegex(process.Failure, 'status 3: no way'):
            process.run(['sh', '-c', 'echo no way >&2; exit 3'])


class Stats(unittest.TestCase):
    def test_equal_ratios_are_bounded_by_themselves(self):
        self.assertEqual(stats.lower_bound([1.0] * 21), 1.0)

    def test_the_bound_is_below_the_median_and_within_the_values(self):
        values = [0.8 + 0.02 * i for i in range(21)]
        bound = stats.lower_bound(values)
        self.assertTrue(0.8 < bound < 1.0, bound)

    def test_noise_alone_does_not_meet_a_target(self):
        self.assertTrue(stats.verdict([1.0] * 21, 1.0))
        self.assertFalse(stats.verdict([0.99] * 21, 1.0))
        self.assertFalse(stats.verdict([0.5] * 10 + [1.5] * 11, 1.0))


if __name__ == '__main__':
    unittest.main()
