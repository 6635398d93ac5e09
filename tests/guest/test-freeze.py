#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A real guest frozen by its own qemu-guest-agent.

Its ext4 is written all the while.  What an application-consistent snapshot
holds is clean without a replay of its journal, and its metadata sound; a
crash-consistent one beside it needs the replay, so that the difference is
known to show.  And with everybody killed while the guest is frozen, it writes
again.
"""
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from harness import process, qemu  # noqa: E402
from harness.refpoint import (Refpointd, built, gone, kill_now,  # noqa: E402
                              parse_uri)

VM = 'web'
SIZE = 256 << 20
AGENT = '/usr/sbin/qemu-ga'
SBIN = os.environ.get('PATH', os.defpath) + ':/usr/sbin:/sbin'


def check(what, condition):
    print(('ok      ' if condition else 'FAILED  ') + what, flush=True)
    if not condition:
        raise process.Failure(what)


def missing():
    if not os.access(AGENT, os.X_OK):
        return f'{AGENT} is missing: tools/install-deps'
    return qemu.missing() or built()


class Relay:
    """Between refpoint-agent and QEMU; holds the answer to a freeze back."""

    def __init__(self, path, to):
        self.to = to
        self.hold = False
        self.held, self.go = threading.Event(), threading.Event()
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(1)
        threading.Thread(target=self._serve, daemon=True).start()

    def release(self):
        self.hold = False
        self.go.set()

    def _serve(self):
        while True:
            near, _ = self.listener.accept()
            with near, socket.socket(socket.AF_UNIX) as far:
                far.connect(self.to)
                try:
                    self._pass_on(near, far)
                except OSError:
                    pass

    def _pass_on(self, near, far):
        asked = b''
        while True:
            ready, _, _ = select.select([near, far], [], [])
            for sock in ready:
                data = sock.recv(65536)
                if not data:
                    return
                if sock is near:
                    asked += data
                    far.sendall(data)
                    continue
                if self.hold and asked.endswith(b'freeze-freeze"}\n'):
                    self.held.set()
                    self.go.wait(60)
                near.sendall(data)


class Scene:
    def __init__(self, directory):
        self.directory = directory
        self.socket = os.path.join(directory, 'ga.sock')
        qemu_socket = os.path.join(directory, 'qemu-ga.sock')
        image = os.path.join(directory, 'disk.raw')
        with open(image, 'wb') as f:
            f.truncate(SIZE)
        root = os.path.join(directory, 'root')
        os.mkdir(root, 0o755)
        self.daemon = Refpointd(root)
        self.daemon.start()
        self.daemon.cli('define', VM, '--disk', f'root={image}', '--agent',
                        self.socket)
        self.daemon.cli('serve', VM)
        disk = self.daemon.wait_serving(VM)['disks'][0]
        self.guest = qemu.Guest(directory, [qemu.Disk(
            'root', *parse_uri(disk['nbd_uri']), None)], agent=qemu_socket)
        self.relay = Relay(self.socket, qemu_socket)
        self.guest.wait_writing()

    def close(self):
        if hasattr(self, 'guest'):
            self.guest.close()
        self.daemon.close()

    def files(self):
        return process.wait_until('a count of the guest', lambda:
                                  self.guest.counts().get('vda'))[0]

    def writes(self, timeout=20):
        """Until the guest has written some more."""
        before = self.files()
        process.wait_until('the guest to write',
                           lambda: self.files() > before + 2, timeout)

    def helpers(self):
        """The processes of refpoint-agent, oldest first."""
        found = []
        for pid in process.pids_naming(self.socket):
            try:
                with open(f'/proc/{pid}/cmdline', 'rb') as f:
                    name = f.read().split(b'\0')[0]
            except OSError:
                continue
            if name.endswith(b'refpoint-agent') and not gone(pid):
                found.append(pid)
        return sorted(found)

    def state(self):
        """What the guest's agent says: frozen or thawed."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(30)
            s.connect(self.socket)
            s.sendall(b'\xff{"execute":"guest-sync-delimited",'
                      b'"arguments":{"id":4711}}\n'
                      b'{"execute":"guest-fsfreeze-status"}\n')
            text = b''
            while text.rpartition(b'\xff')[2].count(b'\n') < 2:
                text += s.recv(4096)
        answers = text.rpartition(b'\xff')[2].splitlines()
        if json.loads(answers[0])['return'] != 4711:
            raise process.Failure(f'the agent says {text}')
        return json.loads(answers[1])['return']

    def copy(self, snapshot):
        """A copy of a snapshot's disk, as any NBD client reads it."""
        path = os.path.join(self.directory, snapshot['id'])
        process.run(['nbdcopy', snapshot['disks'][0]['nbd_uri'], path])
        self.daemon.cli('drop', VM, snapshot['id'])
        return path

    def needs_replay(self, path):
        out = process.run(['dumpe2fs', '-h', path],
                          env={**os.environ, 'PATH': SBIN})
        features = [line for line in out.splitlines()
                    if line.startswith('Filesystem features:')]
        check('it is an ext4', len(features) == 1)
        return 'needs_recovery' in features[0]

    def is_clean(self, path):
        done = subprocess.run(['e2fsck', '-fn', path], check=False,
                              env={**os.environ, 'PATH': SBIN, 'LC_ALL': 'C'},
                              stdout=subprocess.PIPE, text=True,
                              stderr=subprocess.STDOUT)
        if done.returncode:
            print(done.stdout)
        return done.returncode == 0 and 'journal' not in done.stdout


