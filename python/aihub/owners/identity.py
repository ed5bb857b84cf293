"""What a hub is called: its name and domain lie in what nodes, guests and people keep, and can't change in place."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from aihub.errors import PreconditionFailed
from aihub.model.resolved import Hub
from aihub.state import statefile
from aihub.state.directory import State, state_home
from aihub.targets import Place
from aihub.vault import certificates


@dataclass(frozen=True)
class Known:
    """What a hub was called when it was last made; `given` is whether its id stands in hub.yml."""

    id: str
    name: str
    domain: str
    given: bool


def of(hub: Hub) -> Known:
    """What hub.yml says."""
    return Known(hub.id, hub.name, hub.domain, bool(hub.file.hub.id))


def keep(hub: Hub, state: State) -> None:
    """Remembers what the hub is called, from when it was agreed to be made."""
    statefile.keep(state.names, json.dumps(asdict(of(hub))) + "\n")


def forget(state: State) -> None:
    """Nothing of the hub is left anywhere: what was begun with it is not gone on with, and what it ran is no matter."""
    for path in (state.names, state.copies, *(state.directory / name for name in ("held.json", "versions.json"))):
        path.unlink(missing_ok=True)
    for folder in ("moves", "rebuild", "updates"):
        shutil.rmtree(state.directory / folder, ignore_errors=True)


def require_name(hub: Hub, state: State, place: Place) -> None:
    """Raises PreconditionFailed for a hub that is there under another name. Writes nothing."""
    for known in _beside(state):
        same = known.id == hub.id if known.given or hub.file.hub.id else place.is_of(known.name)
        if same and known.name != hub.name:
            raise PreconditionFailed(
                f"{place.title} holds the hub {known.name}, which can't be called {hub.name} in place: its pool, its "
                "user with the token, the node's walls, names and files, and what this machine keeps are called by it",
                where=hub.path,
                hint=f"put `name: {known.name}` back; or save what is to stay, aihub down as that, then aihub up",
            )


def require_domain(hub: Hub, state: State) -> None:
    """Raises PreconditionFailed for a hub that is there under another domain. Writes nothing."""
    known = _read(state.names)
    before = known.domain if known else _domain_of_root(state)
    if not before or before == hub.domain:
        return
    rests = [
        f"the names and certificates of {len(hub.guests)} guests, and whatever asks {len(hub.instances)} instances"
    ]
    if state.ca.is_file():
        rests.insert(0, "its root certificate, which vouches for no other names, and the recovery kit with its key")
    raise PreconditionFailed(
        f"the domain can't change from {before} to {hub.domain} in place. On it rest " + "; ".join(rests),
        where=hub.path,
        hint=f"put `domain: {before}` back; or save what is to stay, aihub down, then aihub up with fresh secrets",
    )


def _beside(state: State) -> Iterator[Known]:
    """What this machine knows of other hubs on the same kind of place."""
    kind = state.directory.name.rpartition("-lab-")[2] if "-lab-" in state.directory.name else ""
    pattern = f"*-lab-{kind}" if kind else "*-pve"
    if state.names.exists():
        return
    for path in sorted(state_home().glob(f"{pattern}/{state.names.name}")):
        if known := _read(path):
            yield known


def _read(path: Path) -> Known | None:
    try:
        return Known(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _domain_of_root(state: State) -> str:
    return certificates.domain_of(state.ca.read_text()) if state.ca.is_file() else ""
