#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What `refpoint attach --libvirt` prints, in a domain of a real libvirt.

The guest is a boot sector on the disk itself: it copies itself to one block
after the other, one with each tick of the timer, so that a guest that has seen
its disk shows in the tracking.
"""
import os
import shutil
import sys
import tempfile
import unittest

import nbd

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, 'tests'))
from harness.libvirt import Libvirt, which  # noqa: E402
from harness.process import wait_until  # noqa: E402
from harness.refpoint import (Refpointd, built, kill_now,  # noqa: E402
                              parse_uri)

PROGRAMS = ('libvirtd', 'virsh', 'qemu-system-x86_64')
MIB = 1 << 20
BLOCK = 4096
VM = 'boot'
FIRST = 64           # the first block that the guest writes
DOMAIN = '''<domain type='qemu'
    xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>refpoint-test</name>
  <memory unit='MiB'>64</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices>
    <emulator>{emulator}</emulator>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
{arguments}
</domain>
'''


def boot_sector():
    """Real mode, loaded at 0x7c00, the disk's number in dl."""
    code = bytes.fromhex(
        '31c0'            # xor  ax, ax
        '8ed8'            # mov  ds, ax
        '8ec0'            # mov  es, ax
        '8ed0'            # mov  ss, ax
        'bc007c'          # mov  sp, 0x7c00
        'be207c'          # next: mov si, packet
        'b80043'          # mov  ax, 0x4300      ; extended write
        'cd13'            # int  0x13
        '668306287c08'    # add  dword [packet + 8], 8
        'fb'              # sti
        'f4'              # hlt                  ; until the next tick
        'ebee')           # jmp  next
    packet = b''.join(n.to_bytes(size, 'little') for n, size in (
        (16, 2), (1, 2), (0x7c00, 2), (0, 2), (FIRST * BLOCK // 512, 8)))
    return (code.ljust(32, b'\x90') + packet).ljust(510, b'\0') + b'\x55\xaa'


def missing():
    for program in PROGRAMS:
        if not which(program):
            return f'{program} is missing: tools/install-deps'
    return built()


class Attach(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(
            prefix='refpoint-libvirt-',
            dir=os.environ.get('TMPDIR', '/var/tmp'))
        self.addCleanup(shutil.rmtree, self.directory)
        os.chmod(self.directory, 0o755)
        disk = os.path.join(self.directory, 'disk.raw')
        with open(disk, 'wb') as f:
            f.truncate(64 * MIB)
        root = os.path.join(self.directory, 'root')
        os.mkdir(root, 0o755)
        self.daemon = Refpointd(root)
        self.daemon.start()
        # Ends the guest too, whose arguments name the root.
        self.addCleanup(self.daemon.close)
        self.daemon.cli('define', VM, '--disk', f'disk={disk}')
        self.daemon.cli('serve', VM)
        self.uri = self.daemon.wait_serving(VM)['disks'][0]['nbd_uri']
        h = nbd.NBD()
        h.connect_uri(self.uri)
        h.pwrite(boot_sector(), 0)
        h.shutdown()
        self.libvirt = Libvirt(self.directory,
                               os.stat(parse_uri(self.uri)[0]).st_gid)
        self.addCleanup(self.libvirt.close)

    def written(self, point):
        """How many blocks the guest has written since."""
        disk = self.daemon.changes(VM, point)['disks'][0]
        self.assertEqual(disk['accuracy'], 'exact')
        for extent in disk['extents']:
            self.assertEqual(extent['offset'], FIRST * BLOCK)
        return sum(e['length'] for e in disk['extents']) // BLOCK

    def test_a_domain_with_it_boots_writes_and_outlives_a_worker(self):
        path = os.path.join(self.directory, 'domain.xml')
        with open(path, 'w', encoding='utf-8') as f:
            f.write(DOMAIN.format(
                emulator=which('qemu-system-x86_64'),
                arguments=self.daemon.cli('attach', VM, '--libvirt')))
        point = self.daemon.create(VM)['id']
        self.libvirt.virsh('define', '--validate', path)
        self.libvirt.virsh('start', 'refpoint-test')
        wait_until('the guest to write', lambda: self.written(point) > 2, 60)
        pid = self.daemon.worker_pid(VM)
        kill_now(pid)
        self.daemon.wait_serving(VM, not_pid=pid)
        before = self.written(point)
        wait_until('it to go on', lambda: self.written(point) > before + 2, 60)
        self.assertEqual(self.libvirt.virsh('domstate',
                                            'refpoint-test').strip(),
                         'running')
        self.libvirt.virsh('destroy', 'refpoint-test')
        self.libvirt.virsh('undefine', 'refpoint-test')
        h = nbd.NBD()
        h.connect_uri(self.uri)
        self.assertEqual(h.pread(512, FIRST * BLOCK)[:30], boot_sector()[:30])
        h.shutdown()


if __name__ == '__main__':
    if missing():
        print('skipped:', missing())
        sys.exit(77)
    unittest.main(verbosity=2)
