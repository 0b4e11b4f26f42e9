#!/usr/bin/env python3
"""Measures the figures of docs/performance.md and exits with 1 if one is above its limit.

    tests/bench/figures.py failover [ROUNDS]   cable cut, powered off with a reset, announced reboot -> ready elsewhere
    tests/bench/figures.py healed [ROUNDS]     a cable is in again, 10 to 11 s after the other copy ran -> one copy
    tests/bench/figures.py start [ROUNDS]      exec of gantryd -> it answers on its socket
    tests/bench/figures.py exchange [ROUNDS]   longest wait of a request while gantryd starts anew on itself
    tests/bench/figures.py memory [SECONDS]    PSS and private dirty of an agent with 10 instances; of a controller of 10 nodes
    tests/bench/figures.py measuring [SECONDS] CPU that a node with 10 instances takes to measure, beside one that does not
    tests/bench/figures.py writes [SECONDS]    bytes written to disk in an hour at rest: three nodes, a controller, 10 instances
    tests/bench/figures.py deploy [ROUNDS]     gantry deploy of a stored image -> running, beside runc run of the same bundle
    tests/bench/figures.py quiet [SECONDS]     false "lost" while both cores are busy
    tests/bench/figures.py lossy [SECONDS]     false "lost" while every host loses 5% of its packets, profile "lossy"
    tests/bench/figures.py build               a release build from nothing, without ccache
    tests/bench/figures.py rebuild [--all]     one .cpp touched -> dev is built again; a sample, or every .cpp of the product

The first ten start real hosts (GANTRY_BUILD names the build, default build/release). failover also draws its times as
curves, build/curves/failover.svg (GANTRY_CURVES names another folder). The last two build in temporary
folders.
"""
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cluster"))
from fleet import *  # noqa: F403, E402
import builds  # noqa: E402
import curves  # noqa: E402
import runc_baseline  # noqa: E402
from hosts import enter  # noqa: E402


NAMES = ["SNode1", "SNode2", "SNode3"]


