"""The store of the secrets: its server, what is set up in it, its entries, and the recovery kit."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import get_args

from aihub import names, node, ssh, words
from aihub.errors import PreconditionFailed, Unreachable
from aihub.guests.probe import STACK, place
from aihub.model.hub import ZoneName
from aihub.model.resolved import Instance
from aihub.plan import Change, Plan, require_agreed
from aihub.render import images
from aihub.screen import Progress
from aihub.secrets import copies, kits, rotation
from aihub.secrets.kept import Left
from aihub.secrets.kept import left as undeclared
from aihub.vault import bringup, pending, setup
from aihub.vault import client as vaults
from aihub.vault.client import Vault
from aihub.vault.desired import OPERATOR, vault_of
from aihub.vault.errors import Denied, NotReady
from aihub.vault.kv import KV

from . import entries, kept, moves
from .run import Run

ROTATION = "rotation of "  # how the object of an unfinished one begins
UNSEAL_PATIENCE = 40.0  # seconds that the node's own unsealing may take after a start


def look(run: Run) -> Plan:
    """What differs in the store; before it serves, all that it gets. Raises PreconditionFailed for a lost one."""
    instance = run.hub.vault
    if instance is None:
        return Plan()
    given_up = _lost(run, instance)
    standing = run.standing(instance)
    if standing == "silent":
        return Plan(warnings=given_up.warnings)  # its guest's own line says that it is compared later
    if standing == "new" or given_up.changes:
        return Plan((*given_up.changes, *_first(run, instance)), warnings=given_up.warnings)
    _refuse_other_server(run, instance)
    if why := reachable(run):
        return Plan((_begin(instance, why, later=True),), warnings=given_up.warnings)
    vault = run.vault()
    _refuse_older(run, vault)
    warnings = (*given_up.warnings, *setup.warnings(vault))
    stale = kits.stale(run.hub, run.state, kits.recipients(run.hub, run.state))
    if not stale and copies.differ(run.hub, run.state, vault):
        stale = "it lacks keys of copies, or has some that are gone"
    kit = [_kit(instance, stale)] if stale else []
    left = undeclared(run.hub, vault)
    changes = (*_differences(run, instance, vault, left), *moves.look(run.hub, instance, left), *kit)
    return Plan(changes, warnings=warnings, kept=tuple(kept.secrets(left)))


def _refuse_other_server(run: Run, instance: Instance) -> None:
    """Raises PreconditionFailed where another server would open what a store keeps; another version of it may."""
    key = f"{STACK}{instance.stack.name}"
    before = run.insides[instance.guest.name].manifest.get("made_from", {}).get(key, {})
    for part, image in images(instance).items():
        old = words.line(before.get(part) or image)
        if old.rpartition(":")[0] != image.rpartition(":")[0]:
            raise PreconditionFailed(
                f"its data is that of {old}, and {image} can't read it: a store keeps the flavour that it began with",
                where=instance.name,
                hint="put the former flavour back; to begin anew, with other secrets and without this hub's data: "
                "aihub down, then aihub up",
            )


def _refuse_older(run: Run, vault: Vault) -> None:
    """Raises PreconditionFailed for a hub whose entries lie by zone, as no released version put them."""
    if set(vault.names(f"{KV}/metadata/hub")) & {f"{zone}/" for zone in get_args(ZoneName)}:
        raise PreconditionFailed(
            "an older checkout made this hub: its secrets lie by zone and its databases are called otherwise",
            where=vault_of(run.hub).name,
            hint="take it down with the checkout that made it, then aihub up; nothing was changed",
        )


def _first(run: Run, instance: Instance) -> list[Change]:
    """Everything that a store gets which is still to be made."""
    return [
        _begin(instance, "is to be initialised, and a recovery kit made"),
        *setup.first(run.hub),
        *entries.first(run.hub, instance),
        _kit(instance, "is to be made"),
    ]


def _differences(run: Run, instance: Instance, vault: Vault, left: Sequence[Left]) -> list[Change]:
    return [
        *setup.plan(vault, run.hub),
        *entries.look(run.hub, instance, vault, left, run.options.allow_destroy),
        *(unfinished(instance, name) for name in rotation.pending(run.hub, vault, run.state)),
    ]


def _begin(instance: Instance, why: str, *, later: bool = False) -> Change:
    return Change(instance.name, "start", "vault", "vault", why, later=later)


def _kit(instance: Instance, why: str) -> Change:
    return Change(f"{instance.name}: recovery kit", "update", "vault", "vault", why)


def unfinished(instance: Instance, name: str) -> Change:
    """The rotation of a secret that an earlier run began."""
    return Change(f"{instance.name}: {ROTATION}{name}", "update", "vault", "vault", "was left unfinished")


def reachable(run: Run) -> str:
    """Empty when the store serves us; else why it does not. Raises what needs a person."""
    if not run.state.vault_login.exists():
        return "is to be initialised, and a recovery kit made"
    try:
        run.vault()
    except NotReady as error:
        return error.what
    except Unreachable as error:
        return f"does not answer: {error.what}"
    return ""


def require_login_there(run: Run) -> None:
    """Raises PreconditionFailed when the store's guest goes where our login would not be accepted any more."""
    if (store := _moving(run)) and (why := reachable(run)):
        raise PreconditionFailed(
            f"our login works from the old address of {store.guest.name} alone, and while the store {why}, that can't "
            "be changed",
            where=store.name,
            hint="put the old address back, aihub up, and only then give it another one",
        )


