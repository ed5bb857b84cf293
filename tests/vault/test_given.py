"""Secrets that people give and secrets that keep data readable, in a real vault, brought by a real agent."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from aihub.model.resolved import Hub
from aihub.options import Options
from aihub.owners import entries, secrets
from aihub.owners import run as owners_run
from aihub.reading import load
from aihub.secrets import agent, enrol, given, kept
from aihub.secrets import store as secretstore
from aihub.vault import desired, setup
from aihub.vault.client import Vault, operator
from aihub.verbs.secrets import forget
from aihub.verbs.secrets import set as set_

from . import local_vault
from .local_vault import Server, small_hub, with_kept, without
from .test_agent import GUEST, Guest, eventually

pytestmark = pytest.mark.slow
INSTANCE = f"notes@{GUEST}"
KEY, SALT = f"{INSTANCE}/api_key", f"hub/{GUEST}/notes/salt"
VALUE = "a token of somebody else's, 0123456789"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A vault of a hub whose notes have a salt that is never replaced, and an api_key that a person gives."""
    with local_vault.served(tmp_path / "vault", with_kept(small_hub())) as found:
        yield found


@pytest.fixture
def vault(server: Server) -> Iterator[Vault]:
    """It is brought up, and holds all that aihub makes."""
    found = server.bring_up()
    secretstore.ensure(server.hub, found)
    yield found
    found.close()


@pytest.fixture
def guest(server: Server, vault: Vault, tmp_path: Path) -> Iterator[Guest]:
    """A guest of it; its agent runs."""
    found = Guest(tmp_path / "guest", server, vault)
    found.home.mkdir()
    found.prepare()
    enrol.enrol(server.hub, server.state, vault, GUEST, hand=found.unwrap)
    found.start()
    eventually(lambda: found.status().logged_in)
    yield found
    found.stop()


class Command:
    """`aihub secrets set` and `forget`: what would go over ssh goes to that guest."""

    def __init__(self, guest: Guest, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self.monkeypatch = monkeypatch
        state = guest.server.state.directory
        monkeypatch.setenv("AIHUB_STATE", str(folder))
        (folder / "small-lab-none").symlink_to(state)
        monkeypatch.setattr(load, "load", lambda *_, **__: guest.server.hub)
        monkeypatch.setattr(owners_run, "vault_opened", self.opened)
        monkeypatch.setattr(secrets, "_not_now", lambda *_: "")
        monkeypatch.setattr(agent, "status", self.status)
        for verb in (set_, forget):
            monkeypatch.setattr(verb, "REACH", ())
        monkeypatch.setattr(forget, "take_lease", lambda run: None)
        self.guest = guest

    @contextmanager
    def opened(self, *_: object) -> Iterator[Vault]:
        found = self.guest.server.vault()
        found.login(*operator(self.guest.server.state))
        yield found
        found.close()

    def status(self, _state: object, name: str, *, wake: bool = False) -> agent.Status:
        assert name == GUEST
        if wake:
            self.guest.wake()
        return self.guest.status()

    def set(self, value: bytes, name: str = KEY) -> int:
        self.monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(value)))
        return set_.run(Options(lab="none", only=(name,)))

    def forget(self, name: str = KEY) -> int:
        return forget.run(Options(lab="none", only=(name,)))


