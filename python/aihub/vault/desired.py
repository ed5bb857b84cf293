"""What must be in the vault, as it follows from the hub: mounts, policies, AppRoles, certificate roles. Pure.

Every name that begins with `hub-` is the hub's own, and so are the mounts kv and pki with all that is in them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidInput, PreconditionFailed
from ..model.resolved import MACHINE, Guest, Hub, Instance
from ..names import approle
from .certificates import LISTENER_DAYS
from .kv import KV

PKI = "pki"
OPERATOR = "hub-operator"
AGENT = "hub-agent"
PREFIX = "hub-"
RATE_LIMIT_PATH = "sys/quotas/rate-limit"
TOKEN_TTL = 20 * 60
"""Seconds that a login lasts, whatever its token does: who needs longer logs in again."""
LOCKOUT = {"user_lockout_disable": True}
"""Of the mount of AppRoles: who sends wrong secret-ids must not close the login of another."""
AUTHORITY_HOURS = 87_672  # ten years, as the root lives
DAY = 86_400

Grants = Mapping[str, tuple[str, ...]]  # path -> capabilities
EVERYTHING = ("create", "read", "update", "delete", "list")

RATE_LIMITS: Mapping[str, Mapping[str, Any]] = {
    f"{PREFIX}login": {"path": "auth/approle/login", "rate": 20, "interval": 1, "block_interval": 0},
    f"{PREFIX}calls": {"path": "", "rate": 500, "interval": 1, "block_interval": 0},
}
"""What one address may ask in `interval` seconds: in place of a lockout, since it slows down nobody else. A whole `up`
stays below; what it would answer anyway it asks again."""

AUDIT = {"disk": "/vault/audit/audit.log", "stdout": "stdout"}
"""Audit devices of the flavour `vault`; OpenBao has them in its own configuration."""


@dataclass(frozen=True)
class Desired:
    """What must be there: settings by name, in the words of the server's API."""

    mounts: Mapping[str, Mapping[str, Any]]
    policies: Mapping[str, Grants]
    approles: Mapping[str, Mapping[str, Any]]
    pki_roles: Mapping[str, Mapping[str, Any]]
    rate_limits: Mapping[str, Mapping[str, Any]]
    audit: Mapping[str, str]  # empty where the server's own configuration has it
    flavour: str


def vault_of(hub: Hub) -> Instance:
    """The hub's vault. Raises PreconditionFailed when it has none."""
    if hub.vault is None:
        raise PreconditionFailed("this hub has no vault", where=hub.path, hint="put the stack vault on a guest")
    return hub.vault


def desired(hub: Hub) -> Desired:
    """All of it. Raises InvalidInput where two things would get one name."""
    vault = vault_of(hub)
    flavour = str(vault.options.get("flavour") or "openbao")
    return Desired(
        mounts=_mounts(),
        policies=_policies(hub),
        approles=_approles(hub, vault),
        pki_roles=_pki_roles(hub, vault),
        rate_limits=RATE_LIMITS,
        audit=AUDIT if flavour == "vault" else {},
        flavour=flavour,
    )


def policy_of(instance: Instance) -> str:
    """The policy that lets a guest's agent read what an instance on it needs."""
    return f"{PREFIX}{instance.store_name}"


def machine_policy(guest: Guest) -> str:
    """The policy that lets a guest's agent get the guest's own certificate."""
    return f"{PREFIX}{MACHINE}-{guest.id}"


def listener_role(vault: Instance) -> str:
    """The certificate role of the vault's own listener, for the day when its first certificate is old."""
    return vault.store_name


def is_random(role_id: str) -> bool:
    """Whether a role-id is one as the server makes them, and does not follow from a name."""
    return re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", role_id) is not None


def text_of(grants: Grants) -> str:
    """A policy as the server keeps it."""
    lines = [
        f"path {json.dumps(path)} {{\n  capabilities = {json.dumps(list(can))}\n}}\n"
        for path, can in sorted(grants.items())
    ]
    return "\n".join(lines)


def _mounts() -> dict[str, dict[str, Any]]:
    return {
        f"{KV}/": {"type": "kv", "options": {"version": "2"}},
        f"{PKI}/": {"type": "pki", "config": {"max_lease_ttl": AUTHORITY_HOURS * 3600}},
        "auth/approle/": {"type": "approle"},
    }


def _policies(hub: Hub) -> dict[str, Grants]:
    found: dict[str, Grants] = {OPERATOR: _operator(), AGENT: _agent()}
    for instance in (*hub.instances, *hub.copiers.values()):
        grants: dict[str, tuple[str, ...]] = {f"{KV}/data/{ref.path}": ("read",) for ref in hub.read(instance)}
        if instance.name == _copier_of_store(hub):
            grants["sys/storage/raft/snapshot"] = ("read",)
        for one in hub.certificates:
            if one.instance == instance.name:
                grants[f"{PKI}/issue/{one.role}"] = ("update",)
        if grants:
            name = policy_of(instance)
            _refuse_twice(hub, name, found, f"the policy of {instance.name}")
            found[name] = grants
    for name, one in hub.machines.items():
        policy = machine_policy(hub.guests[name])
        _refuse_twice(hub, policy, found, f"the policy of the guest {name} itself")
        found[policy] = {f"{PKI}/issue/{one.role}": ("update",)}
    return found


