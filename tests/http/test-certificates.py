#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Client certificates, by fingerprint and by an authority's word."""
import os
import shutil
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from scene import Directory, Echo, Failure, curl, passwd, skip  # noqa: E402

if not shutil.which('openssl'):
    skip('no openssl')


class Certificates(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = Directory()
        cls.dir = cls.directory.__enter__()
        cls.make('ca', '/CN=Our authority', days=30)
        cls.make('otherca', '/CN=Another', days=30)
        cls.make('own', '/CN=own', days=30)
        cls.make('bob', '/CN=bob/O=Example', ca='ca')
        cls.make('mallory', '/CN=bob/O=Example', ca='otherca')
        cls.make('selfmade', '/CN=bob/O=Example', days=30)
        cls.make('server', '/CN=bob/O=Example', ca='ca', use='serverAuth')
        cls.make('old', '/CN=old', ca='ca', days=-1)

    @classmethod
    def tearDownClass(cls):
        cls.directory.__exit__()

    @classmethod
    def path(cls, name):
        return os.path.join(cls.dir, name)

    @classmethod
    def openssl(cls, *args):
        return subprocess.run(['openssl', *args], check=True, cwd=cls.dir,
                              capture_output=True, text=True).stdout

    @classmethod
    def make(cls, name, subject, ca=None, days=30, use='clientAuth'):
        """NAME.pem and NAME.key; self-signed without an authority."""
        new = ('req', '-newkey', 'ec', '-pkeyopt',
               'ec_paramgen_curve:P-256', '-nodes', '-subj', subject,
               '-keyout', name + '.key')
        if not ca:
            cls.openssl(*new, '-x509', '-days', str(days), '-out',
                        name + '.pem')
            return
        cls.openssl(*new, '-out', name + '.csr')
        with open(cls.path('ext'), 'w', encoding='utf-8') as f:
            f.write(f'extendedKeyUsage={use}\n')
        cls.openssl('x509', '-req', '-in', name + '.csr', '-CA', ca + '.pem',
                    '-CAkey', ca + '.key', '-CAcreateserial', '-days',
                    str(days), '-extfile', 'ext', '-out', name + '.pem')

    def fingerprint(self, name):
        return self.openssl('x509', '-in', name + '.pem', '-noout',
                            '-fingerprint', '-sha256').split('=')[1].strip()

    def setUp(self):
        d = Directory()
        self.own = d.__enter__()
        self.addCleanup(d.__exit__)
        users = os.path.join(self.own, 'users')
        passwd(users, 'own', '*', 'operator')
        passwd(users, 'robert', '*', 'read-only')
        passwd(users, 'alice', 'secret', 'operator')
        self.map = os.path.join(self.own, 'map')
        self.write(f'# ours\nown sha256:{self.fingerprint("own")}\n'
                   f'own sha256:{self.fingerprint("old")}\n'
                   'robert subject:O=Example,CN=bob\n'
                   f'nobody sha256:{self.fingerprint("mallory")}\n')
        self.settings = ('users=' + users, 'certificates=' + self.map)
        self.echo = Echo(self.own, *self.settings, 'ca=' + self.path('ca.pem'))
        self.addCleanup(lambda: self.echo.close())

    def write(self, text):
        with open(self.map, 'w', encoding='utf-8') as f:
            f.write(text)
        os.chmod(self.map, 0o600)

    def ask(self, name, *args):
        return curl(self.echo.url(), '--cert', self.path(name + '.pem'),
                    '--key', self.path(name + '.key'), *args)

    def test_a_fingerprint_stands_for_its_name(self):
        reply = self.ask('own')
        self.assertEqual(reply.words()['name'], 'own', reply.stderr)
        self.assertEqual(reply.words()['role'], 'operator')
        self.assertEqual(reply.words()['cert'], 'CN=own')

    def test_a_subject_counts_if_the_authority_says_so(self):
        reply = self.ask('bob')
        self.assertEqual(reply.words()['name'], 'robert', reply.text)
        self.assertEqual(reply.words()['role'], 'read-only')
        for name in 'selfmade', 'server':
            self.assertEqual(self.ask(name).status, 401, name)

    def test_without_authorities_no_subject_counts(self):
        self.echo.close()
        self.echo = Echo(self.own, *self.settings)
        self.assertEqual(self.ask('bob').status, 401)
        self.assertEqual(self.ask('own').status, 200)

    def test_a_name_without_a_role_is_forbidden(self):
        self.assertEqual(self.ask('mallory').status, 403)

    def test_one_whose_time_is_over_is_nobody(self):
        self.assertEqual(self.ask('old').status, 401)

    def test_one_that_nobody_knows_does_not_stand_in_the_way(self):
        self.assertEqual(self.ask('selfmade', '-u', 'alice:secret')
                         .words()['name'], 'alice')

    def test_what_is_shown_by_a_header_goes_before(self):
        self.assertEqual(self.ask('own', '-u', 'alice:secret')
                         .words()['name'], 'alice')
        self.assertEqual(self.ask('own', '-u', 'alice:wrong').status, 401)

    def test_a_map_that_is_wrong_or_not_private_is_refused(self):
        for text, mode, why in (('own\n', 0o600, 'line 1'),
                                ('own sha256:00\n', 0o600, 'line 1'),
                                ('own md5:00\n', 0o600, 'line 1'),
                                ('', 0o644, 'others can get at it')):
            self.write(text)
            os.chmod(self.map, mode)
            with self.assertRaisesRegex(Failure, why):
                Echo(self.own, *self.settings)

    def test_tls_1_2_asks_for_one_as_well(self):
        reply = self.ask('own', '--tls-max', '1.2')
        self.assertEqual(reply.words()['name'], 'own', reply.stderr)


if __name__ == '__main__':
    unittest.main(verbosity=2)
