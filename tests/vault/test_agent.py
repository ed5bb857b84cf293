"""The agent of a guest, against a real vault: files in memory that follow what the vault holds."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aihub.errors import CheckFailed
from aihub.render import agent as given
from aihub.secrets import agent, enrol
from aihub.secrets import store as secretstore
from aihub.vault import setup
from aihub.vault.client import Vault
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from .local_vault import Server, in_memory

pytestmark = pytest.mark.slow
PROGRAM = Path(agent.__file__).parent / "on_guest.py"
GUEST, STACK, PLACE = "private-ai", "notes", "notes.tls.pem"


@dataclass
class Guest:
    """A guest made of a directory: the real agent, with a `systemctl` and a `docker` that write down their calls."""

    home: Path
    server: Server
    vault: Vault
    process: subprocess.Popen[bytes] | None = None
    environment: dict[str, str] = field(default_factory=dict)

    def prepare(self) -> None:
        config = given.config(self.server.hub, GUEST)
        config["vault"] = f"https://{self.server.name}:{self.server.port}"
        config["ca"] = str(self.server.state.ca)
        for instance in config["instances"]:
            instance["uid"] = os.getuid()
            instance["reload"] = {"service": "app", "signal": "HUP", "exec": []}
            instance["certificates"][0]["on_change"] = "reload"
        (self.home / "agent.json").write_text(json.dumps(config))
        (self.home / "bin").mkdir()
        in_memory(self.home / "run")
        for name in ("systemctl", "docker"):
            script = self.home / "bin" / name
            script.write_text(f'#!/bin/sh\necho "{name} $*" >> {self.home}/calls\n')
            script.chmod(0o755)
        self.environment = {
            "PATH": f"{self.home}/bin:/usr/bin:/bin",
            "HUB_AGENT_CONFIG": f"{self.home}/agent.json",
            "HUB_AGENT_SECRET_ID": f"{self.home}/secret-id",
            "HUB_AGENT_RUN": f"{self.home}/run",
        }

    def unwrap(self, _guest: str, token: bytes) -> int:
        argv = [sys.executable, str(PROGRAM), "unwrap"]
        return subprocess.run(argv, input=token, env=self.environment, check=False, timeout=30).returncode

    def start(self) -> None:
        argv = [sys.executable, str(PROGRAM), "run"]
        self.process = subprocess.Popen(argv, env=self.environment, stdout=subprocess.DEVNULL)

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(10)
            self.process = None

    def wake(self) -> None:
        assert self.process
        self.process.send_signal(1)

    def status(self) -> agent.Status:
        path = self.home / "run" / "agent" / "status.json"
        return agent.Status.of(GUEST, json.loads(path.read_text()) if path.exists() else None)

    def file(self, name: str, stack: str = STACK) -> Path:
        return self.home / "run" / stack / name

    def calls(self) -> list[str]:
        path = self.home / "calls"
        return path.read_text().splitlines() if path.exists() else []


def eventually(what: Callable[[], bool], seconds: float = 15) -> None:
    limit = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < limit
        time.sleep(0.05)


@pytest.fixture
def guest(fresh: Server, tmp_path: Path) -> Iterator[Guest]:
    vault = fresh.bring_up()
    secretstore.ensure(fresh.hub, vault)
    found = Guest(tmp_path / "guest", fresh, vault)
    found.home.mkdir()
    found.prepare()
    yield found
    found.stop()
    vault.close()


def test_files_come_and_belong_to_their_service_alone(guest: Guest) -> None:
    enrol.enrol(guest.server.hub, guest.server.state, guest.vault, GUEST, hand=guest.unwrap)
    guest.start()
    eventually(lambda: guest.status().has_certificate and not guest.status().errors)
    for ref in guest.server.hub.secrets:
        if ref.instance.endswith(f"@{GUEST}"):
            entry = guest.vault.read(ref.path)
            assert entry
            for name, text in ref.files.items():
                path = guest.file(name, ref.instance.partition("@")[0])
                assert path.read_text() == text.format(**entry.data)
                assert stat.S_IMODE(path.stat().st_mode) == 0o400
    assert stat.S_IMODE(guest.file("").stat().st_mode) == 0o500
    assert stat.S_IMODE((guest.home / "secret-id").stat().st_mode) == 0o400
    assert "BEGIN" in guest.file("ca.pem").read_text()
    values = [v for ref in guest.server.hub.secrets if (e := guest.vault.read(ref.path)) for v in e.data.values()]
    text = (guest.home / "run" / "agent" / "status.json").read_text()
    assert not [value for value in values if len(value) > 8 and value in text]


def test_a_new_value_is_there_soon_and_exactly_its_service_hears_of_it(guest: Guest) -> None:
    enrol.enrol(guest.server.hub, guest.server.state, guest.vault, GUEST, hand=guest.unwrap)
    guest.start()
    eventually(lambda: guest.status().has_certificate and not guest.status().errors)
    assert not [call for call in guest.calls() if "systemctl restart" in call]
    ref = next(r for r in guest.server.hub.secrets if r.instance == f"{STACK}@{GUEST}" and r.kind == "value")
    entry = guest.vault.read(ref.path)
    assert entry
    version = guest.vault.write(ref.path, {"value": "x" * 40}, entry.version)
    guest.wake()
    eventually(lambda: not guest.status().behind({ref.path: version}))
    assert guest.file(ref.name).read_text() == "x" * 40
    assert [c for c in guest.calls() if "systemctl restart" in c] == ["systemctl restart hub-notes.service"]


def test_a_certificate_is_one_file_and_renewed_when_asked(guest: Guest) -> None:
    enrol.enrol(guest.server.hub, guest.server.state, guest.vault, GUEST, hand=guest.unwrap)
    guest.start()
    eventually(lambda: PLACE in guest.status().tls)
    before = guest.file("tls.pem").read_text()
    assert "PRIVATE KEY" in before
    serial = guest.status().tls[PLACE]["serial"]
    flag = guest.home / "run" / "agent" / "renew" / PLACE
    flag.touch()
    guest.wake()
    eventually(lambda: guest.status().tls[PLACE]["serial"] != serial)
    assert guest.file("tls.pem").read_text() != before
    eventually(lambda: any("HUP" in call for call in guest.calls()))
    assert not flag.exists()


def test_the_machine_gets_a_certificate_for_servers_and_clients_and_its_door_hears_of_a_new_one(guest: Guest) -> None:
    enrol.enrol(guest.server.hub, guest.server.state, guest.vault, GUEST, hand=guest.unwrap)
    guest.start()
    eventually(lambda: guest.status().has_certificate and not guest.status().errors)
    kept = guest.file("tls.pem", "machine")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o400
    key, leaf = kept.read_text().partition("-----BEGIN CERTIFICATE-----")[::2]
    found = x509.load_pem_x509_certificate(f"-----BEGIN CERTIFICATE-----{leaf}".encode())
    names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [guest.server.hub.guests[GUEST].fqdn]
    usage = found.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(usage) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert "PRIVATE KEY" in key
    serial = guest.status().tls["machine.tls.pem"]["serial"]
    (guest.home / "run" / "agent" / "renew" / "machine.tls.pem").touch()
    guest.wake()
    eventually(lambda: guest.status().tls["machine.tls.pem"]["serial"] != serial and guest.status().has_certificate)
    told = [call for call in guest.calls() if "hub-door" in call]
    assert told == ["systemctl try-reload-or-restart hub-door.service"] * 2  # of the first one, and of the new one


def test_a_wrapped_secret_id_that_somebody_else_opened_is_an_alarm(guest: Guest) -> None:
    def opened_before(_guest: str, token: bytes) -> int:
        thief = guest.server.vault(token=token.decode().split()[0])
        thief.put("sys/wrapping/unwrap", {})
        thief.close()
        return guest.unwrap(_guest, token)

    with pytest.raises(CheckFailed, match="ALARM"):
        enrol.enrol(guest.server.hub, guest.server.state, guest.vault, GUEST, hand=opened_before)
    assert not (guest.home / "secret-id").exists()
    assert guest.vault.secret_ids(f"hub-{GUEST}") == []


def test_a_token_made_for_another_guest_is_an_alarm(guest: Guest) -> None:
    foreign = guest.vault.wrapped_secret_id("hub-public-ai", 60)
    role_id = guest.vault.role_id(f"hub-{GUEST}")
    assert guest.unwrap(GUEST, f"{foreign.token}\n{role_id}\n".encode()) == enrol.ALARM
    assert not (guest.home / "secret-id").exists()


def test_a_sealed_vault_leaves_what_is_there_and_the_agent_goes_on_afterwards(guest: Guest) -> None:
    enrol.enrol(guest.server.hub, guest.server.state, guest.vault, GUEST, hand=guest.unwrap)
    guest.start()
    eventually(lambda: guest.status().has_certificate and not guest.status().errors)
    value = guest.file("api_key").read_text()
    guest.server.stop()
    guest.stop()
    guest.start()  # as after a restart of the guest's agent
    eventually(lambda: not guest.status().logged_in)
    assert guest.file("api_key").read_text() == value
    assert "Vault" in guest.status().error


def test_an_agent_without_a_secret_id_says_so(guest: Guest) -> None:
    guest.start()
    eventually(lambda: "no secret-id" in guest.status().error)
    assert not guest.file("api_key").exists()


def test_no_secret_is_written_to_a_disk(guest: Guest, tmp_path: Path) -> None:
    enrol.enrol(guest.server.hub, guest.server.state, guest.vault, GUEST, hand=guest.unwrap)
    (guest.home / "run").unlink()
    (guest.home / "run").symlink_to("/var/tmp")
    argv, where = [sys.executable, str(PROGRAM), "run"], {"env": guest.environment, "capture_output": True}
    done = subprocess.run(argv, check=False, timeout=30, **where)
    assert done.returncode != 0
    assert b"not in memory" in done.stderr
    assert not Path("/var/tmp", STACK).exists()


def test_the_role_id_comes_with_the_login_and_is_kept(guest: Guest) -> None:
    enrol.enrol(guest.server.hub, guest.server.state, guest.vault, GUEST, hand=guest.unwrap)
    kept = guest.home / "role-id"
    first = kept.read_text()
    assert first == guest.vault.role_id(f"hub-{GUEST}")
    assert stat.S_IMODE(kept.stat().st_mode) == 0o400
    enrol.enrol(guest.server.hub, guest.server.state, guest.vault, GUEST, hand=guest.unwrap)
    assert kept.read_text() == first


def test_a_guest_of_the_former_layout_gets_a_random_role_id(guest: Guest) -> None:
    """Which its agent was told in agent.json; the one `up` that replaces it gives it a login as well."""
    hub, state, vault = guest.server.hub, guest.server.state, guest.vault
    enrol.enrol(hub, state, vault, GUEST, hand=guest.unwrap)
    vault.put(f"auth/approle/role/hub-{GUEST}", {"role_id": "0123456789abcdef0123456789abcdef"})
    (guest.home / "role-id").unlink()
    (found,) = setup.plan(vault, hub)
    assert "its logins end" in found.summary
    assert GUEST in enrol.ended(hub, vault)
    setup.apply(vault, hub)
    assert setup.plan(vault, hub) == []
    assert GUEST in enrol.ended(hub, vault)
    guest.start()
    eventually(lambda: "no secret-id" in guest.status().error)
    enrol.enrol(hub, state, vault, GUEST, hand=guest.unwrap)
    eventually(lambda: guest.status().logged_in)
    assert GUEST not in enrol.ended(hub, vault)


def test_no_token_outlives_its_use(guest: Guest) -> None:
    """Neither the one that proves a new login, nor the one before the newest."""
    role = f"hub-{GUEST}"
    enrol.enrol(guest.server.hub, guest.server.state, guest.vault, GUEST, hand=guest.unwrap)
    assert guest.vault.tokens(role) == []
    config = json.loads((guest.home / "agent.json").read_text())
    code = "import sys; sys.path.insert(0, sys.argv[1])\n"
    code += "import json, on_guest; a = on_guest.Agent(json.loads(sys.argv[2]))\n"
    code += "for _ in range(3):\n    a.login_again = 0.0\n    a._login()\n"
    argv = [sys.executable, "-c", code, str(PROGRAM.parent), json.dumps(config)]
    subprocess.run(argv, env=guest.environment, check=True, timeout=30)
    assert len(guest.vault.tokens(role)) == 1
