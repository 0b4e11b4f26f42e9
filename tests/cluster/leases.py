"""overlap = "forbid" on real hosts: what a lease no longer covers is dead before another copy starts."""
import os
import signal
import subprocess
import threading
import time

from fleet import *  # noqa: F403
from hosts import ended

LEASE_S, KILL_S = 3.0, 0.5
SPAN_S = (LEASE_S + KILL_S) * 1.001 / 0.999


def forbidden(nodes=("SNode1", "SNode2"), **changes):
    return manifest(nodes=nodes, placement={"mode": "dynamic", "nodes": list(nodes), "overlap": "forbid"}, **changes)


class Sampler:
    """Looks at both hosts every 10 ms, from outside: which containers' processes are not frozen, zombies or gone."""

    def __init__(self, cluster):
        self.cluster, self.samples, self.enough = cluster, [], threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def alive(self, host, **states):
        out = 0
        for folder in (f"/sys/fs/cgroup/unified/{self.cluster.id}/{host.name}", f"/sys/fs/cgroup/{self.cluster.id}/{host.name}"):
            if not os.path.isdir(folder):
                continue
            for name in os.listdir(folder):
                if name.startswith("gantry-"):
                    out += runs(f"{folder}/{name}", **states)
            return out
        return out

    def look(self):
        here = {host.name: self.alive(host) for host in self.cluster.hosts.values() if host.node}
        self.samples.append((time.clock_gettime(time.CLOCK_BOOTTIME), here))

    def run(self):
        while not self.enough.is_set():
            began = time.monotonic()
            self.look()
            time.sleep(max(0, 0.01 - (time.monotonic() - began)))

    def end(self):
        self.enough.set()
        self.thread.join()
        self.look()  # what is there now is seen, however busy the machine was
        return self.samples


def runs(group, not_running="ZXT"):
    """Whether the program of the container in this cgroup runs: not stopped, and not the engine's init before it."""
    try:
        pids = open(f"{group}/cgroup.procs").read().split()
    except OSError:
        return False
    for pid in pids:
        try:
            state = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[0]
            program = open(f"/proc/{pid}/comm").read().strip()
        except OSError:
            continue
        if state not in not_running and program == "axis_server":
            return True
    return False


def never_both(samples, least=50):
    if len(samples) < least:
        raise Failure(f"expected at least {least} samples, got {len(samples)}")
    both = [at for at, here in samples if sum(here.values()) > 1]
    if both:
        raise Failure(f"two copies ran at once in {len(both)} of {len(samples)} samples, over {both[-1] - both[0]:.3f} s")


def last_seen(samples, name):
    return max(at for at, here in samples if here[name])


def first_seen(samples, name):
    return min(at for at, here in samples if here[name])


def leased(c, **changes):
    """A service under forbid that runs; its node and the other one."""
    up(c)
    deploy(c, forbidden(**changes))
    node = c.wait_ready("axis_server")[0]["node"]
    return node, "SNode2" if node == "SNode1" else "SNode1"


def report(samples, cut_at, node, other):
    dead, back = last_seen(samples, node) - cut_at, first_seen(samples, other) - cut_at
    print(f"after the cut: last seen alive {dead:.2f} s, other copy first seen {back:.2f} s, {len(samples)} samples")
    if dead > LEASE_S + KILL_S:
        raise Failure(f"expected the old copy dead by D + K, {LEASE_S + KILL_S} s after the cut, it was seen at {dead:.2f} s")
    # The last heartbeat that was answered may have come almost a heartbeat before the cut.
    if back < SPAN_S - 0.25:
        raise Failure(f"expected the new copy after U, {SPAN_S:.2f} s after the last grant, it was there at {back:.2f} s")


def boottime():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def forbid_cable_cut():
    """Cut off, a copy under forbid is dead by D + K on its node, the other starts after U: never both, every 10 ms."""
    with fleet() as c:
        node, other = leased(c)
        sampler = Sampler(c)
        after, at = last_event(c), boottime()
        c.hosts[node].cut()
        c.wait_ready("axis_server", other)
        samples = sampler.end()
        never_both(samples)
        report(samples, at, node, other)
        for kind in ("move-waits-for-lease", "lease-expired"):
            c.wait_event(kind, 1, after)
        c.hosts[node].heal()
        c.wait_event("fenced", 20, after, node=node)
        stays(lambda: counts(c) == {node: 0, other: 1}, 2, lambda: f"one process, on {other}: {counts(c)}")


