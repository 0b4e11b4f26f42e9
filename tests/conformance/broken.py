#!/usr/bin/env python3
"""That gantry-plugin check catches what it must, and nothing besides.

    broken.py TOOL PLUGIN.so CHECK OUTCOME [ARGUMENT ...]   CHECK has OUTCOME; all others pass, or are skipped because of it
    broken.py TOOL PLUGIN.so - pass [ARGUMENT ...]          all pass; arguments go to gantry-plugin check
    broken.py TOOL --table FILE                       each check of --list is caught by a plugin of the table
"""
import json
import os
import pathlib
import re
import subprocess
import sys

BECAUSE = re.compile(r"(\S+) (failed|crashed|was skipped)")
# What no plugin of a role without operations, ranges or texts can show.
WITHOUT = re.compile(r"the role has no operations|the schema has no ")

# An emulated processor is slow, and its kernel loads no filters of system calls.
EMULATED = os.environ.get("GANTRY_TEST_EMULATED")
FILTER = "a kernel that takes a seccomp filter"


def run(tool, plugin, arguments):
    command = [tool, "check", "--json", plugin, *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        sys.exit(f"{' '.join(command)}: exit status {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout), done.returncode


def judge(report, status, caught, outcome):
    """The sentences about what is not as it must be."""
    skipped = set()
    for check in report["checks"]:
        name, got = check["name"], check["outcome"]
        if name == caught:
            if got != outcome:
                yield f"{name}: expected {outcome}, got {got}: {check}"
        elif got == "skip":
            because = BECAUSE.fullmatch(check["reason"])
            if because and (because[1] == caught or because[1] in skipped):
                skipped.add(name)
            elif because or not WITHOUT.search(check["reason"]):
                yield f"{name} is skipped for another reason: {check['reason']}"
        elif got == "warn" and EMULATED and (check["expected"] == FILTER or name == "threads.loop"):
            continue
        elif got != "pass":
            yield f"{name} must pass, got {got}: {check}"
    if caught != "-" and caught not in [check["name"] for check in report["checks"]]:
        yield f"{caught} was not run"
    if status != (1 if outcome in ("fail", "crash") else 0):
        yield f"exit status {status} for {outcome}"


def covered(tool, table):
    done = subprocess.run([tool, "check", "--list"], capture_output=True, text=True, check=True)
    names = [line.split()[0] for line in done.stdout.splitlines()]
    rows = [line.split() for line in pathlib.Path(table).read_text().splitlines() if line and line[0] != "#"]
    caught = {row[2] for row in rows if row[2] != "-"}
    print(f"{len(names)} checks, {len(rows)} plugins")
    for name in names:
        if name not in caught:
            yield f"no broken plugin proves that {name} can fail"
    for name in caught - set(names):
        yield f"the table names {name}, which is no check"


def main():
    tool, plugin = sys.argv[1:3]
    if plugin == "--table":
        problems = list(covered(tool, sys.argv[3]))
    else:
        caught, outcome = sys.argv[3:5]
        report, status = run(tool, plugin, sys.argv[5:])
        problems = list(judge(report, status, caught, outcome))
        print(f"seed {report['seed']} (gantry-plugin check --reproduce repeats it)")
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