def run_snapshots(scene):
    crash = scene.copy(scene.daemon.json('snapshot', VM))
    check('a crash-consistent copy needs its journal',
          scene.needs_replay(crash))
    os.unlink(crash)
    for _ in range(3):
        scene.writes()
        snapshot = scene.daemon.json('snapshot', VM, '--consistency',
                                     'application')
        check('the snapshot says that it is application-consistent',
              snapshot['consistency'] == 'application')
        scene.writes()
        path = scene.copy(snapshot)
        check('its copy needs no journal', not scene.needs_replay(path))
        check('and is clean', scene.is_clean(path))
        os.unlink(path)


def run_points(scene):
    point = scene.daemon.create(VM, '--consistency', 'application')
    check('the point says that it is application-consistent',
          point['consistency'] == 'application')
    check('it is listed so', [p['consistency'] for p in scene.daemon.json(
        'points', VM)['points']] == ['application'])
    scene.writes()
    changes = scene.daemon.changes(VM, point['id'])['disks'][0]
    check('the guest goes on, and what it writes is tracked',
          changes['accuracy'] == 'exact' and changes['extents'])


def run_kills(scene):
    scene.relay.hold = True
    create = subprocess.Popen(
        [os.path.join(process.TOP, 'run'), 'refpoint', '--root',
         scene.daemon.root, 'create', VM, '--consistency', 'application'],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        preexec_fn=process.die_with_parent)
    try:
        check('the guest freezes', scene.relay.held.wait(30))
        mark = os.path.join(scene.daemon.root, 'run', 'frozen', VM)
        check('it is marked as frozen', os.path.exists(mark))
        pids = scene.helpers()
        for pid in pids:                # that none sees another's end
            os.kill(pid, signal.SIGSTOP)
        scene.daemon.kill()
        for pid in pids:
            kill_now(pid)
        scene.relay.release()
        check('with all of them dead it is frozen', scene.state() == 'frozen')
        create.wait(30)
        scene.daemon.start()
        process.wait_until('the mark to go', lambda: not os.path.exists(mark),
                           40)
        check('it is thawed', scene.state() == 'thawed')
        scene.writes()
        check('and writes again', True)
        check('no point was left', len(scene.daemon.json('points', VM)[
            'points']) == 1)
        scene.daemon.create(VM, '--consistency', 'application')
        check('and the next point is application-consistent again', True)
    finally:
        create.kill()
        create.wait()


def run(directory):
    scene = Scene(directory)
    try:
        check('the agent runs in the guest',
              scene.guest.console.command('agent', 'agent') == '0')
        run_snapshots(scene)
        run_points(scene)
        run_kills(scene)
        errors = scene.guest.errors()
        check('\n'.join(['no error in the guest', *errors]), not errors)
        check('its file system is sound',
              scene.guest.console.command('check', 'check') == '0')
        scene.guest.quit()
    finally:
        scene.close()


def main():
    reason = missing()
    if reason:
        print('skipped:', reason)
        return 77
    with tempfile.TemporaryDirectory(prefix='refpoint-freeze-',
                                     dir=os.environ.get('TMPDIR', '/var/tmp')
                                     ) as directory:
        os.chmod(directory, 0o755)
        run(directory)
    return 0


if __name__ == '__main__':
    sys.exit(main())
