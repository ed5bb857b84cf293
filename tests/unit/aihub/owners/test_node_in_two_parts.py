"""The node is changed before the guests and after them: one plan, and nothing before everything was asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aihub import names, node, report, targets
from aihub.errors import Conflict, PreconditionFailed, TaskFailed
from aihub.model.hub import HubFile
from aihub.node.metal import Look
from aihub.options import Options
from aihub.owners import guests, hub, insides, secrets, services, vault
from aihub.owners import node as owner
from aihub.owners.run import Run
from aihub.plan import Change, Difference, Plan
from aihub.proxmox.state import ActualGuest, ActualGuests
from aihub.state.directory import State
from metal.desired import Desired

from tests.unit.aihub.hubs import FILE, small

DNS = Change("node pve: DNS", "configure", "node", "root@node", "", restart=True)
GONE = Change("node pve: bridge hubprivate", "delete", "node", "root@node", "", restart=True)
ONE_ZONE = {"zones": {"infra": FILE["zones"]["infra"]}}


def guest(name: str, vmid: int, bridge: str, address: str, *, running: bool = True) -> ActualGuest:
    marker = f"{names.marker(small().id)} vmid={vmid} guest={name}"
    config = {"description": marker, "net0": f"name=eth0,bridge={bridge},ip={address}/24,type=veth"}
    return ActualGuest(vmid, "lxc", "pve", name, "running" if running else "stopped", config=config)


DB = guest("db", 110, "hubinfra", "10.10.10.11")
EXTRA = guest("extra", 320, "hubprivate", "10.10.20.20")


class Metal:
    """What looks at the node and changes it, and what it was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.first = Look(Plan((DNS,)), ("hubprivate",))
        self.then = Plan((DNS, GONE))
        self.reboot = ""
        self.wanted: list[Desired] = []
        self.applied: list[tuple[Plan, Desired]] = []
        monkeypatch.setattr(node, "look", lambda state, wanted: self._asked(wanted, self.first))
        monkeypatch.setattr(node, "plan", lambda state, wanted: self._asked(wanted, self.then))
        monkeypatch.setattr(node, "apply", self._apply)

    def _asked(self, wanted: Desired, answer: Any) -> Any:
        self.wanted.append(wanted)
        return answer

    def _apply(self, hub: object, state: object, wanted: Desired, agreed: Plan) -> SimpleNamespace:
        self.applied.append((agreed, wanted))
        return SimpleNamespace(changes=agreed.changes, renewed=False, reboot=self.reboot)


@pytest.fixture
def metal(monkeypatch: pytest.MonkeyPatch) -> Metal:
    return Metal(monkeypatch)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with ExitStack() as stack:
        options, whole = Options(), small()
        file = HubFile.model_validate({**FILE, **ONE_ZONE})
        built, state = replace(whole, file=file, guests={"db": whole.guests["db"]}), State(tmp_path)
        state.make()
        found = Run(options, built, state, targets.chosen(options, built), report, stack, "up")
        found.guests = ActualGuests({110: DB, 320: EXTRA})
        yield found


def removed(vmid: int) -> Plan:
    return Plan((Change("extra", "delete", "guests", "token", "", details={"vmid": vmid}),))


def test_a_bridge_goes_in_the_plan_that_takes_its_last_guest(run, metal):
    found = owner.settled(run, owner.look(run), removed(320))
    assert found.changes == (DNS, GONE)
    assert metal.wanted[1].leaving == (320,)
    run.plan = found
    hub.apply_node(run)
    hub.finish_node(run)
    assert [agreed for agreed, _ in metal.applied] == [found, found]
    assert {wanted.leaving for _, wanted in metal.applied} == {()}, (
        "a guest has left when it is gone, not when it was agreed"
    )


