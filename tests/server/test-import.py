#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Points of another host: what an import makes of the documents of an export
of logs.  The documents are made here, from docs/format/log-export.md."""
import hashlib
import hmac
import json
import os
import shutil
import struct
import subprocess
import sys
import unittest
import uuid

import nbd

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, 'tests'))
sys.path.insert(0, os.path.join(TOP, 'tests', 'daemon'))
from harness import process  # noqa: E402
from harness.refpoint import RUN, Refpointd, built, kill_now  # noqa: E402
from varlink import Client, Error  # noqa: E402

MIB = 1 << 20
SIZES = {'root': 8 * MIB, 'data': 5 * MIB + 4096}
KEY = bytes(range(32))


def content_hash(path):
    outer = hashlib.sha256()
    with open(path, 'rb') as f:
        for piece in iter(lambda: f.read(MIB), b''):
            outer.update(hashlib.sha256(piece).digest())
    return outer.hexdigest()


def sealed(config, state, key=KEY):
    """The texts of both, each a dict that is written a member a line."""
    bodies = [('{\n' + ''.join(f'{json.dumps(k)}:{json.dumps(v)},\n'
                               for k, v in document.items())).encode()
              for document in (config, state)]
    mac = hmac.new(key, b'refpoint log export 2\n'.ljust(24, b'\0')
                   + struct.pack('<Q', len(bodies[0])) + b''.join(bodies),
                   hashlib.sha256).hexdigest()
    return [(body + f'"mac":"{mac}"}}\n'.encode()).decode()
            for body in bodies]


class Case(unittest.TestCase):
    ENVIRONMENT = {}

    def setUp(self):
        self.directory = process.scratch_dir('import-')
        self.addCleanup(process.remove_dir, self.directory)
        root = f'{self.directory}/root'
        os.mkdir(root, 0o755)
        self.daemon = Refpointd(root, self.ENVIRONMENT)
        self.addCleanup(self.daemon.close)
        self.daemon.start()
        self.images = {}
        arguments = []
        for disk, size in SIZES.items():
            path = self.images[disk] = f'{self.directory}/{disk}.img'
            with open(path, 'wb') as f:
                f.truncate(size)
                f.seek(3 * MIB - 100)
                f.write(os.urandom(MIB))
            arguments += ['--disk', f'{disk}={path}']
        self.daemon.cli('define', 'vm', *arguments)
        self.ids = [str(uuid.uuid4()) for _ in range(3)]
        self.lib = f'{root}/lib'

    # ---- documents

    def point(self, number, kind):
        return {'id': self.ids[number], 'type': kind,
                'consistency': 'application', 'label': f'theirs {number}',
                'created': f'2026-01-0{number + 1}T00:00:00.123456789Z',
                'disks': [{'tracking_id': f'rctX:{number}:{disk}',
                           'size': size} for disk, size in SIZES.items()]}

    def documents(self, hashes=True):
        config = {
            'version': 2, 'content': 'logs', 'vm': 'theirs',
            'uuid': str(uuid.uuid4()), 'id': self.ids[2],
            'base': self.ids[0],
            'disks': [{'id': d, 'size': n} for d, n in SIZES.items()],
            'points': [self.point(0, 'log'), self.point(1, 'rct'),
                       self.point(2, 'log')]}
        state = {
            'version': 2, 'id': self.ids[2],
            'disks': [{'id': d, 'logs': [],
                       'hash': content_hash(p) if hashes else None}
                      for d, p in self.images.items()]}
        return config, state

    def put(self, texts, name='export'):
        directory = f'{self.directory}/{name}'
        os.makedirs(directory, exist_ok=True)
        for file, text in zip(('refpoint.json', 'refpoint-state.json'), texts):
            with open(f'{directory}/{file}', 'w', encoding='utf-8') as f:
                f.write(text)
        return directory

    def key_file(self, path=None, key=KEY):
        path = path or f'{self.directory}/key'
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, 'w', encoding='utf-8') as f:
            f.write(key.hex() + '\n')
        os.chmod(path, 0o600)
        return path

    def imported(self, texts, *arguments):
        return self.daemon.json('import', 'vm', self.put(texts), *arguments)

    def refused(self, status, texts, *arguments):
        done = subprocess.run(
            [RUN, 'refpoint', '--root', self.daemon.root, 'import', 'vm',
             self.put(texts), *arguments],
            capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertNotIn('secret', done.stderr)
        return done.stderr

    # ---- what is known

    def points(self):
        return {p['id']: p for p in self.daemon.json('points', 'vm')['points']}

    def told(self):
        """As refpointd has them, and as it finds them again."""
        def ask():
            return [p for s in self.daemon.call('Systems', points=True)[
                'systems'] for p in s['points']]
        before = ask()
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual(ask(), before)
        return before

    def accuracy(self, since, until=None):
        changes = self.daemon.changes('vm', since, until)
        disks = changes['disks'] if isinstance(changes, dict) else changes
        return [(d['id'], d['accuracy'], d['reason'], d['changed_bytes'])
                for d in disks]

    def none_is_valid(self, why):
        self.assertEqual(set(self.ids), set(self.points()))
        for point in (*self.points().values(), *self.told()):
            self.assertIn(why, point['invalid'])
        for number in self.ids:
            for disk, accuracy, reason, count in self.accuracy(number):
                self.assertEqual(accuracy, 'invalid')
                self.assertIn(why, reason)
                self.assertGreaterEqual(count, SIZES[disk])


class Verdicts(Case):
    def test_the_exported_point_is_valid_where_the_disks_are_at_it(self):
        own = self.daemon.create('vm')['id']
        told = self.imported(sealed(*self.documents()), '--key',
                             self.key_file())
        self.assertEqual(told, {'id': self.ids[2], 'valid': True,
                                'reason': '', 'points': 3})
        points = self.points()
        self.assertEqual(list(points), [own, *self.ids])
        last = points[self.ids[2]]
        self.assertEqual((last['label'], last['created'], last['type'],
                          last['consistency']),
                         ('theirs 2', '2026-01-03T00:00:00.123456789Z', 'log',
                          'application'))
        self.assertEqual([d['tracking_id'] for d in last['disks']],
                         ['rctX:2:root', 'rctX:2:data'])
        self.assertEqual((last['log']['state'], last['log']['reason']),
                         ('gone', 'it was imported'))
        self.assertIsNone(points[self.ids[1]]['log'])
        self.assertEqual([points[i]['invalid'] for i in (own, self.ids[2])],
                         [None, None])
        for number in self.ids[:2]:
            self.assertIn('was not seen here', points[number]['invalid'])
        self.assertEqual(
            self.told(), list(points.values()))
        self.daemon.cli('serve', 'vm')
        self.assertEqual(self.accuracy(self.ids[2]),
                         [('root', 'exact', '', 0), ('data', 'exact', '', 0)])
        self.assertEqual(self.accuracy(own, self.ids[2])[0][1], 'exact')
        for since, until in ((0, None), (1, 2), (0, 1)):
            for _, accuracy, reason, _ in self.accuracy(
                    self.ids[since],
                    until and self.ids[until]):
                self.assertEqual(accuracy, 'invalid')
                self.assertIn(f'to point {self.ids[2]} was not', reason)
        self.daemon.cli('unserve', 'vm')
        with open(self.images['data'], 'r+b') as f:
            f.write(b'by others')
        self.assertEqual([a[1] for a in self.accuracy(self.ids[2])],
                         ['exact', 'invalid'])

    def test_one_byte_makes_the_difference(self):
        documents = self.documents()
        with open(self.images['data'], 'r+b') as f:
            f.seek(SIZES['data'] - 1)
            f.write(b'x')
        told = self.imported(sealed(*documents), '--key', self.key_file())
        self.assertFalse(told['valid'])
        self.none_is_valid("disk 'data' was not as it was at the point")

    def test_without_hashes_nothing_is_known(self):
        told = self.imported(sealed(*self.documents(hashes=False)), '--key',
                             self.key_file())
        self.assertFalse(told['valid'])
        self.none_is_valid("disk 'root' was exported without its hash")

    def test_a_disk_that_was_left_out_has_no_hash(self):
        config, state = self.documents()
        del state['disks'][0]
        self.imported(sealed(config, state), '--key', self.key_file())
        self.none_is_valid("disk 'root' was exported without its hash")

    def test_what_nobody_vouches_for_is_invalid(self):
        texts = sealed(*self.documents())
        told = self.imported(texts)
        self.assertFalse(told['valid'])
        self.none_is_valid('its MAC is not of a key that is known here')
        self.assertIn('the exported point is there', self.refused(4, texts))
        self.assertEqual({p['consistency'] for p in self.points().values()},
                         {'crash'})

    def test_documents_that_were_changed_are_invalid(self):
        config, state = sealed(*self.documents())
        changed = config.replace('theirs 2', 'theirs 3')
        told = self.imported([changed, state], '--key', self.key_file())
        self.assertFalse(told['valid'])
        self.none_is_valid('its MAC is not')

    def test_shared_keys_and_the_hosts_own_are_tried(self):
        self.key_file(f'{self.lib}/import-keys/site.key')
        told = self.imported(sealed(*self.documents()))
        self.assertTrue(told['valid'])
        for number in self.ids:
            self.daemon.cli('destroy', 'vm', number)
        shutil.rmtree(f'{self.lib}/import-keys')
        self.key_file(f'{self.lib}/import-key')
        told = self.imported(sealed(*self.documents()))
        self.assertTrue(told['valid'])


class Refusals(Case):
    def test_what_cannot_be_imported_is_refused_whole(self):
        good = self.documents()
        key = self.key_file()

        def edited(document, name, value):
            both = [dict(d) for d in good]
            both[document][name] = value
            return sealed(*both)
        for status, texts in (
                (2, ['', '']), (2, ['{"secret":1}\n'] * 2),
                (2, edited(0, 'secret', 1)), (2, edited(0, 'vm', '/secret')),
                (2, edited(1, 'id', self.ids[1])),
                (2, edited(0, 'disks', good[0]['disks'][::-1])),
                (2, edited(0, 'version', 1)),
                (2, edited(1, 'disks', [{'id': 'secret', 'hash': None,
                                         'logs': []}]))):
            self.refused(status, texts, '--key', key)
        other = json.loads(json.dumps(good[0]).replace('"root"', '"secret"'))
        self.assertIn("'root'", self.refused(2, sealed(
            other, dict(good[1], disks=[])), '--key', key))
        grown = json.loads(json.dumps(good[0]).replace(
            str(SIZES['data']), str(SIZES['data'] + 512)))
        self.assertIn("'data'", self.refused(2, sealed(grown, good[1]),
                                             '--key', key))
        self.refused(2, sealed(*good), '--key', os.devnull)
        self.daemon.cli('serve', 'vm')
        self.assertIn('unserve', self.refused(4, sealed(*good), '--key', key))
        self.assertEqual(self.points(), {})

    def test_an_exported_point_that_is_there_keeps_all_of_them_out(self):
        texts = sealed(*self.documents())
        self.imported(texts)
        self.daemon.cli('destroy', 'vm', self.ids[0])
        self.daemon.cli('destroy', 'vm', self.ids[1])
        before = self.points()
        self.refused(4, texts)
        self.assertEqual(self.points(), before)

    def test_a_log_that_is_open_keeps_them_out(self):
        self.daemon.cli('serve', 'vm')
        own = self.daemon.create('vm', '--type', 'log')['id']
        self.daemon.cli('unserve', 'vm')
        texts = sealed(*self.documents())
        said = self.refused(4, texts, '--key', self.key_file())
        self.assertIn(own, said)
        self.assertIn('drop-log', said)
        self.assertEqual(list(self.points()), [own])
        self.daemon.cli('serve', 'vm')
        self.assertEqual(self.points()[own]['log']['state'], 'open')
        self.assertTrue(self.daemon.json('check', 'vm')['ok'])
        self.daemon.cli('drop-log', 'vm', own)
        self.daemon.cli('unserve', 'vm')
        self.assertTrue(self.imported(sealed(*self.documents()), '--key',
                                      self.key_file())['valid'])

    def test_no_message_tells_what_the_documents_say(self):
        """Who may import may not read any file that way."""
        config, state = self.documents()
        state['disks'] = []
        grown = json.loads(json.dumps(config).replace(
            str(SIZES['data']), '3584'))
        said = self.refused(2, sealed(grown, state))
        self.assertIn("disk 'data' had another size", said)
        self.assertNotIn('3584', said)
        fewer = json.loads(json.dumps(config))
        for row in (fewer, *fewer['points']):
            del row['disks'][1]
        self.assertNotRegex(self.refused(2, sealed(fewer, state)), '[0-9]')
        self.imported(sealed(config, state))
        said = self.refused(4, sealed(config, state))
        self.assertNotIn(self.ids[2], said)
        state['id'] = config['id'] = str(uuid.uuid4())
        config['points'][2]['id'] = state['id']
        said = self.refused(4, sealed(config, state))
        self.assertIn('tracking id', said)
        self.assertNotIn('rctX', said)
        self.assertNotIn(state['id'], said)


class RoundTrip(Case):
    """From a guest's disks to a copy of them on another root."""

    def setUp(self):
        super().setUp()
        self.daemon.cli('serve', 'vm')
        self.clients = {}
        for disk in self.daemon.status('vm')['disks']:
            handle = self.clients[disk['id']] = nbd.NBD()
            handle.connect_uri(disk['nbd_uri'])
        self.base = self.daemon.create('vm', '--type', 'log')['id']
        self.write('root', 17 * 4096)
        self.write('data', SIZES['data'] - 4096)
        self.exported = self.daemon.create('vm', '--type', 'log')['id']

    def write(self, disk, offset):
        self.clients[disk].pwrite(os.urandom(4096), offset)
        self.clients[disk].flush()

    def export(self, *arguments):
        directory = f'{self.directory}/exported'
        done = subprocess.run(
            [RUN, 'refpoint', '--root', self.daemon.root, 'export', 'vm',
             self.exported, directory, *arguments],
            capture_output=True, text=True, timeout=60, check=False)
        return directory, done

    def exported_hashed(self, *arguments):
        directory, done = self.export('--hash', *arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(f'{directory}/refpoint-state.json', encoding='utf-8') as f:
            state = json.load(f)
        return directory, {d['id']: d['hash'] for d in state['disks']}

    def other_root(self):
        """With copies of the disks as they are now."""
        root = f'{self.directory}/other'
        os.mkdir(root, 0o755)
        other = Refpointd(root)
        self.addCleanup(other.close)
        other.start()
        arguments = []
        for disk, path in self.images.items():
            shutil.copy(path, f'{path}.copy')
            arguments += ['--disk', f'{disk}={path}.copy']
        other.cli('define', 'copy', *arguments)
        return other

    def test_the_point_is_valid_on_a_copy(self):
        key = self.key_file()
        directory, hashes = self.exported_hashed('--key', key)
        self.assertEqual(hashes, {d: content_hash(p)
                                  for d, p in self.images.items()})
        self.daemon.json('snapshots', 'vm')
        self.assertEqual(
            self.daemon.json('snapshots', 'vm')['snapshots'], [])
        other = self.other_root()
        self.assertEqual(
            other.json('import', 'copy', directory, '--key', key),
            {'id': self.exported, 'valid': True, 'reason': '', 'points': 2})
        self.assertEqual(
            [p['id'] for p in other.json('points', 'copy')['points']],
            [self.base, self.exported])

    def test_successive_exports_are_imported_one_after_the_other(self):
        key = self.key_file()
        directory, _ = self.exported_hashed('--key', key)
        other = self.other_root()
        self.assertEqual(other.json('import', 'copy', directory, '--key',
                                    key)['points'], 2)
        ids = [self.base, self.exported]
        for i in range(2):
            self.write('root', i * 4096)
            self.exported = self.daemon.create('vm', '--type', 'log')['id']
            shutil.rmtree(directory)
            directory, _ = self.exported_hashed('--key', key, '--base',
                                                ids[0])
            for path in self.images.values():
                shutil.copyfile(path, f'{path}.copy')
            told = other.json('import', 'copy', directory, '--key', key)
            self.assertEqual((told['id'], told['valid'], told['points']),
                             (self.exported, True, 1))
            ids.append(self.exported)
            self.assertEqual(
                [p['id'] for p in other.json('points', 'copy')['points']],
                ids)
        self.assertEqual(
            [d['accuracy'] for d in other.changes('copy', ids[-1])['disks']],
            ['exact'] * 2)

    def test_another_roots_key_is_not_known(self):
        directory, _ = self.exported_hashed()
        told = self.other_root().json('import', 'copy', directory)
        self.assertFalse(told['valid'])
        self.assertIn('MAC', told['reason'])

    def test_a_copy_of_another_moment_is_not_at_the_point(self):
        key = self.key_file()
        directory, _ = self.exported_hashed('--key', key)
        self.write('data', 0)
        told = self.other_root().json('import', 'copy', directory, '--key',
                                      key)
        self.assertFalse(told['valid'])
        self.assertIn("disk 'data' was not as it was", told['reason'])

    def test_one_disk_alone_has_its_hash(self):
        _, hashes = self.exported_hashed('--disk', 'data')
        self.assertEqual(hashes, {'data': content_hash(self.images['data'])})

    def test_what_was_written_since_leaves_no_hash(self):
        self.write('root', 0)
        directory, done = self.export('--hash')
        self.assertEqual(done.returncode, 4)
        self.assertIn('4096 bytes were written to since', done.stderr)
        self.assertFalse(os.path.exists(directory))
        _, done = self.export()
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_a_hash_is_of_logs_and_needs_the_disks(self):
        _, done = self.export('--hash', '--content', 'disks')
        self.assertEqual(done.returncode, 2, done.stderr)
        for client in self.clients.values():
            client.shutdown()
        self.daemon.cli('unserve', 'vm')
        _, done = self.export('--hash', '--content', 'logs')
        self.assertEqual(done.returncode, 4, done.stderr)
        self.assertIn('serve it first', done.stderr)


class Assumed(Case):
    def device(self):
        if os.geteuid() != 0:
            self.skipTest('only root makes loop devices')
        path = f'{self.directory}/device.img'
        with open(path, 'wb') as f:
            f.truncate(64 * MIB)
        done = subprocess.run(['losetup', '--show', '-f', path],
                              capture_output=True, text=True, check=False)
        if done.returncode:
            self.skipTest('no loop device: ' + done.stderr.strip())
        device = done.stdout.strip()
        self.addCleanup(subprocess.run, ['losetup', '-d', device], check=True)
        self.addCleanup(self.daemon.close)
        return device

    def power_cut(self):
        """As far as they can tell."""
        self.daemon.kill()
        for pid in process.pids_naming(self.daemon.root):
            kill_now(pid)
        for path in self.daemon.live_dirs():
            process.remove_dir(path)
        self.daemon.start()
        self.daemon.wait_serving('device')

    def test_what_the_owner_vouches_for_is_not_hashed(self):
        """What is assumed of the disks is not what they held at the point."""
        self.daemon.cli('define', 'device', '--disk', f'd={self.device()}',
                        '--owner', 'refpoint')
        self.daemon.cli('serve', 'device')
        self.daemon.create('device', '--type', 'log')
        point = self.daemon.create('device', '--type', 'log')['id']
        command = [RUN, 'refpoint', '--root', self.daemon.root, 'export',
                   'device', point, f'{self.directory}/exported',
                   '--content', 'logs', '--hash']
        self.power_cut()
        disk, = self.daemon.changes('device', point)['disks']
        self.assertEqual((disk['accuracy'], disk['changed_bytes']),
                         ('assumed', 0))
        done = subprocess.run(command, capture_output=True, text=True,
                              timeout=60, check=False)
        self.assertEqual(done.returncode, 4, done.stderr)
        self.assertIn("whether disk 'd' is as it was", done.stderr)
        self.assertIn('power cut', done.stderr)
        self.assertFalse(os.path.exists(command[-4]))


class JobsCase(Case):
    def client(self, door='admin'):
        client = Client(f'{self.daemon.root}/run/{door}.sock')
        self.addCleanup(client.close)
        return client

    def begin(self, door='admin', **more):
        config, state = sealed(*self.documents())
        return self.client(door).call('org.refpoint.ImportJob', {
            'vm': 'vm', 'config': config, 'state': state, **more})['job']

    def job(self, job):
        return self.daemon.call('Jobs', id=job['id'])['jobs'][0]

    def ended(self, job):
        process.wait_until('the end of the job',
                           lambda: self.job(job)['state'] != 'running')
        return self.job(job)


class Jobs(JobsCase):
    def test_it_is_a_job(self):
        self.key_file(f'{self.lib}/import-keys/site.key')
        job = self.ended(self.begin('gateway'))
        self.assertEqual((job['method'], job['state'], job['point'],
                          job['percent'], job['message']),
                         ('Import', 'completed', self.ids[2], 100, ''))
        with self.assertRaises(Error) as caught:
            self.begin()
        self.assertEqual(caught.exception.name, 'AlreadyExists')

    def test_an_invalid_import_says_so(self):
        job = self.ended(self.begin())
        self.assertEqual(job['state'], 'completed')
        self.assertEqual(job['message'],
                         'the points are invalid: it was imported, and its '
                         'MAC is not of a key that is known here')

    def test_who_may_name_no_key_and_who_may_not_import(self):
        with self.assertRaises(Error) as caught:
            self.begin('gateway', key=KEY.hex())
        self.assertEqual(caught.exception.name, 'PermissionDenied')
        with self.assertRaises(Error) as caught:
            self.begin('operator')
        self.assertEqual(caught.exception.name, 'PermissionDenied')
        self.assertEqual(self.points(), {})


class Cancelled(JobsCase):
    """A disk that takes half a second for each MiB."""
    ENVIRONMENT = {
        'REFPOINT_WORKER': os.path.join(process.BUILD, 'src', 'worker',
                                        'refpoint-worker-faulty'),
        'REFPOINT_FAULTS_IO': 'read:delay=500ms'}

    def begin_slowly(self, **more):
        self.key_file(f'{self.lib}/import-keys/site.key')
        return self.begin(wait_ms=1, **more)

    def nothing_came_of_it(self):
        process.wait_until('another change to be let in', self.lets_in)
        self.assertEqual(self.points(), {})

    def lets_in(self):
        try:
            self.daemon.call('SetLogLimit', vm='vm', bytes=0)
        except process.Failure:
            return False
        return True

    def test_a_job_is_cancelled_and_nothing_is_imported(self):
        job = self.begin_slowly()
        self.assertEqual((job['state'], job['cancellable']),
                         ('running', True))
        process.wait_until('progress', lambda: self.job(job)['percent'] > 0)
        self.client().call('org.refpoint.CancelJob', {'id': job['id']})
        self.assertEqual(self.ended(job)['state'], 'cancelled')
        self.nothing_came_of_it()

    def test_who_hangs_up_ends_it(self):
        config, state = sealed(*self.documents())
        client = self.client()
        for reply in client.stream('org.refpoint.Import', {
                'vm': 'vm', 'config': config, 'state': state,
                'key': KEY.hex()}):
            self.assertIn('progress', reply)
            if reply['progress']['done_bytes']:
                self.assertEqual(reply['progress']['total_bytes'],
                                 sum(SIZES.values()))
                break
        client.close()
        self.nothing_came_of_it()

    def test_a_killed_refpointd_ends_it(self):
        job = self.begin_slowly()
        process.wait_until('progress', lambda: self.job(job)['percent'] > 0)
        self.daemon.kill()
        self.daemon.start()
        self.assertEqual(self.job(job)['state'], 'failed')
        self.nothing_came_of_it()


def main():
    why = built()
    if why:
        print(f'SKIP: {why}')
        sys.exit(77)
    unittest.main(verbosity=2)


if __name__ == '__main__':
    main()
