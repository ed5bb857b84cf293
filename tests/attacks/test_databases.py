"""What consumers of a real PostgreSQL tell each other, and what runs as aihub there: before, and now.

The server is Debian's, on a socket. Its databases are first as the version before made them, so that each attack is
seen to work; then what the superuser's files and reconcile.py make of them. `whole/` has it all on the running hub.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from aihub import paths
from aihub.model.resolved import RECONCILE_ROLE as ADMIN
from aihub.reading import load
from aihub.services import declared
from aihub.services import service as services

from tests.vault.rotation_services import UID, _postgres_bin

pytestmark = pytest.mark.slow

ATTACKER, VICTIM = "canary_public_ai_main", "canary_monitoring_main"
CONFIG = paths.STACKS / "postgres" / "config"
reconcile: Any = services.reconciler("postgres")
steps: Any = sys.modules[f"{reconcile.__name__}.steps"]
BEFORE = f"""
CREATE ROLE {ADMIN} NOLOGIN CREATEROLE CREATEDB;
CREATE ROLE {ADMIN}_a LOGIN IN ROLE {ADMIN}; CREATE ROLE {ADMIN}_b LOGIN IN ROLE {ADMIN};
"""
CONSUMER = """
CREATE ROLE {name} NOLOGIN; GRANT {name} TO {admin} WITH ADMIN OPTION;
CREATE ROLE {name}_a LOGIN IN ROLE {name}; ALTER ROLE {name}_a SET role TO {name};
CREATE DATABASE {name} OWNER {name};
REVOKE ALL ON DATABASE {name} FROM PUBLIC;
"""


@dataclass
class Cluster:
    """A server that listens on a socket in its folder."""

    home: Path

    def psql(self, text: str, database: str = "postgres") -> None:
        """Runs a script of its superuser."""
        argv = ["psql", "-qX", "-v", "ON_ERROR_STOP=1", "-h", str(self.home), "-U", "postgres", database]
        subprocess.run(argv, input=text.encode(), check=True, capture_output=True)

    @contextmanager
    def connected(self, user: str, database: str) -> Iterator[psycopg.Connection[Any]]:
        """A login that does as it likes."""
        with psycopg.connect(host=str(self.home), user=user, dbname=database, autocommit=True) as found:
            yield found

    @contextmanager
    def admin(self, database: str) -> Iterator[psycopg.Connection[Any]]:
        """aihub's own, with its search path pinned as connection.py pins it."""
        with self.connected(f"{ADMIN}_a", database) as found:
            found.execute(f"SET search_path = pg_catalog, pg_temp; SET ROLE {ADMIN}")
            yield found


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A server with two consumers whose databases are their own, as they were."""
    home = Path(tempfile.mkdtemp(prefix="aihub-database-"))
    home.chmod(0o755)
    os.chown(home, UID, UID)
    environment = {"PATH": f"{_postgres_bin()}:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    own: dict[str, Any] = {"user": UID, "group": UID, "cwd": home, "env": environment}
    ctl = ["pg_ctl", "-D", "data", "-s", "-w", "-l", "log"]
    options = f"-c listen_addresses= -c unix_socket_directories={home} -c fsync=off"
    try:
        argv = ["initdb", "-D", "data", "-U", "postgres", "--auth=trust", "--no-sync"]
        subprocess.run(argv, stdout=subprocess.DEVNULL, check=True, **own)
        subprocess.run([*ctl, "-o", options, "start"], check=True, **own)
        try:
            found = Cluster(home)
            found.psql(BEFORE + "".join(CONSUMER.format(name=name, admin=ADMIN) for name in (ATTACKER, VICTIM)))
            yield found
        finally:
            subprocess.run([*ctl, "-m", "immediate", "stop"], check=True, **own)
    finally:
        shutil.rmtree(home)


def made_right(cluster: Cluster) -> None:
    """What start.sh does at the next start, and reconcile.py at the next `up`."""
    cluster.psql((CONFIG / "hub.sql").read_text())
    for name in ("postgres", ATTACKER, VICTIM):
        cluster.psql((CONFIG / "closed.sql").read_text(), name)
    with cluster.admin("postgres") as admin:
        found = {
            name: reconcile.Database(owner, frozenset(rights), (), ours)
            for name, owner, rights, ours in admin.execute(reconcile.objects._DATABASES).fetchall()
        }
        for name in (ATTACKER, VICTIM):
            for step in steps._database(name, reconcile.State({}, found)):
                reconcile._run(admin, step)
    for name in (ATTACKER, VICTIM):  # reconcile.py says so as well, in words that PostgreSQL 15 does not know
        cluster.psql(f"ALTER SCHEMA public OWNER TO {name}", name)


# Where one consumer writes what every other one may read: what it writes with, what is read, and the message.
CHANNELS = {
    "comments on databases": (
        f"COMMENT ON DATABASE {ATTACKER} IS 'a message'",
        "SELECT description FROM pg_shdescription WHERE description = 'a message'",
        "a message",
    ),
    "names of applications": (
        "SET application_name = 'a message'",
        "SELECT application_name FROM pg_stat_activity WHERE application_name = 'a message'",
        "a message",
    ),
    "advisory locks": (
        "SELECT pg_advisory_lock(4711)",
        "SELECT objid::text FROM pg_locks WHERE locktype = 'advisory'",
        "4711",
    ),
}


@pytest.mark.parametrize("name", CHANNELS)
def test_a_server_of_before_passes_on_what_one_writes_and_the_same_server_does_not_any_more(
    cluster: Cluster, name: str
) -> None:
    writes, reads, message = CHANNELS[name]
    with (
        cluster.connected(f"{ATTACKER}_a", ATTACKER) as attacker,
        cluster.connected(f"{VICTIM}_a", VICTIM) as victim,
    ):
        attacker.execute(writes)
        assert victim.execute(reads).fetchall() == [(message,)], "this is what the attack does"
        made_right(cluster)
        refused = 0
        for who, text in ((attacker, writes), (victim, reads)):
            try:
                found = who.execute(text).fetchall() if text is reads else [who.execute(text)]
                assert text is writes or found == [], "what was written is gone"
            except psycopg.errors.InsufficientPrivilege:
                refused += 1
        assert refused, "one of both may not any more"
        attacker.execute("CREATE TABLE told (id int); COMMENT ON TABLE told IS 'a message'")
        assert attacker.execute("SELECT obj_description('told'::regclass)").fetchall() == [("a message",)]
        assert attacker.execute("SHOW application_name").fetchone() is not None, "what is its own it may say and see"


TRAP = """
CREATE TABLE visitors (name text); GRANT ALL ON visitors TO PUBLIC;
CREATE FUNCTION spring() RETURNS event_trigger LANGUAGE plpgsql
AS 'BEGIN INSERT INTO public.visitors VALUES (current_user); END';
CREATE EVENT TRIGGER trapped ON ddl_command_start EXECUTE FUNCTION spring();
"""


def told(cluster: Cluster) -> list[Any]:
    """The steps about event triggers of the attacker's database that a plan has."""
    hub = load.load(paths.DEFAULT_HUB, target="lab")
    with cluster.admin(ATTACKER) as admin:
        inside = reconcile.objects.inside(admin)
    database = replace(reconcile.Database(ADMIN), **inside)
    wanted = declared.of(hub, hub.instance("postgres@db"))
    found = reconcile.diff(wanted, reconcile.State({}, {ATTACKER: database}))
    return [step for step in found if step.object.startswith("event trigger")]


def test_an_event_trigger_runs_as_who_changes_something_there_and_is_told_until_it_is_gone(cluster: Cluster) -> None:
    """A consumer can't make one; who was root in the container once can have left one for it."""
    made_right(cluster)
    with (
        cluster.connected(f"{ATTACKER}_a", ATTACKER) as attacker,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="event trigger"),
    ):
        attacker.execute("CREATE FUNCTION mine() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END'")
        attacker.execute("CREATE EVENT TRIGGER mine ON ddl_command_start EXECUTE FUNCTION mine()")
    assert told(cluster) == []
    cluster.psql(TRAP, ATTACKER)
    with cluster.admin(ATTACKER) as admin:
        admin.execute("CREATE SCHEMA extra")
        assert admin.execute("SELECT name FROM public.visitors").fetchall() == [(ADMIN,)], "it ran as aihub"
    (step,) = told(cluster)
    assert step.object == f"event trigger trapped in {ATTACKER}"
    assert 'DROP EVENT TRIGGER "trapped"' in step.details["by hand"]
    cluster.psql("DROP EVENT TRIGGER trapped", ATTACKER)
    assert told(cluster) == []
