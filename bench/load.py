# SPDX-License-Identifier: Apache-2.0
"""fio's nbd engine, and what the kernel says of a process."""
import json
import os

from servers import process

QUEUE = 32
TICK = os.sysconf('SC_CLK_TCK')


def cpu_seconds(pid):
    with open(f'/proc/{pid}/stat', encoding='utf-8') as f:
        fields = f.read().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def memory_bytes(pid):
    """A process's memory now: its own, and what it maps of a tmpfs."""
    found = {}
    with open(f'/proc/{pid}/status', encoding='utf-8') as f:
        for line in f:
            name, value = line.split(':', 1)
            if name in ('RssAnon', 'RssShmem', 'RssFile', 'VmHWM'):
                found[name] = int(value.split()[0]) * 1024
    return found


def arguments(uri, rw, seconds=0, **options):
    argv = ['fio', '--name=bench', '--ioengine=nbd', f'--uri={uri}',
            f'--rw={rw}', '--bs=4k', f'--iodepth={QUEUE}',
            '--norandommap=1']
    if seconds:
        argv += ['--time_based=1', f'--runtime={seconds}']
    return argv + [f'--{k}={v}' for k, v in options.items()]


def fio(uri, rw, seconds=0, **options):
    """Runs it; returns the part of its report that matters."""
    argv = arguments(uri, rw, seconds, **options)
    out = process.run(argv + ['--output-format=json'], timeout=600 + seconds)
    job = json.loads(out[out.index('{'):])['jobs'][0]
    if job['error']:
        raise process.Failure(f'fio: error {job["error"]} on {uri}')
    return job['read' if 'read' in rw else 'write']


def once(server, rw, seconds, size, **options):
    """Requests per second, and CPU microseconds for each."""
    server.start()
    os.sync()  # what was written before is nobody's burden
    try:
        before = cpu_seconds(server.pid)
        result = fio(server.uri, rw, seconds, size=size, **options)
        cpu = cpu_seconds(server.pid) - before
    finally:
        server.stop()
    return result['iops'], cpu / max(1, result['total_ios']) * 1e6
