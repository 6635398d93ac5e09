#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What clients of Hyper-V rely on, one test for each rule, on a guest's disks
that a writer is connected to.

The rules, with who needs each, are those of docs/clients.md: C1 one instance of
each service; C2 a job with every 4096; C3 one row of what a job made; C4
associations by any class; C6 paths that stay; C7 parallel arrays; C8 disks
found by their ids; C10, C11 GetVirtualDiskChanges; C12 errors that say
something; C13 names without case; C15 filters; C16 types; C17 no events.
"""
import os
import signal
import sys
import unittest
import xml.etree.ElementTree as ET

import nbd

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hyperv import (ANONYMOUS, MS, NS, Fault, Session,  # noqa: E402
                    settings)
from rig import Rig  # noqa: E402
from harness.refpoint import kill_now  # noqa: E402

MIB = 1 << 20
SIZE = 64 * MIB
POINT = 'Msvm_VirtualSystemReferencePoint'
SERVICE = 'Msvm_VirtualSystemReferencePointService'
SERVICES = (SERVICE, 'Msvm_VirtualSystemSnapshotService',
            'Msvm_VirtualSystemManagementService',
            'Msvm_ImageManagementService')
DISK = 'Msvm_StorageAllocationSettingData'


class Rules(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.rig = Rig(daemon=True)
        try:
            daemon = cls.rig.daemon
            cls.images = [cls.rig.image(f'disk{i}.img') for i in (0, 1)]
            daemon.cli('define', 'guest', '--disk', f'system={cls.images[0]}',
                       '--disk', f'data={cls.images[1]}')
            daemon.cli('define', 'other', '--disk',
                       'd=' + cls.rig.image('other.img'))
            daemon.cli('serve', 'guest')
            cls.status = daemon.wait_serving('guest')
            cls.name = cls.status['uuid'].upper()
            cls.rig.start()
        except Exception:
            cls.rig.close()
            raise

    @classmethod
    def tearDownClass(cls):
        cls.rig.close()

    def setUp(self):
        self.session = Session(self.rig)
        self.addCleanup(self.session.close)
        self.vm = ('Msvm_ComputerSystem',
                   {'CreationClassName': 'Msvm_ComputerSystem',
                    'Name': self.name})
        self.vm_path = (f'Msvm_ComputerSystem.CreationClassName='
                        f'"Msvm_ComputerSystem",Name="{self.name}"')

    # ----------------------------------------------------------- what all do

    def service(self, class_name=SERVICE):
        rows = self.session.query(f'SELECT * FROM {class_name}', class_name)
        self.assertEqual(len(rows), 1, class_name)
        keys = ('SystemCreationClassName', 'SystemName', 'CreationClassName',
                'Name')
        return class_name, {k: rows[0][k] for k in keys}

    def create(self, vm=None, **parameters):
        """CreateReferencePoint, waited for: the job and the point."""
        parameters.setdefault('ReferencePointType', 1)
        out = self.session.invoke(
            self.service(), 'CreateReferencePoint',
            AffectedSystem=vm or self.vm,
            ReferencePointSettings=settings(POINT + 'SettingData',
                                            ConsistencyLevel=2), **parameters)
        self.assertEqual(out['ReturnValue'], '4096', out)
        states, job = self.session.wait(out['Job'])
        self.assertEqual(job['JobState'], '7', job)
        points = self.session.associators(
            out['Job'].path(), POINT, 'CIM_AffectedJobElement')
        self.assertEqual(len(points), 1)
        return out['Job'], points[0]

    def destroy(self, point):
        out = self.session.invoke(self.service(), 'DestroyReferencePoint',
                                  AffectedReferencePoint=self.key(point))
        self.assertEqual(out['ReturnValue'], '4096', out)
        self.assertEqual(self.session.wait(out['Job'])[1]['JobState'], '7')

    @staticmethod
    def key(point):
        return (POINT, {k: point[k] for k in ('InstanceID',
                                              'VirtualSystemIdentifier')})

    def write(self, disk, offset, length):
        h = nbd.NBD()
        h.connect_uri(self.status['disks'][disk]['nbd_uri'])
        h.pwrite(os.urandom(length), offset)
        h.shutdown()

    def changes(self, path, limit, **parameters):
        parameters = {'TargetSnapshotId': '', 'ByteOffset': 0,
                      'ByteLength': SIZE, **parameters}
        return self.session.invoke(
            self.service('Msvm_ImageManagementService'),
            'GetVirtualDiskChanges', Path=path, LimitId=limit, **parameters)

    def codes(self, method):
        """ValueMap and Values of a method, from GetClass."""
        names = ''.join(f'<NAMESPACE NAME="{n}"/>' for n in NS.split('/'))
        reply = self.rig.curl(
            'cimxml', '-H', 'CIMOperation: MethodCall', '-H',
            'CIMMethod: GetClass', '-H', 'CIMObject: ' + NS, data=(
                '<CIM CIMVERSION="2.0" DTDVERSION="2.0"><MESSAGE ID="1" '
                'PROTOCOLVERSION="1.0"><SIMPLEREQ><IMETHODCALL '
                f'NAME="GetClass"><LOCALNAMESPACEPATH>{names}'
                '</LOCALNAMESPACEPATH><IPARAMVALUE NAME="ClassName">'
                f'<CLASSNAME NAME="{SERVICE}"/></IPARAMVALUE><IPARAMVALUE '
                'NAME="IncludeQualifiers"><VALUE>TRUE</VALUE></IPARAMVALUE>'
                '</IMETHODCALL></SIMPLEREQ></MESSAGE></CIM>').encode())
        found = ET.fromstring(reply.text).find(f".//METHOD[@NAME='{method}']")
        texts = [[v.text for v in found.iterfind(
            f"QUALIFIER[@NAME='{name}']/VALUE.ARRAY/VALUE")]
            for name in ('ValueMap', 'Values')]
        self.assertEqual(len(texts[0]), len(texts[1]))
        return dict(zip(*texts))

    def extents(self, out):
        return list(zip(map(int, out.list('ChangedByteOffsets')),
                        map(int, out.list('ChangedByteLengths'))))

    # ------------------------------------------------------------- the rules

    def test_C1_each_service_has_one_instance(self):
        for class_name in SERVICES:
            self.service(class_name)

    def test_C2_what_was_accepted_has_a_job_that_is_running_or_over(self):
        out = self.session.invoke(self.service(), 'CreateReferencePoint',
                                  AffectedSystem=self.vm,
                                  ReferencePointSettings=None,
                                  ReferencePointType=1)
        self.assertEqual(out['ReturnValue'], '4096')
        states, _ = self.session.wait(out['Job'])
        self.assertLessEqual(set(states), {4, 7}, states)
        point = self.session.associators(out['Job'].path(), POINT)[0]
        out = self.session.invoke(self.service(), 'DestroyReferencePoint',
                                  AffectedReferencePoint=self.key(point))
        self.assertEqual(out['ReturnValue'], '4096')
        states, _ = self.session.wait(out['Job'])
        self.assertLessEqual(set(states), {4, 7}, states)

    def test_C3_a_job_has_one_row_and_keeps_it_over_restarts(self):
        job, point = self.create()
        for _ in range(2):
            rows = self.session.associators(job.path(), POINT)
            self.assertEqual([r['InstanceID'] for r in rows],
                             [point['InstanceID']])
            links = self.session.query(
                f'REFERENCES OF {{{job.path()}}} WHERE ResultClass = '
                'Msvm_AffectedJobElement', 'Msvm_AffectedJobElement')
            self.assertEqual([r.list('ElementEffects') for r in links],
                             [['5']])
            # five minutes, as WS-CIM writes an interval
            self.assertRegex(self.session.wait(job)[1]['TimeBeforeRemoval'],
                             r'^P0*DT0*H0*5M0*(\.0*)?S$')
            self.rig.daemon.kill()
            self.rig.daemon.start()
            self.rig.restart()
        self.destroy(point)

    def test_C4_associations_are_found_by_any_of_their_classes(self):
        job, point = self.create()
        for assoc in (None, 'CIM_AffectedJobElement',
                      'Msvm_AffectedJobElement'):
            rows = self.session.associators(job.path(), POINT, assoc)
            self.assertEqual([r['InstanceID'] for r in rows],
                             [point['InstanceID']], assoc)
        for assoc in (None, 'CIM_Dependency',
                      'Msvm_ReferencePointOfVirtualSystem'):
            rows = self.session.associators(self.vm_path, POINT, assoc)
            self.assertIn(point['InstanceID'],
                          [r['InstanceID'] for r in rows], assoc)
        for result in ('Msvm_VirtualSystemSettingData',
                       'CIM_VirtualSystemSettingData'):
            rows = self.session.query(
                f'ASSOCIATORS OF {{{self.vm_path}}} WHERE AssocClass = '
                f'Msvm_SettingsDefineState ResultClass = {result}', result)
            self.assertEqual(len(rows), 1, result)
        self.destroy(point)

    def test_C6_a_points_path_stays_whatever_host_it_names(self):
        _, point = self.create()
        keys = self.key(point)[1]
        self.rig.daemon.kill()
        self.rig.daemon.start()
        self.rig.restart()
        again = self.session.get(POINT, keys)
        self.assertEqual(dict(again), dict(point))
        path = f'{POINT}.' + ','.join(f'{k}="{v}"'
                                      for k, v in reversed(keys.items()))
        for host in ('.', 'SOME-HOST', 'some-host'):
            rows = self.session.associators(
                fr'\\{host}\root\virtualization\v2:{path}',
                'Msvm_ComputerSystem')
            self.assertEqual([r['Name'] for r in rows], [self.name], host)
        self.destroy(again)

    def test_C7_a_points_disks_and_tracking_ids_are_parallel(self):
        _, point = self.create()
        disks = point.list('VirtualDiskIdentifiers')
        ids = point.list('ResilientChangeTrackingIdentifiers')
        self.assertEqual(len(disks), 2)
        self.assertEqual(len(set(ids)), 2)
        self.write(1, 5 * MIB, 4096)
        for disk, limit, image, expected in zip(
                disks, ids, self.images, ([], [(5 * MIB, 4096)])):
            rows = self.session.query(
                'SELECT * FROM {} WHERE InstanceID = \'{}\''.format(
                    DISK, disk.replace('\\', '\\\\')), DISK)
            self.assertEqual(rows[0].list('HostResource'), [image])
            self.assertRegex(limit, r'^rctX:[0-9a-f:]{36}:[0-9a-f]{8}$')
            self.assertEqual(self.extents(self.changes(image, limit)),
                             expected)
        self.destroy(point)

    def test_C8_a_disk_is_found_by_its_id(self):
        _, point = self.create()
        for disk, image in zip(point.list('VirtualDiskIdentifiers'),
                               self.images):
            self.assertIn('\\', disk)
            for quote in '\'"':
                rows = self.session.query(
                    f'select * from {DISK} where InstanceID={quote}'
                    + disk.replace('\\', '\\\\') + quote, DISK)
                self.assertEqual(len(rows), 1, disk)
                self.assertEqual(rows[0].list('HostResource')[0], image)
            self.assertEqual(
                self.session.get(DISK, {'InstanceID': disk})['InstanceID'],
                disk)
        self.destroy(point)

    def test_C10_the_whole_disk_in_one_call(self):
        _, point = self.create()
        limit = point.list('ResilientChangeTrackingIdentifiers')[0]
        self.write(0, 0, 8192)
        self.write(0, SIZE - 4096, 512)
        expected = [(0, 8192), (SIZE - 4096, 4096)]
        for target in ('', None):
            out = self.changes(self.images[0], limit, TargetSnapshotId=target)
            self.assertEqual(out['ReturnValue'], '0', out)
            self.assertEqual(int(out['ProcessedByteLength']), SIZE)
            self.assertEqual(self.extents(out), expected)
            self.assertIsNone(out.get('Job'))
        out = self.changes(self.images[0], limit, ByteOffset=MIB,
                           ByteLength=SIZE - MIB)
        self.assertEqual(self.extents(out), expected[1:])
        self.destroy(point)

    def test_C11_a_baseline_that_is_not_known_is_an_error(self):
        _, point = self.create()
        limit = point.list('ResilientChangeTrackingIdentifiers')
        unknown = 'rctX:5bfde23b:ce75:4303:b54f:6c18394f105c:00000001'
        for wrong in (unknown, 'rctX:', '', limit[1], None):
            out = self.changes(self.images[0], wrong)
            self.assertEqual(out['ReturnValue'], '32773', wrong)
        for path in ('/etc/shadow', '/nowhere', self.images[0] + 'x'):
            self.assertEqual(self.changes(path, limit[0])['ReturnValue'],
                             '32779', path)
        self.destroy(point)
        self.assertEqual(
            self.changes(self.images[0], limit[0])['ReturnValue'], '32773')

    def test_C12_methods_say_what_their_codes_mean(self):
        codes = self.codes('CreateReferencePoint')
        self.assertEqual((codes['0'], codes['4'], codes['4096']),
                         ('Completed with No Error', 'Invalid Parameter',
                          'Method Parameters Checked - Job Started'))
        self.assertEqual(self.codes('DestroyReferencePoint')['32775'],
                         'Invalid state for this operation')
        out = self.session.invoke(self.service(), 'CreateReferencePoint',
                                  AffectedSystem=self.vm,
                                  ReferencePointSettings='no instance',
                                  ReferencePointType=1)
        self.assertEqual(out['ReturnValue'], '4')
        job, point = self.create()
        for method, error in (('GetError', 'Error'), ('GetErrorEx', 'Errors')):
            out = self.session.invoke(job, method)
            self.assertEqual(out['ReturnValue'], '0')
            self.assertIsNone(out.get(error))
        self.destroy(point)

    def test_C12_a_job_that_failed_says_why(self):
        worker = self.rig.daemon.worker_pid('guest')
        os.kill(worker, signal.SIGSTOP)
        try:
            out = self.session.invoke(
                self.service(), 'CreateReferencePoint', AffectedSystem=self.vm,
                ReferencePointType=1)
        finally:
            kill_now(worker)
        self.assertEqual(out['ReturnValue'], '4096')
        states, job = self.session.wait(out['Job'])
        self.assertEqual((states[-1], job['ErrorCode']), (10, '2'))
        self.assertTrue(job['ErrorDescription'])
        self.assertTrue(job['ErrorSummaryDescription'])
        self.assertEqual(self.session.associators(out['Job'].path(), POINT),
                         [])
        for method, error in (('GetError', 'Error'), ('GetErrorEx', 'Errors')):
            said = self.session.invoke(out['Job'], method)
            self.assertEqual(said['ReturnValue'], '0')
            found = ET.fromstring(said.list(error)[0])
            self.assertEqual(found.get('CLASSNAME'), 'Msvm_Error')
            texts = {p.get('NAME'): p.findtext('VALUE')
                     for p in found.iterfind('PROPERTY')}
            self.assertEqual(texts['Message'], job['ErrorDescription'])
        self.rig.daemon.wait_serving('guest', not_pid=worker)

    def test_a_reference_of_another_namespace_is_another_object(self):
        for ns in ('root/cimv2', 'root/foo'):
            uri = f'{MS}{NS}/{SERVICE}'
            keys = ''.join(f'<w:Selector Name="{k}">{v}</w:Selector>'
                           for k, v in self.vm[1].items())
            root = self.session.send(
                f'{uri}/CreateReferencePoint', uri,
                f'<p:CreateReferencePoint_INPUT xmlns:p="{uri}">'
                f'<p:AffectedSystem><a:Address>{ANONYMOUS}</a:Address>'
                f'<a:ReferenceParameters><w:ResourceURI>{MS}{ns}/'
                'Msvm_ComputerSystem</w:ResourceURI><w:SelectorSet>'
                f'{keys}</w:SelectorSet></a:ReferenceParameters>'
                '</p:AffectedSystem><p:ReferencePointType>1'
                '</p:ReferencePointType></p:CreateReferencePoint_INPUT>')
            self.assertEqual(root.findtext(f'.//{{{uri}}}ReturnValue'), '4',
                             ns)

    def test_C13_names_have_no_case(self):
        class_name, keys = self.service()
        out = self.session.invoke(
            (class_name.upper(), {k.lower(): v for k, v in keys.items()}),
            'createreferencepoint', affectedsystem=(
                'msvm_computersystem', {'name': self.name.lower(),
                                        'creationclassname':
                                        'msvm_computersystem'}),
            REFERENCEPOINTTYPE=1)
        self.assertEqual(out['ReturnValue'], '4096', out)
        point = self.session.associators(out['Job'].path(), POINT)[0]
        self.destroy(point)

    def test_C15_points_are_found_by_what_identifies_them(self):
        _, first = self.create()
        _, second = self.create()
        for where, expected in (
                (f"VirtualSystemIdentifier='{self.name}'", {first['InstanceID'],
                                                           second['InstanceID']}),
                (f"InstanceID='{second['InstanceID']}'",
                 {second['InstanceID']}),
                (f"InstanceID='{second['InstanceID'].lower()}' AND "
                 f"VirtualSystemIdentifier='{self.name.lower()}'",
                 {second['InstanceID']}),
                ("VirtualSystemIdentifier='none'", set())):
            rows = self.session.query(f'SELECT * FROM {POINT} WHERE {where}',
                                      POINT)
            self.assertEqual({r['InstanceID'] for r in rows}, expected, where)
        self.destroy(first)
        self.destroy(second)

    def test_C16_zero_is_by_a_log_one_by_tracking_and_two_is_no_type(self):
        before = len(self.rig.daemon.json('points', 'guest')['points'])
        for number, code in ((2, '6'), (65535, '6')):
            out = self.session.invoke(self.service(), 'CreateReferencePoint',
                                      AffectedSystem=self.vm,
                                      ReferencePointSettings=None,
                                      ReferencePointType=number)
            self.assertEqual(out['ReturnValue'], code, number)
            self.assertIsNone(out.get('Job'))
        self.assertEqual(
            len(self.rig.daemon.json('points', 'guest')['points']), before)
        for number, kind, data in (0, '1', 'true'), (1, '2', 'false'):
            _, point = self.create(ReferencePointType=number)
            self.assertEqual(point['ReferencePointType'], kind)
            self.assertEqual(point['HasAssociatedData'], data)
            self.assertEqual(point['ConsistencyLevel'], '2')
            self.destroy(point)

    def test_C17_nobody_can_subscribe(self):
        with self.assertRaises(Fault) as caught:
            self.session.send(
                'http://schemas.xmlsoap.org/ws/2004/08/eventing/Subscribe',
                'http://schemas.microsoft.com/wbem/wsman/1/wmi/'
                'root/virtualization/v2/*', '')
        self.assertEqual(caught.exception.subcode, 'ActionNotSupported')

    # -------------------------------------------------- clients from end to end

    def test_as_one_swap_takes_a_point(self):
        """By the difference of two lists, with what it asserts of a point."""
        where = (f"SELECT * FROM {POINT} WHERE "
                 f"VirtualSystemIdentifier='{self.name}'")
        before = {p['InstanceID'] for p in self.session.query(where, POINT)}
        self.create()
        new = [p for p in self.session.query(where, POINT)
               if p['InstanceID'] not in before]
        self.assertEqual(len(new), 1)
        self.assertEqual(new[0]['ReferencePointType'], '2')
        self.assertEqual(new[0]['HasAssociatedData'], 'false')
        disks = new[0].list('VirtualDiskIdentifiers')
        limits = new[0].list('ResilientChangeTrackingIdentifiers')
        self.assertEqual(len(disks), len(limits))
        self.assertTrue(all(limits))
        for image, limit in zip(self.images, limits):
            # in chunks, the first one byte short of the disk
            out = self.changes(image, limit, ByteLength=SIZE - 1)
            self.assertEqual(out['ReturnValue'], '0')
            self.assertGreaterEqual(int(out['ProcessedByteLength']), SIZE - 1)
        self.destroy(new[0])

    def test_as_bareos_finds_its_old_point(self):
        """By the path that it saved; the others are destroyed."""
        _, old = self.create()
        _, new = self.create()
        again = self.session.get(POINT, self.key(old)[1])
        self.assertEqual(len(again.list('VirtualDiskIdentifiers')),
                         len(again.list('ResilientChangeTrackingIdentifiers')))
        rows = self.session.associators(
            self.vm_path, POINT, 'Msvm_ReferencePointOfVirtualSystem')
        for point in rows:
            if point['InstanceID'] != new['InstanceID']:
                self.destroy(point)
        rows = self.session.associators(
            self.vm_path, POINT, 'Msvm_ReferencePointOfVirtualSystem')
        self.assertEqual([r['InstanceID'] for r in rows], [new['InstanceID']])
        with self.assertRaises(Fault):
            self.session.get(POINT, self.key(old)[1])
        out = self.session.invoke(self.service(), 'DestroyReferencePoint',
                                  AffectedReferencePoint=self.key(old))
        self.assertEqual(out['ReturnValue'], '32773')
        self.destroy(new)

    def test_as_nxmbackup_asks_once(self):
        """Nothing else goes on; disks and tracking ids paired by their place;
        the whole disk in one call without TargetSnapshotId."""
        system = self.session.get(*self.vm)
        self.assertEqual(len(system.list('OperationalStatus')), 1)
        _, point = self.create()
        self.write(0, 3 * MIB, 3 * 4096)
        self.write(1, 0, 4096)
        service = self.service('Msvm_ImageManagementService')
        for i, expected in enumerate(([(3 * MIB, 3 * 4096)], [(0, 4096)])):
            disk = self.session.get(DISK, {
                'InstanceID': point.list('VirtualDiskIdentifiers')[i]})
            out = self.session.invoke(
                service, 'GetVirtualDiskChanges',
                Path=disk.list('HostResource')[0],
                LimitId=point.list('ResilientChangeTrackingIdentifiers')[i],
                ByteOffset=0, ByteLength=SIZE)
            self.assertEqual(out['ReturnValue'], '0')
            self.assertEqual(self.extents(out), expected)
        self.destroy(point)

    def test_a_reader_may_look_and_not_touch(self):
        reader = Session(self.rig, 'bob:secret')
        self.addCleanup(reader.close)
        service = self.service()
        self.assertEqual(len(reader.query(f'SELECT * FROM {SERVICE}',
                                          SERVICE)), 1)
        with self.assertRaises(Fault) as caught:
            reader.invoke(service, 'CreateReferencePoint',
                          AffectedSystem=self.vm, ReferencePointType=1)
        self.assertEqual(caught.exception.subcode, 'AccessDenied')


if __name__ == '__main__':
    unittest.main(verbosity=2)
