"""What Proxmox would accept now and fail on later is named before the first change, all at once."""

from __future__ import annotations

from dataclasses import replace

import pytest
from aihub.errors import Conflict, PreconditionFailed
from aihub.proxmox.facts import Facts, Neighbour, Room, Storage
from aihub.proxmox.guests.plan import plan
from aihub.proxmox.guests.preflight import GUEST_PRIVILEGES, VM_PRIVILEGES, Coming, check
from aihub.proxmox.state import ActualGuests

IMAGES = frozenset({
    "pve:local:vztmpl/debian-13-standard_13.1-2_amd64.tar.zst",
    "pve:local:import/debian-13-genericcloud-amd64.qcow2",
    "pve:local:import/ubuntu-24.04-server-cloudimg-amd64.qcow2",
})  # fmt: skip


@pytest.fixture
def facts():
    guest = dict.fromkeys((*GUEST_PRIVILEGES, *VM_PRIVILEGES), 1)
    content = frozenset({"rootdir", "images"})
    return Facts(
        storages={("pve", name): Storage(name, "pve", content, True) for name in ("local-zfs", "tank")},
        volumes=IMAGES,
        bridges={"pve": frozenset({"vmbr0", "hubinfra", "hubprivate"})},
        pools=frozenset({"hub-small"}),
        permissions={
            "/pool/hub-small": guest,
            "/storage/local-zfs": {"Datastore.AllocateSpace": 1},
            "/storage/tank": {"Datastore.AllocateSpace": 1},
            "/storage/local": {"Datastore.Audit": 0},
            "/sdn/zones/localnetwork": {"SDN.Use": 1},
            "/mapping/pci/card": {"Mapping.Use": 0},
        },
        taken={},
        neighbours=(),
    )


@pytest.fixture
def changes(hub):
    return plan(hub, ActualGuests({})).changes


def test_a_ready_node_has_nothing_to_say(hub, changes, facts):
    check(hub, changes, facts)


def without(facts, path, privilege):
    granted = {k: v for k, v in facts.permissions[path].items() if k != privilege}
    return replace(facts, permissions={**facts.permissions, path: granted})


@pytest.mark.parametrize("privilege", [*GUEST_PRIVILEGES, *VM_PRIVILEGES])
def test_each_missing_privilege_is_predicted(hub, changes, facts, privilege):
    with pytest.raises(PreconditionFailed) as caught:
        check(hub, changes, without(facts, "/pool/hub-small", privilege))
    assert caught.value.what == f"the token lacks {privilege} on /pool/hub-small"


def test_a_privilege_without_propagation_is_none_below_its_path(hub, changes, facts):
    permissions = {**facts.permissions, "/sdn/zones/localnetwork": {"SDN.Use": 0}}
    with pytest.raises(PreconditionFailed, match=r"SDN\.Use on /sdn/zones/localnetwork/hubinfra"):
        check(hub, changes, replace(facts, permissions=permissions))


def test_everything_that_is_missing_is_named_at_once(hub, changes, facts):
    empty = replace(facts, storages={}, volumes=frozenset(), bridges={}, pools=frozenset())
    with pytest.raises(PreconditionFailed) as caught:
        check(hub, changes, empty)
    for text in ("storage local-zfs", "storage tank", "bridge hubinfra", "OS image local:vztmpl", "pool hub-small"):
        assert text in caught.value.what
    assert len(caught.value.what.splitlines()) == 7


def test_an_image_that_is_missing_is_named_with_the_command_that_fetches_it(hub, changes, facts):
    with pytest.raises(PreconditionFailed) as caught:
        check(
            hub,
            changes,
            replace(facts, volumes=facts.volumes - {"pve:local:import/ubuntu-24.04-server-cloudimg-amd64.qcow2"}),
        )
    assert "pvesh create /nodes/pve/storage/local/download-url --content import" in caught.value.what
    assert "--filename ubuntu-24.04-server-cloudimg-amd64.qcow2" in caught.value.what
    assert "--checksum-algorithm sha256 --checksum 6e40c07a" in caught.value.what


