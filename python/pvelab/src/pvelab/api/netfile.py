"""The node's /etc/network/interfaces: how PVE writes its settings to it and what it reads from it again.

What a client sees is always what was read: that is why a name decides about a type, numbers become texts,
and defaults appear that nobody set.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from .errors import failure, refuse_if
from .tables import table
from .words import split_list

Iface = dict[str, Any]
Ifaces = dict[str, Iface]
PORTS = ("bridge_ports", "ovs_ports", "slaves", "ovs_bonds")
PHYSICAL = re.compile(r"eth\d+|en[^:.]+|ib[^:.]+|(?:nic|if)\d+")
ORDER = {"loopback": 1, "dummy": 1, "eth": 2, "bond": 4, "bridge": 5, "vlan": 6, "vxlan": 6}
RANK = 100_000
FILE = table("interfaces file")
ALIASES: dict[str, str] = FILE["aliases"]
SIMPLE, OWN_LINES, BRIDGE_LINES, BOND_LINES = (
    set(FILE[name].split()) for name in ("simple", "own lines", "bridge lines", "bond lines")
)
HEAD = "# made by pvelab\n" + "#\n" * 9  # as many lines as PVE writes, so that a diff counts alike


def settle(ifaces: Ifaces) -> Ifaces:
    """The interfaces as they are after one writing and reading."""
    return read(write(ifaces))


def write(ifaces: Ifaces) -> str:
    """The file's text; raises what PVE finds wrong between interfaces."""
    own = {name: _prepared(values) for name, values in ifaces.items()}
    own.setdefault("lo", _prepared({"type": "loopback", "autostart": 1, "method": "loopback", "priority": 1}))
    _check_bonds(own)
    _check_vlans(own)
    _check_bridges(own)
    lines = [*HEAD.splitlines(), ""]
    for name in sorted(own, key=lambda n: (_rank(n, own), n)):
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


def _rank(name: str, ifaces: Ifaces) -> int:
    root, *rest = re.split(r"[.:]", name)
    kind = ifaces.get(root, {}).get("type")
    base = ORDER.get(str(kind), 0) * RANK + len(rest) if kind != "unknown" else 0
    return base + int(ifaces[name].get("priority") or 50_000)


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
    elif values["type"] == "bond":
        done |= BOND_LINES
        yield from _bond(values)
    yield from (f"\t{key} {values[key]}" for key in sorted(values) if key not in done and values[key])


def _bond(values: Iface) -> Iterator[str]:
    mode = values.get("bond_mode") or "balance-rr"
    yield f"\tbond-slaves {_spaced(values.get('slaves')) or 'none'}"
    yield f"\tbond-miimon {values.get('bond_miimon') or 100}"
    yield f"\tbond-mode {mode}"
    if values.get("bond_xmit_hash_policy") and mode in ("balance-xor", "802.3ad"):
        yield f"\tbond-xmit-hash-policy {values['bond_xmit_hash_policy']}"
    if values.get("bond-primary") and mode == "active-backup":
        yield f"\tbond-primary {values['bond-primary']}"
    if values.get("mtu"):
        yield f"\tmtu {values['mtu']}"


def _spaced(text: object) -> str:
    return " ".join(split_list(str(text or "")))


def _mtu(ifaces: Ifaces, parent: str, child: str) -> None:
    wanted = ifaces[child].get("mtu")
    if not wanted:
        return
    given = ifaces[parent].get("mtu") or (wanted if ifaces[parent]["type"] == "bond" else 1500)
    refuse_if(int(given) < int(wanted), f"interface '{parent}' - mtu {given} is lower than '{child}' - mtu {wanted}")


def _check_bonds(ifaces: Ifaces) -> None:
    for name, values in sorted(ifaces.items()):
        slaves = split_list(str(values.get("slaves") or "")) if values["type"] == "bond" else []
        for port in slaves:
            refuse_if(port not in ifaces, f"bond '{name}' - unable to find slave '{port}'")
            kind = ifaces[port]["type"]
            ifaces[port]["autostart"] = 1
            if kind not in ("eth", "bond"):
                text = f"wrong interface type on slave '{port}' ('{kind}' != 'eth or bond')"
                raise failure(f"bond '{name}' - {text}")
            _mtu(ifaces, name, port)
        if slaves and values.get("bond-primary") and values["bond-primary"] not in slaves:
            text = f"bond '{name}' - bond-primary interface is not a slave"
            raise failure(f"{text} at /usr/share/perl5/PVE/Network/Interfaces.pm line 913.")


