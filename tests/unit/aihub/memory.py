"""A keeper of secrets in a dict, with the check-and-set of the real one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

from aihub.services.secrets import Entry
from aihub.vault.errors import Moved


class Memory:
    """services.secrets.Secrets without a server."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.said: dict[str, dict[str, str]] = {}

    def read(self, path: str) -> Entry | None:
        entry = self.entries.get(path)
        return replace(entry, marks=self.said.get(path, {})) if entry else None

    def write(self, path: str, data: Mapping[str, str], cas: int) -> int:
        version = self.entries[path].version if path in self.entries else 0
        if version != cas:
            raise Moved(f"somebody changed this entry (keys: {', '.join(sorted(data))})", where=path)
        self.entries[path] = Entry(dict(data), version + 1, datetime.now(UTC))
        return version + 1

    def marks(self, path: str) -> Mapping[str, str] | None:
        return self.said.get(path, {}) if path in self.entries else None

    def mark(self, path: str, marks: Mapping[str, str]) -> None:
        known = {**self.said.get(path, {}), **marks}
        self.said[path] = {key: text for key, text in known.items() if text}

    def destroy(self, path: str) -> None:
        self.entries.pop(path, None)
        self.said.pop(path, None)

    def list(self, prefix: str) -> list[str]:
        return sorted(path for path in self.entries if path.startswith(prefix.rstrip("/") + "/"))
