"""What is missing in PostgreSQL, or more than declared: pure, by names alone.

What a step does is a list of [TEXT, NAMES]: a statement with its identifiers, or a function of the schema hub, which
the superuser made (config/hub.sql), with its arguments.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from aihub.model.resolved import RECONCILE_ROLE as ADMIN
from aihub.plan import Difference
from aihub.services.declared import Declared
from aihub.services.service import Half, Step

from .objects import SUPERUSER, Membership, Role, State

EXTENSIONS = ("timescaledb", "vector")
HALVES: tuple[Half, Half] = ("a", "b")
GONE = "has no consumer any more"
MOST = 40  # connections of one login at once
# For both halves of every pair at once; the rest of max_connections in postgresql.conf is for aihub and the superuser.
FOR_ALL = 480
RIGHTS = ("CONNECT", "CREATE", "TEMPORARY")
ADMINISTERS = frozenset({"admin"})
ACTS_AS = frozenset({"inherit", "set"})
OURS = {
    ADMIN: Role(frozenset({"create roles", "create databases"})),
    **{f"{ADMIN}_{half}": Role(frozenset({"log in"}), settings=(f"role={ADMIN}",)) for half in HALVES},
}
REVOKE, STRIP, TAKE = "SELECT hub.revoke({}, {})", "SELECT hub.strip({})", "SELECT hub.take({})"
Statements = list[tuple[str, list[str]]]


def diff(declared: Declared, state: State | None) -> list[Step]:
    """The steps to every consumer's database and roles, and the end of what nobody declares."""
    found = state or State({}, {})
    names = [consumer.role for consumer in declared.consumers]
    left = [name for name in kept(declared, found) if name not in declared.forgotten]
    limit = max(1, min(MOST, FOR_ALL // 2 // max(1, len(names))))
    steps: list[Step] = []
    for name in names:
        steps += [*_owner(name, found), *_database(name, found), *_inside(name, found)]
        for half in HALVES:
            steps += _login(name, half, limit, found)
    for name in left:
        steps += _database(name, found)
    handled = {role for name in (*names, *declared.forgotten) for role in _roles(name)}
    for name in sorted(set(found.roles) - handled - {SUPERUSER}):
        steps += _other(name, left, found)
    there = [(name, found.databases[name]) for name in names if name in found.databases]
    steps += [_trigger(name, one) for name, database in there for one in database.event_triggers]
    return [*steps, *(_forgotten(name, found) for name in declared.forgotten)]


def kept(declared: Declared, state: State) -> list[str]:
    """The databases of consumers that are gone: each is called like its owner role, whose logins are a pair."""
    mine = {consumer.role for consumer in declared.consumers}
    there = {name for name, one in state.databases.items() if one.owner in (name, ADMIN) and f"{name}_a" in state.roles}
    return sorted(there - mine)


def _roles(name: str) -> tuple[str, ...]:
    return (name, *(f"{name}_{half}" for half in HALVES))


def _owner(name: str, state: State) -> list[Step]:
    if name not in state.roles:
        return [Step("create", f"owner role {name}", details={"sql": [("CREATE ROLE {} NOLOGIN", [name])]})]
    return _changed(f"owner role {name}", name, Role(), (), state)


def _login(owner: str, half: Half, limit: int, state: State) -> list[Step]:
    name = f"{owner}_{half}"
    member = Membership(owner, name, ACTS_AS)
    wanted = Role(frozenset({"log in"}), limit, (f"role={owner}",))
    details: dict[str, Any] = {"login of": owner, "half": half}
    if name not in state.roles:
        make = [("CREATE ROLE {} NOLOGIN", [name]), *_made(name, wanted), _granted(member)]
        return [Step("create", f"login {name}", details={**details, "sql": make})]
    steps = _changed(f"login {name}", name, wanted, (member,), state)
    could = not steps and owner in state.databases and state.databases[owner].owner == ADMIN
    if could and name not in state.proven:
        refused = (Difference("password", "refused", "accepted"),)
        return [Step("update", f"login {name}", refused, details={**details, "sql": []})]
    return [Step("update", f"login {name}", one.differences, details={**details, **one.details}) for one in steps]


def _other(name: str, left: Iterable[str], state: State) -> list[Step]:
    """A role of no consumer: one of our own, of a consumer that is gone, or nobody's."""
    if name in OURS:
        acts = [Membership(ADMIN, name, ACTS_AS)] if name != ADMIN else []
        steps = _changed(f"role {name}", name, OURS[name], acts, state)
        lost = not set(OURS[name].settings) <= set(state.roles[name].settings)
        return [replace(one, details={**one.details, "itself": name[-1]}) if lost else one for one in steps]
    owner = name[:-2] if name[-2:] in ("_a", "_b") and name[:-2] in left else ""
    role = state.roles[name]
    # What leads from a login of a consumer that is gone to its owner stays: the login can't log in.
    settings = tuple(one for one in role.settings if owner and one == f"role={owner}")
    wanted = Role(frozenset(), role.connections, settings)
    members = [m for m in _memberships(name, state) if owner and m == Membership(owner, name, ACTS_AS)]
    pair = name[-2:] in ("_a", "_b")
    return _changed(
        f"login {name}" if pair else f"role {name}", name, wanted, members, state, GONE if pair else "", bool(owner)
    )


def _changed(
    shown: str, name: str, wanted: Role, members: Sequence[Membership], state: State, why: str = "", ours: bool = True
) -> list[Step]:
    """What differs about a role that is there, as one step. One that somebody else made, not `ours`, we can't alter."""
    found = state.roles[name]
    differences: list[Difference] = []
    sql: Statements = []
    if found.can != wanted.can:
        differences.append(Difference("may", _list(found.can), _list(wanted.can)))
    if found.settings != wanted.settings:
        differences.append(Difference("set for it", _list(found.settings), _list(wanted.settings)))
    if found.connections != wanted.connections:
        differences.append(Difference("connections", _limit(found.connections), _limit(wanted.connections)))
    if differences:
        simple = ours and _simple(found, wanted)
        sql += [] if simple else [(STRIP, [name])]
        if simple or wanted.can or wanted.settings or found.connections != wanted.connections:
            sql += _made(name, wanted)
    kept = [one for one in _memberships(name, state) if one in members or (name, one.options) == (ADMIN, ADMINISTERS)]
    surplus = [one for one in _memberships(name, state) if one not in kept]
    missing = [one for one in members if one not in kept]
    if surplus or missing:
        differences.append(Difference("member of", _list(map(_told, surplus)), _list(map(_told, missing))))
        again = sorted({one.role for one in surplus})
        sql += [(REVOKE, [role, name]) for role in again]
        sql += [_granted(one) for one in members if one in missing or one.role in again]
    return [Step("update", shown, tuple(differences), why, details={"sql": sql})] if differences else []


def _simple(found: Role, wanted: Role) -> bool:
    """Whether it takes no more than our own rights to make it so."""
    return found.settings == wanted.settings and found.can ^ wanted.can <= {"log in"}


def _made(name: str, wanted: Role) -> Statements:
    """A role that can do nothing gets what it may."""
    if name in OURS:
        return []  # hub.strip does, and they themselves
    login = "LOGIN" if "log in" in wanted.can else "NOLOGIN"
    limit = str(int(wanted.connections))
    acts = [("ALTER ROLE {} SET role TO {}", [name, one.removeprefix("role=")]) for one in wanted.settings]
    return [(f"ALTER ROLE {{}} {login} CONNECTION LIMIT {limit}", [name]), *acts]


def _granted(member: Membership) -> tuple[str, list[str]]:
    return "GRANT {} TO {} WITH ADMIN FALSE, INHERIT TRUE, SET TRUE", [member.role, member.member]


def _memberships(name: str, state: State) -> list[Membership]:
    return [one for one in state.memberships if one.member == name]


def _told(one: Membership) -> str:
    return one.role if one.options == ACTS_AS else f"{one.role} ({_list(one.options) or 'nothing'})"


def _database(name: str, state: State) -> list[Step]:
    """The database from outside: it is ours, and its consumer may make what it likes in it."""
    private = ("REVOKE ALL ON DATABASE {} FROM PUBLIC", [name])
    opened = (f"GRANT {', '.join(RIGHTS)} ON DATABASE {{}} TO {{}}", [name, name])
    found = state.databases.get(name)
    if found is None:
        return [Step("create", f"database {name}", details={"sql": [("CREATE DATABASE {}", [name]), private, opened]})]
    differences: list[Difference] = []
    sql: Statements = []
    if found.owner != ADMIN:
        differences.append(Difference("owner", found.owner, ADMIN))
    if found.settings:
        differences.append(Difference("set for it", _list(found.settings), None))
    if differences:
        sql.append((TAKE, [name]))
    wanted = {f"{name}: {right}" for right in RIGHTS}
    # The owner's own rights go with the ownership.
    has = found.rights | ({f"{name}: {right}" for right in RIGHTS} if found.owner == name else set())
    if has != wanted:
        differences.append(Difference("rights", _list(has), _list(wanted)))
        strangers = sorted({one.partition(":")[0] for one in has} - {name, "everybody"})
        sql += [private, *(("REVOKE ALL ON DATABASE {} FROM {} CASCADE", [name, one]) for one in strangers)]
    if differences:
        sql.append(opened)
    return [Step("update", f"database {name}", tuple(differences), details={"sql": sql})] if differences else []


def _inside(name: str, state: State) -> list[Step]:
    """Its extensions, and the schema that is its consumer's; before anybody can log in, where it is new."""
    found = state.databases.get(name)
    if found and not found.ours:
        return []  # once it is
    # A new database has what template1 has: pgvector, as config/initdb makes it.
    present = found.extensions if found else {"vector"}
    steps = [
        Step(
            "create",
            f"extension {extension} in {name}",
            details={"database": name, "sql": [("CREATE EXTENSION IF NOT EXISTS {} SCHEMA public", [extension])]},
        )
        for extension in EXTENSIONS
        if extension not in present
    ]
    mine = {"database": name, "as": name, "sql": [("ALTER SCHEMA public OWNER TO {}", [name])]}
    if found is None:
        steps.append(Step("create", f"schema public of {name}", details=mine))
    elif found.schema_owner not in ("", name):
        difference = Difference("owner", found.schema_owner, name)
        steps.append(Step("update", f"schema public of {name}", (difference,), details=mine))
    return steps


def _trigger(database: str, name: str) -> Step:
    """Runs in everybody's statements there; only the superuser can have made it."""
    psql = f"aihub ssh GUEST -- docker exec postgres-postgres-1 psql -U postgres {database}"
    drop = f"{psql} -c 'DROP EVENT TRIGGER \"{name}\"'"
    return Step("delete", f"event trigger {name} in {database}", details={"sql": [], "by hand": drop})


def _forgotten(name: str, state: State) -> Step:
    roles = [role for role in (*(f"{name}_{half}" for half in HALVES), name) if role in state.roles]
    # Whoever is still connected is thrown out, which takes being that role.
    out = [("GRANT {} TO {} WITH INHERIT TRUE, SET FALSE", [role, ADMIN]) for role in roles]
    end = [("DROP DATABASE {} WITH (FORCE)", [name]), *(("DROP ROLE {}", [role]) for role in roles)]
    details = {"sql": [(TAKE, [name]), *out, *end]}
    return Step("delete", f"database {name}", why=GONE, data_at_risk="all that is in it", details=details)


def _list(names: Iterable[str]) -> str | None:
    every = sorted(set(names))
    more = f" and {len(every) - 8} more" if len(every) > 8 else ""
    return ", ".join(every[:8]) + more or None


def _limit(number: int) -> str:
    return "any number" if number < 0 else str(number)
