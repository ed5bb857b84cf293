"""What a consumer writes into its database runs as itself alone, and what was given to it by hand is a difference."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from aihub.services import copies

from tests.lab.cli import Cli

from .consumers import ATTACKER, VICTIM, Consumer, differing, superuser

# Whoever runs it lets its owner become another consumer, if he can, and is written down, if he may write that.
TRAP = """
CREATE SCHEMA trap;
CREATE TABLE trap.visitors (name text);
CREATE FUNCTION trap.spring() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
  BEGIN INSERT INTO trap.visitors VALUES (current_user); EXCEPTION WHEN OTHERS THEN NULL; END;
  BEGIN EXECUTE 'GRANT {victim} TO {attacker}'; EXCEPTION WHEN OTHERS THEN NULL; END;
  RETURN true;
END $$;
CREATE FUNCTION trap.unnest(text[]) RETURNS SETOF text LANGUAGE sql
AS 'SELECT pg_catalog.unnest($1) WHERE trap.spring()';
CREATE FUNCTION trap.same(name, text) RETURNS boolean LANGUAGE sql AS 'SELECT trap.spring()';
CREATE OPERATOR trap.= (LEFTARG = name, RIGHTARG = text, FUNCTION = trap.same);
CREATE VIEW trap.pg_extension AS SELECT * FROM pg_catalog.pg_extension WHERE trap.spring();
CREATE VIEW trap.pg_namespace AS SELECT * FROM pg_catalog.pg_namespace WHERE trap.spring();
CREATE VIEW trap.pg_roles AS SELECT * FROM pg_catalog.pg_roles WHERE trap.spring();
GRANT USAGE ON SCHEMA trap TO PUBLIC; GRANT ALL ON ALL TABLES IN SCHEMA trap TO PUBLIC;
CREATE TABLE mine (id int); INSERT INTO mine VALUES (1), (2);
"""
PATH = "search_path = trap, pg_catalog, public"
MEMBERSHIPS = """
SELECT r.rolname, m.rolname FROM pg_auth_members a
JOIN pg_roles r ON r.oid = a.roleid JOIN pg_roles m ON m.oid = a.member
WHERE r.rolname ~ '^canary' AND m.rolname !~ ('^' || r.rolname || '_[ab]$')
  AND (m.rolname, admin_option, inherit_option, set_option) <> ('hub_reconcile', true, false, false);
"""


@pytest.fixture(scope="module")
def attacker(hub: Cli) -> Iterator[Consumer]:
    """Somebody on the public side who has laid a trap in its database. Each test leaves nothing to do."""
    one = Consumer(hub, ATTACKER)
    one.sql(TRAP.format(attacker=one.role, victim=Consumer(hub, VICTIM).role))
    try:
        yield one
    finally:
        superuser(hub, "SET client_min_messages = error; DROP SCHEMA trap CASCADE; DROP TABLE mine;", one.role)
        assert differing(hub) == set()


def memberships(hub: Cli) -> str:
    """Who may become a consumer, beside its logins, and more than administer it."""
    return superuser(hub, MEMBERSHIPS)


def test_nobody_sets_anything_for_whoever_connects_to_its_database(hub: Cli, attacker: Consumer):
    for what in (
        f"ALTER DATABASE {attacker.role} SET {PATH}",
        f"ALTER ROLE hub_reconcile SET {PATH}",
        f"ALTER DATABASE {attacker.role} OWNER TO {attacker.role}_b",
        "CREATE EVENT TRIGGER mine ON ddl_command_start EXECUTE FUNCTION trap.spring()",
        "GRANT hub_reconcile TO SESSION_USER",
    ):
        assert "must be owner" in (said := attacker.refused(what)) or "permission denied" in said, what
    assert attacker.sql("SELECT count(*) FROM mine; CREATE SCHEMA more; CREATE EXTENSION pg_trgm;") == "2"
    attacker.sql("DROP SCHEMA more; DROP EXTENSION pg_trgm;")


def test_a_hub_of_before_is_looked_at_without_running_what_its_consumers_wrote_and_put_right(
    hub: Cli, attacker: Consumer
):
    """There a consumer owned its database, and so could bend what an administrator finds there by name."""
    superuser(hub, f"ALTER DATABASE {attacker.role} OWNER TO {attacker.role};")
    attacker.sql(f"ALTER DATABASE {attacker.role} SET {PATH}; COMMENT ON DATABASE {attacker.role} IS 'a message';")
    assert f"postgres@db: database {attacker.role}" in differing(hub)
    hub.ok("up", "--no-verify")
    assert attacker.sql("SELECT DISTINCT name FROM trap.visitors") == "", "nobody else was here"
    assert memberships(hub) == ""
    # The trap works: whoever is led into it is written down, and what is the consumer's is still there.
    assert attacker.sql(f"SET {PATH}; SELECT count(*) > 0 FROM pg_extension; SELECT count(*) FROM mine;") == "t\n2"
    assert attacker.sql("SELECT DISTINCT name FROM trap.visitors") == attacker.role
    told = "SELECT count(*) FROM pg_shdescription WHERE description = 'a message';"
    assert superuser(hub, told) == "0"


def test_what_a_consumer_sets_for_itself_leads_nobody_else_into_it(
    hub: Cli, attacker: Consumer, inside, resolved, tmp_path
):
    """It can't be kept from that. It is a difference, on one line, and a copy is made as the consumer itself."""
    attacker.sql(f"ALTER ROLE CURRENT_USER SET {PATH};")
    attacker.sql("ALTER ROLE CURRENT_USER SET application_name = E'x\\ndelete: VM 110 with its disk';")
    told = hub("plan")
    assert told.returncode == 3
    assert not [line for line in told.stdout.splitlines() if line.lstrip().startswith("delete: VM 110")]
    whose = next(one for one in resolved.consumers if one.role == attacker.role and one.kind == "postgres")
    copies.dump(resolved, inside.state, whose, tmp_path / "dump")
    assert b"trap" in (tmp_path / "dump").read_bytes()
    hub.ok("up", "--no-verify")
    visitors = set(attacker.sql("SELECT DISTINCT name FROM trap.visitors").split())
    assert visitors <= {attacker.role, f"{attacker.role}_a", f"{attacker.role}_b"}
    assert memberships(hub) == ""


