"""The Proxmox VE API with a token, over TLS that trusts one certificate; the only importer of proxmoxer.

Reads are repeated when the connection fails. A write is never repeated blindly: when its answer is lost, the
caller's `landed` looks whether it took effect, and only when it did not it is sent again.
Test hook: AIHUB_CRASH_AT (see crashpoint.py) kills this process at its N-th write.
"""

from __future__ import annotations

import hashlib
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aihub import crashpoint
from aihub.errors import HubError, PreconditionFailed

from . import clock as proxmox_clock
from . import facts as proxmox_facts
from . import state as proxmox_state
from .errors import Lost, from_answer, understood, untrusted
from .tasks import Tasks

if TYPE_CHECKING:
    from aihub.model.resolved import Hub

    from .facts import Facts
    from .state import ActualGuests

READ_TRIES = 4
WRITE_TRIES = 3
PAUSE = 0.2  # seconds before the second try, doubled for each further one
LOOKS_AFTER_RESET = 3
LOOKS_AFTER_TIMEOUT = 20  # the server may still be at it: look for ten seconds
LOOK_PAUSE = 0.5


@dataclass(frozen=True)
class Landed:
    """A write whose answer was lost did take effect; `value` is what the answer would have held."""

    value: Any = None


Looks = Callable[[], "Landed | None"]


class Proxmox:
    """One API server as one token sees it. For many threads: no two share a connection at a time."""

    def __init__(self, host: str, port: int, token: str, certificate: Path, *, timeout: float = 30) -> None:
        """`token` is `USER@REALM!NAME=UUID`; `certificate` is the PEM file that was pinned."""
        self.host = host
        self.port = port
        self.timeout = timeout
        self.certificate = certificate
        self.user, _, self._secret = token.strip().partition("=")
        self._idle: list[_Connection] = []
        self._lock = threading.Lock()
        self._clock_compared = False
        self.tasks = Tasks(self.get)

    def __repr__(self) -> str:
        return f"Proxmox({self.user} at {self.host}:{self.port})"

    @understood
    def read(self, hub: Hub) -> ActualGuests:
        """What is there now: every visible guest, and the config of those that are ours or on our numbers."""
        return proxmox_state.read(self.get, hub)

    @understood
    def facts(self, hub: Hub, vmids: frozenset[int] | None = None) -> Facts:
        """What preflight needs to know before the guests `vmids` (default: all) are made or changed."""
        return proxmox_facts.read_facts(self.get, hub, vmids)

    def get(self, path: str, **params: Any) -> Any:
        """One read; tried again when the connection fails."""
        for attempt in range(READ_TRIES):
            try:
                return self._call("get", path, params, self.timeout)
            except Lost:
                if attempt == READ_TRIES - 1:
                    raise
                time.sleep(PAUSE * 2**attempt)
        raise AssertionError("unreachable")

    def write(
        self,
        method: str,
        path: str,
        data: Mapping[str, Any] | None = None,
        *,
        landed: Looks,
        task: bool = False,
        timeout: float | None = None,
    ) -> Any:
        """One change: `method` is post, put or delete; a `task` is answered by its id. All of aihub's go through here.

        Raises Lost when the server cannot be asked whether the change took effect.
        """
        for attempt in range(WRITE_TRIES):
            try:
                value = self._write_once(method, path, data or {}, timeout or self.timeout)
                if task and not str(value).startswith("UPID:"):
                    raise Lost("the Proxmox API did not answer with a task id", where=f"{method.upper()} {path}")
                return value
            except Lost as lost:
                if lost.sent and (found := _look(landed, lost)):
                    return found.value
                if attempt == WRITE_TRIES - 1:
                    raise
                time.sleep(PAUSE * 2**attempt)
        raise AssertionError("unreachable")

    def _write_once(self, method: str, path: str, data: Mapping[str, Any], timeout: float) -> Any:
        with crashpoint.write(f"{method.upper()} {path}") as due:
            # 2 ms: long enough for the request to leave, too short for most answers to come.
            crashpoint.inside(due, 0.002)
            return self._call(method, path, data, timeout)

    def _call(self, method: str, path: str, data: Mapping[str, Any], timeout: float) -> Any:
        from requests import exceptions

        call = f"{method.upper()} {path}"
        connection = self._take()
        try:
            value = connection.send(method, path, data, timeout)
            self._compare_clocks(method, connection.answer)
            return value
        except exceptions.SSLError as error:
            raise untrusted(f"{self.host}:{self.port}", call, _inner(error)) from None
        except exceptions.RequestException as error:
            raise Lost(
                f"the Proxmox API at {self.host}:{self.port} does not answer: {_inner(error)}",
                where=call,
                sent=not _never_sent(error),
                slow=isinstance(error, exceptions.ReadTimeout),
            ) from None
        except HubError:
            raise
        except Exception as error:  # proxmoxer lets errors of its own parsing through
            answer = connection.answer
            self._compare_clocks(method, answer)
            if answer is not None and answer.status_code >= 400:
                raise from_answer(call, answer.status_code, answer.reason or "", answer.content, self.user) from None
            raise Lost(f"the Proxmox API gave an answer that cannot be read: {error}", where=call) from None
        finally:
            with self._lock:
                self._idle.append(connection)

    def _take(self) -> _Connection:
        """A connection that nobody uses; a new one costs a handshake."""
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return _Connection(self)

    def _compare_clocks(self, method: str, answer: Any) -> None:
        """Once, on the first read that was answered; a change is not judged afterwards: it is done."""
        if not self._clock_compared and method == "get" and answer is not None:
            proxmox_clock.check(self.host, answer.headers.get("Date", ""))
            self._clock_compared = True

    @property
    def credentials(self) -> dict[str, str]:
        """The token as proxmoxer wants it; never printed."""
        user, _, name = self.user.partition("!")
        return {"user": user, "token_name": name, "token_value": self._secret}

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the pinned certificate. Raises PreconditionFailed when there is none."""
        try:
            return hashlib.sha256(ssl.PEM_cert_to_DER_cert(_first(self.certificate.read_text()))).hexdigest()
        except (OSError, ValueError) as error:
            raise PreconditionFailed(
                f"no pinned certificate: {error}", where=str(self.certificate), hint="aihub trust"
            ) from error


class _Connection:
    """A proxmoxer client and its last raw answer, since proxmoxer drops the body's message."""

    def __init__(self, owner: Proxmox) -> None:
        from proxmoxer import ProxmoxAPI

        self.api = ProxmoxAPI(
            owner.host,
            port=owner.port,
            verify_ssl=str(owner.certificate),
            timeout=owner.timeout,
            **owner.credentials,
        )
        self.session: Any = self.api._store["session"]  # proxmoxer gives it out by no method
        self.answer: Any = None
        # The API is on this machine or on the LAN: proxies of the environment are for the world outside.
        self.session.trust_env = False
        self.session.mount("https://", _pinned(owner.certificate, owner.fingerprint))
        self.session.hooks["response"].append(self._keep)

    def _keep(self, answer: Any, *_: Any, **__: Any) -> None:
        self.answer = answer

    def send(self, method: str, path: str, data: Mapping[str, Any], timeout: float) -> Any:
        """One call. Raises what the libraries raise, and ValueError for an answer that is not JSON."""
        self.session.auth.timeout = timeout
        self.answer = None
        value = getattr(self.api(path.strip("/")), method)(**_plain(data))
        if isinstance(value, dict) and isinstance(value.get("errors"), bytes):
            raise ValueError("not JSON")
        return value


