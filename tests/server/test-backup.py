#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Backups of a real guest that writes on, whoever is killed in the middle.

A Linux guest with two disks has an ext4 and a SQLite database on each, and
keeps writing.  Cycle after cycle a snapshot is taken, read by one of five
stock ways in full or onto the copy of the cycle before, and converted into
the next point; the worker, refpointd or the reader is killed in mid-read.  In
some cycles a second snapshot is read at the same time.  One reader is stopped
in the middle for more than a minute, over many cycles, all the while the guest
writes on; then it reads the rest.

Each copy must equal the truth block for block: what QEMU recorded between the
guest and refpoint.  In every second cycle the guest is paused at the instant,
which so is exact; in the others a block that was written about then may hold
what it held before or after each such write.  Each ext4 must be clean once
its journal is replayed, each database whole, with every row that was
committed before the snapshot was asked for, and of both the rows must be
those of one instant.  The guest must see no error.

CYCLES and SEED are taken from the environment.
"""
import os
import random
import shutil
import sys
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, 'tests'))
from harness import backup, process, qemu, recorded  # noqa: E402
from harness.process import Failure  # noqa: E402
from harness.recorded import MIB, VM  # noqa: E402
from harness.refpoint import built, kill_now  # noqa: E402

try:
    import nbd
except ImportError:
    nbd = None

SIZES = {'root': 64 * MIB, 'data': 96 * MIB}
CYCLES = int(os.environ.get('CYCLES', 200 if 'REFPOINT_SOAK' in os.environ
                            else 20))
SEED = int(os.environ.get('SEED', time.time_ns() % (1 << 32)))
BUSY = 20              # requests of the guest, on each disk, in each cycle
STOPPED_FROM = 2       # the cycle in which one reader stops
STOPPED_SECONDS = 61   # for how long it stands still
POINTS_KEPT = 2


READERS = [backup.Nbdcopy, backup.QemuImg, backup.Python, backup.QemuIo,
           backup.Export]
EVENTS = ['nothing', 'worker', 'refpointd', 'reader']


class Snapshot:
    """A snapshot, and the truth about it."""

    def __init__(self, world, number):
        self.world = world
        self.number = number
        self.rows = 0
        self.first = self.last = None    # positions about its instant
        self.truth = {d: world.path(f'truth.{number}.{d}') for d in SIZES}
        self.copies = {d: world.path(f'copy.{number}.{d}') for d in SIZES}
        self.id = self.told = None

    def take(self, paused):
        world = self.world
        self.rows = world.rows()
        if paused:
            world.guest.stop()
        self.first = world.positions()
        told = world.daemon.json('snapshot', VM)
        if not paused:
            world.guest.stop()
        self.last = world.positions()
        world.truth(self.first, self.last, self.truth)
        world.guest.cont()
        self.told = told
        self.id = told['id']

    def sources(self, base=None):
        return [backup.Source(self.told, disk, base and base.id,
                              base and base.copies[disk]) for disk in SIZES]

    def judge(self):
        """Of all disks: the blocks, the file systems, the databases."""
        unsure = sum(one.judge(self.copies[d], self.truth[d], self.first[d],
                               self.last[d])
                     for d, one in self.world.recorded.items())
        directory = self.world.path(f'judge.{self.number}')
        os.mkdir(directory)
        newest = [backup.examine(self.copies[d], directory) for d in SIZES]
        os.rmdir(directory)
        for path in self.truth.values():
            os.unlink(path)
        if not self.rows <= newest[1] <= newest[0] <= newest[1] + 1:
            raise Failure(f'rows {newest}, of which {self.rows} were '
                          'committed before')
        return unsure, newest[1]

    def forget(self, *disks):
        """Removes the copies."""
        for disk in disks or SIZES:
            for end in ('', '.qcow2', '.log'):
                if os.path.exists(self.copies[disk] + end):
                    os.unlink(self.copies[disk] + end)


class Background(threading.Thread):
    """Readers that copy one disk after the other, beside all else."""

    def __init__(self, readers):
        super().__init__(daemon=True)
        self.readers = readers
        self.failure = None
        self.start()

    def run(self):
        try:
            for reader in self.readers:
                reader.run()
        except (Failure, OSError) as e:
            self.failure = e

    def end(self):
        self.join()
        if self.failure:
            raise Failure(str(self.failure)) from self.failure


class World(recorded.World):
    def __init__(self, directory):
        super().__init__(directory, SIZES)
        self.rng = random.Random(SEED)
        self.kept = []       # snapshots that are points now, oldest first
        self.numbers = 0
        self.frozen = None
        self.counts = dict.fromkeys(['copies', 'kills', 'again', 'unsure'], 0)

    # ---- what happens in mid-read

    def event(self, what, reader):
        if what == 'nothing':
            return
        self.counts['kills'] += 1
        if what == 'reader':
            reader.kill()
        elif what == 'refpointd':
            self.daemon.kill()
        else:
            kill_now(self.daemon.call('Status', vm=VM)['status']['worker_pid'])

    def read(self, kind, snapshot, base, what):
        """All disks; one with an event in the middle."""
        sources = snapshot.sources(base)
        chosen = self.rng.choice(sources)
        for source in sources:
            self.read_disk(kind, source, snapshot,
                           what if source is chosen else 'nothing')
        self.counts['copies'] += 1

    def read_disk(self, kind, source, snapshot, event):
        """What fails by our doing is done again, once."""
        target = snapshot.copies[source.disk]
        may_fail = (event == 'reader' or
                    event == 'worker' and not kind.survives or
                    event == 'refpointd' and
                    issubclass(kind, backup.Export))
        reader = kind(source, target, lambda r: self.event(event, r))
        try:
            reader.run()
            self.recover()
            return
        except Failure as e:
            if reader.middle or not may_fail:
                raise
            print(f'          again, as {e}')
        self.counts['again'] += 1
        self.recover()
        snapshot.forget(source.disk)
        kind(source, target).run()

    # ---- the cycles

    def snapshot(self, paused):
        self.numbers += 1
        one = Snapshot(self, self.numbers)
        one.take(paused)
        return one

    def judge(self, snapshot, text):
        unsure, row = snapshot.judge()
        self.counts['unsure'] += unsure
        print(f'{time.monotonic() - self.start:6.1f} s  {text}: right, up to '
              f'row {row}' + (f' ({unsure} blocks of writes about then)'
                              if unsure else ''), flush=True)

    def dropped(self, snapshot, text):
        """The end of a backup that no other one is to be based on."""
        self.counts['copies'] += 1
        self.daemon.cli('drop', VM, snapshot.id)
        self.judge(snapshot, text)
        snapshot.forget()

    def second(self):
        """Another backup at the same time: begun, and how to end it."""
        one = self.snapshot(self.rng.random() < 0.5)
        kind = self.rng.choice([backup.Nbdcopy, backup.QemuImg])
        background = Background([kind(source, one.copies[source.disk])
                                 for source in one.sources()])

        def end():
            background.end()
            self.dropped(one, f'   {kind.__name__} at the same time')
        return end

    def freeze_one(self):
        """A reader that stops for many cycles."""
        one = self.snapshot(True)
        first, *others = one.sources()
        reader = backup.QemuIoAll(first, one.copies[first.disk],
                                  lambda r: r.freeze())
        reader.patience = 3600
        background = Background([reader, *(
            backup.QemuImg(source, one.copies[source.disk])
            for source in others)])
        process.wait_until('the reader to stop', lambda: reader.is_frozen() or
                           not background.is_alive(), 2 * backup.LOADED)
        if not background.is_alive():
            background.end()
            raise Failure('the reader ended before its middle')
        self.frozen = (one, reader, background, time.monotonic(),
                       reader.progress(), self.positions())

    def stood(self):
        return time.monotonic() - self.frozen[3] if self.frozen else 0

    def thaw_one(self):
        stood = self.stood()
        one, reader, background, _, progress, before = self.frozen
        wrote = {d: n - before[d] for d, n in self.positions().items()}
        if stood < STOPPED_SECONDS or min(wrote.values()) < BUSY:
            raise Failure(f'stood {stood} s, in which the guest wrote {wrote}')
        log = self.recorded[reader.source.disk].log
        if not any(e.offset >= reader.PART for e in
                   log.between(before[reader.source.disk])):
            raise Failure('the guest wrote to nothing that is left to read')
        if not reader.is_frozen() or reader.progress() != progress:
            raise Failure('the reader did not stand still')
        self.frozen = None
        reader.thaw()
        background.end()
        self.dropped(one, f'   QemuIoAll, which stood still for {stood:.0f} s,'
                     f' while the guest wrote {sum(wrote.values())} times')

    def cycle(self, number, kind, what):
        base = self.kept[-1] if self.kept else None
        if kind is backup.Export:
            kind = kind.on(self.daemon.root)
        if kind.incremental and not base:
            kind = backup.Nbdcopy
        one = self.snapshot(number % 2 == 0)
        end = self.second() if what == 'nothing' else lambda: None
        self.busy(BUSY)
        self.read(kind, one, base, what)
        if self.daemon.cli('convert', VM, one.id).strip() != one.id:
            raise Failure('conversion changed the id')
        end()
        self.judge(one, f'{number:2} {kind.__name__}, {what} killed')
        self.kept.append(one)
        if len(self.kept) > POINTS_KEPT:
            gone = self.kept.pop(0)
            self.daemon.cli('destroy', VM, gone.id)
            gone.forget()

    def schedule(self):
        """Every way with every event in turn."""
        while True:
            pairs = [(k, e) for k in READERS for e in EVENTS]
            self.rng.shuffle(pairs)
            yield from pairs

    def run(self):
        self.begin()
        self.start = time.monotonic()
        for number, (kind, what) in zip(range(1, CYCLES + 1),
                                        self.schedule()):
            if number == min(STOPPED_FROM, CYCLES):
                self.freeze_one()
            self.cycle(number, kind, what)
            while number == CYCLES and 0 < self.stood() < STOPPED_SECONDS:
                self.busy(BUSY)
            if self.stood() >= STOPPED_SECONDS:
                self.thaw_one()
        self.end_guest()
        if self.daemon.json('snapshots', VM)['snapshots']:
            raise Failure('a snapshot is left')
        self.end()


def main():
    reason = built() or qemu.missing() or (
        None if nbd else 'python3-libnbd is not installed') or (
        None if shutil.which('nbdcopy') else 'nbdcopy is not installed')
    if reason:
        print(f'SKIP: {reason}')
        return 77
    print(f'SEED={SEED} CYCLES={CYCLES}', flush=True)
    directory = process.scratch_dir('refpoint-backup.')
    world = World(directory)
    try:
        world.run()
        print(', '.join(f'{n} {k}' for k, n in world.counts.items()))
        return 0
    except Failure as e:
        print(f'test-backup: {e}')
        for path in world.logs():
            print(f'--- {path}\n' + process.tail(path, 15))
        return 1
    finally:
        world.close()
        process.remove_dir(directory)


if __name__ == '__main__':
    sys.exit(main())
