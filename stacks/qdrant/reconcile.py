"""Tokens of Qdrant's consumers; run by aihub.services.

Qdrant reads its keys at its start only. But it also takes tokens that one of them signed, and a token may say that it
holds only as long as a collection has a certain point: `hub_tokens` has one for each token that is in use. So a
consumer has two tokens that work side by side, and one ends when its point goes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from aihub.errors import TaskFailed
from aihub.model.resolved import RECONCILE_ROLE as ADMIN
from aihub.services.declared import Declared
from aihub.services.http import Http, RefusedByService
from aihub.services.service import Half, Service, Step

TOKENS = "hub_tokens"
_POINTS = f"/collections/{TOKENS}/points"
_REFUSED = (401, 403)


@dataclass(frozen=True)
class State:
    """Whose tokens are all in use, and how many are that nobody has."""

    roles: frozenset[str]
    strangers: int = 0


@dataclass(frozen=True)
class Found:
    """An answer; what it means depends on what was asked."""

    result: Any = None


def make_password(role: str, value: str, secrets: Mapping[str, str]) -> str:
    """A token that may do everything, as long as its point is there; `value` makes it another than all before."""
    name = str(uuid.UUID(bytes=hashlib.sha256(value.encode()).digest()[:16]))
    exists = {"collection": TOKENS, "matches": [{"key": "token", "value": name}]}
    claims = {"subject": role, "access": "m", "value_exists": exists}
    signed = f"{_coded({'alg': 'HS256', 'typ': 'JWT'})}.{_coded(claims)}"
    made = hmac.new(secrets["signing_key"].encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{_text(made)}"


def read(service: Service) -> State:
    """Which consumers' tokens are in use."""
    wanted = {one.role: _names(service.pair(one.role)) for one in service.declared.consumers}
    every = [name for names in wanted.values() for name in names]
    with _admin(service) as qdrant:
        if not _begun(qdrant):
            return State(frozenset())
        there = _there(qdrant, every)
        others = {"exact": True, "filter": {"must_not": [{"has_id": every}]}}
        strangers = qdrant.ask("POST", f"{_POINTS}/count", others, Found).result["count"]
    roles = frozenset(role for role, names in wanted.items() if there.issuperset(names))
    return State(roles, int(strangers))


def diff(declared: Declared, state: State | None) -> list[Step]:
    """A step for each consumer without its tokens; else one for tokens that nobody has any more.

    Those go with any of the others: what was kept of an earlier Qdrant comes with tokens, and is no surprise.
    """
    there = state.roles if state else frozenset()
    wanted = [consumer.role for consumer in declared.consumers]
    steps = [Step("create", f"tokens of {role}", details={"role": role}) for role in wanted if role not in there]
    if state and state.strangers and not steps:
        steps.append(Step("delete", "tokens of nobody", why=f"({state.strangers})", details={"strangers": True}))
    return steps


def apply(service: Service, steps: Sequence[Step], say: Callable[[str], None]) -> None:
    """Puts the points of tokens there, and takes those of others away."""
    for step in steps:
        say(step.summary)
        if role := step.details.get("role"):
            _keep(service, role, _names(service.pair(role)))
    known = [name for one in service.declared.consumers for name in _names(service.pair(one.role))]
    with _admin(service) as qdrant:
        _delete(qdrant, {"must_not": [{"has_id": known}]})


def set_passwords(service: Service, role: str, passwords: Mapping[str, str], changing: Half) -> None:
    """Both tokens of a consumer are in use, and no other of its own."""
    if role == ADMIN:
        raise TaskFailed(
            "aihub's own key comes with a start of Qdrant, which did not take it",
            where=service.instance.name,
            hint=f"aihub restart {service.instance.name}",
        )
    _keep(service, role, _names(passwords))


def can_login(service: Service, role: str, half: Half, password: str) -> bool:
    """Whether Qdrant answers to this token, or to aihub's own key."""
    try:
        with service.http(headers={"api-key": password}) as qdrant:
            qdrant.get("/collections", Found)
    except RefusedByService as error:
        if error.status not in _REFUSED:
            raise
        return False
    return True


def _admin(service: Service) -> AbstractContextManager[Http]:
    return service.http(headers={"api-key": service.pair(ADMIN)["a"]})


def _begun(qdrant: Http) -> bool:
    return bool(qdrant.get(f"/collections/{TOKENS}/exists", Found).result["exists"])


def _there(qdrant: Http, names: Sequence[str]) -> set[str]:
    asked = {"ids": list(names), "with_payload": True, "with_vector": False}
    found = qdrant.ask("POST", _POINTS, asked, Found).result
    return {str(one["id"]) for one in found if (one.get("payload") or {}).get("token") == one["id"]}


def _keep(service: Service, role: str, names: Sequence[str]) -> None:
    """These tokens of a role are in use, and no others of it."""
    points = [{"id": name, "vector": [1.0], "payload": {"role": role, "token": name}} for name in names]
    with _admin(service) as qdrant:
        if not _begun(qdrant):
            qdrant.send("PUT", f"/collections/{TOKENS}", {"vectors": {"size": 1, "distance": "Dot"}})
            qdrant.send("PUT", f"/collections/{TOKENS}/index", {"field_name": "token", "field_schema": "keyword"})
        qdrant.send("PUT", f"{_POINTS}?wait=true", {"points": points})
        _delete(qdrant, {"must": [_is("role", role)], "must_not": [{"has_id": list(names)}]})


def _delete(qdrant: Http, wanted: Mapping[str, Any]) -> None:
    qdrant.send("POST", f"{_POINTS}/delete?wait=true", {"filter": wanted})


def _is(key: str, value: str) -> dict[str, Any]:
    return {"key": key, "match": {"value": value}}


def _names(passwords: Mapping[str, str]) -> list[str]:
    """The points that tokens ask for."""
    return [_name(passwords[half]) for half in ("a", "b") if half in passwords]


def _name(token: str) -> str:
    claims = token.split(".")[1]
    read = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    return str(read["value_exists"]["matches"][0]["value"])


def _coded(value: Mapping[str, Any]) -> str:
    return _text(json.dumps(value, separators=(",", ":")).encode())


def _text(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
