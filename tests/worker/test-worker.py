# SPDX-License-Identifier: Apache-2.0
"""The worker's life, and what it tracks, as refpointd and a guest see it."""
import os
import signal
import subprocess
import threading
import unittest
import uuid

import nbd

from workertest import (BLOCK, KIB, MIB, Case, blocks, dirty_blocks, terminate,
                        wait_until)

SIZE = 64 * MIB


class Define(Case):
    def test_hello_has_no_uuid_before_the_definition_and_its_uuid_after(self):
        w = self.world()
        w.start()
        hello = w.call('Hello')
        self.assertEqual(hello, {'vm': 'vm1', 'uuid': None,
                                 'pid': w.process.pid, 'state': 'defined'})
        w.initialize()
        self.assertEqual(w.call('Hello')['uuid'], w.uuid)

    def test_what_was_defined_is_told_again_by_another_worker(self):
        w = self.defined(root=64 * MIB, data=8 * MIB)
        first = w.call('Definition')
        self.assertEqual([d['id'] for d in first['disks']], ['root', 'data'])
        self.assertEqual(first['uuid'], w.uuid)
        self.assertEqual(first['owner'], '')
        self.assertFalse(first['force_raw'])
        w.kill()
        w.start()
        self.assertEqual(w.call('Definition'), first)

    def test_a_store_is_defined_once(self):
        w = self.defined()
        self.refuses('AlreadyExists', w.initialize)

    def test_a_size_that_is_not_the_images_is_refused(self):
        w = self.world()
        w.start()
        self.refuses('InvalidParameter', w.initialize, sizes=[32 * MIB])
        self.assertIsNone(w.call('Hello')['uuid'])
        w.initialize()

    def test_nothing_but_a_definition_is_possible_before_it(self):
        w = self.world()
        w.start()
        for method, parameters in (
                ('Status', {}), ('Points', {}), ('Check', {}), ('Create', {}),
                ('Definition', {}), ('Destroy', {'point': w.uuid}),
                ('Changes', {'since': w.uuid})):
            self.refuses('InvalidState', w.call, method, **parameters)
        self.refuses('InvalidState', w.serve)


class Nfs(Case):
    """The kernel's answer is put in by tests/server/nfs-statfs.c."""

    def nfs(self, w):
        stores = os.path.dirname(w.store)
        with open(os.path.join(stores, 'is-nfs'), 'wb'):
            pass
        preload = [os.environ.get('LD_PRELOAD'),
                   os.environ['REFPOINT_NFS_STATFS']]
        return {'LD_PRELOAD': ':'.join(filter(None, preload)),
                'REFPOINT_TEST_NFS': stores}

    def content(self, w):
        found = {}
        for name in os.listdir(w.store):
            with open(os.path.join(w.store, name), 'rb') as f:
                found[name] = f.read()
        return found

    def test_no_store_is_made_or_opened_on_nfs(self):
        w = self.world()
        environment = self.nfs(w)
        w.process = w.spawn(**environment)
        self.assertNotEqual(w.ends(), 0)
        self.assertIn('cannot live on NFS', w.log())
        self.assertEqual(os.listdir(w.store), [])
        w.start()
        w.initialize()
        w.stop()
        before = self.content(w)
        self.assertIn('catalogue.sqlite', before)
        w.process = w.spawn(**environment)
        self.assertNotEqual(w.ends(), 0)
        self.assertEqual(w.log().count('cannot live on NFS'), 2)
        self.assertEqual(self.content(w), before)
        w.process = None


