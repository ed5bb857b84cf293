"""What is plugged into a bridge of the hub and is no guest of it is by itself there, whoever it says it is."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address

import pytest
from aihub.model.resolved import Hub

from tests.attacks import frames
from tests.attacks.frames import Machine
from tests.lab.cli import Cli

CONNECT = """
import socket, sys
address, port = sys.argv[1], int(sys.argv[2])
try:
    socket.create_connection((address, port), 2).close()
    print("open")
except OSError:
    print("silent")
"""
OWN = ("10.20.10.77", "10.20.10.78")


class Strangers:
    """Two foreign machines on the bridge of zone infra, each a network namespace."""

    def __init__(self, netns: str) -> None:
        self.lab = netns
        self.names = [f"{netns}-stranger{number}" for number in (0, 1)]

    def at(self, number: int) -> str:
        """What Proxmox would call the port of that machine."""
        return f"veth90{number}i0"

    def make(self) -> None:
        for number, (name, address) in enumerate(zip(self.names, OWN, strict=True)):
            _ip("netns", "add", name)
            self._lab("link", "add", self.at(number), "type", "veth", "peer", "name", "eth0", "netns", name)
            self._lab("link", "set", self.at(number), "master", "hubinfra", "up")
            _ip("-n", name, "link", "set", "eth0", "up")
            _ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")

    def remove(self) -> None:
        for number, name in enumerate(self.names):
            subprocess.run([*self._enter, "ip", "link", "del", self.at(number)], check=False, capture_output=True)
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def become(self, number: int, mac: str, address: str) -> None:
        """That machine has somebody's hardware and address."""
        name = self.names[number]
        _ip("-n", name, "link", "set", "eth0", "down")
        _ip("-n", name, "link", "set", "eth0", "address", mac)
        _ip("-n", name, "address", "flush", "dev", "eth0")
        _ip("-n", name, "address", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", name, "link", "set", "eth0", "up")

    def reaches(self, number: int, address: str, port: int) -> str:
        """Whether a port answers that machine: open or silent."""
        return self.run(number, CONNECT, address, str(port))

    def run(self, number: int, program: str, *arguments: str) -> str:
        """What a program says on that machine."""
        command = ["ip", "netns", "exec", self.names[number], "python3", "-c", program, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    @property
    def _enter(self) -> list[str]:
        return ["nsenter", f"--net=/run/netns/{self.lab}"]

    def _lab(self, *words: str) -> None:
        subprocess.run([*self._enter, "ip", *words], check=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@pytest.fixture
def strangers(hub: Cli) -> Iterator[Strangers]:
    found = Strangers(hub.world()["netns"])
    try:
        found.make()
        yield found
    finally:
        found.remove()


def test_a_stranger_on_our_bridge_reaches_nobody_of_ours(hub: Cli, resolved: Hub, strangers: Strangers) -> None:
    """Neither node nor guest, as itself or as a guest; another stranger is the control. The plan names both."""
    gateway, guest = str(resolved.gateway("infra")), str(resolved.guests["security"].address)
    first = Machine("02:00:00:00:00:08", IPv4Address(OWN[0]))
    strangers.become(0, first.mac, OWN[0])
    own = frames.harmless(first, Machine("02:00:00:00:00:09", IPv4Address(OWN[1])))
    with ThreadPoolExecutor(1) as pool:
        listening = pool.submit(strangers.run, 1, frames.HEAR, json.dumps(["eth0", 4]))
        strangers.run(0, frames.SEND, json.dumps(["eth0", list(own.values())]))
        assert "own-request" in json.loads(listening.result()), "strangers are not heard: silence proves nothing"
    assert strangers.reaches(0, gateway, 53) == "silent"
    assert hub.on("security", f"ping -c 1 -W 2 {gateway} >/dev/null && echo there") == "there"

    places = f"bridge fdb show br hubinfra | grep -i '^{resolved.guests['security'].mac} '"
    strangers.become(0, resolved.guests["security"].mac, guest)
    assert strangers.reaches(0, gateway, 53) == "silent"
    assert "veth900i0" not in hub.on("node", places)
    stranger = Machine("02:00:00:00:00:09", IPv4Address(OWN[1]))
    strangers.become(1, stranger.mac, OWN[1])
    sent = frames.harmless(stranger, Machine(resolved.guests["security"].mac, resolved.guests["security"].address))
    with ThreadPoolExecutor(1) as pool:
        listening = pool.submit(hub.on, "security", f"python3 - {frames.argument('eth0', 4)}", frames.HEAR)
        strangers.run(1, frames.SEND, json.dumps(["eth0", list(sent.values())]))
        assert json.loads(listening.result()) == []

    code, plan = hub.plan()
    assert (code, plan["changes"]) == (0, [])
    assert [one for one in plan["warnings"] if "is no declared guest's" in one and "veth900i0 on hubinfra" in one]
