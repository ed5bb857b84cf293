"""Databases, owner roles and paired logins of PostgreSQL; run by aihub.adapters.services.

Each consumer has a database and an owner role of the same name, which can't log in, and two logins, NAME_a and
NAME_b, that act as the owner. Passwords leave this machine only as SCRAM verifiers, computed here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aihub.adapters.services import Login, Service, Step
from aihub.errors import HubError, TaskFailed, Unreachable
from aihub.plan import Difference

if TYPE_CHECKING:
    import psycopg

ADMIN = "hub_reconcile"
EXTENSIONS = ("timescaledb", "vector")
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
            host=str(service.socket.parent), port=5432, user=user, password=password, dbname=database,
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
    wanted = service.logins()
    for login in wanted:
        if login.role in databases and databases[login.role].owner in roles:
            found = databases[login.role]
            databases[login.role] = Database(found.owner, found.public, _extensions(service, login.role))
    proven = {
        name
        for login in wanted
        for name, password in _pair(login)
        if name in roles and _works(service, login, name, password)
    }
    return State(roles, databases, frozenset(proven))


def diff(service: Service, state: State) -> list[Step]:
    """The steps to every consumer's database, and the disabling of logins whose consumer is gone."""
    steps: list[Step] = []
    wanted = service.logins()
    for login in wanted:
        steps += _owner(login, state)
        for name, password in _pair(login):
            steps += _login(login, name, password, state)
        steps += _database(login, state)
    mine = {name for login in wanted for name, _ in _pair(login)}
    for name, role in sorted(state.roles.items()):
        if role.can_login and name != ADMIN and name not in mine and role.member_of and name[-2:] in ("_a", "_b"):
            difference = Difference("login", "yes", "no")
            sql = [("ALTER ROLE {} NOLOGIN", [name])]
            steps.append(
                Step(
                    "update",
                    f"login {name} has no consumer any more",
                    (difference,),
                    {"sql": sql},
                )
            )
    return steps


def apply(service: Service, steps: Sequence[Step], say: Callable[[str], None]) -> None:
    """Runs the steps in order."""
    from psycopg import sql

    for step in steps:
        say(step.summary)
        with _admin(service, step.details.get("database", "postgres")) as admin:
            admin.execute("SET log_statement = 'none'")
            admin.execute("SET log_min_error_statement = 'panic'")
            for template, names in step.details["sql"]:
                admin.execute(sql.SQL(template).format(*map(sql.Identifier, names)))
            if "password" in step.details:
                name = step.details["login"]
                verifier = admin.pgconn.encrypt_password(
                    step.details["password"].encode(), name.encode(), b"scram-sha-256"
                ).decode()
                admin.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(name), sql.Literal(verifier)))


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
    try:
        with connect(service, ADMIN, service.secret("reconcile_password"), database) as connection:
            yield connection
    except PermissionError as error:
        raise HubError(
            f"the password that we keep does not open {ADMIN}",
            where=service.instance.name,
            hint="the state directory or the database is another hub's: compare, then restore the one that is older",
        ) from error


def _extensions(service: Service, database: str) -> frozenset[str]:
    with _admin(service, database) as admin:
        return frozenset(name for (name,) in admin.execute("SELECT extname FROM pg_extension").fetchall())


def _pair(login: Login) -> list[tuple[str, str]]:
    return [(f"{login.role}_{half}", password) for half, password in login.passwords.items()]


def _works(service: Service, login: Login, name: str, password: str) -> bool:
    """Whether the password opens the database; a refusal for another reason shows as a difference of its own."""
    try:
        with connect(service, name, password, login.role):
            return True
    except PermissionError:
        return False


def _owner(login: Login, state: State) -> list[Step]:
    role = state.roles.get(login.role)
    if role is None:
        return [
            Step(
                "create",
                f"owner role {login.role}",
                (),
                {"sql": [("CREATE ROLE {} NOLOGIN", [login.role])]},
            )
        ]
    if role.can_login:
        difference = Difference("login", "yes", "no")
        return [
            Step(
                "update",
                f"owner role {login.role}",
                (difference,),
                {"sql": [("ALTER ROLE {} NOLOGIN", [login.role])]},
            )
        ]
    return []


def _login(login: Login, name: str, password: str, state: State) -> list[Step]:
    grant = ("GRANT {} TO {} WITH INHERIT TRUE, SET TRUE", [login.role, name])
    default = ("ALTER ROLE {} SET role TO {}", [name, login.role])
    details = {"login": name, "password": password}
    role = state.roles.get(name)
    if role is None:
        make = ("CREATE ROLE {} LOGIN", [name])
        return [
            Step(
                "create",
                f"login {name}",
                (),
                {**details, "sql": [make, grant, default]},
            )
        ]
    differences, sql = [], []
    if not role.can_login:
        differences.append(Difference("login", "no", "yes"))
        sql.append(("ALTER ROLE {} LOGIN", [name]))
    if login.role not in role.member_of:
        differences.append(Difference("member of", None, login.role))
        sql.append(grant)
    if role.acts_as != login.role:
        differences.append(Difference("acts as", role.acts_as or name, login.role))
        sql.append(default)
    could = role.can_login and login.role in role.member_of and login.role in state.databases
    if could and name not in state.proven:
        differences.append(Difference("password", "refused", "accepted"))
    if not differences:
        return []
    return [Step("update", f"login {name}", tuple(differences), {**details, "sql": sql})]


def _database(login: Login, state: State) -> list[Step]:
    name = login.role
    private = ("REVOKE ALL ON DATABASE {} FROM PUBLIC", [name])
    found = state.databases.get(name)
    steps: list[Step] = []
    if found is None:
        make = ("CREATE DATABASE {} OWNER {}", [name, name])
        steps.append(Step("create", f"database {name}", (), {"sql": [make, private]}))
    else:
        if found.owner != name:
            sql = [("ALTER DATABASE {} OWNER TO {}", [name, name])]
            steps.append(
                Step(
                    "update",
                    f"database {name}",
                    (Difference("owner", found.owner, name),),
                    {"sql": sql},
                )
            )
        if found.public:
            difference = Difference("everybody may connect", "yes", "no")
            steps.append(Step("update", f"database {name}", (difference,), {"sql": [private]}))
    for extension in EXTENSIONS:
        # A new database has what template1 has: pgvector, as config/initdb makes it.
        if extension not in (found.extensions if found else {"vector"}):
            sql = [("CREATE EXTENSION IF NOT EXISTS {}", [extension])]
            steps.append(
                Step(
                    "create",
                    f"extension {extension} in {name}",
                    (),
                    {"database": name, "sql": sql},
                )
            )
    return steps
