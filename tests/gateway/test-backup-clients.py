#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A backup's calls by programs that nobody here wrote: wbemcli (CIM-XML) and
wsl (WS-Management)."""
import os
import re
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from backup import (BLOCK, IMAGES, RECOVERY, SETTINGS,  # noqa: E402
                    SNAPSHOTS, Case)
from rig import MS_URI, NS, need  # noqa: E402
from harness.process import wait_until  # noqa: E402

need('wbemcli', 'wslid', 'uuidgen', 'curl')


def service(class_name, name):
    return (f'{class_name}.CreationClassName="{class_name}",Name="{name}",'
            'SystemCreationClassName="Msvm_ComputerSystem",'
            f'SystemName="{os.uname().nodename}"')


class Wbemcli(Case):
    def cli(self, operation, path, *rest, flags=()):
        return self.rig.wbemcli(operation, f'{NS}:{path}', *rest,
                                flags=('-nl', *flags))

    def paths(self, text):
        """What it names, each without its namespace."""
        return [line.split(f'/{NS}:', 1)[1].rstrip()
                for line in text.splitlines() if f'/{NS}:' in line]

    def properties(self, path):
        return dict(re.findall(r'^-(\w+)=?(.*)$', self.cli('gi', path), re.M))

    def begin(self, call):
        """A call of the service of snapshots: the job's path."""
        text = self.rig.wbemcli(
            'cm', f'{NS}:' + service(SNAPSHOTS, 'vssnapsvc'), call)
        self.assertRegex(text, r': 4096\b')
        return re.search(rf'Job \(reference\): \S+?/{NS}:?(\S+?)(?=, |\s)',
                         text)[1]

    def made(self, job):
        def over():
            found = self.properties(job)
            self.assertIn(found['JobState'], ('4', '7'))
            return found['JobState'] == '7'
        wait_until('the job to end', over)
        path, = self.paths(self.cli(
            'ain', job, flags=('-ac', 'CIM_AffectedJobElement')))
        return path

    def test_a_snapshot_from_its_making_to_the_point_that_it_becomes(self):
        system, = [p for p in self.paths(self.cli(
            'ein', 'Msvm_ComputerSystem')) if self.uuid in p]
        with self.guest.lock:
            snapshot = self.made(self.begin(
                'CreateSnapshot.SnapshotType=32768,AffectedSystem='
                f'localhost/{NS}:{system}'))
            truth = bytes(self.guest.truth[0])
        found = self.properties(snapshot)
        self.assertEqual(found['VirtualSystemType'].strip('"'), RECOVERY)
        self.assertEqual(self.paths(self.cli(
            'ain', system, flags=('-ac', 'Msvm_SnapshotOfVirtualSystem'))),
                         [snapshot])
        disks = self.paths(self.cli('ain', snapshot, flags=(
            '-ac', 'Msvm_VirtualSystemSettingDataComponent')))
        self.assertEqual(len(disks), 2)
        uri = self.properties(disks[0])['HostResource'].strip('"')
        disk = self.disks({'InstanceID': found['InstanceID'].strip('"')})[0]
        self.assertEqual(disk.list('HostResource'), [uri])
        self.assert_same(self.full(disk), truth, uri)
        point = self.made(self.begin(
            f'ConvertToReferencePoint.AffectedSnapshot=localhost/{NS}:'
            + snapshot))
        self.assertIn('Msvm_VirtualSystemReferencePoint.', point)
        self.assertEqual(self.paths(self.cli('ain', system, flags=(
            '-ac', 'Msvm_SnapshotOfVirtualSystem'))), [])

    def test_a_snapshot_is_destroyed(self):
        with self.guest.lock:
            snapshot = self.made(self.begin(
                'CreateSnapshot.SnapshotType=32768,AffectedSystem='
                f'localhost/{NS}:{self.vm_path}'))
        self.made(self.begin(
            f'DestroySnapshot.AffectedSnapshot=localhost/{NS}:{snapshot}'))
        self.assertEqual(self.snapshots(), [])


