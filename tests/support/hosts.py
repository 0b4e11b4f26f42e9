"""Real hosts for tests and for the story: gateways in PID, mount and network namespaces on one bridge.

    with Cluster(build) as cluster:                 # inside enter(): see below
        c = cluster.add("controller", controller=True)
        a = cluster.add("SNode1")
        c.start(); a.start()
        a.cut(); a.heal(); a.reboot(); a.kill_daemon()

A host's processes die with its first one (`unshare --kill-child`), so nothing outlives the test. enter() puts the
whole program into namespaces of its own first, as root or as an ordinary user, and removes cgroup folders at the end.
Where neither can be had, hosts are process trees on loopback addresses, for programs that can do with it (loopback.py);
GANTRY_HOSTS=loopback asks for that.
"""
import fcntl
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import uuid

import loopback

ROOT = pathlib.Path(__file__).resolve().parents[2]
PREFIX = "gantry-hosts."
# Where nft, ip and runc are; not in an ordinary user's path on Debian.
os.environ["PATH"] = os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin"
INIT = """
import os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
sys.stdout.write("up\\n"); sys.stdout.flush()
while True:
    try:
        os.waitpid(-1, 0)
    except ChildProcessError:
        signal.sigtimedwait([signal.SIGCHLD], 0.2)
"""


class Failure(Exception):
    """A condition did not come true in time, or a program failed: what was expected, what was got."""


def wait_for(condition, seconds, what, pause=0.01):
    """Returns condition()'s first true value; raises Failure with `what` (text or function) after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(pause)


def ended(process, seconds, who):
    """Waits until the process has ended; raises Failure after `seconds`."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        raise Failure(f"{who} did not end within {seconds} s") from None


def run(*command, check=True, **options):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, **options)
    except subprocess.TimeoutExpired as late:
        raise Failure(f"{' '.join(map(str, command))}: not within {late.timeout} s; so far: {late.stdout!r}") from None
    if check and done.returncode != 0:
        raise Failure(f"{' '.join(map(str, command))}: exit {done.returncode}: {done.stderr.strip()}")
    return done


def build_folder(named=None):
    """The build that is tested."""
    return pathlib.Path(named or os.environ.get("GANTRY_BUILD") or ROOT / "build/release").resolve()


def ground():
    """What hosts are made of: "root" (namespaces and cgroups), "user" (a user namespace) or "loopback"."""
    return os.environ["GANTRY_HOSTS_GROUND"]


def is_root():
    return ground() == "root"


NAMESPACES = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
IN_USER_NAMESPACE = ["unshare", "--user", "--map-root-user", *NAMESPACES[1:]]


def find_ground():
    """The best ground that this machine gives and the command that leads onto it."""
    if os.environ.get("GANTRY_HOSTS") == "loopback":
        return "loopback", []
    tries = [("user", IN_USER_NAMESPACE)] if os.geteuid() else [("root", NAMESPACES), ("user", IN_USER_NAMESPACE)]
    for name, command in tries:
        if subprocess.run([*command, "true"], capture_output=True).returncode == 0:
            return name, command
    return "loopback", []


def enter(loopback_will_do=False):
    """Runs the rest of this program in namespaces of its own; the caller returns only there.

    The outer process waits, passes the exit status on and removes what is left, also when a signal ends it; what a
    killed one left behind is removed by the next. Without namespaces it exits 77 with a reason, unless hosts on loopback
    addresses will do.
    """
    if os.environ.get("GANTRY_HOSTS_GROUND"):
        threading.Thread(target=end_with_the_outer_program, daemon=True).start()
        if ground() != "loopback":
            run("ip", "link", "set", "lo", "up")
        return
    found, command = find_ground()
    if found == "loopback" and not loopback_will_do:
        print("skipped: neither namespaces nor user namespaces can be had here")
        sys.exit(77)
    sweep()
    state, lock = make_state()
    alive, outer = os.pipe()
    environment = dict(os.environ, GANTRY_HOSTS_GROUND=found, GANTRY_HOSTS_STATE=str(state),
                       GANTRY_HOSTS_ALIVE=str(alive))
    loopback.become_subreaper()
    child = None

    def stop(number, frame):
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, stop)
    try:
        child = subprocess.Popen([*command, sys.executable, "-u", *sys.argv], env=environment, pass_fds=[alive])
        status = child.wait()
        status = status if status >= 0 else 128 - status
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.close(outer)
        if child:
            child.kill()  # unshare, and with it its child and every process in that namespace
            child.wait()
        loopback.end_descendants()
        left = remove_cgroups(state.name)
        shutil.rmtree(state, ignore_errors=True)
        lock.close()
    if left:
        sys.exit(f"left behind: {', '.join(map(str, left))}")
    sys.exit(status)


