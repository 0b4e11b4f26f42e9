"""The packages under systemd, as root of a machine of their own (tests/vm/run --systemd): installed, restarted, killed, upgraded,
rebooted, a controller apart, removed, purged. Runs again after the reboot and goes on.

    inside.py WORD       the console's last line is WORD and the exit status
"""
import contextlib
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import time
import traceback

HERE = pathlib.Path(__file__).parent
REBOOTED = pathlib.Path("/var/lib/tests-rebooted")
PATIENCE_S = 120  # the machine is emulated, on a host that has other work
AGENT_EXPOSURE_MAX, CONTROLLER_EXPOSURE_MAX = 9.0, 2.5

MANIFEST = """[service]
name = "axis_server"
image = "axis_server:1.0"
[placement]
nodes = ["vm"]
[[endpoint]]
kind = "vsoa"
name = "axis_server"
port = 3002
password = { secret = "axis" }
[[probe]]
kind = "vsoa"
timeout = "10s"
"""
CONTROLLER = """state_dir = "/var/lib/gantry-controller"
[controller]
listen = "127.0.0.1:3950"
[placement.least-loaded]
[transport.vsoa]
secret_file = "/etc/gantry/controller.secret"
[directory.vsoa]
listen = "127.0.0.1:3951"
[store.sqlite]
path = "/var/lib/gantry-controller/state.db"
[frontend.http]
socket = "/run/gantry-controller/api.sock"
"""


class Failure(Exception):
    pass


def run(*command, check=True):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    if check and done.returncode != 0:
        raise Failure(f"{' '.join(map(str, command))}: exit {done.returncode}: {done.stdout}{done.stderr}")
    return done


def said(*command):
    return run(*command).stdout.strip()


def expect(what, condition, got):
    if not condition:
        raise Failure(f"{what}: got {got}")
    print(f"ok   {what} ({time.monotonic():.0f} s)", flush=True)


