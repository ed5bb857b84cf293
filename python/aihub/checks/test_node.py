"""The node: gateway, DNS and router of the zones."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aihub.model.resolved import Hub

from .context import NODE, Context

pytestmark = pytest.mark.about("node")


@pytest.fixture(scope="session")
def node(context: Context) -> Any:
    """testinfra on the node."""
    return context.shells.host(NODE)


def test_gateways(node: Any, hub: Hub) -> None:
    """it holds each zone's gateway address on the zone's bridge"""
    if hub.file.network.gateway != "node":
        pytest.skip("an external gateway holds them (network.gateway: external)")
    shown = json.loads(node.check_output("ip -json -4 address show"))
    found = {(i["ifname"], f"{a['local']}/{a['prefixlen']}") for i in shown for a in i["addr_info"]}
    wanted = {(hub.bridge(z), f"{hub.gateway(z)}/{zone.subnet.prefixlen}") for z, zone in hub.zones.items()}
    assert not wanted - found


def test_routes(node: Any, hub: Hub) -> None:
    """it routes between the zones"""
    if hub.file.network.gateway != "node":
        pytest.skip("an external gateway routes (network.gateway: external)")
    assert node.check_output("cat /proc/sys/net/ipv4/ip_forward") == "1"


def test_guests(node: Any, hub: Hub) -> None:
    """Proxmox shows every guest of the hub running, under its VMID and name"""
    shown = json.loads(node.check_output("pvesh get /cluster/resources --type vm --output-format json"))
    found = {r["vmid"]: (r["name"], r["status"]) for r in shown}
    wanted = {g.vmid: (g.name, "running") for g in hub.guests.values()}
    assert {vmid: found.get(vmid) for vmid in wanted} == wanted


def test_units(node: Any) -> None:
    """no unit of it has failed"""
    failed = node.check_output("systemctl list-units --state=failed --no-legend --plain").split("\n")
    assert [line.split()[0] for line in failed if line.strip()] == []


def test_disk(node: Any) -> None:
    """its root file system is at most 90 % full"""
    assert int(node.check_output("df -P / | tail -n1").split()[4].rstrip("%")) <= 90
