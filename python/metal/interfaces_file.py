"""What differs between two interfaces files in what they do.

Proxmox writes the whole file anew as soon as anything is pending: other words for the same, another order, its own
defaults. None of that is a change that somebody made.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_interface

_MODES = ("balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb")
_SWITCHES = {"on": "yes", "true": "yes", "1": "yes", "off": "no", "false": "no", "0": "no", "none": "no"}
_ALIASES = {"slaves": "bond-slaves", "mode": "bond-mode", "miimon": "bond-miimon", "ports": "bridge-ports"}
_LISTS = ("bridge-ports", "bond-slaves", "ovs-ports", "ovs-bonds")
_DERIVED = ("network", "broadcast")
_WRITTEN_ANYWAY = {
    "bridge-stp": "no",
    "bridge-fd": "0",
    "bridge-vids": "2-4094",
    "bridge-ports": "",
    "bond-slaves": "",
    "bond-miimon": "100",
    "bond-mode": "balance-rr",
}
"""Proxmox's defaults, which it writes where nobody has said anything."""


@dataclass
class _Interface:
    """What a file says of an interface."""

    started: bool = False
    lines: Counter[tuple[str, ...]] = field(default_factory=Counter)  # family, option, value


def differing(old: Iterable[str], new: Iterable[str]) -> set[str]:
    """The interfaces of which two files say different things."""
    before, after = _read(old), _read(new)
    ports = {port for one in after.values() for line in one.lines if line[1] == "bond-slaves" for port in line[2:]}
    found = set()
    for name in before.keys() | after.keys():
        one, other = before.get(name, _Interface()), after.get(name, _Interface())
        if name in ports and not one.started:
            other.started = False  # Proxmox starts what a bond is made of
        if one != other and not (name not in before and _does_nothing(other)):
            found.add(name)
    return found


def _does_nothing(one: _Interface) -> bool:
    """A network card that the file did not know: Proxmox adds a line for each that it finds."""
    return not one.started and set(one.lines) <= {("inet", "manual")}


def _read(lines: Iterable[str]) -> dict[str, _Interface]:
    found: dict[str, _Interface] = {}
    name, family, options = "", "", dict[str, list[str]]()

    def end() -> None:
        if name:
            found[name].lines.update((family, *line) for line in _normal(name, options))

    for word, *rest in _logical(lines):
        if word in ("source", "source-directory") or word.startswith("no-"):
            end()
            name = ""
        elif word == "auto" or word.startswith("allow-"):
            for one in rest:
                found.setdefault(one, _Interface()).started = True
        elif word in ("iface", "mapping") and rest:
            end()
            name, family, options = rest[0], (rest[1:] or [word])[0], {}
            found.setdefault(name, _Interface()).lines[(family, *rest[2:])] += 1
        elif name:
            options.setdefault(_option(word), []).append(" ".join(rest))
    end()
    loopback = found.setdefault("lo", _Interface())
    loopback.started = True
    loopback.lines[("inet", "loopback")] = 1  # every machine has it, also where the file does not say so
    return found


def _logical(lines: Iterable[str]) -> Iterator[list[str]]:
    """The words of each line that is not a comment; one that ends with a backslash goes on in the next."""
    begun = ""
    for line in lines:
        whole = f"{begun}{line.rstrip()}"
        begun = f"{whole[:-1]} " if whole.endswith("\\") and not whole.lstrip().startswith("#") else ""
        words = whole.split()
        if not begun and words and not words[0].startswith("#"):
            yield words


def _option(word: str) -> str:
    plain = word.replace("_", "-")
    return _ALIASES.get(plain, plain)


def _normal(name: str, options: dict[str, list[str]]) -> Iterator[tuple[str, ...]]:
    """The options of a stanza, each in one spelling."""
    masks = options.pop("netmask", [])
    for key, values in options.items():
        for value in values:
            if key == "address":
                yield (key, _address(value, masks[0] if masks else ""))
            elif key == "vlan-raw-device" and value == name.rpartition(".")[0]:
                continue  # its name says so
            elif key not in _DERIVED and (words := _value(key, value)) != (_WRITTEN_ANYWAY.get(key),):
                yield (key, *words)


def _value(key: str, value: str) -> tuple[str, ...]:
    if key in _LISTS:
        return tuple(sorted(word for word in value.split() if word != "none")) or ("",)
    if key == "bond-mode" and value.isdigit() and int(value) < len(_MODES):
        return (_MODES[int(value)],)
    if key in ("bridge-stp", "bridge-vlan-aware"):
        return (_SWITCHES.get(value.lower(), value),)
    return (value.removeprefix("ether "),)


def _address(value: str, mask: str) -> str:
    text = value if "/" in value or not mask else f"{value}/{mask}"
    with suppress(ValueError):
        return str(ip_interface(text))
    return text
