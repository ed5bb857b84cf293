"""Reads the values of a PVE config: property strings and what of them the lab acts on."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote

from .cgroups import Limits
from .lxc import Link


def split(value: str, default_key: str = "") -> dict[str, str]:
    """`a=1,b=2` as a mapping; a first part without `=` gets `default_key`."""
    found: dict[str, str] = {}
    for part in value.split(","):
        key, equals, text = part.partition("=")
        if equals:
            found[key.strip()] = text.strip()
        elif part.strip() and default_key:
            found[default_key] = part.strip()
    return found


def number(config: Mapping[str, str], key: str, default: float) -> float:
    """A numeric option, or its default."""
    try:
        return float(config.get(key, "") or default)
    except ValueError:
        return default


def limits(kind: str, config: Mapping[str, str], factor: float, least: int = 0) -> Limits:
    """The scaled limits of a guest; never less than `least` bytes of memory."""
    cores = number(config, "cores", 0 if kind == "lxc" else 1)
    if kind == "qemu":
        cores *= number(config, "sockets", 1)
    if ceiling := number(config, "cpulimit", 0):
        cores = min(cores, ceiling) if cores else ceiling
    return Limits.scaled(int(number(config, "memory", 512)), cores, factor, least)


def link(kind: str, vmid: int, index: int, value: str) -> Link:
    """One netN option as a network card, its host end named as PVE names it."""
    options = split(value)
    peer = f"veth{vmid}i{index}" if kind == "lxc" else f"tap{vmid}i{index}"
    if kind == "lxc":
        return Link(options.get("name", f"eth{index}"), options.get("bridge", ""), peer, options.get("hwaddr", ""))
    models = ("virtio", "e1000", "e1000e", "vmxnet3", "rtl8139")
    mac = next((options[model] for model in models if model in options), options.get("macaddr", ""))
    return Link(f"eth{index}", options.get("bridge", ""), peer, mac)


def links(kind: str, vmid: int, config: Mapping[str, str]) -> list[Link]:
    """All network cards of a guest, in order."""
    indices = sorted(int(key[3:]) for key in config if key.startswith("net") and key[3:].isdigit())
    return [link(kind, vmid, index, config[f"net{index}"]) for index in indices]


def devices(config: Mapping[str, str]) -> list[str]:
    """The device nodes that a container is given, in order."""
    indices = sorted(int(key[3:]) for key in config if key.startswith("dev") and key[3:].isdigit())
    found = (split(config[f"dev{index}"], "path").get("path", "") for index in indices)
    return [re.sub("/+", "/", path) for path in found if path]


def addresses(kind: str, config: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Per network card inside the guest: `ip`, `gw`, `ip6`, `gw6` as declared."""
    found: dict[str, dict[str, str]] = {}
    for key, value in config.items():
        if not (key.startswith("net") and key[3:].isdigit()):
            continue
        index = int(key[3:])
        source = value if kind == "lxc" else config.get(f"ipconfig{index}", "")
        name = split(value).get("name", f"eth{index}") if kind == "lxc" else f"eth{index}"
        found[name] = {k: v for k, v in split(source).items() if k in ("ip", "gw", "ip6", "gw6")}
    return found


def public_keys(kind: str, config: Mapping[str, str]) -> list[str]:
    """The ssh keys that the guest shall accept."""
    text = unquote(config.get("sshkeys", "")) if kind == "qemu" else unquote(config.get("ssh-public-keys", ""))
    return [line.strip() for line in text.splitlines() if line.strip()]


def hostname(kind: str, vmid: int, config: Mapping[str, str]) -> str:
    """The guest's own name, possibly with a domain."""
    if kind == "lxc":
        return config.get("hostname") or f"CT{vmid}"
    return config.get("name") or f"VM{vmid}"