@pytest.mark.parametrize(
    ("storage", "text"),
    [
        (Storage("tank", "pve", frozenset({"iso"}), True), "storage tank takes no rootdir"),
        (Storage("tank", "pve", frozenset({"rootdir"}), False), "storage tank is not active"),
    ],
)
def test_a_storage_that_cannot_take_the_guest(hub, changes, facts, storage, text):
    with pytest.raises(PreconditionFailed, match=text):
        check(hub, changes, replace(facts, storages={**facts.storages, ("pve", "tank"): storage}))


def test_a_vmid_of_a_guest_that_the_token_cannot_see(hub, changes, facts):
    with pytest.raises(Conflict, match="VMID 110 is taken"):
        check(hub, changes, replace(facts, taken={110: "VM 110 already exists"}))


@pytest.mark.parametrize(
    ("macs", "addresses", "text"),
    [
        ({"BC:24:11:00:00:6E"}, set(), "guest db: MAC BC:24:11:00:00:6E is used by other"),
        (set(), {"10.10.20.11"}, "guest ai: address 10.10.20.11 is used by other"),
    ],
)
def test_a_neighbour_with_our_address_or_mac_is_a_conflict(hub, changes, facts, macs, addresses, text):
    other = Neighbour(300, "other", frozenset(macs), frozenset(addresses))
    with pytest.raises(Conflict) as caught:
        check(hub, changes, replace(facts, neighbours=(other,)))
    assert text in caught.value.what


@pytest.mark.parametrize(
    ("guest", "field", "value", "said"),
    [
        ("db", "cores", 17, "guest db: hub.yml says 17 cores, node pve has 16"),
        ("ai", "cores", 17, "guest ai: hub.yml says 17 cores, node pve has 16"),
        ("cache", "memory", 65 << 30, "guest cache: hub.yml says 65GiB of memory, node pve has 64GiB"),
        ("db", "disk", 600 << 30, "guest db: hub.yml says a disk of 600GiB, storage local-zfs has 512GiB"),
    ],
)
def test_more_than_the_node_has_is_refused_for_containers_and_machines(hub, world, facts, guest, field, value, said):
    storages = {place: replace(one, size=512 << 30) for place, one in facts.storages.items()}
    facts = replace(facts, storages=storages, rooms={"pve": Room(16, 64 << 30)})
    bigger = replace(hub, guests={**hub.guests, guest: replace(hub.guests[guest], **{field: value})})
    check(hub, plan(hub, ActualGuests({})).changes, facts)
    for actual in (ActualGuests({}), world()):
        with pytest.raises(PreconditionFailed) as caught:
            check(bigger, plan(bigger, actual).changes, facts)
        assert caught.value.what == said


def test_a_guest_does_not_come_into_a_zone_that_its_firewall_does_not_know(make_hub, world, facts):
    """The zone's bridge is made by the same run: nobody's firewall has heard of its gateway."""
    moved = make_hub({"zone: infra, address: 10.10.10.11": "zone: private, address: 10.10.20.31"})
    changes = plan(moved, world()).changes
    check(moved, changes, facts)
    bare = replace(facts, bridges={"pve": frozenset({"hubinfra"})})
    with pytest.raises(PreconditionFailed, match="guest db: its firewall does not know zone private yet") as caught:
        check(moved, changes, bare, Coming(bridges={"hubprivate"}))
    assert caught.value.hint == "first an `aihub up` with the new zone alone, then one with the guest in it"


def test_an_update_needs_no_image_and_no_pool(hub, world, have, facts):
    update = plan(hub, world(db=have("db", {"memory": "1024"}))).changes
    check(hub, update, replace(facts, volumes=frozenset(), pools=frozenset()))


