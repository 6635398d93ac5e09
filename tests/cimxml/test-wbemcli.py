#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every operation that sblim-wbemcli has, and what it makes of the replies."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                '..'))
from harness.process import die_with_parent, stop  # noqa: E402

SERVICE = 'Msvm_VirtualSystemReferencePointService'
KEYS = (f'SystemCreationClassName="Msvm_ComputerSystem",SystemName="host",'
        f'CreationClassName="{SERVICE}",Name="vmms"')
SYSTEM = ('Msvm_ComputerSystem.CreationClassName="Msvm_ComputerSystem",'
          'Name="abc"')
JOB = 'Msvm_ConcreteJob.InstanceID="job-1"'


class Wbemcli(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix='cimxml-')
        self.addCleanup(shutil.rmtree, self.dir)
        users = os.path.join(self.dir, 'users')
        for name, role in (('alice', 'operator'), ('bob', 'read-only')):
            subprocess.run([os.environ['HTTP_PASSWD'], users, name, 'secret',
                            role], check=True)
        self.server = subprocess.Popen(
            [os.environ['CIMXML_SERVER'], users], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, text=True, preexec_fn=die_with_parent)
        self.addCleanup(self.end)
        word, self.port = self.server.stdout.readline().split()
        self.assertEqual(word, 'ready')

    def end(self):
        self.server.stdin.close()
        status = self.server.wait(20)
        stop(self.server)
        self.server.stdout.close()
        self.assertEqual(status, 0)

    def run_cli(self, operation, path='', *rest, flags=(), user='alice',
                ns='root/virtualization/v2'):
        url = f'http://{user}:secret@127.0.0.1:{self.port}/{ns}'
        if path:
            url += ':' + path
        return subprocess.run(
            ['wbemcli', operation, *flags, url, *rest], text=True, timeout=60,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
            env={k: v for k, v in os.environ.items()
                 if not k.lower().endswith('_proxy')})

    def says(self, operation, *args, **kwargs):
        done = self.run_cli(operation, *args, **kwargs)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertNotIn('wbemcli:', done.stdout)
        return done.stdout

    def lines(self, *args, **kwargs):
        return [line.split('/root/virtualization/v2:', 1)[-1]
                for line in self.says(*args, **kwargs).splitlines()]

    def fails(self, code, *args, **kwargs):
        done = self.run_cli(*args, **kwargs)
        self.assertIn(f'Cim: ({code}) ', done.stdout)

    def test_classes(self):
        self.assertIn(f'{SERVICE} ', self.says('gc', SERVICE))
        text = self.says('gcd', SERVICE)
        self.assertIn(f'<CLASS NAME="{SERVICE}"', text)
        self.assertIn('<METHOD NAME="CreateReferencePoint"', text)
        self.assertIn('Msvm_ComputerSystem', self.lines('ecn'))
        self.assertEqual(['CIM_ConcreteJob', 'Msvm_ConcreteJob'],
                         self.lines('ecn', 'CIM_Job')[:2])
        self.assertIn('Msvm_ConcreteJob InstanceID=', self.says('ec', 'CIM_Job'))
        self.fails(5, 'gc', 'CIM_Nothing')
        self.fails(3, 'ecn', ns='root/none')

    def test_instances(self):
        names = self.lines('ein', 'CIM_ComputerSystem')
        self.assertEqual(len(names), 2)
        self.assertIn('Name="abc"', names[0])
        self.assertIn('Name="d<e>f&\\"\'"', names[1])
        self.assertEqual(len(self.lines('ei', 'CIM_ComputerSystem')), 2)
        self.assertIn('Name="abc"', self.says('gi', SYSTEM))
        # What it printed is understood again.
        self.assertIn('Name="abc"', self.says('gi', names[0]))
        self.assertEqual(self.says('gp', SYSTEM, 'Name').strip(), 'abc')
        self.fails(12, 'gp', SYSTEM, 'Nothing')
        self.fails(6, 'gi', 'Msvm_ConcreteJob.InstanceID="none"')
        self.fails(4, 'gi', 'Msvm_ComputerSystem.Name="abc"')

    def test_associations(self):
        self.assertEqual(self.lines('ain', SYSTEM), [JOB])
        self.assertEqual(
            self.lines('ain', SYSTEM, flags=('-ac', 'CIM_AffectedJobElement',
                                             '-arc', 'Msvm_ConcreteJob')),
            [JOB])
        self.assertEqual(self.lines('ain', SYSTEM, flags=('-ar', 'None')), [])
        self.assertTrue(self.lines('ai', SYSTEM)[0].startswith(
            JOB + ' InstanceID="job-1",'))
        for operation in 'ri', 'rin':
            text = self.says(operation, SYSTEM)
            self.assertIn(':Msvm_AffectedJobElement.', text)
            self.assertIn('InstanceID="job-1"', text)

    def test_what_is_not_supported(self):
        self.fails(7, 'ci', SYSTEM, 'ElementName=x')
        self.fails(7, 'mi', SYSTEM, 'ElementName=x')
        self.fails(7, 'sp', SYSTEM, 'ElementName=x')
        self.fails(7, 'dc', 'Msvm_ComputerSystem')
        self.fails(7, 'di', SYSTEM)
        self.says('di', JOB)

    def test_a_method_is_called(self):
        call = ('CreateReferencePoint.ReferencePointType=1,AffectedSystem='
                'localhost/root/virtualization/v2:' + SYSTEM)
        for operation in 'cm', 'cmx':
            text = self.says(operation, f'{SERVICE}.{KEYS}', call)
            self.assertIn('4096', text)
            self.assertIn('InstanceID', text)
            self.assertEqual(
                self.server.stdout.readline().strip(),
                'AffectedSystem=\\\\localhost\\root\\virtualization\\v2:'
                + SYSTEM + ';ReferencePointSettings=NULL;'
                'ReferencePointType=1;ResultingReferencePoint=NULL;Job=NULL;')
        self.fails(2, 'cm', f'{SERVICE}.{KEYS}', call, user='bob')

    def test_every_way_of_sending(self):
        for flags in ('-nl',), ('-t',), ('-dx',), ('-cte',), ('-e100',):
            self.assertIn('Name', self.says('ei', 'Msvm_ComputerSystem',
                                            flags=flags))


if __name__ == '__main__':
    if not shutil.which('wbemcli'):
        print('skipped: wbemcli (sblim-wbemcli) is not installed')
        sys.exit(77)
    unittest.main()
