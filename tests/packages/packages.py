#!/usr/bin/env python3
"""The Debian packages on three gateways of their own: install, form a cluster, run a service, upgrade, remove, purge.

    tests/packages/packages.py [--build DIR]      the release build's folder; packages come from its sibling `packages`

Builds the packages of the commit that is checked out unless they are there, has lintian judge them, and installs them in
trees of Debian 12 (debootstrap; the mirror of this machine). Each tree is a host: PID, mount, network, UTS and cgroup
namespaces, no systemd. As root only. Exit status 77: skipped, with the reason.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
import hosts  # noqa: E402
from hosts import Failure, run, wait_for  # noqa: E402

TOOLS = ROOT / "build" / "tools"
TREE = TOOLS / "debian-12"
PACKAGES = ROOT / "build" / "packages"
INSTALLED_MAX_KIB = 15 * 1024
NAMES = ["gw1", "gw2", "gw3"]
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


def debs():
    return {path.name.split("_")[0]: path for path in PACKAGES.glob("*.deb")}


def prepare():
    """Outside of all namespaces: the packages, and a tree that has what they depend on."""
    if os.geteuid() != 0:
        skip("packages are installed by root")
    head = run("git", "-C", ROOT, "rev-parse", "HEAD").stdout
    stamp = PACKAGES / "commit"
    if not stamp.is_file() or stamp.read_text() != head:
        print("building the packages", flush=True)
        subprocess.run([ROOT / "kernel/packaging/build"], check=True, stdout=subprocess.DEVNULL)
        stamp.write_text(head)
    if not (TREE / "ready").is_file():
        make_tree()
    lint()


def make_tree():
    subprocess.run([ROOT / ".ci/packages", "package"], check=True)
    uris = [line.split()[1] for path in pathlib.Path("/etc/apt").glob("sources.list.d/*.sources")
            for line in path.read_text().splitlines() if line.startswith("URIs:")]
    uris += [line.split()[-3] for line in pathlib.Path("/etc/apt/sources.list").read_text().splitlines()
             if line.startswith("deb ")] if pathlib.Path("/etc/apt/sources.list").is_file() else []
    if not uris:
        skip("this machine names no mirror of Debian")
    print("making a tree of Debian 12", flush=True)
    needs = {re.split(r"[ |(]", part.strip())[0] for part in
             run("dpkg-deb", "-f", debs()["gantry"], "Depends").stdout.split(",")}
    shutil.rmtree(TREE, ignore_errors=True)
    TOOLS.mkdir(parents=True, exist_ok=True)
    needs |= {"iproute2", "procps", "systemd-standalone-sysusers", "systemd-standalone-tmpfiles"}
    needs -= {"systemd", "default-systemd-sysusers"}
    done = subprocess.run(["debootstrap", "--variant=minbase", "--include=" + ",".join(sorted(needs)), "bookworm", TREE, uris[0]],
                          capture_output=True, text=True, timeout=1800)
    if done.returncode != 0:
        skip("debootstrap made no tree: " + " ".join(done.stdout.split()[-40:]))
    (TREE / "ready").touch()


def lint():
    done = subprocess.run(["lintian", "--fail-on", "error,warning", "--display-info", "--no-tag-display-limit",
                           "--suppress-tags", "initial-upload-closes-no-bugs", *debs().values()],
                          capture_output=True, text=True, timeout=600)
    judged = [line for line in done.stdout.splitlines() if line[:2] in ("E:", "W:")]
    if judged or done.returncode != 0:
        raise Failure("lintian: " + "\n".join(judged or [done.stdout, done.stderr]))
    size = int(run("dpkg-deb", "-f", debs()["gantry"], "Installed-Size").stdout)
    print(f"lintian is content; gantry has {size} KiB installed, limit {INSTALLED_MAX_KIB}")
    if size > INSTALLED_MAX_KIB:
        raise Failure(f"gantry has {size} KiB installed, at most {INSTALLED_MAX_KIB} are allowed")


ENTER = r"""
set -e
root=$1 name=$2
hostname "$name"
mount --make-rprivate /
mount -t overlay -o "lowerdir=$3,upperdir=$root/upper,workdir=$root/work" overlay "$root/merged"
cd "$root/merged"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount --rbind /dev dev
mount -t tmpfs tmpfs run
mkdir -p var/lib/gantry
mount --bind "$root/state" var/lib/gantry
mount -t tmpfs -o mode=755 cgroup sys/fs/cgroup
while IFS=: read -r number controllers path; do
  case $controllers in
    '') mkdir -p sys/fs/cgroup/unified; mount -t cgroup2 cgroup2 sys/fs/cgroup/unified ;;
    name=*) mkdir -p "sys/fs/cgroup/${controllers#name=}"; mount -t cgroup -o "none,$controllers" cgroup "sys/fs/cgroup/${controllers#name=}" ;;
    *) mkdir -p "sys/fs/cgroup/$controllers"; mount -t cgroup -o "$controllers" cgroup "sys/fs/cgroup/$controllers"
       for one in $(echo "$controllers" | tr , ' '); do
         [ "$one" = "$controllers" ] || ln -s "$controllers" "sys/fs/cgroup/$one"
       done ;;
  esac
