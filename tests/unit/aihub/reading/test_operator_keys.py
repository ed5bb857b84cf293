"""The keys of the people who may log in."""

from __future__ import annotations

from pathlib import Path

import pytest
from aihub.model.target import LAB, PVE, Target
from aihub.reading import operator_keys

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJqYwT2kV0Yv2N8pQ9l5b1c3d4e5f6g7h8i9j0k1l2m3 ada@example.org"


def test_files_and_lines_give_keys_each_once(tmp_path: Path) -> None:
    (tmp_path / "ada.pub").write_text(f"# ada\n\n{KEY}\n")
    assert operator_keys.read(["ada.pub", KEY], tmp_path, PVE) == ((KEY,), [], [])


def test_no_key_stops_a_real_node_and_is_a_warning_in_the_lab(tmp_path: Path) -> None:
    keys, wrong, warnings = operator_keys.read([], tmp_path, PVE)
    assert (keys, len(wrong), warnings) == ((), 1, [])
    keys, wrong, warnings = operator_keys.read([], tmp_path, LAB)
    assert (keys, wrong, len(warnings)) == ((), [], 1)


@pytest.mark.parametrize(
    "content",
    [
        "",
        f'command="id" {KEY}\n',
        "-----BEGIN OPENSSH PRIVATE KEY-----\n",
        f"{KEY} more words\n",
        "ssh-ed25519 short\n",
    ],
)
def test_a_file_that_is_more_or_less_than_keys_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.pub").write_text(content)
    keys, wrong, _ = operator_keys.read(["x.pub"], tmp_path, PVE)
    assert keys == ()
    assert wrong[0].place == ("operator", "ssh_keys", 0)


def test_a_missing_file_is_a_warning_in_the_lab(tmp_path: Path) -> None:
    keys, wrong, warnings = operator_keys.read(["nobody.pub"], tmp_path, LAB)
    assert (keys, wrong) == ((), [])
    assert warnings == ["operator.ssh_keys: nobody.pub can't be read: No such file or directory"]


AGE = "age1" + "q" * 58


def test_a_recovery_kit_is_for_age_keys_lines_and_files(tmp_path: Path) -> None:
    (tmp_path / "ada.pub").write_text(f"# ada\n{KEY}\n")
    found = operator_keys.recovery([AGE, "ada.pub", KEY], tmp_path, PVE, needed=True)
    assert found == ((AGE, KEY), [], [])


@pytest.mark.parametrize(
    "content", ["", "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQC7 ada\n", f"AGE-SECRET-KEY-1{'Q' * 58}\n"]
)
def test_a_file_without_a_key_that_a_kit_can_be_for_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.pub").write_text(content)
    keys, (finding,), warnings = operator_keys.recovery(["x.pub"], tmp_path, PVE, needed=True)
    assert (keys, finding.place, warnings) == ((), ("operator", "recovery", 0), [])
    assert "AGE-SECRET" not in finding.message


@pytest.mark.parametrize(("target", "needed", "wrong"), [(PVE, True, 1), (PVE, False, 0), (LAB, True, 0)])
def test_only_a_real_node_with_secrets_needs_a_recovery_key(
    tmp_path: Path, target: Target, needed: bool, wrong: int
) -> None:
    keys, findings, warnings = operator_keys.recovery([], tmp_path, target, needed=needed)
    assert (keys, len(findings), warnings) == ((), wrong, [])


def test_a_missing_recovery_key_is_a_warning_in_the_lab(tmp_path: Path) -> None:
    _, wrong, warnings = operator_keys.recovery(["nobody.pub"], tmp_path, LAB, needed=True)
    assert (wrong, warnings) == ([], ["operator.recovery: nobody.pub can't be read: No such file or directory"])
