"""Realms: definitions are kept, only pam and pve can let anyone in."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ..errors import ApiError, TaskError, bad, failure
from ..registry import Call, index, route
from ..schema import split_property_string
from ..sections import section, typed
from ..surface import named_format
from ..tasks import Log
from ..words import split_list

BASE = "/access/domains"
LDAP = (
    "bind_dn capath case-sensitive cert certkey comment default filter group_classes group_dn group_filter"
    " group_name_attr mode password port secure server2 sslversion sync-defaults-options sync_attributes tfa"
    " user_classes verify"
)
TYPES = {
    "ad": section("domain server1", f"base_dn user_attr {LDAP}"),
    "ldap": section("base_dn server1 user_attr", LDAP),
    "openid": section(
        "client-id issuer-url",
        "acr-values audiences autocreate client-key comment default groups-autocreate groups-claim groups-overwrite"
        " prompt query-userinfo scopes username-claim!",
    ),
    "pam": section("", "comment default tfa"),
    "pve": section("", "comment default tfa"),
}
BUILTIN = {
    "pam": {"type": "pam", "comment": "Linux PAM standard authentication"},
    "pve": {"type": "pve", "comment": "Proxmox VE authentication server"},
}
DIRECTORIES = ("ldap", "ad")
Realm = dict[str, Any]


def realms(call: Call) -> dict[str, Realm]:
    """All realms by name."""
    found: dict[str, Realm] = call.pve.users.data["realms"]
    return found


def _digest(call: Call) -> str:
    text = json.dumps(realms(call), sort_keys=True)
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


def tfa_type(entry: Realm) -> str | None:
    """The kind of second factor that a realm asks for."""
    fields = split_property_string(named_format("pve-tfa-config") or {}, entry.get("tfa", ""))
    return fields.get("type")


@route("GET", BASE)
def listing(call: Call) -> list[Realm]:
    """What the login page offers; anyone may ask."""
    found = []
    for name, entry in sorted(realms(call).items()):
        shown: Realm = {"realm": name, "type": entry["type"]}
        if entry.get("comment"):
            shown["comment"] = entry["comment"]
        if entry.get("default"):
            shown["default"] = 1
        if entry.get("tfa"):
            shown["tfa"] = tfa_type(entry)
        found.append(shown)
    return found


@route("GET", BASE + "/{realm}")
def get(call: Call) -> Realm:
    """One realm's definition, without secrets."""
    entry = realms(call).get(call["realm"])
    if entry is None:
        raise failure(f"domain '{call['realm']}' does not exist")
    found = {k: v for k, v in entry.items() if k not in ("password", "client-key") or entry["type"] == "openid"}
    if entry["type"] == "pam":
        found["plugin"] = "PVE::Auth::PAM"
    return {**found, "digest": _digest(call)}


def _store(call: Call, name: str, entry: Realm) -> None:
    table = realms(call)
    if entry.get("default"):
        for other in table.values():
            other.pop("default", None)
    table[name] = entry
    call.pve.users.save()


@route("POST", BASE)
def create(call: Call) -> None:
    """Defines a realm."""
    new = {k: v for k, v in call.params.items() if k not in ("realm", "password")}
    name, kind = str(call["realm"]), str(call["type"])
    checked = new.pop("check-connection", None) is not None
    failed = "add auth server failed: "
    with call.pve.users.lock:
        if name in realms(call):
            raise failure(f"{failed}domain '{name}' already exists")
        if kind in BUILTIN:
            raise failure(f"{failed}unable to create builtin type '{kind}'")
        _check_connection(checked, kind, failed)
        _checked(kind, {k: v for k, v in new.items() if k != "type"}, True, failed)
        _store(call, name, typed(f"POST {BASE}", new))


def _check_connection(asked: bool, kind: str, failed: str) -> None:
    if asked and kind not in DIRECTORIES:
        text = "'check-connection' parameter can only be set for realms of type 'ldap' or 'ad'"
        raise failure(f"{failed}{text}")


def _checked(kind: str, new: Realm, create: bool, failed: str) -> None:
    try:
        TYPES[kind].check(new, create)
    except ApiError as error:
        raise failure(f"{failed}{error.text}") from None


@route("PUT", BASE + "/{realm}")
def update(call: Call) -> None:
    """Changes a realm; what is deleted may still be missed afterwards."""
    skipped = ("realm", "digest", "delete", "password", "check-connection")
    new = {k: v for k, v in call.params.items() if k not in skipped}
    name, failed = str(call["realm"]), "update auth server failed: "
    with call.pve.users.lock:
        if call.has("digest") and call["digest"] != _digest(call):
            raise failure(f"{failed}detected modified configuration - file changed by other user? Try again.")
        old = realms(call).get(name)
        if old is None:  # PVE's lookup of the type comes first and ends in an error of its own
            raise failure(f"{failed}cannot lookup undefined type! at /usr/share/perl5/PVE/API2/Domains.pm line 261.")
        kind = old["type"]
        _check_connection(call.has("check-connection"), kind, failed)
        delete = split_list(str(call.get("delete", "")))
        if not new and not delete and not call.has("password"):
            raise failure(f"{failed}no options specified")
        _checked(kind, new, False, failed)
        entry = {k: v for k, v in old.items() if k not in delete} | typed(f"POST {BASE}", new)
        TYPES[kind].complete(entry, f"{failed}section '{name}' - ")
        _store(call, name, {**BUILTIN.get(name, {}), **entry})


@route("DELETE", BASE + "/{realm}")
def delete(call: Call) -> None:
    """Removes a realm; pam and pve are back at once."""
    name = str(call["realm"])
    with call.pve.users.lock:
        if realms(call).pop(name, None) is None:
            raise failure(f"delete auth server failed: authentication domain '{name}' does not exist")
        if name in BUILTIN:
            realms(call)[name] = dict(BUILTIN[name])
        call.pve.users.save()


@route("POST", BASE + "/{realm}/sync")
def sync(call: Call) -> str:
    """Starts a synchronisation; the lab reaches no directory, so its task fails."""
    entry = realms(call).get(call["realm"])
    if entry is None:
        raise bad(realm="Realm does not exist.")
    if entry["type"] not in DIRECTORIES:
        raise failure(f"Cannot sync realm type '{entry['type']}'! Only LDAP/AD realms can be synced.")
    options = split_property_string(
        named_format("realm-sync-options") or {}, str(entry.get("sync-defaults-options", ""))
    )
    if not call.has("scope") and "scope" not in options:
        raise bad(scope="Not passed as parameter and not defined in realm default sync options.")

    def work(log: Log) -> None:
        dry = "(dry test run) " if call.flag("dry-run") else ""
        log(f"{dry}starting sync for realm {call['realm']}")
        raise TaskError(f"unable to connect to {entry['server1']}")

    return call.start("auth-realm-sync-test" if call.flag("dry-run") else "auth-realm-sync", call["realm"], work)


# --- OpenID Connect

index("/access/openid", "subdir", "auth-url", "login")


@route("POST", "/access/openid/auth-url")
def auth_url(call: Call) -> str:
    """Where to log in: the lab asks no provider for it."""
    entry = realms(call).get(call["realm"])
    if entry is None:
        raise failure(f"authentication domain '{call['realm']}' does not exist")
    if entry["type"] != "openid":
        raise failure(f"wrong realm type ({entry['type']} != openid)")
    raise failure(f"pvelab reaches no OpenID provider: {entry['issuer-url']}")


@route("POST", "/access/openid/login")
def login(call: Call) -> None:
    """No login was begun here, so none is good."""
    raise ApiError(401, "authentication failure\n")
