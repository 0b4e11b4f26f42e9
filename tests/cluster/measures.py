"""What moves cost: measured by the nodes' own clocks, and by drills that have a node fail for real."""
import json
import os
import signal
import sys
import threading
import time

from fleet import *  # noqa: F403

NAMES = ["SNode1", "SNode2"]
HOUR = 3_600


def figure(name, move, least, most, error=200):
    """The figure of the move, in milliseconds, is between these two, and is known well enough."""
    got = move[name]
    if got is None or not least <= got["ms"] <= most or got["error_ms"] > error:
        raise Failure(f"{name}: expected {least} to {most} ms, known within {error} ms, got {got} of {move}")


def moved(c, after, **fields):
    """What is known of a move when nothing more is to be known of it."""
    def look():
        for event in c.events(after):
            if event["kind"] in ("moved", "move-measured") and event["fields"]["complete"] and \
                    all(event["fields"].get(k) == v for k, v in fields.items()):
                return event["fields"]
        return None
    return wait_for(look, 20, lambda: f"a move {fields} that is measured: {[e['text'] for e in c.events(after)][-12:]}")


def clocks_an_hour_apart():
    """Two hosts whose clocks, since boot and on the wall, are an hour apart: a planned move, a cut and its end are measured to some milliseconds; a
    broken budget is an event; services and history show the figures."""
    with fleet(()) as c:
        c.add("SNode1")
        c.add("SNode2", ahead_s=HOUR)
        up(c)
        for clock in ("CLOCK_BOOTTIME", "CLOCK_REALTIME"):
            script = f"import time; print(time.clock_gettime(time.{clock}))"
            shown = [float(host.inside(*host.wall_clock(), sys.executable, "-c", script).stdout)
                     for host in (c.hosts[name] for name in NAMES)]
            if not HOUR - 60 < shown[1] - shown[0] < HOUR + 60:
                raise Failure(f"expected {clock} to be an hour apart, got {shown}")
        deploy(c, manifest(service={"max_gap": "10s", "max_overlap": "1s"}))
        node = c.wait_ready("axis_server")[0]["node"]
        other = "SNode2" if node == "SNode1" else "SNode1"
        after = last_event(c)
        c.controller().cli("drain", node)
        planned = moved(c, after, instance="axis_server.0")
        expect("move", (node, other), (planned["from"], planned["to"]))
        figure("gap", planned, 0, 0)
        figure("overlap", planned, 50, 5_000)
        c.controller().cli("uncordon", node)
        # The other one is cut off: its copy runs on, which nobody knows before it is back.
        after, began = last_event(c), time.monotonic()
        c.hosts[other].cut()
        early = c.wait_event("moved", 10, after, instance="axis_server.0")
        expect("known while it is cut off", (False, None), (early["fields"]["complete"], early["fields"]["overlap"]))
        if f"until {other} is back" not in c.controller().cli("history", "axis_server").stdout:
            raise Failure(f"history does not say what is awaited: {c.controller().cli('history', 'axis_server').stdout}")
        stays(lambda: counts(c) == {node: 1, other: 1}, 3, lambda: f"both run: {counts(c)}")
        c.hosts[other].heal()
        cut = moved(c, after, instance="axis_server.0")
        both = (time.monotonic() - began) * 1_000
        expect("move", (other, node), (cut["from"], cut["to"]))
        figure("gap", cut, 900, 5_000)
        figure("overlap", cut, 3_000, both)
        broken = c.wait_event("budget-exceeded", 5, after)["fields"]
        expect("broken budget", ("max_overlap", 1_000, cut["overlap"]["ms"]),
               (broken["budget"], broken["limit_ms"], broken["value_ms"]))
        moves = c.controller().get("/v1/services/axis_server")["moves"]
        expect("last move", cut["move"], moves["last"]["move"])
        expect("worst overlap", cut["overlap"], moves["worst_overlap"])
        history = [move for revision in c.controller().get("/v1/services/axis_server/history")["items"]
                   for move in revision["moves"]]
        expect("moves in the history", {planned["move"], cut["move"]}, {move["move"] for move in history} & {
            planned["move"], cut["move"]})
        said = f"{cut['gap']['ms'] // 1000}.{cut['gap']['ms'] % 1000:03d} s"
        for command in (["services"], ["history", "axis_server"]):
            if said not in (text := c.controller().cli(*command).stdout):
                raise Failure(f"gantry {command[0]} does not show {said}: {text}")


