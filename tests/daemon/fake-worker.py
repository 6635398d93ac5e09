#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A worker that speaks org.refpoint.worker and does nothing else.

What it keeps: STORE/catalogue.sqlite (which is JSON here).  What it was asked
and given: a line each in STORE/events.  How it misbehaves: ROOT/fake/VM, a JSON
object with
  die       exit at once
  die_at    the method that it dies of
  die_after the method, once what it did stands in the catalogue
  hang      names of methods that are never answered
  fail      names of methods that are answered with an error
  reply     {method: parameters}
  raw       {method: text that is sent instead of an answer}
  trickle   {method: [texts, of which one is sent each 0.2 s]}
  drip      {method: seconds between replies that say nothing and promise more}
  attach    {method: how many descriptors go beside the answer}
  gate      {method: name of a file in ROOT/fake; no answer before it is there}
  invalid   why all snapshots are
  lost      why the log of the newest log-based point is gone
Guests that connect are told the worker's pid.
"""
import argparse
import json
import os
import re
import selectors
import socket
import struct
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from varlink import Channel, Client, Error, point_id  # noqa: E402


class Worker:
    def __init__(self, root, vm):
        self.vm = vm
        self.fake = f'{root}/fake'
        self.behaviour_path = f'{self.fake}/{vm}'
        self.store = f'{root}/lib/vms/{vm}'
        self.run = f'{root}/run'
        self.state = 'defined'
        self.images = []
        self.listener = None
        self.guests = []
        self.readers = {}
        self.last_call = time.monotonic()
        self.selector = selectors.DefaultSelector()
        self.catalogue = None
        try:
            with open(f'{self.store}/catalogue.sqlite') as f:
                self.catalogue = json.load(f)
            self.catalogue.setdefault('snapshots', [])
        except FileNotFoundError:
            pass

    def behaviour(self):
        try:
            with open(self.behaviour_path) as f:
                return json.load(f)
        except FileNotFoundError:
            return {}

    def event(self, what, fds=(), **more):
        files = []
        for fd in fds:
            st = os.fstat(fd)
            files.append([st.st_dev, st.st_ino])
        with open(f'{self.store}/events', 'a') as f:
            f.write(json.dumps({'what': what, 'files': files,
                                'pid': os.getpid(), **more}) + '\n')

    def save(self):
        with open(f'{self.store}/catalogue.new', 'w') as f:
            json.dump(self.catalogue, f)
        os.rename(f'{self.store}/catalogue.new',
                  f'{self.store}/catalogue.sqlite')

    def take(self, images, fds):
        """Begins to serve."""
        n = len(images)
        self.images = fds[:n]
        self.listener = socket.socket(fileno=fds[n])
        self.listener.setblocking(False)
        self.selector.register(self.listener, selectors.EVENT_READ, self.guest)
        self.state = 'serving'

    def listen(self, snapshot, fd):
        """For readers, who get the snapshot's id."""
        sock = self.readers[snapshot] = socket.socket(fileno=fd)
        sock.setblocking(False)
        self.selector.register(
            sock, selectors.EVENT_READ,
            lambda sock: sock.accept()[0].sendall(snapshot.encode()))

    def deafen(self, snapshot):
        sock = self.readers.pop(snapshot, None)
        if sock:
            self.selector.unregister(sock)
            sock.close()

    def guest(self, listener):
        conn, _ = listener.accept()
        conn.sendall(b'%d\n' % os.getpid())
        self.guests.append(conn)

    def status(self):
        disks = []
        for disk, size in zip(self.catalogue['disks'],
                              self.catalogue['sizes']):
            disks.append({'id': disk['id'], 'path': disk['path'],
                          'size': size, 'connected': len(self.guests)})
        return {'status': {'vm': self.vm, 'uuid': self.catalogue['uuid'],
                           'state': self.state, 'reason': '',
                           'worker_pid': os.getpid(),
                           'points': len(self.catalogue['points']),
                           'disks': disks,
                           'snapshots': self.snapshots(),
                           'log_bytes': 0, 'log_limit': self.limit(),
                           'logs': [{'point': x['id'], 'log': x['log']}
                                    for x in self.points() if x['log']]}}

    def limit(self):
        return self.catalogue.get('log_limit') or sum(
            self.catalogue['sizes']) // 2

    def points(self):
        """With their logs as they are now, which needs no commit."""
        newest, points = None, []
        lost = self.behaviour().get('lost')
        for x in self.catalogue['points']:
            point = dict(x, log=None)
            if x['type'] == 'log':
                if newest and newest['log']['state'] == 'open':
                    newest['log']['state'] = 'closed'
                gone = x.get('gone', '')
                point['log'] = {'state': 'gone' if gone else 'open',
                                'reason': gone, 'bytes': 4096,
                                'parts': x['parts']}
                newest = point
            point.pop('gone', None)
            point.pop('parts', None)
            points.append(point)
        if newest and lost:
            newest['log'].update(state='gone', reason=lost)
        return points

    # ---- methods: each returns (parameters, descriptors) or raises ValueError

    def m_hello(self, p, fds):
        uuid = self.catalogue['uuid'] if self.catalogue else None
        return {'vm': self.vm, 'uuid': uuid, 'pid': os.getpid(),
                'state': self.state}, []

    def m_initialize(self, p, fds):
        self.catalogue = dict(p, points=[], snapshots=[])
        self.save()
        return {}, []

    def m_setagent(self, p, fds):
        self.catalogue['agent'] = p['agent']
        self.save()
        return {}, []

    def m_definition(self, p, fds):
        if not self.catalogue:
            raise ValueError('InvalidState')
        return {k: v for k, v in self.catalogue.items()
                if k not in ('points', 'snapshots', 'sizes', 'made',
                             'taken', 'log_limit')}, []

    def m_status(self, p, fds):
        return self.status(), []

    def m_serve(self, p, fds):
        if self.state == 'serving':
            raise ValueError('InvalidState')
        self.take(p['images'], fds)
        return self.status(), []

    def m_unserve(self, p, fds):
        if self.state != 'serving':
            raise ValueError('InvalidState')
        self.selector.unregister(self.listener)
        self.listener.close()
        self.listener = None
        for conn in self.guests:
            conn.close()
        self.guests = []
        for snapshot in list(self.readers):
            self.deafen(snapshot)
        for fd in self.images:
            os.close(fd)
        self.images = []
        self.state = 'defined'
        return self.status(), []

    def m_create(self, p, fds):
        if self.state != 'serving' and len(fds) != len(p.get('images', [])):
            raise ValueError('Failed')
        if len(self.catalogue['points']) >= 256:
            raise ValueError('LimitReached')
        made = self.catalogue['made'] = self.catalogue.get('made', 0) + 1
        point = {'id': point_id(made - 1), 'type': p.get('type', 'rct'),
                 'consistency': 'crash', 'label': p.get('label', ''),
                 'created': '2026-01-01T00:00:00.000000000Z',
                 'disks': [{'id': disk['id'], 'tracking_id': f'rctX:{made}'}
                           for disk in self.catalogue['disks']]}
        if point['type'] == 'log':
            point['parts'] = 1
        self.catalogue['points'].append(point)
        self.save()
        if self.behaviour().get('die_after') == 'Create':
            os._exit(1)
        return {'point': self.points()[-1]}, []

    def m_vouch(self, p, fds):
        for x in self.catalogue['points'] + self.catalogue['snapshots']:
            if x['id'] == p['point']:
                x['consistency'] = 'application'
                self.save()
                if self.behaviour().get('die_after') == 'Vouch':
                    os._exit(1)
                return {}, []
        raise ValueError('NoSuchPoint')

    def m_points(self, p, fds):
        return {'points': self.points()}, []

    def m_destroy(self, p, fds):
        left = [x for x in self.catalogue['points'] if x['id'] != p['point']]
        if len(left) == len(self.catalogue['points']):
            raise ValueError('NoSuchPoint')
        heir = None
        for x in self.catalogue['points']:
            if x['id'] == p['point']:
                if heir and x['type'] == 'log':
                    heir['parts'] += x['parts']
                break
            heir = x if x['type'] == 'log' else heir
        self.catalogue['points'] = left
        self.save()
        if self.behaviour().get('die_after') == 'Destroy':
            os._exit(1)
        return {}, []

    def m_droplog(self, p, fds):
        for x in self.catalogue['points']:
            if x['id'] == p['point']:
                if x['type'] != 'log' or 'gone' in x:
                    raise ValueError('InvalidState')
                x.update(gone='removed by request', parts=0)
                self.save()
                if self.behaviour().get('die_after') == 'DropLog':
                    os._exit(1)
                return {}, []
        raise ValueError('NoSuchPoint')

    def m_setloglimit(self, p, fds):
        self.catalogue['log_limit'] = p['bytes']
        self.save()
        return {}, []

    def snapshots(self):
        """As they are now: a snapshot's state is no commit."""
        invalid = self.behaviour().get('invalid')
        serving = self.state == 'serving'
        return [dict(s, state='invalid' if invalid else 'valid',
                     reason=invalid or '', disks=[
                         dict(d, nbd_uri=f'nbd+unix:///{d["id"]}?socket=s'
                              if serving else None) for d in s['disks']])
                for s in self.catalogue['snapshots']]

    def m_snapshot(self, p, fds):
        if self.state != 'serving':
            raise ValueError('InvalidState')
        if len(self.catalogue['snapshots']) >= 4:
            raise ValueError('LimitReached')
        self.event('id', id=p['id'])
        request = p.get('request_id')
        for s in self.snapshots():
            if request and s['label'] == request:
                return {'snapshot': s}, []
        self.listen(p['id'], fds[0])
        self.catalogue['snapshots'].append({
            'id': p['id'], 'vm': self.vm, 'consistency': 'crash',
            'label': request or p.get('label', ''),
            'created': '2026-01-01T00:00:00.000000000Z', 'state': 'valid',
            'reason': '', 'limit_bytes': p.get('limit_bytes', 0),
            'disks': [{'id': disk['id'], 'size': size, 'tracking_id': 'rctX:s',
                       'nbd_uri': None, 'scratch_bytes': 0}
                      for disk, size in zip(self.catalogue['disks'],
                                            self.catalogue['sizes'])]})
        self.save()
        if self.behaviour().get('die_after') == 'Snapshot':
            os._exit(1)
        return {'snapshot': self.snapshots()[-1]}, []

    def m_snapshots(self, p, fds):
        return {'snapshots': self.snapshots()}, []

    def take_snapshot(self, p):
        for i, s in enumerate(self.catalogue['snapshots']):
            if s['id'] == p['snapshot']:
                self.deafen(s['id'])
                return self.catalogue['snapshots'].pop(i)
        raise ValueError('NoSuchPoint')

    def m_convert(self, p, fds):
        s = self.take_snapshot(p)
        point = {'id': s['id'], 'type': 'rct', 'consistency': s['consistency'],
                 'label': s['label'], 'created': s['created'],
                 'disks': [{'id': d['id'], 'tracking_id': d['tracking_id']}
                           for d in s['disks']]}
        self.catalogue['points'].append(point)
        self.save()
        if self.behaviour().get('die_after') == 'Convert':
            os._exit(1)
        return {'point': point}, []

    def m_drop(self, p, fds):
        self.take_snapshot(p)
        self.save()
        if self.behaviour().get('die_after') == 'Drop':
            os._exit(1)
        return {}, []

    def m_rename(self, p, fds):
        for i, s in enumerate(self.catalogue['snapshots']):
            if s['id'] == p['snapshot']:
                s['label'] = p['label']
                self.save()
                return {'snapshot': self.snapshots()[i]}, []
        raise ValueError('NoSuchPoint')

    def m_check(self, p, fds):
        return {'ok': True, 'bytes_read': 0, 'findings': []}, []

    def m_resize(self, p, fds):
        for i, disk in enumerate(self.catalogue['disks']):
            if disk['id'] == p['disk']:
                os.ftruncate(fds[0], p['size'])
                self.catalogue['sizes'][i] = p['size']
                self.save()
                return self.status(), []
        raise ValueError('NoSuchDisk')

    def m_export(self, p, fds):
        raise ValueError('InvalidState')

    def m_listener(self, p, fds):
        return {}, [self.listener.fileno()] if self.listener else []

    def m_stop(self, p, fds):
        if self.state == 'serving':
            raise ValueError('InvalidState')
        return None, []

    # ---- the loop

    def changes(self, channel, message, fds):
        """A stream: `since` says how many replies of how many bytes."""
        n, size = map(int, message['parameters']['since'].split('x'))
        for fd in fds:
            os.close(fd)
        channel.sock.settimeout(60)
        for i in range(n):
            channel.send({'parameters': {'since': 's', 'n': i,
                                         'pad': 'x' * size},
                          'continues': i + 1 < n})
            with open(f'{self.store}/progress', 'w') as f:
                f.write(str(i + 1))

    def export(self, channel, parameters, fds):
        """Tells that it is at 30 of 60 bytes until ROOT/fake/now is there."""
        try:
            while not os.path.exists(f'{self.fake}/now'):
                channel.send({'parameters': {'progress': {
                    'done_bytes': 30, 'total_bytes': 60}}, 'continues': True})
                time.sleep(0.02)
            logs = parameters.get('content') == 'logs'
            self.fill(fds, 2 * len(parameters.get('logs', [])) if logs
                      else len(parameters['disks']))
            self.event('exported', parameters=parameters)
            channel.send({'parameters': {'exported': {
                'id': parameters['source'], 'disks': [
                    {'id': d} for d in parameters['disks']],
                **self.behaviour().get('exported', {})}}})
        except OSError:
            self.event('gone')
        for fd in fds:
            os.close(fd)

    @staticmethod
    def fill(fds, n):
        """Has refpoint-target write to its N files (common/target.h)."""
        orders = [(1, 0, 0, n)]                             # begin
        orders += [(2, i, 0, 6) for i in range(n)]          # write
        orders += [(6, 0, 0, 0)]                            # end
        os.pwrite(fds[1], b'filled', 0)
        with socket.socket(fileno=os.dup(fds[0])) as sock:
            for op, file, offset, length in orders:
                sock.send(struct.pack('<HHIQQ', op, file, 0, offset, length))
                if struct.unpack('<4I', sock.recv(17))[1]:
                    raise OSError('refpoint-target failed')

    @staticmethod
    def send_raw(channel, text, fds):
        """Each message of TEXT, with FDS beside it."""
        for message in re.findall(rb'[^\0]*\0|[^\0]+$', text.encode()):
            socket.send_fds(channel.sock, [message], fds)

    @staticmethod
    def drip(channel, seconds):
        try:
            while True:
                channel.send({'parameters': {'disks': [], 'points': []},
                              'continues': True})
                time.sleep(seconds)
        except OSError:
            pass  # nobody listens any more

    def connection(self, sock):
        conn, _ = sock.accept()
        channel = Channel(conn)
        self.selector.register(conn, selectors.EVENT_READ,
                               lambda _: self.message(channel))

    def message(self, channel):
        try:
            got = channel.receive()
        except ConnectionResetError:
            got = None  # it left what we sent unread
        if got is None:
            self.event('hangup')
            self.selector.unregister(channel.sock)
            channel.close()
            return
        message, fds = got
        name = message['method'].rsplit('.', 1)[1]
        behaviour = self.behaviour()
        self.event(name, fds, timeout_ms=message.get('parameters', {}).get(
            'timeout_ms'))
        if name == behaviour.get('die_at'):
            os._exit(1)
        if name in behaviour.get('hang', []):
            return
        if name in behaviour.get('fail', []):
            channel.send({'error': 'org.refpoint.IoError',
                          'parameters': {'message': 'as told'}})
            return
        gate = behaviour.get('gate', {}).get(name)
        while gate and not os.path.exists(f'{self.fake}/{gate}'):
            time.sleep(0.01)
        extra = [0] * behaviour.get('attach', {}).get(name, 0)
        if name in behaviour.get('drip', {}):
            threading.Thread(target=self.drip, daemon=True, args=(
                channel, behaviour['drip'][name])).start()
            return
        if name in behaviour.get('raw', {}):
            try:
                self.send_raw(channel, behaviour['raw'][name], extra)
            except OSError:
                pass  # refused before its end
            return
        for text in behaviour.get('trickle', {}).get(name, []):
            try:
                self.send_raw(channel, text, extra)
            except OSError:
                return  # nobody listens any more
            time.sleep(0.2)
        if name in behaviour.get('reply', {}):
            channel.send({'parameters': behaviour['reply'][name]}, extra)
            return
        if name == 'Export' and self.state == 'serving':
            threading.Thread(target=self.export, daemon=True, args=(
                channel, message['parameters'], fds)).start()
            return
        if name == 'Changes':
            self.changes(channel, message, fds)
            return
        if name == 'AwaitEnd':
            return  # it does not come
        try:
            reply, out = getattr(self, 'm_' + name.lower())(
                message.get('parameters', {}), fds)
        except ValueError as e:
            channel.send({'error': f'org.refpoint.{e}',
                          'parameters': {'message': 'no'}})
            return
        try:
            channel.send({'parameters': reply or {}}, out + extra)
        except BrokenPipeError:
            pass  # the caller's patience has ended
        if name == 'Stop':
            sys.exit(0)

    def start(self):
        client = Client(f'{self.run}/worker.sock')
        reply = client.call('org.refpoint.daemon.Start',
                            {'vm': self.vm, 'pid': os.getpid()})
        fds = client.fds
        self.event('Start', fds, serve=reply['serve'],
                   images=reply['images'])
        if reply['serve'] and 'Start' not in self.behaviour().get('fail', []):
            self.take(reply['images'], fds)
        for mark in self.behaviour().get('mark', []):
            try:
                stamp = client.call('org.refpoint.daemon.Mark', mark)['stamp']
            except Error as e:
                stamp = {'error': e.name}
            self.event('Mark', stamp=stamp)
        for s in self.catalogue['snapshots'] if self.listener else []:
            client.call('org.refpoint.daemon.SnapshotListener',
                        {'vm': self.vm, 'snapshot': s['id']})
            self.listen(s['id'], client.fds[0])
        client.close()

    def main(self):
        if self.behaviour().get('die'):
            sys.exit(1)
        path = f'{self.run}/vm/{self.vm}/control.sock'
        self.start()
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.bind(path)
        sock.listen(64)
        self.selector.register(sock, selectors.EVENT_READ, self.connection)
        while True:
            for key, _ in self.selector.select():
                key.data(key.fileobj)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument('--root', required=True)
    parser.add_argument('--vm', required=True)
    parser.add_argument('-D')
    args = parser.parse_args()
    Worker(args.root, args.vm).main()


if __name__ == '__main__':
    main()
