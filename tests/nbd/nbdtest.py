# SPDX-License-Identifier: Apache-2.0
"""The server under test, a client that speaks raw bytes, and small checks.

A test file defines functions named test_*, each with a Server as its argument,
and ends with nbdtest.main().  Environment: NBD_SERVER, the program;
NBD_SLOWNESS, how many times as slow as usual it is.
"""
import faulthandler
import inspect
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time
import traceback

try:
    import nbd
except ImportError:
    print('skipped: there is no Python module nbd (python3-libnbd)')
    sys.exit(77)

SLOWNESS = int(os.environ.get('NBD_SLOWNESS', '1'))
MIB = 1 << 20
DISK = 64 * MIB

OPT_MAGIC = 0x49484156454f5054
REP_MAGIC = 0x0003e889045565a9
EXPORT_NAME, ABORT, LIST, INFO, GO, STRUCTURED, LIST_META, SET_META = \
    1, 2, 3, 6, 7, 8, 9, 10
ACK, REP_SERVER, REP_INFO, REP_META = 1, 2, 3, 4
ERR = 1 << 31
UNSUP, INVALID, UNKNOWN, TOO_BIG = ERR + 1, ERR + 3, ERR + 6, ERR + 9
READ, WRITE, DISC, FLUSH, TRIM, CACHE, ZEROES, STATUS = range(8)
FUA, NO_HOLE, DF, REQ_ONE, FAST_ZERO = 1, 2, 4, 8, 16
EPERM, EIO, EINVAL, ENOSPC, ESHUTDOWN = 1, 5, 22, 28, 108


class Closed(Exception):
    """The server closed the connection."""


def wait_until(what, condition, timeout=20):
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f'waited {timeout} s for {what}')
        time.sleep(0.01)


class Server:
    """nbd-memory-server on a socket of its own."""

    def __init__(self, disks=None):
        self.dir = tempfile.mkdtemp(prefix='nbd')
        self.socket = os.path.join(self.dir, 's')
        self.errors = open(os.path.join(self.dir, 'stderr'), 'w+')
        disks = disks or [f'root={DISK}']
        self.process = subprocess.Popen(
            [os.environ['NBD_SERVER'], self.socket] + disks, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors)
        line = self.process.stdout.readline()
        assert line == 'ready\n', self.log()

    def command(self, line):
        self.process.stdin.write(line + '\n')
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f'the server died:\n{self.log()}'
        return answer.strip()

    def stats(self):
        return {k: int(v) for k, v in
                (word.split('=') for word in self.command('stats').split())}

    def trace(self):
        """[(what, op, offset, length, flags)] since the last call."""
        return [(what, op, int(a), int(b), int(c)) for what, op, a, b, c in
                (word.split(':') for word in self.command('trace').split())]

    def uri(self, name=''):
        return f'nbd+unix:///{name}?socket={self.socket}'

    def log(self):
        self.errors.flush()
        with open(self.errors.name) as f:
            return f.read()

    def warnings(self):
        return [line for line in self.log().splitlines() if 'warning' in line]

    def stop(self):
        """Ends it as its owner would; it must be clean."""
        self.process.stdin.close()
        try:
            code = self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError('the server does not end\n' + self.log())
        finally:
            self.process.stdout.close()
            log = self.log()
            self.errors.close()
            shutil.rmtree(self.dir)
        assert code == 0, f'the server ended with {code}\n{log}'

    def connect(self, name='', contexts=(), structured=True):
        """A well-behaved client."""
        h = nbd.NBD()
        h.set_strict_mode(0)
        h.set_export_name(name)
        h.set_request_structured_replies(structured)
        for context in contexts:
            h.add_meta_context(context)
        h.connect_unix(self.socket)
        return h


