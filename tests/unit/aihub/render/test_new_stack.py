"""`aihub new stack NAME`: the folder keeps every rule of stacks/, loads, and asks for what was named."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from aihub import paths
from aihub.errors import InvalidInput
from aihub.reading import load
from aihub.render import new_stack, stack_files
from aihub.targets import images
from aihub.verbs import check

KINDS = ([], ["postgres"], ["redis", "postgres"], ["chroma"])


@pytest.fixture
def stacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the stacks, to which one may come."""
    folder = tmp_path / "stacks"
    shutil.copytree(paths.STACKS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(new_stack, "STACKS", folder)
    return folder


@pytest.mark.parametrize("kinds", KINDS, ids=lambda kinds: "-".join(kinds) or "nothing")
def test_it_loads_and_asks_for_what_was_named(stacks: Path, kinds: list[str]) -> None:
    folder = new_stack.write("my-app", kinds)
    assert folder == stacks / "my-app"
    found = load.stack("my-app", stacks)
    assert [(one.kind, one.key, one.later) for one in found.wants] == [(kind, "main", False) for kind in kinds]
    assert found.lab == "build"


def test_one_word_in_hub_yml_places_it_and_says_where_its_database_is(
    stacks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new_stack.write("my-app", ["postgres"])
    text = paths.DEFAULT_HUB.read_text()
    (tmp_path / "hub.yml").write_text(text.replace("stacks: [postgres]", "stacks: [postgres, my-app]"))
    hub = load.load(tmp_path / "hub.yml", stacks, target="lab")
    monkeypatch.setattr("aihub.render.stacks.STACKS", stacks)
    monkeypatch.setattr("aihub.render.containers.STACKS", stacks)
    monkeypatch.setattr(images, "STACKS", stacks)
    assert "registry.example.org" in images.registries(hub), "the lab serves it"
    instance = hub.instance("my-app@db")
    assert instance.providers == {"postgres": "postgres@db"}
    files = stack_files(hub, instance)
    assert "HUB_POSTGRES_MAIN_HOST=db.hub.home.arpa\n" in files[".env"].decode()
    for name in ("HOST", "PORT", "NAME"):
        assert f"POSTGRES_{name}: ${{HUB_POSTGRES_MAIN_{name}:-" in files["compose.yml"].decode()
    assert {"config/postgres.sh", "config/healthy.sh", "config/run.sh"} <= set(files)


@pytest.mark.slow
@pytest.mark.parametrize("kinds", KINDS, ids=lambda kinds: "-".join(kinds) or "nothing")
def test_it_keeps_the_rules_of_all_stacks(stacks: Path, kinds: list[str]) -> None:
    """Those that this project's own stacks are held to: lint, and the tests of their folders."""
    new_stack.write("my-app", kinds)
    for linter in ("ruff", "ruff format", "yamllint"):
        argv = [word for word in check.LINTERS[linter] if word not in ("python", "tests", "stacks", ".")]
        ended = check.lint([*argv, *(["-c", ".yamllint"] if linter == "yamllint" else []), str(stacks / "my-app")])
        assert ended.returncode == 0, (ended.stdout + ended.stderr).decode()
    command = check.pytest_command("-q", "-p", "no:cacheprovider", "tests/unit/stacks/test_stack_folders.py")
    environment = {**check.environment(), "AIHUB_STACKS": str(stacks)}
    ended = subprocess.run(command, cwd=paths.ROOT, env=environment, capture_output=True, check=False)
    assert ended.returncode == 0, ended.stdout.decode()[-3000:]


def test_its_programs_are_shell_that_reads(stacks: Path) -> None:
    for name, text in new_stack.files("my-app", ["postgres", "redis", "chroma"]).items():
        if name.endswith(".sh"):
            subprocess.run(["sh", "-n"], input=text.encode(), check=True)


@pytest.mark.parametrize("kind", ["postgres", "redis"])
def test_how_one_logs_in_is_its_givers_own_text(stacks: Path, kind: str) -> None:
    made = new_stack.files("my-app", [kind])
    giver = stacks / kind / "client" / kind
    assert made[f"config/{kind}.sh"] == (giver / "login.sh").read_text()
    assert (giver / "packages").read_text().strip() in made["lab/Dockerfile"]


def test_a_folder_that_is_there_is_left_alone(stacks: Path) -> None:
    before = (stacks / "chroma" / "stack.yml").read_text()
    with pytest.raises(InvalidInput, match="there is such a stack already"):
        new_stack.write("chroma", [])
    assert (stacks / "chroma" / "stack.yml").read_text() == before


@pytest.mark.parametrize(
    "name", ["", "My", "my_app", "-my", "my-", "../my", "my/app", "m" * 64, "my app", "$(id)", "a\n"]
)
def test_a_name_that_is_none_is_refused(stacks: Path, name: str) -> None:
    before = sorted(stacks.parent.rglob("*"))
    with pytest.raises(InvalidInput, match="is no name of a stack"):
        new_stack.write(name, [])
    assert sorted(stacks.parent.rglob("*")) == before


def test_a_kind_that_nobody_gives_is_refused_with_the_nearest(stacks: Path) -> None:
    with pytest.raises(InvalidInput, match=r'no stack gives "postgre"; did you mean "postgres"\?'):
        new_stack.write("my-app", ["redis", "postgre"])
    assert not (stacks / "my-app").exists()
