"""Changes and plans: one difference between hub.yml and what is there, and an ordered list of them."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal


@dataclass(frozen=True)
class Difference:
    """One field that differs; values are normalised texts, never secret."""

    field: str
    actual: str | None
    wanted: str | None


@dataclass(frozen=True)
class Change:
    """One difference to be applied.

    `owner` says which adapter applies it: api (proxmoxer), node (metal), guest (Ansible), service (reconcile),
    secrets, vault. `scope` is api or inside: `plan --scope api` looks at the first only.
    """

    subject: str  # guest name, instance, or node
    action: Literal["create", "update", "delete", "start", "stop", "configure", "deliver", "reconcile"]
    owner: Literal["api", "node", "guest", "service", "secrets", "vault"]
    identity: Literal["token", "root@node", "guest", "service", "vault"]
    summary: str
    differences: tuple[Difference, ...] = ()
    restart: bool = False
    data_at_risk: str = ""
    details: dict[str, Any] = field(default_factory=dict, compare=False)  # for the applying adapter; not printed

    def as_json(self) -> dict[str, Any]:
        """The change as `--json` prints it."""
        found = asdict(self)
        del found["details"]
        return found


@dataclass(frozen=True)
class Plan:
    """What `up` would do, in order; `unknown` names guests that could not be looked into."""

    changes: tuple[Change, ...] = ()
    unknown: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not self.changes and not self.unknown

    def as_json(self) -> dict[str, Any]:
        return {
            "changes": [c.as_json() for c in self.changes],
            "unknown": list(self.unknown),
            "warnings": list(self.warnings),
        }
