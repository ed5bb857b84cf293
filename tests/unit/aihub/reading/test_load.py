"""hub.yml and stack.yml: what is right loads, what is wrong is told with its place, and nothing is contacted."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from aihub import paths
from aihub.errors import InvalidInput, Problem
from aihub.reading import load

from tests.unit.aihub import cases


@pytest.mark.parametrize("path", cases.files("hub", "valid"), ids=lambda path: path.stem)
def test_a_right_hub_file_loads(path: Path) -> None:
    assert cases.hub_problems(path, cases.target(path)) == ()


@pytest.mark.parametrize("path", cases.files("stack", "valid"), ids=lambda path: path.stem)
def test_a_right_manifest_loads(path: Path, tmp_path: Path) -> None:
    assert cases.stack_problems(path, tmp_path) == ()


@pytest.mark.parametrize("path", cases.files("hub", "invalid"), ids=lambda path: path.stem)
def test_each_mistake_in_a_hub_file_is_told_with_its_place(path: Path) -> None:
    _agree(cases.hub_problems(path, cases.target(path)), cases.expected(path))


@pytest.mark.parametrize("path", cases.files("stack", "invalid"), ids=lambda path: path.stem)
def test_each_mistake_in_a_manifest_is_told_with_its_place(path: Path, tmp_path: Path) -> None:
    _agree(cases.stack_problems(path, tmp_path), cases.expected(path))


def _agree(problems: tuple[Problem, ...], expected: list[tuple[int, int, str]]) -> None:
    """Every promised problem is there, and no other."""
    assert expected, "the case promises nothing"
    left = list(problems)
    for line, column, part in expected:
        match = [p for p in left if (p.line, p.column) == (line, column) and part in f"{p.path}: {p.message}"]
        assert match, f"{line}:{column} {part!r} is not among {[str(p) for p in left]}"
        left.remove(match[0])
    assert left == []


def test_there_are_more_than_120_wrong_hub_files() -> None:
    assert len(cases.files("hub", "invalid")) >= 120


def test_the_default_hub_is_right_and_has_what_the_readme_says() -> None:
    hub = load.load(paths.DEFAULT_HUB, target="lab")
    assert list(hub.guests) == [
        "db", "cache", "security", "cicd", "monitoring", "backup", "private-data", "private-ai", "public-ai",
    ]  # fmt: skip
    assert {i.name for i in hub.instances} == {
        "postgres@db", "redis@cache", "egress@cache", "vault@security", "ollama@private-ai", "chroma@private-ai",
        "canary@monitoring", "canary@private-ai", "canary@public-ai", "postgres@private-data", "redis@private-data",
        "litellm@private-ai", "litellm@public-ai", "open-webui@private-ai", "open-webui@public-ai", "vllm@public-ai",
        "embeddings@private-ai", "embeddings@public-ai", "qdrant@public-ai", "restic-server@backup",
    }  # fmt: skip
    assert hub.models["qwen2.5-32b"].weights == "qwen2.5:32b-instruct-q4_K_M"


def test_every_stack_of_the_repository_has_a_right_manifest() -> None:
    assert [load.stack(name).name for name in load.stack_names()] == load.stack_names()


def test_a_mistake_in_a_manifest_is_told_at_the_manifest(tmp_path: Path) -> None:
    path = _hub_with(tmp_path, "broken")
    problems = cases.hub_problems(path)
    assert [(Path(p.file).parts[-2:], p.line, p.path) for p in problems] == [
        (("broken", "stack.yml"), 3, "zones[1]"),
        (("broken", "stack.yml"), 4, "uid"),
    ]


def test_load_raises_every_problem_and_exits_with_2(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as caught:
        load.load(cases.CASES / "hub" / "invalid" / "rule-several.yml", cases.STACKS, target="lab")
    assert caught.value.exit_code == 2
    assert len(caught.value.problems) == 4
    assert str(caught.value).count("\n") == 3


@pytest.mark.parametrize("kind", ["missing", "directory", "pipe", "device", "huge", "nul"])
def test_what_is_not_a_sane_file_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "hub.yml"
    if kind == "directory":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    elif kind == "huge":
        path.write_bytes(b"#" * (1 << 20) + b"#")
    elif kind == "nul":
        path = tmp_path / "hub\0.yml"
    (problem,) = cases.hub_problems(path)
    assert any(words in problem.message for words in ("can't be read", "not a regular file", "larger than 1 MiB"))


def test_a_manifest_that_leads_out_of_the_stacks_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.yml").write_text("title: x\n")
    (tmp_path / "stacks" / "redis").mkdir(parents=True)
    (tmp_path / "stacks" / "redis" / "stack.yml").symlink_to(tmp_path / "secret.yml")
    with pytest.raises(InvalidInput, match="leads out of"):
        load.stack("redis", tmp_path / "stacks")


@pytest.mark.parametrize("need", ["tls: {on_change: none}", "secrets: {key: {}}", "start: {sql: [main]}"])
def test_the_vault_waits_for_nothing_that_comes_out_of_it(tmp_path: Path, need: str) -> None:
    (tmp_path / "vault").mkdir()
    manifest = "title: Vault\nwhy: keeps secrets\nzones: [infra]\nuid: 100\noffice: secrets\nmemory: 1GiB\nlab: build\n"
    manifest += "gives: {vault: {port: 8200}}\n"
    (tmp_path / "vault" / "stack.yml").write_text(f"{manifest}needs:\n  {need}\n")
    with pytest.raises(InvalidInput, match=r"10:3: .*can't wait for what comes out of it"):
        load.stack("vault", tmp_path)


def test_a_hub_file_may_be_a_link(tmp_path: Path) -> None:
    link = tmp_path / "hub.yml"
    link.symlink_to(cases.CASES / "hub" / "valid" / "smallest.yml")
    assert cases.hub_problems(link) == ()


def test_brackets_without_end_are_refused_before_they_take_time(tmp_path: Path) -> None:
    path = tmp_path / "hub.yml"
    path.write_text("a: " + "[" * 500_000)
    started = time.process_time()
    (problem,) = cases.hub_problems(path)
    assert time.process_time() - started < 1
    assert "nested deeper" in problem.message


@pytest.mark.parametrize("guests", [200])
def test_two_hundred_guests_load_within_a_second(tmp_path: Path, guests: int) -> None:
    path = tmp_path / "hub.yml"
    lines = [
        f"  g{n}: {{vmid: {1000 + n}, kind: lxc, zone: infra, address: 10.10.{1 + n // 200}.{10 + n % 200}, "
        f"cores: 4, memory: 8GiB, disk: 64GiB, stacks: [{'vault' if n == 0 else 'redis'}]}}"
        for n in range(guests)
    ]
    head = _HEAD.replace("10.10.10.0/24", "10.10.0.0/16")
    path.write_text(head + "\n".join(lines) + "\n")
    started = time.process_time()
    assert len(load.load(path, cases.STACKS, target="lab").instances) == guests
    assert time.process_time() - started < 1


_HEAD = """\
hub: {name: test, domain: hub.example.org}
nodes: {pve: {address: 192.168.1.10, storage: {fast: {use: local}}}}
zones: {infra: {subnet: 10.10.10.0/24, internet: outbound}}
guests:
"""


def _hub_with(folder: Path, stack: str) -> Path:
    """A hub of one guest that runs one stack."""
    path = folder / "hub.yml"
    guest = "vmid: 110, kind: lxc, zone: infra, address: 10.10.10.11, cores: 4, memory: 8GiB, disk: 32GiB"
    path.write_text(f"{_HEAD}  db: {{{guest}, stacks: [{stack}]}}\n")
    return path
