"""The guests' own certificates, and the doors that serve with them: what answers HTTP is reached over TLS alone."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from aihub import names
from aihub.model.resolved import MACHINE, Guest, Hub
from aihub.secrets import agent
from aihub.state.directory import State
from aihub.vault.certificates import facts

from . import probes, tls
from .context import Context
from .plugin import left_out
from .probes import OPEN, Place
from .test_secrets import with_agent

LIFE_LEFT = 1 / 3  # an agent renews when two thirds are over
PLAIN = b"GET / HTTP/1.1\r\nHost: door\r\nConnection: close\r\n\r\n"
FILE = f"{names.secret_folder(MACHINE)}/tls.pem"
COPY = f"{names.DOOR_FOLDER}/tls.pem"


def with_door(hub: Hub) -> Iterator[Guest]:
    """The guests whose instances answer HTTP."""
    return (hub.guests[name] for name in hub.agents if hub.door(name))


def that_asks(hub: Hub) -> Iterator[Guest]:
    """Those of them whose door asks for a certificate somewhere."""
    return (guest for guest in with_door(hub) if any(one.client for one in hub.door(guest.name)))


@pytest.mark.among(who=with_agent)
def test_certificate(context: Context, guest: Guest, host: Any) -> None:
    """its own certificate is for its name, the newest that its agent got, and a third of its life is still to come"""
    found = facts(host.check_output("sed -n '/BEGIN CERTIFICATE/,$p' %s", FILE))
    assert found.names == (guest.fqdn,)
    assert found.left >= LIFE_LEFT
    told = agent.status(context.state, guest.name)
    assert told.has_certificate
    assert int(str(told.tls[agent.OWN]["serial"]).replace(":", ""), 16) == int(found.serial, 16)


@pytest.mark.among(who=with_agent)
def test_key(host: Any) -> None:
    """its own key lies in memory, readable by root only"""
    assert host.check_output("stat --file-system --format=%%T %s", FILE) == "tmpfs"
    assert host.check_output("stat --format='%%a %%U:%%G' %s", FILE) == "400 root:root"


@pytest.mark.among(who=with_door)
def test_served(forward: Callable[[int], int], context: Context, guest: Guest, state: State, hub: Hub) -> None:
    """each port of its door answers with the guest's own certificate, under its name"""
    told = agent.status(context.state, guest.name).tls[agent.OWN]
    for opening in hub.door(guest.name):
        found, _ = tls.certificate(forward(opening.port), guest.fqdn, state.ca)
        assert found["subjectAltName"] == (("DNS", guest.fqdn),)
        assert int(str(told["serial"]).replace(":", ""), 16) == int(found["serialNumber"], 16), opening.instance


@pytest.mark.among(who=with_door)
def test_plain(forward: Callable[[int], int], guest: Guest, hub: Hub) -> None:
    """who comes without TLS is refused"""
    for opening in hub.door(guest.name):
        with socket.create_connection(("127.0.0.1", forward(opening.port)), tls.SECONDS) as link:
            link.sendall(PLAIN)
            assert link.makefile("rb").readline().split()[1] == b"400", opening.instance


@pytest.mark.among(who=with_door)
def test_behind(context: Context, guest: Guest, hub: Hub) -> None:
    """what is behind it answers the guest itself, and not at the guest's address"""
    door = hub.door(guest.name)
    behind = {one.inside for one in door if not left_out(hub.instance(one.instance), context)}
    openings = {one.port for one in door}
    inside = [Place(names.INSIDE, port) for port in behind]
    around = [Place(str(guest.address), port) for port in behind - openings]
    found = probes.connect(context.shells.shell(guest.name), [*inside, *around])
    assert not [str(place) for place in inside if found[place] != OPEN]
    assert not [str(place) for place in around if found[place] == OPEN]


@pytest.mark.among(who=that_asks)
def test_strangers(forward: Callable[[int], int], guest: Guest, state: State, hub: Hub) -> None:
    """where it asks for a certificate, who shows none gets no answer"""
    for opening in (one for one in hub.door(guest.name) if one.client):
        trust = ssl.create_default_context(cafile=str(state.ca))
        with (
            socket.create_connection(("127.0.0.1", forward(opening.port)), tls.SECONDS) as plain,
            trust.wrap_socket(plain, server_hostname=guest.fqdn) as link,
            pytest.raises(ssl.SSLError, match=r"(?i)certificate"),
        ):
            link.sendall(PLAIN)
            link.recv(1)


@pytest.mark.among(who=with_door)
def test_unit(host: Any) -> None:
    """it opens by itself at boot, not as root, and the package's own service never runs"""
    shown = host.run("systemctl is-active %s; systemctl is-enabled hub-door.path caddy.service", names.DOOR_UNIT).stdout
    assert shown.split() == ["active", "enabled", "masked"]
    assert host.check_output("ps -o user= -C caddy").split() == ["caddy"]
    assert host.check_output("stat --file-system --format=%%T %s", COPY) == "tmpfs"
    assert host.check_output("stat --format='%%a %%U' %s %s", names.DOOR_FOLDER, COPY).split() == [
        *("700", "caddy"),
        *("400", "caddy"),
    ]
