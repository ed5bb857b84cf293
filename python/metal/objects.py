"""Proxmox objects that only root may make: pool, roles, user, token and their rights."""

from __future__ import annotations

from typing import Any

from aihub.names import TOKEN_ID, token_path, user_path

from .actual import ActualNode
from .desired import Desired
from .network import closed
from .refusal import RefusedByNode
from .rights import ROLES, Grant, grants
from .steps import Step, command


def refuse_foreign(desired: Desired, actual: ActualNode) -> None:
    """Raises RefusedByNode for a pool, user or role of our name that somebody else uses."""
    for kind, name, entry in (
        ("pool", desired.pool, _find(actual, "pools", "poolid", desired.pool)),
        ("user", desired.user, _find(actual, "users", "userid", desired.user)),
    ):
        if entry and str(entry.get("comment", "")).strip() != desired.marker:
            raise RefusedByNode(
                "conflict",
                f"the node has a {kind} {name} that is not this hub's: its comment is not {desired.marker!r}",
                "give the hub another name, or remove that object",
            )
    if desired.removed:
        return
    for role, wanted in ROLES.items():
        entry = _find(actual, "roles", "roleid", role)
        users = _users_of(desired, actual, role)
        if entry and _privileges(entry) != set(wanted) and users:
            raise RefusedByNode(
                "conflict",
                f"role {role} holds other privileges than ours, and {', '.join(sorted(users))} depends on it",
                "update every hub on this node with the same version of aihub, or rename that role",
            )


def pve(desired: Desired, actual: ActualNode) -> list[Step]:
    """One step per object, in the order in which they need each other."""
    steps = [_pool(desired, actual)]
    steps += [_role(actual, role, wanted) for role, wanted in ROLES.items()]
    steps += [_user(desired, actual), _token(desired, actual)]
    return [*steps, _rights(desired, actual)]


def removal(desired: Desired, actual: ActualNode) -> list[Step]:
    """The steps that remove our objects; a role stays while somebody else holds it."""
    steps = []
    if _find(actual, "users", "userid", desired.user):
        # Proxmox drops a user's tokens and rights with it.
        done = command("pvesh", "delete", user_path(desired.hub))
        steps.append(Step("user", f"user {desired.user}", "delete", (), (done,)))
    for role in ROLES:
        if _find(actual, "roles", "roleid", role) and not _users_of(desired, actual, role):
            done = command("pvesh", "delete", f"/access/roles/{role}")
            steps.append(Step("role", f"role {role}", "delete", (), (done,)))
    if _find(actual, "pools", "poolid", desired.pool):
        done = command("pvesh", "delete", "/pools", "--poolid", desired.pool)
        steps.append(Step("pool", f"pool {desired.pool}", "delete", (), (done,)))
    return steps


def _pool(desired: Desired, actual: ActualNode) -> Step:
    subject = f"pool {desired.pool}"
    if _find(actual, "pools", "poolid", desired.pool):
        return Step("pool", subject)
    made = command("pvesh", "create", "/pools", "--poolid", desired.pool, "--comment", desired.marker)
    return Step("pool", subject, "create", (), (made,))


def _role(actual: ActualNode, role: str, wanted: tuple[str, ...]) -> Step:
    entry = _find(actual, "roles", "roleid", role)
    subject, privileges = f"role {role}", ",".join(wanted)
    if entry is None:
        made = command("pvesh", "create", "/access/roles", "--roleid", role, "--privs", privileges)
        return Step("role", subject, "create", (("privileges", "none", " ".join(wanted)),), (made,))
    found = _privileges(entry)
    if found == set(wanted):
        return Step("role", subject)
    differences = (("privileges", " ".join(sorted(found)), " ".join(wanted)),)
    made = command("pvesh", "set", f"/access/roles/{role}", "--privs", privileges)
    return Step("role", subject, "update", differences, (made,))


