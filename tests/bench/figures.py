#!/usr/bin/env python3
"""Measures the figures of docs/performance.md on real hosts.

    tests/bench/figures.py failover [ROUNDS]   cable cut -> ready elsewhere; announced reboot -> ready elsewhere
    tests/bench/figures.py start [ROUNDS]      exec of gantryd -> it answers on its socket
    tests/bench/figures.py memory [SECONDS]    PSS and private dirty of an agent with 10 instances; of a controller of 10 nodes
    tests/bench/figures.py deploy [ROUNDS]     gantry deploy of a stored image -> running, beside runc run of the same bundle
    tests/bench/figures.py quiet [SECONDS]     false "lost" while both cores are busy
"""
import json
import os
import pathlib
import statistics
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cluster"))
from fleet import *  # noqa: F403, E402
from hosts import enter  # noqa: E402


def ready_by_event(c, after, node, seconds=30):
    """When the service was announced ready on `node`, seen by following the event log."""
    while True:
        for event in c.events(after):
            if event["kind"] == "ready" and event["fields"].get("node") == node:
                return time.monotonic()
        time.sleep(0.002)


def last_event(c):
    return c.controller().get("/v1/events?limit=1")["revision"]


def failover(rounds="10"):
    results = {"cable cut": [], "announced reboot": []}
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
                began = time.monotonic()
                if kind == "cable cut":
                    host.cut()
                else:
                    host.api("POST", "/v1/node/leave")
                times.append((ready_by_event(c, after, other) - began) * 1000)
                if kind == "cable cut":
                    host.heal()
                else:
                    host.power_off()
                    host.start()
    for kind, times in results.items():
        print(f"{kind} -> ready elsewhere: median {statistics.median(times):.0f} ms, "
              f"{min(times):.0f} .. {max(times):.0f}, {len(times)} rounds")


def start(rounds="10"):
    times = []
    with fleet(image=False) as c:
        host = c.hosts["controller"].start()
        wait_for(host.ready, 15, "it answers")
        for _ in range(int(rounds)):
            host.kill_daemon()
            began = time.monotonic()
            host.start_daemon()
            while True:
                try:
                    if host.api("GET", "/v1/nodes", timeout=2)[0] == 200:
                        break
                except OSError:
                    time.sleep(0.001)
            times.append((time.monotonic() - began) * 1000)
    print(f"exec -> ready on the socket: median {statistics.median(times):.0f} ms, {min(times):.0f} .. {max(times):.0f}, "
          f"{len(times)} rounds (nsenter included)")


def pss(pid):
    values = {}
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        key, value = line.split()[:2]
        values[key.rstrip(":")] = int(value) / 1024
    return values["Pss"], values["Private_Dirty"]


def memory(seconds="30"):
    names = [f"SNode{n}" for n in range(1, 11)]
    with fleet(names) as c:
        up(c)
        for number in range(10):
            deploy(c, manifest(f"axis{number}", nodes=["SNode1"], port=4000 + number))
            c.wait_ready(f"axis{number}")
        time.sleep(float(seconds))
        agent, dirty = pss(c.hosts["SNode1"].daemon_pid())
        controller, _ = pss(c.controller().daemon_pid())
    print(f"agent with 10 instances after {seconds} s: PSS {agent:.1f} MiB, private dirty {dirty:.1f} MiB")
    print(f"controller of 10 nodes: PSS {controller:.1f} MiB")


def deploy_time(rounds="10"):
    """Both start the same program from the same root; runc's baseline begins with an unpacked bundle."""
    ours, baseline = [], []
    with fleet(nodes=["SNode1"]) as c:
        up(c)
        host = c.hosts["SNode1"]
        deploy(c, manifest("warm", nodes=["SNode1"], port=4999, probe=None))
        c.wait_ready("warm")
        bundle = make_bundle(c, host)
        for number in range(int(rounds)):
            name = f"axis{number}"
            file = c.dir / f"{name}.toml"
            file.write_text(f'[service]\nname = "{name}"\nimage = "{IMAGE}"\n[placement]\nnodes = ["SNode1"]\n'
                            f'[container]\nenv = {{ VSOA_AUTO_PORT = "{4000 + number}" }}\n')
            began = time.monotonic()
            c.controller().cli("deploy", str(file))
            ours.append((time.monotonic() - began) * 1000)
            began = time.monotonic()
            with open(os.devnull, "w") as nothing:
                subprocess.run([*host.enter_command(), "runc", "run", "-d", "-b", str(bundle), f"{c.id}-{number}"],
                               stdin=subprocess.DEVNULL, stdout=nothing, stderr=nothing, check=True)
            baseline.append((time.monotonic() - began) * 1000)
            host.inside("runc", "delete", "-f", f"{c.id}-{number}")
    mine, theirs = statistics.median(ours), statistics.median(baseline)
    print(f"gantry deploy of a stored image -> running: median {mine:.0f} ms; runc run: {theirs:.0f} ms; "
          f"allowed 1.5 x + 30 = {1.5 * theirs + 30:.0f} ms; ratio {mine / theirs:.2f}")


def make_bundle(c, host):
    bundle = c.dir / "bundle"
    (bundle / "rootfs").mkdir(parents=True)
    run("cp", str(c.build / "samples/axis/axis_server"), str(bundle / "rootfs/axis_server"))
    run("runc", "spec", cwd=bundle)
    config = json.loads((bundle / "config.json").read_text())
    config["process"].update(terminal=False, args=["/axis_server"], env=["VSOA_AUTO_PORT=5999"])
    config["process"].pop("rlimits", None)
    config["linux"]["namespaces"] = [n for n in config["linux"]["namespaces"] if n["type"] != "network"]
    config["linux"]["cgroupsPath"] = f"/{c.id}/bench"
    (bundle / "config.json").write_text(json.dumps(config))
    return bundle


def quiet(seconds="600"):
    """Both cores busy, nothing fails: nobody may be called lost. Stalls of the machine are reported, not blamed."""
    with fleet() as c:
        up(c)
        deploy(c, manifest())
        c.wait_ready("axis_server")
        after = last_event(c)
        load = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(os.cpu_count())]
        ticker = subprocess.Popen([sys.executable, "-u", "-c", "import time\nlast=time.monotonic()\nwhile True:\n"
                                   " time.sleep(0.01); now=time.monotonic()\n"
                                   " if now-last>0.5: print(f'stall of {now-last:.1f} s')\n last=now"],
                                  stdout=subprocess.PIPE, text=True)
        time.sleep(float(seconds))
        for process in [*load, ticker]:
            process.kill()
        stalls = ticker.stdout.read().splitlines()
        lost = [e["text"] for e in c.events(after) if e["kind"] == "node-lost"]
    print(f"{seconds} s of full load: {len(lost)} false lost, {len(stalls)} stalls above 500 ms {stalls[:3]}")
    return 1 if lost and not stalls else 0


FIGURES = {"failover": failover, "start": start, "memory": memory, "deploy": deploy_time, "quiet": quiet}


def main():
    if len(sys.argv) < 2 or sys.argv[1] not in FIGURES:
        print(__doc__)
        return 64
    enter()
    try:
        return FIGURES[sys.argv[1]](*sys.argv[2:]) or 0
    except Failure as failure:  # noqa: F405
        print(f"FAILED: {failure}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
