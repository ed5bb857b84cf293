"""A guest gets another address or zone in one `up`, with its data, its logins and its secrets, and can get back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.cli import Api, Cli
from tests.lab.small.test_2_edits import Files, come_true, files  # noqa: F401  (a fixture)

pytestmark = pytest.mark.lab
COUNT = "docker exec client-client-1 cat /run/canary/count"
ADDRESS = "ip -4 -o addr show dev eth0 | awk '{print $4}'"
MOVES = {
    "a container's address": ("security", "zone: infra, address: 10.20.10.11", "zone: infra, address: 10.20.10.21"),
    "a machine's address": ("app", "zone: public, address: 10.20.30.11", "zone: public, address: 10.20.30.21"),
    "a machine's zone": ("app", "zone: public, address: 10.20.30.11", "zone: infra, address: 10.20.10.31"),
}


def world(hub: Cli, api: Api) -> dict[str, object]:
    """What an edit of addresses touches, and what it must not."""
    cards = {"security": "/nodes/pve/lxc/310", "app": "/nodes/pve/qemu/311"}
    keys = ("net0", "ipconfig0", "rootfs", "scsi0", "tags", "nameserver")
    found = {name: api("GET", f"{path}/config") for name, path in cards.items()}
    return {
        "proxmox": {name: {key: one.get(key) for key in keys} for name, one in found.items()},
        "addresses": {name: hub.on(name, ADDRESS) for name in cards},
        "names": hub.on("app", "getent hosts security.small.home.arpa"),
        "secrets": hub.on("app", "sha256sum /run/hub/notes/*"),
        "data": hub.on("app", "ls /var/lib/hub/notes/data"),
    }


@pytest.fixture
def before(hub: Cli, api: Api, files: Files) -> Iterator[dict[str, object]]:  # noqa: F811
    """The world before the edit; afterwards it is as it was, whatever happened."""
    found = world(hub, api)
    yield found
    files.put_back(hub)
    hub.ok("up", "--no-verify")


@pytest.mark.parametrize(("move", "stopped"), [*((move, False) for move in MOVES), ("a machine's address", True)])
def test_a_guest_is_reached_at_its_new_place(
    hub: Cli,
    api: Api,
    files: Files,  # noqa: F811
    before: dict[str, object],
    move: str,
    stopped: bool,
) -> None:
    guest, old, new = MOVES[move]
    if stopped:
        assert api.wait(api("POST", "/nodes/pve/qemu/311/status/stop")) == "OK"
    files.edit("hub.yml", old, new)
    come_true(hub, guest)
    now = world(hub, api)
    assert str(now["addresses"][guest]).startswith(f"{new.split()[-1]}/")  # type: ignore[index]
    assert (now["secrets"], now["data"]) == (before["secrets"], before["data"])
    assert hub.on("app", COUNT).split()[1] == "0", "its client was refused"
    hub.ok("verify", guest)

    files.put_back(hub)
    come_true(hub, guest)
    assert world(hub, api) == before


def test_the_stores_guest_does_not_move_while_it_is_off(hub: Cli, api: Api, files: Files, before: object) -> None:  # noqa: F811
    """Our login at the store works from its old address alone, and nobody could change that then."""
    _, old, new = MOVES["a container's address"]
    assert api.wait(api("POST", "/nodes/pve/lxc/310/status/stop")) == "OK"
    files.edit("hub.yml", old, new)
    writes = api.writes()
    for verb in ("plan", "up"):
        done = hub(verb)
        assert done.returncode == 4, f"{done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        assert "put the old address back" in " ".join(done.stderr.split())
    assert api.writes() == writes
