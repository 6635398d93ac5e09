#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Log-based points over the network: a guest goes on writing while they are
made, exported, stripped of their logs, destroyed and imported; what was
exported is applied to copies and held to what the guest wrote.
"""
import glob
import hashlib
import hmac
import json
import os
import re
import shutil
import signal
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from backup import (MIB, POINT, POINTS, SIZE, SYSTEM,  # noqa: E402
                    Case)
from hyperv import Fault, settings  # noqa: E402
from rig import MS_URI, NS, need  # noqa: E402
from harness import process  # noqa: E402
from harness.process import wait_until  # noqa: E402
from harness.refpoint import gone  # noqa: E402

need('wbemcli', 'wslid', 'uuidgen', 'curl')
JOB = 'Msvm_ConcreteJob'
POINT_JOB = 'Msvm_VirtualSystemReferencePointExportJob'
POINT_EXPORT = 'Msvm_VirtualSystemReferencePointExportSettingData'
DISKS = ('system', 'data')


class Logs(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.daemon.cli('set-log-limit', 'guest', '2G')
        # of the same disks elsewhere, and never served
        cls.others = [cls.rig.image(f'other{i}.img', SIZE // MIB)
                      for i in (0, 1)]
        cls.daemon.cli('define', 'other', *(
            word for name, path in zip(DISKS, cls.others)
            for word in ('--disk', f'{name}={path}')))
        cls.other = cls.daemon.json('status', 'other')['uuid'].upper()

    def setUp(self):
        super().setUp()
        self.addCleanup(self.clear)

    def clear(self):
        for vm in 'guest', 'other':
            for point in self.daemon.json('points', vm)['points']:
                self.daemon.cli('destroy', vm, point['id'])
        self.assertEqual(glob.glob(self.export_root + '/*.partial-*'), [])
        for name in os.listdir(self.export_root):
            path = os.path.join(self.export_root, name)
            if os.path.isdir(path):
                shutil.rmtree(path)
            else:
                os.unlink(path)

    def place(self, name):
        return os.path.join(self.export_root, name)

    # ------------------------------------------------------------------ points

    def made(self, kind=0, vm=None):
        """A new point, of the guest's system."""
        job = self.call(POINTS, 'CreateReferencePoint',
                        AffectedSystem=vm or self.vm,
                        ReferencePointSettings=None, ReferencePointType=kind)
        self.done(job)
        return self.result(job, POINT)

    def create(self, kind=0):
        """A new point, and what the disks held then."""
        with self.guest.lock:
            point = self.made(kind)
            held = [bytes(t) for t in self.guest.truth]
        return point, held

    def wrote(self, n=40):
        """Once the guest has written so often again."""
        end = self.guest.wrote + n
        wait_until('the guest to write', lambda: self.guest.wrote >= end)

    def look(self, point):
        """As it is now."""
        return self.session.get(*self.key(point))

    def remove(self, point):
        return self.session.invoke(
            self.service(POINTS), 'RemoveAssociatedData',
            AffectedReferencePoint=self.key(point))

    # ----------------------------------------------------------------- exports

    def export(self, point, directory, base=None, **more):
        if base:
            more['BaseReferencePoint'] = self.path(base)
        return self.session.invoke(
            self.service(POINTS), 'ExportReferencePoint',
            ReferencePoint=self.key(point), ExportDirectory=directory,
            ExportSettingData=settings(POINT_EXPORT, **more))

    def exported(self, out):
        """The job, when it is complete."""
        self.assertEqual(out['ReturnValue'], '4096', out)
        return self.done(out['Job'], POINT_JOB)

    def logs(self, job, disk):
        """Those of a disk, as the job tells them."""
        return [p for p in job.list('ExportedLogFilePaths')
                if os.path.basename(p).startswith(disk + '-')]

    def assert_replayed(self, job, before, after):
        """The logs make the one of the other."""
        for i, disk in enumerate(DISKS):
            copy = self.rig.path('copy.raw')
            with open(copy, 'wb') as f:
                f.write(before[i])
            self.daemon.cli('replay', *self.logs(job, disk), '--onto', copy)
            with open(copy, 'rb') as f:
                self.assert_same(f.read(), after[i], disk)


