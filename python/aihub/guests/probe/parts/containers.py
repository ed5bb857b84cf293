"""What Docker has on a guest, asked at its socket."""

from __future__ import annotations

import contextlib
import json
import re
from typing import Any

from aihub.guests.probe.parts.places import DOCKER_SOCKET, HOME, PROJECT, STACK_NAME
from aihub.guests.probe.parts.units import tell

UNNAMED = re.compile(r"[0-9a-f]{64}")  # how Docker calls a volume that nobody gave a name


def ask_docker(*paths: str) -> list[Any]:
    """What Docker answers, each as JSON. Raises OSError where none runs."""
    import http.client
    import socket

    connection = http.client.HTTPConnection("docker", timeout=10)
    connection.sock = socket.socket(socket.AF_UNIX)
    connection.sock.settimeout(10)
    with contextlib.closing(connection):
        connection.sock.connect(DOCKER_SOCKET)
        answers = []
        for path in paths:
            connection.request("GET", path)
            answers.append(json.loads(connection.getresponse().read()))
    return answers


def every_container() -> list[dict[str, Any]]:
    """Every container, running or not; none where no Docker runs."""
    try:
        (found,) = ask_docker("/containers/json?all=1")
        return list(found)
    except OSError:
        return []


def project_of(one: dict[str, Any]) -> str:
    """The Compose project that a container is of; what `docker compose run` leaves is of none."""
    labels = one["Labels"] or {}
    return "" if labels.get("com.docker.compose.oneoff") == "True" else labels.get(PROJECT, "")


def is_ours(one: dict[str, Any]) -> bool:
    """Whether Compose made a container out of a folder of ours."""
    project = project_of(one)
    folder = (one["Labels"] or {}).get(PROJECT + ".working_dir", "")
    return bool(STACK_NAME.fullmatch(project)) and folder == f"{HOME}/{project}"


def containers(every: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, str]]]:
    """Every container of every Compose project, by project and service."""
    projects: dict[str, dict[str, dict[str, str]]] = {}
    for one in every:
        labels, project = one["Labels"] or {}, project_of(one)
        if not project:
            continue
        service, number = (labels.get(f"com.docker.compose.{key}", "?") for key in ("service", "container-number"))
        health = re.search(r"\((?:health: )?(healthy|unhealthy|starting)\)", one["Status"])
        projects.setdefault(project, {})[f"{service}-{number}"] = {
            "image": one["ImageID"],
            "configuration": labels.get("com.docker.compose.config-hash", ""),
            "state": one["State"],
            "health": health.group(1) if health else "none",
        }
    return projects


def in_docker() -> list[tuple[str, str, str]]:
    """Networks, and volumes that no container uses: what kind, its name, its Compose project."""
    try:
        networks, unused = ask_docker("/networks", '/volumes?filters={"dangling":["true"]}')
    except OSError:
        return []
    found = [("network", one) for one in networks if one["Name"] not in ("bridge", "host", "none")]
    found += [("volume", one) for one in unused["Volumes"] or ()]
    return [(kind, one["Name"], (one["Labels"] or {}).get(PROJECT, "")) for kind, one in found]


def unnamed(every: list[dict[str, Any]]) -> dict[str, list[str]]:
    """The volumes without a name that containers of each stack have: an image asks for one, and nobody declared it.

    Compose hands them on to the next container, and after that Docker takes them for somebody's: they outlive it.
    """
    found: dict[str, list[str]] = {}
    for one in filter(is_ours, every):
        mounts = [mount.get("Name", "") for mount in one.get("Mounts") or () if mount.get("Type") == "volume"]
        found.setdefault(project_of(one), []).extend(filter(UNNAMED.fullmatch, mounts))
    return {stack: sorted(names) for stack, names in found.items() if names}


def clear_volumes(remembered: list[str]) -> list[str]:
    """Volumes without a name go that a stack had, and whose container somebody has removed."""
    (found,) = ask_docker('/volumes?filters={"dangling":["true"]}')
    left = [one["Name"] for one in found["Volumes"] or () if one["Name"] in remembered]
    if left:
        tell(["docker", "volume", "rm", *left])
    return [f"volume {name}" for name in left]


def clear_networks(stack: str, wanted: list[str]) -> list[str]:
    """Compose makes networks, and removes none of those that a stack no longer names."""
    (found,) = ask_docker("/networks")
    own = [one["Name"] for one in found if (one["Labels"] or {}).get(PROJECT) == stack]
    left = [name for name in own if name not in wanted]
    if left:
        tell(["docker", "network", "rm", *left])
    return [f"network {name}" for name in left]
