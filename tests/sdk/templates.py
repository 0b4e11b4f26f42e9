#!/usr/bin/env python3
"""What `gantry-plugin new` writes builds against the installed SDK, passes its tests and `gantry-plugin check`, and does its
job: a gateway runs on nothing but plugins of templates, one of each role, first in C++, then in C. (The HTTP frontend is
there beside the new one, because the command line speaks to it.)
"""
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys

from desk import Desk
from hosts import Cluster, Failure, UnixConnection, enter, ended, wait_for
import loopback

ROLES = ["discovery", "placement", "runtime", "probe", "transport", "directory", "store", "frontend"]
LANGUAGES = {"c++": "", "c": "-c"}  # and how their plugins' names end
CONFIG = """
state_dir = "{dir}/state"
[plugins]
path = ["{site}/lib/gantry/plugins", "{prefix}/lib/gantry/plugins"]
trusted_keys = "{keys}"
[node]
name = "Gateway"
labels = {{ preferred = "yes" }}
[controller]
listen = "127.0.0.1:3900"
[discovery.my-discovery{c}]
file = "{dir}/endpoints"
interval = "100ms"
[placement.my-placement{c}]
[runtime.my-runtime{c}]
[probe.my-probe]
expect = "220"
[probe.my-probe-c]
[transport.my-transport{c}]
secret_file = "{dir}/secret"
[directory.my-directory{c}]
listen = "127.0.0.1:5400"
[store.my-store{c}]
path = "{dir}/log"
[frontend.my-frontend{c}]
socket = "{dir}/door"
[frontend.http]
socket = "{dir}/api.sock"
group = ""
"""
GREETER = """
import socket
door = socket.create_server(("127.0.0.1", 2500))
while True:
    client, _ = door.accept()
    client.sendall(b"220 well\\r\\n")
    client.close()
"""


def build(desk):
    for role in ROLES:
        for language, ending in LANGUAGES.items():
            desk.run("gantry-plugin", "new", role, f"my-{role}{ending}", "--language", language)
            desk.build(desk.work / f"my-{role}{ending}")


