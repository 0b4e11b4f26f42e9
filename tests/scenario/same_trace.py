#!/usr/bin/env python3
"""The same seeds in this build and in that of the address sanitizer, or the other way round: the same traces.

    same_trace.py GANTRY_SIM FOLDER_OF_BUILDS

Exit status 77, with the reason: the other build is not there, or is older than what it is of.
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
SEEDS = ("--seed", "1", "--seeds", "5")  # under siege, with relays, guards, displacing and hard anti-affinity among them


def traces(program):
    done = subprocess.run([program, *SEEDS], capture_output=True, text=True)
    found = re.findall(r"seed (\d+): well.* trace ([0-9a-f]{16})", done.stdout)
    if done.returncode != 0 or len(found) != int(SEEDS[-1]):
        sys.exit(f"{program}: {done.stdout}{done.stderr}")
    return found


def main():
    own, builds = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    preset = own.parent.parent.name
    other = builds / ("release" if preset == "asan" else "asan") / "bin/gantry-sim"
    if not other.exists():
        print(f"skipped: there is no {other} to compare with")
        return 77
    newest = max(path.stat().st_mtime for folder in ("kernel/base", "kernel/core", "kernel/host", "kernel/sim", "plugins/placement", "sdk")
                 for path in (ROOT / folder).rglob("*.[ch]*"))
    if other.stat().st_mtime < newest:
        print(f"skipped: {other} is older than its sources; build it again")
        return 77
    mine, theirs = traces(own), traces(other)
    for (seed, trace), (_, expected) in zip(mine, theirs):
        print(f"seed {seed}: {trace} in {preset}, {expected} in {other.parent.parent.name}")
    return 0 if mine == theirs else "the traces differ"


if __name__ == "__main__":
    sys.exit(main())
