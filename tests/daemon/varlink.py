# SPDX-License-Identifier: Apache-2.0
"""The JSON sockets, as plainly as can be: NUL-terminated messages."""
import array
import json
import socket
import struct


def point_id(n):
    """Of the point that a fake worker makes as its nth, from 0 on."""
    return f'{n:08x}-0000-4000-8000-000000000000'


class Error(Exception):
    """An error reply: .name is the last part of its name."""

    def __init__(self, reply):
        self.name = reply['error'].rsplit('.', 1)[1]
        self.message = reply.get('parameters', {}).get('message', '')
        super().__init__(f'{self.name}: {self.message}')


class Channel:
    """One connection: messages with the descriptors beside them."""

    def __init__(self, sock):
        self.sock = sock
        self.data = b''
        self.fds = []

    def send(self, message, fds=()):
        data = json.dumps(message).encode() + b'\0'
        ancillary = []
        if fds:
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS,
                          array.array('i', fds))]
        sent = self.sock.sendmsg([data], ancillary)
        if sent < len(data):
            self.sock.sendall(data[sent:])

    def receive(self):
        """The next (message, descriptors); None at the end."""
        while b'\0' not in self.data:
            size = socket.CMSG_SPACE(250 * 4)
            data, ancillary, _, _ = self.sock.recvmsg(1 << 20, size)
            for level, kind, payload in ancillary:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    n = len(payload) // 4
                    self.fds += struct.unpack(f'{n}i', payload[:n * 4])
            if not data:
                return None
            self.data += data
        text, self.data = self.data.split(b'\0', 1)
        fds, self.fds = self.fds, []
        return json.loads(text), fds

    def close(self):
        self.sock.close()


class Client:
    def __init__(self, path, timeout=30):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(timeout)
        self.sock.connect(path)
        self.channel = Channel(self.sock)

    def send(self, method, parameters=None, fds=(), more=False):
        message = {'method': method, 'parameters': parameters or {}}
        if more:
            message['more'] = True
        self.channel.send(message, fds)

    def answer(self):
        got = self.channel.receive()
        if got is None:
            raise EOFError('the connection was closed')
        reply, self.fds = got
        if 'error' in reply:
            raise Error(reply)
        return reply

    def call(self, method, parameters=None, fds=()):
        self.send(method, parameters, fds)
        return self.answer().get('parameters', {})

    def stream(self, method, parameters=None):
        """Each reply's parameters, called with "more"."""
        self.send(method, parameters, more=True)
        while True:
            reply = self.answer()
            yield reply.get('parameters', {})
            if not reply.get('continues'):
                return

    def close(self):
        self.sock.close()
