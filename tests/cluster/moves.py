"""Planned moves under a client's eyes: the name is asked every few milliseconds, and who it means must answer."""
import json
import subprocess
import sys

from fleet import *  # noqa: F403

NAMES = ["SNode1", "SNode2", "SNode3"]
WATCH = """
import json, os, socket, sys, time
name, port, stop = sys.argv[1], int(sys.argv[2]), sys.argv[3]
asked, gaps, places = 0, [], []
question = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
question.settimeout(1)
question.connect(("127.0.0.1", port))
print("up", flush=True)
while not os.path.exists(stop):
    asked += 1
    began = time.monotonic()
    try:
        question.send(json.dumps({"name": name}).encode())
        answer = json.loads(question.recv(2048))
        if "addr" not in answer:
            raise OSError("nobody has the name")
        if answer["addr"] not in places[-1:]:
            places.append(answer["addr"])
        socket.create_connection((answer["addr"], answer["port"]), 1).close()
    except (OSError, ValueError) as error:
        gaps.append([began, f"{error}; the name meant {places[-1:]}"])
    time.sleep(0.003)
print(json.dumps({"asked": asked, "gaps": gaps, "places": places}))
"""


class Client:
    """Asks for a name on `host` and connects to who answers, all the time; end() says how often nobody was there."""

    def __init__(self, cluster, host, name):
        self.stop = cluster.dir / f"{name}.enough"
        self.process = subprocess.Popen([*host.enter_command(), sys.executable, "-c", WATCH, name,
                                         str(cluster.position_port), str(self.stop)], stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "up\n":
            raise Failure("the client did not start")

    def end(self):
        self.stop.touch()
        said = self.process.communicate(timeout=10)[0]
        if self.process.returncode != 0:
            raise Failure(f"the client failed: {said}")
        return json.loads(said)


def asked_for(**changes):
    """What a Client asks for, 200 to 300 times a second: with a hundredth of a core connections
    queue up, with a tenth they do not."""
    return manifest(resources={"cpu": 0.1}, **changes)


def no_gap(seen, least):
    if seen["asked"] < least:
        raise Failure(f"expected at least {least} questions, got {seen['asked']}")
    if seen["gaps"]:
        raise Failure(f"{len(seen['gaps'])} of {seen['asked']} questions led to nobody, first {seen['gaps'][:3]}")


def drain_without_a_gap():
    """Drained twice, there and back: the name means a copy that answers at every moment, asked every few milliseconds."""
    with fleet(NAMES) as c:
        up(c)
        deploy(c, asked_for())
        first = c.wait_ready("axis_server")[0]["node"]
        second = "SNode2" if first == "SNode1" else "SNode1"
        client = Client(c, c.hosts["SNode3"], "axis_server")
        for leaves, takes in ((first, second), (second, first)):
            c.controller().cli("drain", leaves)
            c.wait_ready("axis_server", takes)
            wait_for(lambda: counts(c)[leaves] == 0, 10, lambda: f"{leaves} is empty: {counts(c)}")
            c.controller().cli("uncordon", leaves)
        seen = client.end()
        no_gap(seen, 50)
        expect("places", [c.hosts[first].address, c.hosts[second].address, c.hosts[first].address], seen["places"])


def reboot_without_a_gap():
    """A reboot that is announced: the name means a copy that answers at every moment, before, while and after."""
    with fleet(NAMES) as c:
        up(c)
        deploy(c, asked_for())
        node = c.wait_ready("axis_server")[0]["node"]
        other = "SNode2" if node == "SNode1" else "SNode1"
        client = Client(c, c.hosts["SNode3"], "axis_server")
        after = last_event(c)
        expect("leave", 200, c.hosts[node].api("POST", "/v1/node/leave")[0])
        wait_for(lambda: c.hosts[node].daemon.poll() is not None, 25, lambda: f"gantryd of {node} ends")
        expect("liveness", "left", c.node(node)["liveness"])
        expect("instance", other, c.instances("axis_server")[0]["node"])
        c.hosts[node].power_off()
        c.hosts[node].start()
        c.wait_nodes([node])
        stays(lambda: counts(c) == {node: 0, other: 1, "SNode3": 0}, 1, lambda: f"one process, on {other}: {counts(c)}")
        no_gap(client.end(), 100)
        expect("copies lost", 0, kinds(c, after).count("lost"))


def update_without_a_gap():
    """A changed manifest: each instance has its next copy ready before the old one stops."""
    with fleet(NAMES) as c:
        up(c)
        deploy(c, asked_for())
        c.wait_ready("axis_server")
        client = Client(c, c.hosts["SNode3"], "axis_server")
        document = asked_for()
        document["container"]["env"]["AXIS_PERIOD_MS"] = "50"
        deploy(c, document)

        def replaced():
            instance = c.instances("axis_server")[0]
            return instance["revision"] == 2 and instance["state"] == "ready" and sum(counts(c).values()) == 1
        wait_for(replaced, 20, lambda: f"revision 2: {c.instances('axis_server')}")
        no_gap(client.end(), 50)


def failed_update_goes_back():
    """A revision that crashes never takes over: the service goes back by itself, and the name means a copy all the time."""
    with fleet(NAMES) as c:
        up(c)
        deploy(c, asked_for())
        c.wait_ready("axis_server")
        before = processes(c)
        client = Client(c, c.hosts["SNode3"], "axis_server")
        deploy(c, asked_for(container={"env": {"AXIS_PERIOD_MS": "no number"}}))
        c.wait_event("rollback", 60, service="axis_server")
        expect("states", ["deployed", "failed", "was ready"],
               [r["state"] for r in c.controller().get("/v1/services/axis_server/history")["items"]])
        stays(lambda: {name: pids for name, pids in processes(c).items() if pids} ==
              {name: pids for name, pids in before.items() if pids}, 1, lambda: f"{before}, now {processes(c)}")
        no_gap(client.end(), 200)
        c.controller().cli("rollback", "axis_server", "2")
        wait_for(lambda: c.controller().get("/v1/services/axis_server")["revision"] == 4, 5, "revision 4 is 2 again")
        c.controller().cli("rollback", "axis_server", "1")
        c.wait_ready("axis_server")


def rebalanced():
    """Instances that all came to be on one node are moved apart, two at a time, when somebody asks for it."""
    with fleet() as c:
        up(c)
        for number in range(4):
            deploy(c, manifest(f"axis{number}", nodes=["SNode1"], port=4000 + number))
            c.wait_ready(f"axis{number}", "SNode1")
            deploy(c, manifest(f"axis{number}", port=4000 + number))
        said = c.controller().cli("rebalance", "--max", "2").stdout
        if "copies of a node: 0 to 4 now, 2 to 2 then" not in said:
            raise Failure(f"the plan does not say what is gained: {said}")
        wait_for(lambda: counts(c) == {"SNode1": 2, "SNode2": 2}, 15, lambda: f"two on each node: {counts(c)}")
        said = c.controller().cli("rebalance").stdout
        if "nothing to move" not in said:
            raise Failure(f"expected nothing to move, got: {said}")


MOVES = [drain_without_a_gap, reboot_without_a_gap, update_without_a_gap, failed_update_goes_back, rebalanced]
