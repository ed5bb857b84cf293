"""Names that instances get inside other services: no longer than the service takes, and nobody else's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..delivery import secrets
from ..derive import consumers
from ..findings import Finding
from ..resolved import VERIFY, Consumer, Instance
from ..wiring import Where

LONGEST = 63
"""PostgreSQL cuts longer names silently."""
LONGEST_HOST = 253


def check_wired(instances: Iterable[Instance], where: Where) -> list[Finding]:
    """What is wrong with derived names."""
    served = list(instances)
    return [*_logins(served, where), *_shown(served, where), *_files(served, where), *_at_vault(served, where)]


def _at_vault(instances: Iterable[Instance], where: Where) -> Iterator[Finding]:
    """Policies and certificates are named by stack and guest; a hyphen may stand in both."""
    owners: dict[str, Instance] = {}
    for instance in instances:
        if not instance.stack.delivered and instance.stack.office != "secrets":
            continue
        name = instance.store_name
        first = owners.setdefault(name, instance)
        if first.id != instance.id:
            text = f'{instance.name} and {first.name} would both be "{name}" at the vault: rename a guest'
            yield Finding(where[instance.name], text)


def _shown(instances: Iterable[Instance], where: Where) -> Iterator[Finding]:
    """Who shows another's name in its certificate is let in as that one, at every provider of the kind."""
    owners: dict[str, Consumer] = {}
    for one in consumers(instances):
        if not one.shows:
            continue
        first = owners.setdefault(one.shows, one)
        if first is not one:
            both = f"{one.consumer}'s {one.key} and {first.consumer}'s {first.key}"
            yield Finding(where[one.consumer], f'{both} would both show "{one.shows}": rename a guest or a key')
        if len(one.shows) > LONGEST_HOST:
            text = f"the name in its certificate for {one.kind} is longer than {LONGEST_HOST}: shorten the domain"
            yield Finding(where[one.consumer], text)


def _files(instances: Iterable[Instance], where: Where) -> Iterator[Finding]:
    """What a need's files are called, its provider says."""
    owners: dict[tuple[str, str], str] = {}
    for ref in secrets(instances, consumers(instances)):
        for file in ref.files:
            first = owners.setdefault((ref.instance, file), ref.name)
            if first != ref.name:
                text = f'{ref.instance}\'s {first} and {ref.name} would both have a file "{file}": rename one'
                yield Finding(where[ref.instance], text)


def _logins(instances: Iterable[Instance], where: Where) -> list[Finding]:
    findings: list[Finding] = []
    owners: dict[tuple[str, str], Consumer] = {}
    for login in consumers(instances):
        if login.consumer == VERIFY or login.strategy is None:
            continue
        place = where[login.consumer]
        if len(login.role) + 2 > LONGEST:
            text = f'its login "{login.role}_a" at {login.provider} is longer than {LONGEST}: shorten the name'
            findings.append(Finding(place, text))
        for name in (login.role, f"{login.role}_a", f"{login.role}_b"):
            first = owners.setdefault((login.provider, name), login)
            if first is not login:
                both = f"{login.consumer}'s {login.key} and {first.consumer}'s {first.key}"
                text = f'{both} would both be "{name}" at {login.provider}: rename a guest or a key'
                findings.append(Finding(place, text))
                break
    return findings
