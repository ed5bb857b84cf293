"""Steps about secrets: the vault comes up, holds what the hub declares, and every guest's agent brings its part."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from aihub import report, ssh
from aihub.guests.probe import ask
from aihub.node import metal as node
from aihub.secrets import agent, enrol, kits, rotation
from aihub.secrets import store as secretstore
from aihub.vault import bringup, pending
from aihub.vault import client as vaults
from aihub.vault.client import Vault
from aihub.vault.errors import Denied, NotReady

from ..errors import PreconditionFailed, Unreachable
from ..model.resolved import Hub, Instance
from .run import Run

TLS = "/var/lib/hub/vault/tls"
DATA = "/var/lib/hub/vault/data"
LOGIN_PATIENCE = 6.0  # seconds: an agent that was just started may have a login already
UNSEAL_PATIENCE = 40.0  # seconds that the node's own unsealing may take after a start


def authority(run: Run) -> None:
    """The hub's own root certificate exists, before anything is made that trusts it."""
    if run.hub.vault:
        pending.authority(run.hub, run.state)


def give_up(run: Run) -> None:
    """With --allow-destroy vault@GUEST: a vault that nobody can open any more is emptied, and all secrets made anew.

    One that our login opens stays; so does one that is only sealed (NotReady is raised).
    """
    instance = run.hub.vault
    if instance is None or instance.name not in run.options.allow_destroy:
        return
    left, login = pending.read(run.state), run.state.vault_login.exists()
    if left is not None and left.shares:
        report.say(f"{instance.name}: an interrupted run left its shares here: nothing is given up")
        return
    try:
        with vaults.connected(run.hub, run.state) as vault:
            if vault.health().initialised and login:
                vault.login(*vaults.operator(run.state))
                report.say(f"{instance.name} is ours and open: nothing is given up")
                return
    except Denied:
        pass  # not ours
    except Unreachable:
        if login:
            raise  # silent is not lost: what would be forgotten here may be all that opens it
    report.say(f"{instance.name} is given up: its content goes, and every secret is made anew")
    pending.forget(run.state)
    empty = f"! test -d {DATA} || {{ systemctl stop hub-vault.service; find {DATA} -mindepth 1 -delete; }}"
    with suppress(Unreachable):  # no guest yet, nothing to empty
        ssh.run(run.state, instance.guest.name, empty, timeout=300)


def place_listener(run: Run) -> None:
    """The vault's certificate and key lie on its guest: it needs nothing that it issues itself."""
    vault = _vault_of(run.hub)
    guest, uid = vault.guest.name, vault.stack.uid
    present = ssh.run(run.state, guest, f"cat {TLS}/listener.pem 2>/dev/null || true").stdout.decode()
    issued = pending.listener(run.hub, run.state, present)
    if issued is None:
        return
    owner = {"owner": f"{uid}:{uid}", "mode": "0400"}
    wanted = [
        {"path": TLS, "mode": "0500", "owner": owner["owner"]},
        {"path": f"{TLS}/listener.key", "content": issued.key, **owner},
        {"path": f"{TLS}/listener.pem", "content": issued.chain, **owner},
    ]
    ask(run.state, guest, {"action": "place", "wanted": wanted})


def bring_up(run: Run, progress: report.Progress) -> None:
    """The vault serves and holds every entry that the hub declares. Raises NotReady when it stays sealed."""
    instance = _vault_of(run.hub)
    say = _sayer(progress, instance.name)
    vault = run.stack.enter_context(vaults.connected(run.hub, run.state))
    await_unsealing(run, vault)
    bringup.bring_up(run.hub, run.state, vault, outside(run), say)
    run.opened_vault = vault
    for path in secretstore.ensure(run.hub, vault):
        say(f"made {path}")
    keep_kit(run, say)


