"""Each of the four strategies, with kinds that aihub has never heard of, on real services whose consumer logs in often.

A rotation is killed before each of its writes and finished by the next run. With `pair`, `overlap` and `certificate` no
login fails. With `single` none fails but between the change and the consumer's restart, which is over in time.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from aihub.errors import HubError
from aihub.render.stacks import secret_files
from aihub.secrets.rotation import records
from aihub.verbs.secrets import status

from . import rotation_world
from .kinds_client import ask, connected
from .kinds_world import ADMINS, CONSUMED, DESK, GIVERS, LATER, PROVIDERS, SEALED, Kinds
from .rotation_client import Driver, everywhere, kill

pytestmark = pytest.mark.slow
MARK = "reader@desk/stamp_mark"


@pytest.fixture(autouse=True)
def within_limits(kinds: Kinds) -> Iterator[None]:
    before = kinds.logins()
    yield
    rotation_world.eventually(lambda: all(now > then for now, then in zip(kinds.logins(), before, strict=True)))
    assert kinds.failures() == []
    limit = kinds.hub.instance("keyring@givers").stack.gives["keyring"].interrupts or ""
    assert all(seconds < int(limit.removesuffix("s")) for seconds in kinds.outages("keyring"))


def test_what_is_needed_later_keeps_nobody_from_starting_and_is_acted_on_when_it_comes(kinds: Kinds) -> None:
    queue, ledger = (kinds.hub.instance("queue@givers"), kinds.hub.instance("ledger@givers"))
    assert queue.providers["ledger"] == ledger.name and ledger.providers["queue"] == queue.name
    assert kinds.hub.instances.index(queue) < kinds.hub.instances.index(ledger)
    files, calls = kinds.first
    assert sorted(files) == secret_files(kinds.hub, queue, starting=True)
    told = "docker compose --project-directory /opt/hub/queue kill --signal USR1 queue"
    assert told not in calls
    folder = kinds.facts.run(GIVERS) / "queue"
    assert sorted(path.name for path in folder.iterdir()) == secret_files(kinds.hub, queue)
    assert set(secret_files(kinds.hub, queue)) - set(files) == {"ledger_accounts_url", "ledger_accounts_user"}
    assert kinds.calls(GIVERS).count(told) == 1
    entry = kinds.vault.read(LATER)
    assert entry and entry.version == 1
    at = f"{entry.data['user']}:{entry.data['password']}@givers.kinds.home.arpa:7001"
    assert (folder / "ledger_accounts_url").read_text() == f"ledger://{at}/queue_givers_accounts"


@pytest.mark.parametrize("name", [*CONSUMED, *ADMINS])
def test_killed_anywhere_the_next_run_finishes(kinds: Kinds, runs: Driver, name: str) -> None:
    for where in everywhere(runs, name, ("before",)):
        killed, problems = kill(kinds, runs, name, where)
        assert killed and problems == []
    assert kinds.accepted(name, kinds.retired[name]) == []


@pytest.mark.parametrize("which", ["pair", "entry"])
def test_a_change_by_hand_stops_it_before_anybody_is_kept_out(kinds: Kinds, runs: Driver, which: str) -> None:
    assert runs.run(SEALED, crash="4:before")["killed"]
    pair, before = kinds.pair(SEALED), kinds.passwords(SEALED)["a"]
    assert pair.entry
    path = pair.path if which == "pair" else pair.entry.path
    kept = kinds.vault.read(path)
    assert kept
    version = kinds.vault.write(path, {**kept.data, "note": "typed"}, kept.version)
    done = runs.run()
    assert done["code"] == 6 and "(keys: note); theirs is kept" in done["error"]
    assert kinds.opens(SEALED, "a", before)
    kinds.vault.write(path, kept.data, version)
    assert not runs.run()["error"]
    assert kinds.problems(SEALED) == [] and not kinds.opens(SEALED, "a", before)


def test_a_change_without_overlap_is_felt_and_one_with_it_is_not(kinds: Kinds, runs: Driver) -> None:
    with kinds.slow(DESK):
        assert not runs.run(*CONSUMED)["error"]
    assert kinds.outages("keyring")
    assert [kinds.outages(stack) for stack in ("ledger", "queue", "stamp")] == [[], [], []]
    assert [kinds.problems(name) for name in CONSUMED] == [[], [], []]


def test_a_provider_with_one_key_starts_again_with_the_new_one(kinds: Kinds, runs: Driver) -> None:
    name, order = "keyring@givers/reconcile", "systemctl restart hub-keyring.service"
    old, before = kinds.passwords(name)["a"], kinds.calls(GIVERS).count(order)
    assert not runs.run(name)["error"]
    assert kinds.calls(GIVERS).count(order) == before + 1
    assert not kinds.opens(name, "a", old) and kinds.opens(name, "a", kinds.passwords(name)["a"])


def test_everything_can_be_replaced_at_once(kinds: Kinds, runs: Driver) -> None:
    """Nobody's password is replaced at a provider that is about to start with another key of ours."""
    names = [name for name in kinds.names() if not name.endswith(("/login", "/token", "/ssh"))]
    with kinds.slow(GIVERS):
        whole = runs.run(*names)
    assert not whole["error"] and set(whole["done"]) == set(names)
    assert [problem for name in (*CONSUMED, *ADMINS) for problem in kinds.problems(name)] == []


