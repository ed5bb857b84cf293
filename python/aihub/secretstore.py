"""Keeps the hub's secrets on the controller, outside git: one file for each, 0600.

`Secrets` is the one seam: whoever needs a value asks it, and a Vault can take the place of the files.
"""

from __future__ import annotations

import os
import re
import secrets
import string
from pathlib import Path
from typing import Protocol

from . import crashpoint
from .errors import HubError, PreconditionFailed
from .model.resolved import SecretRef
from .paths import State

# Nothing that a shell, a URL or a configuration file must quote.
_ALPHABET = string.ascii_letters + string.digits
_INSTANCE = re.compile(r"[a-z0-9][a-z0-9-]*@[a-z0-9][a-z0-9-]*")
_NAME = re.compile(r"[a-z][a-z0-9_]*")


class Secrets(Protocol):
    """Where secret values live."""

    def ensure(self, ref: SecretRef) -> str:
        """The value; generated and kept when there is none."""

    def get(self, instance: str, name: str) -> str:
        """The value. Raises PreconditionFailed when there is none."""

    def put(self, instance: str, name: str, value: str) -> None:
        """Replaces the value."""

    def names(self, instance: str) -> list[str]:
        """The names of an instance's secrets."""


class SecretStore:
    """Secrets as files under the state directory."""

    def __init__(self, state: State) -> None:
        self._directory = state.secrets

    def ensure(self, ref: SecretRef) -> str:
        """The value; generated and kept when there is none."""
        path = self._path(ref.instance, ref.name)
        if not path.exists():
            self._write(path, "".join(secrets.choice(_ALPHABET) for _ in range(ref.length)), replace=False)
        return path.read_text()

    def get(self, instance: str, name: str) -> str:
        """The value. Raises PreconditionFailed when there is none."""
        path = self._path(instance, name)
        if not path.exists():
            raise PreconditionFailed(f"no secret {name} is kept", where=instance, hint="aihub up")
        return path.read_text()

    def put(self, instance: str, name: str, value: str) -> None:
        """Replaces the value."""
        self._write(self._path(instance, name), value, replace=True)

    def names(self, instance: str) -> list[str]:
        """The names of an instance's secrets."""
        folder = self._path(instance, "x").parent
        return sorted(p.name for p in folder.iterdir() if _NAME.fullmatch(p.name)) if folder.is_dir() else []

    def _path(self, instance: str, name: str) -> Path:
        # The names end up in paths: nothing else may be read or written through them.
        if not _INSTANCE.fullmatch(instance) or not _NAME.fullmatch(name):
            raise HubError(f"not the name of a secret: {instance}/{name}")
        return self._directory / instance / name

    def _write(self, path: Path, value: str, *, replace: bool) -> None:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
            handle.write(value)
            handle.flush()
            os.fsync(handle.fileno())
        with crashpoint.write(f"secret {path.name}") as due:
            crashpoint.inside(due)
            try:
                if replace:
                    fresh.replace(path)
                else:
                    path.hardlink_to(fresh)  # of two that generate at once, the first wins
            except FileExistsError:
                pass
            finally:
                fresh.unlink(missing_ok=True)
