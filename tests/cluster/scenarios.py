#!/usr/bin/env python3
"""Scenarios with real hosts and real containers. Each function is one; its text says what must come true.

    tests/cluster/scenarios.py NAME      plays one
    tests/cluster/scenarios.py           lists them (--scenarios, --long_scenarios: their names alone, for CTest)
"""
import signal
import subprocess
import sys
import time

from fleet import *  # noqa: F403
from bad_input import BAD_INPUT, expect_words
from beacons import BEACONS
from detection import DETECTION
from dns_sd import DNS_SD
from exchange import EXCHANGES, LONG_EXCHANGES, exchange
from hosts import enter
from instances import INSTANCES, LONG_INSTANCES
from isolated import ISOLATED, LONG_ISOLATED
from kills import kills
from leases import LEASES
from measures import MEASURES
from moves import MOVES
from ports import PORTS
from probes import PROBES
from settings import SETTINGS
from usage import USAGE


def reboot():
    """A node reboots: its service runs elsewhere, names follow, and it returns as an empty candidate."""
    with fleet() as c:
        up(c)
        deploy(c, manifest())
        node = c.wait_ready("axis_server")[0]["node"]
        other = "SNode2" if node == "SNode1" else "SNode1"
        back = c.hosts[node].reboot(3)
        moved = c.wait_ready("axis_server", other)[0]
        expect("epoch", 2, moved["epoch"])
        back.join()
        c.wait_nodes([node])
        wait_for(lambda: counts(c) == {node: 0, other: 1}, 5, lambda: f"one process, on {other}: {counts(c)}")
        wait_for(lambda: resolve(c, c.hosts[node], "axis_server").get("addr") == c.hosts[other].address, 5,
                 "the returned node's directory names the new place")


def cable_cut():
    """A node is cut off and returns: meanwhile the service runs elsewhere; the stale copy is stopped, one remains."""
    with fleet() as c:
        up(c)
        deploy(c, manifest())
        node = c.wait_ready("axis_server")[0]["node"]
        other = "SNode2" if node == "SNode1" else "SNode1"
        c.hosts[node].cut()
        c.wait_ready("axis_server", other)
        expect("processes while cut off", {node: 1, other: 1}, counts(c))
        # A link without carrier is looked at and not dialled.
        wait_for(lambda: "its link has no carrier" in c.hosts[node].log_tail(), 10, "the node sees that its cable is out")
        c.hosts[node].heal()
        c.wait_nodes([node])
        wait_for(lambda: counts(c) == {node: 0, other: 1}, 5, lambda: f"the stale copy is stopped: {counts(c)}")
        expect("instance", other, c.instances("axis_server")[0]["node"])


def back_in_a_new_session(c, name, old):
    """The node's gantryd has started anew, joined and reported."""
    def look():
        node = c.node(name)
        return node["session"] > old and node["liveness"] == "ready" and node["applied"]["list_no"] > 0
    wait_for(look, 15, lambda: f"{name} with a session above {old}: {c.node(name)}\n{c.hosts[name].log_tail()}")


def agent_restart():
    """gantryd of a node is killed and started again: containers run on, are adopted, nothing moves or starts anew."""
    with fleet() as c:
        up(c)
        deploy(c, manifest(instances=2))
        c.wait_ready("axis_server", count=2)
        before, instances = processes(c), places(c)
        for number in (signal.SIGKILL, signal.SIGTERM):
            session = c.node("SNode1")["session"]
            c.hosts["SNode1"].kill_daemon(number)
            expect("processes without gantryd", before, processes(c))
            c.hosts["SNode1"].start_daemon()
            back_in_a_new_session(c, "SNode1", session)
            c.wait_ready("axis_server", count=2)
            stays(lambda: processes(c) == before and places(c) == instances, 3,
                  lambda: f"adopted after signal {int(number)}: {before} {instances}, now {processes(c)} {places(c)}")


def documents(c):
    """What the controller's store holds for users."""
    controller = c.controller()
    services = {item["name"]: controller.get(f"/v1/services/{item['name']}") for item in controller.get("/v1/services")["items"]}
    kept = {name: {key: service[key] for key in ("revision", "image_digest", "document", "desired")}
            for name, service in services.items()}
    return {"services": kept, "images": controller.get("/v1/images")["items"],
            "secrets": [item["name"] for item in controller.get("/v1/secrets")["items"]]}


