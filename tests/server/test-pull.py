#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Snapshots over the network: docs/pull.md's own example, and who is let in."""
import os
import random
import re
import socket
import ssl
import struct
import subprocess
import sys
import time
import unittest
import uuid

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, 'tests'))
from harness import process  # noqa: E402
from harness.refpoint import RUN, Refpointd, built, kill_now  # noqa: E402

try:
    import nbd
except ImportError:
    nbd = None

VM = 'v'
MIB = 1 << 20
SIZES = {'root': 24 * MIB, 'data': 3 * MIB}
MAGIC, REPLY = b'IHAVEOPT', 0x0003e889045565a9
ABORT, LIST, STARTTLS, GO, STRUCTURED = 2, 3, 5, 7, 8
TLS_REQD, INVALID, ACK = (1 << 31) + 5, (1 << 31) + 3, 1


def example():
    """The program in docs/pull.md."""
    with open(os.path.join(TOP, 'docs', 'pull.md'), encoding='utf-8') as f:
        return re.search(r'```python\n(.*?)```', f.read(), re.S).group(1)


def probed(port):
    """The kernel will probe who is connected to PORT, within 60 s."""
    with open('/proc/net/tcp', encoding='ascii') as f:
        rows = [x.split() for x in f.readlines()[1:]]
    for row in rows:
        timer, when = row[5].split(':')
        if row[1].endswith(f':{port:04X}') and row[3] == '01':
            return timer == '02' and int(when, 16) <= 60 * 100
    return False


OPEN = []  # sockets of one test


class Plain:
    """A client that speaks NBD without TLS."""

    def __init__(self, address, flags=3):
        self.socket = socket.create_connection(address, 20)
        self.socket.settimeout(30)
        OPEN.append(self.socket)
        assert self.receive(18) == struct.pack('>8s8sH', b'NBDMAGIC', MAGIC, 3)
        self.socket.sendall(struct.pack('>I', flags))

    def receive(self, count):
        data = b''
        while len(data) < count:
            part = self.socket.recv(count - len(data))
            if not part:
                raise EOFError
            data += part
        return data

    def option(self, option, data=b''):
        self.socket.sendall(struct.pack('>8sII', MAGIC, option, len(data)) +
                            data)
        magic, echoed, kind, length = struct.unpack('>QIII', self.receive(20))
        assert (magic, echoed) == (REPLY, option)
        return kind, self.receive(length)

    def is_closed(self):
        try:
            return self.socket.recv(1) == b''
        except ConnectionResetError:
            return True


