"""A stack's compose.yml, as far as it could reach past its own containers and network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from aihub.errors import Problem
from aihub.model.stack import Stack

from . import document
from .document import Path_

ASKED = (
    "cap_add",
    "cgroup",
    "cgroup_parent",
    "device_cgroup_rules",
    "devices",
    "ipc",
    "network_mode",
    "pid",
    "privileged",
    "userns_mode",
    "uts",
)
"""Keys of a service that need a waiver of their name in stack.yml."""
SOCKET = "docker_socket"
SAFE = ("no-new-privileges:true", "no-new-privileges")
OURS = "names and settings of networks are aihub's, which tells the firewall: leave `{}`, or `internal: true`"
NETWORKS = ("host", "none")
STRANGE = (
    "the guest's firewall lets nothing through for such a network: leave it out, or `host`, `none`, `service:NAME`"
)
ELSEWHERE = "what stands in another file is not checked: write it here"

Found = tuple[Path_, str]


def problems(stack: Stack, folder: Path, shown: str) -> list[Problem]:
    """What is wrong in the folder's compose files. One that is not there is a matter of `aihub check`."""
    found: list[Problem] = []
    for path in sorted(folder.glob("compose*.yml")):
        read = document.parse(path, name=f"{shown}/{path.name}")
        found += read.problems
        data = read.data if isinstance(read.data, dict) else {}
        found += [read.problem(place, text, at_key=True) for place, text in _findings(stack, data)]
    return found


def _findings(stack: Stack, data: Mapping[str, Any]) -> Iterator[Found]:
    if "include" in data:
        yield ("include",), ELSEWHERE
    for key, network in _mapping(data.get("networks")).items():
        for word in _mapping(network):
            if word != "internal":
                yield ("networks", key, word), OURS
    for name, service in _mapping(data.get("services")).items():
        for place, text in _of_service(stack, _mapping(service)):
            yield ("services", name, *place), text


def _of_service(stack: Stack, service: Mapping[str, Any]) -> Iterator[Found]:
    if "extends" in service:
        yield ("extends",), ELSEWHERE
    for key in ASKED:
        harmless = service.get(key) in (None, False, [], "none", "private")
        if not harmless and key not in stack.waivers:
            yield (key,), _reason(key)
    mode = str(service.get("network_mode") or "none")
    if mode not in NETWORKS and not mode.startswith("service:"):
        yield ("network_mode",), STRANGE
    for index, option in enumerate(service.get("security_opt") or ()):
        if option not in SAFE and "security_opt" not in stack.waivers:
            yield ("security_opt", index), _reason("security_opt")
    for index, mount in enumerate(service.get("volumes") or ()):
        source = mount.get("source", "") if isinstance(mount, dict) else mount
        if "docker.sock" in str(source) and SOCKET not in stack.waivers:
            yield ("volumes", index), _reason(SOCKET)


def _reason(key: str) -> str:
    return f"gives a container more than its own: if it can't be otherwise, say why under `waivers: {{{key}: ...}}`"


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
