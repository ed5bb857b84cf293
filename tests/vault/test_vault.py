"""What aihub says when the vault is sealed, silent, full, changed by somebody, or not itself."""

from __future__ import annotations

import contextlib
import signal
import socketserver
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aihub.errors import HubError, PreconditionFailed
from aihub.vault import bringup, certificates, desired, pending, setup
from aihub.vault.client import Vault, operator
from aihub.vault.errors import Denied, Moved, NotReady, RefusedByVault, Silent

from .local_vault import OTHER, Server

pytestmark = pytest.mark.slow
SECRET = "a-value-that-nobody-may-see-0123456789"


def test_an_entry_is_written_read_listed_and_destroyed(vault: Vault) -> None:
    assert vault.read("hub/test/one") is None
    assert vault.write("hub/test/one", {"value": SECRET}, cas=0) == 1
    assert vault.write("hub/test/one", {"value": "next"}, cas=1) == 2
    vault.write("hub/test/deep/two", {"value": "x"}, cas=0)
    found = vault.read("hub/test/one")
    assert found is not None
    assert (dict(found.data), found.version) == ({"value": "next"}, 2)
    assert abs((datetime.now(UTC) - found.created).total_seconds()) < 60
    assert vault.list("hub/test") == ["hub/test/deep/two", "hub/test/one"]
    vault.destroy("hub/test/one")
    vault.destroy("hub/test/deep/two")
    vault.destroy("hub/test/deep/two")
    assert vault.list("hub/test") == []


def test_no_value_and_no_token_is_in_any_text_of_these_objects(up: Server, vault: Vault) -> None:
    vault.write("hub/test/secret", {"value": SECRET}, cas=0)
    try:
        secret_id = operator(up.state)[1]
        wrapped = vault.wrapped_secret_id("hub-db", 60)
        made = vault.secret_id("hub-db")
        leaf = vault.issue("postgres-db", "db.small.home.arpa")
        with pytest.raises(Moved) as clash:
            vault.write("hub/test/secret", {"value": SECRET}, cas=0)
        shown = " ".join(map(repr, [vault, vault.read("hub/test/secret"), wrapped, made, leaf, clash.value]))
        for hidden in (SECRET, secret_id, wrapped.token, made.value, leaf.key.splitlines()[1]):
            assert hidden
            assert hidden not in shown
    finally:
        vault.destroy("hub/test/secret")
        for one in vault.secret_ids("hub-db"):
            vault.destroy_secret_id("hub-db", one.accessor)


def test_a_human_edit_is_a_conflict_that_names_path_and_keys_only(vault: Vault) -> None:
    vault.write("hub/test/edit", {"user": "me", "password": SECRET}, cas=0)
    vault.write("hub/test/edit", {"user": "me", "password": "by hand"}, cas=1)
    with pytest.raises(Moved) as found:
        vault.write("hub/test/edit", {"user": "me", "password": SECRET}, cas=1)
    assert found.value.exit_code == 6
    assert "hub/test/edit" in str(found.value)
    assert "password, user" in str(found.value)
    assert SECRET not in str(found.value)
    entry = vault.read("hub/test/edit")
    assert entry is not None
    assert entry.data["password"] == "by hand"
    vault.destroy("hub/test/edit")


def test_without_check_and_set_nothing_is_written(vault: Vault) -> None:
    with pytest.raises(RefusedByVault, match="check-and-set"):
        vault.put("kv/data/hub/test/plain", {"data": {"value": "x"}})


def test_an_entry_deleted_by_hand_is_not_taken_for_missing(vault: Vault) -> None:
    vault.write("hub/test/gone", {"value": "x"}, cas=0)
    vault.delete("kv/data/hub/test/gone")
    with pytest.raises(Moved, match="deleted version 1") as found:
        vault.read("hub/test/gone")
    assert "undelete" in found.value.hint
    vault.destroy("hub/test/gone")


def test_a_token_that_may_not_is_refused_with_path_and_capability(up: Server, vault: Vault) -> None:
    secret = vault.secret_id("hub-db")
    guest = up.vault("127.10.10.11")
    guest.login(vault.role_id("hub-db"), secret.value)
    with pytest.raises(Denied) as read:
        guest.read("hub/private-ai/notes/api_key")
    assert read.value.exit_code == 4
    assert not read.value.expired
    assert "lacks the capability read on kv/data/hub/private-ai/notes/api_key" in str(read.value)
    with pytest.raises(Denied, match="capability create or update on kv/data/hub/db/postgres/reconcile"):
        guest.write("hub/db/postgres/reconcile", {"a": SECRET}, cas=0)
    vault.destroy_secret_id("hub-db", secret.accessor)
    vault.revoke_tokens("hub-db")
    guest.close()


def test_a_token_that_is_none_is_said_to_be_none(up: Server) -> None:
    stranger = up.vault(token="s.000000000000000000000000")
    with pytest.raises(Denied, match="does not accept our token") as found:
        stranger.read("hub/test/one")
    assert found.value.expired
    assert found.value.exit_code == 4
    stranger.close()


