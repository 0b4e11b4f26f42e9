#!/usr/bin/env python3
"""The repository's hygiene, as a test: include rules, file length, formatting, leftover markers, line budget, links.

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
KERNEL_LINES_MAX = 26500
KERNEL = ("kernel/base/", "kernel/core/", "kernel/host/", "kernel/control/", "kernel/daemon/")
# Neighbours of the kernel proper, each with a budget of its own.
NEIGHBOURS = {"kernel/load/": 550, "kernel/isolation/": 3700, "kernel/guard/": 1200, "kernel/sim/": 5350}

# Who may include what of ours: a folder's own files, and headers that begin with one of these; ARCHITECTURE.md has the
# same table in words. The first match counts; OWN is the file's own folder, two levels deep.
AUTHORS_LAYER = ["gantry/", "!gantry/elf/", "!gantry/testing/", "plugins/OWN/"]
ALLOWED = [
    ("kernel/base/", ["kernel/base/"]),
    ("kernel/core/", ["kernel/core/", "kernel/base/"]),
    ("kernel/crash/", ["kernel/crash/", "kernel/base/"]),
    ("kernel/trust/", ["kernel/trust/", "kernel/base/", "gantry/trust/"]),
    ("kernel/host/", ["kernel/host/", "kernel/crash/", "kernel/trust/", "kernel/base/", "gantry/abi/", "gantry/elf/"]),
    ("kernel/isolation/", ["kernel/isolation/", "kernel/host/", "kernel/base/", "gantry/abi/", "gantry/elf/"]),
    ("kernel/load/", ["kernel/load/", "kernel/host/", "kernel/core/", "kernel/base/"]),
    ("kernel/control/", ["kernel/control/", "kernel/load/", "kernel/host/", "kernel/core/", "kernel/crash/", "kernel/trust/",
                         "kernel/base/", "kernel/guard/protocol.h"]),
    ("kernel/daemon/", ["kernel/daemon/", "kernel/isolation/", "kernel/control/", "kernel/host/", "kernel/core/", "kernel/load/", "kernel/crash/",
                        "kernel/base/"]),
    ("kernel/guard/", ["kernel/guard/"]),
    ("kernel/sim/", ["kernel/sim/", "kernel/host/", "kernel/core/", "kernel/base/", "gantry/abi/", "gantry/elf/"]),
    ("kernel/cli/", ["kernel/cli/", "kernel/base/"]),
    ("sdk/abi/", ["gantry/abi/"]),
    ("sdk/elf/", ["gantry/elf/", "gantry/abi/", "sdk/elf/"]),
    ("sdk/trust/", ["gantry/trust/"]),
    ("sdk/vsoa/", ["vsoa_", "sdk/vsoa/"]),
    ("sdk/testing/", ["gantry/", "sdk/testing/"]),
    ("sdk/tools/check/puppet.cpp", ["gantry/abi/", "sdk/tools/", "kernel/isolation/"]),
    ("sdk/tools/", ["gantry/", "sdk/tools/"]),
    ("sdk/templates/", ["gantry/", "!gantry/elf/"]),
    ("samples/plugins/", ["gantry/", "!gantry/elf/"]),
    ("sdk/", ["gantry/", "sdk/", "!gantry/elf/", "!gantry/testing/"]),
    ("plugins/probe/vsoa/", [*AUTHORS_LAYER, "vsoa_", "plugins/probe/endpoint/"]),
    ("plugins/probe/", [*AUTHORS_LAYER, "plugins/probe/endpoint/"]),
    ("plugins/runtime/", [*AUTHORS_LAYER, "plugins/runtime/image-store/", "plugins/runtime/monitored/"]),
    ("plugins/transport/vsoa/", [*AUTHORS_LAYER, "vsoa_", "plugins/transport/secret/"]),
    ("plugins/discovery/beacon/", [*AUTHORS_LAYER, "plugins/transport/secret/"]),
    ("plugins/directory/vsoa/", [*AUTHORS_LAYER, "vsoa_"]),
    ("plugins/", AUTHORS_LAYER),
]
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^">]*)[>"]')
OURS = re.compile(r"(kernel|plugins|sdk|tests)/|gantry/|vsoa_")
# What the core may take from the standard library: nothing that knows a clock, a thread, a file or a socket.
PURE = {"algorithm", "array", "bit", "charconv", "cmath", "compare", "concepts", "cstddef", "cstdint", "cstring", "deque",
        "expected", "functional", "initializer_list", "iterator", "limits", "list", "map", "memory", "numeric", "optional",
        "queue", "ranges", "set", "span", "string", "string_view", "tuple", "type_traits", "unordered_map", "unordered_set",
        "utility", "variant", "vector"}
STANDARD = [
    ("kernel/core/", PURE),
    ("kernel/base/", PURE | {"chrono", "cstdio", "boost/json.hpp"}),  # durations, snprintf, the JSON that all speak
]
IMPURE = re.compile(r"(steady|system)_clock::now|\b(fopen|getenv|time|rand)\(")
MARKERS = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b|not " "implemented")
# A link to a file of ours, as documents write it.
LINK = re.compile(r"\]\((?!\w+:)([^)#\s]+)")
CODE_SPAN = re.compile(r"`[^`]*`")
# Copies of released SDKs, which are never edited.
FROZEN = re.compile(r"tests/conformance/museum/\d")
# What a row of the page of refusals quotes, and the sources that may say it.
QUOTE = re.compile(r"^\| (?:`` ?(.+?) ?``|`([^`]+)`) \|")
SPEAKERS = re.compile(r"(kernel/host|kernel/trust|kernel/crash|kernel/control|sdk)/.*\.(cpp|hpp)$")
BAD_NAMES = {"utils", "helpers", "common", "misc"}


def tracked():
    out = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-co", "--exclude-standard"], capture_output=True,
                         text=True, check=True).stdout
    return [name for name in out.splitlines() if (ROOT / name).is_file()]


def first_match(table, name):
    return next((found for prefix, found in table if name.startswith(prefix)), None)


def may_include(rules, header):
    return not any(header.startswith(rule[1:]) for rule in rules if rule[0] == "!") and any(
        header.startswith(rule) for rule in rules)


def check_includes(name, text):
    rules, standard = first_match(ALLOWED, name), first_match(STANDARD, name)
    own = "/".join(name.split("/")[1:3])
    rules = rules and [rule.replace("plugins/OWN/", f"plugins/{own}/") for rule in rules]
    for number, line in enumerate(text.splitlines(), 1):
        if standard and IMPURE.search(line.split("//")[0]):
            yield f"{name}:{number}: the core is pure: {line.strip()}"
        found = INCLUDE.match(line)
        if not found:
            continue
        quote, header = found.groups()
        if "../" in header:
            yield f"{name}:{number}: includes {header}: write it from the repository's root"
        elif OURS.match(header):
            if rules is not None and not may_include(rules, header):
                yield f"{name}:{number}: may not include {header}: allowed are {', '.join(rules)}"
        elif quote == '"' and name.startswith(("kernel/", "plugins/")):
            yield f"{name}:{number}: includes {header}: write it from the repository's root"
        elif standard is not None and header not in standard:
            yield f"{name}:{number}: may not include {header}: not in the list of what is pure (tests/tidy/tidy.py)"


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


def check_links(name, text):
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("    "):  # code
            continue
        for target in LINK.findall(CODE_SPAN.sub("", line)):
            if not (ROOT / name).parent.joinpath(target).exists():
                yield f"{name}:{number}: links to {target}, which is not there"


def check_quotes():
    """Every sentence that the page of refusals quotes is said by something; the ellipsis stands for what differs."""
    name = "docs/plugins/refusals.md"
    said = "".join((ROOT / source).read_text() for source in tracked() if SPEAKERS.match(source))
    # Texts that are written in pieces: "a" "b", "a" MACRO "b".
    said = re.sub(r'"\s*(?:GANTRY_ENTRY_SYMBOL\s*)?"', lambda m: "gantry_plugin_entry" if "SYMBOL" in m[0] else "", said)
    said = re.sub(r'"\s*GANTRY_ENTRY_SYMBOL', "gantry_plugin_entry", said)
    said = re.sub(r'GANTRY_ENTRY_SYMBOL\s*"', "gantry_plugin_entry", said).replace('\\"', '"')
    for number, line in enumerate((ROOT / name).read_text().splitlines(), 1):
        for sentence in map("".join, QUOTE.findall(line)):
            for part in sentence.split("…"):
                if part.strip(" `") and part.strip(" ") not in said:
                    yield f"{name}:{number}: nothing says: {part.strip()}"


def is_script(name):
    """Programs and build files in other languages; those without an ending begin with `#!`."""
    path = pathlib.PurePath(name)
    if name.startswith("tests/data/"):
        return False
    if path.suffix in {".py", ".sh", ".js", ".cmake", ".toml"} or path.name in {"CMakeLists.txt", "CMakePresets.json"}:
        return True
    return path.suffix == "" and (ROOT / name).read_bytes().startswith(b"#!")


def check_format(names):
    done = subprocess.run(["clang-format-14", "--dry-run", "--Werror", *names], cwd=ROOT, capture_output=True, text=True)
    for line in done.stderr.splitlines():
        if "error:" in line:
            yield line


def main():
    names = [n for n in tracked() if not FROZEN.match(n)]
    code = [n for n in names if pathlib.PurePath(n).suffix in CODE and not n.startswith("tests/data/")]
    scripts = [n for n in names if n not in code and is_script(n)]
    problems, kernel_lines, neighbours = [], 0, dict.fromkeys(NEIGHBOURS, 0)
    for name in code + scripts:
        text = (ROOT / name).read_text(errors="replace")
        problems += check_text(name, text)
        if name in code:
            problems += check_includes(name, text)
        if name in code and name.startswith(KERNEL):
            kernel_lines += text.count("\n")
        if name in code and (room := next((room for room in NEIGHBOURS if name.startswith(room)), None)):
            neighbours[room] += text.count("\n")
        if "--list" in sys.argv and text.count("\n") > LINES_WANTED:
            print(f"{name}: {text.count(chr(10))} lines, wanted at most {LINES_WANTED}")
    if kernel_lines > KERNEL_LINES_MAX:
        problems.append(f"kernel proper: {kernel_lines} lines, at most {KERNEL_LINES_MAX}")
    for name in names:
        if name.endswith(".md"):
            problems += check_links(name, (ROOT / name).read_text())
    problems += check_quotes()
    problems += [f"{room}: {lines} lines, at most {NEIGHBOURS[room]}" for room, lines in neighbours.items()
                 if lines > NEIGHBOURS[room]]
    problems += check_format(code)
    print("\n".join(problems))
    print(f"{len(code)} files of code, kernel proper {kernel_lines} of {KERNEL_LINES_MAX} lines, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
