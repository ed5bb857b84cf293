"""`aihub ssh` reaches what is ours and undeclared where Proxmox says that it is, and nothing of anybody else."""

from __future__ import annotations

import pytest
from aihub.errors import Conflict, InvalidInput, PreconditionFailed
from aihub.names import Marker
from aihub.owners import undeclared
from aihub.proxmox.state import ActualGuest, ActualGuests
from aihub.verbs import ssh

from tests.unit.aihub.hubs import small

HUB = small()  # its guests are db, 110, and private-ai, 201


def guest(vmid: int, name: str, *, id: str = "", hub: str = HUB.id, marked: int = 0, **more: object) -> ActualGuest:
    config = {"net0": f"name=eth0,ip=10.10.10.{vmid % 100}/24", **dict(more.pop("config", {}))}  # type: ignore[call-overload]
    if hub:
        config["description"] = str(Marker(hub, marked or vmid, id or name))
    return ActualGuest(vmid, "lxc", "pve", name, str(more.pop("status", "running")), config=config, **more)  # type: ignore[arg-type]


def there(*guests: ActualGuest) -> ActualGuests:
    return ActualGuests({one.vmid: one for one in (guest(110, "db"), guest(201, "private-ai"), *guests)})


@pytest.mark.parametrize("name", ["130", "front", "app"])
def test_a_guest_of_ours_is_found_by_its_number_its_name_and_its_id(name: str) -> None:
    old = guest(130, "front", id="app")
    assert ssh.undeclared(HUB, there(old), name) is old
    assert undeclared.address(old) == "10.10.10.30"


def test_one_that_has_the_name_of_a_declared_one_is_found_by_its_number() -> None:
    old = guest(130, "db")
    assert ssh.undeclared(HUB, there(old), "130") is old
    assert ssh.undeclared(HUB, there(), "110") is None, "it is declared"


@pytest.mark.parametrize(
    "foreign", [guest(130, "theirs", hub=""), guest(130, "theirs", hub="f" * 16), guest(130, "theirs", marked=131)]
)
@pytest.mark.parametrize("name", ["130", "theirs"])
def test_a_guest_of_somebody_else_is_no_guest_of_ours_whatever_it_copied(foreign: ActualGuest, name: str) -> None:
    with pytest.raises(Conflict, match=r"130 \(theirs\) is not this hub's"):
        ssh.undeclared(HUB, there(foreign), name)


def test_ours_is_meant_where_somebody_else_has_one_of_the_same_name() -> None:
    old = guest(130, "app")
    assert ssh.undeclared(HUB, there(old, guest(131, "app", hub="")), "app") is old


def test_two_of_ours_are_told_apart_by_number() -> None:
    with pytest.raises(InvalidInput, match="2 guests") as refused:
        ssh.undeclared(HUB, there(guest(130, "app"), guest(131, "app")), "app")
    assert "130, 131" in refused.value.hint


def test_what_nobody_knows_is_no_guest() -> None:
    assert ssh.undeclared(HUB, there(), "nobody") is None


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (guest(130, "app", status="stopped"), "the guest is stopped"),
        (guest(130, "app", config={"net0": "name=eth0,ip=dhcp"}), "0 addresses"),
        (guest(130, "app", config={"net1": "name=eth1,ip=10.0.0.1/8"}), "2 addresses"),
    ],
)
def test_one_that_cannot_be_reached_is_refused_in_words(found: ActualGuest, said: str) -> None:
    with pytest.raises(PreconditionFailed, match=said):
        undeclared.address(found)
