#!/usr/bin/env python3
"""The story is interrupted by each signal at several moments: no process, mount, cgroup or folder stays behind.

SIGKILL alone leaves folders and cgroups, which the next run removes; its processes end at once all the same.
"""
import os
import pathlib
import signal
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
from hosts import PREFIX, Failure, wait_for  # noqa: E402

MOMENTS = ["three hosts are up", "deployed:", "SNode1 is rebooted", "placed: axis_server.0 on SNode2"]


def processes(folder):
    """Those that belong to hosts whose state is below `folder`."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"GANTRY_HOSTS_STATE={folder}".encode() in path.read_bytes():
                found.append((int(path.parent.name), (path.parent / "comm").read_text().strip()))
        except OSError:
            continue
    return found


def cgroups(names):
    top = pathlib.Path("/sys/fs/cgroup")
    return [path / name for path in (top, *top.glob("*/")) for name in names if (path / name).exists()]


def mounts(folder):
    return [line for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines() if str(folder) in line]


def interrupt(number, moment, environment):
    """Ends the story with a signal once it has said `moment`; the name of its state folder."""
    story = subprocess.Popen([sys.executable, "-u", str(ROOT / "samples/axis/story.py")], env=environment, text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said = ""
    try:
        for line in story.stdout:
            said += line
            if moment in line:
                break
        else:
            raise Failure(f"the story ended before \"{moment}\":\n{said}")
        names = {path.name for path in pathlib.Path(environment["TMPDIR"]).glob(f"{PREFIX}*")}
        story.send_signal(number)
        said += story.communicate(timeout=30)[0]
        status = story.returncode
    finally:
        story.kill()
        story.communicate()
    expected = -number if number == signal.SIGKILL else 128 + number
    if status != expected:
        raise Failure(f"{number.name} at \"{moment}\": expected exit {expected}, got {status}:\n{said}")
    return names


def main():
    with tempfile.TemporaryDirectory() as folder:
        environment = dict(os.environ, TMPDIR=folder)
        for ground in ("", "loopback"):
            environment["GANTRY_HOSTS"] = ground
            for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
                moment = MOMENTS[number % len(MOMENTS)]
                names = interrupt(number, moment, environment)
                if not names:
                    raise Failure("no state folder was seen: this test looks in the wrong place")
                wait_for(lambda: not processes(folder), 5, lambda: f"{number.name}: left: {processes(folder)}")
                if number == signal.SIGKILL:
                    continue
                left = [*pathlib.Path(folder).iterdir(), *cgroups(names), *mounts(folder)]
                if left:
                    raise Failure(f"{number.name} at \"{moment}\": left behind: {left}")
                print(f"{ground or 'best ground'}: {number.name} at \"{moment}\": nothing is left")


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(str(failure))