class WsMan(Logs):
    def test_what_was_written_between_two_is_exported(self):
        first, before = self.create()
        self.wrote()
        second, after = self.create()
        self.assertEqual([p['ReferencePointType'] for p in (first, second)],
                         ['1', '1'])
        self.assertEqual(self.look(first)['HasAssociatedData'], 'true')
        self.assertEqual(second['HasAssociatedData'], 'true')
        self.assertEqual(second.list('ResilientChangeTrackingIdentifiers'), [])
        disks = second.list('VirtualDiskIdentifiers')
        self.assertEqual(len(disks), 2)

        where = self.place('logs')     # its client has made it already
        os.mkdir(where)
        self.rig.give(where, 0o700)
        out = self.export(second, where)
        job = self.exported(out)
        self.assertEqual(
            {k: job[k] for k in ('ReferencePointId', 'BaseReferencePointId',
                                 'VirtualMachineId', 'ExportDirectory',
                                 'Cancellable', 'PercentComplete',
                                 'ErrorSummaryDescription',
                                 'ExportedGuestStateFilePath')},
            {'ReferencePointId': second['InstanceID'],
             'BaseReferencePointId': first['InstanceID'],
             'VirtualMachineId': self.uuid, 'ExportDirectory': where,
             'Cancellable': 'false', 'PercentComplete': '100',
             'ErrorSummaryDescription': None,
             'ExportedGuestStateFilePath': None})
        self.assertEqual(job.list('ExportedDisks'), disks)
        self.assertEqual(job.list('ExportedLogFilePaths'),
                         [f'{where}/{d}-0001.hrl' for d in DISKS])
        self.assertEqual(job['ExportedConfigFilePath'],
                         where + '/refpoint.json')
        self.assertEqual(job['ExportedRuntimeFilePath'],
                         where + '/refpoint-state.json')
        self.assertEqual(sorted(os.listdir(where)), sorted(
            [f'{d}-0001.{k}' for d in DISKS for k in ('hrl', 'side')] +
            ['refpoint.json', 'refpoint-state.json']))
        self.assert_replayed(job, before, after)
        affected, = self.session.associators(out['Job'].path(), POINT,
                                             'CIM_AffectedJobElement')
        self.assertEqual(affected['InstanceID'], second['InstanceID'])

    def test_a_point_that_is_destroyed_hands_its_log_on(self):
        first, before = self.create()
        self.wrote()
        second, _ = self.create()
        self.wrote()
        third, after = self.create()
        self.destroy(second)
        job = self.exported(self.export(third, self.place('x'), base=first))
        self.assertEqual(job.list('ExportedLogFilePaths'),
                         [self.place(f'x/{d}-000{n}.hrl') for d in DISKS
                          for n in (1, 2)])
        self.assert_replayed(job, before, after)

    def test_one_disk_alone(self):
        self.create()
        self.wrote()
        point, _ = self.create()
        disk = point.list('VirtualDiskIdentifiers')[1]
        out = self.session.invoke(
            self.service(POINTS), 'ExportReferencePoint',
            ReferencePoint=self.key(point), ExportDirectory=self.place('x'),
            ExportSettingData=(
                f'<INSTANCE CLASSNAME="{POINT_EXPORT}"><PROPERTY.ARRAY '
                'NAME="DisksToExport" TYPE="string"><VALUE.ARRAY><VALUE>'
                f'{disk}</VALUE></VALUE.ARRAY></PROPERTY.ARRAY></INSTANCE>'))
        job = self.exported(out)
        self.assertEqual(job.list('ExportedDisks'), [disk])
        self.assertEqual(job.list('ExportedLogFilePaths'),
                         [self.place('x/data-0001.hrl')])

    def test_a_log_is_removed_and_its_point_stays(self):
        first, _ = self.create()
        second, _ = self.create()
        out = self.remove(first)
        self.assertEqual(out['ReturnValue'], '4096', out)
        self.assertEqual(self.done(out['Job'])['JobType'], '204')
        row = self.result(out['Job'], POINT)
        self.assertEqual((row['InstanceID'], row['HasAssociatedData']),
                         (first['InstanceID'], 'false'))
        self.assertRegex(row['Description'], 'its log is gone: ')
        self.assertEqual(self.remove(first)['ReturnValue'], '32775')
        self.assertEqual(self.look(second)['HasAssociatedData'], 'true')
        # nothing reaches from the one to the other any more
        for base in first, None:
            out = self.export(second, self.place('x'), base=base)
            self.assertEqual(out['ReturnValue'], '32775', out)
        # the newest: its own way is that of the others from now on
        self.done(self.remove(second)['Job'])
        self.assertEqual(self.look(second)['HasAssociatedData'], 'false')
        self.assertEqual(os.listdir(self.export_root), [])

    def test_without_its_log_a_point_is_exported_as_others_are(self):
        with self.guest.lock:
            point = self.made()
            self.done(self.remove(point)['Job'])
            job = self.exported(self.export(point, self.place('x')))
        self.assertEqual(
            [os.path.splitext(p)[1] for p in job.list('ExportedLogFilePaths')],
            ['.qcow2', '.qcow2'])
        self.assertIsNone(job['ExportedRuntimeFilePath'])
        self.assertIsNone(job['BaseReferencePointId'])

    def test_a_system_that_is_not_served_has_them_as_well(self):
        vm = (SYSTEM, {'CreationClassName': SYSTEM, 'Name': self.other})
        found = [self.made(vm=vm) for _ in range(2)]
        self.assertEqual(found[1]['HasAssociatedData'], 'true')
        self.exported(self.export(found[1], self.place('x')))


