"""The agents of the guests as the controller sees them: what they are told, what they say, what is waited for."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aihub import words
from aihub.errors import TaskFailed
from aihub.guests.probe import Inside, answers, ask
from aihub.model.resolved import MACHINE, Hub
from aihub.plan import Change
from aihub.state.directory import State

OWN = f"{MACHINE}.tls.pem"
"""What an agent calls the certificate of its guest itself."""
_PATIENCE = 120.0  # seconds: a service that restarts may take that long until it is healthy
_INTERVAL = 0.3
_MOST = 20  # of an agent's errors


class NotInUse(TaskFailed):
    """A guest does not use what the store has for it; `behind` are the paths of these entries."""

    def __init__(self, behind: Sequence[str], why: str, where: str) -> None:
        super().__init__(f"not yet in use: {', '.join(behind)}: {why}", where=where, hint="aihub up")
        self.behind = frozenset(behind)
        self.why = why

    def of(self, name: str, paths: Collection[str]) -> NotInUse:
        """The same, of one who reads only some of them."""
        return NotInUse(sorted(self.behind & set(paths)), self.why, name)


@dataclass(frozen=True)
class Status:
    """What an agent last said; no values."""

    guest: str
    logged_in: bool = False
    error: str = ""
    entries: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    tls: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    errors: tuple[str, ...] = ()

    @classmethod
    def of(cls, guest: str, found: Mapping[str, Any] | None) -> Status:
        """The status from what the guest's status.json holds; None where there is no agent."""
        if not found:
            return cls(guest, error="the agent has said nothing yet")
        login = found["login"]
        errors = tuple(words.line(one) for one in found["errors"][:_MOST])
        return cls(guest, login["ok"], words.line(login["error"]), found["entries"], found["tls"], errors)

    def holds(self, path: str) -> bool:
        """Whether the agent has an entry, as far as it has looked."""
        return bool(self.entries.get(path, {}).get("version", 0))

    def behind(self, versions: Mapping[str, int]) -> list[str]:
        """The paths whose version is not yet in use."""
        return [path for path, version in versions.items() if self.entries.get(path, {}).get("applied", 0) < version]

    @property
    def has_certificate(self) -> bool:
        """Whether the guest has its own certificate, and its units were told."""
        own = self.tls.get(OWN)
        return own is not None and own["applied"] == own["serial"]


def status(state: State, guest: str, *, wake: bool = False, renew: Collection[str] = ()) -> Status:
    """What the agent says; with `wake` it reads everything now; `renew` are the places of certificates that go."""
    request = {"action": "agent", "wake": wake, "renew": list(renew)}
    answer = ask(state, guest, request, answers.Agent)
    return Status.of(guest, answer["status"])


def wait(state: State, guest: str, versions: Mapping[str, int], patience: float = _PATIENCE) -> Status:
    """Returns when the guest's services use these versions of their entries, and it has a certificate of its own.

    Raises TaskFailed when they do not.
    """
    limit = time.monotonic() + patience
    found = status(state, guest, wake=True)
    while behind := [*found.behind(versions), *([] if found.has_certificate else [OWN])]:
        if time.monotonic() > limit:
            why = "; ".join((*found.errors, found.error)) or "the agent did not say why"
            raise NotInUse(behind, why, guest)
        time.sleep(_INTERVAL)
        found = status(state, guest)
    return found


def wait_gone(state: State, guest: str, path: str, patience: float = _PATIENCE) -> None:
    """Returns when the guest's agent no longer holds an entry that was taken back. Raises TaskFailed when it does."""
    limit = time.monotonic() + patience
    found = status(state, guest, wake=True)
    while found.holds(path):
        if time.monotonic() > limit:
            why = "; ".join((*found.errors, found.error)) or "the agent did not say why"
            raise TaskFailed(f"its agent still holds {path}: {why}", where=guest, hint="aihub up")
        time.sleep(_INTERVAL)
        found = status(state, guest)


def renew(state: State, guest: str, place: str, patience: float = _PATIENCE) -> tuple[str, str]:
    """The certificate at `place` is a new one and in use; returns the serial numbers of old and new."""
    before = str(status(state, guest).tls.get(place, {}).get("serial", ""))
    found = status(state, guest, wake=True, renew=[place])
    limit = time.monotonic() + patience
    while True:
        now = found.tls.get(place, {})
        if now.get("serial", before) != before and now.get("applied") == now["serial"]:
            return before, str(now["serial"])
        if time.monotonic() > limit:
            why = "; ".join((*found.errors, found.error)) or "the agent did not say why"
            raise TaskFailed(f"the new certificate {place} is not in use: {why}", where=guest, hint="aihub up")
        time.sleep(_INTERVAL)
        found = status(state, guest)


def changes(
    hub: Hub, actuals: Mapping[str, Inside], versions: Mapping[str, int], ended: Collection[str] = ()
) -> list[Change]:
    """What is to be done for agents that answer: a new secret-id, or entries that Vault has in a newer version.

    `versions` are those in Vault by path, 0 for none; `ended` are guests that have no login there any more, whatever
    their agents believe. A guest that is not configured yet gets its agent first.
    """
    found: list[Change] = []
    for guest in hub.agents:
        actual = actuals.get(guest)
        if actual is None or actual.error or "vault_agent" not in actual.manifest.get("desired", {}):
            continue
        says = Status.of(guest, actual.agent)
        if not says.logged_in:
            found.append(_change(guest, f"its agent is not logged in to Vault: {says.error}"))
        elif guest in ended:
            found.append(_change(guest, "its login at Vault has ended, or ends: it gets a new one"))
        elif behind := says.behind({path: versions[path] for path in paths(hub, guest)}):
            found.append(
                _change(
                    guest, f"older than in Vault: {', '.join(behind)}", behind, restart=_restarts(hub, guest, behind)
                )
            )
        elif says.errors:
            found.append(_change(guest, "; ".join(says.errors)))
    return found


def paths(hub: Hub, guest: str) -> list[str]:
    """The entries that a guest reads."""
    return list(dict.fromkeys(ref.path for instance in hub.told(guest) for ref in hub.read(instance)))


def first(hub: Hub, guest: str) -> Change:
    """What an agent does that is still to be placed."""
    entries = paths(hub, guest)
    return _change(guest, f"its agent logs in to Vault and fetches secrets: {len(entries)}", entries)


def _change(guest: str, summary: str, entries: Collection[str] = (), *, restart: bool = False) -> Change:
    return Change(guest, "deliver", "secrets", "guest", summary, restart=restart, parts=tuple(entries))


def _restarts(hub: Hub, guest: str, entries: Collection[str]) -> bool:
    told = [ref for instance in hub.told(guest) for ref in hub.read(instance)]
    return any(ref.path in entries and ref.on_change == "restart" for ref in told)
