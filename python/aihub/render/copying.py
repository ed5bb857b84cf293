"""What a guest is told of the copies that it makes: of what, how, and where to; no secret."""

from __future__ import annotations

from typing import Any

from aihub import names
from aihub.model import copying
from aihub.model.resolved import Consumer, Hub, Instance
from aihub.model.stack import COPIES, Program


def config(hub: Hub, guest: str) -> dict[str, Any]:
    """backup.json of a guest that makes copies."""
    copier = hub.copiers[guest]
    folder = names.secret_folder(copying.NAME)
    return {
        "repository": f"rest:{repository(hub, copier)}",
        "host": copier.guest.id,
        "ca": f"{folder}/ca.pem",
        "certificate": f"{folder}/{COPIES}_{copying.OWN}.pem",
        "password": f"{folder}/{copying.PASSWORD}",
        "instances": [_instance(hub, one) for one in hub.on(guest) if copying.copied(one)],
    }


def repository(hub: Hub, copier: Instance) -> str:
    """Where a guest's repository is."""
    (own,) = hub.uses(copier)
    provider = hub.instance(own.provider)
    return f"https://{provider.guest.fqdn}:{hub.offer(own).port}/{own.shows}/"


def _instance(hub: Hub, instance: Instance) -> dict[str, Any]:
    """An instance and what is copied of it: files, what its consumers keep there, its own snapshot."""
    data = names.data(instance.stack.name)
    return {
        "stack": instance.stack.name,
        "id": instance.id,
        "unit": names.unit(instance.stack.name),
        "stopped": copying.stopped(instance),
        "volumes": [f"{data}/{volume}" for volume in copying.volumes(instance)],
        "snapshot": copying.snapshot(instance),
        "dumps": [_dump(hub, one) for one in copying.dumped(instance, hub.consumers)],
    }


def _dump(hub: Hub, one: Consumer) -> dict[str, Any]:
    """The programs of the provider, for what one consumer keeps there."""
    offer = hub.offer(one)
    programs = {"dump": offer.dump, "restore": offer.restore, "clear": offer.clear}
    return {
        "id": hub.instance(one.consumer).id,
        "kind": one.kind,
        "role": one.role,
        **{what: command(hub, one, program) for what, program in programs.items() if program},
    }


def command(hub: Hub, consumer: Consumer, program: Program) -> list[str]:
    """How a program of a consumer's provider is run for it, on the provider's guest."""
    return run_for(hub.instance(consumer.provider), program, consumer.role)


def run_for(provider: Instance, program: Program, role: str) -> list[str]:
    """How a program of a provider is run for a role, on its guest."""
    home = names.home(provider.stack.name)
    compose = ["docker", "compose", "--project-directory", home, "exec", "-T"]
    return [*compose, program.service, *program.exec, role]
