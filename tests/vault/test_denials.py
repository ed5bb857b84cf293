"""The check of what a guest's login can do with what is not its own, against a real vault: it sees every hole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aihub.checks import denials
from aihub.checks.shell import Shell
from aihub.errors import TaskFailed
from aihub.names import approle
from aihub.render import agent as given
from aihub.secrets.store import ensure
from aihub.vault.client import Vault
from aihub.vault.desired import desired, policy_of, text_of

from .local_vault import Server

pytestmark = pytest.mark.slow
GUEST = "public-ai"
OTHER = "hub/private-ai/notes/api_key"


@pytest.fixture
def tried(up: Server, vault: Vault, tmp_path: Path) -> Iterator[Any]:
    """`tried(**options)`: what the guest finds, run here with the guest's address."""
    ensure(up.hub, vault)
    config = {**given.config(up.hub, GUEST), "vault": f"https://{up.name}:{up.port}", "ca": str(up.state.ca)}
    files = {"config": tmp_path / "agent.json", "secret_id": tmp_path / "secret-id"}
    files["config"].write_text(json.dumps(config))
    files["secret_id"].write_text(vault.secret_id(approle(GUEST)).value)
    (tmp_path / "role-id").write_text(vault.role_id(approle(GUEST)))
    shell = Shell(GUEST, ["sh"])
    places = {name: str(path) for name, path in files.items()}
    yield lambda **more: denials.ask(shell, denials.question(up.hub, GUEST), **places, **more)
    shell.close()


@pytest.fixture
def hole(up: Server, vault: Vault) -> Iterator[Any]:
    """`hole(path, capability)`: the guest may do more than it should, until the test ends."""
    instance = next(i for i in up.hub.instances if i.guest.name == GUEST and policy_of(i) in desired(up.hub).policies)
    grants = desired(up.hub).policies[policy_of(instance)]
    yield lambda path, *can: vault.put_policy(policy_of(instance), text_of({**grants, path: can}))
    vault.put_policy(policy_of(instance), text_of(grants))


def test_a_narrow_login_is_refused_everywhere_but_at_its_own(tried: Any) -> None:
    found = tried()
    assert found.allowed == ()
    assert set(found.own.values()) == {200}
    assert found.refused > 50


@pytest.mark.parametrize(
    ("path", "capability", "seen"),
    [
        (f"kv/data/{OTHER}", "read", f"read kv/data/{OTHER} (200)"),
        (f"kv/data/{OTHER}", "update", f"update kv/data/{OTHER} (400)"),
        ("kv/data/hub/private-ai/*", "create", f"create beside kv/data/{OTHER}-beside (400)"),
        (f"kv/metadata/{OTHER}", "read", f"look at kv/metadata/{OTHER} (200)"),
        ("kv/metadata/hub/private-ai/notes", "list", "list kv/metadata/hub/private-ai/notes (200)"),
        (f"kv/delete/{OTHER}", "update", f"delete kv/delete/{OTHER} (204)"),
        (f"kv/destroy/{OTHER}", "update", f"destroy kv/destroy/{OTHER} (204)"),
        ("pki/issue/postgres-db", "update", "get certificates of pki/issue/postgres-db (400)"),
    ],
)
def test_each_hole_is_seen(tried: Any, hole: Any, vault: Vault, path: str, capability: str, seen: str) -> None:
    before = vault.read(OTHER)
    hole(path, capability)
    assert seen in tried().allowed
    assert vault.read(OTHER) == before, "the check itself changed something"


def test_deletions_are_tried_for_real_where_they_may_be(tried: Any, hole: Any, vault: Vault) -> None:
    before = vault.read(OTHER)
    assert before
    assert tried(harmful=True).allowed == ()
    assert vault.read(OTHER) == before
    hole(f"kv/data/{OTHER}", "delete")
    assert tried(harmful=True).allowed == (f"delete the newest of kv/data/{OTHER} (204)",)
    vault.write(OTHER, before.data, before.version)


def test_a_login_that_does_not_work_proves_nothing(tried: Any, up: Server, vault: Vault) -> None:
    (one,) = vault.secret_ids(approle(GUEST))[-1:]
    vault.destroy_secret_id(approle(GUEST), one.accessor)
    with pytest.raises(TaskFailed, match="the login ends with 4"):
        tried()
