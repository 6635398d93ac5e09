#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Exports as the clients of Hyper-V ask for them: full and incremental ones of
a guest that goes on writing, restored with qemu-img alone.
"""
import glob
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from backup import (BLOCK, MANAGEMENT, POINT, POINTS,  # noqa: E402
                    SIZE, Case)
from hyperv import Fault, settings  # noqa: E402
from rig import need  # noqa: E402
from harness.process import wait_until  # noqa: E402
from harness.refpoint import kill_now  # noqa: E402

need('qemu-img')
EXPORT = 'Msvm_VirtualSystemExportSettingData'
POINT_EXPORT = 'Msvm_VirtualSystemReferencePointExportSettingData'
POINT_JOB = 'Msvm_VirtualSystemReferencePointExportJob'


class Exports(Case):
    def setUp(self):
        super().setUp()
        self.addCleanup(self.nothing_half_made)

    def nothing_half_made(self):
        self.assertEqual(glob.glob(self.export_root + '/**/*.partial-*',
                                   recursive=True), [])
        for name in os.listdir(self.export_root):
            shutil.rmtree(os.path.join(self.export_root, name))

    def place(self, name):
        return os.path.join(self.export_root, name)

    def export(self, snapshot, directory, base=None, **more):
        """ExportSystemDefinition with the settings that the system has, edited
        as xHyper-VBackup does."""
        template, = self.session.associators(
            self.vm_path, EXPORT, 'Msvm_SystemExportSettingData')
        edited = {'InstanceID': template['InstanceID'],
                  'CopySnapshotConfiguration': 3,
                  'CopyVmRuntimeInformation': False, 'CopyVmStorage': True,
                  'CreateVmExportSubdirectory': False, 'BackupIntent': 0,
                  'SnapshotVirtualSystem': self.path(snapshot), **more}
        if base:
            edited['DifferentialBackupBase'] = self.path(base)
        return self.session.invoke(
            self.service(MANAGEMENT), 'ExportSystemDefinition',
            ComputerSystem=self.vm, ExportDirectory=directory,
            ExportSettingData=settings(EXPORT, **edited))

    def exported(self, out):
        self.assertEqual(out['ReturnValue'], '4096', out)
        return self.done(out['Job'])

    def export_point(self, point, directory, **how):
        return self.session.invoke(
            self.service(POINTS), 'ExportReferencePoint',
            ReferencePoint=self.key(point), ExportDirectory=directory,
            ExportSettingData=settings(POINT_EXPORT, **how))

    def metadata(self, directory):
        with open(os.path.join(directory, 'refpoint.json'),
                  encoding='utf-8') as f:
            return json.load(f)

    def restore(self, *directories):
        """What is in the last of a chain, put into one directory: by disk."""
        chain = self.rig.path('chain')
        os.makedirs(chain, exist_ok=True)
        for directory in directories:
            for file in glob.glob(directory + '/*.qcow2'):
                shutil.copy(file, chain)
        found = {}
        for disk in self.metadata(directories[-1])['disks']:
            file = os.path.join(chain, disk['file'])
            raw = self.rig.path('restored.raw')
            subprocess.run(['qemu-img', 'check', '-q', file], check=True)
            subprocess.run(['qemu-img', 'convert', '-O', 'raw', file, raw],
                           check=True)
            with open(raw, 'rb') as f:
                found[disk['id']] = f.read()
        shutil.rmtree(chain)
        return found

    def assert_restored(self, truth, *directories):
        found = self.restore(*directories)
        self.assertEqual(list(found), ['system', 'data'])
        for i, copy in enumerate(found.values()):
            self.assert_same(copy, truth[i], f'disk {i}')


class XHyperVBackup(Exports):
    """New-VmBackupCheckpoint, Export-VMBackupCheckpoint,
    Convert-VmBackupCheckpoint, Remove-VmReferencePoint."""

    def test_a_full_and_an_incremental_one(self):
        vm, = self.session.query("SELECT * FROM Msvm_ComputerSystem WHERE "
                                 "ElementName='guest'", 'Msvm_ComputerSystem')
        self.assertEqual(vm['Name'], self.uuid)
        checkpoint, truth = self.snapshot()
        self.assertEqual([c['InstanceID'] for c in self.snapshots()],
                         [checkpoint['InstanceID']])
        full = self.place('full')
        self.assertEqual(self.exported(self.export(checkpoint, full))[
            'JobType'], '62')
        self.assert_restored(truth, full)
        old = self.convert(checkpoint)
        self.assertEqual([p['InstanceID'] for p in self.points()],
                         [old['InstanceID']])

        checkpoint, truth = self.snapshot()
        increment = self.place('increment')
        self.exported(self.export(checkpoint, increment, base=old))
        self.assert_restored(truth, full, increment)
        said = self.metadata(increment)
        self.assertEqual((said['vm'], said['kind'], said['base'].upper()),
                         ('guest', 'snapshot', old['InstanceID']))
        for disk in said['disks']:
            self.assertLess(disk['data_bytes'], SIZE)
        new = self.convert(checkpoint)
        self.destroy(old)
        self.assertEqual([p['InstanceID'] for p in self.points()],
                         [new['InstanceID']])
        self.destroy(new)

    def test_a_base_may_be_a_snapshot(self):
        first, _ = self.snapshot(truth=False)
        full = self.place('full')
        self.exported(self.export(first, full))
        second, truth = self.snapshot()
        more = self.place('more')
        self.exported(self.export(second, more, base=first))
        self.assert_restored(truth, full, more)
        self.drop(first)
        self.drop(second)


class OneSwap(Exports):
    """Export of a recovery snapshot, conversion, and the point by the
    difference of two lists."""

    def test_a_hot_migration(self):
        where = (f"SELECT * FROM {POINT} WHERE "
                 f"VirtualSystemIdentifier='{self.uuid}'")
        before = {p['InstanceID'] for p in self.session.query(where, POINT)}
        snapshot, truth = self.snapshot(ConsistencyLevel=2)
        os.mkdir(self.place('swap'), 0o700)
        self.rig.give(self.place('swap'), 0o700)
        out = self.export(snapshot, self.place('swap'),
                          CreateVmExportSubdirectory=True)
        self.exported(out)
        self.assert_restored(truth, self.place('swap/guest'))
        self.convert(snapshot)
        point, = [p for p in self.session.query(where, POINT)
                  if p['InstanceID'] not in before]
        self.assertEqual((point['ReferencePointType'],
                          point['HasAssociatedData'],
                          point['ConsistencyLevel']), ('2', 'false', '2'))
        disks = point.list('VirtualDiskIdentifiers')
        limits = point.list('ResilientChangeTrackingIdentifiers')
        self.assertEqual(len(disks), len(limits))
        self.assertTrue(all(limits))
        # then the guest is powered off; in chunks, the first one byte short
        with self.guest.lock:
            for copy, image, limit in zip(
                    self.restore(self.place('swap/guest')).values(),
                    self.images, limits):
                copy, at = bytearray(copy), 0
                while at < SIZE:
                    out = self.changes(image, limit, ByteOffset=at,
                                       ByteLength=max(SIZE - 1 - at, 1))
                    with open(image, 'rb') as f:
                        for offset, length in self.ranges(out):
                            offset, end = (offset // BLOCK * BLOCK,
                                           offset + length)
                            f.seek(offset)
                            copy[offset:end] = f.read(end - offset)
                    at += int(out['ProcessedByteLength'])
                self.assert_same(copy, bytes(
                    self.guest.truth[self.images.index(image)]), image)
        self.destroy(point)


class Points(Exports):
    def test_a_point_that_nothing_was_written_to_since(self):
        """With what hv2pve asks for."""
        with self.guest.lock:
            first = self.convert(self.quick())
            self.guest.write(0, 5)
            second = self.convert(self.quick())
            where = self.place('point')
            out = self.export_point(second, where,
                                    BaseReferencePoint=self.path(first))
            self.assertEqual(out['ReturnValue'], '4096', out)
            job = self.done(out['Job'], POINT_JOB)
        self.assertEqual(job['ReferencePointId'], second['InstanceID'])
        for assoc in None, 'CIM_AffectedJobElement':
            row, = self.session.associators(out['Job'].path(), POINT, assoc)
            self.assertEqual(row['InstanceID'], second['InstanceID'])
        self.assertEqual(job['BaseReferencePointId'], first['InstanceID'])
        self.assertEqual(job['VirtualMachineId'], self.uuid)
        self.assertEqual(job['ExportDirectory'], where)
        self.assertEqual(job.list('ExportedDisks'),
                         second.list('VirtualDiskIdentifiers'))
        for path in job.list('ExportedLogFilePaths'):
            self.assertTrue(os.path.exists(path), path)
        self.assertTrue(os.path.exists(job['ExportedConfigFilePath']))
        self.assertEqual([d['data_bytes']
                          for d in self.metadata(where)['disks']], [BLOCK, 0])
        self.destroy(first)
        self.destroy(second)

    def quick(self):
        """A snapshot, while the guest is held already."""
        job = self.call('Msvm_VirtualSystemSnapshotService', 'CreateSnapshot',
                        AffectedSystem=self.vm, SnapshotSettings=None,
                        SnapshotType=32768)
        self.done(job)
        return self.result(job, 'Msvm_VirtualSystemSettingData')

    def test_what_was_overwritten_since_is_said(self):
        with self.guest.lock:
            first = self.convert(self.quick())
            self.guest.write(0, 7, 3)
            second = self.convert(self.quick())
            self.guest.write(0, 8)
            out = self.export_point(second, self.place('point'),
                                    BaseReferencePoint=self.path(first))
            self.assertEqual(out['ReturnValue'], '4096', out)
            wait_until('the job to end', lambda: self.session.get(
                POINT_JOB, out['Job'].keys)['JobState'] == '10')
        job = self.session.get(POINT_JOB, out['Job'].keys)
        self.assertEqual(job['ErrorCode'], '32775', job)
        self.assertRegex(job['ErrorDescription'], r'\b4096\b')
        said = self.session.invoke(out['Job'], 'GetErrorEx')
        self.assertIn(job['ErrorDescription'].split("'")[0],
                      said.list('Errors')[0].replace('&apos;', "'"))
        self.assertEqual(os.listdir(self.export_root), [])
        self.destroy(first)
        self.destroy(second)


class Refusals(Exports):
    def test_only_below_the_root(self):
        snapshot, _ = self.snapshot(truth=False)
        for directory, code in (
                (self.rig.path('elsewhere'), '32769'), ('/etc/x', '32769'),
                (self.export_root, '32769'), ('x', '32773'),
                (self.place('../x'), '32769'), (self.place('no/x'), '32773')):
            out = self.export(snapshot, directory)
            self.assertEqual(out['ReturnValue'], code, directory)
        os.mkdir(self.place('full'))
        with open(self.place('full/x'), 'w', encoding='utf-8'):
            pass
        self.assertEqual(self.export(snapshot, self.place('full'))[
            'ReturnValue'], '32775')
        self.drop(snapshot)

    def test_an_empty_directory_is_taken_with_its_rights(self):
        snapshot, _ = self.snapshot(truth=False)
        for name, given, mode in (('ours', True, 0o750),
                                  ('theirs', False, 0o705)):
            if not given and os.geteuid() != 0:
                continue
            os.mkdir(self.place(name))
            if given:
                self.rig.give(self.place(name), mode)
            else:
                # the gateway cannot give it to that group
                os.chmod(self.place(name), mode | 0o070)
            self.exported(self.export(snapshot, self.place(name)))
            self.assertEqual(
                stat.S_IMODE(os.stat(self.place(name)).st_mode), mode)
            self.assertIn('refpoint.json', os.listdir(self.place(name)))
            shutil.rmtree(self.place(name))
        self.drop(snapshot)

    def test_not_into_another_export(self):
        snapshot, _ = self.snapshot(truth=False)
        self.exported(self.export(snapshot, self.place('a'),
                                  CopyVmStorage=False))
        out = self.export(snapshot, self.place('a/b'))
        self.assertEqual(out['ReturnValue'], '32775', out)
        self.assertEqual(os.listdir(self.place('a')), ['refpoint.json'])
        self.drop(snapshot)

    def test_a_reader_exports_nothing(self):
        snapshot, _ = self.snapshot(truth=False)
        self.session.user = 'bob:secret'
        self.session.close()
        with self.assertRaisesRegex(Fault, 'AccessDenied'):
            self.export(snapshot, self.place('x'))
        self.session.user = 'alice:secret'
        self.session.close()
        self.assertEqual(os.listdir(self.export_root), [])
        self.drop(snapshot)

    def test_without_storage_it_says_what_it_is(self):
        snapshot, _ = self.snapshot(truth=False)
        where = self.place('about')
        job = self.exported(self.export(snapshot, where, CopyVmStorage=False))
        self.assertEqual((job['JobType'], job['PercentComplete']),
                         ('62', '100'))
        self.assertEqual(os.listdir(where), ['refpoint.json'])
        said = self.metadata(where)
        self.assertEqual((said['kind'], said['disks']), ('snapshot', []))
        self.drop(snapshot)


class Ends(Exports):
    """Nothing half-made is left, whoever ends an export."""

    writes = False

    def stopped(self):
        """An export whose worker does not get on: the job, the worker."""
        snapshot, _ = self.snapshot(truth=False)
        worker = self.daemon.worker_pid('guest')
        os.kill(worker, signal.SIGSTOP)
        try:
            out = self.export(snapshot, self.place('slow'))
            self.assertEqual(out['ReturnValue'], '4096', out)
            self.assertEqual(self.session.get(
                'Msvm_ConcreteJob', out['Job'].keys)['JobState'], '4')
            self.assertRegex(' '.join(os.listdir(self.export_root)),
                             r'^slow\.partial-\w{6}$')
        except Exception:
            os.kill(worker, signal.SIGCONT)
            raise
        return snapshot, out['Job'], worker

    def gone(self):
        wait_until('the directory to be removed',
                   lambda: not os.listdir(self.export_root))

    def test_a_job_that_is_terminated(self):
        snapshot, job, worker = self.stopped()
        try:
            out = self.session.invoke(job, 'RequestStateChange',
                                      RequestedState=4)
            self.assertIn(out['ReturnValue'], ('0', '4096'))
            wait_until('the job to end', lambda: self.session.get(
                'Msvm_ConcreteJob', job.keys)['JobState'] == '8')
            self.gone()
        finally:
            os.kill(worker, signal.SIGCONT)
        self.drop(snapshot)

    def test_a_directory_that_becomes_an_export_gets_none(self):
        snapshot, job, worker = self.stopped()
        said = self.place('refpoint.json')
        try:
            with open(said, 'w', encoding='utf-8') as f:
                json.dump({'version': 1, 'vm': 'other', 'id': '',
                           'disks': []}, f)
        finally:
            os.kill(worker, signal.SIGCONT)
        self.addCleanup(lambda: os.path.exists(said) and os.remove(said))
        wait_until('the job to end', lambda: self.session.get(
            'Msvm_ConcreteJob', job.keys)['JobState'] == '10')
        row = self.session.get('Msvm_ConcreteJob', job.keys)
        self.assertEqual(row['ErrorCode'], '32775', row)
        self.assertIn('within', row['ErrorDescription'])
        os.remove(said)
        self.gone()
        self.drop(snapshot)

    def test_a_gateway_that_is_stopped(self):
        snapshot, job, worker = self.stopped()
        try:
            self.rig.stop()
            self.gone()
        finally:
            os.kill(worker, signal.SIGCONT)
        self.rig.restart_stopped()
        self.session.close()
        row = self.session.get('Msvm_ConcreteJob', job.keys)
        self.assertEqual(row['JobState'], '10', row)
        self.assertTrue(row['ErrorDescription'])
        self.exported(self.export(snapshot, self.place('again')))
        self.drop(snapshot)

    def test_a_gateway_that_is_killed(self):
        snapshot, job, worker = self.stopped()
        left, = os.listdir(self.export_root)
        try:
            kill_now(self.rig.gateway.pid)
            self.rig.gateway.wait()
        finally:
            os.kill(worker, signal.SIGCONT)
        self.rig.restart_stopped()
        self.session.close()
        self.assertEqual(self.session.get('Msvm_ConcreteJob', job.keys)[
            'JobState'], '10')
        self.exported(self.export(snapshot, self.place('slow')))
        self.assertEqual(sorted(os.listdir(self.export_root)),
                         ['slow', left])
        with open(self.rig.log, encoding='utf-8') as f:
            self.assertIn(f"'{left}' beside", f.read())
        shutil.rmtree(self.place(left))
        self.drop(snapshot)

    def test_a_worker_that_is_killed(self):
        snapshot, job, worker = self.stopped()
        kill_now(worker)
        wait_until('the job to end', lambda: self.session.get(
            'Msvm_ConcreteJob', job.keys)['JobState'] == '10')
        self.gone()
        self.daemon.wait_serving('guest', not_pid=worker)
        self.exported(self.export(snapshot, self.place('again')))
        self.drop(snapshot)


if __name__ == '__main__':
    unittest.main()
