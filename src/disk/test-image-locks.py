#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""QEMU's programs and image_lock() refuse each other, on files and devices.

usage: test-image-locks.py HOLDER
"""
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

HOLDER = sys.argv.pop(1)
SIZE = 4 << 20
PROGRAMS = ("qemu-img", "qemu-io", "qemu-nbd", "qemu-system-x86_64")
missing = [p for p in PROGRAMS if not shutil.which(p)]
if missing:
    print("skipped: no " + ", ".join(missing))
    sys.exit(77)


def run(*args):
    return subprocess.run(args, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=60)


def read_line(proc, seconds=30):
    """The next line of PROC's output; fails loudly when none comes."""
    ready, _, _ = select.select([proc.stdout], [], [], seconds)
    if not ready:
        raise AssertionError(f"{proc.args} says nothing")
    return proc.stdout.readline().strip()


class Images:
    """Common to both kinds of image; self.path is made by setUp."""

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="refpoint-locks-",
                                    dir=os.environ.get("TMPDIR", "/var/tmp"))
        self.addCleanup(shutil.rmtree, self.dir)
        self.path = self.make_image()
        self.copy = os.path.join(self.dir, "copy")
        self.sock = os.path.join(self.dir, "sock")

    def spawn(self, *args):
        proc = subprocess.Popen(args, stdin=subprocess.PIPE, bufsize=0,
                                stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT)
        self.addCleanup(self.end, proc)
        return proc

    @staticmethod
    def end(proc):
        proc.stdin.close()
        if proc.poll() is None:
            proc.kill()
        proc.wait()
        proc.stdout.close()

    def hold(self, wait_ms="0"):
        return self.spawn(HOLDER, self.path, wait_ms)

    def assert_held(self, proc):
        self.assertEqual(read_line(proc), b"locked")

    def assert_refused(self, *args):
        done = run(*args)
        self.assertNotEqual(done.returncode, 0, done.args)
        self.assertRegex(done.stdout, "another process using the image")

    def assert_we_are_refused(self):
        done = run(HOLDER, self.path)
        self.assertEqual(done.returncode, 3, done.stdout)
        self.assertIn(self.path, done.stdout)
        self.assertRegex(done.stdout, "in use by a program of QEMU")

    def assert_we_get_it(self):
        proc = self.hold()
        self.assert_held(proc)
        proc.stdin.close()
        self.assertEqual(proc.wait(), 0)

    def qmp(self, *args):
        """QEMU without a machine's business, stopped, with ARGS."""
        proc = self.spawn("qemu-system-x86_64", "-machine", "none", "-S",
                          "-nodefaults", "-display", "none", "-accel", "tcg",
                          "-qmp", "stdio", *args)
        self.assertIn(b"QMP", read_line(proc))
        return proc

    def blockdev(self):
        return (f"driver={self.driver},node-name=disk,"
                f"filename={self.path}")

    # while we hold it

    def commands(self):
        """Not qemu-img info, which takes no permission: it reads no data."""
        drive = f"driver=raw,file.driver={self.driver}," \
                f"file.filename={self.path}"
        yield "qemu-img", "convert", "-f", "raw", "-O", "raw", self.path, \
            self.copy
        yield "qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", \
            self.other(), self.path
        yield "qemu-img", "map", "-f", "raw", self.path
        yield "qemu-img", "compare", "-f", "raw", self.path, self.path
        yield "qemu-img", "dd", "-f", "raw", "-O", "raw", \
            f"if={self.path}", f"of={self.copy}"
        yield "qemu-io", "-f", "raw", "-c", "write 0 4k", self.path
        yield "qemu-io", "-f", "raw", "-r", "-c", "read 0 4k", self.path
        yield "qemu-nbd", "-f", "raw", "-k", self.sock, self.path
        yield "qemu-nbd", "-f", "raw", "-r", "-k", self.sock, self.path
        yield "qemu-system-x86_64", "-S", "-nodefaults", "-display", "none", \
            "-accel", "tcg", "-blockdev", f"node-name=d,{drive}", \
            "-device", "virtio-blk-pci,drive=d"

    def other(self):
        path = os.path.join(self.dir, "other")
        with open(path, "wb") as f:
            f.truncate(SIZE)
        return path

    def test_qemus_programs_are_refused_while_we_hold_it(self):
        self.assert_held(self.hold())
        for command in self.commands():
            with self.subTest(command=command):
                self.assert_refused(*command)

    def test_they_work_once_we_let_go(self):
        proc = self.hold()
        self.assert_held(proc)
        proc.stdin.close()
        self.assertEqual(proc.wait(), 0)
        for command in (("qemu-img", "convert", "-f", "raw", "-O", "raw",
                         self.path, self.copy),
                        ("qemu-io", "-f", "raw", "-c", "write 0 4k",
                         self.path)):
            done = run(*command)
            self.assertEqual(done.returncode, 0, done.stdout)

    def test_nothing_is_left_held_when_we_are_killed(self):
        proc = self.hold()
        self.assert_held(proc)
        proc.kill()
        proc.wait()
        done = run("qemu-io", "-f", "raw", "-c", "write 0 4k", self.path)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assert_we_get_it()

    # while they hold it

    def test_we_are_refused_while_qemu_io_has_it(self):
        for mode in ((), ("-r",)):
            with self.subTest(mode=mode):
                proc = self.spawn("qemu-io", "-f", "raw", *mode, self.path)
                proc.stdin.write(b"read 0 4k\n")
                self.assertIn(b"read 4096/4096", read_line(proc))
                self.assert_we_are_refused()
                proc.stdin.close()
                proc.wait()
                self.assert_we_get_it()

    def test_we_are_refused_while_qemu_nbd_serves_it(self):
        for mode in ((), ("-r",)):
            with self.subTest(mode=mode):
                proc = self.spawn("qemu-nbd", "-f", "raw", "-t", *mode, "-k",
                                  self.sock, self.path)
                self.wait_for_greeting()
                self.assert_we_are_refused()
                proc.send_signal(signal.SIGTERM)
                proc.wait()
                self.assert_we_get_it()

    def test_we_are_refused_while_a_virtual_machine_has_it(self):
        for mode in (",read-only=off", ",read-only=on"):
            with self.subTest(mode=mode):
                proc = self.qmp("-blockdev", self.blockdev() + mode)
                self.use_node(proc, writable=mode.endswith("off"))
                self.assert_we_are_refused()
                self.end(proc)
                self.assert_we_get_it()

    def use_node(self, proc, writable):
        """A node that nobody uses has no permissions: export it."""
        steps = ('{"execute":"qmp_capabilities"}',
                 '{"execute":"nbd-server-start","arguments":{"addr":{"type":'
                 f'"unix","data":{{"path":"{self.sock}"}}}}}}}}',
                 '{"execute":"block-export-add","arguments":{"type":"nbd",'
                 '"id":"e","node-name":"disk","writable":'
                 f'{str(writable).lower()}}}}}')
        for step in steps:
            proc.stdin.write(step.encode() + b"\n")
            self.assertIn(b'"return"', read_line(proc))

    def test_we_are_refused_while_qemu_img_converts_it(self):
        """64 KiB a second: it is still at it when we have been refused."""
        proc = self.spawn("qemu-img", "convert", "-f", "raw", "-O", "raw",
                          "-S", "0", "-r", "64K", self.path, self.copy)
        self.wait_for(self.copy)
        self.assert_we_are_refused()
        self.assertIsNone(proc.poll())
        proc.kill()
        proc.wait()
        self.assert_we_get_it()

    def wait_for_greeting(self):
        """qemu-nbd listens first and opens the image then; between bind and
        listen it refuses."""
        end = time.monotonic() + 30
        while True:
            self.wait_for(self.sock)
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(30)
                try:
                    s.connect(self.sock)
                except ConnectionRefusedError:
                    self.assertLess(time.monotonic(), end, self.sock)
                    time.sleep(0.002)
                    continue
                self.assertEqual(s.recv(8), b"NBDMAGIC")
                return

    def wait_for(self, path):
        end = time.monotonic() + 30
        while not os.path.exists(path):
            self.assertLess(time.monotonic(), end, path)
            time.sleep(0.002)

    # among ourselves

    def test_a_second_one_of_us_is_refused_and_may_wait_for_the_first(self):
        first = self.hold()
        self.assert_held(first)
        done = run(HOLDER, self.path)
        self.assertEqual(done.returncode, 3)
        self.assertIn(self.ours, done.stdout)
        second = self.hold("20000")
        first.kill()
        self.assert_held(second)


class File(Images, unittest.TestCase):
    driver = "file"
    ours = "another virtual system"

    def make_image(self):
        path = os.path.join(self.dir, "disk")
        with open(path, "wb") as f:
            f.truncate(SIZE)
        return path

    def commands(self):
        yield from super().commands()
        yield "qemu-img", "resize", "-f", "raw", self.path, "+1M"
        yield "qemu-img", "create", "-f", "raw", self.path, "1M"


class BlockDevice(Images, unittest.TestCase):
    driver = "host_device"
    ours = "in use"  # by O_EXCL, before any lock is asked for

    def make_image(self):
        path = os.path.join(self.dir, "backing")
        with open(path, "wb") as f:
            f.truncate(SIZE)
        if os.geteuid() != 0 or not shutil.which("losetup"):
            self.skipTest("no root or no losetup: no block device")
        done = run("losetup", "--show", "-f", path)
        if done.returncode != 0:
            self.skipTest("no loop device: " + done.stdout)
        device = done.stdout.strip()
        self.addCleanup(run, "losetup", "-d", device)
        return device


if __name__ == "__main__":
    unittest.main()
