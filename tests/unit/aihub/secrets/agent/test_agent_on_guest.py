"""What the agent does on a guest without a real vault: where it writes, and what stays whatever the store answers."""

from __future__ import annotations

import io
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from aihub.secrets.agent import on_guest


def test_secrets_are_refused_on_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def mounts(_path: str, *_: Any, **__: Any) -> io.StringIO:
        return io.StringIO("/dev/sda1 / ext4 rw 0 0\ntmpfs /run tmpfs rw 0 0\n")

    monkeypatch.setattr("builtins.open", mounts)
    on_guest.require_memory("/run/hub")
    with pytest.raises(SystemExit, match="not in memory"):
        on_guest.require_memory("/runner")


def test_a_disk_that_was_mounted_over_memory_is_a_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "tmpfs /run tmpfs rw 0 0\n/dev/sdb1 /run ext4 rw 0 0\n"
    monkeypatch.setattr("builtins.open", lambda *_, **__: io.StringIO(text))
    with pytest.raises(SystemExit, match="not in memory"):
        on_guest.require_memory("/run/hub")


def test_a_directory_is_rid_of_what_is_no_longer_wanted(tmp_path: Path) -> None:
    folder, me = tmp_path / "secrets", os.getuid()
    on_guest.render(str(folder), me, {"old": "x", "kept": "y"})
    on_guest.render(str(folder), me, {"kept": "y", "new": "z"})
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"kept": "y", "new": "z"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o400}


LOGIN = {"auth": {"client_token": "t", "lease_duration": 3600}}
ISSUED = {"private_key": "k", "certificate": "c", "serial_number": "1", "expiration": 4e9}
ENTRY: dict[str, Any] = {
    "path": "infra/app/login",
    "files": {"login": "{user}\n{password}", "url": "{url}"},
    "later": False,
    "on_change": "restart",
}


class Store:
    """A vault that answers what it is told to, by path; an exception is raised."""

    def __init__(self, _config: dict[str, Any]) -> None:
        self.token = ""
        self.answers: dict[str, Any] = {}

    def call(self, _method: str, path: str, _body: Any = None, _token: str = "") -> Any:
        answer = self.answers[path]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def end(self, token: str) -> None:
        """Its tokens are words."""

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> on_guest.Agent:
    """An agent that has brought a login, another entry and a certificate; its services do not run."""
    (tmp_path / "secret-id").write_text("s")
    (tmp_path / "role-id").write_text("r")
    (tmp_path / "ca.pem").write_text("ca")
    (tmp_path / "run").mkdir()
    monkeypatch.setattr(on_guest, "SECRET_ID", str(tmp_path / "secret-id"))
    monkeypatch.setattr(on_guest, "ROLE_ID", str(tmp_path / "role-id"))
    monkeypatch.setattr(on_guest, "RUN", str(tmp_path / "run"))
    monkeypatch.setattr(on_guest, "VaultSession", Store)
    monkeypatch.setattr(on_guest.Agent, "_order", lambda *_: [])
    other = {"path": "infra/app/other", "files": {"other": "{value}"}, "on_change": "none", "later": False}
    tls = {"id": "app.tls.pem", "file": "tls.pem", "role": "app", "name": "app.hub", "on_change": "none"}
    instance = {
        "stack": "app",
        "uid": os.getuid(),
        "entries": [ENTRY, other],
        "restart": "hub-app",
        "certificates": [tls],
    }
    found = on_guest.Agent({"ca": str(tmp_path / "ca.pem"), "instances": [instance]})
    found.vault.answers = {
        "auth/approle/login": LOGIN,
        "kv/data/infra/app/login": secret({"user": "u", "password": "p", "url": "x"}),
        "kv/data/infra/app/other": secret({"value": "o"}),
        "pki/issue/app": {"data": ISSUED},
    }
    assert found.cycle(), found.status["errors"]
    return found


def secret(data: Any, version: int = 1) -> dict[str, Any]:
    """An entry as the store answers it."""
    return {"data": {"data": data, "metadata": {"version": version}}}


