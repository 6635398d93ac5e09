# SPDX-License-Identifier: Apache-2.0
"""Reference points over the network, by clients that nobody here wrote:
wbemcli speaks CIM-XML, wsl WS-Management; both over TLS to refpoint-cim."""
import os
import re
import shutil
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, 'tests', 'gateway'))
from harness import process  # noqa: E402
from rig import MS_URI, NS, Rig  # noqa: E402

POINT = 'Msvm_VirtualSystemReferencePoint'
SERVICE = POINT + 'Service'
IMAGES = 'Msvm_ImageManagementService'
SYSTEM = 'Msvm_ComputerSystem'
CLIENTS = ('wbemcli', 'wslinvoke', 'uuidgen')


def missing():
    """Why the clients cannot be run, or None."""
    for program in CLIENTS:
        if not shutil.which(program):
            return f'{program} is not installed; see tools/install-deps'
    return None


def only(found, what):
    if len(found) != 1:
        raise process.Failure(f'{len(found)} of {what}, not one')
    return found[0]


class Client:
    """What both have in common: each method returns what was answered."""

    def __init__(self, rig, uuid):
        self.rig = rig
        self.uuid = uuid.upper()

    def finished(self, job):
        """The job's properties, once it is over."""
        def over():
            found = self.job(job)
            return found if int(found['JobState']) > 4 else None
        found = process.wait_until('the job to end', over)
        if found['JobState'] != '7':
            raise process.Failure(f'the job ended badly: {found}')
        return found


class Wbemcli(Client):
    name = 'wbemcli, CIM-XML'

    def properties(self, path):
        text = self.rig.wbemcli('gi', f'{NS}:{path}', flags=('-nl',))
        return {k: v.strip('"') for k, v in
                re.findall(r'^-(\w+)=?(.*)$', text, re.M)}

    def paths(self, operation, path, *flags):
        text = self.rig.wbemcli(operation, f'{NS}:{path}', flags=flags)
        return [line.split(f'/{NS}:', 1)[1].rstrip()
                for line in text.splitlines() if f'/{NS}:' in line]

    def call(self, class_name, method, **arguments):
        """The text; a reference has to be the last argument."""
        service = only(self.paths('ein', class_name), class_name)
        given = ','.join(f'{k}={v}' for k, v in arguments.items())
        return self.rig.wbemcli('cm', f'{NS}:{service}', f'{method}.{given}')

    def started(self, text):
        """The job that came out."""
        if not re.search(r': 4096\b', text):
            raise process.Failure('the call was refused: ' + text)
        return re.search(r'Msvm_ConcreteJob\.InstanceID="[^"]+"', text)[0]

    def job(self, path):
        return self.properties(path)

    def create(self):
        """The job, as it ended, and the point's id and tracking ids."""
        system = only([p for p in self.paths('ein', SYSTEM)
                       if self.uuid in p], SYSTEM)
        job = self.started(self.call(
            SERVICE, 'CreateReferencePoint', ReferencePointType=1,
            AffectedSystem=f'localhost/{NS}:{system}'))
        ended = self.finished(job)
        path = only(self.paths('ain', job, '-ac', 'CIM_AffectedJobElement'),
                    'what the job made')
        point = self.properties(path)
        limits = point['ResilientChangeTrackingIdentifiers'].split(',')
        return ended, point['InstanceID'].lower(), [
            x.strip('"') for x in limits]

    def changes(self, path, limit, length):
        """[(offset, length)]"""
        text = self.call(IMAGES, 'GetVirtualDiskChanges', ByteOffset=0,
                         ByteLength=length, LimitId=limit, Path=path)
        lists = [re.search(rf'{name}[^:]*: ([0-9,]*)', text)[1]
                 for name in ('ChangedByteOffsets', 'ChangedByteLengths')]
        return list(zip(*([int(n) for n in x.split(',') if n]
                          for x in lists)))

    def destroy(self, point):
        path = only([p for p in self.paths('ein', POINT)
                     if point.upper() in p], 'that point')
        self.finished(self.started(self.call(
            SERVICE, 'DestroyReferencePoint',
            AffectedReferencePoint=f'localhost/{NS}:{path}')))


class Wsl(Client):
    name = 'wsl, WS-Management'

    @staticmethod
    def values(text, name):
        return re.findall(rf'<p:{name}>([^<]*)<', text)

    def reference(self, class_name, words):
        """A file with the reference to the instance that has WORDS."""
        text = self.rig.wsl('wslenum', f'{MS_URI}{NS}/{class_name}', '-mode',
                            'epr', '-opti', '100')
        found = re.findall(r'<a:EndpointReference>.*?</a:EndpointReference>',
                           text, re.S)
        return 'FILE:' + self.rig.write(
            class_name + '.xml',
            only([e for e in found if words in e], class_name) + '\n')

    def query(self, text):
        return self.rig.wsl(
            'wslenum', f'{MS_URI}{NS}/*', '-opti', '100', '-dialect',
            'http://schemas.microsoft.com/wbem/wsman/1/WQL', '-filter', text)

    def call(self, class_name, method, **arguments):
        return self.rig.wsl('wslinvoke', f'{MS_URI}{NS}/{class_name}', method,
                            *(f'{k}={v}' for k, v in arguments.items()))

    def started(self, text):
        if self.values(text, 'ReturnValue') != ['4096']:
            raise process.Failure('the call was refused: ' + text)
        return re.search(r'<w:Selector Name="InstanceID">([^<]*)<',
                         text[text.index('<p:Job'):])[1]

    def job(self, job):
        text = self.query('SELECT * FROM Msvm_ConcreteJob WHERE '
                          f"InstanceID='{job}'")
        return {name: only(self.values(text, name), name)
                for name in ('JobState', 'JobStatus')}

    def create(self):
        job = self.started(self.call(
            SERVICE, 'CreateReferencePoint',
            AffectedSystem=self.reference(SYSTEM, self.uuid),
            ReferencePointType=1))
        ended = self.finished(job)
        text = self.query(
            f'ASSOCIATORS OF {{Msvm_ConcreteJob.InstanceID="{job}"}} WHERE '
            f'AssocClass = CIM_AffectedJobElement ResultClass = {POINT}')
        return ended, only(self.values(text, 'InstanceID'), 'points').lower(), \
            self.values(text, 'ResilientChangeTrackingIdentifiers')

    def changes(self, path, limit, length):
        text = self.call(IMAGES, 'GetVirtualDiskChanges', Path=path,
                         LimitId=limit, ByteOffset=0, ByteLength=length)
        return list(zip(map(int, self.values(text, 'ChangedByteOffsets')),
                        map(int, self.values(text, 'ChangedByteLengths'))))

    def destroy(self, point):
        self.finished(self.started(self.call(
            SERVICE, 'DestroyReferencePoint',
            AffectedReferencePoint=self.reference(POINT, point.upper()))))


class Management:
    """refpoint-cim before the demo's refpointd."""

    def __init__(self, root, uuid):
        self.rig = Rig(root=root)
        self.rig.start()
        self.clients = (Wbemcli(self.rig, uuid), Wsl(self.rig, uuid))

    def logs(self):
        return [self.rig.log]

    def close(self):
        self.rig.close()
