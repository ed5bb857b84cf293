"""The node's /etc/network/interfaces: how PVE writes its settings to it and what it reads from it again.

What a client sees is always what was read: that is why numbers become texts, and defaults appear that nobody set.
The lab makes bridges alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .errors import failure, refuse_if
from .tables import table
from .words import split_list

Iface = dict[str, Any]
Ifaces = dict[str, Iface]
FILE = table("interfaces file")
ALIASES: dict[str, str] = FILE["aliases"]
SIMPLE, OWN_LINES, BRIDGE_LINES = (set(FILE[name].split()) for name in ("simple", "own lines", "bridge lines"))
HEAD = "# made by pvelab\n" + "#\n" * 9  # as many lines as PVE writes, so that a diff counts alike


def settle(ifaces: Ifaces) -> Ifaces:
    """The interfaces as they are after one writing and reading."""
    return read(write(ifaces))


def write(ifaces: Ifaces) -> str:
    """The file's text; raises what PVE finds wrong between interfaces."""
    own = {name: _prepared(values) for name, values in ifaces.items()}
    own.setdefault("lo", _prepared({"type": "loopback", "autostart": 1, "method": "loopback", "priority": 1}))
    _check_ports(own)
    lines = [*HEAD.splitlines(), ""]
    for name in sorted(own, key=lambda n: (n != "lo", int(own[n].get("priority") or 50_000), n)):
        values = own[name]
        if str(values.get("autostart") or "0") == "1":
            lines.append(f"auto {name}")
        for number, family in enumerate(values["families"]):
            lines += [*_stanza(name, values, family, number == 0), ""]
    return "\n".join([*lines, "source /etc/network/interfaces.d/*"]) + "\n"


def _prepared(values: Iface) -> Iface:
    found = dict(values)
    for end in ("", "6"):
        cidr = found.pop(f"cidr{end}", None)
        if not found.get(f"address{end}") and cidr:
            found[f"address{end}"], _, found[f"netmask{end}"] = str(cidr).partition("/")
        found.setdefault(f"method{end}", "static" if found.get(f"address{end}") else "manual")
    if not found.get("families"):
        found["families"] = [f for f in ("inet", "inet6") if found.get(f"address{f[4:]}")] or ["inet"]
    if found["families"] == ["inet6"] and found.get("comments"):
        found["comments6"] = found.pop("comments")
    return found


def _stanza(name: str, values: Iface, family: str, first: bool) -> Iterator[str]:
    end = family.removeprefix("inet")
    yield f"iface {name} {family} {values[f'method{end}']}"
    address = values.get(f"address{end}")
    if address:
        mask = values.get(f"netmask{end}")
        yield f"\taddress {address}" + (f"/{_length(str(mask))}" if mask not in (None, "") else "")
    if values.get(f"gateway{end}"):
        yield f"\tgateway {values[f'gateway{end}']}"
    if first:
        yield from _settings(values)
    yield from (f"#{line}" for line in str(values.get(f"comments{end}") or "").splitlines())


def _length(mask: str) -> str:
    if mask.isdigit():
        return mask
    return str(sum(bin(int(part)).count("1") for part in mask.split(".")))


def _settings(values: Iface) -> Iterator[str]:
    done = set(OWN_LINES)
    if values["type"] == "bridge":
        done |= BRIDGE_LINES
        yield f"\tbridge-ports {_spaced(values.get('bridge_ports')) or 'none'}"
        yield f"\tbridge-stp {values.get('bridge_stp') or 'off'}"
        yield f"\tbridge-fd {values.get('bridge_fd') or 0}"
        if values.get("bridge_vlan_aware") is not None:
            yield "\tbridge-vlan-aware yes"
            yield f"\tbridge-vids {values.get('bridge_vids') or '2-4094'}"
        if values.get("mtu"):
            yield f"\tmtu {values['mtu']}"
    yield from (f"\t{key} {values[key]}" for key in sorted(values) if key not in done and values[key])


def _spaced(text: object) -> str:
    return " ".join(split_list(str(text or "")))


def _check_ports(ifaces: Ifaces) -> None:
    for name, values in sorted(ifaces.items()):
        for port in split_list(str(values.get("bridge_ports") or "")):
            refuse_if(port not in ifaces, f"bridge '{name}' - unable to find bridge port '{port}'")
            if "static" in (ifaces[port].get("method"), ifaces[port].get("method6")):
                raise failure(f"iface {port} - ip address can't be set on interface if bridged in {name}")


def read(text: str) -> Ifaces:
    """The interfaces of a file that `write` made."""
    ifaces: Ifaces = {}
    current: Iface = {}
    end, priority = "", 2
    for line in text.splitlines():
        words = line.split()
        if line.startswith("auto "):
            ifaces.setdefault(words[1], {})["autostart"] = 1
        elif line.startswith("iface "):
            current, end = ifaces.setdefault(words[1], {}), words[2].removeprefix("inet")
            if "priority" not in current:
                current["priority"], priority = priority, priority + 1
            current.setdefault("families", []).append(words[2])
            current[f"method{end}"] = words[3]
        elif line.startswith("#") and current:
            current["comments"] = f"{current.get('comments', '')}{line[1:]}\n"
        elif line.startswith("\t"):
            _take(current, end, *line.strip().split(" ", 1))
        elif not line:
            current = {}
    return {name: _typed(name, values) for name, values in ifaces.items()}


def _take(values: Iface, end: str, name: str, value: str = "") -> None:
    key = ALIASES.get(name, name)
    if key in ("address", "gateway"):
        values[key + end] = value
    elif key == "bridge_ports":
        values[key] = " ".join(sorted(port for port in value.split() if port != "none"))
    elif key == "bridge_vlan_aware":
        values[key] = 1
    elif key in SIMPLE:
        values[key] = value
    else:
        values.setdefault(f"options{end}", []).append(f"{name} {value}")


def _typed(name: str, values: Iface) -> Iface:
    found = {**values, "type": "loopback" if name == "lo" else "bridge"}
    for end, full in (("", "32"), ("6", "128")):
        if found.get(f"address{end}"):
            address, _, length = str(found[f"address{end}"]).partition("/")
            found[f"address{end}"], found[f"cidr{end}"] = address, f"{address}/{length or full}"
            if length:
                found[f"netmask{end}"] = length
        found.setdefault(f"method{end}", "manual")
    return found
