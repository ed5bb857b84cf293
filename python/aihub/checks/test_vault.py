"""The vault keeps guests apart, opens by itself, and what it gives out is up to date."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aihub.model.resolved import Guest, Hub, Instance
from aihub.names import Layout, approle
from aihub.parallel import Answers
from aihub.secrets import agent, kits
from aihub.state.directory import State
from aihub.vault import client as vaults
from aihub.vault.desired import is_random
from aihub.vault.errors import Denied

from . import denials, tls
from .context import NODE, Context
from .denials import ROLE_ID, SECRET_ID
from .test_secrets import with_agent

pytestmark = pytest.mark.together
Tries = Answers[str, denials.Tried]


def with_certificate(hub: Hub) -> Iterator[Instance]:
    """The instances that serve with a certificate of the hub's authority."""
    return (i for i in hub.instances if i == hub.vault or i in [*with_agent_certificate(hub)])


def with_agent_certificate(hub: Hub) -> Iterator[Instance]:
    """Those of them whose agent fetches it; the vault's own is placed by the controller.

    Where TLS is negotiated first, in words of the service's own protocol, its own checks ask for the certificate.
    """
    served = (hub.instance(one.instance) for one in hub.certificates if not one.client)
    return (one for one in served if all(offer.tls == "direct" for offer in one.stack.gives.values()))


def elsewhere(hub: Hub) -> Iterator[Guest]:
    """The guests with an agent whose address is not the one that the controller's calls come from."""
    return (guest for guest in with_agent(hub) if hub.vault is None or guest != hub.vault.guest)


def vault_itself(hub: Hub) -> Iterator[Instance]:
    """The vault."""
    return (i for i in hub.instances if i == hub.vault)


@pytest.fixture(scope="session")
def tried(context: Context) -> Tries:
    """Every guest tries what is not its own."""
    return denials.everybody(context.shells, context.hub, context.hub.agents)


@pytest.mark.among(who=with_agent)
def test_denied(tried: Tries, guest: Guest, hub: Hub) -> None:
    """its login reads its own entries, and can neither read, list, make, change nor delete anything of others"""
    found, given = tried.of(guest.name), {ref.path for ref in hub.secrets if ref.given}
    read = {path: status in (200, *([404] if path in given else [])) for path, status in found.own.items()}
    assert read and all(read.values()), f"its own don't answer, so the refusals prove nothing: {found.own}"
    assert found.refused > len(found.own)
    assert not found.allowed


@pytest.mark.among(who=elsewhere)
def test_stolen_login(tried: Tries, context: Context, guest: Guest, host: Any) -> None:
    """its login is refused from any other address"""
    assert tried.of(guest.name).own, "it does not work at home either"
    secret_id = host.check_output("cat %s", SECRET_ID)
    context.handed_out.add(secret_id)
    role_id = context.vault.role_id(approle(guest.id))
    with vaults.connected(context.hub, context.state) as vault, pytest.raises(Denied):
        vault.login(role_id, secret_id)


@pytest.mark.among(who=with_agent)
def test_login(context: Context, guest: Guest) -> None:
    """it has one login, bound to its address, that does not end by itself and whose name nobody can guess"""
    assert is_random(context.vault.role_id(approle(guest.id)))
    settings = context.vault.get(f"auth/approle/role/{approle(guest.id)}") or {}
    bound = [settings.get(key) for key in ("secret_id_bound_cidrs", "token_bound_cidrs")]
    assert [[cidr.removesuffix("/32") for cidr in cidrs or ()] for cidrs in bound] == [[str(guest.address)]] * 2
    (login,) = context.vault.secret_ids(approle(guest.id))
    assert login.expires is None


@pytest.mark.among(who=with_agent)
def test_agent(context: Context, guest: Guest, hub: Hub) -> None:
    """its agent is logged in, and its services use the newest version of every entry"""
    found = agent.status(context.state, guest.name)
    assert found.logged_in, found.error
    entries = {path: context.vault.read(path) for path in agent.paths(hub, guest.name)}
    given = {ref.path for ref in hub.secrets if ref.given}
    assert not [path for path, entry in entries.items() if entry is None and path not in given]
    assert not found.behind({path: entry.version for path, entry in entries.items() if entry})
    assert not found.errors


@pytest.mark.among(who=with_agent)
def test_agent_files(host: Any) -> None:
    """its agent's settings and login are root's alone, and its unit starts with the machine"""
    command = "stat --format='%%n %%a %%U:%%G' /etc/hub/agent.json %s %s /etc/hub/agent"
    shown = host.check_output(command, SECRET_ID, ROLE_ID)
    assert shown.splitlines() == [
        "/etc/hub/agent.json 600 root:root",
        f"{SECRET_ID} 400 root:root",
        f"{ROLE_ID} 400 root:root",
        "/etc/hub/agent 700 root:root",
    ]
    shown = host.run("systemctl is-active hub-agent.service; systemctl is-enabled hub-agent.service").stdout
    assert shown.split() == ["active", "enabled"]


@pytest.mark.among(who=with_certificate)
def test_life_left(forward: Callable[[int], int], instance: Instance, state: State) -> None:
    """the certificate that it serves with is its own, and a third of its life is still to come"""
    found, _ = tls.certificate(forward(instance.stack.main_port or 0), instance.guest.fqdn, state.ca)
    tls.require_life_left(found, instance.guest.fqdn)


@pytest.mark.among(who=with_agent_certificate)
def test_in_use(forward: Callable[[int], int], instance: Instance, state: State) -> None:
    """it serves with the newest certificate that its agent got"""
    found, _ = tls.certificate(forward(instance.stack.main_port or 0), instance.guest.fqdn, state.ca)
    tls.require_newest(found, state, instance)


@pytest.mark.among(who=vault_itself)
def test_unsealing(context: Context, instance: Instance, hub: Hub) -> None:
    """the node opens it after a restart: its unit runs, and the sealed shares are root's alone"""
    node = context.shells.host(NODE)
    layout = Layout(hub.name)
    unit = layout.unseal_unit
    shown = node.run("systemctl is-active %s; systemctl is-enabled %s", unit, unit).stdout
    assert shown.split() == ["active", "enabled"]
    assert node.check_output("stat --format='%%a %%U:%%G' %s", layout.shares) == "600 root:root"


@pytest.mark.among(who=vault_itself)
def test_controller(instance: Instance, state: State) -> None:
    """on this machine its operator's login is the owner's alone, and neither shares nor a root token are left"""
    assert state.vault_login.stat().st_mode & 0o077 == 0
    assert not state.vault_pending.exists(), "its first start is not finished: aihub up"


@pytest.mark.among(who=vault_itself)
def test_kit(instance: Instance, hub: Hub, state: State) -> None:
    """the newest recovery kit holds what is there now, and somebody has shown that it can be opened"""
    kit = kits.newest(state)
    assert kit, "there is none"
    assert kits.stale(hub, state, kits.recipients(hub, state)) == ""
    assert kit.proven, f"nobody has opened {kit.path.name} yet"
