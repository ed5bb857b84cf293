"""Tickets, permissions, access control lists, passwords."""

from __future__ import annotations

from typing import Any

from ..errors import ApiError, bad, failure, prefixed, refuse_if
from ..formats import TOKEN
from ..permissions import may_modify
from ..registry import Call, route
from ..usercfg import VALID_PATH, UserConfig, normalize_path
from ..words import split_list


@route("POST", "/access/ticket")
def ticket(call: Call) -> dict[str, Any]:
    """A ticket for who proves a password, or a check of privileges."""
    user = str(call["username"])
    if call.get("realm"):
        user += f"@{call['realm']}"
    users = call.pve.users
    call.pve.auth.log_in(user, str(call["password"]))
    if call.has("path") and call.has("privs"):
        path = normalize_path(call["path"])
        if path is None or not users.has(user, path, split_list(call["privs"])):
            raise ApiError(401, "authentication failure\n")
        return {"username": user}
    auth = call.pve.auth
    return {"username": user, "ticket": auth.ticket(user), "CSRFPreventionToken": auth.csrf(user)}


@route("GET", "/access/permissions")
def permissions(call: Call) -> dict[str, dict[str, int]]:
    """The privileges of the caller, or of whom it names, on one path or on all that matter."""
    users, user = call.pve.users, str(call.get("userid", call.user))
    if user != call.user:
        token = TOKEN.fullmatch(user)
        if not (token and token[1] == call.user):
            call.check("/access", "Sys.Audit")
    if call.get("path", "0") != "0":
        return {call["path"]: dict(users.permissions(user, str(call["path"])))}
    paths = {"/", "/access", "/access/groups", "/nodes", "/pool", "/sdn", "/storage", "/vms", *users.acl_paths()}
    for pool in users.data["pools"].values():
        paths |= {f"/vms/{v}" for v in pool["vms"]} | {f"/storage/{s}" for s in pool["storage"]}
    found = {path: dict(users.permissions(user, path)) for path in sorted(paths)}
    return {path: perms for path, perms in found.items() if perms}


# --- access control list


@route("GET", "/access/acl")
def acl(call: Call) -> list[dict[str, Any]]:
    """All grants on paths that the caller may see."""
    found = []
    audit = call.allowed("/access", "Sys.Audit")
    for path, entry in sorted(call.pve.users.data["acl"].items()):
        if not audit and not may_modify(call, path, quiet=True):
            continue
        for table, kind in (("users", "user"), ("tokens", "token")):
            for who, roles in sorted(entry.get(table, {}).items()):
                for role, propagate in sorted(roles.items()):
                    found.append({"path": path, "type": kind, "ugid": who, "roleid": role, "propagate": propagate})
    return found


@route("PUT", "/access/acl")
def put_acl(call: Call) -> None:
    """Grants or takes back roles on a path."""
    tables = ("users", "groups", "tokens")
    if not any(call.get(name) for name in tables):
        raise bad(**dict.fromkeys(tables, "either 'users', 'groups' or 'tokens' is required."))
    path = normalize_path(str(call["path"]))
    if path is None or (not call.flag("delete") and not VALID_PATH.fullmatch(path)):
        raise bad(path=f"invalid ACL path '{call['path']}'")
    names = {name: split_list(str(call.get(name, ""))) for name in tables}
    with call.pve.users.changed():
        with prefixed("ACL update failed: "):
            entry = _changed_acl(call, path, names)
        call.pve.users.data["acl"].pop(path, None)
        if any(entry.values()):
            call.pve.users.data["acl"][path] = entry


def _changed_acl(call: Call, path: str, names: dict[str, list[str]]) -> dict[str, Any]:
    users = call.pve.users
    propagate, delete = int(call.flag("propagate", default=True)), call.flag("delete")
    old = users.data["acl"].get(path, {})
    entry = {table: {who: dict(held) for who, held in old.get(table, {}).items()} for table in names}
    for role in split_list(str(call["roles"])):
        refuse_if(role not in users.roles(), f"role '{role}' does not exist")
        _check_grant(call, path, role, propagate, "remove" if delete else "add")
        for table, members in names.items():
            for member in members:
                _check_member(users, table, member)
                granted = entry[table].setdefault(member, {})
                if delete:
                    granted.pop(role, None)
                else:
                    granted[role] = propagate
    return {table: {who: held for who, held in members.items() if held} for table, members in entry.items()}


def _check_grant(call: Call, path: str, role: str, propagate: int, verb: str) -> None:
    """Who lacks Permissions.Modify may only pass on what they hold themselves."""
    held = call.pve.users.permissions(call.user, path)
    if "Permissions.Modify" in held:
        return
    for priv in sorted(call.pve.users.roles()[role]):
        if priv not in held:
            text = f"Cannot {verb} role '{role}' - requires 'Permissions.Modify' or superset of privileges."
            raise bad(role=text)
        if propagate and not held[priv] and verb == "add":
            text = f"Cannot {verb} role '{role}' with propagation - requires 'Permissions.Modify' or propagated"
            raise bad(role=f"{text} superset of privileges.")
    refuse_if(role == "NoAccess", bad(role=f"Cannot {verb} role '{role}' - requires 'Permissions.Modify'"))


def _check_member(users: UserConfig, table: str, member: str) -> None:
    refuse_if(table == "groups", f"group '{member}' does not exist")  # a node of the lab has none
    refuse_if(table == "users" and member not in users.data["users"], f"user '{member}' does not exist")
    if table == "tokens":
        user, _, name = member.partition("!")
        refuse_if(user not in users.data["users"], f"no such user ('{user}')")
        if users.token(user, name) is None:
            raise failure(f"no such token '{name}' for user '{user}'")
