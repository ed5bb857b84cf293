"""`aihub init`: a starter file that loads as it is, explains every key, and never overwrites."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from aihub import paths
from aihub.errors import InvalidInput
from aihub.reading import init, load

from tests.unit.aihub import cases


def test_the_starter_file_loads_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "hub.yml"
    init.write(path)
    hub = load.load(path, paths.STACKS, target="lab")
    assert list(hub.guests) == ["db"]


def test_the_starter_file_loads_with_everything_in_it_uncommented(tmp_path: Path) -> None:
    path = tmp_path / "hub.yml"
    # A comment that is a key stands two characters to the right of where the key belongs.
    lines = [
        re.sub(r"^( *)# ( *(?:[a-z0-9_]+):(?: \S.*)?)$", r"\1\2", line) for line in init.text(tmp_path).splitlines()
    ]
    path.write_text("\n".join(line for line in lines if "yaml-language" not in line and ". " not in line) + "\n")
    messages = [problem.message for problem in cases.hub_problems(path)]
    # The examples of keys that exclude each other are all there now, so rules between them speak; no key is unknown.
    assert not [text for text in messages if "unknown key" in text or "not known" in text or "YAML" in text], messages


def test_the_starter_file_offers_nothing_that_is_refused_as_not_yet(tmp_path: Path) -> None:
    text = init.text(tmp_path)
    assert "vlan:" in text
    assert "entry:" not in text
    assert "not yet" not in text


def test_each_starter_file_has_an_id_of_its_own(tmp_path: Path) -> None:
    found = [re.search(r'id: "([0-9a-f]{16})"', init.text(tmp_path)) for _ in range(2)]
    assert found[0] and found[1] and found[0][1] != found[1][1]


def test_a_file_that_is_there_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "hub.yml"
    path.write_text("mine\n")
    with pytest.raises(InvalidInput, match="never overwrites"):
        init.write(path)
    assert path.read_text() == "mine\n"


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="can't be written"):
        init.write(tmp_path / "nowhere" / "hub.yml")