class Life(Case):
    def test_a_second_worker_of_a_store_is_refused(self):
        w = self.defined()
        second = w.spawn()
        self.assertEqual(second.wait(20), 4)
        self.assertIn('another worker has the store', w.log())
        w.call('Definition')

    def test_it_waits_for_refpointd(self):
        w = self.world()
        w.daemon.vanish()
        w.process = w.spawn()
        wait_until('its complaint', lambda: 'waiting for refpointd' in w.log())
        w.daemon.__init__(w.root)
        w.daemon.paths = w.disks
        w.wait_ready()

    def test_it_ends_when_it_is_idle(self):
        w = self.world()
        w.start(REFPOINT_IDLE_MS='200')
        self.assertEqual(w.ends(), 0)
        self.assertFalse(os.path.exists(os.path.join(w.run_dir,
                                                     'control.sock')))

    def test_one_that_serves_does_not_end_when_idle(self):
        w = self.world()
        w.start(REFPOINT_IDLE_MS='300')
        w.initialize()
        w.serve()
        with self.assertRaises(subprocess.TimeoutExpired):
            w.process.wait(1)
        w.call('Unserve')
        self.assertEqual(w.ends(), 0)

    def test_stop_ends_one_that_does_not_serve(self):
        w = self.served()
        self.refuses('InvalidState', w.call, 'Stop')
        w.call('Unserve')
        self.assertEqual(w.stop(), 0)

    def test_its_threads_have_names(self):
        w = self.served()
        named = {'ring', 'questions', 'views', 'control', 'query'}
        wait_until(f'{named}, there are {w.threads()}',
                   lambda: named <= set(w.threads()))

    def test_sigterm_ends_it_cleanly(self):
        w = self.served()
        point = w.create()
        w.guest('root').pwrite(b'x' * BLOCK, 5 * BLOCK)
        terminate(w.process)
        self.assertEqual(w.ends(), 0)
        self.assertEqual([f for d in w.live_dirs()
                          for f in os.listdir(os.path.join(d, 'vm1'))], [])
        w.start()
        w.serve()
        found = w.changes(point)['root']
        self.assertEqual((found['accuracy'], blocks(found)), ('exact', {5}))

    def test_it_serves_on_without_refpointd(self):
        w = self.served()
        guest = w.guest('root')
        point = w.create()
        w.daemon.vanish()
        guest.pwrite(b'x' * BLOCK, 0)
        self.assertEqual(blocks(w.changes(point)['root']), {0})
        w.create()
        self.assertEqual(w.status()['state'], 'serving')
        # sealed, it cannot connect again: the next one can
        w.call('Unserve')
        self.assertEqual(w.ends(), 0)

    def test_what_start_says_is_served(self):
        w = self.defined()
        w.kill()
        w.serve_at_start()
        w.start()
        w.serving()
        w.guest('root').pwrite(b'x' * BLOCK, 0)

    def test_a_failed_start_of_serving_is_told_by_status(self):
        w = self.defined()
        w.kill()
        w.daemon.mark_error = 'Failed'
        w.serve_at_start()
        w.start()
        wait_until('failure', lambda: w.status()['state'] == 'failed')
        self.assertIn('as the test wants it', w.status()['reason'])
        w.daemon.mark_error = None
        self.assertEqual(w.serve()['state'], 'serving')
        self.assertEqual(w.status()['reason'], '')


