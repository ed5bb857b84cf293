"""A card that containers share: its driver goes after the last of them, and its mode changes while nobody has it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from aihub.errors import PreconditionFailed
from aihub.model.hub import HubFile
from aihub.node.metal import Look
from aihub.owners import hub
from aihub.owners import node as owner
from aihub.plan import Change, Plan
from aihub.proxmox.state import ActualGuest, ActualGuests

from tests.unit.aihub.hubs import FILE, small
from tests.unit.aihub.owners.test_node_in_two_parts import guest, metal, run, with_card

__all__ = ["metal", "run"]
DRIVER = Change("node pve: driver of shared cards", "delete", "node", "root@node", "")
GIVES_UP = Plan((Change("db", "update", "guests", "token", "", details={"vmid": 110}),))


def sharing(current: bool = False) -> ActualGuest:
    plain, nodes = guest("db", 110, "hubinfra", "10.10.10.11"), {"dev0": "/dev/nvidia0,mode=0666"}
    return replace(plain, current=nodes) if current else replace(plain, config={**(plain.config or {}), **nodes})


def with_mode(run, mode, holder):
    node = FILE["nodes"]["pve"]
    card = {"rtx5090": {**node["gpus"]["rtx5090"], "mode": mode}}
    file = HubFile.model_validate({**FILE, "nodes": {"pve": {**node, "gpus": card}}})
    whole = small()
    run.hub = replace(run.hub, file=file, guests={holder: replace(whole.guests[holder], gpu="rtx5090")})


@pytest.mark.parametrize("current", [False, True], ids=["configured", "running"])
def test_the_driver_goes_after_the_container_that_shares_it(run, metal, current):
    run.guests = ActualGuests({110: sharing(current)})
    metal.first = Look(Plan((DRIVER,)), ())
    run.plan = owner.settled(run, owner.look(run), GIVES_UP)
    assert run.plan.changes == (DRIVER,)
    hub.apply_node(run)
    hub.finish_node(run)
    assert [wanted.sharing for _, wanted in metal.applied] == [True, False]


def test_the_driver_stays_with_a_container_that_nobody_named(run, metal):
    run.guests = ActualGuests({110: sharing()})
    metal.first, metal.then = Look(Plan((DRIVER,)), ()), Plan()
    assert owner.settled(run, owner.look(run), Plan()).changes == ()
    assert metal.wanted[1].sharing


def test_the_node_is_asked_once_while_a_card_is_shared(run, metal):
    run.guests = ActualGuests({110: sharing()})
    metal.first = Look(Plan(), ())
    owner.settled(run, owner.look(run), Plan())
    assert len(metal.wanted) == 1


def test_a_card_is_not_shared_while_a_vm_has_it(run, metal):
    with_mode(run, "lxc", "db")
    run.guests = ActualGuests({201: with_card(201, "mapping=rtx5090,pcie=1")})
    metal.first = Look(Plan(), ())
    with pytest.raises(PreconditionFailed, match="guest ai has card rtx5090 passed to it") as caught:
        owner.settled(run, owner.look(run), Plan())
    assert "take `gpu:` off, `aihub up`, then go on" in caught.value.hint


def test_a_card_is_not_passed_on_while_a_container_shares_it(run, metal):
    with_mode(run, "passthrough", "private-ai")
    run.guests = ActualGuests({110: sharing()})
    metal.first = Look(Plan(), (), reboot="card rtx5090 is held by the node's driver nvidia")
    with pytest.raises(PreconditionFailed, match="guest db shares a card of the node's own driver"):
        owner.settled(run, owner.look(run), GIVES_UP)
    metal.first = Look(Plan(), ())
    assert owner.settled(run, owner.look(run), GIVES_UP) == Plan(), "nothing has to boot for it"
