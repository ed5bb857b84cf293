#!/usr/bin/python3 -I
"""Runs on the node, called by Proxmox before a guest with a card starts and after it stopped: VMID PHASE.

A card that has not come back from a reset reads as ones only. A guest that is started with it hangs, and the node may
hang with it: that start is refused. Standard library only. What it can't find out is no reason to refuse.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

DEAD = "ff"
HELP = "the node has to be rebooted (or switched off and on, where that does not help)"


def ask(path: str) -> object:
    """What Proxmox says of a path."""
    argv = ["pvesh", "get", path, "--output-format", "json"]
    return json.loads(subprocess.run(argv, stdout=subprocess.PIPE, check=True, timeout=30).stdout)


def parts(text: str) -> dict[str, str]:
    """A property string; a first part without a name is the host's address."""
    pairs = (part.partition("=") for part in text.split(","))
    return {name if equals else "host": value if equals else name for name, equals, value in pairs}


def slots(node: str, vmid: str) -> dict[str, str]:
    """Where the cards of a guest are, each with what it is called."""
    config = ask(f"/nodes/{node}/qemu/{vmid}/config")
    found = {}
    for key, value in config.items() if isinstance(config, dict) else ():
        if re.fullmatch(r"hostpci\d+", key):
            mine = parts(str(value))
            name, paths = mine.get("mapping", ""), mine.get("host", "")
            if name:
                entry = ask(f"/cluster/mapping/pci/{name}")
                maps = [parts(one) for one in (entry.get("map") or [])] if isinstance(entry, dict) else []
                paths = next((one.get("path", "") for one in maps if one.get("node") == node), "")
            found.update({path: name or path for path in paths.split(";") if path})
    return found


def dead() -> set[str]:
    """The functions on the bus that read as ones only."""
    shown = subprocess.run(["lspci", "-Dvmmnk"], stdout=subprocess.PIPE, check=True, timeout=60).stdout.decode()
    found = set()
    for block in shown.split("\n\n"):
        fields = dict(line.split(":\t", 1) for line in block.splitlines() if ":\t" in line)
        address = fields.get("Slot", "")
        if fields.get("Rev", "").lower() == DEAD or reads_as_ones(address):
            found.add(address)
    return found


def reads_as_ones(address: str) -> bool:
    """Whether the vendor of a function reads as ffff; lspci's comes from the kernel's memory."""
    try:
        with Path(f"/sys/bus/pci/devices/{address}/config").open("rb") as handle:
            return handle.read(2) == b"\xff\xff"
    except OSError:
        return False


def is_at(path: str, address: str) -> bool:
    """Whether a function is the one that a path names, or one of its device's."""
    whole = path if path.count(":") > 1 else f"0000:{path}"
    return address == whole or ("." not in whole and address.rpartition(".")[0] == whole)


def say(text: str) -> None:
    """A line of the task's log."""
    sys.stdout.write(f"{text}\n")


def main() -> int:
    """0: Proxmox may go on."""
    vmid, phase = sys.argv[1:3]
    if phase not in ("pre-start", "post-stop"):
        return 0
    try:
        broken, cards = dead(), slots(os.uname().nodename.partition(".")[0], vmid)
    except (OSError, ValueError, AttributeError, subprocess.SubprocessError) as error:
        say(f"gpu-guard: whether the cards of {vmid} answer can't be told: {error}")
        return 0
    gone = [f"{name} ({path})" for path, name in cards.items() if any(is_at(path, address) for address in broken)]
    if not gone:
        return 0
    say(f"gpu-guard: card {', '.join(gone)} does not answer since its last reset: {HELP} before {vmid} can start")
    return 1


if __name__ == "__main__":
    sys.exit(main())
