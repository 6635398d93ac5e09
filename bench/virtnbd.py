# SPDX-License-Identifier: Apache-2.0
"""virtnbdbackup and what it backs up: a domain of a libvirtd of our own.

The domain is QEMU without an operating system, paused before its first
instruction; what is to change on its disk is written through an NBD server in
the same QEMU, so that its bitmaps see it as they see a guest's writes.  Their
granularity is what libvirt gives a checkpoint's bitmap, 64 KiB: scattered
blocks cost it more than their bytes, as they do in use.  tools/install-deps
does not install it: with it come clients of clouds, a hundred MiB of them.
"""
import glob
import json
import os

from servers import process
from harness.libvirt import NOBODY, Libvirt, which

PROGRAMS = ('virtnbdbackup', 'libvirtd', 'virsh', 'qemu-system-x86_64')
NAME = 'refpoint-bench'
# The server in QEMU may write beside the guest's device.
DOMAIN = '''<domain type='qemu'
    xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{name}</name>
  <memory unit='MiB'>64</memory>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices>
    <emulator>{emulator}</emulator>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='none' io='io_uring'/>
      <source file='{disk}'/>
      <target dev='vda' bus='virtio'/>
      <alias name='ua-disk'/>
    </disk>
  </devices>
  <qemu:override>
    <qemu:device alias='ua-disk'>
      <qemu:frontend>
        <qemu:property name='share-rw' type='bool' value='true'/>
      </qemu:frontend>
    </qemu:device>
  </qemu:override>
</domain>
'''
SECONDS = 900


def missing():
    for program in PROGRAMS:
        if not which(program):
            return f'install {program}'
    return None


class VirtNbd:
    """The domain, whose disk is a copy of IMAGE, in a part of DIRECTORY."""

    def __init__(self, directory, image):
        self.image = image
        self.directory = os.path.join(directory, 'virtnbd')
        self.disk = os.path.join(self.directory, 'disk.qcow2')
        self.target = os.path.join(self.directory, 'target')
        self.libvirt = self.node = None

    def start(self):
        os.mkdir(self.directory, 0o755)
        self.libvirt = Libvirt(self.directory, NOBODY)
        os.mkdir(self.target)
        process.run(['qemu-img', 'convert', '-f', 'raw', '-T', 'none',
                     '-t', 'none', '-O', 'qcow2', self.image, self.disk],
                    timeout=SECONDS)
        for path in (self.directory, self.target, self.disk):
            self.libvirt.give(path)
        xml = os.path.join(self.directory, 'domain.xml')
        with open(xml, 'w', encoding='utf-8') as f:
            f.write(DOMAIN.format(name=NAME, disk=self.disk,
                                  emulator=which('qemu-system-x86_64')))
        self.libvirt.virsh('define', '--validate', xml)
        self.libvirt.virsh('start', '--paused', NAME)
        self.node = self.qmp('query-block')[0]['inserted']['node-name']

    def close(self):
        if self.libvirt:
            self.libvirt.close()
        process.remove_dir(self.directory)

    def qmp(self, name, /, **arguments):
        return json.loads(self.libvirt.virsh(
            'qemu-monitor-command', NAME, json.dumps(
                {'execute': name, 'arguments': arguments})))['return']

    # -- its NBD server, which libvirt wants for itself during a backup ------

    def start_nbd(self):
        """Returns the URI of the disk."""
        path = os.path.join(self.libvirt.directory, 'nbd')
        self.qmp('nbd-server-start', addr={'type': 'unix',
                                           'data': {'path': path}})
        self.qmp('block-export-add', type='nbd', id='bench', name='disk',
                 writable=True, **{'node-name': self.node})
        return f'nbd+unix:///disk?socket={path}'

    def stop_nbd(self):
        self.qmp('nbd-server-stop')

    # -- backups -----------------------------------------------------------

    def backup(self, level):
        """Returns the file that has what it saved."""
        # It asks for a password if the URI names a transport.
        self.libvirt.run(
            which('virtnbdbackup'), '-U', 'qemu:///session', '-d', NAME,
            '-l', level, '-o', self.target, '-S', self.directory, '-f',
            os.path.join(self.libvirt.directory, 'backup'), '--noprogress',
            timeout=SECONDS)
        found = glob.glob(os.path.join(self.target, f'vda.{level}*.data'))
        if len(found) != 1:
            raise process.Failure(f'virtnbdbackup left {len(found)} files')
        return found[0]