@pytest.fixture
def command(guest: Guest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    (tmp_path / "states").mkdir()
    return Command(guest, monkeypatch, tmp_path / "states")


def test_nobody_gave_it_yet_and_everything_else_is_there(guest: Guest) -> None:
    eventually(lambda: guest.file("salt").exists())
    says = guest.status()
    assert says.errors == (), "to wait for a person is no error"
    assert not guest.file("api_key").exists()
    wanted = secretstore.coming(guest.server.hub, guest.vault)
    versions = {path: wanted[path] for path in agent.paths(guest.server.hub, GUEST)}
    eventually(lambda: guest.status().behind(versions) == [])


def test_a_secret_is_given_replaced_forgotten_and_given_again(
    command: Command, guest: Guest, capfd: pytest.CaptureFixture[str]
) -> None:
    def restarts() -> int:
        return len([call for call in guest.calls() if "restart" in call])

    assert command.set(f"{VALUE}\n".encode()) == 0
    assert guest.file("api_key").read_text() == VALUE
    assert command.set(VALUE.encode()) == 0
    after = restarts()
    assert command.set(b"another one, as long as the first\n") == 0
    assert guest.file("api_key").read_text() == "another one, as long as the first"
    assert restarts() == after + 1, "a value given twice restarts nobody, a new one its service"

    assert command.forget() == 0
    assert not guest.file("api_key").exists()
    assert guest.status().errors == ()
    ref = given.chosen(guest.server.hub, KEY)
    assert guest.vault.get(f"kv/metadata/{ref.path}") is None, "no version of it is left"
    assert given.waits(guest.server.hub, given.missing(guest.server.hub, guest.vault))[INSTANCE]

    assert command.set(VALUE.encode()) == 0
    assert guest.file("api_key").read_text() == VALUE
    assert restarts() == after + 2, "its service does not go on with what was forgotten"
    assert command.forget() == 0 and command.forget() == 0
    told = capfd.readouterr()
    assert "nobody gave" in told.err
    assert f"wait for aihub secrets set {KEY}: {INSTANCE}" in told.err
    text = (guest.home / "run" / "agent" / "status.json").read_text()
    for hidden in (VALUE, "another one"):
        assert hidden not in told.out + told.err + text


def test_a_value_of_several_lines_and_of_the_greatest_size_arrives_as_it_is(command: Command, guest: Guest) -> None:
    for value in ("one\ntwo\n\nthree", "x" * given.LONGEST):
        assert command.set(f"{value}\n".encode()) == 0
        assert guest.file("api_key").read_text() == value


def test_marks_are_there_before_the_value_and_survive_it(server: Server, vault: Vault) -> None:
    path = "hub/test/marked"
    vault.mark(path, {"keep": "never", "instance": INSTANCE})
    assert (vault.read(path), vault.marks(path)) == (None, None)
    assert vault.list("hub/test") == [path]
    assert vault.write(path, {"value": "x"}, cas=0) == 1
    vault.mark(path, {"note": "by hand"})
    vault.mark(path, {"instance": ""})
    entry = vault.read(path)
    assert entry is not None
    assert dict(entry.marks) == vault.marks(path) == {"keep": "never", "note": "by hand"}
    assert vault.write(path, {"value": "y"}, cas=1) == 2, "what is said about it is no version"


def test_what_is_kept_says_so_itself_and_nothing_else_does(server: Server, vault: Vault) -> None:
    given.put(server.hub, vault, given.chosen(server.hub, KEY), VALUE)
    said = {path: vault.marks(path) for path in vault.list("hub")}
    marked = {path: marks for path, marks in said.items() if marks}
    assert marked == {
        SALT: {"keep": "never", "instance": INSTANCE},
        SALT.replace("salt", "api_key"): {"keep": "given", "instance": INSTANCE},
        "hub/public-ai/notes/salt": {"keep": "never", "instance": "notes@public-ai"},
        "hub/db/postgres/reconcile": {"keep": "login", "instance": "postgres@db"},
        "hub/db/redis/reconcile": {"keep": "login", "instance": "redis@db"},
    }


def test_a_removed_instance_takes_its_secrets_and_its_rights_along_and_leaves_what_its_data_needs(
    server: Server, vault: Vault
) -> None:
    given.put(server.hub, vault, given.chosen(server.hub, KEY), VALUE)
    salt, rest = vault.read(SALT), without(server.hub, INSTANCE)
    assert planned(server.hub, vault) == []
    gone = planned(rest, vault)
    assert {change.action for change in gone if ": entry " in change.subject} == {"delete"}
    assert {change.subject.partition(": ")[2] for change in gone} >= {
        f"policy hub-notes-{GUEST}", f"approle hub-{GUEST}", f"pki role notes-{GUEST}",
        f"entry hub/{GUEST}/notes/postgres_main", "entry operator/pair/redis@db/notes_private_ai_jobs",
    }  # fmt: skip
    done(rest, vault)
    assert planned(rest, vault) == []
    left = {path for path in vault.list("") if "private" in path}
    assert left == {one.path for one in kept.kept(rest, vault)} == {SALT, SALT.replace("salt", "api_key")}

    done(server.hub, vault)
    assert planned(server.hub, vault) == []
    assert vault.read(SALT) == salt, "declared again, it takes up what was kept"

    done(rest, vault)
    assert set(kept.destroy(rest, vault, INSTANCE)) == left
    assert kept.left(rest, vault) == ()
    assert not [path for path in vault.list("") if "private" in path]


def test_a_mark_without_a_value_goes_as_well(server: Server, vault: Vault) -> None:
    """What a run left that died between the two."""
    vault.destroy(SALT)
    vault.mark(SALT, {"keep": "never", "instance": INSTANCE})
    assert [c.subject for c in planned(server.hub, vault)] == [f"vault@security: entry {SALT}"], "its value is made"
    rest = without(server.hub, INSTANCE)
    done(rest, vault)
    assert not [path for path in vault.list("") if "private" in path]


def test_no_guest_reads_or_writes_what_is_said_about_an_entry(server: Server) -> None:
    grants = desired.desired(server.hub).policies
    own = {name: rules for name, rules in grants.items() if name != desired.OPERATOR}
    assert own
    assert not [path for rules in own.values() for path in rules if "metadata" in path]


def planned(hub: Hub, vault: Vault) -> list[Any]:
    """What the plan has of the vault, but for the recovery kit."""
    assert hub.vault
    return [*setup.plan(vault, hub), *entries.look(hub, hub.vault, vault, kept.left(hub, vault))]


def done(hub: Hub, vault: Vault) -> None:
    """As `up` does it with what was just agreed to."""
    changes = planned(hub, vault)
    setup.apply(vault, hub)
    entries.apply(hub, vault, changes, lambda text: None)
