#!/usr/bin/env python3
"""journal_test.py GANTRYD: where standard error is systemd's journal, its lines are entries with fields.

In a mount namespace of its own a socket stands where the journal's is. Exit status 77: skipped, with the reason.
"""
import os
import pathlib
import socket
import subprocess
import sys
import tempfile

LIMIT_S = 15
CONFIG = """
state_dir = "{dir}/state"
[node]
name = "SNode1"
boot_id_file = "{dir}/boot_id"
[transport.vsoa]
secret_file = "{dir}/secret"
[runtime.process]
[discovery.static]
controllers = []
"""
SPACE = ["unshare", *(["--user", "--map-root-user"] if os.geteuid() else []), "--mount"]


def entries_until(journal, words):
    out = []
    while words not in "".join(out):
        out.append(journal.recv(1 << 16).decode(errors="replace"))
    return out


def inside(gantryd, folder):
    subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)
    os.makedirs("/run/systemd/journal")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind("/run/systemd/journal/socket")
        journal.settimeout(LIMIT_S)
        read, write = os.pipe()
        about = os.fstat(write)
        daemon = subprocess.Popen([gantryd, "-c", f"{folder}/gantry.toml"], stderr=write,
                                  env={**os.environ, "JOURNAL_STREAM": f"{about.st_dev}:{about.st_ino}"})
        try:
            entries = entries_until(journal, "node SNode1 started")
        finally:
            daemon.kill()
            daemon.wait()
    os.close(write)
    if rest := os.read(read, 1 << 16):
        sys.exit(f"expected nothing on standard error, got {rest!r}")
    last = entries[-1]
    wanted = "PRIORITY=6\nSYSLOG_IDENTIFIER=gantryd\nGANTRY_PART=gantryd\nMESSAGE\n"
    if not last.startswith(wanted) or not last.endswith("gantryd: node SNode1 started\n"):
        sys.exit(f"expected the fields {wanted!r} and the line, got {last!r}")


def main():
    if len(sys.argv) == 3:
        return inside(*sys.argv[1:])
    if subprocess.run([*SPACE, "true"], capture_output=True, check=False).returncode != 0:
        print("skipped: no mount namespace to put a journal's socket into")
        sys.exit(77)
    with tempfile.TemporaryDirectory(prefix="gantry-journal.") as name:
        folder = pathlib.Path(name)
        (folder / "secret").write_text("0123456789abcdef0123456789abcdef\n")
        (folder / "secret").chmod(0o600)
        (folder / "boot_id").write_text("boot-1\n")
        (folder / "gantry.toml").write_text(CONFIG.replace("{dir}", name))
        sys.exit(subprocess.run([*SPACE, sys.executable, __file__, sys.argv[1], name], timeout=2 * LIMIT_S).returncode)


main()
