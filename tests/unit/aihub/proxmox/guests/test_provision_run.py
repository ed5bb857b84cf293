"""Applying a plan: what is shared by the guests of a run, what is refused, and what is handed out."""

from __future__ import annotations

import threading
import time
from types import SimpleNamespace

import pytest
from aihub.errors import PreconditionFailed, Unreachable
from aihub.proxmox.client import Landed
from aihub.proxmox.errors import RefusedByProxmox
from aihub.proxmox.guests import change, create, desired, provision
from aihub.proxmox.guests.plan import plan
from aihub.proxmox.guests.site import PER_STORAGE, Site, Stopped
from aihub.proxmox.state import ActualGuests
from aihub.state.journal import Entry, Journal


@pytest.fixture
def site(hub, tmp_path):
    return Site(None, hub, Journal(tmp_path / "journal.json"), lambda *_: None)


def test_after_the_stop_no_write_leaves(site):
    site.stop.set()
    with pytest.raises(Stopped):
        site.write("post", "/x", {}, lambda: None)


def test_a_storage_takes_only_so_much_work_at_once(site):
    now, most, lock = [0], [0], threading.Lock()

    def work():
        with site.storage("pve", "tank"):
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            time.sleep(0.02)
            with lock:
                now[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most[0] == PER_STORAGE


class Silent:
    """An API that must not be asked."""

    def __getattr__(self, name):
        raise AssertionError(f"the API was used: {name}")


def test_losing_data_needs_the_guests_name(make_hub, world, tmp_path):
    hub = make_hub({"disk: 64GiB}": "disk: 64GiB, storage: bulk}"})
    journal = Journal(tmp_path / "journal.json")
    with pytest.raises(PreconditionFailed) as caught:
        provision.apply(Silent(), hub, plan(hub, world()), journal, lambda *_: None, allow_destroy={"other"})
    assert "everything on the disk of db" in caught.value.what
    assert "--allow-destroy db" in caught.value.hint


def test_an_empty_plan_asks_nothing_of_the_api(hub, world, tmp_path):
    journal = Journal(tmp_path / "journal.json")
    assert provision.apply(Silent(), hub, plan(hub, world()), journal, lambda *_: None) == []


def test_a_guest_whose_contact_a_killed_run_missed_is_handed_out_again(hub, world, tmp_path):
    journal = Journal(tmp_path / "journal.json")
    journal.begin(Entry(201, "ai", "pve", "vm", "contact"))
    journal.begin(Entry(999, "gone", "pve", "vm", "contact"))
    created = provision.apply(Silent(), hub, plan(hub, world()), journal, lambda *_: None)
    assert created == [provision.CreatedGuest("ai", None)]
    provision.contacted(journal, hub, "ai")
    assert journal.entries() == {}


def test_the_plan_of_an_empty_node_can_be_printed_without_it(hub):
    assert plan(hub, ActualGuests({})).as_json()["changes"][0]["action"] == "create"


def looked(hub, tmp_path, refusal):
    """A guest whose config was still there, and whose state the API then refused."""

    class Api:
        def get(self, path):
            if path.endswith("/pending"):
                return [{"key": "hostname", "value": "db"}]
            raise refusal

    return Site(Api(), hub, Journal(tmp_path / "journal.json"), lambda *_: None).look("lxc", "pve", 110)


def test_a_guest_that_goes_between_two_reads_is_gone(hub, tmp_path):
    gone = RefusedByProxmox("Configuration file 'nodes/pve/lxc/110.conf' does not exist", status=500)
    assert looked(hub, tmp_path, gone) is None


def test_a_guest_whose_state_is_not_told_is_not_taken_for_gone(hub, tmp_path):
    with pytest.raises(RefusedByProxmox, match="got timeout"):
        looked(hub, tmp_path, RefusedByProxmox("got timeout", status=500))


def gone(_):
    raise RefusedByProxmox("no such task")


@pytest.mark.parametrize(
    ("log", "known"),
    [
        (lambda _: ["extracting", "done: SHA256:abc root@db", "TASK OK"], ("done: SHA256:abc root@db",)),
        (lambda _: ["extracting", "TASK OK"], ()),
        (gone, ()),
    ],
)
def test_a_container_whose_create_log_names_no_key_is_not_taken_for_a_vm(site, log, known):
    site.px = SimpleNamespace(tasks=SimpleNamespace(log=log, of=lambda *_: []), user="hub@pve")
    entry = Entry(110, "db", "pve", "lxc", "contact", "UPID:pve:1")
    assert create.host_keys(site, entry) == known
    assert create.host_keys(site, Entry(110, "db", "pve", "lxc", "contact")) == ()
    assert create.host_keys(site, Entry(201, "ai", "pve", "vm", "contact", "UPID:pve:2")) is None


class Connection:
    """Root on the node, over a connection that breaks."""

    def set(self, path, values):
        raise Unreachable("no ssh: Connection closed", where="node")


def test_a_change_by_root_whose_connection_broke_is_looked_for(hub, tmp_path):
    site = Site(None, hub, Journal(tmp_path / "journal.json"), lambda *_: None, Connection())
    site.write_as_root("/x", {}, Landed)
    with pytest.raises(Unreachable):
        site.write_as_root("/x", {}, lambda: None)
    assert site.writes == 2


def test_what_only_root_may_change_is_refused_before_the_first_change_where_nobody_is_root(hub, world, have, tmp_path):
    changes = plan(hub, world(db=have("db", {"dev0": "/dev/kfd"}), cache=have("cache", {"memory": "1024"})))
    with pytest.raises(PreconditionFailed, match="only root may change db"):
        provision.apply(Silent(), hub, changes, Journal(tmp_path / "journal.json"), lambda *_: None)


def test_a_disk_that_appears_on_a_guest_that_is_being_made_is_not_taken_away(hub, have, tmp_path):
    found = have("db", {"mp0": "tank:subvol-110-disk-1,mp=/data"})
    site = Site(None, hub, Journal(tmp_path / "journal.json"), lambda *_: None)
    site.look = lambda *_: found
    with pytest.raises(PreconditionFailed, match="mp0"):
        change.update(site, desired.wanted(hub, hub.guests["db"], []))
