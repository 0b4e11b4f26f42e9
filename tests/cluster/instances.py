"""What is done to instances by hand, and what starting and stopping them for a long time leaves, with real containers."""
import contextlib
import os
import pathlib
import time

from fleet import *  # noqa: F403

CYCLES, COMPARED = 1000, 100
PSS_KIB = 256  # that the agent may have more after the last cycle than after the hundredth
START_OVER_S = 75  # by then gantryd has given back the pages that only its start needed (kernel/daemon/daemon.cpp)


@real
def paused_stands_still():
    """A paused instance is shown so, not named, not asked by probes and not restarted, whatever becomes of gantryd; then it goes on."""
    with fleet() as c:
        up(c)
        c.controller().cli("secret", "set", "axis", input="123456")
        endpoint = {"kind": "vsoa", "name": "axis_server", "port": 3002, "password": {"secret": "axis"}}
        deploy(c, manifest(probe=None, endpoint=[endpoint]) | {"probe": [
            {"kind": "tcp", "interval": "200ms"},
            {"kind": "vsoa", "purpose": "liveness", "interval": "200ms", "timeout": "200ms", "failure_threshold": 2}]})
        controller, host = c.controller(), c.hosts[c.wait_ready("axis_server")[0]["node"]]
        wait_for(lambda: counts(c)[host.name] == 1, 5, "its process has become the program")
        before, after = processes(c), last_event(c)

        def state():
            return c.instances("axis_server")[0]["state"]

        def named():
            return resolve(c, controller, "axis_server").get("addr")
        wait_for(named, 5, "it is named")
        said = controller.cli("pause", "axis_server.0").stdout
        if f"axis_server.0 on {host.name} is paused until gantry unpause axis_server.0" not in said:
            raise Failure(f"gantry pause said: {said}")
        wait_for(lambda: state() == "paused" and not named(), 5, lambda: f"paused and not named: {c.instances('axis_server')}")
        if "paused" not in controller.cli("ps").stdout:
            raise Failure(f"gantry ps does not show it:\n{controller.cli('ps').stdout}")
        c.wait_event("paused", 5, after=after, instance="axis_server.0", node=host.name)
        # Its liveness probe would have failed five times by now.
        stays(lambda: state() == "paused" and processes(c) == before, 2, lambda: f"{state()}, {before}, {processes(c)}")
        refused = controller.cli("exec", "axis_server.0", "--", "/bin/axis_server", check=False)
        if refused.returncode == 0 or "is paused" not in refused.stderr:
            raise Failure(f"a command in it: {refused}")
        controller.cli("pause", "axis_server.0")  # it is already
        for order in ("checkpoint", "restore"):  # no machine of these has a criu that works
            refused = controller.cli(order, "axis_server.0", check=False)
            if refused.returncode == 0 or f"is not {order.rstrip('e')}ed: runtime.oci" not in refused.stderr:
                raise Failure(f"gantry {order}: {refused}")

        host.kill_daemon()
        host.start_daemon()
        c.wait_nodes([host.name])
        wait_for(lambda: state() == "paused", 10, lambda: f"known again: {c.instances('axis_server')}")
        stays(lambda: state() == "paused" and processes(c) == before and not named(), 2,
              lambda: f"{state()}, {before}, {processes(c)}, {named()}")

        controller.cli("unpause", "axis_server.0")
        c.wait_ready("axis_server", host.name)
        wait_for(named, 5, "it is named again")
        expect("processes", before, processes(c))
        expect("restarts", 0, c.instances("axis_server")[0]["restarts"])
        stays(lambda: state() == "ready" and processes(c) == before, 1, state)

        for words, command in (("there is no service nothing", ("pause", "nothing.0")),
                               ("there is no service nothing", ("pause", "nothing")),
                               ("there is no service nothing", ("unpause", "nothing.0"))):
            wrong = controller.cli(*command, check=False)
            if wrong.returncode != 3 or words not in wrong.stderr:
                raise Failure(f"gantry {' '.join(command)}: {wrong}")
        # What is paused can be removed.
        controller.cli("pause", "axis_server.0")
        controller.cli("rm", "axis_server", "--wait")
        expect("processes", 0, counts(c)[host.name])