def controller_killed(away_s=6):
    """The controller is killed for a while: nothing stops, another node still answers the name, then nothing moves."""
    with fleet() as c:
        c.hosts["SNode1"].settings["memory"] = "16GiB"
        c.hosts["SNode2"].settings["memory"] = "12GiB"
        for host in c.hosts.values():
            host.write_config()
        up(c)
        controller = c.controller()
        controller.cli("secret", "set", "axis", input="123456")
        deploy(c, manifest())
        c.wait_ready("axis_server", "SNode1")
        before, instances, kept = processes(c), places(c), documents(c)
        controller.kill_daemon()
        wanted = c.hosts["SNode1"].address
        stays(lambda: resolve(c, c.hosts["SNode2"], "axis_server").get("addr") == wanted, away_s,
              "SNode2 answers the name without a controller")
        expect("processes without a controller", before, processes(c))
        controller.start_daemon()
        wait_for(controller.ready, 15, "the controller answers again")
        expect("what it kept", kept, documents(c))
        c.wait_nodes(["SNode1", "SNode2"])
        c.wait_ready("axis_server", "SNode1")
        stays(lambda: processes(c) == before and places(c) == instances, 3,
              lambda: f"nothing moves: {processes(c)} {places(c)}")


def controller_killed_60_s():
    """As controller_killed, for 60 s."""
    controller_killed(60)


def died_meanwhile():
    """A node dies while the controller is away: once back, the controller gives it its grace, then moves."""
    with fleet(timing={"start_grace": "2s"}) as c:
        up(c)
        deploy(c, manifest())
        node = c.wait_ready("axis_server")[0]["node"]
        other = "SNode2" if node == "SNode1" else "SNode1"
        c.controller().kill_daemon()
        c.hosts[node].power_off()
        c.controller().start_daemon()
        wait_for(c.controller().ready, 15, "the controller answers again")
        c.wait_ready("axis_server", other)


def crash_while_alone():
    """Without a controller a node restarts what crashes."""
    with fleet() as c:
        up(c)
        deploy(c, manifest())
        node = c.wait_ready("axis_server")[0]["node"]
        c.controller().kill_daemon()
        pid = processes(c)[node][0]
        c.hosts[node].inside("kill", "-KILL", str(pid))
        wait_for(lambda: processes(c)[node] not in ([], [pid]), 10, lambda: f"a new process: {processes(c)}")


def empty_database():
    """The controller starts on an empty database: nothing stops, and an event says why nothing is adopted."""
    with fleet() as c:
        up(c)
        deploy(c, manifest())
        c.wait_ready("axis_server")
        before = processes(c)
        controller = c.controller()
        controller.kill_daemon()
        for file in (controller.dir / "state").glob("state.db*"):
            file.unlink()
        controller.start_daemon()
        wait_for(controller.ready, 15, "the controller answers")
        c.wait_event("foreign-cluster", 15)
        stays(lambda: processes(c) == before, 3, lambda: f"nothing stops: {processes(c)}")


def leaving():
    """A node that announces that it goes down is emptied at once."""
    with fleet() as c:
        up(c)
        deploy(c, manifest())
        node = c.wait_ready("axis_server")[0]["node"]
        other = "SNode2" if node == "SNode1" else "SNode1"
        status, answer = c.hosts[node].api("POST", "/v1/node/leave")
        expect("leave", 200, status)
        c.wait_ready("axis_server", other)
        wait_for(lambda: c.node(node)["liveness"] == "left", 5, lambda: f"liveness left: {c.node(node)}")


def hold():
    """gantryd is stopped for an upgrade: the controller waits, nothing moves, and the container is adopted."""
    with fleet() as c:
        up(c)
        deploy(c, manifest())
        node = c.wait_ready("axis_server")[0]["node"]
        before, instances, session, after = processes(c), places(c), c.node(node)["session"], last_event(c)
        c.hosts[node].kill_daemon(signal.SIGTERM)
        stays(lambda: processes(c) == before and places(c) == instances and c.node(node)["liveness"] != "lost", 4,
              lambda: f"nothing moves while it holds: {kinds(c, after)}")
        c.hosts[node].start_daemon()
        back_in_a_new_session(c, node, session)
        c.wait_ready("axis_server", node)
        stays(lambda: processes(c) == before and places(c) == instances, 3,
              lambda: f"adopted: {before} {instances}, now {processes(c)} {places(c)}, {kinds(c, after)}")


