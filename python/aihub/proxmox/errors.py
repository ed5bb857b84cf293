"""What the Proxmox API can answer instead of a result, in our own error tree.

RefusedByProxmox            1  the API understood and said no; carries status, message and the fields in error
├── AccessRefused  4  401 or 403: the token is not accepted, or lacks a privilege
└── Changed        1  the guest's config is no longer the one that was read (digest)
Lost (Unreachable) 1  no answer, or none that says whether the call took effect
Untrusted          4  the certificate is not the pinned one
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import wraps
from typing import ParamSpec, TypeVar

from aihub.errors import HubError, PreconditionFailed, Unreachable

P = ParamSpec("P")
R = TypeVar("R")
GATEWAY = frozenset({502, 503, 504, 595, 596, 597, 598, 599})
# PVE says the same thing in two ways, for containers and for VMs.
DIGEST_TEXTS = ("detected modified configuration", "checksum mismatch")
DOUBTFUL_TEXTS = ("got timeout", "got no worker upid", "no quorum")


class RefusedByProxmox(HubError):
    """The API said no."""

    def __init__(
        self,
        what: str,
        *,
        where: str = "",
        hint: str = "",
        status: int = 0,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(what, where=where, hint=hint)
        self.status = status
        self.fields = dict(fields or {})


class AccessRefused(RefusedByProxmox, PreconditionFailed):
    """The token is not accepted, or lacks a privilege."""


class Changed(RefusedByProxmox):
    """Somebody changed the guest since its config was read."""


class Lost(Unreachable):
    """No usable answer; `sent` is False when the request certainly never reached the server."""

    def __init__(self, what: str, *, where: str = "", sent: bool = True, slow: bool = False) -> None:
        super().__init__(what, where=where, hint="run the same command again")
        self.sent = sent
        self.slow = slow


class Untrusted(PreconditionFailed):
    """The certificate is not the pinned one."""


def understood(read: Callable[P, R]) -> Callable[P, R]:
    """Turns what a `read` of the API trips over into Lost: an answer of another shape than Proxmox's says nothing."""

    @wraps(read)
    def guarded(*arguments: P.args, **named: P.kwargs) -> R:
        try:
            return read(*arguments, **named)
        except (TypeError, KeyError, ValueError, AttributeError) as error:
            text = f"the Proxmox API gave an answer that makes no sense: {type(error).__name__}: {error}"
            raise Lost(text, where=read.__name__) from error

    return guarded


def untrusted(server: str, call: str, why: str) -> Untrusted:
    """The error for a failed TLS handshake; a certificate out of its time may be a clock out of its time."""
    hint = "if the node got a new certificate: aihub trust"
    if "not yet valid" in why or "expired" in why:
        hint = f"compare the clocks of this machine and the node (timedatectl); {hint}"
    return Untrusted(f"{server} has another certificate than the pinned one: {why}", where=call, hint=hint)


def from_answer(call: str, status: int, reason: str, body: bytes, user: str) -> HubError:
    """The error for an answer of status 400 and more; `call` is like `PUT /nodes/pve/lxc/110/config`."""
    message, fields = _read(body)
    text = (message or reason or f"HTTP {status}").strip()
    if status in GATEWAY or any(t in text for t in DOUBTFUL_TEXTS):
        return Lost(f"the Proxmox API answered {status} {text}", where=call)
    if status == 401:
        return AccessRefused(
            f"the Proxmox API does not accept the token of {user}: {text}",
            where=call,
            hint="aihub trust",
            status=status,
        )
    if status == 403:
        hint = f"grant what is missing to {user}: `aihub up` does it for what it knows of"
        return AccessRefused(f"the token of {user} may not do this: {text}", where=call, hint=hint, status=status)
    details = "".join(f"\n  {name}: {said.strip()}" for name, said in fields.items())
    return refused(call, f"{text}{details}", status, fields)


def refused(call: str, text: str, status: int, fields: Mapping[str, str] | None = None) -> RefusedByProxmox:
    """The error for a no that is about the call, not about who made it."""
    if any(t in text for t in DIGEST_TEXTS):
        what = f"somebody changed it since the plan was made: {text}"
        return Changed(what, where=call, hint="aihub plan", status=status)
    return RefusedByProxmox(text, where=call, status=status, fields=fields)


def _read(body: bytes) -> tuple[str, dict[str, str]]:
    try:
        data = json.loads(body)
    except ValueError:
        return "", {}
    if not isinstance(data, dict):
        return "", {}
    errors = data.get("errors")
    fields = {str(k): str(v) for k, v in errors.items()} if isinstance(errors, dict) else {}
    return str(data.get("message") or ""), fields
