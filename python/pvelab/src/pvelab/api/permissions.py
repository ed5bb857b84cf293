"""Evaluates an endpoint's permission expression for a caller, before anything else is looked at."""

from __future__ import annotations

from typing import Any

from .errors import denied, failure, refuse_if
from .formats import user_id
from .registry import Call
from .usercfg import normalize_path
from .words import template, truth


def check_endpoint(call: Call, perm: dict[str, Any] | None) -> None:
    """Raises a 403 unless the caller may use the endpoint at all."""
    if call.is_root:
        return
    if perm is None:
        raise denied("user != root@pam")
    if perm.get("user") == "all" or (perm.get("user") == "world" and not call.user):
        return
    if "check" in perm:
        evaluate(call, perm["check"])
        return
    raise denied()


def evaluate(call: Call, rule: list[Any], quiet: bool = False) -> bool:
    """Whether one expression holds; raises unless `quiet`."""
    kind = rule[0]
    if kind == "and":
        for part in rule[1:]:
            evaluate(call, part)
        return True
    if kind == "or":
        if any(evaluate(call, part, quiet=True) for part in rule[1:]):
            return True
        return _no(quiet)
    if kind == "perm":
        return _perm(call, rule, quiet)
    if kind == "perm-modify":
        return may_modify(call, template(rule[1], call.params), quiet)
    return _user_rule(call, rule, quiet)


def _no(quiet: bool, what: str = "") -> bool:
    if quiet:
        return False
    raise denied(what)


def _options(rule: list[Any], start: int) -> dict[str, Any]:
    return dict(zip(rule[start::2], rule[start + 1 :: 2], strict=False))


def _perm(call: Call, rule: list[Any], quiet: bool) -> bool:
    options = _options(rule, 3)
    wanted = options.get("require_param")
    if wanted and not call.has(wanted):
        return _no(quiet)
    path = normalize_path(template(rule[1], call.params)) or ""
    return _holds(call, path, rule[2], truth(options.get("any")), quiet)


def _holds(call: Call, path: str, privs: list[str], any_of: bool, quiet: bool) -> bool:
    if not quiet:
        call.check(path, *privs, any_of=any_of)
    return not quiet or call.allowed(path, *privs, any_of=any_of)


def may_modify(call: Call, path: str, quiet: bool = False) -> bool:
    normal = normalize_path(path)
    if normal is None:
        return False
    wanted = ["Permissions.Modify"]
    for prefix, priv in (("/storage/", "Datastore.Allocate"), ("/vms/", "VM.Allocate"), ("/pool/", "Pool.Allocate")):
        if normal.startswith(prefix):
            wanted.append(priv)
    return _holds(call, normal, wanted, True, quiet)


def _user_rule(call: Call, rule: list[Any], quiet: bool) -> bool:
    user = str(call.get("userid", ""))
    if rule[0] == "userid-param":
        try:
            user_id(user)
        except ValueError as error:
            raise failure(str(error)) from None
        if rule[1] == "self":
            if not _exists(call, user, quiet):
                return False
            return call.user == user or _no(quiet)
        return _holds(call, f"/access/realm/{user.partition('@')[2]}", ["Realm.AllocateUser"], False, quiet)
    return _group_rule(call, user, rule[1], _options(rule, 2).get("groups_param"), quiet)


def _exists(call: Call, user: str, quiet: bool) -> bool:
    found = user in call.pve.users.data["users"]
    refuse_if(not found and not quiet, f"no such user ('{user}')")
    return found


def _group_rule(call: Call, user: str, privs: list[str], param: str | None, quiet: bool) -> bool:
    """A rule about the groups of a user: there are none here, so that only rights on all of them count."""
    if param != "create" and not _exists(call, user, quiet):
        return False
    if call.allowed("/access/groups", *privs, any_of=True):
        return True
    if param:
        named = "".join(f"/{group}" for group in call.words("groups")[:1])
        raise denied(f"/access/groups{named}, {'|'.join(privs)}")
    return _no(quiet)
