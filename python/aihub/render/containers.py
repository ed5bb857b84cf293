"""What is put around every stack's own compose.yml, so that no author has to remember it: networks that the guest's
firewall knows by their bridges, what such a network may reach, and no capability that nobody asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from aihub import names
from aihub.model.resolved import Hub, Instance
from aihub.paths import STACKS
from aihub.reading import document

from .sources import flavour_of

DEFAULT = "default"
CARD = "nvidia.com/gpu=all"
NO_NEW_PRIVILEGES = "no-new-privileges:true"
NOT_OUTSIDE = ("127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4")
"""Beside the hub's own networks: what no way out leads to."""


@dataclass(frozen=True, order=True)
class Reach:
    """A port that the containers of a network may connect to."""

    address: str
    port: int
    protocol: str = "tcp"


def networks(instance: Instance) -> dict[str, str]:
    """The Compose networks that an instance's containers are in, with the names that Docker and the firewall use."""
    file = STACKS / instance.stack.name / "compose.yml"
    services = [merged for merged in merged(instance).values() if "network_mode" not in merged]
    used = {key for service in services for key in service.get("networks") or (DEFAULT,)}
    stack = instance.stack.name
    return {key: stack if key == DEFAULT else f"{stack}_{key}" for key in sorted({*used, *_own(file)} if used else ())}


def walls(hub: Hub, instance: Instance) -> list[dict[str, Any]]:
    """Each network of an instance by its bridge, and what it reaches: what the stack needs, what hub.yml lets its guest
    reach of the LAN, and nothing else.
    """
    reached = {Reach(str(p.guest.address), p.stack.gives[kind].port) for kind, p in _providers(hub, instance)}
    # Whom hub.yml lets into the LAN is a guest: what uses it there are its containers.
    reached |= {Reach(one.destination, one.port, one.protocol) for one in hub.into_lan(instance.guest)}
    asks = bool(instance.stack.needs.internet) or instance == hub.egress
    if asks and not instance.guest.internet and hub.way_out:
        address, port = hub.way_out
        reached.add(Reach(str(address), port))
    found = {
        "reaches": [asdict(one) for one in sorted(reached)],
        "outside": asks and instance.guest.internet,
    }
    return [{"bridge": names.bridge(name), **found} for name in networks(instance).values()]


def not_outside(hub: Hub, pool: IPv4Network) -> list[str]:
    """Where a way out does not lead: the hub, its nodes, the guest itself and its other containers."""
    zones = [str(zone.subnet) for zone in hub.zones.values()]
    nodes = [str(node.address) for node in hub.nodes.values()]
    return sorted({*zones, *nodes, str(pool), *NOT_OUTSIDE})


def override(instance: Instance, revision: str) -> bytes:
    """compose.override.yml. Compose looks neither into mounted files nor at a network's settings, so that labels tell
    it when to make a container anew."""
    own = networks(instance)
    chosen = flavour_of(instance).get("services", {})
    services = {}
    for name, service in merged(instance).items():
        labels = {"hub.revision": revision} if revision else {}
        if "network_mode" not in service:
            labels["hub.networks"] = " ".join(own.values())
        more = {**_hardened(instance, service), **_card(instance), **chosen.get(name, {})}
        services[name] = {**({"labels": labels} if labels else {}), **more}
    made = {
        key: {"name": names.network(name), "driver_opts": {"com.docker.network.bridge.name": names.bridge(name)}}
        for key, name in own.items()
    }
    return (json.dumps({"services": services, **({"networks": made} if made else {})}, indent=1) + "\n").encode()


def _hardened(instance: Instance, service: Mapping[str, Any]) -> dict[str, Any]:
    """What a service's author left out, waived or not: nobody has to remember it."""
    found: dict[str, Any] = {}
    waived = instance.stack.waivers
    if "ALL" not in (service.get("cap_drop") or ()):
        least = "NET_RAW" if "cap_drop" in waived else "ALL"
        found["cap_drop"] = [] if least in (service.get("cap_drop") or ()) else [least]
    if NO_NEW_PRIVILEGES not in (service.get("security_opt") or ()) and "no_new_privileges" not in waived:
        found["security_opt"] = [NO_NEW_PRIVILEGES]
    return {key: value for key, value in found.items() if value}


def _card(instance: Instance) -> dict[str, Any]:
    """The guest's card for a service of a stack that can use one, by the name that all engines know it by.

    Nothing where the guest has none: engines then compute on its processors.
    """
    if not instance.has_card:
        return {}
    reserved = {"driver": "cdi", "device_ids": [CARD], "capabilities": ["gpu"]}
    return {"deploy": {"resources": {"reservations": {"devices": [reserved]}}}}


def _providers(hub: Hub, instance: Instance) -> list[tuple[str, Instance]]:
    return [(kind, hub.instance(name)) for kind, name in instance.used]


def rest(instance: Instance) -> dict[str, Any]:
    """What stands in an instance's compose.yml beside its services."""
    return {
        key: value for key, value in _read(STACKS / instance.stack.name / "compose.yml").items() if key != "services"
    }


def merged(instance: Instance) -> dict[str, dict[str, Any]]:
    """The services of an instance, with what its flavour says of them."""
    chosen = flavour_of(instance).get("services", {})
    own = _services(STACKS / instance.stack.name / "compose.yml")
    return {name: {**service, **chosen.get(name, {})} for name, service in own.items()}


def _services(compose: Path) -> Mapping[str, dict[str, Any]]:
    return {name: dict(service) for name, service in _read(compose)["services"].items()}


def _own(compose: Path) -> list[str]:
    return list(_read(compose).get("networks") or ())


@cache
def _read(compose: Path) -> Mapping[str, Any]:
    return dict(document.read(compose).data)
