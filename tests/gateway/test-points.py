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
SIZE = 256 * MIB
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
            with open(path, 'wb') as f:
                f.truncate(size)
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
        self.write(3, 4, 9, 60000)
        output, _ = self.ask(0, limit)
        self.assertEqual(self.values(output, 'ReturnValue'), ['0'])
        self.assertEqual(self.values(output, 'ProcessedByteLength'),
                         [str(SIZE)])
        self.assertEqual(self.blocks_of(output), {3, 4, 9, 60000})
        text = self.rig.wbemcli(
            'cm', f'{NS}:{IMAGES}.CreationClassName="{IMAGES}",'
            'Name="imgsvc",SystemCreationClassName="Msvm_ComputerSystem",'
            f'SystemName="{os.uname().nodename}"',
            f'{CHANGES}.ByteOffset=0,ByteLength={SIZE},LimitId={limit},'
            f'Path={self.image}')
        for number in 3 * BLOCK, 9 * BLOCK, 60000 * BLOCK, 2 * BLOCK, SIZE:
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
