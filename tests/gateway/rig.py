# SPDX-License-Identifier: Apache-2.0
"""refpoint-cim of the build tree on a private root, and its clients.

    with Rig() as rig:                  # Rig(daemon=True): and refpointd
        rig.passwd('alice', 'secret', 'operator')
        rig.start()                     # or rig.start('--keytab', ...)
        rig.wbemcli('ein', 'root/interop:CIM_Namespace')

alice (operator) and bob (read-only), both with the password "secret", are
there from the start.
"""
import os
import pwd
import re
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                '..'))
from harness import process, web  # noqa: E402
from harness.process import Failure  # noqa: E402
from harness.refpoint import RUN, Refpointd  # noqa: E402

USER = 'refpoint-cim'
NS = 'root/virtualization/v2'
MS_URI = 'http://schemas.microsoft.com/wbem/wsman/1/wmi/'
DMTF_URI = 'http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/'
NAMESPACES = {
    's': 'http://www.w3.org/2003/05/soap-envelope',
    'a': 'http://schemas.xmlsoap.org/ws/2004/08/addressing',
    'x': 'http://schemas.xmlsoap.org/ws/2004/09/transfer',
    'n': 'http://schemas.xmlsoap.org/ws/2004/09/enumeration',
    'w': 'http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd',
}
IDENTIFY = ('<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" '
            'xmlns:i="http://schemas.dmtf.org/wbem/wsman/identity/1/'
            'wsmanidentity.xsd"><s:Header/><s:Body><i:Identify/></s:Body>'
            '</s:Envelope>').encode()


def skip(reason):
    """For a whole program of tests."""
    print('skipped:', reason)
    sys.exit(77)


def need(*programs):
    """Skips unless all of them are installed."""
    os.environ['PATH'] += ':/usr/sbin:/sbin'
    for program in programs:
        if not shutil.which(program):
            skip(f'{program} is not installed; see tools/install-deps')


def need_user():
    """Skips where refpoint-cim could not run: as root without its user."""
    if os.geteuid() != 0:
        return
    try:
        pwd.getpwnam(USER)
    except KeyError:
        skip(f'there is no user {USER}; see tools/install-deps')


def envelope(action, uri, body='', selectors=None, header=''):
    """An envelope as bytes; selectors are of texts."""
    named = ' '.join(f'xmlns:{k}="{v}"' for k, v in NAMESPACES.items())
    chosen = ''.join(f'<w:Selector Name="{k}">{v}</w:Selector>'
                     for k, v in (selectors or {}).items())
    if chosen:
        chosen = f'<w:SelectorSet>{chosen}</w:SelectorSet>'
    return (f'<s:Envelope {named}><s:Header><a:To>http://localhost/wsman</a:To>'
            f'<w:ResourceURI>{uri}</w:ResourceURI><a:ReplyTo><a:Address>'
            f'{NAMESPACES["a"]}/role/anonymous</a:Address></a:ReplyTo>'
            f'<a:Action>{action}</a:Action>'
            f'<a:MessageID>uuid:{os.urandom(16).hex()}</a:MessageID>'
            f'{chosen}{header}</s:Header><s:Body>{body}</s:Body>'
            '</s:Envelope>').encode()


