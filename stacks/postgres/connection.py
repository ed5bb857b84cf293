"""Connections to PostgreSQL that do as we say and not as somebody set for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from aihub.errors import HubError, TaskFailed, Unreachable
from aihub.model.resolved import RECONCILE_ROLE as ADMIN
from aihub.services.service import Half, Service
from aihub.services.wire import plain

if TYPE_CHECKING:
    import psycopg

_SECONDS = 10
FULL = "too many connections for role"  # told only to who has proven the password


class Full(HubError):
    """The login is right and has all the connections open that it may have."""


# What is set for a database or a role counts less than what is asked for at the start of a connection.
PINNED = {
    "search_path": "pg_catalog,pg_temp",
    "local_preload_libraries": "",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    "default_transaction_isolation": r"read\ committed",
    "standard_conforming_strings": "on",
    "quote_all_identifiers": "off",
    "transform_null_equals": "off",
    "array_nulls": "on",
    "row_security": "on",
    "check_function_bodies": "on",
    "default_tablespace": "",
    "temp_tablespaces": "",
    "client_min_messages": "error",
    "lock_timeout": "60s",
    "statement_timeout": "10min",
    "idle_in_transaction_session_timeout": "10min",
}


@contextmanager
def connect(service: Service, user: str, password: str, database: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection with autocommit. Raises Unreachable, Full, and PermissionError when the login is refused."""
    with service.port() as port, _opened(service, port, user, password, database) as connection:
        yield connection


@contextmanager
def _opened(service: Service, port: int, user: str, password: str, database: str) -> Iterator[psycopg.Connection[Any]]:
    import psycopg

    try:
        connection = psycopg.connect(
            host=service.server_name, hostaddr="127.0.0.1", port=port, user=user, password=password,
            dbname=database, sslmode="verify-full", sslrootcert=str(service.ca),
            connect_timeout=_SECONDS, autocommit=True, application_name="aihub", client_encoding="utf8",
            options=" ".join(f"-c {name}={value}" for name, value in PINNED.items()),
        )  # fmt: skip
    except psycopg.OperationalError as error:
        refused = any(word in str(error) for word in ("authentication failed", "not permitted", "permission denied"))
        if refused or "does not exist" in str(error):
            raise PermissionError(f"{user} can't log in to {database}") from error
        if FULL in str(error):
            raise Full(f"{user} has every connection open that it may have", where=service.instance.name) from error
        raise Unreachable(f"PostgreSQL does not answer: {plain(str(error))}", where=service.instance.name) from error
    try:
        yield connection
    except psycopg.Error as error:
        text = f"PostgreSQL refused: {plain(str(error))}"
        raise TaskFailed(text, where=service.instance.name, hint="aihub up") from error
    finally:
        connection.close()


@contextmanager
def as_admin(service: Service, database: str = "postgres") -> Iterator[psycopg.Connection[Any]]:
    """A connection of our own: of the half in use, else, in the middle of a rotation, of the other one."""
    active: Half = "b" if service.pair(ADMIN)["active"] == "b" else "a"
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(as_half(service, active, database))
        except PermissionError:
            try:
                connection = stack.enter_context(as_half(service, "a" if active == "b" else "b", database))
            except PermissionError as error:
                raise foreign(service, error) from error
        yield connection


@contextmanager
def as_half(service: Service, half: Half, database: str = "postgres") -> Iterator[psycopg.Connection[Any]]:
    """A connection of one half of our pair."""
    with connect(service, f"{ADMIN}_{half}", service.pair(ADMIN)[half], database) as connection:
        connection.execute(f"SET ROLE {ADMIN}".encode())
        yield connection


def foreign(service: Service, error: PermissionError) -> HubError:
    """The error for a server that knows no password of ours."""
    text = f"no password that the vault keeps opens {ADMIN}: {error}"
    hint = "the vault or the database is another hub's: compare, then restore the one that is older"
    return HubError(text, where=service.instance.name, hint=hint)


def unlogged(connection: psycopg.Connection[Any]) -> None:
    """What follows is written into no log of the server."""
    connection.execute("SET log_statement = 'none'")
    connection.execute("SET log_min_error_statement = 'panic'")


def set_password(connection: psycopg.Connection[Any], name: str, password: str) -> None:
    """Sends a verifier, never the password."""
    from psycopg import sql

    verifier = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
    connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(name), sql.Literal(verifier)))
