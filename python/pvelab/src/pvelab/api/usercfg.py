"""Users, roles, tokens, access control lists and pools, and the privileges they add up to."""

from __future__ import annotations

import copy
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .errors import denied, refuse_if
from .privileges import BUILTIN_ROLES, PRIVILEGES
from .store import Document

Perms = dict[str, int]  # privilege -> propagate
EMPTY: dict[str, Any] = {
    "users": {"root@pam": {"enable": 1}},
    "roles": {},
    "pools": {},
    "acl": {},
    "secrets": {},
    "passwords": {},
}
REALMS = ("pam", "pve")  # those of every node; each is of the type that it is named after
VALID_PATH = re.compile(
    r"/|/access|/access/groups(/[\w.\-]+)?|/access/realm(/[\w.\-]+)?|/nodes(/[\w.\-]+)?"
    r"|/pool(/[A-Za-z0-9.\-_]+){0,3}|/sdn|/sdn/controllers(/[\w\-]+)?|/sdn/dns(/[A-Za-z0-9]+)?"
    r"|/sdn/(fabrics|ipams|prefix-lists|route-maps)(/[\w\-]+)?|/sdn/zones(/[\w.\-]+){0,2}"
    r"|/sdn/zones/[\w.\-]+/[\w.\-]+/[1-9][0-9]{0,3}|/storage(/[\w.\-]+)?|/vms(/[1-9][0-9]{2,})?"
    r"|/mapping(/[\w.\-]+){0,2}"
)


def normalize_path(path: str | None) -> str | None:
    """An ACL path with single slashes and none at its end; None when it has other characters."""
    if not path:
        return None
    found = re.sub(r"/+", "/", path).removesuffix("/") or "/"
    found = found if found.startswith("/") else f"/{found}"
    return found if re.fullmatch(r"[A-Za-z0-9.\-_/]+", found) else None


def hash_password(password: str, salt: bytes | None = None) -> str:
    """A salted scrypt hash as SALT$HASH."""
    salt = salt or secrets.token_bytes(16)
    digest = hashlib.scrypt(password.encode(), salt=salt, n=2**12, r=8, p=1)
    return f"{salt.hex()}${digest.hex()}"


