#!/usr/bin/env python3
"""A day of 50 nodes in the simulator: how long it takes, and how many steps the cores do a second.

    day.py [HOURS]      fewer hours for a sample; the limit of time is in proportion

Ends with 1 if a figure is above its limit. One core; what counts is processor time.
"""
import os
import pathlib
import re
import resource
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[3]
BUILD = pathlib.Path(os.environ.get("GANTRY_BUILD", ROOT / "build/release"))
DAY_MAX_S, STEPS_MIN = 120, 1_000_000


def main():
    hours = float(sys.argv[1]) if len(sys.argv) > 1 else 24
    done = subprocess.run([BUILD / "bin/gantry-sim", "--scenario", ROOT / "tests/scenario/day-of-50-nodes.toml",
                           *(["--hours", str(hours)] if hours != 24 else [])], capture_output=True, text=True)
    print(done.stdout, end="")
    found = re.search(r"(\d+) steps of the cores \((\d+)/s\), (\d+) messages", done.stdout)
    if hours == 24 and done.returncode != 0 or not found:
        print(f"the day was not played: {done.stderr}")
        return 1
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    taken, limit = spent.ru_utime + spent.ru_stime, DAY_MAX_S * hours / 24
    rate = int(found[2])
    print(f"{hours:g} hours of 50 nodes: {taken:.1f} s, at most {limit:.1f}; {int(found[3])} messages, both directions")
    print(f"steps of the cores: {rate} a second, at least {STEPS_MIN}")
    return 0 if taken <= limit and rate >= STEPS_MIN else 1


if __name__ == "__main__":
    sys.exit(main())