class Refusals(Logs):
    def test_a_base_that_will_not_do(self):
        first, _ = self.create()
        tracked, _ = self.create(1)
        second, _ = self.create()
        vm = (SYSTEM, {'CreationClassName': SYSTEM, 'Name': self.other})
        alien = self.made(vm=vm)
        for point, base in ((first, None),      # none before
                            (first, second),    # newer
                            (second, tracked),  # by change tracking alone
                            (second, second),   # itself
                            (second, alien)):   # another system's
            out = self.export(point, self.place('x'), base=base)
            self.assertEqual(out['ReturnValue'], '32773', (out, base))
        self.destroy(first)
        out = self.export(second, self.place('x'), base=first)
        self.assertEqual(out['ReturnValue'], '32773', out)
        self.assertEqual(os.listdir(self.export_root), [])

    def test_a_point_by_change_tracking_has_no_log(self):
        point, _ = self.create(1)
        self.assertEqual(point['HasAssociatedData'], 'false')
        self.assertEqual(self.remove(point)['ReturnValue'], '32773')

    def test_a_directory_that_is_not_empty(self):
        self.create()
        point, _ = self.create()
        os.makedirs(self.place('full/x'))
        out = self.export(point, self.place('full'))
        self.assertEqual(out['ReturnValue'], '32775', out)
        out = self.export(point, '/etc/x')
        self.assertEqual(out['ReturnValue'], '32769', out)
        self.assertEqual(os.listdir(self.place('full')), ['x'])

    def test_a_reader_removes_and_imports_nothing(self):
        point, _ = self.create()
        self.session.user = 'bob:secret'
        self.session.close()
        with self.assertRaisesRegex(Fault, 'AccessDenied'):
            self.remove(point)
        with self.assertRaisesRegex(Fault, 'AccessDenied'):
            self.session.invoke(
                self.service(POINTS), 'ImportReferencePointMetadata',
                AffectedSystem=self.vm, ConfigFilePath=self.place('a'),
                RuntimeStateFilePath=self.place('b'))
        self.session.user = 'alice:secret'
        self.session.close()
        self.assertEqual(self.look(point)['HasAssociatedData'], 'true')


