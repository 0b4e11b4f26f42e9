#!/usr/bin/env python3
"""Attacks a server built with libvsoa and looks at what others notice of it.

    tests/robust/robust.py ATTACK [--long]

Attacks: see attack.c and tls_attack.c; those that begin with tls are on a server that speaks TLS. The server and a healthy client, which calls one after the other, run on one core, the attacker
on another. While the attack goes on the client loses nothing, another one can log in, and the server's memory stays
flat; afterwards nobody is left. --long: a full-sized attack, and the client's p99 is at most doubled against that of
the quiet time before; without it the figures are only printed. GANTRY_BUILD names the build, default build/release.
"""
import contextlib
import json
import os
import pathlib
import select
import socket
import ssl
import statistics
import struct
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
BUILD = pathlib.Path(os.environ.get("GANTRY_BUILD", HERE.parents[1] / "build/release")).resolve()
CORES = sorted(os.sched_getaffinity(0))
DEADLINE_S = 60
# (small, long) counts of what the attacker does.
COUNTS = {"churn": (2000, 100_000), "silent": (600, 10_000), "slow": (100, 1000), "half": (150, 1000),
          "lengths": (300, 20_000), "subscribe": (9000, 100_000), "deaf": (32, 300), "forged": (20_000, 2_000_000),
          "tls-silent": (300, 10_000), "tls-garbage": (300, 10_000), "tls-half": (300, 5000), "tls-flood": (300, 5000),
          "tls-rekey": (2000, 200_000), "tls-deaf": (32, 300)}
GROWTH_KIB = 4096  # of the server's memory between an attack under way and its end
# What the clients that an attacker keeps may cost: their halves of packets, their answers that nobody reads.
HELD_KIB = {"half": 100 * 200, "deaf": 16 * 1024, "tls-deaf": 16 * 1024}
P99_MOST = 2.0


class Failed(Exception):
    pass


def demand(good, what):
    if not good:
        raise Failed(what)


