"""Debian packages that are unpacked under build/tools, for tests that want a program nobody should have installed."""
import fcntl
import pathlib
import shutil
import subprocess
import tempfile


def fetch(root, packages, unwanted=None):
    """Unpacks what this machine lacks of `packages` and of what they depend on, but for names that match `unwanted`,
    into the folder `root`. Leaves nothing half-done behind; of several tests at once one works, the others wait for it.
    Raises OSError or subprocess.SubprocessError."""
    there = root.exists()
    root.parent.mkdir(parents=True, exist_ok=True)
    with open(root.with_name(f".{root.name}.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if there or not root.exists():
            _fetch(root, packages, unwanted)


def _fetch(root, packages, unwanted):
    plan = subprocess.run(["apt-get", "install", "-s", "--no-install-recommends", *packages], check=True, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=60).stdout
    names = [line.split()[1] for line in plan.splitlines() if line.startswith("Inst ")]
    names = [name for name in names if not (unwanted and unwanted.match(name))]
    with tempfile.TemporaryDirectory(dir=root.parent) as folder:
        # Pauses grow from a second on: a mirror that is away for half a minute is waited for.
        subprocess.run(["apt-get", "-o", "Acquire::Retries=6", "download", *names], cwd=folder, check=True,
                       stdout=subprocess.DEVNULL, timeout=600)
        unpacked = pathlib.Path(folder) / "root"
        for package in pathlib.Path(folder).glob("*.deb"):
            subprocess.run(["dpkg", "-x", package, unpacked], check=True)
        shutil.rmtree(root, ignore_errors=True)
        unpacked.rename(root)
