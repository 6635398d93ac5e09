#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The unit files, and what goes with them, are what systemd takes."""
import os
import re
import shutil
import subprocess
import sys
import tempfile


def check(argv, quiet=True):
    done = subprocess.run(argv, text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=60, check=False)
    # systemd warns of what it ignores, and succeeds
    ours = quiet and [line for line in done.stdout.splitlines() if 'refpoint' in line]
    if done.returncode or ours:
        sys.exit(f'{" ".join(argv)}: exit status {done.returncode}\n'
                 f'{done.stdout}')


def verify_units(directory, units):
    copies = []
    for unit in units:
        with open(unit, encoding='utf-8') as f:
            text = f.read()
        left = re.findall(r'@\w+@', text)
        if left:
            sys.exit(f'{unit}: not filled in: {left}')
        # programs need not be installed for this
        text = re.sub(r'(?m)^ExecStart=\S+', 'ExecStart=/bin/true', text)
        # a template, which a socket may ask for, and an instance of it
        name = os.path.join(directory, os.path.basename(unit))
        copy = name.replace('@.', '@example.')
        for path in {name, copy}:
            with open(path, 'w', encoding='utf-8') as f:
                f.write(text)
        copies.append(copy)
    check(['systemd-analyze', 'verify', '--man=no'] + copies)


def make_users(directory, conf):
    """In an empty root: users that are not root and not nobody."""
    if not shutil.which('systemd-sysusers') or os.geteuid() != 0:
        return
    os.mkdir(f'{directory}/etc')
    check(['systemd-sysusers', f'--root={directory}', conf], quiet=False)
    with open(f'{directory}/etc/passwd', encoding='utf-8') as f:
        uids = {line.split(':')[0]: int(line.split(':')[2]) for line in f}
    for name in ('refpoint-worker', 'refpoint-cim'):
        if uids.get(name, 0) in (0, 65534):
            sys.exit(f'{conf}: uid of {name}: {uids.get(name)}')


def main():
    sysusers, units = sys.argv[1], sys.argv[2:]
    if not shutil.which('systemd-analyze'):
        print('SKIP: there is no systemd-analyze')
        sys.exit(77)
    with tempfile.TemporaryDirectory() as directory:
        verify_units(directory, units)
        make_users(directory, sysusers)


if __name__ == '__main__':
    main()
