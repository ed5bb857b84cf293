"""The vault (OpenBao or HashiCorp Vault) over a forwarded socket; the only importer of hvac.

The server must show a certificate of the hub's own authority for its name. A token that has expired is replaced by
one more login; everything else becomes an error of vault_errors that names path and capability, never a value.
Test hook: AIHUB_CRASH_AT (see crashpoint.py) kills this process at its N-th write.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aihub import crashpoint, ssh
from aihub.errors import HubError, PreconditionFailed

from .access import Access
from .calls import Answer, Health, Initialised, Names
from .desired import vault_of
from .errors import PASSING, Denied, NotReady, RefusedByVault, Silent, from_answer, from_tls
from .errors import invalid_token as _invalid
from .errors import not_allowed as _not_allowed
from .kv import KV, KeyValue
from .pki import Engines

if TYPE_CHECKING:
    from aihub.model.resolved import Hub
    from aihub.state.directory import State

PORT = 8200
TRIES = 5
PAUSE = 0.1  # seconds before the second try, doubled for each further one
SETTLING = 5.0  # seconds that a server may need after it was unsealed


class Vault(KeyValue, Access, Engines):
    """One server as one token sees it; keeps the hub's secrets (services.secrets.Secrets). For many threads."""

    def __init__(self, socket: Path, server_name: str, ca: Path, token: str = "", *, timeout: float = 15) -> None:
        """`socket` leads to the server's port, `ca` is the root certificate that its own must come from."""
        import hvac

        from . import wire as vault_wire

        if not ca.is_file():
            raise PreconditionFailed("the hub's root certificate is not here", where=str(ca), hint="aihub up")
        self.server_name = server_name
        session = vault_wire.session(socket, ca)
        url = f"https://{server_name}:{PORT}"
        self._client = hvac.Client(url=url, token=token, verify=str(ca), session=session, timeout=timeout)
        self._credentials: tuple[str, str] | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Vault({self.server_name})"

    def close(self) -> None:
        """Ends the connections."""
        self._client.adapter.close()

    # -- the server itself; not through hvac's sys, which lets every status of sys/health pass as an answer

    def health(self) -> Health:
        """How the server is; asked without a token."""
        options = {"standbyok": "true", "sealedcode": "200", "uninitcode": "200", "standbycode": "200"}
        data = self._call("get", "sys/health", params=options)
        return Health(
            initialised=bool(data["initialized"]),
            sealed=bool(data["sealed"]),
            standby=bool(data["standby"]),
            version=str(data["version"]),
            skew=float(data["server_time_utc"]) - datetime.now(UTC).timestamp(),
        )

    def wait(self, ready: Callable[[Health], bool], seconds: float) -> Health:
        """Waits until the server answers and is as wanted. Raises what keeps it from that when time is up."""
        end = time.monotonic() + seconds
        while True:
            try:
                health = self.health()
                if ready(health):
                    return health
                late: HubError = NotReady(f"not ready within {seconds:.0f} s: {health}", where=self.server_name)
            except Silent as error:
                late = error
            if time.monotonic() > end:
                raise late
            time.sleep(0.1)

    def initialise(self, shares: int, threshold: int) -> Initialised:
        """Makes the server's keys. Nobody can ask for them a second time."""
        wanted = {"secret_shares": shares, "secret_threshold": threshold}
        data = self.put("sys/init", wanted, repeat=False)
        return Initialised(tuple(data["keys_base64"]), str(data["root_token"]))

    def unseal(self, share: str) -> bool:
        """Hands in one share; True when the server is open now."""
        return not self.put("sys/unseal", {"key": share})["sealed"]

    # -- our login

    def login(self, role_id: str, secret_id: str) -> None:
        """Logs in with an AppRole; again by itself when the token has expired."""
        self._client.token = ""
        try:
            answer = self.put("auth/approle/login", {"role_id": role_id, "secret_id": secret_id})
        except Denied as error:
            raise _invalid(self.server_name, "auth/approle/login") from error
        except RefusedByVault as error:
            if error.status != 400:
                raise
            raise _invalid(self.server_name, "auth/approle/login") from error
        self._client.token = answer["auth"]["client_token"]
        self._credentials = (role_id, secret_id)

    def use(self, token: str) -> None:
        """Works with this token from now on."""
        self._client.token, self._credentials = token, None

    # -- calls

    def get(self, path: str) -> Answer | None:
        """What lies at a path; None when there is nothing."""
        return self._call("get", path, missing=True).get("data")

    def names(self, path: str) -> Names:
        """The names directly below a path, sorted."""
        found = self._call("list", path, missing=True).get("data") or {}
        return sorted(found.get("keys") or [])

    def put(self, path: str, data: Mapping[str, Any], *, wrap: int = 0, repeat: bool = True) -> Answer:
        """Writes; gives the whole answer."""
        with crashpoint.write(f"vault put {path}") as due:
            # 2 ms: long enough for the request to leave, too short for most answers to come.
            crashpoint.inside(due, 0.002)
            return self._call("put", path, repeat=repeat, json=dict(data), wrap_ttl=f"{wrap}s" if wrap else None)

    def delete(self, path: str) -> None:
        """Removes; fine if there is nothing."""
        with crashpoint.write(f"vault delete {path}") as due:
            crashpoint.inside(due, 0.002)
            self._call("delete", path, missing=True)

    def _call(self, method: str, path: str, *, repeat: bool = True, missing: bool = False, **more: Any) -> Answer:
        end, renewed = time.monotonic() + SETTLING, False
        for attempt in range(1000):
            token = self._client.token
            try:
                return self._send(method, path, missing, **more)
            except Denied:
                if path.startswith(("auth/approle/login", "auth/token/lookup-self")) or not token:
                    raise
                if self._valid():
                    raise _not_allowed(self.server_name, method, path) from None
                if renewed or not self._login_again(token):
                    raise _invalid(self.server_name, path) from None
                renewed = True
            except Silent as error:
                if attempt >= TRIES - 1 or (error.sent and not repeat):
                    raise
                time.sleep(PAUSE * 2**attempt)
            except RefusedByVault as error:
                if time.monotonic() > end or not any(text in error.what for text in PASSING):
                    raise
                time.sleep(0.2)
        raise AssertionError("unreachable")

    def _send(self, method: str, path: str, missing: bool, **more: Any) -> Answer:
        from requests import exceptions

        body = more.get("json") or {}
        keys: Collection[str] = body.get("data") or () if path.startswith(f"{KV}/data/") else ()
        try:
            answer = self._client.adapter.request(method, f"/v1/{path}", raise_exception=False, **more)
        except exceptions.SSLError as error:
            if _cut_off(error):
                raise _silent(self.server_name, path, error) from None
            raise from_tls(self.server_name, _inner(error)) from None
        except exceptions.RequestException as error:
            raise _silent(self.server_name, path, error) from None
        if isinstance(answer, dict):
            return answer
        found = _json(answer)
        if answer.status_code < 400 or (answer.status_code == 404 and missing):
            return found
        errors = found.get("errors") or [str(answer.reason)]
        raise from_answer(self.server_name, method, path, answer.status_code, errors, keys)

    def _valid(self) -> bool:
        try:
            self._send("get", "auth/token/lookup-self", False)
        except Denied:
            return False
        return True

    def _login_again(self, old: str) -> bool:
        with self._lock:
            if self._credentials is None:
                return False
            if self._client.token == old:  # else another thread did
                self.login(*self._credentials)
            return True