class Program:
    """One of ours on one core; ends with its input."""

    def __init__(self, core, name, *words):
        self.name = name
        self.process = subprocess.Popen([BUILD / "tests" / name, *map(str, words)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True,
                                        preexec_fn=lambda: os.sched_setaffinity(0, {core}))

    def line(self, within_s=DEADLINE_S):
        demand(select.select([self.process.stdout], [], [], within_s)[0], f"{self.name} said nothing for {within_s} s")
        line = self.process.stdout.readline().strip()
        demand(line, f"{self.name} ended with {self.process.poll()}")
        return line

    def said(self):
        return bool(select.select([self.process.stdout], [], [], 0)[0])

    def resident_kib(self):
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise Failed(f"{self.name} has ended")

    def end(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        return self.process.returncode


@contextlib.contextmanager
def running(*words):
    program = Program(*words)
    try:
        yield program
    finally:
        program.end()


class Peer:
    """A well-behaved client without the library. authority: of a server that speaks TLS."""

    def __init__(self, port, authority=None):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)
        if authority:
            context = ssl.create_default_context(cafile=authority)
            self.socket = context.wrap_socket(self.socket, server_hostname="127.0.0.1")
        self.ask(0)

    def ask(self, kind, url=b""):
        length = 20 + len(url)
        pad = -length % 4
        self.socket.sendall(struct.pack(">BBBBIHHII", 0x29, kind, pad << 6, 0, 1, 0, len(url), 0, 0) + url + bytes(pad))
        header = self.get(20)
        _, got, flags, status, _, _, url_len, param_len, data_len = struct.unpack(">BBBBIHHII", header)
        body = self.get(url_len + param_len + data_len + (flags >> 6))
        demand(got == kind and status == 0, f"packet {kind} was answered with {got}, status {status}")
        return body[url_len:url_len + param_len]

    def get(self, length):
        out = b""
        while len(out) < length:
            part = self.socket.recv(length - len(out))
            demand(part, "the server ended the connection")
            out += part
        return out

    def stats(self):
        return json.loads(self.ask(1, b"/stats"))


def calls(port, ms, authority):
    """What a healthy client measures in so many milliseconds."""
    client = Program(CORES[0], "bench_vsoa_rpc", "client", "own", port, 1, 50, ms, *([authority] if authority else []))
    try:
        result = json.loads(client.line())
    finally:
        code = client.end()
    demand(code == 0, f"the healthy client ended with {code}")
    return result


def newcomer(port, authority):
    """Another client logs in. A handshake takes some turns and may have to give way to newer ones: it tries again."""
    until = time.monotonic() + DEADLINE_S
    while True:
        try:
            return Peer(port, authority).stats()
        except (OSError, Failed) as why:
            demand(authority and time.monotonic() < until, f"nobody can log in: {why}")


def p99(rounds):
    return statistics.median(r["p99"] for r in rounds)


def attack(kind, server, port, count, long, authority):
    window_ms = 500 if long else 300
    quiet = [calls(port, window_ms, authority) for _ in range(7 if long else 3)]
    watcher = Peer(port, authority)
    before = watcher.stats()
    loud, slowest = [], 0
    with running(CORES[-1], "robust_attack", kind, port, count) as attacker:
        demand(attacker.line() == "under way", f"{kind} begins")
        memory = server.resident_kib()
        began = time.monotonic()
        while len(loud) < len(quiet) or not attacker.said():
            demand(time.monotonic() - began < 10 * DEADLINE_S, f"{kind} ends")
            loud.append(calls(port, window_ms, authority))
            dialled = time.monotonic()
            newcomer(port, authority)
            slowest = max(slowest, time.monotonic() - dialled)
            watcher.stats()
        demand(attacker.line() == "done", f"{kind} ends")
        grown = server.resident_kib() - memory
        attacker.process.stdin.close()
        steps = int(attacker.line())
        took = time.monotonic() - began
    until = time.monotonic() + DEADLINE_S
    while watcher.stats()["clients"] != 1:
        demand(time.monotonic() < until, f"after the attack {watcher.stats()['clients']} clients are left, not 1")
    after = watcher.stats()
    demand(after["quick"] == before["quick"], f"{after['quick']} forged datagrams were taken for a client's")
    most = GROWTH_KIB + HELD_KIB.get(kind, 0)
    demand(grown <= most, f"the server has grown by {grown} KiB, at most {most} are flat")
    ratio = p99(loud) / p99(quiet)
    print(f"{kind:10} {steps:8} in {took:5.1f} s: p50 {statistics.median(r['p50'] for r in quiet):.1f} -> "
          f"{statistics.median(r['p50'] for r in loud):.1f} us, p99 {p99(quiet):.1f} -> {p99(loud):.1f} us "
          f"({ratio:.2f} times), worst p99 {max(r['p99'] for r in loud):.1f} us, slowest login {slowest:.2f} s, "
          f"memory {memory} KiB {grown:+} KiB")
    if long:
        demand(ratio <= P99_MOST, f"p99 of a healthy client is {ratio:.2f} times the quiet one, at most {P99_MOST}")


@contextlib.contextmanager
def certificates(wanted):
    """Of tests/support/certificates: a server's certificate and key, and their authority; nothing when not wanted."""
    if not wanted:
        yield [], None
        return
    with tempfile.TemporaryDirectory(prefix="gantry-robust-") as folder:
        subprocess.run([HERE.parent / "support/certificates", folder], check=True)
        yield [f"{folder}/server.pem", f"{folder}/server.key"], f"{folder}/ca.pem"


def main():
    words = [word for word in sys.argv[1:] if word != "--long"]
    long = "--long" in sys.argv
    if len(words) != 1 or words[0] not in COUNTS:
        sys.exit(__doc__)
    with certificates(words[0].startswith("tls-")) as (own, authority), running(CORES[0], "robust_server", *own) as server:
        port = int(server.line().split()[1])
        try:
            attack(words[0], server, port, COUNTS[words[0]][long], long, authority)
        except Failed as why:
            sys.exit(f"robust {words[0]}: {why}")
        demand(server.end() == 0, "the server ends when it is told")


main()
