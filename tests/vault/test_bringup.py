"""The vault comes up from nothing, once; a run killed at any point is finished by the next."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from aihub.errors import PreconditionFailed
from aihub.secrets import kits
from aihub.secrets.store import ensure, entries, missing
from aihub.vault import bringup, certificates, desired, pending, setup
from aihub.vault.client import operator
from aihub.vault.errors import Denied

from . import local_vault
from .local_vault import OTHER, ROOT, Server

pytestmark = pytest.mark.slow
DRIVER = "tests.vault.crash_driver"
# From the first write of a run on a prepared state to the last; one more proves that the run ended by itself.
FIRST, LAST = 2, 52 if OTHER else 50  # HashiCorp's server gets its audit device by calls
# 13 to 38 are policies, AppRoles, certificate roles and rate limits, one like the other.
BEFORE = [n for n in range(FIRST, LAST + 1) if n not in range(14, 38) or n % 4 == 0]
# Between the call that makes the shares and the file that holds them; only then a vault may be emptied.
LOST = ["3:inside", "4:before", "4:inside"]
INSIDE = [2, 3, 4, 6, 8, 9, 11, 40, 41, 42, 44, 47, 48, 49]


def test_it_comes_up_and_a_second_run_changes_nothing(fresh: Server) -> None:
    vault = fresh.bring_up()
    before = _audit_lines(fresh)
    assert setup.plan(vault, fresh.hub) == []
    assert setup.warnings(vault) == []
    assert not fresh.state.vault_pending.exists()
    kit = kits.newest(fresh.state)
    again = fresh.bring_up(wipe=_never, seal=_never, prove=_never)
    written = {line["request"]["path"] for line in _audit_lines(fresh)[len(before) :] if _writes(line)}
    assert written == {"auth/approle/login"}
    assert kits.newest(fresh.state) == kit
    assert again.intermediate() == vault.intermediate()


def test_what_stays_on_this_machine(fresh: Server) -> None:
    vault = fresh.bring_up()
    ensure(fresh.hub, vault)
    identity = kits.lab_identity(fresh.state)
    root, _ = kits.opened(_kit(fresh), identity)
    text = "".join(p.read_text(errors="replace") for p in fresh.state.directory.rglob("*") if p.is_file())
    for hidden in (*root.shares, root.authority.key.splitlines()[1]):
        assert hidden not in text
    assert operator(fresh.state)[1] in text
    for path in (p for p in fresh.state.directory.rglob("*") if p.is_file()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_every_entry_is_made_once(fresh: Server) -> None:
    vault = fresh.bring_up()
    wanted = missing(fresh.hub, entries(fresh.hub, vault))
    assert len(wanted) == 16
    assert sorted(ensure(fresh.hub, vault)) == sorted(wanted)
    assert (ensure(fresh.hub, vault), missing(fresh.hub, entries(fresh.hub, vault))) == ([], [])
    login = vault.read("hub/private-ai/notes/postgres_main")
    pair = vault.read("operator/pair/postgres@db/notes_private_ai_main")
    jobs = vault.read("hub/private-ai/notes/redis_jobs")
    assert login and pair and jobs
    assert dict(login.data) == {"user": "notes_private_ai_main_a", "password": pair.data["a"]}
    assert jobs.data["user"] == "notes_private_ai_jobs"
    salt = vault.read("hub/public-ai/notes/salt")
    assert salt
    assert len(bytes.fromhex(salt.data["value"])) == 16


def test_the_root_token_is_dead_and_the_shares_are_right(fresh: Server) -> None:
    tokens: list[str] = []

    def seal(shares: object) -> None:
        tokens.append(json.loads(fresh.state.vault_pending.read_text())["root_token"])
        fresh.outside().seal(shares)  # type: ignore[arg-type]

    vault = fresh.bring_up(seal=seal)
    old = fresh.vault(token=tokens[0])
    with pytest.raises(Denied):
        old.token()
    root, _ = kits.opened(_kit(fresh), kits.lab_identity(fresh.state))
    assert fresh.node_shares() == list(root.shares[:3])
    assert len(set(root.shares)) == 5
    vault.put("sys/policies/acl/hub-x", {"policy": 'path "sys/seal" { capabilities = ["update", "sudo"] }'})
    vault.put("auth/approle/role/hub-x", {"token_policies": ["hub-x"]})
    sealer = fresh.vault()
    sealer.login(vault.role_id("hub-x"), vault.secret_id("hub-x").value)
    sealer.put("sys/seal", {})
    bringup.unseal(vault, root.shares[2:])  # any three do
    vault.delete("auth/approle/role/hub-x")
    vault.delete_policy("hub-x")


def test_without_a_proven_kit_it_does_not_go_on(fresh: Server) -> None:
    def refuse(kit: kits.Kit) -> None:
        raise PreconditionFailed("no", where=str(kit.path))

    for prove in (refuse, lambda kit: None):
        with pytest.raises(PreconditionFailed):
            fresh.bring_up(prove=prove)
        assert pending.read(fresh.state) is not None
    fresh.bring_up()
    assert pending.read(fresh.state) is None


def test_a_node_that_fails_is_tried_again(fresh: Server) -> None:
    with pytest.raises(RuntimeError):
        fresh.bring_up(seal=_never)
    assert pending.read(fresh.state) is not None
    fresh.bring_up()
    assert len(fresh.node_shares()) == 3


def test_somebody_elses_vault_is_left_alone(fresh: Server) -> None:
    fresh.vault().initialise(1, 1)
    with pytest.raises(PreconditionFailed) as found:
        fresh.bring_up(wipe=_never)
    assert found.value.exit_code == 4
    assert "--restore" in found.value.hint
    assert "--allow-destroy vault@security" in found.value.hint


def test_a_vault_that_lost_its_data_is_not_made_anew_by_itself(fresh: Server) -> None:
    fresh.bring_up()
    fresh.wipe()
    with pytest.raises(PreconditionFailed, match="its data is gone"):
        fresh.bring_up()
    pending.forget(fresh.state)  # --allow-destroy
    fresh.place_certificate()
    fresh.wipe()
    assert setup.plan(fresh.bring_up(), fresh.hub) == []
    kit = kits.newest(fresh.state)
    assert kit is not None
    assert kit.path.name.endswith("-2.kit")


def test_the_machine_is_lost_and_the_kit_brings_it_back(fresh: Server, tmp_path: Path) -> None:
    vault = fresh.bring_up()
    vault.write("hub/test/kept", {"value": "x"}, cas=0)
    identity, file = tmp_path / "key", tmp_path / "copy.kit"
    identity.write_text(kits.lab_identity(fresh.state).read_text())
    file.write_text(_kit(fresh).read_text())
    subprocess.run(["rm", "-r", str(fresh.state.directory)], check=True)
    fresh.state.make()
    names = kits.restore(fresh.state, file, identity)
    assert "vault/operator.json" in names
    kits.lab_identity(fresh.state).write_text(identity.read_text())
    again = fresh.bring_up(wipe=_never)
    entry = again.read("hub/test/kept")
    assert entry is not None
    assert not fresh.state.vault_pending.exists()


def test_the_authority_can_be_made_again_from_the_kit(fresh: Server) -> None:
    vault = fresh.bring_up()
    vault.put_policy("hub-fix", 'path "sys/mounts/pki" { capabilities = ["delete", "sudo"] }')
    vault.put("auth/approle/role/hub-fix", {"token_policies": ["hub-fix"]})
    fixer = fresh.vault()
    fixer.login(vault.role_id("hub-fix"), vault.secret_id("hub-fix").value)
    fixer.delete("sys/mounts/pki")
    with pytest.raises(PreconditionFailed, match="lost its certificate authority"):
        fresh.bring_up()
    kits.restore(fresh.state, _kit(fresh), kits.lab_identity(fresh.state))
    again = fresh.bring_up()
    assert certificates.facts(again.issue("postgres-db", "db.small.home.arpa").chain).names == ("db.small.home.arpa",)


def test_the_listener_gets_its_certificate_before_the_vault_exists(tmp_path: Path) -> None:
    with local_vault.served(tmp_path) as server:
        issued = (tmp_path / "listener.pem").read_text()
        assert pending.listener(server.hub, server.state, issued) is None
        foreign = certificates.listener(certificates.new_root("x", "small.home.arpa"), server.name)
        assert pending.listener(server.hub, server.state, foreign.chain) is not None
        vault = server.bring_up()
        assert pending.listener(server.hub, server.state, issued) is None
        renewed = vault.issue(desired.listener_role(server.hub.vault), server.name)  # type: ignore[arg-type]
        assert pending.listener(server.hub, server.state, renewed.chain) is None
        with pytest.raises(PreconditionFailed, match="recovery kit"):
            pending.listener(server.hub, server.state, "")


@pytest.mark.parametrize("at", [*(f"{n}:before" for n in BEFORE), *(f"{n}:inside" for n in INSIDE)])
def test_killed_anywhere_the_next_run_finishes(fresh: Server, at: str) -> None:
    killed = _run(fresh, at)
    assert killed.returncode == -9, killed.stderr.decode()
    left = pending.read(fresh.state)
    vault = fresh.bring_up()
    assert fresh.wiped == 0 or at in LOST
    assert setup.plan(vault, fresh.hub) == []
    assert not fresh.state.vault_pending.exists()
    root, _ = kits.opened(_kit(fresh), kits.lab_identity(fresh.state))
    assert fresh.node_shares() == list(root.shares[:3])
    if left and left.shares:
        assert root.shares == left.shares
        with pytest.raises(Denied):
            fresh.vault(token=left.root_token).token()
    assert [one.accessor for one in vault.secret_ids(desired.OPERATOR)] == [
        json.loads(fresh.state.vault_login.read_text())["accessor"]
    ]
    assert vault.issue("postgres-db", "db.small.home.arpa").serial


def test_those_were_all_points(fresh: Server) -> None:
    done = _run(fresh, str(LAST + 1))
    assert done.returncode == 0, done.stderr.decode()
    assert int(done.stdout) == LAST


def test_storage_on_disk_survives_its_server(tmp_path: Path) -> None:
    with local_vault.served(tmp_path, storage="raft") as server:
        vault = server.bring_up()
        vault.write("hub/test/one", {"value": "x"}, cas=0)
        server.stop()
        server.start()
        with pytest.raises(PreconditionFailed, match="sealed"):
            vault.read("hub/test/one")
        bringup.unseal(vault, server.node_shares())
        assert vault.read("hub/test/one")


def _run(server: Server, at: str) -> subprocess.CompletedProcess[bytes]:
    argv = [sys.executable, "-m", DRIVER, str(server.home), str(server.forward())]
    return subprocess.run(
        argv, capture_output=True, env={**os.environ, "AIHUB_CRASH_AT": at}, cwd=ROOT, timeout=60, check=False
    )


def _kit(server: Server) -> Path:
    kit = kits.newest(server.state)
    assert kit is not None
    return kit.path


def _audit_lines(server: Server) -> list[dict[str, dict[str, str]]]:
    return [json.loads(line) for line in (server.home / "audit.log").read_text().splitlines()]


def _writes(line: dict[str, dict[str, str]]) -> bool:
    return line["type"] == "request" and line["request"]["operation"] in ("create", "update", "delete")  # type: ignore[comparison-overlap]


def _never(*_: object) -> None:
    raise RuntimeError("this must not be called")
