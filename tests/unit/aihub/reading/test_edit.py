"""Renaming a guest and moving an instance change what they must in hub.yml, and no other character."""

from __future__ import annotations

from pathlib import Path

import pytest
from aihub import paths
from aihub.errors import InvalidInput
from aihub.model.resolved import Hub
from aihub.reading import edit, load

HUB = """\
# our hub
hub: {name: aihub, domain: hub.home.arpa}
nodes:
  pve: {address: 192.168.1.10, storage: {fast: {use: local-zfs}}, lab: {cores: 8, memory: 64GiB}}
zones:
  infra:  {subnet: 10.10.10.0/24, internet: outbound}   # aligned by hand
guests:
  security: {vmid: 112, kind: lxc, zone: infra, address: 10.10.10.13, cores: 1, memory: 2GiB, disk: 8GiB,
    stacks: [vault]}
  db:   # the databases
    vmid: 110
    kind: lxc
    zone: infra
    address: 10.10.10.11
    cores: 2
    memory: 8GiB
    disk: 16GiB
    stacks: [postgres, redis]  # both
  tools: {vmid: 120, kind: lxc, zone: infra, address: 10.10.10.12, cores: 2,  memory: 2GiB, disk: 8GiB,
    stacks: [{canary: {use: {postgres: db}}}]}
  other: {vmid: 121, kind: lxc, zone: infra, address: 10.10.10.14, cores: 2, memory: 2GiB, disk: 8GiB}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "hub.yml"
    found.write_text(HUB)
    return found


def resolved(path: Path) -> Hub:
    return load.load(path, paths.STACKS, target="lab")


def changed(path: Path) -> list[tuple[str, str]]:
    """The lines that are no longer as they were, each with what stands there now."""
    before, after = HUB.splitlines(), path.read_text().splitlines()
    if len(after) > len(before):
        added = next(n for n, line in enumerate(after) if n >= len(before) or line.strip().startswith("id:"))
        before.insert(added, "")
    return [(old, new) for old, new in zip(before, after, strict=True) if old != new]


def names(hub: Hub) -> set[str]:
    """What bears data: databases, roles, entries of the store."""
    return {ref.path for ref in hub.secrets} | {pair.path for pair in hub.pairs} | {one.role for one in hub.consumers}


def test_a_renamed_guest_keeps_what_its_data_is_called_by(path: Path) -> None:
    before = resolved(path)
    edit.rename(path, "tools", "workshop", target="lab")
    after = resolved(path)
    assert changed(path) == [
        (
            "  tools: {vmid: 120, kind: lxc, zone: infra, address: 10.10.10.12, cores: 2,  memory: 2GiB, disk: 8GiB,",
            "  workshop: {id: tools, vmid: 120, kind: lxc, zone: infra, address: 10.10.10.12, cores: 2,  memory: 2GiB,"
            " disk: 8GiB,",
        )
    ]
    assert names(after) == names(before)
    assert after.guests["workshop"].fqdn == "workshop.hub.home.arpa"


def test_what_speaks_of_a_renamed_guest_follows(path: Path) -> None:
    before = resolved(path)
    edit.rename(path, "db", "data", target="lab")
    after = resolved(path)
    assert [new for _, new in changed(path)] == [
        "  data:   # the databases",
        "    id: db",
        "    stacks: [{canary: {use: {postgres: data}}}]}",
    ]
    assert names(after) == names(before)
    assert after.instance("canary@tools").providers["postgres"] == "postgres@data"


def test_a_second_rename_keeps_the_first_name_as_id_and_back_is_back(path: Path) -> None:
    before = resolved(path)
    for old, new in (("tools", "workshop"), ("workshop", "shed")):
        edit.rename(path, old, new, target="lab")
    assert names(resolved(path)) == names(before)
    edit.rename(path, "shed", "tools", target="lab")
    assert names(resolved(path)) == names(before)


def test_a_name_that_was_changed_by_hand_gets_its_id(path: Path) -> None:
    before = resolved(path)
    path.write_text(HUB.replace("  tools:", "  workshop:"))
    assert names(resolved(path)) != names(before)
    edit.rename(path, "tools", "workshop", target="lab")
    assert names(resolved(path)) == names(before)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("nobody", "somebody", "there is no guest nobody"),
        ("tools", "other", "tools and other are two guests"),
        ("tools", "No Name", "lower-case letters"),
        ("tools", "node", "the node's own name"),
        ("security", "safe", "keeps its first name"),
    ],
)
def test_what_cannot_be_renamed_leaves_the_file_alone(path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        edit.rename(path, old, new, target="lab")
    assert path.read_text() == HUB
    assert [one.name for one in path.parent.iterdir()] == ["hub.yml"]


def test_a_moved_instance_keeps_what_its_data_is_called_by(path: Path) -> None:
    before = resolved(path)
    edit.move(path, "canary@tools", "other", target="lab")
    after = resolved(path)
    assert names(after) == names(before)
    assert after.instance("canary@other").id == "canary@tools"
    assert [new for _, new in changed(path)] == [
        "    stacks: []}",
        "  other: {stacks: [{canary: {id: canary@tools, use: {postgres: db}}}], vmid: 121, kind: lxc, zone: infra,"
        " address: 10.10.10.14, cores: 2, memory: 2GiB, disk: 8GiB}",
    ]


def test_an_instance_moves_out_of_a_list_and_into_one(path: Path) -> None:
    before = resolved(path)
    edit.move(path, "redis@db", "tools", target="lab")
    after = resolved(path)
    assert names(after) == names(before)
    assert [new for _, new in changed(path)] == [
        "    stacks: [postgres]  # both",
        "    stacks: [{redis: {id: redis@db}}, {canary: {use: {postgres: db}}}]}",
    ]


def test_an_instance_that_was_moved_by_hand_gets_its_id(path: Path) -> None:
    before = resolved(path)
    path.write_text(
        HUB.replace("stacks: [postgres, redis]", "stacks: [postgres]").replace("[{canary", "[redis, {canary")
    )
    assert names(resolved(path)) != names(before)
    edit.move(path, "redis@db", "tools", target="lab")
    assert names(resolved(path)) == names(before)
    assert "stacks: [{redis: {id: redis@db}}, {canary" in path.read_text()


@pytest.mark.parametrize(
    ("instance", "guest", "said"),
    [
        ("canary@other", "db", "there is no instance canary@other"),
        ("canary@tools", "nowhere", "there is no guest nowhere"),
        ("redis@db", "db", "db has redis already"),
        ("vault@security", "other", "keeps its first name"),
    ],
)
def test_what_cannot_be_moved_leaves_the_file_alone(path: Path, instance: str, guest: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        edit.move(path, instance, guest, target="lab")
    assert path.read_text() == HUB


def test_what_is_written_in_another_way_is_left_to_a_person(path: Path) -> None:
    path.write_text(
        HUB.replace("    stacks: [postgres, redis]  # both", "    stacks:\n      - postgres\n      - redis")
    )
    text = path.read_text()
    with pytest.raises(InvalidInput, match="do it by hand"):
        edit.move(path, "redis@db", "tools", target="lab")
    assert path.read_text() == text
