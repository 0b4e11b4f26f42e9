"""Real container engines for tests: Podman's service and Docker's daemon, unpacked under build/tools, not installed.

    with engines.Podman(build, folder) as engine:    # or Docker; the caller has a mount namespace of its own
        engine.socket
"""
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import time

import unpacked


class Missing(Exception):
    """The engine cannot be had here: why."""


def program(build, name, package, where, unwanted=None):
    """The folder in which a program lies: / or that of the unpacked package."""
    if shutil.which(name):
        return pathlib.Path("/")
    root = pathlib.Path(build).resolve() / "tools" / package
    if not (root / where / name).exists():
        try:
            unpacked.fetch(root, [package], unwanted)
        except (OSError, subprocess.SubprocessError) as failure:
            raise Missing(f"{name} is not installed and cannot be fetched: {failure}") from None
    return root


class Engine:
    """What both have: a folder, a socket, a process that can be killed, stopped for a while and started again."""

    def __init__(self, build, folder):
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.socket, self.log, self.process = self.folder / "engine.sock", self.folder / "engine.log", None
        self.prepare(build)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.end()

    def start(self):
        self.socket.unlink(missing_ok=True)
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.command, env={**os.environ, **self.environment}, stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the engine does not answer:\n{self.log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.05)

    def answers(self):
        try:
            return self.ask("GET", "/_ping")[0] == 200
        except OSError:
            return False

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection("docker", timeout=30)
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.settimeout(30)
        try:
            connection.sock.connect(str(self.socket))
            connection.request(method, path, json.dumps(body) if body is not None else None,
                               {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def end(self, number=signal.SIGTERM):
        if self.process and self.process.poll() is None:
            self.process.send_signal(number)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(20)
        self.process = None


class Podman(Engine):
    """`podman system service`; containers live under conmon and outlive it."""

    def prepare(self, build):
        root = program(build, "podman", "podman", "usr/bin")
        # conmon runs Podman again when a container ends, and does not pass a library path on.
        for libraries in root.glob("usr/lib/*-linux-gnu") if root != pathlib.Path("/") else ():
            place = pathlib.Path("/", libraries.relative_to(root))
            subprocess.run(["mount", "-t", "overlay", "overlay", "-o", f"lowerdir={libraries}:{place}", place], check=True)
        home = self.folder / "home"
        (home / ".config/containers").mkdir(parents=True, exist_ok=True)
        (home / ".config/containers/policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
        (home / "registries.conf").write_text("unqualified-search-registries = []\n")
        conf = self.folder / "containers.conf"
        # Lower limits than Podman's own, which this machine may not raise.
        conf.write_text('[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n'
                        f'[engine]\nruntime = "runc"\nconmon_path = ["{shutil.which("conmon")}"]\n'
                        f'[engine.runtimes]\nrunc = ["{shutil.which("runc")}"]\n')
        (self.folder / "storage.conf").write_text(
            f'[storage]\ndriver = "overlay"\ngraphroot = "{self.folder}/data"\nrunroot = "{self.folder}/run"\n')
        self.environment = {"HOME": str(home), "CONTAINERS_CONF": str(conf),
                            "CONTAINERS_STORAGE_CONF": str(self.folder / "storage.conf"),
                            "CONTAINERS_REGISTRIES_CONF": str(home / "registries.conf"), "TMPDIR": str(self.folder)}
        self.command = [str(root / "usr/bin/podman"), "--tmpdir", f"{self.folder}/tmp", "--cgroup-manager", "cgroupfs",
                        "--events-backend", "file",
                        "system", "service", "--time", "0", f"unix://{self.socket}"]


class Docker(Engine):
    """dockerd with a containerd of its own. cgroup: the folder in which its containers' cgroups are made."""

    def __init__(self, build, folder, cgroup):
        self.cgroup = cgroup
        super().__init__(build, folder)

    def prepare(self, build):
        root = program(build, "dockerd", "docker.io", "usr/sbin")
        path = ":".join(str(root / part) for part in ("usr/sbin", "usr/bin"))
        self.environment = {"PATH": f"{path}:{os.environ['PATH']}",
                            "LD_LIBRARY_PATH": f"{root}/usr/lib/x86_64-linux-gnu:{root}/usr/lib/aarch64-linux-gnu"}
        self.command = [str(root / "usr/sbin/dockerd"), "--data-root", f"{self.folder}/data", "--exec-root",
                        f"{self.folder}/exec", "--pidfile", f"{self.folder}/docker.pid", "-H", f"unix://{self.socket}",
                        "--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=overlay2",
                        f"--cgroup-parent=/{self.cgroup}"]

    def start(self):
        (self.folder / "docker.pid").unlink(missing_ok=True)
        super().start()


def main():
    """engines.py podman|docker BUILD FOLDER COMMAND ...: runs a command beside an engine at FOLDER/engine.sock, whose number
    is in FOLDER/engine.pid; one that is killed is started again. Exits as the command does, with 77 where there is none."""
    import sys
    kind, build, folder, command = sys.argv[1], sys.argv[2], pathlib.Path(sys.argv[3]), sys.argv[4:]
    try:
        engine = Podman(build, folder) if kind == "podman" else Docker(build, folder, "gantry-engine")
    except Missing as missing:
        print(f"skipped: {missing}")
        return 77
    with engine:
        (folder / "engine.pid").write_text(str(engine.process.pid))
        running = subprocess.Popen(command, env={**os.environ, "GANTRY_ENGINE": str(folder)})
        while True:
            # As init of its namespace also of others' children: Podman waits for ever for a conmon that nobody buried.
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == running.pid:
                return os.waitstatus_to_exitcode(status)
            if pid == engine.process.pid:
                engine.start()
                (folder / "engine.pid").write_text(str(engine.process.pid))
            if pid == 0:
                time.sleep(0.01)


if __name__ == "__main__":
    raise SystemExit(main())
