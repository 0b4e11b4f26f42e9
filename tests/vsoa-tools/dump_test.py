#!/usr/bin/env python3
"""vsoa dump on captures that the test writes, and on the loopback device; dump_test.py [PART OF A NAME]."""
import json
import os
import pathlib
import random
import tempfile
import unittest

import captures
from captures import CLIENT, SERVER, Connection, packet, udp, udp_fragments, write_pcap, write_pcapng
from tool import VECTORS, documents, main, run

RPC, PUBLISH, DATAGRAM = 1, 4, 5
POSITION = ("10.0.0.3", 54)


class Case(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.path = pathlib.Path(self.folder.name) / "capture"
        self.addCleanup(self.folder.cleanup)

    def dump(self, frames, *words, status=0, write=write_pcap, **options):
        """What vsoa dump says of the frames: documents."""
        write(self.path, frames, **options)
        done = run("dump", self.path, "--json", "--show-passwords", *words)
        self.assertEqual(done.returncode, status, done.stderr)
        return documents(done.stdout)

    def urls(self, frames, *words, **options):
        return [d.get("url", d["type"]) for d in self.dump(frames, *words, **options)]


def calls(count, first=1):
    return [packet(RPC, b"/call/%d" % number, b"[%d]" % number, seqno=number) for number in range(first, first + count)]


class Packets(Case):
    def test_every_golden_packet_is_decoded_as_recorded(self):
        for name in sorted({v["vector"] for v in VECTORS}):
            vectors = [v for v in VECTORS if v["vector"] == name and v["kind"] == "vsoa"]
            connection = Connection()
            for v in vectors:
                side = 0 if v["dir"] == "C>S" else 1
                if v["transport"] == "tcp":
                    connection.add(side, captures.ACK, bytes.fromhex(v["hex"]))
                else:
                    ends = (CLIENT, SERVER) if side == 0 else (SERVER, CLIENT)
                    connection.frames.append(udp(*ends, bytes.fromhex(v["hex"])))
            decoded = self.dump(connection.close())
            self.assertEqual(len(decoded), len(vectors), name)
            for v, d in zip(vectors, decoded):
                self.check(v, d)

    def check(self, v, d):
        where = f"{v['vector']} {v['n']}"
        for field, name in (("type", "type_number"), ("flags", "flags"), ("pad", "pad"), ("status", "status"),
                            ("seqno", "seqno"), ("tunid", "tunid"), ("url", "url"), ("transport", "transport")):
            self.assertEqual(d[name], v[field], f"{where}: {field}")
        self.assertEqual(d.get("data_hex", ""), v["data"], where)
        self.assertEqual(d["from"], "%s:%d" % (CLIENT if v["dir"] == "C>S" else SERVER), where)
        if "param_text" in d:
            self.assertEqual(d["param_text"], v["param"], where)
        else:
            self.assertEqual(d.get("param"), json.loads(v["param"]) if v["param"] else None, where)

    def test_questions_to_position_servers_and_answers_are_told_apart(self):
        for name in ("position-node", "position-go", "position-py"):
            raw = [(v["dir"] == "C>S", bytes.fromhex(v["hex"])) for v in VECTORS if v["vector"] == name]
            for port in (54, 39000):  # an unknown port is known by what is asked
                position = (POSITION[0], port)
                decoded = self.dump([udp(*((CLIENT, position) if asks else (position, CLIENT)), text) for asks, text in raw])
                self.assertEqual([d["type"] for d in decoded],
                                 ["position-query" if asks else "position-unknown" if text == b"{}" else "position-answer"
                                  for asks, text in raw], name)

    def test_other_protocols_say_nothing(self):
        connection = Connection()
        connection.client(b"GET / HTTP/1.1\r\n\r\n")
        connection.server(b"HTTP/1.1 200 OK\r\n\r\n" + b"\x29" * 3000)
        other = [udp(CLIENT, SERVER, data) for data in (b"", b"\x29", b"{}", b'{"name": 1}', b'{"name":"a","age":3}', b"{", b"\0" * 60)]
        self.assertEqual(self.dump(connection.close() + other), [])

    def test_passwords_are_hidden_unless_asked_for(self):
        connection = Connection()
        connection.client(packet(0, param=b'{"passwd":"geheim"}'))
        connection.client(packet(0, param=b'{"passwd":"geheim'))  # not even JSON
        write_pcap(self.path, connection.close())
        for words in ([], ["--json"], ["--hex"]):
            self.assertNotIn("geheim", run("dump", self.path, *words).stdout)
        self.assertIn("geheim", run("dump", self.path, "--show-passwords").stdout)

    def test_text_says_who_who_what_and_which_call_a_reply_answers(self):
        connection = Connection()
        connection.client(packet(RPC, b"/gain", b"2", b"\x01\x02", flags=4, seqno=9))
        connection.server(packet(RPC, flags=1, status=5, seqno=9))
        write_pcap(self.path, connection.close())
        first, second = run("dump", self.path).stdout.splitlines()
        self.assertEqual(first, "22:13:20.003000Z 10.0.0.1:40000 > 10.0.0.2:3002 tcp rpc SET #9 /gain 2 [2 bytes: 0102]")
        self.assertEqual(second, "22:13:20.004000Z 10.0.0.2:3002 > 10.0.0.1:40000 tcp rpc reply #9 (/gain): no permissions")


class Streams(Case):
    def test_packets_may_be_cut_and_joined_anywhere(self):
        stream = b"".join(calls(20))
        for size in (1, 3, 7, 20, 100, len(stream)):
            connection = Connection()
            for at in range(0, len(stream), size):
                connection.client(stream[at:at + size])
            self.assertEqual(len(self.dump(connection.close())), 20, size)

    def test_segments_out_of_order_and_sent_twice_change_nothing(self):
        connection = Connection()
        frames = [connection.client(p) for p in calls(30)]
        mixed = frames[:]
        seed = random.randrange(1 << 32)
        print("seed", seed)
        random.Random(seed).shuffle(mixed)
        decoded = self.urls(connection.frames[:3] + mixed + frames[5:20])
        self.assertEqual(decoded, [f"/call/{n}" for n in range(1, 31)])

    def test_numbers_that_run_over_change_nothing(self):
        connection = Connection()  # the server's begins 16 before
        for p in calls(5):
            connection.server(p)
        self.assertEqual(len(self.dump(connection.close())), 5)

    def test_after_a_loss_it_goes_on_with_the_next_whole_packet(self):
        for lost in range(1, 9):
            connection = Connection()
            stream = b"".join(calls(30))
            frames = [connection.client(stream[at:at + 50]) for at in range(0, len(stream), 50)]
            connection.acknowledge(1)
            kept = [f for f in connection.frames if f is not frames[lost]]
            decoded = self.dump(kept)
            troubles = [d for d in decoded if d["type"] == "trouble"]
            self.assertIn(("were not captured", 50), [(t["what"], t["bytes"]) for t in troubles])
            numbers = [d["seqno"] for d in decoded if d["type"] == "rpc"]
            # A packet is 28 to 36 bytes: at most three touch the 50 that are missing.
            self.assertGreaterEqual(len(numbers), 27)
            self.assertEqual((numbers[0], numbers[-1]), (1, 30))

    def test_an_acknowledgement_gives_up_what_was_not_captured(self):
        connection = Connection()
        frames = [connection.client(p) for p in calls(3)]
        connection.acknowledge(1)
        last = connection.client(calls(1, 4)[0])
        kept = [f for f in connection.frames if f is not frames[1] and f is not last] + [last]
        self.assertEqual(self.urls(kept, "-n", "3"), ["/call/1", "trouble", "/call/3", "/call/4"])

    def test_a_capture_that_begins_in_the_middle_is_read_from_the_next_packet(self):
        stream = packet(PUBLISH, b"/axis", b'{"roll": 1}') + b"".join(calls(3))
        connection = Connection()
        del connection.frames[:]
        connection.client(stream[13:])
        self.assertEqual(self.urls(connection.frames), ["/call/1", "/call/2", "/call/3"])

    def test_what_is_no_vsoa_on_a_named_port_is_told(self):
        connection = Connection()
        connection.client(calls(1)[0] + b"garbage" + calls(1, 2)[0])
        decoded = self.dump(connection.close(), "--port", "3002")
        self.assertEqual([d.get("url", d.get("bytes")) for d in decoded], ["/call/1", 7, "/call/2"])
        self.assertEqual(self.dump(connection.close(), "--port", "3003"), [])

    def test_a_header_that_announces_too_much_is_told(self):
        bad = bytearray(packet(RPC, b"/x"))
        bad[16:20] = b"\xff\xff\xff\xff"
        connection = Connection()
        connection.client(calls(1)[0] + bytes(bad) + calls(1, 2)[0])
        decoded = self.dump(connection.close())
        self.assertEqual([d["url"] for d in decoded if d["type"] == "rpc"], ["/call/1", "/call/2"])
        self.assertIn("announces more", decoded[1]["what"])

    def test_a_packet_that_never_ends_is_told_at_the_end(self):
        connection = Connection()
        connection.client(calls(1)[0] + packet(RPC, b"/x", b"y" * 100)[:60])
        decoded = self.dump(connection.close())
        self.assertEqual((decoded[1]["type"], decoded[1]["bytes"]), ("trouble", 60))

    def test_ports_that_are_used_again_are_a_new_connection(self):
        one, two = Connection(first=(5, 5)), Connection(first=(7_000_000, 9))
        one.client(calls(1)[0] + b"\x29")
        two.client(calls(1, 2)[0])
        decoded = self.dump(one.frames + two.frames)
        self.assertEqual([d["seqno"] for d in decoded if d["type"] == "rpc"], [1, 2])

    def test_the_largest_packet_in_small_segments(self):
        stream = packet(RPC, b"/big", data=os.urandom(262_144 - 24))
        connection = Connection()
        for at in range(0, len(stream), 1400):
            connection.client(stream[at:at + 1400])
        [decoded] = self.dump(connection.close())
        self.assertEqual(len(decoded["data_hex"]), 2 * (262_144 - 24))


class Frames(Case):
    quick = packet(DATAGRAM, b"/q", b"1")

    def test_link_layers_vlan_and_both_versions_of_ip(self):
        four = udp(CLIENT, SERVER, self.quick)[14:]
        six = udp(("fe80::1", 9), ("fe80::2", 10), self.quick)[14:]
        for link, prefix in ((captures.RAW, b""), (captures.NULL, b"\x02\0\0\0"), (captures.LINUX_SLL, b"\0" * 14 + b"\x08\0"),
                             (captures.LINUX_SLL2, b"\x08\0" + b"\0" * 18), (captures.ETHERNET, b"\0" * 12 + b"\x08\0")):
            self.assertEqual(self.urls([prefix + four], link=link), ["/q"], link)
        self.assertEqual(self.urls([captures.ethernet(four, vlan=5)]), ["/q"])
        [decoded] = self.dump([six], link=captures.RAW)
        self.assertEqual((decoded["from"], decoded["to"]), ("[fe80::1]:9", "[fe80::2]:10"))

    def test_pcapng_and_nanoseconds_and_standard_input(self):
        frame = udp(CLIENT, SERVER, self.quick)
        for write, options in ((write_pcapng, {}), (write_pcap, {"nanos": True})):
            [decoded] = self.dump([frame], write=write, **options)
            self.assertTrue(decoded["time"].startswith("2023-11-14T22:13:20.0000"))
        done = run("dump", "-", "--json", given=self.path.read_bytes())
        self.assertEqual(len(documents(done.stdout)), 1)

    def test_fragments_are_put_together_in_any_order(self):
        data = packet(DATAGRAM, b"/large", data=os.urandom(5000))
        frames = udp_fragments(CLIENT, SERVER, data, 1480)
        for order in (frames, frames[::-1], frames[:1] + frames):
            [decoded] = self.dump(order)
            self.assertEqual(len(decoded["data_hex"]), 10_000)
        self.assertEqual(self.dump(frames[1:]), [])
        many = [f for number in range(300) for f in udp_fragments(CLIENT, SERVER, data, 1480, number)[:2]]
        self.assertEqual(len(self.dump(many + frames)), 1)

    def test_what_was_cut_by_the_capture_is_told(self):
        connection = Connection()
        connection.client(packet(RPC, b"/x", b"y" * 400))
        connection.client(calls(1)[0])
        connection.acknowledge(1)
        self.assertEqual(self.urls(connection.close(), "--port", "3002", snap=200)[-1], "/call/1")
        [told] = self.dump([udp(CLIENT, SERVER, self.quick * 10)], "--port", "3002", snap=60)
        self.assertIn("not captured", told["what"])


class Damage(Case):
    def test_what_is_no_capture_is_told(self):
        for content, why in ((b"", "expected a capture"), (b"not a capture at all, really not", "expected a capture"),
                             (os.urandom(4000), "expected a capture")):
            self.path.write_bytes(content)
            done = run("dump", self.path)
            self.assertEqual((done.returncode, why in done.stderr), (65, True), done.stderr)
        self.assertEqual(run("dump", "/nowhere/at/all").returncode, 3)
        write_pcap(self.path, [b"x"], link=147)
        self.assertIn("link type", run("dump", self.path).stderr)

    def test_a_truncated_capture_is_shown_as_far_as_it_goes(self):
        write_pcap(self.path, [udp(CLIENT, SERVER, p) for p in calls(3)])
        self.path.write_bytes(self.path.read_bytes()[:-10])
        done = run("dump", self.path, "--json")
        self.assertEqual((done.returncode, len(documents(done.stdout))), (65, 2))
        self.assertIn("damaged from here on", done.stderr)

    def test_no_change_of_bytes_crashes_it(self):
        seed = random.randrange(1 << 32)
        print("seed", seed)
        chance = random.Random(seed)
        connection = Connection()
        for v in VECTORS:
            if v["transport"] == "tcp":
                connection.add(0 if v["dir"] == "C>S" else 1, captures.ACK, bytes.fromhex(v["hex"]))
            else:
                connection.frames.append(udp(CLIENT, SERVER, bytes.fromhex(v["hex"])))
        connection.frames += udp_fragments(CLIENT, SERVER, packet(DATAGRAM, b"/l", data=b"z" * 3000), 1000)
        for round_ in range(150):
            frames = []
            for frame in connection.close():
                changed = bytearray(frame)
                for _ in range(chance.choice((0, 0, 1, 3))):
                    changed[chance.randrange(len(changed))] = chance.randrange(256)
                frames.append(bytes(changed[:chance.randrange(len(changed) + 1)] if chance.random() < 0.05 else changed))
            chance.shuffle(frames)
            write_pcap(self.path, frames, snap=chance.choice((60, 262144)))
            content = bytearray(self.path.read_bytes())
            if round_ % 3 == 0:
                content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
                self.path.write_bytes(content)
            done = run("dump", self.path, "--json", *(["--port", "3002"] if round_ % 2 else []))
            self.assertIn(done.returncode, (0, 65), f"round {round_}: {done.stderr}")
            documents(done.stdout)


if __name__ == "__main__":
    main([Packets, Streams, Frames, Damage])
