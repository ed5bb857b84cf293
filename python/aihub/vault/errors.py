"""What the vault can answer instead of a result, in our own error tree. Values of secrets never get in here.

NotReady (PreconditionFailed) 4  not initialised, or sealed
Denied (PreconditionFailed)   4  the token is not valid, or may not do this
Moved (Conflict)              6  an entry is no longer the version that was read
Silent (Unreachable)          1  no answer; a write may have taken effect
RefusedByVault (TaskFailed)          1  the server understood and said no, or fails inside
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime

from aihub import names
from aihub.errors import Conflict, HubError, PreconditionFailed, TaskFailed, Unreachable

CAPABILITIES = {"get": "read", "list": "list", "post": "create or update", "put": "create or update"}
CAS = "check-and-set parameter did not match"
BUSY = (429, 472, 473, 502, 504)
# What a server says for a moment after it was unsealed, or while a mount is being made.
PASSING = ("internal error", "Upgrading from non-versioned", "not currently active", "still being")


class NotReady(PreconditionFailed):
    """The server is not initialised, or sealed."""


class Denied(PreconditionFailed):
    """The token is not valid, or its policies don't allow this. `expired`: the token itself is refused."""

    def __init__(self, what: str, *, where: str = "", hint: str = "", expired: bool = False) -> None:
        super().__init__(what, where=where, hint=hint)
        self.expired = expired


class Moved(Conflict):
    """Somebody changed the entry since it was read."""


class Silent(Unreachable):
    """No answer; `sent` is False when the request certainly never reached the server."""

    def __init__(self, what: str, *, where: str = "", hint: str = "", sent: bool = True) -> None:
        super().__init__(what, where=where, hint=hint)
        self.sent = sent


class RefusedByVault(TaskFailed):
    """The server said no."""

    def __init__(self, what: str, *, where: str = "", hint: str = "", status: int = 0) -> None:
        super().__init__(what, where=where, hint=hint)
        self.status = status


def from_answer(
    server: str, method: str, path: str, status: int, errors: Sequence[str], keys: Collection[str] = ()
) -> HubError:
    """The error for an answer of status 400 and more. `keys` are the names of what was to be written."""
    text = " ".join("; ".join(errors).split())
    if status == 503 and "seal" in text.lower():
        return NotReady(f"the vault at {server} is sealed", where=path, hint="aihub secrets unseal")
    if status == 501 or "not initialized" in text:
        return NotReady(f"the vault at {server} is not initialised", where=path, hint="aihub up")
    if status in (401, 403):
        needed = CAPABILITIES.get(method, method)
        return Denied(f"the vault at {server} does not let us {needed} this path: {text}", where=path)
    if CAS in text:
        named = f" (keys: {', '.join(sorted(keys))})" if keys else ""
        return Moved(
            f"somebody changed this entry since it was read{named}; theirs is kept",
            where=path,
            hint="look at it in the vault, then run the same command again",
        )
    if status in BUSY or (status == 503):
        words = f"the vault at {server} can't answer now ({status} {text})"
        # 429 comes from its rate limits, before it looks at what is asked.
        return Silent(words, where=path, hint="run it again", sent=status != 429)
    if status == 500 and (text == "internal error" or "audit" in text):
        return RefusedByVault(
            f"the vault at {server} fails inside ({text}): most often no audit device can be written, its disk is full",
            where=path,
            hint=f"aihub ssh {server.partition('.')[0]} df -h {names.data('vault')}/audit; docker logs of the vault",
            status=status,
        )
    return RefusedByVault(f"the vault at {server} refused it: {status} {text}", where=path, status=status)


def invalid_token(server: str, path: str) -> Denied:
    """The token itself is refused."""
    return Denied(
        f"the vault at {server} does not accept our token: it has expired, was revoked or is bound to another address",
        where=path,
        hint="aihub up",
        expired=True,
    )


def not_allowed(server: str, method: str, path: str) -> Denied:
    """The token is fine and its policies are not enough."""
    needed = CAPABILITIES.get(method, method)
    return Denied(
        f"our login at the vault {server} lacks the capability {needed} on {path}",
        where=path,
        hint="aihub plan shows what differs in the vault; aihub up repairs it",
    )


def from_tls(server: str, text: str) -> HubError:
    """The error for a connection that TLS refused."""
    if "not yet valid" in text or "has expired" in text:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        return PreconditionFailed(
            f"the certificate of the vault at {server} is not valid at this machine's time, {now}: "
            "one of the two clocks is wrong, or the certificate was not renewed",
            where=server,
            hint=f"compare `date -u` here with `aihub ssh {server.partition('.')[0]} date -u`",
        )
    return PreconditionFailed(
        f"what answers as the vault has no certificate of this hub for {server}: {text}",
        where=server,
        hint="find out what answers there; then aihub up",
    )
