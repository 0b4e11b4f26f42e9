"""Plugins and the configuration are exchanged under load: in gantryd's own process and in processes of their own."""
import contextlib
import json
import pathlib
import signal
import subprocess
import sys

from fleet import *  # noqa: F403
from hosts import ended
from isolated import plugin, with_runtime

LOAD = pathlib.Path(__file__).with_name("load.py")
CONTROLLER = ["placement.least-loaded", "store.sqlite", "transport.vsoa", "directory.vsoa", "frontend.http"]
BAD = ("node-lost", "placed", "exited", "restarted", "not-ready", "unhealthy", "node-left", "moves-paused")


def of_a_node(c):
    return [f"runtime.{c.runtime}", "probe.tcp", "discovery.static", "transport.vsoa", "directory.vsoa", "frontend.http"]


def begin_load(c, host, service):
    """On that host, for a service that is ready."""
    address = c.hosts[c.wait_ready(service)[0]["node"]].address
    document = json.dumps(manifest(service)) if host.controller else ""
    command = [*host.enter_command(), sys.executable, str(LOAD), str(host.socket), address, service, document]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def end_load(process, where):
    out, _ = process.communicate(timeout=60)
    saw = json.loads(out)
    told = {what: f"{seen['asked']} at most {seen['longest_ms']:.0f} ms" for what, seen in saw.items()}
    print(f"{where}: {told}")
    for what, seen in saw.items():
        if seen["asked"] < 20:
            raise Failure(f"{where}: expected {what} to be asked many times, got {seen}")
        expect(f"{where}: {what} that failed", [], seen["failed"])
    return saw


class Follower:
    """gantry events -f of a host, from its first event on."""

    def __init__(self, c, host):
        self.host = host
        command = [f"{c.build}/bin/gantry", "--socket", str(host.socket), "--json", "events", "-f", "--after", "0"]
        self.out = open(host.dir / "followed", "w+")
        self.process = subprocess.Popen(command, stdout=self.out)

    def numbers(self):
        return [json.loads(line)["number"] for line in (self.host.dir / "followed").read_text().splitlines() if line.endswith("}")]

    def end(self):
        last = self.host.get("/v1/events?limit=1")["revision"]
        wait_for(lambda: last in self.numbers(), 10, lambda: f"event {last} of {self.host.name}; got {self.numbers()[-5:]}")
        self.process.send_signal(signal.SIGTERM)
        ended(self.process, 10, "gantry events -f")
        self.out.close()
        got = self.numbers()
        expect(f"events of {self.host.name} that were followed", list(range(1, got[-1] + 1)), got)


@contextlib.contextmanager
def calm_fleet(c):
    """Whatever is done inside: every request is answered, names answer, no event is missed, nothing stops or moves."""
    deploy(c, manifest())
    node = c.hosts[c.wait_ready("axis_server")[0]["node"]]
    hosts = [c.controller(), node]
    for host in hosts:
        wait_for(lambda: resolve(c, host, "axis_server").get("addr") == node.address, 5, f"{host.name} names it")
    before, where, after = processes(c), places(c), last_event(c)
    pids = {host.name: host.daemon_pid() for host in c.hosts.values()}
    followers = [Follower(c, host) for host in hosts]
    loads = [begin_load(c, host, "axis_server") for host in hosts]
    yield node
    for host, load in zip(hosts, loads):
        end_load(load, host.name)
    c.wait_nodes([h.name for h in c.hosts.values() if h.node])
    for follower in followers:
        follower.end()
    expect("gantryd's own process ids", pids, {host.name: host.daemon_pid() for host in c.hosts.values()})
    stays(lambda: processes(c) == before and places(c) == where, 1,
          lambda: f"nothing stops or moves: {before} {where}, now {processes(c)} {places(c)}")
    expect("events of a move", [], [e["text"] for e in c.events(after) if e["kind"] in BAD])


def exchange(host, title, rounds=1):
    for _ in range(rounds):
        said = host.cli("plugins", "reload", title).stdout
        if title not in said:
            raise Failure(f"gantry plugins reload {title} said: {said}")
        expect(f"state of {title}", "running", plugin(host, title)["state"])


