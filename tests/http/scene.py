# SPDX-License-Identifier: Apache-2.0
"""http-echo on ports of its own, and the clients that the tests send there."""
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                '..'))
from harness.process import Failure, die_with_parent, stop  # noqa: E402
from harness.web import (Reply, connect, curl, read_bytes,  # noqa: E402,F401
                         read_head, read_reply)

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


class Directory:
    """A temporary directory that goes away."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix='http-')
        return self.path

    def __exit__(self, *_):
        shutil.rmtree(self.path, ignore_errors=True)
