"""What probes decide, with real containers: liveness restarts, readiness names, startup holds the others back."""
import fcntl
import os
import pathlib
import select
import signal
import struct
import subprocess
import termios

from fleet import *  # noqa: F403

PORT = 8080
# Answers whatever the file says. Containers share the network of their host, so it may as well run beside them.
SERVER = """
import http.server, pathlib, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(pathlib.Path(sys.argv[1]).read_text()))
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Answer).serve_forever()
"""


class Answers:
    """An HTTP server on each node whose status the test sets."""

    def __init__(self, cluster, status=200):
        self.file = cluster.dir / "status"
        self.say(status)
        self.processes = [subprocess.Popen([*host.enter_command(), sys.executable, "-c", SERVER, str(self.file), str(PORT)])
                          for host in cluster.hosts.values() if host.node]

    def say(self, status):
        new = self.file.with_suffix(".new")
        new.write_text(str(status))
        new.rename(self.file)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # nsenter reaps what it runs; what it leaves behind would keep the host's processes from ending.
        for process in self.processes:
            children = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            for child in map(int, children):
                os.kill(child, signal.SIGKILL)
            process.wait(10)


def probing(purpose, kind="http", **keys):
    return manifest(probe=None) | {"probe": [{"kind": kind, "purpose": purpose, "interval": "200ms", "failure_threshold": 3,
                                              **({"port": PORT} if kind == "http" else {}), **keys}]}


def with_probes(*plugins):
    cluster = fleet()
    for host in cluster.hosts.values():
        if host.node:
            host.settings["lines"] = [f"[probe.{plugin}]" for plugin in plugins]
            host.write_config()
    return cluster


def liveness_restarts():
    """A copy whose liveness probe fails is stopped and started anew on its node, named again, and left alone once well."""
    with with_probes("http") as c, Answers(up(c)) as answers:
        deploy(c, probing("liveness"))
        node = c.wait_ready("axis_server")[0]["node"]
        wait_for(lambda: counts(c)[node] == 1, 5, "its process has become the program")
        before = processes(c)
        stays(lambda: processes(c) == before, 2, "nothing is restarted while it is well")
        after = last_event(c)
        answers.say(500)
        event = c.wait_event("exited", 15, after=after, service="axis_server")
        if "liveness probe http failed: status 500" not in event["text"]:
            raise Failure(f"the event does not say why: {event}")
        answers.say(200)
        wait_for(lambda: processes(c) != before and counts(c)[node] == 1, 15, lambda: f"another process: {processes(c)}")
        c.wait_ready("axis_server", node)
        again = c.instances("axis_server")[0]
        expect("epoch and restarts", (1, 1), (again["epoch"], again["restarts"]))
        now = processes(c)
        stays(lambda: processes(c) == now, 3, lambda: f"it is left alone: {now}, {processes(c)}")


def readiness_names():
    """A copy that is not ready is not named, is not restarted for it, and is named again as soon as it is well."""
    with with_probes("http") as c, Answers(up(c)) as answers:
        deploy(c, probing("readiness"))
        place = c.wait_ready("axis_server")[0]
        wait_for(lambda: counts(c)[place["node"]] == 1, 5, "its process has become the program")
        before, after = processes(c), last_event(c)
        named = lambda: resolve(c, c.hosts["controller"], "axis_server").get("addr")  # noqa: E731
        wait_for(named, 5, "it is named")
        answers.say(503)
        wait_for(lambda: not named(), 10, "the name is gone")
        reason = wait_for(lambda: c.instances("axis_server")[0]["reason"], 5, "a reason")
        expect("reason", "probe http: status 503", reason)
        c.wait_event("not-ready", 5, after=after, service="axis_server")
        answers.say(200)
        wait_for(named, 10, "it is named again")
        expect("processes", before, processes(c))
        expect("node", place["node"], c.instances("axis_server")[0]["node"])


