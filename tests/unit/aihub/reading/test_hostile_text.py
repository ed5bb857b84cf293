"""Hostile text is refused in every value and every name of hub.yml and stack.yml, by the loader alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from aihub.errors import Problem
from aihub.reading import document

from tests.unit.aihub import cases, places
from tests.unit.aihub.places import HUB, STACK, Form

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
FORMS = pytest.mark.parametrize("form", [HUB, STACK], ids=["hub", "stack"])
KINDS = pytest.mark.parametrize("kind", HOSTILE)
ONE_OF_EACH = {"shell", "jinja", "two-lines", "dash", "climb", "bidi", "long"}
NAME_KINDS = pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[] if kind in ONE_OF_EACH else pytest.mark.slow) for kind in HOSTILE]
)


def _problems(form: Form, data: Any, scratch: Path) -> tuple[Problem, ...]:
    """What the loader says about the data; each problem is one short harmless line."""
    path = scratch / "file.yml"
    path.write_text(json.dumps(data))
    problems = cases.hub_problems(path) if form is HUB else cases.stack_problems(path, scratch)
    for problem in problems:
        assert str(problem).isprintable(), problem
        assert len(str(problem)) < 600
    return problems


def _named(problems: tuple[Problem, ...], place: places.Path) -> bool:
    return any(problem.path.startswith(document.show_path(places.told(place))) for problem in problems)


def test_the_models_places_are_found() -> None:
    assert len(HUB.values()) >= 28
    assert len(HUB.names()) >= 6
    assert len(STACK.values()) >= 23
    assert len(STACK.names()) >= 3
    for place in (("hub", "id"), ("operator", "ssh_keys", 0), ("guests", "ai", "node"), ("network", "gateway")):
        assert place in HUB.values()


@FORMS
@KINDS
def test_no_value_takes_it(form: Form, kind: str, tmp_path: Path) -> None:
    wanted = [place for place in form.values() if not (place[-1] in COMMANDS and kind in SHELL)]
    for group in places.apart(wanted):
        data = form.data()
        for place in group:
            places.put(data, place, HOSTILE[kind])
        problems = _problems(form, data, tmp_path)
        nameless = [place for place in group if not _named(problems, place)]
        # What the YAML reader refuses has a line and a column and no name: each is told by itself all the same.
        assert len(nameless) <= sum(problem.path == "" for problem in problems), (nameless, problems)


@FORMS
@NAME_KINDS
def test_no_name_takes_it(form: Form, kind: str, tmp_path: Path) -> None:
    for place in form.names():
        data = form.data()
        places.put(data, (*place, "thing"), {}) if not _has(data, place) else None
        places.rename(data, place, HOSTILE[kind])
        problems = _problems(form, data, tmp_path)
        assert _named(problems, place) or any(problem.path == "" for problem in problems), (place, problems)


def _has(data: Any, place: places.Path) -> bool:
    for step in place:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return False
    return isinstance(data, dict) and bool(data)


@pytest.mark.slow
@FORMS
@KINDS
def test_no_value_takes_it_alone(form: Form, kind: str, tmp_path: Path) -> None:
    """Nothing else in the file is wrong: no other mistake hides what this one would do."""
    for place in form.values():
        if place[-1] in COMMANDS and kind in SHELL:
            continue
        data = form.data()
        places.put(data, place, HOSTILE[kind])
        problems = _problems(form, data, tmp_path)
        assert _named(problems, place) or any(problem.path == "" for problem in problems), (place, problems)