def exchange_in_process():
    """Every plugin of gantryd's own process is exchanged under load: nobody is refused, nothing stops, nothing moves."""
    with fleet() as c:
        up(with_runtime(c, c.runtime))
        with calm_fleet(c) as node:
            for title in CONTROLLER:
                exchange(c.controller(), title)
            for title in of_a_node(c):
                exchange(node, title)


def exchange_isolated():
    """The same with every plugin in a process of its own: also those that hold an address or a database."""
    with fleet() as c:
        c.controller().settings["isolated"] = CONTROLLER
        for name in ("SNode1", "SNode2"):
            c.hosts[name].settings["isolated"] = of_a_node(c)
        up(with_runtime(c, c.runtime))
        with calm_fleet(c) as node:
            for host, titles in ((c.controller(), CONTROLLER), (node, of_a_node(c))):
                for title in titles:
                    before = plugin(host, title)["pid"]
                    exchange(host, title)
                    now = plugin(host, title)
                    if now["pid"] == before or now["restarts"]:
                        raise Failure(f"expected {title} in a new process without a restart, got {now}")


def configuration_reloaded():
    """SIGHUP under load: a good file is in force as a whole, a bad one changes nothing and says where it is wrong."""
    with fleet() as c:
        up(with_runtime(c, c.runtime))
        with calm_fleet(c) as node:
            for host in (c.controller(), node):
                file = host.dir / "gantry.toml"
                good, after = file.read_text(), host.get("/v1/events?limit=1")["revision"]

                def event(kind):
                    return [e["text"] for e in host.get(f"/v1/events?after={after}")["items"] if e["kind"] == kind]
                file.write_text(good.replace("[frontend.http]", "[frontend.http]\nbody_maxx = \"2MiB\""))
                host.inside("kill", "-HUP", str(host.pids("gantryd")[0]))
                wait_for(lambda: event("configuration-refused"), 10, lambda: f"it is refused: {host.log_tail()}")
                if f"{file}:" not in event("configuration-refused")[0]:
                    raise Failure(f"expected the place of the mistake, got {event('configuration-refused')}")
                file.write_text(good.replace("[frontend.http]", "[log]\nlevel = \"debug\"\n[frontend.http]\nbody_max = \"512KiB\""))
                host.inside("kill", "-HUP", str(host.pids("gantryd")[0]))
                wait_for(lambda: event("configuration-changed"), 10, lambda: f"it is in force: {host.log_tail()}")
                expect("its text", ["the configuration is in force: frontend.http.body_max, log, log.level"], event("configuration-changed"))


def exchanges_in_a_row(rounds=12):
    """A policy of gantryd's own process is exchanged twelve times under load: memory and descriptors stay as they were."""
    with fleet() as c:
        up(with_runtime(c, "process"))
        controller = c.controller()

        def size():
            fds = controller.inside("sh", "-c", f"ls /proc/{controller.pids('gantryd')[0]}/fd | wc -l").stdout
            status = pathlib.Path(f"/proc/{controller.daemon_pid()}/status").read_text()
            return int(fds), int(status.split("VmRSS:")[1].split()[0])
        with calm_fleet(c) as node:
            sizes = []
            for _ in range(rounds):
                exchange(controller, CONTROLLER[0])
                exchange(node, "probe.tcp")
                sizes.append(size())
        print(f"descriptors and KiB: {sizes[0]} .. {sizes[-1]}, at most {max(s[0] for s in sizes)} and {max(s[1] for s in sizes)}")
        # Clients come and go between two looks, and how much each left behind differs a little.
        third = len(sizes) // 3
        if min(s[0] for s in sizes[-third:]) > max(s[0] for s in sizes[:third]) or min(s[1] for s in sizes[-third:]) > max(s[1] for s in sizes[:third]) + 1024:
            raise Failure(f"gantryd grows: {sizes}")


def exchanges_100():
    """As exchanges_in_a_row, a hundred times."""
    exchanges_in_a_row(100)


EXCHANGES, LONG_EXCHANGES = [exchange_in_process, exchange_isolated, configuration_reloaded, exchanges_in_a_row], [exchanges_100]
