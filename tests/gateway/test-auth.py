#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Who gets in, shown to clients that nobody here wrote.

What HTTP's layer does with each scheme is tested in tests/http; here is that
refpoint-cim, confined and without root's rights, still does it, and what a
role is worth behind it.
"""
import glob
import os
import pwd
import re
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from rig import (IDENTIFY, NS, RUN, USER, Failure, Rig, need,  # noqa: E402
                 skip)
from harness import realm  # noqa: E402
from harness.process import tail, wait_until  # noqa: E402
from harness.realm import OPENSSL, REALM, Kdc, need_winrm  # noqa: E402

need('wbemcli', 'wslid', 'uuidgen', 'curl', 'openssl')
SERVICE = 'Msvm_VirtualSystemReferencePointService'


def library(name):
    found = glob.glob('/usr/lib/*/' + name)
    if not found:
        raise unittest.SkipTest(f'no {name}; see tools/install-deps')
    return found[0]


class Scene(unittest.TestCase):
    environment = {}

    def setUp(self):
        self.rig = Rig(environment=self.environment)
        self.addCleanup(self.rig.close)

    def identify(self, *args, **kwargs):
        """The status of a question that takes a name; more is in .reply."""
        self.reply = self.rig.curl('wsman', *args, data=IDENTIFY, **kwargs)
        return self.reply.status

    def says_version(self):
        self.assertIn('<wsmid:ProductVersion>', self.reply.text)


class Passwords(Scene):
    def setUp(self):
        super().setUp()
        self.rig.start()

    def service(self):
        text = self.rig.wbemcli('ein', f'{NS}:{SERVICE}')
        return re.search(f'{NS}:({SERVICE}.*)', text)[1]

    def create(self, user):
        """CreateReferencePoint of nothing: 4 for who may ask."""
        return self.rig.wbemcli('cm', f'{NS}:{self.service()}',
                                'CreateReferencePoint.ReferencePointType=1',
                                user=user)

    def test_a_reader_reads_and_an_operator_operates(self):
        for user in 'alice:secret', 'bob:secret':
            self.assertIn(SERVICE, self.rig.wbemcli(
                'ei', f'{NS}:{SERVICE}', user=user))
            self.assertIn(SERVICE, self.rig.wsl(
                'wslenum', 'http://schemas.microsoft.com/wbem/wsman/1/wmi/'
                f'{NS}/{SERVICE}', user=user))
        self.assertIn('4', self.create('alice:secret').split()[-1])
        with self.assertRaisesRegex(Failure, r'Cim: \(2\) '):
            self.create('bob:secret')
        uri = ('http://schemas.microsoft.com/wbem/wsman/1/wmi/'
               f'{NS}/{SERVICE}')
        body = (f'<p:CreateReferencePoint_INPUT xmlns:p="{uri}"/>')
        for user, status, word in (('bob:secret', 500, 'AccessDenied'),
                                   ('alice:secret', 200, 'ReturnValue>4<')):
            reply = self.rig.soap(uri + '/CreateReferencePoint', uri, body,
                                  user=user)
            self.assertEqual(reply.status, status, reply.text)
            self.assertIn(word, reply.text)

    def test_who_is_not_known_is_told_nothing(self):
        for user in 'alice:wrong', 'nobody:secret', None:
            for door in 'wsman', 'cimxml':
                reply = self.rig.curl(door, data=IDENTIFY, user=user)
                self.assertEqual(reply.status, 401)
                self.assertIn('Basic', reply.header('www-authenticate'))
                self.assertNotIn('Envelope', reply.text)
        with self.assertRaises(Failure):
            self.rig.wbemcli('ein', 'root/interop:CIM_Namespace',
                             user='alice:wrong')
        log = tail(self.rig.log)
        for name in 'alice', 'nobody':
            self.assertIn(f'not let in: name="{name}" address=127.0.0.1', log)
        self.assertNotIn('wrong', log)

    def test_a_client_that_checks_certificates_needs_ours(self):
        with open('/etc/ssl/certs/ca-certificates.crt', 'rb') as f:
            others = f.read()
        with open(self.rig.cert, 'wb') as f:
            f.write(others)
        self.assertEqual(self.identify(), 0)
        self.assertEqual(self.reply.curl_status, 60)
        with self.assertRaises(Failure):
            self.rig.wbemcli('ein', 'root/interop:CIM_Namespace')


class Certificates(Scene):
    def test_a_certificate_stands_for_a_name(self):
        for name in 'alice', 'mallory':
            subprocess.run(
                ['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt',
                 'ec_paramgen_curve:P-256', '-nodes', '-keyout',
                 self.rig.path(name + '.key'), '-out',
                 self.rig.path(name + '.pem'), '-subj', '/CN=' + name],
                check=True, capture_output=True)
        shown = subprocess.run(
            ['openssl', 'x509', '-noout', '-fingerprint', '-sha256', '-in',
             self.rig.path('alice.pem')], check=True, capture_output=True,
            text=True).stdout.strip().split('=')[1]
        ca = self.rig.write('ca', 'none')
        options = ('--client-map',
                   self.rig.write('map', f'alice sha256:{shown}\n'),
                   '--client-ca', ca)
        with self.assertRaisesRegex(Failure, 'no certificate'):
            self.rig.start(*options)
        with open(self.rig.path('alice.pem'), encoding='ascii') as f:
            authority = f.read()
        self.rig.write('ca', authority)
        self.rig.start(*options)
        for name, status in ('alice', 200), ('mallory', 401):
            pair = ('--cert', self.rig.path(name + '.pem'),
                    '--key', self.rig.path(name + '.key'))
            self.assertEqual(self.identify(*pair, user=None), status)
        self.assertEqual(self.identify(user=None), 401)
        # what is wrong by now is not taken over
        self.rig.write('ca', 'none')
        self.rig.gateway.send_signal(signal.SIGHUP)
        wait_until('the complaint', lambda: 'nothing was read anew' in
                   tail(self.rig.log))
        self.assertEqual(self.identify(), 200)


class Kerberos(Scene):
    @classmethod
    def setUpClass(cls):
        if realm.missing_tool():
            skip(realm.missing_tool())
        cls.place = Rig()
        cls.addClassCleanup(cls.place.close)
        cls.kdc = Kdc(cls.place.dir)
        cls.addClassCleanup(cls.kdc.close)
        Rig.give(cls.kdc.keytab)
        os.chmod(cls.kdc.path('krb5.conf'), 0o644)

    def setUp(self):
        self.environment = self.kdc.env
        super().setUp()
        self.rig.passwd(f'alice@{REALM}', None, 'operator')
        self.kdc.kinit('alice')

    def ask(self):
        return self.identify('--negotiate', '-u', ':', user=None,
                             host='localhost')

    def test_curl_is_let_in_at_both_doors(self):
        self.rig.start('--keytab', self.kdc.keytab)
        self.assertEqual(self.ask(), 200)
        self.says_version()
        reply = self.rig.curl('cimxml', '--negotiate', '-u', ':', user=None,
                              host='localhost', data=b'<a/>')
        self.assertEqual(reply.status, 501)  # let in, and no CIM-XML
        # what it has seen it remembers where nobody else may write
        self.assertTrue(glob.glob(os.path.join(self.rig.root, 'lib-cim',
                                               'krb5*')))

    def test_keys_are_read_anew(self):
        self.rig.start('--keytab', self.kdc.keytab)
        self.assertEqual(self.ask(), 200)
        self.rig.gateway.send_signal(signal.SIGHUP)
        wait_until('keys to be read', lambda: 'anew' in tail(self.rig.log))
        self.assertEqual(self.ask(), 200)

    def test_who_has_a_ticket_and_no_role_is_forbidden(self):
        self.rig.start('--keytab', self.kdc.keytab)
        self.kdc.kinit('bob')
        self.assertEqual(self.ask(), 403)

    def test_groups_of_the_system_make_roles(self):
        user = pwd.getpwnam(USER) if os.geteuid() == 0 else None
        ours = (f'{USER}:x:{user.pw_uid}:{user.pw_gid}::/:/bin/false\n'
                if user else '')
        self.rig.environment.update({
            'LD_PRELOAD': library('libnss_wrapper.so'),
            'NSS_WRAPPER_PASSWD': self.rig.write(
                'passwd', ours + 'bob:x:4002:4002::/:/bin/false\n', 0o644),
            'NSS_WRAPPER_GROUP': self.rig.write(
                'group', 'watchers:x:5002:bob\n', 0o644)})
        self.kdc.kinit('bob')
        self.rig.start('--keytab', self.kdc.keytab, '--reader-group',
                       'watchers')
        self.rig.environment.pop('LD_PRELOAD')
        self.assertEqual(self.ask(), 200)
        self.says_version()

    def test_winrm_is_let_in(self):
        need_winrm()
        self.rig.start('--keytab', self.kdc.keytab)
        done = realm.winrm(self.rig.url('wsman', host='localhost'),
                           self.rig.cert, IDENTIFY.decode(),
                           f'alice@{REALM}', 'alicepw', 'kerberos', 'auto',
                           self.kdc.env)
        self.assertEqual(done.stdout.count('<wsmid:ProductVersion>'), 3,
                         done.stderr[-2000:])

    def test_without_a_keytab_nobody_is_asked_for_a_ticket(self):
        self.rig.start()
        self.assertEqual(self.ask(), 401)
        self.assertNotIn('Negotiate', self.reply.header('www-authenticate'))


class Ntlm(Scene):
    def test_winrm_is_let_in_with_encrypted_messages(self):
        need_winrm()
        library('gssntlmssp/gssntlmssp.so')
        self.rig.passwd('TESTDOM\\alice', None, 'operator')
        openssl = self.rig.write('openssl.cnf', OPENSSL, 0o644)
        self.rig.start('--ntlm', self.rig.write(
            'ntlm', 'TESTDOM:alice:alicepw\n'))
        for password, times in ('alicepw', 3), ('wrong', 0):
            done = realm.winrm(self.rig.url('wsman'), self.rig.cert,
                               IDENTIFY.decode(), 'TESTDOM\\alice', password,
                               'ntlm', 'always', {'OPENSSL_CONF': openssl})
            self.assertEqual(done.stdout.count('<wsmid:ProductVersion>'),
                             times, done.stderr[-2000:])


class Pam(Scene):
    """A refpoint-pam that refpoint-cim started as root, before it was not."""

    def setUp(self):
        if os.geteuid() != 0:
            self.skipTest('only root may check passwords without systemd')
        super().setUp()
        user = pwd.getpwnam(USER)
        matrix = library('pam_wrapper/pam_matrix.so')
        passwords = self.rig.write(
            'passwords', ''.join(f'{n}:{n}pw:refpoint-cim\n'
                                 for n in ('carl', 'dora', 'eve')))
        os.mkdir(self.rig.path('services'))
        self.rig.write('services/refpoint-cim',
                       f'auth required {matrix} passdb={passwords}\n'
                       f'account required {matrix} passdb={passwords}\n')
        self.rig.environment.update({
            'LD_PRELOAD': library('libpam_wrapper.so') + ':' +
            library('libnss_wrapper.so'),
            'PAM_WRAPPER': '1',
            'PAM_WRAPPER_SERVICE_DIR': self.rig.path('services'),
            'NSS_WRAPPER_PASSWD': self.rig.write(
                'passwd', f'{USER}:x:{user.pw_uid}:{user.pw_gid}::/:/x\n' +
                ''.join(f'{n}:x:{4001 + i}:{4001 + i}::/:/bin/false\n'
                        for i, n in enumerate(('carl', 'dora', 'eve'))),
                0o644),
            'NSS_WRAPPER_GROUP': self.rig.write(
                'group', 'refpoint:x:5001:carl\n'
                'refpoint-reader:x:5002:dora\n', 0o644)})
        self.rig.start('--pam')
        for name in 'LD_PRELOAD', 'PAM_WRAPPER':
            self.rig.environment.pop(name)

    def helpers(self):
        with open(f'/proc/{self.rig.gateway.pid}/task/'
                  f'{self.rig.gateway.pid}/children', encoding='ascii') as f:
            return [int(pid) for pid in f.read().split()]

    def test_users_of_the_system_come_with_their_groups_roles(self):
        for user, status in (('carl:carlpw', 200), ('dora:dorapw', 200),
                             ('eve:evepw', 401), ('carl:wrong', 401),
                             ('alice:secret', 200)):
            self.assertEqual(self.identify(user=user), status, user)
        uri = f'http://schemas.microsoft.com/wbem/wsman/1/wmi/{NS}/{SERVICE}'
        for user, status in ('carl:carlpw', 200), ('dora:dorapw', 500):
            reply = self.rig.soap(
                uri + '/CreateReferencePoint', uri,
                f'<p:CreateReferencePoint_INPUT xmlns:p="{uri}"/>', user=user)
            self.assertEqual(reply.status, status, reply.text)

    def test_a_helper_that_died_is_noticed_and_lets_nobody_in(self):
        pid, = self.helpers()
        os.kill(pid, signal.SIGKILL)
        wait_until('the line', lambda: 'refpoint-pam has ended' in
                   tail(self.rig.log))
        self.assertEqual(self.identify(user='carl:carlpw'), 401)
        self.assertEqual(self.identify(), 200)

    def test_the_helper_ends_with_the_gateway(self):
        pid, = self.helpers()
        self.rig.gateway.kill()
        self.rig.gateway.wait()
        wait_until('the helper to end',
                   lambda: not os.path.exists(f'/proc/{pid}'))


class Unprivileged(Scene):
    def test_pam_takes_systemds_socket_or_root(self):
        prefix = ()
        if os.geteuid() == 0:
            user = pwd.getpwnam(USER)
            os.chown(self.rig.root, user.pw_uid, user.pw_gid)
            prefix = ('setpriv', f'--reuid={user.pw_uid}',
                      f'--regid={user.pw_gid}', '--clear-groups')
            if subprocess.run([*prefix, RUN, 'refpoint-cim', '--help'],
                              capture_output=True, check=False).returncode:
                self.skipTest(f'{USER} may not run what is built here')
        for options in ('--pam',), ():
            with self.assertRaisesRegex(Failure, 'refpoint-pam.socket'):
                self.rig.start(*options, users=bool(options), prefix=prefix)


if __name__ == '__main__':
    unittest.main(verbosity=2)
