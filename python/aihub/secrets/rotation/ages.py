"""How old everything is: what the vault, the agents and this machine's files say."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from aihub.model.resolved import Certificate, Pair, SecretRef
from aihub.secrets.agent import Status
from aihub.secrets.enrol import Login
from aihub.services.secrets import Secrets
from aihub.state.directory import State

from .catalog import Rotatable


def since(
    items: tuple[Rotatable, ...], state: State, store: Secrets, logins: list[Login], agents: Mapping[str, Status]
) -> dict[str, datetime]:
    """Name -> when it was made, of everything that says so."""
    by_guest = {one.guest: one.since for one in logins}
    found: dict[str, datetime | None] = {}
    for one in items:
        if isinstance(one.of, Pair | SecretRef):
            entry = store.read(one.of.path)
            found[one.name] = entry.created if entry else None
        elif isinstance(one.of, Certificate):
            found[one.name] = _issued(agents.get(one.guest), one.of.place)
        elif one.kind == "login":
            found[one.name] = by_guest.get(one.guest)
        else:
            found[one.name] = _own(state, one)
    return {name: moment for name, moment in found.items() if moment is not None}


def _issued(says: Status | None, place: str) -> datetime | None:
    tls = says.tls.get(place) if says else None
    return datetime.fromtimestamp(float(tls["issued"]), UTC) if tls else None


def _own(state: State, one: Rotatable) -> datetime | None:
    if one.kind == "operator":
        try:
            return datetime.fromisoformat(json.loads(state.vault_login.read_text())["created"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
    return _written(state.token if one.kind == "token" else state.key)


def _written(path: Path) -> datetime | None:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC) if path.is_file() else None
