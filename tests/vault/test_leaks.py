"""What the scan for leaked secrets is told: everything that the vault holds and the controller has, by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from aihub.checks import leaks
from aihub.checks.leaks import CONTROLLER, Known
from aihub.secrets import store as secretstore
from aihub.ssh import config as ssh_config
from aihub.vault.client import Vault, operator

from .local_vault import Server

pytestmark = pytest.mark.slow


@pytest.fixture
def known(up: Server, vault: Vault) -> Known:
    ssh_config.ensure_key(up.state)
    up.state.token.write_text("aihub@pve!hub=0f8fad5b-d9cb-469f-a165-70867728950e\n")
    secretstore.ensure(up.hub, vault)
    return leaks.known(up.hub, up.state, vault)


def test_every_value_of_the_vault_is_known_by_its_path(up: Server, vault: Vault, known: Known) -> None:
    values = {value for _, value in known.values}
    for path in [*(ref.path for ref in up.hub.secrets), *(pair.path for pair in up.hub.pairs)]:
        entry = vault.read(path)
        assert entry
        assert {v for k, v in entry.data.items() if k not in ("user", "active")} <= values, path
    labels = [label for label, _ in known.values]
    assert {"controller/login", "node/token", "controller/ssh"} <= set(labels)
    assert operator(up.state)[1] in values
    assert "0f8fad5b-d9cb-469f-a165-70867728950e" in values
    assert "active" not in json.dumps(labels)
    assert not [value for value in values if len(value) < 16]


def test_a_rotation_in_flight_is_known_too(up: Server, vault: Vault, known: Known) -> None:
    page = {"kind": "pair", "phase": "offer", "new": "n" * 40, "spare": "s" * 40}
    vault.write("operator/rotation/test", page, 0)
    try:
        found = leaks.known(up.hub, up.state, vault)
        assert {value for _, value in found.values} - {value for _, value in known.values} == {"n" * 40, "s" * 40}
    finally:
        vault.destroy("operator/rotation/test")


def test_each_file_of_a_guest_may_hold_its_own_value_only(up: Server, vault: Vault, known: Known) -> None:
    by_label = dict(known.values)
    for ref in up.hub.secrets:
        instance = up.hub.instance(ref.instance)
        entry = vault.read(ref.path)
        assert entry
        for name, text in ref.files.items():
            labels = known.files[instance.guest.name][f"/run/hub/{instance.stack.name}/{name}"]
            held = {value for key, value in entry.data.items() if f"{{{key}}}" in text and key != "user"}
            assert {by_label[label] for label in labels} == held


def test_nothing_is_older_than_the_vault(up: Server, vault: Vault, known: Known) -> None:
    entry = vault.read(up.hub.secrets[0].path)
    assert entry
    first = entry.created.timestamp()
    assert first - 300 < known.since < first - 30
    vault.write(up.hub.secrets[0].path, entry.data, entry.version)
    assert leaks.known(up.hub, up.state, vault).since == pytest.approx(known.since, abs=1)


def test_this_machine_is_clean_but_for_what_was_put_there(
    up: Server, known: Known, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaks, "ROOT", tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    up.state.runs.mkdir(exist_ok=True)
    assert [str(hit) for hit in leaks.controller(up.state, known).hits] == []
    leak = up.state.runs / "output.log"
    leak.write_text(f"password={known.values[0][1]}")
    (tmp_path / ".ansible").mkdir()
    (tmp_path / ".ansible" / "facts").write_text(up.state.token.read_text())
    try:
        found = leaks.controller(up.state, known)
    finally:
        leak.unlink()
    assert found.machine == CONTROLLER
    assert found.blind == ()
    assert {(hit.place, hit.secret, hit.encoding) for hit in found.hits} == {
        (str(leak), known.values[0][0], "raw"),
        (str(tmp_path / ".ansible" / "facts"), "node/token", "raw"),
    }
