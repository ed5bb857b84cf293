"""Each kind of thing that can drift on a guest is noticed and named."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from aihub.guests.probe.compare import configuration_changes, list_differences, secret_changes
from aihub.plan import Difference

FILE = {"content": "abc", "mode": "0644", "owner": "0:0"}
CONTAINER = {"image": "sha256:1", "configuration": "c1", "state": "running", "health": "healthy"}
ENTRIES: dict[str, Any] = {
    "ssh": {"files": {"/etc/a": FILE}, "units": {"ssh.service": {"boot": "enabled", "active": "active"}}},
    "firewall": {"tables": {"inet hub": "t1"}},
    "stack/redis": {"stacks": {"redis": {"redis-1": CONTAINER}}},
}
DESIRED = dict.fromkeys(ENTRIES, "h1")
MANIFEST = {"desired": DESIRED, "entries": ENTRIES}

DRIFT = [
    (("ssh", "files", "/etc/a"), None, "file /etc/a is missing"),
    (("ssh", "files", "/etc/a", "content"), "def", "file /etc/a changed"),
    (("ssh", "files", "/etc/a", "mode"), "0666", "file /etc/a: mode is 0666, not 0644"),
    (("ssh", "files", "/etc/a", "owner"), "5:5", "file /etc/a: owner is 5:5, not 0:0"),
    (("ssh", "units", "ssh.service", "active"), "failed", "unit ssh.service is failed, not active"),
    (("ssh", "units", "ssh.service", "boot"), "disabled", "unit ssh.service is disabled at boot, not enabled"),
    (("firewall", "tables", "inet hub"), "t2", "nft table inet hub has other rules"),
    (("firewall", "tables", "inet hub"), None, "nft table inet hub is missing"),
    (("stack/redis", "stacks", "redis"), {}, "container redis-redis-1 is missing"),
    (("stack/redis", "stacks", "redis", "other-1"), CONTAINER, "container redis-other-1 is not declared"),
    (("stack/redis", "stacks", "redis", "redis-1", "image"), "x", "container redis-redis-1 has another image"),
    (
        ("stack/redis", "stacks", "redis", "redis-1", "configuration"),
        "x",
        "container redis-redis-1 has another configuration",
    ),
    (
        ("stack/redis", "stacks", "redis", "redis-1", "state"),
        "exited",
        "container redis-redis-1 is exited, not running",
    ),
    (
        ("stack/redis", "stacks", "redis", "redis-1", "health"),
        "unhealthy",
        "container redis-redis-1 is unhealthy, not healthy",
    ),
]


@pytest.mark.parametrize(("place", "value", "text"), DRIFT, ids=[text for _, _, text in DRIFT])
def test_drift_is_noticed(place: tuple[str, ...], value: object, text: str) -> None:
    states = copy.deepcopy(ENTRIES)
    at = states
    for step in place[:-1]:
        at = at[step]
    at[place[-1]] = value
    (change,) = configuration_changes("db", DESIRED, MANIFEST, states)
    assert change.summary == text
    assert list(change.parts) == [place[0]]


def test_a_guest_as_it_was_left_has_no_change() -> None:
    assert configuration_changes("db", DESIRED, MANIFEST, copy.deepcopy(ENTRIES)) == []


def test_a_unit_that_was_recorded_while_it_was_down_is_still_drift() -> None:
    entries = copy.deepcopy(ENTRIES)
    entries["ssh"]["units"]["ssh.service"]["active"] = "inactive"
    (change,) = configuration_changes("db", DESIRED, {"desired": DESIRED, "entries": entries}, entries)
    assert change.summary == "unit ssh.service is inactive, not active"


def test_of_some_units_only_the_start_at_boot_matters() -> None:
    entries = {"base": {"boot_units": {"clock.service": {"boot": "enabled"}}}}
    now = {"base": {"boot_units": {"clock.service": {"boot": "disabled"}}}}
    (change,) = configuration_changes("db", {"base": "h"}, {"desired": {"base": "h"}, "entries": entries}, now)
    assert change.summary == "unit clock.service is disabled at boot, not enabled"


def test_a_new_guest_needs_every_role() -> None:
    (change,) = configuration_changes("db", DESIRED, {}, {})
    assert change.summary == "not configured yet"
    assert list(change.parts) == list(DESIRED)


def test_a_changed_definition_names_its_role_only() -> None:
    (change,) = configuration_changes("db", {**DESIRED, "ssh": "h2"}, MANIFEST, ENTRIES)
    assert list(change.parts) == ["ssh"]


def test_an_instance_no_longer_declared_is_to_stop() -> None:
    wanted = {key: value for key, value in DESIRED.items() if key != "stack/redis"}
    (change,) = configuration_changes("db", wanted, MANIFEST, ENTRIES)
    assert list(change.parts) == ["stack/redis"]
    assert "its data stays" in change.summary


def test_many_differences_are_counted() -> None:
    states = copy.deepcopy(ENTRIES)
    states["ssh"]["files"] = {"/etc/a": None}
    wanted = {f"stack/{n}": "h" for n in range(6)} | DESIRED
    (change,) = configuration_changes("db", wanted, MANIFEST, states)
    assert change.summary.endswith("; and 3 more")


def test_missing_and_readable_secrets_are_told_by_instance() -> None:
    wanted = {"/run/hub/a/x": ("a@db", 1000), "/run/hub/a/y": ("a@db", 1000), "/run/hub/b/z": ("b@db", 999)}
    actual = {
        "/run/hub/a/x": None,
        "/run/hub/a/y": {"mode": "0400", "owner": "1000:1000"},
        "/run/hub/b/z": {"mode": "0444", "owner": "999:999"},
    }
    first, second = secret_changes(wanted, actual)
    assert (first.subject, first.action, first.summary) == ("a@db", "deliver", "/run/hub/a/x is missing")
    assert second.summary == "/run/hub/b/z has mode 0444 and owner 999:999"


def test_a_role_left_unfinished_is_named() -> None:
    manifest = {"desired": {**DESIRED, "ssh": "unfinished"}, "entries": ENTRIES}
    (change,) = configuration_changes("db", DESIRED, manifest, ENTRIES)
    assert list(change.parts) == ["ssh"]
    assert change.summary == "ssh was left unfinished"


def test_an_instance_that_waits_is_left_as_it_is_there_or_not() -> None:
    """Neither new, nor to be made anew, nor taken for one that nobody declares; the rest of its guest is compared."""
    wanted = {**DESIRED, "ssh": "other", "stack/new": "h", "stack/redis": "other"}
    states = copy.deepcopy(ENTRIES)
    states["stack/redis"]["stacks"]["redis"] = {}
    (change,) = configuration_changes("db", wanted, MANIFEST, states, ["stack/new", "stack/redis"])
    assert (change.parts, change.summary) == (("ssh",), "ssh is to be made anew: its definition changed")
    assert not change.restart
    (change,) = configuration_changes("db", wanted, {}, {}, ["stack/new"])
    assert change.parts == tuple(key for key in wanted if key != "stack/new")


def test_a_role_of_our_own_that_is_no_longer_needed_goes() -> None:
    unit = {"hub-door.service": {"boot": "static", "active": "active"}}
    ours = {"files": {"/etc/systemd/system/hub-door.service": FILE}, "units": unit}
    packaged = {"files": {"/etc/docker/daemon.json": FILE}, "units": {"docker.service": unit["hub-door.service"]}}
    entries = {**ENTRIES, "door": ours, "docker": packaged}
    manifest = {"desired": {**DESIRED, "door": "h1", "docker": "h1"}, "entries": entries}
    (change,) = configuration_changes("db", DESIRED, manifest, entries)
    assert change.summary == "door is no longer needed: it goes"
    assert change.parts == ("door",)


def test_entries_of_a_list_come_and_go_one_by_one() -> None:
    found = list_differences("allowed host", ["old.example", "kept.example"], ["kept.example", "new.example"])
    assert found == (
        Difference("allowed host", None, "new.example"),
        Difference("allowed host", "old.example", None),
    )
    assert list_differences("allowed host", ["a"], ["a"]) == ()


def test_a_list_of_a_guest_is_shown_in_part() -> None:
    found = list_differences("allowed host", [f"{number}.example" for number in range(1000)], [])
    assert len(found) == 51
    assert found[-1].actual == "and 950 more"
