# SPDX-License-Identifier: Apache-2.0
"""Backups of a running guest's disks from its snapshots, by stock programs.

A reader copies one disk of a snapshot, and restores the copy as a raw image;
both may be done anew after a failure.  It calls `middle` once, when it has
read a part of the disk and not all.  Incremental readers take the copy that
was made at the point before as it is, and what changed since by the meta
context that says so.

The judges look at such an image as a machine would that boots from it.
"""
import glob
import hashlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess

from . import process
from .process import Failure
from .refpoint import RUN, parse_uri

PART = 8 << 20
BITMAP = 'qemu:dirty-bitmap:'
RECONNECT_SECONDS = 60
LOADED = 60            # seconds for a program to begin, on a busy machine
CLUSTER = 64 << 10     # of a qcow2; what is zeros is found at this grain
KEPT_ROWS = 1000       # tests/guest/init keeps that many
# What a kernel does silently when it mounts an ext4 after a power cut.
MOUNTING = re.compile(r'recovering journal$|'
                      r'(Clearing|Truncating) orphaned inode \d+ |'
                      r'Setting free (blocks|inodes) count to \d+ |'
                      r'clean, \d+/\d+ files, \d+/\d+ blocks$')


class Killed(Failure):
    """The reader was killed, by us."""


class Source:
    """One disk of a snapshot, and the copy that an increment goes onto."""

    def __init__(self, told, disk, point=None, base=None):
        """TOLD: as the CLI tells of a snapshot."""
        self.snapshot = told['id']
        self.vm = told['vm']
        self.disk = disk
        found = next(d for d in told['disks'] if d['id'] == disk)
        self.size = found['size']
        self.uri = found['nbd_uri']
        self.point = point      # the point that `base` is the copy of
        self.base = base

    def options(self, bitmap=False):
        """The disk for QEMU, which connects again by itself."""
        path, export = parse_uri(self.uri)
        options = {'driver': 'nbd', 'export': export,
                   'server': {'type': 'unix', 'path': path},
                   'reconnect-delay': RECONNECT_SECONDS}
        if bitmap:
            options['x-dirty-bitmap'] = BITMAP + self.point
        return options


class Reader:
    """A program that copies; `middle` may call kill(), freeze() and thaw()."""
    name = None         # for a person
    qcow2 = True        # what it makes: `made`
    incremental = False
    survives = False    # the death of the worker in the middle
    patience = 120      # seconds for the end of the program

    def __init__(self, source, target, middle=None):
        self.source = source
        self.target = target
        self.made = target + '.qcow2' if self.qcow2 else target
        self.middle = middle
        self.program = None

    def half(self):
        """It has read a part of the disk."""
        middle, self.middle = self.middle, None
        if middle:
            middle(self)

    def start(self, argv, **kwargs):
        self.program = process.start(argv, self.target + '.log', **kwargs)
        return self.program

    def kill(self):
        if self.program:
            self.program.kill()
            self.program.wait()
        raise Killed(f'{type(self).__name__}: killed')

    def freeze(self):
        self.program.send_signal(signal.SIGSTOP)
        process.wait_until('the reader to stop', self.is_frozen, LOADED)

    def is_frozen(self):
        """It was begun, and none of its threads does anything."""
        if not self.program:
            return False
        states = set()
        for path in glob.glob(f'/proc/{self.program.pid}/task/*/stat'):
            try:
                with open(path, encoding='utf-8') as f:
                    states.add(f.read().rsplit(')', 1)[1].split()[0])
            except (FileNotFoundError, ProcessLookupError):
                states.add('ended')
        return states == {'T'}

    def progress(self):
        """How much of what it makes is there."""
        return os.stat(self.made).st_size

    def thaw(self):
        self.program.send_signal(signal.SIGCONT)

    def done(self):
        try:
            status = self.program.wait(self.patience)
        except subprocess.TimeoutExpired as e:
            self.program.kill()
            raise process.Timeout(f'{type(self).__name__}: not done after '
                                  f'{self.patience} s') from e
        if status:
            raise Failure(f'{type(self).__name__}: exit status {status}: ' +
                          process.tail(self.target + '.log', 5))

    def read(self):
        """Makes the copy."""
        try:
            self.copy()
        finally:
            if self.program and self.program.poll() is None:
                self.program.kill()
                self.program.wait()

    def restore(self):
        """Makes the raw image of it, by qemu-img alone."""
        if self.qcow2:
            process.run(['qemu-img', 'check', self.made])
            process.run(['qemu-img', 'convert', '-O', 'raw', self.made,
                         self.target], timeout=120)

    def run(self):
        self.read()
        self.restore()


