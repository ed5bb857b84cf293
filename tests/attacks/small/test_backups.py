"""Root on a guest, with all that its own copies need, gets at nobody else's, and takes nothing of its own away."""

from __future__ import annotations

import json

import pytest

from tests.lab.cli import Cli
from tests.lab.small.test_2_edits import come_true
from tests.lab.small.test_7_backups import REPOSITORY, keep_copies, look_after

pytestmark = pytest.mark.lab
OWN, OTHER = (f"backup-{guest}-own.restic.small.home.arpa" for guest in ("app", "security"))
CERTIFICATE, MACHINE = "/run/hub/backup/restic_own.pem", "/run/hub/machine/tls.pem"
PROGRAM = """
import http.client, json, ssl, sys
def ask(method, path, certificate, body=None):
    context = ssl.create_default_context(cafile="/etc/hub/ca.pem")
    if certificate:
        context.load_cert_chain(certificate)
    link = http.client.HTTPSConnection("security.small.home.arpa", 8100, context=context, timeout=20)
    try:
        link.putrequest(method, path, skip_accept_encoding=True)
        if body is not None:
            link.putheader("Content-Length", str(len(body)))
        link.endheaders(body.encode() if body is not None else None)
        return link.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
print(json.dumps([ask(*one) for one in json.loads(sys.argv[1])]))
"""
RESTIC = (
    f"restic --repo rest:https://security.small.home.arpa:8100/{OWN}/ --password-file /run/hub/backup/password "
    f"--cacert /run/hub/backup/ca.pem --tls-client-cert {CERTIFICATE} --no-cache"
)


@pytest.fixture(scope="module", autouse=True)
def copied(hub: Cli) -> None:
    """Both guests have copies."""
    keep_copies(hub)
    hub.ok("backup")


def ask(hub: Cli, *tries: tuple[str, ...]) -> list[int | str]:
    """The status of each request from the guest app."""
    hub.on("app", "cat > /root/try.py", PROGRAM)
    try:
        found: list[int | str] = json.loads(hub.on("app", f"python3 /root/try.py '{json.dumps(tries)}'"))
        return found
    finally:
        hub.on("app", "rm /root/try.py")


WAYS = (
    f"/{OTHER}/config",
    "/",
    f"/{OWN}/../{OTHER}/config",
    f"/{OWN}/%2e%2e/{OTHER}/config",
    f"/{OWN}/..%2f{OTHER}/config",
    f"/{OWN}%2f..%2f{OTHER}/config",
    f"//{OWN}/..//{OTHER}/config",
    f"/{OTHER.upper()}/config",
    f"/{OTHER}/../{OTHER}/config",
)


def test_a_guest_reaches_its_own_copies_and_nobody_elses(hub: Cli) -> None:
    own, *others = ask(hub, *(("GET", path, CERTIFICATE) for path in (f"/{OWN}/config", *WAYS)))
    assert own == 200
    assert set(others) == {403}, dict(zip(WAYS, others, strict=True))
    assert (
        ask(hub, ("POST", f"/{OTHER}/?create=true", CERTIFICATE, ""), ("GET", f"/{OTHER}/config", MACHINE)) == [403] * 2
    )
    (nobody,) = ask(hub, ("GET", f"/{OWN}/config", ""))
    assert isinstance(nobody, str), "without a certificate there is no answer"


def test_a_guest_takes_none_of_its_copies_away(hub: Cli) -> None:
    before = hub.on("app", f"{RESTIC} snapshots --json")
    file = hub.on("security", f"cd {REPOSITORY} && find data snapshots -type f | head -n 1")
    path = f"/{OWN}/{file.partition('/')[0]}/{file.rpartition('/')[2]}"
    tries = (("DELETE", path), ("POST", path, CERTIFICATE, "x"), ("DELETE", f"/{OWN}/config"))
    assert ask(hub, *((*one, CERTIFICATE)[: max(3, len(one))] for one in tries)) == [403] * 3
    assert "403" in hub.on("app", f"timeout 60 {RESTIC} forget latest 2>&1 || true")
    assert hub.on("app", f"{RESTIC} snapshots --json") == before


def test_a_snapshot_from_the_future_stops_removal_and_is_told(hub: Cli) -> None:
    hub.on("app", f"{RESTIC} --quiet backup --time '2036-01-01 00:00:00' --tag future /etc/hostname")
    look_after(hub)
    told = hub("backups", "notes@app")
    assert told.returncode == 7
    assert "of the future" in " ".join(told.stdout.split())
    forget = "ask --quiet forget --tag future --unsafe-allow-remove-all"
    inside = f". /etc/restic/repository.sh; open backup_app_own; {forget}"
    hub.on("security", f"docker exec restic-server-keeper-1 sh -c '{inside}'")
    look_after(hub)
    assert hub("backups", "notes@app").returncode == 0


LEFT = """
ls -d /run/hub/* /usr/local/bin/hub-* /var/lib/hub-* /var/cache/hub-* /etc/hub/*.json /opt/hub/* 2>/dev/null
systemctl list-unit-files 'hub-*' --no-legend | cut -d' ' -f1
docker ps --all --format '{{.Names}}'; docker network ls --format '{{.Name}}'
"""


def test_taken_out_it_is_as_if_it_had_never_been_there_and_put_in_again_the_copies_are_there(hub: Cli) -> None:
    known = hub("backups", "--json").stdout
    text = hub.hub.read_text()
    hub.hub.write_text(text.replace(", restic-server]", "]"))
    come_true(hub, "security", "app", "node pve", "vault@security")
    for guest in ("security", "app"):
        left = [one for one in hub.on(guest, LEFT).split() if "backup" in one or "restic" in one]
        assert left == []
    kept = {one["holder"] for one in json.loads(hub("plan", "--json").stdout)["kept"]}
    assert {"restic-server@security", "backup@app", "backup@security"} <= kept
    assert hub("backup").returncode == 4
    hub.hub.write_text(text)
    come_true(hub, "security", "app")
    assert hub("backups", "--json").stdout == known
    hub.ok("backup")
    hub.hub.write_text(text.replace(", restic-server]", "]"))
    hub.ok("up", "--no-verify")
