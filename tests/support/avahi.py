"""A real avahi-daemon with a D-Bus of its own on the hosts of hosts.py; unpacked under build/tools, not installed."""
import os
import pathlib
import shutil
import signal
import subprocess

import unpacked
from hosts import Failure, ended, wait_for

BUS = """<busconfig><type>system</type><listen>unix:path=/run/dbus/system_bus_socket</listen><auth>EXTERNAL</auth>
<policy context="default"><allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/></policy>
</busconfig>
"""
AVAHI = """[server]
host-name={name}
use-ipv4=yes
use-ipv6=yes
enable-dbus=yes
ratelimit-interval-usec=1000000
ratelimit-burst=1000
[publish]
publish-hinfo=no
publish-workstation=no
"""


SERVICE = """<?xml version="1.0" standalone='no'?><!DOCTYPE service-group SYSTEM "avahi-service.dtd">
<service-group><name>controller</name><service><type>_gantry._tcp</type><port>{port}</port></service></service-group>
"""


# avahi-daemon wants its user to exist, and looks for services where it was compiled to.
ROOM = """mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/dbus /run/avahi-daemon /run/upper /run/work
mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/upper,workdir=/run/work /etc
grep -q ^avahi: /etc/passwd || echo avahi:x:64999:64999::/run/avahi-daemon:/bin/false >>/etc/passwd
grep -q ^avahi: /etc/group || echo avahi:x:64999: >>/etc/group"""


def programs(build):
    """The folder in which avahi-daemon lies; None, with a reason, if it cannot be had."""
    if shutil.which("dbus-daemon") is None:
        return None, "there is no dbus-daemon; apt-get install dbus"
    if shutil.which("avahi-daemon"):
        return pathlib.Path("/"), None
    root = pathlib.Path(build) / "tools" / "avahi"
    if not (root / "usr/sbin/avahi-daemon").exists():
        try:
            unpacked.fetch(root, ["avahi-daemon"])
        except (OSError, subprocess.SubprocessError) as failure:
            return None, f"avahi-daemon is not installed and cannot be fetched: {failure}"
    return root, None


def world(root, folder, port):
    """A script that runs its arguments beside an avahi-daemon that announces a controller at 10.90.0.2, in namespaces of its
    own (network, mounts, processes) that somebody else makes and that end with it."""
    (folder / "bus.conf").write_text(BUS)
    (folder / "avahi.conf").write_text(AVAHI.format(name="controller"))
    (folder / "gantry.service").write_text(SERVICE.format(port=port))
    libraries = ":".join(str(root / part) for part in ("usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu"))
    return f"""set -e
{ROOM}
mkdir -p /etc/avahi/services
cp {folder}/gantry.service /etc/avahi/services
ip link set lo up
ip link add here type veth peer name there
ip link set there up
ip addr add 10.90.0.2/24 dev here
ip link set here up
dbus-daemon --config-file={folder}/bus.conf --nofork --nopidfile >{folder}/bus.log 2>&1 &
until [ -S /run/dbus/system_bus_socket ]; do sleep 0.02; done
LD_LIBRARY_PATH={libraries} {root}/usr/sbin/avahi-daemon -f {folder}/avahi.conf --no-drop-root --no-chroot --no-rlimits \\
  --no-proc-title >{folder}/avahi.log 2>&1 &
daemon=$!
until grep -qs 'successfully established' {folder}/avahi.log; do
  kill -0 $daemon || {{ cat {folder}/avahi.log; exit 1; }}
  sleep 0.05
done
"$@"
"""


class Daemons:
    """The two daemons of one host that is on. They end with their host, if not before."""

    def __init__(self, host, root):
        self.host, self.root, self.bus, self.avahi = host, root, None, None
        (host.dir / "bus.conf").write_text(BUS)
        (host.dir / "avahi.conf").write_text(AVAHI.format(name=host.name))
        host.inside("sh", "-ec", ROOM)

    def start(self, *command):
        path = ":".join(str(self.root / folder) for folder in ("usr/sbin", "usr/bin"))
        library = ":".join(str(self.root / folder) for folder in ("usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu"))
        environment = dict(os.environ, PATH=f"{path}:{os.environ['PATH']}", LD_LIBRARY_PATH=library)
        with open(self.host.dir / "daemons.log", "ab") as log:
            return subprocess.Popen([*self.host.enter_command(), *command], env=environment, stdin=subprocess.DEVNULL,
                                    stdout=log, stderr=log)

    def log_tail(self):
        return "\n".join((self.host.dir / "daemons.log").read_text(errors="replace").splitlines()[-10:])

    def start_bus(self):
        self.bus = self.start("dbus-daemon", f"--config-file={self.host.dir}/bus.conf", "--nofork", "--nopidfile")
        self.wait_for_file("/run/dbus/system_bus_socket", self.bus)

    def start_avahi(self):
        self.avahi = self.start("avahi-daemon", "-f", f"{self.host.dir}/avahi.conf", "--no-drop-root", "--no-chroot",
                                "--no-rlimits", "--no-proc-title")
        self.wait_for_file("/run/avahi-daemon/socket", self.avahi)

    def wait_for_file(self, path, daemon):
        def there():
            if daemon.poll() is not None:
                raise Failure(f"a daemon of {self.host.name} ended with {daemon.returncode}:\n{self.log_tail()}")
            return self.host.inside("test", "-S", path, check=False).returncode == 0
        wait_for(there, 10, lambda: f"{path} on {self.host.name}:\n{self.log_tail()}", pause=0.05)

    def end(self, daemon):
        """Kills the daemon itself, which is the one child of its nsenter."""
        child = pathlib.Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()
        os.kill(int(child[0]), signal.SIGKILL)
        ended(daemon, 5, f"a daemon of {self.host.name}")
        # What a killed one leaves behind is no sign of the next one.
        self.host.inside("rm", "-f", "/run/avahi-daemon/socket" if daemon is self.avahi else "/run/dbus/system_bus_socket",
                         "/run/avahi-daemon/pid")
