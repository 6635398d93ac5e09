# SPDX-License-Identifier: Apache-2.0
"""Two log-based points of the demo's live guest, the logs between them, and a
third guest that boots from its disks as they were at a second in between."""
import glob
import os
import time

from harness import blocks, process, qemu
from harness.process import Failure
from screen import size

SECOND_NS = 10 ** 9


class Logs:
    def __init__(self, demo):
        self.demo = demo
        self.screen = demo.screen
        self.copies = {}     # {disk: raw copy}, of the first point
        self.second = None   # the moment, as refpoint takes it
        self.truth = {}      # {disk: what it held then}
        self.rows = 0        # committed before it, at least
        self.most = 0        # and at most

    # -- while the guest writes --------------------------------------------

    def moment(self):
        """The guest is paused over the end of a second, so that what its disks
        hold then can be copied."""
        demo = self.demo
        self.rows = int(demo.guest.console.command('rows', 'rows'))
        demo.guest.stop()
        end = time.time_ns() // SECOND_NS + 1
        process.wait_until('the second to end',
                           lambda: time.time_ns() > end * SECOND_NS)
        self.second = time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(end))
        self.truth = {d: demo.copy(d, 'second') for d in self.copies}
        demo.guest.cont()
        # and one that is committed is not told at once
        self.most = int(demo.guest.console.command('rows', 'rows')) + 1
        self.screen.step(f'it is {self.second}; the guest has committed '
                         f'{self.rows} rows')

    def accident(self):
        status = self.demo.guest.console.command(
            'sh rm -r /mnt/vda/letters /mnt/vdb/letters && sync', 'sh')
        if status != '0':
            raise Failure('the guest cannot remove its letters')
        self.screen.death('somebody removes all letters in the guest, and it '
                          'writes on')

    def run(self):
        demo = self.demo
        first = demo.point('logs begin', True, kind='log')
        self.copies = {d: at.copy for d, at in first.disks.items()}
        demo.busy(0.3)
        self.moment()
        demo.busy(0.1)
        self.accident()
        demo.busy(0.2)
        last = demo.point('logs end', False, kind='log')
        self.export(last)

    def export(self, point):
        directory = self.demo.path('logs')
        start = time.monotonic()
        self.demo.daemon.cli('export', 'demo', point.point['id'],
                             directory)
        self.screen.step('$ refpoint export: the logs of all writes between '
                         f'the two, in {time.monotonic() - start:.1f} s')
        for disk in self.copies:
            log, = self.logs_of(disk)
            self.screen.detail(f'{disk}: {os.path.basename(log)}, '
                               f'{size(os.stat(log).st_blocks << 9)}; no disk '
                               'was read, no snapshot taken')

    def logs_of(self, disk):
        return glob.glob(self.demo.path('logs', f'{disk}-*.hrl'))

    # -- afterwards --------------------------------------------------------

    def replay(self, disk):
        image = self.demo.path('copies', f'{disk}.replayed')
        process.run(['cp', '--sparse=always', '--reflink=auto',
                     self.copies[disk], image])
        done = self.demo.daemon.json('replay', *self.logs_of(disk), '--onto',
                                     image, '--until', self.second)
        wrong = blocks.differing(image, self.truth[disk])
        if len(wrong):
            self.demo.problems.append(
                f'{disk}: at {self.second} {len(wrong)} blocks are not what '
                f'they were, at {wrong.addresses()}')
        self.screen.detail(f'{disk}: {done["writes"]} writes, '
                           f'{size(done["bytes"])}; ' + (
                               'it DIFFERS from' if len(wrong) else
                               'it equals') + ' the disk at that second')
        return image

    def restored(self):
        """A guest boots from the copies, brought to that second."""
        self.screen.step('$ refpoint replay --until ' + self.second +
                         ', onto copies of the disks as logs began')
        disks = [qemu.Disk(d, None, self.replay(d), None)
                 for d in self.copies]
        start = time.monotonic()
        with qemu.Guest(self.demo.directory, disks, 'console',
                        'replayed') as guest:
            guest.wait_ready()
            letters = self.letters(guest)
            status, *rows = guest.console.command('verify', 'verify').split()
            whole = status == '0' and not guest.errors()
            guest.quit()
        self.judge(whole, [int(r) for r in rows], letters,
                   time.monotonic() - start)

    @staticmethod
    def letters(guest):
        """Whether both disks have theirs, of which verify checks the sums."""
        return guest.console.command(
            'sh for d in vda vdb; do mkdir -p /mnt/$d && mount /dev/$d '
            '/mnt/$d && ls /mnt/$d/letters/sums; s=$?; umount /mnt/$d; '
            '[ $s = 0 ] || break; done; [ $s = 0 ]', 'sh') == '0'

    def judge(self, whole, rows, letters, seconds):
        if not whole or not letters or \
                not self.rows <= rows[1] <= self.most or \
                not rows[1] <= rows[0] <= rows[1] + 1:
            self.demo.problems.append(
                f'the guest of {self.second}: rows {rows} of {self.rows} to '
                f'{self.most}, whole: {whole}, letters: {letters}')
            return
        self.screen.step(f'a third guest booted from it in {seconds:.0f} s '
                         'and finds all whole:')
        self.screen.detail(f'both databases with every row up to {rows[1]}, '
                           f'and all letters; {self.rows} rows were known to '
                           'be committed')
