# SPDX-License-Identifier: Apache-2.0
"""A guest agent that speaks qemu-guest-agent's protocol, well or badly.

It takes one connection at a time, as QEMU does, and keeps what happened.  How
it misbehaves, by attributes that a test sets:

  silent        commands that are never answered
  hang          {command: an Event that its answer waits for}
  errors        {command: how many of the next ones end in an error}
  raw           {command: bytes sent instead of an answer}
  drop_after    commands after which it hangs up, once each
  trickle       {command: seconds between two bytes of the answer}
  endless       commands that are answered with bytes without end
  stale         bytes that come before anything else on a connection
  wrong_ids     how many syncs are answered with another number
  thawed_early  it says that it thawed none
"""
import json
import os
import socket
import threading
import time

COMMANDS = {'guest-sync-delimited': 'sync', 'guest-fsfreeze-status': 'status',
            'guest-fsfreeze-freeze': 'freeze', 'guest-fsfreeze-thaw': 'thaw'}


class Agent:
    def __init__(self, path, filesystems=2):
        self.path = path
        self.filesystems = filesystems
        self.frozen = False
        self.frozen_at = self.frozen_for = None
        self.asked = []
        self.connections = 0
        self.silent, self.drop_after, self.endless = set(), set(), set()
        self.hang, self.errors, self.raw, self.trickle = {}, {}, {}, {}
        self.stale = b''
        self.wrong_ids = 0
        self.thawed_early = False
        self.on_thaw = self.on_frozen = lambda: None
        self.closing = False
        self.conn = None
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(1)
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self):
        self.closing = True
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        self.hang_up()
        if os.path.exists(self.path):
            os.unlink(self.path)

    def hang_up(self):
        try:
            self.conn.shutdown(socket.SHUT_RDWR)
        except (AttributeError, OSError):
            pass

    def _serve(self):
        while not self.closing:
            try:
                self.conn, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            try:
                self.conn.sendall(self.stale)
                self._talk(self.conn)
            except (OSError, EOFError):
                pass
            self.conn.close()

    def _talk(self, conn):
        buffer = b''
        while True:
            while b'\n' not in buffer:
                data = conn.recv(4096)
                if not data:
                    raise EOFError
                buffer += data
            line, buffer = buffer.split(b'\n', 1)
            self._command(conn, json.loads(line.lstrip(b'\xff')))

    def _command(self, conn, message):
        name = COMMANDS[message['execute']]
        self.asked.append(name)
        reply = self._do(name, message)
        if name in self.hang:
            self.hang[name].wait(120)
        if name in self.endless:
            while True:
                conn.sendall(b'x' * 4096)
        if name in self.silent:
            return
        if name in self.drop_after:
            self.drop_after.discard(name)
            raise EOFError
        reply = self.raw.get(name, reply)
        if name in self.trickle:
            for i in range(len(reply)):
                conn.sendall(reply[i:i + 1])
                time.sleep(self.trickle[name])
        else:
            conn.sendall(reply)

    def _do(self, name, message):
        if self.errors.get(name, 0) > 0:
            self.errors[name] -= 1
            return self.answer(error={'class': 'GenericError',
                                      'desc': f'{name} \x1b[31mfails\n'})
        if name == 'sync':
            number = message['arguments']['id']
            if self.wrong_ids > 0:
                self.wrong_ids -= 1
                number ^= 1
            return b'\xff' + self.answer(number)
        if name == 'status':
            return self.answer('frozen' if self.frozen else 'thawed')
        return self.answer(self.freeze() if name == 'freeze' else self.thaw())

    @staticmethod
    def answer(value=None, **more):
        return json.dumps(more or {'return': value}).encode() + b'\n'

    def freeze(self):
        self.frozen = True
        self.frozen_at = time.monotonic()
        self.on_frozen()
        return self.filesystems

    def thaw(self):
        self.on_thaw()
        if not self.frozen:
            return 0
        self.frozen = False
        self.frozen_for = time.monotonic() - self.frozen_at
        return 0 if self.thawed_early else self.filesystems