def _copier_of_store(hub: Hub) -> str:
    """What makes copies on the store's own guest: it is given the store's snapshot."""
    copier = hub.copiers.get(hub.vault.guest.name) if hub.vault else None
    return copier.name if copier else ""


def _approles(hub: Hub, vault: Instance) -> dict[str, dict[str, Any]]:
    found = {OPERATOR: _approle([OPERATOR], vault.guest)}
    for name in hub.agents:
        own = [policy_of(i) for i in hub.told(name) if _reads(hub, i)]
        guest = hub.guests[name]
        _refuse_twice(hub, approle(guest.id), found, f"the login of the guest {name}")
        found[approle(guest.id)] = _approle([AGENT, machine_policy(guest), *own], guest)
    return found


def _approle(policies: Iterable[str], guest: Guest) -> dict[str, Any]:
    """A login that works from one address only: a stolen secret-id or token is worth nothing elsewhere."""
    address = [f"{guest.address}/32"]
    return {
        "bind_secret_id": True,
        "secret_id_bound_cidrs": address,
        "secret_id_num_uses": 0,
        # It ends when it is replaced, not by a date: a hub that nobody looks after for a year must survive a power cut.
        "secret_id_ttl": 0,
        "token_bound_cidrs": address,
        "token_explicit_max_ttl": TOKEN_TTL,
        "token_max_ttl": TOKEN_TTL,
        "token_no_default_policy": True,
        "token_num_uses": 0,
        "token_period": 0,
        "token_policies": sorted(policies),
        "token_ttl": TOKEN_TTL,
        "token_type": "service",
    }


def _pki_roles(hub: Hub, vault: Instance) -> dict[str, dict[str, Any]]:
    found = {listener_role(vault): _pki_role(vault.guest.fqdn, LISTENER_DAYS)}
    for one in (*hub.certificates, *hub.machines.values()):
        _refuse_twice(hub, one.role, found, f"the certificates of {one.instance}")
        found[one.role] = _pki_role(one.name, one.days, server=one.server, client=one.client)
    return found


def _pki_role(name: str, days: int, *, server: bool = True, client: bool = False) -> dict[str, Any]:
    """Leaves for one name, for servers, for clients or for both, and nothing else."""
    return {
        "allow_any_name": False,
        "allow_bare_domains": True,
        "allow_glob_domains": False,
        "allow_ip_sans": False,
        "allow_localhost": False,
        "allow_subdomains": False,
        "allow_wildcard_certificates": False,
        "allowed_domains": [name],
        "allowed_other_sans": [],
        "allowed_uri_sans": [],
        "client_flag": client,
        "code_signing_flag": False,
        "email_protection_flag": False,
        "enforce_hostnames": True,
        "key_bits": 256,
        "key_type": "ec",
        "max_ttl": days * DAY,
        "not_before_duration": 3600,  # another machine's clock may be behind
        "server_flag": server,
        "ttl": days * DAY,
    }


def _agent() -> Grants:
    """What every guest may do with its own token: look at it, and end it."""
    return {"auth/token/lookup-self": ("read",), "auth/token/revoke-self": ("update",)}


def _operator() -> Grants:
    """What aihub itself needs: the hub's entries, its own names at every engine, and to look at the rest."""
    return {
        "auth/approle/role": ("list",),
        "auth/approle/role/hub-*": EVERYTHING,
        "auth/token/accessors": ("list", "sudo"),
        "auth/token/lookup-accessor": ("update",),
        "auth/token/lookup-self": ("read",),
        "auth/token/revoke-accessor": ("update",),
        "auth/token/revoke-self": ("update",),
        f"{KV}/config": ("read", "update"),
        f"{KV}/data/*": ("create", "read", "update", "delete"),
        f"{KV}/metadata/*": ("create", "read", "update", "list", "delete"),
        f"{PKI}/*": EVERYTHING,
        "sys/audit": ("read", "sudo"),
        "sys/audit/*": ("create", "update", "sudo"),
        "sys/auth": ("read",),
        "sys/auth/approle": ("create", "read", "update", "sudo"),
        "sys/auth/approle/tune": ("read", "update", "sudo"),
        "sys/capabilities-self": ("update",),
        "sys/mounts": ("read",),
        f"sys/mounts/{KV}": ("create", "read", "update"),
        f"sys/mounts/{KV}/tune": ("read", "update"),
        f"sys/mounts/{PKI}": ("create", "read", "update"),
        f"sys/mounts/{PKI}/tune": ("read", "update"),
        "sys/policies/acl": ("list",),
        "sys/policies/acl/hub-*": EVERYTHING,
        RATE_LIMIT_PATH: ("list",),
        f"{RATE_LIMIT_PATH}/hub-*": EVERYTHING,
        "sys/storage/raft/snapshot": ("read",),
        "sys/wrapping/lookup": ("update",),
    }


def _reads(hub: Hub, instance: Instance) -> bool:
    return bool(hub.read(instance)) or any(one.instance == instance.name for one in hub.certificates)


def _refuse_twice(hub: Hub, name: str, found: Mapping[str, object], what: str) -> None:
    # `a-b` on `c` and `a` on `b-c` would be one: a guest could read what is another's.
    if name in found:
        raise InvalidInput(
            f"{what} would be called {name} in the vault, and so is something else",
            where=hub.path,
            hint="rename the guest",
        )
