"""The firewall macros that rules may use: PROTOCOL>DESTINATION PORT<SOURCE PORT of every packet that one means."""

from __future__ import annotations

import re

from .tables import table

IPV6 = {"Ping": "icmpv6>echo-request"}


def _fields(text: str) -> list[dict[str, str]]:
    found = []
    for part in text.split("|"):
        matched = re.fullmatch(r"([^><]+)(?:>([^<]+))?(?:<(.+))?", part)
        values = zip(("proto", "dport", "sport"), matched.groups() if matched else (), strict=False)
        found.append({name: value for name, value in values if value is not None})
    return found


MACROS = {name: _fields(text) for name, text in table("firewall macros").items()}


def packets(name: str, version: int | None) -> list[dict[str, str]]:
    """What a macro means for an IP version."""
    return _fields(IPV6[name]) if version == 6 and name in IPV6 else MACROS[name]
