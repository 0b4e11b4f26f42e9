#!/usr/bin/env python3
"""guard_test.py GANTRY-GUARD: the guard alone, with real processes in real cgroups (cgroup2, also a hybrid's, and v1).

Skips where no cgroup may be made. Every cgroup and process made here is removed at the end.
"""
import contextlib
import errno
import os
import pathlib
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest

GUARD = sys.argv[1]
VERSION, HELLO, ARM, DISARM, LIST, ENTRY, KILLED = 1, 1, 2, 3, 4, 5, 6
LOCKED, LAST_KILLED, EXPIRED = 1, 2, 4
LAYOUT = struct.Struct("=IIQqqiI72s256s")
KILL_BOUND_S = 0.5
LIMIT_S = 10
# Starts another of its kind as fast as it can and counts in a file.
FORKER = "while :; do (sleep 0.01; echo x) & sleep 0.002; done"


def sanitized(program):
    code = pathlib.Path(program).read_bytes()
    return b"__asan_init" in code or b"__tsan_init" in code


def hierarchies():
    """Folders below which a cgroup can be frozen and killed: {"cgroup2": ..., "v1": ...}."""
    found = {}
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ")[:3]
        mount = before.split(" ")[4]
        if kind == "cgroup2":
            found.setdefault("cgroup2", mount)
        if kind == "cgroup" and "freezer" in options.split(","):
            found.setdefault("v1", mount)
    out = {}
    for name, mount in found.items():
        folder = pathlib.Path(mount) / f"gantry-guard-test-{os.getpid()}"
        try:
            folder.mkdir()
        except OSError:
            continue
        if (folder / ("cgroup.kill" if name == "cgroup2" else "freezer.state")).exists():
            out[name] = folder
        folder.rmdir()
    return out


def boottime():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def until(condition, what, limit=LIMIT_S):
    end = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {limit} s: {what}")
        time.sleep(0.001)


def alive(pid):
    """Neither gone nor a zombie."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


class Message:
    def __init__(self, raw):
        (self.version, self.kind, self.id, self.deadline, self.killed, self.status, self.flags, name,
         folder) = LAYOUT.unpack(raw)
        self.name, self.folder = name.split(b"\0")[0].decode(), folder.split(b"\0")[0].decode()


class Client:
    def __init__(self, folder):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(LIMIT_S)
        self.socket.connect(str(folder / "guard.sock"))
        self.pid = struct.unpack("iII", self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0]
        self.last, self.told = 0, []

    def close(self):
        self.socket.close()

    def receive(self):
        raw = self.socket.recv(LAYOUT.size + 1)
        return Message(raw) if raw else None

    def send(self, kind, name=b"", folder=b"", deadline=0.0, version=VERSION):
        self.last += 1
        self.socket.send(LAYOUT.pack(version, kind, self.last, int(deadline * 1e9), 0, 0, 0, name, folder))
        return self.last

    def ask(self, kind, name="", folder="", deadline=0.0, **more):
        """Answers the answer's message; what comes unasked is kept in `told`, entries in `entries`."""
        number, self.entries = self.send(kind, str(name).encode(), str(folder).encode(), deadline, **more), []
        while True:
            message = self.receive()
            if message is None:
                raise AssertionError("the guard hung up")
            if message.kind == KILLED:
                self.told.append(message)
            elif message.kind == ENTRY:
                self.entries.append(message)
            elif message.id == number:
                return message

    def arm(self, name, folder, deadline):
        return self.ask(ARM, name, folder, deadline).status

    def killed(self, name):
        def look():
            found = [m for m in self.told if m.name == name]
            if not found:
                self.told += [m for m in [self.receive()] if m.kind == KILLED]
            return found
        return until(look, f"{name} is told as killed")[0]


