"""The recovery kit: what exists once is encrypted once, the rest anew when it changes, and a kit counts when opened."""

from __future__ import annotations

import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from aihub.errors import HubError, InvalidInput, PreconditionFailed
from aihub.model.resolved import Hub
from aihub.model.target import PVE
from aihub.secrets import kits
from aihub.secrets.kits import Root
from aihub.state.directory import State
from aihub.vault import certificates, pending

from tests.vault.local_vault import small_hub

AUTHORITY = certificates.new_root("small", "small.home.arpa")
ROOT = Root(("one", "two", "three", "four", "five"), AUTHORITY)


@pytest.fixture
def state(tmp_path: Path) -> State:
    state = State(tmp_path / "state")
    state.make()
    state.vault_login.write_text('{"role_id": "r", "secret_id": "first"}')
    state.key.write_text("private ssh key")
    return state


@pytest.fixture
def hub() -> Hub:
    return small_hub()


@pytest.fixture
def to(hub: Hub, state: State) -> tuple[str, ...]:
    return kits.recipients(hub, state)


def blob(kit: kits.Kit, name: str) -> str:
    return str(json.loads(kit.path.read_text())["blobs"][name])


def test_it_holds_everything_and_shows_nothing(hub: Hub, state: State, to: tuple[str, ...]) -> None:
    kit = kits.issue(hub, state, to, ROOT)
    root, files = kits.opened(kit.path, kits.lab_identity(state))
    assert root == ROOT
    assert files["hub.yml"] == Path(hub.path).read_bytes()
    assert files["ssh/id_ed25519"] == b"private ssh key"
    assert files["vault/operator.json"] == state.vault_login.read_bytes()
    assert "aihub" in json.loads(files["versions.json"])
    assert (kit.path.name, kit.proven) == ("aihub-small-1.kit", "")
    assert stat.S_IMODE(kit.path.stat().st_mode) == 0o600
    shown = kit.path.read_text() + (state.kit / "kit.json").read_text() + repr(root) + repr(kit)
    for hidden in (*ROOT.shares, "private ssh key", AUTHORITY.key.splitlines()[1]):
        assert f'"{hidden}' not in shown
        assert f"{hidden}\n" not in shown


def test_the_same_content_makes_no_second_kit(hub: Hub, state: State, to: tuple[str, ...]) -> None:
    kit = kits.issue(hub, state, to, ROOT)
    before = kit.path.read_bytes()
    assert kits.stale(hub, state, to) == ""
    assert kits.issue(hub, state, to, ROOT) == kits.issue(hub, state, to) == kits.newest(state) == kit
    assert kit.path.read_bytes() == before


def test_changed_content_makes_the_old_one_stale_and_carries_the_root_over(
    hub: Hub, state: State, to: tuple[str, ...]
) -> None:
    first = kits.issue(hub, state, to, ROOT)
    kits.prove_file(state, kits.lab_identity(state))
    root, proof, hubs = blob(first, "root"), blob(first, "proof"), blob(first, "hub")
    state.vault_login.write_text('{"role_id": "r", "secret_id": "second"}')
    assert kits.stale(hub, state, to) == "aihub-small-1.kit is stale: vault/operator.json changed since"
    second = kits.issue(hub, state, to)
    assert second.path.name == "aihub-small-2.kit"
    assert second.proven
    assert (blob(second, "root"), blob(second, "proof")) == (root, proof)
    assert blob(second, "hub") != hubs
    assert kits.stale(hub, state, to) == ""
    assert [p.name for p in state.kit.glob("*.kit")] == ["aihub-small-2.kit"]
    assert kits.prove_file(state, kits.lab_identity(state)).path == second.path


def test_other_recipients_need_the_root_and_a_new_proof(hub: Hub, state: State, to: tuple[str, ...]) -> None:
    kits.issue(hub, state, to, ROOT)
    kits.prove_file(state, kits.lab_identity(state))
    mine = kits.age.new_identity()[1]
    assert "other people" in kits.stale(hub, state, (*to, mine))
    with pytest.raises(PreconditionFailed, match="only it holds") as found:
        kits.issue(hub, state, (*to, mine))
    assert "aihub-small-1.kit" in str(found.value)
    assert kits.issue(hub, state, (*to, mine), ROOT).proven == ""


def test_a_new_vault_gets_a_new_root_and_a_new_proof(hub: Hub, state: State, to: tuple[str, ...]) -> None:
    kits.issue(hub, state, to, ROOT)
    kits.prove_file(state, kits.lab_identity(state))
    other = replace(ROOT, shares=("a", "b", "c", "d", "e"))
    kit = kits.issue(hub, state, to, other)
    assert kit.proven == ""
    assert kits.opened(kit.path, kits.lab_identity(state))[0] == other


