"""Realms: the two that every node has."""

from __future__ import annotations

from typing import Any

from ..digests import digest
from ..errors import existing
from ..registry import Call, route

BASE = "/access/domains"


@route("GET", BASE)
def listing(call: Call) -> list[dict[str, Any]]:
    """What the login page offers; anyone may ask."""
    return [{"realm": name, **entry} for name, entry in sorted(call.pve.users.data["realms"].items())]


@route("GET", BASE + "/{realm}")
def get(call: Call) -> dict[str, Any]:
    """One realm's definition."""
    realms = call.pve.users.data["realms"]
    entry = existing(realms.get(call["realm"]), f"domain '{call['realm']}' does not exist")
    plugin = {"plugin": "PVE::Auth::PAM"} if entry["type"] == "pam" else {}
    return {**entry, **plugin, "digest": digest(realms)}
