"""The program that runs on guests: places files exactly, records only what it is told to, reveals no secret."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aihub import paths
from aihub.bundle import bundle
from aihub.guests.probe.answers import Placed
from aihub.ssh.programs import answer

from tests.unit.aihub.guests.probe.program import Program

ME = f"{os.geteuid()}:{os.getegid()}"
on_guest = Program()


def place(path: Path, **wanted: Any) -> list[str]:
    return list(on_guest.place({"wanted": [{"path": str(path), "owner": ME, **wanted}]})["changed"])


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_a_file_is_placed_once(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file"
    assert place(target, content="one\n", mode="0600") == [str(target)]
    assert place(target, content="one\n", mode="0600") == []
    assert (target.read_text(), target.stat().st_mode & 0o7777) == ("one\n", 0o600)
    assert names(target.parent) == ["file"]


def test_another_mode_is_set_right(tmp_path: Path) -> None:
    target = tmp_path / "file"
    place(target, content="one\n")
    target.chmod(0o666)
    assert place(target, content="one\n") == [str(target)]
    assert target.stat().st_mode & 0o7777 == 0o644


def test_a_link_in_a_files_place_is_replaced_and_its_target_kept(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("other\n")
    (tmp_path / "file").symlink_to("other")
    place(tmp_path / "file", content="one\n")
    assert not (tmp_path / "file").is_symlink()
    assert (tmp_path / "other").read_text() == "other\n"


def test_a_text_that_validation_refuses_leaves_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old\n")
    with pytest.raises(SystemExit, match="refuses the new text"):
        place(target, content="new\n", validate=["grep", "-q", "good"])
    assert target.read_text() == "old\n"
    assert names(tmp_path) == ["file"]


def test_a_check_changes_nothing(tmp_path: Path) -> None:
    wanted = [{"path": str(tmp_path / "file"), "content": "x", "owner": ME}]
    assert on_guest.place({"check": True, "wanted": wanted})["changed"] == [str(tmp_path / "file")]
    assert names(tmp_path) == []


def test_a_secrets_state_says_nothing_of_its_content(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2")
    (tmp_path / "secret").chmod(0o400)
    assert on_guest.secret_state(str(tmp_path / "secret")) == {"mode": "0400", "owner": ME}
    assert on_guest.secret_state(str(tmp_path / "none")) is None


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "manifest.json"
    on_guest.put(monkeypatch, "MANIFEST", str(path))
    on_guest.put(monkeypatch, "adopt", lambda *_: None)
    on_guest.put(monkeypatch, "every_container", lambda: [])
    return path


def test_a_stack_that_is_no_longer_declared_is_remembered_until_it_was_taken_away(manifest: Path) -> None:
    request = {
        "action": "record",
        "desired": {"ssh": "1", "stack/notes": "1"},
        "entries": {"ssh": {}, "stack/notes": {}},
    }
    on_guest.record(request)
    on_guest.record({"action": "record", "desired": {"ssh": "2"}, "entries": {"ssh": {}}})
    assert json.loads(manifest.read_text())["desired"] == {"ssh": "2", "stack/notes": "1"}
    on_guest.record({"action": "record", "desired": {"ssh": "2"}, "entries": {}, "stacks_gone": ["notes"]})
    assert json.loads(manifest.read_text())["desired"] == {"ssh": "2"}


DOOR = "hub-door.service"


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is asked of systemd; its units and our configuration lie in the test's own folder."""
    asked: list[str] = []
    really = subprocess.run

    def run(argv: list[str], **options: Any) -> Any:
        asked.append(" ".join(argv))
        return really(["true"], **options)

    monkeypatch.setattr(on_guest.subprocess, "run", run)
    on_guest.put(monkeypatch, "unit_states", lambda names: {n: {"boot": "static", "active": "inactive"} for n in names})
    on_guest.put(monkeypatch, "every_container", lambda: [])
    on_guest.put(monkeypatch, "clear_after_docker", lambda: None)
    on_guest.put(monkeypatch, "UNITS", f"{tmp_path}/units/")
    on_guest.put(monkeypatch, "CONFIGURATION", str(tmp_path / "etc"))
    for folder in ("units", "etc/door"):
        (tmp_path / folder).mkdir(parents=True)
    return asked