class Raw:
    """A client that sends what it is told."""

    def __init__(self, server, flags=3, greet=True):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(server.socket)
        self.cookie = 0
        if greet:
            assert self.receive(18) == struct.pack(
                '>8sQH', b'NBDMAGIC', OPT_MAGIC, 3)
            self.send(struct.pack('>I', flags))

    def send(self, data):
        self.socket.sendall(data)

    def receive(self, count):
        data = bytearray()
        while len(data) < count:
            try:
                part = self.socket.recv(count - len(data))
            except ConnectionResetError:
                part = b''
            if not part:
                raise Closed()
            data += part
        return bytes(data)

    def is_closed(self):
        try:
            self.receive(1)
        except Closed:
            return True
        return False

    def close(self):
        self.socket.close()

    # negotiation

    def send_option(self, option, data=b'', length=None, magic=OPT_MAGIC):
        self.send(struct.pack('>QII', magic, option,
                              len(data) if length is None else length) + data)

    def option_reply(self, option):
        magic, echoed, kind, length = struct.unpack('>QIII', self.receive(20))
        assert magic == REP_MAGIC and echoed == option
        return kind, self.receive(length)

    def option(self, option, data=b''):
        """All replies to it, the last one is ACK or an error."""
        self.send_option(option, data)
        replies = [self.option_reply(option)]
        while replies[-1][0] != ACK and not replies[-1][0] & ERR:
            replies.append(self.option_reply(option))
        return replies

    def go(self, name=b'', structured=False, option=GO):
        if structured:
            assert self.option(STRUCTURED) == [(ACK, b'')]
        return self.option(option, struct.pack('>I', len(name)) + name +
                           struct.pack('>H', 0))

    # transmission

    def send_command(self, command, offset=0, length=0, flags=0, data=b'',
                     magic=0x25609513, cookie=None):
        self.cookie += 1
        if cookie is None:
            cookie = self.cookie
        self.send(struct.pack('>IHHQQI', magic, flags, command, cookie,
                              offset, length) + data)
        return cookie

    def simple_reply(self, length=0):
        """(error, cookie, data)"""
        magic, error, cookie = struct.unpack('>IIQ', self.receive(16))
        assert magic == 0x67446698
        return error, cookie, self.receive(length) if not error else b''

    def chunk(self):
        """(flags, type, cookie, payload)"""
        magic, flags, kind, cookie, length = struct.unpack(
            '>IHHQI', self.receive(20))
        assert magic == 0x668e33ef
        return flags, kind, cookie, self.receive(length)

    def simple(self, command, *args, read=0, **kwargs):
        """Error and data of one command."""
        cookie = self.send_command(command, *args, **kwargs)
        error, echoed, data = self.simple_reply(read)
        assert echoed == cookie
        return error, data


def expect_error(number, function, *args, **kwargs):
    """Calls a function of libnbd that must fail with this errno."""
    try:
        function(*args, **kwargs)
    except nbd.Error as e:
        assert e.errnum == number, f'{e.errno}, not {number}: {e.string}'
        return e.string
    raise AssertionError('it did not fail')


def serves_well(server, offset=8 * MIB):
    """A newcomer is served, whatever others do.  As a guest's QEMU does, it
    asks for base:allocation when it connects."""
    h = server.connect('root', ['base:allocation'])
    assert h.can_meta_context('base:allocation')
    data = os.urandom(8192)
    h.pwrite(data, offset)
    assert h.pread(8192, offset) == data
    h.shutdown()


def check_no_leak(server, before):
    """Descriptors, memory and views are as they were."""
    def same():
        now = server.stats()
        return all(now[k] == before[k] for k in before)
    wait_until(f'{before}, it is {server.stats()}', same)


def main():
    """Runs each test on a server of its own (or the one it makes itself)."""
    module = sys.modules['__main__']
    only = sys.argv[1:]
    failed = 0
    for name, test in list(vars(module).items()):
        if not name.startswith('test_') or (only and name not in only):
            continue
        start = time.monotonic()
        server = None
        # A call into libnbd cannot be interrupted otherwise.
        faulthandler.dump_traceback_later(60, exit=True)
        try:
            if inspect.signature(test).parameters:
                server = Server()
                test(server)
                server.stop()
            else:
                test()
        except Exception:
            failed += 1
            print(f'FAILED {name}')
            traceback.print_exc(file=sys.stdout)
            if server and server.process.poll() is None:
                print(server.log())
                server.process.kill()
                server.process.wait()
            continue
        print(f'ok     {name} ({time.monotonic() - start:.2f} s)')
    sys.exit(1 if failed else 0)
