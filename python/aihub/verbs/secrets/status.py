"""`aihub secrets status`: the vault, every secret with its age, logins, certificates, the recovery kit."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from aihub import parallel, report
from aihub.secrets import agent, enrol, kits, rotation
from aihub.secrets.rotation import ages, catalog
from aihub.vault import client as vaults
from aihub.vault.desired import vault_of
from aihub.vault.errors import NotReady

from ...errors import DONE, HubError
from ...options import Options
from ...owners.run import Run, find_target, opened, perform

Fact = tuple[str, str, bool]


def run(options: Options) -> int:
    """Prints the tables; 4 when the vault is sealed or not initialised."""
    with opened(options, "secrets status", report) as found:
        perform(found, (find_target,))
        with vaults.connected(found.hub, found.state) as vault:
            health = vault.health()
        ready = health.initialised and not health.sealed
        how = "open" if ready else "sealed" if health.initialised else "not initialised"
        facts = [(vault_of(found.hub).name, f"{how}, version {health.version}", ready), _kit(found)]
        says = _agents(found) if ready else {}
        shown = rows(found, says) if ready else []
        logins = enrol.logins(found.hub, found.vault()) if ready else []
        if options.as_json:
            report.as_json(
                {
                    "vault": vars(health),
                    "kit": facts[1][1],
                    "secrets": [row.as_json() for row in shown],
                    "logins": [vars(one) for one in logins],
                    "agents": {name: vars(one) for name, one in says.items()},
                }
            )
        else:
            report.secrets([*facts, *(_login(one, says[one.guest]) for one in logins), *_tls(says)], shown)
            if not ready:
                report.say(f"next: {'aihub secrets unseal' if health.initialised else 'aihub up'}")
    return DONE if ready else NotReady.exit_code


def rows(run: Run, says: dict[str, agent.Status] | None = None) -> list[report.SecretRow]:
    """Everything that can be replaced, with its age."""
    items, now = catalog.everything(run.hub), datetime.now(UTC)
    vault = run.vault()
    says = _agents(run) if says is None else says
    since = ages.since(items, run.state, vault, enrol.logins(run.hub, vault), says)
    begun = set(rotation.pending(run.hub, vault, run.state))
    found = []
    for one in items:
        made = since.get(one.name)
        age = (now - made).days if made else 0
        late, in_flight = one.due(made, now), one.name in begun
        effect = one.fixed or one.effect
        found.append(report.SecretRow(one.name, one.kind, one.days, made, age, late, effect, in_flight, one.keep or ""))
    return found


def _agents(run: Run) -> dict[str, agent.Status]:
    """What every agent says; why, for a guest that does not answer."""

    says = parallel.on_each(run.hub.agents, lambda guest: agent.status(run.state, guest))
    return {g: agent.Status(g, error=str(found)) if isinstance(found, HubError) else found for g, found in says.items()}


def _login(one: enrol.Login, says: agent.Status) -> Fact:
    until = f", its secret-id ends {one.until:%Y-%m-%d}" if one.until else ""
    extra = f", {one.secret_ids} secret-ids" if one.secret_ids > 1 else ""
    how = "logged in" if says.logged_in else f"not logged in: {says.error}"
    return f"agent of {one.guest}", f"{how}{until}{extra}", says.logged_in and not says.errors


def _tls(says: dict[str, agent.Status]) -> list[Fact]:
    found = []
    for guest, status in says.items():
        for place, tls in sorted(status.tls.items()):
            stack, _, file = place.partition(".")
            found.append(_certificate(f"certificate of {stack}@{guest} ({file})", tls))
    return found


def _certificate(what: str, tls: Any) -> Fact:
    end = datetime.fromtimestamp(float(tls["not_after"]), UTC)
    used = tls["applied"] == tls["serial"]
    return what, f"until {end:%Y-%m-%d}{'' if used else ', not yet in use'}", used and end > datetime.now(UTC)


def _kit(run: Run) -> Fact:
    kit = kits.newest(run.state)
    if kit is None:
        return "recovery kit", "there is none: aihub up", False
    why = kits.stale(run.hub, run.state, kits.recipients(run.hub, run.state))
    proven = f"proven {kit.proven}" if kit.proven else "never proven"
    return "recovery kit", why or f"{kit.path.name}, {proven}", bool(kit.proven) and not why