class Ends(Logs):
    """With a refpoint-target that stands still before it does anything, where
    there is a file; but for the first, which only hears what there is."""

    @classmethod
    def setUpClass(cls):
        cls.stage = process.scratch_dir('refpoint-target-')
        cls.addClassCleanup(process.remove_dir, cls.stage)
        script = os.path.join(cls.stage, 'refpoint-target')
        program, = glob.glob(os.path.join(os.environ['REFPOINT_BUILD'],
                                          'src/*/refpoint-target'))
        with open(script, 'w', encoding='ascii') as f:
            f.write(f'#!/bin/sh\nif [ -e {cls.stage}/first ]; then\n'
                    f'rm {cls.stage}/first\n'
                    f'elif [ -e {cls.stage}/still ]; then\n'
                    f'echo $$ > {cls.stage}/pid.new\n'
                    f'mv {cls.stage}/pid.new {cls.stage}/pid\n'
                    f'kill -STOP $$\nfi\nexec {program} "$@"\n')
        os.chmod(script, 0o755)
        os.environ['REFPOINT_TARGET'] = script
        cls.addClassCleanup(os.environ.pop, 'REFPOINT_TARGET')
        super().setUpClass()

    @staticmethod
    def go_on(pid):
        """To its end."""
        if not gone(pid):
            os.kill(pid, signal.SIGCONT)
        wait_until('the end of refpoint-target', lambda: gone(pid))

    def begun(self):
        """An export that gets no further: its job, what stands still, and
        what is to be made of what."""
        for name in 'still', 'first':
            with open(os.path.join(self.stage, name), 'wb'):
                pass
        self.addCleanup(os.unlink, self.stage + '/still')
        _, before = self.create()
        self.wrote()
        point, after = self.create()
        out = self.export(point, self.place('x'))
        self.assertEqual(out['ReturnValue'], '4096', out)
        wait_until('refpoint-target',
                   lambda: os.path.exists(self.stage + '/pid'))
        with open(self.stage + '/pid', encoding='ascii') as f:
            pid = int(f.read())
        os.unlink(self.stage + '/pid')
        self.addCleanup(self.go_on, pid)
        row = self.session.get(POINT_JOB, out['Job'].keys)
        self.assertEqual((row['JobState'], row['Cancellable'],
                          row['ReferencePointId']),
                         ('4', 'true', point['InstanceID']))
        self.assertTrue(row['BaseReferencePointId'])
        self.assertIsNone(row['ExportedLogFilePaths'])
        self.assertLess(int(row['PercentComplete']), 100)
        self.assertRegex(' '.join(os.listdir(self.export_root)),
                         r'^x\.partial-\w{6}$')
        return out['Job'], pid, before, after

    def test_a_job_that_is_terminated_leaves_nothing(self):
        job, pid, _, _ = self.begun()
        out = self.session.invoke(job, 'RequestStateChange', RequestedState=4)
        self.assertIn(out['ReturnValue'], ('0', '4096'))
        wait_until('the job to end', lambda: self.session.get(
            POINT_JOB, job.keys)['JobState'] == '8')
        wait_until('the directory to be removed',
                   lambda: not os.listdir(self.export_root))
        self.wrote()        # nobody waits for what stands still
        self.go_on(pid)

    def test_what_goes_on_completes(self):
        job, pid, before, after = self.begun()
        os.kill(pid, signal.SIGCONT)
        self.assert_replayed(self.done(job, POINT_JOB), before, after)


