"""Plugins in processes of their own: killed, exchanged, all of them at once."""
import collections
import re
import subprocess
import sys
import threading

from fleet import *  # noqa: F403
from hosts import ended

# Ends the process of a plugin every 50 ms for 5 s; it has the plugin's name, as far as the system keeps it.
KILLER = """
import os, pathlib, signal, time
end, kills = time.monotonic() + 5, 0
while time.monotonic() < end:
    for comm in pathlib.Path("/proc").glob("[0-9]*/comm"):
        try:
            if comm.read_text().strip() == "placement.least":
                os.kill(int(comm.parent.name), signal.SIGKILL)
                kills += 1
        except OSError:
            pass
    time.sleep(0.05)
print(kills)
"""


def plugin(host, title):
    return next(p for p in host.get("/v1/plugins")["items"] if f"{p['role']}.{p['name']}" == title)


def with_runtime(cluster, runtime):
    """Before the hosts start."""
    cluster.runtime = runtime
    for host in cluster.hosts.values():
        host.write_config()
    return cluster


def policy_killed(deployments=500):
    """A policy's process is killed every 50 ms for 5 s during 500 deployments: all run in the end, none twice."""
    # A node that a busy machine lets be silent for a moment would be moved away from.
    calm = {"suspect_after": "20s", "lost_after": "30s", "reset_grace": "20s", "start_grace": "40s"}
    with fleet(isolated=["placement.least-loaded"], timing=calm) as c:
        up(with_runtime(c, "process"))
        controller, after = c.controller(), last_event(c)
        killer = subprocess.Popen([*controller.enter_command(), sys.executable, "-c", KILLER], stdout=subprocess.PIPE,
                                  text=True)
        for number in range(deployments):
            deploy(c, manifest(f"axis{number:03}", port=4000 + number, probe=None,
                               resources={"cpu": 0.001, "memory": "1MiB"}))
        ended(killer, 30, "what kills the policy")
        kills = int(killer.stdout.read())

        def left():
            return [(i["instance"], i["state"], i["pending"]) for i in c.instances() if i["state"] != "ready"]
        wait_for(lambda: len(c.instances()) == deployments and not left(), 240,
                 lambda: f"{deployments} ready; {len(left())} are not: {left()[:5]}", pause=0.5)
        wait_for(lambda: sum(counts(c).values()) == deployments, 10, lambda: f"{deployments} processes: {counts(c)}")
        placed = collections.Counter(e["fields"]["instance"] for e in c.events(after) if e["kind"] == "placed")
        expect("placed more than once", [], [name for name, times in placed.items() if times != 1])
        expect("instances placed", deployments, len(placed))
        now = plugin(controller, "placement.least-loaded")
        held = [float(amount) * {"ms": 1, "s": 1000}[unit] for amount, unit in
                re.findall(r"placement\.least-loaded: (?!init |start )[a-z ]+ held the loop for ([0-9.]+) (ms|s),", controller.log.read_text())]
        print(f"{kills} kills, {now['restarts']} restarts, slow calls {now['slow_calls']}, of them over 50 ms: {held}")
        expect("state", "running", now["state"])
        if kills < 4 or now["restarts"] < 4:
            raise Failure(f"expected 4 kills at least, got {kills}, and restarts {now['restarts']}")
        # Who waited for the policy would have held the loop for its second. A heartbeat is what the core forgives.
        expect("calls that held the loop for longer than a heartbeat", [], [ms for ms in held if ms > 200])


def all_isolated():
    """With every plugin in a process of its own a cluster deploys, restarts what falls and moves what is lost."""
    with fleet() as c:
        c.hosts["controller"].settings["isolated"] = ["placement.least-loaded", "store.sqlite", "transport.vsoa",
                                                      "directory.vsoa", "frontend.http"]
        for name in ("SNode1", "SNode2"):
            runtime = f"runtime.{c.runtime}"
            c.hosts[name].settings["isolated"] = [runtime, "transport.vsoa", "directory.vsoa", "discovery.static",
                                                  "probe.tcp", "probe.vsoa", "frontend.http"]
        up(with_runtime(c, c.runtime))
        for host in c.hosts.values():
            expect(f"plugins of {host.name} that are not isolated", [],
                   [p["name"] for p in host.get("/v1/plugins")["items"] if p["isolation"] != "process"])
        deploy(c, manifest())
        node = c.wait_ready("axis_server")[0]["node"]
        wait_for(lambda: resolve(c, c.hosts[node], "axis_server").get("addr") == c.hosts[node].address, 5, "its name")
        before = processes(c)
        runtime = plugin(c.hosts[node], f"runtime.{c.runtime}")
        c.hosts[node].inside("kill", "-KILL", str(runtime["pid"]))
        wait_for(lambda: plugin(c.hosts[node], f"runtime.{c.runtime}")["restarts"] == 1, 10, "the runtime is back")
        c.wait_ready("axis_server", node)
        expect("processes, the runtime's death notwithstanding", before, processes(c))
        c.hosts[node].power_off()
        other = "SNode2" if node == "SNode1" else "SNode1"
        c.wait_ready("axis_server", other)
        expect("processes", 1, counts(c)[other])


def plugin_exchanged(rounds=100):
    """A policy is exchanged 100 times during deployments: none is refused, and nothing of gantryd grows."""
    with fleet(isolated=["placement.least-loaded"]) as c:
        up(with_runtime(c, "process"))
        controller = c.controller()
        daemon = controller.pids("gantryd")[0]

        def size():
            fds = controller.inside("sh", "-c", f"ls /proc/{daemon}/fd | wc -l").stdout
            status = controller.inside("cat", f"/proc/{daemon}/status").stdout
            return int(fds), int(status.split("VmRSS:")[1].split()[0])

        def exchange(times):
            for _ in range(times):
                controller.cli("plugins", "reload", "placement.least-loaded")

        failed = []

        def work():
            try:
                for number in range(40):
                    deploy(c, manifest(f"axis{number:03}", port=4000 + number, probe=None, resources={"cpu": 0.001, "memory": "1MiB"}))
            except Exception as failure:  # whatever it was, it is told
                failed.append(failure)
        exchange(10)
        worker = threading.Thread(target=work)
        worker.start()
        before = size()
        exchange(rounds)
        worker.join()
        expect("deployments that failed", [], failed)
        now = plugin(controller, "placement.least-loaded")
        expect("restarts", 0, now["restarts"])
        wait_for(lambda: sum(i["state"] == "ready" for i in c.instances()) == 40, 60, "40 run")
        after = size()
        print(f"descriptors and KiB before {before}, after {after}; slow calls {now['slow_calls']}")
        if after[0] > before[0] + 2 or after[1] > before[1] + 4096:
            raise Failure(f"gantryd grew: descriptors and KiB before {before}, after {after}")


ISOLATED, LONG_ISOLATED = [all_isolated, plugin_exchanged], [policy_killed]
