#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Negotiate: Kerberos with a KDC of the test's own, and NTLM.

curl and python3-winrm are the clients.  Where what matters is a single leg
or a sealed message, the client is python3-gssapi on a socket.
"""
import base64
import glob
import hashlib
import os
import socket
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from scene import (Directory, Echo, connect, curl, passwd,  # noqa: E402
                   read_bytes, read_head, read_reply, skip)
from harness import realm  # noqa: E402
from harness.realm import OPENSSL, REALM, Kdc, need_winrm  # noqa: E402

if realm.missing_tool():
    skip(realm.missing_tool())


MESSAGE = '<s:Envelope>' + 'x' * 20000 + '</s:Envelope>'
SAME = (MESSAGE + '\n') * 3


def winrm(echo, user, password, transport, encryption, env, door='tls',
          host='127.0.0.1'):
    return realm.winrm(echo.url('/echo', door, host),
                       os.path.join(echo.directory, 'tls-cert.pem'), MESSAGE,
                       user, password, transport, encryption, env)


def spnego_ntlm(echo, file):
    """curl without a ticket, but with NTLM's credentials."""
    return curl(echo.url(host='localhost'), '--negotiate', '-u', ':',
                env={'NTLM_USER_FILE': file,
                     'KRB5CCNAME': 'FILE:/nonexistent/ccache'})


