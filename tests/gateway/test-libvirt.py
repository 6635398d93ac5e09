#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A client that asks as libvirt's Hyper-V driver does.

Debian's libvirt is built without that driver, so this is ours.  What it has in
common with it: queries in WQL under Microsoft's URI of a namespace's "*",
nothing optimised and no MaxElements; one item for each Pull, under the URI of
the class, until the first that is another's; prefixes of replies as they stand
in its XPath; jobs polled by a query.
"""
import os
import re
import sys
import unittest
import xml.etree.ElementTree as ET
from xml.sax.saxutils import escape

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from rig import MS_URI, NAMESPACES, NS, Failure, Rig, need  # noqa: E402
from harness.process import wait_until  # noqa: E402

need('curl')
CIMV2 = 'root/cimv2'
ENUMERATION = NAMESPACES['n']
WQL = 'http://schemas.microsoft.com/wbem/wsman/1/WQL'
# Of Envelope, as the driver registers them from the reply.
PREFIXES = {'s': NAMESPACES['s'], 'a': NAMESPACES['a'],
            'w': NAMESPACES['w'], 'n': ENUMERATION}
SERVICE = 'Msvm_VirtualSystemReferencePointService'


class Driver:
    """The part of it that knows no test."""

    def __init__(self, rig):
        self.rig = rig

    def send(self, action, uri, body, selectors=None):
        """The body's root, or Failure with the fault's reason."""
        reply = self.rig.soap(action, uri, body, selectors)
        if reply.status not in (200, 400, 500):
            raise Failure(f'status {reply.status}')
        for prefix in 's', 'a', 'w', 'n':
            if f'xmlns:{prefix}="{PREFIXES[prefix]}"' not in reply.text:
                raise Failure(f'no prefix {prefix}: {reply.text[:500]}')
        root = ET.fromstring(reply.text)
        fault = root.find('s:Body/s:Fault/s:Reason/s:Text', PREFIXES)
        if fault is not None:
            raise Failure('fault: ' + fault.text)
        return root.find('s:Body', PREFIXES)

    def query(self, namespace, text):
        """Instances of the class in FROM, each as a dictionary."""
        name = re.search(r'(?i)(?:from|resultclass\s*=)\s+(\w+)', text)[1]
        every = f'{MS_URI}{namespace}/*'
        uri = f'{MS_URI}{namespace}/{name}'
        body = self.send(ENUMERATION + '/Enumerate', every,
                         f'<n:Enumerate><w:Filter Dialect="{WQL}">'
                         f'{escape(text)}</w:Filter></n:Enumerate>')
        context = body.findtext(
            'n:EnumerateResponse/n:EnumerationContext', None, PREFIXES)
        found = []
        while context:
            body = self.send(
                ENUMERATION + '/Pull', uri, '<n:Pull><n:EnumerationContext>'
                f'{context}</n:EnumerationContext></n:Pull>')
            response = body.find('n:PullResponse', PREFIXES)
            items = response.find('n:Items', PREFIXES)
            if items is None or not len(items):
                break
            if len(items) > 1:
                raise Failure('the second item of a Pull would be lost')
            if items[0].tag != f'{{{uri}}}{name}':
                break
            found.append({p.tag.split('}')[1]: p.text for p in items[0]})
            if response.find('n:EndOfSequence', PREFIXES) is not None:
                break
            context = response.findtext('n:EnumerationContext', context,
                                        PREFIXES)
        return found

    def invoke(self, name, selectors, method, parameters):
        """The output's root."""
        uri = f'{MS_URI}{NS}/{name}'
        body = self.send(f'{uri}/{method}', uri,
                         f'<p:{method}_INPUT xmlns:p="{uri}">{parameters}'
                         f'</p:{method}_INPUT>', selectors)
        return body.find(f'p:{method}_OUTPUT', {'p': uri}), {'p': uri,
                                                             **PREFIXES}

    def reference(self, name, selectors):
        chosen = ''.join(f'<w:Selector Name="{k}">{v}</w:Selector>'
                         for k, v in selectors.items())
        return (f'<a:Address>{NAMESPACES["a"]}/role/anonymous</a:Address>'
                '<a:ReferenceParameters><w:ResourceURI>'
                f'{MS_URI}{NS}/{name}</w:ResourceURI><w:SelectorSet>{chosen}'
                '</w:SelectorSet></a:ReferenceParameters>')


class Host(unittest.TestCase):
    def setUp(self):
        self.rig = Rig()
        self.addCleanup(self.rig.close)
        self.rig.start()
        self.driver = Driver(self.rig)

    def test_it_is_opened(self):
        system, = self.driver.query(CIMV2,
                                    'SELECT * FROM Win32_ComputerSystem')
        self.assertTrue(system['DNSHostName'])
        product, = self.driver.query(
            CIMV2, 'select * from Win32_ComputerSystemProduct ')
        self.assertRegex(product['UUID'], r'^[0-9A-Fa-f-]{36}$')
        os_, = self.driver.query(CIMV2, 'SELECT * FROM Win32_OperatingSystem')
        self.assertRegex(os_['Version'], r'^\d+\.\d+\.\d+')
        processors = self.driver.query(
            CIMV2, 'ASSOCIATORS OF {Win32_ComputerSystem.Name='
            f'"{system["Name"]}"}} WHERE AssocClass = '
            'Win32_ComputerSystemProcessor ResultClass = Win32_Processor')
        self.assertTrue(processors)
        self.assertGreater(int(processors[0]['NumberOfCores']), 0)


