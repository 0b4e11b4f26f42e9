"""What nodes and containers use is measured, shown and remembered, with real containers, disks and links."""
import os
import pathlib

from fleet import *  # noqa: F403

TICKS = os.sysconf("SC_CLK_TCK")
# Programs of the machine itself, in a container whose image has none.
BUSY = {"container": {"args": ["/usr/bin/sh", "-c", "while :; do :; done"]},
        "mount": [{"source": "/usr", "target": "/usr", "read_only": True},
                  {"source": "/usr/lib", "target": "/lib", "read_only": True},
                  {"source": "/usr/lib64", "target": "/lib64", "read_only": True}]}


def cpu_s(cluster, node, program="sh"):
    """CPU time of the busy loop on that node, and when that was: both in seconds."""
    for pid in cluster.hosts[node].pids(program):
        command = cluster.hosts[node].inside("cat", f"/proc/{pid}/cmdline").stdout
        if "while :" not in command or "cd /proc" in command:
            continue
        fields = cluster.hosts[node].inside("cat", f"/proc/{pid}/stat").stdout.rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICKS, time.monotonic()
    raise Failure(f"no busy loop on {node}")


def settings(cluster, name, *lines):
    """Further lines of [node]."""
    file = pathlib.Path(cluster.hosts[name].dir / "gantry.toml")
    file.write_text(file.read_text().replace("[node]\n", "[node]\n" + "".join(f"{line}\n" for line in lines)))


@real
def use_seen():
    """A container that burns CPU is seen doing so, as is what its node uses; a node that is gone shows nothing, not zero."""
    with fleet() as c:
        for name in ("SNode1", "SNode2"):
            settings(c, name, 'measure_every = "1s"')
        up(c)
        deploy(c, manifest("busy", nodes=["SNode1"], port=None, **BUSY))
        c.wait_ready("busy")
        controller = c.controller()

        def used():
            return c.instances("busy")[0].get("cpu_used_milli")
        wait_for(used, 15, lambda: f"what busy.0 uses: {c.instances('busy')[0]}")
        # What it truly gets depends on who else is busy: both ways must say the same.
        for _ in range(3):
            (cpu, began), said = cpu_s(c, "SNode1"), []
            while time.monotonic() - began < 6:
                said.append(used())
                time.sleep(0.2)
            after, ended = cpu_s(c, "SNode1")
            truth, mean = (after - cpu) / (ended - began) * 1000, sum(said) / len(said)
            if abs(mean - truth) <= 0.25 * truth + 20:
                break
        else:
            raise Failure(f"busy.0 uses {truth:.0f} thousandths of a core, and is said to use {mean:.0f}: {said}")
        busy = c.instances("busy")[0]
        expect("its processes", 1, busy["pids"])
        if not 0 < busy["memory_used_bytes"] < 64 << 20:
            raise Failure(f"memory of a shell: {busy}")
        node = c.node("SNode1")
        disk = os.statvfs(c.hosts["SNode1"].dir)
        wanted = (disk.f_blocks - disk.f_bfree + disk.f_bavail) * disk.f_frsize
        expect("size of the disk", wanted, node["disk_total_bytes"])
        if not 0 < node["received_bytes_per_s"] < 1 << 20 or not 0 < node["sent_bytes_per_s"] < 1 << 20:
            raise Failure(f"traffic of a node: {node}")
        for what in ("cpu", "memory", "io"):
            told = os.access(f"/proc/pressure/{what}", os.R_OK) and pathlib.Path(f"/proc/pressure/{what}").read_text() != ""
            expect(f"pressure of {what}", told, f"pressure_{what}_permille" in node)
        for host in ("SNode1", "SNode2"):
            wait_for(lambda: controller.get(f"/v1/nodes/{host}/load")["items"], 15, f"the history of {host}")
        wait_for(lambda: any(point.get("cpu_used_milli") for point in controller.get("/v1/instances/busy.0/load")["items"]),
                 15, "the history of busy.0")
        shown = controller.cli("top").stdout
        line = next(line for line in shown.splitlines() if line.startswith("busy.0"))
        if "%" not in line:
            raise Failure(f"gantry top shows no CPU of busy.0:\n{shown}")
        if "CPU of a core" not in controller.cli("top", "busy.0").stdout:
            raise Failure("gantry top busy.0 shows no history")
        c.hosts["SNode2"].power_off()
        wait_for(lambda: c.node("SNode2")["liveness"] == "lost", 10, "SNode2 is lost")
        expect("disk of a lost node", None, c.node("SNode2").get("disk_total_bytes"))


def disk_filling():
    """A disk that fills is told before it is full, once, and again when there is room."""
    with fleet(image=False) as c:
        settings(c, "SNode1", 'measure_every = "1s"', "disk_warn = 80")
        settings(c, "SNode2", 'measure_every = "1s"', "disk_warn = 0")
        for name in ("SNode1", "SNode2"):
            host = c.hosts[name].start(daemon=False)
            state = host.dir / "state"
            state.mkdir(exist_ok=True)
            host.inside("mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(state))
            host.start_daemon()
        c.hosts["controller"].start()
        wait_for(c.controller().ready, 15, "the controller answers")
        c.wait_nodes(["SNode1", "SNode2"])
        wait_for(lambda: c.node("SNode1").get("disk_total_bytes") == 16 << 20, 10, lambda: f"its disk: {c.node('SNode1')}")
        for name in ("SNode1", "SNode2"):
            file = f"{c.hosts[name].dir}/state/large"
            c.hosts[name].inside("dd", "if=/dev/zero", f"of={file}", "bs=1M", "count=14")
        event = c.wait_event("disk-filling", 10, node="SNode1")
        if not 80 <= event["fields"]["used_percent"] <= 100:
            raise Failure(f"how full: {event}")
        c.hosts["SNode1"].inside("rm", f"{c.hosts['SNode1'].dir}/state/large")
        c.wait_event("disk-has-room", 10, node="SNode1")
        wait_for(lambda: c.node("SNode2")["disk_free_bytes"] < 3 << 20, 10, "SNode2's disk is seen as full")
        expect("events", ["disk-filling", "disk-has-room"], [kind for kind in kinds(c, 0) if kind.startswith("disk-")])


USAGE = [use_seen, disk_filling]
