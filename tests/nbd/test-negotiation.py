#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The handshake: every option, good and bad."""
import struct

import nbdtest
from nbdtest import (ABORT, ACK, DISK, EXPORT_NAME, GO, INFO, INVALID,
                     LIST, LIST_META, Raw, REP_INFO, REP_META, REP_SERVER,
                     SET_META, STRUCTURED, Server, TOO_BIG, UNKNOWN, UNSUP)


def queries(name, *texts):
    data = struct.pack('>I', len(name)) + name + struct.pack('>I', len(texts))
    for text in texts:
        data += struct.pack('>I', len(text)) + text
    return data


def infos(replies):
    return {struct.unpack('>H', data[:2])[0]: data[2:]
            for kind, data in replies if kind == REP_INFO}


def test_go_tells_size_name_and_block_sizes(server):
    raw = Raw(server)
    replies = raw.go(b'root', structured=True)
    assert replies[-1] == (ACK, b'')
    info = infos(replies)
    assert info[0] == struct.pack('>QH', DISK, 0x5ed), info[0]
    assert info[1] == b'root'
    assert info[3] == struct.pack('>III', 512, 4096, 32 << 20)
    assert raw.simple(nbdtest.FLUSH) == (0, b'')


def test_df_is_offered_only_with_structured_replies(server):
    raw = Raw(server)
    flags = struct.unpack('>QH', infos(raw.go(b'root'))[0])[1]
    assert flags == 0x5ed & ~(1 << 7), hex(flags)
    assert raw.simple(nbdtest.READ, 0, 512, flags=nbdtest.DF)[0] == 22


def test_info_says_the_same_and_stays_in_negotiation(server):
    raw = Raw(server)
    told = raw.go(b'root', option=INFO)
    assert told[-1] == (ACK, b'')
    assert raw.go(b'root') == told
    assert raw.simple(nbdtest.READ, 0, 512, read=512) == (0, bytes(512))


def test_export_name_with_and_without_zeroes(server):
    for flags, padding in ((3, 0), (1, 124), (0, 124)):
        raw = Raw(server, flags=flags)
        raw.send_option(EXPORT_NAME, b'root')
        answer = raw.receive(10 + padding)
        assert answer[:8] == struct.pack('>Q', DISK)
        assert answer[10:] == bytes(padding)
        assert raw.simple(nbdtest.READ, 0, 512, read=512) == (0, bytes(512))


def test_an_unknown_export_is_refused_with_the_names_there_are():
    server = Server(['root=1048576', 'data=1048576'])
    raw = Raw(server)
    kind, text = raw.go(b'roo')[-1]
    assert kind == UNKNOWN and b"'root', 'data'" in text, text
    kind, text = raw.go(b'')[-1]
    assert kind == UNKNOWN and b'several disks' in text, text
    kind, text = raw.go(b'root\0')[-1]
    assert kind == UNKNOWN
    kind, text = raw.option(SET_META, b'')[-1]
    assert kind == INVALID
    assert raw.go(b'data')[-1] == (ACK, b'')
    raw = Raw(server)
    raw.send_option(EXPORT_NAME, b'nothing')
    assert raw.is_closed()
    server.stop()


def test_the_empty_name_is_the_only_disk(server):
    raw = Raw(server)
    assert infos(raw.go(b''))[1] == b'root'


def test_list_names_all_exports():
    names = [f'disk{i}' for i in range(64)]
    server = Server([f'{name}=1048576' for name in names])
    raw = Raw(server)
    replies = raw.option(LIST)
    assert [data[4:].decode() for kind, data in replies[:-1]
            if kind == REP_SERVER] == names
    kind, _ = raw.option(LIST, b'x')[-1]
    assert kind == INVALID
    server.stop()


def test_abort_is_answered_and_ends_it(server):
    for data in (b'', b'ignored'):
        raw = Raw(server)
        assert raw.option(ABORT, data) == [(ACK, b'')]
        assert raw.is_closed()
    assert not server.warnings(), server.log()


def test_unknown_and_malformed_options_leave_the_stream_in_step(server):
    raw = Raw(server)
    for option in (4, 5, 11, 0, 77, 0xffffffff):
        assert raw.option(option, b'some data')[-1][0] == UNSUP
    assert raw.option(STRUCTURED, b'x')[-1][0] == INVALID
    for data in (b'', b'\0', struct.pack('>I', 100) + b'root',
                 struct.pack('>I4sH', 4, b'root', 3),
                 struct.pack('>I4sHH', 4, b'root', 0, 1),
                 struct.pack('>I', 0xffffffff) + b'root' * 4):
        assert raw.option(GO, data)[-1][0] == INVALID, data
    assert raw.go(b'root')[-1] == (ACK, b'')


def test_an_option_too_large_is_skipped_and_one_absurd_ends_it(server):
    raw = Raw(server)
    for size in (65537, 1 << 20):
        assert raw.option(GO, bytes(size))[-1][0] == TOO_BIG
    assert raw.option(77, bytes(65536))[-1][0] == UNSUP
    raw.send_option(77, length=(1 << 20) + 1)
    assert raw.is_closed()
    assert len(server.warnings()) == 1


def test_contexts_need_structured_replies(server):
    raw = Raw(server)
    for option in (LIST_META, SET_META):
        kind, _ = raw.option(option, queries(b'root'))[-1]
        assert kind == INVALID


def contexts(replies):
    assert replies[-1] == (ACK, b''), replies
    return [data[4:].decode() for kind, data in replies if kind == REP_META]