def _check_vlans(ifaces: Ifaces) -> None:
    for name, values in sorted(ifaces.items()):
        if values["type"] != "vlan":
            continue
        parent, number = _vlan_of(name, values)
        refuse_if(int(number) > 4094, f"vlan '{name}' - vlan-id {number} should be <= 4094")
        refuse_if(parent not in ifaces, f"vlan '{name}' - unable to find parent '{parent}'")
        kind = ifaces[parent]["type"]
        if kind not in ("eth", "bridge", "bond", "vlan"):
            text = f"wrong interface type on parent '{parent}' ('{kind}' != 'eth|bond|bridge|vlan' )"
            raise failure(f"vlan '{name}' - {text}")
        _mtu(ifaces, parent, name)


def _vlan_of(name: str, values: Iface) -> tuple[str, str]:
    """The parent and the number of a VLAN, and away with what its name says already."""
    found = re.fullmatch(r"(\S+)\.(\d+)", name)
    if found:
        values.pop("vlan-raw-device", None)
        values.pop("vlan-id", None)
        return found[1], found[2]
    place = "at /usr/share/perl5/PVE/Network/Interfaces.pm line 953."
    refuse_if(not values.get("vlan-raw-device"), f"missing vlan-raw-device option {place}")
    found = re.fullmatch(r"vlan(\d+)", name)
    if found:
        values.pop("vlan-id", None)
        return str(values["vlan-raw-device"]), found[1]
    refuse_if(not values.get("vlan-id"), f"missing vlan-id option {place}")
    return str(values["vlan-raw-device"]), str(values["vlan-id"])


def _check_bridges(ifaces: Ifaces) -> None:
    known = dict(ifaces)
    for name, values in sorted(ifaces.items()):
        for port in split_list(str(values.get("bridge_ports") or "")) if values["type"] == "bridge" else []:
            if port not in known and re.fullmatch(r"\S+\.\d+", port):
                known[port] = {"type": "vlan", "method": "manual", "method6": "manual"}
                parent = port.rpartition(".")[0]
                if known.get(parent, {}).get("mtu"):
                    known[port]["mtu"] = known[parent]["mtu"]
            refuse_if(port not in known, f"bridge '{name}' - unable to find bridge port '{port}'")
            if "static" in (known[port].get("method"), known[port].get("method6")):
                raise failure(f"iface {port} - ip address can't be set on interface if bridged in {name}")
            _mtu({**known, **ifaces}, port, name)


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
    return {name: _typed(name, values, ifaces) for name, values in ifaces.items()}


def _take(values: Iface, end: str, name: str, value: str = "") -> None:
    key = ALIASES.get(name, name)
    if key in ("address", "gateway"):
        values[key + end] = value
    elif key in ("slaves", "bridge_ports"):
        values[key] = " ".join(sorted(port for port in value.split() if port != "none"))
    elif key == "bridge_vlan_aware":
        values[key] = 1
    elif key in SIMPLE:
        values[key] = value
    else:
        values.setdefault(f"options{end}", []).append(f"{name} {value}")


def _typed(name: str, values: Iface, ifaces: Ifaces) -> Iface:
    found = {**values, "type": _type(name, values)}
    if found["type"] == "vlan":
        dotted = re.fullmatch(r"(\S+)\.(\d+)", name)
        plain = re.fullmatch(r"vlan(\d+)", name)
        if dotted:
            found.setdefault("vlan-raw-device", dotted[1])
        if dotted or plain:
            found["vlan-id"] = dotted[2] if dotted else plain[1] if plain else ""
        found["exists"] = ifaces.get(found["vlan-raw-device"], {}).get("exists")
    elif found["type"] == "alias":
        found["exists"] = ifaces.get(name.partition(":")[0], {}).get("exists")
    for end, full in (("", "32"), ("6", "128")):
        if found.get(f"address{end}"):
            address, _, length = str(found[f"address{end}"]).partition("/")
            found[f"address{end}"], found[f"cidr{end}"] = address, f"{address}/{length or full}"
            if length:
                found[f"netmask{end}"] = length
        found.setdefault(f"method{end}", "manual")
    return found


def _type(name: str, values: Iface) -> str:
    if "bridge_ports" in values:
        return "bridge"
    if re.fullmatch(r"bond\d+", name):
        return "bond"
    if re.fullmatch(r"\S+:\d+", name):
        return "alias"
    if re.fullmatch(r"\S+\.\d+", name) or values.get("vlan-raw-device"):
        return "vlan"
    if PHYSICAL.fullmatch(name):
        return "eth"
    return "loopback" if name == "lo" else "unknown"
