#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Reference points of a served system, from their making to their end."""
import os
import re
import sys
import time
import unittest
import xml.etree.ElementTree as ET

import nbd

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from rig import MS_URI, NAMESPACES, NS, Failure, Rig, need  # noqa: E402
from harness import refpoint  # noqa: E402
from harness.process import wait_until  # noqa: E402

need('wbemcli', 'wslid', 'uuidgen', 'curl')
BLOCK = 4096
MIB = 1 << 20
# a soak tells a million ranges
SIZE = (8192 if os.environ.get('REFPOINT_SOAK') else 128) * MIB
POINTS = 'Msvm_VirtualSystemReferencePointService'
IMAGES = 'Msvm_ImageManagementService'
CHANGES = 'GetVirtualDiskChanges'


class Served(unittest.TestCase):
    """alpha has a disk of SIZE, which a guest writes to."""

    @classmethod
    def setUpClass(cls):
        why = refpoint.built()
        if why:
            print('skipped:', why)
            sys.exit(77)
        cls.rig = Rig(daemon=True)
        cls.addClassCleanup(cls.rig.close)
        cls.daemon = cls.rig.daemon
        cls.image = cls.rig.path('a.raw')
        for path, size in (cls.image, SIZE), (cls.rig.path('b.raw'), MIB):
            # whole: a file of thousands of pieces takes long to remove
            with open(path, 'wb') as f:
                for _ in range(size // MIB):
                    f.write(bytes(MIB))
            os.chmod(path, 0o666)
        cls.daemon.cli('define', 'alpha', '--disk', 'vda=' + cls.image)
        cls.daemon.cli('define', 'beta', '--disk',
                       'vda=' + cls.rig.path('b.raw'))
        cls.daemon.cli('serve', 'alpha')
        status = cls.daemon.wait_serving('alpha')
        cls.uuid = status['uuid'].upper()
        cls.socket, _ = refpoint.parse_uri(status['disks'][0]['nbd_uri'])
        cls.rig.start()

    def guest(self):
        handle = nbd.NBD()
        handle.set_export_name('vda')
        handle.connect_unix(self.socket)
        self.addCleanup(handle.shutdown)
        return handle

    def write(self, *numbers):
        """These blocks."""
        guest = self.guest()
        for n in numbers:
            guest.pwrite(os.urandom(BLOCK), n * BLOCK)

    def create(self):
        """A point, without the gateway: its id and tracking id."""
        point = self.daemon.create('alpha')
        point = point.get('point', point)
        return point['id'], point['disks'][0]['tracking_id']


# ------------------------------------------- from the making of a point to its end

def service(class_name, name):
    return (f'{class_name}.CreationClassName="{class_name}",Name="{name}",'
            'SystemCreationClassName="Msvm_ComputerSystem",'
            f'SystemName="{os.uname().nodename}"')


class Wbemcli(Served):
    """With nothing but wbemcli."""

    def cli(self, operation, path, *rest):
        return self.rig.wbemcli(operation, f'{NS}:{path}', *rest,
                                flags=('-nl',))

    def paths(self, text):
        """What it names, each without its namespace."""
        return [line.split(f'/{NS}:', 1)[1].rstrip()
                for line in text.splitlines() if f'/{NS}:' in line]

    def properties(self, path):
        return dict(re.findall(r'^-(\w+)=?(.*)$', self.cli('gi', path), re.M))

    def call(self, path, call):
        """The return value, and the paths of the objects that came out."""
        text = self.rig.wbemcli('cm', f'{NS}:{path}', call)
        method = call.split('.')[0]
        number = re.search(rf' {method}: (\d+)', text)[1]
        # it writes no colon behind the namespace
        return int(number), dict(re.findall(
            rf'(\w+) \(reference\): \S+?/{NS}:?(\S+?)(?=, |\s)', text))

    def finished(self, job):
        """Its properties, once it is over."""
        def over():
            found = self.properties(job)
            state = int(found['JobState'])
            self.assertIn(state, (4, 7, 8, 9, 10))
            return found if state > 4 else None
        return wait_until('the job to end', over)

    def create(self):
        system, = [p for p in self.paths(self.cli('ein',
                                                  'Msvm_ComputerSystem'))
                   if self.uuid in p]
        result, out = self.call(
            service(POINTS, 'rpsvc'), 'CreateReferencePoint.'
            f'ReferencePointType=1,AffectedSystem=localhost/{NS}:{system}')
        self.assertEqual(result, 4096)
        return out

    def test_a_point_from_its_making_to_its_end(self):
        job = self.create()['Job']
        found = self.finished(job)
        self.assertEqual((found['JobState'], found['ErrorCode']), ('7', '0'))
        self.assertEqual(self.call(job, 'GetError'), (0, {}))
        self.assertEqual(
            self.call(job, 'RequestStateChange.RequestedState=4')[0], 4097)
        point, = self.paths(self.rig.wbemcli(
            'ain', f'{NS}:{job}', flags=('-ac', 'CIM_AffectedJobElement')))
        link, = self.cli_lines('ri', job, '-arc', 'CIM_AffectedJobElement')
        self.assertIn('ElementEffects=5', link)
        found = self.properties(point)
        self.assertEqual((found['ReferencePointType'],
                          found['ConsistencyLevel']), ('2', '2'))
        limit = found['ResilientChangeTrackingIdentifiers'].strip('"')
        self.write(7)
        text = self.rig.wbemcli(
            'cm', f'{NS}:{service(IMAGES, "imgsvc")}',
            f'{CHANGES}.ByteOffset=0,ByteLength={SIZE},LimitId={limit},'
            f'Path={self.image}')
        self.assertRegex(text, rf'\b{7 * BLOCK}\b')
        result, out = self.call(
            service(POINTS, 'rpsvc'),
            f'DestroyReferencePoint.AffectedReferencePoint=localhost/{NS}:'
            + point)
        self.assertEqual(result, 4096)
        self.assertEqual(self.finished(out['Job'])['JobState'], '7')
        with self.assertRaisesRegex(Failure, 'Cim: \\(6'):
            self.cli('gi', point)

    def cli_lines(self, operation, path, *flags):
        """Objects, each as one text."""
        text = self.rig.wbemcli(operation, f'{NS}:{path}', flags=flags)
        return [line for line in text.splitlines() if f'/{NS}:' in line]

    def test_two_creates_give_two_points(self):
        """It numbers every request 4711."""
        self.assertNotEqual(self.create()['Job'], self.create()['Job'])

    def test_what_is_refused_changes_nothing(self):
        """Settings come as elements: it does not escape what it sends."""
        before = self.daemon.json('points', 'alpha')['points']
        for level, wanted in ('3', 4), ('1', 1):
            result, out = self.call(
                service(POINTS, 'rpsvc'), 'CreateReferencePoint.'
                "ReferencePointSettings=<INSTANCE CLASSNAME='Msvm_Virtual"
                "SystemReferencePointSettingData'><PROPERTY NAME='Consistency"
                f"Level' TYPE='uint8'><VALUE>{level}</VALUE></PROPERTY>"
                '</INSTANCE>,ReferencePointType=1,'
                f'AffectedSystem=localhost/{NS}:Msvm_ComputerSystem.'
                'CreationClassName="Msvm_ComputerSystem",'
                f'Name="{self.uuid}"')
            self.assertEqual((result, out), (wanted, {}))
        self.assertEqual(self.daemon.json('points', 'alpha')['points'],
                         before)

    def test_a_reader_makes_none(self):
        before = len(self.daemon.json('points', 'alpha')['points'])
        with self.assertRaisesRegex(Failure, 'Cim: \\(2'):
            self.rig.wbemcli(
                'cm', f'{NS}:{service(POINTS, "rpsvc")}',
                'CreateReferencePoint.ReferencePointType=1',
                user='bob:secret')
        self.assertEqual(
            len(self.daemon.json('points', 'alpha')['points']), before)


class Wsl(Served):
    """With nothing but wsl; what it keeps are files."""

    def value(self, text, name):
        return re.search(rf'<p:{name}>([^<]*)<', text)[1]

    def invoke(self, class_name, method, *arguments):
        text = self.rig.wsl('wslinvoke', f'{MS_URI}{NS}/{class_name}', method,
                            *arguments)
        self.assertIn(f'<p:{method}_OUTPUT', text)
        return text

    def finished(self, text):
        """The answer's job, once it is over."""
        job = re.search(r'<w:Selector Name="InstanceID">([^<]*)<',
                        text[text.index('<p:Job'):])[1]

        def over():
            text = self.rig.wsl(
                'wslenum', f'{MS_URI}{NS}/Msvm_ConcreteJob', '-opti', '100',
                '-filter', "SELECT * FROM Msvm_ConcreteJob WHERE "
                f"InstanceID='{job}'")
            self.assertEqual(text.count('<p:InstanceID>'), 1, text)
            return int(self.value(text, 'JobState')) > 4 and text
        return job, wait_until('the job to end', over)

    def test_a_point_from_its_making_to_its_end(self):
        settings = self.rig.write(
            'settings.xml', '<![CDATA[<INSTANCE CLASSNAME="Msvm_VirtualSystem'
            'ReferencePointSettingData"><PROPERTY NAME="ElementName" '
            'TYPE="string"><VALUE>by wsl</VALUE></PROPERTY></INSTANCE>]]>')
        text = self.invoke(
            POINTS, 'CreateReferencePoint', 'AffectedSystem=FILE:'
            + self.rig.wsl_epr('Msvm_ComputerSystem', self.uuid),
            'ReferencePointSettings=RFILE:' + settings,
            'ReferencePointType=1')
        self.assertEqual(self.value(text, 'ReturnValue'), '4096')
        job, text = self.finished(text)
        self.assertEqual(self.value(text, 'JobState'), '7')
        text = self.rig.wsl(
            'wslenum', f'{MS_URI}{NS}/*', '-opti', '100', '-dialect',
            'http://schemas.microsoft.com/wbem/wsman/1/WQL', '-filter',
            'ASSOCIATORS OF {Msvm_ConcreteJob.InstanceID="' + job + '"} WHERE '
            'AssocClass = CIM_AffectedJobElement')
        self.assertEqual(text.count('<p:VirtualSystemIdentifier>'), 1)
        self.assertEqual(self.value(text, 'ElementName'), 'by wsl')
        limit = self.value(text, 'ResilientChangeTrackingIdentifiers')
        point = self.value(text, 'InstanceID')
        self.write(5)
        text = self.invoke(IMAGES, CHANGES, f'Path={self.image}',
                           f'LimitId={limit}', 'ByteOffset=0',
                           f'ByteLength={SIZE}')
        self.assertEqual(self.value(text, 'ChangedByteOffsets'),
                         str(5 * BLOCK))
        text = self.invoke(
            POINTS, 'DestroyReferencePoint', 'AffectedReferencePoint=FILE:'
            + self.rig.wsl_epr('Msvm_VirtualSystemReferencePoint', point))
        self.assertEqual(self.value(text, 'ReturnValue'), '4096')
        _, text = self.finished(text)
        self.assertEqual(self.value(text, 'JobState'), '7')
        self.assertNotIn(point.lower(), [p['id'] for p in self.daemon.json(
            'points', 'alpha')['points']])


# ------------------------------------------------------------------- changes

class Changes(Served):
    def ask(self, at, limit, size=0, path=None, length=None, **kwargs):
        """The output's root, and how long the reply is."""
        header = size and (f'<w:MaxEnvelopeSize>{size}</w:MaxEnvelopeSize>')
        uri = f'{MS_URI}{NS}/{IMAGES}'
        reply = self.rig.soap(
            f'{uri}/{CHANGES}', uri,
            f'<p:{CHANGES}_INPUT xmlns:p="{uri}"><p:Path>'
            f'{path or self.image}</p:Path><p:LimitId>{limit}</p:LimitId>'
            f'<p:ByteOffset>{at}</p:ByteOffset><p:ByteLength>'
            f'{SIZE - at if length is None else length}</p:ByteLength>'
            f'</p:{CHANGES}_INPUT>', header=header or '', **kwargs)
        self.assertEqual(reply.status, 200, reply.text)
        output = ET.fromstring(reply.text).find(f's:Body/{{{uri}}}{CHANGES}'
                                                '_OUTPUT', NAMESPACES)
        return output, len(reply.body)

    @staticmethod
    def values(output, name):
        return [e.text for e in output if e.tag.endswith('}' + name)]

    def result(self, *args, **kwargs):
        output, _ = self.ask(*args, **kwargs)
        return int(self.values(output, 'ReturnValue')[0])

    def blocks_of(self, output):
        found = set()
        for offset, length in zip(self.values(output, 'ChangedByteOffsets'),
                                  self.values(output, 'ChangedByteLengths')):
            first, count = int(offset) // BLOCK, int(length) // BLOCK
            self.assertTrue(found.isdisjoint(range(first, first + count)))
            found.update(range(first, first + count))
        return found

    def test_both_protocols_tell_what_a_guest_wrote(self):
        _, limit = self.create()
        self.write(3, 4, 9, 30000)
        output, _ = self.ask(0, limit)
        self.assertEqual(self.values(output, 'ReturnValue'), ['0'])
        self.assertEqual(self.values(output, 'ProcessedByteLength'),
                         [str(SIZE)])
        self.assertEqual(self.blocks_of(output), {3, 4, 9, 30000})
        text = self.rig.wbemcli(
            'cm', f'{NS}:{IMAGES}.CreationClassName="{IMAGES}",'
            'Name="imgsvc",SystemCreationClassName="Msvm_ComputerSystem",'
            f'SystemName="{os.uname().nodename}"',
            f'{CHANGES}.ByteOffset=0,ByteLength={SIZE},LimitId={limit},'
            f'Path={self.image}')
        for number in 3 * BLOCK, 9 * BLOCK, 30000 * BLOCK, 2 * BLOCK, SIZE:
            self.assertRegex(text, rf'\b{number}\b')
        text = self.rig.wsl('wslinvoke', f'{MS_URI}{NS}/{IMAGES}', CHANGES,
                            f'Path={self.image}', f'LimitId={limit}',
                            'ByteOffset=0', f'ByteLength={SIZE}')
        self.assertIn(f'<p:ChangedByteOffsets>{3 * BLOCK}<', text)
        self.assertIn(f'<p:ProcessedByteLength>{SIZE}<', text)

    def test_nothing_changed_is_nothing_told(self):
        _, limit = self.create()
        output, _ = self.ask(0, limit)
        self.assertEqual(self.values(output, 'ReturnValue'), ['0'])
        self.assertEqual(self.blocks_of(output), set())
        self.assertEqual(self.result(SIZE - 1, limit), 0)
        self.assertEqual(self.result(SIZE, limit, length=1), 32773)
        self.assertEqual(self.result(0, limit, length=SIZE + 1), 32773)

    def test_what_is_not_known_is_an_error(self):
        point, limit = self.create()
        other, gone = self.create()
        self.daemon.cli('destroy', 'alpha', other)
        for wrong in gone, point, 'nonsense':
            self.assertEqual(self.result(0, wrong), 32773)
        self.assertEqual(
            self.result(0, limit, path=self.rig.path('b.raw'), length=MIB),
            32773)
        for path in '/etc/shadow', self.image + '/', '/nowhere':
            self.assertEqual(self.result(0, limit, path=path), 32779)

    def test_a_reader_may_ask(self):
        _, limit = self.create()
        self.assertEqual(self.result(0, limit, user='bob:secret'), 0)

    def test_a_system_that_is_not_served_answers(self):
        self.daemon.cli('create', 'beta')
        point = self.daemon.json('points', 'beta')['points'][-1]
        limit = point['disks'][0]['tracking_id']
        self.assertEqual(
            self.result(0, limit, path=self.rig.path('b.raw'), length=MIB),
            0)

    def test_a_long_list_comes_to_its_end(self):
        _, limit = self.create()
        count = SIZE // BLOCK // 2
        guest = self.guest()
        buffer = nbd.Buffer.from_bytearray(bytearray(os.urandom(BLOCK)))
        for n in range(count):
            guest.aio_pwrite(buffer, 2 * n * BLOCK, completion=lambda *_: 1)
            while guest.aio_in_flight() > 64:
                guest.poll(-1)
        while guest.aio_in_flight():
            guest.poll(-1)
        found, at, calls = set(), 0, 0
        begin = time.monotonic()
        while at < SIZE:
            output, length = self.ask(at, limit, 153600)
            self.assertLessEqual(length, 153600)
            told = self.blocks_of(output)
            self.assertTrue(found.isdisjoint(told))
            found |= told
            at += int(self.values(output, 'ProcessedByteLength')[0])
            calls += 1
        print(f'{count} ranges in {calls} calls of at most 153600 octets: '
              f'{time.monotonic() - begin:.2f} s')
        self.assertEqual(found, set(range(0, 2 * count, 2)))
        self.assertLess(calls, count / 1000)


if __name__ == '__main__':
    unittest.main()
