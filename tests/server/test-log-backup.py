#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Backups by logs of a real guest that writes on, whoever is killed.

A Linux guest with two disks has an ext4 and a SQLite database on each, and
keeps writing.  Cycle after cycle a log-based point is made, and what was
written since the one before is exported and replayed: onto what the cycle
before left, and, until a moment between the two points, onto a copy of that.
The worker, refpointd or both are killed in between, and while a point is being
made.  RCT points are made in between as well, and what changed is asked from
point to point, whatever their types.

What is replayed must equal the truth block for block: what QEMU recorded
between the guest and refpoint.  At a moment the guest is paused, which so is
exact, and so are two points of three; at the others a block that was written
about then may hold what it held before or after each such write.  A moment
with the guest at work has no such truth.  Of all of these each ext4 must be
clean once its journal is replayed, each database whole, with every row that
was committed before, and of both disks the rows must be those of one instant.

A time at which the worker was dead is judged as well.  Where the logs say that
there are no moments then, one of the two that are offered instead is tried.
Where they do not, as nothing was under way on that disk, it must be as the
truth.

The reader of the published format (tests/hrl) goes through each exported log;
what it reads in them, put onto what its last one made, must be the same to the
byte.  In the end the worker and the guest die at once, and the logs must make
what the images were left with.  Then one point is destroyed, and all logs from
the first to the last are exported at once and replayed onto what the disks held
at the first.

CYCLES and SEED are taken from the environment.
"""
import glob
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import types
import uuid

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, 'tests'))
sys.path.insert(0, os.path.join(TOP, 'tests', 'hrl'))
import hrl_text  # noqa: E402
from harness import (backup, blocks, process, qemu,  # noqa: E402
                     recorded, truth, writelog)
from harness.process import Failure  # noqa: E402
from harness.recorded import MIB, SECTOR, VM, copy  # noqa: E402
from harness.refpoint import RUN, built, kill_now  # noqa: E402

SIZES = {'root': 64 * MIB, 'data': 96 * MIB}
CYCLES = int(os.environ.get('CYCLES', 100 if 'REFPOINT_SOAK' in os.environ
                            else 10))
SEED = int(os.environ.get('SEED', time.time_ns() % (1 << 32)))
BUSY = 15              # requests of the guest, on each disk, before a death
LIMIT = '2G'           # of the logs; by default half of the disks
DEATHS = ['nothing', 'worker', 'refpointd', 'both']
NO_MOMENT = re.compile(r'between (\S+) and (\S+), .*there are no moments')
USAGE = 2              # exit status: what was asked for is not to be had


def time_text(ns):
    seconds, rest = divmod(ns, 10 ** 9)
    return time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds)) + \
        f'.{rest:09}Z'


class Instant:
    """What the disks held at one, and where in the recorder's logs it lies:
    between `first` and `last`, which are the same if the guest was paused."""

    def __init__(self, world, rows):
        world.numbers += 1
        self.truth = {d: world.path(f'truth.{world.numbers}.{d}')
                      for d in SIZES}
        self.first = self.last = None
        self.grain = blocks.BLOCK
        self.rows = rows       # committed before
        self.at = None         # a time, as refpoint takes it

    def judge(self, world, disk, image):
        try:
            unsure = world.recorded[disk].judge(
                image, self.truth[disk], self.first[disk], self.last[disk],
                self.grain)
        except Failure as e:
            raise Failure(f'{type(self).__name__} {self.at or ""}: {e}') from e
        world.counts['unsure'] += unsure

    def forget(self):
        for path in self.truth.values():
            os.unlink(path)


class Moment(Instant):
    """One with the guest at work, or paused: then there is a truth."""

    def __init__(self, world, paused):
        super().__init__(world, world.rows())
        if paused:
            self.first = self.last = world.pause()
            world.truth(self.first, self.last, self.truth)
        self.at = time_text(time.time_ns())
        if paused:
            world.guest.cont()
        else:
            self.truth = {}
        self.before = world.rows() + 1     # which is not told at once
        world.flushed()


class Death(Instant):
    """The worker's."""


