"""The packages of the commit that is checked out, built once for all tests."""
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = ROOT / "build" / "packages"


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


def build_packages():
    if os.geteuid() != 0:
        skip("packages are built and installed by root")
    head = subprocess.run(["git", "-C", ROOT, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout
    stamp = PACKAGES / "commit"
    if not stamp.is_file() or stamp.read_text() != head:
        print("building the packages", flush=True)
        subprocess.run([ROOT / "kernel/packaging/build"], check=True, stdout=subprocess.DEVNULL)
        stamp.write_text(head)


def debs():
    return {path.name.split("_")[0]: path for path in PACKAGES.glob("*.deb")}
