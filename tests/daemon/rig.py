# SPDX-License-Identifier: Apache-2.0
"""refpointd on a private root, with fake workers."""
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
sys.path.insert(0, HERE)
from harness.process import (pids_naming, remove_dir, scratch_dir, start,  # noqa: E402,E501
                             stop, tail, wait_until)
from varlink import Client, Error  # noqa: E402

REFPOINTD = os.environ.get('REFPOINTD')
WORKER_USER = 'refpoint-worker'


def worker_uid():
    """Of workers here; None: there is no such user, and no way to test."""
    if os.geteuid() != 0:
        return os.geteuid()
    try:
        return pwd.getpwnam(WORKER_USER).pw_uid
    except KeyError:
        return None


class Rig:
    def __init__(self, prefix=(), owner=None):
        self.top = scratch_dir('refpointd-')
        self.root = f'{self.top}/r'
        self.log = f'{self.top}/log'
        self.prefix = list(prefix)
        self.process = None
        for name in ('r', 'r/fake', 'd'):
            os.mkdir(f'{self.top}/{name}')
            os.chmod(f'{self.top}/{name}', 0o755)
            if owner is not None:
                os.chown(f'{self.top}/{name}', owner, owner)
        for name in ('fake-worker.py', 'varlink.py'):
            shutil.copy(f'{HERE}/{name}', f'{self.root}/fake/{name}')
            os.chmod(f'{self.root}/fake/{name}', 0o755)

    # ---- the daemon

    def command(self):
        return self.prefix + [REFPOINTD, '--root', self.root]

    def environment(self):
        # nothing of ours shall keep the worker from the file that it is
        return dict(os.environ, REFPOINT_DEBUG='vm', PYTHONDONTWRITEBYTECODE='1',
                    REFPOINT_WORKER=f'{self.root}/fake/fake-worker.py')

    def start(self):
        self.process = start(self.command(), self.log, env=self.environment())
        wait_until('refpointd', self.answers)
        return self

    def answers(self):
        if self.process.poll() is not None:
            raise AssertionError(f'refpointd ended: {tail(self.log)}')
        try:
            return self.call('GetInfo')
        except (OSError, EOFError):
            return None

    def stop(self):
        stop(self.process)

    def kill(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        if self.process:
            self.stop()
        for pid in pids_naming(self.root):
            try:
                os.kill(pid, signal.SIGCONT)
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        wait_until('the end of the workers',
                   lambda: not pids_naming(self.root))
        for path in self.live_dirs:
            shutil.rmtree(path, ignore_errors=True)
        remove_dir(self.top)

    @property
    def live_dirs(self):
        """By the root's id, as common/paths.h says."""
        try:
            st = os.stat(f'{self.root}/lib')
        except FileNotFoundError:
            return []
        h = 0xcbf29ce484222325
        for b in (st.st_dev.to_bytes(8, 'little') +
                  st.st_ino.to_bytes(8, 'little')):
            h = (h ^ b) * 0x100000001b3 % (1 << 64)
        found = [f'/run/refpoint/{h:016x}']
        found += [f'/dev/shm/{name}' for name in os.listdir('/dev/shm')
                  if name.endswith(f'-{h:016x}')]
        return [path for path in found if os.path.isdir(path)]

    def log_text(self):
        with open(self.log, errors='replace') as f:
            return f.read()

    # ---- calls

    def client(self, role='admin', timeout=30):
        if role != 'worker' or os.geteuid() != 0:
            return Client(f'{self.root}/run/{role}.sock', timeout)
        os.seteuid(worker_uid())  # nobody else is let in
        try:
            return Client(f'{self.root}/run/{role}.sock', timeout)
        finally:
            os.seteuid(0)

    def call(self, method, fds=(), role='admin', **parameters):
        client = self.client(role)
        try:
            return client.call(f'org.refpoint.{method}', parameters, fds)
        finally:
            client.close()

    def systems(self, role='admin', **parameters):
        """Systems' replies, put together: by name."""
        found = {}
        client = self.client(role)
        try:
            for reply in client.stream('org.refpoint.Systems', parameters):
                for system in reply['systems']:
                    if system['vm'] in found:
                        found[system['vm']]['points'] += system['points']
                    else:
                        found[system['vm']] = system
            return found
        finally:
            client.close()

    def system(self, vm, **parameters):
        return self.systems(points=True, **parameters)[vm]

    def points(self, vm):
        """Their ids, as Systems tells them."""
        return [p['id'] for p in self.system(vm)['points']]

    def error(self, method, fds=(), role='admin', **parameters):
        """The error that the call must end in."""
        try:
            reply = self.call(method, fds, role, **parameters)
        except Error as e:
            return e
        raise AssertionError(f'{method} succeeded: {reply}')

    def disk(self, name, size=1 << 20):
        path = f'{self.top}/d/{name}'
        with open(path, 'wb') as f:
            f.truncate(size)
        os.chmod(path, 0o666)
        return path

    def define_call(self, vm, paths, **more):
        """Parameters and descriptors of Define."""
        disks = [{'id': f'd{i}', 'path': p} for i, p in enumerate(paths)]
        fds = [os.open(p, os.O_RDWR) for p in paths]
        return dict(more, vm=vm, disks=disks), fds

    def define(self, vm, paths=None, **more):
        parameters, fds = self.define_call(
            vm, paths or [self.disk(f'{vm}.img')], **more)
        try:
            return self.call('Define', fds, **parameters)
        finally:
            for fd in fds:
                os.close(fd)

    def define_error(self, vm, paths, **more):
        parameters, fds = self.define_call(vm, paths, **more)
        try:
            return self.error('Define', fds, **parameters)
        finally:
            for fd in fds:
                os.close(fd)

    def state(self, vm):
        for entry in self.call('List')['vms']:
            if entry['vm'] == vm:
                return entry['state']
        return None

    def wait_state(self, vm, state, timeout=20):
        wait_until(f'{vm} to be {state}, not {self.state(vm)}',
                   lambda: self.state(vm) == state, timeout)

    # ---- workers

    def behave(self, vm, **behaviour):
        path = f'{self.root}/fake/{vm}'
        with open(path + '.new', 'w') as f:
            json.dump(behaviour, f)
        os.chmod(path + '.new', 0o644)
        os.rename(path + '.new', path)

    def events(self, vm, what=None):
        try:
            with open(f'{self.root}/lib/vms/{vm}/events') as f:
                events = [json.loads(line) for line in f]
        except FileNotFoundError:
            return []
        return [e for e in events if what in (None, e['what'])]

    def worker_pid(self, vm):
        try:
            with open(f'{self.root}/run/pids/{vm}') as f:
                return int(f.read().split()[0])
        except (FileNotFoundError, IndexError):
            return None

    def kill_worker(self, vm):
        """Kills it; returns when its end was noticed."""
        pid = self.worker_pid(vm)
        os.kill(pid, signal.SIGKILL)
        wait_until('the end of the worker', lambda:
                   self.worker_pid(vm) != pid)
        return pid

    def guest(self, vm, timeout=20):
        """Connects as a guest: (socket, pid of the worker that accepted)."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.settimeout(timeout)
        sock.connect(f'{self.root}/run/vm/{vm}/nbd.sock')
        return sock

    @staticmethod
    def greeted_by(sock):
        text = b''
        while not text.endswith(b'\n'):
            data = sock.recv(64)
            if not data:
                raise EOFError('the guest was not served')
            text += data
        return int(text)


class RigCase(unittest.TestCase):
    """A test with a refpointd of its own, whose log shows if it fails."""
    prefix = ()
    owner = None
    last_log = ''

    def setUp(self):
        self.rig = Rig(self.prefix, self.owner)
        self.addCleanup(self.rig.close)
        self.rig.start()

    def run(self, result=None):
        before = len(result.failures) + len(result.errors)
        super().run(result)
        if len(result.failures) + len(result.errors) > before:
            print(f'--- {self.id()}: log\n{self.last_log}', file=sys.stderr)

    def tearDown(self):
        self.last_log = tail(self.rig.log, 60)

    def error(self, name, method, fds=(), role='admin', **parameters):
        e = self.rig.error(method, fds, role, **parameters)
        self.assertEqual(e.name, name, e.message)
        return e.message


class JobsCase(RigCase):
    """With what is asked of jobs."""

    def jobs(self, **parameters):
        return self.rig.call('Jobs', **parameters)['jobs']

    def job(self, job):
        found = self.jobs(id=job['id'])
        self.assertEqual(len(found), 1, found)
        return found[0]

    def ended(self, job):
        wait_until('the end of the job',
                   lambda: self.job(job)['state'] != 'running')
        return self.job(job)

    def held(self, method, vm='v', **parameters):
        """A job that runs until release()."""
        self.rig.behave(vm, gate={method: 'now'})
        reply = self.rig.call(f'{method}Job', vm=vm, wait_ms=1, **parameters)
        self.assertEqual(reply['job']['state'], 'running')
        self.assertEqual(list(reply), ['job'])
        return reply['job']

    def release(self):
        with open(f'{self.rig.root}/fake/now', 'w'):
            pass


def second_daemon(rig):
    """Runs another refpointd on the same root to its end."""
    return subprocess.run(rig.command(), env=rig.environment(), text=True,
                          stderr=subprocess.PIPE, stdin=subprocess.DEVNULL,
                          timeout=20, check=False)