done </proc/self/cgroup
exec chroot . sh -c 'trap "" TERM; echo up; while :; do sleep 1000 & wait $!; done'
"""


class Gateway:
    """A tree of Debian 12 that runs."""

    def __init__(self, top, number, name):
        self.name, self.address = name, f"10.77.0.{number}"
        self.dir = top / name
        for part in ("upper", "work", "merged", "state"):
            (self.dir / part).mkdir(parents=True)
        self.joins_cgroups(top.name)
        run("ip", "netns", "add", name)
        run("ip", "link", "add", f"v{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "link", "set", f"v{number}", "master", "br0", "up")
        for command in (["addr", "add", f"{self.address}/24", "dev", "eth0"], ["link", "set", "eth0", "up"],
                        ["link", "set", "lo", "up"]):
            run("ip", "-n", name, *command)
        self.link = f"v{number}"
        self.init = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{name}", "unshare", "--pid", "--mount", "--uts", "--cgroup", "--fork", "--kill-child",
             "sh", "-c", ENTER, "enter", self.dir, name, TREE],
            stdout=subprocess.PIPE, text=True, preexec_fn=self.into_cgroups)
        if self.init.stdout.readline() != "up\n":
            raise Failure(f"{name} does not start")
        self.pid = int(run("pgrep", "-P", str(self.init.pid)).stdout.split()[0])
        self.daemon = None

    # Each host sees cgroups of its own as the top.
    def joins_cgroups(self, top):
        self.cgroups = []
        for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, _ = line.split(":", 2)
            tree = pathlib.Path("/sys/fs/cgroup") / (controllers.removeprefix("name=") or "unified")
            if not tree.is_dir():
                tree = pathlib.Path("/sys/fs/cgroup")
            group = tree / top / self.name
            group.mkdir(parents=True, exist_ok=True)
            for folder in (group.parent, group):
                for name in ("cpuset.cpus", "cpuset.mems"):
                    if (folder / name).is_file() and "cpuset" in controllers:
                        (folder / name).write_text((folder.parent / name).read_text())
            self.cgroups.append(group)

    def into_cgroups(self):
        for group in self.cgroups:
            (group / "cgroup.procs").write_text(str(os.getpid()))

    def inside(self, *command, check=True, seconds=120):
        done = subprocess.run(["nsenter", f"--target={self.pid}", "--all", "--root", "--wd", "env", "-i",
                               *(f"{key}={value}" for key, value in ENVIRONMENT.items()), *map(str, command)],
                              capture_output=True, text=True, timeout=seconds)
        if check and done.returncode != 0:
            raise Failure(f"{self.name}: {' '.join(map(str, command))}: exit {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def install(self, file):
        self.put(file, "/tmp/gantry.deb")
        return self.inside("dpkg", "-i", "/tmp/gantry.deb")

    def put(self, file, path):
        with open(file, "rb") as source:
            subprocess.run(["nsenter", f"--target={self.pid}", "--all", "--root", "--wd", "sh", "-c", f"cat >{path}"],
                           stdin=source, check=True, timeout=60)

    def start(self):
        log = open(self.dir / "log", "ab")
        self.daemon = subprocess.Popen(["nsenter", f"--target={self.pid}", "--all", "--root", "--wd", "env", "-i",
                                        *(f"{key}={value}" for key, value in ENVIRONMENT.items()), "gantryd"],
                                       stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(lambda: self.inside("gantry", "version", check=False).stdout.count("gantryd 0"), 15,
                 lambda: f"{self.name}: gantryd does not answer: {self.log()}", pause=0.1)

    def stop(self):
        self.inside("pkill", "-TERM", "-x", "gantryd")
        hosts.ended(self.daemon, 30, f"gantryd of {self.name}")

    def log(self):
        return (self.dir / "log").read_text(errors="replace")[-3000:]

    def cut(self):
        run("ip", "link", "set", self.link, "down")

    def heal(self):
        run("ip", "link", "set", self.link, "up")


def gantry(gateway, *words):
    done = gateway.inside("gantry", "--json", *words)
    return [json.loads(line) for line in done.stdout.splitlines() if line]


def instances(gateway):
    return gantry(gateway, "ps")[0]["items"]


def where(gateway, name="axis_server.0"):
    found = [item for item in instances(gateway) if item["instance"] == name and item["state"] == "ready"]
    return found[0]["node"] if found else None


def expect(what, condition, got):
    if not condition:
        raise Failure(f"{what}: got {got}")
    print(f"ok   {what}", flush=True)


def next_version(top):
    """The same package, as it would be with the next version's number."""
    run("dpkg-deb", "--raw-extract", debs()["gantry"], top / "newer")
    control = top / "newer" / "DEBIAN" / "control"
    control.write_text(re.sub(r"^Version: .*", "Version: 0.9.1", control.read_text(), flags=re.M))
    run("dpkg-deb", "-Zgzip", "--root-owner-group", "--build", top / "newer", top / "newer.deb")
    return top / "newer.deb"


