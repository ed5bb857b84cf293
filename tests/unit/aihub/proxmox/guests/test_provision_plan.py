"""The plan names what differs, spares what is not ours, and refuses what cannot be."""

from __future__ import annotations

from dataclasses import replace

import pytest
from aihub.errors import Conflict, PreconditionFailed
from aihub.names import Marker
from aihub.plan import Difference
from aihub.proxmox.guests import desired
from aihub.proxmox.guests.plan import down_plan, known_names, plan
from aihub.proxmox.state import ActualGuest, ActualGuests
from aihub.state.journal import Entry

NEW_DB = [("db", "create"), ("db", "start")]


def actions(found):
    return [(c.subject, c.action) for c in found.changes]


def test_a_hub_that_is_as_wanted_has_an_empty_plan(hub, world):
    found = plan(hub, world())
    assert found.is_empty
    assert not found.warnings


def test_an_empty_node_gets_every_guest(hub):
    found = plan(hub, ActualGuests({}))
    plain = [(name, action) for name in ("db", "cache") for action in ("create", "start")]
    assert actions(found) == [*plain, ("ai", "create"), ("ai", "update"), ("ai", "start")]
    assert [c.differences for c in found.changes if c.identity != "token"] == [
        (Difference("hookscript", None, "local:snippets/hub-small-gpu-guard"),)
    ]


def test_a_new_container_has_its_share_of_a_card_before_it_starts(make_hub):
    hub = make_hub(
        {"vram: 32GiB}": "vram: 32GiB, mode: lxc}", ", gpu: card": "", "disk: 64GiB}": "disk: 64GiB, gpu: card}"}
    )
    mine = [c for c in plan(hub, ActualGuests({})).changes if c.subject == "db"]
    assert [(c.action, c.identity) for c in mine] == [("create", "token"), ("update", "root@node"), ("start", "token")]
    assert [d.field for d in mine[1].differences] == ["dev0", "dev1", "dev2", "dev3"]


def test_a_stopped_guest_is_started_and_a_changed_one_updated(hub, world, have):
    found = plan(hub, world(db=have("db", status="stopped"), cache=have("cache", {"memory": "1024"})))
    assert actions(found) == [("db", "start"), ("cache", "update")]
    assert found.changes[1].details["digest"] == "d1"
    assert found.changes[1].differences == (Difference("memory", "1GiB", "4GiB"),)


def test_a_foreign_guest_on_our_number_is_a_conflict_that_names_it(hub, world, have):
    stranger = have("db", {"description": "somebody else's", "hostname": "neighbour"}, name="neighbour")
    with pytest.raises(Conflict, match=r"guest db: VMID 110 belongs to neighbour, which is not ours") as caught:
        plan(hub, world(db=stranger))
    assert "112 is free" in caught.value.hint


def test_our_guest_without_its_marker_is_not_ours_and_the_hint_says_what_to_put_back(hub, world, have):
    with pytest.raises(Conflict) as caught:
        plan(hub, world(db=have("db", {"description": None})))
    assert "aihub:v1 hub=00112233445566ff vmid=110 guest=db" in caught.value.hint


@pytest.mark.parametrize(
    "line",
    [
        "aihub:v1 hub=00112233445566ff vmid=999 guest=db",
        "aihub:v1 hub=ffffffffffffffff vmid=110 guest=db",
        "aihub:v1 hub=00112233445566ff vmid=110 guest=db\naihub:v1 hub=00112233445566ff vmid=110 guest=db",
        "  see aihub:v1 hub=00112233445566ff vmid=110 guest=db",
    ],
)
def test_a_marker_that_does_not_match_in_every_word_makes_no_guest_ours(hub, world, have, line):
    with pytest.raises(Conflict):
        plan(hub, world(db=have("db", {"description": line})))


def test_text_around_the_marker_is_the_owners(hub, world, have):
    text = "Postgres, ask Kim\naihub:v1 hub=00112233445566ff vmid=110 guest=db\n\nmore"
    assert plan(hub, world(db=have("db", {"description": text}))).is_empty


def test_what_a_guest_was_made_from_it_stays(hub, make_hub, world, have):
    written = "aihub:v1 hub=00112233445566ff vmid=201 guest=ai"
    before = plan(hub, world(ai=have("ai", {"description": written})))  # Debian, when there was no choice
    assert before.is_empty
    assert before.warnings[0].startswith(
        "guest ai: its description names no image, so that it counts as made from debian-13"
    )
    was = plan(hub, world(ai=have("ai", {"description": f"{written}\naihub:image debian-13"}))).warnings[0]
    assert was.startswith("guest ai: it was made from debian-13, and stays so; like this it would be made from ubuntu")
    other = make_hub({"disk: 16GiB,": "disk: 16GiB, image: ubuntu-24.04,"})
    after = plan(other, world())
    assert after.is_empty
    assert "made from debian-13, and stays so; hub.yml says ubuntu-24.04" in after.warnings[0]
    said = make_hub({"gpu: card}": "gpu: card, image: debian-13}"})
    assert plan(said, world(ai=have("ai", {"description": written}))).warnings == ()
    hostile = plan(hub, world(ai=have("ai", {"description": f"{written}\naihub:image \x1b[2J"})))
    assert "\x1b" not in hostile.warnings[0]