def drill_fleet(**commands):
    """Two nodes, of which SNode1 permits drills of these kinds."""
    c = fleet(())
    own = str(c.build / "lib/gantry/gantry-drill")
    c.add("SNode1", drill={kind: [own if part == "OWN" else part for part in command] for kind, command in commands.items()})
    c.add("SNode2")
    return c


def on_drilled_node(c, **service):
    up(c)
    deploy(c, manifest(nodes=["SNode1"], service=service))
    c.wait_ready("axis_server", "SNode1")
    deploy(c, manifest(service=service))


def drill(c, kind, seconds, status=0):
    """What gantry drill says, as a document."""
    done = c.controller().cli("drill", "SNode1", "--kind", kind, "--for", f"{seconds}s", "--timeout", "40s", "--json",
                              check=False)
    if done.returncode != status:
        raise Failure(f"gantry drill --kind {kind}: expected {status}, got {done.returncode}: {done.stdout} {done.stderr}")
    return json.loads(done.stdout.splitlines()[0]) if done.stdout else done.stderr


def drill_cut():
    """The network of a node is cut by rules in its own namespace, and is back when the time is over although gantryd was
    killed meanwhile; what it cost is told, and a budget that broke fails the drill."""
    with drill_fleet(cut=["OWN", "cut"]) as c:
        on_drilled_node(c, max_gap="10s")
        host = c.hosts["SNode1"]

        def kill_gantryd_meanwhile():
            wait_for(lambda: "gantry_drill" in host.inside("nft", "list", "tables").stdout, 10, "rules of the drill")
            host.kill_daemon()
            host.start_daemon()
        meanwhile = threading.Thread(target=kill_gantryd_meanwhile, daemon=True)
        meanwhile.start()
        said = drill(c, "cut", 6)
        meanwhile.join(20)
        expect("rules left", "", host.inside("nft", "list", "tables").stdout)
        expect("verdict", "passed", said["verdict"])
        if not 900 <= said["detected_ms"] <= 4_000:
            raise Failure(f"expected about a second from the last word to the loss, got {said}")
        expect("moves", [("axis_server.0", "SNode2")], [(m["instance"], m["to"]) for m in said["moves"]])
        figure("gap", said["moves"][0], 900, 6_000)
        figure("overlap", said["moves"][0], 500, 12_000, 1_000)
        deploy(c, manifest(nodes=["SNode1"], service={"max_gap": "100ms"}))
        c.wait_ready("axis_server", "SNode1")
        deploy(c, manifest(service={"max_gap": "100ms"}))
        broke = drill(c, "cut", 4, status=4)
        expect("verdict", "budget exceeded", broke["verdict"])
        if "max_gap of 100 ms" not in broke["broken"][0]:
            raise Failure(f"the budget is not named: {broke}")


def drill_freeze():
    """gantryd of a node stands still and goes on when the time is over: what it had runs elsewhere, and is measured."""
    with drill_fleet(freeze=["OWN", "freeze"]) as c:
        on_drilled_node(c)
        said = drill(c, "freeze", 6)
        os.kill(c.hosts["SNode1"].daemon.pid, signal.SIGCONT)  # nsenter stops with what it began, and does not go on with it
        expect("moves", [("axis_server.0", "SNode2")], [(m["instance"], m["to"]) for m in said["moves"]])
        figure("gap", said["moves"][0], 900, 6_000)
        figure("overlap", said["moves"][0], 500, 12_000, 1_000)


def drill_kill():
    """gantryd of a node is killed and started again later, by a command of the node's operator."""
    with drill_fleet() as c:
        host = c.hosts["SNode1"]
        start = host.dir / "start-again"
        host.settings["drill"] = {"kill": [str(c.build / "lib/gantry/gantry-drill"), "kill", "/usr/bin/touch", str(start)]}
        host.write_config()
        on_drilled_node(c)

        def start_again():
            wait_for(start.exists, 30, "the drill's end")
            host.daemon = None
            host.start_daemon()
        again = threading.Thread(target=start_again, daemon=True)
        again.start()
        said = drill(c, "kill", 5)
        again.join(20)
        expect("moves", [("axis_server.0", "SNode2")], [(m["instance"], m["to"]) for m in said["moves"]])
        figure("gap", said["moves"][0], 600, 6_000)
        figure("overlap", said["moves"][0], 500, 12_000, 1_000)


