"""Hostile text is refused in every string of hub.yml and stack.yml, by the loader alone."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aihub import document
from aihub.errors import Problem

from tests.unit.aihub import cases

WHOLE_HUB = cases.CASES / "hub" / "valid" / "everything.yml"
WHOLE_STACK = cases.CASES / "stack" / "valid" / "everything.yml"
HOSTILE = {
    "shell": "x; touch PWNED",
    "substitution": "$(touch PWNED)",
    "backtick": "`touch PWNED`",
    "pipe": "x | sh",
    "jinja": "{{ lookup('pipe', 'touch PWNED') }}",
    "jinja-block": "{% raw %}",
    "compose": "${HOME}",
    "line-feed": "x\n",
    "two-lines": "x\nProxyCommand touch PWNED",
    "return": "x\r\ny: z",
    "dash": "-oProxyCommand=touch",
    "climb": "../../etc/shadow",
    "nul": "x\0y",
    "bidi": "x\u202ey",
    "escape": "\x1b[2J",
    "homoglyph": "\u0430dmin\u200b",
    "long": "x" * 10_240,
    "markup": "[link=file:///etc]x[/link]",
}
COMMANDS = {"before", "after", "restore"}
"""Hooks are commands: the shell's own signs belong there. Everything that is not a command is refused there too."""
SHELL = {"shell", "substitution", "backtick", "pipe", "compose", "dash", "climb", "markup"}


def _texts(data: Any, place: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The place of every text in the data, keys of a person's choice included."""
    if isinstance(data, dict):
        for key, value in data.items():
            yield from _texts(value, (*place, key))
    elif isinstance(data, list):
        for index, value in enumerate(data):
            yield from _texts(value, (*place, index))
    elif isinstance(data, str):
        yield place


def _all_hostile(kind: str, data: Any) -> tuple[Any, list[tuple[str | int, ...]]]:
    """The data with one hostile text in every place that must refuse it, and these places."""
    places = [p for p in _texts(data) if not (p[-1] in COMMANDS and kind in SHELL)]
    for place in places:
        inner = data
        for step in place[:-1]:
            inner = inner[step]
        inner[place[-1]] = HOSTILE[kind]
    return data, places


def _check_refused(problems: tuple[Problem, ...], places: list[tuple[str | int, ...]]) -> None:
    """Each place has its problem, each problem is one harmless line."""
    for problem in problems:
        assert str(problem).isprintable(), problem
        assert len(str(problem)) < 600
    if places and {p.path for p in problems} == {""}:
        assert len(problems) == len(places)
        return
    shown = [p.path for p in problems]
    missing = [place for place in places if not any(path.startswith(_as_shown(place)) for path in shown)]
    assert missing == []


def _as_shown(place: tuple[str | int, ...]) -> str:
    """A place as messages name it: an option of a stack under a guest without the stack's name."""
    option = len(place) > 5 and place[0] == "guests" and place[2] == "stacks"
    return document.show_path((*place[:4], *place[5:]) if option else place)


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_text_of_hub_yml_takes_it(kind: str, tmp_path: Path) -> None:
    data, places = _all_hostile(kind, document.read(WHOLE_HUB).data)
    assert len(places) > 40
    path = tmp_path / "hub.yml"
    path.write_text(json.dumps(data))
    _check_refused(cases.hub_problems(path), places)


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_text_of_stack_yml_takes_it(kind: str, tmp_path: Path) -> None:
    data, places = _all_hostile(kind, document.read(WHOLE_STACK).data)
    path = tmp_path / "stack.yml"
    path.write_text(json.dumps(data))
    _check_refused(cases.stack_problems(path, tmp_path), places)


@pytest.mark.parametrize("kind", HOSTILE)
@pytest.mark.parametrize("section", ["nodes", "zones", "guests", "models"])
def test_no_name_takes_it(section: str, kind: str, tmp_path: Path) -> None:
    data, path = document.read(WHOLE_HUB).data, tmp_path / "hub.yml"
    first = next(iter(data[section]))
    data[section] = {HOSTILE[kind] if key == first else key: value for key, value in data[section].items()}
    path.write_text(json.dumps(data))
    problems = cases.hub_problems(path)
    assert problems
    _check_refused(problems, [])