class Kerberos(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.directory = Directory()
        cls.kdc = Kdc(cls.directory.__enter__())

    @classmethod
    def tearDownClass(cls):
        cls.kdc.close()
        cls.directory.__exit__()

    def setUp(self):
        d = Directory()
        self.dir = d.__enter__()
        self.addCleanup(d.__exit__)
        self.users = os.path.join(self.dir, 'users')
        passwd(self.users, f'alice@{REALM}', '*', 'operator')
        self.start()
        self.kdc.kinit('alice')

    def start(self, *settings, env=None):
        self.echo = Echo(self.dir, 'users=' + self.users,
                         'keytab=' + self.kdc.keytab, *settings,
                         env={**self.kdc.env, **(env or {})})
        self.addCleanup(self.echo.close)

    def ask(self, path='/x', door='tls', **kwargs):
        return curl(self.echo.url(path, door, 'localhost'), '--negotiate',
                    '-u', ':', env=self.kdc.env, **kwargs)

    def gss(self):
        """A client context and the module it is of."""
        try:
            import gssapi
        except ImportError:
            self.skipTest('install python3-gssapi')
        os.environ.update(self.kdc.env)
        name = gssapi.Name('HTTP@localhost',
                           gssapi.NameType.hostbased_service)
        return gssapi, gssapi.SecurityContext(
            name=name, usage='initiate', mech=gssapi.MechType.kerberos,
            flags=[gssapi.RequirementFlag.mutual_authentication,
                   gssapi.RequirementFlag.confidentiality,
                   gssapi.RequirementFlag.integrity])

    def test_curl_is_let_in_with_a_ticket(self):
        for door in 'tls', 'plain':
            reply = self.ask(data=b'12345', door=door)
            self.assertEqual(reply.status, 200, reply.stderr)
            self.assertEqual(reply.words()['name'], f'alice@{REALM}')
            self.assertEqual(reply.words()['role'], 'operator')
            self.assertEqual(reply.words()['bytes'], '5')
            self.assertTrue(reply.header('www-authenticate')
                            .startswith('Negotiate '))

    def test_winrm_is_let_in_with_a_ticket(self):
        need_winrm()
        done = winrm(self.echo, f'alice@{REALM}', 'alicepw',
                     'kerberos', 'auto', self.kdc.env, host='localhost')
        self.assertEqual(done.stdout, SAME, done.stderr[-2000:])

    def test_both_schemes_are_offered(self):
        offers = curl(self.echo.url()).header('www-authenticate')
        self.assertIn('Negotiate', offers)
        self.assertIn('Basic', offers)

    def test_who_has_a_ticket_but_no_role_is_forbidden(self):
        self.kdc.kinit('bob')
        self.assertEqual(self.ask().status, 403)

    def test_roles_come_from_the_groups_of_the_local_name(self):
        wrapper = glob.glob('/usr/lib/*/libnss_wrapper.so')
        if not wrapper:
            self.skipTest('install libnss-wrapper')
        for name, text in (('passwd', 'bob:x:4002:4002::/:/bin/false\n'),
                           ('group', 'readers:x:5002:bob\n')):
            with open(os.path.join(self.dir, name), 'w',
                      encoding='utf-8') as f:
                f.write(text)
        self.echo.close()
        self.start('readers=readers', 'operators=operators', env={
            'LD_PRELOAD': wrapper[0],
            'NSS_WRAPPER_PASSWD': os.path.join(self.dir, 'passwd'),
            'NSS_WRAPPER_GROUP': os.path.join(self.dir, 'group')})
        self.kdc.kinit('bob')
        self.assertEqual(self.ask().words()['role'], 'read-only')

    def test_what_negotiate_found_out_belongs_to_its_connection(self):
        _, context = self.gss()
        token = base64.b64encode(context.step()).decode()
        plain = b'GET /x HTTP/1.1\r\nHost: a\r\n\r\n'
        with connect(self.echo.plain) as s, connect(self.echo.plain) as other:
            s.sendall(plain.replace(b'\r\n\r\n',
                                    f'\r\nAuthorization: Negotiate {token}'
                                    '\r\n\r\n'.encode()))
            self.assertEqual(read_reply(s)[0], 200)
            s.sendall(plain)
            status, body = read_reply(s)
            self.assertEqual((status, b'name=alice@' in body), (200, True))
            other.sendall(plain)
            self.assertEqual(read_reply(other)[0], 401)
            # whatever else is shown takes its place, also if it is refused
            s.sendall(plain.replace(b'\r\n\r\n', b'\r\nAuthorization: '
                                    b'Basic YTpi\r\n\r\n'))
            self.assertEqual(read_reply(s)[0], 401)
            s.sendall(plain)
            self.assertEqual(read_reply(s)[0], 401)

    def test_a_token_meant_for_another_tls_server_is_refused(self):
        cert = subprocess.run(
            ['openssl', 'x509', '-in', os.path.join(self.dir, 'tls-cert.pem'),
             '-outform', 'DER'], check=True, capture_output=True).stdout
        right = hashlib.sha256(cert).digest()
        for binding, status in ((right, 200), (None, 200),
                                (hashlib.sha256(b'').digest(), 401)):
            gssapi, context = self.gss()
            token = gssapi.raw.init_sec_context(
                gssapi.Name('HTTP@localhost',
                            gssapi.NameType.hostbased_service), mech=gssapi.MechType.kerberos,
                channel_bindings=binding and gssapi.raw.ChannelBindings(
                    application_data=b'tls-server-end-point:' + binding)).token
            token = base64.b64encode(token).decode()
            with connect(self.echo.tls, tls=True) as s:
                s.sendall('GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: '
                          f'Negotiate {token}\r\n\r\n'.encode())
                self.assertEqual(read_reply(s)[0], status, binding)

    def test_a_token_serves_once(self):
        _, context = self.gss()
        token = base64.b64encode(context.step()).decode()
        request = ('GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: Negotiate '
                   f'{token}\r\n\r\n').encode()
        codes = []
        for _ in range(2):
            with connect(self.echo.plain) as s:
                s.sendall(request)
                codes.append(read_reply(s)[0])
        self.assertEqual(codes, [200, 401])

    def test_a_token_for_somebody_else_or_damaged_is_refused(self):
        _, context = self.gss()
        token = bytearray(context.step())
        token[-1] ^= 1
        for bad in bytes(token), bytes(token[:40]), b'', b'\0', b'x' * 3000:
            with connect(self.echo.plain) as s:
                s.sendall(b'GET /x HTTP/1.1\r\nHost: a\r\nAuthorization: '
                          b'Negotiate ' + base64.b64encode(bad) +
                          b'\r\n\r\n')
                self.assertEqual(read_reply(s)[0], 401)

    def test_ntlm_is_not_spoken_unless_configured(self):
        file = os.path.join(self.dir, 'ntlm')
        with open(file, 'w', encoding='utf-8') as f:
            f.write('TESTDOM:alice:alicepw\n')
        self.echo.close()
        passwd(self.users, 'TESTDOM\\alice', '*', 'operator')
        # not even where the environment has credentials
        self.start(env={'NTLM_USER_FILE': file})
        hello = base64.b64encode(
            b'NTLMSSP\0\1\0\0\0\x97\x82\x08\xe2' + bytes(24)).decode()
        reply = curl(self.echo.url(), '-H',
                     'Authorization: Negotiate ' + hello)
        self.assertEqual(reply.status, 401)
        self.assertNotIn('Negotiate T', reply.header('www-authenticate'))
        reply = spnego_ntlm(self.echo, file)
        self.assertEqual(reply.status, 401)

    def seal(self, gssapi, context, text):
        """A message as WinRM's Kerberos clients make it."""
        iov = gssapi.raw.IOV(gssapi.raw.IOVBufferType.header, text,
                             gssapi.raw.IOVBufferType.padding,
                             std_layout=False)
        gssapi.raw.wrap_iov(context, iov, confidential=True)
        head, data, padding = [b.value or b'' for b in iov]
        kind = b'application/HTTP-Kerberos-session-encrypted'
        return (b'--Encrypted Boundary\r\n\tContent-Type: ' + kind +
                b'\r\n\tOriginalContent: type=application/soap+xml;'
                b'charset=UTF-8;Length=%d\r\n--Encrypted Boundary\r\n'
                b'\tContent-Type: application/octet-stream\r\n'
                % (len(text) + len(padding)) +
                len(head).to_bytes(4, 'little') + head + data + padding +
                b'--Encrypted Boundary--\r\n')

    def test_a_sealed_message_is_read_and_answered_likewise(self):
        gssapi, context = self.gss()
        token = base64.b64encode(context.step()).decode()
        kind = ('Content-Type: multipart/encrypted;protocol="application/'
                'HTTP-Kerberos-session-encrypted";boundary='
                '"Encrypted Boundary"')
        with connect(self.echo.plain) as s:
            s.sendall('POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n'
                      f'Authorization: Negotiate {token}\r\n\r\n'.encode())
            data = read_head(s)
            answer = [line.split()[2] for line in data.split(b'\r\n') if
                      line.lower().startswith(b'www-authenticate')][0]
            read_bytes(s, [int(line.split()[1]) for line in
                           data.split(b'\r\n') if
                           line.lower().startswith(b'content-length')][0])
            context.step(base64.b64decode(answer))
            self.assertTrue(context.complete)
            for text in b'<s:Envelope/>', os.urandom(200000), b'x':
                sealed = self.seal(gssapi, context, text)
                head = (f'POST /echo HTTP/1.1\r\nHost: a\r\n{kind}\r\n'
                        f'Content-Length: {len(sealed)}\r\n\r\n').encode()
                s.sendall(head + sealed)
                status, body = read_reply(s)
                self.assertEqual(status, 200)
                self.assertIn(b'HTTP-Kerberos-session-encrypted', body)
                part = body.split(b'octet-stream\r\n', 1)[1]
                part = part[:part.rindex(b'--Encrypted Boundary--')]
                n = int.from_bytes(part[:4], 'little')
                iov = gssapi.raw.IOV(
                    (gssapi.raw.IOVBufferType.header, False, part[4:4 + n]),
                    part[4 + n:], gssapi.raw.IOVBufferType.data,
                    std_layout=False)
                gssapi.raw.unwrap_iov(context, iov)
                self.assertEqual(iov[1].value, text)
            # changed on the way
            sealed = bytearray(self.seal(gssapi, context, b'<a/>'))
            sealed[-30] ^= 1
            s.sendall((f'POST /echo HTTP/1.1\r\nHost: a\r\n{kind}\r\n'
                       f'Content-Length: {len(sealed)}\r\n\r\n').encode() +
                      sealed)
            self.assertEqual(read_reply(s)[0], 400)

    def test_sealed_without_a_key_is_400(self):
        passwd(self.users, 'carl', 'pw', 'operator')
        body = (b'--b\r\nContent-Type: application/HTTP-SPNEGO-session-'
                b'encrypted\r\nOriginalContent: type=text/xml;Length=1\r\n'
                b'--b\r\nContent-Type: application/octet-stream\r\n'
                b'\1\0\0\0sx--b--\r\n')
        reply = curl(self.echo.url(), '-u', 'carl:pw', '-H',
                     'Content-Type: multipart/encrypted;boundary=b',
                     data=body)
        self.assertEqual(reply.status, 400)


class Ntlm(unittest.TestCase):
    def setUp(self):
        need_winrm()
        if not glob.glob('/usr/lib/*/gssntlmssp/gssntlmssp.so'):
            self.skipTest('install gss-ntlmssp')
        d = Directory()
        self.dir = d.__enter__()
        self.addCleanup(d.__exit__)
        self.write('openssl.cnf', OPENSSL)
        self.write('ntlm', 'TESTDOM:alice:alicepw\nTESTDOM:bob:bobpw\n')
        os.chmod(os.path.join(self.dir, 'ntlm'), 0o600)
        self.users = os.path.join(self.dir, 'users')
        passwd(self.users, 'TESTDOM\\alice', '*', 'operator')
        self.echo = Echo(self.dir, 'users=' + self.users,
                         'ntlm=' + os.path.join(self.dir, 'ntlm'))
        self.addCleanup(self.echo.close)
        self.env = {'OPENSSL_CONF': os.path.join(self.dir, 'openssl.cnf')}

    def write(self, name, text):
        with open(os.path.join(self.dir, name), 'w', encoding='utf-8') as f:
            f.write(text)

    def test_winrm_with_encrypted_messages(self):
        for door in 'plain', 'tls':
            done = winrm(self.echo, 'TESTDOM\\alice',
                         'alicepw', 'ntlm', 'always', self.env, door)
            self.assertEqual(done.stdout, SAME, done.stderr[-2000:])

    def test_curl_with_ntlm_within_spnego(self):
        reply = spnego_ntlm(self.echo, os.path.join(self.dir, 'ntlm'))
        self.assertEqual(reply.status, 200, reply.stderr)
        self.assertEqual(reply.words()['name'], 'TESTDOM\\alice')

    def test_winrm_without_encryption_under_tls(self):
        done = winrm(self.echo, 'TESTDOM\\alice', 'alicepw',
                     'ntlm', 'never', self.env)
        self.assertEqual(done.stdout, SAME, done.stderr[-2000:])

    def test_a_wrong_password_is_refused(self):
        done = winrm(self.echo, 'TESTDOM\\alice', 'wrong',
                     'ntlm', 'never', self.env)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn('credentials were rejected', done.stderr)

    def test_who_has_no_role_is_forbidden(self):
        done = winrm(self.echo, 'TESTDOM\\bob', 'bobpw', 'ntlm',
                     'never', self.env)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn('403', done.stderr)


if __name__ == '__main__':
    unittest.main(verbosity=2)
