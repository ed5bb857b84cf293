"""What is on a guest whether it is declared or not."""

from __future__ import annotations

import os
import re
from typing import Any

from aihub.guests.probe.parts.containers import in_docker, is_ours, project_of
from aihub.guests.probe.parts.files import no_link
from aihub.guests.probe.parts.places import DATA, DOCKER_SOCKET, DOCKER_UNIT, HOME, SECRETS, STACK_NAME, UNITS
from aihub.guests.probe.parts.tables import strange_tables

OUR_UNIT = re.compile(r"hub-(.+)\.(?:service|timer|path|socket)")
OWN_SECRETS = ("agent", "backup", "machine")  # of the folder with secrets: no stack's
MOST = 200  # things that nobody declares, named in one answer


def there(manifest: dict[str, Any], every: list[dict[str, Any]]) -> dict[str, Any]:
    """What is here whether it is listed or not: what each stack of ours has, and what is neither listed nor a stack's.

    Ours is what says so itself: a unit by its first line, a container by the folder that Compose was called in.
    """
    stacks: dict[str, set[str]] = {}
    others: set[tuple[str, str]] = set()

    def seen(stack: str, what: str) -> None:
        stacks.setdefault(stack, set()).add(what)

    files = {path for entry in manifest["entries"].values() for path in entry.get("files", ())}
    for name in sorted(os.listdir(UNITS) if os.path.isdir(UNITS) else ()):
        if OUR_UNIT.fullmatch(name):
            stack, role = whose_unit(name)
            if stack:
                seen(stack, f"unit {name}")
            elif UNITS + name not in files and (manifest["desired"] or not role):
                others.add(("unit", name))
    for place in (HOME, SECRETS):
        for name in folders(place):
            if place == HOME or (name not in OWN_SECRETS and os.listdir(f"{place}/{name}")):
                seen(name, f"folder {place}/{name}")
    listed = {name for entry in manifest["entries"].values() for name in entry.get("stacks", ())}
    for one in every:
        name, project = (one["Names"] or ["/" + one["Id"][:12]])[0].lstrip("/"), project_of(one)
        if is_ours(one):
            seen(project, f"container {name}")
        elif project not in listed:
            others.add(("container", name))
    known = {name: stack for stack, names in manifest.get("volumes", {}).items() for name in names}
    for kind, name, project in in_docker() if every or os.path.exists(DOCKER_SOCKET) else ():
        if kind == "volume" and name in known:
            seen(known[name], f"volume {name}")
        elif kind == "network" and name.startswith("hub-") and STACK_NAME.fullmatch(project):
            seen(project, f"network {name}")
        else:
            others.add((kind, name))
    tables = {name for entry in manifest["entries"].values() for name in entry.get("tables", ())}
    others.update(("table", name) for name in strange_tables(tables, docker=runs_docker(manifest)))
    return {
        "stacks": {name: sorted(map(plain, what))[:MOST] for name, what in sorted(stacks.items())[:MOST]},
        "others": [{"kind": kind, "name": plain(name)} for kind, name in sorted(others)[:MOST]],
    }


def plain(text: str) -> str:
    """A name on one line."""
    return "".join(c if c.isprintable() else "?" for c in text)[:200]


def whose_unit(name: str) -> tuple[str, bool]:
    """The stack that a unit says it is of; and whether it says that it is a role's."""
    try:
        with open(UNITS + name, errors="replace", opener=no_link) as handle:
            first = handle.readline(256)
    except OSError:
        return "", False
    said = re.match(r"# (\S+): written by aihub", first)
    stack = said.group(1) if said and f"hub-{said.group(1)}.service" == name else ""
    return (stack if STACK_NAME.fullmatch(stack) else ""), first.startswith("# Ansible managed")


def folders(place: str) -> list[str]:
    """The folders in a place that bear the name of a stack."""
    try:
        return [n for n in os.listdir(place) if STACK_NAME.fullmatch(n) and os.path.isdir(f"{place}/{n}")]
    except (FileNotFoundError, NotADirectoryError):
        return []


def runs_docker(manifest: dict[str, Any]) -> bool:
    """Whether a role that the manifest lists runs Docker here."""
    return any(DOCKER_UNIT in entry.get("units", ()) for entry in manifest["entries"].values())


def volumes() -> list[str]:
    """The stacks whose volumes lie here, declared or not."""
    try:
        return sorted(name for name in os.listdir(DATA) if os.listdir(f"{DATA}/{name}"))
    except (FileNotFoundError, NotADirectoryError):
        return []


def forget(request: dict[str, Any]) -> dict[str, Any]:
    """Removes the volumes of a stack, with all that is in them; fine if there are none."""
    import shutil

    path = f"{DATA}/{request['stack']}"
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    return {"forgotten": request["stack"]}
