"""Names that instances get inside other services: no longer than the service takes, and nobody else's."""

from __future__ import annotations

from collections.abc import Iterable

from ..derive import consumers
from ..findings import Finding
from ..resolved import VERIFY, Consumer, Instance
from ..wiring import Where

LONGEST = 63
"""PostgreSQL cuts longer names silently."""


def check_wired(instances: Iterable[Instance], where: Where) -> list[Finding]:
    """What is wrong with derived names."""
    findings: list[Finding] = []
    owners: dict[tuple[str, str], Consumer] = {}
    for login in consumers(instances):
        if login.consumer == VERIFY:
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
