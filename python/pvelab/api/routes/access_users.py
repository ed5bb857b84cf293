"""Users and their API tokens."""

from __future__ import annotations

import uuid
from typing import Any

from ..auth import hash_password
from ..errors import bad, bad_field, existing, failure, refuse_if
from ..registry import Call, route
from ..words import split_list, truth

FIELDS = ("enable", "expire", "firstname", "lastname", "email", "comment", "keys")
NUMBERS = ("enable", "expire", "privsep")
User = dict[str, Any]


def _user(call: Call, prefix: str = "") -> User:
    name = str(call["userid"])
    found: User = existing(call.pve.users.data["users"].get(name), f"{prefix}no such user ('{name}')")
    return found


def _shown(call: Call, name: str, entry: User, full: bool) -> dict[str, Any]:
    found: dict[str, Any] = {k: entry[k] for k in FIELDS if entry.get(k) not in (None, "")}
    found.setdefault("expire", 0)
    if "comment" in found or "keys" in found:
        found.setdefault("email", "")  # user.cfg keeps empty fields between others
    if full:
        groups = call.pve.users.data["groups"]
        found["groups"] = sorted(g for g, v in groups.items() if name in v["users"])
        tokens = {t: _shown_token(v) for t, v in entry.get("tokens", {}).items()}
        found["tokens"] = tokens or None
    return found


def _shown_token(entry: dict[str, Any]) -> dict[str, Any]:
    return {"expire": 0, "privsep": 0, **entry}


@route("GET", "/access/users")
def listing(call: Call) -> list[dict[str, Any]]:
    """Users, as far as the caller may see them."""
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
            if found["tokens"]:
                found["tokens"] = [{"tokenid": t, **v} for t, v in sorted(found["tokens"].items())]
        realm = users.data["realms"].get(name.rpartition("@")[2])
        if realm:
            found["realm-type"] = realm["type"]
        result.append({**found, "userid": name})
    return result


def _visible(call: Call, name: str) -> bool:
    if name == call.user or call.allowed("/access/groups", "User.Modify", "Sys.Audit", any_of=True):
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
        refuse_if(group not in groups, f"{prefix}no such group '{group}'")
    for group, entry in groups.items():
        if not call.flag("append") and group not in wanted and name in entry["users"]:
            entry["users"].remove(name)
        if group in wanted and name not in entry["users"]:
            entry["users"].append(name)


@route("POST", "/access/users")
def create(call: Call) -> None:
    """Makes a user."""
    name = str(call["userid"])
    users, failed = call.pve.users, "create user failed: "
    with users.lock:
        refuse_if(name in users.data["users"], f"{failed}user '{name}' already exists")
        if call.has("password"):
            check_storable(call, name, failed)
        if call.get("groups"):
            _set_groups(call, name, failed)
        entry: User = {"enable": int(call.flag("enable", default=True))}
        for key in FIELDS[1:]:
            if call.get(key) and call[key] != "0":
                entry[key] = int(call[key]) if key in NUMBERS else call[key]
        users.data["users"][name] = entry
        if call.has("password"):
            users.data["passwords"][name] = hash_password(str(call["password"]))
        users.save()


def check_storable(call: Call, name: str, prefix: str = "") -> None:
    """Raises unless the realm of a user keeps passwords of its own; the lab's pam knows root alone."""
    user, _, realm = name.rpartition("@")
    known = existing(call.pve.users.data["realms"].get(realm), f"{prefix}auth domain '{realm}' does not exist")
    if known["type"] == "pam" and user != "root":
        raise failure(f"{prefix}change password failed: user '{user}' does not exist")
    refuse_if(known["type"] not in ("pam", "pve"), f"{prefix}can't set password on auth type '{known['type']}'")


@route("GET", "/access/users/{userid}")
def get(call: Call) -> dict[str, Any]:
    """One user with groups and tokens."""
    return _shown(call, str(call["userid"]), _user(call), True)


@route("PUT", "/access/users/{userid}")
def update(call: Call) -> None:
    """Changes a user."""
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
    """Removes a user; root@pam comes back as PVE's default."""
    name, users = str(call["userid"]), call.pve.users
    with users.lock:
        entry = users.data["users"].pop(name, {})
        idents = {name, *(f"{name}!{token}" for token in entry.get("tokens", {}))}
        if name == "root@pam":
            users.data["users"][name] = {"enable": 1}
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


# --- tokens

ONE = "/access/users/{userid}/token/{tokenid}"


@route("GET", "/access/users/{userid}/token")
def tokens(call: Call) -> list[dict[str, Any]]:
    """A user's tokens, without their secrets."""
    return [{"tokenid": name, **_shown_token(v)} for name, v in sorted(_user(call).get("tokens", {}).items())]


def _token(call: Call, prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] | None = _user(call, prefix).get("tokens", {}).get(call["tokenid"])
    if found is None:
        raise failure(f"{prefix}no such token '{call['tokenid']}' for user '{call['userid']}'")
    return found


@route("GET", ONE)
def get_token(call: Call) -> dict[str, Any]:
    """One token, without its secret."""
    return _shown_token(_token(call))


@route("POST", ONE)
def create_token(call: Call) -> dict[str, Any]:
    """Makes a token: the only answer that shows its secret."""
    users, name = call.pve.users, str(call["tokenid"])
    with users.lock:
        entry = _user(call)
        refuse_if(name in entry.get("tokens", {}), bad(tokenid="Token already exists."))
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
    """Changes a token; what was sent comes back as the text it was."""
    users = call.pve.users
    with users.lock:
        entry = _token(call)
        for key in split_list(str(call.get("delete", ""))):
            if key != "comment":
                refused = bad_field("delete", f"unknown option '{key}'")
                raise failure(f"updating token info failed: {refused.text}")
        sent = {key: call[key] for key in ("privsep", "expire", "comment") if call.has(key)}
        entry |= {key: int(value) if key in NUMBERS else value for key, value in sent.items()}
        if split_list(str(call.get("delete", ""))) or not entry.get("comment"):
            entry.pop("comment", None)
        found = {**_shown_token(entry), **{k: v for k, v in sent.items() if k in entry}}
        if call.flag("regenerate"):
            ident, value = f"{call['userid']}!{call['tokenid']}", str(uuid.uuid4())
            users.data["secrets"][ident] = value
            found |= {"value": value, "full-tokenid": ident}
        users.save()
    return found


@route("DELETE", ONE)
def delete_token(call: Call) -> None:
    """Revokes a token."""
    with call.pve.users.lock:
        _token(call)
        del _user(call)["tokens"][call["tokenid"]]
        forget(call, f"{call['userid']}!{call['tokenid']}")
        call.pve.users.save()
