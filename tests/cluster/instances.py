"""What is done to instances by hand, and what starting and stopping them for a long time leaves, with real containers."""
import contextlib
import os
import pathlib

from fleet import *  # noqa: F403

CYCLES, COMPARED = 1000, 100
PSS_KIB = 256  # that the agent may have more after the last cycle than after the hundredth


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


def measured(cluster, host):
    """What the agent's gantryd has, and what of its containers is left: exact figures, and PSS in KiB."""
    process = pathlib.Path(f"/proc/{host.daemon_pid()}")
    groups = sum(1 for folder, _, _ in os.walk("/sys/fs/cgroup") if f"/{cluster.id}/{host.name}" in folder)
    rollup = dict(line.split()[:2] for line in (process / "smaps_rollup").read_text().splitlines()[1:])
    return {"descriptors": len(os.listdir(process / "fd")), "threads": len(os.listdir(process / "task")),
            "mounts": len((process / "mountinfo").read_text().splitlines()), "cgroups": groups,
            "containers": len(os.listdir(host.dir / "state/runtime/oci/containers"))}, int(rollup["Pss:"])


def at_rest(cluster, host, like):
    """What is there when nothing is under way any more: twice the same, and as much as in `like` if that is reached."""
    looks = [measured(cluster, host)]

    def stands():
        looks.append(measured(cluster, host))
        return looks[-1][0] == (like or looks[-2])[0]
    with contextlib.suppress(Failure):  # then the difference is told
        wait_for(stands, 10, "it stands still", pause=0.5)
    return looks[-1]


def thousand_cycles():
    """A thousand containers later the agent has the descriptors, threads, mounts and cgroups that it had, and 256 KiB more at most."""
    with fleet(("SNode1",)) as c:
        up(c)
        host, found = c.hosts["SNode1"], {}
        for cycle in range(1, CYCLES + 1):
            deploy(c, manifest(nodes=["SNode1"]))
            c.wait_ready("axis_server", "SNode1", 60)
            expect("status", 200, c.controller().api("DELETE", "/v1/services/axis_server")[0])
            wait_for(lambda: not c.controller().get("/v1/services")["items"], 60, f"cycle {cycle}: it is gone")
            if cycle in (COMPARED, CYCLES):
                found[cycle] = at_rest(c, host, found.get(COMPARED))
                print(f"after {cycle} cycles: {found[cycle]}", flush=True)
        expect("after the last cycle", found[COMPARED][0], found[CYCLES][0])
        if found[CYCLES][1] > found[COMPARED][1] + PSS_KIB:
            raise Failure(f"PSS: {found[COMPARED][1]} KiB after {COMPARED} cycles, {found[CYCLES][1]} KiB after {CYCLES}")


INSTANCES = [paused_stands_still]
LONG_INSTANCES = [thousand_cycles]
