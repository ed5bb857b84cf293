"""dump.sh and restore.sh of stacks/postgres and stacks/redis on real servers: what comes back is what there was.

Debian's PostgreSQL here has no TimescaleDB; with hypertables they are tried in tests/lab.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aihub.paths import STACKS
from aihub.services import service as services
from redis import Redis

from . import rotation_services
from .rotation_services import UID
from .rotation_world import World

pytestmark = pytest.mark.slow
Run = Callable[..., "subprocess.CompletedProcess[bytes]"]
EVERY_BYTE = bytes(range(256))


def bash(script: Path, argument: str, stdin: bytes, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", str(script), argument],
        input=stdin, capture_output=True, check=False, user=UID, group=UID, cwd=script.parent, env=environment,
    )  # fmt: skip


# -- PostgreSQL


@pytest.fixture(scope="module")
def postgres(world: World) -> Run:
    """`postgres("dump", "verify", stdin)`."""
    home = world.home / "postgres"
    path = f"{rotation_services._postgres_bin()}:/usr/bin:/bin"
    access = {"PATH": path, "PGHOST": str(home), "PGPORT": str(world.facts.postgres_port), "LC_ALL": "C.UTF-8"}

    def run(program: str, database: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        own = home / f"{program}.sh"
        own.write_text((STACKS / "postgres" / "config" / own.name).read_text())
        return bash(own, database, stdin, PGDATA=f"{home}/data", **access)

    return run


@pytest.fixture(scope="module")
def sql(world: World) -> Callable[..., str]:
    """`sql(user, database, text)`: what psql answers."""
    home = world.home / "postgres"

    def ask(user: str, database: str, text: str) -> str:
        argv = ["psql", "-qXAt", "-v", "ON_ERROR_STOP=1", "-h", str(home), "-p", str(world.facts.postgres_port)]
        done = subprocess.run([*argv, "-U", user, database], input=text.encode(), capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()

    return ask


CONTENT = r"""
CREATE TABLE items (id serial PRIMARY KEY, name text CHECK (length(name) > 0), raw bytea);
INSERT INTO items (name, raw) SELECT E'row\n\t\\ ' || i, decode(md5(i::text), 'hex') FROM generate_series(1, 500) i;
CREATE SCHEMA extra; CREATE VIEW extra.counted AS SELECT count(*) FROM items;
CREATE EXTENSION pg_trgm;
CREATE FUNCTION who() RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN session_user; END';
CREATE DOMAIN mine AS text CHECK (who() LIKE 'verify%');
CREATE TABLE guarded (name mine);
INSERT INTO guarded VALUES ('a');
SELECT lo_from_bytea(0, '\x0001ff');
"""
STATE = """
SELECT * FROM items ORDER BY id; SELECT * FROM extra.counted; SELECT * FROM guarded;
SELECT extname FROM pg_extension ORDER BY 1; SELECT lo_get(oid) FROM pg_largeobject_metadata;
SELECT relname, pg_get_userbyid(relowner) FROM pg_class WHERE relname IN ('items', 'counted') ORDER BY 1;
SELECT nextval('items_id_seq');
"""


def renewed(sql: Callable[..., str]) -> None:
    sql("postgres", "postgres", "\n".join(["DROP DATABASE IF EXISTS verify;", *rotation_services.database("verify")]))


@pytest.fixture
def content(sql: Callable[..., str]) -> str:
    """A database with all kinds of things in it; what it says of itself."""
    renewed(sql)
    sql("verify_a", "verify", CONTENT)
    return sql("verify_a", "verify", STATE)


def test_a_database_comes_back_as_it_was(content: str, postgres: Run, sql: Callable[..., str]) -> None:
    """Its owner's functions run as the owner: a domain of it would refuse a superuser."""
    dumped = postgres("dump", "verify")
    assert (dumped.returncode, dumped.stderr) == (0, b"")
    renewed(sql)
    restored = postgres("restore", "verify", dumped.stdout)
    assert (restored.returncode, restored.stderr) == (0, b"")
    # The first question took a number of the sequence before the dump.
    assert re.sub(r"\d+\n$", "", sql("verify_a", "verify", STATE)) == re.sub(r"\d+\n$", "", content)


def test_a_dump_holds_no_role_and_no_password(content: str, postgres: Run, world: World) -> None:
    dumped = postgres("dump", "verify").stdout
    assert b"CREATE ROLE" not in dumped
    assert b"SCRAM-SHA-256" not in dumped


def test_nothing_is_restored_over_what_is_there(content: str, postgres: Run, sql: Callable[..., str]) -> None:
    restored = postgres("restore", "verify", postgres("dump", "verify").stdout)
    assert restored.returncode == 1
    assert b"verify is not empty" in restored.stderr
    assert sql("verify_a", "verify", "SELECT count(*) FROM items") == "500\n"


@pytest.mark.parametrize("program", ["dump", "restore"])
@pytest.mark.parametrize("name", ["nobody", "", "a b", "verify; x", "-h"])
def test_an_unknown_database_is_refused(postgres: Run, program: str, name: str) -> None:
    done = postgres(program, name)
    assert done.returncode != 0
    assert b"end of" not in done.stdout


