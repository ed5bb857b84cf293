"""Tickets, CSRF tokens and API tokens: who is asking."""

from __future__ import annotations

import base64
import hmac
import re
import secrets
import time
from pathlib import Path
from urllib.parse import unquote

from . import store
from .errors import ApiError, existing, refuse_if
from .formats import TOKEN
from .usercfg import UserConfig

TICKET_LIFE = 7200
CSRF_LIFE = TICKET_LIFE


class AuthFailed(Exception):
    """A 401 whose text is the reason phrase; nothing else is said."""


def header_value(header: str | None, name: str) -> str | None:
    """The value of NAME= in a Cookie or Authorization header."""
    found = re.search(rf"(?:^|\s){name}(?:=| )([^;]*)", header) if header else None
    return unquote(found[1]) if found else None


def credentials(headers: dict[str, str | None]) -> tuple[str | None, str | None]:
    """The ticket that a client shows, or else its token: a ticket hides a token."""
    cookie, header = headers.get("cookie"), headers.get("authorization")
    ticket = header_value(cookie, "PVEAuthCookie") or header_value(header, "PVEAuthCookie")
    return ticket, None if ticket else header_value(header, "PVEAPIToken")


class Auth:
    """Makes and verifies what a client proves itself with."""

    def __init__(self, key_file: Path, users: UserConfig, root_password: str) -> None:
        if not key_file.exists():
            store.write(key_file, secrets.token_bytes(64))
        self.key = key_file.read_bytes()
        self.users = users
        self.root_password = root_password

    def _sign(self, text: str) -> str:
        first = hmac.digest(self.key, text.encode(), "sha512")
        rest = hmac.digest(self.key, first, "sha512") + hmac.digest(self.key, first + b"1", "sha512")
        return base64.b64encode(first + rest + hmac.digest(self.key, first + b"2", "sha512")).decode()

    def ticket(self, user: str) -> str:
        """A fresh ticket."""
        plain = f"PVE:{user}:{int(time.time()):08X}"
        return f"{plain}::{self._sign(plain)}"

    def verify_ticket(self, ticket: str) -> str | None:
        """The user of a valid ticket."""
        found = re.fullmatch(r"(PVE:(\S+@\S+?):([0-9A-F]{8}))::([A-Za-z0-9+/=]+)", ticket)
        if not found or not hmac.compare_digest(self._sign(found[1]), found[4]):
            return None
        age = time.time() - int(found[3], 16)
        return found[2] if -300 < age < TICKET_LIFE else None

    def csrf(self, user: str) -> str:
        """A fresh CSRF prevention token."""
        stamp = f"{int(time.time()):08X}"
        return f"{stamp}:{self._csrf_digest(stamp, user)}"

    def _csrf_digest(self, stamp: str, user: str) -> str:
        found = hmac.digest(self.key, f"{stamp}:{user}".encode(), "sha256")
        return base64.b64encode(found).decode().rstrip("=")

    def verify_csrf(self, user: str, token: str | None) -> None:
        """Raises unless the token was made for this user."""
        stamp, _, digest = (token or "").partition(":")
        valid = bool(re.fullmatch(r"[0-9A-F]{8}", stamp)) and hmac.compare_digest(
            self._csrf_digest(stamp, user), digest
        )
        if not valid or not -300 < time.time() - int(stamp, 16) < CSRF_LIFE:
            raise AuthFailed("Permission denied - invalid csrf token")

    def verify_token(self, text: str) -> str:
        """The full token id of USER@REALM!ID=SECRET."""
        ident, _, value = text.partition("=")
        found = existing(TOKEN.fullmatch(ident), AuthFailed("Authentication failed!"))
        user, name = found.groups()
        token = self.users.token(user, name)
        if token is None or not self.users.enabled(user) or _expired(token.get("expire")):
            raise AuthFailed("Authentication failed!")
        refuse_if(not hmac.compare_digest(self.users.token_secret(ident), value), AuthFailed("Authentication failed!"))
        return ident

    def log_in(self, user: str, password: str) -> str:
        """The user who proves to be one by password or by a valid ticket."""
        refused = ApiError(401, "authentication failure\n")
        if not self.users.enabled(user):
            raise refused
        owner = self.verify_ticket(password)
        if owner and owner in (user, "root@pam"):
            return user
        if user == "root@pam":
            if hmac.compare_digest(self.root_password.encode(), password.encode()):
                return user
        elif self.users.check_password(user, password):
            return user
        raise refused

    def identify(
        self,
        method: str,
        path: str,
        headers: dict[str, str | None],
        is_upload: bool,
    ) -> str | None:
        """The authenticated user or token id; None where the call needs none. Raises AuthFailed."""
        if is_public(method, path):
            return None
        ticket, token = credentials(headers)
        if token:
            return self.verify_token(token)
        user = self.verify_ticket(existing(ticket or None, AuthFailed("No ticket")))
        if not user or not self.users.enabled(user):
            raise AuthFailed("Authentication failed!")
        if method != "GET" and not is_upload:
            self.verify_csrf(user, headers.get("csrf"))
        return user


def is_public(method: str, path: str) -> bool:
    """Whether a call is answered without any proof of who asks."""
    return (method, path) in {
        ("GET", "/access/domains"),
        ("GET", "/access/ticket"),
        ("POST", "/access/ticket"),
        ("POST", "/access/vncticket"),
        ("POST", "/access/openid/login"),
        ("POST", "/access/openid/auth-url"),
    }


def _expired(stamp: object) -> bool:
    return bool(stamp) and int(str(stamp)) < time.time()
