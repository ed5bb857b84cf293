"""What an instance leaves in the store: its secrets go with it, but for those that its data can't do without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from aihub.model.resolved import Hub
from aihub.owners import entries
from aihub.plan import Plan, require_agreed
from aihub.secrets import given, kept, store

from tests.unit.aihub.memory import Memory
from tests.vault.local_vault import small_hub, with_kept, without

GONE = "notes@private-ai"
FOLDER = "hub/private-ai/notes"
SALT, KEY = f"{FOLDER}/salt", f"{FOLDER}/api_key"
PAIRS = [f"operator/pair/{role}" for role in ("postgres@db/notes_private_ai_main", "redis@db/notes_private_ai_jobs")]


@pytest.fixture
def hub() -> Hub:
    return with_kept(small_hub())


@pytest.fixture
def memory(hub: Hub) -> Memory:
    """A store with everything, what people give included."""
    found = Memory()
    store.ensure(hub, found)
    for ref in given.missing(hub, found):
        given.put(hub, found, ref, f"of {ref.instance}")
    return found


def planned(hub: Hub, memory: Memory) -> list[tuple[str, str]]:
    """Action and path of what the plan has of entries."""
    assert hub.vault
    changes = entries.look(hub, hub.vault, memory, kept.left(hub, memory))  # type: ignore[arg-type]
    return [(change.action, change.subject.removeprefix("vault@security: entry ")) for change in changes]


def applied(hub: Hub, memory: Memory) -> None:
    """As `up` does it with what was just agreed to."""
    assert hub.vault
    changes = list(entries.look(hub, hub.vault, memory, kept.left(hub, memory)))  # type: ignore[arg-type]
    entries.apply(hub, memory, changes, lambda text: None)  # type: ignore[arg-type]


def test_where_everything_is_declared_nothing_is_left(hub: Hub, memory: Memory) -> None:
    assert planned(hub, memory) == []
    assert kept.left(hub, memory) == ()


def test_the_secrets_of_a_removed_instance_go_and_what_keeps_data_readable_stays(hub: Hub, memory: Memory) -> None:
    rest, before = without(hub, GONE), dict(memory.entries)
    logins = [f"{FOLDER}/postgres_main", f"{FOLDER}/redis_jobs"]
    assert planned(rest, memory) == [("delete", path) for path in [*logins, *PAIRS]]
    applied(rest, memory)
    assert planned(rest, memory) == []
    assert set(before) - set(memory.entries) == {*logins, *PAIRS}
    assert kept.kept(rest, memory) == (kept.Left(KEY, GONE, "given"), kept.Left(SALT, GONE, "never"))

    applied(hub, memory)
    assert [memory.entries[path] for path in (SALT, KEY)] == [before[path] for path in (SALT, KEY)], "taken up again"
    assert memory.entries[logins[0]] != before[logins[0]], "its logins are new ones"


def test_a_deletion_that_the_plan_did_not_have_is_more_than_was_agreed(hub: Hub, memory: Memory) -> None:
    assert hub.vault
    with pytest.raises(Exception, match="more is to be done than was agreed") as found:
        require_agreed(
            Plan(), entries.look(without(hub, GONE), hub.vault, memory, kept.left(without(hub, GONE), memory))
        )  # type: ignore[arg-type]
    assert f"entry {FOLDER}/postgres_main: delete" in str(found.value)


def test_only_what_was_agreed_to_is_removed(hub: Hub, memory: Memory) -> None:
    rest = without(hub, GONE)
    entries.apply(rest, memory, [], lambda text: None)  # type: ignore[arg-type]
    assert planned(rest, memory) != []


def test_kept_entries_go_when_they_are_asked_for_and_those_of_others_stay(hub: Hub, memory: Memory) -> None:
    rest = without(without(hub, GONE), "notes@public-ai")
    assert kept.destroy(rest, memory, GONE) == (KEY, SALT)
    assert {one.instance for one in kept.kept(rest, memory)} == {"notes@public-ai"}
    assert kept.destroy(hub, memory, "notes@public-ai") == (), "what is declared is not kept but used"
    assert kept.destroy(rest, memory, "") == ()


def test_our_own_login_stays_with_the_data_of_a_provider_which_takes_no_other(hub: Hub, memory: Memory) -> None:
    """PostgreSQL is told it once, when its data is made: with another one nobody would get in again."""
    rest, login = without(hub, "postgres@db"), "hub/db/postgres/reconcile"
    before = memory.entries[login]
    assert ("delete", "operator/pair/postgres@db/verify") in planned(rest, memory), "the others' are made anew by it"
    applied(rest, memory)
    assert kept.kept(rest, memory) == (kept.Left(login, "postgres@db", "login"),)
    applied(hub, memory)
    assert memory.entries[login] == before


def test_a_secret_taken_out_of_an_instance_that_stays_is_kept_as_well(hub: Hub, memory: Memory) -> None:
    rest = replace(hub, secrets=tuple(ref for ref in hub.secrets if ref.path != SALT))
    assert planned(rest, memory) == []
    assert kept.kept(rest, memory) == (kept.Left(SALT, GONE, "never"),)


def test_a_secret_that_begins_or_ceases_to_keep_data_readable_says_so(hub: Hub) -> None:
    plain, memory = small_hub(), Memory()
    store.ensure(plain, memory)
    value = memory.entries[SALT]
    assert ("update", SALT) in planned(hub, memory)
    applied(hub, memory)
    assert (memory.entries[SALT], memory.said[SALT]) == (value, {"keep": "never", "instance": GONE})
    assert planned(hub, memory) == []
    assert ("update", SALT) in planned(plain, memory)
    applied(plain, memory)
    assert (memory.entries[SALT], memory.said[SALT]) == (value, {})


def test_marks_of_somebody_else_stay(hub: Hub, memory: Memory) -> None:
    memory.mark(SALT, {"ticket": "4711"})
    applied(small_hub(), memory)
    assert memory.said[SALT] == {"ticket": "4711"}


def test_a_run_that_dies_before_the_value_leaves_no_value_without_its_mark(hub: Hub) -> None:
    class Dies(Memory):
        def write(self, path: str, data: Mapping[str, str], cas: int) -> int:
            if path == SALT:
                raise KeyboardInterrupt
            return super().write(path, data, cas)

    memory = Dies()
    with pytest.raises(KeyboardInterrupt):
        store.ensure(hub, memory)
    assert memory.said[SALT]["keep"] == "never"
    assert kept.kept(without(hub, GONE), memory) == (), "there is no value that could be kept"


def test_the_journal_of_rotations_is_nobody_s_leftover(hub: Hub, memory: Memory) -> None:
    memory.write("operator/rotation/postgres@db/verify", {"phase": "offer"}, 0)
    assert kept.left(hub, memory) == ()
