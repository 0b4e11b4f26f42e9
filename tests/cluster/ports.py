"""Endpoints with port 0, with real containers: their node chooses, the program listens there, names and restarts follow."""
import json
import signal

from fleet import *  # noqa: F403


def mapped(c):
    """Where each instance listens: {instance: (node, port)}, once every port is known."""
    return {i["instance"]: (i["node"], i["endpoints"][0]["mapped"]) for i in c.instances("axis_server")}


def answered(c, asker, times=20):
    """Every place that the directory of `asker` answers, one after the other."""
    places = {tuple(resolve(c, asker, "axis_server").get(key) for key in ("addr", "port")) for _ in range(times)}
    return {(address, port and int(port)) for address, port in places}


def reached(c, asker, places):
    """Whether a program answers at all of them, asked from `asker`."""
    script = "import socket,sys\nsocket.create_connection((sys.argv[1], int(sys.argv[2])), 2).close()"
    return all(asker.inside(sys.executable, "-c", script, address, str(port), check=False).returncode == 0
               for address, port in places)


def named_as_mapped(c, asker, seconds=10):
    """Waits until names mean the places of all instances and no other, and programs listen there; these places."""
    def look():
        now = mapped(c)
        places = {(c.hosts[node].address, port) for node, port in now.values() if node}
        answers = answered(c, asker)
        return places if len(places) == len(now) and answers <= places and answers and reached(c, asker, places) else None
    return wait_for(look, seconds, lambda: f"names follow the ports: mapped {mapped(c)}, answered {answered(c, asker)}")


def document(**container):
    """Two instances on one node, with a port that it chooses."""
    return manifest(instances=2, nodes=("SNode1",), container={"env": {"AXIS_PERIOD_MS": "100"}, **container},
                    endpoint=[{"kind": "vsoa", "name": "axis_server", "port": 0}])


def told(host, pid):
    """The ports that a process was told, by each of the two variables."""
    environment = host.inside("cat", f"/proc/{pid}/environ").stdout.split("\0")
    return {int(line.split("=")[1]) for line in environment if line.startswith(("PORT=", "GANTRY_PORT_AXIS_SERVER="))}


def chosen_ports():
    """Two instances with port 0 on one node listen on ports of their own, which look-ups answer and a restart of gantryd keeps;
    after a crash, and where the node is lost, the next attempt has another one and names follow."""
    with fleet() as c:
        up(c)
        one, asker = c.hosts["SNode1"], c.hosts["SNode2"]
        status, answer = c.controller().api("PUT", "/v1/services/axis_server", {**document(), "endpoint": [
            {"name": "axis_server", "port": 0}, {"port": 0}]})
        if status != 400 or "expected a name of each" not in str(answer):
            raise Failure(f"expected a refusal of two nameless ports, got {status}: {answer}")

        deploy(c, document())
        c.wait_ready("axis_server", "SNode1", count=2)
        places = named_as_mapped(c, asker)
        expect("ports", 2, len(places))
        if not all(address == one.address and 20000 <= port <= 29999 for address, port in places):
            raise Failure(f"expected ports of {one.address} from 20000 to 29999, got {places}")
        ports = sorted(port for _, port in places)
        shown = c.controller().cli("ps").stdout
        if not all(f"0->{port}" in shown for port in ports):
            raise Failure(f"gantry ps shows no 0->{ports}: {shown}")
        endpoint = json.loads(c.controller().cli("--json", "services").stdout)["items"][0]["endpoints"][0]
        expect("requested and mapped", (0, ports), (endpoint["requested"], sorted(endpoint["mapped"])))
        expect("what programs were told", [{port} for port in ports],
               sorted((told(one, pid) for pid in one.pids("axis_server")), key=min))

        before, kept = processes(c), mapped(c)
        session = c.node("SNode1")["session"]
        one.kill_daemon(signal.SIGKILL)
        one.start_daemon()
        wait_for(lambda: c.node("SNode1")["session"] > session and c.node("SNode1")["liveness"] == "ready", 15,
                 "gantryd is back")
        c.wait_ready("axis_server", "SNode1", count=2)
        stays(lambda: processes(c) == before and mapped(c) == kept, 2,
              lambda: f"ports are kept: {kept} and {before}, now {mapped(c)} and {processes(c)}")
        expect("places after gantryd's restart", places, named_as_mapped(c, asker))
        c.controller().kill_daemon(signal.SIGKILL)
        c.controller().start_daemon()
        wait_for(c.controller().ready, 15, "the controller is back")
        c.wait_ready("axis_server", "SNode1", count=2)
        expect("places after the controller's restart", places, named_as_mapped(c, asker))

        one.inside("kill", "-KILL", str(before["SNode1"][0]))
        wait_for(lambda: sum(kept[name] != now for name, now in mapped(c).items() if now[1]) == 1, 10,
                 lambda: f"one instance has another port: {kept}, now {mapped(c)}")
        c.wait_ready("axis_server", "SNode1", count=2)
        expect("places that stayed", 1, len(named_as_mapped(c, asker) & places))

        deploy(c, {**document(), "placement": {"mode": "dynamic", "nodes": ["SNode1", "SNode2"]}})
        one.power_off()
        c.wait_ready("axis_server", "SNode2", count=2)
        places = named_as_mapped(c, asker)
        expect("the nodes that are named", {asker.address}, {address for address, _ in places})


@real
def chosen_ports_on_the_bridge():
    """On the bridge a chosen port is one number inside and outside: another node reaches it there, and by its name."""
    with fleet() as c:
        up(c)
        one, asker = c.hosts["SNode1"], c.hosts["SNode2"]
        deploy(c, document(network="bridge"))
        c.wait_ready("axis_server", "SNode1", count=2)
        ports = sorted(port for _, port in named_as_mapped(c, asker))
        expect("what programs were told", [{port} for port in ports],
               sorted((told(one, pid) for pid in one.pids("axis_server")), key=min))
        networks = {one.inside("readlink", f"/proc/{pid}/ns/net").stdout for pid in ("self", *one.pids("axis_server"))}
        expect("networks", 3, len(networks))


PORTS = [chosen_ports, chosen_ports_on_the_bridge]
