#!/usr/bin/env python3
"""inventory_test.py HEADERS INVENTORY LIBRARY: every function that the headers declare is exported by the library, every
export is declared, every function of the vendor's interface (inventory.h) is among them, and every function, type, field
and macro of the headers has a comment."""
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


def uncommented(path):
    """Lines that declare something, with no documentation comment before them or behind."""
    lines, documented = path.read_text().splitlines(), False
    inside = None  # what the present lines belong to: a comment, a statement or a structure that goes on
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if inside == "comment" or text.startswith("/*"):
            documented = documented or text.startswith("/**") or inside == "comment"
            inside = None if "*/" in text else "comment"
            continue
        if inside == "macro" or inside == "body":
            ends = not text.endswith("\\") if inside == "macro" else line.startswith("}")
            inside = None if ends else inside
        elif inside == "statement":
            inside = None if text.endswith((";", "{")) else inside
            inside = "body" if text.endswith("{") and not text.startswith("}") else inside
        elif text.startswith("#define") and not text.endswith("_H") and path.name.upper()[:-2] + "_H" not in text:
            if not documented and "/**<" not in line:
                yield f"{path.name}:{number}: without a comment: {text}"
            inside = "macro" if text.endswith("\\") else None
        elif re.match(r"(typedef|static inline|extern (?!\"C\")|[a-z_]+\b.*\()", text) and not text.startswith("}"):
            if not documented:
                yield f"{path.name}:{number}: without a comment: {text}"
            structure = re.match(r"typedef (struct|enum)\b.*{", text)
            inside = "fields" if structure else None if text.endswith((";", "}")) else "statement"
            inside = "body" if text.endswith("{") and not structure else inside
        elif inside == "fields":
            if text.startswith("}"):
                inside = None
            elif "/**<" not in line and not documented:
                yield f"{path.name}:{number}: without a comment: {text}"
        documented = documented and (not text or text.startswith("#")) and bool(text)


in_headers = {name: path.name for path in sorted(pathlib.Path(headers).glob("vsoa_*.h"))
              if path.name not in INLINE_ONLY for name in declared(path)}
listed = set(re.findall(r"^FUNCTION\([^,]*, (vsoa_\w+)", pathlib.Path(inventory).read_text(), flags=re.M))
out = subprocess.run(["nm", "-D", "--defined-only", library], capture_output=True, text=True, check=True).stdout
exported = {line.split()[-1].split("@")[0] for line in out.splitlines() if " A " not in line}

problems = [f"{name}: declared in {in_headers[name]}, not exported" for name in sorted(in_headers.keys() - exported)]
problems += [f"{name}: exported, in no header" for name in sorted(exported - in_headers.keys())]
problems += [f"{name}: of the vendor's interface, in no header" for name in sorted(listed - in_headers.keys())]
problems += [line for path in sorted(pathlib.Path(headers).glob("vsoa_*.h")) for line in uncommented(path)]
print("\n".join(problems))
print(f"{len(listed)} functions of the vendor, {len(in_headers)} declared, {len(exported)} exported, "
      f"{len(problems)} problems")
sys.exit(1 if problems or len(listed) < 100 else 0)
