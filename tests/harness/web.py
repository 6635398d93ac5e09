# SPDX-License-Identifier: Apache-2.0
"""Clients of HTTP: curl, and sockets on which anything may be said."""
import base64
import http.client
import os
import socket
import ssl
import subprocess

from .process import Failure


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


class Kept:
    """One connection for many requests, by USER:PASSWORD; over TLS with a
    CAFILE."""

    def __init__(self, port, user, cafile=None):
        self.connection = (
            http.client.HTTPSConnection(
                '127.0.0.1', port, timeout=120,
                context=ssl.create_default_context(cafile=cafile))
            if cafile else
            http.client.HTTPConnection('127.0.0.1', port, timeout=120))
        self.authorization = 'Basic ' + base64.b64encode(
            user.encode()).decode()

    def post(self, path, body, headers):
        """The status and the reply's bytes."""
        self.connection.request('POST', path, body, {
            'Authorization': self.authorization, **headers})
        reply = self.connection.getresponse()
        return reply.status, reply.read()

    def close(self):
        self.connection.close()


def send_junk(port, junk):
    """Says JUNK and no more, and waits until the other side hangs up."""
    with connect(port) as s:
        try:
            s.sendall(junk)
            s.shutdown(socket.SHUT_WR)
            while s.recv(65536):
                pass
        except socket.timeout:
            raise
        except OSError:
            pass  # it was quicker to hang up


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