class Point(Instant):
    def __init__(self, world, kind, paused, death):
        super().__init__(world, world.rows())
        self.kind = kind
        self.first = world.pause() if paused else world.positions()
        self.id = world.create(kind, death)['id']
        # what was under way then is done again when the guest gets to it
        if world.torn:
            self.grain = SECTOR
        self.last = world.settled() if paused else world.pause()
        world.truth(self.first, self.last, self.truth)
        self.after = self.truth        # what was there at `last`
        if not paused:
            self.after = {d: path + '.after' for d, path in self.truth.items()}
            world.hold(self.last, self.after)
        self.parts = range(1, 2 if death == 'nothing' else 3)
        if death in ('worker', 'both'):
            self.was_death(world)
        world.guest.cont()

    def was_death(self, world):
        """What is known of the point is known of the death in mid-create."""
        one = world.deaths[-1]
        one.first = self.first
        for disk, path in self.truth.items():
            copy(path, one.truth[disk])

    def at_of(self, disk):
        return truth.At(self.first[disk], self.last[disk], self.after[disk])

    def forget(self):
        super().forget()
        if self.after is not self.truth:
            for path in self.after.values():
                os.unlink(path)


class World(recorded.World):
    def __init__(self, directory):
        super().__init__(directory, SIZES)
        self.rng = random.Random(SEED)
        self.numbers = self.bursts = 0
        self.deaths = []       # of which no log has told yet
        self.points = []       # log-based ones, oldest first
        self.newest = None     # of any type
        self.torn = False      # writes may be, as a worker died in them
        self.moments = []      # since the newest log-based point
        self.headers = {d: None for d in SIZES}    # of the last log read
        self.counts = dict.fromkeys(
            ['points', 'logs', 'moments', 'deaths', 'interrupted', 'spans',
             'unsure', 'writes'], 0)

    def replayed(self, disk):
        """What all exported logs made of what the disk held at first."""
        return self.path(disk + '.replayed')

    def by_text(self, disk):
        """The same, of the independent reader."""
        return self.path(disk + '.text')

    def pause(self):
        self.guest.stop()
        return self.settled()

    def settled(self):
        """The guest is paused, no request is under way: the position."""
        self.torn = False
        position = self.positions()
        for one in self.deaths:
            one.last = one.last or position
        return position

    # ---- deaths

    def stop_worker(self, pid):
        """Nothing of it goes on; but for what the kernel does for it."""
        os.kill(pid, signal.SIGSTOP)

        def stopped():
            for path in glob.glob(f'/proc/{pid}/task/*/stat'):
                with open(path, encoding='utf-8') as f:
                    name, rest = f.read().rsplit(')', 1)
                if '(iou-' not in name and rest.split()[0] != 'T':
                    return False
            return True
        process.wait_until('the worker to stop', stopped, interval=0.001)

    def stop_at_work(self, pid):
        """What the guest asks for meanwhile it does all at once, and stops in
        the middle."""
        self.stop_worker(pid)
        time.sleep(self.rng.random() * 0.2)
        os.kill(pid, signal.SIGCONT)
        time.sleep(self.rng.random() * 0.003)
        self.stop_worker(pid)

    def kill_worker(self, pid):
        """At that time nothing was at work."""
        one = Death(self, 0)
        self.stop_at_work(pid)
        one.at = time_text(time.time_ns())
        self.deaths.append(one)
        self.torn = True
        kill_now(pid)

    def die(self, who, pid):
        """PID: the worker's."""
        self.counts['deaths'] += 1
        if who in ('refpointd', 'both'):
            self.daemon.kill()
        if who in ('worker', 'both'):
            self.kill_worker(pid)

    def burst(self):
        """The guest writes hard, and flushes none of that yet."""
        self.bursts += 1
        self.guest.console.command(
            'sh for d in vda vdb; do dd if=/dev/urandom of=/mnt/$d/burst '
            'bs=256k count=24 conv=fsync 2>/dev/null & done', 'sh')
        self.busy(4)

    def worker(self):
        return self.daemon.call('Status', vm=VM)['status']['worker_pid']

    def flushed(self):
        """What the guest wrote until now is durable, in the logs as well."""
        since = self.positions()

        def flushes(one):
            one.log.refresh()
            return any(e.flags & writelog.FLUSH
                       for e in one.log.entries[since[one.disk]:])
        for disk, one in self.recorded.items():
            process.wait_until(f'the guest to flush {disk}',
                               lambda o=one: flushes(o), 60)

    # ---- points

    def stored(self):
        return glob.glob(os.path.join(self.daemon.root, 'lib', 'vms', VM,
                                      'log-*.hrl'))

    def create(self, kind, death):
        """A point; whose creation, if it is interrupted by a death, may leave
        logs of its own in the point before's."""
        arguments = ['create', VM, '--type', kind, '--request-id',
                     str(uuid.UUID(int=self.rng.getrandbits(128), version=4)),
                     '--json']
        if death == 'nothing':
            return json.loads(self.daemon.cli(*arguments))
        pid, logs = self.worker(), len(self.stored())
        program = process.start(
            [RUN, 'refpoint', '--root', self.daemon.root, *arguments],
            self.path('create.log'), stdout=subprocess.PIPE)
        try:
            process.wait_until('a log to be made', lambda:
                               len(self.stored()) > logs or
                               program.poll() is not None, interval=0.0005)
            time.sleep(self.rng.random() * 0.03)     # anywhere in it
            self.counts['interrupted'] += program.poll() is None
            self.die(death, pid)
            said = program.communicate(timeout=60)[0]
        finally:
            program.kill()
            program.wait()
            program.stdout.close()
        self.recover()
        point = json.loads(self.daemon.cli(*arguments))
        if program.returncode == 0 and json.loads(said)['id'] != point['id']:
            raise Failure('the same request made two points')
        return point

    def make(self, kind, paused, death='nothing'):
        """A point, and what changed since the one before it, of any type."""
        one = Point(self, kind, paused, death)
        self.counts['points'] += 1
        if self.newest:
            self.judge_changes(self.newest, one)
            if self.newest.kind == 'rct':
                self.newest.forget()
        self.newest = one
        return one

    def judge_changes(self, a, b):
        answers = {d['id']: d for d in
                   self.daemon.changes(VM, a.id, b.id)['disks']}
        for disk, one in self.recorded.items():
            problems, _ = truth.compare(disk, SIZES[disk], one.log,
                                        a.at_of(disk), b.at_of(disk),
                                        answers[disk])
            if problems:
                raise Failure(f'from {a.kind} point to {b.kind} point: ' +
                              '; '.join(problems))

    # ---- replay

    def logs_of(self, directory, disk):
        return sorted(glob.glob(f'{directory}/{disk}-*.hrl'))

    def replay(self, directory, disk, image, *options):
        return self.daemon.json('replay', *self.logs_of(directory, disk),
                                '--onto', image, *options)

    def examine(self, images, rows, before=None):
        """The file systems and databases; at least ROWS, none of BEFORE."""
        directory = self.path('examined')
        os.mkdir(directory)
        newest = [backup.examine(images[d], directory) for d in SIZES]
        os.rmdir(directory)
        if not rows <= newest[1] <= newest[0] <= newest[1] + 1 or \
                before and newest[1] > before:
            raise Failure(f'rows {newest}, of which {rows} were committed '
                          f'before, and at most {before}')
        return newest[1]

    def until_one(self, directory, disk, at):
        image = self.path(f'{disk}.until')
        copy(self.replayed(disk), image)
        self.replay(directory, disk, image, '--until', at)
        return image

    def until(self, directory, at):
        """What the disks held at a time."""
        return {d: self.until_one(directory, d, at) for d in SIZES}

    def judge_moment(self, directory, moment):
        images = self.until(directory, moment.at)
        for disk in moment.truth:
            moment.judge(self, disk, images[disk])
        self.examine(images, moment.rows, moment.before)
        self.counts['moments'] += 1
        moment.forget()

    def asked(self, directory, disk, at):
        """Whether the logs have that moment (True), or reach it at all
        (None); else the two moments about it."""
        done = subprocess.run(
            [RUN, 'refpoint', '--root', self.daemon.root, 'replay',
             *self.logs_of(directory, disk), '--onto', self.replayed(disk),
             '--until', at, '--check'], capture_output=True, text=True,
            timeout=60, check=False)
        if done.returncode == 0:
            return True
        span = NO_MOMENT.search(done.stderr)
        if done.returncode != USAGE or not span and not re.search(
                r'is (before|after) ', done.stderr):
            raise Failure(f'{disk}: at {at}: exit status {done.returncode}: '
                          f'{done.stderr}')
        return span and span.groups()

    def judge_death(self, directory, one):
        """Whether it lies between these two points."""
        told = {d: self.asked(directory, d, one.at) for d in SIZES}
        if None in told.values():
            if any(told.values()):
                raise Failure(f'{one.at}: of the disks\' logs some reach it')
            return False
        spans = [t for t in told.values() if t is not True]
        for disk in SIZES:
            if told[disk] is True:
                path = self.until_one(directory, disk, one.at)
                one.judge(self, disk, path)
        if spans:
            self.judge_span(directory, one.at, spans)
        one.forget()
        return True

    def judge_span(self, directory, at, spans):
        self.counts['spans'] += 1
        begin, end = min(s[0] for s in spans), max(s[1] for s in spans)
        if not begin <= at <= end:
            raise Failure(f'{at} is not between {begin} and {end}')
        self.examine(self.until(directory, self.rng.choice([begin, end])), 0)

    def read_text(self, path, disk):
        """By the independent reader, onto what its last log made."""
        with open(path, 'rb') as f:
            header, writes = hrl_text.read(f.read())
        last = self.headers[disk]
        if last and header.previous != last.unique:
            raise Failure(f'{path}: follows {header.previous}, and not '
                          f'{last.unique}')
        self.headers[disk] = header
        with open(self.by_text(disk), 'r+b') as f:
            for offset, data, _ in writes:
                f.seek(offset)
                f.write(data)
        self.counts['writes'] += len(writes)

    def judge_point(self, directory, point):
        for disk in SIZES:
            path = self.replayed(disk)
            self.replay(directory, disk, path)
            point.judge(self, disk, path)
            for log in self.logs_of(directory, disk):
                self.read_text(log, disk)
            if len(blocks.differing(path, self.by_text(disk))):
                raise Failure(f'{disk}: the published format says otherwise')
        return self.examine({d: self.replayed(d) for d in SIZES}, point.rows)

    def export(self, base, point, parts):
        """PARTS: how many logs of each disk there may be."""
        directory = self.path('export')
        self.daemon.cli('export', VM, point.id, directory, '--base', base.id)
        found = {d: len(self.logs_of(directory, d)) for d in SIZES}
        if len(set(found.values())) > 1 or found['root'] not in parts:
            raise Failure(f'logs: {found}, and not {parts}')
        self.counts['logs'] += found['root']
        return directory

    def judge(self, base, point):
        """The logs between two points: all that may be made of them."""
        directory = self.export(base, point, point.parts)
        for moment in self.moments:
            self.judge_moment(directory, moment)
        self.moments = []
        # one in mid-create may be of the next logs
        self.deaths = [one for one in self.deaths
                       if not self.judge_death(directory, one)]
        row = self.judge_point(directory, point)
        process.remove_dir(directory)
        return row

    # ---- the cycles

    def die_between(self, who):
        if who == 'nothing':
            return
        self.busy(BUSY)
        if who != 'refpointd':
            self.burst()
        first, pid = self.positions(), self.worker()
        self.die(who, pid)
        self.recover()
        if who in ('worker', 'both'):
            one = self.deaths[-1]
            one.first = first
            self.hold(first, one.truth)

    def cycle(self, number, between, in_create):
        late = self.rng.random() < 0.5
        if not late:
            self.die_between(between)
        self.moments.append(Moment(self, True))
        self.busy(BUSY)
        if number % 2:
            self.moments.append(Moment(self, False))
        if number % 3 == 0:
            self.make('rct', self.rng.random() < 0.5)
            self.busy(BUSY)
        if late:
            self.die_between(between)
        base = self.points[-1]
        self.points.append(self.make('log', number % 3 != 0, in_create))
        row = self.judge(base, self.points[-1])
        base.forget()
        print(f'{time.monotonic() - self.start:6.1f} s  {number:2} {between} '
              f'killed, then {in_create} in mid-create: right, up to row '
              f'{row}', flush=True)

    def schedule(self):
        """Every death with every other one in turn."""
        while True:
            pairs = list(itertools.product(DEATHS, DEATHS))
            self.rng.shuffle(pairs)
            yield from pairs

    def begin(self):
        super().begin()
        self.daemon.cli('set-log-limit', VM, LIMIT)
        self.start = time.monotonic()
        first = self.make('log', True)
        for disk in SIZES:
            for path in self.replayed(disk), self.by_text(disk), \
                    self.path(disk + '.base'):
                copy(first.truth[disk], path)
        self.points.append(first)

    def both_die(self):
        """The worker and the guest, so that nobody does again what was under
        way: the log has what the images happen to hold, all the same."""
        rows = self.rows()
        self.burst()
        pid = self.worker()
        self.stop_at_work(pid)
        self.guest.kill()
        kill_now(pid)
        self.recover()
        point = types.SimpleNamespace(**self.create('log', 'nothing'))
        directory = self.export(self.points[-1], point, [1])
        self.points.append(point)
        for disk in SIZES:
            self.replay(directory, disk, self.replayed(disk))
            wrong = blocks.differing(self.replayed(disk), self.images[disk])
            if len(wrong):
                raise Failure(f'{disk}: after both had died {len(wrong)} '
                              f'blocks differ, at {wrong.addresses()}')
        process.remove_dir(directory)
        self.examine({d: self.replayed(d) for d in SIZES}, rows)

    def judge_all(self):
        """All logs at once, although a point between them is gone."""
        first, last = self.points[0], self.points[-1]
        if len(self.points) > 2:
            gone = self.rng.choice(self.points[1:-1])
            self.daemon.cli('destroy', VM, gone.id)
        logs = self.counts['logs']
        directory = self.export(first, last, [logs])
        for disk in SIZES:
            base = self.path(disk + '.base')
            self.replay(directory, disk, base)
            if len(blocks.differing(base, self.replayed(disk))):
                raise Failure(f'{disk}: all logs at once make another disk')

    def run(self):
        self.begin()
        for number, deaths in zip(range(1, CYCLES + 1), self.schedule()):
            self.cycle(number, *deaths)
        if self.guest.errors():
            raise Failure(f'the guest saw errors: {self.guest.errors()}')
        self.both_die()
        self.judge_all()
        self.end()
        if self.bursts > 1 and not self.counts['spans']:
            raise Failure('nothing was under way at any death')


def main():
    reason = built() or qemu.missing()
    if reason:
        print(f'SKIP: {reason}')
        return 77
    print(f'SEED={SEED} CYCLES={CYCLES}', flush=True)
    directory = process.scratch_dir('refpoint-log-backup.')
    world = World(directory)
    try:
        world.run()
        print(', '.join(f'{n} {k}' for k, n in world.counts.items()))
        return 0
    except Failure as e:
        print(f'test-log-backup: {e}')
        for path in world.logs():
            print(f'--- {path}\n' + process.tail(path, 15))
        return 1
    finally:
        world.close()
        process.remove_dir(directory)


if __name__ == '__main__':
    sys.exit(main())
