#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""refpoint-cim as a program: its doors, its beginning and its end."""
import os
import pwd
import signal
import socket
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from rig import (DMTF_URI, IDENTIFY, NS, RUN, USER,  # noqa: E402
                 Failure, Rig, need)
from harness.process import tail, wait_until  # noqa: E402

need('wbemcli', 'wslid', 'uuidgen', 'curl', 'openssl')
IDLE_KIB = 16 << 10


class Program(unittest.TestCase):
    def setUp(self):
        self.rig = Rig()
        self.addCleanup(self.rig.close)

    def refused(self, why, *options, **kwargs):
        with self.assertRaisesRegex(Failure, why):
            self.rig.start(*options, **kwargs)

    def namespaces(self):
        return self.rig.wbemcli('ein', 'root/interop:CIM_Namespace')

    def test_wbemcli_and_wsl_are_answered(self):
        self.rig.start()
        self.assertIn('Name="root/virtualization/v2"', self.namespaces())
        self.assertIn('<wsmid:ProductVendor>refpoint<',
                      self.rig.wsl('wslid', 'check'))
        for uri in (DMTF_URI + 'Win32_OperatingSystem',
                    'http://schemas.microsoft.com/wbem/wsman/1/wmi/'
                    'root/cimv2/Win32_OperatingSystem'):
            text = self.rig.wsl('wslenum', uri, '-ns', 'root/cimv2')
            self.assertEqual(text.count('<p:Caption>'), 1, text)

    def test_each_door_speaks_its_protocol_alone(self):
        self.rig.start()
        for door, path, args, status in (
                ('wsman', '/wsman', (), 200),
                ('wsman', '/wsman/', (), 200),
                ('wsman', '/', (), 404),
                ('wsman', '/cimom', (), 404),
                ('wsman', '/wsman', ('-X', 'PUT'), 405),
                ('wsman', '/wsman', ('-X', 'M-POST'), 405),
                ('cimxml', '/wsman', (), 404),
                ('cimxml', '/cimom', ('-X', 'PUT'), 405),
                # none of these is CIM-XML, which says so itself
                ('cimxml', '/cimom', (), 501),
                ('cimxml', '/', ('-X', 'M-POST'), 510)):
            reply = self.rig.curl(door, *args, data=IDENTIFY, path=path)
            self.assertEqual(reply.status, status, (door, path, args))
        reply = self.rig.curl('wsman')
        self.assertEqual((reply.status, reply.header('allow')), (405, 'POST'))

    def test_identify_is_all_that_is_said_to_nobody(self):
        self.rig.start()
        get = self.rig.get('Win32_OperatingSystem', ns='root/cimv2', user=None,
                           path='/wsman-anon/identify')
        unsigned = ('-H', 'WSMANIDENTIFY: unauthenticated')
        for args, path, status in (((), '/wsman', 401),
                                   ((), '/wsman-anon/identify', 200),
                                   (unsigned, '/wsman', 200)):
            reply = self.rig.curl('wsman', *args, data=IDENTIFY, path=path,
                                  user=None)
            self.assertEqual(reply.status, status, (args, path))
            self.assertNotIn('ProductVersion', reply.text)
            if status == 401:
                self.assertIn('Basic', reply.header('www-authenticate'))
        self.assertEqual(get.status, 401)
        self.assertIn('Basic', get.header('www-authenticate'))
        self.assertEqual(self.rig.curl('cimxml', *unsigned, data=b'x',
                                       user=None).status, 401)
        # with a name, and a wrong password, one is not nobody
        self.assertEqual(self.rig.curl(
            'wsman', data=IDENTIFY, path='/wsman-anon/identify',
            user='alice:wrong').status, 401)

    def test_a_certificate_is_made_once_and_shown(self):
        self.rig.start()
        first = self.rig.fingerprint
        shown = subprocess.run(
            ['openssl', 'x509', '-noout', '-fingerprint', '-sha256', '-in',
             self.rig.cert], check=True, capture_output=True, text=True).stdout
        self.assertEqual(shown.strip().split('=')[1], first)
        self.rig.restart()
        self.assertEqual(self.rig.fingerprint, first)
        self.namespaces()

    def test_a_certificate_of_the_administrators_is_used(self):
        cert, key = self.rig.path('cert'), self.rig.path('key')
        subprocess.run(
            ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt',
             'ec_paramgen_curve:P-256', '-nodes', '-keyout', key, '-out', cert,
             '-subj', '/CN=localhost', '-addext',
             'subjectAltName=IP:127.0.0.1'], check=True, capture_output=True)
        os.chmod(key, 0o644)
        self.refused('others can get at it', '--cert', cert, '--key', key)
        self.rig.give(key)
        self.rig.cert = cert
        self.rig.start('--cert', cert, '--key', key)
        self.namespaces()

    def test_plain_http_is_for_loopback_and_if_switched_on(self):
        self.refused('no other', plain=True,
                     doors=['--wsman', '0.0.0.0:0', '--cimxml', '127.0.0.1:0'])
        self.rig.start(plain=True)
        self.assertIn('root/interop', self.namespaces())
        self.assertIn('refpoint', self.rig.wsl('wslid', 'check'))
        self.rig.stop()
        self.rig.start()
        self.rig.scheme = 'http'
        self.assertEqual(self.rig.curl('wsman', data=IDENTIFY).status, 0)

    def test_it_ends_when_asked_and_starts_again(self):
        self.rig.start()
        self.namespaces()
        self.assertEqual(self.rig.stop(), 0)
        self.rig.restart()
        self.namespaces()
        self.rig.gateway.send_signal(signal.SIGINT)
        self.assertEqual(self.rig.gateway.wait(20), 0)

    def test_sighup_reads_certificates_and_users_anew(self):
        self.rig.start()
        old = self.rig.fingerprint
        self.rig.passwd('carl', 'third', 'operator')
        # a users file that changed is noticed without
        self.assertEqual(self.rig.curl('wsman', data=IDENTIFY,
                                       user='carl:third').status, 200)
        for name in 'tls-cert.pem', 'tls-key.pem':
            os.unlink(os.path.join(self.rig.root, 'lib-cim', name))
        self.rig.gateway.send_signal(signal.SIGHUP)
        wait_until('the files to be read', lambda: 'anew' in tail(self.rig.log))
        self.assertEqual(
            self.rig.curl('wsman', data=IDENTIFY).curl_status, 60, old)
        self.rig.cert = os.path.join(self.rig.root, 'lib-cim', 'tls-cert.pem')
        self.namespaces()

    def test_sighup_changes_nothing_if_something_is_wrong(self):
        self.rig.start()
        key = os.path.join(self.rig.root, 'lib-cim', 'tls-key.pem')
        with open(key, 'w', encoding='utf-8') as f:
            f.write('no key')
        self.rig.gateway.send_signal(signal.SIGHUP)
        wait_until('the complaint',
                   lambda: 'nothing was read anew' in tail(self.rig.log))
        self.namespaces()

    def test_systemd_hears_of_it(self):
        place = self.rig.path('notify')
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.bind(place)
            os.chmod(place, 0o777)
            s.settimeout(20)
            self.rig.environment['NOTIFY_SOCKET'] = place
            self.rig.start()
            self.assertEqual(s.recv(1000), b'READY=1')
            self.rig.gateway.send_signal(signal.SIGHUP)
            self.assertRegex(s.recv(1000),
                             rb'^RELOADING=1\nMONOTONIC_USEC=\d+$')
            self.assertEqual(s.recv(1000), b'READY=1')
            self.assertEqual(self.rig.stop(), 0)
            self.assertEqual(s.recv(1000), b'STOPPING=1')

    def test_without_refpointd_what_needs_it_fails_alone(self):
        self.rig.start()
        with self.assertRaisesRegex(Failure, r'Cim: \(1\).*refpointd'):
            self.rig.wbemcli('ein', NS + ':Msvm_ComputerSystem')
        self.namespaces()

    def test_a_users_file_that_others_may_change_is_refused(self):
        for mode in 0o644, 0o660:
            os.chmod(self.rig.users, mode)
            self.refused('others can get at it')

    def test_wrong_command_lines(self):
        open_to_all = self.rig.write('keytab', 'none', 0o644)
        for options, why in ((('--cert', 'x'), 'belong together'),
                             (('--client-ca', 'x'), 'lets nobody in'),
                             (('--export-root', 'x'), "begin with '/'"),
                             (('--insecure-http', '--cert', 'x', '--key', 'y'),
                              'no use'),
                             (('what',), 'what is'),
                             (('--nothing',), 'see refpoint-cim --help'),
                             (('--wsman', 'localhost:1'), 'not an address'),
                             (('--ntlm', '/nonexistent'), 'No such file'),
                             (('--keytab', open_to_all),
                              'others can get at')):
            with self.subTest(options):
                self.refused(why, *options)
            self.assertIsNot(self.rig.gateway.returncode, 0, options)
        done = subprocess.run([RUN, 'refpoint-cim', '--help'], check=True,
                              capture_output=True, text=True)
        self.assertIn('--insecure-http', done.stdout)

    def test_an_address_in_use_is_said_so(self):
        self.rig.start()
        taken = f'127.0.0.1:{self.rig.ports["wsman"]}'
        with Rig() as other:
            with self.assertRaisesRegex(Failure, 'in use'):
                other.start('--wsman', taken)

    def test_its_process_has_no_rights_and_little_memory(self):
        self.rig.start()
        if os.geteuid() == 0:
            self.assertEqual(self.rig.status('Uid'),
                             pwd.getpwnam(USER).pw_uid)
            self.assertEqual(self.rig.status('CapEff'), 0)
        self.assertEqual(self.rig.status('NoNewPrivs'), 1)
        self.assertEqual(self.rig.status('Seccomp'), 2)
        self.assertEqual(os.stat(os.path.join(self.rig.root, 'lib-cim'))
                         .st_mode & 0o777, 0o700)
        rss = self.rig.status('VmRSS')
        print(f'idle at first: {rss} KiB')
        self.assertLess(rss, IDLE_KIB)

    def test_passwd_loses_no_line_to_another_one(self):
        names = [f'user{i}' for i in range(8)]
        running = [subprocess.Popen(
            [RUN, 'refpoint-cim', 'passwd', self.rig.users, name],
            stdin=subprocess.PIPE, text=True) for name in names]
        for p in running:
            p.communicate('x\n', timeout=60)
        self.assertEqual([p.returncode for p in running], [0] * len(names))
        with open(self.rig.users, encoding='utf-8') as f:
            found = {line.split(':')[0] for line in f}
        self.assertLessEqual({*names, 'alice', 'bob'}, found)

    def test_passwd_keeps_the_role_and_takes_no_nonsense(self):
        def passwd(*args, stdin='x\n'):
            return subprocess.run(
                [RUN, 'refpoint-cim', 'passwd', *args], input=stdin,
                text=True, capture_output=True, check=False, timeout=60)
        self.rig.passwd('bob', 'newer')
        with open(self.rig.users, encoding='utf-8') as f:
            lines = f.read().splitlines()
        self.assertEqual([line.split(':')[0::2] for line in lines],
                         [['alice', 'operator'], ['bob', 'read-only']])
        self.assertTrue(lines[0].split(':')[1].startswith('$y$'))
        for args, stdin, status in (((), 'x\n', 2), (('f',), 'x\n', 2),
                                    ((self.rig.users, 'a:b'), 'x\n', 2),
                                    ((self.rig.users, 'a'), '', 2),
                                    ((self.rig.users, 'a'), '\n', 2),
                                    ((self.rig.users, 'a'), 'x' * 300, 2),
                                    ((self.rig.users, 'a', '--role', 'root'),
                                     'x\n', 2)):
            done = passwd(*args, stdin=stdin)
            self.assertEqual(done.returncode, status, (args, done.stderr))
            self.assertTrue(done.stderr)
        with open(self.rig.users, encoding='utf-8') as f:
            self.assertEqual(f.read().splitlines(), lines)


if __name__ == '__main__':
    unittest.main(verbosity=2)
