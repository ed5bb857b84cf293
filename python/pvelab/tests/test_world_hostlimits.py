"""Only limits that are too low are touched."""

from pathlib import Path

import pytest
from pvelab.world import control, hostlimits, lab, teardown


def test_only_what_is_too_low_is_named_with_its_present_value(tmp_path: Path) -> None:
    for name, value in {"fs/a": 128, "fs/b": 9000}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"{value}\n")
    assert hostlimits.lower({"fs/a": 8192, "fs/b": 8192, "fs/not-in-this-kernel": 1}, tmp_path) == {"fs/a": 128}


def test_limits_are_put_back_by_the_last_lab_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit, runtime = tmp_path / "fs/a", tmp_path / "run"
    limit.parent.mkdir()
    limit.write_text("128\n")
    keys = tmp_path / "keys/b"
    keys.parent.mkdir()
    keys.write_text("200\n")
    monkeypatch.setattr(hostlimits, "_KERNEL", tmp_path)
    monkeypatch.setattr(hostlimits, "RUNTIME", runtime)
    monkeypatch.setattr(hostlimits, "GIVEN", {"fs/a": 8192})
    monkeypatch.setattr(hostlimits, "OPEN", ("keys/b",))
    (runtime / "one").mkdir(parents=True)
    hostlimits.raise_limits()
    assert keys.read_text() == "200\n", "what a Proxmox VE node does not have of itself, a lab does not give"
    keys.write_text("20000\n")  # by the node
    hostlimits.raise_limits()
    assert (limit.read_text(), keys.read_text()) == ("8192\n", "20000\n")
    hostlimits.restore_limits()
    assert limit.read_text() == "8192\n"
    (runtime / "one").rmdir()
    hostlimits.restore_limits()
    assert (limit.read_text(), keys.read_text()) == ("128\n", "200\n")
    assert not (runtime / "limits.json").exists()


def test_a_removal_that_was_killed_before_its_end_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fs").mkdir()
    (tmp_path / "fs" / "a").write_text("128\n")
    for module in (hostlimits, lab, teardown):
        monkeypatch.setattr(module, "RUNTIME", tmp_path / "run")
    for found in (lab, teardown):
        monkeypatch.setattr(found, "STATES", tmp_path / "states")
    monkeypatch.setattr(hostlimits, "_KERNEL", tmp_path)
    monkeypatch.setattr(hostlimits, "GIVEN", {"fs/a": 8192})
    monkeypatch.setattr(hostlimits, "OPEN", ())
    hostlimits.raise_limits()
    assert control.down("gone", purge=True)["state"] is None
    assert (tmp_path / "fs" / "a").read_text() == "128\n"
    assert not (tmp_path / "run").exists()
