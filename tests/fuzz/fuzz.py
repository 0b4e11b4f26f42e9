#!/usr/bin/env python3
"""Runs one fuzz target, beginning with inputs made of the golden packets, or with small plugins (plugins.py).

    tests/fuzz/fuzz.py TARGET --seconds N        for so long
    tests/fuzz/fuzz.py TARGET --runs N           for at least so many inputs
    tests/fuzz/fuzz.py TARGET FILE               one input again, as a finding names it

GANTRY_BUILD names the build, default build/release. A finding is kept in its folder tests/findings.
"""
import json
import os
import pathlib
import re
import ssl
import subprocess
import sys
import tempfile

import plugins

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import beacon  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get("GANTRY_BUILD", HERE.parents[1] / "build/release")).resolve()
VECTORS = HERE.parents[1] / "tests/data/vsoa-vectors/all-vectors.json"
# Longer inputs bring nothing new but time; streams are cut at more than 64 KiB nowhere but in their length.
LONGEST = {"stream": 8192, "datagram": 2048, "server": 4096, "client": 4096,
           "tls_server": 4096, "tls_client": 4096, "beacon": 200, "plugin": 8192, "note": 4096}
OF_PLUGINS = {"plugin", "note"}
ADDRESSES = [b"127.0.0.1:3002", b"127.0.0.1", b"[::1]:54", b"[fe80::1]", b"::1", b"1.2.3.4:0", b"1.2.3.4:65536",
             b"axis_server", b"vsoa://axis_server", b"VSOA://axis_server:3002/axis", b"vsoa://localhost:3002/a",
             b"vsoa://[::1]:3002", b"localhost", b"10.0.0.1, 10.0.0.2:55 [::2]:56,name", b"127.0.0.1 3000\n::1 54\n",
             b"# none\n\n10.0.0.1\t54 55\n[::1] 3000\r\n10.0.0.2\n", b"x" * 300 + b"\n10.0.0.3 1\n"]


def golden():
    """Of each recording and direction: its packets in order."""
    sessions = {}
    for packet in json.loads(VECTORS.read_text()):
        sessions.setdefault((packet["vector"], packet["dir"], packet["transport"]), []).append(packet)
    return sessions


def steps(kind, text):
    """Of a script for the TLS targets (tls_peer.hpp): this text in as many steps as its length needs."""
    return b"".join(bytes([kind, len(text[at:at + 255])]) + text[at:at + 255] for at in range(0, max(len(text), 1), 255))


def client_hello(newest):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.maximum_version = False, newest
    said = ssl.MemoryBIO()
    try:
        context.wrap_bio(ssl.MemoryBIO(), said).do_handshake()
    except ssl.SSLWantReadError:
        return said.read()


