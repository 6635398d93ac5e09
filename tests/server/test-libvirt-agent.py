#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A domain of a real libvirt, frozen through libvirt by the agent in it."""
import importlib.util
import json
import os
import shutil
import sys
import tempfile
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, 'tests'))
from harness import process, qemu  # noqa: E402
from harness.libvirt import PATH, Libvirt, which  # noqa: E402
from harness.process import wait_until  # noqa: E402
from harness.refpoint import Refpointd, parse_uri  # noqa: E402

_spec = importlib.util.spec_from_file_location(
    'attach', os.path.join(os.path.dirname(os.path.abspath(__file__)),
                           'test-libvirt.py'))
attach = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(attach)

VM = 'web'
DOMAIN = '''<domain type='qemu'
    xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>refpoint-agent-test</name>
  <memory unit='MiB'>256</memory>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>{directory}/vmlinuz</kernel>
    <initrd>{directory}/initramfs</initrd>
    <cmdline>console=ttyS0 quiet panic=-1 refpoint.mode=demo \
refpoint.agent</cmdline>
  </os>
  <devices>
    <emulator>{emulator}</emulator>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    <serial type='file'>
      <source path='{log}'/>
    </serial>
    <channel type='unix'>
      <target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel>
  </devices>
{arguments}
</domain>
'''
# As whoever has the session; virsh's own -c and URI come first.
VIRSH = '''#!/bin/sh
shift 2
export {environment}
exec {become} {virsh} -c '{uri}' "$@"
'''


def missing():
    if not os.access('/usr/sbin/qemu-ga', os.X_OK):
        return 'qemu-ga is missing: tools/install-deps'
    return attach.missing() or qemu.missing()


class Freeze(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(
            prefix='refpoint-libvirt-',
            dir=os.environ.get('TMPDIR', '/var/tmp'))
        self.addCleanup(shutil.rmtree, self.directory)
        os.chmod(self.directory, 0o755)
        for path in qemu.guest_files():
            to = os.path.join(self.directory, os.path.basename(path))
            shutil.copyfile(path, to)
            os.chmod(to, 0o644)
        self.disk = os.path.join(self.directory, 'disk.raw')
        with open(self.disk, 'wb') as f:
            f.truncate(256 << 20)
        for name in 'root', 'bin':
            os.mkdir(os.path.join(self.directory, name), 0o755)
        self.daemon = Refpointd(os.path.join(self.directory, 'root'), {
            'PATH': f'{self.directory}/bin:{PATH}'})
        self.daemon.start()
        self.addCleanup(self.daemon.close)
        self.daemon.cli('define', VM, '--disk', f'root={self.disk}',
                        '--agent', 'libvirt:refpoint-agent-test')
        self.daemon.cli('serve', VM)
        uri = self.daemon.wait_serving(VM)['disks'][0]['nbd_uri']
        self.libvirt = Libvirt(self.directory,
                               os.stat(parse_uri(uri)[0]).st_gid)
        self.addCleanup(self.libvirt.close)
        self.wrap_virsh()

    def wrap_virsh(self):
        path = f'{self.directory}/bin/virsh'
        keep = [f"{name}='{value}'" for name, value in
                self.libvirt.environment.items()
                if name.startswith('XDG_') or name in ('HOME', 'LC_ALL')]
        with open(path, 'w', encoding='utf-8') as f:
            f.write(VIRSH.format(environment=' '.join(keep),
                                 become=' '.join(self.libvirt.become),
                                 virsh=which('virsh'),
                                 uri=self.libvirt.uri))
        os.chmod(path, 0o755)

    def boot(self):
        path = os.path.join(self.directory, 'domain.xml')
        with open(path, 'w', encoding='utf-8') as f:
            f.write(DOMAIN.format(
                directory=self.directory,
                log=f'{self.libvirt.directory}/console',
                emulator=which('qemu-system-x86_64'),
                arguments=self.daemon.cli('attach', VM, '--libvirt')))
        self.libvirt.virsh('define', '--validate', path)
        self.libvirt.virsh('start', 'refpoint-agent-test')

    def create(self):
        return self.daemon.create(VM, '--consistency', 'application')

    def refuses(self, text):
        with self.assertRaisesRegex(process.Failure, text):
            self.create()

    def agent(self, command):
        return json.loads(self.libvirt.virsh(
            'qemu-agent-command', 'refpoint-agent-test',
            json.dumps({'execute': f'guest-{command}'})))['return']

    def test_a_domain_is_frozen_for_a_point(self):
        self.refuses('cannot freeze: failed to get domain')
        self.boot()

        def agent_answers():
            try:
                return self.agent('ping') == {}
            except process.Failure:
                return False
        wait_until('the agent in the guest', agent_answers, 120, 0.5)
        self.assertEqual(self.create()['consistency'], 'application')
        self.assertEqual(self.agent('fsfreeze-status'), 'thawed')
        # Who is frozen by somebody else is left so.
        self.libvirt.virsh('domfsfreeze', 'refpoint-agent-test')
        self.refuses('by somebody else')
        self.assertEqual(self.agent('fsfreeze-status'), 'frozen')
        self.libvirt.virsh('domfsthaw', 'refpoint-agent-test')
        self.assertEqual([p['consistency'] for p in self.daemon.json(
            'points', VM)['points']], ['application'])
        self.libvirt.virsh('destroy', 'refpoint-agent-test')
        self.refuses('domain is not running')
        self.libvirt.virsh('undefine', 'refpoint-agent-test')


if __name__ == '__main__':
    if missing():
        print('skipped:', missing())
        sys.exit(77)
    unittest.main(verbosity=2)
