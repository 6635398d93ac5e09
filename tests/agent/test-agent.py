#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""refpoint-agent against good, bad and dying agents, without refpointd."""
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))))
from harness.agent import Agent  # noqa: E402
from harness.process import (die_with_parent, pids_naming,  # noqa: E402
                             remove_dir, scratch_dir, wait_until)

REFPOINT_AGENT = os.environ.get('REFPOINT_AGENT')
FROZEN_MAX = 10
UID = 65534


def children(pid):
    try:
        with open(f'/proc/{pid}/task/{pid}/children', encoding='ascii') as f:
            return [int(p) for p in f.read().split()]
    except FileNotFoundError:
        return []


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = scratch_dir('refpoint-agent-')
        self.addCleanup(remove_dir, self.dir)
        self.agent = Agent(f'{self.dir}/ga.sock')
        self.addCleanup(self.agent.close)
        self.helper = self.sock = None

    def start(self, *options, agent=None, **environment):
        self.sock, other = socket.socketpair(socket.AF_UNIX,
                                             socket.SOCK_SEQPACKET)
        self.addCleanup(self.sock.close)
        with open(f'{self.dir}/log', 'ab') as log:
            self.helper = subprocess.Popen(
                [REFPOINT_AGENT, '--fd', str(other.fileno()), '--agent',
                 agent or self.agent.path, '--uid', str(UID), '--gid',
                 str(UID), *options],
                pass_fds=[other.fileno()], stdin=subprocess.DEVNULL,
                stderr=log, preexec_fn=die_with_parent,
                env={**os.environ, **environment})
        other.close()
        self.addCleanup(self.end, self.helper)

    @staticmethod
    def end(helper):
        if helper.poll() is None:
            helper.kill()
        helper.wait()

    def hear(self, timeout=30):
        self.sock.settimeout(timeout)
        return self.sock.recv(512).decode()

    def say(self, text='thaw'):
        self.sock.send(text.encode())

    def frozen(self):
        words = self.hear().split()
        self.assertEqual(words[:2], ['frozen', '2'])
        self.assertLessEqual(int(words[2]), FROZEN_MAX * 1000)
        self.assertTrue(self.agent.frozen)

    def refused(self, name, text, timeout=30):
        message = self.hear(timeout)
        self.assertRegex(message, f'^refused {name} .*{text}')
        self.assertEqual(self.helper.wait(5), 0)
        self.assertFalse(self.agent.frozen)

    def talker(self):
        return children(self.helper.pid)[0]

    def wait_thawed(self, timeout=20):
        wait_until('the guest to be thawed', lambda: not self.agent.frozen,
                   timeout)


class Good(Case):
    def test_a_guest_is_frozen_and_thawed_when_told(self):
        self.start()
        self.frozen()
        with open(f'/proc/{self.talker()}/status', encoding='ascii') as f:
            status = f.read()
        self.assertIn('Seccomp:\t2', status)
        self.assertIn('NoNewPrivs:\t1', status)
        if os.geteuid() == 0:
            self.assertIn(f'Uid:\t{UID}\t{UID}\t{UID}\t{UID}', status)
            self.assertIn('CapEff:\t0000000000000000', status)
        self.assertEqual(len(os.listdir(f'/proc/{self.talker()}/fd')), 5)
        self.say()
        self.assertEqual(self.hear(), 'thawed 2 0')
        self.assertEqual(self.helper.wait(5), 0)
        self.assertEqual(self.agent.asked, ['sync', 'status', 'freeze',
                                            'thaw', 'status'])

    def test_it_is_thawed_at_the_bound_whoever_says_nothing(self):
        self.start()
        self.frozen()
        self.assertEqual(self.hear(), 'thawed 2 1')
        self.assertLess(abs(self.agent.frozen_for - FROZEN_MAX), 1)

    def test_what_came_before_is_dropped(self):
        self.agent.stale = b'{"return": 3}\n\xff{"return": 4}\n\xff{"ret'
        self.start()
        self.frozen()
        self.say()
        self.assertEqual(self.hear(), 'thawed 2 0')

    def test_one_that_thaws_leaves_who_is_thawed_alone(self):
        self.start('--thaw')
        self.assertEqual(self.hear(), 'thawed 0 1')
        self.assertNotIn('thaw', self.agent.asked)
        self.agent.frozen, self.agent.frozen_at = True, time.monotonic()
        self.start('--thaw')
        self.assertEqual(self.hear(), 'thawed 2 1')
        self.assertFalse(self.agent.frozen)

    def test_who_is_frozen_already_stays_so(self):
        self.agent.frozen = True
        self.start()
        self.assertRegex(self.hear(), '^refused InvalidState .*already')
        self.assertEqual(self.helper.wait(5), 0)
        self.assertTrue(self.agent.frozen)


