"""Names that instances get inside other services: no longer than the service takes, and nobody else's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..derive import consumers
from ..findings import Finding
from ..resolved import VERIFY, Consumer, Instance
from ..wiring import Where

LONGEST = 63
"""PostgreSQL cuts longer names silently."""


def check_wired(instances: Iterable[Instance], where: Where) -> list[Finding]:
    """What is wrong with derived names."""
    served = list(instances)
    return [*_logins(served, where), *_at_vault(served, where)]


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