def forbid_gantryd_killed():
    """Cut off and its gantryd killed, the guard alone kills the copy by D + K; started again, gantryd runs nothing."""
    with fleet() as c:
        node, other = leased(c)
        sampler, at = Sampler(c), boottime()
        c.hosts[node].cut()
        c.hosts[node].kill_daemon()
        c.wait_ready("axis_server", other)
        samples = sampler.end()
        never_both(samples)
        report(samples, at, node, other)
        c.hosts[node].start_daemon()
        stays(lambda: counts(c)[node] == 0, 3, lambda: f"nothing on {node}: {counts(c)}")


def guards(host):
    return host.pids("gantry-guard")


def forbid_guard_killed():
    """The guard is killed: another is there at once and the copy runs on; without a program to start, the copy dies."""
    with fleet() as c:
        node, _ = leased(c)
        host = c.hosts[node]
        before, (guard,) = processes(c), guards(host)
        host.inside("kill", "-9", str(guard))
        wait_for(lambda: guards(host) not in ([], [guard]), 5, "another guard")
        stays(lambda: processes(c) == before, LEASE_S + 2, lambda: f"it runs on: {before}, {processes(c)}")
        # A guard that cannot be had.
        hidden = c.build / "lib/gantry/gantry-guard"
        (guard,) = guards(host)
        host.inside("mount", "--bind", "/dev/null", str(hidden))
        began = time.monotonic()
        host.inside("kill", "-9", str(guard))
        wait_for(lambda: counts(c)[node] == 0, 5, lambda: f"the copy is killed: {counts(c)}", pause=0.001)
        print(f"without a guard the copy was dead {time.monotonic() - began:.2f} s after it was killed")
        host.inside("umount", str(hidden))
        c.wait_ready("axis_server", node, seconds=20)


def forbid_agent_restart():
    """gantryd is killed and started again within the lease: the copy runs on by the deadline that the guard holds."""
    with fleet() as c:
        node, _ = leased(c)
        host, before = c.hosts[node], processes(c)
        (guard,) = guards(host)
        for _ in range(2):
            session = c.node(node)["session"]
            host.kill_daemon()
            host.start_daemon()
            wait_for(lambda: c.node(node)["session"] > session, 15, "a new session")
            stays(lambda: processes(c) == before, LEASE_S + 1, lambda: f"it runs on: {before}, {processes(c)}")
        expect("guard", [guard], guards(host))
        # Cut off meanwhile it takes D from the guard and sets no new one.
        sampler, at = Sampler(c), boottime()
        host.cut()
        time.sleep(1)
        host.kill_daemon()
        host.start_daemon()
        wait_for(lambda: counts(c)[node] == 0, 10, lambda: f"the copy is dead: {counts(c)}")
        samples = sampler.end()
        never_both(samples)
        if (dead := last_seen(samples, node) - at) > LEASE_S + KILL_S:
            raise Failure(f"expected it dead by {LEASE_S + KILL_S} s after the cut, it was seen at {dead:.2f} s")


def forbid_cut_healed():
    """A node that is back before U keeps its copy: the move is cancelled."""
    with fleet() as c:
        node, _ = leased(c)
        before, after = processes(c), last_event(c)
        c.hosts[node].cut()
        c.wait_event("move-waits-for-lease", 10, after)
        c.hosts[node].heal()
        c.wait_event("returned", 15, after)
        wait_for(lambda: c.wait_ready("axis_server", node), 10, "ready again")
        expect("epoch", 1, c.instances("axis_server")[0]["epoch"])
        stays(lambda: sum(counts(c).values()) <= 1, 3, lambda: f"one process: {counts(c)}")
        if processes(c) != before:
            raise Failure(f"expected the same process, {before}, got {processes(c)}")


def forbid_controller_restart():
    """A controller that starts anew while the node is cut off waits U from its own start."""
    with fleet(timing={"start_grace": "1s"}) as c:
        node, other = leased(c)
        sampler = Sampler(c)
        c.hosts[node].cut()
        c.wait_event("move-waits-for-lease", 10)
        c.controller().kill_daemon()
        at = boottime()
        c.controller().start_daemon()
        wait_for(c.controller().ready, 15, "the controller answers again")
        c.wait_ready("axis_server", other)
        samples = sampler.end()
        never_both(samples)
        back = first_seen([s for s in samples if s[0] > at], other) - at
        print(f"other copy first seen {back:.2f} s after the controller was started")
        if back < SPAN_S:
            raise Failure(f"expected it after {SPAN_S:.2f} s")