class Import(Logs):
    def load(self, config, state):
        return self.session.invoke(
            self.service(POINTS), 'ImportReferencePointMetadata',
            AffectedSystem=(SYSTEM, {'CreationClassName': SYSTEM,
                                     'Name': self.other}),
            ConfigFilePath=config, RuntimeStateFilePath=state)

    def over(self, job):
        """In whichever state it ends."""
        return wait_until('the job to end', lambda: (
            lambda row: row['JobState'] != '4' and row)(
                self.session.get(JOB, job.keys)))

    def pair(self):
        """The documents of an export, and its point."""
        self.create()
        self.wrote()
        point, _ = self.create()
        job = self.exported(self.export(point, self.place('x')))
        return (job['ExportedConfigFilePath'], job['ExportedRuntimeFilePath'],
                point)

    def known(self):
        return [p['id'].upper()
                for p in self.daemon.json('points', 'other')['points']]

    def test_points_become_known_elsewhere(self):
        config, state, point = self.pair()
        out = self.load(config, state)
        self.assertEqual(out['ReturnValue'], '4096', out)
        self.assertEqual(self.done(out['Job'])['JobType'], '209')
        self.assertIn(point['InstanceID'], self.known())
        row = self.session.get(POINT, {
            'InstanceID': point['InstanceID'],
            'VirtualSystemIdentifier': self.other})
        self.assertEqual(
            (row['ReferencePointType'], row['HasAssociatedData']),
            ('1', 'false'))
        # no hash, so that nothing is believed
        told = self.daemon.json('changes', 'other', '--since', row[
            'InstanceID'].lower())
        self.assertEqual({d['accuracy'] for d in told['disks']}, {'invalid'})
        # once more: they are there
        out = self.load(config, state)
        if out['ReturnValue'] == '4096':
            job = self.over(out['Job'])
            self.assertEqual((job['JobState'], job['ErrorCode']),
                             ('10', '32775'))
        else:
            self.assertEqual(out['ReturnValue'], '32775')

    def with_hashes(self, config, state, held):
        """The documents as they were if the disks had been hashed, by what
        docs/format/log-export.md says: new files."""
        with open(config, 'rb') as f:
            config_text = f.read().rpartition(b'"mac"')[0]
        with open(state, 'rb') as f:
            state_text = f.read().rpartition(b'"mac"')[0]
        for content in held:
            pieces = b''.join(
                hashlib.sha256(content[at:at + MIB]).digest()
                for at in range(0, SIZE, MIB))
            state_text, n = re.subn(
                rb'"hash": *null', b'"hash":"%s"'
                % hashlib.sha256(pieces).hexdigest().encode(), state_text, 1)
            self.assertEqual(n, 1, state_text)
        with open(os.path.join(self.daemon.root, 'lib', 'import-key'),
                  encoding='ascii') as f:
            key = bytes.fromhex(f.read())
        mac = hmac.new(key, b'refpoint log export 2\n\0\0' + len(
            config_text).to_bytes(8, 'little') + config_text + state_text,
                       'sha256').hexdigest()
        paths = []
        for name, text in ('config', config_text), ('state', state_text):
            paths.append(self.rig.write(
                f'exports/{name}', text.decode() + f'"mac":"{mac}"}}\n'))
        return paths

    def test_a_point_is_valid_where_the_disks_are_as_they_were(self):
        self.create()
        self.wrote()
        point, held = self.create()
        job = self.exported(self.export(point, self.place('x')))
        for path, content in zip(self.others, held):
            with open(path, 'r+b') as f:
                f.write(content)
        out = self.load(*self.with_hashes(job['ExportedConfigFilePath'],
                                          job['ExportedRuntimeFilePath'],
                                          held))
        self.assertEqual(out['ReturnValue'], '4096', out)
        self.done(out['Job'])
        told = self.daemon.json('changes', 'other', '--since',
                                point['InstanceID'].lower())
        self.assertEqual([(d['accuracy'], d['changed_bytes'])
                          for d in told['disks']], [('exact', 0)] * 2)

    def test_what_is_elsewhere_is_not_read(self):
        config, state, _ = self.pair()
        secret = self.rig.write('secret', 'a secret')
        os.symlink(secret, self.place('link'))
        for wrong in secret, '/etc/passwd', '/none', self.place('link'):
            self.assertEqual(self.load(wrong, state)['ReturnValue'], '32769')
            self.assertEqual(self.load(config, wrong)['ReturnValue'], '32769')
        for wrong in (self.place('none'), self.place('x'),
                      self.place('x/../x/refpoint.json')):
            self.assertEqual(self.load(wrong, state)['ReturnValue'], '32773')
        self.assertEqual(self.known(), [])

    def test_what_they_hold_is_never_quoted(self):
        config, state, _ = self.pair()
        with open(state, encoding='utf-8') as f:
            text = f.read()
        for name, wrong in (
                ('text', 'TOPSECRET'), ('json', '{"TOPSECRET": 1}\n'),
                ('cut', text[:len(text) // 2]),
                ('member', text.replace('"disks"', '"TOPSECRET"', 1))):
            path = self.place(name)
            with open(path, 'w', encoding='utf-8') as f:
                f.write(wrong)
            self.rig.give(path)
            out = self.load(config, path)
            self.assertIn(out['ReturnValue'], ('4096', '32773'), name)
            if out['ReturnValue'] == '4096':
                job = self.over(out['Job'])
                self.assertEqual((job['JobState'], job['ErrorCode']),
                                 ('10', '32773'), name)
                self.assertNotIn('TOPSECRET', json.dumps(job))
            self.assertNotIn('TOPSECRET', self.session.last)
        for log in [self.rig.log, *self.daemon.logs()]:
            with open(log, encoding='utf-8', errors='replace') as f:
                self.assertNotIn('TOPSECRET', f.read())
        self.assertEqual(self.known(), [])


def service(class_name, name):
    return (f'{class_name}.CreationClassName="{class_name}",Name="{name}",'
            'SystemCreationClassName="Msvm_ComputerSystem",'
            f'SystemName="{os.uname().nodename}"')


class Wbemcli(Logs):
    """CIM-XML, by a program that nobody here wrote."""

    def cli(self, operation, path, *rest, flags=()):
        return self.rig.wbemcli(operation, f'{NS}:{path}', *rest,
                                flags=('-nl', *flags))

    def properties(self, path):
        return dict(re.findall(r'^-(\w+)=?(.*)$', self.cli('gi', path), re.M))

    def do(self, call):
        """A call of the service, done: the job's properties and path."""
        text = self.rig.wbemcli('cm', f'{NS}:' + service(POINTS, 'rpsvc'),
                                call)
        self.assertRegex(text, r': 4096\b')
        job = re.search(rf'Job \(reference\): \S+?/{NS}:?(\S+?)(?=, |\s)',
                        text)[1]
        found = wait_until('the job to end', lambda: (
            lambda p: p['JobState'] != '4' and p)(self.properties(job)))
        self.assertEqual(found['JobState'], '7', found)
        return found, job

    def new(self):
        with self.guest.lock:
            _, job = self.do('CreateReferencePoint.ReferencePointType=0,'
                             f'AffectedSystem=localhost/{NS}:{self.vm_path}')
        text = self.cli('ain', job, flags=('-ac', 'CIM_AffectedJobElement'))
        path, = [line.split(f'/{NS}:', 1)[1].rstrip()
                 for line in text.splitlines() if f'/{NS}:' in line]
        return path

    def test_a_log_from_its_making_to_its_end(self):
        first = self.new()
        self.wrote()
        second = self.new()
        found = self.properties(second)
        self.assertEqual((found['ReferencePointType'],
                          found['HasAssociatedData']), ('1', 'TRUE'))
        self.assertEqual(
            found.get('ResilientChangeTrackingIdentifiers', ''), '')
        where = self.place('w')
        found, _ = self.do(f'ExportReferencePoint.ExportDirectory={where},'
                           f'ReferencePoint=localhost/{NS}:{second}')
        self.assertIn(found['BaseReferencePointId'].strip('"'), first)
        self.assertIn(where + '/system-0001.hrl', found[
            'ExportedLogFilePaths'])
        self.assertTrue(os.path.exists(where + '/system-0001.hrl'))
        other = (f'{SYSTEM}.CreationClassName="{SYSTEM}",'
                 f'Name="{self.other}"')
        found, _ = self.do(
            'ImportReferencePointMetadata.AffectedSystem='
            f'localhost/{NS}:{other},'
            'ConfigFilePath=' + found['ExportedConfigFilePath'].strip('"') +
            ',RuntimeStateFilePath='
            + found['ExportedRuntimeFilePath'].strip('"'))
        self.assertEqual(found['JobType'], '209')
        self.do(f'RemoveAssociatedData.AffectedReferencePoint=localhost/{NS}:'
                + second)
        self.assertEqual(self.properties(second)['HasAssociatedData'],
                         'FALSE')
        for point in first, second:
            self.do('DestroyReferencePoint.AffectedReferencePoint='
                    f'localhost/{NS}:{point}')
        self.assertEqual(self.points(), [])


class Wsl(Logs):
    """WS-Management, likewise; what it keeps are files."""

    def value(self, text, name):
        return re.search(rf'<p:{name}>([^<]*)<', text)[1]

    def do(self, method, *arguments, job_class=JOB):
        """A call of the service, done: its job's text."""
        text = self.rig.wsl('wslinvoke', f'{MS_URI}{NS}/{POINTS}', method,
                            *arguments)
        self.assertEqual(self.value(text, 'ReturnValue'), '4096')
        job = re.search(r'<w:Selector Name="InstanceID">([^<]*)<',
                        text[text.index('<p:Job'):])[1]

        def over():
            text = self.rig.wsl(
                'wslenum', f'{MS_URI}{NS}/{job_class}', '-opti', '100',
                '-filter', f'SELECT * FROM {job_class} WHERE '
                f"InstanceID='{job}'")
            return self.value(text, 'JobState') != '4' and text
        text = wait_until('the job to end', over)
        self.assertEqual(self.value(text, 'JobState'), '7', text)
        return text

    def new(self):
        before = {p['InstanceID'] for p in self.points()}
        with self.guest.lock:
            self.do('CreateReferencePoint', 'AffectedSystem=FILE:'
                    + self.rig.wsl_epr(SYSTEM, self.uuid),
                    'ReferencePointType=0')
        point, = {p['InstanceID'] for p in self.points()} - before
        return point

    def test_a_log_from_its_making_to_its_end(self):
        first = self.new()
        self.wrote()
        second = self.new()
        where = self.place('w')
        text = self.do('ExportReferencePoint', 'ReferencePoint=FILE:'
                       + self.rig.wsl_epr(POINT, second),
                       'ExportDirectory=' + where, job_class=POINT_JOB)
        self.assertEqual(self.value(text, 'BaseReferencePointId'), first)
        config = self.value(text, 'ExportedConfigFilePath')
        state = self.value(text, 'ExportedRuntimeFilePath')
        self.assertTrue(os.path.exists(self.value(
            text, 'ExportedLogFilePaths')))
        self.do('ImportReferencePointMetadata', 'AffectedSystem=FILE:'
                + self.rig.wsl_epr(SYSTEM, self.other),
                'ConfigFilePath=' + config, 'RuntimeStateFilePath=' + state)
        self.assertIn(second.lower(), [p['id'] for p in self.daemon.json(
            'points', 'other')['points']])
        self.daemon.cli('destroy', 'other', second.lower())
        self.do('RemoveAssociatedData', 'AffectedReferencePoint=FILE:'
                + self.rig.wsl_epr(POINT, second))
        self.assertEqual([p['HasAssociatedData'] for p in self.points()],
                         ['true', 'false'])
        self.do('DestroyReferencePoint', 'AffectedReferencePoint=FILE:'
                + self.rig.wsl_epr(POINT, second))
        self.assertEqual([p['InstanceID'] for p in self.points()], [first])


if __name__ == '__main__':
    unittest.main()
