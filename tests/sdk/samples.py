#!/usr/bin/env python3
"""The samples, built against the installed SDK alone, do their job in a running cluster.

    samples.py          pack (C++) places, http-probe (C) makes a service ready, child-processes (C++) runs it
    samples.py rust     spread-rust (Rust) places; skipped where there is no rustc
"""
import os
import pathlib
import shutil
import signal
import subprocess
import sys

from desk import Desk, ROOT
from hosts import Cluster, Failure, enter, wait_for

POLICY_LINES_MAX, RUNTIME_LINES_MAX = 40, 200


def lines_of(path):
    return len(path.read_text().splitlines())


def expect(what, wanted, got):
    if wanted != got:
        raise Failure(f"{what}: expected {wanted}, got {got}")


def cluster_of(desk, controller_lines):
    """A controller and two nodes that are like each other, with the samples in their files."""
    cluster = Cluster(build=desk.prefix)
    strangers = {"plugins": desk.site / "lib/gantry/plugins", "trusted_keys": desk.keys}
    cluster.add("controller", controller=True, lines=controller_lines, **strangers)
    for name in ("SNode1", "SNode2"):
        cluster.add(name, lines=["[runtime.child-processes]", "[probe.http-probe]"], **strangers)
    return cluster


def up(cluster, desk):
    for host in cluster.hosts.values():
        host.start()
    wait_for(cluster.controller().ready, 15, "the controller answers")
    cluster.wait_nodes(["SNode1", "SNode2"])
    cluster.controller().cli("image", "import", str(desk.make_image()))


def web(cluster, name, port, policy, path="/"):
    """Deploys a web server that is a program of the node."""
    document = {
        "service": {"name": name, "image": "none:1.0", "runtime": "child-processes"},
        "placement": {"nodes": ["SNode1", "SNode2"], "policy": policy},
        "resources": {"cpu": 0.25, "memory": "16MiB"},
        "container": {"args": ["busybox", "httpd", "-f", "-p", str(port), "-h", str(cluster.dir / "www")]},
        "probe": [{"kind": "http-probe", "port": port, "path": path, "interval": "200ms", "timeout": "500ms"}],
    }
    status, answer = cluster.controller().api("PUT", f"/v1/services/{name}", document)
    expect(f"PUT of {name}: {answer}", 200, status)


def placed_by(cluster, service, policy):
    """Where it is ready; the event that says so names the policy."""
    node = cluster.wait_ready(service)[0]["node"]
    event = cluster.wait_event("placed", 5, instance=f"{service}.0")
    if policy not in event["text"]:
        raise Failure(f"{service} was not placed by {policy}: {event['text']}")
    return node


def build(desk, *names):
    for name in names:
        desk.build(desk.take_sample(name))
    www = pathlib.Path(os.environ["GANTRY_HOSTS_STATE"]) / "www"
    www.mkdir()
    (www / "index.html").write_text("well\n")


def three(desk):
    lines = lines_of(ROOT / "samples/plugins/pack/pack.cpp"), lines_of(ROOT / "samples/plugins/child-processes/child_processes.cpp")
    if lines[0] >= POLICY_LINES_MAX or lines[1] >= RUNTIME_LINES_MAX:
        raise Failure(f"pack has {lines[0]} lines, child-processes {lines[1]}; under {POLICY_LINES_MAX} and "
                      f"{RUNTIME_LINES_MAX} were promised")
    build(desk, "pack", "child-processes", "http-probe")
    with cluster_of(desk, ["[placement.pack]"]) as cluster:
        up(cluster, desk)
        web(cluster, "one", 8001, "pack")
        node = placed_by(cluster, "one", "pack")
        web(cluster, "two", 8002, "pack")
        expect("pack fills the node that was begun", node, placed_by(cluster, "two", "pack"))
        host = cluster.hosts[node]
        before = host.pids("busybox")
        expect("processes of the two services", 2, len(before))

        web(cluster, "bad", 8003, "pack", path="/no-such-file")
        wait_for(lambda: len(host.pids("busybox")) == 3, 10, "the third runs")
        wait_for(lambda: "status 404" in str(cluster.instances("bad")), 10,
                 lambda: f"its probe says why it is not ready: {cluster.instances('bad')}")
        cluster.controller().cli("rm", "bad", "--wait")

        # What runs outlives gantryd and is found again.
        host.kill_daemon(signal.SIGTERM)
        host.start_daemon()
        wait_for(host.ready, 15, f"gantryd of {node} is back")
        cluster.wait_nodes([node])
        cluster.wait_ready("one", node)
        expect("processes after a restart of gantryd", before, host.pids("busybox"))
        host.inside("kill", "-KILL", str(before[0]))
        wait_for(lambda: len(host.pids("busybox")) == 2 and host.pids("busybox") != before, 15, "one is started again")
        for name in ("one", "two"):
            cluster.controller().cli("rm", name, "--wait")
        expect("processes after gantry rm", [], host.pids("busybox"))


def rust(desk):
    if not shutil.which("rustc") or subprocess.run(["rustc", "--version"], capture_output=True).returncode != 0:
        print("skipped: there is no rustc here (apt-get install rustc)")
        return 77
    build(desk, "spread-rust", "child-processes", "http-probe")
    with cluster_of(desk, ["[placement.spread-rust]", "coarse = 1000"]) as cluster:
        up(cluster, desk)
        web(cluster, "one", 8001, "spread-rust")
        node = placed_by(cluster, "one", "spread-rust")
        other = "SNode2" if node == "SNode1" else "SNode1"
        # Who lacks the image goes last, whatever a policy says.
        wait_for(lambda: cluster.node(other)["images"], 15, lambda: f"{other} has the image too: {cluster.node(other)}")
        web(cluster, "two", 8002, "spread-rust")
        expect("spread takes the node with more processors free", other, placed_by(cluster, "two", "spread-rust"))
        explained = cluster.controller().cli("explain", "two").stdout
        if "processors used" not in explained.lower():
            raise Failure(f"explain does not name the policy's keys: {explained}")
    return 0


def main():
    enter()
    desk = Desk(pathlib.Path(os.environ["GANTRY_HOSTS_STATE"]))
    return rust(desk) if sys.argv[1:] == ["rust"] else three(desk) or 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        sys.exit(str(failure))
