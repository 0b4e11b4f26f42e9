"""What the scenarios share: a fleet that is up, its image, manifests, and looks at what really runs."""
import datetime
import json
import pathlib
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
from hosts import Cluster, Failure, build_folder, is_root, run, wait_for  # noqa: E402, F401

IMAGE = "axis_server:1.0"


def real(scenario):
    """Its containers are root's: processes of an ordinary user have no cgroups, mounts and settings."""
    def play():
        if not is_root():
            print("skipped: needs root, for containers in cgroups")
            sys.exit(77)
        scenario()
    play.__name__, play.__doc__ = scenario.__name__, scenario.__doc__
    return play


def fleet(nodes=("SNode1", "SNode2"), image=True, timing=None, **controller_settings):
    """A cluster (to be used with `with`), not yet started."""
    cluster = Cluster(timing=timing)
    cluster.add("controller", controller=True, **controller_settings)
    for name in nodes:
        cluster.add(name)
    cluster.wanted_image = image
    return cluster


def up(cluster):
    """Starts every host, waits until all nodes are ready, imports the image."""
    for host in cluster.hosts.values():
        host.start()
    wait_for(cluster.controller().ready, 15, "the controller answers")
    cluster.wait_nodes([h.name for h in cluster.hosts.values() if h.node])
    if cluster.wanted_image:
        import_image(cluster)
    return cluster


def import_image(cluster):
    layout = cluster.dir / "image"
    if not layout.exists():
        run(str(ROOT / "samples/axis/make-image"), str(cluster.build / "samples/axis/axis_server"), str(layout))
    cluster.controller().cli("image", "import", str(layout))


def manifest(name="axis_server", instances=1, nodes=("SNode1", "SNode2"), port=3002, image=IMAGE, probe="tcp",
             **changes):
    """A manifest as the API takes it. Further tables by keyword."""
    document = {
        "service": {"name": name, "image": image, "instances": instances},
        "placement": {"mode": "dynamic", "nodes": list(nodes)},
        "resources": {"cpu": 0.01, "memory": "16MiB"},
        "container": {"env": {"AXIS_PERIOD_MS": "100", "VSOA_AUTO_PORT": str(port or 3002)}},
        "endpoint": [{"kind": "vsoa", "name": name, "port": port}] if port else [],
        "probe": [{"kind": probe, "interval": "500ms"}] if probe and port else [],
    }
    for table, values in changes.items():
        document[table] = {**document.get(table, {}), **values} if isinstance(values, dict) else values
    return document


def deploy(cluster, document, expect=200):
    name = document["service"]["name"]
    status, answer = cluster.controller().api("PUT", f"/v1/services/{name}", document)
    if status != expect:
        raise Failure(f"PUT /v1/services/{name}: expected {expect}, got {status}: {answer}")
    return answer


def processes(cluster, program="axis_server"):
    """Pids of `program` by host, as the host's own /proc shows them."""
    return {h.name: h.pids(program) for h in cluster.hosts.values() if h.node and h.init}


def counts(cluster, program="axis_server"):
    return {name: len(pids) for name, pids in processes(cluster, program).items()}


def places(cluster, service=None):
    """Which copy of what runs where, and how often it was started there."""
    return [(i["instance"], i["node"], i["epoch"], i["attempt"], i["restarts"]) for i in cluster.instances(service)]


def last_event(cluster):
    """The number of the newest event."""
    return cluster.controller().get("/v1/events?limit=1")["revision"]


def kinds(cluster, after):
    return [event["kind"] for event in cluster.events(after)]


def when(event):
    """The event's time in seconds since 1970."""
    return datetime.datetime.fromisoformat(event["time"]).timestamp()


def expect(what, wanted, got):
    if wanted != got:
        raise Failure(f"{what}: expected {wanted}, got {got}")


def stays(condition, seconds, what):
    """The condition holds now and all the time for `seconds`."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if not condition():
            raise Failure(f"did not stay so for {seconds} s: {what() if callable(what) else what}")
        time.sleep(0.05)


def resolve(cluster, host, name):
    """What the directory of `host` answers to a position query, asked from that host itself."""
    script = ("import json,socket,sys\n"
              "s=socket.socket(socket.AF_INET,socket.SOCK_DGRAM); s.settimeout(2)\n"
              f"s.sendto(json.dumps({{'name':{name!r}}}).encode(),('127.0.0.1',54))\n"
              "print(s.recv(2048).decode())")
    return json.loads(host.inside(sys.executable, "-c", script).stdout)
