"""Guests: numbers, names and addresses that nobody else has; node, zone, storage and card that exist."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ..catalogue import USUAL
from ..derive import node_of
from ..findings import Finding, did_you_mean
from ..hub import GuestSpec, HubFile
from ..resolved import VERIFY, gateway_of, mac_of

TAKEN = {
    "node": "the node's own name in ssh and DNS",
    "localhost": "each machine's name for itself",
    "all": "a group of every Ansible inventory",
    "ungrouped": "a group of every Ansible inventory",
    "guests": "a group of our Ansible inventory",
    "containers": "a group of our Ansible inventory",
    VERIFY: "the login of the checks",
    "hub": "the hub's own name",
    "operator": "the login of aihub itself at the vault",
    "lxc": "a kind of guest",
    "vm": "a kind of guest",
    "infra": "a zone",
    "private": "a zone",
    "public": "a zone",
}


def check(file: HubFile, declared: Mapping[str, set[str]]) -> Iterator[Finding]:
    """What is wrong with guests, each by itself and among each other."""
    for name, spec in file.guests.items():
        yield from _name(file, name)
        yield from _zone(file, name, spec, declared)
        yield from _node(file, name, spec, declared)
    yield from _twice(file, "vmid", lambda spec: spec.vmid, "VMID {0}")
    yield from _twice(file, "address", lambda spec: spec.address, "address {0}")
    yield from _same_id(file)
    yield from _same_mac(file)
    yield from _same_card(file)


def _name(file: HubFile, name: str) -> Iterator[Finding]:
    place = ("guests", name)
    if name in TAKEN:
        yield Finding(place, f'"{name}" is {TAKEN[name]}: name the guest otherwise', at_key=True)
    if name in file.nodes:
        yield Finding(place, f'"{name}" is the name of a node: name the guest otherwise', at_key=True)
    if name.replace("-", "").isdigit():
        yield Finding(place, f'"{name}" reads as a number: a guest\'s name needs a letter', at_key=True)


def _zone(file: HubFile, name: str, spec: GuestSpec, declared: Mapping[str, set[str]]) -> Iterator[Finding]:
    zone = file.zones.get(spec.zone)
    if zone is None:
        if spec.zone not in declared.get("zones", set()):
            yield Finding(("guests", name, "zone"), f'zones has no "{spec.zone}"{did_you_mean(spec.zone, file.zones)}')
        return
    place = ("guests", name, "address")
    if spec.address not in zone.subnet:
        other = next((z for z, value in file.zones.items() if spec.address in value.subnet), None)
        hint = f"; it lies in zone {other}'s" if other else ""
        yield Finding(place, f"{spec.address} is outside the subnet of zone {spec.zone}, {zone.subnet}{hint}")
        return
    taken = {
        zone.subnet.network_address: "the network's own address",
        zone.subnet.broadcast_address: "the broadcast address",
        gateway_of(zone.subnet): "the gateway's address",
    }
    if spec.address in taken:
        yield Finding(place, f"{spec.address} is {taken[spec.address]} of zone {spec.zone}")


def _node(file: HubFile, name: str, spec: GuestSpec, declared: Mapping[str, set[str]]) -> Iterator[Finding]:
    known = declared.get("nodes", set())
    if spec.node is None and len(known) > 1:
        text = f"there are several nodes: add `node:`{did_you_mean('', known)}"
        yield Finding(("guests", name), text, at_key=True)
        return
    found = node_of(file, spec)
    if found is None:
        if spec.node is not None and spec.node not in known:
            text = f'nodes has no "{spec.node}"{did_you_mean(spec.node, known)}'
            yield Finding(("guests", name, "node"), text)
        return
    node = file.nodes[found]
    if spec.storage not in node.storage:
        place: tuple[str, ...] = ("guests", name, "storage")
        yield Finding(place, f'node {found} has no storage "{spec.storage}"{did_you_mean(spec.storage, node.storage)}')
    if spec.gpu is None:
        return
    if spec.gpu not in node.gpus:
        text = f'node {found} has no gpu "{spec.gpu}"{did_you_mean(spec.gpu, node.gpus)}'
        yield Finding(("guests", name, "gpu"), text)
        return
    card = f"nodes.{found}.gpus.{spec.gpu}"
    mode = node.gpus[spec.gpu].mode
    if spec.kind == "lxc" and mode != "lxc":
        text = f"card {spec.gpu} is passed to a VM, and this guest is an LXC container: kind: vm here, or `mode: lxc`"
        yield Finding(("guests", name, "gpu"), f"{text} at {card}, which shares it among containers")
    if spec.kind == "vm" and mode == "lxc":
        text = f"card {spec.gpu} is shared among containers, and this guest is a VM: kind: lxc here, or no"
        yield Finding(("guests", name, "gpu"), f"{text} `mode: lxc` at {card}")
    if spec.kind == "lxc" and spec.image not in (None, USUAL):
        text = f"a container with a card is made from {USUAL}: the libraries of {spec.image} are of another version"
        yield Finding(("guests", name, "image"), f"{text} than the node's driver")


def _twice(file: HubFile, key: str, value: Callable[[GuestSpec], Any], shown: str) -> Iterator[Finding]:
    owners: dict[Any, str] = {}
    for name, spec in file.guests.items():
        found = value(spec)
        if found in owners:
            yield Finding(("guests", name, key), f"{shown.format(found)} is the one of guest {owners[found]} already")
        owners.setdefault(found, name)


def _same_id(file: HubFile) -> Iterator[Finding]:
    """What a guest's data is called by is nobody else's, neither written nor as a name."""
    owners: dict[str, str] = {}
    for name, spec in file.guests.items():
        found = spec.id or name
        if found in owners:
            place = ("guests", name, "id") if spec.id else ("guests", name)
            yield Finding(place, f'id "{found}" is the one of guest {owners[found]} already', at_key=not spec.id)
        owners.setdefault(found, name)
        if spec.id in TAKEN:
            yield Finding(("guests", name, "id"), f'"{found}" is {TAKEN[found]}: no guest was ever called so')


def _same_mac(file: HubFile) -> Iterator[Finding]:
    owners: dict[str, tuple[str, int]] = {}
    for name, spec in file.guests.items():
        mac = mac_of(spec.vmid)
        first, vmid = owners.setdefault(mac, (name, spec.vmid))
        if vmid != spec.vmid:
            text = f"VMID {spec.vmid} gives MAC {mac}, as VMID {vmid} of guest {first} does: take another"
            yield Finding(("guests", name, "vmid"), text)


def _same_card(file: HubFile) -> Iterator[Finding]:
    owners: dict[tuple[str | None, str], str] = {}
    for name, spec in file.guests.items():
        if spec.gpu is None or spec.kind != "vm":
            continue
        card = (node_of(file, spec), spec.gpu)
        if card in owners:
            text = f"gpu {spec.gpu} is passed to guest {owners[card]} already, and a card serves one VM"
            yield Finding(("guests", name, "gpu"), text)
        owners.setdefault(card, name)
