#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A store on NFS, where neither locks nor syncs mean what we need: refused by
name, and nothing is changed.  The kernel's answer is put in by nfs-statfs.c."""
import hashlib
import os
import shutil
import sys
import tempfile
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, 'tests'))
from harness.process import Failure, wait_until  # noqa: E402
from harness.refpoint import Refpointd, built, gone  # noqa: E402

SHIM = os.environ['REFPOINT_NFS_STATFS']
MIB = 1 << 20
VM = 'nfs'
WHY = 'cannot live on NFS, as it is a network file system'


def content(directory):
    """What every file below it holds, and the names of all."""
    found = {}
    for base, dirs, names in os.walk(directory):
        for name in dirs:
            found[os.path.join(base, name)] = None
        for name in names:
            path = os.path.join(base, name)
            try:
                with open(path, 'rb') as f:
                    found[path] = hashlib.sha256(f.read()).hexdigest()
            except FileNotFoundError:  # it was just removed
                pass
    return found


class Nfs(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(
            prefix='refpoint-nfs-', dir=os.environ.get('TMPDIR', '/var/tmp'))
        self.addCleanup(shutil.rmtree, self.directory)
        os.chmod(self.directory, 0o755)
        shim = shutil.copy(SHIM, self.directory)  # where any user reads it
        self.disk = os.path.join(self.directory, 'disk.raw')
        with open(self.disk, 'wb') as f:
            f.truncate(64 * MIB)
        root = os.path.join(self.directory, 'root')
        self.stores = os.path.join(root, 'lib', 'vms')
        self.flag = os.path.join(self.stores, 'is-nfs')
        os.mkdir(root, 0o755)
        # A sanitizer's library wants to be the first.
        preload = ':'.join(filter(None, [os.environ.get('LD_PRELOAD'), shim]))
        self.daemon = Refpointd(root, {'LD_PRELOAD': preload,
                                       'REFPOINT_TEST_NFS': self.stores})
        self.daemon.start()
        self.addCleanup(self.daemon.close)

    def set_nfs(self, nfs):
        if nfs:
            with open(self.flag, 'wb'):
                pass
        else:
            os.unlink(self.flag)

    def image(self):
        st = os.stat(self.disk)
        return (st.st_mtime_ns, st.st_ctime_ns, st.st_size,
                os.listxattr(self.disk))

    def define(self):
        return self.daemon.cli('define', VM, '--disk', f'disk={self.disk}')

    def refused(self, *arguments):
        with self.assertRaises(Failure) as caught:
            self.daemon.cli(*arguments)
        self.assertIn(WHY, str(caught.exception))

    def test_a_definition_is_refused_and_leaves_nothing(self):
        self.set_nfs(True)
        image = self.image()
        before = content(os.path.join(self.directory, 'root', 'lib'))
        self.refused('define', VM, '--disk', f'disk={self.disk}')
        # What was made is renamed away before the answer and removed after it.
        wait_until('nothing to be left', lambda: content(
            os.path.join(self.directory, 'root', 'lib')) == before)
        self.assertEqual(self.image(), image)
        self.assertEqual(self.daemon.json('list')['vms'], [])
        self.set_nfs(False)
        self.define()

    def test_a_store_that_was_moved_there_is_not_served(self):
        self.define()
        point = self.daemon.create(VM)['id']
        pid = self.daemon.worker_pid(VM)
        self.daemon.close()
        wait_until('the end of the worker', lambda: gone(pid))
        self.set_nfs(True)
        image = self.image()
        before = content(self.stores)
        self.daemon.start()
        self.refused('serve', VM)
        self.assertEqual(content(self.stores), before)
        self.assertEqual(self.image(), image)
        self.set_nfs(False)
        self.daemon.cli('serve', VM)
        self.daemon.wait_serving(VM)
        disk = self.daemon.changes(VM, point)['disks'][0]
        self.assertEqual((disk['accuracy'], disk['extents']), ('exact', []))


if __name__ == '__main__':
    if built():
        print('skipped:', built())
        sys.exit(77)
    unittest.main(verbosity=2)
