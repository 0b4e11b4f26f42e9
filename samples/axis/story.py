#!/usr/bin/env python3
"""The story of the seed on three hosts, as a timeline. Exits non-zero if a step is missing."""
import os
import pathlib
import queue
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
from hosts import Cluster, Failure, enter, ground, run, wait_for  # noqa: E402

SERVICE = "axis_server"
ENDINGS = {
    "root": "the story is told",
    "user": "the story is told (without root: processes instead of containers)",
    "loopback": "the story is told (without namespaces: processes on loopback addresses instead of hosts and containers)",
}


class Timeline:
    def __init__(self):
        self.began = time.monotonic()
        self.marks = {}

    def say(self, text, mark=None):
        now = time.monotonic() - self.began
        if mark:
            self.marks[mark] = now
        print(f"{now:9.3f} s  {text}", flush=True)

    def between(self, first, second):
        return self.marks[second] - self.marks[first]


class Client:
    """axis_client on a host that is no part of the cluster; its lines as they come."""

    def __init__(self, cluster):
        environment = dict(os.environ, VSOA_POS_SERVER=f"{cluster.controller_address}:{cluster.position_port}")
        command = ["setpriv", "--pdeathsig", "KILL", str(cluster.build / "samples/axis/axis_client")]
        self.process = subprocess.Popen(command, env=environment, text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.lines = queue.Queue()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line.strip())

    def wait(self, what, seconds):
        """The next line that holds `what`; lines before it are dropped."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                line = self.lines.get(timeout=max(0, deadline - time.monotonic()))
            except queue.Empty:
                raise Failure(f"the client did not print \"{what}\" within {seconds} s") from None
            if what in line:
                return line

    def end(self):
        self.process.kill()
        self.process.wait()


def only_instance(cluster):
    return cluster.instances(SERVICE)[0]


def wait_placed(cluster, epoch):
    return cluster.wait_event("placed", 30, service=SERVICE, epoch=epoch)


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
    tar = image.with_suffix(".tar") if image.with_suffix(".tar").exists() else image
    controller.cli("image", "import", str(tar))
    controller.cli("secret", "set", "axis", input="123456")
    timeline.say("image axis_server:1.0 imported into the controller's store; the nodes' stores are empty")


def tell(cluster, timeline):
    prepare(cluster, timeline)
    controller, snode1 = cluster.hosts["controller"], cluster.hosts["SNode1"]

    controller.cli("deploy", str(ROOT / "samples/axis/axis.toml"))
    deployed = cluster.wait_event("service-deployed", 5, service=SERVICE)
    timeline.say(f"deployed: {deployed['text']}")
    placed = wait_placed(cluster, 1)
    timeline.say(f"placed: {placed['text']}")
    cluster.wait_ready(SERVICE, "SNode1")
    timeline.say("ready on SNode1")

    client = Client(cluster)
    try:
        client.wait("connected", 10)
        line = client.wait("/axis", 10)
        timeline.say(f"client's first data: {line}", "first data")

        reboot_and_follow(cluster, timeline, client, snode1)
    finally:
        client.end()


def reboot_and_follow(cluster, timeline, client, snode1):
    cut = "link cut, " if ground() != "loopback" else ""
    timeline.say(f"SNode1 is rebooted: {cut}every process killed, back in 5 s", "reboot")
    back = snode1.reboot(5)
    lost = cluster.wait_event("lost", 20, service=SERVICE)
    timeline.say(f"lost: {lost['text']}", "lost")
    placed = wait_placed(cluster, 2)
    timeline.say(f"placed: {placed['text']}", "placed")
    cluster.wait_ready(SERVICE, "SNode2")
    timeline.say("ready on SNode2", "ready")
    line = client.wait('"roll": 1,', 20)
    timeline.say(f"client's first data from SNode2, its counters begin at 1 again: {line}", "data")

    back.join()
    cluster.wait_nodes(["SNode1"])
    timeline.say("SNode1 is back with a new boot id")
    copies = copies_by_host(cluster)
    if copies != {"SNode1": 0, "SNode2": 1} or only_instance(cluster)["node"] != "SNode2":
        raise Failure(f"expected exactly one instance, on SNode2; processes: {copies}, {cluster.instances(SERVICE)}")
    timeline.say("still exactly one instance, on SNode2")
    timeline.say(f"from the cut: {timeline.between('reboot', 'ready') * 1000:.0f} ms to ready, "
                 f"{timeline.between('reboot', 'data') * 1000:.0f} ms to the client's data")


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
