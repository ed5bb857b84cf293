"""Keys of LiteLLM; run by aihub.services.

Each consumer is one team, named like its role, with two keys, `ROLE_a` and `ROLE_b`, of the values that the store
made: so that one can be replaced while the other is in use, and both are one budget and one rate. LiteLLM keeps and
lists SHA-256 sums of keys only. aihub itself has the master key.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

from aihub.errors import InvalidInput, TaskFailed
from aihub.model.resolved import RECONCILE_ROLE as ADMIN
from aihub.model.resolved import Consumer
from aihub.plan import Difference
from aihub.services.declared import Declared
from aihub.services.http import Http, RefusedByService
from aihub.services.service import Half, Service, Step
from aihub.services.wire import plain

HALVES: tuple[Half, Half] = ("a", "b")
ROUTES = ["llm_api_routes"]  # LiteLLM's word for what uses models; none that manages keys, teams or models
GONE = "has no consumer"
_PAGE = 100  # keys at a time
_SECONDS = 30  # its first answers after a start are slow


@dataclass(frozen=True)
class Team:
    """A team, as far as we set it."""

    team_id: str
    rpm_limit: int | None = None
    max_budget: float | None = None
    models: list[str] | None = None
    blocked: bool | None = None


@dataclass(frozen=True)
class Key:
    """A key, as far as we set it; `token` is the sum of its value."""

    token: str
    key_alias: str | None = None
    team_id: str | None = None
    allowed_routes: list[str] | None = None
    models: list[str] | None = None
    blocked: bool | None = None
    expires: str | None = None


@dataclass(frozen=True)
class _Keys:
    keys: list[Key]
    total_pages: int


@dataclass(frozen=True)
class State:
    """All teams and keys; `ours` are the keys, by alias, whose value is the one that we keep."""

    teams: dict[str, Team]
    keys: tuple[Key, ...]
    ours: frozenset[str]


def read(service: Service) -> State:
    """All teams and all keys."""
    kept = {
        _alias(one.role, half): _sum(service.pair(one.role)[half])
        for one in service.declared.consumers
        for half in HALVES
    }
    with _admin(service) as gateway:
        teams = {team.team_id: team for team in gateway.get("/team/list", list[Team])}
        keys = tuple(_keys(gateway))
    return State(
        teams, keys, frozenset(one.key_alias or "" for one in keys if kept.get(one.key_alias or "") == one.token)
    )


def diff(declared: Declared, state: State | None) -> list[Step]:
    """A step for each team and key that is missing or differs, and for each that nobody declares."""
    there = state or State({}, (), frozenset())
    wanted = {one.role: _team(one) for one in declared.consumers}
    steps = [step for role, team in wanted.items() if (step := _team_step(there.teams.get(role), team))]
    aliases = {_alias(role, half): (role, half) for role in wanted for half in HALVES}
    found = {one.key_alias: one for one in there.keys}
    for alias, (role, half) in aliases.items():
        details = {"role": role, "half": half}
        if alias not in found:
            steps.append(Step("create", f"key {alias}", details=details))
        elif differences := _differences(found[alias], role, ours=alias in there.ours):
            steps.append(Step("update", f"key {alias}", differences, details=details))
    for key in there.keys:
        if key.key_alias not in aliases or found[key.key_alias] is not key:
            name = key.key_alias if key.key_alias and key.key_alias not in aliases else key.token[:12]
            steps.append(Step("delete", f"key {name}", why=GONE, details={"token": key.token}))
    for name in sorted(set(there.teams) - set(wanted)):
        steps.append(Step("delete", f"team {name}", why=GONE, details={"gone": name}))
    return steps


def apply(service: Service, steps: Sequence[Step], say: Callable[[str], None]) -> None:
    """Makes teams and keys, and removes those that nobody declares."""
    with _admin(service) as gateway:
        for step in steps:
            say(step.summary)
            if token := step.details.get("token"):
                gateway.send("POST", "/key/delete", {"keys": [token]})
            elif gone := step.details.get("gone"):
                gateway.send("POST", "/team/delete", {"team_ids": [gone]})
            elif team := step.details.get("team"):
                gateway.send("POST", "/team/new" if step.action == "create" else "/team/update", team)
            else:
                role, half = step.details["role"], step.details["half"]
                _make(gateway, role, half, service.pair(role)[half])


def set_passwords(service: Service, role: str, passwords: Mapping[str, str], changing: Half) -> None:
    """Gives that half of the role a key of this value in place of the one that it had; the other half stays."""
    if role == ADMIN:
        raise TaskFailed("LiteLLM takes its master key at its start only", where=service.instance.name, hint="aihub up")
    with _admin(service) as gateway:
        _make(gateway, role, changing, passwords[changing])


def can_login(service: Service, role: str, half: Half, password: str) -> bool:
    """Whether a key of this value lists models: the master key does so, too."""
    try:
        with _client(service, password) as gateway:
            gateway.send("GET", "/v1/models")
    except RefusedByService as error:
        if error.status != 401:
            raise
        return False
    return True


def _client(service: Service, password: str) -> AbstractContextManager[Http]:
    return service.http(headers={"Authorization": f"Bearer {_key(password)}"}, seconds=_SECONDS)


def _admin(service: Service) -> AbstractContextManager[Http]:
    return _client(service, service.pair(ADMIN)["a"])


def _keys(gateway: Http) -> list[Key]:
    found: list[Key] = []
    page, pages = 1, 1
    while page <= pages:
        query = {"return_full_object": "true", "size": str(_PAGE), "page": str(page)}
        told = gateway.get("/key/list", _Keys, **query)
        found += told.keys
        page, pages = page + 1, told.total_pages
    return found


def _make(gateway: Http, role: str, half: Half, password: str) -> None:
    """A key of this value under the half's name, and no other."""
    alias, token = _alias(role, half), _sum(password)
    told = gateway.get("/key/list", _Keys, return_full_object="true", size=str(_PAGE), key_alias=alias)
    if told.keys:
        gateway.send("POST", "/key/delete", {"keys": [one.token for one in told.keys]})
    body = {"key": _key(password), "key_alias": alias, "team_id": role, "allowed_routes": ROUTES, "models": []}
    made = gateway.ask("POST", "/key/generate", body, _Made)
    if made.token_id != token:
        raise TaskFailed(f"it made another key than {alias}", where=alias, hint="aihub up")