def test_an_expired_token_of_ours_is_replaced_by_one_more_login(up: Server) -> None:
    ours = up.vault()
    ours.login(*operator(up.state))
    first = ours.token().accessor
    ours.put("auth/token/revoke-accessor", {"accessor": first})
    assert ours.read("hub/test/nothing") is None
    assert ours.token().accessor != first
    ours.close()


def test_a_login_that_is_refused_names_the_next_command(up: Server) -> None:
    stranger = up.vault()
    with pytest.raises(Denied) as found:
        stranger.login(operator(up.state)[0], "00000000-0000-0000-0000-000000000000")
    assert found.value.expired
    assert found.value.hint == "aihub up"
    stranger.close()


def test_a_lost_answer_is_settled_by_looking(up: Server, vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    send = vault._send
    lost: list[str] = []

    def losing(method: str, path: str, missing: bool, **more: object) -> dict[str, object]:
        answer = send(method, path, missing, **more)
        if method == "put" and path == "kv/data/hub/test/lost" and not lost:
            lost.append(path)
            raise Silent("gone", where=path)
        return answer

    monkeypatch.setattr(vault, "_send", losing)
    assert vault.write("hub/test/lost", {"value": "x"}, cas=0) == 1
    assert lost
    lost.clear()
    vault.write("hub/test/lost", {"value": "y"}, cas=1)
    entry = vault.read("hub/test/lost")
    assert entry is not None
    assert (entry.version, entry.data["value"]) == (2, "y")
    vault.destroy("hub/test/lost")


def test_many_threads_share_one_client(vault: Vault) -> None:
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for _ in range(5):
                vault.write(path := f"hub/test/many/{number}", {"value": str(number)}, cas=0)
                entry = vault.read(path)
                assert entry is not None
                assert entry.data["value"] == str(number)
                vault.destroy(path)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_sealed_down_and_back(fresh: Server) -> None:
    vault = fresh.bring_up()
    vault.write("hub/test/one", {"value": "x"}, cas=0)
    vault.use("")
    vault.login(*operator(fresh.state))
    vault.put("sys/policies/acl/hub-sealer", {"policy": 'path "sys/seal" { capabilities = ["update", "sudo"] }'})
    vault.put("auth/approle/role/hub-sealer", {"token_policies": ["hub-sealer"]})
    sealer = fresh.vault()
    sealer.login(vault.role_id("hub-sealer"), vault.secret_id("hub-sealer").value)
    sealer.put("sys/seal", {})
    with pytest.raises(NotReady, match="is sealed") as found:
        vault.read("hub/test/one")
    assert (found.value.exit_code, found.value.hint) == (4, "aihub secrets unseal")
    with pytest.raises(NotReady, match="is sealed"):
        bringup.serve(vault)
    with pytest.raises(PreconditionFailed, match="shares did not open"):
        bringup.unseal(vault, fresh.node_shares()[:2])
    bringup.unseal(vault, fresh.node_shares())
    entry = vault.read("hub/test/one")
    assert entry is not None
    fresh.stop()
    begin = time.monotonic()
    with pytest.raises(Silent, match="does not answer") as silent:
        vault.read("hub/test/one")
    assert silent.value.exit_code == 1
    assert time.monotonic() - begin < 10


def test_a_full_audit_disk_is_named(fresh: Server) -> None:
    vault = fresh.bring_up()
    log = fresh.home / "audit.log"
    log.unlink()
    log.symlink_to("/dev/full")
    assert fresh.process is not None
    fresh.process.send_signal(signal.SIGHUP)  # opens its audit files again
    time.sleep(0.5)
    with pytest.raises(RefusedByVault, match="no audit device can be written") as found:
        vault.read("hub/test/one")
    assert "df -h" in found.value.hint
    log.unlink()
    fresh.process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert vault.read("hub/test/one") is None


@pytest.mark.parametrize(("start", "days"), [(timedelta(days=2), 10), (timedelta(days=-20), 10)])
def test_a_wrong_clock_is_named(fresh: Server, start: timedelta, days: int) -> None:
    root = pending.read(fresh.state)
    assert root is not None
    wrong = certificates.listener(root.authority, fresh.name, days=days, start=datetime.now(UTC) + start)
    _serve_with(fresh, wrong)
    with pytest.raises(PreconditionFailed, match="one of the two clocks is wrong"):
        fresh.vault().health()


def test_a_certificate_for_another_name_or_of_another_authority_is_refused(fresh: Server, tmp_path: Path) -> None:
    root = pending.read(fresh.state)
    assert root is not None
    _serve_with(fresh, certificates.listener(root.authority, "db.small.home.arpa"))
    with pytest.raises(PreconditionFailed, match="no certificate of this hub for security"):
        fresh.vault().health()
    other = certificates.new_root("small", "small.home.arpa")
    _serve_with(fresh, certificates.listener(other, fresh.name))
    with pytest.raises(PreconditionFailed, match="no certificate of this hub for security"):
        fresh.vault().health()
    _serve_with(fresh, certificates.listener(root.authority, fresh.name))
    assert not fresh.vault().health().initialised


@pytest.mark.parametrize("reads", [0, 1])
def test_a_forward_that_leads_nowhere_is_a_vault_that_does_not_answer(up: Server, tmp_path: Path, reads: int) -> None:
    """ssh accepts a connection and hangs up when the server behind it is not there."""

    class HangUp(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            if reads:
                self.request.recv(65536)

    path = tmp_path / "nowhere.sock"
    with socketserver.ThreadingUnixStreamServer(str(path), HangUp) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        with pytest.raises(Silent, match="does not answer"):
            Vault(path, up.name, up.state.ca).health()
        server.shutdown()


def test_without_the_root_certificate_nothing_is_asked(tmp_path: Path) -> None:
    with pytest.raises(PreconditionFailed) as found:
        Vault(tmp_path / "none.sock", "security.small.home.arpa", tmp_path / "ca.pem")
    assert found.value.hint == "aihub up"


def test_the_environment_does_not_lead_elsewhere(up: Server, vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "HTTPS_PROXY": "http://127.0.0.1:1",
        "REQUESTS_CA_BUNDLE": "/nonexistent",
        "VAULT_ADDR": "https://127.0.0.1:1",
        "VAULT_TOKEN": "s.other",
        "VAULT_NAMESPACE": "other",
    }.items():
        monkeypatch.setenv(name, value)
    ours = up.vault()
    ours.login(*operator(up.state))
    assert setup.plan(ours, up.hub) == []
    ours.close()


def test_a_leaf_is_for_one_name_and_chains_to_the_root(up: Server, vault: Vault) -> None:
    leaf = vault.issue("notes-private-ai", "private-ai.small.home.arpa")
    facts = certificates.facts(leaf.chain)
    assert facts.names == ("private-ai.small.home.arpa",)
    assert timedelta(days=19) < facts.not_after - datetime.now(UTC) < timedelta(days=21)
    (up.home / "leaf.pem").write_text(leaf.key + leaf.chain)
    assert _handshake(up, up.home / "leaf.pem", "private-ai.small.home.arpa")
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(up, up.home / "leaf.pem", "public-ai.small.home.arpa")
    for name in ("public-ai.small.home.arpa", "x.private-ai.small.home.arpa", "example.org", "localhost"):
        with pytest.raises(RefusedByVault, match="not allowed"):
            vault.issue("notes-private-ai", name)
    with pytest.raises(RefusedByVault, match="IP Subject Alternative Names"):
        vault.put("pki/issue/notes-private-ai", {"common_name": facts.names[0], "ip_sans": "127.0.0.1"})


def test_who_trusts_the_hub_trusts_it_for_no_other_site(up: Server, vault: Vault) -> None:
    """Even somebody who owns the vault's authority can't make a certificate that our clients take for elsewhere."""
    vault.put("pki/roles/wide", {"allow_any_name": True, "key_type": "ec", "key_bits": 256})
    try:
        for name, fits in (("new.small.home.arpa", True), ("www.example.org", False)):
            if OTHER and not fits:  # HashiCorp's server does not even sign it
                with pytest.raises(RefusedByVault, match="not authorized to sign for this name"):
                    vault.issue("wide", name)
                continue
            leaf = vault.issue("wide", name)
            (up.home / "wide.pem").write_text(leaf.key + leaf.chain)
            if fits:
                assert _handshake(up, up.home / "wide.pem", name)
            else:
                with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree violation"):
                    _handshake(up, up.home / "wide.pem", name)
    finally:
        vault.delete("pki/roles/wide")


def test_a_refusal_is_told_without_a_traceback_of_the_library(up: Server) -> None:
    stranger = up.vault(token="s.000000000000000000000000")
    with pytest.raises(HubError) as found:
        stranger.approles()
    assert found.value.__cause__ is None
    assert desired.OPERATOR not in str(found.value)
    stranger.close()


def _serve_with(server: Server, issued: certificates.Issued) -> None:
    server.stop()
    (server.home / "listener.pem").write_text(issued.chain)
    (server.home / "listener.key").write_text(issued.key)
    server.start()


def _handshake(up: Server, pem: Path, name: str) -> bool:
    """Whether a client that trusts the hub's root takes this certificate for `name`. Raises as ssl does."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    client = ssl.create_default_context(cafile=str(up.state.ca))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    a, b, c, d = ssl.MemoryBIO(), ssl.MemoryBIO(), ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(a, b, server_hostname=name)
    theirs = server.wrap_bio(c, d, server_side=True)
    for _ in range(6):
        for side, out, other in ((ours, b, c), (theirs, d, a)):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
            other.write(out.read())
    return ours.getpeercert() is not None
