"""Faults on demand and the record of requests: the lab's own, below /pvelab, for root@pam by ticket only.

A rule has a kind, patterns for `method` and `path`, `count` (how often it strikes; 0: always) and `skip` (how many
requests it lets through first), and `only` (token: what API tokens ask for). Some kinds take more: `seconds` (delay,
task-hang, clock), `status` and `message` (status, task-fail), `body` (answer). card-dead strikes what stops a
machine with a card: it does not come back from its reset.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter, deque
from email.utils import formatdate
from typing import Any

KINDS = (
    "delay", "drop-before", "drop-after", "status", "task-fail", "task-hang", "task-vanish", "task-warn", "lock",
    "storage-full", "token-revoked", "answer", "clock", "card-dead",
)  # fmt: skip
BODIES = ("cut", "truncated", "html", "garbage", "empty", "null", "shape")


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

    def strike(self, method: str, path: str, token: bool = False) -> dict[str, dict[str, Any]]:
        """The faults that this request meets, by kind; `token`: it came with an API token."""
        if not self.rules:
            return {}
        found: dict[str, dict[str, Any]] = {}
        with self.lock:
            for rule in self.rules:
                if rule["kind"] in found or rule["struck"] >= rule["count"] > 0:
                    continue
                if rule.get("only") == "token" and not token:
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


def body(rule: dict[str, Any], whole: bytes) -> bytes:
    """What an `answer` fault sends instead of the whole body; `cut` also ends the connection before it is over."""
    kind = rule.get("body", "truncated")
    if kind in ("cut", "truncated"):
        return whole[: max(1, len(whole) // 2)]
    return {
        "html": b"<!DOCTYPE html><html><body><h1>It works!</h1></body></html>",
        "garbage": bytes(range(1, 256)),
        "empty": b"",
        "null": b'{"data":null}',
        "shape": json.dumps({"data": {"surprise": [None, 1, "x"]}}).encode(),
    }[kind]


def date(rule: dict[str, Any]) -> str:
    """The Date header of a node whose clock is wrong by some seconds."""
    return formatdate(time.time() + float(rule.get("seconds", 3600)), usegmt=True)