def keep_kit(run: Run, say: report.Say) -> None:
    """The newest recovery kit holds what is there now."""
    to = kits.recipients(run.hub, run.state, run.options.target)
    if why := kits.stale(run.hub, run.state, to):
        made = kits.issue(run.hub, run.state, to)
        say(f"recovery kit {made.path.name}: {why}")


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
    """The node, the operator and the guest, as bringing up a vault needs them."""
    return bringup.Outside(
        recipients=kits.recipients(run.hub, run.state, run.options.target),
        seal=lambda shares: node.seal_shares(run.hub, run.state, shares),
        prove=lambda kit: prove(run, kit),
        wipe=lambda: wipe(run),
    )


def prove(run: Run, kit: kits.Kit) -> None:
    """Somebody shows that the kit can be opened. Raises PreconditionFailed when nobody can be asked."""
    if run.options.kit_proof is not None:
        kits.prove_file(run.hub, run.state, run.options.kit_proof)
    elif run.options.target == "lab" and not run.hub.operator_recovery:
        kits.prove_file(run.hub, run.state, kits.lab_identity(run.state))
    else:
        report.say(f"Recovery kit: {kit.path}. Copy it away from this machine; without it a lost disk is the end.")
        report.say(f"Show that you can open it: jq -r .blobs.proof {kit.path.name} | age -d -i KEY")
        code = report.ask("The code it shows: ")
        if not code:
            raise PreconditionFailed(
                "nobody has shown that the recovery kit can be opened",
                where=str(kit.path),
                hint="aihub up --kit-proof KEY",
            )
        kits.prove_code(run.state, code)


def wipe(run: Run) -> None:
    """Empties the storage of a vault that nobody can open, and starts it anew."""
    guest = _vault_of(run.hub).guest.name
    script = f"systemctl stop hub-vault.service && find {DATA} -mindepth 1 -delete && systemctl start hub-vault.service"
    ssh.run(run.state, guest, script, timeout=300)


def finish_rotations(run: Run, progress: report.Progress) -> None:
    """What a killed rotation began is done to its end, and the recovery kit knows."""
    if run.hub.vault is None:
        return
    vault = run.vault()
    if not rotation.pending(vault, run.state):
        return
    with rotation.of(run.hub, run.state, vault, run.options.target) as reach:
        rotation.raise_first(rotation.resume(reach, progress))
    keep_kit(run, _sayer(progress, _vault_of(run.hub).name))


def deliver(run: Run, guests: Sequence[str], progress: report.Progress) -> None:
    """The agents of these guests are logged in, and their services use the newest version of every entry."""
    names = [name for name in guests if name in run.hub.agents]
    if not names:
        return
    vault = run.vault()
    now, ended = secretstore.versions(run.hub, vault), enrol.ended(run.hub, vault)

    def one(name: str) -> None:
        progress(name, "its agent fetches secrets")
        if name in ended or not _logged_in(run, name):
            enrol.enrol(run.hub, run.state, vault, name)
        agent.wait(run.state, name, {path: now[path] for path in agent.paths(run.hub, name)})

    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(one, names))


def _logged_in(run: Run, guest: str) -> bool:
    limit = time.monotonic() + LOGIN_PATIENCE
    found = agent.status(run.state, guest, wake=True)
    while not found.logged_in and "no secret-id" not in found.error and time.monotonic() < limit:
        time.sleep(0.5)
        found = agent.status(run.state, guest)
    return found.logged_in


def _vault_of(hub: Hub) -> Instance:
    if hub.vault is None:
        raise PreconditionFailed("this hub has no vault", where=hub.path, hint="put the stack vault on a guest")
    return hub.vault


def _sayer(progress: report.Progress, subject: str) -> report.Say:
    return lambda text: progress(subject, text)


def reachable(run: Run) -> str:
    """Empty when the vault serves us; else why it does not. Raises what needs a person."""
    if not run.state.vault_login.exists():
        return "is to be initialised, and a recovery kit made"
    try:
        run.vault()
    except NotReady as error:
        return error.what
    except Unreachable as error:
        return f"does not answer: {error.what}"
    return ""