def startup_holds_back():
    """Until the startup probe has succeeded the copy is not ready and no liveness probe restarts it."""
    with with_probes("http") as c, Answers(up(c), 503) as answers:
        document = probing("startup", failure_threshold=1000)
        document["probe"].append({"kind": "tcp", "purpose": "liveness", "port": 1, "interval": "200ms"})
        deploy(c, document)
        wait_for(lambda: sum(counts(c).values()) == 1, 15, lambda: f"one process: {counts(c)}")
        before = processes(c)
        stays(lambda: processes(c) == before and c.instances("axis_server")[0]["state"] != "ready", 3,
              lambda: f"it starts up: {c.instances('axis_server')}")
        answers.say(200)
        c.wait_event("exited", 15, service="axis_server")  # nobody listens on port 1
        wait_for(lambda: processes(c) != before, 10, "it is restarted by its liveness probe")


def alive(host):
    """Processes of the command, the dead that nobody asked for apart."""
    script = "cd /proc; for p in [0-9]*; do grep -qs '^[0-9]* (ash) [^ZX]' $p/stat && echo $p; done; true"
    return host.inside("sh", "-c", script).stdout.split()


@real
def command_in_container():
    """A command in the container says whether it is well; one that forks without end is killed at its time, all of it."""
    busybox = next((path for path in ("/bin/busybox", "/usr/bin/busybox") if os.path.exists(path)), None)
    if busybox is None:
        print("skipped: commands in containers need busybox-static")
        sys.exit(77)
    with with_probes("exec") as c:
        up(c)
        flag = c.dir / "flag"
        flag.mkdir()
        mounts = [{"source": busybox, "target": "/bin/sh", "read_only": True},
                  {"source": busybox, "target": "/bin/ash", "read_only": True}, {"source": str(flag), "target": "/flag"}]
        document = probing("readiness", kind="exec", timeout="1s", command="read x < /flag/status && echo it says $x && exit $x")
        document["resources"] |= {"cpu": 0.5}
        (flag / "status").write_text("7\n")
        deploy(c, document | {"mount": mounts})
        wait_for(lambda: "exit status 7: it says 7" in c.instances("axis_server")[0]["reason"], 15,
                 lambda: f"the command's status and words: {c.instances('axis_server')}")
        (flag / "status").write_text("0\n")
        node = c.wait_ready("axis_server")[0]["node"]
        wait_for(lambda: counts(c)[node] == 1, 5, "its process has become the program")
        before = processes(c)
        # It forks for ever, and what it makes leaves its parents.
        bomb = "f() { (while :; do :; done) & (sleep 0.05; f) & }; f; f; f; while :; do :; done"
        document["probe"][0] |= {"command": ["/bin/ash", "-c", bomb], "purpose": "liveness", "interval": "3s"}
        document["resources"] |= {"pids": 64}
        after = last_event(c)
        deploy(c, document | {"mount": mounts})
        wait_for(lambda: processes(c) != before and sum(counts(c).values()) == 1, 20, lambda: f"its successor: {processes(c)}")
        node = wait_for(lambda: next((host for host in c.hosts.values() if host.node and host.pids("axis_server")), None), 5,
                        "its node")
        wait_for(lambda: alive(node), 10, "the command runs")
        wait_for(lambda: not alive(node), 10, lambda: f"all of it is killed: {alive(node)}")
        expect("processes of the service", 1, sum(counts(c).values()))
        # axis_server asks for none of the dead: they fill its limit, and the probe says so from then on.
        event = c.wait_event("exited", 30, after=after, service="axis_server")
        if "liveness probe exec failed: " not in event["text"]:
            raise Failure(f"the event does not say why: {event}")
        wait_for(lambda: processes(c) != before, 10, "it is restarted by its liveness probe")


