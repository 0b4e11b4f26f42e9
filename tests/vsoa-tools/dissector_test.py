#!/usr/bin/env python3
"""sdk/vsoa/wireshark/vsoa.lua in tshark: what it says of the golden packets equals what the library's parser says.

dissector_test.py [PART OF A NAME]
"""
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ET

import captures
from captures import CLIENT, SERVER, Connection, packet, udp, write_pcap
from tool import ENVIRONMENT, ROOT, VECTORS, documents, main, run

DISSECTOR = ROOT / "sdk/vsoa/wireshark/vsoa.lua"
RPC, PUBLISH, DATAGRAM = 1, 4, 5
POSITION = ("10.0.0.3", 54)


class Layer:
    """One dissected packet: its fields by name."""

    def __init__(self, element, frame):
        self.frame = frame
        self.fields = {}
        for field in element.iter("field"):
            self.fields.setdefault(field.get("name"), []).append(field)

    def __contains__(self, name):
        return name in self.fields

    def show(self, name):
        return self.fields[name][0].get("show")

    def number(self, name):
        text = self.show(name)
        return {"True": 1, "False": 0}.get(text) if text in ("True", "False") else int(text, 0)

    def bytes(self, name):
        return bytes.fromhex(self.fields[name][0].get("value")) if name in self.fields else b""


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.folder.name) / "capture"
        self.addCleanup(self.folder.cleanup)

    def dissect(self, frames, *words, protocol="vsoa", **options):
        """The layers of a protocol that tshark finds in the frames."""
        write_pcap(self.path, frames, **options)
        home = self.folder.name
        done = subprocess.run(["tshark", "-X", f"lua_script:{DISSECTOR}", "-2", "-r", str(self.path), "-T", "pdml", *words],
                              capture_output=True, timeout=120,
                              env=dict(ENVIRONMENT, HOME=home, XDG_CONFIG_HOME=home, XDG_DATA_HOME=home))
        told = [line for line in done.stderr.decode(errors="replace").splitlines() if "Running as user" not in line]
        self.assertEqual((done.returncode, told), (0, []))
        self.assertNotIn(b"Lua Error", done.stdout)
        # tshark writes some characters that XML does not have.
        root = ET.fromstring(re.sub("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "?",
                                    done.stdout.decode(errors="replace")))
        return [Layer(proto, number) for number, frame in enumerate(root.iter("packet"), 1)
                for proto in frame.iter("proto") if proto.get("name") == protocol]

    def seqnos(self, frames, *words, **options):
        return [layer.number("vsoa.seqno") for layer in self.dissect(frames, *words, **options)]


def golden(name, port=CLIENT[1]):
    """Frames of the packets of one recording, one packet a frame, and the packets."""
    vectors = [v for v in VECTORS if v["vector"] == name and v["kind"] == "vsoa"]
    client = (CLIENT[0], port)
    connection = Connection(client)
    for v in vectors:
        side = 0 if v["dir"] == "C>S" else 1
        if v["transport"] == "tcp":
            connection.add(side, captures.ACK, bytes.fromhex(v["hex"]))
        else:
            connection.frames.append(udp(*((client, SERVER) if side == 0 else (SERVER, client)), bytes.fromhex(v["hex"])))
    return connection.close(), vectors


# tshark takes long to start, so that a test has all of its connections in one capture, each with a port of its own.
PORTS = range(40_000, 41_000)


