#!/usr/bin/env python3
"""Scenarios with real hosts and real containers. Each function is one; its text says what must come true.

    tests/cluster/scenarios.py NAME      plays one
    tests/cluster/scenarios.py           lists them
"""
import random
import signal
import sys
import time

from fleet import *  # noqa: F403
from hosts import enter


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
        c.hosts[node].heal()
        c.wait_nodes([node])
        wait_for(lambda: counts(c) == {node: 0, other: 1}, 5, lambda: f"the stale copy is stopped: {counts(c)}")
        expect("instance", other, c.instances("axis_server")[0]["node"])


def agent_restart():
    """gantryd of a node is killed and started again: containers run on, are adopted, nothing moves."""
    with fleet() as c:
        up(c)
        deploy(c, manifest(instances=2))
        c.wait_ready("axis_server", count=2)
        before, instances = processes(c), [(i["instance"], i["node"], i["epoch"]) for i in c.instances()]
        for number in (signal.SIGKILL, signal.SIGTERM):
            c.hosts["SNode1"].kill_daemon(number)
            expect("processes without gantryd", before, processes(c))
            c.hosts["SNode1"].start_daemon()
            c.wait_nodes(["SNode1"])
            c.wait_ready("axis_server", count=2)
        expect("processes", before, processes(c))
        expect("instances", instances, [(i["instance"], i["node"], i["epoch"]) for i in c.instances()])


def controller_killed(away_s=6):
    """The controller is killed for a while: nothing stops, names resolve from a node, then nothing moves."""
    with fleet() as c:
        up(c)
        deploy(c, manifest())
        place = c.wait_ready("axis_server")[0]
        before = processes(c)
        controller = c.controller()
        controller.kill_daemon()
        wanted = c.hosts[place["node"]].address
        stays(lambda: resolve(c, c.hosts["SNode2"], "axis_server").get("addr") == wanted, away_s,
              "SNode2 answers the name without a controller")
        expect("processes without a controller", before, processes(c))
        controller.start_daemon()
        wait_for(controller.ready, 15, "the controller answers again")
        c.wait_nodes(["SNode1", "SNode2"])
        c.wait_ready("axis_server", place["node"])
        stays(lambda: processes(c) == before, 3, lambda: f"nothing moves: {processes(c)}")
        expect("epoch", place["epoch"], c.instances("axis_server")[0]["epoch"])


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
    """gantryd is stopped for an upgrade: the controller waits, nothing moves."""
    with fleet() as c:
        up(c)
        deploy(c, manifest())
        place = c.wait_ready("axis_server")[0]
        before = processes(c)
        c.hosts[place["node"]].kill_daemon(signal.SIGTERM)
        stays(lambda: c.instances("axis_server")[0]["epoch"] == place["epoch"], 4, "nothing moves while it holds")
        c.hosts[place["node"]].start_daemon()
        c.wait_nodes([place["node"]])
        c.wait_ready("axis_server", place["node"])
        expect("processes", before, processes(c))


def crash_loop():
    """A container that crashes five times in a row on one node is tried on another."""
    with fleet(timing={"restart_delay": "100ms"}) as c:
        up(c)
        deploy(c, manifest(container={"env": {"AXIS_PERIOD_MS": "no number"}}, probe=None))
        first = c.wait_event("placed", 5, service="axis_server", epoch=1)["fields"]["node"]
        second = c.wait_event("placed", 30, service="axis_server", epoch=2)["fields"]["node"]
        if first == second:
            raise Failure(f"expected another node than {first}")
        c.wait_event("failing", 30, service="axis_server")


def no_candidate():
    """Nobody can take an instance: it is pending with a reason for every node, and placed the moment one fits."""
    with fleet() as c:
        c.hosts["controller"].start(); c.hosts["SNode1"].start()
        wait_for(c.controller().ready, 15, "the controller answers")
        c.wait_nodes(["SNode1"])
        import_image(c)
        deploy(c, manifest(nodes=["SNode2"]))
        c.wait_event("pending", 5, service="axis_server")
        reasons = {p["node"]: p["reason"] for p in c.instances("axis_server")[0]["pending"]}
        if "SNode1" not in reasons and "SNode2" not in reasons:
            raise Failure(f"expected a reason per node, got {reasons}")
        explained = c.controller().cli("explain", "axis_server").stdout
        if "SNode2" not in explained:
            raise Failure(f"explain does not name SNode2: {explained}")
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


def drain():
    """A drained node is emptied one instance at a time and gets nothing until it is active again."""
    with fleet() as c:
        up(c)
        for number in range(2):
            deploy(c, manifest(f"axis{number}", instances=1, port=3010 + number))
            c.wait_ready(f"axis{number}")
        c.controller().cli("drain", "SNode1")
        wait_for(lambda: counts(c) == {"SNode1": 0, "SNode2": 2}, 20, lambda: f"SNode1 is empty: {counts(c)}")
        for number in range(2):
            c.wait_ready(f"axis{number}", "SNode2")
        expect("intent", "draining", c.node("SNode1")["intent"])
        c.controller().cli("uncordon", "SNode1")
        expect("intent", "active", c.node("SNode1")["intent"])


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
            running = {pid for pids in processes(c).values() for pid in pids}
            return len(now) == 2 and len(running) == 2
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
    with fleet(names) as c:
        up(c)
        for number in range(50):
            deploy(c, manifest(f"axis{number:02}", nodes=names, port=4000 + number))
        wait_for(lambda: sum(i["state"] == "ready" for i in c.instances()) == 50, 90,
                 lambda: f"50 ready: {[(i['instance'], i['state'], i['reason']) for i in c.instances() if i['state'] != 'ready']}")
        per_node = [sum(i["node"] == name for i in c.instances()) for name in names]
        if max(per_node) - min(per_node) > 1:
            raise Failure(f"expected 12 or 13 on every node, got {per_node}")
        wait_for(lambda: sum(counts(c).values()) == 50, 10, lambda: f"50 processes: {counts(c)}")


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


