"""Who may do what: Qdrant's keys, and tokens that one of them signed.

A token is a JSON Web Token (HS256) with Qdrant's claims: `exp`, `access` (`r` or `m`; a list of collections is absent
here), and `value_exists`, which makes it valid only as long as a collection has such a point.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import time
from collections.abc import Callable, Mapping

from wire import Json, Refused, absent

READS = re.compile(r"/(?:points|points/(?:query|query/batch|scroll|count)|facet)$")
_LEEWAY = 30  # seconds, as upstream's


class Access:
    """The keys of one configuration; `exists` says whether a collection has a point with these payload values."""

    def __init__(self, service: Mapping[str, Json], exists: Callable[[str, Mapping[str, Json]], bool]) -> None:
        self._full = [service[word] for word in ("api_key", "alt_api_key") if service.get(word)]
        self._reading = [service["read_only_api_key"]] if service.get("read_only_api_key") else []
        self._tokens = bool(service.get("jwt_rbac"))
        self._exists = exists

    def require(self, key: str, method: str, path: str) -> None:
        """Raises Refused for who may not do that."""
        if not self._full and not self._reading:
            return
        if not key:
            raise Refused(401, "Must provide an API key or an Authorization bearer token")
        if _among(key, self._full):
            return
        access = "r" if _among(key, self._reading) else self._of_token(key)
        if access == "r" and method != "GET" and not (method == "POST" and READS.search(path)):
            raise Refused(403, "Forbidden: Global manage access is required")

    def _of_token(self, token: str) -> str:
        claims = self._claims(token)
        if claims.get("exp") is not None and claims["exp"] + _LEEWAY < time.time():
            raise Refused(403, "Forbidden: ExpiredSignature")
        if (wanted := claims.get("value_exists")) is not None:
            pairs = {match["key"]: match["value"] for match in wanted["matches"]}
            if not self._exists(wanted["collection"], pairs):
                raise Refused(401, "Invalid JWT, stateful validation failed")
        access = claims.get("access", "m")
        if access not in ("r", "m"):
            raise absent("access of a token to some collections only")
        return str(access)

    def _claims(self, token: str) -> Mapping[str, Json]:
        invalid = Refused(401, "Invalid API key or JWT")
        parts = token.split(".")
        if not self._tokens or len(parts) != 3:
            raise invalid
        try:
            header, claims, signature = (_plain(part) for part in parts)
            found, read = json.loads(header), json.loads(claims)
        except ValueError as error:
            raise invalid from error
        if not isinstance(found, dict) or not isinstance(read, dict) or found.get("alg") != "HS256":
            raise invalid
        signed = f"{parts[0]}.{parts[1]}".encode()
        sums = [hmac.new(key.encode(), signed, hashlib.sha256).digest() for key in self._full]
        if not any(hmac.compare_digest(signature, one) for one in sums):
            raise Refused(403, "Forbidden: InvalidSignature")
        return read


def _among(key: str, keys: list[str]) -> bool:
    return any(hmac.compare_digest(key.encode(), one.encode()) for one in keys)


def _plain(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
