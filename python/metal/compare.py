"""From what a node is to what it should be: every object as one step, in the order they are taken."""

from __future__ import annotations

from typing import Any

from . import boot, cards, collisions, driver, guard, mappings, network, nics, objects, repositories, services, storages
from .actual import ActualNode
from .desired import Desired
from .refusal import RefusedByNode
from .steps import Step


def steps(desired: Desired, actual: ActualNode) -> list[Step]:
    """Every step, also those with nothing to do; or RefusedByNode, before anything is changed."""
    network.refuse_foreign(desired, actual)
    collisions.refuse_taken(desired, actual, network.ours(desired, actual))
    objects.refuse_foreign(desired, actual)
    if desired.removed:
        # The walls go after the bridges that they guard.
        gone = network.removal(desired, actual)
        without = [*mappings.removal(desired, actual), *boot.removal(desired, actual)]
        without += repositories.removal(desired, actual)
        without += [*driver.removal(desired, actual), *guard.removal(desired, actual)]
        return [*gone, *without, *services.removal(desired, actual), *objects.removal(desired, actual)]
    _refuse_lacking(desired, actual)
    found = cards.find(desired, actual)
    passed = cards.passed(found)
    return [
        *repositories.steps(desired, actual),
        services.packages(desired, actual),
        services.limits(desired, actual),
        services.forwarding(desired, actual),
        # The walls stand before there is anything to wall: no moment is open.
        services.walls(desired, actual),
        *network.bridges(desired, actual),
        network.reload(desired, actual),
        services.dns(desired, actual),
        services.time(desired, actual),
        services.unseal(desired, actual),
        # What a mapping's removal leaves undone, the files of its card remind of.
        *mappings.steps(desired, actual, passed),
        *boot.preparation(desired, actual, passed),
        *driver.steps(desired, actual, found),
        guard.step(desired, actual, passed),
        *storages.steps(desired, actual),
        *objects.pve(desired, actual),
    ]


def notes(desired: Desired, actual: ActualNode) -> tuple[str, ...]:
    """What is not ours to change and worth a word."""
    shared = collisions.overlaps(desired, actual, network.ours(desired, actual))
    found = [] if desired.removed else cards.passed(cards.find(desired, actual))
    closed = (f"node {desired.node}: {network.why_closed(actual, name)}" for name in network.closed(desired, actual))
    return (
        *strangers(desired, actual),
        *closed,
        *shared,
        *services.strange_resolvers(desired, actual),
        *services.strict(desired, actual),
        *cards.shared_ids(desired, found, actual.devices),
        *boot.notes(desired, actual, found),
        *storages.kept(desired, actual),
        *(nics.kept(desired, actual) if not found else ()),
    )


def strangers(desired: Desired, actual: ActualNode) -> tuple[str, ...]:
    """A sentence for each port on a bridge of ours that is no guest's of ours: it is left alone, and is alone there."""
    ours = {name for port in desired.ports for name in (port.own, port.behind_firewall)}
    return tuple(
        f"node {desired.node}: port {name} on {zone.bridge} is no declared guest's: it reaches neither guests nor node"
        for zone in desired.zones
        for name in sorted(actual.ports.get(zone.bridge, []))
        if name not in ours and not desired.removed
    )


def _storage_trouble(node: str, entry: dict[str, Any]) -> str:
    """Why a node cannot use a storage that its cluster has; empty when it can."""
    nodes = [name.strip() for name in str(entry.get("nodes") or "").split(",") if name.strip()]
    if nodes and node not in nodes:
        return f"only {' and '.join(nodes)} may use it"
    return "it is disabled" if int(entry.get("disable") or 0) else ""


def _refuse_lacking(desired: Desired, actual: ActualNode) -> None:
    there = {entry["storage"]: _storage_trouble(desired.node, entry) for entry in actual.api["storage"]}
    ready = ", ".join(sorted(name for name, trouble in there.items() if not trouble))
    made = {mirror.storage for mirror in desired.mirrors} - there.keys()
    wanted = dict.fromkeys(name for name in (*desired.storages, desired.images) if name not in made)
    lacking = [f"{name} ({trouble})" for name in wanted if (trouble := there.get(name, "there is none"))]
    if lacking:
        raise RefusedByNode(
            "precondition",
            f"node {desired.node} has no storage {', '.join(lacking)}; it has {ready or 'none at all'}",
            "see to it on the node (Datacenter > Storage), or name another under nodes.*.storage in hub.yml",
        )