@real
def command_by_hand():
    """gantry exec runs a command wherever the instance is: output, input, status, a terminal; a lost node is told."""
    busybox = next((path for path in ("/bin/busybox", "/usr/bin/busybox") if os.path.exists(path)), None)
    if busybox is None:
        print("skipped: commands in containers need busybox-static")
        sys.exit(77)
    with fleet() as c:
        up(c)
        mounts = [{"source": busybox, "target": "/bin/" + name, "read_only": True} for name in ("sh", "cat", "sleep", "stty")]
        deploy(c, manifest() | {"mount": mounts})
        instance = c.wait_ready("axis_server")[0]
        controller = c.hosts["controller"]

        def gantry(*arguments, **options):
            return subprocess.run([f"{c.build}/bin/gantry", "--socket", str(controller.socket), "exec", *arguments],
                                  capture_output=True, timeout=60, **options)

        done = gantry("axis_server", "--", "/bin/sh", "-c", "echo out; echo err >&2; exit 7", stdin=subprocess.DEVNULL)
        expect("status", 7, done.returncode)
        expect("words", [b"err", b"out"], sorted(done.stdout.split()))
        expect("nothing is typed without -i", 0, gantry("axis_server.0", "--", "/bin/cat", input=b"x").returncode)
        # More than every buffer on the way holds, both ways.
        much = os.urandom(5 << 20)
        done = gantry("-i", "axis_server.0", "--", "/bin/cat", input=much)
        expect("status", 0, done.returncode)
        if done.stdout != much:
            raise Failure(f"what was written in is not what came out: {len(done.stdout)} of {len(much)} bytes")
        missing = gantry("axis_server", "--", "/bin/none")
        if missing.returncode == 0 or b"no such file" not in missing.stderr:
            raise Failure(f"a program that is not there: {missing}")
        expect("no such instance", 3, gantry("axis_server.7", "--", "/bin/cat").returncode)
        terminal(c, controller)
        # A command that is given up is ended, with the terminal's hangup or the reader's.
        host = c.hosts[instance["node"]]
        running = subprocess.Popen([f"{c.build}/bin/gantry", "--socket", str(controller.socket), "exec", "axis_server", "--",
                                    "/bin/sleep", "600"])
        wait_for(lambda: host.pids("sleep"), 10, "the command runs")
        running.send_signal(signal.SIGTERM)
        running.wait(10)
        wait_for(lambda: not host.pids("sleep"), 10, lambda: f"it is ended: {host.pids('sleep')}")
        # The node is lost in the middle of it.
        running = subprocess.Popen([f"{c.build}/bin/gantry", "--socket", str(controller.socket), "exec", "axis_server", "--",
                                    "/bin/sleep", "600"], stderr=subprocess.PIPE)
        wait_for(lambda: host.pids("sleep"), 10, "the command runs")
        host.power_off()
        said = running.communicate(timeout=60)[1]
        expect("status", 1, running.returncode)
        if b"the connection to the node was lost" not in said:
            raise Failure(f"it does not say that the node was lost: {said}")


def terminal(c, controller):
    """gantry exec -t in a terminal of this test's: its size, keys, and the status."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 111, 0, 0))
    before = termios.tcgetattr(theirs)
    program = subprocess.Popen([f"{c.build}/bin/gantry", "--socket", str(controller.socket), "exec", "-t", "axis_server", "--",
                                "/bin/sh", "-c", "is() { until [ \"$(stty size 2>&1)\" = \"$1\" ]; do sleep 0.05; done; echo $1; }; is '33 111'; read x; "
                                "echo got $x; is '44 222'; sleep 600"],
                               stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
                               preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    heard = b""

    def says(text):
        nonlocal heard
        while select.select([ours], [], [], 0)[0]:
            heard += os.read(ours, 4096)
        return text in heard

    try:
        wait_for(lambda: says(b"33 111\r\n"), 10, lambda: f"the size: {heard}")
        fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 44, 222, 0, 0))
        os.write(ours, b"word\r")
        wait_for(lambda: says(b"got word\r\n44 222\r\n"), 10, lambda: f"keys and the new size: {heard}")
        os.write(ours, b"\x03")  # Ctrl-C is the command's
        expect("status", 130, program.wait(20))
        expect("the terminal is as it was", before, termios.tcgetattr(theirs))
    finally:
        program.kill()
        program.wait()
        os.close(ours)
        os.close(theirs)


PROBES = [liveness_restarts, readiness_names, startup_holds_back, command_in_container, command_by_hand]