class Bad(Case):
    def test_nobody_listens(self):
        self.start(agent=f'{self.dir}/none')
        self.refused('InvalidState', 'nobody answers on')
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(f'{self.dir}/none')
        self.start(agent=f'{self.dir}/none')
        self.refused('InvalidState', 'nobody answers on')

    def test_an_agent_that_is_not_there_is_waited_for_5_seconds(self):
        self.agent.silent = {'sync'}
        begun = time.monotonic()
        self.start()
        self.refused('InvalidState', 'does not answer')
        self.assertLess(time.monotonic() - begun, 7)

    def test_nonsense_is_no_answer(self):
        nonsense = [('sync', raw) for raw in (
            b'\xff\n', b'\xff[1]\n', b'\xff{"return":1}\n' * 9000,
            b'\xff' + b'[' * 70000, b'x' * 70000, b'\xff{}\n' * 20000,
            b'\xff{"return":{"a":"\\ud800"}}\n')]
        nonsense += [('status', raw) for raw in (
            b'{"return": "maybe"}\n', b'{"return": 7}\n', b'{}\n', b'[]\n',
            b'{"return": "' + b'f' * 60000 + b'"}\n', b'{"error": 1}\n',
            b'{"error": {"desc": 1}}\n', b'{"error": []}\n',
            b'{"return":"thawed","return":"thawed"}\n')]
        running = []
        for i, (command, raw) in enumerate(nonsense):  # all at once
            agent = Agent(f'{self.dir}/{i}.sock')
            self.addCleanup(agent.close)
            agent.raw = {command: raw}
            self.start(agent=agent.path)
            running.append((raw, agent, self.helper, self.sock))
        for raw, agent, self.helper, self.sock in running:
            with self.subTest(raw[:20]):
                self.refused('InvalidState', '')
                self.assertNotIn('freeze', agent.asked)

    def test_answers_without_end_and_slow_ones_are_bounded(self):
        self.agent.endless = {'status'}
        self.start()
        self.refused('InvalidState', '')
        self.agent.endless = set()
        self.agent.hang_up()
        self.agent.trickle = {'sync': 0.3}
        begun = time.monotonic()
        self.start()
        self.refused('InvalidState', 'does not answer')
        self.assertLess(time.monotonic() - begun, 7)

    def test_another_number_is_another_answer(self):
        self.agent.wrong_ids = 1
        self.start()
        self.refused('InvalidState', 'does not answer')

    def test_a_freeze_that_is_refused_tells_why_in_clean_words(self):
        self.agent.errors = {'freeze': 1}
        self.start()
        self.refused('InvalidState', r'cannot be frozen: freeze \?\[31mfails')

    def test_a_freeze_of_nothing_is_none(self):
        self.agent.filesystems = 0
        self.start()
        self.assertRegex(self.hear(), '^refused InvalidState .*no file system')
        self.assertFalse(self.agent.frozen)

    def test_a_freeze_that_takes_too_long_is_undone_as_soon_as_it_is_done(
            self):
        go = self.agent.hang['freeze'] = threading.Event()
        begun = time.monotonic()
        self.start()
        wait_until('the freeze', lambda: self.agent.frozen)
        wait_until('the end of patience', lambda:
                   time.monotonic() - begun > 8)
        self.assertTrue(self.agent.frozen)
        go.set()
        self.refused('Timeout', 'did not freeze in time')
        self.assertIn('thaw', self.agent.asked)

    def test_a_thaw_that_fails_is_repeated(self):
        self.agent.errors = {'thaw': 3}
        self.start()
        self.frozen()
        self.say()
        self.assertEqual(self.hear(), 'thawed 2 0')
        self.assertEqual(self.agent.asked.count('thaw'), 4)

    def test_a_connection_that_breaks_is_made_anew(self):
        for command in 'freeze', 'thaw':
            self.agent.drop_after = {command}
            self.start()
            if command == 'thaw':
                self.frozen()
                self.say()
            self.assertEqual(self.hear(),
                             f'thawed {2 if command == "freeze" else 0} 1')
            self.assertFalse(self.agent.frozen)

    def test_an_agent_that_went_mad_while_frozen_is_thawed_when_it_is_sane(
            self):
        self.start()
        self.frozen()
        self.agent.raw = {'thaw': b'x\n', 'status': b'y\n'}
        self.say()
        wait_until('several talkers', lambda: self.agent.connections > 3)
        self.agent.raw = {}
        self.assertRegex(self.hear(), '^thawed [02] 1$')
        self.assertFalse(self.agent.frozen)

    def test_a_guest_that_ended_is_not_frozen(self):
        self.start()
        self.frozen()
        self.agent.close()
        self.assertEqual(self.hear(40), 'thawed 0 1')


