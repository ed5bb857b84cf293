"""The keys of the people who may log in."""

from __future__ import annotations

from pathlib import Path

import pytest
from aihub import operator_keys

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJqYwT2kV0Yv2N8pQ9l5b1c3d4e5f6g7h8i9j0k1l2m3 ada@example.org"


def test_files_and_lines_give_keys_each_once(tmp_path: Path) -> None:
    (tmp_path / "ada.pub").write_text(f"# ada\n\n{KEY}\n")
    assert operator_keys.read(["ada.pub", KEY], tmp_path, "pve") == ((KEY,), [], [])


def test_no_key_stops_a_real_node_and_is_a_warning_in_the_lab(tmp_path: Path) -> None:
    keys, wrong, warnings = operator_keys.read([], tmp_path, "pve")
    assert (keys, len(wrong), warnings) == ((), 1, [])
    keys, wrong, warnings = operator_keys.read([], tmp_path, "lab")
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
    keys, wrong, _ = operator_keys.read(["x.pub"], tmp_path, "pve")
    assert keys == ()
    assert wrong[0].place == ("operator", "ssh_keys", 0)


def test_a_missing_file_is_a_warning_in_the_lab(tmp_path: Path) -> None:
    keys, wrong, warnings = operator_keys.read(["nobody.pub"], tmp_path, "lab")
    assert (keys, wrong) == ((), [])
    assert warnings == ["operator.ssh_keys: nobody.pub can't be read: No such file or directory"]
