#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Clients that break the protocol, die, stall or take too much: each costs its
own connection, with one line in the log, and nothing leaks."""
import os
import random
import struct

import nbdtest
from nbdtest import (FLUSH, MIB, READ, Raw, Server, WRITE, check_no_leak,
                     serves_well, wait_until)

CAP = 96 * MIB
FLOOR = 512 << 10


def transmission(server, structured=False):
    raw = Raw(server)
    assert raw.go(b'root', structured)[-1][0] == nbdtest.ACK
    return raw


def breaks_off(server, action, lines=1):
    """The action ends its connection, and nothing else."""
    before = server.stats()
    other = transmission(server)
    count = len(server.warnings())
    raw = action(server)
    assert raw.is_closed()
    raw.close()
    assert other.simple(READ, 0, 512, read=512) == (0, bytes(512))
    serves_well(server)
    other.send_command(nbdtest.DISC)
    assert other.is_closed()
    other.close()
    check_no_leak(server, before)
    assert len(server.warnings()) - count == lines, server.log()


def test_bad_magics(server):
    def option(s):
        raw = Raw(s)
        raw.send_option(nbdtest.LIST, magic=0x1234567812345678)
        return raw

    def command(s):
        raw = transmission(s)
        raw.send_command(READ, 0, 512, magic=0x25609514)
        return raw

    def http(s):
        raw = Raw(s, greet=False)
        raw.send(b'GET / HTTP/1.1\r\n\r\n')
        raw.receive(18)
        return raw
    for action in (option, command, http):
        breaks_off(server, action)


def test_garbage_of_any_kind(server):
    seed = int(os.environ.get('SEED', random.randrange(1 << 32)))
    print(f'SEED={seed}')
    rng = random.Random(seed)
    before = server.stats()
    for i in range(200):
        raw = transmission(server, rng.random() < 0.5) \
            if rng.random() < 0.7 else Raw(server)
        raw.socket.setblocking(False)
        for _ in range(rng.randrange(1, 20)):
            data = rng.randbytes(rng.randrange(1, 100))
            if rng.random() < 0.8:
                data = struct.pack(
                    '>IHHQQI', 0x25609513, rng.choice((0, 1, 2, 0xffff)),
                    rng.randrange(9), 1, rng.choice((0, 512, 1 << 63)),
                    rng.choice((0, 512, 1, 0xffffffff, 1 << 20))) + data
            try:
                raw.send(data)
            except (BlockingIOError, BrokenPipeError, ConnectionResetError):
                break
        raw.close()
    check_no_leak(server, before)
    serves_well(server)


def test_half_a_message_and_then_death(server):
    def half(data):
        def action(s):
            raw = transmission(s)
            raw.send(data)
            raw.socket.shutdown(nbdtest.socket.SHUT_WR)
            return raw
        return action

    header = struct.pack('>IHHQQI', 0x25609513, 0, WRITE, 1, 0, 16 * MIB)
    bad = struct.pack('>IHHQQI', 0x25609513, 0, WRITE, 1, 1, 16 * MIB)
    for data in (header[:1], header[:27], header, header + b'x',
                 header + bytes(5 * MIB)):
        breaks_off(server, half(data))

    def refused(s):
        raw = transmission(s)
        raw.send(bad + bytes(1000))
        assert raw.simple_reply()[0] == 22
        raw.socket.shutdown(nbdtest.socket.SHUT_WR)
        return raw
    breaks_off(server, refused)


def test_death_with_requests_in_flight(server):
    before = server.stats()
    server.command('hold')
    for _ in range(10):
        raw = transmission(server)
        for i in range(50):
            raw.send_command(WRITE, 512 * i, 512, data=b'd' * 512)
            raw.send_command(READ, 512 * i, 65536)
        wait_until('requests', lambda: server.stats()['queued'] >= 50)
        raw.close()
    server.command('release')
    check_no_leak(server, before)
    serves_well(server)


def test_an_absurd_length_is_drained_and_costs_no_memory(server):
    raw = transmission(server)
    raw.send_command(WRITE, 0, 0xfffffe00)
    assert raw.simple_reply()[0] == 22
    for _ in range(64):
        raw.send(bytes(MIB))
    assert server.stats()['inflight'] == 0
    serves_well(server)
    raw.close()
    wait_until('the end', lambda: server.stats()['attached'] == 0)


def test_a_flood_of_options(server):
    def action(s):
        raw = Raw(s)
        option = struct.pack('>QII', nbdtest.OPT_MAGIC, nbdtest.LIST, 0)
        raw.socket.settimeout(20)
        try:
            for _ in range(1000):
                raw.send(option * 100)
        except (BrokenPipeError, ConnectionResetError):
            pass
        while not raw.is_closed():
            pass
        return raw
    breaks_off(server, action)


def test_who_stays_in_negotiation_is_closed(server):
    server.command('times 300 5000 5000')
    before = server.stats()
    worker = transmission(server)
    idle = [Raw(server, greet=False), Raw(server)]
    option = Raw(server)
    option.send_option(nbdtest.GO, b'xx', length=100)
    for raw in idle + [option]:
        while not raw.is_closed():
            pass
        raw.close()
    assert len(server.warnings()) == 3, server.log()
    assert worker.simple(FLUSH) == (0, b'')
    worker.close()
    check_no_leak(server, before)


def test_who_reads_no_replies_stalls_only_itself(server):
    before = server.stats()
    mute = transmission(server)
    mute.socket.settimeout(0.5)
    sent = 0
    try:
        while sent < 1000000:
            mute.send_command(READ, 0, 128 << 10)
            sent += 1
    except TimeoutError:
        pass
    assert sent < 1000000, 'the server reads without end'
    inflight = server.stats()['inflight']
    assert 0 < inflight <= 32 * MIB, inflight
    for _ in range(20):
        serves_well(server)
    mute.close()
    check_no_leak(server, before)


def test_small_requests_without_reading_are_bounded_too(server):
    mute = transmission(server)
    mute.socket.settimeout(0.5)
    sent = 0
    try:
        while sent < 1000000:
            mute.send(struct.pack('>IHHQQI', 0x25609513, 0, FLUSH, 1, 0,
                                  0) * 64)
            sent += 64
    except TimeoutError:
        pass
    assert sent < 1000000
    serves_well(server)
    mute.close()


def test_all_connections_and_one_more(server):
    before = server.stats()
    raws = [transmission(server) for _ in range(64)]
    extra = Raw(server, greet=False)
    assert extra.is_closed()
    extra.close()
    assert len(server.warnings()) == 1
    for raw in raws:
        assert raw.simple(READ, 0, 512, read=512) == (0, bytes(512))
    raws.pop().close()
    wait_until('a place', lambda: server.stats()['attached'] == 63)
    serves_well(server)
    for raw in raws:
        raw.close()
    check_no_leak(server, before)


def test_the_cap_holds_and_everyone_gets_a_turn(server):
    before = server.stats()
    server.command('hold')
    raws = [transmission(server) for _ in range(20)]
    for raw in raws:
        raw.send_command(READ, 0, 32 * MIB)
    wait_until('requests up to the cap',
               lambda: server.stats()['queued'] >= 2)
    assert server.stats()['inflight'] <= CAP
    # a small request needs no turn
    small = transmission(server)
    small.send_command(READ, 0, 4096)
    queued = server.stats()['queued']
    wait_until('the small one', lambda: server.stats()['queued'] >= 3)
    server.command('release')
    assert small.simple_reply(4096) == (0, 1, bytes(4096))
    for raw in raws:
        assert raw.simple_reply(32 * MIB)[0] == 0
        assert server.stats()['inflight'] <= CAP
    for raw in raws + [small]:
        raw.close()
    assert queued <= 4
    check_no_leak(server, before)
    assert not server.warnings(), server.log()


def test_large_requests_make_way_when_others_wait(server):
    """Four hold all that is shared and do nothing; a fifth needs it."""
    before = server.stats()
    server.command('times 30000 500 5000')
    holders = []
    for i in range(4):
        raw = transmission(server)
        if i % 2:
            raw.send_command(WRITE, 0, 32 * MIB)
            raw.send(b'x')
        else:
            raw.send_command(READ, 0, 32 * MIB)
        holders.append(raw)
    wait_until('the cap', lambda: server.stats()['inflight'] >= 64 * MIB)
    serves_well(server)
    good = server.connect()
    data = os.urandom(32 * MIB)
    good.pwrite(data, 0)
    assert good.pread(32 * MIB, 0) == data
    warnings = server.warnings()
    assert 1 <= len(warnings) <= 4, server.log()
    assert all('others wait' in line for line in warnings)
    good.shutdown()
    for raw in holders:
        raw.close()
    check_no_leak(server, before)


def test_a_slow_but_steady_reader_is_left_alone(server):
    server.command(f'times 30000 {500 * nbdtest.SLOWNESS} 5000')
    slow = transmission(server)
    slow.send_command(READ, 0, 32 * MIB)
    others = [transmission(server) for _ in range(3)]
    for raw in others:
        raw.send_command(READ, 0, 32 * MIB)
    left = 32 * MIB + 16
    import time
    while left:
        left -= len(slow.receive(min(left, MIB)))
        time.sleep(0.05)
        for raw in others:
            raw.socket.setblocking(False)
            try:
                while raw.socket.recv(MIB):
                    pass
            except BlockingIOError:
                pass
    assert not server.warnings(), server.log()


def test_a_mute_client_does_not_stop_a_drain(server):
    server.command('times 30000 5000 300')
    mute = transmission(server)
    mute.send_command(READ, 0, 32 * MIB)
    wait_until('memory', lambda: server.stats()['inflight'] == 32 * MIB)
    assert server.command('drain') == 'drained'
    mute.close()
    serves_well(server)


nbdtest.main()
