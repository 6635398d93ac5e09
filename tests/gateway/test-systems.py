#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Virtual systems, their disks and points, as wbemcli and WS-Man see them."""
import os
import re
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from rig import MS_URI, NS, Failure, Rig, need  # noqa: E402
from harness import refpoint  # noqa: E402
from harness.client import Client  # noqa: E402
from harness.process import wait_until  # noqa: E402

need('wbemcli', 'wslid', 'uuidgen', 'curl')
MIB = 1 << 20
CONTROLLER = '5A6E1F5C-0D4B-4B7B-9C7E-3C1B0E6D2A41'
SERVICES = {'Msvm_VirtualSystemReferencePointService': 'rpsvc',
            'Msvm_VirtualSystemSnapshotService': 'vssnapsvc',
            'Msvm_VirtualSystemManagementService': 'vmms',
            'Msvm_ImageManagementService': 'imgsvc'}


def system(uuid):
    return ('Msvm_ComputerSystem.CreationClassName="Msvm_ComputerSystem",'
            f'Name="{uuid}"')


def settings(uuid):
    return f'Msvm_VirtualSystemSettingData.InstanceID="Microsoft:{uuid}"'


def disk_id(uuid, n):
    return f'Microsoft:{uuid}\\{CONTROLLER}\\0\\{n}\\L'


def listed(value):
    """The texts of an array, as wbemcli -nl writes it."""
    return [text.replace('\\\\', '\\')
            for text in re.findall(r'"((?:[^"\\]|\\.)*)"', value)]


