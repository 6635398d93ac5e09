# SPDX-License-Identifier: Apache-2.0
"""Every command of refpoint against a refpointd that answers as it is told:
what is asked for, what is printed, how failures end."""
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import unittest
import xml.etree.ElementTree

from fake import Fake, error, reply

REFPOINT = os.environ['REFPOINT']
TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
POINT = '5e7b7d64-0c2f-4a5e-9df0-6f1d6c4c2a11'
LATER = '0f8fad5b-d9cb-469f-a165-70867728950e'

DISK = {
    'id': 'vda', 'path': '/images/a.raw', 'size': 1 << 30,
    'nbd_uri': 'nbd+unix:///vda?socket=/run/refpoint/vm/vm1/nbd.sock',
    'connected': 1, 'accuracy': 'exact', 'reason': '', 'widened_bytes': 0,
    'hot_regions': 3, 'hot_regions_max': 256,
    'worst_widening_bytes': 3 << 24, 'tracking_bytes': 1572864,
    'cache': 'direct'}
STATUS = {
    'vm': 'vm1', 'uuid': LATER, 'state': 'serving', 'latched': False,
    'reason': '', 'worker_pid': 4711, 'points': 2, 'points_max': 256,
    'inflight_bytes': 0, 'disks': [DISK]}
SNAPSHOT = {
    'id': LATER, 'vm': 'vm1', 'consistency': 'crash', 'label': 'nightly',
    'created': '2024-05-01T12:34:56.123456789Z', 'state': 'valid',
    'reason': '', 'limit_bytes': 0,
    'disks': [{'id': 'vda', 'size': 1 << 30, 'tracking_id': 'rctX:1:2',
               'nbd_uri': 'nbd+unix:///vda?socket=/run/s.sock',
               'scratch_bytes': 1572864},
              {'id': 'vdb', 'size': 1 << 30, 'tracking_id': 'rctX:1:3',
               'nbd_uri': None, 'scratch_bytes': 1572864}]}
POINT_REPLY = {
    'id': POINT, 'type': 'rct', 'consistency': 'crash', 'label': 'nightly',
    'created': '2024-05-01T12:34:56.123456789Z',
    'disks': [{'id': 'vda', 'tracking_id': 'rctX:1:2'}]}


def entry(extents, disk='vda', **more):
    return {'id': disk, 'accuracy': 'exact', 'reason': '', 'widened_bytes': 0,
            'granularity_bytes': 4096, 'changed_bytes': 12288,
            'extents': [{'offset': o, 'length': n} for o, n in extents],
            **more}


def changes(disks, continues=False, until=None):
    return reply({'since': POINT, 'until': until, 'disks': disks}, continues)


class Case(unittest.TestCase):
    def setUp(self):
        self.root = tempfile.mkdtemp(prefix='refpoint-cli.')
        self.addCleanup(shutil.rmtree, self.root)
        self.daemon = Fake(self.root)
        self.addCleanup(lambda: self.daemon.close())

    def answer(self, **answers):
        self.daemon.answers.update(
            {k: v if isinstance(v, list) or callable(v) else [reply(v)]
             for k, v in answers.items()})

    def run_cli(self, *argv, cwd=None, env=None, root=True):
        environment = {k: v for k, v in os.environ.items()
                       if k not in ('REFPOINT_ROOT', 'LC_ALL', 'COLUMNS')}
        environment.update(env or {})
        return subprocess.run(
            [REFPOINT, *(['--root', self.root] if root else []), *argv],
            stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=60, cwd=cwd, env=environment, check=False)

    def good(self, *argv, **kwargs):
        done = self.run_cli(*argv, **kwargs)
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        return done.stdout

    def bad(self, status, *argv, **kwargs):
        """The one line on standard error."""
        done = self.run_cli(*argv, **kwargs)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertRegex(done.stderr, r'\Arefpoint: [^\n]+\n\Z')
        return done.stderr

    def json(self, *argv, **kwargs):
        return json.loads(self.good('--json', *argv, **kwargs))

    def asked(self):
        calls, self.daemon.calls = self.daemon.calls, []
        return calls


class CommandLine(Case):
    def test_help_names_every_command_and_each_has_its_own(self):
        text = self.good('--help')
        names = re.findall(r'^  ([a-z][a-z-]+)  ', text, re.M)
        self.assertEqual(names, [
            'define', 'undefine', 'serve', 'unserve', 'list', 'status',
            'create', 'points', 'changes', 'destroy', 'snapshot', 'snapshots',
            'convert', 'drop', 'rename', 'listen', 'unlisten', 'export',
            'check', 'attach', 'resize', 'set-agent',
            'replay', 'drop-log', 'set-log-limit', 'import'])
        for name in names:
            own = self.good(name, '--help')
            self.assertIn(f' {name} ', own.splitlines()[0] + ' ')
        self.assertEqual(self.asked(), [])

    def test_no_help_is_wider_than_a_terminal(self):
        for argv in [[]] + [[n] for n in re.findall(
                r'^  ([a-z][a-z-]+)  ', self.good('--help'), re.M)]:
            for line in self.good(*argv, '--help').splitlines():
                self.assertLessEqual(len(line), 80, line)

    def test_version(self):
        self.assertRegex(self.good('--version'), r'^refpoint \d+\.\d+')

    def test_wrong_command_lines_are_exit_2_and_ask_nothing(self):
        for argv, says in (
                ([], 'command is missing'),
                (['frob'], "'frob'"),
                (['--frob'], "'--frob'"),
                (['list', '--frob'], "'--frob'"),
                (['list', 'vm1'], "'vm1' is too much"),
                (['status'], 'VM is missing'),
                (['destroy', 'vm1'], 'POINT is missing'),
                (['status', 'no/name'], "'no/name'"),
                (['status', '-x'], "'-x'"),
                (['create', 'vm1', '--label'], "'--label' needs"),
                (['create', 'vm1', '--label', 'a', '--label', 'b'], 'twice'),
                (['create', 'vm1', '--timeout', '0'], '--timeout'),
                (['create', 'vm1', '--timeout', '1h'], "'1h'"),
                (['create', 'vm1', '--request-id', '1'], 'UUID'),
                (['changes', 'vm1'], '--since'),
                (['convert', 'vm1'], 'SNAPSHOT is missing'),
                (['drop', 'vm1'], 'SNAPSHOT is missing'),
                (['drop-log', 'vm1'], 'POINT is missing'),
                (['set-log-limit', 'vm1'], 'SIZE is missing'),
                (['set-log-limit', 'vm1', 'much'], "'much' is not a size"),
                (['rename', 'vm1', LATER], 'LABEL is missing'),
                (['listen', 'vm1', LATER], 'ADDRESS:PORT is missing'),
                (['listen', 'vm1', LATER, 'here'], "'here' is no ADDRESS"),
                (['unlisten', 'vm1'], 'SNAPSHOT is missing'),
                (['snapshot', 'vm1', '--limit', 'much'], "'much'"),
                (['snapshot', 'vm1', '--limit', '0'], '--limit is at least'),
                (['snapshot', 'vm1', '--timeout', '0'], '--timeout'),
                (['snapshot', 'vm1', '--request-id', '1'], 'UUID'),
                (['changes', 'vm1', '--since', POINT, '--offset', '-1'],
                 "'-1'"),
                (['attach', 'vm1'], '--qemu'),
                (['attach', 'vm1', '--qemu', '--libvirt'], '--qemu'),
                (['resize', 'vm1', 'vda', '1X'], "'1X'"),
                (['resize', 'vm1', 'vda', '513'], 'multiple'),
                (['resize', 'vm1', 'vda', '0'], 'multiple'),
                (['resize', 'vm1', 'vda', '9999999T'], 'size'),
                (['define', 'vm1'], '--disk'),
                (['define', 'vm1', '--disk', 'vda'], 'ID=PATH'),
                (['define', 'vm1', '--disk', 'v/a=/x'], 'ID=PATH'),
                (['define', 'vm1', '--disk', 'vda=/', '--uuid', 'x'], "'x'"),
                (['define', 'vm1', '--disk', 'vda=/', '--owner', 'x'], "'x'"),
        ):
            with self.subTest(argv):
                self.assertIn(says, self.bad(2, *argv))
        self.assertEqual(self.asked(), [])

    def test_options_may_stand_anywhere(self):
        self.answer(Status={'status': STATUS})
        for argv in (['--json', 'status', 'vm1'], ['status', '--json', 'vm1'],
                     ['status', 'vm1', '--json']):
            self.assertEqual(json.loads(self.good(*argv)), STATUS)
        self.assertEqual(
            json.loads(self.good('status', 'vm1', '--json', '--root',
                                 self.root, root=False)), STATUS)
        self.assertEqual(
            json.loads(self.good('status', 'vm1', '--json', root=False,
                                 env={'REFPOINT_ROOT': self.root})), STATUS)


