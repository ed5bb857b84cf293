"""Databases, owner roles and paired logins of PostgreSQL; run by aihub.services.

Each consumer has a database and an owner role of the same name, which can't log in, and two logins, NAME_a and
NAME_b, that act as the owner; aihub itself is such a pair. Passwords leave this machine only as SCRAM verifiers,
computed here, and everything goes over TLS to a server that proves its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from aihub.errors import HubError, TaskFailed, Unreachable
from aihub.model.resolved import RECONCILE_ROLE as ADMIN
from aihub.plan import Difference
from aihub.services.declared import Declared
from aihub.services.service import Half, Service, Step

if TYPE_CHECKING:
    import psycopg

EXTENSIONS = ("timescaledb", "vector")
HALVES: tuple[Half, Half] = ("a", "b")
GONE = "has no consumer any more"
_SECONDS = 10


@dataclass(frozen=True)
class Role:
    """A role as pg_roles has it."""

    can_login: bool
    acts_as: str
    member_of: frozenset[str]


@dataclass(frozen=True)
class Database:
    """A database: who owns it, whether everybody may connect, and its extensions."""

    owner: str
    public: bool
    extensions: frozenset[str] = frozenset()


@dataclass(frozen=True)
class State:
    """What is there; `proven` are the logins whose password was just tried and works."""

    roles: dict[str, Role]
    databases: dict[str, Database]
    proven: frozenset[str] = field(default=frozenset())


@contextmanager
def connect(service: Service, user: str, password: str, database: str) -> Iterator[psycopg.Connection[Any]]:
    """A connection with autocommit. Raises Unreachable, and PermissionError when the login is refused."""
    import psycopg

    try:
        connection = psycopg.connect(
            host=service.server_name, hostaddr="127.0.0.1", port=service.port, user=user, password=password,
            dbname=database, sslmode="verify-full", sslrootcert=str(service.ca),
            connect_timeout=_SECONDS, autocommit=True, application_name="aihub",
        )  # fmt: skip
    except psycopg.OperationalError as error:
        refused = any(word in str(error) for word in ("authentication failed", "not permitted", "permission denied"))
        if refused or "does not exist" in str(error):
            raise PermissionError(f"{user} can't log in to {database}") from error
        raise Unreachable(f"PostgreSQL does not answer: {error}", where=service.instance.name) from error
    try:
        yield connection
    except psycopg.Error as error:
        raise TaskFailed(f"PostgreSQL refused: {error}", where=service.instance.name, hint="aihub up") from error
    finally:
        connection.close()


def read(service: Service) -> State:
    """Roles, databases with their extensions, and which of the wanted logins work."""
    with _admin(service) as admin:
        roles = {
            name: Role(login, acts_as or "", frozenset(member_of))
            for name, login, acts_as, member_of in admin.execute(_ROLES).fetchall()
        }
        databases = {name: Database(owner, public) for name, owner, public in admin.execute(_DATABASES).fetchall()}
    consumers = [consumer.role for consumer in service.declared.consumers]
    for name in consumers:
        if name in databases and databases[name].owner in roles:
            databases[name] = replace(databases[name], extensions=_extensions(service, name))
    kept = {name: service.pair(name) for name in consumers}
    proven = {
        f"{name}_{half}"
        for name in consumers
        for half in HALVES
        if f"{name}_{half}" in roles and can_login(service, name, half, kept[name][half])
    }
    return State(roles, databases, frozenset(proven))


def diff(declared: Declared, state: State | None) -> list[Step]:
    """The steps to every consumer's database, and the disabling of logins whose consumer is gone."""
    found = state or State({}, {})
    steps: list[Step] = []
    mine: set[str] = set()
    for consumer in declared.consumers:
        steps += _owner(consumer.role, found)
        for half in HALVES:
            mine.add(f"{consumer.role}_{half}")
            steps += _login(consumer.role, half, found)
        steps += _database(consumer.role, found)
    for name, role in sorted(found.roles.items()):
        if role.can_login and name not in mine and role.member_of - {ADMIN} and name[-2:] in ("_a", "_b"):
            difference = Difference("login", "yes", "no")
            sql = [("ALTER ROLE {} NOLOGIN", [name])]
            steps.append(Step("update", f"login {name}", (difference,), GONE, details={"sql": sql}))
    return [*steps, *(_forgotten(name, found) for name in declared.forgotten)]


