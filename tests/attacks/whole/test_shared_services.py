"""Consumers of one server exchange nothing through it, and one can't keep the others out."""

from __future__ import annotations

from contextlib import ExitStack

import psycopg
import pytest
from aihub.model.stack import COPIES

from tests.lab.cli import Cli

from .consumers import ATTACKER, VICTIM, Consumer, differing, superuser

LIBRARY = '"#!lua name=shared\\nserver.register_function(\\"told\\", function() return \\"a message\\" end)"'
LISTED = (
    "KEYS *", "SCAN 0", "RANDOMKEY", "DBSIZE", "INFO keyspace", "PUBSUB CHANNELS *", "CLIENT LIST", "MONITOR",
    "CLIENT TRACKING ON BCAST", "CLIENT UNBLOCK 1", "CLIENT PAUSE 1000", "SWAPDB 0 1", "FLUSHALL", "SORT x BY *",
    "MEMORY STATS", "ACL LIST", "CONFIG GET *", "SLOWLOG GET", "LATENCY LATEST", "PSUBSCRIBE *",
)  # fmt: skip
MOST = 40


@pytest.fixture
def both(hub: Cli) -> tuple[Consumer, Consumer]:
    return Consumer(hub, ATTACKER), Consumer(hub, VICTIM)


def test_what_private_keeps_is_on_no_server_where_public_logs_in(hub: Cli, resolved):
    """So whatever a server can't keep apart, like memory and the disk, is not shared with it either.

    Copies are the exception: they lie on one server, apart by each guest's certificate and key.
    """
    zone = lambda name: resolved.instance(name).guest.zone  # noqa: E731
    users = {one.provider: set() for one in resolved.consumers}
    for one in resolved.consumers:
        if one.consumer != "verify" and one.kind != COPIES:
            users[one.provider].add(zone(one.consumer))
    private = [name for name, zones in users.items() if "private" in zones]
    assert {name.partition("@")[0] for name in private} == {"chroma", "litellm", "postgres", "redis"}
    assert all(users[name] == {"private"} and zone(name) == "private" for name in private)
    public = Consumer(hub, ATTACKER)
    names = public.sql("SELECT datname FROM pg_database").split()
    assert public.role in names
    assert Consumer(hub, "private-ai").role not in names
    assert Consumer(hub, "private-ai").sql("SELECT 1") == "1"


def test_valkey_has_no_code_that_another_could_run_or_replace(hub: Cli, both):
    attacker, victim = both
    for command in (f"FUNCTION LOAD {LIBRARY}", "SCRIPT LOAD \"return 'a message'\"", 'EVAL "return 1" 0'):
        assert "NOPERM" in attacker.keys(command)[0], command
    for command in ("FCALL told 0", "FUNCTION LIST", "SCRIPT EXISTS " + "0" * 40):
        assert "NOPERM" in victim.keys(command)[0], command
    key = f"{attacker.role}:attack"
    assert attacker.keys(f"SET {key} x EX 60\nGET {key}\nPUBLISH {attacker.role}:here x\nUNLINK {key}") == [
        "OK", '"x"', "(integer) 0", "(integer) 1",
    ]  # fmt: skip


def test_a_user_who_was_given_more_by_hand_is_told_and_so_is_what_he_left(hub: Cli, both):
    """With that, the attack works: what one loads the other runs."""
    attacker, victim = both
    give = "\n".join(f"ACL SETUSER {one.role} +@scripting" for one in both)
    assert _as_admin(hub, give) == ["OK", "OK"]
    try:
        assert attacker.keys(f"FUNCTION LOAD {LIBRARY}") == ['"shared"']
        assert victim.keys("FCALL told 0") == ['"a message"']
        assert differing(hub) == {*(f"redis@cache: ACL user {one.role}" for one in both), "redis@cache: functions"}
    finally:
        hub.ok("up", "--no-verify")
    assert "NOPERM" in victim.keys("FCALL told 0")[0]
    assert _as_admin(hub, "FUNCTION LIST") == ["(empty array)"]


def test_valkey_shows_nothing_of_others(both):
    """Neither their keys, by any way, nor how many, nor who is there; and nobody's wait is ended by another."""
    attacker, victim = both
    secret = f"{victim.role}:attack"
    assert victim.keys(f"SET {secret} x EX 60") == ["OK"]
    for command in (
        *LISTED, f"GET {secret}", f"COPY {secret} {attacker.role}:mine", f"SUBSCRIBE {victim.role}:here",
        f"SSUBSCRIBE {victim.role}:here",
    ):  # fmt: skip
        (said, *_) = attacker.keys(command)
        assert "NOPERM" in said, (command, said)
        assert secret not in said
    assert victim.keys(f"GET {secret}\nUNLINK {secret}") == ['"x"', "(integer) 1"]


def test_a_database_shows_no_words_of_another(hub: Cli, both):
    attacker, victim = both
    for text in (
        f"COMMENT ON DATABASE {attacker.role} IS 'a message'",
        f"COMMENT ON ROLE {attacker.role} IS 'a message'",
        "SELECT application_name FROM pg_stat_activity",
        "SELECT pg_stat_get_activity(NULL)",
        "SELECT objid FROM pg_locks WHERE locktype = 'advisory'",
        "SELECT * FROM pg_shdepend",
    ):
        said = attacker.refused(text)
        assert "permission denied" in said or "must be owner" in said, text
    # What is its own it may say and see.
    attacker.sql("CREATE TABLE told (id int); COMMENT ON TABLE told IS 'a message';")
    assert attacker.sql("SELECT obj_description('told'::regclass); DROP TABLE told;") == "a message"
    assert attacker.sql("SELECT pg_try_advisory_lock(7)") == "t"
    assert superuser(hub, f"SELECT count(*) FROM pg_database WHERE datname = '{victim.role}'") == "1"


def test_one_who_takes_every_connection_that_it_gets_leaves_those_of_the_others(hub: Cli, both, inside, resolved):
    attacker, victim = both
    half = "b" if inside.vault.read(_pair(resolved, attacker).path).data["active"] == "a" else "a"  # not the canary's
    server = resolved.guests["db"]
    where = {"host": server.fqdn, "hostaddr": "127.0.0.1", "port": inside.forward("db", str(server.address), 5432)}
    who = {"user": f"{attacker.role}_{half}", "password": inside.secret("postgres@db", f"{attacker.role}_{half}")}
    with ExitStack() as held:

        def connect() -> None:
            found = psycopg.connect(
                **where, **who, dbname=attacker.role, sslmode="verify-full", sslrootcert=str(inside.state.ca)
            )
            held.callback(found.close)

        for _ in range(MOST):
            connect()
        with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
            connect()
        assert victim.sql("SELECT 1") == "1"
        assert differing(hub) == set(), "and aihub gets in"
    assert "permission denied" in attacker.refused("SET temp_file_limit = -1")
    assert attacker.sql("SHOW temp_file_limit") == "2GB"


def _pair(resolved, one: Consumer):
    return next(pair for pair in resolved.pairs if (pair.provider, pair.role) == ("postgres@db", one.role))


def _as_admin(hub: Cli, commands: str) -> list[str]:
    script = f". /etc/valkey/session.sh; half=a; printf '%s\\n' '{commands}' | session"
    return hub.on("cache", "docker exec -i redis-redis-1 bash", script).splitlines()