VIRSH = r"""#!/usr/bin/python3
import json, os, sys, time
place = os.environ['FAKE_VIRSH']
def has(name):
    return os.path.exists(f'{place}/{name}')
with open(f'{place}/calls', 'a') as f:
    f.write(json.dumps(sys.argv[1:]) + '\n')
if has('gone') and 'domstate' in sys.argv:
    print('shut off\n')
elif has('unknown'):
    sys.exit("error: failed to get domain 'web 1'")
elif has('gone') or has('down'):
    sys.exit('error: Requested operation is not valid: \x1bdomain is off')
elif has('hangs'):
    time.sleep(100)
elif has('endless'):
    while True:
        print('x' * 4096)
else:
    command = json.loads(sys.argv[-1])['execute'].split('-')[-1]
    if command == 'freeze':
        open(f'{place}/frozen', 'w').close()
    if command == 'thaw':
        os.unlink(f'{place}/frozen')
    print(json.dumps({'return': ('frozen' if has('frozen') else 'thawed')
                      if command == 'status' else 3}))
"""


class Libvirt(Case):
    """Through a virsh of our own; the true one is in tests/server."""

    def setUp(self):
        super().setUp()
        self.place = f'{self.dir}/fake'
        os.mkdir(self.place)
        with open(f'{self.place}/virsh', 'w', encoding='ascii') as f:
            f.write(VIRSH)
        os.chmod(f'{self.place}/virsh', 0o755)

    def has(self, name, what=None):
        path = f'{self.place}/{name}'
        if what:
            with open(path, 'w', encoding='ascii'):
                pass
        elif what is False:
            os.unlink(path)
        return os.path.exists(path)

    def calls(self):
        with open(f'{self.place}/calls', encoding='ascii') as f:
            return [json.loads(line) for line in f]

    def begin(self, *options):
        self.start(*options, agent='libvirt:web 1', FAKE_VIRSH=self.place,
                   REFPOINT_LIBVIRT_URI='test:///',
                   PATH=f'{self.place}:{os.environ["PATH"]}')

    def frozen(self):
        self.assertRegex(self.hear(), '^frozen 3 ')
        self.assertTrue(self.has('frozen'))

    def test_a_guest_is_frozen_and_thawed(self):
        self.begin()
        self.frozen()
        self.say()
        self.assertEqual(self.hear(), 'thawed 3 0')
        self.assertFalse(self.has('frozen'))
        calls = self.calls()
        self.assertEqual(calls[1], [
            '-c', 'test:///', 'qemu-agent-command', '--domain', 'web 1',
            '--timeout', '7', '--cmd', '{"execute":"guest-fsfreeze-freeze"}'])

    def test_what_virsh_says_is_told_in_clean_words(self):
        self.has('down', True)
        self.begin()
        self.assertRegex(self.hear(), r'^refused InvalidState .*cannot freeze: '
                         r'Requested operation is not valid: \?domain is off$')
        self.has('down', False)
        self.has('endless', True)
        self.begin()
        self.assertRegex(self.hear(), '^refused InvalidState ')
        self.assertEqual(self.helper.wait(5), 0)

    def test_a_virsh_that_hangs_is_ended(self):
        self.has('hangs', True)
        self.begin()
        self.assertRegex(self.hear(), '^refused InvalidState .*not answer')
        self.assertEqual(self.helper.wait(5), 0)
        self.assertEqual([p for p in pids_naming('web 1')
                          if b'domain' in self.command_line(p)], [])

    @staticmethod
    def command_line(pid):
        try:
            with open(f'/proc/{pid}/cmdline', 'rb') as f:
                return f.read()
        except (FileNotFoundError, ProcessLookupError):
            return b''

    def test_a_domain_that_nobody_knows_for_long_is_not_frozen(self):
        self.has('unknown', True)
        begun = time.monotonic()
        self.begin('--thaw')
        self.assertEqual(self.hear(), 'thawed 0 1')
        self.assertGreater(time.monotonic() - begun, 10)
        self.assertEqual(self.helper.wait(5), 0)

    def test_a_domain_that_is_unknown_for_a_moment_is_thawed(self):
        self.begin()
        self.frozen()
        self.has('unknown', True)
        self.say()
        wait_until('some tries', lambda: len(self.calls()) > 8)
        self.has('unknown', False)
        self.assertEqual(self.hear(), 'thawed 3 0')
        self.assertFalse(self.has('frozen'))

    def test_a_libvirtd_that_is_down_is_waited_for(self):
        self.begin()
        self.frozen()
        self.has('down', True)
        self.say()
        wait_until('some tries', lambda: len(self.calls()) > 6)
        self.assertTrue(self.has('frozen'))
        self.has('down', False)
        self.assertEqual(self.hear(), 'thawed 3 0')

    def test_a_domain_that_ended_is_not_frozen(self):
        self.begin()
        self.frozen()
        self.has('gone', True)
        self.say()
        self.assertRegex(self.hear(), '^thawed 0 ')

    def test_the_talker_dies_and_the_keeper_dies(self):
        self.begin()
        self.frozen()
        os.kill(self.talker(), signal.SIGKILL)
        self.assertEqual(self.hear(), 'thawed 3 1')
        self.assertFalse(self.has('frozen'))
        self.begin()
        self.frozen()
        self.helper.kill()
        self.helper.wait()
        self.begin('--thaw')
        self.assertEqual(self.hear(), 'thawed 3 1')


