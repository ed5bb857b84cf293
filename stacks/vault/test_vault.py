"""The vault answers over TLS only, is open, keeps an account of what is asked, and has no root token any more."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable
from typing import Any

import pytest
from aihub.checks import tls
from aihub.checks.context import Context
from aihub.model.resolved import Instance
from aihub.state.directory import State

PORT = 8200
FOLDER = "/var/lib/hub/vault"
AUDIT = f"{FOLDER}/audit/audit.log"


def test_certificate(forward: Callable[[int], int], instance: Instance, state: State) -> None:
    """it proves its name with a certificate of the hub's own authority"""
    _, version = tls.certificate(forward(PORT), instance.guest.fqdn, state.ca)
    assert version == "TLSv1.3"
    with pytest.raises(ssl.SSLCertVerificationError):
        tls.certificate(forward(PORT), f"other.{instance.guest.fqdn}", state.ca)


def test_old_tls(forward: Callable[[int], int], instance: Instance, state: State) -> None:
    """it refuses TLS older than 1.2"""
    assert "PROTOCOL_VERSION" in tls.refusal_of_old(forward(PORT), instance.guest.fqdn, state.ca)


def test_plaintext(forward: Callable[[int], int]) -> None:
    """it answers nothing without TLS"""
    with socket.create_connection(("127.0.0.1", forward(PORT)), 10) as link:
        link.sendall(b"GET /v1/sys/health HTTP/1.0\r\n\r\n")
        answer = link.recv(4096)
    assert answer.startswith(b"HTTP/1.0 400"), answer[:80]
    assert b"sealed" not in answer


def test_open(context: Context) -> None:
    """it is initialised and open, and its clock is ours within 30 seconds"""
    health = context.vault.health()
    assert (health.initialised, health.sealed) == (True, False)
    assert abs(health.skew) < 30


def test_not_dev(container: Callable[..., Any]) -> None:
    """it is no development server: it runs from its configuration, with its data on disk"""
    found = container().attrs
    command = [*(found["Config"]["Entrypoint"] or []), *(found["Config"]["Cmd"] or [])]
    assert not [word for word in command if word.startswith("-dev")]
    assert not [word for word in found["Config"]["Env"] if "DEV_ROOT_TOKEN" in word]
    mounts = {mount["Destination"]: mount["Source"] for mount in found["Mounts"]}
    assert mounts["/vault/data"] == f"{FOLDER}/data"


def test_memory(container: Callable[..., Any]) -> None:
    """its memory gets into no core file and into no swap"""
    settings = container().attrs["HostConfig"]
    assert {"Name": "core", "Hard": 0, "Soft": 0} in settings["Ulimits"]
    assert settings["MemorySwap"] == settings["Memory"] > 0


def test_account(host: Any, context: Context) -> None:
    """each question is in its audit log, on disk and in its own output, and no value is"""
    before = int(host.check_output("stat --format=%%s %s", AUDIT))
    hub = context.hub
    if not hub.pairs and not hub.secrets:
        pytest.skip("it keeps no entry for this hub")
    path = next((pair.path for pair in hub.pairs if pair.entry is None), "") or hub.secrets[0].path
    entry = context.vault.read(path)
    assert entry is not None
    values = [value for key, value in entry.data.items() if key not in ("active", "user")]
    context.handed_out.update(values)
    added = host.run("tail --bytes=+%s %s", str(before), AUDIT).stdout
    # Whole lines only: others ask meanwhile, so it may begin or end within one.
    asked = [json.loads(line) for line in added.splitlines(keepends=True)[1:] if line.endswith("\n")]
    assert f"kv/data/{path}" in {line["request"]["path"] for line in asked}
    assert not any(value in added for value in values)
    shown = host.check_output("docker logs --since 2m vault-vault-1 2>&1 | tail --bytes=2000000")
    assert f"kv/data/{path}" in shown
    assert not any(value in shown for value in values)


def test_root_token(context: Context) -> None:
    """no root token is alive"""
    found = [token.policies for token in context.vault.tokens()]
    assert ("hub-operator",) in found, "the list lacks the token that asks for it"
    assert not [policies for policies in found if "root" in policies]


def test_files(host: Any, instance: Instance) -> None:
    """its key and its data can be read by its own user only"""
    shown = host.check_output("cd %s && stat --format='%%n %%a %%u' tls/listener.key data audit", FOLDER)
    uid = instance.stack.uid
    assert shown.splitlines() == [f"tls/listener.key 400 {uid}", f"data 700 {uid}", f"audit 700 {uid}"]
