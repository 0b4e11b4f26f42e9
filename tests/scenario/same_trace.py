#!/usr/bin/env python3
"""The same seed is the same trace under the address sanitizer: the simulator of the asan preset plays what this one plays.

    same_trace.py GANTRY_SIM GANTRY_SIM_OF_THE_ASAN_PRESET

Each seed's trace is a digest of everything that every core wanted done, and when. Uninitialised memory, an order that
depends on addresses, or undefined behaviour would show as a difference. Skipped where the asan preset was not built.
"""
import pathlib
import re
import subprocess
import sys

SEEDS = 12


def traces(program):
    done = subprocess.run([program, "--seed", "1", "--seeds", str(SEEDS)], capture_output=True, text=True, timeout=500)
    if done.returncode != 0:
        sys.exit(f"{program} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return dict(re.findall(r"seed (\d+): well.* trace ([0-9a-f]{16})", done.stdout))


def main():
    plain, sanitized = map(pathlib.Path, sys.argv[1:3])
    if not sanitized.exists():
        print("skipped: the asan preset was not built; tests/run builds it first")
        return 77
    expected, got = traces(plain), traces(sanitized)
    if len(expected) != SEEDS:
        sys.exit(f"expected {SEEDS} traces, got {len(expected)}")
    for seed, trace in expected.items():
        if got.get(seed) != trace:
            sys.exit(f"seed {seed}: expected trace {trace}, got {got.get(seed)} under the address sanitizer; "
                     "if the two were not built from the same sources, build both presets")
    print(f"{SEEDS} seeds: the same traces")
    return 0


if __name__ == "__main__":
    sys.exit(main())
