"""What roles and instances are made from, part by part: so that a plan can say which file, key or image changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from aihub import names
from aihub.model.resolved import Instance

from . import containers
from .sources import role_parts

DIGITS = 16  # of a part's hash: it tells that something changed, and proves nothing
COMPOSE, OVERRIDE, ENVIRONMENT = "compose.yml", "compose.override.yml", ".env"
BUILT = " built from"  # how parts end that the program on a guest knows, too
RESTARTING = {
    "docker": frozenset(
        {
            "docker_bridge",
            "docker_ca",
            "docker_cdi",
            "docker_no_proxy",
            "docker_pool",
            "docker_proxy",
            "roles/docker/defaults/main.yml",
            "roles/docker/vars/main.yml",
            "/etc/docker/daemon.json",
            "/usr/local/share/ca-certificates/hub-lab.crt",
        }
    )
}
"""By role, the parts and files with which it restarts what all stacks of a guest run on."""


def of_role(role: str, inputs: Mapping[str, Any]) -> dict[str, str]:
    """The files of a role by their hashes, and what it is given."""
    return {**role_parts(role, DIGITS), **{key: _hash(value) for key, value in inputs.items()}}


def of_instance(instance: Instance, given: Mapping[str, Any]) -> dict[str, str]:
    """An instance's files, settings and images; `given` is what its role is given for it."""
    home, unit = names.home(instance.stack.name) + "/", names.unit_file(names.unit(instance.stack.name))
    found = {f"image {image}{BUILT}": digest[:DIGITS] for image, digest in given["built"].items()}
    found |= role_parts("stack", DIGITS)
    for one in given["files"]:
        path = one["path"]
        if "content" not in one:
            found[f"volume {path}"] = f"{one['mode']} {one['owner']}"
        elif path == unit:
            found[f"unit {names.unit(instance.stack.name)}"] = _hash(one["content"])
        elif not path.startswith(home):
            found[f"logs {path}"] = _hash(one["content"])
        else:
            found |= _file(instance, path.removeprefix(home), one["content"])
    return found


def _file(instance: Instance, name: str, content: str) -> dict[str, str]:
    if name == ENVIRONMENT:
        pairs = (line.partition("=") for line in content.splitlines())
        return {f"{name}: {key}": _hash(value) for key, _, value in pairs}
    if name == COMPOSE:
        return dict(_settings(instance))
    if name == OVERRIDE:
        made = json.loads(content)
        for service in made["services"].values():
            service.get("labels", {}).pop("hub.revision", None)  # only tells that files under config changed
        return {name: _hash(made)}
    return {name: _hash(content)}


def images(instance: Instance) -> dict[str, str]:
    """Which image each service of an instance runs, by the part that tells it."""
    services = containers.merged(instance).items()
    return {f"image of {service}": str(keys.get("image", "")) for service, keys in services}


def _settings(instance: Instance) -> dict[str, str]:
    """The keys of each service, its image as it is called; what stands beside the services is one."""
    found = {COMPOSE: _hash(containers.rest(instance)), **images(instance)}
    for service, keys in containers.merged(instance).items():
        found |= {f"{COMPOSE}: {service}.{key}": _hash(value) for key, value in keys.items() if key != "image"}
    return found


def _hash(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
