# SPDX-License-Identifier: Apache-2.0
"""Programs that end when we do, and waiting for what must come.

Every wait has a limit and says what it waited for; nothing sleeps for a time
and hopes.
"""
import ctypes
import os
import shutil
import signal
import subprocess
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
BUILD = os.path.realpath(os.environ.get('REFPOINT_BUILD',
                                        os.path.join(TOP, 'build')))
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


class Failure(Exception):
    """Something went wrong; the message says what, for a person."""


class Timeout(Failure):
    """What was waited for did not come in time."""


def die_with_parent():
    """In a new child: ask to be killed when the thread that made us ends."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def wait_until(what, condition, timeout=20, interval=0.02):
    """Returns the first true value of condition(), or raises Timeout."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Timeout(f'waited {timeout} s for {what}')
        time.sleep(interval)


def start(argv, log, **kwargs):
    """Starts a program that dies with us, its output appended to a file."""
    with open(log, 'ab') as out:
        return subprocess.Popen(argv, stdout=kwargs.pop('stdout', out),
                                stderr=out,
                                stdin=kwargs.pop('stdin', subprocess.DEVNULL),
                                preexec_fn=die_with_parent, **kwargs)


def stop(process, timeout=10):
    """Asks a program of ours to end, and makes it after a while."""
    if process is None or process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def run(argv, timeout=60, **kwargs):
    """Runs a program to its end; returns its standard output as text.

    What it says may quote what it was given: nbdinfo the content of a disk.
    """
    try:
        done = subprocess.run(argv, timeout=timeout, text=True,
                              errors='replace', stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              check=False, **kwargs)
    except subprocess.TimeoutExpired as e:
        raise Timeout(f'{" ".join(argv)}: not done after {timeout} s') from e
    if done.returncode:
        raise Failure(f'{" ".join(argv)}: exit status {done.returncode}: '
                      f'{done.stderr.strip() or done.stdout.strip()}')
    return done.stdout


def tail(path, lines=30):
    """The last lines of a file, or '' if there is none."""
    try:
        with open(path, 'rb') as f:
            f.seek(0, os.SEEK_END)
            f.seek(max(0, f.tell() - 65536))
            text = f.read().decode(errors='replace')
    except OSError:
        return ''
    return '\n'.join(text.splitlines()[-lines:])


def pids_naming(path):
    """Processes with an argument that names a path of ours, which is unique."""
    found = []
    for entry in os.listdir('/proc'):
        if not entry.isdigit() or int(entry) == os.getpid():
            continue
        try:
            with open(f'/proc/{entry}/cmdline', 'rb') as f:
                arguments = f.read().decode(errors='replace')
        except OSError:
            continue
        if path in arguments:
            found.append(int(entry))
    return found


def scratch_dir(prefix):
    """A new directory on a disk, which workers under another user may pass.

    Stores refuse a tmpfs, so /tmp, which often is one, is not the default.
    """
    base = os.environ.get('REFPOINT_SCRATCH') or os.environ.get('TMPDIR')
    path = tempfile.mkdtemp(prefix=prefix, dir=base or '/var/tmp')
    os.chmod(path, 0o711)
    return path


def remove_dir(path):
    shutil.rmtree(path, ignore_errors=True)
