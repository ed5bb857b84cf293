"""Users and their API tokens."""

from __future__ import annotations

import uuid
from typing import Any

from ..errors import bad, bad_field, existing, failure, refuse_if
from ..registry import Call, route
from ..usercfg import REALMS, hash_password
from ..words import truth

FIELDS = ("enable", "expire", "firstname", "lastname", "email", "comment", "keys")
NUMBERS = ("enable", "expire", "privsep")
User = dict[str, Any]


def _user(call: Call, prefix: str = "") -> User:
    name = str(call["userid"])
    found: User = existing(call.pve.users.data["users"].get(name), f"{prefix}no such user ('{name}')")
    return found


def _shown(entry: User, full: bool) -> dict[str, Any]:
    found: dict[str, Any] = {k: entry[k] for k in FIELDS if entry.get(k) not in (None, "")}
    found.setdefault("expire", 0)
    if "comment" in found or "keys" in found:
        found.setdefault("email", "")  # user.cfg keeps empty fields between others
    if full:
        found["groups"] = []
        found["tokens"] = {t: _shown_token(v) for t, v in entry.get("tokens", {}).items()} or None
    return found


def _shown_token(entry: dict[str, Any]) -> dict[str, Any]:
    return {"expire": 0, "privsep": 0, **entry}


@route("GET", "/access/users")
def listing(call: Call) -> list[dict[str, Any]]:
    """Users, as far as the caller may see them."""
    result = []
    users = call.pve.users
    visible = call.allowed("/access/groups", "User.Modify", "Sys.Audit", any_of=True)
    for name, entry in sorted(users.data["users"].items()):
        if name != call.user and not visible:
            continue
        enabled = truth(entry.get("enable"))
        if call.has("enabled") and enabled != call.flag("enabled"):
            continue
        found = _shown(entry, call.flag("full"))
        if "groups" in found:
            found["groups"] = ""
            if found["tokens"]:
                found["tokens"] = [{"tokenid": t, **v} for t, v in sorted(found["tokens"].items())]
        if (realm := name.rpartition("@")[2]) in REALMS:
            found["realm-type"] = realm
        result.append({**found, "userid": name})
    return result


def _refuse_groups(call: Call, prefix: str) -> None:
    """A node of the lab has no groups."""
    for group in call.words("groups"):
        raise failure(f"{prefix}no such group '{group}'")


@route("POST", "/access/users")
def create(call: Call) -> None:
    """Makes a user."""
    name, failed = str(call["userid"]), "create user failed: "
    with call.pve.users.changed() as data:
        refuse_if(name in data["users"], f"{failed}user '{name}' already exists")
        if call.has("password"):
            check_storable(call, name, failed)
        _refuse_groups(call, failed)
        given = {key: call[key] for key in FIELDS[1:] if call.get(key) and call[key] != "0"}
        data["users"][name] = {"enable": int(call.flag("enable", default=True)), **_typed(given)}
        if call.has("password"):
            data["passwords"][name] = hash_password(str(call["password"]))


def _typed(given: dict[str, Any]) -> dict[str, Any]:
    return {key: int(value) if key in NUMBERS else value for key, value in given.items()}


def check_storable(call: Call, name: str, prefix: str = "") -> None:
    """Raises unless the realm of a user keeps passwords of its own; the lab's pam knows root alone."""
    user, _, realm = name.rpartition("@")
    refuse_if(realm not in REALMS, f"{prefix}auth domain '{realm}' does not exist")
    if realm == "pam" and user != "root":
        raise failure(f"{prefix}change password failed: user '{user}' does not exist")


@route("GET", "/access/users/{userid}")
def get(call: Call) -> dict[str, Any]:
    """One user with tokens."""
    return _shown(_user(call), True)


@route("PUT", "/access/users/{userid}")
def update(call: Call) -> None:
    """Changes a user."""
    failed = "update user failed: "
    with call.pve.users.changed():
        entry = _user(call, failed)
        _refuse_groups(call, failed)
        entry |= _typed({key: call[key] for key in FIELDS if call.has(key)})


@route("DELETE", "/access/users/{userid}")
def delete(call: Call) -> None:
    """Removes a user; root@pam comes back as PVE's default."""
    name = str(call["userid"])
    with call.pve.users.changed() as data:
        entry = data["users"].pop(name, {})
        if name == "root@pam":
            data["users"][name] = {"enable": 1}
        data["passwords"].pop(name, None)
        for ident in (name, *(f"{name}!{token}" for token in entry.get("tokens", {}))):
            forget(call, ident)


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


def _secret(call: Call, data: dict[str, Any]) -> dict[str, Any]:
    """Makes the token's secret, which only this answer shows."""
    ident, value = f"{call['userid']}!{call['tokenid']}", str(uuid.uuid4())
    data["secrets"][ident] = value
    return {"value": value, "full-tokenid": ident}


@route("POST", ONE)
def create_token(call: Call) -> dict[str, Any]:
    """Makes a token: the only answer that shows its secret."""
    with call.pve.users.changed() as data:
        tokens = _user(call).setdefault("tokens", {})
        refuse_if(call["tokenid"] in tokens, bad(tokenid="Token already exists."))
        info: dict[str, Any] = {"privsep": call.get("privsep", 1)}
        info |= {key: call[key] for key in ("expire", "comment") if call.has(key) and call[key] != ""}
        tokens[call["tokenid"]] = _typed(info)
        return {"info": info, **_secret(call, data)}


@route("PUT", ONE)
def update_token(call: Call) -> dict[str, Any]:
    """Changes a token; what was sent comes back as the text it was."""
    delete = call.words("delete")
    with call.pve.users.changed() as data:
        entry = _token(call)
        for key in delete:
            refused = bad_field("delete", f"unknown option '{key}'")
            refuse_if(key != "comment", f"updating token info failed: {refused.text}")
        sent = {key: call[key] for key in ("privsep", "expire", "comment") if call.has(key)}
        entry |= _typed(sent)
        if delete or not entry.get("comment"):
            entry.pop("comment", None)
        found = {**_shown_token(entry), **{k: v for k, v in sent.items() if k in entry}}
        return {**found, **_secret(call, data)} if call.flag("regenerate") else found


@route("DELETE", ONE)
def delete_token(call: Call) -> None:
    """Revokes a token."""
    with call.pve.users.changed():
        _token(call)
        del _user(call)["tokens"][call["tokenid"]]
        forget(call, f"{call['userid']}!{call['tokenid']}")
