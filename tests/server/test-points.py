#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What refpointd tells of points is what the store has, whoever was killed.

Points are made and destroyed by the CLI and as jobs; refpointd, the worker or
both are killed at random moments of it, served or not.  Afterwards Systems and
Points say the same, and every point whose making was answered is there, and
none whose end was.  ROUNDS and SEED are taken from the environment.
"""
import json
import os
import random
import sys
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, 'tests'))
sys.path.insert(0, os.path.join(TOP, 'tests', 'daemon'))
from harness import process  # noqa: E402
from harness.process import Failure  # noqa: E402
from harness.refpoint import Refpointd, built, kill_now  # noqa: E402
from varlink import Client, Error  # noqa: E402

ROUNDS = int(os.environ.get('ROUNDS', 12))
SEED = int(os.environ.get('SEED', time.time_ns() % (1 << 32)))


class Points:
    def __init__(self, directory, rng):
        self.rng = rng
        root = os.path.join(directory, 'root')
        os.mkdir(root, 0o755)
        self.daemon = Refpointd(root)
        self.socket = os.path.join(root, 'run', 'admin.sock')
        self.images = []
        for name in ('a', 'b'):
            path = os.path.join(directory, f'{name}.img')
            with open(path, 'wb') as f:
                f.truncate(8 << 20)
            self.images.append(path)
        self.made = {}   # answered, by system: ids that must be there
        self.gone = set()

    def stream(self, method, **parameters):
        client = Client(self.socket)
        try:
            return list(client.stream(f'org.refpoint.{method}', parameters))
        finally:
            client.close()

    def told(self, vm):
        """As Systems says."""
        return [p for r in self.stream('Systems', points=True)
                for s in r['systems'] if s['vm'] == vm for p in s['points']]

    def held(self, vm):
        """As the worker says."""
        return [p for r in self.stream('Points', vm=vm) for p in r['points']]

    def check(self, vm):
        """A change that a dead refpointd asked for may still be on its way."""
        process.wait_until(f'the truth about {vm}',
                           lambda: self.told(vm) == self.held(vm), 60)
        ids = {p['id'] for p in self.told(vm)}
        if not self.made[vm] <= ids or ids & self.gone:
            raise Failure(f'{vm}: told {ids}, made {self.made[vm]}, '
                          f'destroyed {self.gone}')

    def begin(self):
        self.daemon.start()
        for vm, path in zip(('idle', 'served'), self.images):
            self.daemon.cli('define', vm, '--disk', f'disk={path}')
            self.made[vm] = set()
        self.daemon.cli('serve', 'served')

    def by_cli(self, vm):
        point = self.daemon.create(vm)
        self.made[vm].add(point['id'])
        if point not in self.told(vm):
            raise Failure(f'{vm}: {point} is not told')
        if len(self.made[vm]) > 3:
            self.end_one(vm)
        self.check(vm)

    def end_one(self, vm):
        point = self.rng.choice(sorted(self.made[vm]))
        self.daemon.cli('destroy', vm, point)
        self.made[vm].remove(point)
        self.gone.add(point)
        if point in [p['id'] for p in self.told(vm)]:
            raise Failure(f'{vm}: {point} is still told')

    def change(self, vm, wait_ms):
        """A job, whose caller may lose refpointd."""
        try:
            client = Client(self.socket)
            reply = client.call('org.refpoint.CreateJob',
                                {'vm': vm, 'wait_ms': wait_ms})
            client.close()
        except (OSError, EOFError, Error):
            return
        if reply['job']['state'] == 'completed':
            self.made[vm].add(reply['job']['point'])

    def kill(self, vm, who):
        pid = self.daemon.status(vm)['worker_pid']
        thread = threading.Thread(target=self.change, args=(
            vm, self.rng.choice((1, 60000))))
        thread.start()
        time.sleep(self.rng.random() * 0.06)
        if who != 'worker':
            self.daemon.kill()
        if who != 'refpointd' and pid:
            kill_now(pid)
        thread.join()
        if who != 'worker':
            self.daemon.start()
        self.check(vm)
        if any(j['state'] == 'running' for r in self.stream('Jobs')
               for j in r['jobs']):
            process.wait_until('the end of the jobs', lambda: not [
                j for r in self.stream('Jobs') for j in r['jobs']
                if j['state'] == 'running'])

    def run(self):
        self.begin()
        for _ in range(ROUNDS):
            for vm in ('idle', 'served'):
                self.by_cli(vm)
                self.kill(vm, self.rng.choice(('worker', 'refpointd',
                                               'both')))
                if len(self.made[vm]) > 3:
                    self.end_one(vm)
        self.daemon.kill()  # and what it remembers is enough
        for vm in ('idle', 'served'):
            for pid in process.pids_naming(self.daemon.root):
                kill_now(pid)
        self.daemon.start()
        for vm in ('idle', 'served'):
            self.check(vm)


def main():
    why = built()
    if why:
        print(f'SKIP: {why}')
        return 77
    print(f'SEED={SEED} ROUNDS={ROUNDS}', flush=True)
    directory = process.scratch_dir('points-')
    os.chmod(directory, 0o755)
    points = Points(directory, random.Random(SEED))
    try:
        points.run()
        print(json.dumps({vm: len(points.made[vm]) for vm in points.made}))
    except BaseException:
        print(process.tail(points.daemon.log, 80))
        raise
    finally:
        points.daemon.close()
        process.remove_dir(directory)
    return 0


if __name__ == '__main__':
    sys.exit(main())
