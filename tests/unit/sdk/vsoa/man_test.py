#!/usr/bin/env python3
"""man_test.py HEADERS PAGES: every page is well formed, names every page it refers to by its right section, and the page of
a header shows every function of it as it is declared, and names its constants."""
import pathlib
import re
import shutil
import subprocess
import sys

if not shutil.which("mandoc"):
    print("skipped: mandoc is not installed")
    sys.exit(77)

headers, pages = (pathlib.Path(argument) for argument in sys.argv[1:])
NO_PAGE = {"vsoa_platform.h"}  # vsoa(7) says what it is
MACROS = {"vsoa_syncer.h"}  # no functions


def squeeze(text):
    return re.sub(r"\s+", "", text)


def prototypes(header):
    text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", header.read_text(), flags=re.S)
    text = re.sub(r"^\s*#(.*\\\n)*.*$", "", text, flags=re.M).replace('extern "C" {', "")
    for statement in text.split(";"):
        if re.match(r"\s*(?!typedef)[\w\s*]*?\bvsoa_\w+\s*\([^()]*\)\s*$", statement):
            yield squeeze(statement)


def synopsis(page):
    found = re.search(r"^\.Sh SYNOPSIS\n(.*?)^\.Sh ", page, flags=re.S | re.M).group(1)
    for kind, name, arguments in re.findall(r'^\.Ft (.*)\n\.Fo (.*)\n((?:\.Fa .*\n)*)\.Fc', found, flags=re.M):
        listed = ",".join(a.strip('"') for a in re.findall(r"^\.Fa (.*)$", arguments, flags=re.M))
        yield squeeze(f'{kind}{name}({listed})'.replace('"', ""))


problems = []
for path in sorted(pages.iterdir()):
    lint = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", str(path)], capture_output=True, text=True)
    problems += lint.stdout.splitlines() + lint.stderr.splitlines()
    text = path.read_text()
    for name, section in re.findall(r"^\.Xr (vsoa\w*) (\d)", text, flags=re.M):
        if not (pages / f"{name}.{section}").exists() and (name, section) != ("vsoa", "1"):
            problems.append(f"{path.name}: refers to {name}({section}), which is not there")
count = 0
for header in sorted(headers.glob("vsoa_*.h")):
    if header.name in NO_PAGE:
        continue
    if not (pages / f"{header.stem}.3").exists():
        problems.append(f"{header.name}: has no page")
        continue
    page = (pages / f"{header.stem}.3").read_text()
    shown = set(synopsis(page))
    for prototype in prototypes(header) if header.name not in MACROS else []:
        count += 1
        if prototype not in shown:
            problems.append(f"{header.stem}.3: not as in the header: {prototype}")
    for constant in re.findall(r"^#define (VSOA_\w+)(?!_H\b)\b", header.read_text(), flags=re.M):
        if not constant.endswith("_H") and constant not in page:
            problems.append(f"{header.stem}.3: without {constant}")
print("\n".join(problems))
print(f"{count} functions, {len(problems)} problems")
sys.exit(1 if problems or count < 100 else 0)
