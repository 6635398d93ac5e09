#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A disk's whole life through refpointd, for each kind of image: served,
killed, stopped, asked while stopped, grown, and written behind our back."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

import nbd

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, 'tests'))
from harness.refpoint import Refpointd, built, kill_now  # noqa: E402

VM = 'images'
MIB = 1 << 20
BLOCK = 4096


class Life:
    """What holds for a file holds for a block device."""

    def setUp(self):
        self.directory = tempfile.mkdtemp(
            prefix='refpoint-images-', dir=os.environ.get('TMPDIR', '/var/tmp'))
        self.addCleanup(shutil.rmtree, self.directory)
        os.chmod(self.directory, 0o755)
        self.file = os.path.join(self.directory, 'disk.raw')
        with open(self.file, 'wb') as f:
            f.truncate(64 * MIB)
        self.path = self.image()
        root = os.path.join(self.directory, 'root')
        os.mkdir(root, 0o755)
        self.daemon = Refpointd(root)
        self.daemon.start()
        self.addCleanup(self.daemon.close)
        self.daemon.cli('define', VM, '--disk', f'disk={self.path}')

    def serve(self):
        self.daemon.cli('serve', VM)
        return self.daemon.wait_serving(VM)

    def write(self, offset, length=BLOCK):
        status = self.daemon.wait_serving(VM)
        h = nbd.NBD()
        h.connect_uri(status['disks'][0]['nbd_uri'])
        h.pwrite(b'x' * length, offset)
        h.flush()
        h.shutdown()

    def since(self, point):
        disk = self.daemon.json('changes', VM, '--since', point)['disks'][0]
        return disk['accuracy'], [(e['offset'], e['length'])
                                  for e in disk['extents']]

    def point(self):
        return self.daemon.json('create', VM)['id']

    def test_it_is_exact_over_kills_and_stops(self):
        self.serve()
        first = self.point()
        self.write(MIB, 2 * BLOCK)
        kill_now(self.daemon.status(VM)['worker_pid'])
        self.write(3 * MIB)
        self.assertEqual(self.since(first),
                         ('exact', [(MIB, 2 * BLOCK), (3 * MIB, BLOCK)]))
        self.daemon.cli('unserve', VM)
        self.assertEqual(self.since(first)[0], 'exact')
        second = self.point()
        self.assertEqual(self.since(second), ('exact', []))
        self.serve()
        self.write(5 * MIB)
        self.assertEqual(self.since(second), ('exact', [(5 * MIB, BLOCK)]))
        self.assertEqual(len(self.since(first)[1]), 3)

    def test_a_write_behind_our_back_is_noticed(self):
        self.serve()
        first = self.point()
        self.write(0)
        self.daemon.cli('unserve', VM)
        subprocess.run(['dd', 'if=/dev/zero', f'of={self.path}', 'bs=4k',
                        'count=1', 'seek=9', 'conv=notrunc,fsync'],
                       check=True, stderr=subprocess.DEVNULL)
        self.assertEqual(self.since(first), ('invalid', [(0, 64 * MIB)]))
        self.serve()
        second = self.point()
        self.write(7 * MIB)
        self.assertEqual(self.since(second), ('exact', [(7 * MIB, BLOCK)]))
        self.assertEqual(self.since(first)[0], 'invalid')

    def test_growth_is_a_change_and_hides_no_other(self):
        first = self.point()
        self.grow(72 * MIB)
        self.daemon.cli('resize', VM, 'disk', str(72 * MIB))
        self.assertEqual(self.since(first),
                         ('exact', [(64 * MIB, 8 * MIB)]))
        subprocess.run(['dd', 'if=/dev/zero', f'of={self.path}', 'bs=4k',
                        'count=1', 'conv=notrunc,fsync'], check=True,
                       stderr=subprocess.DEVNULL)
        self.grow(80 * MIB)
        self.daemon.cli('resize', VM, 'disk', str(80 * MIB))
        self.assertEqual(self.since(first)[0], 'invalid')


class File(Life, unittest.TestCase):
    def image(self):
        return self.file

    def grow(self, size):
        pass  # refpoint does


class BlockDevice(Life, unittest.TestCase):
    def image(self):
        if os.geteuid() != 0:
            self.skipTest('only root makes loop devices')
        done = subprocess.run(['losetup', '--show', '-f', self.file],
                              capture_output=True, text=True, check=False)
        if done.returncode:
            self.skipTest('no loop device: ' + done.stderr.strip())
        device = done.stdout.strip()
        self.addCleanup(subprocess.run, ['losetup', '-d', device], check=True)
        return device

    def grow(self, size):
        os.truncate(self.file, size)
        subprocess.run(['losetup', '-c', self.path], check=True)

    def test_it_is_refused_to_others_while_it_is_served(self):
        self.serve()
        with self.assertRaises(OSError):
            os.close(os.open(self.path, os.O_RDONLY | os.O_EXCL))
        self.daemon.cli('unserve', VM)
        os.close(os.open(self.path, os.O_RDONLY | os.O_EXCL))


if __name__ == '__main__':
    if built():
        print('skipped:', built())
        sys.exit(77)
    unittest.main(verbosity=2)
