"""Faults on demand and the record of requests: the lab's own, below /pvelab, for root@pam by ticket only."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter, deque
from typing import Any

KINDS = (
    "delay",
    "drop-before",
    "drop-after",
    "status",
    "task-fail",
    "task-hang",
    "task-vanish",
    "lock",
    "storage-full",
    "token-revoked",
)


class Faults:
    """Rules that are still to strike, and what was asked so far."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.rules: list[dict[str, Any]] = []
        self.next = 1
        self.requests: deque[dict[str, Any]] = deque(maxlen=20_000)
        self.counts: Counter[str] = Counter()

    def add(self, rule: dict[str, Any]) -> dict[str, Any]:
        """Keeps a rule and returns it with its id."""
        with self.lock:
            kept = {"count": 1, "skip": 0, "method": ".*", "path": ".*", **rule, "id": self.next, "struck": 0}
            self.next += 1
            self.rules.append(kept)
            return kept

    def clear(self, ident: int | None = None) -> None:
        """Removes one rule or all."""
        with self.lock:
            self.rules = [r for r in self.rules if ident is not None and r["id"] != ident]

    def strike(self, method: str, path: str) -> dict[str, dict[str, Any]]:
        """The faults that this request meets, by kind; each rule strikes `count` times after `skip`."""
        if not self.rules:
            return {}
        found: dict[str, dict[str, Any]] = {}
        with self.lock:
            for rule in self.rules:
                if rule["kind"] in found or rule["struck"] >= rule["count"] > 0:
                    continue
                if not re.fullmatch(rule["method"], method) or not re.search(rule["path"], path):
                    continue
                if rule["skip"] > 0:
                    rule["skip"] -= 1
                    continue
                rule["struck"] += 1
                found[rule["kind"]] = rule
        return found

    def record(self, method: str, path: str, user: str, status: int) -> None:
        """Remembers one answered request."""
        self.counts[method] += 1
        self.requests.append({"time": time.time(), "method": method, "path": path, "user": user, "status": status})
