"""Small plugins to begin with: sound shared objects of a kilobyte or two that hold what the reader looks at, and faults."""
import struct

NOTE = b"""gantry-note 1
abi: 1.0
id: org.example.seed
name: Seed
version: 1.0.0
license: Apache-2.0
role: placement/1
description: back\\\\slash and \\n line
permission: network
config: timeout
config.type: duration
config.default: 200000000
config.min: 0
config.max: 60000000000
config.doc: How long.
config: names
config.type: list
config.default: a
config.default: b
config.choice: a
config.choice: b
config: none
config.type: list
config.default-empty:
config: ratio
config.type: number
config.default: 0.5
config: token
config.type: string
config.required: true
config.secret: true
"""
DRAFT = NOTE.replace(b"role: placement/1\n", b"role: draft.store\nkernel: 0.9.0\n")
PT_LOAD, PT_DYNAMIC, PT_NOTE, PT_GNU_STACK = 1, 2, 4, 0x6474E551
DT = {"NEEDED": 1, "HASH": 4, "STRTAB": 5, "SYMTAB": 6, "STRSZ": 10, "RPATH": 15, "TEXTREL": 22, "RUNPATH": 29,
      "GNU_HASH": 0x6FFFFEF5, "VERNEED": 0x6FFFFFFE, "VERNEEDNUM": 0x6FFFFFFF}
SYMBOL, HEADER = 24, 64 + 5 * 56


class Strings:
    def __init__(self):
        self.bytes = b"\0"

    def add(self, text):
        self.bytes += text + b"\0"
        return len(self.bytes) - len(text) - 1


def elf(note=NOTE, exports=(b"gantry_plugin_entry",), gnu=True, versions=((b"libc.so.6", (b"GLIBC_2.34",)),),
        dynamic=(), machine=62, stack=True):
    """A shared object, mapped one to one, without code."""
    strings = Strings()
    symbols = bytes(SYMBOL) + b"".join(struct.pack("<IBBHQQ", strings.add(name), 0x11, 0, 5, 0, 48) for name in exports)
    count = len(exports) + 1
    if gnu:
        chains = b"".join(struct.pack("<I", 2 * i | (i == count - 1)) for i in range(1, count))
        table = struct.pack("<IIIIQI", 1, 1, 1, 0, 0, 1 if count > 1 else 0) + chains
    else:
        table = struct.pack("<II", 1, count) + bytes(4 * (1 + count))
    needs = b""
    for i, (library, names) in enumerate(versions):
        following = 16 + 16 * len(names) if i + 1 < len(versions) else 0
        needs += struct.pack("<HHIII", 1, len(names), strings.add(library), 16, following)
        for k, name in enumerate(names):
            needs += struct.pack("<IHHII", 0, 0, 2, strings.add(name), 16 if k + 1 < len(names) else 0)
    described = b"" if note is None else struct.pack("<III8s", 7, len(note), 1, b"GANTRY\0\0") + note
    described += bytes(-len(described) % 4)
    entries = [("NEEDED", strings.add(library)) for library, _ in versions]
    entries += [(key, strings.add(value) if isinstance(value, bytes) else value) for key, value in dynamic]
    parts, offset = {}, HEADER
    for name, part in (("note", described), ("table", table), ("symbols", symbols), ("needs", needs),
                       ("strings", strings.bytes)):
        parts[name] = offset
        offset += len(part) + -len(part) % 8
    entries += [("GNU_HASH" if gnu else "HASH", parts["table"]), ("SYMTAB", parts["symbols"]),
                ("STRTAB", parts["strings"]), ("STRSZ", len(strings.bytes))]
    if versions:
        entries += [("VERNEED", parts["needs"]), ("VERNEEDNUM", len(versions))]
    words = b"".join(struct.pack("<QQ", DT[key], value) for key, value in entries) + bytes(16)
    end = offset + len(words)
    out = struct.pack("<16sHHIQQQIHHHHHH", b"\x7fELF\2\1\1", 3, machine, 1, 0, 64, 0, 0, 64, 56, 5, 0, 0, 0)
    for kind, flags, at, size in ((PT_LOAD, 4, 0, end), (PT_DYNAMIC, 4, offset, len(words)),
                                  (PT_NOTE, 4, parts["note"], len(described)),
                                  (PT_GNU_STACK if stack else 0, 6, 0, 0), (0, 0, 0, 0)):
        out += struct.pack("<IIQQQQQQ", kind, flags, at, at, at, size, size, 4)
    for part in (described, table, symbols, needs, strings.bytes):
        out += part + bytes(-len(part) % 8)
    return out + words


def files():
    yield elf()
    yield elf(gnu=False)
    yield elf(note=DRAFT, versions=())
    yield elf(note=None)
    yield elf(note=b"gantry-note 1\nabi: 3.1\nid: x\nconfig: c\nconfig.type: galaxies\n")
    yield elf(exports=[b"symbol%d" % i for i in range(12)], gnu=False)
    yield elf(exports=[])
    yield elf(versions=((b"libstdc++.so.6", (b"GLIBCXX_3.4", b"CXXABI_1.3")), (b"libc.so.6", (b"GLIBC_2.2.5", b"GLIBC_2.4"))))
    yield elf(dynamic=(("RUNPATH", b"/opt/lib"), ("TEXTREL", 0)))
    yield elf(dynamic=(("RPATH", b"$ORIGIN"),), machine=183, stack=False)
    yield b"\x7fELF\1\1\1" + bytes(64)


def seeds(target):
    if target == "plugin":
        yield from files()
    else:
        yield from (NOTE, DRAFT, b"gantry-note 1\n", b"gantry-note 1\nabi: 1.0\nid: a.b\nversion: 1.0.0\nrole: probe/1\n")
