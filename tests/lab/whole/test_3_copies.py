"""What one consumer keeps in the real databases is dumped, lost, and comes back; with hypertables, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from aihub.errors import TaskFailed
from aihub.model.resolved import Consumer
from aihub.services import copies

from tests.lab.cli import Cli

pytestmark = pytest.mark.lab
NAME = "copied"  # somebody who is in no hub.yml: nobody else works with these objects
PSQL = "docker exec -i postgres-postgres-1 psql -qXAt -v ON_ERROR_STOP=1"


def consumer(resolved, kind: str) -> Consumer:
    guest = {"postgres": "db", "redis": "cache"}[kind]
    return replace(next(one for one in resolved.consumers if one.provider == f"{kind}@{guest}"), role=NAME)


# -- PostgreSQL

ROLES = f"""
CREATE ROLE {NAME} NOLOGIN; CREATE ROLE {NAME}_a LOGIN IN ROLE {NAME}; ALTER ROLE {NAME}_a SET role TO {NAME};
"""
SCHEMA = f"""
GRANT {NAME} TO hub_reconcile WITH INHERIT FALSE, SET TRUE;
ALTER SCHEMA public OWNER TO {NAME};
REVOKE {NAME} FROM hub_reconcile GRANTED BY hub_reconcile;
"""
CONTENT = r"""
CREATE TABLE items (id serial PRIMARY KEY, name text CHECK (length(name) > 0), embedding vector(3), raw bytea);
INSERT INTO items (name, embedding, raw)
SELECT E'row\n\t\\ ' || i, ARRAY[i, i / 7.0, 1]::vector, decode(md5(i::text), 'hex') FROM generate_series(1, 2000) i;
CREATE INDEX ON items USING hnsw (embedding vector_l2_ops);
CREATE FUNCTION who() RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN session_user; END';
CREATE DOMAIN mine AS text CHECK (who() <> 'postgres');
CREATE TABLE guarded (name mine);
INSERT INTO guarded VALUES ('a');
CREATE TABLE readings (at timestamptz NOT NULL, value float);
SELECT create_hypertable('readings', 'at');
INSERT INTO readings SELECT '2026-01-01Z'::timestamptz + i * interval '1 day', i FROM generate_series(0, 29) i;
"""
STATE = """
SELECT * FROM items ORDER BY id; SELECT * FROM guarded; SELECT * FROM readings ORDER BY at;
SELECT count(*) FROM show_chunks('readings'); SELECT extname FROM pg_extension ORDER BY 1;
SELECT relname, pg_get_userbyid(relowner) FROM pg_class WHERE relname IN ('items', 'guarded', 'readings') ORDER BY 1;
"""


@pytest.fixture
def renewed(hub: Cli) -> Iterator[Callable[[], None]]:
    """`renewed()`: its database is there and empty, made as reconcile.py makes one."""
    admin = f"{PSQL} -U hub_reconcile_a"

    def make() -> None:
        hub.on("db", f"{PSQL} -U postgres", f"DROP DATABASE IF EXISTS {NAME};")
        hub.on("db", f"{admin} postgres", f"CREATE DATABASE {NAME};")
        hub.on("db", f"{admin} postgres", f"GRANT CONNECT, CREATE, TEMPORARY ON DATABASE {NAME} TO {NAME};")
        hub.on("db", f"{admin} {NAME}", f"CREATE EXTENSION timescaledb;\n{SCHEMA}")

    hub.on("db", f"{admin} postgres", ROLES)
    try:
        make()
        yield make
    finally:
        gone = f"DROP DATABASE IF EXISTS {NAME};\nDROP ROLE {NAME}_a;\nDROP ROLE {NAME};"
        hub.on("db", f"{PSQL} -U postgres", gone)


def test_a_database_with_hypertables_comes_back_as_it_was(hub, inside, resolved, renewed, tmp_path: Path):
    """Its owner's functions run as the owner: a domain of it would refuse the superuser."""
    who, own, dump = consumer(resolved, "postgres"), f"{PSQL} -U {NAME}_a {NAME}", tmp_path / "dump"
    hub.on("db", own, CONTENT)
    before = hub.on("db", own, STATE)
    copies.dump(resolved, inside.state, who, dump)
    with pytest.raises(TaskFailed, match="is not empty"):
        copies.restore(resolved, inside.state, who, dump)
    renewed()
    copies.restore(resolved, inside.state, who, dump)
    assert hub.on("db", own, STATE) == before
    hub.on("db", own, "INSERT INTO readings VALUES ('2026-05-01Z', 5);")
    assert hub.on("db", own, "SELECT count(*) FROM show_chunks('readings');") == "6"
    assert hub.on("db", own, "SHOW timescaledb.restoring;") == "off"
    closed = f"SELECT has_schema_privilege('{NAME}', '_timescaledb_internal', 'CREATE');"
    assert hub.on("db", own, closed) == "f"
    (tmp_path / "cut").write_bytes(dump.read_bytes()[:-3])
    with pytest.raises(TaskFailed, match="no whole dump"):
        renewed()
        copies.restore(resolved, inside.state, who, tmp_path / "cut")


