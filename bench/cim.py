# SPDX-License-Identifier: Apache-2.0
"""All reference points of a large host, over TLS and both protocols.

One virtual system is made with its points, and the inventory of refpointd is
then multiplied: entries under other names and ids, each beside a copy of the
catalogue that it was read from, so that refpointd takes it without asking a
worker.
"""
import json
import os
import re
import shutil
import statistics
import sys
import time
import uuid

from servers import process

sys.path.insert(0, os.path.join(process.TOP, 'tests', 'gateway'))
from rig import MS_URI, NAMESPACES, NS, Rig, envelope  # noqa: E402

SYSTEMS = 1000
POINTS = 10
CLASS = 'Msvm_VirtualSystemReferencePoint'
MANY = 1 << 20
ENUMERATION = NAMESPACES['n']
REQUEST = (
    '<?xml version="1.0" encoding="utf-8"?><CIM CIMVERSION="2.0" '
    'DTDVERSION="2.0"><MESSAGE ID="1" PROTOCOLVERSION="1.0"><SIMPLEREQ>'
    '<IMETHODCALL NAME="EnumerateInstances"><LOCALNAMESPACEPATH>'
    '<NAMESPACE NAME="root"/><NAMESPACE NAME="virtualization"/>'
    '<NAMESPACE NAME="v2"/></LOCALNAMESPACEPATH><IPARAMVALUE '
    f'NAME="ClassName"><CLASSNAME NAME="{CLASS}"/></IPARAMVALUE>'
    '</IMETHODCALL></SIMPLEREQ></MESSAGE></CIM>').encode()


def define(rig, vm):
    rig.daemon.cli('define', vm, '--disk', 'vda=' + rig.image(vm + '.raw', 1))
    for _ in range(POINTS):
        rig.daemon.cli('create', vm)


def copy_catalogue(store, other):
    """Returns what stat(2) says of the copy, as an entry has it."""
    owner = os.stat(store)
    os.mkdir(other, 0o700)
    os.chown(other, owner.st_uid, owner.st_gid)
    for name in os.listdir(store):
        if name.startswith('catalogue'):
            shutil.copy2(os.path.join(store, name), other)
    return os.stat(os.path.join(other, 'catalogue.sqlite'))


def multiply(root, vm, count):
    """More entries of the inventory that look like that of VM."""
    lib = os.path.join(root, 'lib')
    entry = os.path.join(lib, 'inventory', vm + '.json')
    with open(entry, encoding='utf-8') as f:
        text = f.read()
    store = os.path.join(lib, 'vms', vm)
    st = os.stat(os.path.join(store, 'catalogue.sqlite'))
    for i in range(count):
        name = f'{vm}-{i}'
        new = copy_catalogue(store, os.path.join(lib, 'vms', name))
        other = re.sub(r'[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}',
                       lambda _: str(uuid.uuid4()), text)
        other = other.replace(f'"vm": "{vm}"', f'"vm": "{name}"')
        other = other.replace(f'"inode": {st.st_ino}',
                              f'"inode": {new.st_ino}')
        json.loads(other)
        with open(os.path.join(lib, 'inventory', name + '.json'), 'w',
                  encoding='utf-8') as f:
            f.write(other)
        shutil.copymode(entry, f.name)


class Client:
    """One connection, of a client that is known already."""

    def __init__(self, rig, door):
        self.kept = rig.kept(door)
        self.headers = {}

    def post(self, path, body, kind):
        status, data = self.kept.post(
            path, body, {**self.headers, 'Content-Type': kind})
        if status != 200:
            raise process.Failure(f'{path}: {status} {data[:300]!r}')
        return data

    def close(self):
        self.kept.close()


def by_cimxml(rig):
    """How many points there are."""
    client = Client(rig, 'cimxml')
    client.headers.update({'CIMOperation': 'MethodCall',
                           'CIMMethod': 'EnumerateInstances',
                           'CIMObject': NS})
    data = client.post('/cimom', REQUEST, 'application/xml; charset="utf-8"')
    client.close()
    return data.count(b'<VALUE.NAMEDINSTANCE>')


def by_wsman(rig, limit=None):
    """Likewise; a reply has at most LIMIT bytes."""
    header = '' if limit is None else (
        '<w:MaxEnvelopeSize s:mustUnderstand="true">'
        f'{limit}</w:MaxEnvelopeSize>')
    client = Client(rig, 'wsman')

    def ask(action, body):
        return client.post(
            '/wsman', envelope(f'{ENUMERATION}/{action}',
                               f'{MS_URI}{NS}/{CLASS}', body, header=header),
            'application/soap+xml;charset=UTF-8')
    data = ask('Enumerate', '<n:Enumerate><w:OptimizeEnumeration/>'
               f'<w:MaxElements>{MANY}</w:MaxElements></n:Enumerate>')
    found = 0
    while True:
        if limit and len(data) > limit:
            raise process.Failure(f'a reply of {len(data)} bytes')
        found += data.count(b'</p:InstanceID>')
        if b'EndOfSequence' in data:
            client.close()
            return found
        context = re.search(rb':EnumerationContext>([^<]+)<', data)[1].decode()
        data = ask('Pull', '<n:Pull><n:EnumerationContext>'
                   f'{context}</n:EnumerationContext><n:MaxElements>{MANY}'
                   '</n:MaxElements></n:Pull>')


WAYS = (('CIM-XML', by_cimxml), ('WS-Man', by_wsman),
        ('WS-Man, 512,000 octets each', lambda rig: by_wsman(rig, 512000)))


def timed(rig, way):
    begin = time.monotonic()
    found = way(rig)
    ms = (time.monotonic() - begin) * 1000
    if found != SYSTEMS * POINTS:
        raise process.Failure(f'{found} points are told')
    return ms


def restart(rig):
    rig.stop()
    process.stop(rig.daemon.process)
    rig.daemon.start()
    rig.start()


def measure(times):
    """(what, median of ms): warm, and of the first request of all."""
    rows = []
    with Rig(daemon=True) as rig:
        define(rig, 'vm')
        rig.daemon.close()
        multiply(rig.root, 'vm', SYSTEMS - 1)
        rig.daemon.start()
        rig.start()
        for name, way in WAYS:
            timed(rig, way)
            rows.append((name + ', warm', statistics.median(
                timed(rig, way) for _ in range(times))))
        for name, way in WAYS:
            cold = []
            for _ in range(times):
                restart(rig)
                cold.append(timed(rig, way))
            rows.append((name + ', cold', statistics.median(cold)))
        busy = process.pids_naming(rig.root)
        if len(busy) > 2:
            raise process.Failure('workers were started')
    return rows
