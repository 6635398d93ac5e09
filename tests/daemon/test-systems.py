#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Systems: what refpointd tells of all virtual systems, and of their points,
without starting a worker, and only what is true."""
import json
import os
import signal
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from rig import RigCase, wait_until, worker_uid  # noqa: E402
from harness.refpoint import kill_now  # noqa: E402
from varlink import point_id  # noqa: E402


class Case(RigCase):
    def entry(self, vm):
        with open(f'{self.rig.root}/lib/inventory/{vm}.json') as f:
            return json.load(f)

    def restart_alone(self, *vms):
        """A new refpointd, and no worker that the old one left."""
        self.rig.kill()
        for vm in vms:
            pid = self.rig.worker_pid(vm)
            if pid:
                kill_now(pid)
        self.rig.start()


class Told(Case):
    def test_systems_are_told_with_their_disks_and_points(self):
        rig = self.rig
        paths = [rig.disk('a "b" \\ \u00fc'), rig.disk('b', 8 << 20)]
        uuid = rig.define('v', paths)['uuid']
        rig.define('w')
        label = 'before "it" \\ \u00fc'
        points = [rig.call('Create', vm='v')['point'],
                  rig.call('Create', vm='v', label=label)['point']]
        self.assertEqual(points[1]['label'], label)
        self.assertEqual(points, rig.call('Points', vm='v')['points'])
        want = {'vm': 'v', 'uuid': uuid, 'state': 'defined',
                'connected': False, 'worker_pid': rig.worker_pid('v'),
                'disks': [{'id': 'd0', 'path': paths[0], 'size': 1 << 20},
                          {'id': 'd1', 'path': paths[1], 'size': 8 << 20}],
                'snapshots': [], 'points': points}
        for role in ('admin', 'operator', 'gateway'):
            told = rig.systems(role, points=True)
            self.assertEqual(told['v'], want)
            self.assertEqual(told['w']['points'], [])
            self.assertEqual(list(told), ['v', 'w'])
        want['points'] = []
        self.assertEqual(rig.systems()['v'], want)
        self.assertEqual(rig.systems(uuid=uuid.upper()), {'v': want})
        self.assertEqual(rig.systems(uuid=point_id(0)), {})
        self.assertEqual(rig.call('Systems', uuid=uuid)['systems'], [want])
        for wrong in ({'uuid': 'v'}, {'vm': 'v'}, {'points': 1}):
            self.assertEqual(rig.error('Systems', **wrong).name,
                             'InvalidParameter')

    def test_nothing_is_told_where_nothing_is(self):
        self.assertEqual(self.rig.call('Systems'), {'systems': []})
        self.assertEqual(self.rig.systems(points=True), {})

    def test_points_follow_and_no_worker_is_started(self):
        rig = self.rig
        rig.define('v')
        for _ in range(3):
            rig.call('Create', vm='v')
        rig.call('Destroy', vm='v', point=point_id(1))
        self.assertEqual(rig.points('v'), [point_id(0), point_id(2)])
        self.assertEqual(rig.error('Destroy', vm='v', point='x').name,
                         'NoSuchPoint')
        rig.kill_worker('v')
        for _ in range(2):
            self.assertEqual(rig.points('v'), [point_id(0), point_id(2)])
            self.assertIsNone(rig.system('v')['worker_pid'])
            self.restart_alone('v')
        self.assertEqual(rig.events('v', 'Points'), [])

    def test_who_is_connected_is_asked_and_only_of_those_that_serve(self):
        rig = self.rig
        for vm in ('v', 'hung', 'idle'):
            rig.define(vm)
        rig.call('Serve', vm='v')
        rig.call('Serve', vm='hung')
        self.assertFalse(rig.systems()['v']['connected'])
        with rig.guest('v') as guest, rig.guest('hung') as other:
            rig.greeted_by(guest)
            rig.greeted_by(other)
            self.assertTrue(rig.systems()['v']['connected'])
            before = len(rig.events('idle'))
            os.kill(rig.worker_pid('hung'), signal.SIGSTOP)
            begin = time.monotonic()
            told = rig.systems()
            self.assertLess(time.monotonic() - begin, 4)
            self.assertTrue(told['v']['connected'])
            self.assertTrue(told['hung']['connected'])  # as last known
            self.assertEqual(told['v']['state'], 'serving')
            begin = time.monotonic()
            for _ in range(5):  # it is not waited for once more
                told = rig.systems(points=True)
                self.assertTrue(told['v']['connected'])
                self.assertTrue(told['hung']['connected'])
            self.assertLess(time.monotonic() - begin, 0.9)
            self.assertEqual(len(rig.events('idle')), before)
            os.kill(rig.worker_pid('hung'), signal.SIGCONT)
            rig.call('Status', vm='hung')  # and is asked again
            asked = len(rig.events('hung', 'Status'))
            rig.systems()
            self.assertEqual(len(rig.events('hung', 'Status')), asked + 1)
        rig.call('Unserve', vm='v')
        self.assertFalse(rig.systems()['v']['connected'])

    def test_a_worker_that_makes_things_up_harms_its_own_system(self):
        rig = self.rig
        rig.define('bad')
        rig.define('good')
        rig.call('Create', vm='good')
        rig.call('Create', vm='bad')
        rig.call('Serve', vm='bad')
        endless = '{"parameters":{"status":{}},"continues":true}\0' * 50
        rig.behave('bad', raw={'Status': endless})
        self.assertEqual(rig.points('bad'), [point_id(0)])
        point = json.dumps(rig.call('Points', vm='good')['points'][0])
        for text in ('{"parameters":{"points":[{"id":"x"}]}}\0', '{}\0',
                     '{"parameters":{"points":{}}}\0',
                     ''.join('{"parameters":{"points":[%s]},'
                             '"continues":true}\0' %
                             point.replace('00000000-', f'{i:08x}-')
                             for i in range(300))):
            with self.subTest(text[:60]):
                rig.behave('bad', raw={'Points': text, 'Create': '\0'})
                rig.error('Create', vm='bad')
                self.assertEqual(rig.points('bad'), [])
                self.assertEqual(rig.points('good'), [point_id(0)])
                uuid = rig.systems()['bad']['uuid']
                e = rig.error('Systems', uuid=uuid, points=True)
                self.assertIn(e.name, ('ProtocolError', 'LimitReached'))

    def endless(self, point, i):
        """A Points reply of one that is new, and of more to come."""
        return '{"parameters":{"points":[%s]},"continues":true}\0' % (
            json.dumps(point).replace('00000000-', f'{i:08x}-'))

    def test_lists_without_end(self):
        rig = self.rig
        rig.define('v')
        point = rig.call('Create', vm='v')['point']
        empty = '{"parameters":{"points":[]},"continues":true}\0'
        one = json.dumps({'parameters': {'points': [point, point]}}) + '\0'
        for text in (empty, self.endless(point, 1) * 2, one):
            with self.subTest(text[:60]):
                rig.behave('v', fail=['Create'], raw={'Points': text})
                rig.error('Create', vm='v')
                begin = time.monotonic()
                self.assertEqual(rig.points('v'), [])
                self.assertLess(time.monotonic() - begin, 2)
                uuid = rig.systems()['v']['uuid']
                for lists in ({'points': True}, {'snapshots': True}):
                    self.assertEqual(rig.error('Systems', uuid=uuid, **lists)
                                     .name, 'ProtocolError')

    def test_lists_that_trickle_are_not_waited_for(self):
        """Nor do they keep others from being asked."""
        rig = self.rig
        names = [f'a{i}' for i in range(4)] + ['good']
        for vm in names:
            rig.define(vm)
            point = rig.call('Create', vm=vm)['point']
        rig.kill()
        for vm in names:
            kill_now(rig.worker_pid(vm))
            entry = self.entry(vm)
            del entry['point_list']
            with open(f'{rig.root}/lib/inventory/{vm}.json', 'w') as f:
                json.dump(entry, f)
        for vm in names[:4]:
            rig.behave(vm, trickle={'Points': [
                self.endless(point, i) for i in range(200)]})
        begin = time.monotonic()
        rig.start()
        wait_until('those of the good one',
                   lambda: rig.points('good') == [point_id(0)], timeout=20)
        self.assertLess(time.monotonic() - begin, 15)
        begin = time.monotonic()
        self.assertEqual(rig.points('a0'), [])
        self.assertLess(time.monotonic() - begin, 2)
        uuid = rig.systems()['a0']['uuid']
        self.assertEqual(rig.error('Systems', uuid=uuid, points=True).name,
                         'Timeout')

    def test_a_long_list_comes_in_parts_and_a_slow_reader_holds_it_back(self):
        rig = self.rig
        rig.define('v', [rig.disk(f'd{i}') for i in range(64)])
        with open(f'{rig.root}/lib/vms/v/catalogue.sqlite') as f:
            catalogue = json.load(f)
        catalogue['points'] = [
            {'id': point_id(i), 'type': 'rct', 'consistency': 'crash',
             'label': 'l' * 255, 'created': '2026-01-01T00:00:00Z',
             'disks': [{'id': f'd{d}', 'tracking_id': 'r' * 63}
                       for d in range(64)]} for i in range(256)]
        rig.kill()
        kill_now(rig.worker_pid('v'))
        with open(f'{rig.root}/lib/vms/v/catalogue.sqlite', 'w') as f:
            json.dump(catalogue, f)
        rig.start()
        rig.behave('v', raw={'Points': ''.join(
            json.dumps({'parameters': {'points': catalogue['points'][i:i + 64]},
                        'continues': i < 192}) + '\0'
            for i in range(0, 256, 64))})
        for _ in range(2):
            self.assertEqual(rig.system('v')['points'], catalogue['points'])
            self.assertEqual(rig.error('Systems', points=True).name,
                             'LimitReached')
            self.restart_alone('v')
        client = rig.client()
        replies = list(client.stream('org.refpoint.Systems', {'points': True}))
        client.close()
        self.assertGreater(len(replies), 4)
        for reply in replies:
            self.assertEqual(len(reply['systems']), 1)
            self.assertEqual(len(reply['systems'][0]['disks']), 64)
            self.assertLess(len(json.dumps(reply)), 512 << 10)


class Doubt(Case):
    """Changes whose outcome nobody has heard."""

    def test_a_worker_that_dies_behind_its_commit(self):
        rig = self.rig
        for vm, serve in (('v', False), ('w', True)):
            with self.subTest(vm):
                rig.define(vm)
                if serve:
                    rig.call('Serve', vm=vm)
                rig.call('Create', vm=vm)
                rig.behave(vm, die_after='Create')
                rig.error('Create', vm=vm)
                rig.behave(vm)
                self.assertEqual(rig.points(vm), [point_id(0), point_id(1)])
                rig.behave(vm, die_after='Destroy')
                rig.error('Destroy', vm=vm, point=point_id(0))
                rig.behave(vm)
                self.assertEqual(rig.points(vm), [point_id(1)])
                self.assertEqual(rig.call('List')['vms'][-1]['points'], 1)

    def test_a_worker_that_dies_before_it(self):
        rig = self.rig
        rig.define('v')
        rig.call('Create', vm='v')
        rig.behave('v', gate={'Create': 'never'})
        client = rig.client()
        client.send('org.refpoint.Create', {'vm': 'v'})
        wait_until('Create', lambda: rig.events('v', 'Create')[1:])
        self.assertEqual(rig.points('v'), [point_id(0)])
        rig.behave('v')
        rig.kill_worker('v')
        self.assertEqual(rig.points('v'), [point_id(0)])
        client.close()

    def test_a_failure_that_is_no_clean_refusal_is_looked_into(self):
        rig = self.rig
        rig.define('v')
        rig.call('Create', vm='v')
        rig.behave('v', fail=['Create'])
        rig.error('Create', vm='v')
        self.assertEqual(rig.points('v'), [point_id(0)])
        self.assertEqual(len(rig.events('v', 'Points')), 1)
        rig.behave('v')
        rig.error('Destroy', vm='v', point='x')  # refused: nothing happened
        self.assertEqual(rig.points('v'), [point_id(0)])
        self.assertEqual(len(rig.events('v', 'Points')), 1)

    def broken(self, vm, points):
        """A change whose commit had no known outcome: the worker's store says
        so until it is read anew, and then has POINTS."""
        rig = self.rig
        latched = ('{"error":"org.refpoint.TrackingStopped",'
                   '"parameters":{"message":"the store failed"}}\0')
        status = rig.call('Status', vm=vm)
        status['status']['points'] = None
        rig.behave(vm, fail=['Create', 'Destroy'], raw={'Points': latched},
                   reply={'Status': status})
        before = len(rig.events(vm, 'Points'))
        rig.error('Create', vm=vm)
        self.assertEqual(rig.error('Points', vm=vm).name, 'TrackingStopped')
        self.assertEqual(rig.points(vm), [])
        self.assertEqual(rig.call('Status', vm=vm)['status']['points'], 1)
        rig.error('Systems', uuid=rig.systems()[vm]['uuid'], points=True)
        self.assertNotIn('point_list', self.entry(vm))
        self.assertEqual(len(rig.events(vm, 'Points')), before + 2)
        path = f'{rig.root}/lib/vms/{vm}/catalogue.sqlite'
        with open(path) as f:
            catalogue = json.load(f)
        catalogue['points'] = points
        with open(path, 'w') as f:
            json.dump(catalogue, f)

    def test_a_worker_that_does_not_know_is_asked_when_it_serves_again(self):
        rig = self.rig
        rig.define('v')
        rig.call('Serve', vm='v')
        rig.call('Create', vm='v')
        self.broken('v', [])
        rig.behave('v')
        rig.call('Unserve', vm='v')
        self.assertEqual(rig.points('v'), [])
        rig.call('Serve', vm='v')  # here the worker would read it anew
        self.assertEqual(rig.points('v'), [point_id(0)])
        self.assertEqual(len(self.entry('v')['point_list']), 1)

    def test_a_worker_that_does_not_know_and_the_next_one_does(self):
        for vm, serve in (('v', True), ('u', False)):
            with self.subTest(vm):
                rig = self.rig
                rig.define(vm)
                if serve:
                    rig.call('Serve', vm=vm)
                point = rig.call('Create', vm=vm)['point']
                self.broken(vm, [point, dict(point, id=point_id(7))])
                rig.behave(vm)
                rig.kill_worker(vm)
                self.assertEqual(rig.points(vm), [point_id(0), point_id(7)])
                self.restart_alone(vm)
                self.assertEqual(rig.points(vm), [point_id(0), point_id(7)])

    def test_workers_that_never_know_are_not_started_for_ever(self):
        rig = self.rig
        rig.define('v')
        rig.call('Create', vm='v')
        self.broken('v', [])
        for _ in range(2):
            asked = len(rig.events('v', 'Points'))
            rig.kill_worker('v')
            wait_until('the next one to be asked',
                       lambda: len(rig.events('v', 'Points')) > asked)
        rig.kill_worker('v')
        self.assertEqual(rig.points('v'), [])
        self.assertIsNone(rig.worker_pid('v'))
        self.assertEqual(len(rig.events('v', 'Start')), 3)

    def test_refpointd_and_the_worker_die_in_the_middle(self):
        rig = self.rig
        rig.define('v')
        rig.call('Create', vm='v')
        rig.behave('v', die_after='Create', gate={'Create': 'now'})
        client = rig.client()
        client.send('org.refpoint.Create', {'vm': 'v'})
        wait_until('Create', lambda: rig.events('v', 'Create')[1:])
        pid = rig.worker_pid('v')
        rig.kill()
        with open(f'{rig.root}/fake/now', 'w'):
            pass
        wait_until('the end of the worker',
                   lambda: not os.path.exists(f'/proc/{pid}/exe'))
        client.close()
        rig.behave('v')
        rig.start()
        self.assertEqual(rig.points('v'), [point_id(0), point_id(1)])

    def test_a_worker_left_at_work_is_asked_until_that_is_over(self):
        """What another refpointd asked for may happen at any time."""
        rig = self.rig
        rig.define('v')
        rig.call('Create', vm='v')
        rig.behave('v', gate={'Create': 'now'})
        client = rig.client()
        client.send('org.refpoint.Create', {'vm': 'v'})
        wait_until('Create', lambda: rig.events('v', 'Create')[1:])
        rig.kill()
        client.close()
        rig.start()
        # it is busy and says nothing: told without, not with what may be wrong
        self.assertIn(rig.points('v'), ([], [point_id(0)]))
        with open(f'{rig.root}/fake/now', 'w'):
            pass
        both = [point_id(0), point_id(1)]
        wait_until('both points', lambda: rig.points('v') == both, timeout=60)
        rig.kill_worker('v')
        self.assertEqual(rig.points('v'), both)
        self.restart_alone('v')
        self.assertEqual(rig.points('v'), both)


class Cold(Case):
    def test_entries_without_points_are_completed(self):
        rig = self.rig
        names = [f'v{i}' for i in range(6)]
        for vm in names:
            rig.define(vm)
            rig.call('Create', vm=vm)
        rig.call('Serve', vm='v5')
        rig.kill()
        for vm in names:
            kill_now(rig.worker_pid(vm))
            entry = self.entry(vm)
            self.assertEqual(len(entry.pop('point_list')), 1)
            with open(f'{rig.root}/lib/inventory/{vm}.json', 'w') as f:
                json.dump(entry, f)
        rig.start()
        self.assertEqual([len(s['points']) for s in
                          rig.systems(points=True).values()], [1] * 6)
        rig.wait_state('v5', 'serving')
        self.assertEqual(len(self.entry('v0')['point_list']), 1)
        starts = [len(rig.events(vm, 'Start')) for vm in names]
        self.restart_alone(*names)
        self.assertEqual([len(s['points']) for s in
                          rig.systems(points=True).values()], [1] * 6)
        self.assertEqual([len(rig.events(vm, 'Start')) for vm in names[:5]],
                         starts[:5])

    def test_one_that_does_not_answer_holds_up_nobody_for_long(self):
        rig = self.rig
        for vm in ('good', 'hung'):
            rig.define(vm)
            rig.call('Create', vm=vm)
        rig.kill()
        uuid = self.entry('hung')['uuid']
        for vm in ('good', 'hung'):
            kill_now(rig.worker_pid(vm))
            os.utime(f'{rig.root}/lib/vms/{vm}/catalogue.sqlite', (1, 1))
        rig.behave('hung', hang=['Definition'])
        rig.start()
        begin = time.monotonic()
        told = rig.systems(points=True)
        self.assertLess(time.monotonic() - begin, 8)
        self.assertEqual(len(told['good']['points']), 1)
        # its disks are those that were defined; its points nobody knows
        self.assertEqual(len(told['hung']['disks']), 1)
        self.assertEqual(told['hung']['points'], [])
        wait_until('it to have failed', lambda: rig.systems()['hung'][
            'state'] == 'failed')
        begin = time.monotonic()
        self.assertEqual(rig.systems(points=True)['hung']['points'], [])
        self.assertLess(time.monotonic() - begin, 2)  # not once more
        self.assertEqual(rig.error('Systems', uuid=uuid, points=True).name,
                         'Timeout')
        rig.behave('hung')
        self.assertEqual(len(rig.call('Points', vm='hung')['points']), 1)
        self.assertEqual(rig.points('hung'), [point_id(0)])

    def test_one_that_is_known_does_not_wait_for_others(self):
        rig = self.rig
        uuid = rig.define('good')['uuid']
        rig.call('Create', vm='good')
        rig.define('lost')
        rig.kill()
        for vm in ('good', 'lost'):
            kill_now(rig.worker_pid(vm))
        os.unlink(f'{rig.root}/lib/inventory/lost.json')
        rig.behave('lost', hang=['Hello', 'Definition'])
        rig.start()
        begin = time.monotonic()
        told = rig.systems(uuid=uuid, points=True)
        self.assertLess(time.monotonic() - begin, 2)
        self.assertEqual(list(told), ['good'])
        self.assertEqual(len(told['good']['points']), 1)

    def test_a_store_of_which_nothing_is_known_is_asked(self):
        rig = self.rig
        rig.define('v')
        rig.call('Create', vm='v')
        rig.kill()
        kill_now(rig.worker_pid('v'))
        os.unlink(f'{rig.root}/lib/inventory/v.json')
        rig.start()
        self.assertEqual(rig.points('v'), [point_id(0)])

    def test_undefined_ones_are_told_no_more(self):
        rig = self.rig
        for vm in ('v', 'w'):
            rig.define(vm)
        rig.call('Undefine', vm='v')
        self.assertEqual(list(rig.systems(points=True)), ['w'])


def main():
    if worker_uid() is None:
        print('SKIP: runs as root, and there is no user refpoint-worker')
        sys.exit(77)
    unittest.main(verbosity=2)


if __name__ == '__main__':
    main()