def follow(run: Run) -> None:
    """Our login works from where the store's guest will be, too, before the guest goes there."""
    if store := _moving(run):
        both = [f"{ssh.aliases(run.state)[store.guest.name]}/32", f"{store.guest.address}/32"]
        settings = {"secret_id_bound_cidrs": both, "token_bound_cidrs": both}
        run.vault().put(f"{setup.APPROLES}role/{OPERATOR}", settings)
        run.changed = True


def _moving(run: Run) -> Instance | None:
    """The store, when its guest is to have another address than it has."""
    store = run.hub.vault
    if store is None or not run.state.vault_login.exists():
        return None
    here = ssh.aliases(run.state).get(store.guest.name)
    changed = any(c.subject == store.guest.name and c.action == "update" for c in run.plan.of("guests"))
    return store if changed and here not in (None, str(store.guest.address)) else None


def authority(run: Run) -> None:
    """The hub's own root certificate exists, before anything is planned that trusts it."""
    if run.hub.vault:
        pending.authority(run.hub, run.state)


def apply(run: Run, agreed: Plan, progress: Progress) -> None:
    """The store serves and holds every entry that the hub declares. Raises NotReady when it stays sealed."""
    instance = vault_of(run.hub)

    def say(text: str) -> None:
        progress(instance.name, text)

    vault = run.stack.enter_context(vaults.connected(run.hub, run.state))
    await_unsealing(run, vault)
    now = _again(run, instance, vault)
    require_agreed(agreed, now)
    run.changed = run.changed or bool(now)
    bringup.bring_up(run.hub, run.state, vault, outside(run), say)
    run.opened_vault = vault
    _stop(run, entries.moved(now))
    entries.apply(run.hub, vault, now, say)
    copies.keep(run.hub, run.state, vault)
    keep_kit(run, progress)


def _stop(run: Run, instances: Iterable[str]) -> None:
    """Who gets a login at another provider does not run until it is told where that is: its files come before that."""
    for instance in map(run.hub.instance, instances):
        with suppress(Unreachable):  # whoever is silent is told of it by nobody
            unit = names.unit(instance.stack.name)
            ssh.run(run.state, instance.guest.name, f"systemctl stop {unit} 2>/dev/null || true", timeout=300)


def _again(run: Run, instance: Instance, vault: Vault) -> list[Change]:
    """The second look, but for the kit: what it holds may have changed with this very run, and it disturbs nobody.

    A server that is still to be initialised gets all; a sealed one is compared by nobody.
    """
    health, left = vault.health(), pending.read(run.state)
    begun = not health.initialised or bool(left and left.shares)
    if not health.initialised or health.sealed or not run.state.vault_login.exists():
        # Of one that was not begun from here, bringing it up says what is wrong, and changes nothing before.
        return [_begin(instance, "is to be initialised, and a recovery kit made")] if begun else []
    vault.login(*vaults.operator(run.state))
    _refuse_older(run, vault)
    return _differences(run, instance, vault, undeclared(run.hub, vault))


def keep_kit(run: Run, progress: Progress) -> None:
    """The newest recovery kit holds what is there now."""
    to = kits.recipients(run.hub, run.state)
    if why := kits.stale(run.hub, run.state, to):
        made = kits.issue(run.hub, run.state, to)
        progress(vault_of(run.hub).name, f"recovery kit {made.path.name}: {why}")


def place_listener(run: Run) -> None:
    """The store's certificate and key lie on its guest: it needs nothing that it issues itself."""
    vault = vault_of(run.hub)
    guest, uid = vault.guest.name, vault.stack.uid
    tls = f"{names.data(vault.stack.name)}/tls"
    present = ssh.run(run.state, guest, f"cat {tls}/listener.pem 2>/dev/null || true").stdout.decode()
    issued = pending.listener(run.hub, run.state, present)
    if issued is None:
        return
    owner = {"owner": f"{uid}:{uid}", "mode": "0400"}
    wanted = [
        {"path": tls, "mode": "0500", "owner": owner["owner"]},
        {"path": f"{tls}/listener.key", "content": issued.key, **owner},
        {"path": f"{tls}/listener.pem", "content": issued.chain, **owner},
    ]
    place(run.state, guest, wanted)


def await_unsealing(run: Run, vault: Vault) -> None:
    """Gives the node's own unsealing its time, unless this machine still has the shares itself."""
    health = vault.wait(lambda found: True, bringup.ANSWER)
    left = pending.read(run.state)
    if not health.initialised or not health.sealed or (left and left.shares):
        return
    limit = time.monotonic() + UNSEAL_PATIENCE
    while vault.health().sealed and time.monotonic() < limit:
        time.sleep(1)


