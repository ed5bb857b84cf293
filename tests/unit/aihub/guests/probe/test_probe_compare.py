"""Each kind of thing that can drift on a guest is noticed and named."""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from typing import Any

import pytest
from aihub.guests.probe import compare
from aihub.guests.probe.compare import Found, Wanted, list_differences, secret_changes
from aihub.plan import Change, Difference

FILE = {"content": "abc", "mode": "0644", "owner": "0:0"}
CONTAINER = {"image": "sha256:1", "configuration": "c1", "state": "running", "health": "healthy"}
ENTRIES: dict[str, Any] = {
    "ssh": {"files": {"/etc/a": FILE}, "units": {"ssh.service": {"boot": "enabled", "active": "active"}}},
    "firewall": {"tables": {"inet hub": "t1"}},
    "nvidia": {"holds": {"driver": True}},
    "stack/redis": {"stacks": {"redis": {"redis-1": CONTAINER}}},
}
DESIRED = dict.fromkeys(ENTRIES, "h1")
MANIFEST: dict[str, Any] = {"desired": DESIRED, "entries": ENTRIES}


def configuration_changes(
    guest: str,
    desired: Mapping[str, str],
    manifest: Mapping[str, Any],
    states: Mapping[str, Any],
    left: Collection[str] = (),
    **more: Any,
) -> list[Change]:
    """The changes of a guest where nothing else is than its manifest lists."""
    return compare.configuration_changes(guest, Wanted(desired, left=left), Found(manifest, states, **more))


