"""What a manifest sets for containers, and named volumes, with real containers."""
from fleet import *  # noqa: F403


class Process:
    """The only one of axis_server on a host, seen from there."""

    def __init__(self, host):
        self.host, pids = host, host.pids("axis_server")
        expect("processes", 1, len(pids))
        self.pid = pids[0]

    def read(self, file):
        return self.host.inside("cat", f"/proc/{self.pid}/{file}").stdout

    def write(self, file, text):
        self.host.inside("sh", "-c", f"printf %s '{text}' > /proc/{self.pid}/{file}")

    def lives(self):
        return self.pid in self.host.pids("axis_server")


@real
def settings_reach_the_container():
    """What the manifest sets is what the container has; what is wrong is refused with a guess."""
    with fleet() as c:
        up(c)
        wrong = manifest(container={"capabilities": {"add": ["NET_RAV"]}})
        status, answer = c.controller().api("PUT", "/v1/services/axis_server", wrong)
        if status != 400 or 'did you mean "NET_RAW"' not in str(answer):
            raise Failure(f"expected a refusal with a guess, got {status}: {answer}")
        deploy(c, manifest(nodes=("SNode1",), container={
            "read_only": True, "capabilities": {"drop": ["ALL"]}, "rlimits": {"nofile": [100, 200]}, "oom_score_adj": 321,
            "user": "1234:77"}, resources={"cpus": "0"}, tmpfs=[{"target": "/scratch", "size": "1MiB"}]))
        c.wait_ready("axis_server", "SNode1")
        process = Process(c.hosts["SNode1"])
        status = dict(line.split(":\t", 1) for line in process.read("status").splitlines() if ":\t" in line)
        expect("capabilities", "0" * 16, status["CapBnd"])
        expect("user", ["1234"] * 4, status["Uid"].split())
        expect("group", ["77"] * 4, status["Gid"].split())
        expect("processors", "0", status["Cpus_allowed_list"])
        expect("OOM score", "321", process.read("oom_score_adj").strip())
        mounts = {m.split()[4]: m for m in process.read("mountinfo").splitlines()}
        expect("options of /", "ro", mounts["/"].split()[5].split(",")[0])
        if "noexec" not in mounts["/scratch"] or "size=1024k" not in mounts["/scratch"]:
            raise Failure(f"/scratch is mounted as {mounts['/scratch']}")
        files = next(m for m in process.read("limits").splitlines() if m.startswith("Max open files"))
        expect("open files", ["100", "200"], files.split()[3:5])


@real
def volumes_stay():
    """A volume outlives an update and its service; in use it is not removed, told so it goes."""
    with fleet() as c:
        up(c)
        data = lambda **env: manifest(  # noqa: E731
            nodes=("SNode1",), mount=[{"source": "axis-data", "target": "/data"}],
            container={"env": {"AXIS_PERIOD_MS": "100", "VSOA_AUTO_PORT": "3002", **env}})
        deploy(c, data())
        c.wait_ready("axis_server", "SNode1")
        host = c.hosts["SNode1"]
        old = Process(host)
        old.write("root/data/kept", "what was written")
        listed = lambda: {v["name"]: len(v["used_by"]) for v in host.api("GET", "/v1/volumes")[1]["items"]}  # noqa: E731
        expect("volumes", {"axis-data": 1}, listed())
        status, answer = host.api("DELETE", "/v1/volumes/axis-data")
        if status != 409 or "is used by" not in str(answer):
            raise Failure(f"expected a conflict that says by whom it is used, got {status}: {answer}")

        deploy(c, data(CHANGED="1"))
        wait_for(lambda: not old.lives() and len(host.pids("axis_server")) == 1, 20, "the update is through")
        c.wait_ready("axis_server", "SNode1")
        expect("the file", "what was written", Process(host).read("root/data/kept"))

        status, answer = c.controller().api("DELETE", "/v1/services/axis_server")
        expect("status", 200, status)
        wait_for(lambda: listed() == {"axis-data": 0}, 20, lambda: f"nobody uses it: {listed()}")
        status, answer = host.api("DELETE", "/v1/volumes/axis-data")
        expect("status", 200, status)
        expect("volumes", {}, listed())


SETTINGS = [settings_reach_the_container, volumes_stay]