class GuardTest(unittest.TestCase):
    def setUp(self):
        self.stack = contextlib.ExitStack()
        self.addCleanup(self.stack.close)
        self.state = pathlib.Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.groups, self.processes = [], []
        self.stack.callback(self.remove)
        subprocess.run([GUARD, str(self.state)], check=True, timeout=LIMIT_S)
        self.client = Client(self.state)
        self.guard = self.client.pid
        self.stack.callback(self.client.close)
        self.stack.callback(lambda: alive(self.guard) and os.kill(self.guard, signal.SIGKILL))

    def remove(self):
        for group in self.groups:
            self.empty(group)
        for process in self.processes:
            process.kill()
            process.wait()
        for group in reversed(self.groups):
            until(lambda: not group.exists() or self.gone(group), f"{group} can be removed")

    @staticmethod
    def gone(group):
        with contextlib.suppress(OSError):
            group.rmdir()
            return True
        return False

    @staticmethod
    def empty(group):
        with contextlib.suppress(OSError):
            for file, text in (("cgroup.freeze", "0"), ("freezer.state", "THAWED"), ("cgroup.kill", "1")):
                if (group / file).exists():
                    (group / file).write_text(text)
            for pid in (group / "cgroup.procs").read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)

    def group(self, parent, name="c"):
        """A cgroup of a container: parent is that of a hierarchy, or of another group."""
        if not parent.exists():
            parent.mkdir()
            self.groups.append(parent)
        folder = parent / name
        folder.mkdir()
        self.groups.append(folder)
        return folder

    def process(self, group, script="while :; do sleep 0.05; done"):
        """A process that begins its life in the group."""
        process = subprocess.Popen(["sh", "-c", f"echo $$ > {group}/cgroup.procs; {script}"], stdout=subprocess.DEVNULL)
        self.processes.append(process)
        until(lambda: str(process.pid) in (group / "cgroup.procs").read_text().split(), "it is in the group")
        return process.pid

    def pids(self, group):
        return (group / "cgroup.procs").read_text().split()

    def frozen(self, group):
        if (group / "cgroup.freeze").exists():
            return (group / "cgroup.freeze").read_text().strip() == "1"
        return (group / "freezer.state").read_text().strip() == "FROZEN"

    def test_what_is_armed_lives_until_its_deadline_and_is_dead_within_the_bound(self):
        for kind, parent in HIERARCHIES.items():
            with self.subTest(kind):
                group = self.group(parent)
                pid = self.process(group, FORKER)
                deadline = boottime() + 0.3
                self.assertEqual(0, self.client.arm(f"box-{kind}", group, deadline))
                while boottime() < deadline - 0.02:
                    self.assertTrue(alive(pid))
                    time.sleep(0.005)
                message = self.client.killed(f"box-{kind}")
                self.assertEqual([], self.pids(group))
                self.assertFalse(alive(pid))
                took = (message.killed - message.deadline) / 1e9
                print(f"{kind}: dead {took * 1000:.1f} ms after its deadline")
                self.assertGreaterEqual(took, 0)
                self.assertLess(took, KILL_BOUND_S)
                self.assertTrue(self.frozen(group))

    def test_groups_below_are_killed_as_well(self):
        for kind, parent in HIERARCHIES.items():
            with self.subTest(kind):
                outer = self.group(parent, "outer")
                inner = self.group(outer, "inner")
                pid = self.process(inner, FORKER)
                self.assertEqual(0, self.client.arm(f"deep-{kind}", outer, boottime() + 0.1))
                self.client.killed(f"deep-{kind}")
                self.assertFalse(alive(pid))
                self.assertEqual([], self.pids(inner))

    def test_what_starts_late_in_an_expired_group_does_not_run(self):
        for kind, parent in HIERARCHIES.items():
            with self.subTest(kind):
                group = self.group(parent)
                self.process(group)
                self.client.arm(f"late-{kind}", group, boottime() + 0.1)
                self.client.killed(f"late-{kind}")
                marker = self.state / f"ran-{kind}"
                late = subprocess.Popen(["sh", "-c", f"echo $$ > {group}/cgroup.procs; sleep 0.02; touch {marker}"])
                self.processes.append(late)
                until(lambda: not alive(late.pid), "it is killed")
                self.assertFalse(marker.exists())
                # Disarmed the group is like any other.
                self.assertEqual(0, self.client.ask(DISARM, f"late-{kind}").status)
                self.assertFalse(self.frozen(group))
                self.process(group, f"touch {marker}; sleep 5")
                until(marker.exists, "it runs")

    def test_a_later_deadline_takes_the_place_of_an_earlier_one_and_not_the_reverse(self):
        group = self.group(ANY)
        pid = self.process(group)
        first = boottime() + 0.3
        self.assertEqual(0, self.client.arm("box", group, first))
        self.assertEqual(0, self.client.arm("box", group, first + 0.4))
        self.assertEqual(0, self.client.arm("box", group, first + 0.1))
        while boottime() < first + 0.35:
            self.assertTrue(alive(pid))
            time.sleep(0.01)
        self.assertGreaterEqual(self.client.killed("box").deadline / 1e9, first + 0.39)
        self.assertEqual(errno.ESTALE, self.client.arm("box", group, boottime() + 10))

    def test_what_cannot_be_held_is_refused(self):
        group = self.group(ANY)
        self.process(group)
        soon = boottime() + 5
        self.assertEqual(errno.ETIME, self.client.arm("box", group, boottime() - 0.001))
        self.assertEqual(errno.ENOENT, self.client.arm("box", group / "none", soon))
        self.assertEqual(errno.ENOTSUP, self.client.arm("box", self.state, soon))
        self.assertEqual(errno.EINVAL, self.client.arm("box", "relative", soon))
        self.assertEqual(errno.EINVAL, self.client.arm("", group, soon))
        self.assertEqual(errno.EINVAL, self.client.arm("n" * 72, group, soon))
        self.assertEqual(errno.EPROTO, self.client.ask(HELLO, version=2).status)
        self.assertEqual(errno.EPROTO, self.client.ask(77).status)
        self.assertEqual(0, self.client.ask(DISARM, "nobody").status)
        self.assertEqual(0, self.client.ask(LIST).status)
        self.assertEqual([], self.client.entries)

    def test_a_group_with_the_guard_or_its_client_in_it_is_refused(self):
        for pid in (self.guard, os.getpid()):
            group = self.group(ANY, f"own-{pid}")
            home = next(line.split(":", 2)[2] for line in pathlib.Path(f"/proc/{pid}/cgroup").read_text().splitlines()
                        if line.split(":")[1] == ("" if "cgroup2" in HIERARCHIES else "freezer"))
            (group / "cgroup.procs").write_text(str(pid))
            try:
                self.assertEqual(errno.EPERM, self.client.arm("box", group, boottime() + 5))
            finally:
                (pathlib.Path(str(ANY.parent) + home) / "cgroup.procs").write_text(str(pid))

    def test_it_kills_though_nobody_is_connected_and_tells_the_next_one(self):
        group = self.group(ANY)
        pid = self.process(group)
        deadline = boottime() + 0.3
        self.client.arm("box", group, deadline)
        self.client.close()
        until(lambda: not alive(pid), "it is dead")
        self.assertLess(boottime() - deadline, KILL_BOUND_S)
        self.assertGreaterEqual(boottime(), deadline)
        client = Client(self.state)
        self.assertEqual(self.guard, client.pid)

        def look():
            self.assertEqual(0, client.ask(LIST).status)
            return client.entries[0].killed and client.entries
        (entry,) = until(look, "it knows that all are dead")
        self.assertEqual(("box", str(group)), (entry.name, entry.folder))
        self.assertEqual(EXPIRED, entry.flags)
        self.assertGreaterEqual(entry.killed, entry.deadline)
        client.close()

    def test_signals_do_not_end_it_and_a_second_guard_leaves_it_alone(self):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(self.guard, number)
        subprocess.run([GUARD, str(self.state)], check=True, timeout=LIMIT_S)
        self.assertEqual(0, self.client.ask(HELLO).status)
        self.assertTrue(alive(self.guard))

    def test_it_ends_when_nothing_is_held_and_nobody_is_connected(self):
        group = self.group(ANY)
        self.process(group)
        self.client.arm("box", group, boottime() + 60)
        self.client.close()
        client = Client(self.state)
        self.assertEqual(0, client.ask(LIST).status)
        self.assertEqual(1, len(client.entries))
        client.ask(DISARM, "box")
        self.assertTrue(alive(self.guard))
        client.close()
        until(lambda: not alive(self.guard), "it has ended")
        self.assertFalse((self.state / "guard.sock").exists())

    def test_the_newest_client_is_the_one(self):
        newer = Client(self.state)
        self.assertEqual(0, newer.ask(HELLO).status)
        self.assertIsNone(self.client.receive())
        newer.close()

    def test_it_says_truly_whether_it_is_locked_in_memory_and_killed_last(self):
        flags = self.client.ask(HELLO).flags
        status = pathlib.Path(f"/proc/{self.guard}/status").read_text()
        locked = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmLck")))
        score = int(pathlib.Path(f"/proc/{self.guard}/oom_score_adj").read_text())
        # The sanitizers' mlockall locks nothing and says that it did.
        self.assertEqual(bool(flags & LOCKED), locked > 0 or sanitized(GUARD))
        self.assertEqual(bool(flags & LAST_KILLED), score == -1000)
        rss = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))
        print(f"flags {flags}, locked {locked} KiB, resident {rss} KiB, oom_score_adj {score}")

    def test_what_is_no_message_costs_the_connection_and_nothing_else(self):
        group = self.group(ANY)
        pid = self.process(group)
        self.client.arm("box", group, boottime() + 0.5)
        for junk in (b"x", b"\xff" * (LAYOUT.size - 1), b"\xff" * (LAYOUT.size + 1), b"\0" * 60_000):
            client = Client(self.state)
            client.socket.send(junk)
            self.assertIsNone(client.receive())
            client.close()
        until(lambda: not alive(pid), "it is dead all the same")

    def test_a_long_list_arrives_whole_however_slowly_it_is_read_and_delays_no_kill(self):
        group = self.group(ANY)
        pid = self.process(group)
        for i in range(900):
            self.assertEqual(0, self.client.arm(f"box-{i}", group, boottime() + 60))
        self.client.arm("first", group, boottime() + 0.2)
        number = self.client.send(LIST)
        until(lambda: not alive(pid), "it is dead before the list is read")
        names = set()
        while (message := self.client.receive()).kind != LIST:
            if message.kind == ENTRY:
                self.assertEqual(number, message.id)
                names.add(message.name)
        self.assertEqual(901, len(names))

    def test_a_thousand_deadlines_are_the_most(self):
        group = self.group(ANY)
        self.process(group)
        statuses = [self.client.arm(f"box-{i}", group, boottime() + 60) for i in range(1001)]
        self.assertEqual([0] * 1000 + [errno.ENOSPC], statuses)

    def test_another_user_is_turned_away(self):
        if os.geteuid() != 0:
            self.skipTest("needs root to be somebody else")
        os.chmod(self.state, 0o755)
        os.chmod(self.state / "guard.sock", 0o777)
        child = os.fork()
        if child == 0:
            code = 1
            with contextlib.suppress(Exception):
                os.setuid(65534)
                client = Client(self.state)
                try:
                    client.send(LIST)
                    code = 2 if client.receive() else 0
                except ConnectionError:
                    code = 0
            os._exit(code)
        self.assertEqual(0, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        self.assertEqual(0, self.client.ask(HELLO).status)


if __name__ == "__main__":
    HIERARCHIES = hierarchies()
    if not HIERARCHIES:
        print("skipped: no cgroup can be made here, or none that can be killed")
        sys.exit(77)
    ANY = HIERARCHIES.get("cgroup2") or HIERARCHIES["v1"]
    unittest.main(argv=[sys.argv[0], *sys.argv[2:]])
