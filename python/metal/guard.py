"""What keeps a guest whose card is dead from being started: a hook script that Proxmox runs before each start.

It lies where Proxmox looks for such scripts, on the node's directory storage; that it may hold some is switched on
there, and off again where nobody else has any.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from aihub.names import SNIPPETS, SNIPPETS_STORAGE, Layout

from .actual import ActualNode
from .cards import Found
from .desired import Desired
from .refusal import RefusedByNode
from .services import file_part
from .steps import Step, Upload, command

PROGRAM = Path(__file__).with_name("guard_on_node.py")
SUBJECT = "guard of its cards"
KIND = "snippets"
_FOLDER = SNIPPETS.rpartition("/")[0]
_STORAGE = _FOLDER.rpartition("/")[0]  # the directory of the storage


def step(desired: Desired, actual: ActualNode, found: Sequence[Found]) -> Step:
    """The script where guests have cards; nothing of it where none has one any more."""
    if not found:
        return Step("guard", SUBJECT) if desired.held else _gone(desired, actual)
    layout, content = Layout(desired.hub), _content(desired, actual)
    upload, differences = file_part(actual, layout.guard, PROGRAM.read_text(), mode="755")
    commands: list[str | Upload] = []
    if KIND not in content:
        differences.append((f"storage {SNIPPETS_STORAGE}", "holds no snippets", "holds snippets"))
        commands += [Upload(layout.snippets, f"{KIND}\n"), _set([*content, KIND])]
    return Step("guard", SUBJECT, "configure", tuple(differences), (*commands, *upload) if differences else ())


def removal(desired: Desired, actual: ActualNode) -> list[Step]:
    """The step that takes it away; none where there is none."""
    gone = _gone(desired, actual)
    return [gone] if gone.commands else []


def _gone(desired: Desired, actual: ActualNode) -> Step:
    layout = Layout(desired.hub)
    files = [path for path in (layout.guard, layout.snippets) if path in actual.files]
    if not files:
        return Step("guard", SUBJECT)
    commands = [command("rm", "-f", *files)]
    if layout.snippets in files:
        rest = [kind for kind in _content(desired, actual) if kind != KIND]
        commands.append(f"! rmdir {_FOLDER} 2>/dev/null || {_set(rest)}")  # others may have snippets by now
    return Step("guard", SUBJECT, "delete", (), tuple(commands))


def _content(desired: Desired, actual: ActualNode) -> list[str]:
    """What the storage holds. Raises RefusedByNode where it is not the folder that every Proxmox has."""
    entries: list[dict[str, Any]] = actual.api["storage"]
    entry = next((one for one in entries if one["storage"] == SNIPPETS_STORAGE), {})
    if entry.get("type", "dir") != "dir" or entry.get("path", _STORAGE) != _STORAGE:
        raise RefusedByNode(
            "precondition",
            f"storage {SNIPPETS_STORAGE} of node {desired.node} is not the folder {_STORAGE}: the "
            "script that guards its cards has no place",
            f"see to it on the node (Datacenter > Storage): {SNIPPETS_STORAGE} is a directory there on every Proxmox",
        )
    return [kind for kind in str(entry.get("content", "")).split(",") if kind]


def _set(content: Sequence[str]) -> str:
    return command("pvesh", "set", f"/storage/{SNIPPETS_STORAGE}", "--content", ",".join(content))
