#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The worker is killed with SIGKILL at random moments under load, 200 times.

A client with many requests in flight, large aligned ones among them, loses
its server at any moment, comes back and goes on.  After every few kills a
point is made, and what changed since earlier points must be exact: every
block that differs is reported, and none to which nothing was submitted.  The
data must be what was written.  KILLS and SEED are taken from the environment.

With --logs the points are log-based: the logs from each point to the next are
exported, and replayed onto what the disk held at the first one give what it
held at the other.
"""
import glob
import os
import random
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, 'tests'))
from harness import blocks, process, truth  # noqa: E402
from harness.refpoint import Refpointd, built, kill_now, parse_uri  # noqa: E402

try:
    from harness.client import Client
except ImportError:
    Client = None

VM = 'kills'
SIZE = 96 << 20
LARGE = (1 << 20, 4 << 20)
KILLS_PER_POINT = 5
POINTS_KEPT = 3


class Kills:
    def __init__(self, directory, kills, seed, logs):
        self.rng = random.Random(seed)
        self.kills = kills
        self.directory = directory
        self.logs = logs
        self.before = None   # the last log-based point: (id, the disk then)
        self.replays = 0
        self.image = os.path.join(directory, 'disk.img')
        with open(self.image, 'wb') as f:
            f.truncate(SIZE)
        root = os.path.join(directory, 'root')
        os.mkdir(root, 0o755)
        self.daemon = Refpointd(root)
        self.client = None
        self.pid = None
        self.points = []     # (id, the model then, Blocks submitted since)
        self.checks = 0

    def begin(self):
        self.daemon.start()
        self.daemon.cli('define', VM, '--disk', f'disk={self.image}',
                        '--log-limit', str(16 << 30))
        self.daemon.cli('serve', VM)
        status = self.daemon.wait_serving(VM)
        self.pid = status['worker_pid']
        socket, export = parse_uri(status['disks'][0]['nbd_uri'])
        self.client = Client(socket, export, SIZE, self.rng)

    def kill_once(self):
        """Some load, a kill at a random moment of it, and back again."""
        client = self.client
        large = self.rng.random() < 0.3
        if large:
            # Right after large writes went out, before any answer.
            client.submit_random(4, LARGE)
            client.poll(0)
        else:
            client.submit_random(self.rng.randrange(1, 24))
            until = time.monotonic() + self.rng.random() * 0.02
            while time.monotonic() < until and client.waiting:
                client.poll(1)
        kill_now(self.pid)
        client.submit_random(2)
        while client.waiting:
            client.poll(50)
        client.drain()
        self.pid = self.daemon.wait_serving(VM, self.pid)['worker_pid']

    def point(self):
        """Makes a point with nothing in flight, and checks against others."""
        client = self.client
        client.submit_random(8)
        client.drain()
        for _, _, written in self.points:
            written.map[:] = (written | client.written).map
        client.forget()
        name = (self.log_point() if self.logs else
                self.daemon.create(VM)['id'])
        for since, model, written in self.points:
            self.check(since, name, model, written)
        self.points.append((name, bytes(client.model), blocks.Blocks(SIZE)))
        if len(self.points) > POINTS_KEPT:
            # The middle one: its changes must stay with the older point.
            gone = self.points.pop(1)
            self.daemon.cli('destroy', VM, gone[0])

    def log_point(self):
        """A point, and what the logs since the one before it say."""
        with open(self.image, 'rb') as f:
            now = f.read()      # nothing is in flight
        name = self.daemon.create(VM, '--type', 'log')['id']
        before, self.before = self.before, (name, now)
        if before:
            self.replay(before[0], name, before[1], now)
        return name

    def replay(self, base, point, content, wanted):
        path = os.path.join(self.directory, 'copy')
        logs = os.path.join(self.directory, 'logs')
        with open(path, 'wb') as f:
            f.write(content)
        self.daemon.cli('export', VM, point, logs, '--base', base)
        self.daemon.cli('replay', *sorted(glob.glob(logs + '/*.hrl')),
                        '--onto', path)
        with open(path, 'rb') as f:
            if f.read() != wanted:
                raise process.Failure(
                    f'the logs from {base} to {point} give something else '
                    'than what the disk holds')
        process.remove_dir(logs)
        self.replays += 1

    def check(self, since, until, model, written):
        answer = self.daemon.changes(VM, since, until)['disks'][0]
        reported = blocks.from_extents(SIZE, answer['extents'])
        must = self.client.differing(model)
        self.checks += 1
        for what, wrong in (('differ, but are not reported', must - reported),
                            ('reported, but nothing was submitted there',
                             reported - written)):
            if len(wrong):
                raise process.Failure(
                    f'{since} to {until}: {len(wrong)} blocks {what}, at '
                    f'{wrong.addresses()}')
        if answer['accuracy'] != 'exact' or truth.malformed(answer, SIZE):
            raise process.Failure(
                f'{since} to {until}: {answer["accuracy"]}: '
                f'{answer["reason"]} {truth.malformed(answer, SIZE)}')

    def check_data(self):
        wrong = self.client.wrong_blocks()
        if len(wrong):
            raise process.Failure(f'{len(wrong)} blocks read back wrong, at '
                                  f'{wrong.addresses()}')

    def run(self):
        self.begin()
        self.point()
        for i in range(self.kills):
            self.kill_once()
            if (i + 1) % KILLS_PER_POINT == 0:
                self.point()
        self.point()
        self.check_data()
        self.client.close()
        self.daemon.cli('unserve', VM)
        self.daemon.cli('check', VM)


def main():
    reason = built() or (None if Client else 'no python3-libnbd')
    if reason:
        print(reason)
        return 77
    seed = int(os.environ.get('SEED', random.randrange(1 << 31)))
    default = 2000 if 'REFPOINT_SOAK' in os.environ else 200
    kills = int(os.environ.get('KILLS', default))
    print(f'SEED={seed} KILLS={kills}')
    directory = process.scratch_dir('refpoint-kills.')
    test = Kills(directory, kills, seed, '--logs' in sys.argv)
    try:
        test.run()
        print(f'{kills} kills, {test.client.deaths} connections lost, '
              f'{test.checks} answers exact, {test.replays} replays right')
        return 0
    except process.Failure as e:
        print(f'test-kills: {e}')
        for path in test.daemon.logs():
            print(f'--- {path}\n' + process.tail(path))
        return 1
    finally:
        test.daemon.close()
        process.remove_dir(directory)


if __name__ == '__main__':
    sys.exit(main())