class Case(unittest.TestCase):
    def setUp(self):
        self.directory = process.scratch_dir('pull-')
        self.addCleanup(process.remove_dir, self.directory)
        os.chmod(self.directory, 0o755)
        root = os.path.join(self.directory, 'root')
        os.mkdir(root, 0o755)
        self.daemon = Refpointd(root, {'REFPOINT_DEBUG': 'vm'})
        self.addCleanup(self.daemon.close)
        self.daemon.start()
        self.rng = random.Random(1)
        disks = []
        for disk, size in SIZES.items():
            path = self.path(f'{disk}.img')
            with open(path, 'wb') as f:
                f.write(self.rng.randbytes(2 * MIB))
                f.truncate(size)
            disks.append(f'--disk={disk}={path}')
        self.daemon.cli('define', VM, *disks)
        self.daemon.cli('serve', VM)
        status = self.daemon.wait_serving(VM)
        self.live = {d['id']: d['nbd_uri'] for d in status['disks']}

    def tearDown(self):
        while OPEN:
            OPEN.pop().close()

    def path(self, name):
        return os.path.join(self.directory, name)

    def keys(self, s):
        """A new file with the key."""
        keys = self.path(f'{s["id"]}.{len(os.listdir(self.directory))}')
        with open(keys, 'w', encoding='ascii') as f:
            f.write(f'{s["pull"]["identity"]}:{s["pull"]["key"]}\n')
        return keys

    def snapshot(self, address='127.0.0.1:0'):
        """What the CLI says, and the file with the key."""
        s = self.daemon.json('snapshot', VM, '--listen', address)
        return s, self.keys(s)

    def listen(self, snapshot, address):
        """The same for one that is there."""
        s = self.daemon.json('listen', VM, snapshot, address)
        return s, self.keys(s)

    def connect(self, s, keys, disk='root'):
        h = nbd.NBD()
        h.set_tls_psk_file(keys)
        h.connect_uri(s['pull']['uris'][disk])
        return h

    def refused(self, s, keys):
        try:
            self.connect(s, keys).shutdown()
            return False
        except nbd.Error:
            return True

    @staticmethod
    def address(s):
        return s['pull']['address'], s['pull']['port']

    def content(self, uri, size):
        h = nbd.NBD()
        h.connect_uri(uri)
        data = b''.join(bytes(h.pread(MIB, at)) for at in range(0, size, MIB))
        h.shutdown()
        return data

    def write(self, count=50):
        for disk, uri in self.live.items():
            h = nbd.NBD()
            h.connect_uri(uri)
            for _ in range(count):
                h.pwrite(self.rng.randbytes(4096),
                         self.rng.randrange(SIZES[disk] // 4096) * 4096)
            h.zero(65536, MIB)
            h.shutdown()


class Copies(Case):
    def test_the_documents_example_makes_a_full_and_an_incremental_copy(self):
        program = self.path('pull.py')
        with open(program, 'w', encoding='utf-8') as f:
            f.write(example())
        lines = example().splitlines()
        self.assertLessEqual(len(lines), 20)
        self.assertLess(max(map(len, lines)), 80)
        self.assertNotIn(';', example())
        since = []
        for _ in range(3):
            s, keys = self.snapshot()
            instant = {disk: self.content(uri, SIZES[disk])
                       for disk, uri in self.live.items()}
            self.write()
            for disk in SIZES:
                copy = self.path(f'{disk}.copy')
                process.run(['/usr/bin/python3', program,
                             s['pull']['uris'][disk], keys, copy, *since])
                with open(copy, 'rb') as f:
                    self.assertTrue(f.read() == instant[disk], disk)
            with self.assertRaises(process.Failure):
                process.run(['/usr/bin/python3', program,
                             s['pull']['uris'][disk], keys, copy,
                             str(uuid.uuid4())])
            with open(copy, 'rb') as f:
                self.assertTrue(f.read() == instant[disk], 'no such point')
            since = [self.daemon.cli('convert', VM, s['id']).strip()]

    def test_stock_clients_read_it(self):
        s, keys = self.snapshot()
        instant = self.content(self.live['root'], SIZES['root'])
        self.write()
        uri = f'{s["pull"]["uris"]["root"]}?tls-psk-file={keys}'
        process.run(['nbdcopy', '--connections=4', uri, self.path('copy')])
        with open(self.path('copy'), 'rb') as f:
            self.assertTrue(f.read() == instant)
        self.assertIn('"is_read_only": true',
                      process.run(['nbdinfo', '--json', uri]))
        h = self.connect(s, keys)
        h.set_strict_mode(0)
        with self.assertRaises(nbd.Error) as caught:
            h.pwrite(b'x' * 4096, 0)
        self.assertEqual(caught.exception.errno, 'EPERM')
        self.assertEqual(h.get_tls_negotiated(), True)
        h.shutdown()


class Doors(Case):
    def test_without_the_key_nobody_gets_in(self):
        s, keys = self.snapshot()
        other, other_keys = self.snapshot()
        self.assertFalse(self.refused(s, keys))
        self.assertTrue(self.refused(s, other_keys))
        self.assertTrue(self.refused(other, keys))
        wrong = self.path('wrong')
        with open(wrong, 'w', encoding='ascii') as f:
            f.write(f'{s["pull"]["identity"]}:{"00" * 32}\n')
        self.assertTrue(self.refused(s, wrong))
        h = nbd.NBD()
        with self.assertRaises(nbd.Error):
            h.connect_tcp(s['pull']['address'], str(s['pull']['port']))
        self.assertFalse(self.refused(s, keys))

    def test_before_tls_only_tls_is_spoken_of(self):
        s, keys = self.snapshot()
        plain = Plain(self.address(s))
        for option, data in ((LIST, b''), (STRUCTURED, b''),
                             (GO, struct.pack('>I4sH', 4, b'root', 0)),
                             (1000, b'x' * 60000)):
            self.assertEqual(plain.option(option, data), (TLS_REQD, b''))
        self.assertEqual(plain.option(STARTTLS, b'x'), (INVALID, b''))
        self.assertEqual(plain.option(ABORT), (ACK, b''))
        self.assertTrue(plain.is_closed())
        # what follows STARTTLS in the clear is no option but broken TLS
        plain = Plain(self.address(s))
        self.assertEqual(plain.option(STARTTLS), (ACK, b''))
        plain.socket.sendall(struct.pack('>8sII', MAGIC, LIST, 0))
        while not plain.is_closed():
            pass  # an alert, at most
        for bad in (struct.pack('>8sII', MAGIC, 1, 4) + b'root',
                    struct.pack('>8sII', b'NOOPTION', LIST, 0),
                    struct.pack('>8sII', MAGIC, LIST, 1 << 30)):
            plain = Plain(self.address(s))
            plain.socket.sendall(bad)
            self.assertTrue(plain.is_closed(), bad)
        self.assertTrue(Plain(self.address(s), flags=2).is_closed())
        self.assertFalse(self.refused(s, keys))

    def test_certificates_and_anonymous_clients_are_refused(self):
        s, _ = self.snapshot()
        plain = Plain(self.address(s))
        self.assertEqual(plain.option(STARTTLS), (ACK, b''))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with self.assertRaises((ssl.SSLError, OSError)):
            context.wrap_socket(plain.socket)

    def test_the_silent_keep_nobody_out_for_long(self):
        s, keys = self.snapshot()
        readers = [self.connect(s, keys) for _ in range(3)]
        OPEN.extend(socket.create_connection(self.address(s))
                    for _ in range(10))
        start = time.monotonic()
        for h in readers:
            self.assertTrue(h.pread(4096, 0))
        # 8 at a time, for 10 s each
        self.assertFalse(self.refused(s, keys))
        self.assertLess(time.monotonic() - start, 30)

    def test_no_more_readers_than_are_allowed(self):
        s, keys = self.snapshot()
        held = [self.connect(s, keys) for _ in range(16)]
        self.assertTrue(self.refused(s, keys))
        held.pop().shutdown()
        process.wait_until('room', lambda: not self.refused(s, keys))

    def test_what_is_refused(self):
        def fails(status, text, *arguments):
            done = subprocess.run(
                [RUN, 'refpoint', '--root', self.daemon.root, 'snapshot', VM,
                 '--listen', *arguments], capture_output=True, text=True,
                timeout=60, check=False)
            self.assertEqual(done.returncode, status, done.stderr)
            self.assertIn(text, done.stderr)
        for place in ('x', '10809', ':10809', '1.2.3.4:', '1.2.3.4:x',
                      '1.2.3.4:65536', '::1:10809', '[]:1'):
            fails(2, 'is no ADDRESS:PORT', place)
        fails(2, 'in numbers', 'localhost:0')
        s, _ = self.snapshot()
        fails(1, 'listen on', f'127.0.0.1:{s["pull"]["port"]}')
        told = self.daemon.call('Snapshots', vm=VM)['snapshots']
        self.assertEqual([x['id'] for x in told], [s['id']],
                         'those that could not listen are dropped')
        for parameters, text in (
                ({}, 'AlreadyExists'), ({'credential': 'x'}, 'credential'),
                ({'port': 65536}, 'port'), ({'snapshot': 'x'}, 'NoSuchPoint')):
            with self.assertRaises(process.Failure) as caught:
                self.daemon.call('Listen', **{
                    'vm': VM, 'snapshot': s['id'], 'address': '127.0.0.1',
                    'port': 0, **parameters})
            self.assertIn(text, str(caught.exception))

    def test_low_ports_are_for_admins(self):
        s = self.daemon.call('Snapshot', vm=VM)['snapshot']
        # nobody listens at 192.0.2.1, so what is allowed fails there
        for door, port, text in (('operator', 1, 'ports below 1024'),
                                 ('operator', 1023, 'PermissionDenied'),
                                 ('operator', 1024, 'listen on'),
                                 ('admin', 1023, 'listen on')):
            with self.assertRaises(process.Failure) as caught:
                self.daemon.call('Listen', door, vm=VM, snapshot=s['id'],
                                 address='192.0.2.1', port=port)
            self.assertIn(text, str(caught.exception))
        self.assertGreaterEqual(
            self.daemon.call('Listen', 'operator', vm=VM, snapshot=s['id'],
                             address='127.0.0.1', port=0)['port'], 1024)

    def test_it_is_read_over_ipv6(self):
        """By a URI with a name, too, but not all hosts have one."""
        s, keys = self.snapshot('[::1]:0')
        self.assertIn('@[::1]:', s['pull']['uris']['root'])
        h = nbd.NBD()
        h.set_tls(nbd.TLS_REQUIRE)
        h.set_tls_psk_file(keys)
        h.set_tls_username(s['pull']['identity'])
        h.set_export_name('root')
        h.connect_socket(socket.create_connection(self.address(s)).detach())
        self.assertTrue(h.pread(4096, 0))
        h.shutdown()

    def test_who_has_vanished_is_noticed(self):
        s, keys = self.snapshot()
        h = self.connect(s, keys)
        self.assertTrue(h.pread(4096, 0))
        process.wait_until('a probe within 60 s',
                           lambda: probed(s['pull']['port']))
        h.shutdown()

    def test_asked_again_it_spares_what_is_read_by_then(self):
        again = ['--request-id', str(uuid.uuid4()), '--listen', '127.0.0.1:0']
        s = self.daemon.json('snapshot', VM, *again)
        h = self.connect(s, self.keys(s))
        with self.assertRaises(process.Failure) as caught:
            self.daemon.cli('snapshot', VM, *again)
        self.assertIn(f'snapshot {s["id"]}, which is that of the request id, '
                      'stays', str(caught.exception))
        told = self.daemon.call('Snapshots', vm=VM)['snapshots']
        self.assertEqual([x['id'] for x in told], [s['id']])
        self.assertTrue(h.pread(4096, 0))
        h.shutdown()


class Ends(Case):
    def ended(self, s, keys, h):
        """Its connections are cut off and its port is closed."""
        with self.assertRaises(nbd.Error):
            for _ in range(1000):
                h.pread(4096, 0)
        process.wait_until('the end of the port', lambda: self.closed(s))
        self.assertTrue(self.refused(s, keys))

    def closed(self, s):
        try:
            socket.create_connection(self.address(s), 5).close()
            return False
        except ConnectionRefusedError:
            return True

    def test_the_key_ends_with_the_snapshot(self):
        for end in (lambda s: self.daemon.cli('drop', VM, s['id']),
                    lambda s: self.daemon.cli('convert', VM, s['id']),
                    lambda s: self.daemon.cli('unserve', VM)):
            s, keys = self.snapshot()
            kept, kept_keys = self.snapshot()
            h = self.connect(s, keys)
            other = self.connect(kept, kept_keys)
            end(s)
            self.ended(s, keys, h)
            if self.daemon.status(VM)['state'] == 'serving':
                self.assertTrue(other.pread(4096, 0))
                self.daemon.cli('drop', VM, kept['id'])
            self.ended(kept, kept_keys, other)

    def test_it_ends_with_refpointd_and_outlives_a_worker(self):
        s, keys = self.snapshot()
        instant = self.content(self.live['root'], MIB)
        pid = self.daemon.worker_pid(VM)
        kill_now(pid)
        self.daemon.wait_serving(VM, pid)
        process.wait_until('readers to be let in again',
                           lambda: not self.refused(s, keys))
        h = self.connect(s, keys)
        self.assertTrue(h.pread(MIB, 0) == instant)
        self.daemon.kill()
        self.ended(s, keys, h)
        self.daemon.start()

    def test_a_snapshot_that_is_there_gets_another_port_and_key(self):
        s, keys = self.snapshot()
        instant = self.content(self.live['root'], MIB)
        self.write()
        h = self.connect(s, keys)
        self.daemon.kill()
        self.ended(s, keys, h)
        self.daemon.start()
        for place in ('127.0.0.1:0', f'127.0.0.1:{s["pull"]["port"]}'):
            again, new_keys = self.listen(s['id'], place)
            told, = self.daemon.json('snapshots', VM)['snapshots']
            self.assertEqual(again, dict(told, pull=again['pull']))
            self.assertEqual(again['pull']['identity'],
                             s['pull']['identity'])
            self.assertTrue(self.refused(again, keys), 'the old key')
            h = self.connect(again, new_keys)
            self.assertTrue(h.pread(MIB, 0) == instant)
            with self.assertRaises(process.Failure) as caught:
                self.listen(s['id'], '127.0.0.1:0')
            self.assertIn('already', str(caught.exception))
            self.assertEqual(self.daemon.json('unlisten', VM, s['id']), {})
            self.assertTrue(self.closed(again), 'once that is answered')
            self.ended(again, new_keys, h)
            keys = new_keys
        with self.assertRaises(process.Failure) as caught:
            self.daemon.cli('unlisten', VM, s['id'])
        self.assertIn('not read over the network', str(caught.exception))
        self.daemon.cli('drop', VM, s['id'])
        with self.assertRaises(process.Failure) as caught:
            self.daemon.call('Listen', vm=VM, snapshot=s['id'],
                             address='127.0.0.1', port=0)
        self.assertIn('NoSuchPoint', str(caught.exception))

    def test_operators_may_take_a_key_back_and_gateways_may_not(self):
        s, keys = self.snapshot()
        with self.assertRaises(process.Failure) as caught:
            self.daemon.call('Unlisten', 'gateway', vm=VM, snapshot=s['id'])
        self.assertIn('PermissionDenied', str(caught.exception))
        self.assertFalse(self.refused(s, keys))
        self.daemon.call('Unlisten', 'operator', vm=VM, snapshot=s['id'])
        self.assertTrue(self.closed(s))

    def test_listening_waits_for_a_worker_that_is_being_started(self):
        s = self.daemon.call('Snapshot', vm=VM)['snapshot']
        kill_now(self.daemon.worker_pid(VM))
        again, keys = self.listen(s['id'], '127.0.0.1:0')
        h = self.connect(again, keys)
        self.assertTrue(h.pread(4096, 0))
        h.shutdown()

    def test_an_invalid_or_unserved_snapshot_gets_no_port(self):
        def fails(text):
            with self.assertRaises(process.Failure) as caught:
                self.daemon.call('Listen', vm=VM, snapshot=s['id'],
                                 address='127.0.0.1', port=0)
            self.assertIn('InvalidState', str(caught.exception))
            self.assertIn(text, str(caught.exception))
        s = self.daemon.call('Snapshot', vm=VM, limit_bytes=65536)['snapshot']
        self.write(200)
        fails('limit')
        self.daemon.cli('unserve', VM)
        fails('not served')

    def settled(self):
        """From now on refpointd looks at the worker no more."""
        pid = self.daemon.worker_pid(VM)
        lines = f'settled vm={VM} pid={pid}', f"found the worker of '{VM}'"
        guest = nbd.NBD()
        guest.connect_uri(self.live['root'])

        def is_said():
            with open(self.daemon.log, encoding='utf-8') as f:
                text = f.read()
            return any(line in text for line in lines)
        process.wait_until('a settled worker', is_said)
        guest.shutdown()

    def restart_refpointd(self):
        os.rename(self.daemon.log, self.daemon.log + '.before')
        self.daemon.kill()
        self.daemon.start()
        self.daemon.wait_serving(VM)

    def kill_worker(self):
        pid = self.daemon.worker_pid(VM)
        kill_now(pid)
        self.daemon.wait_serving(VM, pid)

    def test_an_invalid_snapshot_ends_it_unasked(self):
        for before, after in ((None, None), (self.restart_refpointd, None),
                              (None, self.kill_worker)):
            s = self.daemon.call('Snapshot', vm=VM,
                                 limit_bytes=65536)['snapshot']
            if before:
                before()
            s, keys = self.listen(s['id'], '127.0.0.1:0')
            if after:
                after()
            self.settled()
            h = self.connect(s, keys)
            self.assertTrue(h.pread(4096, 0))
            self.write(200)
            self.ended(s, keys, h)
            told, = self.daemon.status(VM)['snapshots']
            self.assertEqual(told['state'], 'invalid')
            with open(self.daemon.log, encoding='utf-8') as f:
                self.assertIn('is not read over the network any more: it is '
                              'invalid: its limit', f.read())
            self.daemon.cli('drop', VM, s['id'])


if __name__ == '__main__':
    why = built() or (None if nbd and nbd.NBD().supports_tls() else
                      'there is no Python module nbd with TLS '
                      '(python3-libnbd)')
    if why:
        print(f'skipped: {why}')
        sys.exit(77)
    unittest.main()