DRIFT = [
    (("ssh", "files", "/etc/a"), None, "file /etc/a is missing"),
    (("nvidia", "holds", "driver"), False, "package driver is no longer held"),
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


def test_a_container_that_was_recorded_while_it_was_down_or_ill_is_still_drift() -> None:
    entries = copy.deepcopy(ENTRIES)
    entries["stack/redis"]["stacks"]["redis"]["redis-1"] |= {"state": "exited", "health": "unhealthy"}
    (change,) = configuration_changes("db", DESIRED, {"desired": DESIRED, "entries": entries}, entries)
    assert change.summary == (
        "container redis-redis-1 is exited, not running; container redis-redis-1 is unhealthy, not healthy"
    )
    entries["stack/redis"]["stacks"]["redis"]["redis-1"] |= {"state": "running", "health": "none"}
    assert configuration_changes("db", DESIRED, {"desired": DESIRED, "entries": entries}, entries) == []


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
    wanted = {f"stack/{n}": "h" for n in range(32)} | DESIRED
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


RUNS = {"boot": "static", "active": "active"}
DOOR = {"files": {"/etc/systemd/system/hub-door.service": FILE}, "units": {"hub-door.service": RUNS}}
DOCKER = {"files": {"/etc/docker/daemon.json": FILE}, "units": {"docker.service": RUNS}}
WITH_ROLES = {
    "desired": {**DESIRED, "door": "h1", "docker": "h1"},
    "entries": {**ENTRIES, "door": DOOR, "docker": DOCKER},
}


def test_a_role_that_is_no_longer_needed_goes_and_what_stays_of_it_is_said() -> None:
    (change,) = configuration_changes("db", DESIRED, WITH_ROLES, WITH_ROLES["entries"])
    assert change.summary == (
        "door is no longer needed: it goes; docker is no longer needed: docker.service stop, its files go, "
        "its packages and what they keep stay"
    )
    assert change.parts == ("door", "docker")
    assert not change.restart, "no stack is left that it would stop"


def test_docker_stays_for_a_container_that_somebody_started_by_hand_and_both_are_named() -> None:
    wanted, found = Wanted(DESIRED), Found(WITH_ROLES, WITH_ROLES["entries"], others=(("container", "probe"),))
    (change,) = compare.configuration_changes("db", wanted, found)
    assert change.parts == ("door",)
    ours, stays, strange = compare.undeclared("db", wanted, found)
    assert (ours.ours, ours.what) == (True, "door is no longer needed: it goes")
    assert (stays.ours, stays.what) == (
        False,
        "docker is needed by no instance, and stays for the containers that are not ours",
    )
    assert (strange.what, strange.way) == (
        "container probe is not ours and is left alone",
        "docker rm --force --volumes probe",
    )


def test_a_stack_that_runs_on_though_no_manifest_lists_it_is_seen_and_goes() -> None:
    """Its record is lost, or a run died before it: what is there says whose it is."""
    seen = {"notes": ("container notes-notes-1", "unit hub-notes.service"), "redis": ("folder /opt/hub/redis",)}
    (change,) = configuration_changes("db", DESIRED, MANIFEST, ENTRIES, stacks=seen)
    assert change.summary == (
        "stack/notes is no longer declared: it stops, its data stays (container notes-notes-1, unit hub-notes.service)"
    )
    assert (change.parts, change.restarting) == (("stack/notes",), ("notes@db",))
    assert configuration_changes("db", DESIRED, MANIFEST, ENTRIES, ["stack/notes"], stacks=seen) == []


def test_a_guest_without_its_manifest_is_no_new_one() -> None:
    (change,) = configuration_changes("db", DESIRED, {}, {}, stacks={"redis": (), "notes": ()})
    assert change.summary == (
        "its manifest is missing: all roles, what is right goes on; "
        "stack/notes is no longer declared: it stops, its data stays"
    )
    assert (change.parts, change.restarting) == ((*DESIRED, "stack/notes"), ("notes@db",))


PARTS = {
    "image of redis": "valkey/valkey:8.1.8",
    "compose.yml: redis.environment": "1",
    "config/valkey.conf": "1",
    "roles/stack/tasks/main.yml": "1",
    "unit hub-redis.service": "1",
}
CHANGED = [
    ({"image of redis": "valkey/valkey:8.1.9"}, "image of redis valkey/valkey:8.1.8 -> valkey/valkey:8.1.9", True),
    ({"config/valkey.conf": "2"}, "config/valkey.conf changed", True),
    ({"config/more": "1"}, "config/more is new", True),
    ({"compose.yml: redis.environment": "2"}, "compose.yml: redis.environment changed", True),
    ({"unit hub-redis.service": "2"}, "unit hub-redis.service changed", False),
    ({"roles/stack/tasks/main.yml": "2"}, "roles/stack/tasks/main.yml changed", False),
]


@pytest.mark.parametrize(("parts", "text", "restarts"), CHANGED, ids=[text for _, text, _ in CHANGED])
def test_a_changed_definition_names_the_file_the_key_or_the_image(
    parts: dict[str, str], text: str, restarts: bool
) -> None:
    wanted = Wanted({**DESIRED, "stack/redis": "h2"}, {"stack/redis": {**PARTS, **parts}})
    found = Found({**MANIFEST, "made_from": {"stack/redis": PARTS}}, ENTRIES)
    (change,) = compare.configuration_changes("db", wanted, found)
    assert change.summary == f"stack/redis is to be made anew: {text}"
    assert (change.restart, change.restarting) == (restarts, ("redis@db",) if restarts else ())


MANY = [f"config/{number}" for number in range(5)]


def test_what_is_taken_out_of_a_definition_is_named_too_and_many_parts_are_counted() -> None:
    wanted = Wanted({**DESIRED, "stack/redis": "h2"}, {"stack/redis": {"image of redis": "valkey/valkey:8.1.8"}})
    found = Found({**MANIFEST, "made_from": {"stack/redis": {**PARTS, **dict.fromkeys(MANY, "1")}}}, ENTRIES)
    (change,) = compare.configuration_changes("db", wanted, found)
    assert "compose.yml: redis.environment goes, config/0 goes" in change.summary
    assert change.summary.endswith("and 1 more")


@pytest.mark.parametrize(("part", "restarts"), [("docker_proxy", True), ("docker_local_ports", False)])
def test_a_role_that_restarts_what_stacks_run_on_restarts_them_all(part: str, restarts: bool) -> None:
    desired = {**DESIRED, "docker": "h2", "stack/waits": "h1"}
    wanted = Wanted(
        desired, {"docker": {part: "2"}}, ["stack/waits"], {"docker": frozenset({"docker_proxy", "/etc/docker/x"})}
    )
    manifest = {"desired": {**DESIRED, "docker": "h1"}, "entries": ENTRIES, "made_from": {"docker": {part: "1"}}}
    (change,) = compare.configuration_changes("db", wanted, Found(manifest, ENTRIES))
    assert change.restarting == (("redis@db",) if restarts else ())


def test_a_file_that_was_changed_by_hand_restarts_what_its_repair_does() -> None:
    entries = {**ENTRIES, "docker": {"files": {"/etc/docker/x": FILE, "/etc/docker/y": FILE}}}
    wanted = Wanted({**DESIRED, "docker": "h1"}, restarting={"docker": frozenset({"/etc/docker/x"})})
    for name, restarting in (("x", ("redis@db",)), ("y", ())):
        states = copy.deepcopy(entries)
        states["docker"]["files"][f"/etc/docker/{name}"] = None
        (change,) = compare.configuration_changes(
            "db", wanted, Found({**MANIFEST, "desired": wanted.desired, "entries": entries}, states)
        )
        assert change.restarting == restarting


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
