#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Each program of wsl, on the host's own objects and on a virtual system."""
import os
import re
import sys
import unittest
import xml.etree.ElementTree as ET

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from rig import DMTF_URI, MS_URI, NS, Rig, need  # noqa: E402

need('wslid', 'wslecn', 'wslenum', 'wslget', 'wslput', 'wslinvoke', 'uuidgen',
     'xmllint')
SERVICE = 'Msvm_VirtualSystemReferencePointService'


class Wsl(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.rig = Rig(daemon=True)
        cls.addClassCleanup(cls.rig.close)
        cls.rig.daemon.cli('define', 'guest', '--disk',
                           'd=' + cls.rig.image('d.img'))
        cls.rig.start()
        cls.name = cls.rig.daemon.status('guest')['uuid'].upper()

    def test_wslid(self):
        self.assertIn('<wsmid:ProductVendor>refpoint<',
                      self.rig.wsl('wslid', 'check'))

    def test_wslecn_lists_classes_and_tells_one(self):
        names = re.findall(r'<p:name>(\w+)<', self.rig.wsl('wslecn', 'check'))
        self.assertIn(SERVICE, names)
        self.assertIn('CIM_ManagedElement', names)
        self.assertEqual(len(names), len(set(names)))
        text = self.rig.wsl('wslecn', 'getclass', SERVICE)
        found = ET.fromstring(re.search(r'<CLASS .*</CLASS>', text, re.S)[0])
        self.assertEqual(found.get('SUPERCLASS'), 'CIM_Service')
        self.assertIn('CreateReferencePoint',
                      [m.get('NAME') for m in found.iterfind('METHOD')])
        self.assertIn('there is no class', self.rig.wsl(
            'wslecn', 'getclass', 'Msvm_Nothing', check=False))

    def test_wslenum_gives_objects_and_references(self):
        for uri in MS_URI + NS + '/', DMTF_URI:
            uri += 'Msvm_ComputerSystem'
            text = self.rig.wsl('wslenum', uri, '-ns', NS)
            self.assertIn(f'<p:Name>{self.name}<', text)
            for mode in 'epr', 'objepr':
                text = self.rig.wsl('wslenum', uri, '-ns', NS, '-mode', mode,
                                    '-opti', '100')
                self.assertIn(f'<w:Selector Name="Name">{self.name}<', text)
                self.assertEqual('<p:ElementName>guest<' in text,
                                 mode == 'objepr')

    def test_wslget(self):
        text = self.rig.wsl('wslget', f'{MS_URI}{NS}/Msvm_ComputerSystem',
                            'CreationClassName=Msvm_ComputerSystem',
                            f'Name={self.name}')
        self.assertIn('<p:ElementName>guest<', text)

    def test_wslput_changes_nothing(self):
        text = self.rig.wsl('wslput', f'{MS_URI}{NS}/{SERVICE}',
                            'ElementName=mine', '-fragment', check=False)
        self.assertRegex(text, 'NotSupported|NotUnderstood|UnsupportedFeature')
        self.assertNotIn('mine', self.rig.wsl('wslenum',
                                              f'{MS_URI}{NS}/{SERVICE}'))

    def test_wslinvoke_is_answered_by_the_method(self):
        text = self.rig.wsl('wslinvoke', f'{MS_URI}{NS}/{SERVICE}',
                            'StartService')
        self.assertRegex(text, r'<p:ReturnValue>[1-9]\d*<')


if __name__ == '__main__':
    unittest.main(verbosity=2)