class Packets(Case):
    def test_every_golden_packet_equals_what_our_parser_says(self):
        recordings = [golden(name, port) for name, port in zip(sorted({v["vector"] for v in VECTORS}), PORTS)]
        vectors = [v for _, of_one in recordings for v in of_one]
        self.assertEqual(len(vectors), sum(v["kind"] == "vsoa" for v in VECTORS))
        layers = self.dissect([frame for frames, _ in recordings for frame in frames])
        ours = documents(run("dump", self.path, "--json", "--show-passwords").stdout)
        self.assertEqual((len(layers), len(ours)), (len(vectors), len(vectors)))
        for v, layer, parsed in zip(vectors, layers, ours):
            self.compare(v, layer, parsed)

    def compare(self, v, layer, parsed):
        where = f"{v['vector']} {v['n']}"
        for field, name in (("vsoa.type", "type_number"), ("vsoa.flags.pad", "pad"), ("vsoa.status", "status"),
                            ("vsoa.seqno", "seqno"), ("vsoa.tunid", "tunid"), ("vsoa.flags.reply", "reply")):
            self.assertEqual(layer.number(field), parsed[name], f"{where}: {field}")
        self.assertEqual(layer.number("vsoa.flags") & 0x3f, parsed["flags"], where)
        self.assertEqual((layer.number("vsoa.magic"), layer.number("vsoa.version")), (9, 2), where)
        self.assertEqual(layer.number("vsoa.flags.tunnel"), v["flags"] >> 1 & 1, where)
        self.assertEqual(layer.number("vsoa.flags.set"), v["flags"] >> 2 & 1, where)
        self.assertEqual(layer.number("vsoa.flags.reserved"), v["flags"] >> 3, where)
        self.assertEqual(layer.bytes("vsoa.url").decode(), parsed["url"], where)
        self.assertEqual(layer.bytes("vsoa.param").decode(), v["param"], where)
        self.assertEqual(layer.bytes("vsoa.data").hex(), parsed.get("data_hex", ""), where)
        self.assertEqual(layer.bytes("vsoa.padding").hex(), v["padbytes"], where)
        self.assertEqual(layer.number("vsoa.url_len"), len(v["url"].encode()), where)
        self.assertEqual(layer.number("vsoa.param_len"), len(v["param"].encode()), where)
        self.assertEqual(layer.number("vsoa.data_len"), len(v["data"]) // 2, where)
        if v["param"]:
            self.assertEqual(layer.show("vsoa.param").replace('\\"', '"'), v["param"], where)
        if "method" in parsed:
            self.assertEqual(layer.number("vsoa.method"), parsed["method"] == "set", where)
        if parsed["type"] == "servinfo" and parsed["reply"] and len(v["data"]) >= 8:
            self.assertEqual(layer.number("vsoa.client_id"), int(v["data"][:8], 16), where)
            self.assertEqual("vsoa.quick_port" in layer, len(v["data"]) >= 12, where)
        if parsed["type"] == "qossetup":
            self.assertEqual(layer.number("vsoa.priority"), v["status"], where)
        if "answers" in parsed:
            self.assertEqual(layer.show("vsoa.answers"), parsed["answers"], where)

    def test_a_request_and_its_answer_name_each_other(self):
        connection = Connection()
        connection.client(packet(RPC, b"/a", seqno=1))
        connection.client(packet(RPC, b"/b", seqno=2))
        connection.server(packet(RPC, flags=1, seqno=2))
        connection.server(packet(RPC, flags=1, seqno=1) + packet(RPC, flags=1, seqno=77))
        connection.client(packet(RPC, b"/again", seqno=1))
        connection.server(packet(RPC, flags=1, seqno=1))
        layers = self.dissect(connection.close())
        links = [(layer.frame, layer.show("vsoa.response_in") if "vsoa.response_in" in layer else None,
                  layer.show("vsoa.response_to") if "vsoa.response_to" in layer else None) for layer in layers]
        self.assertEqual(links, [(4, "7", None), (5, "6", None), (6, None, "5"), (7, None, "4"), (7, None, None),
                                 (8, "9", None), (9, None, "8")])
        self.assertEqual(layers[2].show("vsoa.answers"), "/b")
        self.assertAlmostEqual(float(layers[2].show("vsoa.time")), 0.001, places=6)

    def test_the_position_service_is_told(self):
        frames, texts, ports = [], [], iter(PORTS)
        for name in ("position-node", "position-go", "position-py", "axis-sample"):
            for port in (54, 39000):
                client, position = (CLIENT[0], next(ports)), (POSITION[0], port)
                for v in VECTORS:
                    if v["vector"] == name and v["kind"] == "raw":
                        asks, text = v["dir"] == "C>S", bytes.fromhex(v["hex"])
                        texts.append((asks, text))
                        frames.append(udp(*((client, position) if asks else (position, client)), text))
        layers = self.dissect(frames, protocol="vsoa_position")
        ours = documents(run("dump", self.path, "--json").stdout)
        self.assertEqual((len(layers), len(ours)), (len(texts), len(texts)))
        for (asks, text), layer, parsed in zip(texts, layers, ours):
            self.assertEqual(layer.bytes("vsoa_position.text"), text)
            self.assertEqual(layer.number("vsoa_position.query"), parsed["type"] == "position-query")
            for member in ("name", "addr"):
                if member in parsed["param"]:
                    self.assertEqual(layer.show("vsoa_position." + member), parsed["param"][member])
            for member in ("port", "domain", "security"):
                if member in parsed["param"]:
                    self.assertEqual(layer.number("vsoa_position." + member), parsed["param"][member])
            if not asks:
                self.assertEqual(layer.number("vsoa_position.known"), text != b"{}")


class Streams(Case):
    calls = [packet(RPC, b"/call/%d" % n, b"[%d]" % n, seqno=n) for n in range(1, 13)]

    def test_packets_may_be_cut_and_joined_anywhere(self):
        login = packet(0, param=b'{"passwd":"123456"}')
        stream = login + b"".join(self.calls)
        sizes, frames = (4, 19, 20, 21, 50, 100, 1400), []
        for size, port in zip(sizes, PORTS):
            connection = Connection((CLIENT[0], port))
            for at in range(0, len(stream), size):
                connection.client(stream[at:at + size])
            frames += connection.close()
        self.assertEqual(self.seqnos(frames), list(range(13)) * len(sizes))

    def test_the_largest_packet_comes_out_whole(self):
        data = os.urandom(262_144 - 24)
        stream = packet(RPC, b"/big", data=data) + self.calls[1]
        connection = Connection()
        for at in range(0, len(stream), 16_000):
            connection.client(stream[at:at + 16_000])
        big, small = self.dissect(connection.close())
        self.assertEqual(big.bytes("vsoa.data"), data)
        self.assertEqual(small.number("vsoa.seqno"), 2)

    def test_ports_can_be_named_where_bytes_are_not_enough(self):
        connection = Connection(server=("10.0.0.2", 13002))
        for at in range(0, len(self.calls[0])):
            connection.client(self.calls[0][at:at + 1])
        frames = connection.close()
        self.assertEqual(self.seqnos(frames), [])
        self.assertEqual(self.seqnos(frames, "-o", "vsoa.ports:13000-13010"), [1])
        self.assertEqual(self.seqnos(frames, "-d", "tcp.port==13002,vsoa"), [1])

    def test_connections_on_any_port_are_known_by_what_they_hold(self):
        ports, frames = (3001, 3002, 9000, 40123), []
        for port in ports:
            connection = Connection(server=("10.0.0.2", port))
            for call in self.calls:
                connection.client(call)
            frames += connection.close()
        self.assertEqual(self.seqnos(frames), list(range(1, 13)) * len(ports))

    def test_other_protocols_are_left_alone(self):
        connection = Connection()
        connection.client(b"GET / HTTP/1.1\r\n\r\n")
        connection.server(b"HTTP/1.1 200 OK\r\nContent-Length: 2000\r\n\r\n" + b"\x29" * 2000)
        others = [udp(CLIENT, ("10.0.0.2", 9999), data) for data in (b"\x29" * 40, b"\x29\x01", b'{"name":"a","age":3}', b"{}", b"hello")]
        frames = connection.close() + others
        self.assertEqual(self.dissect(frames), [])
        self.assertEqual(self.dissect(frames, protocol="vsoa_position"), [])


class Malformed(Case):
    def test_what_is_wrong_has_a_name(self):
        long = bytearray(packet(RPC, b"/x"))
        long[16:20] = b"\xff\xff\xff\xff"
        after_a_good_one = [
            ("too_long", bytes(long)), ("bad_magic", b"HTTP/1.1 400 Bad Request\r\n\r\n"), ("unknown_type", packet(9, b"/x")),
            ("reserved_flags", packet(RPC, b"/x", flags=0x10)), ("bad_url", packet(RPC, b"x")),
            ("refused", packet(RPC, flags=1, status=3)), (None, packet(RPC, b"/x"))]
        datagrams = [("truncated", packet(DATAGRAM, b"/x", b"1234")[:22]), ("truncated", b"\x29\x05"),
                     ("too_long", packet(DATAGRAM, b"/x", pad=0)[:16] + b"\0\1\0\0")]
        frames = []
        for (_, data), port in zip(after_a_good_one, PORTS):
            connection = Connection((CLIENT[0], port))
            connection.client(packet(0))
            connection.client(data)
            frames += connection.frames
        frames += [udp(CLIENT, SERVER, data) for _, data in datagrams]
        layers = self.dissect(frames)
        told = [{name for name in layer.fields if name in self.names} for layer in layers]
        expected = [names for name, _ in after_a_good_one for names in (set(), {"vsoa." + name} if name else set())]
        self.assertEqual(told, expected + [{"vsoa." + name} for name, _ in datagrams])

    names = {"vsoa." + name for name in ("too_long", "bad_magic", "unknown_type", "reserved_flags", "bad_url", "refused", "truncated")}

    def test_a_position_text_that_is_none_is_told(self):
        texts = (b"[]", b"{", b'{"addr":"1.2.3.4"}', b'{"addr":"1.2.3.4","port":70000}', b"\xff\xfe")
        layers = self.dissect([udp(CLIENT, POSITION, text) for text in texts], protocol="vsoa_position")
        self.assertEqual(["vsoa_position.malformed" in layer for layer in layers], [True] * len(texts))

    def test_no_change_of_bytes_is_an_error_of_the_dissector(self):
        seed = random.randrange(1 << 32)
        print("seed", seed)
        chance = random.Random(seed)
        frames = []
        for _ in range(20):
            for name in ("rpc", "handshake-pass", "quick", "qos", "position-node"):
                for frame in golden(name)[0] + [udp(CLIENT, POSITION, bytes.fromhex(v["hex"])) for v in VECTORS
                                                if v["vector"] == name and v["kind"] == "raw"]:
                    changed = bytearray(frame)
                    for _ in range(chance.choice((0, 1, 3))):
                        changed[chance.randrange(34, len(changed))] = chance.randrange(256)
                    frames.append(bytes(changed))
        self.dissect(frames)
        chance.shuffle(frames)
        self.dissect(frames, snap=90)


if __name__ == "__main__":
    if not shutil.which("tshark"):
        print("skipped: tshark is not installed (.ci/packages test)")
        sys.exit(77)
    main([Packets, Streams, Malformed])
