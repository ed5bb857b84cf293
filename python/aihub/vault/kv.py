"""The vault as the keeper of secrets: versions, check-and-set, and what a lost answer means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aihub.services.secrets import Entry

from .calls import Calls, Names, certain
from .errors import CAS, Moved, Silent, from_answer

KV = "kv"
TRIES = 5


class KeyValue(Calls):
    """Entries by path (services.secrets.Secrets)."""

    # Not hvac's kv.v2: its write has no place for `repeat=False`, and its `configure` resets `max_versions`.

    def read(self, path: str) -> Entry | None:
        """The newest version of an entry; None when there is none. Raises Moved when somebody deleted it."""
        found = self.get(f"{KV}/data/{path}")
        if not found:
            return None
        about = found["metadata"]
        if found["data"] is None:
            done, version = "destroyed" if about["destroyed"] else "deleted", about["version"]
            undo = f"kv metadata delete -mount={KV}" if about["destroyed"] else f"kv undelete -mount={KV} -versions="
            undo += "" if about["destroyed"] else str(version)
            raise Moved(f"somebody {done} version {version} of this entry", where=path, hint=f"bao {undo} {path}")
        data = {str(key): str(value) for key, value in found["data"].items()}
        return Entry(data, int(about["version"]), certain(about["created_time"]), _texts(about))

    def write(self, path: str, data: Mapping[str, str], cas: int) -> int:
        """Makes a new version if `cas` is the newest one. Raises Moved, naming keys, when it is not."""
        wanted = {"data": dict(data), "options": {"cas": cas}}
        for _ in range(TRIES):
            try:
                return int(self.put(f"{KV}/data/{path}", wanted, repeat=False)["data"]["version"])
            except Silent as lost:
                entry = self.read(path)
                if entry is not None and entry.version == cas + 1 and dict(entry.data) == dict(data):
                    return entry.version  # it did take effect, only the answer was lost
                if (entry.version if entry else 0) != cas:
                    raise from_answer(self.server_name, "put", path, 400, [CAS], list(data)) from lost
        raise Silent("an entry could not be written, again and again", where=path, hint="run it again")

    def marks(self, path: str) -> dict[str, str] | None:
        """What is said about an entry (its custom metadata); None when it has no value, or is not there."""
        about = self.get(f"{KV}/metadata/{path}")
        return _texts(about) if about and about["current_version"] else None

    def mark(self, path: str, marks: Mapping[str, str]) -> None:
        """Says this about an entry, there or still to be made; an empty text takes a mark away, others stay."""
        wanted = {**_texts(self.get(f"{KV}/metadata/{path}") or {}), **marks}
        self.put(f"{KV}/metadata/{path}", {"custom_metadata": {key: text for key, text in wanted.items() if text}})

    def destroy(self, path: str) -> None:
        """Removes an entry with every version; fine if there is none."""
        self.delete(f"{KV}/metadata/{path}")

    def list(self, prefix: str) -> Names:
        """The paths of all entries below a prefix, sorted."""
        found: Names = []
        for name in self.names(f"{KV}/metadata/{prefix}".rstrip("/")):
            path = f"{prefix.rstrip('/')}/{name}".lstrip("/")
            found += self.list(path) if name.endswith("/") else [path]
        return sorted(found)


def _texts(about: Mapping[str, Any]) -> dict[str, str]:
    return {str(key): str(text) for key, text in (about.get("custom_metadata") or {}).items()}