POINTS = ['thirds', 'none', 'gone', 'broken']
BITMAPS = ['qemu:dirty-bitmap:' + point for point in POINTS]


def test_list_contexts_with_every_kind_of_query(server):
    raw = Raw(server)
    raw.option(STRUCTURED)
    base = ['base:allocation']
    for texts, expected in (
            ((), base + BITMAPS), ((b'base:',), base),
            ((b'base:allocation',), base), ((b'qemu:',), BITMAPS),
            ((b'qemu:dirty-bitmap:',), BITMAPS),
            ((b'qemu:dirty-bitmap:none',), [BITMAPS[1]]),
            ((b'qemu:', b'base:', b'qemu:'), base + BITMAPS),
            ((b'qemu:dirty-bitmap:nothing', b'x-other:y', b'nocolon', b''),
             [])):
        assert contexts(raw.option(LIST_META, queries(b'', *texts))) == \
            expected, texts
    assert server.stats()['views'] == 0


def test_set_contexts_selects_exactly_what_is_named(server):
    raw = Raw(server)
    raw.option(STRUCTURED)
    for texts, expected in (
            ((), []), ((b'base:',), []), ((b'qemu:',), []),
            ((b'qemu:dirty-bitmap:',), []),
            ((b'base:allocation', b'base:allocation'), ['base:allocation']),
            ((b'qemu:dirty-bitmap:none', b'x:y', b'qemu:dirty-bitmap:none\0',
              b'qemu:dirty-bitmap:unknown', b'base:allocation'),
             [BITMAPS[1], 'base:allocation'])):
        replies = raw.option(SET_META, queries(b'root', *texts))
        assert contexts(replies) == expected, texts
        ids = [data[:4] for kind, data in replies if kind == REP_META]
        assert len(set(ids)) == len(ids)
    assert server.stats()['views'] == 1
    raw.close()
    nbdtest.wait_until('the view to be closed',
                       lambda: server.stats()['views'] == 0)


def test_a_point_that_cannot_be_answered_is_refused_with_its_reason(server):
    raw = Raw(server)
    raw.option(STRUCTURED)
    replies = raw.option(SET_META, queries(b'root', b'qemu:dirty-bitmap:none',
                                           b'qemu:dirty-bitmap:broken'))
    kind, text = replies[-1]
    assert kind == INVALID and b'is not known' in text, text
    assert server.stats()['views'] == 0
    assert raw.go(b'root')[-1] == (ACK, b'')
    raw.send_command(nbdtest.STATUS, 0, 4096)
    assert raw.chunk()[1] == 0x8001


def test_malformed_queries_are_refused(server):
    raw = Raw(server)
    raw.option(STRUCTURED)
    good = queries(b'root', b'base:allocation')
    for data in (good[:-1], good + b'x', b'', good[:6],
                 struct.pack('>I4sI', 4, b'root', 0xffffffff)):
        for option in (LIST_META, SET_META):
            assert raw.option(option, data)[-1][0] == INVALID
    assert raw.option(LIST_META, queries(b'root', *[b'a:b'] * 65))[-1][0] == \
        TOO_BIG
    assert raw.option(LIST_META, queries(b'other'))[-1][0] == UNKNOWN


def test_contexts_of_another_disk_are_dropped():
    server = Server(['root=1048576', 'data=1048576'])
    raw = Raw(server)
    raw.option(STRUCTURED)
    contexts(raw.option(SET_META, queries(b'data', b'base:allocation',
                                          b'qemu:dirty-bitmap:none')))
    assert raw.go(b'root')[-1] == (ACK, b'')
    assert server.stats()['views'] == 0
    raw.send_command(nbdtest.STATUS, 0, 4096)
    flags, kind, _, payload = raw.chunk()
    assert (flags, kind) == (1, 0x8001)
    assert struct.unpack('>I', payload[:4])[0] == 22
    server.stop()


def test_unknown_client_flags_end_the_connection(server):
    for flags in (4, 0x80000000, 0xffffffff):
        raw = Raw(server, flags=flags)
        assert raw.is_closed()
    assert len(server.warnings()) == 3


def test_a_handshake_in_single_bytes_works(server):
    raw = Raw(server, greet=False)
    data = struct.pack('>I', 3) + struct.pack('>QII', nbdtest.OPT_MAGIC, GO,
                                              10)
    data += struct.pack('>I4sH', 4, b'root', 0)
    data += struct.pack('>IHHQQI', 0x25609513, 0, nbdtest.READ, 7, 0, 512)
    for i in range(len(data)):
        raw.send(data[i:i + 1])
    raw.receive(18)
    while raw.option_reply(GO)[0] != ACK:
        pass
    assert raw.simple_reply(512) == (0, 7, bytes(512))


def test_everything_in_one_packet_works(server):
    raw = Raw(server, greet=False)
    data = struct.pack('>I', 3) + struct.pack('>QII', nbdtest.OPT_MAGIC, GO,
                                              10)
    data += struct.pack('>I4sH', 4, b'root', 0)
    data += struct.pack('>IHHQQI', 0x25609513, 0, nbdtest.WRITE, 6, 512, 512)
    data += b'x' * 512
    data += struct.pack('>IHHQQI', 0x25609513, 0, nbdtest.READ, 7, 0, 1024)
    raw.send(data)
    raw.receive(18)
    while raw.option_reply(GO)[0] != ACK:
        pass
    assert raw.simple_reply(0) == (0, 6, b'')
    assert raw.simple_reply(1024)[0] == 0


nbdtest.main()