def end_with_the_outer_program():
    os.read(int(os.environ["GANTRY_HOSTS_ALIVE"]), 1)
    os._exit(128 + signal.SIGKILL)


def make_state():
    """A folder for everything that the hosts write, and what marks it as in use; it has its name only when held."""
    made = pathlib.Path(tempfile.mkdtemp(prefix=f"new-{PREFIX}"))
    lock = hold(made)
    return made.rename(made.with_name(made.name.removeprefix("new-"))), lock


def hold(state):
    """Marks the folder as in use for as long as the returned file is open."""
    lock = open(state / "lock", "w")
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return lock


def sweep():
    """Removes the folders and cgroups of programs that were killed."""
    for state in pathlib.Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            lock = hold(state)
        except OSError:
            continue  # in use, or not ours
        remove_cgroups(state.name)
        shutil.rmtree(state, ignore_errors=True)
        lock.close()


def remove_cgroups(name):
    """Removes folders called `name` (and what is below) from every hierarchy; those that stayed."""
    top = pathlib.Path("/sys/fs/cgroup")
    folders = [path / name for path in (top, *top.glob("*/")) if (path / name).is_dir()]
    for folder in folders:
        for path, _, _ in sorted(os.walk(folder), reverse=True):
            for _ in range(200):
                try:
                    os.rmdir(path)
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.01)
    return [folder for folder in folders if folder.exists()]


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path, timeout):
        super().__init__("localhost", timeout=timeout)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Return:
    """A host that is switched on again after a while, in a thread of its own."""

    def __init__(self, host, after_s):
        self.host, self.failure = host, None
        self.timer = threading.Timer(after_s, self.start)
        self.timer.daemon = True
        self.timer.start()

    def start(self):
        try:
            self.host.start()
        except Exception as failure:  # whatever it was, who joins hears of it
            self.failure = failure

    def join(self, seconds=60):
        """Returns when the host is on; raises what kept it from that."""
        self.timer.join(seconds)
        if self.failure:
            raise self.failure
        if self.timer.is_alive():
            raise Failure(f"host {self.host.name} was not on again within {seconds} s")


