# SPDX-License-Identifier: Apache-2.0
"""A Kerberos realm of the test's own, and python3-winrm as a client."""
import glob
import os
import shutil
import socket
import subprocess
import tempfile
import unittest

from .process import Failure, start, stop, wait_until

REALM = 'TEST.REFPOINT'


def missing_tool():
    """Why there can be no realm here, or None."""
    os.environ['PATH'] += ':/usr/sbin:/sbin'
    for tool in 'krb5kdc', 'kdb5_util', 'kadmin.local', 'kinit':
        if not shutil.which(tool):
            return (f'no {tool}: install krb5-kdc, krb5-admin-server and '
                    'krb5-user')
    return None


def free_port():
    """A port that is free for TCP and UDP."""
    for _ in range(50):
        with socket.socket() as t, \
                socket.socket(type=socket.SOCK_DGRAM) as u:
            t.bind(('127.0.0.1', 0))
            try:
                u.bind(t.getsockname())
            except OSError:
                continue
            return t.getsockname()[1]
    raise Failure('no free port')


WINRM = """
import sys, winrm
url, user, password, transport, encryption = sys.argv[1:]
p = winrm.Protocol(endpoint=url, transport=transport, username=user,
                   password=password,
                   message_encryption=encryption, read_timeout_sec=20,
                   operation_timeout_sec=15)
text = sys.stdin.read()
for _ in range(3):
    got = p.transport.send_message(text)
    print(got if isinstance(got, str) else got.decode())
"""

# For NTLM's MD4, which today's OpenSSL keeps apart.
OPENSSL = """openssl_conf = init
[init]
providers = providers
[providers]
default = on
legacy = on
[on]
activate = 1
"""


def need_winrm():
    done = subprocess.run(['/usr/bin/python3', '-c', 'import winrm'],
                          check=False, capture_output=True)
    if done.returncode:
        raise unittest.SkipTest('install python3-winrm')


def know_localhost(hosts):
    """What tells a program to look names up in HOSTS, a file, which is made.

    curl knows localhost by itself; others need it in /etc/hosts, which a
    minimal system does not have."""
    wrapper = glob.glob('/usr/lib/*/libnss_wrapper.so')
    if not wrapper:
        try:
            socket.getaddrinfo('localhost', None)
        except socket.gaierror as e:
            raise unittest.SkipTest('no address of localhost: install '
                                    'libnss-wrapper') from e
        return {}
    with open(hosts, 'w', encoding='ascii') as f:
        f.write('127.0.0.1 localhost\n')
    return {'LD_PRELOAD': wrapper[0], 'NSS_WRAPPER_HOSTS': hosts}


def winrm(url, cert, text, user, password, transport, encryption, env):
    """Sends text three times on a connection; replies are on stdout.

    The server's certificate is verified, as made for this host."""
    with tempfile.TemporaryDirectory() as directory:
        names = know_localhost(os.path.join(directory, 'hosts'))
        return subprocess.run(
            ['/usr/bin/python3', '-W', 'ignore', '-c', WINRM, url, user,
             password, transport, encryption], input=text,
            capture_output=True, text=True, check=False, timeout=60,
            env={**os.environ, 'REQUESTS_CA_BUNDLE': cert,
                 'CURL_CA_BUNDLE': cert, 'NO_PROXY': '*', **names, **env})


class Kdc:
    """A realm with alice, bob and the service HTTP/localhost."""

    def __init__(self, directory):
        self.dir = directory
        self.port = free_port()
        self.keytab = self.path('keytab')
        self.write('krb5.conf', f"""[libdefaults]
default_realm = {REALM}
dns_lookup_kdc = false
dns_lookup_realm = false
dns_canonicalize_hostname = false
rdns = false
[realms]
{REALM} = {{
  kdc = 127.0.0.1:{self.port}
}}
""")
        self.write('kdc.conf', f"""[realms]
{REALM} = {{
  database_name = {self.path('db')}
  key_stash_file = {self.path('stash')}
  acl_file = {self.path('acl')}
  kdc_listen = 127.0.0.1:{self.port}
  kdc_tcp_listen = 127.0.0.1:{self.port}
}}
[logging]
kdc = FILE:{self.path('kdc.log')}
""")
        self.env = {'KRB5_CONFIG': self.path('krb5.conf'),
                    'KRB5_KDC_PROFILE': self.path('kdc.conf'),
                    'KRB5CCNAME': 'FILE:' + self.path('ccache')}
        self.run('kdb5_util', 'create', '-s', '-P', 'master', '-r', REALM)
        for command in ('addprinc -pw alicepw alice', 'addprinc -pw bobpw bob',
                        'addprinc -randkey HTTP/localhost',
                        f'ktadd -k {self.keytab} HTTP/localhost'):
            self.run('kadmin.local', '-r', REALM, '-q', command)
        self.process = start(['krb5kdc', '-n', '-r', REALM],
                             self.path('kdc.out'),
                             env={**os.environ, **self.env})
        wait_until('the KDC', lambda: subprocess.run(
            ['kinit', 'alice'], input=b'alicepw\n', check=False,
            env={**os.environ, **self.env}, capture_output=True
        ).returncode == 0)

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, text):
        with open(self.path(name), 'w', encoding='utf-8') as f:
            f.write(text)

    def run(self, *argv, stdin=b''):
        return subprocess.run(argv, check=True, input=stdin,
                              env={**os.environ, **self.env},
                              capture_output=True)

    def kinit(self, name):
        self.run('kinit', name, stdin=name.encode() + b'pw\n')

    def close(self):
        stop(self.process)
