#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Bad clients, crowds, and the next client, who is served all the same."""
import concurrent.futures
import os
import resource
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from rig import IDENTIFY, NS, Rig, envelope, need  # noqa: E402
from harness.process import wait_until  # noqa: E402
from harness.web import connect, send_junk  # noqa: E402

need('wbemcli', 'curl')
PEAK_KIB = 64 << 10
IDLE_KIB = 16 << 10
CIM = ('-H', 'CIMOperation: MethodCall', '-H', 'CIMMethod: GetClass', '-H',
       'CIMObject: root/cimv2')

# The largest answer that takes no virtual system.
CLASSES = """<?xml version="1.0"?>
<CIM CIMVERSION="2.0" DTDVERSION="2.0"><MESSAGE ID="1" PROTOCOLVERSION="1.0">
<SIMPLEREQ><IMETHODCALL NAME="EnumerateClasses"><LOCALNAMESPACEPATH>
<NAMESPACE NAME="root"/><NAMESPACE NAME="virtualization"/><NAMESPACE NAME="v2"/>
</LOCALNAMESPACEPATH><IPARAMVALUE NAME="DeepInheritance"><VALUE>TRUE</VALUE>
</IPARAMVALUE><IPARAMVALUE NAME="LocalOnly"><VALUE>FALSE</VALUE></IPARAMVALUE>
<IPARAMVALUE NAME="IncludeQualifiers"><VALUE>TRUE</VALUE></IPARAMVALUE>
</IMETHODCALL></SIMPLEREQ></MESSAGE></CIM>"""
CIM_CLASSES = ('-H', 'CIMOperation: MethodCall', '-H',
               'CIMMethod: EnumerateClasses', '-H', 'CIMObject: ' + NS)


class Limits(unittest.TestCase):
    def setUp(self):
        self.rig = Rig()
        self.addCleanup(self.rig.close)
        self.rig.start()
        self.served()

    def served(self):
        """At both doors, and without having eaten much."""
        self.assertEqual(self.rig.curl('wsman', data=IDENTIFY).status, 200)
        self.assertIn('CIM_Namespace', self.rig.wbemcli(
            'ein', 'root/interop:CIM_Namespace'))

    def peak(self, most=PEAK_KIB):
        peak = self.rig.status('VmHWM')
        print(f'peak: {peak} KiB')
        self.assertLess(peak, most)

    def test_2000_half_open_connections(self):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < 2200:
            resource.setrlimit(resource.RLIMIT_NOFILE,
                               (min(4096, hard), hard))
        held = []
        try:
            for i in range(2000):
                s = connect(self.rig.ports['wsman' if i % 2 else 'cimxml'],
                            None if i < 1000 else f'127.1.{i % 250}.1')
                held.append(s)
                if i % 3 == 0:
                    s.sendall(b'\x16\x03\x01')  # a handshake begins
            began = time.monotonic()
            self.served()
            print(f'served after {time.monotonic() - began:.3f} s')
        finally:
            for s in held:
                s.close()
        self.peak()

    def test_a_body_of_100_mib(self):
        body = bytes(100 << 20)
        for door in 'wsman', 'cimxml':
            for args in (), ('-H', 'Expect:', '-H',
                             'Transfer-Encoding: chunked'):
                reply = self.rig.curl(door, *args, data=body)
                self.assertEqual(reply.status, 413, (door, reply.stderr))
                self.served()
        self.peak()

    def bad(self, text, status=400):
        """What is no request, at both doors."""
        for door, args in ('wsman', ()), ('cimxml', CIM):
            reply = self.rig.curl(door, *args, data=text)
            self.assertIn(reply.status, (status, 500), (door, text[:50]))
            if door == 'cimxml':
                self.assertEqual(reply.status, 400)
                self.assertTrue(reply.header('cimerror'), text[:50])
            else:
                self.assertIn('s:Fault', reply.text.replace('\0', ''))

    def test_nesting_10000_deep(self):
        self.bad(b'<a>' * 10000 + b'</a>' * 10000)
        deep = '<a>' * 10000 + '</a>' * 10000
        reply = self.rig.curl('wsman', data=envelope(
            'http://schemas.xmlsoap.org/ws/2004/09/transfer/Get', 'x', deep))
        self.assertIn('s:Fault', reply.text)
        self.served()
        self.peak()

    def test_what_xml_can_be_abused_for(self):
        for text in (b'', b'<', b'no xml', b'\0' * 1000, b'\xff\xfe<\0a\0',
                     b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
                     b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
                     b'<a ' + b' '.join(b'b%d="c"' % i for i in range(1000))
                     + b'/>', b'<a>' + b'<b/>' * 100000 + b'</a>',
                     b'<a>' + b'x' * 600000 + b'</a>'):
            if text:
                self.bad(text)
        self.served()
        self.peak()

    def test_200_clients_at_once(self):
        def one(i):
            return self.rig.curl('wsman', data=IDENTIFY, timeout=60).status

        began = time.monotonic()
        with concurrent.futures.ThreadPoolExecutor(200) as pool:
            codes = list(pool.map(one, range(200)))
        print(f'200 clients: {time.monotonic() - began:.2f} s')
        self.assertEqual(codes, [200] * 200)

    def test_memory_of_large_answers_is_given_back(self):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            texts = list(pool.map(lambda _: self.rig.curl(
                'cimxml', *CIM_CLASSES, data=CLASSES.encode()).text,
                range(16)))
        self.assertEqual(len(set(texts)), 1)
        self.assertIn('</CLASS>', texts[0])
        print(f'{len(texts[0])} bytes, 16 times')
        self.assertGreater(len(texts[0]), 500000)
        self.peak(256 << 10)
        rss = wait_until('memory to be given back',
                         lambda: self.rig.status('VmRSS') < IDLE_KIB and
                         self.rig.status('VmRSS'), timeout=15)
        print(f'afterwards: {rss} KiB')

    def test_who_hangs_up_or_says_nonsense_ends_alone(self):
        for junk in (b'', b'\0' * 100, b'POST /wsman HTTP/1.1\r\n\r\n',
                     b'\x16\x03\x01\x02\x00' + os.urandom(512)):
            for port in self.rig.ports.values():
                send_junk(port, junk)
        self.served()


if __name__ == '__main__':
    unittest.main(verbosity=2)