def bad_neighbours():
    """A node with the wrong secret and a second node under one name are turned away with words."""
    with fleet() as c:
        up(c)
        wrong = c.dir / "wrong.secret"
        wrong.write_text("a secret that nobody else knows")
        wrong.chmod(0o600)
        stranger = c.add("Stranger", secret=str(wrong))
        stranger.start()
        c.wait_event("connection-refused", 15)
        expect("stranger", None, c.node("Stranger"))
        twin = c.add("Twin")
        twin.name_in_file = "SNode1"
        text = (twin.dir / "gantry.toml").read_text().replace('name = "Twin"', 'name = "SNode1"')
        (twin.dir / "gantry.toml").write_text(text)
        twin.start()
        c.wait_event("name-taken", 15)
        expect("address", c.hosts["SNode1"].address, c.node("SNode1")["address"])


def impossible_wish():
    """A manifest that asks for more than any node has is pending, with a reason per node."""
    with fleet() as c:
        up(c)
        deploy(c, manifest(resources={"cpu": 4000, "memory": "100TiB"}))
        c.wait_event("pending", 5, service="axis_server")
        reasons = {p["node"]: p["reason"] for p in c.instances("axis_server")[0]["pending"]}
        expect("nodes with a reason", {"SNode1", "SNode2"}, set(reasons))


def logs():
    """The log of an instance is read through the controller."""
    with fleet() as c:
        up(c)
        deploy(c, manifest())
        c.wait_ready("axis_server")
        wait_for(lambda: "axis_server listens" in c.controller().cli("logs", "axis_server.0").stdout, 5,
                 lambda: f"its first line: {c.controller().cli('logs', 'axis_server.0').stdout}")


def kills(rounds=100, changes=1000):
    """gantryd of the controller dies by SIGKILL at random moments during API changes: what was answered 2xx is there."""
    seed = int.from_bytes(random.randbytes(4), "big")
    print(f"seed {seed}")
    chance = random.Random(seed)
    with fleet(nodes=["SNode1"], image=False) as c:
        up(c)
        controller = c.controller()
        kept, number = {}, 0
        moments = sorted(chance.sample(range(changes), rounds))
        while number < changes:
            kill_now = bool(moments) and number >= moments[0]
            if kill_now:
                moments.pop(0)
                pid, delay = controller.daemon_pid(), chance.random() * 0.01
                import os
                import threading
                killer = threading.Timer(delay, os.kill, (pid, signal.SIGKILL))
                killer.start()
            for _ in range(3 if kill_now else 1):
                name, value = f"s{number % 50}", f"{number}"
                number += 1
                try:
                    remove = chance.random() < 0.3 and name in kept
                    status, _ = controller.api("DELETE" if remove else "PUT", f"/v1/secrets/{name}",
                                               None if remove else {"value": value}, timeout=5)
                    if status == 200 and remove:
                        kept.pop(name, None)
                    elif status == 200:
                        kept[name] = value
                except OSError:
                    kept[name] = None  # no answer: either outcome is right
            if kill_now:
                killer.join()
                controller.daemon.wait(5)
                controller.start_daemon()
                wait_for(controller.ready, 15, "the controller answers after a kill")
        there = {item["name"] for item in controller.get("/v1/secrets")["items"]}
        sure = {name for name, value in kept.items() if value is not None}
        unsure = {name for name, value in kept.items() if value is None}
        if not sure <= there or not there <= sure | unsure:
            raise Failure(f"seed {seed}: lost {sorted(sure - there)}, came back {sorted(there - sure - unsure)}")


SCENARIOS = [reboot, cable_cut, agent_restart, controller_killed, died_meanwhile, crash_while_alone, empty_database, leaving, hold,
             crash_loop, no_candidate, quick_reboot, drain, changed_manifest, full_disk, fifty_services, wide_names,
             bad_neighbours, impossible_wish, logs, kills]
LONG_SCENARIOS = [controller_killed_60_s]


def main():
    by_name = {s.__name__: s for s in SCENARIOS + LONG_SCENARIOS}
    if len(sys.argv) != 2 or sys.argv[1] not in by_name:
        for name, scenario in by_name.items():
            print(f"{name:24} {scenario.__doc__}")
        return 64
    enter()
    began = time.monotonic()
    print(by_name[sys.argv[1]].__doc__)
    try:
        by_name[sys.argv[1]]()
    except Failure as failure:  # noqa: F405
        print(f"FAILED: {failure}")
        return 1
    print(f"so it was, in {time.monotonic() - began:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