@contextmanager
def connected(hub: Hub, state: State) -> Iterator[Vault]:
    """The hub's vault through its guest, without a login; it answers where the guest stands now."""
    guest = vault_of(hub).guest
    address = ssh.aliases(state).get(guest.name, str(guest.address))
    with ssh.forward(state, guest.name, f"{address}:{PORT}") as socket:
        vault = Vault(socket, guest.fqdn, state.ca)
        try:
            yield vault
        finally:
            vault.close()


@contextmanager
def opened(hub: Hub, state: State) -> Iterator[Vault]:
    """The hub's vault, logged in as its operator."""
    role_id, secret_id = operator(state)
    with connected(hub, state) as vault:
        vault.login(role_id, secret_id)
        yield vault


def operator(state: State) -> tuple[str, str]:
    """The controller's own login: role-id and secret-id."""
    try:
        found = json.loads(state.vault_login.read_text())
        return str(found["role_id"]), str(found["secret_id"])
    except FileNotFoundError:
        raise PreconditionFailed(
            "this machine has no login at the vault", where=str(state.vault_login), hint="aihub up"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise PreconditionFailed(
            "the login at the vault cannot be read", where=str(state.vault_login), hint="take it from the recovery kit"
        ) from None


def _json(answer: Any) -> Answer:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _silent(server: str, path: str, error: Exception) -> Silent:
    from requests.exceptions import ConnectTimeout
    from urllib3.exceptions import NewConnectionError

    inner: Any = error.args[0] if error.args else None
    reason = getattr(inner, "reason", None) or inner
    cause = next((e for e in (reason, *getattr(reason, "args", ())) if isinstance(e, OSError)), None)
    never = isinstance(error, ConnectTimeout) or isinstance(reason, NewConnectionError)
    never = never or isinstance(cause, ConnectionRefusedError | FileNotFoundError)
    return Silent(
        f"the vault at {server} does not answer: {_inner(error)}",
        where=path,
        hint=f"aihub status; aihub ssh {server.partition('.')[0]}",
        sent=not never,
    )


def _cut_off(error: BaseException) -> bool:
    """Whether a TLS connection just ended: a forward accepts and hangs up when nobody listens behind it."""
    inner: object = error
    while isinstance(inner, BaseException):
        if isinstance(inner, ssl.SSLEOFError | ssl.SSLZeroReturnError | ssl.SSLSyscallError):
            return True
        inner = getattr(inner, "reason", None) or next((a for a in inner.args if isinstance(a, Exception)), None)
    return False


def _inner(error: BaseException) -> str:
    """The innermost words of a nested library error."""
    inner: Any = error
    while getattr(inner, "reason", None) or (inner.args and isinstance(inner.args[0], Exception)):
        inner = getattr(inner, "reason", None) or inner.args[0]
        if isinstance(inner, ssl.SSLCertVerificationError):
            return inner.verify_message
        if isinstance(inner, str):
            return inner
    return str(inner.args[-1] if inner.args else inner).strip("'\"")
