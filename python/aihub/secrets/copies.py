"""The keys of the repositories with all copies, as the recovery kit holds them: the store is not the only one to know.

Who lost the store has its copies in one of those repositories. The file lies beside the login that reads the same from
the store.
"""

from __future__ import annotations

import json
from typing import Any

from aihub.model import copying
from aihub.model.derive import shown
from aihub.model.resolved import Hub
from aihub.model.stack import COPIES
from aihub.services.secrets import Secrets
from aihub.state import statefile
from aihub.state.directory import State


def keys(hub: Hub, state: State, store: Secrets) -> dict[str, dict[str, str]]:
    """Each repository and its key, by the path of its entry; also of guests that copy nothing now, while it is kept."""
    found = _known(state)
    for copier in hub.copiers.values():
        name = shown(copier, copier.object_name(copying.OWN), COPIES)
        found[f"{copier.folder}/{copying.PASSWORD}"] = {"repository": name}
    entries = {path: store.read(path) for path in found}
    return {
        path: {"repository": found[path]["repository"], "key": entry.data["value"]}
        for path, entry in sorted(entries.items())
        if entry
    }


def differ(hub: Hub, state: State, store: Secrets) -> bool:
    """Whether the file, and with it the kit, lacks one, or has one that is gone."""
    return keys(hub, state, store) != _known(state)


def keep(hub: Hub, state: State, store: Secrets) -> None:
    """Writes the file; none where no copies are kept."""
    if found := keys(hub, state, store):
        statefile.keep(state.copies, json.dumps(found, indent=1) + "\n")
    else:
        statefile.unlink(state.copies)


def paths(state: State) -> tuple[str, ...]:
    """The entries of which the file holds the value."""
    return tuple(_known(state))


def _known(state: State) -> dict[str, dict[str, Any]]:
    return json.loads(state.copies.read_text()) if state.copies.exists() else {}
