#!/usr/bin/env python3
"""The story of the seed on three hosts, as a timeline. Exits non-zero if a step is missing.

Every line has the time at which it happened: events and messages bring theirs, and the hosts share one clock.
"""
import datetime
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
from axis import Client  # noqa: E402
from hosts import Cluster, Failure, ended, enter, ground, run, wait_for  # noqa: E402

SERVICE = "axis_server"
AWAY_S, SETTLED_S = 5, 2
ENDINGS = {
    "root": "the story is told",
    "user": "the story is told (without root: processes instead of containers)",
    "loopback": "the story is told (without namespaces: processes on loopback addresses instead of hosts and containers)",
}


class Timeline:
    def __init__(self):
        self.began = time.time()

    def say(self, text, at=None):
        """One line; `at` in seconds since 1970, by default now. Returns that time."""
        at = time.time() if at is None else at
        print(f"{at - self.began:9.3f} s  {text}", flush=True)
        return at

    def say_event(self, text, event):
        return self.say(text, datetime.datetime.fromisoformat(event["time"]).timestamp())


def prepare(cluster, timeline):
    # SNode1 is the larger board, so it is preferred while both run equally many copies.
    cluster.add("controller", controller=True)
    cluster.add("SNode1", memory="16GiB")
    cluster.add("SNode2", memory="12GiB")
    for host in cluster.hosts.values():
        host.start()
    controller = cluster.hosts["controller"]
    wait_for(controller.ready, 15, "the controller answers")
    cluster.wait_nodes(["SNode1", "SNode2"])
    timeline.say(f"three hosts are up: controller, SNode1 {cluster.hosts['SNode1'].address}, "
                 f"SNode2 {cluster.hosts['SNode2'].address}; runtime {cluster.runtime}")
    image = cluster.dir / "image"
    run(str(ROOT / "samples/axis/make-image"), str(cluster.build / "samples/axis/axis_server"), str(image))
    controller.cli("image", "import", f"{image}.tar")
    controller.cli("secret", "set", "axis", input="123456")
    for name in ("SNode1", "SNode2"):
        node = cluster.node(name)
        if node["images"] or node["fetching"]:
            raise Failure(f"expected {name} without images, got {node['images']} {node['fetching']}")
    timeline.say("image axis_server:1.0 imported into the controller's store; the nodes' stores are empty")


def deploy(cluster, timeline):
    """`gantry deploy` runs beside us, as on another terminal; events tell what it brings about."""
    controller = cluster.hosts["controller"]
    command = ["setpriv", "--pdeathsig", "KILL", f"{cluster.build}/bin/gantry", "--socket", str(controller.socket),
               "deploy", str(ROOT / "samples/axis/axis.toml")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as deploying:
        try:
            deployed = cluster.wait_event("service-deployed", 10, service=SERVICE)
            timeline.say_event(f"deployed: {deployed['text']}", deployed)
            placed = cluster.wait_event("placed", 10, service=SERVICE, epoch=1)
            timeline.say_event(f"placed: {placed['text']}", placed)
            ready = cluster.wait_event("ready", 20, service=SERVICE, node="SNode1")
            timeline.say_event("ready on SNode1", ready)
            if ended(deploying, 10, "gantry deploy of a service that is ready") != 0:
                raise Failure(f"gantry deploy: expected exit 0, got {deploying.returncode}: {deploying.stdout.read()}")
        finally:
            deploying.kill()


def tell(cluster, timeline):
    prepare(cluster, timeline)
    deploy(cluster, timeline)
    client = Client(cluster.build, f"{cluster.controller_address}:{cluster.position_port}")
    try:
        client.wait("connected", 10)
        when, line = client.wait("/axis", 10)
        timeline.say(f"client's first data: {line}", when)
        reboot_and_follow(cluster, timeline, client)
    finally:
        client.end()


def reboot_and_follow(cluster, timeline, client):
    snode1, boot_id = cluster.hosts["SNode1"], cluster.node("SNode1")["boot_id"]
    before = cluster.events()[-1]["number"]
    cut = "link cut, " if ground() != "loopback" else ""
    rebooted = timeline.say(f"SNode1 is rebooted: {cut}every process killed, back in {AWAY_S} s")
    back = snode1.reboot(AWAY_S)
    lost = cluster.wait_event("lost", 20, before, service=SERVICE)
    timeline.say_event(f"lost: {lost['text']}", lost)
    placed = cluster.wait_event("placed", 20, before, service=SERVICE, epoch=2)
    timeline.say_event(f"placed: {placed['text']}", placed)
    ready = timeline.say_event("ready on SNode2",
                               cluster.wait_event("ready", 20, before, service=SERVICE, node="SNode2"))
    data, line = client.wait('"roll": 1,', 20)
    back.join()
    returned = cluster.wait_event("node-returned", 20, before, node="SNode1")
    told = [(data, f"client's first data from SNode2, its counters begin at 1 again: {line}"),
            (datetime.datetime.fromisoformat(returned["time"]).timestamp(), "SNode1 is back with a new boot id")]
    for when, text in sorted(told):
        timeline.say(text, when)
    if cluster.node("SNode1")["boot_id"] in ("", boot_id):
        raise Failure(f"expected another boot id of SNode1 than {boot_id}, got {cluster.node('SNode1')['boot_id']}")
    settled = time.monotonic() + SETTLED_S
    while time.monotonic() < settled:
        only_on_snode2(cluster)
        time.sleep(0.05)
    timeline.say("still exactly one instance, on SNode2")
    timeline.say(f"from the cut: {(ready - rebooted) * 1000:.0f} ms to ready, "
                 f"{(data - rebooted) * 1000:.0f} ms to the client's data")


def only_on_snode2(cluster):
    copies, instances = copies_by_host(cluster), cluster.instances(SERVICE)
    if copies != {"SNode1": 0, "SNode2": 1} or [i["node"] for i in instances] != ["SNode2"]:
        raise Failure(f"expected exactly one instance, on SNode2; processes: {copies}, {instances}")


def copies_by_host(cluster):
    """How many processes run axis_server, by the node they run on."""
    return {host.name: len(host.pids(SERVICE)) for host in cluster.hosts.values() if host.node}


def main():
    enter(loopback_will_do=True)
    timeline = Timeline()
    with Cluster() as cluster:
        tell(cluster, timeline)
    print(ENDINGS[ground()])


if __name__ == "__main__":
    try:
        main()
    except Failure as failure:
        sys.exit(f"a step is missing: {failure}")
