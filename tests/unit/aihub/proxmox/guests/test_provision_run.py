"""Guests in parallel: one's error does not stop the others, Ctrl-C starts nothing new."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import SimpleNamespace

import pytest
from aihub.errors import Conflict, PreconditionFailed, TaskFailed
from aihub.plan import Change
from aihub.proxmox.errors import AccessRefused, Refused
from aihub.proxmox.guests import create, provision
from aihub.proxmox.guests.plan import plan
from aihub.proxmox.guests.site import PER_STORAGE, Site, Stopped
from aihub.proxmox.state import Actual
from aihub.state.journal import Entry, Journal


@pytest.fixture
def site(hub, tmp_path):
    return Site(None, hub, Journal(tmp_path / "journal.json"), lambda *_: None)


@pytest.fixture
def run(site, monkeypatch):
    """Runs jobs by name, each a function of nothing; gives the names of those that were started."""

    def go(jobs):
        started = []

        def one(_site, change, _keys):
            started.append(change.subject)
            jobs[change.subject]()

        monkeypatch.setattr(provision, "_one", one)
        changes = {name: [Change(name, "start", "api", "token", "")] for name in jobs}
        try:
            provision._run(site, changes, ())
        finally:
            go.started = started
        return started

    return go


def failing(error):
    def job():
        raise error

    return job


def test_the_error_of_one_guest_does_not_stop_the_others(run):
    with pytest.raises(TaskFailed, match="guest a: no space"):
        run({"a": failing(TaskFailed("no space")), "b": lambda: None, "c": lambda: None})
    assert sorted(run.started) == ["a", "b", "c"]


def test_several_errors_are_told_together(run):
    with pytest.raises(TaskFailed, match=r"(?s)guest a: one.*guest b: two"):
        run({"a": failing(TaskFailed("one")), "b": failing(Conflict("two"))})


def test_only_conflicts_are_a_conflict(run):
    with pytest.raises(Conflict):
        run({"a": failing(Conflict("one")), "b": failing(Conflict("two"))})


def test_nothing_changed_is_only_said_when_nothing_was(run, site):
    jobs = {"a": failing(PreconditionFailed("locked"))}
    with pytest.raises(PreconditionFailed):
        run(jobs)
    site.writes = 1
    with pytest.raises(TaskFailed):
        run(jobs)


def test_a_defect_is_not_dressed_up(run):
    with pytest.raises(ZeroDivisionError):
        run({"a": failing(ZeroDivisionError())})


def test_a_refused_token_stops_the_run(run, site):
    jobs = {f"g{n}": failing(AccessRefused("no", status=401)) for n in range(100)}
    with pytest.raises(PreconditionFailed):
        run(jobs)
    assert len(run.started) < 100
    assert site.stop.is_set()


def test_ctrl_c_starts_nothing_new_and_waits_for_what_runs(run, site):
    finished = []

    begun = threading.Barrier(provision.WORKERS)

    def first():
        begun.wait(5)
        os.kill(os.getpid(), signal.SIGINT)

    def running():
        begun.wait(5)
        site.stop.wait(5)
        time.sleep(0.2)
        finished.append(1)

    jobs = {"first": first, **{f"r{n}": running for n in range(provision.WORKERS - 1)}}
    jobs |= {f"late{n}": lambda: site.stop.wait(1) for n in range(200)}
    with pytest.raises(KeyboardInterrupt):
        run(jobs)
    assert len(finished) == provision.WORKERS - 1
    assert len(run.started) < len(jobs)


def test_ctrl_c_does_not_wait_for_ever(run, site, monkeypatch):
    monkeypatch.setattr(provision, "PATIENCE", 0.2)
    release = threading.Event()

    def hanging():
        os.kill(os.getpid(), signal.SIGINT)
        release.wait(20)

    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run({"a": hanging})
    release.set()
    assert time.monotonic() - started < 2


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
    assert plan(hub, Actual({})).as_json()["changes"][0]["action"] == "create"


def looked(hub, tmp_path, refusal):
    """A guest whose config was still there, and whose state the API then refused."""

    class Api:
        def get(self, path):
            if path.endswith("/pending"):
                return [{"key": "hostname", "value": "db"}]
            raise refusal

    return Site(Api(), hub, Journal(tmp_path / "journal.json"), lambda *_: None).look("lxc", "pve", 110)


def test_a_guest_that_goes_between_two_reads_is_gone(hub, tmp_path):
    gone = Refused("Configuration file 'nodes/pve/lxc/110.conf' does not exist", status=500)
    assert looked(hub, tmp_path, gone) is None


def test_a_guest_whose_state_is_not_told_is_not_taken_for_gone(hub, tmp_path):
    with pytest.raises(Refused, match="got timeout"):
        looked(hub, tmp_path, Refused("got timeout", status=500))


@pytest.mark.parametrize(
    ("log", "known"),
    [
        (lambda _: ["extracting", "done: SHA256:abc root@db", "TASK OK"], ("done: SHA256:abc root@db",)),
        (lambda _: ["extracting", "TASK OK"], ()),
        (lambda _: failing(Refused("no such task"))(), ()),
    ],
)
def test_a_container_whose_create_log_names_no_key_is_not_taken_for_a_vm(site, log, known):
    site.px = SimpleNamespace(tasks=SimpleNamespace(log=log, of=lambda *_: []), user="hub@pve")
    entry = Entry(110, "db", "pve", "lxc", "contact", "UPID:pve:1")
    assert create.host_keys(site, entry) == known
    assert create.host_keys(site, Entry(110, "db", "pve", "lxc", "contact")) == ()
    assert create.host_keys(site, Entry(201, "ai", "pve", "vm", "contact", "UPID:pve:2")) is None
