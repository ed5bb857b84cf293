"""Frames that nobody but their rightful owner may send, and what sees which of them arrive.

`SEND` and `HEAR` are programs for a machine of the hub: plain Python, root, a raw socket. Each frame ends with a mark
of its own, so that whoever hears it knows which one came through.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address

MARK = b"hub-attack-"
_ROOM = b"Z" * 48  # for a mark inside a datagram: what lies behind one is cut off on the way
EVERYBODY = "ff:ff:ff:ff:ff:ff"
IP, ARP, IP6, TAG, OUTER_TAG = 0x0800, 0x0806, 0x86DD, 0x8100, 0x88A8

SEND = """
import json, socket, sys, time
card, frames = json.loads(sys.argv[1])
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
link.bind((card, 0))
for _ in range(3):
    for frame in frames:
        link.send(bytes.fromhex(frame))
        time.sleep(0.01)
    time.sleep(0.4)
"""

HEAR = """
import json, socket, sys, time
card, seconds = json.loads(sys.argv[1])
link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
link.bind((card, 0))
link.settimeout(0.2)
seen, end = set(), time.monotonic() + seconds
while time.monotonic() < end:
    try:
        frame, (_, _, kind, _, _) = link.recvfrom(65535)
    except TimeoutError:
        continue
    place = frame.find(b"hub-attack-")
    if kind != 4 and place >= 0:
        seen.add(frame[place + 11:].split(b".")[0].decode())
print(json.dumps(sorted(seen)))
"""


WATCH = """
import json, sys, time
address, seconds = json.loads(sys.argv[1])
seen, end = set(), time.monotonic() + seconds
while time.monotonic() < end:
    for line in open("/proc/net/arp").read().splitlines()[1:]:
        words = line.split()
        if words[0] == address:
            seen.add(words[3])
    time.sleep(0.02)
print(json.dumps(sorted(seen - {"00:00:00:00:00:00"})))
"""


@dataclass(frozen=True)
class Machine:
    """Who sends, or is impersonated."""

    mac: str
    address: IPv4Address


def harmless(me: Machine, near: Machine) -> dict[str, str]:
    """Frames that must arrive: each a guest's own, in hexadecimal by name."""
    return _marked(
        {
            "own-request": _frame(me.mac, EVERYBODY, ARP, _arp(1, me.mac, me.address, near.address)),
            "own-datagram": _frame(me.mac, EVERYBODY, IP, _datagram(me.address, 9999, 9999)),
        }
    )


