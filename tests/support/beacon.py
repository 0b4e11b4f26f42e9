#!/usr/bin/env python3
"""The packets of discovery/beacon, written from the text in its packet.hpp and not from its code.

    beacon.py answer SECRET_FILE INTERFACE PORT       answers queries like a controller at PORT, until it is ended

Prints "ready" once it hears the groups.
"""
import hashlib
import hmac
import os
import pathlib
import select
import socket
import struct
import sys

PORT, GROUP4, GROUP6 = 3902, "239.255.71.66", "ff02::4754:42"
QUERY, ANSWER, HELLO = 1, 2, 3
NONE = bytes(16)
MAPPED = bytes(10) + b"\xff\xff"


def key_of(secret):
    """HKDF-SHA256 without salt, one block (RFC 5869)."""
    extracted = hmac.digest(bytes(32), secret.rstrip(b"\r\n"), "sha256")
    return hmac.digest(extracted, b"gantry/1 discovery beacon\x01", "sha256")


def seal(key, kind, sender=b"stranger", nonce=NONE, cookie=NONE, address=NONE, port=0, name=b""):
    head = b"GTB1" + struct.pack(">BBH", kind, len(name), port) + sender + nonce + cookie + address + name.ljust(64, b"\0")
    return head + hmac.digest(key, head, "sha256")


def read(key, packet):
    """The fields, or None if it is not signed with this key."""
    if len(packet) != 160 or packet[:4] != b"GTB1" or hmac.digest(key, packet[:128], "sha256") != packet[128:]:
        return None
    kind, length, port = struct.unpack(">BBH", packet[4:8])
    return {"kind": kind, "port": port, "sender": packet[8:16], "nonce": packet[16:32], "cookie": packet[32:48],
            "address": packet[48:64], "name": packet[64:64 + length]}


def hearing(interface):
    """Sockets that hear the groups on an interface, with the address from which to answer in the packet's form."""
    index = socket.if_nametoindex(interface)
    four = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    four.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    four.bind(("", PORT))
    four.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP4) + struct.pack("@ii", 0, index))
    six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    six.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    six.bind(("::", PORT))
    six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, socket.inet_pton(socket.AF_INET6, GROUP6) +
                   struct.pack("@I", index))
    return four, six


def asking(interface):
    """A socket that sends to the IPv4 group over an interface, with its address."""
    asker = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    asker.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, bytes(8) + struct.pack("@i", socket.if_nametoindex(interface)))
    asker.settimeout(2)
    return asker


def towards(where):
    """Our IPv4 address towards who asks."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
        route.connect(where)
        return socket.inet_aton(route.getsockname()[0])


def global_six(interface):
    """The interface's first IPv6 address that can be dialled from elsewhere, in a list."""
    rows = [line.split() for line in pathlib.Path("/proc/net/if_inet6").read_text().splitlines()]
    return [bytes.fromhex(row[0]) for row in rows if row[5] == interface and row[3] == "00"][:1]


def main():
    if len(sys.argv) != 5 or sys.argv[1] != "answer":
        sys.exit(__doc__)
    key, interface, port = key_of(pathlib.Path(sys.argv[2]).read_bytes()), sys.argv[3], int(sys.argv[4])
    sender = hashlib.sha256(os.urandom(8)).digest()[:8]
    sockets = hearing(interface)
    print("ready", flush=True)
    while True:
        for one in select.select(sockets, [], [])[0]:
            packet, where = one.recvfrom(2048)
            query = read(key, packet)
            if not query or query["kind"] != QUERY:
                continue
            for mine in global_six(interface) if one.family == socket.AF_INET6 else [MAPPED + towards(where)]:
                one.sendto(seal(key, ANSWER, sender, query["nonce"], os.urandom(16), mine, port), where)


if __name__ == "__main__":
    main()
