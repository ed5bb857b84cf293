"""A run for a few guests or instances leaves all others as they are, or says why it can't."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from aihub.errors import InvalidInput, PreconditionFailed
from aihub.owners import choice
from aihub.plan import Change, Plan

HUB: Any = SimpleNamespace(
    guests={"db": None, "app": None},
    instances=[SimpleNamespace(name=name) for name in ("postgres@db", "notes@app", "client@app")],
)


def change(subject: str, owner: str = "insides", action: str = "configure", parts: tuple[str, ...] = ()) -> Change:
    identities: dict[str, Any] = {"owner": owner, "action": action}
    return Change(subject, identity="guest", summary="differs", parts=parts, **identities)


def narrowed(names: list[str], *changes: Change, **more: Any) -> Plan:
    return choice.narrowed(Plan(changes, **more), choice.of(HUB, names))


def test_nobody_named_is_everybody():
    plan = Plan((change("db"), change("app", "guests", "create")), unknown=("db",))
    assert choice.narrowed(plan, choice.of(HUB, [])) is plan


def test_a_name_that_hub_yml_does_not_have_is_refused():
    with pytest.raises(InvalidInput, match="notes"):
        choice.of(HUB, ["app", "notes"])


def test_a_guest_brings_all_that_is_on_it_and_nothing_else():
    mine = (
        change("app", parts=("docker", "stack/notes")),
        change("app", "guests", "update"),
        change("client@app", "secrets"),
    )
    found = narrowed(["app"], *mine, change("db"), change("postgres@db", "secrets"), unknown=("db", "app"))
    assert found.changes == mine
    assert found.unknown == ("app",)
    assert found.warnings == ("left for another run, as they were not named: db, postgres@db",)


def test_an_instance_brings_the_roles_of_its_guest_and_no_other_instance():
    there = change("app", parts=("docker", "firewall", "stack/client", "stack/notes"))
    plan = narrowed(["notes@app"], there, change("client@app", "secrets"))
    assert plan.changes[0].parts == ("docker", "firewall", "stack/notes")
    assert plan.warnings == ("left for another run, as they were not named: client@app",)


def test_what_is_left_out_of_a_change_is_not_told_of_it():
    texts = {"stack/client": ["client differs"], "stack/notes": ["notes differ"]}
    there = replace(
        change("app", parts=tuple(texts)),
        details={"texts": texts},
        restart=True,
        restarting=("client@app", "notes@app"),
    )
    (found,) = narrowed(["notes@app"], there).changes
    assert (found.summary, found.restarting) == ("notes differ", ("notes@app",))


def test_what_is_only_about_other_instances_is_left():
    assert (
        narrowed(["notes@app"], change("app", parts=("stack/client",)), change("app", "guests", "update")).changes == ()
    )


def test_what_everything_rests_on_is_made_true():
    every = (
        change("pve", "node"),
        change("vault@db: policy x", "vault"),
        change("postgres@db: database y", "services"),
    )
    assert narrowed(["notes@app"], *every).changes == every


@pytest.mark.parametrize("action", ["create", "delete"])
def test_a_guest_that_comes_or_goes_unnamed_is_refused(action: str):
    with pytest.raises(PreconditionFailed, match=f"db: {action}"):
        narrowed(["app"], change("db", "guests", action))


def test_who_waits_is_told_only_of_what_was_named():
    found = narrowed(["notes@app"], waiting={"notes@app": "waits", "client@app": "waits"})
    assert dict(found.waiting) == {"notes@app": "waits"}