class Nbdcopy(Reader):
    """nbdcopy into a pipe, as if to a tape; all of the disk."""
    name = 'nbdcopy'
    qcow2 = False

    def copy(self):
        pipe = self.start(['nbdcopy', self.source.uri, '-'],
                          stdout=subprocess.PIPE).stdout
        at = 0
        with open(self.target, 'wb') as f, pipe:
            while True:
                data = pipe.read(1 << 20)
                if not data:
                    break
                if data.count(0) != len(data):
                    f.seek(at)
                    f.write(data)
                at += len(data)
                if at >= PART:
                    self.half()
            f.truncate(at)
        self.done()


class QemuImg(Reader):
    """qemu-img convert to qcow2, which outlives the worker; all of the disk."""
    name = 'qemu-img convert'
    survives = True
    rate = '48M'        # slow enough to have a middle

    def copy(self):
        self.start(['qemu-img', 'convert', '-r', self.rate, '-O', 'qcow2',
                    '--image-opts', 'driver=raw,file.' + ',file.'.join(
                        flat(self.source.options())), self.made])
        process.wait_until('qemu-img to write', lambda:
                           self.program.poll() is not None or
                           os.path.exists(self.made) and
                           os.stat(self.made).st_blocks << 9 >= 1 << 20,
                           LOADED)
        self.half()
        self.done()


def flat(options, prefix=''):
    """Options as key=value, with dots."""
    found = []
    for key, value in options.items():
        if isinstance(value, dict):
            found += flat(value, f'{prefix}{key}.')
        else:
            found.append(f'{prefix}{key}={value}')
    return found


class Python(Reader):
    """libnbd: what changed, by both meta contexts, onto the copy before."""
    name = 'python3-libnbd'
    qcow2 = False
    incremental = True

    def contexts(self, handle):
        """{context: [(offset, length, flags)]} of all of the disk."""
        found = {'base:allocation': [], BITMAP + self.source.point: []}
        for context, extents in found.items():
            def note(name, at, entries, _, context=context, extents=extents):
                if name != context:
                    return
                for length, flags in zip(entries[::2], entries[1::2]):
                    extents.append((at, length, flags))
                    at += length
            at = 0
            while at < self.source.size:
                handle.block_status(min(self.source.size - at, 1 << 30), at,
                                    note)
                at = extents[-1][0] + extents[-1][1]
        return found

    def connect(self):
        import nbd
        handle = nbd.NBD()
        handle.add_meta_context('base:allocation')
        handle.add_meta_context(BITMAP + self.source.point)
        handle.connect_uri(self.source.uri)
        return handle

    def copy(self):
        import nbd
        shutil.copyfile(self.source.base, self.target)
        try:
            self.copy_changes(self.connect())
        except nbd.Error as e:
            raise Failure(f'libnbd: {e}') from e

    def copy_changes(self, handle):
        found = self.contexts(handle)
        zeros = [(at, at + n) for at, n, flags in found['base:allocation']
                 if flags & 2]
        dirty = [(at, at + n) for at, n, flags in
                 found[BITMAP + self.source.point] if flags & 1]
        with open(self.target, 'r+b') as f:
            for i, (start, end) in enumerate(dirty):
                if i == len(dirty) // 2:
                    self.half()
                for at in range(start, end, 1 << 20):
                    to = min(at + (1 << 20), end)
                    f.seek(at)
                    f.write(bytes(to - at) if any(
                        a <= at and to <= b for a, b in zeros) else
                        handle.pread(to - at, at))
        self.half()
        handle.shutdown()


class QemuIo(Reader):
    """qemu-img map and qemu-io, which copies what it reads; what changed."""
    name = 'qemu-img map and qemu-io'
    incremental = True
    survives = True

    def dirty(self):
        """[(offset, length)]; a dirty block is one without data."""
        out = process.run(
            ['qemu-img', 'map', '--output=json', '--image-opts',
             ','.join(flat(self.source.options(bitmap=True)))])
        return [(e['start'], e['length']) for e in json.loads(out)
                if not e['data']]

    def copy(self):
        path = self.made
        dirty = self.dirty()
        process.run(['qemu-img', 'create', '-q', '-f', 'qcow2', '-b', 'json:' +
                     json.dumps({'driver': 'raw',
                                 'file': self.source.options()}),
                     '-F', 'raw', path])
        script = [f'read {a} {min(a + CLUSTER, at + n) - a}'
                  for at, n in dirty for a in range(at, at + n, CLUSTER)]
        half = self.before(script)
        empty = os.stat(path).st_blocks
        program = self.start(['qemu-io', '-C', '-f', 'qcow2', path],
                             stdin=subprocess.PIPE)
        with program.stdin as commands:
            self.say(commands, script[:half])
            process.wait_until('qemu-io to write', lambda: not dirty or
                               program.poll() is not None or
                               os.stat(path).st_blocks > empty, LOADED)
            self.half()
            self.say(commands, script[half:] + ['flush', 'quit'])
        self.done()
        rebase(path, self.source.base)

    @staticmethod
    def before(script):
        """How many commands it is given before its middle."""
        return (len(script) + 1) // 2

    @staticmethod
    def say(commands, lines):
        commands.write(''.join(f'{x}\n' for x in lines).encode())
        commands.flush()


