#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Block status: holes of the image, and what changed since a point."""
import os
import random
import struct
import tempfile

import nbd

import nbdtest
from nbdtest import (DISK, EINVAL, EIO, ESHUTDOWN, MIB, Raw, READ, REQ_ONE, STATUS,
                     Server)

UNIT = 65536
THIRDS = 'qemu:dirty-bitmap:thirds'


def walk(h, context, size, step=1 << 31, flags=0, start=0):
    """All extents of a context, by as many requests as it takes."""
    at, extents, requests = start, [], 0
    while at < size:
        found = []

        def take(metacontext, offset, entries, _):
            if metacontext == context:
                assert offset == at
                found.extend(entries)
            return 0
        h.block_status(min(step, size - at), at, take, flags)
        requests += 1
        assert found
        for length, state in zip(found[::2], found[1::2]):
            assert length > 0 and length % 512 == 0
            if extents and extents[-1][2] == state:
                extents[-1] = (extents[-1][0], at + length, state)
            else:
                extents.append((at, at + length, state))
            at += length
    assert at == size
    return extents, requests


def expected_thirds(start, size):
    return [(at, state) for at in range(start, size, 512)
            for state in [int(at // UNIT % 3 == 0)]]


def spread(extents):
    return [(at, state) for start, end, state in extents
            for at in range(start, end, 512)]


def test_dirty_blocks_are_exactly_those_of_the_point(server):
    h = server.connect(contexts=[THIRDS, 'qemu:dirty-bitmap:none'])
    for start, size, step in ((0, DISK, 1 << 31), (512, 4 * MIB, 123 * 512),
                              (UNIT - 512, MIB, 512)):
        extents, _ = walk(h, THIRDS, size, step, start=start)
        assert spread(extents) == expected_thirds(start, size)
        extents, _ = walk(h, THIRDS, size, step, nbd.CMD_FLAG_REQ_ONE, start)
        assert spread(extents) == expected_thirds(start, size)
    assert walk(h, 'qemu:dirty-bitmap:none', DISK)[0] == [(0, DISK, 0)]


def test_a_long_answer_is_cut_and_can_be_continued():
    size = 8 << 30
    server = Server([f'root={size}'])
    h = server.connect(contexts=['base:allocation', THIRDS,
                                 'qemu:dirty-bitmap:gone'])
    extents, requests = walk(h, THIRDS, size, (1 << 32) - 512)
    assert len(extents) == (size // UNIT + 2) // 3 * 2 - 1 + \
        (size // UNIT % 3 != 1)
    assert requests > 5
    server.stop()


def with_thirds(server):
    raw = Raw(server)
    raw.option(nbdtest.STRUCTURED)
    name = THIRDS.encode()
    raw.option(nbdtest.SET_META, struct.pack('>I4sII', 4, b'root', 1,
                                             len(name)) + name)
    raw.go(b'root')
    return raw


def test_a_question_that_waits_holds_up_nobody(server):
    before = server.stats()
    raw, leaver = with_thirds(server), with_thirds(server)
    server.command('stick')
    asked = raw.send_command(STATUS, 0, 2 * UNIT)
    leaver.send_command(STATUS, 0, 2 * UNIT)
    reading = raw.send_command(READ, 0, 512)
    assert raw.chunk()[2] == reading
    nbdtest.serves_well(server)
    leaver.send_command(STATUS, 0, 2 * UNIT)
    leaver.close()
    nbdtest.serves_well(server)
    server.command('unstick')
    flags, kind, cookie, data = raw.chunk()
    assert (flags, kind, cookie) == (1, 5, asked)
    assert struct.unpack('>IIIII', data) == (1, UNIT, 1, UNIT, 0)
    raw.close()
    nbdtest.check_no_leak(server, before)


def test_a_context_that_takes_long_to_open_holds_up_nobody(server):
    before = server.stats()
    server.command('stick')
    name = THIRDS.encode()
    query = struct.pack('>I4sII', 4, b'root', 1, len(name)) + name
    raw, leaver = Raw(server), Raw(server)
    for client in (raw, leaver):
        client.option(nbdtest.STRUCTURED)
        client.send_option(nbdtest.SET_META, query)
    raw.send_option(nbdtest.LIST)
    leaver.close()
    nbdtest.serves_well(server)
    server.command('unstick')
    kind, data = raw.option_reply(nbdtest.SET_META)
    assert (kind, data) == (nbdtest.REP_META, struct.pack('>I', 1) + name)
    assert raw.option_reply(nbdtest.SET_META) == (nbdtest.ACK, b'')
    assert raw.option_reply(nbdtest.LIST)[0] == nbdtest.REP_SERVER
    assert raw.option_reply(nbdtest.LIST) == (nbdtest.ACK, b'')
    assert raw.go(b'root')[-1][0] == nbdtest.ACK
    raw.send_command(STATUS, 0, UNIT)
    assert raw.chunk()[3] == struct.pack('>III', 1, UNIT, 1)
    raw.close()
    nbdtest.check_no_leak(server, before)


def wait_for_question(server, number):
    nbdtest.wait_until(f'question {number}', lambda:
                       int(server.command('asked')) == number)


def drain_stuck(server):
    server.process.stdin.write('drain\n')
    assert server.command('unstick') == 'ok'
    assert server.process.stdout.readline() == 'drained\n'


def test_draining_opens_no_further_context_but_waits_for_one(server):
    raw = Raw(server)
    raw.option(nbdtest.STRUCTURED)
    server.command('stick')
    names = [THIRDS.encode(), b'qemu:dirty-bitmap:none',
             b'qemu:dirty-bitmap:gone']
    raw.send_option(nbdtest.SET_META, struct.pack(
        '>I4sI', 4, b'root', len(names)) + b''.join(
            struct.pack('>I', len(name)) + name for name in names))
    wait_for_question(server, 1)
    nbdtest.serves_well(server)
    drain_stuck(server)
    assert raw.is_closed()
    raw.close()
    assert server.stats()['views'] == 0
    assert server.command('asked') == '1'


def test_draining_asks_no_further_question_and_says_so(server):
    raw = with_thirds(server)
    server.command('stick')
    cookies = [raw.send_command(STATUS, 0, 2 * UNIT) for _ in range(20)]
    wait_for_question(server, 2)
    reading = raw.send_command(READ, 0, 512)
    assert raw.chunk()[2] == reading
    drain_stuck(server)
    assert raw.chunk()[:3] == (1, 5, cookies[0])
    for cookie in cookies[1:]:
        flags, kind, echoed, data = raw.chunk()
        assert (flags, kind, echoed) == (1, 0x8001, cookie)
        assert struct.unpack('>I', data[:4])[0] == ESHUTDOWN
    assert raw.is_closed()
    raw.close()
    assert server.command('asked') == '2'


def test_no_question_is_asked_of_a_connection_that_broke_off(server):
    before = server.stats()
    raw = with_thirds(server)
    server.command('stick')
    for _ in range(20):
        raw.send_command(STATUS, 0, 2 * UNIT)
    wait_for_question(server, 2)
    raw.send_command(READ, 0, 512, magic=1)
    nbdtest.wait_until('its end', server.warnings)
    server.command('unstick')
    assert raw.is_closed()
    raw.close()
    nbdtest.check_no_leak(server, before)
    assert server.command('asked') == '2'


def test_req_one_gives_one_extent_no_longer_than_asked(server):
    raw = Raw(server)
    raw.option(nbdtest.STRUCTURED)
    name = b'qemu:dirty-bitmap:thirds'
    raw.option(nbdtest.SET_META, struct.pack('>I4sII', 4, b'root', 2, 15) +
               b'base:allocation' + struct.pack('>I', len(name)) + name)
    raw.go(b'root')
    raw.send_command(STATUS, 0, 2 * UNIT, REQ_ONE)
    flags, kind, _, data = raw.chunk()
    assert (flags, kind) == (0, 5)
    assert struct.unpack('>III', data) == (1, 2 * UNIT, 0)
    flags, kind, _, data = raw.chunk()
    assert (flags, kind) == (1, 5)
    assert struct.unpack('>III', data) == (2, UNIT, 1)
    for at, count in ((0, 0), (1, 512), (DISK, 512), (DISK - 512, 1024)):
        raw.send_command(STATUS, at, count)
        flags, kind, _, data = raw.chunk()
        assert (flags, kind) == (1, 0x8001)
        assert struct.unpack('>I', data[:4])[0] == EINVAL
    raw.send_command(STATUS, 0, 512, nbdtest.DF)
    assert raw.chunk()[1] == 0x8001


def test_a_point_destroyed_meanwhile_is_an_error_not_a_clean_disk(server):
    context = 'qemu:dirty-bitmap:gone'
    h = server.connect(contexts=[context])
    assert walk(h, context, DISK)[0] == [(0, DISK, 0)]
    server.command('gone')
    text = nbdtest.expect_error(EIO, h.block_status, DISK, 0,
                                lambda *args: 0)
    assert text
    assert h.pread(512, 0) == bytes(512)


def test_block_status_without_contexts_is_refused(server):
    for structured in (True, False):
        raw = Raw(server)
        raw.go(b'root', structured)
        raw.send_command(STATUS, 0, 4096)
        if structured:
            assert raw.chunk()[1] == 0x8001
        else:
            assert raw.simple_reply()[0] == EINVAL


def holes_by_lseek(fd, size):
    at, extents = 0, []
    while at < size:
        try:
            data = os.lseek(fd, at, os.SEEK_DATA)
        except OSError:
            data = size
        if data > at:
            extents.append((at, min(data, size), 3))
            at = data
        if at < size:
            hole = os.lseek(fd, at, os.SEEK_HOLE)
            extents.append((at, min(hole, size), 0))
            at = hole
    return extents


def test_holes_are_those_of_the_file():
    seed = int(os.environ.get('SEED', random.randrange(1 << 32)))
    print(f'SEED={seed}')
    rng = random.Random(seed)
    size = 256 * MIB
    with tempfile.NamedTemporaryFile() as f:
        f.truncate(size)
        for _ in range(3000):
            f.seek(rng.randrange(size // 4096) * 4096)
            f.write(b'x' * 4096)
        f.flush()
        expected = holes_by_lseek(f.fileno(), size)
        assert len(expected) > 3000
        server = Server([f'root=@{f.name}'])
        h = server.connect(contexts=['base:allocation'])
        extents, requests = walk(h, 'base:allocation', size)
        assert extents == expected
        assert requests > 3000 // 512, 'the number of seeks has a bound'
        assert walk(h, 'base:allocation', size, 12288 * 7,
                    nbd.CMD_FLAG_REQ_ONE)[0] == expected
        server.stop()


def test_what_cannot_be_read_any_more_has_no_status():
    server = Server([f'root:ro={DISK}'])
    h = server.connect(contexts=['base:allocation'])
    assert walk(h, 'base:allocation', DISK)[0] == [(0, DISK, 0)]
    server.command('gone')
    nbdtest.expect_error(EIO, h.block_status, DISK, 0, lambda *_: 0)
    assert h.pread(512, 0) == bytes(512), 'the connection goes on'
    server.stop()


def test_a_disk_that_cannot_tell_is_all_data(server):
    h = server.connect(contexts=['base:allocation'])
    assert walk(h, 'base:allocation', DISK)[0] == [(0, DISK, 0)]


nbdtest.main()
