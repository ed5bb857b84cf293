"""Databases, owner roles and paired logins of PostgreSQL; run by aihub.services.

Each consumer has a database, which is ours, with a schema `public`, which is its owner role's: a role of the same name
that can't log in. Two logins, NAME_a and NAME_b, act as the owner; aihub itself is such a pair. It administers all
these roles and is a member of none. Passwords leave this machine only as SCRAM verifiers, computed here, and
everything goes over TLS to a server that proves its name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from aihub.errors import TaskFailed
from aihub.model.resolved import RECONCILE_ROLE as ADMIN
from aihub.services.service import Half, Service, Step

from . import objects
from .connection import Full, as_admin, as_half, connect, foreign, set_password, unlogged
from .objects import Database, Membership, Role, State
from .steps import HALVES, diff, kept

if TYPE_CHECKING:
    import psycopg

__all__ = [
    "Database", "Membership", "Role", "State", "apply", "can_login", "connect", "diff", "kept", "read", "set_passwords",
]  # fmt: skip


def read(service: Service) -> State:
    """Roles, databases with what lies in those of consumers, and which of the wanted logins work."""
    with as_admin(service) as admin:
        state = objects.shared(admin)
    consumers = [consumer.role for consumer in service.declared.consumers]
    databases = dict(state.databases)
    for name in consumers:
        if name in databases and databases[name].ours:
            with as_admin(service, name) as admin:
                databases[name] = replace(databases[name], **objects.inside(admin))
    passwords = {name: service.pair(name) for name in consumers}
    proven = {
        f"{name}_{half}"
        for name in consumers
        for half in HALVES
        if f"{name}_{half}" in state.roles and can_login(service, name, half, passwords[name][half])
    }
    return replace(state, databases=databases, proven=frozenset(proven))


def apply(service: Service, steps: Sequence[Step], say: Callable[[str], None]) -> None:
    """Runs the steps in order. Raises TaskFailed, at the end, for what only the superuser may do.

    What fails inside a consumer's database, where it may have done anything, stops no step of the others.
    """
    left: list[TaskFailed] = []
    for step in steps:
        say(step.summary)
        try:
            _do(service, step)
        except TaskFailed as error:
            if "database" not in step.details:
                raise
            left.append(error)
        if by_hand := step.details.get("by hand"):
            hint = str(by_hand).replace("GUEST", service.instance.guest.name)
            text = f"only its superuser can remove {step.object}"
            left.append(TaskFailed(text, where=service.instance.name, hint=hint))
    if left:
        raise TaskFailed("; ".join(one.what for one in left), where=service.instance.name, hint=left[0].hint)


def _do(service: Service, step: Step) -> None:
    with as_admin(service, step.details.get("database", "postgres")) as admin:
        _run(admin, step)
        if role := step.details.get("login of"):
            half = step.details["half"]
            unlogged(admin)
            set_password(admin, f"{role}_{half}", service.pair(role)[half])
    if half := step.details.get("itself"):
        with as_half(service, half) as itself:
            itself.execute("SET ROLE NONE")
            _execute(itself, "ALTER ROLE {} SET role TO {}", [f"{ADMIN}_{half}", ADMIN])


def set_passwords(service: Service, role: str, passwords: Mapping[str, str], changing: Half) -> None:
    """Gives one login of a pair its new password; the other one is left alone."""
    name, password = f"{role}_{changing}", passwords[changing]
    if role != ADMIN:
        with as_admin(service) as admin:
            unlogged(admin)
            set_password(admin, name, password)
    elif not can_login(service, role, changing, password):
        # Roles can't administer each other in a circle, so each half of our own pair replaces its own password.
        try:
            with as_half(service, changing) as itself:
                unlogged(itself)
                itself.execute("SET ROLE NONE")  # RESET would lead back to the role that the login acts as
                set_password(itself, name, password)
        except PermissionError as error:
            raise foreign(service, error) from error


def can_login(service: Service, role: str, half: Half, password: str) -> bool:
    """Whether that login of the pair opens its database with this password."""
    try:
        with connect(service, f"{role}_{half}", password, "postgres" if role == ADMIN else role):
            return True
    except Full:
        return True
    except PermissionError:
        return False


def _run(admin: psycopg.Connection[Any], step: Step) -> None:
    """All of a step or nothing, but for whole databases, which are made and dropped outside of transactions.

    Where it takes that, we can become a consumer's role, without having its rights, and no longer than that.
    """
    sql, role = step.details["sql"], step.details.get("as")
    whole = any(text.startswith(("CREATE DATABASE", "DROP DATABASE")) for text, _ in sql)
    with nullcontext() if whole else admin.transaction():
        if role:
            _execute(admin, "GRANT {} TO {} WITH ADMIN FALSE, INHERIT FALSE, SET TRUE", [role, ADMIN])
        for text, names in sql:
            _execute(admin, text, names)
        if role:
            _execute(admin, "REVOKE {} FROM {} GRANTED BY {}", [role, ADMIN, ADMIN])


def _execute(admin: psycopg.Connection[Any], text: str, names: Sequence[str]) -> None:
    """One statement with its identifiers, or one function with its arguments."""
    from psycopg import sql

    kind = sql.Literal if text.startswith("SELECT ") else sql.Identifier
    admin.execute(sql.SQL(text).format(*map(kind, names)))  # the texts are those of steps.py
