"""What a plan can say of a change: which file, which key, which image."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
from aihub import paths, render
from aihub.guests.probe.parts import bringing
from aihub.model.resolved import Hub
from aihub.reading import load
from aihub.render import containers, parts, sources, stacks
from aihub.state.directory import State

CASES = paths.ROOT / "tests" / "cases" / "stacks"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The stacks of a hub, as files that a test may edit."""
    for source in (paths.STACKS / "vault", CASES / "notes"):
        shutil.copytree(source, tmp_path / "stacks" / source.name)
    for module in (paths, stacks, sources, containers):
        monkeypatch.setattr(module, "STACKS", tmp_path / "stacks")
    return tmp_path


CARD = {
    "    lab: {cores": '    gpus: {big: {id: "10de:2b85", vram: 32GiB}}\n    lab: {cores',
    "disk: 8GiB, stacks: [notes": "disk: 8GiB, gpu: big, stacks: [notes",
}


def made_from(
    folder: Path, guest: str = "app", built: Mapping[str, str] = MappingProxyType({}), card: bool = False
) -> dict[str, dict[str, str]]:
    containers._read.cache_clear()
    text = (paths.ROOT / "tests" / "lab" / "small" / "hub.yml").read_text()
    text = text.replace("vault, redis", "vault").replace("client, notes", "notes")
    for old, new in CARD.items() if card else ():
        assert old in text
        text = text.replace(old, new)
    (folder / "hub.yml").write_text(text)
    hub: Hub = load.load(folder / "hub.yml", folder / "stacks", target="lab")
    state = State(folder / "state")
    state.make()
    state.key.with_suffix(".pub").write_text("ssh-ed25519 AAAA controller\n")
    return render.made_from(replace(hub, built=built), state)[guest]


def test_an_image_under_the_same_name_is_told_by_what_it_is_built_from(folder: Path) -> None:
    image = "valkey/valkey:8.1.9"
    assert not [part for part in made_from(folder)["stack/notes"] if part.endswith(parts.BUILT)]
    made = made_from(folder, built={image: "0123456789abcdef0", "other:1": "1"})["stack/notes"]
    assert {part: text for part, text in made.items() if part.endswith(parts.BUILT)} == {
        f"image {image} built from": "0123456789abcdef"
    }
    assert parts.BUILT == bringing.BUILT, "the program on a guest fetches it again by this"


EDITS = {
    "image: valkey/valkey:8.1.9 -> image: valkey/valkey:8.1.8": {"image of notes"},
    'NOTES_SETTING: "one" -> NOTES_SETTING: "two"': {"compose.yml: notes.environment"},
    "mem_limit: 64m -> mem_limit: 65m": {"compose.yml: notes.mem_limit"},
    "name: notes\n -> name: notes\nx-more: {}\n": {"compose.yml"},
}


@pytest.mark.parametrize("edit", EDITS)
def test_each_edit_of_a_compose_file_changes_the_part_that_it_is_about(folder: Path, edit: str) -> None:
    before = made_from(folder)
    path, (old, _, new) = folder / "stacks" / "notes" / "compose.yml", edit.partition(" -> ")
    path.write_text(path.read_text().replace(old, new, 1))
    now = made_from(folder)
    changed = {
        key
        for key in {*before["stack/notes"], *now["stack/notes"]}
        if before["stack/notes"].get(key) != now["stack/notes"].get(key)
    }
    assert changed == EDITS[edit]
    assert {key for key in before if before[key] != now[key]} == {"stack/notes"}


def test_an_image_is_told_as_it_is_called_and_a_file_by_its_name(folder: Path) -> None:
    before = made_from(folder)["stack/notes"]
    assert before["image of notes"] == "valkey/valkey:8.1.9"
    (folder / "stacks" / "notes" / "config" / "words").write_text("other\n")
    now = made_from(folder)["stack/notes"]
    assert {key for key in now if now[key] != before[key]} == {"config/words"}, "not the label that follows from it"


def test_a_role_is_told_by_its_files_and_by_what_it_is_given(folder: Path) -> None:
    found = made_from(folder)
    assert {"firewall_flows", "roles/firewall/templates/firewall.nft.j2"} <= found["firewall"].keys()
    assert all(len(value) == parts.DIGITS for key, value in found["firewall"].items())


def test_what_restarts_all_stacks_is_really_a_part_of_its_role(folder: Path) -> None:
    """A variable or a file that is called otherwise by now would restart them unseen."""
    found = made_from(folder, card=True)
    for role, names in parts.RESTARTING.items():
        assert {name for name in names if not name.startswith("/")} <= found[role].keys()
        placed = (paths.ROOT / "roles" / role / "vars" / "main.yml").read_text()
        assert [name for name in names if name.startswith("/") and name not in placed] == []


def test_what_python_leaves_beside_a_program_is_no_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A check of this checkout may import a program of a role, or of a stack's config."""
    monkeypatch.setattr(sources, "ROLES", tmp_path)
    program, compiled = tmp_path / "mine" / "files" / "it.py", tmp_path / "mine" / "files" / "__pycache__" / "it.pyc"
    program.parent.mkdir(parents=True)
    program.write_text("")

    def told() -> tuple[object, ...]:
        sources.role_hash.cache_clear()
        sources.role_parts.cache_clear()
        return sources.role_hash("mine"), sources.role_parts("mine", 8), sources.tree(tmp_path)

    before = told()
    compiled.parent.mkdir()
    compiled.write_text("")
    assert told() == before
    program.write_text("changed")
    assert told() != before
    sources.role_hash.cache_clear()
    sources.role_parts.cache_clear()