def files(agent: on_guest.Agent) -> dict[str, str]:
    """What is there for the service, the authority aside."""
    folder = Path(on_guest.RUN) / "app"
    return {path.name: path.read_text() for path in folder.iterdir() if path.name != "ca.pem"}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (secret({"user": "new", "url": "new"}, 2), "infra/app/login has no password"),
        (secret({"user": "new", "password": "new"}, 2), "infra/app/login has no url"),
        (secret({"user": "new", "password": None, "url": "new"}, 2), "infra/app/login has no password"),
        (secret({"user": "new", "password": 7, "url": "new"}, 2), "infra/app/login: password is no text"),
        (secret(None), "infra/app/login has no data"),
        ({"data": {"data": {"user": "new", "password": "new", "url": "new"}}}, "infra/app/login has no metadata"),
        ({"data": None}, "infra/app/login has no data"),
        ({}, "infra/app/login has no data"),
        (on_guest.RequestRefused(404, "not found"), "not found"),
        (on_guest.RequestRefused(403, "permission denied"), "permission denied"),
        (on_guest.Away("no answer"), "no answer"),
    ],
    ids=str,
)
def test_whatever_is_wrong_with_an_entry_what_is_there_stays(agent: on_guest.Agent, answer: Any, said: str) -> None:
    before = files(agent)
    assert before == {"login": "u\np", "url": "x", "other": "o", "tls.pem": "k\nc\n"}
    agent.vault.answers["kv/data/infra/app/login"] = answer
    assert not agent.cycle()
    assert files(agent) == before
    assert agent.status["errors"] == [said]
    assert agent.status["entries"]["infra/app/login"] == {"version": 1, "applied": 1}


def test_an_entry_with_a_mistake_holds_no_other_up(agent: on_guest.Agent) -> None:
    agent.vault.answers["kv/data/infra/app/login"] = {}
    agent.vault.answers["kv/data/infra/app/other"] = secret({"value": "new"}, 2)
    assert not agent.cycle()
    assert files(agent)["other"] == "new"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"data": {**ISSUED, "private_key": None}}, "pki/issue/app has no private_key"),
        ({"data": {"private_key": "new"}}, "pki/issue/app has no certificate"),
        ({"data": {**ISSUED, "expiration": None}}, "pki/issue/app has no expiration"),
        ({}, "pki/issue/app has no data"),
        (on_guest.RequestRefused(403, "permission denied"), "permission denied"),
    ],
    ids=str,
)
def test_whatever_is_wrong_with_a_certificate_the_old_one_stays(agent: on_guest.Agent, answer: Any, said: str) -> None:
    before, status = files(agent), json.dumps(agent.status["tls"])
    flag = Path(on_guest.RUN) / "agent" / "renew" / "app.tls.pem"
    flag.touch()
    agent.vault.answers["pki/issue/app"] = answer
    assert not agent.cycle()
    assert (files(agent), json.dumps(agent.status["tls"])) == (before, status)
    assert agent.status["errors"] == [said]
    assert flag.exists()


@pytest.mark.parametrize("answer", [{}, {"auth": None}, {"auth": {"client_token": "t"}}], ids=str)
def test_an_answer_to_the_login_without_a_token_changes_nothing(agent: on_guest.Agent, answer: Any) -> None:
    before = files(agent)
    agent.login_again = 0.0
    agent.vault.answers["auth/approle/login"] = answer
    assert not agent.cycle()
    assert files(agent) == before
    assert agent.status["errors"] == [agent.status["login"]["error"]]
    assert "auth/approle/login has no" in agent.status["login"]["error"]


def test_a_file_that_cannot_be_read_stays_and_is_reported(agent: on_guest.Agent) -> None:
    agent.vault.answers["kv/data/infra/app/login"] = on_guest.RequestRefused(404, "not found")
    folder = Path(on_guest.RUN) / "app"
    (folder / "url").unlink()
    (folder / "url").mkdir()  # as unreadable for root as a file on a broken disk
    assert not agent.cycle()
    assert {path.name for path in folder.iterdir()} == {"ca.pem", "login", "url", "other", "tls.pem"}
    assert "url" in agent.status["errors"][0]


def test_an_answer_that_is_not_the_stores_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    vault = object.__new__(on_guest.VaultSession)
    vault.token = ""
    for status, text, kind in (
        (200, b"[]", on_guest.Away),
        (307, b"", on_guest.RequestRefused),
        (503, b"", on_guest.Away),
    ):
        vault._connection = Answered(status, text)  # type: ignore[assignment]
        with pytest.raises(kind):
            vault.call("GET", "kv/data/x")


class Answered:
    """A connection on which one answer comes."""

    def __init__(self, status: int, text: bytes) -> None:
        self.status, self.text = status, text

    def request(self, *_: Any) -> None:
        """Nothing is sent."""

    def getresponse(self) -> Answered:
        return self

    def read(self) -> bytes:
        return self.text
