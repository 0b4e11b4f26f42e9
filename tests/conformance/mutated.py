#!/usr/bin/env python3
"""A plugin's file with random changes costs gantry-plugin check a child, and never gantry-plugin itself.

    mutated.py TOOL PLUGIN.so [COUNT]

Most copies get past what the file alone can show, so their broken code is loaded and called. Whatever it does, the tool ends
in its time with a report, or says that the file is none. GANTRY_SEED repeats a run.
"""
import collections
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

LIMIT_S = 120


def mutated(whole, chance):
    """A copy with some bytes changed, seldom in the headers: there the static checks see it."""
    copy = bytearray(whole)
    first = 0 if chance.random() < 0.2 else min(4096, len(copy) // 2)
    for _ in range(chance.choice([1, 4, 16, 64])):
        at = chance.randrange(first, len(copy))
        copy[at] = chance.choice([0x00, 0xFF, 0x90, 0xCC, chance.randrange(256)])
    return bytes(copy)


def outcome(tool, file):
    """What became of one copy: "unreadable", or the outcomes of its checks."""
    try:
        done = subprocess.run([tool, "check", "--json", file, "static", "load", "lifecycle"], capture_output=True,
                              text=True, errors="replace", timeout=LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return None, f"did not end within {LIMIT_S} s"
    if done.returncode == 66:
        return "unreadable", "" if done.stderr.strip() else "is not read, without a word"
    if done.returncode not in (0, 1):
        return None, f"ended with {done.returncode}: {done.stderr[-500:]}"
    outcomes = {check["outcome"] for check in json.loads(done.stdout)["checks"]}
    worst = next(name for name in ("crash", "fail", "warn", "pass", "skip") if name in outcomes)
    if (done.returncode == 1) != (worst in ("crash", "fail")):
        return None, f"exit status {done.returncode} for {worst}"
    return worst, ""


def main():
    tool, plugin = sys.argv[1:3]
    count = int(sys.argv[3]) if len(sys.argv) > 3 else 20
    seed = int(os.environ.get("GANTRY_SEED") or random.SystemRandom().randrange(2**32))
    print(f"seed {seed} (GANTRY_SEED repeats it)")
    whole, seen, wrong = pathlib.Path(plugin).read_bytes(), collections.Counter(), 0
    with tempfile.TemporaryDirectory(prefix="gantry-mutated-") as folder:
        file = pathlib.Path(folder) / "mutated.so"
        for number in range(count):
            file.write_bytes(mutated(whole, random.Random(f"{seed} {number}")))
            became, trouble = outcome(tool, file)
            if trouble:
                print(f"copy {number}: {trouble}")
                wrong += 1
            seen[became] += 1
    print(", ".join(f"{n} {name}" for name, n in seen.items()))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