def crash_loop():
    """A container that crashes is started again after 1 s, 2 s, 4 s, 8 s; after five crashes in a row elsewhere."""
    with fleet() as c:
        up(c)
        deploy(c, manifest(container={"env": {"AXIS_PERIOD_MS": "no number"}}, probe=None))
        first = c.wait_event("placed", 5, service="axis_server", epoch=1)["fields"]["node"]
        second = c.wait_event("placed", 40, service="axis_server", epoch=2)
        if first == second["fields"]["node"]:
            raise Failure(f"expected another node than {first}")
        exits = [when(e) for e in c.events() if e["kind"] == "exited" and e["number"] < second["number"]
                 and e["fields"]["node"] == first]
        expect(f"exits on {first} before epoch 2", 5, len(exits))
        pauses = [later - earlier for earlier, later in zip(exits, exits[1:])]
        if any(not wanted * 0.95 < got < wanted * 1.125 + 2 for got, wanted in zip(pauses, (1, 2, 4, 8))):
            raise Failure(f"expected about 1, 2, 4 and 8 s between exits, got {pauses}")
        c.wait_event("failing", 30, service="axis_server")


def no_candidate():
    """Nobody can take an instance: it is pending with a reason for every node, and placed the moment one fits."""
    with fleet() as c:
        c.hosts["SNode1"].settings["memory"] = "64MiB"
        c.hosts["SNode1"].write_config()
        c.hosts["controller"].start()
        c.hosts["SNode1"].start()
        wait_for(c.controller().ready, 15, "the controller answers")
        c.wait_nodes(["SNode1"])
        import_image(c)
        deploy(c, manifest(resources={"memory": "128MiB"}))
        c.wait_event("pending", 5, service="axis_server")
        reasons = {p["node"]: p["reason"] for p in c.instances("axis_server")[0]["pending"]}
        if "memory" not in reasons.get("SNode1", "") or "joined" not in reasons.get("SNode2", ""):
            raise Failure(f"expected SNode1 to lack memory, SNode2 to have never joined, got {reasons}")
        explained = c.controller().cli("explain", "axis_server").stdout
        if "SNode1" not in explained or "SNode2" not in explained:
            raise Failure(f"explain does not name both nodes: {explained}")
        c.hosts["SNode2"].start()
        c.wait_ready("axis_server", "SNode2")


def quick_reboot():
    """A node reboots so quickly that its silence is not noticed: the new boot id tells."""
    with fleet(timing={"suspect_after": "20s", "lost_after": "30s", "reset_grace": "20s", "start_grace": "40s"}) as c:
        up(c)
        deploy(c, manifest())
        place = c.wait_ready("axis_server")[0]
        host = c.hosts[place["node"]]
        host.power_off()
        host.start()
        c.wait_event("placed", 15, service="axis_server", epoch=2)
        c.wait_ready("axis_server")
        wait_for(lambda: sum(counts(c).values()) == 1, 5, lambda: f"one process: {counts(c)}")


def controller_cut_off(pause_s=10):
    """The controller's own cable is cut: all nodes fall silent together, moves pause, and once it is back nothing moved."""
    names = ["SNode1", "SNode2", "SNode3", "SNode4"]
    with fleet(names, timing={"mass_pause": f"{pause_s}s"}) as c:
        up(c)
        for number in range(4):
            deploy(c, manifest(f"axis{number}", nodes=names, port=4000 + number))
            c.wait_ready(f"axis{number}")
        before, instances, after = processes(c), places(c), last_event(c)
        controller = c.controller()
        controller.cut()
        c.wait_event("moves-paused", 5, after)
        stays(lambda: places(c) == instances, pause_s - 2, lambda: f"nothing moves: {places(c)}, {kinds(c, after)}")
        expect("nodes called lost", 0, kinds(c, after).count("node-lost"))
        controller.heal()
        c.wait_event("moves-resumed", 15, after)
        c.wait_nodes(names)
        for number in range(4):
            c.wait_ready(f"axis{number}")
        stays(lambda: places(c) == instances and processes(c) == before, 3, lambda: f"nothing moved: {kinds(c, after)}")


def controller_cut_off_30_s():
    """As controller_cut_off, with the default pause of 30 s."""
    controller_cut_off(30)


def drain():
    """A drained node is emptied one instance at a time and gets nothing until it is active again."""
    with fleet() as c:
        up(c)
        for number in range(2):
            deploy(c, manifest(f"axis{number}", port=3010 + number))
            c.wait_ready(f"axis{number}")
        expect("processes before", {"SNode1": 1, "SNode2": 1}, counts(c))
        c.controller().cli("drain", "SNode1")
        wait_for(lambda: counts(c) == {"SNode1": 0, "SNode2": 2}, 20, lambda: f"SNode1 is empty: {counts(c)}")
        for number in range(2):
            c.wait_ready(f"axis{number}", "SNode2")
        expect("intent", "draining", c.node("SNode1")["intent"])
        deploy(c, manifest("late", port=3020))
        c.wait_ready("late", "SNode2")
        expect("processes on the drained node", 0, counts(c)["SNode1"])
        c.controller().cli("uncordon", "SNode1")
        expect("intent", "active", c.node("SNode1")["intent"])
        deploy(c, manifest("later", port=3021))
        c.wait_ready("later", "SNode1")


