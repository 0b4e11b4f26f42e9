#!/usr/bin/env python3
"""Holds the border, the C headers in sdk/abi, to what the last released SDK promised (docs/abi-policy.md).

    abi.py check     today's headers hold everything that baseline/ holds
    abi.py layout    every struct of every header has one layout for C and C++, on x86-64 and aarch64
    abi.py write     writes baseline/ anew: at the release of an SDK, never to silence `check`
    abi.py grow DIR  copies the headers to DIR as a later border might be: one more member in every struct that may grow

abidw (Debian's abigail-tools) tells structs, members, offsets and types of an object that uses every struct there is.
abidiff would compare two of them, but its exit status does not tell an append from a reorder. Constants are macros, so
they are asked from a program that is compiled and run.
Exit status: 0 it holds, 1 it does not (one line for each difference), 2 wrong use, 77 a program is missing.
"""
import dataclasses
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml

HERE = pathlib.Path(__file__).resolve().parent
HEADERS = HERE.parents[2] / "sdk/abi/include"
BASELINE = HERE / "baseline"
# Bound to the exact kernel version, so nothing of them is promised.
DRAFTS = {"directory.h", "discovery.h", "frontend.h", "store.h"}
# Elements of arrays whose element size travels beside them: they may grow like structs that say their own size.
ELEMENTS = {"gantry_candidate", "gantry_config_value", "gantry_container", "gantry_mount"}
STRUCT = re.compile(r"^typedef struct (gantry_\w+) \{$(.*?)^\} \1;$", re.MULTILINE | re.DOTALL)
CONSTANT = re.compile(r"^#define (GANTRY_\w+) (.+)$", re.MULTILINE)
NO_CONSTANT = {"GANTRY_NOEXCEPT", "GANTRY_EXTERN_C_BEGIN", "GANTRY_EXTERN_C_END"}
CROSS = "aarch64-linux-gnu-"


class Missing(Exception):
    """A program that this needs is not installed."""


def run(*command):
    """Its standard output; ends everything with what it said if it fails."""
    if shutil.which(command[0]) is None:
        raise Missing(command[0])
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}ended with {done.returncode}")
    return done.stdout


def headers(include, drafts):
    """The headers' file names; with or without those of draft roles."""
    names = sorted(path.name for path in (include / "gantry/abi").glob("*.h"))
    return [name for name in names if drafts or name not in DRAFTS]


def structs_of(include, names):
    return [match[0] for name in names for match in STRUCT.findall((include / "gantry/abi" / name).read_text())]


def includes(names):
    return "".join(f"#include <gantry/abi/{name}>\n" for name in names)


# --- what the headers say ---

@dataclasses.dataclass(frozen=True)
class Member:
    name: str
    offset: int  # bytes
    type: str


@dataclasses.dataclass(frozen=True)
class Struct:
    size: int  # bytes
    members: tuple

    def grows(self, name):
        first = self.members[0] if self.members else None
        return name in ELEMENTS or first == Member("struct_size", 0, "unsigned int")


class Types:
    """The types of one document of abidw, spelled out as far as the next struct."""

    def __init__(self, root):
        self.nodes = {node.get("id"): node for node in root.iter() if node.get("id")}

    def spell(self, type_id):
        node = self.nodes[type_id]
        inner = node.get("type-id")
        if node.tag == "class-decl":
            return "struct " + node.get("name")
        if node.tag == "typedef-decl":
            return self.spell(inner)
        if node.tag == "pointer-type-def":
            return self.spell(inner) + "*"
        if node.tag == "qualified-type-def":
            words = [word for word in ("const", "volatile", "restrict") if node.get(word) == "yes"]
            return " ".join([self.spell(inner), *words])
        if node.tag == "array-type-def":
            return self.spell(inner) + "".join(f"[{part.get('length')}]" for part in node.findall("subrange"))
        if node.tag == "function-type":
            taken = ", ".join(self.spell(one.get("type-id")) for one in node.findall("parameter"))
            return f"{self.spell(node.find('return').get('type-id'))} ({taken})"
        assert node.tag == "type-decl", node.tag
        return node.get("name")