def test_a_bridge_goes_in_the_plan_that_moves_its_last_guest_to_another_zone(run, metal):
    run.guests = ActualGuests({110: guest("db", 110, "hubprivate", "10.10.20.11")})
    moves = Plan((Change("db", "update", "guests", "token", "", details={"vmid": 110}),))
    assert GONE in owner.settled(run, owner.look(run), moves).changes
    assert metal.wanted[1].leaving == (110,)


def test_a_bridge_stays_with_a_guest_that_nobody_named(run, metal):
    assert owner.settled(run, owner.look(run), Plan()).changes == (DNS,)
    assert len(metal.wanted) == 1
    run.plan = Plan((DNS,))
    hub.apply_node(run)
    hub.finish_node(run)
    assert len(metal.applied) == 1


def test_a_bridge_stays_with_a_guest_that_is_off(run, metal):
    """Nothing is plugged into it, and the guest could not start without it."""
    run.guests = ActualGuests({110: DB, 320: guest("extra", 320, "hubprivate", "10.10.20.20", running=False)})
    metal.first, metal.then = Look(Plan((DNS, GONE)), ()), Plan((DNS,))
    assert owner.settled(run, owner.look(run), Plan()).changes == (DNS,)
    assert "hubprivate" in metal.wanted[1].staying
    owner.apply(run, Plan((DNS,)))
    assert "hubprivate" in metal.applied[0][1].staying


def test_the_node_is_asked_once_where_no_zone_went(run, metal):
    metal.first = Look(Plan((DNS,)), ())
    assert owner.settled(run, owner.look(run), removed(320)).changes == (DNS,)
    assert len(metal.wanted) == 1


def moved(old: str, zone: str = "infra") -> Plan:
    new = str(small().gateway(zone)) + "/24"
    change = Change(
        f"node pve: bridge hub{zone}", "update", "node", "root@node", "", (Difference("address", old, new),)
    )
    return Plan((change,))


def test_another_subnet_is_refused_while_guests_stand_in_the_zone(run, metal):
    run.guests = ActualGuests({110: guest("db", 110, "hubinfra", "10.30.10.11"), 320: EXTRA})
    with pytest.raises(
        PreconditionFailed, match=r"zone infra: its subnet is 10\.30\.10\.0/24 on the node, with db in"
    ) as caught:
        owner.settled(run, moved("10.30.10.1/24"), Plan())
    assert "put the former subnet back" in caught.value.hint


def test_another_subnet_is_fine_where_nobody_stands_and_what_was_done_by_hand_is_mended(run, metal):
    for old in ("10.30.10.1/24", "10.10.10.99/24", "none"):
        assert owner.settled(run, moved(old), Plan()) == moved(old)


@pytest.fixture
def looks(run, metal, monkeypatch):
    """All owners see nothing to do; guests, what `looks` is given."""
    said: dict[str, Any] = {"guests": Plan()}

    def look(_: Run) -> Plan:
        if isinstance(said["guests"], Exception):
            raise said["guests"]
        return said["guests"]

    monkeypatch.setattr(guests, "look", look)
    monkeypatch.setattr(guests, "require", lambda run, plan: None)
    for one in (insides, vault, secrets, services):
        monkeypatch.setattr(one, "look", lambda run: Plan())
    return said


def test_what_is_wrong_with_the_node_is_told_before_what_is_wrong_on_it(run, looks, monkeypatch):
    def called_otherwise(*_: object) -> Look:
        raise PreconditionFailed("the machine at this address is the Proxmox node pve1")

    monkeypatch.setattr(node, "look", called_otherwise)
    looks["guests"] = PreconditionFailed("guest db: it is on node pve1, hub.yml says pve: migrate it")
    with pytest.raises(PreconditionFailed, match="the Proxmox node pve1"):
        hub.look(run)


