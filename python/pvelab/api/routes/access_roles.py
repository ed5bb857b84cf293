"""Roles and groups."""

from __future__ import annotations

from typing import Any

from ..errors import bad, existing, refuse_if
from ..privileges import BUILTIN_ROLES, PRIVILEGES
from ..registry import Call, route
from ..words import split_list


@route("GET", "/access/roles")
def roles(call: Call) -> list[dict[str, Any]]:
    """All roles with their privileges."""
    return [
        {"roleid": name, "privs": ",".join(sorted(privs)), "special": int(name in BUILTIN_ROLES)}
        for name, privs in sorted(call.pve.users.roles().items())
    ]


@route("GET", "/access/roles/{roleid}")
def role(call: Call) -> dict[str, int]:
    """One role's privileges."""
    name = str(call["roleid"])
    found = existing(call.pve.users.roles().get(name), f"role '{name}' does not exist")
    return dict.fromkeys(sorted(found), 1)


@route("POST", "/access/roles")
def create_role(call: Call) -> None:
    """Makes a role."""
    name = str(call["roleid"])
    if name.upper().startswith("PVE"):
        raise bad(roleid="cannot use role ID starting with the (case-insensitive) 'PVE' namespace")
    with call.pve.users.lock:
        refuse_if(name in call.pve.users.roles(), f"create role failed: role '{name}' already exists")
        call.pve.users.data["roles"][name] = sorted(set(split_list(str(call.get("privs", "")))))
        call.pve.users.save()


@route("PUT", "/access/roles/{roleid}")
def update_role(call: Call) -> None:
    """Changes a role's privileges."""
    name = str(call["roleid"])
    with call.pve.users.lock:
        refuse_if(name in BUILTIN_ROLES, f"auto-generated role '{name}' cannot be modified")
        refuse_if(name not in call.pve.users.data["roles"], f"update role failed: role '{name}' does not exist")
        privs = set(split_list(str(call.get("privs", ""))))
        if call.flag("append"):
            privs |= set(call.pve.users.data["roles"][name])
        call.pve.users.data["roles"][name] = sorted(privs & PRIVILEGES)
        call.pve.users.save()


@route("DELETE", "/access/roles/{roleid}")
def delete_role(call: Call) -> None:
    """Removes a role."""
    name = str(call["roleid"])
    with call.pve.users.lock:
        refuse_if(name in BUILTIN_ROLES, f"auto-generated role '{name}' cannot be deleted")
        refuse_if(name not in call.pve.users.data["roles"], f"delete role failed: role '{name}' does not exist")
        del call.pve.users.data["roles"][name]
        call.pve.users.save()


# --- groups


@route("GET", "/access/groups")
def groups(call: Call) -> list[dict[str, Any]]:
    """Groups, as far as the caller may see them."""
    found = []
    for name, entry in sorted(call.pve.users.data["groups"].items()):
        if not call.allowed(f"/access/groups/{name}", "User.Modify", "Sys.Audit", "Group.Allocate", any_of=True):
            continue
        shown = {"groupid": name, "users": ",".join(sorted(entry["users"]))}
        if entry.get("comment"):
            shown["comment"] = entry["comment"]
        found.append(shown)
    return found


@route("GET", "/access/groups/{groupid}")
def group(call: Call) -> dict[str, Any]:
    """One group and its members."""
    entry = _group(call, "")
    found: dict[str, Any] = {"members": list(entry["users"])}
    if entry.get("comment"):
        found["comment"] = entry["comment"]
    return found


def _group(call: Call, prefix: str) -> dict[str, Any]:
    name = str(call["groupid"])
    found: dict[str, Any] = existing(call.pve.users.data["groups"].get(name), f"{prefix}group '{name}' does not exist")
    return found


@route("POST", "/access/groups")
def create_group(call: Call) -> None:
    """Makes a group."""
    name = str(call["groupid"])
    with call.pve.users.lock:
        refuse_if(name in call.pve.users.data["groups"], f"create group failed: group '{name}' already exists")
        entry: dict[str, Any] = {"users": []}
        if call.get("comment"):
            entry["comment"] = call["comment"]
        call.pve.users.data["groups"][name] = entry
        call.pve.users.save()


@route("PUT", "/access/groups/{groupid}")
def update_group(call: Call) -> None:
    """Changes a group's comment."""
    with call.pve.users.lock:
        entry = _group(call, "update group failed: ")
        if call.has("comment"):
            entry["comment"] = call["comment"]
        call.pve.users.save()


@route("DELETE", "/access/groups/{groupid}")
def delete_group(call: Call) -> None:
    """Removes a group and what was granted to it."""
    with call.pve.users.lock:
        _group(call, "delete group failed: ")
        del call.pve.users.data["groups"][call["groupid"]]
        for entry in call.pve.users.data["acl"].values():
            entry.get("groups", {}).pop(call["groupid"], None)
        call.pve.users.save()
