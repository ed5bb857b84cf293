"""What follows from hub.yml and its stacks: addresses, names, consumers, flows."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

from .catalogue import usual
from .hub import GuestSpec, HubFile
from .resolved import (
    VERIFY,
    Consumer,
    Flow,
    Guest,
    Instance,
    bridge_of,
    gateway_of,
    mac_of,
)


def hub_id(file: HubFile) -> str:
    """The hub's id; where hub.yml has none, one that its name and domain always give."""
    return file.hub.id or hashlib.sha256(f"{file.hub.name}\n{file.hub.domain}".encode()).hexdigest()[:16]


def node_of(file: HubFile, spec: GuestSpec) -> str | None:
    """The node that a guest runs on; None where hub.yml leaves it open or names one that is not there."""
    if spec.node is None:
        return next(iter(file.nodes)) if len(file.nodes) == 1 else None
    return spec.node if spec.node in file.nodes else None


def guest(file: HubFile, name: str, spec: GuestSpec) -> Guest | None:
    """The guest with every derived value; None while its node, zone or storage is not there."""
    node = node_of(file, spec)
    zone = file.zones.get(spec.zone)
    if node is None or zone is None or spec.storage not in file.nodes[node].storage:
        return None
    return Guest(
        name=name,
        id=spec.id or name,
        vmid=spec.vmid,
        kind=spec.kind,
        zone=spec.zone,
        node=node,
        address=spec.address,
        subnet=zone.subnet,
        gateway=gateway_of(zone.subnet),
        bridge=bridge_of(spec.zone),
        mac=mac_of(spec.vmid),
        fqdn=f"{name}.{file.hub.domain}",
        cores=spec.cores,
        memory=spec.memory,
        disk=spec.disk,
        storage=file.nodes[node].storage[spec.storage].use,
        gpu=spec.gpu,
        internet=zone.internet == "outbound",
        stacks=tuple(placement.name for placement in spec.stacks),
        vlan=zone.vlan,
        image=spec.image or usual(spec.kind, spec.gpu),
    )


def consumers(instances: Iterable[Instance]) -> tuple[Consumer, ...]:
    """Everyone who uses a provider; the checks log in at each that has passwords."""
    every = {instance.name: instance for instance in instances}
    found: list[Consumer] = []
    for instance in every.values():
        for need in instance.stack.wants:
            if (provider := every.get(instance.providers.get(need.kind, ""))) is None:
                continue
            role, strategy = instance.object_name(need.key), provider.stack.gives[need.kind].strategy
            who = (provider.name, instance.name, need.kind, need.key, role)
            shows = shown(instance, role, need.kind) if strategy == "certificate" else ""
            found.append(Consumer(*who, strategy, need.options, need.later, shows))
        kinds = [kind for kind, offer in instance.stack.gives.items() if offer.passwords]
        for kind in kinds:
            role = VERIFY if kind == kinds[0] else f"{VERIFY}_{kind}"
            found.append(Consumer(instance.name, VERIFY, kind, VERIFY, role, instance.stack.gives[kind].strategy))
    return tuple(found)


def shown(instance: Instance, role: str, kind: str) -> str:
    """The name in a consumer's certificate: a host name that no host has."""
    labels = (re.sub("[_-]+", "-", one).strip("-") for one in (role, kind))
    return ".".join((*labels, instance.guest.fqdn.partition(".")[2]))


def flows(file: HubFile, instances: Iterable[Instance]) -> tuple[Flow, ...]:
    """Every connection that may be opened to a guest, once each, sorted."""
    every = {instance.name: instance for instance in instances}
    found: dict[tuple[str, str, int], Flow] = {}
    for instance in every.values():
        for flow in chain(
            _to_providers(instance, every),
            _to_published(file, instance),
            _to_egress(file, instance),
            _to_vault(file, instance),
        ):
            found.setdefault((flow.source, flow.destination, flow.port), flow)
    return tuple(sorted(found.values()))


def lan(file: HubFile) -> tuple[Flow, ...]:
    """Every connection that may be opened to a service of the LAN, sorted."""
    found = [
        Flow(str(zone.subnet), str(one.address), one.port, one.protocol, why=f"{name} reaches the LAN")
        for name, zone in file.zones.items()
        for one in zone.lan
    ]
    found += [
        Flow(f"{spec.address}/32", str(one.address), one.port, one.protocol, why=f"{name} reaches the LAN")
        for name, spec in file.guests.items()
        for one in spec.lan
    ]
    return tuple(sorted(found))


def _to_providers(instance: Instance, every: Mapping[str, Instance]) -> Iterator[Flow]:
    for kind, name in instance.used:
        provider = every[name]
        if provider.guest.name != instance.guest.name:
            source, port = f"{instance.guest.address}/32", provider.stack.gives[kind].port
            yield Flow(source, str(provider.guest.address), port, why=f"{instance.name} uses {provider.name}")


def _to_published(file: HubFile, instance: Instance) -> Iterator[Flow]:
    for key, port in instance.stack.gives.items():
        for name, zone in file.zones.items():
            if port.publish == "hub" or (port.publish == "zone" and name == instance.guest.zone):
                why = f"{instance.name} publishes {key} to {name}"
                yield Flow(str(zone.subnet), str(instance.guest.address), port.port, why=why)


def _to_egress(file: HubFile, instance: Instance) -> Iterator[Flow]:
    port = instance.stack.main_port
    if instance.stack.office != "egress" or port is None:
        return
    for name, zone in file.zones.items():
        if zone.internet == "none":
            why = f"{name} reaches listed hosts through {instance.name}"
            yield Flow(str(zone.subnet), str(instance.guest.address), port, why=why)


def _to_vault(file: HubFile, vault: Instance) -> Iterator[Flow]:
    """The agent of each guest fetches from the vault, and the vault's node unseals it."""
    port = vault.stack.main_port
    if vault.stack.office != "secrets" or port is None:
        return
    guest = vault.guest
    for name, spec in file.guests.items():
        if name != guest.name:
            yield Flow(f"{spec.address}/32", str(guest.address), port, why=f"the agent of {name} uses {vault.name}")
    # As the guest sees its node: the zone's gateway, or with a router between them the node's own address.
    node = guest.gateway if file.network.gateway == "node" else file.nodes[guest.node].address
    yield Flow(f"{node}/32", str(guest.address), port, why=f"{guest.node} unseals {vault.name}")
