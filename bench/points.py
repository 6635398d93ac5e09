# SPDX-License-Identifier: Apache-2.0
"""What a client feels of a point over many disks under full random write.

fio writes to all disks at once and logs, for each slice of time, the longest
write that ended in it.  Points are made meanwhile; a window begins with each and
ends a little after it, and the window of the same length just before it has
none.  Of each window the longest write counts.
"""
import glob
import os
import statistics
import time

from servers import process

DISKS = 16
DISK_BYTES = 64 << 20
DEPTH = 4
WINDOW_SECONDS = 0.1
SLICE_MS = 10
SETTLE_SECONDS = 2


def load(server, prefix, seconds):
    argv = ['fio', '--ioengine=nbd', '--rw=randwrite', '--bs=4k',
            f'--iodepth={DEPTH}', '--time_based=1', f'--runtime={seconds}',
            f'--size={DISK_BYTES}', '--norandommap=1', '--thread=1',
            '--log_unix_epoch=1', '--disable_slat=1', '--disable_clat=1',
            f'--log_avg_msec={SLICE_MS}', '--log_max_value=1',
            '--output=/dev/null']
    for i, uri in enumerate(server.uris):
        argv += [f'--name=disk{i}', f'--uri={uri}',
                 f'--write_lat_log={prefix}{i}']
    return process.start(argv, prefix + 'fio.log')


def latencies(prefix):
    """(end of a slice in s, the longest write in ms), by time."""
    found = []
    for path in glob.glob(prefix + '*_lat.*.log'):
        with open(path, encoding='ascii') as f:
            for line in f:
                when, ns = line.split(',')[:2]
                found.append((int(when) / 1000, int(ns) / 1e6))
    if not found:
        raise process.Failure('fio logged nothing: ' +
                              process.tail(prefix + 'fio.log', 3))
    return sorted(found)


def longest(writes, windows):
    """The longest write that ended in each window, and a slice after it."""
    result, at = [0.0] * len(windows), 0
    for i, (start, end) in enumerate(windows):
        while at < len(writes) and writes[at][0] < start:
            at += 1
        j = at
        while j < len(writes) and writes[j][0] < end:
            result[i] = max(result[i], writes[j][1])
            j += 1
    return result


def make_points(server, count):
    """Makes points at a steady pace; returns when each began."""
    begun = []
    time.sleep(SETTLE_SECONDS)
    for _ in range(count):
        begun.append(time.time())
        server.new_point()
        rest = begun[-1] + 3 * WINDOW_SECONDS - time.time()
        time.sleep(max(WINDOW_SECONDS, rest))
    return begun


def measure(server, directory, count):
    """Medians of the windows' longest writes, with points and without."""
    prefix = os.path.join(directory, 'lat-' + server.name + '-')
    seconds = 2 * SETTLE_SECONDS + int(count * 4 * WINDOW_SECONDS) + 5
    server.start()
    fio = load(server, prefix, seconds)
    try:
        begun = make_points(server, count)
        held = server.counters()
        process.stop(fio)
    finally:
        process.stop(fio)
        server.stop()
    writes = latencies(prefix)
    for path in glob.glob(prefix + '*'):
        os.unlink(path)
    slice_ = SLICE_MS / 1000
    after = longest(writes, [(t, t + WINDOW_SECONDS + slice_) for t in begun])
    before = longest(writes, [(t - WINDOW_SECONDS - slice_, t) for t in begun])
    return {'point_ms': statistics.median(after), 'worst_ms': max(after),
            'quiet_ms': statistics.median(before),
            'quiet_worst_ms': max(before), 'points': len(begun),
            'barrier_ms': held.get('cut_max_ns', 0) / 1e6,
            'turn_ms': held.get('turn_max_ns', 0) / 1e6}
