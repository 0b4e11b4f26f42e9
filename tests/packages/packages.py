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
import time

from built import ROOT, build_packages, debs, skip
from gateways import TREE, Gateway, Page
import axis
import ground
import hosts
from hosts import Failure, run, wait_for
import spdx
import trees
from ground import expect
from trees import dependencies

INSTALLED_MAX_KIB = 15 * 1024
NAMES = ["gw1", "gw2", "gw3"]


def prepare():
    """Outside of all namespaces: the packages, and a tree that has what they depend on."""
    build_packages()
    make_tree()
    lint()
    for deb in debs().values():
        if wrong := spdx.faults(deb):
            raise Failure(f"the list of what is in {deb.name}: {wrong[:10]}")
    print("the lists of what is in the packages say the truth", flush=True)


def make_tree():
    """With all that the package depends on."""
    needs = dependencies() | {"iproute2", "procps", "systemd-standalone-sysusers", "systemd-standalone-tmpfiles"}
    trees.make_tree(TREE, needs - {"systemd", "default-systemd-sysusers"})


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


def gantry(gateway, *words):
    done = gateway.inside("gantry", "--json", *words)
    return [json.loads(line) for line in done.stdout.splitlines() if line]


def instances(gateway):
    return gantry(gateway, "ps")[0]["items"]


def where(gateway, name="axis_server.0"):
    found = [item for item in instances(gateway) if item["instance"] == name and item["state"] == "ready"]
    return found[0]["node"] if found else None


def next_version(top):
    """The same package, as it would be with the next version's number."""
    run("dpkg-deb", "--raw-extract", debs()["gantry"], top / "newer")
    control = top / "newer" / "DEBIAN" / "control"
    control.write_text(re.sub(r"^Version: .*", "Version: 0.9.1", control.read_text(), flags=re.M))
    run("dpkg-deb", "-Zgzip", "--root-owner-group", "--build", top / "newer", top / "newer.deb")
    return top / "newer.deb"


def kinds_in_the_sources():
    """The kinds of events that Gantry tells, as they are written there."""
    found = set()
    for folder in ("core", "control", "daemon", "isolation"):
        for path in (ROOT / "kernel" / folder).glob("*.cpp"):
            for said in re.findall(r"\b(?:(?:event|event_of_report|tell_refusal|refuse|tell|events_?\.add|NodeEvent)[({]|kind = )"
                                   r"([^;]{0,300})", path.read_text()):
                said = re.sub(r'== "[^"]*"', "", said.split("{{")[0])
                found |= set(re.findall(r'"([a-z]+(?:-[a-z]+)+)"', said))
                found |= set(re.findall(r'(?<![\[(])"([a-z]+)"', said.split(",")[0].split("{")[0]))
    return found


def kinds_of(page):
    table = page.text.split("## At three in the morning")[1].split("\n## ")[0]
    return {kind for row in re.findall(r"^\|([^|]*)\|", table, re.MULTILINE) for kind in re.findall(r"`([a-z-]+)`", row)}


def all_ready(gateways, controller, seconds=30):
    wait_for(lambda: sorted(n["name"] for n in gantry(gateways[controller], "nodes")[0]["items"] if n["liveness"] == "ready") == NAMES,
             seconds, lambda: f"expected {NAMES} to be ready: " + "\n".join(
                 f"{name}: {gateway.inside('gantry', 'nodes', check=False).stdout}{gateway.log()}" for name, gateway in gateways.items()),
             pause=0.1)


def the_same(controller, before, what):
    wait_for(lambda: where(controller), 30, lambda: f"{what}: nothing runs: {instances(controller)}", pause=0.1)
    after = instances(controller)[0]
    expect(f"{what} restarts and moves nothing", all(before[key] == after[key] for key in ("node", "epoch", "restarts")),
           (before, after))