def test_every_conflict_is_named_at_once(hub, world, have):
    foreign = {"description": "x"}
    with pytest.raises(Conflict, match=r"(?s)VMID 110.*VMID 201"):
        plan(hub, world(db=have("db", foreign), ai=have("ai", foreign)))


def test_a_guest_with_one_of_our_names_is_only_worth_a_word(hub, world):
    namesake = ActualGuest(399, "lxc", "pve", "db", "running")
    found = plan(hub, ActualGuests({**world().guests, 399: namesake}))
    assert not found.changes
    assert found.warnings == ("guest db: VMID 399 has the same name and is not ours",)


def old_guest(have, name="old", address="10.10.10.99"):
    marker = Marker("00112233445566ff", 150, name)
    found = have("db", {"description": str(marker), "hostname": name}, vmid=150, name=name)
    return replace(found, config={**found.config, "net0": found.config["net0"].replace("10.10.10.11/", f"{address}/")})


def test_a_guest_that_left_hub_yml_stays_until_its_data_may_go(hub, world, have):
    actual = ActualGuests({**world().guests, 150: old_guest(have)})
    found = plan(hub, actual)
    assert not found.changes
    assert "--allow-destroy old" in found.warnings[0]
    found = plan(hub, actual, allow_destroy={"old"})
    assert actions(found) == [("old", "delete")]
    assert "old" in found.changes[0].data_at_risk


def test_a_guest_that_left_hub_yml_and_holds_a_wanted_address_must_go_first(hub, world, have):
    actual = ActualGuests({**world(db=None).guests, 150: old_guest(have, address="10.10.10.11")})
    with pytest.raises(PreconditionFailed, match=r"address 10\.10\.10\.11 is held by old") as caught:
        plan(hub, actual)
    assert "--allow-destroy old" in caught.value.hint
    assert actions(plan(hub, actual, allow_destroy={"old"})) == [("old", "delete"), *NEW_DB]


def test_a_renamed_guest_keeps_its_number_only_when_the_old_one_may_go(make_hub, world):
    actual = world()
    renamed = make_hub({"  db: {": "  store: {"})
    with pytest.raises(PreconditionFailed, match="VMID 110 still holds this hub's guest db") as error:
        plan(renamed, actual)
    assert error.value.hint.startswith("if that is its new name: aihub rename db store; ")
    found = plan(renamed, actual, allow_destroy={"db"})
    assert actions(found) == [("db", "delete"), ("store", "create"), ("store", "start")]


def test_a_renamed_guest_with_its_id_is_the_same_guest(make_hub, world):
    renamed = make_hub({"  db: {": "  store: {id: db, "})
    found = plan(renamed, world())
    assert actions(found) == [("store", "update")]
    assert [(d.field, d.actual, d.wanted) for d in found.changes[0].differences] == [("hostname", "db", "store")]
    assert plan(renamed, world(), allow_destroy={"db"}).changes == found.changes  # that is no name of a guest


def test_another_storage_means_a_new_guest_and_says_what_is_lost(make_hub, world):
    moved = make_hub({"disk: 64GiB}": "disk: 64GiB, storage: bulk}"})
    found = plan(moved, world())
    assert actions(found) == [("db", "delete"), *NEW_DB]
    assert found.changes[0].data_at_risk == "everything on the disk of db (VMID 110)"
    assert "pct shutdown 110; pct move-volume 110 rootfs tank --delete 1" in found.warnings[0]


def test_a_smaller_disk_is_refused(make_hub, world):
    with pytest.raises(PreconditionFailed, match=r"guest db: its disk has 64GiB, hub\.yml says 32GiB"):
        plan(make_hub({"disk: 64GiB": "disk: 32GiB"}), world())


@pytest.mark.parametrize("other", ["", "theirs"])
def test_a_guest_outside_the_pool_is_brought_back_by_root_before_anything_else(hub, world, have, other):
    found = plan(hub, world(db=have("db", {"memory": "1024"}, pool=other)))
    assert [(c.action, c.identity) for c in found.changes] == [("update", "root@node"), ("update", "token")]
    assert found.changes[0].differences == (Difference("pool", other or None, "hub-small"),)