class Serve(Case):
    def test_status_says_what_is(self):
        w = self.served(root=64 * MIB, data=8 * MIB)
        guest = w.guest('data')
        s = wait_until('the connection', lambda: w.status()
                       if w.status()['disks'][1]['connected'] else None)
        self.assertEqual((s['vm'], s['uuid'], s['state'], s['latched'],
                          s['reason'], s['worker_pid'], s['points'],
                          s['points_max'], s['inflight_bytes']),
                         ('vm1', w.uuid, 'serving', False, '', w.process.pid,
                          0, 256, 0))
        root, data = s['disks']
        self.assertEqual(data['connected'], 1)
        self.assertEqual(root['connected'], 0)
        self.assertEqual(root['size'], 64 * MIB)
        self.assertEqual(root['path'], w.disks['root'])
        self.assertEqual(root['nbd_uri'],
                         f'nbd+unix:///root?socket={w.nbd_path}')
        self.assertIn(root['cache'], ('direct', 'writeback'))
        self.assertEqual((root['accuracy'], root['reason'],
                          root['widened_bytes'], root['hot_regions'],
                          root['hot_regions_max']), ('exact', '', 0, 0, 256))
        self.assertGreater(root['tracking_bytes'], 0)
        guest.pwrite(b'x' * BLOCK, 0)
        data = w.status()['disks'][1]
        self.assertEqual(data['hot_regions'], 1)
        self.assertEqual(data['worst_widening_bytes'], 8 * MIB)
        guest.shutdown()
        wait_until('the goodbye',
                   lambda: w.status()['disks'][1]['connected'] == 0)
        s = w.call('Unserve')['status']
        self.assertEqual(s['state'], 'defined')
        self.assertIsNone(s['disks'][0]['nbd_uri'])
        self.assertEqual(s['disks'][0]['cache'], '')

    def test_a_uri_from_status_can_be_connected_to(self):
        w = self.served()
        h = nbd.NBD()
        h.connect_uri(w.status()['disks'][0]['nbd_uri'])
        self.assertEqual(h.get_size(), SIZE)

    def test_served_twice_and_unserved_twice_is_the_wrong_state(self):
        w = self.served()
        self.refuses('InvalidState', w.serve)
        w.guest('root').pread(BLOCK, 0)
        w.call('Unserve')
        self.refuses('InvalidState', w.call, 'Unserve')
        self.refuses('InvalidState', w.call, 'Listener')
        w.serve()

    def test_the_listener_can_be_had_again(self):
        w = self.served()
        (_, fds), = w.replies('Listener', {})
        self.assertEqual(len(fds), 1)
        self.assertEqual(os.fstat(fds[0]).st_ino,
                         os.fstat(w.bind()).st_ino)
        os.close(fds[0])

    def test_a_failure_on_the_way_up_is_undone(self):
        w = self.defined()
        w.daemon.mark_error = 'Failed'
        self.refuses('Failed', w.serve)
        self.assertEqual(w.status()['state'], 'defined')
        subprocess.run(['qemu-io', '-f', 'raw', '-c', 'read 0 512',
                        w.disks['root']], check=True,
                       stdout=subprocess.DEVNULL)
        w.daemon.mark_error = None
        w.serve()
        w.guest('root').pwrite(b'x' * BLOCK, 0)

    def test_other_images_than_the_defined_are_refused(self):
        w = self.defined(root=8 * MIB, data=8 * MIB)
        images, fds = w.open_images()
        self.addCleanup(lambda: [os.close(fd) for fd in fds])
        self.refuses('InvalidParameter', w.call, 'Serve',
                     fds[:1] + [w.bind()], images=images[:1])
        self.refuses('InvalidParameter', w.call, 'Serve', fds + [w.bind()],
                     images=images[::-1])
        self.refuses('InvalidParameter', w.call, 'Serve', fds, images=images)
        self.assertEqual(w.status()['state'], 'defined')

    def test_qemu_and_we_refuse_each_other(self):
        w = self.defined()
        w.serve()
        qemu = ['qemu-io', '-f', 'raw', '-c']
        done = subprocess.run(qemu + ['read 0 512', w.disks['root']],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(b'lock', done.stdout)
        w.call('Unserve')
        with subprocess.Popen(['qemu-io', '-f', 'raw', w.disks['root']],
                              stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as p:
            p.stdin.write(b'read 0 512\n')
            p.stdin.flush()
            while b'read 512/512' not in p.stdout.readline():
                pass
            message = self.refuses('InUse', w.serve)
            self.assertIn(w.disks['root'], message)
            p.stdin.close()
            p.wait()
        w.serve()


class Track(Case):
    def test_what_was_written_since_a_point_is_told_exactly(self):
        w = self.served(root=SIZE, data=SIZE)
        root, data = w.guest('root'), w.guest('data')
        root.pwrite(b'a' * BLOCK, 0)
        first = w.create(label='one')
        root.pwrite(b'b' * 512, 10 * BLOCK + 512)
        root.pwrite(b'b' * 3 * BLOCK, 1000 * BLOCK)
        data.zero(2 * BLOCK, 7 * BLOCK)
        second = w.create()
        data.pwrite(b'c' * BLOCK, 9 * BLOCK)
        found = w.changes(first)
        self.assertEqual(blocks(found['root']), {10, 1000, 1001, 1002})
        self.assertEqual(blocks(found['data']), {7, 8, 9})
        self.assertEqual(found['root']['changed_bytes'], 4 * BLOCK)
        self.assertEqual(found['root']['granularity_bytes'], BLOCK)
        self.assertEqual({d['accuracy'] for d in found.values()}, {'exact'})
        between = w.changes(first, second)
        self.assertEqual(blocks(between['data']), {7, 8})
        since = w.changes(second, disk='data')
        self.assertEqual(list(since), ['data'])
        self.assertEqual(blocks(since['data']), {9})
        self.assertEqual(blocks(w.changes(second)['root']), set())

    def test_the_dirty_bitmap_over_nbd_agrees(self):
        w = self.served()
        guest = w.guest('root')
        first = w.create()
        guest.pwrite(b'a' * 5 * BLOCK, 3 * BLOCK)
        context = 'qemu:dirty-bitmap:' + first
        reader = w.guest('root', [context])
        self.assertTrue(reader.can_meta_context(context))
        self.assertEqual(dirty_blocks(reader, context, SIZE),
                         set(range(3, 8)))
        # written after the view was made, in a region that was clean then
        guest.pwrite(b'a' * BLOCK, SIZE - BLOCK)
        self.assertEqual(dirty_blocks(reader, context, SIZE),
                         set(range(3, 8)) | {SIZE // BLOCK - 1})
        # a point made meanwhile takes nothing away
        w.create()
        guest.pwrite(b'a' * BLOCK, 100 * BLOCK)
        want = set(range(3, 8)) | {SIZE // BLOCK - 1, 100}
        self.assertEqual(dirty_blocks(reader, context, SIZE), want)
        self.assertEqual(blocks(w.changes(first)['root']), want)
        w.call('Destroy', point=first)
        with self.assertRaises(nbd.Error):
            dirty_blocks(reader, context, SIZE)

    def test_points_are_listed_as_they_were_made(self):
        w = self.served(root=SIZE, data=SIZE)
        request = str(uuid.uuid4())
        a = w.call('Create', label='größer', request_id=request.upper())
        b = w.call('Create', type='rct', consistency='crash')
        again = w.call('Create', request_id=request)
        self.assertEqual(again, a)
        self.assertEqual(w.call('Points')['points'], [a['point'], b['point']])
        point = a['point']
        self.assertEqual((point['type'], point['consistency'], point['label']),
                         ('rct', 'crash', 'größer'))
        self.assertRegex(point['created'],
                         r'^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$')
        self.assertEqual([d['id'] for d in point['disks']], ['root', 'data'])
        self.assertRegex(point['disks'][0]['tracking_id'],
                         r'^rctX:[0-9a-f:]{36}:[0-9a-f]{8}$')
        self.assertEqual(w.status()['points'], 2)
        w.call('Destroy', point=point['id'])
        self.assertEqual(w.call('Points')['points'], [b['point']])
        self.refuses('NoSuchPoint', w.call, 'Destroy', point=point['id'])

    def test_more_points_than_a_message_holds_come_in_pieces(self):
        """256 points of 64 disks, with names and labels of full length."""
        w = self.served(**{f'disk-{i:02}'.ljust(31, 'x'): 64 * KIB
                           for i in range(64)})
        made = [w.call('Create', label=f'{i:3}'.ljust(255, '"'))['point']
                for i in range(100)]
        # as many as one message holds need no "more"
        self.assertEqual(w.call('Points')['points'], made)
        made += [w.call('Create', label=f'{i:3}'.ljust(255, '"'))['point']
                 for i in range(100, 256)]
        self.refuses('LimitReached', w.call, 'Points')
        pieces = [p['points'] for p, _ in w.replies('Points', {}, more=True)]
        self.assertGreater(len(pieces), 2)
        self.assertEqual([p for piece in pieces for p in piece], made)
        # one that goes away in the middle disturbs nobody
        replies = w.replies('Points', {}, more=True)
        next(replies)
        replies.close()
        self.assertEqual(w.status()['points'], 256)

    def test_a_point_is_application_consistent_once_vouched_for(self):
        w = self.served()
        request_id = str(uuid.uuid4())
        asked = {'consistency': 'application', 'request_id': request_id}
        point = w.call('Create', **asked)['point']
        self.assertEqual(point['consistency'], 'crash')
        self.refuses('NoSuchPoint', w.call, 'Vouch', point=str(uuid.uuid4()))
        w.call('Vouch', point=point['id'])
        want = dict(point, consistency='application')
        self.assertEqual(w.call('Points')['points'], [want])
        # one that is asked for again is the same, whatever it was
        self.assertEqual(w.call('Create', **asked)['point'], want)
        other = str(uuid.uuid4())
        w.create(request_id=other)
        self.refuses('AlreadyExists', w.call, 'Create',
                     consistency='application', request_id=other)
        w.kill()
        w.start()
        self.assertEqual([p['consistency'] for p in
                          w.call('Points')['points']],
                         ['application', 'crash'])

    def test_another_agent_is_of_the_definition(self):
        w = self.served()
        self.assertEqual(w.call('Definition')['agent'], '')
        w.call('SetAgent', agent='libvirt:web')
        self.refuses('InvalidParameter', w.call, 'SetAgent', agent='x')
        self.assertEqual(w.status()['agent'], 'libvirt:web')
        w.kill()
        w.start()
        self.assertEqual(w.call('Definition')['agent'], 'libvirt:web')

    def test_bad_requests_for_points_are_named(self):
        w = self.served()
        for name, parameters in (
                ('InvalidType', {'type': 'vss'}),
                ('InvalidParameter', {'consistency': 'eventual'}),
                ('InvalidParameter', {'label': 'a\nb'}),
                ('InvalidParameter', {'label': '\x85'}),
                ('InvalidParameter', {'label': 'x' * 256}),
                ('InvalidParameter', {'request_id': 'mine'}),
                ('InvalidParameter', {'colour': 'blue'})):
            self.refuses(name, w.call, 'Create', **parameters)
        self.assertEqual(w.call('Points')['points'], [])
        point = w.create(label='x' * 255)
        self.refuses('NoSuchPoint', w.changes, str(uuid.uuid4()))
        self.refuses('NoSuchPoint', w.changes, 'yesterday')
        self.refuses('NoSuchDisk', w.changes, point, disk='floppy')
        later = w.create()
        self.refuses('InvalidParameter', w.changes, later, point)

    def logs(self, w):
        told = [p['log'] for p in w.call('Points')['points']]
        self.assertEqual([one['log'] for one in w.status()['logs']],
                         [log for log in told if log])
        return [log and log['state'] for log in told]

    def test_a_log_based_point_has_what_is_written_until_the_next(self):
        w = self.served()
        one = w.create(type='log')
        self.assertEqual(self.logs(w), ['open'])
        w.create()
        w.guest('root').pwrite(b'x' * MIB, 0)
        two = w.create(type='log')
        self.assertEqual(self.logs(w), ['closed', None, 'open'])
        status, points = w.status(), w.call('Points')['points']
        self.assertEqual(status['log_bytes'],
                         sum(p['log']['bytes'] for p in points if p['log']))
        self.assertGreater(points[0]['log']['bytes'], MIB)
        w.call('Destroy', point=two)
        self.assertEqual(self.logs(w), ['open', None])
        self.assertEqual(w.call('Points')['points'][0]['log']['parts'], 2)
        self.assertEqual(w.changes(one)['root']['changed_bytes'], MIB)
        w.call('DropLog', point=one)
        self.assertEqual(self.logs(w), ['gone', None])
        log = w.call('Points')['points'][0]['log']
        self.assertEqual((log['bytes'], log['parts']), (0, 0))
        self.assertIn('request', log['reason'])
        self.assertEqual(w.status()['log_bytes'], 0)
        self.assertEqual(w.changes(one)['root']['changed_bytes'], MIB)

    def test_a_log_is_dropped_once_and_of_log_based_points_alone(self):
        w = self.served()
        log, rct = w.create(type='log'), w.create()
        self.refuses('InvalidState', w.call, 'DropLog', point=rct)
        self.refuses('NoSuchPoint', w.call, 'DropLog', point=str(uuid.uuid4()))
        self.refuses('InvalidParameter', w.call, 'DropLog')
        w.call('DropLog', point=log)
        self.refuses('InvalidState', w.call, 'DropLog', point=log)
        self.assertEqual(self.logs(w), ['gone', None])

    def test_a_log_based_point_needs_nobody_who_serves(self):
        w = self.served()
        w.call('Unserve')
        self.refuses('InvalidState', w.call, 'Create', type='log')
        made = w.with_images('Create', type='log')['point']
        self.assertEqual(made['log']['state'], 'open')
        self.assertEqual(self.logs(w), ['open'])
        w.serve()
        w.guest('root').pwrite(b'x' * MIB, 0)
        wait_until('the log to have it',
                   lambda: w.status()['log_bytes'] > MIB)

    def test_logs_have_a_limit(self):
        w = self.world(root=SIZE)
        w.start()
        self.refuses('InvalidParameter', w.initialize, log_limit=2 * MIB - 1)
        w.initialize(log_limit=5 * MIB)
        self.assertEqual(w.status()['log_limit'], 5 * MIB)
        w.serve()
        w.create(type='log')
        guest = w.guest('root')
        for at in range(8):
            guest.pwrite(b'x' * MIB, at * MIB)
        self.assertEqual(self.logs(w), ['gone'])
        self.assertIn(str(5 * MIB), w.call('Points')['points'][0]['log'][
            'reason'])
        for wrong in (1, 2 * MIB - 1, 1 << 62):
            self.refuses('InvalidParameter', w.call, 'SetLogLimit',
                         bytes=wrong)
        w.call('SetLogLimit', bytes=0)
        self.assertEqual(w.status()['log_limit'], SIZE // 2)
        w.kill()
        w.start()
        self.assertEqual(w.status()['log_limit'], SIZE // 2)
        w.call('SetLogLimit', bytes=SIZE)
        self.assertEqual(w.status()['log_limit'], SIZE)

    def test_a_range_restricts_what_is_told(self):
        w = self.served(root=SIZE + 512)
        guest = w.guest('root')
        point = w.create()
        guest.pwrite(b'a' * 10 * BLOCK, 0)
        guest.pwrite(b'a' * 512, SIZE)
        found = w.changes(point)['root']
        self.assertEqual(found['extents'], [
            {'offset': 0, 'length': 10 * BLOCK},
            {'offset': SIZE, 'length': 512}])
        self.assertEqual(found['changed_bytes'], 10 * BLOCK + 512)
        found = w.changes(point, offset=BLOCK + 1, length=BLOCK)['root']
        self.assertEqual(found['extents'],
                         [{'offset': BLOCK, 'length': 2 * BLOCK}])
        self.assertEqual(found['changed_bytes'], 2 * BLOCK)
        found = w.changes(point, offset=9 * BLOCK)['root']
        self.assertEqual(found['changed_bytes'], BLOCK + 512)
        found = w.changes(point, offset=SIZE + 511, length=1 << 40)['root']
        self.assertEqual(found['changed_bytes'], 512)

    def test_a_range_that_no_disk_has_is_refused(self):
        w = self.served(root=SIZE, data=2 * SIZE)
        point = w.create()
        for wrong in ({'offset': 2 * SIZE}, {'offset': 1 << 40, 'length': 1},
                      {'offset': SIZE, 'disk': 'root'}, {'length': 0}):
            with self.subTest(wrong):
                self.refuses('InvalidParameter', w.changes, point, **wrong)
        found = w.changes(point, offset=SIZE)
        self.assertEqual(found['root']['extents'], [])

    def test_a_long_answer_can_be_asked_for_piece_by_piece(self):
        w = self.served(root=SIZE, data=SIZE)
        guest = w.guest('root')
        point = w.create()
        for block in (1, 2, 5, 9, 13):
            guest.pwrite(b'a' * BLOCK, block * BLOCK)
        w.guest('data').pwrite(b'a' * BLOCK, 3 * BLOCK)
        found = w.changes(point, max_extents=2)
        self.assertEqual(blocks(found['root']), {1, 2, 5})
        self.assertEqual(found['root']['changed_bytes'], 3 * BLOCK)
        self.assertEqual(blocks(found['data']), {3})
        rest = w.changes(point, max_extents=2, disk='root', offset=6 * BLOCK)
        self.assertEqual(blocks(rest['root']), {9, 13})
        for n in (4, 5, 1 << 62, 0):
            every = w.changes(point, max_extents=n)['root']
            self.assertEqual(blocks(every), {1, 2, 5, 9, 13})
            self.assertEqual(every['changed_bytes'], 5 * BLOCK)
        # beside the end of a range that was asked for
        found = w.changes(point, max_extents=2, disk='root', length=2 * BLOCK)
        self.assertEqual(blocks(found['root']), {1})

    def test_a_long_answer_comes_in_pieces(self):
        w = self.served(root=256 * MIB, data=SIZE)
        guest = w.guest('root')
        point = w.create()
        n = 256 * MIB // BLOCK // 2
        for i in range(n):
            guest.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(512)),
                             2 * i * BLOCK, completion=lambda *_: 1)
            while guest.aio_in_flight() > 64:
                guest.poll(-1)
        while guest.aio_in_flight():
            guest.poll(-1)
        pieces = list(w.replies('Changes', {'since': point}, more=True))
        self.assertGreaterEqual(len(pieces), n // 4096)
        found = w.changes(point)
        self.assertEqual(blocks(found['root']), set(range(0, 2 * n, 2)))
        self.assertEqual(found['root']['changed_bytes'], n * BLOCK)
        self.assertEqual(found['data']['extents'], [])
        self.refuses('LimitReached', w.call, 'Changes', since=point)
        # one that goes away in the middle disturbs nobody
        replies = w.replies('Changes', {'since': point}, more=True)
        next(replies)
        replies.close()
        self.assertEqual(blocks(w.changes(point)['data']), set())

    def test_points_can_be_made_and_asked_while_nothing_is_served(self):
        w = self.served()
        first = w.create()
        w.guest('root').pwrite(b'a' * BLOCK, 4 * BLOCK)
        w.call('Unserve')
        self.refuses('InvalidState', w.call, 'Create')
        self.refuses('InvalidState', w.changes, first)
        second = w.with_images('Create')['point']['id']
        self.assertEqual(blocks(w.changes(first, second)['root']), {4})
        images, fds = w.open_images()
        found = w.changes(first, fds=fds, images=images)['root']
        for fd in fds:
            os.close(fd)
        self.assertEqual((found['accuracy'], blocks(found)), ('exact', {4}))
        # nothing is held after that
        subprocess.run(['qemu-io', '-f', 'raw', '-c', 'read 0 512',
                        w.disks['root']], check=True,
                       stdout=subprocess.DEVNULL)
        w.serve()
        w.guest('root').pwrite(b'a' * BLOCK, 6 * BLOCK)
        self.assertEqual(blocks(w.changes(first)['root']), {4, 6})
        self.assertEqual(blocks(w.changes(second)['root']), {6})

    def test_a_write_behind_our_back_invalidates(self):
        w = self.served()
        point = w.create()
        w.call('Unserve')
        with open(w.disks['root'], 'r+b') as f:
            f.write(b'mine')
        w.serve()
        found = w.changes(point)['root']
        self.assertEqual(found['accuracy'], 'invalid')
        self.assertNotEqual(found['reason'], '')
        self.assertEqual(found['extents'], [{'offset': 0, 'length': SIZE}])
        self.assertEqual(w.status()['disks'][0]['accuracy'], 'invalid')
        fresh = w.create()
        found = w.changes(fresh)['root']
        self.assertEqual((found['accuracy'], found['extents']), ('exact', []))

    def test_check_finds_nothing_wrong(self):
        w = self.served()
        guest = w.guest('root')
        guest.pwrite(b'a' * MIB, 0)
        w.create()
        guest.pwrite(b'a' * MIB, 8 * MIB)
        found = w.call('Check')
        self.assertEqual((found['ok'], found['findings']), (True, []))
        self.assertGreater(found['bytes_read'], 0)


class Crash(Case):
    def test_after_a_kill_in_mid_write_the_answer_is_exact(self):
        w = self.served(root=SIZE)
        point = w.create()
        w.serve_at_start()
        submitted, completed = set(), set()
        for generation in range(4):
            guest = w.guest('root')
            stop = threading.Event()

            def write():
                at = generation * 3000
                try:
                    while not stop.is_set():
                        submitted.update(range(at, at + 16))
                        guest.pwrite(b'k' * 16 * BLOCK, at * BLOCK)
                        completed.update(range(at, at + 16))
                        at += 32
                except nbd.Error:
                    pass
            thread = threading.Thread(target=write)
            thread.start()
            before = len(completed)
            wait_until('some writes', lambda: len(completed) > before + 100)
            w.kill()
            stop.set()
            thread.join()
            w.start()
            w.serving()
            found = w.changes(point)['root']
            self.assertEqual(found['accuracy'], 'exact', found['reason'])
            self.assertLessEqual(completed, blocks(found))
            self.assertLessEqual(blocks(found), submitted)

    def test_a_killed_worker_leaves_nothing_locked_for_the_next(self):
        w = self.served()
        w.guest('root').pwrite(b'x' * BLOCK, 0)
        w.process.send_signal(signal.SIGKILL)
        w.process.wait()
        w.start()
        self.assertEqual(w.serve()['state'], 'serving')


class Resize(Case):
    def resize(self, w, size):
        path = w.disks['root']
        images, fds = w.open_images({'root': path})
        try:
            return w.call('Resize', fds, disk='root', size=size,
                          image=images[0])['status']
        finally:
            os.close(fds[0])

    def test_a_disk_grows_while_it_is_served(self):
        w = self.served()
        point = w.create()
        w.guest('root').pwrite(b'a' * BLOCK, 0)
        status = self.resize(w, 2 * SIZE)
        self.assertEqual(status['state'], 'serving')
        self.assertEqual(status['disks'][0]['size'], 2 * SIZE)
        self.assertEqual(os.stat(w.disks['root']).st_size, 2 * SIZE)
        guest = w.guest('root')
        self.assertEqual(guest.get_size(), 2 * SIZE)
        found = w.changes(point)['root']
        self.assertEqual(found['accuracy'], 'exact', found['reason'])
        self.assertEqual(found['extents'], [
            {'offset': 0, 'length': BLOCK},
            {'offset': SIZE, 'length': SIZE}])
        fresh = w.create()
        guest.pwrite(b'b' * BLOCK, 2 * SIZE - BLOCK)
        self.assertEqual(blocks(w.changes(fresh)['root']),
                         {2 * SIZE // BLOCK - 1})

    def test_a_disk_grows_while_it_is_not_served(self):
        w = self.served()
        point = w.create()
        w.call('Unserve')
        status = self.resize(w, SIZE + 512 * KIB)
        self.assertEqual(status['state'], 'defined')
        w.serve()
        found = w.changes(point)['root']
        self.assertEqual((found['accuracy'], found['extents']), (
            'exact', [{'offset': SIZE, 'length': 512 * KIB}]))

    def test_a_disk_does_not_shrink(self):
        w = self.served()
        for size in (SIZE, SIZE - MIB, SIZE + 100):
            self.refuses('InvalidParameter', self.resize, w, size)
        self.assertEqual(w.status()['state'], 'serving')
        self.assertEqual(os.stat(w.disks['root']).st_size, SIZE)

    def test_without_refpointd_the_next_worker_serves_what_grew(self):
        w = self.served()
        w.daemon.vanish()
        self.resize(w, 2 * SIZE)
        self.assertEqual(w.ends(), 0)
        w.daemon.__init__(w.root)
        w.daemon.paths = w.disks
        w.serve_at_start()
        w.start()
        w.serving()
        self.assertEqual(w.guest('root').get_size(), 2 * SIZE)
        self.assertEqual(w.status()['disks'][0]['accuracy'], 'exact')


if __name__ == '__main__':
    unittest.main(verbosity=2)
