"""The command line's two tables fit each other, the verbs, and the options that verbs read."""

from __future__ import annotations

from dataclasses import fields
from importlib.util import find_spec

import pytest
from aihub import cli
from aihub.options import Options


def test_every_verb_is_there_and_takes_what_is_declared() -> None:
    for verb, (names, _) in cli.VERBS.items():
        assert find_spec(f"aihub.verbs.{verb}"), verb
        assert set(names.split()) <= set(cli.GIVEN), verb


def test_every_option_belongs_to_a_verb_and_becomes_a_field() -> None:
    used = {name for names, _ in cli.VERBS.values() for name in names.split()}
    assert used == set(cli.GIVEN)
    known = {field.name for field in fields(Options)}
    assert {given.field or name for name, given in cli.GIVEN.items()} == known


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ("ssh db ls -la", {"only": ("db", "ls", "-la")}),
        ("down --allow-destroy a --allow-destroy b", {"allow_destroy": frozenset("ab")}),
        ("secrets revoke db -y", {"only": ("db",), "yes": True}),
        ("trust", {"target": "pve"}),
        ("new stack my-app --needs one --needs two", {"only": ("my-app",), "needs": ("one", "two")}),
        ("new stack my-app", {"only": ("my-app",), "needs": ()}),
        ("up --no-verify", {"no_verify": True, "only": ()}),
    ],
)
def test_words_become_options(words: str, wanted: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Options] = []
    monkeypatch.setattr(cli, "perform", lambda verb, options: given.append(options))
    cli.app(words.split(), standalone_mode=False)
    assert {name: getattr(given[0], name) for name in wanted} == wanted
