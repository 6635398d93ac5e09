# SPDX-License-Identifier: Apache-2.0
"""A libvirtd of our own, as it runs for a user's session: with its sockets and
files in a directory of its own, and the guests that it starts end with it."""
import os
import shutil
import tempfile

from . import process
from .process import wait_until
from .refpoint import kill_now

PATH = os.environ.get('PATH', os.defpath) + ':/usr/sbin:/sbin'
NOBODY = 65534


def which(program):
    return shutil.which(program, path=PATH)


class Libvirt:
    """A libvirtd of one user's session, which logs in DIRECTORY; GID may use
    the disk.  Its own directory has a short path whatever TMPDIR is: libvirt
    puts sockets deep below it, and their paths have 107 characters."""

    def __init__(self, directory, gid):
        self.directory = tempfile.mkdtemp(prefix='rp-lv.', dir='/var/tmp')
        self.log = os.path.join(directory, 'libvirtd.log')
        self.become = []
        self.gid = gid
        os.makedirs(os.path.join(self.directory, 'libvirt'))
        # No other daemon (virtlogd) is to be started for the guest's log.
        with open(os.path.join(self.directory, 'libvirt', 'qemu.conf'), 'w',
                  encoding='ascii') as f:
            f.write('stdio_handler = "file"\n')
        if os.geteuid() == 0:  # whose session is the system's
            self.become = ['setpriv', f'--reuid={NOBODY}', f'--regid={gid}',
                           '--clear-groups']
        for base, _, names in os.walk(self.directory):
            for path in [base] + [os.path.join(base, n) for n in names]:
                self.give(path)
        self.environment = {**os.environ, 'PATH': PATH, 'LC_ALL': 'C'}
        for name in ('HOME', 'XDG_RUNTIME_DIR', 'XDG_CONFIG_HOME',
                     'XDG_CACHE_HOME', 'XDG_DATA_HOME', 'XDG_STATE_HOME'):
            self.environment[name] = self.directory
        self.process = process.start([*self.become, which('libvirtd')],
                                     self.log, env=self.environment)
        socket = os.path.join(self.directory, 'libvirt', 'libvirt-sock')
        self.uri = f'qemu+unix:///session?socket={socket}'
        try:
            wait_until('libvirtd', lambda: self.alive() and
                       os.path.exists(socket))
        except BaseException:
            self.close()
            raise

    def alive(self):
        if self.process.poll() is not None:
            raise process.Failure('libvirtd ended: ' +
                                  process.tail(self.log, 5))
        return True

    def give(self, path):
        """The guests may use it."""
        if self.become:
            os.chown(path, NOBODY, self.gid)

    def run(self, *argv, timeout=60):
        """Runs a program as who has the session, to its end."""
        return process.run([*self.become, *argv], timeout=timeout,
                           env=self.environment)

    def virsh(self, *arguments):
        return self.run('virsh', '-c', self.uri, *arguments)

    def close(self):
        process.stop(self.process)
        for pid in process.pids_naming(self.directory):
            kill_now(pid)
        shutil.rmtree(self.directory, ignore_errors=True)
