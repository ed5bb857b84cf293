"""Ansible's dynamic inventory: every guest with its variables, as data that is never taken for a template."""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping
from dataclasses import asdict
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from aihub import names
from aihub.bundle import bundle
from aihub.errors import PreconditionFailed
from aihub.model.resolved import Guest, Hub, Instance
from aihub.state.directory import State

from . import agent, containers, copying, parts
from .sources import packages, role_hash
from .stacks import logrotate, no_proxy, proxy, stack_files, unit_file

PROGRAM = Path(__file__).parents[1] / "guests" / "probe" / "on_guest.py"
LAB_CA = "lab-ca.pem"  # in the state directory: the CA of the lab's registry
_POOLS = ("172.30.0.0/16", "172.29.0.0/16", "10.199.0.0/16", "192.168.224.0/19")
_MACHINE = ("base", "ssh", "firewall")


def inventory(hub: Hub, state: State) -> dict[str, Any]:
    """The inventory as `ansible-inventory --list` understands it."""
    groups: dict[str, list[str]] = {
        "guests": list(hub.guests),
        "containers": [],
        "agents": list(hub.agents),
        "doors": [name for name in hub.agents if hub.door(name)],
        "copiers": list(hub.copiers),
        "cards": [guest.name for guest in hub.guests.values() if guest.gpu],
    }
    for guest in hub.guests.values():
        groups.setdefault(f"zone_{guest.zone}", []).append(guest.name)
        if hub.on(guest.name):
            groups["containers"].append(guest.name)
    every = made_from(hub, state)
    found = {n: _as_data({**values, "manifest_made_from": every[n]}) for n, values in hostvars(hub, state).items()}
    shared = _as_data({"program_text": bundle(PROGRAM).decode()})
    named = {name: {"hosts": hosts} for name, hosts in groups.items()}
    return {"_meta": {"hostvars": found}, "all": {"vars": shared}, **named}