def test_a_kit_that_is_gone_is_told(hub: Hub, state: State, to: tuple[str, ...]) -> None:
    kits.issue(hub, state, to, ROOT).path.unlink()
    assert "it is gone from this machine" in kits.stale(hub, state, to)
    with pytest.raises(PreconditionFailed, match="is gone"):
        kits.issue(hub, state, to)


def test_the_code_that_only_opening_it_yields(hub: Hub, state: State, to: tuple[str, ...]) -> None:
    kit = kits.issue(hub, state, to, ROOT)
    code = kits.age.decrypt(blob(kit, "proof"), kits.lab_identity(state)).decode()
    for wrong in ("", "AAAAAAAA", code.strip()[:-1]):
        with pytest.raises(PreconditionFailed, match="not the code"):
            kits.prove_code(state, wrong)
    found = kits.newest(state)
    assert found is not None
    assert not found.proven
    assert kits.prove_code(state, code.lower()).proven
    assert code.strip() not in (state.kit / "kit.json").read_text()


def test_another_key_proves_nothing(hub: Hub, state: State, to: tuple[str, ...], tmp_path: Path) -> None:
    kits.issue(hub, state, to, ROOT)
    other = tmp_path / "other"
    other.write_text(kits.age.new_identity()[0])
    with pytest.raises(PreconditionFailed):
        kits.prove_file(state, other)
    found = kits.newest(state)
    assert found is not None
    assert not found.proven


def test_a_kit_with_other_content_proves_nothing(hub: Hub, state: State, to: tuple[str, ...]) -> None:
    kit = kits.issue(hub, state, to, ROOT)
    data = json.loads(kit.path.read_text())
    forged = {"shares": ["x"] * 5, "certificate": AUTHORITY.certificate, "key": AUTHORITY.key}
    data["blobs"]["root"] = kits.age.encrypt(json.dumps(forged).encode(), to)
    kit.path.write_text(json.dumps(data))
    with pytest.raises(HubError, match="does not hold what was put into it"):
        kits.prove_file(state, kits.lab_identity(state))


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"format": 9}', '{"format": 1, "blobs": {}}', "\xff"])
def test_what_is_no_kit_is_told(state: State, tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.kit"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(PreconditionFailed, match="not a recovery kit"):
        kits.opened(path, kits.lab_identity(state))
    with pytest.raises(PreconditionFailed, match="no such"):
        kits.opened(tmp_path / "none.kit", kits.lab_identity(state))


def test_restoring_never_writes_over_something_else(
    hub: Hub, state: State, to: tuple[str, ...], tmp_path: Path
) -> None:
    kit = kits.issue(hub, state, to, ROOT)
    fresh = State(tmp_path / "fresh")
    fresh.make()
    names = kits.restore(fresh, kit.path, kits.lab_identity(state))
    assert names == ["ssh/id_ed25519", "vault/operator.json"]
    assert fresh.key.read_text() == "private ssh key"
    assert stat.S_IMODE(fresh.key.stat().st_mode) == 0o600
    left = pending.read(fresh)
    assert left is not None
    assert (left.shares, left.authority, left.root_token) == (ROOT.shares, AUTHORITY, "")
    kits.restore(fresh, kit.path, kits.lab_identity(state))
    fresh.key.write_text("mine")
    with pytest.raises(PreconditionFailed, match="another one"):
        kits.restore(fresh, kit.path, kits.lab_identity(state))
    assert fresh.key.read_text() == "mine"


def test_an_authority_that_was_made_for_nothing_gives_way(
    hub: Hub, state: State, to: tuple[str, ...], tmp_path: Path
) -> None:
    state.ca.write_text(AUTHORITY.certificate)
    kit = kits.issue(hub, state, to, ROOT)
    fresh = State(tmp_path / "fresh")
    fresh.make()
    made = pending.authority(hub, fresh)  # what `aihub up` does first on a new machine
    assert made != AUTHORITY.certificate
    kits.restore(fresh, kit.path, kits.lab_identity(state))
    assert fresh.ca.read_text() == pending.authority(hub, fresh) == AUTHORITY.certificate
    pending.write(fresh, replace(pending.read(fresh), shares=("other",)))  # type: ignore[type-var]
    with pytest.raises(PreconditionFailed, match="another Vault"):
        kits.restore(fresh, kit.path, kits.lab_identity(state))


def test_giving_a_vault_up_begins_anew(hub: Hub, state: State) -> None:
    first = pending.authority(hub, state)
    assert pending.authority(hub, state) == first
    pending.forget(state)
    assert not state.vault_login.exists()
    assert pending.authority(hub, state) != first


def test_a_real_node_wants_people_named(hub: Hub, state: State) -> None:
    with pytest.raises(InvalidInput, match="nobody"):
        kits.recipients(replace(hub, target=PVE), state)
    named = replace(hub, operator_recovery=("age1x",))
    assert kits.recipients(named, state) == kits.recipients(replace(named, target=PVE), state) == ("age1x",)
