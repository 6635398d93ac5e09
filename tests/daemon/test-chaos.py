#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""refpointd and its workers die, stop and go on at random moments while six
callers do all that there is to do.  Afterwards every VM is there or not,
answers, and can be defined, served, withdrawn and undefined again.

SEED repeats a run's choices; ROUNDS sets how many interruptions there are.
"""
import os
import random
import signal
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from rig import Error, Rig, pids_naming, wait_until, worker_uid  # noqa: E402

SEED = int(os.environ.get('SEED', time.time_ns() % (1 << 32)))
ROUNDS = int(os.environ.get('ROUNDS', 60))
VMS = ('v0', 'v1', 'v2')
METHODS = ('Create', 'Points', 'Status', 'List', 'Serve', 'Unserve', 'Define',
           'Systems', 'Undefine', 'Check', 'Destroy', 'Changes', 'Snapshot',
           'Snapshot', 'Convert', 'Drop')


class Callers:
    def __init__(self, rig):
        self.rig = rig
        self.over = False
        self.counts = {}
        self.lock = threading.Lock()
        for vm in VMS:
            rig.disk(f'{vm}.img')
        self.threads = [threading.Thread(target=self.call_on, args=(i,))
                        for i in range(6)]
        for thread in self.threads:
            thread.start()

    def note(self, what):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def call(self, r):
        vm, method = r.choice(VMS), r.choice(METHODS)
        if method == 'Define':
            self.rig.define(vm, [f'{self.rig.top}/d/{vm}.img'])
        elif method == 'List':
            self.rig.call('List')
        elif method == 'Systems':
            self.rig.systems(points=True)
        elif method == 'Destroy':
            points = self.rig.call('Points', vm=vm)['points']
            self.rig.call('Destroy', vm=vm, point=r.choice(points)['id']
                          if points else 'none')
        elif method in ('Convert', 'Drop'):
            there = self.rig.call('Snapshots', vm=vm)['snapshots']
            self.rig.call(method, vm=vm, snapshot=r.choice(there)['id']
                          if there else 'none')
        elif method == 'Changes':  # and leave in the middle
            client = self.rig.client()
            client.send('org.refpoint.Changes',
                        {'vm': vm, 'since': '20x20000'}, more=True)
            for _ in range(r.randrange(20)):
                client.answer()
            client.close()
        else:
            self.rig.call(method, vm=vm)

    def call_on(self, i):
        r = random.Random(SEED + i + 1)
        while not self.over:
            try:
                self.call(r)
                self.note('ok')
            except Error as e:
                self.note(e.name)
            except (OSError, EOFError) as e:
                self.note(type(e).__name__)
                time.sleep(0.01)  # refpointd is away

    def end(self):
        self.over = True
        for thread in self.threads:
            thread.join()
        return dict(sorted(self.counts.items()))


def signal_worker(pid, number):
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def interrupt(rig, r):
    if r.random() < 0.2:
        r.choice((rig.kill, rig.stop))()
        if rig.process.returncode not in (0, -signal.SIGKILL):
            raise AssertionError(f'refpointd: {rig.process.returncode}')
        rig.start()
        return
    pid = rig.worker_pid(r.choice(VMS))
    if pid:
        signal_worker(pid, r.choice((signal.SIGKILL, signal.SIGKILL,
                                     signal.SIGSTOP, signal.SIGCONT)))
    if rig.process.poll() is not None:
        raise AssertionError(f'refpointd: {rig.process.returncode}')


def quiet(rig, vm):
    """No job of the VM is open any more, and it answers if it is there."""
    try:
        rig.call('Status', vm=vm)
        rig.error('Destroy', vm=vm, point='no such')
    except Error:
        return False
    return rig.error('Destroy', vm=vm, point='no such').name == 'NoSuchPoint'


def told_rightly(rig, vm):
    """What refpointd remembers of them is what the worker says: all of it, or
    for a while nothing, after it could not be asked."""
    for method in ('points', 'snapshots'):
        there = rig.call(method.capitalize(), vm=vm)[method]

        def told():
            found = rig.system(vm)[method]
            if found not in ([], there):
                raise AssertionError(f'{vm}: told {found}, not {there}')
            return found == there
        wait_until(f'{vm} to be told', told, 30)


def go_through(rig, vm):
    if rig.state(vm) is not None:
        wait_until(f'{vm} to answer', lambda: quiet(rig, vm), 60, 0.1)
        told_rightly(rig, vm)
        if rig.state(vm) != 'defined':
            rig.call('Unserve', vm=vm)
        rig.call('Undefine', vm=vm)
    rig.define(vm, [f'{rig.top}/d/{vm}.img'])
    rig.call('Serve', vm=vm)
    with rig.guest(vm) as guest:
        if rig.greeted_by(guest) != rig.worker_pid(vm):
            raise AssertionError(f'{vm}: two workers')
    rig.call('Unserve', vm=vm)
    rig.call('Undefine', vm=vm)


def main():
    if worker_uid() is None:
        print('SKIP: runs as root, and there is no user refpoint-worker')
        sys.exit(77)
    print(f'SEED={SEED} ROUNDS={ROUNDS}', flush=True)
    r = random.Random(SEED)
    rig = Rig()
    try:
        rig.start()
        callers = Callers(rig)
        try:
            for _ in range(ROUNDS):
                time.sleep(r.random() * 0.3)
                interrupt(rig, r)
        finally:
            print(callers.end())
        for pid in pids_naming(rig.root):
            signal_worker(pid, signal.SIGCONT)
        for vm in VMS:
            go_through(rig, vm)
        if rig.call('List')['vms']:
            raise AssertionError('something is left')
    except BaseException:
        print(rig.log_text()[-6000:])
        raise
    finally:
        rig.close()


if __name__ == '__main__':
    main()