class Host:
    """One gateway. Its state folder outlives reboots; its boot id does not."""

    listen = "0.0.0.0"
    network = "10.90.0"

    def __init__(self, cluster, name, number, controller, node, settings):
        self.cluster, self.name, self.number = cluster, name, number
        self.controller, self.node, self.settings = controller, node, settings
        self.build = cluster.build  # another one's programs can be given to a host that is off
        self.address = f"{self.network}.{number}"
        self.dir = cluster.dir / name
        self.dir.mkdir(parents=True)
        self.socket = self.dir / "api.sock"
        self.log = self.dir / "gantryd.log"
        self.ahead = self.dir / "wall_clock_ahead"
        self.init = self.daemon = None
        (self.dir / "boot_id").write_text(f"{uuid.uuid4()}\n")
        self.write_config()

    # --- configuration ---
    def write_config(self):
        c = self.cluster
        lines = [f'state_dir = "{self.dir}/state"', "[plugins]",
                 f"path = {json.dumps([str(path) for path in self.plugin_path()])}"]
        if "trusted_keys" in self.settings:
            lines.append(f'trusted_keys = "{self.settings["trusted_keys"]}"')
        if self.node:
            lines += ["[node]", f'name = "{self.name}"', f'boot_id_file = "{self.dir}/boot_id"',
                      f'listen = "{self.listen}:3901"']
            if "memory" in self.settings:
                lines.append(f'memory = "{self.settings["memory"]}"')
            if "drill" in self.settings:
                lines += ["[node.drill]", *[f"{kind} = {json.dumps(command)}" for kind, command in self.settings["drill"].items()]]
            if "discovery" not in self.settings:
                lines += ["[discovery.static]", f'controllers = ["{c.controller_address}:3900"]']
            lines += ["[runtime.oci]", f'cgroup_parent = "{c.id}/{self.name}"'] if c.runtime == "oci" else ["[runtime.process]"]
            lines += ["[probe.tcp]", "[probe.vsoa]"]
        if self.controller:
            lines += ["[controller]", f'listen = "{self.listen}:3900"']
            lines += [f"{key} = {json.dumps(self.settings[key])}" for key in ("profile", "indirect") if key in self.settings]
            if c.timing:
                lines += ["[controller.timing]", *[f'{key} = "{value}"' for key, value in c.timing.items()]]
            lines += ["[placement.least-loaded]", "[store.sqlite]",
                      f'path = "{self.settings.get("store", f"{self.dir}/state/state.db")}"']
        lines += self.settings.get("discovery", [])
        lines += ["[transport.vsoa]", f'secret_file = "{self.settings.get("secret", c.secret)}"']
        lines += ["[directory.vsoa]", f'listen = "{self.listen}:{c.position_port}"']
        lines += ["[frontend.http]", f'socket = "{self.socket}"', *self.settings.get("lines", [])]
        for title in self.settings.get("isolated", []):
            lines.insert(lines.index(f"[{title}]") + 1, 'isolation = "process"')
        (self.dir / "gantry.toml").write_text("\n".join(lines) + "\n")

    def plugin_path(self):
        return [*([self.settings["plugins"]] if "plugins" in self.settings else []), self.build / "lib/gantry/plugins"]

    # --- life ---
    def start(self, daemon=True):
        """Switches the host on: its namespaces, its link, its gantryd."""
        command = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc",
                   "--propagation", "private", *self.clock(), sys.executable, "-c", INIT]
        self.unshare = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if (said := self.unshare.stdout.readline()) != "up\n":
            raise Failure(f"host {self.name} did not come up: {said}")
        children = pathlib.Path(f"/proc/{self.unshare.pid}/task/{self.unshare.pid}/children")
        self.init = int(children.read_text().split()[0])
        link = f"h{self.number}"
        run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", str(self.init))
        run("ip", "link", "set", link, "master", "fleet", "up")
        self.inside("ip", "link", "set", "lo", "up")
        self.inside("ip", "addr", "add", f"{self.address}/24", "dev", "eth0")
        self.inside("ip", "link", "set", "eth0", "up")
        if daemon:
            self.start_daemon()
        return self

    def enter_command(self):
        time = ["--time"] if self.clock() else []
        return ["nsenter", "-t", str(self.init), "--pid", "--mount", "--net", *time, "--"]

    def clock(self):
        """Options of unshare for a host whose clocks show `ahead_s` more than those of the machine."""
        ahead = self.settings.get("ahead_s")
        return ["--time", "--boottime", str(ahead), "--monotonic", str(ahead)] if ahead else []

    def inside(self, *command, **options):
        return run(*self.enter_command(), *command, **options)

    def wall_clock(self):
        """What has a program here see the wall clock of a host that was added with `ahead_s`."""
        if "ahead_s" not in self.settings:
            return []
        if not self.ahead.exists():
            self.set_wall_clock(self.settings["ahead_s"])
        return ["env", f"GANTRY_TEST_AHEAD={self.ahead}", f"LD_PRELOAD={self.cluster.build}/tests/wall_shift.so"]

    def set_wall_clock(self, ahead_s):
        """From now on its wall clock shows so many seconds more than the machine's; for programs that run as well."""
        with open(self.ahead, "r+b" if self.ahead.exists() else "wb") as file:
            file.write(struct.pack("=q", ahead_s))

    def start_daemon(self):
        command = [*self.enter_command(), *self.wall_clock(), f"{self.build}/bin/gantryd", "--config",
                   f"{self.dir}/gantry.toml"]
        with open(self.log, "ab") as log:
            self.daemon = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def daemon_pid(self):
        children = pathlib.Path(f"/proc/{self.daemon.pid}/task/{self.daemon.pid}/children")
        return int(wait_for(lambda: children.read_text().split(), 5, f"gantryd of {self.name} as a process")[0])

    def pids(self, program):
        """Processes of this host that run `program`, as numbers of the host itself."""
        script = f"cd /proc; for p in [0-9]*; do [ \"$(cat $p/comm 2>/dev/null)\" = {program} ] && echo $p; done; true"
        return sorted(map(int, self.inside("sh", "-c", script).stdout.split()))

    def kill_daemon(self, number=signal.SIGKILL):
        """Ends gantryd alone; containers run on."""
        if self.daemon and self.daemon.poll() is None:
            os.kill(self.daemon_pid(), number)
            ended(self.daemon, 10, f"gantryd of {self.name} after signal {int(number)}")
        self.daemon = None

    def power_off(self, reset=False):
        """Sudden: the link and every process are gone. reset: the processes first, so that others see their connections
        break."""
        if not reset:
            run("ip", "link", "del", f"h{self.number}", check=False)
        if self.init:
            os.kill(self.init, signal.SIGKILL)
            ended(self.unshare, 10, f"host {self.name}")
            self.unshare.stdout.close()
            if self.daemon:
                ended(self.daemon, 10, f"gantryd of {self.name} without its host")
        if reset:
            run("ip", "link", "del", f"h{self.number}", check=False)
        self.init = self.daemon = None
        (self.dir / "boot_id").write_text(f"{uuid.uuid4()}\n")

    def reboot(self, after_s):
        """Power off now, on again in a thread after `after_s` seconds: join() what this returns."""
        self.power_off()
        return Return(self, after_s)

    def cut(self):
        run("ip", "link", "set", f"h{self.number}", "down")

    def heal(self):
        run("ip", "link", "set", f"h{self.number}", "up")

    def break_link(self, other):
        """Between this host and another one nothing passes; both reach everybody else."""
        for here, there in ((self, other), (other, self)):
            here.drop_packets(f"ip saddr {there.address}")

    def mend_link(self, other):
        for host in (self, other):
            host.drop_no_packets()

    def drop_packets(self, which):
        """Of those that come in, by a match of nftables."""
        self.inside("nft", "add table inet broken; add chain inet broken in { type filter hook input priority 0; }; "
                    f"add rule inet broken in {which} drop")

    def drop_no_packets(self):
        self.inside("nft", "delete table inet broken")

    # --- API ---
    def api(self, method, path, body=None, timeout=10):
        connection = UnixConnection(self.socket, timeout)
        try:
            given = body if isinstance(body, (bytes, type(None))) else json.dumps(body)
            connection.request(method, path, given)
            answer = connection.getresponse()
            text = answer.read()
            return answer.status, json.loads(text) if text else None
        finally:
            connection.close()

    def get(self, path):
        status, document = self.api("GET", path)
        if status != 200:
            raise Failure(f"GET {path}: {status}: {document}")
        return document

    def ready(self):
        """True once gantryd answers."""
        try:
            return self.api("GET", "/v1/cluster", timeout=2)[0] == 200
        except (OSError, http.client.HTTPException):
            if self.daemon and self.daemon.poll() is not None:
                raise Failure(f"gantryd of {self.name} ended with {self.daemon.returncode}:\n{self.log_tail()}")
            return False

    def log_tail(self, lines=20):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    def cli(self, *arguments, check=True, **options):
        return run(f"{self.build}/bin/gantry", "--socket", str(self.socket), *arguments, check=check, **options)


