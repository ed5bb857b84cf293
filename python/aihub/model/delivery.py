"""What the vault keeps and makes for instances: entries, pairs of passwords, certificates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal

from .resolved import (
    RECONCILE,
    RECONCILE_ROLE,
    Certificate,
    Consumer,
    Instance,
    Pair,
    SecretRef,
)
from .stack import NEVER, Offer, OnChange

LOGIN_DAYS = 90
"""The longest age of what somebody logs in with: passwords, secret-ids, tokens and keys alike."""
LOGIN_LENGTH = 40
CLIENT_DAYS = 30
"""How long a certificate lives by which a consumer says who it is."""


def secrets(instances: Iterable[Instance], logins: Iterable[Consumer]) -> tuple[SecretRef, ...]:
    """Every entry that a guest reads, instance by instance."""
    every = {instance.name: instance for instance in instances}
    mine: dict[str, list[Consumer]] = {}
    for login in logins:
        if login.strategy and login.strategy != "certificate":
            mine.setdefault(login.consumer, []).append(login)
    return tuple(ref for instance in every.values() for ref in _entries(instance, mine.get(instance.name, []), every))


def handed(
    instances: Iterable[Instance], logins: Iterable[Consumer], refs: Iterable[SecretRef]
) -> tuple[SecretRef, ...]:
    """The entries that a provider is handed of its consumers' own."""
    every = {instance.name: instance for instance in instances}
    known = {(ref.instance, ref.name): ref for ref in refs}
    found: list[SecretRef] = []
    for login in logins:
        for secret in every[login.provider].stack.gives[login.kind].reads:
            if ref := known.get((login.consumer, secret)):
                name = f"{login.kind}_{login.role}_{secret}"
                more: dict[str, Any] = {"instance": login.provider, "name": name, "files": {name: "{value}"}}
                found.append(replace(ref, **more, on_change="none", later=True))
    return tuple(found)


def pairs(instances: Iterable[Instance], logins: Iterable[Consumer], refs: Iterable[SecretRef]) -> tuple[Pair, ...]:
    """The passwords of everyone who logs in at a provider; aihub's own before the others."""
    every = {instance.name: instance for instance in instances}
    entries = {(ref.instance, ref.name): ref for ref in refs}
    found: list[Pair] = []
    for ref in entries.values():
        if ref.kind == "pair" and (admin := every[ref.instance].stack.admin):
            found.append(Pair(ref.instance, RECONCILE_ROLE, ref.path, None, LOGIN_DAYS, admin))
    for login in logins:
        if login.strategy and login.strategy != "certificate":
            entry = entries.get((login.consumer, login.name))
            provider = every[login.provider]
            path = f"operator/pair/{provider.id}/{login.role}"
            interrupts = provider.stack.gives[login.kind].interrupts or ""
            found.append(Pair(login.provider, login.role, path, entry, LOGIN_DAYS, login.strategy, interrupts))
    return tuple(found)


def certificates(instances: Iterable[Instance], logins: Iterable[Consumer]) -> tuple[Certificate, ...]:
    """The certificates that instances serve with, and those by which they say who they are."""
    every = {instance.name: instance for instance in instances}
    serving = [
        Certificate(
            instance=instance.name,
            role=instance.store_name,
            name=instance.guest.fqdn,
            days=_days(tls.rotate),
            on_change=tls.on_change,
        )
        for instance in every.values()
        if (tls := instance.stack.needs.tls)
    ]
    clients = [_client(every[one.consumer], one) for one in logins if one.strategy == "certificate"]
    return (*serving, *clients)


def _client(instance: Instance, login: Consumer) -> Certificate:
    return Certificate(
        instance=instance.name,
        role=f"{instance.store_name}-{login.name}",
        name=login.shows,
        days=CLIENT_DAYS,
        on_change=instance.stack.needs.on_login_change,
        file=f"{login.name}.pem",
        server=False,
        client=True,
        later=login.later,
    )


def _entries(instance: Instance, logins: Iterable[Consumer], every: Mapping[str, Instance]) -> Iterator[SecretRef]:
    stack = instance.stack
    if stack.admin == "single":
        yield _login(instance, RECONCILE, "pair", {RECONCILE: "{a}"}, "restart")
    elif stack.admin:
        # aihub sets its own pair inside the running provider; the files matter at the next start only.
        yield _login(instance, RECONCILE, "pair", {f"{RECONCILE}_{half}": f"{{{half}}}" for half in ("a", "b")}, "none")
    for name, spec in stack.needs.secrets.items():
        yield SecretRef(
            instance=instance.name,
            name=name,
            path=f"{instance.folder}/{name}",
            kind="value",
            files={name: "{value}"},
            length=spec.length,
            alphabet=spec.kind,
            rotate=None if spec.given or spec.rotate == NEVER else _days(spec.rotate),
            on_change=spec.on_change,
            given=spec.given,
        )
    for login in logins:
        provider = every[login.provider]
        files = _files(login, provider, provider.stack.gives[login.kind])
        yield _login(instance, login.name, "login", files, stack.needs.on_login_change, later=login.later)


def _files(login: Consumer, provider: Instance, offer: Offer) -> dict[str, str]:
    """The consumer's files; what is no secret stands in their texts already."""
    known = {"{name}": login.role, "{host}": provider.guest.fqdn, "{port}": str(offer.port)}
    found = {}
    for part, text in offer.texts.items():
        for word, value in known.items():
            text = text.replace(word, value)  # noqa: PLW2901
        found[f"{login.name}_{part}"] = text
    return found


def _login(
    instance: Instance,
    name: str,
    kind: Literal["login", "pair"],
    files: Mapping[str, str],
    change: OnChange,
    *,
    later: bool = False,
) -> SecretRef:
    path = f"{instance.folder}/{name}"
    return SecretRef(
        instance.name, name, path, kind, files, LOGIN_LENGTH, "alphanumeric", LOGIN_DAYS, on_change=change, later=later
    )


def _days(text: str) -> int:
    return int(text.removesuffix("d"))
