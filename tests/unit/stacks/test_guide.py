"""stacks/README.md is the only guide that there is: what a stack can use is in it."""

from __future__ import annotations

import re
from typing import get_args

import pytest
from aihub import paths
from aihub.checks import fixtures
from aihub.model.stack import Offer, Strategy
from aihub.reading import load
from aihub.render import stack_files, stacks
from aihub.services.http import Http
from aihub.services.service import Service

GUIDE = (paths.ROOT / "stacks" / "README.md").read_text()
NAMED = set(re.findall(r"[a-z_A-Z]+", " ".join(re.findall(r"`([^`]+)`|```.*?```", GUIDE, re.DOTALL))))
# Of the runner itself; checks get what follows from them.
INNER = {"context", "subject"}


def public(thing: type) -> set[str]:
    return {name for name in vars(thing) if not name.startswith("_")}


def test_every_fixture_is_there() -> None:
    known = {name for name, one in vars(fixtures).items() if type(one).__name__ == "FixtureFunctionDefinition"}
    assert len(known) > 10
    assert known - INNER - NAMED == set()


def test_every_variable_is_there() -> None:
    hub = load.load(paths.DEFAULT_HUB, target="lab")
    instance = next(one for one in hub.instances if hub.uses(one))
    assert set(stacks._context(hub, instance)) - NAMED == set()
    own = {line.partition("=")[0] for line in stack_files(hub, instance)[".env"].decode().splitlines()}
    for name in own:
        used = next((one for one in hub.uses(instance) if name.startswith(one.variable)), None)
        assert name in NAMED if used is None else name.removeprefix(used.variable) in NAMED, name


@pytest.mark.parametrize("strategy", get_args(Strategy))
def test_every_strategy_is_there(strategy: str) -> None:
    assert f"| `{strategy}` |" in GUIDE


def test_every_client_and_what_it_can_do_is_there() -> None:
    assert {"http", "tcp", "port", "relay", "server_name"} <= public(Service) & NAMED
    assert public(Http) - {"close"} - NAMED == set()


@pytest.mark.parametrize(
    "key", ["port", "path", "publish", "strategy", "admin", "interrupts", "files", "dump", "restore"]
)
def test_what_a_kind_says_is_there(key: str) -> None:
    assert key in Offer.model_fields
    assert key in NAMED
