#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Backups as the clients of Hyper-V do them, call for call: a full and an
incremental one of a guest that goes on writing, read out of the snapshot and
held to what the disks contained at its instant.
"""
import os
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from backup import (BLOCK, DISK, MANAGEMENT, POINT, RECOVERY,  # noqa: E402
                    SETTINGS, SIZE, SNAPSHOTS, SYSTEM, Case)
from hyperv import settings  # noqa: E402
from harness.process import wait_until  # noqa: E402


class Bareos(Case):
    """Snapshot, renamed; configuration; disks; changes; reading; conversion;
    the point is found again by its path in the next job."""

    def rename(self, snapshot, name):
        out = self.session.invoke(
            self.service(MANAGEMENT), 'ModifySystemSettings',
            SystemSettings=settings(SETTINGS,
                                    InstanceID=snapshot['InstanceID'],
                                    ElementName=name))
        self.assertEqual(out['ReturnValue'], '0', out)
        again = self.session.get(SETTINGS, self.key(snapshot)[1])
        self.assertEqual(again['ElementName'], name)

    def disk_of_point(self, identifier):
        """By its id, backslashes doubled: exactly one row."""
        row, = self.session.query(
            f'select * from {DISK} where InstanceID=\'{{}}\''.format(
                identifier.replace('\\', '\\\\')), DISK)
        return row

    def changed_ranges(self, point, disk, index):
        """As it analyses an old point: 50 ranges at a time, here all."""
        ids = point.list('ResilientChangeTrackingIdentifiers')
        paths = point.list('VirtualDiskIdentifiers')
        self.assertEqual(len(ids), len(paths))
        match = [i for i, p in enumerate(paths)
                 if self.disk_of_point(p)['ElementName']
                 == disk['ElementName']]
        self.assertEqual(match, [index])
        return self.ranges(self.changes(disk.list('HostResource')[0],
                                        ids[match[0]]))

    def job(self, number, copies=None, ref_path=None):
        """One job: the copies, and the path of its point."""
        snapshot, truth = self.snapshot(GuestBackupType=1)
        self.rename(snapshot, f'Bareos JobId {number}')
        self.assertTrue(snapshot['ConfigurationDataRoot'])
        self.assertTrue(snapshot['ConfigurationFile'])
        disks = self.disks(snapshot)
        self.assertEqual(len(disks), 2)
        if ref_path:
            point = self.session.get(POINT, ref_path)
            read = sum(self.update(c, d, self.changed_ranges(point, d, i))
                       for i, (c, d) in enumerate(zip(copies, disks)))
            self.assertLess(read, 2 * SIZE)
            self.assertGreater(read, 0)
        else:
            copies = [self.full(d) for d in disks]
        for i, copy in enumerate(copies):
            self.assert_same(copy, truth[i], f'job {number}, disk {i}')
        point = self.convert(snapshot)
        self.assertEqual(self.snapshots(), [])
        return copies, self.key(point)[1]

    def test_a_full_and_incremental_ones(self):
        # with a job that failed before: it removes its snapshot
        failed, _ = self.snapshot(truth=False)
        self.drop(failed)
        copies, path = self.job(1)
        for number in (2, 3):
            copies, new = self.job(number, copies, path)
            self.destroy(self.session.get(POINT, path))
            path = new
        self.assertEqual([self.key(p)[1] for p in self.points()], [path])
        self.destroy(self.session.get(POINT, path))


class NxmBackup(Case):
    """Leftovers are turned into points and destroyed; application consistency
    falls back; disks by index; one call for all that changed."""

    def clean_up(self):
        for snapshot in self.snapshots():
            self.destroy(self.convert(snapshot))

    def ready(self):
        row = self.session.get(SYSTEM, self.vm[1])
        status = row.list('OperationalStatus')
        return len(status) == 1 or status[1] == '0'

    def take(self):
        """1, application consistent; without an agent, 2."""
        out = self.session.invoke(
            self.service(SNAPSHOTS), 'CreateSnapshot', AffectedSystem=self.vm,
            SnapshotSettings=settings(
                'Msvm_VirtualSystemSnapshotSettingData', ConsistencyLevel=1,
                IgnoreNonSnapshottableDisks=True), SnapshotType=32768)
        self.assertEqual(out['ReturnValue'], '1', out)
        self.assertEqual(self.snapshots(), [])
        return self.snapshot()

    def backup(self, copies=None, point=None):
        self.assertTrue(self.ready())
        snapshot, truth = self.take()
        disks = self.disks(snapshot)
        if point:
            limits = point.list('ResilientChangeTrackingIdentifiers')
            for copy, disk, limit in zip(copies, disks, limits):
                # ProcessedByteLength is not looked at
                out = self.changes(disk.list('HostResource')[0], limit)
                self.assertEqual(int(out['ProcessedByteLength']), SIZE)
                self.update(copy, disk, self.ranges(out))
        else:
            copies = [self.full(disk) for disk in disks]
        for i, copy in enumerate(copies):
            self.assert_same(copy, truth[i], f'disk {i}')
        new = self.convert(snapshot)
        if point:
            self.destroy(point)
        return copies, new

    def test_a_full_and_an_incremental_one(self):
        self.snapshot(truth=False)
        self.clean_up()
        self.assertEqual((self.snapshots(), self.points()), ([], []))
        copies, point = self.backup()
        _, point = self.backup(copies, point)
        self.destroy(point)

    def test_a_baseline_that_is_gone_is_an_error(self):
        """Then it takes a full one."""
        snapshot, _ = self.snapshot(truth=False)
        point = self.convert(snapshot)
        self.destroy(point)
        snapshot, _ = self.snapshot(truth=False)
        for disk, limit in zip(self.disks(snapshot), point.list(
                'ResilientChangeTrackingIdentifiers')):
            out = self.changes(disk.list('HostResource')[0], limit)
            self.assertEqual(out['ReturnValue'], '32773', out)
        self.drop(snapshot)


class Rules(Case):
    """What holds for snapshots; the rules' numbers are as in test-rules.py."""

    def test_C3_a_job_has_one_snapshot_and_keeps_it_over_restarts(self):
        with self.guest.lock:
            job = self.call(SNAPSHOTS, 'CreateSnapshot',
                            AffectedSystem=self.vm, SnapshotSettings=None,
                            SnapshotType=32768)
            self.assertEqual(self.done(job)['JobType'], '70')
        snapshot = self.result(job, SETTINGS)
        self.daemon.kill()
        self.daemon.start()
        self.rig.restart()
        self.assertEqual(dict(self.result(job, SETTINGS)), dict(snapshot))
        converted = self.call(SNAPSHOTS, 'ConvertToReferencePoint',
                              AffectedSnapshot=self.key(snapshot))
        self.assertEqual(self.done(converted)['JobType'], '200')
        point = self.result(converted, POINT)
        self.assertEqual(self.session.associators(job.path(), SETTINGS), [])
        self.destroy(point)

    def test_C4_associations_are_found_by_any_of_their_classes(self):
        with self.guest.lock:
            job = self.call(SNAPSHOTS, 'CreateSnapshot',
                            AffectedSystem=self.vm, SnapshotSettings='',
                            SnapshotType=32768)
            self.done(job)
        for assoc in (None, 'CIM_AffectedJobElement',
                      'Msvm_AffectedJobElement'):
            for result in (SETTINGS, 'CIM_VirtualSystemSettingData'):
                where = f' AssocClass = {assoc}' if assoc else ''
                rows = self.session.query(
                    f'ASSOCIATORS OF {{{job.path()}}} WHERE{where} '
                    f'ResultClass = {result}', result)
                self.assertEqual(len(rows), 1, (assoc, result))
        snapshot = self.result(job, SETTINGS)
        for assoc in ('Msvm_SnapshotOfVirtualSystem',
                      'CIM_SnapshotOfVirtualSystem',
                      'Msvm_MostCurrentSnapshotInBranch'):
            rows = self.session.associators(self.vm_path, SETTINGS, assoc)
            self.assertEqual([r['InstanceID'] for r in rows],
                             [snapshot['InstanceID']], assoc)
        self.drop(snapshot)

    def test_C5_settings_are_not_needed_to_convert(self):
        for given in ({}, {'ReferencePointSettings': None},
                      {'ReferencePointSettings': ''}):
            snapshot, _ = self.snapshot(truth=False)
            job = self.call(SNAPSHOTS, 'ConvertToReferencePoint',
                            AffectedSnapshot=self.key(snapshot), **given)
            self.done(job)
            point = self.result(job, POINT)
            self.assertEqual((point['ReferencePointType'],
                              point['HasAssociatedData']), ('2', 'false'))
            self.destroy(point)

    def test_C9_a_points_arrays_are_in_the_order_of_the_disks(self):
        snapshot, _ = self.snapshot(truth=False)
        disks = self.disks(snapshot)
        point = self.convert(snapshot)
        tails = [d['InstanceID'].split('\\', 1)[1] for d in disks]
        self.assertEqual([d.split('\\', 1)[1] for d in
                          point.list('VirtualDiskIdentifiers')], tails)
        self.assertEqual(point['InstanceID'],
                         snapshot['InstanceID'].removeprefix('Microsoft:'))
        self.destroy(point)

    def test_C10_changes_end_with_the_snapshot(self):
        first, _ = self.snapshot(truth=False)
        point = self.convert(first)
        limit = point.list('ResilientChangeTrackingIdentifiers')[0]
        with self.guest.lock:
            self.guest.write(0, 100)
        snapshot, truth = self.snapshot()
        uri = self.disks(snapshot)[0].list('HostResource')[0]
        self.assertRegex(uri, r'^nbd\+unix:///')
        told = self.ranges(self.changes(uri, limit))
        self.assertTrue(any(o <= 100 * BLOCK < o + n for o, n in told))
        before = self.guest.wrote
        wait_until('the guest to write',
                   lambda: self.guest.wrote >= before + 50)
        self.assertEqual(self.ranges(self.changes(uri, limit)), told)
        self.assertGreater(
            sum(n for _, n in self.ranges(self.changes(self.images[0],
                                                       limit))),
            sum(n for _, n in told))
        # and the whole of it, in pieces
        pieces = []
        for at in range(0, SIZE, SIZE // 4):
            pieces += self.ranges(self.changes(uri, limit, ByteOffset=at,
                                               ByteLength=SIZE // 4))
        self.assertEqual(sum(n for _, n in pieces), sum(n for _, n in told))
        self.drop(snapshot)
        self.assertEqual(self.changes(uri, limit)['ReturnValue'], '32779')
        self.destroy(point)

    def test_C14_types_filter_snapshots(self):
        snapshot, _ = self.snapshot(truth=False)
        for where, expected in (
                (f"VirtualSystemType='{RECOVERY}'",
                 [snapshot['InstanceID']]),
                (f"VirtualSystemType='{RECOVERY}' AND "
                 f"VirtualSystemIdentifier='{self.uuid}'",
                 [snapshot['InstanceID']]),
                ("VirtualSystemType='Microsoft:Hyper-V:System:Realized'",
                 [f'Microsoft:{self.uuid}']),
                ("VirtualSystemType='Microsoft:Hyper-V:Snapshot:Realized'",
                 [])):
            rows = self.session.query(
                f'SELECT * FROM {SETTINGS} WHERE {where}', SETTINGS)
            self.assertEqual([r['InstanceID'] for r in rows], expected, where)
        self.drop(snapshot)

    def test_what_is_no_recovery_snapshot_is_refused(self):
        for number, code in ((2, '1'), (3, '1'), (5, '6'), (32769, '6')):
            out = self.session.invoke(
                self.service(SNAPSHOTS), 'CreateSnapshot',
                AffectedSystem=self.vm, SnapshotSettings=None,
                SnapshotType=number)
            self.assertEqual(out['ReturnValue'], code, number)
        self.assertEqual(self.snapshots(), [])
        snapshot, _ = self.snapshot(truth=False)
        for method, name in (('DestroySnapshotTree', 'SnapshotSettingData'),
                             ('ClearSnapshotState', 'SnapshotSettingData'),
                             ('ApplySnapshot', 'Snapshot')):
            out = self.session.invoke(self.service(SNAPSHOTS), method,
                                      **{name: self.key(snapshot)})
            self.assertEqual(out['ReturnValue'], '32770', method)
        self.drop(snapshot)
        out = self.session.invoke(self.service(SNAPSHOTS), 'DestroySnapshot',
                                  AffectedSnapshot=self.key(snapshot))
        self.assertEqual(out['ReturnValue'], '4')


if __name__ == '__main__':
    unittest.main()
