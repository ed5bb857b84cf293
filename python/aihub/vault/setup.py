"""What differs between the vault and what the hub wants there, and making it so.

Only what is the hub's own is changed: names that begin with `hub-`, and the mounts kv and pki. What somebody else
keeps in the same server stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import uuid4

from ..errors import Conflict
from ..model.resolved import Hub
from ..plan import Change, Difference
from . import desired as wanted
from .client import Vault
from .desired import Desired
from .kv import KV

Say = Callable[[str], None]
Kind = Literal["mount", "lockout", "kv", "audit", "policy", "approle", "pki role", "rate limit"]

APPROLES = "auth/approle/"
_FOLDERS = {
    "audit": "sys/audit",
    "policy": "sys/policies/acl",
    "approle": "auth/approle/role",
    "pki role": "pki/roles",
    "rate limit": wanted.RATE_LIMIT_PATH,
}


@dataclass(frozen=True)
class _Step:
    kind: Kind
    name: str
    action: Literal["create", "update", "delete"]
    value: Any = None
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True)
class Found:
    """What a server holds of ours, and what stands in our places; empty for one that is still to be made."""

    mounts: Mapping[str, Any] = field(default_factory=dict)
    cas_required: bool = False
    audit: Collection[str] = ()
    policies: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    approles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    pki_roles: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    rate_limits: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def plan(vault: Vault, hub: Hub) -> list[Change]:
    """What differs. Reads only."""
    return _changes(hub, _read(vault, hub))


def first(hub: Hub) -> list[Change]:
    """Everything that a server gets which is still to be made."""
    return _changes(hub, Found())


def apply(vault: Vault, hub: Hub, say: Say = lambda text: None) -> list[Change]:
    """Makes what differs, and returns it. Looks again first; safe to run again after a failure."""
    done = []
    for step in _steps(_read(vault, hub), wanted.desired(hub)):
        change = _change(hub, step)
        say(f"{step.kind} {step.name}: {change.summary}")
        _do(vault, step)
        done.append(change)
    return done


def _changes(hub: Hub, found: Found) -> list[Change]:
    return [_change(hub, step) for step in _steps(found, wanted.desired(hub))]


def _read(vault: Vault, hub: Hub) -> Found:
    want, mounts = wanted.desired(hub), vault.mounts()
    approles = _there(vault, "approle", want.approles) if APPROLES in mounts else {}
    policies = _there(vault, "policy", want.policies)
    return Found(
        mounts=mounts,
        cas_required=f"{KV}/" in mounts and _cas_required(vault),
        audit=vault.audit() if want.audit else (),
        policies=policies,
        approles={n: {**about, "role_id": vault.role_id(n)} if about else {} for n, about in approles.items()},
        pki_roles=_there(vault, "pki role", want.pki_roles) if f"{wanted.PKI}/" in mounts else {},
        rate_limits=_there(vault, "rate limit", want.rate_limits) if _sees_rate_limits(policies) else {},
    )


def _sees_rate_limits(policies: Mapping[str, Mapping[str, Any]]) -> bool:
    """False while the operator's own policy is that of a version without rate limits, which made none."""
    own = policies.get(wanted.OPERATOR)
    return own is None or wanted.RATE_LIMIT_PATH in str(own.get("policy", ""))


def _there(vault: Vault, kind: Kind, want: Collection[str]) -> dict[str, Mapping[str, Any]]:
    """All that is there of a kind; with its settings, where the hub wants it."""
    folder = _FOLDERS[kind]
    return {name: (vault.get(f"{folder}/{name}") or {}) if name in want else {} for name in vault.names(folder)}


def warnings(vault: Vault) -> list[str]:
    """What is not as it should be and can't be repaired from here."""
    found = []
    if not vault.audit():
        found.append(f"{vault.server_name}: no audit device is on; OpenBao takes them from its configuration file only")
    health = vault.health()
    if abs(health.skew) > 60:
        found.append(f"{vault.server_name}: its clock is {health.skew:+.0f} s from this machine's")
    return found


def _steps(found: Found, want: Desired) -> Iterator[_Step]:
    """In the order in which they are to be done: what others rest on first, removals last."""
    yield from _mounts(want, found.mounts)
    lockout = (found.mounts.get(APPROLES) or {}).get("config", {}).get("user_lockout_config") or {}
    if differences := _compare(wanted.LOCKOUT, lockout):
        value = {"user_lockout_config": {"lockout_disable": True}}
        yield _Step("lockout", APPROLES, "update", value, differences)
    if not found.cas_required:
        yield _Step("kv", KV, "update", {"cas_required": True}, (Difference("cas_required", "false", "true"),))
    for name, path in want.audit.items():
        if f"{name}/" not in found.audit:
            yield _Step("audit", name, "create", {"type": "file", "options": {"file_path": path}})
    texts = {name: wanted.text_of(grants) for name, grants in want.policies.items()}
    for name, text in texts.items():
        if found.policies.get(name, {}).get("policy") != text:
            yield _Step("policy", name, "update" if name in found.policies else "create", {"policy": text})
    yield from _gone("policy", found.policies, texts)
    yield from _approles(want.approles, found.approles)
    yield from _gone("approle", found.approles, want.approles)
    yield from _compared("pki role", want.pki_roles, found.pki_roles)
    yield from _gone("pki role", found.pki_roles, want.pki_roles, prefix="")
    yield from _compared("rate limit", want.rate_limits, found.rate_limits)
    yield from _gone("rate limit", found.rate_limits, want.rate_limits)


