#!/usr/bin/env python3
"""inventory_test.py HEADERS INVENTORY LIBRARY: every function that the headers declare is exported by the library, every
export is declared, and every function of the vendor's interface (inventory.h) is among them."""
import pathlib
import re
import subprocess
import sys

headers, inventory, library = sys.argv[1:]
# Functions that live in a header are not exported.
INLINE_ONLY = {"vsoa_platform.h", "vsoa_syncer.h"}


def declared(path):
    text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", path.read_text(), flags=re.S)
    text = re.sub(r"^\s*#(.*\\\n)*.*$", "", text, flags=re.M).replace('extern "C" {', "")
    for statement in text.split(";"):
        found = re.match(r"\s*(?!typedef)[\w\s*]*?\b(vsoa_\w+)\s*\([^()]*\)\s*$", statement, flags=re.S)
        if found:
            yield found.group(1)


in_headers = {name: path.name for path in sorted(pathlib.Path(headers).glob("vsoa_*.h"))
              if path.name not in INLINE_ONLY for name in declared(path)}
listed = set(re.findall(r"^FUNCTION\([^,]*, (vsoa_\w+)", pathlib.Path(inventory).read_text(), flags=re.M))
out = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True).stdout
exported = {line.split()[-1].split("@")[0] for line in out.splitlines() if " A " not in line}

problems = [f"{name}: declared in {in_headers[name]}, not exported" for name in sorted(in_headers.keys() - exported)]
problems += [f"{name}: exported, in no header" for name in sorted(exported - in_headers.keys())]
problems += [f"{name}: of the vendor's interface, in no header" for name in sorted(listed - in_headers.keys())]
print("\n".join(problems))
print(f"{len(listed)} functions of the vendor, {len(in_headers)} declared, {len(exported)} exported, "
      f"{len(problems)} problems")
sys.exit(1 if problems or len(listed) < 100 else 0)
