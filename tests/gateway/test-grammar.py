#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every class of every namespace as real providers tell it, held to the grammar
of CIM-XML: classes, instances, their names, and what each is associated with.
"""
import importlib.util
import os
import sys
import unittest
import xml.etree.ElementTree as ET

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from hyperv import Session  # noqa: E402
from rig import NS, Rig, need  # noqa: E402

need('xmllint')
CIMXML = os.path.join(HERE, '..', 'cimxml')
GRAMMAR = os.path.join(CIMXML, 'reply.rng')
NAMESPACES = (NS, 'root/interop', 'root/cimv2')
WALKS = ('Associators', 'AssociatorNames', 'References', 'ReferenceNames')


def judge(files):
    spec = importlib.util.spec_from_file_location(
        'grammar', os.path.join(CIMXML, 'test-grammar.py'))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.judge(GRAMMAR, files)


class Client:
    """One connection; keeps each reply in a file."""

    def __init__(self, rig):
        self.connection = rig.kept('cimxml')
        self.directory = rig.path('replies')
        self.files = []
        os.mkdir(self.directory)

    def call(self, ns, method, parameters):
        names = ''.join(f'<NAMESPACE NAME="{n}"/>' for n in ns.split('/'))
        given = ''.join(f'<IPARAMVALUE NAME="{k}">{v}</IPARAMVALUE>'
                        for k, v in parameters.items())
        _, text = self.connection.post(
            '/cimom',
            '<CIM CIMVERSION="2.0" DTDVERSION="2.0"><MESSAGE ID="1" '
            'PROTOCOLVERSION="1.0"><SIMPLEREQ><IMETHODCALL '
            f'NAME="{method}"><LOCALNAMESPACEPATH>{names}'
            f'</LOCALNAMESPACEPATH>{given}</IMETHODCALL></SIMPLEREQ>'
            '</MESSAGE></CIM>',
            {'Content-Type': 'application/xml; charset="utf-8"',
             'CIMOperation': 'MethodCall', 'CIMMethod': method,
             'CIMObject': ns})
        path = os.path.join(self.directory, f'{len(self.files)}.xml')
        with open(path, 'wb') as f:
            f.write(text)
        self.files.append(path)
        return ET.fromstring(text)


class Grammar(unittest.TestCase):
    def test_all_that_there_is(self):
        with Rig(daemon=True) as rig:
            rig.daemon.cli('define', 'guest', '--disk',
                           'd=' + rig.image('d.img'))
            rig.start()
            self.make_a_job(rig)
            client = Client(rig)
            self.addCleanup(client.connection.close)
            instances = sum(self.tell(client, ns) for ns in NAMESPACES)
            complaints = judge(client.files)
            self.assertEqual(complaints[:10], [])
            print(f'{len(client.files)} replies, {instances} instances')
            self.assertGreater(len(client.files), 200)
            self.assertGreater(instances, 20)

    def make_a_job(self, rig):
        session = Session(rig)
        self.addCleanup(session.close)
        service = 'Msvm_VirtualSystemReferencePointService'
        row = session.query(f'SELECT * FROM {service}', service)[0]
        keys = {k: row[k] for k in ('SystemCreationClassName', 'SystemName',
                                    'CreationClassName', 'Name')}
        name = rig.daemon.status('guest')['uuid'].upper()
        out = session.invoke(
            (service, keys), 'CreateReferencePoint', ReferencePointType=1,
            AffectedSystem=('Msvm_ComputerSystem', {
                'CreationClassName': 'Msvm_ComputerSystem', 'Name': name}))
        self.assertEqual(out['ReturnValue'], '4096')

    def tell(self, client, ns):
        """How many instances there are."""
        classes = client.call(ns, 'EnumerateClassNames',
                              {'DeepInheritance': '<VALUE>TRUE</VALUE>'})
        found = 0
        for element in classes.iter('CLASSNAME'):
            asked = {'ClassName': f'<CLASSNAME NAME="{element.get("NAME")}"/>'}
            client.call(ns, 'GetClass', asked)
            client.call(ns, 'EnumerateInstances', asked)
            names = client.call(ns, 'EnumerateInstanceNames', asked)
            for name in names.iter('INSTANCENAME'):
                if name.get('CLASSNAME') != element.get('NAME'):
                    continue  # of a subclass, told there
                found += 1
                given = ET.tostring(name, encoding='unicode')
                client.call(ns, 'GetInstance', {'InstanceName': given})
                for walk in WALKS:
                    client.call(ns, walk, {'ObjectName': given})
        return found


if __name__ == '__main__':
    unittest.main(verbosity=2)