class Scene(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.rig = Rig(daemon=True)
        cls.addClassCleanup(cls.rig.close)
        for name in 'one', 'two', 'three':
            cls.rig.daemon.cli('define', name, '--disk',
                               'root=' + cls.rig.image(name + '.raw', 16))
        cls.rig.daemon.cli('serve', 'one')
        cls.rig.start()
        cls.driver = Driver(cls.rig)

    def systems(self, where=''):
        return self.driver.query(
            NS, 'SELECT * FROM Msvm_ComputerSystem WHERE Description = '
            '"Microsoft Virtual Machine" ' + where)

    def uuid(self, name):
        return self.rig.daemon.status(name)['uuid'].upper()


class Systems(Scene):
    def test_virtual_systems_are_listed_and_found(self):
        self.assertEqual(sorted(s['ElementName'] for s in self.systems()),
                         ['one', 'three', 'two'])
        host, = self.driver.query(
            NS, 'select * from Msvm_ComputerSystem where Description = '
            '"Microsoft Hosting Computer System"')
        self.assertNotIn(host['Name'], [s['Name'] for s in self.systems()])
        for where in (f'AND Name = "{self.uuid("two")}"',
                      f'and Name = "{self.uuid("two").lower()}"',
                      'AND ElementName = "two"'):
            two, = self.systems(where)
            self.assertEqual(two['Name'], self.uuid('two'))
        self.assertEqual(self.systems('AND ElementName = "four"'), [])
        # nobody writes: none of them runs
        self.assertEqual(self.systems('AND EnabledState = 2'), [])
        self.assertEqual(len(self.systems(
            'AND (EnabledState != 2 AND EnabledState != 32768)')), 3)

    def test_refpointd_may_be_restarted_behind_it(self):
        before = self.systems()
        self.rig.daemon.kill()
        with self.assertRaisesRegex(Failure, 'fault: .*refpointd'):
            self.systems()
        self.rig.daemon.start()
        self.assertEqual(self.systems(), before)

    def test_settings_and_disks_are_found(self):
        settings, = self.driver.query(
            NS, 'ASSOCIATORS OF {Msvm_ComputerSystem.CreationClassName='
            f'"Msvm_ComputerSystem",Name="{self.uuid("one")}"}} WHERE '
            'AssocClass = Msvm_SettingsDefineState ResultClass = '
            'Msvm_VirtualSystemSettingData')
        self.assertEqual(settings['ElementName'], 'one')
        disk, = self.driver.query(
            NS, 'ASSOCIATORS OF {Msvm_VirtualSystemSettingData.InstanceID="'
            f'{settings["InstanceID"]}"}} WHERE AssocClass = '
            'Msvm_VirtualSystemSettingDataComponent ResultClass = '
            'Msvm_StorageAllocationSettingData')
        self.assertEqual(disk['HostResource'], self.rig.path('one.raw'))


class Jobs(Scene):
    def test_a_method_starts_a_job_which_is_polled(self):
        output, p = self.driver.invoke(
            SERVICE, {}, 'CreateReferencePoint', '<p:AffectedSystem>' +
            self.driver.reference('Msvm_ComputerSystem', {
                'CreationClassName': 'Msvm_ComputerSystem',
                'Name': self.uuid('one')}) +
            '</p:AffectedSystem><p:ReferencePointSettings><![CDATA['
            '<INSTANCE CLASSNAME="Msvm_VirtualSystemReferencePointSettingData"'
            '><PROPERTY NAME="ConsistencyLevel" TYPE="uint8"><VALUE>2</VALUE>'
            '</PROPERTY></INSTANCE>]]></p:ReferencePointSettings>'
            '<p:ReferencePointType>1</p:ReferencePointType>')
        self.assertEqual(output.findtext('p:ReturnValue', None, p), '4096')
        identity = output.findtext(
            'p:Job/a:ReferenceParameters/w:SelectorSet/'
            "w:Selector[@Name='InstanceID']", None, p)
        text = ('Select * from Msvm_ConcreteJob where InstanceID = '
                f'"{identity}"')

        def done():
            job, = self.driver.query(NS, text)
            self.assertIn(job['JobState'], ('4', '7'), job)
            return job['JobState'] == '7'

        wait_until('the job to be done', done, interval=0.1)
        self.assertEqual(len(self.rig.daemon.json('points', 'one')['points']),
                         1)
        # in the name of who called
        with open(self.rig.daemon.log, encoding='utf-8') as f:
            self.assertRegex(f.read(), 'audit method=CreateJob .*'
                             'role=gateway .*caller="alice" '
                             'caller_role=operator')


if __name__ == '__main__':
    unittest.main(verbosity=2)