def wait_for(condition, what, seconds=PATIENCE_S):
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise Failure(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(0.2)
    return value


def gantry(*words):
    return [json.loads(line) for line in said("gantry", "--json", *words).splitlines() if line]


def show(unit, name):
    return said("systemctl", "show", "--value", "-p", name, unit)


def events():
    return [event["kind"] for event in gantry("events", "--limit", "1000")]


def container():
    """The program in the container: its process, and when that began."""
    found = []
    for pid in run("pgrep", "-x", "axis_server", check=False).stdout.split():
        with contextlib.suppress(OSError):  # it ends just now
            found.append((pid, pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()[19]))
    return found


def instance():
    return gantry("ps")[0]["items"]


def is_ready():
    found = run("gantry", "--json", "ps", check=False)
    items = json.loads(found.stdout)["items"] if found.returncode == 0 else []
    return len(items) == 1 and items[0]["state"] == "ready" and container()


def deploy(*gantry):
    run(*gantry, "image", "import", HERE / "axis.tar", "--name", "axis_server:1.0")
    run("sh", "-euc", 'printf 123456 | "$@"', "sh", *gantry, "secret", "set", "axis")
    (HERE / "axis.toml").write_text(MANIFEST)
    run(*gantry, "deploy", HERE / "axis.toml")


def the_same(before, what):
    wait_for(is_ready, lambda: f"{what}: {instance()}")
    expect(what, container() == before, f"{container()}, before {before}")


def journal(*words):
    return [json.loads(line) for line in said("journalctl", "-u", "gantryd", "-o", "json", "--no-pager", *words).splitlines()]


def drop_in(text):
    folder = pathlib.Path("/etc/systemd/system/gantryd.service.d")
    folder.mkdir(exist_ok=True)
    (folder / "test.conf").write_text(f"[Service]\n{text}\n")
    run("systemctl", "daemon-reload")


def exposure(unit):
    words = said("systemd-analyze", "security", "--no-pager", unit)
    return float(re.search(r"Overall exposure level for \S+: ([\d.]+)", words)[1])


def port_in_use():
    with socket.create_server(("127.0.0.1", 3900)):
        done = run("dpkg", "-i", HERE / "gantry.deb")
        state = said("dpkg-query", "-W", "-f", "${db:Status-Status}", "gantry")
        expect("while its port is another's the package is installed all the same", state == "installed", (state, done))
        said_so = "cannot listen on 127.0.0.1:3900: Address already in use"
        wait_for(lambda: said_so in said("journalctl", "-u", "gantryd", "--no-pager"), "gantryd does not say which port is in use")
        found = run("gantry", "doctor", check=False)
        expect("the journal says why gantryd does not run, and the doctor what to do", found.returncode == 1 and
               "sport = :3900" in found.stdout, found)
    wait_for(lambda: show("gantryd", "ActiveState") == "active", "gantryd is not tried again")
    expect("it starts by itself when the port is free", int(show("gantryd", "NRestarts")) > 0, show("gantryd", "NRestarts"))
    run("dpkg", "--purge", "gantry")


def install():
    run("dpkg", "-i", HERE / "gantry.deb")
    expect("the installation starts gantryd", show("gantryd", "ActiveState") == "active", show("gantryd", "ActiveState"))
    expect("and sets it up to start with the machine", said("systemctl", "is-enabled", "gantryd", "gantry-leave").split() ==
           ["enabled"] * 2, run("systemctl", "is-enabled", "gantryd", "gantry-leave", check=False).stdout)
    off = run("systemctl", "is-enabled", "gantry-controller", check=False).stdout.strip()
    expect("but no controller apart", off == "disabled" and show("gantry-controller", "ActiveState") == "inactive", off)
    expect("the user of a controller apart is there", said("id", "-un", "gantry") == "gantry", "")
    wait_for(lambda: [n for n in gantry("nodes")[0]["items"] if n["liveness"] == "ready"], "the only node is not ready")
    deploy("gantry")
    wait_for(is_ready, lambda: f"the service: {instance()}")


def readiness():
    run("systemctl", "restart", "gantryd")
    done = run("gantry", "--json", "status", check=False)
    expect("systemctl restart ends when gantryd answers", done.returncode == 0, done)
    expect("what it says of itself is the unit's status", show("gantryd", "StatusText"), show("gantryd", "StatusText"))


def isolation():
    """What containers would inherit, or a restarted gantryd not see."""
    pid = show("gantryd", "MainPID")
    namespaces = [os.readlink(f"/proc/{one}/ns/mnt") for one in (pid, 1)]
    expect("gantryd has the machine's mounts", namespaces[0] == namespaces[1], namespaces)
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    expect("and neither a filter nor NoNewPrivileges", re.search(r"^NoNewPrivs:\s0$", status, re.M) and
           re.search(r"^Seccomp:\s0$", status, re.M), status)
    unit = pathlib.Path("/sys/fs/cgroup") / show("gantryd", "ControlGroup").lstrip("/")
    inside = {pathlib.Path(f"/proc/{one}/comm").read_text().strip() for one in (unit / "cgroup.procs").read_text().split()}
    expect("neither containers nor their monitors are in its cgroup", inside and not inside & {"axis_server", "conmon"}, inside)
    group = pathlib.Path(f"/proc/{container()[0][0]}/cgroup").read_text()
    expect("they are in one of their own", re.search(r"^0::/gantry/", group, re.M), group)
    limits = (pathlib.Path("/sys/fs/cgroup") / "cgroup.subtree_control").read_text().split()
    expect("whose controllers systemd leaves on", {"cpu", "memory", "pids"} <= set(limits), limits)


def living_on(before):
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", "gantryd")
    the_same(before, "a restarted unit adopts its container")
    expect("and says so", "container-adopted" in events(), events())
    run("systemctl", "stop", "gantryd")
    expect("a stopped unit leaves it alone", container() == before, container())
    monitors = said("pgrep", "-x", "conmon")
    run("systemctl", "start", "gantryd")
    the_same(before, "and adopts it when it is started")
    expect("with its monitor", said("pgrep", "-x", "conmon") == monitors, monitors)
    restarts = int(show("gantryd", "NRestarts"))
    killed = show("gantryd", "MainPID")
    run("systemctl", "kill", "-s", "KILL", "--kill-whom=main", "gantryd")
    wait_for(lambda: int(show("gantryd", "NRestarts")) > restarts and show("gantryd", "ActiveState") == "active",
             "systemd does not start a killed gantryd again")
    expect("systemd starts a killed gantryd again", show("gantryd", "MainPID") not in ("0", killed), killed)
    the_same(before, "which adopts too")


def watchdog(before):
    limit_s = 8
    drop_in(f"WatchdogSec={limit_s}")
    run("systemctl", "restart", "gantryd")
    restarts = int(show("gantryd", "NRestarts"))
    started = show("gantryd", "ExecMainStartTimestampMonotonic")
    fed = time.monotonic() + 2.5 * limit_s
    wait_for(lambda: time.monotonic() > fed or show("gantryd", "ExecMainStartTimestampMonotonic") != started, "")
    expect("a gantryd that lives feeds the watchdog", show("gantryd", "ExecMainStartTimestampMonotonic") == started,
           show("gantryd", "Result"))
    run("systemctl", "kill", "-s", "STOP", "--kill-whom=main", "gantryd")
    wait_for(lambda: int(show("gantryd", "NRestarts")) > restarts and show("gantryd", "ActiveState") == "active",
             "the watchdog does not notice a gantryd that stands still")
    expect("one that stands still is ended by it and started again", any(
        "atchdog timeout" in entry["MESSAGE"] for entry in journal() if isinstance(entry["MESSAGE"], str)), "no word in the journal")
    the_same(before, "and its container does not notice")
    shutil.rmtree("/etc/systemd/system/gantryd.service.d")
    run("systemctl", "daemon-reload")
    run("systemctl", "restart", "gantryd")


def fields():
    entries = [entry for entry in journal() if entry.get("SYSLOG_IDENTIFIER") == "gantryd"]
    expect("gantryd's lines are entries of the journal", entries, journal()[-3:])
    wrong = [entry for entry in entries if not entry.get("GANTRY_PART") or entry.get("PRIORITY") not in list("34567")]
    expect("with the fields GANTRY_PART and PRIORITY", not wrong, wrong[:3])
    part = sorted({entry["GANTRY_PART"] for entry in entries})
    expect("by which they are found", all(journal(f"GANTRY_PART={one}") for one in part), part)
    print(f"     parts: {' '.join(part)}")


def hardening():
    agent, controller = exposure("gantryd.service"), exposure("gantry-controller.service")
    expect(f"exposure of gantryd.service {agent}, at most {AGENT_EXPOSURE_MAX}", agent <= AGENT_EXPOSURE_MAX, agent)
    expect(f"exposure of gantry-controller.service {controller}, at most {CONTROLLER_EXPOSURE_MAX}",
           controller <= CONTROLLER_EXPOSURE_MAX, controller)
    for unit in ("gantryd", "gantry-leave", "gantry-controller"):
        found = run("systemd-analyze", "verify", "--man=no", f"{unit}.service", check=False)
        expect(f"systemd has nothing against {unit}.service", found.returncode == 0 and "gantry" not in found.stderr, found.stderr)


def configuration(before):
    file = pathlib.Path("/etc/gantry/gantry.toml")
    good = file.read_text()
    file.write_text(good + '[log]\nlevel = "debug"\n')
    main = show("gantryd", "MainPID")
    run("systemctl", "reload", "gantryd")
    expect("a reload applies the configuration", "configuration-changed" in events() and show("gantryd", "MainPID") == main,
           events())
    file.write_text(good + "[nonsense]\n")
    refused = run("systemctl", "reload", "gantryd", check=False)
    expect("a wrong one is refused", refused.returncode != 0 and show("gantryd", "ActiveState") == "active" and
           show("gantryd", "MainPID") == main, refused)

    done = run("dpkg", "-i", HERE / "newer.deb", check=False)
    expect("an upgrade with it is an installed package", done.returncode == 0 and
           said("dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", "gantry") == "installed 0.9.1", done)
    expect("and says what to do", "the old one runs on. Mend it, then: systemctl restart gantryd" in done.stderr and
           "nonsense" in done.stderr, done.stderr)
    expect("while the old gantryd runs on", show("gantryd", "MainPID") == main and show("gantryd", "ActiveState") == "active", main)

    run("systemctl", "restart", "gantryd", check=False)
    wait_for(lambda: show("gantryd", "ActiveState") == "failed", lambda: show("gantryd", "ActiveState"))
    expect("a gantryd that cannot use its configuration is not tried again", show("gantryd", "ExecMainStatus") == "78" and
           show("gantryd", "SubState") == "failed", show("gantryd", "ExecMainStatus"))
    file.write_text(good)
    run("systemctl", "start", "gantryd")
    the_same(before, "the container ran on through all of it")
    run("dpkg", "-i", HERE / "newest.deb")
    expect("an upgrade restarts gantryd", show("gantryd", "MainPID") != main and show("gantryd", "ActiveState") == "active", main)
    the_same(before, "and no container")


def reboot(before):
    REBOOTED.write_text(json.dumps({"container": before, "began": time.time()}))
    expect("the machine is rebooted", True, "")
    run("systemctl", "reboot")
    wait_for(lambda: False, "the machine does not go down", 600)


def rebooted():
    kept = json.loads(REBOOTED.read_text())
    print(f"     {time.time() - kept['began']:.0f} s later", flush=True)
    wait_for(lambda: run("gantry", "--json", "status", check=False).returncode == 0, "gantryd is not back after the reboot")
    wait_for(is_ready, lambda: f"after the reboot: {instance()}")
    expect("after the reboot the service is ready again", container() != kept["container"], container())
    expect("the reboot was announced before gantryd ended", {"node-leaving", "node-rebooting"} & set(events()), events())
    last = said("journalctl", "-b", "-1", "-o", "short-monotonic", "--no-pager", "-u", "gantryd", "-u", "gantry-leave")
    last = last[last.rfind("Stopping gantry-leave"):]
    leaving, stopped = last.find("the machine goes down: leaving"), last.find("Stopped gantryd")
    expect("the announcement came first", 0 < leaving < stopped, last)
    expect("and had the time that it needs", "timed out" not in last.lower(), last)


def controller():
    """A machine that decides, with a user of its own; the agent of the same machine joins it."""
    secret = pathlib.Path("/etc/gantry/controller.secret")
    secret.write_text("fedcba9876543210" * 4 + "\n")
    run("chown", "gantry:", secret)
    secret.chmod(0o600)
    pathlib.Path("/etc/gantry/controller.toml").write_text(CONTROLLER)
    run("systemctl", "start", "gantry-controller")
    pid = show("gantry-controller", "MainPID")
    expect("a controller apart is ready", show("gantry-controller", "ActiveState") == "active", pid)
    expect("and is its own user's", said("ps", "-o", "user=", "-p", pid) == "gantry", said("ps", "-o", "user=", "-p", pid))
    run("gantry", "rm", "axis_server")
    wait_for(lambda: not container(), "a removed service does not end")
    run("systemctl", "stop", "gantryd")
    run("gantry", "join", "127.0.0.1:3950", "--secret-file", secret, "--force")
    run("systemctl", "start", "gantryd")
    api = ("gantry", "--socket", "/run/gantry-controller/api.sock", "--json")
    wait_for(lambda: [n for n in json.loads(said(*api, "nodes"))["items"] if n["liveness"] == "ready"],
             lambda: "no node: " + said(*api, "nodes") + said("journalctl", "-n", "30", "--no-pager", "-u", "gantry*"))
    deploy(*api)
    expect("it has a node, and its service is ready there", len(container()) == 1, run(*api, "ps").stdout)
    before = container()
    run("systemctl", "reload", "gantry-controller")
    run("systemctl", "restart", "gantry-controller")
    expect("it is restarted, and reloads", json.loads(said(*api, "services"))["items"] and container() == before, container())
    refused = re.findall(r".*(?:EPERM|ermission denied|not permitted).*", said("journalctl", "--no-pager", "-u", "gantry-controller"))
    expect("nothing that it does is forbidden by its unit", not refused, refused)


def removal():
    run("dpkg", "--remove", "gantry")
    expect("a removed package leaves no container, monitor or mount", not container() and
           run("pgrep", "-x", "conmon", check=False).returncode == 1 and
           "/var/lib/gantry/" not in pathlib.Path("/proc/mounts").read_text(), pathlib.Path("/proc/mounts").read_text())
    expect("no unit that runs", not said("systemctl", "list-units", "--no-legend", "--state=active", "gantry*"), "")
    expect("and keeps what was decided", pathlib.Path("/var/lib/gantry").is_dir() and
           pathlib.Path("/etc/gantry/gantry.toml").is_file(), os.listdir("/var/lib"))
    run("dpkg", "--purge", "gantry")
    left = [str(path) for folder in ("/etc", "/var/lib", "/run", "/usr", "/sys/fs/cgroup")
            for path in pathlib.Path(folder).rglob("gantry*") if "/dpkg/" not in str(path) and HERE not in path.parents]
    expect("a purged one leaves nothing but files of the operator's", set(left) <= {"/etc/gantry"} and
           sorted(os.listdir("/etc/gantry")) == ["controller.secret", "controller.toml"], left)


def play():
    if REBOOTED.exists():
        rebooted()
        controller()
        removal()
        return
    port_in_use()
    install()
    before = container()
    readiness()
    isolation()
    living_on(before)
    watchdog(before)
    fields()
    hardening()
    configuration(before)
    reboot(before)


def main():
    print("cgroups:", next(line for line in pathlib.Path("/proc/mounts").read_text().splitlines() if "cgroup" in line), flush=True)
    os.chdir("/root")
    status = 0
    try:
        play()
    except Exception as failure:
        status = 1
        print("FAILED:", failure if isinstance(failure, Failure) else traceback.format_exc())
        print(run("journalctl", "-b", "-n", "60", "--no-pager", check=False).stdout, flush=True)
    print(sys.argv[1], status, flush=True)
    run("systemctl", "poweroff", "--force", "--force", check=False)


main()