def kept(declared: Declared, state: State) -> list[str]:
    """The databases of consumers that are gone: each is called like its owner, whose logins are a pair."""
    mine = {consumer.role for consumer in declared.consumers}
    ours = {name for name, found in state.databases.items() if found.owner == name and f"{name}_a" in state.roles}
    return sorted(ours - mine)


def apply(service: Service, steps: Sequence[Step], say: Callable[[str], None]) -> None:
    """Runs the steps in order."""
    from psycopg import sql

    for step in steps:
        say(step.summary)
        with _admin(service, step.details.get("database", "postgres")) as admin:
            _unlogged(admin)
            for template, names in step.details["sql"]:
                admin.execute(sql.SQL(template).format(*map(sql.Identifier, names)))
            if role := step.details.get("login of"):
                half = step.details["half"]
                _set_password(admin, f"{role}_{half}", service.pair(role)[half])


def set_passwords(service: Service, role: str, passwords: Mapping[str, str], changing: Half) -> None:
    """Gives one login of a pair its new password; the other one is left alone."""
    name, password = f"{role}_{changing}", passwords[changing]
    if role != ADMIN:
        with _admin(service) as admin:
            _unlogged(admin)
            _set_password(admin, name, password)
    elif not can_login(service, role, changing, password):
        # Roles can't administer each other in a circle, so each half of our own pair replaces its own password.
        try:
            with _as_half(service, changing) as itself:
                _unlogged(itself)
                itself.execute("SET ROLE NONE")  # RESET would lead back to the role that the login acts as
                _set_password(itself, name, password)
        except PermissionError as error:
            raise _foreign(service, error) from error


def can_login(service: Service, role: str, half: Half, password: str) -> bool:
    """Whether that login of the pair opens its database with this password."""
    try:
        with connect(service, f"{role}_{half}", password, "postgres" if role == ADMIN else role):
            return True
    except PermissionError:
        return False


def _unlogged(connection: psycopg.Connection[Any]) -> None:
    connection.execute("SET log_statement = 'none'")
    connection.execute("SET log_min_error_statement = 'panic'")


def _set_password(connection: psycopg.Connection[Any], name: str, password: str) -> None:
    from psycopg import sql

    verifier = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
    connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(name), sql.Literal(verifier)))


_ROLES = """
SELECT r.rolname, r.rolcanlogin,
       (SELECT substring(setting FROM 6) FROM pg_db_role_setting s, unnest(s.setconfig) setting
        WHERE s.setrole = r.oid AND s.setdatabase = 0 AND setting LIKE 'role=%'),
       ARRAY(SELECT g.rolname::text FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
             WHERE m.member = r.oid AND m.set_option)
FROM pg_roles r WHERE r.rolname !~ '^pg_'
"""
_DATABASES = """
SELECT d.datname, r.rolname,
       EXISTS (SELECT FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
               WHERE a.grantee = 0 AND a.privilege_type = 'CONNECT')
FROM pg_database d JOIN pg_roles r ON r.oid = d.datdba WHERE NOT d.datistemplate
"""


@contextmanager
def _admin(service: Service, database: str = "postgres") -> Iterator[psycopg.Connection[Any]]:
    """A connection of our own: of the half in use, else, in the middle of a rotation, of the other one."""
    active: Half = "b" if service.pair(ADMIN)["active"] == "b" else "a"
    with ExitStack() as stack:
        try:
            connection = stack.enter_context(_as_half(service, active, database))
        except PermissionError:
            try:
                connection = stack.enter_context(_as_half(service, "a" if active == "b" else "b", database))
            except PermissionError as error:
                raise _foreign(service, error) from error
        yield connection


