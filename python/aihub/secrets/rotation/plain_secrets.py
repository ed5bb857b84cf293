"""Replaces a plain secret: written by check-and-set, in use when the agent of its guest says so."""

from __future__ import annotations

from dataclasses import dataclass

from aihub.errors import PreconditionFailed
from aihub.model.resolved import SecretRef
from aihub.secrets import store as secretstore

from .systems import Systems


@dataclass
class Rotation:
    """One value under way (systems.Replacement). Needs no journal: it is one write, and agents read on their own."""

    systems: Systems
    ref: SecretRef

    def publish(self) -> dict[str, int]:
        """A fresh value. Raises Moved when somebody changed it at the same moment."""
        entry = self.systems.vault.read(self.ref.path)
        if entry is None:
            raise PreconditionFailed("there is nothing to replace yet", where=self.ref.path, hint="aihub up")
        return {self.ref.path: self.systems.vault.write(self.ref.path, secretstore.new_value(self.ref), entry.version)}

    def finish(self) -> None:
        """The old value ended with the restart."""