def test_inherited_rights_stop_where_a_deeper_entry_takes_over(facts):
    permissions = {"/": {"VM.Audit": 1}, "/vms": {"VM.Allocate": 1}, "/vms/110": {}}
    found = replace(facts, permissions=permissions)
    assert found.allows("/storage/x", "VM.Audit")
    assert found.allows("/vms/111", "VM.Allocate")
    assert not found.allows("/vms/111", "VM.Audit")
    assert not found.allows("/vms/110", "VM.Allocate")


BRIDGES = {"hubinfra", "hubprivate"}


@pytest.mark.parametrize(
    ("lacks", "coming"),
    [
        ({"bridges": {}}, Coming(bridges=BRIDGES)),
        ({"pools": frozenset()}, Coming(pool=True)),
        ({"volumes": frozenset()}, Coming(images=True)),
        ({"storages": {}}, Coming(storages={"local-zfs", "tank"})),
        ({"permissions": {}}, Coming(rights=True)),
        # A token without its rights sees nothing of what is there.
        ({"permissions": {}, "storages": {}, "bridges": {}, "pools": frozenset(), "volumes": frozenset()},
         Coming(rights=True)),
        # The first day, as root sees it.
        ({"permissions": None, "bridges": {}, "pools": frozenset(), "volumes": frozenset()},
         Coming(BRIDGES, pool=True, rights=True, images=True)),
    ],
)  # fmt: skip
def test_what_is_coming_is_no_obstacle_and_without_it_one(hub, changes, facts, lacks, coming):
    check(hub, changes, replace(facts, **lacks), coming)
    with pytest.raises(PreconditionFailed):
        check(hub, changes, replace(facts, **lacks))


def test_what_nobody_will_make_is_an_obstacle_on_the_first_day_too(hub, changes, facts):
    bare = replace(facts, permissions=None, bridges={}, pools=frozenset(), volumes=frozenset(), storages={})
    coming = Coming({"hubinfra"}, pool=True, rights=True, images=True)
    with pytest.raises(PreconditionFailed) as caught:
        check(hub, changes, bare, coming)
    for text in ("storage local-zfs", "storage tank", "bridge hubprivate"):
        assert text in caught.value.what
    assert len(caught.value.what.splitlines()) == 3


def test_a_guest_that_is_created_and_then_updated_is_a_new_one(hub, changes, facts):
    update = replace(changes[0], action="update", identity="root@node")
    with pytest.raises(PreconditionFailed, match="OS image"):
        check(hub, [changes[0], update], replace(facts, volumes=frozenset()))


def test_the_right_to_a_card_is_the_right_to_its_mapping(hub, changes, facts):
    with pytest.raises(PreconditionFailed, match=r"the token lacks Mapping\.Use on /mapping/pci/card$"):
        check(hub, changes, without(facts, "/mapping/pci/card", "Mapping.Use"))
    check(hub, changes, without(facts, "/mapping/pci/card", "Mapping.Use"), Coming(rights=True))


@pytest.mark.parametrize(
    "device", ["mapping=card,pcie=1", "0000:01:00,pcie=1", "host=01:00.0", "host=0000:02:00;01:00.1"]
)
def test_a_card_that_somebody_else_runs_with_is_refused_and_who_that_is_said(hub, changes, facts, device):
    other = Neighbour(900, "desktop", frozenset(), frozenset(), {"hostpci3": device})
    with pytest.raises(PreconditionFailed, match=r"card card is in use by desktop \(VMID 900\)") as caught:
        check(hub, changes, replace(facts, neighbours=(other,)), Coming(cards={"card": "0000:01:00"}))
    assert "qm set 900 --delete hostpci3" in caught.value.hint


def test_another_card_is_no_obstacle(hub, changes, facts):
    other = Neighbour(900, "desktop", frozenset(), frozenset(), {"hostpci0": "mapping=theirs", "hostpci1": "02:00"})
    check(hub, changes, replace(facts, neighbours=(other,)), Coming(cards={"card": "0000:01:00"}))
