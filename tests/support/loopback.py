#!/usr/bin/env python3
"""Hosts without namespaces: gateways as process trees on addresses of the loopback device.

For machines where not even a user namespace can be had. There is no cable to cut and no container; what can be shown is
a host that loses every process at once and comes back with a new boot id.
"""
import ctypes
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

PR_SET_CHILD_SUBREAPER = 36


def become_subreaper():
    """Orphans among this program's descendants become its own children, so that end_descendants() finds them."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)


def descendants(pid):
    """Every process below `pid`, zombies included."""
    found = []
    for path in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            children = [int(child) for child in path.read_text().split()]
        except OSError:
            continue
        for child in children:
            found += [child, *descendants(child)]
    return found


def program_of(pid):
    """The program that a process runs; "" for one that has ended."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    name, state = fields[fields.index("(") + 1:fields.rindex(")")], fields[fields.rindex(")") + 2]
    return "" if state == "Z" else name


def reap(*_):
    """Collects every child that has ended; True while others are left."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def end_descendants():
    """Kills everything below this program and waits for it."""
    while reap():
        for pid in descendants(os.getpid()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        time.sleep(0.01)


class Init:
    """A host's first process. What it started and what was orphaned below it ends with it."""

    def __init__(self):
        self.process = subprocess.Popen([sys.executable, __file__], text=True, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, start_new_session=True)
        self.pid = self.process.pid

    def spawn(self, command, log):
        """Starts a program as this host's; its pid."""
        json.dump({"command": [str(word) for word in command], "log": str(log)}, self.process.stdin)
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def end(self):
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


class Spawned:
    """What hosts.py asks of a running gantryd, for one that is not our own child."""

    def __init__(self, pid):
        self.pid = pid
        self.returncode = "a status that only its init knows"

    def poll(self):
        return None if program_of(self.pid) else self.returncode

    def wait(self, seconds):
        deadline = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), seconds)
            time.sleep(0.01)


def init():
    """Starts what standard input tells, one order a line, until it ends, which it also does when the test dies."""
    become_subreaper()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, reap)
    for line in sys.stdin:
        order = json.loads(line)
        with open(order["log"], "ab") as log, open(os.devnull, "rb") as nothing:
            files = [(os.POSIX_SPAWN_DUP2, file.fileno(), number) for number, file in enumerate((nothing, log, log))]
            pid = os.posix_spawn(order["command"][0], order["command"], os.environ, file_actions=files, setsid=True,
                                 setsigdef=[signal.SIGINT, signal.SIGTERM])
        print(pid, flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    end_descendants()


if __name__ == "__main__":
    init()
