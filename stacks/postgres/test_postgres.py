"""PostgreSQL answers as its consumers need it: over TLS, paired logins, vectors, hypertables, nothing for strangers."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from aihub.checks import tls
from aihub.model.resolved import Instance
from aihub.state.directory import State

SSL_REQUEST = 80877103
NEAREST = "SELECT id FROM items ORDER BY embedding <-> '[1,0,0]' LIMIT 2"
Open = Callable[..., Any]


def ask_for_tls(link: socket.socket) -> None:
    """Asks the server to go on in TLS, as its clients do."""
    link.sendall(struct.pack("!II", 8, SSL_REQUEST))
    assert link.recv(1) == b"S", "the server offers no TLS"


@pytest.fixture(scope="session")
def server(forward: Callable[[int], int], instance: Instance, state: State) -> dict[str, Any]:
    """Where the server is, and that it must prove its name."""
    return {
        "host": instance.guest.fqdn, "hostaddr": "127.0.0.1", "port": forward(5432), "connect_timeout": 10,
        "sslmode": "verify-full", "sslrootcert": str(state.ca),
    }  # fmt: skip


@pytest.fixture(scope="session")
def login(server: dict[str, Any], secret: Callable[[str], str]) -> Open:
    """`login(half)`: a connection of the checks' own consumer; everything done in it is rolled back."""

    @contextmanager
    def connect(
        half: str = "a", *, password: str = "", database: str = "verify", **options: str
    ) -> Iterator[psycopg.Connection]:
        who = {"user": f"verify_{half}", "dbname": database, "password": password or secret(f"verify_{half}")}
        connection = psycopg.connect(**{**server, **options, **who})
        try:
            yield connection
        finally:
            connection.rollback()
            connection.close()

    return connect


@pytest.mark.parametrize("half", ["a", "b"])
def test_login(login: Open, half: str) -> None:
    """both logins of a pair act as the owner of what is in their database, and the database is aihub's"""
    owners = """SELECT (SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'public'),
                       (SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database())"""
    with login(half) as connection:
        found = connection.execute(f"SELECT session_user, current_user, owners.* FROM ({owners}) owners").fetchone()
    assert found == (f"verify_{half}", "verify", "verify", "hub_reconcile")


FORBIDDEN = (
    "ALTER DATABASE verify SET search_path = other",
    "COMMENT ON DATABASE verify IS 'seen by all'",
    "SET ROLE postgres",
    "SET temp_file_limit = -1",
    "SELECT * FROM pg_stat_activity",
    "SELECT * FROM pg_locks",
    "SELECT * FROM pg_shdepend",
)


@pytest.mark.parametrize("what", FORBIDDEN)
def test_others(login: Open, what: str) -> None:
    """a consumer can't set anything for whoever connects to its database, nor see or show anything to others"""
    with login() as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
        connection.execute(what)


def test_vector_search(login: Open) -> None:
    """a vector search through an HNSW index finds the nearest rows"""
    with login() as connection:
        connection.execute("CREATE TABLE items (id int PRIMARY KEY, embedding vector(3))")
        connection.execute("INSERT INTO items VALUES (1, '[1,0,0]'), (2, '[0,1,0]'), (3, '[0.9,0.1,0]')")
        connection.execute("CREATE INDEX ON items USING hnsw (embedding vector_l2_ops)")
        connection.execute("SET LOCAL enable_seqscan = off")
        plan = " ".join(line for (line,) in connection.execute(f"EXPLAIN {NEAREST}"))
        assert "items_embedding_idx" in plan
        assert connection.execute(NEAREST).fetchall() == [(1,), (3,)]


def test_hypertable(login: Open) -> None:
    """a hypertable spreads a month of rows over chunks and sums them up by week"""
    with login() as connection:
        connection.execute("CREATE TABLE readings (at timestamptz NOT NULL, value float)")
        connection.execute("SELECT create_hypertable('readings', 'at')")
        connection.execute(
            "INSERT INTO readings SELECT '2026-01-01Z'::timestamptz + i * interval '1 day', i"
            " FROM generate_series(0, 29) i"
        )
        chunks = connection.execute("SELECT count(*) FROM show_chunks('readings')").fetchone()
        weeks = connection.execute(
            "SELECT sum(value) FROM readings GROUP BY time_bucket('7 days', at, '2026-01-01Z'::timestamptz) ORDER BY 1"
        ).fetchall()
    assert chunks and chunks[0] >= 4
    assert [value for (value,) in weeks] == [21, 57, 70, 119, 168]


def test_wrong_password(login: Open) -> None:
    """a wrong password is refused"""
    with (
        pytest.raises(psycopg.OperationalError, match="authentication failed"),
        login(password="not-the-password"),
    ):
        pass


def test_other_database(login: Open) -> None:
    """a consumer can't open a database of somebody else"""
    with (
        pytest.raises(psycopg.OperationalError, match="permission denied for database"),
        login(database="postgres"),
    ):
        pass


def test_superuser(server: dict[str, Any]) -> None:
    """the superuser can't log in over the network"""
    with pytest.raises(psycopg.OperationalError, match="rejects connection"):
        psycopg.connect(**server, user="postgres", password="x")


def test_superuser_password(execute: Callable[..., str]) -> None:
    """the superuser has no password, and what its first start used is gone"""
    query = "SELECT rolname FROM pg_authid WHERE rolpassword IS NOT NULL AND rolname IN ('postgres', 'hub_reconcile_a')"
    command = ["psql", "--no-psqlrc", "--tuples-only", "--no-align", "--username=postgres", f"--command={query}"]
    assert execute("postgres", *command).split() == ["hub_reconcile_a"]


def test_plaintext(login: Open) -> None:
    """a connection without TLS is refused"""
    with pytest.raises(psycopg.OperationalError, match="no encryption"), login(sslmode="disable"):
        pass


def test_certificate(server: dict[str, Any], login: Open, instance: Instance, state: State) -> None:
    """it proves its name with a certificate of the hub's own authority"""
    _, version = tls.certificate(server["port"], server["host"], state.ca, ask_for_tls)
    assert version == "TLSv1.3"
    with (
        pytest.raises(psycopg.OperationalError, match="does not match host name"),
        login(host=f"other.{instance.guest.fqdn}"),
    ):
        pass


def test_newest_certificate(server: dict[str, Any], state: State, instance: Instance) -> None:
    """it serves with the newest certificate that its agent got, a third of whose life is still to come"""
    found, _ = tls.certificate(server["port"], server["host"], state.ca, ask_for_tls)
    tls.require_life_left(found, server["host"])
    tls.require_newest(found, state, instance)


def test_old_tls(server: dict[str, Any], state: State) -> None:
    """it refuses TLS older than 1.2"""
    refusal = tls.refusal_of_old(server["port"], server["host"], state.ca, ask_for_tls)
    assert "PROTOCOL" in refusal, refusal or "it was let in"


def test_privileges(login: Open) -> None:
    """nobody who logs in over the network is a superuser"""
    with login() as connection:
        found = connection.execute("SELECT rolname FROM pg_roles WHERE rolsuper AND rolname <> 'postgres'").fetchall()
    assert found == []