def stopped_and_started():
    """A stopped service runs nowhere, whatever restarts or comes back, until it is started; a deployment does not start it."""
    with fleet() as c:
        up(c)
        controller, nodes = c.controller(), ("SNode1", "SNode2")
        placement = {"mode": "static", "nodes": list(nodes)}
        document = manifest(probe=None, placement=placement)
        del document["service"]["instances"]
        deploy(c, document)
        c.wait_ready("axis_server", count=2)
        wait_for(lambda: counts(c) == dict.fromkeys(nodes, 1), 5, lambda: f"both run: {counts(c)}")
        after = last_event(c)

        def service():
            return c.controller().get("/v1/services/axis_server")

        def nothing():
            return service()["state"] == "stopped" and not any(counts(c).values())
        said = controller.cli("stop", "axis_server", "--wait").stdout
        if "service axis_server is stopped" not in said:
            raise Failure(f"gantry stop said: {said}")
        expect("processes", dict.fromkeys(nodes, 0), counts(c))
        c.wait_event("service-stopped", 5, after=after, service="axis_server")
        if "stopped" not in controller.cli("ps").stdout:
            raise Failure(f"gantry ps does not show it:\n{controller.cli('ps').stdout}")
        if resolve(c, controller, "axis_server").get("addr"):
            raise Failure("a stopped service is named")
        # Neither a controller nor an agent that starts anew, nor a node that boots, runs it.
        controller.kill_daemon()
        c.hosts["SNode1"].kill_daemon()
        controller.start_daemon()
        c.hosts["SNode1"].start_daemon()
        wait_for(controller.ready, 15, "the controller answers")
        c.wait_nodes(nodes)
        c.hosts["SNode2"].reboot(0.5).join()
        c.wait_nodes(nodes)
        stays(nothing, 2, lambda: f"{service()}, {counts(c)}")
        # Nor does a deployment.
        document["container"]["env"]["AXIS_PERIOD_MS"] = "200"
        warned = deploy(c, document)["warnings"]
        expect("warnings", ["axis_server is stopped and stays so: gantry start axis_server runs it"], warned)
        stays(nothing, 1, lambda: f"{service()}, {counts(c)}")
        refused = controller.cli("restart", "axis_server.0", check=False)
        if refused.returncode != 1 or "it is stopped; gantry start axis_server runs it" not in refused.stderr:
            raise Failure(f"a restart of what is stopped: {refused}")

        said = controller.cli("start", "axis_server", "--wait").stdout
        if "service axis_server is ready" not in said:
            raise Failure(f"gantry start said: {said}")
        wait_for(lambda: counts(c) == dict.fromkeys(nodes, 1), 5, lambda: f"both run again: {counts(c)}")
        expect("revision", 2, service()["revision"])
        expect("last move", None, service()["moves"]["last"])
        wrong = controller.cli("stop", "axis_server.0", check=False)
        if wrong.returncode != 3 or "one instance is not stopped alone" not in wrong.stderr:
            raise Failure(f"gantry stop of an instance: {wrong}")


def stopped_while_away():
    """A node that is cut off runs on what is stopped meanwhile, as `gantry services` says, and ends it when it is back."""
    with fleet() as c:
        up(c)
        deploy(c, manifest())
        host = c.hosts[c.wait_ready("axis_server")[0]["node"]]
        host.cut()
        c.wait_event("node-lost", 10, node=host.name)
        controller = c.controller()
        controller.cli("stop", "axis_server")

        def service():
            return controller.get("/v1/services/axis_server")
        wait_for(lambda: service()["state"] == "stopped", 10, lambda: f"it is stopped where it can be: {service()}")
        expect("reason", f"it may run on {host.name} until that is back", service()["reason"])
        expect("processes of the node that is cut off", 1, counts(c)[host.name])
        host.heal()
        c.wait_nodes([host.name])
        wait_for(lambda: not any(counts(c).values()), 10, lambda: f"it ends: {counts(c)}")
        wait_for(lambda: service()["reason"] == "", 10, lambda: f"and that is known: {service()}")
        expect("state", "stopped", service()["state"])