@dataclass(frozen=True)
class _Made:
    token_id: str


def _alias(role: str, half: str) -> str:
    return f"{role}_{half}"


def _key(password: str) -> str:
    return f"sk-{password}"


def _sum(password: str) -> str:
    return hashlib.sha256(_key(password).encode()).hexdigest()


def _team(consumer: Consumer) -> Team:
    """The team that a consumer's options ask for; without any, nothing is limited."""
    rpm, budget = (
        _number(consumer, "rpm", "[1-9][0-9]{0,6}"),
        _number(consumer, "budget", "[0-9]{1,6}(?:[.][0-9]{1,4})?"),
    )
    models = [name for name in consumer.options.get("models", "").split(",") if name]
    return Team(consumer.role, int(rpm) if rpm else None, float(budget) if budget else None, models, blocked=False)


def _number(consumer: Consumer, option: str, form: str) -> str:
    """What a need says of a limit; empty where it says nothing. Raises InvalidInput for what is no number."""
    text = consumer.options.get(option, "")
    if text and not re.fullmatch(form, text):
        asked = f"{consumer.consumer} needs {consumer.kind} as {consumer.key} with {option}: {plain(text)}"
        where = f"stacks/{consumer.consumer.partition('@')[0]}/stack.yml"
        raise InvalidInput(f"{asked}, which is no number that it takes", where=where)
    return text


def _team_step(found: Team | None, wanted: Team) -> Step | None:
    details = {"team": {**asdict(wanted), "team_alias": wanted.team_id}}
    if found is None:
        return Step("create", f"team {wanted.team_id}", details=details)
    differences = tuple(_compared(_plain(found), _plain(wanted)))
    return Step("update", f"team {wanted.team_id}", differences, details=details) if differences else None


def _plain(team: Team) -> dict[str, Any]:
    return {
        "requests per minute": team.rpm_limit or "any number",
        "budget": team.max_budget or "any",
        "models": ", ".join(sorted(team.models or ())) or "all",
        "blocked": "yes" if team.blocked else "no",
    }


def _differences(found: Key, role: str, *, ours: bool) -> tuple[Difference, ...]:
    there = {
        "value": "the one that we keep" if ours else "another",
        "team": found.team_id or "none",
        "routes": ", ".join(found.allowed_routes or ()) or "all",
        "models": ", ".join(sorted(found.models or ())) or "all of its team",
        "blocked": "yes" if found.blocked else "no",
        "expires": found.expires or "never",
    }
    wanted = {
        "value": "the one that we keep", "team": role, "routes": ", ".join(ROUTES), "models": "all of its team",
        "blocked": "no", "expires": "never",
    }  # fmt: skip
    return tuple(_compared(there, wanted))


def _compared(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[Difference]:
    return [Difference(name, str(found[name]), str(value)) for name, value in wanted.items() if found[name] != value]
