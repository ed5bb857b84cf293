"""Who may do what at the vault: policies, AppRoles, secret-ids, tokens, wrapped answers."""

from __future__ import annotations

import time

from .calls import Answer, Calls, Names, SecretId, Token, Wrapped, certain, moment
from .errors import Denied, RefusedByVault

ENDING = 2.0  # seconds
ENDED = "invalid accessor"  # what is said of a token that ended since it was listed


class Access(Calls):
    """Policies, AppRoles and tokens."""

    # Not hvac's auth.approle: it takes a fixed list of settings without `role_id`, and its list answers are raw.

    def put_policy(self, name: str, text: str) -> None:
        """Makes or replaces a policy."""
        self.put(f"sys/policies/acl/{name}", {"policy": text})

    def delete_policy(self, name: str) -> None:
        """Removes a policy."""
        self.delete(f"sys/policies/acl/{name}")

    def approles(self) -> Names:
        """The names of all AppRoles."""
        return self.names("auth/approle/role")

    def role_id(self, name: str) -> str:
        """The public half of an AppRole's login."""
        found = self.get(f"auth/approle/role/{name}/role-id")
        if found is None:
            raise RefusedByVault(f"there is no AppRole {name}", where=self.server_name, hint="aihub up")
        return str(found["role_id"])

    def secret_id(self, name: str) -> SecretId:
        """A new secret-id, bound to the addresses that the AppRole names."""
        data = self.put(f"auth/approle/role/{name}/secret-id", {}, repeat=False)["data"]
        found = self._secret_id(name, str(data["secret_id_accessor"]))
        if found is None:
            raise RefusedByVault("a secret-id was gone when it was looked at", where=name, hint="run it again")
        return SecretId(found.accessor, found.created, found.expires, str(data["secret_id"]))

    def wrapped_secret_id(self, name: str, ttl: int) -> Wrapped:
        """A new secret-id inside a token that gives it once, within `ttl` seconds."""
        answer = self.put(f"auth/approle/role/{name}/secret-id", {}, wrap=ttl, repeat=False)
        return Wrapped(str(answer["wrap_info"]["token"]))

    def secret_ids(self, name: str) -> list[SecretId]:
        """The secret-ids of an AppRole, oldest first; without their values."""
        found = [self._secret_id(name, accessor) for accessor in self.names(f"auth/approle/role/{name}/secret-id")]
        return sorted((one for one in found if one), key=lambda one: one.created)

    def has_secret_id(self, name: str) -> bool:
        """Whether an AppRole has any; one call. One that ran out counts until the vault has tidied up."""
        return bool(self.names(f"auth/approle/role/{name}/secret-id"))

    def destroy_secret_id(self, name: str, accessor: str) -> None:
        """Ends a secret-id; fine if it is gone."""
        try:
            path = f"auth/approle/role/{name}/secret-id-accessor/destroy"
            self.put(path, {"secret_id_accessor": accessor})
        except RefusedByVault as error:
            if self._secret_id(name, accessor) is not None:
                raise error

    def _secret_id(self, name: str, accessor: str) -> SecretId | None:
        path = f"auth/approle/role/{name}/secret-id-accessor/lookup"
        try:
            data = self.put(path, {"secret_id_accessor": accessor})["data"]
        except RefusedByVault as error:
            if error.status == 404 or "failed to find" in error.what:
                return None
            raise
        made, ends = certain(str(data["creation_time"])), moment(str(data.get("expiration_time", "")))
        return SecretId(accessor, made, ends)

    def token(self) -> Token:
        """Our own token. Raises Denied when it is not valid."""
        found = self.get("auth/token/lookup-self")
        if found is None:
            raise Denied("our token is gone", where="auth/token/lookup-self", expired=True)
        return _token(found)

    def revoke_self(self) -> None:
        """Ends our own token."""
        self.put("auth/token/revoke-self", {})

    def tokens(self, role: str = "") -> list[Token]:
        """Every living token, or those that came from an AppRole."""
        found = []
        for accessor in self.names("auth/token/accessors"):
            try:
                data = self.put("auth/token/lookup-accessor", {"accessor": accessor})["data"]
            except (RefusedByVault, Denied) as error:
                if ENDED in error.what or self._is_ending(accessor):
                    continue
                raise
            found.append(_token(data))
        return [token for token in found if role in ("", token.role)]

    def _is_ending(self, accessor: str) -> bool:
        """Whether a token that we may not look at goes just now: it is listed for a moment after it was ended."""
        limit = time.monotonic() + ENDING
        while accessor in self.names("auth/token/accessors"):
            if time.monotonic() > limit:
                return False
            time.sleep(0.1)
        return True

    def revoke_tokens(self, role: str) -> int:
        """Ends every token that came from an AppRole; gives how many there were."""
        found = self.tokens(role)
        for token in found:
            try:
                self.put("auth/token/revoke-accessor", {"accessor": token.accessor})
            except (RefusedByVault, Denied) as error:
                if ENDED not in error.what:
                    raise
        return len(found)


def _token(data: Answer) -> Token:
    role = str((data.get("meta") or {}).get("role_name", ""))
    return Token(str(data["accessor"]), role, tuple(data.get("policies") or ()))
