"""The nft tables of a guest, and which of them are Docker's."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from typing import Any

DOCKER_LINK = "docker0"
BY_IPTABLES = ("filter", "mangle", "nat", "raw", "security")  # nft tables that Docker fills, by their names


def table_state(name: str) -> str | None:
    """The hash of an nft table's rules without counters; None when there is no such table."""
    found = subprocess.run(["nft", "--stateless", "list", "table", *name.split()], capture_output=True, check=False)
    return hashlib.sha256(found.stdout).hexdigest() if found.returncode == 0 else None


def strange_tables(listed: set[str], docker: bool) -> list[str]:
    """The nft tables that are neither listed nor Docker's own.

    An image may bring a Docker that no stack of its guest needs: what it runs is seen, its empty rules are nobody's.
    """
    strange = [name for name in nft_tables() if name not in listed]
    return [name for name in strange if not (is_dockers(name) and (docker or holds_docker_alone(name)))]


def nft_tables() -> list[str]:
    """The names of all tables, with their families."""
    try:
        shown = subprocess.run(["nft", "list", "tables"], capture_output=True, check=False).stdout.decode()
    except FileNotFoundError:
        return []
    return [line.removeprefix("table ").strip() for line in shown.splitlines() if line.startswith("table ")]


def holds_docker_alone(table: str) -> bool:
    """Whether a table is there, and nobody but Docker has put anything into it."""
    shown = subprocess.run(["nft", "--json", "list", "table", *table.split()], capture_output=True, check=False)
    return shown.returncode == 0 and dockers_alone(json.loads(shown.stdout)["nftables"])


def is_dockers(table: str) -> bool:
    """Whether a table is one of those in which Docker puts its rules."""
    family, _, name = table.partition(" ")
    return family in ("ip", "ip6") and (name in BY_IPTABLES or name.startswith("docker"))


def dockers_alone(listed: list[dict[str, Any]]) -> bool:
    """Whether a table holds nothing but Docker's chains, ours beside them, and what leads there."""
    own = ("DOCKER", "HUB-LOCAL")
    rules = [one["rule"] for one in listed if "rule" in one]
    chains = [one["chain"] for one in listed if "chain" in one]
    strange = [one for one in chains if "hook" not in one and not one["name"].startswith(own)]
    words = ("DOCKER", "HUB-LOCAL", '"docker0"', '"br-')
    return not strange and all(
        rule["chain"].startswith(own) or any(word in json.dumps(rule) for word in words) for rule in rules
    )


def clear_after_docker() -> None:
    """Docker leaves its bridge and its rules behind when it stops; a table that holds anybody else's rule stays."""
    quiet: dict[str, Any] = {"stdout": sys.stderr, "stderr": sys.stderr}
    if os.path.exists(f"/sys/class/net/{DOCKER_LINK}"):
        subprocess.run(["ip", "link", "delete", DOCKER_LINK], check=False, **quiet)
    for table in filter(is_dockers, nft_tables()):
        if holds_docker_alone(table):
            subprocess.run(["nft", "delete", "table", *table.split()], check=False, **quiet)