def _pinned(certificate: Path, fingerprint: str) -> Any:
    """A requests adapter that accepts exactly one certificate, whatever name it carries."""
    from requests.adapters import HTTPAdapter

    class Pinned(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False  # the fingerprint says more than a name
            context.load_verify_locations(cafile=str(certificate))
            # A node's certificate is signed by its cluster's own CA: the pinned one is trusted by itself.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            super().init_poolmanager(*args, ssl_context=context, assert_fingerprint=fingerprint, **kwargs)

    return Pinned()


def _look(landed: Looks, lost: Lost) -> Landed | None:
    for _ in range(LOOKS_AFTER_TIMEOUT if lost.slow else LOOKS_AFTER_RESET):
        if found := landed():
            return found
        time.sleep(LOOK_PAUSE)
    return None


def _plain(data: Mapping[str, Any]) -> dict[str, Any]:
    """Values as PVE takes them: booleans as 1 and 0, where proxmoxer would send `True`."""
    return {k: int(v) if isinstance(v, bool) else v for k, v in data.items()}


def _never_sent(error: Exception) -> bool:
    from requests import exceptions
    from urllib3.exceptions import NewConnectionError

    inner = error.args[0] if error.args else None
    reason = getattr(inner, "reason", None)
    return isinstance(error, exceptions.ConnectTimeout) or isinstance(reason, NewConnectionError)


def _inner(error: Exception) -> str:
    """The innermost words of a nested library error."""
    inner: Any = error
    while getattr(inner, "reason", None) or (inner.args and isinstance(inner.args[0], Exception)):
        inner = getattr(inner, "reason", None) or inner.args[0]
        if isinstance(inner, str):
            return inner
    return str(inner.args[-1] if inner.args else inner).strip("'\"")


def _first(text: str) -> str:
    end = "-----END CERTIFICATE-----"
    head, found, _ = text.partition(end)
    if not found:
        raise ValueError("there is no certificate in it")
    return head[head.index("-----BEGIN") :] + end
