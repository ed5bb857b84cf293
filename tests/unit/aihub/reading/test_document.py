"""The YAML reader: plain data, remembered places, no guessing."""

from __future__ import annotations

from pathlib import Path

import pytest
from aihub.errors import InvalidInput
from aihub.reading import document


def _read(folder: Path, text: str) -> document.Document:
    path = folder / "file.yml"
    path.write_text(text)
    return document.read(path)


def test_plain_words_are_what_they_look_like(tmp_path: Path) -> None:
    text = 'a: 1\nb: -7\nc: true\nd: false\ne: null\nf: ~\ng:\nh: "1"\ni: 1.2.3.4\nj: 16GiB\nk: [x, {q: z}]\n'
    assert _read(tmp_path, text).data == {
        "a": 1, "b": -7, "c": True, "d": False, "e": None, "f": None, "g": None,
        "h": "1", "i": "1.2.3.4", "j": "16GiB", "k": ["x", {"q": "z"}],
    }  # fmt: skip


@pytest.mark.parametrize(
    "word", ["yes", "No", "on", "OFF", "y", "True", "0644", "0x1F", "0o17", "22:22", "1_000", "1.10"]
)
def test_quotes_make_text_of_what_is_refused_without(tmp_path: Path, word: str) -> None:
    assert _read(tmp_path, f'a: "{word}"\n').data == {"a": word}
    with pytest.raises(InvalidInput, match="quote it"):
        _read(tmp_path, f"a: {word}\n")


def test_a_key_that_no_terminal_can_show_is_told_by_its_number(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r'duplicate key "\\ud809\\udd44zones"'):
        _read(tmp_path, "\U00012544zones: 1\n\U00012544zones: 2\n")


def test_an_alias_stands_for_its_anchor(tmp_path: Path) -> None:
    assert _read(tmp_path, "a: &x {b: 1}\nc: *x\n").data == {"a": {"b": 1}, "c": {"b": 1}}


def test_a_problem_is_at_its_value_or_at_its_key(tmp_path: Path) -> None:
    found = _read(tmp_path, "guests:\n  db: {vmid: 1, stacks: [a, {b: {replicas: 2}}]}\n")
    assert str(found.problem(("guests", "db", "vmid"), "m")).endswith("file.yml:2:14: guests.db.vmid: m")
    assert found.problem(("guests", "db"), "m", at_key=True).column == 3
    assert found.problem(("guests", "db", "stacks", 1, "replicas"), "m").column == 44
    assert found.problem(("guests", "nobody", "vmid"), "m").line == 2


def test_a_path_never_breaks_the_line_that_shows_it() -> None:
    assert document.show_path(("guests", "db", "stacks", 0)) == "guests.db.stacks[0]"
    assert document.show_path(("guests", "a\nb", "x")) == 'guests."a\\nb".x'
