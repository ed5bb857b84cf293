"""What the node should be like, from the hub and its state."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from aihub.errors import PreconditionFailed
from aihub.model.target import LAB, PVE
from aihub.node.desired import desired
from aihub.reading import load
from metal.desired import Card
from metal.exchange import Order

from tests.unit.aihub.hubs import FILE, small

ROOT = Path(__file__).resolve().parents[4]
REAL_KEY = "https://developer.download.nvidia.com/compute/cuda/repos/debian13/x86_64/8793F200.pub"
NAMES = {"quay.io": "10.255.255.2", "ghcr.io": "10.255.255.2"}


def test_it_holds_what_the_hub_says(state):
    wanted = desired(small(), state, NAMES)
    assert [(z.bridge, z.cidr, z.internet) for z in wanted.zones] == [
        ("hubinfra", "10.10.10.1/24", True),
        ("hubprivate", "10.10.20.1/24", False),
    ]
    assert wanted.marker == "aihub:v1 hub=0123456789abcdef"
    assert wanted.names == (("ghcr.io", "10.255.255.2"), ("quay.io", "10.255.255.2"))
    assert wanted.storages == ("local-zfs", "tank")
    assert wanted.memory == sum(guest.memory for guest in small().guests.values())
    assert Order.read(Order(wanted).as_json()).desired == wanted


@pytest.mark.parametrize("target", [LAB, PVE])
def test_a_guest_with_a_gpu_needs_its_card_wherever_the_hub_is(state, target):
    assert desired(small(target), state, {}).cards == (Card("rtx5090", "10de:2b85"),)


@pytest.mark.parametrize(("target", "key", "headers"), [(LAB, "", ()), (PVE, REAL_KEY, ("proxmox-default-headers",))])
def test_a_card_that_containers_share_needs_the_driver_of_the_role(state, target, key, headers):
    node = FILE["nodes"]["pve"]
    card = {"rtx5090": {**node["gpus"]["rtx5090"], "mode": "lxc"}}
    wanted = desired(small(target, nodes={"pve": {**node, "gpus": card}}), state, {})
    assert wanted.cards == (Card("rtx5090", "10de:2b85", shared=True),)
    assert wanted.driver
    assert (wanted.driver.branch, wanted.driver.key, wanted.driver.headers) == ("580", key, headers)
    assert "nvidia-driver-cuda" in wanted.driver.packages
    assert Order.read(Order(wanted).as_json()).desired == wanted
    assert desired(small(target), state, {}).driver is None


def test_unsealing_is_wanted_before_the_hub_has_a_root_certificate(state):
    """Else a plan of the first day would lack it, and the apply would do more than the plan."""
    hub = load.load(ROOT / "inventory" / "hub.yml", target="lab")
    assert hub.vault is not None
    before = desired(hub, state, {}).vault
    state.ca.write_text("root certificate\n")
    after = desired(hub, state, {}).vault
    assert (before.name, before.authority) == (after.name, "")
    assert after.authority == "root certificate\n"


@pytest.mark.parametrize(
    "changes",
    [
        {"network": {"gateway": "external"}},
        {"nodes": {"pve": FILE["nodes"]["pve"], "pve2": FILE["nodes"]["pve"]}},
    ],
)
def test_what_a_later_version_brings_is_refused(changes, state):
    with pytest.raises(PreconditionFailed) as caught:
        desired(small(PVE, **changes), state, {})
    assert caught.value.hint


def test_it_tells_which_value_of_the_token_is_kept_but_not_the_value(state):
    value = "12345678-1234-1234-1234-123456789abc"
    state.token.write_text(f"hub-my-hub@pve!hub={value}\n")
    text = Order(desired(small(), state, NAMES)).as_json()
    assert value not in text
    assert len(json.loads(text)["desired"]["kept"]) == 12
    assert desired(small(), state, {}, renew=True).kept == ""
