"""Roles and groups."""

from __future__ import annotations

from typing import Any

from ..errors import bad, existing, refuse_if
from ..privileges import BUILTIN_ROLES, PRIVILEGES
from ..registry import Call, route
from ..words import commented

ROLES, GROUPS = "/access/roles", "/access/groups"
VISIBLE = ("User.Modify", "Sys.Audit", "Group.Allocate")


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


# --- groups


@route("GET", GROUPS)
def groups(call: Call) -> list[dict[str, Any]]:
    """Groups, as far as the caller may see them."""
    return [
        commented({"groupid": name, "users": ",".join(sorted(entry["users"]))}, entry)
        for name, entry in sorted(call.pve.users.data["groups"].items())
        if call.allowed(f"{GROUPS}/{name}", *VISIBLE, any_of=True)
    ]


@route("GET", GROUPS + "/{groupid}")
def group(call: Call) -> dict[str, Any]:
    """One group and its members."""
    entry = _group(call, "")
    return commented({"members": list(entry["users"])}, entry)


def _group(call: Call, prefix: str) -> dict[str, Any]:
    found: dict[str, Any] | None = call.pve.users.data["groups"].get(call["groupid"])
    return existing(found, f"{prefix}group '{call['groupid']}' does not exist")


@route("POST", GROUPS)
def create_group(call: Call) -> None:
    """Makes a group."""
    name = str(call["groupid"])
    with call.pve.users.changed() as data:
        refuse_if(name in data["groups"], f"create group failed: group '{name}' already exists")
        data["groups"][name] = commented({"users": []}, call.params)


@route("PUT", GROUPS + "/{groupid}")
def update_group(call: Call) -> None:
    """Changes a group's comment."""
    with call.pve.users.changed():
        entry = _group(call, "update group failed: ")
        if call.has("comment"):
            entry["comment"] = call["comment"]


@route("DELETE", GROUPS + "/{groupid}")
def delete_group(call: Call) -> None:
    """Removes a group and what was granted to it."""
    with call.pve.users.changed() as data:
        _group(call, "delete group failed: ")
        del data["groups"][call["groupid"]]
        for entry in data["acl"].values():
            entry.get("groups", {}).pop(call["groupid"], None)