def test_a_role_that_is_no_longer_needed_goes_with_its_units_and_files(
    manifest: Path, tmp_path: Path, ran: list[str]
) -> None:
    unit, config = tmp_path / "units" / DOOR, tmp_path / "etc" / "door" / "Caddyfile"
    unit.touch(), config.touch()
    record({"ssh": "1", "door": "1"}, {"ssh": {}, "door": {"files": [str(config), str(unit)], "units": [DOOR]}})
    assert record({"ssh": "1"}, {})
    assert ran == [
        f"systemctl disable --now {DOOR}",
        f"systemctl reset-failed {DOOR}",
        "systemctl daemon-reload",
    ]
    assert names(tmp_path / "units") == names(tmp_path / "etc") == []
    assert set(json.loads(manifest.read_text())["entries"]) == {"ssh"}
    assert not record({"ssh": "1"}, {})


def test_what_a_package_brought_stops_when_its_role_goes_and_its_files_go(
    manifest: Path, tmp_path: Path, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The guest lost its last stack: Docker runs no more, and stays installed."""
    config = tmp_path / "etc" / "daemon.json"
    config.touch()
    record(
        {"docker": "1"}, {"docker": {"files": [str(config)], "units": ["docker.service"], "boot_units": ["x.timer"]}}
    )
    on_guest.put(
        monkeypatch, "unit_states", lambda names: {n: {"boot": "disabled", "active": "inactive"} for n in names}
    )
    assert record({}, {})
    assert ran[0] == "systemctl disable --now docker.service"
    assert not [argv for argv in ran if "x.timer" in argv], "what only starts at boot is the distribution's"
    assert not config.exists()
    assert json.loads(manifest.read_text())["entries"] == {}


def test_packages_are_no_longer_held_when_their_role_goes(
    manifest: Path, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_guest.put(monkeypatch, "held", lambda: {"driver", "somebodys"})
    record({"nvidia": "1"}, {"nvidia": {"holds": ["driver", "other"]}})
    assert json.loads(manifest.read_text())["entries"]["nvidia"]["holds"] == {"driver": True, "other": False}
    assert record({}, {})
    assert ran == ["apt-mark unhold driver"]


def test_a_role_s_folders_go_with_it(manifest: Path, ran: list[str], tmp_path: Path) -> None:
    folder, link = tmp_path / "state", tmp_path / "link"
    (folder / "inner").mkdir(parents=True)
    link.symlink_to(tmp_path)
    record({"restic": "1"}, {"restic": {"folders": [str(folder), str(link), str(tmp_path / "none")]}})
    assert record({}, {})
    assert not folder.exists()
    assert link.is_symlink()


def test_docker_stays_while_a_container_runs_that_is_nobodys(
    manifest: Path, ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    on_guest.put(monkeypatch, "every_container", lambda: [container("probe")])
    record({"docker": "1"}, {"docker": {"units": ["docker.service"]}})
    record({"ssh": "1"}, {"ssh": {}})
    assert ran == []
    assert set(json.loads(manifest.read_text())["entries"]) == {"docker", "ssh"}


def container(name: str, project: str = "", folder: str = "", **labels: str) -> dict[str, Any]:
    """A container as Docker lists it."""
    own = {f"{on_guest.PROJECT}": project, f"{on_guest.PROJECT}.working_dir": folder} if project else {}
    more = {"com.docker.compose.service": name, "com.docker.compose.container-number": "1", **labels}
    return {
        "Id": name * 12,
        "Names": [f"/{name}"],
        "ImageID": "sha256:1",
        "State": "running",
        "Status": "Up",
        "Labels": {**own, **more},
    }


@pytest.fixture
def guest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A guest's folders, in the test's own."""
    for name, place in {"UNITS": "units/", "HOME": "opt", "SECRETS": "run"}.items():
        (tmp_path / place).mkdir(exist_ok=True)
        on_guest.put(monkeypatch, name, f"{tmp_path}/{place}")
    on_guest.put(monkeypatch, "in_docker", lambda: [])
    on_guest.put(monkeypatch, "strange_tables", lambda listed, docker: [])
    return tmp_path


def unit(guest: Path, name: str, first: str) -> None:
    (guest / "units" / name).write_text(f"# {first}\n[Unit]\n")


def listed(**entries: Any) -> dict[str, Any]:
    return {"desired": dict.fromkeys(entries, "1"), "entries": entries}


def test_what_is_ours_says_so_itself_and_is_not_guessed_by_its_name(guest: Path) -> None:
    """A unit by its first line, a container by the folder of its Compose project."""
    unit(guest, "hub-notes.service", "notes: written by aihub, changes are undone")
    unit(guest, "hub-cap.service", "somebody's own")
    unit(guest, "hub-copied.service", "notes: written by aihub, changes are undone")
    unit(guest, "other.service", "somebody's own")
    (guest / "opt" / "half").mkdir()
    (guest / "run" / "agent").mkdir()
    (guest / "run" / "agent" / "status.json").touch()
    every = [
        container("shop-1", "shop", f"{guest}/opt/shop"),
        container("else-1", "else", "/home/me/else"),
        container("probe"),
    ]
    found = on_guest.there(listed(ssh={}), every)
    assert found["stacks"] == {
        "half": [f"folder {guest}/opt/half"],
        "notes": ["unit hub-notes.service"],
        "shop": ["container shop-1"],
    }
    assert [(one["kind"], one["name"]) for one in found["others"]] == [
        ("container", "else-1"),
        ("container", "probe"),
        ("unit", "hub-cap.service"),
        ("unit", "hub-copied.service"),
    ]


def test_what_the_manifest_lists_is_nothing_else(guest: Path) -> None:
    unit(guest, "hub-door.service", "Ansible managed")
    files = [f"{guest}/units/hub-door.service"]
    every = [container("notes", "notes", f"{guest}/opt/notes")]
    found = on_guest.there(listed(door={"files": files}, **{"stack/notes": {"stacks": ["notes"]}}), every)
    assert found == {"stacks": {"notes": ["container notes"]}, "others": []}
    assert on_guest.there({"desired": {}, "entries": {}}, [])["others"] == [], (
        "a lost manifest makes no role a stranger"
    )
    strange = on_guest.there(listed(ssh={}), [])["others"]
    assert strange == [{"kind": "unit", "name": "hub-door.service"}]


def test_what_compose_ran_once_is_no_service_of_its_stack(guest: Path) -> None:
    once = container("notes-run-1", "notes", f"{guest}/opt/notes", **{"com.docker.compose.oneoff": "True"})
    assert on_guest.containers([once]) == {}
    found = on_guest.there(listed(**{"stack/notes": {"stacks": ["notes"]}}), [once])
    assert found["others"] == [{"kind": "container", "name": "notes-run-1"}]


def test_networks_volumes_and_tables_that_are_nobodys_are_seen(guest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_guest.put(monkeypatch, "DOCKER_SOCKET", str(guest))
    here = [("network", "hub-notes", "notes"), ("network", "mine", ""), ("volume", "left", "notes")]
    on_guest.put(monkeypatch, "in_docker", lambda: here)
    on_guest.put(monkeypatch, "strange_tables", lambda listed, docker: [*listed, str(docker)])
    found = on_guest.there(listed(docker={"units": ["docker.service"], "tables": ["inet hub"]}), [])
    assert found["stacks"] == {"notes": ["network hub-notes"]}
    assert [(one["kind"], one["name"]) for one in found["others"]] == [
        ("network", "mine"),
        ("table", "True"),
        ("table", "inet hub"),
        ("volume", "left"),
    ]


def test_a_table_with_anybody_elses_rule_is_not_dockers_alone() -> None:
    chain = {"chain": {"family": "ip", "table": "nat", "name": "POSTROUTING", "hook": "postrouting"}}
    jump = {"rule": {"chain": "POSTROUTING", "expr": [{"jump": {"target": "DOCKER"}}]}}
    inside = {"rule": {"chain": "DOCKER", "expr": [{"counter": {}}]}}
    bridge = {"rule": {"chain": "POSTROUTING", "expr": [{"match": {"right": "br-notes"}}]}}
    own: list[dict[str, Any]] = [chain, {"chain": {"name": "DOCKER"}}, jump, inside, bridge]
    assert on_guest.dockers_alone(own)
    assert not on_guest.dockers_alone([*own, {"rule": {"chain": "POSTROUTING", "expr": [{"masquerade": None}]}}])
    assert not on_guest.dockers_alone([*own, {"chain": {"name": "MINE"}}])


def test_a_stack_leaves_with_all_that_is_its_own_whatever_is_missing(
    guest: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder is gone, so Compose knows nothing of it; a unit that is called alike and not ours stays."""
    ran: list[list[str]] = []

    def run(argv: list[str], **_: Any) -> subprocess.CompletedProcess[bytes]:
        ran.append(argv)
        return subprocess.CompletedProcess(argv, 0, b"", b"")

    monkeypatch.setattr(on_guest.subprocess, "run", run)
    on_guest.put(monkeypatch, "unit_states", lambda names: {n: {"active": "inactive"} for n in names})
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    on_guest.put(monkeypatch, "DOCKER_SOCKET", str(guest))
    on_guest.put(monkeypatch, "LOGROTATE", f"{guest}/logrotate-")
    every = [container("notes-1", "notes", f"{guest}/opt/notes"), container("other-1", "notes", "/home/me/notes")]
    networks = [{"Id": "n1", "Labels": {on_guest.PROJECT: "notes"}}, {"Id": "n2", "Labels": None}]
    every[0]["Mounts"] = [{"Type": "volume", "Name": "a" * 64}, {"Type": "bind"}, {"Type": "volume", "Name": "mine"}]
    dangling = [{"Volumes": [{"Name": "a" * 64}, {"Name": "b" * 64}, {"Name": "mine"}]}]
    on_guest.put(monkeypatch, "ask_docker", lambda *paths: [every, networks] if len(paths) == 2 else dangling)
    unit(guest, "hub-notes.service", "notes: written by aihub, changes are undone")
    (guest / "run" / "notes").mkdir()
    assert on_guest.leave({"stacks": ["notes"], "check": True}) == {"left": ["notes"]}
    assert ran == []
    assert on_guest.leave({"stacks": ["notes"]}) == {"left": ["notes"]}
    assert names(guest / "units") == names(guest / "run") == []
    docker = [argv[1:] for argv in ran if argv[0] == "docker"]
    assert docker == [
        ["stop", "notes-1" * 12],
        ["rm", "--force", "--volumes", "notes-1" * 12],
        ["volume", "rm", "a" * 64],
        ["network", "rm", "n1"],
    ]
    assert on_guest.leave({"stacks": ["notes"]}) == {"left": ["notes"]}, "fine where nothing is left"


def test_without_names_those_leave_that_the_manifest_lists_and_nobody_declares(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[str] = []
    on_guest.put(monkeypatch, "leave_one", left.append)
    record({"ssh": "1", "stack/a": "1", "stack/b": "1"}, {"ssh": {}, "stack/a": {}, "stack/b": {}})
    assert on_guest.leave({"declared": ["a"]}) == {"left": ["b"]}
    assert left == ["b"]


def test_the_manifest_remembers_what_each_part_was_made_from(manifest: Path) -> None:
    request = {
        "desired": {"a": "1", "b": "1"},
        "entries": {"a": {}, "b": {}},
        "made_from": {"a": {"x": "1"}, "b": {"y": "1"}},
    }
    on_guest.record(request)
    on_guest.record({**request, "entries": {"a": {}}, "made_from": {"a": {"x": "2"}, "b": {"y": "2"}}})
    assert json.loads(manifest.read_text())["made_from"] == {"a": {"x": "2"}, "b": {"y": "1"}}


def record(desired: dict[str, str], entries: dict[str, Any]) -> bool:
    return bool(on_guest.record({"action": "record", "desired": desired, "entries": entries})["changed"])


def test_recording_twice_changes_nothing(manifest: Path) -> None:
    assert record({"a": "1"}, {"a": {"files": [str(manifest)]}})
    assert record({"a": "1"}, {"a": {"files": []}})
    assert not record({"a": "1"}, {"a": {"files": []}})


def test_what_did_not_run_keeps_its_old_state_and_hash(manifest: Path) -> None:
    record({"a": "1", "b": "1"}, {"a": {}, "b": {}})
    record({"a": "2", "b": "2"}, {"a": {}})
    assert json.loads(manifest.read_text())["desired"] == {"a": "2", "b": "1"}


def test_what_nobody_wants_any_more_is_forgotten(manifest: Path) -> None:
    record({"a": "1", "b": "1"}, {"a": {}, "b": {}})
    record({"a": "1"}, {})
    assert set(json.loads(manifest.read_text())["entries"]) == {"a"}


def test_a_broken_manifest_counts_as_none(manifest: Path) -> None:
    manifest.write_text('{"format": 99')
    assert on_guest.read_manifest()["desired"] == {}


def test_a_role_that_died_before_it_was_recorded_says_changed_again(manifest: Path, tmp_path: Path) -> None:
    wanted = {"path": str(tmp_path / "file"), "owner": ME, "mode": "0600", "content": "one\n"}
    request = {"role": "ssh", "wanted": [wanted]}
    assert on_guest.place(request)["changed"] == [wanted["path"]]
    assert json.loads(manifest.read_text())["desired"]["ssh"] == on_guest.UNFINISHED
    assert on_guest.place(request)["changed"] == ["ssh: unfinished"]  # the file is right, who reads it was not told
    on_guest.record({"desired": {"ssh": "h1"}, "entries": {"ssh": {"files": [wanted["path"]]}}})
    assert on_guest.place(request)["changed"] == []


def file_of(path: Path) -> dict[str, str]:
    return {"path": str(path), "owner": ME, "content": "one\n"}


def test_a_file_that_an_entry_no_longer_has_is_removed(manifest: Path, tmp_path: Path) -> None:
    """A role's by its whole list, a stack's by the list it comes with; another entry's and strangers' stay."""
    old, new, others, strange = (tmp_path / name for name in ("old", "new", "others", "strange"))
    for path in (old, new, others, strange):
        path.write_text("one\n")
    entries = {"base": {"files": [str(new), str(old), str(others)]}, "ssh": {"files": [str(others)]}}
    record({"base": "1", "ssh": "1"}, entries)
    request = {"role": "base", "wanted": [file_of(new)]}
    assert on_guest.place({**request, "check": True})["changed"] == [str(old)]
    assert old.exists()
    assert on_guest.place(request)["changed"] == [str(old)]
    assert [path.exists() for path in (old, new, others, strange)] == [False, True, True, True]

    also = {"stack/x": {"files": [str(new), str(others), str(tmp_path)]}}
    record({"base": "1", "ssh": "1", "stack/x": "1"}, {"base": {}, "ssh": {}, **also})
    kept = {"wanted": [file_of(new)], "lists": {"stack/x": [str(new)]}}
    assert on_guest.place({"wanted": [file_of(new)]})["changed"] == [], "without a list nothing is judged"
    assert on_guest.place(kept)["changed"] == [str(others)]
    assert tmp_path.exists(), "a directory may hold data"


def test_it_runs_from_stdin_as_it_does_on_a_guest() -> None:
    program = bundle(Path(on_guest.__file__))
    assert program.isascii()
    command = [sys.executable, "-c", (paths.ROOT / "python/aihub/ssh/from_stdin.py").read_text(), str(len(program))]
    request = json.dumps({"action": "place", "wanted": []}).encode()
    result = subprocess.run(command, input=program + request, capture_output=True, check=True)
    found = json.loads(result.stdout)
    assert found["changed"] == []
    assert found["system"] in Path("/etc/os-release").read_text()


def test_what_a_hand_changed_since_it_was_placed_is_not_recorded_as_ours(manifest: Path, tmp_path: Path) -> None:
    """Files are as they were to be; of the same definition a unit keeps what was recorded, of another it is new."""
    path = tmp_path / "file"
    request = {"role": "ssh", "wanted": [{**file_of(path), "mode": "0600"}]}
    entries = {"ssh": {"files": [str(path)]}}
    on_guest.place(request)
    path.write_text("by hand\n"), path.chmod(0o666)
    record({"ssh": "1"}, entries)
    kept = json.loads(manifest.read_text())
    right = kept["entries"]["ssh"]["files"][str(path)]
    assert right == on_guest.state_of(request["wanted"][0])
    assert on_guest.file_state(str(path)) != right
    assert "placed" not in kept
    assert not record({"ssh": "1"}, entries), "nor by a run that places nothing"
    assert json.loads(manifest.read_text()) == kept


def test_a_record_that_took_a_hands_work_for_ours_is_put_right(manifest: Path, tmp_path: Path) -> None:
    """As an older version left it: the file is as it is to be, and the record says otherwise."""
    path = tmp_path / "file"
    record({"ssh": "1"}, {"ssh": {"files": [str(path)]}})
    path.write_text("one\n")
    on_guest.place({"role": "ssh", "wanted": [file_of(path)]})
    record({"ssh": "1"}, {"ssh": {"files": [str(path)]}})
    assert json.loads(manifest.read_text())["entries"]["ssh"]["files"][str(path)] == on_guest.state_of(file_of(path))


def test_what_was_placed_for_others_waits_for_its_record(manifest: Path, tmp_path: Path) -> None:
    path = tmp_path / "file"
    on_guest.place({"role": "base", "wanted": [file_of(path)]})
    record({"base": "1", "ssh": "1"}, {"ssh": {}})
    path.write_text("by hand\n")
    record({"base": "1", "ssh": "1"}, {"base": {"files": [str(path)]}})
    assert json.loads(manifest.read_text())["entries"]["base"]["files"][str(path)] == on_guest.state_of(file_of(path))


def test_rules_are_recorded_as_they_were_loaded(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_guest.put(monkeypatch, "table_state", lambda name: "by hand")
    record({"firewall": "1"}, {"firewall": {"tables": {"inet hub": "loaded"}}})
    assert json.loads(manifest.read_text())["entries"]["firewall"]["tables"] == {"inet hub": "loaded"}
    record({"firewall": "1"}, {"firewall": {"tables": {"inet hub": ""}}})
    assert json.loads(manifest.read_text())["entries"]["firewall"]["tables"] == {"inet hub": "by hand"}


def test_a_unit_that_a_hand_took_from_boot_stays_drift_until_its_definition_is_another(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    boot = {"x.service": {"boot": "enabled", "active": "active"}}
    on_guest.put(monkeypatch, "unit_states", lambda names: {name: dict(boot[name]) for name in names})
    entries = {"ssh": {"units": ["x.service"]}}
    record({"ssh": "1"}, entries)
    boot["x.service"]["boot"] = "disabled"
    assert not record({"ssh": "1"}, entries)
    assert record({"ssh": "2"}, entries)
    assert json.loads(manifest.read_text())["entries"]["ssh"]["units"]["x.service"]["boot"] == "disabled"


class Machine:
    """What is asked of systemd, Compose and Docker; units are in the state that a test says."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.state = {"boot": "enabled", "active": "active"}
        self.fails: str = ""
        self.dangling: list[dict[str, str]] = []

    def run(self, argv: list[str], **options: Any) -> subprocess.CompletedProcess[bytes]:
        text = " ".join(argv)
        if "show" not in argv:
            self.asked.append(text)
        failed = bool(self.fails) and self.fails in f"{text} {options.get('cwd')}"
        return subprocess.CompletedProcess(argv, int(failed), b"no\n", b" Container a-1 Recreated\nwhat it said\n")


@pytest.fixture
def machine(manifest: Path, guest: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    found = Machine()
    monkeypatch.setattr(on_guest.subprocess, "run", found.run)
    on_guest.put(monkeypatch, "unit_states", lambda names: {name: dict(found.state) for name in names})
    networks, volumes = [{"Name": "hub-old", "Labels": {on_guest.PROJECT: "a"}}], {"Volumes": found.dangling}
    on_guest.put(monkeypatch, "ask_docker", lambda path: [networks if path == "/networks" else volumes])
    return found


UP = "docker compose up --detach --wait --remove-orphans --quiet-pull"


def bring(*stacks: str, **more: Any) -> dict[str, Any]:
    keys = [f"stack/{name}" for name in stacks]
    networks = {name: ["hub-old"] for name in stacks}
    entries: dict[str, Any] = {key: {} for key in keys}
    request = {"networks": networks, "wanted": [], "lists": {}, "entries": entries, "desired": dict.fromkeys(keys, "1")}
    return on_guest.bring({**request, **more})


def test_what_ran_before_is_as_declared_and_what_did_not_is_started(machine: Machine) -> None:
    assert bring("a") == {"changed": ["Container a-1 Recreated"], "failed": {}}
    assert machine.asked == [UP]
    machine.asked.clear()
    machine.state = {"boot": "disabled", "active": "inactive"}
    assert bring("a")["changed"] == ["hub-a.service: enabled", "hub-a.service: started"]
    assert machine.asked == ["systemctl enable hub-a.service", "systemctl start hub-a.service"]


def test_a_unit_that_tries_again_by_itself_is_stopped_before_anybody_makes_its_containers(machine: Machine) -> None:
    machine.state["active"] = "activating"
    bring("a")
    assert machine.asked == ["systemctl stop hub-a.service", "systemctl start hub-a.service"]


def test_one_that_does_not_start_keeps_no_other_from_it_and_is_not_recorded(machine: Machine, manifest: Path) -> None:
    machine.fails = f"{UP} {on_guest.HOME}/a"
    found = bring("a", "b")
    assert found["failed"] == {"a": "Container a-1 Recreated\nwhat it said"}
    assert json.loads(manifest.read_text())["desired"] == {"stack/b": "1"}


def test_images_are_fetched_again_where_they_were_built_of_something_else(machine: Machine) -> None:
    pull = "docker compose pull --quiet"
    made = {"stack/a": {"image x:1 built from": "1", ".env: A": "1"}}
    for made_from, asked in (
        (made, [pull, UP]),
        (made, [UP]),
        ({"stack/a": {"image x:1 built from": "1", ".env: A": "2"}}, [UP]),
        ({"stack/a": {"image x:1 built from": "2", ".env: A": "2"}}, [pull, UP]),
        ({"stack/a": {".env: A": "2"}}, [UP]),
    ):
        machine.asked.clear()
        assert bring("a", made_from=made_from)["failed"] == {}
        assert machine.asked == asked


def test_an_image_that_could_not_be_fetched_is_asked_for_again_by_the_next_run(machine: Machine) -> None:
    made = {"stack/a": {"image x:1 built from": "1"}}
    machine.fails = "compose pull"
    assert set(bring("a", made_from=made)["failed"]) == {"a"}
    assert UP not in machine.asked
    machine.fails = ""
    machine.asked.clear()
    assert bring("a", made_from=made)["failed"] == {}
    assert machine.asked == ["docker compose pull --quiet", UP]


def test_networks_go_that_a_stack_no_longer_names(machine: Machine) -> None:
    assert bring("a", networks={"a": ["hub-a"]})["changed"] == ["Container a-1 Recreated", "network hub-old"]
    assert machine.asked == [UP, "docker network rm hub-old"]


def test_a_volume_without_a_name_goes_with_the_container_that_a_hand_removed(
    machine: Machine, guest: Path, manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can tell by the volume whose it was: it is remembered while its container is there."""
    old, strange = "a" * 64, "b" * 64
    one = {**container("a-1", "a", f"{guest}/opt/a"), "Mounts": [{"Type": "volume", "Name": old}, {"Type": "bind"}]}
    on_guest.put(monkeypatch, "every_container", lambda: [one])
    bring("a")
    assert json.loads(manifest.read_text())["volumes"] == {"a": [old]}
    on_guest.put(monkeypatch, "every_container", lambda: [])
    record({"ssh": "1", "stack/a": "1"}, {"ssh": {}})
    on_guest.put(monkeypatch, "DOCKER_SOCKET", str(guest))
    on_guest.put(monkeypatch, "in_docker", lambda: [("volume", old, ""), ("volume", strange, "")])
    seen = on_guest.there(on_guest.read_manifest(), [])
    assert seen == {"stacks": {"a": [f"volume {old}"]}, "others": [{"kind": "volume", "name": strange}]}

    machine.dangling += [{"Name": old}, {"Name": strange}]
    machine.asked.clear()
    assert bring("a")["changed"] == ["Container a-1 Recreated", f"volume {old}"]
    assert machine.asked == [UP, f"docker volume rm {old}"]
    assert "volumes" not in json.loads(manifest.read_text())


def test_a_check_brings_nothing_up(machine: Machine, manifest: Path) -> None:
    assert bring("a", check=True) == {"changed": [], "failed": {}}
    assert machine.asked == []
    assert not manifest.exists()


def test_what_a_guest_answers_about_placed_files_is_what_is_believed(tmp_path: Path) -> None:
    done = on_guest.place({"wanted": [{"path": str(tmp_path / "file"), "content": "x", "owner": ME}], "check": True})
    told = answer("guest", json.dumps(done).encode(), Placed)
    assert told["changed"] == [str(tmp_path / "file")]
