#!/usr/bin/env python3
"""The repository's hygiene, as a test: include rules, file length, formatting, leftover markers, line budget.

    tests/tidy/tidy.py          checks every file that git knows
    tests/tidy/tidy.py --list   also lists the files over 400 lines
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
CODE = {".c", ".h", ".cpp", ".hpp"}
LINES_MAX, LINES_WANTED = 800, 400
# base, core, host, control and daemon: what decides and hosts. Raise it with a reason in docs/adr/.
KERNEL_LINES_MAX = 16000
KERNEL = ("kernel/base/", "kernel/core/", "kernel/host/", "kernel/control/", "kernel/daemon/")

# Who may include what: a folder's own files, and headers that begin with one of these. The first match counts.
ALLOWED = [
    ("kernel/base/", ["kernel/base/"]),
    ("kernel/core/", ["kernel/core/", "kernel/base/"]),
    ("kernel/host/", ["kernel/host/", "kernel/base/", "gantry/abi/", "gantry/elf/"]),
    ("kernel/control/", ["kernel/control/", "kernel/host/", "kernel/core/", "kernel/base/"]),
    ("kernel/daemon/", ["kernel/daemon/", "kernel/control/", "kernel/host/", "kernel/core/", "kernel/base/"]),
    ("kernel/cli/", ["kernel/cli/", "kernel/base/"]),
    ("sdk/abi/", ["gantry/abi/"]),
    ("sdk/elf/", ["gantry/elf/", "gantry/abi/", "sdk/elf/"]),
    ("sdk/vsoa/", ["vsoa_", "sdk/vsoa/"]),
    ("sdk/", ["gantry/", "sdk/"]),
    ("plugins/", ["gantry/", "vsoa_", "plugins/OWN/", "plugins/runtime/image-store/", "plugins/runtime/monitored/"]),
]
PROJECT = re.compile(r'^\s*#\s*include\s*[<"]((?:kernel|plugins|sdk|tests)/|gantry/|vsoa_)([^">]*)[>"]')
IMPURE = re.compile(r"#include <(thread|mutex|atomic|fstream|filesystem|iostream|sys/|unistd|boost|spdlog|toml)"
                    r"|(steady|system)_clock::now")
MARKERS = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b|not " "implemented")
BAD_NAMES = {"utils", "helpers", "common", "misc"}


def tracked():
    out = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard"], capture_output=True,
                         text=True, check=True).stdout
    return [name for name in out.splitlines() if (ROOT / name).is_file()]


def check_includes(name, text):
    rules = next((allowed for prefix, allowed in ALLOWED if name.startswith(prefix)), None)
    if rules is None:
        return
    own = "/".join(name.split("/")[1:3])
    rules = [rule.replace("plugins/OWN/", f"plugins/{own}/") for rule in rules]
    for number, line in enumerate(text.splitlines(), 1):
        found = PROJECT.match(line)
        if found and not any((found[1] + found[2]).startswith(rule) for rule in rules):
            yield f"{name}:{number}: may not include {found[1] + found[2]}: allowed are {', '.join(rules)}"
        if name.startswith("kernel/core/") and IMPURE.search(line):
            yield f"{name}:{number}: the core is pure: {line.strip()}"


def check_text(name, text):
    lines = text.count("\n")
    if lines > LINES_MAX:
        yield f"{name}: {lines} lines, at most {LINES_MAX}"
    if pathlib.PurePath(name).stem in BAD_NAMES:
        yield f"{name}: a name that says nothing"
    if not name.startswith("tests/tidy/"):  # it names the markers
        for number, line in enumerate(text.splitlines(), 1):
            if MARKERS.search(line):
                yield f"{name}:{number}: leftover marker: {line.strip()}"


def check_format(names):
    done = subprocess.run(["clang-format-14", "--dry-run", "--Werror", *names], cwd=ROOT, capture_output=True, text=True)
    for line in done.stderr.splitlines():
        if "error:" in line:
            yield line


def main():
    names = tracked()
    code = [n for n in names if pathlib.PurePath(n).suffix in CODE and not n.startswith("tests/data/")]
    scripts = [n for n in names if pathlib.PurePath(n).suffix in {".py", ".sh"} or n in ("samples/axis/run", "tests/run")]
    problems, kernel_lines = [], 0
    for name in code + scripts:
        text = (ROOT / name).read_text(errors="replace")
        problems += check_text(name, text)
        if name in code:
            problems += check_includes(name, text)
        if name in code and name.startswith(KERNEL):
            kernel_lines += text.count("\n")
        if "--list" in sys.argv and text.count("\n") > LINES_WANTED:
            print(f"{name}: {text.count(chr(10))} lines, wanted at most {LINES_WANTED}")
    if kernel_lines > KERNEL_LINES_MAX:
        problems.append(f"kernel proper: {kernel_lines} lines, at most {KERNEL_LINES_MAX}")
    problems += check_format(code)
    print("\n".join(problems))
    print(f"{len(code)} files of code, kernel proper {kernel_lines} of {KERNEL_LINES_MAX} lines, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
