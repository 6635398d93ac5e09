# SPDX-License-Identifier: Apache-2.0
"""The Linux guest under QEMU: its disks, its console and its monitor.

tests/guest/ makes the guest; its init takes commands on the console.  Each
disk is an NBD export; with a recorder, QEMU's blklogwrites driver sits between
the guest and the NBD client, so that it sees each request once however often
the client has to connect again.  The guest stops rather than sees an error.
"""
import collections
import json
import os
import socket
import subprocess
import threading
import time

from . import process
from .process import BUILD, TOP, Failure, Timeout

GUEST = os.environ.get('REFPOINT_GUEST', os.path.join(BUILD, 'guest'))
RECONNECT_SECONDS = 300
BOOT_SECONDS = 90
PROBE_SECONDS = 10

# A disk of the guest: its name, the socket and export of its NBD server, and
# the file of its recorder, or None for none.  Without a socket the export is
# the path of a raw image.
Disk = collections.namedtuple('Disk', 'name socket export log')


def guest_files():
    """The kernel and the initramfs, made if need be."""
    process.run([os.path.join(TOP, 'tests', 'guest', 'make-guest')],
                env={**os.environ, 'REFPOINT_GUEST': GUEST})
    return os.path.join(GUEST, 'vmlinuz'), os.path.join(GUEST, 'initramfs')


def missing():
    """Why no guest can be booted here, or None if one can."""
    if not os.path.exists(os.path.join(GUEST, 'kernel', 'ready')):
        return "the guest's kernel is missing: tools/install-deps --kernel"
    path = os.environ.get('PATH', os.defpath).split(os.pathsep)
    for program in ('qemu-system-x86_64', 'qemu-img', 'sqlite3'):
        if not any(os.access(os.path.join(d, program), os.X_OK)
                   for d in path):
            return f'{program} is missing: tools/install-deps'
    return None


def base_arguments(accelerator, mode, memory=256):
    kernel, initramfs = guest_files()
    return ['qemu-system-x86_64', '-nodefaults', '-no-user-config',
            '-display', 'none', '-machine', 'q35', '-accel', accelerator,
            '-m', str(memory), '-no-reboot',
            '-kernel', kernel, '-initrd', initramfs, '-append',
            f'console=ttyS0 quiet panic=-1 refpoint.mode={mode}']


def _kvm_boots():
    """Whether a guest really comes up with KVM; opening it proves nothing."""
    if not os.access('/dev/kvm', os.R_OK | os.W_OK):
        return False
    try:
        done = subprocess.run(base_arguments('kvm', 'probe') +
                              ['-serial', 'stdio'], timeout=PROBE_SECONDS,
                              stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, check=False,
                              preexec_fn=process.die_with_parent)
    except (subprocess.TimeoutExpired, OSError):
        return False
    return b'guest: up' in done.stdout


def _boot_id():
    with open('/proc/sys/kernel/random/boot_id', encoding='ascii') as f:
        return f.read().strip()


def accelerator():
    """'kvm' where a guest boots with it, else 'tcg'; tried once per boot."""
    guest_files()
    cache = os.path.join(GUEST, 'accelerator')
    try:
        with open(cache, encoding='ascii') as f:
            boot, answer = f.read().split()
        if boot == _boot_id():
            return answer
    except (OSError, ValueError):
        pass
    answer = 'kvm' if _kvm_boots() else 'tcg'
    with open(cache + '.new', 'w', encoding='ascii') as f:
        f.write(f'{_boot_id()} {answer}\n')
    os.replace(cache + '.new', cache)
    return answer


class Qmp:
    """QEMU's monitor; one command at a time, events kept in order."""

    def __init__(self, path, timeout=30):
        self.events = []
        self._buffer = b''
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout)
        self._socket.connect(path)
        self._read()                       # the greeting
        self.command('qmp_capabilities')

    def close(self):
        self._socket.close()

    def _read(self):
        while b'\n' not in self._buffer:
            try:
                got = self._socket.recv(65536)
            except socket.timeout as e:
                raise Timeout('QEMU does not answer on its monitor') from e
            if not got:
                raise Failure('QEMU closed its monitor')
            self._buffer += got
        line, self._buffer = self._buffer.split(b'\n', 1)
        return json.loads(line)

    def command(self, name, /, **arguments):
        """Runs a command and returns what it returns."""
        request = {'execute': name}
        if arguments:
            request['arguments'] = arguments
        self._socket.sendall(json.dumps(request).encode() + b'\n')
        while True:
            answer = self._read()
            if 'event' in answer:
                self.events.append(answer)
            elif 'error' in answer:
                raise Failure(f'QEMU: {name}: {answer["error"]["desc"]}')
            elif 'return' in answer:
                return answer['return']


