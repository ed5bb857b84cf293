"""Users and their API tokens."""

from __future__ import annotations

import uuid
from typing import Any

from ..auth import hash_password
from ..errors import bad, bad_field, failure
from ..registry import Call, route
from ..words import split_list, truth

FIELDS = ("enable", "expire", "firstname", "lastname", "email", "comment", "keys")
NUMBERS = ("enable", "expire", "privsep")
User = dict[str, Any]


def _user(call: Call, prefix: str = "") -> User:
    name = str(call["userid"])
    found: User | None = call.pve.users.data["users"].get(name)
    if found is None:
        raise failure(f"{prefix}no such user ('{name}')")
    return found


def _shown(call: Call, name: str, entry: User, full: bool) -> dict[str, Any]:
    found: dict[str, Any] = {k: entry[k] for k in FIELDS if entry.get(k) is not None}
    if full:
        groups = call.pve.users.data["groups"]
        found["groups"] = sorted(g for g, v in groups.items() if name in v["users"])
        found["tokens"] = entry.get("tokens", {})
    return found


@route("GET", "/access/users")
def listing(call: Call) -> list[dict[str, Any]]:
    result = []
    users = call.pve.users
    for name, entry in sorted(users.data["users"].items()):
        if not _visible(call, name):
            continue
        enabled = truth(entry.get("enable"))
        if call.has("enabled") and enabled != call.flag("enabled"):
            continue
        found = _shown(call, name, entry, call.flag("full"))
        if "groups" in found:
            found["groups"] = ",".join(found["groups"])
            found["tokens"] = [{"tokenid": t, **v} for t, v in sorted(found["tokens"].items())]
        realm = users.data["realms"].get(name.rpartition("@")[2])
        if realm:
            found["realm-type"] = realm["type"]
        result.append({**found, "userid": name})
    return result


def _visible(call: Call, name: str) -> bool:
    owner = call.user.partition("!")[0]
    if name == owner or call.allowed("/access/groups", "User.Modify", "Sys.Audit", any_of=True):
        return True
    groups = call.pve.users.data["groups"]
    return any(
        name in v["users"] and call.allowed(f"/access/groups/{g}", "User.Modify", "Sys.Audit", any_of=True)
        for g, v in groups.items()
    )


def _set_groups(call: Call, name: str, prefix: str) -> None:
    groups = call.pve.users.data["groups"]
    wanted = split_list(str(call.get("groups", "")))
    for group in wanted:
        if group not in groups:
            raise failure(f"{prefix}no such group '{group}'")
    for group, entry in groups.items():
        if not call.flag("append") and group not in wanted and name in entry["users"]:
            entry["users"].remove(name)
        if group in wanted and name not in entry["users"]:
            entry["users"].append(name)


@route("POST", "/access/users")
def create(call: Call) -> None:
    name = str(call["userid"])
    users, failed = call.pve.users, "create user failed: "
    with users.lock:
        if name in users.data["users"]:
            raise failure(f"{failed}user '{name}' already exists")
        realm = name.rpartition("@")[2]
        if realm not in users.data["realms"]:
            raise failure(f"{failed}domain '{realm}' does not exist")
        if call.has("password") and realm != "pve":
            raise failure(f"{failed}pvelab keeps passwords of realm pve only")
        if call.has("groups"):
            _set_groups(call, name, failed)
        entry: User = {"enable": int(call.flag("enable", default=True))}
        for key in FIELDS[1:]:
            if call.get(key) and call[key] != "0":
                entry[key] = int(call[key]) if key in NUMBERS else call[key]
        users.data["users"][name] = entry
        if call.has("password"):
            users.data["passwords"][name] = hash_password(str(call["password"]))
        users.save()


@route("GET", "/access/users/{userid}")
def get(call: Call) -> dict[str, Any]:
    return _shown(call, str(call["userid"]), _user(call), True)


@route("PUT", "/access/users/{userid}")
def update(call: Call) -> None:
    failed = "update user failed: "
    with call.pve.users.lock:
        entry = _user(call, failed)
        if call.has("groups"):
            _set_groups(call, str(call["userid"]), failed)
        for key in FIELDS:
            if call.has(key):
                entry[key] = int(call[key]) if key in NUMBERS else call[key]
        call.pve.users.save()