@contextmanager
def _as_half(service: Service, half: Half, database: str = "postgres") -> Iterator[psycopg.Connection[Any]]:
    with connect(service, f"{ADMIN}_{half}", service.pair(ADMIN)[half], database) as connection:
        yield connection


def _foreign(service: Service, error: PermissionError) -> HubError:
    text = f"no password that the vault keeps opens {ADMIN}: {error}"
    hint = "the vault or the database is another hub's: compare, then restore the one that is older"
    return HubError(text, where=service.instance.name, hint=hint)


def _extensions(service: Service, database: str) -> frozenset[str]:
    with _admin(service, database) as admin:
        return frozenset(name for (name,) in admin.execute("SELECT extname FROM pg_extension").fetchall())


def _forgotten(name: str, state: State) -> Step:
    roles = [role for role in (*(f"{name}_{half}" for half in HALVES), name) if role in state.roles]
    sql = [("DROP DATABASE {} WITH (FORCE)", [name]), *(("DROP ROLE {}", [role]) for role in roles)]
    return Step("delete", f"database {name}", why=GONE, data_at_risk="all that is in it", details={"sql": sql})


def _owner(name: str, state: State) -> list[Step]:
    role = state.roles.get(name)
    if role is None:
        return [Step("create", f"owner role {name}", details={"sql": [("CREATE ROLE {} NOLOGIN", [name])]})]
    if role.can_login:
        details = {"sql": [("ALTER ROLE {} NOLOGIN", [name])]}
        return [Step("update", f"owner role {name}", (Difference("login", "yes", "no"),), details=details)]
    return []


def _login(owner: str, half: Half, state: State) -> list[Step]:
    name = f"{owner}_{half}"
    grant = ("GRANT {} TO {} WITH INHERIT TRUE, SET TRUE", [owner, name])
    default = ("ALTER ROLE {} SET role TO {}", [name, owner])
    details = {"login of": owner, "half": half}
    role = state.roles.get(name)
    if role is None:
        make = ("CREATE ROLE {} LOGIN", [name])
        return [Step("create", f"login {name}", details={**details, "sql": [make, grant, default]})]
    differences, sql = [], []
    if not role.can_login:
        differences.append(Difference("login", "no", "yes"))
        sql.append(("ALTER ROLE {} LOGIN", [name]))
    if owner not in role.member_of:
        differences.append(Difference("member of", None, owner))
        sql.append(grant)
    if role.acts_as != owner:
        differences.append(Difference("acts as", role.acts_as or name, owner))
        sql.append(default)
    could = role.can_login and owner in role.member_of and owner in state.databases
    if could and name not in state.proven:
        differences.append(Difference("password", "refused", "accepted"))
    return [Step("update", f"login {name}", tuple(differences), details={**details, "sql": sql})] if differences else []


def _database(name: str, state: State) -> list[Step]:
    private = ("REVOKE ALL ON DATABASE {} FROM PUBLIC", [name])
    found = state.databases.get(name)
    steps: list[Step] = []
    if found is None:
        make = ("CREATE DATABASE {} OWNER {}", [name, name])
        steps.append(Step("create", f"database {name}", details={"sql": [make, private]}))
    else:
        differences, sql = [], []
        if found.owner != name:
            differences.append(Difference("owner", found.owner, name))
            sql.append(("ALTER DATABASE {} OWNER TO {}", [name, name]))
        if found.public:
            differences.append(Difference("everybody may connect", "yes", "no"))
            sql.append(private)
        if differences:
            steps.append(Step("update", f"database {name}", tuple(differences), details={"sql": sql}))
    # A new database has what template1 has: pgvector, as config/initdb makes it.
    present = found.extensions if found else {"vector"}
    for extension in EXTENSIONS:
        if extension not in present:
            sql = [("CREATE EXTENSION IF NOT EXISTS {}", [extension])]
            details = {"database": name, "sql": sql}
            steps.append(Step("create", f"extension {extension} in {name}", details=details))
    return steps