# -- Valkey


@pytest.fixture
def valkey(hub: Cli) -> Iterator[Callable[[str], str]]:
    """`valkey(commands)`: what Valkey answers to somebody who sees that consumer's keys, one line each."""

    def as_admin(command: str) -> None:
        script = f'. /etc/valkey/session.sh; half=a; echo "{command}" | session'
        assert hub.on("cache", "docker exec -i redis-redis-1 bash", script) in ("OK", "(integer) 1")

    def ask(commands: str) -> str:
        login = f"AUTH {NAME} word\n{commands}\n"
        client = "docker exec -i redis-redis-1 valkey-cli --no-raw --tls --cacert /run/secrets/ca.pem"
        return hub.on("cache", client, login).removeprefix("OK\n")

    as_admin(f"ACL SETUSER {NAME} reset on >word ~{NAME}:* +@all")
    try:
        yield ask
    finally:
        ask("UNLINK " + " ".join(f"{NAME}:{key}" for key in KEYS))
        as_admin(f"ACL DELUSER {NAME}")


KEYS = ("text", "hash", "list", "kept")
FILL = rf"""SET {NAME}:text "a\n\x00\xff\"\\ b"
HSET {NAME}:hash a 1 b 2
RPUSH {NAME}:list 1 2 3
SET {NAME}:kept "for a while" PX 600000"""
LOOK = "\n".join(f"DUMP {NAME}:{key}\nPEXPIRETIME {NAME}:{key}" for key in KEYS)


def test_keys_come_back_byte_for_byte(hub, inside, resolved, valkey, tmp_path: Path):
    who, dump = consumer(resolved, "redis"), tmp_path / "dump"
    valkey(FILL)
    before = valkey(LOOK)
    assert before.count('"\n') == len(KEYS)
    copies.dump(resolved, inside.state, who, dump)
    with pytest.raises(TaskFailed, match="keys below"):
        copies.restore(resolved, inside.state, who, dump)
    valkey("UNLINK " + " ".join(f"{NAME}:{key}" for key in KEYS))
    (tmp_path / "cut").write_bytes(dump.read_bytes()[:-3])
    with pytest.raises(TaskFailed, match="no whole dump"):
        copies.restore(resolved, inside.state, who, tmp_path / "cut")
    copies.restore(resolved, inside.state, who, dump)
    assert valkey(LOOK) == before


@pytest.mark.parametrize("kind", ["postgres", "redis"])
def test_somebody_unknown_has_no_dump(inside, resolved, kind: str, tmp_path: Path):
    who = replace(consumer(resolved, kind), role="nobody_at_all")
    with pytest.raises(TaskFailed):
        copies.dump(resolved, inside.state, who, tmp_path / "dump")
    assert not (tmp_path / "dump").exists()
