#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Commands in transmission: what they do, and what is refused."""
import os
import random
import struct
import time

import nbd

import nbdtest
from nbdtest import (CACHE, DF, DISK, EINVAL, EIO, ENOSPC, EPERM, FAST_ZERO,
                     FLUSH, FUA, MIB, NO_HOLE, READ, Raw, Server, TRIM, WRITE,
                     ZEROES)


def transmission(server, structured=False):
    raw = Raw(server)
    assert raw.go(b'root', structured)[-1][0] == nbdtest.ACK
    return raw


def test_random_reads_and_writes_match_a_model():
    seed = int(os.environ.get('SEED', random.randrange(1 << 32)))
    print(f'SEED={seed}')
    rng = random.Random(seed)
    for structured in (True, False):
        server = Server()
        h = server.connect(structured=structured)
        model = bytearray(4 * MIB)
        for _ in range(400):
            sectors = rng.choice((1, 2, 7, 8, 9, 64, 500, 1024))
            at = rng.randrange(len(model) // 512 - sectors) * 512
            count = sectors * 512
            what = rng.randrange(4)
            if what == 0:
                data = rng.randbytes(count)
                h.pwrite(data, at, rng.choice((0, nbd.CMD_FLAG_FUA)))
                model[at:at + count] = data
            elif what == 1:
                h.zero(count, at, rng.choice((0, nbd.CMD_FLAG_NO_HOLE)))
                model[at:at + count] = bytes(count)
            else:
                assert h.pread(count, at) == model[at:at + count]
        assert h.pread(len(model), 0) == model
        h.shutdown()
        server.stop()


def test_flags_reach_the_volume(server):
    server.trace()
    h = server.connect()
    h.pwrite(bytes(4096), 0, nbd.CMD_FLAG_FUA)
    h.pwrite(bytes(512), 512)
    h.zero(4096, 4096, nbd.CMD_FLAG_NO_HOLE | nbd.CMD_FLAG_FUA)
    h.zero(4096, 8192)
    h.trim(MIB, 0, nbd.CMD_FLAG_FUA)
    h.flush()
    h.cache(4096, 0)
    assert [t[1:] for t in server.trace() if t[0] == 'submit'] == [
        ('write', 0, 4096, 1), ('write', 512, 512, 0),
        ('zero', 4096, 4096, 3), ('zero', 8192, 4096, 0),
        ('discard', 0, MIB, 1), ('flush', 0, 0, 0)]


def test_cache_is_answered_whatever_the_disk_does_and_touches_nothing(server):
    h = server.connect()
    assert h.can_cache()
    h.pwrite(b'x' * 4096, 8192)
    server.trace()
    server.command(f'fail 0 {DISK} 5')
    server.command('hold')
    h.cache(DISK, 0)
    h.cache(512, DISK - 512)
    server.command('release')
    server.command('fail 0 0 0')
    assert server.trace() == []
    assert h.pread(4096, 8192) == b'x' * 4096


def test_the_largest_request_goes_both_ways(server):
    h = server.connect()
    data = os.urandom(32 * MIB)
    h.pwrite(data, 512)
    assert h.pread(32 * MIB, 512) == data
    h = server.connect(structured=False)
    assert h.pread(32 * MIB, 512) == data
    nbdtest.wait_until('memory to be given back',
                       lambda: server.stats()['inflight'] == 0)


def test_trim_and_zero_of_almost_4_gib():
    server = Server([f'root={8 << 30}'])
    h = server.connect()
    h.pwrite(b'x' * 4096, (4 << 30) - 8192)
    h.zero((4 << 30) - 512, 512)
    assert h.pread(4096, (4 << 30) - 8192) == bytes(4096)
    h.trim((4 << 30) - 512, 4 << 30)
    server.stop()


def test_bad_ranges_are_refused_and_the_connection_goes_on(server):
    end = DISK
    raw = transmission(server)
    for at, count in ((end, 512), (end - 512, 1024), (1 << 63, 512),
                      ((1 << 64) - 512, 512), ((1 << 64) - 512, 1024)):
        assert raw.simple(READ, at, count)[0] == EINVAL
        assert raw.simple(TRIM, at, count)[0] == EINVAL
        assert raw.simple(CACHE, at, count)[0] == EINVAL
        assert raw.simple(ZEROES, at, count)[0] == ENOSPC
        assert raw.simple(WRITE, at, count, data=bytes(count))[0] == ENOSPC
    for at, count in ((1, 512), (0, 1), (256, 512), (512, 511), (0, 0)):
        for command in (READ, TRIM, CACHE, ZEROES):
            assert raw.simple(command, at, count)[0] == EINVAL
        assert raw.simple(WRITE, at, count, data=bytes(count))[0] == EINVAL
    for count in (32 * MIB + 512, 33 * MIB, 0xfffffe00):
        assert raw.simple(READ, 0, count)[0] == EINVAL
    assert raw.simple(WRITE, 0, 33 * MIB, data=bytes(33 * MIB))[0] == EINVAL
    assert raw.simple(FLUSH, 0, 512)[0] == EINVAL
    assert raw.simple(READ, 0, 512, read=512) == (0, bytes(512))
    assert not server.warnings(), server.log()
    assert server.stats()['inflight'] == 0


def test_unknown_commands_and_flags_are_refused(server):
    raw = transmission(server)
    for command in (8, 9, 100, 0xffff):
        assert raw.simple(command, 0, 512)[0] == EINVAL
    allowed = {READ: 0, WRITE: 0, FLUSH: 0, TRIM: 0, CACHE: 0,
               ZEROES: NO_HOLE}
    for command, flags in allowed.items():
        count = 0 if command == FLUSH else 512
        data = bytes(512) if command == WRITE else b''
        read = 512 if command == READ else 0
        for bit in range(16):
            good = (1 << bit) & (flags | FUA)
            assert raw.simple(command, 0, count, 1 << bit, data,
                              read=read)[0] == (0 if good else EINVAL), \
                (command, bit)
    assert raw.simple(ZEROES, 0, 512, FAST_ZERO)[0] == EINVAL


def test_errors_carry_a_text_where_the_client_can_read_it(server):
    raw = transmission(server, structured=True)
    cookie = raw.send_command(READ, 1, 512)
    flags, kind, echoed, payload = raw.chunk()
    assert (flags, kind, echoed) == (1, 0x8001, cookie)
    error, count = struct.unpack('>IH', payload[:6])
    assert error == EINVAL and len(payload) == 6 + count
    assert payload[6:] == b'not aligned to 512 bytes'
    cookie = raw.send_command(READ, 1024, 512, DF)
    flags, kind, echoed, payload = raw.chunk()
    assert (flags, kind, echoed) == (1, 1, cookie)
    assert payload == struct.pack('>Q', 1024) + bytes(512)


def test_a_read_only_disk_is_read_and_flushed_and_nothing_else():
    server = Server([f'root:ro={DISK}', f'data={DISK}'])
    h = server.connect('root')
    assert h.is_read_only() and h.can_multi_conn() and h.can_flush()
    assert not (h.can_trim() or h.can_zero() or h.can_fua())
    assert not server.connect('data').is_read_only()
    server.trace()
    raw = transmission(server)
    count = 32 * MIB
    for flags in (0, FUA):
        assert raw.simple(WRITE, 0, count, flags,
                          data=bytes(count))[0] == EPERM
        assert raw.simple(WRITE, DISK, 512, flags, data=bytes(512))[0] == EPERM
        assert raw.simple(TRIM, 0, 4096, flags)[0] == EPERM
        assert raw.simple(ZEROES, 0, 4096, flags)[0] == EPERM
    assert raw.simple(FLUSH) == (0, b'')
    assert server.trace() == []
    assert raw.simple(READ, 4096, 512, read=512) == (0, bytes(512))
    assert [t[1] for t in server.trace()] == ['read', 'read']
    server.stop()


def test_failures_of_the_disk_are_told(server):
    for errno, expected in ((5, EIO), (28, ENOSPC), (122, ENOSPC), (1, EPERM),
                            (22, EINVAL), (110, EIO)):
        server.command(f'fail 4096 8192 {errno}')
        for structured in (False, True):
            raw = transmission(server, structured)
            for command in (READ, WRITE, TRIM, ZEROES):
                data = bytes(512) if command == WRITE else b''
                raw.send_command(command, 4096, 512, data=data)
                if structured:
                    _, kind, _, payload = raw.chunk()
                    assert kind == 0x8001
                    error = struct.unpack('>I', payload[:4])[0]
                    assert payload.endswith(b'failed')
                else:
                    error = raw.simple_reply()[0]
                assert error == expected, (errno, command)
            raw.send_command(WRITE, 0, 512, data=bytes(512))
            assert raw.simple_reply()[0] == 0
    server.command('fail 4096 8192 95')
    assert transmission(server).simple(TRIM, 4096, 512)[0] == 0


def test_replies_are_matched_by_cookie_not_by_order(server):
    server.command('hold')
    raw = transmission(server)
    cookies = [raw.send_command(READ, 512 * i, 512) for i in range(100)]
    nbdtest.wait_until('requests', lambda: server.stats()['queued'] == 100)
    server.command('release')
    assert sorted(raw.simple_reply(512)[1] for _ in cookies) == cookies


def test_a_cookie_used_twice_at_once_is_echoed_twice(server):
    server.command('hold')
    raw = transmission(server)
    for _ in range(3):
        raw.send_command(READ, 0, 512, cookie=0xdeadbeefdeadbeef)
    server.command('release')
    for _ in range(3):
        assert raw.simple_reply(512) == (0, 0xdeadbeefdeadbeef, bytes(512))


def test_disconnect_waits_for_what_is_in_flight(server):
    server.command('hold')
    raw = transmission(server)
    cookie = raw.send_command(WRITE, 0, 512, data=b'y' * 512)
    raw.send_command(nbdtest.DISC)
    nbdtest.wait_until('the write', lambda: server.stats()['queued'] == 1)
    server.command('release')
    assert raw.simple_reply() == (0, cookie, b'')
    assert raw.is_closed()
    nbdtest.wait_until('the end', lambda: server.stats()['attached'] == 0)
    assert not server.warnings(), server.log()


def test_half_closing_still_gets_the_replies(server):
    server.command('hold')
    raw = transmission(server)
    cookie = raw.send_command(READ, 0, 4096)
    raw.socket.shutdown(nbdtest.socket.SHUT_WR)
    server.command('release')
    assert raw.simple_reply(4096) == (0, cookie, bytes(4096))
    assert raw.is_closed()


def test_a_flush_covers_writes_acknowledged_on_another_connection(server):
    one, two = server.connect(), server.connect()
    assert one.can_multi_conn()
    server.trace()
    for i in range(50):
        one.pwrite(bytes(4096), i * 4096)
        two.flush()
    trace = server.trace()
    for i in range(50):
        done = trace.index(('done', 'write', i * 4096, 4096, 0))
        rest = [t for t in trace[done:] if t[1] == 'flush']
        assert rest[0][0] == 'submit', 'the flush came before the write'


def test_a_drain_ends_connections_after_their_requests(server):
    before = server.stats()
    server.command('hold')
    raw = transmission(server)
    idle = transmission(server)
    Raw(server)
    cookie = raw.send_command(WRITE, 0, 512, data=b'z' * 512)
    nbdtest.wait_until('the write', lambda: server.stats()['queued'] == 1)
    server.process.stdin.write('drain\n')
    server.process.stdin.flush()
    assert idle.is_closed()
    assert server.command('release') == 'ok'
    assert server.process.stdout.readline() == 'drained\n'
    assert raw.simple_reply() == (0, cookie, b'')
    assert raw.is_closed()
    nbdtest.serves_well(server)
    nbdtest.check_no_leak(server, before)
    assert server.command('drain') == 'drained'
    assert not server.warnings(), server.log()


def test_a_break_waits_for_the_disk_and_for_no_client(server):
    before = server.stats()
    server.trace()
    raw, lazy = transmission(server), transmission(server)
    lazy.send_command(READ, 0, 16 * MIB)  # more than its socket holds
    nbdtest.wait_until('the answer',
                       lambda: ('done', 'read', 0, 16 * MIB, 0)
                       in server.trace())
    server.command('hold')
    raw.send_command(READ, 0, 512)
    nbdtest.wait_until('the read', lambda: server.stats()['queued'] == 1)
    server.process.stdin.write('break\n')
    server.process.stdin.flush()
    assert raw.is_closed(), 'before its read is done'
    start = time.monotonic()
    assert server.command('release') == 'ok'
    assert server.process.stdout.readline() == 'drained\n'
    assert time.monotonic() - start < 1, 'it waited for a client'
    nbdtest.serves_well(server)
    nbdtest.check_no_leak(server, before)
    assert not server.warnings(), server.log()


nbdtest.main()