def forbid_reboot():
    """A node that is back with a new boot id before U lets its copy move at once."""
    with fleet(timing={"lease": "20s"}) as c:
        node, _ = leased(c)
        sampler, at = Sampler(c), boottime()
        before = c.instances("axis_server")[0]["epoch"]
        c.hosts[node].power_off()
        c.hosts[node].start()
        wait_for(lambda: [i for i in c.instances("axis_server") if i["state"] == "ready" and i["epoch"] > before], 15,
                 lambda: f"another copy is ready: {c.instances('axis_server')}")
        print(f"ready again {boottime() - at:.2f} s after the power was off, with a lease of 20 s")
        stays(lambda: sum(counts(c).values()) == 1, 1, lambda: f"one process: {counts(c)}")
        never_both(sampler.end())


def forbid_drain():
    """Drained, a copy under forbid is stopped, confirmed, started: gap-planned, never both."""
    with fleet() as c:
        node, other = leased(c)
        sampler, after = Sampler(c), last_event(c)
        c.controller().cli("drain", node)
        c.wait_event("gap-planned", 5, after)
        c.wait_ready("axis_server", other)
        samples = sampler.end()
        never_both(samples, least=10)
        away = first_seen(samples, other) - last_seen(samples, node)
        print(f"away for {away:.2f} s")
        if "lease-expired" in kinds(c, after):
            raise Failure("the stop was confirmed, no lease was waited for")
        out = c.controller().cli("explain", "axis_server").stdout
        if f"on {other} ends in at most" not in out:
            raise Failure(f"gantry explain does not show the lease:\n{out}")


def forbid_not_fenceable():
    """A runtime whose containers are in no cgroup of ours: forbid is refused at deploy, with the reason."""
    with fleet() as c:
        c.runtime = "process"
        for host in c.hosts.values():
            host.write_config()
        up(c)
        answer = deploy(c, forbidden(), expect=400)
        if "fenceable" not in str(answer):
            raise Failure(f"the refusal does not say why: {answer}")


def forbid_both_killed():
    """Assumption broken: guard and gantryd both killed, the copy outlives its lease; the next gantryd kills it at once."""
    with fleet() as c:
        node, other = leased(c)
        host, sampler = c.hosts[node], Sampler(c)
        host.cut()
        (guard,) = guards(host)
        host.kill_daemon()
        host.inside("kill", "-9", str(guard))
        c.wait_ready("axis_server", other)
        stays(lambda: counts(c) == {node: 1, other: 1}, 1, lambda: f"both run, as nothing is left to kill one: {counts(c)}")
        host.start_daemon()
        wait_for(lambda: counts(c) == {node: 0, other: 1}, 10, lambda: f"gantryd kills what no guard holds: {counts(c)}")
        samples = sampler.end()
        both = [at for at, here in samples if sum(here.values()) > 1]
        print(f"two ran at once for {both[-1] - both[0]:.2f} s")


def forbid_host_frozen():
    """Assumption broken: all of a host stopped beyond U and continued: the copy runs on for 50 ms at most."""
    with fleet() as c:
        node, other = leased(c)
        host, sampler = c.hosts[node], Sampler(c)
        host.inside("sh", "-c", "kill -STOP -1")
        c.wait_ready("axis_server", other)
        never_both(sampler.samples)
        expect("stopped copies", 1, sampler.alive(host, not_running="ZX"))
        goes_on = subprocess.Popen([*host.enter_command(), "sh", "-c", "kill -CONT -1"])
        at, limit = time.monotonic(), time.monotonic() + 10
        while sampler.alive(host, not_running="ZX") and time.monotonic() < limit:
            if not sampler.alive(host):
                at = time.monotonic()  # still stopped
            time.sleep(0.0005)
        took = time.monotonic() - at
        sampler.end()
        print(f"dead {took * 1000:.1f} ms after it was last seen stopped")
        ended(goes_on, 10, "the command to go on")
        os.kill(host.daemon.pid, signal.SIGCONT)  # nsenter stops with its child
        if took > 0.05:
            raise Failure(f"expected 50 ms at most, got {took * 1000:.1f} ms")
        wait_for(lambda: counts(c) == {node: 0, other: 1}, 20, lambda: f"one process, on {other}: {counts(c)}")


LEASES = [*map(real, [forbid_cable_cut, forbid_gantryd_killed, forbid_guard_killed, forbid_agent_restart, forbid_cut_healed,
                      forbid_controller_restart, forbid_reboot, forbid_drain, forbid_both_killed,
                      forbid_host_frozen]), forbid_not_fenceable]
