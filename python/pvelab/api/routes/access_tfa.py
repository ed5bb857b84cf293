"""Second factors: nobody in the lab has one, and none can be set up."""

from __future__ import annotations

from typing import Any

from ..errors import ApiError, failure
from ..registry import Call, route
from .access import confirm
from .access_realms import realms, tfa_type

BASE = "/access/tfa"


@route("GET", BASE)
def listing(call: Call) -> list[dict[str, Any]]:
    """Users with second factors: none."""
    return []


@route("GET", BASE + "/{userid}")
def of_user(call: Call) -> list[dict[str, Any]]:
    """A user's second factors: none."""
    return []


def _missing(call: Call) -> ApiError:
    return ApiError(404, f"No such tfa entry '{call['id']}'")


@route("GET", BASE + "/{userid}/{id}")
def entry(call: Call) -> None:
    """One second factor, which nobody has."""
    raise _missing(call)


@route("POST", BASE + "/{userid}")
def add(call: Call) -> None:
    """Refuses: a second factor needs a proof that the lab can't check."""
    _known(call)
    raise failure(f"pvelab has no second factors: '{call['type']}' was not added")


@route("PUT", BASE + "/{userid}/{id}")
def update(call: Call) -> None:
    """Changes a second factor, which nobody has."""
    _known(call)
    raise failure(f"no such entry: '{call['id']}'")


@route("DELETE", BASE + "/{userid}/{id}")
def delete(call: Call) -> None:
    """Removes a second factor, which nobody has."""
    _known(call)
    raise failure(f"no such entry: '{call['id']}'")


def _known(call: Call) -> None:
    user = str(call["userid"])
    if user not in call.pve.users.data["users"]:
        raise failure(f"no such user ('{user}')")
    confirm(call, user, "password")


@route("GET", "/access/users/{userid}/tfa")
def types(call: Call) -> dict[str, Any]:
    """Which kinds of second factor the realm asks for and the user has."""
    realm = str(call["userid"]).rpartition("@")[2]
    found = realms(call).get(realm)
    if found is None:
        raise failure(f"auth domain '{realm}' does not exist")
    shown: dict[str, Any] = {"realm": tfa_type(found)} if found.get("tfa") else {}
    return {**shown, "user": []} if call.flag("multiple") else shown


@route("PUT", "/access/users/{userid}/unlock-tfa")
def unlock(call: Call) -> int:
    """Whether the user was locked out: never."""
    return 0
