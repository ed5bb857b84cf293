"""How tests/vault/kinds_server.py is asked; and the users in it as a reconcile.py keeps them."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aihub.errors import HubError
from aihub.model.resolved import RECONCILE_ROLE as ADMIN
from aihub.services.declared import Declared
from aihub.services.service import Half, Service, Step

from .kinds_server import summed

SECONDS = 10.0


def ask(link: socket.socket, **asked: Any) -> dict[str, Any]:
    """One request. Raises PermissionError when it is refused, and OSError when nothing answers."""
    with link.makefile("rwb") as stream:
        stream.write(json.dumps(asked).encode() + b"\n")
        stream.flush()
        line = stream.readline(100_000)
    if not line:
        raise ConnectionError("the connection was closed")
    found: dict[str, Any] = json.loads(line)
    if "error" in found:
        raise PermissionError(found["error"])
    return found


def connected(port: int, server: str, context: ssl.SSLContext) -> ssl.SSLSocket:
    """A connection to a port of loopback, for a server of this name."""
    plain = socket.create_connection(("127.0.0.1", port), SECONDS)
    try:
        return context.wrap_socket(plain, server_hostname=server)
    except BaseException:
        plain.close()
        raise


@dataclass(frozen=True)
class Users:
    """What the reconcile.py of a provider does, by its strategy."""

    strategy: str

    def read(self, service: Service) -> set[str]:
        """The users that are there, aihub's own aside."""
        return {name for name in self._admin(service, do="users")["users"] if not name.startswith(ADMIN)}

    def diff(self, declared: Declared, state: set[str] | None) -> list[Step]:
        """A step for each user that is missing."""
        every = [user for consumer in declared.consumers for user in self._users(consumer.role)]
        return [Step("create", f"user {user}", details={"user": user}) for user in every if user not in (state or ())]

    def apply(self, service: Service, steps: Sequence[Step], say: Callable[[str], None]) -> None:
        """Makes them."""
        missing = {step.details["user"] for step in steps}
        for role in (one.role for one in service.declared.consumers):
            if missing.intersection(self._users(role)):
                for half in ("a", "b") if self.strategy == "pair" else ("a",):
                    self.set_passwords(service, role, service.pair(role), half)
                say(role)

    def set_passwords(self, service: Service, role: str, passwords: Mapping[str, str], changing: Half) -> None:
        """The service takes `passwords[changing]`."""
        halves = ("a", "b") if self.strategy == "overlap" else (changing,)
        sums = [summed(passwords[half]) for half in halves]
        self._admin(service, do="set", name=self._user(role, changing), sums=sums)

    def can_login(self, service: Service, role: str, half: Half, password: str) -> bool:
        """Whether this opens it."""
        try:
            self._ask(service, user=self._user(role, half), password=password)
        except PermissionError:
            return False
        return True

    def _users(self, role: str) -> Sequence[str]:
        return [self._user(role, half) for half in ("a", "b")] if self.strategy == "pair" else [role]

    def _user(self, role: str, half: str) -> str:
        return f"{role}_{half}" if self.strategy == "pair" else role

    def _admin(self, service: Service, **asked: Any) -> dict[str, Any]:
        kept = service.pair(ADMIN)
        halves: Sequence[Half] = ("a",) if self.strategy == "single" else ("a", "b")
        half = next((half for half in halves if self.can_login(service, ADMIN, half, kept[half])), None)
        if half is None:
            raise HubError("no password that the vault keeps opens it", where=service.instance.name)
        return self._ask(service, user=self._user(ADMIN, half), password=kept[half], **asked)

    def _ask(self, service: Service, **asked: Any) -> dict[str, Any]:
        with service.tcp(tls=True) as link:
            return ask(link, **asked)