def outside(run: Run) -> bringup.Outside:
    """The node, the operator and the guest, as bringing up a store needs them."""
    return bringup.Outside(
        recipients=kits.recipients(run.hub, run.state),
        seal=lambda shares: node.seal_shares(run.hub, run.state, shares),
        prove=lambda kit: prove(run, kit),
        wipe=lambda: _wipe(run),
    )


def prove(run: Run, kit: kits.Kit) -> None:
    """Somebody shows that the kit can be opened. Raises PreconditionFailed when nobody can be asked."""
    if run.options.kit_proof is not None:
        kits.prove_file(run.state, run.options.kit_proof)
    elif not run.hub.target.needs_people and not run.hub.operator_recovery:
        kits.prove_file(run.state, kits.lab_identity(run.state))
    else:
        run.screen.say(f"Recovery kit: {kit.path}. Copy it away from this machine; without it a lost disk is the end.")
        run.screen.say(f"Show that you can open it: jq -r .blobs.proof {kit.path.name} | age -d -i KEY")
        code = run.screen.ask("The code it shows: ")
        if not code:
            raise PreconditionFailed(
                "nobody has shown that the recovery kit can be opened",
                where=str(kit.path),
                hint="aihub up --kit-proof KEY",
            )
        kits.prove_code(run.state, code)


def _wipe(run: Run) -> None:
    """Empties the storage of a server that nobody can open, and starts it anew."""
    instance = vault_of(run.hub)
    unit, data = _unit_and_data(instance)
    script = f"systemctl stop {unit} && find {data} -mindepth 1 -delete && systemctl start {unit}"
    ssh.run(run.state, instance.guest.name, script, timeout=300)


def _unit_and_data(instance: Instance) -> tuple[str, str]:
    """What runs the server, and the folder of its storage."""
    name = instance.stack.name
    return names.unit(name), f"{names.data(name)}/data"


def _lost(run: Run, instance: Instance) -> Plan:
    """With `--allow-destroy vault@GUEST`: a store that nobody can open any more is to be emptied.

    One that our login opens stays, and so does one that is only sealed or silent. Without the option, one whose guest
    is to be made anew is refused: its content is gone, and with it what every secret was.
    """
    login, left = run.state.vault_login.exists(), pending.read(run.state)
    allowed = instance.name in run.options.allow_destroy
    if instance.guest.name in run.made and login:
        if allowed:
            return Plan((_empty(instance),))
        _refuse_loss(run, instance)
        raise PreconditionFailed(
            "its guest is to be made anew, and its content, every secret of this hub, went with the old one",
            where=instance.name,
            hint=f"restore that guest; or to begin anew with fresh secrets: aihub up --allow-destroy {instance.name}",
        )
    if not allowed or instance.guest.name in run.made:
        return Plan()
    if left is not None and left.shares:
        return Plan(warnings=(f"{instance.name}: an interrupted run left its shares here: nothing is given up",))
    if _opens(run, login=login):
        return Plan(warnings=(f"{instance.name} is ours and open: nothing is given up",))
    return Plan((_empty(instance),))


def _refuse_loss(run: Run, instance: Instance) -> None:
    """Raises PreconditionFailed where the store's guest is there, and hub.yml wants another one in its place."""
    name = instance.guest.name
    for change in run.plan.of("guests"):
        if change.subject == name and change.action == "delete":
            ways = [one.partition(": ")[2] for one in run.plan.warnings if one.startswith(f"guest {name}: ")]
            anew = f"aihub up --allow-destroy {name} --allow-destroy {instance.name}"
            raise PreconditionFailed(
                f"{change.summary}; with it would go every secret of this hub",
                where=instance.name,
                hint="; ".join(["take the edit back", *ways, f"or to begin anew with fresh secrets: {anew}"]),
            )


def _empty(instance: Instance) -> Change:
    text = "nobody can open it: it is emptied, its authority goes, and the rest is planned anew after that"
    return Change(
        instance.name, "delete", "vault", "root@node", text, data_at_risk="every secret of this hub, and its authority"
    )


def _opens(run: Run, *, login: bool) -> bool:
    """Whether our login opens the server. Raises NotReady for a sealed one of ours, Unreachable for a silent one."""
    try:
        with vaults.connected(run.hub, run.state) as vault:
            if vault.health().initialised and login:
                vault.login(*vaults.operator(run.state))
                return True
    except Denied:
        return False  # not ours
    except Unreachable:
        if login:
            raise  # silent is not lost: what would be forgotten here may be all that opens it
    return False


def empty_store(run: Run) -> None:
    """The store's content goes, as agreed, and with it what this machine knows of it."""
    instance = vault_of(run.hub)
    run.screen.say(f"{instance.name} is given up: its content goes, and every secret is made anew")
    pending.forget(run.state)
    unit, data = _unit_and_data(instance)
    empty = f"! test -d {data} || {{ systemctl stop {unit}; find {data} -mindepth 1 -delete; }}"
    with suppress(Unreachable):  # no guest yet, nothing to empty
        ssh.run(run.state, instance.guest.name, empty, timeout=300)


def remove(run: Run) -> None:
    """What this machine knows of a store whose guest was removed with all that was in it; recovery kits stay."""
    pending.forget(run.state)