def test_a_dump_that_was_cut_is_seen_before_anything_is_written(
    content: str, postgres: Run, sql: Callable[..., str], world: World
) -> None:
    whole = postgres("dump", "verify").stdout
    renewed(sql)
    for size in (0, 10, len(whole) // 2, len(whole) - 3, len(whole) - 1):
        cut = postgres("restore", "verify", whole[:size])
        assert (cut.returncode, cut.stderr) == (1, b"restore.sh: what came is no whole dump of verify\n"), size
    assert sql("verify_a", "verify", "SELECT count(*) FROM pg_class WHERE relname = 'items'") == "0\n"
    assert postgres("restore", "verify", whole.replace(b"end of verify", b"end of another")).returncode == 1
    assert not list((world.home / "postgres").glob("restore.*[!h]"))


def test_a_broken_dump_that_ends_well_fails_loudly(content: str, postgres: Run, sql: Callable[..., str]) -> None:
    whole = postgres("dump", "verify").stdout
    renewed(sql)
    half = whole[: len(whole) // 2] + b"end of verify\n"
    done = postgres("restore", "verify", half)
    assert done.returncode == 1
    assert b"verify is not whole; drop it" in done.stderr


# -- Valkey


@pytest.fixture(scope="module")
def valkey(world: World) -> Run:
    """`valkey("dump", "verify", stdin)`."""
    home = world.home / "redis"

    def run(program: str, user: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        return bash(home / f"{program}.sh", user, stdin, PATH=f"{home}:/usr/bin:/bin")

    return run


@pytest.fixture(scope="module")
def client(world: World) -> Any:
    """The user whose keys are copied."""
    reconcile: Any = services.reconciler("redis")
    with (
        world.reach().service(world.hub.instance("redis@db")) as service,
        service.relay() as path,
        Redis(unix_socket_path=str(path), username="verify", password=service.pair("verify")["a"]) as found,
    ):
        assert reconcile.can_login(service, "verify", "a", service.pair("verify")["a"])
        yield found


KEYS = [b"verify:" + name for name in (b"text", b"hash", b"list", b"zset", b"stream", b"empty", b"kept", EVERY_BYTE)]


@pytest.fixture
def filled(client: Redis) -> dict[bytes, Any]:
    """Keys of all kinds; what they are."""
    client.unlink(*KEYS)
    client.set("verify:text", b'a\n"b"\\ \xff')
    client.hset("verify:hash", mapping={str(i): os.urandom(9) for i in range(700)})
    client.rpush("verify:list", *range(100))
    client.zadd("verify:zset", {"a": 1, "b": 2.5})
    client.xadd("verify:stream", {"a": "b"})
    client.set("verify:empty", "")
    client.set("verify:kept", "for a while", px=600_000)
    client.set(b"verify:" + EVERY_BYTE, EVERY_BYTE * 2000)
    return found(client)


def found(client: Redis) -> dict[bytes, Any]:
    ask: Any = client
    return {key: (ask.type(key), value(ask, key), ask.execute_command("PEXPIRETIME", key)) for key in KEYS}


def test_keys_come_back_byte_for_byte_and_end_when_they_should(
    filled: dict[bytes, Any], valkey: Run, client: Redis
) -> None:
    dumped = valkey("dump", "verify")
    assert (dumped.returncode, dumped.stderr) == (0, b"")
    assert dumped.stdout.endswith(f"end of verify: {len(KEYS)}\n".encode())
    client.unlink(*KEYS)
    restored = valkey("restore", "verify", dumped.stdout)
    assert (restored.returncode, restored.stderr) == (0, b"")
    assert found(client) == filled
    assert filled[b"verify:kept"][2] > 0


def test_a_dump_of_no_keys_is_whole_too(valkey: Run, client: Redis) -> None:
    client.unlink(*KEYS)
    dumped = valkey("dump", "verify")
    assert (dumped.returncode, dumped.stdout) == (0, b"end of verify: 0\n")
    assert valkey("restore", "verify", dumped.stdout).returncode == 0


def test_no_key_is_restored_over_others(filled: dict[bytes, Any], valkey: Run, client: Redis) -> None:
    done = valkey("restore", "verify", valkey("dump", "verify").stdout)
    assert (done.returncode, done.stderr) == (1, b"restore.sh: there are 8 keys below verify: already\n")
    assert found(client) == filled


@pytest.mark.parametrize("program", ["dump", "restore"])
@pytest.mark.parametrize("name", ["nobody", "", "*", "verify:*", "-h"])
def test_an_unknown_user_is_refused(valkey: Run, program: str, name: str) -> None:
    done = valkey(program, name)
    assert done.returncode != 0
    assert b"end of" not in done.stdout


def test_keys_that_were_cut_off_or_changed_are_seen_and_nothing_is_left(
    filled: dict[bytes, Any], valkey: Run, client: Redis
) -> None:
    whole = valkey("dump", "verify").stdout
    client.unlink(*KEYS)
    first, *rest = whole.splitlines(keepends=True)
    broken = {
        "cut": whole[: len(whole) // 2],
        "the last byte is missing": whole[:-1],
        "a line is missing": b"".join(rest),
        "another's": whole.replace(b'"verify:text"', b'"other:text"'),
        "a command more": first.replace(b'" 0 "', b'" 0 "" REPLACE "') + b"".join(rest),
        "a byte of a value": first[:-10] + (b"z" if first[-10:-9] != b"z" else b"y") + first[-9:] + b"".join(rest),
    }
    for what, text in broken.items():
        assert valkey("restore", "verify", text).returncode == 1, what
        assert client.exists(*KEYS) == 0, what


def value(client: Any, key: bytes) -> Any:
    """The value of any key, without the command that its own user may not use."""
    kind = client.type(key)
    if kind == b"hash":
        return client.hgetall(key)
    if kind == b"list":
        return client.lrange(key, 0, -1)
    if kind == b"zset":
        return client.zrange(key, 0, -1, withscores=True)
    return client.xrange(key) if kind == b"stream" else client.get(key)
