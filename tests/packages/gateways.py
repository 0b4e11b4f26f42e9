"""Gateways for the test of the packages: trees of Debian 12 that run, and the pages whose commands are run on them."""
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))
from hosts import Failure, run  # noqa: E402

TREE = ROOT / "build" / "tools" / "debian-12"
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}

# These hosts have no service manager. This one knows gantryd alone, and the words that the pages use.
SYSTEMCTL = r"""#!/bin/sh
set -eu
case "$1 ${2-}" in
  'start gantryd')
    setsid gantryd >>/var/log/gantryd.log 2>&1 </dev/null &
    for _ in $(seq 150); do
      if gantry version 2>/dev/null | grep -q 'gantryd 0'; then exit 0; fi
      sleep 0.1
    done
    echo "gantryd does not answer" >&2
    tail -n 20 /var/log/gantryd.log >&2
    exit 1 ;;
  'stop gantryd')
    pkill -TERM -x gantryd || exit 0
    for _ in $(seq 300); do
      pgrep -x gantryd >/dev/null || exit 0
      sleep 0.1
    done
    echo "gantryd does not end" >&2
    exit 1 ;;
  'restart gantryd') "$0" stop gantryd; "$0" start gantryd ;;
  *) echo "systemctl $*: not on this host" >&2; exit 1 ;;
esac
"""
JOURNALCTL = """#!/bin/sh
[ "$1 $2 $3" = '-u gantryd -n' ] && exec tail -n "$4" /var/log/gantryd.log
echo "journalctl $*: not on this host" >&2
exit 1
"""

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
        self.name, self.address = name, f"10.0.0.{number}"
        self.dir = top / f"{name}-{len(list(top.glob(name + '-*')))}"  # a new machine of that name has a folder of its own
        for part in ("upper", "work", "merged", "state"):
            (self.dir / part).mkdir(parents=True)
        self.joins_cgroups(top.name)
        run("ip", "netns", "add", name)
        run("ip", "link", "add", f"v{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
        run("ip", "link", "set", f"v{number}", "master", "br0", "up")
        # A new machine has the network card of the old one: nobody has to wait until the neighbours have noticed another.
        run("ip", "-n", name, "link", "set", "eth0", "address", f"02:00:00:00:00:{number:02x}")
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
        self.script(SYSTEMCTL, "/usr/bin/systemctl")
        self.script(JOURNALCTL, "/usr/bin/journalctl")

    # Each host sees cgroups of its own as the top.
    def joins_cgroups(self, top):
        self.cgroups = []
        for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, _ = line.split(":", 2)
            tree = pathlib.Path("/sys/fs/cgroup") / (controllers.removeprefix("name=") or "unified")
            if not tree.is_dir():
                tree = pathlib.Path("/sys/fs/cgroup")
            group = tree / top / self.dir.name
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
        try:
            done = subprocess.run(["nsenter", f"--target={self.pid}", "--all", "--root", "--wd", "env", "-i",
                                   *(f"{key}={value}" for key, value in ENVIRONMENT.items()), *map(str, command)],
                                  capture_output=True, text=True, timeout=seconds)
        except subprocess.TimeoutExpired as late:
            raise Failure(f"{self.name}: not within {seconds} s: {' '.join(map(str, command))}: {late.stdout}{late.stderr}") from None
        if check and done.returncode != 0:
            raise Failure(f"{self.name}: {' '.join(map(str, command))}: exit {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def put(self, file, path):
        with open(file, "rb") as source:
            subprocess.run(["nsenter", f"--target={self.pid}", "--all", "--root", "--wd", "sh", "-c", f"cat >{path}"],
                           stdin=source, check=True, timeout=60)

    def fetch(self, path, file):
        with open(file, "wb") as target:
            subprocess.run(["nsenter", f"--target={self.pid}", "--all", "--root", "--wd", "cat", path],
                           stdout=target, check=True, timeout=60)

    def script(self, text, path):
        (self.dir / "script").write_text(text)
        self.put(self.dir / "script", path)
        self.inside("chmod", "755", path)

    def systemctl(self, word):
        self.inside("systemctl", word, "gantryd")

    def log(self):
        return self.inside("tail", "-n", "30", "/var/log/gantryd.log", check=False).stdout

    def cut(self):
        run("ip", "link", "set", self.link, "down")

    def heal(self):
        run("ip", "link", "set", self.link, "up")

    def die(self):
        """The machine is gone, and what it had."""
        self.init.kill()
        self.init.wait()
        run("ip", "link", "del", self.link)
        run("ip", "netns", "del", self.name)


class Page:
    """A page of docs: its blocks name the gateways on which they are run, in the order of the page and whole."""

    def __init__(self, name, gateways):
        self.name, self.gateways = name, gateways
        self.text = (ROOT / "docs" / name).read_text()
        self.blocks = []
        for kind, words, script in re.findall(r"^```(\S*)([^\n]*)\n(.*?)^```$", self.text, re.DOTALL | re.MULTILINE):
            if kind != "sh" or not words.split() or not set(words.split()) <= set(gateways):
                raise Failure(f"{name}: expected a block for some of {sorted(gateways)} (```sh gw1), got ```{kind}{words}")
            self.blocks.append((words.split(), script))

    def run(self, begins, before=None, after=None):
        """The page's next block, which begins so; before and after are called with each gateway. Returns what they said."""
        if not self.blocks or not self.blocks[0][1].startswith(begins):
            raise Failure(f"{self.name}: expected a block that begins with {begins!r}, got {self.blocks[:1]}")
        names, script = self.blocks.pop(0)
        said = []
        for name in names:
            gateway = self.gateways[name]
            if before:
                before(gateway)
            done = gateway.inside("sh", "-eux", "-c", f"cd /root\n{script}", check=False)
            if done.returncode != 0:
                raise Failure(f"{self.name} on {name}: exit {done.returncode} of\n{script}{done.stdout}{done.stderr}\n"
                              f"gantryd: {gateway.log()}")
            said.append(done.stdout)
            if after:
                after(gateway)
        print(f"ok   {self.name}: {begins}", flush=True)
        return said

    def done(self, gateway):
        """All blocks were run; commands in the text are ones that gantry has."""
        if self.blocks:
            raise Failure(f"{self.name}: these blocks were not run: {self.blocks}")
        for command in sorted(set(re.findall(r"`(gantry [^`]+)`", self.text))):
            words = command.split()
            verbs = [word for word in words[1:] if re.fullmatch(r"[a-z]+(-[a-z]+)*", word)]
            said = gateway.inside("gantry", *verbs, "--help", check=False)
            unknown = [word for word in words if word.startswith("--") and word not in said.stdout]
            if said.returncode != 0 or unknown:
                raise Failure(f"{self.name}: gantry does not know `{command}`: {unknown} {said.stderr}")