def attacks(me: Machine, near: Machine, node: Machine) -> dict[str, str]:
    """Frames that must not arrive: another's address or hardware, or what a guest has no business with."""
    mac, address = me.mac, me.address
    claim = _arp(2, mac, near.address, near.address)
    return _marked(
        {
            "neighbours-address": _frame(mac, EVERYBODY, ARP, claim),
            "neighbours-address-asked": _frame(mac, EVERYBODY, ARP, _arp(1, mac, near.address, near.address)),
            "neighbours-hardware": _frame(near.mac, EVERYBODY, ARP, _arp(1, near.mac, near.address, node.address)),
            "neighbours-hardware-inside": _frame(mac, EVERYBODY, ARP, _arp(2, near.mac, address, address)),
            "gateways-address": _frame(mac, EVERYBODY, ARP, _arp(2, mac, node.address, near.address)),
            "gateways-hardware": _frame(node.mac, EVERYBODY, ARP, _arp(2, node.mac, node.address, near.address)),
            "probe-of-an-address": _frame(mac, EVERYBODY, ARP, _arp(1, mac, IPv4Address(0), near.address)),
            "datagram-of-a-neighbour": _frame(mac, EVERYBODY, IP, _datagram(near.address, 9999, 9999)),
            "datagram-of-a-neighbour-whole": _frame(near.mac, EVERYBODY, IP, _datagram(near.address, 9999, 9999)),
            "datagram-of-the-node": _frame(mac, EVERYBODY, IP, _datagram(node.address, 9999, 9999)),
            "datagram-of-nobody": _frame(mac, EVERYBODY, IP, _datagram(IPv4Address("203.0.113.9"), 9999, 9999)),
            "dhcp-offer": _frame(mac, EVERYBODY, IP, _datagram(address, 67, 68)),
            "dhcp-offer-odd-port": _frame(mac, EVERYBODY, IP, _datagram(address, 4011, 68)),
            "dhcp-discover": _frame(mac, EVERYBODY, IP, _datagram(IPv4Address(0), 68, 67)),
            "router-advertisement": _frame(mac, "33:33:00:00:00:01", IP6, _icmp6(134, b"\x40\0\0\x1e" + bytes(8))),
            "neighbour-advertisement": _frame(
                mac, "33:33:00:00:00:01", IP6, _icmp6(136, b"\xa0\0\0\0" + _LOCAL + b"\x02\x01" + _bytes(mac))
            ),
            "redirect": _frame(mac, "33:33:00:00:00:01", IP6, _icmp6(137, bytes(4) + _LOCAL + _LOCAL)),
            "dhcp6-advertise": _frame(mac, "33:33:00:01:00:02", IP6, _ip6(17, _udp(547, 546))),
            "tagged": _frame(mac, EVERYBODY, TAG, struct.pack("!2H", 7, ARP) + claim),
            "tagged-zero": _frame(mac, EVERYBODY, TAG, struct.pack("!2H", 0, ARP) + claim),
            "tagged-datagram": _frame(
                mac, EVERYBODY, TAG, struct.pack("!2H", 7, IP) + _datagram(near.address, 9999, 9999)
            ),
            "tagged-twice": _frame(mac, EVERYBODY, OUTER_TAG, struct.pack("!4H", 7, TAG, 8, ARP) + claim),
            "spanning-tree": _frame(mac, "01:80:c2:00:00:00", 38, b"\x42\x42\x03" + bytes(35)),
            "lldp": _frame(mac, EVERYBODY, 0x88CC, bytes(20)),
            "reverse-arp": _frame(mac, EVERYBODY, 0x8035, _arp(3, mac, address, address)),
            "pppoe-offer": _frame(mac, EVERYBODY, 0x8863, bytes(20)),
            "unknown-kind": _frame(mac, EVERYBODY, 0x88B5, bytes(20)),
        }
    )


def learned(neighbour: Machine) -> list[str]:
    """Frames that no bridge forwards and that teach it all the same where a hardware address is."""
    groups = (f"01:80:c2:00:00:{last:02x}" for last in (0x01, 0x02, 0x03, 0x0E))
    return [_frame(neighbour.mac, group, 0x88CC, bytes(46)).hex() for group in groups]


_LOCAL = bytes.fromhex("fe80000000000000000000000000beef")


def _marked(frames: Mapping[str, bytes]) -> dict[str, str]:
    found = {}
    for name, frame in frames.items():
        mark = MARK + name.encode() + b"."
        whole = frame.replace(_ROOM, mark.ljust(len(_ROOM))) if _ROOM in frame else frame.ljust(60, b"\0") + mark
        found[name] = whole.hex()
    return found


def _bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def _frame(source: str, destination: str, kind: int, content: bytes) -> bytes:
    return _bytes(destination) + _bytes(source) + struct.pack("!H", kind) + content


def _arp(operation: int, mac: str, address: IPv4Address, about: IPv4Address) -> bytes:
    head = struct.pack("!HHBBH", 1, IP, 6, 4, operation)
    return head + _bytes(mac) + address.packed + bytes(6) + about.packed


def _udp(sport: int, dport: int) -> bytes:
    return struct.pack("!4H", sport, dport, 8 + len(_ROOM), 0) + _ROOM


def _datagram(source: IPv4Address, sport: int, dport: int) -> bytes:
    content = _udp(sport, dport)
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(content), 1, 0, 64, 17, 0) + source.packed + b"\xff" * 4
    words = struct.unpack("!10H", head)
    total = sum(words)
    total = (total & 0xFFFF) + (total >> 16)
    total = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return head[:10] + struct.pack("!H", total) + head[12:] + content


def _ip6(kind: int, content: bytes) -> bytes:
    everybody = bytes.fromhex("ff020000000000000000000000000001")
    return struct.pack("!IHBB", 0x60000000, len(content), kind, 255) + _LOCAL + everybody + content


def _icmp6(kind: int, content: bytes) -> bytes:
    return _ip6(58, struct.pack("!BBH", kind, 0, 0) + content + _ROOM)


def argument(*values: object) -> str:
    """The one argument of a program, quoted for a shell."""
    return "'" + json.dumps(values) + "'"