def restarted_in_place():
    """A restarted instance ends by its stop signal and runs anew on its node, without a crash, even if gantryd dies meanwhile."""
    with fleet() as c:
        up(c)
        deploy(c, manifest())
        controller, before = c.controller(), c.wait_ready("axis_server")[0]
        host = c.hosts[before["node"]]
        wait_for(lambda: counts(c)[host.name] == 1, 5, "its process has become the program")
        pids, after = processes(c), last_event(c)
        said = controller.cli("restart", "axis_server.0", "--wait").stdout
        for words in (f"axis_server.0 on {host.name} is being restarted", "axis_server.0 is ready again"):
            if words not in said:
                raise Failure(f"gantry restart said: {said}")

        def one():
            return c.instances("axis_server")[0]
        expect("node, epoch, crashes, restarts", (host.name, before["epoch"], 0, 1),
               (one()["node"], one()["epoch"], one()["crashes"], one()["restarts"]))
        wait_for(lambda: counts(c)[host.name] == 1 and processes(c) != pids, 5, "another process runs")
        c.wait_event("instance-restarted", 5, after=after, instance="axis_server.0", node=host.name)
        for kind in ("exited", "container-exited", "failing"):
            if kind in kinds(c, after):
                raise Failure(f"a restart counts as a failure: {kinds(c, after)}")
        # What was promised is done by the next gantryd.
        controller.cli("restart", "axis_server.0")
        host.kill_daemon()
        host.start_daemon()
        wait_for(lambda: one()["attempt"] >= 3 and one()["state"] == "ready", 15, one)
        expect("crashes", 0, one()["crashes"])
        # Of the service as a whole: a revision that changes nothing, without a gap.
        after = last_event(c)
        controller.cli("restart", "axis_server", "--wait")
        expect("revision", 2, controller.get("/v1/services/axis_server")["revision"])
        expect("epoch", before["epoch"] + 1, one()["epoch"])
        c.wait_event("service-restarted", 5, after=after, service="axis_server")
        wait_for(lambda: sum(counts(c).values()) == 1, 5, lambda: f"one copy runs: {processes(c)}")


def measured(cluster, host):
    """What the agent's gantryd has, and what of its containers is left: exact figures, and PSS in KiB."""
    process = pathlib.Path(f"/proc/{host.daemon_pid()}")
    groups = sum(1 for folder, _, _ in os.walk("/sys/fs/cgroup") if f"/{cluster.id}/{host.name}" in folder)
    rollup = dict(line.split()[:2] for line in (process / "smaps_rollup").read_text().splitlines()[1:])
    return {"descriptors": len(os.listdir(process / "fd")), "threads": len(os.listdir(process / "task")),
            "mounts": len((process / "mountinfo").read_text().splitlines()), "cgroups": groups,
            "containers": len(os.listdir(host.dir / "state/plugins/runtime.oci/containers"))}, int(rollup["Pss:"])


def at_rest(cluster, host, like):
    """What is there when nothing is under way any more: twice the same, and as much as in `like` if that is reached."""
    looks = [measured(cluster, host)]

    def stands():
        looks.append(measured(cluster, host))
        return looks[-1][0] == (like or looks[-2])[0]
    with contextlib.suppress(Failure):  # then the difference is told
        wait_for(stands, 10, "it stands still", pause=0.5)
    return looks[-1]


@real
def thousand_cycles():
    """A thousand containers later the agent has the descriptors, threads, mounts and cgroups that it had, and 256 KiB more at most."""
    with fleet(("SNode1",)) as c:
        began = time.monotonic()
        up(c)
        host, found = c.hosts["SNode1"], {}
        for cycle in range(1, CYCLES + 1):
            deploy(c, manifest(nodes=["SNode1"]))
            c.wait_ready("axis_server", "SNode1", 60)
            expect("status", 200, c.controller().api("DELETE", "/v1/services/axis_server")[0])
            wait_for(lambda: not c.controller().get("/v1/services")["items"], 60, f"cycle {cycle}: it is gone")
            if cycle == COMPARED // 2:
                time.sleep(max(0, began + START_OVER_S - time.monotonic()))
            if cycle in (COMPARED, CYCLES):
                found[cycle] = at_rest(c, host, found.get(COMPARED))
                print(f"after {cycle} cycles: {found[cycle]}", flush=True)
        expect("after the last cycle", found[COMPARED][0], found[CYCLES][0])
        if found[CYCLES][1] > found[COMPARED][1] + PSS_KIB:
            raise Failure(f"PSS: {found[COMPARED][1]} KiB after {COMPARED} cycles, {found[CYCLES][1]} KiB after {CYCLES}")


INSTANCES = [paused_stands_still, stopped_and_started, stopped_while_away, restarted_in_place]
LONG_INSTANCES = [thousand_cycles]
