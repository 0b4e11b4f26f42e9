#!/usr/bin/env python3
"""A cluster that is upgraded from an older Gantry, host by host, and goes back.

    tests/cluster/upgrade.py [OLDER]     OLDER: the folder of a build of the older one

Without OLDER the newest release is built, under build/tools/older; before the first one, what was there before the stored
form last got another version. Exit status 77: skipped, with the reason.
"""
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys

from fleet import *  # noqa: F403
from hosts import ROOT, Failure, ended, enter, run, wait_for

OLDER = ROOT / "build" / "tools" / "older"
STORED = "kernel/core/state.hpp"
LOOKS = "kStoredVersion = "


def git(*words):
    return subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True).stdout.strip()


def older_commit():
    if tag := git("describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD^"):
        return tag
    changed = git("log", "-1", "--format=%H", f"-G{LOOKS}", "--", STORED)
    if not changed or not git("rev-parse", "--verify", "--quiet", f"{changed}^"):
        print("skipped: the history of this clone has no older Gantry")
        sys.exit(77)
    return f"{changed}^"


def build_older():
    commit = git("rev-parse", older_commit() + "^{commit}")
    stamp = OLDER / "commit"
    if not stamp.is_file() or stamp.read_text() != commit:
        print(f"building {commit[:12]}", flush=True)
        shutil.rmtree(OLDER, ignore_errors=True)
        (OLDER / "source").mkdir(parents=True)
        archive = subprocess.Popen(["git", "-C", ROOT, "archive", commit], stdout=subprocess.PIPE)
        subprocess.run(["tar", "-x", "-C", OLDER / "source"], stdin=archive.stdout, check=True)
        ended(archive, 60, "git archive")
        for command in (["cmake", "--preset", "release", "-DGANTRY_TESTS=OFF"],
                        ["cmake", "--build", "--preset", "release", "--target", "gantryd", "gantry", "gantry-guard",
                         "gantry-plugin-host", "gantry_plugins", "--", "--quiet"]):
            subprocess.run(command, cwd=OLDER / "source", check=True, stdout=subprocess.DEVNULL)
        stamp.write_text(commit)
    return OLDER / "source/build/release"


def exchange(host, build):
    """The gantryd of another build takes the host over."""
    if host.daemon:
        host.kill_daemon(signal.SIGTERM)
    host.build = build
    host.write_config()
    host.start_daemon()


def as_it_was(c, before, what):
    def look():
        return {i["instance"]: (i["node"], i["epoch"], i["restarts"]) for i in c.instances() if i["state"] == "ready"}
    wait_for(lambda: look() == before, 30, lambda: f"{what}: expected {before}, got {c.instances()}")
    print(f"{what}: as it was", flush=True)
    return before


def copies_of(c):
    return {i["instance"]: (i["node"], i["epoch"], i["restarts"]) for i in c.instances() if i["state"] == "ready"}


def use(c, name, port):
    """What a cluster is for, with both nodes: a new service runs, its node is drained, cut off, healed."""
    deploy(c, manifest(name, port=port))
    node = c.wait_ready(name)[0]["node"]
    other = {"SNode1": "SNode2", "SNode2": "SNode1"}[node]
    c.controller().cli("drain", node)
    c.wait_ready(name, other, 30)
    c.controller().cli("uncordon", node)
    c.controller().cli("logs", f"{name}.0")
    c.hosts[other].cut()
    c.wait_ready(name, node, 30)
    c.hosts[other].heal()
    c.wait_nodes(["SNode1", "SNode2"])
    status, _ = c.controller().api("DELETE", f"/v1/services/{name}")
    expect("the answer to a removal", True, status in (200, 202))
    wait_for(lambda: not c.instances(name), 30, lambda: f"{name} is removed: {c.instances(name)}")
    print(f"{name}: runs, moves, is cut off, goes", flush=True)


def stored_version(source):
    return int(re.search(LOOKS + r"(\d+)", (source / STORED).read_text()).group(1))


def refuses(host, build):
    """The older gantryd does not touch what the newer one wrote, and says why."""
    host.build = build
    host.write_config()
    before = (host.dir / "state/state.db").read_bytes()
    host.start_daemon()
    status = ended(host.daemon, 30, "the older gantryd on a newer database")
    host.daemon = None
    said = host.log_tail(5)
    if status == 0 or "a newer gantryd wrote it; run that one, or restore a backup" not in said:
        raise Failure(f"expected a refusal in words, got exit status {status}: {said}")
    if (host.dir / "state/state.db").read_bytes() != before:
        raise Failure("the refused database was written to")
    print("downgrade: refused in words, the database is as it was", flush=True)


def play(older):
    with fleet() as c:
        newer = c.build
        controller = c.hosts["controller"]
        for host in c.hosts.values():
            host.build = older
            host.write_config()
        up(c)
        for number in range(3):
            deploy(c, manifest(f"stays{number}", port=4000 + number))
            c.wait_ready(f"stays{number}")
        before = copies_of(c)
        controller.kill_daemon(signal.SIGTERM)
        shutil.copy(controller.dir / "state/state.db", c.dir / "backup.db")

        exchange(controller, newer)
        wait_for(controller.ready, 15, lambda: f"the newer controller answers: {controller.log_tail()}")
        c.wait_nodes(["SNode1", "SNode2"])
        as_it_was(c, before, "a newer controller, older nodes")
        use(c, "axis1", 4101)
        before = copies_of(c)
        exchange(c.hosts["SNode1"], newer)
        wait_for(c.hosts["SNode1"].ready, 15, "the newer node answers")
        c.wait_nodes(["SNode1", "SNode2"])
        as_it_was(c, before, "one newer node, one older")
        use(c, "axis2", 4102)

        before = copies_of(c)
        controller.kill_daemon(signal.SIGTERM)
        if stored_version(newer.parents[1]) != stored_version(older.parents[1]):
            refuses(controller, older)
            shutil.copy(c.dir / "backup.db", controller.dir / "state/state.db")
        exchange(controller, older)
        wait_for(controller.ready, 15, lambda: f"the older controller answers: {controller.log_tail()}")
        c.wait_nodes(["SNode1", "SNode2"])
        wait_for(lambda: len(copies_of(c)) == 3, 30, lambda: f"three instances: {c.instances()}")
        print("back to the older controller: everything runs", flush=True)
        use(c, "axis3", 4103)


def main():
    older = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else OLDER / "source/build/release"
    if not os.environ.get("GANTRY_HOSTS_GROUND") and len(sys.argv) == 1:
        build_older()
    enter()
    play(older)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        sys.exit(str(failure))