BY_HAND = """
GRANT {victim} TO {attacker};
GRANT pg_read_all_data TO {attacker}_a;
ALTER ROLE {attacker} CREATEROLE;
ALTER ROLE {attacker}_b SUPERUSER;
CREATE ROLE stranger LOGIN CREATEDB; GRANT {victim} TO stranger WITH ADMIN OPTION;
GRANT CONNECT ON DATABASE {victim} TO {attacker};
ALTER DATABASE {victim} SET search_path = trap;
GRANT {victim} TO hub_reconcile WITH INHERIT TRUE, SET TRUE;
"""


def test_what_was_given_by_hand_is_told_and_taken_away(hub: Cli, attacker: Consumer):
    victim = Consumer(hub, VICTIM)
    before = victim.sql("SELECT current_user")
    try:
        superuser(hub, BY_HAND.format(attacker=attacker.role, victim=victim.role))
        assert attacker.sql(f"SET ROLE {victim.role}; SELECT current_user") == victim.role, "it could, now"
        assert differing(hub) == {
            f"postgres@db: owner role {attacker.role}",
            f"postgres@db: login {attacker.role}_a",
            f"postgres@db: login {attacker.role}_b",
            f"postgres@db: database {victim.role}",
            "postgres@db: role stranger",
            "postgres@db: role hub_reconcile",
        }
        hub.ok("up", "--no-verify")
        assert memberships(hub) == ""
        assert "permission denied" in attacker.refused(f"SET ROLE {victim.role}")
        assert superuser(hub, "SELECT rolcanlogin OR rolcreatedb FROM pg_roles WHERE rolname = 'stranger'") == "f"
        assert victim.sql("SELECT current_user") == before == victim.role
    finally:
        superuser(hub, f"REVOKE {victim.role} FROM {attacker.role}; DROP ROLE IF EXISTS stranger;")


def test_an_event_trigger_is_told_with_the_way_to_remove_it(hub: Cli, attacker: Consumer):
    """Only somebody in the container can have made it, and only he can remove it."""
    make = "CREATE FUNCTION trap.event() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN PERFORM trap.spring(); END';"
    superuser(
        hub, f"{make} CREATE EVENT TRIGGER trapped ON ddl_command_start EXECUTE FUNCTION trap.event();", attacker.role
    )
    try:
        assert differing(hub) == {f"postgres@db: event trigger trapped in {attacker.role}"}
        done = hub("up", "--no-verify")
        assert done.returncode == 1
        assert 'DROP EVENT TRIGGER "trapped"' in " ".join((done.stdout + done.stderr).split())
    finally:
        superuser(hub, 'DROP EVENT TRIGGER "trapped"', attacker.role)
