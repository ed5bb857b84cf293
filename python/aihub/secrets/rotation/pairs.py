"""Replaces a password that something logs in with; no login fails, but where a provider knows one password only.

How, the provider's stack.yml says. With `pair` and `overlap` a role has two passwords, one of them in use:

  offer    the half that is not in use gets a new password at the provider, proven by a login
  publish  the pair, then the entry that the consumer reads, by check-and-set; its agent brings it, and says so
  retire   the other half gets a password that nobody ever used, and the old one is proven refused

With `single` there is one password: `publish` replaces it at the provider too, and until the consumer's agent has
brought the new one, the consumer is kept out. aihub's own comes to the provider by its agent alone, and restarts it.

The journal has both new passwords before the first change, so that a run that dies anywhere is finished by the next
one with the same. What the vault holds is compared as a whole with what must be there at that point: anything else
was changed by somebody, stays as it is, and stops the rotation while the password in use is still valid.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import ClassVar, cast

from aihub import crashpoint
from aihub.errors import Conflict, PreconditionFailed, TaskFailed
from aihub.model.resolved import RECONCILE_ROLE, Pair
from aihub.secrets import store as secretstore
from aihub.services import service as services
from aihub.services.secrets import Entry, Secrets
from aihub.services.service import Half, Service

from . import records
from .records import Record
from .systems import Systems

Data = Mapping[str, str]
STAYS = "the password in use stays valid"
_LEAVES = 0.002  # seconds after which a command has left this machine, and is not yet answered


@dataclass(frozen=True)
class Known:
    """The vault, with one pair as the provider has it: what is being replaced is known from the journal."""

    store: Secrets
    path: str
    data: Data

    def read(self, path: str) -> Entry | None:
        """An entry."""
        found = self.store.read(path)
        return replace(found, data=self.data) if found and path == self.path else found

    def write(self, path: str, data: Data, cas: int) -> int:
        """As the vault does it."""
        return self.store.write(path, data, cas)

    def destroy(self, path: str) -> None:
        """As the vault does it."""
        self.store.destroy(path)

    def list(self, prefix: str) -> Sequence[str]:
        """As the vault does it."""
        return self.store.list(prefix)


@dataclass
class Rotation:
    """One pair under way (systems.Replacement)."""

    meanwhile: ClassVar = STAYS  # what holds while somebody else's change stops it

    systems: Systems
    pair: Pair
    record: Record

    def publish(self) -> dict[str, int]:
        """From wherever it is until the consumer can know; gives what the consumer must have in use."""
        if self.record.phase == "offer":
            self._expect("before")
            self.offer()
            self.record.enter("publish")
        if self.record.phase != "publish":
            return {}
        return self._put("before", "after")

    def finish(self) -> None:
        """The old password ends. Call it when the consumer uses the new one."""
        if self.record.phase == "publish":
            self._expect("after")
            self.record.enter("retire")
        self.retire()
        self.record.close()

    def offer(self) -> None:
        """The half that is not in use has its new password, and gets in with it."""
        after = self._pair("after")
        with self._service("before") as service:
            self._set(service, after, self._new)
            self._prove(service, self._new, after[self._new])

    def retire(self) -> None:
        """The half that was in use gets a fresh password; the old one is refused."""
        last, old = self._pair("last"), self._pair("before")[self._old]
        versions = self._put("after", "last")
        if self._delivered:
            self.systems.wait(self._guest, versions)
        with self._service("after") as service:
            self._keep(service)
            self._set(service, last, self._old)
            self._prove(service, self._old, last[self._old])
            self._require_refused(service, self._old, old)

    def _keep(self, service: Service) -> None:
        # A provider that started again since may have done so with files that are older than the offer.
        after = self._pair("after")
        if not self._provider.can_login(service, self.pair.role, self._new, after[self._new]):
            self._set(service, after, self._new)
            self._prove(service, self._new, after[self._new])

    def _require_refused(self, service: Service, half: Half, password: str) -> None:
        if self._provider.can_login(service, self.pair.role, half, password):
            raise TaskFailed(
                "the old password still gets in",
                where=self.record.name,
                hint=f"aihub secrets rotate {self.record.name}",
            )

    # -- the provider

    @property
    def _provider(self) -> services.Provider:
        return services.provider(self.pair.provider.partition("@")[0])

    @contextmanager
    def _service(self, moment: str) -> Iterator[Service]:
        instance = self.systems.hub.instance(self.pair.provider)
        with self.systems.service(instance) as service:
            yield replace(service, secrets=Known(self.systems.vault, self.pair.path, self._pair(moment)))

    def _set(self, service: Service, data: Data, half: Half) -> None:
        passwords = {key: data[key] for key in self.pair.halves}
        with crashpoint.write(f"password of {self.pair.user(half)}") as due:
            crashpoint.inside(due, _LEAVES)
            self._provider.set_passwords(service, self.pair.role, passwords, half)

    def _prove(self, service: Service, half: Half, password: str) -> None:
        if not self._provider.can_login(service, self.pair.role, half, password):
            raise TaskFailed(
                f"{self.pair.user(half)} does not get in with its new password; the one in use stays valid",
                where=self.pair.provider,
                hint=f"aihub up, then aihub secrets rotate {self.record.name}",
            )

    # -- the vault

    @property
    def _new(self) -> Half:
        return cast(Half, self.record.data["half"])

    @property
    def _old(self) -> Half:
        return "a" if self._new == "b" else "b"

    @property
    def _delivered(self) -> bool:
        return self.pair.role == RECONCILE_ROLE

    @property
    def _guest(self) -> str:
        return self.systems.hub.instance(self.pair.provider).guest.name

    def _pair(self, moment: str) -> Data:
        """The pair before, after, and last of all."""
        data = self.record.data
        found = {"a": data["a"], "b": data["b"], "active": self._old}
        if moment != "before":
            found |= {self._new: data["new"], "active": self._new}
        if moment == "last":
            found[self._old] = data["spare"]
        return found

    def _entries(self, moment: str) -> Iterator[tuple[str, str, Data]]:
        """What is kept where at a moment, with the journal's word for the version that it had at first."""
        pair = self._pair(moment)
        yield self.pair.path, "version", pair
        if self.pair.entry is not None:
            yield self.pair.entry.path, "login version", login(self.pair, pair)

    def _put(self, now: str, then: str) -> dict[str, int]:
        """All entries are as they must be next; gives the versions of what is delivered."""
        moved = {
            path: self._move(path, known, expected, wanted)
            for (path, known, expected), (_, _, wanted) in zip(self._entries(now), self._entries(then), strict=True)
        }
        read = self.pair.path if self._delivered else self.pair.entry.path if self.pair.entry else ""
        return {path: version for path, version in moved.items() if path == read}

    def _move(self, path: str, known: str, expected: Data, wanted: Data) -> int:
        entry = self.systems.vault.read(path)
        if entry is not None and entry.data == wanted:
            return entry.version
        if entry is None or entry.data != expected:
            raise self._changed(path, known, entry, wanted)
        return self.systems.vault.write(path, wanted, entry.version)

    def _expect(self, moment: str) -> None:
        """Nobody has changed anything since. Raises Conflict."""
        for path, known, expected in self._entries(moment):
            found = self.systems.vault.read(path)
            if found is None or found.data != expected:
                raise self._changed(path, known, found, expected)

    def _changed(self, path: str, known: str, found: Entry | None, wanted: Data) -> Conflict:
        version = self.record.data[known]
        return changed(path, found, wanted, f"bao kv rollback -mount=kv -version={version} {path}", self.meanwhile)