def _user(desired: Desired, actual: ActualNode) -> Step:
    entry = _find(actual, "users", "userid", desired.user)
    subject, path = f"user {desired.user}", user_path(desired.hub)
    if entry is None:
        made = command("pvesh", "create", "/access/users", "--userid", desired.user, "--comment", desired.marker)
        return Step("user", subject, "create", (), (made,))
    differences = []
    if not int(entry.get("enable", 1)):
        differences.append(("enabled", "no", "yes"))
    if int(entry.get("expire", 0) or 0):
        differences.append(("expires", str(entry["expire"]), "never"))
    commands = (command("pvesh", "set", path, "--enable", "1", "--expire", "0"),) if differences else ()
    return Step("user", subject, "update", tuple(differences), commands)


def _token(desired: Desired, actual: ActualNode) -> Step:
    subject, path = f"token {desired.token}", token_path(desired.hub)
    found = token(desired, actual)
    if found is None:
        # Nobody sees this value: the controller renews it, as it does wherever this step has something to do.
        made = command("pvesh", "create", path, "--privsep", "1", "--comment", desired.marker) + " >/dev/null"
        return Step("token", subject, "create", (("separated privileges", "none", "yes"),), (made,))
    differences, commands = [], []
    if not int(found.get("privsep", 1)):
        differences.append(("separated privileges", "no", "yes"))
        commands.append(command("pvesh", "set", path, "--privsep", "1") + " >/dev/null")
    if not desired.kept or str(found.get("comment", "")).strip() != desired.token_comment:
        differences.append(("value", "not the one kept here", "renewed"))
        commands.append(":")
    return Step("token", subject, "update", tuple(differences), tuple(commands))


def token(desired: Desired, actual: ActualNode) -> dict[str, Any] | None:
    """The hub's API token as Proxmox lists it."""
    entry = _find(actual, "users", "userid", desired.user) or {}
    return next((t for t in entry.get("tokens") or [] if t["tokenid"] == TOKEN_ID), None)


def _rights(desired: Desired, actual: ActualNode) -> Step:
    wanted = {
        (who, grant) for who in (desired.user, desired.token) for grant in grants(desired, closed(desired, actual))
    }
    held = _held(desired, actual)
    places = {(who, grant.path, grant.role) for who, grant in wanted}
    extra = sorted(e for e in held - wanted if (e[0], e[1].path, e[1].role) not in places)
    lacking = sorted(wanted - held)
    differences = [(f"{who} at {grant.path}", grant.role, "none") for who, grant in extra]
    differences += [(f"{who} at {grant.path}", "none", grant.role) for who, grant in lacking]
    calls = [_acl(grant, [who], "--delete", "1") for who, grant in extra]
    # A call takes about a second on a real node: user and token share one.
    calls += [_acl(g, [who for who, grant in lacking if grant == g]) for g in sorted({g for _, g in lacking})]
    commands = (" && ".join(calls),) if calls else ()
    return Step("rights", f"rights of {desired.user}", "configure", tuple(differences), commands)


def _acl(grant: Grant, holders: list[str], *more: str) -> str:
    words = ["pvesh", "set", "/access/acl", "--path", grant.path, "--roles", grant.role]
    for option, names in (
        ("--users", [h for h in holders if "!" not in h]),
        ("--tokens", [h for h in holders if "!" in h]),
    ):
        words += [option, ",".join(names)] if names else []
    return command(*words, "--propagate", str(int(grant.propagate)), *more)


def _held(desired: Desired, actual: ActualNode) -> set[tuple[str, Grant]]:
    return {
        (entry["ugid"], Grant(entry["path"], entry["roleid"], bool(int(entry.get("propagate", 1)))))
        for entry in actual.api["acl"]
        if entry["ugid"] in (desired.user, desired.token)
    }


def _users_of(desired: Desired, actual: ActualNode, role: str) -> set[str]:
    ours = (desired.user, desired.token)
    return {e["ugid"] for e in actual.api["acl"] if e["roleid"] == role and e["ugid"] not in ours}


def _privileges(entry: dict[str, Any]) -> set[str]:
    return {p.strip() for p in str(entry.get("privs") or "").split(",") if p.strip()}


def _find(actual: ActualNode, kind: str, key: str, name: str) -> dict[str, Any] | None:
    return next((e for e in actual.api[kind] if e.get(key) == name), None)