def test_what_a_dead_create_left_is_ours_only_if_the_journal_names_it(hub, world, have):
    left = bare(have)
    assert left.bare
    with pytest.raises(Conflict):
        plan(hub, world(db=left))
    found = plan(hub, world(db=left), journal={110: Entry(110, "db", "pve", "lxc", "create")})
    assert actions(found) == NEW_DB


def bare(have, **fields):
    return have("db", dict.fromkeys(have("db").config), status="stopped", **fields)


def test_a_dead_create_that_nobody_can_clear_is_refused_before_others_are_made(hub, world, have):
    journal = {110: Entry(110, "db", "pve", "lxc", "create")}
    with pytest.raises(PreconditionFailed, match="create that died left VMID 110 locked") as caught:
        plan(hub, world(db=bare(have, lock="create")), journal=journal)
    assert "pct unlock 110; pct destroy 110" in caught.value.hint


@pytest.mark.parametrize("marked", [True, False])
def test_a_create_whose_task_is_still_at_work_is_waited_for(hub, world, have, marked):
    """Its marker is written before it is in the pool and unlocked, and all of that comes by itself."""
    half = have("db", pool="", lock="create", status="stopped") if marked else bare(have, lock="create")
    journal = {110: Entry(110, "db", "pve", "lxc", "create")}
    found = plan(hub, world(db=half), journal=journal, busy={110})
    assert actions(found) == NEW_DB
    assert "still at work" in found.changes[0].summary


def test_a_locked_guest_with_something_to_do_is_refused_before_its_siblings_are_touched(hub, world, have):
    assert plan(hub, world(db=have("db", lock="backup"))).is_empty
    with pytest.raises(PreconditionFailed, match=r"guest db: it is locked \(backup\)") as caught:
        plan(hub, world(db=have("db", {"memory": "1024"}, lock="backup")))
    assert "pct unlock 110" in caught.value.hint


PROTECTED = {"protection": "1"}


def test_a_protected_guest_is_no_difference_until_it_is_to_go(make_hub, hub, world, have):
    guarded = world(db=have("db", PROTECTED))
    assert plan(hub, guarded).is_empty
    for refused in (
        lambda: plan(make_hub({"disk: 64GiB}": "disk: 64GiB, storage: bulk}"}), guarded, allow_destroy={"db"}),
        lambda: plan(make_hub({"  db: {": "  store: {"}), guarded, allow_destroy={"db"}),
        lambda: plan(make_hub({"vmid: 110": "vmid: 119"}), guarded, allow_destroy={"db"}),
        lambda: down_plan(hub, guarded),
    ):
        with pytest.raises(PreconditionFailed, match="guest db: it is protected") as caught:
            refused()
        assert "pct set 110 --protection 0" in caught.value.hint


def test_a_disk_of_a_protected_guest_stays_too(hub, world, have):
    extra = {"scsi1": "tank:vm-201-disk-1,size=8G", **PROTECTED}
    with pytest.raises(PreconditionFailed, match=r"takes no disk \(scsi1\)"):
        plan(hub, world(ai=have("ai", extra)), allow_destroy={"ai"})


def test_a_guest_that_became_a_template_is_made_anew_only_when_its_data_may_go(hub, world, have):
    found = plan(hub, world(db=have("db", status="stopped", template=True)))
    assert actions(found) == [("db", "delete"), *NEW_DB]
    assert "it was made a template" in found.changes[0].summary


@pytest.mark.parametrize(
    ("state", "said"), [({"status": "paused"}, "paused"), ({"status": "stopped", "lock": "suspended"}, "hibernated")]
)
def test_what_sleeps_is_resumed_and_only_then_changed_and_restarted(hub, world, have, state, said):
    found = plan(hub, world(ai=have("ai", {"memory": "1024"}, **state)))
    assert [(c.action, c.restart) for c in found.changes] == [("start", False), ("update", True)]
    assert found.changes[0].summary == f"it is {said}: it goes on where it was, with its memory"


def test_what_nobody_can_say_is_not_taken_for_stopped(hub, world, have):
    with pytest.raises(PreconditionFailed, match="Proxmox cannot say whether it runs"):
        plan(hub, world(db=have("db", status="unknown")))


def test_a_guest_whose_node_is_off_is_no_reason_to_make_another_one(hub, world):
    silent = ActualGuest(110, "lxc", "other", "db", "unknown")
    actual = ActualGuests({**world().guests, 110: silent}, {110: "its node other is offline"})
    with pytest.raises(PreconditionFailed, match="whose VMID 110 is, nobody can say: its node other is offline"):
        plan(hub, actual)


