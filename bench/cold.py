# SPDX-License-Identifier: Apache-2.0
"""Random writes over 1 TiB: nearly each is the first to its region for long,
and waits for an intent record.  Every sync of the store takes longer by a time
that is injected, with tracking and without.  The files are sparse.  Each run
writes to other blocks, which the file system has to allocate, or all write to
the same ones, which were written before.
"""
import glob
import os
import statistics
import time

import load
from servers import Refpoint, process

TIB = 1 << 40
SETTLE_SECONDS = 5
POINTS = 3


def empty(path):
    with open(path, 'wb') as f:
        f.truncate(TIB)


def rate(server, seconds, fresh):
    """Writes per second; for each sync, the writes that waited for it."""
    server.start()
    try:
        before = server.counters()
        found = load.fio(server.uri, 'randwrite', seconds, size=TIB,
                         randrepeat=0 if fresh else 1)
        after = server.counters()
    finally:
        server.stop()
    syncs = after['intent_syncs'] - before['intent_syncs']
    waited = after['waited_writes'] - before['waited_writes']
    return found['iops'], waited / syncs if syncs else 0


def ceiling(off, sync):
    """The ratio that no tracker exceeds which makes a mark durable before the
    write, where each write is the first to its region: every one of the writes
    in flight, which take together QUEUE / OFF seconds, waits for a whole sync
    before that."""
    round_trip = load.QUEUE / off
    return round_trip / (round_trip + float(sync.removesuffix('ms')) / 1000)


def against_off(directory, sync, fresh, pairs, seconds, progress):
    """Pairs of rates, and how many writes shared a sync in each.  FRESH: to
    blocks that were never written."""
    on, off = [Refpoint(directory, os.path.join(directory, f'{name}.img'),
                        tracking=name == 'on', sync=sync, faulty=True)
               for name in ('on', 'off')]
    found = {on: [], off: []}
    for image in on.images + off.images:
        empty(image)
    if not fresh:
        for server in (on, off):
            rate(server, 3 * seconds, fresh)
    for i in range(pairs):
        for server in (on, off) if i % 2 == 0 else (off, on):
            found[server].append(rate(server, seconds, fresh))
        progress(f'cold regions, {sync}: pair {i + 1} of {pairs}')
    for image in on.images + off.images:
        os.unlink(image)
    return ([x[0] for x in found[on]], [x[0] for x in found[off]],
            [x[1] for x in found[on]])


def written(prefix):
    """(time of end in s, writes per second) for each second of a load."""
    found = []
    for path in glob.glob(prefix + '*_iops.*.log'):
        with open(path, encoding='ascii') as f:
            for line in f:
                when, n = line.split(',')[:2]
                found.append((int(when) / 1000, int(n)))
    if not found:
        raise process.Failure('fio logged nothing: ' +
                              process.tail(prefix + 'fio.log', 3))
    return sorted(found)


def mean_between(rates, begin, end):
    return statistics.mean(n for t, n in rates if begin < t <= end)


def after_a_point(directory, image, sync, size, seconds):
    """Writes per second in the time after points to that before them, under
    one load without a pause over the first SIZE bytes of IMAGE."""
    prefix = os.path.join(directory, 'after-')
    empty(image)
    server = Refpoint(os.path.join(directory, f'after.{size}'), image,
                      sync=sync, faulty=True)
    server.start()
    argv = load.arguments(server.uri, 'randwrite',
                          SETTLE_SECONDS + (2 * POINTS + 1) * seconds,
                          size=size, write_iops_log=prefix,
                          log_avg_msec=500, log_unix_epoch=1,
                          output='/dev/null')
    fio = process.start(argv, prefix + 'fio.log')
    begun = []
    try:
        time.sleep(SETTLE_SECONDS)
        for _ in range(POINTS):
            time.sleep(seconds)
            begun.append(time.time())
            server.new_point()
            time.sleep(max(0, begun[-1] + seconds - time.time()))
        fio.wait(seconds + 60)
    finally:
        process.stop(fio)
        server.stop()
    rates = written(prefix)
    for path in [image, *glob.glob(prefix + '*')]:
        os.unlink(path)
    return [mean_between(rates, t, t + seconds) /
            mean_between(rates, t - seconds, t) for t in begun]
