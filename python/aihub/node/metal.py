"""The node's own part of a plan: `metal` run as a subprocess; it answers in JSON, and nothing else of it is read."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import get_args

from metal.desired import Desired
from metal.exchange import Allowed, Answer, Failure, Order, Taken
from metal.steps import Action, Kind

from aihub import process, ssh
from aihub.errors import Conflict, HubError, PreconditionFailed, TaskFailed, too_late
from aihub.model.resolved import Hub
from aihub.paths import ROOT
from aihub.plan import Change, Difference, Plan, adds
from aihub.state import statefile
from aihub.state.directory import State

from . import token

_WHAT: dict[Kind, str] = {
    "repositories": "Proxmox's packages come from where no subscription is asked for",
    "packages": "Debian packages",
    "limits": "kernel limits that all containers of the node share",
    "routing": "the kernel forwards between zones",
    "walls": "nftables rules between zones, and of what each guest's port carries",
    "bridge": "network of a zone, with its gateway's address",
    "interfaces": "the configured network is applied",
    "dns": "unbound, for the zones",
    "time": "chrony, for the zones",
    "flags": "kernel command line, by which devices are kept apart",
    "binding": "vfio-pci takes the hub's cards at boot; ZFS leaves guests their memory, network cards keep their names",
    "kernel": "the kernel that the node boots, known to work with its cards",
    "driver": "NVIDIA's driver, which keeps the card that containers share, and its device nodes",
    "guard": "hook script that keeps a guest whose card is dead from being started",
    "mapping": "the card that a guest gets, by what it is",
    "storage": "a ZFS pool of empty disks, and Proxmox's storage of its name",
    "unsealing": "a unit that unseals Vault",
    "pool": "Proxmox pool of the hub's guests",
    "role": "privileges that the hub's user needs",
    "user": "Proxmox user of the hub",
    "token": "API token of the hub",
    "rights": "access control entries of user and token",
}


@dataclass(frozen=True)
class Applied:
    """What was done to the node, and what became of the API token."""

    changes: tuple[Change, ...]
    token: token.Fate
    reboot: str = ""  # why the node has to boot before a guest can have its card

    @property
    def renewed(self) -> bool:
        """Whether the token has a value that it did not have before."""
        return self.token in ("renewed", "made")


@dataclass(frozen=True)
class Look:
    """What `apply` would do to the node, and the bridges of zones that are gone that somebody is still on.

    `cards` are the slots of the hub's cards, by name; `reboot` says why the node has to boot before a guest can have
    one.
    """

    plan: Plan
    closed: tuple[str, ...]
    cards: Mapping[str, str] = field(default_factory=dict)
    reboot: str = ""


def look(state: State, wanted: Desired) -> Look:
    """What differs on the node; changes nothing. Raises Conflict for what is not ours."""
    found = _metal(state, Order(wanted), dry=True)
    notes = found.notes
    if found.reboot:
        notes = (*notes, f"node {wanted.node} has to be rebooted before guests can have its cards: {found.reboot}")
    return Look(Plan(_changes(found.steps), warnings=notes), found.closed, found.cards, found.reboot)


def plan(state: State, wanted: Desired) -> Plan:
    """What `apply` would do to the node; changes nothing. Raises Conflict for what is not ours."""
    return look(state, wanted).plan


def apply(hub: Hub, state: State, wanted: Desired, agreed: Plan) -> Applied:
    """Makes the node what the hub needs; `State.token` then holds the token.

    Raises Conflict, before anything is changed, when more is needed than was agreed to.
    """
    if wanted.vault and not wanted.vault.authority:
        raise PreconditionFailed("the hub has no root certificate yet", where=str(state.ca), hint="aihub up")
    answer = _metal(state, Order(wanted, _allowed(agreed)), dry=False)
    with too_late(lambda: True):
        fate = _settle(hub, state, wanted, answer.steps)
    return Applied(_changes(answer.steps), fate, answer.reboot)


def _settle(hub: Hub, state: State, wanted: Desired, done: Sequence[Taken]) -> token.Fate:
    """The token's value lies here after a step on it, and the token has its rights."""
    step = next((one for one in done if one.kind == "token"), None)
    if step is None:
        return "kept"
    fate = token.renew(hub, state)
    if fate == "made":
        grant(state, wanted)
    return "made" if step.action == "create" else fate


