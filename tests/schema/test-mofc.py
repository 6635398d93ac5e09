#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""mofc as the build runs it: exit status, what it says, what it writes.

test-mofc.py MOFC
"""
import os
import subprocess
import sys
import tempfile
import unittest

MOFC = os.path.abspath(sys.argv.pop())


class Mofc(unittest.TestCase):
    def setUp(self):
        temporary = tempfile.TemporaryDirectory(prefix='mofc-')
        self.addCleanup(temporary.cleanup)
        self.dir = temporary.name

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, text):
        with open(self.path(name), 'w', encoding='utf-8') as f:
            f.write(text)

    def run_mofc(self, *args):
        return subprocess.run([MOFC, *args], text=True, check=False,
                              stderr=subprocess.PIPE)

    def compile(self):
        return self.run_mofc(self.path('a.mof'), self.path('t.c'),
                             self.path('m.pod'))

    def test_what_is_included_lies_beside_the_first_file(self):
        self.write('a.mof', '#pragma namespace ("n")\n'
                            '#pragma include ("b.mof")\n')
        self.write('b.mof', 'class B {};\n')
        done = self.compile()
        self.assertEqual((done.returncode, done.stderr), (0, ''))
        with open(self.path('t.c'), encoding='utf-8') as f:
            self.assertIn('{.name = "B"', f.read())
        with open(self.path('m.pod'), encoding='utf-8') as f:
            self.assertIn('=head2 B\n', f.read())

    def test_an_error_names_its_place_and_nothing_is_written(self):
        self.write('a.mof', '#pragma namespace ("n")\nclass A {}\n')
        done = self.compile()
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr, "mofc: a.mof:3:1: expected ';', not "
                                      "the end of the file\n")
        self.assertEqual(os.listdir(self.dir), ['a.mof'])

    def test_files_that_cannot_be_opened_are_named(self):
        done = self.compile()
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr, f"mofc: open '{self.path('a.mof')}': "
                                      "No such file or directory\n")
        self.write('a.mof', '')
        done = self.run_mofc(self.path('a.mof'), self.path('no/t.c'),
                             self.path('m.pod'))
        self.assertEqual(done.returncode, 1)
        self.assertIn(self.path('no/t.c'), done.stderr)

    @unittest.skipUnless(os.path.exists('/dev/full'), 'no /dev/full')
    def test_a_full_disk_is_noticed(self):
        self.write('a.mof', '')
        done = self.run_mofc(self.path('a.mof'), '/dev/full',
                             self.path('m.pod'))
        self.assertEqual(done.returncode, 1)
        self.assertIn("write '/dev/full'", done.stderr)

    def test_a_wrong_call_is_told_how(self):
        done = self.run_mofc('a')
        self.assertEqual(done.returncode, 2)
        self.assertTrue(done.stderr.startswith('usage: mofc '))


if __name__ == '__main__':
    unittest.main()