def _mounts(want: Desired, mounts: Mapping[str, Any]) -> Iterator[_Step]:
    for path, settings in want.mounts.items():
        there = mounts.get(path)
        if there is None:
            yield _Step("mount", path, "create", settings)
            continue
        options = settings.get("options") or {}
        if there["type"] != settings["type"] or any((there["options"] or {}).get(k) != v for k, v in options.items()):
            raise Conflict(
                f"something else is mounted there: {there['type']} {there['options'] or ''}".strip(),
                where=f"vault {path}",
                hint=f"find out whose it is; aihub keeps its own in {path} and moves nothing away",
            )
        differences = _compare(settings.get("config") or {}, there["config"])
        if differences:
            yield _Step("mount", path, "update", settings["config"], differences)


def _gone(kind: Kind, there: Collection[str], want: Collection[str], prefix: str = wanted.PREFIX) -> Iterator[_Step]:
    """What is ours by its name, and nobody declares any more."""
    for name in there:
        if name.startswith(prefix) and name not in want:
            yield _Step(kind, name, "delete")


def _compared(kind: Kind, want: Mapping[str, Any], there: Mapping[str, Any]) -> Iterator[_Step]:
    for name, settings in want.items():
        found = there.get(name)
        if found is None:
            yield _Step(kind, name, "create", settings)
        elif differences := _compare(settings, found):
            yield _Step(kind, name, "update", settings, differences)


def _approles(want: Mapping[str, Any], there: Mapping[str, Any]) -> Iterator[_Step]:
    """A role-id is random, as the server makes them; one that follows from a name is replaced, and its logins end."""
    for name, settings in want.items():
        known = there.get(name)
        if known is None or name == wanted.OPERATOR or wanted.is_random(known.get("role_id", "")):
            yield from _compared("approle", {name: settings}, there)
            continue
        differences = (*_compare(settings, known), Difference("role_id", str(known.get("role_id")), "a random one"))
        yield _Step("approle", name, "update", {**settings, "role_id": str(uuid4())}, differences)


def _compare(settings: Mapping[str, Any], there: Mapping[str, Any]) -> tuple[Difference, ...]:
    found = [
        Difference(key, _text(there.get(key)), _text(value))
        for key, value in settings.items()
        if _text(there.get(key)) != _text(value)
    ]
    return tuple(found)


def _text(value: Any) -> str:
    """A setting as both sides write it: the server drops /32, sorts nothing, and says nothing for an empty list."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ", ".join(sorted(str(item).removesuffix("/32") for item in value))
    return "" if value is None else str(value)


def _cas_required(vault: Vault) -> bool:
    return bool((vault.get(f"{KV}/config") or {}).get("cas_required"))


def _do(vault: Vault, step: _Step) -> None:
    if _ends_logins(step) and step.action == "update":
        # Before the new role-id is there: a run killed here leaves a guest without a login, which the next sees.
        for one in vault.secret_ids(step.name):
            vault.destroy_secret_id(step.name, one.accessor)
        vault.revoke_tokens(step.name)
    if step.action != "delete":
        vault.put(_path(step), step.value)
        return
    vault.delete(_path(step))
    if step.kind == "approle":
        vault.revoke_tokens(step.name)  # whoever is logged in with it is out at once


def _ends_logins(step: _Step) -> bool:
    return step.kind == "approle" and (step.action == "delete" or "role_id" in (step.value or {}))


def _path(step: _Step) -> str:
    """Where the server takes it."""
    if step.kind == "kv":
        return f"{step.name}/config"
    if step.kind in ("mount", "lockout"):
        name = step.name.strip("/")
        path = f"sys/{name}" if name.startswith("auth/") else f"sys/mounts/{name}"
        return f"{path}/tune" if step.action == "update" else path
    return f"{_FOLDERS[step.kind]}/{step.name}"


def _change(hub: Hub, step: _Step) -> Change:
    words = {"create": "missing", "update": "differs", "delete": "nobody declares it"}
    after = ", its logins end" if _ends_logins(step) else ""
    return Change(
        subject=f"{wanted.vault_of(hub).name}: {step.kind} {step.name}",
        action=step.action,
        owner="vault",
        identity="vault",
        summary=f"{words[step.action]}{after}",
        differences=step.differences,
    )
