#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The tools that people use: libnbd's, QEMU's and fio."""
import json
import os
import shutil
import subprocess
import sys
import tempfile

import nbdtest
from nbdtest import DISK, MIB, Server

for tool in ('nbdinfo', 'nbdcopy', 'qemu-io', 'qemu-img', 'qemu-nbd', 'fio'):
    if not shutil.which(tool):
        print(f'skipped: there is no {tool}')
        sys.exit(77)


def run(*args):
    done = subprocess.run(args, text=True, capture_output=True, timeout=120)
    assert done.returncode == 0, f'{args}: {done.stdout}{done.stderr}'
    return done.stdout


def test_nbdinfo_sees_everything(server):
    # what file(1) thinks of random bytes is no UTF-8
    info = json.loads(run('nbdinfo', '--json', '--no-content',
                          server.uri('root')))
    export = info['exports'][0]
    assert export['export-size'] == DISK
    for able in ('can_cache', 'can_df', 'can_flush', 'can_fua',
                 'can_multi_conn', 'can_trim', 'can_zero'):
        assert export[able] is True, able
    assert export['can_fast_zero'] is False
    assert export['is_read_only'] is False
    assert export['block_size_minimum'] == 512
    assert 'qemu:dirty-bitmap:thirds' in export['contexts']
    assert len(json.loads(run('nbdinfo', '--list', '--json',
                              server.uri()))['exports']) == 1
    extents = json.loads(run('nbdinfo', '--json',
                             '--map=qemu:dirty-bitmap:thirds', server.uri()))
    assert extents[0] == {'offset': 0, 'length': 65536, 'type': 1,
                          'description': 'dirty'}
    assert sum(e['length'] for e in extents) == DISK
    assert not server.warnings(), server.log()


def test_nbdcopy_there_and_back():
    with tempfile.TemporaryDirectory() as d:
        source, back = os.path.join(d, 'source'), os.path.join(d, 'back')
        with open(source, 'wb') as f:
            f.write(os.urandom(20 * MIB))
            f.truncate(DISK)
        server = Server()
        run('nbdcopy', source, server.uri())
        run('nbdcopy', server.uri(), back)
        run('cmp', source, back)
        run('qemu-img', 'compare', '-f', 'raw', '-F', 'raw', source,
            server.uri())
        assert not server.warnings(), server.log()
        server.stop()


def test_qemu_img_and_qemu_io_on_a_file():
    with tempfile.TemporaryDirectory() as d:
        disk, copy = os.path.join(d, 'disk'), os.path.join(d, 'copy')
        with open(disk, 'wb') as f:
            f.truncate(DISK)
        server = Server([f'root=@{disk}'])
        run('qemu-io', '-f', 'raw', '-c', 'write -P 7 1M 3M', '-c',
            'write -z 2M 64k', '-c', 'write -f -P 8 512 512', '-c',
            'discard 3M 64k', '-c', 'flush', '-c', 'read -P 8 512 512', '-c',
            'read -P 0 2M 64k', '-c', 'read -P 7 1M 1M', server.uri())
        for entry in json.loads(run('qemu-img', 'map', '--output=json', '-f',
                                    'raw', server.uri())):
            assert entry['data'] or entry['zero']
        run('qemu-img', 'convert', '-f', 'raw', '-O', 'raw', server.uri(),
            copy)
        run('cmp', disk, copy)
        run('qemu-img', 'convert', '-n', '-f', 'raw', '-O', 'raw', copy,
            server.uri())
        run('qemu-img', 'bench', '-f', 'raw', '-w', '-c', '5000', '-d', '64',
            '--flush-interval', '100', server.uri())
        assert not server.warnings(), server.log()
        server.stop()


def test_qemu_reads_a_dirty_bitmap(server):
    spec = (f'json:{{"driver":"raw","file":{{"driver":"nbd","server":'
            f'{{"type":"unix","path":"{server.socket}"}},"export":"root",'
            f'"x-dirty-bitmap":"qemu:dirty-bitmap:thirds"}}}}')
    entries = json.loads(run('qemu-img', 'map', '--output=json', spec))
    dirty = {e['start'] for e in entries if not e['data']}
    assert dirty == set(range(0, DISK, 3 * 65536)), entries[:4]


def test_qemu_nbd_lists(server):
    out = run('qemu-nbd', '--list', '-k', server.socket)
    assert "export: 'root'" in out and 'min block: 512' in out


def test_fio_verifies_its_writes(server):
    run('fio', '--name=x', '--ioengine=nbd', f'--uri={server.uri()}',
        '--rw=randwrite', '--bsrange=512-128k', '--iodepth=32', '--size=32M',
        '--verify=crc32c', '--verify_fatal=1', '--do_verify=1',
        '--randrepeat=0', '--verify_state_save=0')


nbdtest.main()
