"""Docker's engine in swarm mode on the hosts of tests/support/hosts.py, for tests/bench/versus-swarm.

    with SwarmCluster(root) as swarm:          # root: where docker.io is unpacked, or /
        swarm.form("swarm1", ["swarm2", "swarm3"])
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from hosts import Cluster, Failure, Host, UnixConnection, wait_for  # noqa: E402

API = "/v1.41"
HEARTBEAT_NS = {"default": 5_000_000_000, "tuned": 1_000_000_000}


class SwarmHost(Host):
    """A gateway that runs dockerd instead of gantryd. Nothing of a boot but the engine's own folder outlives it."""

    def write_config(self):
        self.socket = self.dir / "docker.sock"
        self.log = self.dir / "dockerd.log"

    def start_daemon(self):
        shutil.rmtree(self.dir / "exec", ignore_errors=True)  # on a real host it is in memory, and gone with the boot
        self.run_engine()

    def run_engine(self):
        """Starts dockerd, whose containerd is a child of its own; after crash_daemon() the shims are still there."""
        (self.dir / "docker.pid").unlink(missing_ok=True)
        root = self.cluster.root
        engine = [str(root / "usr/sbin/dockerd"), "--data-root", f"{self.dir}/data", "--exec-root", f"{self.dir}/exec",
                  "--pidfile", f"{self.dir}/docker.pid", "-H", f"unix://{self.socket}", "--iptables=false",
                  "--ip6tables=false", "--bridge=none", "--storage-driver=overlay2",
                  f"--cgroup-parent=/{self.cluster.id}/{self.name}"]
        # A host name of its own: engines are told apart by it.
        command = [*self.enter_command(), "unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', self.name, *engine]
        path = ":".join(str(root / folder) for folder in ("usr/sbin", "usr/bin")) + ":" + os.environ["PATH"]
        library = str(root / "usr/lib/x86_64-linux-gnu")
        with open(self.log, "ab") as log:
            self.daemon = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                           env=dict(os.environ, PATH=path, LD_LIBRARY_PATH=library))
        wait_for(self.answers, 60, lambda: f"dockerd of {self.name} answers:\n{self.log_tail()}", pause=0.05)

    def answers(self):
        if self.daemon.poll() is not None:
            raise Failure(f"dockerd of {self.name} ended with {self.daemon.returncode}:\n{self.log_tail()}")
        try:
            return self.call("GET", "/_ping")[0] == 200
        except OSError:
            return False

    def call(self, method, path, body=None, kind="application/json", timeout=60):
        connection = UnixConnection(self.socket, timeout)
        try:
            given = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
            connection.request(method, API + path, given, {"Content-Type": kind})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def ask(self, method, path, body=None, **options):
        status, text = self.call(method, path, body, **options)
        if status >= 300:
            raise Failure(f"{self.name}: {method} {path}: {status}: {text.decode(errors='replace')}")
        return json.loads(text) if text.strip() else None

    def engine_pids(self, names=("dockerd", "containerd")):
        """The engine's processes, as numbers of this program."""
        own = os.readlink(f"/proc/{self.init}/ns/pid")
        found = []
        for folder in pathlib.Path("/proc").glob("[0-9]*"):
            try:
                if (folder / "comm").read_text().strip() in names and os.readlink(folder / "ns/pid") == own:
                    found.append(int(folder.name))
            except OSError:
                continue
        return found


class SwarmCluster(Cluster):
    """One manager and workers, on the bridge of another cluster, behind its addresses."""

    def __init__(self, root, first):
        super().__init__(bridge=False, first=first)
        self.host_class, self.root = SwarmHost, root
        self.image = self.manager = None

    def form(self, manager, workers):
        for name in (manager, *workers):
            self.add(name, node=True).start()
        self.manager = self.hosts[manager]
        self.manager.ask("POST", "/swarm/init", {
            "ListenAddr": f"{self.manager.address}:2377", "AdvertiseAddr": self.manager.address,
            "DataPathAddr": self.manager.address})
        token = self.manager.ask("GET", "/swarm")["JoinTokens"]["Worker"]
        for name in workers:
            worker = self.hosts[name]
            worker.ask("POST", "/swarm/join", {
                "ListenAddr": f"{worker.address}:2377", "AdvertiseAddr": worker.address,
                "RemoteAddrs": [f"{self.manager.address}:2377"], "JoinToken": token})
        self.wait_workers(workers)

    def load_image(self, layer):
        """The same image, by its id, on every engine: with a tag each start would ask a registry first."""
        change = urllib.parse.quote('ENTRYPOINT ["/axis_server"]')
        answer = self.manager.ask("POST", f"/images/create?fromSrc=-&changes={change}", layer.read_bytes(),
                                  kind="application/x-tar")
        self.image = answer["status"]
        status, archive = self.manager.call("GET", f"/images/{self.image}/get")
        if status != 200:
            raise Failure(f"the image cannot be saved: {status}")
        for host in self.hosts.values():
            if host is not self.manager:
                status, text = host.call("POST", "/images/load?quiet=1", archive, kind="application/x-tar")
                if status != 200:
                    raise Failure(f"{host.name}: the image cannot be loaded: {status}: {text!r}")

    def tune(self, setting):
        """How often workers are heard of; the delay before a restart is the service's."""
        swarm = self.manager.ask("GET", "/swarm")
        swarm["Spec"]["Dispatcher"] = {"HeartbeatPeriod": HEARTBEAT_NS[setting]}
        self.manager.ask("POST", f"/swarm/update?version={swarm['Version']['Index']}", swarm["Spec"])

    def deploy(self, setting, env):
        """The service alone; what was there goes first."""
        for service in self.manager.ask("GET", "/services"):
            self.manager.ask("DELETE", f"/services/{service['ID']}")
        wait_for(lambda: not self.manager.ask("GET", "/tasks"), 60, "the tasks of the service before are gone", pause=0.2)
        restart = {"Condition": "any"} | ({"Delay": 0} if setting == "tuned" else {})
        self.manager.ask("POST", "/services/create", {
            "Name": "axis_server", "Mode": {"Replicated": {"Replicas": 1}},
            "TaskTemplate": {"ContainerSpec": {"Image": self.image, "Env": env, "TTY": False}, "RestartPolicy": restart,
                             "Networks": [{"Target": "host"}],
                             "Placement": {"Constraints": ["node.role==worker"]}}})

    def wait_workers(self, names, seconds=90):
        def ready():
            states = {n["Description"]["Hostname"]: n["Status"]["State"] for n in self.manager.ask("GET", "/nodes")
                      if "Hostname" in n.get("Description", {})}
            return all(states.get(name) == "ready" for name in names)
        wait_for(ready, seconds, lambda: f"workers are ready: {self.manager.ask('GET', '/nodes')}", pause=0.05)