class UserConfig(Document):
    """All of user.cfg in tables. Every write goes through `save`, which drops the cache of computed privileges."""

    data: dict[str, Any]

    def __init__(self, path: Path) -> None:
        super().__init__(path, copy.deepcopy(EMPTY))
        self._cache: dict[tuple[str, str], Perms] = {}

    def save(self) -> None:
        """Keeps all changes."""
        super().save()
        self._cache = {}

    def enabled(self, user: str) -> bool:
        """Whether a user exists, is enabled and has not expired."""
        found = self.data["users"].get(user)
        if not found or not int(found.get("enable", 0)):
            return False
        return not int(found.get("expire") or 0) or int(found["expire"]) > time.time()

    def token(self, user: str, name: str) -> dict[str, Any] | None:
        """A token's entry."""
        found: dict[str, Any] | None = self.data["users"].get(user, {}).get("tokens", {}).get(name)
        return found

    def token_secret(self, ident: str) -> str:
        """A token's value."""
        return str(self.data["secrets"].get(ident, "\0"))

    def check_password(self, user: str, password: str) -> bool:
        """Whether this is the password of a user of realm pve."""
        kept = self.data["passwords"].get(user)
        if not kept:
            return False
        return hmac.compare_digest(hash_password(password, bytes.fromhex(kept.split("$")[0])), kept)

    def roles(self) -> dict[str, frozenset[str]]:
        """All roles with their privileges."""
        own = {name: frozenset(privs) for name, privs in self.data["roles"].items()}
        return {**own, **BUILTIN_ROLES}

    def pool_of(self, vmid: int) -> str | None:
        """The pool a guest is in."""
        return next((name for name, pool in self.data["pools"].items() if vmid in pool["vms"]), None)

    def pools_by_guest(self) -> dict[int, str]:
        """The pool of every guest that is in one."""
        return {vmid: name for name, pool in self.data["pools"].items() for vmid in pool["vms"]}

    def acl_paths(self) -> set[str]:
        """All paths with grants and those above them."""
        return {node for path in self.data["acl"] for node in _ancestors(path)}

    def permissions(self, user: str, path: str) -> Perms:
        """The privileges of a user or token on a path."""
        if user == "root@pam":
            return dict.fromkeys(PRIVILEGES, 1)
        kept, key = self._cache, (user, path)
        found = kept.get(key)
        if found is None:  # what is computed while a save goes on lands in the cache that the save drops
            found = kept[key] = self._compute(user, path)
        return found

    def _compute(self, user: str, path: str) -> Perms:
        owner, _, name = user.partition("!")
        mine = self._from_roles(user, path)
        if not name:
            return mine if owner in self.data["users"] else {}
        token = self.token(owner, name)
        if token is None:
            return {}
        theirs = self.permissions(owner, path)
        if not int(token.get("privsep", 1)):
            return theirs
        return {priv: int(theirs[priv] and flag) for priv, flag in mine.items() if priv in theirs}

    def _from_roles(self, user: str, path: str) -> Perms:
        granted = self._acl_roles(user, path)
        if "NoAccess" not in granted:
            through = self._pool_roles(user, path)
            inherited: Perms = dict.fromkeys(through, 0)
            granted = {"NoAccess": 0} if "NoAccess" in through else {**inherited, **granted}
        found: Perms = {}
        known = self.roles()
        for role, propagate in granted.items():
            for priv in known.get(role, frozenset()):
                found[priv] = found.get(priv) or propagate
        return found

    def _acl_roles(self, user: str, path: str) -> Perms:
        if user.partition("!")[0] == "root@pam" and "!" not in user:
            return {"Administrator": 1}
        found: Perms = {}
        for node in _ancestors(path):
            entry = self.data["acl"].get(node)
            if not entry:
                continue
            final = node == path
            direct = self._matching(entry, user, final)
            if direct:
                found = direct
        if "NoAccess" in found:
            return {"NoAccess": found["NoAccess"]}
        return found

    def _matching(self, entry: dict[str, Any], user: str, final: bool) -> Perms:
        held = entry.get("tokens" if "!" in user else "users", {}).get(user, {})
        found = {role: flag for role, flag in held.items() if flag or final}
        return {"NoAccess": found["NoAccess"]} if "NoAccess" in found else found

    def _pool_roles(self, user: str, path: str) -> Perms:
        found = re.fullmatch(r"/(vms|storage)/(.+)", path)
        if not found:
            return {}
        key: object = int(found[2]) if found[1] == "vms" and found[2].isdigit() else found[2]
        result: Perms = {}
        for name, pool in self.data["pools"].items():
            if key in pool["vms" if found[1] == "vms" else "storage"]:
                result |= self._acl_roles(user, f"/pool/{name}")
        return result

    def check(self, user: str, path: str, privs: Iterable[str], any_of: bool = False) -> None:
        """Raises a 403 unless the user has all (or any) of the privileges on the path."""
        wanted = list(privs)
        if self.has(user, path, wanted, any_of):
            return
        refuse_if(any_of, denied(f"{path}, {'|'.join(wanted)}"))
        held = self.permissions(user, path)
        raise denied(f"{path}, {next(p for p in wanted if p not in held)}")

    def has(self, user: str, path: str, privs: Iterable[str], any_of: bool = False) -> bool:
        """Whether the user has all (or any) of the privileges on the path."""
        if user == "root@pam":
            return True
        held = self.permissions(user, path)
        for priv in privs:
            if (priv in held) is any_of:
                return any_of
        return not any_of


def _ancestors(path: str) -> list[str]:
    parts = [part for part in path.split("/") if part]
    return ["/", *("/" + "/".join(parts[: n + 1]) for n in range(len(parts)))]
