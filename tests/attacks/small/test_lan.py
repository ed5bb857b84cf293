"""What hub.yml names of the LAN is reached, by whom it names, and nothing beside it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attacks import home
from tests.lab.cli import Cli
from tests.lab.small.test_2_edits import Files, come_true, files  # noqa: F401  (a fixture)

NAS, OTHER = home.LAN
PLACES = [(address, port, kind) for address in home.LAN for port in home.PORTS for kind in ("tcp", "udp")]


@pytest.fixture(scope="module")
def around(small_hub: Cli) -> Iterator[None]:
    with home.around(small_hub):
        yield


def test_the_lan_is_what_is_named_for_a_zone_and_for_a_guest(hub: Cli, around: None, files: Files) -> None:  # noqa: F811
    """Put in, changed and taken out."""
    rules = "nft --stateless list table inet hub_small"
    before = hub.on("node", rules)
    assert home.reached(hub, "node", PLACES) == {f"{a}:{port}/{kind}" for a, port, kind in PLACES}
    assert home.reached(hub, "app", PLACES) == set()

    zone = "10.20.30.0/24, internet: outbound"
    files.edit("hub.yml", zone, f'{zone}, lan: ["{NAS}:445"]')
    come_true(hub, "node pve")
    assert home.reached(hub, "app", PLACES) == {f"{NAS}:445/tcp"}
    assert home.reached(hub, "security", PLACES) == set()

    files.edit("hub.yml", f'lan: ["{NAS}:445"]', f'lan: ["{OTHER}:8443/udp"]')
    files.edit("hub.yml", "stacks: [vault, redis]", f'stacks: [vault, redis], lan: ["{NAS}:8443"]')
    come_true(hub, "node pve")
    assert home.reached(hub, "app", PLACES) == {f"{OTHER}:8443/udp"}
    assert home.reached(hub, "security", PLACES) == {f"{NAS}:8443/tcp"}

    files.put_back(hub)
    come_true(hub, "node pve")
    assert home.reached(hub, "app", PLACES) == home.reached(hub, "security", PLACES) == set()
    assert hub.on("node", rules) == before