class QemuIoAll(QemuIo):
    """qemu-io, all of the disk; what comes after PART it is told to read
    after its middle only, however long that takes."""
    name = 'qemu-io'
    incremental = False
    PART = 1 << 20

    def dirty(self):
        return [(0, self.source.size)]

    def before(self, script):
        return self.PART // CLUSTER


def rebase(path, base):
    """Names the raw image that an increment is based on; None: it is all."""
    process.run(['qemu-img', 'rebase', '-u',
                 *(['-F', 'raw', '-b', base] if base else ['-b', '']), path])


class Export(Reader):
    """refpoint export of what changed since a point."""
    name = 'refpoint export'
    incremental = True

    def copy(self):
        source = self.source
        directory = self.target + '.export'
        self.start([*self.command, 'export', source.vm, source.snapshot,
                    directory, '--base', source.point, '--disk', source.disk])
        process.wait_until('the export', lambda: self.program.poll() is not
                           None or glob.glob(directory + '.partial-*'),
                           LOADED, interval=0.002)
        self.half()
        self.done()
        os.rename(os.path.join(directory, f'{source.disk}-{source.snapshot}'
                               '.qcow2'), self.made)
        process.remove_dir(directory)
        rebase(self.made, source.base)

    @classmethod
    def on(cls, root):
        """The same, of the refpointd of this root."""
        class On(cls):
            command = [RUN, 'refpoint', '--root', root]
        On.__name__ = cls.__name__
        return On


# ---- judges ---------------------------------------------------------------


def mounted(path):
    """What is wrong with an ext4 once its journal was replayed, on a copy
    that is ours to change; None if nothing is."""
    done = subprocess.run(['/sbin/e2fsck', '-p', path], text=True,
                          stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=60, check=False)
    strange = [line for line in done.stdout.splitlines()
               if not MOUNTING.search(line.strip())]
    if done.returncode not in (0, 1) or strange:
        return f'e2fsck -p: {done.returncode}: {done.stdout}{done.stderr}'
    done = subprocess.run(['/sbin/e2fsck', '-fn', path], text=True,
                          stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=60, check=False)
    if done.returncode:
        return f'e2fsck -fn: {done.returncode}: {done.stdout}{done.stderr}'
    return None


def take_out(image, directory):
    """The database's files, as they lie in an ext4."""
    for suffix in ('', '-journal', '-wal'):
        # which it makes only if there is one
        process.run(['/sbin/debugfs', '-R', f'dump /database{suffix} ' +
                     os.path.join(directory, 'database' + suffix), image])
    return os.path.join(directory, 'database')


def newest_row(path):
    """Recovers a database, whose rows must be whole and without a hole."""
    with sqlite3.connect(path) as database:
        answer = database.execute('PRAGMA integrity_check').fetchall()
        rows = database.execute(
            'SELECT seq, data, sum FROM row ORDER BY seq').fetchall()
    database.close()
    if answer != [('ok',)]:
        raise Failure(f'integrity_check: {answer[:3]}')
    numbers = [row[0] for row in rows]
    last = numbers[-1] if rows else 0
    if numbers != list(range(max(1, last - KEPT_ROWS + 1), last + 1)):
        raise Failure(f'the rows have a hole before {last}')
    for number, data, total in rows:
        if hashlib.sha3_256(data).digest() != total:
            raise Failure(f'row {number} is damaged')
    return last


def examine(image, directory):
    """Mounts a copy of an image, so to say; the newest row in it."""
    copy = os.path.join(directory, 'examined.img')
    process.run(['cp', '--sparse=always', '--reflink=auto', image, copy])
    wrong = mounted(copy)
    if wrong:
        raise Failure(wrong)
    path = take_out(copy, directory)
    row = newest_row(path)
    for name in os.listdir(directory):
        if name.startswith('database') or name == 'examined.img':
            os.unlink(os.path.join(directory, name))
    return row
