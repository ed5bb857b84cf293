"""Running containers, looked at through Docker's own API over a forwarded socket; the only user of the docker SDK.

Looking only: containers are made and changed by Compose, which Ansible starts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from aihub.errors import HubError, Unreachable
from aihub.model.resolved import Instance

if TYPE_CHECKING:
    import docker
    from docker.models.containers import Container

LAB_BUILD = "io.aihub.lab-build"  # the label of images that the lab built


@dataclass(frozen=True)
class Running:
    """One container of an instance as Docker has it now."""

    service: str
    name: str
    image: str
    lab_build: bool
    status: str  # running, exited, ...
    health: str  # healthy, unhealthy, starting, or none without a health check
    started: str
    restarts: int


def connect(socket: Path) -> docker.DockerClient:
    """A client of the Docker behind a forwarded socket. Raises Unreachable when it does not answer."""
    import docker

    with _translated(str(socket)):
        client = docker.DockerClient(base_url=f"unix://{socket}", timeout=30)
        client.ping()
        return client


def of_instance(client: docker.DockerClient, instance: Instance) -> tuple[Running, ...]:
    """The instance's containers, stopped ones too, by service."""
    label = f"com.docker.compose.project={instance.stack.name}"
    with _translated(instance.name):
        found = client.containers.list(all=True, filters={"label": label})
        return tuple(sorted((_running(c) for c in found), key=lambda r: (r.service, r.name)))


def _running(container: Container) -> Running:
    state, config = container.attrs["State"], container.attrs["Config"]
    labels = config.get("Labels") or {}
    return Running(
        service=labels.get("com.docker.compose.service", ""),
        name=str(container.name),
        image=config["Image"],
        lab_build=labels.get(LAB_BUILD) == "true",  # a container inherits its image's labels
        status=state["Status"],
        health=(state.get("Health") or {}).get("Status", "none"),
        started=state["StartedAt"],
        restarts=container.attrs.get("RestartCount", 0),
    )


@contextmanager
def _translated(where: str) -> Iterator[None]:
    import docker.errors

    try:
        yield
    except docker.errors.APIError as error:
        raise HubError(f"Docker refused: {error.explanation or error}", where=where) from error
    except (docker.errors.DockerException, OSError) as error:
        raise Unreachable(f"Docker does not answer: {error}", where=where, hint="aihub plan") from error
