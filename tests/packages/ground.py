"""A gateway on which something is wrong: the package, gantryd and `gantry doctor` say the cause and the cure, and dpkg is never left
in a broken state."""
import contextlib
import json
import sqlite3
import subprocess
import sys

from built import debs
from gateways import Gateway
from hosts import Failure, run

MAY_BE_TRIED_AGAIN, CONFIG_STATUS = 1, 78  # what gantryd ends with: docs/configuration.md
HOLD = """
import socket, sys
held = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("held", flush=True)
sys.stdin.read()
"""


def expect(what, condition, got):
    if not condition:
        raise Failure(f"{what}: got {got}")
    print(f"ok   {what}", flush=True)


def status(gateway):
    return gateway.inside("sh", "-c", "dpkg-query -W -f '${db:Status-Status}' gantry 2>/dev/null || echo not-installed").stdout.strip()


def doctor(gateway, what):
    said = gateway.inside("gantry", "doctor", "--json", check=False).stdout
    return next(item for item in json.loads(said.splitlines()[0])["items"] if item["what"] == what)


def starts_not(gateway, what, cause, status=MAY_BE_TRIED_AGAIN):
    """gantryd ends by itself, and says the cause."""
    done = gateway.inside("timeout", "15", "gantryd", check=False)
    expect(what, done.returncode == status and cause in done.stderr, (done.returncode, done.stderr))


@contextlib.contextmanager
def held(gateway, port):
    """Somebody else has the port."""
    process = subprocess.Popen(["nsenter", f"--net=/run/netns/{gateway.name}", sys.executable, "-c", HOLD, str(port)],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        if process.stdout.readline() != "held\n":
            raise Failure(f"port {port} of {gateway.name} cannot be held")
        yield
    finally:
        process.stdin.close()
        process.wait()


def packages(gateway):
    """What stops dpkg half-way."""
    gateway.inside("mkdir", "-p", "/usr/lib/gantry")
    gateway.inside("mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", "/usr/lib/gantry")
    done = gateway.inside("dpkg", "-i", "/root/gantry.deb", check=False)
    audit = gateway.inside("dpkg", "--audit").stdout
    expect("no space for the package: dpkg says so, and nothing is half installed", done.returncode != 0 and
           "No space left on device" in done.stderr and status(gateway) == "not-installed" and not audit, (done, audit))
    gateway.inside("umount", "/usr/lib/gantry")

    gateway.inside("dpkg", "--unpack", "/root/gantry.deb")
    gateway.inside("dpkg", "--purge", "gantry")
    left = gateway.inside("sh", "-c", "ls -d /etc/gantry /var/lib/gantry/* /run/gantry /usr/lib/gantry /usr/bin/gantry* 2>/dev/null; true")
    expect("a package that was unpacked and never configured is purged whole, but for the disk of its state", not left.stdout,
           left.stdout)

    gateway.inside("touch", "/etc/gantry")
    gateway.inside("dpkg", "--unpack", "/root/gantry.deb")
    done = gateway.inside("dpkg", "--configure", "gantry", check=False)
    expect("a configuration that cannot be written: the package is installed, and says the cause and the cure", done.returncode == 0 and
           status(gateway) == "installed" and "/etc/gantry" in done.stderr and "gantry cluster init --local" in done.stderr, done)
    found = doctor(gateway, "configuration")
    expect("and so does the doctor", found["verdict"] == "bad" and "gantry cluster init" in found["cure"], found)
    run_dir = gateway.inside("stat", "-c", "%U:%G %a", "/run/gantry").stdout.strip()
    expect("the folder of the socket is the group's before gantryd was ever started", run_dir == "root:gantry 750", run_dir)
    gateway.inside("rm", "/etc/gantry")
    gateway.inside("gantry", "cluster", "init", "--local")


def machine(gateway):
    """What keeps gantryd from starting."""
    with held(gateway, 3900):
        starts_not(gateway, "a port in use: gantryd says which", "cannot listen on 127.0.0.1:3900: Address already in use")
        found = doctor(gateway, "controller's port")
        expect("and the doctor how to find who has it", found["verdict"] == "bad" and "sport = :3900" in found["cure"], found)

    gateway.systemctl("start")
    gateway.systemctl("stop")
    state = gateway.dir / "state" / "state.db"
    with contextlib.closing(sqlite3.connect(state)) as database:
        version = database.execute("PRAGMA user_version").fetchone()[0]
        database.execute(f"PRAGMA user_version = {version + 1}")
    before = state.read_bytes()
    starts_not(gateway, "a database of a newer Gantry: gantryd says so", "newer version of Gantry", CONFIG_STATUS)
    expect("and leaves it as it is", state.read_bytes() == before, "another file")
    with contextlib.closing(sqlite3.connect(state)) as database:
        database.execute(f"PRAGMA user_version = {version}")
    gateway.systemctl("start")
    gateway.systemctl("stop")

    gateway.inside("mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", "/var/lib/gantry")
    starts_not(gateway, "no space for the state: gantryd says so", "no room on its disk; free some space")
    found = doctor(gateway, "disk")
    expect("and the doctor what to remove", found["verdict"] == "bad" and found["cure"], found)
    gateway.inside("umount", "/var/lib/gantry")

    gateway.inside("umount", "-R", "/sys/fs/cgroup")
    starts_not(gateway, "no cgroups: gantryd says so", "no cgroup hierarchy is mounted on this node; mount one at /sys/fs/cgroup")
    found = doctor(gateway, "cgroups")
    expect("and the doctor what is missing, and how it is mended", found["verdict"] == "bad" and "memory" in found["found"] and
           "cgroup2" in found["cure"], found)
    gateway.inside("dpkg", "--purge", "gantry")
    expect("such a package can be purged", status(gateway) == "not-installed", status(gateway))


def play(top):
    gateway = Gateway(top, 9, "gw9")
    gateway.put(debs()["gantry"], "/root/gantry.deb")
    packages(gateway)
    machine(gateway)
    gateway.die()
