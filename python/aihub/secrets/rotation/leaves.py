"""Replaces a certificate: the agent gets a new one, the service serves with it, and the old one is revoked."""

from __future__ import annotations

from dataclasses import dataclass

from aihub.model.resolved import Certificate

from . import journal
from .journal import Page
from .reach import Reach


@dataclass
class Rotation:
    """One certificate under way (reach.Flight). The journal knows which one is to be revoked."""

    reach: Reach
    certificate: Certificate
    page: Page

    def publish(self) -> dict[str, int]:
        """Nothing is to be known beforehand."""
        return {}

    def finish(self) -> None:
        """The new one is in use, then the old one ends."""
        guest, place = self.certificate.guest, self.certificate.place
        old = self.page.data["serial"]
        if self.reach.serial(guest, place) == old:
            self.reach.renew(guest, place)
        try:
            if old:
                self.reach.vault.revoke_certificate(old, self.certificate.name)
        finally:
            self.page.close()  # what the guest said the old one was stands there: it will be no other the next time


def begin(reach: Reach, certificate: Certificate, name: str) -> Rotation:
    """Writes down which one is in use; nothing else has changed then."""
    serial = reach.serial(certificate.guest, certificate.place)
    data = {"kind": "certificate", "phase": "renew", "serial": serial}
    return Rotation(reach, certificate, journal.opened(reach.vault, name, data))