def hostvars(hub: Hub, state: State) -> dict[str, dict[str, Any]]:
    """The variables of each guest; `manifest_desired` holds one hash for each role and instance."""
    keys = _authorized_keys(hub, state)
    ca = _text(state, LAB_CA)
    authority = _text(state, agent.CA)
    found: dict[str, dict[str, Any]] = {}
    for guest in hub.guests.values():
        values: dict[str, Any] = {
            **_machine(hub, guest),
            "ssh_authorized_keys": keys,
            "docker_ca": ca,
            "stack_instances": [_instance(hub, one) for one in hub.on(guest.name)],
        }
        if guest.gpu:
            values |= _card(hub, guest)
        if guest.name in hub.agents:
            values |= {
                "vault_agent_ca": authority,
                "vault_agent_config": agent.config(hub, guest.name),
                "vault_agent_program": agent.program(),
            }
        if guest.name in hub.copiers:
            values["restic_config"] = copying.config(hub, guest.name)
        if guest.name in hub.agents and hub.door(guest.name):
            values |= _door(hub, guest)
        connection = {
            "ansible_ssh_common_args": f"-F {shlex.quote(str(state.ssh_config))}",
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        found[guest.name] = {**connection, **values, "manifest_desired": _desired(values)}
    return found


def desired(hub: Hub, state: State) -> dict[str, dict[str, str]]:
    """For each guest, by role (`ssh`) and instance (`stack/NAME`), the hash of what it is made from."""
    return {name: values["manifest_desired"] for name, values in hostvars(hub, state).items()}


def made_from(hub: Hub, state: State) -> dict[str, dict[str, dict[str, str]]]:
    """As `desired`, for each role and instance the parts that it is made from: what a plan tells of a change."""
    return {name: _made_from(hub, name, values) for name, values in hostvars(hub, state).items()}


def _machine(hub: Hub, guest: Guest) -> dict[str, Any]:
    through = proxy(hub, guest)
    pool = _pool(hub)
    # As this guest sees the node: the zone's gateway, or with a router between them the node's own address.
    node = str(guest.gateway if hub.file.network.gateway == "node" else hub.nodes[guest.node].address)
    *_, last = pool.subnets(new_prefix=24)
    return {
        "base_hostname": guest.name,
        "base_kind": guest.kind,
        "base_time_server": node,
        "base_owns_kernel": guest.kind == "vm" and hub.target.vm_owns_kernel,
        "base_proxy": through,
        "base_upcoming_packages": _upcoming(hub, guest, "debian"),
        "base_upcoming_packages_ubuntu": _upcoming(hub, guest, "ubuntu"),
        "firewall_address": str(guest.address),
        "firewall_ssh_from": _nodes(hub, guest),
        "firewall_flows": _flows(hub, guest),
        "firewall_dns": node,
        "firewall_not_outside": containers.not_outside(hub, pool),
        "firewall_networks": [wall for one in hub.on(guest.name) for wall in containers.walls(hub, one)],
        "docker_address": str(guest.address),
        "docker_local_ports": _local_ports(hub, guest),
        "docker_pool": str(pool),
        "docker_bridge": f"{next(last.hosts())}/{last.prefixlen}",
        "docker_proxy": through,
        "docker_no_proxy": no_proxy(hub),
    }


def _upcoming(hub: Hub, guest: Guest, system: str) -> list[str]:
    """What later roles install on a guest, if it runs that system: what it runs, it says itself."""
    docker = packages("docker", system) if hub.on(guest.name) else []
    copies = packages("restic", system) if guest.name in hub.copiers else []
    return [*docker, *copies, *(packages("door", system) if hub.door(guest.name) else ())]


def _nodes(hub: Hub, guest: Guest) -> list[str]:
    """The node as guests see it, in every zone: this one may come into another."""
    if hub.file.network.gateway != "node":
        return [str(hub.nodes[guest.node].address)]
    return [str(address) for address in sorted(hub.gateway(zone) for zone in hub.zones)]


def _door(hub: Hub, guest: Guest) -> dict[str, Any]:
    return {
        "door_name": guest.fqdn,
        "door_address": str(guest.address),
        "door_openings": [asdict(one) for one in hub.door(guest.name)],
    }


def _card(hub: Hub, guest: Guest) -> dict[str, Any]:
    return {
        "nvidia_simulated": hub.target.has_stand_ins,
        "nvidia_owns_kernel": hub.target.vm_owns_kernel and guest.kind == "vm",
        "nvidia_shared": guest.kind == "lxc",
        "nvidia_proxy": proxy(hub, guest),
        "docker_cdi": True,
    }


def _flows(hub: Hub, guest: Guest) -> list[dict[str, Any]]:
    found = {(f.source, f.port, f.protocol) for f in hub.flows if f.destination == str(guest.address)}
    offers = [offer for instance in hub.on(guest.name) for offer in instance.stack.gives.values()]
    most = {offer.port: offer.connections or 0 for offer in offers}
    return [
        {"source": source, "port": port, "protocol": protocol, "most": most.get(port, 0) * source.endswith("/32")}
        for source, port, protocol in sorted(found)  # a subnet's would be one limit for all who are in it
    ]


def _local_ports(hub: Hub, guest: Guest) -> list[int]:
    """The ports of a guest's stacks that other stacks on it use; the door's own are no container's."""
    here = {instance.name for instance in hub.on(guest.name)}
    used = [(kind, name) for one in hub.on(guest.name) for kind, name in one.used if name in here]
    return sorted({hub.instance(name).stack.gives[kind].port for kind, name in used})


def _pool(hub: Hub) -> IPv4Network:
    taken = [zone.subnet for zone in hub.zones.values()]
    taken += [IPv4Network(f"{node.address}/24", strict=False) for node in hub.nodes.values()]
    for pool in map(IPv4Network, _POOLS):
        if not any(pool.overlaps(network) for network in taken):
            return pool
    raise PreconditionFailed(
        "the zones and the nodes' networks leave none of Docker's networks free: " + ", ".join(_POOLS),
        where=hub.path,
        hint="give a zone another subnet",
    )


def _instance(hub: Hub, instance: Instance) -> dict[str, Any]:
    stack = instance.stack
    home, data, unit = names.home(stack.name), names.data(stack.name), names.unit(stack.name)
    files = {f"{home}/{name}": content.decode() for name, content in stack_files(hub, instance).items()}
    files[names.unit_file(unit)] = unit_file(hub, instance)
    if cut := logrotate(instance):
        files[names.logrotate(stack.name)] = cut
    owner = f"{stack.uid}:{stack.uid}"
    return {
        "name": stack.name,
        "files": [
            *({"path": f"{data}/{one.volume}", "mode": "0700", "owner": owner} for one in stack.data),
            *({"path": path, "content": content} for path, content in files.items()),
        ],
        "built": {
            reference: hub.built[reference] for reference in parts.images(instance).values() if reference in hub.built
        },
        "networks": [names.network(name) for name in containers.networks(instance).values()],
        "manages": {
            "files": [*files, *(f"{data}/{one.volume}" for one in stack.data)],
            "units": [unit],
            "stacks": [stack.name],
        },
    }


def _made_from(hub: Hub, guest: str, values: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    given = {one["name"]: one for one in values["stack_instances"]}
    return {
        **{role: parts.of_role(role, _inputs(role, values)) for role in _roles(values)},
        **{f"stack/{i.stack.name}": parts.of_instance(i, given[i.stack.name]) for i in hub.on(guest)},
    }


def _roles(values: Mapping[str, Any]) -> list[str]:
    roles = list(_MACHINE)
    if "nvidia_simulated" in values:
        roles.append("nvidia")
    if values["stack_instances"]:
        roles.append("docker")
    if "vault_agent_config" in values:
        roles.append("vault_agent")
    if "restic_config" in values:
        roles.append("restic")
    if "door_openings" in values:
        roles.append("door")
    return roles


def _inputs(role: str, values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key.startswith(f"{role}_")}


def _desired(values: Mapping[str, Any]) -> dict[str, str]:
    found = {role: _hash(role, _inputs(role, values)) for role in _roles(values)}
    for one in values["stack_instances"]:
        found[f"stack/{one['name']}"] = _hash("stack", one)
    return found


def _hash(role: str, inputs: Mapping[str, Any]) -> str:
    text = json.dumps([role_hash(role), inputs], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _authorized_keys(hub: Hub, state: State) -> list[str]:
    public = state.key.with_suffix(".pub")
    if not public.exists():
        raise PreconditionFailed(f"{public}: the controller has no key yet", hint="aihub up")
    return [public.read_text().strip(), *hub.operator_keys]


def _text(state: State, name: str | Path) -> str:
    path = state.directory / name
    return path.read_text() if path.exists() else ""


def _as_data(value: Any) -> Any:
    """The value with every text marked as data: by default Ansible takes an inventory's for templates."""
    if isinstance(value, str):
        return {"__ansible_unsafe": value}
    if isinstance(value, dict):
        return {key: _as_data(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_as_data(one) for one in value]
    return value