def test_a_stranger_who_cannot_be_looked_at_is_a_warning(hub, world):
    silent = ActualGuest(300, "lxc", "other", "theirs", "unknown")
    found = plan(hub, ActualGuests({**world().guests, 300: silent}, {300: "its node other is offline"}))
    assert not found.changes
    assert found.warnings == ("theirs (VMID 300) could not be looked at: its node other is offline",)


@pytest.mark.parametrize(("allowed", "address"), [((), "10.10.10.11"), ((), "10.10.10.77"), (("db",), "10.10.10.11")])
def test_a_new_vmid_never_runs_beside_the_old_one(make_hub, world, allowed, address):
    renumbered = make_hub({"vmid: 110": "vmid: 119", "10.10.10.11": address})
    if allowed:
        assert actions(plan(renumbered, world(), allow_destroy=set(allowed))) == [("db", "delete"), *NEW_DB]
        return
    with pytest.raises(PreconditionFailed, match=r"it has VMID 110, hub\.yml says 119") as caught:
        plan(renumbered, world())
    assert "put `vmid: 110` back" in caught.value.hint
    assert "aihub up --allow-destroy db" in caught.value.hint


@pytest.mark.parametrize("status", ["running", "paused", "stopped"])
@pytest.mark.parametrize("card", [{}, {"net0": "name=eth0,bridge=hubinfra,hwaddr=BC:24:11:FF:FF:FF,ip=10.10.10.11/24"}])
def test_a_copy_that_runs_is_a_conflict_and_a_stopped_one_is_none(hub, world, have, status, card):
    """Its marker names another VMID than its own: it is not ours, in our pool or not."""
    copy = replace(have("db", card), vmid=300, name="restored", status=status)
    actual = ActualGuests({**world().guests, 300: copy})
    if status == "stopped":
        assert plan(hub, actual).is_empty
        return
    with pytest.raises(Conflict, match=r"restored \(VMID 300\), which is not ours, runs with its 10\.10\.10\.11"):
        plan(hub, actual)


def test_down_takes_what_carries_our_marker_and_nothing_else(hub, world, have):
    stranger = have("cache", {"description": "x"})
    forged = replace(have("db"), vmid=500)
    actual = ActualGuests({**world(cache=stranger).guests, 150: old_guest(have), 500: forged})
    found = down_plan(hub, actual)
    assert [(c.subject, c.details["vmid"]) for c in found.changes] == [("db", 110), ("old", 150), ("ai", 201)]
    assert all(c.data_at_risk for c in found.changes)


def test_an_undeclared_disk_is_data_at_risk_and_the_restart_comes_once(hub, world, have):
    extra = {"scsi1": "tank:vm-201-disk-1,size=8G", "usb0": "host=1:2", "vcpus": "1"}
    found = plan(hub, world(ai=have("ai", extra)))
    assert [(c.action, c.identity, c.restart, c.data_at_risk) for c in found.changes] == [
        ("update", "root@node", False, ""),
        ("update", "token", True, "everything on scsi1 (tank:vm-201-disk-1,size=8G) of ai (VMID 201)"),
    ]


def test_a_volume_that_is_attached_to_nothing_is_kept_unless_its_guest_is_named(hub, world, have):
    actual = world(ai=have("ai", {"unused0": "tank:vm-201-disk-1"}))
    found = plan(hub, actual)
    assert not found.changes
    assert found.warnings == (
        "guest ai: attached to nothing, and kept: unused0 (tank:vm-201-disk-1). To remove it: "
        "aihub up --allow-destroy ai",
    )
    found = plan(hub, actual, allow_destroy={"ai"})
    assert not found.warnings
    assert found.changes[0].data_at_risk == "everything on unused0 (tank:vm-201-disk-1) of ai (VMID 201)"


def test_a_new_guest_gets_what_only_root_may_set_before_it_starts(hub, monkeypatch):
    make = desired.wanted
    monkeypatch.setattr(desired, "wanted", lambda *given: replace(make(*given), root_only={"dev0": "/dev/kfd"}))
    found = [c for c in plan(hub, ActualGuests({})).changes if c.subject == "db"]
    assert [(c.action, c.identity) for c in found] == [("create", "token"), ("update", "root@node"), ("start", "token")]
    assert found[1].differences == (Difference("dev0", None, "/dev/kfd"),)


def test_every_name_that_may_be_named_for_destruction_is_known(hub, world, have):
    stranger = have("cache", {"description": "x", "hostname": "stranger"}, name="stranger")
    renamed = have("db", {"description": str(Marker("00112233445566ff", 110, "former"))})
    actual = ActualGuests({**world(cache=stranger, db=renamed).guests, 150: old_guest(have)})
    assert known_names(hub, actual) == {"db", "cache", "ai", "former", "old"}