def tls_seeds(direction):
    """The first byte: key or certificate, TLS 1.2, an honest handshake, a login, a turn after each step."""
    packets = [bytes.fromhex(p["hex"]) for (_, to, transport), session in golden().items()
               if to == direction and transport == "tcp" for p in session if p["kind"] == "vsoa"]
    honest = b"\0\0" * 6
    for how in range(4):
        for newest in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            hello = client_hello(newest)
            yield bytes([how | 0x10]) + steps(1, hello)
            yield bytes([how | 0x10]) + steps(1, hello[:len(hello) // 2])
        yield bytes([how | 0x10]) + honest
        for at in range(4):  # one flight of the handshake is changed, or cut
            yield bytes([how | 0x10]) + honest[:2 * at] + b"\2\6\0\5\xff\0\x2b\1" + honest
            yield bytes([how | 0x10]) + honest[:2 * at] + b"\3\1\x80" + honest
        yield bytes([how | 0x1c]) + steps(5, b"\x3f") + steps(5, b"\x3f\0")
        yield bytes([how | 0x1c]) + steps(1, b"\x17\3\3\0\5hello\x15\3\3\0\2\1\0") + steps(6, b"") + steps(7, b"")
        yield from (bytes([how | 0x1c]) + steps(4, packet) for packet in packets)
        yield bytes([how | 0x14]) + steps(4, b"".join(packets[:8]))


def seeds(target):
    """The inputs to begin with."""
    if target in OF_PLUGINS:
        yield from plugins.seeds(target)
        return
    if target == "beacon":
        key, full = beacon.key_of(b"a secret of more than 16 bytes"), bytes(range(1, 17))
        yield beacon.seal(key, beacon.QUERY, nonce=full)
        for address in (beacon.MAPPED + bytes([10, 90, 0, 1]), b"\xfd\x90" + bytes(13) + b"\1"):
            yield beacon.seal(key, beacon.ANSWER, nonce=full, cookie=full, address=address, port=3900)
        yield from (beacon.seal(key, beacon.HELLO, cookie=full, name=name) for name in (b"SNode1", b"x" * 63))
        return
    if target.startswith("tls_"):
        yield from tls_seeds("C>S" if target == "tls_server" else "S>C")
        return
    for (_, direction, transport), packets in golden().items():
        raw = [bytes.fromhex(p["hex"]) for p in packets]
        framed = [r for p, r in zip(packets, raw) if p["kind"] == "vsoa"]
        params = [p["param"].encode() for p in packets if p.get("param")]
        if target == "stream" and transport == "tcp":
            yield from (bytes([how]) + b"".join(framed) for how in (0, 0x41, 0x82, 0xc7))
        elif target == "datagram":
            yield from framed
        elif target in ("login", "subscribe"):
            yield from params
        elif target == "position":
            yield from (r for p, r in zip(packets, raw) if p["kind"] == "raw" and transport == "udp")
        elif target == "server" and direction == "C>S":
            if transport == "udp":
                yield from (bytes([how]) + one for one in framed for how in (0x0e, 0x1e))
            else:
                yield from (bytes([how]) + b"".join(framed) for how in (0, 1, 2, 0x26))
                yield from (b"\x02" + one for one in framed)
        elif target == "client" and direction == "S>C":
            yield b"".join(framed)
    if target == "address":
        yield from (bytes([how]) + text for text in ADDRESSES for how in range(4))
    if target == "subscribe":
        yield from (b'["/"]', b'["/a","/a/","/a/b","/a/b/","/b"]', b'["noslash","/x"]')


def main():
    words = sys.argv[1:]
    if len(words) == 2:
        sys.exit(subprocess.run([BUILD / "tests/fuzz" / f"fuzz_{words[0]}", words[1]], check=False).returncode)
    if len(words) != 3 or words[1] not in ("--seconds", "--runs") or not words[2].isdigit():
        sys.exit(__doc__)
    target, option = words[0], {"--seconds": "-max_total_time", "--runs": "-runs"}[words[1]]
    dictionary = "plugin.dict" if target in OF_PLUGINS else "tls.dict" if target.startswith("tls_") else "vsoa.dict"
    program = BUILD / "tests/fuzz" / f"fuzz_{target}"
    findings = BUILD / "tests/findings"
    findings.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="gantry-fuzz-") as folder:
        corpus = pathlib.Path(folder)
        count = 0
        for count, seed in enumerate(seeds(target), 1):
            (corpus / f"seed-{count}").write_bytes(seed)
        assert count, f"nothing to begin with for {target}"
        command = [program, f"{option}={words[2]}", f"-max_len={LONGEST.get(target, 1024)}", "-timeout=20",
                   "-rss_limit_mb=1024", "-print_final_stats=1", "-verbosity=0", f"-dict={HERE / dictionary}",
                   f"-artifact_prefix={findings}/{target}-", corpus]
        # Freed memory is kept apart for a while, not for long: new pages cost more than the inputs. And a block remembers
        # a few of the calls that it came from.
        environment = {"ASAN_OPTIONS": "quarantine_size_mb=16:malloc_context_size=6", **os.environ}
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                              env=environment, check=False)
    inputs = re.search(r"number_of_executed_units:\s*(\d+)", done.stdout)
    if done.returncode != 0 or not inputs:
        print(done.stdout[-8000:])
        sys.exit(f"fuzz {target}: ended with {done.returncode}; run it again with: tests/fuzz/fuzz.py {target} FILE")
    print(f"fuzz {target}: {inputs[1]} inputs, from {count} to begin with, no finding")


main()
