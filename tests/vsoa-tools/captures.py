"""Writes captures: frames out of TCP connections and datagrams, in pcap files."""
import ipaddress
import struct

ETHERNET, RAW, LINUX_SLL, LINUX_SLL2, NULL = 1, 101, 113, 276, 0
FIN, SYN, RST, ACK = 1, 2, 4, 16
CLIENT, SERVER = ("10.0.0.1", 40000), ("10.0.0.2", 3002)


def write_pcap(path, frames, link=ETHERNET, snap=262144, nanos=False):
    """frames: bytes, or (bytes, length on the wire)."""
    with open(path, "wb") as out:
        out.write(struct.pack("<IHHiIII", 0xa1b23c4d if nanos else 0xa1b2c3d4, 2, 4, 0, 0, snap, link))
        for number, frame in enumerate(frames):
            frame, length = frame if isinstance(frame, tuple) else (frame, len(frame))
            frame = frame[:snap]
            out.write(struct.pack("<IIII", 1_700_000_000, number * 1000, len(frame), length) + frame)
    return path


def write_pcapng(path, frames, link=ETHERNET):
    def block(kind, body):
        length = 12 + len(body)
        return struct.pack("<II", kind, length) + body + struct.pack("<I", length)

    with open(path, "wb") as out:
        out.write(block(0x0a0d0d0a, struct.pack("<IHHq", 0x1a2b3c4d, 1, 0, -1)))
        out.write(block(1, struct.pack("<HHI", link, 0, 0)))
        for number, frame in enumerate(frames):
            when = 1_700_000_000_000_000 + number * 1000
            body = struct.pack("<IIIII", 0, when >> 32, when & 0xffffffff, len(frame), len(frame)) + frame
            out.write(block(6, body + b"\0" * (-len(frame) % 4)))
    return path


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def ip(source, to, protocol, body, piece=0, number=0):
    """An IP packet. piece: the fragment field of IPv4."""
    one, two = ipaddress.ip_address(source), ipaddress.ip_address(to)
    if one.version == 6:
        return struct.pack(">IHBB", 6 << 28, len(body), protocol, 64) + one.packed + two.packed + body
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(body), number, piece, 64, protocol, 0) + one.packed + two.packed
    return header[:10] + struct.pack(">H", checksum(header)) + header[12:] + body


def ethernet(packet, vlan=None):
    kind = b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\x00"
    tag = b"" if vlan is None else b"\x81\x00" + struct.pack(">H", vlan)
    return b"\x02" * 6 + b"\x04" * 6 + tag + kind + packet


def udp_body(source, to, data):
    return struct.pack(">HHHH", source[1], to[1], 8 + len(data), 0) + data


def udp(source, to, data):
    return ethernet(ip(source[0], to[0], 17, udp_body(source, to, data)))


def udp_fragments(source, to, data, size, number=7):
    """The frames of one datagram in pieces of size bytes, a multiple of 8."""
    body = udp_body(source, to, data)
    pieces = [body[at:at + size] for at in range(0, len(body), size)]
    return [ethernet(ip(source[0], to[0], 17, piece, (at * size // 8) | (0x2000 if at + 1 < len(pieces) else 0), number))
            for at, piece in enumerate(pieces)]


class Connection:
    """Frames of one TCP connection, in the order of the calls; `frames` may be changed afterwards."""

    def __init__(self, client=CLIENT, server=SERVER, first=(1000, 0xfffffff0)):
        self.ends = (client, server)
        self.next = list(first)  # the server's number runs over soon
        self.frames = []
        self.add(0, SYN)
        self.add(1, SYN | ACK)
        self.add(0, ACK)

    def add(self, side, flags, data=b""):
        source, to = self.ends[side], self.ends[1 - side]
        acknowledged = self.next[1 - side] if flags & ACK else 0
        header = struct.pack(">HHIIBBHHH", source[1], to[1], self.next[side] & 0xffffffff, acknowledged & 0xffffffff,
                             5 << 4, flags, 65535, 0, 0)
        self.next[side] += len(data) + (1 if flags & (SYN | FIN) else 0)
        frame = ethernet(ip(source[0], to[0], 6, header + data))
        self.frames.append(frame)
        return frame

    def client(self, data):
        return self.add(0, ACK, data)

    def server(self, data):
        return self.add(1, ACK, data)

    def acknowledge(self, side):
        return self.add(side, ACK)

    def close(self):
        self.add(0, FIN | ACK)
        self.add(1, FIN | ACK)
        self.add(0, ACK)
        return self.frames


def packet(kind, url=b"", param=b"", data=b"", flags=0, status=0, seqno=0, tunid=0, pad=None):
    """A VSOA packet."""
    length = 20 + len(url) + len(param) + len(data)
    pad = -length % 4 if pad is None else pad
    return struct.pack(">BBBBIHHII", 0x29, kind, flags | pad << 6, status, seqno, tunid, len(url), len(param),
                       len(data)) + url + param + data + b"\0" * pad
