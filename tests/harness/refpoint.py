# SPDX-License-Identifier: Apache-2.0
"""refpointd from the build tree on a private root, and the refpoint CLI."""
import glob
import json
import os
import signal
import socket
import struct
import subprocess
import urllib.parse

from . import process
from .process import Failure, TOP

RUN = os.path.join(TOP, 'run')


def built():
    """Why the programs cannot be run, or None if they can."""
    for layer, name in (('daemon', 'refpointd'), ('worker', 'refpoint-worker'),
                        ('cli', 'refpoint')):
        path = os.path.join(process.BUILD, 'src', layer, name)
        if not os.access(path, os.X_OK):
            return f'{name} is not built; run make'
    return None


def gone(pid):
    """Whether a process has ended (a zombie has)."""
    try:
        with open(f'/proc/{pid}/stat', encoding='utf-8') as f:
            return f.read().rsplit(')', 1)[1].split()[0] in 'ZX'
    except OSError:
        return True


def kill_now(pid):
    """SIGKILL to one process of ours, and wait until it is gone."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait_until(f'the end of process {pid}', lambda: gone(pid))


def parse_uri(uri):
    """The socket and the export of nbd+unix:///EXPORT?socket=PATH."""
    parts = urllib.parse.urlsplit(uri)
    query = urllib.parse.parse_qs(parts.query)
    if parts.scheme != 'nbd+unix' or 'socket' not in query:
        raise Failure(f'not the URI of an NBD server on a socket: {uri}')
    return query['socket'][0], urllib.parse.unquote(parts.path[1:])


class Refpointd:
    """A refpointd on its own root.  Use as a context manager.

    Nothing outside `root` is touched but the live bitmaps' directory of this
    root on a tmpfs; close() ends every process that was started on it.
    """

    def __init__(self, root, environment=None):
        self.root = root
        self.log = os.path.join(root, 'refpointd.log')
        self.environment = {**os.environ, **(environment or {})}
        self.process = None

    def live_dirs(self):
        """The directories of this root's live bitmaps: see common/paths.h."""
        try:
            st = os.stat(os.path.join(self.root, 'lib'))
        except OSError:
            return []
        name = 0xcbf29ce484222325
        for byte in struct.pack('<QQ', st.st_dev, st.st_ino):
            name = (name ^ byte) * 0x100000001b3 % (1 << 64)
        return (glob.glob(f'/run/refpoint/{name:016x}') +
                glob.glob(f'/dev/shm/refpoint-*-{name:016x}'))

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.close()

    def start(self, timeout=30):
        """Starts the daemon and waits until it answers."""
        self.process = process.start(
            [RUN, 'refpointd', '--root', self.root], self.log,
            env=self.environment)
        process.wait_until('refpointd to answer', self._answers, timeout)

    def _answers(self):
        if self.process.poll() is not None:
            raise Failure('refpointd ended: ' + process.tail(self.log, 5))
        with socket.socket(socket.AF_UNIX) as s:
            try:
                s.connect(os.path.join(self.root, 'run', 'admin.sock'))
            except OSError:
                return False
        return True

    @property
    def pid(self):
        return self.process.pid

    def kill(self):
        """SIGKILL, as in a crash; its workers go on."""
        self.process.kill()
        self.process.wait()

    def cli(self, *arguments, timeout=60):
        """Runs the CLI on this root; returns its standard output."""
        return process.run([RUN, 'refpoint', '--root', self.root, *arguments],
                           timeout=timeout, env=self.environment)

    def call(self, method, door='admin', **parameters):
        """One call on a socket, without the CLI's start in between."""
        request = {'method': f'org.refpoint.{method}',
                   'parameters': parameters}
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(60)
            s.connect(os.path.join(self.root, 'run', f'{door}.sock'))
            s.sendall(json.dumps(request).encode() + b'\0')
            answer = b''
            while not answer.endswith(b'\0'):
                piece = s.recv(65536)
                if not piece:
                    raise Failure(f'refpointd hangs up on {method}')
                answer += piece
        answer = json.loads(answer[:-1])
        if 'error' in answer:
            raise Failure(f'{method}: {answer["error"]}: '
                          f'{answer.get("parameters")}')
        return answer['parameters']

    def show(self, *arguments, timeout=60):
        """Runs the CLI for a person, who sees its output as it is."""
        done = subprocess.run([RUN, 'refpoint', '--root', self.root,
                               *arguments], timeout=timeout, check=False,
                              stdin=subprocess.DEVNULL, env=self.environment)
        if done.returncode:
            raise Failure(f'refpoint {" ".join(arguments)}: exit status '
                          f'{done.returncode}')

    def json(self, *arguments, timeout=60):
        """Runs a command with --json and returns what it says."""
        out = self.cli(*arguments, '--json', timeout=timeout)
        try:
            return json.loads(out)
        except ValueError as e:
            raise Failure(f'refpoint {" ".join(arguments)} --json says '
                          f'{out[:200]!r}, which is no JSON') from e

    def status(self, vm):
        return self.json('status', vm)

    def worker_pid(self, vm):
        return self.status(vm).get('worker_pid')

    def wait_serving(self, vm, not_pid=None, timeout=30):
        """Until the VM is served, by another worker than not_pid."""
        def serving():
            try:
                status = self.status(vm)
            except Failure:
                return None
            pid = status.get('worker_pid')
            good = status['state'] == 'serving' and pid and pid != not_pid
            return status if good else None
        return process.wait_until(f'{vm} to be served', serving, timeout, 0.1)

    def create(self, vm, *arguments):
        return self.json('create', vm, *arguments)

    def changes(self, vm, since, until=None, disk=None):
        """The parsed answer of `changes`."""
        argv = ['changes', vm, '--since', since]
        if until:
            argv += ['--until', until]
        if disk:
            argv += ['--disk', disk]
        return self.json(*argv)

    def logs(self):
        return [os.path.join(base, name)
                for base, _, names in os.walk(self.root)
                for name in names if name.endswith('.log')]

    def close(self):
        """Ends the daemon and whatever works on this root; tidies up."""
        process.stop(self.process)
        for pid in process.pids_naming(self.root):
            kill_now(pid)
        for path in self.live_dirs():
            process.remove_dir(path)
