# SPDX-License-Identifier: Apache-2.0
"""http-echo on ports of its own, and the clients that the tests send there."""
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                '..'))
from harness.process import Failure, die_with_parent, stop  # noqa: E402

ECHO = os.environ['HTTP_ECHO']
PASSWD = os.environ['HTTP_PASSWD']


def skip(reason):
    print('skipped:', reason)
    sys.exit(77)


class Echo:
    """A server; `tls`, `plain` and `anonymous` are its ports."""

    def __init__(self, directory, *settings, env=None, pass_fds=(),
                 doors=('tls', 'plain')):
        self.directory = directory
        self.log = open(os.path.join(directory, 'echo.log'), 'ab')
        self.process = subprocess.Popen(
            [ECHO, directory, *[d + '=127.0.0.1:0' for d in doors],
             *settings], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self.log, pass_fds=pass_fds, text=True,
            env={**os.environ, **(env or {})}, preexec_fn=die_with_parent)
        line = self.process.stdout.readline().split()
        if not line or line[0] != 'ready':
            self.process.wait()
            for f in self.process.stdin, self.process.stdout, self.log:
                f.close()
            with open(self.log.name, encoding='utf-8') as f:
                raise Failure(f'http-echo did not start: {f.read()}')
        words = dict(word.split('=', 1) for word in line[1:])
        self.fingerprint = words.pop('fingerprint')
        self.made = words.pop('made') == '1'
        self.tls = int(words.get('tls', 0))
        self.plain = int(words.get('plain', 0))
        self.anonymous = int(words.get('anonymous', 0))

    def url(self, path='/x', door='tls', host='127.0.0.1'):
        scheme = 'https' if door == 'tls' else 'http'
        return f'{scheme}://{host}:{getattr(self, door)}{path}'

    def close(self):
        """Asks it to end, and returns its exit status."""
        self.process.stdin.close()
        try:
            return self.process.wait(20)
        finally:
            stop(self.process)
            self.process.stdout.close()
            self.log.close()


def passwd(file, name, password, role):
    subprocess.run([PASSWD, file, name, password, role], check=True)


class Reply:
    """What curl printed: status, headers with names in lower case, body."""

    def __init__(self, raw, stderr):
        self.stderr = stderr
        head, self.body = b'', raw
        while self.body.startswith(b'HTTP/'):
            head, _, self.body = self.body.partition(b'\r\n\r\n')
        lines = head.decode().split('\r\n')
        self.status = int(lines[0].split()[1]) if head else 0
        self.headers = [(k.lower(), v.strip()) for k, _, v in
                        (line.partition(':') for line in lines[1:])]
        self.text = self.body.decode('utf-8', 'replace').strip()

    def header(self, name):
        return ', '.join(v for k, v in self.headers if k == name)

    def words(self):
        return dict(w.split('=', 1) for w in self.text.split(' ') if '=' in w)


def curl(url, *args, data=None, env=None, timeout=30):
    argv = ['curl', '-sS', '-i', '--max-time', str(timeout), '--noproxy', '*',
            url, *args]
    if '--cacert' not in args:
        argv.append('-k')
    if data is not None:
        argv += ['--data-binary', '@-']
    done = subprocess.run(argv, input=data, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, check=False,
                          env={**os.environ, **(env or {})})
    reply = Reply(done.stdout, done.stderr.decode())
    reply.curl_status = done.returncode
    return reply


def connect(port, source=None, tls=False):
    """A socket of our own making."""
    s = socket.create_connection(('127.0.0.1', port), timeout=20,
                                 source_address=(source, 0) if source else None)
    if not tls:
        return s
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(s)


def read_bytes(s, n):
    data = b''
    while len(data) < n:
        piece = s.recv(n - len(data))
        if not piece:
            raise Failure(f'the connection ended after {data[:1000]!r}')
        data += piece
    return data


def read_head(s):
    """A reply's head, and not a byte of what follows."""
    head = b''
    while not head.endswith(b'\r\n\r\n'):
        head += read_bytes(s, 1)
    return head


def read_reply(s):
    """One reply off a socket: status and body."""
    head = read_head(s)
    length = 0
    for line in head.split(b'\r\n')[1:]:
        key, _, value = line.partition(b':')
        if key.lower() == b'content-length':
            length = int(value)
    return int(head.split()[1]), read_bytes(s, length)


class Directory:
    """A temporary directory that goes away."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix='http-')
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)
