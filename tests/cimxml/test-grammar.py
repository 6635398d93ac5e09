#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the unit tests of CIM-XML and holds each reply to the grammar.

usage: test-grammar.py GRAMMAR PROGRAM...
"""
import glob
import os
import shutil
import subprocess
import sys
import tempfile

# What the grammar must refuse, or it says nothing.
BAD = ('<CIM CIMVERSION="2.0" DTDVERSION="2.0"><MESSAGE ID="1" '
       'PROTOCOLVERSION="1.0"><SIMPLERSP><IMETHODRESPONSE NAME="x">'
       '<IRETURNVALUE><CLASSNAME NAME="a"/><INSTANCENAME CLASSNAME="b"/>'
       '</IRETURNVALUE></IMETHODRESPONSE></SIMPLERSP></MESSAGE></CIM>')


def judge(grammar, files):
    """The complaints about files, one a line."""
    done = subprocess.run(['xmllint', '--noout', '--relaxng', grammar, *files],
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                          text=True, check=False)
    return [line for line in done.stderr.splitlines()
            if not line.endswith(' validates')]


def check(grammar, programs, directory):
    for program in programs:
        subprocess.run([program], check=True, stderr=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL,
                       env={**os.environ, 'CIMXML_REPLIES': directory})
    replies = sorted(glob.glob(os.path.join(directory, '*.xml')))
    complaints = judge(grammar, replies)
    for line in complaints[:20]:
        print(line)
    bad = os.path.join(directory, 'bad')
    with open(bad, 'w', encoding='utf-8') as f:
        f.write(BAD)
    if not judge(grammar, [bad]):
        print('the grammar takes what it must refuse')
        return 1
    print(f'{len(replies)} replies, {len(complaints)} complaints')
    return 1 if complaints or len(replies) < 100 else 0


def main():
    if not shutil.which('xmllint'):
        print('skipped: xmllint (libxml2-utils) is not installed')
        return 77
    with tempfile.TemporaryDirectory(prefix='cimxml-') as directory:
        return check(sys.argv[1], sys.argv[2:], directory)


if __name__ == '__main__':
    sys.exit(main())
