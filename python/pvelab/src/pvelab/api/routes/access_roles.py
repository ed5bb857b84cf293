"""Roles."""

from __future__ import annotations

from typing import Any

from ..errors import bad, existing, refuse_if
from ..privileges import BUILTIN_ROLES, PRIVILEGES
from ..registry import Call, route

ROLES = "/access/roles"


@route("GET", ROLES)
def roles(call: Call) -> list[dict[str, Any]]:
    """All roles with their privileges."""
    return [
        {"roleid": name, "privs": ",".join(sorted(privs)), "special": int(name in BUILTIN_ROLES)}
        for name, privs in sorted(call.pve.users.roles().items())
    ]


@route("GET", ROLES + "/{roleid}")
def role(call: Call) -> dict[str, int]:
    """One role's privileges."""
    found = call.pve.users.roles().get(call["roleid"])
    return dict.fromkeys(sorted(existing(found, f"role '{call['roleid']}' does not exist")), 1)


@route("POST", ROLES)
def create_role(call: Call) -> None:
    """Makes a role."""
    name = str(call["roleid"])
    reserved = "cannot use role ID starting with the (case-insensitive) 'PVE' namespace"
    refuse_if(name.upper().startswith("PVE"), bad(roleid=reserved))
    with call.pve.users.changed() as data:
        refuse_if(name in call.pve.users.roles(), f"create role failed: role '{name}' already exists")
        data["roles"][name] = sorted(set(call.words("privs")))


def _own_role(call: Call, roles: dict[str, Any], verb: str) -> str:
    name = str(call["roleid"])
    done = "modified" if verb == "update" else "deleted"
    refuse_if(name in BUILTIN_ROLES, f"auto-generated role '{name}' cannot be {done}")
    refuse_if(name not in roles, f"{verb} role failed: role '{name}' does not exist")
    return name


@route("PUT", ROLES + "/{roleid}")
def update_role(call: Call) -> None:
    """Changes a role's privileges."""
    with call.pve.users.changed() as data:
        name, privs = _own_role(call, data["roles"], "update"), set(call.words("privs"))
        kept = set(data["roles"][name]) if call.flag("append") else set()
        data["roles"][name] = sorted((privs | kept) & PRIVILEGES)


@route("DELETE", ROLES + "/{roleid}")
def delete_role(call: Call) -> None:
    """Removes a role."""
    with call.pve.users.changed() as data:
        del data["roles"][_own_role(call, data["roles"], "delete")]
