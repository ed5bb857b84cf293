"""Proxmox VE's privileges and its built-in roles."""

from __future__ import annotations

from .tables import table

# Per group: held by Administrator only, added by the Admin role, held by the User role, held by auditors.
GROUPS: dict[str, list[str]] = table("privileges")
USER_ADMIN = ("User.Modify", "Group.Allocate", "Realm.AllocateUser")


def _named(group: str, words: str) -> set[str]:
    return {f"{group}.{word}" for word in words.split()}


def _build() -> tuple[frozenset[str], dict[str, frozenset[str]]]:
    everything = {"Permissions.Modify", "Realm.Allocate", *USER_ADMIN}
    roles: dict[str, set[str]] = {"NoAccess": set(), "PVEAuditor": set(), "PVEUserAdmin": set(USER_ADMIN)}
    roles["PVEAdmin"] = set(USER_ADMIN)
    for group, words in GROUPS.items():
        root, admin, user, audit = (_named(group, part) for part in words)
        everything |= root | admin | user | audit
        roles[f"PVE{group}Admin"] = admin | user | audit
        roles["PVEAdmin"] |= admin | user | audit
        roles["PVEAuditor"] |= audit
        if user:
            roles[f"PVE{group}User"] = user | audit
    roles["PVEAdmin"].discard("Mapping.Modify")
    roles["PVETemplateUser"] = {"VM.Clone", "VM.Audit"}
    roles["Administrator"] = everything
    return frozenset(everything), {name: frozenset(privs) for name, privs in roles.items()}


PRIVILEGES, BUILTIN_ROLES = _build()
