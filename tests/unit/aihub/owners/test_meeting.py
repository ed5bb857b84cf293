"""The first contact with guests: who does not answer holds up nobody; a wrong key is everybody's business."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aihub import ssh
from aihub.errors import Conflict, Unreachable
from aihub.owners import guests
from aihub.plan import Change, Plan
from aihub.proxmox.guests import provision
from aihub.proxmox.guests.provision import CreatedGuest
from aihub.proxmox.state import ActualGuest, ActualGuests
from aihub.state.directory import State
from aihub.state.journal import Entry, Journal

from tests.unit.aihub.hubs import small

MARK = "aihub:v1 hub=0123456789abcdef vmid={} guest={}"


class Said:
    """What a person would see."""

    def __init__(self) -> None:
        self.failures: dict[str, str] = {}

    def __call__(self, *_: str) -> None: ...

    def done(self, *_: str) -> None: ...

    def failed(self, name: str, text: str) -> None:
        self.failures[name] = text


class Made(SimpleNamespace):
    """A run whose journal is read anew whenever it is asked for, as that of the real one."""

    @property
    def journal(self) -> Journal:
        assert threading.current_thread() is threading.main_thread(), "two journals of one file lose entries"
        return Journal(self.state.journal)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run that has just made both guests of a small hub; `run.answers` says what comes of a contact."""
    hub, said = small(), Said()
    monkeypatch.setattr(State, "control", property(lambda self: tmp_path / "c"))
    state = State(tmp_path / "state")
    state.make()
    ssh.write(hub, state, ssh.Lab("none"))
    journal = Journal(state.journal)
    actual = {
        guest.vmid: ActualGuest(
            guest.vmid, guest.kind, "pve", name, "running", config={
                "description": MARK.format(guest.vmid, name), "net0": f"ip={guest.address}/24",
            },
        )
        for name, guest in hub.guests.items()
    }  # fmt: skip
    for name, guest in hub.guests.items():
        journal.begin(Entry(guest.vmid, name, "pve", guest.kind, "contact"))
    found = Made(
        hub=hub, state=state, answers={}, said=said, keys=(), images=None, changed=False,
        unreached={}, options=SimpleNamespace(allow_destroy=frozenset(), scope="all"), choice=guests.choice.of(hub, ()),
        screen=SimpleNamespace(progress=lambda _: nullcontext(said)), may_write=lambda: None,
        proxmox=lambda: SimpleNamespace(read=lambda _: ActualGuests(actual)), token_refused=False, actual=actual,
    )  # fmt: skip
    created = [CreatedGuest(name, None) for name in hub.guests]
    monkeypatch.setattr(guests, "_plan", lambda _: Plan())
    monkeypatch.setattr(provision, "recover", lambda *_, **__: None)
    monkeypatch.setattr(provision, "apply", lambda *_, **__: created)

    def scan(_: State, guest: Any, __: object) -> None:
        if error := found.answers.get(guest.name):
            raise error

    monkeypatch.setattr(ssh, "scan_and_pin", scan)
    return found


AGREED = Plan((Change("db", "create", "guests", "token", "new"),))


def meet(run: Any) -> None:
    guests.apply(run, AGREED)


def test_who_does_not_answer_holds_up_nobody(run: Any) -> None:
    run.answers["db"] = Unreachable("no ssh at 10.10.10.11 within 90 s", where="db")
    meet(run)
    assert list(run.unreached) == ["db"]
    assert run.said.failures == {"db": "no ssh at 10.10.10.11 within 90 s"}
    assert [entry.guest for entry in run.journal.entries().values()] == ["db"], "the other one was met"


def test_where_nothing_follows_who_did_not_answer_is_the_end(run: Any) -> None:
    run.options.scope = "api"
    run.answers["db"] = Unreachable("no ssh", where="db")
    with pytest.raises(Unreachable):
        meet(run)


def test_a_wrong_key_stops_the_run_when_the_others_were_met(run: Any) -> None:
    run.answers["db"] = Conflict("answers with host key SHA256:x", where="db")
    with pytest.raises(Conflict):
        meet(run)
    assert [entry.guest for entry in run.journal.entries().values()] == ["db"]


def test_after_the_change_guests_are_looked_for_where_proxmox_has_them(run: Any) -> None:
    moved = run.actual[110]
    run.actual[110] = ActualGuest(
        110, "lxc", "pve", "db", "running", config={**moved.config, "net0": "ip=10.10.10.99/24"}
    )
    meet(run)
    assert ssh.aliases(run.state)["db"] == "10.10.10.99"
    run.actual[110] = ActualGuest(110, "lxc", "pve", "db", "running", config={**moved.config, "description": "theirs"})
    meet(run)
    assert ssh.aliases(run.state)["db"] == "10.10.10.99", "that is not ours"
