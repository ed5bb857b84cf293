"""What the vault keeps and makes for instances: entries, pairs of passwords, certificates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal

from .resolved import (
    LOGIN_STACKS,
    RECONCILE,
    RECONCILE_ROLE,
    Certificate,
    Consumer,
    Instance,
    Pair,
    SecretRef,
)
from .stack import Stack

LOGIN_DAYS = 90
"""The longest age of what somebody logs in with: passwords, secret-ids, tokens and keys alike."""
LOGIN_LENGTH = 40


def delivered(stack: Stack) -> bool:
    """Whether an agent brings anything to the stack's instances."""
    return bool(stack.needs.secrets or stack.needs.tls or stack.logins or stack.name in LOGIN_STACKS)


def secrets(instances: Iterable[Instance], logins: Iterable[Consumer]) -> tuple[SecretRef, ...]:
    """Every entry that a guest reads, instance by instance."""
    mine: dict[str, list[Consumer]] = {}
    for login in logins:
        mine.setdefault(login.consumer, []).append(login)
    return tuple(ref for instance in instances for ref in _entries(instance, mine.get(instance.name, [])))


def pairs(logins: Iterable[Consumer], refs: Iterable[SecretRef]) -> tuple[Pair, ...]:
    """Both passwords of everyone who logs in at a provider; aihub's own before the others."""
    entries = {(ref.instance, ref.name): ref for ref in refs}
    found: list[Pair] = []
    for ref in entries.values():
        if ref.kind == "pair":
            found.append(Pair(ref.instance, RECONCILE_ROLE, ref.path, None, ref.rotate))
    for login in logins:
        entry = entries.get((login.consumer, entry_name(login)))
        path = f"operator/pair/{login.provider}/{login.role}"
        found.append(Pair(login.provider, login.role, path, entry, LOGIN_DAYS))
    return tuple(found)


def certificates(instances: Iterable[Instance]) -> tuple[Certificate, ...]:
    """The certificate of every instance that serves with one."""
    return tuple(
        Certificate(
            instance=instance.name,
            role=f"{instance.stack.name}-{instance.guest.name}",
            name=instance.guest.fqdn,
            days=_days(tls.rotate),
            on_change=tls.on_change,
        )
        for instance in instances
        if (tls := instance.stack.needs.tls)
    )


def entry_name(login: Consumer) -> str:
    """What a consumer's entry for a login is called."""
    return f"{login.provider.partition('@')[0]}_{login.key}"


def _entries(instance: Instance, logins: Iterable[Consumer]) -> Iterator[SecretRef]:
    stack, guest = instance.stack, instance.guest
    folder = f"hub/{guest.zone}/{guest.name}/{stack.name}"
    if stack.name in LOGIN_STACKS:
        files = {half: f"{RECONCILE}_{half}" for half in ("a", "b")}
        yield _login(instance, RECONCILE, f"{folder}/{RECONCILE}", "pair", files)
    for name, spec in stack.needs.secrets.items():
        yield SecretRef(
            instance=instance.name,
            name=name,
            path=f"{folder}/{name}",
            kind="value",
            files={"value": name},
            length=spec.length,
            alphabet=spec.kind,
            rotate=_days(spec.rotate),
            on_change=spec.on_change,
        )
    for login in logins:
        name = entry_name(login)
        # One file of both as well: two files are not replaced at the same moment, and their reader might mix them.
        files = {"user": f"{name}_user", "password": f"{name}_password", "user password": f"{name}_login"}
        yield _login(instance, name, f"{folder}/{name}", "login", files)


def _login(
    instance: Instance, name: str, path: str, kind: Literal["login", "pair"], files: dict[str, str]
) -> SecretRef:
    # aihub sets its own pair inside the running provider; the files matter at the next start only.
    change = "none" if kind == "pair" else instance.stack.needs.on_login_change
    return SecretRef(instance.name, name, path, kind, files, LOGIN_LENGTH, "alphanumeric", LOGIN_DAYS, on_change=change)


def _days(text: str) -> int:
    return int(text.removesuffix("d"))