class Gateway:
    def __init__(self, desk, folder, language):
        self.desk, self.dir, self.ending = desk, folder, LANGUAGES[language]
        self.dir.mkdir()
        (self.dir / "secret").write_text("a secret of this gateway alone")
        (self.dir / "endpoints").write_text("node Expected\n")
        (self.dir / "gantry.toml").write_text(CONFIG.format(dir=self.dir, site=desk.site, prefix=desk.prefix,
                                                            keys=desk.keys, c=self.ending))
        (self.dir / "greeter.py").write_text(GREETER)
        (self.dir / "index.html").write_text("well\n")
        self.log = self.dir / "gantryd.log"
        self.daemon = None

    def start(self):
        with open(self.log, "ab") as log:
            self.daemon = subprocess.Popen([self.desk.prefix / "bin/gantryd", "--config", self.dir / "gantry.toml"],
                                           stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        wait_for(self.ready, 15, lambda: f"gantryd answers: {self.log.read_text()}")

    def ready(self):
        if self.daemon.poll() is not None:
            raise Failure(f"gantryd ended with {self.daemon.returncode}:\n{self.log.read_text()}")
        done = self.cli("status", check=False)
        return done.returncode == 0

    def stop(self):
        self.daemon.send_signal(signal.SIGTERM)
        ended(self.daemon, 10, "gantryd after SIGTERM")

    def cli(self, *arguments, check=True):
        command = [self.desk.prefix / "bin/gantry", "--socket", self.dir / "api.sock", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        if check and done.returncode != 0:
            raise Failure(f"gantry {' '.join(map(str, arguments))}: exit {done.returncode}: {done.stdout}{done.stderr}\n"
                          f"{self.log.read_text()[-3000:]}")
        return done

    def through_the_door(self, line):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
            door.settimeout(5)
            door.connect(str(self.dir / "door"))
            door.sendall(line.encode() + b"\n")
            answer = b""
            while not answer.endswith(b"\n"):
                answer += door.recv(65536) or b"\n"
        return answer.decode()

    @staticmethod
    def look_up(name):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as question:
            question.settimeout(2)
            question.sendto(name.encode(), ("127.0.0.1", 5400))
            return question.recv(512).decode()

    def deploy(self, name, port, args, kind, policy):
        manifest = self.dir / f"{name}.toml"
        manifest.write_text(f"""
[service]
name = "{name}"
image = "none:1.0"
[placement]
nodes = ["Gateway"]
policy = "{policy}"
[container]
args = {args}
[[endpoint]]
kind = "tcp"
name = "{name}"
port = {port}
[[probe]]
kind = "{kind}"
interval = "200ms"
""")
        self.cli("deploy", str(manifest), "--timeout", "20s")


def says(what, text, *words):
    if missing := [word for word in words if word not in text]:
        raise Failure(f"{what}: expected {missing} in: {text}")


def each_does_its_job(gateway, image):
    gateway.start()
    plugins = gateway.cli("plugins").stdout
    says("gantry plugins", plugins, "signed by acme", *[f"my-{role}{gateway.ending} " for role in ROLES])
    # transport: the node reached its controller. discovery: a node is expected.
    wait_for(lambda: "ready" in gateway.cli("nodes").stdout, 15, lambda: gateway.cli("nodes").stdout)
    wait_for(lambda: "Expected" in gateway.cli("nodes").stdout, 5, lambda: gateway.cli("nodes").stdout)
    (gateway.dir / "endpoints").write_text("# nobody\n")
    wait_for(lambda: "Expected" not in gateway.cli("nodes").stdout, 5, lambda: gateway.cli("nodes").stdout)

    gateway.cli("image", "import", str(image))
    # placement decides, runtime runs, probe makes ready.
    gateway.deploy("greeter", 2500, [sys.executable, str(gateway.dir / "greeter.py")], "my-probe",
                   f"my-placement{gateway.ending}")
    gateway.deploy("web", 8080, ["busybox", "httpd", "-f", "-p", "127.0.0.1:8080", "-h", str(gateway.dir)], "my-probe-c",
                   f"my-placement{gateway.ending}")
    for service in ("greeter", "web"):
        says("gantry explain", gateway.cli("explain", service).stdout.lower(), "without the label", "copies of the service")
    # directory: the names answer. frontend: the tree answers at the new door.
    wait_for(lambda: gateway.look_up("web") == "127.0.0.1 8080\n", 5, lambda: gateway.look_up("web"))
    says("a name that nobody has", gateway.look_up("nobody"), "not found")
    says("through the door", gateway.through_the_door("GET /v1/services/web"), "200 {", '"web"')

    # store: what was deployed is there after a restart, and runs on.
    before = sorted(pid for pid in loopback.descendants(os.getpid()) if loopback.program_of(pid) == "busybox")
    gateway.stop()
    gateway.start()
    wait_for(lambda: gateway.cli("services").stdout.count("ready") >= 2, 15, lambda: gateway.cli("services").stdout)
    after = sorted(pid for pid in loopback.descendants(os.getpid()) if loopback.program_of(pid) == "busybox")
    if not before or before != after:
        raise Failure(f"the web server ran on: expected {before}, got {after}")
    for service in ("greeter", "web"):
        gateway.cli("rm", service, "--wait")
    gateway.stop()


def main():
    enter(loopback_will_do=True)
    loopback.become_subreaper()
    state = pathlib.Path(os.environ["GANTRY_HOSTS_STATE"])
    desk = Desk(state)
    build(desk)
    image = desk.make_image()
    for language in LANGUAGES:
        each_does_its_job(Gateway(desk, state / f"gateway{LANGUAGES[language]}", language), image)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failure as failure:
        sys.exit(str(failure))