class Rig:
    """A root of its own; close() ends what was started on it."""

    def __init__(self, daemon=False, environment=None, root=None):
        """With ROOT, for a refpointd that somebody else has started."""
        need_user()
        self.dir = process.scratch_dir('refpoint-gateway-')
        self.root = root or self.path('root')
        self.users = self.path('users')
        self.log = self.path('refpoint-cim.log')
        self.cert = self.path('ca.pem')
        self.environment = {**os.environ, 'HOME': self.dir,
                            'no_proxy': '*', 'NO_PROXY': '*',
                            **(environment or {})}
        self.gateway = None
        self.ports = {}
        self.options = ()
        self.daemon = None
        self.passwd('alice', 'secret', 'operator')
        self.passwd('bob', 'secret', 'read-only')
        if not root:
            os.mkdir(self.root)
            os.chmod(self.root, 0o755)
        if daemon:
            self.daemon = Refpointd(self.root)
            try:
                self.daemon.start()
            except Exception:
                self.close()
                raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, text, mode=0o600):
        """A file that refpoint-cim can read as its own; returns its path."""
        path = self.path(name)
        with open(path, 'w', encoding='utf-8') as f:
            f.write(text)
        self.give(path, mode)
        return path

    @staticmethod
    def give(path, mode=0o600):
        os.chmod(path, mode)
        if os.geteuid() == 0:
            user = pwd.getpwnam(USER)
            os.chown(path, user.pw_uid, user.pw_gid)

    def passwd(self, name, password, role=None, file=None):
        """refpoint-cim passwd; without a password for None."""
        argv = [RUN, 'refpoint-cim', 'passwd', file or self.users, name]
        if role:
            argv += ['--role', role]
        if password is None:
            argv.append('--no-password')
        subprocess.run(argv, input=(password or '') + '\n', text=True,
                       check=True, timeout=60)

    # ------------------------------------------------------------ the gateway

    def start(self, *options, users=True, plain=False, doors=None,
              timeout=30, prefix=()):
        """Starts refpoint-cim (by PREFIX, a program that starts it) and waits
        until it is ready."""
        self.options = (options, users, plain, doors)
        argv = [*prefix, RUN, 'refpoint-cim', '--root', self.root]
        argv += doors or ['--wsman', '127.0.0.1:0', '--cimxml', '127.0.0.1:0']
        argv += ['--users', self.users] if users else []
        argv += ['--insecure-http'] if plain else []
        out = self.path('refpoint-cim.out')
        with open(out, 'wb') as f:
            self.gateway = process.start([*argv, *options], self.log,
                                         stdout=f, env=self.environment)
        self.scheme = 'http' if plain else 'https'
        text = process.wait_until('refpoint-cim to be ready',
                                  lambda: self._ready(out), timeout)
        self.ports = {m[1]: int(m[2]) for m in re.finditer(
            r'^listening (\w+) \w+://\S*:(\d+)/', text, re.M)}
        found = re.search(r'^certificate sha256 (\S+)$', text, re.M)
        self.fingerprint = found and found[1]
        if not plain and '--cert' not in options:
            shutil.copy(os.path.join(self.root, 'lib-cim', 'tls-cert.pem'),
                        self.cert)

    def _ready(self, out):
        with open(out, encoding='utf-8') as f:
            text = f.read()
        if re.search('^ready$', text, re.M):
            return text
        if self.gateway.poll() is not None:
            raise Failure('refpoint-cim ended: ' + process.tail(self.log, 5))
        return None

    def stop(self):
        """Asks it to end; returns its exit status."""
        process.stop(self.gateway, 30)
        return self.gateway.returncode

    def restart(self):
        """As it was; its ports may be others."""
        self.stop()
        self.restart_stopped()

    def restart_stopped(self):
        options, users, plain, doors = self.options
        self.start(*options, users=users, plain=plain, doors=doors)

    def close(self):
        process.stop(self.gateway)
        if self.daemon:
            self.daemon.close()
        found = self._sanitizers()
        process.remove_dir(self.dir)
        if found:
            raise Failure(found)

    def _sanitizers(self):
        """What a sanitizer found, in a build with one."""
        for path in [self.log, *(self.daemon.logs() if self.daemon else ())]:
            if not os.path.exists(path):
                continue
            with open(path, encoding='utf-8', errors='replace') as f:
                text = f.read()
            found = re.search(r'(WARNING: ThreadSanitizer|ERROR: \w+Sanitizer|'
                              r'runtime error: )(.*\n){1,60}', text)
            if found:
                return f'{path}: {found[0]}'
        return None

    def image(self, name, mib=64):
        """A new sparse image that any worker may open; its path."""
        path = self.path(name)
        with open(path, 'wb') as f:
            f.truncate(mib << 20)
        os.chmod(path, 0o666)
        return path

    # -------------------------------------------------------------- its clients
    def kept(self, door, user='alice:secret'):
        """A connection for many requests."""
        return web.Kept(self.ports[door], user,
                        self.cert if self.scheme == 'https' else None)

    def url(self, door, path=None, host='127.0.0.1'):
        path = path or {'wsman': '/wsman', 'cimxml': '/cimom'}[door]
        return f'{self.scheme}://{host}:{self.ports[door]}{path}'

    def curl(self, door, *args, data=None, path=None, user='alice:secret',
             host='127.0.0.1', env=None, timeout=60):
        """A web.Reply; a POST with data."""
        kind = {'wsman': 'application/soap+xml;charset=UTF-8',
                'cimxml': 'application/xml; charset="utf-8"'}[door]
        argv = ['-H', 'Content-Type: ' + kind] if data is not None else []
        argv += ['-u', user] if user else []
        if self.scheme == 'https':
            argv += ['--cacert', self.cert]
        return web.curl(self.url(door, path, host), *argv, *args, data=data,
                        env={**self.environment, **(env or {})},
                        timeout=timeout)

    def soap(self, action, uri, body='', selectors=None, header='', **kwargs):
        """Sends an envelope; the web.Reply."""
        return self.curl('wsman', data=envelope(action, uri, body, selectors,
                                                header), **kwargs)

    def get(self, class_name, selectors=None, ns=NS, **kwargs):
        """transfer/Get under the Microsoft URI."""
        return self.soap(NAMESPACES['x'] + '/Get',
                         f'{MS_URI}{ns}/{class_name}', selectors=selectors,
                         **kwargs)

    def wbemcli(self, operation, path, *rest, flags=(), user='alice:secret'):
        """What wbemcli says; path is 'NAMESPACE:CLASS...'."""
        argv = ['wbemcli', operation, *flags]
        if self.scheme == 'https':
            argv += ['-cacert', self.cert]
        argv.append(f'{self.scheme}://{user}@127.0.0.1:'
                    f'{self.ports["cimxml"]}/{path}')
        done = subprocess.run([*argv, *rest], text=True, timeout=120,
                              check=False, env=self.environment,
                              stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT)
        if done.returncode or 'Cim: (' in done.stdout:
            raise Failure(f'wbemcli {operation} {path}: exit status '
                          f'{done.returncode}: {done.stdout}')
        return done.stdout

    def wsl_epr(self, class_name, words):
        """A file with the reference of the only instance that has WORDS."""
        text = self.wsl('wslenum', f'{MS_URI}{NS}/{class_name}', '-mode',
                        'epr', '-opti', '100')
        found = [e for e in re.findall(r'<a:EndpointReference>.*?'
                                       r'</a:EndpointReference>', text, re.S)
                 if words in e]
        if len(found) != 1:
            raise AssertionError(f'{len(found)} with {words}: {text}')
        return self.write(f'{class_name}.xml', found[0] + '\n')

    def wsl(self, command, *args, user='alice:secret', check=True):
        """What wslid, wslenum, wslget or wslinvoke says."""
        name, _, password = user.partition(':')
        home = self.path('wsl')
        os.makedirs(home, exist_ok=True)
        with open(os.path.join(home, '.wsl-config'), 'w',
                  encoding='utf-8') as f:
            f.write('WSNOSSL=true\n' if self.scheme == 'http' else '')
        endpoint = f'127.0.0.1:{self.ports["wsman"]}'
        if self.scheme == 'https':
            shutil.copy(self.cert, os.path.join(home, endpoint + '.crt'))
        done = subprocess.run(
            [command, *args], text=True, timeout=300, check=False, cwd=home,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**self.environment, 'HOME': home, 'WSUSER': name,
                 'WSPASS': password,
                 'WSENDPOINT': endpoint})
        text = re.sub('\x1b\\[[0-9;]*m', '', done.stdout)
        if check and done.returncode:
            raise Failure(f'{command} {args}: exit status {done.returncode}: '
                          f'{text}')
        return text

    # ------------------------------------------------------------------ memory

    def status(self, field):
        """A number of /proc/PID/status; memory is in KiB."""
        with open(f'/proc/{self.gateway.pid}/status', encoding='ascii') as f:
            return [int(line.split()[1]) for line in f
                    if line.startswith(field + ':')][0]
