#!/usr/bin/env python3
"""The minimal profile, installed apart: its size, and a controller and a node of it on read-only roots.

Only the state folder and /run of each host can be written, both memory. What gantryd does not keep there fails.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
from hosts import Cluster, Failure, enter, ended, is_root, run, wait_for  # noqa: E402

SIZE_MAX = 6_000_000  # bytes
PLUGINS = ["directory/vsoa", "discovery/static", "frontend/http", "placement/least-loaded", "runtime/oci", "store/sqlite",
           "transport/vsoa"]
CONFIG = """state_dir = "{state}"
[node]
name = "{name}"
boot_id_file = "{dir}/boot_id"
[discovery.static]
controllers = ["{controller}:3900"]
[runtime.oci]
cgroup_parent = "{group}/{name}"
[transport.vsoa]
secret_file = "{secret}"
[directory.vsoa]
[frontend.http]
"""
CONTROLLER = """[controller]
[placement.least-loaded]
[store.sqlite]
path = "{state}/state.db"
"""
MANIFEST = """[service]
name = "axis_server"
image = "axis_server:1.0"
instances = 2
[placement]
nodes = ["gw1", "gw2"]
anti_affinity = "hard"
"""
API = ["--socket", "/run/gantry/api.sock"]


def install(build, prefix):
    shutil.rmtree(prefix, ignore_errors=True)
    run("cmake", "--install", build, "--component", "minimal", "--strip", "--prefix", prefix)
    files = {str(path.relative_to(prefix)): path.stat().st_size for path in prefix.rglob("*") if path.is_file()}
    plugins = sorted(name.removeprefix("lib/gantry/plugins/").removesuffix(".so") for name in files if name.endswith(".so"))
    if plugins != PLUGINS:
        raise Failure(f"expected the plugins {PLUGINS}, got {plugins}")
    listed = (prefix / "lib/gantry/plugins/gantry-plugins.sha256").read_text().split()[1::2]
    if listed != [f"{name}.so" for name in PLUGINS]:
        raise Failure(f"expected the list to vouch for {PLUGINS}, got {listed}")
    size = sum(files.values())
    print(f"the minimal profile has {size} bytes in {len(files)} files, limit {SIZE_MAX}", flush=True)
    if size > SIZE_MAX:
        raise Failure(f"at most {SIZE_MAX} bytes are allowed, got {size}: {files}")


class ReadOnly:
    """A host whose root cannot be written."""

    def __init__(self, cluster, prefix, name, controller=False):
        self.prefix, self.host = prefix, cluster.add(name, controller=controller, node=True)
        state = self.host.dir / "state"
        state.mkdir()
        text = CONFIG + CONTROLLER * controller
        (self.host.dir / "gantry.toml").write_text(text.format(
            state=state, name=name, dir=self.host.dir, controller=cluster.controller_address, group=cluster.id, secret=cluster.secret))
        self.host.start(daemon=False)
        self.host.inside("mount", "-t", "tmpfs", "tmpfs", str(state))
        self.host.inside("mount", "-t", "tmpfs", "tmpfs", "/run")
        for target in run("findmnt", "-rno", "TARGET", "-t", "ext4,xfs,btrfs,overlay,tmpfs").stdout.split():
            if target not in ("/run", str(state)):
                self.host.inside("mount", "-o", "remount,bind,ro", target, check=False)
        for place in ("/", "/tmp", "/var/lib", str(self.host.dir), str(prefix)):
            if self.host.inside("touch", f"{place}/written", check=False).returncode == 0:
                raise Failure(f"{place} of {name} can be written")
        self.start()

    def start(self):
        command = [*self.host.enter_command(), self.prefix / "bin/gantryd", "--config", self.host.dir / "gantry.toml"]
        with open(self.host.log, "ab") as log:
            self.daemon = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.host.daemon = self.daemon
        wait_for(self.answers, 15, lambda: f"gantryd of {self.host.name} does not answer: {self.host.log_tail()}", pause=0.05)

    def answers(self):
        if self.daemon.poll() is not None:
            raise Failure(f"gantryd of {self.host.name} ended: {self.host.log_tail()}")
        return self.gantry("status", check=False).returncode == 0

    def gantry(self, *words, check=True):
        return self.host.inside("env", "TMPDIR=/run", str(self.prefix / "bin/gantry"), *API, "--json", *map(str, words), check=check)

    def items(self, what):
        return json.loads(self.gantry(what).stdout.splitlines()[0])["items"]

    def restart(self):
        for pid in self.host.pids("gantryd"):
            self.host.inside("kill", "-TERM", str(pid))
        ended(self.daemon, 15, f"gantryd of {self.host.name}")
        self.start()


def ready(controller):
    found = sorted((item["instance"], item["node"], item["epoch"], item["restarts"]) for item in controller.items("ps")
                   if item["state"] == "ready")
    return found if len(found) == 2 else None


def play(build, prefix):
    cluster = Cluster(build)
    image = cluster.dir / "axis"
    run(ROOT / "samples/axis/make-image", build / "samples/axis/axis_server", image)
    (cluster.dir / "axis.toml").write_text(MANIFEST)
    with cluster:
        first = ReadOnly(cluster, prefix, "gw1", controller=True)
        second = ReadOnly(cluster, prefix, "gw2")
        wait_for(lambda: [n["liveness"] for n in first.items("nodes")] == ["ready"] * 2, 20,
                 lambda: f"two nodes: {first.items('nodes')} {second.host.log_tail()}", pause=0.1)
        first.gantry("image", "import", f"{image}.tar", "--name", "axis_server:1.0")
        first.gantry("deploy", cluster.dir / "axis.toml")
        before = wait_for(lambda: ready(first), 20, lambda: f"two instances: {first.items('ps')}", pause=0.1)
        print(f"on read-only roots: {before}", flush=True)
        for gateway in (second, first):
            gateway.restart()
        wait_for(lambda: ready(first) == before, 20, lambda: f"expected {before} adopted, got {first.items('ps')}", pause=0.1)
        print("and restarted: the same", flush=True)
        said = first.host.log_tail(1000) + second.host.log_tail(1000)
        if "ead-only file system" in said:
            raise Failure(f"something was to be written elsewhere: {said}")


def main():
    build = pathlib.Path(os.environ.get("GANTRY_BUILD") or ROOT / "build/release").resolve()
    prefix = build / "minimal"
    try:
        if not os.environ.get("GANTRY_HOSTS_GROUND"):
            install(build, prefix)
        enter()
        if not is_root():
            print("skipped: hosts with read-only roots are made by root")
            return 77
        play(build, prefix)
    finally:
        if not os.environ.get("GANTRY_HOSTS_GROUND"):
            shutil.rmtree(prefix, ignore_errors=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        sys.exit(str(failure))