class Reaching(Case):
    def test_without_refpointd_the_exit_status_is_7(self):
        self.daemon.close()
        text = self.bad(7, 'list')
        self.assertIn(f'{self.root}/run/admin.sock', text)
        self.assertIn(f"start it with 'refpointd --root {self.root}'", text)
        self.daemon = Fake(self.root)

    def test_operators_use_their_own_socket(self):
        operator = Fake(self.root, 'operator.sock')
        self.addCleanup(operator.close)
        operator.answers['List'] = [reply({'vms': []})]
        as_user = {}
        program = REFPOINT
        if os.geteuid() == 0:  # root may use every socket: be somebody else
            program = shutil.copy(REFPOINT, self.root)
            as_user = {'user': 54321, 'group': 54321, 'extra_groups': []}
            os.chmod(self.root, 0o711)
            os.chmod(program, 0o755)

        def run():
            return subprocess.run(
                [program, '--root', self.root, '--json', 'list'],
                capture_output=True, text=True, timeout=60, check=False,
                **as_user)
        os.chmod(self.daemon.path, 0)
        os.chmod(operator.path, 0o666)
        done = run()
        self.assertEqual((done.stderr, done.returncode), ('', 0))
        self.assertEqual(json.loads(done.stdout), {'vms': []})
        self.assertEqual(self.asked(), [])
        self.assertEqual([c[0] for c in operator.calls], ['List'])
        os.chmod(operator.path, 0)
        done = run()
        self.assertEqual(done.returncode, 9)
        self.assertIn('group refpoint', done.stderr)

    def test_a_daemon_that_hangs_up_is_unreachable(self):
        self.answer(List=[])
        self.assertIn('closed the connection', self.bad(7, 'list'))

    def test_an_answer_that_is_not_ours_is_a_failure(self):
        self.answer(List=[b'HTTP/1.1 400\r\n\0'])
        self.assertIn('not JSON', self.bad(1, 'list'))
        self.answer(Status={})
        self.assertIn("'status'", self.bad(1, 'status', 'vm1'))
        self.answer(Serve={'state': 'serving'})
        self.assertIn("'status'", self.bad(1, 'serve', 'vm1'))
        self.answer(Create={'point': None})
        self.assertIn("'point'", self.bad(1, 'create', 'vm1', '--json'))

    def test_errors_become_exit_statuses(self):
        for name, status, hint in (
                ('NoSuchSystem', 3, 'refpoint list'),
                ('NoSuchDisk', 3, 'refpoint status'),
                ('NoSuchPoint', 3, 'refpoint points'),
                ('InvalidState', 4, ''), ('InUse', 4, ''),
                ('LimitReached', 4, ''), ('TrackingStopped', 4, ''),
                ('InvalidType', 2, ''), ('NotSupported', 5, ''),
                ('Timeout', 6, ''), ('IoError', 1, ''), ('NoSpace', 1, ''),
                ('Damaged', 8, ''), ('PermissionDenied', 9, 'root'),
                ('SomethingNew', 1, '')):
            with self.subTest(name):
                self.answer(Create=[error(name, "it's 'this'")])
                text = self.bad(status, 'create', 'vm1', '--json')
                self.assertIn("it's 'this'", text)
                self.assertIn(hint, text)

    def test_control_characters_never_reach_the_terminal(self):
        self.answer(Create=[error('IoError', 'a\x1b[31m\nb\u009b1m')])
        self.assertEqual(self.bad(1, 'create', 'vm1'),
                         'refpoint: a?[31m?b??1m\n')
        disk = dict(DISK, path='/a\x1b[2Jb')
        self.answer(Status={'status': dict(STATUS, disks=[disk])})
        self.assertIn('/a?[2Jb', self.good('status', 'vm1'))

    def test_output_that_cannot_be_written_is_a_failure(self):
        self.answer(List={'vms': []})
        with open('/dev/full', 'w', encoding='utf-8') as full:
            done = subprocess.run(
                [REFPOINT, '--root', self.root, 'list'], stdout=full,
                stderr=subprocess.PIPE, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn('No space left', done.stderr)


class Define(Case):
    def setUp(self):
        super().setUp()
        self.images = []
        for name in ('a.raw', 'b.raw'):
            path = os.path.join(self.root, name)
            with open(path, 'wb') as f:
                f.truncate(1 << 20)
            self.images.append(path)
        self.answer(Define={'vm': 'vm1', 'uuid': LATER})

    def test_images_are_opened_here_and_passed_in_order(self):
        out = self.good('define', 'vm1', '--disk', 'vda=' + self.images[0],
                        '--disk', 'vdb=b.raw', '--uuid', LATER, '--format',
                        'raw', '--owner', 'refpoint', cwd=self.root)
        self.assertEqual(out, LATER + '\n')
        self.assertEqual(self.asked(), [('Define', {
            'vm': 'vm1', 'uuid': LATER, 'force_raw': True,
            'owner': 'refpoint',
            'disks': [{'id': 'vda', 'path': self.images[0]},
                      {'id': 'vdb', 'path': self.images[1]}]}, False)])
        self.assertEqual([i[0] for i in self.daemon.inodes],
                         [os.stat(p).st_ino for p in self.images])

    def test_limits_are_passed(self):
        disk = 'vda=' + self.images[0]
        self.good('define', 'vm1', '--disk', disk, '--hot-regions', '1024',
                  '--max-points', '1', '--log-limit', '1G')
        asked = self.asked()[0][1]
        self.assertEqual((asked['hot_regions'], asked['max_points'],
                          asked['log_limit']), (1024, 1, 1 << 30))
        for option, wrong in (('--hot-regions', ('0', '1025', '-1', 'x', '1K')),
                              ('--max-points', ('0', '257', ''))):
            for number in wrong:
                line = self.bad(2, 'define', 'vm1', '--disk', disk, option,
                                number)
                self.assertIn(option, line)
        self.assertEqual(self.asked(), [])

    def test_an_agent_is_passed_by_its_full_path(self):
        disk = 'vda=' + self.images[0]
        self.answer(SetAgent={})
        for said, sent in (('ga.sock', self.root + '/ga.sock'),
                           ('/run/ga.sock', '/run/ga.sock'),
                           ('libvirt:web 1', 'libvirt:web 1'),
                           ('none', '')):
            self.good('define', 'vm1', '--disk', disk, '--agent', said,
                      cwd=self.root)
            self.assertEqual(self.asked()[0][1]['agent'], sent)
            self.good('set-agent', 'vm1', said, cwd=self.root)
            self.assertEqual(self.asked(), [
                ('SetAgent', {'vm': 'vm1', 'agent': sent}, False)])
        for wrong in ('libvirt:', 'libvirt:-x', 'libvirt:12', '/' + 'x' * 108):
            self.bad(2, 'define', 'vm1', '--disk', disk, '--agent', wrong)
            self.bad(2, 'set-agent', 'vm1', wrong)
        self.assertEqual(self.asked(), [])
        self.answer(Status={'status': dict(STATUS, agent='libvirt:w')})
        self.assertIn('agent     libvirt:w', self.good('status', 'vm1'))

    def test_what_was_not_said_is_not_sent(self):
        out = self.json('define', 'vm1', '--disk', 'vda=' + self.images[0])
        self.assertEqual(out, {'vm': 'vm1', 'uuid': LATER})
        self.assertEqual(self.asked()[0][1], {
            'vm': 'vm1', 'force_raw': False,
            'disks': [{'id': 'vda', 'path': self.images[0]}]})

    def test_links_keep_their_name(self):
        link = os.path.join(self.root, 'link')
        os.symlink(self.images[0], link)
        self.good('define', 'vm1', '--disk', 'vda=' + link)
        self.assertEqual(self.asked()[0][1]['disks'][0]['path'], link)
        self.assertEqual(self.daemon.inodes[0][0],
                         os.stat(self.images[0]).st_ino)

    def test_what_is_no_image_is_refused_by_name(self):
        fifo = os.path.join(self.root, 'fifo')
        os.mkfifo(fifo)
        self.assertIn("/fifo' is neither", self.bad(
            2, 'define', 'vm1', '--disk', 'vda=' + fifo))
        self.assertIn("/dev/null' is neither", self.bad(
            2, 'define', 'vm1', '--disk', 'vda=/dev/null'))
        self.assertIn("/none': No such file", self.bad(
            1, 'define', 'vm1', '--disk', 'vda=/none'))
        self.assertIn(f"{self.root}' is neither", self.bad(
            2, 'define', 'vm1', '--disk', 'vda=' + self.root))
        self.assertEqual(self.asked(), [])

    def test_other_formats_are_not_supported(self):
        self.assertIn("'qcow2'", self.bad(
            5, 'define', 'vm1', '--disk', 'vda=' + self.images[0], '--format',
            'qcow2'))

    def test_undefine(self):
        self.answer(Undefine={})
        self.assertEqual(self.good('undefine', 'vm1'), '')
        self.assertEqual(self.json('undefine', 'vm1'), {})
        self.assertEqual(self.asked()[0], ('Undefine', {'vm': 'vm1'}, False))


class Looking(Case):
    def test_list(self):
        vms = [{'vm': 'vm1', 'uuid': LATER, 'state': 'serving', 'disks': 2,
                'points': 3},
               {'vm': 'a-longer-name', 'uuid': POINT, 'state': 'defined',
                'disks': 16, 'points': 0}]
        self.answer(List={'vms': vms})
        self.assertEqual(self.json('list'), {'vms': vms})
        lines = self.good('list').splitlines()
        self.assertEqual(lines[0].split(),
                         ['VM', 'STATE', 'DISKS', 'POINTS', 'UUID'])
        self.assertEqual(len({line.index(c) for line, c in zip(
            lines, ('STATE', 'serving', 'defined'))}), 1, 'columns align')

    def test_status(self):
        self.answer(Status={'status': STATUS})
        self.assertEqual(self.json('status', 'vm1'), STATUS)
        self.assertEqual(self.asked(), [('Status', {'vm': 'vm1'}, False)])
        text = self.good('status', 'vm1')
        for part in ('serving', 'pid', '4711', '2 of 256', '1.0 GiB',
                     '3 of 256', '48.0 MiB', '1.5 MiB', 'direct', 'exact',
                     '/images/a.raw', DISK['nbd_uri']):
            if part != 'pid':
                self.assertIn(part, text)

    def test_status_says_when_tracking_stopped(self):
        self.answer(Status={'status': dict(
            STATUS, latched=True, reason='the store hangs', worker_pid=None,
            disks=[dict(DISK, nbd_uri=None)])})
        text = self.good('status', 'vm1')
        self.assertIn('stopped', text)
        self.assertIn('the store hangs', text)
        self.assertNotIn('worker', text)

    def test_status_shows_snapshots_if_there_are_any(self):
        self.answer(Status={'status': dict(STATUS, snapshots=[])})
        self.assertNotIn('snapshots', self.good('status', 'vm1'))
        bad = dict(SNAPSHOT, state='invalid', reason='no room')
        for snapshots, line in (
                ([SNAPSHOT], 'snapshots 1, 3.0 MiB copied'),
                ([SNAPSHOT, bad],
                 'snapshots 2, 1 of them invalid, 6.0 MiB copied')):
            self.answer(Status={'status': dict(STATUS, snapshots=snapshots)})
            self.assertIn(line, self.good('status', 'vm1').splitlines())

    def test_points(self):
        self.answer(Points={'points': [POINT_REPLY]})
        self.assertEqual(self.json('points', 'vm1'),
                         {'points': [POINT_REPLY]})
        lines = self.good('points', 'vm1').splitlines()
        self.assertEqual(lines[1].split(),
                         [POINT, 'rct', '-', 'crash', '2024-05-01T12:34:56Z',
                          'nightly', '-'])

    def test_a_log_based_point_shows_its_log(self):
        for state, shown in (('open', ['open,', '3.0', 'MiB']),
                             ('closed', ['closed,', '3.0', 'MiB']),
                             ('gone', ['gone'])):
            why = 'too long' if state == 'gone' else ''
            point = dict(POINT_REPLY, type='log', log={
                'state': state, 'reason': why, 'bytes': 3 << 20, 'parts': 1})
            self.answer(Points={'points': [point]})
            lines = self.good('points', 'vm1').splitlines()
            self.assertEqual(lines[1].split(), [
                POINT, 'log', *shown, 'crash', '2024-05-01T12:34:56Z',
                'nightly', *('log gone: too long' if why else '-').split()])

    def test_an_invalid_point_looks_it(self):
        log = {'state': 'gone', 'reason': 'it was imported', 'bytes': 0,
               'parts': 0}
        for more in ({}, {'type': 'log', 'log': log}):
            point = dict(POINT_REPLY, invalid='its MAC is\x1b bad', **more)
            self.answer(Points={'points': [point]})
            lines = self.good('points', 'vm1').splitlines()
            self.assertTrue(lines[0].endswith('REASON'))
            self.assertRegex(lines[1], r'nightly +invalid: its MAC is.* bad$')
            self.assertNotIn('\x1b', lines[1])
            self.assertEqual(self.json('points', 'vm1')['points'], [point])

    def test_the_log_of_a_point_is_dropped(self):
        self.answer(DropLog={})
        self.assertEqual(self.good('drop-log', 'vm1', POINT), '')
        self.assertEqual(self.asked(), [
            ('DropLog', {'vm': 'vm1', 'point': POINT}, False)])
        self.assertEqual(self.json('drop-log', 'vm1', POINT), {})
        self.answer(DropLog=[error('InvalidState', 'it is gone')])
        self.bad(4, 'drop-log', 'vm1', POINT)

    def test_points_are_imported(self):
        for name in ('refpoint.json', 'refpoint-state.json'):
            with open(f'{self.root}/{name}', 'w', encoding='utf-8') as f:
                f.write(f'text of {name} \u00fc')
        key = f'{self.root}/key'
        with open(key, 'w', encoding='utf-8') as f:
            f.write('0a' * 32 + '\n')
        os.chmod(key, 0o600)
        imported = {'id': POINT, 'valid': True, 'reason': '', 'points': 2}
        self.answer(Import=[
            reply({'progress': {'done_bytes': 1, 'total_bytes': 2}}, True),
            reply({'imported': imported})])
        self.assertEqual(self.good('import', 'vm1', self.root), POINT + '\n')
        self.assertEqual(self.json('import', 'vm1', self.root, '--key', key),
                         imported)
        asked = {'vm': 'vm1', 'config': 'text of refpoint.json \u00fc',
                 'state': 'text of refpoint-state.json \u00fc'}
        self.assertEqual(self.asked(), [
            ('Import', asked, True),
            ('Import', dict(asked, key='0a' * 32), True)])
        imported.update(valid=False, reason='it is \x1b[1m another disk')
        self.assertEqual(
            self.good('import', 'vm1', self.root),
            POINT + '\ninvalid: it is ?[1m another disk\n')
        self.answer(Import=[error('AlreadyExists', 'it is there')])
        self.bad(4, 'import', 'vm1', self.root)

    def test_what_cannot_be_documents_is_not_sent(self):
        config = f'{self.root}/refpoint.json'
        self.bad(1, 'import', 'vm1', self.root)
        with open(config, 'wb') as f:
            f.write(b'x' * (256 * 1024 + 1))
        self.bad(2, 'import', 'vm1', self.root)
        with open(config, 'wb') as f:
            f.write(b'x\0')
        self.bad(2, 'import', 'vm1', self.root)
        with open(config, 'wb') as f:
            f.write(b'\xff')
        with open(f'{self.root}/refpoint-state.json', 'wb') as f:
            f.write(b'{}')
        self.bad(2, 'import', 'vm1', self.root)
        self.assertEqual(self.asked(), [])

    def test_the_limit_of_logs(self):
        self.answer(SetLogLimit={})
        self.assertEqual(self.good('set-log-limit', 'vm1', '2G'), '')
        self.assertEqual(self.json('set-log-limit', 'vm1', '0'), {})
        self.assertEqual([c[1]['bytes'] for c in self.asked()], [2 << 30, 0])
        log = {'state': 'open', 'reason': '', 'bytes': 3 << 20, 'parts': 1}
        self.answer(Status={'status': dict(
            STATUS, log_bytes=3 << 20, log_limit=2 << 30,
            logs=[{'point': POINT, 'log': log}])})
        self.assertIn('logs      3.0 MiB of 2.0 GiB',
                      self.good('status', 'vm1').splitlines())

    def test_points_that_come_in_pieces_are_one_list(self):
        later = dict(POINT_REPLY, id=POINT[:-1] + '0')
        self.answer(Points=[
            {'parameters': {'points': [POINT_REPLY]}, 'continues': True},
            {'parameters': {'points': []}, 'continues': True},
            {'parameters': {'points': [later]}}])
        self.assertEqual(self.json('points', 'vm1'),
                         {'points': [POINT_REPLY, later]})
        self.assertEqual(self.asked(), [('Points', {'vm': 'vm1'}, True)])
        self.assertEqual(len(self.good('points', 'vm1').splitlines()), 3)

    def test_an_answer_without_points_is_a_failure(self):
        self.answer(Points={'point': POINT_REPLY})
        self.bad(1, 'points', 'vm1')


class Serving(Case):
    def test_serve_and_unserve(self):
        self.answer(Serve={'status': STATUS}, Unserve={'status': STATUS})
        self.assertIn(DISK['nbd_uri'], self.good('serve', 'vm1'))
        self.assertEqual(self.json('serve', 'vm1'), STATUS)
        self.assertEqual(self.good('unserve', 'vm1'), '')
        self.assertEqual(self.json('unserve', 'vm1'), STATUS)
        self.assertEqual([c[0] for c in self.asked()],
                         ['Serve', 'Serve', 'Unserve', 'Unserve'])

    def test_resize_asks_in_bytes_and_prints_what_to_run(self):
        for text, size in (('2G', 2 << 30), ('2048m', 2 << 30),
                           ('2GiB', 2 << 30), ('1T', 1 << 40),
                           ('1024K', 1 << 20), ('1048576', 1 << 20)):
            status = dict(STATUS, disks=[dict(DISK, id='other'),
                                         dict(DISK, size=size)])
            self.answer(Resize={'status': status})
            out = self.good('resize', 'vm1', 'vda', text)
            self.assertEqual(self.asked()[0], ('Resize', {
                'vm': 'vm1', 'disk': 'vda', 'size': size}, False))
            command = json.loads(re.search(r'QMP +(.*)', out).group(1))
            self.assertEqual(command, {
                'execute': 'block_resize',
                'arguments': {'node-name': 'refpoint1', 'size': size}})
            self.assertIn('virsh', out)
        self.assertEqual(self.json('resize', 'vm1', 'vda', '1M'), status)


class Snapshots(Case):
    def test_snapshot_prints_the_id(self):
        self.answer(Snapshot={'snapshot': SNAPSHOT})
        self.assertEqual(self.good('snapshot', 'vm1'), LATER + '\n')
        self.assertEqual(self.json('snapshot', 'vm1'), SNAPSHOT)
        self.assertEqual(self.asked()[0], ('Snapshot', {'vm': 'vm1'}, False))

    def test_snapshot_passes_what_was_said(self):
        self.answer(Snapshot={'snapshot': SNAPSHOT})
        self.good('snapshot', 'vm1', '--consistency', 'application',
                  '--label', 'n\u00e4chtlich', '--limit', '2G', '--clone',
                  '--request-id', POINT, '--timeout', '9')
        self.assertEqual(self.asked(), [('Snapshot', {
            'vm': 'vm1', 'consistency': 'application',
            'label': 'n\u00e4chtlich', 'limit_bytes': 2 << 30, 'clone': True,
            'request_id': POINT, 'timeout_ms': 9000}, False)])

    def test_snapshots(self):
        bad = dict(SNAPSHOT, id=POINT, state='invalid', label='',
                   reason='limit reached')
        self.answer(Snapshots={'snapshots': [SNAPSHOT, bad]})
        self.assertEqual(self.json('snapshots', 'vm1'),
                         {'snapshots': [SNAPSHOT, bad]})
        self.assertEqual(self.asked(), [('Snapshots', {'vm': 'vm1'}, False)])
        lines = [x.split() for x in
                 self.good('snapshots', 'vm1').splitlines()]
        self.assertEqual(lines[1], [LATER, 'valid', 'crash',
                                    '2024-05-01T12:34:56Z', '3.0', 'MiB', '-',
                                    'nightly'])
        self.assertEqual(lines[2][5:], ['MiB', 'limit', 'reached', '-'])
        self.assertEqual(lines[5], [LATER, 'vda', SNAPSHOT['disks'][0][
            'nbd_uri']])
        self.assertEqual(lines[6], [LATER, 'vdb', '-'])
        self.answer(Snapshots={'points': []})
        self.assertIn("'snapshots'", self.bad(1, 'snapshots', 'vm1'))

    def test_convert_prints_the_point(self):
        point = dict(POINT_REPLY, id=LATER)
        self.answer(Convert={'point': point})
        self.assertEqual(self.good('convert', 'vm1', LATER), LATER + '\n')
        self.assertEqual(self.json('convert', 'vm1', LATER), point)
        self.assertEqual(self.asked()[0], ('Convert', {
            'vm': 'vm1', 'snapshot': LATER}, False))
        self.answer(Convert=[error('NoSuchPoint', 'none')])
        self.assertIn('refpoint snapshots VM', self.bad(
            3, 'convert', 'vm1', LATER))
        self.answer(Convert=[error('InvalidState', 'it is invalid')])
        self.bad(4, 'convert', 'vm1', LATER)

    def test_drop_and_rename(self):
        self.answer(Drop={}, Rename={'snapshot': SNAPSHOT})
        self.assertEqual(self.good('drop', 'vm1', LATER), '')
        self.assertEqual(self.json('drop', 'vm1', LATER), {})
        self.assertEqual(self.good('rename', 'vm1', LATER, 'a b'), '')
        self.assertEqual(self.json('rename', 'vm1', LATER, ''), SNAPSHOT)
        self.assertEqual([c[1] for c in self.asked()], [
            {'vm': 'vm1', 'snapshot': LATER}] * 2 + [
            {'vm': 'vm1', 'snapshot': LATER, 'label': 'a b'},
            {'vm': 'vm1', 'snapshot': LATER, 'label': ''}])

    def test_listen_and_unlisten(self):
        pull = {'address': '2001:db8::1', 'port': 10809, 'identity': 'me',
                'key': '00ff'}
        other = dict(SNAPSHOT, id=POINT)
        self.answer(Snapshots={'snapshots': [other, SNAPSHOT]}, Listen=pull)
        uris = {disk: f'nbds://me@[2001:db8::1]:10809/{disk}'
                for disk in ('vda', 'vdb')}
        self.assertEqual(
            self.good('listen', 'vm1', LATER.upper(), '[2001:db8::1]:0'),
            '\n'.join(['me:00ff', *uris.values()]) + '\n')
        self.assertEqual(self.asked(), [
            ('Snapshots', {'vm': 'vm1'}, False),
            ('Listen', {'vm': 'vm1', 'snapshot': LATER,
                        'address': '2001:db8::1', 'port': 0}, False)])
        self.assertEqual(self.json('listen', 'vm1', LATER, '[::1]:1'),
                         dict(SNAPSHOT, pull=dict(pull, uris=uris)))
        self.asked()
        self.answer(Snapshots={'snapshots': [other]}, Unlisten={})
        self.assertIn('refpoint snapshots VM', self.bad(
            3, 'listen', 'vm1', LATER, '127.0.0.1:1'))
        self.assertEqual(len(self.asked()), 1)
        self.assertEqual(self.good('unlisten', 'vm1', LATER), '')
        self.assertEqual(self.json('unlisten', 'vm1', LATER), {})
        self.assertEqual(self.asked(), [('Unlisten', {
            'vm': 'vm1', 'snapshot': LATER}, False)] * 2)


EXPORTED = {
    'vm': 'vm1', 'uuid': LATER, 'id': POINT, 'kind': 'point', 'base': None,
    'disks': [{'id': 'vda', 'size': 1 << 30, 'data_bytes': 8192,
               'accuracy': 'exact', 'file': f'vda-{POINT}.qcow2'}]}


def far(done, total=1000):
    return reply({'progress': {'done_bytes': done, 'total_bytes': total}},
                 True)


class Replay(Case):
    """What it does to images: tests/replay."""

    def test_a_disk_of_a_defined_vm_is_refused(self):
        with tempfile.NamedTemporaryFile() as image:
            image.write(bytes(4096))
            image.flush()
            log = os.path.join(os.path.dirname(__file__), '..', 'hrl',
                               'empty.hrl')
            status = {**STATUS, 'disks': [{**STATUS['disks'][0],
                                           'path': image.name}]}
            self.answer(List={'vms': [{'vm': 'vm1'}]},
                        Status={'status': status})
            done = self.run_cli('replay', log, '--onto', image.name)
            self.assertEqual(done.returncode, 4, done.stderr)
            self.assertIn("is a disk of the defined VM 'vm1'", done.stderr)
            status['disks'][0]['path'] = __file__
            self.good('replay', log, '--onto', image.name)


class Export(Case):
    def setUp(self):
        super().setUp()
        self.target = tempfile.mkdtemp(prefix='refpoint-target.')
        self.addCleanup(shutil.rmtree, self.target)
        self.dir = os.path.join(self.target, 'out')
        self.answer(Status={'status': STATUS},
                    Export=self.filled([far(0), far(500), far(1000),
                                        reply({'exported': EXPORTED})]))

    @staticmethod
    def filled(answers):
        """Before it is filled there is a question what it will be of."""
        asked = [reply({'exported': {**EXPORTED, 'disks': []}})]
        return lambda parameters: answers if parameters['disks'] else asked

    def left(self):
        return sorted(os.listdir(self.target))

    def test_the_directory_is_there_when_all_is_done(self):
        out = self.good('export', 'vm1', POINT.upper(), self.dir)
        self.assertRegex(out, r'(?m)^vda +1\.0 GiB +8\.0 KiB +exact +vda-')
        self.assertEqual(self.left(), ['out'])
        self.assertEqual(sorted(os.listdir(self.dir)),
                         ['refpoint.json', f'vda-{POINT}.qcow2'])
        with open(os.path.join(self.dir, 'refpoint.json'),
                  encoding='utf-8') as f:
            self.assertEqual(json.load(f), {**EXPORTED, 'version': 1})
        self.assertEqual(self.asked()[1:], [
            ('Export', {'vm': 'vm1', 'source': POINT, 'disks': disks}, more)
            for disks, more in (([], False), (['vda'], True))])
        self.assertRegex(self.daemon.inodes[0][2], 'vda-')

    def test_a_base_and_disks_are_passed(self):
        self.answer(Status={'status': {**STATUS, 'disks': [
            {**DISK, 'id': n} for n in ('vda', 'vdb', 'vdc')]}})
        self.good('export', 'vm1', POINT, self.dir, '--base', LATER,
                  '--disk', 'vdc', '--disk', 'vda')
        self.assertEqual(self.asked()[2], (
            'Export', {'vm': 'vm1', 'source': POINT, 'base': LATER,
                       'disks': ['vdc', 'vda']}, True))
        self.assertEqual(len(self.daemon.inodes), 2)

    def test_json_is_a_line_for_each_step(self):
        lines = [json.loads(x) for x in self.good(
            'export', 'vm1', POINT, self.dir, '--json').splitlines()]
        self.assertEqual(lines[:-1], [
            {'progress': {'done_bytes': n, 'total_bytes': 1000}}
            for n in (500, 1000)])
        self.assertEqual(lines[-1],
                         {'exported': {**EXPORTED, 'directory': self.dir}})

    def test_what_fails_leaves_nothing(self):
        for answers, status, word in (
                ([far(1), error('InvalidState', '4096 bytes')], 4, '4096'),
                ([far(1), error('NoSpace', 'the disk is full')], 1, 'full'),
                ([], 7, 'closed'), ([reply({})], 1, 'exported')):
            self.answer(Export=self.filled(answers))
            self.assertIn(word, self.bad(status, 'export', 'vm1', POINT,
                                         self.dir))
            self.assertEqual(self.left(), [])

    def test_a_directory_that_is_taken_is_refused_before_it_is_filled(self):
        os.mkdir(self.dir)
        with open(os.path.join(self.dir, 'x'), 'w', encoding='utf-8'):
            pass
        self.assertIn('is there already', self.bad(
            4, 'export', 'vm1', POINT, self.dir))
        self.assertEqual([c[1].get('disks') for c in self.asked()],
                         [None, []])
        self.assertEqual(self.left(), ['out'])

    def test_what_does_not_exist_is_named(self):
        self.assertIn("'x'", self.bad(3, 'export', 'vm1', 'x', self.dir))
        self.assertIn("'y'", self.bad(3, 'export', 'vm1', POINT, self.dir,
                                      '--base', 'y'))
        self.assertIn("'vdz'", self.bad(3, 'export', 'vm1', POINT, self.dir,
                                        '--disk', 'vdz'))
        self.bad(2, 'export', 'vm1', POINT, self.dir, '--disk', 'vda',
                 '--disk', 'vda')
        self.assertEqual(self.left(), [])

    def test_what_a_kill_left_is_told(self):
        os.mkdir(self.dir + '.partial-abcdef')
        done = self.run_cli('export', 'vm1', POINT, self.dir)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("'out.partial-abcdef'", done.stderr)
        self.assertEqual(self.left(), ['out', 'out.partial-abcdef'])

    def test_interrupted_it_removes_what_it_made(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            there, go = threading.Event(), threading.Event()
            self.addCleanup(go.set)

            def hang(parameters):
                if not parameters['disks']:
                    return [reply({'exported': EXPORTED})]
                there.set()
                go.wait(30)
                return [far(1)]
            self.answer(Export=hang)
            # whoever runs this in the background has it ignored, and so would
            # the program that inherits it
            before = signal.signal(number, signal.SIG_DFL)
            program = subprocess.Popen(
                [REFPOINT, '--root', self.root, 'export', 'vm1', POINT,
                 self.dir], stderr=subprocess.PIPE, text=True)
            signal.signal(number, before)
            with program:
                self.assertTrue(there.wait(30))
                self.assertEqual(len(self.left()), 1)
                program.send_signal(number)
                _, text = program.communicate(timeout=30)
                self.assertEqual(program.returncode, 1)
            self.assertIn('interrupted', text)
            self.assertEqual(self.left(), [])
            go.set()

    def test_logs_are_asked_for_before_they_are_written(self):
        def answers(parameters):
            said = {**EXPORTED, 'content': 'logs', 'base': LATER}
            if not parameters['disks']:
                return [reply({'exported': {**said, 'disks': []}})]
            said['disks'] = [
                {'id': d, 'logs': [{'id': f'{d}-{n}', 'bytes': n << 20,
                                    'file': f'{d}-000{n}.hrl'}
                                   for n in (1, 2)]}
                for d in parameters['disks']]
            return [reply({'exported': said})]
        self.answer(Status={'status': {**STATUS, 'disks': [
            {**DISK, 'id': n} for n in ('vda', 'vdb')]}}, Export=answers)
        out = self.good('export', 'vm1', POINT, self.dir)
        self.assertRegex(out, r'(?m)^vdb +vdb-2 +2\.0 MiB +vdb-0002.hrl$')
        ask = {'vm': 'vm1', 'source': POINT}
        logs = {**ask, 'base': LATER, 'content': 'logs',
                'disks': ['vda', 'vdb']}
        self.assertEqual(self.asked()[1:], [
            ('Export', {**ask, 'disks': []}, False),
            ('Export', logs, False),
            ('Export', {**logs, 'logs': ['vda-1', 'vda-2', 'vdb-1',
                                         'vdb-2']}, True)])
        names = [f'{d}-000{n}.{end}' for d in ('vda', 'vdb') for n in (1, 2)
                 for end in ('hrl', 'side')]
        self.assertEqual(sorted(os.listdir(self.dir)),
                         sorted(['refpoint.json', *names]))
        self.assertEqual([os.path.basename(i[2]) for i in self.daemon.inodes],
                         names)
        # what is said to be wanted is not asked for
        self.good('export', 'vm1', POINT, self.dir + '2', '--content', 'logs',
                  '--disk', 'vdb', '--base', LATER, '--hash')
        self.assertEqual([(c[1].get('logs'), c[1].get('hash'))
                          for c in self.asked()[1:]],
                         [(None, True), (['vdb-1', 'vdb-2'], True)])

    def test_disks_are_exported_where_there_are_logs(self):
        self.good('export', 'vm1', POINT, self.dir, '--content', 'disks')
        self.assertEqual(self.asked()[1:], [
            ('Export', {'vm': 'vm1', 'source': POINT, 'disks': ['vda'],
                        'content': 'disks'}, True)])
        self.assertIn("'tapes'", self.bad(2, 'export', 'vm1', POINT,
                                          self.dir, '--content', 'tapes'))

    def test_a_key_vouches_for_logs_alone(self):
        path = os.path.join(self.target, 'key')
        with open(path, 'w', encoding='ascii') as f:
            os.fchmod(f.fileno(), 0o600)
            f.write('5a' * 32)
        # the second asks, and is told that it is of disks
        for more in ['--content', 'disks'], []:
            self.assertIn('--key', self.bad(2, 'export', 'vm1', POINT,
                                            self.dir, '--key', path, *more))
            self.assertFalse([c for c in self.asked() if c[2]])
        os.unlink(path)
        self.assertEqual(self.left(), [])

    def test_a_key_is_read_from_a_file_of_its_owners(self):
        self.answer(Export=lambda parameters: [reply({'exported': {
            **EXPORTED, 'content': 'logs', 'base': LATER, 'disks': [
                {'id': d, 'logs': []} for d in parameters['disks']]}})])
        path = os.path.join(self.target, 'key')
        for text, mode, good in (('5a' * 32 + '\n', 0o600, True),
                                 ('5A' * 32, 0o400, True),
                                 ('5a' * 32 + '\n', 0o640, False),
                                 ('5a' * 32 + '\n\n', 0o600, False),
                                 ('5a' * 31, 0o600, False),
                                 ('zz' * 32, 0o600, False), ('', 0o600, False)):
            with open(path, 'w', encoding='ascii') as f:
                os.fchmod(f.fileno(), mode)
                f.write(text)
            if good:
                self.good('export', 'vm1', POINT, self.dir, '--key', path)
                shutil.rmtree(self.dir)
                self.assertEqual(self.asked()[2][1]['key'].lower(), '5a' * 32)
            else:
                said = self.bad(2, 'export', 'vm1', POINT, self.dir, '--key',
                                path)
                self.assertIn(f"'{path}'", said)
                self.assertNotIn('5a5a', said)
            os.unlink(path)
        self.assertIn(path, self.bad(1, 'export', 'vm1', POINT, self.dir,
                                     '--key', path))
        os.mkfifo(path, 0o600)
        self.bad(2, 'export', 'vm1', POINT, self.dir, '--key', path)

    def test_more_logs_than_fit_are_refused(self):
        def answers(parameters):
            return [reply({'exported': {
                **EXPORTED, 'content': 'logs', 'base': LATER,
                'disks': [{'id': d, 'logs': [{'id': str(n)}
                                             for n in range(125)]}
                          for d in parameters['disks']]}})]
        self.answer(Export=answers)
        self.assertIn('248', self.bad(4, 'export', 'vm1', POINT, self.dir))
        for wrong in {'disks': []}, {'base': None}:
            self.answer(Export={'exported': {
                **EXPORTED, 'content': 'logs', 'base': LATER, **wrong}})
            self.assertIn('answer', self.bad(
                1, 'export', 'vm1', POINT, self.dir, '--content', 'logs'))
        self.assertEqual(self.left(), [])

    def test_a_terminal_shows_how_far_it_is(self):
        master, slave = pty.openpty()
        with subprocess.Popen([REFPOINT, '--root', self.root, 'export', 'vm1',
                               POINT, self.dir], stdout=subprocess.DEVNULL,
                              stderr=slave) as program:
            os.close(slave)
            shown = b''
            try:
                while piece := os.read(master, 4096):
                    shown += piece
            except OSError:  # nobody has it open any more
                pass
            self.assertEqual(program.wait(30), 0)
        os.close(master)
        self.assertIn('50%  500 bytes of 1000 bytes', shown.decode())


class Completion(Case):
    def complete(self, *words):
        """What bash is offered for the last of the words."""
        script = ('PATH=$1:$PATH; source "$2"; shift 2; COMP_WORDS=("$@"); '
                  'COMP_CWORD=$(($# - 1)); _refpoint; '
                  'printf "%s\\n" "${COMPREPLY[@]}"')
        done = subprocess.run(
            ['bash', '-c', script, 'bash', os.path.dirname(REFPOINT),
             os.path.join(TOP, 'dist', 'bash-completion', 'refpoint'),
             'refpoint', *words], capture_output=True, text=True, timeout=60,
            check=True)
        self.assertEqual(done.stderr, '')
        return done.stdout.split()

    def test_commands_options_and_vms(self):
        self.assertEqual(self.complete('exp'), ['export'])
        self.assertEqual(self.complete('--r'), ['--root'])
        self.assertEqual(self.complete('export', '--b'), ['--base'])
        self.assertIn('--json', self.complete('export', 'vm1', '--'))
        self.answer(List={'vms': [
            {'vm': n, 'uuid': LATER, 'state': 'serving', 'disks': 1,
             'points': 0} for n in ('vm1', 'vm2', 'web')]})
        self.assertEqual(self.complete('--root', self.root, 'export', 'vm'),
                         ['vm1', 'vm2'])
        self.assertEqual(self.complete('--root', self.root + '/ru'),
                         [self.root + '/run'])


class Points(Case):
    def test_create_prints_the_id(self):
        self.answer(Create={'point': POINT_REPLY})
        self.assertEqual(self.good('create', 'vm1'), POINT + '\n')
        self.assertEqual(self.asked(), [('Create', {'vm': 'vm1'}, False)])

    def test_create_passes_what_was_said(self):
        self.answer(Create={'point': POINT_REPLY})
        out = self.json('create', 'vm1', '--type', 'log', '--consistency',
                        'application', '--label', 'Früh', '--request-id',
                        LATER, '--timeout', '7')
        self.assertEqual(out, POINT_REPLY)
        self.assertEqual(self.asked(), [('Create', {
            'vm': 'vm1', 'type': 'log', 'consistency': 'application',
            'label': 'Früh', 'request_id': LATER, 'timeout_ms': 7000},
            False)])

    def test_a_label_that_is_not_utf8_is_refused(self):
        done = subprocess.run(
            [REFPOINT, '--root', self.root, 'create', 'vm1', '--label',
             b'\xff'], capture_output=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b'UTF-8', done.stderr)

    def test_destroy(self):
        self.answer(Destroy={})
        self.assertEqual(self.good('destroy', 'vm1', POINT), '')
        self.assertEqual(self.json('destroy', 'vm1', POINT), {})
        self.assertEqual(self.asked()[0], (
            'Destroy', {'vm': 'vm1', 'point': POINT}, False))


class Check(Case):
    def test_all_is_well(self):
        answer = {'ok': True, 'bytes_read': 1572864, 'findings': [
            {'severity': 'warning', 'where': 'vda', 'message': 'old'}]}
        self.answer(Check=answer)
        text = self.good('check', 'vm1')
        self.assertIn('vm1: read 1.5 MiB of tracking data, 0 errors, 1 warn',
                      text)
        self.assertIn('old', text)
        self.assertEqual(self.json('check', 'vm1'), answer)

    def test_damage_is_exit_8_and_still_listed(self):
        answer = {'ok': False, 'bytes_read': 10, 'findings': [
            {'severity': 'error', 'where': 'vda', 'message': 'bad sum'}]}
        self.answer(Check=answer)
        done = self.run_cli('check', 'vm1')
        self.assertEqual(done.returncode, 8)
        self.assertIn('bad sum', done.stdout)
        self.assertIn("'vm1' is damaged", done.stderr)
        done = self.run_cli('check', 'vm1', '--json')
        self.assertEqual(done.returncode, 8)
        self.assertEqual(json.loads(done.stdout), answer)


class Changes(Case):
    def setUp(self):
        super().setUp()
        self.answer(Status={'status': dict(STATUS, disks=[
            DISK, dict(DISK, id='vdb')])})

    def test_pieces_of_a_disk_become_one(self):
        self.answer(Changes=[
            changes([entry([(0, 4096)])], True),
            changes([entry([(8192, 4096)])], True),
            changes([entry([(1 << 29, 4096)]),
                     entry([], 'vdb', accuracy='invalid', reason='"x"')])])
        out = self.good('--json', 'changes', 'vm1', '--since', POINT)
        self.assertEqual(json.loads(out), {
            'since': POINT, 'until': None, 'disks': [
                entry([(0, 4096), (8192, 4096), (1 << 29, 4096)]),
                entry([], 'vdb', accuracy='invalid', reason='"x"')]})
        self.assertEqual(self.asked(), [(
            'Changes', {'vm': 'vm1', 'since': POINT}, True)])

    def test_any_json_means_the_same_as_our_own_form(self):
        pieces = [changes([entry([(0, 4096), (8192, 4096)]),
                           entry([], 'vdb')], True),
                  changes([entry([(4096, 4096)], 'vdb')])]
        want = {'since': POINT, 'until': None, 'disks': [
            entry([(0, 4096), (8192, 4096)]),
            entry([(4096, 4096)], 'vdb')]}
        outputs = set()
        for style in (None, (',', ':')):
            self.answer(Changes=[
                json.dumps(p, separators=style).encode() + b'\0'
                for p in pieces])
            out = self.good('--json', 'changes', 'vm1', '--since', POINT)
            self.assertEqual(json.loads(out), want)
            outputs.add(out)
            outputs.add(self.good('changes', 'vm1', '--since', POINT))
        self.assertEqual(len(outputs), 2)

    def test_extents_in_a_text_are_no_extents(self):
        disk = entry([(4096, 4096)],
                     reason='"extents":[{"offset":0,"length":1}]')
        self.answer(Changes=[json.dumps(changes([disk]),
                                        separators=(',', ':')).encode()
                             + b'\0'])
        out = self.json('changes', 'vm1', '--since', POINT)
        self.assertEqual(out['disks'], [disk])

    def test_no_disks_at_all_is_still_json(self):
        self.answer(Changes=[changes([], until=LATER)])
        self.assertEqual(self.json('changes', 'vm1', '--since', POINT),
                         {'since': POINT, 'until': LATER, 'disks': []})

    def test_a_range_of_one_disk_between_two_points(self):
        self.answer(Changes=[changes([], until=LATER)])
        self.json('changes', 'vm1', '--since', POINT, '--until', LATER,
                  '--disk', 'vda', '--offset', '0', '--length', '1M')
        self.assertEqual(self.asked()[0][1], {
            'vm': 'vm1', 'since': POINT, 'until': LATER, 'disk': 'vda',
            'offset': 0, 'length': 1 << 20})

    def test_a_stream_that_breaks_off_is_a_failure(self):
        self.answer(Changes=[changes([entry([(0, 4096)])], True),
                             error('IoError', 'read page 7')])
        self.assertIn('read page 7', self.bad(
            1, 'changes', 'vm1', '--since', POINT, '--json'))
        self.answer(Changes=[changes([entry([(0, 4096)])], True), b'\0'])
        self.bad(1, 'changes', 'vm1', '--since', POINT, '--json')
        self.answer(Changes=[reply({'since': POINT, 'disks': [
            {'id': 'vda', 'extents': [{'offset': 'x'}]}]})])
        self.assertIn('extent', self.bad(
            1, 'changes', 'vm1', '--since', POINT, '--json'))
        self.answer(Changes=[
            b'{"parameters":{"disks":[{"id":"a"},{"extents":[]}]}}\0'])
        self.assertIn('extents', self.bad(
            1, 'changes', 'vm1', '--since', POINT, '--json'))

    def test_a_long_list_is_streamed_not_collected(self):
        with open(REFPOINT, 'rb') as f:
            if b'__asan_init' in f.read():
                self.skipTest('a sanitizer keeps what is freed')
        pieces = 200

        def long_list(_):
            for i in range(pieces):
                yield changes([entry([((i * 4000 + k) << 20, 4096)
                                      for k in range(4000)])], i < pieces - 1)
        self.answer(Changes=lambda p: list(long_list(p)))
        with tempfile.TemporaryFile() as out:
            process = subprocess.Popen(
                [REFPOINT, '--root', self.root, '--json', 'changes', 'vm1',
                 '--since', POINT], stdout=out)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = 0
            out.seek(0)
            answer = json.load(out)
        self.assertEqual(status, 0)
        self.assertEqual(len(answer['disks'][0]['extents']), pieces * 4000)
        self.assertLess(usage.ru_maxrss, 24 * 1024, 'KiB of memory')

    def test_a_person_sees_sizes_extents_and_a_map(self):
        self.answer(Changes=[changes([
            entry([(0, 1 << 29), ((1 << 30) - 4096, 4096)],
                  changed_bytes=(1 << 29) + 4096, accuracy='widened',
                  widened_bytes=1 << 24, reason='power cut')])])
        text = self.good('changes', 'vm1', '--since', POINT,
                         env={'COLUMNS': '68'})
        self.assertIn('vda: 512.0 MiB changed, widened by 16.0 MiB: power',
                      text)
        row = re.search(r'\[(.*)\]', text).group(1)
        self.assertEqual(row, '#' * 32 + '.' * 31 + '-')
        self.assertIn('512.0 MiB', text.split(']')[1])
        self.assertIn('4.0 KiB', text)

    def test_many_extents_are_not_all_shown(self):
        self.answer(Changes=[changes([entry(
            [(i << 20, 4096) for i in range(100)])])])
        text = self.good('changes', 'vm1', '--since', POINT)
        self.assertIn('and 84 more', text)

    def on_terminal(self, **env):
        """What `changes` draws on a terminal of 40 columns."""
        pid, fd = pty.fork()
        if pid == 0:
            os.execve('/bin/sh', ['sh', '-c', 'stty cols 40; exec "$@"', 'sh',
                                  REFPOINT, '--root', self.root, 'changes',
                                  'vm1', '--since', POINT],
                      {'PATH': os.environ['PATH'], **env})
        out = b''
        while select.select([fd], [], [], 30)[0]:
            try:
                piece = os.read(fd, 4096)
            except OSError:
                break
            if not piece:
                break
            out += piece
        os.close(fd)
        self.assertEqual(os.waitpid(pid, 0)[1], 0)
        return out.decode()

    def test_the_map_uses_block_characters_where_they_can_be_shown(self):
        self.answer(Changes=[changes([entry(
            [(0, 1 << 29), ((1 << 30) - 4096, 4096)])])])
        text = self.on_terminal(LC_ALL='C.UTF-8')
        self.assertEqual(re.search('▕(.*)▏', text).group(1),
                         '█' * 18 + '·' * 17 + '▁')
        text = self.on_terminal(LC_ALL='C')
        self.assertEqual(re.search(r'\[(.*)\]', text).group(1),
                         '#' * 18 + '.' * 17 + '-')


class Attach(Case):
    def words(self, *argv):
        """As a shell takes them apart."""
        out = self.good('attach', 'vm1', *argv)
        return subprocess.run(
            ['/bin/sh', '-c', 'printf "%s\\n" ' + out.replace('\\\n', ' ')],
            capture_output=True, text=True, check=True).stdout.splitlines()

    def test_qemu(self):
        self.answer(Status={'status': STATUS})
        words = self.words('--qemu')
        self.assertEqual(words[0::2], ['-blockdev', '-device'])
        node = dict(o.split('=', 1) for o in words[1].split(','))
        device = json.loads(words[3])
        self.assertEqual(node, {
            'driver': 'nbd', 'node-name': 'refpoint0', 'server.type': 'unix',
            'server.path': '/run/refpoint/vm/vm1/nbd.sock', 'export': 'vda',
            'reconnect-delay': '3600', 'discard': 'unmap',
            'cache.direct': 'on', 'cache.no-flush': 'off'})
        self.assertEqual((device['drive'], device['werror'],
                          device['rerror'], device['serial']),
                         ('refpoint0', 'stop', 'stop', 'vda'))
        self.assertEqual(self.json('attach', 'vm1', '--qemu'),
                         {'arguments': words})

    def test_odd_paths_survive_every_quoting(self):
        uri = "nbd+unix:///vda?socket=/r,%20'%3C%26%25/s"
        self.answer(Status={'status': dict(
            STATUS, disks=[dict(DISK, nbd_uri=uri)])})
        want = "server.path=/r,, '<&%/s,export=vda"
        self.assertIn(want, self.words('--qemu')[1])
        self.assertIn(want, self.json('attach', 'vm1', '--qemu')
                      ['arguments'][1])
        self.assertIn(want, self.libvirt_arguments()[1])

    def libvirt_arguments(self):
        space = 'http://libvirt.org/schemas/domain/qemu/1.0'
        text = self.good('attach', 'vm1', '--libvirt')
        self.assertIn('<!--', text)
        root = xml.etree.ElementTree.fromstring(
            f"<domain xmlns:qemu='{space}'>{text}</domain>")
        return [a.get('value') for a in root.iter(f'{{{space}}}arg')]

    def test_libvirt(self):
        self.answer(Status={'status': STATUS})
        self.assertEqual(self.libvirt_arguments(), self.words('--qemu'))
        self.assertEqual(self.json('attach', 'vm1', '--libvirt')['xml'],
                         self.good('attach', 'vm1', '--libvirt'))

    def test_a_vm_that_is_not_served_cannot_be_attached(self):
        self.answer(Status={'status': dict(
            STATUS, disks=[dict(DISK, nbd_uri=None)])})
        self.assertIn("run 'refpoint serve vm1'",
                      self.bad(4, 'attach', 'vm1', '--qemu'))
        self.answer(Status={'status': dict(
            STATUS, disks=[dict(DISK, nbd_uri='nbd://host/vda')])})
        self.bad(1, 'attach', 'vm1', '--qemu')
        self.answer(Status={'status': dict(
            STATUS, disks=[dict(DISK, nbd_uri=DISK['nbd_uri'] + '%0')])})
        self.bad(1, 'attach', 'vm1', '--qemu')

    def test_qemu_takes_the_arguments_and_finds_the_disk(self):
        qemu = shutil.which('qemu-system-x86_64')
        server = shutil.which('qemu-nbd')
        if not qemu or not server:
            self.skipTest('qemu-system-x86_64 or qemu-nbd is not installed')
        image = os.path.join(self.root, 'a,b.raw')
        path = os.path.join(self.root, 'n,bd.sock')
        with open(image, 'wb') as f:
            f.truncate(3 << 20)
        nbd = subprocess.Popen([server, '-f', 'raw', '-x', 'vda', '-k', path,
                                '-t', image])
        self.addCleanup(nbd.wait)
        self.addCleanup(nbd.terminate)
        while not os.path.exists(path):
            self.assertIsNone(nbd.poll())
        self.answer(Status={'status': dict(STATUS, disks=[
            dict(DISK, nbd_uri='nbd+unix:///vda?socket=' + path)])})
        commands = [
            {'execute': 'qmp_capabilities'},
            {'execute': 'query-block'},
            {'execute': 'quit'}]
        done = subprocess.run(
            [qemu, '-M', 'q35,accel=tcg', '-m', '64', '-nodefaults', '-S',
             '-display', 'none', '-qmp', 'stdio', *self.words('--qemu')],
            input='\n'.join(json.dumps(c) for c in commands),
            capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        answers = [json.loads(line) for line in done.stdout.splitlines()]
        block = next(a['return'][0] for a in answers
                     if isinstance(a.get('return'), list))
        self.assertEqual(block['inserted']['node-name'], 'refpoint0')
        self.assertEqual(block['inserted']['image']['virtual-size'], 3 << 20)
        self.assertTrue(block['inserted']['cache']['writeback'])


if __name__ == '__main__':
    unittest.main(verbosity=2, argv=sys.argv)
