"""Firewall objects: where they are kept, digests, and what a rule must satisfy."""

from __future__ import annotations

import re
from typing import Any

from .digests import digest
from .errors import bad_field, existing, failure, refuse_if
from .fw_formats import ICMP, ICMPV6, WITH_PORTS, addresses, ports
from .fw_macros import MACROS, packets
from .pve import Pve
from .registry import Call
from .surface import parameters

ALIAS = re.compile(r"(guest/|dc/)?([A-Za-z][A-Za-z0-9\-_]+)")
SET = re.compile(r"\+(guest/|dc/|sdn/)?([A-Za-z][A-Za-z0-9\-_]+)")
IS_ICMP = {"icmp", "icmpv6", "ipv6-icmp"}
FIELDS = [name for name in parameters("POST", "/cluster/firewall/rules") if name != "digest"]
DIRECTIONS = {"cluster": ("in", "out", "forward", "group"), "host": ("in", "out", "forward", "group")}
Item = dict[str, Any]


def section(pve: Pve, name: str) -> dict[str, Any]:
    """The objects of the cluster, the node or a guest."""
    found: dict[str, Any] = pve.firewall.data.setdefault(name, {})
    for key, empty in (("rules", list), ("aliases", dict), ("ipset", dict), ("options", dict), ("groups", dict)):
        found.setdefault(key, empty())
    return found


def section_name(call: Call) -> str:
    """Which section a path means."""
    if call.path.startswith("/cluster"):
        return "cluster"
    return f"guest/{call['vmid']}" if "vmid" in call.params else "host"


def section_of(call: Call) -> dict[str, Any]:
    """The objects of a scope; PVE keeps those of a guest in a file of their own and never looks for the guest."""
    return section(call.pve, section_name(call))


def with_digest(items: list[Item]) -> list[Item]:
    """Copies of the objects, each with the digest of the whole list."""
    found = digest(items)
    return [{**item, "digest": found} for item in items]


def environment(call: Call) -> str:
    """cluster, host, group, vm or ct: what a rule is for."""
    if "/groups/" in call.path:
        return "group"
    if call.path.startswith("/cluster"):
        return "cluster"
    if "vmid" in call.params:
        return "vm" if "/qemu/" in call.path else "ct"
    return "host"


def check_rule(call: Call, rule: Item) -> None:
    """Raises a 400 for the first thing that is wrong with a rule."""
    where = environment(call)
    kind, action = rule.get("type"), rule.get("action")
    if not kind or not action:
        raise bad_field("type" if not kind else "action", "missing property")
    valid = DIRECTIONS.get(where, ("in", "out", "forward") if where == "group" else ("in", "out", "group"))
    refuse_if(kind not in valid, bad_field("type", f"invalid rule type '{kind}' for rule_env '{where}'"))
    if kind == "group":
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9\-_]+", action):
            raise bad_field("action", "invalid characters in security group name")
    elif action not in ("ACCEPT", "DROP", "REJECT"):
        raise bad_field("action", f"unknown action '{action}'")
    elif kind == "forward" and action == "REJECT":
        raise bad_field("action", "cannot define REJECT rules on forward chain")
    refuse_if(rule.get("iface") and where == "group", bad_field("type", "parameter -i not allowed for this rule type"))
    if rule.get("iface") and where in ("vm", "ct") and not re.fullmatch(r"net\d+", rule["iface"]):
        raise bad_field("iface", "value does not match the regex pattern 'net\\d+'")
    if rule.get("macro"):
        _check_macro(rule)
    _check_ports(rule)
    _check_addresses(call, rule)
    if rule.get("macro"):
        _check_against_macro(rule)


def _check_macro(rule: Item) -> None:
    name = next((m for m in MACROS if m.lower() == str(rule["macro"]).lower()), None)
    if name is None:
        raise bad_field("macro", f"unknown macro '{rule['macro']}'")
    rule["macro"] = name


def _check_against_macro(rule: Item) -> None:
    """A rule can't say anew what its macro says already."""
    for packet in packets(rule["macro"], rule.get("ipversion")):
        for key, value in packet.items():
            if rule.get(key) not in (None, value):
                raise bad_field(key, f"parameter '{key}' already define in macro (value = '{value}')")


def _check_ports(rule: Item) -> None:
    proto = rule.get("proto")
    icmp = proto in IS_ICMP
    for key in ("dport", "sport"):
        if not rule.get(key):
            continue
        try:
            ports(rule[key], icmp and key == "dport")
        except ValueError as error:
            raise bad_field(key, str(error)) from None
        refuse_if(not proto, bad_field("proto", f"missing property - '{key}' requires this property"))
        if proto not in WITH_PORTS and not (icmp and key == "dport"):
            raise bad_field(key, f"protocol '{proto}' does not support ports")
    kind = rule.get("icmp-type")
    if kind:
        refuse_if(not icmp, bad_field("proto", "missing property - 'icmp-type' requires this property"))
        refuse_if(rule.get("dport"), bad_field("icmp-type", "'icmp-type' cannot be specified together with 'dport'"))
        if kind not in (ICMP if proto == "icmp" else ICMPV6):
            raise bad_field("icmp-type", f"invalid icmp-type '{kind}' for proto '{proto}'")


def _check_addresses(call: Call, rule: Item) -> None:
    """Checks source and dest, and notes the IP version that they agree on."""
    own, cluster = section(call.pve, section_name(call)), section(call.pve, "cluster")
    version = 4 if rule.get("proto") == "icmp" else 6 if rule.get("proto") in IS_ICMP else None
    for key in ("source", "dest"):
        value = str(rule.get(key) or "")
        if not value:
            continue
        try:
            version = _agreed(version, addresses(value))
        except ValueError as error:
            raise bad_field(key, str(error)) from None
        if value.startswith("+"):
            _check_set(key, value, own, cluster)
        alias = ALIAS.fullmatch(value)
        if alias:
            known = {**cluster["aliases"], **own["aliases"]}.get(alias[2].lower())
            if known is None:
                raise bad_field(key, f"no such alias '{value}'")
            try:
                version = _agreed(version, known["ipversion"])
            except ValueError as error:
                raise failure(str(error)) from None
    rule.pop("ipversion", None)
    if version:
        rule["ipversion"] = version


def _agreed(version: int | None, found: int | None) -> int | None:
    refuse_if(version and found and version != found, ValueError("detected mixed ipv4/ipv6 addresses in rule"))
    return version or found


def _check_set(key: str, value: str, own: dict[str, Any], cluster: dict[str, Any]) -> None:
    named = existing(SET.fullmatch(value), bad_field(key, f"invalid ipset name '{value}'"))
    if named[2] not in own["ipset"] and named[2] not in cluster["ipset"]:
        raise bad_field(key, f"no such ipset '{named[2]}'")