MANIFEST = """[service]
name = "axis_server"
image = "axis_server:1.0"
[placement]
nodes = ["gw1", "gw2", "gw3"]
[[endpoint]]
kind = "vsoa"
name = "axis_server"
port = 3002
"""


def play(build):
    top = pathlib.Path(os.environ["GANTRY_HOSTS_STATE"])
    run("mount", "-t", "tmpfs", "tmpfs", "/run")
    pathlib.Path("/run/netns").mkdir()
    run("ip", "link", "add", "br0", "type", "bridge")
    run("ip", "link", "set", "br0", "up")
    gateways = [Gateway(top, number, name) for number, name in enumerate(NAMES, 1)]
    first, *others = gateways

    for gateway in gateways:
        gateway.install(debs()["gantry"])
    config = first.inside("cat", "/etc/gantry/gantry.toml").stdout
    expect("a new package is configured for its gateway alone", 'listen = "127.0.0.1:3900"' in config, config)
    first.start()
    wait_for(lambda: [n for n in gantry(first, "nodes")[0]["items"] if n["liveness"] == "ready"], 15, "the only node is not ready")
    print("ok   installed, it is a working node", flush=True)

    first.stop()
    said = first.inside("gantry", "cluster", "init").stdout
    expect("init prints how others join", "gantry join ADDRESS-OF-THIS-GATEWAY:3900 --secret-file cluster.secret" in said, said)
    first.start()
    secret = top / "secret"
    secret.write_text(first.inside("cat", "/etc/gantry/cluster.secret").stdout)
    for gateway in others:
        gateway.put(secret, "/srv/cluster.secret")
        gateway.inside("gantry", "join", f"{first.address}:3900", "--secret-file", "/srv/cluster.secret")
        gateway.start()
    wait_for(lambda: sorted(n["name"] for n in gantry(first, "nodes")[0]["items"] if n["liveness"] == "ready") == NAMES, 20,
             lambda: f"expected {NAMES} to be ready, got {gantry(first, 'nodes')}")
    print("ok   init and join make a cluster of three", flush=True)
    health = first.inside("gantry", "doctor", check=False)
    expect("the doctor finds nothing bad", health.returncode == 0, health.stdout)

    run(str(ROOT / "samples/axis/make-image"), str(build / "samples/axis/axis_server"), str(top / "image"))
    first.put(top / "image.tar", "/srv/axis.tar")
    first.inside("gantry", "image", "import", "/srv/axis.tar", "--name", "axis_server:1.0")
    (top / "axis.toml").write_text(MANIFEST)
    first.put(top / "axis.toml", "/srv/axis.toml")
    first.inside("gantry", "deploy", "/srv/axis.toml")
    expect("the service runs", where(first) in NAMES, instances(first))

    # The node that has it is cut off, unless that is the controller's.
    first.inside("gantry", "cordon", "gw1")
    if where(first) == "gw1":
        first.inside("gantry", "drain", "gw1")
        wait_for(lambda: where(first) not in (None, "gw1"), 20, "it does not leave gw1")
    old = where(first)
    gateways[NAMES.index(old)].cut()
    wait_for(lambda: where(first) not in (None, old), 20, lambda: f"it does not move: {instances(first)}")
    gateways[NAMES.index(old)].heal()
    print("ok   its node is cut off: it runs on another", flush=True)
    wait_for(lambda: all(n["liveness"] == "ready" for n in gantry(first, "nodes")[0]["items"]), 20, "the node does not come back")
    first.inside("gantry", "uncordon", "gw1")

    newer = next_version(top)
    before = instances(first)[0]
    for gateway in gateways:
        gateway.stop()
        gateway.install(newer)
        gateway.start()
    wait_for(lambda: where(first), 30, lambda: f"nothing runs after the upgrade: {instances(first)}")
    after = instances(first)[0]
    same = all(before[key] == after[key] for key in ("node", "epoch", "restarts"))
    expect("an upgrade of every gateway restarts and moves nothing", same, (before, after))

    for gateway in gateways:
        gateway.stop()
        gateway.inside("dpkg", "--remove", "gantry")
        left = gateway.inside("sh", "-c", "pgrep -x conmon; pgrep -x axis_server; grep /var/lib/gantry/ /proc/mounts; true").stdout
        expect(f"{gateway.name}: removed, no container and no mount is left", left == "", left)
        state = gateway.inside("sh", "-c", "ls /var/lib/gantry /etc/gantry").stdout
        expect(f"{gateway.name}: configuration and state are kept", "gantry.toml" in state and "agent.json" in state, state)
        gateway.inside("umount", "/var/lib/gantry")
        gateway.inside("dpkg", "--purge", "gantry")
        left = gateway.inside("sh", "-c", "ls -d /etc/gantry /var/lib/gantry /run/gantry /usr/lib/gantry 2>/dev/null; true").stdout
        expect(f"{gateway.name}: purged, nothing is left", left == "", left)
    for gateway in gateways:
        gateway.init.kill()
        gateway.init.wait()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default=ROOT / "build" / "release", type=pathlib.Path)
    options = parser.parse_args()
    if not os.environ.get("GANTRY_HOSTS_GROUND"):
        prepare()
    hosts.enter()
    if not hosts.is_root():
        skip("packages are installed by root")
    try:
        play(options.build.resolve())
    except Failure as failure:
        sys.exit(f"FAILED: {failure}")


main()