def drill_reboot():
    """The machine reboots by a command of the node's operator: what ran there ended with the old boot."""
    with drill_fleet() as c:
        host = c.hosts["SNode1"]
        asked = host.dir / "reboot-asked"
        host.settings["drill"] = {"reboot": ["/usr/bin/touch", str(asked)]}
        host.write_config()
        on_drilled_node(c)

        def reboot():
            wait_for(asked.exists, 30, "the command of the drill")
            host.reboot(4).join()
        machine = threading.Thread(target=reboot, daemon=True)
        machine.start()
        said = drill(c, "reboot", 5)
        machine.join(20)
        expect("moves", [("axis_server.0", "SNode2")], [(m["instance"], m["to"]) for m in said["moves"]])
        figure("gap", said["moves"][0], 600, 6_000)
        # It ended between its last word and the new boot's first: no more is known, and it is not called more.
        overlap = said["moves"][0]["overlap"]
        if overlap is None or overlap["ms"] > overlap["error_ms"]:
            raise Failure(f"expected an overlap that may be none, got {overlap}")


def drill_refused():
    """What a drill needs is checked before anything fails: kind, time, node, consent, one at a time, a command that works."""
    with drill_fleet(cut=["OWN", "cut"], freeze=["/no/such/command"], reboot=["/bin/false"]) as c:
        up(c)
        controller = c.controller()
        for arguments, status, wanted in [
                (["SNode1", "--kind", "melt"], 2, "kind"),
                (["SNode1", "--kind", "cut", "--for", "500ms"], 2, "expected 1s to 1h, got 500 ms"),
                (["SNode1", "--kind", "cut", "--for", "2h"], 2, "expected 1s to 1h, got 2 h"),
                (["SNode1", "--kind", "cut", "--for", "soon"], 2, "--for"),
                (["SNode7", "--kind", "cut"], 3, "there is no node SNode7"),
                (["SNode1", "--kind", "kill"], 1, "permits no drill of kind kill, only cut, freeze, reboot"),
                (["SNode2", "--kind", "cut"], 1, "SNode2 permits no drill of kind cut; its configuration"),
                (["SNode1", "--kind", "freeze", "--for", "1s"], 1, "cannot start /no/such/command")]:
            done = controller.cli("drill", *arguments, check=False)
            if done.returncode != status or wanted not in done.stderr:
                raise Failure(f"gantry drill {arguments}: expected {wanted!r}, got {done.returncode}: {done.stderr}")
        after = last_event(c)
        wait_for(lambda: controller.api("POST", "/v1/nodes/SNode1/drill", {"kind": "reboot", "for_ms": 1000})[0] == 200, 5,
                 "the next drill")
        failed = c.wait_event("drill-failed", 5, after)
        if failed["fields"]["kind"] != "reboot" or "ended with status 1" not in failed["text"]:
            raise Failure(f"expected the reboot's command to end with status 1, got {failed}")
        wait_for(lambda: controller.api("POST", "/v1/nodes/SNode1/drill", {"kind": "cut", "for_ms": 3000})[0] == 200, 5,
                 "the next drill")
        for body, wanted in [({"kind": "cut", "for_ms": 1000}, "under way"), ({"kind": "cut", "for_ms": 10}, "for_ms"),
                             ({"kind": "melt", "for_ms": 1000}, "melt"), ({"kind": "cut"}, "for_ms"),
                             ({"kind": "cut", "for_ms": 1000, "hard": True}, "hard")]:
            status, answer = controller.api("POST", "/v1/nodes/SNode1/drill", body)
            if status < 400 or wanted not in json.dumps(answer):
                raise Failure(f"{body}: expected {wanted!r}, got {status}: {answer}")
        c.hosts["SNode2"].cut()
        wait_for(lambda: c.node("SNode2")["liveness"] == "lost", 10, "SNode2 lost")
        wait_for(lambda: c.node("SNode1")["liveness"] == "ready", 20, "SNode1 back")
        status, answer = controller.api("POST", "/v1/nodes/SNode2/drill", {"kind": "cut", "for_ms": 1000})
        if status != 409 or "SNode2 is lost" not in json.dumps(answer):
            raise Failure(f"a lost node: expected 409, got {status}: {answer}")


MEASURES = [clocks_an_hour_apart, drill_cut, drill_freeze, drill_kill, drill_reboot, drill_refused]
