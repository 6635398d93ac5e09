# SPDX-License-Identifier: Apache-2.0
"""A backup client's side of Hyper-V's interface, and the truth to judge it by.

Guest writes to both disks of a served virtual system and keeps what they hold;
Case has the calls that backup clients make, over WS-Management.
"""
import os
import random
import sys
import threading
import time
import unittest

import nbd

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from hyperv import Session, settings  # noqa: E402
from rig import Rig  # noqa: E402
from harness import refpoint  # noqa: E402

MIB = 1 << 20
BLOCK = 4096
SIZE = 32 * MIB
POINT = 'Msvm_VirtualSystemReferencePoint'
POINTS = 'Msvm_VirtualSystemReferencePointService'
SNAPSHOTS = 'Msvm_VirtualSystemSnapshotService'
MANAGEMENT = 'Msvm_VirtualSystemManagementService'
IMAGES = 'Msvm_ImageManagementService'
SETTINGS = 'Msvm_VirtualSystemSettingData'
DISK = 'Msvm_StorageAllocationSettingData'
SYSTEM = 'Msvm_ComputerSystem'
RECOVERY = 'Microsoft:Hyper-V:Snapshot:Recovery'


class Guest:
    """Writes on, on a thread of its own, but while it is held."""

    def __init__(self, uris):
        self.random = random.Random(os.environ.get('SEED', '7'))
        self.handles = [nbd.NBD() for _ in uris]
        for handle, uri in zip(self.handles, uris):
            handle.connect_uri(uri)
        self.truth = [bytearray(SIZE) for _ in uris]
        self.lock = threading.Lock()
        self.wrote = 0
        self.over = False
        self.thread = None

    def write(self, disk, block, count=1):
        data = self.random.randbytes(count * BLOCK)
        self.handles[disk].pwrite(data, block * BLOCK)
        self.truth[disk][block * BLOCK:(block + count) * BLOCK] = data
        self.wrote += 1

    def some(self, n):
        """N writes, at random."""
        for _ in range(n):
            count = self.random.choice((1, 1, 1, 4, 16))
            self.write(self.random.randrange(len(self.handles)),
                       self.random.randrange(SIZE // BLOCK - count), count)

    def run(self):
        """From now on without an end, but leaving time for others."""
        def work():
            while not self.over:
                with self.lock:
                    self.some(4)
                time.sleep(0.005)
        self.thread = threading.Thread(target=work, daemon=True)
        self.thread.start()

    def close(self):
        self.over = True
        if self.thread:
            self.thread.join()
        for handle in self.handles:
            handle.shutdown()


class Case(unittest.TestCase):
    """`vm`, a system with two disks, whose guest writes all the time, or for
    a while only, if WRITES says so."""

    writes = True

    @classmethod
    def setUpClass(cls):
        why = refpoint.built()
        if why:
            print('skipped:', why)
            sys.exit(77)
        cls.rig = Rig(daemon=True)
        cls.addClassCleanup(cls.rig.close)
        daemon = cls.daemon = cls.rig.daemon
        cls.images = [cls.rig.image(f'disk{i}.img', SIZE // MIB)
                      for i in (0, 1)]
        daemon.cli('define', 'guest', '--disk', f'system={cls.images[0]}',
                   '--disk', f'data={cls.images[1]}')
        daemon.cli('serve', 'guest')
        status = daemon.wait_serving('guest')
        cls.uuid = status['uuid'].upper()
        cls.export_root = cls.rig.path('exports')
        os.mkdir(cls.export_root)
        cls.rig.give(cls.export_root, 0o700)
        cls.rig.start('--export-root', cls.export_root)
        cls.guest = Guest([d['nbd_uri'] for d in status['disks']])
        cls.guest.some(200)
        if cls.writes:
            cls.addClassCleanup(cls.guest.close)
            cls.guest.run()
        else:
            cls.guest.close()

    def setUp(self):
        self.session = Session(self.rig)
        self.addCleanup(self.session.close)
        self.vm = (SYSTEM, {'CreationClassName': SYSTEM, 'Name': self.uuid})
        self.vm_path = (f'{SYSTEM}.CreationClassName="{SYSTEM}",'
                        f'Name="{self.uuid}"')

    # ------------------------------------------------------------------ calls

    def service(self, class_name):
        row, = self.session.query(f'SELECT * FROM {class_name}', class_name)
        return class_name, {k: row[k] for k in (
            'SystemCreationClassName', 'SystemName', 'CreationClassName',
            'Name')}

    def call(self, service, method, **parameters):
        """That was accepted: its job."""
        out = self.session.invoke(self.service(service), method, **parameters)
        self.assertEqual(out['ReturnValue'], '4096', out)
        self.assertIsNotNone(out['Job'])
        return out['Job']

    def done(self, job, class_name='Msvm_ConcreteJob'):
        """As xHyper-VBackup waits: for as long as the state is 4."""
        while True:
            row = self.session.get(class_name, job.keys)
            if row['JobState'] != '4':
                break
        self.assertEqual(row['JobState'], '7', row)
        return row

    def result(self, job, class_name):
        """As Bareos looks for what a job made: exactly one."""
        rows = self.session.associators(job.path(), class_name)
        self.assertEqual(len(rows), 1, rows)
        return rows[0]

    def snapshot(self, truth=True, **how):
        """CreateSnapshot, done: its settings, and what the disks held."""
        how = {'ConsistencyLevel': 2, 'IgnoreNonSnapshottableDisks': True,
               **how}
        with self.guest.lock:
            job = self.call(
                SNAPSHOTS, 'CreateSnapshot', AffectedSystem=self.vm,
                SnapshotSettings=settings(
                    'Msvm_VirtualSystemSnapshotSettingData', **how),
                SnapshotType=32768)
            self.done(job)
            held = [bytes(t) for t in self.guest.truth] if truth else None
        return self.result(job, SETTINGS), held

    @staticmethod
    def key(row):
        """Of settings or of a point, for a parameter."""
        names = (['InstanceID', 'VirtualSystemIdentifier']
                 if row.class_name == POINT else ['InstanceID'])
        return row.class_name, {k: row[k] for k in names}

    @classmethod
    def path(cls, row, host=None):
        """As WMI's __PATH."""
        class_name, keys = cls.key(row)
        keys = ','.join('{}="{}"'.format(k, v.replace('\\', '\\\\'))
                        for k, v in keys.items())
        return (rf'\\{host or os.uname().nodename.upper()}'
                rf'\root\virtualization\v2:{class_name}.{keys}')

    def disks(self, snapshot):
        """In the order in which they are told."""
        return self.session.associators(
            f'{SETTINGS}.InstanceID="{snapshot["InstanceID"]}"', DISK)

    def convert(self, snapshot):
        """To the point that it becomes."""
        job = self.call(SNAPSHOTS, 'ConvertToReferencePoint',
                        AffectedSnapshot=self.key(snapshot))
        self.done(job)
        return self.result(job, POINT)

    def drop(self, snapshot):
        self.done(self.call(SNAPSHOTS, 'DestroySnapshot',
                            AffectedSnapshot=self.key(snapshot)))

    def destroy(self, point):
        self.done(self.call(POINTS, 'DestroyReferencePoint',
                            AffectedReferencePoint=self.key(point)))

    def snapshots(self):
        return [s for s in self.session.associators(
            self.vm_path, SETTINGS, 'Msvm_SnapshotOfVirtualSystem')
                if s['VirtualSystemType'] == RECOVERY]

    def points(self):
        return self.session.associators(
            self.vm_path, POINT, 'Msvm_ReferencePointOfVirtualSystem')

    def changes(self, path, limit, **parameters):
        return self.session.invoke(
            self.service(IMAGES), 'GetVirtualDiskChanges', Path=path,
            LimitId=limit, **{'ByteOffset': 0, 'ByteLength': SIZE,
                              **parameters})

    def ranges(self, out):
        self.assertEqual(out['ReturnValue'], '0', out)
        return list(zip(map(int, out.list('ChangedByteOffsets')),
                        map(int, out.list('ChangedByteLengths'))))

    # ------------------------------------------------------------------- data

    @staticmethod
    def read(disk, ranges=((0, SIZE),)):
        """What a snapshot's disk holds there, by its HostResource."""
        handle = nbd.NBD()
        handle.connect_uri(disk.list('HostResource')[0])
        try:
            for offset, length in ranges:
                for at in range(offset, offset + length, MIB):
                    n = min(MIB, offset + length - at)
                    yield at, bytes(handle.pread(n, at))
        finally:
            handle.shutdown()

    def full(self, disk):
        copy = bytearray(SIZE)
        for at, data in self.read(disk):
            copy[at:at + len(data)] = data
        return copy

    def update(self, copy, disk, ranges):
        """Of a copy, in place: how much was read."""
        n = 0
        for at, data in self.read(disk, ranges):
            copy[at:at + len(data)] = data
            n += len(data)
        return n

    def assert_same(self, copy, truth, what):
        if copy == truth:
            return
        wrong = [at // BLOCK for at in range(0, SIZE, BLOCK)
                 if copy[at:at + BLOCK] != truth[at:at + BLOCK]]
        self.fail(f'{what}: {len(wrong)} blocks differ: {wrong[:10]}')
