# SPDX-License-Identifier: Apache-2.0
"""Backups of the demo's live guest by programs that nobody here wrote, and a
second guest that boots from what was restored."""
import os
import time

from harness import backup, blocks, process, qemu
from harness.process import Failure
from harness.refpoint import kill_now
from screen import size

LETTERS = 8     # files of each disk that the guest's command of that name makes


class Backups:
    """One full backup and one of what changed, of both disks."""

    def __init__(self, demo):
        self.demo = demo
        self.screen = demo.screen
        self.bases = {}      # {disk: raw copy}
        self.point = None    # that they are of
        self.rows = 0
        self.moment = None   # of the newest

    def say(self, reader, seconds):
        made = os.stat(reader.made).st_blocks << 9
        self.screen.detail(f'{reader.source.disk}: {reader.name}: '
                           f'{os.path.basename(reader.made)}, {size(made)} '
                           f'on disk, in {seconds:.1f} s')

    def read(self, reader):
        start = time.monotonic()
        reader.read()
        self.say(reader, time.monotonic() - start)
        reader.restore()
        self.bases[reader.source.disk] = reader.target

    def letters(self):
        """The guest writes some files of which a sum is kept, too."""
        status = self.demo.guest.console.command('letters', 'letters')
        if status != '0':
            raise Failure('the guest cannot write letters')

    def kinds(self, full):
        """Which program reads which disk."""
        if full:
            return {'root': backup.Nbdcopy, 'data': backup.QemuImg}
        return {'root': backup.QemuIo,
                'data': backup.Export.on(self.demo.root)}

    def kill_worker(self, reader):
        pid = self.demo.daemon.worker_pid(reader.source.vm)
        kill_now(pid)
        self.screen.death(f'worker {pid} killed while {reader.name} reads; '
                          'it connects again')

    def take(self, told, full):
        """Copies all disks of a snapshot."""
        for disk, kind in self.kinds(full).items():
            source = backup.Source(told, disk, self.point,
                                   self.bases.get(disk))
            name = f'{disk}.{"full" if full else "increment"}'
            self.read(kind(source, self.demo.path('backup', name),
                           self.kill_worker if kind is backup.QemuImg
                           else None))

    def changed(self, told):
        answer = self.demo.daemon.changes(told['vm'], self.point, told['id'])
        self.screen.detail('changed since the full backup: ' + ', '.join(
            f'{d["id"]} {size(d["changed_bytes"])}, {d["accuracy"]}'
            for d in answer['disks']))

    def run(self, full):
        """A backup of the guest, which goes on; its point."""
        demo = self.demo
        what = 'full' if full else 'incremental'
        self.letters()
        self.rows = int(demo.guest.console.command('rows', 'rows'))
        moment = demo.snapshot(f'the {what} backup')
        told = moment.point
        if not full:
            self.changed(told)
        self.take(told, full)
        demo.busy(0.1)
        moment.point = demo.daemon.json('convert', told['vm'], told['id'])
        self.point = told['id']
        self.screen.step(f'the snapshot became point {moment.number}; '
                         'meanwhile the guest went on')
        self.moment = moment

    def differences(self, disk, path):
        wrong = blocks.differing(path, self.moment.disks[disk].copy)
        if len(wrong):
            yield (f'{disk}: {len(wrong)} restored blocks are not what they '
                   f'were, at {wrong.addresses()}')

    def restored(self):
        """A second guest boots from the backup and looks at it."""
        demo = self.demo
        wrong = [text for disk, path in self.bases.items()
                 for text in self.differences(disk, path)]
        demo.problems += wrong
        self.screen.step('what qemu-img restored from the increments ' + (
            'DIFFERS' if wrong else 'equals the disks at that instant, block '
            'for block'))
        start = time.monotonic()
        disks = [qemu.Disk(d, None, p, None) for d, p in self.bases.items()]
        with qemu.Guest(demo.directory, disks, 'console', 'restored') as guest:
            guest.wait_ready()
            status, *rows = guest.console.command('verify', 'verify').split()
            whole = status == '0' and not guest.errors()
            guest.quit()
        rows = [int(r) for r in rows]
        if not whole or not self.rows <= rows[1] <= rows[0] <= rows[1] + 1:
            demo.problems.append(f'the restored guest: status {status}, rows '
                                 f'{rows} of at least {self.rows}')
            return
        self.screen.step('a second guest booted from it in '
                         f'{time.monotonic() - start:.0f} s and finds all '
                         'whole:')
        self.screen.detail(f'both databases with every row up to {rows[1]}; '
                           f'{self.rows} were committed before the snapshot')
        self.screen.detail(f'{4 * LETTERS} files with the right sums; e2fsck '
                           'finds nothing wrong')