def changed_manifest():
    """A changed manifest replaces instances one at a time; the same again is no change."""
    with fleet() as c:
        up(c)
        deploy(c, manifest(instances=2))
        c.wait_ready("axis_server", count=2)
        before = processes(c)
        again = deploy(c, manifest(instances=2))
        expect("changed", False, again["changed"])
        expect("processes", before, processes(c))
        document = manifest(instances=2)
        document["container"]["env"]["AXIS_PERIOD_MS"] = "50"
        expect("changed", True, deploy(c, document)["changed"])

        def replaced():
            now = [i for i in c.instances("axis_server") if i["state"] == "ready" and i["revision"] == 2]
            return len(now) == 2 and sum(counts(c).values()) == 2
        wait_for(replaced, 30, lambda: f"both replaced: {c.instances('axis_server')}")


def full_disk():
    """The disk of the controller is full during a failover: changes are refused with words, the move goes through."""
    with fleet() as c:
        controller = c.controller()
        controller.start(daemon=False)
        disk = controller.dir / "disk"
        disk.mkdir()
        controller.inside("mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(disk))
        controller.settings["store"] = f"{disk}/state.db"
        controller.write_config()
        controller.start_daemon()
        for name in ("SNode1", "SNode2"):
            c.hosts[name].start()
        wait_for(controller.ready, 15, "the controller answers")
        c.wait_nodes(["SNode1", "SNode2"])
        import_image(c)
        deploy(c, manifest())
        node = c.wait_ready("axis_server")[0]["node"]
        other = "SNode2" if node == "SNode1" else "SNode1"
        controller.inside("sh", "-c", f"dd if=/dev/zero of={disk}/filler bs=64k 2>/dev/null; true")
        status, answer = controller.api("PUT", "/v1/services/second", manifest("second", port=3010))
        expect("deploy on a full disk", 507, status)
        if "disk" not in answer["error"]["message"]:
            raise Failure(f"the refusal does not name the disk: {answer}")
        c.wait_nodes(["SNode1", "SNode2"])
        c.hosts[node].power_off()
        c.wait_ready("axis_server", other, seconds=30)
        controller.inside("rm", f"{disk}/filler")
        wait_for(lambda: controller.api("PUT", "/v1/services/second", manifest("second", port=3010))[0] == 200, 20,
                 "changes are taken again once there is room")


def fifty_services():
    """50 services deployed at once over 4 nodes spread evenly."""
    names = ["SNode1", "SNode2", "SNode3", "SNode4"]
    # A node that a busy machine lets be silent for a moment would get less, and so would one that lacks the image longer
    # than the others.
    with fleet(names, timing={"suspect_after": "5s", "lost_after": "10s", "start_grace": "15s"}) as c:
        up(c)
        after = last_event(c)
        deploy(c, manifest("axis00", nodes=names, port=4000))
        wait_for(lambda: kinds(c, after).count("image-fetched") == 4, 30, "every node has the image")
        for number in range(1, 50):
            deploy(c, manifest(f"axis{number:02}", nodes=names, port=4000 + number))
        wait_for(lambda: sum(i["state"] == "ready" for i in c.instances()) == 50, 90,
                 lambda: f"50 ready: {[(i['instance'], i['state'], i['reason']) for i in c.instances() if i['state'] != 'ready']}")
        per_node = [sum(i["node"] == name for i in c.instances()) for name in names]
        if max(per_node) - min(per_node) > 1:
            raise Failure(f"expected 12 or 13 on every node, got {per_node}, suspects: {kinds(c, after).count('node-suspect')}")
        wait_for(lambda: sum(counts(c).values()) == 50, 10, lambda: f"50 processes: {counts(c)}")


def image_from_neighbour():
    """A layer that the controller's disk has lost comes from the node that has it."""
    with fleet() as c:
        up(c)
        deploy(c, manifest("one", nodes=["SNode1"]))
        wait_for(lambda: [i["state"] for i in c.instances("one")] == ["ready"], 20, "it is ready on SNode1")
        blobs = c.controller().dir / "state/images/blobs/sha256"
        max(blobs.iterdir(), key=lambda blob: blob.stat().st_size).unlink()
        deploy(c, manifest("two", nodes=["SNode2"], port=3010))
        wait_for(lambda: [i["state"] for i in c.instances("two")] == ["ready"], 20,
                 lambda: f"it is ready on SNode2: {c.instances('two')}\n{c.hosts['SNode2'].log_tail()}")
        expect_words("what SNode2 says", c.hosts["SNode2"].log.read_text(), "comes from the node at")


def wide_names():
    """A service called 陀螺仪 is deployed, listed, explained and resolved."""
    with fleet() as c:
        up(c)
        file = c.dir / "wide.toml"
        file.write_text('[service]\nname = "陀螺仪"\nimage = "axis_server:1.0"\n[placement]\nnodes = ["SNode1", "SNode2"]\n'
                        '[[endpoint]]\nname = "陀螺仪"\nport = 3002\n[[probe]]\nkind = "tcp"\n')
        controller = c.controller()
        controller.cli("deploy", str(file))
        node = c.wait_ready("陀螺仪")[0]["node"]
        for command in (["services"], ["ps"], ["explain", "陀螺仪"], ["resolve", "陀螺仪"]):
            out = controller.cli(*command).stdout
            if "陀螺仪" not in out:
                raise Failure(f"gantry {' '.join(command)} does not show the name:\n{out}")
        expect("answer", c.hosts[node].address, resolve(c, c.hosts["SNode2"], "陀螺仪").get("addr"))


def logs():
    """The log of an instance is read through the controller, and followed while gantryd starts anew on itself."""
    with fleet() as c:
        up(c)
        deploy(c, manifest())
        c.wait_ready("axis_server")
        controller = c.controller()
        wait_for(lambda: "axis_server listens" in controller.cli("logs", "axis_server.0").stdout, 5,
                 lambda: f"its first line: {controller.cli('logs', 'axis_server.0').stdout}")
        line = controller.cli("logs", "axis_server.0").stdout
        expect("since ten minutes", line, controller.cli("logs", "axis_server.0", "--since", "10m").stdout)
        expect("since a time to come", "", controller.cli("logs", "axis_server.0", "--since", "2100-01-01T00:00:00Z").stdout)
        file = controller.dir / "followed-log"
        with open(file, "w") as out:
            follower = subprocess.Popen([f"{c.build}/bin/gantry", "--socket", str(controller.socket), "logs",
                                         "axis_server.0", "-f"], stdout=out, stderr=out)
        try:
            wait_for(lambda: file.read_text() == line, 5, lambda: f"it is followed: {file.read_text()}")
            exchange(controller, "store.sqlite")
            stays(lambda: follower.poll() is None and file.read_text() == line, 2,
                  lambda: f"the follower goes on and shows nothing twice: {follower.poll()} {file.read_text()}")
        finally:
            follower.kill()
            follower.wait()


SCENARIOS = [reboot, cable_cut, agent_restart, controller_killed, died_meanwhile, crash_while_alone, empty_database,
             leaving, hold, crash_loop, no_candidate, quick_reboot, controller_cut_off, drain, changed_manifest, full_disk,
             fifty_services, image_from_neighbour, wide_names, logs, kills, *DETECTION, *MOVES, *LEASES, *MEASURES, *BAD_INPUT,
             *ISOLATED, *EXCHANGES, *BEACONS, *DNS_SD, *PORTS, *PROBES, *SETTINGS, *USAGE, *INSTANCES]
LONG_SCENARIOS = [controller_killed_60_s, controller_cut_off_30_s, *LONG_ISOLATED, *LONG_EXCHANGES, *LONG_INSTANCES]


def main():
    by_name = {s.__name__: s for s in SCENARIOS + LONG_SCENARIOS}
    lists = {"--scenarios": SCENARIOS, "--long_scenarios": LONG_SCENARIOS}
    if len(sys.argv) == 2 and sys.argv[1] in lists:
        print("\n".join(scenario.__name__ for scenario in lists[sys.argv[1]]))
        return 0
    if len(sys.argv) != 2 or sys.argv[1] not in by_name:
        for name, scenario in by_name.items():
            print(f"{name:24} {scenario.__doc__}")
        return 64
    scenario = by_name[sys.argv[1]]
    if hasattr(scenario, "before"):
        scenario.before()
    enter()
    began = time.monotonic()
    print(scenario.__doc__)
    try:
        scenario()
    except Failure as failure:  # noqa: F405
        print(f"FAILED: {failure}")
        return 1
    print(f"so it was, in {time.monotonic() - began:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