def leaves(controller, node):
    """What runs there is elsewhere, and the node may be used again."""
    controller.inside("gantry", "drain", node)
    wait_for(lambda: where(controller) not in (None, node), 30, lambda: f"it does not leave {node}: {instances(controller)}",
             pause=0.1)
    controller.inside("gantry", "uncordon", node)


class Story:
    def __init__(self, build):
        self.top = pathlib.Path(os.environ["GANTRY_HOSTS_STATE"])
        run("mount", "-t", "tmpfs", "tmpfs", "/run")
        pathlib.Path("/run/netns").mkdir()
        run("ip", "link", "add", "br0", "type", "bridge")
        run("ip", "link", "set", "br0", "up")
        self.newer = next_version(self.top)
        run(str(ROOT / "samples/axis/make-image"), str(build / "samples/axis/axis_server"), str(self.top / "image"))
        run(str(ROOT / "samples/axis/make-image"), shutil.which("busybox"), str(self.top / "old"), "old:1.0")
        self.gateways = {}
        for name in NAMES:
            self.boot(name)
        run("ip", "addr", "add", "10.0.0.100/24", "dev", "br0")
        self.client, self.build = None, build
        self.events = set()

    def boot(self, name):
        self.gateways[name] = Gateway(self.top, NAMES.index(name) + 1, name)
        return self.gateways[name]

    def hand(self, source, path, target, to):
        """A file from one gateway to another, as an operator carries it."""
        self.gateways[source].fetch(path, self.top / "carried")
        self.gateways[target].put(self.top / "carried", to)

    def note_events(self, controller):
        self.events |= {event["kind"] for event in gantry(self.gateways[controller], "events", "--limit", "10000")}

    def install(self):
        page = Page("install.md", self.gateways)
        first = self.gateways["gw1"]
        package = debs()["gantry"]
        page.run("apt install", lambda gateway: gateway.put(package, f"/root/{package.name}"),
                 lambda gateway: gateway.systemctl("start"))
        config = first.inside("cat", "/etc/gantry/gantry.toml").stdout
        expect("a new package is configured for its gateway alone", 'listen = "127.0.0.1:3900"' in config, config)
        wait_for(lambda: [n for n in gantry(first, "nodes")[0]["items"] if n["liveness"] == "ready"], 15,
                 "the only node is not ready")
        page.run("gantry ps")
        said = page.run("gantry cluster init")[0]
        expect("init prints how others join", "gantry join ADDRESS-OF-THIS-GATEWAY:3900 --secret-file cluster.secret" in said,
               said)
        page.run("systemctl stop gantryd\ngantry join",
                 lambda gateway: self.hand("gw1", "/etc/gantry/cluster.secret", gateway.name, "/root/cluster.secret"))
        all_ready(self.gateways, "gw1")
        page.run("gantry nodes")
        page.done(first)

    def operate(self):
        page = Page("operate.md", self.gateways)
        differ = kinds_in_the_sources() ^ kinds_of(page)
        expect("the page has every kind of event that Gantry has, and no other", not differ, differ)
        first = self.gateways["gw1"]
        first.put(self.top / "image.tar", "/root/axis.tar")
        page.run("gantry image import")
        expect("the service runs", where(first) in NAMES, instances(first))
        said = page.run("gantry status")[0]
        expect("the service's name is answered", re.search(r"10\.0\.0\.\d.*3002", said), said)
        self.client = axis.Client(self.build, "10.0.0.1:54,10.0.0.2:54")
        self.hears("a client elsewhere receives its data")
        page.run("gantry logs")
        page.run("printf '[log]")

        first.inside("gantry", "cordon", "gw3")
        if where(first) != "gw2":
            leaves(first, "gw1")
        first.inside("gantry", "uncordon", "gw3")
        page.run("gantry drain gw2")
        wait_for(lambda: where(first) not in (None, "gw2"), 30, lambda: f"it does not leave gw2: {instances(first)}", pause=0.1)
        page.run("gantry uncordon gw2")

        wait_for(lambda: self.gateways["gw2"].inside("pgrep", "-x", "axis_server", check=False).returncode == 1, 30,
                 "the old copy on gw2 does not end", pause=0.1)
        self.hears("the client follows a service that is moved by plan")
        before, configuration = instances(first)[0], first.inside("cat", "/etc/gantry/gantry.toml").stdout
        page.run("apt install", lambda gateway: gateway.put(self.newer, "/root/gantry_0.9.1_amd64.deb"),
                 lambda gateway: gateway.systemctl("restart"))
        all_ready(self.gateways, "gw1")
        page.run("gantry nodes")
        the_same(first, before, "an upgrade of every gateway")
        self.misses_nothing("nor does the client miss a message")
        now = first.inside("cat", "/etc/gantry/gantry.toml").stdout
        expect("and the configuration is kept", now == configuration, now)

        first.inside("gantry", "cordon", "gw2")
        if where(first) != "gw3":
            leaves(first, "gw1")
        first.inside("gantry", "uncordon", "gw2")
        self.gateways["gw3"].die()
        wait_for(lambda: where(first) in ("gw1", "gw2"), 30, lambda: f"it does not leave gw3: {instances(first)}", pause=0.1)
        self.hears("its node died: the client receives data again")
        page.run("gantry node rm gw3 --dead")
        self.new_machine("gw3")
        self.hand("gw1", "/etc/gantry/cluster.secret", "gw3", "/root/cluster.secret")
        page.run("systemctl stop gantryd\ngantry join")
        all_ready(self.gateways, "gw1")

        if where(first) == "gw1":
            leaves(first, "gw1")
        cut = self.gateways[where(first)]
        cut.cut()
        wait_for(lambda: where(first) not in (None, cut.name), 30, lambda: f"it does not move: {instances(first)}", pause=0.1)
        print("ok   its node is cut off: it runs on another", flush=True)
        self.hears("and the client receives data again")
        self.client.end()
        page.run("gantry node confirm-lost")
        cut.heal()
        all_ready(self.gateways, "gw1")

        if where(first) == "gw1":
            leaves(first, "gw1")
        before = instances(first)[0]
        page.run("systemctl stop gantryd\n(umask")
        all_ready(self.gateways, "gw1")
        the_same(first, before, "a backup")
        (self.top / "later.toml").write_text(LATER)
        first.put(self.top / "later.toml", "/root/later.toml")
        first.inside("gantry", "deploy", "/root/later.toml")
        self.note_events("gw1")
        first.fetch("/root/gantry-backup.tar.gz", self.top / "backup")
        first.die()
        first = self.new_machine("gw1")
        first.put(self.top / "backup", "/root/gantry-backup.tar.gz")
        page.run("systemctl stop gantryd\nrm -rf")
        page.run("systemctl stop gantryd\nrm -f")
        all_ready(self.gateways, "gw1")
        the_same(first, before, "a controller that is restored on a new machine")
        expect("it is as it was when the backup was made", [s["name"] for s in gantry(first, "services")[0]["items"]] ==
               ["axis_server"], gantry(first, "services"))

        self.move(page, before)
        second = self.gateways["gw2"]
        page.run("printf 'correct horse'")
        page.run("install -m 600", lambda gateway: self.new_secret(gateway))
        all_ready(self.gateways, "gw2", 60)
        the_same(second, before, "another secret of the cluster")
        page.run("gantry doctor")
        second.put(self.top / "old.tar", "/root/old.tar")
        second.inside("gantry", "image", "import", "/root/old.tar")
        page.run("gantry image rm")

        if where(second) == "gw3":
            leaves(second, "gw3")
        page.run("apt remove", lambda gateway: gateway.systemctl("stop"), self.is_removed)
        page.run("apt purge", self.without_state, self.is_purged)
        wait_for(lambda: [n for n in gantry(second, "nodes")[0]["items"] if n["name"] == "gw3" and n["liveness"] == "lost"], 60,
                 "gw3 is not lost", pause=0.1)
        page.run("gantry node rm gw3")
        page.done(second)
        self.note_events("gw2")
        expect("every event of this day is on the page", self.events <= kinds_of(page), self.events - kinds_of(page))

    def hears(self, what):
        """The client receives a message that arrived after now, when no other copy than the one meant can have sent it."""
        now = time.time()
        line = ""
        while not line:
            when, text = self.client.wait("/axis", 30)
            line = text if when > now else ""
        print(f"ok   {what}", flush=True)

    def misses_nothing(self, what):
        """Since the last look."""
        lines = self.client.arrived() + [self.client.wait("", 30)[1]]  # one that was sent afterwards, too
        rolls = [axis.roll(line) for line in lines if line.startswith("/axis")]
        expect(what, len(rolls) > 1 and len(rolls) == len(lines) and rolls == list(range(rolls[0], rolls[0] + len(rolls))), lines)

    def new_machine(self, name):
        gateway = self.boot(name)
        gateway.put(self.newer, "/root/gantry_0.9.1_amd64.deb")
        gateway.inside("apt", "install", "/root/gantry_0.9.1_amd64.deb")
        gateway.systemctl("start")
        return gateway

    def move(self, page, before):
        page.run("sed -i")
        page.run("systemctl stop gantryd\n(umask")
        self.hand("gw1", "/root/controller.tar.gz", "gw2", "/root/controller.tar.gz")
        page.run("systemctl stop gantryd\ngantry cluster init")
        page.run("gantry join")
        all_ready(self.gateways, "gw2")
        page.run("gantry nodes")
        the_same(self.gateways["gw2"], before, "a controller that moves to another gateway")

    def new_secret(self, gateway):
        secret = self.top / "new.secret"
        secret.write_text("fedcba9876543210" * 4 + "\n")
        gateway.put(secret, "/root/new.secret")

    def is_removed(self, gateway):
        left = gateway.inside("sh", "-c", "pgrep -x conmon; pgrep -x axis_server; grep /var/lib/gantry/ /proc/mounts; true").stdout
        expect(f"{gateway.name}: removed, no container and no mount is left", left == "", left)
        state = gateway.inside("sh", "-c", "ls /var/lib/gantry /etc/gantry").stdout
        expect(f"{gateway.name}: configuration and state are kept", "gantry.toml" in state and "agent.json" in state, state)

    def without_state(self, gateway):
        gateway.inside("umount", "/var/lib/gantry")

    def is_purged(self, gateway):
        left = gateway.inside("sh", "-c", "ls -d /etc/gantry /var/lib/gantry /run/gantry /usr/lib/gantry 2>/dev/null; true").stdout
        expect(f"{gateway.name}: purged, nothing is left", left == "", left)

    def remove(self):
        for name in ("gw1", "gw2"):
            gateway = self.gateways[name]
            gateway.systemctl("stop")
            gateway.inside("dpkg", "--remove", "gantry")
            self.is_removed(gateway)
            self.without_state(gateway)
            gateway.inside("dpkg", "--purge", "gantry")
            self.is_purged(gateway)
        for gateway in self.gateways.values():
            gateway.die()


LATER = """[service]
name = "later"
image = "axis_server:1.0"
[placement]
nodes = ["gw1", "gw2", "gw3"]
"""


def play(build):
    story = Story(build)
    ground.play(story.top)
    story.install()
    story.operate()
    story.remove()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", default=ROOT / "build" / "release", type=pathlib.Path)
    options = parser.parse_args()
    try:
        if not os.environ.get("GANTRY_HOSTS_GROUND"):
            prepare()
        hosts.enter()
        if not hosts.is_root():
            skip("packages are installed by root")
        play(options.build.resolve())
    except Failure as failure:
        sys.exit(f"FAILED: {failure}")


main()
