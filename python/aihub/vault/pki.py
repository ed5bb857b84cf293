"""The vault's certificate authority: its intermediate, its roles, its leaves. And mounts, which everything lies in."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from aihub.errors import BadAnswer

from .calls import Answer, Calls, Leaf, Names
from .certificates import facts


class Engines(Calls):
    """Mounts and the certificate authority `pki`."""

    # Not hvac's secrets.pki and sys: four methods for the two paths of mounts, and null sent for what nobody set.

    def mounts(self) -> dict[str, Answer]:
        """What is mounted where (`kv/`): secrets engines, and below `auth/` the ways to log in."""
        found = {path: dict(value) for path, value in _tables(self.get("sys/mounts")).items()}
        return found | {f"auth/{path}": dict(value) for path, value in _tables(self.get("sys/auth")).items()}

    def audit(self) -> Names:
        """The names of the audit devices (`disk/`)."""
        return sorted(_tables(self.get("sys/audit")))

    def request_intermediate(self, common_name: str) -> str:
        """Makes the key of an intermediate inside the vault; gives its certificate request."""
        wanted = {"common_name": common_name, "key_type": "ec", "key_bits": 256}
        return str(self.put("pki/intermediate/generate/internal", wanted)["data"]["csr"])

    def install_intermediate(self, certificate: str) -> None:
        """Gives the vault its signed intermediate; the first one becomes the issuer of every leaf."""
        self.put("pki/intermediate/set-signed", {"certificate": certificate})

    def intermediate(self) -> str:
        """The certificate that signs leaves; empty when there is none."""
        if not self.names("pki/issuers"):
            return ""
        return str((self.get("pki/issuer/default") or {}).get("certificate", ""))

    def issue(self, role: str, name: str) -> Leaf:
        """A new certificate and its key."""
        data = self.put(f"pki/issue/{role}", {"common_name": name}, repeat=False)["data"]
        chain = [data["certificate"], *(data.get("ca_chain") or [data["issuing_ca"]])]
        end = datetime.fromtimestamp(int(data["expiration"]), UTC)
        key = f"{str(data['private_key']).strip()}\n"
        return Leaf("".join(f"{one.strip()}\n" for one in chain), key, str(data["serial_number"]), end)

    def revoke_certificate(self, serial: str, name: str) -> None:
        """Puts a certificate on the revocation list; one for another name than `name` stays valid.

        Which one it is says the guest that shows it. Raises BadAnswer when that is somebody else's.
        """
        if not re.fullmatch("[0-9a-f]{2}(:[0-9a-f]{2}){1,31}", serial):
            raise BadAnswer("what it calls the number of its certificate is none", where=name)
        found = self.get(f"pki/cert/{serial}")
        if found and name not in facts(str(found["certificate"])).names:
            raise BadAnswer(f"it calls a certificate of somebody else its own: {serial} stays valid", where=name)
        self.put("pki/revoke", {"serial_number": serial})


def _tables(answer: Answer | None) -> dict[str, Any]:
    return {name: value for name, value in (answer or {}).items() if name.endswith("/") and isinstance(value, dict)}
