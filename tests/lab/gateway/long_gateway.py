"""The gateway under load, `make test-long PART=gateway`: routes, fallbacks, rotation, and what it adds to an engine."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any

import pytest

from tests.lab.cli import ROOT, Cli

pytestmark = pytest.mark.lab
STACKS = ("vault", "postgres", "litellm", "vllm")
ASKER = "asker-asker-1"
PROGRAM = (Path(__file__).parent / "ask.py").read_text()
ONE, TWO = "https://one.gateway.home.arpa:8008/v1", "https://two.gateway.home.arpa:8008/v1"
FIRST, SECOND = "Qwen/Qwen2.5-7B-Instruct-AWQ", "mistralai/Mistral-7B-Instruct-v0.3"


@pytest.fixture(scope="module")
def hub(lab_name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A hub of a gateway and two engines, running; removed at the end."""
    folder = tmp_path_factory.mktemp("gateway")
    for name in STACKS:
        shutil.copytree(ROOT / "stacks" / name, folder / "stacks" / name)
    shutil.copytree(ROOT / "tests" / "cases" / "stacks" / "asker", folder / "stacks" / "asker")
    shutil.copy(Path(__file__).parent / "hub.yml", folder)
    cli = Cli(folder / "hub.yml", f"{lab_name}-g", folder / "state", {"AIHUB_STACKS": str(folder / "stacks")})
    try:
        cli.ok("up")
        yield cli
    finally:
        cli("down", "--yes", timeout=300)


@dataclass
class Answers:
    """What somebody was told who asked many times; seconds."""

    whole: list[float]
    first: list[float]
    who: list[str]
    failures: list[str] = field(default_factory=list)
    gap: float = 0.0  # the longest time without one


def ask(hub: Cli, where: str, model: str, requests: int, clients: int, *seconds: float) -> Answers:
    words = " ".join(map(str, (where, model, requests, clients, *seconds)))
    told: dict[str, Any] = json.loads(hub.on("one", f"docker exec -i {ASKER} python3 - {words}", PROGRAM))
    return Answers(**told)


@dataclass
class Load:
    """Questions that go on while something happens."""

    answers: Answers | None = None

    def __call__(self, hub: Cli, model: str, clients: int, seconds: float) -> threading.Thread:
        def run() -> None:
            self.answers = ask(hub, "gateway", model, 0, clients, seconds)

        thread = threading.Thread(target=run)
        thread.start()
        return thread


def spread(values: list[float]) -> tuple[float, float]:
    """p50 and p95 in milliseconds."""
    cuts = quantiles(values, n=20)
    return cuts[9] * 1000, cuts[18] * 1000


def test_a_model_answers_by_its_own_engine_and_a_route_by_both(hub: Cli):
    assert ask(hub, "gateway", "first", 8, 4).failures == []
    both = ask(hub, "gateway", "both", 60, 4)
    assert both.failures == []
    assert len(both.whole) == 60


def test_it_adds_little_to_what_its_engine_takes(hub: Cli):
    for where, model in ((TWO, SECOND), ("gateway", "second")):
        ask(hub, where, model, 16, 8)
    for clients in (1, 8):
        direct, through = [], []
        for _ in range(3):  # one after the other, so that both meet the same noise
            direct.append(ask(hub, TWO, SECOND, 20 * clients, clients))
            through.append(ask(hub, "gateway", "second", 20 * clients, clients))
        for what in ("whole", "first"):
            plain = spread([one for run in direct for one in getattr(run, what)])
            added = spread([one for run in through for one in getattr(run, what)])
            print(f"{clients} clients, {what} answer: engine p50 {plain[0]:.0f} p95 {plain[1]:.0f} ms, through the "
                  f"gateway p50 {added[0]:.0f} p95 {added[1]:.0f} ms")  # fmt: skip
        assert not any(run.failures for run in (*direct, *through))


def test_a_killed_engine_is_answered_for_by_the_fallback(hub: Cli):
    load = Load()
    thread = load(hub, "first", 4, 40)
    hub.on("one", "sleep 5; kill -KILL $(docker inspect --format '{{.State.Pid}}' vllm-vllm-1)")
    thread.join()
    assert load.answers and load.answers.failures == [], load.answers.failures[:5]
    print(f"{len(load.answers.whole)} answers while an engine was killed, by {load.answers.who}")
    hub.settles(180)
    assert ask(hub, "gateway", "both", 8, 2).failures == []


def test_an_engine_that_is_off_is_answered_for(hub: Cli):
    hub.ok("stop", "vllm@one", "--yes")
    told = ask(hub, "gateway", "first", 8, 4)
    route = ask(hub, "gateway", "both", 20, 4)
    alone = ask(hub, ONE, FIRST, 1, 1)
    hub.ok("start", "vllm@one")
    assert alone.failures, "the engine answers although it is off: nothing was tried"
    assert told.failures == [] == route.failures
    hub.settles(180)


def test_keys_are_replaced_under_load_without_a_refusal(hub: Cli):
    load = Load()
    thread = load(hub, "both", 4, 60)
    told = json.loads(hub.ok("secrets", "rotate", "asker@one", "--yes", "--json"))
    thread.join()
    assert told["rotated"]
    assert load.answers and load.answers.failures == [], load.answers.failures[:5]
    print(f"{len(told['rotated'])} secrets replaced, {len(load.answers.whole)} answers meanwhile")


def test_another_route_starts_it_anew_and_it_answers_again(hub: Cli):
    text, load = hub.hub.read_text(), Load()
    hub.hub.write_text(text.replace("first: 3", "first: 1"))
    code, plan = hub.plan()
    assert code == 3
    assert "config/config.yaml" in json.dumps(plan)
    thread = load(hub, "second", 4, 900)
    hub.ok("up", "--no-verify")
    hub.on("one", "pkill -TERM -f '^python3 - gateway second'")
    thread.join()
    assert hub.plan()[0] == 0
    assert load.answers
    print(f"nobody was answered for {load.answers.gap:.0f} s while the gateway started anew")
    assert load.answers.gap < 120
    hub.hub.write_text(text)
    hub.ok("up", "--no-verify")
    assert hub.plan()[0] == 0