class Console:
    """The guest's serial console: lines in, commands out."""

    def __init__(self, process_, path):
        self._process = process_
        self._lines = []
        self._more = threading.Condition()
        self._ended = False
        self._log = open(path, 'wb')
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for raw in self._process.stdout:
            self._log.write(raw)
            self._log.flush()
            with self._more:
                self._lines.append(raw.decode(errors='replace').strip())
                self._more.notify_all()
        with self._more:
            self._ended = True
            self._more.notify_all()
        self._log.close()

    def lines(self):
        with self._more:
            return list(self._lines)

    def expect(self, prefix, since=0, timeout=BOOT_SECONDS):
        """Waits for a line with this beginning; returns its rest."""
        end = time.monotonic() + timeout
        with self._more:
            while True:
                for line in self._lines[since:]:
                    if line.startswith(prefix):
                        return line[len(prefix):].strip()
                since = max(since, len(self._lines))
                left = end - time.monotonic()
                if self._ended:
                    raise Failure(f'QEMU ended before the guest said '
                                  f'"{prefix}"')
                if left <= 0:
                    raise Timeout(f'the guest did not say "{prefix}" in '
                                  f'{timeout} s')
                self._more.wait(left)

    def command(self, line, answer, timeout=BOOT_SECONDS):
        """Sends a command; returns the rest of the line that answers it."""
        since = len(self.lines())
        self._process.stdin.write(line.encode() + b'\n')
        self._process.stdin.flush()
        return self.expect(f'guest: {answer}', since, timeout)


class Guest:
    """A running guest.  Use as a context manager, or call close()."""

    def __init__(self, directory, disks, mode='demo', name='guest',
                 agent=None):
        """agent: the path of the socket of a guest agent's channel."""
        self.directory = directory
        self.disks = disks
        self.qemu_log = os.path.join(directory, f'{name}-qemu.log')
        self.console_log = os.path.join(directory, f'{name}-console.log')
        monitor = os.path.join(directory, f'{name}-qmp.sock')
        argv = base_arguments(accelerator(), mode)
        argv += ['-chardev', f'socket,id=qmp,path={monitor},server=on,wait=off',
                 '-mon', 'chardev=qmp,mode=control', '-serial', 'stdio']
        for disk in disks:
            argv += self._disk_arguments(disk)
        if agent:
            argv += ['-chardev', f'socket,id=ga,path={agent},server=on,'
                     'wait=off', '-device', 'virtio-serial-pci', '-device',
                     'virtserialport,chardev=ga,name=org.qemu.guest_agent.0']
        self.process = process.start(argv, self.qemu_log,
                                     stdin=subprocess.PIPE,
                                     stdout=subprocess.PIPE)
        self.console = Console(self.process, self.console_log)
        self._stopped_by_us = 0
        try:
            self.qmp = process.wait_until(
                "QEMU's monitor",
                lambda: self._alive() and self._connected(monitor))
        except BaseException:
            self.kill()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _alive(self):
        if self.process.poll() is not None:
            raise Failure('QEMU does not start: ' +
                          process.tail(self.qemu_log, 3))
        return True

    @staticmethod
    def _connected(path):
        """QEMU makes the socket first, and listens on it after that."""
        try:
            return Qmp(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return None

    @staticmethod
    def _disk_arguments(disk):
        nbd = {'driver': 'nbd', 'node-name': f'{disk.name}-nbd',
               'server': {'type': 'unix', 'path': disk.socket},
               'export': disk.export, 'discard': 'unmap',
               'reconnect-delay': RECONNECT_SECONDS}
        if not disk.socket:
            nbd = {'driver': 'file', 'node-name': f'{disk.name}-file',
                   'filename': disk.export, 'discard': 'unmap'}
        top = nbd['node-name']
        argv = ['-blockdev', json.dumps(nbd)]
        if disk.log:
            with open(disk.log, 'wb'):
                pass
            top = f'{disk.name}-log'
            argv += ['-blockdev', json.dumps(
                {'driver': 'file', 'node-name': f'{disk.name}-file',
                 'filename': disk.log}),
                     '-blockdev', json.dumps(
                         {'driver': 'blklogwrites', 'node-name': top,
                          'file': nbd['node-name'], 'discard': 'unmap',
                          'log': f'{disk.name}-file'})]
        return argv + ['-device', f'virtio-blk-pci,drive={top},'
                       f'id={disk.name},werror=stop,rerror=stop']

    def wait_writing(self):
        """Until the guest's writers are at work (mode demo)."""
        self.wait_ready()
        if self.errors():
            raise Failure(self.errors()[0])

    def wait_ready(self):
        self.console.expect('guest: ready')

    def counts(self):
        """{disk: (files, KiB, errors)} that the guest says it wrote."""
        words = self.console.command('count', 'count').split()
        return {words[i]: tuple(int(w) for w in words[i + 1:i + 4])
                for i in range(0, len(words), 4)}

    def stop(self):
        """Stops the guest; when this returns, no request is in flight."""
        self._stopped_by_us += 1
        self.qmp.command('stop')
        state = self.qmp.command('query-status')['status']
        if state != 'paused':
            raise Failure(f'the guest is {state}, not paused')

    def cont(self):
        self.qmp.command('cont')

    def errors(self):
        """What went wrong as the guest saw it, or as QEMU kept it from it."""
        self.qmp.command('query-status')
        found = [line for line in self.console.lines()
                 if 'guest: ERROR' in line or 'I/O error' in line or
                 'blk_update_request' in line or 'EXT4-fs error' in line]
        for event in self.qmp.events:
            if event['event'] == 'BLOCK_IO_ERROR':
                found.append(f'QEMU: {event["data"]}')
        stops = sum(e['event'] == 'STOP' for e in self.qmp.events)
        if stops > self._stopped_by_us:
            found.append('QEMU stopped the guest on its own')
        return found

    def quit(self, timeout=30):
        """Powers the guest off and waits for QEMU's end."""
        self.console.command('quit', 'bye', timeout)
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired as e:
            raise Timeout('QEMU goes on after the guest is off') from e

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()

    def close(self):
        if hasattr(self, 'qmp'):
            self.qmp.close()
        self.kill()
