#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The way of docs/powershell.md, as the CIM cmdlets of Windows put it on the
wire: DMTF's URIs with the namespace as a selector, the headers that they send
whether or not anybody knows them, references as endpoints, associations by
filter; in UTF-8 and in UTF-16.
"""
import os
import sys
import unittest
import xml.etree.ElementTree as ET
from xml.sax.saxutils import escape

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from rig import (DMTF_URI, NAMESPACES, NS, Failure, Rig,  # noqa: E402
                 envelope, need, skip)
from harness.process import wait_until  # noqa: E402

try:
    import nbd
except ImportError:
    skip('install python3-libnbd')

need('curl')
CIMBINDING = 'http://schemas.dmtf.org/wbem/wsman/1/cimbinding.xsd'
ASSOCIATION = ('http://schemas.dmtf.org/wbem/wsman/1/cimbinding/'
               'associationFilter')
ANY = 'http://schemas.dmtf.org/wbem/wscim/1/*'
CLASSES = 'http://schemas.dmtf.org/wbem/cim-xml/2/cim-schema/2/*'
WQL = 'http://schemas.microsoft.com/wbem/wsman/1/WQL'
ENUMERATION = NAMESPACES['n']
SERVICE = 'Msvm_VirtualSystemReferencePointService'
HEADERS = (
    '<w:MaxEnvelopeSize s:mustUnderstand="true">{size}</w:MaxEnvelopeSize>'
    '<w:OperationTimeout>PT60.000S</w:OperationTimeout>'
    '<w:Locale xml:lang="en-US" s:mustUnderstand="false"/>'
    '<m:DataLocale xmlns:m="http://schemas.microsoft.com/wbem/wsman/1/'
    'wsman.xsd" xml:lang="en-US" s:mustUnderstand="false"/>'
    '<m:SessionId xmlns:m="http://schemas.microsoft.com/wbem/wsman/1/'
    'wsman.xsd" s:mustUnderstand="false">uuid:9c7b4f0c-5a49-4a55-8a38-'
    '8a8e1d9c4a01</m:SessionId>'
    '<m:SequenceId xmlns:m="http://schemas.microsoft.com/wbem/wsman/1/'
    'wsman.xsd" s:mustUnderstand="false">1</m:SequenceId>'
    '<w:OptionSet><w:Option Name="wmi:__MI_OPERATIONOPTIONS_WRITEERRORMODE" '
    'Type="xs:unsignedByte">0</w:Option></w:OptionSet>')


def local(element):
    return element.tag.split('}')[1]


class Session:
    """What a CimSession knows."""

    def __init__(self, rig, encoding='utf-8', size=8 << 20):
        self.rig = rig
        self.encoding = encoding
        self.size = size

    def send(self, action, uri, body, selectors=None):
        """The body's first element, or Failure with the fault's reason."""
        text = envelope(action, uri, body,
                        {'__cimnamespace': NS, **(selectors or {})},
                        HEADERS.format(size=self.size)).decode()
        kind = self.encoding.upper()
        reply = self.rig.curl(
            'wsman', '-H', f'Content-Type: application/soap+xml;charset={kind}',
            data=text.encode(self.encoding))
        if len(reply.body) > self.size:
            raise Failure(f'{len(reply.body)} bytes in a reply')
        if f'charset={kind}' not in reply.header('content-type'):
            raise Failure('answered in another encoding: ' +
                          reply.header('content-type'))
        root = ET.fromstring(reply.body)
        fault = root.find('s:Body/s:Fault/s:Reason/s:Text', NAMESPACES)
        if fault is not None:
            raise Failure('fault: ' + fault.text)
        return root.find('s:Body', NAMESPACES)[0]

    def enumerate(self, uri, inside):
        """Items as elements, with as many Pulls as it takes."""
        answer = self.send(ENUMERATION + '/Enumerate', uri,
                           '<n:Enumerate><w:OptimizeEnumeration/>'
                           '<w:MaxElements>32000</w:MaxElements>'
                           f'{inside}</n:Enumerate>')
        found = []
        while True:
            for items in (*answer.findall('w:Items', NAMESPACES),
                          *answer.findall('n:Items', NAMESPACES)):
                found += list(items)
            if any(local(e) == 'EndOfSequence' for e in answer):
                return found
            context = answer.findtext('n:EnumerationContext', None,
                                      NAMESPACES)
            answer = self.send(ENUMERATION + '/Pull', uri,
                               f'<n:Pull><n:EnumerationContext>{context}'
                               '</n:EnumerationContext><n:MaxElements>32000'
                               '</n:MaxElements></n:Pull>')

    def query(self, text):
        return self.enumerate(DMTF_URI + '*',
                              f'<w:Filter Dialect="{WQL}">{escape(text)}'
                              '</w:Filter>')

    def instances(self, name):
        return self.enumerate(DMTF_URI + name, '')

    def associated(self, endpoint, association, result):
        return self.enumerate(
            ANY, f'<w:Filter xmlns:b="{CIMBINDING}" Dialect="{ASSOCIATION}">'
            f'<b:AssociatedInstances><b:Object>{endpoint}</b:Object>'
            f'<b:AssociationClassName>{association}</b:AssociationClassName>'
            f'<b:ResultClassName>{result}</b:ResultClassName>'
            '</b:AssociatedInstances></w:Filter>')

    def invoke(self, name, selectors, method, parameters):
        """What comes out, by name."""
        uri = DMTF_URI + name
        output = self.send(f'{uri}/{method}', uri,
                           f'<p:{method}_INPUT xmlns:p="{uri}">{parameters}'
                           f'</p:{method}_INPUT>', selectors)
        return output


def values(element, name):
    return [e.text for e in element if local(e) == name]


def value(element, name):
    one, = values(element, name)
    return one


def endpoint(name, selectors):
    chosen = ''.join(f'<w:Selector Name="{k}">{escape(v)}</w:Selector>'
                     for k, v in {'__cimnamespace': NS, **selectors}.items())
    return (f'<a:Address>{NAMESPACES["a"]}/role/anonymous</a:Address>'
            f'<a:ReferenceParameters><w:ResourceURI>{DMTF_URI}{name}'
            f'</w:ResourceURI><w:SelectorSet>{chosen}</w:SelectorSet>'
            '</a:ReferenceParameters>')


def selectors(element):
    """Of an endpoint in an answer, without the namespace."""
    return {s.get('Name'): s.text for s in element.iter(
        f'{{{NAMESPACES["w"]}}}Selector')
        if s.get('Name') != '__cimnamespace'}


class Workflow(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.rig = Rig(daemon=True)
        cls.addClassCleanup(cls.rig.close)
        image = cls.rig.image('web.raw')
        cls.rig.daemon.cli('define', 'web', '--disk', 'root=' + image)
        cls.rig.daemon.cli('serve', 'web')
        cls.place = cls.rig.path('exports')
        os.mkdir(cls.place)
        cls.rig.give(cls.place, 0o700)
        cls.rig.start('--export-root', cls.place)

    def write(self, offsets):
        """A block at each of them, by a real writer."""
        handle = nbd.NBD()
        handle.connect_uri(self.rig.daemon.status('web')['disks'][0]
                           ['nbd_uri'])
        for offset in offsets:
            handle.pwrite(os.urandom(4096), offset)
        handle.flush()
        handle.shutdown()

    def wait(self, session, job):
        """The job as it was at its end."""
        keys = selectors(job)

        def over():
            got = session.send(NAMESPACES['x'] + '/Get',
                               DMTF_URI + 'Msvm_ConcreteJob', '', keys)
            return value(got, 'JobState') != '4' and got

        got = wait_until('the job', over, interval=0.1)
        self.assertEqual(value(got, 'JobState'), '7',
                         value(got, 'ErrorDescription'))
        return keys

    def changes(self, session, disk, limit):
        """All of them, however many calls that takes; and how many."""
        size = (int(value(disk, 'VirtualQuantity')) *
                int(value(disk, 'VirtualResourceBlockSize')))
        image, = session.instances('Msvm_ImageManagementService')
        keys = {k: value(image, k) for k in (
            'SystemCreationClassName', 'SystemName', 'CreationClassName',
            'Name')}
        offset, calls, found = 0, 0, []
        while offset < size:
            out = session.invoke(
                'Msvm_ImageManagementService', keys, 'GetVirtualDiskChanges',
                f'<p:Path>{escape(value(disk, "HostResource"))}</p:Path>'
                f'<p:LimitId>{limit}</p:LimitId>'
                '<p:TargetSnapshotId></p:TargetSnapshotId>'
                f'<p:ByteOffset>{offset}</p:ByteOffset>'
                f'<p:ByteLength>{size - offset}</p:ByteLength>')
            self.assertEqual(value(out, 'ReturnValue'), '0')
            found += zip(map(int, values(out, 'ChangedByteOffsets')),
                         map(int, values(out, 'ChangedByteLengths')))
            offset += int(value(out, 'ProcessedByteLength'))
            calls += 1
        return found, calls

    def run_all(self, session, blocks, calls):
        vm, = session.query('SELECT * FROM Msvm_ComputerSystem WHERE '
                            "ElementName='web'")
        identity = {'CreationClassName': 'Msvm_ComputerSystem',
                    'Name': value(vm, 'Name')}
        service, = session.instances(SERVICE)
        keys = {k: value(service, k) for k in (
            'SystemCreationClassName', 'SystemName', 'CreationClassName',
            'Name')}
        out = session.invoke(
            SERVICE, keys, 'CreateReferencePoint', '<p:AffectedSystem>' +
            endpoint('Msvm_ComputerSystem', identity) + '</p:AffectedSystem>'
            '<p:ReferencePointSettings></p:ReferencePointSettings>'
            '<p:ReferencePointType>1</p:ReferencePointType>')
        self.assertEqual(value(out, 'ReturnValue'), '4096')
        job, = [e for e in out if local(e) == 'Job']
        job = self.wait(session, job)
        point, = session.associated(
            endpoint('Msvm_ConcreteJob', job), 'Msvm_AffectedJobElement',
            'Msvm_VirtualSystemReferencePoint')
        self.assertIn(value(point, 'InstanceID'), [
            value(p, 'InstanceID') for p in session.associated(
                endpoint('Msvm_ComputerSystem', identity),
                'Msvm_ReferencePointOfVirtualSystem',
                'Msvm_VirtualSystemReferencePoint')])
        wanted = value(point, 'VirtualDiskIdentifiers').replace('\\', '\\\\')
        disk, = session.query('SELECT * FROM Msvm_StorageAllocationSettingData'
                              f" WHERE InstanceID='{wanted}'")
        self.write(blocks)
        found, took = self.changes(
            session, disk, value(point, 'ResilientChangeTrackingIdentifiers'))
        self.assertEqual(found, [(offset, 4096) for offset in blocks])
        self.assertGreaterEqual(took, calls)
        out = session.invoke(
            SERVICE, keys, 'DestroyReferencePoint',
            '<p:AffectedReferencePoint>' + endpoint(
                'Msvm_VirtualSystemReferencePoint', {
                    'InstanceID': value(point, 'InstanceID'),
                    'VirtualSystemIdentifier': identity['Name']}) +
            '</p:AffectedReferencePoint>')
        self.assertEqual(value(out, 'ReturnValue'), '4096')
        self.wait(session, [e for e in out if local(e) == 'Job'][0])
        self.assertEqual(self.rig.daemon.json('points', 'web')['points'], [])

    def call(self, session, name, method, parameters):
        """Of the only instance: the job's selectors, once it is over."""
        service, = session.instances(name)
        keys = {k: value(service, k) for k in (
            'SystemCreationClassName', 'SystemName', 'CreationClassName',
            'Name')}
        out = session.invoke(name, keys, method, parameters)
        self.assertEqual(value(out, 'ReturnValue'), '4096')
        return self.wait(session, [e for e in out if local(e) == 'Job'][0])

    def backup(self, session):
        vm, = session.query('SELECT * FROM Msvm_ComputerSystem WHERE '
                            "ElementName='web'")
        system = endpoint('Msvm_ComputerSystem', {
            'CreationClassName': 'Msvm_ComputerSystem',
            'Name': value(vm, 'Name')})
        settings, snapshots = ('Msvm_VirtualSystemSettingData',
                               'Msvm_VirtualSystemSnapshotService')
        job = self.call(
            session, snapshots, 'CreateSnapshot',
            f'<p:AffectedSystem>{system}</p:AffectedSystem>'
            '<p:SnapshotSettings>' + escape(
                '<INSTANCE CLASSNAME="Msvm_VirtualSystemSnapshotSettingData">'
                '<PROPERTY NAME="ConsistencyLevel" TYPE="uint8" MODIFIED='
                '"TRUE"><VALUE>2</VALUE></PROPERTY></INSTANCE>') +
            '</p:SnapshotSettings><p:SnapshotType>32768</p:SnapshotType>')
        snapshot, = session.associated(endpoint('Msvm_ConcreteJob', job),
                                       'Msvm_AffectedJobElement', settings)
        name = value(snapshot, 'InstanceID')
        disk, = session.associated(
            endpoint(settings, {'InstanceID': name}),
            'Msvm_VirtualSystemSettingDataComponent',
            'Msvm_StorageAllocationSettingData')
        self.assertTrue(value(disk, 'HostResource').startswith('nbd+unix:'))
        template, = session.associated(
            system, 'Msvm_SystemExportSettingData',
            'Msvm_VirtualSystemExportSettingData')
        edited = {'InstanceID': ('string', value(template, 'InstanceID')),
                  'CopySnapshotConfiguration': ('uint8', '3'),
                  'CreateVmExportSubdirectory': ('boolean', 'false'),
                  'SnapshotVirtualSystem': (
                      'string', f'{settings}.InstanceID="{name}"')}
        where = os.path.join(self.place, session.encoding)
        self.call(
            session, 'Msvm_VirtualSystemManagementService',
            'ExportSystemDefinition', f'<p:ComputerSystem>{system}'
            f'</p:ComputerSystem><p:ExportDirectory>{where}'
            '</p:ExportDirectory><p:ExportSettingData>' + escape(
                '<INSTANCE CLASSNAME="Msvm_VirtualSystemExportSettingData">' +
                ''.join(f'<PROPERTY NAME="{k}" TYPE="{t}"><VALUE>{escape(v)}'
                        '</VALUE></PROPERTY>' for k, (t, v) in edited.items())
                + '</INSTANCE>') + '</p:ExportSettingData>')
        self.assertEqual(len(os.listdir(where)), 2)
        job = self.call(
            session, snapshots, 'ConvertToReferencePoint',
            '<p:AffectedSnapshot>' + endpoint(settings, {'InstanceID': name})
            + '</p:AffectedSnapshot>')
        point, = session.associated(
            endpoint('Msvm_ConcreteJob', job), 'Msvm_AffectedJobElement',
            'Msvm_VirtualSystemReferencePoint')
        self.rig.daemon.cli('destroy', 'web', value(point, 'InstanceID'))

    def test_a_backup_from_a_snapshot(self):
        self.write([4096])
        self.backup(Session(self.rig))
        self.backup(Session(self.rig, 'utf-16'))

    def test_the_whole_way(self):
        self.run_all(Session(self.rig), [0, 1 << 20, (64 << 20) - 4096], 1)

    def test_the_whole_way_in_utf_16(self):
        self.run_all(Session(self.rig, 'utf-16'), [4096 * 7], 1)

    def test_the_whole_way_in_small_envelopes(self):
        self.run_all(Session(self.rig, size=153600),
                     list(range(0, 32 << 20, 8192)), 2)

    def test_a_class_is_told(self):
        session = Session(self.rig)
        answer = session.send(
            NAMESPACES['x'] + '/Get', CLASSES, '',
            {'ClassName': 'Msvm_VirtualSystemReferencePointSettingData'})
        self.assertEqual(answer.tag.split('}')[-1], 'CLASS')
        self.assertIn('ConsistencyLevel', ET.tostring(answer).decode())


if __name__ == '__main__':
    unittest.main(verbosity=2)
