# SPDX-License-Identifier: Apache-2.0
"""A refpointd that answers as it is told, and keeps what it was asked."""
import array
import json
import os
import socket
import threading

FDS_MAX = 248


class Fake:
    """Listens on ROOT/run/NAME; `answers` maps a method's last name to a list
    of messages (dicts, or bytes sent as they are), or to a function of the
    parameters that returns such a list."""

    def __init__(self, root, name='admin.sock'):
        self.answers = {}
        self.calls = []     # (method, parameters, more)
        self.inodes = []    # of the descriptors that came, and their flags
        os.makedirs(os.path.join(root, 'run'), exist_ok=True)
        self.path = os.path.join(root, 'run', name)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(self.path)
        self.socket.listen()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.socket.close()
        os.unlink(self.path)

    def _serve(self):
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                try:
                    self._converse(connection)
                except (BrokenPipeError, ConnectionResetError):
                    pass

    def _receive(self, connection):
        data = b''
        fds = array.array('i')
        while not data.endswith(b'\0'):
            piece, control, _, _ = connection.recvmsg(
                65536, socket.CMSG_LEN(FDS_MAX * fds.itemsize))
            for level, kind, bytes_ in control:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    fds.frombytes(bytes_)
            if not piece:
                return None
            data += piece
        for fd in fds:
            self.inodes.append((os.fstat(fd).st_ino,
                                os.get_blocking(fd),
                                os.readlink(f'/proc/self/fd/{fd}')))
            os.write(fd, b'')  # it is open for writing
            os.close(fd)
        return json.loads(data[:-1])

    def _converse(self, connection):
        while True:
            call = self._receive(connection)
            if call is None:
                return
            prefix, name = call['method'].rsplit('.', 1)
            assert prefix == 'org.refpoint', call
            self.calls.append((name, call.get('parameters'),
                               call.get('more', False)))
            answers = self.answers.get(
                name, [error('Failed', f'unexpected {name}')])
            if callable(answers):
                answers = answers(call.get('parameters'))
            for answer in answers:
                if not isinstance(answer, bytes):
                    answer = json.dumps(answer).encode() + b'\0'
                connection.sendall(answer)
            if not answers:
                return  # hang up


def reply(parameters, continues=False):
    message = {'parameters': parameters}
    if continues:
        message['continues'] = True
    return message


def error(name, text):
    return {'error': 'org.refpoint.' + name, 'parameters': {'message': text}}
