#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Passwords against PAM: refpoint-pam with a PAM and users of its own.

libpam-wrapper gives it a private service directory, whose pam_matrix takes
passwords from a file; libnss-wrapper gives it users and groups.  Nothing of
this machine's own is looked at.
"""
import glob
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from scene import Directory, Echo, curl, passwd, skip  # noqa: E402
from harness.process import die_with_parent, stop, wait_until  # noqa: E402

HELPER = os.environ['REFPOINT_PAM']
SERVICE = 'refpoint-cim'


def library(name):
    found = glob.glob('/usr/lib/*/' + name)
    if not found:
        skip(f'no {name}: install libpam-wrapper and libnss-wrapper')
    return found[0]


MATRIX = library('pam_wrapper/pam_matrix.so')
PRELOAD = library('libpam_wrapper.so') + ':' + library('libnss_wrapper.so')

PASSWORDS = """alice:secret:{s}
bob:other:{s}
carl:third:{s}
eve:wrong-service:another
boss:rootpw:{s}
gone:ghost:{s}
"""
USERS = """boss:x:0:0::/:/bin/false
alice:x:4001:4001::/:/bin/false
bob:x:4002:4002::/:/bin/false
carl:x:4003:4003::/:/bin/false
eve:x:4004:5001::/:/bin/false
"""
GROUPS = """root:x:0:
alice:x:4001:
bob:x:4002:
carl:x:4003:
operators:x:5001:alice,boss,eve
readers:x:5002:alice,bob
"""


class Pam(unittest.TestCase):
    def setUp(self):
        d = Directory()
        self.dir = d.__enter__()
        self.addCleanup(d.__exit__)
        os.mkdir(self.path('services'))
        self.write('passwords', PASSWORDS.format(s=SERVICE))
        self.write('passwd', USERS)
        self.write('group', GROUPS)
        self.rules(f'auth required {MATRIX} passdb={self.path("passwords")}',
                   f'account required {MATRIX} '
                   f'passdb={self.path("passwords")}')
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.helper = self.start_helper(theirs)
        theirs.close()
        self.addCleanup(self.stop_helper)
        self.users = self.path('users')
        passwd(self.users, 'frank', 'local', 'operator')
        passwd(self.users, 'bob', '*', 'operator')
        self.echo = Echo(self.dir, 'users=' + self.users, self.settings(ours),
                         'operators=operators', 'readers=readers',
                         pass_fds=(ours.fileno(),))
        ours.close()
        self.addCleanup(lambda: self.echo.close())

    @staticmethod
    def settings(ours):
        return f'pam={ours.fileno()}'

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, text):
        with open(self.path(name), 'w', encoding='utf-8') as f:
            f.write(text)

    def rules(self, *lines):
        self.write('services/' + SERVICE, '\n'.join(lines) + '\n')

    def start_helper(self, theirs):
        env = {**os.environ, 'LD_PRELOAD': PRELOAD, 'PAM_WRAPPER': '1',
               'PAM_WRAPPER_SERVICE_DIR': self.path('services'),
               'NSS_WRAPPER_PASSWD': self.path('passwd'),
               'NSS_WRAPPER_GROUP': self.path('group')}
        with open(self.path('helper.log'), 'ab') as log:
            return subprocess.Popen(
                [HELPER, '--fd', str(theirs.fileno()), '--group', 'operators',
                 '--group', 'readers'], pass_fds=(theirs.fileno(),),
                stderr=log, env=env, preexec_fn=die_with_parent)

    def stop_helper(self):
        stop(self.helper)

    def ask(self, pair, *args):
        return curl(self.echo.url(), '-u', pair, *args)

    def test_a_connection_for_each_attempt_as_systemd_makes_them(self):
        place = self.path('pam.sock')
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listener.bind(place)
        listener.listen()
        helpers = []

        def accept():
            while True:
                try:
                    theirs, _ = listener.accept()
                except OSError:
                    return
                helpers.append(self.start_helper(theirs))
                theirs.close()

        thread = threading.Thread(target=accept)
        thread.start()
        self.echo.close()
        self.echo = Echo(self.dir, 'pamsocket=' + place, 'operators=operators',
                         'readers=readers')
        try:
            self.assertEqual(self.ask('alice:secret').words()['role'],
                             'operator')
            self.assertEqual(self.ask('bob:other').words()['role'],
                             'read-only')
            self.assertEqual(self.ask('alice:wrong').status, 401)
            for helper in helpers:
                self.assertEqual(helper.wait(10), 0)
            self.assertEqual(len(helpers), 3)
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
            thread.join()
        self.assertEqual(self.ask('bob:new').status, 401)

    def test_groups_make_roles(self):
        reply = self.ask('alice:secret')
        self.assertEqual(reply.words()['role'], 'operator', reply.text)
        self.assertEqual(reply.words()['name'], 'alice')

    def test_a_line_of_the_users_file_goes_before_groups(self):
        self.assertEqual(self.ask('bob:other').words()['role'], 'operator')
        os.unlink(self.users)
        passwd(self.users, 'frank', 'local', 'operator')
        self.assertEqual(self.ask('bob:other').status, 200)  # remembered
        self.assertEqual(self.ask('frank:local').status, 200)

    def test_a_reader_reads(self):
        os.unlink(self.users)
        passwd(self.users, 'frank', 'local', 'operator')
        self.assertEqual(self.ask('bob:other').words()['role'], 'read-only')

    def test_refused(self):
        for i, (pair, why) in enumerate({
                'alice:Secret': 'a wrong password',
                'alice:': 'no password',
                'carl:third': 'none of the groups',
                'eve:wrong-service': 'no account at this service',
                'boss:rootpw': 'root',
                'gone:ghost': 'a password without a user',
                'nobody:x': 'nobody at all',
                'frank:secret': 'a name of the users file'}.items()):
            reply = self.ask(pair, '--interface', f'127.0.0.{i + 2}')
            self.assertEqual(reply.status, 401, why)

    def test_an_attempt_that_crashes_is_a_failure_only(self):
        self.write('crash', '#!/bin/sh\nkill -SEGV $PPID\nsleep 5\n')
        os.chmod(self.path('crash'), 0o755)
        good = self.path('services/' + SERVICE)
        with open(good, encoding='utf-8') as f:
            old = f.read()
        self.rules(f'auth required pam_exec.so {self.path("crash")}',
                   'account required pam_permit.so')
        self.assertEqual(self.ask('alice:secret').status, 401)
        self.assertIsNone(self.helper.poll())
        self.write('services/' + SERVICE, old)
        self.assertEqual(self.ask('alice:secret').status, 200)

    def test_without_its_helper_nobody_is_let_in_by_pam(self):
        self.helper.kill()
        self.helper.wait()
        self.assertEqual(self.ask('alice:secret').status, 401)
        self.assertEqual(self.ask('frank:local').status, 200)

    def children(self):
        with open(f'/proc/{self.helper.pid}/task/{self.helper.pid}/children',
                  encoding='ascii') as f:
            return f.read().split()

    def test_the_helper_ends_with_the_gateway_and_leaves_no_children(self):
        self.assertEqual(self.ask('alice:secret').status, 200)
        # The answer may come before its child has ended.
        wait_until('no children', lambda: not self.children())
        self.echo.close()
        wait_until('refpoint-pam to end', lambda: self.helper.poll() == 0)

    def test_failures_take_the_same_time(self):
        times = {'alice': [], 'boss': [], 'nobody': [], 'frank': []}
        for i in range(4):
            for j, name in enumerate(times):
                began = time.monotonic()
                reply = self.ask(name + ':x', '--interface',
                                 f'127.0.{j + 2}.{i + 2}')
                times[name].append(time.monotonic() - began)
                self.assertEqual(reply.status, 401)
        medians = {n: statistics.median(t) for n, t in times.items()}
        print('medians:', medians)
        self.assertLess(max(medians.values()) - min(medians.values()), 0.4)

    def test_wrong_packets_do_no_harm(self):
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.stop_helper()
        self.helper = self.start_helper(theirs)
        theirs.close()
        size = 128 + 256
        for packet in b'x', b'x' * size, b'x' * (size * 2), bytes(size):
            ours.send(packet)  # without a socket to answer on
            a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            socket.send_fds(ours, [packet], [b.fileno()])
            b.close()
            a.settimeout(10)
            self.assertEqual(a.recv(100), b'')
            a.close()
        a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        good = b'alice'.ljust(128, b'\0') + b'secret'.ljust(256, b'\0')
        socket.send_fds(ours, [good], [b.fileno()])
        b.close()
        a.settimeout(10)
        self.assertEqual(a.recv(100), b'\1\0\0\0\3\0\0\0')
        a.close()
        ours.close()
        self.assertEqual(self.helper.wait(10), 0)


if __name__ == '__main__':
    unittest.main(verbosity=2)
