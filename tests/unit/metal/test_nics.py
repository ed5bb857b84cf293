"""What is read of the node's network cards, by the shell that reads it there."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

from aihub.names import Layout
from metal.actual import parse, script
from metal.desired import Card
from metal.hardware import Nic

from tests.unit.metal.metal_nodes import WANTED, converged, printed

TOOLS = """
plain() { cat; }
ip() { case "$5" in
 enp5s0) echo '2: enp5s0: <UP> mtu 1500 master bond0 link/ether aa:00:00:00:00:ff brd f permaddr aa:00:00:00:00:01' ;;
 *) echo "3: $5: <UP> mtu 1500 link/ether AA:00:00:00:00:02 brd ff:ff:ff:ff:ff:ff" ;;
esac; }
udevadm() { case "$3 $6" in
 *SLOT*enp5s0) echo enp5s0 ;;
 *ONBOARD*eno1) echo eno1 ;;
 *PATH*) echo enp9s0 ;;
esac; }
"""


def test_cards_are_known_by_their_own_macs_and_by_the_names_that_they_would_have(tmp_path: Path) -> None:
    net, links = tmp_path / "net", tmp_path / "links"
    for name, bus in (("enp5s0", "pci"), ("eno1", "pci"), ("usb0", "usb")):
        (net / name / "device").mkdir(parents=True)
        (tmp_path / bus).mkdir(exist_ok=True)
        (net / name / "device" / "subsystem").symlink_to(tmp_path / bus)
    (net / "vmbr0").mkdir()
    links.mkdir()
    (links / Path(Layout(WANTED.hub).link("eno1")).name).write_text("MACAddress=aa:00:00:00:00:02\n")
    (links / "50-pmx-nic0.link").write_text("[Match]\nMACAddress=AA:00:00:00:00:07\nType=ether\n")
    text = script(replace(WANTED, cards=(Card("card", "10de:2b85"),)))
    begin = text.index(" for k in /sys/class/net/*/device")
    part = text[begin : text.index("\nfi\n", begin)]
    part = part.replace("/sys/class/net", str(net)).replace("/etc/systemd/network", str(links))
    done = subprocess.run(["/bin/sh", "-c", TOOLS + part], capture_output=True, text=True, check=True)
    found = parse((printed(converged()) + done.stdout).splitlines())
    assert found.nics == [Nic("eno1", "aa:00:00:00:00:02", "eno1"), Nic("enp5s0", "aa:00:00:00:00:01", "enp5s0")]
    assert found.pinned == {"aa:00:00:00:00:07"}