def read_structs(document):
    """{name: Struct} of what abidw wrote."""
    root = xml.fromstring(document)
    types, found = Types(root), {}
    for node in root.iter("class-decl"):
        name = node.get("name")
        if not name.startswith("gantry_") or node.get("is-declaration-only") == "yes":
            continue
        members = []
        for member in node.findall("data-member"):
            var = member.find("var-decl")
            offset, rest = divmod(int(member.get("layout-offset-in-bits")), 8)
            assert rest == 0, f"{name}.{var.get('name')} is a bit-field"
            members.append(Member(var.get("name"), offset, types.spell(var.get("type-id"))))
        found[name] = Struct(int(node.get("size-in-bits")) // 8, tuple(members))
    return found


def describe(include, drafts=False):
    """What abidw says of an object that uses every struct of the headers."""
    names = headers(include, drafts)
    structs = structs_of(include, names)
    with tempfile.TemporaryDirectory(prefix="gantry-abi-") as folder:
        anchor, library = pathlib.Path(folder) / "anchor.c", pathlib.Path(folder) / "anchor.so"
        uses = "".join(f"void use_{name}({name}* it);\nvoid use_{name}({name}* it) {{ (void)it; }}\n" for name in structs)
        anchor.write_text(includes(names) + uses)
        run("cc", "-std=c11", "-g", "-shared", "-fPIC", f"-I{include}", anchor, "-o", library)
        document = run("abidw", "--no-show-locs", "--no-corpus-path", "--no-comp-dir-path", "--no-elf-needed",
                       "--type-id-style", "hash", library)
    document = re.sub(r" path='[^']*'", "", document)
    missing = set(structs) - read_structs(document).keys()
    assert not missing, f"abidw is silent about {missing}"
    return document


def constants(include):
    """{name: value} of the macros that stand for a number or a text."""
    names = headers(include, drafts=False)
    macros = {}
    for name in names:
        macros |= dict(CONSTANT.findall((include / "gantry/abi" / name).read_text()))
    wanted = [name for name in macros if name not in NO_CONSTANT]
    shown = "".join(f"    SHOW({name});\n" for name in wanted)
    source = f"""{includes(names)}#include <stdio.h>
static void text(const char* name, const char* value) {{ printf("%s \\"%s\\"\\n", name, value); }}
static void number(const char* name, unsigned long long value) {{ printf("%s %llu\\n", name, value); }}
#define SHOW(name) _Generic((name), char*: text, default: number)(#name, name)
int main(void) {{
{shown}    return 0;
}}
"""
    with tempfile.TemporaryDirectory(prefix="gantry-abi-") as folder:
        asking, program = pathlib.Path(folder) / "constants.c", pathlib.Path(folder) / "constants"
        asking.write_text(source)
        run("cc", "-std=c11", f"-I{include}", asking, "-o", program)
        return dict(line.split(" ", 1) for line in run(program).splitlines())


# --- what was promised ---

def struct_differences(name, promised, today):
    """(what is broken, whether something was appended)"""
    broken = []
    for i, was in enumerate(promised.members):
        now = today.members[i] if i < len(today.members) else None
        place = f"{name}: member {i + 1}, {was.type} {was.name} at byte {was.offset}"
        if now is None:
            broken.append(f"{place}, is gone")
        elif now != was and now != dataclasses.replace(was, name=now.name):
            broken.append(f"{place}, is now {now.type} {now.name} at byte {now.offset}")
        elif now.name != was.name and not was.name.startswith("reserved"):
            broken.append(f"{place}, is now called {now.name}")
    appended = len(today.members) > len(promised.members) or today.size > promised.size
    if today.size < promised.size:
        broken.append(f"{name}: has {today.size} bytes, it had {promised.size}")
    if appended and not promised.grows(name):
        broken.append(f"{name}: a plain value does not grow: it has {today.size} bytes and {len(today.members)} members, "
                      f"it had {promised.size} and {len(promised.members)}")
    if promised.grows(name) and not today.grows(name):
        broken.append(f"{name}: no longer begins with struct_size")
    return broken, appended


def differences(promised, today, promised_constants, today_constants):
    """One line for each promise that does not hold."""
    broken, appended = [], False
    for name, was in promised.items():
        if name not in today:
            broken.append(f"{name}: the struct is gone")
            continue
        more, longer = struct_differences(name, was, today[name])
        broken += more
        appended |= longer
    for name, was in promised_constants.items():
        now = today_constants.get(name)
        if now is None:
            broken.append(f"{name}: the constant is gone")
        elif now != was and name != "GANTRY_ABI_MINOR":
            broken.append(f"{name}: is {now}, it was {was}")
    appended |= bool(today.keys() - promised.keys() or today_constants.keys() - promised_constants.keys())
    minor_was, minor_is = int(promised_constants["GANTRY_ABI_MINOR"]), int(today_constants.get("GANTRY_ABI_MINOR", 0))
    if minor_is < minor_was or (appended and minor_is == minor_was):
        broken.append(f"GANTRY_ABI_MINOR: is {minor_is}; something was appended to what {minor_was} had: raise it")
    return broken


def check(include=HEADERS, baseline=BASELINE):
    promised = read_structs((baseline / "structs.xml").read_text())
    promised_constants = dict(line.split(" ", 1) for line in (baseline / "constants.txt").read_text().splitlines())
    return differences(promised, read_structs(describe(include)), promised_constants, constants(include))


def write(include=HEADERS, baseline=BASELINE):
    baseline.mkdir(exist_ok=True)
    (baseline / "structs.xml").write_text(describe(include))
    (baseline / "constants.txt").write_text("".join(f"{k} {v}\n" for k, v in constants(include).items()))


# --- layout ---

def layout(include=HEADERS):
    """Compiles what abidw says of the x86-64 object as assertions, for every language and machine. Their number."""
    names, lines = headers(include, drafts=True), []
    for name, struct in read_structs(describe(include, drafts=True)).items():
        lines.append(f'GANTRY_STATIC_ASSERT(sizeof({name}) == {struct.size}, "size");\n')
        ends = [member.offset for member in struct.members[1:]] + [struct.size]
        for member, end in zip(struct.members, ends):
            at = f"{name}, {member.name}"
            lines.append(f'GANTRY_STATIC_ASSERT(offsetof({at}) == {member.offset}, "offset");\n')
            # No room between members but what is spelled out.
            lines.append(f'GANTRY_STATIC_ASSERT(sizeof((({name}*)0)->{member.name}) == {end - member.offset}, "gap");\n')
    with tempfile.TemporaryDirectory(prefix="gantry-abi-") as folder:
        for compiler, language, standard in (("gcc", "c", "c11"), ("g++", "c++", "c++17")):
            source = pathlib.Path(folder) / f"layout.{language}"
            source.write_text(includes(names) + "".join(lines))
            for prefix in ("", CROSS):
                run(prefix + compiler, f"-std={standard}", "-x", language, "-fsyntax-only", f"-I{include}", source)
    return len(lines)


# --- a later border ---

def grow(include, out):
    """What may be appended to is appended to; the headers' own assertions of sizes go, the minor number rises."""
    for name in headers(include, drafts=True):
        text = (include / "gantry/abi" / name).read_text()
        text = re.sub(r"^GANTRY_STATIC_ASSERT\((sizeof\(gantry|offsetof)[^;]*;\n", "", text, flags=re.MULTILINE)
        if name not in DRAFTS:
            text = STRUCT.sub(longer, text)
        text = re.sub(r"(?<=#define GANTRY_ABI_MINOR )(\d+)", lambda m: str(int(m[0]) + 1), text)
        (out / "gantry/abi").mkdir(parents=True, exist_ok=True)
        (out / "gantry/abi" / name).write_text(text)


def longer(match):
    name, body = match[1], match[2]
    if name not in ELEMENTS and not body.lstrip().startswith("uint32_t struct_size;"):
        return match[0]
    more = "    int64_t of_a_later_border;\n"
    if "(*" in body:
        more = "    gantry_status (*of_a_later_border)(void* self) GANTRY_NOEXCEPT;\n"
    return f"typedef struct {name} {{{body}{more}}} {name};"


def main():
    words = sys.argv[1:]
    if words == ["write"]:
        write()
    elif words == ["layout"]:
        print(f"{layout()} assertions hold in C11 and C++17, on x86-64 and aarch64")
    elif words == ["check"]:
        broken = check()
        print("\n".join(broken) or "everything that was promised holds")
        sys.exit(1 if broken else 0)
    elif len(words) == 2 and words[0] == "grow":
        grow(HEADERS, pathlib.Path(words[1]))
    else:
        print(__doc__, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    try:
        main()
    except Missing as missing:
        print(f"skipped: {missing} is not installed")
        sys.exit(77)
