#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""refpoint replay and refpoint-dump: logs made here, by the published text and docs/format/
sidecar.md, onto images whose content at each moment is known.

usage: test-replay.py REFPOINT REFPOINT-DUMP
"""
import datetime
import fcntl
import json
import os
import random
import struct
import subprocess
import sys
import tempfile
import unittest
import uuid

import hrl_text

REFPOINT = DUMP = None
SEED = int(os.environ.get('SEED', '0')) or random.SystemRandom().randrange(
    1, 1 << 31)
DISK = 1 << 20
BEGIN = 1_800_000_000 * 10**9  # nanoseconds since 1970
WRITE, ZEROS, BLOCK, FLUSH, BREAK, MENDED, CLOSE = range(1, 8)

TABLE = []
for n in range(256):
    for _ in range(8):
        n = n >> 1 ^ (0x82f63b78 if n & 1 else 0)
    TABLE.append(n)


def crc32c(data, crc=0):
    crc ^= 0xffffffff
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xff]
    return crc ^ 0xffffffff


def rfc3339(ns):
    text = datetime.datetime.fromtimestamp(ns // 10**9, datetime.UTC)
    return f'{text:%Y-%m-%dT%H:%M:%S}.{ns % 10**9:09}Z'


class Sidecar:
    """docs/format/sidecar.md."""

    def __init__(self, log, previous, sequence, time_ns, size=DISK):
        self.log = log
        head = struct.pack('<8sII16s16s16s16sQQQI', b'RP-SIDE\n', 1, 0,
                           b's' * 16, log.bytes,
                           previous.bytes if previous else bytes(16),
                           b'p' * 16, size, sequence, time_ns, 0)
        head = head.ljust(4096, b'\0')
        self.data = head[:12] + struct.pack('<I', crc32c(head)) + head[16:]
        self.number = 0

    def add(self, kind, sequence, time_ns, offset=0, data=b'', at=0,
            mending=False):
        record = struct.pack(
            '<IIBB2xIQQQQQ8x', 0, crc32c(data) if kind == WRITE else 0, kind,
            mending, len(data), self.number, sequence, time_ns, offset, at)
        self.data += struct.pack(
            '<I', crc32c(self.log.bytes + record)) + record[4:]
        self.number += 1


class Chain:
    """LOGS logs of random writes, and the truth at each of their times."""

    def __init__(self, rng, directory, logs, writes, breaks=False):
        self.rng, self.dir = rng, directory
        self.base = rng.randbytes(DISK)
        self.image = bytearray(self.base)
        self.moments = []  # (time, image)
        self.spans = []    # in which there are none
        self.paths = []
        self.time, self.sequence = BEGIN, 7
        self.previous = None
        self.moments.append((self.time, bytes(self.image)))
        for i in range(logs):
            self.make(os.path.join(directory, f'log-{i}.hrl'), writes,
                      breaks and i == 1)

    def some_write(self):
        length = self.rng.choice([512, 1024, 4096, 4096, 65536])
        offset = self.rng.randrange((DISK - length) // 512) * 512
        data = bytes(length) if self.rng.random() < 0.2 else \
            self.rng.randbytes(length)
        self.sequence += self.rng.randrange(1, 4)  # others' are between
        return offset, data

    def make(self, path, writes, breaks):
        unique = uuid.UUID(int=self.rng.getrandbits(128))
        side = Sidecar(unique, self.previous, self.sequence, self.time)
        created = (self.time - 946684800 * 10**9) // 10**9
        rows, at, group = [], 4096, 0
        for i in range(writes):
            broken = breaks and writes // 3 <= i < writes // 2
            # the guest may go on while a failed write is mended
            mending = broken and self.rng.random() < 0.8
            if breaks and i == writes // 3:
                side.add(BREAK, self.sequence, self.time)
                began = self.time
                self.time += 1
            offset, data = self.some_write()
            # not always later: a clock is not that fine
            self.time += self.rng.choice([0, 1, 1000, 10**8, 10**9])
            kind = ZEROS if not any(data) else WRITE
            side.add(kind, self.sequence, self.time, offset, data, at, mending)
            rows.append((offset, data, (self.time - 946684800 * 10**9)
                         // 10**9))
            self.image[offset:offset + len(data)] = data
            if not broken:
                self.moments.append((self.time, bytes(self.image)))
            at, group = at + len(data), group + 1
            if group == 50:
                side.add(BLOCK, self.sequence, self.time, at=at)
                at, group = at + 4096, 0
            if breaks and i == writes // 2 - 1:
                self.time += 10
                side.add(MENDED, self.sequence, self.time)
                self.spans.append((began, self.time))
                self.moments.append((self.time, bytes(self.image)))
            elif self.rng.random() < 0.1 and not broken:
                side.add(FLUSH, self.sequence, self.time, at=at)
        log = bytearray(hrl_text.write(
            rows, 4096, 50,
            modified=(self.time - 946684800 * 10**9) // 10**9))
        log[12:16] = struct.pack('<I', created)
        log[60:76] = unique.bytes_le
        log[76:92] = self.previous.bytes_le if self.previous else bytes(16)
        log[:4096] = hrl_text.sealed(bytes(log[:4096]), 40)
        side.add(CLOSE, self.sequence, self.time, at=len(log))
        with open(path, 'wb') as f:
            f.write(log)
        with open(path[:-4] + '.side', 'wb') as f:
            f.write(side.data + bytes(-len(side.data) % 512))
        self.paths.append(path)
        self.previous = unique

    def truth(self, time_ns):
        """What was there at that time; the last of those of one time."""
        return [image for t, image in self.moments if t <= time_ns][-1]


class Case(unittest.TestCase):

    def setUp(self):
        self.rng = random.Random(SEED)
        directory = tempfile.TemporaryDirectory(prefix='refpoint-replay.')
        self.addCleanup(directory.cleanup)
        self.dir = directory.name
        self.path = os.path.join(self.dir, 'image')

    def chain(self, logs=3, writes=120, breaks=False):
        return Chain(self.rng, self.dir, logs, writes, breaks)

class Replay(Case):

    def put_image(self, data):
        with open(self.path, 'wb') as f:
            f.write(data)

    def image(self):
        with open(self.path, 'rb') as f:
            return f.read()

    def run_replay(self, *args):
        return subprocess.run(
            [REFPOINT, '--root', self.dir + '/none', 'replay', '--offline',
             *args, '--onto', self.path], capture_output=True, text=True, timeout=60,
            check=False)

    def replay(self, *args):
        done = self.run_replay(*args)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def refused(self, says, *args):
        """And the image is as it was."""
        before = self.image()
        done = self.run_replay(*args)
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.assertIn(says, done.stderr)
        self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
        self.assertEqual(self.image(), before)

    def test_all_of_it_in_any_order_of_names(self):
        chain = self.chain()
        self.put_image(chain.base)
        names = chain.paths[:]
        self.rng.shuffle(names)
        out = json.loads(self.replay('--json', *names))
        self.assertEqual(self.image(), bytes(chain.image))
        self.assertEqual(out['writes'], 360)
        self.assertEqual(out['last'], rfc3339(chain.time))
        self.assertTrue(out['applied'])

    def test_any_moment(self):
        chain = self.chain()
        for _ in range(25):
            when = self.rng.choice(chain.moments)[0] + \
                self.rng.choice([0, 0, 1, -1])
            if when < BEGIN:
                continue
            self.put_image(chain.base)
            self.replay('--until', rfc3339(when), *chain.paths)
            self.assertEqual(self.image(), chain.truth(when))

    def test_whole_seconds_without_sidecars(self):
        chain = self.chain()
        for path in chain.paths:
            os.unlink(path[:-4] + '.side')
        for _ in range(10):
            when = self.rng.choice(chain.moments)[0] // 10**9
            self.put_image(chain.base)
            self.replay('--until', rfc3339(when * 10**9), *chain.paths)
            self.assertEqual(self.image(),
                             chain.truth(when * 10**9 + 999999999))
        self.put_image(chain.base)
        self.refused('whole seconds only', '--until', rfc3339(chain.time // 10**9
                     * 10**9 + 1), *chain.paths)
        self.replay(*chain.paths)
        self.assertEqual(self.image(), bytes(chain.image))

    def test_no_moment_within_what_was_mended(self):
        chain = self.chain(breaks=True)
        (begin, end), = chain.spans
        self.put_image(chain.base)
        for when in (begin + 1, (begin + end) // 2, end - 1):
            self.refused('there are no moments', '--until', rfc3339(when),
                         *chain.paths)
        for when in (begin, end):
            self.put_image(chain.base)
            self.replay('--until', rfc3339(when), *chain.paths)
            self.assertEqual(self.image(), chain.truth(when))

    def test_what_cannot_be_asked_is_not_guessed(self):
        chain = self.chain(1, 5)
        self.put_image(chain.base)
        done = subprocess.run(
            [REFPOINT, '--root', self.dir + '/none', 'replay', *chain.paths,
             '--onto', self.path], capture_output=True, text=True, timeout=60,
            check=False)
        self.assertEqual(done.returncode, 7, done.stderr)
        self.assertIn('--offline', done.stderr)
        self.assertEqual(self.image(), chain.base)

    def test_a_pipe_is_no_log(self):
        self.put_image(bytes(DISK))
        os.mkfifo(self.dir + '/pipe')
        self.refused('is no regular file', self.dir + '/pipe')

    def test_a_moment_that_the_logs_do_not_reach(self):
        chain = self.chain(3, 20)
        self.put_image(chain.base)
        self.refused('the last log, ends', '--until', rfc3339(chain.time + 1),
                     *chain.paths)
        self.refused('the last log, ends', '--until', rfc3339(chain.time),
                     *chain.paths[:2])
        os.unlink(chain.paths[1][:-4] + '.side')
        self.refused('or none', '--until', rfc3339(chain.time), *chain.paths)

    def test_a_moment_before_the_first_log(self):
        chain = self.chain(1, 5)
        self.put_image(chain.base)
        self.refused('begins', '--until', rfc3339(BEGIN - 1), *chain.paths)
        for text in ('yesterday', '2026-13-01T00:00:00Z',
                     '2026-02-30T00:00:00Z', '2026-01-01T00:00:00',
                     '2026-01-01T00:00:00.Z', '1969-12-31T23:59:59Z',
                     '2026-01-01T00:00:00+1:00'):
            self.refused('is not a time', '--until', text, *chain.paths)

    def test_a_second_before_the_first_log_without_sidecars(self):
        chain = self.chain(2, 20)
        for path in chain.paths:
            os.unlink(path[:-4] + '.side')
        self.put_image(chain.base)
        for before in 1, 10**6:
            self.refused(f"is before '{chain.paths[0]}' begins", '--until',
                         rfc3339(BEGIN - before * 10**9), *chain.paths)
        # what was written until the end of that second
        self.replay('--until', rfc3339(BEGIN), *chain.paths)
        self.assertEqual(self.image(), chain.truth(BEGIN + 10**9 - 1))

    def test_check_writes_nothing(self):
        chain = self.chain(2)
        self.put_image(chain.base)
        self.assertIn('good: 240 writes', self.replay('--check', *chain.paths))
        self.assertEqual(self.image(), chain.base)

    def test_the_chain_must_be_one(self):
        chain = self.chain()
        self.put_image(chain.base)
        self.refused('is of no chain', chain.paths[0], chain.paths[2])
        self.refused('is the same log as', chain.paths[0], *chain.paths)
        other = tempfile.TemporaryDirectory()
        self.addCleanup(other.cleanup)
        foreign = Chain(self.rng, other.name, 1, 5)
        self.refused('is of no chain', *chain.paths, *foreign.paths)

    def test_damage(self):
        chain = self.chain(2, 60)
        self.put_image(chain.base)
        for path in [p for log in chain.paths
                     for p in (log, log[:-4] + '.side')]:
            with open(path, 'rb') as f:
                good = f.read()
            for _ in range(12):
                bad = bytearray(good)
                at = self.rng.randrange(len(bad))
                bad[at] ^= 1 << self.rng.randrange(8)
                if path.endswith('.hrl'):
                    try:
                        hrl_text.read(bytes(bad))
                        continue  # what nothing depends on
                    except (hrl_text.Bad, IndexError, OverflowError,
                            struct.error):
                        pass
                with open(path, 'wb') as f:
                    f.write(bad)
                done = self.run_replay(*chain.paths)
                if done.returncode == 0:  # zeros are not read
                    self.assertEqual(self.image(), bytes(chain.image))
                    self.put_image(chain.base)
                else:
                    self.assertIn(chain.paths[0][:-5], done.stderr)
                    self.assertEqual(self.image(), chain.base)
            end = len(good)
            if path.endswith('.side'):  # and then zeros, or nothing
                end = 4096 + -(-len(good[4096:].rstrip(b'\0')) // 64) * 64
            for cut in (1, 64, 512, end // 2):
                with open(path, 'wb') as f:
                    f.write(good[:end - cut])
                self.refused(chain.paths[0][:-5], *chain.paths)
            with open(path, 'wb') as f:
                f.write(good)
        self.replay(*chain.paths)
        self.assertEqual(self.image(), bytes(chain.image))

    def test_another_logs_sidecar(self):
        chain = self.chain(2)
        self.put_image(chain.base)
        os.replace(chain.paths[1][:-4] + '.side',
                   chain.paths[0][:-4] + '.side')
        self.refused("another log's", *chain.paths)

    def test_a_log_that_was_not_closed(self):
        chain = self.chain(1)
        self.put_image(chain.base)
        with open(chain.paths[0], 'r+b') as f:
            head = bytearray(f.read(4096))
            head[44:52] = bytes(8)
            f.seek(0)
            f.write(hrl_text.sealed(bytes(head), 40))
        self.refused('not closed', *chain.paths)

    def test_images_that_will_not_do(self):
        chain = self.chain(1)
        self.put_image(chain.base[:-512])
        self.refused('make it as large first', *chain.paths)
        os.unlink(chain.paths[0][:-4] + '.side')
        self.put_image(chain.base[:4096])
        self.refused('beyond the image', *chain.paths)
        self.put_image(b'QFI\xfb\0\0\0\3'.ljust(DISK, b'\0'))
        self.refused('qcow2', *chain.paths)
        self.put_image(chain.base)
        os.setxattr(self.path, 'user.refpoint.nonce', bytes(range(16)))
        self.refused('marked as the disk of a defined VM', *chain.paths)
        os.removexattr(self.path, 'user.refpoint.nonce')
        with open(self.path, 'rb') as f:
            fcntl.flock(f, fcntl.LOCK_SH)
            self.refused('use', *chain.paths)
        self.replay(*chain.paths)
        self.assertEqual(self.image(), bytes(chain.image))


class Dump(Case):

    def dump(self, *args):
        done = subprocess.run([DUMP, *args], capture_output=True, text=True,
                              timeout=60, check=False)
        self.assertEqual(done.stderr, '')
        self.assertEqual(done.returncode, 8 if '  ! ' in done.stdout else 0)
        return done.stdout

    def test_what_is_good(self):
        chain = self.chain(1, 120, True)
        text = self.dump('--data', chain.paths[0])
        self.assertNotIn('!', text)
        self.assertEqual(text.count('ByteOffset'), 120)
        self.assertEqual(text.count('block at'), 3)
        self.assertIn(f'UniqueId {chain.previous}', text)
        text = self.dump(chain.paths[0][:-4] + '.side')
        self.assertIn(f'log {chain.previous}', text)
        self.assertEqual(text.count(' offset '), 120)
        self.assertEqual(text.count('close sequence'), 1)

    def test_what_is_damaged_is_marked(self):
        chain = self.chain(1, 60)
        for path in (chain.paths[0], chain.paths[0][:-4] + '.side'):
            with open(path, 'rb') as f:
                good = f.read()
            for _ in range(40):
                bad = bytearray(good)
                at = self.rng.randrange(8, len(bad))
                bad[at] ^= 1 << self.rng.randrange(8)
                with open(path, 'wb') as f:
                    f.write(bad)
                text = self.dump('--data', path)
                if path.endswith('.side'):
                    self.assertIn('  ! ', text, at)
                    continue
                try:
                    hrl_text.read(bytes(bad))
                except (hrl_text.Bad, IndexError, OverflowError, struct.error):
                    self.assertIn('  ! ', text, at)

    def test_a_log_that_was_not_closed(self):
        chain = self.chain(1, 60)
        with open(chain.paths[0], 'r+b') as f:
            head = bytearray(f.read(4096))
            end, = struct.unpack_from('<Q', head, 44)
            head[44:52] = bytes(8)
            f.seek(0)
            f.write(hrl_text.sealed(bytes(head), 40))
        text = self.dump(chain.paths[0])
        self.assertIn('not closed', text)
        self.assertNotIn('block at', text)
        text = self.dump('--end', str(end), chain.paths[0])
        self.assertEqual(text.count('ByteOffset'), 60)

    def test_what_is_neither(self):
        done = subprocess.run([DUMP, __file__], capture_output=True, text=True,
                              timeout=60, check=False)
        self.assertEqual(done.returncode, 8)
        self.assertIn('no log and no sidecar', done.stderr)


if __name__ == '__main__':
    REFPOINT, DUMP = sys.argv.pop(1), sys.argv.pop(1)
    print(f'SEED={SEED}', file=sys.stderr)
    unittest.main()