class Wsl(Case):
    """What it keeps are files."""

    def value(self, text, name):
        return re.search(rf'<p:{name}>([^<]*)<', text)[1]

    def begin(self, method, *arguments):
        """The job's InstanceID, once it is over."""
        text = self.rig.wsl('wslinvoke', f'{MS_URI}{NS}/{SNAPSHOTS}', method,
                            *arguments)
        self.assertEqual(self.value(text, 'ReturnValue'), '4096')
        job = re.search(r'<w:Selector Name="InstanceID">([^<]*)<',
                        text[text.index('<p:Job'):])[1]

        def over():
            text = self.rig.wsl(
                'wslenum', f'{MS_URI}{NS}/Msvm_ConcreteJob', '-opti', '100',
                '-filter', 'SELECT * FROM Msvm_ConcreteJob WHERE '
                f"InstanceID='{job}'")
            return int(self.value(text, 'JobState')) == 7
        wait_until('the job to end', over)
        return job

    def made(self, job, class_name):
        text = self.rig.wsl(
            'wslenum', f'{MS_URI}{NS}/*', '-opti', '100', '-dialect',
            'http://schemas.microsoft.com/wbem/wsman/1/WQL', '-filter',
            'ASSOCIATORS OF {Msvm_ConcreteJob.InstanceID="' + job + '"} WHERE '
            f'ResultClass = {class_name}')
        self.assertEqual(text.count('<p:InstanceID>'), 1, text)
        return text

    def take(self):
        how = self.rig.write(
            'how.xml', '<![CDATA[<INSTANCE CLASSNAME="Msvm_VirtualSystem'
            'SnapshotSettingData"><PROPERTY NAME="ConsistencyLevel" '
            'TYPE="uint8"><VALUE>2</VALUE></PROPERTY><PROPERTY '
            'NAME="ElementName" TYPE="string"><VALUE>by wsl</VALUE>'
            '</PROPERTY></INSTANCE>]]>')
        with self.guest.lock:
            job = self.begin('CreateSnapshot', 'AffectedSystem=FILE:'
                             + self.rig.wsl_epr('Msvm_ComputerSystem', self.uuid),
                             'SnapshotSettings=RFILE:' + how,
                             'SnapshotType=32768')
        text = self.made(job, SETTINGS)
        self.assertEqual(self.value(text, 'ElementName'), 'by wsl')
        self.assertEqual(self.value(text, 'VirtualSystemType'), RECOVERY)
        return self.value(text, 'InstanceID')

    def convert(self, snapshot):
        job = self.begin('ConvertToReferencePoint', 'AffectedSnapshot=FILE:'
                         + self.rig.wsl_epr(SETTINGS, snapshot))
        return self.made(job, 'Msvm_VirtualSystemReferencePoint')

    def test_changes_from_a_point_to_a_snapshot(self):
        text = self.convert(self.take())
        limit = self.value(text, 'ResilientChangeTrackingIdentifiers')
        with self.guest.lock:
            self.guest.write(0, 77)
        snapshot = self.take()
        uri = self.disks({'InstanceID': snapshot})[0].list('HostResource')[0]
        text = self.rig.wsl('wslinvoke', f'{MS_URI}{NS}/{IMAGES}',
                            'GetVirtualDiskChanges', f'Path={uri}',
                            f'LimitId={limit}', f'ByteOffset={77 * BLOCK}',
                            f'ByteLength={BLOCK}')
        self.assertEqual(self.value(text, 'ReturnValue'), '0')
        self.assertEqual(self.value(text, 'ChangedByteOffsets'),
                         str(77 * BLOCK))
        self.done(self.call(SNAPSHOTS, 'DestroySnapshot', AffectedSnapshot=(
            SETTINGS, {'InstanceID': snapshot})))


if __name__ == '__main__':
    unittest.main()
