#!/usr/bin/env python3
"""beside_board.py local|ssh BUILD PROGRAM [ARGUMENT ...]: the tests of runtime/sylixos-ecs with a stand-in for ecs, on this machine
or behind a real sshd in namespaces of its own. The environment says where: GANTRY_BOARD, GANTRY_BOARD_SSH, ..._PORT."""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[3] / "support"))
import unpacked  # noqa: E402

ROOM = """mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/sshd /run/upper /run/work
mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/upper,workdir=/run/work /etc
grep -q ^sshd: /etc/passwd || echo sshd:x:64998:65534::/run/sshd:/usr/sbin/nologin >>/etc/passwd
ip link set lo up"""
SSHD = """ListenAddress 127.0.0.1
Port 2222
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/identity.pub
PidFile none
UsePAM no
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
Subsystem sftp internal-sftp
"""


def sshd_root(build):
    if shutil.which("sshd", path="/usr/sbin:/usr/bin"):
        return pathlib.Path("/")
    root = pathlib.Path(build).resolve() / "tools" / "openssh-server"
    if not (root / "usr/sbin/sshd").exists():
        try:
            unpacked.fetch(root, ["openssh-server"])
        except (OSError, subprocess.SubprocessError) as failure:
            print(f"skipped: sshd is not installed and cannot be fetched: {failure}")
            sys.exit(77)
    return root


def inside(root, folder, command):
    """In the namespaces: a board at root@127.0.0.1 with its key, and the command beside it."""
    subprocess.run(["sh", "-ec", ROOM], check=True)
    for name in ("host_key", "identity", "other_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    for name, key in (("known_hosts", "host_key"), ("other_hosts", "other_key")):
        (folder / name).write_text("[127.0.0.1]:2222 " + (folder / f"{key}.pub").read_text())
    (folder / "sshd_config").write_text(SSHD.format(folder=folder))
    libraries = ":".join(str(root / part) for part in ("usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu",
                                                       "lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu"))
    with open(folder / "sshd.log", "ab") as log:
        daemon = subprocess.Popen([root / "usr/sbin/sshd", "-D", "-e", "-f", folder / "sshd_config"], stdout=log, stderr=log,
                                  env={**os.environ, "LD_LIBRARY_PATH": libraries})
    deadline = time.monotonic() + 10
    while b"listening" not in (folder / "sshd.log").read_bytes():
        if daemon.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"sshd does not listen:\n{(folder / 'sshd.log').read_text()}")
        time.sleep(0.02)
    (folder / "sshd.pid").write_text(str(daemon.pid))
    done = subprocess.run(command, env={**os.environ, "GANTRY_BOARD_SSH": "root@127.0.0.1", "GANTRY_BOARD_PORT": "2222"})
    daemon.kill()
    return done.returncode


def main():
    if sys.argv[1] == "inside":
        return inside(pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]), sys.argv[4:])
    kind, build, command = sys.argv[1], sys.argv[2], sys.argv[3:]
    with tempfile.TemporaryDirectory(prefix="gantry-") as name:
        folder = pathlib.Path(name)
        (folder / "bin").mkdir()
        (folder / "tmp").mkdir()
        shutil.copy(HERE / "ecs-stand-in", folder / "bin" / "ecs")
        (folder / "bin" / "ecs").chmod(0o755)
        environment = {**os.environ, "GANTRY_BOARD": name}
        if kind == "local":
            return subprocess.run(command, env=environment).returncode
        if os.geteuid() != 0:
            print("skipped: a machine of its own for sshd needs root")
            return 77
        return subprocess.run(["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc",
                               sys.executable, __file__, "inside", sshd_root(build), name, *command],
                              env=environment).returncode


sys.exit(main())
