"""What a guest's agent is given: its program and agent.json."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from aihub import names
from aihub.errors import HubError
from aihub.model.resolved import Certificate, Hub, Instance

CA = Path("vault", "ca.pem")  # in the state directory: the hub's root certificate


@cache
def program() -> str:
    """The agent's source."""
    return (Path(__file__).parents[1] / "secrets" / "agent" / "on_guest.py").read_text()


def config(hub: Hub, guest: str) -> dict[str, Any]:
    """agent.json: where Vault is, who the guest is there, and what its instances need; no secret."""
    vault = hub.vault
    if vault is None:
        raise HubError("this hub has no Vault for the agents of its guests to ask")
    return {
        "vault": f"https://{vault.guest.fqdn}:{vault.stack.main_port}",
        "address": str(vault.guest.address),
        "source": str(hub.guests[guest].address),
        "ca": "/etc/hub/ca.pem",
        "role": names.approle(hub.guests[guest].id),
        "instances": [_machine(hub, guest), *(one for i in hub.told(guest) if (one := _instance(hub, i)))],
    }


def _machine(hub: Hub, guest: str) -> dict[str, Any]:
    """The guest itself, in the shape of an instance: its certificate is root's, and its units are told of a new one."""
    tls = hub.machines[guest]
    return {
        "stack": tls.folder,
        "uid": 0,
        "units": [names.DOOR_UNIT] if hub.door(guest) else [],
        "entries": [],
        "certificates": [_certificate(tls)],
    }


def _certificate(one: Certificate) -> dict[str, Any]:
    return {"id": one.place, "role": one.role, "name": one.name, "file": one.file, "on_change": one.on_change}


def _instance(hub: Hub, instance: Instance) -> dict[str, Any] | None:
    entries = [
        {
            "path": ref.path,
            "files": dict(ref.files),
            "on_change": ref.on_change,
            "later": ref.later,
            "given": ref.given,
        }
        for ref in hub.read(instance)
    ]
    certificates = [_certificate(one) for one in hub.certificates if one.instance == instance.name]
    if not instance.stack.delivered:
        return None
    reload = instance.stack.reload
    return {
        "stack": instance.stack.name,
        "uid": instance.stack.uid,
        "restart": names.unit(instance.stack.name),
        "reload": reload.model_dump() if reload else None,
        "entries": entries,
        "certificates": certificates,
    }
