"""A compose.yml that reaches past its own containers is refused, unless stack.yml says why."""

from __future__ import annotations

from pathlib import Path

import pytest
from aihub.errors import InvalidInput
from aihub.reading import load

STACK = """
title: Example
why: shows what is refused
zones: [infra]
uid: 1000
memory: 32MiB
lab: pull
"""
SERVICE = "services:\n  app:\n    image: example/app:1.0\n"


def written(folder: Path, compose: str, waivers: str = "") -> Path:
    (folder / "app").mkdir()
    (folder / "app" / "stack.yml").write_text(STACK + waivers)
    (folder / "app" / "compose.yml").write_text(compose)
    return folder


REACHING = {
    "cap_add": "cap_add: [NET_RAW]",
    "devices": "devices: [/dev/mem]",
    "docker_socket": "volumes: ['/var/run/docker.sock:/var/run/docker.sock']",
    "ipc": "ipc: host",
    "network_mode": "network_mode: host",
    "pid": "pid: host",
    "privileged": "privileged: true",
    "security_opt": "security_opt: ['apparmor=unconfined']",
    "userns_mode": "userns_mode: host",
}


@pytest.mark.parametrize("waiver", REACHING)
def test_what_reaches_further_needs_a_waiver_of_its_name(tmp_path: Path, waiver: str) -> None:
    stacks = written(tmp_path, f"{SERVICE}    {REACHING[waiver]}\n")
    with pytest.raises(InvalidInput, match=f"waivers: {{{waiver}: ...}}") as found:
        load.stack("app", stacks)
    assert [problem.line for problem in found.value.problems] == [4]
    (stacks / "app" / "stack.yml").write_text(f"{STACK}waivers:\n  {waiver}: it can't be otherwise\n")
    assert load.stack("app", stacks).name == "app"


@pytest.mark.parametrize(
    "text",
    [
        f"{SERVICE}networks:\n  default:\n    external: true\n",
        f"{SERVICE}networks:\n  back: {{driver: macvlan}}\n",
        f"{SERVICE}networks:\n  back: {{name: other}}\n",
        f"{SERVICE}networks:\n  back: {{enable_ipv6: true}}\n",
        f"{SERVICE}    extends: {{file: other.yml, service: app}}\n",
        f"include: [other.yml]\n{SERVICE}",
    ],
)
def test_what_the_firewall_could_not_know_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidInput, match=r"aihub's, which tells the firewall|stands in another file"):
        load.stack("app", written(tmp_path, text))


@pytest.mark.parametrize("mode", ["bridge", "container:other", "hub-other"])
def test_a_network_that_would_lose_all_its_traffic_is_refused_whatever_is_waived(tmp_path: Path, mode: str) -> None:
    """The guest's firewall lets through what the networks of its stacks need, and no other network has rules."""
    waivers = "waivers:\n  network_mode: it says why\n"
    with pytest.raises(InvalidInput, match="lets nothing through for such a network"):
        load.stack("app", written(tmp_path, f"{SERVICE}    network_mode: '{mode}'\n", waivers))


def test_the_network_of_another_service_or_of_the_guest_is_none_of_its_own(tmp_path: Path) -> None:
    waivers = "waivers:\n  network_mode: it says why\n"
    text = f"{SERVICE}    network_mode: host\n  beside:\n    image: example/app:1.0\n    network_mode: 'service:app'\n"
    assert load.stack("app", written(tmp_path, text, waivers)).name == "app"


def test_networks_of_its_own_without_settings_are_fine(tmp_path: Path) -> None:
    text = f"{SERVICE}    networks: [back]\nnetworks:\n  back: {{internal: true}}\n  front: {{}}\n"
    assert load.stack("app", written(tmp_path, text)).name == "app"