class Systems(unittest.TestCase):
    """alpha is served and has two disks and two points, beta is not."""

    @classmethod
    def setUpClass(cls):
        why = refpoint.built()
        if why:
            print('skipped:', why)
            sys.exit(77)
        cls.rig = Rig(daemon=True)
        cls.addClassCleanup(cls.rig.close)
        cls.daemon = cls.rig.daemon
        cls.images = {name: cls.rig.image(name + '.raw', 8) for name in 'abc'}
        cls.define('alpha', 'vda=a', 'vdb=b')
        cls.define('beta', 'sda=c')
        cls.daemon.cli('serve', 'alpha')
        status = cls.daemon.wait_serving('alpha')
        cls.daemon.create('alpha', '--label', 'first')
        cls.daemon.create('alpha')
        cls.points = cls.daemon.json('points', 'alpha')['points']
        cls.uri = status['disks'][0]['nbd_uri']
        cls.rig.start()
        cls.uuid = {vm: cls.daemon.status(vm)['uuid'].upper()
                    for vm in ('alpha', 'beta')}

    @classmethod
    def define(cls, vm, *disks):
        arguments = []
        for disk in disks:
            name, _, image = disk.partition('=')
            arguments += ['--disk', f'{name}={cls.images[image]}']
        cls.daemon.cli('define', vm, *arguments)

    # ---------------------------------------------------------------- asking

    def names(self, operation, path, *flags):
        """Paths without their namespaces."""
        text = self.rig.wbemcli(operation, f'{NS}:{path}', flags=flags)
        return [line.split(f'/{NS}:', 1)[1]
                for line in text.splitlines() if f'/{NS}:' in line]

    def objects(self, operation, path, *flags):
        """Of each object its properties, as wbemcli writes their values."""
        text = self.rig.wbemcli(operation, f'{NS}:{path}',
                                flags=('-nl', *flags))
        found = []
        for line in text.splitlines():
            if line.startswith('-'):
                name, _, value = line[1:].partition('=')
                found[-1][name] = value
            elif f'/{NS}:' in line:
                found.append({})
        return found

    def query(self, text):
        """How many a WQL query finds, over WS-Man."""
        xml = self.rig.wsl('wslenum', f'{MS_URI}{NS}/*', '-opti', '64',
                           '-dialect',
                           'http://schemas.microsoft.com/wbem/wsman/1/WQL',
                           '-filter', text)
        return xml.count('<p:InstanceID>') + xml.count('<p:Name>')

    # ----------------------------------------------------------------- tests

    def test_computers(self):
        names = self.names('ein', 'Msvm_ComputerSystem')
        self.assertEqual(len(names), 3)
        everything = {o['ElementName']: o
                      for o in self.objects('ei', 'CIM_ComputerSystem')}
        alpha, beta = everything['"alpha"'], everything['"beta"']
        self.assertEqual(
            self.objects('gi', system(self.uuid['beta'])), [beta])
        self.assertEqual(sorted(o['Caption'] for o in everything.values()),
                         ['"Hosting Computer System"', '"Virtual Machine"',
                          '"Virtual Machine"'])
        self.assertEqual(alpha['Description'], '"Microsoft Virtual Machine"')
        self.assertEqual(alpha['OperationalStatus'], '2')
        self.assertEqual(int(alpha['ProcessID']),
                         self.daemon.worker_pid('alpha'))
        self.assertEqual(beta['EnabledState'], '3')
        self.assertEqual(beta['Name'], f'"{self.uuid["beta"]}"')

    def test_a_system_is_on_while_a_writer_is_connected(self):
        def state():
            return self.objects('gi', system(self.uuid['alpha'].lower())
                                )[0]['EnabledState']
        self.assertEqual(state(), '3')
        sock, export = refpoint.parse_uri(self.uri)
        client = Client(sock, export, 8 * MIB)
        try:
            wait_until('the writer to be told', lambda: state() == '2')
        finally:
            client.handle.shutdown()
        wait_until('its end to be told', lambda: state() == '3')

    def test_configuration(self):
        uuid = self.uuid['alpha']
        found, = self.objects('ai', system(uuid), '-ac',
                              'Msvm_SettingsDefineState')
        self.assertEqual(found['InstanceID'], f'"Microsoft:{uuid}"')
        self.assertEqual(found['VirtualSystemType'],
                         '"Microsoft:Hyper-V:System:Realized"')
        disks = self.objects('ai', settings(uuid), '-arc',
                             'CIM_ResourceAllocationSettingData')
        self.assertEqual([listed(d['HostResource']) for d in disks],
                         [[self.images['a']], [self.images['b']]])
        self.assertEqual([d['Address'] for d in disks], ['"vda"', '"vdb"'])
        self.assertEqual(int(disks[0]['VirtualQuantity']) *
                         int(disks[0]['VirtualResourceBlockSize']), 8 * MIB)
        export, = self.objects('ai', system(uuid), '-ac',
                               'Msvm_SystemExportSettingData')
        self.assertEqual(export['CopyVmStorage'], 'TRUE')

    def test_c8_disks_are_found_by_path_and_by_query(self):
        wanted = disk_id(self.uuid['alpha'], 1)
        for text in wanted, wanted.lower(), wanted.replace('\\', '\\\\'):
            found, = self.objects(
                'gi', f'Msvm_StorageAllocationSettingData.InstanceID="{text}"')
            self.assertEqual(listed(found['HostResource']),
                             [self.images['b']])
        doubled = wanted.replace('\\', '\\\\')
        self.assertEqual(self.query(
            'SELECT * FROM Msvm_StorageAllocationSettingData '
            f"WHERE InstanceID='{doubled}'"), 1)

    def test_points(self):
        uuid = self.uuid['alpha']
        found = self.objects('ei', 'Msvm_VirtualSystemReferencePoint')
        self.assertEqual([o['InstanceID'] for o in found],
                         [f'"{p["id"].upper()}"' for p in self.points])
        self.assertEqual([o['ElementName'] for o in found], ['"first"', ''])
        for o, p in zip(found, self.points):
            self.assertEqual(o['VirtualSystemIdentifier'], f'"{uuid}"')
            self.assertEqual(o['ReferencePointType'], '2')
            self.assertEqual(o['ConsistencyLevel'], '2')
            self.assertEqual(listed(o['VirtualDiskIdentifiers']),
                             [disk_id(uuid, 0), disk_id(uuid, 1)])
            self.assertEqual(listed(o['ResilientChangeTrackingIdentifiers']),
                             [d['tracking_id'] for d in p['disks']])

    def test_c15_points_are_found_by_system_and_by_id(self):
        select = 'SELECT * FROM Msvm_VirtualSystemReferencePoint WHERE '
        for where, n in (
                (f"VirtualSystemIdentifier='{self.uuid['alpha']}'", 2),
                (f"VirtualSystemIdentifier='{self.uuid['beta']}'", 0),
                (f"InstanceID='{self.points[1]['id']}'", 1),
                ("InstanceID='none'", 0)):
            self.assertEqual(self.query(select + where), n, where)

    def test_points_are_walked_to_and_from(self):
        start = system(self.uuid['alpha'])
        for flags in (('-ac', 'Msvm_ReferencePointOfVirtualSystem'),
                      ('-ac', 'CIM_Dependency'),
                      ('-arc', 'Msvm_VirtualSystemReferencePoint')):
            names = self.names('ain', start, *flags)
            self.assertEqual(len(names), 2, flags)
            back = self.names('ain', names[0], '-arc', 'CIM_ComputerSystem')
            self.assertEqual(len(back), 1)
            self.assertIn(self.uuid['alpha'], back[0])
        for operation in 'ri', 'rin':
            links = self.names(operation, start, '-arc',
                               'Msvm_ReferencePointOfVirtualSystem')
            self.assertEqual(len(links), 2)
        self.assertEqual(
            self.names('ain', system(self.uuid['beta']), '-ac',
                       'Msvm_ReferencePointOfVirtualSystem'), [])

    def test_walks_are_queries_too(self):
        start = '{' + system(self.uuid['alpha']) + '}'
        for where, n in (
                ('AssocClass=Msvm_ReferencePointOfVirtualSystem', 2),
                ('ResultClass=CIM_VirtualSystemSettingData', 1),
                ('ResultClass=Msvm_VirtualSystemReferencePoint '
                 'ResultRole=Dependent', 2)):
            self.assertEqual(
                self.query(f'ASSOCIATORS OF {start} WHERE {where}'), n, where)

    def test_c1_services(self):
        for name, its in SERVICES.items():
            found, = self.objects('ei', name)
            self.assertEqual(found['Name'], f'"{its}"')
            self.assertEqual(found['Started'], 'TRUE')
            path, = self.names('ein', name)
            host, = self.names('ain', path, '-ac', 'Msvm_HostedService')
            services = self.names('ain', host, '-ac', 'CIM_HostedService')
            self.assertEqual(len(services), len(SERVICES))
        self.assertEqual(len(self.names('ein', 'CIM_Service')),
                         len(SERVICES))

    def test_everything_that_is_named_is_got(self):
        for name in ('CIM_SettingData', 'CIM_Service', 'CIM_ComputerSystem',
                     'Msvm_VirtualSystemReferencePoint'):
            for path in self.names('ein', name):
                self.assertEqual(len(self.objects('gi', path)), 1, path)

    def test_a_point_is_deleted_by_operators(self):
        point = self.daemon.create('alpha')['id'].upper()
        path = (f'{NS}:Msvm_VirtualSystemReferencePoint.InstanceID="{point}",'
                f'VirtualSystemIdentifier="{self.uuid["alpha"]}"')
        with self.assertRaisesRegex(Failure, r'Cim: \(2\)'):
            self.rig.wbemcli('di', path, user='bob:secret')
        self.rig.wbemcli('di', path)
        left = self.daemon.json('points', 'alpha')['points']
        self.assertEqual(left, self.points)
        with self.assertRaisesRegex(Failure, r'Cim: \(6\)'):
            self.rig.wbemcli('di', path)


if __name__ == '__main__':
    unittest.main()
