#!/usr/bin/env python3
"""Packages that are built twice, in two folders at two times and in two time zones, are the same, byte for byte.

    tests/packages/reproducible.py [--keep FOLDER]     the second build's folder; default: a temporary one

The first ones are those of build/packages, which tests/packages/packages.py makes too; the second build compiles everything
itself. As long as two builds of the product. Exit status 77: skipped, with the reason.
"""
import argparse
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from built import PACKAGES, ROOT, build_packages


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())
            if path.name.endswith((".deb", ".spdx.json"))}


def members(deb, folder):
    """Every file of a package, its control files included, as digests."""
    subprocess.run(["dpkg-deb", "--raw-extract", deb, folder], check=True)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*")
            if path.is_file() and not path.is_symlink()}


def explain(name, other):
    with tempfile.TemporaryDirectory(prefix="gantry-twice.") as top:
        one, two = (members(folder / name, pathlib.Path(top) / str(number)) for number, folder in enumerate((PACKAGES, other)))
    differ = sorted(path for path in one.keys() | two.keys() if one.get(path) != two.get(path))
    return f"{name} differs in " + (", ".join(differ[:10]) or "times, owners or order alone")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--keep", type=pathlib.Path)
    options = parser.parse_args()
    build_packages()
    folder = options.keep or pathlib.Path(tempfile.mkdtemp(prefix="gantry-built-for-the-second-time."))
    try:
        environment = dict(os.environ, CCACHE_DISABLE="1", TZ="Pacific/Chatham")
        subprocess.run([ROOT / "kernel/packaging/build", "--output", folder], check=True, stdout=subprocess.DEVNULL, env=environment)
        first, second = digests(PACKAGES), digests(folder)
        if first == second and len(first) == 12:
            print(f"the same twice: {', '.join(first)}")
            return 0
        print(f"expected 6 packages and their lists, the same twice; got {sorted(first)} and {sorted(second)}")
        for name in sorted(first.keys() & second.keys()):
            if first[name] != second[name]:
                print(explain(name, folder) if name.endswith(".deb") else f"{name} differs")
        return 1
    finally:
        if not options.keep:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