@route("DELETE", "/access/users/{userid}")
def delete(call: Call) -> None:
    name, users = str(call["userid"]), call.pve.users
    with users.lock:
        entry = _user(call, "delete user failed: ")
        if name == "root@pam":
            entry["enable"] = 1
        idents = {name, *(f"{name}!{token}" for token in entry.get("tokens", {}))}
        users.data["users"].pop(name)
        users.data["passwords"].pop(name, None)
        for ident in idents:
            forget(call, ident)
        for group in users.data["groups"].values():
            if name in group["users"]:
                group["users"].remove(name)
        users.save()


def forget(call: Call, ident: str) -> None:
    """Removes a user or token from the access control list and from the kept secrets."""
    data = call.pve.users.data
    data["secrets"].pop(ident, None)
    for path, entry in list(data["acl"].items()):
        entry.get("users", {}).pop(ident, None)
        entry.get("tokens", {}).pop(ident, None)
        if not any(entry.values()):
            del data["acl"][path]


@route("GET", "/access/users/{userid}/tfa")
def tfa(call: Call) -> dict[str, Any]:
    _user(call)
    return {}


# --- tokens

ONE = "/access/users/{userid}/token/{tokenid}"


@route("GET", "/access/users/{userid}/token")
def tokens(call: Call) -> list[dict[str, Any]]:
    return [{"tokenid": name, **entry} for name, entry in sorted(_user(call).get("tokens", {}).items())]


def _token(call: Call, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] | None = _user(call, prefix).get("tokens", {}).get(call["tokenid"])
    if found is None:
        raise failure(f"{prefix}no such token '{call['tokenid']}' for user '{call['userid']}'")
    return found


@route("GET", ONE)
def get_token(call: Call) -> dict[str, Any]:
    return dict(_token(call))


@route("POST", ONE)
def create_token(call: Call) -> dict[str, Any]:
    users, name = call.pve.users, str(call["tokenid"])
    with users.lock:
        entry = _user(call)
        if name in entry.get("tokens", {}):
            raise bad(tokenid="Token already exists.")
        info: dict[str, Any] = {"privsep": call.get("privsep", 1)}
        if call.has("expire"):
            info["expire"] = call["expire"]
        if call.get("comment"):
            info["comment"] = call["comment"]
        kept = {k: int(v) if k in NUMBERS else v for k, v in info.items()}
        entry.setdefault("tokens", {})[name] = kept
        ident, value = f"{call['userid']}!{name}", str(uuid.uuid4())
        users.data["secrets"][ident] = value
        users.save()
    return {"info": info, "value": value, "full-tokenid": ident}


@route("PUT", ONE)
def update_token(call: Call) -> dict[str, Any]:
    users = call.pve.users
    with users.lock:
        entry = _token(call)
        for key in ("privsep", "expire", "comment"):
            if call.has(key):
                entry[key] = int(call[key]) if key in NUMBERS else call[key]
        for key in split_list(str(call.get("delete", ""))):
            if key not in ("comment", "expire", "privsep"):
                raise bad_field("delete", f"unknown option '{key}'")
            entry.pop(key, None)
        found = dict(entry)
        if call.flag("regenerate"):
            ident, value = f"{call['userid']}!{call['tokenid']}", str(uuid.uuid4())
            users.data["secrets"][ident] = value
            found |= {"value": value, "full-tokenid": ident}
        users.save()
    return found


@route("DELETE", ONE)
def delete_token(call: Call) -> None:
    with call.pve.users.lock:
        _token(call)
        del _user(call)["tokens"][call["tokenid"]]
        forget(call, f"{call['userid']}!{call['tokenid']}")
        call.pve.users.save()


# --- realms


@route("GET", "/access/domains")
def domains(call: Call) -> list[dict[str, Any]]:
    return [{"realm": name, **entry} for name, entry in sorted(call.pve.users.data["realms"].items())]


@route("GET", "/access/domains/{realm}")
def domain(call: Call) -> dict[str, Any]:
    found = call.pve.users.data["realms"].get(call["realm"])
    if found is None:
        raise failure(f"domain '{call['realm']}' does not exist")
    return dict(found)


@route("GET", "/access/tfa")
def all_tfa(call: Call) -> list[dict[str, Any]]:
    return []


@route("GET", "/access/openid")
def openid(call: Call) -> list[dict[str, str]]:
    return [{"subdir": "auth-url"}, {"subdir": "login"}]