class Deaths(Case):
    def test_refpointd_dies(self):
        self.start()
        self.frozen()
        self.sock.close()
        self.wait_thawed(2)
        self.assertEqual(self.helper.wait(5), 0)

    def test_refpointd_dies_before_the_freeze(self):
        go = self.agent.hang['status'] = threading.Event()
        self.start()
        wait_until('the question', lambda: 'status' in self.agent.asked)
        self.sock.close()
        del self.agent.hang['status']
        go.set()
        self.assertEqual(self.helper.wait(10), 0)
        self.assertFalse(self.agent.frozen)

    def test_the_talker_dies(self):
        self.start()
        self.frozen()
        os.kill(self.talker(), signal.SIGKILL)
        self.assertEqual(self.hear(), 'thawed 2 1')
        self.assertFalse(self.agent.frozen)

    def test_the_talker_dies_while_it_freezes(self):
        go = self.agent.hang['freeze'] = threading.Event()
        self.start()
        wait_until('the freeze', lambda: self.agent.frozen)
        os.kill(self.talker(), signal.SIGKILL)
        del self.agent.hang['freeze']
        go.set()
        self.assertEqual(self.hear(), 'thawed 2 1')
        self.assertFalse(self.agent.frozen)

    def test_the_talker_dies_and_refpointd_with_it(self):
        self.start()
        self.frozen()
        os.kill(self.talker(), signal.SIGKILL)
        self.sock.close()
        self.wait_thawed(5)

    def test_the_keeper_dies(self):
        self.start()
        self.frozen()
        self.helper.kill()
        self.wait_thawed(2)

    def test_the_keeper_and_refpointd_die(self):
        self.start()
        self.frozen()
        self.helper.kill()
        self.sock.close()
        self.wait_thawed(2)

    def test_the_keeper_hangs(self):
        self.start()
        self.frozen()
        os.kill(self.helper.pid, signal.SIGSTOP)
        self.wait_thawed(FROZEN_MAX + 2)
        self.assertLess(self.agent.frozen_for, FROZEN_MAX + 1)


if __name__ == '__main__':
    if not REFPOINT_AGENT:
        print('skipped: REFPOINT_AGENT names no refpoint-agent')
        sys.exit(77)
    unittest.main(verbosity=2)
