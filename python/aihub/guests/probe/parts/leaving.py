"""Roles and stacks leave a guest, and their data stays."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from aihub.guests.probe.parts.containers import ask_docker, clear_volumes, is_ours, project_of, unnamed
from aihub.guests.probe.parts.files import remove
from aihub.guests.probe.parts.manifest import read_manifest
from aihub.guests.probe.parts.places import (
    CONFIGURATION,
    DOCKER_SOCKET,
    DOCKER_UNIT,
    HOME,
    LOGROTATE,
    PROJECT,
    SECRETS,
    STACK_NAME,
    TRUST,
    UNITS,
)
from aihub.guests.probe.parts.tables import clear_after_docker
from aihub.guests.probe.parts.units import held, stop, unit_of


def is_used(entry: dict[str, Any], containers: bool) -> bool:
    """Whether something still rests on a role that no instance needs."""
    return containers and DOCKER_UNIT in entry.get("units", ())


def ours_alone(entry: dict[str, Any]) -> bool:
    """Whether a role consists of units that we wrote: then nothing of it stays."""
    units = [name for kind in ("units", "boot_units") for name in entry.get(kind, ())]
    return all(UNITS + name in entry.get("files", ()) for name in units)


def retire(entry: dict[str, Any]) -> None:
    """Stops the units of a role and removes its files and folders, and theirs where one is empty then."""
    import shutil

    units, files = list(entry.get("units", ())), list(entry.get("files", ()))
    stop(units)
    if names := [name for name in entry.get("holds", ()) if name in held()]:
        subprocess.run(["apt-mark", "unhold", *names], stdout=sys.stderr, check=True)
    for path in files:
        remove(path)
        folder = os.path.dirname(path)
        if os.path.dirname(folder) == CONFIGURATION and not os.listdir(folder):
            os.rmdir(folder)
    for path in entry.get("folders", ()):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
    if units:
        subprocess.run(["systemctl", "daemon-reload"], stdout=sys.stderr, check=True)
    if any(path.startswith(TRUST) for path in files):
        subprocess.run(["update-ca-certificates"], stdout=sys.stderr, check=True)
    if DOCKER_UNIT in units:
        clear_after_docker()


def leave(request: dict[str, Any]) -> dict[str, Any]:
    """Takes stacks away, with everything of theirs but their data; fine for one of which nothing is left."""
    names = request.get("stacks")
    if names is None:
        listed = [key.partition("/")[2] for key in read_manifest()["desired"] if key.startswith("stack/")]
        names = [name for name in listed if name not in request["declared"]]
    if not request.get("check"):
        for name in names:
            leave_one(name)
    return {"left": names}


def leave_one(stack: str) -> None:
    """The unit of a stack, its containers, networks, files and secrets go."""
    import shutil

    if not STACK_NAME.fullmatch(stack):
        sys.exit(f"no stack is called {stack}")
    unit, installed = unit_of(stack), shutil.which("docker")
    if os.path.lexists(UNITS + unit):
        stop([unit])
    if installed and (os.path.exists(DOCKER_SOCKET) or os.path.isdir("/var/lib/docker")):
        subprocess.run(["systemctl", "start", DOCKER_UNIT], stdout=sys.stderr, check=True)  # it knows what there is
        every, networks = ask_docker("/containers/json?all=1", "/networks")
        found = [one["Id"] for one in every if project_of(one) == stack and is_ours(one)]
        if found:
            subprocess.run(["docker", "stop", *found], stdout=sys.stderr, check=True)
            subprocess.run(["docker", "rm", "--force", "--volumes", *found], stdout=sys.stderr, check=True)
        clear_volumes([*unnamed(every).get(stack, []), *read_manifest().get("volumes", {}).get(stack, [])])
        own = [one["Id"] for one in networks if (one["Labels"] or {}).get(PROJECT) == stack]
        if own:
            subprocess.run(["docker", "network", "rm", *own], stdout=sys.stderr, check=True)
    for place in (HOME, SECRETS):
        path = f"{place}/{stack}"
        if os.path.islink(path):
            os.unlink(path)
        elif os.path.isdir(path):
            shutil.rmtree(path)
    for path in (LOGROTATE + stack, UNITS + unit):
        remove(path)
    subprocess.run(["systemctl", "daemon-reload"], stdout=sys.stderr, check=True)