def grant(state: State, wanted: Desired) -> None:
    """Gives a token that was made anew its rights again: they went with the old one. Nothing else is changed."""
    _metal(state, Order(wanted, only="rights"), dry=False)


def removal(state: State, wanted: Desired, leaving: Collection[int]) -> tuple[Change, ...]:
    """What `remove` would do once the guests `leaving` are gone; changes nothing.

    Raises Conflict for what is not ours, as a guest of somebody else on a bridge of ours.
    """
    order = Order(replace(wanted, removed=True, leaving=tuple(leaving)))
    return _changes(_metal(state, order, dry=True).steps)


def remove(state: State, wanted: Desired, agreed: Plan) -> tuple[Change, ...]:
    """Takes everything of this hub off the node: walls, DNS, time, bridges, token, user, roles, pool.

    Raises Conflict, before anything is changed, when more would go than was agreed to.
    """
    done = _metal(state, Order(replace(wanted, removed=True), _allowed(agreed)), dry=False).steps
    statefile.unlink(state.token)
    return _changes(done)


def _allowed(agreed: Plan) -> tuple[Allowed, ...]:
    """Every step that an agreed plan has room for, as data: metal looks and acts in one breath."""
    subjects = dict.fromkeys(change.subject for change in agreed.of("node"))
    steps = (
        Change(subject, action, "node", "root@node", "", restart=restart)
        for subject in subjects
        for action in get_args(Action)
        for restart in (False, True)
    )
    return tuple(Allowed(step.subject, step.action, step.restart) for step in steps if not adds(agreed, step))


def _metal(state: State, order: Order, *, dry: bool) -> Answer:
    """Runs metal. Raises what it answers instead of having done everything."""
    where = f"node {order.desired.node}"
    options = ["--ssh-config", str(state.ssh_config), "--known-hosts", str(state.known_hosts)]
    result = process.run(
        [sys.executable, "-m", "metal", ssh.NODE, *options, *(["--dry"] if dry else [])],
        stdin=order.as_json().encode(),
        cwd=state.runs,  # Python looks for modules there first: nobody else's may be found
        env={"PYTHONPATH": str(ROOT / "python")},
        timeout=900,
        check=False,
    )
    try:
        answer = Answer.read(result.stdout.decode())
    except (ValueError, KeyError, TypeError) as error:
        tail = "\n".join(result.stderr.decode(errors="replace").strip().splitlines()[-12:])
        raise TaskFailed(f"metal ended without an answer\n{tail}".rstrip(), where=where, hint="aihub plan") from error
    if refused := answer.refused:
        kind = Conflict if refused.kind == "conflict" else PreconditionFailed
        raise kind(refused.what, where=where, hint=refused.hint)
    if answer.failed:
        raise _error(answer, answer.failed, where)
    return answer


def _error(answer: Answer, failed: Failure, where: str) -> HubError:
    told = "\n".join(failed.lines)
    if failed.cause != "command":
        return ssh.failure(failed.cause, ssh.NODE, f"{failed.step}: {told}" if failed.step else told)
    if not failed.step:
        return TaskFailed(f"it could not be read\n{told}", where=where, hint="aihub plan")
    action = next(step.action for step in answer.steps if step.outcome == "failed")
    _, _, thing = failed.step.partition(": ")
    return TaskFailed(f"{action} {thing} failed\n{told}", where=where, hint="aihub up")


def _changes(steps: Sequence[Taken]) -> tuple[Change, ...]:
    return tuple(
        Change(
            subject=step.subject,
            action=step.action,
            owner="node",
            identity="root@node",
            summary=_WHAT[step.kind],
            differences=tuple(Difference(*d) for d in step.differences),
            restart=step.restart,
        )
        for step in steps
    )
