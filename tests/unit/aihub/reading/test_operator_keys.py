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
        "ssh-ed25519 short\n",
        f"{KEY[:60]} ada@example.org\n",
        KEY.replace("ssh-ed25519 ", "ssh-rsa ") + "\n",
        KEY.replace(" ", "\n"),
    ],
)
def test_a_file_that_is_more_or_less_than_keys_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.pub").write_text(content)
    keys, wrong, _ = operator_keys.read(["x.pub"], tmp_path, PVE)
    assert keys == ()
    assert wrong[0].place == ("operator", "ssh_keys", 0)


COMMENTS = {
    "me@work": "me@work",
    "Ada's laptop (work, old)": "Ada's laptop (work, old)",
    " two  blanks": "two blanks",
    "ada@bürö": "ada@buro",
    "\u0430\u0434\u0430@home": "___@home",
    "DOMAIN\\ada@WIN-PC": "DOMAIN\\ada@WIN-PC",
    "ada: [laptop] #2 {{ 7 }} \x1b[31m$(id)": "ada_ _laptop_ _2 __ 7 __ __31m_(id)",
    "x" * 300: "x" * 100,
    "": "",
}


@pytest.mark.parametrize("comment", COMMENTS)
def test_whatever_its_comment_is_a_key_is_taken(tmp_path: Path, comment: str) -> None:
    bare = KEY.rpartition(" ")[0]
    (tmp_path / "ada.pub").write_text(f"{bare} {comment}\n")
    expected = (f"{bare} {COMMENTS[comment]}".strip(),)
    assert operator_keys.read(["ada.pub"], tmp_path, PVE) == (expected, [], [])
    assert operator_keys.recovery(["ada.pub"], tmp_path, PVE, needed=True) == (expected, [], [])


@pytest.mark.parametrize(
    "content",
    [
        b"%s\r\n",  # of Windows
        b"\xef\xbb\xbf%s",  # marked as UTF-8
        b"  \t%s\t \n\n",
        b"# \xfcber\n%s",
    ],
)
def test_however_its_file_is_written_a_key_is_taken(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ada.pub").write_bytes(content % KEY.encode())
    assert operator_keys.read(["ada.pub"], tmp_path, PVE) == ((KEY,), [], [])


def test_a_comment_in_another_encoding_is_no_reason_to_keep_somebody_out(tmp_path: Path) -> None:
    (tmp_path / "ada.pub").write_bytes(KEY.encode() + b" (b\xfcro)\n")
    (key,), wrong, warnings = operator_keys.read(["ada.pub"], tmp_path, PVE)
    assert (key, wrong, warnings) == (f"{KEY} (b_ro)", [], [])


OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICzkdNXIzyBqEISLoVlCi/RPMZZt0I+7u6DwwySOEoki bob"


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (f'from="10.0.0.0/8" {OTHER}', "line 2 has options before its key, which would be lost"),
        ("ssh-ed25519 AAAAC3Nz cut off", "line 2 is none of public keys"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", "line 2 is none of public keys"),
        ("<<<<<<< HEAD", "line 2 is none of public keys"),
    ],
)
@pytest.mark.parametrize("target", [LAB, PVE])
def test_a_line_that_is_not_taken_is_told_and_stops_no_other(
    tmp_path: Path, bad: str, said: str, target: Target
) -> None:
    (tmp_path / "all.pub").write_text(f"{KEY}\n{bad}\n{OTHER}\n")
    keys, wrong, (warning,) = operator_keys.read(["all.pub"], tmp_path, target)
    assert (keys, wrong) == ((KEY, OTHER), [])
    assert warning.startswith(f"operator.ssh_keys: all.pub {said}")
    assert warning.endswith("it is not taken")
    assert "AAAA" not in warning


def test_a_key_of_two_names_is_one(tmp_path: Path) -> None:
    assert operator_keys.read([KEY, f"{KEY} too"], tmp_path, PVE) == ((KEY,), [], [])


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
