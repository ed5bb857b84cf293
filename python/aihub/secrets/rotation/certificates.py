"""Replaces a certificate: the agent gets a new one, the service serves with it, and the old one is revoked."""

from __future__ import annotations

from dataclasses import dataclass

from aihub.model.resolved import Certificate

from . import records
from .records import Record
from .systems import Systems


@dataclass
class Rotation:
    """One certificate under way (systems.Replacement). The journal knows which one is to be revoked."""

    systems: Systems
    certificate: Certificate
    record: Record

    def publish(self) -> dict[str, int]:
        """Nothing is to be known beforehand."""
        return {}

    def finish(self) -> None:
        """The new one is in use, then the old one ends."""
        guest, place = self.certificate.guest, self.certificate.place
        old = self.record.data["serial"]
        if self.systems.serial(guest, place) == old:
            self.systems.renew(guest, place)
        try:
            if old:
                self.systems.vault.revoke_certificate(old, self.certificate.name)
        finally:
            self.record.close()  # what the guest said the old one was stands there: it will be no other the next time


def begin(systems: Systems, certificate: Certificate, name: str) -> Rotation:
    """Writes down which one is in use; nothing else has changed then."""
    serial = systems.serial(certificate.guest, certificate.place)
    data = {"kind": "certificate", "phase": "renew", "serial": serial}
    return Rotation(systems, certificate, records.opened(systems.vault, name, data))
