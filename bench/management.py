# SPDX-License-Identifier: Apache-2.0
"""What the management gateway costs: a point made through it, beside one made
on the command line; a crowd of clients; its memory."""
import os
import statistics
import sys
import threading
import time

import cim
from servers import process

sys.path.insert(0, os.path.join(process.TOP, 'tests', 'gateway'))
from hyperv import Session  # noqa: E402
from rig import MS_URI, NAMESPACES, NS, Rig, envelope  # noqa: E402

SERVICE = 'Msvm_VirtualSystemReferencePointService'
CLIENTS = 200
MIB = 1 << 20


def milliseconds(action):
    begin = time.monotonic()
    result = action()
    return (time.monotonic() - begin) * 1000, result


def creation(rig, vm, times):
    """Medians of one point of an idle system: CLI, WS-Man."""
    session = Session(rig)
    row = session.query(f'SELECT * FROM {SERVICE}', SERVICE)[0]
    service = (SERVICE, {k: row[k] for k in (
        'SystemCreationClassName', 'SystemName', 'CreationClassName', 'Name')})
    system = ('Msvm_ComputerSystem', {
        'CreationClassName': 'Msvm_ComputerSystem',
        'Name': rig.daemon.status(vm)['uuid'].upper()})
    cli, wsman = [], []
    for _ in range(times):
        ms, point = milliseconds(lambda: rig.daemon.create(vm))
        cli.append(ms)
        rig.daemon.cli('destroy', vm, point['id'])
        ms, out = milliseconds(lambda: session.invoke(
            service, 'CreateReferencePoint', AffectedSystem=system,
            ReferencePointType=1))
        wsman.append(ms)
        point = out['ResultingReferencePoint'].keys['InstanceID']
        rig.daemon.cli('destroy', vm, point.lower())
    session.close()
    return statistics.median(cli), statistics.median(wsman)


def crowd(rig):
    """CLIENTS at once, each on a connection of its own: how many were
    answered, and how long the last one waited."""
    waits, gate = [], threading.Barrier(CLIENTS)
    request = envelope(NAMESPACES['x'] + '/Get', f'{MS_URI}{NS}/{SERVICE}')

    def one():
        client = cim.Client(rig, 'wsman')
        client.kept.connection.connect()
        gate.wait()
        ms, text = milliseconds(lambda: client.post(
            '/wsman', request, 'application/soap+xml;charset=UTF-8'))
        client.close()
        if b'</p:Name>' in text:
            waits.append(ms)

    threads = [threading.Thread(target=one) for _ in range(CLIENTS)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return len(waits), max(waits, default=0)


def measure(times):
    """Rows of the table."""
    with Rig(daemon=True) as rig:
        cim.define(rig, 'vm')
        rig.start()
        idle = rig.status('VmRSS') << 10
        cli, wsman = creation(rig, 'vm', times)
        served, longest = crowd(rig)
    return [
        {'what': f'a point of an idle system by WS-Man, in ms beyond the '
                 f"CLI's {cli:.1f}", 'number': wsman - cli, 'target': 20,
         'met': wsman - cli <= 20},
        {'what': f'of {CLIENTS} clients at once, served (the last after '
                 f'{longest:.0f} ms)', 'number': served, 'target': CLIENTS,
         'met': served == CLIENTS},
        {'what': 'the idle gateway', 'bytes': idle, 'target_bytes': 16 * MIB,
         'met': idle <= 16 * MIB}]