def test_what_is_wrong_with_guests_is_told_where_the_node_is_well_or_silent(run, looks, metal, monkeypatch):
    looks["guests"] = Conflict("VMID 110 belongs to nas, which is not ours")
    with pytest.raises(Conflict, match="VMID 110"):
        hub.look(run)

    def silent(*_: object) -> Look:
        raise TaskFailed("it could not be read")

    monkeypatch.setattr(node, "look", silent)
    with pytest.raises(Conflict, match="VMID 110"):
        hub.look(run)


def test_guests_that_are_no_longer_as_agreed_stop_a_run_before_the_node_is_changed(run, looks, metal):
    """DNS answered the new address, and the guest had the old one."""
    agreed = Change("db", "update", "guests", "token", "address")
    run.plan = Plan((DNS, agreed))
    looks["guests"] = Plan((agreed, Change("db", "delete", "guests", "token", "", data_at_risk="its disk")))
    with pytest.raises(Conflict, match="more is to be done than was agreed"):
        hub.apply_node(run)
    assert metal.applied == []
    looks["guests"] = Plan((agreed,))
    hub.apply_node(run)
    assert len(metal.applied) == 1


TO_COME = Plan((DNS, Change("db", "update", "guests", "token", "hostpci0")))


def test_a_node_that_has_to_boot_first_stops_the_run_with_guests_untouched(run, metal):
    metal.reboot = "card rtx5090 at 0000:01:00.0 is held by the node's driver nouveau"
    with pytest.raises(PreconditionFailed, match=r"node pve has to be rebooted .* driver nouveau") as caught:
        owner.apply(run, TO_COME)
    assert "as root on pve: systemctl reboot" in caught.value.hint
    assert run.changed, "what refuses from here on is told as a failure: the node was changed"


def test_a_node_that_waits_for_its_boot_already_is_refused_before_anything_is_changed(run, metal):
    metal.first = Look(Plan(), (), {"rtx5090": "0000:01:00"}, "card rtx5090 is held by nouveau")
    owner.look(run)
    with pytest.raises(PreconditionFailed, match="held by nouveau"):
        owner.apply(run, Plan(TO_COME.changes[1:]))
    assert not run.changed
    assert metal.applied == []
    owner.apply(run, Plan())  # nothing is to be done on guests: nobody has to wait


def with_card(vmid: int, config: str | None, current: str | None = None) -> ActualGuest:
    marker = f"{names.marker(small().id)} vmid={vmid} guest=ai"
    found = {"description": marker, "net0": "virtio=x,bridge=hubinfra"} | ({"hostpci0": config} if config else {})
    waiting = {"hostpci0": current} if current else {}
    return ActualGuest(vmid, "vm", "pve", "ai", "running", config=found, current=waiting)


@pytest.mark.parametrize(
    "guest",
    [with_card(201, "mapping=rtx5090,pcie=1"), with_card(201, None, "mapping=rtx5090,pcie=1")],
    ids=["configured", "running"],
)
def test_a_mapping_goes_after_the_guest_that_has_it(run, metal, guest):
    run.guests = ActualGuests({201: guest})
    mapping = Change("node pve: PCI mapping rtx5090", "delete", "node", "root@node", "")
    metal.first = Look(Plan((mapping,)), ())
    changed = Plan((Change("ai", "update", "guests", "token", "", details={"vmid": 201}),))
    run.plan = owner.settled(run, owner.look(run), changed)
    assert run.plan.changes == (mapping,)
    hub.apply_node(run)
    hub.finish_node(run)
    assert [wanted.held for _, wanted in metal.applied] == [("rtx5090",), ()]


def test_a_mapping_stays_with_a_guest_that_nobody_named(run, metal):
    run.guests = ActualGuests({201: with_card(201, "mapping=rtx5090,pcie=1")})
    mapping = Change("node pve: PCI mapping rtx5090", "delete", "node", "root@node", "")
    metal.first, metal.then = Look(Plan((mapping,)), ()), Plan()
    assert owner.settled(run, owner.look(run), Plan()).changes == ()
    assert metal.wanted[1].held == ("rtx5090",)
