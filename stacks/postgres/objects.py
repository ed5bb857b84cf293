"""What there is in PostgreSQL, as its shared catalogs and each database's own have it.

A consumer writes into some of what is read here. So only catalogs are read, by their full names, on a connection that
finds functions and operators nowhere else (see connection.py); what a consumer can word is cut and is one line.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aihub.services.wire import plain

if TYPE_CHECKING:
    import psycopg


@dataclass(frozen=True)
class Role:
    """What a role may by itself, how many connections it may have at once (-1: any), and what is set for it."""

    can: frozenset[str] = frozenset()
    connections: int = -1
    settings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Membership:
    """One grant of a role to another, with what comes with it: `admin`, `inherit`, `set`."""

    role: str
    member: str
    options: frozenset[str]


@dataclass(frozen=True)
class Database:
    """A database: its owner, what others may do with it, what is set for it; what lies in it, where that was read."""

    owner: str
    rights: frozenset[str] = frozenset()  # GRANTEE: RIGHT, but for the owner's own
    settings: tuple[str, ...] = ()
    ours: bool = True  # whether we may look into it
    extensions: frozenset[str] = frozenset()
    schema_owner: str = ""  # of public; empty where there is none
    event_triggers: tuple[str, ...] = ()  # of no extension


@dataclass(frozen=True)
class State:
    """What is there; `proven` are the logins whose password was just tried and works."""

    roles: dict[str, Role]
    databases: dict[str, Database]
    memberships: tuple[Membership, ...] = ()
    proven: frozenset[str] = frozenset()


SUPERUSER = "postgres"
_SETTINGS = """
SELECT coalesce(r.rolname, ''), coalesce(d.datname, ''), "left"(setting, 80)
FROM pg_catalog.pg_db_role_setting s
LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole LEFT JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig[:20]) setting ORDER BY 1, 2, 3 LIMIT 5000
"""
_ROLES = """
SELECT rolname, rolconnlimit, pg_catalog.array_remove(ARRAY[
  CASE WHEN rolcanlogin THEN 'log in' END, CASE WHEN rolsuper THEN 'everything' END,
  CASE WHEN rolcreaterole THEN 'create roles' END, CASE WHEN rolcreatedb THEN 'create databases' END,
  CASE WHEN rolreplication THEN 'replicate' END, CASE WHEN rolbypassrls THEN 'see every row' END], NULL)
FROM pg_catalog.pg_roles WHERE rolname !~ '^pg_'
"""
_MEMBERSHIPS = """
SELECT r.rolname, m.rolname, pg_catalog.array_remove(ARRAY[
  CASE WHEN admin_option THEN 'admin' END, CASE WHEN inherit_option THEN 'inherit' END,
  CASE WHEN set_option THEN 'set' END], NULL)
FROM pg_catalog.pg_auth_members a
JOIN pg_catalog.pg_roles r ON r.oid = a.roleid JOIN pg_catalog.pg_roles m ON m.oid = a.member
WHERE m.rolname !~ '^pg_' ORDER BY 1, 2, 3
"""
_DATABASES = """
SELECT d.datname, r.rolname,
       ARRAY(SELECT coalesce(g.rolname, 'everybody') || ': ' || a.privilege_type
             FROM pg_catalog.aclexplode(coalesce(d.datacl, pg_catalog.acldefault('d', d.datdba))) a
             LEFT JOIN pg_catalog.pg_roles g ON g.oid = a.grantee WHERE a.grantee <> d.datdba),
       pg_catalog.has_database_privilege(session_user, d.oid, 'CONNECT')
FROM pg_catalog.pg_database d JOIN pg_catalog.pg_roles r ON r.oid = d.datdba WHERE NOT d.datistemplate
"""
_INSIDE = """
SELECT ARRAY(SELECT extname::text FROM pg_catalog.pg_extension),
       (SELECT r.rolname FROM pg_catalog.pg_namespace n JOIN pg_catalog.pg_roles r ON r.oid = n.nspowner
        WHERE n.nspname = 'public'),
       ARRAY(SELECT evtname::text FROM pg_catalog.pg_event_trigger e
             WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_depend p
                               WHERE p.classid = 3466 AND p.objid = e.oid AND p.deptype = 'e') ORDER BY 1)
"""  # 3466: pg_event_trigger itself


def shared(admin: psycopg.Connection[Any]) -> State:
    """Roles, their memberships, and databases from outside."""
    of_role, of_database = dict[str, list[str]](), dict[str, list[str]]()
    for role, database, setting in _rows(admin, _SETTINGS):
        text = f"{database}: {setting}" if role and database else setting
        (of_role if role else of_database).setdefault(role or database, []).append(plain(text))
    roles = {
        name: Role(frozenset(can), limit, tuple(of_role.get(name, ()))) for name, limit, can in _rows(admin, _ROLES)
    }
    memberships = tuple(Membership(role, member, frozenset(how)) for role, member, how in _rows(admin, _MEMBERSHIPS))
    databases = {
        name: Database(owner, frozenset(rights), tuple(of_database.get(name, ())), ours)
        for name, owner, rights, ours in _rows(admin, _DATABASES)
    }
    return State(roles, databases, memberships)


def inside(admin: psycopg.Connection[Any]) -> dict[str, Any]:
    """What a Database says of what lies in it; `admin` is connected to it."""
    ((extensions, schema_owner, triggers),) = _rows(admin, _INSIDE)
    return {
        "extensions": frozenset(extensions),
        "schema_owner": schema_owner or "",
        "event_triggers": tuple(map(plain, triggers)),
    }


def _rows(admin: psycopg.Connection[Any], query: str) -> Iterable[Any]:
    return admin.execute(query.encode()).fetchall()