@pytest.mark.parametrize("name", CONSUMED[:2])
def test_an_old_password_that_ends_too_early_is_seen(kinds: Kinds, runs: Driver, name: str) -> None:
    with kinds.slow(DESK):
        kill(kinds, runs, name, "", "retire before the consumer has it")
        rotation_world.eventually(lambda: kinds.follows(name))
    rotation_world.eventually(kinds.failures)
    kinds.failures()


def test_a_consumer_shows_a_certificate_of_its_own(kinds: Kinds) -> None:
    """The provider has let it in as its consumer, or nothing here would have begun."""
    (shown,) = [one for one in kinds.hub.certificates if one.client]
    own = kinds.facts.run(DESK) / "reader" / shown.file
    assert own.read_text().count("BEGIN CERTIFICATE") == 2 and "PRIVATE KEY" in own.read_text()
    assert not list(own.parent.glob("tls.pem"))
    facts = status._tls({guest: rotation_world.status(kinds.facts, guest) for guest in (DESK, GIVERS)})
    assert {what for what, _, fine in facts if fine} == {
        "certificate of reader@desk (stamp_mark.pem)",
        *(f"certificate of {stack}@givers (tls.pem)" for stack in PROVIDERS),
        *(f"certificate of machine@{guest} (tls.pem)" for guest in (DESK, GIVERS)),
    }


def test_nobody_gets_in_with_another_certificate(kinds: Kinds) -> None:
    own, server = (kinds.facts.run(one) for one in (DESK, GIVERS))
    ca, name = kinds.facts.state.ca, kinds.hub.guests[GIVERS].fqdn

    def enter(shown: Path | None) -> str:
        context = ssl.create_default_context(cafile=ca)
        if shown:
            context.load_cert_chain(shown)
        with connected(kinds.ports["stamp"], name, context) as link:
            return str(ask(link)["you"])

    assert enter(own / "reader" / "stamp_mark.pem") == "reader_desk_mark"
    for other in (None, server / "queue" / "tls.pem"):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            enter(other)
    with pytest.raises(PermissionError, match="who are you"):
        enter(own / "machine" / "tls.pem")  # a client's too, and no consumer's
    for wanted in (name, f"other.{kinds.hub.domain}", f"reader-desk-other.stamp.{kinds.hub.domain}"):
        with pytest.raises(HubError, match="not allowed"):
            kinds.vault.put("pki/issue/reader-desk-stamp_mark", {"common_name": wanted})


def test_nobody_serves_with_a_certificate_of_a_client(kinds: Kinds) -> None:
    (shown,) = [one for one in kinds.hub.certificates if one.client]
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(kinds.facts.run(DESK) / "reader" / shown.file)
    there, here = socket.socketpair()

    def serve() -> None:
        with contextlib.suppress(OSError), served.wrap_socket(there, server_side=True) as link:
            link.recv(1)

    thread = threading.Thread(target=serve)
    thread.start()
    client = ssl.create_default_context(cafile=kinds.facts.state.ca)
    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        client.wrap_socket(here, server_hostname=shown.name)
    thread.join()


def test_a_certificate_is_replaced_wherever_it_was_killed(kinds: Kinds, runs: Driver) -> None:
    place = (DESK, "reader.stamp_mark.pem")
    for where in everywhere(runs, MARK, ("before",)):
        old = kinds.reach().serial(*place)
        assert runs.run(MARK, crash=where)["killed"]
        assert not runs.run(MARK)["error"]
        new = kinds.reach().serial(*place)
        assert new != old and kinds.revoked(old) and not kinds.revoked(new)
        assert records.pending(kinds.vault) == []