@dataclass
class Single(Rotation):
    """One under way whose provider knows one password at a time."""

    meanwhile: ClassVar = "the provider knows the old password or the new one, and the journal has both"

    def publish(self) -> dict[str, int]:
        """The provider takes the new one, and from here on no other; gives what the consumer must have in use."""
        if self.record.phase == "offer":
            self._expect("before")
            self.record.enter("publish")
        if self.record.phase != "publish":
            return {}
        if not self._delivered:
            self._require_ours()
            with self._service("before") as service:
                self._set(service, self._pair("after"), self._new)
        return self._put("before", "after")

    def _require_ours(self) -> None:
        """Nobody else has changed what is about to be written. Raises Conflict, before anybody is kept out."""
        for (path, known, before), (_, _, after) in zip(self._entries("before"), self._entries("after"), strict=True):
            found = self.systems.vault.read(path)
            if found is None or found.data not in (before, after):
                raise self._changed(path, known, found, before)

    def retire(self) -> None:
        """The new one works and the old one is refused."""
        with self._service("after") as service:
            self._keep(service)
            self._require_refused(service, self._new, self._pair("before")["a"])

    def _pair(self, moment: str) -> Data:
        return {"a": self.record.data["a" if moment == "before" else "new"], "active": "a"}


def taken(systems: Systems, pair: Pair, record: Record) -> Rotation:
    """What the journal has under way."""
    return (Single if pair.strategy == "single" else Rotation)(systems, pair, record)


def begin(systems: Systems, pair: Pair, name: str) -> Rotation:
    """Writes down the new passwords; nothing else has changed then. Raises Conflict where entries disagree."""
    kept = _read(systems, pair.path)
    entry = _read(systems, pair.entry.path) if pair.entry else None
    if pair.entry and entry and entry.data != login(pair, kept.data):
        look = f"bao kv get -mount=kv {pair.path}"
        raise changed(pair.entry.path, entry, login(pair, kept.data), f"{look}, and put into it what is in use there")
    fresh = secretstore.fresh_pair(systems.hub, systems.vault, pair)
    data = {
        "kind": "pair",
        "phase": "offer",
        "half": "b" if "b" in pair.halves and kept.data["active"] == "a" else "a",
        **{half: kept.data[half] for half in pair.halves},
        "new": fresh["a"],
        "version": str(kept.version),
        "login version": str(entry.version if entry else 0),
    }
    if "b" in pair.halves:
        data["spare"] = fresh["b"]
    return taken(systems, pair, records.opened(systems.vault, name, data))


def login(pair: Pair, data: Data) -> dict[str, str]:
    """What the consumer of a pair reads."""
    half = data["active"]
    return {"user": pair.user(half), "password": data[half]}


def changed(path: str, found: Entry | None, wanted: Data, hint: str, meanwhile: str = STAYS) -> Conflict:
    """Somebody else's change: names of keys, never a value."""
    have = found.data if found else {}
    keys = sorted(key for key in {*have, *wanted} if have.get(key) != wanted.get(key))
    what = f"somebody changed this entry (keys: {', '.join(keys)}); theirs is kept, and {meanwhile}"
    return Conflict(what, where=path, hint=hint)


def _read(systems: Systems, path: str) -> Entry:
    entry = systems.vault.read(path)
    if entry is None:
        raise PreconditionFailed("there is nothing to replace yet", where=path, hint="aihub up")
    return entry