class LoopbackHost(Host):
    """One gateway as a process tree with an address of the loopback device; its link cannot be cut."""

    network = "127.0.1"

    @property
    def listen(self):
        return self.address

    def start(self, daemon=True):
        self.tree = loopback.Init()
        self.init = self.tree.pid
        if daemon:
            self.start_daemon()
        return self

    def enter_command(self):
        return []

    def start_daemon(self):
        command = [f"{self.build}/bin/gantryd", "--config", f"{self.dir}/gantry.toml"]
        self.daemon = loopback.Spawned(self.tree.spawn(command, self.log))

    def daemon_pid(self):
        return self.daemon.pid

    def pids(self, program):
        return sorted(pid for pid in loopback.descendants(self.init) if loopback.program_of(pid) == program)

    def power_off(self, reset=True):
        if self.init:
            try:
                self.tree.end()
            except subprocess.TimeoutExpired:
                raise Failure(f"host {self.name} did not end") from None
        self.init = self.daemon = None
        (self.dir / "boot_id").write_text(f"{uuid.uuid4()}\n")

    def cut(self, *_):
        raise Failure(f"host {self.name} is on the loopback device, which has no cable to cut")

    heal = break_link = drop_packets = cut


class Cluster:
    """Hosts on one bridge. `first` is the number of its first host; a second cluster uses the bridge of another one."""

    def __init__(self, build=None, runtime=None, timing=None, bridge=True, first=1):
        self.build = build_folder(build)
        self.dir = pathlib.Path(os.environ["GANTRY_HOSTS_STATE"])
        self.id = self.dir.name
        self.runtime = runtime or ("oci" if is_root() else "process")
        self.timing = timing or {}
        self.hosts, self.first = {}, first
        self.host_class = LoopbackHost if ground() == "loopback" else Host
        self.makes_bridge = bridge and self.host_class is Host
        self.controller_address = f"{self.host_class.network}.{first}"
        self.position_port = 1054 if ground() == "loopback" else 54
        self.secret = self.dir / "cluster.secret"
        if not self.secret.exists():  # one for all clusters of this program
            self.secret.write_text(uuid.uuid4().hex + uuid.uuid4().hex)
        self.secret.chmod(0o600)

    def __enter__(self):
        if self.makes_bridge:
            run("ip", "link", "add", "fleet", "type", "bridge")
            run("ip", "addr", "add", f"{Host.network}.254/24", "dev", "fleet")
            run("ip", "link", "set", "fleet", "up")
        return self

    def __exit__(self, kind, value, trace):
        if kind and issubclass(kind, Exception):
            for host in self.hosts.values():
                print(f"--- {host.name}: last lines of its log\n{host.log_tail()}")
        for host in self.hosts.values():
            if host.init:
                host.power_off()
        if self.makes_bridge:
            run("ip", "link", "del", "fleet", check=False)

    def add(self, name, controller=False, node=None, **settings):
        """A host that is off. The first controller has the address that agents dial."""
        host = self.host_class(self, name, self.first + len(self.hosts), controller, not controller if node is None else node, settings)
        self.hosts[name] = host
        return host

    def controller(self):
        return next(host for host in self.hosts.values() if host.controller)

    # --- what tests look at ---
    def instances(self, service=None):
        items = self.controller().get("/v1/instances")["items"]
        return [i for i in items if service is None or i["service"] == service]

    def events(self, after=0):
        return self.controller().get(f"/v1/events?after={after}")["items"]

    def node(self, name):
        status, document = self.controller().api("GET", f"/v1/nodes/{name}")
        return document if status == 200 else None

    def wait_nodes(self, names, seconds=15):
        for name in names:
            wait_for(lambda: (self.node(name) or {}).get("liveness") == "ready", seconds,
                     lambda: f"node {name} ready: {self.node(name)}\n{self.hosts[name].log_tail()}")

    def wait_event(self, kind, seconds, after=0, **fields):
        def look():
            for event in self.events(after):
                if event["kind"] == kind and all(event["fields"].get(k) == v for k, v in fields.items()):
                    return event
            return None
        return wait_for(look, seconds, lambda: f"event {kind} {fields}; last: {[e['text'] for e in self.events(after)][-15:]}")

    def wait_ready(self, service, node=None, seconds=20, count=1):
        def look():
            ready = [i for i in self.instances(service) if i["state"] == "ready" and node in (None, i["node"])]
            return ready if len(ready) >= count else None
        return wait_for(look, seconds, lambda: f"{service} ready on {node or 'any node'}: {self.instances(service)}")