class Figures:
    """What was measured, each with its limit."""

    def __init__(self):
        self.above = []

    def add(self, what, value, limit, unit, more=""):
        verdict = "" if limit is None else f", limit {limit:.4g} {unit}"
        sentence = f"{what}: {value:.4g} {unit}{verdict}{more}"
        if limit is not None and value > limit:
            self.above.append(sentence)
        print(sentence)

    def add_times(self, what, times_ms, limit_ms, p95_limit_ms=None):
        self.add(what, statistics.median(times_ms), limit_ms, "ms",
                 f" (median; {min(times_ms):.0f} .. {max(times_ms):.0f}, {len(times_ms)} rounds)")
        if p95_limit_ms is not None:
            self.add(f"{what}: p95", sorted(times_ms)[-(len(times_ms) // 20) - 1], p95_limit_ms, "ms")


def failover(figures, rounds="20"):
    results = {"cable cut": [], "powered off": [], "announced reboot": []}
    lost = {"cable cut": [], "powered off": []}
    print(f"load of the machine before: {os.getloadavg()[0]:.2f}")
    with fleet(timing={"return_hold": "1s"}) as c:
        up(c)
        deploy(c, manifest())
        for kind, times in results.items():
            for _ in range(int(rounds)):
                c.wait_nodes(["SNode1", "SNode2"])
                node = c.wait_ready("axis_server")[0]["node"]
                wait_for(lambda: sum(counts(c).values()) == 1, 10, "one copy before the round")
                other = "SNode2" if node == "SNode1" else "SNode1"
                after, host = last_event(c), c.hosts[node]
                began = time.time()
                if kind == "cable cut":
                    host.cut()
                elif kind == "powered off":
                    host.power_off(reset=True)
                else:
                    host.api("POST", "/v1/node/leave")
                ready = c.wait_event("ready", 30, after, service="axis_server", node=other)
                times.append((when(ready) - began) * 1000)
                if kind in lost:
                    event = c.wait_event("node-lost", 1, after, node=node)
                    lost[kind].append((when(event) - began) * 1000)
                if kind == "cable cut":
                    host.heal()
                else:
                    host.power_off()
                    host.start()
    print(f"load of the machine behind: {os.getloadavg()[0]:.2f}")
    for kind, times in lost.items():
        figures.add_times(f"{kind} -> lost", times, None)
    figures.add_times("cable cut -> ready elsewhere", results["cable cut"], 1200, 1600)
    figures.add_times("powered off, reset seen -> ready elsewhere", results["powered off"], 1000)
    figures.add_times("announced reboot -> ready elsewhere", results["announced reboot"], 500)
    curves.draw(curves.folder() / "failover.svg", "ready on another node after ...", "ms", results, (1000, 1200))


def healed(figures, rounds="10"):
    times = []
    with fleet(timing={"return_hold": "1s"}) as c:
        up(c)
        deploy(c, manifest())
        for number in range(int(rounds)):
            c.wait_nodes(["SNode1", "SNode2"])
            node = c.wait_ready("axis_server")[0]["node"]
            other = "SNode2" if node == "SNode1" else "SNode1"
            wait_for(lambda: sum(counts(c).values()) == 1, 10, "one copy before the round")
            c.hosts[node].cut()
            c.wait_ready("axis_server", other)
            # By then the node has dialled in vain, in one round longer than in another.
            until = time.monotonic() + 10 + number % 10 / 10
            wait_for(lambda: time.monotonic() >= until or counts(c) != {node: 1, other: 1}, 15, "it is time", pause=0.1)
            expect("processes while cut off", {node: 1, other: 1}, counts(c))
            began = time.monotonic()
            c.hosts[node].heal()
            wait_for(lambda: counts(c)[node] == 0, 30, lambda: f"one copy: {counts(c)}", pause=0.01)
            times.append((time.monotonic() - began) * 1000)
    figures.add_times("a cable is in again -> one copy", times, None)
    figures.add("a cable is in again -> one copy, the longest", max(times), 1000, "ms")


def answers(host):
    try:
        return host.api("GET", "/v1/nodes", timeout=2)[0] == 200
    except OSError:
        return False


def start(figures, rounds="10"):
    times = []
    with fleet(image=False) as c:
        host = c.hosts["controller"].start()
        wait_for(host.ready, 15, "it answers")
        for _ in range(int(rounds)):
            host.kill_daemon()
            began = time.monotonic()
            host.start_daemon()
            wait_for(lambda: answers(host), 15, f"it answers: {host.log_tail()}", pause=0.001)
            times.append((time.monotonic() - began) * 1000)
    figures.add_times("exec of gantryd, nsenter included -> ready on the socket", times, 100)


class Asker(threading.Thread):
    """Asks without a pause; the longest wait since reset()."""

    def __init__(self, host):
        super().__init__(daemon=True)
        self.host, self.longest_ms, self.failed, self.done = host, 0, [], False
        self.start()

    def run(self):
        while not self.done:
            began = time.monotonic()
            try:
                status, answer = self.host.api("GET", "/v1/nodes")
                if status != 200:
                    self.failed.append(answer)
            except OSError as error:
                self.failed.append(error)
            self.longest_ms = max(self.longest_ms, (time.monotonic() - began) * 1000)


def exchange(figures, rounds="10"):
    times, usual = [], []
    with fleet() as c:
        up(c)
        deploy(c, manifest())
        c.wait_ready("axis_server")
        controller = c.controller()
        asker = Asker(controller)
        for _ in range(int(rounds)):
            asker.longest_ms = 0
            time.sleep(0.5)
            usual.append(asker.longest_ms)
            asker.longest_ms = 0
            controller.cli("plugins", "reload", "placement.least-loaded")
            times.append(asker.longest_ms)
        asker.done = True
        asker.join()
        expect("requests that failed", [], asker.failed)
    figures.add_times("longest wait of a request in half a second without an exchange", usual, None)
    figures.add_times("longest wait of a request while gantryd starts anew on itself", times, 100)


def pss(pid):
    values = {}
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        key, value = line.split()[:2]
        values[key.rstrip(":")] = int(value) / 1024
    return values["Pss"], values["Private_Dirty"]


def memory(figures, seconds="30"):
    names = [f"SNode{n}" for n in range(1, 11)]
    with fleet(names) as c:
        up(c)
        for number in range(10):
            deploy(c, manifest(f"axis{number}", nodes=["SNode1"], port=4000 + number))
            c.wait_ready(f"axis{number}")
        time.sleep(float(seconds))
        expect("instances", 10, counts(c)["SNode1"])
        agent, dirty = pss(c.hosts["SNode1"].daemon_pid())
        controller, _ = pss(c.controller().daemon_pid())
        for host in c.hosts.values():
            if host.name != "SNode1":
                host.kill_daemon(signal.SIGTERM)
        alone, _ = pss(c.hosts["SNode1"].daemon_pid())
    figures.add(f"agent with 10 instances after {seconds} s: PSS", agent, 9, "MiB")
    figures.add("the same: private dirty", dirty, 5, "MiB")
    figures.add(f"controller of 10 nodes after {seconds} s: PSS", controller, 13, "MiB")
    figures.add("the agent as the only gantryd of the machine: PSS", alone, 9, "MiB")


def cpu_s(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def sent_bytes(host):
    line = next(line for line in host.inside("cat", "/proc/net/dev").stdout.splitlines() if line.strip().startswith("eth0:"))
    return int(line.split(":")[1].split()[8])


def measuring(figures, seconds="120"):
    """Two nodes with 10 instances each, of which one measures every five seconds and the other once an hour."""
    names = ["SNode1", "SNode2"]
    with fleet(names) as c:
        file = c.hosts["SNode2"].dir / "gantry.toml"
        file.write_text(file.read_text().replace("[node]\n", '[node]\nmeasure_every = "1h"\n'))
        up(c)
        for number in range(10):
            for node in names:
                deploy(c, manifest(f"axis-{node}-{number}", nodes=[node], port=4000 + number))
        for number in range(10):
            for node in names:
                c.wait_ready(f"axis-{node}-{number}")
        time.sleep(15)
        pids = {name: c.hosts[name].daemon_pid() for name in names}
        cpu, sent = {name: cpu_s(pids[name]) for name in names}, {name: sent_bytes(c.hosts[name]) for name in names}
        time.sleep(float(seconds))
        cpu = {name: (cpu_s(pids[name]) - cpu[name]) / float(seconds) * 100 for name in names}
        sent = {name: (sent_bytes(c.hosts[name]) - sent[name]) / float(seconds) for name in names}
        expect("instances measured", 10, sum("memory_used_bytes" in i for i in c.instances() if i["node"] == "SNode1"))
    print(f"load of the machine: {os.getloadavg()[0]:.2f}")
    figures.add("gantryd of a node with 10 instances that measures", cpu["SNode1"], None, "% of a core")
    figures.add("the same, measuring once an hour", cpu["SNode2"], None, "% of a core")
    figures.add("what measuring takes", cpu["SNode1"] - cpu["SNode2"], 0.5, "% of a core")
    figures.add("what the node that measures sends", sent["SNode1"], None, "bytes/s")
    figures.add("what the other sends", sent["SNode2"], None, "bytes/s")


WRITTEN = """cd /proc; for p in [0-9]*; do
case $(cat $p/comm 2>/dev/null) in
  gantryd|gantry-guard|gantry-process-|conmon) echo $(cat $p/comm) $p $(grep ^write_bytes $p/io) ;;
esac; done; true"""


def written(c):
    """Bytes that each process of Gantry has had written to disk, by (host, program, pid)."""
    found = {}
    for host in c.hosts.values():
        for line in host.inside("sh", "-c", WRITTEN).stdout.splitlines():
            program, pid, _, count = line.split()
            found[host.name, program, int(pid)] = int(count)
    return found


def writes(figures, seconds="60"):
    if not pathlib.Path("/proc/self/io").exists():
        raise Failure("this kernel does not count what a process writes (CONFIG_TASK_IO_ACCOUNTING)")
    with fleet(NAMES) as c:
        up(c)
        for number in range(10):
            deploy(c, manifest(f"axis{number}", nodes=NAMES, port=4000 + number))
        for number in range(10):
            c.wait_ready(f"axis{number}")
        time.sleep(30)  # what was to be done for them is on disk
        before, events = written(c), last_event(c)
        time.sleep(float(seconds))
        after = written(c)
        told = [event["text"] for event in c.events(events)]
    if not any(count for (_, program, _), count in before.items() if program == "gantryd"):
        raise Failure("nothing was counted while the services were deployed: the disk of this folder is no disk")
    if before.keys() != after.keys() or told:
        raise Failure(f"the cluster was not at rest: {sorted(before.keys() ^ after.keys())} {told}")
    by_program = {}
    for (_, program, _), count in after.items():
        by_program[program] = by_program.get(program, 0) + count
    for (_, program, _), count in before.items():
        by_program[program] -= count
    hours = float(seconds) / 3600
    print(", ".join(f"{program}: {count} bytes" for program, count in sorted(by_program.items())),
          f"(until then gantryd: {sum(n for (_, program, _), n in before.items() if program == 'gantryd')})")
    figures.add(f"written by {len(after)} processes in {seconds} s, for an hour", sum(by_program.values()) / hours / 1e6, 1, "MB")


def deploy_time(figures, rounds="10"):
    """Both start the same program from the same layer with the same config.json; each round one of either."""
    ours, theirs = [], []
    with fleet(nodes=["SNode1"]) as c:
        up(c)
        deploy_by_cli(c, "warm", 4999)
        baseline = runc_baseline.Baseline(c, c.hosts["SNode1"])
        for number in range(int(rounds)):
            ours.append(deploy_by_cli(c, f"axis{number}", 4000 + number))
            theirs.append(baseline.run(number, 5000 + number))
    median, allowed = statistics.median(theirs), 1.3 * statistics.median(theirs) + 20
    figures.add_times("runc run of the same bundle", theirs, None)
    figures.add_times("gantry deploy of a stored image -> running", ours, allowed)
    print(f"ratio {statistics.median(ours) / median:.2f}; allowed are 1.3 x {median:.0f} + 20 = {allowed:.0f} ms")


def deploy_by_cli(c, name, port):
    file = c.dir / f"{name}.toml"
    file.write_text(f'[service]\nname = "{name}"\nimage = "{IMAGE}"\n[placement]\nnodes = ["SNode1"]\n'
                    f'[container]\nenv = {{ VSOA_AUTO_PORT = "{port}" }}\n')
    began = time.monotonic()
    c.controller().cli("deploy", str(file))
    return (time.monotonic() - began) * 1000


TICKER = """
import time
last = time.monotonic()
while True:
    time.sleep(0.01)
    now = time.monotonic()
    if now - last > 0.5:
        print(f"stall of {now - last:.1f} s")
    last = now
"""


def quiet(figures, seconds="600"):
    """Every core busy, nothing fails: nobody may be called lost. Stalls of the machine are reported, not blamed."""
    with fleet() as c:
        up(c)
        deploy(c, manifest())
        c.wait_ready("axis_server")
        after = last_event(c)
        load = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count())]
        ticker = subprocess.Popen([sys.executable, "-u", "-c", TICKER], stdout=subprocess.PIPE, text=True)
        time.sleep(float(seconds))
        for process in [*load, ticker]:
            process.kill()
            process.wait()
        stalls = ticker.stdout.read().splitlines()
        lost = [e["text"] for e in c.events(after) if e["kind"] == "node-lost"]
    more = f"; {len(stalls)} stalls of the machine above 500 ms {stalls[:3]}"
    figures.add(f"false lost in {seconds} s of full load", len(lost), None if stalls else 0, "nodes", f"{more} {lost[:3]}")


def lossy(figures, seconds="1800"):
    """5% of what comes to any host is lost, heartbeats as well as their acknowledgements."""
    with fleet(NAMES, profile="lossy") as c:
        up(c)
        deploy(c, manifest(nodes=NAMES))
        c.wait_ready("axis_server")
        after = last_event(c)
        for host in c.hosts.values():
            host.drop_packets("numgen random mod 100 < 5")
        time.sleep(float(seconds))
        pauses = {name: c.node(name)["greatest_pause_ms"] for name in NAMES}
        events = [e["text"] for e in c.events(after) if e["kind"] in ("node-lost", "node-cut-off")]
        suspects = kinds(c, after).count("node-suspect")
        lost = [text for text in events if "is lost" in text]
    figures.add(f"false lost in {seconds} s with 5% of all packets lost", len(lost), 0, "nodes",
                f"; suspect {suspects} times, greatest pauses {pauses} ms; {events[:3]}")


def build(figures):
    figures.add("release build from nothing", builds.release_seconds(), 480, "s")


def rebuild(figures, which=""):
    for name, seconds in builds.rebuild_seconds(everything=which == "--all"):
        figures.add(f"{name} touched -> dev is built again", seconds, builds.limit_s(name), "s")


ON_HOSTS = {"failover": failover, "healed": healed, "start": start, "exchange": exchange, "memory": memory, "measuring": measuring, "writes": writes,
            "deploy": deploy_time, "quiet": quiet, "lossy": lossy}
FIGURES = {**ON_HOSTS, "build": build, "rebuild": rebuild}


def main():
    if len(sys.argv) < 2 or sys.argv[1] not in FIGURES:
        print(__doc__)
        return 64
    if sys.argv[1] in ON_HOSTS:
        enter()
    figures = Figures()
    try:
        FIGURES[sys.argv[1]](figures, *sys.argv[2:])
    except Failure as failure:
        print(f"FAILED: {failure}")
        return 1
    for sentence in figures.above:
        print(f"ABOVE ITS LIMIT: {sentence}")
    return 1 if figures.above else 0


if __name__ == "__main__":
    sys.exit(main())
