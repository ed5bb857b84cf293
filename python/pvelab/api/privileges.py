"""Proxmox VE's privileges and its built-in roles."""

from __future__ import annotations

# Per group: held by Administrator only, added by the Admin role, held by the User role, held by auditors.
GROUPS: dict[str, tuple[str, str, str, str]] = {
    "VM": (
        "",
        "Config.Disk Config.CPU Config.Memory Config.Network Config.HWType Config.Options Allocate Clone"
        " GuestAgent.Unrestricted Migrate Replicate Snapshot Snapshot.Rollback",
        "Config.CDROM Config.Cloudinit Console Backup GuestAgent.FileRead GuestAgent.FileSystemMgmt"
        " GuestAgent.FileWrite PowerMgmt",
        "Audit GuestAgent.Audit",
    ),
    "Sys": ("PowerMgmt Modify Incoming AccessNetwork", "Console Syslog", "", "Audit"),
    "Datastore": ("", "Allocate AllocateTemplate", "AllocateSpace", "Audit"),
    "SDN": ("", "Allocate Audit", "Use", "Audit"),
    "Pool": ("", "Allocate", "Audit", "Audit"),
    "Mapping": ("", "Modify", "Use", "Audit"),
}
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
