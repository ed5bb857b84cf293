"""Values are made by the rules of their stack, entries are made once, and logins follow their pairs."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from aihub.errors import PreconditionFailed
from aihub.model.resolved import RECONCILE_ROLE, Hub, SecretRef
from aihub.secrets.store import coming, elsewhere, ensure, entries, fresh_pair, generate, missing, new_pair, versions
from aihub.services import service as services
from aihub.services.secrets import Entry, Secrets

from tests.unit.aihub.memory import Memory
from tests.vault.local_vault import small_hub


@pytest.fixture(scope="module")
def hub() -> Hub:
    return small_hub()


@pytest.mark.parametrize("length", [16, 17, 32, 40, 41, 44, 128])
def test_a_value_has_its_length_and_its_letters(length: int) -> None:
    for alphabet, letters in (("alphanumeric", str.isalnum), ("hex", lambda v: int(v, 16) >= 0)):
        values = {generate(alphabet, length) for _ in range(20)}  # type: ignore[arg-type]
        assert len(values) == 20
        assert all(len(v) == length and letters(v) for v in values)
    value = generate("base64", length)
    assert len(value) == length
    if length % 4 == 0:
        assert len(base64.b64decode(value, validate=True)) == length * 3 // 4


def test_every_entry_is_made_once_and_nothing_is_replaced(hub: Hub) -> None:
    store: Secrets = Memory()
    wanted = missing(hub, entries(hub, store))
    assert len(wanted) == len(set(wanted)) == 16
    assert sorted(ensure(hub, store)) == sorted(wanted)
    before = {path: store.read(path) for path in wanted}
    assert ensure(hub, store) == []
    assert missing(hub, entries(hub, store)) == []
    assert {path: store.read(path) for path in wanted} == before


def test_a_login_is_the_half_of_its_pair_that_is_in_use(hub: Hub) -> None:
    store = Memory()
    pair = next(p for p in hub.pairs if p.role == "notes_public_ai_main")
    store.write(pair.path, {"a": "one", "b": "two", "active": "b"}, cas=0)
    ensure(hub, store)
    login = store.read("hub/public-ai/notes/postgres_main")
    assert login is not None
    assert login.data == {"user": "notes_public_ai_main_b", "password": "two"}
    assert set(new_pair(pair)) == {"a", "b", "active"}


def test_a_service_may_make_its_consumers_passwords_of_its_own_secrets(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair = next(p for p in hub.pairs if p.role == "notes_public_ai_main")
    stack, seen = pair.provider.partition("@")[0], list[Mapping[str, str]]()

    def make(role: str, value: str, own: Mapping[str, str]) -> str:
        seen.append(own)
        return f"{role} {value}"

    monkeypatch.setattr(services, "maker", {stack: make}.get)
    mine = SecretRef(
        pair.provider, "signing_key", "hub/x/signing_key", "value", {}, 20, "hex", None, on_change="restart"
    )
    other = replace(hub, secrets=(*hub.secrets, mine))
    store = Memory()
    ensure(other, store)
    key = store.read(mine.path)
    assert key is not None
    assert seen and all(own == {"signing_key": key.data["value"]} for own in seen), "it is there before"
    made = store.read(pair.path)
    assert made is not None
    assert made.data["a"].startswith("notes_public_ai_main ") and made.data["a"] != made.data["b"]
    login = store.read("hub/public-ai/notes/postgres_main")
    assert login is not None and login.data["password"] == made.data["a"]
    admin = next(p for p in hub.pairs if (p.provider, p.role) == (pair.provider, RECONCILE_ROLE))
    own = store.read(admin.path)
    assert own is not None and " " not in own.data["a"], "aihub's own is any text"
    store.destroy(mine.path)
    with pytest.raises(PreconditionFailed, match="this secret of"):
        fresh_pair(other, store, pair)


def test_of_two_at_once_the_first_wins(hub: Hub) -> None:
    class Late(Memory):
        """Somebody else writes each entry just before we do."""

        def write(self, path: str, data: Mapping[str, str], cas: int) -> int:
            if path not in self.entries:
                theirs = {**data, "value": "theirs"} if "value" in data else dict(data)
                self.entries[path] = Entry(theirs, 1, datetime.now(UTC))
            return super().write(path, data, cas)

    store = Late()
    assert ensure(hub, store) == []
    key = store.read("hub/public-ai/notes/api_key")
    assert key is not None
    assert key.data["value"] == "theirs"


def test_an_entry_never_shows_its_values() -> None:
    assert "hidden" not in repr(Entry({"value": "hidden"}, 3, datetime.now(UTC)))


def test_a_login_at_another_provider_is_written_anew_and_no_other_is(hub: Hub) -> None:
    """Its pair begins anew there, and what its consumer reads is of the one before."""
    pair = next(p for p in hub.pairs if p.role == "notes_public_ai_main")
    assert pair.entry is not None
    path, store = pair.entry.path, Memory()
    store.write(path, {"user": "notes_public_ai_main_b", "password": "of the one before"}, cas=0)
    before = coming(hub, store)
    assert before[path] == 2
    assert [one.path for one in elsewhere(hub, entries(hub, store))] == [pair.path]
    assert path in ensure(hub, store)
    made, login = store.read(pair.path), store.read(path)
    assert made is not None and login is not None
    assert login.data == {"user": "notes_public_ai_main_a", "password": made.data["a"]}
    assert versions(hub, store) == before
    assert (elsewhere(hub, entries(hub, store)), ensure(hub, store)) == ([], [])


def test_a_run_that_died_between_a_pair_and_what_is_read_of_it_is_finished(hub: Hub) -> None:
    pair = next(p for p in hub.pairs if p.role == "notes_public_ai_main")
    assert pair.entry is not None
    store = Memory()
    store.write(pair.entry.path, {"user": "x", "password": "of the one before"}, cas=0)
    store.write(pair.path, {"a": "one", "b": "two", "active": "a"}, cas=0)
    ensure(hub, store)
    login = store.read(pair.entry.path)
    assert login is not None and login.data["password"] == "one"


def test_what_a_rotation_has_half_published_is_its_own_matter(hub: Hub) -> None:
    """It writes the pair, and then what is read of it; with a single password neither half is the old one then."""
    pair = next(p for p in hub.pairs if p.role == "notes_public_ai_main")
    assert pair.entry is not None
    store = Memory()
    ensure(hub, store)
    for data in ({"a": "1", "b": "2", "active": "b"}, {"a": "3", "b": "4", "active": "a"}):
        have = store.read(pair.path)
        assert have is not None
        store.write(pair.path, data, cas=have.version)
        assert (elsewhere(hub, entries(hub, store)), ensure(hub, store)) == ([], [])
