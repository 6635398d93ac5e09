#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The judge is judged: a real guest on qemu-nbd, which is killed in mid-write.

What the recorder logged, replayed on an empty image, must be the image that
the guest's writes made, although the server was killed and started again and
the guest never saw an error.  So what the demo and the tests say about
refpoint with this recorder can be believed.
"""
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import blocks, process, qemu, writelog  # noqa: E402

SIZE = 128 << 20


class QemuNbd:
    """qemu-nbd with one export, which can be killed and started again."""

    def __init__(self, directory):
        self.directory = directory
        self.image = os.path.join(directory, 'disk.img')
        self.socket = os.path.join(directory, 'nbd.sock')
        self.process = None
        with open(self.image, 'wb') as f:
            f.truncate(SIZE)

    def start(self):
        pid_file = os.path.join(self.directory, 'nbd.pid')
        if os.path.exists(pid_file):
            os.unlink(pid_file)
        self.process = process.start(
            ['qemu-nbd', '-k', self.socket, '-x', 'disk', '-f', 'raw', '-t',
             '--discard=unmap', '--pid-file', pid_file, self.image],
            os.path.join(self.directory, 'qemu-nbd.log'))
        process.wait_until('qemu-nbd', lambda: os.path.exists(pid_file))

    def kill(self):
        self.process.kill()
        self.process.wait()


def check(what, condition):
    print(('ok      ' if condition else 'FAILED  ') + what)
    if not condition:
        raise process.Failure(what)


def grown(log, least):
    """Waits until the recorder has that many entries."""
    return process.wait_until(f'{least} entries in the log',
                              lambda: log.refresh() >= least, 60)


def run(directory):
    server = QemuNbd(directory)
    server.start()
    disk = qemu.Disk('root', server.socket, 'disk',
                     os.path.join(directory, 'root.log'))
    log = writelog.WriteLog(disk.log)
    try:
        with qemu.Guest(directory, [disk]) as guest:
            guest.wait_writing()
            for _ in range(2):
                grown(log, log.refresh() + 100)
                server.kill()
                server.start()
            grown(log, log.refresh() + 100)
            guest.stop()
            first = log.refresh()
            copy = os.path.join(directory, 'copy.img')
            shutil.copyfile(server.image, copy)
            guest.cont()
            grown(log, first + 100)
            status = guest.console.command('check', 'check')
            check('the guest saw no error', not guest.errors())
            check('its file system is whole', status == '0')
            guest.quit()
    finally:
        process.stop(server.process)
    judge(directory, server.image, copy, log, first)


def judge(directory, image, copy, log, first):
    last = log.refresh()
    replayed = os.path.join(directory, 'replayed.img')
    with open(replayed, 'wb') as f:
        f.truncate(SIZE)
    log.replay(replayed, 0, first)
    check('the log up to the pause replays to the copy taken then',
          blocks.differing(replayed, copy).addresses() == [])
    log.replay(replayed, first, last)
    check('the whole log replays to the image',
          blocks.differing(replayed, image).addresses() == [])
    changed = blocks.differing(copy, image)
    written = blocks.from_entries(SIZE, log.between(first, last))
    check(f'{len(changed)} blocks changed since, all of them logged',
          len(changed) > 0 and len(changed - written) == 0)


def main():
    reason = qemu.missing() or (
        None if shutil.which('qemu-nbd') else 'no qemu-nbd')
    if reason:
        print(reason)
        return 77
    directory = tempfile.mkdtemp(prefix='refpoint-recorder.')
    try:
        run(directory)
        return 0
    except (process.Failure, subprocess.SubprocessError) as e:
        print(f'test-recorder: {e}')
        for name in ('guest-console.log', 'guest-qemu.log', 'qemu-nbd.log'):
            print(f'--- {name}\n' +
                  process.tail(os.path.join(directory, name)))
        return 1
    finally:
        shutil.rmtree(directory)


if __name__ == '__main__':
    sys.exit(main())
