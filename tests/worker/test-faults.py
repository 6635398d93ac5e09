# SPDX-License-Identifier: Apache-2.0
"""The worker on a store and on disks that fail, by refpoint-worker-faulty."""
import ctypes
import mmap
import os
import unittest

import nbd

from workertest import (BLOCK, FAULTY, MIB, CallError, Case, World, blocks,
                        wait_until)


def cached(path, first, end):
    """How many of these blocks of a file the page cache holds."""
    with open(path, 'r+b') as f, mmap.mmap(f.fileno(), 0) as m:
        view = ctypes.c_char.from_buffer(m)
        found = (ctypes.c_ubyte * (len(m) // mmap.PAGESIZE))()
        failed = ctypes.CDLL(None, use_errno=True).mincore(
            ctypes.c_void_p(ctypes.addressof(view)),
            ctypes.c_size_t(len(m)), found)
        del view
        if failed:
            raise OSError(ctypes.get_errno(), 'mincore')
    return sum(x & 1 for x in found[first:end])


class Faults(Case):
    def faulty(self, **environment):
        w = self.world()
        w.start()
        w.initialize()
        w.kill()
        w.start(FAULTY, **environment)
        return w

    def test_a_slow_disk_makes_nothing_wrong(self):
        w = self.faulty(REFPOINT_FAULTS_IO='write:delay=5ms;sync:delay=5ms')
        w.serve()
        point = w.create()
        guest = w.guest('root')
        for i in range(5):
            guest.pwrite(b'x' * BLOCK, i * BLOCK)
        self.assertEqual(blocks(w.changes(point)['root']), set(range(5)))
        self.assertEqual(w.call('Unserve')['status']['state'], 'defined')

    def test_an_error_of_the_disk_reaches_the_guest_and_is_a_change(self):
        w = self.faulty(REFPOINT_FAULTS_IO='write:nth=2:errno=EIO')
        w.serve()
        point = w.create()
        guest = w.guest('root')
        guest.pwrite(b'x' * BLOCK, 0)
        with self.assertRaises(nbd.Error):
            guest.pwrite(b'x' * BLOCK, 9 * BLOCK)
        guest.pwrite(b'x' * BLOCK, 2 * BLOCK)
        self.assertEqual(blocks(w.changes(point)['root']), {0, 2, 9})

    def test_a_point_whose_images_cannot_be_synced_is_none(self):
        w = self.faulty(
            REFPOINT_FAULTS_IO='sync:name=root:nth=1:errno=EIO')
        w.serve()
        self.refuses('IoError', w.create)
        self.assertEqual(w.call('Points')['points'], [])

    def unknown_outcome(self, change, serve=True):
        """Serves a store whose log cannot be synced when CHANGE commits."""
        for nth in range(1, 20):
            w = self.world()
            w.start()
            w.initialize()
            w.serve()
            kept = w.create()
            w.kill()
            w.start(FAULTY, REFPOINT_FAULTS_STORE=(
                f'sync:name=catalogue.sqlite-wal:nth={nth}:errno=EIO'))
            try:
                if serve:
                    w.serve()
            except CallError:
                continue
            try:
                change(w, kept)
            except CallError as e:
                self.assertEqual(e.name, 'IoError')
                if 'commit to' in str(e):
                    return w, kept
        raise AssertionError('no sync was of this commit')

    def test_a_store_that_is_not_served_is_read_anew_at_once(self):
        for change in (lambda w, kept: w.with_images('Create'),
                       lambda w, kept: w.call('Destroy', point=kept)):
            w, kept = self.unknown_outcome(change, serve=False)
            points = self.points_of(w)
            w.kill()
            w.start()
            self.assertEqual(self.points_of(w), points)

    def nobody_knows(self, w):
        self.refuses('TrackingStopped', w.call, 'Points')
        self.assertIsNone(w.status()['points'])

    def points_of(self, w):
        ids = [p['id'] for p in w.call('Points')['points']]
        self.assertEqual(w.status()['points'], len(ids))
        return ids

    def known_again(self, w):
        """Serve reads the store anew, and so does the next worker."""
        self.nobody_knows(w)
        w.call('Unserve')
        self.nobody_knows(w)
        w.serve()
        points = self.points_of(w)
        w.kill()
        w.start()
        self.assertEqual(self.points_of(w), points)
        return points

    def test_a_point_whose_commit_had_no_known_outcome(self):
        w, kept = self.unknown_outcome(lambda w, kept: w.create())
        points = self.known_again(w)
        self.assertEqual(points[0], kept)
        self.assertEqual(len(points), 2)  # its row was written

    def test_a_destruction_whose_commit_had_no_known_outcome(self):
        w, _ = self.unknown_outcome(
            lambda w, kept: w.call('Destroy', point=kept))
        self.assertEqual(self.known_again(w), [])

    def test_what_the_cache_shows_is_dropped_before_tracking_begins(self):
        """A predecessor's sync may have failed: its data is then in the cache
        and nowhere else, and no later sync says so."""
        w = self.faulty(REFPOINT_CACHE='writeback')
        path = w.disks['root']
        w.serve()
        w.guest('root').pwrite(b'x' * 64 * BLOCK, 0)
        w.kill()
        with open(path, 'rb') as f:
            f.read(64 * BLOCK)
        # Not the beginning, which is looked at for other formats.
        self.assertEqual(cached(path, 32, 64), 32)
        w.start(FAULTY, REFPOINT_CACHE='writeback')
        w.serve()
        self.assertEqual(w.call('Status')['status']['disks'][0]['cache'],
                         'writeback')
        self.assertEqual(cached(path, 32, 64), 0)

    def test_a_store_that_fails_gives_way_to_the_guest(self):
        w = self.world()
        w.start()
        w.initialize()
        w.serve()
        point = w.create()
        w.call('Unserve')
        w.stop()
        flag = os.path.join(w.root, 'stuck')
        w.start(FAULTY, REFPOINT_FAULTS_STORE=f'sync:hang={flag}')
        w.serve()
        with open(flag, 'wb'):
            pass
        try:
            guest = w.guest('root')
            guest.pwrite(b'x' * BLOCK, 0)
            s = wait_until('the latch', lambda: w.status()
                           if w.status()['latched'] else None)
            self.assertNotEqual(s['reason'], '')
            found = w.changes(point)['root']
            self.assertEqual(found['extents'],
                             [{'offset': 0, 'length': 64 * MIB}])
            self.assertEqual(guest.pread(BLOCK, 0), b'x' * BLOCK)
        finally:
            os.unlink(flag)


if __name__ == '__main__':
    assert World
    unittest.main(verbosity=2)
